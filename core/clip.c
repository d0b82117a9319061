/* The CLIP vision tower (Radford et al. 2021, as transformers' CLIPVisionModel):
 *
 *   patches = Conv2d(3→d, k = s = patch, no bias);  x = [class; patches] + positions;  x = LN_pre(x)
 *   layer:  x += out(attention(LN1 x));  x += fc2(act(fc1(LN2 x)))     biases everywhere, scale 1/√head_dim
 *
 * Shapes: pixels [3, size, size] → patches [g², 3·p²] → x [1 + g², d]. vision_feature_layer says how many
 * layers run; no norm follows. The class token is dropped unless the strategy is `full`. A method may cut
 * between attention and MLP of a layer, or after it (n falls), and merged tokens may weigh more as keys.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cut.h"
#include "memory.h"
#include "position_table.h"

enum status clip_load(struct clip *out, struct loader *loader, const char *prefix, struct error *err)
{
    const struct vlm_config *config = &loader->vlm->config;
    int64_t d = config->vision.hidden, m = config->vision.intermediate, p = config->vision.patch;
    int64_t n = 1 + (int64_t)config->grid_rows * config->grid_cols;
    char name[LIMIT_NAME_BYTES];
#define NAME(...) (snprintf(name, sizeof name, __VA_ARGS__), name)
    TRY(load_weight(&out->patch_embedding, loader, NAME("%sembeddings.patch_embedding.weight", prefix), 4,
                    (int64_t[]){d, 3, p, p}, err));
    TRY(load_vector(&out->class_embedding, loader, NAME("%sembeddings.class_embedding", prefix), 1, &d, err));
    TRY(load_vector(&out->position_embedding, loader, NAME("%sembeddings.position_embedding.weight", prefix),
                    2, (int64_t[]){n, d}, err));
    TRY(load_vector(&out->pre_norm_weight, loader, NAME("%spre_layrnorm.weight", prefix), 1, &d, err));
    TRY(load_vector(&out->pre_norm_bias, loader, NAME("%spre_layrnorm.bias", prefix), 1, &d, err));
    out->layers = memory_zero((size_t)config->vision.n_used_layers, sizeof *out->layers);
    if (out->layers == NULL)
        return memory_failed(err, "vision layers",
                             (size_t)config->vision.n_used_layers * sizeof *out->layers);
    for (int l = 0; l < config->vision.n_used_layers; l++) {
        struct clip_layer *layer = &out->layers[l];
        const struct {
            const char *name;
            struct weight *weight;
            int64_t n_out, n_in;
        } weights[] = {{"self_attn.q_proj", &layer->q, d, d}, {"self_attn.k_proj", &layer->k, d, d},
                       {"self_attn.v_proj", &layer->v, d, d}, {"self_attn.out_proj", &layer->out, d, d},
                       {"mlp.fc1", &layer->fc1, m, d},        {"mlp.fc2", &layer->fc2, d, m}};
        const struct {
            const char *name;
            float **vector;
            int64_t n;
        } vectors[] = {
            {"self_attn.q_proj.bias", &layer->q_bias, d},    {"self_attn.k_proj.bias", &layer->k_bias, d},
            {"self_attn.v_proj.bias", &layer->v_bias, d},    {"self_attn.out_proj.bias", &layer->out_bias, d},
            {"mlp.fc1.bias", &layer->fc1_bias, m},           {"mlp.fc2.bias", &layer->fc2_bias, d},
            {"layer_norm1.weight", &layer->norm1_weight, d}, {"layer_norm1.bias", &layer->norm1_bias, d},
            {"layer_norm2.weight", &layer->norm2_weight, d}, {"layer_norm2.bias", &layer->norm2_bias, d}};
        for (unsigned i = 0; i < sizeof weights / sizeof *weights; i++)
            TRY(load_weight(weights[i].weight, loader,
                            NAME("%sencoder.layers.%d.%s.weight", prefix, l, weights[i].name), 2,
                            (int64_t[]){weights[i].n_out, weights[i].n_in}, err));
        for (unsigned i = 0; i < sizeof vectors / sizeof *vectors; i++)
            TRY(load_vector(vectors[i].vector, loader,
                            NAME("%sencoder.layers.%d.%s", prefix, l, vectors[i].name), 1, &vectors[i].n,
                            err));
    }
#undef NAME
    return OK;
}

void clip_free(struct clip *clip, const struct vlm *vlm)
{
    const struct ops *ops = vlm->ops;
    ops->weight_free(&clip->patch_embedding);
    float *own[] = {clip->class_embedding, clip->position_embedding, clip->pre_norm_weight,
                    clip->pre_norm_bias};
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++)
        ops->release(own[i]);
    for (int l = 0; clip->layers && l < vlm->config.vision.n_used_layers; l++) {
        struct clip_layer *layer = &clip->layers[l];
        struct weight *weights[] = {&layer->q, &layer->k, &layer->v, &layer->out, &layer->fc1, &layer->fc2};
        float *vectors[] = {layer->norm1_weight, layer->norm1_bias, layer->norm2_weight, layer->norm2_bias,
                            layer->q_bias,       layer->k_bias,     layer->v_bias,       layer->out_bias,
                            layer->fc1_bias,     layer->fc2_bias};
        for (unsigned i = 0; i < sizeof weights / sizeof *weights; i++)
            ops->weight_free(weights[i]);
        for (unsigned i = 0; i < sizeof vectors / sizeof *vectors; i++)
            ops->release(vectors[i]);
    }
    free(clip->layers);
}

/* MACs of one layer: attention over n tokens, and the MLP over the m that are left of them. */
static uint64_t layer_macs(const struct vlm_config *config, uint64_t n, uint64_t m)
{
    uint64_t d = (uint64_t)config->vision.hidden;
    return n * 4 * d * d + 2 * n * n * d + m * 2 * d * (uint64_t)config->vision.intermediate;
}

static uint64_t patch_macs(const struct vlm_config *config, uint64_t n_patches)
{
    uint64_t p = (uint64_t)config->vision.patch;
    return n_patches * (uint64_t)config->vision.hidden * 3 * p * p;
}

/* Position embeddings of another grid than the tower was trained with, in work.h. */
static enum status positions_resize(struct session *session, const struct patch_grid *grid, struct error *err)
{
    const struct vlm *vlm = session->vlm;
    const struct vlm_config *config = &vlm->config;
    size_t d = (size_t)config->vision.hidden,
           n_table = 1 + (size_t)config->grid_rows * (size_t)config->grid_cols,
           n = 1 + (size_t)grid->rows * (size_t)grid->cols;
    float *table = memory_alloc((n_table + n) * d, sizeof *table);
    if (table == NULL)
        return memory_failed(err, "position embeddings", (n_table + n) * d * sizeof *table);
    float *out = table + n_table * d;
    vlm->ops->download(&session->compute, table, vlm->clip.position_embedding, n_table * d * sizeof *table);
    position_table_resize(out, table, config->grid_rows, config->grid_cols, grid->rows, grid->cols, (int)d);
    vlm->ops->upload(&session->compute, session->work.h, out, n * d * sizeof *out);
    free(table);
    return OK;
}

/* log(size) of every token, added to the attention logits of the keys (ToMe's proportional attention); NULL
 * while nothing is merged. */
static enum status sizes_upload(const float **out, struct session *session, const struct reduction *r,
                                struct error *err)
{
    size_t n = (size_t)r->sequence.n;
    float *host = memory_alloc(n, sizeof *host);
    if (host == NULL)
        return memory_failed(err, "group sizes", n * sizeof *host);
    bool merged = false;
    for (size_t i = 0; i < n; i++) {
        int size = r->sequence.tokens[i].size;
        host[i] = size > 1 ? logf((float)size) : 0;
        merged = merged || size > 1;
    }
    session->vlm->ops->upload(&session->compute, session->work.bias, host, n * sizeof *host);
    free(host);
    *out = merged ? session->work.bias : NULL;
    return OK;
}

/* Offers the method a cut; *n: tokens before and after. */
static enum status tower_cut(struct session *session, struct reduction *r, int layer, int *n,
                             struct error *err)
{
    const struct vlm_config *config = &session->vlm->config;
    struct cut_point point = {.site = SITE_VISION,
                              .layer = layer,
                              .d = config->vision.hidden,
                              .kv = kv_view(&session->vision, 0, *n),
                              .n_heads = config->vision.n_heads,
                              .head_dim = config->vision.hidden / config->vision.n_heads};
    struct cut_result result;
    TRY(cut_apply(&result, r, &point, err));
    *n = r->sequence.n;
    return OK;
}

enum status clip_forward(struct session *session, struct reduction *r, const struct patch_grid *grid,
                         const struct tap *tap, float **features, int *n_features, uint64_t *macs,
                         struct error *err)
{
    const struct vlm *vlm = session->vlm;
    const struct vlm_config *config = &vlm->config;
    const struct clip *clip = &vlm->clip;
    const struct ops *ops = vlm->ops;
    struct compute *c = &session->compute;
    struct workspace *w = &session->work;
    struct tower_options tower = r->tower;
    int d = config->vision.hidden, m = config->vision.intermediate, n_heads = config->vision.n_heads;
    int n_patches = grid->rows * grid->cols, n = n_patches + 1, patch = config->vision.patch;
    size_t row = (size_t)d * sizeof(float);
    float eps = config->vision.eps;
    const float *positions = clip->position_embedding, *bias = NULL;
    char name[64];

    if (grid->rows != config->grid_rows || grid->cols != config->grid_cols) {
        TRY(positions_resize(session, grid, err));
        positions = w->h;
    }
    ops->patchify(c, w->gate, session->pixels_device, grid->cols * patch, grid->rows * patch, patch);
    ops->linear(c, w->x + d, w->gate, &clip->patch_embedding, NULL, n_patches);
    ops->copy(c, w->x, clip->class_embedding, row);
    ops->add(c, w->x, positions, (size_t)n * (size_t)d);
    ops->layer_norm(c, w->x, w->x, clip->pre_norm_weight, clip->pre_norm_bias, eps, n, d);
    TRY(tap_give(tap, session, "vision.embed", w->x, 0, n, d, err));
    *macs = patch_macs(config, (uint64_t)n_patches);

    for (int l = 0; l < config->vision.n_used_layers; l++) {
        const struct clip_layer *layer = &clip->layers[l];
        struct kv_view kv = kv_view(&session->vision, 0, n);
        int n_in = n;
        if (tower.proportional) {
            double start = clock_ms();
            TRY(sizes_upload(&bias, session, r, err));
            r->ms += clock_ms() - start;
        }
        ops->layer_norm(c, w->h, w->x, layer->norm1_weight, layer->norm1_bias, eps, n, d);
        ops->linear(c, w->q, w->h, &layer->q, layer->q_bias, n);
        ops->linear(c, w->k, w->h, &layer->k, layer->k_bias, n);
        ops->linear(c, w->v, w->h, &layer->v, layer->v_bias, n);
        ops->kv_write(c, &kv, w->k, w->v, 0, n);
        ops->attention(c, w->mix, cut_scores(r, SITE_VISION, l) ? w->lse : NULL, w->q, &kv, bias, false, n,
                       n_heads);
        ops->linear(c, w->h, w->mix, &layer->out, layer->out_bias, n);
        ops->add(c, w->x, w->h, (size_t)n * (size_t)d);
        if (tower.middle)
            TRY(tower_cut(session, r, l, &n, err));

        ops->layer_norm(c, w->h, w->x, layer->norm2_weight, layer->norm2_bias, eps, n, d);
        ops->linear(c, w->gate, w->h, &layer->fc1, layer->fc1_bias, n);
        ops->activate(c, w->gate, config->vision.activation, (size_t)n * (size_t)m);
        ops->linear(c, w->h, w->gate, &layer->fc2, layer->fc2_bias, n);
        ops->add(c, w->x, w->h, (size_t)n * (size_t)d);
        *macs += layer_macs(config, (uint64_t)n_in, (uint64_t)n);
        snprintf(name, sizeof name, "vision.%d.out", l);
        TRY(tap_give(tap, session, name, w->x, 0, n, d, err));
        if (!tower.middle)
            TRY(tower_cut(session, r, l, &n, err));
    }
    bool class_goes_on = config->keep_cls || r->sequence.tokens[0].kind != TOKEN_TEXT;
    *features = class_goes_on ? w->x : w->x + d;
    *n_features = class_goes_on ? n : n - 1;
    return tap_give(tap, session, "vision.features", *features, 0, *n_features, d, err);
}

uint64_t clip_macs(const struct vlm_config *config, const struct patch_grid *grid, const struct plan *plan,
                   bool middle)
{
    uint64_t n = (uint64_t)grid->rows * (uint64_t)grid->cols, sum = patch_macs(config, n++);
    for (int l = 0, next = 0; l < config->vision.n_used_layers; l++) {
        uint64_t n_in = n;
        for (; next < plan->n_cuts && plan->cuts[next].layer == l; next++)
            n = 1 + (uint64_t)plan->cuts[next].keep + (uint64_t)plan->cuts[next].clusters;
        sum += layer_macs(config, n_in, middle ? n : n_in);
    }
    return sum;
}
