/* Grids of visual tokens, see patch_grid.h. Source of the windows: torch.nn.functional.adaptive_avg_pool2d.
 */
#include "patch_grid.h"

#include <math.h>
#include <stdint.h>

#include "error.h"

/* Two distances this close are one: 12 × 16 and 16 × 12 are equally far from a square, and rounding has no
 * say in which is taken. */
#define SAME 1e-9

void grid_choose(int *rows, int *cols, int budget, int max_rows, int max_cols, double aspect)
{
    ENSURE(budget >= 1 && max_rows >= 1 && max_cols >= 1 && aspect > 0);
    int64_t most = 0;
    double nearest = 0;
    /* One candidate a row count: fewer columns than fit have fewer cells. */
    for (int r = 1; r <= max_rows && r <= budget; r++) {
        int c = budget / r < max_cols ? budget / r : max_cols;
        int64_t n_cells = (int64_t)r * c;
        double distance = fabs(log((double)c / r / aspect));
        if (n_cells < most || (n_cells == most && distance > nearest - SAME))
            continue;
        most = n_cells;
        nearest = distance;
        *rows = r;
        *cols = c;
    }
}

void grid_window(int *from, int *to, int i, int n_in, int n_out)
{
    ENSURE(n_in >= 1 && n_out >= 1 && i >= 0 && i < n_out);
    *from = (int)((int64_t)i * n_in / n_out);
    *to = (int)((((int64_t)i + 1) * n_in + n_out - 1) / n_out);
}
