/* The LLaMA decoder (Touvron et al. 2023; Vicuna), grouped queries included:
 *
 *   h = x + o(attention(rope(q(norm x)), rope(k(norm x)), v(norm x)))
 *   x = h + down(silu(gate(norm h)) · up(norm h))                          norms: RMS; no biases
 *   logits = head(norm x)
 *
 * Shapes: x [n, d], q [n, H·h], k and v [n, H_kv·h]. Each layer has its own cache length: what entered that
 * layer.
 */
#include <stdio.h>
#include <stdlib.h>

#include "memory.h"
#include "session.h"

enum status llama_load(struct llama *out, struct loader *loader, const char *prefix, const char *head,
                       struct error *err)
{
    struct vlm *vlm = loader->vlm;
    const struct vlm_config *config = &vlm->config;
    int64_t d = config->text.hidden, m = config->text.intermediate, vocabulary = config->text.vocabulary;
    int64_t query = (int64_t)config->text.n_heads * config->text.head_dim,
            key = (int64_t)config->text.n_kv_heads * config->text.head_dim;
    char name[LIMIT_NAME_BYTES];
#define NAME(...) (snprintf(name, sizeof name, __VA_ARGS__), name)
    TRY(load_vector(&out->embedding, loader, NAME("%sembed_tokens.weight", prefix), 2,
                    (int64_t[]){vocabulary, d}, err));
    TRY(load_vector(&out->norm, loader, NAME("%snorm.weight", prefix), 1, &d, err));
    TRY(load_weight(&out->head, loader, head, 2, (int64_t[]){vocabulary, d}, err));
    out->layers = memory_zero((size_t)config->text.n_layers, sizeof *out->layers);
    if (out->layers == NULL)
        return memory_failed(err, "decoder layers", (size_t)config->text.n_layers * sizeof *out->layers);
    for (int l = 0; l < config->text.n_layers; l++) {
        struct llama_layer *layer = &out->layers[l];
        const struct {
            const char *name;
            struct weight *weight;
            int64_t n_out, n_in;
        } weights[] = {{"self_attn.q_proj", &layer->q, query, d}, {"self_attn.k_proj", &layer->k, key, d},
                       {"self_attn.v_proj", &layer->v, key, d},   {"self_attn.o_proj", &layer->o, d, query},
                       {"mlp.gate_proj", &layer->gate, m, d},     {"mlp.up_proj", &layer->up, m, d},
                       {"mlp.down_proj", &layer->down, d, m}};
        for (unsigned i = 0; i < sizeof weights / sizeof *weights; i++)
            TRY(load_weight(weights[i].weight, loader,
                            NAME("%slayers.%d.%s.weight", prefix, l, weights[i].name), 2,
                            (int64_t[]){weights[i].n_out, weights[i].n_in}, err));
        TRY(load_vector(&layer->input_norm, loader, NAME("%slayers.%d.input_layernorm.weight", prefix, l), 1,
                        &d, err));
        TRY(load_vector(&layer->post_norm, loader,
                        NAME("%slayers.%d.post_attention_layernorm.weight", prefix, l), 1, &d, err));
    }
#undef NAME
    size_t n_bytes = (size_t)config->text.max_positions * (size_t)config->text.head_dim * sizeof(float);
    float *table = memory_alloc(n_bytes, 1);
    out->rope = vlm->ops->alloc(n_bytes);
    if (table == NULL || out->rope == NULL) {
        free(table);
        return memory_failed(err, "rotary table", n_bytes);
    }
    rope_table(table, config->text.max_positions, config->text.head_dim, config->text.rope_theta,
               config->text.rope_scale);
    struct compute *none = NULL;
    vlm->ops->upload(none, out->rope, table, n_bytes);
    free(table);
    return OK;
}

void llama_free(struct llama *llama, const struct vlm *vlm)
{
    const struct ops *ops = vlm->ops;
    ops->release(llama->embedding);
    ops->release(llama->norm);
    ops->release(llama->rope);
    ops->weight_free(&llama->head);
    for (int l = 0; llama->layers && l < vlm->config.text.n_layers; l++) {
        struct llama_layer *layer = &llama->layers[l];
        struct weight *weights[] = {&layer->q,    &layer->k,  &layer->v,   &layer->o,
                                    &layer->gate, &layer->up, &layer->down};
        for (unsigned i = 0; i < sizeof weights / sizeof *weights; i++)
            ops->weight_free(weights[i]);
        ops->release(layer->input_norm);
        ops->release(layer->post_norm);
    }
    free(llama->layers);
}

void llama_layer(struct session *session, int l, int n, const int32_t *positions, int first_position,
                 bool keys_ready, float *lse)
{
    const struct vlm *vlm = session->vlm;
    const struct vlm_config *config = &vlm->config;
    const struct llama_layer *layer = &vlm->llama.layers[l];
    const struct ops *ops = vlm->ops;
    struct compute *c = &session->compute;
    struct workspace *w = &session->work;
    int d = config->text.hidden, m = config->text.intermediate, h = config->text.head_dim;
    int n_heads = config->text.n_heads, n_kv_heads = config->text.n_kv_heads;
    int first = session->kv.layers[l].length;
    struct kv_view kv = kv_view(&session->kv, l, first + n);

    ops->rms_norm(c, w->h, w->x, layer->input_norm, config->text.eps, n, d);
    ops->linear(c, w->q, w->h, &layer->q, NULL, n);
    if (!keys_ready)
        ops->linear(c, w->k, w->h, &layer->k, NULL, n);
    ops->linear(c, w->v, w->h, &layer->v, NULL, n);
    ops->rope(c, w->q, vlm->llama.rope, positions, first_position, n, n_heads, h);
    ops->rope(c, w->k, vlm->llama.rope, positions, first_position, n, n_kv_heads, h);
    ops->kv_write(c, &kv, w->k, w->v, first, n);
    ops->attention(c, w->mix, lse, w->q, &kv, NULL, true, n, n_heads);
    ops->linear(c, w->h, w->mix, &layer->o, NULL, n);
    ops->add(c, w->x, w->h, (size_t)n * (size_t)d);

    ops->rms_norm(c, w->h, w->x, layer->post_norm, config->text.eps, n, d);
    ops->linear(c, w->gate, w->h, &layer->gate, NULL, n);
    ops->linear(c, w->up, w->h, &layer->up, NULL, n);
    ops->silu_mul(c, w->gate, w->up, (size_t)n * (size_t)m);
    ops->linear(c, w->h, w->gate, &layer->down, NULL, n);
    ops->add(c, w->x, w->h, (size_t)n * (size_t)d);
    session->kv.layers[l].length = first + n;
}

void llama_layer_row(struct session *session, int l, int position)
{
    const struct vlm *vlm = session->vlm;
    const struct vlm_config *config = &vlm->config;
    const struct llama_layer *layer = &vlm->llama.layers[l];
    const struct ops *ops = vlm->ops;
    struct compute *c = &session->compute;
    struct workspace *w = &session->work;
    int d = config->text.hidden, h = config->text.head_dim;
    int first = session->kv.layers[l].length;
    struct kv_view kv = kv_view(&session->kv, l, first + 1);

    ops->rms_norm(c, w->h, w->x, layer->input_norm, config->text.eps, 1, d);
    ops->linear_row(c, w->q, w->h, &layer->q, NULL);
    ops->linear_row(c, w->k, w->h, &layer->k, NULL);
    ops->linear_row(c, w->v, w->h, &layer->v, NULL);
    ops->rope(c, w->q, vlm->llama.rope, NULL, position, 1, config->text.n_heads, h);
    ops->rope(c, w->k, vlm->llama.rope, NULL, position, 1, config->text.n_kv_heads, h);
    ops->kv_write(c, &kv, w->k, w->v, first, 1);
    ops->attention_row(c, w->mix, w->q, &kv, config->text.n_heads);
    ops->linear_row(c, w->h, w->mix, &layer->o, NULL);
    ops->add(c, w->x, w->h, (size_t)d);

    ops->rms_norm(c, w->h, w->x, layer->post_norm, config->text.eps, 1, d);
    ops->linear_row(c, w->gate, w->h, &layer->gate, NULL);
    ops->linear_row(c, w->up, w->h, &layer->up, NULL);
    ops->silu_mul(c, w->gate, w->up, (size_t)config->text.intermediate);
    ops->linear_row(c, w->h, w->gate, &layer->down, NULL);
    ops->add(c, w->x, w->h, (size_t)d);
    session->kv.layers[l].length = first + 1;
}

void llama_head(struct session *session, const float *row)
{
    const struct vlm *vlm = session->vlm;
    struct workspace *w = &session->work;
    vlm->ops->rms_norm(&session->compute, w->h, row, vlm->llama.norm, vlm->config.text.eps, 1,
                       vlm->config.text.hidden);
    vlm->ops->linear_row(&session->compute, w->logits, w->h, &vlm->llama.head, NULL);
}
