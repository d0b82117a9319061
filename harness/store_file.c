/* The file of a store, see store_file.h, and readers of it, see store_reader.h.
 *
 *     open, what is it?
 *       nothing yet -> its tables, in one transaction
 *       older       -> a copy beside it, then the migration, in one transaction
 *
 * A process that dies on the way leaves the file as it was: the copy is made under a temporary name, and a
 * transaction is whole or not there.
 */
#include "harness/store_file.h"

#include <errno.h>  /* errno */
#include <fcntl.h>  /* open */
#include <stdio.h>  /* snprintf, rename */
#include <stdlib.h> /* free */
#include <string.h> /* strerror */
#include <unistd.h> /* fsync */

#include "core/json.h" /* file_exists */
#include "harness/store.h"

enum { APPLICATION_ID = 1464421975, BUSY_MS = 30000, PATH_SIZE = 4096, BACKUPS_MAX = 1000 };

/* ---- what went wrong ------------------------------------------------------------------------ */

#define GOES_ON "; what was committed is kept, and the same command goes on from there"

static const struct cause {
    int code;
    enum status status;
    const char *advice;
} causes[] = {
    {SQLITE_FULL, NO_MACHINE, "; make room on the disk" GOES_ON},
    {SQLITE_IOERR, NO_MACHINE, "; see to the disk (its space, quotas, ulimit -f, the kernel's log)" GOES_ON},
    {SQLITE_READONLY, NO_MACHINE, "; make the file and its folder writable, or name another store"},
    {SQLITE_PERM, NO_MACHINE, "; make the file and its folder writable, or name another store"},
    {SQLITE_CANTOPEN, NO_MACHINE,
     "; see that its folder is there and can be written, and that files may still be opened"},
    {SQLITE_BUSY, NO_MACHINE,
     "; another program writes to it: give the same command again when it has ended"},
    {SQLITE_LOCKED, NO_MACHINE,
     "; another program writes to it: give the same command again when it has ended"},
    {SQLITE_PROTOCOL, NO_MACHINE, "; the file system's locks do not work: name a store on another disk"},
    {SQLITE_NOLFS, NO_MACHINE, "; the file system takes no file that long: name a store on another disk"},
    {SQLITE_NOMEM, NO_MACHINE, "; memory has run out" GOES_ON},
    {SQLITE_CORRUPT, BAD_INPUT,
     "; the file is damaged: put a copy in its place, or save what can be read with sqlite3 FILE .recover"},
    {SQLITE_NOTADB, BAD_INPUT, "; name another file"},
};

static const struct cause *cause_of(sqlite3 *db)
{
    int code = sqlite3_errcode(db) & 0xff;
    for (size_t i = 0; i < sizeof causes / sizeof *causes; i++)
        if (causes[i].code == code)
            return &causes[i];
    return NULL;
}

bool store_file_is_broken(sqlite3 *db)
{
    return cause_of(db) != NULL;
}

enum status store_file_fail(struct error *err, sqlite3 *db, const char *path, const char *what)
{
    const struct cause *cause = cause_of(db);
    int code = sqlite3_errcode(db) & 0xff;
    int number = code == SQLITE_IOERR || code == SQLITE_CANTOPEN ? sqlite3_system_errno(db) : 0;
    return fail(err, cause ? cause->status : BAD_INPUT, "%s: %s: %s%s%s%s%s", path, what, sqlite3_errmsg(db),
                number ? " (" : "", number ? strerror(number) : "", number ? ")" : "",
                cause ? cause->advice : "");
}

enum status store_file_exec(sqlite3 *db, const char *path, const char *sql, const char *what,
                            struct error *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? OK : store_file_fail(err, db, path, what);
}

static enum status query_int(int64_t *out, sqlite3 *db, const char *path, const char *sql, struct error *err)
{
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        return store_file_fail(err, db, path, "cannot be read as a store");
    int code = sqlite3_step(statement);
    *out = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    enum status status = code == SQLITE_ROW || code == SQLITE_DONE
                             ? OK
                             : store_file_fail(err, db, path, "cannot be read as a store");
    sqlite3_finalize(statement);
    return status;
}

/* Is it a store, and of which schema? 0: an empty file. */
static enum status schema_of(int64_t *version, sqlite3 *db, const char *path, struct error *err)
{
    int64_t application, n_tables;
    TRY(query_int(&application, db, path, "PRAGMA application_id", err));
    TRY(query_int(version, db, path, "PRAGMA user_version", err));
    TRY(query_int(&n_tables, db, path, "SELECT count(*) FROM sqlite_master", err));
    if (application != APPLICATION_ID && (n_tables > 0 || *version != 0))
        return fail(err, BAD_INPUT, "%s: this SQLite file is no store of winnow; name another file", path);
    if (*version > STORE_SCHEMA)
        return fail(
            err, BAD_INPUT,
            "%s: the store has schema %lld, this build knows up to %d; use the newer winnow that wrote it",
            path, (long long)*version, STORE_SCHEMA);
    return OK;
}

/* ---- an older schema ------------------------------------------------------------------------ */

/* To the disk before the name that promises a whole copy. */
static enum status settle(const char *from, const char *to, struct error *err)
{
    int file = open(from, O_RDWR | O_CLOEXEC);
    bool ok = file >= 0 && (fsync(file) == 0 || errno == EINVAL);
    int code = errno;
    if (file >= 0)
        close(file);
    if (ok && rename(from, to) == 0)
        return OK;
    return fail(err, NO_MACHINE,
                "%s: the copy before the migration cannot be made: %s; see to the disk and give the same "
                "command again",
                to, strerror(ok ? errno : code));
}

/* A copy beside the file, "S.db.schema-1.bak", or -2.bak and so on where one is there: none is ever
 * overwritten. The caller holds the store's lock, so nobody else uses the temporary name. */
static enum status backup(sqlite3 *db, const char *path, int64_t version, struct error *err)
{
    char name[PATH_SIZE], temporary[PATH_SIZE];
    int n = snprintf(name, sizeof name, "%s.schema-%lld.bak", path, (long long)version);
    for (int i = 2; n > 0 && n < PATH_SIZE && access(name, F_OK) == 0 && i < BACKUPS_MAX; i++)
        n = snprintf(name, sizeof name, "%s.schema-%lld-%d.bak", path, (long long)version, i);
    int m = snprintf(temporary, sizeof temporary, "%s.schema-%lld.bak.tmp", path, (long long)version);
    if (n < 0 || n >= PATH_SIZE || m < 0 || m >= PATH_SIZE)
        return fail(err, BAD_INPUT, "%.200s...: the path is too long", path);
    if (access(name, F_OK) == 0)
        return fail(err, BAD_INPUT, "%s: there already; move the copies away, so that another can be made",
                    name);
    unlink(temporary); /* of a process that died */
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, "VACUUM INTO ?", -1, &statement, NULL) != SQLITE_OK)
        return store_file_fail(err, db, path, "the copy before the migration cannot be made");
    sqlite3_bind_text(statement, 1, temporary, -1, SQLITE_STATIC);
    enum status status = sqlite3_step(statement) == SQLITE_DONE
                             ? OK
                             : store_file_fail(err, db, path, "the copy before the migration cannot be made");
    sqlite3_finalize(statement);
    if (status == OK)
        status = settle(temporary, name, err);
    if (status != OK)
        unlink(temporary);
    return status;
}

/* From nothing, or from an older schema, to the present one. */
static enum status migrate(sqlite3 *db, const char *path, int64_t version, struct error *err)
{
    char sql[64];
    enum status status = OK;
    TRY(store_file_exec(db, path, "BEGIN IMMEDIATE", "cannot be locked for writing", err));
    if (version == 0)
        status = store_file_exec(db, path, store_schema, "its tables cannot be made", err);
    for (int64_t v = version; v > 0 && v < STORE_SCHEMA && status == OK; v++)
        status = store_file_exec(db, path, store_migrations[v - 1], "cannot be migrated", err);
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", STORE_SCHEMA);
    if (status == OK)
        status = store_file_exec(db, path, sql, "cannot be migrated", err);
    if (status == OK)
        status = store_file_exec(db, path, "COMMIT", "cannot be written", err);
    if (status != OK)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL); /* may have been done already */
    return status;
}

/* ---- opening -------------------------------------------------------------------------------- */

enum status store_file_open(sqlite3 **out, const char *path, struct error *err)
{
    *out = NULL;
    sqlite3 *db = NULL;
    enum status status = OK;
    int64_t version = 0;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &db, flags, NULL) != SQLITE_OK)
        TRY_GOTO(status, store_file_fail(err, db, path, "the store cannot be opened"));
    if (sqlite3_db_readonly(db, "main") == 1) /* SQLite falls back to reading, and fails at the first row */
        TRY_GOTO(status,
                 fail(err, NO_MACHINE,
                      "%s: the store cannot be written: make the file writable, or name another", path));
    sqlite3_busy_timeout(db, BUSY_MS);
    TRY_GOTO(status, schema_of(&version, db, path, err));
    /* A picture goes through all cells, so its rows fall on as many pages as there are cells: 64 MiB of them
     * are kept, and a checkpoint is worth its while. */
    TRY_GOTO(status, store_file_exec(db, path,
                                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                                     "PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000;",
                                     "cannot be written", err));
    if (version > 0 && version < STORE_SCHEMA)
        TRY_GOTO(status, backup(db, path, version, err));
    if (version < STORE_SCHEMA)
        TRY_GOTO(status, migrate(db, path, version, err));
    *out = db;
    return OK;
exit:
    sqlite3_close(db);
    return status;
}

static enum status open_reader(sqlite3 **out, const char *path, const char *name, struct error *err)
{
    sqlite3 *db = NULL;
    enum status status = OK;
    int64_t version;
    int flags = SQLITE_OPEN_READONLY | (name != path ? SQLITE_OPEN_URI : 0);
    if (sqlite3_open_v2(name, &db, flags, NULL) != SQLITE_OK)
        TRY_GOTO(status, store_file_fail(err, db, path, "the store cannot be opened"));
    sqlite3_busy_timeout(db, BUSY_MS);
    TRY_GOTO(status, schema_of(&version, db, path, err));
    if (version == 0)
        TRY_GOTO(status, fail(err, BAD_INPUT, "%s: the file is empty, no store", path));
    *out = db;
    return OK;
exit:
    sqlite3_close(db);
    return status;
}

/* "file:PATH?immutable=1", with what has a meaning in it escaped. */
static bool immutable_name(char *out, size_t size, const char *path)
{
    size_t n = (size_t)snprintf(out, size, "file:");
    for (; *path && n + 16 < size; path++)
        n +=
            (size_t)snprintf(out + n, size - n, strchr("%?#", *path) ? "%%%02X" : "%c", (unsigned char)*path);
    snprintf(out + n, size - n, "?immutable=1");
    return *path == 0;
}

enum status store_open_reader(sqlite3 **out, const char *path, struct error *err)
{
    *out = NULL;
    if (!file_exists(path))
        return fail(err, BAD_INPUT, "%s: there is no such store", path);
    enum status status = open_reader(out, path, path, err);
    if (status != NO_MACHINE)
        return status;
    /* A folder in which nothing can be written takes no shared memory beside the file. Where no writer left
     * anything to be taken over, the file can be read as it is. */
    char wal[PATH_SIZE], name[3 * PATH_SIZE];
    struct error second;
    int n = snprintf(wal, sizeof wal, "%s-wal", path);
    if (n < 0 || n >= PATH_SIZE || file_exists(wal) || !immutable_name(name, sizeof name, path) ||
        open_reader(out, path, name, &second) != OK)
        return status;
    return OK;
}
