/* VQAv2: open-ended questions about COCO pictures, ten people's answers each. Headline: mean soft score ×
 * 100, in full precision (VQAEval prints two decimals).
 *
 *   vqav2/llava_vqav2_mscoco_{test-dev2015,test2015,val2014}.jsonl   LLaVA's question files, or
 *   vqav2/v2_OpenEnded_mscoco_{…}_questions.json    {"data_subtype", "questions": [{"image_id", "question",
 *                                                   "question_id"}]}
 *   vqav2/v2_mscoco_val2014_annotations.json        {"annotations": [{"question_id", "question_type",
 *                                                   "answer_type", "answers": [{"answer", …} × 10], …}]}
 *   vqav2/test2015/, vqav2/val2014/                 pictures, COCO_test2015_000000262144.jpg
 *
 * VQAEval: newlines and tabs become spaces, both ends are stripped; if the golds of a question are not all
 * equal then, they and the answer are normalised, else neither is: a raw "Yes." to ten times "yes" scores 0.
 * LLaVA therefore sends answers to the server through EvalAI's normaliser first. Protocols: official = that
 * normaliser, then VQAEval, which is what LLaVA's figures are; a JSON list of answers ([{"question_id",
 * "answer"}], what LLaVA submits) is scored by VQAEval alone; lmms = official without the exception for equal
 * golds. VQAEval tells people's answers apart by their whole records, which answer_id makes different; here
 * they are by their place.
 *
 * Sources: GT-Vision-Lab/VQA vqaEval.py, LLaVA scripts/convert_vqav2_for_submission.py, lmms-eval
 * tasks/vqav2/utils.py.
 */
#include "datasets/benchmark.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "datasets/elements.h"
#include "datasets/rows.h"
#include "datasets/vqa_normalise.h"

static const char suffix[] = "\nAnswer the question using a single word or phrase.";
static const char dev_name[] = "llava_vqav2_mscoco_test-dev2015.jsonl";
static const char all_name[] = "llava_vqav2_mscoco_test2015.jsonl";
static const char whole[] = "VQAv2's file"; /* a download of which may have broken off */

/* Golds as VQAEval compares them. */
struct annotation {
    struct vqa_golds golds;
    bool unanimous; /* all equal but for blanks, so not normalised */
};

struct vqav2 {
    const char *all_questions; /* test2015's file beside test-dev's: the server wants all of it; else NULL */
};

/* ---- reading --------------------------------------------------------------------------------------------
 */

static bool is_document(const char *path)
{
    size_t n = strlen(path);
    return n >= 5 && strcmp(path + n - 5, ".json") == 0;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* COCO's folder of pictures for a split; test-dev is part of test. */
static const char *folder_of(const char *subtype)
{
    return strcmp(subtype, "test-dev2015") == 0 ? "test2015" : subtype;
}

static enum status official_question(struct dataset *data, const json_t *row, const char *subtype,
                                     const char *images, const char *place, struct error *err)
{
    struct sample *sample;
    const char *question;
    int64_t image_id;
    TRY(dataset_add(&sample, data, err));
    TRY(row_id(&sample->question_id, &sample->numeric_id, data->pool, row, "question_id", place, err));
    TRY(row_text(&question, data->pool, row, "question", place, err));
    TRY(json_int(&image_id, row, "image_id", -1, 0, 999999999999, place, err));
    if (image_id < 0)
        return fail(err, BAD_INPUT, "%s: \"image_id\": expected a whole number, found nothing", place);
    sample->text = text_pool_format(data->pool, "%s%s", question, suffix);
    sample->group = sample->question_id;
    const char *name = text_pool_format(data->pool, "COCO_%s_%012lld.jpg", subtype, (long long)image_id);
    /* The twin's pictures are PNG. */
    if (data->is_twin)
        name = text_pool_format(data->pool, "COCO_%s_%012lld.png", subtype, (long long)image_id);
    return sample_image(sample, data->pool, images, name, place, err);
}

static enum status official_questions(struct dataset *data, const struct benchmark_paths *paths,
                                      const char *path, struct sha256 *sha, struct error *err)
{
    struct elements elements;
    const char *subtype;
    char shown[PRINTABLE_SIZE];
    json_t *row;
    TRY(elements_open(&elements, path, whole, "questions", sha, err));
    enum status status;
    TRY_GOTO(status, row_text(&subtype, data->pool, elements.document, "data_subtype", path, err));
    subtype = folder_of(subtype);
    /* It becomes part of a path. */
    if (subtype[strspn(subtype, "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0')
        TRY_GOTO(status, fail(err, BAD_INPUT, "%s: \"data_subtype\": expected a split, found \"%s\"", path,
                              printable(shown, subtype)));
    const char *images = file_locate(data, paths->images, paths->root, (const char *const[]){subtype, NULL});
    while ((status = elements_next(&row, &elements, err)) == OK && row) {
        status = official_question(data, row, subtype, images, elements.place, err);
        json_decref(row);
        if (status != OK)
            break;
    }
    if (status == OK && data->n == 0)
        status = fail(err, BAD_INPUT, "%s: holds no question", path);
exit:
    elements_close(&elements);
    return status;
}

/* Normalises in place what VQAEval would. */
static enum status golds_prepare(struct annotation *annotation, struct text_pool *pool, struct error *err)
{
    struct vqa_golds *golds = &annotation->golds;
    annotation->unanimous = true;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < golds->n; i++) {
            char *text = vqa_normalise(golds->texts[i], pass == 0 ? VQA_BLANKS : VQA_OFFICIAL);
            if (!text)
                return memory_failed(err, "an answer", strlen(golds->texts[i]));
            if (strcmp(text, golds->texts[i]) != 0)
                golds->texts[i] = text_pool_add(pool, text);
            free(text);
            if (pass == 0)
                annotation->unanimous &= strcmp(golds->texts[i], golds->texts[0]) == 0;
        }
        if (annotation->unanimous)
            break;
    }
    return OK;
}

static enum status annotation_join(struct dataset *data, const struct id_entry *ids, const json_t *row,
                                   const char *place, struct error *err)
{
    struct text_pool *pool = data->pool;
    const char *id, *answer_type, *question_type;
    TRY(row_id(&id, NULL, pool, row, "question_id", place, err));
    int at = ids_find(ids, data->n, id);
    if (at < 0)
        return OK; /* the questions are a part of the split */
    struct sample *sample = &data->samples[ids[at].row];
    struct annotation *annotation = text_pool_zero(pool, 1, sizeof *annotation);
    TRY(text_pool_check(pool, err));
    TRY(vqa_golds_read(&annotation->golds, pool, row, "answers", place, err));
    TRY(row_text(&answer_type, pool, row, "answer_type", place, err));
    TRY(row_text(&question_type, pool, row, "question_type", place, err));
    TRY(golds_prepare(annotation, pool, err));
    sample->extra = annotation;
    sample->gold = vqa_golds_commonest(&annotation->golds);
    sample->category = answer_type;
    sample->detail = question_type;
    data->has_gold = true;
    return OK;
}

/* given: by the user, so that annotations of another split are an error and not just of no use. */
static enum status annotations_read(struct dataset *data, const char *path, bool given, const char *questions,
                                    struct sha256 *sha, struct error *err)
{
    struct elements elements;
    struct id_entry *ids;
    json_t *row;
    TRY(ids_of_samples(&ids, data, true, questions, err));
    enum status status = elements_open(&elements, path, whole, "annotations", sha, err);
    if (status == OK) {
        while ((status = elements_next(&row, &elements, err)) == OK && row) {
            status = annotation_join(data, ids, row, elements.place, err);
            json_decref(row);
            if (status != OK)
                break;
        }
        elements_close(&elements);
    }
    free(ids);
    if (status == OK && given && !data->has_gold)
        status = fail(err, BAD_INPUT, "%s: knows none of the %d questions of %s: are both of one split?",
                      path, data->n, questions);
    return status;
}

/* LLaVA's file names pictures, not their folder. */
static enum status llava_questions(struct dataset *data, const struct benchmark_paths *paths,
                                   const char *path, struct sha256 *sha, struct error *err)
{
    struct vqav2 *own = data->own;
    static const char *const val[] = {"val2014", "test2015", NULL}, *const test[] = {"test2015", "val2014",
                                                                                     NULL};
    const char *name = name_of(path);
    const char *images = file_locate(data, paths->images, paths->root, strstr(name, "val2014") ? val : test);
    TRY(questions_read(data, path, images, sha, err));
    if (strcmp(name, dev_name) == 0) {
        const char *all = text_pool_format(data->pool, "%.*s%s", (int)(name - path), path, all_name);
        own->all_questions = file_exists(all) ? all : NULL;
    }
    struct id_entry *ids;
    TRY(ids_of_samples(&ids, data, true, path, err));
    free(ids);
    return OK;
}

static enum status vqav2_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    struct sha256 sha;
    sha256_init(&sha);
    out->own = text_pool_zero(out->pool, 1, sizeof(struct vqav2));
    TRY(text_pool_check(out->pool, err));
    const char *questions =
        file_locate(out, paths->questions, paths->root,
                    (const char *const[]){dev_name, all_name, "llava_vqav2_mscoco_val2014.jsonl",
                                          "v2_OpenEnded_mscoco_val2014_questions.json",
                                          "v2_OpenEnded_mscoco_test-dev2015_questions.json",
                                          "v2_OpenEnded_mscoco_test2015_questions.json", NULL});
    if (!questions)
        return file_missing(out, paths, out->is_twin ? "llava_vqav2_mscoco_val2014.jsonl" : dev_name,
                            "--questions", err);
    TRY(is_document(questions) ? official_questions(out, paths, questions, &sha, err)
                               : llava_questions(out, paths, questions, &sha, err));
    /* Those of the validation split lie in the same folder as LLaVA's questions of the test split. */
    const char *root = strstr(name_of(questions), "test") ? NULL : paths->root;
    const char *annotations = file_locate(out, paths->annotations, root,
                                          (const char *const[]){"v2_mscoco_val2014_annotations.json", NULL});
    if (annotations)
        TRY(annotations_read(out, annotations, paths->annotations != NULL, questions, &sha, err));
    sha256_final(&sha, out->files_sha256);
    return OK;
}

/* ---- scoring --------------------------------------------------------------------------------------------
 */

/* What VQAEval compares; malloc'ed, NULL when memory runs out. */
static char *prediction_of(const char *answer, const struct annotation *annotation, enum protocol protocol)
{
    bool raw = annotation && annotation->unanimous && protocol != PROTOCOL_LMMS;
    char *sent = vqa_normalise(answer, protocol == PROTOCOL_CONVERTED ? VQA_BLANKS : VQA_EVALAI);
    if (raw || !sent)
        return sent;
    char *said = vqa_normalise(sent, VQA_OFFICIAL);
    free(sent);
    return said;
}

static double vqav2_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                                 const char *answer, const char *verdict, enum protocol protocol)
{
    const struct annotation *annotation = dataset->samples[row].extra;
    double score = NAN;
    (void)verdict;
    char *said = prediction_of(answer, annotation, protocol);
    vqa_parsed(parsed, size, said ? said : "");
    bool normalise = protocol == PROTOCOL_LMMS && annotation && annotation->unanimous;
    if (said && annotation &&
        !vqa_score(&score, said, &annotation->golds, normalise ? VQA_OFFICIAL : VQA_AS_IS))
        score = NAN;
    free(said);
    return score;
}

static enum status vqav2_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                               const struct answers *answers, enum protocol protocol, struct error *err)
{
    return vqa_figures(figures, warnings, dataset, answers, protocol, "by_answer_type", "by_question_type",
                       err);
}

/* ---- submission -----------------------------------------------------------------------------------------
 */

/* All of test2015 in its file's order, "" where the dataset, test-dev, does not ask. */
static enum status submit_all(struct vqa_submission *submission, const struct dataset *dataset,
                              const struct answers *answers, const char *path, struct error *err)
{
    struct text_pool *pool = NULL;
    struct id_entry *ids = NULL;
    struct rows rows = {0};
    json_t *row;
    enum status status;
    TRY_GOTO(status, text_pool_new(&pool, err));
    TRY_GOTO(status, ids_of_samples(&ids, dataset, true, path, err));
    TRY_GOTO(status, rows_open(&rows, path, NULL, err));
    while ((status = rows_next(&row, &rows, err)) == OK && row) {
        const char *id;
        bool numeric;
        status = row_id(&id, &numeric, pool, row, "question_id", rows.place, err);
        json_decref(row);
        if (status != OK)
            break;
        int at = ids_find(ids, dataset->n, id);
        vqa_submission_add(submission, "question_id", id, numeric,
                           at < 0 ? NULL : answers->text[ids[at].row]);
    }
exit:
    rows_close(&rows);
    free(ids);
    text_pool_free(pool);
    return status;
}

static enum status vqav2_submit(const char *path, const struct dataset *dataset,
                                const struct answers *answers, struct error *err)
{
    const struct vqav2 *own = dataset->own;
    struct vqa_submission submission;
    enum status status = OK;
    TRY(vqa_submission_open(&submission, err));
    if (own->all_questions)
        status = submit_all(&submission, dataset, answers, own->all_questions, err);
    for (int i = 0; !own->all_questions && i < dataset->n; i++) {
        const struct sample *sample = &dataset->samples[i];
        vqa_submission_add(&submission, "question_id", sample->question_id, sample->numeric_id,
                           answers->text[i]);
    }
    enum status closed = vqa_submission_close(&submission, status == OK ? path : NULL, err);
    return status == OK ? closed : status;
}

extern const struct benchmark benchmark_vqav2;
const struct benchmark benchmark_vqav2 = {
    .name = "vqav2",
    .title = "VQAv2",
    .folders = {"vqav2"},
    .metric = "accuracy",
    .unit = "%",
    .scale = 100,
    .max_new_tokens = 128,
    .cluster = "image",
    .licence = "CC BY 4.0 (questions and answers); COCO's pictures under their Flickr licences",
    .published = "https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md (eval.zip: LLaVA's "
                 "questions), https://visualqa.org/download.html (official questions, annotations, pictures)",
    .read = vqav2_read,
    .score_sample = vqav2_score_sample,
    .submit = vqav2_submit,
    .submission =
        "JSON list of {question_id, answer} for the VQA server (EvalAI): answers normalised as LLaVA "
        "does, \"\" where there is none; with test-dev's questions all of test2015, where "
        "llava_vqav2_mscoco_test2015.jsonl lies beside them",
    .n_sums = MEAN_SUMS,
    .tally = mean_tally,
    .headline = mean_headline,
    .score = vqav2_score,
    .protocols = 1u << PROTOCOL_OFFICIAL | 1u << PROTOCOL_LMMS,
};
