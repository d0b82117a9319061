/* Scoring and prompts: the official scorers' figures on real answer files, parsers corner by corner, and
 * files that are not what they should be. */
#include <strings.h>

#include "harness/template.h"
#include "tests/score_bed.h"

/* ---- helpers --------------------------------------------------------------------------------------------
 */

/* Equal as the official scorer prints it, with two decimals. */
static void assert_printed(double value, double expected)
{
    char text[32], wanted[32];
    snprintf(text, sizeof text, "%.2f", value);
    snprintf(wanted, sizeof wanted, "%.2f", expected);
    assert_string_equal(text, wanted);
}

/* ---- POPE -----------------------------------------------------------------------------------------------
 */

static void pope_real_answers(void **state)
{
    (void)state;
    char questions[SHARED_PATH], labels[SHARED_PATH], answers[SHARED_PATH];
    json_t *expected = bed_expected("pope");
    if (!expected || !shared_path(questions, sizeof questions, "data/scoring/pope/llava_pope_test.jsonl") ||
        !shared_path(labels, sizeof labels, "data/scoring/pope/labels") ||
        !shared_path(answers, sizeof answers, "data/scoring/pope/answers-13b.jsonl"))
        shared_skip("data/scoring/pope");
    struct benchmark_paths paths = {.questions = questions, .annotations = labels};
    json_t *figures = bed_score("pope", &paths, answers, "official");
    static const char *const names[] = {"adversarial", "random", "popular"};
    for (int i = 0; i < 3; i++) {
        const json_t *wanted = json_object_get(expected, names[i]),
                     *found = json_object_get(figures, names[i]);
        assert_true(bed_number(found, "f1") == bed_number(wanted, "f1")); /* to the last bit */
        assert_int_equal(json_integer_value(json_object_get(found, "n")),
                         json_integer_value(json_object_get(wanted, "n")));
    }
    assert_printed(bed_number(figures, "headline"), bed_number(expected, "headline_mean_f1_x100"));
    assert_int_equal(json_array_size(json_object_get(figures, "warnings")), 0);
    json_decref(figures);
    /* lmms-eval's own functions on the same answers: accuracy 0.8697, F1 0.8593. */
    figures = bed_score("pope", &paths, answers, "lmms");
    assert_int_equal((int)lround(1e4 * bed_number(figures, "accuracy")), 8697);
    assert_int_equal((int)lround(1e4 * bed_number(figures, "f1")), 8593);
    json_decref(figures);
    json_decref(expected);
}

static void pope_parsers(void **state)
{
    (void)state;
    char path[SHARED_PATH], *bytes, *at;
    size_t n;
    struct error err;
    if (!shared_path(path, sizeof path, "data/vectors/yes_no.jsonl"))
        shared_skip("data/vectors/yes_no.jsonl");
    assert_int_equal(file_read(&bytes, &n, path, 1 << 20, &err), OK);
    struct sample sample = {.gold = "yes"};
    struct dataset data = {.benchmark = benchmark_find("pope", NULL), .samples = &sample, .n = 1};
    int n_vectors = 0;
    for (char *line = strtok_r(bytes, "\n", &at); line; line = strtok_r(NULL, "\n", &at), n_vectors++) {
        json_t *row;
        char parsed[16];
        assert_int_equal(json_parse(&row, line, strlen(line), path, &err), OK);
        const char *in = json_string_value(json_object_get(row, "in"));
        const char *official = json_string_value(json_object_get(row, "pope_official"));
        const char *vlmeval = json_string_value(json_object_get(row, "vlmevalkit_yorn"));
        double right =
            data.benchmark->score_sample(parsed, sizeof parsed, &data, 0, in, NULL, PROTOCOL_OFFICIAL);
        if (strcmp(parsed, official) != 0)
            fail_msg("\"%s\": expected %s, found %s", in, official, parsed);
        assert_true(right == (strcmp(official, "yes") == 0));
        data.benchmark->score_sample(parsed, sizeof parsed, &data, 0, in, NULL, PROTOCOL_VLMEVAL);
        if (strcasecmp(parsed, vlmeval) != 0)
            fail_msg("\"%s\" (vlmeval): expected %s, found %s", in, vlmeval, parsed);
        json_decref(row);
    }
    assert_int_equal(n_vectors, 35);
    static const char *const lmms[][2] = {
        {" Yes\n", "yes"}, {"NO", "no"}, {"yes.", "other"}, {"", "other"}, {"no way", "other"}};
    for (size_t i = 0; i < sizeof lmms / sizeof lmms[0]; i++) {
        char parsed[16];
        data.benchmark->score_sample(parsed, sizeof parsed, &data, 0, lmms[i][0], NULL, PROTOCOL_LMMS);
        assert_string_equal(parsed, lmms[i][1]);
    }
    free(bytes);
}

/* A twin of four questions: hits, a false alarm, a miss. */
static void write_small_pope(void)
{
    bed_file(
        "mini-pope/llava_pope_test.jsonl",
        "{\"question_id\": 1, \"image\": \"a.png\", \"text\": \"Is there a dog in the image?\\nShort.\", "
        "\"category\": \"adversarial\"}\n"
        "{\"question_id\": 2, \"image\": \"a.png\", \"text\": \"Is there a cat in the image?\\nShort.\", "
        "\"category\": \"adversarial\"}\n\n"
        "{\"question_id\": 3, \"image\": \"b.png\", \"text\": \"Is there a cup in the image?\\nShort.\", "
        "\"category\": \"random\"}\r\n"
        "{\"question_id\": 4, \"image\": \"b.png\", \"text\": \"Is there a bed in the image?\\nShort.\", "
        "\"category\": \"random\"}");
    bed_file("mini-pope/coco/coco_pope_adversarial.json",
             "{\"question_id\": 1, \"image\": \"a.png\", \"text\": \"Is there a dog in the image?\", "
             "\"label\": \"yes\"}\n"
             "{\"question_id\": 2, \"image\": \"a.png\", \"text\": \"Is there a cat in the image?\", "
             "\"label\": \"no\"}\n");
    bed_file("mini-pope/coco/coco_pope_random.json",
             "{\"question_id\": 3, \"image\": \"b.png\", \"text\": \"Is there a cup in the image?\", "
             "\"label\": \"yes\"}\n"
             "{\"question_id\": 4, \"image\": \"b.png\", \"text\": \"Is there a bed in the image?\", "
             "\"label\": \"yes\"}\n");
}

static void pope_twin_counts(void **state)
{
    (void)state;
    write_small_pope();
    struct benchmark_paths paths = {.root = bed_folder};
    const char *answers = bed_file("answers.jsonl", "{\"question_id\": 2, \"text\": \"yes\"}\n"
                                                    "{\"question_id\": 1, \"text\": \"no\"}\n"
                                                    "{\"question_id\": 1, \"text\": \"Yes\"}\n"
                                                    "{\"question_id\": \"3\", \"text\": \"Yes.\"}\n"
                                                    "{\"question_id\": 77, \"text\": \"no\"}\n");
    json_t *figures = bed_score("mini-pope", &paths, answers, "official");
    assert_string_equal(json_string_value(json_object_get(figures, "benchmark")), "mini-pope");
    assert_int_equal((int)bed_number(figures, "n"), 3);
    assert_int_equal((int)bed_number(figures, "n_missing"), 1);
    assert_int_equal((int)bed_number(figures, "n_duplicate"), 1);
    assert_int_equal((int)bed_number(figures, "n_unknown"), 1);
    const json_t *adversarial = json_object_get(figures, "adversarial");
    assert_true(fabs(bed_number(adversarial, "f1") - 2. / 3) < 1e-15); /* the last of two answers counts */
    assert_true(bed_number(adversarial, "yes_ratio") == 1);
    /* popular has no questions: it is named, and the mean is over the two that there are. */
    assert_true(json_is_null(json_object_get(json_object_get(figures, "popular"), "f1")));
    assert_true(bed_warned(figures, "popular"));
    assert_true(bed_warned(figures, "no answer"));
    assert_true(fabs(bed_number(figures, "headline") - 100 * (2. / 3 + 1) / 2) < 1e-12);
    json_decref(figures);

    struct dataset data;
    struct error err;
    assert_int_equal(benchmark_read(&data, "mini-pope", &paths, &err), OK);
    char wanted[256];
    snprintf(wanted, sizeof wanted, "a.png"); /* no folder of pictures there: the bare name */
    assert_string_equal(data.samples[0].image, wanted);
    assert_string_equal(data.samples[2].cluster, "b.png");
    assert_string_equal(data.samples[3].question_id, "4");
    assert_true(data.samples[3].numeric_id);
    assert_int_equal(data.samples[3].row, 3);
    assert_int_equal(strlen(data.files_sha256), 64);
    dataset_close(&data);
}

static void pope_label_of_other_version(void **state)
{
    (void)state;
    write_small_pope();
    bed_file("mini-pope/coco/coco_pope_random.json",
             "{\"question_id\": 3, \"image\": \"b.png\", \"text\": \"Is there a cup in the image?\", "
             "\"label\": \"yes\"}\n"
             "{\"question_id\": 4, \"image\": \"b.png\", \"text\": \"Is there a fox in the image?\", "
             "\"label\": \"no\"}\n");
    const char *answers = bed_file("answers.jsonl", "{\"question_id\": 1, \"text\": \"no\"}\n");
    json_t *figures =
        bed_score("mini-pope", &(struct benchmark_paths){.root = bed_folder}, answers, "official");
    assert_true(bed_warned(figures, "different versions"));
    assert_true(bed_warned(figures, "divides by zero"));
    json_decref(figures);
}

static void pope_hostile_files(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.root = bed_folder};
    write_small_pope();
    const char *cut =
        bed_file("cut.jsonl", "{\"question_id\": 1, \"text\": \"no\"}\n{\"question_id\": 2, \"te");
    bed_refused("mini-pope", &paths, cut, "cut.jsonl:2");
    bed_refused("mini-pope", &paths, bed_file("type.jsonl", "{\"question_id\": 1, \"text\": 5}\n"),
                "type.jsonl:1: \"text\"");
    bed_refused("mini-pope", &paths, bed_file("id.jsonl", "\n{\"question_id\": 1.5, \"text\": \"no\"}\n"),
                "id.jsonl:2: \"question_id\"");
    bed_refused("mini-pope", &paths, bed_file("value.jsonl", "\"no\"\n"), "value.jsonl:1");
    bed_refused("mini-pope", &paths, bed_file("list.json", "[{\"questionId\": 1}]"), "entry 0: \"text\"");
    bed_refused("mini-pope", &paths, bed_path("none.jsonl"), "none.jsonl");
    bed_refused("mini-pop", &paths, NULL, "gqa, pope");

    bed_file("mini-pope/coco/coco_pope_random.json",
             "{\"question_id\": 3, \"image\": \"b.png\", \"text\": \"Is there a cup in the image?\", "
             "\"label\": \"yes\"}\n");
    bed_refused("mini-pope", &paths, NULL, "holds 1 labels, but the question file has 2");
    bed_file("mini-pope/coco/coco_pope_random.json", "{\"label\": \"yes\"}\n{\"label\": \"maybe\"}\n");
    bed_refused("mini-pope", &paths, NULL, "coco_pope_random.json:2: \"label\"");
    unlink(bed_path("mini-pope/coco/coco_pope_random.json"));
    bed_refused("mini-pope", &paths, NULL, "coco_pope_random.json");

    bed_file("mini-pope/llava_pope_test.jsonl",
             "{\"question_id\": 1, \"image\": \"a.png\", \"text\": \"?\", \"category\": \"random\"}\n"
             "{\"question_id\": 1, \"image\": \"a.png\", \"text\": \"?\", \"category\": \"random\"}\n");
    bed_refused("mini-pope", &paths, NULL, "question_id 1 occurs twice");
    bed_file("mini-pope/llava_pope_test.jsonl",
             "{\"question_id\": 1, \"image\": \"a.png\", \"text\": \"?\", \"category\": \"hard\"}\n");
    bed_refused("mini-pope", &paths, NULL, "found \"hard\"");
    bed_file(
        "mini-pope/llava_pope_test.jsonl",
        "{\"question_id\": 1, \"image\": \"../../etc/x.png\", \"text\": \"?\", \"category\": \"random\"}\n");
    bed_refused("mini-pope", &paths, NULL, ":1: \"image\"");
    bed_file("mini-pope/llava_pope_test.jsonl", "\n\n");
    bed_refused("mini-pope", &paths, NULL, "holds no question");
    unlink(bed_path("mini-pope/llava_pope_test.jsonl"));
    bed_refused("mini-pope", &paths, NULL, "winnow world --suite mini-pope");
}

static void no_golds(void **state)
{
    (void)state;
    const char *questions = bed_file(
        "q.jsonl", "{\"question_id\": 1, \"image\": \"a.png\", \"text\": \"?\", \"category\": \"random\"}\n");
    const char *path = bed_file("a.jsonl", "{\"question_id\": 1, \"text\": \"no\"}\n");
    struct dataset data;
    struct answers answers;
    struct error err;
    json_t *figures;
    assert_int_equal(benchmark_read(&data, "pope", &(struct benchmark_paths){.questions = questions}, &err),
                     OK);
    assert_false(data.has_gold);
    assert_int_equal(answers_read(&answers, &data, path, &err), OK);
    assert_int_equal(benchmark_score(&figures, &data, &answers, PROTOCOL_OFFICIAL, &err), OK);
    assert_true(json_is_null(json_object_get(figures, "headline")));
    const char *warning = json_string_value(json_array_get(json_object_get(figures, "warnings"), 0));
    assert_non_null(strstr(warning, "--annotations"));
    json_decref(figures);
    enum protocol protocol;
    assert_int_equal(protocol_parse(&protocol, data.benchmark, "lmm", &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "official, lmms, vlmeval"));
    answers_free(&answers);
    dataset_close(&data);
}

/* ---- GQA ------------------------------------------------------------------------------------------------
 */

static void gqa_official_figures(void **state)
{
    (void)state;
    char questions[SHARED_PATH], choices[SHARED_PATH], answers[SHARED_PATH];
    json_t *expected = bed_expected("gqa_synthetic");
    if (!expected || !shared_path(questions, sizeof questions, "data/scoring/gqa/synth_questions.json") ||
        !shared_path(choices, sizeof choices, "data/scoring/gqa/synth_choices.json") ||
        !shared_path(answers, sizeof answers, "data/scoring/gqa/synth_predictions.json"))
        shared_skip("data/scoring/gqa");
    struct benchmark_paths paths = {.questions = questions, .annotations = choices};
    json_t *figures = bed_score("gqa", &paths, answers, "official");
    static const char *const names[] = {"accuracy", "binary",       "open",        "consistency",
                                        "validity", "plausibility", "distribution"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_printed(bed_number(figures, names[i]), bed_number(expected, names[i]));
    assert_true(bed_number(figures, "headline") == bed_number(figures, "accuracy"));
    assert_int_equal((int)bed_number(figures, "n"), 578);
    json_decref(figures);
    json_decref(expected);
}

/* LLaVA's question file with the official questions as annotations; 13B's real answers are read whole. */
static void gqa_real_questions(void **state)
{
    (void)state;
    char questions[SHARED_PATH], path[SHARED_PATH];
    if (!shared_path(questions, sizeof questions, "data/scoring/gqa/llava_gqa_testdev_balanced.jsonl") ||
        !shared_path(path, sizeof path, "data/scoring/gqa/answers-13b.jsonl"))
        shared_skip("data/scoring/gqa");
    struct dataset data;
    struct answers answers;
    struct error err;
    assert_int_equal(benchmark_read(&data, "gqa", &(struct benchmark_paths){.questions = questions}, &err),
                     OK);
    assert_int_equal(data.n, 12578);
    assert_false(data.has_gold);
    assert_false(data.samples[0].numeric_id);
    assert_int_equal(answers_read(&answers, &data, path, &err), OK);
    assert_int_equal(answers.n_missing + answers.n_duplicate + answers.n_unknown, 0);
    answers_free(&answers);
    dataset_close(&data);
}

static const char gqa_questions[] =
    "{\"7\": {\"question\": \"What color is it?\", \"imageId\": \"n1\", \"answer\": \"red\", \"isBalanced\": "
    "true,"
    " \"entailed\": [\"7\", \"8\"], \"groups\": {\"global\": \"color\", \"local\": null},"
    " \"types\": {\"structural\": \"query\", \"semantic\": \"attr\", \"detailed\": \"color\"},"
    " \"semantic\": [{\"operation\": \"select\", \"argument\": \"dog (1)\", \"dependencies\": []}]},"
    " \"8\": {\"question\": \"Is it red?\", \"imageId\": \"n1\", \"answer\": \"yes\", \"isBalanced\": true,"
    " \"groups\": {\"global\": null}, \"types\": {\"structural\": \"verify\"}}}";

static void gqa_twin_protocols(void **state)
{
    (void)state;
    bed_file("mini-gqa/llava_gqa_testdev_balanced.jsonl",
             "{\"question_id\": \"7\", \"image\": \"n1.png\", \"text\": \"What color is it?\\nS\"}\n"
             "{\"question_id\": \"8\", \"image\": \"n1.png\", \"text\": \"Is it red?\\nS\"}\n");
    bed_file("mini-gqa/testdev_balanced_questions.json", gqa_questions);
    struct benchmark_paths paths = {.root = bed_folder};
    const char *answers = bed_file("answers.jsonl", "{\"question_id\": \"7\", \"text\": \"Red..\"}\n"
                                                    "{\"question_id\": \"8\", \"text\": \" Yes\"}\n");
    json_t *figures = bed_score("mini-gqa", &paths, answers, "official");
    assert_true(bed_number(figures, "accuracy") == 50);
    assert_true(bed_number(figures, "open") == 100);
    assert_true(bed_number(figures, "binary") == 0);
    assert_true(bed_number(figures, "consistency") == 0);
    assert_true(bed_number(figures, "distribution") == 0);
    assert_true(json_is_null(json_object_get(figures, "validity")));
    json_decref(figures);
    figures = bed_score("mini-gqa", &paths, answers, "vlmeval"); /* strips white space, keeps periods */
    assert_true(bed_number(figures, "open") == 0);
    assert_true(bed_number(figures, "binary") == 100);
    json_decref(figures);
    figures = bed_score("mini-gqa", &paths, answers, "lmms"); /* keeps white space, drops punctuation */
    assert_true(bed_number(figures, "open") == 100);
    assert_true(bed_number(figures, "binary") == 0);
    json_decref(figures);
    /* Predictions are taken as they stand. */
    const char *list = bed_file("list.json", "[{\"questionId\": \"7\", \"prediction\": \"Red\"},"
                                             " {\"questionId\": \"8\", \"prediction\": \"yes\"}]");
    figures = bed_score("mini-gqa", &paths, list, "official");
    assert_true(bed_number(figures, "open") == 0);
    assert_true(bed_number(figures, "binary") == 100);
    json_decref(figures);
    /* A list of LLaVA's own rows is no converter's work: the words are normalised as in lines of them. */
    const char *rows = bed_file("rows.json", "[{\"question_id\": \"7\", \"text\": \"Red..\"},"
                                             " {\"question_id\": \"8\", \"text\": \" Yes\"}]");
    figures = bed_score("mini-gqa", &paths, rows, "official");
    assert_true(bed_number(figures, "open") == 100);
    assert_true(bed_number(figures, "binary") == 0);
    json_decref(figures);
    /* The question file given for the answers, and an answer of no words. */
    figures =
        bed_score("mini-gqa", &paths, bed_path("mini-gqa/llava_gqa_testdev_balanced.jsonl"), "official");
    assert_true(bed_warned(figures, "2 answers are their question word for word"));
    assert_false(bed_warned(figures, "are empty"));
    json_decref(figures);
    figures = bed_score("mini-gqa", &paths,
                        bed_file("empty.jsonl", "{\"question_id\": \"7\", \"text\": \"\"}\n"), "official");
    assert_true(bed_warned(figures, "1 answers are empty; they are scored as they stand: 7"));
    json_decref(figures);
    /* A model that ran on. */
    enum { N_LONG = 1 << 20 };
    char *ran_on = malloc(N_LONG);
    assert_non_null(ran_on);
    int n_head = snprintf(ran_on, N_LONG, "{\"question_id\": \"7\", \"text\": \"");
    memset(ran_on + n_head, 'x', (size_t)(N_LONG - n_head));
    strcpy(ran_on + N_LONG - 5, "\"}\n");
    figures = bed_score("mini-gqa", &paths, bed_file("long.jsonl", ran_on), "official");
    free(ran_on);
    assert_true(bed_number(figures, "open") == 0);
    assert_true(bed_warned(figures, "1 answers are longer than any answer limit allows"));
    assert_false(bed_warned(figures, "word for word"));
    json_decref(figures);
    /* The official questions as annotations of LLaVA's file, and alone. */
    struct benchmark_paths given = {.questions = bed_path("mini-gqa/llava_gqa_testdev_balanced.jsonl"),
                                    .annotations = bed_path("mini-gqa/testdev_balanced_questions.json")};
    figures = bed_score("gqa", &given, list, "official");
    assert_true(bed_number(figures, "accuracy") == 50);
    json_decref(figures);
    struct dataset data;
    struct error err;
    assert_int_equal(
        benchmark_read(&data, "gqa", &(struct benchmark_paths){.questions = given.annotations}, &err), OK);
    assert_string_equal(data.samples[0].text,
                        "What color is it?\nAnswer the question using a single word or phrase.");
    assert_string_equal(data.samples[0].image_name, "n1.jpg");
    assert_string_equal(data.samples[0].category, "query");
    dataset_close(&data);
}

static void gqa_hostile_files(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_path("q.json")};
    bed_file("q.json", "{\"7\": {\"answer\": \"red\", \"types\": 3}}");
    bed_refused("gqa", &paths, NULL, "\"types\"");
    bed_file("q.json", "{\"7\": {\"answer\": \"red\"}}");
    bed_refused("gqa", &paths, NULL, "\"types\"");
    bed_file("q.json", "{\"7\": {\"answer\": 7, \"types\": {\"structural\": \"query\"}}}");
    bed_refused("gqa", &paths, NULL, "\"answer\"");
    bed_file("q.json",
             "{\"7\": {\"answer\": \"a\", \"imageId\": \"n\", \"types\": {\"structural\": \"query\"},"
             " \"entailed\": [4]}}");
    bed_refused("gqa", &paths, NULL, "\"entailed\"");
    bed_file("q.json",
             "{\"7\": {\"answer\": \"a\", \"imageId\": \"n\", \"types\": {\"structural\": \"query\"},"
             " \"semantic\": [[]]}}");
    bed_refused("gqa", &paths, NULL, "expected an object");
    bed_file("q.json", "[1, 2]");
    bed_refused("gqa", &paths, NULL, "expected GQA's official questions");
    bed_file("q.json", "{\"7\": {\"valid\": [\"a\"]}}");
    bed_refused("gqa", &paths, NULL, "q.json");
    bed_file("q.json", "{\"7\": {\"answer\": \"re");
    bed_refused("gqa", &paths, NULL, "not valid JSON");
    bed_file("q.json", gqa_questions);
    paths.annotations = bed_file("c.json", "{\"7\": {\"valid\": \"red\"}}");
    bed_refused("gqa", &paths, NULL, "\"valid\"");
    paths.questions =
        bed_file("q.jsonl", "{\"question_id\": \"9\", \"image\": \"n1.png\", \"text\": \"?\"}\n");
    paths.annotations = bed_path("q.json");
    bed_refused("gqa", &paths, NULL, "question 9 has no entry");
}

#define GQA_ENTRY(id)                                                                                        \
    "\"" id "\": {\"question\": \"?\", \"imageId\": \"n1\", \"answer\": \"a, {b}]\\\"\", "                   \
    "\"types\": {\"structural\": \"query\"}}"

/* The official file is read entry by entry: what one tree of it would have refused must still be. */
static void gqa_entries(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_path("q.json")};
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"", "q.json: expected GQA's official questions"},
        {"7", "expected GQA's official questions"},
        {"\"7\"", "expected GQA's official questions"},
        {"{}", "expected GQA's official questions"},
        {"{\"7\": {}}", "expected GQA's official questions"},
        {"{", "q.json: entry 0"},
        {"{7: {}}", "q.json: entry 0: is not valid JSON"},
        {"{,}", "q.json: entry 0: is not valid JSON"},
        {"{\"7\"", "q.json: entry 0: line 1: is not valid JSON"},
        {"{\"7\" {}}", "q.json: entry 0: line 1: is not valid JSON"},
        {"{\"7\\", "q.json: entry 0: line 1: is not valid JSON"},
        {"{\"7\": 3}", "q.json: \"7\": expected an object"},
        {"{\"7\": [{\"answer\": \"a\"}]}", "q.json: \"7\": expected an object"},
        {"{\"\xff\": {\"answer\": \"a\"}}", "q.json: entry 0: line 1: is not valid JSON"},
        {"{\"\\u0000\": {\"answer\": \"a\"}}", "q.json: entry 0: line 1: is not valid JSON"},
        {"{\"7\": {\"answer\": \"a\", \"answer\": \"b\"}}", "q.json: entry 0: line 1: is not valid JSON"},
        {"{" GQA_ENTRY("7") ",}", "q.json: entry 1: is not valid JSON"},
        {"{" GQA_ENTRY("7") ", \"8\": tru}", "q.json: entry 1: line 1: is not valid JSON"},
        {"{" GQA_ENTRY("7") ", \"8\": \"x\"}", "q.json: \"8\": expected an object"},
        {"{" GQA_ENTRY("7") ", \"8\": {\"answer\": [}]}", "q.json: entry 1: line 1: is not valid JSON"},
        {"{" GQA_ENTRY("7") " " GQA_ENTRY("8") "}", "q.json: entry 1: expected a comma"},
        {"{" GQA_ENTRY("7") "] }", "q.json: entry 1: expected a comma"},
        {"{" GQA_ENTRY("7") "}}", "q.json: is not valid JSON: goes on behind its last bracket"},
        {"{" GQA_ENTRY("7") "}\n{" GQA_ENTRY("8") "}", "goes on behind its last bracket, after 1 entries"},
        {"{" GQA_ENTRY("7") "," GQA_ENTRY("8") "," GQA_ENTRY("7") "}",
         "q.json: \"7\" occurs twice, as entries 0 and 2"},
        {"{" GQA_ENTRY("7") "," GQA_ENTRY("\\u0037") "}", "q.json: \"7\" occurs twice, as entries 0 and 1"},
        {"{" GQA_ENTRY("7") ", \"8\": {\"valid\": []}}", "q.json: \"8\": \"answer\": expected a text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bed_file("q.json", cases[i].text);
        bed_refused("gqa", &paths, NULL, cases[i].expected);
    }
    /* Brackets without an end, in an entry and instead of one. */
    enum { N_DEEP = 100000 };
    char *deep = malloc(N_DEEP + 1);
    assert_non_null(deep);
    memset(deep, '[', N_DEEP);
    deep[N_DEEP] = '\0';
    bed_file("q.json", deep);
    bed_refused("gqa", &paths, NULL, "expected GQA's official questions");
    memcpy(deep, "{\"7\": ", 6);
    bed_file("q.json", deep);
    bed_refused("gqa", &paths, NULL, "q.json: entry 0: line 1: brackets are nested more than");
    free(deep);
    /* Choices are held to the same, though those of questions that are not asked are of no use. */
    bed_file("q.json", "{" GQA_ENTRY("7") "}");
    paths.annotations = bed_file("c.json", "{\"5\": {\"valid\": []}, \"6\": {}, \"5\": {\"valid\": []}}");
    bed_refused("gqa", &paths, NULL, "c.json: \"5\" occurs twice, as entries 0 and 2");
    bed_file("c.json", "{\"5\": {\"valid\": []}, \"6\": []}");
    bed_refused("gqa", &paths, NULL, "c.json: \"6\": expected an object");
    bed_file("c.json", "{\"5\": {\"valid\": []}} 6");
    bed_refused("gqa", &paths, NULL, "c.json: is not valid JSON");
    /* Questions twice, choices alone, and choices for questions. */
    paths.annotations = paths.questions;
    bed_refused("gqa", &paths, NULL, "were given already");
    bed_file("c.json", "{\"7\": {\"valid\": []}}");
    bed_refused("gqa", &(struct benchmark_paths){.questions = bed_path("c.json")}, NULL,
                "c.json: expected questions, found choices");
    paths.questions =
        bed_file("q.jsonl", "{\"question_id\": \"7\", \"image\": \"n1.png\", \"text\": \"?\"}\n");
    paths.annotations = bed_path("c.json");
    bed_refused("gqa", &paths, NULL, "c.json: has no golds to go with");
}

/* A download that broke off anywhere is refused. */
static void gqa_cut(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_path("q.json")};
    char text[sizeof gqa_questions];
    for (size_t n = 0; n + 1 < sizeof gqa_questions; n++) {
        memcpy(text, gqa_questions, n);
        text[n] = '\0';
        bed_file("q.json", text);
        bed_refused("gqa", &paths, NULL, "q.json");
    }
}

/* Ids may be spelled with escapes, blanks may stand anywhere, and a byte order mark before it all. */
static void gqa_spelling(void **state)
{
    (void)state;
    struct benchmark_paths paths = {
        .questions = bed_file("q.json", "\xef\xbb\xbf {\n" GQA_ENTRY(
                                            "\\u0037\\\"caf\\u00e9\\/") "\t,\r\n" GQA_ENTRY("8") "\n}\n"),
        .annotations = bed_file("c.json", "{\"7\\\"caf\xc3\xa9/\" :\t{\"valid\": [\"a, {b}]\\\"\"]}}")};
    struct dataset data;
    struct error err = {0};
    if (benchmark_read(&data, "gqa", &paths, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(data.n, 2);
    assert_string_equal(data.samples[0].question_id, "7\"caf\xc3\xa9/");
    assert_string_equal(data.samples[0].gold, "a, {b}]\"");
    assert_string_equal(data.samples[1].question_id, "8");
    dataset_close(&data);
    const char *answers =
        bed_file("a.jsonl", "{\"question_id\": \"7\\\"caf\\u00e9/\", \"text\": \"A, {b}]\\\"\"}\n");
    json_t *figures = bed_score("gqa", &paths, answers, "official");
    assert_true(bed_number(figures, "accuracy") == 100);
    assert_true(bed_number(figures, "validity") == 100);
    json_decref(figures);
}

/* ---- own questions, repeated ids, sums ------------------------------------------------------------------
 */

static const char own_questions[] =
    "{\"question_id\": \"x\", \"text\": \"One?\", \"answer\": \"Yes\", \"image\": \"p.png\"}\n"
    "{\"question_id\": \"x\", \"text\": \"Two?\", \"answer\": [\"no\", \"none\"], \"image\": \"p.png\"}\n"
    "{\"question_id\": \"y\", \"text\": \"Three?\"}\n";

static void own_questions_and_repeated_ids(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("own.jsonl", own_questions)};
    /* By prompt where there is one: the order of the answers does not matter. */
    const char *by_prompt =
        bed_file("a.jsonl", "{\"question_id\": \"x\", \"prompt\": \"Two?\", \"text\": \" None. \"}\n"
                            "{\"question_id\": \"x\", \"prompt\": \"One?\", \"text\": \"yes\"}\n"
                            "{\"question_id\": \"y\", \"text\": \"?\"}\n");
    json_t *figures = bed_score("jsonl", &paths, by_prompt, "official");
    assert_true(bed_number(figures, "accuracy") == 100);
    assert_int_equal((int)bed_number(figures, "n"), 2);
    assert_true(bed_warned(figures, "1 answered questions have no"));
    json_decref(figures);
    const char *in_order = bed_file("b.jsonl", "{\"question_id\": \"x\", \"text\": \"yes\"}\n"
                                               "{\"question_id\": \"x\", \"text\": \"yes\"}\n"
                                               "{\"question_id\": \"x\", \"text\": \"no\"}\n");
    figures = bed_score("jsonl", &paths, in_order, "official");
    assert_true(bed_number(figures, "accuracy") == 100); /* the third is the second row's again */
    assert_int_equal((int)bed_number(figures, "n_duplicate"), 1);
    assert_int_equal((int)bed_number(figures, "n_missing"), 1);
    json_decref(figures);
    struct dataset data;
    struct error err;
    assert_int_equal(benchmark_read(&data, "jsonl", &paths, &err), OK);
    assert_string_equal(data.samples[0].image, bed_path("p.png"));
    assert_null(data.samples[2].image);
    assert_string_equal(data.samples[2].cluster, "y");
    dataset_close(&data);
}

static void sums_by_cluster(void **state)
{
    (void)state;
    write_small_pope();
    struct dataset data;
    struct error err;
    double *sums;
    int n_clusters;
    assert_int_equal(benchmark_read(&data, "mini-pope", &(struct benchmark_paths){.root = bed_folder}, &err),
                     OK);
    const int rows[] = {0, 1, 2, 3};
    const double scores[] = {1, 0, 0, NAN};
    assert_int_equal(benchmark_sums(&sums, &n_clusters, &data, rows, scores, 4, &err), OK);
    assert_int_equal(n_clusters, 2);
    const int n = data.benchmark->n_sums;
    double total[16] = {0};
    assert_int_equal(n, 9);
    for (int i = 0; i < 2 * n; i++)
        total[i % n] += sums[i];
    /* adversarial: a hit and a false alarm; random: a miss */
    const double wanted[9] = {1, 1, 0, 0, 0, 1, 0, 0, 0};
    assert_memory_equal(total, wanted, sizeof wanted);
    assert_true(sums[0] == 1 && sums[n] == 0 && sums[n + 5] == 1);
    assert_true(fabs(data.benchmark->headline(total) - 100 * (2. / 3 + 0) / 2) < 1e-12);
    free(sums);
    dataset_close(&data);
}

/* ---- prompts --------------------------------------------------------------------------------------------
 */

/* The question is cut out of the expected prompt; what the template puts around it must give the prompt back.
 */
static void prompts_byte_for_byte(void **state)
{
    (void)state;
    char path[SHARED_PATH], *bytes, *at;
    size_t n;
    struct error err;
    if (!shared_path(path, sizeof path, "data/prompts/expected_prompts.jsonl"))
        shared_skip("data/prompts/expected_prompts.jsonl");
    assert_int_equal(file_read(&bytes, &n, path, 1 << 20, &err), OK);
    int n_prompts = 0;
    for (char *line = strtok_r(bytes, "\n", &at); line; line = strtok_r(NULL, "\n", &at), n_prompts++) {
        json_t *row;
        assert_int_equal(json_parse(&row, line, strlen(line), path, &err), OK);
        const char *wanted = json_string_value(json_object_get(row, "prompt"));
        const char *conversation = json_string_value(json_object_get(row, "conv"));
        const char *user = strstr(wanted, "USER: ") + strlen("USER: "), *image = strstr(user, "<image>\n");
        /* Several placeholders without separators (video) are part of the question. */
        int n_images = image == user;
        const char *start = n_images ? user + strlen("<image>\n") : user;
        char *question = strdup(start), *prompt;
        question[strlen(question) - strlen(" ASSISTANT:")] = '\0';
        assert_int_equal(
            template_prompt(&prompt, conversation, question, (struct placeholders){.n = n_images}, 1, &err),
            OK);
        assert_string_equal(prompt, wanted);
        free(prompt);
        free(question);
        json_decref(row);
    }
    assert_int_equal(n_prompts, 26);
    free(bytes);
}

static void prompt_templates(void **state)
{
    (void)state;
    struct error err;
    char *prompt;
    assert_int_equal(template_prompt(&prompt, "llava-hf", "Q?", (struct placeholders){.n = 1}, 1, &err), OK);
    assert_string_equal(prompt, "USER: <image>\nQ? ASSISTANT:");
    free(prompt);
    assert_int_equal(template_prompt(&prompt, "vicuna_v1", "And?", (struct placeholders){0}, 0, &err), OK);
    assert_string_equal(prompt, "</s>USER: And? ASSISTANT:");
    free(prompt);
    assert_int_equal(template_prompt(&prompt, "llava_v0", "Q?", (struct placeholders){.n = 1}, 1, &err),
                     BAD_INPUT);
    assert_non_null(strstr(err.text, "vicuna_v1, llava_v1, llava-hf"));
    assert_int_equal(template_prompt(&prompt, "llava-hf", "Q?", (struct placeholders){.n = 65}, 1, &err),
                     BAD_INPUT);
    assert_string_equal(template_names()[2], "llava-hf");
    assert_null(template_names()[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pope_real_answers),
        cmocka_unit_test(pope_parsers),
        cmocka_unit_test_setup_teardown(pope_twin_counts, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(pope_label_of_other_version, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(pope_hostile_files, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(no_golds, bed_setup, bed_teardown),
        cmocka_unit_test(gqa_official_figures),
        cmocka_unit_test(gqa_real_questions),
        cmocka_unit_test_setup_teardown(gqa_twin_protocols, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(gqa_hostile_files, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(gqa_entries, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(gqa_cut, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(gqa_spelling, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(own_questions_and_repeated_ids, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(sums_by_cluster, bed_setup, bed_teardown),
        cmocka_unit_test(prompts_byte_for_byte),
        cmocka_unit_test(prompt_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
