/* A disk that fails on demand: SQLite's own file system with the n-th write, sync, truncation, opening or
 * removal going wrong. Syncs are counted but not done, so that a session takes a millisecond.
 *
 *     fault_vfs_use();                   // from now on all connections
 *     fault_arm(FAULT_FULL, n);
 *     ... a session ...
 *     fault_disarm();                    // the disk is whole again
 */
#ifndef WINNOW_TESTS_FAULT_VFS_H
#define WINNOW_TESTS_FAULT_VFS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

enum fault {
    FAULT_NONE,
    FAULT_ONCE,  /* this one fails, all others work */
    FAULT_SHORT, /* half of it is written, then the disk is full for a moment */
    FAULT_FULL,  /* from here on nothing is written any more */
    FAULT_CRASH, /* half of it is written, then the process is as good as dead: nothing works any more */
    FAULTS
};
static const char *const fault_names[FAULTS] = {"none", "once", "short", "full", "crash"};

static struct {
    enum fault kind;
    int at, n; /* the at-th, from 0; n: how many there were */
} fault;

static void fault_arm(enum fault kind, int at)
{
    fault.kind = kind;
    fault.at = at;
    fault.n = 0;
}

/* Returns how many operations there were. */
static int fault_disarm(void)
{
    fault.kind = FAULT_NONE;
    return fault.n;
}

static bool fault_is_dead(void)
{
    return fault.kind == FAULT_CRASH && fault.n > fault.at;
}

/* Counts an operation; does it go wrong? `writes`: it needs room on the disk. */
static bool fault_hits(bool writes)
{
    int number = fault.n++;
    if (fault.kind == FAULT_NONE || number < fault.at)
        return false;
    return number == fault.at || fault.kind == FAULT_CRASH || (fault.kind == FAULT_FULL && writes);
}

struct fault_file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_file *fault_real(sqlite3_file *file)
{
    return ((struct fault_file *)file)->real;
}

/* ---- a file ------------------------------------------------------------------------------------ */

static int fault_close(sqlite3_file *file)
{
    return fault_real(file)->pMethods->xClose(fault_real(file));
}

static int fault_read(sqlite3_file *file, void *out, int n, sqlite3_int64 at)
{
    return fault_is_dead() ? SQLITE_IOERR_READ
                           : fault_real(file)->pMethods->xRead(fault_real(file), out, n, at);
}

static int fault_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
    sqlite3_file *real = fault_real(file);
    bool was_dead = fault_is_dead();
    if (!fault_hits(true))
        return real->pMethods->xWrite(real, bytes, n, at);
    if ((fault.kind == FAULT_SHORT || fault.kind == FAULT_CRASH) && !was_dead)
        (void)real->pMethods->xWrite(real, bytes, n / 2, at);
    return fault.kind == FAULT_SHORT || fault.kind == FAULT_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int fault_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return fault_hits(false) ? SQLITE_IOERR_TRUNCATE
                             : fault_real(file)->pMethods->xTruncate(fault_real(file), size);
}

static int fault_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags;
    return fault_hits(false) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int fault_size(sqlite3_file *file, sqlite3_int64 *out)
{
    return fault_real(file)->pMethods->xFileSize(fault_real(file), out);
}

static int fault_lock(sqlite3_file *file, int kind)
{
    return fault_real(file)->pMethods->xLock(fault_real(file), kind);
}

static int fault_unlock(sqlite3_file *file, int kind)
{
    return fault_real(file)->pMethods->xUnlock(fault_real(file), kind);
}

static int fault_reserved(sqlite3_file *file, int *out)
{
    return fault_real(file)->pMethods->xCheckReservedLock(fault_real(file), out);
}

static int fault_control(sqlite3_file *file, int what, void *argument)
{
    return fault_real(file)->pMethods->xFileControl(fault_real(file), what, argument);
}

static int fault_sector(sqlite3_file *file)
{
    return fault_real(file)->pMethods->xSectorSize(fault_real(file));
}

static int fault_device(sqlite3_file *file)
{
    return fault_real(file)->pMethods->xDeviceCharacteristics(fault_real(file));
}

static int fault_shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **out)
{
    return fault_real(file)->pMethods->xShmMap(fault_real(file), region, size, extend, out);
}

static int fault_shm_lock(sqlite3_file *file, int at, int n, int flags)
{
    return fault_real(file)->pMethods->xShmLock(fault_real(file), at, n, flags);
}

static void fault_shm_barrier(sqlite3_file *file)
{
    fault_real(file)->pMethods->xShmBarrier(fault_real(file));
}

static int fault_shm_unmap(sqlite3_file *file, int remove)
{
    return fault_real(file)->pMethods->xShmUnmap(fault_real(file), remove && !fault_is_dead());
}

static const sqlite3_io_methods fault_methods = {.iVersion = 2,
                                                 .xClose = fault_close,
                                                 .xRead = fault_read,
                                                 .xWrite = fault_write,
                                                 .xTruncate = fault_truncate,
                                                 .xSync = fault_sync,
                                                 .xFileSize = fault_size,
                                                 .xLock = fault_lock,
                                                 .xUnlock = fault_unlock,
                                                 .xCheckReservedLock = fault_reserved,
                                                 .xFileControl = fault_control,
                                                 .xSectorSize = fault_sector,
                                                 .xDeviceCharacteristics = fault_device,
                                                 .xShmMap = fault_shm_map,
                                                 .xShmLock = fault_shm_lock,
                                                 .xShmBarrier = fault_shm_barrier,
                                                 .xShmUnmap = fault_shm_unmap};

/* ---- the file system --------------------------------------------------------------------------- */

static sqlite3_vfs *fault_below;

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    struct fault_file *own = (struct fault_file *)file;
    own->base.pMethods = NULL;
    own->real = (sqlite3_file *)(own + 1);
    if (fault_hits(false))
        return SQLITE_CANTOPEN;
    int code = fault_below->xOpen(fault_below, name, own->real, flags, out_flags);
    if (code == SQLITE_OK)
        own->base.pMethods = &fault_methods;
    return code;
}

static int fault_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs;
    (void)sync;
    return fault_hits(false) ? SQLITE_IOERR_DELETE : fault_below->xDelete(fault_below, name, 0);
}

static void fault_vfs_use(void)
{
    static sqlite3_vfs vfs;
    fault_below = sqlite3_vfs_find(NULL);
    vfs = *fault_below;
    vfs.zName = "fault";
    vfs.szOsFile = (int)sizeof(struct fault_file) + fault_below->szOsFile;
    vfs.xOpen = fault_open;
    vfs.xDelete = fault_delete;
    sqlite3_vfs_register(&vfs, 1);
}

#endif
