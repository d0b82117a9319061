/* `winnow list`: methods, their parameters, benchmarks, families, devices, schedules, grids, printed from the
 * code's tables. */
#include <dirent.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "datasets/benchmark.h"

static void list_methods(void)
{
    int n;
    const struct reducer *const *all = reducers(&n);
    for (int i = 0; i < n; i++)
        printf("%-10s %s\n%-10s   %s\n", all[i]->name, all[i]->doc, "", all[i]->paper);
}

static void list_param(const struct param *row)
{
    static const char *const types[] = {"count", "real", "choice", "counts", "reals", "text"};
    char range[200];
    if (row->type == PARAM_CHOICE)
        snprintf(range, sizeof range, "%s", row->choices);
    else if (row->type == PARAM_TEXT)
        snprintf(range, sizeof range, "%s", "");
    else
        snprintf(range, sizeof range, "%s%g ... %g%s%s", row->low_open ? "above " : "", row->low, row->high,
                 row->choices ? ", or " : "", row->choices ? row->choices : "");
    printf("  %-11s %-7s %-12s %-24s %s\n", row->name, types[row->type], row->fallback ? row->fallback : "-",
           range, row->doc);
}

static int list_params(const char *name)
{
    int n;
    const struct reducer *const *all = reducers(&n);
    if (name && reducer_find(name) == NULL)
        return command_usage("list", "unknown method '%s'; `winnow list methods` shows them", name);
    for (int i = 0; i < n; i++) {
        if (name && strcmp(name, all[i]->name) != 0)
            continue;
        printf("%s\n  %-11s %-7s %-12s %-24s %s\n", all[i]->name, "name", "type", "default", "range", "doc");
        for (int p = 0; p < all[i]->n_params; p++)
            list_param(&all[i]->params[p]);
    }
    return OK;
}

static void list_benchmarks(void)
{
    int n;
    const struct benchmark *const *all = benchmarks(&n);
    for (int i = 0; i < n; i++)
        printf("%-12s %-8s metric: %s; published: %s\n", all[i]->name, all[i]->title, all[i]->metric,
               all[i]->published);
    printf("mini-NAME    the generated twin of pope and gqa: `winnow world`\n");
}

/* Tokens by layer that the published settings give at 576 visual tokens and 32 layers. */
static void list_schedules(void)
{
    static const char *const methods[] = {"sparsevlm", "fastv"}, *const budgets[] = {"192", "128", "96",
                                                                                     "64"};
    struct plan_input input = {.n_visual = 576,
                               .n_text = 60,
                               .n_text_after = 24,
                               .n_layers = 32,
                               .hidden = 4096,
                               .intermediate = 11008,
                               .n_heads = 32,
                               .n_kv_heads = 32,
                               .head_dim = 128};
    printf("%-10s %-7s %-28s %10s %10s   (576 visual tokens, 32 layers)\n", "method", "budget",
           "after layer: kept+clusters", "tokens_in", "tokens_out");
    for (unsigned m = 0; m < 2; m++)
        for (unsigned b = 0; b < 4; b++) {
            struct method method;
            struct plan plan;
            struct error err;
            if (method_init(&method, methods[m], &err) != OK ||
                method_set(&method, "budget", budgets[b], &err) != OK ||
                method_plan(&plan, &method, &input, &err) != OK)
                continue;
            char cuts[128] = "";
            size_t used = 0;
            for (int i = 0; i < plan.n_cuts; i++)
                used += (size_t)snprintf(cuts + used, sizeof cuts - used, "%s%d: %d+%d", i ? ", " : "",
                                         plan.cuts[i].layer, plan.cuts[i].keep, plan.cuts[i].clusters);
            printf("%-10s %-7s %-28s %10.5g %10.9g\n", methods[m], budgets[b], cuts,
                   plan_tokens_in(&plan, 576, 32), plan_tokens_out(&plan, 576, 32));
        }
}

static void list_devices(void)
{
    int n;
    const struct ops *const *all = ops_all(&n);
    for (int i = 0; i < n; i++)
        printf("%s\n", all[i]->name);
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_grids(void)
{
    DIR *dir = opendir(home_path("harness/grids"));
    char *names[64];
    int n = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir)) && n < 64;) {
        char *dot = strrchr(entry->d_name, '.');
        if (dot && strcmp(dot, ".yaml") == 0) {
            *dot = 0;
            names[n++] = strdup(entry->d_name);
        }
    }
    if (dir)
        closedir(dir);
    qsort(names, (size_t)n, sizeof *names, compare_text);
    for (int i = 0; i < n; i++) {
        puts(names[i]);
        free(names[i]);
    }
}

int cmd_list(int argc, char **argv)
{
    static const struct option table[] = {{"help", no_argument, NULL, 'h'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        if (o != 'h')
            return command_option("list", argc, argv);
        return printf("%s", command_find("list")->usage), OK;
    }
    const char *what = optind < argc ? argv[optind] : "";
    if (strcmp(what, "methods") == 0)
        list_methods();
    else if (strcmp(what, "params") == 0)
        return list_params(optind + 1 < argc ? argv[optind + 1] : NULL);
    else if (strcmp(what, "benchmarks") == 0)
        list_benchmarks();
    else if (strcmp(what, "families") == 0)
        puts("llava-1.5    Hugging Face layout: CLIP tower, two-layer projector, LLaMA decoder "
             "(llava-hf/llava-1.5-7b-hf, -13b-hf)");
    else if (strcmp(what, "devices") == 0)
        list_devices();
    else if (strcmp(what, "schedules") == 0)
        list_schedules();
    else if (strcmp(what, "grids") == 0)
        list_grids();
    else
        return command_usage(
            "list", "expected methods, params, benchmarks, families, devices, schedules or grids, found '%s'",
            what);
    return OK;
}
