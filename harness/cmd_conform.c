/* `winnow conform`: every registered method on a tiny model made in memory, see conform.h. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "conform.h"
#include "json.h"

/* Families that the suite has a tiny model of. */
static const char *const families[] = {"llava-1.5", NULL};

int cmd_conform(int argc, char **argv)
{
    enum { OPTION_METHOD = OPTION_OWN, OPTION_FAMILY };
    static const struct option table[] = {COMMON_OPTIONS,
                                          {"method", required_argument, NULL, OPTION_METHOD},
                                          {"family", required_argument, NULL, OPTION_FAMILY},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct common_options options;
    struct error err;
    const char *method = NULL, *family = NULL;
    common_init(&options);
    for (int o; (o = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        bool taken;
        if (common_option(&options, o, optarg, &taken, &err) != OK)
            return command_fail(&err);
        if (o == 'h')
            return printf("%s", command_find("conform")->usage), OK;
        if (o == OPTION_METHOD)
            method = optarg;
        else if (o == OPTION_FAMILY)
            family = optarg;
        else if (!taken)
            return command_option("conform", argc, argv);
    }
    if (optind < argc)
        return command_usage("conform", "unexpected '%s'", argv[optind]);
    if (options.threads || options.dtype != DTYPE_AUTO)
        return command_usage("conform", "the suite chooses its threads, and computes in f32");
    bool known = family == NULL;
    for (int i = 0; families[i]; i++)
        known = known || strcmp(families[i], family) == 0;
    if (!known)
        return command_usage("conform", "unknown family '%s'; the families: llava-1.5", family);
    struct method named;
    if (method && method_init(&named, method, &err) != OK)
        return command_fail(&err);
    struct conform conform;
    if (conform_open(&conform, options.device ? options.device : "cpu", stdout, &err) != OK)
        return command_fail(&err);
    if (options.json)
        conform.json = json_array();
    int n;
    const struct reducer *const *all = reducers(&n);
    for (int i = 0; i < n; i++)
        if (method == NULL || strcmp(method, all[i]->name) == 0)
            conform_run(&conform, all[i]);
    conform_close(&conform);
    if (conform.json) {
        json_t *root = json_pack("{s:o, s:i, s:i, s:i}", "checks", conform.json, "n_checks", conform.n_checks,
                                 "n_failed", conform.n_failed, "n_skipped", conform.n_skipped);
        if (command_json(root, &err) != OK)
            return command_fail(&err);
    } else {
        printf("%d checks, %d failed, %d skipped\n", conform.n_checks, conform.n_failed, conform.n_skipped);
    }
    return conform.n_failed ? NOT_HELD : OK;
}
