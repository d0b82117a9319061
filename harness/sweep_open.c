/* What a sweep stands on: its file and grid, the paths it uses, the benchmarks it asks; and what of that is
 * missing. Nothing is written here but twins that are not there yet.
 */
#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strrchr */

#include "core/json.h"
#include "core/memory.h"
#include "harness/builtin.h"
#include "harness/command.h"
#include "harness/sweep_run.h"

enum { PATH_SIZE = 4096 };

/* ---- paths ---------------------------------------------------------------------------------- */

/* Length of the folder's part of a path, without the slash; 0: none. */
size_t path_folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static enum status no_such_grid(const char *name, struct error *err)
{
    char list[512] = "", names[BUILTIN_MAX][BUILTIN_NAME];
    int n = builtin_names(names);
    for (int i = 0; i < n; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", names[i]);
    return fail(err, BAD_INPUT,
                "%.200s: there is neither such a file nor a built-in grid of that name; there are: %s", name,
                list);
}

static enum status find_file(char **out, const char *file, struct error *err)
{
    if (file_exists(file))
        return make_path(out, err, "%s", file);
    if (strchr(file, '/') == NULL && file_exists(builtin_path(file)))
        return make_path(out, err, "%s", builtin_path(file));
    return no_such_grid(file, err);
}

/* A model that is not where the path says is looked for among the built-in ones. */
enum status sweep_find_model(char **out, const char *path, struct error *err)
{
    return make_path(out, err, "%s", is_folder(path) || path[0] == '/' ? path : home_path(path));
}

static enum status make_paths(struct run *run, struct error *err)
{
    const struct sweep_options *options = run->options;
    if (options->store)
        TRY(make_path(&run->store_path, err, "%s", options->store));
    else
        TRY(make_path(&run->store_path, err, "results/%s/%s.db", run->sweep.name, run->sweep.name));
    size_t n = strlen(run->store_path), folder = path_folder_length(run->store_path);
    size_t stem = n > 3 && strcmp(run->store_path + n - 3, ".db") == 0 ? n - 3 : n;
    TRY(make_path(&run->trace_path, err, "%.*s.h5", (int)stem, run->store_path));
    if (options->store == NULL) /* all sweeps of results/ share their twins */
        return make_path(&run->data_path, err, "results/data");
    return make_path(&run->data_path, err, "%.*s%sdata", (int)folder, run->store_path, folder ? "/" : "");
}

/* ---- the file ------------------------------------------------------------------------------- */

static const char *data_folder(const struct run *run)
{
    return run->options->data ? run->options->data : run->sweep.data;
}

/* A mistyped folder, rather than one that lacks files. Twins need none. */
static enum status check_data_folder(const struct run *run, struct error *err)
{
    const char *data = data_folder(run);
    bool is_needed = run->options->data != NULL, is_twin;
    for (int i = 0; i < run->sweep.n_benchmarks; i++)
        if (benchmark_find(run->sweep.benchmarks[i].name, &is_twin) && !is_twin)
            is_needed = is_needed || run->sweep.benchmarks[i].questions == NULL;
    if (data == NULL || !is_needed || is_folder(data))
        return OK;
    return fail(err, BAD_INPUT,
                "%s %.300s: there is no such folder; expected LLaVA's tree of evaluation data, "
                "playground/data/eval, or a folder above it",
                run->options->data ? "--data" : "data:", data);
}

static enum status read_file(struct run *run, struct error *err)
{
    const struct sweep_options *options = run->options;
    char *path;
    TRY(find_file(&path, options->file, err));
    enum status status = sweep_read(&run->sweep, path, options->sets, options->n_sets, err);
    free(path);
    TRY(status);
    static const char *one_model[1];
    if (options->model || run->sweep.n_models == 0) {
        one_model[0] = options->model ? options->model : "models/miniature";
        run->sweep.models = one_model;
        run->sweep.n_models = 1;
    }
    if (data_folder(run) == NULL)
        sweep_stand_in(&run->sweep);
    TRY(check_data_folder(run, err));
    for (int i = 0; i < run->sweep.n_benchmarks; i++) {
        struct sweep_benchmark *entry = &run->sweep.benchmarks[i];
        if (options->image_mode != IMAGE_MODE_FROM_FILE)
            entry->image_mode = options->image_mode;
        if (options->max_new_tokens > 0)
            entry->max_new_tokens = options->max_new_tokens;
    }
    for (int i = 0; i < run->sweep.n_models; i++) {
        char *dir;
        struct vlm_config config;
        TRY(sweep_find_model(&dir, run->sweep.models[i], err));
        if (is_folder(dir))
            status = vlm_describe(&config, &(struct vlm_options){.dir = dir}, err);
        else
            status = fail(err, BAD_INPUT, "model %s: there is no such folder", dir);
        free(dir);
        TRY(status);
    }
    return OK;
}

enum status sweep_begin(struct run *run, struct error *err)
{
    TRY(read_file(run, err));
    TRY(grid_make(&run->grid, &run->sweep, run->options->seed, err));
    return make_paths(run, err);
}

/* ---- benchmarks ----------------------------------------------------------------------------- */

static bool is_benchmark_used(const struct run *run, int benchmark)
{
    for (int i = 0; i < run->grid.n_cells; i++)
        if (run->grid.cells[i].benchmark == benchmark)
            return true;
    return false;
}

static bool is_alike(const struct cell *a, const struct cell *b)
{
    return a->benchmark == b->benchmark && b->reason && strcmp(a->reason, b->reason) == 0;
}

/* How many cells cannot run, and why; what many of a benchmark's cells lack is said once. */
int sweep_list_infeasible(const struct run *run)
{
    int n = 0;
    for (int b = 0; b < run->sweep.n_benchmarks; b++)
        if (reason_is_new(run, b))
            fprintf(stderr, "missing: %s\n", run->materials[b].reason);
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        const struct material *material = &run->materials[cell->benchmark];
        bool is_said = material->reason != NULL;
        int n_alike = 0;
        n += cell->reason != NULL;
        for (int j = 0; cell->reason && j < run->grid.n_cells && !is_said; j++) {
            is_said = j < i && is_alike(cell, &run->grid.cells[j]);
            n_alike += j > i && is_alike(cell, &run->grid.cells[j]);
        }
        if (cell->reason == NULL || is_said)
            continue;
        char more[40] = "";
        if (n_alike > 0)
            snprintf(more, sizeof more, " and %d more like it", n_alike);
        fprintf(stderr, "infeasible: %s on %s%s: %s\n", cell->arm->label, material->entry->name, more,
                cell->reason);
    }
    return n;
}

/* A sweep of which nothing can be asked is no sweep: the error, where each missing thing is said. */
enum status sweep_check_any_there(const struct run *run, struct error *err)
{
    const struct material *only = NULL;
    int n_missing = 0;
    for (int i = 0; i < run->sweep.n_benchmarks; i++) {
        const struct material *material = &run->materials[i];
        if (material->entry && material->reason == NULL)
            return OK;
        n_missing += reason_is_new(run, i);
        only = material->reason ? material : only;
    }
    if (n_missing == 1)
        return fail(err, BAD_INPUT, "%s", only->reason);
    if (!run->options->plan)
        sweep_list_infeasible(run);
    return fail(err, BAD_INPUT,
                "none of the %d benchmarks has its files%s%.300s; what is missing is named above", n_missing,
                data_folder(run) ? " under " : ": no data folder is given (--data DIR)",
                data_folder(run) ? data_folder(run) : "");
}

static void say_stand_ins(const struct run *run)
{
    const char *sep = "no data folder is given (--data DIR): ";
    for (int i = 0; i < run->sweep.n_benchmarks; i++) {
        const struct sweep_benchmark *entry = &run->sweep.benchmarks[i];
        if (entry->stands_in_for && run->materials[i].entry) {
            fprintf(stderr, "%s%s stands in for %s", sep, entry->name, entry->stands_in_for);
            sep = ", ";
        }
    }
    if (sep[0] == ',')
        fputc('\n', stderr);
}

enum status sweep_open_materials(struct run *run, struct error *err)
{
    run->materials = memory_zero((size_t)run->sweep.n_benchmarks, sizeof *run->materials);
    if (run->materials == NULL)
        return memory_failed(err, "benchmarks", (size_t)run->sweep.n_benchmarks * sizeof *run->materials);
    for (int i = 0; i < run->sweep.n_benchmarks; i++)
        if (is_benchmark_used(run, i)) {
            TRY(material_open(&run->materials[i], run, &run->sweep.benchmarks[i], err));
            TRY(material_check_judge(&run->materials[i], err));
        }
    if (!run->options->plan) /* which says it of each */
        say_stand_ins(run);
    return OK;
}

/* ---- what a scheduler has to know ----------------------------------------------------------- */

static enum status add_place(struct sweep_outline *out, const char *option, const char *path,
                             struct error *err)
{
    if (path == NULL)
        return OK;
    char *copy = memory_text(path);
    if (copy == NULL)
        return memory_failed(err, "a path", strlen(path));
    out->places[out->n_places++] = (struct sweep_place){option, copy};
    return OK;
}

static enum status add_places(struct sweep_outline *out, const struct run *run, struct error *err)
{
    size_t n_most = 1 + 2 * (size_t)run->sweep.n_benchmarks;
    out->places = memory_zero(n_most, sizeof *out->places);
    if (out->places == NULL)
        return memory_failed(err, "paths", n_most * sizeof *out->places);
    TRY(add_place(out, "data", run->options->data ? run->options->data : run->sweep.data, err));
    for (int i = 0; i < run->sweep.n_benchmarks; i++) {
        TRY(add_place(out, "questions", run->sweep.benchmarks[i].questions, err));
        TRY(add_place(out, "annotations", run->sweep.benchmarks[i].annotations, err));
    }
    return OK;
}

enum status sweep_outline_make(struct sweep_outline *out, const struct sweep_options *options,
                               struct error *err)
{
    struct run run = {.options = options};
    enum status status = OK;
    *out = (struct sweep_outline){0};
    TRY_GOTO(status, sweep_begin(&run, err));
    TRY_GOTO(status, add_places(out, &run, err));
    out->store = run.store_path;
    run.store_path = NULL;
exit:
    grid_free(&run.grid);
    sweep_free(&run.sweep);
    free(run.store_path);
    free(run.trace_path);
    free(run.data_path);
    return status;
}

void sweep_outline_free(struct sweep_outline *outline)
{
    for (int i = 0; i < outline->n_places; i++)
        free(outline->places[i].path);
    free(outline->places);
    free(outline->store);
}
