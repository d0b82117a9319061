/* The workers of a sweep: every sample that is not in the store yet is asked, answered, scored and stored.
 *
 *   work_queue.c    what there is to do, in the order in which most is shared
 *   shown_cache.c   features of the pictures at work
 *   worker          takes an item, asks, scores, stores; its session holds the prefills that items share
 */
#include <math.h>    /* exp */
#include <pthread.h> /* workers */
#include <stdio.h>   /* snprintf */
#include <stdlib.h>  /* free */
#include <string.h>  /* memcpy */
#include <time.h>    /* nanosleep */
#include <unistd.h>  /* sysconf */

#include "core/memory.h"
#include "datasets/pictures.h"
#include "harness/cut_counts.h"
#include "harness/replay.h"
#include "harness/shown_cache.h"
#include "harness/sweep_run.h"
#include "harness/trace_plan.h"
#include "harness/work_queue.h"

struct work {
    struct run *run;
    struct shown_cache cache;
    size_t share_bytes;   /* of each worker */
    pthread_mutex_t lock; /* of everything below */
    struct work_queue queue;
    int n_done, n_failed, n_running, n_begun;
    struct error fatal; /* status OK: none */
};

static const struct item *work_take(unsigned *share, struct work *work, int worker)
{
    pthread_mutex_lock(&work->lock);
    bool goes_on = !sweep_stop && work->fatal.status == OK;
    const struct item *item = goes_on ? work_queue_take(share, &work->queue, worker) : NULL;
    pthread_mutex_unlock(&work->lock);
    return item;
}

/* What an answer took, alone and here. */
struct effort {
    uint64_t macs, macs_shared;
};

/* why: its error, NULL when it went well. */
static void work_finished(struct work *work, const struct item *item, const char *why,
                          const struct effort *effort, const struct error *fatal)
{
    struct run *run = work->run;
    bool failed = why != NULL;
    progress_item(&run->progress, item->cell, item->row, why);
    pthread_mutex_lock(&work->lock);
    work->n_done++;
    work->n_failed += failed;
    run->n_untraced += failed && item->answered;
    run->flops_alone += 2.0 * (double)effort->macs;
    run->flops_shared += 2.0 * (double)effort->macs_shared;
    if (fatal && work->fatal.status == OK)
        work->fatal = *fatal;
    pthread_mutex_unlock(&work->lock);
}

/* ---- one sample ----------------------------------------------------------------------------- */

/* White space at both ends gone, in place. */
static const char *strip(char *text)
{
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r\n\v\f", text[n - 1]))
        text[--n] = 0;
    return text + strspn(text, " \t\r\n\v\f");
}

static double yes_share(const struct run *run, const float *logits)
{
    if (run->yes_id < 0 || run->no_id < 0 || logits == NULL)
        return NAN;
    return 1 / (1 + exp((double)logits[run->no_id] - (double)logits[run->yes_id]));
}

/* A row of each decoder layer, and of layer -1 where something happened before layer 0, the tower included.
 */
static enum status fill_layers(struct store_layer *out, int *n_out, const struct answer *answer,
                               struct error *err)
{
    const struct ledger *ledger = &answer->ledger;
    struct cut_counts before;
    int n = 0;
    TRY(cut_counts_before(&before, answer, err));
    if (before.n_in > 0 && (before.n_out != before.n_in || before.kept != before.n_in))
        out[n++] = (struct store_layer){.layer = LAYER_BEFORE,
                                        .visual_in = before.n_in,
                                        .visual_out = before.n_out,
                                        .kept = before.kept,
                                        .recycled = before.recycled,
                                        .clusters = before.clusters,
                                        .dropped = before.dropped,
                                        .raters = -1,
                                        .rank = -1,
                                        .kv_len = -1};
    for (int l = 0; l < ledger->n_layers; l++) {
        const struct ledger_layer *x = &ledger->layers[l];
        out[n++] = (struct store_layer){.layer = l,
                                        .visual_in = x->visual_in,
                                        .visual_out = x->visual_out,
                                        .kept = x->kept,
                                        .recycled = x->recycled,
                                        .clusters = x->clusters,
                                        .dropped = x->dropped,
                                        .raters = x->cut ? x->raters : -1,
                                        .rank = x->cut ? x->rank : -1,
                                        .kv_len = x->kv_len,
                                        .flops = 2 * (x->macs_prefill + x->macs_select)};
    }
    *n_out = n;
    return OK;
}

/* Bitmaps of the patches that are tokens of their own after each cut, one for all that happens before layer
 * 0. Only where visual tokens are grid cells one to one, so that a token's number is its cell. */
static int fill_keeps(struct store_keep *out, uint8_t *bits, const struct answer *answer, int rows, int cols)
{
    int n = 0, n_cells = rows * cols;
    if (n_cells == 0 || n_cells != answer->ledger.n_visual)
        return 0;
    size_t n_bytes = ((size_t)n_cells + 7) / 8;
    for (int i = 0; i < answer->n_records; i++) {
        const struct cut_record *cut = &answer->records[i];
        bool vision = cut->site == SITE_VISION;
        if (vision && cut->n_group_of == 0)
            continue; /* only what leaves the tower */
        int layer = vision ? LAYER_BEFORE : cut->layer;
        if (n == 0 || out[n - 1].layer != layer) {
            out[n] = (struct store_keep){
                .layer = layer, .rows = rows, .cols = cols, .alive = bits + (size_t)n * n_bytes};
            n++;
        }
        uint8_t *alive = out[n - 1].alive;
        memset(alive, 0, n_bytes);
        for (int k = 0; k < cut->n_kept; k++) {
            int32_t id = cut->ids_in[cut->kept[k]];
            if (cut_keeps_own(cut, k) && id < n_cells)
                alive[id / 8] = (uint8_t)(alive[id / 8] | 1u << (id % 8));
        }
    }
    return n;
}

/* `match: flops` in tokens: the budget times what prefill and selection cost over what they should. */
static double flops_measured(const struct answer *answer)
{
    const struct ledger *x = &answer->ledger;
    double requested = answer->plan.requested;
    return requested * (double)(x->macs[STAGE_PREFILL] + x->macs[STAGE_SELECT]) /
           ledger_vanilla_macs(x, requested);
}

static void fill_figures(struct store_sample *out, const struct answer *answer, enum match match)
{
    const struct ledger *x = &answer->ledger;
    out->n_generated = x->n_generated;
    out->n_visual = x->n_visual;
    out->marked = x->marked;
    out->tokens_in = ledger_tokens_in(x);
    out->tokens_out = ledger_tokens_out(x);
    out->requested = answer->plan.requested > 0 ? answer->plan.requested : NAN;
    out->measured = match == MATCH_TOKENS_IN    ? out->tokens_in
                    : match == MATCH_TOKENS_OUT ? out->tokens_out
                    : match == MATCH_FLOPS      ? flops_measured(answer)
                                                : answer->plan.measured;
    out->macs_paper = x->macs_paper;
    out->flops_vision = 2 * x->macs[STAGE_VISION];
    out->flops_project = 2 * x->macs[STAGE_PROJECT];
    out->flops_prefill = 2 * x->macs[STAGE_PREFILL];
    out->flops_select = 2 * x->macs[STAGE_SELECT];
    out->flops_head = 2 * x->macs[STAGE_HEAD];
    out->flops_decode = 2 * x->macs[STAGE_DECODE];
    out->kv_bytes_live = x->kv_bytes_live;
    out->kv_bytes_alloc = x->kv_bytes_alloc;
    out->kv_visual_bytes = x->kv_visual_bytes;
}

static enum status write_trace(struct work *work, const struct cell *cell, const struct item *item,
                               const struct answer *answer, const char *text, const struct shown *shown,
                               struct error *err)
{
    struct run *run = work->run;
    const struct material *material = &run->materials[cell->benchmark];
    int row = shown_row(material, cell->arm->control, item->row);
    struct image *pictures = NULL;
    int n_pictures = 0;
    struct trace_sample sample = {.sample_id = item->row,
                                  .question = material->data.samples[item->row].text,
                                  .answer = text,
                                  .result = answer,
                                  .cuts_only = run->sweep.trace.cuts_only};
    sample.n_grids = shown->n;
    if (shown->n > 0)
        features_grid(shown->features[0], &sample.grid_rows, &sample.grid_cols);
    if (row >= 0 && !sample.cuts_only && cell->arm->control != CONTROL_BLANK) {
        sample.picture = material->data.samples[row].image;
        if (!trace_knows(run->trace, sample.picture)) {
            TRY(sample_pictures(&pictures, &n_pictures, &material->data, row, err));
            sample.image = &pictures[0]; /* of a clip the first frame */
        }
    }
    enum status status = trace_sample(run->trace, cell->key, &sample, err);
    pictures_free(pictures, n_pictures);
    return status;
}

/* Stores an answer; an error here is the store's or the trace's, and ends the sweep. */
static enum status keep_answer(struct work *work, const struct item *item, struct answer *answer,
                               const struct shown *shown, double wall_ms, struct error *err)
{
    struct run *run = work->run;
    const struct cell *cell = &run->grid.cells[item->cell];
    const struct material *material = &run->materials[cell->benchmark];
    const struct dataset *data = &material->data;
    const char *text = strip(answer->turns[answer->n_turns - 1].text);
    char parsed[1024] = "";
    int rows = 0, cols = 0;
    if (shown->n == 1)
        features_grid(shown->features[0], &rows, &cols);
    struct store_sample row = {.sample_id = item->row,
                               .machine = run->machine,
                               .answer = text,
                               .parsed = parsed,
                               .yes_prob = yes_share(run, answer->first_logits),
                               .wall_ms = wall_ms};
    row.score =
        data->benchmark->score_sample(parsed, sizeof parsed, data, item->row, text, NULL, PROTOCOL_OFFICIAL);
    if (cell->arm->control == CONTROL_MISMATCHED && material->mismatched &&
        material->mismatched[item->row] >= 0)
        row.image = data->samples[material->mismatched[item->row]].image_name;
    fill_figures(&row, answer, cell->arm->method.match);

    size_t n_layers = (size_t)answer->ledger.n_layers + 1, n_records = (size_t)answer->n_records;
    struct store_layer *layers = memory_alloc(n_layers, sizeof *layers);
    struct store_keep *keeps = memory_alloc(n_records, sizeof *keeps);
    uint8_t *bits = memory_zero(n_records, ((size_t)rows * (size_t)cols + 7) / 8);
    enum status status = OK;
    if (layers == NULL || keeps == NULL || bits == NULL)
        TRY_GOTO(status, memory_failed(err, "rows of a sample", n_layers * sizeof *layers));
    row.layers = layers;
    TRY_GOTO(status, fill_layers(layers, &row.n_layers, answer, err));
    row.keeps = keeps;
    row.n_keeps = fill_keeps(keeps, bits, answer, rows, cols);
    /* The trace first: a sample that is in the store is not run again. */
    if (item->trace)
        TRY_GOTO(status, write_trace(work, cell, item, answer, text, shown, err));
    if (item->answered) /* the row there has times and a machine that are not of this run */
        goto exit;
    TRY_GOTO(status, store_sample(run->store, cell->id, &row, err));
exit:
    free(layers);
    free(keeps);
    free(bits);
    return status;
}

/* Asks. An error here is the sample's own. */
static enum status ask(struct answer *answer, struct shown *shown, struct effort *effort, struct work *work,
                       struct session *session, const struct item *item, unsigned share, struct error *err)
{
    const struct run *run = work->run;
    const struct cell *cell = &run->grid.cells[item->cell];
    const struct material *material = &run->materials[cell->benchmark];
    int row = shown_row(material, cell->arm->control, item->row);
    char *prompt = NULL;
    struct cut_record *cuts;
    int n_cuts;
    struct question question = sample_question(run, cell, item->row);
    TRY(sample_replay(&question, &cuts, &n_cuts, cell, item->row, err));
    enum status status;
    TRY_GOTO(status, sample_prompt(&prompt, material, cell->arm->control, item->row, err));
    struct encode_options encoding = sample_encoding(run, cell, &question);
    bool computed = true;
    if (run->options->timeout_s > 0)
        question.deadline_ms = clock_ms() + 1e3 * run->options->timeout_s;
    if (row >= 0)
        TRY_GOTO(status, shown_cache_get(shown, &computed, &work->cache, session, run->vlm, &material->data,
                                         row, cell, &encoding, err));
    question.prompts = (const char *const *)&prompt;
    question.images = shown->features;
    question.n_images = shown->n;
    question.want_records = true;
    question.share = question.method->reducer->in_tower ? share & SHARE_QUESTIONS : share;
    if (item->trace && !run->sweep.trace.cuts_only) {
        question.n_attention = run->sweep.trace.n_attention;
        question.attention_layers = run->sweep.trace.attention;
    }
    TRY_GOTO(status, session_ask(answer, session, &question, err));
    effort->macs = ledger_flops(&answer->ledger, false) / 2;
    effort->macs_shared = answer->ledger.macs_shared;
    for (int i = 0; i < shown->n && !computed; i++) {
        struct features_cost cost = features_cost(shown->features[i]);
        effort->macs_shared += cost.macs_vision + cost.macs_project + cost.macs_select;
    }
exit:
    free(prompt);
    replay_free(cuts, n_cuts);
    return status;
}

static void run_item(struct work *work, struct session *session, const struct item *item, unsigned share)
{
    struct run *run = work->run;
    struct answer answer = {0};
    struct shown shown = {0};
    struct effort effort = {0};
    struct error err = {0};
    double start = clock_ms();
    if (item->answered && !trace_wants(run->trace, run->grid.cells[item->cell].key, item->row)) {
        work_finished(work, item, NULL, &effort, NULL); /* the trace is full since */
        return;
    }
    enum status status = ask(&answer, &shown, &effort, work, session, item, share, &err);
    bool failed = status != OK;
    const struct error why = err;
    if (failed && item->answered) {
        fprintf(stderr, "not traced: sample %d of %s: %s\n", item->row,
                run->materials[run->grid.cells[item->cell].benchmark].entry->name, err.text);
        status = OK;
    } else if (failed) {
        struct store_sample row = {.sample_id = item->row, .machine = run->machine, .error = err.text};
        struct error store_err = {0};
        status = store_sample(run->store, run->grid.cells[item->cell].id, &row, &store_err);
        err = store_err;
    } else {
        status = keep_answer(work, item, &answer, &shown, clock_ms() - start, &err);
        answer_free(&answer);
    }
    shown_release(&shown);
    work_finished(work, item, failed ? why.text : NULL, &effort, status == OK ? NULL : &err);
}

static void *worker(void *context)
{
    struct work *work = context;
    struct session *session;
    struct error err = {0};
    int n_threads = work->run->options->n_threads;
    pthread_mutex_lock(&work->lock);
    int place = work->n_begun++;
    pthread_mutex_unlock(&work->lock);
    if (session_open(&session, work->run->vlm, n_threads > 0 ? n_threads : 1, &err) == OK) {
        const struct item *item;
        const struct item *before = NULL;
        unsigned share;
        session_share(session, work->share_bytes);
        while ((item = work_take(&share, work, place))) {
            if (before && before->group != item->group)
                session_forget(session, SHARE_METHODS | SHARE_QUESTIONS);
            else if (before && (before->row != item->row || before->benchmark != item->benchmark))
                session_forget(session, SHARE_METHODS);
            before = item;
            run_item(work, session, item, share);
        }
        session_close(session);
    }
    pthread_mutex_lock(&work->lock);
    if (err.status != OK && work->fatal.status == OK)
        work->fatal = err;
    work->n_running--;
    pthread_mutex_unlock(&work->lock);
    return NULL;
}

/* ---- all of them ---------------------------------------------------------------------------- */

int sweep_workers(const struct run *run)
{
    int n = run->options->n_workers;
    if (n == 0) /* a GPU is one worker's */
        n = strcmp(vlm_device(run->vlm), "cuda") == 0 ? 1 : machine_cores();
    return n;
}

int sweep_feature_slots(const struct run *run)
{
    return run->options->no_share ? 0 : sweep_workers(run) * count_feature_kinds(run) + 8;
}

size_t sweep_share_bytes(const struct run *run)
{
    if (run->options->no_share)
        return 0;
    long n_pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t n_bytes = n_pages > 0 && page > 0 ? (size_t)n_pages * (size_t)page / 4 : (size_t)1 << 30;
    return run->options->memory_bytes > 0 ? run->options->memory_bytes : n_bytes;
}

/* Shows progress and commits while the workers run. */
static void attend(struct work *work)
{
    for (;;) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        struct error err = {0};
        enum status status = store_tick(work->run->store, false, &err);
        pthread_mutex_lock(&work->lock);
        int n_running = work->n_running, n_done = work->n_done, n_failed = work->n_failed;
        pthread_mutex_unlock(&work->lock);
        if (status == OK)
            status = progress_show(&work->run->progress, n_done, n_failed, n_running == 0, &err);
        pthread_mutex_lock(&work->lock);
        if (status != OK && work->fatal.status == OK)
            work->fatal = err;
        pthread_mutex_unlock(&work->lock);
        if (n_running == 0)
            return;
    }
}

enum status sweep_work(struct run *run, struct error *err)
{
    struct work work = {.run = run};
    pthread_t *threads = NULL;
    enum status status = OK;
    int n_workers = sweep_workers(run), n_started = 0;
    pthread_mutex_init(&work.lock, NULL);
    TRY_GOTO(status, work_queue_make(&work.queue, run, n_workers, err));
    if (work.queue.n_items == 0)
        goto exit;
    n_workers = n_workers < work.queue.n_items ? n_workers : work.queue.n_items;
    threads = memory_zero((size_t)n_workers, sizeof *threads);
    if (threads == NULL)
        TRY_GOTO(status, memory_failed(err, "workers", (size_t)n_workers * sizeof *threads));
    TRY_GOTO(status, shown_cache_open(&work.cache, sweep_feature_slots(run), err));
    work.share_bytes = sweep_share_bytes(run) / (size_t)n_workers;
    TRY_GOTO(status, progress_phase(&run->progress, "samples", work.queue.n_items, err));
    for (int i = 0; i < work.queue.n_items; i++)
        progress_expect(&run->progress, work.queue.items[i].cell);
    work.n_running = n_workers;
    for (; n_started < n_workers; n_started++)
        if (pthread_create(&threads[n_started], NULL, worker, &work) != 0)
            break;
    pthread_mutex_lock(&work.lock);
    work.n_running -= n_workers - n_started;
    if (n_started == 0)
        work.fatal = (struct error){NO_MACHINE, "no thread can be started"};
    pthread_mutex_unlock(&work.lock);
    attend(&work);
    for (int i = 0; i < n_started; i++)
        pthread_join(threads[i], NULL);
    run->n_done += work.n_done;
    run->n_failed += work.n_failed;
    if (run->flops_alone > 0)
        fprintf(stderr, "%.3g FLOPs of answers, %.3g of them shared (%.0f %%)\n", run->flops_alone,
                run->flops_shared, 100 * run->flops_shared / run->flops_alone);
    TRY_GOTO(status, store_tick(run->store, true, err));
    if (work.fatal.status != OK) {
        *err = work.fatal;
        status = err->status;
    } else if (sweep_stop) {
        status = fail(err, INTERRUPTED, "interrupted; the same command goes on where it stopped");
    }
exit:
    shown_cache_close(&work.cache);
    pthread_mutex_destroy(&work.lock);
    work_queue_free(&work.queue);
    free(threads);
    return status;
}
