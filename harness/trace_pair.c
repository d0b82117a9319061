/* Two files that change places, see trace_pair.h. */
#include "harness/trace_pair.h"

#include <errno.h>    /* errno */
#include <fcntl.h>    /* open */
#include <stdio.h>    /* rename */
#include <stdlib.h>   /* realpath, free */
#include <string.h>   /* strerror */
#include <sys/file.h> /* flock, which HDF5 locks with */
#include <sys/stat.h> /* stat */
#include <unistd.h>   /* link, unlink */

#include "core/memory.h"         /* memory_* */
#include "harness/hdf5_driver.h" /* hdf5_open */
#include "harness/hdf5_file.h"   /* hdf5_cause */

struct pair {
    char *path, *hidden_path, *spare_path; /* spare: a name the old file bears while names are exchanged */
    hid_t shown, hidden;                   /* −1: not open */
};

static enum status not_written(struct error *err, const char *path, const char *cause)
{
    return fail(
        err, NO_MACHINE,
        "%s: the trace cannot be written: %s; it holds every sample that was finished before, and the "
        "same command goes on from there",
        path, cause);
}

/* ---- opening -------------------------------------------------------------------------------- */

static char *text_joined(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b) + 1;
    char *out = memory_alloc(n + m, 1);
    if (out != NULL) {
        memcpy(out, a, n);
        memcpy(out + n, b, m);
    }
    return out;
}

/* Whether new files can be made next to `path`, which names take turns for. */
static enum status check_folder(const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = memory_text(slash ? path : ".");
    if (folder == NULL)
        return memory_failed(err, path, strlen(path));
    if (slash)
        folder[slash == path ? 1 : slash - path] = 0;
    enum status status = OK;
    if (access(folder, W_OK | X_OK) != 0)
        status = fail(err, NO_MACHINE, "%s: no trace can be made in the folder %s: %s; name another place",
                      path, folder, strerror(errno));
    free(folder);
    return status;
}

/* Somebody holds HDF5's lock on a file. */
static bool is_locked(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return locked;
}

static enum status open_elsewhere(const char *path, struct error *err)
{
    return fail(
        err, NO_MACHINE,
        "%s: the trace is open elsewhere: another sweep writes it, or a program reads it; wait for it, "
        "or name another store",
        path);
}

/* Why HDF5 did not open a file that is there. */
static enum status not_opened(const char *path, bool *damaged, struct error *err)
{
    if (access(path, R_OK | W_OK) != 0)
        return fail(err, NO_MACHINE, "%s: the trace cannot be opened for writing: %s", path, strerror(errno));
    if (is_locked(path))
        return open_elsewhere(path, err);
    if (H5Fis_hdf5(path) <= 0)
        return fail(err, BAD_INPUT, "%s: no HDF5 file; name another file for the trace", path);
    *damaged = true;
    return fail(err, BAD_INPUT, "%s: the trace is damaged; name another file", path);
}

static enum status open_shown(struct pair *pair, bool *damaged, struct error *err)
{
    struct stat info;
    if (stat(pair->path, &info) != 0)
        return errno == ENOENT
                   ? OK
                   : fail(err, NO_MACHINE, "%s: the trace cannot be opened: %s", pair->path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return fail(err, BAD_INPUT, "%s: is %s, expected a file; name another place for the trace",
                    pair->path, S_ISDIR(info.st_mode) ? "a folder" : "no plain file");
    pair->shown = hdf5_open(pair->path, H5F_ACC_RDWR);
    hid_t root = pair->shown >= 0 ? H5Gopen2(pair->shown, "/", H5P_DEFAULT) : -1;
    H5G_info_t members;
    bool good = root >= 0 && H5Gget_info(root, &members) >= 0;
    if (root >= 0)
        H5Gclose(root);
    if (pair->shown >= 0)
        hdf5_freeze(pair->shown, true);
    return good ? OK : not_opened(pair->path, damaged, err);
}

enum status pair_open(struct pair **out, const char *path, bool *damaged, struct error *err)
{
    *out = NULL;
    *damaged = false;
    struct pair *pair = memory_zero(1, sizeof *pair);
    if (pair == NULL)
        return memory_failed(err, path, sizeof *pair);
    pair->shown = pair->hidden = -1;
    pair->path = realpath(path, NULL); /* a link stays one */
    if (pair->path == NULL)
        pair->path = memory_text(path);
    enum status status = OK;
    if (pair->path == NULL || (pair->hidden_path = text_joined(pair->path, ".tmp-next")) == NULL ||
        (pair->spare_path = text_joined(pair->path, ".tmp-spare")) == NULL)
        status = memory_failed(err, path, strlen(path));
    if (status == OK)
        status = open_shown(pair, damaged, err);
    if (status == OK)
        status = check_folder(pair->path, err);
    if (status == OK && pair->shown >= 0) { /* it is ours now: what a killed process left goes */
        unlink(pair->hidden_path);
        unlink(pair->spare_path);
    }
    if (status != OK) {
        pair_close(pair);
        return status;
    }
    *out = pair;
    return OK;
}

/* What HDF5 still wants to write stays unwritten. */
static void close_frozen(hid_t *file)
{
    if (*file < 0)
        return;
    hdf5_freeze(*file, true);
    H5Fclose(*file);
    *file = -1;
}

void pair_close(struct pair *pair)
{
    if (pair == NULL)
        return;
    pair_drop(pair);
    close_frozen(&pair->shown);
    free(pair->path);
    free(pair->hidden_path);
    free(pair->spare_path);
    free(pair);
}

hid_t pair_shown(const struct pair *pair)
{
    return pair->shown;
}

static int64_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_size : 0;
}

int64_t pair_bytes(const struct pair *pair)
{
    return pair->shown >= 0 ? size_of(pair->path) : 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool copy_bytes(int to, int from)
{
    enum { COPY_BYTES = 1 << 20 };
    char *buffer = memory_alloc(COPY_BYTES, 1);
    ssize_t got = buffer ? 1 : -1;
    while (got > 0) {
        got = read(from, buffer, COPY_BYTES);
        for (ssize_t done = 0; done < got;) {
            ssize_t put = write(to, buffer + done, (size_t)(got - done));
            if (put <= 0) {
                got = -1;
                break;
            }
            done += put;
        }
    }
    free(buffer);
    return got == 0;
}

static bool copy_file(const char *to_path, const char *from_path)
{
    struct stat info;
    int from = open(from_path, O_RDONLY | O_CLOEXEC);
    int to = from >= 0 && fstat(from, &info) == 0
                 ? open(to_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, info.st_mode & 0777)
                 : -1;
    bool ok = to >= 0 && copy_bytes(to, from);
    int error = errno;
    if (from >= 0)
        close(from);
    if (to >= 0 && close(to) != 0 && ok) {
        error = errno;
        ok = false;
    }
    errno = error;
    return ok;
}

enum status pair_begin(hid_t *file, bool *behind, struct pair *pair, struct error *err)
{
    *behind = pair->hidden >= 0;
    if (*behind) {
        hdf5_freeze(pair->hidden, false);
    } else if (pair->shown < 0) {
        if (is_locked(pair->hidden_path) || access(pair->path, F_OK) == 0)
            return open_elsewhere(pair->path, err); /* another one makes it at this moment */
        unlink(pair->hidden_path);                  /* of a killed process */
        pair->hidden = hdf5_make(pair->hidden_path);
    } else if (copy_file(pair->hidden_path, pair->path)) {
        pair->hidden = hdf5_open(pair->hidden_path, H5F_ACC_RDWR);
    } else {
        int error = errno;
        unlink(pair->hidden_path);
        return not_written(err, pair->path, strerror(error));
    }
    *file = pair->hidden;
    return *file >= 0 ? OK : pair_failed(pair, err);
}

void pair_drop(struct pair *pair)
{
    if (pair->hidden < 0)
        return;
    close_frozen(&pair->hidden);
    unlink(pair->hidden_path);
}

enum status pair_failed(struct pair *pair, struct error *err)
{
    char cause[200];
    int error = pair->hidden >= 0 ? hdf5_write_error(pair->hidden) : 0;
    if (error != 0)
        snprintf(cause, sizeof cause, "%s", strerror(error));
    else
        hdf5_cause(cause, sizeof cause);
    pair_drop(pair);
    return not_written(err, pair->path, cause);
}

/* The hidden file takes the name; the other takes the hidden one's, where the filesystem has hard links. */
static enum status exchange(struct pair *pair, struct error *err)
{
    unlink(pair->spare_path);
    bool kept = pair->shown >= 0 && link(pair->path, pair->spare_path) == 0;
    if (rename(pair->hidden_path, pair->path) != 0) {
        int error = errno;
        unlink(pair->spare_path);
        pair_drop(pair);
        return not_written(err, pair->path, strerror(error));
    }
    hid_t old = pair->shown;
    pair->shown = pair->hidden;
    pair->hidden = old;
    hdf5_freeze(pair->shown, true);
    if (!kept || rename(pair->spare_path, pair->hidden_path) != 0) {
        close_frozen(&pair->hidden); /* the next begin copies */
        unlink(pair->spare_path);
    }
    return OK;
}

enum status pair_commit(struct pair *pair, int64_t limit, bool *too_big, struct error *err)
{
    *too_big = false;
    if (H5Fflush(pair->hidden, H5F_SCOPE_LOCAL) < 0 || hdf5_write_error(pair->hidden) != 0)
        return pair_failed(pair, err);
    if (limit > 0 && size_of(pair->hidden_path) > limit) {
        *too_big = true;
        pair_drop(pair);
        return OK;
    }
    return exchange(pair, err);
}
