/* `winnow diff`: what two stores do not have in common (diff.c), as a table of the cells that differ and the
 * first rows that do; --json: all of it. Status 0 when nothing differs, 1 otherwise. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "harness/command.h"
#include "harness/diff.h"

enum { SHOWN = 10, WIDTH_MIN = 9 };

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static int int_of(const json_t *object, const char *key)
{
    return (int)json_integer_value(json_object_get(object, key));
}

static void print_lonely(const json_t *cells, const char *store)
{
    size_t n = json_array_size(cells);
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        const json_t *cell = json_array_get(cells, i);
        printf("only in %s: %.8s %s %s, n = %d\n", store, text_of(cell, "key"), text_of(cell, "benchmark"),
               text_of(cell, "label"), int_of(cell, "n"));
    }
    if (n > SHOWN)
        printf("only in %s: ... and %zu more cells\n", store, n - SHOWN);
}

static void format_score(char *out, size_t size, const json_t *cell, const char *key)
{
    const json_t *score = json_object_get(cell, key);
    if (json_is_number(score))
        snprintf(out, size, "%.2f", json_number_value(score));
    else
        snprintf(out, size, "-");
}

/* What differs besides rows. */
static void print_rest(const json_t *cell)
{
    static const char *const counts[][2] = {
        {"layers", "layers"}, {"keep_maps", "keep maps"}, {"comparisons", "comparisons"}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (int_of(cell, counts[i][0]) > 0)
            printf(", %d %s", int_of(cell, counts[i][0]), counts[i][1]);
    if (json_is_true(json_object_get(cell, "figures")))
        printf(", figures");
}

static void print_cells(const json_t *cells)
{
    int width = WIDTH_MIN;
    for (size_t i = 0; i < json_array_size(cells); i++) {
        int n = (int)strlen(text_of(json_array_get(cells, i), "benchmark"));
        width = n > width ? n : width;
    }
    if (json_array_size(cells) > 0)
        printf("\n%-8s %-*s %6s %6s %7s %7s %8s %8s %8s  %s\n", "cell", width, "benchmark", "n A", "n B",
               "only A", "only B", "differ", "score A", "score B", "method, what else differs");
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        char a[32], b[32];
        format_score(a, sizeof a, cell, "score_a");
        format_score(b, sizeof b, cell, "score_b");
        printf("%-8.8s %-*s %6d %6d %7d %7d %8zu %8s %8s  %s", text_of(cell, "key"), width,
               text_of(cell, "benchmark"), int_of(cell, "n_a"), int_of(cell, "n_b"), int_of(cell, "only_a"),
               int_of(cell, "only_b"), json_array_size(json_object_get(cell, "rows")), a, b,
               text_of(cell, "label"));
        print_rest(cell);
        putchar('\n');
    }
}

static void print_value(const json_t *value)
{
    char shown[PRINTABLE_SIZE];
    if (json_is_string(value))
        printf("\"%s\"", printable(shown, json_string_value(value)));
    else if (json_is_integer(value))
        printf("%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        printf("%.10g", json_real_value(value));
    else
        printf("-");
}

static void print_row(const json_t *cell, json_t *row)
{
    enum { COLUMNS_SHOWN = 4 };
    json_t *differs = json_object_get(row, "differs"), *values;
    const char *column;
    int n = 0;
    printf("%.8s %s %s, sample %d:", text_of(cell, "key"), text_of(cell, "benchmark"), text_of(cell, "label"),
           int_of(row, "sample_id"));
    json_object_foreach(differs, column, values)
    {
        if (n++ == COLUMNS_SHOWN)
            break;
        printf("%s %s ", n > 1 ? ";" : "", column);
        print_value(json_array_get(values, 0));
        printf(" | ");
        print_value(json_array_get(values, 1));
    }
    if (json_object_size(differs) > COLUMNS_SHOWN)
        printf("; and %zu more", json_object_size(differs) - COLUMNS_SHOWN);
    putchar('\n');
}

static void print_rows(const json_t *cells)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i), *rows = json_object_get(cell, "rows");
        for (size_t j = 0; j < json_array_size(rows); j++)
            if (n++ < SHOWN) {
                if (n == 1)
                    printf("\nrows that differ, A | B:\n");
                print_row(cell, json_array_get(rows, j));
            }
    }
    if (n > SHOWN)
        printf("... and %zu more: --json lists all\n", n - SHOWN);
}

static void print_diff(const json_t *diff)
{
    const json_t *cells = json_object_get(diff, "cells");
    size_t n_differ = json_array_size(cells), n_a = json_array_size(json_object_get(diff, "only_a")),
           n_b = json_array_size(json_object_get(diff, "only_b"));
    printf("A %s, B %s: %d cells and %d samples in both", text_of(diff, "a"), text_of(diff, "b"),
           int_of(diff, "n_both"), int_of(diff, "n_samples"));
    if (json_is_true(json_object_get(diff, "equal"))) {
        printf(", all equal\n");
        return;
    }
    printf("; %zu cells differ, %zu only in A, %zu only in B\n", n_differ, n_a, n_b);
    print_lonely(json_object_get(diff, "only_a"), "A");
    print_lonely(json_object_get(diff, "only_b"), "B");
    print_cells(cells);
    print_rows(cells);
}

int cmd_diff(int argc, char **argv)
{
    enum { BY = OPTION_OWN };
    static const struct option options[] = {{"json", no_argument, NULL, OPTION_JSON},
                                            {"by", required_argument, NULL, BY},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    enum diff_by by = DIFF_BY_KEY;
    bool json = false;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') {
            printf("%s", command_find("diff")->usage);
            return OK;
        }
        if (c == '?')
            return command_option("diff", argc, argv);
        json = json || c == OPTION_JSON;
        if (c != BY)
            continue;
        if (strcmp(optarg, diff_by_names[DIFF_BY_KEY]) != 0 &&
            strcmp(optarg, diff_by_names[DIFF_BY_CONFIG]) != 0)
            return command_usage("diff", "--by: found '%.40s', expected key or config", optarg);
        by = strcmp(optarg, diff_by_names[DIFF_BY_KEY]) == 0 ? DIFF_BY_KEY : DIFF_BY_CONFIG;
    }
    if (optind + 2 != argc)
        return command_usage("diff", "expected two stores, found %d", argc - optind);
    struct error err = {0};
    json_t *diff;
    if (diff_stores(&diff, argv[optind], argv[optind + 1], by, &err) != OK)
        return command_fail(&err);
    bool equal = json_is_true(json_object_get(diff, "equal"));
    if (!json)
        print_diff(diff);
    if (json && command_json(json_incref(diff), &err) != OK)
        return command_fail(&err);
    json_decref(diff);
    return equal ? OK : NOT_HELD;
}
