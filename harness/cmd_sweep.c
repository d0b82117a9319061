/* `winnow sweep`: the command line of a sweep; the sweep itself is sweep.c's, its jobs slurm.c's. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "harness/command.h"
#include "harness/slurm.h"
#include "harness/sweep.h"

enum {
    OPTION_STORE = OPTION_OWN,
    OPTION_PLAN,
    OPTION_DATA,
    OPTION_SET,
    OPTION_LIMIT,
    OPTION_WORKERS,
    OPTION_SHARD,
    OPTION_SHARDS,
    OPTION_NO_SHARE,
    OPTION_MEMORY,
    OPTION_TIMEOUT
};
enum { SETS_MAX = 256, LIMIT_MAX = 100000000, WORKERS_MAX = 1024 };

static const struct option long_options[] = {COMMON_OPTIONS,
                                             {"store", required_argument, NULL, OPTION_STORE},
                                             {"plan", no_argument, NULL, OPTION_PLAN},
                                             {"data", required_argument, NULL, OPTION_DATA},
                                             {"set", required_argument, NULL, OPTION_SET},
                                             {"limit", required_argument, NULL, OPTION_LIMIT},
                                             {"workers", required_argument, NULL, OPTION_WORKERS},
                                             {"shard", required_argument, NULL, OPTION_SHARD},
                                             {"shards", required_argument, NULL, OPTION_SHARDS},
                                             {"no-share", no_argument, NULL, OPTION_NO_SHARE},
                                             {"memory", required_argument, NULL, OPTION_MEMORY},
                                             {"timeout-per-sample", required_argument, NULL, OPTION_TIMEOUT},
                                             {"help", no_argument, NULL, 'h'},
                                             {0}};

/* A command line as it is read. */
struct parsed {
    struct sweep_options sweep;
    struct common_options common;
    const char *sets[SETS_MAX];
    struct slurm_words words;
    struct slurm_option *passed; /* what every shard is told too; as many as there are words suffice */
    int n_passed;
    int n_shards; /* --shards, 0: not given */
    bool help;
};

static enum status parse_shard(struct sweep_options *options, const char *text, struct error *err)
{
    char first[16];
    const char *slash = strchr(text, '/');
    int64_t shard, n_shards;
    if (slash == NULL || (size_t)(slash - text) >= sizeof first)
        return fail(err, BAD_INPUT, "--shard: found '%.40s', expected I/N, as in 1/4", text);
    snprintf(first, sizeof first, "%.*s", (int)(slash - text), text);
    TRY(parse_int(&n_shards, slash + 1, 1, SLURM_SHARDS_MAX, "--shard: N", err));
    TRY(parse_int(&shard, first, 1, n_shards, "--shard: I", err));
    options->shard = (int)shard;
    options->n_shards = (int)n_shards;
    return OK;
}

static enum status own_option(struct parsed *parsed, int value, const char *argument, struct error *err)
{
    struct sweep_options *options = &parsed->sweep;
    int64_t number;
    switch (value) {
    case OPTION_STORE:
        options->store = argument;
        return OK;
    case OPTION_PLAN:
        options->plan = true;
        return OK;
    case OPTION_DATA:
        options->data = argument;
        return OK;
    case OPTION_SET:
        if (options->n_sets == SETS_MAX)
            return fail(err, BAD_INPUT, "--set may be given up to %d times", SETS_MAX);
        parsed->sets[options->n_sets++] = argument;
        return OK;
    case OPTION_LIMIT:
        TRY(parse_int(&number, argument, 1, LIMIT_MAX, "--limit", err));
        options->limit = (int)number;
        return OK;
    case OPTION_WORKERS:
        TRY(parse_int(&number, argument, 1, WORKERS_MAX, "--workers", err));
        options->n_workers = (int)number;
        return OK;
    case OPTION_SHARD:
        return parse_shard(options, argument, err);
    case OPTION_SHARDS:
        TRY(parse_int(&number, argument, 1, SLURM_SHARDS_MAX, "--shards", err));
        parsed->n_shards = (int)number;
        return OK;
    case OPTION_NO_SHARE:
        options->no_share = true;
        return OK;
    case OPTION_MEMORY:
        return parse_bytes(&options->memory_bytes, argument, "--memory", err);
    case OPTION_TIMEOUT:
        return parse_real(&options->timeout_s, argument, 1e-3, 1e6, "--timeout-per-sample", err);
    default:
        return fail(err, BAD_INPUT, "an option is not handled");
    }
}

/* What a shard is given anew, or what is the submission's own. */
static bool is_passed(int value)
{
    return value != OPTION_STORE && value != OPTION_PLAN && value != OPTION_JSON && value != OPTION_SHARD &&
           value != OPTION_SHARDS;
}

static enum status read_options(struct parsed *parsed, struct error *err)
{
    const struct slurm_words *words = &parsed->words;
    int c, which = 0;
    optind = 1;
    while ((c = getopt_long(words->n_own, words->own, "h", long_options, &which)) != -1) {
        if (c == 'h') {
            parsed->help = true;
            return OK;
        }
        if (c == '?')
            return fail(err, BAD_INPUT,
                        "sweep: unknown option or missing value at '%.200s'; see `winnow help sweep`",
                        words->own[optind - 1]);
        bool taken;
        TRY(common_option(&parsed->common, c, optarg, &taken, err));
        if (!taken)
            TRY(own_option(parsed, c, optarg, err));
        if (is_passed(c))
            parsed->passed[parsed->n_passed++] = (struct slurm_option){long_options[which].name, optarg};
    }
    if (optind + 1 != words->n_own)
        return fail(err, BAD_INPUT,
                    "sweep: expected one sweep file or the name of a built-in grid, found %d; see `winnow "
                    "help sweep`",
                    words->n_own - optind);
    parsed->sweep.file = words->own[optind];
    if (!words->wanted && parsed->n_shards > 0)
        return fail(err, BAD_INPUT, "--shards: this goes with --slurm; one of N shards is --shard I/N");
    if (words->wanted && parsed->sweep.n_shards > 0)
        return fail(err, BAD_INPUT, "--shard: each task of --slurm gets its own; give --shards N");
    return OK;
}

static enum status submit(const struct parsed *parsed, struct error *err)
{
    struct sweep_outline outline;
    struct slurm_option *places = NULL;
    enum status status = sweep_outline_make(&outline, &parsed->sweep, err);
    if (status == OK && (places = memory_zero((size_t)outline.n_places + 1, sizeof *places)) == NULL)
        status = memory_failed(err, "paths", (size_t)outline.n_places * sizeof *places);
    for (int i = 0; i < outline.n_places && places; i++)
        places[i] = (struct slurm_option){outline.places[i].option, outline.places[i].path};
    const struct slurm_request request = {.file = parsed->sweep.file,
                                          .store = outline.store,
                                          .shard = {parsed->passed, parsed->n_passed},
                                          .merge = {places, outline.n_places},
                                          .words = &parsed->words,
                                          .n_shards = parsed->n_shards,
                                          .plan = parsed->sweep.plan,
                                          .json = parsed->sweep.json};
    if (status == OK)
        status = slurm_submit(&request, err);
    free(places);
    sweep_outline_free(&outline);
    return status;
}

static enum status run(struct parsed *parsed, int argc, char **argv, struct error *err)
{
    TRY(slurm_part(&parsed->words, argc, argv, err));
    parsed->passed = memory_zero((size_t)argc + 1, sizeof *parsed->passed);
    if (parsed->passed == NULL)
        return memory_failed(err, "the command line", (size_t)argc * sizeof *parsed->passed);
    TRY(read_options(parsed, err));
    if (parsed->help) {
        printf("%s", command_find("sweep")->usage);
        return OK;
    }
    struct sweep_options *sweep = &parsed->sweep;
    const struct common_options *common = &parsed->common;
    sweep->model = common->model;
    sweep->device = common->device;
    sweep->dtype = common->dtype;
    sweep->seed = common->seed;
    sweep->image_mode = common->image_mode;
    sweep->max_new_tokens = common->max_new_tokens;
    sweep->n_threads = common->threads;
    sweep->json = common->json;
    return parsed->words.wanted ? submit(parsed, err) : sweep_execute(sweep, err);
}

int cmd_sweep(int argc, char **argv)
{
    static struct parsed parsed;
    struct error err = {0};
    common_init(&parsed.common);
    parsed.common.model = NULL; /* the file's, unless it is given */
    parsed.sweep.sets = parsed.sets;
    enum status status = run(&parsed, argc, argv, &err);
    free(parsed.passed);
    slurm_words_free(&parsed.words);
    return status == OK ? OK : command_fail(&err);
}
