/* `winnow ops`: every operation of a backend against the reference; with --perf their rates. */
#include <getopt.h>
#include <unistd.h>

#include "command.h"
#include "ops_check.h"

int cmd_ops(int argc, char **argv)
{
    enum { OPTION_PERF = OPTION_OWN, OPTION_FILTER };
    static const struct option table[] = {COMMON_OPTIONS,
                                          {"perf", no_argument, NULL, OPTION_PERF},
                                          {"filter", required_argument, NULL, OPTION_FILTER},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct common_options options;
    struct error err;
    bool perf = false;
    const char *filter = NULL;
    common_init(&options);
    for (int o; (o = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        bool taken;
        if (common_option(&options, o, optarg, &taken, &err) != OK)
            return command_fail(&err);
        if (o == 'h')
            return printf("%s", command_find("ops")->usage), OK;
        if (o == OPTION_PERF)
            perf = true;
        else if (o == OPTION_FILTER)
            filter = optarg;
        else if (!taken)
            return command_option("ops", argc, argv);
    }
    const struct ops *ops = ops_find(options.device ? options.device : "cpu");
    if (ops == NULL) {
        fail(&err, NO_MACHINE,
             "device '%s' is not in this build; `winnow list devices` shows those there are", options.device);
        return command_fail(&err);
    }
    int threads = options.threads ? options.threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    int n_wrong = ops_check(ops, threads, perf, filter, stdout);
    if (n_wrong < 0)
        return command_usage("ops", "--filter '%s' matches no operation", filter ? filter : "");
    printf("%d mismatches\n", n_wrong);
    return n_wrong ? NOT_HELD : OK;
}
