/* `winnow merge`: the command line of a merge; what it does is merge.c's. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

#include "core/json.h"
#include "harness/command.h"
#include "harness/merge.h"

enum { PLACES_MAX = 64, CONFLICTS_SHOWN = 20 };

static void print_report(const struct merge_report *report, const struct merge_options *options)
{
    char kept[PRINTABLE_SIZE], other[PRINTABLE_SIZE];
    for (int i = 0; i < report->n_conflicts && i < CONFLICTS_SHOWN; i++) {
        const struct merge_conflict *x = &report->conflicts[i];
        printf("conflict: %s %s %s, sample %d: %s differs; kept \"%s\", %s has \"%s\"\n", x->key,
               x->benchmark, x->label, x->sample_id, x->differs, printable(kept, x->kept), x->input,
               printable(other, x->other));
    }
    if (report->n_conflicts > CONFLICTS_SHOWN)
        printf("... and %d more conflicts: --json lists all\n", report->n_conflicts - CONFLICTS_SHOWN);
    for (int i = 0; i < report->n_unscored; i++)
        printf("no files of %s found: %d cells without a score, comparisons not made anew\n",
               report->unscored[i].benchmark, report->unscored[i].n_cells);
    printf("%s: %d cells, %d samples; from %d store%s %d rows added, %d equal, %d replaced, %d failed ones "
           "left out, "
           "%d conflicts",
           options->out, report->n_cells, report->n_samples, options->n_inputs,
           options->n_inputs > 1 ? "s" : "", report->n_added, report->n_equal, report->n_replaced,
           report->n_superseded, report->n_conflicts);
    printf(report->n_verdicts > 0 ? "; %d verdicts taken over\n" : "\n", report->n_verdicts);
}

/* Answers of a model may be cut inside a character. */
static json_t *text_json(const char *text)
{
    json_t *json = json_string(text);
    return json ? json : json_string("(no UTF-8)");
}

static enum status print_json(const struct merge_report *report, const struct merge_options *options,
                              struct error *err)
{
    json_t *inputs = json_array(), *conflicts = json_array(), *unscored = json_array();
    for (int i = 0; i < options->n_inputs; i++)
        json_array_append_new(inputs, json_string(options->inputs[i]));
    for (int i = 0; i < report->n_conflicts; i++) {
        const struct merge_conflict *x = &report->conflicts[i];
        json_array_append_new(conflicts, json_pack("{s:o, s:o, s:o, s:i, s:s, s:o, s:o, s:o}", "key",
                                                   text_json(x->key), "benchmark", text_json(x->benchmark),
                                                   "label", text_json(x->label), "sample_id", x->sample_id,
                                                   "differs", x->differs, "kept", text_json(x->kept), "input",
                                                   text_json(x->input), "other", text_json(x->other)));
    }
    for (int i = 0; i < report->n_unscored; i++)
        json_array_append_new(unscored, json_pack("{s:s, s:i}", "benchmark", report->unscored[i].benchmark,
                                                  "cells", report->unscored[i].n_cells));
    return command_json(json_pack("{s:s, s:o, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "store",
                                  options->out, "inputs", inputs, "cells", report->n_cells, "samples",
                                  report->n_samples, "added", report->n_added, "equal", report->n_equal,
                                  "replaced", report->n_replaced, "superseded", report->n_superseded,
                                  "verdicts", report->n_verdicts, "conflicts", conflicts, "unscored",
                                  unscored),
                        err);
}

static int add_place(const char **places, int *n, const char *option)
{
    if (*n == PLACES_MAX)
        return command_usage("merge", "--%s may be given up to %d times", option, PLACES_MAX);
    places[(*n)++] = optarg;
    return OK;
}

int cmd_merge(int argc, char **argv)
{
    enum { DATA = OPTION_OWN, QUESTIONS, ANNOTATIONS };
    static const struct option table[] = {{"json", no_argument, NULL, OPTION_JSON},
                                          {"data", required_argument, NULL, DATA},
                                          {"questions", required_argument, NULL, QUESTIONS},
                                          {"annotations", required_argument, NULL, ANNOTATIONS},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    const char *roots[PLACES_MAX], *questions[PLACES_MAX], *annotations[PLACES_MAX];
    struct merge_options options = {
        .places = {.questions = questions, .annotations = annotations, .roots = roots}};
    bool json = false;
    int bad = OK;
    optind = 1;
    for (int c; bad == OK && (c = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        switch (c) {
        case 'h':
            printf("%s", command_find("merge")->usage);
            return OK;
        case OPTION_JSON:
            json = true;
            break;
        case DATA:
            bad = add_place(roots, &options.places.n_roots, "data");
            break;
        case QUESTIONS:
            bad = add_place(questions, &options.places.n_questions, "questions");
            break;
        case ANNOTATIONS:
            bad = add_place(annotations, &options.places.n_annotations, "annotations");
            break;
        default:
            return command_option("merge", argc, argv);
        }
    }
    if (bad != OK)
        return bad;
    if (argc - optind < 2)
        return command_usage("merge", "expected OUT.db and at least one IN.db, found %d", argc - optind);
    options.out = argv[optind];
    options.inputs = (const char *const *)argv + optind + 1;
    options.n_inputs = argc - optind - 1;
    struct merge_report report;
    struct error err = {0};
    enum status status = merge_stores(&report, &options, &err);
    if (status == OK || status == NOT_HELD) {
        struct error json_err = {0};
        if (!json)
            print_report(&report, &options);
        else if (print_json(&report, &options, &json_err) != OK)
            return command_fail(&json_err);
    }
    merge_report_free(&report);
    return status == OK ? OK : command_fail(&err);
}
