/* The tables of report.md from panels and arms: what was run, the main table, controls, the paper's figures,
 * where each cell's rows are. The tables that sweep one axis (recycling, raters, λ, τ, θ) are in
 * table_axes.c. */
#include "core/json.h"
#include "harness/command.h"
#include "harness/stats.h"
#include "reports/markdown.h"
#include "reports/tables.h"

#include <math.h>   /* isnan, sqrt */
#include <stdio.h>  /* snprintf */
#include <string.h> /* strcmp */

#define DASH "\xe2\x80\x93"

const struct arm *report_base(const struct report *report, const struct arm *arm)
{
    return arm->base >= 0 ? &report->arms.arms[arm->base] : NULL;
}

const char *report_grid(const struct cell *cell)
{
    return strncmp(cell->benchmark, "mini-", 5) == 0 ? "default" : "full";
}

void report_advice(struct buffer *out, const char *grid, const char *otherwise)
{
    char name[100];
    snprintf(name, sizeof name, "harness/grids/%.64s.yaml", grid);
    if (file_exists(home_path(name)))
        text_add(out, "`make sweep GRID=%s`", grid);
    else
        text_add(out, "add %s to your sweep", otherwise);
}

enum status report_path(char *out, size_t size, const struct report *report, const char *name,
                        struct error *err)
{
    int n = snprintf(out, size, "%s/%s", report->dir, name);
    return n > 0 && (size_t)n < size ? OK : fail(err, BAD_INPUT, "-o: the name is too long");
}

void report_announce(const char *path)
{
    printf("%s\n", path);
}

/* ---- what was run --------------------------------------------------------------------------- */

/* "a, b": the different values of a text column. */
static void add_distinct(struct buffer *out, const struct cells *cells, size_t offset)
{
    int shown = 0;
    for (int i = 0; i < cells->n; i++) {
        char *value, *before;
        memcpy(&value, (const char *)&cells->cells[i] + offset, sizeof value);
        bool new = value[0] != '\0';
        for (int j = 0; j < i && new; j++) {
            memcpy(&before, (const char *)&cells->cells[j] + offset, sizeof before);
            new = strcmp(before, value) != 0;
        }
        if (!new)
            continue;
        text_add(out, shown++ > 0 ? ", " : "");
        text_markdown(out, value);
    }
    if (shown == 0)
        text_add(out, DASH);
}

/* Median half-width of the 95 % intervals of paired differences to the baseline in a panel. */
static double measured_half_width(const struct report *report, int panel)
{
    double widths[256];
    int n = 0;
    for (int i = 0; i < report->arms.n && n < 256; i++) {
        const struct arm *arm = &report->arms.arms[i];
        if (arm->panel != panel || isnan(arm->to_base.diff) || arm->n_members > 1)
            continue;
        widths[n++] = (arm->to_base.hi - arm->to_base.lo) / 2;
    }
    return median(widths, n);
}

enum status section_run(struct buffer *out, struct report *report, struct error *err)
{
    (void)err;
    static const struct {
        const char *name;
        size_t offset;
    } rows[] = {{"model", offsetof(struct cell, model)},
                {"family", offsetof(struct cell, family)},
                {"device", offsetof(struct cell, device)},
                {"dtype", offsetof(struct cell, dtype)},
                {"machine", offsetof(struct cell, machine)},
                {"prompt template", offsetof(struct cell, template_name)},
                {"image mode", offsetof(struct cell, image_mode)},
                {"revision", offsetof(struct cell, revision)}};
    const struct cells *cells = report->cells;
    text_add(out, "# Winnow report\n\n## What was run\n\n| | |\n|---|---|\n| store |");
    for (int i = 0; i < cells->n_stores; i++) {
        text_add(out, i > 0 ? ", `" : " `");
        text_code(out, cells->stores[i]);
        text_add(out, "`");
    }
    text_add(out, " |\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        text_add(out, "| %s | ", rows[i].name);
        add_distinct(out, cells, rows[i].offset);
        text_add(out, " |\n");
    }
    int failed = 0, empty = 0;
    for (int i = 0; i < cells->n; i++) {
        failed += cells->cells[i].n_failed > 0;
        empty += cells->cells[i].n == 0;
    }
    text_add(out, "| cells | %d, %d with failed samples, %d without a result |\n\n", cells->n, failed, empty);

    text_add(out, "| benchmark | headline | samples | smallest detectable difference, points of accuracy | "
                  "half the 95 %% interval of a \xce\x94 |\n|---|---|--:|--:|--:|\n");
    bool mini = false;
    for (int i = 0; i < report->arms.n_panels; i++) {
        const struct panel *panel = &report->arms.panels[i];
        const struct cell *cell = panel->base >= 0 ? report->arms.arms[panel->base].members[0] : panel->cell;
        char expected[NUMBER_SIZE], measured[NUMBER_SIZE];
        mini |= strncmp(cell->benchmark, "mini-", 5) == 0;
        number_fixed(expected, 100 * minimum_detectable(cell->n, 0.08, 1), 2, false);
        number_fixed(measured, measured_half_width(report, i), 2, false);
        text_add(out, "| ");
        text_markdown(out, panel->title);
        text_add(out, " | ");
        text_markdown(out, cell->metric[0] != '\0' ? cell->metric : DASH);
        text_add(out, " | %.0f | %s | %s |\n", cell->n, expected, measured);
    }
    text_add(
        out,
        "\n*Smallest detectable difference*: the true difference that a test at 5 %% finds with 80 %% "
        "power, in points of accuracy per question (whatever the headline is), where 8 %% of the answers "
        "change and samples are independent. *Half the interval*: the median over the comparisons below, in "
        "the unit of the headline, whole images drawn; a difference smaller than this cannot be told from "
        "none.\n\n");
    if (mini)
        text_add(
            out,
            "> **What this can show.** `mini-` benchmarks are generated, and the built-in miniature model is "
            "small. Rankings on them show that the bench works, not which method is better; for that, run "
            "the same grid on a real checkpoint and the official files. Where the miniature's attention "
            "falls "
            "was made on purpose (models/README.md): nothing told its layer 1, whose last row FastV reads, "
            "where to look, and its layers 2 to 15, whose attention SparseVLM reads, see the question's "
            "objects "
            "through noise that fades with depth.\n\n");
    return OK;
}

/* ---- main ----------------------------------------------------------------------------------- */

static void add_interval(struct buffer *out, double value, double lo, double hi, int decimals, bool sign)
{
    char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE];
    text_add(out, "%s", number_fixed(a, value, decimals, sign));
    if (!isnan(value) && !isnan(lo) && !isnan(hi))
        text_add(out, " [%s, %s]", number_fixed(b, lo, decimals, sign), number_fixed(c, hi, decimals, sign));
}

static void add_label(struct buffer *out, const struct arm *arm, const struct report *report)
{
    bool is_base = strcmp(arm->members[0]->method, report->baseline) == 0;
    const char *mark = is_base || strncmp(arm->members[0]->method, "sparsevlm", 9) == 0 ? "**" : "";
    text_add(out, "%s", mark);
    text_markdown(out, arm->label);
    text_add(out, "%s", mark);
    if (arm->n_members > 1)
        text_add(out, " (%d seeds)", arm->n_members);
    if (arm->edition[0] != '\0') {
        text_add(out, " (");
        text_markdown(out, arm->edition);
        text_add(out, ")");
    }
}

static void add_badges(struct buffer *out, unsigned badges)
{
    int shown = 0;
    for (const struct badge_text *text = badge_texts; text->name != NULL; text++)
        if (badges & text->badge)
            text_add(out, "%s%s", shown++ > 0 ? " \xc2\xb7 " : "", text->name);
}

static void add_main_row(struct buffer *out, const struct arm *arm, const struct report *report)
{
    const struct arm *base = report_base(report, arm);
    const struct cell *cell = arm->members[0];
    int decimals = report->arms.panels[arm->panel].decimals;
    char a[NUMBER_SIZE], b[NUMBER_SIZE], schedule[SCHEDULE_MAX];
    text_add(out, "| ");
    add_label(out, arm, report);
    text_add(out, " | ");
    text_markdown(out, cell->budget[0] != '\0' ? cell->budget : DASH);
    if (isnan(arm->score)) {
        text_add(out, " | " DASH " |||||||||| ");
        text_markdown(out, cell->reason[0] != '\0' ? cell->reason : "not finished");
        text_add(out, " |\n");
        return;
    }
    text_add(out, " | ");
    add_interval(out, arm->score, arm->lo, arm->hi, decimals, false);
    text_add(out, " | ");
    add_interval(out, arm->to_base.diff, arm->to_base.lo, arm->to_base.hi, decimals, true);
    if (isnan(arm->to_base.p))
        text_add(out, " | " DASH);
    else
        text_add(out, " | %s%s", arm->to_base.p < 0.001 ? "<.001" : number_fixed(a, arm->to_base.p, 3, false),
                 arm->to_base.p < 0.05 ? " \xe2\x9c\xb1" : "");
    text_add(out, " | ");
    if (strcmp(cell->method, "random") == 0)
        text_add(out, DASH);
    else
        add_interval(out, arm->to_random.diff, arm->to_random.lo, arm->to_random.hi, decimals, true);
    text_add(out, " | %s / %s | %s", number_fixed(a, ARM_MEAN(arm, tokens_in), 1, false),
             number_fixed(b, ARM_MEAN(arm, tokens_out), 1, false), arm_schedule(schedule, arm, base));
    double flops = ARM_MEAN(arm, flops), dense = base != NULL ? ARM_MEAN(base, flops) : (double)NAN;
    text_add(out, " | %s", number_si(a, flops));
    if (dense > 0 && !isnan(flops))
        text_add(out, " (%.0f %%)", 100 * flops / dense);
    text_add(out, " | %s / %s", number_fixed(a, ARM_MEAN(arm, prefill_ms), 1, false),
             number_fixed(b, ARM_MEAN(arm, ttft_ms), 1, false));
    text_add(out, " | %s", number_bytes(a, ARM_MEAN(arm, kv_bytes_live)));
    if (isnan(arm->to_base.loyalty))
        text_add(out, " | " DASH " | ");
    else
        text_add(out, " | %.1f %% | ", 100 * arm->to_base.loyalty);
    add_badges(out, arm->badges);
    text_add(out, " |\n");
}

/* A line of its own before the methods and before the controls of each budget. */
static void add_group_row(struct buffer *out, const struct arm *arm, const struct arm *before,
                          const struct report *report)
{
    const char *budget = arm->members[0]->budget;
    if (budget[0] == '\0' && strcmp(arm->members[0]->method, report->baseline) == 0)
        return;
    if (before != NULL && strcmp(before->members[0]->budget, budget) == 0 &&
        strcmp(before->members[0]->method, report->baseline) != 0 &&
        arm_is_chance(before) == arm_is_chance(arm))
        return;
    text_add(out, "| *");
    text_markdown(out, budget[0] != '\0' ? budget : "no budget");
    text_add(out, "%s: %s* | | | | | | | | | | | | |\n", budget[0] != '\0' ? " tokens" : "",
             arm_is_chance(arm) ? "controls" : "methods");
}

/* Arms that another benchmark of the same model has, and this one lacks. */
static void add_missing_rows(struct buffer *out, int panel, const struct report *report)
{
    const struct arms *arms = &report->arms;
    const struct cell *here = arms->panels[panel].cell;
    for (int i = 0; i < arms->n; i++) {
        const struct arm *arm = &arms->arms[i];
        const struct cell *cell = arm->members[0];
        if (arm->panel == panel || arm_is_control_image(arm) || strcmp(cell->model, here->model) != 0)
            continue;
        bool known = false;
        for (int j = 0; j < arms->n && !known; j++) {
            const struct arm *other = &arms->arms[j];
            known = (other->panel == panel || j < i) && other->panel != arm->panel &&
                    !arm_is_control_image(other) && strcmp(other->label, arm->label) == 0 &&
                    strcmp(other->members[0]->budget, cell->budget) == 0;
        }
        if (known)
            continue;
        text_add(out, "| ");
        text_markdown(out, arm->label);
        text_add(out, " | ");
        text_markdown(out, cell->budget[0] != '\0' ? cell->budget : DASH);
        text_add(out, " | " DASH " |||||||||| missing: ");
        report_advice(out, report_grid(here), "the method");
        text_add(out, " |\n");
    }
}

enum status section_main(struct buffer *out, struct report *report, struct error *err)
{
    (void)err;
    char baseline[64];
    snprintf(baseline, sizeof baseline, "%s", report->baseline);
    text_add(out, "## Accuracy and cost\n\n");
    unsigned seen = 0;
    for (int p = 0; p < report->arms.n_panels; p++) {
        const struct panel *panel = &report->arms.panels[p];
        text_add(out, "### ");
        text_markdown(out, panel->title);
        text_add(out, "\n\n| method | budget | ");
        text_markdown(out, panel->cell->metric[0] != '\0' ? panel->cell->metric : "score");
        text_add(out, " [95 %%] | \xce\x94 to ");
        text_markdown(out, baseline);
        text_add(
            out,
            " [95 %%] | Holm p | \xce\x94 to its random [95 %%] | tokens in / out | visual tokens by layer | "
            "FLOPs (of dense) | prefill / TTFT, ms | KV live | same answers | badges |\n"
            "|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|---|\n");
        const struct arm *before = NULL;
        for (int i = 0; i < report->arms.n; i++) {
            const struct arm *arm = &report->arms.arms[i];
            if (arm->panel != p || arm_is_control_image(arm))
                continue;
            add_group_row(out, arm, before, report);
            add_main_row(out, arm, report);
            seen |= arm->badges;
            before = arm;
        }
        add_missing_rows(out, p, report);
        text_add(out, "\n");
    }
    text_add(
        out,
        "A setting is named where it is not the method's default. *tokens in / out*: means over decoder "
        "layers of the visual tokens entering and leaving a layer, "
        "measured. "
        "*visual tokens by layer*: after @ the layers whose cut changes the count. *FLOPs*: 2 \xc3\x97 "
        "multiply-accumulates of everything, tower, selector and decoding included. *prefill / TTFT*: "
        "medians of "
        "the timing pass. *KV live*: bytes after the prefill. *same answers*: share of answers equal to the "
        "baseline's. With seeds, the score is their mean, [lowest, highest]; differences are means with the "
        "widest "
        "interval. *\xce\x94* and its interval are of the headline, whole images drawn; *Holm p* is of the "
        "exact "
        "McNemar test on per-question correctness, questions taken as independent. \xe2\x9c\xb1: p < .05 "
        "after "
        "Holm.\n\n");
    if (seen != 0) {
        text_add(out, "Badges:\n\n");
        for (const struct badge_text *text = badge_texts; text->name != NULL; text++)
            if (seen & text->badge)
                text_add(out, "* **%s**: %s.\n", text->name, text->meaning);
        text_add(out, "\n");
    }
    return OK;
}

/* ---- controls ------------------------------------------------------------------------------- */

/* The cell that differs from a control's in its picture alone; NULL without. */
static const struct cell *uncontrolled(const struct report *report, const struct arm *arm)
{
    const struct cell *cell = arm->members[0];
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *other = &report->arms.arms[i];
        if (other->panel != arm->panel || arm_is_control_image(other))
            continue;
        for (int m = 0; m < other->n_members; m++) {
            const struct cell *own = other->members[m];
            if (own->store == cell->store && strcmp(own->method, cell->method) == 0 &&
                strcmp(own->params, cell->params) == 0 && strcmp(own->budget, cell->budget) == 0 &&
                strcmp(own->match, cell->match) == 0)
                return own;
        }
    }
    return NULL;
}

static enum status add_needing_image(struct buffer *out, int panel, const struct report *report,
                                     struct error *err)
{
    const struct cell *blind = NULL;
    for (int i = 0; i < report->arms.n && blind == NULL; i++) {
        const struct arm *arm = &report->arms.arms[i];
        if (arm->panel == panel && strcmp(arm->members[0]->method, report->baseline) == 0 &&
            strcmp(arm->members[0]->control, "no-image") == 0)
            blind = arm->members[0];
    }
    if (blind == NULL)
        return OK;
    bool head = false;
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        if (arm->panel != panel || arm_is_control_image(arm))
            continue;
        double sum = 0;
        int64_t n = 0;
        int counted = 0;
        for (int j = 0; j < arm->n_members; j++) {
            double mean;
            int64_t n_one;
            TRY(samples_needing_image(&mean, &n_one, report->cells, arm->members[j], blind, err));
            if (n_one > 0) {
                sum += mean;
                n = n_one;
                counted++;
            }
        }
        if (counted == 0)
            continue;
        if (!head) {
            text_add(
                out,
                "<details><summary>Samples that need the image (without it the baseline gets them wrong): ");
            text_markdown(out, report->arms.panels[panel].title);
            text_add(out, "</summary>\n\n| method | budget | correct | samples |\n|---|--:|--:|--:|\n");
            head = true;
        }
        text_add(out, "| ");
        add_label(out, arm, report);
        text_add(out, " | ");
        text_markdown(out, arm->members[0]->budget[0] != '\0' ? arm->members[0]->budget : DASH);
        text_add(out, " | %.1f %% | %lld |\n", 100 * sum / counted, (long long)n);
    }
    text_add(out, head ? "\n</details>\n\n" : "");
    return OK;
}

enum status section_controls(struct buffer *out, struct report *report, struct error *err)
{
    text_add(
        out,
        "## Controls: how much does the image matter?\n\n"
        "`blank`: the mean colour; `mismatched`: another sample's picture; `no-image`: none at all. What a "
        "control reaches is what guessing from the question is worth.\n\n");
    bool any = false, several = false;
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        if (!arm_is_control_image(arm))
            continue;
        several = several || arm->n_members > 1;
        if (!any)
            text_add(
                out,
                "| benchmark | method | budget | control | score [95 %%] | with its own image | \xce\x94 "
                "correct, points [95 %%] | samples |\n|---|---|--:|---|--:|--:|--:|--:|\n");
        any = true;
        const struct cell *own = uncontrolled(report, arm);
        int decimals = report->arms.panels[arm->panel].decimals, n = 0;
        struct interval change = {.value = NAN, .lo = NAN, .hi = NAN};
        if (own != NULL)
            TRY(samples_change(&change, &n, report->cells, arm->members[0], own, err));
        char a[NUMBER_SIZE];
        text_add(out, "| ");
        text_markdown(out, report->arms.panels[arm->panel].title);
        text_add(out, " | ");
        add_label(out, arm, report);
        text_add(out, " | ");
        text_markdown(out, arm->members[0]->budget[0] != '\0' ? arm->members[0]->budget : DASH);
        text_add(out, " | ");
        text_markdown(out, arm->members[0]->control);
        text_add(out, " | ");
        add_interval(out, arm->score, arm->lo, arm->hi, decimals, false);
        text_add(out, " | %s | ", number_fixed(a, own != NULL ? own->score : (double)NAN, decimals, false));
        add_interval(out, change.value, change.lo, change.hi, 1, true);
        text_add(out, " | %d |\n", n);
    }
    if (any)
        text_add(out,
                 "\n*\xce\x94 correct*: share of questions answered correctly, control minus its own image, "
                 "over the samples that both have, whole images drawn%s.\n",
                 several ? "; of several seeds the first" : "");
    if (!any)
        text_add(
            out, DASH
            " no control ran: add `controls: [blank, mismatched, no-image]` to the sweep, or `make sweep "
            "GRID=default`.\n");
    text_add(out, "\n");
    for (int p = 0; p < report->arms.n_panels; p++)
        TRY(add_needing_image(out, p, report, err));
    return OK;
}

/* ---- provenance ----------------------------------------------------------------------------- */

enum status section_provenance(struct buffer *out, struct report *report, struct error *err)
{
    (void)err;
    text_add(out, "## Where each figure comes from\n\nEvery cell *ran here*. Its rows, sample by sample:\n\n"
                  "<details><summary>Keys and queries</summary>\n\n"
                  "| benchmark | method | budget | control | seed | n | made | rows |\n"
                  "|---|---|--:|---|--:|--:|---|---|\n");
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        for (int j = 0; j < arm->n_members; j++) {
            const struct cell *cell = arm->members[j];
            const char *texts[] = {report->arms.panels[arm->panel].title, arm->label,
                                   cell->budget[0] != '\0' ? cell->budget : DASH,
                                   cell->control[0] != '\0' ? cell->control : "none"};
            for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
                text_add(out, "| ");
                text_markdown(out, texts[t]);
                text_add(out, " ");
            }
            text_add(out, "| %.0f | %.0f | ", isnan(cell->seed) ? 0 : cell->seed,
                     isnan(cell->n) ? 0 : cell->n);
            text_markdown(out, cell->created);
            text_add(out, " | `winnow sql ");
            text_code(out, report->cells->stores[cell->store]);
            text_add(out, " \"SELECT sample_id, question, gold, answer, score FROM samples WHERE key = '");
            text_code(out, cell->key);
            text_add(out, "'\"` |\n");
        }
    }
    text_add(out, "\n</details>\n\n");
    return OK;
}

/* ---- the paper's figures -------------------------------------------------------------------- */

enum status section_paper(struct buffer *out, struct report *report, struct error *err)
{
    (void)report;
    (void)err;
    /* SparseVLM (ICML 2025, arXiv 2410.04417v4), Table 1. */
    static const struct {
        const char *method;
        int tokens;
        double pope, gqa, macs, latency;
    } rows[] = {{"Vanilla", 576, 85.9, 61.9, 4.62, 57.82}, {"SparseVLM", 192, 85.3, 59.5, 2.14, 36.50},
                {"FastV", 192, 64.8, 52.6, 2.11, 34.87},   {"SparseVLM", 128, 85.0, 58.4, 1.72, 33.28},
                {"FastV", 128, 53.4, 49.6, 1.70, 30.70},   {"SparseVLM", 64, 77.5, 53.8, 1.30, 29.89},
                {"FastV", 64, 38.2, 46.1, 1.29, 27.30}};
    text_add(
        out,
        "## The paper's own figures\n\n**Paper's figure, LLaVA-1.5-7B, not run here**: SparseVLM (ICML 2025, "
        "arXiv 2410.04417), Table 1. Its \"FLOPs\" are multiply-accumulates of the decoder prefill "
        "(`macs_paper` here), its latency the prefill, and its FastV the authors' variant in which all rows "
        "score.\n\n| method | tokens | POPE | GQA | \"FLOPs\", T | latency, ms "
        "|\n|---|--:|--:|--:|--:|--:|\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        text_add(out, "| %s | %d | %.1f | %.1f | %.2f | %.2f |\n", rows[i].method, rows[i].tokens,
                 rows[i].pope, rows[i].gqa, rows[i].macs, rows[i].latency);
    text_add(out, "\n");
    return OK;
}
