/* `winnow bench`: methods timed side by side on a checkpoint or a known geometry with random weights.
 *
 * This file: options, and the rows, one a method, budget and number of visual tokens, with their plans.
 * --plan stops there: it computes what needs no run (counts, FLOPs, bytes) and allocates nothing. bench_run.c
 * times, bench_print.c prints.
 */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "core/limits.h" /* LIMIT_* */
#include "machine.h"
#include "memory.h"

enum {
    MAX_ROWS = 256,
    OPTION_PLAN = OPTION_OWN,
    OPTION_GEOMETRY,
    OPTION_METHODS,
    OPTION_BUDGETS,
    OPTION_MATCH,
    OPTION_VISUAL,
    OPTION_TEXT,
    OPTION_BATCH,
    OPTION_DECODE,
    OPTION_REPEATS,
    OPTION_SPREAD
};

static const char default_budgets[] = "192,128,64";

const struct row *bench_dense(const struct bench *b, int n_visual)
{
    for (int i = 0; i < b->n_rows; i++)
        if (b->rows[i].method.reducer->dense && b->rows[i].n_visual == n_visual)
            return &b->rows[i];
    return NULL;
}

const struct tower_times *bench_tower(const struct bench *b, const struct row *row)
{
    return row->method.reducer->in_tower ? &row->own_tower : &b->tower;
}

/* ---- plans ---------------------------------------------------------------------------------- */

double bench_roofline(const struct bench *b, double n)
{
    const struct vlm_config *c = &b->config;
    double d = c->text.hidden, m = c->text.intermediate, q = (double)c->text.n_heads * c->text.head_dim,
           k = (double)c->text.n_kv_heads * c->text.head_dim;
    double weight_size = b->common.dtype == DTYPE_CHOICE_BF16 ? 2 : 4;
    const double products[][2] = {{d, q}, {d, k}, {d, k}, {q, d}, {d, m}, {d, m}, {m, d}};
    double seconds = fmax(4 * n * n * q / b->gemm_flops, 4 * n * (2 * q + 2 * k) / b->read_bytes);
    for (unsigned i = 0; i < sizeof products / sizeof *products; i++)
        seconds +=
            fmax(2 * n * products[i][0] * products[i][1] / b->gemm_flops,
                 (weight_size * products[i][0] * products[i][1] + 4 * n * (products[i][0] + products[i][1])) /
                     b->read_bytes);
    return seconds;
}

/* A plan's figures. Where counts depend on the data, none is known yet. */
static enum status row_plan(struct row *row, const struct bench *b, struct error *err)
{
    const struct vlm_config *c = &b->config;
    struct plan_input input = vlm_plan_input(c, row->n_visual, b->n_text, b->n_text - 1);
    input.n_images = row->n_images;
    TRY(method_plan(&row->plan, &row->method, &input, err));
    TRY(vlm_image_macs(&row->macs_vision, &row->macs_project, c, &row->method, row->n_images, err));
    if (plan_is_adaptive(&row->plan)) {
        row->tokens_in = row->tokens_out = row->macs_prefill = row->macs_select = row->macs_paper =
            row->kv_live = row->kv_alloc = NAN;
        return OK;
    }
    int in[LIMIT_LAYERS], out[LIMIT_LAYERS], n_layers = c->text.n_layers;
    plan_trajectory(in, out, &row->plan, row->n_visual, n_layers);
    double token = 2.0 * c->text.n_kv_heads * c->text.head_dim * 4;
    for (int l = 0; l < n_layers; l++) {
        int n = in[l] + b->n_text;
        row->tokens_in += (double)in[l] / n_layers;
        row->tokens_out += (double)out[l] / n_layers;
        row->macs_prefill += (double)macs_layer(n, n, c->text.hidden, c->text.intermediate, c->text.n_heads,
                                                c->text.n_kv_heads, c->text.head_dim);
        row->macs_paper += (double)macs_layer_paper(n, c->text.hidden, c->text.intermediate, c->text.n_heads,
                                                    c->text.n_kv_heads, c->text.head_dim);
        row->kv_live += n * token;
        row->kv_alloc += (n + KV_PAGE - 1) / KV_PAGE * KV_PAGE * token;
    }
    if (row->plan.n_cuts > 0)
        row->macs_select = row->method.reducer->plan_select_macs(&row->plan, &row->method, &input);
    return OK;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static bool has_param(const struct method *method, const char *key)
{
    for (int i = 0; i < method->params.n; i++)
        if (strcmp(method->params.table[i].name, key) == 0)
            return true;
    return strcmp(key, "budget") == 0 || strcmp(key, "match") == 0;
}

/* "KEY=VALUE" to the method; where it may lack the key, *known says whether it has it. */
static enum status setting_apply(struct method *method, const char *text, bool *known, struct error *err)
{
    char key[64];
    const char *equals = strchr(text, '=');
    if (equals == NULL || (size_t)(equals - text) >= sizeof key)
        return fail(err, BAD_INPUT, "'%.80s': expected KEY=VALUE", text);
    snprintf(key, sizeof key, "%.*s", (int)(equals - text), text);
    *known = has_param(method, key);
    if (!*known)
        return OK;
    return method_set(method, key, equals + 1, err);
}

/* The method with -p and its own settings "K=V;K=V"; text is cut up. */
static enum status method_make(struct method *out, struct bench *b, const char *name, char *settings,
                               struct error *err)
{
    bool known;
    char *state;
    TRY(method_init(out, name, err));
    TRY(method_set(out, "match", b->match, err));
    for (int i = 0; i < b->n_set; i++) { /* with several methods a parameter is for those that have it */
        TRY(setting_apply(out, b->set[i], &known, err));
        b->set_used[i] = b->set_used[i] || known;
    }
    for (char *t = strtok_r(settings, ";", &state); t; t = strtok_r(NULL, ";", &state)) {
        t += strspn(t, " ");
        TRY(setting_apply(out, t, &known, err));
        if (!known)
            return fail(err, BAD_INPUT, "--methods %s[%s]: no such parameter; see `winnow list params %s`",
                        name, t, name);
    }
    return OK;
}

/* Where the pictures matter to a method, there is a whole number of them. */
static enum status row_check(const struct row *row, const struct bench *b, struct error *err)
{
    const struct reducer *reducer = row->method.reducer;
    struct method like;
    int each = b->config.visual_per_image;
    if (row->n_visual % each && (reducer->in_tower || strcmp(reducer->name, "pool") == 0))
        return fail(err, BAD_INPUT,
                    "method %s needs whole pictures, and one is %d visual tokens; --visual-tokens %d is no "
                    "whole number of them",
                    reducer->name, each, row->n_visual);
    if (reducer->shadows(&like, &row->method) && plan_is_adaptive(&row->plan))
        return fail(
            err, BAD_INPUT,
            "method %s: the counts of the method it shadows depend on the sample, so there is nothing "
            "to follow in bench; name a method of fixed counts in `like`",
            reducer->name);
    return OK;
}

static enum status row_add(struct bench *b, const struct method *method, const char *settings,
                           const char *budget, int n_visual, struct error *err)
{
    if (b->n_rows == MAX_ROWS)
        return fail(err, BAD_INPUT, "more than %d rows", MAX_ROWS);
    int each = b->config.visual_per_image;
    struct row *row = &b->rows[b->n_rows];
    *row = (struct row){.method = *method,
                        .settings = settings,
                        .n_visual = n_visual,
                        .n_images =
                            n_visual % each == 0 && n_visual / each <= LIMIT_IMAGES ? n_visual / each : 1};
    if (budget)
        TRY(method_set(&row->method, "budget", budget, err));
    TRY(row_plan(row, b, err));
    TRY(row_check(row, b, err));
    b->n_rows++;
    return OK;
}

/* One row a budget; a method with counts of its own, and vanilla, one row. Vanilla is always there, to
 * compare with. spec: NAME or NAME[K=V;K=V]; it is cut up. */
static enum status method_rows(struct bench *b, char *spec, int n_visual, struct error *err)
{
    char *settings = strchr(spec, '['), *end = settings ? strchr(settings, ']') : NULL;
    if (settings && (end == NULL || end[1] != 0))
        return fail(err, BAD_INPUT, "--methods '%.80s': expected NAME or NAME[KEY=VALUE;KEY=VALUE]", spec);
    if (settings)
        *settings++ = *end = 0;
    else
        settings = spec + strlen(spec);
    if (strcmp(spec, "replay") == 0)
        return fail(
            err, BAD_INPUT,
            "method replay repeats the stored cuts of single samples and has no prompt of its own to be "
            "timed on; bench the method that made the trace");
    char *text = memory_text(settings);
    if (text == NULL)
        return memory_failed(err, "settings", strlen(settings));
    struct method method;
    enum status status = method_make(&method, b, spec, text, err);
    free(text);
    TRY(status);
    if (method.reducer->dense)
        return bench_dense(b, n_visual) ? OK : row_add(b, &method, settings, NULL, n_visual, err);
    if (method.budget.given || method.reducer->has_counts(&method) ||
        (b->budgets == NULL && method.reducer->budget_free))
        return row_add(b, &method, settings, NULL, n_visual, err);
    char *budgets = memory_text(b->budgets ? b->budgets : default_budgets), *state;
    if (budgets == NULL)
        return memory_failed(err, "budgets", sizeof default_budgets);
    for (char *t = strtok_r(budgets, ",", &state); t && status == OK; t = strtok_r(NULL, ",", &state))
        status = row_add(b, &method, settings, t, n_visual, err);
    free(budgets);
    return status;
}

/* The next entry of a list with commas between, and within brackets; NULL at its end. */
static char *next_entry(char **at)
{
    char *entry = *at, *p = entry;
    if (*entry == 0)
        return NULL;
    for (int depth = 0; *p && (*p != ',' || depth > 0); p++)
        depth += (*p == '[') - (*p == ']');
    *at = *p ? p + 1 : p;
    *p = 0;
    return entry;
}

/* `names` is a copy of --methods for each number of visual tokens: rows keep pointers into it. */
static enum status visual_rows(struct bench *b, const char *visual, char *names, struct error *err)
{
    char vanilla[] = "vanilla", *at = names;
    int64_t n_visual;
    TRY(parse_int(&n_visual, visual, 1, LIMIT_SEQUENCE, "--visual-tokens", err));
    TRY(method_rows(b, vanilla, (int)n_visual, err));
    b->rows[b->n_rows - 1].settings = ""; /* not in names */
    for (char *m = next_entry(&at); m; m = next_entry(&at))
        TRY(method_rows(b, m, (int)n_visual, err));
    return OK;
}

static enum status rows_make(struct bench *b, struct error *err)
{
    char usual[32];
    snprintf(usual, sizeof usual, "%d", b->config.visual_per_image);
    const char *list = b->visual ? b->visual : usual;
    size_t n_visual = 1, n_names = strlen(b->methods) + 1;
    for (const char *p = list; *p; p++)
        n_visual += *p == ',';
    char *visual = memory_text(list), *state;
    b->names = memory_alloc(n_visual, n_names);
    enum status status = visual && b->names ? OK : memory_failed(err, "rows", n_visual * n_names);
    char *names = b->names;
    for (char *v = status == OK ? strtok_r(visual, ",", &state) : NULL; v && status == OK;
         v = strtok_r(NULL, ",", &state), names += n_names) {
        memcpy(names, b->methods, n_names);
        status = visual_rows(b, v, names, err);
    }
    for (int i = 0; i < b->n_set && status == OK; i++)
        if (!b->set_used[i])
            status = fail(err, BAD_INPUT,
                          "-p %s: none of the methods %s has this parameter; see `winnow list params`",
                          b->set[i], b->methods);
    free(visual);
    return status;
}

/* ---- options -------------------------------------------------------------------------------- */

static enum status option_take(struct bench *b, int option, char *argument, struct error *err)
{
    bool taken;
    int64_t number = 0;
    TRY(common_option(&b->common, option, argument, &taken, err));
    if (taken)
        return OK;
    switch (option) {
    case OPTION_PLAN:
        b->plan = true;
        return OK;
    case OPTION_GEOMETRY:
        b->geometry = argument;
        return OK;
    case OPTION_METHODS:
        b->methods = argument;
        return OK;
    case OPTION_BUDGETS:
        b->budgets = argument;
        return OK;
    case OPTION_MATCH:
        b->match = argument;
        return OK;
    case OPTION_VISUAL:
        b->visual = argument;
        return OK;
    case OPTION_TEXT:
        TRY(parse_int(&number, argument, 2, LIMIT_SEQUENCE, "--text-tokens", err));
        b->n_text = (int)number;
        return OK;
    case OPTION_BATCH:
        return parse_int(&number, argument, 1, 1, "--batch (one sequence at a time so far)", err);
    case OPTION_DECODE:
        TRY(parse_int(&number, argument, 0, LIMIT_NEW_TOKENS - 1, "--decode", err));
        b->n_decode = (int)number;
        return OK;
    case OPTION_REPEATS:
        TRY(parse_int(&number, argument, 1, BENCH_MAX_REPEATS, "--repeats", err));
        b->n_repeats = (int)number;
        return OK;
    case OPTION_SPREAD:
        return parse_real(&b->spread, argument, 0, 1, "--spread", err);
    case 'p':
        if (b->n_set == (int)(sizeof b->set / sizeof *b->set))
            return fail(err, BAD_INPUT, "more than %d parameters", b->n_set);
        b->set[b->n_set++] = argument;
        return OK;
    default:
        return fail(err, BAD_INPUT, "unknown option; see `winnow help bench`");
    }
}

int cmd_bench(int argc, char **argv)
{
    static const struct option table[] = {COMMON_OPTIONS,
                                          {"plan", no_argument, NULL, OPTION_PLAN},
                                          {"geometry", required_argument, NULL, OPTION_GEOMETRY},
                                          {"methods", required_argument, NULL, OPTION_METHODS},
                                          {"budgets", required_argument, NULL, OPTION_BUDGETS},
                                          {"match", required_argument, NULL, OPTION_MATCH},
                                          {"visual-tokens", required_argument, NULL, OPTION_VISUAL},
                                          {"text-tokens", required_argument, NULL, OPTION_TEXT},
                                          {"batch", required_argument, NULL, OPTION_BATCH},
                                          {"decode", required_argument, NULL, OPTION_DECODE},
                                          {"repeats", required_argument, NULL, OPTION_REPEATS},
                                          {"spread", required_argument, NULL, OPTION_SPREAD},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct bench b = {.methods = "vanilla,sparsevlm,fastv,random",
                      .match = "official",
                      .n_text = 64,
                      .n_decode = 8,
                      .n_repeats = 7};
    struct error err;
    common_init(&b.common);
    for (int o; (o = getopt_long(argc, argv, "hp:", table, NULL)) != -1;) {
        if (o == 'h')
            return printf("%s", command_find("bench")->usage), OK;
        if (o == '?')
            return command_option("bench", argc, argv);
        if (option_take(&b, o, optarg, &err) != OK)
            return command_fail(&err);
    }
    if (optind < argc)
        return command_usage("bench", "unexpected '%s'", argv[optind]);
    b.device = b.common.device ? b.common.device : "cpu";
    char machine[MACHINE_SIZE];
    machine_name(machine, sizeof machine);
    b.rows = memory_zero(MAX_ROWS, sizeof *b.rows);
    enum status status = b.rows ? OK : memory_failed(&err, "rows", MAX_ROWS * sizeof *b.rows);
    if (status == OK)
        status = vlm_describe(&b.config, &(struct vlm_options){.dir = b.common.model, .geometry = b.geometry},
                              &err);
    if (status == OK)
        status = rows_make(&b, &err);
    if (status == OK && !b.plan)
        status = bench_run(&b, &err);
    if (status == OK)
        status = (b.common.json ? bench_json : bench_table)(&b, machine, &err);
    bench_free(&b);
    return status == OK ? OK : command_fail(&err);
}
