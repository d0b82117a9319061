/* Inside the runtime: a loaded model. Weights are immutable after vlm_open; families fill this struct. */
#ifndef WINNOW_MODEL_H
#define WINNOW_MODEL_H

#include "image.h"
#include "ops.h"
#include "vlm.h"
#include "weights.h"

struct clip_layer {
    float *norm1_weight, *norm1_bias, *norm2_weight, *norm2_bias;
    struct weight q, k, v, out, fc1, fc2;
    float *q_bias, *k_bias, *v_bias, *out_bias, *fc1_bias, *fc2_bias;
};

struct clip {
    struct weight patch_embedding;
    float *class_embedding;    /* [d] */
    float *position_embedding; /* [1 + patches, d] */
    float *pre_norm_weight, *pre_norm_bias;
    struct clip_layer *layers; /* those that run */
};

struct projector {
    struct weight linear1, linear2;
    float *bias1, *bias2;
};

struct llama_layer {
    float *input_norm, *post_norm;
    struct weight q, k, v, o, gate, up, down;
};

struct llama {
    float *embedding; /* [vocabulary, d] f32 */
    struct llama_layer *layers;
    float *norm;
    struct weight head;
    float *rope; /* table of ops->rope, [max_positions, head_dim] */
};

struct vlm {
    const struct ops *ops;
    enum dtype dtype; /* of packed weights and of what they multiply */
    struct vlm_config config;
    struct tokenizer *tokenizer;
    struct processor processor;
    struct clip clip;
    struct projector projector;
    struct llama llama;
    size_t weight_bytes;
    char *dir;
    char weights_sha256[65];
};

/* ---- config.c ------------------------------------------------------------------------------- */
enum status config_read(struct vlm_config *out, const char *dir, struct error *err);
/* A known geometry ("llava-1.5-7b", "llava-1.5-7b:4" with 4 decoder layers). */
enum status config_geometry(struct vlm_config *out, const char *name, struct error *err);
const char *const *geometry_names(void);

/* ---- load.c: tensors of a checkpoint, or pseudo-random ones of a geometry, to the backend --- */
struct loader {
    struct vlm *vlm;
    struct weights *weights; /* NULL: pseudo-random */
    uint64_t seed;
};
/* Uniform values with the variance that keeps activations near their size, by name and seed; queries and keys
 * times `gain`. */
void load_random(float *out, const char *name, int rank, const int64_t *shape, uint64_t seed, float gain);
enum status load_vector(float **out, struct loader *loader, const char *name, int rank, const int64_t *shape,
                        struct error *err);
enum status load_weight(struct weight *out, struct loader *loader, const char *name, int rank,
                        const int64_t *shape, struct error *err);

/* ---- clip.c, llama.c ------------------------------------------------------------------------ */
struct workspace;
enum status clip_load(struct clip *out, struct loader *loader, const char *prefix, struct error *err);
void clip_free(struct clip *clip, const struct vlm *vlm);
enum status llama_load(struct llama *out, struct loader *loader, const char *prefix, const char *head,
                       struct error *err);
void llama_free(struct llama *llama, const struct vlm *vlm);

/* ---- llava15.c: the family ------------------------------------------------------------------ */
enum status llava15_load(struct vlm *vlm, struct loader *loader, struct error *err);
void llava15_free(struct vlm *vlm);

#endif
