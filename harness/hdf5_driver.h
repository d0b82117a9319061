/* HDF5's way to the disk, for traces: plain files, locked as HDF5 locks them, with two differences.
 *
 * A write that fails is remembered, not reported: HDF5 1.10 keeps a file whose write failed open for ever and
 * may crash at exit. From then on nothing of that file is written, HDF5 closes it as if all were well, and
 * whoever writes asks hdf5_write_error before believing in it.
 *
 * A file can be frozen: what HDF5 writes is dropped until it is thawed, closing it included (which would put
 * the end of the file and its header into new places). So a finished file stays as the last flush left it.
 *
 * A file that is open through this driver must be opened through it everywhere in this process. All of this
 * stands between hdf5_enter and hdf5_leave.
 */
#ifndef WINNOW_HARNESS_HDF5_DRIVER_H
#define WINNOW_HARNESS_HDF5_DRIVER_H

#include <stdbool.h>

#include <hdf5.h>

/* `flags`: H5F_ACC_RDONLY or H5F_ACC_RDWR; −1 and errno where that fails. A made file must not be there. */
hid_t hdf5_open(const char *path, unsigned flags);
hid_t hdf5_make(const char *path);
/* errno of the first write to the file that failed, 0 without one. */
int hdf5_write_error(hid_t file);
void hdf5_freeze(hid_t file, bool frozen);

#endif
