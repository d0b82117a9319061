/* A sweep from its file to its store, see sweep.h: what is opened, in which order, and what is refused before
 * anything is written.
 *
 *     file -> grid -> data (twins are drawn where they are not there) -> for each model: weights, keys, work,
 * timing
 *          -> summary over all
 *
 * The store is made only when file, data and model have been found good.
 */
#include "harness/sweep.h"

#include <dirent.h>   /* the grids there are */
#include <errno.h>    /* EEXIST */
#include <stdio.h>    /* snprintf */
#include <stdlib.h>   /* free */
#include <string.h>   /* strcmp */
#include <sys/stat.h> /* mkdir */
#include <unistd.h>   /* getpid */

#include "core/json.h"
#include "core/memory.h"
#include "datasets/mini/suite.h"
#include "harness/choose.h"
#include "harness/command.h"
#include "harness/sweep_run.h"
#include "harness/template.h"

enum { PATH_SIZE = 4096, TWIN_PICTURES = 100 };

#ifndef WINNOW_REVISION
#define WINNOW_REVISION "unknown"
#endif

volatile sig_atomic_t sweep_stop;

/* The first signal asks for an orderly end, a second one of the same kind kills. */
static void on_signal(int number)
{
    sweep_stop = 1;
    signal(number, SIG_DFL);
}

/* ---- paths --------------------------------------------------------------------------------------------- */

static enum status make_path(char **out, struct error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum status make_path(char **out, struct error *err, const char *format, ...)
{
    char path[PATH_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(path, sizeof path, format, args);
    va_end(args);
    if (n < 0 || n >= PATH_SIZE)
        return fail(err, BAD_INPUT, "a path is longer than %d bytes", PATH_SIZE);
    *out = memory_text(path);
    return *out ? OK : memory_failed(err, "a path", (size_t)n);
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* mkdir -p */
static enum status make_folder(const char *path, struct error *err)
{
    char part[PATH_SIZE];
    snprintf(part, sizeof part, "%s", path);
    for (char *c = part + 1;; c++) {
        if (*c != '/' && *c != 0)
            continue;
        char kept = *c;
        *c = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return fail(err, NO_MACHINE, "%s: the folder cannot be made: %s", part, strerror(errno));
        *c = kept;
        if (kept == 0)
            return OK;
    }
}

/* Length of the folder's part of a path, without the slash; 0: none. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static enum status no_such_grid(const char *name, struct error *err)
{
    char list[512] = "";
    DIR *folder = opendir(home_path("harness/grids"));
    const struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        size_t n = strlen(entry->d_name), used = strlen(list);
        if (n > 5 && strcmp(entry->d_name + n - 5, ".yaml") == 0)
            snprintf(list + used, sizeof list - used, "%s%.*s", used ? ", " : "", (int)(n - 5),
                     entry->d_name);
    }
    if (folder)
        closedir(folder);
    return fail(err, BAD_INPUT,
                "%.200s: there is neither such a file nor a built-in grid of that name; there are: %s", name,
                list);
}

static enum status find_file(char **out, const char *file, struct error *err)
{
    if (file_exists(file))
        return make_path(out, err, "%s", file);
    if (strchr(file, '/') == NULL) {
        char name[300];
        snprintf(name, sizeof name, "harness/grids/%.200s.yaml", file);
        if (file_exists(home_path(name)))
            return make_path(out, err, "%s", home_path(name));
    }
    return no_such_grid(file, err);
}

/* A model that is not where the path says is looked for among the built-in ones. */
static enum status find_model(char **out, const char *path, struct error *err)
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
    size_t n = strlen(run->store_path), folder = folder_length(run->store_path);
    size_t stem = n > 3 && strcmp(run->store_path + n - 3, ".db") == 0 ? n - 3 : n;
    TRY(make_path(&run->trace_path, err, "%.*s.h5", (int)stem, run->store_path));
    if (options->store == NULL) /* all sweeps of results/ share their twins */
        return make_path(&run->data_path, err, "results/data");
    return make_path(&run->data_path, err, "%.*s%sdata", (int)folder, run->store_path, folder ? "/" : "");
}

/* ---- data ---------------------------------------------------------------------------------------------- */

/* Draws a twin beside its place and renames it when it is whole. */
static enum status draw_twin(const char *name, const char *folder, struct error *err)
{
    char temporary[PATH_SIZE], from[PATH_SIZE], to[PATH_SIZE], message[512] = "";
    int n = snprintf(temporary, sizeof temporary, "%s/.drawing-%ld", folder, (long)getpid());
    int m = snprintf(from, sizeof from, "%s/.drawing-%ld/%s", folder, (long)getpid(), name);
    int k = snprintf(to, sizeof to, "%s/%s", folder, name);
    if (n >= PATH_SIZE || m >= PATH_SIZE || k >= PATH_SIZE)
        return fail(err, BAD_INPUT, "%s: the path is too long", folder);
    fprintf(stderr, "drawing %s, %d pictures, to %s\n", name, TWIN_PICTURES, to);
    TRY(make_folder(temporary, err));
    if (suite_write(name, temporary, 0, TWIN_PICTURES, message, sizeof message) != 0)
        return fail(err, BAD_INPUT, "%s", message);
    if (rename(from, to) != 0 && !is_folder(to)) /* another process may have been faster */
        return fail(err, NO_MACHINE, "%s: cannot be renamed to %s: %s", from, to, strerror(errno));
    rmdir(temporary);
    return OK;
}

/* The tree in which a benchmark's files lie: the data folder, or for a twin that is not there the one next to
 * the store, where it is drawn if need be (not for --plan). *root NULL: nowhere yet. */
static enum status find_root(const char **root, struct run *run, const struct sweep_benchmark *entry,
                             struct error *err)
{
    const char *data = run->options->data ? run->options->data : run->sweep.data;
    char path[PATH_SIZE];
    bool twin = false;
    benchmark_find(entry->name, &twin);
    *root = data;
    snprintf(path, sizeof path, "%s/%s", data ? data : ".", entry->name);
    if (!twin || entry->questions || (data && is_folder(path)))
        return OK;
    *root = run->data_path;
    snprintf(path, sizeof path, "%s/%s", run->data_path, entry->name);
    if (is_folder(path))
        return OK;
    if (run->options->plan) {
        *root = NULL;
        return OK;
    }
    return draw_twin(entry->name, run->data_path, err);
}

static bool is_control_used(const struct run *run, enum control control)
{
    for (int i = 0; i < run->grid.n_arms; i++)
        if (run->grid.arms[i]->control == control)
            return true;
    return false;
}

static bool is_benchmark_used(const struct run *run, int benchmark)
{
    for (int i = 0; i < run->grid.n_cells; i++)
        if (run->grid.cells[i].benchmark == benchmark)
            return true;
    return false;
}

/* One that cannot be read is left closed when planning, with a line on stdout. */
static enum status open_material(struct material *material, struct run *run,
                                 const struct sweep_benchmark *entry, struct error *err)
{
    const struct sweep_options *options = run->options;
    material->entry = entry;
    const char *root;
    TRY(find_root(&root, run, entry, err));
    if (root == NULL && entry->questions == NULL && options->plan) {
        const struct benchmark *benchmark = benchmark_find(entry->name, NULL);
        bool twin = strncmp(entry->name, "mini-", 5) == 0 && strcmp(benchmark->name, entry->name) != 0;
        if (twin) {
            printf("%s: not there yet; the sweep will draw it (%d pictures) in %s\n", entry->name,
                   TWIN_PICTURES, run->data_path);
            return OK;
        }
    }
    struct benchmark_paths paths = {root, entry->questions, entry->annotations, entry->images};
    enum status status = benchmark_read(&material->data, entry->name, &paths, err);
    if (status != OK && options->plan) {
        printf("missing: %s\n", err->text);
        return OK;
    }
    TRY(status);
    material->open = true;
    const struct choice choice = {.split = entry->split,
                                  .limit = options->limit ? options->limit : entry->limit,
                                  .shard = options->shard,
                                  .n_shards = options->n_shards};
    TRY(choose_samples(&material->rows, &material->n_rows, &material->data, &choice, err));
    if (is_control_used(run, CONTROL_MISMATCHED))
        TRY(choose_mismatched(&material->mismatched, &material->data, options->seed, err));
    material->max_new_tokens =
        entry->max_new_tokens > 0 ? entry->max_new_tokens : material->data.benchmark->max_new_tokens;
    int n_images = 0;
    for (int i = 0; i < material->n_rows; i++) {
        const char *image = material->data.samples[material->rows[i]].image;
        n_images += image != NULL;
        material->n_images_missing += image && !file_exists(image);
    }
    if (n_images > 0 && material->n_images_missing == n_images && !options->plan) {
        const char *image = material->data.samples[material->rows[0]].image;
        return fail(err, BAD_INPUT, "%s: none of its %d pictures is there (the first: %s); published at %s",
                    entry->name, n_images, image ? image : "?", material->data.benchmark->published);
    }
    return OK;
}

/* ---- what a sample is asked ---------------------------------------------------------------------------- */

bool cell_is_runnable(const struct cell *cell)
{
    return cell->reason == NULL && cell->id != 0;
}

const char *shown_image(const struct material *material, enum control control, int row)
{
    if (control == CONTROL_NO_IMAGE)
        return NULL;
    if (control == CONTROL_MISMATCHED && material->mismatched && material->mismatched[row] >= 0)
        row = material->mismatched[row];
    return material->data.samples[row].image;
}

enum status sample_prompt(char **out, const struct material *material, enum control control, int row,
                          struct error *err)
{
    int n_images = shown_image(material, control, row) ? 1 : 0;
    return template_prompt(out, material->entry->template, material->data.samples[row].text, n_images, 1,
                           err);
}

enum status encode_shown(struct features **out, struct session *session, const struct vlm *vlm,
                         const char *path, enum control control, int image_mode, struct error *err)
{
    struct image image = {0};
    TRY(image_read(&image, path, err));
    if (control == CONTROL_BLANK) {
        uint8_t mean[3];
        processor_mean_colour(mean, vlm_processor(vlm));
        size_t n_pixels = (size_t)image.width * (size_t)image.height;
        for (size_t i = 0; i < n_pixels; i++)
            memcpy(image.rgb + 3 * i, mean, 3);
    }
    enum status status = session_encode(out, session, &image, image_mode, NULL, err);
    image_free(&image);
    return status;
}

struct question sample_question(const struct run *run, const struct cell *cell, int row)
{
    return (struct question){.n_turns = 1,
                             .method = &cell->arm->method,
                             .max_new_tokens = run->materials[cell->benchmark].max_new_tokens,
                             .seed = cell->arm->seed,
                             .sample = (uint64_t)row};
}

enum status typical_input(struct plan_input *out, const struct run *run, const struct cell *cell,
                          struct error *err)
{
    const struct vlm_config *config = vlm_config(run->vlm);
    const struct material *material = &run->materials[cell->benchmark];
    *out = (struct plan_input){.n_layers = config->text.n_layers,
                               .hidden = config->text.hidden,
                               .intermediate = config->text.intermediate,
                               .n_heads = config->text.n_heads,
                               .n_kv_heads = config->text.n_kv_heads,
                               .head_dim = config->text.head_dim};
    if (!material->open || material->n_rows == 0)
        return OK;
    int row = material->rows[0], n_ids, n_after;
    char *prompt;
    int32_t *ids = NULL;
    TRY(sample_prompt(&prompt, material, cell->arm->control, row, err));
    const char *placeholder = strstr(prompt, "<image>"), *after = placeholder ? placeholder + 7 : prompt;
    enum status status = tokenizer_encode(vlm_tokenizer(run->vlm), &ids, &n_ids, prompt, -1, true, err);
    free(ids);
    if (status == OK) {
        ids = NULL;
        status = tokenizer_encode(vlm_tokenizer(run->vlm), &ids, &n_after, after, -1, false, err);
        free(ids);
    }
    free(prompt);
    TRY(status);
    out->n_visual = placeholder ? config->visual_per_image : 0;
    out->n_text = n_ids - (placeholder ? 1 : 0);
    out->n_text_after = n_after;
    return OK;
}

/* ---- one model ----------------------------------------------------------------------------------------- */

static void read_machine(char out[128])
{
    char line[256], name[100] = "unknown processor";
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            snprintf(name, sizeof name, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (file)
        fclose(file);
    snprintf(out, 128, "%s x %ld", name, sysconf(_SC_NPROCESSORS_ONLN));
}

static enum status open_model(struct run *run, int model, struct error *err)
{
    const struct sweep_options *options = run->options;
    char *dir;
    TRY(find_model(&dir, run->sweep.models[model], err));
    const struct vlm_options wanted = {.dir = dir,
                                       .device = options->device ? options->device : run->sweep.device,
                                       .dtype =
                                           options->dtype != DTYPE_AUTO ? options->dtype : run->sweep.dtype};
    run->model = model;
    enum status status = vlm_open(&run->vlm, &wanted, err);
    if (status == OK)
        status = vlm_weights_sha256(run->weights_sha, run->vlm, err);
    free(dir);
    TRY(status);
    bool cuda = strcmp(vlm_device(run->vlm), "cuda") == 0;
    run->dtype = dtype_names[wanted.dtype == DTYPE_AUTO && !cuda ? DTYPE_CHOICE_F32 : wanted.dtype];
    run->yes_id = tokenizer_find(vlm_tokenizer(run->vlm), "\xe2\x96\x81Yes");
    run->no_id = tokenizer_find(vlm_tokenizer(run->vlm), "\xe2\x96\x81No");
    return OK;
}

static enum status resolve_cell(struct run *run, struct cell *cell, struct error *err)
{
    const struct material *material = &run->materials[cell->benchmark];
    struct plan_input input;
    struct plan plan;
    struct error why;
    TRY(typical_input(&input, run, cell, err));
    const char *reason = cell->arm->reason;
    if (reason == NULL && method_plan(&plan, &cell->arm->method, &input, &why) != OK)
        reason = why.text;
    if (reason && (cell->reason = memory_text(reason)) == NULL)
        return memory_failed(err, "a reason", strlen(reason));
    const struct key_parts parts = {.weights_sha = run->weights_sha,
                                    .files_sha = material->data.files_sha256,
                                    .template = material->entry->template,
                                    .image_mode = image_mode_names[material->entry->image_mode],
                                    .max_new_tokens = material->max_new_tokens,
                                    .arm = cell->arm->text,
                                    .split = split_names[material->entry->split],
                                    .backend = vlm_device(run->vlm),
                                    .dtype = run->dtype};
    return key_make(cell->key, &cell->canonical, &parts, err);
}

static enum status store_cells(struct run *run, struct error *err)
{
    for (int i = 0; i < run->grid.n_cells; i++) {
        struct cell *cell = &run->grid.cells[i];
        if (cell->model != run->model)
            continue;
        struct material *material = &run->materials[cell->benchmark];
        const struct arm *arm = cell->arm;
        if (material->source == 0)
            TRY(store_source(&material->source, run->store, &material->data, material->entry->name, err));
        const struct store_cell row = {.key = cell->key,
                                       .canonical = cell->canonical,
                                       .source = material->source,
                                       .model = run->sweep.models[run->model],
                                       .weights_sha = run->weights_sha,
                                       .family = vlm_config(run->vlm)->family,
                                       .method = arm->method.reducer->name,
                                       .params = arm->params,
                                       .benchmark = material->entry->name,
                                       .split = split_names[material->entry->split],
                                       .control = control_names[arm->control],
                                       .template = material->entry->template,
                                       .image_mode = image_mode_names[material->entry->image_mode],
                                       .max_new_tokens = material->max_new_tokens,
                                       .budget = arm->budget,
                                       .match = arm->match,
                                       .seed = arm->seed,
                                       .reason = cell->reason,
                                       .metric = material->data.benchmark->metric,
                                       .device = vlm_device(run->vlm),
                                       .dtype = run->dtype,
                                       .revision = WINNOW_REVISION};
        int64_t id;
        TRY(store_cell(&id, run->store, &row, err));
        bool twice = false; /* files given by path may turn out to be those of another entry */
        for (int j = 0; j < i; j++)
            twice = twice || run->grid.cells[j].id == id;
        cell->id = twice ? 0 : id;
    }
    return store_tick(run->store, true, err);
}

static enum status open_outputs(struct run *run, struct error *err)
{
    char folder[PATH_SIZE];
    bool moved = false;
    size_t n = folder_length(run->store_path);
    snprintf(folder, sizeof folder, "%.*s", (int)n, run->store_path);
    if (n > 0)
        TRY(make_folder(folder, err));
    TRY(store_open(&run->store, run->store_path, err));
    if (run->sweep.trace.wanted)
        TRY(trace_open(&run->trace, run->trace_path, &moved, err));
    if (moved)
        fprintf(stderr, "%s could not be read any more: moved to %s.damaged; its samples are traced anew\n",
                run->trace_path, run->trace_path);
    return OK;
}

static enum status run_model(struct run *run, int model, struct error *err)
{
    enum status status = open_model(run, model, err);
    for (int i = 0; i < run->grid.n_cells && status == OK; i++)
        if (run->grid.cells[i].model == model && run->materials[run->grid.cells[i].benchmark].open)
            status = resolve_cell(run, &run->grid.cells[i], err);
    if (status == OK && run->options->plan)
        status = sweep_print_plan(run, err);
    else if (status == OK) {
        if (run->store == NULL)
            status = open_outputs(run, err);
        if (status == OK)
            status = store_cells(run, err);
        if (status == OK)
            status = sweep_work(run, err);
        if (status == OK && run->sweep.timing.wanted)
            status = sweep_timing(run, err);
    }
    vlm_close(run->vlm);
    run->vlm = NULL;
    return status;
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

/* What did not come about, on stderr; NOT_HELD where there is such a thing. */
static enum status list_failures(struct run *run, struct error *err)
{
    int n_infeasible = 0;
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        if (cell->reason == NULL)
            continue;
        n_infeasible++;
        fprintf(stderr, "infeasible: %s on %s: %s\n", cell->arm->label,
                run->materials[cell->benchmark].entry->name, cell->reason);
    }
    enum { LISTED = 10 };
    int n_failed = 0;
    sqlite3_stmt *s;
    TRY(store_prepare(&s, run->store,
                      "SELECT sample_id, error FROM sample WHERE cell = ? AND error IS NOT NULL", err));
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        sqlite3_bind_int64(s, 1, cell->id);
        while (sqlite3_step(s) == SQLITE_ROW)
            if (n_failed++ < LISTED)
                fprintf(stderr, "failed: %s, sample %d of %s: %s\n", cell->key, sqlite3_column_int(s, 0),
                        run->materials[cell->benchmark].entry->name, (const char *)sqlite3_column_text(s, 1));
        sqlite3_reset(s);
    }
    sqlite3_finalize(s);
    if (n_failed > LISTED)
        fprintf(stderr,
                "... and %d more: winnow sql %s 'SELECT key, sample_id, error FROM samples WHERE error "
                "NOTNULL'\n",
                n_failed - LISTED, run->store_path);
    if (n_infeasible + n_failed == 0)
        return OK;
    return fail(err, NOT_HELD, "%d cells are infeasible, %d samples failed; all others are in %s",
                n_infeasible, n_failed, run->store_path);
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
    for (int i = 0; i < run->sweep.n_benchmarks; i++) {
        struct sweep_benchmark *entry = &run->sweep.benchmarks[i];
        if (options->image_mode != IMAGE_MODE_FROM_FILE)
            entry->image_mode = options->image_mode;
        if (options->max_new_tokens > 0)
            entry->max_new_tokens = options->max_new_tokens;
    }
    for (int i = 0; i < run->sweep.n_models; i++) {
        char *dir;
        TRY(find_model(&dir, run->sweep.models[i], err));
        bool there = is_folder(dir);
        if (!there)
            status = fail(err, BAD_INPUT, "model %s: there is no such folder", dir);
        free(dir);
        TRY(status);
    }
    return OK;
}

static enum status execute(struct run *run, struct error *err)
{
    TRY(read_file(run, err));
    TRY(grid_make(&run->grid, &run->sweep, run->options->seed, err));
    TRY(make_paths(run, err));
    read_machine(run->machine);
    run->materials = memory_zero((size_t)run->sweep.n_benchmarks, sizeof *run->materials);
    if (run->materials == NULL)
        return memory_failed(err, "benchmarks", (size_t)run->sweep.n_benchmarks * sizeof *run->materials);
    for (int i = 0; i < run->sweep.n_benchmarks; i++)
        if (is_benchmark_used(run, i))
            TRY(open_material(&run->materials[i], run, &run->sweep.benchmarks[i], err));
    for (int i = 0; i < run->sweep.n_models; i++)
        TRY(run_model(run, i, err));
    if (run->options->plan)
        return OK;
    TRY(sweep_summarise(run, err));
    TRY(sweep_print_result(run, err));
    return list_failures(run, err);
}

enum status sweep_execute(const struct sweep_options *options, struct error *err)
{
    struct sigaction action = {.sa_handler = on_signal}, old_int, old_term;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, &old_int);
    sigaction(SIGTERM, &action, &old_term);
    struct run run = {.options = options};
    enum status status = execute(&run, err);
    struct error close_err = {0};
    enum status store_status = store_close(run.store, &close_err);
    if (status == OK && store_status != OK) {
        *err = close_err;
        status = store_status;
    }
    store_status = trace_close(run.trace, &close_err);
    if (status == OK && store_status != OK) {
        *err = close_err;
        status = store_status;
    }
    for (int i = 0; run.materials && i < run.sweep.n_benchmarks; i++) {
        struct material *material = &run.materials[i];
        if (material->open)
            dataset_close(&material->data);
        free(material->rows);
        free(material->mismatched);
    }
    free(run.materials);
    grid_free(&run.grid);
    sweep_free(&run.sweep);
    free(run.store_path);
    free(run.trace_path);
    free(run.data_path);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    return status;
}
