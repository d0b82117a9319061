/* Multiple-choice benchmarks: the letter parsers on the official scorers' own outputs, their figures on real
 * answer files, prompts byte for byte, and answers that are not what they should be. */

#include "core/memory.h"
#include "datasets/choice.h"
#include "datasets/table.h"
#include "harness/template.h"
#include "tests/score_bed.h"

/* ---- files and figures ---------------------------------------------------------------------- */

/* Equal as the official scorer prints it, with two decimals. */
static void assert_printed(const json_t *figures, const char *key, double expected)
{
    char text[32], wanted[32];
    snprintf(text, sizeof text, "%.2f", bed_number(figures, key));
    snprintf(wanted, sizeof wanted, "%.2f", expected);
    assert_string_equal(text, wanted);
}

/* All of a file's JSON lines; NULL where it is not here. */
static json_t *shared_lines(const char *relative)
{
    char path[SHARED_PATH], *bytes, *at;
    size_t n;
    struct error err;
    if (!shared_path(path, sizeof path, relative))
        return NULL;
    assert_int_equal(file_read(&bytes, &n, path, 1 << 24, &err), OK);
    json_t *rows = json_array();
    for (char *line = strtok_r(bytes, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
        json_t *row;
        assert_int_equal(json_parse(&row, line, strlen(line), path, &err), OK);
        json_array_append_new(rows, row);
    }
    free(bytes);
    return rows;
}

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

/* ---- letters ---------------------------------------------------------------------------------------------
 */

static void assert_letter(const char *rule, const char *in, char found, const json_t *expected)
{
    const char *text = json_string_value(expected);
    char wanted = text && strcmp(text, "FAILED") != 0 ? text[0] : NO_CHOICE;
    if (found != wanted)
        fail_msg("%s of \"%s\": expected %s, found %c", rule, in, text ? text : "nothing",
                 found ? found : '-');
}

static void letters_of_all_vectors(void **state)
{
    (void)state;
    static const char *const letters[] = {"A", "B", "C", "D"};
    json_t *rows = shared_lines("data/vectors/mcq.jsonl"), *row;
    size_t i;
    if (!rows)
        shared_skip("data/vectors/mcq.jsonl");
    assert_int_equal(json_array_size(rows), 34);
    json_array_foreach(rows, i, row)
    {
        const char *in = text_of(row, "in");
        struct choices choices = {.n = 4};
        for (int c = 0; c < 4; c++)
            choices.text[c] = text_of(json_object_get(row, "choices"), letters[c]);
        for (int n = 4; n <= 5; n++) {
            const json_t *pair =
                json_object_get(row, n == 4 ? "scienceqa_llava(4opts)" : "scienceqa_llava(5opts)");
            char letter = choice_scienceqa(in);
            assert_letter("scienceqa", in, letter, json_array_get(pair, 0));
            assert_int_equal(choice_index(letter, n), json_integer_value(json_array_get(pair, 1)));
        }
        assert_int_equal(choice_seed(in) == 'B', json_is_true(json_object_get(row, "seed_llava_equals_B")));
        assert_letter("vlmeval", in, choice_vlmeval(in, &choices),
                      json_object_get(row, "vlmevalkit_can_infer"));
        assert_letter("lmms", in, choice_lmms(in, &choices), json_object_get(row, "lmms_mmbench_can_infer"));
    }
    json_decref(rows);
}

/* By the sources' words; none of these is in the vectors. */
static void letters_beyond_the_vectors(void **state)
{
    (void)state;
    const struct choices two = {.text = {"Red", "БЛУ café"}, .n = 2},
                         gap = {.text = {"x1", "y2", NULL, "z3"}, .n = 4};
    assert_int_equal(choice_vlmeval("B one two three four", &two), NO_CHOICE); /* fifth word from the end */
    assert_int_equal(choice_vlmeval("B one two three", &two), 'B');
    assert_int_equal(choice_vlmeval("Correct  ANSWER is **b** and it is so and so on", &two), 'B');
    assert_int_equal(choice_vlmeval("the answer is a dog", &two), 'A'); /* as the official regex has it */
    assert_int_equal(choice_vlmeval("the answer is C", &two), NO_CHOICE);
    assert_int_equal(choice_vlmeval("so the blu, no: блу CAFÉ", &two), NO_CHOICE); /* too long for the text */
    assert_int_equal(choice_vlmeval("блу CAFÉ", &two), 'B');
    assert_int_equal(choice_vlmeval("Cannot determine the answer, perhaps B", &two), 'Z');
    assert_int_equal(choice_vlmeval("C", &gap), NO_CHOICE);
    assert_int_equal(choice_vlmeval("D", &gap), 'D');
    assert_int_equal(choice_vlmeval("A\u3000B", &two), NO_CHOICE); /* split at ideographic space */
    assert_int_equal(choice_vlmeval("\u00a0A\u2003", &two), 'A');
    assert_int_equal(choice_lmms("I say A : it", &two), NO_CHOICE);
    assert_int_equal(choice_lmms("I say A: it is", &two), 'A');
    assert_int_equal(choice_lmms("E", &two), 'E');
    assert_int_equal(choice_scienceqa("The answer is A The answer is B "), NO_CHOICE);
    assert_int_equal(choice_scienceqa("The answer is AThe answer is B."), 'A'); /* the first takes the T */
    assert_int_equal(choice_scienceqa("The answer is A\n"), NO_CHOICE);
    assert_int_equal(choice_scienceqa("The answer is Q!"), 'Q');
    assert_int_equal(choice_scienceqa_lmms(" b "), 'B');
    assert_int_equal(choice_scienceqa_lmms("B.x"), 'B');
    assert_int_equal(choice_scienceqa_lmms("b.x"), NO_CHOICE);
    assert_int_equal(choice_seed_lmms(" Because"), 'B');
    assert_int_equal(choice_seed_lmms(""), NO_CHOICE);
}

static void letters_of_long_answers(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    static const char *const units[] = {"a",  "A ",           "answer ", "answer is ", "The answer is ",
                                        "( ", "\xe3\x80\x80", "a do",    "\xff",       "*"};
    const struct choices choices = {.text = {"a cat", "a dog"}, .n = 2};
    char *text = memory_alloc(N + 64, 1);
    double start = clock_ms();
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        size_t unit = strlen(units[u]), n = 0;
        for (; n + unit <= N; n += unit)
            memcpy(text + n, units[u], unit);
        strcpy(text + n, " The answer is B.");
        char parsed[32];
        choice_parsed(parsed, sizeof parsed, NO_CHOICE, text);
        assert_true(strlen(parsed) < sizeof parsed);
        choice_vlmeval(text, &choices);
        choice_lmms(text, &choices);
        char letter = choice_scienceqa(text);
        assert_true(letter == 'B' || strstr(units[u], "The"));
    }
    assert_true(clock_ms() - start < 20e3); /* linear: under a second; quadratic would take hours */
    free(text);
}

/* ---- real answers ----------------------------------------------------------------------------------------
 */

static void mmbench_real_answers(void **state)
{
    (void)state;
    char table[SHARED_PATH], answers[SHARED_PATH];
    json_t *expected = bed_expected("mmbench");
    if (!expected ||
        !shared_path(table, sizeof table, "data/scoring/mmbench/mmbench_dev_20230712.noimage.tsv") ||
        !shared_path(answers, sizeof answers, "data/scoring/mmbench/answers-13b.jsonl"))
        shared_skip("data/scoring/mmbench");
    json_t *figures =
        bed_score("mmbench", &(struct benchmark_paths){.annotations = table}, answers, "official");
    assert_true(bed_number(figures, "circular_hits") == bed_number(expected, "circular_hits"));
    assert_true(bed_number(figures, "groups") == bed_number(expected, "groups"));
    assert_printed(figures, "circular", bed_number(expected, "circular"));
    assert_printed(figures, "headline", bed_number(expected, "circular"));
    assert_printed(figures, "all_passes", bed_number(expected, "all_passes"));
    assert_printed(figures, "first_pass", bed_number(expected, "first_pass"));
    assert_int_equal(json_array_size(json_object_get(figures, "warnings")), 0);
    json_decref(figures);
    json_decref(expected);
    /* The bootstrap's sums give the same headline. */
    struct dataset data;
    struct answers read;
    struct error err;
    assert_int_equal(benchmark_read(&data, "mmbench", &(struct benchmark_paths){.questions = table}, &err),
                     OK);
    assert_int_equal(answers_read(&read, &data, answers, &err), OK);
    double *sums, *scores = memory_alloc((size_t)data.n, sizeof *scores), total[2] = {0};
    int n_clusters, *rows = memory_alloc((size_t)data.n, sizeof *rows);
    char parsed[64];
    for (int i = 0; i < data.n; i++) {
        rows[i] = i;
        scores[i] = data.benchmark->score_sample(parsed, sizeof parsed, &data, i, read.text[i], NULL,
                                                 PROTOCOL_OFFICIAL);
    }
    assert_int_equal(benchmark_sums(&sums, &n_clusters, &data, rows, scores, data.n, &err), OK);
    assert_int_equal(n_clusters, 1176);
    for (int i = 0; i < n_clusters; i++)
        total[0] += sums[2 * i], total[1] += sums[2 * i + 1];
    assert_true(total[0] == 796 && total[1] == 1176);
    /* One failed row takes its question out, whatever the others say. */
    free(sums);
    scores[0] = (double)NAN;
    assert_int_equal(benchmark_sums(&sums, &n_clusters, &data, rows, scores, data.n, &err), OK);
    total[1] = 0;
    for (int i = 0; i < n_clusters; i++)
        total[1] += sums[2 * i + 1];
    assert_true(total[1] == 1175);
    free(sums);
    free(scores);
    free(rows);
    answers_free(&read);
    dataset_close(&data);
}

static void scienceqa_real_answers(void **state)
{
    (void)state;
    char questions[SHARED_PATH], problems[SHARED_PATH], answers[SHARED_PATH];
    json_t *expected = bed_expected("scienceqa");
    if (!expected ||
        !shared_path(questions, sizeof questions, "data/scoring/scienceqa/llava_test_CQM-A.json") ||
        !shared_path(problems, sizeof problems, "data/scoring/scienceqa/problems.json") ||
        !shared_path(answers, sizeof answers, "data/scoring/scienceqa/answers-13b.jsonl"))
        shared_skip("data/scoring/scienceqa");
    struct benchmark_paths paths = {.questions = questions, .annotations = problems};
    json_t *figures = bed_score("scienceqa", &paths, answers, "official");
    assert_true(bed_number(figures, "total") == bed_number(expected, "total"));
    assert_true(bed_number(figures, "correct") == bed_number(expected, "correct"));
    assert_printed(figures, "accuracy", bed_number(expected, "accuracy"));
    assert_printed(figures, "image_accuracy", bed_number(expected, "image_accuracy"));
    assert_printed(figures, "headline", bed_number(expected, "image_accuracy"));
    json_decref(figures);
    json_decref(expected);
}

static void seed_real_answers(void **state)
{
    (void)state;
    char golds[SHARED_PATH], answers[SHARED_PATH];
    json_t *expected = bed_expected("seed");
    if (!expected || !shared_path(golds, sizeof golds, "data/scoring/seed/SEED-Bench.reconstructed.json") ||
        !shared_path(answers, sizeof answers, "data/scoring/seed/answers-13b.jsonl"))
        shared_skip("data/scoring/seed");
    json_t *figures = bed_score("seed", &(struct benchmark_paths){.annotations = golds}, answers, "official");
    assert_printed(figures, "image", bed_number(expected, "image"));
    assert_printed(figures, "video", bed_number(expected, "video"));
    assert_int_equal((int)bed_number(figures, "n"), 17990);
    assert_int_equal(json_array_size(json_object_get(figures, "warnings")), 0);
    assert_int_equal(json_object_size(json_object_get(figures, "type")), 2);
    json_decref(figures);
    json_decref(expected);
}

/* ---- prompts ---------------------------------------------------------------------------------------------
 */

static void assert_prompt(const char *name, const struct benchmark_paths *paths, const char *id,
                          const json_t *expected)
{
    struct dataset data;
    struct error err = {0};
    char *prompt;
    if (benchmark_read(&data, name, paths, &err) != OK)
        fail_msg("%s", err.text);
    int row = 0;
    while (row < data.n && strcmp(data.samples[row].question_id, id) != 0)
        row++;
    assert_true(row < data.n);
    assert_int_equal(template_prompt(&prompt, "vicuna_v1", data.samples[row].text,
                                     sample_placeholders(&data, row), 1, &err),
                     OK);
    assert_string_equal(prompt, text_of(expected, "prompt"));
    assert_int_equal(data.benchmark->max_new_tokens,
                     json_integer_value(json_object_get(expected, "max_new_tokens")));
    free(prompt);
    dataset_close(&data);
}

/* A cell as a writer of CSV quotes it. */
static void put_cell(FILE *file, const char *text, char end)
{
    if (strpbrk(text, "\t\n\r\"")) {
        putc('"', file);
        for (; *text; text++)
            fprintf(file, *text == '"' ? "\"\"" : "%c", *text);
        putc('"', file);
    } else {
        fputs(text, file);
    }
    putc(end, file);
}

/* The table that asks what the expected prompt asks: its text taken apart at the options' lines. */
static const char *table_of(const json_t *expected, const char *question)
{
    const char *prompt = strstr(text_of(expected, "prompt"), "<image>\n") + strlen("<image>\n");
    const char *asked = strstr(prompt, question);
    const char *path = bed_path("mmbench_dev_20230712.tsv");
    assert_non_null(asked);
    FILE *file = fopen(path, "wb");
    char *hint = strndup(prompt, asked > prompt ? (size_t)(asked - prompt - 1) : 0);
    char *rest = strdup(asked + strlen(question)), *at = rest;
    *strstr(rest, "\nAnswer with the option") = '\0';
    fputs("index\tquestion\thint\tA\tB\tC\tD\tanswer\timage\tsplit\r\n", file);
    fprintf(file, "%lld\t", (long long)json_integer_value(json_object_get(expected, "question_id")));
    put_cell(file, question, '\t');
    put_cell(file, hint, '\t');
    for (char letter = 'A'; letter <= 'D'; letter++) {
        char mark[8] = {'\n', letter, '.', ' ', '\0'};
        char *option = strstr(at, mark);
        char *next = option ? strchr(option + 1, '\n') : NULL;
        if (next)
            *next = '\0';
        put_cell(file, option ? option + 4 : "", '\t');
        if (next)
            *next = '\n';
        at = option ? option + 1 : at;
    }
    fputs("A\t", file);
    for (int i = 0; i < 30; i++)
        fputs("QUJD", file);
    fputs("\tdev\r\n", file);
    fclose(file);
    free(hint);
    free(rest);
    return path;
}

/* The question of a row of the table without pictures. */
static char *question_of(const char *table, const char *index)
{
    const struct table_column wanted[] = {{"index", true}, {"question", true}};
    struct table *reader;
    const struct table_row *row;
    struct error err;
    char *question = NULL;
    assert_int_equal(table_open(&reader, table, wanted, 2, NULL, NULL, &err), OK);
    while (table_next(&row, reader, &err) == OK && row && !question)
        if (strcmp(row->text[0], index) == 0)
            question = strdup(row->text[1]);
    table_close(reader);
    assert_non_null(question);
    return question;
}

static void prompts_of_all(void **state)
{
    (void)state;
    char table[SHARED_PATH], science[SHARED_PATH];
    json_t *rows = shared_lines("data/prompts/expected_prompts.jsonl"), *row;
    size_t i;
    int n[3] = {0};
    if (!rows || !shared_path(table, sizeof table, "data/scoring/mmbench/mmbench_dev_20230712.noimage.tsv") ||
        !shared_path(science, sizeof science, "data/scoring/scienceqa/llava_test_CQM-A.json"))
        shared_skip("data/prompts");
    json_array_foreach(rows, i, row)
    {
        const char *name = text_of(row, "benchmark");
        char id[32];
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(row, "question_id")));
        if (strcmp(name, "mmbench") == 0) {
            char *question = question_of(table, id);
            assert_prompt(name, &(struct benchmark_paths){.questions = table_of(row, question)}, id, row);
            free(question);
            n[0]++;
        } else if (strcmp(name, "scienceqa") == 0) {
            assert_prompt(name, &(struct benchmark_paths){.questions = science}, text_of(row, "question_id"),
                          row);
            n[1]++;
        } else if (strcmp(name, "seed") == 0) {
            const char *path = bed_file(
                "seed_bench/SEED-Bench.json",
                "{\"questions\": [{\"answer\": \"A\", \"choice_a\": \"One\", \"choice_b\": \"Two\", "
                "\"choice_c\": "
                "\"Three\", \"choice_d\": \"Four\", \"data_id\": \"1454426_2591111986\", \"data_type\": "
                "\"image\", \"question\": \"How many towels are in the image?\", \"question_id\": "
                "\"101669\", "
                "\"question_type_id\": 5}], \"question_type\": {\"Instances Counting\": 5}}");
            assert_prompt(name, &(struct benchmark_paths){.questions = path}, id, row);
            bed_file(
                "seed_bench/llava-seed-bench.jsonl",
                "{\"image\":\"SEED-Bench-image/1454426_2591111986\",\"text\":\"How many towels are in the "
                "image?\\nA. One\\nB. Two\\nC. Three\\nD. Four\\nAnswer with the option's letter from the "
                "given choices directly.\",\"category\":\"Instances Counting\",\"question_id\":101669}\n");
            assert_prompt(name, &(struct benchmark_paths){.root = bed_folder}, id, row);
            n[2]++;
        }
    }
    assert_true(n[0] == 3 && n[1] == 3 && n[2] == 1);
    json_decref(rows);
}

static void prompt_in_chinese(void **state)
{
    (void)state;
    bed_file("mmbench_cn/mmbench_dev_cn_20231003.tsv",
             "index\tquestion\thint\tA\tB\tC\tD\tanswer\n7\t图中是什么？\tnan\t猫\t狗\tnone\t鸟\tA\n");
    struct dataset data;
    struct error err;
    assert_int_equal(benchmark_read(&data, "mmbench-cn", &(struct benchmark_paths){.root = bed_folder}, &err),
                     OK);
    assert_string_equal(data.samples[0].text, "图中是什么？\nA. 猫\nB. 狗\n请直接回答选项字母。");
    assert_null(data.samples[0].image);
    dataset_close(&data);
}

/* ---- answers ---------------------------------------------------------------------------------------------
 */

static const char circular_table[] = "index\tquestion\tA\tB\tC\tanswer\tcategory\tl2-category\tsplit\n"
                                     "1\tq\tx1\ty2\t\tA\tocr\tcoarse_perception\tdev\n"
                                     "2\tq\tx1\ty2\tz3\tB\tocr\tlogic_reasoning\tdev\n"
                                     "1000001\tq\ty2\tx1\t\tB\tocr\tcoarse_perception\tdev\n"
                                     "1000002\tq\tz3\tx1\ty2\tC\tocr\tlogic_reasoning\tdev\n"
                                     "2000002\tq\ty2\tz3\tx1\tA\tocr\tlogic_reasoning\tdev\n";

static void mmbench_circular(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("t.tsv", circular_table)};
    /* Question 1 is right throughout; a pass of question 2 is missing, another names nothing. */
    const char *answers = bed_file("a.jsonl", "{\"question_id\": 1000001, \"text\": \"B.\"}\n"
                                              "{\"question_id\": 1, \"text\": \"B\"}\n"
                                              "{\"question_id\": \"1\", \"text\": \"(A)\"}\n"
                                              "{\"question_id\": 9, \"text\": \"A\"}\n"
                                              "{\"question_id\": 2, \"text\": \"\"}\n"
                                              "{\"question_id\": 1000002, \"text\": \"y2\"}\n");
    json_t *figures = bed_score("mmbench", &paths, answers, "official");
    assert_true(bed_number(figures, "circular") == 100 && bed_number(figures, "groups") == 1);
    assert_true(bed_number(figures, "circular_hits") == 1 && bed_number(figures, "n") == 4);
    assert_true(bed_number(figures, "all_passes") == 75 && bed_number(figures, "first_pass") == 50);
    assert_true(bed_number(json_object_get(figures, "l2_category"), "CP") == 100);
    assert_null(json_object_get(json_object_get(figures, "l2_category"), "LR"));
    assert_true(bed_number(json_object_get(figures, "category"), "ocr") == 100);
    assert_true(bed_number(figures, "n_missing") == 1 && bed_number(figures, "n_duplicate") == 1);
    assert_true(bed_number(figures, "n_unknown") == 1);
    assert_true(bed_warned(figures, "1 questions have an answer to some of their passes"));
    assert_true(bed_warned(figures, "1 answers name no option"));
    assert_true(bed_warned(figures, "another order"));
    json_decref(figures);
    /* All passes there, one wrong: the question is lost. */
    answers = bed_file("a.jsonl", "{\"question_id\": 1, \"text\": \"A\"}\n"
                                  "{\"question_id\": 2, \"text\": \"B\"}\n"
                                  "{\"question_id\": 1000001, \"text\": \"B\"}\n"
                                  "{\"question_id\": 1000002, \"text\": \"C\"}\n"
                                  "{\"question_id\": 2000002, \"text\": \"B\"}\n");
    figures = bed_score("mmbench", &paths, answers, "lmms");
    assert_true(bed_number(figures, "circular") == 50 && bed_number(figures, "groups") == 2);
    json_decref(figures);
}

/* Answers of any size and with any bytes: scored, never cut, never fatal. */
static void hostile_answers(void **state)
{
    (void)state;
    static const char *const protocols[] = {"official", "lmms", "vlmeval"};
    struct benchmark_paths mmbench = {.questions = bed_file("t.tsv", circular_table)};
    struct benchmark_paths science = {
        .questions = bed_file("llava_test_CQM-A.json",
                              "[{\"id\": \"1\", \"image\": \"1/image.png\", \"conversations\": [{\"from\": "
                              "\"human\", \"value\": \"<image>\\nq\\nA. x\\nB. y\"}]}, {\"id\": \"2\", "
                              "\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}]}]"),
        .annotations = bed_file("problems.json",
                                "{\"1\": {\"choices\": [\"x\", \"y\"], \"answer\": 1, \"subject\": \"s\"}, "
                                "\"2\": {\"choices\": [\"x\", \"y\"], \"answer\": 0}}")};
    struct benchmark_paths seed = {
        .annotations = bed_file("SEED-Bench.json",
                                "{\"questions\": [{\"question_id\": \"1\", \"answer\": \"B\", \"data_type\": "
                                "\"image\", \"question_type_id\": 3}, {\"question_id\": \"v2\", \"answer\": "
                                "\"A\", \"data_type\": \"video\", \"question_type_id\": 10}]}")};
    const char *path = bed_path("a.jsonl");
    FILE *file = fopen(path, "wb");
    fputs("{\"question_id\": 1, \"text\": \"", file);
    for (int i = 0; i < 1 << 20; i++)
        putc('x', file);
    fputs(". The answer is B.\"}\n{\"question_id\": 2, \"text\": \"A\xff\xc3\"}\n", file);
    fclose(file);
    for (int p = 0; p < 3; p++) {
        json_t *figures = bed_score("mmbench", &mmbench, path, protocols[p]);
        assert_true(bed_number(figures, "n") == 2);
        json_decref(figures);
        figures = bed_score("scienceqa", &science, path, protocols[p]);
        assert_true(bed_number(figures, "n") == 2);
        /* Officially the one sentence counts; VLMEvalKit finds the B among the last words. */
        assert_true(bed_number(figures, "image_accuracy") == (p == 1 ? 0 : 100));
        json_decref(figures);
        figures = bed_score("seed", &seed, path, protocols[p]);
        assert_true(bed_number(figures, "n") >= 1);
        json_decref(figures);
    }
}

static void scienceqa_missing_is_failed(void **state)
{
    (void)state;
    struct benchmark_paths paths = {
        .questions = bed_file(
            "llava_test_CQM-A.json",
            "[{\"id\": \"1\", \"image\": \"1/image.png\", \"conversations\": [{\"value\": \"<image>\\nq\"}]},"
            " {\"id\": \"2\", \"image\": \"2/image.png\", \"conversations\": [{\"value\": \"q\\n<image>\"}]},"
            " {\"id\": \"3\", \"conversations\": [{\"value\": \" q \"}]}, {\"id\": \"4\", \"conversations\": "
            "[{\"value\": \"q\"}]}]"),
        .annotations = bed_file(
            "problems.json", "{\"1\": {\"choices\": [\"x\", \"y\"], \"answer\": 1}, \"2\": {\"choices\": "
                             "[\"x\"], \"answer\": 0}, \"3\": {\"choices\": [\"x\"], \"answer\": 0}, \"4\": "
                             "{\"choices\": [\"x\"], \"answer\": 0}}")};
    bed_file("pid_splits.json", "{\"test\": [\"1\", \"2\", \"3\", \"5\", \"6\"]}");
    const char *answers = bed_file("a.jsonl", "{\"question_id\": \"1\", \"text\": \"B\"}\n"
                                              "{\"question_id\": \"3\", \"text\": \"A. x\"}\n"
                                              "{\"question_id\": \"4\", \"text\": \"A\"}\n");
    json_t *figures = bed_score("scienceqa", &paths, answers, "official");
    assert_true(bed_number(figures, "total") == 3 &&
                bed_number(figures, "correct") == 2);          /* 4 is not in the split */
    assert_true(bed_number(figures, "image_accuracy") == 100); /* 2 has no prompt, so it is no picture's */
    assert_true(bed_warned(figures, "FAILED"));
    assert_true(bed_warned(figures, "4 of the 5 questions of the test split"));
    json_decref(figures);
    struct dataset data;
    struct error err;
    assert_int_equal(benchmark_read(&data, "scienceqa", &paths, &err), OK);
    assert_true(strncmp(data.samples[2].text, "q\nAnswer with", 13) == 0);
    assert_true(strncmp(data.samples[1].text, "q\nAnswer with", 13) == 0);
    assert_null(data.samples[2].image);
    dataset_close(&data);
}

static void scienceqa_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *questions, *problems, *expected;
    } files[] = {
        {"{}", NULL, "list of questions"},
        {"[]", NULL, "list of questions"},
        {"[1]", NULL, "expected an object"},
        {"[{\"id\": \"1\"}]", NULL, "\"conversations\""},
        {"[{\"id\": \"1\", \"conversations\": {}}]", NULL, "\"conversations\""},
        {"[{\"id\": \"1\", \"conversations\": [3]}]", NULL, "\"conversations\""},
        {"[{\"id\": \"1\", \"conversations\": [{\"value\": 3}]}]", NULL, "\"conversations\""},
        {"[{\"id\": \"1\", \"image\": \"../x\", \"conversations\": [{\"value\": \"q\"}]}]", NULL,
         "inside the folder"},
        {"[{\"id\": \"1\", \"conversations\": [{\"value\": \"q\"}]}, {\"id\": 1, \"conversations\": "
         "[{\"value\": \"q\"}]}]",
         NULL, "occurs twice"},
        {NULL, "[]", "keyed by question id"},
        {NULL, "{}", "none of the questions"},
        {NULL, "{\"1\": 3}", "expected an object"},
        {NULL, "{\"1\": {}}", "\"choices\""},
        {NULL, "{\"1\": {\"choices\": [1], \"answer\": 0}}", "is no text"},
        {NULL, "{\"1\": {\"choices\": [\"x\"], \"answer\": 1}}", "\"answer\""},
        {NULL, "{\"1\": {\"choices\": [\"x\"]}}", "\"answer\""},
        {NULL, "{\"1\": {\"choices\": [\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"], \"answer\": 1}}", "\"choices\""},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *questions = files[i].questions
                                    ? files[i].questions
                                    : "[{\"id\": \"1\", \"conversations\": [{\"value\": \"q\"}]}]";
        struct benchmark_paths paths = {
            .questions = bed_file("q.json", questions),
            .annotations = files[i].problems ? bed_file("problems.json", files[i].problems) : NULL};
        bed_refused("scienceqa", &paths, NULL, files[i].expected);
    }
}

static void seed_pairs_by_order(void **state)
{
    (void)state;
    const char *annotations =
        bed_file("seed_bench/SEED-Bench.json",
                 "{\"questions\": [{\"question_id\": \"7\", \"answer\": \"B\", \"data_type\": \"image\", "
                 "\"question_type_id\": 1}, {\"question_id\": \"v1\", \"answer\": \"A\", \"data_type\": "
                 "\"video\", \"question_type_id\": 10}, {\"question_id\": \"7\", \"answer\": \"C\", "
                 "\"data_type\": \"image\", \"question_type_id\": 2}], \"question_type\": {\"Scene "
                 "Understanding\": 1, \"Instance Identity\": 2}}");
    bed_file("seed_bench/llava-seed-bench.jsonl",
             "{\"question_id\": \"v1\", \"image\": \"SEED-Bench-video-image/v1.png\", \"text\": \"c\"}\n"
             "{\"question_id\": 7, \"image\": \"SEED-Bench-image/p\", \"text\": \"a\"}\n"
             "{\"question_id\": 7, \"image\": \"SEED-Bench-image/q\", \"text\": \"b\"}\n"
             "{\"question_id\": \"v2\", \"image\": \"SEED-Bench-video-image/v2.png\", \"text\": \"d\"}\n");
    const char *answers =
        bed_file("a.jsonl", "{\"question_id\": \"v1\", \"text\": \"A\"}\n{\"question_id\": 7, \"text\": "
                            "\"B\"}\n{\"question_id\": 7, \"text\": \"C\"}\n");
    struct benchmark_paths paths = {.root = bed_folder};
    json_t *figures = bed_score("seed", &paths, answers, "official");
    assert_true(bed_number(figures, "total") == 100 && bed_number(figures, "n") == 3);
    assert_true(bed_number(figures, "n_unknown") == 1 && bed_number(figures, "n_missing") == 1);
    assert_true(bed_number(json_object_get(figures, "type"), "Scene Understanding") == 100);
    assert_true(bed_number(json_object_get(figures, "type"), "type 10") == 100);
    json_decref(figures);
    answers = bed_file("a.jsonl", "{\"question_id\": 7, \"text\": \"B.\"}\n{\"question_id\": 7, \"text\": "
                                  "\"Cat\"}\n{\"question_id\": \"v1\", \"text\": \"a\"}\n");
    figures = bed_score("seed", &(struct benchmark_paths){.annotations = annotations}, answers, "official");
    assert_true(bed_number(figures, "image") == 0 && bed_number(figures, "video") == 0);
    assert_true(bed_warned(figures, "3 answers are no option's letter"));
    json_decref(figures);
    figures = bed_score("seed", &(struct benchmark_paths){.annotations = annotations}, answers, "lmms");
    assert_true(bed_number(figures, "image") == 100 && bed_number(figures, "video") == 100);
    json_decref(figures);
    bed_refused("seed", &(struct benchmark_paths){.questions = bed_file("x.json", "{\"questions\": 3}")},
                NULL, "expected a list");
    bed_refused("seed",
                &(struct benchmark_paths){
                    .questions = bed_file("x.json", "{\"questions\": [{\"question_id\": 1, \"answer\": "
                                                    "\"E\"}]}")},
                NULL, "expected A, B, C or D");
}

/* ---- submissions -----------------------------------------------------------------------------------------
 */

static void submissions(void **state)
{
    (void)state;
    struct dataset data;
    struct answers answers;
    struct error err;
    char *text, command[512];
    size_t n;
    struct benchmark_paths paths = {.questions = bed_file("t.tsv", circular_table)};
    assert_int_equal(benchmark_read(&data, "mmbench", &paths, &err), OK);
    assert_int_equal(answers_new(&answers, &data, &err), OK);
    char *longest = memory_alloc(40001, 1);
    memset(longest, 'x', 40000);
    longest[40000] = '\0';
    answers.text[0] = longest;
    answers.text[1] = "=B & <b>";
    assert_int_equal(data.benchmark->submit(bed_path("s.xlsx"), &data, &answers, &err), OK);
    assert_int_equal(data.benchmark->submit(bed_path("no/such/folder.xlsx"), &data, &answers, &err),
                     NO_MACHINE);
    answers_free(&answers);
    free(longest);
    dataset_close(&data);
    assert_int_equal(file_read(&text, &n, bed_path("s.xlsx"), 1 << 20, &err), OK);
    assert_memory_equal(text, "PK", 2);
    free(text);
    if (system("command -v unzip >/dev/null") == 0) {
        snprintf(
            command, sizeof command,
            "cd %s && unzip -p s.xlsx xl/sharedStrings.xml | grep -q 'prediction.*=B &amp; &lt;b&gt;' && "
            "unzip -p s.xlsx xl/worksheets/sheet1.xml | grep -q '<v>2000002</v>'",
            bed_folder);
        assert_int_equal(system(command), 0);
    }
    paths = (struct benchmark_paths){
        .annotations = bed_file("SEED-Bench.json",
                                "{\"questions\": [{\"question_id\": \"1\", \"answer\": \"B\", \"data_type\": "
                                "\"image\", \"question_type_id\": 3}, {\"question_id\": \"v2\", \"answer\": "
                                "\"A\", \"data_type\": \"video\", \"question_type_id\": 10}]}")};
    assert_int_equal(benchmark_read(&data, "seed", &paths, &err), OK);
    assert_int_equal(answers_new(&answers, &data, &err), OK);
    answers.text[0] = "B";
    assert_int_equal(data.benchmark->submit(bed_path("s.jsonl"), &data, &answers, &err), OK);
    answers_free(&answers);
    dataset_close(&data);
    assert_int_equal(file_read(&text, &n, bed_path("s.jsonl"), 1 << 20, &err), OK);
    assert_string_equal(text, "{\"question_id\": \"1\", \"prediction\": \"B\"}\n");
    free(text);
    paths = (struct benchmark_paths){
        .questions = bed_file("q.json", "[{\"id\": \"1\", \"conversations\": [{\"value\": \"q\"}]}]"),
        .annotations = bed_file("problems.json", "{\"1\": {\"choices\": [\"x\", \"y\"], \"answer\": 1}}")};
    assert_int_equal(benchmark_read(&data, "scienceqa", &paths, &err), OK);
    assert_int_equal(answers_new(&answers, &data, &err), OK);
    answers.text[0] = "B";
    assert_int_equal(data.benchmark->submit(bed_path("s.json"), &data, &answers, &err), OK);
    answers_free(&answers);
    dataset_close(&data);
    json_t *root;
    assert_int_equal(json_read(&root, bed_path("s.json"), &err), OK);
    assert_true(bed_number(root, "acc") == 100);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "results"), "1")), 1);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_of_all_vectors),
        cmocka_unit_test(letters_beyond_the_vectors),
        cmocka_unit_test(letters_of_long_answers),
        cmocka_unit_test(mmbench_real_answers),
        cmocka_unit_test(scienceqa_real_answers),
        cmocka_unit_test(seed_real_answers),
        cmocka_unit_test_setup_teardown(prompts_of_all, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(prompt_in_chinese, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(mmbench_circular, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(hostile_answers, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(scienceqa_missing_is_failed, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(scienceqa_bad_files, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(seed_pairs_by_order, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(submissions, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
