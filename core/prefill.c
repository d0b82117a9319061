/* The prompt through the decoder, with the method's cuts between the layers. */
#include <stdio.h>

#include <stdlib.h>

#include "memory.h"
#include "run.h"

/* Position ids of the sequence's rows to the backend, or NULL where the index in the cache is the id. */
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

/* n_q rows of the layer by formula; of the first `skipped` by formula alone, since another run computed them.
 */
static void count_layer(struct run *run, int layer, int n_q, int skipped)
{
    const struct vlm_config *config = &run->session->vlm->config;
    struct ledger *ledger = &run->answer->ledger;
    struct ledger_layer *row = &ledger->layers[layer];
    int n_k = run->session->kv.layers[layer].length;
    uint64_t macs = macs_layer(n_q, n_k, config->text.hidden, config->text.intermediate, config->text.n_heads,
                               config->text.n_kv_heads, config->text.head_dim);
    uint64_t shared = macs_layer(skipped, n_k, config->text.hidden, config->text.intermediate,
                                 config->text.n_heads, config->text.n_kv_heads, config->text.head_dim);
    row->tokens_in = n_q;
    row->kv_len = n_k;
    row->macs_prefill += macs;
    ledger->macs[STAGE_PREFILL] += macs;
    ledger->macs_counted[STAGE_PREFILL] += shared;
    ledger->macs_shared += shared;
    ledger->macs_paper +=
        macs_layer_paper(n_q, config->text.hidden, config->text.intermediate, config->text.n_heads,
                         config->text.n_kv_heads, config->text.head_dim);
}

/* n rows of work.x through a layer, behind the `skipped` rows of this prefill that are in its cache. */
static enum status layer_run(struct run *run, int layer, int n, int skipped, const int32_t *positions,
                             int first_position, float *lse, struct error *err)
{
    struct session *s = run->session;
    struct ledger *ledger = &run->answer->ledger;
    int first = s->kv.layers[layer].length;
    TRY(deadline_check(run, err));
    /* room for the whole answer now, so that decoding allocates nothing */
    TRY(kv_reserve(&s->kv, layer, first + n + run->question->max_new_tokens, err));
    struct reduction *r = &run->reduction;
    s->compute.macs = r->keys_macs; /* of keys that a cut computed for this layer */
    llama_layer(s, layer, n, positions, first_position, r->keys_ready, lse);
    r->keys_ready = false;
    r->keys_macs = 0;
    ledger->macs_counted[STAGE_PREFILL] += s->compute.macs;
    count_layer(run, layer, n + skipped, skipped);
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

/* The layers up to the next one behind which something looks at all rows: a cut, a record of attention.
 * *watched: there is such a thing behind it. */
static int segment_end(const struct run *run, int first, bool *watched)
{
    int last = run->session->vlm->config.text.n_layers - 1;
    for (int l = first; l <= last; l++) {
        *watched = cut_here(&run->reduction, SITE_DECODER, l) || wants_attention(run->question, l);
        if (*watched)
            return l;
    }
    return last;
}

/* Layers first … last; what another prefill left of them is taken up. *n_rows: rows in work.x afterwards. */
static enum status segment_run(struct run *run, int *n_rows, int first, int last, bool watched,
                               const int32_t *positions, struct error *err)
{
    struct reduction *r = &run->reduction;
    int n = r->sequence.n;
    float *lse = run->session->work.lse;
    struct resume resume = {.all = first, .prefix = first};
    if (run->shares)
        TRY(share_resume(&resume, run, first, last, watched, err));
    if (resume.all > first) {
        r->keys_ready = false; /* what the cut computed for the layer is not needed */
        r->keys_macs = 0;
    }
    *n_rows = n;
    for (int l = first; l <= last; l++) {
        struct ledger_layer *row = &run->answer->ledger.layers[l];
        row->visual_in = row->kv_visual = row->visual_out = r->sequence.n_visual;
        if (l < resume.all) {
            count_layer(run, l, n, n);
            continue;
        }
        int skipped = l < resume.prefix ? resume.n_prefix : 0;
        bool scored =
            l == last &&
            (run->shares ? watched : wants_attention(run->question, l) || cut_scores(r, SITE_DECODER, l));
        *n_rows = n - skipped;
        TRY(layer_run(run, l, *n_rows, skipped, positions ? positions + skipped : NULL, skipped,
                      scored ? lse : NULL, err));
        if (skipped && l + 1 == resume.prefix && (l < last || watched)) {
            share_join(run, &resume, l == last);
            *n_rows = n;
        }
    }
    if (run->shares)
        share_keep(run, &resume, first, last, watched);
    return OK;
}

enum status prefill_fresh(struct run *run, int *n_rows, struct error *err)
{
    struct session *s = run->session;
    struct reduction *r = &run->reduction;
    struct ledger *ledger = &run->answer->ledger;
    enum status status = OK;

    /* the last method of a question leaves nothing behind, and takes up what the others left */
    run->shares = s->share.limit > 0 && (run->question->share || s->share.states) &&
                  run->question->tap == NULL && run->question->n_attention == 0;
    if (run->shares)
        path_start(run);
    TRY(cut_prepare(r, err));
    TRY(decoder_cut(run, SITE_BEFORE, LAYER_BEFORE, err));
    ledger->before_kept = r->sequence.n_visual;
    ledger->macs_paper = 0; /* token and KV figures are those of the last prefill */
    for (int first = 0, last; first < s->vlm->config.text.n_layers; first = last + 1) {
        bool watched;
        const int32_t *positions = positions_upload(run, &status, err); /* they change with a cut */
        TRY(status);
        last = segment_end(run, first, &watched);
        if (run->shares)
            path_segment(run);
        TRY(segment_run(run, n_rows, first, last, watched, positions, err));
        if (wants_attention(run->question, last))
            TRY(attention_record(run, last, err));
        TRY(decoder_cut(run, SITE_DECODER, last, err));
        if (ledger->layers[last].cut)
            *n_rows = r->sequence.n;
        ledger->layers[last].visual_out = r->sequence.n_visual;
    }
    return OK;
}

enum status prefill_later(struct run *run, int n, struct error *err)
{
    struct session *s = run->session;
    struct ledger *ledger = &run->answer->ledger;
    ledger->macs_paper = 0; /* token and KV figures are those of the last prefill */
    for (int l = 0; l < s->vlm->config.text.n_layers; l++) {
        int first = run->original_positions ? run->uncut_length : s->kv.layers[l].length;
        TRY(layer_run(run, l, n, 0, NULL, first, NULL, err));
    }
    return OK;
}
