/* Answers about clips judged by a language model, as Video-ChatGPT's protocol has it: what is asked, what is
 * made of the reply, and the figures of tgif, msvd, msrvtt and video-judge (any such questions, or stored
 * replies alone).
 *
 * The judge, gpt-3.5-turbo with its default sampling, gets a system and a user turn, again and again until
 * its reply is a literal of Python. Stored replies are files ID.json: [reply, {q, a, pred}], or one file of
 * them by id (judge_results.json).
 *
 *   average_score   Σ int(score) ÷ all records
 *   accuracy        yes ÷ (yes + no); "yes" anywhere in 'pred' is yes, else "no" is no, else neither
 *
 * A record without a score that int() takes is counted in the first denominator, and its yes or no is not.
 *
 * Source: Video-LLaVA videollava/eval/video/eval_video_qa.py, which is Video-ChatGPT
 * quantitative_evaluation/evaluate_activitynet_qa.py with an answer file of its own.
 */
#include "datasets/video_qa.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/python_literal.h"
#include "datasets/rows.h"

#define REPLY_BYTES (1u << 20) /* of one stored reply */

/* ---- what is asked: byte for byte, missing blanks too ---------------------------------------------------
 */

static const char system_text[] =
    "You are an intelligent chatbot designed for evaluating the correctness of generative outputs for "
    "question-answer pairs. "
    "Your task is to compare the predicted answer with the correct answer and determine if they match "
    "meaningfully. Here's how you can accomplish the task:"
    "------"
    "##INSTRUCTIONS: "
    "- Focus on the meaningful match between the predicted answer and the correct answer.\n"
    "- Consider synonyms or paraphrases as valid matches.\n"
    "- Evaluate the correctness of the prediction compared to the answer.";

static const char user_text[] =
    "Please evaluate the following video-based question-answer pair:\n\n"
    "Question: %s\n"
    "Correct Answer: %s\n"
    "Predicted Answer: %s\n\n"
    "Provide your evaluation only as a yes/no and score where the score is an integer value between 0 and 5, "
    "with 5 indicating the highest meaningful match. "
    "Please generate the response in the form of a Python dictionary string with keys 'pred' and 'score', "
    "where value of 'pred' is  a string of 'yes' or 'no' and value of 'score' is in INTEGER, not STRING."
    "DO NOT PROVIDE ANY OTHER OUTPUT TEXT OR EXPLANATION. Only provide the Python dictionary string. "
    "For example, your response should look like this: {'pred': 'yes', 'score': 4.8}.";

static enum status ask(struct judge_request *out, const struct dataset *dataset, int row, const char *answer,
                       int attempt, struct error *err)
{
    const struct sample *sample = &dataset->samples[row];
    char shown[PRINTABLE_SIZE];
    (void)attempt; /* the same words every time */
    *out = (struct judge_request){.temperature = (double)NAN};
    if (!sample->gold)
        return fail(
            err, BAD_INPUT,
            "%s: question %s has no correct answer, which the judge has to be told: give test_a.json as "
            "--annotations",
            dataset->name, printable(shown, sample->question_id));
    out->system = memory_text(system_text);
    if (out->system && asprintf(&out->user, user_text, sample->text, sample->gold, answer) < 0)
        out->user = NULL;
    if (!out->system || !out->user) {
        judge_request_free(out);
        return memory_failed(err, "a request to the judge", sizeof user_text + strlen(answer));
    }
    return OK;
}

/* The official script keeps any reply that is a literal, even one that says nothing. */
static bool usable(const char *reply)
{
    json_t *value = python_literal(reply);
    bool is_literal = value != NULL;
    json_decref(value);
    return is_literal;
}

static const struct judging judging = {.model = "gpt-3.5-turbo", .attempts = 0, .ask = ask, .usable = usable};

/* ---- what a reply says ----------------------------------------------------------------------------------
 */

/* int() of a text: blanks around, a sign, digits with single underscores between them. */
static bool int_of_text(double *out, const char *text)
{
    size_t n;
    const char *at = ascii_strip(&n, text), *end = at + n;
    double sign = 1, value = 0;
    if (at < end && (*at == '+' || *at == '-'))
        sign = *at++ == '-' ? -1 : 1;
    if (at == end || !ascii_is_digit(end[-1]))
        return false;
    for (bool after_digit = false; at < end; at++) {
        if (*at == '_' ? !after_digit : !ascii_is_digit(*at))
            return false;
        after_digit = *at != '_';
        if (after_digit)
            value = value * 10 + (*at - '0');
    }
    *out = sign * value;
    return isfinite(value);
}

static bool int_of(double *out, const json_t *value)
{
    if (json_is_string(value))
        return int_of_text(out, json_string_value(value));
    if (json_is_boolean(value))
        *out = json_is_true(value);
    else if (json_is_number(value))
        *out = trunc(json_number_value(value));
    else
        return false;
    return true;
}

static bool holds(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (; *text; text++) {
        size_t i = 0;
        while (i < n && ascii_lower(text[i]) == word[i])
            i++;
        if (i == n)
            return true;
    }
    return false;
}

struct judgement video_judgement(const json_t *reply)
{
    struct judgement out = {0};
    const char *pred = json_string_value(json_object_get(reply, "pred"));
    out.has_score = int_of(&out.score, json_object_get(reply, "score"));
    if (out.has_score && pred)
        out.says = holds(pred, "yes") ? SAYS_YES : holds(pred, "no") ? SAYS_NO : SAYS_NEITHER;
    return out;
}

/* What counts for a row: the judge's reply at hand, else the stored one. */
static bool judged(struct judgement *out, const struct dataset *dataset, int row, const char *verdict)
{
    const struct video_question *question = dataset->samples[row].extra;
    json_t *reply = verdict ? python_literal(verdict) : NULL;
    if (reply)
        *out = video_judgement(reply);
    else if (!verdict && question->has_stored)
        *out = question->stored;
    else
        return false;
    json_decref(reply);
    return true;
}

/* ---- stored replies -------------------------------------------------------------------------------------
 */

/* A question of which only its judged record is known. */
static enum status sample_of_record(struct dataset *data, const char *id, const json_t *about,
                                    const char *place, struct error *err)
{
    struct sample *sample;
    TRY(dataset_add(&sample, data, err));
    struct video_question *extra = sample->extra = text_pool_zero(data->pool, 1, sizeof *extra);
    TRY(text_pool_check(data->pool, err));
    extra->type = -1;
    sample->question_id = sample->group = sample->cluster = text_pool_add(data->pool, id);
    sample->media = MEDIA_VIDEO;
    const char *question, *gold;
    TRY(json_str(&question, about, "q", "", place, err));
    TRY(json_str(&gold, about, "a", NULL, place, err));
    sample->text = text_pool_add(data->pool, question);
    sample->gold = gold ? text_pool_add(data->pool, gold) : NULL;
    return OK;
}

static enum status record_take(struct sample *sample, struct dataset *data, const json_t *record,
                               const char *place, struct error *err)
{
    struct video_question *extra = sample->extra;
    const json_t *about = json_array_get(record, 1);
    const char *pred;
    TRY(json_str(&pred, about, "pred", NULL, place, err));
    extra->has_stored = true;
    extra->stored = video_judgement(json_array_get(record, 0));
    extra->stored_pred = pred ? text_pool_add(data->pool, pred) : NULL;
    return OK;
}

enum status video_replies_take(struct dataset *data, const json_t *by_id, const char *path, struct error *err)
{
    struct video_qa *own = data->own;
    bool alone = data->n == 0;
    const char *id;
    json_t *record;
    char place[PLACE_SIZE], shown[PRINTABLE_SIZE];
    struct id_entry *ids = NULL;
    enum status status = OK;
    data->unordered = alone;
    if (!alone)
        TRY(ids_of_samples(&ids, data, false, path, err));
    json_object_foreach((json_t *)by_id, id, record)
    {
        snprintf(place, sizeof place, "%.200s: \"%s\"", path, printable(shown, id));
        if (!json_is_array(record) || json_array_size(record) == 0)
            TRY_GOTO(status, fail(err, BAD_INPUT,
                                  "%s: expected a judged record, [reply, {\"q\", \"a\", \"pred\"}]", place));
        int found = alone ? data->n : ids_find(ids, data->n, id);
        if (alone)
            TRY_GOTO(status, sample_of_record(data, id, json_array_get(record, 1), place, err));
        if (found < 0) {
            own->n_unknown_replies++;
            continue;
        }
        struct sample *sample = &data->samples[alone ? found : ids[found].row];
        TRY_GOTO(status, record_take(sample, data, record, place, err));
        own->n_replies++;
    }
    TRY_GOTO(status, text_pool_check(data->pool, err));
    if (own->n_replies == 0) /* else a judge would be asked who was to be spared */
        TRY_GOTO(status,
                 fail(err, BAD_INPUT, "%s: holds replies to none of the %d questions", path, data->n));
exit:
    free(ids);
    return status;
}

static int is_record_name(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0;
}

/* The same order everywhere, whatever the locale. */
static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static enum status record_read(json_t *by_id, const char *folder, const char *name, struct sha256 *sha,
                               struct error *err)
{
    char *path, *bytes = NULL, *id = NULL;
    size_t n;
    json_t *record = NULL;
    enum status status;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return memory_failed(err, "a path", strlen(name));
    TRY_GOTO(status, file_read(&bytes, &n, path, REPLY_BYTES, err));
    sha256_update(sha, name, strlen(name));
    sha256_update(sha, bytes, n);
    TRY_GOTO(status, json_parse(&record, bytes, n, path, err));
    id = strndup(name, strlen(name) - strlen(".json"));
    if (!id || json_object_set(by_id, id, record) != 0) {
        char shown[PRINTABLE_SIZE];
        TRY_GOTO(status, fail(err, BAD_INPUT, "%s: the name is no UTF-8", printable(shown, path)));
    }
exit:
    json_decref(record);
    free(id);
    free(bytes);
    free(path);
    return status;
}

enum status video_replies_read(struct dataset *data, const char *path, struct sha256 *sha, struct error *err)
{
    struct dirent **names;
    int n = scandir(path, &names, is_record_name, by_bytes);
    if (n < 0)
        return fail(err, BAD_INPUT, "%s: cannot be read", path);
    json_t *by_id = json_object();
    enum status status = OK;
    if (n == 0)
        TRY_GOTO(status, fail(err, BAD_INPUT, "%s: holds no stored reply, QUESTION_ID.json", path));
    if (!by_id)
        TRY_GOTO(status, memory_failed(err, "stored replies", (size_t)n));
    for (int i = 0; i < n; i++)
        TRY_GOTO(status, record_read(by_id, path, names[i]->d_name, sha, err));
    status = video_replies_take(data, by_id, path, err);
exit:
    json_decref(by_id);
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    return status;
}

/* ---- figures --------------------------------------------------------------------------------------------
 */

static double score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                           const char *answer, const char *verdict, enum protocol protocol)
{
    struct judgement judgement;
    (void)protocol;
    if (dataset->is_twin)
        return video_exact_sample(parsed, size, dataset, row, answer);
    video_qa_normalise(parsed, size, answer);
    if (!judged(&judgement, dataset, row, verdict) || judgement.says == SAYS_NEITHER)
        return (double)NAN;
    return judgement.says == SAYS_YES;
}

struct tally {
    int n, yes, no, neither, no_score, not_judged, other_answer;
    double sum;
};

static struct tally tally_of(const struct dataset *dataset, const struct answers *answers)
{
    struct tally t = {0};
    for (int i = 0; i < dataset->n; i++) {
        const struct video_question *question = dataset->samples[i].extra;
        const char *verdict = answers->verdict ? answers->verdict[i] : NULL;
        struct judgement judgement;
        if (!answers->text[i])
            continue;
        if (!judged(&judgement, dataset, i, verdict)) {
            t.not_judged++;
            continue;
        }
        t.other_answer +=
            !verdict && question->stored_pred && strcmp(question->stored_pred, answers->text[i]) != 0;
        t.n++;
        t.sum += judgement.has_score ? judgement.score : 0;
        t.no_score += !judgement.has_score;
        t.yes += judgement.says == SAYS_YES;
        t.no += judgement.says == SAYS_NO;
        t.neither += judgement.has_score && judgement.says == SAYS_NEITHER;
    }
    return t;
}

static enum status score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                         const struct answers *answers, enum protocol protocol, struct error *err)
{
    const struct video_qa *own = dataset->own;
    (void)protocol;
    (void)err;
    if (dataset->is_twin) {
        video_exact_score(figures, warnings, dataset, answers);
        return OK;
    }
    struct tally t = tally_of(dataset, answers);
    double accuracy = t.yes + t.no > 0 ? (double)t.yes / (t.yes + t.no) : (double)NAN;
    json_object_set_new(figures, "yes", json_integer(t.yes));
    json_object_set_new(figures, "no", json_integer(t.no));
    json_object_set_new(figures, "accuracy", figure(accuracy));
    json_object_set_new(figures, "average_score", figure(t.n > 0 ? t.sum / t.n : (double)NAN));
    json_object_set_new(figures, "headline", figure(100 * accuracy));
    json_object_set_new(figures, "n", json_integer(t.n));
    if (t.not_judged > 0)
        warn(warnings, "%d answers have no reply of the judge; they are left out", t.not_judged);
    if (t.no_score > 0)
        warn(warnings,
             "%d of the judge's replies have no score; as officially they count as 0 in average_score, and "
             "not in "
             "accuracy",
             t.no_score);
    if (t.neither > 0)
        warn(warnings,
             "%d of the judge's replies say neither yes nor no; as officially accuracy leaves them out",
             t.neither);
    if (t.other_answer > 0)
        warn(warnings, "%d stored replies judge another answer than the one given", t.other_answer);
    if (own->n_unknown_replies > 0)
        warn(warnings, "%d stored replies are to no question of the question file", own->n_unknown_replies);
    video_qa_warn(warnings, dataset);
    return OK;
}

#define JUDGED                                                                                               \
    .metric = "accuracy", .unit = "%", .scale = 100, .max_new_tokens = VIDEO_QA_NEW_TOKENS,                  \
    .template = VIDEO_QA_TEMPLATE, .n_frames = VIDEO_QA_FRAMES, .cluster = "video", .read = video_qa_read,   \
    .score_sample = score_sample, .judging = &judging, .submit = video_qa_submit,                            \
    .submission = VIDEO_QA_SUBMISSION, .n_sums = MEAN_SUMS, .tally = mean_tally, .headline = mean_headline,  \
    .score = score, .protocols = 1u << PROTOCOL_OFFICIAL
#define FILES                                                                                                \
    "https://github.com/PKU-YuanGroup/Video-LLaVA/blob/main/TRAIN_AND_VALIDATE.md (questions, answers)"

extern const struct benchmark benchmark_tgif, benchmark_msvd, benchmark_msrvtt, benchmark_video_judge;
const struct benchmark benchmark_tgif = {
    .name = "tgif",
    .title = "TGIF-QA (FrameQA)",
    .folders = {"eval/GPT_Zero_Shot_QA/TGIF_Zero_Shot_QA", "GPT_Zero_Shot_QA/TGIF_Zero_Shot_QA", "tgif"},
    .licence = "academic use only (TGIF-QA); Tumblr's GIFs for non-commercial research (TGIF)",
    .published = FILES ", https://github.com/YunseokJANG/tgif-qa (GIFs, tables)",
    JUDGED,
};
const struct benchmark benchmark_msvd = {
    .name = "msvd",
    .title = "MSVD-QA",
    .folders = {"eval/GPT_Zero_Shot_QA/MSVD_Zero_Shot_QA", "GPT_Zero_Shot_QA/MSVD_Zero_Shot_QA", "msvd"},
    .licence = "none stated (questions); clips of YouTube under their owners' terms",
    .published = FILES ", https://github.com/xudejing/video-question-answering (MSVD-QA)",
    JUDGED,
};
const struct benchmark benchmark_msrvtt = {
    .name = "msrvtt",
    .title = "MSRVTT-QA",
    .folders = {"eval/GPT_Zero_Shot_QA/MSRVTT_Zero_Shot_QA", "GPT_Zero_Shot_QA/MSRVTT_Zero_Shot_QA",
                "msrvtt"},
    .licence = "none stated (questions); clips of YouTube under their owners' terms",
    .published = FILES ", https://github.com/xudejing/video-question-answering (MSRVTT-QA)",
    JUDGED,
};
const struct benchmark benchmark_video_judge = {
    .name = "video-judge",
    .title = "video QA by a judge",
    .licence = "that of the files given",
    .published =
        "any test_q.json and test_a.json, a merge.jsonl as --questions, or a judge's stored replies as "
        "--annotations",
    JUDGED,
};
