/* GQA (testdev_balanced): compositional questions with one-word answers. Headline: accuracy.
 *
 *   gqa/llava_gqa_testdev_balanced.jsonl        LLaVA's question file, 12,578 rows
 *   gqa/data/testdev_balanced_questions.json    the official questions, an object keyed by question id: golds
 * and types gqa/data/testdev_balanced_choices.json      {id: {"valid": […], "plausible": […]}}, optional
 *   gqa/data/images/                            pictures
 *
 * Either question file may be given as `questions`; `annotations` may be the choices or the official
 * questions (told apart by what their entries hold). Sources: Stanford's eval.py (GQA 1.2) as patched by
 * LLaVA, LLaVA scripts/convert_gqa_for_eval.py, lmms-eval tasks/gqa, VLMEvalKit
 * vlmeval/dataset/utils/vqa_eval.py.
 */
#include "datasets/benchmark.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/elements.h"
#include "datasets/rows.h"

/* Golds are words; an answer that fills the buffer equals none of them. */
enum { GOLD_MAX = 1000, PREDICTION_SIZE = 4096 };

/* An official question. Texts are the dataset's. */
struct question {
    const char *id, *text, *image_id, *answer, *structural, *semantic, *detailed;
    const char *group; /* groups.global, NULL where it is null */
    bool balanced;     /* only these count, in every figure */
    int n_words, n_steps;
    int row;               /* of the dataset, -1 where it does not ask this */
    const char **entailed; /* ids of the questions it entails, itself left out */
    int n_entailed;
    const char **valid, **plausible;
    int n_valid, n_plausible;
};

struct gqa {
    struct question *questions; /* owned, like ids */
    int n, capacity;
    struct id_entry *ids; /* of the questions, sorted; NULL until all are read */
    bool has_choices;
};

static const char suffix[] = "\nAnswer the question using a single word or phrase.";

static const struct question *official(const struct dataset *data, int row)
{
    return data->samples[row].extra;
}

static struct question *find(const struct gqa *own, const char *id)
{
    int at = own->ids ? ids_find(own->ids, own->n, id) : -1;
    return at < 0 ? NULL : &own->questions[own->ids[at].row];
}

/* ---- reading --------------------------------------------------------------------------------------------
 */

/* A list of texts; skip: one that is left out, or NULL. Absent: empty. */
static enum status texts_read(const char ***out, int *n, struct text_pool *pool, const json_t *object,
                              const char *key, const char *skip, const char *place, struct error *err)
{
    const json_t *list = json_object_get(object, key);
    *n = 0;
    if (!list || json_is_null(list))
        return OK;
    if (!json_is_array(list))
        return fail(err, BAD_INPUT, "%s: \"%s\": expected a list of texts, found another type", place, key);
    *out = text_pool_zero(pool, json_array_size(list) + 1, sizeof **out);
    TRY(text_pool_check(pool, err));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text)
            return fail(err, BAD_INPUT, "%s: \"%s\": expected a list of texts, entry %zu is none", place, key,
                        i);
        if (!skip || strcmp(text, skip) != 0)
            (*out)[(*n)++] = text_pool_add(pool, text);
    }
    return OK;
}

/* Words as Python's split() counts them. */
static int count_words(const char *text)
{
    int n = 0;
    for (;;) {
        text += strspn(text, " \t\n\v\f\r");
        if (*text == '\0')
            return n;
        n++;
        text += strcspn(text, " \t\n\v\f\r");
    }
}

/* Reasoning steps: operations that neither ask for a name nor for existence. */
static enum status count_steps(int *out, const json_t *question, const char *place, struct error *err)
{
    const json_t *steps = json_object_get(question, "semantic");
    *out = 0;
    if (steps && !json_is_array(steps))
        return fail(err, BAD_INPUT, "%s: \"semantic\": expected a list, found another type", place);
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        const char *operation, *argument;
        TRY(json_str(&operation, step, "operation", "", place, err));
        TRY(json_str(&argument, step, "argument", "", place, err));
        char text[512];
        snprintf(text, sizeof text, "%s: %s", operation, argument);
        *out += !strstr(text, "exist") && !strstr(text, "query: name") && !strstr(text, "choose name");
    }
    return OK;
}

/* A member object that may be absent. */
static enum status member(const json_t **out, const json_t *object, const char *key, const char *place,
                          struct error *err)
{
    *out = json_object_get(object, key);
    if (json_is_null(*out))
        *out = NULL;
    return !*out || json_is_object(*out)
               ? OK
               : fail(err, BAD_INPUT, "%s: \"%s\": expected an object, found another type", place, key);
}

static enum status question_read(struct question *out, struct text_pool *pool, const char *id,
                                 const json_t *value, const char *place, struct error *err)
{
    const json_t *types, *groups;
    const char *text, *image, *group = NULL, *structural, *semantic = "", *detailed = "";
    *out = (struct question){.id = text_pool_add(pool, id), .row = -1};
    TRY(row_text(&out->answer, pool, value, "answer", place, err));
    if (strlen(out->answer) > GOLD_MAX)
        return fail(err, BAD_INPUT, "%s: \"answer\": has more than %d bytes", place, GOLD_MAX);
    TRY(json_str(&text, value, "question", "", place, err));
    TRY(json_str(&image, value, "imageId", "", place, err));
    TRY(json_bool(&out->balanced, value, "isBalanced", true, place, err));
    TRY(member(&types, value, "types", place, err));
    if (!types)
        return fail(err, BAD_INPUT, "%s: \"types\": expected an object, found nothing", place);
    TRY(row_text(&structural, pool, types, "structural", place, err));
    TRY(json_str(&semantic, types, "semantic", "", place, err));
    TRY(json_str(&detailed, types, "detailed", "", place, err));
    TRY(member(&groups, value, "groups", place, err));
    if (groups)
        TRY(json_str(&group, groups, "global", NULL, place, err));
    out->text = text_pool_add(pool, text);
    out->image_id = text_pool_add(pool, image);
    out->structural = structural;
    out->semantic = text_pool_add(pool, semantic);
    out->detailed = text_pool_add(pool, detailed);
    out->group = group ? text_pool_add(pool, group) : NULL;
    out->n_words = count_words(text);
    TRY(count_steps(&out->n_steps, value, place, err));
    return texts_read(&out->entailed, &out->n_entailed, pool, value, "entailed", id, place, err);
}

/* Pointers into own->questions do not survive it. */
static enum status question_add(struct dataset *data, const char *id, const json_t *value, const char *place,
                                struct error *err)
{
    struct gqa *own = data->own;
    if (own->n == own->capacity) {
        int capacity = own->n > 0 ? 2 * own->n : 1024;
        struct question *grown = memory_grow(own->questions, (size_t)capacity, sizeof *grown);
        if (!grown)
            return memory_failed(err, "questions", (size_t)capacity * sizeof *grown);
        own->questions = grown;
        own->capacity = capacity;
    }
    return question_read(&own->questions[own->n++], data->pool, id, value, place, err);
}

static enum status choice_add(struct dataset *data, const char *id, const json_t *value, const char *place,
                              struct error *err)
{
    struct question *question = find(data->own, id);
    if (!question)
        return OK;
    TRY(texts_read(&question->valid, &question->n_valid, data->pool, value, "valid", NULL, place, err));
    return texts_read(&question->plausible, &question->n_plausible, data->pool, value, "plausible", NULL,
                      place, err);
}

static enum status ids_of_questions(struct gqa *own, struct error *err)
{
    own->ids = memory_alloc((size_t)own->n, sizeof *own->ids);
    if (!own->ids)
        return memory_failed(err, "ids", (size_t)own->n * sizeof *own->ids);
    for (int i = 0; i < own->n; i++)
        own->ids[i] = (struct id_entry){own->questions[i].id, i};
    ids_sort(own->ids, own->n);
    return OK;
}

/* Samples from the official questions alone: LLaVA's text, pictures as the dataset publishes them. */
static enum status samples_from_official(struct dataset *data, const char *images, const char *path,
                                         struct error *err)
{
    const struct gqa *own = data->own;
    for (int i = 0; i < own->n; i++) {
        const struct question *question = &own->questions[i];
        struct sample *sample;
        char place[PLACE_SIZE], shown[PRINTABLE_SIZE];
        TRY(dataset_add(&sample, data, err));
        sample->question_id = sample->group = question->id;
        sample->category = "default";
        sample->text = text_pool_format(data->pool, "%s%s", question->text, suffix);
        snprintf(place, sizeof place, "%.200s: \"%s\"", path, printable(shown, question->id));
        const char *name = text_pool_format(data->pool, "%s.jpg", question->image_id);
        /* The twin's pictures are PNG. */
        if (images && !file_exists(text_pool_format(data->pool, "%s/%s", images, name))) {
            const char *png = text_pool_format(data->pool, "%s.png", question->image_id);
            if (file_exists(text_pool_format(data->pool, "%s/%s", images, png)))
                name = png;
        }
        TRY(sample_image(sample, data->pool, images, name, place, err));
    }
    return OK;
}

static enum status join(struct dataset *data, const char *path, struct error *err)
{
    struct gqa *own = data->own;
    for (int i = 0; i < data->n; i++) {
        struct sample *sample = &data->samples[i];
        struct question *question = find(own, sample->question_id);
        char shown[PRINTABLE_SIZE];
        if (!question)
            return fail(err, BAD_INPUT, "%s: question %s has no entry in the official questions", path,
                        printable(shown, sample->question_id));
        question->row = i;
        sample->extra = question;
        sample->gold = question->answer;
        sample->category = question->structural;
        sample->detail = question->detailed;
    }
    data->has_gold = true;
    return OK;
}

/* A document keyed by question id: the official questions, which have an answer each, or the choices. */
struct annotations {
    struct elements elements;
    json_t *entry; /* read already: the first one tells which of the two it is */
    bool official;
};

static void annotations_close(struct annotations *annotations)
{
    json_decref(annotations->entry);
    elements_close(&annotations->elements);
}

/* After an error there is nothing to close. */
static enum status annotations_open(struct annotations *out, const char *path, struct sha256 *sha,
                                    struct error *err)
{
    static const char what[] = "GQA's official questions or choices";
    TRY(elements_open(&out->elements, path, what, NULL, sha, err));
    enum status status = elements_next(&out->entry, &out->elements, err);
    out->official = json_object_get(out->entry, "answer") != NULL;
    if (status == OK && !out->official && !json_object_get(out->entry, "valid"))
        status = fail(err, BAD_INPUT,
                      "%s: expected %s, an object keyed by question id, found another document", path, what);
    if (status != OK)
        annotations_close(out);
    return status;
}

static enum status annotations_read(struct dataset *data, struct annotations *annotations, struct error *err)
{
    struct gqa *own = data->own;
    struct elements *elements = &annotations->elements;
    enum status status = OK;
    if (annotations->official && own->questions)
        return fail(err, BAD_INPUT,
                    "%s: the official questions were given already, as --questions; expected choices",
                    elements->path);
    while (status == OK && annotations->entry) {
        status = (annotations->official ? question_add : choice_add)(data, elements->name, annotations->entry,
                                                                     elements->place, err);
        json_decref(annotations->entry);
        annotations->entry = NULL;
        if (status == OK)
            status = elements_next(&annotations->entry, elements, err);
    }
    TRY(status);
    if (annotations->official)
        TRY(ids_of_questions(own, err));
    else
        own->has_choices = true;
    return text_pool_check(data->pool, err);
}

static enum status annotations_read_file(struct dataset *data, const char *path, struct sha256 *sha,
                                         struct error *err)
{
    struct annotations annotations;
    TRY(annotations_open(&annotations, path, sha, err));
    enum status status = annotations_read(data, &annotations, err);
    annotations_close(&annotations);
    return status;
}

static enum status annotated(struct dataset *data, const struct benchmark_paths *paths, bool have_official,
                             struct sha256 *sha, struct error *err)
{
    struct gqa *own = data->own;
    static const char *const official_names[] = {
        "data/testdev_balanced_questions.json", "data/questions1.2/testdev_balanced_questions.json",
        "data/questions/testdev_balanced_questions.json", "testdev_balanced_questions.json", NULL};
    static const char *const choices_names[] = {"data/testdev_balanced_choices.json",
                                                "data/eval/testdev_balanced_choices.json",
                                                "testdev_balanced_choices.json", NULL};
    struct annotations given = {0};
    enum status status = OK;
    bool is_given = paths->annotations != NULL;
    if (is_given)
        TRY(annotations_open(&given, paths->annotations, sha, err));
    if (given.official) {
        TRY_GOTO(status, annotations_read(data, &given, err));
    } else if (!have_official) { /* the order matters: choices belong to questions */
        const char *path = file_locate(data, NULL, paths->root, official_names);
        if (path)
            TRY_GOTO(status, annotations_read_file(data, path, sha, err));
    }
    if (!own->questions && is_given)
        TRY_GOTO(status,
                 fail(err, BAD_INPUT,
                      "%s: has no golds to go with: give the official questions as --questions, or as "
                      "annotations",
                      paths->annotations));
    if (is_given && !given.official) {
        TRY_GOTO(status, annotations_read(data, &given, err));
    } else if (own->questions) {
        const char *choices = file_locate(data, NULL, paths->root, choices_names);
        if (choices)
            TRY_GOTO(status, annotations_read_file(data, choices, sha, err));
    }
exit:
    annotations_close(&given);
    return status;
}

static enum status gqa_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    struct sha256 sha;
    sha256_init(&sha);
    out->own = text_pool_zero(out->pool, 1, sizeof(struct gqa));
    TRY(text_pool_check(out->pool, err));
    struct gqa *own = out->own;
    const char *questions = file_locate(
        out, paths->questions, paths->root,
        (const char *const[]){"llava_gqa_testdev_balanced.jsonl", "testdev_balanced_questions.json", NULL});
    const char *images =
        file_locate(out, paths->images, paths->root, (const char *const[]){"data/images", "images", NULL});
    if (!questions)
        return file_missing(out, paths, "llava_gqa_testdev_balanced.jsonl", "--questions", err);
    /* LLaVA's rows name their question_id in the first line, an official file its first question. */
    char *head;
    size_t n_head;
    TRY(file_read(&head, &n_head, questions, LIMIT_JSON_BYTES, err));
    head[n_head < 2000 ? n_head : 2000] = '\0';
    bool lines = strstr(head, "\"question_id\"") != NULL;
    free(head);
    if (!lines) {
        TRY(annotations_read_file(out, questions, &sha, err));
        if (!own->questions)
            return fail(err, BAD_INPUT, "%s: expected questions, found choices", questions);
    }
    TRY(annotated(out, paths, !lines, &sha, err));
    if (lines)
        TRY(questions_read(out, questions, images, &sha, err));
    else
        TRY(samples_from_official(out, images, questions, err));
    struct id_entry *ids;
    TRY(ids_of_samples(&ids, out, true, questions, err));
    free(ids);
    if (own->questions)
        TRY(join(out, questions, err));
    sha256_final(&sha, out->files_sha256);
    return OK;
}

static void gqa_close(struct dataset *dataset)
{
    struct gqa *own = dataset->own;
    if (own) {
        free(own->ids);
        free(own->questions);
    }
}

/* ---- what an answer says --------------------------------------------------------------------------------
 */

/* official: trailing periods stripped, lower case. lmms: lower case, ASCII punctuation removed. vlmeval:
 * stripped, lower case. Letters beyond ASCII stay as they are: no gold has any. */
static void normalise(char *out, size_t size, const char *text, enum protocol protocol)
{
    size_t n = strlen(text), n_out = 0;
    while (protocol == PROTOCOL_OFFICIAL && n > 0 && text[n - 1] == '.')
        n--;
    if (protocol == PROTOCOL_VLMEVAL) {
        while (n > 0 && ascii_is_space(text[n - 1]))
            n--;
        while (n > 0 && ascii_is_space(text[0]))
            text++, n--;
    }
    for (size_t i = 0; i < n && n_out + 1 < size; i++) {
        char c = text[i];
        if (protocol == PROTOCOL_LMMS && ascii_is_punctuation(c))
            continue;
        out[n_out++] = protocol == PROTOCOL_CONVERTED ? c : ascii_lower(c);
    }
    out[n_out] = '\0';
}

static bool is_right(const char *prediction, const char *gold, enum protocol protocol)
{
    char normalised[PREDICTION_SIZE];
    if (protocol == PROTOCOL_LMMS || protocol == PROTOCOL_VLMEVAL) {
        normalise(normalised, sizeof normalised, gold, protocol);
        gold = normalised;
    }
    return strcmp(prediction, gold) == 0;
}

static double gqa_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                               const char *answer, const char *verdict, enum protocol protocol)
{
    char prediction[PREDICTION_SIZE];
    (void)verdict;
    normalise(prediction, sizeof prediction, answer, protocol);
    snprintf(parsed, size, "%s", prediction);
    const char *gold = dataset->samples[row].gold;
    return gold ? is_right(prediction, gold, protocol) : (double)NAN;
}

/* ---- figures --------------------------------------------------------------------------------------------
 */

static bool belongs(const char *prediction, const struct question *question, const char *const *list, int n)
{
    static const char *const common[] = {"color", "material", "shape"};
    if (strstr(question->detailed, "Common")) {
        list = common;
        n = 3;
    }
    for (int i = 0; i < n; i++)
        if (strcmp(prediction, list[i]) == 0)
            return true;
    return false;
}

/* A row's answer as one of the histogram of its global group. */
struct vote {
    const char *group, *answer;
};

static int vote_order(const void *a, const void *b)
{
    const struct vote *left = a, *right = b;
    int order = strcmp(left->group, right->group);
    return order ? order : strcmp(left->answer, right->answer);
}

/* Number of votes equal to `vote` in a sorted list, from *at on, which moves up to them. */
static int votes_equal(const struct vote *votes, int n, int *at, const struct vote *vote)
{
    while (*at < n && vote_order(&votes[*at], vote) < 0)
        (*at)++;
    int first = *at;
    while (*at < n && vote_order(&votes[*at], vote) == 0)
        (*at)++;
    return *at - first;
}

/* Chi-square of predicted against gold answers, by group, weighted by its size, ÷ 100. Sorts both. */
static double distribution(struct vote *gold, struct vote *predicted, int n)
{
    double sum = 0;
    int at_gold = 0, at_predicted = 0;
    if (n == 0)
        return NAN;
    qsort(gold, (size_t)n, sizeof *gold, vote_order);
    qsort(predicted, (size_t)n, sizeof *predicted, vote_order);
    while (at_gold < n) {
        const char *group = gold[at_gold].group;
        double score = 0;
        int size = 0;
        while (at_gold < n && strcmp(gold[at_gold].group, group) == 0) {
            const struct vote *vote = &gold[at_gold];
            int expected = votes_equal(gold, n, &at_gold, vote);
            int observed = votes_equal(predicted, n, &at_predicted, vote);
            score += (double)(observed - expected) * (observed - expected) / expected;
            size += expected;
        }
        sum += score * size;
    }
    return sum / n / 100;
}

/* Mean over correct questions of the share of their entailed questions that is correct; NaN where one of
 * those has no gold or no answer: the official scorer refuses such files too. */
static double consistency(const struct dataset *data, const bool *right, const struct answers *answers,
                          int *n_unknown)
{
    struct mean mean = {0};
    *n_unknown = 0;
    for (int i = 0; i < data->n; i++) {
        const struct question *question = official(data, i);
        struct mean entailed = {0};
        if (!right[i] || !question->balanced)
            continue;
        for (int e = 0; e < question->n_entailed; e++) {
            const struct question *other = find(data->own, question->entailed[e]);
            if (!other || other->row < 0 || !answers->text[other->row])
                ++*n_unknown;
            else
                mean_add(&entailed, right[other->row]);
        }
        if (entailed.n > 0)
            mean_add(&mean, entailed.sum / entailed.n);
    }
    return *n_unknown == 0 && mean.n > 0 ? 100 * (mean.sum / mean.n) : (double)NAN;
}

static enum status gqa_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                             const struct answers *answers, enum protocol protocol, struct error *err)
{
    const struct gqa *own = dataset->own;
    struct mean accuracy = {0}, binary = {0}, open = {0}, valid = {0}, plausible = {0};
    enum { STRUCTURAL, SEMANTIC, LENGTH, STEPS, N_SPLITS };
    static const char *const split_names[N_SPLITS] = {"by_structural", "by_semantic", "by_length",
                                                      "by_steps"};
    struct split splits[N_SPLITS];
    for (int s = 0; s < N_SPLITS; s++)
        splits[s] = split_new();
    size_t n = (size_t)dataset->n;
    int n_votes = 0, n_unbalanced = 0;
    enum status status = OK;
    struct text_pool *pool = NULL;
    bool *right = memory_zero(n, sizeof *right);
    struct vote *gold_votes = memory_alloc(n, sizeof *gold_votes), *votes = memory_alloc(n, sizeof *votes);
    if (!right || !gold_votes || !votes)
        TRY_GOTO(status, memory_failed(err, "votes", n * sizeof *votes));
    TRY_GOTO(status, text_pool_new(&pool, err));
    for (int i = 0; i < dataset->n; i++) {
        const struct question *question = official(dataset, i);
        char prediction[PREDICTION_SIZE], number[16];
        n_unbalanced += !question->balanced;
        if (!answers->text[i])
            continue;
        normalise(prediction, sizeof prediction, answers->text[i], protocol);
        right[i] = is_right(prediction, question->answer, protocol);
        if (!question->balanced)
            continue;
        mean_add(&accuracy, right[i]);
        mean_add(strcmp(question->structural, "query") == 0 ? &open : &binary, right[i]);
        split_add(&splits[STRUCTURAL], question->structural, right[i]);
        split_add(&splits[SEMANTIC], question->semantic, right[i]);
        snprintf(number, sizeof number, "%d", question->n_words);
        split_add(&splits[LENGTH], number, right[i]);
        snprintf(number, sizeof number, "%d", question->n_steps);
        split_add(&splits[STEPS], number, right[i]);
        mean_add(&valid, belongs(prediction, question, question->valid, question->n_valid));
        mean_add(&plausible, belongs(prediction, question, question->plausible, question->n_plausible));
        if (question->group) {
            gold_votes[n_votes] = (struct vote){question->group, question->answer};
            votes[n_votes++] = (struct vote){question->group, text_pool_add(pool, prediction)};
        }
    }
    TRY_GOTO(status, text_pool_check(pool, err));
    json_object_set_new(figures, "accuracy", per_cent(&accuracy));
    json_object_set_new(figures, "binary", per_cent(&binary));
    json_object_set_new(figures, "open", per_cent(&open));
    int n_unknown;
    json_object_set_new(figures, "consistency", figure(consistency(dataset, right, answers, &n_unknown)));
    if (n_unknown > 0)
        warn(warnings, "%d entailed questions have no gold or no answer, so consistency cannot be computed",
             n_unknown);
    json_object_set_new(figures, "validity", own->has_choices ? per_cent(&valid) : json_null());
    json_object_set_new(figures, "plausibility", own->has_choices ? per_cent(&plausible) : json_null());
    if (!own->has_choices)
        warn(warnings, "no choices file, so validity and plausibility cannot be computed");
    json_object_set_new(figures, "distribution", figure(distribution(gold_votes, votes, n_votes)));
    json_object_set_new(figures, "headline", per_cent(&accuracy));
    json_object_set_new(figures, "n", json_integer(accuracy.n));
    if (n_unbalanced > 0)
        json_object_set_new(figures, "n_unbalanced", json_integer(n_unbalanced));
    for (int s = 0; s < N_SPLITS; s++)
        split_finish(figures, split_names[s], &splits[s]);
exit:
    for (int s = 0; s < N_SPLITS; s++)
        split_free(&splits[s]);
    free(right);
    free(gold_votes);
    free(votes);
    text_pool_free(pool);
    return status;
}

/* Sums: right answers, answers; balanced questions only. */
static void gqa_tally(double *sums, const struct dataset *dataset, const int *rows, const double *scores,
                      int n)
{
    for (int i = 0; i < n; i++)
        if (official(dataset, rows[i])->balanced) {
            sums[0] += scores[i];
            sums[1] += 1;
        }
}

/* LLaVA's convert_gqa_for_eval.py: the file that Stanford's eval.py takes. */
static enum status gqa_submit(const char *path, const struct dataset *dataset, const struct answers *answers,
                              struct error *err)
{
    json_t *list = json_array();
    for (int i = 0; i < dataset->n; i++) {
        if (!answers->text[i])
            continue;
        size_t size = strlen(answers->text[i]) + 1;
        char *prediction = memory_alloc(size, 1);
        if (!prediction) {
            json_decref(list);
            return memory_failed(err, "a prediction", size);
        }
        normalise(prediction, size, answers->text[i],
                  answers->converted ? PROTOCOL_CONVERTED : PROTOCOL_OFFICIAL);
        json_array_append_new(list, json_pack("{ss ss}", "questionId", dataset->samples[i].question_id,
                                              "prediction", prediction));
        free(prediction);
    }
    return json_submit(path, list, err);
}

extern const struct benchmark benchmark_gqa;
const struct benchmark benchmark_gqa = {
    .name = "gqa",
    .title = "GQA",
    .metric = "accuracy",
    .unit = "%",
    .scale = 100,
    .max_new_tokens = 128,
    .cluster = "image",
    .licence = "CC BY 4.0 (questions); Visual Genome's pictures under their Flickr licences",
    .published = "https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md (eval.zip), "
                 "https://cs.stanford.edu/people/dorarad/gqa/download.html (questions, images)",
    .read = gqa_read,
    .close = gqa_close,
    .score_sample = gqa_score_sample,
    .submit = gqa_submit,
    .submission = "testdev_balanced_predictions.json for eval.py: [{questionId, prediction}]",
    .n_sums = MEAN_SUMS,
    .tally = gqa_tally,
    .headline = mean_headline,
    .score = gqa_score,
    .protocols = 1u << PROTOCOL_OFFICIAL | 1u << PROTOCOL_LMMS | 1u << PROTOCOL_VLMEVAL,
};
