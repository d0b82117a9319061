/* The workers of a sweep: every sample that is not in the store yet is asked, answered, scored and stored.
 *
 *   items    (cell, row), sorted by the picture that is shown; a group is one picture's items
 *   worker   takes the next item of its group, then a fresh group, then helps with another's
 *   cache    features of the last pictures, shared by all workers and cells; one that is being computed is
 * waited for
 *
 * So each picture goes through the vision tower once (per control that changes it), whatever the number of
 * questions and cells, and the last pictures are shared out when no fresh group is left.
 */
#include <math.h>    /* exp */
#include <pthread.h> /* workers */
#include <stdio.h>   /* snprintf */
#include <stdlib.h>  /* qsort */
#include <string.h>  /* memcpy */
#include <time.h>    /* nanosleep */
#include <unistd.h>  /* sysconf */

#include "core/map.h"
#include "core/memory.h"
#include "harness/cut_counts.h"
#include "harness/replay.h"
#include "datasets/pictures.h"
#include "harness/sweep_run.h"

struct item {
    int cell, row, group;
    bool trace, answered; /* answered: it is in the store, only its trace is missing */
};

struct group {
    int next, end; /* of its items */
};

/* ---- the cache of features ------------------------------------------------------------------ */

enum slot_state { SLOT_EMPTY, SLOT_COMPUTING, SLOT_READY };

struct slot {
    char *key; /* owned */
    struct shown shown;
    enum slot_state state;
    unsigned used; /* clock of the last use */
};

struct cache {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct slot *slots;
    int n_slots;
    unsigned clock;
};

static enum status cache_open(struct cache *cache, int n_slots, struct error *err)
{
    *cache = (struct cache){.n_slots = n_slots, .slots = memory_zero((size_t)n_slots, sizeof *cache->slots)};
    if (cache->slots == NULL)
        return memory_failed(err, "cache of features", (size_t)n_slots * sizeof *cache->slots);
    pthread_mutex_init(&cache->lock, NULL);
    pthread_cond_init(&cache->changed, NULL);
    return OK;
}

static void cache_close(struct cache *cache)
{
    if (cache->slots == NULL)
        return;
    for (int i = 0; i < cache->n_slots; i++) {
        shown_release(&cache->slots[i].shown);
        free(cache->slots[i].key);
    }
    free(cache->slots);
    pthread_mutex_destroy(&cache->lock);
    pthread_cond_destroy(&cache->changed);
}

/* The slot of `key`, or one to compute it in. More slots than workers: one that nobody computes in is always
 * there. */
static struct slot *cache_slot(struct cache *cache, const char *key)
{
    struct slot *oldest = NULL;
    for (int i = 0; i < cache->n_slots; i++) {
        struct slot *slot = &cache->slots[i];
        if (slot->state != SLOT_EMPTY && strcmp(slot->key, key) == 0)
            return slot;
        if (slot->state == SLOT_COMPUTING)
            continue;
        if (oldest == NULL ||
            (oldest->state == SLOT_READY && (slot->state == SLOT_EMPTY || slot->used < oldest->used)))
            oldest = slot;
    }
    return oldest;
}

/* The pictures of row `row`; the caller shown_release's *out. */
static enum status cache_get(struct shown *out, struct cache *cache, struct session *session,
                             const struct vlm *vlm, const struct dataset *dataset, int row,
                             const struct cell *cell, const struct encode_options *options, struct error *err)
{
    const char *path = dataset->samples[row].image;
    /* a method that works in the tower has features of its own; a replay one for each sample */
    bool in_tower = options->method->reducer->in_tower;
    enum control control = cell->arm->control;
    char *key;
    TRY(make_path(&key, err, "%d|%d|%s|%s|%lld", (int)options->mode, control == CONTROL_BLANK, path,
                  in_tower ? cell->arm->text : "", options->replay ? (long long)options->sample : -1LL));
    char *copy = memory_text(key);
    if (copy == NULL) {
        free(key);
        return memory_failed(err, "cache of features", strlen(path));
    }
    pthread_mutex_lock(&cache->lock);
    struct slot *slot;
    while ((slot = cache_slot(cache, key))->state == SLOT_COMPUTING)
        pthread_cond_wait(&cache->changed, &cache->lock);
    slot->used = ++cache->clock;
    if (slot->state == SLOT_READY && strcmp(slot->key, key) == 0) {
        enum status status = shown_share(out, &slot->shown, err);
        pthread_mutex_unlock(&cache->lock);
        free(copy);
        free(key);
        return status;
    }
    free(key);
    shown_release(&slot->shown);
    free(slot->key);
    *slot = (struct slot){.key = copy, .state = SLOT_COMPUTING, .used = cache->clock};
    pthread_mutex_unlock(&cache->lock);

    struct shown shown;
    enum status status = encode_shown(&shown, session, vlm, dataset, row, control, options, err);

    pthread_mutex_lock(&cache->lock);
    slot->state = status == OK ? SLOT_READY : SLOT_EMPTY;
    slot->shown = shown;
    if (status == OK)
        status = shown_share(out, &shown, err);
    pthread_cond_broadcast(&cache->changed);
    pthread_mutex_unlock(&cache->lock);
    return status;
}

/* ---- the queue ------------------------------------------------------------------------------ */

struct queue {
    struct run *run;
    struct item *items;
    int n_items;
    struct group *groups;
    int n_groups, next_group;
    struct cache cache;
    pthread_mutex_t lock; /* of everything below, and of the groups */
    int n_done, n_failed, n_running;
    struct error fatal; /* status OK: none */
};

/* The next item for a worker whose last group was *group; NULL when there is none, or it is time to stop. */
static const struct item *queue_take(struct queue *queue, int *group)
{
    const struct item *item = NULL;
    pthread_mutex_lock(&queue->lock);
    if (!sweep_stop && queue->fatal.status == OK) {
        if (*group < 0 || queue->groups[*group].next == queue->groups[*group].end) {
            *group = -1;
            if (queue->next_group < queue->n_groups)
                *group = queue->next_group++;
            for (int g = 0; *group < 0 && g < queue->n_groups; g++)
                if (queue->groups[g].next < queue->groups[g].end)
                    *group = g;
        }
        if (*group >= 0)
            item = &queue->items[queue->groups[*group].next++];
    }
    pthread_mutex_unlock(&queue->lock);
    return item;
}

/* why: its error, NULL when it went well. */
static void queue_finished(struct queue *queue, const struct item *item, const char *why,
                           const struct error *fatal)
{
    bool failed = why != NULL;
    progress_item(&queue->run->progress, item->cell, item->row, why);
    pthread_mutex_lock(&queue->lock);
    queue->n_done++;
    queue->n_failed += failed;
    queue->run->n_untraced += failed && item->answered;
    if (fatal && queue->fatal.status == OK)
        queue->fatal = *fatal;
    pthread_mutex_unlock(&queue->lock);
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

static enum status write_trace(struct queue *queue, const struct cell *cell, const struct item *item,
                               const struct answer *answer, const char *text, const struct shown *shown,
                               struct error *err)
{
    struct run *run = queue->run;
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
        TRY(sample_pictures(&pictures, &n_pictures, &material->data, row, err));
        sample.image = &pictures[0]; /* of a clip the first frame */
    }
    enum status status = trace_sample(run->trace, cell->key, &sample, err);
    pictures_free(pictures, n_pictures);
    return status;
}

/* Stores an answer; an error here is the store's or the trace's, and ends the sweep. */
static enum status keep_answer(struct queue *queue, const struct item *item, struct answer *answer,
                               const struct shown *shown, double wall_ms, struct error *err)
{
    struct run *run = queue->run;
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
        TRY_GOTO(status, write_trace(queue, cell, item, answer, text, shown, err));
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
static enum status ask(struct answer *answer, struct shown *shown, struct queue *queue,
                       struct session *session, const struct item *item, struct error *err)
{
    const struct run *run = queue->run;
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
    if (row >= 0)
        TRY_GOTO(status, cache_get(shown, &queue->cache, session, run->vlm, &material->data, row, cell,
                                   &encoding, err));
    question.prompts = (const char *const *)&prompt;
    question.images = shown->features;
    question.n_images = shown->n;
    question.want_records = true;
    if (item->trace && !run->sweep.trace.cuts_only) {
        question.n_attention = run->sweep.trace.n_attention;
        question.attention_layers = run->sweep.trace.attention;
    }
    TRY_GOTO(status, session_ask(answer, session, &question, err));
exit:
    free(prompt);
    replay_free(cuts, n_cuts);
    return status;
}

static void run_item(struct queue *queue, struct session *session, const struct item *item)
{
    struct run *run = queue->run;
    struct answer answer = {0};
    struct shown shown = {0};
    struct error err = {0};
    double start = clock_ms();
    enum status status = ask(&answer, &shown, queue, session, item, &err);
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
        status = keep_answer(queue, item, &answer, &shown, clock_ms() - start, &err);
        answer_free(&answer);
    }
    shown_release(&shown);
    queue_finished(queue, item, failed ? why.text : NULL, status == OK ? NULL : &err);
}

static void *worker(void *context)
{
    struct queue *queue = context;
    struct session *session;
    struct error err = {0};
    int n_threads = queue->run->options->n_threads, group = -1;
    if (session_open(&session, queue->run->vlm, n_threads > 0 ? n_threads : 1, &err) == OK) {
        const struct item *item;
        while ((item = queue_take(queue, &group)))
            run_item(queue, session, item);
        session_close(session);
    }
    pthread_mutex_lock(&queue->lock);
    if (err.status != OK && queue->fatal.status == OK)
        queue->fatal = err;
    queue->n_running--;
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

/* ---- all of them ---------------------------------------------------------------------------- */

static int by_group(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return (x->cell > y->cell) - (x->cell < y->cell);
}

/* The first picture that is asked about more than once, NULL without one: two questions about one picture
 * tell more than two pictures, so its samples are traced first. */
static const char *paired_cluster(const struct material *material)
{
    for (int i = 0; i < material->n_rows; i++)
        for (int j = i + 1; j < material->n_rows; j++)
            if (strcmp(material->data.samples[material->rows[i]].cluster,
                       material->data.samples[material->rows[j]].cluster) == 0)
                return material->data.samples[material->rows[i]].cluster;
    return NULL;
}

static bool is_in(const struct material *material, int i, const char *cluster)
{
    return cluster && strcmp(material->data.samples[material->rows[i]].cluster, cluster) == 0;
}

/* place: in the order of tracing, the paired picture's samples first. */
static bool is_traced(const struct run *run, int place)
{
    return run->sweep.trace.wanted && (run->sweep.trace.samples < 0 || place < run->sweep.trace.samples);
}

/* What is left to do of one cell, with the pictures numbered by `pictures`. */
static enum status add_items(struct queue *queue, int cell_index, struct map *pictures, uint8_t *states,
                             struct error *err)
{
    struct run *run = queue->run;
    const struct cell *cell = &run->grid.cells[cell_index];
    const struct material *material = &run->materials[cell->benchmark];
    memset(states, 0, (size_t)material->data.n);
    TRY(store_states(states, material->data.n, run->store, cell->id, err));
    if (run->sweep.trace.wanted)
        TRY(trace_cell(run->trace, cell->key, cell->arm->method.reducer->name, cell->arm->params,
                       run->sweep.models[run->model], err));
    const char *paired = run->sweep.trace.wanted ? paired_cluster(material) : NULL;
    int n_paired = 0, n_others = 0, n_all_paired = 0;
    for (int i = 0; i < material->n_rows; i++)
        n_all_paired += is_in(material, i, paired);
    for (int i = 0; i < material->n_rows; i++) {
        int row = material->rows[i];
        bool traced = is_traced(run, is_in(material, i, paired) ? n_paired++ : n_all_paired + n_others++);
        bool answered = states[row] & STORE_DONE;
        if (answered && (!traced || trace_has(run->trace, cell->key, row)))
            continue;
        const char *path = shown_image(material, cell->arm->control, row);
        if (path == NULL) /* asked without a picture: with those who are shown its own */
            path = material->data.samples[row].image ? material->data.samples[row].image : "";
        int group = map_get(pictures, path, strlen(path));
        if (group < 0) {
            group = queue->n_groups++;
            map_put(pictures, path, strlen(path), group);
        }
        queue->items[queue->n_items++] = (struct item){cell_index, row, group, traced, answered};
    }
    return OK;
}

static enum status make_items(struct queue *queue, struct error *err)
{
    struct run *run = queue->run;
    size_t n_most = 0, n_rows_most = 1;
    for (int c = 0; c < run->grid.n_cells; c++) {
        const struct material *material = &run->materials[run->grid.cells[c].benchmark];
        n_most += (size_t)material->n_rows;
        n_rows_most = n_rows_most < (size_t)material->data.n ? (size_t)material->data.n : n_rows_most;
    }
    struct map pictures = {0};
    uint8_t *states = memory_alloc(n_rows_most, 1);
    queue->items = memory_alloc(n_most, sizeof *queue->items);
    enum status status = OK;
    if (states == NULL || queue->items == NULL || !map_init(&pictures, n_most ? n_most : 1))
        TRY_GOTO(status, memory_failed(err, "the list of samples", n_most * sizeof *queue->items));
    for (int c = 0; c < run->grid.n_cells; c++)
        if (run->grid.cells[c].model == run->model && cell_is_runnable(&run->grid.cells[c]))
            TRY_GOTO(status, add_items(queue, c, &pictures, states, err));
    qsort(queue->items, (size_t)queue->n_items, sizeof *queue->items, by_group);
    queue->groups = memory_zero((size_t)queue->n_groups, sizeof *queue->groups);
    if (queue->groups == NULL)
        TRY_GOTO(status,
                 memory_failed(err, "the list of pictures", (size_t)queue->n_groups * sizeof(struct group)));
    for (int i = 0; i < queue->n_items; i++) {
        struct group *group = &queue->groups[queue->items[i].group];
        if (group->end == 0)
            group->next = i;
        group->end = i + 1;
    }
exit:
    map_free(&pictures);
    free(states);
    return status;
}

static int worker_count(const struct run *run, int n_items)
{
    long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    int n = run->options->n_workers;
    if (n == 0) /* a GPU is one worker's */
        n = strcmp(vlm_device(run->vlm), "cuda") == 0 || n_cores < 1 ? 1 : (int)n_cores;
    return n < n_items ? n : n_items;
}

/* Shows progress and commits while the workers run. */
static void attend(struct queue *queue)
{
    for (;;) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        struct error err = {0};
        enum status status = store_tick(queue->run->store, false, &err);
        pthread_mutex_lock(&queue->lock);
        int n_running = queue->n_running, n_done = queue->n_done, n_failed = queue->n_failed;
        pthread_mutex_unlock(&queue->lock);
        if (status == OK)
            status = progress_show(&queue->run->progress, n_done, n_failed, n_running == 0, &err);
        pthread_mutex_lock(&queue->lock);
        if (status != OK && queue->fatal.status == OK)
            queue->fatal = err;
        pthread_mutex_unlock(&queue->lock);
        if (n_running == 0)
            return;
    }
}

enum status sweep_work(struct run *run, struct error *err)
{
    struct queue queue = {.run = run};
    pthread_t *threads = NULL;
    enum status status = OK;
    int n_workers = 0, n_started = 0;
    pthread_mutex_init(&queue.lock, NULL);
    TRY_GOTO(status, make_items(&queue, err));
    if (queue.n_items == 0)
        goto exit;
    n_workers = worker_count(run, queue.n_items);
    threads = memory_zero((size_t)n_workers, sizeof *threads);
    if (threads == NULL)
        TRY_GOTO(status, memory_failed(err, "workers", (size_t)n_workers * sizeof *threads));
    TRY_GOTO(status, cache_open(&queue.cache, 4 * n_workers + 8, err));
    TRY_GOTO(status, progress_phase(&run->progress, "samples", queue.n_items, err));
    for (int i = 0; i < queue.n_items; i++)
        progress_expect(&run->progress, queue.items[i].cell);
    queue.n_running = n_workers;
    for (; n_started < n_workers; n_started++)
        if (pthread_create(&threads[n_started], NULL, worker, &queue) != 0)
            break;
    pthread_mutex_lock(&queue.lock);
    queue.n_running -= n_workers - n_started;
    if (n_started == 0)
        queue.fatal = (struct error){NO_MACHINE, "no thread can be started"};
    pthread_mutex_unlock(&queue.lock);
    attend(&queue);
    for (int i = 0; i < n_started; i++)
        pthread_join(threads[i], NULL);
    run->n_done += queue.n_done;
    run->n_failed += queue.n_failed;
    TRY_GOTO(status, store_tick(run->store, true, err));
    if (queue.fatal.status != OK) {
        *err = queue.fatal;
        status = err->status;
    } else if (sweep_stop) {
        status = fail(err, INTERRUPTED, "interrupted; the same command goes on where it stopped");
    }
exit:
    cache_close(&queue.cache);
    pthread_mutex_destroy(&queue.lock);
    free(queue.items);
    free(queue.groups);
    free(threads);
    return status;
}
