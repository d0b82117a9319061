/* core/tokenizer.c with bpe.c and token_steps.c: small tokenizers written here, broken ones, and all golden
 * cases whose tokenizer.json is of the LLaMA kind. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/json.h"
#include "../core/limits.h"
#include "../core/tokenizer.h"
#include "shared.h"
#include <cmocka.h> /* last: its fail() would hide ours */

static struct error err;

#define LEGACY                                                                                               \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"▁\"},"                    \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"▁\"}]}"
#define METASPACE(scheme)                                                                                    \
    "{\"type\":\"Metaspace\",\"replacement\":\"▁\",\"prepend_scheme\":\"" scheme "\",\"split\":false}"
#define DECODER                                                                                              \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"▁\"},"           \
    "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"                                    \
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}"
#define TEMPLATE                                                                                             \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"        \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\","              \
    "\"ids\":[1],\"tokens\":[\"<s>\"]}}}"
#define TOKEN(id, content, flags) "{\"id\":" #id ",\"content\":\"" content "\"" flags "}"
#define SPECIALS                                                                                             \
    TOKEN(0, "<unk>", ",\"special\":true,\"normalized\":false")                                              \
    "," TOKEN(1, "<s>", ",\"special\":true,\"normalized\":false") "," TOKEN(                                 \
        2, "</s>", ",\"special\":true,\"normalized\":false")
/* Ids: 3 to 5 the bytes of é and a lone one, 6 ▁, 7 to 11 letters, 12 to 18 what they merge to. */
#define VOCABULARY                                                                                           \
    "{\"<unk>\":0,\"<s>\":1,\"</s>\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"<0x0A>\":5,\"▁\":6,\"a\":7,\"b\":8,"    \
    "\"c\":9,\"d\":10,\"▁▁\":11,\"ab\":12,\"bc\":13,\"▁a\":14,\"abc\":15,\"cd\":16,\"▁ab\":17,\"aa\":18}"
#define MERGES "[\"▁ ▁\",\"b c\",\"a b\",\"▁ a\",\"a bc\",\"c d\",\"▁ ab\",\"a a\"]"
#define MODEL(flags, vocabulary, merges)                                                                     \
    "{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"byte_fallback\":true" flags ",\"vocab\":" vocabulary        \
    ",\"merges\":" merges "}"
#define FILE_OF(added, normalizer, pre_tokenizer, post_processor, decoder, model)                            \
    "{\"version\":\"1.0\",\"added_tokens\":[" added "],\"normalizer\":" normalizer                           \
    ",\"pre_tokenizer\":" pre_tokenizer ",\"post_processor\":" post_processor ",\"decoder\":" decoder        \
    ",\"model\":" model "}"
#define PLAIN_MODEL MODEL(",\"fuse_unk\":true", VOCABULARY, MERGES)
#define IMAGE       TOKEN(19, "<image>", ",\"special\":true,\"normalized\":false")

static struct tokenizer *opened(const char *json)
{
    struct tokenizer *tokenizer;
    if (tokenizer_parse(&tokenizer, json, strlen(json), "t.json", &err) != OK)
        fail_msg("%s", err.text);
    return tokenizer;
}

static void check_ids(const int32_t *ids, int n, const int32_t *expected, int n_expected, const char *text)
{
    bool same = n == n_expected;
    for (int i = 0; same && i < n; i++)
        same = ids[i] == expected[i];
    if (same)
        return;
    printf("found:   ");
    for (int i = 0; i < n; i++)
        printf(" %d", (int)ids[i]);
    printf("\nexpected:");
    for (int i = 0; i < n_expected; i++)
        printf(" %d", (int)expected[i]);
    printf("\n");
    fail_msg("of \"%s\"", text);
}

static void encodes_n(const struct tokenizer *tokenizer, const char *text, bool special,
                      const int32_t *expected, int n_expected)
{
    int32_t *ids;
    int n;
    if (tokenizer_encode(tokenizer, &ids, &n, text, -1, special, &err) != OK)
        fail_msg("%s", err.text);
    check_ids(ids, n, expected, n_expected, text);
    free(ids);
}

#define ENCODES(tokenizer, text, ...)                                                                        \
    encodes_n(tokenizer, text, false, (int32_t[]){__VA_ARGS__},                                              \
              (int)(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)))

static void decodes_n(const struct tokenizer *tokenizer, const char *text, bool skip_special,
                      const int32_t *ids, int n)
{
    char *found = tokenizer_decode(tokenizer, ids, n, skip_special);
    assert_non_null(found);
    assert_string_equal(found, text);
    free(found);
}

#define DECODES(tokenizer, text, skip_special, ...)                                                          \
    decodes_n(tokenizer, text, skip_special, (int32_t[]){__VA_ARGS__},                                       \
              (int)(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)))

static void test_legacy_spacing(void **state)
{
    (void)state;
    struct tokenizer *t = opened(FILE_OF(SPECIALS "," IMAGE, LEGACY, "null", TEMPLATE, DECODER, PLAIN_MODEL));
    ENCODES(t, "ab", 17);
    ENCODES(t, " ab", 11, 12);
    ENCODES(t, "abc", 14, 13);                /* "b c", then "▁ a" before "a bc" */
    ENCODES(t, "cd<image>ab", 6, 16, 19, 17); /* every piece gets its ▁ */
    ENCODES(t, "<image> ab", 19, 11, 12);
    ENCODES(t, "</s><s>", 2, 1);
    ENCODES(t, " ", 11);
    encodes_n(t, "", false, NULL, 0);
    encodes_n(t, "", true, (int32_t[]){1}, 1);
    encodes_n(t, "ab", true, (int32_t[]){1, 17}, 2);
    ENCODES(t, "é\n", 6, 3, 4, 5);
    ENCODES(t, "éxyb", 6, 3, 4, 0, 8); /* x and y have no bytes: one fused <unk> */
    ENCODES(t, "aaa", 14, 18);
    assert_int_equal(tokenizer_size(t), 20);
    assert_int_equal(tokenizer_find(t, "<image>"), 19);
    assert_int_equal(tokenizer_find(t, "▁ab"), 17);
    assert_int_equal(tokenizer_find(t, "nothing"), -1);
    assert_string_equal(tokenizer_piece(t, 19), "<image>");
    assert_string_equal(tokenizer_piece(t, 14), "▁a");
    assert_null(tokenizer_piece(t, 20));
    assert_null(tokenizer_piece(t, -1));
    tokenizer_close(t);
}

static void test_metaspace_spacing(void **state)
{
    (void)state;
    struct tokenizer *t =
        opened(FILE_OF(SPECIALS "," IMAGE, "null", METASPACE("first"), TEMPLATE, DECODER, PLAIN_MODEL));
    ENCODES(t, "ab", 17);
    ENCODES(t, " ab", 17);
    ENCODES(t, "ab<image>ab", 17, 19, 12);
    ENCODES(t, "<image>ab", 19, 12);
    ENCODES(t, "ab<image> ab", 17, 19, 17);
    ENCODES(t, "▁ab", 17);
    tokenizer_close(t);
    t = opened(FILE_OF(SPECIALS "," IMAGE, "null", METASPACE("always"), "null", DECODER, PLAIN_MODEL));
    ENCODES(t, "ab<image>ab", 17, 19, 17);
    ENCODES(t, "ab<image> ab", 17, 19, 17);
    encodes_n(t, "ab", true, (int32_t[]){17}, 1);
    tokenizer_close(t);
    t = opened(
        FILE_OF(SPECIALS "," IMAGE, "null", METASPACE("never"), "null", METASPACE("never"), PLAIN_MODEL));
    ENCODES(t, "ab<image> ab", 12, 19, 17);
    DECODES(t, "  ab", false, 6, 17);
    tokenizer_close(t);
    t = opened(FILE_OF(SPECIALS, "null", "null", "null", METASPACE("always"), PLAIN_MODEL));
    ENCODES(t, "ab", 12);
    DECODES(t, "ab ab", false, 17, 17);
    tokenizer_close(t);
}

static void test_added_tokens(void **state)
{
    (void)state;
    struct tokenizer *t = opened(FILE_OF(
        SPECIALS
        "," TOKEN(20, "<i>", ",\"normalized\":false,\"lstrip\":true") "," TOKEN(21, "<i>+", ",\"normalized\":false,\"rstrip\":true") "," TOKEN(
            22, "dd",
            ",\"normalized\":false,\"single_word\":true") "," TOKEN(23, "d c",
                                                                    ",\"normalized\":true") "," TOKEN(24,
                                                                                                      "<i>++"
                                                                                                      "!",
                                                                                                      ",\"nor"
                                                                                                      "malize"
                                                                                                      "d\":"
                                                                                                      "fals"
                                                                                                      "e"),
        "null", "null", "null", "null", PLAIN_MODEL));
    ENCODES(t, "a<i>b", 7, 20, 8);
    ENCODES(t, "a \t\xe3\x80\x80<i> b", 7, 20, 0,
            8); /* blank, tab, ideographic blank taken; the last is unknown */
    ENCODES(t, "a<i>+  b", 7, 21, 8);
    ENCODES(t, "a<i>+ \n <i>b", 7, 21, 20, 8);
    ENCODES(t, "a<i>+  <i>+ <i>b", 7, 21, 21, 20, 8);
    ENCODES(t, "<i>++!<i>++", 24, 21, 0);
    ENCODES(t, "dd a", 22, 0, 7);
    ENCODES(t, "add", 7, 10, 10);
    ENCODES(t, "dda", 10, 10, 7);
    ENCODES(t, "édd", 3, 4, 10, 10);
    ENCODES(t, "(dd)", 0, 22, 0);
    ENCODES(t, "ad cb", 7, 23, 8);
    DECODES(t, "a <i> b", true, 7, 20, 8); /* not special: stays; no decoder: words */
    tokenizer_close(t);
    /* What is looked for after the normalizer is the normalized content. */
    t = opened(FILE_OF(SPECIALS "," TOKEN(20, "c d", ",\"normalized\":true"), LEGACY, "null", "null", DECODER,
                       PLAIN_MODEL));
    ENCODES(t, "ac db", 14, 9, 6, 10, 8);
    ENCODES(t, "a c db", 14, 20, 8);
    ENCODES(t, "c db", 20, 8);
    tokenizer_close(t);
}

static void test_decode(void **state)
{
    (void)state;
    struct tokenizer *t = opened(FILE_OF(SPECIALS "," IMAGE, LEGACY, "null", TEMPLATE, DECODER, PLAIN_MODEL));
    DECODES(t, "ab ab", true, 1, 17, 17, 2);
    DECODES(t, "<s> ab</s>", false, 1, 17, 2);
    DECODES(t, " a", false, 11, 7);
    DECODES(t, "aéb", false, 7, 3, 4, 8);
    DECODES(t, "a\xef\xbf\xbd\xef\xbf\xbd", false, 7, 4, 3);
    DECODES(t, "a\xef\xbf\xbd", false, 7, 3);
    DECODES(t, "a\xef\xbf\xbd b\n", false, 7, 3, 6, 8, 5);
    DECODES(t, "a", false, 7, 1000, -5, INT32_MAX);
    decodes_n(t, "", false, NULL, 0);
    DECODES(t, "", true, 1, 2, 19);
    tokenizer_close(t);
}

static void test_model_flags(void **state)
{
    (void)state;
    struct tokenizer *t =
        opened(FILE_OF(SPECIALS, "null", "null", "null", "null", MODEL("", VOCABULARY, MERGES)));
    ENCODES(t, "xyb", 0, 0, 8); /* not fused */
    tokenizer_close(t);
    t = opened(FILE_OF(SPECIALS, "null", "null", "null", "null",
                       MODEL(",\"ignore_merges\":true", VOCABULARY, "[\"#version: 0.2\",[\"a\",\"b\"]]")));
    ENCODES(t, "abc", 15);
    ENCODES(t, "abca", 12, 9, 7);
    tokenizer_close(t);
    t = opened(FILE_OF(SPECIALS, "null", "null", "null", "null",
                       "{\"type\":\"BPE\",\"vocab\":" VOCABULARY ",\"merges\":" MERGES "}"));
    ENCODES(t, "axéb", 12); /* neither bytes nor <unk>: dropped before merging */
    tokenizer_close(t);
}

static void refused(const char *json, const char *message)
{
    struct tokenizer *tokenizer = (struct tokenizer *)&err;
    assert_int_equal(tokenizer_parse(&tokenizer, json, strlen(json), "t.json", &err), BAD_INPUT);
    assert_null(tokenizer);
    if (strstr(err.text, "t.json") == NULL || strstr(err.text, message) == NULL)
        fail_msg("expected \"%s\" in: %s", message, err.text);
}

static void test_refuses(void **state)
{
    (void)state;
    refused(FILE_OF("", "{\"type\":\"NFC\"}", "null", "null", "null", PLAIN_MODEL),
            "normalizer \"NFC\" is not supported (supported: Prepend, Replace, or a Sequence of these)");
    refused(FILE_OF("", "null", "{\"type\":\"ByteLevel\"}", "null", "null", PLAIN_MODEL),
            "pre_tokenizer \"ByteLevel\" is not supported (supported: Metaspace,");
    refused(FILE_OF("", "null", "null", "{\"type\":\"ByteLevel\"}", "null", PLAIN_MODEL),
            "post_processor \"ByteLevel\" is not supported (supported: TemplateProcessing)");
    refused(
        FILE_OF("", "null", "null", "null", "{\"type\":\"WordPiece\"}", PLAIN_MODEL),
        "decoder \"WordPiece\" is not supported (supported: Replace, Metaspace, ByteFallback, Fuse, Strip,");
    refused(FILE_OF("",
                    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Sequence\",\"normalizers\":[]}]}",
                    "null", "null", "null", PLAIN_MODEL),
            "normalizer \"Sequence\"");
    refused(FILE_OF("", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x\"},\"content\":\"\"}", "null",
                    "null", "null", PLAIN_MODEL),
            "String");
    refused(
        FILE_OF("", "null", "{\"type\":\"Metaspace\",\"replacement\":\"▁\"}", "null", "null", PLAIN_MODEL),
        "split true is not supported");
    refused(FILE_OF("", "null", METASPACE("sometimes"), "null", "null", PLAIN_MODEL), "sometimes");
    refused(FILE_OF("", "null", "null", "null", "{\"type\":\"Strip\",\"content\":\"xx\"}", PLAIN_MODEL),
            "one character");
    refused(FILE_OF("", "null", "null", "null", "null", "{\"type\":\"Unigram\"}"),
            "model of type \"Unigram\" is not supported (supported: BPE)");
    refused(FILE_OF("", "null", "null", "null", "null", "null"), "expected an object");
    refused(FILE_OF("", "null", "null", "null", "null",
                    MODEL(",\"end_of_word_suffix\":\"</w>\"", VOCABULARY, MERGES)),
            "end_of_word_suffix");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL(",\"dropout\":0.1", VOCABULARY, MERGES)),
            "dropout");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL("", VOCABULARY, "[\"a d\"]")), "number 0");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL("", VOCABULARY, "[\"a b\",\"ab\"]")),
            "number 1");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL("", VOCABULARY, "[\"a b c\"]")), "number 0");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL("", VOCABULARY, "[[\"a\",7]]")), "number 0");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL("", VOCABULARY, "7")), "merges");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL("", "{}", "[]")), "vocab");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL("", "{\"a\":1,\"b\":1}", "[]")), "two pieces");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL("", "{\"a\":-1}", "[]")), "expected an id");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL("", "{\"a\":1048576}", "[]")),
            "expected an id");
    refused(FILE_OF("", "null", "null", "null", "null", MODEL("", "{\"a\":0}", "[]")), "unk_token");
    refused(FILE_OF(TOKEN(7, "x", ""), "null", "null", "null", "null", PLAIN_MODEL),
            "differs from the vocabulary");
    refused(FILE_OF(TOKEN(8, "a", ""), "null", "null", "null", "null", PLAIN_MODEL),
            "differs from the vocabulary");
    refused(FILE_OF(TOKEN(30, "x", "") "," TOKEN(31, "x", ""), "null", "null", "null", "null", PLAIN_MODEL),
            "twice");
    refused(FILE_OF(TOKEN(30, "x", "") "," TOKEN(30, "y", ""), "null", "null", "null", "null", PLAIN_MODEL),
            "id 30");
    refused(FILE_OF(TOKEN(30, "", ""), "null", "null", "null", "null", PLAIN_MODEL), "content");
    refused(FILE_OF("7", "null", "null", "null", "null", PLAIN_MODEL), "expected an object");
    refused(FILE_OF("", "null", "null",
                    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}}]}",
                    "null", PLAIN_MODEL),
            "lacks the ids");
    refused(
        FILE_OF("", "null", "null", "{\"type\":\"TemplateProcessing\",\"single\":[]}", "null", PLAIN_MODEL),
        "one Sequence");
    refused(FILE_OF(TOKEN(30, "x", ",\"normalized\":true"),
                    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"},\"content\":\"\"}", "null", "null",
                    "null", PLAIN_MODEL),
            "nothing is left of");
    refused("[]", "no JSON object");
    refused("{", "JSON");
    struct tokenizer *tokenizer;
    assert_int_equal(tokenizer_open(&tokenizer, "/tmp/winnow-no-such-folder", &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "/tmp/winnow-no-such-folder/tokenizer.json"));
}

static void test_bad_and_long_text(void **state)
{
    (void)state;
    struct tokenizer *t = opened(FILE_OF(SPECIALS "," IMAGE, LEGACY, "null", TEMPLATE, DECODER, PLAIN_MODEL));
    static const char *const bad[] = {
        "ab\xff", "ab\xc3", "ab\xc0\x80", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80", "ab\xe2\x96 "};
    int32_t *ids;
    int n;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(tokenizer_encode(t, &ids, &n, bad[i], -1, true, &err), BAD_INPUT);
        assert_non_null(strstr(err.text, "at byte 2"));
        assert_null(ids);
    }
    /* A run of one letter is the worst case of a merger that searches anew each time. */
    size_t size = 200000;
    char *text = malloc(LIMIT_TEXT_BYTES + 2);
    assert_non_null(text);
    memset(text, 'a', LIMIT_TEXT_BYTES + 1);
    assert_int_equal(tokenizer_encode(t, &ids, &n, text, (int64_t)size, false, &err), OK);
    assert_int_equal(n, (int)size / 2 + 1);
    free(ids);
    memset(text, 'b', LIMIT_PROMPT_TOKENS);
    assert_int_equal(tokenizer_encode(t, &ids, &n, text, LIMIT_PROMPT_TOKENS, false, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "1048576 tokens"));
    assert_int_equal(tokenizer_encode(t, &ids, &n, text, LIMIT_TEXT_BYTES + 1, false, &err), BAD_INPUT);
    free(text);
    tokenizer_close(t);
}

static void check_turns(const struct tokenizer *tokenizer, const json_t *json, int *n_turns)
{
    const json_t *turns = json_object_get(json, "turns");
    for (size_t i = 0; i < json_array_size(turns); i++, ++*n_turns) {
        const json_t *turn = json_array_get(turns, i);
        const json_t *lists[] = {json_object_get(turn, "prompt_ids"), json_object_get(turn, "answer_ids")};
        int32_t *values[2];
        int n[2];
        for (int k = 0; k < 2; k++) {
            n[k] = (int)json_array_size(lists[k]);
            values[k] = malloc(((size_t)n[k] + 1) * sizeof **values);
            assert_non_null(values[k]);
            for (int j = 0; j < n[k]; j++)
                values[k][j] = (int32_t)json_integer_value(json_array_get(lists[k], (size_t)j));
        }
        encodes_n(tokenizer, json_string_value(json_object_get(turn, "prompt")), i == 0, values[0], n[0]);
        decodes_n(tokenizer, json_string_value(json_object_get(turn, "answer_text")), true, values[1], n[1]);
        free(values[0]);
        free(values[1]);
    }
}

static void test_golden_cases(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"llava15-mha", "llava15-gqa", "llava15-f16", "prototype",
                                           "sparsevlm",   "fastv",       "pdrop",       "tome",
                                           "llava-next",  "video-llava"};
    char folder[SHARED_PATH], path[SHARED_PATH + 300], model[SHARED_PATH + 700];
    if (shared_path(folder, sizeof folder, "golden/cases") == NULL)
        shared_skip("golden/cases");
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n_cases = 0, n_turns = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        bool ours = false;
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
            ours = ours || strncmp(entry->d_name, prefixes[i], strlen(prefixes[i])) == 0;
        if (!ours)
            continue;
        json_t *json;
        struct tokenizer *tokenizer;
        snprintf(path, sizeof path, "%s/%s/case.json", folder, entry->d_name);
        assert_int_equal(json_read(&json, path, &err), OK);
        snprintf(model, sizeof model, "%s/%s/%.300s", folder, entry->d_name,
                 json_string_value(json_object_get(json, "model")));
        if (tokenizer_open(&tokenizer, model, &err) != OK)
            fail_msg("%s: %s", entry->d_name, err.text);
        check_turns(tokenizer, json, &n_turns);
        tokenizer_close(tokenizer);
        json_decref(json);
        n_cases++;
    }
    closedir(dir);
    printf("golden/cases: %d cases, %d turns\n", n_cases, n_turns);
    assert_true(n_cases >= 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_legacy_spacing),    cmocka_unit_test(test_metaspace_spacing),
        cmocka_unit_test(test_added_tokens),      cmocka_unit_test(test_decode),
        cmocka_unit_test(test_model_flags),       cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_bad_and_long_text), cmocka_unit_test(test_golden_cases),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
