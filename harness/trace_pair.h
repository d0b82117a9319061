/* A file of HDF5 that goes from one good state to the next at once, whatever happens in between.
 *
 *     struct pair *pair;
 *     TRY(pair_open(&pair, path, &err));            // between hdf5_enter and hdf5_leave, as all of this
 *     hid_t file; bool behind;
 *     TRY(pair_begin(&file, &behind, pair, &err));  // the hidden file; behind: it lacks the last commit's
 *     ...write into `file`...                       //   writes, which are made again first
 *     TRY(pair_commit(pair, limit, &big, &err));    // or pair_drop(pair): as if nothing had been begun
 *     pair_close(pair);
 *
 * There are two files of the same content: one bears the name and is not written, the other, PATH.tmp-next, is;
 * a commit flushes it and exchanges their names. HDF5's changes are not atomic, a rename is: at every
 * moment the name stands for a whole file, that of the last commit, which every reader of HDF5 opens. That
 * holds when the process is killed, the disk is full or a write fails. It does not hold when the machine
 * loses its power: nothing is forced to the disk. The price: while it is being written, the file takes its
 * place twice, and each write is made twice (the second time after the next begin).
 */
#ifndef WINNOW_HARNESS_TRACE_PAIR_H
#define WINNOW_HARNESS_TRACE_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include <hdf5.h>

#include "core/error.h"

struct pair;

/* A file that is not there is made by the first commit. BAD_INPUT and *damaged: HDF5's own, but it cannot be
 * opened; a file that is no file of HDF5's is BAD_INPUT, one that is open elsewhere or may not be written
 * NO_MACHINE. */
enum status pair_open(struct pair **out, const char *path, bool *damaged, struct error *err);
void pair_close(struct pair *pair); /* NULL is closed already */

/* The file as it was last committed, to be read only; −1 before the first commit. */
hid_t pair_shown(const struct pair *pair);
int64_t pair_bytes(const struct pair *pair); /* its size */

enum status pair_begin(hid_t *file, bool *behind, struct pair *pair, struct error *err);
/* *too_big: it would have more than `limit` bytes (0: no limit), and was dropped instead. */
enum status pair_commit(struct pair *pair, int64_t limit, bool *too_big, struct error *err);
void pair_drop(struct pair *pair);
/* Drops, and says why: a write that failed, or what HDF5 says. */
enum status pair_failed(struct pair *pair, struct error *err);

#endif
