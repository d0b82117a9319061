/* A lock among processes, see lock.h. */
#include "harness/lock.h"

#include <errno.h>    /* EWOULDBLOCK */
#include <fcntl.h>    /* open */
#include <stdbool.h>  /* bool */
#include <stdio.h>    /* snprintf */
#include <stdlib.h>   /* free */
#include <string.h>   /* strerror */
#include <sys/file.h> /* flock */
#include <sys/stat.h> /* fstat */
#include <unistd.h>   /* gethostname */

#include "core/memory.h"

enum { TEXT_SIZE = 128, TRIES = 1000 };

struct lock {
    int file;
    char *name;
};

static enum status lock_failed(const char *name, struct error *err)
{
    int code = errno;
    const char *what =
        code == EROFS || code == EACCES || code == EPERM ? "; make the folder writable, or choose another"
        : code == ENOSPC || code == EDQUOT ? "; make room on the disk and give the same command again"
        : code == ENOLCK || code == ENOSYS || code == EOPNOTSUPP
            ? "; the file system takes no locks, choose a folder on another disk"
            : "";
    return fail(err, NO_MACHINE, "%s: cannot be locked: %s%s", name, strerror(code), what);
}

static void read_holder(char holder[LOCK_HOLDER], int file)
{
    char text[TEXT_SIZE], host[TEXT_SIZE];
    long pid;
    ssize_t n = pread(file, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    holder[0] = 0;
    if (sscanf(text, "%ld %100s", &pid, host) == 2)
        snprintf(holder, LOCK_HOLDER, " (process %ld on %s)", pid, host);
}

/* Neither: another process holds it. *gone: its last holder removed the file between our opening and locking
 * it. */
static enum status lock_once(bool *taken, bool *gone, char holder[LOCK_HOLDER], struct lock *lock,
                             struct error *err)
{
    struct stat ours, there;
    *taken = *gone = false;
    lock->file = open(lock->name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock->file < 0)
        return lock_failed(lock->name, err);
    enum status status = OK;
    if (flock(lock->file, LOCK_EX | LOCK_NB) == 0) {
        *taken = fstat(lock->file, &ours) == 0 && stat(lock->name, &there) == 0 &&
                 ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
        *gone = !*taken;
    } else if (errno == EWOULDBLOCK) {
        read_holder(holder, lock->file);
    } else {
        *gone = errno == EINTR;
        status = *gone ? OK : lock_failed(lock->name, err);
    }
    if (!*taken)
        close(lock->file);
    return status;
}

/* A full disk may keep this from being written; the lock holds all the same. */
static void sign(const struct lock *lock)
{
    char text[TEXT_SIZE], host[TEXT_SIZE / 2] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == 0)
        snprintf(host, sizeof host, "?");
    int n = snprintf(text, sizeof text, "%ld %s\n", (long)getpid(), host);
    if (ftruncate(lock->file, 0) == 0 && pwrite(lock->file, text, (size_t)n, 0) != n)
        (void)!ftruncate(lock->file, 0);
}

enum status lock_try(struct lock **out, char holder[LOCK_HOLDER], const char *name, struct error *err)
{
    *out = NULL;
    struct lock *lock = memory_zero(1, sizeof *lock);
    if (lock == NULL || (lock->name = memory_text(name)) == NULL) {
        free(lock);
        return memory_failed(err, name, sizeof *lock);
    }
    bool taken = false, gone = true;
    enum status status = OK;
    for (int i = 0; i < TRIES && status == OK && gone; i++)
        status = lock_once(&taken, &gone, holder, lock, err);
    if (status == OK && gone)
        status = fail(err, NO_MACHINE, "%s: comes and goes; give the same command again", name);
    if (taken) {
        sign(lock);
        *out = lock;
    } else {
        free(lock->name);
        free(lock);
    }
    return status;
}

void lock_give(struct lock *lock)
{
    if (lock == NULL)
        return;
    unlink(lock->name); /* before it is free: who opened it meanwhile sees that it is gone and tries anew */
    close(lock->file);
    free(lock->name);
    free(lock);
}
