/* POPE: is an object in the picture? Three question sets (adversarial, random, popular), headline: the mean
 * of their F1, × 100.
 *
 *   pope/llava_pope_test.jsonl                      {"question_id", "image", "text", "category"}
 *   pope/coco/coco_pope_{adversarial,…}.json        JSON lines {"question_id", "image", "text", "label":
 * "yes"|"no"} pope/val2014/                                   pictures
 *
 * Labels belong to questions by position: the k-th question of a category has the k-th line of its file. The
 * official scorer pairs answers the same way, so that one lost answer shifts all that follow; here answers
 * are found by id. Sources: RUCAIBox/POPE evaluate.py, LLaVA llava/eval/eval_pope.py, lmms-eval
 * tasks/pope/utils.py, VLMEvalKit vlmeval/dataset/utils/yorn.py.
 */
#include "datasets/benchmark.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "datasets/rows.h"
#include "datasets/yes_no.h"

enum { N_CATEGORIES = 3 };
static const char *const categories[N_CATEGORIES] = {"adversarial", "random", "popular"};

struct pope {
    int n_other_text; /* questions whose label line asks something else: files of different versions */
};

static int category_index(const char *name)
{
    for (int i = 0; i < N_CATEGORIES; i++)
        if (strcmp(name, categories[i]) == 0)
            return i;
    return -1;
}

/* ---- reading --------------------------------------------------------------------------------------------
 */

static enum status questions_check(const struct dataset *data, const char *path, struct error *err)
{
    struct id_entry *ids;
    TRY(ids_of_samples(&ids, data, true, path, err));
    free(ids);
    for (int i = 0; i < data->n; i++) {
        char shown[PRINTABLE_SIZE];
        if (category_index(data->samples[i].category) < 0)
            return fail(
                err, BAD_INPUT,
                "%s: row %d (counted from 0): expected \"category\" adversarial, random or popular, found "
                "\"%s\"",
                path, i, printable(shown, data->samples[i].category));
    }
    return OK;
}

static enum status label_read(struct dataset *data, struct sample *sample, const json_t *row,
                              const char *place, struct error *err)
{
    const char *label, *text, *image;
    TRY(json_str(&label, row, "label", "", place, err));
    TRY(json_str(&text, row, "text", "", place, err));
    TRY(json_str(&image, row, "image", "", place, err));
    char shown[PRINTABLE_SIZE];
    if (strcmp(label, "yes") != 0 && strcmp(label, "no") != 0)
        return fail(err, BAD_INPUT, "%s: \"label\": expected \"yes\" or \"no\", found \"%s\"", place,
                    printable(shown, label));
    sample->gold = label[0] == 'y' ? "yes" : "no";
    size_t n = strlen(text);
    bool same = strncmp(sample->text, text, n) == 0 && (sample->text[n] == '\n' || sample->text[n] == '\0') &&
                sample->image_name && strcmp(sample->image_name, image) == 0;
    ((struct pope *)data->own)->n_other_text += !same;
    return OK;
}

/* The labels of one category, given to its questions in order. */
static enum status labels_read(struct dataset *data, int category, const char *path, struct sha256 *sha,
                               struct error *err)
{
    struct rows rows;
    json_t *row;
    int next = 0, n_labels = 0, n_questions = 0;
    for (int i = 0; i < data->n; i++)
        n_questions += strcmp(data->samples[i].category, categories[category]) == 0;
    TRY(rows_open(&rows, path, sha, err));
    enum status status;
    while ((status = rows_next(&row, &rows, err)) == OK && row) {
        while (next < data->n && strcmp(data->samples[next].category, categories[category]) != 0)
            next++;
        n_labels++;
        if (next < data->n)
            status = label_read(data, &data->samples[next++], row, rows.place, err);
        json_decref(row);
        if (status != OK)
            break;
    }
    rows_close(&rows);
    if (status == OK && n_labels != n_questions)
        status = fail(
            err, BAD_INPUT,
            "%s: holds %d labels, but the question file has %d questions of category %s; labels belong to "
            "questions by position, so take both from one version (LLaVA's random set has 2910 lines, "
            "POPE's current one 3000)",
            path, n_labels, n_questions, categories[category]);
    return status;
}

static enum status all_labels_read(struct dataset *data, const char *folder, struct sha256 *sha,
                                   struct error *err)
{
    for (int c = 0; c < N_CATEGORIES; c++) {
        bool asked = false;
        for (int i = 0; i < data->n && !asked; i++)
            asked = strcmp(data->samples[i].category, categories[c]) == 0;
        if (!asked)
            continue;
        const char *path = text_pool_format(data->pool, "%s/coco_pope_%s.json", folder, categories[c]);
        if (!file_exists(path)) {
            path = text_pool_format(data->pool, "%s/coco/coco_pope_%s.json", folder, categories[c]);
            if (!file_exists(path))
                return fail(
                    err, BAD_INPUT,
                    "%s: holds neither coco_pope_%s.json nor coco/coco_pope_%s.json, which the question file "
                    "needs",
                    folder, categories[c], categories[c]);
        }
        TRY(labels_read(data, c, path, sha, err));
    }
    data->has_gold = true;
    return OK;
}

static enum status pope_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    struct sha256 sha;
    sha256_init(&sha);
    out->own = text_pool_zero(out->pool, 1, sizeof(struct pope));
    TRY(text_pool_check(out->pool, err));
    const char *questions =
        file_locate(out, paths->questions, paths->root, (const char *const[]){"llava_pope_test.jsonl", NULL});
    const char *labels =
        file_locate(out, paths->annotations, paths->root, (const char *const[]){"coco", NULL});
    const char *images = file_locate(out, paths->images, paths->root, (const char *const[]){"val2014", NULL});
    if (!questions)
        return file_missing(out, paths, "llava_pope_test.jsonl", "--questions", err);
    TRY(questions_read(out, questions, images, &sha, err));
    TRY(questions_check(out, questions, err));
    if (labels)
        TRY(all_labels_read(out, labels, &sha, err));
    sha256_final(&sha, out->files_sha256);
    return OK;
}

/* ---- what an answer says --------------------------------------------------------------------------------
 */

static const char *parse(const char *answer, enum protocol protocol)
{
    switch (protocol) {
    case PROTOCOL_LMMS:
        return yes_no_whole(answer);
    case PROTOCOL_VLMEVAL:
        return yes_no_words(answer);
    case PROTOCOL_OFFICIAL:
    case PROTOCOL_CONVERTED:
        break;
    }
    return yes_no_sentence(answer);
}

static double pope_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                                const char *answer, const char *verdict, enum protocol protocol)
{
    (void)verdict;
    const char *gold = dataset->samples[row].gold, *said = parse(answer, protocol);
    snprintf(parsed, size, "%s", said);
    return gold ? strcmp(said, gold) == 0 : (double)NAN;
}

/* ---- figures --------------------------------------------------------------------------------------------
 */

struct counts {
    int n, correct, tp, fp, tn, fn, gold_yes;
};

static void count(struct counts *counts, const char *gold, const char *said, enum protocol protocol)
{
    bool positive = strcmp(gold, "yes") == 0, yes = strcmp(said, "yes") == 0, no = strcmp(said, "no") == 0;
    counts->n++;
    counts->gold_yes += positive;
    counts->correct += strcmp(gold, said) == 0;
    /* lmms-eval ignores what is neither yes nor no here, VLMEvalKit takes it for a no. */
    if (protocol == PROTOCOL_VLMEVAL)
        no = !yes;
    counts->tp += positive && yes;
    counts->fn += positive && no;
    counts->fp += !positive && yes;
    counts->tn += !positive && no;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* As 2PR / (P + R), the official order of operations. NaN where there is neither a gold nor an answered yes;
 * 0 where the official scorer would divide by zero. */
static double f1_score(double tp, double fp, double fn)
{
    if (tp + fp + fn <= 0)
        return NAN;
    double precision = ratio(tp, tp + fp), recall = ratio(tp, tp + fn);
    return ratio(2 * precision * recall, precision + recall);
}

static void figures_of(json_t *out, const struct counts *c, enum protocol protocol)
{
    double n = c->n,
           yes = protocol == PROTOCOL_LMMS ? c->gold_yes : c->tp + c->fp; /* lmms-eval counts the golds */
    json_object_set_new(out, "accuracy", figure(c->correct / n));
    json_object_set_new(out, "precision", figure(ratio(c->tp, c->tp + c->fp)));
    json_object_set_new(out, "recall", figure(ratio(c->tp, c->tp + c->fn)));
    json_object_set_new(out, "f1", figure(f1_score(c->tp, c->fp, c->fn)));
    json_object_set_new(out, "yes_ratio", figure(yes / n));
    json_object_set_new(out, "n", json_integer(c->n));
}

static enum status pope_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                              const struct answers *answers, enum protocol protocol, struct error *err)
{
    struct counts by_category[N_CATEGORIES] = {{0}}, all = {0};
    (void)err;
    for (int i = 0; i < dataset->n; i++) {
        const struct sample *sample = &dataset->samples[i];
        if (!answers->text[i])
            continue;
        const char *said = parse(answers->text[i], protocol);
        count(&by_category[category_index(sample->category)], sample->gold, said, protocol);
        count(&all, sample->gold, said, protocol);
    }
    double sum = 0;
    int n_defined = 0;
    for (int c = 0; c < N_CATEGORIES; c++) {
        const struct counts *counts = &by_category[c];
        json_t *object = json_object();
        figures_of(object, counts, protocol);
        json_object_set_new(figures, categories[c], object);
        double f1 = f1_score(counts->tp, counts->fp, counts->fn);
        if (isnan(f1)) {
            warn(warnings, "%s: %s, so it has no F1 and is not in the mean", categories[c],
                 counts->n ? "no question is to be answered by yes and none was" : "no answers");
            continue;
        }
        sum += f1;
        n_defined++;
        if (counts->tp + counts->fp == 0 || counts->tp + counts->fn == 0)
            warn(warnings, "%s: %s, where the official scorer divides by zero; taken as 0", categories[c],
                 counts->tp + counts->fp == 0 ? "no answer is yes" : "no label is yes");
    }
    const struct pope *own = dataset->own;
    if (own->n_other_text > 0)
        warn(warnings,
             "%d labels stand in lines about another question or picture than the question file's: the files "
             "are of "
             "different versions",
             own->n_other_text);
    double headline = n_defined ? 100 * (sum / n_defined) : (double)NAN;
    /* Both other harnesses pool the three sets. */
    if (protocol == PROTOCOL_LMMS || protocol == PROTOCOL_VLMEVAL) {
        figures_of(figures, &all, protocol);
        json_object_set_new(figures, "metric", json_string("pooled F1 × 100"));
        headline = 100 * f1_score(all.tp, all.fp, all.fn);
    }
    json_object_set_new(figures, "headline", figure(headline));
    json_object_set_new(figures, "n", json_integer(all.n));
    return OK;
}

/* Sums: true positives, false positives, false negatives of each category. */
enum { TP, FP, FN, SUMS_PER_CATEGORY };

static void pope_tally(double *sums, const struct dataset *dataset, const int *rows, const double *scores,
                       int n)
{
    for (int i = 0; i < n; i++) {
        const struct sample *sample = &dataset->samples[rows[i]];
        int category = category_index(sample->category);
        bool positive = sample->gold[0] == 'y', right = scores[i] > 0.5;
        double *own = sums + category * SUMS_PER_CATEGORY;
        own[TP] += positive && right;
        own[FP] += !positive && !right;
        own[FN] += positive && !right;
    }
}

static double pope_headline(const double *sums)
{
    double sum = 0;
    int n_defined = 0;
    for (int c = 0; c < N_CATEGORIES; c++, sums += SUMS_PER_CATEGORY) {
        double f1 = f1_score(sums[TP], sums[FP], sums[FN]);
        if (isnan(f1))
            continue;
        sum += f1;
        n_defined++;
    }
    return n_defined ? 100 * (sum / n_defined) : (double)NAN;
}

extern const struct benchmark benchmark_pope;
const struct benchmark benchmark_pope = {
    .name = "pope",
    .title = "POPE",
    .metric = "mean F1 × 100",
    .unit = "%",
    .scale = 100,
    .max_new_tokens = 128,
    .cluster = "image",
    .licence = "questions MIT; COCO pictures under their Flickr licences, annotations CC BY 4.0",
    .published = "https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md (eval.zip), "
                 "https://github.com/RUCAIBox/POPE (output/coco), https://cocodataset.org (val2014)",
    .read = pope_read,
    .score_sample = pope_score_sample,
    .submission = "LLaVA's answer file, for eval_pope.py",
    .n_sums = N_CATEGORIES * SUMS_PER_CATEGORY,
    .tally = pope_tally,
    .headline = pope_headline,
    .score = pope_score,
    .protocols = 1u << PROTOCOL_OFFICIAL | 1u << PROTOCOL_LMMS | 1u << PROTOCOL_VLMEVAL,
};
