/* What methods share when they choose: top-k with the ties of the house (lower index first), quotas of
 * several pictures, and the plans of methods whose only count is what enters layer 0; see reducer.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "memory.h"
#include "reducer.h"

static int compare_index(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

bool select_per_image(const struct view *view)
{
    return params_has(&view->method->params, "quota") &&
           param_is(&view->method->params, "quota", "per-image");
}

int select_image_sizes(int *sizes, const struct view *view)
{
    int n_images = 0;
    memset(sizes, 0, LIMIT_IMAGES * sizeof *sizes);
    for (int i = 0; i < view->sequence->n; i++) {
        const struct token *token = &view->sequence->tokens[i];
        if (token->kind == TOKEN_TEXT)
            continue;
        sizes[token->image]++;
        n_images = token->image >= n_images ? token->image + 1 : n_images;
    }
    return n_images;
}

static enum status score_check(const float *score, const struct view *view, struct error *err)
{
    for (int j = 0; j < view->n_visual; j++)
        if (isnan(score[j]))
            return fail(err, BAD_INPUT,
                        "the score of visual token %d after %s layer %d is not a number; are the weights "
                        "damaged?",
                        j, view->site == SITE_VISION ? "vision" : "decoder", view->layer);
    return OK;
}

enum status select_list(struct selection *out, const struct view *view, const int32_t *list, int n,
                        struct error *err)
{
    (void)err;
    view->compute->ops->upload(view->compute, out->kept, list, (size_t)n * sizeof *list);
    out->n_kept = n;
    return OK;
}

struct scored {
    float score;
    int32_t place;
};

static int compare_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->place > y->place) - (x->place < y->place);
}

/* Pictures of the visual tokens in visual order. */
static void images_of(int32_t *out, const struct view *view)
{
    int n = 0;
    for (int i = 0; i < view->sequence->n; i++)
        if (view->sequence->tokens[i].kind != TOKEN_TEXT)
            out[n++] = view->sequence->tokens[i].image;
}

enum status select_top_host(struct selection *out, const struct view *view, const float *score, int keep,
                            int n_more, bool per_image, struct error *err)
{
    int n = view->n_visual, sizes[LIMIT_IMAGES], left[LIMIT_IMAGES];
    ENSURE(keep >= 0 && keep + n_more <= n);
    TRY(score_check(score, view, err));
    struct scored *order = memory_alloc((size_t)n + 1, sizeof *order);
    int32_t *places = memory_alloc(3 * (size_t)n + 1, sizeof *places);
    if (order == NULL || places == NULL) {
        free(order);
        free(places);
        return memory_failed(err, "selection", (size_t)n * sizeof *order);
    }
    int32_t *image = places + n, *rest = image + n;
    for (int j = 0; j < n; j++)
        order[j] = (struct scored){score[j], j};
    qsort(order, (size_t)n, sizeof *order, compare_score);
    images_of(image, view);
    int n_images = select_image_sizes(sizes, view), n_kept = 0, n_rest = 0;
    apportion(left, sizes, n_images, keep);
    for (int j = 0; j < n; j++) {
        int32_t place = order[j].place;
        bool room = per_image ? left[image[place]]-- > 0 : n_kept < keep;
        if (room)
            places[n_kept++] = place;
        else
            rest[n_rest++] = place;
    }
    ENSURE(n_kept == keep);
    struct compute *c = view->compute;
    c->ops->upload(c, out->order, places, (size_t)keep * sizeof *places);
    c->ops->upload(c, out->order + keep, rest, (size_t)n_more * sizeof *rest);
    qsort(places, (size_t)keep, sizeof *places, compare_index);
    enum status status = select_list(out, view, places, keep, err);
    free(order);
    free(places);
    return status;
}

enum status select_top(struct selection *out, const struct view *view, const float *score, int keep,
                       int n_more, struct error *err)
{
    struct compute *c = view->compute;
    int n = view->n_visual, n_order = keep + n_more;
    ENSURE(keep >= 0 && n_order <= n);
    int32_t *host = memory_alloc((size_t)n + 1, sizeof *host);
    if (host == NULL)
        return memory_failed(err, "selection", (size_t)n * sizeof *host);
    float *values = (float *)host;
    c->ops->download(c, values, score, (size_t)n * sizeof *values);
    enum status status = score_check(values, view, err);
    if (status == OK && select_per_image(view)) {
        status = select_top_host(out, view, values, keep, n_more, true, err);
    } else if (status == OK) {
        c->ops->top_k(c, out->order, score, n_order, n);
        c->ops->download(c, host, out->order, (size_t)keep * sizeof *host);
        qsort(host, (size_t)keep, sizeof *host, compare_index);
        status = select_list(out, view, host, keep, err);
    }
    free(host);
    return status;
}

bool method_has_keep(const struct method *method)
{
    return params_has(&method->params, "keep");
}

/* ---- plans of what enters layer 0 ----------------------------------------------------------- */

static void plan_entering(struct plan *out, const struct method *method, const struct plan_input *input,
                          int keep)
{
    if (method->reducer->in_tower)
        plan_cut_vision(out, LAYER_BEFORE, keep, input->n_visual);
    else
        plan_cut(out, LAYER_BEFORE, keep, input->n_visual, -1, 0, input->n_layers);
}

enum status plan_input_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                              struct error *err)
{
    (void)err;
    plan_entering(out, method, input, param_count(&method->params, "keep"));
    return OK;
}

enum status plan_input_official(struct plan *out, const struct method *method, const struct plan_input *input,
                                double budget, struct error *err)
{
    (void)err;
    plan_entering(out, method, input, (int)floor(budget + 0.5));
    return OK;
}

int plan_input_steps(const struct method *method, const struct plan_input *input, double budget)
{
    (void)method;
    (void)budget;
    return input->n_visual;
}

void plan_input_step(struct plan *out, double *size, const struct method *method,
                     const struct plan_input *input, double budget, int step)
{
    (void)budget;
    *size = step + 1;
    plan_entering(out, method, input, step + 1);
}
