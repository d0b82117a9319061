/* SEED-Bench (first edition): four-option questions about pictures and, by one middle frame each, clips.
 * Headline: accuracy on all; the figure on pictures, which papers quote more often, beside it.
 *
 *   seed_bench/llava-seed-bench.jsonl    LLaVA's question file: numbers for pictures' ids, "v…" for clips'
 *   seed_bench/SEED-Bench.json           {"questions": [{question_id, answer, data_type, question_type_id,
 *                                        question, choice_a … choice_d, data_id}, …], "question_type": {name:
 * id}} seed_bench/SEED-Bench-image/         pictures, without an extension seed_bench/SEED-Bench-video-image/
 * the clips' frames, ID.png
 *
 * Either file serves as `questions`; without one the questions are SEED-Bench.json's, and where that holds
 * golds only (as a file put together from published results does), it can be scored against but not asked.
 * One id, 49914, occurs twice: rows of one id are paired in their order.
 *
 * Sources: LLaVA scripts/convert_seed_for_submission.py (which counts an absent answer as wrong; here it is
 * left out, and said so), scripts/v1_5/eval/seed.sh; lmms-eval tasks/seedbench; VLMEvalKit. */
#include "datasets/benchmark.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/choice.h"
#include "datasets/rows.h"

enum { N_CHOICES = 4, TYPE_MAX = 1000 };

static const char suffix[] = "\nAnswer with the option's letter from the given choices directly.";

/* A question of SEED-Bench.json. Texts are the dataset's. */
struct question {
    const char *id, *answer, *type, *text, *data_id; /* text, data_id: NULL where the file has golds only */
    bool is_video;
    struct choices choices; /* empty texts where the file has none */
};

struct seed {
    struct question *questions;
    int n;
    struct id_entry *ids; /* of the questions, sorted; owned */
    int n_unknown;        /* rows of the question file that SEED-Bench.json lacks */
};

static const struct question *question_of(const struct dataset *data, int row)
{
    return data->samples[row].extra;
}

static bool is_video(const struct sample *sample)
{
    const struct question *question = sample->extra;
    return question ? question->is_video : sample->question_id[0] == 'v';
}

/* ---- SEED-Bench.json -------------------------------------------------------------------------------------
 */

/* The name of a type, "type N" where the file does not name it. */
static const char *type_name(const json_t *types, int64_t id, struct text_pool *pool)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)types, name,
                        value) if (json_is_integer(value) && json_integer_value(value) == id)
    {
        return text_pool_add(pool, name);
    }
    return text_pool_format(pool, "type %lld", (long long)id);
}

static enum status choices_read(struct question *out, struct text_pool *pool, const json_t *row,
                                const char *place, struct error *err)
{
    static const char *const keys[N_CHOICES] = {"choice_a", "choice_b", "choice_c", "choice_d"};
    const char *text, *choice[N_CHOICES];
    TRY(json_str(&text, row, "question", NULL, place, err));
    for (int i = 0; i < N_CHOICES; i++)
        TRY(json_str(&choice[i], row, keys[i], NULL, place, err));
    out->choices.n = N_CHOICES;
    for (int i = 0; i < N_CHOICES; i++) {
        if (text && !choice[i])
            return fail(err, BAD_INPUT, "%s: \"%s\": expected a text, found nothing", place, keys[i]);
        out->choices.text[i] = choice[i] ? text_pool_add(pool, choice[i]) : "";
    }
    if (text)
        out->text = text_pool_format(pool, "%s\nA. %s\nB. %s\nC. %s\nD. %s%s", text, choice[0], choice[1],
                                     choice[2], choice[3], suffix);
    return OK;
}

static enum status question_read(struct question *out, struct text_pool *pool, const json_t *row,
                                 const json_t *types, const char *place, struct error *err)
{
    const char *kind, *data_id;
    char shown[PRINTABLE_SIZE];
    int64_t type;
    if (!json_is_object(row))
        return fail(err, BAD_INPUT, "%s: expected an object", place);
    TRY(row_id(&out->id, NULL, pool, row, "question_id", place, err));
    TRY(row_text(&out->answer, pool, row, "answer", place, err));
    if (out->answer[0] < 'A' || out->answer[0] >= 'A' + N_CHOICES || out->answer[1] != '\0')
        return fail(err, BAD_INPUT, "%s: \"answer\": expected A, B, C or D, found \"%s\"", place,
                    printable(shown, out->answer));
    TRY(json_str(&kind, row, "data_type", "", place, err));
    if (strcmp(kind, "image") != 0 && strcmp(kind, "video") != 0)
        return fail(err, BAD_INPUT, "%s: \"data_type\": expected image or video, found \"%s\"", place,
                    printable(shown, kind));
    out->is_video = kind[0] == 'v';
    TRY(json_int(&type, row, "question_type_id", 0, 0, TYPE_MAX, place, err));
    out->type = type_name(types, type, pool);
    TRY(json_str(&data_id, row, "data_id", NULL, place, err));
    out->data_id = data_id ? text_pool_add(pool, data_id) : NULL;
    return choices_read(out, pool, row, place, err);
}

static enum status official_rows(struct dataset *data, const json_t *root, const char *path,
                                 struct error *err)
{
    struct seed *own = data->own;
    const json_t *list = json_object_get(root, "questions"), *types = json_object_get(root, "question_type");
    size_t n = json_array_size(list);
    if (n == 0)
        return fail(err, BAD_INPUT, "%s: \"questions\": expected a list of questions, as SEED-Bench.json has",
                    path);
    own->questions = text_pool_zero(data->pool, n, sizeof *own->questions);
    own->ids = memory_alloc(n, sizeof *own->ids);
    if (!own->questions || !own->ids)
        return memory_failed(err, "questions", n * sizeof *own->questions);
    for (size_t i = 0; i < n; i++) {
        char place[PLACE_SIZE];
        snprintf(place, sizeof place, "%.300s: question %zu (counted from 0)", path, i);
        TRY(question_read(&own->questions[i], data->pool, json_array_get(list, i), types, place, err));
        own->ids[i] = (struct id_entry){own->questions[i].id, (int)i};
    }
    own->n = (int)n;
    ids_sort(own->ids, own->n);
    return text_pool_check(data->pool, err);
}

static enum status official_read(struct dataset *data, const char *path, struct sha256 *sha,
                                 struct error *err)
{
    json_t *root;
    TRY(document_read(&root, path, sha, err));
    enum status status = official_rows(data, root, path, err);
    json_decref(root);
    return status;
}

/* Whether a file is SEED-Bench.json rather than JSON lines. */
static enum status is_official(bool *out, const char *path, struct error *err)
{
    char *head;
    size_t n;
    TRY(file_read(&head, &n, path, LIMIT_JSON_BYTES, err));
    head[n < 4000 ? n : 4000] = '\0';
    *out = strstr(head, "\"questions\"") || strstr(head, "\"question_type\"");
    free(head);
    return OK;
}

/* ---- samples ---------------------------------------------------------------------------------------------
 */

static void sample_join(struct sample *sample, struct question *question)
{
    sample->extra = question;
    sample->gold = question->answer;
    sample->category = question->type;
}

static enum status samples_from_official(struct dataset *data, const char *images, const char *path,
                                         struct error *err)
{
    const struct seed *own = data->own;
    for (int i = 0; i < own->n; i++) {
        struct question *question = &own->questions[i];
        struct sample *sample;
        char place[PLACE_SIZE];
        TRY(dataset_add(&sample, data, err));
        sample->question_id = sample->group = sample->cluster = question->id;
        sample->numeric_id = strspn(question->id, "0123456789") == strlen(question->id) &&
                             strlen(question->id) < 18 && question->id[0] != '\0';
        sample->text = question->text ? question->text : "";
        sample_join(sample, question);
        snprintf(place, sizeof place, "%.300s: question %d (counted from 0)", path, i);
        if (question->data_id) {
            const char *name =
                question->is_video
                    ? text_pool_format(data->pool, "SEED-Bench-video-image/%s.png", question->id)
                    : text_pool_format(data->pool, "SEED-Bench-image/%s", question->data_id);
            TRY(sample_image(sample, data->pool, images, name, place, err));
        }
    }
    data->has_gold = own->n > 0;
    return OK;
}

/* The k-th row of an id gets the k-th gold of that id. */
static enum status samples_join(struct dataset *data, const char *path, struct error *err)
{
    struct seed *own = data->own;
    struct id_entry *ids;
    TRY(ids_of_samples(&ids, data, false, path, err));
    for (int first = 0, end; first < data->n; first = end) {
        int at = ids_find(own->ids, own->n, ids[first].id);
        for (end = first; end < data->n && strcmp(ids[end].id, ids[first].id) == 0; end++) {
            int k = at + end - first;
            if (at < 0 || k >= own->n || strcmp(own->ids[k].id, ids[first].id) != 0) {
                own->n_unknown++;
                continue;
            }
            sample_join(&data->samples[ids[end].row], &own->questions[own->ids[k].row]);
            data->has_gold = true;
        }
    }
    free(ids);
    return data->has_gold ? OK
                          : fail(err, BAD_INPUT,
                                 "%s: SEED-Bench.json knows none of the questions; are the files of one "
                                 "data set?",
                                 path);
}

/* The folder that pictures are named in: SEED-Bench-image/… */
static const char *images_find(struct dataset *data, const struct benchmark_paths *paths)
{
    const char *inner =
        file_locate(data, paths->images, paths->root,
                    (const char *const[]){"SEED-Bench-image", "SEED-Bench-video-image", NULL});
    if (paths->images || !inner)
        return inner;
    return text_pool_add_bytes(data->pool, inner, (size_t)(strrchr(inner, '/') - inner));
}

static enum status seed_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    struct sha256 sha;
    bool official = false;
    sha256_init(&sha);
    out->own = text_pool_zero(out->pool, 1, sizeof(struct seed));
    TRY(text_pool_check(out->pool, err));
    const char *annotations =
        file_locate(out, paths->annotations, paths->root, (const char *const[]){"SEED-Bench.json", NULL});
    const char *questions = file_locate(out, paths->questions, paths->root,
                                        (const char *const[]){"llava-seed-bench.jsonl", NULL});
    const char *images = images_find(out, paths);
    if (!questions)
        questions = annotations;
    if (!questions)
        return file_missing(out, paths, "llava-seed-bench.jsonl", "--questions", err);
    TRY(is_official(&official, questions, err));
    if (official) {
        if (annotations && paths->annotations && strcmp(questions, annotations) != 0)
            return fail(err, BAD_INPUT, "%s: holds questions and golds: leave out --annotations", questions);
        TRY(official_read(out, questions, &sha, err));
        TRY(samples_from_official(out, images, questions, err));
    } else {
        TRY(questions_read(out, questions, images, &sha, err));
        if (annotations) {
            TRY(official_read(out, annotations, &sha, err));
            TRY(samples_join(out, questions, err));
        }
    }
    for (int i = 0; i < out->n; i++)
        out->samples[i].detail = is_video(&out->samples[i]) ? "video" : "image";
    sha256_final(&sha, out->files_sha256);
    return OK;
}

static void seed_close(struct dataset *dataset)
{
    struct seed *own = dataset->own;
    if (own)
        free(own->ids);
}

/* ---- scoring ---------------------------------------------------------------------------------------------
 */

static char letter_of(const struct dataset *data, int row, const char *answer, enum protocol protocol)
{
    const struct question *question = question_of(data, row);
    if (protocol == PROTOCOL_LMMS)
        return choice_seed_lmms(answer);
    if (protocol == PROTOCOL_VLMEVAL)
        return question ? choice_vlmeval(answer, &question->choices) : NO_CHOICE;
    return choice_seed(answer);
}

static double seed_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                                const char *answer, const char *verdict, enum protocol protocol)
{
    (void)verdict;
    char letter = letter_of(dataset, row, answer, protocol);
    const char *gold = dataset->samples[row].gold;
    choice_parsed(parsed, size, letter, answer);
    return gold ? letter == gold[0] : (double)NAN;
}

static enum status seed_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                              const struct answers *answers, enum protocol protocol, struct error *err)
{
    const struct seed *own = dataset->own;
    struct mean all = {0}, kind[2] = {{0}};
    struct split by_type = split_new();
    int n_unmatched = 0;
    (void)err;
    for (int i = 0; i < dataset->n; i++) {
        const struct sample *sample = &dataset->samples[i];
        if (!answers->text[i] || !sample->gold)
            continue;
        char letter = letter_of(dataset, i, answers->text[i], protocol);
        bool right = letter == sample->gold[0];
        n_unmatched += letter == NO_CHOICE;
        mean_add(&all, right);
        mean_add(&kind[is_video(sample)], right);
        split_add(&by_type, sample->category, right);
    }
    json_object_set_new(figures, "total", per_cent(&all));
    json_object_set_new(figures, "image", per_cent(&kind[0]));
    json_object_set_new(figures, "video", per_cent(&kind[1]));
    split_finish(figures, "type", &by_type);
    json_object_set_new(figures, "headline", per_cent(&all));
    json_object_set_new(figures, "n", json_integer(all.n));
    json_object_set_new(figures, "n_unknown", json_integer(own->n_unknown));
    if (n_unmatched > 0)
        warn(warnings, "%d answers are no option's letter and count as wrong", n_unmatched);
    if (own->n_unknown > 0)
        warn(
            warnings,
            "%d questions are not in SEED-Bench.json and are left out: LLaVA's question file has 19242 rows, "
            "the later release of SEED-Bench 17990",
            own->n_unknown);
    if (answers->n_missing > 0)
        warn(warnings, "LLaVA's script would count the %d absent answers as wrong", answers->n_missing);
    return OK;
}

/* Ids are texts in SEED-Bench.json, and so they are here. */
static enum status seed_submit(const char *path, const struct dataset *dataset, const struct answers *answers,
                               struct error *err)
{
    char *text = NULL;
    size_t n = 0;
    FILE *memory = open_memstream(&text, &n);
    if (!memory)
        return memory_failed(err, "a submission", 0);
    bool failed = false;
    for (int i = 0; i < dataset->n; i++) {
        if (!answers->text[i])
            continue;
        json_t *line = json_pack("{s: s, s: s}", "question_id", dataset->samples[i].question_id, "prediction",
                                 answers->text[i]);
        failed |= !line || json_dumpf(line, memory, 0) != 0 || fputc('\n', memory) == EOF;
        json_decref(line);
    }
    failed |= fclose(memory) != 0;
    enum status status =
        failed ? fail(err, NO_MACHINE, "%s: no memory for its lines", path) : file_write(path, text, n, err);
    free(text);
    return status;
}

extern const struct benchmark benchmark_seed;
const struct benchmark benchmark_seed = {
    .name = "seed",
    .title = "SEED-Bench",
    .folders = {"seed_bench", "seed"},
    .metric = "accuracy",
    .unit = "%",
    .scale = 100,
    .max_new_tokens = 128,
    .cluster = "image",
    .licence = "CC BY-NC 4.0 (questions); Conceptual Captions' pictures under their owners' terms",
    .published = "https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md (eval.zip), "
                 "https://huggingface.co/datasets/AILab-CVC/SEED-Bench (SEED-Bench.json, images)",
    .read = seed_read,
    .close = seed_close,
    .score_sample = seed_score_sample,
    .submit = seed_submit,
    .submission =
        "JSON lines {question_id, prediction}, as LLaVA's convert_seed_for_submission.py writes them",
    .n_sums = MEAN_SUMS,
    .tally = mean_tally,
    .headline = mean_headline,
    .score = seed_score,
    .protocols = 1u << PROTOCOL_OFFICIAL | 1u << PROTOCOL_LMMS | 1u << PROTOCOL_VLMEVAL,
};
