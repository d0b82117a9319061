/* `winnow sql`: a query on a store, read-only. Columns are separated by tabs below a line of names; with
 * --json a list of objects. NULL is empty, or null in JSON; tabs and line ends inside a text are shown as \t
 * and \n. */

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "harness/command.h"
#include "harness/store.h"

static void print_text(const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '\t':
            fputs("\\t", stdout);
            break;
        case '\n':
            fputs("\\n", stdout);
            break;
        case '\r':
            fputs("\\r", stdout);
            break;
        case '\\':
            fputs("\\\\", stdout);
            break;
        default:
            putchar(*text);
        }
}

static void print_names(sqlite3_stmt *s)
{
    for (int i = 0; i < sqlite3_column_count(s); i++)
        printf("%s%s", i ? "\t" : "", sqlite3_column_name(s, i));
    putchar('\n');
}

static void print_row(sqlite3_stmt *s)
{
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        if (i)
            putchar('\t');
        const char *text = (const char *)sqlite3_column_text(s, i);
        if (sqlite3_column_type(s, i) == SQLITE_FLOAT)
            printf("%.10g", sqlite3_column_double(s, i));
        else if (text)
            print_text(text);
    }
    putchar('\n');
}

static json_t *value_json(sqlite3_stmt *s, int i)
{
    switch (sqlite3_column_type(s, i)) {
    case SQLITE_INTEGER:
        return json_integer(sqlite3_column_int64(s, i));
    case SQLITE_FLOAT:
        return json_real(sqlite3_column_double(s, i));
    case SQLITE_NULL:
        return json_null();
    default:
        return json_string((const char *)sqlite3_column_text(s, i));
    }
}

static void print_row_json(sqlite3_stmt *s, bool first)
{
    json_t *object = json_object();
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        json_t *value = value_json(s, i);
        json_object_set_new(object, sqlite3_column_name(s, i), value ? value : json_null());
    }
    fputs(first ? "\n " : ",\n ", stdout);
    json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
}

static enum status run_query(sqlite3 *db, const char *path, const char *sql, bool json, struct error *err)
{
    sqlite3_stmt *s;
    const char *rest;
    if (sqlite3_prepare_v2(db, sql, -1, &s, &rest) != SQLITE_OK)
        return fail(err, BAD_INPUT, "%s: %s; the views are cells, samples, layers, keep_map, comparisons",
                    path, sqlite3_errmsg(db));
    if (s == NULL || rest[strspn(rest, " \t\r\n;")] != 0) {
        sqlite3_finalize(s);
        return fail(err, BAD_INPUT, "%s: expected one statement", path);
    }
    if (!sqlite3_stmt_readonly(s)) {
        sqlite3_finalize(s);
        return fail(err, BAD_INPUT, "%s: only queries are allowed, the store is not written to", path);
    }
    if (json)
        putchar('[');
    else
        print_names(s);
    int code;
    for (bool first = true; (code = sqlite3_step(s)) == SQLITE_ROW; first = false) {
        if (json)
            print_row_json(s, first);
        else
            print_row(s);
    }
    if (json)
        fputs("\n]\n", stdout);
    enum status status = code == SQLITE_DONE ? OK : fail(err, BAD_INPUT, "%s: %s", path, sqlite3_errmsg(db));
    sqlite3_finalize(s);
    return status;
}

int cmd_sql(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, OPTION_JSON}, {"help", no_argument, NULL, 'h'}, {0}};
    bool json = false;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') {
            printf("%s", command_find("sql")->usage);
            return OK;
        }
        if (c == '?')
            return command_option("sql", argc, argv);
        json = json || c == OPTION_JSON;
    }
    if (optind + 2 != argc)
        return command_usage("sql", "expected a store and a query");
    struct error err = {0};
    sqlite3 *db;
    if (store_open_reader(&db, argv[optind], &err) != OK)
        return command_fail(&err);
    enum status status = run_query(db, argv[optind], argv[optind + 1], json, &err);
    sqlite3_close(db);
    return status == OK ? OK : command_fail(&err);
}
