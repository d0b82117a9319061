/* Who works on a store, and how far they are: what a sweep writes into its store once a second so that
 * `winnow status` can tell from another terminal, or afterwards, whether it runs, has finished or was killed.
 *
 *     activity   one row, of the sweep that began last
 *     planned    how many samples each cell is to have, by shard: together they are the whole cell's
 *
 * Nothing that is computed depends on either; stores that differ in nothing else are equal.
 */
#ifndef WINNOW_ACTIVITY_H
#define WINNOW_ACTIVITY_H

#include <stdbool.h>
#include <stdint.h>

#include "harness/key.h"
#include "harness/machine.h"
#include "harness/store.h"

#define ACTIVITY_TABLES                                                                                      \
    "CREATE TABLE activity(only INTEGER PRIMARY KEY CHECK(only = 1), name TEXT, host TEXT, machine TEXT,"    \
    " pid INTEGER, born INTEGER, state TEXT, phase TEXT, cell TEXT, total INTEGER, done INTEGER,"            \
    " failed INTEGER, rate REAL, left_s REAL, started INTEGER, updated INTEGER, written INTEGER);"           \
    "CREATE TABLE planned(cell INTEGER NOT NULL REFERENCES cell, shards INTEGER NOT NULL, shard INTEGER NOT" \
    " NULL, n INTEGER NOT NULL, PRIMARY KEY(cell, shards, shard)) WITHOUT ROWID;"
/* Samples planned of cell c: all shards that are known together, or the largest of several divisions. */
#define PLANNED_OF(cell)                                                                                     \
    "(SELECT max(t) FROM (SELECT sum(n) AS t FROM planned WHERE planned.cell = " cell " GROUP BY shards))"

enum { ACTIVITY_TEXT = 200 };

/* Times are seconds since 1970, 0: never. */
struct activity {
    char name[ACTIVITY_TEXT]; /* of the sweep */
    char host[ACTIVITY_TEXT], machine[MACHINE_SIZE];
    int64_t pid, born;                 /* born: when that process began, by the host's own clock */
    char state[32];                    /* "running", "finished", "interrupted", "failed" */
    char phase[ACTIVITY_TEXT];         /* "samples", "timing mini-pope", "judging mmvet", "summary" */
    char cell[KEY_SIZE];               /* of the last sample, "" before the first */
    int total, done, failed;           /* of the phase: only what was left to do */
    double rate, left_s;               /* per second; NaN where not known */
    int64_t started, updated, written; /* written: the last sample of any phase */
};

/* This process as it begins. */
struct activity activity_begin(const char *name);
/* From any thread; commits. */
enum status activity_write(struct store *store, const struct activity *activity, struct error *err);
/* *found is false where no sweep has left word, as in stores of before schema 4. */
enum status activity_read(struct activity *out, bool *found, sqlite3 *db, const char *path,
                          struct error *err);
/* The state as it is now: a sweep that says "running" may have been killed ("interrupted"), or run on another
 * host and not have been heard of for a while ("silent"). */
const char *activity_state(const struct activity *activity);

/* Samples that a cell is to have after shard `shard` of n_shards (1 of 1: all). In the store's open batch. */
enum status activity_plan(struct store *store, int64_t cell, int shard, int n_shards, int n,
                          struct error *err);

#endif
