/* Control arms that see less of the picture instead of choosing from it.
 *
 *   pool         2-D average of the projected tokens: the grid r×c ≤ B with r·c largest, windows
 *                ⌊i·H/r⌋ … ⌈(i+1)·H/r⌉ as adaptive average pooling has them
 *   downsample   the same grid, made by the tower itself from a smaller picture, its position table
 *                interpolated bicubically (VTC-Bench, arXiv 2510.07143: a baseline that many methods lose to)
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arm.h"
#include "patch_grid.h"
#include "limits.h"
#include "memory.h"

static const struct param pool_params[] = {
    PARAM_ROW_KEEP("tokens at most; default: from the budget"),
    PARAM_ROWS_DROPPING("compact"),
};
static const struct param downsample_params[] = {
    PARAM_ROW_KEEP("tokens at most; default: from the budget"),
    PARAM_ROWS_DROPPING("compact"),
};

static struct patch_grid grid_of(const struct plan_input *input, int budget)
{
    struct patch_grid grid;
    int patches = budget - plan_input_extra(input);
    grid_choose(&grid.rows, &grid.cols, patches < 1 ? 1 : patches, input->grid_rows, input->grid_cols,
                (double)input->grid_cols / input->grid_rows);
    return grid;
}

/* Tokens of the grids that the shares of `budget` buy. */
static int grids_of(const struct method *method, const struct plan_input *input, int budget)
{
    int sizes[LIMIT_IMAGES], shares[LIMIT_IMAGES], n = 0;
    int extra = method->reducer->in_tower ? plan_input_extra(input) : 0; /* pool drops what is no patch */
    for (int i = 0; i < input->n_images; i++)
        sizes[i] = input->n_visual / input->n_images;
    apportion(shares, sizes, input->n_images, budget);
    for (int i = 0; i < input->n_images; i++) {
        struct patch_grid grid =
            grid_of(input, shares[i] + (method->reducer->in_tower ? 0 : plan_input_extra(input)));
        n += shares[i] > 0 ? grid.rows * grid.cols + extra : 0;
    }
    return n;
}

/* Tokens that `budget` comes to over all pictures. A grid may leave some of its share, and what is left is
 * shared out anew, until the count gives itself: it is all that is known when the pictures are reduced. */
static int tokens_of(const struct method *method, const struct plan_input *input, int budget)
{
    int n = grids_of(method, input, budget);
    while (n < budget) {
        budget = n;
        n = grids_of(method, input, budget);
    }
    return n;
}

static void plan_tokens(struct plan *out, const struct method *method, const struct plan_input *input,
                        int budget)
{
    int keep = tokens_of(method, input, budget);
    if (method->reducer->in_tower)
        plan_cut_vision(out, LAYER_BEFORE, keep, input->n_visual);
    else
        plan_cut(out, LAYER_BEFORE, keep, input->n_visual, -1, 0, input->n_layers);
}

static enum status plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    (void)err;
    int keep = param_count(&method->params, "keep");
    plan_tokens(out, method, input, keep < 1 ? 1 : keep);
    return OK;
}

static enum status plan_official(struct plan *out, const struct method *method,
                                 const struct plan_input *input, double budget, struct error *err)
{
    (void)err;
    plan_tokens(out, method, input, (int)floor(budget + 0.5));
    return OK;
}

static void plan_step(struct plan *out, double *size, const struct method *method,
                      const struct plan_input *input, double budget, int step)
{
    (void)budget;
    *size = step + 1;
    plan_tokens(out, method, input, step + 1);
}

/* ---- pool ----------------------------------------------------------------------------------- */

static double pool_macs(const struct plan *plan, const struct method *method, const struct plan_input *input)
{
    (void)plan;
    (void)method;
    return (double)input->n_visual * input->hidden;
}

/* The lists of a selection under construction, host. */
struct windows {
    int32_t *kept, *member, *group;
    float *weight, *own;
    int n_windows, n_members, room;
};

/* One window: the token of its first cell stands for it. first: place of the picture's first patch. */
static void window_add(struct windows *w, int first, int cols, const int rows[2], const int columns[2])
{
    int n = (rows[1] - rows[0]) * (columns[1] - columns[0]);
    ENSURE(w->n_members + n <= w->room);
    w->kept[w->n_windows] = first + rows[0] * cols + columns[0];
    w->own[w->n_windows] = 0;
    for (int r = rows[0]; r < rows[1]; r++)
        for (int c = columns[0]; c < columns[1]; c++) {
            w->member[w->n_members] = first + r * cols + c;
            w->group[w->n_members] = w->n_windows;
            w->weight[w->n_members++] = 1 / (float)n;
        }
    w->n_windows++;
}

static void windows_of_picture(struct windows *w, int first, struct patch_grid from, struct patch_grid to)
{
    for (int i = 0; i < to.rows; i++)
        for (int j = 0; j < to.cols; j++) {
            int rows[2], columns[2];
            grid_window(&rows[0], &rows[1], i, from.rows, to.rows);
            grid_window(&columns[0], &columns[1], j, from.cols, to.cols);
            window_add(w, first, from.cols, rows, columns);
        }
}

/* The windows of all pictures, each its share of the plan's count. Patches of a picture are contiguous, in
 * raster order, before layer 0; what stands before them (a class token) is dropped. */
static enum status windows_fill(struct windows *w, const struct view *view, struct error *err)
{
    int sizes[LIMIT_IMAGES], shares[LIMIT_IMAGES], n_images = select_image_sizes(sizes, view), first = 0;
    apportion(shares, sizes, n_images, view->cut->keep);
    for (int i = 0; i < n_images; first += sizes[i++]) {
        struct patch_grid from = view->grids[i], to;
        if (shares[i] < 1)
            continue;
        grid_choose(&to.rows, &to.cols, shares[i], from.rows, from.cols, (double)from.cols / from.rows);
        windows_of_picture(w, first + sizes[i] - from.rows * from.cols, from, to);
    }
    if (w->n_windows != view->cut->keep)
        return fail(err, BAD_INPUT, "method pool: no grid of a picture with %d x %d patches has %d tokens",
                    view->grids[0].rows, view->grids[0].cols, view->cut->keep);
    return OK;
}

static enum status pool_select(struct selection *out, const struct view *view, struct error *err)
{
    struct compute *c = view->compute;
    size_t n = (size_t)view->n_visual, room = (size_t)out->room;
    int32_t *ints = memory_alloc(n + 2 * room, sizeof *ints);
    float *floats = memory_alloc(n + room, sizeof *floats);
    if (ints == NULL || floats == NULL) {
        free(ints);
        free(floats);
        return memory_failed(err, "windows", (n + 2 * room) * sizeof *ints);
    }
    struct windows w = {.kept = ints,
                        .member = ints + n,
                        .group = ints + n + room,
                        .own = floats,
                        .weight = floats + n,
                        .room = out->room};
    enum status status = windows_fill(&w, view, err);
    if (status == OK)
        status = select_list(out, view, w.kept, w.n_windows, err);
    if (status != OK) {
        free(ints);
        free(floats);
        return status;
    }
    out->n_recycled = w.n_members;
    out->n_clusters = w.n_windows;
    out->in_place = out->has_own = true;
    c->ops->upload(c, out->recycled, w.member, (size_t)w.n_members * sizeof *w.member);
    c->ops->upload(c, out->group, w.group, (size_t)w.n_members * sizeof *w.group);
    c->ops->upload(c, out->weight, w.weight, (size_t)w.n_members * sizeof *w.weight);
    c->ops->upload(c, out->centres, w.kept, (size_t)w.n_windows * sizeof *w.kept);
    c->ops->upload(c, out->own, w.own, (size_t)w.n_windows * sizeof *w.own);
    free(ints);
    free(floats);
    return status;
}

/* ---- downsample ----------------------------------------------------------------------------- */

static void tower_grid(struct patch_grid *out, const struct method *method, const struct plan_input *input,
                       int image, int budget)
{
    (void)method;
    (void)image;
    *out = grid_of(input, budget);
}

const struct reducer reducer_pool = {
    .name = "pool",
    .doc = "control: visual tokens averaged over windows of the grid",
    .paper =
        "control arm; Wen et al., Token Pruning in Multimodal LLMs: Are We Solving the Right Problem?, 2025",
    .params = pool_params,
    .n_params = sizeof pool_params / sizeof *pool_params,
    .has_counts = method_has_keep,
    .plan_counts = plan_counts,
    .plan_official = plan_official,
    .plan_steps = plan_input_steps,
    .plan_step = plan_step,
    .plan_select_macs = pool_macs,
    .select = pool_select,
};

const struct reducer reducer_downsample = {
    .name = "downsample",
    .doc = "control: a smaller picture into the same tower",
    .paper = "control arm; VTC-Bench, 2025, arXiv 2510.07143",
    .params = downsample_params,
    .n_params = sizeof downsample_params / sizeof *downsample_params,
    .in_tower = true,
    .has_counts = method_has_keep,
    .plan_counts = plan_counts,
    .plan_official = plan_official,
    .plan_steps = plan_input_steps,
    .plan_step = plan_step,
    .tower_grid = tower_grid,
};
