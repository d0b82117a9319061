/* Where methods break: degenerate prompts and counts, parameters at the ends of their ranges and beyond, and
 * budgets of every match. See conform.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "memory.h"

/* ---- clear errors --------------------------------------------------------------------------- */

/* A trial that has to be refused, with all of the words. */
static void check_refused(struct conform *c, const struct trial *trial, const char *check,
                          const char *const *words)
{
    struct finding finding;
    finding_set(&finding, trial->status == BAD_INPUT, "refused", "status-%d", (int)trial->status);
    for (int i = 0; words[i] && finding.holds; i++)
        if (strstr(trial->err.text, words[i]) == NULL)
            finding_set(&finding, false, words[i], "not-named");
    if (!finding.holds && trial->status != OK)
        fprintf(stderr, "%s %s: %s\n", c->method, check, trial->err.text);
    conform_report(c, &finding, "%s", check);
}

static void refuse(struct conform *c, const struct reducer *reducer, const char *settings, const char *check,
                   const char *const *words)
{
    struct prompt prompt;
    struct method method;
    struct trial trial = {.method = &method, .prompt = &prompt};
    prompt_make(&prompt, 5, 1, 14);
    trial.status = conform_method(&method, reducer, settings, &trial.err);
    if (trial.status == OK)
        trial_run(&trial, c, c->beds[0].session);
    check_refused(c, &trial, check, words);
    trial_free(&trial);
}

static void check_refusals(struct conform *c, const struct reducer *reducer)
{
    static const char *const zero[] = {"no-image", NULL}, *const choices[] = {"parameters", NULL};
    refuse(c, reducer, "budget=0", "budget-0", zero);
    refuse(c, reducer, "nonsense=1", "unknown-parameter", choices);
    if (reducer->dense)
        return;
    struct method plain;
    struct error err;
    if (conform_method(&plain, reducer, "", &err) != OK)
        return;
    const char *const both[] = {"budget", reducer->counts, reducer->name, NULL};
    if (!reducer->has_counts(&plain) && !reducer->budget_free)
        refuse(c, reducer, "", "no-budget-no-counts", both);
    static const struct {
        const char *name, *settings;
    } own[] = {{"knn", "budget=48 keep=70,30,10"},
               {"ratios", "budget=48 ratios=0.5,0.2,0.1"},
               {"r", "budget=48 r=5"},
               {"dominant", "budget=48 dominant=9 contextual=3"}};
    bool found = false;
    for (unsigned i = 0; i < sizeof own / sizeof *own && !found; i++) {
        found = conform_has_param(reducer, own[i].name);
        if (found)
            refuse(c, reducer, own[i].settings, "budget-and-counts", both);
    }
    if (!found && conform_has_param(reducer, "keep"))
        refuse(c, reducer, "budget=48 keep=10", "budget-and-counts", both);
}

/* ---- degenerate prompts --------------------------------------------------------------------- */

/* Nothing to cut, or nothing that scores: vanilla, bit by bit. */
static void check_vanilla(struct conform *c, const struct reducer *reducer, const char *settings,
                          const struct prompt *prompt, const char *check)
{
    struct method method;
    struct finding finding;
    struct trial vanilla = {.prompt = prompt}, trial = {.method = &method, .prompt = prompt};
    trial_run(&vanilla, c, c->beds[0].session);
    trial.status = conform_method(&method, reducer, settings, &trial.err);
    if (trial.status == OK)
        trial_run(&trial, c, c->beds[0].session);
    if (trial.status != OK || vanilla.status != OK) {
        finding_set(&finding, false, "answer", "error");
        fprintf(stderr, "%s %s: %s\n", c->method, check, trial.err.text);
    } else {
        check_same(&finding, &vanilla.answer, &trial.answer, vlm_config(c->beds[0].vlm)->text.vocabulary);
        if (finding.holds && trial.answer.n_records > 0)
            finding_set(&finding, false, "no-cut", "%d-cuts", trial.answer.n_records);
    }
    conform_report(c, &finding, "%s[%s]", check, settings);
    trial_free(&vanilla);
    trial_free(&trial);
}

static void check_sparsevlm(struct conform *c, const struct reducer *reducer)
{
    static const struct {
        const char *settings, *budget;
    } rows[] = {
        {"rater_rule=1000", "33.3333%"},            /* no rater: all text scores */
        {"mode=paper rank_tol=1", NULL},            /* rank 0 */
        {"mode=v1.0 rank_tol=1", NULL},             /* a count of 0 is 1 */
        {"mode=v1.0 bias=-1000000", NULL},          /* and one below */
        {"keep=143,142,100", NULL},                 /* one is deleted: it comes back behind the others */
        {"keep=1,1,1", NULL},                       /* the least there can be */
        {"tau=0 keep=100,50,20", NULL},             /* C = 1 */
        {"tau=0.1 theta=0.1 keep=44,20,9", NULL},   /* C = 2: the nearest pair is equally dense */
        {"tau=1 theta=1 keep=60,30,10", NULL},      /* every dropped token a cluster of its own */
        {"tau=1 theta=0 keep=60,30,10", NULL},      /* all of them one cluster */
        {"knn=1 keep=60,30,10", NULL},              /* densities are all 1 */
        {"knn=1000000 keep=60,30,10", NULL},        /* at most as many as there are */
        {"layers=0,1,2,3 keep=99,66,33,11", NULL},  /* cut after cut */
        {"layers=19 keep=5", NULL},                 /* behind the last layer */
        {"raters=all mode=paper lambda=0.2", NULL}, /* more rows than columns */
    };
    struct prompt prompt, short_prompt;
    prompt_make(&prompt, 5, 1, 14);
    prompt_make(&short_prompt, 5, 1, 0);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        conform_setting(c, reducer, rows[i].settings, rows[i].budget, &prompt, "");
    check_vanilla(c, reducer, "budget=48 rater_rule=1000 no_rater=skip", &prompt, "no-rater-skip");
    check_vanilla(c, reducer, "mode=paper lambda=0.000001", &prompt, "nothing-to-drop");
    check_vanilla(c, reducer, "budget=48", &short_prompt, "no-text");
    conform_setting(c, reducer, "raters=all", "33.3333%", &short_prompt, ",no-text");
}

void conform_degenerate(struct conform *c, const struct reducer *reducer)
{
    static const char *const trace[] = {"trace", "file", "cell", NULL};
    static const struct {
        const char *name;
        int n_before, n_images, n_after;
    } shapes[] = {{",one-text-token", 5, 1, 1},
                  {",no-text-after", 5, 1, 0},
                  {",no-text-before", 0, 1, 14},
                  {",three-pictures", 5, 3, 14}};
    struct prompt prompt, text_only;
    prompt_make(&text_only, 12, 0, 0);
    if (reducer->has_counts == NULL || strcmp(reducer->name, "replay") == 0) {
        refuse(c, reducer, "", "no-trace", trace);
        refuse(c, reducer, "file=nowhere.h5", "no-entry", (const char *const[]){"no entry", NULL});
        return;
    }
    check_refusals(c, reducer);
    check_vanilla(c, reducer, reducer->dense ? "" : "budget=33.3333%", &text_only, "text-only");
    for (unsigned i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        prompt_make(&prompt, shapes[i].n_before, shapes[i].n_images, shapes[i].n_after);
        conform_setting(c, reducer, "", reducer->dense ? NULL : "22.2222%", &prompt, shapes[i].name);
        if (shapes[i].n_images > 1 &&
            conform_has_param(reducer, "quota")) /* 31 over three: the first gets the rest */
            conform_setting(c, reducer, "quota=per-image", "22.2222%", &prompt, shapes[i].name);
    }
    if (strcmp(reducer->name, "sparsevlm") == 0)
        check_sparsevlm(c, reducer);
}

/* ---- parameters ----------------------------------------------------------------------------- */

/* One value: it runs, and the counts agree; or it is refused by a message that names parameter or method. */
static void check_value(struct conform *c, const struct reducer *reducer, const char *base, const char *name,
                        const char *value, bool must_fail)
{
    struct prompt prompt;
    struct method method;
    struct finding finding;
    char settings[512], check[512];
    prompt_make(&prompt, 5, 1, 14);
    snprintf(check, sizeof check, "parameter[%s%s%s=%s]", base, *base ? "," : "", name, value);
    for (int attempt = 0; attempt < 2; attempt++) { /* with a budget, and where it has counts without one */
        snprintf(settings, sizeof settings, "%s%s %s=%s", attempt ? "" : "budget=33.3333% ", base, name,
                 value);
        struct trial trial = {.method = &method, .prompt = &prompt};
        trial.status = conform_method(&method, reducer, settings, &trial.err);
        bool set = trial.status == OK;
        if (set && !attempt && !reducer->dense && reducer->has_counts(&method))
            continue;
        if (set)
            trial_run(&trial, c, c->beds[0].session);
        if (must_fail) {
            check_refused(c, &trial, check, (const char *const[]){name, NULL});
        } else if (trial.status == OK) {
            check_numbers(&finding, &trial.answer, vlm_config(c->beds[0].vlm)->text.vocabulary);
            if (finding.holds)
                check_counts(&finding, &trial.answer);
            for (int i = 0; i < trial.answer.n_records && finding.holds; i++)
                check_order(&finding, &trial.answer.records[i]);
            conform_report(c, &finding, "%s", check);
        } else {
            bool named = strstr(trial.err.text, name) || strstr(trial.err.text, reducer->name);
            finding_set(&finding, trial.status == BAD_INPUT && named, "answer-or-named-error", "status-%d",
                        (int)trial.status);
            if (!finding.holds)
                fprintf(stderr, "%s %s: %s\n", c->method, check, trial.err.text);
            conform_report(c, &finding, "%s", check);
        }
        trial_free(&trial);
        return;
    }
}

static void number_text(char *out, size_t size, double value)
{
    snprintf(out, size, value == floor(value) && fabs(value) < 1e16 ? "%.0f" : "%.17g", value);
}

static void check_ends(struct conform *c, const struct reducer *reducer, const char *base,
                       const struct param *p)
{
    char low[64], high[64], text[160], beyond[64];
    bool whole = p->type == PARAM_COUNT || p->type == PARAM_COUNTS,
         list = p->type == PARAM_COUNTS || p->type == PARAM_REALS;
    number_text(low, sizeof low, p->low_open ? p->low + 1e-6 : p->low);
    number_text(high, sizeof high, p->high);
    check_value(c, reducer, base, p->name, low, false);
    check_value(c, reducer, base, p->name, high, false);
    number_text(beyond, sizeof beyond, p->low_open ? p->low : p->low - (whole ? 1 : 0.5));
    check_value(c, reducer, base, p->name, beyond, true);
    number_text(beyond, sizeof beyond, whole ? p->high + 2 : p->high * 1.5 + 1);
    check_value(c, reducer, base, p->name, beyond, true);
    check_value(c, reducer, base, p->name, "?", true);
    if (!list)
        return;
    for (int n = 2; n <= 4; n++) {
        text[0] = 0;
        for (int i = 0; i < n; i++) {
            char number[40];
            number_text(number, sizeof number, i == 0 ? p->low : i == n - 1 ? p->high : p->low + i);
            if (p->type == PARAM_REALS)
                number_text(number, sizeof number, i % 2 ? p->low : p->high);
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? "," : "", number);
        }
        check_value(c, reducer, base, p->name, text, false);
    }
}

static void check_param(struct conform *c, const struct reducer *reducer, const char *base,
                        const struct param *p)
{
    if (p->choices) {
        char words[256], *rest = words;
        snprintf(words, sizeof words, "%s", p->choices);
        for (char *word; (word = strtok_r(rest, "|", &rest)) != NULL;)
            check_value(c, reducer, base, p->name, word, false);
        check_value(c, reducer, base, p->name, "nonsense", true);
    }
    if (p->type == PARAM_TEXT)
        check_value(c, reducer, base, p->name, "nowhere", false);
    else if (p->type != PARAM_CHOICE)
        check_ends(c, reducer, base, p);
}

void conform_parameters(struct conform *c, const struct reducer *reducer)
{
    const struct param *axis = NULL; /* what other parameters mean depends on it */
    for (int i = 0; i < reducer->n_params; i++)
        if (strcmp(reducer->params[i].name, "mode") == 0 || strcmp(reducer->params[i].name, "at") == 0)
            axis = &reducer->params[i];
    char words[256], *rest = words;
    snprintf(words, sizeof words, "%s", axis ? axis->choices : "");
    for (char *word = axis ? strtok_r(rest, "|", &rest) : words; word; word = strtok_r(rest, "|", &rest)) {
        char base[320] = "";
        if (axis)
            snprintf(base, sizeof base, "%s=%s", axis->name, word);
        for (int i = 0; i < reducer->n_params; i++)
            if (&reducer->params[i] != axis)
                check_param(c, reducer, base, &reducer->params[i]);
        if (axis == NULL)
            break;
    }
    if (axis)
        check_param(c, reducer, "", axis);
}

/* ---- budgets -------------------------------------------------------------------------------- */

/* Multiply-accumulates of a vanilla prefill with n visual tokens, n a real number. */
static double vanilla_macs(const struct ledger *l, double n_visual)
{
    double n = n_visual + l->n_text, d = l->hidden, q = (double)l->n_heads * l->head_dim,
           k = (double)l->n_kv_heads * l->head_dim;
    return l->n_layers * (n * d * (2 * q + 2 * k) + 2 * n * n * q + 3 * n * d * l->intermediate);
}

/* What the ledger says the matched figure came to. */
static double matched(const struct answer *answer, enum match match, double budget)
{
    const struct ledger *l = &answer->ledger;
    if (match == MATCH_TOKENS_IN)
        return ledger_tokens_in(l);
    if (match == MATCH_TOKENS_OUT)
        return ledger_tokens_out(l);
    return budget * (double)(l->macs[STAGE_PREFILL] + l->macs[STAGE_SELECT]) / vanilla_macs(l, budget);
}

static void check_budget(struct conform *c, const struct reducer *reducer, const char *base, enum match match,
                         int budget)
{
    struct prompt prompt;
    struct method method;
    struct finding finding;
    char settings[128];
    prompt_make(&prompt, 5, 1, 14);
    snprintf(settings, sizeof settings, "%s%sbudget=%d match=%s", base, *base ? " " : "", budget,
             match_names[match]);
    struct trial trial = {.method = &method, .prompt = &prompt};
    trial.status = conform_method(&method, reducer, settings, &trial.err);
    if (trial.status == OK)
        trial_run(&trial, c, c->beds[0].session);
    if (trial.status == OK) {
        double off = matched(&trial.answer, match, budget) - budget,
               said = trial.answer.plan.measured - matched(&trial.answer, match, budget);
        /* how many rows score is known before the run, or not (raters) */
        struct plan_cut cut = {.site = SITE_DECODER};
        bool known = match != MATCH_FLOPS || reducer->score(&method, &cut).rows != ROWS_CHOSEN;
        double limit = fmax(1, 0.01 * budget);
        finding_set(&finding, fabs(off) <= limit && fabs(said) <= (known ? 1e-6 * budget : limit),
                    "1-token-or-1%-and-as-planned", "%.4g-off-%.2g-from-the-plan", off, said);
    } else {
        bool nearest = strstr(trial.err.text, "nearest possible") != NULL;
        finding_set(&finding, trial.status == BAD_INPUT && nearest, "nearest-possible", "refused");
        if (!finding.holds)
            fprintf(stderr, "%s %s: %s\n", c->method, settings, trial.err.text);
    }
    conform_report(c, &finding, "match[%s]", settings);
    trial_free(&trial);
}

void conform_budgets(struct conform *c, const struct reducer *reducer)
{
    static const int budgets[] = {100, 48, 33, 16, 3};
    if (reducer->dense)
        return;
    for (enum match match = MATCH_TOKENS_IN; match <= MATCH_FLOPS; match++)
        for (unsigned b = 0; b < sizeof budgets / sizeof *budgets; b++) {
            check_budget(c, reducer, "", match, budgets[b]);
            if (conform_has_param(reducer, "mode"))
                check_budget(c, reducer, "mode=plus", match, budgets[b]);
            if (conform_has_param(reducer, "query"))
                check_budget(c, reducer, "query=all", match, budgets[b]);
        }
    refuse(c, reducer, "budget=48 match=latency", "match-latency", (const char *const[]){"latency", NULL});
}
