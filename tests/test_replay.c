/* Replays: what a trace says of a cut comes back as it was, whatever its kind; traces of the old layout are
 * read, and a trace may be read while this process writes it. */
#include "replay_traces.h"

/* ---- tests ---------------------------------------------------------------------------------- */

static void cuts_of_every_kind_come_back(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    struct replay replay;
    write_trace();
    must(replay_open(&file, path, key, &err), &err);
    must(replay_about(&replay, file, &err), &err);
    assert_string_equal(replay.method, "sparsevlm");
    assert_float_equal(json_real_value(json_object_get(replay.params, "tau")), 0.3, 0);
    assert_int_equal(replay.n_cuts, 0);
    must(replay_read(&replay.cuts, &replay.n_cuts, file, 3, &err), &err);
    assert_int_equal(replay.n_cuts, N_CUTS);
    replay_clear(&replay);
    replay_clear(&replay); /* empty now */
    expect_sample(file, 3, 0, N_CUTS);
    expect_sample(file, 4, 0, 0);
    replay_close(file);
    replay_close(NULL);
}

/* What `trace: {keep: cuts}` leaves out is not needed. */
static void indices_alone_are_enough(void **state)
{
    (void)state;
    struct error err = {0};
    struct trace *trace = open_trace("{}");
    struct cut_record *cuts;
    int n;
    const struct answer answer = {
        .ledger = {.n_layers = 1, .layers = layers}, .records = records, .n_records = N_CUTS};
    must(trace_sample(trace, key,
                      &(struct trace_sample){.sample_id = 3, .result = &answer, .cuts_only = true}, &err),
         &err);
    must(trace_close(trace, &err), &err);
    struct replay_file *file;
    must(replay_open(&file, path, key, &err), &err);
    must(replay_read(&cuts, &n, file, 3, &err), &err);
    assert_int_equal(n, N_CUTS);
    assert_null(cuts[DECODER_CUT].score);
    for (int i = 0; i < n; i++) {
        struct cut_record expected = records[i];
        expected.score = NULL;
        expect_cut(&cuts[i], &expected, i);
    }
    replay_free(cuts, n);
    replay_close(file);
}

static void a_missing_sample_is_named(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    struct cut_record *cuts = records;
    int n = 7;
    write_trace();
    must(replay_open(&file, path, key, &err), &err);
    expect_error(replay_read(&cuts, &n, file, 17, &err), BAD_INPUT, &err, "no sample 17");
    assert_null(cuts);
    assert_int_equal(n, 0);
    expect_error(replay_read(&cuts, &n, file, -1, &err), BAD_INPUT, &err, "no sample -1");
    unlink(path); /* gone since it was opened */
    expect_error(replay_read(&cuts, &n, file, 3, &err), BAD_INPUT, &err, "no such trace");
    replay_close(file);
}

static void a_cell_is_found_by_its_key_or_its_beginning(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    struct trace *trace = open_trace("{}");
    put(trace, key, 3, 0, N_CUTS);
    must(trace_cell(trace, twin, "fastv", "{}", "m", &err), &err);
    must(trace_close(trace, &err), &err);
    must(replay_open(&file, path, "0123456789a", &err), &err);
    expect_sample(file, 3, 0, N_CUTS);
    replay_close(file);
    must(replay_open(&file, path, twin, &err), &err);
    struct replay replay;
    must(replay_about(&replay, file, &err), &err);
    assert_string_equal(replay.method, "fastv");
    replay_clear(&replay);
    replay_close(file);

    expect_error(replay_open(&file, path, "0123456789", &err), BAD_INPUT, &err, "more than one cell");
    assert_null(file);
    static const char *const unknown[] = {"0123456", "01234567xyz", "fedcba9876", "",        ".",
                                          "..",      "/",           "../cells",   "samples", "01234567/"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        expect_error(replay_open(&file, path, unknown[i], &err), BAD_INPUT, &err, "has no cell");
        assert_non_null(strstr(err.text, key));
        assert_non_null(strstr(err.text, twin));
    }
    trace = open_trace("{}");
    for (int i = 0; i < 20; i++) {
        char name[40];
        snprintf(name, sizeof name, "%032d", i);
        must(trace_cell(trace, name, "fastv", "{}", "m", &err), &err);
    }
    must(trace_cell(trace, "01234567", "a key that is another's beginning", "{}", "m", &err), &err);
    must(trace_close(trace, &err), &err);
    expect_error(replay_open(&file, path, "unknown", &err), BAD_INPUT, &err, "it has 23: ");
    assert_non_null(strstr(err.text, ", ..."));
    must(replay_open(&file, path, "01234567", &err), &err);
    replay_close(file);
}

/* Takes away what was added to the layout. */
static void make_old(int cut)
{
    static const char *const attributes[] = {"site", "image", "turn", "in_place", "keep_class"};
    char name[100];
    snprintf(name, sizeof name, "/cells/%s/samples/3/cuts/%d", key, cut);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), group = H5Gopen2(file, name, H5P_DEFAULT);
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        assert_true(H5Adelete(group, attributes[i]) >= 0);
    if (H5Lexists(group, "weight", H5P_DEFAULT) > 0)
        H5Ldelete(group, "weight", H5P_DEFAULT);
    H5Gclose(group);
    H5Fclose(file);
}

static void a_trace_of_the_old_layout_is_read(void **state)
{
    (void)state;
    for (int sums = 0; sums < 2; sums++) {
        struct error err = {0};
        struct replay_file *file;
        struct cut_record *cuts;
        int n;
        unlink(path);
        struct trace *trace = open_trace(sums ? "{\"tau\":0.3,\"merge\":\"sum\"}" : "{\"merge\":\"mean\"}");
        put(trace, key, 3, 2, 3);
        must(trace_close(trace, &err), &err);
        for (int i = 0; i < 3; i++)
            make_old(i);
        must(replay_open(&file, path, key, &err), &err);
        must(replay_read(&cuts, &n, file, 3, &err), &err);
        assert_int_equal(n, 3);
        for (int i = 0; i < n; i++) {
            struct cut_record expected = records[2 + i];
            float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
            expected.turn = 0;
            if (sums && expected.n_recycled > 0)
                expected.weight = ones;
            expect_cut(&cuts[i], &expected, i);
        }
        replay_free(cuts, n);
        replay_close(file);
    }
}

/* ---- while it is written -------------------------------------------------------------------- */

static void this_process_may_write_it_meanwhile(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    struct trace *trace = open_trace("{}");
    put(trace, key, 3, 0, N_CUTS);
    must(replay_open(&file, path, key, &err), &err);
    for (int i = 100; i < 180; i++) { /* crosses the places where the writer closes and opens the file */
        put(trace, key, i, 0, N_CUTS);
        expect_sample(file, i, 0, N_CUTS);
        expect_sample(file, 3, 0, N_CUTS);
    }
    must(trace_close(trace, &err), &err);
    expect_sample(file, 179, 0, N_CUTS);
    trace = open_trace("{}"); /* opened by its writer after its reader */
    put(trace, key, 3, 2, 1);
    expect_sample(file, 3, 2, 1);
    replay_close(file);
    put(trace, key, 5, 0, 1);
    must(trace_close(trace, &err), &err);
}

struct reader {
    const struct replay_file *file;
    int n_good;
};

static void *read_often(void *context)
{
    struct reader *reader = context;
    for (int i = 0; i < 100; i++) {
        struct error err = {0};
        struct cut_record *cuts;
        int n;
        reader->n_good += replay_read(&cuts, &n, reader->file, 3, &err) == OK && n == N_CUTS;
        replay_free(cuts, n);
    }
    return NULL;
}

static void threads_read_while_one_writes(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    struct trace *trace = open_trace("{}");
    put(trace, key, 3, 0, N_CUTS);
    must(replay_open(&file, path, key, &err), &err);
    struct reader readers[2] = {{.file = file}, {.file = file}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_often, &readers[i]), 0);
    for (int i = 100; i < 200; i++)
        put(trace, key, i, 0, N_CUTS);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].n_good, 100);
    }
    replay_close(file);
    must(trace_close(trace, &err), &err);
}

static void another_process_that_writes_it_is_named(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    int ready[2], done[2], status;
    char byte = 0;
    assert_true(pipe(ready) == 0 && pipe(done) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct trace *trace = open_trace("{}");
        if (write(ready[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1)
            _exit(1);
        _exit(trace_close(trace, &err) != OK);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    expect_error(replay_open(&file, path, key, &err), NO_MACHINE, &err, "another program writes it");
    assert_int_equal(write(done[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    must(replay_open(&file, path, key, &err), &err);
    replay_close(file);
}

int main(void)
{
    H5open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cuts_of_every_kind_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(indices_alone_are_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_sample_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cell_is_found_by_its_key_or_its_beginning, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trace_of_the_old_layout_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(this_process_may_write_it_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_read_while_one_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(another_process_that_writes_it_is_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
