/* What methods before the decoder must choose: DivPrune, the controls, pooled and smaller pictures. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conform_oracle.h"
#include "memory.h"

/* ---- before the decoder, and controls ------------------------------------------------------- */

static int input_keep(const struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    int keep = params_has(params, "keep") ? param_count(params, "keep") : (int)floor(seen->budget + 0.5);
    return keep < 1 ? 1 : keep;
}

static void diverse(struct expected *out, const struct place_seen *seen, int first, int n, int keep)
{
    bool chosen[CONFORM_TOKENS] = {false};
    for (int k = 0; k < keep; k++) {
        double best = -INFINITY, second = -INFINITY;
        int at = -1;
        for (int i = 0; i < n; i++) {
            double nearest = INFINITY;
            for (int j = 0; j < n; j++)
                if (j != i && (k == 0 || chosen[j]))
                    nearest = fmin(nearest,
                                   1 - oracle_cosine(seen->x + seen->visual[first + i] * seen->d,
                                                     seen->x + seen->visual[first + j] * seen->d, seen->d));
            if (chosen[i])
                continue;
            if (nearest > best) {
                second = best;
                best = nearest;
                at = i;
            } else if (nearest > second) {
                second = nearest;
            }
        }
        if (k > 0) /* two tokens that are each other's nearest tie at first, by rule the earlier */
            oracle_margin(out, best, second);
        chosen[at] = true;
    }
    for (int i = 0; i < n; i++)
        if (chosen[i])
            out->kept[out->n_kept++] = first + i;
}

void divprune_choose(struct expected *out, struct place_seen *seen)
{
    int keep = input_keep(seen), share[CONFORM_IMAGES], first = 0;
    if (seen->site != SITE_BEFORE || keep >= seen->n_visual)
        return;
    out->cut = true;
    if (!oracle_per_image(seen)) {
        diverse(out, seen, 0, seen->n_visual, keep);
        return;
    }
    oracle_shares(share, seen, keep);
    for (int i = 0; i < seen->n_images; i++) {
        int n = 0;
        while (first + n < seen->n_visual && oracle_image(seen, first + n) == i)
            n++;
        diverse(out, seen, first, n, share[i]);
        first += n;
    }
}

/* How many a control keeps here; −1: no cut. */
static int control_keep(const struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    if (param_is(params, "at", "input"))
        return seen->site == SITE_BEFORE ? input_keep(seen) : -1;
    if (seen->site != SITE_DECODER)
        return -1;
    if (param_is(params, "like", "fastv"))
        return seen->layer == 1 ? official_fastv(seen) : -1;
    if (param_is(params, "like", "pdrop")) {
        int stage = seen->layer == 1 ? 0 : seen->layer == 7 ? 1 : seen->layer == 15 ? 2 : -1;
        return stage < 0 ? -1 : official_pdrop(seen, stage);
    }
    int stage = seen->layer == 2 ? 0 : seen->layer == 6 ? 1 : seen->layer == 15 ? 2 : -1;
    bool plus = param_is(params, "like", "sparsevlm-plus");
    if (stage < 0)
        return -1;
    int keep = official_sparsevlm(seen, stage, plus), n_recycled, n_clusters = 0;
    if (!plus && keep < seen->n_visual)
        oracle_recycling(&n_recycled, &n_clusters, seen->n_visual - keep, 0.3, 0.1);
    return keep + n_clusters;
}

static bool control_cuts(const struct place_seen *seen, int *keep)
{
    *keep = control_keep(seen);
    return *keep >= 0 && *keep < seen->n_visual;
}

void random_choose(struct expected *out, struct place_seen *seen)
{
    int keep;
    if (!control_cuts(seen, &keep))
        return;
    out->cut = out->free = true;
    out->n_kept = keep;
}

void uniform_choose(struct expected *out, struct place_seen *seen)
{
    int keep, share[CONFORM_IMAGES], first = 0;
    if (!control_cuts(seen, &keep))
        return;
    out->cut = true;
    bool split = oracle_per_image(seen);
    if (split)
        oracle_shares(share, seen, keep);
    for (int i = 0; i < (split ? seen->n_images : 1); i++) {
        int n = 0, b = split ? share[i] : keep;
        while (first + n < seen->n_visual && (!split || oracle_image(seen, first + n) == i))
            n++;
        for (int k = 0; k < b; k++)
            out->kept[out->n_kept++] = first + (int)floor((k + 0.5) * n / b + 1e-9);
        first += n;
    }
}

/* Tokens by a score of their cell. */
static void by_cell(struct expected *out, struct place_seen *seen,
                    double (*score)(int row, int col, int side), bool split)
{
    double scores[CONFORM_TOKENS];
    int keep, side = seen->dense->config->grid_rows;
    if (!control_cuts(seen, &keep))
        return;
    for (int j = 0; j < seen->n_visual; j++) {
        int cell = seen->tokens[seen->visual[j]].cell;
        scores[j] = score(cell / side, cell % side, side);
    }
    oracle_best(out, seen, scores, keep, 0, split);
    out->margin = INFINITY; /* whole numbers */
}

static double nearness(int row, int col, int side)
{
    double down = row - (side - 1) / 2.0, across = col - (side - 1) / 2.0;
    return -(down * down + across * across);
}

static double earliness(int row, int col, int side)
{
    return -(row * side + col);
}

static double lateness(int row, int col, int side)
{
    return row * side + col;
}

void center_choose(struct expected *out, struct place_seen *seen)
{
    by_cell(out, seen, nearness, oracle_per_image(seen));
}

void top_choose(struct expected *out, struct place_seen *seen)
{
    by_cell(out, seen, earliness, true);
}

void bottom_choose(struct expected *out, struct place_seen *seen)
{
    by_cell(out, seen, lateness, true);
}

/* The grid r × c ≤ budget with most cells, then nearest to a square, then the wider one. */
static void grid_of(int *rows, int *cols, int budget, int side)
{
    *rows = *cols = 1;
    for (int r = 1; r <= side; r++)
        for (int c = 1; c <= side; c++) {
            double off = fabs(log((double)c / r)), best = fabs(log((double)*cols / *rows));
            if (r * c <= budget && (r * c > *rows * *cols || (r * c == *rows * *cols && off < best - 1e-9))) {
                *rows = r;
                *cols = c;
            }
        }
}

void pool_choose(struct expected *out, struct place_seen *seen)
{
    int keep = input_keep(seen), side = seen->dense->config->grid_rows, share[CONFORM_IMAGES];
    if (seen->site != SITE_BEFORE || keep >= seen->n_visual)
        return;
    out->cut = out->in_place = out->has_own = true;
    oracle_shares(share, seen, keep);
    for (int image = 0; image < seen->n_images; image++) {
        int rows, cols, first = image * side * side;
        if (share[image] < 1)
            continue;
        grid_of(&rows, &cols, share[image], side);
        for (int i = 0; i < rows * cols; i++) {
            int top = i / cols * side / rows, left = i % cols * side / cols;
            int bottom = ((i / cols + 1) * side + rows - 1) / rows,
                right = ((i % cols + 1) * side + cols - 1) / cols;
            for (int row = top; row < bottom; row++)
                for (int col = left; col < right; col++) {
                    out->recycled[out->n_recycled] = first + row * side + col;
                    out->group[out->n_recycled] = out->n_clusters;
                    out->weight[out->n_recycled++] = 1.0 / ((bottom - top) * (right - left));
                }
            out->centres[out->n_clusters++] = out->kept[out->n_kept++] = first + top * side + left;
        }
    }
}

/* Its grid is the tower's; nothing is cut. */
void downsample_choose(struct expected *out, struct place_seen *seen)
{
    if (seen->site != SITE_VISION || seen->layer != LAYER_BEFORE)
        return;
    int rows, cols;
    grid_of(&rows, &cols, input_keep(seen), seen->dense->config->grid_rows);
    out->n_kept = rows;
    out->n_clusters = cols;
}
