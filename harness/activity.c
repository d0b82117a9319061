/* The sweep's word in its store, see activity.h. */
#include "harness/activity.h"

#include <math.h>        /* NAN */
#include <stdio.h>       /* snprintf */
#include <string.h>      /* strcmp */
#include <sys/utsname.h> /* uname */
#include <time.h>        /* time */
#include <unistd.h>      /* getpid */

/* A sweep on another host that was not heard of for so long does not run any more, or cannot be seen. */
enum { SILENT_S = 60 };

static void host_name(char out[ACTIVITY_TEXT])
{
    struct utsname system = {0};
    uname(&system);
    snprintf(out, ACTIVITY_TEXT, "%s", system.nodename);
}

/* When a process began, in ticks since the machine did: tells it from a later one of the same number. -1:
 * there is none, or it is dead and only waits for its parent. */
static int64_t process_born(int64_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return -1;
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    const char *after = strrchr(text, ')'); /* the name before it may hold anything */
    char state;
    long long born;
    if (after == NULL || sscanf(after + 1,
                                " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
                                " %*s %*s %lld",
                                &state, &born) != 2)
        return -1;
    return state == 'Z' || state == 'X' ? -1 : born;
}

struct activity activity_begin(const char *name)
{
    struct activity activity = {.pid = getpid(), .started = time(NULL), .rate = NAN, .left_s = NAN};
    activity.born = process_born(activity.pid);
    snprintf(activity.name, sizeof activity.name, "%s", name);
    snprintf(activity.state, sizeof activity.state, "running");
    host_name(activity.host);
    machine_name(activity.machine, sizeof activity.machine);
    return activity;
}

enum status activity_write(struct store *store, const struct activity *activity, struct error *err)
{
    static const char sql[] = "INSERT OR REPLACE INTO activity(only, name, host, machine, state, phase, cell,"
                              " pid, born, total, done, failed, started, updated, written, rate, left_s)"
                              " VALUES(1,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
    const char *const texts[] = {activity->name,  activity->host,  activity->machine,
                                 activity->state, activity->phase, activity->cell};
    const int64_t numbers[] = {activity->pid,    activity->born,    activity->total,   activity->done,
                               activity->failed, activity->started, activity->updated, activity->written};
    enum { N_TEXTS = sizeof texts / sizeof *texts, N_NUMBERS = sizeof numbers / sizeof *numbers };
    sqlite3_stmt *s;
    TRY(store_hold(store, err));
    enum status status = store_prepare(&s, store, sql, err);
    if (status == OK) {
        for (int i = 0; i < N_TEXTS; i++)
            sqlite3_bind_text(s, 1 + i, texts[i], -1, SQLITE_STATIC);
        for (int i = 0; i < N_NUMBERS; i++)
            sqlite3_bind_int64(s, 1 + N_TEXTS + i, numbers[i]);
        bind_real(s, 1 + N_TEXTS + N_NUMBERS, activity->rate);
        bind_real(s, 2 + N_TEXTS + N_NUMBERS, activity->left_s);
        status = store_step(store, s, err);
        sqlite3_finalize(s);
    }
    struct error commit_err = {0};
    if (store_release(store, true, &commit_err) != OK && status == OK) {
        *err = commit_err;
        status = commit_err.status;
    }
    return status;
}

static void copy_text(char *out, size_t size, sqlite3_stmt *s, int i)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    snprintf(out, size, "%s", text ? text : "");
}

static double real_or_nan(sqlite3_stmt *s, int i)
{
    return sqlite3_column_type(s, i) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(s, i);
}

enum status activity_read(struct activity *out, bool *found, sqlite3 *db, const char *path, struct error *err)
{
    sqlite3_stmt *s;
    *out = (struct activity){.rate = NAN, .left_s = NAN};
    *found = false;
    if (sqlite3_prepare_v2(db,
                           "SELECT name, host, machine, state, phase, cell, pid, born, total, done, failed,"
                           " started, updated, written, rate, left_s FROM activity",
                           -1, &s, NULL) != SQLITE_OK)
        return OK; /* an older schema */
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        *found = true;
        copy_text(out->name, sizeof out->name, s, 0);
        copy_text(out->host, sizeof out->host, s, 1);
        copy_text(out->machine, sizeof out->machine, s, 2);
        copy_text(out->state, sizeof out->state, s, 3);
        copy_text(out->phase, sizeof out->phase, s, 4);
        copy_text(out->cell, sizeof out->cell, s, 5);
        out->pid = sqlite3_column_int64(s, 6);
        out->born = sqlite3_column_int64(s, 7);
        out->total = sqlite3_column_int(s, 8);
        out->done = sqlite3_column_int(s, 9);
        out->failed = sqlite3_column_int(s, 10);
        out->started = sqlite3_column_int64(s, 11);
        out->updated = sqlite3_column_int64(s, 12);
        out->written = sqlite3_column_int64(s, 13);
        out->rate = real_or_nan(s, 14);
        out->left_s = real_or_nan(s, 15);
    }
    sqlite3_finalize(s);
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? OK
               : fail(err, BAD_INPUT, "%s: %s", path, sqlite3_errmsg(db));
}

const char *activity_state(const struct activity *activity)
{
    char host[ACTIVITY_TEXT];
    host_name(host);
    if (strcmp(activity->state, "running") != 0)
        return activity->state;
    if (strcmp(activity->host, host) != 0)
        return time(NULL) - activity->updated > SILENT_S ? "silent" : "running";
    bool alive = activity->pid > 0 && process_born(activity->pid) == activity->born;
    return alive ? "running" : "interrupted";
}

enum status activity_plan(struct store *store, int64_t cell, int shard, int n_shards, int n,
                          struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_prepare(&s, store, "INSERT OR REPLACE INTO planned(cell, shards, shard, n) VALUES(?,?,?,?)",
                      err));
    sqlite3_bind_int64(s, 1, cell);
    sqlite3_bind_int(s, 2, n_shards);
    sqlite3_bind_int(s, 3, shard);
    sqlite3_bind_int(s, 4, n);
    enum status status = store_step(store, s, err);
    sqlite3_finalize(s);
    return status;
}
