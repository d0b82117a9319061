/* Figures by gnuplot: accuracy over what it cost (tokens, FLOPs, time), and tokens by layer. Everything a
 * store says enters a script as a number or inside a quoted string. */
#include "reports/figure.h"

#include "core/json.h"
#include "core/memory.h"
#include "reports/curves.h"
#include "reports/markdown.h"

#include <errno.h>    /* ENOENT */
#include <math.h>     /* isnan */
#include <spawn.h>    /* posix_spawnp */
#include <stdio.h>    /* snprintf, rename, remove */
#include <string.h>   /* strcmp */
#include <sys/wait.h> /* waitpid */
#include <unistd.h>   /* getpid */

extern char **environ;

enum { LINES_MAX = 24, POINTS_MAX = 64 };

/* Distinct for most kinds of colour vision (Okabe and Ito); SparseVLM comes first. */
static const char *const palette[] = {"#d55e00", "#0072b2", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#8c6d31", "#5e3c99"};
static const char *const greys[] = {"#666666", "#8f8f8f", "#a8987a", "#7a93a8"};
static const int points[] = {7, 5, 9, 13, 11, 4, 6, 8}; /* gnuplot's filled shapes, then hollow ones */
enum { N_POINTS = sizeof points / sizeof *points };
enum { N_PALETTE = sizeof palette / sizeof *palette, N_GREYS = sizeof greys / sizeof *greys };

void figure_begin(struct buffer *script, const char *name, int n_panels, int n_legend, size_t n_longest)
{
    int columns = n_panels > 1 ? 2 : 1, rows = (n_panels + columns - 1) / columns;
    int legend_columns = columns > 1 ? (n_longest > 24 ? 1 : 2)
                                     : (n_longest > 50   ? 1
                                        : n_longest > 34 ? 2
                                                         : 3);
    int legend_rows = (n_legend + legend_columns - 1) / legend_columns,
        height = rows * (400 + 17 * legend_rows);
    text_add(
        script,
        "# Made by `winnow report`. Run again with: gnuplot %s.gp\n"
        "if (!exists('out')) out = '%s.png'\n"
        "if (exists('svg') && svg) set terminal svg size 900,%d font 'DejaVu Sans,11' background '#ffffff'\n"
        "if (!exists('svg') || !svg) set terminal pngcairo size 1800,%d font 'DejaVu Sans,11' fontscale 1.9 "
        "linewidth 2 "
        "pointscale 1.8 background '#ffffff'\n"
        "set output out\nset encoding utf8\nset border 3 lc rgb '#5b6675'\nset tics nomirror textcolor rgb "
        "'#1c2430'\n"
        "set grid ytics lc rgb '#dfe3e8' lt 1\nset lmargin 9\nset rmargin 3\nset tmargin 3\nset bmargin %d\n"
        "set key at graph 0.5, graph -0.21 center top vertical Left reverse maxrows %d samplen 2 width -1 "
        "font ',9' "
        "noenhanced\n"
        "set multiplot layout %d,%d\n",
        name, name, height, 2 * height, 5 + legend_rows, legend_rows, rows, columns);
}

/* Runs NAME.gp in the report's directory. OK with *missing where there is no gnuplot. */
static enum status run_gnuplot(bool *missing, const char *dir, const char *name, const char *out, bool svg,
                               struct error *err)
{
    char file[256], define[400];
    snprintf(file, sizeof file, "%s.gp", name);
    snprintf(define, sizeof define, "out='%s'; svg=%d", out, svg ? 1 : 0);
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return memory_failed(err, "gnuplot", sizeof actions);
    posix_spawn_file_actions_addchdir_np(&actions, dir);
    char program[] = "gnuplot", option[] = "-e";
    char *arguments[] = {program, option, define, file, NULL};
    pid_t child;
    int rc = posix_spawnp(&child, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    *missing = rc == ENOENT;
    if (rc == ENOENT)
        return OK;
    if (rc != 0)
        return fail(err, NO_MACHINE, "gnuplot cannot be started: %s", strerror(rc));
    int state = 0;
    while (waitpid(child, &state, 0) < 0)
        if (errno != EINTR)
            return fail(err, NO_MACHINE, "gnuplot was lost: %s", strerror(errno));
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0)
        return fail(err, NO_MACHINE, "gnuplot could not draw %s/%s.gp; its message is above", dir, name);
    return OK;
}

enum status figure_end(bool *made, struct buffer *script, const char *name, struct report *report,
                       struct error *err)
{
    char path[1024], file[128];
    *made = false;
    text_add(script, "unset multiplot\nunset output\n");
    if (script->failed)
        return memory_failed(err, "figure", script->n);
    snprintf(file, sizeof file, "%s.gp", name);
    TRY(report_path(path, sizeof path, report, file, err));
    TRY(file_write(path, script->bytes, script->n, err));
    report_announce(path);
    static const struct {
        unsigned format;
        const char *ending;
    } formats[] = {{REPORT_PNG, "png"}, {REPORT_SVG, "svg"}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (!(report->formats & formats[i].format))
            continue;
        char temporary[160], from[1024];
        bool missing = false;
        snprintf(temporary, sizeof temporary, "%s.tmp-%ld", name, (long)getpid());
        TRY(run_gnuplot(&missing, report->dir, name, temporary, formats[i].format == REPORT_SVG, err));
        if (missing) {
            report->no_gnuplot = true;
            return OK;
        }
        snprintf(file, sizeof file, "%s.%s", name, formats[i].ending);
        TRY(report_path(from, sizeof from, report, temporary, err));
        TRY(report_path(path, sizeof path, report, file, err));
        if (rename(from, path) != 0) {
            remove(from);
            return fail(err, NO_MACHINE, "%s: cannot be written: %s", path, strerror(errno));
        }
        report_announce(path);
        *made = true;
    }
    return OK;
}

void figure_refer(struct buffer *out, const char *name, const char *caption, bool made,
                  const struct report *report)
{
    if (made)
        text_add(out, "![%s](%s.%s)\n\n*%s* ([script](%s.gp))\n\n", caption, name,
                 report->formats & REPORT_PNG ? "png" : "svg", caption, name);
    else if (report->no_gnuplot)
        text_add(out,
                 "gnuplot is not installed, so this figure was not drawn; `gnuplot %s.gp` in this folder "
                 "draws it.\n\n",
                 name);
}

/* ---- accuracy over cost --------------------------------------------------------------------- */

struct line {
    const struct arm *arms[POINTS_MAX];
    int n;
    bool chance, seeds;
};

struct axis {
    const char *name, *title, *caption;
    size_t offset;
    double scale;
};

static const struct axis axes[] = {
    {"accuracy_flops", "GFLOPs of an answer (tower, selector and decoding included)",
     "Score over FLOPs, 95 % intervals", offsetof(struct cell, flops), 1e-9},
    {"accuracy_ttft", "milliseconds to the first token (median)",
     "Score over time to the first token, 95 % intervals", offsetof(struct cell, ttft_ms), 1}};

static int collect_lines(struct line *lines, const struct report *report, int panel, const struct axis *axis)
{
    int n = 0;
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        if (arm->panel != panel || arm_is_control_image(arm) || i == report->arms.panels[panel].base ||
            isnan(arm->score) || isnan(arm_mean(arm, axis->offset)))
            continue;
        int at = 0;
        while (at < n && strcmp(lines[at].arms[0]->label, arm->label) != 0)
            at++;
        if (at == LINES_MAX || (at < n && lines[at].n == POINTS_MAX))
            continue;
        if (at == n)
            lines[n++] = (struct line){.chance = arm_is_chance(arm), .seeds = arm->n_members > 1};
        lines[at].arms[lines[at].n++] = arm;
    }
    /* Points of a line from left to right. */
    for (int l = 0; l < n; l++)
        for (int i = 1; i < lines[l].n; i++) {
            const struct arm *arm = lines[l].arms[i];
            int at = i;
            for (; at > 0 && arm_mean(lines[l].arms[at - 1], axis->offset) > arm_mean(arm, axis->offset);
                 at--)
                lines[l].arms[at] = lines[l].arms[at - 1];
            lines[l].arms[at] = arm;
        }
    return n;
}

struct range {
    double low, high;
};

static void widen(struct range *range, double value)
{
    range->low = fmin(range->low, value);
    range->high = fmax(range->high, value);
}

static size_t longest_label(const struct report *report)
{
    size_t longest = 0;
    for (int i = 0; i < report->arms.n; i++) {
        size_t n = strlen(report->arms.arms[i].label);
        if (!arm_is_control_image(&report->arms.arms[i]) && n > longest)
            longest = n;
    }
    return longest;
}

/* The place of a label among the labels of its kind, so that it has one colour in all panels.
 */
static int colour_of(const struct report *report, const struct arm *arm)
{
    int place = 0;
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *other = &report->arms.arms[i];
        if (strcmp(other->label, arm->label) == 0)
            return place;
        if (arm_is_control_image(other) || arm_is_chance(other) != arm_is_chance(arm) ||
            strcmp(other->members[0]->method, report->baseline) == 0)
            continue;
        bool seen = false;
        for (int j = 0; j < i && !seen; j++)
            seen = strcmp(report->arms.arms[j].label, other->label) == 0;
        place += !seen;
    }
    return place;
}

static void add_plot(struct buffer *script, const struct report *report, int panel, const struct line *lines,
                     int n)
{
    const char *separator = "plot";
    int base = report->arms.panels[panel].base;
    if (base >= 0 && !isnan(report->arms.arms[base].score)) {
        text_add(script, "plot %.6g with lines lw 1.6 dt 2 lc rgb '#1c2430' title ",
                 report->arms.arms[base].score);
        text_gnuplot(script, report->arms.arms[base].label);
        separator = ", \\\n";
    }
    for (int l = 0; l < n; l++) {
        const struct arm *arm = lines[l].arms[0];
        int place = colour_of(report, arm);
        const char *colour = lines[l].chance ? greys[place % N_GREYS] : palette[place % N_PALETTE];
        if (lines[l].seeds) {
            text_add(script,
                     "%s $p%d_%d using 1:3:4 with filledcurves fs transparent solid 0.18 noborder lc rgb "
                     "'%s' notitle",
                     separator, panel, l, colour);
            separator = ", \\\n";
            text_add(script,
                     ", \\\n $p%d_%d using 1:2 with linespoints lw 1.4 dt 3 pt 6 ps 0.7 lc rgb '%s' title ",
                     panel, l, colour);
        } else if (lines[l].chance) {
            text_add(script,
                     "%s $p%d_%d using 1:2:3:4 with yerrorlines lw 1.2 dt 4 pt %d ps 0.7 lc rgb '%s' title ",
                     separator, panel, l, 4 + 2 * (place % 5), colour);
        } else {
            text_add(script,
                     "%s $p%d_%d using 1:2:3:4 with yerrorlines lw %s pt %d ps 0.9 lc rgb '%s' title ",
                     separator, panel, l, strncmp(arm->label, "sparsevlm", 9) == 0 ? "2" : "1.4",
                     points[place % N_POINTS], colour);
        }
        separator = ", \\\n";
        text_gnuplot(script, arm->label);
    }
    text_add(script, "\n");
}

/* Controls as dotted lines with their names at the right, in turn at three places so that names do not
 * collide. Those far below everything else would flatten the picture: they are named in its corner. */
static void add_controls(struct buffer *script, const struct report *report, int panel, struct range *y)
{
    const double lowest = y->low - 0.6 * (y->high - y->low);
    struct buffer below = {0};
    int n = 0;
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        if (arm->panel != panel || !arm_is_control_image(arm) || isnan(arm->score) ||
            strcmp(arm->members[0]->method, report->baseline) != 0)
            continue;
        const char *control = arm->members[0]->control;
        if (arm->score < lowest) {
            text_add(&below, "%s%s %.*f", below.n > 0 ? ", " : "below: ", control,
                     report->arms.panels[panel].decimals, arm->score);
            continue;
        }
        widen(y, arm->score);
        text_add(script,
                 "set arrow from graph 0, first %.6g to graph 1, first %.6g nohead dt 3 lw 1 lc rgb "
                 "'#8a94a3' back\n",
                 arm->score, arm->score);
        text_add(script, "set label ");
        text_gnuplot(script, control);
        text_add(
            script,
            " at graph %.2f, first %.6g right offset 0,0.45 noenhanced textcolor rgb '#6b7686' font ',9'\n",
            0.99 - 0.3 * (n++ % 3), arm->score);
    }
    buffer_add(&below, "", 1);
    if (below.n > 1 && !below.failed) {
        text_add(script, "set label ");
        text_gnuplot(script, below.bytes);
        text_add(script, " at graph 0.99, graph 0.04 right noenhanced textcolor rgb '#6b7686' font ',9'\n");
    }
    buffer_free(&below);
}

static void add_panel(struct buffer *script, const struct report *report, int panel, const struct axis *axis)
{
    static struct line lines[LINES_MAX]; /* large; reports are made by one thread */
    int n = collect_lines(lines, report, panel, axis);
    struct range x = {INFINITY, -INFINITY}, y = {INFINITY, -INFINITY};
    const struct panel *at = &report->arms.panels[panel];
    const struct arm *base = at->base >= 0 ? &report->arms.arms[at->base] : NULL;
    text_add(script, "\nunset label\nunset arrow\nunset object\n");
    for (int l = 0; l < n; l++)
        for (int i = 0; i < lines[l].n; i++) {
            widen(&x, arm_mean(lines[l].arms[i], axis->offset) * axis->scale);
            widen(&y, lines[l].arms[i]->score);
            widen(&y, lines[l].arms[i]->lo);
            widen(&y, lines[l].arms[i]->hi);
        }
    if (base != NULL && !isnan(base->score)) {
        widen(&y, base->score);
        widen(&y, base->hi);
        if (!isnan(base->lo) && !isnan(base->hi))
            text_add(
                script,
                "set object rectangle from graph 0, first %.6g to graph 1, first %.6g fc rgb '#1c2430' fs "
                "transparent solid 0.06 noborder behind\n",
                base->lo, base->hi);
    }
    add_controls(script, report, panel, &y);
    if (n == 0) { /* an empty place in the layout */
        text_add(script, "set multiplot next\n");
        return;
    }
    double width = x.high > x.low ? x.high - x.low : fmax(1, fabs(x.high) * 0.1);
    double height = y.high > y.low ? y.high - y.low : 1;
    for (int l = 0; l < n; l++) {
        double shift = (l - (n - 1) / 2.0) * 0.008 * width;
        text_add(script, "$p%d_%d << EOD\n", panel, l);
        for (int i = 0; i < lines[l].n; i++) {
            const struct arm *arm = lines[l].arms[i];
            double lo = isnan(arm->lo) ? arm->score : arm->lo, hi = isnan(arm->hi) ? arm->score : arm->hi;
            text_add(script, "%.6g %.6g %.6g %.6g\n", arm_mean(arm, axis->offset) * axis->scale + shift,
                     arm->score, lo, hi);
        }
        text_add(script, "EOD\n");
    }
    text_add(script, "set title ");
    text_gnuplot(script, at->title);
    text_add(script, " noenhanced font ',13' textcolor rgb '#1c2430'\nset xlabel ");
    text_gnuplot(script, axis->title);
    text_add(script, " noenhanced\nset ylabel ");
    text_gnuplot(script, at->cell->metric[0] != '\0' ? at->cell->metric : "score");
    text_add(script, " noenhanced\nset xrange [%.6g:%.6g]\nset yrange [%.6g:%.6g]\n", x.low - 0.08 * width,
             x.high + 0.08 * width, y.low - 0.06 * height, y.high + 0.08 * height);
    add_plot(script, report, panel, lines, n);
}

enum status section_tradeoff(struct buffer *out, struct report *report, struct error *err)
{
    static struct line lines[LINES_MAX];
    text_add(out, "## Accuracy over budget\n\n");
    bool any;
    TRY(add_curves(&any, out, report, err));
    if (!any) {
        text_add(out, "\xe2\x80\x93 no cell with a budget: ");
        report_advice(out, report_grid(report->arms.panels[0].cell), "a method with a budget");
        text_add(out, "\n\n");
    }
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++) {
        int with_lines = 0, most_lines = 0;
        for (int p = 0; p < report->arms.n_panels; p++) {
            int n = collect_lines(lines, report, p, &axes[i]);
            with_lines += n > 0;
            most_lines = n > most_lines ? n : most_lines;
        }
        if (with_lines == 0)
            continue;
        struct buffer script = {0};
        bool made = false;
        figure_begin(&script, axes[i].name, with_lines, most_lines + 1, longest_label(report));
        for (int p = 0; p < report->arms.n_panels; p++)
            if (collect_lines(lines, report, p, &axes[i]) > 0)
                add_panel(&script, report, p, &axes[i]);
        enum status status = figure_end(&made, &script, axes[i].name, report, err);
        buffer_free(&script);
        TRY(status);
        figure_refer(out, axes[i].name, axes[i].caption, made, report);
    }
    return OK;
}

/* ---- tokens by layer ------------------------------------------------------------------------ */

/* Control arms follow the schedule of what they shadow: they would only cover it. */
static bool has_schedule(const struct arm *arm)
{
    return arm->members[0]->n_layers > 0 && !arm_is_control_image(arm) && !arm_is_chance(arm);
}

static void add_layers(struct buffer *script, const struct report *report, int panel)
{
    int n = 0;
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        const struct cell *cell = arm->members[0];
        if (arm->panel != panel || !has_schedule(arm) || n == LINES_MAX)
            continue;
        text_add(script, "$q%d_%d << EOD\n", panel, n++);
        for (int l = 0; l < cell->n_layers; l++)
            text_add(script, "%d %.6g\n", cell->layers[l].layer, cell->layers[l].visual_in);
        const struct layer_mean *last = &cell->layers[cell->n_layers - 1];
        text_add(script, "%d %.6g\nEOD\n", last->layer + 1, last->visual_out);
    }
    text_add(script, "set title ");
    text_gnuplot(script, report->arms.panels[panel].title);
    int dash = 1;
    text_add(script, " noenhanced\nset xrange [0:*]\nset yrange [0:*]\nset xlabel 'layer'\n"
                     "set ylabel 'visual tokens entering it (mean)'\n");
    n = 0;
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        if (arm->panel != panel || !has_schedule(arm) || n == LINES_MAX)
            continue;
        bool base = i == report->arms.panels[panel].base;
        int place = colour_of(report, arm);
        if (i > 0 && n > 1 &&
            strcmp(report->arms.arms[i - 1].members[0]->budget, arm->members[0]->budget) != 0)
            dash = dash % 4 + 1; /* one dash a budget, one colour a method */
        text_add(script, "%s $q%d_%d using 1:2 with steps lw 1.6 dt %d lc rgb '%s' title ",
                 n > 0 ? ", \\\n" : "plot", panel, n, base ? 2 : dash,
                 base ? "#1c2430" : palette[place % N_PALETTE]);
        struct buffer title = {0};
        text_add(&title, "%s %s", arm->label, arm->members[0]->budget);
        buffer_add(&title, "", 1);
        text_gnuplot(script, title.failed ? arm->label : title.bytes);
        buffer_free(&title);
        n++;
    }
    text_add(script, "\n");
}

enum status section_fig6(struct buffer *out, struct report *report, struct error *err)
{
    text_add(out, "## Figure 6: survivors by layer\n\n");
    int with_layers = 0, in_panel[2] = {-1, 0}, most = 0; /* panel, its arms so far */
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        bool drawn = has_schedule(arm);
        in_panel[1] = (in_panel[0] == arm->panel ? in_panel[1] : 0) + drawn;
        in_panel[0] = arm->panel;
        most = in_panel[1] > most ? in_panel[1] : most;
        with_layers += drawn;
    }
    most = most < LINES_MAX ? most : LINES_MAX;
    if (with_layers == 0) {
        text_add(out, "\xe2\x80\x93 no rows in the view `layers`: ");
        report_advice(out, report_grid(report->arms.panels[0].cell), "a method with a budget");
        text_add(out, "\n\n");
        return OK;
    }
    struct buffer script = {0};
    bool made = false;
    figure_begin(&script, "layers", report->arms.n_panels, most, longest_label(report) + 4);
    for (int p = 0; p < report->arms.n_panels; p++) {
        bool any = false;
        for (int i = 0; i < report->arms.n; i++)
            any |= report->arms.arms[i].panel == p && has_schedule(&report->arms.arms[i]);
        if (any)
            add_layers(&script, report, p);
    }
    enum status status = figure_end(&made, &script, "layers", report, err);
    buffer_free(&script);
    TRY(status);
    figure_refer(out, "layers", "Visual tokens entering each layer", made, report);
    return OK;
}
