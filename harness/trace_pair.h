/* A file that goes from one state to the next at once, whatever happens in between.
 *
 *     struct pair *pair;
 *     TRY(pair_open(&pair, path, &err));
 *     TRY(pair_begin(pair, &err));          // from here on, writes reach the hidden file
 *     pair_write(pair, bytes, n, at);
 *     TRY(pair_commit(pair, limit, &too_big, &err)); // or pair_drop(pair): as if nothing had been begun
 *     pair_close(pair);
 *
 * There are two files of the same content: the shown one bears the name and is not written, the hidden one,
 * PATH.tmp-next, is; a commit exchanges their names. A change of HDF5's is many writes, a rename is one step:
 * at every moment the name stands for a whole file, that of the last commit. So it is when the process is
 * killed, the disk is full or a write fails; not when the machine loses its power, as nothing is forced to
 * the disk. The price: while it is being written, a file takes its place twice, and the bytes that a commit
 * changed are copied to the other file at the next begin. The first begin copies all of it.
 *
 * One thread at a time is in here, whatever the pair: between hdf5_enter and hdf5_leave.
 *
 * A failing write is remembered, not reported: HDF5 1.10 never closes a file of which a write has failed, and
 * may crash at exit. Whoever writes learns of it from pair_commit.
 */
#ifndef WINNOW_HARNESS_TRACE_PAIR_H
#define WINNOW_HARNESS_TRACE_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h> /* dev_t */

#include "core/error.h"

struct pair;

/* Opens a file and locks it as HDF5 does; one that is not there is made by the first commit. A folder and the
 * like are BAD_INPUT, a file that is open elsewhere or may not be written NO_MACHINE. */
enum status pair_open(struct pair **out, const char *path, struct error *err);
void pair_close(struct pair *pair); /* NULL is closed already */

bool pair_is_new(const struct pair *pair);   /* nothing was committed yet */
int64_t pair_bytes(const struct pair *pair); /* of the shown file */
/* Whether a file is the shown one of a pair that is open in this process. */
bool pair_has(dev_t device, ino_t inode);

enum status pair_begin(struct pair *pair, struct error *err);
/* *too_big: it would have more than `limit` bytes (0: no limit), and was dropped instead. So it is on errors.
 */
enum status pair_commit(struct pair *pair, int64_t limit, bool *too_big, struct error *err);
void pair_drop(struct pair *pair);
/* Drops, and says that a write failed, or else `cause`. */
enum status pair_failed(struct pair *pair, const char *cause, struct error *err);

/* What is behind the end reads as zeros. Between a begin and its commit, of the hidden file, else of the
 * shown one, and writes are dropped. */
bool pair_read(struct pair *pair, void *out, size_t n, uint64_t at);
void pair_write(struct pair *pair, const void *bytes, size_t n, uint64_t at);
void pair_truncate(struct pair *pair, uint64_t n_bytes);

#endif
