/* Control arm: every n-th token, ⌊(i + ½)·V/B⌋ in visual order; with quota per-image of each picture. */
#include <stdlib.h>

#include "arm.h"
#include "limits.h"
#include "memory.h"

static const struct param uniform_params[] = {PARAM_ROWS_ARM};

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    int sizes[LIMIT_IMAGES], shares[LIMIT_IMAGES], n = 0, first = 0, keep = view->cut->keep;
    int n_images = select_image_sizes(sizes, view);
    int32_t *list = memory_alloc((size_t)keep + 1, sizeof *list);
    if (list == NULL)
        return memory_failed(err, "selection", (size_t)keep * sizeof *list);
    if (!select_per_image(view)) {
        n_images = 1;
        sizes[0] = view->n_visual;
    }
    apportion(shares, sizes, n_images, keep);
    for (int i = 0; i < n_images; first += sizes[i++])
        for (int k = 0; k < shares[i]; k++)
            list[n++] = first + (int32_t)((2 * (int64_t)k + 1) * sizes[i] / (2 * (int64_t)shares[i]));
    enum status status = select_list(out, view, list, n, err);
    free(list);
    return status;
}

const struct reducer reducer_uniform = {
    .name = "uniform",
    .doc = "control: tokens at even distances in raster order",
    .paper = "control arm",
    .params = uniform_params,
    .n_params = sizeof uniform_params / sizeof *uniform_params,
    ARM_SLOTS,
    .select = select_tokens,
};
