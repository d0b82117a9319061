/* Paged KV cache, see kv.h. */
#include "kv.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum status kv_new(struct kv_cache *out, const struct ops *ops, int n_layers, int n_kv_heads, int head_dim,
                   struct error *err)
{
    *out = (struct kv_cache){.ops = ops,
                             .n_layers = n_layers,
                             .n_kv_heads = n_kv_heads,
                             .head_dim = head_dim,
                             .page_bytes = kv_page_floats(n_kv_heads, head_dim) * sizeof(float)};
    out->layers = memory_zero((size_t)n_layers, sizeof *out->layers);
    if (out->layers == NULL)
        return memory_failed(err, "KV cache", (size_t)n_layers * sizeof *out->layers);
    return OK;
}

/* ---- pages ---------------------------------------------------------------------------------- */

static struct kv_page *page_take(struct kv_cache *kv)
{
    struct kv_page *page = kv->free;
    if (page) {
        kv->free = page->next;
    } else {
        page = memory_zero(1, sizeof *page);
        if (page && (page->data = kv->ops->alloc(kv->page_bytes)) == NULL) {
            free(page);
            page = NULL;
        }
        if (page == NULL)
            return NULL;
        kv->n_bytes += kv->page_bytes;
    }
    page->references = 1;
    return page;
}

static void page_leave(struct kv_cache *kv, struct kv_page *page)
{
    if (--page->references > 0)
        return;
    page->next = kv->free;
    kv->free = page;
}

/* A layer without its pages from `first` on. */
static void layer_cut(struct kv_cache *kv, struct kv_layer *layer, int first)
{
    for (int p = first; p < layer->n_pages; p++)
        page_leave(kv, layer->owned[p]);
    layer->n_pages = first < layer->n_pages ? first : layer->n_pages;
}

void kv_free(struct kv_cache *kv)
{
    for (int l = 0; l < kv->n_layers && kv->layers; l++) {
        layer_cut(kv, &kv->layers[l], 0);
        free(kv->layers[l].owned);
        free(kv->layers[l].pages);
    }
    ENSURE(kv->n_held == 0);
    for (struct kv_page *page = kv->free, *next; page; page = next) {
        next = page->next;
        kv->ops->release(page->data);
        free(page);
    }
    free(kv->layers);
    memset(kv, 0, sizeof *kv);
}

/* ---- layers --------------------------------------------------------------------------------- */

static enum status layer_room(struct kv_layer *l, int wanted, struct error *err)
{
    if (wanted <= l->capacity)
        return OK;
    struct kv_page **owned = memory_grow(l->owned, (size_t)wanted, sizeof *owned);
    if (owned)
        l->owned = owned;
    float **pages = memory_grow(l->pages, (size_t)wanted, sizeof *pages);
    if (pages)
        l->pages = pages;
    if (owned == NULL || pages == NULL)
        return memory_failed(err, "KV pages", (size_t)wanted * sizeof *pages);
    l->capacity = wanted;
    return OK;
}

static void layer_add(struct kv_layer *l, struct kv_page *page)
{
    l->owned[l->n_pages] = page;
    l->pages[l->n_pages++] = page->data;
}

enum status kv_reserve(struct kv_cache *kv, int layer, int n, struct error *err)
{
    struct kv_layer *l = &kv->layers[layer];
    int wanted = kv_pages(n);
    TRY(layer_room(l, wanted, err));
    while (l->n_pages < wanted) {
        struct kv_page *page = page_take(kv);
        if (page == NULL)
            return memory_failed(err, "KV page", kv->page_bytes);
        layer_add(l, page);
    }
    return OK;
}

void kv_clear(struct kv_cache *kv)
{
    for (int l = 0; l < kv->n_layers; l++) {
        struct kv_layer *layer = &kv->layers[l];
        int n_own = 0;
        for (int p = 0; p < layer->n_pages; p++) {
            if (layer->owned[p]->references > 1) {
                page_leave(kv, layer->owned[p]);
                continue;
            }
            layer->owned[n_own] = layer->owned[p];
            layer->pages[n_own++] = layer->pages[p];
        }
        layer->n_pages = n_own;
        layer->length = 0;
    }
}

struct kv_view kv_view(const struct kv_cache *kv, int layer, int length)
{
    ENSURE(length <= kv->layers[layer].n_pages * KV_PAGE);
    return (struct kv_view){.pages = kv->layers[layer].pages,
                            .length = length,
                            .n_kv_heads = kv->n_kv_heads,
                            .head_dim = kv->head_dim};
}

/* ---- sharing -------------------------------------------------------------------------------- */

void kv_hold(struct kv_page **out, struct kv_cache *kv, int layer, int n)
{
    struct kv_layer *l = &kv->layers[layer];
    ENSURE(n <= l->length);
    for (int p = 0; p < kv_pages(n); p++) {
        out[p] = l->owned[p];
        out[p]->references++;
        kv->n_held += out[p]->holders++ == 0;
    }
}

void kv_drop(struct kv_cache *kv, struct kv_page *const *held, int n)
{
    for (int p = 0; p < kv_pages(n); p++) {
        kv->n_held -= --held[p]->holders == 0;
        page_leave(kv, held[p]);
    }
}

enum status kv_adopt(struct kv_cache *kv, struct compute *c, int layer, struct kv_page *const *held, int n,
                     int n_room, struct error *err)
{
    struct kv_layer *l = &kv->layers[layer];
    int n_whole = n / KV_PAGE;
    TRY(layer_room(l, kv_pages(n_room), err));
    layer_cut(kv, l, 0);
    for (int p = 0; p < n_whole; p++) {
        held[p]->references++;
        layer_add(l, held[p]);
    }
    TRY(kv_reserve(kv, layer, n_room, err));
    if (n % KV_PAGE)
        kv->ops->copy(c, l->pages[n_whole], held[n_whole]->data, kv->page_bytes);
    l->length = n;
    return OK;
}
