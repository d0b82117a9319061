/* MME and MM-Vet against their official figures, every yes-or-no parser on 35 answers, prompts, what is
 * handed to the official tools, and answer files that are not what they should be. */
#include <strings.h>

#include "core/sha256.h"
#include "datasets/short_answer.h"
#include "datasets/yes_no.h"
#include "harness/template.h"
#include "tests/score_bed.h"

/* ---- files and figures ---------------------------------------------------------------------- */

static double inner(const json_t *figures, const char *key, const char *part)
{
    return bed_number(json_object_get(figures, key), part);
}

/* ---- real files ----------------------------------------------------------------------------- */

static char shared[8][SHARED_PATH];

static const char *scoring(int slot, const char *name)
{
    char relative[200];
    snprintf(relative, sizeof relative, "data/scoring/%s", name);
    return shared_path(shared[slot], sizeof shared[slot], relative);
}

static void mme_real_answers(void **state)
{
    (void)state;
    static const char *const protocols[] = {"official", "lmms"}; /* equal on these answers */
    struct benchmark_paths paths = {.questions = scoring(0, "mme/llava_mme.jsonl"),
                                    .annotations = scoring(1, "mme/gold")};
    const char *answers = scoring(2, "mme/answers-13b.jsonl");
    if (!paths.questions || !paths.annotations || !answers)
        shared_skip("data/scoring/mme");
    for (int i = 0; i < 2; i++) {
        json_t *figures = bed_score("mme", &paths, answers, protocols[i]);
        assert_true(fabs(bed_number(figures, "perception") - 1531.3187274909965) < 1e-9);
        assert_true(fabs(bed_number(figures, "cognition") - 295.3571428571429) < 1e-9);
        assert_true(bed_number(figures, "headline") ==
                    bed_number(figures, "perception") + bed_number(figures, "cognition"));
        assert_int_equal((int)bed_number(figures, "n"), 2374);
        assert_int_equal((int)bed_number(figures, "n_unknown"), 0);
        assert_int_equal((int)bed_number(figures, "maximum"), 2800);
        assert_int_equal((int)json_object_size(json_object_get(figures, "categories")), 14);
        assert_int_equal((int)json_array_size(json_object_get(figures, "warnings")), 0);
        json_decref(figures);
    }
    json_t *figures = bed_score("mme", &paths, answers, "vlmeval");
    assert_true(bed_number(figures, "headline") > 1500);
    json_decref(figures);
}

/* The bootstrap's sums say what the official figures say. */
static void mme_sums_are_the_figures(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = scoring(0, "mme/llava_mme.jsonl"),
                                    .annotations = scoring(1, "mme/gold")};
    struct dataset data;
    struct error err;
    if (!paths.questions || !paths.annotations)
        shared_skip("data/scoring/mme");
    assert_int_equal(benchmark_read(&data, "mme", &paths, &err), OK);
    int *rows = calloc((size_t)data.n, sizeof *rows), n_clusters;
    double *scores = calloc((size_t)data.n, sizeof *scores), *sums, total[64] = {0};
    for (int i = 0; i < data.n; i++) {
        rows[i] = i;
        scores[i] = 1;
    }
    assert_int_equal(benchmark_sums(&sums, &n_clusters, &data, rows, scores, data.n, &err), OK);
    assert_int_equal(n_clusters, 1187);
    assert_true(data.benchmark->n_sums <= 64);
    for (int i = 0; i < n_clusters * data.benchmark->n_sums; i++)
        total[i % data.benchmark->n_sums] += sums[i];
    assert_true(fabs(data.benchmark->headline(total) - 2800) < 1e-9);
    free(rows);
    free(scores);
    free(sums);
    dataset_close(&data);
}

static void mmvet_stored_grades(void **state)
{
    (void)state;
    const char *all_path = scoring(4, "expected.json");
    struct benchmark_paths paths = {.annotations = scoring(1, "mmvet/grades-13b.json")};
    const char *answers = scoring(2, "mmvet/answers-13b.json");
    const char *questions[] = {scoring(0, "mmvet/llava-mm-vet.jsonl"), scoring(3, "mmvet/mm-vet.json")};
    struct error err;
    json_t *all;
    if (!all_path || !paths.annotations || !answers || !questions[0] || !questions[1])
        shared_skip("data/scoring/mmvet");
    assert_int_equal(json_read(&all, all_path, &err), OK);
    const json_t *expected = json_object_get(all, "mmvet");
    for (int i = 0; i < 2; i++) { /* either question file */
        const char *key;
        json_t *value;
        paths.questions = questions[i];
        json_t *figures = bed_score("mmvet", &paths, answers, "official");
        assert_true(bed_number(figures, "total") == bed_number(expected, "total"));
        assert_true(bed_number(figures, "headline") == bed_number(expected, "total"));
        json_object_foreach(json_object_get(expected, "capabilities"), key, value)
            assert_true(inner(figures, "capabilities", key) == json_number_value(value));
        assert_int_equal((int)json_object_size(json_object_get(figures, "capability_sets")), 16);
        assert_int_equal((int)bed_number(figures, "n"), 218);
        json_decref(figures);
    }
    json_decref(all);
    /* Without grades there is no score, and no judge is asked here. */
    paths.annotations = NULL;
    json_t *figures = bed_score("mmvet", &paths, answers, "official");
    assert_true(json_is_null(json_object_get(figures, "headline")));
    assert_true(bed_warned(figures, "WINNOW_JUDGE_URL"));
    json_decref(figures);
}

/* ---- parsers -------------------------------------------------------------------------------- */

static void yes_no_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        const char *(*parse)(const char *answer);
    } parsers[] = {{"pope_official", yes_no_sentence},
                   {"mme_official(line has trailing newline)", yes_no_four},
                   {"mme_lmms", yes_no_four_stripped},
                   {"vlmevalkit_yorn", yes_no_words}};
    char path[SHARED_PATH], *bytes, *at;
    size_t n;
    struct error err;
    int n_vectors = 0;
    if (!shared_path(path, sizeof path, "data/vectors/yes_no.jsonl"))
        shared_skip("data/vectors/yes_no.jsonl");
    assert_int_equal(file_read(&bytes, &n, path, 1 << 20, &err), OK);
    for (char *line = strtok_r(bytes, "\n", &at); line; line = strtok_r(NULL, "\n", &at), n_vectors++) {
        json_t *row;
        assert_int_equal(json_parse(&row, line, strlen(line), path, &err), OK);
        const char *answer = json_string_value(json_object_get(row, "in"));
        for (size_t p = 0; p < sizeof parsers / sizeof *parsers; p++) {
            const char *wanted = json_string_value(json_object_get(row, parsers[p].key));
            if (strcasecmp(parsers[p].parse(answer), wanted) != 0)
                fail_msg("%s of \"%s\": expected %s, found %s", parsers[p].key, answer, wanted,
                         parsers[p].parse(answer));
        }
        json_decref(row);
    }
    assert_int_equal(n_vectors, 35);
    free(bytes);
    /* Characters are counted, not bytes; broken UTF-8 counts a byte as one. */
    assert_string_equal(yes_no_four("éyes"), "yes");
    assert_string_equal(yes_no_four("éééyes"), "other");
    assert_string_equal(yes_no_four("\xff\xffno"), "no");
    assert_string_equal(yes_no_four_stripped(" N. "), "no");
    assert_string_equal(yes_no_four_stripped("..y.e.s"), "yes");
    assert_string_equal(yes_no_four_stripped(""), "other");
}

static bool right(const char *answer, const char *gold)
{
    char normalised[SHORT_ANSWER_SIZE];
    short_answer_normalise(normalised, answer, strlen(answer));
    return short_answer_is_right(normalised, gold);
}

static void short_answers(void **state)
{
    (void)state;
    assert_true(right(" Red. ", "blue<OR>red"));
    assert_false(right("red car", "red"));
    assert_true(right("blue and Red", "red<AND>blue"));
    assert_true(right("red, blue, and green", "red<AND>green"));
    assert_false(right("red", "red<AND>blue"));
    assert_true(right("3", "red<AND>blue<OR>3"));
    assert_false(right("", "red"));
}

static void prompts(void **state)
{
    (void)state;
    static const char *const names[] = {"mme", "mmvet"};
    char path[SHARED_PATH], *bytes, *at;
    size_t n;
    struct error err;
    int n_prompts = 0;
    struct dataset sets[2];
    const struct benchmark_paths paths[] = {{.questions = scoring(0, "mme/llava_mme.jsonl")},
                                            {.questions = scoring(1, "mmvet/llava-mm-vet.jsonl")}};
    if (!shared_path(path, sizeof path, "data/prompts/expected_prompts.jsonl") || !paths[0].questions ||
        !paths[1].questions)
        shared_skip("data/prompts/expected_prompts.jsonl");
    for (int i = 0; i < 2; i++)
        assert_int_equal(benchmark_read(&sets[i], names[i], &paths[i], &err), OK);
    assert_int_equal(file_read(&bytes, &n, path, 1 << 20, &err), OK);
    for (char *line = strtok_r(bytes, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
        json_t *row;
        assert_int_equal(json_parse(&row, line, strlen(line), path, &err), OK);
        const char *name = json_string_value(json_object_get(row, "benchmark"));
        for (int i = 0; i < 2; i++) {
            if (strcmp(name, names[i]) != 0)
                continue;
            const struct dataset *data = &sets[i];
            const char *conversation = json_string_value(json_object_get(row, "conv"));
            const char *wanted = json_string_value(json_object_get(row, "prompt"));
            bool found = false; /* the prompt of some row of the question file */
            for (int k = 0; k < data->n && !found; k++) {
                char *prompt;
                assert_int_equal(template_prompt(&prompt, conversation, data->samples[k].text,
                                                 sample_placeholders(data, k), 1, &err),
                                 OK);
                found = strcmp(prompt, wanted) == 0;
                free(prompt);
            }
            assert_true(found);
            assert_int_equal(data->benchmark->max_new_tokens,
                             json_integer_value(json_object_get(row, "max_new_tokens")));
            n_prompts++;
        }
        json_decref(row);
    }
    assert_int_equal(n_prompts, 6);
    free(bytes);
    dataset_close(&sets[0]);
    dataset_close(&sets[1]);
}

/* ---- MME, a small one ----------------------------------------------------------------------- */

#define SUFFIX "\\nAnswer the question using a single word or phrase."

/* Two pictures with their own files, one in the folders of the five categories that have such. */
static struct benchmark_paths small_mme(void)
{
    bed_file("mini-mme/llava_mme.jsonl",
             "{\"question_id\": \"count/1.png\", \"image\": \"count/1.png\", \"text\": \"Two?" SUFFIX "\"}\n"
             "{\"question_id\": \"count/1.png\", \"image\": \"count/1.png\", \"text\": \"Three?" SUFFIX
             "\"}\n"
             "{\"question_id\": \"scene/images/2.png\", \"image\": \"scene/images/2.png\", \"text\": "
             "\"A park?" SUFFIX "\"}\n"
             "{\"question_id\": \"scene/images/2.png\", \"image\": \"scene/images/2.png\", \"text\": "
             "\"A shop?" SUFFIX "\"}\n"
             "{\"question_id\": \"code_reasoning/3.png\", \"image\": \"code_reasoning/3.png\", \"text\": "
             "\"C?" SUFFIX "\"}\n"
             "{\"question_id\": \"code_reasoning/3.png\", \"image\": \"code_reasoning/3.png\", \"text\": "
             "\"Perl?" SUFFIX "\"}\n");
    bed_file("mini-mme/MME_Benchmark_release_version/count/1.txt",
             "\xef\xbb\xbfTwo? Please answer yes or no.\tYes\r\nThree?  Please answer yes or no.\tNo");
    bed_file("mini-mme/MME_Benchmark_release_version/scene/questions_answers_YN/2.txt",
             "A park? Please answer yes or no.\tYes\nA shop? Please answer yes or no.\tNo\n");
    bed_file("mini-mme/MME_Benchmark_release_version/code_reasoning/3.txt",
             "C? Please answer yes or no.\tYes\nPerl? Please answer yes or no.\tNo\n");
    return (struct benchmark_paths){.root = bed_folder};
}

static const char small_answers[] =
    "{\"question_id\": \"count/1.png\", \"prompt\": \"Two?" SUFFIX "\", \"text\": \"Yes\"}\n"
    "{\"question_id\": \"count/1.png\", \"prompt\": \"Three?" SUFFIX "\", \"text\": \"No\"}\n"
    "{\"question_id\": \"scene/images/2.png\", \"prompt\": \"A park?" SUFFIX "\", \"text\": \"yes.\"}\n"
    "{\"question_id\": \"scene/images/2.png\", \"prompt\": \"A shop?" SUFFIX "\", \"text\": \"Yes\"}\n"
    "{\"question_id\": \"code_reasoning/3.png\", \"prompt\": \"C?" SUFFIX "\", \"text\": \"It is\"}\n"
    "{\"question_id\": \"code_reasoning/3.png\", \"prompt\": \"Perl?" SUFFIX "\", \"text\": \"no\\t!\"}\n";

static void mme_small(void **state)
{
    (void)state;
    struct benchmark_paths paths = small_mme();
    json_t *figures = bed_score("mini-mme", &paths, bed_file("a.jsonl", small_answers), "official");
    assert_true(bed_number(figures, "perception") == 250); /* 200, and 50 of two questions without the pair */
    assert_true(bed_number(figures, "cognition") == 50);
    assert_true(bed_number(figures, "headline") == 300);
    assert_int_equal((int)bed_number(figures, "maximum"), 600);
    const json_t *scene = json_object_get(json_object_get(figures, "categories"), "scene");
    assert_true(bed_number(scene, "acc") == 0.5 && bed_number(scene, "acc_plus") == 0);
    assert_true(bed_number(scene, "score") == 50 && bed_number(scene, "n") == 2);
    json_decref(figures);
    /* By prompt, in any order; a missing answer leaves its picture out of acc_plus, not its twin out of acc.
     */
    char *shuffled = strdup(small_answers), *second = strchr(shuffled, '\n') + 1;
    char moved[2048];
    snprintf(moved, sizeof moved, "%s", strchr(second, '\n') + 1);
    *strchr(second, '\n') = '\0';
    strcat(moved, second);
    figures = bed_score("mini-mme", &paths, bed_file("b.jsonl", moved), "official");
    assert_int_equal((int)bed_number(figures, "n_missing"), 1);
    assert_true(bed_warned(figures, "another order"));
    assert_true(bed_warned(figures, "one answer with a gold"));
    const json_t *count = json_object_get(json_object_get(figures, "categories"), "count");
    assert_true(bed_number(count, "acc") == 1 && isnan(bed_number(count, "acc_plus")));
    json_decref(figures);
    free(shuffled);
    /* A row without a gold is counted and named. */
    bed_file("mini-mme/MME_Benchmark_release_version/code_reasoning/3.txt",
             "C? Please answer yes or no.\tYes\nRuby? Please answer yes or no.\tNo\n");
    figures = bed_score("mini-mme", &paths, bed_path("a.jsonl"), "official");
    assert_int_equal((int)bed_number(figures, "n_unknown"), 1);
    assert_true(bed_warned(figures, "no gold in the annotations"));
    assert_true(bed_warned(figures, "code_reasoning/3.png"));
    assert_int_equal((int)bed_number(figures, "n"), 5);
    json_decref(figures);
}

static void mme_submission(void **state)
{
    (void)state;
    struct benchmark_paths paths = small_mme();
    struct dataset data;
    struct answers answers;
    struct error err = {0};
    char *bytes;
    size_t n;
    assert_int_equal(benchmark_read(&data, "mini-mme", &paths, &err), OK);
    assert_int_equal(answers_read(&answers, &data, bed_file("a.jsonl", small_answers), &err), OK);
    answers.text[3] = NULL; /* half a picture is not handed in */
    assert_int_equal(data.benchmark->submit(bed_path("out"), &data, &answers, &err), OK);
    assert_int_equal(file_read(&bytes, &n, bed_path("out/count.txt"), 4096, &err), OK);
    assert_string_equal(bytes, "1.txt\tTwo? Please answer yes or no.\tYes\tYes\n"
                               "1.txt\tThree?  Please answer yes or no.\tNo\tNo\n");
    free(bytes);
    assert_int_equal(file_read(&bytes, &n, bed_path("out/code_reasoning.txt"), 4096, &err), OK);
    assert_non_null(strstr(bytes, "\tNo\tno !\n")); /* the tool splits at tabs */
    free(bytes);
    assert_false(file_exists(bed_path("out/scene.txt")));
    answers_free(&answers);
    dataset_close(&data);
    /* What is handed in is what can be read back as golds. */
    paths.annotations = bed_path("out");
    assert_int_equal(benchmark_read(&data, "mini-mme", &paths, &err), OK);
    assert_string_equal(data.samples[1].gold, "no");
    assert_null(data.samples[2].gold);
    dataset_close(&data);
}

static void mme_hostile_files(void **state)
{
    (void)state;
    struct benchmark_paths paths = small_mme();
    static const char gold[] = "mini-mme/MME_Benchmark_release_version/count/1.txt";
    bed_file(gold, "Two? Please answer yes or no.\tperhaps\n");
    bed_refused("mini-mme", &paths, NULL, "1.txt:1: expected Yes or No");
    bed_file(gold, "\nTwo? Please answer yes or no.\n");
    bed_refused("mini-mme", &paths, NULL, "1.txt:2: expected 2 fields");
    bed_bytes(gold, "Two?\tYes\0\n", 10);
    bed_refused("mini-mme", &paths, NULL, "zero byte");
    paths.annotations = bed_file("empty/x", "") ? bed_path("empty") : NULL;
    bed_refused("mini-mme", &paths, NULL, "the gold of none");
    bed_file("empty/count.txt", "1.png\tTwo?\tYes\tno\tmore\n");
    bed_refused("mini-mme", &paths, NULL, "count.txt:1: expected 3 fields");
    paths.annotations = NULL;
    static const char *const rows[][2] = {
        {"{\"question_id\": \"sport/1.png\", \"image\": \"a.png\", \"text\": \"?\"}\n", "14 categories"},
        {"{\"question_id\": \"count\", \"image\": \"a.png\", \"text\": \"?\"}\n", "14 categories"},
        {"{\"question_id\": \"count/1.png\", \"image\": \"../a.png\", \"text\": \"?\"}\n", "\"image\""},
        {"", "holds no question"},
        {"{\"question_id\": \"count/1.png\", \"text\": \"?\"}\n{\"question_id\": \"count/1.png\", \"text\": "
         "\"?\"}\n{\"question_id\": \"count/1.png\", \"text\": \"?\"}\n",
         "more than twice"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bed_file("mini-mme/llava_mme.jsonl", rows[i][0]);
        bed_refused("mini-mme", &paths, NULL, rows[i][1]);
    }
}

/* ---- answer files --------------------------------------------------------------------------- */

static void answer_files(void **state)
{
    (void)state;
    struct benchmark_paths paths = small_mme();
    char text[4096];
    /* doubled: the last counts */
    snprintf(text, sizeof text, "%s%s", small_answers,
             "{\"question_id\": \"count/1.png\", \"prompt\": \"Two?" SUFFIX "\", \"text\": \"No\"}\n");
    json_t *figures = bed_score("mini-mme", &paths, bed_file("a.jsonl", text), "official");
    assert_int_equal((int)bed_number(figures, "n_duplicate"), 1);
    assert_true(bed_number(figures, "perception") == 100);
    json_decref(figures);
    /* unknown, then a byte order mark and CRLF */
    snprintf(text, sizeof text,
             "\xef\xbb\xbf{\"question_id\": \"count/9.png\", \"text\": \"No\"}\r\n{\"question_id\": "
             "\"count/1.png\", \"text\": \"\"}\r\n");
    figures = bed_score("mini-mme", &paths, bed_file("a.jsonl", text), "official");
    assert_int_equal((int)bed_number(figures, "n_unknown"), 1);
    assert_int_equal((int)bed_number(figures, "n_missing"), 5);
    assert_int_equal((int)bed_number(figures, "n"), 1);
    assert_true(bed_number(figures, "headline") == 0); /* an empty answer is an answer */
    json_decref(figures);
    /* no answer at all */
    figures = bed_score("mini-mme", &paths, bed_file("a.jsonl", ""), "official");
    assert_true(json_is_null(json_object_get(figures, "headline")));
    assert_int_equal((int)bed_number(figures, "n_missing"), 6);
    json_decref(figures);
    /* bytes that are no UTF-8 */
    figures = bed_score("mini-mme", &paths,
                        bed_file("a.jsonl", "{\"question_id\": \"count/1.png\", \"text\": \"y\xff\xfe\"}\n"),
                        "official");
    assert_true(bed_warned(figures, "no UTF-8"));
    json_decref(figures);
    /* a megabyte */
    enum { MEGABYTE = 1 << 20 };
    char *big = malloc(MEGABYTE + 200);
    int n = sprintf(big, "{\"question_id\": \"count/1.png\", \"text\": \"yes");
    memset(big + n, 'a', MEGABYTE);
    memcpy(big + n + MEGABYTE, "\"}\n", 4);
    bed_file("a.jsonl", big);
    for (int i = 0; i < 3; i++) {
        static const char *const protocols[] = {"official", "lmms", "vlmeval"};
        figures = bed_score("mini-mme", &paths, bed_path("a.jsonl"), protocols[i]);
        assert_int_equal((int)bed_number(figures, "n"), 1);
        json_decref(figures);
    }
    free(big);
    bed_refused("mini-mme", &paths, bed_file("a.jsonl", "{\"question_id\": \"count/1.png\"}\n"),
                "a.jsonl:1: \"text\"");
    bed_refused("mini-mme", &paths, bed_path("none.jsonl"), "none.jsonl");
}

/* ---- MM-Vet, a small one -------------------------------------------------------------------- */

static const char official_questions[] =
    "{\"v1_0\": {\"imagename\": \"v1_0.png\", \"question\": \"How many?\", \"answer\": \"3<OR>three\","
    " \"capability\": [\"ocr\", \"rec\"]},\n"
    " \"v1_1\": {\"imagename\": \"v1_0.png\", \"question\": \"Which?\", \"answer\": \"red<AND>blue\","
    " \"capability\": [\"rec\"]}}\n";

static void mmvet_twin(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.root = bed_folder};
    bed_file("mini-mmvet/mm-vet.json", official_questions);
    const char *answers = bed_file("a.json", "{\"v1_0\": \"Three.\",\n \"v1_1\": \"red\"}");
    json_t *figures = bed_score("mini-mmvet", &paths, answers, "official");
    assert_true(bed_number(figures, "total") == 50 && bed_number(figures, "headline") == 50);
    assert_true(inner(figures, "capabilities", "ocr") == 100);
    assert_true(inner(figures, "capability_sets", "rec_ocr") == 100);
    json_decref(figures);
    /* LLaVA's file beside it, its numbers as ids */
    bed_file("mini-mmvet/llava-mm-vet.jsonl",
             "{\"image\": \"v1_0.png\", \"text\": \"How many?\", \"question_id\": 0}\n"
             "{\"image\": \"v1_0.png\", \"text\": \"Which?\", \"question_id\": 1}\n");
    const char *lines = bed_file("a.jsonl", "{\"question_id\": 0, \"text\": \"3\"}\n"
                                            "{\"question_id\": 1, \"text\": \"Blue and red\"}\n");
    figures = bed_score("mini-mmvet", &paths, lines, "official");
    assert_true(bed_number(figures, "total") == 100);
    json_decref(figures);
    struct dataset data;
    struct answers read;
    struct error err;
    char *bytes;
    size_t n;
    assert_int_equal(benchmark_read(&data, "mini-mmvet", &paths, &err), OK);
    assert_int_equal(answers_read(&read, &data, lines, &err), OK);
    assert_int_equal(data.benchmark->submit(bed_path("s.json"), &data, &read, &err), OK);
    assert_int_equal(file_read(&bytes, &n, bed_path("s.json"), 4096, &err), OK);
    assert_string_equal(bytes, "{\n  \"v1_0\": \"3\",\n  \"v1_1\": \"Blue and red\"\n}");
    free(bytes);
    answers_free(&read);
    dataset_close(&data);
}

static void mmvet_runs(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("mm-vet.json", official_questions)};
    const char *answers = bed_file("a.json", "{\"v1_0\": \"a\",\n \"v1_1\": \"b\"}");
    paths.annotations =
        bed_file("g.json", "{\"v1_0\": {\"model\": [\"gpt-4\", \"gpt-4\"], \"score\": [0.5, 1]},"
                           " \"v1_1\": {\"score\": [0, 0.5]}}");
    json_t *figures = bed_score("mmvet", &paths, answers, "official");
    assert_true(bed_number(figures, "total") == 25);
    assert_true(bed_number(figures, "mean") == 50 && bed_number(figures, "std") == 25);
    assert_string_equal(json_string_value(json_object_get(figures, "judge")), "gpt-4");
    json_decref(figures);
    static const char *const broken[][2] = {{"{\"v1_0\": {\"score\": []}}", "\"score\""},
                                            {"{\"v1_0\": {\"score\": [2]}}", "from 0 to 1"},
                                            {"{\"v1_0\": {\"score\": [\"1\"]}}", "from 0 to 1"},
                                            {"{\"v1_0\": 3}", "expected an object"},
                                            {"{}", "grades none"},
                                            {"[]", "expected an object"}};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        paths.annotations = bed_file("g.json", broken[i][0]);
        bed_refused("mmvet", &paths, NULL, broken[i][1]);
    }
}

/* The words to the judge: the official constant by its hash, then the row; retries; what a reply says. */
static void mmvet_judge_words(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("mm-vet.json", official_questions)};
    struct dataset data;
    struct error err;
    struct judge_request request;
    char hash[65];
    enum { INSTRUCTION = 2290 };
    assert_int_equal(benchmark_read(&data, "mmvet", &paths, &err), OK);
    const struct judging *judging = data.benchmark->judging;
    assert_int_equal(judging->ask(&request, &data, 1, "red or so", 0, &err), OK);
    assert_null(request.system);
    sha256_hex(hash, request.user, INSTRUCTION);
    assert_string_equal(hash, "d1b3e0a5b4e72c888b77164489d705bba4dd149934fff564dfba6443d81afe3f");
    assert_string_equal(request.user + INSTRUCTION, "\nWhich? | red <AND> blue | red or so | ");
    assert_true(request.temperature == 0 && request.max_tokens == 3);
    judge_request_free(&request);
    static const double temperatures[] = {0, 0, 0.5, 1, 1.5};
    assert_int_equal(judging->attempts, 5);
    for (int i = 1; i < 5; i++) {
        assert_int_equal(judging->ask(&request, &data, 0, "x", i, &err), OK);
        assert_string_equal(
            request.user + INSTRUCTION,
            "\nHow many? | 3 <OR> three | x | \nPredict the correctness of the answer (digit): ");
        assert_true(request.temperature == temperatures[i]);
        judge_request_free(&request);
    }
    static const char *const usable[] = {"0.5", "1", "0.0 because", "1.0\n", ".3", "1e-1", "+1"};
    static const char *const unusable[] = {"",       " 0.5", "half", "1.1", "-0.1",
                                           "0.5\nx", "nan",  "inf",  "0x1", "0,5"};
    for (size_t i = 0; i < sizeof usable / sizeof *usable; i++)
        assert_true(judging->usable(usable[i]));
    for (size_t i = 0; i < sizeof unusable / sizeof *unusable; i++)
        assert_false(judging->usable(unusable[i]));
    char parsed[8];
    assert_true(
        data.benchmark->score_sample(parsed, sizeof parsed, &data, 0, "x", "0.3 ", PROTOCOL_OFFICIAL) == 0.3);
    assert_true(data.benchmark->score_sample(parsed, sizeof parsed, &data, 0, "x", "?", PROTOCOL_OFFICIAL) ==
                0);
    assert_true(
        isnan(data.benchmark->score_sample(parsed, sizeof parsed, &data, 0, "x", NULL, PROTOCOL_OFFICIAL)));
    dataset_close(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mme_real_answers),
        cmocka_unit_test(mme_sums_are_the_figures),
        cmocka_unit_test(mmvet_stored_grades),
        cmocka_unit_test(yes_no_vectors),
        cmocka_unit_test(short_answers),
        cmocka_unit_test(prompts),
        cmocka_unit_test_setup_teardown(mme_small, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(mme_submission, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(mme_hostile_files, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(answer_files, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(mmvet_twin, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(mmvet_runs, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(mmvet_judge_words, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
