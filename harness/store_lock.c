/* The lock of a store's one writer, see store_lock.h. */
#include "harness/store_lock.h"

#include <errno.h>    /* errno */
#include <stdio.h>    /* snprintf */
#include <stdlib.h>   /* realpath */
#include <string.h>   /* strerror */
#include <sys/stat.h> /* stat */

enum { PATH_SIZE = 4096 }; /* realpath writes up to that */

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

enum status store_lock(struct lock **out, const char *path, struct error *err)
{
    struct stat info;
    char name[PATH_SIZE], holder[LOCK_HOLDER] = "";
    *out = NULL;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return fail(err, BAD_INPUT, "%s: is %s, expected the file of a store; name another path", path,
                    S_ISDIR(info.st_mode) ? "a folder" : "no regular file");
    TRY(name_of(name, path, err));
    if (lock_try(out, holder, name, err) != OK)
        return fail_within(err, "%s: the store cannot be written", path);
    if (*out)
        return OK;
    return fail(err, NO_MACHINE,
                "%s: another winnow%s writes to this store; wait until it has ended (winnow status shows how "
                "far it is), or name a store of its own with --store and join the two with winnow merge",
                path, holder);
}
