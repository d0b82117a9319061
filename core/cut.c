/* A cut between two decoder layers: the method chooses, the runtime acts.
 *
 * Scores come from the attention of the layer just run, through its log-sum-exp; the successor of the
 * sequence is built in place of the old: kept tokens in order, clusters at the end of the last visual span.
 */
#include <stdio.h>
#include <string.h>

#include <stdlib.h>

#include "memory.h"
#include "run.h"

/* Places in work.index, n_rows entries each; 7 holds the positions (prefill.c). */
enum { INDEX_VISUAL, INDEX_ROWS, INDEX_ORDER, INDEX_KEPT, INDEX_RECYCLED, INDEX_GROUP, INDEX_CENTRES };

const char *const site_names[] = {
    [SITE_VISION] = "vision", [SITE_BEFORE] = "before", [SITE_DECODER] = "decoder"};

static int32_t *index_at(const struct session *s, int which)
{
    return s->work.index + (size_t)which * (size_t)s->work.n_rows;
}

static const struct plan_cut *cut_at(const struct run *run, int layer)
{
    const struct plan *plan = &run->answer->plan;
    if (run->next_cut < plan->n_cuts && plan->cuts[run->next_cut].layer == layer)
        return &plan->cuts[run->next_cut];
    return NULL;
}

static struct view view_of(struct run *run, int layer, const struct plan_cut *cut)
{
    struct session *s = run->session;
    struct workspace *w = &s->work;
    int d = s->vlm->config.text.hidden;
    return (struct view){.compute = &s->compute,
                         .method = run->method,
                         .plan = &run->answer->plan,
                         .cut = cut,
                         .sequence = &run->sequence,
                         .layer = layer,
                         .n_visual = run->sequence.n_visual,
                         .hidden_size = d,
                         .visual = index_at(s, INDEX_VISUAL),
                         .hidden = w->x,
                         .text = w->x + (size_t)run->sequence.text_start * (size_t)d,
                         .n_text_after = run->sequence.n - run->sequence.text_start,
                         .seed = run->question->seed,
                         .sample = run->question->sample,
                         .scratch = w->scratch,
                         .n_scratch = (size_t)w->n_rows * ((size_t)d + 1)};
}

/* Rows of the visual tokens, on the host (to be freed) and in work.index. */
static enum status visual_upload(int32_t **host, struct run *run, struct error *err)
{
    struct session *s = run->session;
    size_t n = (size_t)run->sequence.n_visual;
    *host = memory_alloc(n, sizeof **host);
    if (*host == NULL)
        return memory_failed(err, "visual rows", n * sizeof **host);
    sequence_visual(*host, &run->sequence);
    s->vlm->ops->upload(&s->compute, index_at(s, INDEX_VISUAL), *host, n * sizeof **host);
    return OK;
}

static void select_count(struct run *run, int layer, double start, uint64_t macs)
{
    struct ledger *ledger = &run->answer->ledger;
    ledger->select_ms += clock_ms() - start;
    ledger->macs_counted[STAGE_SELECT] += run->session->compute.macs;
    ledger->macs[STAGE_SELECT] += macs;
    if (layer >= 0)
        ledger->layers[layer].macs_select += macs;
}

enum status cut_prepare(struct run *run, struct error *err)
{
    const struct plan *plan = &run->answer->plan;
    int n_text = run->sequence.n - run->sequence.text_start;
    run->n_rater_rows = -1;
    bool chosen = false, text = false;
    for (int i = 0; i < plan->n_cuts; i++) {
        enum score_rows rows = run->method->reducer->score(run->method, &plan->cuts[i]).rows;
        chosen = chosen || rows == ROWS_CHOSEN;
        text = text || rows == ROWS_TEXT;
    }
    if (chosen) {
        double start = clock_ms();
        run->rater_rows = memory_alloc((size_t)n_text, sizeof *run->rater_rows);
        if (run->rater_rows == NULL)
            return memory_failed(err, "raters", (size_t)n_text * sizeof *run->rater_rows);
        int32_t *visual;
        TRY(visual_upload(&visual, run, err));
        free(visual);
        run->session->compute.macs = 0;
        struct view view = view_of(run, LAYER_BEFORE, NULL);
        TRY(run->method->reducer->choose_rows(run->rater_rows, &run->n_rater_rows, &view, err));
        select_count(run, LAYER_BEFORE, start,
                     (uint64_t)view.n_visual * (uint64_t)n_text * (uint64_t)view.hidden_size);
    }
    if ((chosen && run->n_rater_rows == 0) || (text && n_text == 0))
        run->next_cut = plan->n_cuts; /* nothing scores: nothing is cut in this sample */
    return OK;
}

bool cut_scores(const struct run *run, int layer)
{
    const struct plan_cut *cut = cut_at(run, layer);
    return cut && run->method->reducer->score(run->method, cut).rows != ROWS_NONE;
}

/* Rows of the sequence that score at this cut, on the host; *out holds sequence.n. */
static int rows_of(int32_t *out, const struct run *run, enum score_rows rows)
{
    const struct sequence *sequence = &run->sequence;
    int n = 0;
    switch (rows) {
    case ROWS_NONE:
        break;
    case ROWS_CHOSEN:
        for (; n < run->n_rater_rows; n++)
            out[n] = sequence->text_start + run->rater_rows[n];
        break;
    case ROWS_TEXT:
        for (int i = sequence->text_start; i < sequence->n; i++)
            out[n++] = i;
        break;
    case ROWS_ALL:
        for (; n < sequence->n; n++)
            out[n] = n;
        break;
    case ROWS_LAST:
        out[n++] = sequence->n - 1;
        break;
    }
    return n;
}

/* work.score of the visual tokens from the attention of `layer`. Returns the number of rows in *n_rows. */
static enum status score_tokens(struct view *view, struct run *run, const struct score_request *request,
                                int layer, struct error *err)
{
    struct session *s = run->session;
    struct workspace *w = &s->work;
    const struct ops *ops = s->vlm->ops;
    int n = run->sequence.n, n_visual = run->sequence.n_visual;
    int32_t *host = memory_alloc((size_t)n, sizeof *host), *rows = index_at(s, INDEX_ROWS);
    if (host == NULL)
        return memory_failed(err, "scoring rows", (size_t)n * sizeof *host);
    view->n_rows = rows_of(host, run, request->rows);
    ops->upload(&s->compute, rows, host, (size_t)view->n_rows * sizeof *host);
    struct kv_view kv = kv_view(&s->kv, layer, n);
    int n_heads = s->vlm->config.text.n_heads;
    if (request->all_keys) {
        int32_t *keys = index_at(s, INDEX_ORDER);
        for (int i = 0; i < n; i++)
            host[i] = i;
        ops->upload(&s->compute, keys, host, (size_t)n * sizeof *host);
        ops->attention_score(&s->compute, &(struct score_output){.mean = w->scratch}, NULL, w->q, w->lse, &kv,
                             rows, keys, view->n_rows, n, n, 0, n_heads);
        ops->gather_rows(&s->compute, w->score, w->scratch, view->visual, n_visual, 1);
    } else {
        ops->attention_score(&s->compute, &(struct score_output){.mean = w->score}, NULL, w->q, w->lse, &kv,
                             rows, view->visual, view->n_rows, n_visual, n, 0, n_heads);
    }
    view->score = w->score;
    free(host);
    return OK;
}

/* ---- acting on a selection ------------------------------------------------------------------ */

/* Host copies of a selection. */
struct choice {
    int32_t *block, *kept, *recycled, *group, *centres, *visual;
};

static enum status choice_download(struct choice *out, struct session *s, const struct selection *selection,
                                   int n_visual, struct error *err)
{
    size_t n = (size_t)n_visual;
    out->block = memory_alloc(4 * n, sizeof *out->block);
    if (out->block == NULL)
        return memory_failed(err, "selection", 4 * n * sizeof *out->block);
    out->kept = out->block;
    out->recycled = out->block + n;
    out->group = out->block + 2 * n;
    out->centres = out->block + 3 * n;
    const struct ops *ops = s->vlm->ops;
    ops->download(&s->compute, out->kept, selection->kept, (size_t)selection->n_kept * sizeof(int32_t));
    ops->download(&s->compute, out->recycled, selection->recycled,
                  (size_t)selection->n_recycled * sizeof(int32_t));
    ops->download(&s->compute, out->group, selection->group, (size_t)selection->n_recycled * sizeof(int32_t));
    ops->download(&s->compute, out->centres, selection->centres,
                  (size_t)selection->n_clusters * sizeof(int32_t));
    return OK;
}

/* The new rows: work.next from work.x, and run->spare from run->sequence; then they change places. */
static enum status rows_move(struct run *run, const struct selection *selection, const struct choice *choice,
                             struct error *err)
{
    struct session *s = run->session;
    struct workspace *w = &s->work;
    const struct ops *ops = s->vlm->ops;
    const struct sequence *old = &run->sequence;
    struct sequence *new = &run->spare;
    size_t d = (size_t)s->vlm->config.text.hidden;
    int32_t *host = memory_alloc((size_t)old->n, sizeof *host), *device = index_at(s, INDEX_ROWS);
    if (host == NULL)
        return memory_failed(err, "kept rows", (size_t)old->n * sizeof *host);

    new->n = new->n_visual = new->text_start = 0;
    new->n_clusters = old->n_clusters;
    int n_rows = 0, place = 0, next_kept = 0, before = 0;
    for (int i = 0; i <= old->n; i++) {
        if (i == old->text_start) { /* the last visual span ends here: clusters follow it */
            before = n_rows;
            for (int g = 0; g < selection->n_clusters; g++) {
                struct token token = old->tokens[choice->visual[choice->centres[g]]];
                token.id = -1 - new->n_clusters++;
                token.size = 0;
                for (int r = 0; r < selection->n_recycled; r++)
                    if (choice->group[r] == g)
                        token.size += old->tokens[choice->visual[choice->recycled[r]]].size;
                sequence_add(new, token);
            }
        }
        if (i == old->n)
            break;
        if (old->tokens[i].kind != TOKEN_TEXT) {
            bool kept = next_kept < selection->n_kept && choice->kept[next_kept] == place++;
            if (!kept)
                continue;
            next_kept++;
        }
        sequence_add(new, old->tokens[i]);
        host[n_rows++] = i;
    }
    ENSURE(next_kept == selection->n_kept);

    ops->upload(&s->compute, device, host, (size_t)n_rows * sizeof *host);
    ops->gather_rows(&s->compute, w->next, w->x, device, before, (int)d);
    float *after = w->next + ((size_t)before + (size_t)selection->n_clusters) * d;
    ops->gather_rows(&s->compute, after, w->x, device + before, n_rows - before, (int)d);
    if (selection->n_clusters > 0) {
        for (int i = 0; i < selection->n_recycled; i++)
            host[i] = choice->visual[choice->recycled[i]];
        ops->upload(&s->compute, device, host, (size_t)selection->n_recycled * sizeof *host);
        /* one weight a cluster, as the method gave it, to one a member */
        float *weight = memory_alloc((size_t)(selection->n_recycled + selection->n_clusters), sizeof *weight);
        if (weight == NULL) {
            free(host);
            return memory_failed(err, "weights", (size_t)selection->n_recycled * sizeof *weight);
        }
        float *of_cluster = weight + selection->n_recycled;
        ops->download(&s->compute, of_cluster, selection->weight,
                      (size_t)selection->n_clusters * sizeof *weight);
        for (int i = 0; i < selection->n_recycled; i++)
            weight[i] = of_cluster[choice->group[i]];
        ops->upload(&s->compute, w->scratch, weight, (size_t)selection->n_recycled * sizeof *weight);
        free(weight);
        ops->merge_rows(&s->compute, w->next + (size_t)before * d, NULL, w->x, device, selection->group,
                        w->scratch, selection->n_recycled, selection->n_recycled, selection->n_clusters,
                        (int)d);
    }
    free(host);

    new->text_start = before + selection->n_clusters; /* also where no visual token is left */
    float *x = w->x;
    w->x = w->next;
    w->next = x;
    struct sequence swap = run->sequence;
    run->sequence = run->spare;
    run->spare = swap;
    return OK;
}

static int32_t *copy_of(const int32_t *from, int n)
{
    int32_t *copy = memory_alloc((size_t)n, sizeof *copy);
    if (copy)
        memcpy(copy, from, (size_t)n * sizeof *copy);
    return copy;
}

/* The factor of each recycled token: that of its cluster. The caller frees; NULL when memory runs out. */
static float *weight_of(struct session *s, const struct selection *selection, const struct choice *choice)
{
    float *weight = memory_alloc((size_t)selection->n_recycled, sizeof *weight),
          *clusters = memory_alloc((size_t)selection->n_clusters, sizeof *clusters);
    if (weight && clusters) {
        s->vlm->ops->download(&s->compute, clusters, selection->weight,
                              (size_t)selection->n_clusters * sizeof *clusters);
        for (int i = 0; i < selection->n_recycled; i++)
            weight[i] = clusters[choice->group[i]];
    } else {
        free(weight);
        weight = NULL;
    }
    free(clusters);
    return weight;
}

/* Keeps what happened for traces and parity. Called before the sequence moves on. */
static enum status record_keep(struct run *run, const struct view *view, const struct selection *selection,
                               const struct choice *choice, enum score_rows rows, struct error *err)
{
    struct answer *answer = run->answer;
    if (answer->n_records == run->records_room) {
        int room = run->records_room ? 2 * run->records_room : 4;
        struct cut_record *grown = memory_grow(answer->records, (size_t)room, sizeof *grown);
        if (grown == NULL)
            return memory_failed(err, "cut records", (size_t)room * sizeof *grown);
        answer->records = grown;
        run->records_room = room;
    }
    struct cut_record *r = &answer->records[answer->n_records++];
    *r = (struct cut_record){.site = view->layer == LAYER_BEFORE ? SITE_BEFORE : SITE_DECODER,
                             .image = -1,
                             .layer = view->layer,
                             .n_in = view->n_visual,
                             .n_kept = selection->n_kept,
                             .n_recycled = selection->n_recycled,
                             .n_clusters = selection->n_clusters,
                             .rank = selection->rank};
    r->kept = copy_of(choice->kept, r->n_kept);
    r->recycled = copy_of(choice->recycled, r->n_recycled);
    r->cluster_of = copy_of(choice->group, r->n_recycled);
    r->centres = copy_of(choice->centres, r->n_clusters);
    r->ids_in = memory_alloc((size_t)r->n_in, sizeof *r->ids_in);
    r->weight = weight_of(run->session, selection, choice);
    if (!r->kept || !r->recycled || !r->cluster_of || !r->weight || !r->centres || !r->ids_in)
        return memory_failed(err, "cut record", (size_t)r->n_in * sizeof(int32_t));
    for (int j = 0; j < r->n_in; j++)
        r->ids_in[j] = run->sequence.tokens[choice->visual[j]].id;
    if (rows == ROWS_CHOSEN) {
        r->n_raters = run->n_rater_rows;
        r->raters = copy_of(run->rater_rows, run->n_rater_rows);
    } else if (rows == ROWS_TEXT || rows == ROWS_LAST) {
        int n_text = run->sequence.n - run->sequence.text_start;
        r->n_raters = rows == ROWS_TEXT ? n_text : 1;
        r->raters = memory_alloc((size_t)r->n_raters, sizeof *r->raters);
        for (int i = 0; r->raters && i < r->n_raters; i++)
            r->raters[i] = rows == ROWS_TEXT ? i : n_text - 1;
    } else {
        r->n_raters = rows == ROWS_ALL ? -1 : 0;
    }
    if (r->n_raters > 0 && r->raters == NULL)
        return memory_failed(err, "raters", (size_t)r->n_raters * sizeof(int32_t));
    if (view->score) {
        r->score = memory_alloc((size_t)r->n_in, sizeof *r->score);
        if (r->score == NULL)
            return memory_failed(err, "scores", (size_t)r->n_in * sizeof(float));
        run->session->vlm->ops->download(&run->session->compute, r->score, view->score,
                                         (size_t)r->n_in * sizeof(float));
    }
    return OK;
}

/* Formulas of the ledger for one cut: score rows, distances, merging. */
static uint64_t cut_macs(const struct run *run, const struct view *view, const struct score_request *request,
                         const struct selection *selection)
{
    const struct vlm_config *config = &run->session->vlm->config;
    uint64_t query = (uint64_t)config->text.n_heads * (uint64_t)config->text.head_dim,
             d = (uint64_t)config->text.hidden;
    uint64_t keys = (uint64_t)(request->all_keys ? view->sequence->n : view->n_visual),
             n = (uint64_t)selection->n_recycled;
    return query * (uint64_t)view->n_rows * keys + (selection->n_clusters > 0 ? n * n * d + n * d : 0);
}

static enum status cut_act(struct run *run, struct view *view, const struct score_request *request,
                           struct selection *selection, int32_t *visual, struct error *err)
{
    struct session *s = run->session;
    const struct tap *tap = run->question->tap;
    int layer = view->layer;
    char name[64];
    double start = clock_ms();
    s->compute.macs = 0;
    if (request->rows != ROWS_NONE) {
        TRY(score_tokens(view, run, request, layer, err));
        snprintf(name, sizeof name, "decoder.%d.score", layer);
        TRY(tap_give(tap, s, name, view->score, 0, view->n_visual, 1, err));
    }
    TRY(run->method->reducer->select(selection, view, err));
    if (selection->skip)
        return OK;
    struct choice choice = {.visual = visual};
    TRY(choice_download(&choice, s, selection, view->n_visual, err));
    uint64_t macs = cut_macs(run, view, request, selection);
    enum status status = OK;
    if (run->question->want_records)
        status = record_keep(run, view, selection, &choice, request->rows, err);
    if (status == OK)
        status = rows_move(run, selection, &choice, err);
    free(choice.block);
    TRY(status);
    select_count(run, layer, start, macs);
    snprintf(name, sizeof name, "decoder.%d.reduced", layer);
    return tap_give(tap, s, name, s->work.x, 0, run->sequence.n, s->vlm->config.text.hidden, err);
}

enum status cut_apply(struct run *run, int layer, struct error *err)
{
    const struct plan_cut *cut = cut_at(run, layer);
    if (cut == NULL)
        return OK;
    run->next_cut++;
    struct session *s = run->session;
    int32_t *visual;
    TRY(visual_upload(&visual, run, err));
    struct view view = view_of(run, layer, cut);
    struct score_request request = run->method->reducer->score(run->method, cut);
    struct selection selection = {.order = index_at(s, INDEX_ORDER),
                                  .kept = index_at(s, INDEX_KEPT),
                                  .recycled = index_at(s, INDEX_RECYCLED),
                                  .group = index_at(s, INDEX_GROUP),
                                  .centres = index_at(s, INDEX_CENTRES),
                                  .weight = s->work.lse, /* free once the scores are there */
                                  .rank = -1};
    enum status status = cut_act(run, &view, &request, &selection, visual, err);
    free(visual);
    TRY(status);
    if (layer >= 0 && !selection.skip) {
        struct ledger_layer *row = &run->answer->ledger.layers[layer];
        row->cut = true;
        row->kept = selection.n_kept;
        row->recycled = selection.n_recycled;
        row->clusters = selection.n_clusters;
        row->dropped = view.n_visual - selection.n_kept - selection.n_recycled;
        row->raters = request.rows == ROWS_NONE ? -1 : view.n_rows;
        row->rank = selection.rank;
    }
    return OK;
}

/* Head-mean attention of the text after the last image to the visual tokens; outside of what is counted. */
enum status attention_record(struct run *run, int layer, struct error *err)
{
    struct session *s = run->session;
    struct answer *answer = run->answer;
    const struct ops *ops = s->vlm->ops;
    int n = run->sequence.n, n_visual = run->sequence.n_visual, n_text = n - run->sequence.text_start;
    if (n_visual == 0 || n_text == 0)
        return OK;
    size_t n_floats = (size_t)n_visual * (size_t)n_text;
    struct attention_record *grown =
        memory_grow(answer->attention, (size_t)answer->n_attention + 1, sizeof *answer->attention);
    int32_t *host = memory_alloc((size_t)n, sizeof *host);
    float *matrix = ops->alloc(n_floats * sizeof(float)), *data = memory_alloc(n_floats, sizeof *data);
    if (grown)
        answer->attention = grown;
    if (grown == NULL || host == NULL || matrix == NULL || data == NULL) {
        free(host);
        ops->release(matrix);
        free(data);
        return memory_failed(err, "attention record", n_floats * sizeof(float));
    }
    int n_rows = rows_of(host, run, ROWS_TEXT);
    ops->upload(&s->compute, index_at(s, INDEX_ROWS), host, (size_t)n_rows * sizeof *host);
    sequence_visual(host, &run->sequence);
    ops->upload(&s->compute, index_at(s, INDEX_VISUAL), host, (size_t)n_visual * sizeof *host);
    struct kv_view kv = kv_view(&s->kv, layer, n);
    ops->attention_score(&s->compute, &(struct score_output){.rows = matrix}, NULL, s->work.q, s->work.lse,
                         &kv, index_at(s, INDEX_ROWS), index_at(s, INDEX_VISUAL), n_rows, n_visual, n, 0,
                         s->vlm->config.text.n_heads);
    ops->download(&s->compute, data, matrix, n_floats * sizeof(float));
    ops->release(matrix);
    free(host);
    answer->attention[answer->n_attention++] =
        (struct attention_record){.layer = layer, .rows = n_rows, .cols = n_visual, .data = data};
    return OK;
}
