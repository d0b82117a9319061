/* MMBench (dev), English and Chinese: four-way questions asked in every rotation of their options. Headline:
 * circular accuracy, for which a question counts when all its rotations are answered rightly.
 *
 *   mmbench/mmbench_dev_20230712.tsv           LLaVA's table: 1176 questions in 4377 rows
 *   mmbench_cn/mmbench_dev_cn_20231003.tsv     the Chinese one
 *
 * One table holds questions, golds and pictures: index, question, hint, A, B, C, D, answer, category,
 * l2-category, image, split; hint, image and the categories may be absent (then samples have no picture).
 * Row index + k · 1,000,000 is the k-th rotation of question `index`; 53 four-option questions have three
 * passes, for their last option stays in place. In VLMEvalKit's tables the image cell of a rotation holds the
 * index of the row that has the picture.
 *
 * What the official scorer does with a missing pass depends on the file it is given, so here a question
 * counts only where every pass in the table was answered: neither a limit nor a failed sample can make it
 * easier or harder. The server asks a language model about answers that name no option; here they are wrong,
 * VLMEvalKit's `exact_matching`.
 *
 * Sources: LLaVA llava/eval/model_vqa_mmbench.py, scripts/convert_mmbench_for_submission.py; VLMEvalKit
 * vlmeval/dataset/utils/multiple_choice.py; lmms-eval tasks/mmbench.
 */
#include "datasets/benchmark.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <xlsxwriter.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/choice.h"
#include "datasets/rows.h"
#include "datasets/table.h"

enum { ROTATION = 1000000, INDEX_DIGITS = 9, N_PROMPT_OPTIONS = 4 };

/* The wanted columns; options follow from OPTION on, one a letter. */
enum { INDEX, QUESTION, HINT, ANSWER, CATEGORY, L2_CATEGORY, SPLIT, OPTION, N_WANTED = OPTION + CHOICES_MAX };

/* A row of the table. Texts are the dataset's. */
struct pass {
    int index;
    const char *question, *split, *l2_category, *category;
    struct choices choices;
    int n_passes; /* of its question, in the table */
    struct table_cell picture;
};

struct mmbench {
    bool has_split, has_answer, has_picture;
    int n_options; /* columns A, B, … up to the last one there is, 4 at least */
    const char *path;
};

static const struct pass *pass_of(const struct dataset *data, int row)
{
    return data->samples[row].extra;
}

static struct pass *own_pass(const struct dataset *data, int row)
{
    return data->samples[row].extra;
}

static bool is_chinese(const struct dataset *data)
{
    return strcmp(data->benchmark->name, "mmbench-cn") == 0;
}

/* ---- reading --------------------------------------------------------------------------------------------
 */

static enum status index_parse(int *out, const char *text, const char *column, const char *place,
                               struct error *err)
{
    char shown[PRINTABLE_SIZE];
    size_t n = text ? strspn(text, "0123456789") : 0;
    if (n == 0 || n > INDEX_DIGITS || text[n] != '\0')
        return fail(err, BAD_INPUT, "%s: \"%s\": expected a whole number of at most %d digits, found \"%s\"",
                    place, column, INDEX_DIGITS, text ? printable(shown, text) : "");
    *out = (int)strtol(text, NULL, 10);
    return OK;
}

/* LLaVA's is_none, on top of what is missing already. */
static bool is_none(const char *text)
{
    return !text || strcasecmp(text, "nan") == 0 || strcasecmp(text, "none") == 0;
}

/* Hint, question, the options up to the first missing one, LLaVA's suffix. */
static enum status text_build(const char **out, const struct dataset *data, const char *const *cells,
                              struct error *err)
{
    static const char suffix[] = "\nAnswer with the option's letter from the given choices directly.",
                      suffix_cn[] = "\n请直接回答选项字母。";
    char *text = NULL;
    size_t n = 0;
    FILE *memory = open_memstream(&text, &n);
    if (!memory)
        return memory_failed(err, "a question", 0);
    if (!is_none(cells[HINT]))
        fprintf(memory, "%s\n", cells[HINT]);
    fputs(cells[QUESTION], memory);
    for (int i = 0; i < N_PROMPT_OPTIONS && !is_none(cells[OPTION + i]); i++)
        fprintf(memory, "\n%c. %s", 'A' + i, cells[OPTION + i]);
    fputs(is_chinese(data) ? suffix_cn : suffix, memory);
    bool failed = ferror(memory) != 0;
    failed |= fclose(memory) != 0;
    *out = failed ? "" : text_pool_add_bytes(data->pool, text, n);
    free(text);
    return failed ? memory_failed(err, "a question", n) : OK;
}

/* The short names that tables of results use; VLMEvalKit's MMB_abbrs. */
static const char *short_category(const char *name)
{
    static const char *const names[][2] = {{"coarse_perception", "CP"},
                                           {"finegrained_perception (instance-level)", "FP-S"},
                                           {"finegrained_perception (cross-instance)", "FP-C"},
                                           {"logic_reasoning", "LR"},
                                           {"relation_reasoning", "RR"},
                                           {"attribute_reasoning", "AR"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i][0]) == 0)
            return names[i][1];
    return name;
}

static const char *copy(const struct dataset *data, const char *text)
{
    return text ? text_pool_add(data->pool, text) : NULL;
}

static enum status gold_read(struct sample *sample, const struct pass *pass, const struct table_row *row,
                             struct text_pool *pool, struct error *err)
{
    char shown[PRINTABLE_SIZE];
    const char *gold = row->text[ANSWER];
    if (!gold)
        return OK;
    if (gold[0] < 'A' || gold[0] >= 'A' + pass->choices.n || gold[1] != '\0' ||
        !pass->choices.text[gold[0] - 'A'])
        return fail(err, BAD_INPUT,
                    "%s: \"answer\": expected the letter of an option of the row, found \"%s\"", row->place,
                    printable(shown, gold));
    sample->gold = text_pool_add(pool, gold);
    return OK;
}

static enum status pass_read(struct dataset *data, const struct table_row *row, struct error *err)
{
    const char *const *cells = row->text;
    struct sample *sample;
    struct pass *pass = text_pool_zero(data->pool, 1, sizeof *pass);
    TRY(text_pool_check(data->pool, err));
    TRY(dataset_add(&sample, data, err));
    TRY(index_parse(&pass->index, cells[INDEX], "index", row->place, err));
    if (!cells[QUESTION])
        return fail(err, BAD_INPUT, "%s: \"question\": is empty", row->place);
    pass->question = copy(data, cells[QUESTION]);
    pass->split = copy(data, cells[SPLIT]);
    pass->l2_category = cells[L2_CATEGORY] ? copy(data, short_category(cells[L2_CATEGORY])) : NULL;
    pass->category = copy(data, cells[CATEGORY]);
    pass->picture = row->picture;
    for (int i = 0; i < CHOICES_MAX; i++)
        if (cells[OPTION + i]) {
            pass->choices.text[i] = copy(data, cells[OPTION + i]);
            pass->choices.n = i + 1;
        }
    sample->extra = pass;
    sample->question_id = text_pool_format(data->pool, "%d", pass->index);
    sample->numeric_id = true;
    sample->group = sample->cluster = text_pool_format(data->pool, "%d", pass->index % ROTATION);
    sample->category = pass->l2_category ? pass->l2_category : pass->category ? pass->category : "";
    sample->detail = pass->category ? pass->category : "";
    TRY(gold_read(sample, pass, row, data->pool, err));
    data->has_gold |= sample->gold != NULL;
    if (((struct mmbench *)data->own)->has_picture && row->picture.n_bytes == 0)
        return fail(err, BAD_INPUT, "%s: \"image\": is empty", row->place);
    return text_build(&sample->text, data, cells, err);
}

static enum status table_read(struct dataset *data, const char *path, struct sha256 *sha, struct error *err)
{
    static const char letters[] =
        "A\0B\0C\0D\0E\0F\0G\0H\0I\0J\0K\0L\0M\0N\0O\0P\0Q\0R\0S\0T\0U\0V\0W\0X\0Y\0Z";
    struct table_column wanted[N_WANTED] = {
        [INDEX] = {"index", true},        [QUESTION] = {"question", true},
        [HINT] = {"hint", false},         [ANSWER] = {"answer", false},
        [CATEGORY] = {"category", false}, [L2_CATEGORY] = {"l2-category", false},
        [SPLIT] = {"split", false}};
    for (int i = 0; i < CHOICES_MAX; i++)
        wanted[OPTION + i] = (struct table_column){letters + 2 * i, i < 2};
    struct mmbench *own = data->own;
    struct table *table;
    const struct table_row *row;
    TRY(table_open(&table, path, wanted, N_WANTED, "image", sha, err));
    *own = (struct mmbench){.has_split = table_has(table, SPLIT),
                            .has_answer = table_has(table, ANSWER),
                            .has_picture = table_has_picture(table),
                            .n_options = N_PROMPT_OPTIONS,
                            .path = path};
    for (int i = N_PROMPT_OPTIONS; i < CHOICES_MAX; i++)
        if (table_has(table, OPTION + i))
            own->n_options = i + 1;
    enum status status;
    while ((status = table_next(&row, table, err)) == OK && row)
        if ((status = pass_read(data, row, err)) != OK)
            break;
    table_close(table);
    if (status == OK && data->n == 0)
        status = fail(err, BAD_INPUT, "%s: holds no question", path);
    return status;
}

/* ---- rotations and pictures ------------------------------------------------------------------------------
 */

/* The row with that index, -1: none. */
static int row_of(const struct dataset *data, const struct id_entry *ids, int index)
{
    char id[16];
    snprintf(id, sizeof id, "%d", index);
    int at = ids_find(ids, data->n, id);
    return at < 0 ? -1 : ids[at].row;
}

/* Where the picture of a row stands: in it, or in the row that its cell names. */
static enum status picture_find(struct dataset *data, const struct id_entry *ids, int row, struct error *err)
{
    const struct mmbench *own = data->own;
    struct sample *sample = &data->samples[row];
    const struct pass *pass = sample->extra, *base = pass_of(data, row_of(data, ids, pass->index % ROTATION));
    char place[PLACE_SIZE];
    snprintf(place, sizeof place, "%.300s: index %d", own->path, pass->index);
    if (pass->picture.reference[0] != '\0') {
        int index;
        TRY(index_parse(&index, pass->picture.reference, "image", place, err));
        int from = row_of(data, ids, index);
        if (from < 0 || pass_of(data, from)->picture.reference[0] != '\0')
            return fail(err, BAD_INPUT, "%s: \"image\": names row %d, which %s", place, index,
                        from < 0 ? "is not there" : "has no picture itself");
        pass = pass_of(data, from);
    } else if (base->picture.reference[0] == '\0' && base->picture.n_bytes == pass->picture.n_bytes) {
        pass = base; /* older tables repeat the picture in every rotation: one text for one picture */
    }
    sample->media = MEDIA_TABLE;
    sample->table = own->path;
    sample->at = pass->picture.at;
    sample->n_base64 = pass->picture.n_bytes;
    sample->image_name = text_pool_format(data->pool, "#%d", pass->index);
    sample->image = text_pool_format(data->pool, "%s#%d", own->path, pass->index);
    return OK;
}

static enum status join(struct dataset *data, struct error *err)
{
    const struct mmbench *own = data->own;
    struct id_entry *ids;
    enum status status = OK;
    TRY(ids_of_samples(&ids, data, true, own->path, err));
    for (int i = 0; i < data->n; i++) {
        int index = pass_of(data, i)->index, base = row_of(data, ids, index % ROTATION);
        if (base < 0)
            TRY_GOTO(status, fail(err, BAD_INPUT,
                                  "%s: row %d is a rotation of question %d, which is not in the table; cut "
                                  "tables at whole questions",
                                  own->path, index, index % ROTATION));
        own_pass(data, base)->n_passes++;
        if (own->has_picture)
            TRY_GOTO(status, picture_find(data, ids, i, err));
    }
    for (int i = 0; i < data->n; i++) /* a base row's own count is whole by now, and stays */
        own_pass(data, i)->n_passes =
            pass_of(data, row_of(data, ids, pass_of(data, i)->index % ROTATION))->n_passes;
exit:
    free(ids);
    return status;
}

static enum status mmbench_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    static const char *const english[] = {"mmbench_dev_20230712.tsv",    "MMBench_DEV_EN_legacy.tsv",
                                          "mmbench_dev_en_20231003.tsv", "MMBench_DEV_EN.tsv",
                                          "MMBench_DEV_EN_V11.tsv",      NULL},
                             *const chinese[] = {"mmbench_dev_cn_20231003.tsv", "MMBench_DEV_CN_legacy.tsv",
                                                 "MMBench_DEV_CN.tsv", "MMBench_DEV_CN_V11.tsv", NULL};
    const char *const *names = is_chinese(out) ? chinese : english;
    struct sha256 sha;
    sha256_init(&sha);
    out->own = text_pool_zero(out->pool, 1, sizeof(struct mmbench));
    TRY(text_pool_check(out->pool, err));
    if (paths->questions && paths->annotations && strcmp(paths->questions, paths->annotations) != 0)
        return fail(err, BAD_INPUT,
                    "%s: one table holds questions and golds: give it as --questions or as --annotations",
                    out->name);
    const char *path =
        file_locate(out, paths->questions ? paths->questions : paths->annotations, paths->root, names);
    if (!path)
        return file_missing(out, paths, names[0], "--annotations", err);
    path = text_pool_add(out->pool, path);
    TRY(table_read(out, path, &sha, err));
    TRY(join(out, err));
    sha256_final(&sha, out->files_sha256);
    return OK;
}

/* ---- scoring ---------------------------------------------------------------------------------------------
 */

static char letter_of(const struct dataset *data, int row, const char *answer, enum protocol protocol)
{
    const struct choices *choices = &pass_of(data, row)->choices;
    return protocol == PROTOCOL_LMMS ? choice_lmms(answer, choices) : choice_vlmeval(answer, choices);
}

static double mmbench_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                                   const char *answer, const char *verdict, enum protocol protocol)
{
    (void)verdict;
    char letter = letter_of(dataset, row, answer, protocol);
    const char *gold = dataset->samples[row].gold;
    choice_parsed(parsed, size, letter, answer);
    return gold ? letter == gold[0] : (double)NAN;
}

/* Sums: questions of which all passes are right, questions of which all passes have an answer. */
static void mmbench_tally(double *sums, const struct dataset *dataset, const int *rows, const double *scores,
                          int n)
{
    bool hit = true;
    if (n < pass_of(dataset, rows[0])->n_passes)
        return;
    for (int i = 0; i < n; i++)
        hit &= scores[i] > 0.5;
    sums[0] += hit;
    sums[1] += 1;
}

/* What the passes of a question came to; kept at its base row. */
struct question {
    int n_answered, n_right;
};

static void score_questions(json_t *figures, json_t *warnings, const struct dataset *data,
                            const struct question *questions)
{
    struct mean circular = {0};
    struct split by_l2 = split_new(), by_category = split_new();
    int n_partial = 0, n_single = 0, n_l2 = 0, n_category = 0;
    for (int i = 0; i < data->n; i++) {
        const struct pass *pass = pass_of(data, i);
        if (pass->index >= ROTATION || questions[i].n_answered == 0)
            continue;
        if (questions[i].n_answered < pass->n_passes) {
            n_partial++;
            continue;
        }
        bool hit = questions[i].n_right == pass->n_passes;
        mean_add(&circular, hit);
        n_single += pass->n_passes == 1;
        if (pass->l2_category)
            split_add(&by_l2, pass->l2_category, hit), n_l2++;
        if (pass->category)
            split_add(&by_category, pass->category, hit), n_category++;
    }
    json_object_set_new(figures, "circular", per_cent(&circular));
    json_object_set_new(figures, "headline", per_cent(&circular));
    json_object_set_new(figures, "circular_hits", json_integer((json_int_t)circular.sum));
    json_object_set_new(figures, "groups", json_integer(circular.n));
    if (n_l2 > 0)
        split_finish(figures, "l2_category", &by_l2);
    if (n_category > 0)
        split_finish(figures, "category", &by_category);
    split_free(&by_l2);
    split_free(&by_category);
    if (n_partial > 0)
        warn(warnings,
             "%d questions have an answer to some of their passes only; they are left out of the circular "
             "figures, where the official scorer would judge them by what is there",
             n_partial);
    if (n_single > 0)
        warn(warnings,
             "%d questions have one pass in the table, so that circular says no more of them than plain "
             "accuracy",
             n_single);
}

static enum status mmbench_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                                 const struct answers *answers, enum protocol protocol, struct error *err)
{
    struct mean all = {0}, first = {0};
    struct id_entry *ids = NULL;
    int n_unmatched = 0;
    enum status status = OK;
    struct question *questions = memory_zero((size_t)dataset->n, sizeof *questions);
    if (!questions)
        return memory_failed(err, "questions", (size_t)dataset->n * sizeof *questions);
    TRY_GOTO(status, ids_of_samples(&ids, dataset, false, dataset->name, err));
    for (int i = 0; i < dataset->n; i++) {
        const struct sample *sample = &dataset->samples[i];
        if (!answers->text[i] || !sample->gold)
            continue;
        char letter = letter_of(dataset, i, answers->text[i], protocol);
        int index = pass_of(dataset, i)->index;
        struct question *question = &questions[row_of(dataset, ids, index % ROTATION)];
        bool right = letter == sample->gold[0];
        question->n_answered++;
        question->n_right += right;
        n_unmatched += letter == NO_CHOICE;
        mean_add(&all, right);
        if (index < ROTATION)
            mean_add(&first, right);
    }
    score_questions(figures, warnings, dataset, questions);
    json_object_set_new(figures, "all_passes", per_cent(&all));
    json_object_set_new(figures, "first_pass", per_cent(&first));
    json_object_set_new(figures, "n", json_integer(all.n));
    if (n_unmatched > 0)
        warn(warnings,
             "%d answers name no option by the rule and count as wrong (exact matching); the official server "
             "would ask a language model what they mean",
             n_unmatched);
exit:
    free(ids);
    free(questions);
    return status;
}

/* ---- the server's table ----------------------------------------------------------------------------------
 */

/* Excel's limit is counted in UTF-16 units; what is longer is cut, as openpyxl does. */
static lxw_error write_text(lxw_worksheet *sheet, lxw_row_t row, lxw_col_t column, const char *text)
{
    enum { CELL_MAX = 32767 };
    size_t n = 0;
    int units = 0;
    if (!text)
        return LXW_NO_ERROR;
    for (; text[n] && units < CELL_MAX; n++)
        units += ((unsigned char)text[n] & 0xc0) != 0x80;
    if (!text[n])
        return worksheet_write_string(sheet, row, column, text, NULL);
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    char *cut = strndup(text, n);
    lxw_error error =
        cut ? worksheet_write_string(sheet, row, column, cut, NULL) : LXW_ERROR_MEMORY_MALLOC_FAILED;
    free(cut);
    return error;
}

/* Columns as LLaVA's converter leaves them. */
static lxw_error write_sheet(lxw_worksheet *sheet, const struct dataset *data, const struct answers *answers)
{
    const struct mmbench *own = data->own;
    lxw_error error = LXW_NO_ERROR;
    for (int r = -1; r < data->n && error == LXW_NO_ERROR; r++) { /* -1: the header */
        lxw_row_t row = (lxw_row_t)(r + 1);
        lxw_col_t column = 0;
        const struct pass *pass = r < 0 ? NULL : pass_of(data, r);
        error = pass ? worksheet_write_number(sheet, row, column++, pass->index, NULL)
                     : write_text(sheet, row, column++, "index");
        if (error == LXW_NO_ERROR)
            error = write_text(sheet, row, column++, pass ? pass->question : "question");
        for (int i = 0; i < own->n_options && error == LXW_NO_ERROR; i++)
            error = write_text(sheet, row, column++,
                               pass ? pass->choices.text[i] : (const char[]){(char)('A' + i), '\0'});
        if (error == LXW_NO_ERROR)
            error = write_text(sheet, row, column++, pass ? answers->text[r] : "prediction");
        if (error == LXW_NO_ERROR && own->has_answer)
            error = write_text(sheet, row, column++, pass ? data->samples[r].gold : "answer");
        if (error == LXW_NO_ERROR && own->has_split)
            error = write_text(sheet, row, column++, pass ? pass->split : "split");
    }
    return error;
}

static enum status mmbench_submit(const char *path, const struct dataset *dataset,
                                  const struct answers *answers, struct error *err)
{
    enum status status = OK;
    char temporary[4096];
    int n = snprintf(temporary, sizeof temporary, "%s.tmp-%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary)
        return fail(err, BAD_INPUT, "%.200s…: the path is too long", path);
    unlink(temporary); /* a leftover, or somebody's link: never follow it */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(err, NO_MACHINE, "%s: cannot be written: %s", path, strerror(errno));
    close(fd);
    lxw_workbook *book = workbook_new(temporary);
    lxw_worksheet *sheet = book ? workbook_add_worksheet(book, NULL) : NULL;
    lxw_error error = sheet ? write_sheet(sheet, dataset, answers) : LXW_ERROR_MEMORY_MALLOC_FAILED;
    lxw_error closed = book ? workbook_close(book) : LXW_NO_ERROR;
    error = error == LXW_NO_ERROR ? closed : error;
    if (error != LXW_NO_ERROR)
        status = fail(err, NO_MACHINE, "%s: cannot be written: %s", path, lxw_strerror(error));
    else if (rename(temporary, path) != 0)
        status = fail(err, NO_MACHINE, "%s: cannot be written: %s", path, strerror(errno));
    if (status != OK)
        unlink(temporary);
    return status;
}

/* All that both languages share. */
#define MMBENCH                                                                                              \
    .metric = "circular accuracy", .unit = "%", .scale = 100, .max_new_tokens = 1024,                        \
    .cluster = "question with its rotations",                                                                \
    .licence = "Apache-2.0 (questions); pictures from public data sets and the web under their own terms",   \
    .read = mmbench_read, .score_sample = mmbench_score_sample, .submit = mmbench_submit,                    \
    .submission = "xlsx for the server of https://mmbench.opencompass.org.cn (index, question, A to D, "     \
                  "prediction, answer, split)",                                                              \
    .n_sums = MEAN_SUMS, .tally = mmbench_tally, .headline = mean_headline, .score = mmbench_score,          \
    .protocols = 1u << PROTOCOL_OFFICIAL | 1u << PROTOCOL_LMMS | 1u << PROTOCOL_VLMEVAL

extern const struct benchmark benchmark_mmbench, benchmark_mmbench_cn;
const struct benchmark benchmark_mmbench = {
    .name = "mmbench",
    .title = "MMBench",
    .folders = {"mmbench"},
    .published = "https://download.openmmlab.com/mmclassification/datasets/mmbench/mmbench_dev_20230712.tsv",
    MMBENCH,
};
const struct benchmark benchmark_mmbench_cn = {
    .name = "mmbench-cn",
    .title = "MMBench-CN",
    .folders = {"mmbench_cn", "mmbench"}, /* LLaVA's script reads the one, its docs name the other */
    .published =
        "https://download.openmmlab.com/mmclassification/datasets/mmbench/mmbench_dev_cn_20231003.tsv",
    MMBENCH,
};
