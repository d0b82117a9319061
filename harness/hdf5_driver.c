/* A driver of HDF5 over a pair of files, see hdf5_driver.h; in the terms of its "virtual file layer". */
#include "harness/hdf5_driver.h"

#include <errno.h>    /* errno */
#include <fcntl.h>    /* open */
#include <stdlib.h>   /* free */
#include <string.h>   /* memset */
#include <sys/file.h> /* flock, which HDF5 locks with */
#include <sys/stat.h> /* fstat */
#include <unistd.h>   /* pread */

#if H5_VERSION_GE(1, 14, 0)
#include <H5FDdevelop.h> /* H5FD_class_t moved there */
#endif

#include "core/memory.h" /* memory_* */

/* The longest file: what an off_t counts. */
#define ADDRESS_MAX ((haddr_t)INT64_MAX)

struct driver_file {
    H5FD_t common;     /* HDF5's part, first */
    struct pair *pair; /* NULL: a plain file, to be read */
    int fd;
    haddr_t eoa, eof; /* where HDF5's part ends, and where the file does */
    dev_t device;
    ino_t inode;
};

/* HDF5 hands back what driver_open gave. */
static struct driver_file *of(H5FD_t *file)
{
    return (struct driver_file *)file;
}

static const struct driver_file *of_const(const H5FD_t *file)
{
    return (const struct driver_file *)file;
}

static H5FD_t *driver_open(const char *path, unsigned flags, hid_t access, haddr_t max)
{
    (void)max;
    struct stat info = {0};
    struct pair *const *pair = H5Pget_driver_info(access);
    bool is_pair = pair != NULL && *pair != NULL;
    if (!is_pair && flags != H5F_ACC_RDONLY)
        return NULL;
    int fd = is_pair ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    struct driver_file *file =
        is_pair || (fd >= 0 && fstat(fd, &info) == 0) ? memory_zero(1, sizeof *file) : NULL;
    if (file == NULL) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    file->pair = is_pair ? *pair : NULL;
    file->fd = fd;
    file->eof = (haddr_t)(is_pair ? pair_bytes(*pair) : info.st_size);
    file->device = info.st_dev;
    file->inode = info.st_ino;
    return &file->common;
}

static herr_t driver_close(H5FD_t *file)
{
    if (of(file)->fd >= 0)
        close(of(file)->fd);
    free(of(file));
    return 0;
}

/* 0 for the same file, which HDF5 then opens once; else some order. A pair is never a plain file: closing the
 * one would write the other. */
static int driver_compare(const H5FD_t *a, const H5FD_t *b)
{
    const struct driver_file *x = of_const(a), *y = of_const(b);
    if (x->pair || y->pair)
        return (x->pair > y->pair) - (x->pair < y->pair);
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return (x->inode > y->inode) - (x->inode < y->inode);
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags)
{
    (void)file; /* few large writes rather than many small ones */
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

static haddr_t driver_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return of_const(file)->eoa;
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t eoa)
{
    (void)type;
    of(file)->eoa = eoa;
    return 0;
}

static haddr_t driver_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return of_const(file)->eof;
}

/* As pair_read does it. */
static bool read_plain(int fd, char *out, size_t n, haddr_t at)
{
    while (n > 0) {
        ssize_t got = pread(fd, out, n, (off_t)at);
        if (got < 0)
            return false;
        if (got == 0) {
            memset(out, 0, n);
            break;
        }
        out += got;
        at += (haddr_t)got;
        n -= (size_t)got;
    }
    return true;
}

static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t n, void *out)
{
    (void)type;
    (void)transfer;
    if (at > ADDRESS_MAX || n > ADDRESS_MAX - at)
        return -1;
    bool ok = of(file)->pair ? pair_read(of(file)->pair, out, n, at) : read_plain(of(file)->fd, out, n, at);
    return ok ? 0 : -1;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t n,
                           const void *bytes)
{
    (void)type;
    (void)transfer;
    if (of(file)->pair == NULL || at > ADDRESS_MAX || n > ADDRESS_MAX - at)
        return -1;
    pair_write(of(file)->pair, bytes, n, at);
    of(file)->eof = at + n > of(file)->eof ? at + n : of(file)->eof;
    return 0;
}

static herr_t driver_truncate(H5FD_t *file, hid_t transfer, hbool_t closing)
{
    (void)transfer;
    (void)closing;
    struct driver_file *to = of(file);
    if (to->pair && to->eof != to->eoa) {
        pair_truncate(to->pair, to->eoa);
        to->eof = to->eoa;
    }
    return 0;
}

/* A pair is locked all the time. A filesystem that has no locks goes without. */
static herr_t driver_lock(H5FD_t *file, hbool_t write)
{
    (void)write;
    const struct driver_file *to = of(file);
    if (to->pair || flock(to->fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return 0;
    return pair_has(to->device, to->inode) ? 0 : -1;
}

static herr_t driver_unlock(H5FD_t *file)
{
    if (of(file)->pair == NULL)
        (void)flock(of(file)->fd, LOCK_UN);
    return 0;
}

static const H5FD_class_t driver = {
#ifdef H5FD_CLASS_VERSION /* HDF5 1.14 */
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)H5_VFD_RESERVED + 'w',
#endif
    .name = "winnow",
    .maxaddr = ADDRESS_MAX,
    .fc_degree = H5F_CLOSE_WEAK,
    .fapl_size = sizeof(struct pair *),
    .open = driver_open,
    .close = driver_close,
    .cmp = driver_compare,
    .query = driver_query,
    .get_eoa = driver_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_eof,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .lock = driver_lock,
    .unlock = driver_unlock,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

/* Files of HDF5 1.8: groups of a few members and their links take half the bytes of the oldest format's, and
 * no mark "open for writing" stays behind after a crash, as in the formats after it. */
static hid_t access_list(struct pair *pair)
{
    static hid_t id = -1;
    if (id < 0)
        id = H5FDregister(&driver);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_driver(access, id, &pair);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    return access;
}

hid_t hdf5_open(const char *path)
{
    hid_t access = access_list(NULL), file = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    return file;
}

hid_t hdf5_open_pair(struct pair *pair)
{
    enum { CHUNKS_HALF_NODE = 4 }; /* most arrays are one chunk: a small node of its index */
    static const char name[] = "a trace";
    hid_t access = access_list(pair), file;
    if (pair_is_new(pair)) {
        hid_t create = H5Pcreate(H5P_FILE_CREATE);
        H5Pset_istore_k(create, CHUNKS_HALF_NODE);
        file = H5Fcreate(name, H5F_ACC_TRUNC, create, access);
        H5Pclose(create);
    } else {
        file = H5Fopen(name, H5F_ACC_RDWR, access);
    }
    H5Pclose(access);
    return file;
}
