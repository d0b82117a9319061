/* TextVQA, VQAv2 and VizWiz: the normalisers on all vectors, TextVQA's official figure on real answers, what
 * the other two scorers' quirks come to by hand, prompts, submissions, and files that are not what they
 * should be. */
#include "tests/score_bed.h"

#include "datasets/vqa_normalise.h"
#include "harness/template.h"
#include "tests/shared.h"

#define LINE(id, text) "{\"question_id\": " id ", \"text\": \"" text "\"}\n"
#define TEN(a)         a ", " a ", " a ", " a ", " a ", " a ", " a ", " a ", " a ", " a

/* ---- normalisers ----------------------------------------------------------------------------------------
 */

static void assert_normalised(const char *in, enum vqa_rules rules, const char *expected)
{
    char *found = vqa_normalise(in, rules);
    assert_non_null(found);
    if (strcmp(found, expected) != 0)
        fail_msg("\"%s\" by rules %d: expected \"%s\", found \"%s\"", in, rules, expected, found);
    free(found);
}

static void all_vectors(void **state)
{
    (void)state;
    char path[SHARED_PATH], *bytes, *at;
    size_t n;
    struct error err;
    if (!shared_path(path, sizeof path, "data/vectors/vqa_normalise.jsonl"))
        shared_skip("data/vectors/vqa_normalise.jsonl");
    assert_int_equal(file_read(&bytes, &n, path, 1 << 20, &err), OK);
    int n_vectors = 0;
    for (char *line = strtok_r(bytes, "\n", &at); line; line = strtok_r(NULL, "\n", &at), n_vectors++) {
        static const char *const keys[] = {"evalai_m4c", "vqa_official", "vlmevalkit"};
        json_t *row;
        assert_int_equal(json_parse(&row, line, strlen(line), path, &err), OK);
        for (int i = 0; i < 3; i++)
            assert_normalised(json_string_value(json_object_get(row, "in")), (enum vqa_rules)(VQA_EVALAI + i),
                              json_string_value(json_object_get(row, keys[i])));
        json_decref(row);
    }
    assert_int_equal(n_vectors, 702);
    free(bytes);
}

/* What the vectors do not reach; expectations worked out from the rules in Python. */
static void normaliser_corners(void **state)
{
    (void)state;
    /* At most 32 periods go. */
    char periods[41], kept[9];
    memset(periods, '.', 40);
    memset(kept, '.', 8);
    periods[40] = kept[8] = '\0';
    assert_normalised(periods, VQA_OFFICIAL, kept);
    assert_normalised("", VQA_EVALAI, "");
    assert_normalised(" \n\t ", VQA_OFFICIAL, "");
    assert_normalised("the a an", VQA_EVALAI, "");
    /* White space and letters beyond ASCII. */
    assert_normalised("\xc2\xa0Two\xe3\x80\x80"
                      "dogs\xe2\x80\x83",
                      VQA_OFFICIAL, "2 dogs");
    assert_normalised("\xc3\x89T\xc3\x89 \xce\x91\xce\xa9 \xd0\x96\xd0\x8f \xef\xbc\xa1", VQA_EVALAI,
                      "\xc3\xa9t\xc3\xa9 \xce\xb1\xcf\x89 \xd0\xb6\xd1\x9f \xef\xbd\x81");
    assert_normalised("\xc4\xb0", VQA_EVALAI, "i\xcc\x87"); /* one letter becomes two */
    assert_normalised("\xc8\xba\xc8\xba\xc8\xba", VQA_EVALAI,
                      "\xe2\xb1\xa5\xe2\xb1\xa5\xe2\xb1\xa5"); /* grows */
    assert_normalised("a\xff"
                      "b \xc3",
                      VQA_EVALAI,
                      "a\xff"
                      "b \xc3"); /* no UTF-8: as it stands */
    /* A comma that goes joins what was apart. */
    assert_normalised("dog',s", VQA_EVALAI, "dog 's");
    assert_normalised("1,000-2", VQA_OFFICIAL, "10002"); /* digit,digit: every mark is deleted */
    assert_normalised("x-y z- 5", VQA_OFFICIAL, "xy z 5");
    assert_normalised("dont cant somebody'd", VQA_VLMEVAL, "don't can't somebodyd");
    assert_normalised("Im Ive", VQA_OFFICIAL, "im ive");
    assert_normalised(" The Dog\n", VQA_BLANKS, "The Dog");
    assert_normalised(" The Dog\n", VQA_AS_IS, " The Dog\n");
    char *lower = vqa_lower("WHAT \xc3\x84?");
    assert_string_equal(lower, "what \xc3\xa4?");
    free(lower);
}

static void long_text(void **state)
{
    (void)state;
    size_t n = 4 << 20;
    char *text = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        text[i] = "yall's, 3. hes \n"[i % 16];
    text[n] = '\0';
    for (int rules = VQA_AS_IS; rules <= VQA_VLMEVAL; rules++) {
        char *found = vqa_normalise(text, (enum vqa_rules)rules);
        assert_non_null(found);
        assert_true(strlen(found) <= 2 * n);
        free(found);
    }
    free(text);
}

static void soft_score(void **state)
{
    (void)state;
    const char *texts[10] = {"b", "b", "b", "b", "b", "b", "b", "b", "b", "b"};
    const double expected[] = {0, 0.3, 0.6, 0.9, 1, 1};
    double score;
    for (int n = 0; n <= 5; n++) {
        struct vqa_golds golds = {texts, 10};
        if (n > 0)
            texts[2 * n - 1] = "A";
        assert_true(vqa_score(&score, "a", &golds, VQA_EVALAI)); /* "A" is an "a", which is an article */
        assert_true(score == 0);
        assert_true(vqa_score(&score, "A", &golds, VQA_AS_IS));
        assert_true(fabs(score - expected[n]) < 1e-15);
    }
    /* Lists that are not of ten. */
    assert_true(vqa_score(&score, "A", &(struct vqa_golds){(const char *[]){"A"}, 1}, VQA_AS_IS));
    assert_true(score == 0);
    assert_true(vqa_score(&score, "A", &(struct vqa_golds){(const char *[]){"A", "A", "b"}, 3}, VQA_AS_IS));
    assert_true(fabs(score - (1. / 3 + 1. / 3 + 2. / 3) / 3) < 1e-15);
    assert_true(vqa_score(&score, "A", &(struct vqa_golds){NULL, 0}, VQA_AS_IS));
    assert_true(isnan(score));
    assert_string_equal(
        vqa_golds_commonest(&(struct vqa_golds){(const char *[]){"x", "y", "z", "z", "y"}, 5}), "y");
}

/* ---- TextVQA --------------------------------------------------------------------------------------------
 */

static void textvqa_real_answers(void **state)
{
    (void)state;
    char questions[SHARED_PATH], annotations[SHARED_PATH], answers[SHARED_PATH], text[32];
    if (!shared_path(questions, sizeof questions, "data/scoring/textvqa/llava_textvqa_val_v051_ocr.jsonl") ||
        !shared_path(annotations, sizeof annotations,
                     "data/scoring/textvqa/TextVQA_0.5.1_val.first100.json") ||
        !shared_path(answers, sizeof answers, "data/scoring/textvqa/answers-13b.jsonl"))
        shared_skip("data/scoring/textvqa");
    struct benchmark_paths paths = {.questions = questions, .annotations = annotations};
    static const char *const protocols[] = {"official", "lmms", "vlmeval"};
    for (int i = 0; i < 3; i++) {
        json_t *figures = bed_score("textvqa", &paths, answers, protocols[i]);
        snprintf(text, sizeof text, "%.2f", bed_number(figures, "accuracy"));
        assert_string_equal(text, "62.70");
        assert_true(bed_number(figures, "headline") == bed_number(figures, "accuracy"));
        assert_int_equal((int)bed_number(figures, "n"), 100);
        assert_int_equal((int)bed_number(figures, "n_unknown"), 4900);
        assert_int_equal((int)bed_number(figures, "n_missing"), 0);
        assert_true(bed_warned(figures, "4900 answered questions have no annotation"));
        json_decref(figures);
    }
}

static const char textvqa_questions[] =
    "\xef\xbb\xbf{\"question_id\": \"i1\", \"image\": \"i1.png\", \"text\": \"What \xc3\x84?\\nReference OCR "
    "token: "
    "A, B\\nShort.\"}\r\n"
    "{\"question_id\": \"i1\", \"image\": \"i1.png\", \"text\": \"Reference OCR token: "
    "A\\nWho?\\nShort.\"}\r\n"
    "{\"question_id\": \"i2\", \"image\": \"i2.png\", \"text\": \"Where?\\nShort.\"}\r\n"
    "{\"question_id\": \"i3\", \"image\": \"i3.png\", \"text\": \"OCR tokens: A. Question: Why? Short "
    "answer:\"}\r\n"
    "{\"question_id\": \"i4\", \"image\": \"i4.png\", \"text\": \"One line\"}\r\n"
    "{\"question_id\": \"i5\", \"image\": \"i5.png\", \"text\": \"Not there?\\nShort.\"}\r\n";

static const char textvqa_annotations[] =
    "{\"data\": ["
    "{\"image_id\": \"i1\", \"question\": \"what \xc3\xa4?\", \"answers\": [\"old\"]},"
    "{\"image_id\": \"i1\", \"question\": \"What \xc3\x84?\", \"answers\": [" TEN(
        "\"Two.\"") "]},"
                    "{\"image_id\": \"i1\", \"question\": \"who?\", \"answers\": [\"Ann\", \"ann!\", \"b\", "
                    "\"c\", \"d\", \"e\", "
                    "\"f\", \"g\", \"h\", \"i\"]},"
                    "{\"image_id\": \"i2\", \"question\": \"where?\", \"answers\": [" TEN(
                        "\"3.\"") "]},"
                                  "{\"image_id\": \"i3\", \"question\": \"why?\", \"answers\": [" TEN(
                                      "\"x\"") "]}]}";

static void textvqa_twin(void **state)
{
    (void)state;
    bed_file("mini-textvqa/llava_textvqa_val_v051_ocr.jsonl", textvqa_questions);
    bed_file("mini-textvqa/TextVQA_0.5.1_val.json", textvqa_annotations);
    bed_file("mini-textvqa/train_images/i1.png", "");
    struct benchmark_paths paths = {.root = bed_folder};
    /* One id, two questions: the prompt tells them apart, whatever the order. */
    const char *answers = bed_file(
        "a.jsonl",
        "{\"question_id\": \"i1\", \"prompt\": \"Reference OCR token: A\\nWho?\\nShort.\", \"text\": "
        "\"ANN\"}\n"
        "{\"question_id\": \"i1\", \"prompt\": \"What \xc3\x84?\\nReference OCR token: A, B\\nShort.\", "
        "\"text\": \"2\"}\n" LINE("\"i2\"", "3") LINE("\"i3\"", "") LINE("\"i4\"", "y") LINE("\"i5\"", "y"));
    json_t *figures = bed_score("mini-textvqa", &paths, answers, "official");
    assert_int_equal((int)bed_number(figures, "n"), 4);
    assert_int_equal((int)bed_number(figures, "n_unknown"), 2);
    /* 1 of "two." = 2, 0.6 of two Anns, 1 of "3." = 3, 0 of nothing said */
    assert_true(fabs(bed_number(figures, "accuracy") - 100 * 2.6 / 4) < 1e-9);
    assert_true(bed_warned(figures, "i4, i5"));
    assert_true(bed_warned(figures, "1 rows have a text"));
    json_decref(figures);
    figures = bed_score("mini-textvqa", &paths, answers, "vlmeval"); /* "3." keeps its period */
    assert_true(fabs(bed_number(figures, "accuracy") - 100 * 1.6 / 4) < 1e-9);
    json_decref(figures);

    struct dataset data;
    struct error err;
    assert_int_equal(benchmark_read(&data, "mini-textvqa", &paths, &err), OK);
    assert_string_equal(data.samples[0].gold, "Two.");
    assert_string_equal(data.samples[0].cluster, "i1.png");
    assert_string_equal(data.samples[0].image, bed_path("mini-textvqa/train_images/i1.png"));
    assert_null(data.samples[4].gold);
    char parsed[4];
    double right = data.benchmark->score_sample(parsed, sizeof parsed, &data, 2, "Three caf\xc3\xa9s", NULL,
                                                PROTOCOL_OFFICIAL);
    assert_true(right == 0);
    assert_string_equal(parsed, "3 c");
    right = data.benchmark->score_sample(parsed, sizeof parsed, &data, 2, "b\xc3\xa9\xc3\xa9", NULL,
                                         PROTOCOL_OFFICIAL);
    assert_string_equal(parsed, "b\xc3\xa9"); /* whole characters */
    assert_true(right == 0);
    assert_true(
        isnan(data.benchmark->score_sample(parsed, sizeof parsed, &data, 5, "y", NULL, PROTOCOL_OFFICIAL)));
    dataset_close(&data);

    unlink(bed_path("mini-textvqa/TextVQA_0.5.1_val.json"));
    figures = bed_score("mini-textvqa", &paths, answers, "official");
    assert_true(json_is_null(json_object_get(figures, "headline")));
    assert_true(bed_warned(figures, "no golds"));
    json_decref(figures);
}

static void textvqa_hostile(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("q.jsonl", textvqa_questions),
                                    .annotations = bed_path("t.json")};
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"[]", "t.json: \"data\""},
        {"{\"data\": {}}", "t.json: \"data\": expected a list of annotations, found another type"},
        {"{\"data\": [3]}", "t.json: \"data\": entry 0: expected an object"},
        {"{\"data\": [{\"image_id\": \"i1\"}]}", "entry 0: \"question\""},
        {"{\"data\": [{\"image_id\": [], \"question\": \"\"}]}", "entry 0: \"image_id\""},
        {"{\"data\": [{\"image_id\": \"i\", \"question\": \"q\"}]}",
         "\"answers\": expected a list of answers, found nothing"},
        {"{\"data\": [{\"image_id\": \"i\", \"question\": \"q\", \"answers\": []}]}", "found an empty one"},
        {"{\"data\": [{\"image_id\": \"i\", \"question\": \"q\", \"answers\": \"x\"}]}",
         "found another type"},
        {"{\"data\": [{\"image_id\": \"i\", \"question\": \"q\", \"answers\": [\"a\", 4]}]}",
         "entry 1 is neither"},
        {"{\"data\": [{\"image_id\": \"i\", \"question\": \"q\", \"answers\": [\"a\"]}]}",
         "knows none of the 6"},
        {"{\"data\": [", "not valid JSON"},
        {"{\"data\": [{\"image_id\": \"\xff\"}]}", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bed_file("t.json", cases[i].text);
        bed_refused("textvqa", &paths, NULL, cases[i].expected);
    }
    bed_refused("textvqa", &(struct benchmark_paths){.annotations = bed_path("t.json")}, NULL,
                "llava_textvqa_val_v051_ocr.jsonl");
    bed_refused("mini-textvqa", &(struct benchmark_paths){.root = bed_folder}, NULL, "--questions");
    char many[8192] = "{\"data\": [{\"image_id\": \"i\", \"question\": \"q\", \"answers\": [\"\"";
    for (int i = 0; i < VQA_GOLDS_MAX; i++)
        strcat(many, ",\"\"");
    bed_file("t.json", strcat(many, "]}]}"));
    bed_refused("textvqa", &paths, NULL, "holds 1001 answers, more than the limit of 1000");
    paths.questions = bed_file("q.jsonl", "\n\n");
    bed_refused("textvqa", &paths, NULL, "holds no question");
}

/* ---- VQAv2 ----------------------------------------------------------------------------------------------
 */

#define ANNOTATION(id, type, question_type, answers)                                                         \
    "{\"question_id\": " id ", \"answer_type\": \"" type "\", \"question_type\": \"" question_type           \
    "\", \"image_id\": 7, \"multiple_choice_answer\": \"x\", \"answers\": [" answers "]}"
#define SAID(n, text) "{\"answer\": \"" text "\", \"answer_confidence\": \"yes\", \"answer_id\": " #n "}"
#define SAID_TEN(a, b)                                                                                       \
    SAID(1, a)                                                                                               \
    "," SAID(2, a) "," SAID(3, a) "," SAID(4, b) "," SAID(5, b) "," SAID(6, b) "," SAID(7, b) "," SAID(      \
        8, b) "," SAID(9, b) "," SAID(10, b)

static const char vqav2_annotations[] =
    "{\"info\": {\"x\": \"]}\\\"\"}, \"annotations\" : [ " ANNOTATION("11", "yes/no", "is the", SAID_TEN("yes", "yes")) " ,\n" ANNOTATION(
        "12", "yes/no", "is the",
        SAID_TEN(
            "yes",
            "no")) "," ANNOTATION("13", "other", "what",
                                  SAID_TEN(
                                      "T-Shirt",
                                      "T-Shirt")) "," ANNOTATION("14", "number", "how many",
                                                                 SAID_TEN(
                                                                     "Two",
                                                                     "a dog")) "," ANNOTATION("99", "other",
                                                                                              "what",
                                                                                              SAID_TEN(
                                                                                                  "?",
                                                                                                  "?")) "], "
                                                                                                        "\"da"
                                                                                                        "ta_"
                                                                                                        "subt"
                                                                                                        "ype"
                                                                                                        "\": "
                                                                                                        "\"va"
                                                                                                        "l201"
                                                                                                        "4\""
                                                                                                        "}";

static const char vqav2_official[] =
    "{\"data_subtype\": \"val2014\", \"questions\": ["
    "{\"image_id\": 7, \"question\": \"Is the dog red?\", \"question_id\": 11},"
    "{\"image_id\": 7, \"question\": \"Is the cat red?\", \"question_id\": 12},"
    "{\"image_id\": 581929, \"question\": \"What?\", \"question_id\": 13},"
    "{\"image_id\": 7, \"question\": \"How many?\", \"question_id\": 14},"
    "{\"image_id\": 7, \"question\": \"Else?\", \"question_id\": 15}]}";

static void vqav2_scoring(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("q.json", vqav2_official),
                                    .annotations = bed_file("a.json", vqav2_annotations)};
    /* As LLaVA: "Yes." becomes "yes" before VQAEval sees it. "T-Shirt" becomes "t shirt", but the unanimous
     * golds stay "T-Shirt". "two" meets three "Two"s, normalised on both sides. */
    const char *lines = bed_file("a.jsonl", LINE("11", "Yes.") LINE("12", "Yes.") LINE("13", "T-Shirt")
                                                LINE("14", "two") LINE("15", "x"));
    json_t *figures = bed_score("vqav2", &paths, lines, "official");
    assert_true(fabs(bed_number(figures, "accuracy") - 100 * (1 + 0.9 + 0 + 0.9) / 4) < 1e-9);
    assert_true(bed_number(figures, "headline") == bed_number(figures, "accuracy"));
    assert_int_equal((int)bed_number(figures, "n"), 4);
    assert_int_equal((int)bed_number(figures, "n_unknown"), 1);
    const json_t *types = json_object_get(figures, "by_answer_type");
    assert_true(fabs(bed_number(types, "yes/no") - 95) < 1e-9);
    assert_true(fabs(bed_number(types, "number") - 90) < 1e-9);
    assert_true(bed_number(types, "other") == 0);
    assert_true(fabs(bed_number(json_object_get(figures, "by_question_type"), "is the") - 95) < 1e-9);
    json_decref(figures);
    /* Submitted as they are: unanimous golds are compared as they stand, but for blanks. */
    const char *list = bed_file("list.json", "[{\"question_id\": 11, \"answer\": \"Yes.\"},"
                                             "{\"question_id\": 12, \"answer\": \"Yes.\"},"
                                             "{\"question_id\": 13, \"answer\": \"\\tT-Shirt \"},"
                                             "{\"question_id\": 14, \"answer\": \"A dog\"}]");
    figures = bed_score("vqav2", &paths, list, "official");
    assert_true(fabs(bed_number(figures, "accuracy") - 100 * (0 + 0.9 + 1 + 1) / 4) < 1e-9);
    assert_int_equal((int)bed_number(figures, "n_missing"), 1);
    json_decref(figures);
    figures = bed_score("vqav2", &paths, lines, "lmms"); /* no exception for unanimous golds */
    assert_true(fabs(bed_number(figures, "accuracy") - 100 * (1 + 0.9 + 1 + 0.9) / 4) < 1e-9);
    json_decref(figures);

    struct dataset data;
    struct error err;
    assert_int_equal(benchmark_read(&data, "vqav2", &paths, &err), OK);
    assert_string_equal(data.samples[0].text,
                        "Is the dog red?\nAnswer the question using a single word or phrase.");
    assert_string_equal(data.samples[2].image_name, "COCO_val2014_000000581929.jpg");
    assert_string_equal(data.samples[0].cluster, data.samples[1].cluster);
    assert_true(data.samples[0].numeric_id);
    assert_string_equal(data.samples[0].category, "yes/no");
    assert_string_equal(data.samples[3].detail, "how many");
    assert_string_equal(data.samples[3].gold, "dog");
    dataset_close(&data);
}

static void assert_submitted(const char *name, const struct benchmark_paths *paths, const char *answers_path,
                             const char *expected)
{
    struct dataset data;
    struct answers answers;
    struct error err;
    char *bytes;
    size_t n;
    assert_int_equal(benchmark_read(&data, name, paths, &err), OK);
    assert_int_equal(answers_read(&answers, &data, answers_path, &err), OK);
    assert_int_equal(data.benchmark->submit(bed_path("out.json"), &data, &answers, &err), OK);
    assert_int_equal(file_read(&bytes, &n, bed_path("out.json"), 1 << 20, &err), OK);
    assert_string_equal(bytes, expected);
    free(bytes);
    assert_int_equal(data.benchmark->submit(bed_path("none/out.json"), &data, &answers, &err), BAD_INPUT);
    answers_free(&answers);
    dataset_close(&data);
}

static void vqav2_llava_files(void **state)
{
    (void)state;
    const char *question =
        "{\"question_id\": 11, \"image\": \"COCO_test2015_000000000007.jpg\", \"text\": \"Is "
        "it?\\nShort.\", \"category\": \"default\"}\n";
    bed_file("vqav2/llava_vqav2_mscoco_test-dev2015.jsonl", question);
    bed_file("vqav2/v2_mscoco_val2014_annotations.json", "never read");
    bed_file("vqav2/test2015/x", "");
    struct benchmark_paths paths = {.root = bed_folder};
    struct dataset data;
    struct error err;
    assert_int_equal(benchmark_read(&data, "vqav2", &paths, &err), OK);
    assert_string_equal(data.samples[0].image, bed_path("vqav2/test2015/COCO_test2015_000000000007.jpg"));
    assert_false(data.has_gold);
    dataset_close(&data);
    const char *answers = bed_file("a.jsonl", LINE("11", "The caf\xc3\xa9\\\"s."));
    assert_submitted("vqav2", &paths, answers, "[{\"question_id\": 11, \"answer\": \"caf\\u00E9 s\"}]");
    /* The server wants all of test2015. */
    bed_file("vqav2/llava_vqav2_mscoco_test2015.jsonl",
             "{\"question_id\": 10, \"text\": \"?\"}\n{\"question_id\": 11, \"text\": \"?\"}\n");
    assert_submitted(
        "vqav2", &paths, answers,
        "[{\"question_id\": 10, \"answer\": \"\"}, {\"question_id\": 11, \"answer\": \"caf\\u00E9 "
        "s\"}]");

    bed_file(
        "mini-vqav2/llava_vqav2_mscoco_val2014.jsonl",
        "{\"question_id\": 11, \"image\": \"COCO_val2014_000000000007.png\", \"text\": \"Is it?\\nShort.\"}\n"
        "{\"question_id\": 12, \"image\": \"COCO_val2014_000000000007.png\", \"text\": \"Is "
        "he?\\nShort.\"}\n");
    bed_file("mini-vqav2/v2_mscoco_val2014_annotations.json", vqav2_annotations);
    bed_file("mini-vqav2/val2014/x", "");
    json_t *figures = bed_score("mini-vqav2", &paths, answers, "official");
    assert_true(bed_number(figures, "accuracy") == 0);
    assert_int_equal((int)bed_number(figures, "n"), 1);
    assert_int_equal((int)bed_number(figures, "n_missing"), 1);
    json_decref(figures);
    assert_int_equal(benchmark_read(&data, "mini-vqav2", &paths, &err), OK);
    assert_string_equal(data.samples[0].image, bed_path("mini-vqav2/val2014/COCO_val2014_000000000007.png"));
    dataset_close(&data);
}

static void vqav2_hostile(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("q.json", vqav2_official),
                                    .annotations = bed_path("a.json")};
    static const struct {
        const char *text, *expected;
    } annotations[] = {
        {"", "a.json: expected an object with a list \"annotations\""},
        {"[]", "found none"},
        {"{\"annotations\": 3}", "found none"},
        {"{\"annotations\": [", "found none"},
        {"{\"annotations\": [\"]", "a.json"},
        {"{\"annotations\": [{\"question_id\": 11}]", "a.json: line 1: is not valid JSON"},
        {"{\"annotations\": [], \"annotations\": []}", "is not valid JSON"},
        {"{\"annotations\": [], \"info\": tru}", "is not valid JSON"},
        {"{\"annotations\": []} {\"annotations\": []}", "a.json: line 1: is not valid JSON"},
        {"{\"annot\\u0061tions\": []}", "found none"},
        {"{\"annotations\": [], \"annot\\u0061tions\": []}", "is not valid JSON"},
        {"{\"annotations\": [{x}]}", "a.json: \"annotations\": entry 0"},
        {"{\"annotations\": [{\"question_id\": 1} {\"question_id\": 2}]}", "entry 1: expected a comma"},
        {"{\"annotations\": [{\"question_id\": 1},]}", "entry 1: expected an object"},
        {"{\"annotations\": [[]]}", "entry 0: expected an object"},
        {"{\"annotations\": [{\"question_id\": 1.5}]}", "entry 0: \"question_id\""},
        {"{\"annotations\": [{\"question_id\": 11}]}", "entry 0: \"answers\""},
        {"{\"annotations\": [{\"question_id\": 11, \"answers\": [{\"answer\": 1}]}]}", "entry 0 is neither"},
        {"{\"annotations\": [{\"question_id\": 11, \"answers\": [\"a\"]}]}", "entry 0: \"answer_type\""},
        {"{\"annotations\": [{\"question_id\": 11, \"answers\": [\"a\"], \"answer_type\": \"o\", "
         "\"question_type\": 5}]}",
         "entry 0: \"question_type\""},
        {"{\"annotations\": [{\"question_id\": 77}]}", "knows none of the 5 questions"},
    };
    for (size_t i = 0; i < sizeof annotations / sizeof annotations[0]; i++) {
        bed_file("a.json", annotations[i].text);
        bed_refused("vqav2", &paths, NULL, annotations[i].expected);
    }
    paths.annotations = NULL;
    static const struct {
        const char *text, *expected;
    } questions[] = {
        {"{\"questions\": []}", "\"data_subtype\""},
        {"{\"data_subtype\": \"../x\", \"questions\": []}", "\"data_subtype\": expected a split"},
        {"{\"data_subtype\": \"val2014\", \"questions\": []}", "holds no question"},
        {"{\"data_subtype\": \"val2014\", \"questions\": [{\"question_id\": 1, \"question\": \"?\"}]}",
         "entry 0: \"image_id\""},
        {"{\"data_subtype\": \"val2014\", \"questions\": [{\"question_id\": 1, \"question\": \"?\", "
         "\"image_id\": "
         "-4}]}",
         "entry 0: \"image_id\""},
        {"{\"data_subtype\": \"val2014\", \"questions\": [{\"question_id\": 1, \"question\": 1, "
         "\"image_id\": "
         "4}]}",
         "entry 0: \"question\""},
    };
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        bed_file("q.json", questions[i].text);
        bed_refused("vqav2", &paths, NULL, questions[i].expected);
    }
    paths.questions = bed_file("q.jsonl", LINE("1", "?") LINE("1", "?"));
    bed_refused("vqav2", &paths, NULL, "question_id 1 occurs twice");
    bed_refused("mini-vqav2", &(struct benchmark_paths){.root = bed_folder}, NULL,
                "llava_vqav2_mscoco_val2014.jsonl");
}

/* A download that broke off anywhere is refused. */
static void vqav2_cut(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("q.json", vqav2_official),
                                    .annotations = bed_path("a.json")};
    char text[sizeof vqav2_annotations];
    for (size_t n = 0; n + 1 < sizeof vqav2_annotations; n += n < 200 ? 1 : 7) {
        memcpy(text, vqav2_annotations, n);
        text[n] = '\0';
        bed_file("a.json", text);
        bed_refused("vqav2", &paths, NULL, "a.json");
    }
    paths.annotations = NULL;
    for (size_t n = 0; n + 1 < sizeof vqav2_official; n++) {
        memcpy(text, vqav2_official, n);
        text[n] = '\0';
        bed_file("q.json", text);
        bed_refused("vqav2", &paths, NULL, "q.json");
    }
}

static void odd_answers(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("q.json", vqav2_official),
                                    .annotations = bed_file("a.json", vqav2_annotations)};
    const char *answers = bed_file("a.jsonl", "\xef\xbb\xbf" LINE("11", "no") "\r\n" LINE("11", "yes")
                                                  LINE("12", "") LINE("77", "x") LINE("14", "tw\xffo"));
    json_t *figures = bed_score("vqav2", &paths, answers, "official");
    assert_int_equal((int)bed_number(figures, "n"), 3);
    assert_int_equal((int)bed_number(figures, "n_duplicate"), 1);
    assert_int_equal((int)bed_number(figures, "n_unknown"), 1);
    assert_int_equal((int)bed_number(figures, "n_missing"), 2);
    assert_true(bed_warned(figures, "no UTF-8"));
    assert_true(fabs(bed_number(figures, "accuracy") - 100. / 3) < 1e-9); /* the last "yes" counts */
    json_decref(figures);
    /* A megabyte, said by nobody. */
    size_t n = 1 << 20;
    char *line = malloc(n + 100);
    int at = sprintf(line, "{\"question_id\": 12, \"text\": \"");
    memset(line + at, 'y', n);
    strcpy(line + (size_t)at + n, "\"}\n");
    figures = bed_score("vqav2", &paths, bed_file("long.jsonl", line), "official");
    assert_true(bed_number(figures, "accuracy") == 0);
    json_decref(figures);
    free(line);
}

/* ---- VizWiz ---------------------------------------------------------------------------------------------
 */

#define ENTRY(image, type, answers)                                                                          \
    "{\"image\": \"" image "\", \"question\": \"What is this?\", \"answer_type\": \"" type                   \
    "\", \"answerable\": 1, \"answers\": [" answers "]}"

static const char vizwiz_val[] =
    "[" ENTRY("VizWiz_val_00000000.jpg", "unanswerable", SAID_TEN("unanswerable", "unanswerable")) "," ENTRY(
        "VizWiz_val_00000001.jpg", "other",
        SAID_TEN("Coca-Cola", "coke")) "," ENTRY("VizWiz_val_00000002.jpg", "other",
                                                 SAID_TEN("two", "2")) "]";

static void vizwiz_scoring(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("val.json", vizwiz_val)};
    const char *answers =
        bed_file("a.jsonl", LINE("0", "Unanswerable.") LINE("1", "Coca-Cola") LINE("2", "two"));
    /* "coca cola" is none of the raw golds; "two" becomes 2, which seven said. */
    json_t *figures = bed_score("vizwiz", &paths, answers, "official");
    assert_true(fabs(bed_number(figures, "accuracy") - 100 * (1 + 0 + 1) / 3.) < 1e-9);
    const json_t *types = json_object_get(figures, "by_answer_type");
    assert_true(fabs(bed_number(types, "unanswerable") - 100) < 1e-9);
    assert_true(fabs(bed_number(types, "other") - 50) < 1e-9);
    json_decref(figures);
    figures = bed_score("vizwiz", &paths, answers, "lmms"); /* three said Coca-Cola */
    assert_true(fabs(bed_number(figures, "accuracy") - 100 * (1 + 0.9 + 1) / 3.) < 1e-9);
    json_decref(figures);
    assert_submitted("vizwiz", &paths, bed_file("b.jsonl", LINE("1", "The Coca-Cola.")),
                     "[{\"image\": \"VizWiz_val_00000000.jpg\", \"answer\": \"\"}, "
                     "{\"image\": \"VizWiz_val_00000001.jpg\", \"answer\": \"coca cola\"}, "
                     "{\"image\": \"VizWiz_val_00000002.jpg\", \"answer\": \"\"}]");

    struct dataset data;
    struct error err;
    assert_int_equal(benchmark_read(&data, "vizwiz", &paths, &err), OK);
    assert_string_equal(data.samples[1].gold, "coke");
    assert_string_equal(data.samples[1].cluster, "VizWiz_val_00000001.jpg");
    assert_string_equal(data.samples[1].question_id, "1");
    dataset_close(&data);
}

static void vizwiz_llava_files(void **state)
{
    (void)state;
    bed_file("mini-vizwiz/llava_val.jsonl",
             "{\"question_id\": 0, \"image\": \"a.png\", \"text\": \"Is it?\\nWhen.\"}\n"
             "{\"question_id\": 1, \"image\": \"a.png\", \"text\": \"What is this?\\nWhen.\"}\n"
             "{\"question_id\": 2, \"image\": \"b.png\", \"text\": \"What is this?\\nWhen.\"}\n");
    bed_file(
        "mini-vizwiz/val.json",
        "[{\"image\": \"a.png\", \"question\": \"Is it?\", \"answer_type\": \"yes/no\", \"answers\": [" TEN(
            "\"yes\"") "]}," ENTRY("a.png", "other", SAID_TEN("dog", "dog")) "]");
    bed_file("mini-vizwiz/val/x", "");
    struct benchmark_paths paths = {.root = bed_folder};
    const char *answers = bed_file("a.jsonl", LINE("0", "Yes") LINE("1", "a dog") LINE("2", "unanswerable"));
    json_t *figures = bed_score("mini-vizwiz", &paths, answers, "official");
    assert_true(bed_number(figures, "accuracy") == 100);
    assert_int_equal((int)bed_number(figures, "n"), 2);
    assert_int_equal((int)bed_number(figures, "n_unknown"), 1);
    json_decref(figures);
    struct dataset data;
    struct error err;
    assert_int_equal(benchmark_read(&data, "mini-vizwiz", &paths, &err), OK);
    assert_string_equal(data.samples[2].image, bed_path("mini-vizwiz/val/b.png"));
    dataset_close(&data);
    /* val.json lies beside LLaVA's questions of the test split. */
    bed_file("vizwiz/llava_test.jsonl",
             "{\"question_id\": 0, \"image\": \"t.jpg\", \"text\": \"Is it?\\nWhen.\"}\n");
    bed_file("vizwiz/val.json", vizwiz_val);
    assert_int_equal(benchmark_read(&data, "vizwiz", &paths, &err), OK);
    assert_false(data.has_gold);
    dataset_close(&data);
    paths.annotations = bed_path("vizwiz/val.json");
    bed_refused("vizwiz", &paths, NULL, "has answers to none of the 1 questions");
}

static void vizwiz_hostile(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_path("val.json")};
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"{}", "val.json: expected a list of questions, found another document"},
        {"[]", "an empty one"},
        {"[1]", "val.json: entry 0: expected an object"},
        {"[{\"image\": 1}]", "entry 0: \"image\""},
        {"[{\"image\": \"a\", \"question\": []}]", "entry 0: \"question\""},
        {"[{\"image\": \"a\", \"question\": \"\", \"answers\": [[]]}]", "entry 0: \"answers\""},
        {"[{\"image\": \"a\", \"question\": \"\", \"answers\": [\"a\"]}]", "entry 0: \"answer_type\""},
        {"[{\"image\": \"a\", \"question\": \"\", \"answers\": [\"a\"], \"answerable\": 2}]",
         "\"answerable\""},
        {"[{\"image\": \"../a\", \"question\": \"\"}]", "entry 0: \"image\""},
        {"[{\"image\": \"a\"", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bed_file("val.json", cases[i].text);
        bed_refused("vizwiz", &paths, NULL, cases[i].expected);
    }
    bed_refused("mini-vizwiz", &(struct benchmark_paths){.root = bed_folder}, NULL, "llava_val.jsonl");
    bed_refused("vizwiz", &(struct benchmark_paths){.root = bed_folder}, NULL, "llava_test.jsonl");
}

/* ---- prompts --------------------------------------------------------------------------------------------
 */

/* The expected prompts of one benchmark must come out of the texts that its reader makes. */
static void assert_prompts(const char *name, const struct benchmark_paths *paths, int n_expected)
{
    char path[SHARED_PATH], *bytes, *at;
    size_t n;
    struct error err = {0};
    struct dataset data;
    int n_prompts = 0;
    shared_path(path, sizeof path, "data/prompts/expected_prompts.jsonl");
    assert_int_equal(file_read(&bytes, &n, path, 1 << 20, &err), OK);
    if (benchmark_read(&data, name, paths, &err) != OK)
        fail_msg("%s", err.text);
    for (char *line = strtok_r(bytes, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
        json_t *row;
        char *prompt;
        assert_int_equal(json_parse(&row, line, strlen(line), path, &err), OK);
        if (strcmp(json_string_value(json_object_get(row, "benchmark")), name) == 0) {
            assert_int_equal(template_prompt(&prompt, json_string_value(json_object_get(row, "conv")),
                                             data.samples[n_prompts++].text, (struct placeholders){.n = 1}, 1,
                                             &err),
                             OK);
            assert_string_equal(prompt, json_string_value(json_object_get(row, "prompt")));
            assert_int_equal(json_integer_value(json_object_get(row, "max_new_tokens")),
                             data.benchmark->max_new_tokens);
            free(prompt);
        }
        json_decref(row);
    }
    assert_int_equal(n_prompts, n_expected);
    dataset_close(&data);
    free(bytes);
}

static void prompts(void **state)
{
    (void)state;
    char path[SHARED_PATH], questions[SHARED_PATH];
    if (!shared_path(path, sizeof path, "data/prompts/expected_prompts.jsonl") ||
        !shared_path(questions, sizeof questions, "data/scoring/textvqa/llava_textvqa_val_v051_ocr.jsonl"))
        shared_skip("data/prompts/expected_prompts.jsonl");
    assert_prompts("textvqa", &(struct benchmark_paths){.questions = questions}, 3);
    const char *official = bed_file(
        "test.json", "[{\"image\": \"a\", \"question\": \"What is this? and what color is it?\"},"
                     "{\"image\": \"b\", \"question\": \"What is this?\"},"
                     "{\"image\": \"c\", \"question\": \"Has this oven gotten up to four hundred fifty "
                     "degrees fahrenheit yet?\"}]");
    assert_prompts("vizwiz", &(struct benchmark_paths){.questions = official}, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_vectors),
        cmocka_unit_test(normaliser_corners),
        cmocka_unit_test(long_text),
        cmocka_unit_test(soft_score),
        cmocka_unit_test(textvqa_real_answers),
        cmocka_unit_test_setup_teardown(textvqa_twin, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(textvqa_hostile, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(vqav2_scoring, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(vqav2_llava_files, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(vqav2_hostile, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(vqav2_cut, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(odd_answers, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(vizwiz_scoring, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(vizwiz_llava_files, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(vizwiz_hostile, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(prompts, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
