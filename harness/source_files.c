/* Files by their hash, see source_files.h. */
#include "harness/source_files.h"

#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "datasets/mini/suite.h"
#include "harness/folder.h"

/* Whether these files can be read and are the ones; else nothing stays open. What is wrong with files that
 * are not the ones does not matter. */
static bool try_files(struct dataset *out, const char *benchmark, const char *files_sha,
                      const struct benchmark_paths *paths)
{
    struct error ignored;
    *out = (struct dataset){0};
    if (benchmark_read(out, benchmark, paths, &ignored) != OK)
        return false;
    if (strcmp(out->files_sha256, files_sha) == 0)
        return true;
    dataset_close(out);
    return false;
}

static bool try_places(struct dataset *out, const char *benchmark, const char *files_sha,
                       const struct file_places *places)
{
    for (int q = 0; q < places->n_questions; q++)
        for (int a = 0; a <= places->n_annotations; a++) {
            const struct benchmark_paths paths = {
                .questions = places->questions[q],
                .annotations = a < places->n_annotations ? places->annotations[a] : NULL};
            if (try_files(out, benchmark, files_sha, &paths))
                return true;
        }
    for (int r = 0; r < places->n_roots; r++)
        if (try_files(out, benchmark, files_sha, &(struct benchmark_paths){.root = places->roots[r]}))
            return true;
    return false;
}

/* Only the rows are read: the drawn files are not needed after that. */
static enum status try_twin(struct dataset *out, bool *found, const char *benchmark, const char *files_sha,
                            struct error *err)
{
    bool twin = false;
    char *folder, message[512] = "";
    if (benchmark_find(benchmark, &twin) == NULL || !twin || suite_pictures(benchmark) == 0)
        return OK;
    TRY(folder_scratch(&folder, err));
    enum status status = OK;
    if (suite_write(benchmark, folder, 0, suite_pictures(benchmark), message, sizeof message) != 0)
        status = fail(err, NO_MACHINE, "%s", message);
    else
        *found = try_files(out, benchmark, files_sha, &(struct benchmark_paths){.root = folder});
    folder_remove(folder);
    free(folder);
    return status;
}

enum status source_files_open(struct dataset *out, bool *found, const char *benchmark, const char *files_sha,
                              const struct file_places *places, struct error *err)
{
    *found = try_places(out, benchmark, files_sha, places);
    return *found ? OK : try_twin(out, found, benchmark, files_sha, err);
}
