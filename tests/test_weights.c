/* core/weights.c: good checkpoints read right, in one file and in shards, and broken or hostile ones refused
 * by a message that names the file. */
#include <dirent.h>
#include <math.h>
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
#include "../core/weights.h"
#include "shared.h"
#include <cmocka.h> /* last: its fail() would hide ours */

static struct error err;

static int make_directory(void **state)
{
    char *dir = strdup("/tmp/winnow-weights-XXXXXX");
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

/* A file of `header`, said to have n_header bytes (-1: the truth), and n_data bytes that count from 0. */
static const char *put(const char *dir, const char *file, const char *header, int64_t n_header, size_t n_data)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    size_t n = strlen(header);
    uint64_t length = n_header < 0 ? n : (uint64_t)n_header;
    unsigned char *bytes = malloc(8 + n + n_data);
    assert_non_null(bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n + i] = (unsigned char)i;
    assert_int_equal(file_write(path, bytes, 8 + n + n_data, &err), OK);
    free(bytes);
    return path;
}

static void refused_file(const char *path, const char *file, const char *message)
{
    struct weights *weights = (struct weights *)&err;
    memset(&err, 0, sizeof err);
    assert_int_equal(weights_open(&weights, path, &err), BAD_INPUT);
    assert_null(weights);
    if (strstr(err.text, file) == NULL || strstr(err.text, message) == NULL)
        fail_msg("expected \"%s\" and \"%s\" in: %s", file, message, err.text);
    assert_null(strstr(err.text, "must not appear"));
}

#define T(name, dtype, shape, begin, end)                                                                    \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void test_good(void **state)
{
    const char *path = put(*state, "good.safetensors",
                           "{\"__metadata__\":{\"format\":\"pt\"}," T("b", "F32", "[2,3]", 8, 32) "," T(
                               "a", "F16", "[4]", 0,
                               8) "," T("scalar", "BF16", "[]", 32,
                                        34) "," T("none", "I64", "[0,7]", 34,
                                                  34) "," T("ids", "I64", "[1]", 34,
                                                            42) "," T("f8", "F8_E4M3", "[2]", 42, 44) "}    ",
                           -1, 44);
    struct weights *weights;
    struct weights_tensor t;
    assert_int_equal(weights_open(&weights, path, &err), OK);
    assert_int_equal(weights_count(weights), 6);
    const char *names[] = {"a", "b", "f8", "ids", "none", "scalar"};
    for (int i = 0; i < 6; i++) {
        weights_at(&t, weights, i);
        assert_string_equal(t.name, names[i]);
        assert_true(weights_has(weights, names[i]));
    }
    assert_false(weights_has(weights, "__metadata__"));
    assert_int_equal(weights_get(&t, weights, "b", 2, (int64_t[]){2, 3}, &err), OK);
    assert_int_equal(t.dtype, DTYPE_F32);
    assert_int_equal(t.n_elements, 6);
    assert_int_equal(t.n_bytes, 24);
    assert_int_equal(t.data[0], 8);
    float value[2], expected[2];
    memcpy(expected, t.data + 16, sizeof expected);
    weights_to_f32(value, &t, 4, 2);
    assert_memory_equal(value, expected, sizeof value);
    weights_release(weights, &t);
    assert_int_equal(t.data[0], 8);
    assert_int_equal(weights_get(&t, weights, "scalar", 0, NULL, &err), OK);
    assert_int_equal(t.n_elements, 1);
    assert_int_equal(weights_get(&t, weights, "ids", -1, NULL, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "found I64"));
    assert_int_equal(weights_get(&t, weights, "f8", -1, NULL, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "found F8_E4M3"));
    weights_close(weights);
    assert_int_equal(dtype_size(DTYPE_BF16), 2);
    assert_int_equal(dtype_size(DTYPE_OTHER), 0);
    assert_string_equal(dtype_name(DTYPE_BOOL), "BOOL");
}

static void test_missing_and_wrong_shape(void **state)
{
    const char *path = put(*state, "names.safetensors",
                           "{" T("model.layers.0.q_proj.weight", "F32", "[1]", 0,
                                 4) "," T("model.layers.0.k_proj.weight", "F32", "[1]", 4,
                                          8) "," T("model.layers.1.q_proj.weight", "F32", "[1]", 8,
                                                   12) "," T("model.norm.weight", "F32", "[1]", 12,
                                                             16) "," T("x", "F32", "[1]", 16, 20) "}",
                           -1, 20);
    struct weights *weights;
    struct weights_tensor t;
    assert_int_equal(weights_open(&weights, path, &err), OK);
    assert_int_equal(weights_get(&t, weights, "model.layers.2.q_proj.weight", 2, (int64_t[]){4, 8}, &err),
                     BAD_INPUT);
    assert_non_null(
        strstr(err.text, "names.safetensors: tensor model.layers.2.q_proj.weight of shape [4, 8] is missing "
                         "among 5; near names: model.layers.0.q_proj.weight, "
                         "model.layers.1.q_proj.weight, model.layers.0.k_proj.weight"));
    assert_null(strstr(err.text, "norm"));
    assert_int_equal(weights_get(&t, weights, "model.norm.weight", 2, (int64_t[]){4, 8}, &err), BAD_INPUT);
    assert_non_null(
        strstr(err.text, "names.safetensors: tensor model.norm.weight: expected shape [4, 8], found [1]"));
    assert_int_equal(weights_get(&t, weights, "model.norm.weight", 1, (int64_t[]){2}, &err), BAD_INPUT);
    assert_int_equal(weights_get(&t, weights, "x", -1, NULL, &err), OK);
    weights_close(weights);
}

static void test_conversion(void **state)
{
    (void)state;
    static uint16_t halves[65536];
    static float values[65536];
    for (int i = 0; i < 65536; i++)
        halves[i] = (uint16_t)i;
    struct weights_tensor t = {
        .dtype = DTYPE_F16, .n_elements = 65536, .data = (unsigned char *)halves, .n_bytes = sizeof halves};
    weights_to_f32(values, &t, 0, 65536);
    for (int i = 0; i < 65536; i++) {
        int exponent = i >> 10 & 31, mantissa = i & 1023;
        double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
        if (exponent == 31)
            magnitude = mantissa == 0 ? INFINITY : NAN;
        assert_int_equal(signbit(values[i]) != 0, i >> 15);
        if (isnan(magnitude))
            assert_true(isnan(values[i]));
        else
            assert_true(fabs((double)values[i]) == magnitude);
    }
    t.dtype = DTYPE_BF16;
    t.data = (unsigned char *)(uint16_t[]){0x3f80, 0xc040, 0x0001, 0x7f80};
    t.n_elements = 4;
    weights_to_f32(values, &t, 0, 4);
    assert_true(values[0] == 1.0f && values[1] == -3.0f && values[2] == 0x1p-133f && isinf(values[3]));
    weights_to_f32(values, &t, 1, 1);
    assert_true(values[0] == -3.0f);
    t.dtype = DTYPE_F64;
    t.data = (unsigned char *)(double[]){0.1, -2};
    t.n_elements = 2;
    weights_to_f32(values, &t, 0, 2);
    assert_true(values[0] == 0.1f && values[1] == -2.0f);
}

static void test_hostile(void **state)
{
    static const struct {
        const char *header;
        int64_t n_header;
        size_t n_data;
        const char *message;
    } cases[] = {
        {"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 4, 12) "}", -1, 12, "overlap"},
        {"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 0, 8) "}", -1, 8, "overlap"},
        {"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 12, 20) "}", -1, 20, "hole"},
        {"{" T("a", "F32", "[2]", 4, 12) "}", -1, 12, "hole"},
        {"{" T("a", "F32", "[2]", 0, 8) "}", -1, 9, "1 bytes after the last tensor"},
        {"{}", -1, 3, "3 bytes after the last tensor"},
        {"{" T("a", "F32", "[2]", 0, 1099511627776) "}", -1, 8, "ends at byte 1099511627776"},
        {"{" T("a", "F32", "[2]", 0, 8) "}", -1, 7, "download complete"},
        {"{" T("a", "F32", "[2]", -8, 0) "}", -1, 8, "data_offsets"},
        {"{" T("a", "F32", "[2]", 8, 0) "}", -1, 8, "data_offsets"},
        {"{" T("a", "F32", "[2]", 0.0, 8) "}", -1, 8, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", -1, 8, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", -1, 8, "expected \"dtype\""},
        {"{\"a\":[]}", -1, 8, "expected \"dtype\""},
        {"{" T("a", "F32", "[3]", 0, 8) "}", -1, 8, "[3] of F32 takes 12 bytes, its data_offsets hold 8"},
        {"{" T("a", "F32", "[4294967296,4294967296]", 0, 8) "}", -1, 8, "overflow"},
        {"{" T("a", "F32", "[4611686018427387904]", 0, 8) "}", -1, 8, "overflow"},
        {"{" T("a", "F32", "[4611686018427387904,4,0]", 0, 0) "}", -1, 0, "overflow"},
        {"{" T("a", "F32", "[-2]", 0, 8) "}", -1, 8, "dimension 0"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,2]", 0, 8) "}", -1, 8, "9 dimensions"},
        {"{" T("a", "F31", "[2]", 0, 8) "}", -1, 8, "unknown dtype \"F31\""},
        {"{" T("a\\u001b[2J", "F31", "[2]", 0, 8) "}", -1, 8, "a?[2J"},
        {"{" T("", "F32", "[2]", 0, 8) "}", -1, 8, "name of 0 bytes"},
        {"{" T("a", "F32", "[2]", 0, 8) "," T("a", "F32", "[2]", 8, 16) "}", -1, 16, "duplicate"},
        {"{\"__metadata__\":[]}", -1, 0, "__metadata__"},
        {"[]", -1, 0, "does not begin with '{'"},
        {"{\"a\":", -1, 0, "JSON"},
        {"", -1, 0, "does not begin"},
        {"{}", 3, 0, "header of 3 bytes in a file of 10"},
        {"{}", INT64_MAX, 0, "header of"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused_file(put(*state, "bad.safetensors", cases[i].header, cases[i].n_header, cases[i].n_data),
                     "bad.safetensors", cases[i].message);

    char path[512];
    snprintf(path, sizeof path, "%s/bad.safetensors", (char *)*state);
    assert_int_equal(file_write(path, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, &err), OK);
    refused_file(path, "bad.safetensors", "header of 18446744073709551615 bytes");
    assert_int_equal(file_write(path, "", 0, &err), OK);
    refused_file(path, "bad.safetensors", "8 bytes or more");
    char *deep = malloc(40001);
    assert_non_null(deep);
    memcpy(deep, "{\"a\":", 5);
    memset(deep + 5, '[', 40001 - 6);
    deep[40000] = '\0';
    refused_file(put(*state, "bad.safetensors", deep, -1, 0), "bad.safetensors", "nested");
    free(deep);
    refused_file("/tmp/winnow-there-is-no-such-file", "no-such-file", "No such file");
}

static void put_text(const char *dir, const char *file, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    assert_int_equal(file_write(path, text, strlen(text), &err), OK);
}

#define INDEX "model.safetensors.index.json"

static void test_shards(void **state)
{
    char dir[256];
    snprintf(dir, sizeof dir, "%s/shards", (char *)*state);
    assert_int_equal(mkdir(dir, 0700), 0);
    refused_file(dir, dir, "neither");
    put_text(dir, "pytorch_model.bin", "x");
    refused_file(dir, dir, "convert");
    put(dir, "1.safetensors", "{" T("a", "U8", "[4]", 0, 4) "," T("b", "F32", "[1]", 4, 8) "}", -1, 8);
    put(dir, "2.safetensors", "{" T("c", "F32", "[2]", 0, 8) "," T("a", "F16", "[1]", 8, 10) "}", -1, 10);
    /* The index decides which "a" it is, and leaves b aside. */
    put_text(dir, INDEX, "{\"weight_map\":{\"c\":\"2.safetensors\",\"a\":\"2.safetensors\"}}");
    struct weights *weights;
    struct weights_tensor t;
    assert_int_equal(weights_open(&weights, dir, &err), OK);
    assert_int_equal(weights_count(weights), 2);
    weights_close(weights);
    put_text(dir, INDEX,
             "{\"weight_map\":{\"c\":\"2.safetensors\",\"a\":\"1.safetensors\",\"b\":\"1.safetensors\"}}");
    assert_int_equal(weights_open(&weights, dir, &err), OK);
    assert_int_equal(weights_count(weights), 3);
    weights_at(&t, weights, 0);
    assert_string_equal(t.name, "a");
    assert_int_equal(t.dtype, DTYPE_U8);
    char shards[65], one[65], other[65];
    assert_int_equal(weights_sha256(shards, weights, &err), OK);
    assert_int_equal(strlen(shards), 64);
    weights_close(weights);

    put_text(dir, INDEX, "{\"weight_map\":{\"b\":\"1.safetensors\",\"d\":\"1.safetensors\"}}");
    refused_file(dir, INDEX, "tensor d is said to be in 1.safetensors, which lacks it");
    put_text(dir, INDEX, "{\"weight_map\":{\"b\":\"1.safetensors\",\"d\":\"3.safetensors\"}}");
    refused_file(dir, "3.safetensors", "No such file");
    const char *bad[] = {"\"../1.safetensors\"",   "\"/etc/1.safetensors\"", "\"..\"", "\"\"", "7",
                         "\"a/../1.safetensors\"", "\"a\\\\b.safetensors\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"weight_map\":{\"b\":\"1.safetensors\",\"c\":%s}}", bad[i]);
        put_text(dir, INDEX, text);
        refused_file(dir, INDEX, "same directory");
    }
    put_text(dir, INDEX, "{\"weight_map\":{}}");
    refused_file(dir, INDEX, "weight_map");
    put_text(dir, INDEX, "[]");
    refused_file(dir, INDEX, "weight_map");

    /* The hash is of the tensors, not of the files they lie in. One file has precedence over an index. */
    char header[512] =
        "{" T("b", "F32", "[1]", 0, 4) "," T("a", "U8", "[4]", 4, 8) "," T("c", "F32", "[2]", 8, 16) "}";
    char path[512];
    unsigned char bytes[512] = {(unsigned char)strlen(header)};
    memcpy(bytes + 8, header, strlen(header));
    const unsigned char data[16] = {4, 5, 6, 7, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7};
    memcpy(bytes + 8 + strlen(header), data, 16);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(file_write(path, bytes, 8 + strlen(header) + 16, &err), OK);
    assert_int_equal(weights_open(&weights, dir, &err), OK);
    assert_int_equal(weights_sha256(one, weights, &err), OK);
    weights_close(weights);
    assert_string_equal(one, shards);
    bytes[8 + strlen(header)] ^= 1;
    assert_int_equal(file_write(path, bytes, 8 + strlen(header) + 16, &err), OK);
    assert_int_equal(weights_open(&weights, dir, &err), OK);
    assert_int_equal(weights_sha256(other, weights, &err), OK);
    weights_close(weights);
    assert_string_not_equal(other, one);
}

static void test_golden_hostile(void **state)
{
    char folder[SHARED_PATH], path[SHARED_PATH + 300];
    if (shared_path(folder, sizeof folder, "golden/hostile") == NULL)
        shared_skip("golden/hostile");
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n_files = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *name = entry->d_name, *ending = strrchr(name, '.');
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (ending != NULL && strcmp(ending, ".safetensors") == 0) {
            n_files++;
            if (strcmp(name, "good.safetensors") != 0) {
                refused_file(path, name, "");
                continue;
            }
            struct weights *weights;
            assert_int_equal(weights_open(&weights, path, &err), OK);
            assert_int_equal(weights_count(weights), 2);
            weights_close(weights);
        } else if (strncmp(name, "index-", 6) == 0) {
            n_files++;
            char checkpoint[256], other[512];
            char *bytes;
            size_t n;
            snprintf(checkpoint, sizeof checkpoint, "%s/%.64s", (char *)*state, name);
            assert_int_equal(mkdir(checkpoint, 0700), 0);
            assert_int_equal(file_read(&bytes, &n, path, 1000, &err), OK);
            snprintf(other, sizeof other, "%s/" INDEX, checkpoint);
            assert_int_equal(file_write(other, bytes, n, &err), OK);
            free(bytes);
            snprintf(path, sizeof path, "%s/good.safetensors", folder);
            assert_int_equal(file_read(&bytes, &n, path, 1000, &err), OK);
            snprintf(other, sizeof other, "%s/good.safetensors", checkpoint);
            assert_int_equal(file_write(other, bytes, n, &err), OK);
            free(bytes);
            refused_file(checkpoint, INDEX,
                         strcmp(name, "index-missing.json") == 0 ? "lacks" : "same directory");
        }
    }
    closedir(dir);
    printf("golden/hostile: %d files\n", n_files);
    assert_true(n_files >= 20);
}

static void test_golden_models(void **state)
{
    (void)state;
    char folder[SHARED_PATH], path[SHARED_PATH + 300];
    if (shared_path(folder, sizeof folder, "golden/models") == NULL)
        shared_skip("golden/models");
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n_models = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s/model.safetensors", folder, entry->d_name);
        bool single = file_exists(path);
        snprintf(path, sizeof path, "%s/%s/" INDEX, folder, entry->d_name);
        if (!single && !file_exists(path))
            continue;
        struct weights *weights;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (weights_open(&weights, path, &err) != OK)
            fail_msg("%s", err.text);
        assert_true(weights_count(weights) > 10);
        weights_close(weights);
        n_models++;
    }
    closedir(dir);
    printf("golden/models: %d checkpoints\n", n_models);
    assert_true(n_models >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),          cmocka_unit_test(test_missing_and_wrong_shape),
        cmocka_unit_test(test_conversion),    cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_shards),        cmocka_unit_test(test_golden_hostile),
        cmocka_unit_test(test_golden_models),
    };
    return cmocka_run_group_tests_name("weights", tests, make_directory, remove_directory);
}
