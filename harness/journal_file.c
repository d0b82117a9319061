/* The driver, see journal_file.h: HDF5's own driver for files, with a record before what is overwritten.
 *
 *     write   behind `safe`, the end of the last flush: through; before it: to `patches`
 *     read    through, then the patches over it
 *     flush   patches -> PATH.journal -> the file; the journal is removed
 *
 * The record: magic, number of patches, then for each its place, size and bytes; at the end FNV-1a of all
 * that.
 */
#include "harness/journal_file.h"

#include <fcntl.h>    /* open */
#include <stdbool.h>  /* bool */
#include <stdint.h>   /* uint64_t */
#include <stdio.h>    /* FILE */
#include <stdlib.h>   /* free */
#include <string.h>   /* memcpy */
#include <sys/file.h> /* flock, which HDF5 locks with */
#include <unistd.h>   /* pwrite */

#include "core/memory.h"

enum { NAME_SIZE = 4096, PATCH_MAX = 1 << 30 };
static const uint64_t magic = 0x314c4e524a4e4957u; /* "WINJRNL1" */

struct patch {
    uint64_t at, n;
    uint8_t *bytes;
};

struct journal {
    H5FD_t pub; /* first: HDF5's */
    H5FD_t *file;
    char name[NAME_SIZE]; /* of the record */
    struct patch *patches;
    size_t n_patches, capacity;
    haddr_t safe;
    bool shrink, broken;
};

/* ---- the record ----------------------------------------------------------------------------- */

struct stream {
    FILE *file;
    uint64_t hash;
    bool ok;
};

static void hash_in(struct stream *stream, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        stream->hash = (stream->hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
}

static void put(struct stream *stream, const void *bytes, size_t n)
{
    stream->ok = stream->ok && fwrite(bytes, 1, n, stream->file) == n;
    hash_in(stream, bytes, n);
}

static void get(struct stream *stream, void *bytes, size_t n)
{
    stream->ok = stream->ok && fread(bytes, 1, n, stream->file) == n;
    if (stream->ok)
        hash_in(stream, bytes, n);
}

static bool record_write(const struct journal *journal)
{
    struct stream out = {fopen(journal->name, "wb"), 14695981039346656037u, true};
    if (out.file == NULL)
        return false;
    uint64_t n = journal->n_patches;
    put(&out, &magic, sizeof magic);
    put(&out, &n, sizeof n);
    for (size_t i = 0; i < journal->n_patches; i++) {
        const struct patch *patch = &journal->patches[i];
        put(&out, &patch->at, sizeof patch->at);
        put(&out, &patch->n, sizeof patch->n);
        put(&out, patch->bytes, patch->n);
    }
    uint64_t hash = out.hash;
    put(&out, &hash, sizeof hash);
    return fclose(out.file) == 0 && out.ok;
}

/* Goes through a record; with a file its patches are copied there. False: it is not whole. */
static bool record_read(const char *name, int file)
{
    struct stream in = {fopen(name, "rb"), 14695981039346656037u, true};
    uint64_t found = 0, n = 0, hash = 0;
    if (in.file == NULL)
        return false;
    get(&in, &found, sizeof found);
    get(&in, &n, sizeof n);
    in.ok = in.ok && found == magic;
    for (uint64_t i = 0; i < n && in.ok; i++) {
        uint64_t at = 0, size = 0;
        get(&in, &at, sizeof at);
        get(&in, &size, sizeof size);
        uint8_t *bytes = in.ok && size <= PATCH_MAX ? memory_alloc(size, 1) : NULL;
        in.ok = bytes != NULL;
        if (in.ok)
            get(&in, bytes, size);
        if (in.ok && file >= 0)
            in.ok = pwrite(file, bytes, size, (off_t)at) == (ssize_t)size;
        free(bytes);
    }
    uint64_t own = in.hash;
    get(&in, &hash, sizeof hash);
    fclose(in.file);
    return in.ok && hash == own;
}

/* What a process that died left behind. Under the lock that HDF5 will take: a record of a living writer is
 * its own business. */
static void recover(const char *path, const char *name)
{
    if (access(name, F_OK) != 0)
        return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    if (flock(file, LOCK_EX | LOCK_NB) == 0 && (!record_read(name, -1) || record_read(name, file)))
        unlink(name);
    close(file);
}

/* ---- patches -------------------------------------------------------------------------------- */

static void patches_clear(struct journal *journal)
{
    for (size_t i = 0; i < journal->n_patches; i++)
        free(journal->patches[i].bytes);
    journal->n_patches = 0;
}

static bool patch_add(struct journal *journal, haddr_t at, size_t n, const void *bytes)
{
    if (journal->n_patches == journal->capacity) {
        size_t wanted = journal->capacity ? 2 * journal->capacity : 64;
        struct patch *grown = memory_grow(journal->patches, wanted, sizeof *grown);
        if (grown == NULL)
            return false;
        journal->patches = grown;
        journal->capacity = wanted;
    }
    struct patch patch = {at, n, memory_alloc(n, 1)};
    if (patch.bytes == NULL)
        return false;
    memcpy(patch.bytes, bytes, n);
    journal->patches[journal->n_patches++] = patch;
    return true;
}

/* Record, copy, remove the record. A record that could not be written leaves the file as the last flush left
 * it; from then on nothing is written any more. */
static bool commit(struct journal *journal, hid_t dxpl)
{
    bool ok = !journal->broken && (journal->n_patches == 0 || record_write(journal));
    if (!ok)
        unlink(journal->name);
    for (size_t i = 0; i < journal->n_patches && ok; i++) /* one that fails is copied at the next opening */
        ok = H5FDwrite(journal->file, H5FD_MEM_DEFAULT, dxpl, journal->patches[i].at, journal->patches[i].n,
                       journal->patches[i].bytes) >= 0;
    if (ok && journal->n_patches > 0)
        ok = unlink(journal->name) == 0;
    if (ok && journal->shrink)
        ok = H5FDtruncate(journal->file, dxpl, false) >= 0;
    patches_clear(journal);
    journal->shrink = false;
    journal->broken = !ok;
    journal->safe = H5FDget_eoa(journal->file, H5FD_MEM_DEFAULT);
    return ok;
}

/* ---- the driver ----------------------------------------------------------------------------- */

static struct journal *own(const H5FD_t *file)
{
    return (struct journal *)(uintptr_t)file;
}

static H5FD_t *driver_open(const char *path, unsigned flags, hid_t access, haddr_t max)
{
    (void)access;
    struct journal *journal = memory_zero(1, sizeof *journal);
    if (journal == NULL)
        return NULL;
    int n = snprintf(journal->name, sizeof journal->name, "%s.journal", path);
    if (n > 0 && (size_t)n < sizeof journal->name) {
        if (flags & H5F_ACC_CREAT)
            unlink(journal->name); /* of a file that is gone */
        else if (flags & H5F_ACC_RDWR)
            recover(path, journal->name);
        journal->file = H5FDopen(path, flags, H5P_DEFAULT, max);
    }
    if (journal->file == NULL) {
        free(journal);
        return NULL;
    }
    journal->safe = H5FDget_eof(journal->file, H5FD_MEM_DEFAULT);
    return &journal->pub;
}

static herr_t driver_close(H5FD_t *file)
{
    struct journal *journal = own(file);
    bool ok = journal->n_patches == 0 || commit(journal, H5P_DEFAULT);
    ok = H5FDclose(journal->file) >= 0 && ok;
    patches_clear(journal);
    free(journal->patches);
    free(journal);
    return ok ? 0 : -1;
}

static int driver_cmp(const H5FD_t *a, const H5FD_t *b)
{
    return H5FDcmp(own(a)->file, own(b)->file);
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags)
{
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    (void)file;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    return H5FDget_eoa(own(file)->file, type);
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t at)
{
    return H5FDset_eoa(own(file)->file, type, at);
}

static haddr_t driver_get_eof(const H5FD_t *file, H5FD_mem_t type)
{
    return H5FDget_eof(own(file)->file, type);
}

static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t at, size_t n, void *out)
{
    const struct journal *journal = own(file);
    if (H5FDread(journal->file, type, dxpl, at, n, out) < 0)
        return -1;
    for (size_t i = 0; i < journal->n_patches; i++) {
        const struct patch *patch = &journal->patches[i];
        uint64_t from = patch->at > at ? patch->at : at;
        uint64_t to = patch->at + patch->n < at + n ? patch->at + patch->n : at + n;
        if (from < to)
            memcpy((uint8_t *)out + (from - at), patch->bytes + (from - patch->at), to - from);
    }
    return 0;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t at, size_t n, const void *bytes)
{
    struct journal *journal = own(file);
    if (journal->broken)
        return -1;
    bool ok = at < journal->safe ? patch_add(journal, at, n, bytes)
                                 : H5FDwrite(journal->file, type, dxpl, at, n, bytes) >= 0;
    journal->broken = !ok;
    return ok ? 0 : -1;
}

static herr_t driver_flush(H5FD_t *file, hid_t dxpl, hbool_t closing)
{
    (void)closing;
    return commit(own(file), dxpl) ? 0 : -1;
}

/* A file may grow at once; it loses its end only when nothing points there any more. */
static herr_t driver_truncate(H5FD_t *file, hid_t dxpl, hbool_t closing)
{
    struct journal *journal = own(file);
    journal->shrink =
        H5FDget_eoa(journal->file, H5FD_MEM_DEFAULT) < H5FDget_eof(journal->file, H5FD_MEM_DEFAULT);
    return journal->shrink ? 0 : H5FDtruncate(journal->file, dxpl, closing);
}

static herr_t driver_lock(H5FD_t *file, hbool_t rw)
{
    return H5FDlock(own(file)->file, rw);
}

static herr_t driver_unlock(H5FD_t *file)
{
    return H5FDunlock(own(file)->file);
}

hid_t journal_access(void)
{
    static const H5FD_class_t driver = {
#ifdef H5FD_CLASS_VERSION /* since HDF5 1.14 */
        .version = H5FD_CLASS_VERSION,
        .value = (H5FD_class_value_t)600,
#endif
        .name = "winnow journal",
        .maxaddr = ((haddr_t)1 << 62) - 1,
        .fc_degree = H5F_CLOSE_WEAK,
        .open = driver_open,
        .close = driver_close,
        .cmp = driver_cmp,
        .query = driver_query,
        .get_eoa = driver_get_eoa,
        .set_eoa = driver_set_eoa,
        .get_eof = driver_get_eof,
        .read = driver_read,
        .write = driver_write,
        .flush = driver_flush,
        .truncate = driver_truncate,
        .lock = driver_lock,
        .unlock = driver_unlock,
        .fl_map = H5FD_FLMAP_DICHOTOMY,
    };
    static hid_t id = -1;
    if (id < 0)
        id = H5FDregister(&driver);
    hid_t access = id >= 0 ? H5Pcreate(H5P_FILE_ACCESS) : -1;
    if (access >= 0 && H5Pset_driver(access, id, NULL) < 0) {
        H5Pclose(access);
        return -1;
    }
    return access;
}
