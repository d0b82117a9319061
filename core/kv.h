/* The KV cache: per layer a list of pages (ops.h, KV_PAGE) and its own length. Nothing pads to the longest.
 */
#ifndef WINNOW_KV_H
#define WINNOW_KV_H

#include "ops.h"

struct kv_layer {
    float **pages; /* [capacity] */
    int n_pages, capacity;
    int length; /* positions written */
};

struct kv_cache {
    const struct ops *ops;
    int n_layers, n_kv_heads, head_dim;
    struct kv_layer *layers;
    size_t n_bytes; /* of all pages there are */
};

enum status kv_new(struct kv_cache *out, const struct ops *ops, int n_layers, int n_kv_heads, int head_dim,
                   struct error *err);
void kv_free(struct kv_cache *kv);
/* Room for n positions in one layer, so that writing them allocates nothing. */
enum status kv_reserve(struct kv_cache *kv, int layer, int n, struct error *err);
/* Forgets all positions and keeps the pages. */
void kv_clear(struct kv_cache *kv);
/* The view of one layer with `length` positions, for the operations. */
struct kv_view kv_view(const struct kv_cache *kv, int layer, int length);

#endif
