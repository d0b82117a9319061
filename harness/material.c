/* What a sweep asks about: a benchmark's files opened (twins are drawn where they are not there), its samples
 * chosen, and for each sample the prompt and the picture that a control gives it. */
#include <errno.h>    /* EEXIST */
#include <stdarg.h>   /* paths */
#include <stdio.h>    /* snprintf */
#include <stdlib.h>   /* free */
#include <string.h>   /* strcmp */
#include <sys/stat.h> /* mkdir */
#include <time.h>     /* nanosleep */

#include "core/json.h"
#include "core/memory.h"
#include "datasets/mini/suite.h"
#include "datasets/pictures.h"
#include "harness/choose.h"
#include "harness/folder.h"
#include "harness/lock.h"
#include "harness/replay.h"
#include "harness/sweep_run.h"
#include "harness/template.h"

enum { PATH_SIZE = 4096, GUESSED_TEXT = 64 };

/* ---- paths ---------------------------------------------------------------------------------- */

enum status make_path(char **out, struct error *err, const char *format, ...)
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

bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* mkdir -p */
enum status make_folder(const char *path, struct error *err)
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

/* ---- files ---------------------------------------------------------------------------------- */

/* Draws a twin beside its place and renames it when it is whole. The caller holds the folder's lock, so what
 * lies there of an earlier drawing was left by a process that died. */
static enum status draw_locked(const char *name, const char *folder, struct error *err)
{
    char temporary[PATH_SIZE], from[PATH_SIZE], to[PATH_SIZE], message[512] = "";
    int n = snprintf(temporary, sizeof temporary, "%s/.drawing", folder);
    int m = snprintf(from, sizeof from, "%s/.drawing/%s", folder, name);
    int k = snprintf(to, sizeof to, "%s/%s", folder, name);
    if (n >= PATH_SIZE || m >= PATH_SIZE || k >= PATH_SIZE)
        return fail(err, BAD_INPUT, "%s: the path is too long", folder);
    if (is_folder(to)) /* whom we waited for drew it */
        return OK;
    fprintf(stderr, "drawing %s, %d pictures, to %s\n", name, suite_pictures(name), to);
    folder_remove(temporary);
    TRY(make_folder(temporary, err));
    enum status status = OK;
    if (suite_write(name, temporary, 0, suite_pictures(name), message, sizeof message) != 0)
        status = fail(err, NO_MACHINE, "%s", message); /* name and number are the suite's own */
    else if (rename(from, to) != 0)
        status = fail(err, NO_MACHINE, "%s: cannot be renamed to %s: %s", from, to, strerror(errno));
    folder_remove(temporary);
    return status;
}

/* One process at a time draws in a folder; another waits, for it may be the same twin. */
static enum status draw_twin(const char *name, const char *folder, struct error *err)
{
    char lock_name[PATH_SIZE], holder[LOCK_HOLDER];
    struct lock *lock;
    if (snprintf(lock_name, sizeof lock_name, "%s/.drawing.lock", folder) >= PATH_SIZE)
        return fail(err, BAD_INPUT, "%s: the path is too long", folder);
    TRY(make_folder(folder, err));
    for (bool told = false;; told = true) {
        TRY(lock_try(&lock, holder, lock_name, err));
        if (lock)
            break;
        if (!told)
            fprintf(stderr, "waiting for another winnow%s that draws in %s\n", holder, folder);
        if (sweep_stop)
            return fail(err, INTERRUPTED, "interrupted; the same command goes on where it stopped");
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    enum status status = draw_locked(name, folder, err);
    lock_give(lock);
    return status;
}

/* A plan writes nothing: a twin that is not there yet is drawn in a folder of its own that material_close
 * removes. */
static enum status draw_scratch(struct material *material, const char *name, const struct run *run,
                                struct error *err)
{
    TRY(folder_scratch(&material->scratch, err));
    char message[512] = "";
    if (suite_write(name, material->scratch, 0, suite_pictures(name), message, sizeof message) != 0)
        return fail(err, BAD_INPUT, "%s", message);
    fprintf(run->options->json ? stderr : stdout,
            "%s: not there yet; the sweep will draw it (%d pictures) in %s\n", name, suite_pictures(name),
            run->data_path);
    return OK;
}

/* The tree in which a benchmark's files lie: the data folder, or for a twin that is not there the one next to
 * the store, where it is drawn if need be. */
static enum status find_root(const char **root, struct material *material, const struct run *run,
                             const struct sweep_benchmark *entry, struct error *err)
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
    if (!run->options->plan)
        return draw_twin(entry->name, run->data_path, err);
    TRY(draw_scratch(material, entry->name, run, err));
    *root = material->scratch;
    return OK;
}

static bool is_control_used(const struct run *run, enum control control)
{
    for (int i = 0; i < run->grid.n_arms; i++)
        if (run->grid.arms[i]->control == control)
            return true;
    return false;
}

/* What is missing becomes the reason why none of its cells can run. */
static enum status give_reason(struct material *material, struct error *err)
{
    material->reason = memory_text(err->text);
    return material->reason ? OK : memory_failed(err, "a reason", sizeof err->text);
}

static enum status pictures_missing(struct material *material, int n, const char *root, struct error *err)
{
    const struct dataset *data = &material->data;
    const struct sample *sample = NULL;
    for (int i = 0; i < material->n_rows && sample == NULL; i++)
        if (sample_file(&data->samples[material->rows[i]]))
            sample = &data->samples[material->rows[i]];
    /* Where the folder of pictures was not found either, their name is all there is. */
    bool is_bare = sample && sample->image_name && strcmp(sample_file(sample), sample->image_name) == 0;
    fail(err, BAD_INPUT,
         "%s: none of the %d pictures it is asked about is there; looked for %s%s%s; published at %s",
         data->name, n, sample ? sample_file(sample) : "?", is_bare ? " in its folder of pictures in " : "",
         is_bare ? dataset_places(data, root) : "", data->benchmark->published);
    return give_reason(material, err);
}

enum status material_open(struct material *material, struct run *run, const struct sweep_benchmark *entry,
                          struct error *err)
{
    const struct sweep_options *options = run->options;
    material->entry = entry;
    const char *root;
    TRY(find_root(&root, material, run, entry, err));
    struct benchmark_paths paths = {root, entry->questions, entry->annotations, entry->images};
    enum status status = benchmark_read(&material->data, entry->name, &paths, err);
    if (status != OK && material->data.is_missing) {
        material->data =
            (struct dataset){.benchmark = benchmark_find(entry->name, NULL), .name = entry->name};
        return give_reason(material, err);
    }
    TRY(status);
    material->open = true;
    const struct choice choice = {.split = entry->split,
                                  .limit = options->limit ? options->limit : entry->limit,
                                  .shard = options->shard,
                                  .n_shards = options->n_shards};
    TRY(choose_samples(&material->rows, &material->n_rows, &material->data, &choice, err));
    if (is_control_used(run, CONTROL_MISMATCHED))
        status = choose_mismatched(&material->mismatched, &material->data, options->seed, err);
    material->one_picture = status == BAD_INPUT; /* for the cells of that control to say */
    if (!material->one_picture)
        TRY(status);
    material->max_new_tokens =
        entry->max_new_tokens > 0 ? entry->max_new_tokens : material->data.benchmark->max_new_tokens;
    int n_images = 0;
    for (int i = 0; i < material->n_rows; i++) {
        const char *file = sample_file(&material->data.samples[material->rows[i]]);
        n_images += file != NULL;
        material->n_images_missing += file && !file_exists(file);
    }
    return n_images > 0 && material->n_images_missing == n_images
               ? pictures_missing(material, n_images, root, err)
               : OK;
}

bool reason_is_new(const struct run *run, int benchmark)
{
    const char *reason = run->materials[benchmark].reason;
    for (int i = 0; i < benchmark && reason; i++)
        if (run->materials[i].reason && strcmp(run->materials[i].reason, reason) == 0)
            return false;
    return reason != NULL;
}

void material_close(struct material *material)
{
    if (material->open)
        dataset_close(&material->data);
    if (material->scratch)
        folder_remove(material->scratch);
    free(material->scratch);
    free(material->reason);
    free(material->rows);
    free(material->mismatched);
}

/* ---- what a sample is asked ----------------------------------------------------------------- */

bool cell_is_runnable(const struct cell *cell)
{
    return cell->reason == NULL && cell->id != 0;
}

int shown_row(const struct material *material, enum control control, int row)
{
    if (control == CONTROL_NO_IMAGE)
        return -1;
    if (control == CONTROL_MISMATCHED && material->mismatched && material->mismatched[row] >= 0)
        row = material->mismatched[row];
    return material->data.samples[row].image ? row : -1;
}

const char *shown_image(const struct material *material, enum control control, int row)
{
    int shown = shown_row(material, control, row);
    return shown < 0 ? NULL : material->data.samples[shown].image;
}

enum status sample_prompt(char **out, const struct material *material, enum control control, int row,
                          struct error *err)
{
    const struct dataset *data = &material->data;
    struct placeholders images = {0};
    if (shown_image(material, control, row))
        images = sample_placeholders(data, row);
    return template_prompt(out, material->entry->template, data->samples[row].text, images, 1, err);
}

static void paint_over(struct image *image, const struct vlm *vlm)
{
    uint8_t mean[3];
    processor_mean_colour(mean, vlm_processor(vlm));
    size_t n_pixels = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < n_pixels; i++)
        memcpy(image->rgb + 3 * i, mean, 3);
}

enum status encode_shown(struct shown *out, struct session *session, const struct vlm *vlm,
                         const struct dataset *dataset, int row, enum control control,
                         const struct encode_options *options, struct error *err)
{
    struct image *pictures = NULL;
    int n = 0;
    enum status status = OK;
    *out = (struct shown){0};
    if (row < 0)
        return OK;
    TRY(sample_pictures(&pictures, &n, dataset, row, err));
    out->features = memory_zero((size_t)n, sizeof *out->features);
    if (out->features == NULL)
        TRY_GOTO(status, memory_failed(err, "features", (size_t)n * sizeof *out->features));
    for (; out->n < n; out->n++) {
        struct encode_options own = *options;
        own.image = out->n;
        own.n_images = n;
        if (control == CONTROL_BLANK)
            paint_over(&pictures[out->n], vlm);
        TRY_GOTO(status, session_encode(&out->features[out->n], session, &pictures[out->n], &own, err));
    }
exit:
    pictures_free(pictures, n);
    if (status != OK)
        shown_release(out);
    return status;
}

enum status shown_share(struct shown *out, const struct shown *shown, struct error *err)
{
    *out = (struct shown){.features = memory_alloc((size_t)shown->n, sizeof *out->features)};
    if (out->features == NULL)
        return memory_failed(err, "features", (size_t)shown->n * sizeof *out->features);
    for (; out->n < shown->n; out->n++)
        out->features[out->n] = features_retain(shown->features[out->n]);
    return OK;
}

void shown_release(struct shown *shown)
{
    for (int i = 0; i < shown->n; i++)
        features_release(shown->features[i]);
    free(shown->features);
    *shown = (struct shown){0};
}

struct question sample_question(const struct run *run, const struct cell *cell, int row)
{
    return (struct question){.n_turns = 1,
                             .method = &cell->arm->method,
                             .max_new_tokens = run->materials[cell->benchmark].max_new_tokens,
                             .seed = cell->arm->seed,
                             .sample = (uint64_t)row};
}

struct encode_options sample_encoding(const struct run *run, const struct cell *cell,
                                      const struct question *question)
{
    return (struct encode_options){.mode = (enum image_mode)run->materials[cell->benchmark].entry->image_mode,
                                   .method = question->method,
                                   .n_images = 1,
                                   .seed = question->seed,
                                   .sample = question->sample,
                                   .replay = question->replay,
                                   .n_replay = question->n_replay};
}

enum status sample_replay(struct question *question, struct cut_record **cuts, int *n,
                          const struct cell *cell, int row, struct error *err)
{
    *cuts = NULL;
    *n = 0;
    if (cell->arm->replay == NULL)
        return OK;
    TRY(replay_read(cuts, n, cell->arm->replay, row, err));
    question->replay = *cuts;
    question->n_replay = *n;
    return OK;
}

enum status typical_input(struct plan_input *out, const struct run *run, const struct cell *cell,
                          struct error *err)
{
    const struct vlm_config *config = vlm_config(run->vlm);
    const struct material *material = &run->materials[cell->benchmark];
    *out = vlm_plan_input(config, 0, 0, 0);
    if (!material->open || material->n_rows == 0) { /* a plan without data: a picture and a short question */
        out->n_visual = cell->arm->control == CONTROL_NO_IMAGE ? 0 : config->visual_per_image;
        out->n_text = GUESSED_TEXT;
        out->n_text_after = GUESSED_TEXT / 2;
        return OK;
    }
    int row = material->rows[0], n_ids, n_after;
    char *prompt;
    int32_t *ids = NULL;
    TRY(sample_prompt(&prompt, material, cell->arm->control, row, err));
    const char *after = prompt;
    int n_pictures = 0;
    for (const char *found; (found = strstr(after, "<image>")); after = found + 7)
        n_pictures++;
    enum status status = tokenizer_encode(vlm_tokenizer(run->vlm), &ids, &n_ids, prompt, -1, true, err);
    free(ids);
    if (status == OK) {
        ids = NULL;
        status = tokenizer_encode(vlm_tokenizer(run->vlm), &ids, &n_after, after, -1, false, err);
        free(ids);
    }
    free(prompt);
    TRY(status);
    out->n_images = n_pictures > 0 ? n_pictures : 1;
    out->n_visual = n_pictures * config->visual_per_image;
    out->n_text = n_ids - n_pictures;
    out->n_text_after = n_after;
    return OK;
}
