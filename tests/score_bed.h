/* A bed for tests of benchmarks: a folder of made-up files, scoring in one call, and what must be refused.
 * It brings cmocka.h and all that cmocka.h needs.
 *
 *     cmocka_unit_test_setup_teardown(some_test, bed_setup, bed_teardown)
 *     …
 *     struct benchmark_paths paths = {.questions = bed_file("q.jsonl", "{…}\n")};
 *     json_t *figures = bed_score("textvqa", &paths, bed_file("a.jsonl", "{…}\n"), "official");
 */
#ifndef WINNOW_TESTS_SCORE_BED_H
#define WINNOW_TESTS_SCORE_BED_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json.h"
#include "datasets/benchmark.h"
#include "tests/shared.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static char bed_folder[64]; /* of the test that runs */

static inline int bed_setup(void **state)
{
    (void)state;
    strcpy(bed_folder, "/tmp/winnow-test-score-XXXXXX");
    return mkdtemp(bed_folder) ? 0 : -1;
}

static inline int bed_teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- '%s'", bed_folder);
    return system(command);
}

/* One name has one path, which lives until 64 other names were asked for. */
static inline const char *bed_path(const char *name)
{
    static char paths[64][512];
    static int next;
    char path[sizeof paths[0]];
    snprintf(path, sizeof path, "%s/%s", bed_folder, name);
    for (int i = 0; i < 64; i++)
        if (strcmp(paths[i], path) == 0)
            return paths[i];
    return strcpy(paths[next++ % 64], path);
}

/* Writes a file, folders on the way to it too. */
static inline const char *bed_bytes(const char *name, const char *bytes, size_t n)
{
    const char *path = bed_path(name);
    char parent[512];
    for (const char *at = strchr(path + strlen(bed_folder) + 1, '/'); at; at = strchr(at + 1, '/')) {
        snprintf(parent, sizeof parent, "%.*s", (int)(at - path), path);
        mkdir(parent, 0777);
    }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    return path;
}

static inline const char *bed_file(const char *name, const char *text)
{
    return bed_bytes(name, text, strlen(text));
}

static inline json_t *bed_score(const char *name, const struct benchmark_paths *paths,
                                const char *answers_path, const char *protocol_name)
{
    struct dataset data;
    struct answers answers;
    struct error err = {0};
    enum protocol protocol;
    json_t *figures;
    if (benchmark_read(&data, name, paths, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(protocol_parse(&protocol, data.benchmark, protocol_name, &err), OK);
    if (answers_read(&answers, &data, answers_path, &err) != OK)
        fail_msg("%s", err.text);
    if (benchmark_score(&figures, &data, &answers, protocol, &err) != OK)
        fail_msg("%s", err.text);
    answers_free(&answers);
    dataset_close(&data);
    return figures;
}

/* Reading a dataset, or answers to it, must fail with a message that holds `expected`. */
static inline void bed_refused(const char *name, const struct benchmark_paths *paths,
                               const char *answers_path, const char *expected)
{
    struct dataset data;
    struct answers answers = {0};
    struct error err = {0};
    enum status status = benchmark_read(&data, name, paths, &err);
    if (status == OK) {
        assert_non_null(answers_path);
        status = answers_read(&answers, &data, answers_path, &err);
        answers_free(&answers);
        dataset_close(&data);
    }
    assert_int_equal(status, BAD_INPUT);
    if (!strstr(err.text, expected))
        fail_msg("expected \"%s\" in: %s", expected, err.text);
}

static inline double bed_number(const json_t *figures, const char *key)
{
    const json_t *value = json_object_get(figures, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static inline bool bed_warned(const json_t *figures, const char *part)
{
    size_t i;
    json_t *text;
    json_array_foreach(json_object_get(figures, "warnings"), i, text)
    {
        if (strstr(json_string_value(text), part))
            return true;
    }
    return false;
}

/* What the official scorers say of the shared answer files; NULL where those are not here. */
static inline json_t *bed_expected(const char *name)
{
    char path[SHARED_PATH];
    struct error err;
    json_t *all;
    if (!shared_path(path, sizeof path, "data/scoring/expected.json"))
        return NULL;
    assert_int_equal(json_read(&all, path, &err), OK);
    json_t *one = json_incref(json_object_get(all, name));
    json_decref(all);
    return one;
}

#endif
