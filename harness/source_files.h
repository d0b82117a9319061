/* The files behind a store's sources: a store holds questions and answers, but a headline, its interval and a
 * comparison are functions of the benchmark's own rows. They are known again by their hash, wherever they
 * lie.
 */
#ifndef WINNOW_SOURCE_FILES_H
#define WINNOW_SOURCE_FILES_H

#include <stdbool.h>

#include "core/error.h"
#include "datasets/benchmark.h"

/* Where to look, in this order: the question files with each of the annotations and without, then the trees.
 */
struct file_places {
    const char *const *questions, *const *annotations, *const *roots;
    int n_questions, n_annotations, n_roots;
};

/* The benchmark's files whose rows hash to files_sha; a generated twin that lies nowhere is drawn anew, for
 * that always gives the same. *found is false where there are none. The caller dataset_close's what is found.
 */
enum status source_files_open(struct dataset *out, bool *found, const char *benchmark, const char *files_sha,
                              const struct file_places *places, struct error *err);

#endif
