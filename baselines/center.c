/* Control arms by place: the tokens nearest to the middle of the picture, the first rows, the last rows. A
 * score that follows position does no better than one of them (FEATHER, arXiv 2412.13180).
 *
 *   center   falling distance of a token's cell to its grid's centre, the lower index among equals
 *   top      the first B in raster order; bottom: the last B; of several pictures each its share
 */
#include <math.h>
#include <stdlib.h>

#include "arm.h"
#include "memory.h"

static const struct param center_params[] = {PARAM_ROWS_ARM}, top_params[] = {PARAM_ROWS_ARM},
                          bottom_params[] = {PARAM_ROWS_ARM};

/* Exact in float: squares of twice the distance. */
static float nearness(const struct place *place)
{
    int down = 2 * place->row - (place->grid.rows - 1), across = 2 * place->col - (place->grid.cols - 1);
    return -(float)(down * down + across * across);
}

static float first_rows(const struct place *place)
{
    return -(float)(place->row * place->grid.cols + place->col);
}

static float last_rows(const struct place *place)
{
    return -first_rows(place);
}

/* A token without a cell goes last. */
static enum status select_by_place(struct selection *out, const struct view *view,
                                   float (*score)(const struct place *), bool per_image, struct error *err)
{
    size_t n = (size_t)view->n_visual;
    struct place *places;
    TRY(arm_places(&places, view, err));
    float *scores = memory_alloc(n + 1, sizeof *scores);
    enum status status = scores ? OK : memory_failed(err, "selection", n * sizeof *scores);
    for (size_t j = 0; j < n && status == OK; j++)
        scores[j] = places[j].row < 0 ? -INFINITY : score(&places[j]);
    if (status == OK)
        status = select_top_host(out, view, scores, view->cut->keep, 0, per_image, err);
    free(places);
    free(scores);
    return status;
}

static enum status select_center(struct selection *out, const struct view *view, struct error *err)
{
    return select_by_place(out, view, nearness, select_per_image(view), err);
}

static enum status select_first(struct selection *out, const struct view *view, struct error *err)
{
    return select_by_place(out, view, first_rows, true, err);
}

static enum status select_last(struct selection *out, const struct view *view, struct error *err)
{
    return select_by_place(out, view, last_rows, true, err);
}

const struct reducer reducer_center = {
    .name = "center",
    .doc = "control: the tokens nearest to the middle of the picture",
    .paper = "control arm",
    .params = center_params,
    .n_params = sizeof center_params / sizeof *center_params,
    ARM_SLOTS,
    .select = select_center,
};

const struct reducer reducer_top = {
    .name = "top",
    .doc = "control: the first tokens in raster order",
    .paper = "control arm",
    .params = top_params,
    .n_params = sizeof top_params / sizeof *top_params,
    ARM_SLOTS,
    .select = select_first,
};

const struct reducer reducer_bottom = {
    .name = "bottom",
    .doc = "control: the last tokens in raster order",
    .paper =
        "control arm; Endo et al., Feather the Throttle, ICCV 2025 (what a shallow last-token score does)",
    .params = bottom_params,
    .n_params = sizeof bottom_params / sizeof *bottom_params,
    ARM_SLOTS,
    .select = select_last,
};
