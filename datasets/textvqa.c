/* TextVQA (validation, v0.5.1): questions about the text in a picture, ten people's answers each. Headline:
 * mean soft score × 100.
 *
 *   textvqa/llava_textvqa_val_v051_ocr.jsonl   LLaVA's question file, 5,000 rows; question_id is the image's
 *                                              id, so it repeats: answers are told apart by their prompt
 *   textvqa/TextVQA_0.5.1_val.json             {"data": [{"image_id", "question", "answers": 10 texts, …}]}
 *   textvqa/train_images/ID.jpg                pictures
 *
 * An annotation is found by image id and question in lower case, the question taken from the row's text,
 * which holds it beside an OCR hint and a suffix. Where the official scorer stops (a text of another form, no
 * such annotation), the row is left out and counted in n_unknown; of two annotations with one key the last
 * counts, as in its dictionary. Sources: LLaVA llava/eval/eval_textvqa.py and m4c_evaluator.py, lmms-eval
 * tasks/textvqa, VLMEvalKit vlmeval/dataset/utils/vqa_eval.py.
 */
#include "datasets/benchmark.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "datasets/rows.h"
#include "datasets/vqa_normalise.h"

static const char questions_name[] = "llava_textvqa_val_v051_ocr.jsonl";

struct annotation {
    struct vqa_golds golds;
    const char *commonest;
};

struct textvqa {
    struct annotation *annotations;
    struct id_entry *keys; /* "IMAGE_ID\nquestion" to annotations, sorted; owned */
    int n;
    int n_other_form; /* rows whose text holds no question that the official scorer would find */
};

/* ---- reading --------------------------------------------------------------------------------------------
 */

/* The line of a row's text that asks; false where the official scorer fails an assertion. */
static bool question_of(const char **start, size_t *n, const char *text)
{
    static const char marker[] = "Reference OCR token:", before[] = "Question: ", after[] = " Short answer:";
    int n_lines = 1;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        n_lines++;
    if (strncmp(text, "OCR tokens: ", 12) == 0) {
        const char *asked = strstr(text, before),
                   *end = asked ? strstr(asked + sizeof before - 1, after) : NULL;
        if (!end)
            return false;
        *start = asked + sizeof before - 1;
        *n = (size_t)(end - *start);
        return true;
    }
    bool hinted = n_lines == 3 && strstr(text, "Reference OCR token: ");
    if (!hinted && n_lines != 2)
        return false;
    *start = hinted && strncmp(text, marker, sizeof marker - 1) == 0 ? strchr(text, '\n') + 1 : text;
    *n = strcspn(*start, "\n");
    return true;
}

/* "IMAGE_ID\nquestion in lower case", owned by the pool. */
static enum status key_of(const char **out, struct text_pool *pool, const char *image_id,
                          const char *question, struct error *err)
{
    char *lower = vqa_lower(question);
    if (!lower)
        return memory_failed(err, "a question", strlen(question));
    *out = text_pool_format(pool, "%s\n%s", image_id, lower);
    free(lower);
    return OK;
}

static enum status annotation_read(struct annotation *out, struct id_entry *key, struct text_pool *pool,
                                   const json_t *value, const char *place, struct error *err)
{
    const char *image_id, *question;
    if (!json_is_object(value))
        return fail(err, BAD_INPUT, "%s: expected an object", place);
    TRY(row_id(&image_id, NULL, pool, value, "image_id", place, err));
    TRY(row_text(&question, pool, value, "question", place, err));
    TRY(vqa_golds_read(&out->golds, pool, value, "answers", place, err));
    out->commonest = vqa_golds_commonest(&out->golds);
    return key_of(&key->id, pool, image_id, question, err);
}

static enum status list_read(struct dataset *data, const json_t *root, const char *path, struct error *err)
{
    struct textvqa *own = data->own;
    const json_t *list = json_object_get(root, "data");
    size_t n = json_array_size(list);
    if (!json_is_array(list))
        return fail(err, BAD_INPUT, "%s: \"data\": expected a list of annotations, found %s", path,
                    list ? "another type" : "nothing");
    own->annotations = text_pool_zero(data->pool, n + 1, sizeof *own->annotations);
    own->keys = memory_alloc(n + 1, sizeof *own->keys);
    if (!own->annotations || !own->keys)
        return memory_failed(err, "annotations", n * sizeof *own->annotations);
    for (size_t i = 0; i < n; i++) {
        char place[PLACE_SIZE];
        snprintf(place, sizeof place, "%.*s: \"data\": entry %zu", PLACE_SIZE - 60, path, i);
        own->keys[i].row = (int)i;
        TRY(annotation_read(&own->annotations[i], &own->keys[i], data->pool, json_array_get(list, i), place,
                            err));
    }
    own->n = (int)n;
    ids_sort(own->keys, own->n);
    return OK;
}

static enum status join(struct dataset *data, struct error *err)
{
    struct textvqa *own = data->own;
    for (int i = 0; i < data->n; i++) {
        struct sample *sample = &data->samples[i];
        const char *start, *key = NULL; /* gcc cannot see that fail() never returns OK */
        size_t n;
        if (!question_of(&start, &n, sample->text)) {
            own->n_other_form++;
            continue;
        }
        const char *question = text_pool_add_bytes(data->pool, start, n);
        TRY(key_of(&key, data->pool, sample->question_id, question, err));
        int at = ids_find(own->keys, own->n, key);
        if (at < 0)
            continue;
        while (at + 1 < own->n && strcmp(own->keys[at + 1].id, key) == 0)
            at++;
        struct annotation *annotation = &own->annotations[own->keys[at].row];
        sample->extra = annotation;
        sample->gold = annotation->commonest;
        data->has_gold = true;
    }
    return OK;
}

static enum status textvqa_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    struct sha256 sha;
    sha256_init(&sha);
    out->own = text_pool_zero(out->pool, 1, sizeof(struct textvqa));
    TRY(text_pool_check(out->pool, err));
    const char *questions =
        file_locate(out, paths->questions, paths->root, (const char *const[]){questions_name, NULL});
    const char *annotations = file_locate(out, paths->annotations, paths->root,
                                          (const char *const[]){"TextVQA_0.5.1_val.json", NULL});
    const char *images =
        file_locate(out, paths->images, paths->root, (const char *const[]){"train_images", NULL});
    if (!questions)
        return file_missing(out, paths, questions_name, "--questions", err);
    TRY(questions_read(out, questions, images, &sha, err));
    if (annotations) {
        json_t *root;
        TRY(document_read(&root, annotations, &sha, err));
        enum status status = list_read(out, root, annotations, err);
        json_decref(root);
        TRY(status);
        TRY(join(out, err));
        if (!out->has_gold)
            return fail(
                err, BAD_INPUT,
                "%s: knows none of the %d questions of %s (looked up by image id and question): are both "
                "of TextVQA's validation split?",
                annotations, out->n, questions);
    }
    sha256_final(&sha, out->files_sha256);
    return OK;
}

static void textvqa_close(struct dataset *dataset)
{
    struct textvqa *own = dataset->own;
    if (own)
        free(own->keys);
}

/* ---- scoring --------------------------------------------------------------------------------------------
 */

static double textvqa_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                                   const char *answer, const char *verdict, enum protocol protocol)
{
    static const struct vqa_golds none;
    const struct annotation *annotation = dataset->samples[row].extra;
    enum vqa_rules rules = protocol == PROTOCOL_VLMEVAL ? VQA_VLMEVAL : VQA_EVALAI;
    double score = NAN;
    (void)verdict;
    char *said = vqa_normalise(answer, rules);
    vqa_parsed(parsed, size, said ? said : "");
    if (said && !vqa_score(&score, said, annotation ? &annotation->golds : &none, rules))
        score = NAN;
    free(said);
    return score;
}

static enum status textvqa_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                                 const struct answers *answers, enum protocol protocol, struct error *err)
{
    const struct textvqa *own = dataset->own;
    if (own->n_other_form > 0)
        warn(warnings,
             "%d rows have a text that is neither question, OCR hint and suffix nor question and suffix; the "
             "official scorer would stop there, here they count as rows without annotation",
             own->n_other_form);
    return vqa_figures(figures, warnings, dataset, answers, protocol, NULL, NULL, err);
}

extern const struct benchmark benchmark_textvqa;
const struct benchmark benchmark_textvqa = {
    .name = "textvqa",
    .title = "TextVQA",
    .folders = {"textvqa"},
    .metric = "accuracy",
    .unit = "%",
    .scale = 100,
    .max_new_tokens = 128,
    .cluster = "image",
    .licence = "CC BY 4.0 (questions and answers); Open Images' pictures under CC BY 2.0",
    .published = "https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md (eval.zip: questions), "
                 "https://textvqa.org/dataset (TextVQA_0.5.1_val.json, train_val_images.zip)",
    .read = textvqa_read,
    .close = textvqa_close,
    .score_sample = textvqa_score_sample,
    .submission = "LLaVA's answer file, as llava/eval/eval_textvqa.py takes it",
    .n_sums = MEAN_SUMS,
    .tally = mean_tally,
    .headline = mean_headline,
    .score = textvqa_score,
    .protocols = 1u << PROTOCOL_OFFICIAL | 1u << PROTOCOL_LMMS | 1u << PROTOCOL_VLMEVAL,
};
