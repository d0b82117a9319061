/* VizWiz-VQA: blind people's questions about their photographs, ten answers each; many cannot be answered.
 * Headline: mean soft score × 100, in full precision.
 *
 *   vizwiz/llava_test.jsonl, llava_val.jsonl   LLaVA's question file (test: 8,000 rows, ids from 0), or
 *   vizwiz/val.json, test.json                 the official [{"image", "question", "answers": [{"answer",
 *                                              "answer_confidence"} × 10], "answer_type", "answerable"}];
 * test's have no answers vizwiz/val.json                            annotations, found by picture, of which
 * each has one question vizwiz/test/, vizwiz/val/                  pictures, VizWiz_test_00000000.jpg
 *
 * Official scorer: the answer is normalised, the golds are compared as they stand. LLaVA sends answers
 * through EvalAI's normaliser first, so official = that, then the scorer's; a JSON list of answers is scored
 * by the scorer's alone; lmms = both sides through EvalAI's. The separate task of telling whether a question
 * can be answered is not scored.
 *
 * Sources: VizWiz's vqaEval.py (Qing Li), LLaVA scripts/convert_vizwiz_for_submission.py, lmms-eval
 * tasks/vizwiz_vqa/utils.py.
 */
#include "datasets/benchmark.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "datasets/rows.h"
#include "datasets/vqa_normalise.h"

static const char suffix[] = "\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n"
                             "Answer the question using a single word or phrase.";

struct annotation {
    struct vqa_golds golds;
    const char *image, *question, *answer_type;
};

struct annotations {
    struct annotation *entries; /* of the dataset's pool */
    struct id_entry *images;    /* sorted; owned */
    int n;
};

/* ---- reading --------------------------------------------------------------------------------------------
 */

static enum status entry_read(struct annotation *out, struct text_pool *pool, const json_t *row,
                              const char *place, struct error *err)
{
    int64_t answerable;
    TRY(row_text(&out->image, pool, row, "image", place, err));
    TRY(row_text(&out->question, pool, row, "question", place, err));
    if (!json_object_get(row, "answers"))
        return OK;
    TRY(vqa_golds_read(&out->golds, pool, row, "answers", place, err));
    TRY(json_int(&answerable, row, "answerable", 1, 0, 1, place, err));
    return row_text(&out->answer_type, pool, row, "answer_type", place, err);
}

static void annotations_free(struct annotations *annotations)
{
    free(annotations->images);
    annotations->images = NULL;
}

static enum status annotations_read(struct annotations *out, struct text_pool *pool, const char *path,
                                    struct sha256 *sha, struct error *err)
{
    json_t *root;
    enum status status = OK;
    *out = (struct annotations){0};
    TRY(document_read(&root, path, sha, err));
    size_t n = json_array_size(root);
    if (n == 0)
        TRY_GOTO(status, fail(err, BAD_INPUT, "%s: expected a list of questions, found %s", path,
                              json_is_array(root) ? "an empty one" : "another document"));
    out->entries = text_pool_zero(pool, n, sizeof *out->entries);
    out->images = memory_alloc(n, sizeof *out->images);
    if (!out->entries || !out->images)
        TRY_GOTO(status, memory_failed(err, "annotations", n * sizeof *out->entries));
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(root, i);
        char place[PLACE_SIZE];
        snprintf(place, sizeof place, "%.*s: entry %zu", PLACE_SIZE - 40, path, i);
        if (!json_is_object(row))
            TRY_GOTO(status, fail(err, BAD_INPUT, "%s: expected an object", place));
        TRY_GOTO(status, entry_read(&out->entries[i], pool, row, place, err));
        out->images[i] = (struct id_entry){out->entries[i].image, (int)i};
    }
    out->n = (int)n;
    ids_sort(out->images, out->n);
    status = text_pool_check(pool, err);
exit:
    json_decref(root);
    if (status != OK)
        annotations_free(out);
    return status;
}

/* The entry for a row: of several to one picture (a twin may have them) the one with the row's question, else
 * the last. */
static const struct annotation *find(const struct annotations *annotations, const struct sample *sample)
{
    int at = sample->image_name ? ids_find(annotations->images, annotations->n, sample->image_name) : -1;
    const struct annotation *found = NULL;
    for (; at >= 0 && at < annotations->n && strcmp(annotations->images[at].id, sample->image_name) == 0;
         at++) {
        found = &annotations->entries[annotations->images[at].row];
        size_t n = strlen(found->question);
        if (strncmp(found->question, sample->text, n) == 0 && sample->text[n] == '\n')
            break;
    }
    return found;
}

static void join(struct dataset *data, const struct annotations *annotations)
{
    for (int i = 0; i < data->n; i++) {
        struct sample *sample = &data->samples[i];
        const struct annotation *annotation = find(annotations, sample);
        if (!annotation || annotation->golds.n == 0)
            continue;
        sample->extra = text_pool_zero(data->pool, 1, sizeof annotation->golds);
        if (!sample->extra)
            return; /* text_pool_check says so */
        *(struct vqa_golds *)sample->extra = annotation->golds;
        sample->gold = vqa_golds_commonest(&annotation->golds);
        sample->category = annotation->answer_type;
        data->has_gold = true;
    }
}

static enum status samples_from_official(struct dataset *data, const struct annotations *annotations,
                                         const char *images, const char *path, struct error *err)
{
    for (int i = 0; i < annotations->n; i++) {
        struct sample *sample;
        char place[PLACE_SIZE];
        TRY(dataset_add(&sample, data, err));
        snprintf(place, sizeof place, "%.*s: entry %d", PLACE_SIZE - 40, path, i);
        sample->question_id = sample->group = text_pool_format(data->pool, "%d", i);
        sample->numeric_id = true;
        sample->text = text_pool_format(data->pool, "%s%s", annotations->entries[i].question, suffix);
        TRY(sample_image(sample, data->pool, images, annotations->entries[i].image, place, err));
    }
    return OK;
}

static bool is_document(const char *path)
{
    size_t n = strlen(path);
    return n >= 5 && strcmp(path + n - 5, ".json") == 0;
}

static enum status questions_open(struct dataset *out, struct annotations *official, const char *path,
                                  const char *images, struct sha256 *sha, struct error *err)
{
    struct id_entry *ids;
    if (is_document(path)) {
        TRY(annotations_read(official, out->pool, path, sha, err));
        TRY(samples_from_official(out, official, images, path, err));
    } else {
        TRY(questions_read(out, path, images, sha, err));
    }
    TRY(ids_of_samples(&ids, out, true, path, err));
    free(ids);
    return OK;
}

static enum status vizwiz_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    static const char *const val[] = {"val", "test", NULL}, *const test[] = {"test", "val", NULL};
    struct annotations official = {0}, annotations = {0};
    struct sha256 sha;
    sha256_init(&sha);
    const char *questions = file_locate(
        out, paths->questions, paths->root,
        (const char *const[]){"llava_test.jsonl", "llava_val.jsonl", "val.json", "test.json", NULL});
    if (!questions)
        return file_missing(out, paths, out->is_twin ? "llava_val.jsonl" : "llava_test.jsonl", "--questions",
                            err);
    const char *slash = strrchr(questions, '/'), *name = slash ? slash + 1 : questions;
    bool of_val = strstr(name, "val"), of_test = strstr(name, "test");
    const char *images = file_locate(out, paths->images, paths->root, of_val ? val : test);
    enum status status;
    TRY_GOTO(status, questions_open(out, &official, questions, images, &sha, err));
    /* val.json lies in the same folder as LLaVA's questions of the test split. */
    const char *path = file_locate(out, paths->annotations, of_test ? NULL : paths->root,
                                   (const char *const[]){"val.json", NULL});
    if (path && strcmp(path, questions) != 0) {
        TRY_GOTO(status, annotations_read(&annotations, out->pool, path, &sha, err));
        join(out, &annotations);
        if (paths->annotations && !out->has_gold)
            TRY_GOTO(status, fail(err, BAD_INPUT,
                                  "%s: has answers to none of the %d questions of %s: are both of one split?",
                                  path, out->n, questions));
    } else {
        join(out, &official); /* the questions may come with answers */
    }
    sha256_final(&sha, out->files_sha256);
exit:
    annotations_free(&official);
    annotations_free(&annotations);
    return status;
}

/* ---- scoring --------------------------------------------------------------------------------------------
 */

static double vizwiz_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                                  const char *answer, const char *verdict, enum protocol protocol)
{
    const struct vqa_golds *golds = dataset->samples[row].extra;
    double score = NAN;
    (void)verdict;
    char *said = vqa_normalise(answer, protocol == PROTOCOL_CONVERTED ? VQA_AS_IS : VQA_EVALAI);
    if (said && protocol != PROTOCOL_LMMS) {
        char *sent = said;
        said = vqa_normalise(sent, VQA_OFFICIAL);
        free(sent);
    }
    vqa_parsed(parsed, size, said ? said : "");
    if (said && golds && !vqa_score(&score, said, golds, protocol == PROTOCOL_LMMS ? VQA_EVALAI : VQA_AS_IS))
        score = NAN;
    free(said);
    return score;
}

static enum status vizwiz_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                                const struct answers *answers, enum protocol protocol, struct error *err)
{
    return vqa_figures(figures, warnings, dataset, answers, protocol, "by_answer_type", NULL, err);
}

static enum status vizwiz_submit(const char *path, const struct dataset *dataset,
                                 const struct answers *answers, struct error *err)
{
    struct vqa_submission submission;
    TRY(vqa_submission_open(&submission, err));
    for (int i = 0; i < dataset->n; i++) {
        const struct sample *sample = &dataset->samples[i];
        vqa_submission_add(&submission, "image",
                           sample->image_name ? sample->image_name : sample->question_id, false,
                           answers->text[i]);
    }
    return vqa_submission_close(&submission, path, err);
}

extern const struct benchmark benchmark_vizwiz;
const struct benchmark benchmark_vizwiz = {
    .name = "vizwiz",
    .title = "VizWiz",
    .folders = {"vizwiz"},
    .metric = "accuracy",
    .unit = "%",
    .scale = 100,
    .max_new_tokens = 128,
    .cluster = "image",
    .licence = "CC BY 4.0",
    .published =
        "https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md (eval.zip: llava_test.jsonl), "
        "https://vizwiz.org/tasks-and-datasets/vqa (annotations, pictures)",
    .read = vizwiz_read,
    .score_sample = vizwiz_score_sample,
    .submit = vizwiz_submit,
    .submission = "JSON list of {image, answer} for the VizWiz server (EvalAI): answers normalised as LLaVA "
                  "does, \"\" where there is none",
    .n_sums = MEAN_SUMS,
    .tally = mean_tally,
    .headline = mean_headline,
    .score = vizwiz_score,
    .protocols = 1u << PROTOCOL_OFFICIAL | 1u << PROTOCOL_LMMS,
};
