/* A store that grows: the cost of a row, of taking a sweep up again and of the views per row stays what it
 * was.
 *
 *     WINNOW_ROWS=1000000 build/test_store_scale     prints the figures of a large one
 *
 * Rows are those of a real sweep: cells of a thousand samples that are answered side by side, a picture at a
 * time through all cells, each with its layers and maps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "harness/store.h"

#include <cmocka.h> /* last: its fail() would hide ours */

enum { SMALL = 20000, LARGE = 100000, PER_CELL = 1000, LAYERS = 20, KEEPS = 3, MAP_BYTES = 72 };
enum { WITH_LAYERS = 5 };       /* one cell of so many has its layers written, so that the test is short */
static const double factor = 4; /* generous: the machine may have more to do */

static char path[64];

static void must(enum status status, const struct error *err)
{
    if (status != OK)
        fail_msg("%s", err->text);
}

static void remove_store(void)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

static void put(struct store *store, int64_t cell, int row, bool layers, struct error *err)
{
    static struct store_layer own_layers[LAYERS];
    static struct store_keep keeps[KEEPS];
    static uint8_t bits[MAP_BYTES];
    for (int l = 0; l < LAYERS; l++)
        own_layers[l] = (struct store_layer){
            .layer = l, .visual_in = 576, .visual_out = 192, .kept = 180, .kv_len = 600, .flops = 123456789};
    for (int k = 0; k < KEEPS; k++)
        keeps[k] = (struct store_keep){.layer = k, .rows = 24, .cols = 24, .alive = bits};
    must(store_sample(
             store, cell,
             &(struct store_sample){.sample_id = row,
                                    .machine = "Some Processor @ 2.40GHz, 16 cores, Linux x86_64, host",
                                    .answer = "Yes, there is a small red circle",
                                    .parsed = "yes",
                                    .score = row % 2,
                                    .yes_prob = 0.75,
                                    .n_generated = 8,
                                    .n_visual = 576,
                                    .tokens_in = 192.5,
                                    .tokens_out = 180.25,
                                    .requested = 192,
                                    .measured = 192.5,
                                    .macs_paper = 12345678901,
                                    .flops_prefill = 12345678901,
                                    .kv_bytes_live = 12345678,
                                    .wall_ms = 12.5,
                                    .layers = own_layers,
                                    .n_layers = layers ? LAYERS : 0,
                                    .keeps = keeps,
                                    .n_keeps = layers ? KEEPS : 0},
             err),
         err);
}

struct figures {
    double write_us, close_ms;           /* a row; the last checkpoint */
    double states_us, cells_us, cell_ms; /* a row, a row, one cell by its key */
    double comparisons_us, layers_us;    /* a cell, a row of layers of one cell */
};

static int make_cells(int64_t *cells, struct store *store, int n, struct error *err)
{
    static struct sample questions[PER_CELL];
    for (int i = 0; i < PER_CELL; i++)
        questions[i] = (struct sample){.row = i, .question_id = "1", .cluster = "a", .text = "Is it?"};
    const struct dataset dataset = {
        .name = "mini-pope", .samples = questions, .n = PER_CELL, .files_sha256 = "abc"};
    int64_t source;
    must(store_source(&source, store, &dataset, "mini-pope", err), err);
    for (int c = 0; c < n; c++) {
        char key[40];
        snprintf(key, sizeof key, "%032d", c);
        must(store_cell(&cells[c], store,
                        &(struct store_cell){.key = key,
                                             .canonical = "numerics=1\n",
                                             .source = source,
                                             .model = "m",
                                             .weights_sha = "w",
                                             .method = "sparsevlm",
                                             .params = "{\"tau\":0.3}",
                                             .benchmark = "mini-pope",
                                             .budget = "64",
                                             .device = "cpu"},
                        err),
             err);
    }
    return n;
}

/* Milliseconds of a query, and its first value. */
static double query_ms(sqlite3 *db, const char *sql, double *value)
{
    sqlite3_stmt *s;
    double since = clock_ms();
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    bool first = true;
    while (sqlite3_step(s) == SQLITE_ROW) {
        if (first)
            *value = sqlite3_column_double(s, 0);
        first = false;
    }
    sqlite3_finalize(s);
    return clock_ms() - since;
}

static void read_back(struct figures *out, int n_rows, int n_cells)
{
    struct error err = {0};
    sqlite3 *db;
    double value = 0;
    must(store_open_reader(&db, path, &err), &err);
    out->cells_us = 1000 * query_ms(db, "SELECT sum(n) FROM cells", &value) / n_rows;
    assert_true(value == n_rows);
    out->cell_ms = query_ms(db, "SELECT n FROM cells WHERE key = '00000000000000000000000000000003'", &value);
    assert_true(value == PER_CELL);
    out->layers_us =
        1000 *
        query_ms(db, "SELECT sum(flops) FROM layers WHERE key = '00000000000000000000000000000000'", &value) /
        (PER_CELL * LAYERS);
    out->comparisons_us = 1000 * query_ms(db, "SELECT * FROM comparisons", &value) / n_cells;
    sqlite3_close(db);
}

static struct figures measure(int n_rows)
{
    struct figures out = {0};
    struct error err = {0};
    struct store *store;
    int n_cells = n_rows / PER_CELL;
    int64_t *cells = calloc((size_t)n_cells, sizeof *cells);
    uint8_t *states = calloc(PER_CELL, 1);
    remove_store();
    must(store_open(&store, path, &err), &err);
    make_cells(cells, store, n_cells, &err);
    must(store_tick(store, true, &err), &err);
    double since = clock_ms();
    for (int row = 0; row < PER_CELL; row++)
        for (int c = 0; c < n_cells; c++)
            put(store, cells[c], row, c % WITH_LAYERS == 0, &err);
    must(store_tick(store, true, &err), &err);
    out.write_us = 1000 * (clock_ms() - since) / n_rows;
    for (int c = 1; c < n_cells; c++) {
        char sql[160];
        snprintf(sql, sizeof sql, "INSERT INTO comparison(cell, base, n, diff) VALUES(%lld, %lld, 1000, 0.5)",
                 (long long)cells[c], (long long)cells[0]);
        must(store_begin(store, &err), &err);
        must(store_exec(store, sql, "test", &err), &err);
    }
    must(store_tick(store, true, &err), &err);
    since = clock_ms();
    must(store_close(store, &err), &err);
    out.close_ms = clock_ms() - since;

    must(store_open(&store, path, &err), &err);
    since = clock_ms();
    for (int c = 0; c < n_cells; c++) {
        memset(states, 0, PER_CELL);
        must(store_states(states, PER_CELL, store, cells[c], &err), &err);
        for (int i = 0; i < PER_CELL; i++)
            assert_int_equal(states[i], STORE_DONE);
    }
    out.states_us = 1000 * (clock_ms() - since) / n_rows;
    must(store_close(store, &err), &err);
    read_back(&out, n_rows, n_cells);
    free(states);
    free(cells);
    printf(
        "%d rows: %.1f us a row written (%.0f rows/s), close %.0f ms, states %.2f us a row, cells %.2f us a "
        "row, one cell %.2f ms, comparisons %.1f us a cell, layers of a cell %.2f us a row\n",
        n_rows, out.write_us, 1e6 / out.write_us, out.close_ms, out.states_us, out.cells_us, out.cell_ms,
        out.comparisons_us, out.layers_us);
    return out;
}

static void cost_a_row_stays_what_it_is(void **state)
{
    (void)state;
    const char *rows = getenv("WINNOW_ROWS");
    snprintf(path, sizeof path, "/tmp/winnow-scale-%ld.db", (long)getpid());
    struct figures small = measure(SMALL), large = measure(rows && atoi(rows) >= LARGE ? atoi(rows) : LARGE);
    assert_true(large.write_us < factor * small.write_us);
    assert_true(large.states_us < factor * small.states_us);
    assert_true(large.cells_us < factor * small.cells_us);
    remove_store();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cost_a_row_stays_what_it_is)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
