/* The KV cache: per layer a list of pages (ops.h, KV_PAGE) and its own length. Nothing pads to the longest.
 *
 * A page may be shared: by what was held of an earlier prefill (kv_hold), and by layers that took that up
 * again (kv_adopt). What is held of a page never changes: rows are only ever written behind it, and the page
 * in which a layer that was adopted goes on is copied first.
 */
#ifndef WINNOW_KV_H
#define WINNOW_KV_H

#include "ops.h"

struct kv_page {
    float *data;
    int references;       /* layers and holders */
    int holders;          /* of them */
    struct kv_page *next; /* in the list of those that nobody has */
};

struct kv_layer {
    struct kv_page **owned; /* [n_pages] */
    float **pages;          /* [n_pages] their data, as the operations want them */
    int n_pages, capacity;
    int length; /* positions written */
};

struct kv_cache {
    const struct ops *ops;
    int n_layers, n_kv_heads, head_dim;
    struct kv_layer *layers;
    struct kv_page *free;
    size_t page_bytes;
    size_t n_bytes; /* of all pages there are */
    int n_held;     /* pages that have a holder */
};

enum status kv_new(struct kv_cache *out, const struct ops *ops, int n_layers, int n_kv_heads, int head_dim,
                   struct error *err);
/* All that was held must have been dropped. */
void kv_free(struct kv_cache *kv);
/* Room for n positions in one layer, so that writing them allocates nothing. */
enum status kv_reserve(struct kv_cache *kv, int layer, int n, struct error *err);
/* Forgets all positions; keeps the pages that no one else has. */
void kv_clear(struct kv_cache *kv);
/* The view of one layer with `length` positions, for the operations. */
struct kv_view kv_view(const struct kv_cache *kv, int layer, int length);

/* The first n positions of a layer, to be taken up later: pages by reference. */
static inline int kv_pages(int n)
{
    return (n + KV_PAGE - 1) / KV_PAGE;
}
/* out [kv_pages(n)] */
void kv_hold(struct kv_page **out, struct kv_cache *kv, int layer, int n);
void kv_drop(struct kv_cache *kv, struct kv_page *const *held, int n);
/* The layer becomes the n positions that are held, with room for n_room. */
enum status kv_adopt(struct kv_cache *kv, struct compute *c, int layer, struct kv_page *const *held, int n,
                     int n_room, struct error *err);

#endif
