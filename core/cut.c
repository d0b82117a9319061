/* A cut: the method is shown the tokens and their attention, answers with a selection, and the runtime acts.
 *
 * Scores come from the attention of the layer just run, through its log-sum-exp, or (next_layer) from the
 * projections of the layer to come.
 */
#include "cut.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

void reduction_free(struct reduction *r)
{
    sequence_free(&r->sequence);
    sequence_free(&r->spare);
    cut_records_free(r->records, r->n_records);
    free(r->rater_rows);
    free(r->group_of);
}

static struct plan_cut *cut_at(const struct reduction *r, enum cut_site site, int layer)
{
    const struct plan *plan = &r->plan;
    if (r->next_cut < plan->n_cuts && plan->cuts[r->next_cut].site == site &&
        plan->cuts[r->next_cut].layer == layer)
        return (struct plan_cut *)&plan->cuts[r->next_cut];
    return NULL;
}

/* What the trace says of this cut. */
static const struct cut_record *replayed(const struct reduction *r, enum cut_site site, int layer)
{
    for (int i = 0; i < r->n_replay; i++) {
        const struct cut_record *record = &r->replay[i];
        if (record->site == site && record->layer == layer && record->turn == r->turn &&
            (site != SITE_VISION || record->image == r->image))
            return record;
    }
    return NULL;
}

static struct view view_of(struct reduction *r, const struct cut_point *point, const struct plan_cut *cut)
{
    struct session *s = r->session;
    struct workspace *w = &s->work;
    size_t question = (size_t)(r->sequence.n - r->n_candidates);
    return (struct view){.compute = &s->compute,
                         .method = r->method,
                         .config = &s->vlm->config,
                         .plan = &r->plan,
                         .cut = cut,
                         .sequence = &r->sequence,
                         .grids = r->grids,
                         .site = point->site,
                         .layer = point->layer,
                         .n_visual = r->sequence.n_visual,
                         .hidden_size = point->d,
                         .visual = index_at(s, INDEX_VISUAL),
                         .hidden = w->x,
                         .keys = point->site == SITE_VISION ? w->k : NULL,
                         .queries = point->site == SITE_VISION ? w->q : NULL,
                         .final_norm = s->vlm->llama.norm,
                         .kv = point->site == SITE_DECODER ? &point->kv : NULL,
                         .n_heads = point->n_heads,
                         .head_dim = point->head_dim,
                         .text = w->x + question * (size_t)point->d,
                         .n_text = r->n_candidates,
                         .seed = r->seed,
                         .sample = r->sample,
                         .image = r->image,
                         .replayed = r->n_replay ? replayed(r, point->site, point->layer) : NULL,
                         .scratch = w->scratch,
                         .n_scratch = (size_t)w->n_rows * ((size_t)w->scratch_width)};
}

/* Rows of the visual tokens, on the host (to be freed) and in work.index. */
static enum status visual_upload(int32_t **host, struct reduction *r, struct error *err)
{
    struct session *s = r->session;
    size_t n = (size_t)r->sequence.n_visual;
    *host = memory_alloc(n + 1, sizeof **host);
    if (*host == NULL)
        return memory_failed(err, "visual rows", n * sizeof **host);
    sequence_visual(*host, &r->sequence);
    s->vlm->ops->upload(&s->compute, index_at(s, INDEX_VISUAL), *host, n * sizeof **host);
    return OK;
}

/* ---- rows that score ------------------------------------------------------------------------ */

enum status cut_prepare(struct reduction *r, struct error *err)
{
    struct session *s = r->session;
    bool chosen = false, text = false;
    free(r->rater_rows);
    r->rater_rows = NULL;
    r->n_rater_rows = -1;
    for (int i = 0; i < r->plan.n_cuts; i++) {
        const struct plan_cut *cut = &r->plan.cuts[i];
        if (cut->site != SITE_DECODER)
            continue;
        enum score_rows rows = r->method->reducer->score(r->method, cut).rows;
        chosen = chosen || rows == ROWS_CHOSEN;
        text = text || rows == ROWS_TEXT;
    }
    if (chosen) {
        double start = clock_ms();
        r->rater_rows = memory_alloc((size_t)r->n_candidates + 1, sizeof *r->rater_rows);
        if (r->rater_rows == NULL)
            return memory_failed(err, "raters", (size_t)r->n_candidates * sizeof *r->rater_rows);
        int32_t *visual;
        TRY(visual_upload(&visual, r, err));
        free(visual);
        s->compute.macs = 0;
        struct cut_point point = {
            .site = SITE_BEFORE, .layer = LAYER_BEFORE, .d = s->vlm->config.text.hidden};
        struct view view = view_of(r, &point, NULL);
        TRY(r->method->reducer->choose_rows(r->rater_rows, &r->n_rater_rows, &view, err));
        r->macs_counted += s->compute.macs;
        r->macs += (uint64_t)view.n_visual * (uint64_t)view.n_text * (uint64_t)view.hidden_size;
        r->ms += clock_ms() - start;
    }
    if ((chosen && r->n_rater_rows == 0) || (text && r->n_candidates == 0))
        r->plan.n_cuts = r->next_cut; /* nothing scores: nothing is cut in this sample, nor was it planned */
    return OK;
}

bool cut_here(const struct reduction *r, enum cut_site site, int layer)
{
    return cut_at(r, site, layer) != NULL;
}

bool cut_scores(const struct reduction *r, enum cut_site site, int layer)
{
    const struct plan_cut *cut = cut_at(r, site, layer);
    if (cut == NULL)
        return false;
    struct score_request request = r->method->reducer->score(r->method, cut);
    return request.rows != ROWS_NONE && !request.next_layer;
}

int cut_rows(int32_t *out, const struct reduction *r, enum score_rows rows)
{
    const struct sequence *sequence = &r->sequence;
    int n = 0, question = sequence->n - r->n_candidates;
    switch (rows) {
    case ROWS_NONE:
        break;
    case ROWS_CHOSEN:
        for (; n < r->n_rater_rows; n++)
            out[n] = question + r->rater_rows[n];
        break;
    case ROWS_TEXT:
        for (int i = question; i < sequence->n; i++)
            out[n++] = i;
        break;
    case ROWS_ALL:
        for (; n < sequence->n; n++)
            out[n] = n;
        break;
    case ROWS_LAST:
        out[n++] = sequence->n - 1;
        break;
    case ROWS_CLASS:
        out[n++] = 0;
        break;
    }
    return n;
}

/* ---- scores --------------------------------------------------------------------------------- */

/* Backend memory of one cut beyond the workspace. */
struct score_memory {
    float *rows, *heads, *factor;
};

static void score_memory_free(struct score_memory *memory, const struct ops *ops)
{
    ops->release(memory->rows);
    ops->release(memory->heads);
    ops->release(memory->factor);
}

static enum status backend_floats(float **out, const struct ops *ops, size_t n, struct error *err)
{
    *out = ops->alloc((n ? n : 1) * sizeof(float));
    return *out ? OK : memory_failed(err, "scores by row or head", n * sizeof(float));
}

/* positions [sequence.n] of the rows in the layer just run; the largest is returned. */
static int positions_of(int32_t *positions, const struct reduction *r)
{
    bool original = method_original_positions(r->method); /* looks parameters up by name */
    int most = 0;
    for (int i = 0; i < r->sequence.n; i++) {
        positions[i] = original ? r->sequence.tokens[i].position : i;
        most = positions[i] > most ? positions[i] : most;
    }
    return most;
}

/* factor [n_rows, n_visual] by the distance of row and key. */
static enum status factors_upload(float **out, struct reduction *r, const struct view *view,
                                  const struct score_request *request, const int32_t *rows,
                                  const int32_t *visual, struct error *err)
{
    const struct ops *ops = r->session->vlm->ops;
    size_t n = (size_t)view->n_rows * (size_t)view->n_visual, n_sequence = (size_t)r->sequence.n;
    int32_t *positions = memory_alloc(n_sequence, sizeof *positions);
    if (positions == NULL)
        return memory_failed(err, "positions", n_sequence * sizeof *positions);
    size_t n_table = (size_t)positions_of(positions, r) + 1;
    float *host = memory_alloc(n + n_table, sizeof *host), *table = host ? host + n : NULL;
    bool *mark = memory_zero(n_table, sizeof *mark);
    if (host == NULL || mark == NULL) {
        free(positions);
        free(host);
        free(mark);
        return memory_failed(err, "distance factors", n * sizeof *host);
    }
    request->factors(table, mark, view, (int)n_table);
    for (int i = 0; i < view->n_rows; i++) {
        int32_t row = positions[rows[i]];
        float *factor = host + (size_t)i * (size_t)view->n_visual;
        for (int j = 0; j < view->n_visual; j++) {
            int distance = row - positions[visual[j]];
            factor[j] = table[abs(distance)];
            r->marked = r->marked || (distance >= 0 && mark[distance]);
        }
    }
    enum status status = backend_floats(out, ops, n, err);
    if (status == OK)
        ops->upload(&r->session->compute, *out, host, n * sizeof *host);
    free(positions);
    free(host);
    free(mark);
    return status;
}

/* work.score of the visual tokens from the attention of the layer just run. */
static enum status score_this_layer(struct view *view, struct score_memory *memory, struct reduction *r,
                                    const struct cut_point *point, const struct score_request *request,
                                    const int32_t *visual, struct error *err)
{
    struct session *s = r->session;
    struct workspace *w = &s->work;
    const struct ops *ops = s->vlm->ops;
    int n = r->sequence.n, n_visual = r->sequence.n_visual;
    int q_first = point->site == SITE_VISION ? n : 0; /* in the tower every row sees every key */
    int32_t *host = memory_alloc((size_t)n, sizeof *host), *rows = index_at(s, INDEX_ROWS);
    if (host == NULL)
        return memory_failed(err, "scoring rows", (size_t)n * sizeof *host);
    view->n_rows = cut_rows(host, r, request->rows);
    enum status status = OK;
    ops->upload(&s->compute, rows, host, (size_t)view->n_rows * sizeof *host);
    size_t n_rows = (size_t)view->n_rows;
    if (request->factors)
        TRY_GOTO(status, factors_upload(&memory->factor, r, view, request, host, visual, err));
    if (request->by_row)
        TRY_GOTO(status, backend_floats(&memory->rows, ops, n_rows * (size_t)n_visual, err));
    if (request->by_head)
        TRY_GOTO(status, backend_floats(&memory->heads, ops, (size_t)point->n_heads * (size_t)n_visual, err));
    if (request->all_keys) {
        ENSURE(!request->factors && !request->by_row && !request->by_head);
        int32_t *keys = index_at(s, INDEX_ORDER);
        for (int i = 0; i < n; i++)
            host[i] = i;
        ops->upload(&s->compute, keys, host, (size_t)n * sizeof *host);
        ops->attention_score(&s->compute, &(struct score_output){.mean = w->scratch}, NULL, w->q, w->lse,
                             &point->kv, rows, keys, view->n_rows, n, n, q_first, point->n_heads);
        ops->gather_rows(&s->compute, w->score, w->scratch, view->visual, n_visual, 1);
    } else {
        ops->attention_score(
            &s->compute,
            &(struct score_output){.mean = w->score, .rows = memory->rows, .heads = memory->heads},
            memory->factor, w->q, w->lse, &point->kv, rows, view->visual, view->n_rows, n_visual, n, q_first,
            point->n_heads);
    }
    view->score = w->score;
    view->score_rows = memory->rows;
    view->score_heads = memory->heads;
exit:
    free(host);
    return status;
}

/* The same from the projections of the layer that comes: the last row's query, every token's key. The keys
 * stay in work.k, unrotated, for the tokens that go on. */
static enum status score_next_layer(struct view *view, struct reduction *r, const struct cut_point *point,
                                    const struct score_request *request, struct error *err)
{
    struct session *s = r->session;
    struct workspace *w = &s->work;
    struct compute *c = &s->compute;
    const struct ops *ops = s->vlm->ops;
    const struct vlm_config *config = &s->vlm->config;
    const struct llama_layer *layer = &s->vlm->llama.layers[point->layer + 1];
    int n = r->sequence.n, n_visual = r->sequence.n_visual, d = config->text.hidden;
    int h = config->text.head_dim, n_kv_heads = config->text.n_kv_heads, n_heads = config->text.n_heads;
    size_t key = (size_t)n_kv_heads * (size_t)h;
    ENSURE(request->rows == ROWS_LAST && point->layer + 1 < config->text.n_layers);

    ops->rms_norm(c, w->h, w->x, layer->input_norm, config->text.eps, n, d);
    double start = clock_ms();
    ops->linear(c, w->k, w->h, &layer->k, NULL, n);
    r->keys_ms = clock_ms() - start;
    ops->linear(c, w->q, w->h + (size_t)(n - 1) * (size_t)d, &layer->q, NULL, 1);
    ops->copy(c, w->v, w->k, (size_t)n * key * sizeof(float));
    if (!request->unrotated) {
        int32_t *host = memory_alloc((size_t)n, sizeof *host), *positions = index_at(s, INDEX_POSITIONS);
        if (host == NULL)
            return memory_failed(err, "positions", (size_t)n * sizeof *host);
        positions_of(host, r);
        ops->upload(c, positions, host, (size_t)n * sizeof *host);
        ops->rope(c, w->v, s->vlm->llama.rope, positions, 0, n, n_kv_heads, h);
        ops->rope(c, w->q, s->vlm->llama.rope, NULL, host[n - 1], 1, n_heads, h);
        free(host);
    }
    float *keys = w->v;
    int n_keys = request->visual_only ? n_visual : n;
    if (request->visual_only) {
        ops->gather_rows(c, w->gate, w->v, view->visual, n_visual, (int)key);
        keys = w->gate;
    }
    /* the next layer's pages are empty yet, and written anew when it runs */
    TRY(kv_reserve(&s->kv, point->layer + 1, n_keys, err));
    struct kv_view kv = kv_view(&s->kv, point->layer + 1, n_keys);
    ops->kv_write(c, &kv, keys, keys, 0, n_keys);
    if (request->visual_only) {
        ops->query_score(c, w->score, w->q, &kv, 1, n_heads);
    } else {
        ops->query_score(c, w->scratch, w->q, &kv, 1, n_heads);
        ops->gather_rows(c, w->score, w->scratch, view->visual, n_visual, 1);
    }
    view->n_rows = 1;
    view->score = w->score;
    r->keys_ready = true;
    return OK;
}

/* ---- acting --------------------------------------------------------------------------------- */

/* Formula of the scores of one cut (docs/counting.md). The next layer's keys of the n_out rows that go on
 * count in its prefill. */
static uint64_t score_macs(const struct reduction *r, const struct view *view, int n_in, int n_out,
                           const struct score_request *request)
{
    const struct vlm_config *config = &r->session->vlm->config;
    uint64_t heads = (uint64_t)view->n_heads * (uint64_t)view->head_dim;
    bool all_keys = request->all_keys || (request->next_layer && !request->visual_only);
    uint64_t macs = heads * (uint64_t)view->n_rows * (uint64_t)(all_keys ? n_in : view->n_visual);
    if (request->next_layer) {
        uint64_t d = (uint64_t)config->text.hidden,
                 key = (uint64_t)config->text.n_kv_heads * (uint64_t)config->text.head_dim;
        macs += d * heads + (uint64_t)(n_in - (r->keys_ready ? n_out : 0)) * d * key;
    }
    return macs;
}

static void score_name(char *out, size_t size, const struct cut_point *point, const char *what)
{
    if (point->site == SITE_VISION)
        snprintf(out, size, "vision.%d.%s", point->layer, what);
    else
        snprintf(out, size, "decoder.%d.%s", point->layer, what);
}

static enum status selection_take(struct cut_result *out, struct reduction *r, const struct view *view,
                                  const struct selection *selection, enum score_rows rows,
                                  const int32_t *visual, struct error *err)
{
    struct choice choice;
    TRY(choice_download(&choice, r->session, selection, visual, view->n_visual, err));
    enum status status = OK;
    if (r->want_records)
        TRY_GOTO(status, record_keep(r, view, selection, &choice, rows, err));
    out->cut = true;
    out->n_in = view->n_visual;
    out->kept = selection->n_kept - (selection->in_place ? selection->n_clusters : 0);
    out->clusters = selection->n_clusters;
    out->recycled = choice.n_into;
    out->dropped = out->n_in - out->kept - out->recycled;
    if (selection->n_recycled > 0)
        out->macs += (uint64_t)choice.n_sources * (uint64_t)view->hidden_size;
    path_cut(&r->path, selection, &choice, view->layer);
    TRY_GOTO(status, rows_move(r, selection, &choice, view->hidden_size, err));
exit:
    choice_free(&choice);
    return status;
}

static enum status cut_act(struct cut_result *out, struct score_memory *memory, struct reduction *r,
                           const struct cut_point *point, struct plan_cut *cut, const int32_t *visual,
                           struct error *err)
{
    struct session *s = r->session;
    const struct reducer *reducer = r->method->reducer;
    struct score_request request = reducer->score(r->method, cut);
    struct view view = view_of(r, point, cut);
    struct selection selection = {.order = index_at(s, INDEX_ORDER),
                                  .kept = index_at(s, INDEX_KEPT),
                                  .recycled = index_at(s, INDEX_RECYCLED),
                                  .group = index_at(s, INDEX_GROUP),
                                  .centres = index_at(s, INDEX_CENTRES),
                                  .weight = s->work.weight,
                                  .own = s->work.own,
                                  .room = INDEX_ROOM * s->work.n_rows,
                                  .rank = -1};
    int n_in = r->sequence.n;
    char name[64];
    if (request.rows != ROWS_NONE && request.next_layer)
        TRY(score_next_layer(&view, r, point, &request, err));
    else if (request.rows != ROWS_NONE)
        TRY(score_this_layer(&view, memory, r, point, &request, visual, err));
    if (cut->adaptive) {
        TRY(reducer->adapt(cut, &selection, &view, err));
        selection.skip = cut->keep >= view.n_visual;
        cut->adaptive = false; /* the counts are there now */
    }
    if (!selection.skip)
        TRY(reducer->select(&selection, &view, err));
    const float *score = selection.score ? selection.score : view.score;
    score_name(name, sizeof name, point, "score");
    if (score)
        TRY(tap_give(r->tap, s, name, score, 0, view.n_visual, 1, err));
    out->raters = request.rows == ROWS_NONE ? -1 : view.n_rows;
    out->rank = selection.rank;
    r->rank_ms += selection.rank_ms;
    out->macs += selection.macs;
    if (!selection.skip)
        TRY(selection_take(out, r, &view, &selection, request.rows, visual, err));
    if (request.rows != ROWS_NONE)
        out->macs += score_macs(r, &view, n_in, r->sequence.n, &request);
    if (r->keys_ready && selection.skip)
        r->keys_macs = (uint64_t)n_in * (uint64_t)point->d * (uint64_t)s->vlm->config.text.n_kv_heads *
                       (uint64_t)s->vlm->config.text.head_dim;
    score_name(name, sizeof name, point, "reduced");
    return selection.skip ? OK : tap_give(r->tap, s, name, s->work.x, 0, r->sequence.n, point->d, err);
}

enum status cut_apply(struct cut_result *out, struct reduction *r, const struct cut_point *point,
                      struct error *err)
{
    *out = (struct cut_result){.raters = -1, .rank = -1};
    struct plan_cut *cut = cut_at(r, point->site, point->layer);
    if (cut == NULL)
        return OK;
    r->next_cut++;
    struct session *s = r->session;
    double start = clock_ms();
    int32_t *visual;
    TRY(visual_upload(&visual, r, err));
    struct score_memory memory = {0};
    uint64_t stage = s->compute.macs; /* of the stage that the cut stands in */
    int n_in = r->sequence.n;
    s->compute.macs = 0;
    enum status status = cut_act(out, &memory, r, point, cut, visual, err);
    score_memory_free(&memory, s->vlm->ops);
    free(visual);
    r->macs += out->macs;
    r->macs_counted += s->compute.macs - r->keys_macs; /* keys that the next layer does not compute again */
    s->compute.macs = stage;
    r->ms += clock_ms() - start;
    if (r->keys_ready) /* those of the rows that go on are the next layer's, in time as in MACs */
        r->ms -= r->keys_ms * r->sequence.n / n_in;
    return status;
}
