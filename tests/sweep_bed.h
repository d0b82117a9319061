/* A bed for tests of whole sweeps: a folder with small pictures, two questions about each, a model to ask,
 * and what the stores in it say. Included last, after cmocka.h. */
#ifndef WINNOW_TESTS_SWEEP_BED_H
#define WINNOW_TESTS_SWEEP_BED_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/image.h"
#include "harness/store_reader.h"
#include "tests/shared.h"

static char folder[64], model[SHARED_PATH]; /* model: "" where there is none to ask */

#define NEEDS_MODEL                                                                                          \
    do {                                                                                                     \
        if (model[0] == 0)                                                                                   \
            shared_skip("golden/models/miniature-prototype");                                                \
    } while (0)

/* The last sixteen stand. */
static inline const char *in_folder(const char *name)
{
    static char paths[16][256];
    static int turn;
    turn = (turn + 1) % 16;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

/* 0.png …, each of another colour. */
static inline int write_pictures(int n, int step)
{
    for (int i = 0; i < n; i++) {
        struct image image = {0};
        struct error err;
        char name[16];
        snprintf(name, sizeof name, "%d.png", i);
        if (image_new(&image, 64, 48, (const uint8_t[3]){(uint8_t)(step * i), 90, 200}, &err) != OK ||
            image_write_png(&image, in_folder(name), &err) != OK)
            return -1;
        image_free(&image);
    }
    return 0;
}

/* Question i is about picture i / 2; every yes_every-th answer is yes. */
static inline int write_questions(const char *name, int n_pictures, int yes_every)
{
    FILE *file = fopen(in_folder(name), "w");
    if (file == NULL)
        return -1;
    for (int i = 0; i < 2 * n_pictures; i++)
        fprintf(file,
                "{\"question_id\": %d, \"image\": \"%d.png\", \"text\": \"Is there a circle %s it?\", "
                "\"answer\": \"%s\"}\n",
                i, i / 2, i % 2 ? "above" : "in", i % yes_every ? "no" : "yes");
    return fclose(file);
}

static inline int bed_make(void)
{
    snprintf(folder, sizeof folder, "/tmp/winnow-sweep-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    if (shared_path(model, sizeof model, "golden/models/miniature-prototype") == NULL) {
        snprintf(model, sizeof model, "%s/models/miniature", WINNOW_SOURCE_DIR);
        if (access(model, R_OK) != 0)
            model[0] = 0;
    }
    return 0;
}

static inline int bed_remove(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static inline void must(enum status status, enum status expected, const struct error *err)
{
    if (status != expected)
        fail_msg("status %d instead of %d: %s", status, expected, err->text);
}

/* One number of one query; NaN for NULL and for no row. */
static inline double query(const char *store, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    struct error err = {0};
    must(store_open_reader(&db, in_folder(store), &err), OK, &err);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    double value = sqlite3_step(s) == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL
                       ? sqlite3_column_double(s, 0)
                       : (double)NAN;
    sqlite3_finalize(s);
    sqlite3_close(db);
    return value;
}

static inline void expect(const char *store, const char *sql, double expected)
{
    double value = query(store, sql);
    if (!(fabs(value - expected) < 1e-9))
        fail_msg("%s: expected %g, found %g", sql, expected, value);
}

#endif
