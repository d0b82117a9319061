/* A model: backend, checkpoint or geometry, family; opened once, shared by all sessions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "model.h"

struct plan_input vlm_plan_input(const struct vlm_config *config, int n_visual, int n_text, int n_text_after)
{
    return (struct plan_input){.n_visual = n_visual,
                               .n_text = n_text,
                               .n_text_after = n_text_after,
                               .n_images = 1,
                               .n_vision_layers = config->vision.n_used_layers,
                               .grid_rows = config->grid_rows,
                               .grid_cols = config->grid_cols,
                               .vision_hidden = config->vision.hidden,
                               .vision_head_dim = config->vision.hidden / config->vision.n_heads,
                               .n_layers = config->text.n_layers,
                               .hidden = config->text.hidden,
                               .intermediate = config->text.intermediate,
                               .n_heads = config->text.n_heads,
                               .n_kv_heads = config->text.n_kv_heads,
                               .head_dim = config->text.head_dim};
}

static enum status backend_choose(struct vlm *vlm, const struct vlm_options *options, struct error *err)
{
    static const enum dtype DTYPES[] = {[DTYPE_AUTO] = DTYPE_F32,
                                        [DTYPE_CHOICE_F32] = DTYPE_F32,
                                        [DTYPE_CHOICE_BF16] = DTYPE_BF16,
                                        [DTYPE_CHOICE_F16] = DTYPE_F16};
    const char *name = options->device && *options->device ? options->device : "cpu";
    vlm->ops = ops_find(name);
    if (vlm->ops == NULL)
        return fail(err, strcmp(name, "cuda") == 0 ? NO_MACHINE : BAD_INPUT,
                    "device '%.40s' is not there; this build has: ref, cpu", name);
    vlm->dtype = DTYPES[options->dtype];
    return vlm->ops->dtype_check(vlm->dtype, err);
}

enum status vlm_describe(struct vlm_config *out, const struct vlm_options *options, struct error *err)
{
    return options->geometry ? config_geometry(out, options->geometry, err)
                             : config_read(out, options->dir, err);
}

enum status vlm_open(struct vlm **out, const struct vlm_options *options, struct error *err)
{
    struct vlm *vlm = memory_zero(1, sizeof *vlm);
    *out = NULL;
    if (vlm == NULL)
        return memory_failed(err, "model", sizeof *vlm);
    struct loader loader = {.vlm = vlm, .seed = options->random_seed};
    enum status status;
    vlm->dir = memory_text(options->geometry ? options->geometry : options->dir);
    if (vlm->dir == NULL)
        TRY_GOTO(status, memory_failed(err, "model", 0));
    TRY_GOTO(status, backend_choose(vlm, options, err));
    if (options->geometry) {
        TRY_GOTO(status, config_geometry(&vlm->config, options->geometry, err));
        vlm->processor = (struct processor){.size = vlm->config.vision.image_size,
                                            .crop = vlm->config.vision.image_size,
                                            .rescale = 1 / 255.0,
                                            .std = {1, 1, 1}};
        snprintf(vlm->weights_sha256, sizeof vlm->weights_sha256, "random-%llu",
                 (unsigned long long)options->random_seed);
    } else {
        TRY_GOTO(status, config_read(&vlm->config, vlm->dir, err));
        TRY_GOTO(status, tokenizer_open(&vlm->tokenizer, vlm->dir, err));
        TRY_GOTO(status, processor_open(&vlm->processor, vlm->dir, vlm->config.vision.image_size, err));
        if (vlm->processor.crop != vlm->config.vision.image_size)
            TRY_GOTO(status, fail(err, BAD_INPUT, "%s: the processor crops to %d but the tower sees %d",
                                  vlm->dir, vlm->processor.crop, vlm->config.vision.image_size));
        TRY_GOTO(status, weights_open(&loader.weights, vlm->dir, err));
    }
    TRY_GOTO(status, llava15_load(vlm, &loader, err));
    *out = vlm;
exit:
    if (loader.weights)
        weights_close(loader.weights);
    if (status != OK)
        vlm_close(vlm);
    return status;
}

void vlm_close(struct vlm *vlm)
{
    if (vlm == NULL)
        return;
    if (vlm->ops)
        llava15_free(vlm);
    if (vlm->tokenizer)
        tokenizer_close(vlm->tokenizer);
    free(vlm->dir);
    free(vlm);
}

enum status vlm_weights_sha256(char hex[65], struct vlm *vlm, struct error *err)
{
    if (vlm->weights_sha256[0] == 0) {
        struct weights *weights;
        TRY(weights_open(&weights, vlm->dir, err));
        enum status status = weights_sha256(vlm->weights_sha256, weights, err);
        weights_close(weights);
        TRY(status);
    }
    memcpy(hex, vlm->weights_sha256, sizeof vlm->weights_sha256);
    return OK;
}

const struct vlm_config *vlm_config(const struct vlm *vlm)
{
    return &vlm->config;
}

const struct tokenizer *vlm_tokenizer(const struct vlm *vlm)
{
    return vlm->tokenizer;
}

const struct processor *vlm_processor(const struct vlm *vlm)
{
    return &vlm->processor;
}

const char *vlm_device(const struct vlm *vlm)
{
    return vlm->ops->name;
}

const char *vlm_dir(const struct vlm *vlm)
{
    return vlm->dir;
}

size_t vlm_weight_bytes(const struct vlm *vlm)
{
    return vlm->weight_bytes;
}
