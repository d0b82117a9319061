/* A session: buffers for one thread of work, and the way of a picture: pixels → tower → projector → features.
 */
#include "session.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <stdlib.h>

#include "memory.h"
#include "rng.h"

enum { N_INDEX = 8 };

enum status session_open(struct session **out, struct vlm *vlm, int n_threads, struct error *err)
{
    const struct vlm_config *config = &vlm->config;
    struct session *s = memory_zero(1, sizeof *s);
    if (s == NULL)
        return memory_failed(err, "session", sizeof *s);
    s->vlm = vlm;
    enum status status = vlm->ops->open(&s->compute, n_threads, err);
    if (status != OK) {
        free(s);
        return status;
    }
    int n_vision = 1 + config->grid_rows * config->grid_cols;
    size_t n_pixels =
        (size_t)3 * (size_t)config->vision.image_size * (size_t)config->vision.image_size * sizeof(float);
    s->pixels = memory_alloc(n_pixels, 1);
    s->pixels_device = vlm->ops->alloc(n_pixels);
    if (s->pixels == NULL || s->pixels_device == NULL)
        TRY_GOTO(status, memory_failed(err, "pixels", n_pixels));
    TRY_GOTO(status, kv_new(&s->kv, vlm->ops, config->text.n_layers, config->text.n_kv_heads,
                            config->text.head_dim, err));
    TRY_GOTO(status, kv_new(&s->vision, vlm->ops, 1, config->vision.n_heads,
                            config->vision.hidden / config->vision.n_heads, err));
    TRY_GOTO(status, kv_reserve(&s->vision, 0, n_vision, err));
    TRY_GOTO(status, workspace_reserve(s, n_vision, err));
exit:
    if (status == OK)
        *out = s;
    else
        session_close(s);
    return status;
}

void session_close(struct session *s)
{
    if (s == NULL)
        return;
    kv_free(&s->kv);
    kv_free(&s->vision);
    s->vlm->ops->release(s->work.block);
    s->vlm->ops->release(s->pixels_device);
    free(s->pixels);
    s->vlm->ops->close(&s->compute);
    free(s);
}

size_t session_work_bytes(const struct session *s)
{
    return s->work.n_bytes;
}

size_t session_peak_bytes(const struct session *s)
{
    return s->work.n_bytes + s->kv.n_bytes + s->vision.n_bytes;
}

struct compute *session_compute(struct session *s)
{
    return &s->compute;
}

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

enum status workspace_reserve(struct session *s, int n_rows, struct error *err)
{
    struct workspace *w = &s->work;
    const struct vlm_config *config = &s->vlm->config;
    if (n_rows <= w->n_rows)
        return OK;
    size_t n = (size_t)n_rows, text = (size_t)config->text.hidden, vision = (size_t)config->vision.hidden;
    size_t d = largest(text, vision);
    size_t heads = largest((size_t)config->text.n_heads * (size_t)config->text.head_dim, vision);
    size_t patch = 3 * (size_t)config->vision.patch * (size_t)config->vision.patch;
    size_t m = largest(largest((size_t)config->text.intermediate, (size_t)config->vision.intermediate),
                       largest(patch, text));
    /* each part starts on a 64-byte line */
    const struct {
        void *pointer;
        size_t n;
    } parts[] = {{&w->x, n * d},           {&w->next, n * d},
                 {&w->h, n * d},           {&w->q, n * heads},
                 {&w->k, n * heads},       {&w->v, n * heads},
                 {&w->mix, n * heads},     {&w->gate, n * m},
                 {&w->up, n * m},          {&w->lse, n * (size_t)config->text.n_heads},
                 {&w->score, n},           {&w->scratch, n * (text + 1)},
                 {&w->index, N_INDEX * n}, {&w->logits, (size_t)config->text.vocabulary}};
    size_t total = 0;
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++)
        total += (parts[i].n + 15) / 16 * 16;
    s->vlm->ops->release(w->block);
    memset(w, 0, sizeof *w);
    w->block = s->vlm->ops->alloc(total * sizeof(float));
    if (w->block == NULL)
        return memory_failed(err, "activations of one layer", total * sizeof(float));
    w->n_bytes = total * sizeof(float);
    w->n_rows = n_rows;
    float *at = w->block;
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        memcpy(parts[i].pointer, &at, sizeof at);
        at += (parts[i].n + 15) / 16 * 16;
    }
    return OK;
}

enum status tap_give(const struct tap *tap, struct session *s, const char *name, const float *data, int first,
                     int rows, int cols, struct error *err)
{
    if (!tap_wants(tap, name))
        return OK;
    size_t n_bytes = (size_t)rows * (size_t)cols * sizeof(float);
    float *host = memory_alloc(n_bytes, 1);
    if (host == NULL)
        return memory_failed(err, name, n_bytes);
    s->vlm->ops->download(&s->compute, host, data, n_bytes);
    tap->give(tap->context, name, host, first, rows, cols);
    free(host);
    return OK;
}

/* ---- pictures ------------------------------------------------------------------------------- */

static enum status features_new(struct features **out, const struct vlm *vlm, int n, struct error *err)
{
    struct features *f = memory_zero(1, sizeof *f);
    size_t n_bytes = (size_t)n * (size_t)vlm->config.text.hidden * sizeof(float);
    if (f)
        f->data = vlm->ops->alloc(n_bytes);
    if (f == NULL || f->data == NULL) {
        free(f);
        return memory_failed(err, "visual tokens", n_bytes);
    }
    f->ops = vlm->ops;
    f->n = n;
    f->rows = vlm->config.grid_rows;
    f->cols = vlm->config.grid_cols;
    f->references = 1;
    *out = f;
    return OK;
}

static uint64_t projector_macs(const struct vlm_config *config)
{
    uint64_t d = (uint64_t)config->text.hidden;
    return (uint64_t)config->visual_per_image * d * ((uint64_t)config->vision.hidden + d);
}

uint64_t vlm_image_macs(const struct vlm_config *config)
{
    return clip_macs(config) + projector_macs(config);
}

enum status session_encode(struct features **out, struct session *s, const struct image *image,
                           int image_mode, const struct tap *tap, struct error *err)
{
    const struct vlm *vlm = s->vlm;
    const struct vlm_config *config = &vlm->config;
    struct compute *c = &s->compute;
    struct workspace *w = &s->work;
    int size = config->vision.image_size, d = config->text.hidden, n;
    struct processor processor = vlm->processor;
    if (image_mode != IMAGE_MODE_FROM_FILE)
        processor.mode = (enum image_mode)image_mode;
    *out = NULL;

    double start = clock_ms();
    TRY(preprocess(s->pixels, image, &processor, err));
    vlm->ops->upload(c, s->pixels_device, s->pixels, (size_t)3 * (size_t)size * (size_t)size * sizeof(float));
    TRY(tap_give(tap, s, "pixel_values", s->pixels_device, 0, 3 * size, size, err));
    double preprocessed = clock_ms();

    float *features;
    c->macs = 0;
    TRY(clip_forward(s, tap, &features, &n, err));
    uint64_t counted_vision = c->macs;
    double seen = clock_ms();

    c->macs = 0;
    vlm->ops->linear(c, w->gate, features, &vlm->projector.linear1, vlm->projector.bias1, n);
    vlm->ops->activate(c, w->gate, config->projector_activation, (size_t)n * (size_t)d);
    struct features *f = NULL;
    TRY(features_new(&f, vlm, n, err));
    vlm->ops->linear(c, f->data, w->gate, &vlm->projector.linear2, vlm->projector.bias2, n);
    f->counted_vision = counted_vision;
    f->counted_project = c->macs;
    f->macs_vision = clip_macs(config);
    f->macs_project = projector_macs(config);
    f->preprocess_ms = preprocessed - start;
    f->vision_ms = seen - preprocessed;
    f->project_ms = clock_ms() - seen;
    enum status status = tap_give(tap, s, "projector.out", f->data, 0, n, d, err);
    if (status != OK)
        features_release(f);
    else
        *out = f;
    return status;
}

enum status features_random(struct features **out, struct session *s, int n, uint64_t seed, struct error *err)
{
    TRY(features_new(out, s->vlm, n, err));
    struct features *f = *out;
    f->rows = 1;
    f->cols = n;
    size_t n_floats = (size_t)n * (size_t)s->vlm->config.text.hidden;
    float *host = memory_alloc(n_floats, sizeof *host);
    if (host == NULL) {
        features_release(f);
        return memory_failed(err, "visual tokens", n_floats * sizeof *host);
    }
    for (size_t i = 0; i < n_floats; i++)
        host[i] = 0.1f * (2 * rng_float(seed, 0, 0, i) - 1);
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
    free(f);
}

void features_times(const struct features *f, double *vision_ms, double *project_ms)
{
    *vision_ms = f->vision_ms;
    *project_ms = f->project_ms;
}

int features_count(const struct features *f)
{
    return f->n;
}

void features_grid(const struct features *f, int *rows, int *cols)
{
    *rows = f->rows;
    *cols = f->cols;
}
