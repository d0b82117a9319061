/* MM-Vet: 218 open questions, each answer graded 0.0 … 1.0 by a language model; headline: their mean × 100.
 *
 *   mm-vet/llava-mm-vet.jsonl     LLaVA's {"question_id": 0 … 217, "image", "text"}, the bare question
 *   mm-vet/mm-vet.json            official {"v1_0": {"imagename", "question", "answer", "capability": [..]}}
 *   mm-vet/images/                pictures
 *   --annotations grades.json     what the official tool stores: {"v1_0": {"model": [..], "content": [..],
 *                                 "score": [..]}}, one entry a run; they belong to one answer file
 *
 * Either question file will do; the judge and the twin need the official one, too, which is looked for beside
 * LLaVA's. Figures are rounded to one decimal as the official tool prints them. Of several runs `total` is
 * the first one's, with their mean and standard deviation beside it. Where the tool would grade "nan" as a
 * number, the reply is unusable here.
 *
 * The twin has short answers and no judge: right is what equals an alternative (<OR>), or holds all parts of
 * one (<AND>) between commas or "and"s.
 *
 * Source: yuweihao/MM-Vet mm-vet_evaluator.py, whose message to the judge stands below byte for byte.
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
#include "datasets/short_answer.h"

enum {
    N_CAPABILITIES = 6,
    N_SETS = 1 << N_CAPABILITIES,
    RUNS_MAX = 100,
    NORMALISED_SIZE = 4096,
    SET_NAME_SIZE = 64
};
static const char *const capabilities[N_CAPABILITIES] = {"rec", "ocr", "know", "gen", "spat", "math"};

/* clang-format off */
static const char instruction[] =
    "Compare the ground truth and prediction from AI models, to give a correctness score for the "
    "prediction. <AND> in the ground truth means it is totally right only when all elements in the "
    "ground truth are present in the prediction, and <OR> means it is totally right when any one "
    "element in the ground truth is present in the prediction. The correctness score is 0.0 (totally "
    "wrong), 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, or 1.0 (totally right). Just complete the "
    "last space of the correctness score.\n"
    "\n"
    "Question | Ground truth | Prediction | Correctness\n"
    "--- | --- | --- | ---\n"
    "What is x in the equation? | -1 <AND> -5 | x = 3 | 0.0\n"
    "What is x in the equation? | -1 <AND> -5 | x = -1 | 0.5\n"
    "What is x in the equation? | -1 <AND> -5 | x = -5 | 0.5\n"
    "What is x in the equation? | -1 <AND> -5 | x = -5 or 5 | 0.5\n"
    "What is x in the equation? | -1 <AND> -5 | x = -1 or x = -5 | 1.0\n"
    "Can you explain this meme? | This meme is poking fun at the fact that the names of the countries "
    "Iceland and Greenland are misleading. Despite its name, Iceland is known for its beautiful green "
    "landscapes, while Greenland is mostly covered in ice and snow. The meme is saying that the person "
    "has trust issues because the names of these countries do not accurately represent their "
    "landscapes. | The meme talks about Iceland and Greenland. It's pointing out that despite their "
    "names, Iceland is not very icy and Greenland isn't very green. | 0.4\n"
    "Can you explain this meme? | This meme is poking fun at the fact that the names of the countries "
    "Iceland and Greenland are misleading. Despite its name, Iceland is known for its beautiful green "
    "landscapes, while Greenland is mostly covered in ice and snow. The meme is saying that the person "
    "has trust issues because the names of these countries do not accurately represent their "
    "landscapes. | The meme is using humor to point out the misleading nature of Iceland's and "
    "Greenland's names. Iceland, despite its name, has lush green landscapes while Greenland is mostly "
    "covered in ice and snow. The text 'This is why I have trust issues' is a playful way to suggest "
    "that these contradictions can lead to distrust or confusion. The humor in this meme is derived "
    "from the unexpected contrast between the names of the countries and their actual physical "
    "characteristics. | 1.0\n";
/* clang-format on */
static const char again[] = "\nPredict the correctness of the answer (digit): ";

struct item {
    unsigned capabilities; /* bits */
    const double *grades;  /* [n_grades], of the runs */
    int n_grades;
};

struct mmvet {
    const char *judge; /* that gave the stored grades; NULL: none are stored */
    int n_runs;        /* that every graded sample has */
    bool uneven;       /* some have more */
};

/* "rec_ocr" */
static const char *set_name(char out[SET_NAME_SIZE], unsigned set)
{
    out[0] = '\0';
    for (int c = 0; c < N_CAPABILITIES; c++)
        if (set >> c & 1)
            snprintf(out + strlen(out), SET_NAME_SIZE - strlen(out), "%s%s", out[0] ? "_" : "",
                     capabilities[c]);
    return out;
}

static const struct item *item_of(const struct dataset *dataset, int row)
{
    return dataset->samples[row].extra;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* LLaVA's lines, not the official document: the first line is an object with an id. */
static enum status is_lines(bool *out, const char *path, struct error *err)
{
    char *bytes;
    size_t n;
    TRY(file_read(&bytes, &n, path, LIMIT_JSON_BYTES, err));
    size_t at = n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    at += strspn(bytes + at, " \t\r\n");
    *out = memmem(bytes + at, strcspn(bytes + at, "\n"), "\"question_id\"", 13) != NULL;
    free(bytes);
    return OK;
}

/* "v1_7" is LLaVA's 7; any other id stays what it is. */
static const char *bare_id(bool *numeric, const char *id)
{
    const char *number = strncmp(id, "v1_", 3) == 0 ? id + 3 : id;
    *numeric = number[0] != '\0' && strlen(number) < 10 && strspn(number, "0123456789") == strlen(number);
    return *numeric ? number : id;
}

static enum status question_add(struct dataset *out, const char *id, const json_t *entry,
                                const char *image_dir, const char *place, struct error *err)
{
    struct sample *sample;
    const char *image;
    TRY(dataset_add(&sample, out, err));
    sample->question_id = text_pool_add(out->pool, bare_id(&sample->numeric_id, id));
    TRY(row_text(&sample->text, out->pool, entry, "question", place, err));
    TRY(json_str(&image, entry, "imagename", NULL, place, err));
    sample->group = sample->cluster = sample->question_id;
    return image ? sample_image(sample, out->pool, image_dir, image, place, err) : OK;
}

static void entry_place(char place[PLACE_SIZE], const char *path, const char *id)
{
    char shown[PRINTABLE_SIZE];
    snprintf(place, PLACE_SIZE, "%.*s: \"%s\"", PLACE_SIZE - PRINTABLE_SIZE - 8, path, printable(shown, id));
}

static enum status entry_check(const json_t *entry, const char *place, struct error *err)
{
    return json_is_object(entry) ? OK : fail(err, BAD_INPUT, "%s: expected an object", place);
}

static enum status questions_of(struct dataset *out, json_t *official, const char *path,
                                const char *image_dir, struct error *err)
{
    const char *id;
    json_t *entry;
    json_object_foreach(official, id, entry)
    {
        char place[PLACE_SIZE];
        entry_place(place, path, id);
        TRY(entry_check(entry, place, err));
        TRY(question_add(out, id, entry, image_dir, place, err));
    }
    return out->n > 0 ? OK : fail(err, BAD_INPUT, "%s: holds no question", path);
}

static enum status capabilities_read(struct item *item, struct sample *sample, struct text_pool *pool,
                                     const json_t *entry, const char *place, struct error *err)
{
    const json_t *list = json_object_get(entry, "capability");
    char name[SET_NAME_SIZE];
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        int c = 0;
        while (c < N_CAPABILITIES && (!text || strcmp(text, capabilities[c]) != 0))
            c++;
        if (c == N_CAPABILITIES)
            return fail(err, BAD_INPUT, "%s: \"capability\": expected rec, ocr, know, gen, spat or math",
                        place);
        item->capabilities |= 1u << c;
    }
    sample->detail = text_pool_add(pool, set_name(name, item->capabilities));
    return OK;
}

/* The entry of a row, under LLaVA's id or the official one. */
static const json_t *entry_of(const json_t *document, const struct sample *sample)
{
    char key[160];
    snprintf(key, sizeof key, "v1_%.120s", sample->question_id);
    const json_t *entry = json_object_get(document, key);
    return entry ? entry : json_object_get(document, sample->question_id);
}

static enum status items_read(struct dataset *out, const json_t *official, const char *path,
                              struct error *err)
{
    bool all = true;
    for (int i = 0; i < out->n; i++) {
        struct sample *sample = &out->samples[i];
        struct item *item = text_pool_zero(out->pool, 1, sizeof *item);
        TRY(text_pool_check(out->pool, err));
        sample->extra = item;
        const json_t *entry = official ? entry_of(official, sample) : NULL;
        all = all && entry;
        if (!entry)
            continue;
        char place[PLACE_SIZE];
        entry_place(place, path, sample->question_id);
        TRY(entry_check(entry, place, err));
        TRY(row_text(&sample->gold, out->pool, entry, "answer", place, err));
        TRY(capabilities_read(item, sample, out->pool, entry, place, err));
    }
    if (official && !all)
        return fail(err, BAD_INPUT,
                    "%s: does not know all questions of the question file; take both from one "
                    "version",
                    path);
    out->has_gold = out->is_twin && all;
    return OK;
}

static enum status grades_of(struct dataset *out, struct item *item, const json_t *entry, const char *place,
                             struct error *err)
{
    struct mmvet *own = out->own;
    const json_t *list = json_object_get(entry, "score");
    size_t n = json_array_size(list);
    if (n == 0 || n > RUNS_MAX)
        return fail(err, BAD_INPUT, "%s: \"score\": expected a list of 1 to %d grades", place, RUNS_MAX);
    double *grades = text_pool_zero(out->pool, n, sizeof *grades);
    TRY(text_pool_check(out->pool, err));
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        grades[i] = json_is_number(value) ? json_number_value(value) : -1;
        if (!(grades[i] >= 0 && grades[i] <= 1))
            return fail(err, BAD_INPUT, "%s: \"score\": expected grades from 0 to 1", place);
    }
    item->grades = grades;
    item->n_grades = (int)n;
    const char *judge = json_string_value(json_array_get(json_object_get(entry, "model"), 0));
    if (!own->judge)
        own->judge = text_pool_add(out->pool, judge ? judge : "unnamed");
    own->uneven = own->uneven || (own->n_runs > 0 && own->n_runs != (int)n);
    own->n_runs = own->n_runs == 0 || (int)n < own->n_runs ? (int)n : own->n_runs;
    return OK;
}

static enum status grades_read(struct dataset *out, const json_t *grades, const char *path, struct error *err)
{
    for (int i = 0; i < out->n; i++) {
        const json_t *entry = entry_of(grades, &out->samples[i]);
        char place[PLACE_SIZE];
        if (!entry)
            continue;
        entry_place(place, path, out->samples[i].question_id);
        TRY(entry_check(entry, place, err));
        TRY(grades_of(out, out->samples[i].extra, entry, place, err));
        out->has_gold = true;
    }
    return out->has_gold ? OK
                         : fail(err, BAD_INPUT,
                                "%s: grades none of the questions; expected the official "
                                "tool's {\"v1_0\": {\"score\": [..]}}",
                                path);
}

static enum status object_read(json_t **out, const char *path, struct sha256 *sha, struct error *err)
{
    TRY(document_read(out, path, sha, err));
    if (json_is_object(*out))
        return OK;
    json_decref(*out);
    *out = NULL;
    return fail(err, BAD_INPUT, "%s: expected an object {\"v1_0\": {..}, ..}", path);
}

static bool has_member(json_t *document, const char *name)
{
    const json_t *first = json_object_iter_value(json_object_iter(document));
    return json_object_get(first, name) != NULL;
}

/* The official document where LLaVA's lines are the question file: beside them or under root. */
static const char *official_locate(const struct dataset *dataset, const struct benchmark_paths *paths,
                                   const char *questions, const char *const *names)
{
    const char *slash = strrchr(questions, '/');
    const char *beside = text_pool_format(dataset->pool, "%.*smm-vet.json",
                                          slash ? (int)(slash - questions) + 1 : 0, questions);
    return file_exists(beside) ? beside : file_locate(dataset, NULL, paths->root, names);
}

static enum status mmvet_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err)
{
    static const char *const question_names[] = {"llava-mm-vet.jsonl", "mm-vet.json", "mm-vet/mm-vet.json",
                                                 NULL};
    struct sha256 sha;
    json_t *official = NULL, *annotations = NULL;
    const char *path = NULL;
    bool lines;
    enum status status = OK;
    sha256_init(&sha);
    out->own = text_pool_zero(out->pool, 1, sizeof(struct mmvet));
    TRY(text_pool_check(out->pool, err));
    const char *questions = file_locate(out, paths->questions, paths->root, question_names);
    const char *images =
        file_locate(out, paths->images, paths->root, (const char *const[]){"images", "mm-vet/images", NULL});
    if (!questions)
        return file_missing(out, paths, "llava-mm-vet.jsonl (or mm-vet.json)", "--questions", err);
    TRY(is_lines(&lines, questions, err));
    if (paths->annotations)
        TRY_GOTO(status, object_read(&annotations, paths->annotations, &sha, err));
    if (annotations && has_member(annotations, "question")) { /* mm-vet.json beside LLaVA's lines */
        official = annotations;
        annotations = NULL;
        path = paths->annotations;
    } else {
        path = lines ? official_locate(out, paths, questions, question_names + 1) : questions;
        if (path)
            TRY_GOTO(status, object_read(&official, path, &sha, err));
    }
    if (lines)
        TRY_GOTO(status, questions_read(out, questions, images, &sha, err));
    else
        TRY_GOTO(status, questions_of(out, official, path, images, err));
    TRY_GOTO(status, items_read(out, official, path, err));
    if (annotations)
        TRY_GOTO(status, grades_read(out, annotations, paths->annotations, err));
    struct id_entry *ids;
    TRY_GOTO(status, ids_of_samples(&ids, out, true, questions, err));
    free(ids);
    sha256_final(&sha, out->files_sha256);
exit:
    json_decref(official);
    json_decref(annotations);
    return status;
}

/* ---- the judge ------------------------------------------------------------------------------ */

/* The first space-separated token as a number from 0 to 1; NaN where it is none. */
static double grade_of(const char *reply)
{
    char token[64], *end;
    size_t n = strcspn(reply, " ");
    if (n >= sizeof token)
        return NAN;
    memcpy(token, reply, n);
    token[n] = '\0';
    const char *start = ascii_strip(&n, token);
    /* Python's float knows no hexadecimal. */
    if (n == 0 || strspn(start, "0123456789.eE+-") < n)
        return NAN;
    double value = strtod(start, &end);
    return end == start + n && value >= 0 && value <= 1 ? value : (double)NAN;
}

static bool mmvet_usable(const char *reply)
{
    return !isnan(grade_of(reply));
}

/* "a<AND>b" as "a <AND> b". */
static void put_gold(FILE *out, const char *gold)
{
    static const char *const marks[] = {"<AND>", "<OR>"};
    while (*gold) {
        size_t n = 0;
        for (int i = 0; i < 2 && n == 0; i++)
            n = strncmp(gold, marks[i], strlen(marks[i])) == 0 ? strlen(marks[i]) : 0;
        if (n > 0)
            fprintf(out, " %.*s ", (int)n, gold);
        else
            fputc(gold[0], out);
        gold += n > 0 ? n : 1;
    }
}

/* The tool asks again with a hint: first at the same temperature, then 0.5 higher each time. It asks a sixth
 * time whose reply it does not read; five are enough. */
static enum status mmvet_ask(struct judge_request *out, const struct dataset *dataset, int row,
                             const char *answer, int attempt, struct error *err)
{
    const struct sample *sample = &dataset->samples[row];
    size_t n;
    *out = (struct judge_request){.temperature = attempt > 1 ? 0.5 * (attempt - 1) : 0, .max_tokens = 3};
    if (!sample->gold)
        return fail(err, BAD_INPUT,
                    "%s: the judge is told the true answers, which stand in the official mm-vet.json: put it "
                    "beside LLaVA's question file or give it as --questions",
                    dataset->name);
    FILE *text = open_memstream(&out->user, &n);
    if (!text)
        return fail(err, NO_MACHINE, "no memory for a question to the judge");
    fprintf(text, "%s\n%s | ", instruction, sample->text);
    put_gold(text, sample->gold);
    fprintf(text, " | %s | %s", answer, attempt > 0 ? again : "");
    bool failed = ferror(text) != 0;
    failed |= fclose(text) != 0;
    if (!failed)
        return OK;
    judge_request_free(out);
    return fail(err, NO_MACHINE, "no memory for a question to the judge");
}

static const struct judging mmvet_judging = {
    .model = "gpt-4-0613", .attempts = 5, .ask = mmvet_ask, .usable = mmvet_usable};

/* ---- figures -------------------------------------------------------------------------------- */

static double mmvet_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                                 const char *answer, const char *verdict, enum protocol protocol)
{
    const struct sample *sample = &dataset->samples[row];
    const struct item *item = item_of(dataset, row);
    (void)protocol;
    snprintf(parsed, size, "%s", "");
    if (dataset->is_twin) {
        char normalised[SHORT_ANSWER_SIZE];
        short_answer_normalise(normalised, answer, strlen(answer));
        snprintf(parsed, size, "%s", normalised);
        return sample->gold ? short_answer_is_right(normalised, sample->gold) : (double)NAN;
    }
    if (verdict) /* one that is unusable to the end is a 0 */
        return mmvet_usable(verdict) ? grade_of(verdict) : 0;
    return item->n_grades > 0 ? item->grades[0] : (double)NAN;
}

/* As numpy rounds to one decimal. */
static double rounded(double value)
{
    return rint(value * 10) / 10;
}

static double mmvet_headline(const double *sums)
{
    return rounded(mean_headline(sums));
}

static json_t *rounded_per_cent(const struct mean *mean)
{
    return figure(rounded(per_cent_value(mean)));
}

/* Totals of the stored runs over the rows that have an answer. */
static void add_runs(json_t *figures, const struct dataset *dataset, const struct answers *answers)
{
    const struct mmvet *own = dataset->own;
    double sum = 0, squares = 0, totals[RUNS_MAX];
    json_t *runs = json_array();
    for (int r = 0; r < own->n_runs; r++) {
        struct mean mean = {0};
        for (int i = 0; i < dataset->n; i++)
            if (answers->text[i] && item_of(dataset, i)->n_grades > 0)
                mean_add(&mean, item_of(dataset, i)->grades[r]);
        totals[r] = per_cent_value(&mean);
        sum += totals[r];
        json_array_append_new(runs, figure(rounded(totals[r])));
    }
    for (int r = 0; r < own->n_runs; r++)
        squares += (totals[r] - sum / own->n_runs) * (totals[r] - sum / own->n_runs);
    json_object_set_new(figures, "mean", figure(rounded(sum / own->n_runs)));
    json_object_set_new(figures, "std", figure(rounded(sqrt(squares / own->n_runs))));
    json_object_set_new(figures, "runs", runs);
}

static void add_capabilities(json_t *figures, const struct mean *by_capability, const struct mean *by_set)
{
    json_t *single = json_object(), *sets = json_object();
    for (int c = 0; c < N_CAPABILITIES; c++)
        if (by_capability[c].n > 0)
            json_object_set_new(single, capabilities[c], rounded_per_cent(&by_capability[c]));
    for (unsigned s = 1; s < N_SETS; s++) {
        char name[SET_NAME_SIZE];
        if (by_set[s].n > 0)
            json_object_set_new(sets, set_name(name, s), rounded_per_cent(&by_set[s]));
    }
    json_object_set_new(figures, "capabilities", single);
    json_object_set_new(figures, "capability_sets", sets);
}

static enum status mmvet_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                               const struct answers *answers, enum protocol protocol, struct error *err)
{
    const struct mmvet *own = dataset->own;
    struct mean total = {0}, by_capability[N_CAPABILITIES] = {{0}}, by_set[N_SETS] = {{0}};
    int n_ungraded = 0, n_unusable = 0;
    (void)err;
    for (int i = 0; i < dataset->n; i++) {
        char parsed[8];
        const char *verdict = answers->verdict ? answers->verdict[i] : NULL;
        if (!answers->text[i])
            continue;
        double score =
            mmvet_score_sample(parsed, sizeof parsed, dataset, i, answers->text[i], verdict, protocol);
        if (isnan(score)) {
            n_ungraded++;
            continue;
        }
        n_unusable += !dataset->is_twin && verdict && !mmvet_usable(verdict);
        mean_add(&total, score);
        mean_add(&by_set[item_of(dataset, i)->capabilities], score);
        for (int c = 0; c < N_CAPABILITIES; c++)
            if (item_of(dataset, i)->capabilities >> c & 1)
                mean_add(&by_capability[c], score);
    }
    json_object_set_new(figures, "total", rounded_per_cent(&total));
    add_capabilities(figures, by_capability, by_set);
    if (own->judge && !answers->verdict)
        json_object_set_new(figures, "judge", json_string(own->judge));
    if (own->n_runs > 1 && !answers->verdict)
        add_runs(figures, dataset, answers);
    if (own->uneven)
        warn(warnings, "the stored grades have different numbers of runs; mean and std are over the first %d",
             own->n_runs);
    if (n_ungraded > 0)
        warn(warnings, "%d answers have no grade; they are left out of every figure", n_ungraded);
    if (n_unusable > 0)
        warn(warnings,
             "the judge gave no grade for %d answers after all its attempts; they count 0, as officially",
             n_unusable);
    json_object_set_new(figures, "headline", rounded_per_cent(&total));
    json_object_set_new(figures, "n", json_integer(total.n));
    return OK;
}

static enum status mmvet_submit(const char *path, const struct dataset *dataset,
                                const struct answers *answers, struct error *err)
{
    json_t *object = json_object();
    for (int i = 0; i < dataset->n; i++) {
        const struct sample *sample = &dataset->samples[i];
        if (answers->text[i])
            json_object_set_new(
                object,
                text_pool_format(dataset->pool, "%s%s", sample->numeric_id ? "v1_" : "", sample->question_id),
                json_string(answers->text[i]));
    }
    char *text = json_dumps(object, JSON_INDENT(2));
    json_decref(object);
    if (!text)
        return fail(err, NO_MACHINE, "%s: no memory for the answers", path);
    enum status status = file_write(path, text, strlen(text), err);
    free(text);
    return status;
}

extern const struct benchmark benchmark_mmvet;
const struct benchmark benchmark_mmvet = {
    .name = "mmvet",
    .title = "MM-Vet",
    .folders = {"mm-vet", "mmvet"},
    .metric = "mean grade × 100",
    .unit = "%",
    .scale = 100,
    .max_new_tokens = 1024,
    .cluster = "image",
    .licence = "non-commercial research and education only (MM-Vet's LICENSE_DATASET)",
    .published = "https://github.com/yuweihao/MM-Vet (mm-vet.zip), "
                 "https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md (eval.zip)",
    .id_prefix = "v1_",
    .read = mmvet_read,
    .score_sample = mmvet_score_sample,
    .judging = &mmvet_judging,
    .submit = mmvet_submit,
    .submission = "a JSON object {\"v1_0\": text, ..} for MM-Vet's mm-vet_evaluator.py",
    .n_sums = MEAN_SUMS,
    .tally = mean_tally,
    .headline = mmvet_headline,
    .score = mmvet_score,
    .protocols = 1u << PROTOCOL_OFFICIAL,
};
