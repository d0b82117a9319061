/* Tables that follow one axis: the paper's Table 1 layout (method × budget over benchmarks), and SparseVLM's
 * cells by the value of a parameter (recycling, raters, λ, τ, θ). */
#include "reports/markdown.h"
#include "reports/tables.h"

#include <jansson.h> /* params */
#include <math.h>    /* isnan */
#include <stdio.h>   /* snprintf */
#include <string.h>  /* strcmp */

#define DASH "\xe2\x80\x93"

enum { COLUMNS_MAX = 32 };

static bool same_arm(const struct arm *a, const struct arm *b)
{
    return strcmp(a->label, b->label) == 0 && strcmp(a->members[0]->budget, b->members[0]->budget) == 0 &&
           strcmp(a->members[0]->model, b->members[0]->model) == 0;
}

/* Mean over the n benchmarks that have both of score ÷ the baseline's; NaN where none has. */
static double relative_accuracy(int *n, const struct report *report, const struct arm *arm)
{
    double sum = 0;
    *n = 0;
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *other = &report->arms.arms[i], *base = report_base(report, other);
        if (arm_is_control_image(other) || !same_arm(arm, other) || base == NULL || !(base->score > 0) ||
            isnan(other->score))
            continue;
        sum += other->score / base->score;
        ++*n;
    }
    return *n > 0 ? 100 * sum / *n : (double)NAN;
}

/* The benchmark that most rows were run on, ties to the leftmost: what is compared is measured on one. */
static int common_panel(const struct arms *arms)
{
    int best = 0, most = -1;
    for (int p = 0; p < arms->n_panels; p++) {
        int n = 0;
        for (int i = 0; i < arms->n; i++)
            n += arms->arms[i].panel == p && !arm_is_control_image(&arms->arms[i]) &&
                 !isnan(arms->arms[i].score);
        if (n > most) {
            most = n;
            best = p;
        }
    }
    return best;
}

/* The same row on that benchmark; itself where it was not run there. */
static const struct arm *arm_on(const struct arms *arms, const struct arm *arm, int panel)
{
    for (int j = 0; j < arms->n; j++)
        if (arms->arms[j].panel == panel && !arm_is_control_image(&arms->arms[j]) &&
            same_arm(arm, &arms->arms[j]))
            return &arms->arms[j];
    return arm;
}

enum status section_table1(struct buffer *out, struct report *report, struct error *err)
{
    (void)err;
    const struct arms *arms = &report->arms;
    int n_panels = arms->n_panels < COLUMNS_MAX ? arms->n_panels : COLUMNS_MAX, common = common_panel(arms);
    text_add(out, "## Table 1: methods and budgets over benchmarks\n\n| method | budget |");
    for (int p = 0; p < n_panels; p++) {
        text_add(out, " ");
        text_markdown(out, arms->panels[p].title);
        text_add(out, " |");
    }
    text_add(out, " Acc %% (benchmarks) | MACs (paper's convention) | prefill, ms | KV, visual |\n|---|--:|");
    for (int p = 0; p < n_panels + 4; p++)
        text_add(out, "--:|");
    text_add(out, "\n");
    for (int i = 0; i < arms->n; i++) {
        const struct arm *arm = &arms->arms[i];
        bool shown = arm_is_control_image(arm);
        for (int j = 0; j < i && !shown; j++)
            shown = !arm_is_control_image(&arms->arms[j]) && same_arm(arm, &arms->arms[j]);
        if (shown)
            continue;
        char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE], d[NUMBER_SIZE];
        text_add(out, "| ");
        text_markdown(out, arm->label);
        text_add(out, " | ");
        text_markdown(out, arm->members[0]->budget[0] != '\0' ? arm->members[0]->budget : DASH);
        text_add(out, " |");
        for (int p = 0; p < n_panels; p++) {
            double score = (double)NAN;
            for (int j = 0; j < arms->n; j++)
                if (isnan(score) && arms->arms[j].panel == p && !arm_is_control_image(&arms->arms[j]) &&
                    same_arm(arm, &arms->arms[j]))
                    score = arms->arms[j].score;
            text_add(out, " %s |", number_fixed(a, score, arms->panels[p].decimals, false));
        }
        int n_benchmarks;
        double accuracy = relative_accuracy(&n_benchmarks, report, arm);
        const struct arm *there = arm_on(arms, arm, common);
        text_add(out, " %s (%d) | %s | %s | %s |\n", number_fixed(a, accuracy, 1, false), n_benchmarks,
                 number_si(b, ARM_MEAN(there, macs_paper)),
                 number_fixed(c, ARM_MEAN(there, prefill_ms), 1, false),
                 number_bytes(d, ARM_MEAN(there, kv_visual_bytes)));
    }
    text_add(out, "\n*Acc %%*: mean of score \xc3\xb7 the baseline's over so many benchmarks; rows with "
                  "different numbers do not compare. *MACs, prefill, KV*: of the benchmark that most rows "
                  "were run on. " DASH ": missing, ");
    report_advice(out, "table1", "the method or the benchmark");
    text_add(out, ".\n\n");
    return OK;
}

/* Value of a parameter as text; "" where the cell has none. */
static void param_text(char *out, size_t size, const struct cell *cell, const char *name)
{
    out[0] = '\0';
    json_t *params = json_loadb(cell->params, strlen(cell->params), 0, NULL);
    const json_t *value = json_object_get(params, name);
    if (json_is_string(value))
        snprintf(out, size, "%s", json_string_value(value));
    else if (json_is_number(value))
        snprintf(out, size, "%g", json_number_value(value));
    else if (json_is_boolean(value))
        snprintf(out, size, "%s", json_is_true(value) ? "on" : "off");
    json_decref(params);
}

/* SparseVLM's cells where `name` takes more than one value: one row each. */
static bool add_axis(struct buffer *out, const struct report *report, const char *name)
{
    const struct arms *arms = &report->arms;
    bool head = false;
    for (int p = 0; p < arms->n_panels; p++) {
        char first[64] = "", value[64];
        bool varies = false;
        for (int pass = 0; pass < 2; pass++) {
            if (pass == 1 && !varies)
                break;
            for (int i = 0; i < arms->n; i++) {
                const struct arm *arm = &arms->arms[i];
                if (arm->panel != p || strcmp(arm->members[0]->method, "sparsevlm") != 0 ||
                    arm_is_control_image(arm))
                    continue;
                param_text(value, sizeof value, arm->members[0], name);
                if (value[0] == '\0')
                    continue;
                if (pass == 0) {
                    varies |= first[0] != '\0' && strcmp(first, value) != 0;
                    snprintf(first, sizeof first, "%s", value);
                    continue;
                }
                if (!head)
                    text_add(out,
                             "| benchmark | budget | `%s` | settings | score | [95 %%] | \xce\x94 to the "
                             "baseline | "
                             "tokens in | badges |\n|---|--:|---|---|--:|--:|--:|--:|---|\n",
                             name);
                head = true;
                int decimals = arms->panels[p].decimals;
                char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE], d[NUMBER_SIZE], e[NUMBER_SIZE];
                const char *texts[] = {arms->panels[p].title,
                                       arm->members[0]->budget[0] != '\0' ? arm->members[0]->budget : DASH,
                                       value, arm->label};
                for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
                    text_add(out, "| ");
                    text_markdown(out, texts[t]);
                    text_add(out, " ");
                }
                text_add(out, "| %s | [%s, %s] | %s | %s | %s |\n",
                         number_fixed(a, arm->score, decimals, false),
                         number_fixed(b, arm->lo, decimals, false), number_fixed(c, arm->hi, decimals, false),
                         number_fixed(d, arm->to_base.diff, decimals, true),
                         number_fixed(e, ARM_MEAN(arm, tokens_in), 1, false),
                         arm->badges & BADGE_TUNED_ON_TEST ? "tuned on test" : "");
            }
        }
    }
    text_add(out, head ? "\n" : "");
    return head;
}

static void add_missing(struct buffer *out, const char *what, const char *grid, const char *otherwise)
{
    text_add(out, DASH "%s missing: ", what);
    report_advice(out, grid, otherwise);
    text_add(out, "\n\n");
}

enum status section_table4(struct buffer *out, struct report *report, struct error *err)
{
    (void)err;
    text_add(out, "## Table 4: token recycling\n\n");
    if (!add_axis(out, report, "recycle"))
        add_missing(out, "", "table4", "`axes: {recycle: [on, off]}` of sparsevlm");
    return OK;
}

enum status section_fig5(struct buffer *out, struct report *report, struct error *err)
{
    (void)err;
    text_add(out, "## Figure 5: which text rates\n\n");
    if (!add_axis(out, report, "raters"))
        add_missing(out, "", "raters", "`axes: {raters: [select, text, all]}` of sparsevlm");
    return OK;
}

enum status section_sensitivity(struct buffer *out, struct report *report, struct error *err)
{
    (void)err;
    text_add(out, "## Sensitivity: \xce\xbb, \xcf\x84, \xce\xb8\n\n");
    if (!add_axis(out, report, "lambda"))
        add_missing(out, " \xce\xbb", "lambda", "`axes: {lambda: [...]}` of sparsevlm");
    bool tau = add_axis(out, report, "tau"), theta = add_axis(out, report, "theta");
    if (!tau || !theta)
        add_missing(out, " \xcf\x84, \xce\xb8", "tau-theta",
                    "`axes: {tau: [...], theta: [...]}` of sparsevlm");
    return OK;
}
