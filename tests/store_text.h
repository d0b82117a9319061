/* The rows of a store as one text, to compare two stores row by row. */
#ifndef WINNOW_TESTS_STORE_TEXT_H
#define WINNOW_TESTS_STORE_TEXT_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct store_text {
    char *text; /* a line a row, "TABLE: 'value'|..." */
    size_t n, capacity;
};

static void store_text_add(struct store_text *out, const char *line)
{
    size_t n = strlen(line);
    if (out->n + n + 1 > out->capacity) {
        out->capacity = 2 * (out->n + n + 1);
        out->text = realloc(out->text, out->capacity);
    }
    memcpy(out->text + out->n, line, n + 1);
    out->n += n;
}

/* Columns whose values are of a run, not of what it computed. */
static bool store_text_varies(const char *column)
{
    static const char *const names[] = {"machine", "created", "revision", "peak_bytes"};
    size_t n = strlen(column);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(column, names[i]) == 0)
            return true;
    return (n > 3 && strcmp(column + n - 3, "_ms") == 0) || strcmp(column, "decode_ms_per_token") == 0;
}

/* "SELECT quote(a)||'|'||quote(b) FROM t ORDER BY 1" of a table's or view's stable columns. */
static bool store_text_query(char *sql, size_t size, sqlite3 *db, const char *table)
{
    sqlite3_stmt *s;
    char ask[128];
    size_t n = (size_t)snprintf(sql, size, "SELECT '%s: '", table);
    snprintf(ask, sizeof ask, "SELECT * FROM \"%s\"", table);
    if (sqlite3_prepare_v2(db, ask, -1, &s, NULL) != SQLITE_OK)
        return false;
    for (int i = 0; i < sqlite3_column_count(s); i++)
        if (!store_text_varies(sqlite3_column_name(s, i)))
            n += (size_t)snprintf(sql + n, size - n, "||'|'||quote(\"%s\")", sqlite3_column_name(s, i));
    sqlite3_finalize(s);
    snprintf(sql + n, size - n, "||char(10) FROM \"%s\" ORDER BY 1", table);
    return true;
}

/* Of all tables but that of running sweeps, and views if they are wanted; NULL where something cannot be
 * read. The caller frees. */
static char *store_text(sqlite3 *db, bool views)
{
    struct store_text out = {0};
    sqlite3_stmt *tables, *rows;
    bool ok =
        sqlite3_prepare_v2(db,
                           "SELECT name FROM sqlite_master WHERE (type = 'table' OR type = 'view' AND ?)"
                           " AND name NOT LIKE 'sqlite_%' AND name <> 'activity' ORDER BY name",
                           -1, &tables, NULL) == SQLITE_OK &&
        sqlite3_bind_int(tables, 1, views) == SQLITE_OK;
    store_text_add(&out, "");
    while (ok && sqlite3_step(tables) == SQLITE_ROW) {
        char sql[4096];
        ok = store_text_query(sql, sizeof sql, db, (const char *)sqlite3_column_text(tables, 0)) &&
             sqlite3_prepare_v2(db, sql, -1, &rows, NULL) == SQLITE_OK;
        if (!ok)
            break;
        int code;
        while ((code = sqlite3_step(rows)) == SQLITE_ROW)
            store_text_add(&out, (const char *)sqlite3_column_text(rows, 0));
        ok = code == SQLITE_DONE;
        sqlite3_finalize(rows);
    }
    sqlite3_finalize(tables);
    if (!ok) {
        free(out.text);
        return NULL;
    }
    return out.text;
}

/* The first lines that differ, for a message. */
static void store_text_difference(char *out, size_t size, const char *a, const char *b)
{
    while (*a && *b) {
        size_t n = strcspn(a, "\n") + 1, m = strcspn(b, "\n") + 1;
        if (n != m || strncmp(a, b, n) != 0)
            break;
        a += n;
        b += m;
    }
    snprintf(out, size, "expected %.*s, found %.*s", (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"), b);
}

#endif
