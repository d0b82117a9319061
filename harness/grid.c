/* Axes to cells, see grid.h. */
#include "harness/grid.h"

#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/limits.h" /* LIMIT_CELLS */
#include "core/memory.h" /* memory_* */
#include "datasets/benchmark.h"
#include "harness/replay.h"

enum { LABEL_SIZE = 512, PARAMS_SIZE = 16384 };

static void arm_free(struct arm *arm)
{
    if (arm == NULL)
        return;
    free(arm->params);
    free(arm->text);
    free(arm->label);
    free(arm->reason);
    replay_close(arm->replay);
    free(arm);
}

/* One key of an arm; a value that does not go with the others becomes the arm's reason. */
static enum status arm_set(struct arm *arm, const char *key, const char *value, struct error *err)
{
    size_t used = strlen(arm->label);
    snprintf(arm->label + used, LABEL_SIZE - used, " %s=%s", key, value);
    if (strcmp(key, "control") == 0) {
        for (int i = 0; control_names[i]; i++)
            if (strcmp(control_names[i], value) == 0)
                arm->control = (enum control)i;
        return OK;
    }
    struct error why;
    if (method_set(&arm->method, key, value, &why) != OK && arm->reason == NULL) {
        arm->reason = memory_text(why.text);
        if (arm->reason == NULL)
            return memory_failed(err, "a reason", sizeof why.text);
    }
    return OK;
}

/* Opens the trace of a replay; what is wrong with it becomes the arm's reason. */
static enum status arm_replay(struct arm *arm, struct error *err)
{
    struct error why;
    if (replay_method_open(&arm->replay, &arm->method, &why) == OK || arm->reason)
        return OK;
    arm->reason = memory_text(why.text);
    return arm->reason ? OK : memory_failed(err, "a reason", sizeof why.text);
}

/* Puts what stands for nothing at rest, so that equal configurations have equal texts. */
static enum status arm_resolve(struct arm *arm, uint64_t seed, struct error *err)
{
    struct method *method = &arm->method;
    arm->seed = seed;
    if (method->reducer->dense) /* vanilla drops nothing, whatever the budget */
        method->budget = (struct budget){0};
    if (!method->budget.given)
        method->match = MATCH_OFFICIAL;
    TRY(arm_replay(arm, err));
    TRY(method_resolve(method, seed, err));
    if (params_has(&method->params, "seed"))
        arm->seed = (uint64_t)param_real(&method->params, "seed");
    budget_format(arm->budget, sizeof arm->budget, &method->budget);
    arm->match = method->budget.given ? match_names[method->match] : NULL;
    arm->params = memory_alloc(PARAMS_SIZE, 1);
    arm->text = key_arm_text(method, arm->control, arm->seed, seed);
    if (arm->params == NULL || arm->text == NULL)
        return memory_failed(err, "a cell", PARAMS_SIZE);
    int n = params_json(arm->params, PARAMS_SIZE, &method->params, false);
    ENSURE(n < PARAMS_SIZE);
    char *shrunk = memory_grow(arm->params, (size_t)n + 1, 1);
    if (shrunk)
        arm->params = shrunk;
    return OK;
}

/* Adds the arm, or frees it where one like it is there. Takes it in any case. */
static enum status arm_add(struct grid *grid, struct arm *arm, int *capacity, struct error *err)
{
    for (int i = 0; i < grid->n_arms; i++)
        if (strcmp(grid->arms[i]->text, arm->text) == 0) {
            arm_free(arm);
            return OK;
        }
    if (grid->n_arms == *capacity) {
        int wanted = *capacity ? 2 * *capacity : 16;
        struct arm **grown = memory_grow(grid->arms, (size_t)wanted, sizeof *grown);
        if (grown == NULL) {
            arm_free(arm);
            return memory_failed(err, "arms", (size_t)wanted * sizeof *grown);
        }
        grid->arms = grown;
        *capacity = wanted;
    }
    grid->arms[grid->n_arms++] = arm;
    return OK;
}

/* The arm at one point of a method's axes. */
static enum status arm_make(struct arm **out, const struct sweep *sweep, const struct sweep_method *entry,
                            const int *point, enum control control, uint64_t seed, struct error *err)
{
    struct arm *arm = memory_zero(1, sizeof *arm);
    if (arm == NULL || (arm->label = memory_zero(LABEL_SIZE, 1)) == NULL) {
        free(arm);
        return memory_failed(err, "a cell", sizeof *arm);
    }
    enum status status;
    TRY_GOTO(status, method_init(&arm->method, entry->name, err));
    snprintf(arm->label, LABEL_SIZE, "%s", entry->name);
    arm->method.match = sweep->match;
    if (control != CONTROL_NONE)
        TRY_GOTO(status, arm_set(arm, "control", control_names[control], err));
    for (int i = 0; i < entry->n_settings; i++)
        TRY_GOTO(status, arm_set(arm, entry->settings[i].key, entry->settings[i].value, err));
    for (int i = 0; i < entry->n_axes; i++)
        TRY_GOTO(status, arm_set(arm, entry->axes[i].key, entry->axes[i].values[point[i]], err));
    TRY_GOTO(status, arm_resolve(arm, seed, err));
    *out = arm;
    return OK;
exit:
    arm_free(arm);
    return status;
}

static enum status method_arms(struct grid *grid, const struct sweep *sweep, const struct sweep_method *entry,
                               enum control control, uint64_t seed, int *capacity, struct error *err)
{
    int64_t product = 1;
    for (int i = 0; i < entry->n_axes; i++) {
        product *= entry->axes[i].n;
        if (product > LIMIT_CELLS)
            return fail(err, BAD_INPUT, "%s:%d: method %s: its axes make more than %d cells", sweep->path,
                        entry->line, entry->name, LIMIT_CELLS);
    }
    int *point = memory_zero((size_t)entry->n_axes, sizeof *point);
    if (point == NULL)
        return memory_failed(err, "axes", (size_t)entry->n_axes * sizeof *point);
    enum status status = OK;
    for (int64_t p = 0; p < product && status == OK; p++) {
        int64_t rest = p; /* the last axis runs fastest */
        for (int i = entry->n_axes - 1; i >= 0; i--) {
            point[i] = (int)(rest % entry->axes[i].n);
            rest /= entry->axes[i].n;
        }
        struct arm *arm = NULL;
        status = arm_make(&arm, sweep, entry, point, control, seed, err);
        if (status == OK)
            status = arm_add(grid, arm, capacity, err);
    }
    free(point);
    return status;
}

static int answer_limit(const struct sweep_benchmark *entry)
{
    return entry->max_new_tokens > 0 ? entry->max_new_tokens
                                     : benchmark_find(entry->name, NULL)->max_new_tokens;
}

/* Entries that differ in nothing but their limit are one benchmark, with the larger limit. */
static bool same_benchmark(const struct sweep_benchmark *a, const struct sweep_benchmark *b)
{
    const char *const pairs[][2] = {{a->name, b->name},
                                    {a->questions, b->questions},
                                    {a->annotations, b->annotations},
                                    {a->images, b->images},
                                    {a->template, b->template}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const char *x = pairs[i][0] ? pairs[i][0] : "", *y = pairs[i][1] ? pairs[i][1] : "";
        if (strcmp(x, y) != 0)
            return false;
    }
    return a->split == b->split && a->image_mode == b->image_mode && answer_limit(a) == answer_limit(b);
}

static bool is_first_of_its_kind(const struct sweep *sweep, int benchmark)
{
    for (int i = 0; i < benchmark; i++)
        if (same_benchmark(&sweep->benchmarks[i], &sweep->benchmarks[benchmark])) {
            struct sweep_benchmark *first = &sweep->benchmarks[i];
            int other = sweep->benchmarks[benchmark].limit;
            first->limit = first->limit == 0 || other == 0 ? 0 : first->limit > other ? first->limit : other;
            return false;
        }
    return true;
}

enum status grid_make(struct grid *out, const struct sweep *sweep, uint64_t seed, struct error *err)
{
    *out = (struct grid){0};
    int capacity = 0;
    enum status status = OK;
    for (int i = 0; i < sweep->n_methods; i++)
        TRY_GOTO(status, method_arms(out, sweep, &sweep->methods[i], CONTROL_NONE, seed, &capacity, err));
    const struct sweep_method vanilla = {.name = "vanilla"};
    for (int i = 0; i < sweep->n_controls; i++)
        TRY_GOTO(status, method_arms(out, sweep, &vanilla, sweep->controls[i], seed, &capacity, err));
    int64_t n_cells = (int64_t)out->n_arms * sweep->n_benchmarks * sweep->n_models;
    if (n_cells > LIMIT_CELLS)
        TRY_GOTO(status, fail(err, BAD_INPUT, "%s: the sweep has %lld cells, the limit is %d", sweep->path,
                              (long long)n_cells, LIMIT_CELLS));
    out->cells = memory_zero((size_t)n_cells, sizeof *out->cells);
    if (out->cells == NULL)
        TRY_GOTO(status, memory_failed(err, "cells", (size_t)n_cells * sizeof *out->cells));
    for (int m = 0; m < sweep->n_models; m++)
        for (int b = 0; b < sweep->n_benchmarks; b++) {
            if (!is_first_of_its_kind(sweep, b))
                continue;
            for (int a = 0; a < out->n_arms; a++)
                out->cells[out->n_cells++] = (struct cell){.arm = out->arms[a], .model = m, .benchmark = b};
        }
    return OK;
exit:
    grid_free(out);
    return status;
}

void grid_free(struct grid *grid)
{
    for (int i = 0; i < grid->n_cells; i++) {
        free(grid->cells[i].canonical);
        free(grid->cells[i].reason);
        for (int k = 0; k < grid->cells[i].n_plans; k++)
            free(grid->cells[i].plans[k]);
        free(grid->cells[i].plans);
    }
    free(grid->cells);
    for (int i = 0; i < grid->n_arms; i++)
        arm_free(grid->arms[i]);
    free(grid->arms);
    *grid = (struct grid){0};
}
