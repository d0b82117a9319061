/* Replies of judges by what they were asked, in SQLite: a table of a store, or a file of its own. See
 * judge.h. */
#include "harness/judge.h"

#include <errno.h>
#include <fcntl.h> /* open */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h> /* mkdir */
#include <unistd.h>

#include "core/memory.h"

enum { PATH_SIZE = 4096, BUSY_MS = 30000 };

static enum status cache_fail(struct error *err, sqlite3 *cache, const char *what)
{
    const char *path = cache ? sqlite3_db_filename(cache, "main") : NULL;
    return fail(err, NO_MACHINE, "%s: the cache of the judge's replies %s: %s", path ? path : "?", what,
                cache ? sqlite3_errmsg(cache) : "no memory");
}

static enum status usual_path(char out[PATH_SIZE], struct error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool has_cache = cache && cache[0] == '/';
    if (!has_cache && !(home && home[0]))
        return fail(err, NO_MACHINE,
                    "there is no home folder for the cache of the judge's replies: give "
                    "--judge-cache F");
    int n = snprintf(out, PATH_SIZE, "%s%s/winnow/judge.db", has_cache ? cache : home,
                     has_cache ? "" : "/.cache");
    return n < PATH_SIZE ? OK : fail(err, BAD_INPUT, "the path of the cache folder is too long");
}

/* Folders above the file, and the file itself, for its owner only: it holds what models answered. */
static enum status make_file(char *path, struct error *err)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int failed = mkdir(path, 0700) != 0 && errno != EEXIST;
        int why = errno;
        if (failed)
            fail(err, NO_MACHINE, "%s: the folder cannot be made: %s", path, strerror(why));
        *slash = '/';
        if (failed)
            return err->status;
    }
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0)
        return fail(err, NO_MACHINE, "%s: the cache of the judge's replies cannot be opened: %s", path,
                    strerror(errno));
    close(file);
    return OK;
}

static int count(sqlite3 *cache, const char *sql)
{
    sqlite3_stmt *s;
    int n = -1;
    if (sqlite3_prepare_v2(cache, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        n = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return n;
}

enum status judge_cache_open(sqlite3 **out, const char *path, struct error *err)
{
    char own[PATH_SIZE];
    enum status status = OK;
    *out = NULL;
    if (!path)
        TRY(usual_path(own, err));
    else if (snprintf(own, sizeof own, "%s", path) >= PATH_SIZE || path[0] == '\0')
        return fail(err, BAD_INPUT, "--judge-cache: expected the path of a file");
    TRY(make_file(own, err));
    sqlite3 *cache = NULL;
    if (sqlite3_open_v2(own, &cache, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        TRY_GOTO(status, cache_fail(err, cache, "cannot be opened"));
    sqlite3_busy_timeout(cache, BUSY_MS);
    if (count(cache, "SELECT count(*) FROM sqlite_master") == 0 &&
        sqlite3_exec(cache, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;", NULL, NULL, NULL) !=
            SQLITE_OK)
        TRY_GOTO(status, cache_fail(err, cache, "cannot be written"));
    /* Two processes may come to an empty file at once. */
    if (count(cache, "SELECT count(*) FROM sqlite_master") == 0 &&
        sqlite3_exec(cache, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK) {
        if (count(cache, "SELECT count(*) FROM sqlite_master") == 0)
            sqlite3_exec(cache, JUDGE_TABLE, NULL, NULL, NULL);
        sqlite3_exec(cache, "COMMIT", NULL, NULL, NULL);
    }
    if (count(cache, "SELECT count(*) FROM sqlite_master WHERE name = 'judge_reply'") != 1)
        TRY_GOTO(status,
                 fail(err, BAD_INPUT, "%s: this file is no cache of a judge's replies; name another", own));
    *out = cache;
    return OK;
exit:
    sqlite3_close(cache);
    return status;
}

enum status judge_cache_get(char **reply, sqlite3 *cache, const char *hash, struct error *err)
{
    sqlite3_stmt *s;
    *reply = NULL;
    if (sqlite3_prepare_v2(cache, "SELECT reply FROM judge_reply WHERE hash = ?", -1, &s, NULL) != SQLITE_OK)
        return cache_fail(err, cache, "cannot be read");
    sqlite3_bind_text(s, 1, hash, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    const char *text = code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    enum status status = OK;
    if (text && (*reply = memory_text(text)) == NULL)
        status = memory_failed(err, "a judge's reply", strlen(text));
    else if (code != SQLITE_ROW && code != SQLITE_DONE)
        status = cache_fail(err, cache, "cannot be read");
    sqlite3_finalize(s);
    return status;
}

enum status judge_cache_put(sqlite3 *cache, const char *hash, const char *model, const char *reply,
                            struct error *err)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(
            cache, "INSERT OR REPLACE INTO judge_reply VALUES(?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ'))", -1,
            &s, NULL) != SQLITE_OK)
        return cache_fail(err, cache, "cannot be written");
    sqlite3_bind_text(s, 1, hash, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, model, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 3, reply, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    sqlite3_finalize(s);
    return code == SQLITE_DONE ? OK : cache_fail(err, cache, "cannot be written");
}
