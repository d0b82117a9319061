/* The registry of benchmarks and what is the same for all of them: opening, scoring, and the sums by cluster
 * that the statistics draw from. */
#include "datasets/benchmark.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "datasets/rows.h"
#include "datasets/text_pool.h"

extern const struct benchmark benchmark_gqa;
extern const struct benchmark benchmark_pope;
extern const struct benchmark benchmark_mme;
extern const struct benchmark benchmark_mmbench;
extern const struct benchmark benchmark_mmbench_cn;
extern const struct benchmark benchmark_scienceqa;
extern const struct benchmark benchmark_seed;
extern const struct benchmark benchmark_textvqa;
extern const struct benchmark benchmark_mmvet;
extern const struct benchmark benchmark_vqav2;
extern const struct benchmark benchmark_vizwiz;
extern const struct benchmark benchmark_tgif;
extern const struct benchmark benchmark_msvd;
extern const struct benchmark benchmark_msrvtt;
extern const struct benchmark benchmark_activitynet;
extern const struct benchmark benchmark_video_judge;
extern const struct benchmark benchmark_jsonl;

/* clang-format off */
static const struct benchmark *const registry[] = {
    &benchmark_gqa,
    &benchmark_pope,
    &benchmark_mme,
    &benchmark_mmbench,
    &benchmark_mmbench_cn,
    &benchmark_scienceqa,
    &benchmark_seed,
    &benchmark_textvqa,
    &benchmark_mmvet,
    &benchmark_vqav2,
    &benchmark_vizwiz,
    &benchmark_tgif,
    &benchmark_msvd,
    &benchmark_msrvtt,
    &benchmark_activitynet,
    &benchmark_video_judge,
    &benchmark_jsonl,
};
/* clang-format on */
enum { N_BENCHMARKS = sizeof registry / sizeof registry[0] };

static const char twin_prefix[] = "mini-";

const struct benchmark *const *benchmarks(int *n)
{
    *n = N_BENCHMARKS;
    return registry;
}

const struct benchmark *benchmark_find(const char *name, bool *is_twin)
{
    size_t prefix = sizeof twin_prefix - 1;
    bool twin = strncmp(name, twin_prefix, prefix) == 0;
    for (int i = 0; i < N_BENCHMARKS; i++)
        if (strcmp(registry[i]->name, twin ? name + prefix : name) == 0) {
            /* A user's own rows have no generated twin. */
            if (twin && registry[i] == &benchmark_jsonl)
                return NULL;
            if (is_twin)
                *is_twin = twin;
            return registry[i];
        }
    return NULL;
}

static enum status unknown_benchmark(const char *name, struct error *err)
{
    char shown[PRINTABLE_SIZE], choices[400] = "";
    for (int i = 0; i < N_BENCHMARKS; i++)
        snprintf(choices + strlen(choices), sizeof choices - strlen(choices), "%s%s", i ? ", " : "",
                 registry[i]->name);
    return fail(err, BAD_INPUT, "there is no benchmark \"%s\"; there are %s, and the twins mini-NAME",
                printable(shown, name), choices);
}

enum status benchmark_read(struct dataset *out, const char *name, const struct benchmark_paths *paths,
                           struct error *err)
{
    bool is_twin = false;
    *out = (struct dataset){.benchmark = benchmark_find(name, &is_twin), .is_twin = is_twin};
    if (!out->benchmark)
        return unknown_benchmark(name, err);
    enum status status;
    TRY_GOTO(status, text_pool_new(&out->pool, err));
    out->name = text_pool_add(out->pool, name);
    TRY_GOTO(status, out->benchmark->read(out, paths, err));
    TRY_GOTO(status, text_pool_check(out->pool, err));
exit:
    if (status != OK) {
        bool is_missing = out->is_missing;
        dataset_close(out);
        out->is_missing = is_missing;
    }
    return status;
}

void dataset_close(struct dataset *dataset)
{
    if (dataset->benchmark && dataset->benchmark->close)
        dataset->benchmark->close(dataset);
    free(dataset->samples);
    text_pool_free(dataset->pool);
    *dataset = (struct dataset){0};
}

static const char *const protocol_names[] = {"official", "lmms", "vlmeval"};
enum { N_PROTOCOL_NAMES = sizeof protocol_names / sizeof protocol_names[0] };

enum status protocol_parse(enum protocol *out, const struct benchmark *benchmark, const char *name,
                           struct error *err)
{
    char shown[PRINTABLE_SIZE], choices[64] = "";
    for (int i = 0; i < N_PROTOCOL_NAMES; i++) {
        if (!(benchmark->protocols & 1u << i))
            continue;
        if (strcmp(name, protocol_names[i]) == 0) {
            *out = (enum protocol)i;
            return OK;
        }
        snprintf(choices + strlen(choices), sizeof choices - strlen(choices), "%s%s", choices[0] ? ", " : "",
                 protocol_names[i]);
    }
    return fail(err, BAD_INPUT, "%s is not scored by the protocol \"%s\"; there are: %s", benchmark->name,
                printable(shown, name), choices);
}

/* "; the first: a, b, c" */
static const char *first_named(char *out, size_t size, const struct answers *answers, const char *what)
{
    size_t i, n = 0;
    json_t *id;
    out[0] = '\0';
    json_array_foreach(json_object_get(answers->named, what), i, id)
    {
        char shown[PRINTABLE_SIZE];
        int added =
            snprintf(out + n, size - n, "%s%s", i ? ", " : ": ", printable(shown, json_string_value(id)));
        if (added < 0 || (size_t)added >= size - n)
            break;
        n += (size_t)added;
    }
    return out;
}

static void warn_about_answers(json_t *warnings, const struct dataset *dataset, const struct answers *answers)
{
    const struct {
        int n;
        const char *what, *said; /* its name in answers->named; what stands behind the number */
    } faults[] = {
        {answers->n_missing, "missing",
         dataset->benchmark->missing_are_wrong
             ? "of the questions have no answer"
             : "of the questions have no answer; they are left out of every figure"},
        {answers->n_duplicate, "duplicate", "answers are to a question answered before; the last one counts"},
        {answers->n_unknown, "unknown", "answers are to no question of the question file; they are left out"},
        {answers->n_repaired, "repaired", "answers hold bytes that are no UTF-8; each became U+FFFD"},
        {answers->n_long, "long",
         "answers are longer than any answer limit allows; they are scored as they stand"},
        {answers->n_empty, "empty", "answers are empty; they are scored as they stand"},
        {answers->n_echo, "echo",
         "answers are their question word for word; is the answer file a question file?"},
        {dataset->unordered ? 0 : answers->n_misplaced, "misplaced",
         "answers stand in another order than their questions; they were matched by id, a scorer that pairs "
         "by "
         "position would be wrong"},
    };
    char named[300];
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (faults[i].n > 0)
            warn(warnings, "%d %s%s", faults[i].n, faults[i].said,
                 first_named(named, sizeof named, answers, faults[i].what));
}

/* Nothing to score against: the headline is null, and why. */
static void score_nothing(json_t *figures, json_t *warnings, const struct dataset *dataset,
                          const struct answers *answers)
{
    int n = 0;
    for (int i = 0; i < dataset->n; i++)
        n += answers->text[i] != NULL;
    json_object_set_new(figures, "headline", json_null());
    json_object_set_new(figures, "n", json_integer(n));
    if (dataset->benchmark->judging && !dataset->is_twin)
        warn(warnings, "no judge and no stored replies, so there is no score: name a judge by "
                       "WINNOW_JUDGE_URL, _MODEL and "
                       "_KEY, or give stored replies as --annotations; winnow export writes the answers for "
                       "the official "
                       "scorer");
    else
        warn(warnings,
             "there are no golds to score against, so there is no score: give --annotations (published at "
             "%s); "
             "winnow export writes the answers for the official scorer",
             dataset->benchmark->published);
}

enum status benchmark_score(json_t **figures, const struct dataset *dataset, const struct answers *answers,
                            enum protocol protocol, struct error *err)
{
    const struct benchmark *benchmark = dataset->benchmark;
    if (protocol == PROTOCOL_OFFICIAL && answers->converted)
        protocol = PROTOCOL_CONVERTED;
    enum protocol asked = protocol == PROTOCOL_CONVERTED ? PROTOCOL_OFFICIAL : protocol;
    *figures = NULL;
    json_t *object = json_object(), *warnings = json_array();
    enum status status = OK;
    json_object_set_new(object, "benchmark", json_string(dataset->name));
    json_object_set_new(object, "protocol", json_string(protocol_names[asked]));
    json_object_set_new(object, "metric", json_string(benchmark->metric));
    if (dataset->has_gold || (benchmark->judging && answers->verdict))
        TRY_GOTO(status, benchmark->score(object, warnings, dataset, answers, protocol, err));
    else
        score_nothing(object, warnings, dataset, answers);
    warn_about_answers(warnings, dataset, answers);
    json_int_t unknown =
        json_integer_value(json_object_get(object, "n_unknown")); /* rows without annotation */
    json_object_set_new(object, "n_missing", json_integer(answers->n_missing));
    json_object_set_new(object, "n_duplicate", json_integer(answers->n_duplicate));
    json_object_set_new(object, "n_unknown", json_integer(answers->n_unknown + unknown));
    if (json_object_set(object, "warnings", warnings) != 0)
        TRY_GOTO(status, fail(err, NO_MACHINE, "no memory for the figures"));
    *figures = json_incref(object);
exit:
    json_decref(object);
    json_decref(warnings);
    return status;
}

void judge_request_free(struct judge_request *request)
{
    free(request->system);
    free(request->user);
    *request = (struct judge_request){0};
}

/* A row on its way into the sums: groups must stand together, rows ascend within them. */
struct entry {
    const char *group;
    int cluster, row;
    double score;
};

static int by_cluster_then_group(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    if (left->cluster != right->cluster)
        return left->cluster < right->cluster ? -1 : 1;
    int order = strcmp(left->group, right->group);
    return order ? order : (left->row > right->row) - (left->row < right->row);
}

/* Numbers the clusters in the order of their first row; returns how many. by_cluster: the entries' cluster
 * names and places, sorted by name, then place. */
static int number_clusters(struct entry *entries, const struct id_entry *by_cluster, int n)
{
    for (int i = 0, first = 0; i < n; i++) {
        if (strcmp(by_cluster[i].id, by_cluster[first].id) != 0)
            first = i;
        entries[by_cluster[i].row].cluster = by_cluster[first].row;
    }
    int n_clusters = 0;
    for (int i = 0; i < n; i++)
        entries[i].cluster = entries[i].cluster == i ? n_clusters++ : entries[entries[i].cluster].cluster;
    return n_clusters;
}

enum status benchmark_sums(double **sums, int *n_clusters, const struct dataset *dataset, const int *rows,
                           const double *scores, int n, struct error *err)
{
    const struct benchmark *benchmark = dataset->benchmark;
    size_t n_sums = (size_t)benchmark->n_sums;
    enum status status = OK;
    *sums = NULL;
    struct entry *entries = memory_alloc((size_t)n, sizeof *entries);
    struct id_entry *by_cluster = memory_alloc((size_t)n, sizeof *by_cluster);
    int *group_rows = memory_alloc((size_t)n, sizeof *group_rows);
    double *group_scores = memory_alloc((size_t)n, sizeof *group_scores);
    if (!entries || !by_cluster || !group_rows || !group_scores)
        TRY_GOTO(status, memory_failed(err, "sums by cluster", (size_t)n * sizeof *entries));
    for (int i = 0; i < n; i++) {
        const struct sample *sample = &dataset->samples[rows[i]];
        entries[i] = (struct entry){.group = sample->group, .row = rows[i], .score = scores[i]};
        by_cluster[i] = (struct id_entry){sample->cluster, i};
    }
    ids_sort(by_cluster, n);
    *n_clusters = number_clusters(entries, by_cluster, n);
    *sums = memory_zero((size_t)*n_clusters, n_sums * sizeof **sums);
    if (!*sums)
        TRY_GOTO(status, memory_failed(err, "sums by cluster", (size_t)*n_clusters * n_sums * sizeof **sums));
    qsort(entries, (size_t)n, sizeof *entries, by_cluster_then_group);
    for (int i = 0, in_group = 0; i < n; i++) {
        if (!isnan(entries[i].score)) {
            group_rows[in_group] = entries[i].row;
            group_scores[in_group++] = entries[i].score;
        }
        bool last = i + 1 == n || entries[i].cluster != entries[i + 1].cluster ||
                    strcmp(entries[i].group, entries[i + 1].group) != 0;
        if (last && in_group > 0)
            benchmark->tally(*sums + (size_t)entries[i].cluster * n_sums, dataset, group_rows, group_scores,
                             in_group);
        if (last)
            in_group = 0;
    }
exit:
    free(entries);
    free(by_cluster);
    free(group_rows);
    free(group_scores);
    return status;
}
