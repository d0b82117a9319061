/* The built-in grids: the sweep files of harness/grids, by name. The first line of each is a comment that
 * says what it is for. */
#ifndef WINNOW_BUILTIN_H
#define WINNOW_BUILTIN_H

#include <stddef.h>

#include "core/error.h"

enum { BUILTIN_MAX = 64, BUILTIN_NAME = 64 };

/* Their names, sorted; how many. */
int builtin_names(char names[BUILTIN_MAX][BUILTIN_NAME]);
/* Its file; the text is static. */
const char *builtin_path(const char *name);

struct builtin {
    char title[200];
    int n_cells;
    long long n_samples;    /* of all cells together, at most; -1: whole benchmarks, however many that is */
    char benchmarks[600];   /* "gqa, pope" */
    char without_data[600]; /* what is asked where no data folder is given */
};
/* What a sweep of the name comes to without a data folder. */
enum status builtin_describe(struct builtin *out, const char *name, struct error *err);

#endif
