/* Pictures for report.md: two questions about one image, and one question under several methods, from the
 * traces next to the stores (NAME.h5 beside NAME.db). */
#include "reports/markdown.h"
#include "reports/tables.h"
#include "reports/trace_view.h"

#include "core/json.h"
#include "core/memory.h"
#include "harness/stats.h"

#include <math.h>   /* isnan */
#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

enum { TRACED_MAX = 64 /* samples looked at for the most telling pair */ };

static void trace_path(char *out, size_t size, const char *store)
{
    size_t n = strlen(store);
    bool db = n > 3 && strcmp(store + n - 3, ".db") == 0;
    snprintf(out, size, "%.*s.h5", (int)(db ? n - 3 : n), store);
}

static bool has_trace(const struct report *report, int store)
{
    char path[1024];
    trace_path(path, sizeof path, report->cells->stores[store]);
    return file_exists(path);
}

/* An arm, and which of its cells (seeds) has the trace. */
struct traced {
    const struct arm *arm;
    const struct cell *cell;
};

static bool has_samples(struct trace_view *trace, const char *key, const char *id)
{
    if (id != NULL)
        return trace_view_has(trace, key, id);
    struct names samples;
    struct error ignored;
    if (trace_view_samples(&samples, trace, key, &ignored) != OK)
        return false;
    bool any = samples.n > 0;
    names_free(&samples);
    return any;
}

/* A method at the smallest budget of which the trace has samples of this panel; with `near`, at that budget,
 * and of sample `id`. */
static struct traced find_traced(const struct report *report, struct trace_view *trace, int store,
                                 const char *method, int panel, const struct arm *near, const char *id)
{
    struct traced best = {NULL, NULL};
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        if (arm->panel != panel || arm_is_control_image(arm) || isnan(arm->budget) ||
            strcmp(arm->members[0]->method, method) != 0 ||
            (near != NULL && strcmp(arm->members[0]->budget, near->members[0]->budget) != 0) ||
            (best.arm != NULL && arm->budget >= best.arm->budget))
            continue;
        for (int m = 0; m < arm->n_members; m++)
            if (arm->members[m]->store == store && has_samples(trace, arm->members[m]->key, id)) {
                best = (struct traced){arm, arm->members[m]};
                break;
            }
    }
    return best;
}

/* The random arm on the schedule of what is shown, else any. */
static struct traced find_chance(const struct report *report, struct trace_view *trace, int store,
                                 struct traced from, const char *id)
{
    char label[ARM_LABEL_MAX];
    snprintf(label, sizeof label, "random like %s", from.cell->method);
    for (int i = 0; i < report->arms.n; i++) {
        const struct arm *arm = &report->arms.arms[i];
        if (arm->panel != from.arm->panel || strncmp(arm->label, label, strlen(label)) != 0 ||
            arm_is_control_image(arm) || strcmp(arm->members[0]->budget, from.cell->budget) != 0 ||
            strcmp(arm->members[0]->match, from.cell->match) != 0)
            continue;
        for (int m = 0; m < arm->n_members; m++)
            if (arm->members[m]->store == store && has_samples(trace, arm->members[m]->key, id))
                return (struct traced){arm, arm->members[m]};
    }
    return find_traced(report, trace, store, "random", from.arm->panel, from.arm, id);
}

static enum status label_picture(struct picture *picture, struct traced from, struct error *err)
{
    char title[ARM_LABEL_MAX + 64];
    snprintf(title, sizeof title, "%s, budget %s, %s", from.arm->label, from.cell->budget,
             from.cell->benchmark);
    free(picture->title);
    picture->title = memory_text(title);
    picture->mode = strcmp(from.cell->image_mode, "crop") == 0 ? IMAGE_MODE_CROP : IMAGE_MODE_PAD;
    return picture->title != NULL ? OK : memory_failed(err, "title", sizeof title);
}

static enum status read_picture(struct picture *out, struct trace_view *trace, struct traced from,
                                const char *id, struct error *err)
{
    TRY(trace_view_picture(out, trace, from.cell->key, id, err));
    enum status status = label_picture(out, from, err);
    if (status != OK)
        picture_free(out);
    return status;
}

static const struct sample *sample_of(const struct sample *samples, int n, const char *id)
{
    long long wanted = strtoll(id, NULL, 10);
    for (int i = 0; i < n; i++)
        if (samples[i].id == wanted)
            return &samples[i];
    return NULL;
}

/* Two traced samples of one image with different questions. */
struct pair {
    int first, second; /* places in the cell's traced samples; −1: none */
    int n_pairs;       /* that there are */
    double overlap,
        median; /* of what is left at last: common ÷ all patches; of this pair, and over all pairs */
};

/* The pair whose survivors have least in common. */
static enum status choose_pair(struct pair *pair, const struct names *ids, struct trace_view *trace,
                               struct traced from, const struct report *report, struct error *err)
{
    static struct picture pictures[TRACED_MAX]; /* large; reports are made by one thread */
    static double overlaps[TRACED_MAX * TRACED_MAX / 2];
    struct sample *samples = NULL;
    int n_samples = 0, n = ids->n < TRACED_MAX ? ids->n : TRACED_MAX;
    memset(pictures, 0, sizeof pictures);
    *pair = (struct pair){.first = -1, .second = -1, .overlap = 2};
    enum status status;
    TRY_GOTO(status, samples_read(&samples, &n_samples, report->cells, from.cell, err));
    for (int i = 0; i < n; i++) {
        TRY_GOTO(status, read_picture(&pictures[i], trace, from, ids->names[i], err));
        const struct sample *here = sample_of(samples, n_samples, ids->names[i]);
        for (int j = 0; j < i && here != NULL; j++) {
            const struct sample *there = sample_of(samples, n_samples, ids->names[j]);
            if (there == NULL || strcmp(here->image, there->image) != 0 ||
                strcmp(here->question, there->question) == 0)
                continue;
            double overlap = survivors_overlap(&pictures[i], &pictures[j]);
            overlaps[pair->n_pairs++] = overlap;
            if (overlap < pair->overlap) {
                pair->overlap = overlap;
                pair->first = j;
                pair->second = i;
            }
        }
    }
    pair->median = median(overlaps, pair->n_pairs);
exit:
    for (int i = 0; i < n; i++)
        picture_free(&pictures[i]);
    samples_free(samples, n_samples);
    return status;
}

/* What the random arm of the same budget keeps in common between two samples; NaN where it was not traced. */
static enum status random_overlap(double *overlap, struct trace_view *trace, int store, struct traced from,
                                  const char *id, const char *other, const struct report *report,
                                  struct error *err)
{
    *overlap = (double)NAN;
    struct traced chance = find_chance(report, trace, store, from, id);
    if (chance.cell == NULL || !trace_view_has(trace, chance.cell->key, other))
        return OK;
    struct picture pictures[2] = {{.rows = 0}};
    enum status status = read_picture(&pictures[0], trace, chance, id, err);
    if (status == OK)
        status = read_picture(&pictures[1], trace, chance, other, err);
    if (status == OK)
        *overlap = survivors_overlap(&pictures[0], &pictures[1]);
    picture_free(&pictures[0]);
    picture_free(&pictures[1]);
    return status;
}

static void caption_pair(char *out, size_t size, const struct pair *pair, double chance)
{
    char text[64] = "not traced";
    if (!isnan(chance))
        snprintf(text, sizeof text, "%.0f %%", 100 * chance);
    snprintf(
        out, size,
        "Patches after each cut. Chosen for it: of %d traced pairs of questions about one image the pair "
        "with least in common after the last cut, %.0f %% of the patches that either keeps (median of the "
        "pairs: %.0f %%; random tokens on this pair: %s)",
        pair->n_pairs, 100 * pair->overlap, 100 * pair->median, text);
}

static enum status write_sheet(struct buffer *out, const char *name, const struct picture *pictures, int n,
                               const char *title, const char *caption, struct report *report,
                               struct error *err)
{
    char path[1024];
    struct image sheet = {0};
    TRY(report_path(path, sizeof path, report, name, err));
    TRY(survivors_draw(&sheet, pictures, n, title, err));
    enum status status = image_write_png(&sheet, path, err);
    image_free(&sheet);
    TRY(status);
    report_announce(path);
    text_add(out, "![%s](%s)\n\n*%s*\n\n", title, name, caption);
    return OK;
}

/* The sparsevlm cell and the samples to show: of the first panel whose trace has two questions about one
 * image, else the first two samples of the first panel that is traced at all (then *same_image is false). */
static enum status choose_subject(struct traced *out, struct names *ids, struct pair *pair, bool *same_image,
                                  struct trace_view *trace, int store, const struct report *report,
                                  struct error *err)
{
    *out = (struct traced){NULL, NULL};
    *same_image = false;
    for (int panel = 0; panel < report->arms.n_panels; panel++) {
        struct traced from = find_traced(report, trace, store, "sparsevlm", panel, NULL, NULL);
        struct names found = {0};
        struct pair found_pair;
        if (from.arm == NULL)
            continue;
        TRY(trace_view_samples(&found, trace, from.cell->key, err));
        enum status status = choose_pair(&found_pair, &found, trace, from, report, err);
        bool telling = status == OK && found_pair.first >= 0;
        if (status != OK || (!telling && out->arm != NULL)) {
            names_free(&found);
            TRY(status);
            continue;
        }
        names_free(ids);
        *ids = found;
        *out = from;
        *pair = found_pair;
        if (!telling) {
            pair->first = 0;
            pair->second = found.n > 1 ? 1 : -1;
        }
        *same_image = telling;
        if (telling)
            break;
    }
    return OK;
}

static enum status draw_pictures(struct buffer *out, bool *drawn, struct trace_view *trace, int store,
                                 struct report *report, struct error *err)
{
    static const char *const rivals[] = {"fastv", "pdrop", "tome", "visionzip", "divprune", "random"};
    struct picture pictures[1 + sizeof rivals / sizeof *rivals] = {{.rows = 0}};
    struct names ids = {0};
    struct traced from;
    bool same_image;
    struct pair pair = {.second = -1};
    char caption[512] = "Patches after each cut";
    double chance;
    int n = 0;
    enum status status;
    TRY_GOTO(status, choose_subject(&from, &ids, &pair, &same_image, trace, store, report, err));
    if (from.arm == NULL)
        goto exit;
    const char *id = ids.names[pair.first], *other = pair.second >= 0 ? ids.names[pair.second] : NULL;
    TRY_GOTO(status, read_picture(&pictures[n++], trace, from, id, err));
    if (other != NULL)
        TRY_GOTO(status, read_picture(&pictures[n++], trace, from, other, err));
    if (same_image) {
        TRY_GOTO(status, random_overlap(&chance, trace, store, from, id, other, report, err));
        caption_pair(caption, sizeof caption, &pair, chance);
    }
    TRY_GOTO(status, write_sheet(out, "survivors_questions.png", pictures, n,
                                 same_image ? "Two questions about one image" : "What survives", caption,
                                 report, err));
    *drawn = true;
    while (n > 1)
        picture_free(&pictures[--n]);
    for (size_t i = 0; i < sizeof rivals / sizeof *rivals; i++) {
        struct traced rival = strcmp(rivals[i], "random") == 0 ? find_chance(report, trace, store, from, id)
                                                               : find_traced(report, trace, store, rivals[i],
                                                                             from.arm->panel, from.arm, id);
        if (rival.arm == NULL)
            continue;
        TRY_GOTO(status, read_picture(&pictures[n], trace, rival, id, err));
        n++;
    }
    if (n > 1) {
        TRY_GOTO(status,
                 write_sheet(out, "survivors_methods.png", pictures, n, "One question, several methods",
                             "The same question and budget under each method", report, err));
    } else {
        text_add(out, "\xe2\x80\x93 no other method has a trace of this sample at this budget: ");
        report_advice(out, report_grid(from.cell), "`trace: {samples: 4}`");
        text_add(out, "\n\n");
    }
exit:
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++)
        picture_free(&pictures[i]);
    names_free(&ids);
    return status;
}

/* What is wrong with a trace is said in the section; the rest of the report does not depend on it. */
static enum status add_store(struct buffer *out, bool *drawn, int store, struct report *report,
                             struct error *err)
{
    char path[1024];
    struct trace_view *trace;
    trace_path(path, sizeof path, report->cells->stores[store]);
    enum status status = trace_view_open(&trace, path, err);
    if (status == OK) {
        status = draw_pictures(out, drawn, trace, store, report, err);
        trace_view_close(trace);
    }
    if (status != BAD_INPUT)
        return status;
    text_add(out, "\xe2\x80\x93 ");
    text_markdown(out, err->text);
    text_add(out, "\n\n");
    return OK;
}

enum status section_pictures(struct buffer *out, struct report *report, struct error *err)
{
    bool drawn = false;
    text_add(out, "## Which patches survive\n\n");
    for (int store = 0; store < report->cells->n_stores && !drawn; store++)
        if (has_trace(report, store) && (report->formats & REPORT_PNG))
            TRY(add_store(out, &drawn, store, report, err));
    if (!drawn)
        text_add(out,
                 "\xe2\x80\x93 no trace of a sparsevlm cell with a budget next to the store (or no png asked "
                 "for); add "
                 "`trace: {samples: 4}` to the sweep, or `make sweep GRID=default`. `winnow show` draws any "
                 "picture and question.\n\n");
    return OK;
}
