/* Verdicts of a sweep: answers that only a language model can grade are stored without a score; after the
 * runs the judge is asked about them, cell by cell, and its replies go to the store's cache and with the
 * scores to the samples. A later sweep on the same store asks for what is still missing, or for everything
 * where the judge's model is another one. Without a judge the answers stay, and a line says what to do. */
#include <stdio.h>  /* fprintf */
#include <stdlib.h> /* free */

#include "datasets/text_pool.h"
#include "harness/judge.h"
#include "harness/summary.h"
#include "harness/sweep_run.h"

bool material_is_judged(const struct material *material)
{
    return material->open && dataset_is_judged(&material->data);
}

enum status material_check_judge(const struct material *material, struct error *err)
{
    if (!material_is_judged(material))
        return OK;
    const struct sweep_benchmark *entry = material->entry;
    if (entry->annotations && material->data.has_gold)
        return fail(
            err, BAD_INPUT,
            "%s: annotations: stored grades belong to one answer file, a sweep makes many: leave them "
            "out and name a judge",
            entry->name);
    const struct judge_options options = judge_options(entry->judge_url, entry->judge_model);
    struct judge *judge = NULL;
    enum status status = options.url ? judge_open(&judge, &options, NULL, err) : OK;
    judge_close(judge);
    return status;
}

/* Answers of a cell that this judge has not graded; model NULL: that none has. The caller answers_free's. */
static enum status load_ungraded(struct answers *out, int *n, struct run *run, const struct cell *cell,
                                 const char *model, struct error *err)
{
    const struct dataset *data = &run->materials[cell->benchmark].data;
    sqlite3_stmt *s = NULL;
    enum status status = OK;
    *n = 0;
    TRY(answers_new(out, data, err));
    TRY_GOTO(status, store_prepare(&s, run->store,
                                   "SELECT sample_id, answer FROM sample WHERE cell = ?1 AND error IS NULL"
                                   " AND (verdict IS NULL OR (?2 IS NOT NULL AND judge IS NOT ?2))",
                                   err));
    sqlite3_bind_int64(s, 1, cell->id);
    if (model)
        sqlite3_bind_text(s, 2, model, -1, SQLITE_STATIC);
    for (bool more;;) {
        TRY_GOTO(status, store_row(&more, run->store, s, err));
        if (!more)
            break;
        int row = sqlite3_column_int(s, 0);
        const char *text = (const char *)sqlite3_column_text(s, 1);
        if (row < 0 || row >= data->n || !text)
            continue;
        out->text[row] = text_pool_add(out->pool, text);
        ++*n;
    }
    TRY_GOTO(status, text_pool_check(out->pool, err));
exit:
    sqlite3_finalize(s);
    if (status != OK)
        answers_free(out);
    return status;
}

static enum status keep_verdicts(struct run *run, const struct cell *cell, const struct answers *answers,
                                 const char *model, struct error *err)
{
    const struct dataset *data = &run->materials[cell->benchmark].data;
    sqlite3_stmt *s;
    TRY(store_begin(run->store, err));
    TRY(store_prepare(&s, run->store,
                      "UPDATE sample SET score = ?3, parsed = ?4, verdict = ?5, judge = ?6"
                      " WHERE cell = ?1 AND sample_id = ?2",
                      err));
    enum status status = OK;
    for (int i = 0; i < data->n && status == OK; i++) {
        char parsed[1024] = "";
        const char *verdict = answers->verdict ? answers->verdict[i] : NULL;
        if (!verdict)
            continue;
        bind_real(s, 3,
                  data->benchmark->score_sample(parsed, sizeof parsed, data, i, answers->text[i], verdict,
                                                PROTOCOL_OFFICIAL));
        sqlite3_bind_int64(s, 1, cell->id);
        sqlite3_bind_int(s, 2, i);
        sqlite3_bind_text(s, 4, parsed, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 5, verdict, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 6, model, -1, SQLITE_STATIC);
        status = store_step(run->store, s, err);
    }
    sqlite3_finalize(s);
    TRY(status);
    return store_tick(run->store, true, err);
}

static void show(void *context, int n_done, int n_failed, int n_total)
{
    struct error ignored; /* no row waits for a commit here */
    (void)progress_show(context, n_done, n_failed, n_done == n_total, &ignored);
}

/* *gone: the judge will not answer about further cells either. */
static enum status judge_cell(bool *gone, struct run *run, const struct cell *cell, struct judge *judge,
                              struct error *err)
{
    const struct material *material = &run->materials[cell->benchmark];
    const char *model = judge_model(judge, &material->data);
    struct answers answers;
    int n;
    TRY(load_ungraded(&answers, &n, run, cell, model, err));
    enum status status = OK;
    if (n == 0)
        goto exit;
    /* No batch stays open over the network's delays: the judge writes each reply by itself. */
    TRY_GOTO(status, store_tick(run->store, true, err));
    char what[128];
    snprintf(what, sizeof what, "judging %.100s", material->entry->name);
    TRY_GOTO(status, progress_phase(&run->progress, what, n, err));
    struct error why = {0};
    enum status asked = judge_answers(judge, &answers, &material->data, &why);
    TRY_GOTO(status, keep_verdicts(run, cell, &answers, model, err));
    const struct judge_report *report = judge_report(judge);
    run->n_unjudged += n - report->n_judged;
    if (asked == INTERRUPTED) {
        *err = why;
        status = INTERRUPTED;
    } else if (asked != OK) {
        fprintf(stderr, "judge: %s\n", why.text);
        *gone = true;
    } else if (report->n_failed > 0) {
        fprintf(stderr, "judge: %d answers of %s have no verdict: %s\n", report->n_failed, cell->key,
                report->failure);
    }
exit:
    answers_free(&answers);
    return status;
}

/* Answers that wait for a verdict, over the benchmark's cells; *key: of the first such cell. */
static enum status count_ungraded(int *n, const char **key, struct run *run, int benchmark, const char *model,
                                  struct error *err)
{
    *n = 0;
    *key = NULL;
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        struct answers answers;
        int of_cell;
        if (cell->benchmark != benchmark || !cell_is_runnable(cell))
            continue;
        TRY(load_ungraded(&answers, &of_cell, run, cell, model, err));
        answers_free(&answers);
        if (of_cell > 0 && !*key)
            *key = cell->key;
        *n += of_cell;
    }
    return OK;
}

static enum status judge_benchmark(struct run *run, int benchmark, struct error *err)
{
    const struct material *material = &run->materials[benchmark];
    const struct sweep_benchmark *entry = material->entry;
    struct judge_options options = judge_options(entry->judge_url, entry->judge_model);
    options.stop = &sweep_stop;
    options.progress = show;
    options.context = &run->progress;
    int n;
    const char *key;
    TRY(count_ungraded(&n, &key, run, benchmark, options.url ? options.model : NULL, err));
    if (!options.url) {
        if (n > 0)
            fprintf(
                stderr,
                "%s: %d answers have no score, for no judge is named: set WINNOW_JUDGE_URL (and "
                "WINNOW_JUDGE_KEY), or judge: {url: ..} in the sweep file, and give the same command again; "
                "or "
                "hand them to the official tool: winnow export %s --cell %s --format submission --data DIR "
                "-o F\n",
                entry->name, n, run->store_path, key);
        return OK;
    }
    struct judge *judge;
    TRY(judge_open(&judge, &options, store_connection(run->store), err));
    enum status status = OK;
    bool gone = false;
    for (int i = 0; i < run->grid.n_cells && status == OK && !gone; i++) {
        const struct cell *cell = &run->grid.cells[i];
        if (cell->benchmark == benchmark && cell_is_runnable(cell))
            status = judge_cell(&gone, run, cell, judge, err);
    }
    judge_close(judge);
    return status;
}

enum status sweep_judge(struct run *run, struct error *err)
{
    for (int b = 0; b < run->sweep.n_benchmarks; b++)
        if (material_is_judged(&run->materials[b]))
            TRY(judge_benchmark(run, b, err));
    return OK;
}
