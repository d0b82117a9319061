/* A driver of HDF5 over pread and pwrite, see hdf5_driver.h; in the terms of its "virtual file layer". */
#include "harness/hdf5_driver.h"

#include <errno.h>    /* errno */
#include <fcntl.h>    /* open */
#include <stdlib.h>   /* free */
#include <string.h>   /* memset */
#include <sys/file.h> /* flock, which HDF5 locks with */
#include <sys/stat.h> /* fstat */
#include <unistd.h>   /* pread, pwrite */

#if H5_VERSION_GE(1, 14, 0)
#include <H5FDdevelop.h> /* H5FD_class_t moved there */
#endif

#include "core/memory.h" /* memory_* */

/* The longest file: what an off_t counts. */
#define ADDRESS_MAX ((haddr_t)INT64_MAX)

struct driver_file {
    H5FD_t common;    /* HDF5's part, first */
    int fd, error;    /* error: of the first write that failed */
    haddr_t eoa, eof; /* where HDF5's part ends, and where the file does */
    dev_t device;
    ino_t inode;
    bool frozen;
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
    (void)access;
    (void)max;
    int mode = flags & H5F_ACC_RDWR ? O_RDWR : O_RDONLY;
    mode |= (flags & H5F_ACC_CREAT ? O_CREAT : 0) | (flags & H5F_ACC_EXCL ? O_EXCL : 0) |
            (flags & H5F_ACC_TRUNC ? O_TRUNC : 0);
    int fd = open(path, mode | O_CLOEXEC, 0666);
    struct stat info;
    struct driver_file *file = fd >= 0 && fstat(fd, &info) == 0 ? memory_zero(1, sizeof *file) : NULL;
    if (file == NULL) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    file->fd = fd;
    file->eof = (haddr_t)info.st_size;
    file->device = info.st_dev;
    file->inode = info.st_ino;
    return &file->common;
}

static herr_t driver_close(H5FD_t *file)
{
    close(of(file)->fd);
    free(of(file));
    return 0;
}

static int driver_compare(const H5FD_t *a, const H5FD_t *b)
{
    const struct driver_file *x = of_const(a), *y = of_const(b);
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

static herr_t driver_handle(H5FD_t *file, hid_t access, void **handle)
{
    (void)access;
    *handle = file;
    return 0;
}

static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t n, void *out)
{
    (void)type;
    (void)transfer;
    if (at > ADDRESS_MAX || n > ADDRESS_MAX - at)
        return -1;
    for (char *p = out; n > 0;) {
        ssize_t got = pread(of(file)->fd, p, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0) { /* behind the end: HDF5 expects zeros */
            memset(p, 0, n);
            break;
        }
        p += got;
        at += (haddr_t)got;
        n -= (size_t)got;
    }
    return 0;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t n,
                           const void *bytes)
{
    (void)type;
    (void)transfer;
    struct driver_file *to = of(file);
    if (at > ADDRESS_MAX || n > ADDRESS_MAX - at)
        return -1;
    for (const char *p = bytes; n > 0 && !to->frozen && to->error == 0;) {
        ssize_t put = pwrite(to->fd, p, n, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            to->error = put < 0 ? errno : EIO;
            break;
        }
        p += put;
        at += (haddr_t)put;
        n -= (size_t)put;
    }
    to->eof = at + n > to->eof ? at + n : to->eof;
    return 0;
}

static herr_t driver_truncate(H5FD_t *file, hid_t transfer, hbool_t closing)
{
    (void)transfer;
    (void)closing;
    struct driver_file *to = of(file);
    if (to->eof != to->eoa && !to->frozen && to->error == 0 && ftruncate(to->fd, (off_t)to->eoa) != 0)
        to->error = errno;
    to->eof = to->eoa;
    return 0;
}

/* A filesystem that has no locks goes without. */
static herr_t driver_lock(H5FD_t *file, hbool_t write)
{
    if (flock(of(file)->fd, (write ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
        return 0;
    return errno == ENOSYS || errno == EOPNOTSUPP || errno == ENOLCK ? 0 : -1;
}

static herr_t driver_unlock(H5FD_t *file)
{
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
    .open = driver_open,
    .close = driver_close,
    .cmp = driver_compare,
    .query = driver_query,
    .get_eoa = driver_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_eof,
    .get_handle = driver_handle,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .lock = driver_lock,
    .unlock = driver_unlock,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

/* Files of HDF5 1.8: groups of a few members and their links take half the bytes of the oldest format's, and
 * no mark "open for writing" stays behind after a crash, as in the formats after it. */
static hid_t access_list(void)
{
    static hid_t access = -1;
    hid_t id = access < 0 ? H5FDregister(&driver) : -1;
    if (id >= 0) {
        access = H5Pcreate(H5P_FILE_ACCESS);
        H5Pset_driver(access, id, NULL);
        H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    }
    return access;
}

hid_t hdf5_open(const char *path, unsigned flags)
{
    hid_t access = access_list();
    return access >= 0 ? H5Fopen(path, flags, access) : -1;
}

hid_t hdf5_make(const char *path)
{
    enum { CHUNKS_HALF_NODE = 4 }; /* most arrays are one chunk: a small node of its index */
    hid_t access = access_list(), create = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_istore_k(create, CHUNKS_HALF_NODE);
    hid_t file = access >= 0 ? H5Fcreate(path, H5F_ACC_EXCL, create, access) : -1;
    H5Pclose(create);
    return file;
}

static struct driver_file *of_id(hid_t id)
{
    void *file = NULL;
    return H5Fget_vfd_handle(id, H5P_DEFAULT, &file) >= 0 ? file : NULL;
}

int hdf5_write_error(hid_t id)
{
    const struct driver_file *file = of_id(id);
    return file ? file->error : EIO;
}

void hdf5_freeze(hid_t id, bool frozen)
{
    struct driver_file *file = of_id(id);
    if (file)
        file->frozen = frozen;
}
