/* What a trace writes, prepared outside of HDF5; see trace_pack.h. Arrays are split into chunks of whole
 * rows, shuffled and deflated here exactly as HDF5's own filters do, which then are only named. */
#include "harness/trace_pack.h"

#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free */
#include <string.h> /* memcpy */

#include <zlib.h> /* deflate */

#include "core/memory.h" /* memory_* */

enum {
    NAME_SIZE = 40,
    RANK_MAX = 3,
    GZIP_LEVEL = 4,
    CHUNK_BYTES = 1 << 18,
    PLAIN_BYTES = 1024,      /* a smaller array is stored as it is: its chunk's index would take more */
    TEXT_BUFFER_BYTES = 256, /* while a text is turned into what the file holds: a few pointers */
    /* What HDF5 itself takes at most: headers, links and their share in nodes and heaps. */
    GROUP_BYTES = 800,
    ARRAY_BYTES = 420,
    CHUNK_INDEX_BYTES = 450,
    ATTRIBUTE_BYTES = 120
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "chunks are written in the order of memory");

enum item_kind { ITEM_GROUP, ITEM_INT, ITEM_ATTRIBUTE, ITEM_TEXT, ITEM_ARRAY };

struct item {
    enum item_kind kind;
    char name[NAME_SIZE];
    int group; /* the item it stands in */
    int value; /* ITEM_INT */
    enum pack_type type;
    int rank;
    hsize_t shape[RANK_MAX];
    int n_chunks; /* 0: plain */
    hsize_t chunk_rows;
    size_t *chunk_bytes; /* [n_chunks], owned */
    uint8_t *bytes;      /* text with its 0, plain values, or chunks one after the other; owned */
    size_t n_bytes;
};

struct pack {
    struct item *items; /* a group stands before what it holds */
    int n, room;
    bool failed, deflating;
    z_stream deflater; /* one for all arrays: making it costs more than a small array does */
};

struct pack *pack_new(void)
{
    return memory_zero(1, sizeof(struct pack));
}

void pack_free(struct pack *pack)
{
    if (pack == NULL)
        return;
    for (int i = 0; i < pack->n; i++) {
        free(pack->items[i].chunk_bytes);
        free(pack->items[i].bytes);
    }
    if (pack->deflating)
        deflateEnd(&pack->deflater);
    free(pack->items);
    free(pack);
}

bool pack_good(const struct pack *pack)
{
    return pack != NULL && !pack->failed;
}

size_t pack_bytes(const struct pack *pack)
{
    size_t sum = GROUP_BYTES;
    for (int i = 0; pack != NULL && i < pack->n; i++) {
        const struct item *item = &pack->items[i];
        sum += item->n_bytes + (item->kind == ITEM_GROUP   ? GROUP_BYTES
                                : item->kind == ITEM_ARRAY ? ARRAY_BYTES
                                : item->kind == ITEM_TEXT  ? ARRAY_BYTES
                                                           : ATTRIBUTE_BYTES);
        sum += (size_t)item->n_chunks * CHUNK_INDEX_BYTES;
    }
    return sum;
}

/* ---- taking values -------------------------------------------------------------------------- */

static struct item *add(struct pack *pack, enum item_kind kind, int group, const char *name)
{
    if (!pack_good(pack))
        return NULL;
    if (pack->n == pack->room) {
        int room = pack->room > 0 ? 2 * pack->room : 64;
        struct item *items = memory_grow(pack->items, (size_t)room, sizeof *items);
        if (items == NULL) {
            pack->failed = true;
            return NULL;
        }
        pack->items = items;
        pack->room = room;
    }
    struct item *item = &pack->items[pack->n++];
    *item = (struct item){.kind = kind, .group = group};
    snprintf(item->name, sizeof item->name, "%s", name);
    return item;
}

static void keep(struct pack *pack, struct item *item, const void *bytes, size_t n)
{
    item->bytes = memory_alloc(n, 1);
    pack->failed = pack->failed || item->bytes == NULL;
    if (item->bytes != NULL && n > 0)
        memcpy(item->bytes, bytes, n);
    item->n_bytes = n;
}

int pack_group(struct pack *pack, int group, const char *name)
{
    return add(pack, ITEM_GROUP, group, name) ? pack->n - 1 : PACK_ROOT;
}

void pack_int(struct pack *pack, int group, const char *name, int value)
{
    struct item *item = add(pack, ITEM_INT, group, name);
    if (item)
        item->value = value;
}

static void add_text(struct pack *pack, enum item_kind kind, int group, const char *name, const char *text)
{
    struct item *item = add(pack, kind, group, name);
    text = text ? text : "";
    if (item)
        keep(pack, item, text, strlen(text) + 1);
}

void pack_attribute(struct pack *pack, int group, const char *name, const char *text)
{
    add_text(pack, ITEM_ATTRIBUTE, group, name, text);
}

void pack_text(struct pack *pack, int group, const char *name, const char *text)
{
    add_text(pack, ITEM_TEXT, group, name, text);
}

static size_t type_size(enum pack_type type)
{
    return type == PACK_U8 ? 1 : 4;
}

/* First bytes of all values, then second ones, and so on. */
static void shuffle(uint8_t *out, const uint8_t *in, size_t n, size_t size)
{
    for (size_t b = 0; b < size; b++)
        for (size_t i = 0; i < n; i++)
            out[b * n + i] = in[i * size + b];
}

/* Deflates one chunk behind the item's others; the bytes it may take are there. */
static bool deflate_chunk(struct pack *pack, struct item *item, uint8_t *chunk, size_t n_chunk, size_t room)
{
    z_stream *z = &pack->deflater;
    if (!pack->deflating && deflateInit(z, GZIP_LEVEL) != Z_OK)
        return false;
    if (pack->deflating && deflateReset(z) != Z_OK)
        return false;
    pack->deflating = true;
    z->next_in = chunk;
    z->avail_in = (uInt)n_chunk;
    z->next_out = item->bytes + item->n_bytes;
    z->avail_out = (uInt)room;
    if (deflate(z, Z_FINISH) != Z_STREAM_END)
        return false;
    item->chunk_bytes[item->n_chunks++] = z->total_out;
    item->n_bytes += z->total_out;
    return true;
}

/* Chunks are all of one size; what the last one has too much is zero. */
static bool deflate_array(struct pack *pack, struct item *item, const uint8_t *data, size_t row_bytes)
{
    size_t size = type_size(item->type), n_rows = (size_t)item->shape[0];
    size_t rows = CHUNK_BYTES / row_bytes > 0 ? CHUNK_BYTES / row_bytes : 1;
    rows = rows < n_rows ? rows : n_rows;
    if (row_bytes > UINT32_MAX / 2) /* zlib counts in 32 bits */
        return false;
    size_t n_chunks = (n_rows + rows - 1) / rows, n = rows * row_bytes, room = compressBound((uLong)n) + 64;
    uint8_t *plain = memory_alloc(n, 1), *shuffled = memory_alloc(n, 1);
    item->chunk_rows = rows;
    item->chunk_bytes = memory_zero(n_chunks, sizeof *item->chunk_bytes);
    item->bytes = memory_alloc(n_chunks, room);
    bool ok = plain && shuffled && item->chunk_bytes && item->bytes;
    for (size_t first = 0; ok && first < n_rows; first += rows) {
        size_t there = (n_rows - first < rows ? n_rows - first : rows) * row_bytes;
        memcpy(plain, data + first * row_bytes, there);
        memset(plain + there, 0, n - there);
        if (size > 1)
            shuffle(shuffled, plain, n / size, size);
        ok = deflate_chunk(pack, item, size > 1 ? shuffled : plain, n, room);
    }
    free(plain);
    free(shuffled);
    if (ok) { /* the room for chunks that do not shrink is given back */
        uint8_t *bytes = memory_grow(item->bytes, item->n_bytes, 1);
        item->bytes = bytes ? bytes : item->bytes;
    }
    return ok;
}

void pack_array(struct pack *pack, int group, const char *name, enum pack_type type, const void *data,
                int rank, const hsize_t *shape)
{
    struct item *item = add(pack, ITEM_ARRAY, group, name);
    if (item == NULL)
        return;
    size_t n = type_size(type), row = n;
    item->type = type;
    item->rank = rank;
    for (int i = 0; i < rank; i++) {
        item->shape[i] = shape[i];
        n *= (size_t)shape[i];
        row *= i > 0 ? (size_t)shape[i] : 1;
    }
    if (n <= PLAIN_BYTES)
        keep(pack, item, data, n);
    else if (!deflate_array(pack, item, data, row))
        pack->failed = true;
}

void pack_ints(struct pack *pack, int group, const char *name, const int32_t *values, int n)
{
    hsize_t shape = n > 0 ? (hsize_t)n : 0;
    pack_array(pack, group, name, PACK_I32, values, 1, &shape);
}

void pack_floats(struct pack *pack, int group, const char *name, const float *values, int n)
{
    hsize_t shape = n > 0 ? (hsize_t)n : 0;
    pack_array(pack, group, name, PACK_F32, values, 1, &shape);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* A group with as many members and attributes as a cut has keeps them in its header. */
static hid_t make_group(hid_t parent, const char *name)
{
    enum { COMPACT_MAX = 16, COMPACT_MIN = 12 };
    hid_t create = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_link_phase_change(create, COMPACT_MAX, COMPACT_MIN);
    H5Pset_attr_phase_change(create, COMPACT_MAX, COMPACT_MIN);
    hid_t group = H5Gcreate2(parent, name, H5P_DEFAULT, create, H5P_DEFAULT);
    H5Pclose(create);
    return group;
}

static bool write_int(hid_t group, const struct item *item)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(group, item->name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT, &item->value) >= 0;
    ok = (attribute < 0 || H5Aclose(attribute) >= 0) && ok;
    H5Sclose(space);
    return ok;
}

static bool write_text(hid_t group, const struct item *item)
{
    const char *text = (const char *)item->bytes;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    bool is_set = item->kind == ITEM_TEXT;
    hid_t transfer =
        H5Pcreate(H5P_DATASET_XFER); /* HDF5's own buffers for one string are two of a megabyte */
    H5Pset_buffer(transfer, TEXT_BUFFER_BYTES, NULL, NULL);
    hid_t at = is_set ? H5Dcreate2(group, item->name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)
                      : H5Acreate2(group, item->name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = at >= 0 && (is_set ? H5Dwrite(at, type, H5S_ALL, H5S_ALL, transfer, &text)
                                 : H5Awrite(at, type, &text)) >= 0;
    ok = (at < 0 || (is_set ? H5Dclose(at) : H5Aclose(at)) >= 0) && ok;
    H5Pclose(transfer);
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

static bool write_chunks(hid_t set, const struct item *item)
{
    hsize_t at[RANK_MAX] = {0};
    const uint8_t *bytes = item->bytes;
    bool ok = true;
    for (int i = 0; i < item->n_chunks && ok; i++) {
        at[0] = (hsize_t)i * item->chunk_rows;
        ok = H5Dwrite_chunk(set, H5P_DEFAULT, 0, at, item->chunk_bytes[i], bytes) >= 0;
        bytes += item->chunk_bytes[i];
    }
    return ok;
}

static bool write_array(hid_t group, const struct item *item)
{
    const hid_t stored[] = {H5T_STD_U8LE, H5T_STD_I32LE, H5T_IEEE_F32LE};
    hid_t type = stored[item->type], space = H5Screate_simple(item->rank, item->shape, NULL);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    if (item->n_chunks > 0) {
        hsize_t chunk[RANK_MAX];
        memcpy(chunk, item->shape, sizeof chunk);
        chunk[0] = item->chunk_rows;
        H5Pset_chunk(create, item->rank, chunk);
        if (type_size(item->type) > 1)
            H5Pset_shuffle(create);
        H5Pset_deflate(create, GZIP_LEVEL);
    }
    hid_t set = H5Dcreate2(group, item->name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    bool ok = set >= 0;
    if (ok && item->n_chunks > 0)
        ok = write_chunks(set, item);
    else if (ok && item->n_bytes > 0)
        ok = H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, item->bytes) >= 0;
    ok = (set < 0 || H5Dclose(set) >= 0) && ok;
    H5Pclose(create);
    H5Sclose(space);
    return ok;
}

bool pack_write(hid_t root, const struct pack *pack)
{
    hid_t *groups = memory_alloc((size_t)pack->n, sizeof *groups); /* by item; −1: none of ours is open */
    bool ok = groups != NULL;
    for (int i = 0; groups != NULL && i < pack->n; i++)
        groups[i] = -1;
    for (int i = 0; i < pack->n && ok; i++) {
        const struct item *item = &pack->items[i];
        hid_t group = item->group == PACK_ROOT ? root : groups[item->group];
        switch (item->kind) {
        case ITEM_GROUP:
            groups[i] = make_group(group, item->name);
            ok = groups[i] >= 0;
            break;
        case ITEM_INT:
            ok = write_int(group, item);
            break;
        case ITEM_ATTRIBUTE:
        case ITEM_TEXT:
            ok = write_text(group, item);
            break;
        case ITEM_ARRAY:
            ok = write_array(group, item);
            break;
        }
    }
    for (int i = 0; groups != NULL && i < pack->n; i++)
        if (groups[i] >= 0)
            ok = H5Gclose(groups[i]) >= 0 && ok;
    free(groups);
    return ok;
}
