/* The store: columns of the views, means and badges, resuming, what is refused, and a writer that is killed.
 */
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
#include <unistd.h>

#include "harness/store.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static char path[64];

static void remove_store(void)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".schema-1.bak"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char name[100];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/winnow-store-%ld.db", (long)getpid());
    remove_store();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_store();
    return 0;
}

static void must(enum status status, const struct error *err)
{
    if (status != OK)
        fail_msg("%s", err->text);
}

static struct sample questions[4] = {{.row = 0,
                                      .question_id = "1",
                                      .image_name = "a.png",
                                      .cluster = "a",
                                      .group = "1",
                                      .text = "Is it?",
                                      .gold = "yes"},
                                     {.row = 1,
                                      .question_id = "2",
                                      .image_name = "a.png",
                                      .cluster = "a",
                                      .group = "2",
                                      .text = "And?",
                                      .gold = "no"},
                                     {.row = 2,
                                      .question_id = "3",
                                      .image_name = "b.png",
                                      .cluster = "b",
                                      .group = "3",
                                      .text = "So?",
                                      .gold = "yes"},
                                     {.row = 3,
                                      .question_id = "4",
                                      .image_name = "b.png",
                                      .cluster = "b",
                                      .group = "4",
                                      .text = "Or?",
                                      .gold = "no"}};
static const struct dataset dataset = {
    .name = "mini-pope", .samples = questions, .n = 4, .files_sha256 = "abc"};

static struct store *open_store(void)
{
    struct store *store;
    struct error err = {0};
    must(store_open(&store, path, &err), &err);
    return store;
}

static int64_t put_cell(struct store *store, const char *key, const char *reason)
{
    int64_t source, id;
    struct error err = {0};
    must(store_source(&source, store, &dataset, "mini-pope", &err), &err);
    must(store_cell(&id, store,
                    &(struct store_cell){.key = key,
                                         .canonical = "numerics=1\n",
                                         .source = source,
                                         .model = "m",
                                         .weights_sha = "w",
                                         .family = "llava-1.5",
                                         .method = "sparsevlm",
                                         .params = "{\"tau\":0.3}",
                                         .benchmark = "mini-pope",
                                         .split = "all",
                                         .control = "none",
                                         .template = "vicuna_v1",
                                         .image_mode = "pad",
                                         .max_new_tokens = 16,
                                         .budget = "64",
                                         .match = "tokens_in",
                                         .seed = 0,
                                         .reason = reason,
                                         .metric = "F1",
                                         .device = "cpu",
                                         .dtype = "f32",
                                         .revision = "r"},
                    &err),
         &err);
    return id;
}

static void put_sample(struct store *store, int64_t cell, int row, double tokens, const char *machine)
{
    struct error err = {0};
    uint8_t alive[1] = {5};
    struct store_layer layers[2] = {
        {.layer = -1, .visual_in = 4, .visual_out = 3, .raters = -1, .rank = -1, .kv_len = -1},
        {.layer = 0, .visual_in = 3, .visual_out = 3, .raters = 2, .rank = 1, .kv_len = 9, .flops = 100}};
    struct store_keep keep = {.layer = -1, .rows = 2, .cols = 2, .alive = alive};
    must(store_sample(store, cell,
                      &(struct store_sample){.sample_id = row,
                                             .machine = machine,
                                             .answer = "Yes",
                                             .parsed = "yes",
                                             .score = 1,
                                             .yes_prob = row == 3 ? 0.25 : (double)NAN,
                                             .n_generated = 2,
                                             .n_visual = tokens > 0 ? 4 : 0,
                                             .tokens_in = tokens,
                                             .tokens_out = tokens > 0 ? tokens - 1 : 0,
                                             .requested = 64,
                                             .measured = tokens,
                                             .flops_vision = 1,
                                             .flops_project = 2,
                                             .flops_prefill = 3,
                                             .flops_select = 4,
                                             .flops_head = 5,
                                             .flops_decode = 6,
                                             .layers = layers,
                                             .n_layers = 2,
                                             .keeps = &keep,
                                             .n_keeps = 1},
                      &err),
         &err);
}

/* One number of one query. */
static double query(const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    struct error err = {0};
    must(store_open_reader(&db, path, &err), &err);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    double value = sqlite3_step(s) == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL
                       ? sqlite3_column_double(s, 0)
                       : (double)NAN;
    sqlite3_finalize(s);
    sqlite3_close(db);
    return value;
}

static void views_have_the_columns_of_the_contract(void **state)
{
    (void)state;
    static const char *const views[][2] = {
        {"cells",
         "key model family method params benchmark split control template image_mode budget match seed n "
         "n_failed reason metric score score_lo score_hi metrics tokens_in tokens_out budget_off macs_paper "
         "flops flops_vision flops_project flops_prefill flops_select flops_head flops_decode kv_bytes_live "
         "kv_bytes_alloc kv_visual_bytes timed_n preprocess_ms vision_ms prefill_ms select_ms ttft_ms "
         "decode_ms_per_token total_ms peak_bytes device dtype machine revision created "},
        {"samples",
         "key sample_id question_id image cluster question gold answer score error yes_prob n_generated "
         "tokens_in flops kv_bytes_live machine timed preprocess_ms vision_ms project_ms prefill_ms "
         "select_ms ttft_ms decode_ms_per_token total_ms "},
        {"layers",
         "key sample_id layer visual_in visual_out kept recycled clusters dropped raters rank kv_len flops "},
        {"keep_map", "key layer row col rate "},
        {"comparisons", "key base_key n diff lo hi b01 b10 mcnemar_p holm_p bh_q loyalty "}};
    struct error err = {0};
    must(store_close(open_store(), &err), &err);
    sqlite3 *db;
    must(store_open_reader(&db, path, &err), &err);
    for (size_t v = 0; v < sizeof views / sizeof *views; v++) {
        char sql[64], columns[1024] = "";
        sqlite3_stmt *s;
        snprintf(sql, sizeof sql, "SELECT * FROM %s", views[v][0]);
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
        for (int i = 0; i < sqlite3_column_count(s); i++)
            snprintf(columns + strlen(columns), sizeof columns - strlen(columns), "%s ",
                     sqlite3_column_name(s, i));
        sqlite3_finalize(s);
        assert_string_equal(columns, views[v][1]);
    }
    sqlite3_close(db);
}

static void figures_are_means_of_rows(void **state)
{
    (void)state;
    struct error err = {0};
    struct store *store = open_store();
    int64_t cell = put_cell(store, "k1", NULL);
    put_sample(store, cell, 0, 60, "A");
    put_sample(store, cell, 3, 20, "A");
    put_sample(store, cell, 1, 0, "A"); /* no picture: not in the means of tokens */
    must(store_sample(store, cell, &(struct store_sample){.sample_id = 2, .machine = "A", .error = "broken"},
                      &err),
         &err);
    put_cell(store, "k2", "budget cannot be reached");
    must(
        store_times(store, cell, 0, &(struct store_times){.prefill_ms = 7, .decode_ms_per_token = NAN}, &err),
        &err);
    must(store_close(store, &err), &err);
    assert_true(query("SELECT n FROM cells WHERE key = 'k1'") == 3);
    assert_true(query("SELECT n_failed FROM cells WHERE key = 'k1'") == 1);
    assert_true(query("SELECT timed_n FROM cells WHERE key = 'k1'") == 1);
    assert_true(query("SELECT tokens_in FROM cells WHERE key = 'k1'") == 40);
    assert_true(query("SELECT tokens_out FROM cells WHERE key = 'k1'") == 39);
    assert_true(query("SELECT yes_prob FROM samples WHERE sample_id = 3") == 0.25);
    assert_true(fabs(query("SELECT budget_off FROM cells WHERE key = 'k1'") - (40.0 / 64 - 1)) < 1e-12);
    assert_true(query("SELECT flops FROM cells WHERE key = 'k1'") == 21);
    assert_true(query("SELECT budget = 64 FROM cells WHERE key = 'k1'") == 1);
    assert_true(query("SELECT n = 0 AND reason = 'budget cannot be reached' FROM cells WHERE key = 'k2'") ==
                1);
    assert_true(query("SELECT question = 'Is it?' AND gold = 'yes' AND image = 'a.png' FROM samples WHERE "
                      "sample_id = 0") == 1);
    assert_true(query("SELECT error = 'broken' AND answer IS NULL AND score IS NULL FROM samples WHERE "
                      "sample_id = 2") == 1);
    assert_true(query("SELECT prefill_ms FROM samples WHERE sample_id = 0") == 7);
    assert_true(isnan(query("SELECT decode_ms_per_token FROM samples WHERE sample_id = 0")));
    assert_true(isnan(query("SELECT yes_prob FROM samples WHERE sample_id = 0")));
    assert_true(query("SELECT count(*) FROM layers WHERE key = 'k1' AND layer = -1 AND raters IS NULL") == 3);
    assert_true(isnan(query("SELECT score FROM cells WHERE key = 'k1'")));
}

static void a_score_over_fewer_rows_is_not_shown(void **state)
{
    (void)state;
    struct error err = {0};
    struct store *store = open_store();
    int64_t cell = put_cell(store, "k", NULL);
    put_sample(store, cell, 0, 60, "A");
    must(store_exec(store, "INSERT INTO summary(cell, n, score) VALUES(1, 1, 50)", "test", &err), &err);
    must(store_tick(store, true, &err), &err);
    assert_true(query("SELECT score FROM cells") == 50);
    put_sample(store, cell, 1, 60, "B");
    must(store_close(store, &err), &err);
    assert_true(isnan(query("SELECT score FROM cells")));
    assert_true(query("SELECT machine = 'A + B' FROM cells") == 1);
}

static void states_tell_what_is_left(void **state)
{
    (void)state;
    struct error err = {0};
    struct store *store = open_store();
    int64_t cell = put_cell(store, "k", NULL), same = put_cell(store, "k", NULL);
    uint8_t states[3] = {0};
    assert_int_equal(cell, same);
    put_sample(store, cell, 0, 60, "A");
    must(store_times(store, cell, 0, &(struct store_times){0}, &err), &err);
    must(store_sample(store, cell, &(struct store_sample){.sample_id = 1, .error = "broken"}, &err), &err);
    must(store_states(states, 3, store, cell, &err), &err);
    assert_int_equal(states[0], STORE_DONE | STORE_TIMED);
    assert_int_equal(states[1], STORE_FAILED);
    assert_int_equal(states[2], 0);
    put_sample(store, cell, 1, 60, "A"); /* the second attempt replaces the first */
    put_sample(store, cell, 1, 60, "A");
    memset(states, 0, sizeof states);
    must(store_states(states, 3, store, cell, &err), &err);
    assert_int_equal(states[1], STORE_DONE);
    must(store_close(store, &err), &err);
    assert_true(query("SELECT count(*) FROM layers WHERE sample_id = 1") == 2);
}

/* A sample that cannot be stored leaves nothing behind, the rest of the batch stands. */
static void a_sample_is_stored_whole_or_not_at_all(void **state)
{
    (void)state;
    struct error err = {0};
    struct store *store = open_store();
    int64_t cell = put_cell(store, "k", NULL);
    put_sample(store, cell, 0, 60, "A");
    const struct store_layer twice[2] = {{.layer = 1}, {.layer = 1}};
    assert_int_not_equal(store_sample(store, cell,
                                      &(struct store_sample){.sample_id = 1, .layers = twice, .n_layers = 2},
                                      &err),
                         OK);
    put_sample(store, cell, 2, 60, "A");
    must(store_close(store, &err), &err);
    assert_true(query("SELECT count(*) FROM samples WHERE sample_id = 1") == 0);
    assert_true(query("SELECT count(*) FROM layers WHERE sample_id = 1") == 0);
    assert_true(query("SELECT n FROM cells") == 2);
}

static void an_older_store_is_migrated_after_a_backup(void **state)
{
    (void)state;
    struct error err = {0};
    char name[4096];
    struct store *store = open_store();
    int64_t cell = put_cell(store, "k", NULL);
    put_sample(store, cell, 2, 60, "A");
    must(store_close(store, &err), &err);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "ALTER TABLE sample DROP COLUMN marked; ALTER TABLE sample DROP COLUMN verdict;"
                     " ALTER TABLE sample DROP COLUMN judge; DROP TABLE judge_reply; DROP TABLE activity; "
                     "DROP TABLE planned; ALTER TABLE question "
                     "DROP COLUMN is_number; PRAGMA user_version = 1",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    must(store_open(&store, path, &err), &err);
    put_sample(store, cell, 3, 60, "A");
    must(store_close(store, &err), &err);
    assert_true(query("SELECT n FROM cells") == 2);
    assert_true(query("PRAGMA user_version") == STORE_SCHEMA);
    assert_true(query("SELECT sum(marked) FROM sample") == 0);
    snprintf(name, sizeof name, "%s.schema-1.bak", path);
    assert_int_equal(unlink(name), 0);
}

static void newer_and_foreign_files_are_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct store *store = open_store();
    must(store_exec(store, "PRAGMA user_version = 99", "test", &err), &err);
    must(store_close(store, &err), &err);
    assert_int_equal(store_open(&store, path, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "schema 99"));
    sqlite3 *db;
    assert_int_equal(store_open_reader(&db, path, &err), BAD_INPUT);
    remove_store();
    assert_int_equal(store_open_reader(&db, path, &err), BAD_INPUT);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, "CREATE TABLE mine(x)", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(store_open(&store, path, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "no store of winnow"));
    remove_store();
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 5000; i++)
        fputs("no database", file);
    fclose(file);
    assert_int_equal(store_open(&store, path, &err), BAD_INPUT);
    assert_int_equal(store_open(&store, "/nowhere/at/all.db", &err), NO_MACHINE);
}

static void a_reader_cannot_write(void **state)
{
    (void)state;
    struct error err = {0};
    must(store_close(open_store(), &err), &err);
    sqlite3 *db;
    must(store_open_reader(&db, path, &err), &err);
    assert_int_not_equal(sqlite3_exec(db, "DELETE FROM cell", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Rows of batches that were committed survive; the file opens and goes on. */
static void a_killed_writer_loses_a_batch_at_most(void **state)
{
    (void)state;
    struct error err = {0};
    pid_t child = fork();
    if (child == 0) {
        struct store *store;
        if (store_open(&store, path, &err) != OK)
            _exit(1);
        int64_t cell = put_cell(store, "k", NULL);
        put_sample(store, cell, 0, 60, "A");
        if (store_tick(store, true, &err) != OK)
            _exit(1);
        put_sample(store, cell, 1, 60, "A"); /* not committed yet */
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_true(query("SELECT n FROM cells") == 1);
    struct store *store = open_store();
    put_sample(store, put_cell(store, "k", NULL), 1, 60, "A");
    must(store_close(store, &err), &err);
    assert_true(query("SELECT n FROM cells") == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(views_have_the_columns_of_the_contract, setup, teardown),
        cmocka_unit_test_setup_teardown(figures_are_means_of_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_score_over_fewer_rows_is_not_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(states_tell_what_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sample_is_stored_whole_or_not_at_all, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_store_is_migrated_after_a_backup, setup, teardown),
        cmocka_unit_test_setup_teardown(newer_and_foreign_files_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_cannot_write, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_writer_loses_a_batch_at_most, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
