/* Positions of a tower for a grid it was not trained on:
 *
 *     table [1 + R·C, d]   row 0 the class token, then the grid row-major
 *     out [1 + r·c, d]     out(i, j) = Σ_t w_t Σ_u w_u table(y + t, x + u)     t, u = −1 … 2
 *
 * with y + f = (R / r)(i + ½) − ½, y whole, 0 ≤ f < 1, and Keys' cubic with A = −0.75 as weights; neighbours
 * outside take the edge's row. There is no widening of the filter where the grid shrinks.
 *
 * Source: torch.nn.functional.interpolate(mode="bicubic", align_corners=False), as transformers'
 * interpolate_pos_encoding calls it. Places and weights are float as there: in double they would part by more
 * than the sums' rounding.
 */
#include "position_table.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "error.h"

enum { N_TAPS = 4 };

struct taps {
    int at[N_TAPS]; /* in the old grid */
    float weight[N_TAPS];
};

/* |x| ≤ 1, and 1 < |x| < 2 */
static float cubic_near(float x)
{
    const float a = -0.75f;
    return ((a + 2) * x - (a + 3)) * x * x + 1;
}

static float cubic_far(float x)
{
    const float a = -0.75f;
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}

static struct taps taps_at(int i, int n_in, int n_out)
{
    float scale = (float)n_in / (float)n_out;
    float place = fmaf(scale, (float)i + 0.5f, -0.5f); /* one rounding: torch is compiled with FMA */
    int first = (int)floorf(place);
    float f = place - (float)first;
    struct taps taps = {.weight = {cubic_far(f + 1), cubic_near(f), cubic_near(1 - f), cubic_far(2 - f)}};
    for (int t = 0; t < N_TAPS; t++) {
        int at = first - 1 + t;
        taps.at[t] = at < 0 ? 0 : at >= n_in ? n_in - 1 : at;
    }
    return taps;
}

void position_table_resize(float *out, const float *table, int grid_rows, int grid_cols, int rows, int cols,
                           int d)
{
    ENSURE(grid_rows > 0 && grid_cols > 0 && rows > 0 && cols > 0 && d > 0);
    size_t width = (size_t)d, n_cells = (size_t)rows * (size_t)cols;
    if (rows == grid_rows && cols == grid_cols) {
        memcpy(out, table, (1 + n_cells) * width * sizeof *out);
        return;
    }
    memcpy(out, table, width * sizeof *out);
    const float *grid = table + width;
    float *to = out + width;
    for (int i = 0; i < rows; i++) {
        struct taps down = taps_at(i, grid_rows, rows);
        for (int j = 0; j < cols; j++, to += width) {
            struct taps across = taps_at(j, grid_cols, cols);
            for (size_t k = 0; k < width; k++) {
                float sum = 0;
                for (int t = 0; t < N_TAPS; t++) {
                    const float *row = grid + (size_t)down.at[t] * (size_t)grid_cols * width + k;
                    float along = 0;
                    for (int u = 0; u < N_TAPS; u++)
                        along += across.weight[u] * row[(size_t)across.at[u] * width];
                    sum += down.weight[t] * along;
                }
                to[k] = sum;
            }
        }
    }
}
