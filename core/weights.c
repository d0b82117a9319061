/* A checkpoint's tensors out of one safetensors file or many, see weights.h; one file is safetensors.c's.
 *
 * The index is the authority: a tensor belongs to the checkpoint if the index names it, from the shard that
 * the index says. Source: model.safetensors.index.json as huggingface/transformers writes it.
 */
#include "weights.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json.h"
#include "memory.h"
#include "safetensors.h"
#include "sha256.h"

struct weights {
    char *path; /* as it was given, for messages; owned */
    struct shard *shards;
    int n_shards, room_shards;
    struct tensor_entry *entries; /* by name once opened */
    int n_entries;
};

static int by_name(const void *a, const void *b)
{
    const struct tensor_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Opens a shard and takes over its tensors; with an index only those that it places in `file`. */
static enum status add_shard(struct weights *weights, const char *path, const json_t *index, const char *file,
                             struct error *err)
{
    ENSURE(weights->n_shards < weights->room_shards);
    int shard = weights->n_shards++, n, n_kept = 0;
    struct tensor_entry *entries;
    TRY(shard_open(&weights->shards[shard], &entries, &n, path, err));
    for (int i = 0; i < n; i++) {
        const char *place = index != NULL ? json_string_value(json_object_get(index, entries[i].name)) : NULL;
        if (index != NULL && (place == NULL || strcmp(place, file) != 0)) {
            free(entries[i].name);
            continue;
        }
        entries[i].shard = shard;
        entries[n_kept++] = entries[i];
    }
    if (weights->n_entries == 0) {
        free(weights->entries);
        weights->entries = entries;
        weights->n_entries = n_kept;
        return OK;
    }
    int total = weights->n_entries + n_kept;
    struct tensor_entry *grown = memory_grow(weights->entries, (size_t)total, sizeof *grown);
    if (grown == NULL) {
        tensor_entries_free(entries, n_kept);
        return memory_failed(err, "the table of tensors", (size_t)total * sizeof *grown);
    }
    memcpy(grown + weights->n_entries, entries, (size_t)n_kept * sizeof *grown);
    weights->entries = grown;
    weights->n_entries = total;
    free(entries);
    return OK;
}

static enum status reserve_shards(struct weights *weights, int n, struct error *err)
{
    weights->shards = memory_zero((size_t)n, sizeof *weights->shards);
    if (weights->shards == NULL)
        return memory_failed(err, "the table of shards", (size_t)n * sizeof *weights->shards);
    weights->room_shards = n;
    return OK;
}

static char *path_join(const char *dir, const char *file)
{
    size_t size = strlen(dir) + strlen(file) + 2;
    char *path = malloc(size);
    if (path != NULL)
        snprintf(path, size, "%s/%s", dir, file);
    return path;
}

/* A name from an index may only be that of a file in the same directory. */
static enum status check_file_name(const char *file, const char *tensor, const char *path, struct error *err)
{
    char shown[PRINTABLE_SIZE], shown_tensor[PRINTABLE_SIZE];
    if (file == NULL || file[0] == '\0' || file[0] == '.' || strchr(file, '/') != NULL ||
        strchr(file, '\\') != NULL || strlen(file) > LIMIT_NAME_BYTES)
        return fail(
            err, BAD_INPUT,
            "%s: tensor %s: \"%s\" is not the name of a file in the same directory; only such are read", path,
            printable(shown_tensor, tensor), printable(shown, file != NULL ? file : "(no string)"));
    return OK;
}

static int compare_name(const void *key, const void *entry)
{
    return strcmp(key, ((const struct tensor_entry *)entry)->name);
}

static const struct tensor_entry *entry_find(const struct weights *weights, const char *name)
{
    if (weights->n_entries == 0)
        return NULL;
    return bsearch(name, weights->entries, (size_t)weights->n_entries, sizeof *weights->entries,
                   compare_name);
}

static void sort_by_name(struct weights *weights)
{
    if (weights->n_entries > 1)
        qsort(weights->entries, (size_t)weights->n_entries, sizeof *weights->entries, by_name);
}

static enum status index_read(struct weights *weights, const char *dir, const char *index_path,
                              const json_t *root, struct error *err)
{
    const json_t *index = json_object_get(root, "weight_map");
    const char *name;
    json_t *value;
    json_t *seen = NULL; /* file names, as the keys of an object */
    enum status status = OK;
    char shown[PRINTABLE_SIZE], shown_file[PRINTABLE_SIZE];
    if (!json_is_object(index) || json_object_size(index) == 0 || json_object_size(index) > LIMIT_TENSORS)
        return fail(err, BAD_INPUT, "%s: expected \"weight_map\", an object of 1 to %d tensors", index_path,
                    LIMIT_TENSORS);
    seen = json_object();
    if (seen == NULL)
        return memory_failed(err, "the names of shards", 0);
    /* All names are judged before any file is opened. */
    json_object_foreach((json_t *)index, name, value)
    {
        TRY_GOTO(status, check_file_name(json_string_value(value), name, index_path, err));
        if (json_object_set_new(seen, json_string_value(value), json_true()) != 0) {
            status = memory_failed(err, "the names of shards", strlen(json_string_value(value)));
            goto exit;
        }
    }
    if (json_object_size(seen) > LIMIT_SHARDS) {
        status = fail(err, BAD_INPUT, "%s: names %zu files, more than %d", index_path, json_object_size(seen),
                      LIMIT_SHARDS);
        goto exit;
    }
    TRY_GOTO(status, reserve_shards(weights, (int)json_object_size(seen), err));
    json_object_foreach(seen, name, value)
    {
        char *path = path_join(dir, name);
        if (path == NULL) {
            status = memory_failed(err, "the path of a shard", strlen(name));
            goto exit;
        }
        status = add_shard(weights, path, index, name, err);
        free(path);
        if (status != OK)
            goto exit;
    }
    /* Names in the index are unique and a kept entry is where the index says: only lacking ones can be left.
     */
    sort_by_name(weights);
    json_object_foreach((json_t *)index, name, value)
    {
        if (entry_find(weights, name) == NULL) {
            status = fail(err, BAD_INPUT, "%s: tensor %s is said to be in %s, which lacks it", index_path,
                          printable(shown, name), printable(shown_file, json_string_value(value)));
            goto exit;
        }
    }
exit:
    json_decref(seen);
    return status;
}

static enum status open_directory(struct weights *weights, const char *dir, struct error *err)
{
    enum status status = OK;
    json_t *root = NULL;
    char *single = path_join(dir, "model.safetensors");
    char *index = path_join(dir, "model.safetensors.index.json");
    char *pickle = path_join(dir, "pytorch_model.bin");
    char *pickle_index = path_join(dir, "pytorch_model.bin.index.json");
    if (single == NULL || index == NULL || pickle == NULL || pickle_index == NULL) {
        status = memory_failed(err, "paths", strlen(dir));
    } else if (file_exists(single)) {
        TRY_GOTO(status, reserve_shards(weights, 1, err));
        TRY_GOTO(status, add_shard(weights, single, NULL, NULL, err));
    } else if (file_exists(index)) {
        TRY_GOTO(status, json_read(&root, index, err));
        TRY_GOTO(status, index_read(weights, dir, index, root, err));
    } else {
        bool torch = file_exists(pickle) || file_exists(pickle_index);
        status =
            fail(err, BAD_INPUT, "%s: holds neither model.safetensors nor model.safetensors.index.json%s",
                 dir, torch ? "; pytorch_model.bin is not read, please convert it to safetensors" : "");
    }
exit:
    json_decref(root);
    free(single);
    free(index);
    free(pickle);
    free(pickle_index);
    return status;
}

enum status weights_open(struct weights **out, const char *path, struct error *err)
{
    *out = NULL;
    struct stat info;
    if (stat(path, &info) != 0)
        return fail(err, BAD_INPUT, "%s: %s", path, strerror(errno));
    struct weights *weights = memory_zero(1, sizeof *weights);
    if (weights == NULL)
        return memory_failed(err, "weights", sizeof *weights);
    enum status status = OK;
    weights->path = memory_text(path);
    if (weights->path == NULL) {
        status = memory_failed(err, "a path", strlen(path));
    } else if (S_ISDIR(info.st_mode)) {
        status = open_directory(weights, path, err);
    } else {
        TRY_GOTO(status, reserve_shards(weights, 1, err));
        TRY_GOTO(status, add_shard(weights, path, NULL, NULL, err));
    }
    sort_by_name(weights);
exit:
    if (status != OK)
        weights_close(weights);
    else
        *out = weights;
    return status;
}

void weights_close(struct weights *weights)
{
    if (weights == NULL)
        return;
    for (int i = 0; i < weights->n_shards; i++)
        shard_close(&weights->shards[i]);
    tensor_entries_free(weights->entries, weights->n_entries);
    free(weights->shards);
    free(weights->path);
    free(weights);
}

int weights_count(const struct weights *weights)
{
    return weights->n_entries;
}

static void tensor_fill(struct weights_tensor *out, const struct weights *weights,
                        const struct tensor_entry *entry)
{
    const struct shard *shard = &weights->shards[entry->shard];
    *out = (struct weights_tensor){.name = entry->name,
                                   .dtype = entry->kind->dtype,
                                   .rank = entry->rank,
                                   .n_elements = entry->n_elements,
                                   .data = shard->map + shard->buffer + entry->begin,
                                   .n_bytes = (size_t)(entry->end - entry->begin),
                                   .shard = entry->shard};
    memcpy(out->shape, entry->shape, sizeof out->shape);
}

void weights_at(struct weights_tensor *out, const struct weights *weights, int index)
{
    ENSURE(index >= 0 && index < weights->n_entries);
    tensor_fill(out, weights, &weights->entries[index]);
}

bool weights_has(const struct weights *weights, const char *name)
{
    return entry_find(weights, name) != NULL;
}

/* Bytes that two names share at the beginning and at the end: names of layers differ in the middle, and
 * unlike an edit distance this costs no more than reading them. */
static size_t likeness(const char *a, const char *b)
{
    size_t n_a = strlen(a), n_b = strlen(b), n = n_a < n_b ? n_a : n_b, head = 0, tail = 0;
    while (head < n && a[head] == b[head])
        head++;
    while (tail < n - head && a[n_a - 1 - tail] == b[n_b - 1 - tail])
        tail++;
    return head + tail;
}

static enum status missing(const struct weights *weights, const char *name, int rank, const int64_t *shape,
                           struct error *err)
{
    const char *near[3] = {NULL};
    size_t scores[3] = {0};
    for (int i = 0; i < weights->n_entries; i++) {
        const char *candidate = weights->entries[i].name;
        size_t score = likeness(name, candidate);
        if (2 * score < strlen(name))
            continue;
        for (int k = 0; k < 3; k++) {
            if (near[k] != NULL && score <= scores[k])
                continue;
            for (int j = 2; j > k; j--) {
                near[j] = near[j - 1];
                scores[j] = scores[j - 1];
            }
            near[k] = candidate;
            scores[k] = score;
            break;
        }
    }
    char names[400] = "", shown[PRINTABLE_SIZE], expected[SHAPE_TEXT_SIZE];
    size_t n = 0;
    for (int k = 0; k < 3 && near[k] != NULL; k++) {
        int put = snprintf(names + n, sizeof names - n, "%s%s", k == 0 ? "; near names: " : ", ",
                           printable(shown, near[k]));
        n += put > 0 ? (size_t)put : 0;
    }
    if (rank >= 0)
        shape_text(expected, rank, shape);
    return fail(err, BAD_INPUT, "%s: tensor %.200s%s%s is missing among %d%s", weights->path, name,
                rank >= 0 ? " of shape " : "", rank >= 0 ? expected : "", weights->n_entries, names);
}

enum status weights_get(struct weights_tensor *out, const struct weights *weights, const char *name, int rank,
                        const int64_t *shape, struct error *err)
{
    ENSURE(rank <= LIMIT_TENSOR_RANK);
    const struct tensor_entry *entry = entry_find(weights, name);
    if (entry == NULL)
        return missing(weights, name, rank, shape, err);
    const char *path = weights->shards[entry->shard].path;
    bool same = rank < 0 || rank == entry->rank;
    for (int i = 0; same && i < rank; i++)
        same = shape[i] == entry->shape[i];
    if (!same) {
        char expected[SHAPE_TEXT_SIZE], found[SHAPE_TEXT_SIZE];
        return fail(err, BAD_INPUT,
                    "%s: tensor %.200s: expected shape %s, found %s; does config.json belong to it?", path,
                    name, shape_text(expected, rank, shape), shape_text(found, entry->rank, entry->shape));
    }
    enum dtype dtype = entry->kind->dtype;
    if (dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_BF16 && dtype != DTYPE_F64)
        return fail(err, BAD_INPUT, "%s: tensor %.200s: expected F32, F16, BF16 or F64, found %s", path, name,
                    entry->kind->name);
    tensor_fill(out, weights, entry);
    return OK;
}

void weights_release(const struct weights *weights, const struct weights_tensor *tensor)
{
    /* Whole pages only: the first and the last may belong to a neighbour too. */
    const struct shard *shard = &weights->shards[tensor->shard];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t begin = (size_t)(tensor->data - shard->map), end = begin + tensor->n_bytes;
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (begin < end)
        madvise(shard->map + begin, end - begin, MADV_DONTNEED); /* only advice: its failure costs nothing */
}

static float bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float half_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest < 0x400) { /* subnormal: a multiple of 2^-24 */
        float value = (float)rest * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    /* Moves the exponent from bias 15 to 127, and 31 (infinity, NaN) to 255. */
    return bits_float(sign | ((rest << 13) + (rest >= 0x7c00 ? 224u << 23 : 112u << 23)));
}

void weights_to_f32(float *out, const struct weights_tensor *tensor, int64_t offset, int64_t n)
{
    ENSURE(offset >= 0 && n >= 0 && offset <= tensor->n_elements && n <= tensor->n_elements - offset);
    if (n == 0)
        return;
    const unsigned char *in = tensor->data + (size_t)offset * dtype_size(tensor->dtype);
    uint16_t half;
    double wide;
    switch (tensor->dtype) {
    case DTYPE_F32:
        memcpy(out, in, (size_t)n * sizeof *out);
        break;
    case DTYPE_F16:
        for (int64_t i = 0; i < n; i++) {
            memcpy(&half, in + 2 * i, sizeof half);
            out[i] = half_to_f32(half);
        }
        break;
    case DTYPE_BF16:
        for (int64_t i = 0; i < n; i++) {
            memcpy(&half, in + 2 * i, sizeof half);
            out[i] = bits_float((uint32_t)half << 16);
        }
        break;
    case DTYPE_F64:
        for (int64_t i = 0; i < n; i++) {
            memcpy(&wide, in + 8 * i, sizeof wide);
            out[i] = (float)wide;
        }
        break;
    default:
        ENSURE(tensor->dtype == DTYPE_F64); /* weights_get lets no other through */
    }
}

enum status weights_sha256(char hex[65], const struct weights *weights, struct error *err)
{
    (void)err; /* what can fail was checked when the files were opened */
    struct sha256 sha;
    sha256_init(&sha);
    for (int i = 0; i < weights->n_entries; i++) {
        const struct tensor_entry *entry = &weights->entries[i];
        struct weights_tensor tensor;
        tensor_fill(&tensor, weights, entry);
        /* Each part ends in a 0 or has a known length: two different sets of tensors never give one stream.
         */
        sha256_update(&sha, entry->name, strlen(entry->name) + 1);
        sha256_update(&sha, entry->kind->name, strlen(entry->kind->name) + 1);
        int64_t rank = entry->rank;
        sha256_update(&sha, &rank, sizeof rank);
        sha256_update(&sha, entry->shape, (size_t)rank * sizeof *entry->shape);
        sha256_update(&sha, tensor.data, tensor.n_bytes);
        weights_release(weights, &tensor);
    }
    sha256_final(&sha, hex);
    return OK;
}
