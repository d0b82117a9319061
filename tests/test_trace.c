/* Traces: the layout of the contract, numbering of clusters, replacing, reopening, and a writer that is
 * killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hdf5.h>

#include "harness/trace.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static char path[64], damaged[100];
static const char key[] = "0123456789abcdef0123456789abcdef";

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/winnow-trace-%ld.h5", (long)getpid());
    snprintf(damaged, sizeof damaged, "%s.damaged", path);
    unlink(path);
    unlink(damaged);
    return 0;
}

static void must(enum status status, const struct error *err)
{
    if (status != OK)
        fail_msg("%s", err->text);
}

/* An answer with two cuts of six visual tokens: 0 2 3 4 are kept or clustered, then 2 and cluster 0 stay. */
static int32_t ids1[] = {0, 1, 2, 3, 4, 5}, kept1[] = {0, 2, 3}, recycled1[] = {4, 1}, centres1[] = {4},
               group1[] = {0, 0}, raters1[] = {1, 3};
static int32_t ids2[] = {0, 2, 3, -1}, kept2[] = {1, 3};
static float weight1[] = {.5F, .5F}, score1[] = {.5F, .1F, .4F, .3F, .2F, .0F}, attention[12];
static struct cut_record records[] = {
    {.layer = 2,
     .n_in = 6,
     .ids_in = ids1,
     .n_kept = 3,
     .n_recycled = 2,
     .n_clusters = 1,
     .n_raters = 2,
     .rank = 2,
     .kept = kept1,
     .recycled = recycled1,
     .centres = centres1,
     .cluster_of = group1,
     .weight = weight1,
     .raters = raters1,
     .score = score1},
    {.layer = 6, .n_in = 4, .ids_in = ids2, .n_kept = 2, .n_raters = -1, .rank = -1, .kept = kept2}};
static struct ledger_layer layers[] = {
    {.visual_in = 6}, {.visual_in = 6}, {.visual_in = 6}, {.visual_in = 4}};
static struct attention_record attentions[] = {{.layer = 2, .rows = 2, .cols = 6, .data = attention}};
static const struct answer answer = {.ledger = {.n_layers = 4, .layers = layers},
                                     .records = records,
                                     .n_records = 2,
                                     .attention = attentions,
                                     .n_attention = 1};

static struct trace *open_trace(void)
{
    struct trace *trace;
    struct error err = {0};
    bool moved;
    must(trace_open(&trace, path, &moved, &err), &err);
    assert_false(moved);
    must(trace_cell(trace, key, "sparsevlm", "{\"tau\":0.3}", "m", &err), &err);
    return trace;
}

static void put(struct trace *trace, int sample, bool cuts_only)
{
    static uint8_t rgb[5 * 4 * 3] = {1, 2, 3};
    const struct image image = {.width = 5, .height = 4, .rgb = rgb};
    struct error err = {0};
    must(trace_sample(trace, key,
                      &(struct trace_sample){.sample_id = sample,
                                             .question = "Wo? \xc3\xa4",
                                             .answer = "da",
                                             .image = &image,
                                             .n_grids = 1,
                                             .grid_rows = 2,
                                             .grid_cols = 3,
                                             .result = &answer,
                                             .cuts_only = cuts_only},
                      &err),
         &err);
}

static void expect_ints(hid_t file, const char *name, const int32_t *expected, int n)
{
    char full[200];
    snprintf(full, sizeof full, "/cells/%s/samples/3/%s", key, name);
    hid_t set = H5Dopen2(file, full, H5P_DEFAULT);
    if (set < 0)
        fail_msg("%s is missing", full);
    hid_t space = H5Dget_space(set);
    assert_int_equal(H5Sget_simple_extent_npoints(space), n);
    int32_t values[16];
    if (n > 0)
        assert_true(H5Dread(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    for (int i = 0; i < n; i++)
        if (values[i] != expected[i])
            fail_msg("%s[%d]: expected %d, found %d", name, i, expected[i], values[i]);
    H5Sclose(space);
    H5Dclose(set);
}

static bool there(hid_t file, int sample, const char *name)
{
    char full[200];
    snprintf(full, sizeof full, "/cells/%s/samples/%d", key, sample);
    if (H5Lexists(file, full, H5P_DEFAULT) <= 0)
        return false;
    snprintf(full, sizeof full, "/cells/%s/samples/%d/%s", key, sample, name);
    return *name == 0 || H5Lexists(file, full, H5P_DEFAULT) > 0;
}

static void the_layout_is_that_of_the_contract(void **state)
{
    (void)state;
    struct error err = {0};
    struct trace *trace = open_trace();
    put(trace, 3, false);
    assert_true(trace_has(trace, key, 3));
    assert_false(trace_has(trace, key, 4));
    assert_false(trace_has(trace, "another", 3));
    must(trace_close(trace, &err), &err);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    expect_ints(file, "grid", (int32_t[]){2, 3}, 2);
    expect_ints(file, "visual_count", (int32_t[]){6, 6, 6, 4}, 4);
    expect_ints(file, "cuts/0/kept", (int32_t[]){0, 2, 3}, 3);
    expect_ints(file, "cuts/0/recycled", (int32_t[]){4, 1}, 2);
    expect_ints(file, "cuts/0/centres", (int32_t[]){4}, 1);
    expect_ints(file, "cuts/0/cluster_of", (int32_t[]){0, 0}, 2);
    expect_ints(file, "cuts/0/raters", (int32_t[]){1, 3}, 2);
    expect_ints(file, "cuts/0/rank", (int32_t[]){2}, 1);
    expect_ints(file, "cuts/1/kept", (int32_t[]){2, -1}, 2); /* cluster 0 survives the second cut */
    expect_ints(file, "cuts/1/recycled", NULL, 0);
    expect_ints(file, "cuts/1/raters", (int32_t[]){-1}, 1);
    assert_true(there(file, 3, "cuts/0/score"));
    assert_false(there(file, 3, "cuts/1/score"));
    assert_true(there(file, 3, "attention/2"));
    assert_true(there(file, 3, "image"));
    char cell[100];
    snprintf(cell, sizeof cell, "/cells/%s", key);
    hid_t group = H5Gopen2(file, cell, H5P_DEFAULT);
    static const char *const attributes[] = {"method", "params", "model", "units"};
    for (size_t i = 0; i < 4; i++)
        assert_true(H5Aexists(group, attributes[i]) > 0);
    H5Gclose(group);
    H5Fclose(file);
}

static void cuts_only_leaves_pictures_out(void **state)
{
    (void)state;
    struct error err = {0};
    struct trace *trace = open_trace();
    put(trace, 3, false);
    put(trace, 3, true); /* replaces */
    must(trace_close(trace, &err), &err);
    trace = open_trace(); /* goes on */
    put(trace, 5, true);
    must(trace_close(trace, &err), &err);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(there(file, 3, "cuts/0/kept"));
    assert_false(there(file, 3, "image"));
    assert_false(there(file, 3, "cuts/0/score"));
    assert_false(there(file, 3, "attention"));
    assert_true(there(file, 5, ""));
    H5Fclose(file);
}

/* The first 700 samples cross the places where the file is closed and opened anew. */
static void a_killed_writer_leaves_a_readable_file(void **state)
{
    (void)state;
    for (int n = 1; n <= 700; n = n * 5 + 1) {
        setup(NULL);
        pid_t child = fork();
        if (child == 0) {
            struct trace *trace = open_trace();
            for (int i = 0; i < n; i++)
                put(trace, i, true);
            raise(SIGKILL);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
        assert_true(file >= 0);
        for (int i = 0; i < n; i++)
            assert_true(there(file, i, "cuts/1/kept"));
        H5Fclose(file);
        struct error err = {0};
        struct trace *trace = open_trace();
        assert_true(trace_has(trace, key, n - 1));
        put(trace, n, false);
        must(trace_close(trace, &err), &err);
    }
}

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void a_file_of_others_is_left_alone(void **state)
{
    (void)state;
    struct error err = {0};
    struct trace *trace;
    bool moved;
    write_text(path, "\x89PNG\r\n\x1a\n a picture");
    assert_int_equal(trace_open(&trace, path, &moved, &err), BAD_INPUT);
    assert_false(moved);
    assert_int_equal(access(path, F_OK), 0);
    setup(NULL);

    int ready[2], done[2];
    char byte = 0;
    assert_true(pipe(ready) == 0 && pipe(done) == 0);
    pid_t child = fork();
    if (child == 0) {
        trace = open_trace();
        if (write(ready[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1)
            _exit(1);
        _exit(trace_close(trace, &err) != OK);
    }
    int status;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(trace_open(&trace, path, &moved, &err), NO_MACHINE);
    assert_non_null(strstr(err.text, "open elsewhere"));
    assert_int_not_equal(access(damaged, F_OK), 0);
    assert_int_equal(write(done[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    must(trace_close(open_trace(), &err), &err);
}

static void a_damaged_file_is_moved_away(void **state)
{
    (void)state;
    struct error err = {0};
    struct trace *trace;
    char second[110];
    bool moved;
    write_text(path, "\x89HDF\r\n\x1a\n and then nothing of use");
    must(trace_open(&trace, path, &moved, &err), &err);
    assert_true(moved);
    must(trace_close(trace, &err), &err);
    write_text(path, "\x89HDF\r\n\x1a\n once more");
    must(trace_open(&trace, path, &moved, &err), &err); /* PATH.damaged is kept */
    must(trace_close(trace, &err), &err);
    snprintf(second, sizeof second, "%s-2", damaged);
    assert_int_equal(unlink(damaged), 0);
    assert_int_equal(unlink(second), 0);
    write_text(path, "\x89HDF\r\n\x1a\n and again");
    assert_int_equal(trace_open(&trace, path, NULL, &err), BAD_INPUT);
    assert_int_not_equal(access(damaged, F_OK), 0);
    assert_int_equal(trace_open(&trace, "/nowhere/at/all.h5", &moved, &err), NO_MACHINE);
    setup(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_layout_is_that_of_the_contract, setup, setup),
        cmocka_unit_test_setup_teardown(cuts_only_leaves_pictures_out, setup, setup),
        cmocka_unit_test_setup_teardown(a_killed_writer_leaves_a_readable_file, setup, setup),
        cmocka_unit_test_setup_teardown(a_file_of_others_is_left_alone, setup, setup),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_moved_away, setup, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
