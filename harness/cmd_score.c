/* `winnow score`: an answer file judged as the benchmark's official scorer does; no model needed. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "datasets/benchmark.h"
#include "harness/command.h"
#include "harness/judge.h"
#include "harness/stats.h"

static const char usage[] =
    "usage: winnow score BENCHMARK --answers F [options]\n"
    "Scores an answer file as the benchmark's official scorer does.\n"
    "\n"
    "  --answers F          JSON lines {question_id, text}, a list of {questionId, prediction}, or an object "
    "by\n"
    "                       id\n"
    "  --questions F        question file (default: the benchmark's own under --data)\n"
    "  --annotations F      golds: pope: folder of coco_pope_*.json; gqa: choices or official questions; "
    "mme:\n"
    "                       folder of CATEGORY.txt or the release; mmbench: the TSV; scienceqa: "
    "problems.json;\n"
    "                       seed, textvqa, vqav2, vizwiz, activitynet: the official file; mmvet: stored\n"
    "                       grades; tgif, msvd, msrvtt, video-judge: folder of stored replies\n"
    "  --data DIR           tree of LLaVA's evaluation, or the folder given to winnow world --out\n"
    "  --protocol P         official (default), lmms, vlmeval\n"
    "  --per-sample F.jsonl writes one line a sample: score, parsed answer, gold\n"
    "  --judge-cache F      where a judge's replies are kept (default ~/.cache/winnow/judge.db): what was\n"
    "                       asked once is not asked again\n"
    "  --seed N             of the bootstrap behind headline_lo and headline_hi (default 0)\n"
    "  --json               one JSON document\n"
    "  -h, --help           this text\n"
    "\n"
    "A benchmark that a language model grades asks an OpenAI-compatible endpoint: WINNOW_JUDGE_URL (such as\n"
    "http://host:port/v1), WINNOW_JUDGE_MODEL (default: the official one), WINNOW_JUDGE_KEY.\n"
    "winnow export S.db --cell KEY writes a sweep's answers as a file to score.\n";

struct options {
    const char *benchmark, *answers, *protocol, *per_sample, *judge_cache;
    struct benchmark_paths paths;
    int64_t seed;
    bool json;
};

/* *done: help was printed. */
static enum status options_read(struct options *out, bool *done, int argc, char **argv, struct error *err)
{
    enum { ANSWERS = 1, QUESTIONS, ANNOTATIONS, DATA, PROTOCOL, PER_SAMPLE, JUDGE_CACHE, SEED, JSON };
    static const struct option table[] = {{"answers", required_argument, NULL, ANSWERS},
                                          {"questions", required_argument, NULL, QUESTIONS},
                                          {"annotations", required_argument, NULL, ANNOTATIONS},
                                          {"data", required_argument, NULL, DATA},
                                          {"protocol", required_argument, NULL, PROTOCOL},
                                          {"per-sample", required_argument, NULL, PER_SAMPLE},
                                          {"judge-cache", required_argument, NULL, JUDGE_CACHE},
                                          {"seed", required_argument, NULL, SEED},
                                          {"json", no_argument, NULL, JSON},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    *out = (struct options){.protocol = "official"};
    *done = false;
    optind = 0; /* GNU: scan anew */
    for (int c; (c = getopt_long(argc, argv, ":h", table, NULL)) != -1;) {
        switch (c) {
        case ANSWERS:
            out->answers = optarg;
            break;
        case QUESTIONS:
            out->paths.questions = optarg;
            break;
        case ANNOTATIONS:
            out->paths.annotations = optarg;
            break;
        case DATA:
            out->paths.root = optarg;
            break;
        case PROTOCOL:
            out->protocol = optarg;
            break;
        case PER_SAMPLE:
            out->per_sample = optarg;
            break;
        case JUDGE_CACHE:
            out->judge_cache = optarg;
            break;
        case SEED:
            TRY(parse_int(&out->seed, optarg, 0, INT64_MAX, "--seed", err));
            break;
        case JSON:
            out->json = true;
            break;
        case 'h':
            *done = true;
            return OK;
        case ':':
            return fail(err, BAD_INPUT, "option %s needs a value; see winnow help score", argv[optind - 1]);
        default:
            return fail(err, BAD_INPUT, "option %s is not known, or takes no value; see winnow help score",
                        argv[optind - 1]);
        }
    }
    if (argc - optind != 1)
        return fail(err, BAD_INPUT, "score takes one benchmark, found %d; see winnow help score",
                    argc - optind);
    out->benchmark = argv[optind];
    if (!out->answers)
        return fail(err, BAD_INPUT, "--answers F is missing; see winnow help score");
    return OK;
}

/* The file of samples must not take the place of what they are scored from. */
static enum status output_check(const struct options *options, struct error *err)
{
    const char *inputs[] = {options->answers, options->paths.questions, options->paths.annotations};
    for (size_t i = 0; options->per_sample && i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i] && file_same(options->per_sample, inputs[i]))
            return fail(err, BAD_INPUT,
                        "--per-sample %s: is an input, which would be lost; name another file",
                        options->per_sample);
    return OK;
}

/* One line a sample. */
static json_t *sample_line(const struct sample *sample, const char *answer, const char *parsed, double score)
{
    json_t *line = json_object();
    json_object_set_new(line, "sample_id", json_integer(sample->row));
    json_object_set_new(line, "question_id",
                        sample->numeric_id ? json_integer(strtoll(sample->question_id, NULL, 10))
                                           : json_string(sample->question_id));
    json_object_set_new(line, "image", sample->image_name ? json_string(sample->image_name) : json_null());
    json_object_set_new(line, "category", json_string(sample->category));
    json_object_set_new(line, "gold", sample->gold ? json_string(sample->gold) : json_null());
    json_object_set_new(line, "answer", answer ? json_string(answer) : json_null());
    json_object_set_new(line, "parsed", answer ? json_string(parsed) : json_null());
    json_object_set_new(line, "score", isnan(score) ? json_null() : json_real(score));
    return line;
}

/* Scores by row (NaN: no answer or no gold), and the file of them where one is asked for. */
static enum status score_samples(double *scores, const struct dataset *data, const struct answers *answers,
                                 enum protocol protocol, const char *path, struct error *err)
{
    char *text = NULL;
    size_t n_text = 0;
    FILE *memory = path ? open_memstream(&text, &n_text) : NULL;
    if (path && !memory)
        return fail(err, NO_MACHINE, "%s: no memory for its lines", path);
    for (int i = 0; i < data->n; i++) {
        char parsed[1024] = "";
        scores[i] =
            answers->text[i]
                ? data->benchmark->score_sample(parsed, sizeof parsed, data, i, answers->text[i],
                                                answers->verdict ? answers->verdict[i] : NULL, protocol)
                : (double)NAN;
        if (!memory)
            continue;
        json_t *line = sample_line(&data->samples[i], answers->text[i], parsed, scores[i]);
        json_dumpf(line, memory, JSON_COMPACT);
        fputc('\n', memory);
        json_decref(line);
    }
    if (!memory)
        return OK;
    bool failed = ferror(memory) != 0;
    failed |= fclose(memory) != 0;
    enum status status = failed ? fail(err, NO_MACHINE, "%s: no memory for its lines", path)
                                : file_write(path, text, n_text, err);
    free(text);
    return status;
}

/* headline_lo and headline_hi: the bootstrap is over the official headline, so other protocols have none. */
static enum status add_interval(json_t *figures, const struct dataset *data, const double *scores,
                                uint64_t seed, struct error *err)
{
    enum status status = OK;
    double *sums = NULL;
    int n_clusters;
    struct interval interval;
    int *rows = memory_alloc((size_t)data->n, sizeof *rows);
    if (!rows)
        return memory_failed(err, "rows", (size_t)data->n * sizeof *rows);
    for (int i = 0; i < data->n; i++)
        rows[i] = i;
    TRY_GOTO(status, benchmark_sums(&sums, &n_clusters, data, rows, scores, data->n, err));
    TRY_GOTO(status, bootstrap(&interval, sums, NULL, 0, n_clusters, data->benchmark->n_sums,
                               data->benchmark->headline, seed, BOOTSTRAP_DRAWS, err));
    json_object_set_new(figures, "headline_lo", isnan(interval.lo) ? json_null() : json_real(interval.lo));
    json_object_set_new(figures, "headline_hi", isnan(interval.hi) ? json_null() : json_real(interval.hi));
exit:
    free(rows);
    free(sums);
    return status;
}

static void print_value(const json_t *value)
{
    if (json_is_object(value)) /* mme: of a category, the figure that is added up */
        value = json_object_get(value, "score");
    if (json_is_real(value))
        printf("%.4f", json_real_value(value));
    else if (json_is_integer(value))
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        printf("%s", json_is_string(value) ? json_string_value(value) : "–");
}

/* One line a figure; a figure of several parts takes one line too. */
static void print_text(const json_t *figures)
{
    const char *key, *part;
    json_t *value, *inner;
    size_t i;
    json_object_foreach((json_t *)figures, key, value)
    {
        if (strcmp(key, "warnings") == 0)
            continue;
        printf("%-14s", key);
        if (json_is_object(value)) {
            json_object_foreach(value, part, inner)
            {
                printf("  %s ", part);
                print_value(inner);
            }
        } else {
            printf("  ");
            print_value(value);
        }
        putchar('\n');
    }
    json_array_foreach(json_object_get(figures, "warnings"), i, value)
        fprintf(stderr, "winnow: warning: %s\n", json_string_value(value));
}

/* Verdicts for answers that only a judge can grade, where one is named. *model: who gave them, owned by the
 * environment or the benchmark; NULL: nobody. gave_up: what is to be said of answers without one. */
static enum status ask_judge(const char **model, char gave_up[600], struct answers *answers,
                             const struct dataset *data, const struct options *options, struct error *err)
{
    const struct judge_options named = judge_options(NULL, NULL);
    *model = NULL;
    gave_up[0] = '\0';
    if (!data->benchmark->judging || data->is_twin || (options->paths.annotations && data->has_gold) ||
        !named.url)
        return OK;
    sqlite3 *cache;
    struct judge *judge = NULL;
    TRY(judge_cache_open(&cache, options->judge_cache, err));
    enum status status;
    TRY_GOTO(status, judge_open(&judge, &named, cache, err));
    TRY_GOTO(status, judge_answers(judge, answers, data, err));
    *model = judge_model(judge, data);
    const struct judge_report *report = judge_report(judge);
    fprintf(stderr, "judged by %s: %d answers, %d of them by replies from the cache, %d requests\n", *model,
            report->n_judged, report->n_cached, report->n_requests);
    if (report->n_failed > 0)
        snprintf(gave_up, 600, "the judge gave no verdict on %d answers: %s", report->n_failed,
                 report->failure);
exit:
    judge_close(judge);
    sqlite3_close(cache);
    return status;
}

static enum status run(const struct options *options, struct error *err)
{
    struct dataset data = {0};
    struct answers answers = {0};
    enum protocol protocol;
    const char *model;
    char gave_up[600] = "";
    json_t *figures = NULL;
    double *scores = NULL;
    enum status status;
    TRY(output_check(options, err));
    TRY(benchmark_read(&data, options->benchmark, &options->paths, err));
    TRY_GOTO(status, protocol_parse(&protocol, data.benchmark, options->protocol, err));
    TRY_GOTO(status, answers_read(&answers, &data, options->answers, err));
    if (protocol == PROTOCOL_OFFICIAL && answers.converted)
        protocol = PROTOCOL_CONVERTED;
    TRY_GOTO(status, ask_judge(&model, gave_up, &answers, &data, options, err));
    TRY_GOTO(status, benchmark_score(&figures, &data, &answers, protocol, err));
    if (model)
        json_object_set_new(figures, "judge", json_string(model));
    if (gave_up[0])
        json_array_append_new(json_object_get(figures, "warnings"), json_string(gave_up));
    scores = memory_alloc((size_t)data.n, sizeof *scores);
    if (!scores)
        TRY_GOTO(status, memory_failed(err, "scores", (size_t)data.n * sizeof *scores));
    TRY_GOTO(status, score_samples(scores, &data, &answers, protocol, options->per_sample, err));
    if (protocol == PROTOCOL_OFFICIAL || protocol == PROTOCOL_CONVERTED)
        TRY_GOTO(status, add_interval(figures, &data, scores, (uint64_t)options->seed, err));
    if (options->json) {
        json_dumpf(figures, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
        putchar('\n');
    } else {
        print_text(figures);
    }
    if (gave_up[0])
        status = fail(err, NOT_HELD, "%s; the same command asks again", gave_up);
exit:
    free(scores);
    json_decref(figures);
    answers_free(&answers);
    dataset_close(&data);
    return status;
}

int cmd_score(int argc, char **argv)
{
    struct options options;
    struct error err = {0};
    bool help;
    if (options_read(&options, &help, argc, argv, &err) != OK)
        return command_fail(&err);
    if (help) {
        fputs(usage, stdout);
        return 0;
    }
    return run(&options, &err) == OK ? 0 : command_fail(&err);
}
