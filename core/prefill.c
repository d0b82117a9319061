/* The prompt through the decoder, with the method's cuts between the layers. */
#include <stdio.h>

#include <stdlib.h>

#include "memory.h"
#include "run.h"

/* Position ids of the sequence's rows to the backend, or NULL where the index in the cache is the id. They
 * change only with a cut. */
static const int32_t *positions_upload(struct run *run, enum status *status, struct error *err)
{
    if (!run->original_positions)
        return NULL;
    struct session *s = run->session;
    const struct sequence *sequence = &run->reduction.sequence;
    int n = sequence->n;
    int32_t *host = memory_alloc((size_t)n, sizeof *host), *device = index_at(s, INDEX_POSITIONS);
    if (host == NULL) {
        *status = memory_failed(err, "positions", (size_t)n * sizeof *host);
        return NULL;
    }
    for (int i = 0; i < n; i++)
        host[i] = sequence->tokens[i].position;
    s->vlm->ops->upload(&s->compute, device, host, (size_t)n * sizeof *host);
    free(host);
    return device;
}

static bool wants_attention(const struct question *q, int layer)
{
    for (int i = 0; i < q->n_attention; i++)
        if (q->attention_layers[i] == layer)
            return true;
    return false;
}

static void count_layer(struct run *run, int layer, int n_q)
{
    const struct vlm_config *config = &run->session->vlm->config;
    struct ledger *ledger = &run->answer->ledger;
    struct ledger_layer *row = &ledger->layers[layer];
    int n_k = run->session->kv.layers[layer].length;
    uint64_t macs = macs_layer(n_q, n_k, config->text.hidden, config->text.intermediate, config->text.n_heads,
                               config->text.n_kv_heads, config->text.head_dim);
    row->tokens_in = n_q;
    row->kv_len = n_k;
    row->macs_prefill += macs;
    ledger->macs[STAGE_PREFILL] += macs;
    ledger->macs_paper +=
        macs_layer_paper(n_q, config->text.hidden, config->text.intermediate, config->text.n_heads,
                         config->text.n_kv_heads, config->text.head_dim);
}

static enum status layer_run(struct run *run, int layer, int n, const int32_t *positions, int first_position,
                             float *lse, struct error *err)
{
    struct session *s = run->session;
    struct ledger *ledger = &run->answer->ledger;
    int first = s->kv.layers[layer].length;
    /* room for the whole answer now, so that decoding allocates nothing */
    TRY(kv_reserve(&s->kv, layer, first + n + run->question->max_new_tokens, err));
    struct reduction *r = &run->reduction;
    s->compute.macs = r->keys_macs; /* of keys that a cut computed for this layer */
    llama_layer(s, layer, n, positions, first_position, r->keys_ready, lse);
    r->keys_ready = false;
    r->keys_macs = 0;
    ledger->macs_counted[STAGE_PREFILL] += s->compute.macs;
    count_layer(run, layer, n);
    char name[64];
    snprintf(name, sizeof name, "decoder.%d.out", layer);
    return tap_give(run->question->tap, s, name, s->work.x, first, n, s->vlm->config.text.hidden, err);
}

/* Offers the method a cut and enters what it did in the ledger. */
static enum status decoder_cut(struct run *run, enum cut_site site, int layer, struct error *err)
{
    const struct vlm_config *config = &run->session->vlm->config;
    struct reduction *r = &run->reduction;
    struct cut_point point = {.site = site,
                              .layer = layer,
                              .d = config->text.hidden,
                              .n_heads = config->text.n_heads,
                              .head_dim = config->text.head_dim};
    if (site == SITE_DECODER)
        point.kv = kv_view(&run->session->kv, layer, run->session->kv.layers[layer].length);
    struct cut_result cut;
    TRY(cut_apply(&cut, r, &point, err));
    if (site != SITE_DECODER)
        return OK;
    struct ledger_layer *row = &run->answer->ledger.layers[layer];
    row->macs_select += cut.macs;
    row->cut = cut.cut;
    row->kept = cut.kept;
    row->recycled = cut.recycled;
    row->clusters = cut.clusters;
    row->dropped = cut.dropped;
    row->raters = cut.raters;
    row->rank = cut.rank;
    return OK;
}

enum status attention_record(struct run *run, int layer, struct error *err)
{
    struct session *s = run->session;
    struct answer *answer = run->answer;
    const struct ops *ops = s->vlm->ops;
    int n = run->reduction.sequence.n, n_visual = run->reduction.sequence.n_visual,
        n_text = run->reduction.n_candidates;
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
    int n_rows = cut_rows(host, &run->reduction, ROWS_TEXT);
    ops->upload(&s->compute, index_at(s, INDEX_ROWS), host, (size_t)n_rows * sizeof *host);
    sequence_visual(host, &run->reduction.sequence);
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

enum status prefill_fresh(struct run *run, int *n_rows, struct error *err)
{
    struct session *s = run->session;
    struct reduction *r = &run->reduction;
    struct ledger *ledger = &run->answer->ledger;
    enum status status = OK;

    TRY(cut_prepare(r, err));
    TRY(decoder_cut(run, SITE_BEFORE, LAYER_BEFORE, err));
    ledger->before_kept = r->sequence.n_visual;
    ledger->macs_paper = 0; /* token and KV figures are those of the last prefill */
    const int32_t *positions = positions_upload(run, &status, err);
    TRY(status);
    for (int l = 0; l < s->vlm->config.text.n_layers; l++) {
        struct ledger_layer *row = &ledger->layers[l];
        bool attention = wants_attention(run->question, l);
        row->visual_in = row->kv_visual = r->sequence.n_visual;
        TRY(layer_run(run, l, r->sequence.n, positions, 0,
                      attention || cut_scores(r, SITE_DECODER, l) ? s->work.lse : NULL, err));
        if (attention)
            TRY(attention_record(run, l, err));
        TRY(decoder_cut(run, SITE_DECODER, l, err));
        if (row->cut) {
            positions = positions_upload(run, &status, err);
            TRY(status);
        }
        row->visual_out = r->sequence.n_visual;
    }
    *n_rows = r->sequence.n;
    return OK;
}

enum status prefill_later(struct run *run, int n, struct error *err)
{
    struct session *s = run->session;
    struct ledger *ledger = &run->answer->ledger;
    ledger->macs_paper = 0; /* token and KV figures are those of the last prefill */
    for (int l = 0; l < s->vlm->config.text.n_layers; l++) {
        int first = run->original_positions ? run->uncut_length : s->kv.layers[l].length;
        TRY(layer_run(run, l, n, NULL, first, NULL, err));
    }
    return OK;
}
