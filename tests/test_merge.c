/* Merging and comparing stores: shards give the whole, again gives nothing, what may be replaced is, what may
 * not is named, and a store is never left half-merged. The stores are made once, by small sweeps on questions
 * of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/image.h"
#include "core/json.h"
#include "core/sha256.h"
#include "harness/diff.h"
#include "harness/merge.h"
#include "harness/store.h"
#include "harness/sweep.h"

#include <cmocka.h> /* last: its fail() would hide ours */

#include "tests/sweep_bed.h"

enum { PICTURES = 5, CELLS = 4 };

static void must_say(const struct error *err, const char *part)
{
    if (strstr(err->text, part) == NULL)
        fail_msg("expected \"%s\" in: %s", part, err->text);
}

/* ---- stores to merge ------------------------------------------------------------------------ */

static enum status sweep(const char *store, int shard, int n_shards, struct error *err)
{
    const struct sweep_options options = {.file = in_folder("sweep.yaml"),
                                          .store = in_folder(store),
                                          .model = model,
                                          .device = "cpu",
                                          .image_mode = IMAGE_MODE_FROM_FILE,
                                          .max_new_tokens = 2,
                                          .shard = shard,
                                          .n_shards = n_shards,
                                          .n_workers = 2,
                                          .n_threads = 1};
    return sweep_execute(&options, err);
}

static int write_sweep(void)
{
    FILE *file = fopen(in_folder("sweep.yaml"), "w");
    if (file == NULL)
        return -1;
    fprintf(file,
            "name: t\nbenchmarks: [{name: jsonl, questions: %s/q.jsonl}]\nmethods:\n  - vanilla\n"
            "  - {name: sparsevlm, budget: 64}\n"
            "  - {name: random, params: {at: decoder, like: sparsevlm, budget: 64}, axes: {seed: [0, 1]}}\n",
            folder);
    return fclose(file);
}

static int setup(void **state)
{
    (void)state;
    struct error err = {0};
    if (bed_make() != 0)
        return -1;
    if (model[0] == 0)
        return 0;
    if (write_questions("q.jsonl", PICTURES, 3) != 0 || write_pictures(PICTURES, 50) != 0 ||
        write_sweep() != 0 || sweep("full.db", 0, 0, &err) != OK || sweep("1.db", 1, 2, &err) != OK ||
        sweep("2.db", 2, 2, &err) != OK) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    return 0;
}

/* ---- looking at them ------------------------------------------------------------------------ */

/* Statements on a store's own tables, behind its back. */
static void change(const char *store, const char *sql)
{
    sqlite3 *db;
    char *why = NULL;
    assert_int_equal(sqlite3_open(in_folder(store), &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
    sqlite3_close(db);
}

/* With its log: one that is left over would be taken for the next store's of that name. */
static void remove_store(const char *name)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s%s", in_folder(name), ends[i]);
        unlink(path);
    }
}

static void copy_store(const char *to, const char *from)
{
    char sql[400];
    remove_store(to);
    snprintf(sql, sizeof sql, "VACUUM INTO '%s'", in_folder(to));
    change(from, sql);
    change(to, "PRAGMA journal_mode = WAL"); /* as stores are */
}

static bool equal_stores(const char *a, const char *b)
{
    json_t *diff;
    struct error err = {0};
    must(diff_stores(&diff, in_folder(a), in_folder(b), DIFF_BY_KEY, &err), OK, &err);
    bool equal = json_is_true(json_object_get(diff, "equal"));
    if (!equal)
        json_dumpf(diff, stderr, JSON_INDENT(1));
    json_decref(diff);
    return equal;
}

static void hash_file(char out[65], const char *name)
{
    char *bytes;
    size_t n;
    struct error err = {0};
    must(file_read(&bytes, &n, in_folder(name), 1 << 26, &err), OK, &err);
    sha256_hex(out, bytes, n);
    free(bytes);
}

/* Merges up to three inputs; files: whether the question file is named. */
static enum status merge(struct merge_report *report, const char *out, const char *const *names, bool files,
                         struct error *err)
{
    const char *inputs[3], *questions = in_folder("q.jsonl");
    struct merge_options options = {.out = in_folder(out), .inputs = inputs};
    while (options.n_inputs < 3 && names[options.n_inputs]) {
        inputs[options.n_inputs] = in_folder(names[options.n_inputs]);
        options.n_inputs++;
    }
    if (files)
        options.places = (struct file_places){.questions = &questions, .n_questions = 1};
    return merge_stores(report, &options, err);
}

static void must_merge(const char *out, const char *const *names, bool files, enum status expected)
{
    struct merge_report report;
    struct error err = {0};
    must(merge(&report, out, names, files, &err), expected, &err);
    merge_report_free(&report);
}

#define NAMES(...) ((const char *const[4]){__VA_ARGS__})

/* ---- tests ---------------------------------------------------------------------------------- */

static void shards_give_the_whole(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct merge_report report;
    struct error err = {0};
    must(merge(&report, "whole.db", NAMES("1.db", "2.db"), true, &err), OK, &err);
    assert_int_equal(report.n_cells, CELLS);
    assert_int_equal(report.n_samples, CELLS * 2 * PICTURES);
    assert_int_equal(report.n_added, CELLS * 2 * PICTURES);
    assert_int_equal(report.n_equal + report.n_replaced + report.n_superseded + report.n_conflicts, 0);
    merge_report_free(&report);
    assert_true(equal_stores("full.db", "whole.db"));
    assert_true(equal_stores("whole.db", "full.db"));
    /* and not because there is nothing to compare */
    expect("whole.db", "SELECT count(*) FROM cells WHERE score NOTNULL AND score_lo NOTNULL", CELLS);
    expect("whole.db", "SELECT count(*) FROM comparisons WHERE n = 10 AND diff NOTNULL AND holm_p NOTNULL",
           CELLS);
    assert_true(query("whole.db", "SELECT count(*) FROM layers") > 0);
    assert_true(query("whole.db", "SELECT count(*) FROM keep_map") > 0);
    expect("whole.db", "SELECT count(*) FROM planned", 2 * CELLS);
    /* the other order: rows are found by content */
    must_merge("reverse.db", NAMES("2.db", "1.db"), true, OK);
    assert_true(equal_stores("full.db", "reverse.db"));
    /* a sweep finds nothing left to do */
    must(sweep("whole.db", 0, 0, &err), OK, &err);
    assert_true(equal_stores("full.db", "whole.db"));
}

static void merging_again_changes_nothing(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct merge_report report;
    struct error err = {0};
    char before[65], after[65], input[65], input_after[65];
    must_merge("again.db", NAMES("1.db"), true, OK);
    must_merge("again.db", NAMES("2.db"), true, OK);
    assert_true(equal_stores("full.db", "again.db"));
    must_merge("again.db", NAMES("full.db"), true, OK); /* brings how many samples it had planned */
    hash_file(before, "again.db");
    hash_file(input, "1.db");
    must(merge(&report, "again.db", NAMES("1.db", "2.db", "full.db"), true, &err), OK, &err);
    assert_int_equal(report.n_added + report.n_replaced + report.n_conflicts, 0);
    assert_int_equal(report.n_equal, 2 * CELLS * 2 * PICTURES);
    merge_report_free(&report);
    hash_file(after, "again.db");
    hash_file(input_after, "1.db");
    assert_string_equal(before, after);
    assert_string_equal(input, input_after);
    must(merge(&report, "again.db", NAMES("1.db", "again.db"), true, &err), BAD_INPUT, &err);
    must_say(&err, "is OUT itself");
}

static void without_files_figures_come_over_whole_or_are_missed(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct merge_report report;
    struct error err = {0};
    must_merge("copy.db", NAMES("full.db"), false, OK);
    assert_true(equal_stores("full.db", "copy.db"));
    must_merge("copy.db", NAMES("1.db", "2.db"), false, OK); /* a part of it again */
    assert_true(equal_stores("full.db", "copy.db"));
    must(merge(&report, "parts.db", NAMES("1.db", "2.db"), false, &err), NOT_HELD, &err);
    must_say(&err, "--questions F");
    assert_int_equal(report.n_unscored, 1);
    assert_string_equal(report.unscored[0].benchmark, "jsonl");
    assert_int_equal(report.unscored[0].n_cells, CELLS);
    merge_report_free(&report);
    expect("parts.db", "SELECT count(score) + (SELECT count(*) FROM comparisons) FROM cells", 0);
    /* the missing figures are made by the same command with the files */
    must_merge("parts.db", NAMES("1.db", "2.db"), true, OK);
    assert_true(equal_stores("full.db", "parts.db"));
}

static void an_answer_replaces_a_failure(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct merge_report report;
    struct error err = {0};
    copy_store("failed.db", "full.db");
    change("failed.db",
           "UPDATE sample SET error = 'lost', answer = NULL, score = NULL, flops_vision = NULL WHERE"
           " sample_id < 2; DELETE FROM layer WHERE sample_id < 2; DELETE FROM keep WHERE sample_id < 2");
    copy_store("out.db", "failed.db");
    must(merge(&report, "out.db", NAMES("full.db"), true, &err), OK, &err);
    assert_int_equal(report.n_replaced, 2 * CELLS);
    merge_report_free(&report);
    assert_true(equal_stores("full.db", "out.db"));
    /* the other way round the failure is left out */
    must(merge(&report, "out.db", NAMES("failed.db"), true, &err), OK, &err);
    assert_int_equal(report.n_superseded, 2 * CELLS);
    assert_int_equal(report.n_replaced, 0);
    merge_report_free(&report);
    assert_true(equal_stores("full.db", "out.db"));
}

static void times_and_verdicts_are_taken_over(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct merge_report report;
    struct error err = {0};
    copy_store("timed.db", "full.db");
    change("timed.db",
           "UPDATE sample SET timed = 1, prefill_ms = 7 + sample_id, machine = 'M' WHERE cell = 1 AND"
           " sample_id < 3; UPDATE summary SET peak_bytes = 99 WHERE cell = 1;"
           " INSERT INTO judge_reply VALUES('h', 'm', 'yes', 'now')");
    copy_store("judged.db", "full.db");
    change("judged.db", "UPDATE sample SET verdict = 'good', judge = 'J', score = 0.5 WHERE cell = 2 AND"
                        " sample_id = 4");
    copy_store("out.db", "full.db");
    must(merge(&report, "out.db", NAMES("timed.db", "judged.db"), true, &err), OK, &err);
    assert_int_equal(report.n_replaced, 3);
    assert_int_equal(report.n_verdicts, 1);
    merge_report_free(&report);
    expect("out.db", "SELECT prefill_ms FROM cells WHERE timed_n = 3", 8);
    expect("out.db", "SELECT peak_bytes FROM cells WHERE timed_n = 3", 99);
    expect("out.db", "SELECT count(*) FROM samples WHERE machine = 'M'", 3);
    expect("out.db", "SELECT score FROM sample WHERE judge = 'J' AND verdict = 'good'", 0.5);
    expect("out.db", "SELECT count(*) FROM judge_reply", 1);
    must(merge(&report, "out.db", NAMES("timed.db", "judged.db", "full.db"), true, &err), OK, &err);
    assert_int_equal(report.n_replaced + report.n_verdicts, 0);
    merge_report_free(&report);
}

static void another_answer_is_a_conflict(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct merge_report report;
    struct error err = {0};
    copy_store("other.db", "full.db");
    change("other.db",
           "UPDATE sample SET answer = 'Maybe' WHERE cell = 2 AND sample_id = 3;"
           " UPDATE sample SET flops_prefill = flops_prefill + 1 WHERE cell = 3 AND sample_id = 5");
    copy_store("out.db", "full.db");
    for (int turn = 0; turn < 2; turn++) {
        must(merge(&report, "out.db", NAMES("other.db"), true, &err), NOT_HELD, &err);
        must_say(&err, "2 samples have other answers or counts");
        assert_int_equal(report.n_conflicts, 2);
        assert_int_equal(report.conflicts[0].sample_id, 3);
        assert_string_equal(report.conflicts[0].differs, "answer");
        assert_string_equal(report.conflicts[0].other, "Maybe");
        assert_string_equal(report.conflicts[0].label, "sparsevlm budget=64");
        assert_int_equal(strlen(report.conflicts[0].key), 32);
        assert_string_equal(report.conflicts[1].differs, "flops_prefill");
        merge_report_free(&report);
        assert_true(equal_stores("full.db", "out.db"));
    }
}

static void bad_inputs_are_named_before_out_is_touched(void **state)
{
    (void)state;
    NEEDS_MODEL;
    struct merge_report report;
    struct error err = {0};
    must(merge(&report, "new.db", NAMES("1.db", "none.db"), true, &err), BAD_INPUT, &err);
    must_say(&err, "none.db: there is no such store");
    must(merge(&report, "new.db", NAMES("1.db", "q.jsonl"), true, &err), BAD_INPUT, &err);
    must_say(&err, "q.jsonl");
    copy_store("newer.db", "full.db");
    change("newer.db", "PRAGMA user_version = 99");
    must(merge(&report, "new.db", NAMES("1.db", "newer.db"), true, &err), BAD_INPUT, &err);
    must_say(&err, "schema 99");
    copy_store("broken.db", "full.db");
    FILE *file = fopen(in_folder("broken.db"), "r+b");
    assert_non_null(file);
    for (long at = 3 * 4096; at < 40 * 4096; at += 4096) { /* pages overwritten */
        fseek(file, at, SEEK_SET);
        for (int i = 0; i < 4096; i++)
            fputc(0x55, file);
    }
    fclose(file);
    must(merge(&report, "new.db", NAMES("1.db", "broken.db"), true, &err), BAD_INPUT, &err);
    must_say(&err, "broken.db");
    copy_store("liar.db", "full.db"); /* the same hash of the files, other questions */
    change("liar.db", "UPDATE question SET gold = 'perhaps' WHERE sample_id = 1");
    must(merge(&report, "new.db", NAMES("1.db", "liar.db"), true, &err), BAD_INPUT, &err);
    must_say(&err, "gold differs");
    assert_int_not_equal(access(in_folder("new.db"), F_OK), 0);
    char command[200];
    snprintf(command, sizeof command, "ls '%s' | grep -q 'new.db'", folder);
    assert_int_not_equal(system(command), 0); /* nor anything half-made */
    char before[65], after[65];
    copy_store("out.db", "1.db");
    hash_file(before, "out.db");
    must(merge(&report, "out.db", NAMES("2.db", "liar.db"), true, &err), BAD_INPUT, &err);
    hash_file(after, "out.db");
    assert_string_equal(before, after); /* 2.db's rows were taken back */
    assert_true(equal_stores("1.db", "out.db"));
}

static void an_older_input_is_migrated_in_a_copy(void **state)
{
    (void)state;
    NEEDS_MODEL;
    copy_store("older.db", "full.db");
    change("older.db",
           "ALTER TABLE sample DROP COLUMN marked; ALTER TABLE sample DROP COLUMN verdict;"
           " ALTER TABLE sample DROP COLUMN judge; DROP TABLE judge_reply; DROP TABLE activity;"
           " DROP TABLE planned; ALTER TABLE question DROP COLUMN is_number; PRAGMA user_version = 1");
    char before[65], after[65];
    hash_file(before, "older.db");
    must_merge("from-older.db", NAMES("older.db"), true, OK);
    hash_file(after, "older.db");
    assert_string_equal(before, after);
    assert_true(equal_stores("full.db", "from-older.db"));
    expect("from-older.db", "PRAGMA user_version", STORE_SCHEMA);
    must_merge("from-older.db", NAMES("1.db"), true, OK); /* brings which ids are numbers */
    expect("from-older.db", "SELECT count(*) FROM question WHERE is_number = 1", 2 * PICTURES);
}

/* Where a sweep found no files its cells say so; they give way to those of a machine that had them. */
static void cells_of_missing_files_give_way(void **state)
{
    (void)state;
    NEEDS_MODEL;
    char before[65], after[65];
    copy_store("missing.db", "full.db");
    change("missing.db",
           "DELETE FROM comparison; DELETE FROM keep_rate; DELETE FROM summary; DELETE FROM planned;"
           " DELETE FROM keep; DELETE FROM layer; DELETE FROM sample; DELETE FROM question;"
           " UPDATE source SET files_sha = ''; UPDATE cell SET reason = 'no files', key = 'm' || key");
    must_merge("out-a.db", NAMES("missing.db"), true, OK);
    expect("out-a.db", "SELECT count(*) FROM cells WHERE reason = 'no files'", CELLS);
    must_merge("out-a.db", NAMES("full.db"), true, OK);
    must_merge("out-b.db", NAMES("full.db", "missing.db"), true, OK);
    assert_true(equal_stores("full.db", "out-a.db"));
    assert_true(equal_stores("full.db", "out-b.db"));
    hash_file(before, "out-b.db");
    must_merge("out-b.db", NAMES("missing.db"), true, OK);
    hash_file(after, "out-b.db");
    assert_string_equal(before, after);
}

/* Killed at any moment OUT is what it was, or all is in it. */
static void a_killed_merge_leaves_out_as_it_was(void **state)
{
    (void)state;
    NEEDS_MODEL;
    enum { KILLS = 24 };
    int n_before = 0, n_after = 0;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    must_merge("victim.db", NAMES("1.db", "2.db"), true, OK);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double whole_s = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    for (int i = 0; i < KILLS; i++) {
        bool fresh = i % 2;
        remove_store("victim.db");
        if (!fresh)
            copy_store("victim.db", "1.db");
        pid_t child = fork();
        if (child == 0) {
            struct merge_report report;
            struct error err = {0};
            _exit((int)merge(&report, "victim.db", NAMES("1.db", "2.db"), true, &err));
        }
        usleep((useconds_t)(1e6 * 1.3 * whole_s * i / KILLS));
        kill(child, SIGKILL);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (fresh && access(in_folder("victim.db"), F_OK) != 0) {
            n_before++;
            continue;
        }
        bool whole = query("victim.db", "SELECT count(*) FROM sample") == CELLS * 2 * PICTURES;
        assert_true(equal_stores(whole ? "full.db" : "1.db", "victim.db"));
        assert_true(whole || !fresh);
        n_before += !whole;
        n_after += whole;
    }
    assert_true(n_before > 0);
    printf("killed before: %d, after: %d\n", n_before, n_after);
}

/* ---- the command lines ---------------------------------------------------------------------- */

/* Exit status; stdout.txt and stderr.txt hold what was said. */
static int winnow(const char *arguments)
{
    char command[1200];
    snprintf(command, sizeof command, "cd '%s' && '%s' %s >stdout.txt 2>stderr.txt", folder,
             WINNOW_EXECUTABLE, arguments);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static json_t *read_json(void)
{
    json_t *root;
    struct error err = {0};
    must(json_read(&root, in_folder("stdout.txt"), &err), OK, &err);
    return root;
}

static void assert_holds(const char *name, const char *part)
{
    char *bytes;
    size_t n;
    struct error err = {0};
    must(file_read(&bytes, &n, in_folder(name), 1 << 20, &err), OK, &err);
    if (strstr(bytes, part) == NULL)
        fail_msg("%s: expected \"%s\" in: %s", name, part, bytes);
    free(bytes);
}

static void the_commands_say_what_they_did(void **state)
{
    (void)state;
    NEEDS_MODEL;
    assert_int_equal(winnow("merge cli.db 1.db 2.db --questions q.jsonl --json"), OK);
    json_t *root = read_json();
    assert_int_equal(json_integer_value(json_object_get(root, "cells")), CELLS);
    assert_int_equal(json_integer_value(json_object_get(root, "samples")), CELLS * 2 * PICTURES);
    assert_int_equal(json_integer_value(json_object_get(root, "added")), CELLS * 2 * PICTURES);
    assert_int_equal(json_array_size(json_object_get(root, "conflicts")), 0);
    json_decref(root);
    assert_int_equal(winnow("diff cli.db full.db"), OK);
    assert_holds("stdout.txt", "4 cells and 40 samples in both, all equal");
    assert_int_equal(winnow("diff cli.db 1.db"), NOT_HELD);
    assert_holds("stdout.txt", "4 cells differ");
    copy_store("other.db", "full.db");
    change("other.db",
           "UPDATE sample SET answer = 'Maybe' WHERE cell = 2 AND sample_id = 3; DELETE FROM layer WHERE"
           " cell = 1 AND layer = 1 AND sample_id = 2");
    assert_int_equal(winnow("merge cli.db other.db --questions q.jsonl"), NOT_HELD);
    assert_holds("stdout.txt", "conflict: ");
    assert_holds("stdout.txt", "jsonl sparsevlm budget=64, sample 3: answer differs; kept \"");
    assert_holds("stdout.txt", "other.db has \"Maybe\"");
    assert_int_equal(winnow("diff full.db other.db --json"), NOT_HELD);
    root = read_json();
    json_t *cells = json_object_get(root, "cells"), *row;
    assert_int_equal(json_array_size(cells), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(cells, 0), "layers")), 1);
    row = json_array_get(json_object_get(json_array_get(cells, 1), "rows"), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "sample_id")), 3);
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(json_object_get(row, "differs"), "answer"), 1)),
        "Maybe");
    json_decref(root);
    assert_int_equal(winnow("diff full.db other.db --by weight"), BAD_INPUT);
    assert_int_equal(winnow("diff full.db"), BAD_INPUT);
    assert_int_equal(winnow("diff full.db none.db"), BAD_INPUT);
    assert_int_equal(winnow("merge full.db"), BAD_INPUT);
    assert_int_equal(winnow("merge -h"), OK);
}

/* Other weights or numerics give other keys; by their settings the cells are the same. */
static void cells_of_two_revisions_are_paired_by_config(void **state)
{
    (void)state;
    NEEDS_MODEL;
    copy_store("revision.db", "full.db");
    change("revision.db",
           "UPDATE cell SET key = 'x' || substr(key, 2), canonical = replace(replace(canonical,"
           " 'weights=', 'weights=0'), 'numerics=', 'numerics=9')");
    assert_int_equal(winnow("diff full.db revision.db"), NOT_HELD);
    assert_holds("stdout.txt", "0 cells and 0 samples in both; 0 cells differ, 4 only in A, 4 only in B");
    assert_int_equal(winnow("diff full.db revision.db --by config"), OK);
    assert_holds("stdout.txt", "4 cells and 40 samples in both, all equal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_give_the_whole),
        cmocka_unit_test(merging_again_changes_nothing),
        cmocka_unit_test(without_files_figures_come_over_whole_or_are_missed),
        cmocka_unit_test(an_answer_replaces_a_failure),
        cmocka_unit_test(times_and_verdicts_are_taken_over),
        cmocka_unit_test(another_answer_is_a_conflict),
        cmocka_unit_test(bad_inputs_are_named_before_out_is_touched),
        cmocka_unit_test(an_older_input_is_migrated_in_a_copy),
        cmocka_unit_test(cells_of_missing_files_give_way),
        cmocka_unit_test(a_killed_merge_leaves_out_as_it_was),
        cmocka_unit_test(the_commands_say_what_they_did),
        cmocka_unit_test(cells_of_two_revisions_are_paired_by_config),
    };
    return cmocka_run_group_tests(tests, setup, bed_remove);
}
