/* `winnow report`: a Markdown report with figures and pictures from one or more stores. */
#include "harness/command.h"
#include "reports/report.h"

#include <getopt.h> /* getopt_long */
#include <string.h> /* strcmp */

static enum status parse_formats(unsigned *out, const char *list, struct error *err)
{
    static const struct {
        const char *name;
        unsigned format;
    } formats[] = {{"md", REPORT_MD}, {"csv", REPORT_CSV}, {"png", REPORT_PNG}, {"svg", REPORT_SVG}};
    *out = 0;
    for (const char *at = list; *at != '\0';) {
        size_t n = strcspn(at, ",");
        unsigned found = 0;
        for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
            if (strlen(formats[i].name) == n && strncmp(formats[i].name, at, n) == 0)
                found = formats[i].format;
        if (found == 0)
            return fail(err, BAD_INPUT, "--format: expected some of md, csv, png, svg, found \"%.*s\"",
                        (int)(n < 40 ? n : 40), at);
        *out |= found;
        at += n + (at[n] == ',');
    }
    return *out != 0 ? OK
                     : fail(err, BAD_INPUT, "--format: expected some of md, csv, png, svg, found nothing");
}

/* NAME.db → NAME-report, beside the store. */
static void default_dir(char *out, size_t size, const char *store)
{
    size_t n = strlen(store);
    bool db = n > 3 && strcmp(store + n - 3, ".db") == 0;
    snprintf(out, size, "%.*s-report", (int)(db ? n - 3 : n), store);
}

int cmd_report(int argc, char **argv)
{
    enum { FORMAT = OPTION_OWN, TABLES, BASELINE };
    static const struct option table[] = {{"out", required_argument, NULL, 'o'},
                                          {"format", required_argument, NULL, FORMAT},
                                          {"tables", required_argument, NULL, TABLES},
                                          {"baseline", required_argument, NULL, BASELINE},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct report_options options = {.formats = REPORT_MD | REPORT_PNG | REPORT_CSV, .baseline = "vanilla"};
    struct error err = {0};
    char dir[1024];
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "o:h", table, NULL)) != -1;) {
        switch (c) {
        case 'o':
            options.dir = optarg;
            break;
        case FORMAT:
            if (parse_formats(&options.formats, optarg, &err) != OK)
                return command_fail(&err);
            options.formats_asked = (options.formats & (REPORT_PNG | REPORT_SVG)) != 0;
            break;
        case TABLES:
            options.tables = optarg;
            break;
        case BASELINE:
            options.baseline = optarg;
            break;
        case 'h':
            fputs(command_find("report")->usage, stdout);
            return OK;
        default:
            return command_option("report", argc, argv);
        }
    }
    if (optind == argc)
        return command_usage("report", "expected at least one store, S.db");
    options.stores = (const char *const *)(argv + optind);
    options.n_stores = argc - optind;
    if (options.dir == NULL) {
        default_dir(dir, sizeof dir, argv[optind]);
        options.dir = dir;
    }
    return report_write(&options, &err) == OK ? OK : command_fail(&err);
}
