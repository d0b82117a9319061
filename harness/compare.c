/* Comparisons: each cell against its bases, on the samples that all of them have.
 *
 *   vanilla      of the same model, benchmark, split, control
 *   random arms  at=decoder, like=METHOD, same budget and match, same counts in every layer; they differ from
 * each other in nothing but the seed, and where there are several such groups it is the one that numbers
 * positions as the cell does. Mean over the seeds; base_key is the arm of the lowest seed
 *
 * Sources: docs/cli.md "The store"; the statistics, b01 and b10 included, are stats.c's.
 */
#include <math.h>   /* NAN */
#include <stdlib.h> /* free, qsort */
#include <string.h> /* strcmp */

#include "core/memory.h"
#include "harness/stats.h"
#include "harness/summary.h"

enum { BASES_MAX = 64 };

#define SAME_SETTING                                                                                         \
    "b.weights_sha = c.weights_sha AND b.source = c.source AND b.split = c.split AND b.control = c.control"  \
    " AND b.template = c.template AND b.image_mode = c.image_mode AND b.max_new_tokens = c.max_new_tokens"   \
    " AND b.device = c.device AND b.dtype = c.dtype AND substr(b.canonical, instr(b.canonical, "             \
    "'numerics='))"                                                                                          \
    " = substr(c.canonical, instr(c.canonical, 'numerics='))"

static const char vanilla_base[] = "SELECT b.id FROM cell c JOIN cell b ON " SAME_SETTING
                                   " WHERE c.id = ?1 AND c.method <> 'vanilla' AND b.method = 'vanilla'"
                                   " ORDER BY b.seed <> c.seed, b.id LIMIT 1";

/* Counts are compared on the first sample that both have, one with a picture if there is any. */
static const char random_bases[] =
    "WITH candidate AS (SELECT c.id AS cell, b.id, b.seed, json_remove(b.params, '$.seed') AS settings,"
    "  json_extract(b.params, '$.positions') IS json_extract(c.params, '$.positions') AS same_positions,"
    "  (SELECT s.sample_id FROM sample s JOIN sample t ON t.cell = b.id AND t.sample_id = s.sample_id"
    "   WHERE s.cell = c.id AND s.error IS NULL AND t.error IS NULL"
    "   ORDER BY s.n_visual = 0, s.sample_id LIMIT 1) AS shared"
    "  FROM cell c JOIN cell b ON " SAME_SETTING
    "  WHERE c.id = ?1 AND b.method = 'random' AND json_extract(b.params, '$.at') = 'decoder'"
    "  AND json_extract(b.params, '$.like') = c.method AND b.budget IS c.budget AND b.match IS c.match),"
    " base AS (SELECT * FROM candidate k WHERE shared IS NOT NULL"
    "  AND NOT EXISTS (SELECT layer, visual_out FROM layer WHERE cell = k.cell AND sample_id = k.shared"
    "   EXCEPT SELECT layer, visual_out FROM layer WHERE cell = k.id AND sample_id = k.shared))"
    " SELECT id FROM base WHERE settings = (SELECT settings FROM base ORDER BY same_positions DESC, id LIMIT "
    "1)"
    " ORDER BY seed, id";

static enum status find_bases(int64_t *bases, int *n, struct store *store, const char *sql, int64_t cell,
                              struct error *err)
{
    sqlite3_stmt *s;
    *n = 0;
    TRY(store_prepare(&s, store, sql, err));
    sqlite3_bind_int64(s, 1, cell);
    enum status status = OK;
    for (bool row; *n < BASES_MAX; bases[(*n)++] = sqlite3_column_int64(s, 0)) {
        TRY_GOTO(status, store_row(&row, store, s, err));
        if (!row)
            break;
    }
exit:
    sqlite3_finalize(s);
    return status;
}

/* The cell and its bases, cut down to the samples that all of them have. */
struct matched {
    struct column columns[1 + BASES_MAX]; /* the cell's first */
    int n_columns, n;
    int *rows;
    int *places[1 + BASES_MAX]; /* of rows[i] in each column */
};

static void matched_free(struct matched *matched)
{
    for (int c = 0; c < matched->n_columns; c++) {
        column_free(&matched->columns[c]);
        free(matched->places[c]);
    }
    free(matched->rows);
}

static enum status matched_load(struct matched *out, struct store *store, const struct summed *cell,
                                const int64_t *bases, int n_bases, struct error *err)
{
    int n_most = cell->data->n;
    *out = (struct matched){0};
    for (int c = 0; c <= n_bases; c++) {
        TRY(column_load(&out->columns[c], store, c == 0 ? cell->id : bases[c - 1], n_most, err));
        out->n_columns++;
        out->places[c] = memory_zero((size_t)out->columns[0].n, sizeof(int));
        if (out->places[c] == NULL)
            return memory_failed(err, "a comparison", (size_t)out->columns[0].n * sizeof(int));
    }
    out->rows = memory_zero((size_t)out->columns[0].n, sizeof(int));
    if (out->rows == NULL)
        return memory_failed(err, "a comparison", (size_t)out->columns[0].n * sizeof(int));
    int at[1 + BASES_MAX] = {0};
    for (int i = 0; i < out->columns[0].n; i++) {
        int row = out->columns[0].rows[i];
        bool all = true;
        at[0] = i;
        for (int c = 1; c <= n_bases; c++) {
            const struct column *column = &out->columns[c];
            while (at[c] < column->n && column->rows[at[c]] < row)
                at[c]++;
            all = all && at[c] < column->n && column->rows[at[c]] == row;
        }
        if (!all)
            continue;
        for (int c = 0; c <= n_bases; c++)
            out->places[c][out->n] = at[c];
        out->rows[out->n++] = row;
    }
    return OK;
}

struct comparison {
    struct interval diff;
    int b01, b10;
    double p, loyalty;
};

static bool same_answer(const struct column *a, int i, const struct column *b, int j)
{
    if (a->parsed[i][0] && b->parsed[j][0])
        return strcmp(a->parsed[i], b->parsed[j]) == 0;
    return strcmp(a->answers[i], b->answers[j]) == 0;
}

static double loyalty(const struct matched *matched)
{
    double n_equal = 0;
    for (int i = 0; i < matched->n; i++)
        for (int c = 1; c < matched->n_columns; c++)
            n_equal += same_answer(&matched->columns[0], matched->places[0][i], &matched->columns[c],
                                   matched->places[c][i]);
    return n_equal / (matched->n_columns - 1) / matched->n;
}

static enum status difference(struct comparison *out, const struct dataset *data,
                              const struct matched *matched, struct error *err)
{
    const struct benchmark *benchmark = data->benchmark;
    double *sums[1 + BASES_MAX] = {0}, *scores[1 + BASES_MAX] = {0};
    int n_clusters = 0, n_bases = matched->n_columns - 1;
    enum status status = OK;
    for (int c = 0; c <= n_bases; c++) {
        scores[c] = memory_alloc((size_t)matched->n, sizeof **scores);
        if (scores[c] == NULL)
            TRY_GOTO(status, memory_failed(err, "a comparison", (size_t)matched->n * sizeof **scores));
        for (int i = 0; i < matched->n; i++)
            scores[c][i] = matched->columns[c].scores[matched->places[c][i]];
        TRY_GOTO(status,
                 benchmark_sums(&sums[c], &n_clusters, data, matched->rows, scores[c], matched->n, err));
    }
    paired_counts(&out->b01, &out->b10, scores[0], (const double *const *)(scores + 1), n_bases, matched->n);
    out->p = mcnemar_p(out->b01, out->b10);
    TRY_GOTO(status, bootstrap(&out->diff, sums[0], (const double *const *)(sums + 1), n_bases, n_clusters,
                               benchmark->n_sums, benchmark->headline, 0, BOOTSTRAP_DRAWS, err));
exit:
    for (int c = 0; c <= n_bases; c++) {
        free(sums[c]);
        free(scores[c]);
    }
    return status;
}

static enum status put_comparison(struct store *store, int64_t cell, int64_t base, int n,
                                  const struct comparison *x, struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_prepare(
        &s, store,
        "INSERT OR REPLACE INTO comparison(cell, base, n, diff, lo, hi, b01, b10, mcnemar_p, loyalty)"
        " VALUES(?,?,?,?,?,?,?,?,?,?)",
        err));
    sqlite3_bind_int64(s, 1, cell);
    sqlite3_bind_int64(s, 2, base);
    sqlite3_bind_int(s, 3, n);
    bind_real(s, 4, x->diff.value);
    bind_real(s, 5, x->diff.lo);
    bind_real(s, 6, x->diff.hi);
    sqlite3_bind_int(s, 7, x->b01);
    sqlite3_bind_int(s, 8, x->b10);
    bind_real(s, 9, x->p);
    bind_real(s, 10, x->loyalty);
    enum status status = store_step(store, s, err);
    sqlite3_finalize(s);
    return status;
}

static enum status compare(struct store *store, const struct summed *cell, const int64_t *bases, int n_bases,
                           struct error *err)
{
    struct comparison x = {.diff = {NAN, NAN, NAN, 0}, .p = NAN, .loyalty = NAN};
    struct matched matched;
    enum status status = matched_load(&matched, store, cell, bases, n_bases, err);
    if (status != OK || matched.n == 0)
        goto exit;
    x.loyalty = loyalty(&matched);
    bool scored = true;
    for (int c = 0; c < matched.n_columns; c++)
        scored = scored && column_is_scored(&matched.columns[c], cell->data);
    if (scored)
        TRY_GOTO(status, difference(&x, cell->data, &matched, err));
    TRY_GOTO(status, put_comparison(store, cell->id, bases[0], matched.n, &x, err));
exit:
    matched_free(&matched);
    return status;
}

enum status compare_cell(struct store *store, const struct summed *cell, struct error *err)
{
    int64_t bases[BASES_MAX];
    int n_bases;
    sqlite3_stmt *s;
    TRY(store_prepare(&s, store, "DELETE FROM comparison WHERE cell = ?", err));
    sqlite3_bind_int64(s, 1, cell->id);
    enum status status = store_step(store, s, err);
    sqlite3_finalize(s);
    TRY(status);
    const char *const kinds[] = {vanilla_base, random_bases};
    for (int k = 0; k < 2; k++) {
        TRY(find_bases(bases, &n_bases, store, kinds[k], cell->id, err));
        if (n_bases > 0)
            TRY(compare(store, cell, bases, n_bases, err));
    }
    return OK;
}

/* ---- corrections for many tests ------------------------------------------------------------- */

struct test {
    int64_t cell, base, family; /* family: one model × benchmark */
    double p, holm, q;
};

static int by_family(const void *a, const void *b)
{
    const struct test *x = a, *y = b;
    return (x->family > y->family) - (x->family < y->family);
}

static enum status adjust(struct test *tests, int n, struct error *err)
{
    double *p = memory_alloc((size_t)n, sizeof *p), *adjusted = memory_alloc((size_t)n, sizeof *adjusted);
    enum status status = OK;
    if (p == NULL || adjusted == NULL)
        TRY_GOTO(status, memory_failed(err, "comparisons", (size_t)n * sizeof *p));
    qsort(tests, (size_t)n, sizeof *tests, by_family);
    for (int i = 0; i < n; i++)
        p[i] = tests[i].p;
    TRY_GOTO(status, benjamini_hochberg(adjusted, p, n, err));
    for (int i = 0; i < n; i++)
        tests[i].q = adjusted[i];
    for (int first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && tests[end].family == tests[first].family;)
            end++;
        TRY_GOTO(status, holm(adjusted + first, p + first, end - first, err));
    }
    for (int i = 0; i < n; i++)
        tests[i].holm = adjusted[i];
exit:
    free(p);
    free(adjusted);
    return status;
}

/* Holm over all comparisons of one model and benchmark, Benjamini-Hochberg over the store. */
enum status compare_adjust(struct store *store, struct error *err)
{
    sqlite3_stmt *read = NULL, *write = NULL;
    struct test *tests = NULL;
    int n = 0, capacity = 0;
    enum status status = OK;
    TRY_GOTO(status,
             store_prepare(&read, store,
                           "SELECT x.cell, x.base, x.mcnemar_p, min(d.id) FROM comparison x"
                           " JOIN cell c ON c.id = x.cell JOIN cell d ON d.weights_sha = c.weights_sha"
                           " AND d.source = c.source GROUP BY x.cell, x.base",
                           err));
    for (bool row;;) {
        TRY_GOTO(status, store_row(&row, store, read, err));
        if (!row)
            break;
        if (n == capacity) {
            int wanted = capacity ? 2 * capacity : 64;
            struct test *grown = memory_grow(tests, (size_t)wanted, sizeof *grown);
            if (grown == NULL)
                TRY_GOTO(status, memory_failed(err, "comparisons", (size_t)wanted * sizeof *grown));
            tests = grown;
            capacity = wanted;
        }
        tests[n++] = (struct test){.cell = sqlite3_column_int64(read, 0),
                                   .base = sqlite3_column_int64(read, 1),
                                   .p = column_real(read, 2),
                                   .family = sqlite3_column_int64(read, 3)};
    }
    if (n == 0)
        goto exit;
    TRY_GOTO(status, adjust(tests, n, err));
    TRY_GOTO(status, store_prepare(
                         &write, store,
                         "UPDATE comparison SET holm_p = ?3, bh_q = ?4 WHERE cell = ?1 AND base = ?2", err));
    for (int i = 0; i < n; i++) {
        sqlite3_bind_int64(write, 1, tests[i].cell);
        sqlite3_bind_int64(write, 2, tests[i].base);
        bind_real(write, 3, tests[i].holm);
        bind_real(write, 4, tests[i].q);
        TRY_GOTO(status, store_step(store, write, err));
    }
exit:
    sqlite3_finalize(read);
    sqlite3_finalize(write);
    free(tests);
    return status;
}
