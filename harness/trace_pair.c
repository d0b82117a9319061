/* Two files that change places, see trace_pair.h. */
#include "harness/trace_pair.h"

#include <errno.h>    /* errno */
#include <fcntl.h>    /* open */
#include <stdio.h>    /* rename */
#include <stdlib.h>   /* realpath, free */
#include <string.h>   /* strerror */
#include <sys/file.h> /* flock, which HDF5 locks with */
#include <sys/stat.h> /* fstat */
#include <unistd.h>   /* pread, pwrite, link */

#include "core/memory.h" /* memory_* */

enum { COPY_BYTES = 1 << 20, RANGES_MAX = 1 << 14 };

struct range {
    uint64_t at, n;
};

struct pair {
    struct pair *next;                     /* of those that are open */
    char *path, *hidden_path, *spare_path; /* spare: a name the old file bears while names are exchanged */
    int shown, hidden;                     /* −1: there is none */
    bool writing;                          /* between begin and commit */
    bool lost;             /* something was written outside of that: the writer is to be closed */
    int error;             /* errno of the first write that failed */
    struct range *changed; /* since the hidden file was last like the shown one */
    int n_changed, room_changed;
    bool all_changed; /* more than are listed */
};

static struct pair *open_pairs;

static enum status not_written(struct error *err, const char *path, const char *cause)
{
    return fail(
        err, NO_MACHINE,
        "%s: the trace cannot be written: %s; it holds every sample that was finished before, and the "
        "same command goes on from there",
        path, cause);
}

static enum status open_elsewhere(const char *path, struct error *err)
{
    return fail(
        err, NO_MACHINE,
        "%s: the trace is open elsewhere: another sweep writes it, or a program reads it; wait for it, "
        "or name another store",
        path);
}

/* ---- opening -------------------------------------------------------------------------------- */

/* A filesystem that has no locks goes without. */
static bool lock_file(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
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

static enum status open_shown(struct pair *pair, struct error *err)
{
    struct stat info;
    if (stat(pair->path, &info) != 0)
        return errno == ENOENT
                   ? OK
                   : fail(err, NO_MACHINE, "%s: the trace cannot be opened: %s", pair->path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return fail(err, BAD_INPUT, "%s: is %s, expected a file; name another place for the trace",
                    pair->path, S_ISDIR(info.st_mode) ? "a folder" : "no plain file");
    pair->shown = open(pair->path, O_RDWR | O_CLOEXEC);
    if (pair->shown < 0)
        return fail(err, NO_MACHINE, "%s: the trace cannot be opened for writing: %s", pair->path,
                    strerror(errno));
    return lock_file(pair->shown) ? OK : open_elsewhere(pair->path, err);
}

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

enum status pair_open(struct pair **out, const char *path, struct error *err)
{
    *out = NULL;
    struct pair *pair = memory_zero(1, sizeof *pair);
    if (pair == NULL)
        return memory_failed(err, path, sizeof *pair);
    pair->shown = pair->hidden = -1;
    pair->path = realpath(path, NULL); /* a symbolic link stays one */
    if (pair->path == NULL)
        pair->path = memory_text(path);
    enum status status = OK;
    if (pair->path == NULL || (pair->hidden_path = text_joined(pair->path, ".tmp-next")) == NULL ||
        (pair->spare_path = text_joined(pair->path, ".tmp-spare")) == NULL)
        status = memory_failed(err, path, strlen(path));
    if (status == OK)
        status = open_shown(pair, err);
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
    pair->next = open_pairs;
    open_pairs = pair;
    *out = pair;
    return OK;
}

void pair_close(struct pair *pair)
{
    if (pair == NULL)
        return;
    for (struct pair **at = &open_pairs; *at; at = &(*at)->next)
        if (*at == pair) {
            *at = pair->next;
            break;
        }
    pair_drop(pair);
    if (pair->shown >= 0)
        close(pair->shown);
    free(pair->changed);
    free(pair->path);
    free(pair->hidden_path);
    free(pair->spare_path);
    free(pair);
}

bool pair_is_new(const struct pair *pair)
{
    return pair->shown < 0;
}

static int64_t size_of(int fd)
{
    struct stat info;
    return fd >= 0 && fstat(fd, &info) == 0 ? (int64_t)info.st_size : 0;
}

int64_t pair_bytes(const struct pair *pair)
{
    return size_of(pair->shown);
}

bool pair_has(dev_t device, ino_t inode)
{
    struct stat info;
    for (const struct pair *pair = open_pairs; pair; pair = pair->next)
        if (pair->shown >= 0 && fstat(pair->shown, &info) == 0 && info.st_dev == device &&
            info.st_ino == inode)
            return true;
    return false;
}

/* ---- reading and writing -------------------------------------------------------------------- */

static bool write_all(int fd, const char *bytes, size_t n, uint64_t at)
{
    while (n > 0) {
        ssize_t put = pwrite(fd, bytes, n, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            errno = put < 0 ? errno : EIO;
            return false;
        }
        bytes += put;
        at += (uint64_t)put;
        n -= (size_t)put;
    }
    return true;
}

bool pair_read(struct pair *pair, void *out, size_t n, uint64_t at)
{
    int fd = pair->writing ? pair->hidden : pair->shown;
    for (char *p = out; n > 0;) {
        ssize_t got = pread(fd, p, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0) {
            memset(p, 0, n);
            break;
        }
        p += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return true;
}

static void note_change(struct pair *pair, uint64_t at, uint64_t n)
{
    struct range *last = pair->n_changed > 0 ? &pair->changed[pair->n_changed - 1] : NULL;
    if (last && last->at + last->n == at) {
        last->n += n;
        return;
    }
    if (pair->n_changed == pair->room_changed) {
        int room = pair->room_changed > 0 ? 2 * pair->room_changed : 64;
        struct range *more =
            room <= RANGES_MAX ? memory_grow(pair->changed, (size_t)room, sizeof *more) : NULL;
        if (more == NULL) {
            pair->all_changed = true;
            return;
        }
        pair->changed = more;
        pair->room_changed = room;
    }
    pair->changed[pair->n_changed++] = (struct range){at, n};
}

/* HDF5 writes its header anew as it opens a file, just as it is. */
static bool is_there(struct pair *pair, const void *bytes, size_t n, uint64_t at)
{
    char found[256];
    return n <= sizeof found && pair_read(pair, found, n, at) && memcmp(found, bytes, n) == 0;
}

void pair_write(struct pair *pair, const void *bytes, size_t n, uint64_t at)
{
    if (!pair->writing)
        pair->lost = pair->lost || !is_there(pair, bytes, n, at);
    if (!pair->writing || pair->error != 0)
        return;
    note_change(pair, at, n);
    if (!write_all(pair->hidden, bytes, n, at))
        pair->error = errno;
}

void pair_truncate(struct pair *pair, uint64_t n_bytes)
{
    pair->lost = pair->lost || (!pair->writing && n_bytes != (uint64_t)pair_bytes(pair));
    if (pair->writing && pair->error == 0 && ftruncate(pair->hidden, (off_t)n_bytes) != 0)
        pair->error = errno;
}

/* ---- begin ---------------------------------------------------------------------------------- */

static bool copy_range(struct pair *pair, char *buffer, uint64_t at, uint64_t end)
{
    while (at < end) {
        size_t n = end - at < COPY_BYTES ? (size_t)(end - at) : COPY_BYTES;
        if (!pair_read(pair, buffer, n, at) || !write_all(pair->hidden, buffer, n, at))
            return false;
        at += n;
    }
    return true;
}

/* What was changed is copied, as far as the file reaches. */
static bool catch_up(struct pair *pair)
{
    uint64_t size = (uint64_t)pair_bytes(pair);
    char *buffer = memory_alloc(COPY_BYTES, 1);
    bool ok = buffer != NULL;
    if (!ok)
        errno = ENOMEM;
    if (pair->all_changed)
        ok = ok && copy_range(pair, buffer, 0, size);
    for (int i = 0; !pair->all_changed && i < pair->n_changed && ok; i++) {
        const struct range *range = &pair->changed[i];
        uint64_t end = range->at + range->n;
        ok = copy_range(pair, buffer, range->at, end < size ? end : size);
    }
    ok = ok && ftruncate(pair->hidden, (off_t)size) == 0;
    int error = errno;
    free(buffer);
    errno = error;
    return ok;
}

/* The hidden file, empty. A lock on one that is there is another process's, which makes the file just now. */
static bool make_hidden(struct pair *pair, bool *elsewhere)
{
    struct stat info = {.st_mode = 0666};
    int left = open(pair->hidden_path, O_RDONLY | O_CLOEXEC);
    *elsewhere = (left >= 0 && !lock_file(left)) || (pair->shown < 0 && access(pair->path, F_OK) == 0);
    if (left >= 0)
        close(left);
    if (*elsewhere)
        return false;
    unlink(pair->hidden_path);
    if (pair->shown >= 0)
        (void)fstat(pair->shown, &info);
    pair->hidden = open(pair->hidden_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, info.st_mode & 0777);
    pair->all_changed = true;
    return pair->hidden >= 0 && lock_file(pair->hidden);
}

enum status pair_begin(struct pair *pair, struct error *err)
{
    bool elsewhere = false, ok = true;
    if (pair->lost)
        return pair_failed(pair, "its writer was closed in between", err);
    pair->error = 0;
    if (pair->hidden < 0)
        ok = make_hidden(pair, &elsewhere);
    if (elsewhere)
        return open_elsewhere(pair->path, err);
    if (!ok || (pair->shown >= 0 && !catch_up(pair))) {
        pair->error = errno;
        return pair_failed(pair, "", err);
    }
    pair->n_changed = 0;
    pair->all_changed = false;
    pair->writing = true;
    return OK;
}

/* ---- commit --------------------------------------------------------------------------------- */

void pair_drop(struct pair *pair)
{
    if (pair->hidden >= 0) {
        close(pair->hidden);
        unlink(pair->hidden_path);
    }
    pair->hidden = -1;
    pair->writing = pair->lost = false;
}

enum status pair_failed(struct pair *pair, const char *cause, struct error *err)
{
    pair_drop(pair);
    return not_written(err, pair->path, pair->error != 0 ? strerror(pair->error) : cause);
}

/* The hidden file takes the name; the other one takes the hidden one's, where the filesystem has hard links.
 */
enum status pair_commit(struct pair *pair, int64_t limit, bool *too_big, struct error *err)
{
    *too_big = limit > 0 && size_of(pair->hidden) > limit;
    if (pair->error != 0)
        return pair_failed(pair, "", err);
    if (*too_big) {
        pair_drop(pair);
        return OK;
    }
    unlink(pair->spare_path);
    bool kept = pair->shown >= 0 && link(pair->path, pair->spare_path) == 0;
    if (rename(pair->hidden_path, pair->path) != 0) {
        pair->error = errno;
        unlink(pair->spare_path);
        return pair_failed(pair, "", err);
    }
    int old = pair->shown;
    pair->shown = pair->hidden;
    pair->hidden = old;
    pair->writing = false;
    if (!kept || rename(pair->spare_path, pair->hidden_path) != 0) { /* the next begin makes one */
        if (old >= 0)
            close(old);
        unlink(pair->spare_path);
        pair->hidden = -1;
    }
    return OK;
}
