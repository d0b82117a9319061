/* A whole sweep on a small checkpoint and six questions of its own: interrupted, resumed, traced and timed
 * later, with a picture missing, with one picture only; what is asserted is what the views say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "datasets/benchmark.h"
#include "harness/choose.h"
#include "harness/store.h"
#include "harness/sweep.h"

#include <cmocka.h> /* last: its fail() would hide ours */

#include "tests/sweep_bed.h"

enum { PICTURES = 3, QUESTIONS = 6 };

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(in_folder(name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int setup(void **state)
{
    (void)state;
    return bed_make() != 0 || write_pictures(PICTURES, 80) != 0 ||
           write_questions("q.jsonl", PICTURES, 2) != 0 || write_questions("one.jsonl", 1, 2) != 0;
}

/* Runs the sweep of this text into the store of this name. */
static enum status sweep(const char *text, const char *store, struct error *err)
{
    write_text("sweep.yaml", text);
    const struct sweep_options options = {.file = in_folder("sweep.yaml"),
                                          .store = in_folder(store),
                                          .model = strstr(text, "\nmodel:") ? NULL : model,
                                          .device = "cpu",
                                          .image_mode = IMAGE_MODE_FROM_FILE,
                                          .max_new_tokens = 2,
                                          .n_workers = 1,
                                          .n_threads = 1};
    return sweep_execute(&options, err);
}

/* `original` stands first: the base is chosen by what it shares with the cell, not by order. */
#define MAIN_SWEEP                                                                                           \
    "name: t\n"                                                                                              \
    "benchmarks: [{name: jsonl, questions: %s/q.jsonl}]\n"                                                   \
    "methods:\n"                                                                                             \
    "  - vanilla\n"                                                                                          \
    "  - {name: sparsevlm, budget: 64}\n"                                                                    \
    "  - {name: random, params: {at: decoder, like: sparsevlm, budget: 64},\n"                               \
    "     axes: {positions: [original, compact], seed: [0, 1]}}\n"
enum { MAIN_CELLS = 6 };

static const char *main_sweep(const char *more)
{
    static char text[1024];
    snprintf(text, sizeof text, MAIN_SWEEP "%s", folder, more);
    return text;
}

static void an_interrupted_sweep_goes_on(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct error err = {0};
    pid_t child = fork();
    if (child == 0)
        _exit((int)sweep(main_sweep(""), "main.db", &err));
    while (access(in_folder("main.db-wal"), F_OK) != 0)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    assert_int_equal(kill(child, SIGINT), 0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), INTERRUPTED);
    double n = query("main.db", "SELECT count(*) FROM samples");
    assert_true(n < MAIN_CELLS * QUESTIONS);
    expect("main.db", "SELECT count(score) FROM cells", 0); /* of a part there is no score */
    must(sweep(main_sweep(""), "main.db", &err), OK, &err);
    expect("main.db", "SELECT count(*) FROM samples", MAIN_CELLS * QUESTIONS);
    expect("main.db", "SELECT count(score) FROM cells WHERE n = 6 AND dtype = 'f32'", MAIN_CELLS);
}

/* Rows of A without their like in B. */
static void expect_same_rows(const char *a, const char *b)
{
    static const char *const selects[] = {
        "key, n, n_failed, score, score_lo, score_hi, metrics, tokens_in, tokens_out, budget_off, "
        "macs_paper, "
        "flops, flops_select, kv_bytes_live, kv_bytes_alloc, kv_visual_bytes FROM %scells",
        "key, sample_id, answer, score, yes_prob, n_generated, tokens_in, flops, kv_bytes_live, error FROM "
        "%ssamples",
        "* FROM %slayers", "* FROM %skeep_map", "* FROM %scomparisons"};
    char attach[400], left[400], right[400];
    sqlite3 *db;
    struct error err = {0};
    must(store_open_reader(&db, in_folder(a), &err), OK, &err);
    snprintf(attach, sizeof attach, "ATTACH '%s' AS other", in_folder(b));
    assert_int_equal(sqlite3_exec(db, attach, NULL, NULL, NULL), SQLITE_OK);
    for (unsigned i = 0; i < sizeof selects / sizeof *selects; i++) {
        sqlite3_stmt *s;
        char sql[1800];
        snprintf(left, sizeof left, selects[i], "main.");
        snprintf(right, sizeof right, selects[i], "other.");
        snprintf(sql, sizeof sql,
                 "SELECT (SELECT count(*) FROM (SELECT %s)), (SELECT count(*) FROM (SELECT %s)), "
                 "(SELECT count(*) FROM (SELECT %s EXCEPT SELECT %s))",
                 left, right, left, right);
        if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
            fail_msg("%s: %s", sql, sqlite3_errmsg(db));
        assert_int_equal(sqlite3_step(s), SQLITE_ROW);
        if (sqlite3_column_int(s, 0) == 0 || sqlite3_column_int(s, 0) != sqlite3_column_int(s, 1) ||
            sqlite3_column_int(s, 2) != 0)
            fail_msg("%s: %d and %d rows, %d of them differ", left, sqlite3_column_int(s, 0),
                     sqlite3_column_int(s, 1), sqlite3_column_int(s, 2));
        sqlite3_finalize(s);
    }
    sqlite3_close(db);
}

static enum status sweep_sharing(const char *text, const char *store, int n_workers, bool no_share,
                                 size_t memory, struct error *err)
{
    write_text("share.yaml", text);
    const struct sweep_options options = {.file = in_folder("share.yaml"),
                                          .store = in_folder(store),
                                          .model = model,
                                          .device = "cpu",
                                          .image_mode = IMAGE_MODE_FROM_FILE,
                                          .max_new_tokens = 2,
                                          .n_workers = n_workers,
                                          .n_threads = 1,
                                          .no_share = no_share,
                                          .memory_bytes = memory};
    return sweep_execute(&options, err);
}

static void cells_that_share_are_equal_to_cells_alone(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct error err = {0};
    char text[1600];
    snprintf(text, sizeof text,
             "name: share\n"
             "benchmarks: [{name: jsonl, questions: %s/q.jsonl}]\n"
             "methods:\n"
             "  - vanilla\n"
             "  - {name: sparsevlm, axes: {budget: [192, 64], recycle: [on, off]}}\n"
             "  - {name: sparsevlm, params: {mode: paper}, axes: {lambda: [0.3, 0.6], tau: [0.1, 0.5]}}\n"
             "  - {name: fastv, axes: {budget: [64]}}\n"
             "  - {name: tome, axes: {budget: [64]}}\n"
             "  - {name: divprune, axes: {budget: [64]}}\n"
             "  - {name: random, params: {at: decoder, like: sparsevlm, budget: 64}, axes: {seed: [0, 1]}}\n"
             "controls: [blank, mismatched, no-image]\n",
             folder);
    must(sweep_sharing(text, "alone.db", 1, true, 0, &err), OK, &err);
    must(sweep_sharing(text, "shared.db", 1, false, 0, &err), OK, &err);
    must(sweep_sharing(text, "two.db", 2, false, (size_t)3 << 20, &err), OK, &err);
    expect_same_rows("alone.db", "shared.db");
    expect_same_rows("alone.db", "two.db");
}

static void comparisons_are_to_vanilla_and_to_one_random_arm(void **state)
{
    (void)state;
    NEEDS_MODEL;
    expect("main.db", "SELECT count(*) FROM comparisons WHERE n = 6", 5 + 1);
    expect("main.db",
           "SELECT json_extract(b.params, '$.positions') = 'compact' AND b.seed = 0 FROM comparisons x"
           " JOIN cells c ON c.key = x.key JOIN cells b ON b.key = x.base_key"
           " WHERE c.method = 'sparsevlm' AND b.method = 'random'",
           1);
    expect("main.db",
           "SELECT x.diff - (c.score - (SELECT avg(score) FROM cells WHERE method = 'random'"
           "  AND json_extract(params, '$.positions') = 'compact')) FROM comparisons x"
           " JOIN cells c ON c.key = x.key JOIN cells b ON b.key = x.base_key"
           " WHERE c.method = 'sparsevlm' AND b.method = 'random'",
           0);
    expect("main.db",
           "SELECT count(*) FROM comparisons WHERE b01 + b10 > n OR mcnemar_p > holm_p OR loyalty > 1", 0);
}

/* A trace that is asked for later runs samples anew; their rows stay what they were. */
static void a_trace_added_later_keeps_answers_and_times(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct error err = {0};
    must(sweep(main_sweep("timing: {samples: 2, repeats: 1}\n"), "main.db", &err), OK, &err);
    /* Later seeds cost what the first costs and are not timed: vanilla, sparsevlm, one random by positions.
     */
    expect("main.db", "SELECT count(*) FROM samples WHERE timed AND prefill_ms > 0", 4 * 2);
    expect("main.db", "SELECT count(*) FROM cells WHERE peak_bytes > 0 AND prefill_ms > 0", 4);
    must(sweep(main_sweep("trace: {samples: all, keep: cuts}\n"), "main.db", &err), OK, &err);
    assert_int_equal(access(in_folder("main.h5"), F_OK), 0);
    expect("main.db", "SELECT count(*) FROM samples WHERE timed AND prefill_ms > 0", 4 * 2);
    expect("main.db", "SELECT count(*) FROM cells WHERE timed_n = 2 AND prefill_ms > 0", 4);
    expect("main.db", "SELECT count(*) FROM samples", MAIN_CELLS * QUESTIONS);
}

/* The row that is asked first. */
static int first_row(void)
{
    struct dataset data;
    struct error err = {0};
    int *rows, n;
    must(benchmark_read(&data, "jsonl", &(struct benchmark_paths){.questions = in_folder("q.jsonl")}, &err),
         OK, &err);
    must(choose_samples(&rows, &n, &data, &(struct choice){0}, &err), OK, &err);
    int row = rows[0];
    free(rows);
    dataset_close(&data);
    return row;
}

static void a_first_picture_that_is_missing_fails_alone(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct error err = {0};
    char name[16], text[400];
    snprintf(name, sizeof name, "%d.png", first_row() / 2);
    assert_int_equal(rename(in_folder(name), in_folder("away.png")), 0);
    snprintf(text, sizeof text,
             "name: t\nbenchmarks: [{name: jsonl, questions: %s/q.jsonl}]\nmethods: [vanilla]\n"
             "timing: {samples: 4, repeats: 1}\n",
             folder);
    must(sweep(text, "missing.db", &err), NOT_HELD, &err);
    expect("missing.db", "SELECT n = 4 AND n_failed = 2 AND score NOTNULL AND timed_n > 0 FROM cells", 1);
    expect("missing.db", "SELECT peak_bytes > 0 FROM cells", 1);
    assert_int_equal(rename(in_folder("away.png"), in_folder(name)), 0);
}

static void mismatched_with_one_picture_is_infeasible(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct error err = {0};
    char text[400];
    snprintf(text, sizeof text,
             "name: t\nbenchmarks: [{name: jsonl, questions: %s/one.jsonl}]\nmethods: [vanilla]\n"
             "controls: [mismatched]\n",
             folder);
    must(sweep(text, "one.db", &err), NOT_HELD, &err);
    expect("one.db", "SELECT n FROM cells WHERE control = 'none'", 2);
    expect("one.db",
           "SELECT n = 0 AND reason LIKE '%distinct pictures%' FROM cells WHERE control = 'mismatched'", 1);
}

static void one_benchmark_named_twice_keeps_the_larger_limit(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct error err = {0};
    char text[400];
    snprintf(text, sizeof text,
             "name: t\nmethods: [vanilla]\nbenchmarks:\n"
             "  - {name: jsonl, limit: 1, questions: %s/q.jsonl}\n"
             "  - {name: jsonl, limit: 3, questions: %s/./q.jsonl}\n",
             folder, folder);
    must(sweep(text, "twice.db", &err), OK, &err);
    expect("twice.db", "SELECT count(*) FROM cells", 1);
    expect("twice.db", "SELECT n FROM cells", 3);
}

static void a_file_in_the_traces_place_is_refused_before_anything_is_written(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct error err = {0};
    char text[400];
    snprintf(text, sizeof text,
             "name: t\nbenchmarks: [{name: jsonl, questions: %s/q.jsonl}]\nmethods: [vanilla]\n"
             "trace: {samples: 1}\n",
             folder);
    write_text("notes.h5", "my notes\n");
    must(sweep(text, "notes.db", &err), BAD_INPUT, &err);
    assert_non_null(strstr(err.text, "no HDF5 file"));
    assert_int_not_equal(access(in_folder("notes.db"), F_OK), 0);
    assert_int_not_equal(access(in_folder("notes.h5.damaged"), F_OK), 0);
}

/* At once: before pictures are drawn. What is there is left alone, and so is the trace. */
static void a_second_sweep_on_a_store_is_refused_before_anything_is_drawn(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct error err = {0};
    struct lock *lock;
    must(store_lock(&lock, in_folder("held.db"), &err), OK, &err);
    must(sweep("name: t\nbenchmarks: [{name: mini-gqa, limit: 1}]\nmethods: [vanilla]\ntrace: {samples: 1}\n",
               "held.db", &err),
         NO_MACHINE, &err);
    assert_non_null(strstr(err.text, "another winnow"));
    assert_non_null(strstr(err.text, "winnow merge"));
    lock_give(lock);
    assert_int_not_equal(access(in_folder("data/mini-gqa"), F_OK), 0);
    assert_int_not_equal(access(in_folder("held.db"), F_OK), 0);
    assert_int_not_equal(access(in_folder("held.h5"), F_OK), 0);
}

static void a_bad_model_is_found_before_anything_is_written(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct error err = {0};
    char text[SHARED_PATH + 400];
    snprintf(
        text, sizeof text,
        "name: t\nmodel: [%s, %s]\nbenchmarks: [{name: jsonl, questions: %s/q.jsonl}]\nmethods: [vanilla]\n",
        model, folder, folder);
    must(sweep(text, "bad.db", &err), BAD_INPUT, &err);
    assert_int_not_equal(access(in_folder("bad.db"), F_OK), 0);
    assert_int_not_equal(access(in_folder("bad.db.lock"), F_OK), 0);
}

/* What a sweep traced, a second one replays: equal answers, and logits equal to the last bit. */
static void traced_cells_are_replayed_by_a_second_sweep(void **state)
{
    (void)state;
    NEEDS_MODEL;
    static const char *const methods[] = {"sparsevlm", "pdrop", "tome", "visionzip", "pool", "downsample"};
    enum { METHODS = sizeof methods / sizeof *methods, LIMIT = 4 };
    struct error err = {0};
    char text[2048], sql[256];
    size_t used = (size_t)snprintf(text, sizeof text,
                                   "name: t\ndata: %s/twins\nbenchmarks: [{name: mini-gqa, limit: %d}]\n"
                                   "trace: {samples: all, keep: cuts}\nmethods:\n",
                                   folder, LIMIT);
    for (int i = 0; i < METHODS; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "  - {name: %s, params: {budget: 64}}\n",
                                 methods[i]);
    must(sweep(text, "traced.db", &err), OK, &err);
    /* What happened before layer 0, the tower included, adds up; its own patches are those of the map. */
    expect("traced.db",
           "SELECT count(*) FROM layers WHERE layer = -1 AND visual_in = 576 AND visual_out = 64"
           " AND kept + clusters = visual_out AND kept + recycled + dropped = visual_in",
           4 * LIMIT);
    expect("traced.db",
           "SELECT count(*) FROM layers WHERE kept + clusters <> visual_out AND kept > 0"
           " OR kept + recycled + dropped NOT IN (0, visual_in)",
           0);
    expect(
        "traced.db",
        "SELECT max(abs(r - k)) FROM (SELECT key, avg(kept) AS k FROM layers WHERE layer = -1 GROUP BY key)"
        " JOIN (SELECT key, sum(rate) AS r FROM keep_map WHERE layer = -1 GROUP BY key) USING (key)",
        0);

    used = (size_t)snprintf(text, sizeof text,
                            "name: t\ndata: %s/twins\nbenchmarks: [{name: mini-gqa, limit: %d}]\nmethods:\n",
                            folder, LIMIT);
    sqlite3 *db;
    must(store_open_reader(&db, in_folder("traced.db"), &err), OK, &err);
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT key FROM cells", -1, &s, NULL), SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "  - {name: replay, params: {file: %s/traced.h5, cell: %s}}\n", folder,
                                 (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    sqlite3_close(db);
    must(sweep(text, "replayed.db", &err), OK, &err);
    snprintf(sql, sizeof sql, "ATTACH '%s/traced.db' AS traced", folder);
    must(store_open_reader(&db, in_folder("replayed.db"), &err), OK, &err);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db,
                           "SELECT count(*), sum(a.answer IS b.answer AND a.tokens_in = b.tokens_in"
                           "  AND a.kv_bytes_live = b.kv_bytes_live AND a.yes_prob IS b.yes_prob)"
                           " FROM samples a JOIN cells c ON c.key = a.key"
                           " JOIN traced.samples b ON b.key = json_extract(c.params, '$.cell')"
                           "  AND b.sample_id = a.sample_id WHERE a.error IS NULL",
                           -1, &s, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(s, 0), METHODS * LIMIT);
    assert_int_equal(sqlite3_column_int(s, 1), METHODS * LIMIT);
    sqlite3_finalize(s);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interrupted_sweep_goes_on),
        cmocka_unit_test(cells_that_share_are_equal_to_cells_alone),
        cmocka_unit_test(comparisons_are_to_vanilla_and_to_one_random_arm),
        cmocka_unit_test(a_trace_added_later_keeps_answers_and_times),
        cmocka_unit_test(a_first_picture_that_is_missing_fails_alone),
        cmocka_unit_test(mismatched_with_one_picture_is_infeasible),
        cmocka_unit_test(one_benchmark_named_twice_keeps_the_larger_limit),
        cmocka_unit_test(a_file_in_the_traces_place_is_refused_before_anything_is_written),
        cmocka_unit_test(a_second_sweep_on_a_store_is_refused_before_anything_is_drawn),
        cmocka_unit_test(a_bad_model_is_found_before_anything_is_written),
        cmocka_unit_test(traced_cells_are_replayed_by_a_second_sweep),
    };
    return cmocka_run_group_tests(tests, setup, bed_remove);
}
