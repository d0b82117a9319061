/* A user's own questions: JSON lines {"question_id", "text", "answer", "image", "category"}, of which image
 * and category may be absent, and answer is a text or a list of texts any of which is right. Pictures are
 * looked for beside the file. An answer is right when it equals a gold after both are stripped of surrounding
 * white space and trailing periods and ASCII letters are lowered; headline: accuracy. No suffix is added to
 * the text.
 */
#include "datasets/benchmark.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/rows.h"

enum { NORMALISED_SIZE = 4096 };

struct golds {
    const char **texts; /* normalised */
    int n;
};

static void normalise(char out[NORMALISED_SIZE], const char *text)
{
    size_t n, n_out = 0;
    while (ascii_is_space(*text))
        text++;
    for (n = strlen(text); n > 0 && (ascii_is_space(text[n - 1]) || text[n - 1] == '.'); n--)
        ;
    for (size_t i = 0; i < n && n_out + 1 < NORMALISED_SIZE; i++)
        out[n_out++] = ascii_lower(text[i]);
    out[n_out] = '\0';
}

/* One gold of a row to its normalised form; the first is shown as the sample's gold. */
static enum status gold_add(struct golds *golds, struct sample *sample, struct text_pool *pool,
                            const json_t *value, const char *place, struct error *err)
{
    char normalised[NORMALISED_SIZE];
    const char *text = json_string_value(value);
    if (!text || json_string_length(value) >= NORMALISED_SIZE)
        return fail(err, BAD_INPUT,
                    "%s: \"answer\": expected a text of less than %d bytes, or a list of such", place,
                    NORMALISED_SIZE);
    normalise(normalised, text);
    golds->texts[golds->n++] = text_pool_add(pool, normalised);
    if (!sample->gold)
        sample->gold = text_pool_add(pool, text);
    return OK;
}

static enum status golds_read(struct dataset *data, struct sample *sample, const json_t *row,
                              const char *place, struct error *err)
{
    const json_t *answer = json_object_get(row, "answer");
    if (!answer || json_is_null(answer))
        return OK;
    size_t n = json_is_array(answer) ? json_array_size(answer) : 1;
    struct golds *golds = text_pool_zero(data->pool, 1, sizeof *golds);
    TRY(text_pool_check(data->pool, err));
    golds->texts = text_pool_zero(data->pool, n + 1, sizeof *golds->texts);
    TRY(text_pool_check(data->pool, err));
    for (size_t i = 0; i < n; i++)
        TRY(gold_add(golds, sample, data->pool, json_is_array(answer) ? json_array_get(answer, i) : answer,
                     place, err));
    sample->extra = golds;
    return OK;
}

static enum status jsonl_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    if (!paths->questions)
        return fail(err, BAD_INPUT, "jsonl: give the question file as --questions");
    if (paths->annotations)
        return fail(err, BAD_INPUT,
                    "jsonl: golds stand in the question file as \"answer\": leave out --annotations");
    const char *slash = strrchr(paths->questions, '/');
    const char *folder =
        slash ? text_pool_add_bytes(out->pool, paths->questions, (size_t)(slash - paths->questions)) : NULL;
    struct sha256 sha;
    sha256_init(&sha);
    TRY(questions_read(out, paths->questions, paths->images ? paths->images : folder, &sha, err));
    sha256_final(&sha, out->files_sha256);

    struct rows rows;
    json_t *row;
    TRY(rows_open(&rows, paths->questions, NULL, err));
    enum status status;
    for (int i = 0; (status = rows_next(&row, &rows, err)) == OK && row && i < out->n; i++) {
        status = golds_read(out, &out->samples[i], row, rows.place, err);
        json_decref(row);
        if (status != OK)
            break;
        out->has_gold |= out->samples[i].gold != NULL;
    }
    rows_close(&rows);
    return status;
}

static double jsonl_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                                 const char *answer, const char *verdict, enum protocol protocol)
{
    const struct golds *golds = dataset->samples[row].extra;
    char normalised[NORMALISED_SIZE];
    (void)protocol;
    (void)verdict;
    normalise(normalised, answer);
    snprintf(parsed, size, "%s", normalised);
    for (int i = 0; golds && i < golds->n; i++)
        if (strcmp(golds->texts[i], normalised) == 0)
            return 1;
    return golds && golds->n > 0 ? 0 : (double)NAN;
}

static enum status jsonl_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                               const struct answers *answers, enum protocol protocol, struct error *err)
{
    double right = 0;
    int n = 0, n_no_gold = 0;
    (void)err;
    for (int i = 0; i < dataset->n; i++) {
        char parsed[8];
        if (!answers->text[i])
            continue;
        double score =
            jsonl_score_sample(parsed, sizeof parsed, dataset, i, answers->text[i], NULL, protocol);
        if (isnan(score)) {
            n_no_gold++;
            continue;
        }
        right += score;
        n++;
    }
    if (n_no_gold > 0)
        warn(warnings, "%d answered questions have no \"answer\" in the question file; they are left out",
             n_no_gold);
    double accuracy = n ? 100 * (right / n) : (double)NAN;
    json_object_set_new(figures, "accuracy", figure(accuracy));
    json_object_set_new(figures, "headline", figure(accuracy));
    json_object_set_new(figures, "n", json_integer(n));
    return OK;
}

extern const struct benchmark benchmark_jsonl;
const struct benchmark benchmark_jsonl = {
    .name = "jsonl",
    .title = "own questions",
    .metric = "accuracy",
    .unit = "%",
    .scale = 100,
    .max_new_tokens = 128,
    .cluster = "image",
    .licence = "your own",
    .published = "your own file",
    .read = jsonl_read,
    .score_sample = jsonl_score_sample,
    .n_sums = MEAN_SUMS,
    .tally = mean_tally,
    .headline = mean_headline,
    .score = jsonl_score,
    .protocols = 1u << PROTOCOL_OFFICIAL,
};
