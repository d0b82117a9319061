/* What all users of HDF5 share: one thread in it at a time, and reading of files that come from elsewhere.
 *
 * A file is foreign: only hard links are followed, datasets with storage outside the file or mapped from
 * elsewhere are refused, and each shape is compared with a limit before memory is asked for.
 */
#ifndef WINNOW_HARNESS_HDF5_FILE_H
#define WINNOW_HARNESS_HDF5_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include <hdf5.h>

#include "core/error.h"

/* Around all calls of HDF5 where several threads use it, these functions too. Inside, HDF5 prints nothing of
 * its own. */
void hdf5_enter(void);
void hdf5_leave(void);
/* What HDF5 says of the call that failed last: its innermost reason. Before the next call. */
void hdf5_cause(char *out, size_t size);

/* Whether `name` in `at` is an object of this file (no soft or external link). */
bool hdf5_has(hid_t at, const char *name);
/* Opens a path from the root of the file of `at`, link by link. −1 where it ends before. */
hid_t hdf5_group(hid_t at, const char *const *path, int n);

/* Opens a dataset whose bytes lie in this file, with its space; the caller closes both. */
enum status hdf5_dataset(hid_t *out, hid_t *space, hid_t at, const char *name, struct error *err);
/* All of a dataset of `rank` dimensions whose values are of the class of `memory_type`, integers or floats.
 * *out is owned by the caller, never NULL; at most `limit` values. */
enum status hdf5_array(void **out, hsize_t *shape, hid_t at, const char *name, int rank, hid_t memory_type,
                       size_t limit, struct error *err);

/* One string of up to 64 KiB, of a dataset or an attribute; "" where there is no such string. The caller
 * frees; NULL when memory runs out. */
char *hdf5_text(hid_t object, bool is_attribute);
char *hdf5_text_attribute(hid_t at, const char *name);
/* False where there is no such attribute, or where it is not one integer. */
bool hdf5_int_attribute(int *out, hid_t at, const char *name);

#endif
