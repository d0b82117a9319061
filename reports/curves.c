/* Figures of score over measured visual tokens, in one picture for each benchmark and basis of matching.
 * Methods are solid and coloured, controls dashed and grey; a method's variants share its colour. Tokens are
 * on a logarithmic axis, since budgets are halved.
 */
#include "core/memory.h"
#include "reports/figure.h"
#include "reports/markdown.h"

#include <ctype.h>  /* isalnum */
#include <math.h>   /* isnan */
#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* qsort */
#include <string.h> /* strcmp */

#define DASH "\xe2\x80\x93"

enum { CURVES_MAX = 40, POINTS_MAX = 32, COLUMNS_MAX = 16, NAME_MAX_SIZE = 80 };

struct curve {
    char label[ARM_LABEL_MAX]; /* without the basis, which the figure's title says */
    const struct arm *arms[POINTS_MAX];
    int n;
    bool chance;
};

struct curves {
    struct curve all[CURVES_MAX];
    int n;
};

struct basis {
    const char *match, *sentence;
};
static const struct basis bases[] = {
    {"tokens_in", "Settings are chosen so that the mean of the visual tokens entering a layer is the budget: "
                  "points at one budget lie above each other and may be compared."},
    {"official", "Published settings. A budget is then a name and no measure, so points lie where they were "
                 "measured: compare along the axis, not by the number."},
    {"tokens_out",
     "Settings are chosen so that the mean of the visual tokens leaving a layer is the budget."},
    {"flops",
     "Settings are chosen so that the FLOPs of prefill and selection are those of a vanilla run with so "
     "many visual tokens."}};
enum { N_BASES = sizeof bases / sizeof *bases };

struct axis {
    const char *name, *title, *caption;
    size_t offset; /* of the number in struct cell */
    double scale;
    bool tokens;
};
static const struct axis axes[] = {
    {"accuracy", "visual tokens entering a layer (mean, measured)", "Score over measured visual tokens",
     offsetof(struct cell, tokens_in), 1, true},
    {"accuracy_flops", "GFLOPs of an answer (tower, selector and decoding included)", "Score over FLOPs",
     offsetof(struct cell, flops), 1e-9, false},
    {"accuracy_ttft", "milliseconds to the first token (median)", "Score over time to the first token",
     offsetof(struct cell, ttft_ms), 1, false}};
enum { N_AXES = sizeof axes / sizeof *axes };

/* ---- lines ---------------------------------------------------------------------------------- */

static bool is_point(const struct arm *arm, const struct report *report, int panel, const char *match)
{
    return arm->panel == panel && !arm_is_control_image(arm) && arm->members[0]->budget[0] != '\0' &&
           strcmp(arm->members[0]->match, match) == 0 &&
           strcmp(arm->members[0]->method, report->baseline) != 0;
}

static void bare_label(char out[ARM_LABEL_MAX], const struct arm *arm)
{
    char suffix[64];
    snprintf(out, ARM_LABEL_MAX, "%s", arm->label);
    snprintf(suffix, sizeof suffix, ", %s", arm->members[0]->match);
    size_t n = strlen(out), m = strlen(suffix);
    if (n > m && strcmp(out + n - m, suffix) == 0)
        out[n - m] = '\0';
}

static int compare_points(const void *a, const void *b)
{
    const struct arm *x = *(const struct arm *const *)a, *y = *(const struct arm *const *)b;
    return (x->budget > y->budget) - (x->budget < y->budget);
}

/* The place of a label's line: behind those of its method. */
static int place_new(struct curves *out, const char *method)
{
    int at = out->n;
    for (int i = 0; i < out->n; i++)
        if (strcmp(out->all[i].arms[0]->members[0]->method, method) == 0)
            at = i + 1;
    memmove(&out->all[at + 1], &out->all[at], (size_t)(out->n - at) * sizeof *out->all);
    out->n++;
    return at;
}

/* Every arm of the basis, the methods' lines first. */
static void collect(struct curves *out, const struct report *report, int panel, const char *match)
{
    out->n = 0;
    for (int chance = 0; chance < 2; chance++)
        for (int i = 0; i < report->arms.n; i++) {
            const struct arm *arm = &report->arms.arms[i];
            char label[ARM_LABEL_MAX];
            if (!is_point(arm, report, panel, match) || arm_is_chance(arm) != (chance == 1))
                continue;
            bare_label(label, arm);
            int at = 0;
            while (at < out->n && strcmp(out->all[at].label, label) != 0)
                at++;
            if (at == CURVES_MAX || (at < out->n && out->all[at].n == POINTS_MAX))
                continue;
            bool new = at == out->n;
            at = new ? place_new(out, arm->members[0]->method) : at;
            struct curve *curve = &out->all[at];
            if (new) {
                *curve = (struct curve){.chance = chance == 1};
                snprintf(curve->label, sizeof curve->label, "%s", label);
            }
            curve->arms[curve->n++] = arm;
        }
    for (int c = 0; c < out->n; c++)
        qsort(out->all[c].arms, (size_t)out->all[c].n, sizeof *out->all[c].arms, compare_points);
}

/* Where an arm stands; NaN where it was not measured. */
static double place_of(const struct arm *arm, const struct axis *axis)
{
    double value = arm_mean(arm, axis->offset) * axis->scale;
    return isnan(arm->score) || !(value > 0) ? (double)NAN : value;
}

static bool has_point(const struct curve *curve, const struct axis *axis)
{
    for (int i = 0; i < curve->n; i++)
        if (!isnan(place_of(curve->arms[i], axis)))
            return true;
    return false;
}

static bool any_point(const struct curves *curves, const struct axis *axis)
{
    for (int c = 0; c < curves->n; c++)
        if (has_point(&curves->all[c], axis))
            return true;
    return false;
}

/* ---- looks ---------------------------------------------------------------------------------- */

/* Distinct for most kinds of colour vision (Okabe and Ito). */
static const struct {
    const char *method, *colour;
    int point;
} looks[] = {{"sparsevlm", "#d55e00", 7},  {"fastv", "#0072b2", 5},      {"pdrop", "#009e73", 9},
             {"tome", "#cc79a7", 13},      {"visionzip", "#b8860b", 11}, {"divprune", "#3fa9dc", 15},
             {"random", "#4a4a4a", 1},     {"uniform", "#8f8f8f", 2},    {"center", "#a8987a", 3},
             {"top", "#b39ab0", 8},        {"bottom", "#9ab39f", 10},    {"pool", "#5f7f9a", 4},
             {"downsample", "#9a7f5f", 6}, {"replay", "#8c6d31", 14}};
enum { N_LOOKS = sizeof looks / sizeof *looks };

/* Colour, point and line of curve c; a method's further curves have its colour, thinner and with hollow
 * points. */
static void add_look(struct buffer *script, const struct curves *curves, int c)
{
    static const char *const more[] = {"#5e3c99", "#7b3f00", "#006d6d", "#7a0044"};
    static const int hollow[] = {6, 4, 8, 12, 10, 14};
    const struct curve *curve = &curves->all[c];
    const char *method = curve->arms[0]->members[0]->method, *colour = more[c % 4];
    int variant = 0, point = 3;
    for (int i = 0; i < c; i++)
        variant += strcmp(curves->all[i].arms[0]->members[0]->method, method) == 0;
    for (int i = 0; i < N_LOOKS; i++)
        if (strcmp(looks[i].method, method) == 0) {
            colour = looks[i].colour;
            point = looks[i].point;
        }
    if (variant > 0)
        point = hollow[(variant - 1) % 6];
    text_add(script, "lw %s dt %d pt %d ps %s lc rgb '%s'",
             curve->chance  ? "1.2"
             : variant == 0 ? "2"
                            : "1.1",
             curve->chance ? 2 + (variant + c) % 3 : 1, point, curve->chance ? "0.75" : "0.9", colour);
}

/* ---- a figure ------------------------------------------------------------------------------- */

struct range {
    double low, high;
};

static void widen(struct range *range, double value)
{
    range->low = fmin(range->low, value);
    range->high = fmax(range->high, value);
}

static void add_data(struct buffer *script, struct range *x, struct range *y, const struct curves *curves,
                     const struct axis *axis)
{
    for (int c = 0; c < curves->n; c++) {
        if (!has_point(&curves->all[c], axis))
            continue;
        text_add(script, "$c%d << EOD\n", c);
        for (int i = 0; i < curves->all[c].n; i++) {
            const struct arm *arm = curves->all[c].arms[i];
            double at = place_of(arm, axis);
            if (isnan(at))
                continue;
            double lo = isnan(arm->lo) ? arm->score : arm->lo, hi = isnan(arm->hi) ? arm->score : arm->hi;
            text_add(script, "%.6g %.6g %.6g %.6g\n", at, arm->score, lo, hi);
            widen(x, at);
            widen(y, arm->score);
            if (arm->n_members > 1) {
                widen(y, lo);
                widen(y, hi);
            }
        }
        text_add(script, "EOD\n");
    }
}

/* Half the 95 % interval of a single point, the median over the methods. */
static double half_width(const struct curves *curves)
{
    double widths[CURVES_MAX * POINTS_MAX];
    int n = 0;
    for (int c = 0; c < curves->n; c++)
        for (int i = 0; i < curves->all[c].n; i++) {
            const struct arm *arm = curves->all[c].arms[i];
            if (arm->n_members == 1 && !isnan(arm->lo) && !isnan(arm->hi))
                widths[n++] = (arm->hi - arm->lo) / 2;
        }
    return median(widths, n);
}

/* The baseline as a line with its interval; images that should not help as dotted lines. */
static void add_levels(struct buffer *script, struct range *y, const struct report *report, int panel)
{
    int base = report->arms.panels[panel].base;
    if (base >= 0 && !isnan(report->arms.arms[base].score)) {
        const struct arm *arm = &report->arms.arms[base];
        widen(y, arm->score);
        if (!isnan(arm->lo) && !isnan(arm->hi))
            text_add(
                script,
                "set object rectangle from graph 0, first %.6g to graph 1, first %.6g fc rgb '#1c2430' fs "
                "transparent solid 0.06 noborder behind\n",
                arm->lo, arm->hi);
    }
    int n = 0;
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        if (arm->panel != panel || !arm_is_control_image(arm) || isnan(arm->score) ||
            strcmp(arm->members[0]->method, report->baseline) != 0 ||
            arm->score < y->low - 0.5 * (y->high - y->low))
            continue;
        widen(y, arm->score);
        text_add(script,
                 "set arrow from graph 0, first %.6g to graph 1, first %.6g nohead dt 3 lw 1 lc rgb "
                 "'#8a94a3' back\nset label ",
                 arm->score, arm->score);
        text_gnuplot(script, arm->members[0]->control);
        text_add(script,
                 " at graph %.2f, first %.6g right offset 0,0.45 noenhanced textcolor rgb '#6b7686' font "
                 "',9'\n",
                 0.99 - 0.16 * (n++ % 4), arm->score);
    }
}

static void add_plot(struct buffer *script, const struct report *report, int panel,
                     const struct curves *curves, const struct axis *axis)
{
    const char *separator = "plot";
    int base = report->arms.panels[panel].base;
    if (base >= 0 && !isnan(report->arms.arms[base].score)) {
        text_add(script, "plot %.6g with lines lw 1.6 dt 2 lc rgb '#1c2430' title ",
                 report->arms.arms[base].score);
        text_gnuplot(script, report->arms.arms[base].label);
        separator = ", \\\n";
    }
    for (int c = 0; c < curves->n; c++)
        if (has_point(&curves->all[c], axis) && curves->all[c].arms[0]->n_members > 1) {
            text_add(script,
                     "%s $c%d using 1:3:4 with filledcurves fs transparent solid 0.13 noborder lc rgb "
                     "'#666666' notitle",
                     separator, c);
            separator = ", \\\n";
        }
    for (int c = 0; c < curves->n; c++) {
        if (!has_point(&curves->all[c], axis))
            continue;
        text_add(script, "%s $c%d using 1:2 with linespoints ", separator, c);
        add_look(script, curves, c);
        text_add(script, " title ");
        text_gnuplot(script, curves->all[c].label);
        separator = ", \\\n";
    }
    text_add(script, "\n");
}

static void add_tics(struct buffer *script, const struct range *x)
{
    static const int tics[] = {8, 16, 32, 48, 64, 96, 128, 192, 288, 384, 576, 1152, 2304, 2880};
    const char *separator = "set xtics (";
    for (size_t i = 0; i < sizeof tics / sizeof *tics; i++)
        if (tics[i] >= x->low / 1.2 && tics[i] <= x->high * 1.2) {
            text_add(script, "%s%d", separator, tics[i]);
            separator = ", ";
        }
    text_add(script, *separator == ',' ? ")\n" : "set xtics autofreq\n");
}

static void begin(struct buffer *script, const char *name, int n_lines, const struct axis *axis)
{
    int height = 430 > 90 + 17 * n_lines ? 430 : 90 + 17 * n_lines;
    text_add(
        script,
        "# Made by `winnow report`. Run again with: gnuplot %s.gp\n"
        "if (!exists('out')) out = '%s.png'\n"
        "if (exists('svg') && svg) set terminal svg size 900,%d font 'DejaVu Sans,11' background '#ffffff'\n"
        "if (!exists('svg') || !svg) set terminal pngcairo size 1800,%d font 'DejaVu Sans,11' fontscale 1.9 "
        "linewidth 2 pointscale 1.8 background '#ffffff'\n"
        "set output out\nset encoding utf8\nset border 3 lc rgb '#5b6675'\n"
        "set tics nomirror textcolor rgb '#1c2430'\nset grid ytics lc rgb '#dfe3e8' lt 1\n"
        "set key outside right top vertical Left reverse samplen 2.5 width 0 font ',9' noenhanced\n"
        "%sset multiplot\n",
        name, name, height, 2 * height, axis->tokens ? "set logscale x 2\n" : "");
}

static enum status draw(bool *made, const char *name, const struct curves *curves, const struct axis *axis,
                        int panel, struct report *report, struct error *err)
{
    struct buffer script = {0};
    struct range x = {INFINITY, -INFINITY}, y = {INFINITY, -INFINITY};
    const struct panel *p = &report->arms.panels[panel];
    begin(&script, name, curves->n + 1, axis);
    add_data(&script, &x, &y, curves, axis);
    add_levels(&script, &y, report, panel);
    double height = y.high > y.low ? y.high - y.low : 1, half = half_width(curves);
    if (!isnan(half) && half > 0) { /* one bar for all: a bar at each point would hide the lines */
        double middle = y.low + fmin(half, height / 2);
        text_add(
            &script,
            "set arrow from graph 0.025, first %.6g to graph 0.025, first %.6g heads size graph 0.008,90 lw "
            "1.2 "
            "lc rgb '#1c2430'\nset label '95 %% of a point' at graph 0.04, first %.6g font ',9' textcolor "
            "rgb '#5b6675'\n",
            middle - half, middle + half, middle - half + 0.04 * height);
        widen(&y, middle - half);
        widen(&y, middle + half);
        height = y.high - y.low;
    }
    text_add(&script, "set title ");
    text_gnuplot(&script, p->title);
    text_add(&script, " noenhanced font ',13' textcolor rgb '#1c2430'\nset xlabel ");
    text_gnuplot(&script, axis->title);
    text_add(&script, " noenhanced\nset ylabel ");
    text_gnuplot(&script, p->cell->metric[0] != '\0' ? p->cell->metric : "score");
    double width = x.high - x.low > 0 ? x.high - x.low : fmax(1, 0.1 * x.high);
    text_add(&script, " noenhanced\nset xrange [%.6g:%.6g]\nset yrange [%.6g:%.6g]\n",
             axis->tokens ? x.low / 1.15 : x.low - 0.08 * width,
             axis->tokens ? x.high * 1.15 : x.high + 0.06 * width, y.low - 0.05 * height,
             y.high + 0.05 * height);
    if (axis->tokens)
        add_tics(&script, &x);
    add_plot(&script, report, panel, curves, axis);
    enum status status = figure_end(made, &script, name, report, err);
    buffer_free(&script);
    return status;
}

/* ---- its table ------------------------------------------------------------------------------ */

static int columns_of(const char *columns[COLUMNS_MAX], const struct curves *curves)
{
    double values[COLUMNS_MAX];
    int n = 0;
    for (int c = 0; c < curves->n; c++)
        for (int i = 0; i < curves->all[c].n; i++) {
            const struct arm *arm = curves->all[c].arms[i];
            int at = 0;
            while (at < n && values[at] > arm->budget)
                at++;
            if (at < n && strcmp(columns[at], arm->members[0]->budget) == 0)
                continue;
            if (n == COLUMNS_MAX)
                continue;
            for (int k = n++; k > at; k--) {
                columns[k] = columns[k - 1];
                values[k] = values[k - 1];
            }
            columns[at] = arm->members[0]->budget;
            values[at] = arm->budget;
        }
    return n;
}

static const struct arm *arm_at(const struct curve *curve, const char *budget)
{
    for (int i = 0; i < curve->n; i++)
        if (strcmp(curve->arms[i]->members[0]->budget, budget) == 0)
            return curve->arms[i];
    return NULL;
}

/* Rows are lines; scores, with the measured tokens where these are not the budget. */
static void add_table(struct buffer *out, const struct curves *curves, const struct report *report, int panel)
{
    const char *columns[COLUMNS_MAX];
    int n = columns_of(columns, curves), decimals = report->arms.panels[panel].decimals;
    char a[NUMBER_SIZE];
    text_add(out, "| ");
    text_markdown(out, report->arms.panels[panel].title);
    text_add(out, " |");
    for (int k = 0; k < n; k++) {
        text_add(out, " ");
        text_markdown(out, columns[k]);
        text_add(out, " |");
    }
    text_add(out, "\n|---|");
    for (int k = 0; k < n; k++)
        text_add(out, "--:|");
    text_add(out, "\n");
    for (int c = 0; c < curves->n; c++) {
        const struct curve *curve = &curves->all[c];
        if (curve->chance && (c == 0 || !curves->all[c - 1].chance)) {
            text_add(out, "| *controls* |");
            for (int k = 0; k < n; k++)
                text_add(out, " |");
            text_add(out, "\n");
        }
        text_add(out, "| ");
        text_markdown(out, curve->label);
        text_add(out, " |");
        for (int k = 0; k < n; k++) {
            const struct arm *arm = arm_at(curve, columns[k]);
            text_add(out, " %s", arm ? number_fixed(a, arm->score, decimals, false) : DASH);
            double tokens = arm ? ARM_MEAN(arm, tokens_in) : (double)NAN;
            if (arm && !isnan(arm->score) && !isnan(tokens) &&
                fabs(tokens - arm->budget) > 0.01 * arm->budget)
                text_add(out, " @%.0f", tokens);
            text_add(out, " |");
        }
        text_add(out, "\n");
    }
    text_add(out, "\n");
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* AXIS_MATCH_BENCHMARK, without the basis where there is one figure for all. */
static void figure_name(char out[NAME_MAX_SIZE], const struct report *report, int panel,
                        const struct axis *axis, const char *match)
{
    const char *title = report->arms.panels[panel].cell->benchmark;
    bool alone = true;
    for (int p = 0; p < report->arms.n_panels; p++)
        alone = alone && (p == panel || strcmp(report->arms.panels[p].cell->benchmark, title) != 0);
    int used = snprintf(out, NAME_MAX_SIZE, "%s_%s%s%.30s", axis->name, axis->tokens ? match : "",
                        axis->tokens ? "_" : "", title);
    for (char *c = out; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '-')
            *c = '_';
    if (!alone && used > 0 && used < NAME_MAX_SIZE)
        snprintf(out + used, (size_t)(NAME_MAX_SIZE - used), "_%d", panel + 1);
}

/* What the published 64 of SparseVLM is, here and on the model it was published for. */
static void add_difference(struct buffer *out, const struct report *report)
{
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        char label[ARM_LABEL_MAX];
        bare_label(label, arm);
        if (strcmp(label, "sparsevlm") != 0 || strcmp(arm->members[0]->budget, "64") != 0 ||
            strcmp(arm->members[0]->match, "official") != 0 || arm_is_control_image(arm) ||
            isnan(ARM_MEAN(arm, tokens_in)))
            continue;
        text_add(
            out,
            "What a budget means differs by method: SparseVLM's published \"64\" lets 82.25 visual tokens "
            "enter a "
            "layer on average on 32 layers and %.1f here, a method that cuts before the decoder exactly 64. ",
            ARM_MEAN(arm, tokens_in));
        return;
    }
}

static struct curves curves; /* large; reports are made by one thread */

static enum status add_figure(struct buffer *out, const struct axis *axis, const char *match, int panel,
                              struct report *report, struct error *err)
{
    char name[NAME_MAX_SIZE], caption[256];
    bool made = false;
    figure_name(name, report, panel, axis, match);
    snprintf(caption, sizeof caption, "%s, %.80s, match %s", axis->caption,
             report->arms.panels[panel].cell->benchmark, match);
    TRY(draw(&made, name, &curves, axis, panel, report, err));
    figure_refer(out, name, caption, made, report);
    return OK;
}

static enum status add_basis(bool *any, struct buffer *out, const struct basis *basis, struct report *report,
                             struct error *err)
{
    bool first = true;
    for (int p = 0; p < report->arms.n_panels; p++) {
        collect(&curves, report, p, basis->match);
        if (!any_point(&curves, &axes[0]))
            continue;
        if (first)
            text_add(out, "### `match: %s`\n\n%s\n\n", basis->match, basis->sentence);
        first = false;
        *any = true;
        TRY(add_figure(out, &axes[0], basis->match, p, report, err));
        add_table(out, &curves, report, p);
    }
    return OK;
}

/* The basis with most lines in a panel. */
static const char *main_basis(const struct report *report, int panel, const struct axis *axis)
{
    const char *best = NULL;
    int most = 0;
    for (int b = 0; b < N_BASES; b++) {
        collect(&curves, report, panel, bases[b].match);
        int n = 0;
        for (int c = 0; c < curves.n; c++)
            n += has_point(&curves.all[c], axis);
        if (n > most) {
            most = n;
            best = bases[b].match;
        }
    }
    return best;
}

/* Over FLOPs and time: these are measured, whatever a budget means, so one basis will do. */
static enum status add_costs(struct buffer *out, struct report *report, struct error *err)
{
    for (int a = 1; a < N_AXES; a++) {
        bool first = true;
        for (int p = 0; p < report->arms.n_panels; p++) {
            const char *match = main_basis(report, p, &axes[a]);
            if (match == NULL)
                continue;
            if (first)
                text_add(out, "### %s\n\n", axes[a].caption);
            first = false;
            collect(&curves, report, p, match);
            TRY(add_figure(out, &axes[a], match, p, report, err));
        }
    }
    return OK;
}

enum status section_tradeoff(struct buffer *out, struct report *report, struct error *err)
{
    bool any = false;
    text_add(
        out,
        "## Accuracy over budget\n\nMethods are solid, controls dashed and grey (a band: lowest and highest "
        "seed), the dashed black line is the baseline with its 95 %% band, dotted lines are images that "
        "should not "
        "help. The bar is the 95 %% interval of a single point (median); differences are paired and "
        "narrower, see "
        "above. ");
    add_difference(out, report);
    text_add(
        out,
        "In the tables *@* is the measured mean of tokens entering a layer where it is not the budget.\n\n");
    for (int b = 0; b < N_BASES; b++)
        TRY(add_basis(&any, out, &bases[b], report, err));
    if (!any) {
        text_add(out, DASH " no cell with a budget: ");
        report_advice(out, report_grid(report->arms.panels[0].cell), "a method with a budget");
        text_add(out, "\n\n");
    }
    return add_costs(out, report, err);
}
