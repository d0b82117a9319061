/* The way of a picture: pixels → tower → projector → features, with the method at work in the tower. */
#include <stdlib.h>
#include <string.h>

#include "cut.h"
#include "memory.h"
#include "rng.h"

/* Room for n tokens. */
static enum status features_new(struct features **out, const struct vlm *vlm, int n, struct error *err)
{
    static uint64_t n_made; /* atomic */
    struct features *f = memory_zero(1, sizeof *f);
    size_t n_bytes = (size_t)n * (size_t)vlm->config.text.hidden * sizeof(float);
    if (f) {
        f->data = vlm->ops->alloc(n_bytes);
        f->tokens = memory_zero((size_t)n + 1, sizeof *f->tokens);
    }
    if (f == NULL || f->data == NULL || f->tokens == NULL) {
        if (f) {
            vlm->ops->release(f->data);
            free(f->tokens);
        }
        free(f);
        return memory_failed(err, "visual tokens", n_bytes);
    }
    f->ops = vlm->ops;
    f->n = n;
    f->references = 1;
    f->serial = __atomic_add_fetch(&n_made, 1, __ATOMIC_RELAXED);
    *out = f;
    return OK;
}

static uint64_t projector_macs(const struct vlm_config *config, int n)
{
    uint64_t d = (uint64_t)config->text.hidden;
    return (uint64_t)n * d * ((uint64_t)config->vision.hidden + d);
}

enum status vlm_image_macs(uint64_t *vision, uint64_t *project, const struct vlm_config *config,
                           const struct method *method, int n_images, struct error *err)
{
    struct method vanilla;
    if (method == NULL) {
        TRY(method_init(&vanilla, "vanilla", err));
        method = &vanilla;
    }
    struct plan_input input = vlm_plan_input(config, n_images * config->visual_per_image, 0, 0);
    struct patch_grid grid;
    struct plan plan;
    int n;
    input.n_images = n_images;
    TRY(method_tower_grid(&grid, method, &input, 0, n_images, err));
    TRY(method_plan_tower(&plan, method, &input, 0, n_images, err));
    TRY(method_tower_tokens(&n, method, &input, 0, n_images, err));
    *vision = clip_macs(config, &grid, &plan, method->reducer->tower(method).middle);
    *project = projector_macs(config, n);
    return OK;
}

/* The tower's sequence: the class token, as text unless it is handed on, then the patches. */
static enum status tower_sequence(struct reduction *r, const struct vlm_config *config,
                                  const struct patch_grid *grid, struct error *err)
{
    int n_patches = grid->rows * grid->cols, first = config->keep_cls ? 1 : 0;
    TRY(sequence_new(&r->sequence, n_patches + 1, err));
    TRY(sequence_new(&r->spare, n_patches + 1, err));
    sequence_add(&r->sequence, (struct token){.kind = TOKEN_TEXT, .id = INT32_MIN, .cell = -1});
    for (int p = 0; p < n_patches; p++)
        sequence_add(&r->sequence, (struct token){.kind = TOKEN_VISUAL,
                                                  .image = (int16_t)r->image,
                                                  .id = first + p,
                                                  .cell = p,
                                                  .position = 1 + p,
                                                  .size = 1});
    r->group_of = memory_alloc((size_t)n_patches, sizeof *r->group_of);
    if (r->group_of == NULL)
        return memory_failed(err, "groups of patches", (size_t)n_patches * sizeof *r->group_of);
    r->n_group_of = n_patches;
    for (int p = 0; p < n_patches; p++)
        r->group_of[p] = p;
    return OK;
}

/* Tokens by the first patch of each; those without one, and the class token, stay in front. */
struct ordered {
    int32_t cell, place;
};

static int compare_cells(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    return x->cell != y->cell ? (x->cell > y->cell) - (x->cell < y->cell)
                              : (x->place > y->place) - (x->place < y->place);
}

static enum status tokens_to_raster(struct session *s, struct reduction *r, float **features,
                                    struct error *err)
{
    struct workspace *w = &s->work;
    int n = r->sequence.n, d = s->vlm->config.vision.hidden;
    struct ordered *order = memory_alloc((size_t)n, sizeof *order);
    int32_t *rows = memory_alloc(2 * (size_t)n, sizeof *rows), *to = rows + n;
    if (order == NULL || rows == NULL) {
        free(order);
        free(rows);
        return memory_failed(err, "order of tokens", (size_t)n * sizeof *order);
    }
    for (int i = 0; i < n; i++)
        order[i] = (struct ordered){.cell = r->sequence.tokens[i].cell, .place = i};
    qsort(order, (size_t)n, sizeof *order, compare_cells);
    r->spare.n = r->spare.n_visual = r->spare.text_start = 0;
    r->spare.n_clusters = r->sequence.n_clusters;
    for (int i = 0; i < n; i++) {
        sequence_add(&r->spare, r->sequence.tokens[order[i].place]);
        rows[i] = order[i].place;
        to[order[i].place] = i;
    }
    int class_text = r->sequence.tokens[0].kind == TOKEN_TEXT; /* stands first, and counts for no place */
    for (int p = 0; p < r->n_group_of; p++)
        if (r->group_of[p] >= 0)
            r->group_of[p] = to[r->group_of[p] + class_text] - class_text;
    int32_t *device = index_at(s, INDEX_ROWS);
    s->vlm->ops->upload(&s->compute, device, rows, (size_t)n * sizeof *rows);
    s->vlm->ops->gather_rows(&s->compute, w->next, w->x, device, n, d);
    *features = w->next + (*features - w->x);
    struct sequence swap = r->sequence;
    r->sequence = r->spare;
    r->spare = swap;
    free(order);
    free(rows);
    return OK;
}

/* Pixels of the grid that the method wants the tower to see. */
static enum status picture_prepare(struct session *s, const struct image *image,
                                   const struct patch_grid *grid, const struct encode_options *options,
                                   struct error *err)
{
    const struct vlm *vlm = s->vlm;
    const struct vlm_config *config = &vlm->config;
    struct processor processor = vlm->processor;
    int patch = config->vision.patch, width = grid->cols * patch, height = grid->rows * patch;
    if (options->mode != IMAGE_MODE_FROM_FILE)
        processor.mode = options->mode;
    if (grid->rows == config->grid_rows && grid->cols == config->grid_cols)
        TRY(preprocess(s->pixels, image, &processor, err));
    else
        TRY(preprocess_square(s->pixels, image, &processor, width, height, err));
    vlm->ops->upload(&s->compute, s->pixels_device, s->pixels,
                     (size_t)3 * (size_t)width * (size_t)height * sizeof(float));
    return tap_give(options->tap, s, "pixel_values", s->pixels_device, 0, 3 * height, width, err);
}

/* n rows of the tower through the projector; takes the tokens and records from the reduction. */
static enum status features_make(struct features **out, struct session *s, struct reduction *r,
                                 const float *rows, int n, const struct tap *tap, struct error *err)
{
    const struct vlm *vlm = s->vlm;
    const struct vlm_config *config = &vlm->config;
    struct compute *c = &s->compute;
    struct workspace *w = &s->work;
    int d = config->text.hidden, skip = r->sequence.n - n; /* the class token, where it is dropped */
    struct features *f;
    TRY(features_new(&f, vlm, n, err));
    c->macs = 0;
    vlm->ops->linear(c, w->gate, rows, &vlm->projector.linear1, vlm->projector.bias1, n);
    vlm->ops->activate(c, w->gate, config->projector_activation, (size_t)n * (size_t)d);
    vlm->ops->linear(c, f->data, w->gate, &vlm->projector.linear2, vlm->projector.bias2, n);
    f->counted_project = c->macs;
    f->macs_project = projector_macs(config, n);
    for (int i = 0; i < n; i++) {
        f->tokens[i] = r->sequence.tokens[skip + i];
        if (f->tokens[i].kind == TOKEN_TEXT) /* keep_cls: the class token is a visual token without a cell */
            f->tokens[i] = (struct token){.kind = TOKEN_VISUAL, .id = 0, .cell = -1};
    }
    f->n_uncut = config->visual_per_image;
    f->n_ids = (config->keep_cls ? 1 : 0) + r->n_group_of;
    f->n_clusters = r->sequence.n_clusters;
    f->reduced_by = r->method->reducer->in_tower ? r->method->reducer : NULL;
    f->macs_select = r->macs;
    f->counted_select = r->macs_counted;
    f->select_ms = r->ms;
    if (r->n_records > 0) {
        struct cut_record *last = &r->records[r->n_records - 1];
        last->group_of = r->group_of;
        last->n_group_of = r->n_group_of;
        r->group_of = NULL;
        f->records = r->records;
        f->n_records = r->n_records;
        r->records = NULL;
        r->n_records = 0;
    }
    *out = f;
    return tap_give(tap, s, "projector.out", f->data, 0, n, d, err);
}

enum status session_encode(struct features **out, struct session *s, const struct image *image,
                           const struct encode_options *options, struct error *err)
{
    const struct vlm_config *config = &s->vlm->config;
    struct method vanilla;
    *out = NULL;
    if (options->method == NULL)
        TRY(method_init(&vanilla, "vanilla", err));
    struct reduction r = {.session = s,
                          .method = options->method ? options->method : &vanilla,
                          .tap = options->tap,
                          .replay = options->replay,
                          .n_replay = options->n_replay,
                          .seed = options->seed,
                          .sample = options->sample,
                          .image = options->image,
                          .want_records = true};
    int n_images = options->n_images > 0 ? options->n_images : 1, n;
    struct plan_input input = vlm_plan_input(config, n_images * config->visual_per_image, 0, 0);
    struct patch_grid grid;
    float *rows;
    enum status status;
    r.tower = r.method->reducer->tower(r.method);
    for (int i = 0; i < options->n_replay; i++) /* the tower runs as it did when the cuts were made */
        if (options->replay[i].site == SITE_VISION && options->replay[i].image == options->image)
            r.tower = options->replay[i].tower;
    input.n_images = n_images;
    input.replay = options->replay;
    input.n_replay = options->n_replay;
    TRY_GOTO(status, method_tower_grid(&grid, r.method, &input, options->image, n_images, err));
    TRY_GOTO(status, method_plan_tower(&r.plan, r.method, &input, options->image, n_images, err));
    TRY_GOTO(status, tower_sequence(&r, config, &grid, err));

    double start = clock_ms();
    TRY_GOTO(status, picture_prepare(s, image, &grid, options, err));
    double preprocessed = clock_ms();
    uint64_t macs;
    s->compute.macs = 0;
    TRY_GOTO(status, clip_forward(s, &r, &grid, options->tap, &rows, &n, &macs, err));
    uint64_t counted = s->compute.macs;
    double left = clock_ms();
    if (r.n_records > 0 && r.tower.raster)
        TRY_GOTO(status, tokens_to_raster(s, &r, &rows, err));
    double seen = clock_ms();
    r.ms += seen - left;
    TRY_GOTO(status, features_make(out, s, &r, rows, n, options->tap, err));
    struct features *f = *out;
    f->grid = grid;
    f->counted_vision = counted;
    f->macs_vision = macs;
    f->preprocess_ms = preprocessed - start;
    f->vision_ms = seen - preprocessed;
    f->project_ms = clock_ms() - seen;
exit:
    reduction_free(&r);
    if (status != OK) {
        features_release(*out);
        *out = NULL;
    }
    return status;
}

enum status features_random(struct features **out, struct session *s, int n,
                            const struct encode_options *options, struct error *err)
{
    const struct method *method = options->method;
    const struct reducer *in_tower = method && method->reducer->in_tower ? method->reducer : NULL;
    int n_left = n, n_images = options->n_images > 0 ? options->n_images : 1;
    if (in_tower) {
        struct plan_input input = vlm_plan_input(&s->vlm->config, n_images * n, 0, 0);
        input.n_images = n_images;
        TRY(method_tower_tokens(&n_left, method, &input, options->image, n_images, err));
    }
    TRY(features_new(out, s->vlm, n_left, err));
    struct features *f = *out;
    const struct vlm_config *config = &s->vlm->config;
    bool whole = n == config->visual_per_image;
    int first_patch = whole ? n - config->grid_rows * config->grid_cols : 0; /* behind a class token */
    f->grid = whole ? (struct patch_grid){config->grid_rows, config->grid_cols} : (struct patch_grid){1, n};
    f->n_uncut = f->n_ids = n;
    f->reduced_by = in_tower;
    size_t n_floats = (size_t)n_left * (size_t)s->vlm->config.text.hidden;
    float *host = memory_alloc(n_floats, sizeof *host);
    if (host == NULL) {
        features_release(f);
        return memory_failed(err, "visual tokens", n_floats * sizeof *host);
    }
    for (int i = 0; i < n_left; i++)
        f->tokens[i] = (struct token){.kind = TOKEN_VISUAL,
                                      .id = i,
                                      .cell = i < first_patch ? -1 : i - first_patch,
                                      .position = i + (config->keep_cls ? 0 : 1),
                                      .size = 1};
    for (size_t i = 0; i < n_floats; i++)
        host[i] = 0.1f * (2 * rng_float(options->seed, 0, (uint64_t)options->image, i) - 1);
    s->vlm->ops->upload(&s->compute, f->data, host, n_floats * sizeof *host);
    free(host);
    return OK;
}

struct features *features_retain(struct features *f)
{
    __atomic_add_fetch(&f->references, 1, __ATOMIC_RELAXED);
    return f;
}

void features_release(struct features *f)
{
    if (f == NULL || __atomic_sub_fetch(&f->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    f->ops->release(f->data);
    cut_records_free(f->records, f->n_records);
    free(f->tokens);
    free(f);
}

struct features_cost features_cost(const struct features *f)
{
    return (struct features_cost){.preprocess_ms = f->preprocess_ms,
                                  .vision_ms = f->vision_ms,
                                  .project_ms = f->project_ms,
                                  .select_ms = f->select_ms,
                                  .macs_vision = f->macs_vision,
                                  .macs_project = f->macs_project,
                                  .macs_select = f->macs_select};
}

int features_count(const struct features *f)
{
    return f->n;
}

void features_grid(const struct features *f, int *rows, int *cols)
{
    *rows = f->grid.rows;
    *cols = f->grid.cols;
}
