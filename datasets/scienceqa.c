/* ScienceQA (test split): school questions with two to five options, about half of them with a picture.
 * Headline: accuracy on the questions with a picture ("IMG").
 *
 *   scienceqa/llava_test_CQM-A.json     LLaVA's questions: [{id, image?, conversations: [{from, value}, …]}]
 *   scienceqa/problems.json             {id: {choices, answer, subject, topic, …}}: golds
 *   scienceqa/pid_splits.json           {"test": [id, …], …}: what the official scorer goes through; optional
 *   scienceqa/images/test/ID/image.png
 *
 * `annotations` is problems.json, and pid_splits.json is looked for beside it. The official scorer counts a
 * question without an answer as FAILED, which is wrong, in its total; its IMG subset are the answers whose
 * prompt holds <image>, so that an absent answer is not in it. Both is so here under the official protocol.
 *
 * Sources: LLaVA llava/eval/model_vqa_science.py and eval_science_qa.py; lmms-eval tasks/scienceqa;
 * VLMEvalKit (ScienceQA_TEST is a plain multiple-choice set there). */
#include "datasets/benchmark.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "datasets/choice.h"
#include "datasets/rows.h"

struct scienceqa {
    int n_split; /* questions of the test split, 0 where no pid_splits.json is */
};

static const char placeholder[] = "<image>",
                  suffix[] = "\nAnswer with the option's letter from the given choices directly.";

static const struct choices *choices_of(const struct dataset *data, int row)
{
    return data->samples[row].extra;
}

/* ---- questions -------------------------------------------------------------------------------------------
 */

/* The human's words without placeholders, stripped, and LLaVA's suffix. */
static enum status text_build(const char **out, struct text_pool *pool, const char *value, struct error *err)
{
    size_t n = 0;
    char *text = memory_text(value);
    if (!text)
        return memory_failed(err, "a question", strlen(value));
    char *to = text;
    for (const char *from = text; *from;) {
        if (strncmp(from, placeholder, sizeof placeholder - 1) == 0)
            from += sizeof placeholder - 1;
        else
            *to++ = *from++;
    }
    *to = '\0';
    const char *stripped = ascii_strip(&n, text);
    text[(size_t)(stripped - text) + n] = '\0';
    *out = text_pool_format(pool, "%s%s", stripped, suffix);
    free(text);
    return OK;
}

static enum status question_read(struct dataset *data, const json_t *row, const char *images,
                                 const char *place, struct error *err)
{
    struct sample *sample;
    const char *image, *value;
    if (!json_is_object(row))
        return fail(err, BAD_INPUT, "%s: expected an object", place);
    TRY(dataset_add(&sample, data, err));
    TRY(row_id(&sample->question_id, &sample->numeric_id, data->pool, row, "id", place, err));
    sample->group = sample->cluster = sample->question_id;
    const json_t *turn = json_array_get(json_object_get(row, "conversations"), 0);
    if (!json_is_string(json_object_get(turn, "value")))
        return fail(err, BAD_INPUT,
                    "%s: \"conversations\": expected a list that begins with {\"value\": the question}",
                    place);
    value = json_string_value(json_object_get(turn, "value"));
    TRY(text_build(&sample->text, data->pool, value, err));
    TRY(json_str(&image, row, "image", NULL, place, err));
    return image ? sample_image(sample, data->pool, images, image, place, err) : OK;
}

static enum status questions_list(struct dataset *data, const char *path, const char *images,
                                  struct sha256 *sha, struct error *err)
{
    json_t *root;
    enum status status = OK;
    TRY(document_read(&root, path, sha, err));
    if (!json_is_array(root) || json_array_size(root) == 0)
        status = fail(err, BAD_INPUT, "%s: expected a list of questions as llava_test_CQM-A.json is", path);
    for (size_t i = 0; i < json_array_size(root) && status == OK; i++) {
        char place[PLACE_SIZE];
        snprintf(place, sizeof place, "%.300s: row %zu (counted from 0)", path, i);
        status = question_read(data, json_array_get(root, i), images, place, err);
    }
    json_decref(root);
    if (status != OK)
        return status;
    struct id_entry *ids;
    TRY(ids_of_samples(&ids, data, true, path, err));
    free(ids);
    return OK;
}

/* ---- golds -----------------------------------------------------------------------------------------------
 */

static enum status problem_read(struct dataset *data, struct sample *sample, const json_t *problem,
                                const char *place, struct error *err)
{
    const json_t *list = json_object_get(problem, "choices");
    const char *subject, *topic;
    int64_t answer;
    int n = (int)json_array_size(list);
    struct choices *choices = text_pool_zero(data->pool, 1, sizeof *choices);
    TRY(text_pool_check(data->pool, err));
    if (n < 1 || json_array_size(list) > CHOICE_LETTERS)
        return fail(err, BAD_INPUT, "%s: \"choices\": expected a list of 1 to %d texts", place,
                    CHOICE_LETTERS);
    for (int i = 0; i < n; i++) {
        const json_t *text = json_array_get(list, (size_t)i);
        if (!json_is_string(text))
            return fail(err, BAD_INPUT, "%s: \"choices\": entry %d is no text", place, i);
        choices->text[i] = text_pool_add(data->pool, json_string_value(text));
    }
    choices->n = n;
    TRY(json_int(&answer, problem, "answer", -1, 0, n - 1, place, err));
    if (answer < 0)
        return fail(err, BAD_INPUT, "%s: \"answer\": expected the index of a choice, found nothing", place);
    TRY(json_str(&subject, problem, "subject", "", place, err));
    TRY(json_str(&topic, problem, "topic", "", place, err));
    sample->gold = text_pool_format(data->pool, "%c", (int)('A' + answer));
    sample->category = text_pool_add(data->pool, subject);
    sample->detail = text_pool_add(data->pool, topic);
    sample->extra = choices;
    return OK;
}

static enum status problems_read(struct dataset *data, const char *path, const json_t *problems,
                                 struct error *err)
{
    if (!json_is_object(problems))
        return fail(err, BAD_INPUT, "%s: expected an object keyed by question id, as problems.json is", path);
    for (int i = 0; i < data->n; i++) {
        struct sample *sample = &data->samples[i];
        char place[PLACE_SIZE], shown[PRINTABLE_SIZE];
        const json_t *problem = json_object_get(problems, sample->question_id);
        snprintf(place, sizeof place, "%.200s: \"%s\"", path, printable(shown, sample->question_id));
        if (problem && !json_is_object(problem))
            return fail(err, BAD_INPUT, "%s: expected an object", place);
        if (problem)
            TRY(problem_read(data, sample, problem, place, err));
        data->has_gold |= sample->gold != NULL;
    }
    if (!data->has_gold)
        return fail(err, BAD_INPUT, "%s: knows none of the questions; are the files of one data set?", path);
    return OK;
}

/* Takes the golds from questions that are not in the test split. */
static enum status split_apply(struct dataset *data, const char *path, const json_t *splits,
                               struct error *err)
{
    struct scienceqa *own = data->own;
    const json_t *test = json_object_get(splits, "test");
    size_t n = json_array_size(test);
    if (!json_is_array(test))
        return fail(err, BAD_INPUT, "%s: \"test\": expected a list of question ids", path);
    json_t *known = json_object();
    enum status status = OK;
    for (size_t i = 0; i < n && status == OK; i++) {
        const char *id = json_string_value(json_array_get(test, i));
        if (!id)
            status = fail(err, BAD_INPUT, "%s: \"test\": entry %zu is no text", path, i);
        else
            json_object_set_new(known, id, json_true());
    }
    own->n_split = (int)json_object_size(known);
    for (int i = 0; i < data->n; i++)
        if (!json_object_get(known, data->samples[i].question_id))
            data->samples[i].gold = NULL;
    json_decref(known);
    return status;
}

static enum status annotations_read(struct dataset *data, const char *path, struct sha256 *sha,
                                    struct error *err)
{
    json_t *root;
    TRY(document_read(&root, path, sha, err));
    enum status status = problems_read(data, path, root, err);
    json_decref(root);
    TRY(status);
    const char *slash = strrchr(path, '/');
    const char *splits =
        text_pool_format(data->pool, "%.*spid_splits.json", slash ? (int)(slash + 1 - path) : 0, path);
    if (!file_exists(splits))
        return OK;
    TRY(document_read(&root, splits, sha, err));
    status = split_apply(data, splits, root, err);
    json_decref(root);
    return status;
}

static enum status scienceqa_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    struct sha256 sha;
    sha256_init(&sha);
    out->own = text_pool_zero(out->pool, 1, sizeof(struct scienceqa));
    TRY(text_pool_check(out->pool, err));
    const char *questions = file_locate(
        out, paths->questions, paths->root,
        (const char *const[]){"llava_test_CQM-A.json", "llava_test_CQM-I.json", "llava_test.json", NULL});
    const char *problems =
        file_locate(out, paths->annotations, paths->root, (const char *const[]){"problems.json", NULL});
    const char *images =
        file_locate(out, paths->images, paths->root, (const char *const[]){"images/test", "test", NULL});
    if (!questions)
        return file_missing(out, paths, "llava_test_CQM-A.json", "--questions", err);
    TRY(questions_list(out, questions, images, &sha, err));
    if (problems)
        TRY(annotations_read(out, problems, &sha, err));
    sha256_final(&sha, out->files_sha256);
    return OK;
}

/* ---- scoring ---------------------------------------------------------------------------------------------
 */

static char letter_of(const struct dataset *data, int row, const char *answer, enum protocol protocol)
{
    const struct choices *choices = choices_of(data, row);
    if (protocol == PROTOCOL_LMMS)
        return choice_scienceqa_lmms(answer);
    if (protocol == PROTOCOL_VLMEVAL)
        return choices ? choice_vlmeval(answer, choices) : NO_CHOICE;
    return choice_scienceqa(answer);
}

static double scienceqa_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                                     const char *answer, const char *verdict, enum protocol protocol)
{
    (void)verdict;
    char letter = letter_of(dataset, row, answer, protocol);
    const char *gold = dataset->samples[row].gold;
    choice_parsed(parsed, size, letter, answer);
    /* A letter past the options has index -1 officially; no gold is such a letter. */
    return gold ? letter == gold[0] : (double)NAN;
}

static void scienceqa_tally(double *sums, const struct dataset *dataset, const int *rows,
                            const double *scores, int n)
{
    for (int i = 0; i < n; i++)
        if (dataset->samples[rows[i]].image) {
            sums[0] += scores[i];
            sums[1] += 1;
        }
}

static void warn_about_rows(json_t *warnings, const struct dataset *data, int n_missing, int n_outside,
                            int n_unmatched)
{
    const struct scienceqa *own = data->own;
    if (n_missing > 0)
        warn(warnings,
             "%d questions without an answer count as wrong in `total` and `accuracy`, as the official "
             "scorer's "
             "FAILED do; `image_accuracy` leaves them out, as it does",
             n_missing);
    if (n_unmatched > 0)
        warn(warnings, "%d answers name no option by the rule and count as wrong", n_unmatched);
    if (n_outside > 0)
        warn(warnings, "%d questions are not in the test split or have no problem; they are left out",
             n_outside);
    if (own->n_split > data->n)
        warn(warnings,
             "the question file holds %d of the %d questions of the test split; the official scorer would "
             "count "
             "the others as wrong in `total` and `accuracy`",
             data->n, own->n_split);
}

static enum status scienceqa_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                                   const struct answers *answers, enum protocol protocol, struct error *err)
{
    struct mean all = {0}, image = {0};
    struct split by_subject = split_new();
    int n_outside = 0, n_unmatched = 0, n_subject = 0;
    (void)err;
    for (int i = 0; i < dataset->n; i++) {
        const struct sample *sample = &dataset->samples[i];
        n_outside += !sample->gold;
        if (!answers->text[i] || !sample->gold)
            continue;
        char letter = letter_of(dataset, i, answers->text[i], protocol);
        bool right = letter == sample->gold[0];
        n_unmatched += letter == NO_CHOICE;
        mean_add(&all, right);
        if (sample->image)
            mean_add(&image, right);
        if (sample->category[0])
            split_add(&by_subject, sample->category, right), n_subject++;
    }
    bool official = protocol != PROTOCOL_LMMS && protocol != PROTOCOL_VLMEVAL;
    int n = all.n, n_missing = official ? answers->n_missing : 0;
    all.n += n_missing; /* of a sweep with a limit those that failed, not those that were not asked */
    json_object_set_new(figures, "total", json_integer(all.n));
    json_object_set_new(figures, "correct", json_integer((json_int_t)all.sum));
    json_object_set_new(figures, "accuracy", per_cent(&all));
    json_object_set_new(figures, "image_accuracy", per_cent(&image));
    json_object_set_new(figures, "headline", per_cent(&image));
    json_object_set_new(figures, "n", json_integer(n));
    if (n_subject > 0)
        split_finish(figures, "subject", &by_subject);
    split_free(&by_subject);
    if (image.n == 0)
        warn(warnings, "no answer is to a question with a picture, so there is no headline");
    warn_about_rows(warnings, dataset, n_missing, n_outside, n_unmatched);
    return OK;
}

/* The result file of the official scorer (--output-result). */
static enum status scienceqa_submit(const char *path, const struct dataset *dataset,
                                    const struct answers *answers, struct error *err)
{
    json_t *results = json_object(), *outputs = json_object();
    int correct = 0, count = 0;
    for (int i = 0; i < dataset->n; i++) {
        const struct sample *sample = &dataset->samples[i];
        const char *answer = answers->text[i] ? answers->text[i] : "FAILED";
        const struct choices *choices = choices_of(dataset, i);
        int index = choice_index(choice_scienceqa(answer), choices ? choices->n : CHOICE_LETTERS);
        json_object_set_new(results, sample->question_id, json_integer(index));
        json_object_set_new(outputs, sample->question_id, json_string(answer));
        count += sample->gold != NULL;
        correct += sample->gold && index == sample->gold[0] - 'A';
    }
    json_t *root = json_object();
    json_object_set_new(root, "acc", figure(count ? 100.0 * correct / count : (double)NAN));
    json_object_set_new(root, "correct", json_integer(correct));
    json_object_set_new(root, "count", json_integer(count));
    json_object_set_new(root, "results", results);
    json_object_set_new(root, "outputs", outputs);
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    enum status status = text ? file_write(path, text, strlen(text), err)
                              : fail(err, NO_MACHINE, "%s: no memory for the results", path);
    free(text);
    return status;
}

extern const struct benchmark benchmark_scienceqa;
const struct benchmark benchmark_scienceqa = {
    .name = "scienceqa",
    .title = "ScienceQA-IMG",
    .folders = {"scienceqa", "sqa"},
    .metric = "accuracy on questions with a picture",
    .unit = "%",
    .scale = 100,
    .missing_are_wrong = true,
    .max_new_tokens = 1024,
    .cluster = "question",
    .licence = "CC BY-NC-SA 4.0",
    .published = "https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md (eval.zip), "
                 "https://github.com/lupantech/ScienceQA (problems.json, pid_splits.json, images)",
    .read = scienceqa_read,
    .score_sample = scienceqa_score_sample,
    .submit = scienceqa_submit,
    .submission = "the result file of LLaVA's eval_science_qa.py: index and words of every answer, by id",
    .n_sums = MEAN_SUMS,
    .tally = scienceqa_tally,
    .headline = mean_headline,
    .score = scienceqa_score,
    .protocols = 1u << PROTOCOL_OFFICIAL | 1u << PROTOCOL_LMMS | 1u << PROTOCOL_VLMEVAL,
};
