/* Figures by gnuplot: what all share, and tokens by layer; accuracy over what it cost is in curves.c.
 * Everything a store says enters a script as a number or inside a quoted string. */
#include "reports/figure.h"

#include "core/json.h"
#include "core/memory.h"
#include "reports/markdown.h"

#include <errno.h>    /* ENOENT */
#include <math.h>     /* isnan */
#include <spawn.h>    /* posix_spawnp */
#include <stdio.h>    /* snprintf, rename, remove */
#include <string.h>   /* strcmp */
#include <sys/wait.h> /* waitpid */
#include <unistd.h>   /* getpid */

extern char **environ;

enum { LINES_MAX = 24 };

/* Distinct for most kinds of colour vision (Okabe and Ito); SparseVLM comes first. */
static const char *const palette[] = {"#d55e00", "#0072b2", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#8c6d31", "#5e3c99"};
enum { N_PALETTE = sizeof palette / sizeof *palette };

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

/* ---- tokens by layer ------------------------------------------------------------------------ */

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
