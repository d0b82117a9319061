/* HDF5's way to a trace's file: a driver that reads and writes a pair of files (trace_pair.h), or reads a
 * plain one. Between hdf5_enter and hdf5_leave.
 */
#ifndef WINNOW_HARNESS_HDF5_DRIVER_H
#define WINNOW_HARNESS_HDF5_DRIVER_H

#include <hdf5.h>

#include "harness/trace_pair.h"

/* Reading; −1 where HDF5 cannot. A pair's file may be read in the process that writes it, as last committed:
 * between two commits, so that it is closed before hdf5_leave. */
hid_t hdf5_open(const char *path);
/* What the pair holds, for reading and writing, or a new file between pair_begin and pair_commit. The pair
 * outlives it. HDF5's last writes, as it closes the file, are dropped where nothing has been begun. */
hid_t hdf5_open_pair(struct pair *pair);

#endif
