/* safetensors: one file or shards, memory-mapped, checked as hostile before any byte is believed.
 *
 * Layout: 8-byte little-endian header length, JSON header, byte buffer. Offsets must tile the buffer without
 * hole or overlap, sizes must match shape × dtype, and the file must end where the last tensor does.
 *
 *     struct weights *weights;
 *     TRY(weights_open(&weights, "models/miniature", &err));
 *     struct weights_tensor t;
 *     TRY(weights_get(&t, weights, "lm_head.weight", 2, (int64_t[]){640, 128}, &err));
 *     ... read t.data (unaligned!), t.dtype ...
 *     weights_release(weights, &t);   // give the mapped pages back
 *     weights_close(weights);
 */
#ifndef WINNOW_WEIGHTS_H
#define WINNOW_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "limits.h"

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_F64,
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_OTHER
};

size_t dtype_size(enum dtype dtype); /* bytes of one element, 0 for DTYPE_OTHER */
const char *dtype_name(enum dtype dtype);

struct weights_tensor {
    const char *name; /* owned by the weights */
    enum dtype dtype;
    int rank;
    int64_t shape[LIMIT_TENSOR_RANK];
    int64_t n_elements;
    const unsigned char *data; /* little-endian, row-major, NOT aligned; valid until weights_close */
    size_t n_bytes;
    int shard;
};

struct weights;

/* DIR/model.safetensors, or the shards of DIR/model.safetensors.index.json, whose names may not leave DIR.
 * A path of a single .safetensors file is taken too. */
enum status weights_open(struct weights **out, const char *path, struct error *err);
void weights_close(struct weights *weights);

int weights_count(const struct weights *weights);
void weights_at(struct weights_tensor *out, const struct weights *weights, int index);
bool weights_has(const struct weights *weights, const char *name);

/* A tensor by name and expected shape (rank -1: any). Missing: its name and near names; wrong shape or a
 * dtype that is no float: expected and found. */
enum status weights_get(struct weights_tensor *out, const struct weights *weights, const char *name, int rank,
                        const int64_t *shape, struct error *err);

/* Tells the kernel that the pages of this tensor are not needed any more (read again from disk if they are).
 */
void weights_release(const struct weights *weights, const struct weights_tensor *tensor);

/* n elements from offset, any float dtype, to f32. Exact for F16 and BF16. */
void weights_to_f32(float *out, const struct weights_tensor *tensor, int64_t offset, int64_t n);

/* SHA-256 over the names, shapes and bytes of all tensors, in name order; for a sweep's key. hex: 64 + 0. */
enum status weights_sha256(char hex[65], const struct weights *weights, struct error *err);

#endif
