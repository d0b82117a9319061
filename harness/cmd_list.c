/* `winnow list`: methods, their parameters, benchmarks, families, devices, schedules, grids, printed from the
 * code's tables: for people, as JSON, and (params, schedules) as the Markdown that docs/methods.md holds.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "builtin.h"
#include "command.h"
#include "datasets/benchmark.h"
#include "param_table.h"

#include <jansson.h>

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_MARKDOWN };

static int json_print(json_t *root)
{
    struct error err;
    return command_json(root, &err) == OK ? OK : command_fail(&err);
}

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

/* ---- methods and parameters ----------------------------------------------------------------- */

static int list_methods(enum format format)
{
    int n;
    const struct reducer *const *all = reducers(&n);
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        if (format == FORMAT_JSON)
            json_array_append_new(list, json_pack("{ss ss ss sb}", "name", all[i]->name, "doc", all[i]->doc,
                                                  "paper", all[i]->paper, "in_tower", all[i]->in_tower));
        else
            printf("%-10s %s\n%-10s   %s\n", all[i]->name, all[i]->doc, "", all[i]->paper);
    if (format == FORMAT_JSON)
        return json_print(json_pack("{so}", "methods", list));
    json_decref(list);
    return OK;
}

static int list_params(const char *name, enum format format)
{
    int n;
    const struct reducer *const *all = reducers(&n);
    if (name && reducer_find(name) == NULL)
        return command_usage("list", "unknown method '%s'; `winnow list methods` shows them", name);
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        if (name && strcmp(name, all[i]->name) != 0)
            continue;
        if (format == FORMAT_JSON)
            json_array_append_new(
                list, json_pack("{ss so}", "method", all[i]->name, "params", param_table_json(all[i])));
        else if (format == FORMAT_MARKDOWN)
            param_table_markdown(stdout, all[i], name == NULL);
        else
            param_table_text(stdout, all[i]);
    }
    if (format == FORMAT_JSON)
        return json_print(json_pack("{so}", "methods", list));
    json_decref(list);
    return OK;
}

/* ---- schedules ------------------------------------------------------------------------------ */

/* What a budget comes to on LLaVA-1.5-7B. n_text matters to match flops alone. */
static const struct plan_input llava7b = {.n_visual = 576,
                                          .n_text = 60,
                                          .n_text_after = 24,
                                          .n_images = 1,
                                          .n_layers = 32,
                                          .hidden = 4096,
                                          .intermediate = 11008,
                                          .n_heads = 32,
                                          .n_kv_heads = 32,
                                          .head_dim = 128,
                                          .n_vision_layers = 23,
                                          .grid_rows = 24,
                                          .grid_cols = 24,
                                          .vision_hidden = 1024,
                                          .vision_head_dim = 64};

struct schedule {
    char method[64], budget[8];
    enum match match;
    struct plan plan;
    double tokens_in, tokens_out;
};

/* The plan of a method (with its mode, where it has modes) that cuts inside the decoder; false: it has none
 * for this budget, or only says how many tokens enter layer 0. */
static bool schedule_make(struct schedule *out, const struct reducer *reducer, const char *mode,
                          const char *budget, enum match match)
{
    struct method method;
    struct error err;
    if (reducer->dense || method_init(&method, reducer->name, &err) != OK ||
        (mode && method_set(&method, "mode", mode, &err) != OK) ||
        method_set(&method, "budget", budget, &err) != OK ||
        method_set(&method, "match", match_names[match], &err) != OK ||
        method_plan(&out->plan, &method, &llava7b, &err) != OK || out->plan.n_cuts == 0 ||
        out->plan.cuts[0].site != SITE_DECODER)
        return false;
    snprintf(out->method, sizeof out->method, "%s%s%s", reducer->name, mode ? " " : "", mode ? mode : "");
    snprintf(out->budget, sizeof out->budget, "%s", budget);
    out->match = match;
    out->tokens_in = plan_tokens_in(&out->plan, llava7b.n_visual, llava7b.n_layers);
    out->tokens_out = plan_tokens_out(&out->plan, llava7b.n_visual, llava7b.n_layers);
    return true;
}

static json_t *schedule_json(const struct schedule *s)
{
    json_t *cuts = json_array();
    for (int i = 0; i < s->plan.n_cuts; i++) {
        const struct plan_cut *cut = &s->plan.cuts[i];
        json_array_append_new(cuts, json_pack("{si si si si}", "layer", cut->layer, "kept", cut->keep,
                                              "recycled", cut->recycled, "clusters", cut->clusters));
    }
    return json_pack("{ss si ss so sf sf}", "method", s->method, "budget", atoi(s->budget), "match",
                     match_names[s->match], "cuts", cuts, "tokens_in", s->tokens_in, "tokens_out",
                     s->tokens_out);
}

/* "300+9, 200+4, 110+3": kept and clusters of each cut; with layers "2: 300+9, …". */
static void cuts_text(char *out, size_t size, const struct plan *plan, bool layers)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < plan->n_cuts && used < size; i++) {
        const struct plan_cut *cut = &plan->cuts[i];
        char layer[16] = "", clusters[16] = "";
        if (layers)
            snprintf(layer, sizeof layer, "%d: ", cut->layer);
        if (cut->clusters > 0)
            snprintf(clusters, sizeof clusters, "+%d", cut->clusters);
        used +=
            (size_t)snprintf(out + used, size - used, "%s%s%d%s", i ? ", " : "", layer, cut->keep, clusters);
    }
}

enum { N_BUDGETS = 4 };
static const char *const budgets[N_BUDGETS] = {"192", "128", "96", "64"};

/* schedules [n ≤ N_BUDGETS] of one method and match, n at least 1. */
static void schedules_print(const struct schedule *schedules, int n, enum format format)
{
    char cuts[128];
    if (format == FORMAT_MARKDOWN) {
        printf("| %s | ", schedules[0].method);
        for (int i = 0; i < schedules[0].plan.n_cuts; i++)
            printf("%s%d", i ? ", " : "", schedules[0].plan.cuts[i].layer);
        printf(" | `%s` |", match_names[schedules[0].match]);
    }
    for (int b = 0, i = 0; b < N_BUDGETS; b++) {
        const struct schedule *s =
            i < n && strcmp(schedules[i].budget, budgets[b]) == 0 ? &schedules[i] : NULL;
        i += s != NULL;
        if (s)
            cuts_text(cuts, sizeof cuts, &s->plan, format == FORMAT_TEXT);
        if (format == FORMAT_MARKDOWN && s)
            printf(" %s → %.2f, %.2f |", cuts, s->tokens_in, s->tokens_out);
        else if (format == FORMAT_MARKDOWN)
            printf(" – |");
        else if (s)
            printf("%-14s %-7s %-11s %-31s %10.6g %10.9g\n", s->method, s->budget, match_names[s->match],
                   cuts, s->tokens_in, s->tokens_out);
    }
    if (format == FORMAT_MARKDOWN)
        putchar('\n');
}

/* The schedules of one method, by mode where it has modes (those that take a budget). */
static void schedules_of(json_t *list, const struct reducer *reducer, enum format format)
{
    static const enum match matches[] = {MATCH_OFFICIAL, MATCH_TOKENS_IN};
    char words[128] = "", *state = NULL;
    for (int p = 0; p < reducer->n_params; p++)
        if (strcmp(reducer->params[p].name, "mode") == 0)
            snprintf(words, sizeof words, "%s", reducer->params[p].choices);
    const char *mode = strtok_r(words, "|", &state);
    do
        for (unsigned m = 0; m < sizeof matches / sizeof *matches; m++) {
            struct schedule schedules[N_BUDGETS];
            int n = 0;
            for (int b = 0; b < N_BUDGETS; b++)
                n += schedule_make(&schedules[n], reducer, mode, budgets[b], matches[m]);
            for (int i = 0; i < n && format == FORMAT_JSON; i++)
                json_array_append_new(list, schedule_json(&schedules[i]));
            if (n > 0 && format != FORMAT_JSON)
                schedules_print(schedules, n, format);
        }
    while (mode && (mode = strtok_r(NULL, "|", &state)));
}

static int list_schedules(enum format format)
{
    int n;
    const struct reducer *const *all = reducers(&n);
    json_t *list = json_array();
    if (format == FORMAT_TEXT)
        printf("%-14s %-7s %-11s %-31s %10s %10s   (%d visual tokens, %d layers)\n", "method", "budget",
               "match", "after layer: kept+clusters", "tokens_in", "tokens_out", llava7b.n_visual,
               llava7b.n_layers);
    else if (format == FORMAT_MARKDOWN)
        printf(
            "| method | cuts after layers | match | 192 | 128 | 96 | 64 |\n|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < n; i++)
        schedules_of(list, all[i], format);
    if (format == FORMAT_JSON)
        return json_print(json_pack("{si si so}", "visual_tokens", llava7b.n_visual, "layers",
                                    llava7b.n_layers, "schedules", list));
    if (format == FORMAT_TEXT)
        puts("methods that act in the tower or before layer 0: the budget itself enters every layer");
    json_decref(list);
    return OK;
}

/* ---- the rest ------------------------------------------------------------------------------- */

static const char *template_of(const struct benchmark *b)
{
    return b->template ? b->template : "vicuna_v1";
}

/* "official, lmms" */
static const char *protocols_of(const struct benchmark *b)
{
    static const char *const names[] = {"official", "lmms", "vlmeval"};
    static char text[40];
    text[0] = '\0';
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (b->protocols & 1u << i)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", text[0] ? ", " : "", names[i]);
    return text;
}

static json_t *benchmark_json(const struct benchmark *b)
{
    return json_pack("{ss ss ss ss sf ss si ss ss so ss so ss}", "name", b->name, "title", b->title, "metric",
                     b->metric, "unit", b->unit, "perfect", b->scale, "cluster", b->cluster, "max_new_tokens",
                     b->max_new_tokens, "template", template_of(b), "protocols", protocols_of(b), "judge",
                     text_or_null(b->judging ? b->judging->model : NULL), "licence", b->licence, "submission",
                     text_or_null(b->submission), "published", b->published);
}

static void print_benchmark(const struct benchmark *b)
{
    printf("%-13s %s: %s (perfect: %g %s)\n", b->name, b->title, b->metric, b->scale, b->unit);
    printf("%-13s cluster: %s; at most %d tokens; template %s; protocols %s%s%s\n", "", b->cluster,
           b->max_new_tokens, template_of(b), protocols_of(b), b->judging ? "; judge " : "",
           b->judging ? b->judging->model : "");
    printf("%-13s licence: %s\n", "", b->licence);
    if (b->submission)
        printf("%-13s submission: %s\n", "", b->submission);
    printf("%-13s published: %s\n", "", b->published);
}

static int list_benchmarks(enum format format)
{
    if (format == FORMAT_MARKDOWN)
        puts("| name | benchmark | headline | cluster | answer limit | template | protocols | licence of the "
             "data |\n"
             "|---|---|---|---|---|---|---|---|");
    int n;
    const struct benchmark *const *all = benchmarks(&n);
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        if (format == FORMAT_JSON)
            json_array_append_new(list, benchmark_json(all[i]));
        else if (format == FORMAT_MARKDOWN)
            printf("| `%s` | %s | %s | %s | %d | `%s` | %s | %s |\n", all[i]->name, all[i]->title,
                   all[i]->metric, all[i]->cluster, all[i]->max_new_tokens, template_of(all[i]),
                   protocols_of(all[i]), all[i]->licence);
        else
            print_benchmark(all[i]);
    if (format == FORMAT_JSON)
        return json_print(json_pack("{so}", "benchmarks", list));
    json_decref(list);
    if (format == FORMAT_TEXT)
        printf("mini-NAME: the generated twin of NAME, in the same files; `winnow world` makes it\n");
    return OK;
}

static int list_families(enum format format)
{
    static const char name[] = "llava-1.5", doc[] = "Hugging Face layout: CLIP tower, two-layer projector, "
                                                    "LLaMA decoder (llava-hf/llava-1.5-7b-hf, -13b-hf)";
    if (format == FORMAT_JSON)
        return json_print(json_pack("{s[{ss ss}]}", "families", "name", name, "doc", doc));
    printf("%-12s %s\n", name, doc);
    return OK;
}

static int list_devices(enum format format)
{
    int n;
    const struct ops *const *all = ops_all(&n);
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        if (format == FORMAT_JSON)
            json_array_append_new(list, json_string(all[i]->name));
        else
            puts(all[i]->name);
    if (format == FORMAT_JSON)
        return json_print(json_pack("{so}", "devices", list));
    json_decref(list);
    return OK;
}

static json_t *grid_json(const char *name, const struct builtin *grid)
{
    return json_pack("{ss ss si so ss ss}", "name", name, "title", grid->title, "cells", grid->n_cells,
                     "samples", grid->n_samples < 0 ? json_null() : json_integer(grid->n_samples),
                     "benchmarks", grid->benchmarks, "without_data", grid->without_data);
}

static void print_grid(const char *name, const struct builtin *grid)
{
    char samples[24] = "all";
    if (grid->n_samples >= 0)
        snprintf(samples, sizeof samples, "%lld", grid->n_samples);
    printf("%-10s %6d %8s  %s\n", name, grid->n_cells, samples, grid->title);
    printf("%-10s %6s %8s  on %s\n", "", "", "", grid->benchmarks);
}

static int list_grids(enum format format)
{
    char names[BUILTIN_MAX][BUILTIN_NAME];
    int n = builtin_names(names);
    json_t *list = json_array();
    struct error err = {0};
    if (format == FORMAT_TEXT)
        printf("%-10s %6s %8s\n", "grid", "cells", "samples");
    if (format == FORMAT_MARKDOWN)
        puts("| grid | cells | asks | what for |\n|---|--:|---|---|");
    for (int i = 0; i < n && err.status == OK; i++) {
        struct builtin grid;
        if (builtin_describe(&grid, names[i], &err) != OK)
            continue;
        if (format == FORMAT_JSON)
            json_array_append_new(list, grid_json(names[i], &grid));
        else if (format == FORMAT_MARKDOWN)
            printf("| `%s` | %d | %s | %s |\n", names[i], grid.n_cells, grid.benchmarks, grid.title);
        else
            print_grid(names[i], &grid);
    }
    if (err.status == OK && format == FORMAT_JSON)
        return json_print(json_pack("{so}", "grids", list));
    json_decref(list);
    if (err.status != OK)
        return command_fail(&err);
    if (format == FORMAT_TEXT)
        puts("samples: of all cells, of the generated twins that stand in without --data DIR; all: whole "
             "twins");
    return OK;
}

int cmd_list(int argc, char **argv)
{
    static const struct option table[] = {{"help", no_argument, NULL, 'h'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"markdown", no_argument, NULL, 'm'},
                                          {0}};
    static const struct {
        const char *name;
        int (*list)(enum format format);
        bool markdown;
    } lists[] = {{"methods", list_methods, false},    {"benchmarks", list_benchmarks, true},
                 {"families", list_families, false},  {"devices", list_devices, false},
                 {"schedules", list_schedules, true}, {"grids", list_grids, true}};
    enum format format = FORMAT_TEXT;
    for (int o; (o = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        if (o == 'h')
            return printf("%s", command_find("list")->usage), OK;
        if (o != 'j' && o != 'm')
            return command_option("list", argc, argv);
        enum format asked = o == 'j' ? FORMAT_JSON : FORMAT_MARKDOWN;
        if (format != FORMAT_TEXT && format != asked)
            return command_usage("list", "--json and --markdown are two formats; give one of them");
        format = asked;
    }
    const char *what = optind < argc ? argv[optind] : "";
    bool params = strcmp(what, "params") == 0;
    if (argc - optind > (params ? 2 : 1))
        return command_usage("list", "'%s' is one operand too many", argv[argc - 1]);
    if (params)
        return list_params(optind + 1 < argc ? argv[optind + 1] : NULL, format);
    for (unsigned i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (strcmp(what, lists[i].name) != 0)
            continue;
        if (format == FORMAT_MARKDOWN && !lists[i].markdown)
            return command_usage(
                "list", "--markdown goes with params, benchmarks, schedules and grids, not with %s", what);
        return lists[i].list(format);
    }
    return command_usage(
        "list", "expected methods, params, benchmarks, families, devices, schedules or grids, found '%s'",
        what);
}
