/* Questions about clips: the files of MSVD-QA, MSRVTT-QA, TGIF-QA and ActivityNet-QA as Video-LLaVA's
 * evaluation lays them out, and the twins.
 *
 *   eval/GPT_Zero_Shot_QA/NAME_Zero_Shot_QA/
 *     test_q.json    [{"video_name", "question_id", "question"}]
 *     test_a.json    [{"answer", "type", "question_id"}], in the same order
 *     videos/, mp4/ or all_test/    clips, NAME.mp4, .avi, .mov, .mkv (ActivityNet: v_NAME…)
 *
 * Instead of test_q.json: JSON lines with the same members ("id" and "answer" too, as in merge.jsonl), or a
 * table of TGIF-QA (FrameQA: gif_name, question, answer, type, vid_id, key, description) or of its test CSV
 * (video_id, answer, question, video_name, question_type), whose questions are known by vid_id or video_id:
 * the other numbers are the clip's. Golds are joined by id, where the official script pairs them by position.
 * A question without its clip is left out officially; here it stays, and fails when it is asked.
 *
 * Source: Video-LLaVA videollava/eval/video/run_inference_video_qa.py (…_act.py).
 */
#include "datasets/video_qa.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/rows.h"
#include "datasets/table_rows.h"

/* ---- clips ----------------------------------------------------------------------------------------------
 */

/* The path of a clip: the first that exists, else the first that is tried. */
static const char *clip_locate(const struct dataset *data, const char *folder, const char *name, bool *found)
{
    static const char *const extensions[] = {".mp4", ".avi", ".mov", ".mkv", ".gif"};
    static const char *const prefixes[] = {"v_", ""};
    bool prefixed = strcmp(data->benchmark->name, "activitynet") == 0;
    const char *first = NULL;
    for (int p = prefixed ? 0 : 1; p < 2; p++)
        for (size_t e = 0; e < sizeof extensions / sizeof *extensions; e++) {
            const char *path = text_pool_format(data->pool, "%s%s%s%s%s", folder ? folder : "",
                                                folder ? "/" : "", prefixes[p], name, extensions[e]);
            first = first ? first : path;
            *found = folder && file_exists(path);
            if (*found || !folder)
                return *found ? path : first;
        }
    return first;
}

static enum status clip_set(struct dataset *data, struct sample *sample, const char *folder, const char *name,
                            const char *place, struct error *err)
{
    struct video_qa *own = data->own;
    const struct sample *before = sample->row > 0 ? sample - 1 : NULL;
    TRY(sample_image(sample, data->pool, NULL, name, place, err)); /* refuses names that lead elsewhere */
    sample->media = MEDIA_VIDEO;
    /* Questions about one clip stand together: it is looked for once. */
    if (before && before->image_name && strcmp(before->image_name, name) == 0) {
        sample->image = before->image;
        return OK;
    }
    bool found = false;
    sample->image = clip_locate(data, folder, name, &found);
    own->n_no_clip += folder && !found;
    return OK;
}

/* ---- questions ------------------------------------------------------------------------------------------
 */

static const char *first_key(const json_t *row, const char *const *keys)
{
    for (int i = 0; keys[i]; i++)
        if (json_object_get(row, keys[i]))
            return keys[i];
    return keys[0];
}

static enum status extra_set(struct video_question **out, struct dataset *data, struct sample *sample,
                             struct error *err)
{
    *out = sample->extra = text_pool_zero(data->pool, 1, sizeof **out);
    TRY(text_pool_check(data->pool, err));
    (*out)->type = -1;
    return OK;
}

/* A type of answer: a number, as text in tables. */
static enum status type_read(struct video_question *extra, struct sample *sample, struct dataset *data,
                             const json_t *row, const char *place, struct error *err)
{
    static const char *const keys[] = {"type", "question_type", NULL};
    const char *key = first_key(row, keys), *text = json_string_value(json_object_get(row, key));
    int64_t type;
    if (text && ascii_is_digit(text[0]) && text[1] == '\0')
        type = text[0] - '0';
    else if (text) /* a name */
        type = -1;
    else
        TRY(json_int(&type, row, key, -1, -1, 1000, place, err));
    extra->type = (int)type;
    if (text && type < 0)
        sample->category = text_pool_add(data->pool, text);
    else if (type >= 0)
        sample->category = text_pool_format(data->pool, "%d", (int)type);
    return OK;
}

static enum status gold_read(struct sample *sample, struct dataset *data, const json_t *row,
                             const char *place, struct error *err)
{
    TRY(row_id(&sample->gold, NULL, data->pool, row, "answer", place, err)); /* a number is a text too */
    return type_read(sample->extra, sample, data, row, place, err);
}

static enum status question_read(struct dataset *data, const json_t *row, bool is_table, const char *folder,
                                 const char *place, struct error *err)
{
    static const char *const id_keys[] = {"question_id", "id", NULL};
    static const char *const table_id_keys[] = {"vid_id", "video_id", "question_id", "id", NULL};
    static const char *const clip_keys[] = {"video_name", "gif_name", "video", NULL};
    struct sample *sample;
    struct video_question *extra;
    const char *clip;
    TRY(dataset_add(&sample, data, err));
    TRY(extra_set(&extra, data, sample, err));
    TRY(row_id(&sample->question_id, &sample->numeric_id, data->pool, row,
               first_key(row, is_table ? table_id_keys : id_keys), place, err));
    TRY(row_text(&sample->text, data->pool, row, "question", place, err));
    sample->group = sample->cluster = sample->question_id;
    sample->media = MEDIA_VIDEO;
    /* merge.jsonl does not name the clips; it is scored, not asked. */
    if (json_object_get(row, first_key(row, clip_keys))) {
        TRY(row_text(&clip, data->pool, row, first_key(row, clip_keys), place, err));
        TRY(clip_set(data, sample, folder, clip, place, err));
    }
    return json_object_get(row, "answer") ? gold_read(sample, data, row, place, err) : OK;
}

static enum status question_list(struct dataset *data, const json_t *list, bool is_table, const char *folder,
                                 const char *path, struct error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        char place[PLACE_SIZE];
        snprintf(place, sizeof place, "%.*s: entry %zu", PLACE_SIZE - 40, path, i);
        if (!json_is_object(row))
            return fail(err, BAD_INPUT,
                        "%s: expected an object with \"video_name\", \"question_id\" and "
                        "\"question\"",
                        place);
        TRY(question_read(data, row, is_table, folder, place, err));
    }
    return OK;
}

static enum status question_lines(struct dataset *data, const char *folder, const char *path,
                                  struct error *err)
{
    struct rows rows;
    json_t *row;
    TRY(rows_open(&rows, path, NULL, err));
    enum status status;
    while ((status = rows_next(&row, &rows, err)) == OK && row) {
        status = question_read(data, row, false, folder, rows.place, err);
        json_decref(row);
        if (status != OK)
            break;
    }
    rows_close(&rows);
    return status;
}

/* A list, JSON lines or a table, told by the first character. */
static enum status questions(struct dataset *data, const char *folder, const char *path, struct sha256 *sha,
                             struct error *err)
{
    char *bytes;
    size_t n;
    json_t *list = NULL;
    enum status status;
    TRY(file_read(&bytes, &n, path, LIMIT_JSON_BYTES, err));
    sha256_update(sha, bytes, n);
    size_t mark = n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    char first = bytes[mark + strspn(bytes + mark, " \t\r\n")];
    if (first == '[') {
        TRY_GOTO(status, json_parse(&list, bytes + mark, n - mark, path, err));
        TRY_GOTO(status, question_list(data, list, false, folder, path, err));
    } else if (first == '{' || first == '\0') {
        TRY_GOTO(status, question_lines(data, folder, path, err));
    } else {
        TRY_GOTO(status, table_rows(&list, bytes, n, path, err));
        TRY_GOTO(status, question_list(data, list, true, folder, path, err));
    }
    if (data->n == 0)
        TRY_GOTO(status, fail(err, BAD_INPUT,
                              "%s: holds no question; expected a list of objects with \"video_name\", "
                              "\"question_id\" and \"question\"",
                              path));
exit:
    json_decref(list);
    free(bytes);
    return status;
}

/* ---- golds ----------------------------------------------------------------------------------------------
 */

static void type_note(struct video_qa *own, int type)
{
    for (int i = 0; i < own->n_types; i++)
        if (own->types[i] == type)
            return;
    if (type >= 0 && type < N_ANSWER_TYPES)
        own->types[own->n_types++] = type;
}

/* Questions of golds alone: all that an exact scorer needs. The id of ActivityNet-QA names the clip:
 * v_CLIP_NUMBER. */
static enum status samples_of_golds(struct dataset *data, const json_t *golds, const char *path,
                                    struct error *err)
{
    for (size_t i = 0; i < json_array_size(golds); i++) {
        const json_t *row = json_array_get(golds, i);
        struct sample *sample;
        struct video_question *extra;
        char place[PLACE_SIZE];
        snprintf(place, sizeof place, "%.*s: entry %zu", PLACE_SIZE - 40, path, i);
        TRY(dataset_add(&sample, data, err));
        TRY(extra_set(&extra, data, sample, err));
        TRY(row_id(&sample->question_id, &sample->numeric_id, data->pool, row, "question_id", place, err));
        sample->text = "";
        sample->group = sample->cluster = sample->question_id;
        sample->media = MEDIA_VIDEO;
        const char *id = sample->question_id, *end = strrchr(id, '_');
        if (strncmp(id, "v_", 2) == 0 && end > id + 2)
            sample->cluster = text_pool_add_bytes(data->pool, id + 2, (size_t)(end - id - 2));
    }
    return OK;
}

/* Both sorted by id, then place: of several with one id the first is the first's. */
static enum status join(struct dataset *data, const json_t *golds, struct id_entry *of_golds,
                        const struct id_entry *of_samples, const char *path, struct error *err)
{
    struct video_qa *own = data->own;
    int n = (int)json_array_size(golds), s = 0;
    for (int g = 0; g < n; g++) {
        while (s < data->n && strcmp(of_samples[s].id, of_golds[g].id) < 0)
            s++;
        if (s == data->n || strcmp(of_samples[s].id, of_golds[g].id) != 0) {
            own->n_extra_golds++;
            continue;
        }
        struct sample *sample = &data->samples[of_samples[s++].row];
        char place[PLACE_SIZE];
        snprintf(place, sizeof place, "%.*s: entry %d", PLACE_SIZE - 40, path, of_golds[g].row);
        TRY(gold_read(sample, data, json_array_get(golds, (size_t)of_golds[g].row), place, err));
        if (of_golds[g].row != sample->row) {
            own->n_displaced++;
            const json_t *paired = json_array_get(golds, (size_t)sample->row);
            const char *text = json_string_value(json_object_get(paired, "answer"));
            own->n_mispaired += !text || strcmp(text, sample->gold) != 0;
        }
    }
    int n_without = 0;
    const struct sample *without = NULL;
    for (int i = data->n - 1; i >= 0; i--)
        if (!data->samples[i].gold) {
            n_without++;
            without = &data->samples[i];
        }
    char shown[PRINTABLE_SIZE];
    if (n_without > 0)
        return fail(
            err, BAD_INPUT,
            "%s: has no answer to %d of the %d questions, the first being question %s; do the two files "
            "belong together?",
            path, n_without, data->n, printable(shown, without->question_id));
    return OK;
}

static enum status golds_take(struct dataset *data, const json_t *golds, const char *path, struct error *err)
{
    size_t n = json_array_size(golds);
    enum status status = OK;
    struct id_entry *of_samples = NULL, *of_golds = memory_alloc(n, sizeof *of_golds);
    if (!of_golds)
        return memory_failed(err, "golds", n * sizeof *of_golds);
    for (size_t i = 0; i < n; i++) {
        char place[PLACE_SIZE];
        const json_t *row = json_array_get(golds, i);
        snprintf(place, sizeof place, "%.*s: entry %zu", PLACE_SIZE - 40, path, i);
        if (!json_is_object(row))
            TRY_GOTO(status, fail(err, BAD_INPUT,
                                  "%s: expected an object with \"answer\" and \"question_id\"", place));
        TRY_GOTO(status, row_id(&of_golds[i].id, NULL, data->pool, row, "question_id", place, err));
        of_golds[i].row = (int)i;
        const json_t *type = json_object_get(row, "type");
        if (json_is_integer(type) && json_integer_value(type) >= 0 &&
            json_integer_value(type) < N_ANSWER_TYPES)
            type_note(data->own, (int)json_integer_value(type));
    }
    if (data->n == 0)
        TRY_GOTO(status, samples_of_golds(data, golds, path, err));
    ids_sort(of_golds, (int)n);
    TRY_GOTO(status, ids_of_samples(&of_samples, data, false, path, err));
    TRY_GOTO(status, join(data, golds, of_golds, of_samples, path, err));
exit:
    free(of_samples);
    free(of_golds);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------------------
 */

static bool is_folder(const char *path)
{
    struct stat info;
    return path && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Golds are a list; the judge's results an object by id. */
static enum status annotations_read(struct dataset *data, const char *path, struct sha256 *sha,
                                    struct error *err)
{
    json_t *root;
    TRY(document_read(&root, path, sha, err));
    enum status status;
    if (json_is_array(root) && json_array_size(root) > 0)
        status = golds_take(data, root, path, err);
    else if (json_is_object(root) && json_object_size(root) > 0 && data->benchmark->judging)
        status = video_replies_take(data, root, path, err);
    else
        status = fail(err, BAD_INPUT, "%s: expected a list of {\"answer\", \"type\", \"question_id\"}%s",
                      path, data->benchmark->judging ? ", or an object of the judge's replies by id" : "");
    json_decref(root);
    return status;
}

enum status video_qa_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    static const char *const question_names[] = {"test_q.json", "Test_frameqa_question.csv", NULL};
    static const char *const gold_names[] = {"test_a.json", NULL};
    static const char *const clip_folders[] = {"videos", "mp4", "all_test", NULL};
    struct video_qa *own = out->own = text_pool_zero(out->pool, 1, sizeof *own);
    TRY(text_pool_check(out->pool, err));
    bool replies = is_folder(paths->annotations);
    const char *question_path = file_locate(out, paths->questions, paths->root, question_names);
    const char *clips = file_locate(out, paths->images, paths->root, clip_folders);
    const char *gold_path = NULL;
    struct sha256 sha;
    sha256_init(&sha);
    if (question_path)
        TRY(questions(out, clips, question_path, &sha, err));
    else if (!paths->annotations)
        return file_missing(out, paths, question_names[0], "--questions", err);
    /* The golds beside the questions belong to them, not to questions from elsewhere. */
    if (!paths->questions && question_path && !out->samples[0].gold)
        gold_path = file_locate(out, NULL, paths->root, gold_names);
    if (paths->annotations && !replies)
        TRY(annotations_read(out, paths->annotations, &sha, err));
    if (gold_path && !out->samples[0].gold)
        TRY(annotations_read(out, gold_path, &sha, err));
    if (replies && !out->benchmark->judging)
        return fail(err, BAD_INPUT, "%s: is a folder; %s takes its golds as --annotations test_a.json",
                    paths->annotations, out->name);
    if (replies)
        TRY(video_replies_read(out, paths->annotations, &sha, err));
    sha256_final(&sha, out->files_sha256);
    /* With a judge it is its replies that a score is made of; golds are what it is told. */
    bool judged = out->benchmark->judging && !out->is_twin;
    for (int i = 0; i < out->n; i++)
        out->has_gold |= judged ? own->n_replies > 0 : out->samples[i].gold != NULL;
    return OK;
}

void video_qa_warn(json_t *warnings, const struct dataset *dataset)
{
    const struct video_qa *own = dataset->own;
    if (own->n_displaced > 0)
        warn(warnings,
             "%d golds stand in another order than their questions; they were joined by id: the official "
             "script pairs by position, which would give %d questions another gold",
             own->n_displaced, own->n_mispaired);
    if (own->n_extra_golds > 0)
        warn(warnings, "%d golds are to no question of the question file", own->n_extra_golds);
    if (own->n_no_clip > 0)
        warn(warnings,
             "%d clips are not in the folder of clips; the official script leaves their questions out",
             own->n_no_clip);
}

enum status video_qa_submit(const char *path, const struct dataset *dataset, const struct answers *answers,
                            struct error *err)
{
    char *text = NULL;
    size_t n_text = 0;
    FILE *memory = open_memstream(&text, &n_text);
    enum status status = OK;
    if (!memory)
        return fail(err, NO_MACHINE, "%s: no memory for its lines", path);
    for (int i = 0; i < dataset->n && status == OK; i++) {
        const struct sample *sample = &dataset->samples[i];
        if (!answers->text[i])
            continue;
        if (!sample->gold) {
            status =
                fail(err, BAD_INPUT,
                     "%s: the official file holds the golds too, and there are none: give test_a.json as "
                     "--annotations",
                     path);
            break;
        }
        json_t *id = sample->numeric_id ? json_integer(strtoll(sample->question_id, NULL, 10))
                                        : json_string(sample->question_id);
        json_t *line = json_pack("{s:o, s:s, s:s, s:s}", "id", id, "question", sample->text, "answer",
                                 sample->gold, "pred", answers->text[i]);
        if (!line || json_dumpf(line, memory, JSON_ENSURE_ASCII) != 0) /* as Python's json.dumps */
            status = fail(err, NO_MACHINE, "%s: no memory for its lines", path);
        fputc('\n', memory);
        json_decref(line);
    }
    bool failed = ferror(memory) != 0;
    failed |= fclose(memory) != 0;
    if (status == OK)
        status = failed ? fail(err, NO_MACHINE, "%s: no memory for its lines", path)
                        : file_write(path, text, n_text, err);
    free(text);
    return status;
}

/* ---- by words -------------------------------------------------------------------------------------------
 */

void video_qa_normalise(char *out, size_t size, const char *text)
{
    size_t n, n_out = 0;
    text = ascii_strip(&n, text);
    while (n > 0 && (ascii_is_space(text[n - 1]) || text[n - 1] == '.'))
        n--;
    for (size_t i = 0; i < n && n_out + 1 < size; i++)
        out[n_out++] = ascii_lower(text[i]);
    out[n_out] = '\0';
}

double video_exact_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                          const char *answer)
{
    const char *gold = dataset->samples[row].gold;
    size_t n_answer = strlen(answer) + 1, n_gold = gold ? strlen(gold) + 1 : 0;
    video_qa_normalise(parsed, size, answer);
    if (!gold)
        return (double)NAN;
    /* Whole, whatever room the caller has. */
    char *texts = memory_alloc(n_answer + n_gold, 1);
    if (!texts)
        return (double)NAN;
    video_qa_normalise(texts, n_answer, answer);
    video_qa_normalise(texts + n_answer, n_gold, gold);
    double score = strcmp(texts, texts + n_answer) == 0;
    free(texts);
    return score;
}

void video_exact_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                       const struct answers *answers)
{
    struct mean mean = {0};
    for (int i = 0; i < dataset->n; i++) {
        char parsed[8];
        if (!answers->text[i])
            continue;
        double score = video_exact_sample(parsed, sizeof parsed, dataset, i, answers->text[i]);
        if (!isnan(score))
            mean_add(&mean, score);
    }
    json_object_set_new(figures, "accuracy", figure(mean.n ? mean.sum / mean.n : (double)NAN));
    json_object_set_new(figures, "headline", per_cent(&mean));
    json_object_set_new(figures, "n", json_integer(mean.n));
    video_qa_warn(warnings, dataset);
}
