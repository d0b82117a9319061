/* A store on a disk that fails: whatever write, sync, truncation, opening or removal goes wrong, a session
 * ends in a clear error or well, the file is intact, holds whole samples and all that was reported committed,
 * and the same session given again ends with the rows of an undisturbed one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "core/json.h"
#include "harness/store.h"
#include "tests/fault_vfs.h"
#include "tests/store_text.h"

#include <cmocka.h> /* last: its fail() would hide ours */

enum { QUESTIONS = 4, CELLS = 2, OPERATIONS_MAX = 2000 };

static char folder[32], path[64];

static void remove_stores(void)
{
    char pattern[100];
    glob_t found = {0};
    snprintf(pattern, sizeof pattern, "%s/*", folder);
    glob(pattern, 0, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc; i++)
        unlink(found.gl_pathv[i]);
    globfree(&found);
}

static int setup(void **state)
{
    (void)state;
    bool memory = access("/dev/shm", W_OK) == 0; /* thousands of small files */
    snprintf(folder, sizeof folder, "%s/winnow-faults-XXXXXX", memory ? "/dev/shm" : "/tmp");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/s.db", folder);
    fault_vfs_use();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_stores();
    return rmdir(folder);
}

static void must(enum status status, const struct error *err)
{
    if (status != OK)
        fail_msg("%s", err->text);
}

/* ---- a session ------------------------------------------------------------------------------ */

static struct sample questions[QUESTIONS];
static const struct dataset dataset = {
    .name = "mini-pope", .samples = questions, .n = QUESTIONS, .files_sha256 = "abc"};

static enum status put(struct store *store, int64_t cell, int row, struct error *err)
{
    uint8_t alive[1] = {5};
    char answer[1500]; /* some pages of it, so that writes are many */
    memset(answer, 'a' + row, sizeof answer - 1);
    answer[sizeof answer - 1] = 0;
    const struct store_layer layers[2] = {{.layer = 0, .visual_in = 4, .visual_out = 3, .flops = 100},
                                          {.layer = 1, .visual_in = 3, .visual_out = 3, .flops = 100}};
    const struct store_keep keep = {.layer = 0, .rows = 2, .cols = 2, .alive = alive};
    return store_sample(store, cell,
                        &(struct store_sample){.sample_id = row,
                                               .machine = "A",
                                               .answer = answer,
                                               .parsed = "yes",
                                               .score = row % 2,
                                               .yes_prob = (double)NAN,
                                               .n_visual = 4,
                                               .tokens_in = 3,
                                               .layers = layers,
                                               .n_layers = 2,
                                               .keeps = &keep,
                                               .n_keeps = 1},
                        err);
}

/* committed[cell][row] is set where the store said so. */
typedef bool committed[CELLS][QUESTIONS];

static enum status fill(struct store *store, committed done, struct error *err)
{
    int64_t source, cells[CELLS];
    uint8_t states[QUESTIONS];
    TRY(store_source(&source, store, &dataset, "mini-pope", err));
    for (int c = 0; c < CELLS; c++)
        TRY(store_cell(&cells[c], store,
                       &(struct store_cell){.key = c ? "k1" : "k0",
                                            .canonical = "numerics=1\n",
                                            .source = source,
                                            .model = "m",
                                            .method = "vanilla",
                                            .benchmark = "mini-pope"},
                       err));
    TRY(store_tick(store, true, err));
    for (int row = 0; row < QUESTIONS; row++) {
        for (int c = 0; c < CELLS; c++) {
            memset(states, 0, sizeof states);
            TRY(store_states(states, QUESTIONS, store, cells[c], err));
            if (!(states[row] & STORE_DONE))
                TRY(put(store, cells[c], row, err));
        }
        if (row % 2 == 0)
            continue;
        TRY(store_tick(store, true, err));
        for (int c = 0; c < CELLS; c++)
            done[c][row] = done[c][row - 1] = true;
    }
    TRY(store_times(store, cells[0], 0, &(struct store_times){.prefill_ms = 7}, err));
    TRY(store_peak(store, cells[0], 1000, err));
    return OK;
}

static enum status session(committed done, struct error *err)
{
    struct store *store;
    TRY(store_open(&store, path, err));
    enum status status = fill(store, done, err);
    struct error later = {0};
    enum status closed = store_close(store, &later);
    if (status != OK || closed == OK)
        return status;
    *err = later;
    return closed;
}

/* ---- what must hold ------------------------------------------------------------------------- */

static sqlite3 *open_plainly(const char *name)
{
    sqlite3 *db;
    if (sqlite3_open_v2(name, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        fail_msg("%s: %s", name, sqlite3_errmsg(db));
    return db;
}

/* The first value as a number; -1: no such table yet. */
static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        return -1;
    int64_t value = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : -1;
    sqlite3_finalize(s);
    return value;
}

static void check_intact(sqlite3 *db, const char *what)
{
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &s, NULL), SQLITE_OK);
    if (sqlite3_step(s) != SQLITE_ROW || strcmp((const char *)sqlite3_column_text(s, 0), "ok") != 0)
        fail_msg("%s: %s", what, sqlite3_errmsg(db));
    sqlite3_finalize(s);
}

static void check_whole(sqlite3 *db, committed done, const char *what)
{
    static const char *const none[] = {
        "SELECT count(*) FROM sample s WHERE 2 <> (SELECT count(*) FROM layer l WHERE l.cell = s.cell AND "
        "l.sample_id = s.sample_id)",
        "SELECT count(*) FROM sample s WHERE 1 <> (SELECT count(*) FROM keep l WHERE l.cell = s.cell AND "
        "l.sample_id = s.sample_id)",
        "SELECT count(*) FROM layer l WHERE NOT EXISTS (SELECT * FROM sample s WHERE l.cell = s.cell AND "
        "l.sample_id = s.sample_id)",
        "SELECT count(*) FROM source o WHERE 4 <> (SELECT count(*) FROM question WHERE source = o.id)"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (number(db, none[i]) > 0)
            fail_msg("%s: not 0: %s", what, none[i]);
    for (int c = 0; c < CELLS; c++)
        for (int row = 0; row < QUESTIONS; row++) {
            char sql[160];
            snprintf(sql, sizeof sql,
                     "SELECT count(*) FROM sample s JOIN cell c ON c.id = s.cell WHERE c.key = 'k%d' AND "
                     "sample_id = %d",
                     c, row);
            if (done[c][row] && number(db, sql) != 1)
                fail_msg("%s: sample %d of cell %d was committed and is gone", what, row, c);
        }
}

static char *text_of_store(void)
{
    sqlite3 *db = open_plainly(path);
    char *text = store_text(db, false);
    assert_non_null(text);
    sqlite3_close(db);
    return text;
}

static bool is_left(const char *end)
{
    char name[100];
    snprintf(name, sizeof name, "%s%s", path, end);
    return access(name, F_OK) == 0;
}

/* ---- every operation, every way ------------------------------------------------------------- */

static void copy_file(const char *to, const char *from)
{
    char *bytes;
    size_t n;
    struct error err = {0};
    must(file_read(&bytes, &n, from, 1 << 24, &err), &err);
    must(file_write(to, bytes, n, &err), &err);
    free(bytes);
}

/* before: a store to begin with, NULL: none. */
static void fail_everywhere(const char *before)
{
    struct error err = {0};
    committed done = {0};
    remove_stores();
    if (before)
        copy_file(path, before);
    fault_arm(FAULT_NONE, 0);
    must(session(done, &err), &err);
    int n_operations = fault_disarm(), n_errors = 0, n_runs = 0;
    assert_in_range(n_operations, 20, OPERATIONS_MAX);
    char *expected = text_of_store();

    for (enum fault kind = FAULT_ONCE; kind < FAULTS; kind++)
        for (int at = 0; at < n_operations; at++) {
            char what[64];
            remove_stores();
            if (before)
                copy_file(path, before);
            memset(done, 0, sizeof done);
            snprintf(what, sizeof what, "%s at operation %d", fault_names[kind], at);
            fault_arm(kind, at);
            enum status status = session(done, &err);
            fault_disarm();
            if (status != OK && (status != NO_MACHINE || strchr(err.text, ';') == NULL))
                fail_msg("%s: status %d, %s", what, status, err.text);
            for (int i = 0; status == OK && i < CELLS * QUESTIONS; i++)
                done[i / QUESTIONS][i % QUESTIONS] = true;
            n_errors += status != OK;
            n_runs++;

            if (access(path, F_OK) == 0) {
                sqlite3 *db = open_plainly(path);
                check_intact(db, what);
                check_whole(db, done, what);
                sqlite3_close(db);
            }
            if (session(done, &err) != OK)
                fail_msg("%s: is not taken up again: %s", what, err.text);
            char *found = text_of_store();
            if (strcmp(found, expected) != 0) {
                char difference[4000];
                store_text_difference(difference, sizeof difference, expected, found);
                fail_msg("%s: %s", what, difference);
            }
            free(found);
            assert_false(is_left(".lock"));
            assert_false(is_left(".schema-1.bak.tmp"));
            if (before) {
                char name[100];
                snprintf(name, sizeof name, "%s.schema-1.bak", path);
                sqlite3 *db = open_plainly(name);
                check_intact(db, what);
                assert_int_equal(number(db, "PRAGMA user_version"), 1);
                assert_int_equal(number(db, "SELECT count(*) FROM sample"), 1);
                sqlite3_close(db);
            }
        }
    printf("%d operations, %d sessions, %d ended in an error\n", n_operations, n_runs, n_errors);
    free(expected);
}

static void a_failing_disk_loses_nothing_that_was_committed(void **state)
{
    (void)state;
    fail_everywhere(NULL);
}

static void a_failing_disk_does_not_spoil_a_migration(void **state)
{
    (void)state;
    static const char to_schema_1[] =
        "ALTER TABLE sample DROP COLUMN marked; ALTER TABLE sample DROP COLUMN verdict;"
        " ALTER TABLE sample DROP COLUMN judge; DROP TABLE judge_reply; DROP TABLE activity; DROP TABLE planned;"
        " ALTER TABLE question DROP COLUMN is_number; PRAGMA user_version = 1";
    struct error err = {0};
    committed done = {0};
    char before[64] = "/tmp/winnow-faults-before-XXXXXX";
    int file = mkstemp(before);
    assert_true(file >= 0);
    close(file);
    remove_stores();
    must(session(done, &err), &err);
    sqlite3 *db = open_plainly(path);
    assert_int_equal(sqlite3_exec(db,
                                  "DELETE FROM sample WHERE sample_id > 0 OR cell > 1;"
                                  "DELETE FROM layer WHERE sample_id > 0 OR cell > 1;"
                                  "DELETE FROM keep WHERE sample_id > 0 OR cell > 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, to_schema_1, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    copy_file(before, path);
    fail_everywhere(before);
    unlink(before);
}

/* ---- the store after an error --------------------------------------------------------------- */

static void after_an_error_nothing_is_written_any_more(void **state)
{
    (void)state;
    struct error err = {0}, first;
    struct store *store;
    int64_t source, cell;
    remove_stores();
    must(store_open(&store, path, &err), &err);
    must(store_source(&source, store, &dataset, "mini-pope", &err), &err);
    must(store_cell(&cell, store, &(struct store_cell){.key = "k0", .canonical = "", .source = source}, &err),
         &err);
    must(put(store, cell, 0, &err), &err);
    must(store_tick(store, true, &err), &err);
    must(put(store, cell, 1, &err), &err);
    fault_arm(FAULT_ONCE, 0);
    assert_int_equal(store_tick(store, true, &first), NO_MACHINE);
    fault_disarm();
    assert_non_null(strstr(first.text, "the same command goes on"));
    assert_int_equal(put(store, cell, 2, &err), NO_MACHINE);
    assert_string_equal(err.text, first.text);
    assert_int_equal(store_begin(store, &err), NO_MACHINE);
    assert_int_equal(store_exec(store, "DELETE FROM sample", "test", &err), NO_MACHINE);
    assert_int_equal(store_close(store, &err), NO_MACHINE);
    sqlite3 *db = open_plainly(path);
    assert_int_equal(number(db, "SELECT count(*) FROM sample"), 1);
    sqlite3_close(db);
}

/* `ulimit -f`: the real file system refuses, in the middle of a session. */
static void a_file_that_may_not_grow_stops_the_session(void **state)
{
    (void)state;
    committed done = {0};
    struct error err = {0};
    remove_stores();
    must(session(done, &err), &err);
    char *expected = text_of_store();
    remove_stores();
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){110 << 10, 110 << 10});
        enum status status = session(done, &err);
        _exit(status == NO_MACHINE && strstr(err.text, "ulimit -f") ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
    must(session(done, &err), &err);
    char *found = text_of_store();
    assert_string_equal(found, expected);
    free(found);
    free(expected);
}

int main(void)
{
    for (int i = 0; i < QUESTIONS; i++)
        questions[i] = (struct sample){.row = i, .question_id = "q", .text = "Is it?", .gold = "yes"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_disk_loses_nothing_that_was_committed),
        cmocka_unit_test(a_failing_disk_does_not_spoil_a_migration),
        cmocka_unit_test(after_an_error_nothing_is_written_any_more),
        cmocka_unit_test(a_file_that_may_not_grow_stops_the_session),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
