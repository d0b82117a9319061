/* MME: two questions a picture, one to be answered by yes and one by no, in 14 categories. A category's score
 * is accuracy + accuracy of whole pictures, each × 100; headline: the sum over perception's ten and
 * cognition's four, 2800 at most (papers of LLaVA print perception alone).
 *
 *   MME/llava_mme.jsonl                                {"question_id": "artwork/images/1.jpg", "image",
 * "text"} MME/MME_Benchmark_release_version/CATEGORY/        1.jpg, 1.txt; in five categories images/1.jpg
 * and questions_answers_YN/1.txt: lines QUESTION\tYes|No or a folder of CATEGORY.txt: lines
 * FILE\tQUESTION\tYes|No   (the official tool's templates)
 *
 * Golds are found by category, picture and question, the question with the tail that LLaVA's file cut off. A
 * row without one is silently dropped by LLaVA's converter; here it is counted (n_unknown) and named. The
 * official scorer takes two lines at a time for a picture and stops at an odd one. Here a picture with one
 * answer counts in its category's accuracy and is left out of the accuracy of pictures, with a warning.
 * Sources: MME eval_tool/calculation.py, LLaVA scripts/convert_answer_to_mme.py, lmms-eval tasks/mme,
 * VLMEvalKit vlmeval/dataset/image_yorn.py (no language model as a fallback here).
 */
#include "datasets/benchmark.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/rows.h"
#include "datasets/yes_no.h"

enum { N_PERCEPTION = 10, N_CATEGORIES = 14, NAMED = 5 };
static const char *const categories[N_CATEGORIES] = {
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
};

static const char suffix[] = "Answer the question using a single word or phrase.";
static const char tail[] = "Please answer yes or no.";

/* What the official tool's file says of a question. */
struct gold {
    const char *question, *text; /* text: "Yes" or "No" as it stands there */
};

/* All golds, by "CATEGORY\tSTEM\tQUESTION". */
struct golds {
    struct id_entry *entries; /* row: index into items */
    struct gold *items;
    int n, capacity;
};

static int category_index(const char *name, size_t n)
{
    for (int i = 0; i < N_CATEGORIES; i++)
        if (strlen(categories[i]) == n && memcmp(name, categories[i], n) == 0)
            return i;
    return -1;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* "artwork/images/14777.jpg" gives 14777. */
static const char *stem_of(struct text_pool *pool, const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *file = slash ? slash + 1 : name;
    return text_pool_add_bytes(pool, file, strcspn(file, "."));
}

static enum status gold_add(struct golds *golds, struct text_pool *pool, const char *key,
                            const struct gold *gold, struct error *err)
{
    if (golds->n == golds->capacity) {
        size_t capacity = golds->capacity ? (size_t)golds->capacity * 2 : 1024;
        struct id_entry *entries = memory_grow(golds->entries, capacity, sizeof *entries);
        if (entries)
            golds->entries = entries;
        struct gold *items = memory_grow(golds->items, capacity, sizeof *items);
        if (items)
            golds->items = items;
        if (!entries || !items || capacity > INT32_MAX / 2)
            return memory_failed(err, "golds of mme", capacity * sizeof *items);
        golds->capacity = (int)capacity;
    }
    golds->entries[golds->n] = (struct id_entry){text_pool_add(pool, key), golds->n};
    golds->items[golds->n++] = *gold;
    return OK;
}

/* One line of tab-separated fields, the picture first where `stem` is NULL. */
static enum status line_read(struct golds *golds, struct text_pool *pool, const char *category,
                             const char *stem, char *line, const char *place, struct error *err)
{
    char *fields[4] = {line};
    int n_fields = 1, wanted = stem ? 2 : 3;
    for (char *tab = strchr(line, '\t'); tab; tab = strchr(tab + 1, '\t')) {
        *tab = '\0';
        if (n_fields < 4)
            fields[n_fields] = tab + 1;
        n_fields++;
    }
    if (n_fields != wanted && (stem || n_fields != 4)) /* a template may hold an answer, too */
        return fail(err, BAD_INPUT,
                    "%s: expected %d fields with tabs between (%squestion, Yes or No), found %d", place,
                    wanted, stem ? "" : "file, ", n_fields);
    if (!stem)
        stem = stem_of(pool, fields[0]);
    const char *question = fields[wanted - 2], *text = fields[wanted - 1];
    char shown[PRINTABLE_SIZE];
    if (strcasecmp(text, "yes") != 0 && strcasecmp(text, "no") != 0)
        return fail(err, BAD_INPUT, "%s: expected Yes or No at the end, found \"%s\"", place,
                    printable(shown, text));
    const struct gold gold = {text_pool_add(pool, question), text_pool_add(pool, text)};
    return gold_add(golds, pool, text_pool_format(pool, "%s\t%s\t%s", category, stem, question), &gold, err);
}

static enum status lines_read(struct golds *golds, struct text_pool *pool, const char *category,
                              const char *stem, const char *path, struct sha256 *sha, struct error *err)
{
    char *bytes, *rest;
    size_t n;
    TRY(file_read(&bytes, &n, path, LIMIT_JSON_BYTES, err));
    sha256_update(sha, bytes, n);
    enum status status = OK;
    char *start = bytes + (n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    int number = 0;
    if (strlen(bytes) != n)
        status = fail(err, BAD_INPUT, "%s: holds a zero byte; is it a text file?", path);
    for (char *line = start; status == OK && line; line = rest) {
        char place[PLACE_SIZE];
        rest = strchr(line, '\n');
        if (rest)
            *rest++ = '\0';
        number++;
        size_t length;
        char *stripped = line + (ascii_strip(&length, line) - line);
        stripped[length] = '\0';
        if (length == 0)
            continue;
        snprintf(place, sizeof place, "%.*s:%d", PLACE_SIZE - 16, path, number);
        status = line_read(golds, pool, category, stem, stripped, place, err);
    }
    free(bytes);
    return status;
}

/* The two lines of one picture, beside it or in a folder of their own. No file: no gold. */
static enum status picture_read(struct golds *golds, struct dataset *data, const char *folder,
                                const char *category, const char *stem, struct sha256 *sha, struct error *err)
{
    static const char *const places[] = {"questions_answers_YN/", ""};
    for (int i = 0; i < 2; i++) {
        const char *path = text_pool_format(data->pool, "%s/%s/%s%s.txt", folder, category, places[i], stem);
        if (file_exists(path))
            return lines_read(golds, data->pool, category, stem, path, sha, err);
    }
    return OK;
}

static bool is_folder_path(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static enum status golds_read(struct golds *golds, struct dataset *data, const char *folder,
                              struct sha256 *sha, struct error *err)
{
    const char *release = text_pool_format(data->pool, "%s/MME_Benchmark_release_version", folder);
    if (is_folder_path(release))
        folder = release;
    for (int c = 0; c < N_CATEGORIES; c++) {
        const char *path = text_pool_format(data->pool, "%s/%s.txt", folder, categories[c]);
        bool listed = file_exists(path), seen = false;
        const char *last = NULL;
        for (int i = 0; i < data->n && !(listed && seen); i++) {
            const struct sample *sample = &data->samples[i];
            if (strcmp(sample->category, categories[c]) != 0)
                continue;
            seen = true;
            if (listed || (last && strcmp(last, sample->group) == 0))
                continue;
            last = sample->group;
            TRY(picture_read(golds, data, folder, categories[c], stem_of(data->pool, sample->group), sha,
                             err));
        }
        if (listed && seen)
            TRY(lines_read(golds, data->pool, categories[c], NULL, path, sha, err));
    }
    ids_sort(golds->entries, golds->n);
    return OK;
}

/* The question as MME asks it: LLaVA's suffix off, the tail on. */
static const char *official_question(struct text_pool *pool, const char *text, const char *spaces)
{
    const char *at = strstr(text, suffix);
    const char *bare =
        at ? text_pool_format(pool, "%.*s%s", (int)(at - text), text, at + strlen(suffix)) : text;
    size_t n;
    const char *stripped = ascii_strip(&n, bare);
    if (strstr(bare, tail))
        return text_pool_add_bytes(pool, stripped, n);
    return text_pool_format(pool, "%.*s%s%s", (int)n, stripped, spaces, tail);
}

/* Of several golds under one key the last counts, as in the converter's dictionary. */
static const struct gold *gold_find(const struct golds *golds, struct text_pool *pool,
                                    const struct sample *sample)
{
    static const char *const spaces[] = {" ", "  "};
    const char *stem = stem_of(pool, sample->group);
    for (int i = 0; i < 2; i++) {
        const char *key = text_pool_format(pool, "%s\t%s\t%s", sample->category, stem,
                                           official_question(pool, sample->text, spaces[i]));
        int at = ids_find(golds->entries, golds->n, key);
        if (at < 0)
            continue;
        while (at + 1 < golds->n && strcmp(golds->entries[at + 1].id, key) == 0)
            at++;
        return &golds->items[golds->entries[at].row];
    }
    return NULL;
}

static enum status golds_match(struct dataset *data, const struct golds *golds, struct error *err)
{
    for (int i = 0; i < data->n; i++) {
        struct sample *sample = &data->samples[i];
        const struct gold *gold = gold_find(golds, data->pool, sample);
        struct gold *own = text_pool_zero(data->pool, 1, sizeof *own);
        TRY(text_pool_check(data->pool, err));
        if (!gold)
            continue;
        *own = *gold;
        sample->extra = own;
        sample->gold = gold->text[0] == 'y' || gold->text[0] == 'Y' ? "yes" : "no";
        data->has_gold = true;
    }
    return OK;
}

/* Category, group and cluster from the id, which is the picture's place in the release. */
static enum status samples_check(struct dataset *data, const char *path, struct error *err)
{
    struct id_entry *ids;
    enum status status = OK;
    for (int i = 0; i < data->n; i++) {
        struct sample *sample = &data->samples[i];
        char shown[PRINTABLE_SIZE];
        int category = category_index(sample->question_id, strcspn(sample->question_id, "/"));
        if (category < 0 || !strchr(sample->question_id, '/'))
            return fail(
                err, BAD_INPUT,
                "%s: row %d (counted from 0): expected a question_id CATEGORY/PICTURE of one of MME's 14 "
                "categories, found \"%s\"",
                path, i, printable(shown, sample->question_id));
        sample->category = categories[category];
        sample->group = sample->cluster = sample->question_id;
    }
    TRY(ids_of_samples(&ids, data, false, path, err));
    for (int i = 2; i < data->n && status == OK; i++)
        if (strcmp(ids[i].id, ids[i - 2].id) == 0) {
            char shown[PRINTABLE_SIZE];
            status =
                fail(err, BAD_INPUT,
                     "%s: question_id %s occurs more than twice, in rows %d, %d and %d (counted from 0); "
                     "MME asks two questions about a picture",
                     path, printable(shown, ids[i].id), ids[i - 2].row, ids[i - 1].row, ids[i].row);
        }
    free(ids);
    return status;
}

static enum status mme_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    static const char *const release[] = {"MME_Benchmark_release_version", NULL};
    struct sha256 sha;
    struct golds golds = {0};
    enum status status = OK;
    sha256_init(&sha);
    const char *questions =
        file_locate(out, paths->questions, paths->root, (const char *const[]){"llava_mme.jsonl", NULL});
    const char *folder = file_locate(out, paths->annotations, paths->root, release);
    const char *images = file_locate(out, paths->images, paths->root, release);
    if (!questions)
        return file_missing(out, paths, "llava_mme.jsonl", "--questions", err);
    TRY(questions_read(out, questions, images, &sha, err));
    TRY(samples_check(out, questions, err));
    if (folder) {
        TRY_GOTO(status, golds_read(&golds, out, folder, &sha, err));
        TRY_GOTO(status, golds_match(out, &golds, err));
        if (paths->annotations && !out->has_gold)
            TRY_GOTO(
                status,
                fail(err, BAD_INPUT,
                     "%s: holds the gold of none of the %d questions; expected CATEGORY.txt (file, question, "
                     "gold) or the release's CATEGORY/[questions_answers_YN/]PICTURE.txt",
                     folder, out->n));
    }
    sha256_final(&sha, out->files_sha256);
exit:
    free(golds.entries);
    free(golds.items);
    return status;
}

/* ---- scores --------------------------------------------------------------------------------- */

static const char *parse(const char *answer, enum protocol protocol)
{
    switch (protocol) {
    case PROTOCOL_LMMS:
        return yes_no_four_stripped(answer);
    case PROTOCOL_VLMEVAL:
        return yes_no_words(answer);
    case PROTOCOL_OFFICIAL:
    case PROTOCOL_CONVERTED:
        break;
    }
    return yes_no_four(answer);
}

static double mme_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                               const char *answer, const char *verdict, enum protocol protocol)
{
    (void)verdict;
    const char *gold = dataset->samples[row].gold, *said = parse(answer, protocol);
    snprintf(parsed, size, "%s", said);
    return gold ? strcmp(said, gold) == 0 : (double)NAN;
}

/* Sums of a category. A group of two is a whole picture. */
enum { N, RIGHT, PAIRS, PAIRS_RIGHT, SUMS_PER_CATEGORY, N_SUMS = N_CATEGORIES * SUMS_PER_CATEGORY };

static void mme_tally(double *sums, const struct dataset *dataset, const int *rows, const double *scores,
                      int n)
{
    const char *category = dataset->samples[rows[0]].category;
    double *own = sums + category_index(category, strlen(category)) * SUMS_PER_CATEGORY, right = 0;
    for (int i = 0; i < n; i++)
        right += scores[i] > 0.5;
    own[N] += n;
    own[RIGHT] += right;
    own[PAIRS] += n == 2;
    own[PAIRS_RIGHT] += n == 2 && right > 1.5;
}

/* As the official tool adds it up: 100 · acc, then 100 · acc_plus. Without a whole picture acc alone. */
static double category_score(const double *own)
{
    double score = own[RIGHT] / own[N] * 100;
    return own[PAIRS] > 0 ? score + own[PAIRS_RIGHT] / own[PAIRS] * 100 : score;
}

/* Of categories first … end - 1 that have answers; NaN where none has. */
static double part_score(const double *sums, int first, int end)
{
    double sum = 0;
    int n = 0;
    for (int c = first; c < end; c++) {
        const double *own = sums + c * SUMS_PER_CATEGORY;
        if (own[N] <= 0)
            continue;
        sum += category_score(own);
        n++;
    }
    return n ? sum : (double)NAN;
}

static double mme_headline(const double *sums)
{
    double perception = part_score(sums, 0, N_PERCEPTION);
    double cognition = part_score(sums, N_PERCEPTION, N_CATEGORIES);
    return isnan(perception) ? cognition : isnan(cognition) ? perception : perception + cognition;
}

static json_t *categories_json(const double *sums, int *n_present)
{
    json_t *out = json_object();
    *n_present = 0;
    for (int c = 0; c < N_CATEGORIES; c++) {
        const double *own = sums + c * SUMS_PER_CATEGORY;
        if (own[N] <= 0)
            continue;
        json_t *category = json_object();
        json_object_set_new(category, "acc", figure(own[RIGHT] / own[N]));
        json_object_set_new(category, "acc_plus", figure(own[PAIRS_RIGHT] / own[PAIRS]));
        json_object_set_new(category, "score", figure(category_score(own)));
        json_object_set_new(category, "n", json_integer((json_int_t)own[N]));
        json_object_set_new(out, categories[c], category);
        ++*n_present;
    }
    return out;
}

/* Rows that no gold was found for, by name. */
static int warn_about_golds(json_t *warnings, const struct dataset *dataset)
{
    char names[NAMED * PRINTABLE_SIZE] = "";
    int n = 0;
    for (int i = 0; i < dataset->n; i++) {
        char shown[PRINTABLE_SIZE];
        if (dataset->samples[i].gold)
            continue;
        if (n++ < NAMED)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", n > 1 ? ", " : "",
                     printable(shown, dataset->samples[i].question_id));
    }
    if (n > 0)
        warn(warnings,
             "%d questions have no gold in the annotations (the official converter drops them silently): %s",
             n, names);
    return n;
}

static enum status mme_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                             const struct answers *answers, enum protocol protocol, struct error *err)
{
    double *sums = NULL, total[N_SUMS] = {0};
    int n_pictures, n_present, n = 0, n_single = 0;
    enum status status = OK;
    double *scores = memory_alloc((size_t)dataset->n, sizeof *scores);
    int *rows = memory_alloc((size_t)dataset->n, sizeof *rows);
    if (!scores || !rows)
        TRY_GOTO(status, memory_failed(err, "scores", (size_t)dataset->n * sizeof *scores));
    for (int i = 0; i < dataset->n; i++) {
        char parsed[16];
        rows[i] = i;
        scores[i] = answers->text[i] ? mme_score_sample(parsed, sizeof parsed, dataset, i, answers->text[i],
                                                        NULL, protocol)
                                     : (double)NAN;
        n += !isnan(scores[i]);
    }
    TRY_GOTO(status, benchmark_sums(&sums, &n_pictures, dataset, rows, scores, dataset->n, err));
    for (int p = 0; p < n_pictures; p++) {
        double of_picture = 0, pairs = 0;
        for (int i = 0; i < N_SUMS; i++) {
            total[i] += sums[p * N_SUMS + i];
            of_picture += i % SUMS_PER_CATEGORY == N ? sums[p * N_SUMS + i] : 0;
            pairs += i % SUMS_PER_CATEGORY == PAIRS ? sums[p * N_SUMS + i] : 0;
        }
        n_single += of_picture > 0 && pairs <= 0;
    }
    json_object_set_new(figures, "perception", figure(part_score(total, 0, N_PERCEPTION)));
    json_object_set_new(figures, "cognition", figure(part_score(total, N_PERCEPTION, N_CATEGORIES)));
    json_object_set_new(figures, "categories", categories_json(total, &n_present));
    json_object_set_new(figures, "maximum", json_integer(200 * n_present));
    json_object_set_new(figures, "headline", figure(mme_headline(total)));
    json_object_set_new(figures, "n", json_integer(n));
    json_object_set_new(figures, "n_unknown", json_integer(warn_about_golds(warnings, dataset)));
    if (n_single > 0)
        warn(warnings,
             "%d pictures have one answer with a gold instead of two: it counts in acc, the picture is left "
             "out of "
             "acc_plus; the official scorer would stop, or pair lines of different pictures",
             n_single);
exit:
    free(scores);
    free(rows);
    free(sums);
    return status;
}

/* ---- submission ----------------------------------------------------------------------------- */

/* A field of a line: the official tool splits at tabs and line ends. */
static void put_field(FILE *out, const char *text, char end)
{
    for (; *text; text++)
        fputc(*text == '\t' || *text == '\n' || *text == '\r' ? ' ' : *text, out);
    fputc(end, out);
}

static bool is_answered(const struct dataset *dataset, const struct answers *answers, int row)
{
    return dataset->samples[row].extra && answers->text[row];
}

static void put_row(FILE *out, struct text_pool *pool, const struct sample *sample, const char *answer)
{
    const struct gold *gold = sample->extra;
    put_field(out, text_pool_format(pool, "%s.txt", stem_of(pool, sample->group)), '\t');
    put_field(out, gold->question, '\t');
    put_field(out, gold->text, '\t');
    put_field(out, answer, '\n');
}

/* One category, pictures with both answers only: the tool pairs lines by position. */
static enum status category_submit(const char *folder, const struct dataset *dataset,
                                   const struct id_entry *ids, const struct answers *answers, int category,
                                   struct error *err)
{
    char *text = NULL;
    size_t n_text = 0;
    FILE *out = open_memstream(&text, &n_text);
    if (!out)
        return fail(err, NO_MACHINE, "%s: no memory for its lines", folder);
    for (int i = 0; i < dataset->n; i++) {
        const struct sample *sample = &dataset->samples[i];
        if (strcmp(sample->category, categories[category]) != 0)
            continue;
        int at = ids_find(ids, dataset->n, sample->question_id);
        if (ids[at].row != i || at + 1 >= dataset->n || strcmp(ids[at + 1].id, sample->question_id) != 0)
            continue; /* the second of its picture, or alone */
        int other = ids[at + 1].row;
        if (!is_answered(dataset, answers, i) || !is_answered(dataset, answers, other))
            continue;
        put_row(out, dataset->pool, sample, answers->text[i]);
        put_row(out, dataset->pool, &dataset->samples[other], answers->text[other]);
    }
    bool failed = ferror(out) != 0;
    failed |= fclose(out) != 0;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s.txt", folder, categories[category]);
    enum status status = failed || n < 0 || (size_t)n >= sizeof path
                             ? fail(err, NO_MACHINE, "%s: its lines cannot be written", folder)
                         : n_text > 0 ? file_write(path, text, n_text, err)
                                      : OK;
    free(text);
    return status;
}

static enum status mme_submit(const char *path, const struct dataset *dataset, const struct answers *answers,
                              struct error *err)
{
    struct id_entry *ids;
    if (!dataset->has_gold)
        return fail(err, BAD_INPUT,
                    "%s: the official tool's lines hold the golds: give --annotations (published at %s)",
                    dataset->name, dataset->benchmark->published);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return fail(err, NO_MACHINE, "%s: the folder cannot be made: %s", path, strerror(errno));
    TRY(ids_of_samples(&ids, dataset, false, path, err));
    enum status status = OK;
    for (int c = 0; c < N_CATEGORIES && status == OK; c++)
        status = category_submit(path, dataset, ids, answers, c, err);
    free(ids);
    return status;
}

extern const struct benchmark benchmark_mme;
const struct benchmark benchmark_mme = {
    .name = "mme",
    .title = "MME",
    .folders = {"MME", "mme"},
    .metric = "perception + cognition",
    .unit = "points",
    .scale = 2800,
    .max_new_tokens = 128,
    .cluster = "image",
    .licence = "academic research only, no redistribution without Xiamen University's approval",
    .published = "https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models/tree/Evaluation "
                 "(pictures on request), https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md "
                 "(eval.zip)",
    .read = mme_read,
    .score_sample = mme_score_sample,
    .submit = mme_submit,
    .submission =
        "a folder of CATEGORY.txt (file, question, gold, answer) for MME's eval_tool/calculation.py",
    .n_sums = N_SUMS,
    .tally = mme_tally,
    .headline = mme_headline,
    .score = mme_score,
    .protocols = 1u << PROTOCOL_OFFICIAL | 1u << PROTOCOL_LMMS | 1u << PROTOCOL_VLMEVAL,
};
