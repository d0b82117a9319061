/* The file of a store: made where there is none, migrated where it is older, refused where it is newer or
 * something else. Private to store*.c.
 */
#ifndef WINNOW_STORE_FILE_H
#define WINNOW_STORE_FILE_H

#include <sqlite3.h>
#include <stdbool.h>

#include "core/error.h"

/* A connection that may write, at the present schema; the caller holds the store's lock and
 * sqlite3_close's. */
enum status store_file_open(sqlite3 **out, const char *path, struct error *err);
/* The message for what the connection's last call says, with what to do about it. */
enum status store_file_fail(struct error *err, sqlite3 *db, const char *path, const char *what);
/* The last call failed for the disk's or the file's sake, so others will too; false: for its own row's. */
bool store_file_is_broken(sqlite3 *db);
enum status store_file_exec(sqlite3 *db, const char *path, const char *sql, const char *what,
                            struct error *err);

#endif
