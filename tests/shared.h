/* Where tests find what is not part of the repository: golden cases, pictures, vectors.
 *
 *     char path[SHARED_PATH];
 *     if (shared_path(path, sizeof path, "golden/hostile") == NULL)
 *         shared_skip("golden/hostile");
 */
#ifndef WINNOW_TESTS_SHARED_H
#define WINNOW_TESTS_SHARED_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef WINNOW_SHARED_DIR
#define WINNOW_SHARED_DIR "../shared"
#endif

#define SHARED_PATH 4096

/* The path of a file or folder under the environment's WINNOW_SHARED, else under WINNOW_SHARED_DIR; NULL
 * where it does not exist. Returns buffer. */
static inline const char *shared_path(char *buffer, size_t size, const char *relative)
{
    const char *root = getenv("WINNOW_SHARED");
    int n = snprintf(buffer, size, "%s/%s", root != NULL ? root : WINNOW_SHARED_DIR, relative);
    return n > 0 && (size_t)n < size && access(buffer, R_OK) == 0 ? buffer : NULL;
}

/* Ends a cmocka test as skipped and says why; include cmocka.h first. */
#define shared_skip(relative)                                                                                \
    do {                                                                                                     \
        printf("skipped: %s is not here (set WINNOW_SHARED)\n", relative);                                   \
        skip();                                                                                              \
    } while (0)

#endif
