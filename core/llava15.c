/* Family llava-1.5 (Liu et al. 2023), Hugging Face layout: CLIP tower → linear, GELU, linear → LLaMA decoder.
 *
 * Tensor names came in two generations; each part is looked for under its prefixes in turn.
 */
#include <stdio.h>
#include <string.h>

#include "model.h"

/* The first prefix under which `probe` exists; the first of the list otherwise, so that the error names it.
 */
static const char *prefix_find(struct loader *loader, const char *const *prefixes, const char *probe)
{
    char name[LIMIT_NAME_BYTES];
    for (int i = 0; prefixes[i] && loader->weights; i++) {
        snprintf(name, sizeof name, "%s%s", prefixes[i], probe);
        if (weights_has(loader->weights, name))
            return prefixes[i];
    }
    return prefixes[0];
}

enum status llava15_load(struct vlm *vlm, struct loader *loader, struct error *err)
{
    static const char *const tower[] = {"vision_tower.vision_model.", "model.vision_tower.vision_model.",
                                        "model.vision_tower.", NULL};
    static const char *const projector[] = {"multi_modal_projector.", "model.multi_modal_projector.", NULL};
    static const char *const decoder[] = {"language_model.model.", "model.language_model.", NULL};
    static const char *const head[] = {"language_model.lm_head", "lm_head", NULL};
    int64_t d = vlm->config.text.hidden, v = vlm->config.vision.hidden;
    char name[LIMIT_NAME_BYTES];

    TRY(clip_load(&vlm->clip, loader, prefix_find(loader, tower, "embeddings.class_embedding"), err));
    const char *prefix = prefix_find(loader, projector, "linear_1.weight");
    struct projector *p = &vlm->projector;
    const struct {
        const char *name;
        struct weight *weight;
        float **bias;
        int64_t n_in;
    } linears[] = {{"linear_1", &p->linear1, &p->bias1, v}, {"linear_2", &p->linear2, &p->bias2, d}};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s.weight", prefix, linears[i].name);
        TRY(load_weight(linears[i].weight, loader, name, 2, (int64_t[]){d, linears[i].n_in}, err));
        snprintf(name, sizeof name, "%s%s.bias", prefix, linears[i].name);
        if (loader->weights == NULL || weights_has(loader->weights, name)) /* multimodal_projector_bias */
            TRY(load_vector(linears[i].bias, loader, name, 1, &d, err));
    }
    snprintf(name, sizeof name, "%s.weight", prefix_find(loader, head, ".weight"));
    prefix = prefix_find(loader, decoder, "embed_tokens.weight");
    if (loader->weights && !weights_has(loader->weights, name)) /* tied */
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefix);
    return llama_load(&vlm->llama, loader, prefix, name, err);
}

void llava15_free(struct vlm *vlm)
{
    clip_free(&vlm->clip, vlm);
    vlm->ops->weight_free(&vlm->projector.linear1);
    vlm->ops->weight_free(&vlm->projector.linear2);
    vlm->ops->release(vlm->projector.bias1);
    vlm->ops->release(vlm->projector.bias2);
    llama_free(&vlm->llama, vlm);
}
