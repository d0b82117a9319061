/* One table of op × shape × tolerance, run by `winnow ops` and by tests/test_ops.c. */
#ifndef WINNOW_OPS_CHECK_H
#define WINNOW_OPS_CHECK_H

#include <stdbool.h>
#include <stdio.h>

#include "ops.h"

/* Runs every row of the table whose op matches the extended regular expression `filter` (NULL: all) on `ops`
 * against the reference: values within the row's tolerance, indices equal, multiply-accumulates as the
 * formula says. With perf it also times them, and large shapes that are not compared, and prints GFLOP/s and
 * GB/s. Returns the number of mismatches, −1 where the filter matches nothing; out may be NULL. */
int ops_check(const struct ops *ops, int n_threads, bool perf, const char *filter, FILE *out);

#endif
