/* The lock of a store's one writer, see store_lock.h. */
#include "harness/store_lock.h"

#include <errno.h>    /* EWOULDBLOCK */
#include <fcntl.h>    /* open */
#include <stdbool.h>  /* bool */
#include <stdio.h>    /* snprintf */
#include <stdlib.h>   /* realpath */
#include <string.h>   /* strerror */
#include <sys/file.h> /* flock */
#include <sys/stat.h> /* fstat */
#include <unistd.h>   /* gethostname */

#include "core/memory.h"

enum { PATH_SIZE = 4096, HOLDER_SIZE = 128, TRIES = 1000 }; /* PATH_SIZE: realpath writes up to that */

struct store_lock {
    int file;
    char name[PATH_SIZE];
};

/* The file beside the store itself, whatever link leads there; a store that is not there yet is the one that
 * will be made in its folder. */
static enum status name_of(char name[PATH_SIZE], const char *path, struct error *err)
{
    char resolved[PATH_SIZE];
    int n;
    if (realpath(path, resolved)) {
        n = snprintf(name, PATH_SIZE, "%s.lock", resolved);
    } else {
        const char *slash = strrchr(path, '/');
        char folder[PATH_SIZE];
        int length = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);
        n = snprintf(folder, sizeof folder, "%.*s", length, slash ? path : ".");
        if (n < 0 || n >= PATH_SIZE || realpath(folder, resolved) == NULL)
            return fail(err, NO_MACHINE,
                        "%s: its folder %.900s cannot be used: %s; make it, or name another store", path,
                        folder, strerror(errno));
        n = snprintf(name, PATH_SIZE, "%s/%s.lock", strcmp(resolved, "/") == 0 ? "" : resolved,
                     slash ? slash + 1 : path);
    }
    return n > 0 && n < PATH_SIZE ? OK : fail(err, BAD_INPUT, "%.200s...: the path is too long", path);
}

static enum status refuse(const char *path, int file, struct error *err)
{
    char holder[HOLDER_SIZE] = "", by[HOLDER_SIZE + 32] = "";
    long pid;
    char host[HOLDER_SIZE];
    ssize_t n = pread(file, holder, sizeof holder - 1, 0);
    holder[n > 0 ? n : 0] = 0;
    if (sscanf(holder, "%ld %100s", &pid, host) == 2) /* it may not have come to write it yet */
        snprintf(by, sizeof by, " (process %ld on %s)", pid, host);
    return fail(err, NO_MACHINE,
                "%s: another winnow%s writes to this store; wait until it has ended (winnow status shows how "
                "far it is), or name a store of its own with --store and join the two with winnow merge",
                path, by);
}

static enum status lock_failed(const char *path, const char *name, struct error *err)
{
    int code = errno;
    const char *what = code == EROFS || code == EACCES || code == EPERM
                           ? "; make the folder writable, or name a store elsewhere"
                       : code == ENOSPC || code == EDQUOT
                           ? "; make room on the disk and give the same command again"
                       : code == ENOLCK || code == ENOSYS || code == EOPNOTSUPP
                           ? "; the file system takes no locks, name a store on another disk"
                           : "";
    return fail(err, NO_MACHINE, "%s: cannot be written, for its lock %s cannot be taken: %s%s", path, name,
                strerror(code), what);
}

/* *taken is false where the file was removed by its last holder between our opening and locking it. */
static enum status try_once(bool *taken, struct store_lock *lock, const char *path, struct error *err)
{
    struct stat ours, there;
    *taken = false;
    lock->file = open(lock->name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock->file < 0)
        return lock_failed(path, lock->name, err);
    int code;
    while ((code = flock(lock->file, LOCK_EX | LOCK_NB)) != 0 && errno == EINTR)
        ;
    enum status status = OK;
    if (code != 0)
        status = errno == EWOULDBLOCK ? refuse(path, lock->file, err) : lock_failed(path, lock->name, err);
    else
        *taken = fstat(lock->file, &ours) == 0 && stat(lock->name, &there) == 0 &&
                 ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
    if (!*taken)
        close(lock->file);
    return status;
}

/* A full disk may keep this from being written; the lock holds all the same. */
static void sign(const struct store_lock *lock)
{
    char text[HOLDER_SIZE], host[HOLDER_SIZE / 2] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == 0)
        snprintf(host, sizeof host, "?");
    int n = snprintf(text, sizeof text, "%ld %s\n", (long)getpid(), host);
    if (ftruncate(lock->file, 0) == 0 && pwrite(lock->file, text, (size_t)n, 0) != n)
        (void)!ftruncate(lock->file, 0);
}

enum status store_lock_take(struct store_lock **out, const char *path, struct error *err)
{
    struct stat info;
    *out = NULL;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return fail(err, BAD_INPUT, "%s: is %s, expected the file of a store; name another path", path,
                    S_ISDIR(info.st_mode) ? "a folder" : "no regular file");
    struct store_lock *lock = memory_zero(1, sizeof *lock);
    if (lock == NULL)
        return memory_failed(err, path, sizeof *lock);
    bool taken = false;
    enum status status = name_of(lock->name, path, err);
    for (int i = 0; i < TRIES && status == OK && !taken; i++)
        status = try_once(&taken, lock, path, err);
    if (status == OK && !taken)
        status = fail(err, NO_MACHINE, "%s: its lock %s comes and goes; give the same command again", path,
                      lock->name);
    if (status != OK) {
        free(lock);
        return status;
    }
    sign(lock);
    *out = lock;
    return OK;
}

void store_lock_give(struct store_lock *lock)
{
    if (lock == NULL)
        return;
    unlink(lock->name); /* before it is free: who opened it meanwhile sees that it is gone and tries anew */
    close(lock->file);
    free(lock);
}
