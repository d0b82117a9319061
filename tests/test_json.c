/* core/json.c: limits, duplicate keys, typed members, whole-file reading and writing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/json.h"
#include "../core/limits.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static struct error err;

static int make_directory(void **state)
{
    char *dir = strdup("/tmp/winnow-json-XXXXXX");
    assert_non_null(mkdtemp(dir));
    *state = dir;
    return 0;
}

static int remove_directory(void **state)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", (char *)*state);
    free(*state);
    return system(command);
}

static json_t *parsed(const char *text)
{
    json_t *json;
    assert_int_equal(json_parse(&json, text, strlen(text), "t.json", &err), OK);
    return json;
}

static void refused(const char *text, const char *message)
{
    json_t *json = (json_t *)&err;
    assert_int_equal(json_parse(&json, text, strlen(text), "t.json", &err), BAD_INPUT);
    assert_null(json);
    assert_non_null(strstr(err.text, "t.json"));
    if (strstr(err.text, message) == NULL)
        fail_msg("expected \"%s\" in: %s", message, err.text);
}

static void test_refuses_with_line(void **state)
{
    (void)state;
    refused("{\"a\": 1,\n\n \"a\": 2}", "line 3");
    refused("{\"a\": 1,\n\n \"a\": 2}", "duplicate");
    refused("{\"a\": ", "line 1");
    refused("", "line");
    refused("{} x", "line 1");
    refused("[\"\xff\"]", "0xff");
    refused("[\"\\u0000\"]", "line 1");
    refused("[99999999999999999999999]", "line 1");
}

static void test_depth(void **state)
{
    (void)state;
    static char text[2 * 20000 + 1];
    memset(text, '[', 20000);
    memset(text + 20000, ']', 20000);
    refused(text, "nested more than 64");
    char fits[2 * LIMIT_JSON_DEPTH + 1] = "";
    memset(fits, '[', LIMIT_JSON_DEPTH);
    memset(fits + LIMIT_JSON_DEPTH, ']', LIMIT_JSON_DEPTH);
    json_decref(parsed(fits));
    /* Brackets inside of strings, behind escapes too, do not count. */
    memset(text, '[', sizeof text - 1);
    memcpy(text, "[\"\\\"", 4);
    memcpy(text + sizeof text - 3, "\"]", 2);
    json_decref(parsed(text));
}

static void test_many_values(void **state)
{
    (void)state;
    size_t n = 2 * (size_t)LIMIT_JSON_VALUES + 4;
    char *text = malloc(n + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = i % 2 == 0 ? ',' : '0';
    text[0] = '[';
    text[n] = '\0';
    refused(text, "more than 8388608 values");
    free(text);
}

static void test_members(void **state)
{
    (void)state;
    json_t *json = parsed("{\"i\": 7, \"r\": 2.5, \"t\": true, \"s\": \"x\", \"n\": null}");
    int64_t i;
    double d;
    bool b;
    const char *s;
    assert_int_equal(json_int(&i, json, "i", 1, 0, 7, "t.json", &err), OK);
    assert_int_equal(i, 7);
    assert_int_equal(json_int(&i, json, "none", -3, 0, 7, "t.json", &err), OK);
    assert_int_equal(i, -3);
    assert_int_equal(json_int(&i, json, "n", 5, 0, 7, "t.json", &err), OK);
    assert_int_equal(i, 5);
    assert_int_equal(json_int(&i, json, "i", 1, 0, 6, "t.json", &err), BAD_INPUT);
    assert_string_equal(err.text, "t.json: \"i\": expected 0 to 6, found 7");
    assert_int_equal(json_int(&i, json, "r", 1, 0, 6, "t.json", &err), BAD_INPUT);
    assert_string_equal(err.text, "t.json: \"r\": expected an integer, found a number");
    assert_int_equal(json_double(&d, json, "r", 0, "t.json", &err), OK);
    assert_true(d == 2.5);
    assert_int_equal(json_double(&d, json, "i", 0, "t.json", &err), OK);
    assert_true(d == 7.0);
    assert_int_equal(json_double(&d, json, "s", 0, "t.json", &err), BAD_INPUT);
    assert_int_equal(json_bool(&b, json, "t", false, "t.json", &err), OK);
    assert_true(b);
    assert_int_equal(json_bool(&b, json, "i", false, "t.json", &err), BAD_INPUT);
    assert_int_equal(json_str(&s, json, "s", NULL, "t.json", &err), OK);
    assert_string_equal(s, "x");
    assert_int_equal(json_str(&s, json, "n", NULL, "t.json", &err), OK);
    assert_null(s);
    assert_int_equal(json_str(&s, json, "t", NULL, "t.json", &err), BAD_INPUT);
    assert_int_equal(json_str(&s, json_object_get(json, "i"), "k", NULL, "t.json", &err), BAD_INPUT);
    assert_int_equal(json_str(&s, NULL, "k", NULL, "t.json", &err), BAD_INPUT);
    json_decref(json);
}

static void test_files(void **state)
{
    char path[128], other[160];
    char *bytes;
    size_t n;
    snprintf(path, sizeof path, "%s/a.json", (char *)*state);
    assert_false(file_exists(path));
    assert_int_equal(file_read(&bytes, &n, path, 100, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(file_write(path, "{\"a\": 1}", 8, &err), OK);
    assert_int_equal(file_write(path, "{\"a\": 22}", 9, &err), OK);
    assert_true(file_exists(path));
    assert_int_equal(file_read(&bytes, &n, path, 100, &err), OK);
    assert_int_equal(n, 9);
    assert_string_equal(bytes, "{\"a\": 22}");
    free(bytes);
    assert_int_equal(file_read(&bytes, &n, path, 8, &err), BAD_INPUT);
    json_t *json;
    assert_int_equal(json_read(&json, path, &err), OK);
    json_decref(json);
    /* Nothing but the file is left, and a folder or pipe is no file. */
    snprintf(other, sizeof other, "%s.tmp-%ld", path, (long)getpid());
    assert_false(file_exists(other));
    assert_int_equal(file_read(&bytes, &n, *state, 100, &err), BAD_INPUT);
    snprintf(other, sizeof other, "%s/pipe", (char *)*state);
    assert_int_equal(mkfifo(other, 0600), 0);
    assert_int_equal(file_read(&bytes, &n, other, 100, &err), BAD_INPUT);
    struct stat info;
    assert_int_equal(file_write(other, "x", 1, &err), BAD_INPUT); /* nor does a file take its place */
    assert_true(stat(other, &info) == 0 && S_ISFIFO(info.st_mode));
    assert_true(file_same(path, path));
    assert_false(file_same(path, other));
    assert_false(file_same(path, "none"));
    snprintf(other, sizeof other, "%s/none/b.json", (char *)*state);
    assert_int_equal(file_write(other, "x", 1, &err), BAD_INPUT);
}

static void test_printable(void **state)
{
    (void)state;
    char out[PRINTABLE_SIZE];
    assert_string_equal(printable(out, "a\x1b[31mb\n\x7f\xe2\x96\x81\xc2\x9b"), "a?[31mb??\xe2\x96\x81??");
    char text[400];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(strlen(printable(out, text)), PRINTABLE_SIZE - 1);
    for (size_t i = 0; i + 1 < sizeof text; i += 3)
        memcpy(text + i, "\xe2\x96\x81", 3);
    assert_int_equal(strlen(printable(out, text)) % 3, 0); /* cut between characters */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses_with_line),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_many_values),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_printable),
    };
    return cmocka_run_group_tests_name("json", tests, make_directory, remove_directory);
}
