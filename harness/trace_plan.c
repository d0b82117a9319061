/* The expected size of a trace, see trace_plan.h: samples × (cuts, attention) + pictures, each once. */
#include "harness/trace_plan.h"

#include <stdio.h>  /* fprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strlen */

#include "core/map.h"
#include "core/memory.h"
#include "datasets/pictures.h"

/* What HDF5 takes for the groups of a sample and of one of its cuts, measured on files of version 1.10. */
enum { SAMPLE_BYTES = 3000, CUT_BYTES = 3000, VALUE_BYTES = 4, SIDE_USUAL = 336 };

static double cut_bytes(const struct plan_cut *cut, int n_in, bool indices_only)
{
    double n = cut->adaptive ? n_in : cut->keep + 3.0 * cut->recycled + cut->clusters;
    return CUT_BYTES + VALUE_BYTES * (n + n_in * (indices_only ? 1.0 : 2.0)); /* ids_in, and the score */
}

/* Cuts of the tower are records of its layers. */
static enum status tower_bytes(double *out, const struct cell *cell, const struct plan_input *input,
                               bool indices_only, struct error *err)
{
    struct plan tower;
    int n_in = plan_input_patches(input) + plan_input_extra(input);
    TRY(method_plan_tower(&tower, &cell->arm->method, input, 0, input->n_images, err));
    for (int i = 0; i < tower.n_cuts; i++) {
        *out += input->n_images * cut_bytes(&tower.cuts[i], n_in, indices_only);
        n_in = tower.cuts[i].keep + tower.cuts[i].clusters;
    }
    *out += VALUE_BYTES * (double)input->n_images * plan_input_patches(input); /* group_of */
    return OK;
}

static enum status sample_bytes(double *out, const struct run *run, const struct cell *cell,
                                struct error *err)
{
    struct plan_input input;
    struct plan plan = {0};
    bool only = run->sweep.trace.cuts_only;
    TRY(typical_input(&input, run, cell, err));
    *out = SAMPLE_BYTES + VALUE_BYTES * (double)input.n_layers;
    if (cell->arm->replay == NULL)
        TRY(method_plan(&plan, &cell->arm->method, &input, err));
    int n_in = input.n_visual;
    for (int i = 0; i < plan.n_cuts; i++) {
        if (plan.cuts[i].site == SITE_VISION)
            TRY(tower_bytes(out, cell, &input, only, err));
        else
            *out += cut_bytes(&plan.cuts[i], n_in, only);
        n_in = plan.cuts[i].keep + plan.cuts[i].clusters;
    }
    for (int i = 0; i < run->sweep.trace.n_attention && !only; i++)
        *out += VALUE_BYTES * (double)input.n_text * input.n_visual; /* of uncut layers: the most there is */
    return OK;
}

bool trace_plan_takes(const struct run *run, int place)
{
    return run->sweep.trace.wanted && (run->sweep.trace.samples < 0 || place < run->sweep.trace.samples);
}

static int traced_rows(const struct run *run, const struct material *material)
{
    int n = run->sweep.trace.samples;
    return n < 0 || n > material->n_rows ? material->n_rows : n;
}

/* The first picture stands for all of its benchmark. */
static double picture_bytes(const struct material *material)
{
    struct image *pictures = NULL;
    struct error err;
    int n = 0;
    double bytes = 3.0 * SIDE_USUAL * SIDE_USUAL;
    if (material->n_rows > 0 &&
        sample_pictures(&pictures, &n, &material->data, material->rows[0], &err) == OK) {
        bytes = n > 0 ? 3.0 * pictures[0].width * pictures[0].height : 0;
        pictures_free(pictures, n);
    }
    return bytes;
}

/* Distinct pictures that cells of a benchmark are shown, blank ones apart, which are not kept. */
static enum status count_pictures(int *out, const struct run *run, int benchmark, struct error *err)
{
    const struct material *material = &run->materials[benchmark];
    int n_rows = traced_rows(run, material);
    struct map map;
    *out = 0;
    if (!map_init(&map, 2 * (size_t)n_rows + 1))
        return memory_failed(err, "pictures", (size_t)n_rows);
    bool done[N_CONTROLS] = {false};
    for (int c = 0; c < run->grid.n_cells; c++) {
        const struct cell *cell = &run->grid.cells[c];
        enum control control = cell->arm->control;
        if (cell->benchmark != benchmark || cell->model != run->model || cell->reason != NULL ||
            control == CONTROL_BLANK || done[control])
            continue;
        done[control] = true;
        for (int i = 0; i < n_rows; i++) {
            const char *path = shown_image(material, control, material->rows[i]);
            if (path && map_put(&map, path, strlen(path), 1) < 0)
                ++*out;
        }
    }
    map_free(&map);
    return OK;
}

enum status trace_plan_make(struct trace_plan *out, const struct run *run, struct error *err)
{
    *out = (struct trace_plan){.limit = (double)run->sweep.trace.limit};
    double pictures = 0;
    for (int b = 0; b < run->sweep.n_benchmarks; b++) {
        int n;
        if (!run->materials[b].open || run->sweep.trace.cuts_only)
            continue;
        TRY(count_pictures(&n, run, b, err));
        pictures += n > 0 ? n * picture_bytes(&run->materials[b]) : 0;
    }
    for (int c = 0; c < run->grid.n_cells; c++) {
        const struct cell *cell = &run->grid.cells[c];
        const struct material *material = &run->materials[cell->benchmark];
        double bytes;
        if (cell->model != run->model || cell->reason != NULL || !material->open)
            continue;
        TRY(sample_bytes(&bytes, run, cell, err));
        out->n_samples += traced_rows(run, material);
        out->bytes += bytes * traced_rows(run, material);
    }
    out->bytes += pictures;
    out->n_fit = out->bytes <= out->limit ? out->n_samples
                                          : (long long)((double)out->n_samples * out->limit / out->bytes);
    return OK;
}

/* 1.2 kB, 34.5 MB, 2.1 GB. */
static const char *size_text(char out[32], double bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double value = bytes / 1e3;
    int unit = 0;
    for (; value >= 1000 && unit < 3; unit++)
        value /= 1e3;
    snprintf(out, 32, "%.1f %s", value, units[unit]);
    return out;
}

static void print(const struct trace_plan *plan, const struct run *run, FILE *out)
{
    char bytes[32], limit[32];
    fprintf(out, "trace: %lld samples, about %s before compression, limit %s (trace.limit), in %s\n",
            plan->n_samples, size_text(bytes, plan->bytes), size_text(limit, plan->limit), run->trace_path);
    if (plan->bytes > plan->limit)
        fprintf(out,
                "trace: that is over the limit: samples are traced in the order in which they are answered "
                "while they fit, at least about %lld; the others are answered all the same\n",
                plan->n_fit);
}

enum status trace_plan_print(const struct run *run, FILE *out, struct error *err)
{
    struct trace_plan plan;
    if (!run->sweep.trace.wanted)
        return OK;
    TRY(trace_plan_make(&plan, run, err));
    print(&plan, run, out);
    return OK;
}

enum status trace_plan_state(struct run *run, struct error *err)
{
    struct trace_plan plan;
    if (!run->sweep.trace.wanted)
        return OK;
    if (!run->options->json)
        return trace_plan_print(run, stdout, err);
    TRY(trace_plan_make(&plan, run, err));
    json_object_set_new(json_array_get(run->plan, json_array_size(run->plan) - 1), "trace",
                        json_pack("{s:I, s:I, s:f, s:f}", "samples", (json_int_t)plan.n_samples,
                                  "samples_that_fit", (json_int_t)plan.n_fit, "bytes", plan.bytes,
                                  "limit_bytes", plan.limit));
    return OK;
}
