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
    int n = run->sequence.n;
    int32_t *host = memory_alloc((size_t)n, sizeof *host),
            *device = s->work.index + (size_t)7 * (size_t)s->work.n_rows;
    if (host == NULL) {
        *status = memory_failed(err, "positions", (size_t)n * sizeof *host);
        return NULL;
    }
    for (int i = 0; i < n; i++)
        host[i] = run->sequence.tokens[i].position;
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
    s->compute.macs = 0;
    llama_layer(s, layer, n, positions, first_position, lse);
    ledger->macs_counted[STAGE_PREFILL] += s->compute.macs;
    count_layer(run, layer, n);
    char name[64];
    snprintf(name, sizeof name, "decoder.%d.out", layer);
    return tap_give(run->question->tap, s, name, s->work.x, first, n, s->vlm->config.text.hidden, err);
}

enum status prefill_first(struct run *run, int *n_rows, struct error *err)
{
    struct session *s = run->session;
    struct ledger *ledger = &run->answer->ledger;
    enum status status = OK;

    TRY(cut_prepare(run, err));
    TRY(cut_apply(run, LAYER_BEFORE, err));
    ledger->before_kept = run->sequence.n_visual;
    const int32_t *positions = positions_upload(run, &status, err);
    TRY(status);
    for (int l = 0; l < s->vlm->config.text.n_layers; l++) {
        bool attention = wants_attention(run->question, l);
        ledger->layers[l].visual_in = ledger->layers[l].kv_visual = run->sequence.n_visual;
        TRY(layer_run(run, l, run->sequence.n, positions, 0,
                      attention || cut_scores(run, l) ? s->work.lse : NULL, err));
        if (attention)
            TRY(attention_record(run, l, err));
        TRY(cut_apply(run, l, err));
        if (ledger->layers[l].cut) {
            positions = positions_upload(run, &status, err);
            TRY(status);
        }
        ledger->layers[l].visual_out = run->sequence.n_visual;
    }
    *n_rows = run->sequence.n;
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
