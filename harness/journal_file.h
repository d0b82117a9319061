/* A file driver for HDF5 whose flushes are whole or not there, whenever the process dies.
 *
 * What lies in the file up to the last flush is not touched before the next one: writes into it are gathered,
 * written to "PATH.journal" as one record with a checksum, and only then copied to their places. Writes
 * behind it go straight to the file, where nothing points to them yet. A journal that is found whole at
 * opening is copied again; one that is not was never begun to be copied, and is removed.
 *
 * The file itself is a plain HDF5 file: any program reads it.
 */
#ifndef WINNOW_JOURNAL_FILE_H
#define WINNOW_JOURNAL_FILE_H

#include <hdf5.h>

/* File access properties with this driver, negative where there is no memory; the caller H5Pclose's. Inside
 * hdf5_enter. */
hid_t journal_access(void);

#endif
