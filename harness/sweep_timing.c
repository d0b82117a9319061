/* The timing pass: a pass of its own over the first samples of each benchmark, one session, nothing else at
 * work, the methods interleaved and their order rotated, so that a slow moment of the machine falls on all of
 * them.
 *
 *     for each sample, for each repeat: encode the picture once, then ask every cell
 *
 * A row's times are the medians over its repeats; a cell's are the medians over its rows (summary.c). Arms
 * that differ from an earlier one only by their seed, and controls, are not timed: they cost what their twin
 * costs.
 */
#include <math.h>   /* NAN */
#include <stdio.h>  /* fprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/memory.h"
#include "harness/stats.h"
#include "harness/replay.h"
#include "harness/sweep_run.h"

enum { N_TIMES = sizeof(struct store_times) / sizeof(double) };

struct timed {
    int cell;
    uint8_t *states; /* by row: STORE_* */
    double *times;   /* [repeats, N_TIMES] of the sample at work */
};

struct timing {
    struct run *run;
    struct session *session;
    struct timed *cells; /* of one benchmark */
    int n_cells;
    int n_done;
    struct method vanilla; /* whose features the methods outside of the tower share */
};

/* Without seed: what the cost depends on. */
static bool same_cost(const struct arm *a, const struct arm *b)
{
    const char *seed_a = strstr(a->text, "\nseed="), *seed_b = strstr(b->text, "\nseed=");
    return seed_a - a->text == seed_b - b->text && strncmp(a->text, b->text, (size_t)(seed_a - a->text)) == 0;
}

static bool is_timed(const struct run *run, int cell)
{
    const struct cell *own = &run->grid.cells[cell];
    if (!cell_is_runnable(own) || own->model != run->model || own->arm->control != CONTROL_NONE)
        return false;
    for (int i = 0; i < cell; i++) {
        const struct cell *other = &run->grid.cells[i];
        if (other->benchmark == own->benchmark && other->model == own->model && cell_is_runnable(other) &&
            same_cost(other->arm, own->arm))
            return false;
    }
    return true;
}

static void read_times(double out[N_TIMES], const struct ledger *ledger)
{
    const struct store_times times = {
        .preprocess_ms = ledger->preprocess_ms,
        .vision_ms = ledger->vision_ms,
        .project_ms = ledger->project_ms,
        .prefill_ms = ledger->prefill_ms,
        .select_ms = ledger->select_ms,
        .ttft_ms = ledger->ttft_ms,
        .decode_ms_per_token = ledger->n_decode_steps > 0 ? ledger->decode_ms / ledger->n_decode_steps : NAN,
        .total_ms = ledger->total_ms};
    memcpy(out, &times, sizeof times);
}

static enum status encode(struct shown *out, struct timing *timing, struct session *session,
                          const struct cell *cell, const struct question *question, int row,
                          struct error *err)
{
    const struct material *material = &timing->run->materials[cell->benchmark];
    struct encode_options options = sample_encoding(timing->run, cell, question);
    return encode_shown(out, session, timing->run->vlm, &material->data,
                        shown_row(material, CONTROL_NONE, row), CONTROL_NONE, &options, err);
}

static enum status ask(double *times, struct timing *timing, struct session *session, const struct cell *cell,
                       int row, const struct shown *shown, struct error *err)
{
    const struct material *material = &timing->run->materials[cell->benchmark];
    char *prompt;
    TRY(sample_prompt(&prompt, material, CONTROL_NONE, row, err));
    struct question question = sample_question(timing->run, cell, row);
    struct shown own = {0};
    struct answer answer = {0};
    struct cut_record *cuts = NULL;
    int n_cuts = 0;
    enum status status;
    TRY_GOTO(status, sample_replay(&question, &cuts, &n_cuts, cell, row, err));
    if (shown->n > 0 && question.method->reducer->in_tower) /* the tower is at work for this method alone */
        TRY_GOTO(status, encode(&own, timing, session, cell, &question, row, err));
    question.prompts = (const char *const *)&prompt;
    question.images = own.n > 0 ? own.features : shown->features;
    question.n_images = shown->n;
    TRY_GOTO(status, session_ask(&answer, session, &question, err));
    if (times)
        read_times(times, &answer.ledger);
exit:
    free(prompt);
    shown_release(&own);
    replay_free(cuts, n_cuts);
    answer_free(&answer);
    return status;
}

/* The features that the methods outside of the tower share. */
static enum status encode_plain(struct shown *out, struct timing *timing, struct session *session,
                                const struct cell *cell, int row, struct error *err)
{
    struct question question = sample_question(timing->run, cell, row);
    question.method = &timing->vanilla;
    return encode(out, timing, session, cell, &question, row, err);
}

static bool is_open(const struct timed *timed, int row)
{
    return (timed->states[row] & STORE_DONE) && !(timed->states[row] & STORE_TIMED);
}

static enum status store_medians(struct timing *timing, const struct timed *timed, int row, double *column,
                                 struct error *err)
{
    int repeats = timing->run->sweep.timing.repeats;
    double medians[N_TIMES];
    for (int t = 0; t < N_TIMES; t++) {
        for (int r = 0; r < repeats; r++)
            column[r] = timed->times[r * N_TIMES + t];
        medians[t] = median(column, repeats);
    }
    struct store_times times;
    memcpy(&times, medians, sizeof times);
    return store_times(timing->run->store, timing->run->grid.cells[timed->cell].id, row, &times, err);
}

/* `place` is that of the row in the pass: who comes first changes with it, also where nothing is repeated. */
static enum status time_sample(struct timing *timing, const struct material *material, int place,
                               double *column, struct error *err)
{
    int row = material->rows[place];
    int repeats = timing->run->sweep.timing.repeats, n_open = 0;
    for (int i = 0; i < timing->n_cells; i++)
        n_open += is_open(&timing->cells[i], row);
    if (n_open == 0)
        return OK;
    for (int r = 0; r < repeats && !sweep_stop; r++) {
        struct shown shown;
        TRY(encode_plain(&shown, timing, timing->session, &timing->run->grid.cells[timing->cells[0].cell],
                         row, err));
        enum status status = OK;
        for (int i = 0; i < timing->n_cells && status == OK && !sweep_stop; i++) {
            struct timed *timed = &timing->cells[(i + r + place) % timing->n_cells];
            if (!is_open(timed, row))
                continue;
            status = ask(timed->times + r * N_TIMES, timing, timing->session,
                         &timing->run->grid.cells[timed->cell], row, &shown, err);
            timing->n_done++;
            if (status == OK)
                status = progress_show(&timing->run->progress, timing->n_done, 0, false, err);
        }
        shown_release(&shown);
        TRY(status);
    }
    for (int i = 0; i < timing->n_cells && !sweep_stop; i++)
        if (is_open(&timing->cells[i], row))
            TRY(store_medians(timing, &timing->cells[i], row, column, err));
    return store_tick(timing->run->store, true, err);
}

/* The first row that was answered; -1 without one. */
static int answered_row(const struct timed *timed, const struct material *material)
{
    for (int i = 0; i < material->n_rows; i++)
        if (timed->states[material->rows[i]] & STORE_DONE)
            return material->rows[i];
    return -1;
}

/* Untimed: pages in weights and brings the clock up. */
static enum status warm_up(struct timing *timing, const struct material *material, struct error *err)
{
    int c = 0, row = -1;
    while (c < timing->n_cells && (row = answered_row(&timing->cells[c], material)) < 0)
        c++;
    if (row < 0)
        return OK;
    struct shown shown;
    TRY(encode_plain(&shown, timing, timing->session, &timing->run->grid.cells[timing->cells[c].cell], row,
                     err));
    enum status status =
        ask(NULL, timing, timing->session, &timing->run->grid.cells[timing->cells[c].cell], row, &shown, err);
    shown_release(&shown);
    return status;
}

/* The high-water mark of memory, weights included, of one answer in a session of its own. */
static enum status measure_peak(struct timing *timing, const struct timed *timed, struct error *err)
{
    struct run *run = timing->run;
    const struct cell *cell = &run->grid.cells[timed->cell];
    const struct material *material = &run->materials[cell->benchmark];
    struct session *session;
    struct shown shown = {0};
    int row = answered_row(timed, material);
    if (row < 0)
        return OK;
    TRY(session_open(&session, run->vlm, 1, err));
    enum status status;
    TRY_GOTO(status, encode_plain(&shown, timing, session, cell, row, err));
    TRY_GOTO(status, ask(NULL, timing, session, cell, row, &shown, err));
    TRY_GOTO(status,
             store_peak(run->store, cell->id, vlm_weight_bytes(run->vlm) + session_peak_bytes(session), err));
exit:
    shown_release(&shown);
    session_close(session);
    return status;
}

/* Of a shard its part of them, so that all shards together time as many as one sweep would. */
static int timed_rows(const struct run *run, const struct material *material)
{
    int n_shards = run->options->n_shards > 1 ? run->options->n_shards : 1;
    int n = (run->sweep.timing.samples + n_shards - 1) / n_shards;
    return material->n_rows < n ? material->n_rows : n;
}

static void cells_free(struct timing *timing)
{
    for (int i = 0; i < timing->n_cells; i++) {
        free(timing->cells[i].states);
        free(timing->cells[i].times);
    }
    timing->n_cells = 0;
}

/* The cells of a benchmark that are timed, and how many asks are left for them. */
static enum status cells_open(struct timing *timing, int benchmark, int *n_asks, struct error *err)
{
    struct run *run = timing->run;
    const struct material *material = &run->materials[benchmark];
    int repeats = run->sweep.timing.repeats;
    *n_asks = 0;
    for (int c = 0; c < run->grid.n_cells; c++) {
        if (run->grid.cells[c].benchmark != benchmark || !is_timed(run, c))
            continue;
        struct timed *timed = &timing->cells[timing->n_cells++];
        *timed = (struct timed){.cell = c,
                                .states = memory_zero((size_t)material->data.n, 1),
                                .times = memory_zero((size_t)repeats * N_TIMES, sizeof(double))};
        if (timed->states == NULL || timed->times == NULL)
            return memory_failed(err, "timing", (size_t)repeats * N_TIMES * sizeof(double));
        TRY(store_states(timed->states, material->data.n, run->store, run->grid.cells[c].id, err));
        for (int i = 0; i < timed_rows(run, material); i++)
            *n_asks += is_open(timed, material->rows[i]) ? repeats : 0;
    }
    return OK;
}

static enum status time_benchmark(struct timing *timing, int benchmark, double *column, struct error *err)
{
    struct run *run = timing->run;
    const struct material *material = &run->materials[benchmark];
    enum status status = OK;
    int n_asks, n_rows = timed_rows(run, material);
    TRY_GOTO(status, cells_open(timing, benchmark, &n_asks, err));
    if (n_asks == 0 || timing->n_cells == 0)
        goto exit;
    char what[128];
    snprintf(what, sizeof what, "timing %.100s", material->entry->name);
    timing->n_done = 0;
    TRY_GOTO(status, progress_phase(&run->progress, what, n_asks, err));
    TRY_GOTO(status, warm_up(timing, material, err));
    for (int i = 0; i < n_rows && status == OK && !sweep_stop; i++)
        status = time_sample(timing, material, i, column, err);
    for (int i = 0; i < timing->n_cells && status == OK && !sweep_stop; i++)
        status = measure_peak(timing, &timing->cells[i], err);
    if (status == OK)
        status = progress_show(&run->progress, timing->n_done, 0, true, err);
exit:
    cells_free(timing);
    return status;
}

enum status sweep_timing(struct run *run, struct error *err)
{
    int n_threads = run->options->n_threads > 0 ? run->options->n_threads : machine_cores();
    struct timing timing = {.run = run};
    timing.cells = memory_zero((size_t)run->grid.n_cells, sizeof *timing.cells);
    double *column = memory_zero((size_t)run->sweep.timing.repeats, sizeof *column);
    enum status status = OK;
    if (timing.cells == NULL || column == NULL)
        TRY_GOTO(status, memory_failed(err, "timing", (size_t)run->grid.n_cells * sizeof *timing.cells));
    TRY_GOTO(status, method_init(&timing.vanilla, "vanilla", err));
    TRY_GOTO(status, session_open(&timing.session, run->vlm, n_threads, err));
    for (int b = 0; b < run->sweep.n_benchmarks && status == OK && !sweep_stop; b++)
        if (run->materials[b].n_rows > 0)
            status = time_benchmark(&timing, b, column, err);
    if (status == OK)
        status = store_tick(run->store, true, err);
    if (status == OK && sweep_stop)
        status = fail(err, INTERRUPTED, "interrupted; the same command goes on where it stopped");
exit:
    if (timing.session)
        session_close(timing.session);
    free(timing.cells);
    free(column);
    return status;
}
