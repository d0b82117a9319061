/* `winnow sweep`: the command line of a sweep; the sweep itself is sweep.c's. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "harness/command.h"
#include "harness/sweep.h"

enum {
    OPTION_STORE = OPTION_OWN,
    OPTION_PLAN,
    OPTION_DATA,
    OPTION_SET,
    OPTION_LIMIT,
    OPTION_WORKERS,
    OPTION_SHARD,
    OPTION_NO_SHARE,
    OPTION_MEMORY,
    OPTION_TIMEOUT
};
enum { SETS_MAX = 256, LIMIT_MAX = 100000000, WORKERS_MAX = 1024, SHARDS_MAX = 100000 };

static enum status parse_shard(struct sweep_options *options, const char *text, struct error *err)
{
    char first[16];
    const char *slash = strchr(text, '/');
    int64_t shard, n_shards;
    if (slash == NULL || (size_t)(slash - text) >= sizeof first)
        return fail(err, BAD_INPUT, "--shard: found '%.40s', expected I/N, as in 1/4", text);
    snprintf(first, sizeof first, "%.*s", (int)(slash - text), text);
    TRY(parse_int(&n_shards, slash + 1, 1, SHARDS_MAX, "--shard: N", err));
    TRY(parse_int(&shard, first, 1, n_shards, "--shard: I", err));
    options->shard = (int)shard;
    options->n_shards = (int)n_shards;
    return OK;
}

static enum status own_option(struct sweep_options *options, const char **sets, int value,
                              const char *argument, struct error *err)
{
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
        sets[options->n_sets++] = argument;
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

int cmd_sweep(int argc, char **argv)
{
    static const struct option options[] = {COMMON_OPTIONS,
                                            {"store", required_argument, NULL, OPTION_STORE},
                                            {"plan", no_argument, NULL, OPTION_PLAN},
                                            {"data", required_argument, NULL, OPTION_DATA},
                                            {"set", required_argument, NULL, OPTION_SET},
                                            {"limit", required_argument, NULL, OPTION_LIMIT},
                                            {"workers", required_argument, NULL, OPTION_WORKERS},
                                            {"shard", required_argument, NULL, OPTION_SHARD},
                                            {"no-share", no_argument, NULL, OPTION_NO_SHARE},
                                            {"memory", required_argument, NULL, OPTION_MEMORY},
                                            {"timeout-per-sample", required_argument, NULL, OPTION_TIMEOUT},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *sets[SETS_MAX];
    struct common_options common;
    struct error err = {0};
    common_init(&common);
    common.model = NULL; /* the file's, unless it is given */
    struct sweep_options sweep = {.sets = sets};
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') {
            printf("%s", command_find("sweep")->usage);
            return OK;
        }
        if (c == '?')
            return command_option("sweep", argc, argv);
        bool taken;
        enum status status = common_option(&common, c, optarg, &taken, &err);
        if (status == OK && !taken)
            status = own_option(&sweep, sets, c, optarg, &err);
        if (status != OK)
            return command_fail(&err);
    }
    if (optind + 1 != argc)
        return command_usage("sweep", "expected one sweep file or the name of a built-in grid, found %d",
                             argc - optind);
    sweep.file = argv[optind];
    sweep.model = common.model;
    sweep.device = common.device;
    sweep.dtype = common.dtype;
    sweep.seed = common.seed;
    sweep.image_mode = common.image_mode;
    sweep.max_new_tokens = common.max_new_tokens;
    sweep.n_threads = common.threads;
    sweep.json = common.json;
    return sweep_execute(&sweep, &err) == OK ? OK : command_fail(&err);
}
