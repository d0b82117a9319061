/* Reports and pictures: a small store whose views are plain tables and a small trace, read and drawn as
 * `winnow report` does it; what the files say is compared, and hostile traces must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "core/json.h"
#include "core/memory.h"
#include "reports/draw.h"
#include "reports/markdown.h"
#include "reports/report.h"
#include "reports/tables.h"
#include "reports/trace_view.h"

#include <hdf5.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h> /* last: it has a macro called fail */

static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[8][256];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* --- a store
 * ------------------------------------------------------------------------------------------------ */

static void run_sql(sqlite3 *db, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args), *message = NULL;
    va_end(args);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", message, sql);
    sqlite3_free(sql);
}

static const char *const schema =
    "CREATE TABLE cells(key, model, family, method, params, benchmark, split, control, template, image_mode, "
    "budget, match,"
    " seed, n, n_failed, reason, metric, score, score_lo, score_hi, metrics, tokens_in, tokens_out, "
    "budget_off, macs_paper,"
    " flops, flops_vision, flops_project, flops_prefill, flops_select, flops_head, flops_decode, "
    "kv_bytes_live,"
    " kv_bytes_alloc, kv_visual_bytes, timed_n, preprocess_ms, vision_ms, prefill_ms, select_ms, ttft_ms,"
    " decode_ms_per_token, total_ms, peak_bytes, device, dtype, machine, revision, created);"
    "CREATE TABLE samples(key, sample_id, question_id, image, cluster, question, gold, answer, score, error, "
    "yes_prob,"
    " n_generated, tokens_in, flops, kv_bytes_live, machine, timed);"
    "CREATE TABLE layers(key, sample_id, layer, visual_in, visual_out, kept, recycled, clusters, dropped, "
    "raters, rank,"
    " kv_len, flops);"
    "CREATE TABLE keep_map(key, layer, row, col, rate);"
    "CREATE TABLE comparisons(key, base_key, n, diff, lo, hi, b01, b10, mcnemar_p, holm_p, bh_q, loyalty);";

struct fake {
    const char *key, *method, *params, *control, *budget, *budget_off;
    double score, kv_alloc, ttft;
    int cut_to; /* visual tokens after layer 2 */
};

static void add_cell(sqlite3 *db, const struct fake *fake)
{
    run_sql(db,
            "INSERT INTO cells VALUES(%Q, 'models/mini', 'llava-1.5', %Q, %Q, 'mini-pope', 'all', %Q, "
            "'vicuna_v1', 'pad',"
            " %Q, 'official', 0, 4, 0, NULL, 'f1|x', %f, %f, %f, '{}', %d, %d, %s, 1e9, %f, 0, 0, 0, 0, 0, "
            "0, %d, %f, 0, 2,"
            " 1, 1, 10, 1, %f, 1, 20, 0, 'cpu', 'f32', 'box', 'r1', '2026-01-02')",
            fake->key, fake->method, fake->params, fake->control, fake->budget, fake->score, fake->score - 5,
            fake->score + 5, fake->cut_to, fake->cut_to, fake->budget_off, fake->cut_to * 1e7,
            fake->cut_to * 1000, fake->kv_alloc, fake->ttft);
    for (int sample = 0; sample < 4; sample++) {
        run_sql(db,
                "INSERT INTO samples VALUES(%Q, %d, 'q', 'picture%d.png', 'c', 'Question %d|`x`?', 'yes', "
                "'yes', %d, NULL, 0.5,"
                " 1, 0, 0, 0, 'box', 0)",
                fake->key, sample, sample / 2, sample, strcmp(fake->control, "none") == 0 || sample == 0);
        for (int layer = 0; layer < 5; layer++)
            run_sql(db, "INSERT INTO layers VALUES(%Q, %d, %d, %d, %d, 0, 0, 0, 0, 0, 0, 0, 0)", fake->key,
                    sample, layer, layer > 2 ? fake->cut_to : 16, layer >= 2 ? fake->cut_to : 16);
    }
}

static const struct fake fakes[] = {
    {"k-vanilla", "vanilla", "{}", "none", NULL, "NULL", 90, 16000, 50, 16},
    {"k-blank", "vanilla", "{}", "no-image", NULL, "NULL", 50, 0, 50, 16},
    {"k-sparse", "sparsevlm", "{\"tau\": 0.3, \"recycle\": \"on\"}", "none", "6", "0.0", 85, 6000, 30, 6},
    {"k-sparse-off", "sparsevlm", "{\"tau\": 0.3, \"recycle\": \"off\"}", "none", "6", "0.5", 80, 6000, 60,
     6},
    {"k-fastv", "fastv", "{\"k\": 2}", "none", "6", "0.0", 70, 16000, 30, 6},
    {"k-random-0", "random", "{\"at\": \"decoder\", \"like\": \"sparsevlm\", \"seed\": 0}", "none", "6",
     "0.0", 82, 6000, 30, 6},
    {"k-random-1", "random", "{\"at\": \"decoder\", \"like\": \"sparsevlm\", \"seed\": 1}", "none", "6",
     "0.0", 84, 6000, 30, 6}};

static void make_store(const char *path)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    run_sql(db, "PRAGMA application_id = 1464421975; PRAGMA user_version = 1;");
    run_sql(db, "%s", schema);
    for (size_t i = 0; i < sizeof fakes / sizeof *fakes; i++)
        add_cell(db, &fakes[i]);
    run_sql(db,
            "INSERT INTO comparisons VALUES('k-sparse', 'k-vanilla', 4, -5, -9, 1, 1, 2, .2, .4, .4, .9)");
    run_sql(db, "INSERT INTO comparisons VALUES('k-sparse', 'k-random-0', 4, 2, 1, 3, 1, 2, .2, .4, .4, .9)");
    run_sql(db, "INSERT INTO comparisons VALUES('k-fastv', 'k-vanilla', 4, -20, -29, -11, 1, 9, .001, .0001, "
                ".4, .5)");
    run_sql(
        db,
        "INSERT INTO comparisons VALUES('k-fastv', 'k-random-0', 4, -12, -14, -10, 1, 9, .01, .03, .4, .5)");
    run_sql(
        db,
        "INSERT INTO comparisons VALUES('k-sparse-off', 'k-random-0', 4, -2, -4, 1, 1, 9, .01, .03, .4, .5)");
    run_sql(db, "INSERT INTO comparisons VALUES('k-sparse-off', 'k-vanilla', 4, -10, -18, -2, 1, 3, .1, .3, "
                ".4, .5)");
    sqlite3_close(db);
}

/* --- a trace
 * ------------------------------------------------------------------------------------------------ */

static void put(hid_t at, const char *name, hid_t file_type, hid_t memory_type, int rank,
                const hsize_t *shape, const void *data)
{
    hid_t space = H5Screate_simple(rank, shape, NULL);
    hid_t dataset = H5Dcreate2(at, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(dataset >= 0);
    assert_true(H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
}

static void put_ints(hid_t at, const char *name, int n, const int32_t *values)
{
    put(at, name, H5T_STD_I32LE, H5T_NATIVE_INT32, 1, (const hsize_t[]){(hsize_t)n}, values);
}

static void put_text(hid_t at, const char *name, const char *text, bool attribute)
{
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t object = attribute ? H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT)
                             : H5Dcreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute) {
        assert_true(H5Awrite(object, type, &text) >= 0);
        H5Aclose(object);
    } else {
        assert_true(H5Dwrite(object, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &text) >= 0);
        H5Dclose(object);
    }
    H5Sclose(space);
    H5Tclose(type);
}

enum { SIDE = 32, GRID = 4 };

/* A red picture, 4 × 4 patches; one cut after layer 2 that keeps `kept` and recycles 8 and 9 into cluster 0,
 * and one after layer 4 that keeps the cluster. */
static void add_sample(hid_t samples, const char *id, const int32_t kept[3], int32_t bad_id)
{
    static uint8_t rgb[SIDE * SIDE * 3];
    for (int i = 0; i < SIDE * SIDE; i++)
        memcpy(rgb + 3 * i, (const uint8_t[3]){200, 30, 40}, 3);
    hid_t sample = H5Gcreate2(samples, id, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    put(sample, "image", H5T_STD_U8LE, H5T_NATIVE_UINT8, 3, (const hsize_t[]){SIDE, SIDE, 3}, rgb);
    put(sample, "grid", H5T_STD_I32LE, H5T_NATIVE_INT32, 2, (const hsize_t[]){1, 2},
        (const int32_t[]){GRID, GRID});
    put_text(sample, "question", "Is it red?\nAnswer shortly.", false);
    put_text(sample, "answer", "Yes", false);
    put_ints(sample, "visual_count", 5, (const int32_t[]){16, 16, 16, 4, 4});
    hid_t cuts = H5Gcreate2(sample, "cuts", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (int n = 0; n < 2; n++) {
        hid_t cut = H5Gcreate2(cuts, n == 0 ? "0" : "1", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        hid_t scalar = H5Screate(H5S_SCALAR);
        hid_t layer = H5Acreate2(cut, "layer", H5T_STD_I32LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(H5Awrite(layer, H5T_NATIVE_INT32, &(int32_t){n == 0 ? 2 : 4}) >= 0);
        H5Aclose(layer);
        H5Sclose(scalar);
        if (n == 0) {
            float score[GRID * GRID];
            for (int i = 0; i < GRID * GRID; i++)
                score[i] = (float)i;
            put_ints(cut, "kept", 3, kept);
            put_ints(cut, "recycled", 2, (const int32_t[]){8, 9});
            put_ints(cut, "cluster_of", 2, (const int32_t[]){0, 0});
            put_ints(cut, "centres", 1, (const int32_t[]){8});
            put(cut, "score", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 1, (const hsize_t[]){GRID * GRID}, score);
        } else {
            put_ints(cut, "kept", 2, (const int32_t[]){kept[0], bad_id});
        }
        H5Gclose(cut);
    }
    H5Gclose(cuts);
    H5Gclose(sample);
}

static void make_trace(const char *path, int32_t bad_id)
{
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t cells = H5Gcreate2(file, "cells", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    static const char *const keys[] = {"k-sparse", "k-fastv", "k-random-1"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        hid_t cell = H5Gcreate2(cells, keys[i], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        put_text(cell, "method", keys[i] + 2, true);
        hid_t samples = H5Gcreate2(cell, "samples", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        add_sample(samples, "0", (const int32_t[]){0, 1, 5}, bad_id);
        add_sample(samples, "1", (const int32_t[]){0, 10, 15}, bad_id);
        H5Gclose(samples);
        H5Gclose(cell);
    }
    H5Gclose(cells);
    H5Fclose(file);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/winnow-report-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    make_store(in_folder("fake.db"));
    make_trace(in_folder("fake.h5"), -1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static char *report_text(unsigned formats, bool asked, const char *tables, enum status expected)
{
    struct error err = {0};
    char *text = NULL;
    size_t n;
    struct report_options options = {.stores = (const char *const[]){in_folder("fake.db")},
                                     .n_stores = 1,
                                     .dir = in_folder("out"),
                                     .formats = formats,
                                     .formats_asked = asked,
                                     .tables = tables,
                                     .baseline = "vanilla"};
    enum status status = report_write(&options, &err);
    if (status != expected)
        fail_msg("status %d: %s", status, err.text);
    if (formats & REPORT_MD)
        assert_int_equal(file_read(&text, &n, in_folder("out/report.md"), 1 << 20, &err), OK);
    return text;
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("not in the report: %s", part);
}

static void report_has_every_section_in_order(void **state)
{
    (void)state;
    static const char *const headings[] = {
        "# Winnow report", "## What was run",          "## Accuracy and cost", "## Accuracy over budget",
        "## Controls",     "## Which patches survive", "## Where each figure", "## The paper's own figures"};
    char *text = report_text(REPORT_MD | REPORT_CSV | REPORT_PNG, false, NULL, OK);
    const char *at = text;
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++) {
        const char *found = strstr(at, headings[i]);
        if (found == NULL)
            fail_msg("missing or out of order: %s", headings[i]);
        at = found;
    }
    assert_has(text, "not which method is better");
    assert_has(text, "Paper's figure, LLaVA-1.5-7B, not run here");
    assert_has(text, "WHERE key = 'k-fastv'");
    assert_has(text, "| 50.0 [45.0, 55.0] | 90.0 | -75.0 [-75.0, -75.0] | 4 |"); /* without an image */
    free(text);
}

static void main_table_says_what_the_store_says(void **state)
{
    (void)state;
    char *text = report_text(REPORT_MD, false, "main", OK);
    assert_has(text, "f1\\|x [95 %]"); /* foreign text cannot break the table */
    assert_has(text, "16\xe2\x86\x92"
                     "6 @2 |");
    assert_has(text, "| -5.0 [-9.0, +1.0] | 0.400 | +2.0 [+1.0, +3.0] |");
    assert_has(text, "random like sparsevlm (2 seeds) | 6 | 83.0 [82.0, 84.0]");
    assert_has(text, "loses to random \xc2\xb7 KV not freed |");                      /* fastv */
    assert_has(text, "ties random \xc2\xb7 slower than dense \xc2\xb7 budget off |"); /* recycle=off */
    assert_has(text, "n.s. \xc2\xb7 tests disagree \xc2\xb7 ties random");            /* recycle=off */
    assert_has(text, "questions taken as independent");
    assert_has(text, "| 4 | 99.80 | 8.00 |"); /* 2.8 sqrt(.08 / 4) is beyond what 8 % can make */
    assert_has(text, "**sparsevlm** | 6 | 85.0");
    assert_has(text, "(38 %)");
    free(text);
}

/* Equal labels are not enough to be seeds of one arm. */
static void runs_that_only_look_alike_stay_apart(void **state)
{
    (void)state;
    static const struct fake others[] = {
        {"k-vanilla-2", "vanilla", "{}", "none", NULL, "NULL", 60, 16000, 50, 16},
        {"k-random-2", "random", "{\"at\": \"decoder\", \"like\": \"sparsevlm\", \"seed\": 2}", "none", "6",
         "0.0", 10, 6000, 30, 6}};
    sqlite3 *db;
    struct error err = {0};
    char *text;
    size_t n;
    make_store(in_folder("two.db"));
    assert_int_equal(sqlite3_open(in_folder("two.db"), &db), SQLITE_OK);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        add_cell(db, &others[i]);
    run_sql(db, "UPDATE cells SET revision = 'r2' WHERE key LIKE '%%-2'");
    run_sql(db, "INSERT INTO comparisons VALUES('k-random-2', 'k-vanilla-2', 4, -50, -59, -41, 0, 4, .2, .4, "
                ".4, .9)");
    sqlite3_close(db);
    const struct report_options options = {.stores = (const char *const[]){in_folder("two.db")},
                                           .n_stores = 1,
                                           .dir = in_folder("two"),
                                           .formats = REPORT_MD,
                                           .tables = "main"};
    if (report_write(&options, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(file_read(&text, &n, in_folder("two/report.md"), 1 << 20, &err), OK);
    assert_has(text, "**vanilla** (r1, 2026-01-02) | \xe2\x80\x93 | 90.0");
    assert_has(text, "**vanilla** (r2, 2026-01-02) | \xe2\x80\x93 | 60.0");
    assert_has(text, "(2 seeds) (r1, 2026-01-02) | 6 | 83.0");
    assert_has(text, "random like sparsevlm (r2, 2026-01-02) | 6 | 10.0");
    free(text);
}

static void csv_has_a_line_a_cell(void **state)
{
    (void)state;
    free(report_text(REPORT_MD | REPORT_CSV, false, "main", OK));
    struct error err;
    char *text;
    size_t n;
    assert_int_equal(file_read(&text, &n, in_folder("out/main.csv"), 1 << 20, &err), OK);
    int lines = 0;
    for (const char *p = text; *p != '\0'; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 1 + (int)(sizeof fakes / sizeof *fakes));
    assert_has(text, "\"{\"\"k\"\": 2}\"");
    free(text);
}

static void missing_gnuplot_is_a_remark_unless_asked_for(void **state)
{
    (void)state;
    char *path = memory_text(getenv("PATH") != NULL ? getenv("PATH") : "");
    setenv("PATH", folder, 1);
    char *text = report_text(REPORT_MD | REPORT_PNG, false, "tradeoff", OK);
    assert_has(text, "gnuplot is not installed");
    free(text);
    free(report_text(REPORT_MD | REPORT_PNG, true, "tradeoff", NO_MACHINE));
    setenv("PATH", path, 1);
    free(path);
}

static void bad_input_is_told(void **state)
{
    (void)state;
    struct error err;
    struct cells cells;
    free(report_text(REPORT_CSV, false, "main,nonsense", BAD_INPUT));
    const struct report_options options = {.stores = (const char *const[]){in_folder("fake.db")},
                                           .n_stores = 1,
                                           .dir = in_folder("out"),
                                           .formats = REPORT_CSV,
                                           .baseline = "nonsense"};
    assert_int_equal(report_write(&options, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "there are: vanilla, random"));
    assert_int_equal(cells_read(&cells, (const char *const[]){in_folder("none.db")}, 1, &err), BAD_INPUT);
    assert_int_equal(file_write(in_folder("text.db"), "not SQLite at all, but long enough", 34, &err), OK);
    assert_int_equal(cells_read(&cells, (const char *const[]){in_folder("text.db")}, 1, &err), BAD_INPUT);
}

/* --- pictures
 * ----------------------------------------------------------------------------------------------- */

static const uint8_t *pixel(const struct image *image, int x, int y)
{
    return image->rgb + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
}

static bool is_red(const uint8_t *rgb)
{
    return rgb[0] == 200 && rgb[1] == 30 && rgb[2] == 40;
}

static void pictures_show_kept_recycled_and_dropped(void **state)
{
    (void)state;
    struct error err = {0};
    struct trace_view *trace;
    struct picture picture;
    struct image sheet = {0};
    assert_int_equal(trace_view_open(&trace, in_folder("fake.h5"), &err), OK);
    assert_int_equal(trace_view_picture(&picture, trace, "k-sparse", "0", &err), OK);
    assert_string_equal(picture.question, "Is it red?");
    assert_int_equal(picture.n_cuts, 2);
    assert_string_equal(picture.title, "sparse, cell k-sparse");
    assert_int_equal(picture.cuts[1].n_in, 4);
    assert_int_equal(survivors_draw(&sheet, &picture, 1, "Title", &err), OK);

    /* Four panels in a row; find the first by its red, then look into the patches of the third and fourth. */
    int left = 0, top = 0;
    for (int y = 0; y < sheet.height && top == 0; y++)
        for (int x = 0; x < sheet.width && top == 0; x++)
            if (is_red(pixel(&sheet, x, y)) && is_red(pixel(&sheet, x + 100, y + 100))) {
                left = x;
                top = y;
            }
    int patch = 336 / GRID, step = 336 + 16, middle = patch / 2;
    for (int column = 2; column < 4; column++)
        for (int cell = 0; cell < GRID * GRID; cell++) {
            int x = left + column * step + cell % GRID * patch, y = top + cell / GRID * patch;
            bool kept = column == 2 ? cell == 0 || cell == 1 || cell == 5 : cell == 0;
            bool merged = cell == 8 || cell == 9;
            const uint8_t *inside = pixel(&sheet, x + middle, y + middle), *edge = pixel(&sheet, x, y);
            assert_int_equal(is_red(inside), kept);
            assert_int_equal(edge[0] == 0xf9 && edge[1] == 0x73 && edge[2] == 0x16, merged);
            if (!kept && !merged) /* grey: no channel stands out */
                assert_true(abs(inside[0] - inside[2]) < 16);
        }
    image_free(&sheet);
    picture_free(&picture);
    trace_view_close(trace);
}

static void report_draws_two_questions_and_three_methods(void **state)
{
    (void)state;
    struct error err;
    struct image questions = {0}, methods = {0};
    char *text = report_text(REPORT_MD | REPORT_PNG, false, "pictures", OK);
    assert_has(text, "survivors_questions.png");
    assert_has(text,
               "of 1 traced pairs of questions about one image the pair with least in common after the last "
               "cut, 100 % of the patches that either keeps (median of the pairs: 100 %; random tokens on "
               "this pair: 100 %)");
    assert_int_equal(image_read(&questions, in_folder("out/survivors_questions.png"), &err), OK);
    assert_int_equal(image_read(&methods, in_folder("out/survivors_methods.png"), &err), OK);
    assert_true(methods.height > questions.height); /* three rows against two */
    image_free(&questions);
    image_free(&methods);
    free(text);
}

static void a_damaged_trace_is_a_remark(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(rename(in_folder("fake.h5"), in_folder("away.h5")), 0);
    assert_int_equal(file_write(in_folder("fake.h5"), "no HDF5", 7, &err), OK);
    char *text = report_text(REPORT_MD | REPORT_PNG, false, "pictures", OK);
    assert_has(text, "cannot be opened as HDF5");
    free(text);
    assert_int_equal(rename(in_folder("away.h5"), in_folder("fake.h5")), 0);
}

static void expect_list(const int32_t *found, int n, const int32_t *expected, int n_expected)
{
    assert_int_equal(n, n_expected);
    for (int i = 0; i < n; i++)
        assert_int_equal(found[i], expected[i]);
}

static int32_t *list_of(const int32_t *values, int n)
{
    int32_t *list = malloc(sizeof *list * (size_t)n);
    assert_non_null(list);
    memcpy(list, values, sizeof *list * (size_t)n);
    return list;
}

/* Clusters have the numbers that the runtime gives them, and a centre that is merged is not kept. */
static void clusters_of_a_cut_are_numbered_as_the_runtime_does(void **state)
{
    (void)state;
    struct error err = {0};
    int n_clusters = 5;
    /* ToMe: cluster 0 stands at 7, cluster 1 at 4, which goes on first */
    struct picture_cut tome = {.n_kept = 3,
                               .kept = list_of((const int32_t[]){4, 6, 7}, 3),
                               .n_recycled = 2,
                               .recycled = list_of((const int32_t[]){1, 2}, 2),
                               .cluster_of = list_of((const int32_t[]){0, 1}, 2),
                               .n_clusters = 2};
    assert_int_equal(
        picture_cut_number(&tome, &n_clusters,
                           &(struct picture_centres){.centres = (const int32_t[]){7, 4}, .in_place = true},
                           &err),
        OK);
    expect_list(tome.kept, tome.n_kept, (const int32_t[]){6}, 1);
    expect_list(tome.recycled, tome.n_recycled, (const int32_t[]){1, 2, 7, 4}, 4);
    expect_list(tome.cluster_of, tome.n_recycled, (const int32_t[]){6, 5, 6, 5}, 4);
    assert_int_equal(tome.n_out, 3);
    assert_int_equal(n_clusters, 7);
    picture_cut_free(&tome);
    /* VisionZip: the class token is the first of the new numbers, clusters follow the kept */
    struct picture_cut zip = {.n_kept = 1,
                              .kept = list_of((const int32_t[]){3}, 1),
                              .n_recycled = 1,
                              .recycled = list_of((const int32_t[]){1}, 1),
                              .cluster_of = list_of((const int32_t[]){0}, 1),
                              .n_clusters = 1};
    assert_int_equal(
        picture_cut_number(&zip, &n_clusters,
                           &(struct picture_centres){.centres = (const int32_t[]){0}, .keep_class = true},
                           &err),
        OK);
    expect_list(zip.recycled, zip.n_recycled, (const int32_t[]){1, 0}, 2);
    expect_list(zip.cluster_of, zip.n_recycled, (const int32_t[]){8, 8}, 2);
    assert_int_equal(zip.n_out, 3);
    assert_int_equal(n_clusters, 9);
    picture_cut_free(&zip);
}

static void what_is_missing_comes_with_advice_that_works(void **state)
{
    (void)state;
    char *text = report_text(REPORT_MD, false, "table1,table4,sensitivity,fig5", OK);
    assert_has(text, "94.4 (1)"); /* sparsevlm, 85 of 90, on one benchmark */
    for (const char *at = text; (at = strstr(at, "GRID="));) {
        char name[64], path[256];
        at += strlen("GRID=");
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "` "), at);
        snprintf(path, sizeof path, "%s/harness/grids/%s.yaml", WINNOW_SOURCE_DIR, name);
        assert_int_equal(access(path, R_OK), 0);
    }
    free(text);
}

static void hostile_traces_are_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct trace_view *trace;
    struct picture picture;
    /* Tokens and clusters that do not exist. */
    static const int32_t bad_ids[] = {16, 1 << 30, -2, INT32_MIN};
    for (size_t i = 0; i < sizeof bad_ids / sizeof *bad_ids; i++) {
        make_trace(in_folder("bad.h5"), bad_ids[i]);
        assert_int_equal(trace_view_open(&trace, in_folder("bad.h5"), &err), OK);
        assert_int_equal(trace_view_picture(&picture, trace, "k-sparse", "0", &err), BAD_INPUT);
        trace_view_close(trace);
    }
    /* A shape that promises more than there may be, a link out of the file, a path in a name. */
    make_trace(in_folder("bad.h5"), -1);
    hid_t file = H5Fopen(in_folder("bad.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t sample = H5Gopen2(file, "/cells/k-sparse/samples/0", H5P_DEFAULT);
    H5Ldelete(sample, "image", H5P_DEFAULT);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 3, (const hsize_t[]){1, 1, 3});
    hid_t space = H5Screate_simple(3, (const hsize_t[]){1u << 31, 1u << 31, 3}, NULL);
    H5Dclose(H5Dcreate2(sample, "image", H5T_STD_U8LE, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(properties);
    H5Gclose(sample);
    sample = H5Gopen2(file, "/cells/k-sparse/samples/1", H5P_DEFAULT);
    H5Ldelete(sample, "image", H5P_DEFAULT);
    H5Lcreate_external(in_folder("fake.h5"), "/cells/k-sparse/samples/1/image", sample, "image", H5P_DEFAULT,
                       H5P_DEFAULT);
    H5Gclose(sample);
    H5Fclose(file);
    assert_int_equal(trace_view_open(&trace, in_folder("bad.h5"), &err), OK);
    assert_int_equal(trace_view_picture(&picture, trace, "k-sparse", "0", &err), BAD_INPUT);
    assert_int_equal(trace_view_picture(&picture, trace, "k-sparse", "1", &err), BAD_INPUT);
    assert_int_equal(trace_view_picture(&picture, trace, "k-sparse", "../../k-fastv", &err), BAD_INPUT);
    trace_view_close(trace);
    /* A tower's cut that does not speak of every patch, or names no token. */
    for (int n = 15; n <= 16; n++) {
        int32_t groups[GRID * GRID] = {[3] = -2};
        make_trace(in_folder("bad.h5"), -1);
        file = H5Fopen(in_folder("bad.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
        hid_t cut = H5Gopen2(file, "/cells/k-sparse/samples/0/cuts/0", H5P_DEFAULT);
        put_text(cut, "site", "vision", true);
        put_ints(cut, "group_of", n, groups);
        H5Gclose(cut);
        H5Fclose(file);
        assert_int_equal(trace_view_open(&trace, in_folder("bad.h5"), &err), OK);
        assert_int_equal(trace_view_picture(&picture, trace, "k-sparse", "0", &err), BAD_INPUT);
        assert_non_null(strstr(err.text, "group_of"));
        trace_view_close(trace);
    }
    assert_int_equal(file_write(in_folder("text.h5"), "no HDF5", 7, &err), OK);
    assert_int_equal(trace_view_open(&trace, in_folder("text.h5"), &err), BAD_INPUT);
}

static void text_is_clipped_to_the_picture(void **state)
{
    (void)state;
    struct error err;
    struct image image = {0};
    assert_int_equal(image_new(&image, 40, 20, (const uint8_t[3]){255, 255, 255}, &err), OK);
    draw_text(&image, 35, 15, 21, 0, "gy\xc3\xa9\xff", 0);
    draw_text(&image, -20, -10, 21, 0, "WW", 0);
    assert_true(draw_text(&image, 0, 4, 7, 0, "a long line", 30) <= 30);
    draw_fill(&image, (struct box){-5, -5, 1000, 1000}, 0x102030);
    assert_int_equal(pixel(&image, 39, 19)[2], 0x30);
    image_free(&image);
}

static void foreign_text_is_made_safe(void **state)
{
    (void)state;
    struct buffer text = {0};
    char number[NUMBER_SIZE];
    text_markdown(&text, "a|b`<i>\n\x01");
    text_gnuplot(&text, "it's");
    text_csv(&text, "a,\"b\"");
    text_code(&text, "x`|");
    buffer_add(&text, "", 1);
    assert_string_equal(text.bytes, "a\\|b\\`\\<i\\> ?'it''s'\"a,\"\"b\"\"\"x??");
    buffer_free(&text);
    assert_string_equal(number_si(number, 1.2345e12), "1.23 T");
    assert_string_equal(number_bytes(number, 302.4e6), "302 MB");
    assert_string_equal(number_fixed(number, -0.04, 1, true), "0.0");
    assert_string_equal(number_fixed(number, 2, 1, true), "+2.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(report_has_every_section_in_order),
                                       cmocka_unit_test(main_table_says_what_the_store_says),
                                       cmocka_unit_test(runs_that_only_look_alike_stay_apart),
                                       cmocka_unit_test(csv_has_a_line_a_cell),
                                       cmocka_unit_test(missing_gnuplot_is_a_remark_unless_asked_for),
                                       cmocka_unit_test(bad_input_is_told),
                                       cmocka_unit_test(pictures_show_kept_recycled_and_dropped),
                                       cmocka_unit_test(report_draws_two_questions_and_three_methods),
                                       cmocka_unit_test(a_damaged_trace_is_a_remark),
                                       cmocka_unit_test(what_is_missing_comes_with_advice_that_works),
                                       cmocka_unit_test(hostile_traces_are_refused),
                                       cmocka_unit_test(clusters_of_a_cut_are_numbered_as_the_runtime_does),
                                       cmocka_unit_test(text_is_clipped_to_the_picture),
                                       cmocka_unit_test(foreign_text_is_made_safe)};
    return cmocka_run_group_tests_name("report", tests, setup, teardown);
}
