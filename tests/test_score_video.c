/* Questions about clips: the official figures, what a judge is asked and what is made of its replies,
 * prompts, and files that are not what they should be. */

#include "core/sha256.h"
#include "datasets/python_literal.h"
#include "datasets/video_qa.h"
#include "harness/template.h"
#include "tests/score_bed.h"

/* ---- helpers --------------------------------------------------------------------------------------------
 */

static void open_dataset(struct dataset *data, const char *name, const struct benchmark_paths *paths)
{
    struct error err = {0};
    if (benchmark_read(data, name, paths, &err) != OK)
        fail_msg("%s", err.text);
}

static json_t *score_with(const char *name, const struct benchmark_paths *paths, const char *answers_path,
                          const char *const *verdicts)
{
    struct dataset data;
    struct answers answers;
    struct error err = {0};
    json_t *figures;
    open_dataset(&data, name, paths);
    if (answers_read(&answers, &data, answers_path, &err) != OK)
        fail_msg("%s", err.text);
    if (verdicts) {
        answers.verdict = calloc((size_t)data.n, sizeof *answers.verdict);
        for (int i = 0; i < data.n; i++)
            answers.verdict[i] = verdicts[i];
    }
    if (benchmark_score(&figures, &data, &answers, PROTOCOL_OFFICIAL, &err) != OK)
        fail_msg("%s", err.text);
    answers_free(&answers);
    dataset_close(&data);
    return figures;
}

static json_t *score(const char *name, const struct benchmark_paths *paths, const char *answers_path)
{
    return score_with(name, paths, answers_path, NULL);
}

static void expect_number(const json_t *figures, const char *key, double expected, double tolerance)
{
    double found = bed_number(figures, key);
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("%s: expected %.9g, found %.9g", key, expected, found);
}

static const char questions_text[] =
    "[{\"video_name\": \"a\", \"question_id\": \"v_a_0\", \"question\": \"who runs?\"},"
    " {\"video_name\": \"a\", \"question_id\": \"v_a_1\", \"question\": \"what falls?\"},"
    " {\"video_name\": \"b\", \"question_id\": \"v_b_0\", \"question\": \"is it red\"}]";
static const char golds_text[] = "[{\"answer\": \"man\", \"type\": 0, \"question_id\": \"v_a_0\"},"
                                 " {\"answer\": \"snow\", \"type\": 5, \"question_id\": \"v_a_1\"},"
                                 " {\"answer\": \"yes\", \"type\": 3, \"question_id\": \"v_b_0\"}]";
static const char answers_text[] =
    "{\"id\": \"v_a_0\", \"question\": \"\", \"answer\": \"g\", \"pred\": \"A man.\"}\n"
    "{\"id\": \"v_a_1\", \"question\": \"\", \"answer\": \"g\", \"pred\": \"snow\"}\n"
    "{\"id\": \"v_b_0\", \"question\": \"\", \"answer\": \"g\", \"pred\": \"Yes.\"}\n";

static struct benchmark_paths small_files(void)
{
    return (struct benchmark_paths){.questions = bed_file("q.json", questions_text),
                                    .annotations = bed_file("a.json", golds_text)};
}

/* ---- official figures -----------------------------------------------------------------------------------
 */

static void official_judge(void **state)
{
    (void)state;
    char answers[SHARED_PATH], replies[SHARED_PATH], results[SHARED_PATH];
    json_t *expected = bed_expected("video_judge");
    assert_non_null(shared_path(answers, sizeof answers, "data/scoring/video/judge_predictions.jsonl"));
    assert_non_null(shared_path(replies, sizeof replies, "data/scoring/video/judge_replies"));
    assert_non_null(shared_path(results, sizeof results, "data/scoring/video/judge_results.json"));
    const char *const stores[] = {replies, results};
    static const char *const names[] = {"video-judge", "tgif", "msvd", "msrvtt"};
    for (int s = 0; s < 2; s++)
        for (int b = 0; b < 4; b++) {
            json_t *figures = score(names[b], &(struct benchmark_paths){.annotations = stores[s]}, answers);
            expect_number(figures, "yes", bed_number(expected, "yes"), 0);
            expect_number(figures, "no", bed_number(expected, "no"), 0);
            expect_number(figures, "accuracy", bed_number(expected, "accuracy"), 5e-5);
            expect_number(figures, "average_score", bed_number(expected, "average_score"), 0);
            expect_number(figures, "headline", 100 * bed_number(figures, "accuracy"), 1e-9);
            expect_number(figures, "n", 8, 0);
            assert_true(bed_warned(figures, "have no score"));
            assert_true(bed_warned(figures, "neither yes nor no"));
            assert_false(bed_warned(figures, "another order"));
            json_decref(figures);
        }
    json_decref(expected);
}

static void official_activitynet(void **state)
{
    (void)state;
    char answers[SHARED_PATH], golds[SHARED_PATH];
    json_t *expected = bed_expected("activitynet_exact");
    assert_non_null(shared_path(answers, sizeof answers, "data/scoring/video/anet_val_predictions.json"));
    assert_non_null(shared_path(golds, sizeof golds, "data/scoring/video/anet_val_a.json"));
    json_t *figures = score("activitynet", &(struct benchmark_paths){.annotations = golds}, answers);
    expect_number(figures, "all", bed_number(expected, "all"), 5e-5);
    expect_number(figures, "headline", 39.8444444444, 1e-9);
    expect_number(figures, "n", 18000, 0);
    /* The official eval.py on the same files; its Free is 0.7583 because of the order of its types. */
    const json_t *types = json_object_get(figures, "types");
    expect_number(types, "motion", 0.18777777777777777, 1e-15);
    expect_number(types, "yes/no", 0.7634248948280129, 1e-15);
    expect_number(types, "other", 0.3580004900759618, 1e-15);
    expect_number(figures, "free", 0.5054761904761905, 1e-15);
    expect_number(figures, "free_official", 0.7583045600666746, 1e-15);
    assert_int_equal(json_array_size(json_object_get(figures, "warnings")), 0);
    json_decref(figures);
    json_decref(expected);
}

/* The line of expected_prompts.jsonl, from the files it was made of. */
static void official_prompt(void **state)
{
    (void)state;
    char path[SHARED_PATH], question_path[SHARED_PATH], *bytes, *at;
    size_t n;
    struct error err;
    int found = 0;
    if (!shared_path(path, sizeof path, "data/prompts/expected_prompts.jsonl") ||
        !shared_path(question_path, sizeof question_path, "data/scoring/video/test_q.json"))
        shared_skip("data/prompts/expected_prompts.jsonl");
    assert_int_equal(file_read(&bytes, &n, path, 1 << 20, &err), OK);
    for (char *line = strtok_r(bytes, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
        json_t *row;
        assert_int_equal(json_parse(&row, line, strlen(line), path, &err), OK);
        if (strncmp(json_string_value(json_object_get(row, "benchmark")), "video_qa", 8) == 0) {
            struct dataset data;
            char *prompt;
            open_dataset(&data, "activitynet", &(struct benchmark_paths){.questions = question_path});
            assert_int_equal(data.n, 8000);
            assert_string_equal(data.samples[0].question_id,
                                json_string_value(json_object_get(row, "question_id")));
            assert_int_equal(data.benchmark->max_new_tokens,
                             json_integer_value(json_object_get(row, "max_new_tokens")));
            assert_int_equal(template_prompt(&prompt, data.benchmark->template, data.samples[0].text,
                                             sample_placeholders(&data, 0), 1, &err),
                             OK);
            assert_string_equal(prompt, json_string_value(json_object_get(row, "prompt")));
            free(prompt);
            dataset_close(&data);
            found++;
        }
        json_decref(row);
    }
    assert_int_equal(found, 1);
    free(bytes);
}

/* ---- the judge ------------------------------------------------------------------------------------------
 */

static void expect_digest(const char *text, const char *expected)
{
    struct sha256 sha;
    char hex[65];
    sha256_init(&sha);
    sha256_update(&sha, text, strlen(text));
    sha256_final(&sha, hex);
    assert_string_equal(hex, expected);
}

/* Digests of what Video-ChatGPT's evaluate_activitynet_qa.py sends about this question. */
static void judge_request(void **state)
{
    (void)state;
    struct benchmark_paths paths = {
        .questions =
            bed_file("q.json", "{\"id\": 7, \"question\": \"what is that?\", \"answer\": \"a dog\"}\n")};
    struct dataset data;
    struct judge_request request;
    struct error err = {0};
    open_dataset(&data, "video-judge", &paths);
    const struct judging *judging = data.benchmark->judging;
    assert_string_equal(judging->model, "gpt-3.5-turbo");
    assert_int_equal(judging->attempts, 0);
    for (int attempt = 0; attempt < 2; attempt++) {
        assert_int_equal(judging->ask(&request, &data, 0, "A puppy.", attempt, &err), OK);
        expect_digest(request.system, "12b9e42d120081bf1e7f1999bb09db2db250add544abd3c183d61a2f938c6510");
        expect_digest(request.user, "4b1aa88f4b5e5421c77e6909aee7f96815c40529109510b614eef8716878de61");
        assert_true(isnan(request.temperature));
        assert_int_equal(request.max_tokens, 0);
        judge_request_free(&request);
    }
    dataset_close(&data);
    /* Without the gold there is nothing to compare with. */
    paths.questions = bed_file("q2.json", "{\"id\": 7, \"question\": \"what is that?\"}\n");
    open_dataset(&data, "video-judge", &paths);
    assert_int_equal(judging->ask(&request, &data, 0, "A puppy.", 0, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "test_a.json"));
    dataset_close(&data);
}

/* What ast.literal_eval takes, and what the aggregation makes of it. score: NaN, none that int() takes. */
static void reply_parsing(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        double score;
        enum says says;
    } good[] = {
        {"{'pred': 'yes', 'score': 4}", 4, SAYS_YES},
        {"{\"pred\": \"no\", \"score\": 0}", 0, SAYS_NO},
        {"{'pred': 'yes', 'score': 4.8}", 4, SAYS_YES},
        {"{'pred': 'yes', 'score': -0.5}", 0, SAYS_YES},
        {"{'pred': 'YES.', 'score': '3'}", 3, SAYS_YES},
        {"{'pred': 'no', 'score': ' +1_0 '}", 10, SAYS_NO},
        {"{'pred': 'no', 'score': '4.8'}", NAN, SAYS_NEITHER},
        {"{'pred': 'no', 'score': ''}", NAN, SAYS_NEITHER},
        {"{'pred': 'no', 'score': '1__0'}", NAN, SAYS_NEITHER},
        {"{'pred': 'no', 'score': True}", 1, SAYS_NO},
        {"{'pred': 'no', 'score': None}", NAN, SAYS_NEITHER},
        {"{'pred': 'no', 'score': [4]}", NAN, SAYS_NEITHER},
        {"{'pred': 'no', 'score': 1e999}", NAN, SAYS_NEITHER},
        {"{'pred': 'not yes', 'score': 4}", 4, SAYS_YES},
        {"{'pred': 'unknown', 'score': 4}", 4, SAYS_NO},
        {"{'pred': 'maybe', 'score': 4}", 4, SAYS_NEITHER},
        {"{'pred': True, 'score': 5}", 5, SAYS_NEITHER},
        {"{'score': 5}", 5, SAYS_NEITHER},
        {"{'pred': 'yes'}", NAN, SAYS_NEITHER},
        {"{}", NAN, SAYS_NEITHER},
        {"  {'pred': 'yes', 'score': 4, }  ", 4, SAYS_YES},
        {"\n{'pred': 'yes',\n  'score': 4}\n", 4, SAYS_YES},
        {"{'pred': 'yes', 'score': 4} # sure", 4, SAYS_YES},
        {"{'pred': 'no', 'score': 1, 'pred': 'yes'}", 1, SAYS_YES},
        {"{'pred': 'y' 'es', 'score': 0x5}", 5, SAYS_YES},
        {"{'pred': '\\x79e\\u0073', 'score': 1_0}", 10, SAYS_YES},
        {"{'pred': r'yes', 'score': 00}", 0, SAYS_YES},
        {"{'pred': '''no\n''', 'score': .5e1}", 5, SAYS_NO},
        {"({'pred': 'yes', 'score': 4})", 4, SAYS_YES},
        {"{1: 2, 'pred': 'yes', 'score': 4, (1, 2): {3}}", 4, SAYS_YES},
        {"# the verdict\n \n{'pred': 'yes', 'score': 4}", 4, SAYS_YES},
        {"'yes'", NAN, SAYS_NEITHER},
        {"5", NAN, SAYS_NEITHER},
        {"[{'pred': 'yes', 'score': 4}]", NAN, SAYS_NEITHER},
        {"{'pred': 'yes', 'score': 4},", NAN, SAYS_NEITHER},
    };
    static const char *const bad[] = {"",
                                      " ",
                                      "yes",
                                      "{'pred': 'yes', 'score': 4",
                                      "{'pred': yes, 'score': 4}",
                                      "{'pred': 'yes', 'score': true}",
                                      "{'pred': null, 'score': 4}",
                                      "{'pred': 'yes' 'score': 4}",
                                      "{'pred': 'yes', 'score': 4/5}",
                                      "{'pred': 'yes', 'score': 04}",
                                      "{'pred': 'yes', 'score': 4}}",
                                      "Sure: {'pred': 'yes', 'score': 4}",
                                      "```python\n{'pred': 'yes', 'score': 4}\n```",
                                      "{'pred': 'yes', 'score': 4}\nI am sure.",
                                      "{'pred': 'yes\n', 'score': 4}",
                                      "\n {'pred': 'yes'}",
                                      "{'pred': 'yes', 'score': --4}",
                                      "{[1]: 2}",
                                      "{'pred': \xe2\x80\x98yes\xe2\x80\x99}",
                                      "{'pred': 'yes',, }",
                                      "{,}",
                                      "(,)",
                                      ",",
                                      "{'pred': __import__('os')}",
                                      "{'a': '\\x7'}",
                                      "{'a': b'x' 'y'}",
                                      "1 2",
                                      "'a",
                                      "{'a': '\\",
                                      "'''a''",
                                      "0x",
                                      "1e",
                                      "1_",
                                      "-",
                                      "{'a': 1, 2}",
                                      "{1, 'a': 2}"};
    struct benchmark_paths paths = small_files();
    struct dataset data;
    open_dataset(&data, "msvd", &paths);
    const struct judging *judging = data.benchmark->judging;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        json_t *value = python_literal(good[i].reply);
        if (!value || !judging->usable(good[i].reply))
            fail_msg("refused: %s", good[i].reply);
        struct judgement judgement = video_judgement(value);
        if (judgement.has_score == (bool)isnan(good[i].score) || judgement.says != good[i].says ||
            (judgement.has_score && judgement.score != good[i].score))
            fail_msg("%s: score %g, says %d", good[i].reply, judgement.score, (int)judgement.says);
        json_decref(value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (judging->usable(bad[i]))
            fail_msg("accepted: %s", bad[i]);
    dataset_close(&data);
    /* Deep, long: an answer, no crash. */
    enum { LONG = 1 << 20 };
    char *text = malloc(LONG + 1);
    for (size_t i = 0; i < 6; i++) {
        memset(text, "[({-'1"[i], LONG);
        text[LONG] = '\0';
        json_decref(python_literal(text));
    }
    free(text);
}

/* Verdicts of a judge that is asked now. */
static void judge_verdicts(void **state)
{
    (void)state;
    struct benchmark_paths paths = small_files();
    const char *answers = bed_file("answers.jsonl", answers_text);
    static const char *const verdicts[] = {"{'pred': 'yes', 'score': 5}", "{'pred': 'no', 'score': 2}", NULL};
    json_t *figures = score_with("msvd", &paths, answers, verdicts);
    expect_number(figures, "accuracy", 0.5, 0);
    expect_number(figures, "average_score", 3.5, 0);
    expect_number(figures, "headline", 50, 0);
    expect_number(figures, "n", 2, 0);
    assert_true(bed_warned(figures, "1 answers have no reply"));
    json_decref(figures);

    figures = score("msvd", &paths, answers);
    assert_true(json_is_null(json_object_get(figures, "headline")));
    assert_true(bed_warned(figures, "no judge"));
    json_decref(figures);

    struct dataset data;
    char parsed[16];
    open_dataset(&data, "msvd", &paths);
    const struct benchmark *b = data.benchmark;
    assert_true(isnan(b->score_sample(parsed, sizeof parsed, &data, 0, "A man. ", NULL, PROTOCOL_OFFICIAL)));
    assert_string_equal(parsed, "a man");
    assert_true(b->score_sample(parsed, sizeof parsed, &data, 0, "x", verdicts[0], PROTOCOL_OFFICIAL) == 1);
    assert_true(b->score_sample(parsed, sizeof parsed, &data, 0, "x", verdicts[1], PROTOCOL_OFFICIAL) == 0);
    assert_true(isnan(b->score_sample(parsed, sizeof parsed, &data, 0, "x", "{'pred': 'maybe', 'score': 1}",
                                      PROTOCOL_OFFICIAL)));
    assert_true(isnan(b->score_sample(parsed, sizeof parsed, &data, 0, "x", "broken", PROTOCOL_OFFICIAL)));
    dataset_close(&data);
}

static void stored_replies(void **state)
{
    (void)state;
    struct benchmark_paths paths = {.questions = bed_file("q.json", questions_text),
                                    .annotations = bed_path("replies")};
    const char *answers = bed_file("answers.jsonl", answers_text);
    bed_file("replies/v_a_0.json",
             "[{\"pred\": \"yes\", \"score\": 5}, {\"q\": \"\", \"a\": \"\", \"pred\": \"A man.\"}]");
    bed_file("replies/v_a_1.json",
             "[{\"pred\": \"no\", \"score\": 1}, {\"q\": \"\", \"a\": \"\", \"pred\": \"rain\"}]");
    bed_file("replies/v_c_9.json", "[{\"pred\": \"no\", \"score\": 1}]");
    bed_file("replies/notes.txt", "no reply");
    json_t *figures = score("msvd", &paths, answers);
    expect_number(figures, "accuracy", 0.5, 0);
    expect_number(figures, "n", 2, 0);
    assert_true(bed_warned(figures, "1 answers have no reply"));
    assert_true(bed_warned(figures, "1 stored replies judge another answer"));
    assert_true(bed_warned(figures, "1 stored replies are to no question"));
    json_decref(figures);
    /* A missing clip is no matter for scoring. */
    bed_file("replies/v_b_0.json", "[{\"pred\": \"yes\"");
    bed_refused("msvd", &paths, answers, "v_b_0.json");
    bed_file("replies/v_b_0.json", "{\"pred\": \"yes\", \"score\": 1}");
    bed_refused("msvd", &paths, answers, "expected a judged record");
    bed_file("others/v_c_9.json", "[{\"pred\": \"no\", \"score\": 1}]");
    paths.annotations = bed_path("others");
    bed_refused("msvd", &paths, answers, "holds replies to none of the 3 questions");
    mkdir(bed_path("none"), 0777);
    paths.annotations = bed_path("none");
    bed_refused("msvd", &paths, answers, "holds no stored reply");
    bed_refused("activitynet", &paths, answers, "is a folder");
}

/* ---- files ----------------------------------------------------------------------------------------------
 */

static void clip_files(void **state)
{
    (void)state;
    static const struct {
        const char *name, *folder, *clips, *first, *second;
    } rows[] = {
        {"msvd", "eval/GPT_Zero_Shot_QA/MSVD_Zero_Shot_QA", "videos", "a.avi", "b.mp4"},
        {"tgif", "GPT_Zero_Shot_QA/TGIF_Zero_Shot_QA", "mp4", "a.mp4", "b.gif"},
        {"msrvtt", "msrvtt", "videos", "a.mkv", "b.mov"},
        {"activitynet", "eval/GPT_Zero_Shot_QA/Activitynet_Zero_Shot_QA", "all_test", "v_a.mkv", "v_b.mp4"},
        {"mini-tgif", "mini-tgif", "videos", "a.avi", "b.avi"},
        {"mini-activitynet", "mini-activitynet", "videos", "a.avi", "b.avi"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[256], expected[256];
        snprintf(name, sizeof name, "%s/test_q.json", rows[i].folder);
        bed_file(name, questions_text);
        snprintf(name, sizeof name, "%s/test_a.json", rows[i].folder);
        bed_file(name, golds_text);
        snprintf(name, sizeof name, "%s/%s/%s", rows[i].folder, rows[i].clips, rows[i].first);
        bed_file(name, "clip");
        snprintf(name, sizeof name, "%s/%s/%s", rows[i].folder, rows[i].clips, rows[i].second);
        bed_file(name, "clip");
        struct dataset data;
        open_dataset(&data, rows[i].name, &(struct benchmark_paths){.root = bed_folder});
        assert_int_equal(data.n, 3);
        assert_string_equal(data.benchmark->template, "llava_v1");
        assert_int_equal(sample_placeholders(&data, 0).n, 8);
        assert_true(sample_placeholders(&data, 0).joined);
        snprintf(expected, sizeof expected, "%s/%s/%s/%s", bed_folder, rows[i].folder, rows[i].clips,
                 rows[i].first);
        assert_string_equal(data.samples[0].image, expected);
        assert_string_equal(data.samples[1].image, expected);
        snprintf(expected, sizeof expected, "%s/%s/%s/%s", bed_folder, rows[i].folder, rows[i].clips,
                 rows[i].second);
        assert_string_equal(data.samples[2].image, expected);
        assert_string_equal(data.samples[2].cluster, "b");
        assert_string_equal(data.samples[1].gold, "snow");
        assert_string_equal(data.samples[1].category, "5");
        assert_int_equal(data.samples[1].media, MEDIA_VIDEO);
        assert_int_equal(data.has_gold, data.is_twin || strcmp(rows[i].name, "activitynet") == 0);
        dataset_close(&data);
    }
    /* A clip that is not there: the question stays, under the first name that is tried. */
    char command[256];
    snprintf(command, sizeof command, "rm '%s/msrvtt/videos/b.mov'", bed_folder);
    assert_int_equal(system(command), 0);
    struct dataset data;
    open_dataset(&data, "msrvtt", &(struct benchmark_paths){.root = bed_folder});
    assert_non_null(strstr(data.samples[2].image, "/msrvtt/videos/b.mp4"));
    dataset_close(&data);
    static const char *const verdicts[] = {"{'score': 1}", "{'score': 1}", "{'score': 1}"};
    json_t *figures = score_with("msrvtt", &(struct benchmark_paths){.root = bed_folder},
                                 bed_file("answers.jsonl", answers_text), verdicts);
    assert_true(bed_warned(figures, "1 clips are not in the folder"));
    json_decref(figures);
}

static void twins(void **state)
{
    (void)state;
    static const char *const names[] = {"mini-tgif", "mini-msvd", "mini-msrvtt", "mini-activitynet"};
    struct benchmark_paths paths = small_files();
    const char *answers = bed_file("answers.jsonl", answers_text);
    for (int i = 0; i < 4; i++) { /* "A man." is not "man"; "snow" and "Yes." are right */
        json_t *figures = score(names[i], &paths, answers);
        expect_number(figures, "accuracy", 2.0 / 3, 1e-15);
        expect_number(figures, "headline", 200.0 / 3, 1e-12);
        json_decref(figures);
    }
    json_t *figures = score("activitynet", &paths, answers); /* to the letter */
    expect_number(figures, "all", 1.0 / 3, 1e-15);
    json_decref(figures);
}

/* Golds in another order: joined by id, and the damage that pairing by position would do is counted. */
static void order(void **state)
{
    (void)state;
    struct benchmark_paths paths = small_files();
    const char *answers = bed_file("answers.jsonl", answers_text);
    paths.annotations = bed_file("a.json", "[{\"answer\": \"yes\", \"type\": 3, \"question_id\": \"v_b_0\"},"
                                           " {\"answer\": \"snow\", \"type\": 5, \"question_id\": \"v_a_1\"},"
                                           " {\"answer\": \"man\", \"type\": 0, \"question_id\": \"v_a_0\"},"
                                           " {\"answer\": \"x\", \"type\": 0, \"question_id\": \"v_z_0\"}]");
    json_t *figures = score("mini-msvd", &paths, answers);
    expect_number(figures, "accuracy", 2.0 / 3, 1e-15);
    assert_true(bed_warned(figures, "2 golds stand in another order"));
    assert_true(bed_warned(figures, "give 2 questions another gold"));
    assert_true(bed_warned(figures, "1 golds are to no question"));
    json_decref(figures);
}

static void answer_files(void **state)
{
    (void)state;
    struct benchmark_paths paths = small_files();
    json_t *figures = score("mini-msvd", &paths,
                            bed_file("list.json", "[{\"question_id\": \"v_a_1\", \"answer\": \"snow\"},"
                                                  "{\"question_id\": \"v_x\", \"answer\": \"snow\"},"
                                                  "{\"question_id\": \"v_a_1\", \"answer\": \"Snow.\"}]"));
    expect_number(figures, "accuracy", 1, 0);
    expect_number(figures, "n_missing", 2, 0);
    expect_number(figures, "n_unknown", 1, 0);
    expect_number(figures, "n_duplicate", 1, 0);
    json_decref(figures);

    /* Mark and CRLF, broken UTF-8, an empty answer, one of a megabyte. */
    enum { LONG = 1 << 20 };
    char *text = malloc(LONG + 400), *at;
    at = stpcpy(
        text, "\xef\xbb\xbf{\"id\": \"v_a_0\", \"pred\": \"\xff\"}\r\n{\"id\": \"v_a_1\", \"pred\": \"\"}\r\n"
              "{\"id\": \"v_b_0\", \"pred\": \"");
    memset(at, 'y', LONG);
    stpcpy(at + LONG, "\"}\r\n");
    const char *path = bed_file("odd.jsonl", text);
    free(text);
    static const char *const names[] = {"mini-msvd", "activitynet"};
    for (int i = 0; i < 2; i++) {
        figures = score(names[i], &paths, path);
        expect_number(figures, "headline", 0, 0);
        expect_number(figures, "n", 3, 0);
        assert_true(bed_warned(figures, "no UTF-8"));
        json_decref(figures);
    }
    bed_refused("msvd", &paths, bed_file("bad.jsonl", "{\"id\": \"v_a_0\"}\n"),
                "expected a text, found nothing");
}

static void question_files(void **state)
{
    (void)state;
    static const struct {
        const char *questions, *golds, *expected;
    } rows[] = {
        {"", NULL, "holds no question"},
        {"[]", NULL, "holds no question"},
        {"[1]", NULL, "entry 0: expected an object"},
        {"[{\"video_name\": \"a\", \"question\": \"?\"}]", NULL, "question_id"},
        {"[{\"video_name\": \"a\", \"question_id\": 1}]", NULL, "\"question\""},
        {"[{\"video_name\": 5, \"question_id\": 1, \"question\": \"?\"}]", NULL, "video_name"},
        {"[{\"video_name\": \"../../etc/passwd\", \"question_id\": 1, \"question\": \"?\"}]", NULL,
         "inside the folder"},
        {"[{\"video_name\": \"/etc/passwd\", \"question_id\": 1, \"question\": \"?\"}]", NULL,
         "inside the folder"},
        {"[{\"video_name\": \"\xff\", \"question_id\": 1, \"question\": \"?\"}]", NULL, "JSON"},
        {"question\nwhat\tis\n", NULL, "vid_id"},
        {"question,vid_id\nwhat\n", NULL, "expected 2 cells"},
        {"question,vid_id\n\"what,1\n", NULL, "quote is never closed"},
        {"question,vid_id\n\xff,1\n", NULL, "no UTF-8"},
        {questions_text, "[]", "expected a list"},
        {questions_text, "[{\"answer\": \"man\", \"type\": 0, \"question_id\": \"v_a_0\"}]",
         "no answer to 2 of the 3 questions"},
        {questions_text, "[3]", "entry 0: expected an object"},
        {questions_text, "[{\"answer\": null, \"question_id\": \"v_a_0\"}]", "\"answer\""},
        {questions_text, "[{\"answer\": \"a\", \"type\": {}, \"question_id\": \"v_a_0\"}]", "type"},
        {questions_text, "{\"v_a_0\": 1}", "expected a judged record"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct benchmark_paths paths = {.questions = bed_file("bad_q", rows[i].questions)};
        if (rows[i].golds)
            paths.annotations = bed_file("bad_a.json", rows[i].golds);
        bed_refused("msvd", &paths, NULL, rows[i].expected);
    }
    bed_refused("msvd", &(struct benchmark_paths){.root = bed_folder}, NULL, "test_q.json is not under");
    bed_refused("mini-msvd", &(struct benchmark_paths){.root = bed_folder}, NULL, "winnow world");
    /* Golds alone are no questions to be judged, but an exact scorer's. */
    struct dataset data;
    open_dataset(&data, "activitynet",
                 &(struct benchmark_paths){.annotations = bed_file("golds.json", golds_text)});
    assert_int_equal(data.n, 3);
    assert_string_equal(data.samples[2].cluster, "b");
    dataset_close(&data);
}

static void tables(void **state)
{
    (void)state;
    struct dataset data;
    open_dataset(&data, "tgif",
                 &(struct benchmark_paths){
                     .questions = bed_file(
                         "t.csv", "\xef\xbb\xbfgif_name\tquestion\tanswer\ttype\tvid_id\tkey\tdescription\r\n"
                                  "g1\twhat, is it ?\tcat\t0\tFRAMEQA1\t7\ta \"cat\" .\r\n"
                                  "\n"
                                  "g1\t\"say \"\"hi\"\"\nthen ?\"\tdog\t2\tFRAMEQA2\t7\t\r\n")});
    assert_int_equal(data.n, 2);
    assert_string_equal(data.samples[0].question_id, "FRAMEQA1");
    assert_string_equal(data.samples[0].text, "what, is it ?");
    assert_string_equal(data.samples[0].gold, "cat");
    assert_string_equal(data.samples[0].cluster, "g1");
    assert_string_equal(data.samples[1].text, "say \"hi\"\nthen ?");
    assert_string_equal(data.samples[1].category, "2");
    assert_string_equal(data.samples[1].image, "g1.mp4");
    dataset_close(&data);

    char path[SHARED_PATH];
    if (!shared_path(path, sizeof path, "data/scoring/video/tgif_frameqa.head200.csv"))
        shared_skip("data/scoring/video/tgif_frameqa.head200.csv");
    open_dataset(&data, "tgif", &(struct benchmark_paths){.questions = path});
    assert_int_equal(data.n, 199); /* of the first 200 lines */
    assert_string_equal(data.samples[0].question_id, "FRAMEQA1159");
    assert_string_equal(data.samples[0].gold, "cookie");
    assert_string_equal(data.samples[0].image_name, "tumblr_no73q2fm0I1uuf348o1_250");
    assert_string_equal(data.samples[100].text,
                        "what are three people sitting down , and one of them is holding?");
    dataset_close(&data);
}

static void submission(void **state)
{
    (void)state;
    struct benchmark_paths paths = small_files();
    struct dataset data;
    struct answers answers;
    struct error err = {0};
    char *bytes;
    size_t n;
    open_dataset(&data, "msvd", &paths);
    assert_int_equal(
        answers_read(&answers, &data,
                     bed_file("some.jsonl", "{\"id\": \"v_a_0\", \"pred\": \"caf\xc3\xa9 \\\"x\\\"\"}\n"
                                            "{\"id\": \"v_b_0\", \"pred\": \"no\"}\n"),
                     &err),
        OK);
    assert_int_equal(data.benchmark->submit(bed_path("merge.jsonl"), &data, &answers, &err), OK);
    assert_int_equal(file_read(&bytes, &n, bed_path("merge.jsonl"), 1 << 20, &err), OK);
    assert_string_equal(bytes, "{\"id\": \"v_a_0\", \"question\": \"who runs?\", \"answer\": \"man\", "
                               "\"pred\": \"caf\\u00E9 \\\"x\\\"\"}\n"
                               "{\"id\": \"v_b_0\", \"question\": \"is it red\", \"answer\": \"yes\", "
                               "\"pred\": \"no\"}\n");
    free(bytes);
    dataset_close(&data);
    /* It reads as questions and as answers again. */
    paths = (struct benchmark_paths){.questions = bed_path("merge.jsonl")};
    static const char *const verdicts[] = {"{'pred': 'yes', 'score': 3}", "{'pred': 'no', 'score': 0}"};
    json_t *figures = score_with("video-judge", &paths, bed_path("merge.jsonl"), verdicts);
    expect_number(figures, "average_score", 1.5, 0);
    json_decref(figures);
    /* Without golds there is no such file. */
    paths.questions = bed_file("q.json", questions_text);
    open_dataset(&data, "msvd", &paths);
    answers_free(&answers);
    assert_int_equal(answers_read(&answers, &data, bed_file("answers.jsonl", answers_text), &err), OK);
    assert_int_equal(data.benchmark->submit(bed_path("merge2.jsonl"), &data, &answers, &err), BAD_INPUT);
    assert_false(file_exists(bed_path("merge2.jsonl")));
    answers_free(&answers);
    dataset_close(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(official_judge),
        cmocka_unit_test(official_activitynet),
        cmocka_unit_test(official_prompt),
        cmocka_unit_test_setup_teardown(judge_request, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(reply_parsing, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(judge_verdicts, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(stored_replies, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(clip_files, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(twins, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(order, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(answer_files, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(question_files, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(tables, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(submission, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
