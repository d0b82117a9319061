/* What methods share when they choose: top-k with the ties of the house (lower index first), see reducer.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "reducer.h"

static int compare_index(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

enum status select_top(struct selection *out, const struct view *view, const float *score, int keep,
                       int n_more, struct error *err)
{
    struct compute *c = view->compute;
    int n = view->n_visual, n_order = keep + n_more;
    ENSURE(keep >= 1 && n_order <= n);
    int32_t *host = memory_alloc((size_t)n, sizeof *host);
    if (host == NULL)
        return memory_failed(err, "selection", (size_t)n * sizeof *host);
    float *values = (float *)host;
    c->ops->download(c, values, score, (size_t)n * sizeof *values);
    for (int j = 0; j < n; j++)
        if (isnan(values[j])) {
            free(host);
            return fail(err, BAD_INPUT,
                        "the score of visual token %d after decoder layer %d is not a number; are the "
                        "weights damaged?",
                        j, view->layer);
        }
    c->ops->top_k(c, out->order, score, n_order, n);
    c->ops->download(c, host, out->order, (size_t)keep * sizeof *host);
    qsort(host, (size_t)keep, sizeof *host, compare_index);
    c->ops->upload(c, out->kept, host, (size_t)keep * sizeof *host);
    out->n_kept = keep;
    free(host);
    return OK;
}
