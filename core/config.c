/* config.json of the family llava-1.5 in the Hugging Face layout: the file is a diff against class defaults,
 * so the defaults of LlamaConfig, CLIPVisionConfig and LlavaConfig (transformers) stand here as tables.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "limits.h"
#include "model.h"

static enum status activation_parse(enum activation *out, const char *text, const char *key, const char *name,
                                    struct error *err)
{
    static const struct {
        const char *text;
        enum activation kind;
    } table[] = {{"quick_gelu", ACTIVATION_QUICK_GELU},
                 {"gelu", ACTIVATION_GELU},
                 {"gelu_new", ACTIVATION_GELU_TANH},
                 {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
                 {"silu", ACTIVATION_SILU}};
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].text, text) == 0) {
            *out = table[i].kind;
            return OK;
        }
    return fail(err, BAD_INPUT,
                "%s: %s is '%.60s', expected quick_gelu, gelu, gelu_new, gelu_pytorch_tanh or silu", name,
                key, text);
}

struct int_row {
    const char *key;
    int *out;
    int64_t fallback, high;
};

static enum status ints_read(const struct int_row *rows, int n, const json_t *object, const char *name,
                             struct error *err)
{
    for (int i = 0; i < n; i++) {
        int64_t value;
        TRY(json_int(&value, object, rows[i].key, rows[i].fallback, 1, rows[i].high, name, err));
        *rows[i].out = (int)value;
    }
    return OK;
}

/* An object member, `fallback` when absent or null. */
static enum status object_get(const json_t **out, const json_t *object, const char *key,
                              const json_t *fallback, const char *name, struct error *err)
{
    const json_t *member = json_object_get(object, key);
    *out = member == NULL || json_is_null(member) ? fallback : member;
    if (*out && !json_is_object(*out))
        return fail(err, BAD_INPUT, "%s: %s is no object", name, key);
    return OK;
}

/* rope_scaling or rope_parameters: "linear" divides positions; "default" does nothing; "dynamic" acts only
 * beyond the trained context, which is refused anyway. */
static enum status rope_read(struct vlm_config *c, const json_t *text, const char *name, struct error *err)
{
    TRY(json_double(&c->text.rope_theta, text, "rope_theta", 10000, name, err));
    c->text.rope_scale = 1;
    const json_t *scaling;
    TRY(object_get(&scaling, text, "rope_parameters", NULL, name, err));
    if (scaling == NULL)
        TRY(object_get(&scaling, text, "rope_scaling", NULL, name, err));
    if (scaling == NULL)
        return OK;
    TRY(json_double(&c->text.rope_theta, scaling, "rope_theta", c->text.rope_theta, name, err));
    const char *type, *older;
    TRY(json_str(&older, scaling, "type", "default", name, err));
    TRY(json_str(&type, scaling, "rope_type", older, name, err));
    if (strcmp(type, "linear") == 0)
        TRY(json_double(&c->text.rope_scale, scaling, "factor", 1, name, err));
    else if (strcmp(type, "default") != 0 && strcmp(type, "dynamic") != 0)
        return fail(err, BAD_INPUT,
                    "%s: rope scaling '%.40s' is not supported, expected default, linear or dynamic", name,
                    type);
    if (!(c->text.rope_scale > 0) || !(c->text.rope_theta > 0))
        return fail(err, BAD_INPUT, "%s: rope_theta and the scaling factor must be positive", name);
    return OK;
}

static enum status text_read(struct vlm_config *c, const json_t *text, const char *name, struct error *err)
{
    const char *type, *activation;
    TRY(json_str(&type, text, "model_type", "llama", name, err));
    if (strcmp(type, "llama") != 0)
        return fail(err, BAD_INPUT, "%s: text_config.model_type is '%.60s', expected llama", name, type);
    const struct int_row rows[] = {{"hidden_size", &c->text.hidden, 4096, LIMIT_HIDDEN},
                                   {"intermediate_size", &c->text.intermediate, 11008, 4 * LIMIT_HIDDEN},
                                   {"num_hidden_layers", &c->text.n_layers, 32, LIMIT_LAYERS},
                                   {"num_attention_heads", &c->text.n_heads, 32, LIMIT_HEADS},
                                   {"vocab_size", &c->text.vocabulary, 32000, LIMIT_VOCABULARY},
                                   {"max_position_embeddings", &c->text.max_positions, 2048, LIMIT_SEQUENCE}};
    TRY(ints_read(rows, sizeof rows / sizeof *rows, text, name, err));
    const struct int_row derived[] = {
        {"num_key_value_heads", &c->text.n_kv_heads, c->text.n_heads, LIMIT_HEADS},
        {"head_dim", &c->text.head_dim,
         c->text.hidden / c->text.n_heads > 0 ? c->text.hidden / c->text.n_heads : 1, LIMIT_HEAD_DIM}};
    TRY(ints_read(derived, 2, text, name, err));
    if (c->text.n_heads % c->text.n_kv_heads != 0 || c->text.head_dim % 2 != 0)
        return fail(err, BAD_INPUT,
                    "%s: %d heads on %d key-value heads of %d do not fit; heads must divide evenly and "
                    "head_dim be even",
                    name, c->text.n_heads, c->text.n_kv_heads, c->text.head_dim);
    if ((int64_t)c->text.max_positions * c->text.head_dim > LIMIT_ROPE_FLOATS)
        return fail(err, BAD_INPUT,
                    "%s: max_position_embeddings %d with heads of %d needs too large a rotary table", name,
                    c->text.max_positions, c->text.head_dim);
    double eps;
    TRY(json_double(&eps, text, "rms_norm_eps", 1e-6, name, err));
    c->text.eps = (float)eps;
    TRY(json_str(&activation, text, "hidden_act", "silu", name, err));
    if (strcmp(activation, "silu") != 0)
        return fail(err, BAD_INPUT, "%s: text_config.hidden_act is '%.60s', expected silu", name, activation);
    bool attention_bias, mlp_bias;
    TRY(json_bool(&attention_bias, text, "attention_bias", false, name, err));
    TRY(json_bool(&mlp_bias, text, "mlp_bias", false, name, err));
    if (attention_bias || mlp_bias)
        return fail(err, BAD_INPUT,
                    "%s: attention_bias or mlp_bias is true; biases in the decoder are not supported", name);
    return rope_read(c, text, name, err);
}

/* Where the file has no vision_config, LlavaConfig's own defaults hold, not CLIPVisionConfig's. */
static enum status vision_read(struct vlm_config *c, const json_t *vision, bool absent, int feature_layer,
                               const char *name, struct error *err)
{
    const char *type, *activation;
    TRY(json_str(&type, vision, "model_type", "clip_vision_model", name, err));
    if (strcmp(type, "clip_vision_model") != 0)
        return fail(err, BAD_INPUT, "%s: vision_config.model_type is '%.60s', expected clip_vision_model",
                    name, type);
    int channels;
    const struct int_row rows[] = {
        {"hidden_size", &c->vision.hidden, absent ? 1024 : 768, LIMIT_HIDDEN},
        {"intermediate_size", &c->vision.intermediate, absent ? 4096 : 3072, 4 * LIMIT_HIDDEN},
        {"num_hidden_layers", &c->vision.n_layers, absent ? 24 : 12, LIMIT_LAYERS},
        {"num_attention_heads", &c->vision.n_heads, absent ? 16 : 12, LIMIT_HEADS},
        {"image_size", &c->vision.image_size, absent ? 336 : 224, 4096},
        {"patch_size", &c->vision.patch, absent ? 14 : 32, 4096},
        {"num_channels", &channels, 3, 3}};
    TRY(ints_read(rows, sizeof rows / sizeof *rows, vision, name, err));
    int64_t side = c->vision.image_size / c->vision.patch;
    if (c->vision.hidden / c->vision.n_heads > LIMIT_HEAD_DIM || side * side >= LIMIT_SEQUENCE)
        return fail(
            err, BAD_INPUT,
            "%s: vision_config asks for heads of %d and %lld patches, at most %d and %d are supported", name,
            c->vision.hidden / c->vision.n_heads, (long long)(side * side), LIMIT_HEAD_DIM, LIMIT_SEQUENCE);
    if (channels != 3 || c->vision.hidden % c->vision.n_heads != 0 || c->vision.image_size < c->vision.patch)
        return fail(
            err, BAD_INPUT,
            "%s: vision_config does not fit together: %d channels, hidden %d on %d heads, image %d, patch %d",
            name, channels, c->vision.hidden, c->vision.n_heads, c->vision.image_size, c->vision.patch);
    double eps;
    TRY(json_double(&eps, vision, "layer_norm_eps", 1e-5, name, err));
    c->vision.eps = (float)eps;
    TRY(json_str(&activation, vision, "hidden_act", "quick_gelu", name, err));
    TRY(activation_parse(&c->vision.activation, activation, "vision_config.hidden_act", name, err));
    /* hidden_states[0] enters layer 0 and hidden_states[n] leaves the last: index k needs k layers */
    int used = feature_layer < 0 ? c->vision.n_layers + 1 + feature_layer : feature_layer;
    if (used < 0 || used > c->vision.n_layers)
        return fail(err, BAD_INPUT, "%s: vision_feature_layer %d does not exist in a tower of %d layers",
                    name, feature_layer, c->vision.n_layers);
    c->vision.n_used_layers = used;
    return OK;
}

static void config_finish(struct vlm_config *c)
{
    c->grid_rows = c->grid_cols = c->vision.image_size / c->vision.patch;
    c->visual_per_image = c->grid_rows * c->grid_cols + (c->keep_cls ? 1 : 0);
}

/* eos: generation_config.json over text_config over LlamaConfig's 2; a number or a list. */
static enum status eos_read(struct vlm_config *c, const json_t *holder, const char *key, const char *name,
                            struct error *err)
{
    const json_t *eos = holder ? json_object_get(holder, key) : NULL;
    if (eos == NULL || json_is_null(eos))
        return OK;
    size_t n = json_is_array(eos) ? json_array_size(eos) : 1;
    if (n == 0 || n > sizeof c->eos / sizeof *c->eos)
        return fail(err, BAD_INPUT, "%s: eos_token_id has %zu ids, expected 1 to 8", name, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(eos) ? json_array_get(eos, i) : eos;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= LIMIT_VOCABULARY)
            return fail(err, BAD_INPUT, "%s: eos_token_id is no token id", name);
        c->eos[i] = (int32_t)json_integer_value(id);
    }
    c->n_eos = (int)n;
    return OK;
}

/* `empty` stands for text_config and vision_config where the file has none. */
static enum status config_parse(struct vlm_config *c, const json_t *root, const json_t *empty,
                                const char *name, struct error *err)
{
    if (json_object_get(root, "mm_projector_type") || json_object_get(root, "mm_vision_tower"))
        return fail(
            err, BAD_INPUT,
            "%s: this is the original LLaVA layout; the Hugging Face layout (llava-hf/...) is supported",
            name);
    const char *type, *activation, *strategy;
    TRY(json_str(&type, root, "model_type", "", name, err));
    if (strcmp(type, "llava") != 0)
        return fail(err, BAD_INPUT, "%s: model_type is '%.60s', expected llava; see `winnow list families`",
                    name, type);
    c->family = "llava-1.5";
    const json_t *text, *vision;
    TRY(object_get(&text, root, "text_config", empty, name, err));
    TRY(object_get(&vision, root, "vision_config", empty, name, err));
    TRY(text_read(c, text, name, err));
    int64_t feature_layer, image_token, image_token_new, eos = 2, bos;
    if (json_is_array(json_object_get(root, "vision_feature_layer")))
        return fail(err, BAD_INPUT, "%s: vision_feature_layer is a list; one layer is supported", name);
    TRY(json_int(&feature_layer, root, "vision_feature_layer", -2, -LIMIT_LAYERS, LIMIT_LAYERS, name, err));
    TRY(vision_read(c, vision, vision == empty, (int)feature_layer, name, err));
    TRY(json_str(&strategy, root, "vision_feature_select_strategy", "default", name, err));
    if (strcmp(strategy, "default") != 0 && strcmp(strategy, "full") != 0)
        return fail(err, BAD_INPUT, "%s: vision_feature_select_strategy is '%.40s', expected default or full",
                    name, strategy);
    c->keep_cls = strcmp(strategy, "full") == 0;
    TRY(json_str(&activation, root, "projector_hidden_act", "gelu", name, err));
    TRY(activation_parse(&c->projector_activation, activation, "projector_hidden_act", name, err));
    TRY(json_int(&image_token, root, "image_token_index", 32000, 0, LIMIT_VOCABULARY, name, err));
    TRY(json_int(&image_token_new, root, "image_token_id", image_token, 0, LIMIT_VOCABULARY, name, err));
    TRY(json_int(&bos, text, "bos_token_id", 1, 0, LIMIT_VOCABULARY, name, err));
    c->image_token = (int32_t)image_token_new;
    c->bos = (int32_t)bos;
    c->eos[0] = (int32_t)eos;
    c->n_eos = 1;
    TRY(eos_read(c, text, "eos_token_id", name, err));
    if (c->image_token >= c->text.vocabulary)
        return fail(err, BAD_INPUT, "%s: image token %d lies outside the vocabulary of %d", name,
                    c->image_token, c->text.vocabulary);
    config_finish(c);
    return OK;
}

enum status config_read(struct vlm_config *out, const char *dir, struct error *err)
{
    memset(out, 0, sizeof *out);
    char path[4096];
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *root;
    TRY(json_read(&root, path, err));
    json_t *empty = json_object();
    enum status status = json_is_object(root) ? config_parse(out, root, empty, path, err)
                                              : fail(err, BAD_INPUT, "%s: no JSON object", path);
    json_decref(empty);
    json_decref(root);
    TRY(status);
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    if (!file_exists(path))
        return OK;
    TRY(json_read(&root, path, err));
    status = eos_read(out, root, "eos_token_id", path, err);
    json_decref(root);
    return status;
}

/* ---- geometries without a checkpoint -------------------------------------------------------- */

static const struct {
    const char *name;
    int hidden, intermediate, n_layers, n_heads, vocabulary;
    int vision_hidden, vision_intermediate, vision_layers, vision_heads;
    int n_kv_heads, image_size; /* 0: n_heads, 336 */
    float query_gain;           /* 0: 1 */
} geometries[] = {
    {"llava-1.5-7b", 4096, 11008, 32, 32, 32064, 1024, 4096, 24, 16, 0, 0, 0},
    {"llava-1.5-13b", 5120, 13824, 40, 40, 32064, 1024, 4096, 24, 16, 0, 0, 0},
    {"miniature", 128, 384, 20, 4, 640, 128, 512, 5, 4, 0, 0, 0},
    /* of the conformance suite: as small as the official schedules allow, grouped heads, attention that
     * prefers some tokens so clearly that no choice hangs on the last bit */
    {"conform", 64, 96, 20, 8, 256, 32, 64, 5, 2, 4, 168, 1.6f},
};

const char *const *geometry_names(void)
{
    static const char *const names[] = {"llava-1.5-7b", "llava-1.5-13b", "miniature", "conform", NULL};
    return names;
}

enum status config_geometry(struct vlm_config *out, const char *name, struct error *err)
{
    memset(out, 0, sizeof *out);
    const char *colon = strchr(name, ':');
    size_t length = colon ? (size_t)(colon - name) : strlen(name);
    for (unsigned i = 0; i < sizeof geometries / sizeof *geometries; i++) {
        if (strlen(geometries[i].name) != length || memcmp(geometries[i].name, name, length) != 0)
            continue;
        out->family = "llava-1.5";
        out->text.hidden = geometries[i].hidden;
        out->text.intermediate = geometries[i].intermediate;
        out->text.n_layers = geometries[i].n_layers;
        out->text.n_heads = geometries[i].n_heads;
        out->text.n_kv_heads = geometries[i].n_kv_heads ? geometries[i].n_kv_heads : geometries[i].n_heads;
        out->query_gain = geometries[i].query_gain > 0 ? geometries[i].query_gain : 1;
        out->text.head_dim = geometries[i].hidden / geometries[i].n_heads;
        out->text.vocabulary = geometries[i].vocabulary;
        out->text.max_positions = 4096;
        out->text.eps = 1e-5f;
        out->text.rope_theta = 10000;
        out->text.rope_scale = 1;
        out->vision.hidden = geometries[i].vision_hidden;
        out->vision.intermediate = geometries[i].vision_intermediate;
        out->vision.n_layers = geometries[i].vision_layers;
        out->vision.n_used_layers = geometries[i].vision_layers - 1;
        out->vision.n_heads = geometries[i].vision_heads;
        out->vision.image_size = geometries[i].image_size ? geometries[i].image_size : 336;
        out->vision.patch = 14;
        out->vision.eps = 1e-5f;
        out->vision.activation = ACTIVATION_QUICK_GELU;
        out->projector_activation = ACTIVATION_GELU;
        out->image_token = out->text.vocabulary - 64;
        out->bos = 1;
        out->eos[0] = 2;
        out->n_eos = 1;
        if (colon) {
            char *end;
            long layers = strtol(colon + 1, &end, 10);
            if (*end != 0 || layers < 1 || layers > LIMIT_LAYERS)
                return fail(err, BAD_INPUT,
                            "geometry '%.80s': expected a number of layers from 1 to %d after the colon",
                            name, LIMIT_LAYERS);
            out->text.n_layers = (int)layers;
        }
        config_finish(out);
        return OK;
    }
    return fail(
        err, BAD_INPUT,
        "unknown geometry '%.80s'; there are llava-1.5-7b, llava-1.5-13b, miniature and conform, each with "
        ":LAYERS",
        name);
}
