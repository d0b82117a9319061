/* Folders, see folder.h. */
#include "harness/folder.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"

enum { PATH_SIZE = 4096 };

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

enum status folder_scratch(char **path, struct error *err)
{
    char name[PATH_SIZE];
    const char *folder = getenv("TMPDIR");
    if (snprintf(name, sizeof name, "%s/winnow-XXXXXX", folder ? folder : "/tmp") >= PATH_SIZE)
        return fail(err, BAD_INPUT, "TMPDIR: the path is longer than %d bytes", PATH_SIZE);
    if (mkdtemp(name) == NULL)
        return fail(err, NO_MACHINE,
                    "%s: the folder cannot be made: %s; set TMPDIR to one that can be written", name,
                    strerror(errno));
    *path = memory_text(name);
    if (*path)
        return OK;
    folder_remove(name);
    return memory_failed(err, "a path", sizeof name);
}

void folder_remove(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
