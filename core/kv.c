/* Paged KV cache, see kv.h. */
#include "kv.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum status kv_new(struct kv_cache *out, const struct ops *ops, int n_layers, int n_kv_heads, int head_dim,
                   struct error *err)
{
    *out =
        (struct kv_cache){.ops = ops, .n_layers = n_layers, .n_kv_heads = n_kv_heads, .head_dim = head_dim};
    out->layers = memory_zero((size_t)n_layers, sizeof *out->layers);
    if (out->layers == NULL)
        return memory_failed(err, "KV cache", (size_t)n_layers * sizeof *out->layers);
    return OK;
}

void kv_free(struct kv_cache *kv)
{
    for (int l = 0; l < kv->n_layers && kv->layers; l++) {
        for (int p = 0; p < kv->layers[l].n_pages; p++)
            kv->ops->release(kv->layers[l].pages[p]);
        free(kv->layers[l].pages);
    }
    free(kv->layers);
    memset(kv, 0, sizeof *kv);
}

enum status kv_reserve(struct kv_cache *kv, int layer, int n, struct error *err)
{
    struct kv_layer *l = &kv->layers[layer];
    int wanted = (n + KV_PAGE - 1) / KV_PAGE;
    if (wanted > l->capacity) {
        float **grown = memory_grow(l->pages, (size_t)wanted, sizeof *grown);
        if (grown == NULL)
            return memory_failed(err, "KV pages", (size_t)wanted * sizeof *grown);
        l->pages = grown;
        l->capacity = wanted;
    }
    size_t n_bytes = kv_page_floats(kv->n_kv_heads, kv->head_dim) * sizeof(float);
    for (; l->n_pages < wanted; l->n_pages++) {
        l->pages[l->n_pages] = kv->ops->alloc(n_bytes);
        if (l->pages[l->n_pages] == NULL)
            return memory_failed(err, "KV page", n_bytes);
        kv->n_bytes += n_bytes;
    }
    return OK;
}

void kv_clear(struct kv_cache *kv)
{
    for (int l = 0; l < kv->n_layers; l++)
        kv->layers[l].length = 0;
}

struct kv_view kv_view(const struct kv_cache *kv, int layer, int length)
{
    ENSURE(length <= kv->layers[layer].n_pages * KV_PAGE);
    return (struct kv_view){.pages = kv->layers[layer].pages,
                            .length = length,
                            .n_kv_heads = kv->n_kv_heads,
                            .head_dim = kv->head_dim};
}
