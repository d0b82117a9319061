/* One safetensors file, see safetensors.h.
 *
 * Its way: map it, check the header length against the size, bound and parse the JSON, check every entry
 * (name, dtype, shape, product, byte count), then check that the entries, sorted by offset, tile the byte
 * buffer. Only then does an entry leave this file. Source: the format description and the checks of
 * huggingface/safetensors
 * (`SafeTensors::deserialize`, `Metadata::validate`).
 */
#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json.h"
#include "memory.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are little-endian and are read in place"
#endif

#define LENGTH_BYTES 8 /* the little-endian length before the header */

static const struct dtype_kind kinds[] = {
    {"F32", DTYPE_F32, 4},       {"F16", DTYPE_F16, 2},   {"BF16", DTYPE_BF16, 2},
    {"F64", DTYPE_F64, 8},       {"I64", DTYPE_I64, 8},   {"I32", DTYPE_I32, 4},
    {"U8", DTYPE_U8, 1},         {"BOOL", DTYPE_BOOL, 1}, {"F8_E4M3", DTYPE_OTHER, 1},
    {"F8_E5M2", DTYPE_OTHER, 1}, {"I8", DTYPE_OTHER, 1},  {"I16", DTYPE_OTHER, 2},
    {"U16", DTYPE_OTHER, 2},     {"U32", DTYPE_OTHER, 4}, {"U64", DTYPE_OTHER, 8}};
#define N_KINDS (sizeof kinds / sizeof *kinds)

size_t dtype_size(enum dtype dtype)
{
    for (size_t i = 0; i < N_KINDS && dtype != DTYPE_OTHER; i++)
        if (kinds[i].dtype == dtype)
            return kinds[i].n_bytes;
    return 0;
}

const char *dtype_name(enum dtype dtype)
{
    for (size_t i = 0; i < N_KINDS && dtype != DTYPE_OTHER; i++)
        if (kinds[i].dtype == dtype)
            return kinds[i].name;
    return "another type";
}

/* "[640, 128]"; -1 dimensions never get here. */
const char *shape_text(char out[SHAPE_TEXT_SIZE], int rank, const int64_t *shape)
{
    int n = snprintf(out, SHAPE_TEXT_SIZE, "[");
    for (int i = 0; i < rank && n < SHAPE_TEXT_SIZE - 24; i++)
        n += snprintf(out + n, SHAPE_TEXT_SIZE - (size_t)n, i > 0 ? ", %lld" : "%lld", (long long)shape[i]);
    snprintf(out + n, SHAPE_TEXT_SIZE - (size_t)n, "]");
    return out;
}

/* One member of the header to one entry; everything but its place among the others is checked here. */
static enum status entry_read(struct tensor_entry *out, const char *name, const json_t *json,
                              uint64_t n_buffer, const char *path, struct error *err)
{
    char shown[PRINTABLE_SIZE], type[PRINTABLE_SIZE];
    printable(shown, name);
    const json_t *dtype = json_object_get(json, "dtype");
    const json_t *shape = json_object_get(json, "shape");
    const json_t *offsets = json_object_get(json, "data_offsets");
    if (name[0] == '\0' || strlen(name) > LIMIT_NAME_BYTES)
        return fail(err, BAD_INPUT, "%s: tensor name of %zu bytes, expected 1 to %d: %s", path, strlen(name),
                    LIMIT_NAME_BYTES, shown);
    if (!json_is_string(dtype) || !json_is_array(shape) || !json_is_array(offsets))
        return fail(err, BAD_INPUT, "%s: tensor %s: expected \"dtype\", \"shape\" and \"data_offsets\"", path,
                    shown);
    for (size_t i = 0; i < N_KINDS && out->kind == NULL; i++)
        if (strcmp(kinds[i].name, json_string_value(dtype)) == 0)
            out->kind = &kinds[i];
    if (out->kind == NULL)
        return fail(err, BAD_INPUT, "%s: tensor %s: unknown dtype \"%s\"", path, shown,
                    printable(type, json_string_value(dtype)));

    size_t rank = json_array_size(shape);
    if (rank > LIMIT_TENSOR_RANK)
        return fail(err, BAD_INPUT, "%s: tensor %s: has %zu dimensions, at most %d are read", path, shown,
                    rank, LIMIT_TENSOR_RANK);
    out->rank = (int)rank;
    out->n_elements = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *n = json_array_get(shape, i);
        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return fail(err, BAD_INPUT, "%s: tensor %s: dimension %zu is no whole number", path, shown, i);
        out->shape[i] = json_integer_value(n);
        if (__builtin_mul_overflow(out->n_elements, out->shape[i], &out->n_elements))
            return fail(err, BAD_INPUT, "%s: tensor %s: the product of its shape overflows", path, shown);
    }
    int64_t expected;
    if (__builtin_mul_overflow(out->n_elements, (int64_t)out->kind->n_bytes, &expected))
        return fail(err, BAD_INPUT, "%s: tensor %s: its number of bytes overflows", path, shown);

    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return fail(err, BAD_INPUT, "%s: tensor %s: data_offsets are not [begin, end] with 0 <= begin <= end",
                    path, shown);
    out->begin = (uint64_t)json_integer_value(begin);
    out->end = (uint64_t)json_integer_value(end);
    if (out->end > n_buffer)
        return fail(err, BAD_INPUT,
                    "%s: tensor %s ends at byte %llu of the data, which has %llu; is the download complete?",
                    path, shown, (unsigned long long)out->end, (unsigned long long)n_buffer);
    if (out->end - out->begin != (uint64_t)expected) {
        char text[SHAPE_TEXT_SIZE];
        return fail(err, BAD_INPUT, "%s: tensor %s: %s of %s takes %lld bytes, its data_offsets hold %llu",
                    path, shown, shape_text(text, out->rank, out->shape), out->kind->name,
                    (long long)expected, (unsigned long long)(out->end - out->begin));
    }
    return OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct tensor_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Sorts the entries of one shard by offset; they must cover its buffer once. */
static enum status check_tiling(struct tensor_entry *entries, int n, uint64_t n_buffer, const char *path,
                                struct error *err)
{
    char shown[PRINTABLE_SIZE];
    uint64_t at = 0;
    if (n > 1)
        qsort(entries, (size_t)n, sizeof *entries, by_offset);
    for (int i = 0; i < n; i++) {
        if (entries[i].begin != at)
            return fail(err, BAD_INPUT, "%s: tensor %s begins at byte %llu, expected %llu: %s", path,
                        printable(shown, entries[i].name), (unsigned long long)entries[i].begin,
                        (unsigned long long)at,
                        entries[i].begin < at ? "tensors overlap" : "there is a hole");
        at = entries[i].end;
    }
    if (at != n_buffer)
        return fail(err, BAD_INPUT, "%s: %llu bytes after the last tensor, expected none", path,
                    (unsigned long long)(n_buffer - at));
    return OK;
}

void tensor_entries_free(struct tensor_entry *entries, int n)
{
    for (int i = 0; i < n; i++)
        free(entries[i].name);
    free(entries);
}

static enum status header_read(struct tensor_entry **out, int *n_out, const json_t *header, uint64_t n_buffer,
                               const char *path, struct error *err)
{
    enum status status = OK;
    if (!json_is_object(header))
        return fail(err, BAD_INPUT, "%s: the header is no JSON object", path);
    size_t room = json_object_size(header);
    if (room > LIMIT_TENSORS)
        return fail(err, BAD_INPUT, "%s: more than %d tensors", path, LIMIT_TENSORS);
    int n = 0;
    struct tensor_entry *entries = memory_zero(room + 1, sizeof *entries);
    if (entries == NULL)
        return memory_failed(err, "the table of tensors", (room + 1) * sizeof *entries);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            if (json_is_object(value))
                continue;
            status = fail(err, BAD_INPUT, "%s: __metadata__ is no JSON object", path);
            goto exit;
        }
        TRY_GOTO(status, entry_read(&entries[n], name, value, n_buffer, path, err));
        entries[n].name = memory_text(name);
        if (entries[n].name == NULL) {
            status = memory_failed(err, "the name of a tensor", strlen(name) + 1);
            goto exit;
        }
        n++;
    }
    TRY_GOTO(status, check_tiling(entries, n, n_buffer, path, err));
    *out = entries;
    *n_out = n;
exit:
    if (status != OK)
        tensor_entries_free(entries, n);
    return status;
}

enum status shard_open(struct shard *out, struct tensor_entry **entries, int *n_entries, const char *path,
                       struct error *err)
{
    *entries = NULL;
    *n_entries = 0;
    *out = (struct shard){.path = memory_text(path)};
    if (out->path == NULL)
        return memory_failed(err, "a path", strlen(path));
    struct stat info;
    /* O_NONBLOCK: a pipe in the place of a file must not hang us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(err, BAD_INPUT, "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < LENGTH_BYTES) {
        close(fd);
        return fail(err, BAD_INPUT, "%s: is not a file of %d bytes or more; is the download complete?", path,
                    LENGTH_BYTES);
    }
    size_t n_bytes = (size_t)info.st_size;
    void *map = mmap(NULL, n_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    int problem = errno;
    close(fd);
    if (map == MAP_FAILED)
        return fail(err, NO_MACHINE, "%s: its %zu bytes cannot be mapped: %s", path, n_bytes,
                    strerror(problem));
    out->map = map;
    out->n_bytes = n_bytes;

    uint64_t n_header;
    memcpy(&n_header, out->map, LENGTH_BYTES);
    if (n_header > LIMIT_HEADER_BYTES || n_header > n_bytes - LENGTH_BYTES)
        return fail(
            err, BAD_INPUT,
            "%s: a header of %llu bytes in a file of %zu (at most %u); is it a whole safetensors file?", path,
            (unsigned long long)n_header, n_bytes, LIMIT_HEADER_BYTES);
    out->buffer = LENGTH_BYTES + (size_t)n_header;
    const char *text = (const char *)out->map + LENGTH_BYTES;
    if (n_header == 0 || text[0] != '{')
        return fail(err, BAD_INPUT, "%s: the header does not begin with '{'; is it a safetensors file?",
                    path);
    json_t *header;
    TRY(json_parse(&header, text, (size_t)n_header, path, err));
    enum status status = header_read(entries, n_entries, header, n_bytes - out->buffer, path, err);
    json_decref(header);
    return status;
}

void shard_close(struct shard *shard)
{
    if (shard->map != NULL)
        munmap(shard->map, shard->n_bytes);
    free(shard->path);
    *shard = (struct shard){0};
}
