/* One safetensors file: mapped and checked; what weights.c puts together to a checkpoint. */
#ifndef WINNOW_SAFETENSORS_H
#define WINNOW_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "weights.h"

struct dtype_kind {
    const char *name; /* in the file */
    enum dtype dtype;
    size_t n_bytes;
};

struct tensor_entry {
    char *name; /* owned */
    const struct dtype_kind *kind;
    int rank, shard;
    int64_t shape[LIMIT_TENSOR_RANK];
    int64_t n_elements;
    uint64_t begin, end; /* in the shard's byte buffer */
};

struct shard {
    char *path;         /* owned */
    unsigned char *map; /* the whole file; shard_close */
    size_t n_bytes;
    size_t buffer; /* offset of the byte buffer in the map */
};

/* Maps the file and checks all of its header. The caller owns *entries (tensor_entries_free); those are
 * sorted by offset. On failure *entries is NULL, and *out needs shard_close all the same. */
enum status shard_open(struct shard *out, struct tensor_entry **entries, int *n_entries, const char *path,
                       struct error *err);
void shard_close(struct shard *shard);
void tensor_entries_free(struct tensor_entry *entries, int n);

#define SHAPE_TEXT_SIZE 256
/* "[640, 128]"; returns out. */
const char *shape_text(char out[SHAPE_TEXT_SIZE], int rank, const int64_t *shape);

#endif
