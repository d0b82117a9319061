/* Which samples of a benchmark a cell asks, in which order, and which picture each is shown. All of it is by
 * hash or counter, so that it is the same on every machine, and a larger limit only adds samples.
 *
 *   order   scoring groups ascend by SHA-256 of the bytes NAME 0x00 GROUP, NAME the benchmark as asked for
 *   split   first byte of SHA-256 of the cluster even: tune, odd: confirm
 *   limit   whole groups of the split in that order, up to the first that does not fit
 *   shard   of those, the rows of every n_shards-th cluster, clusters counted in the order in which they
 * first appear: shards differ by one cluster at most, and a larger limit moves no row to another shard
 */
#ifndef WINNOW_CHOOSE_H
#define WINNOW_CHOOSE_H

#include "datasets/benchmark.h"
#include "harness/sweep_file.h" /* enum split */

struct choice {
    enum split split;
    int limit;           /* 0: none */
    int shard, n_shards; /* shard 1 ... n_shards; n_shards 0 or 1: all */
};

/* Rows in the order above. The caller frees *rows. */
enum status choose_samples(int **rows, int *n, const struct dataset *dataset, const struct choice *choice,
                           struct error *err);

/* A picture for each row that is not its own: a derangement of the dataset's distinct pictures. The caller
 * frees *row, which gives for each row one whose picture it is shown, or -1 for a row without picture. */
enum status choose_mismatched(int **row, const struct dataset *dataset, uint64_t seed, struct error *err);

#endif
