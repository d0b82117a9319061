/* A session: buffers for one thread of work, and the taps on them. */
#include <stdlib.h>
#include <string.h>

#include "cut.h"
#include "memory.h"

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
    session_forget(s, SHARE_METHODS | SHARE_QUESTIONS);
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
    size_t n_heads = largest((size_t)config->text.n_heads, (size_t)config->vision.n_heads), width = d + 1;
    size_t n_index = N_INDEX_SHORT + (N_INDEX - N_INDEX_SHORT) * INDEX_ROOM;
    /* each part starts on a 64-byte line */
    const struct {
        void *pointer;
        size_t n;
    } parts[] = {{&w->x, n * d},
                 {&w->next, n * d},
                 {&w->h, n * d},
                 {&w->q, n * heads},
                 {&w->k, n * heads},
                 {&w->v, n * heads},
                 {&w->mix, n * heads},
                 {&w->gate, n * m},
                 {&w->up, n * m},
                 {&w->lse, n * n_heads},
                 {&w->score, n},
                 {&w->own, n},
                 {&w->bias, n},
                 {&w->weight, INDEX_ROOM * n},
                 {&w->scratch, n * width},
                 {&w->index, n_index * n},
                 {&w->logits, (size_t)config->text.vocabulary}};
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
    w->scratch_width = (int)width;
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
