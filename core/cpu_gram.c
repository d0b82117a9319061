/* The operations of the CPU backend that need the products of rows with each other, G = X·Yᵀ in f64: cosines,
 * the distances of DPC-KNN (cluster.h) and the rank by the Gram matrix.
 *
 * Rows are gathered into panels of 16, [k, 16] doubles, one chunk of k at a time for all of them; a task then
 * adds the chunk to the blocks [16, 16] of one panel of rows against the panels of columns. Every product is
 * one sum over rising k, in double, of the same two factors whichever is the row: so G is exactly symmetric,
 * and equal rows have exactly equal products. What no caller needs, above the diagonal, is not computed.
 *
 * Where products are of floats as they are, each is exact in double, so sums have the same bits on every
 * instruction set, and those of the reference. */
#include <math.h>
#include <string.h>

#include "cluster.h"
#include "cpu_backend.h"
#include "rank.h"

enum { CHUNK = 128, BLOCK = GRAM_PANEL * GRAM_PANEL }; /* two panels of a chunk: 32 KiB */

/* rows and cols may be NULL: 0, 1, 2, … */
struct gram {
    const struct cpu_kernels *kernels;
    const float *x;
    const int32_t *rows, *cols;
    int n_rows, n_cols, d;
    bool is_square;       /* cols are the rows: blocks on and below the diagonal alone */
    const double *centre; /* [d], taken from every row; or NULL */
    double *blocks;       /* [row panels, column panels, BLOCK] */
    double *norms2;       /* squared lengths of the padded rows, then of the columns where they are others */
    double *panels;       /* of rows, then of columns where they are others: [CHUNK, GRAM_PANEL] each */
    int first, n;         /* this chunk of k */
};

static int panels_of(int n)
{
    return (n + GRAM_PANEL - 1) / GRAM_PANEL;
}

static int n_packed(const struct gram *g)
{
    return panels_of(g->n_rows) + (g->is_square ? 0 : panels_of(g->n_cols));
}

/* Doubles of memory from blocks on. */
static size_t gram_doubles(const struct gram *g)
{
    return (size_t)panels_of(g->n_rows) * (size_t)panels_of(g->n_cols) * BLOCK +
           (size_t)n_packed(g) * GRAM_PANEL * (1 + CHUNK);
}

/* One panel of this chunk; rows of padding are zeros. */
static void pack_run(void *context, int panel, int thread)
{
    const struct gram *g = context;
    double *to = g->panels + (size_t)panel * CHUNK * GRAM_PANEL, *norm2 = g->norms2 + panel * GRAM_PANEL;
    bool is_row = panel < panels_of(g->n_rows);
    const int32_t *index = is_row ? g->rows : g->cols;
    int n = is_row ? g->n_rows : g->n_cols,
        first_row = (is_row ? panel : panel - panels_of(g->n_rows)) * GRAM_PANEL;
    (void)thread;
    for (int r = 0; r < GRAM_PANEL; r++) {
        if (first_row + r >= n) {
            for (int k = 0; k < g->n; k++)
                to[k * GRAM_PANEL + r] = 0;
            continue;
        }
        size_t row = (size_t)(index ? index[first_row + r] : first_row + r);
        const float *x = g->x + row * (size_t)g->d + g->first;
        if (g->centre)
            for (int k = 0; k < g->n; k++)
                to[k * GRAM_PANEL + r] = (double)x[k] - g->centre[g->first + k];
        else
            for (int k = 0; k < g->n; k++)
                to[k * GRAM_PANEL + r] = (double)x[k];
    }
    for (int k = 0; k < g->n; k++)
        for (int r = 0; r < GRAM_PANEL; r++)
            norm2[r] += to[k * GRAM_PANEL + r] * to[k * GRAM_PANEL + r];
}

/* One panel of rows; the longest first. */
static void block_run(void *context, int task, int thread)
{
    const struct gram *g = context;
    int row = panels_of(g->n_rows) - 1 - task, n_cols = panels_of(g->n_cols);
    const double *cols = g->panels + (g->is_square ? 0 : (size_t)panels_of(g->n_rows) * CHUNK * GRAM_PANEL);
    (void)thread;
    for (int col = 0; col < (g->is_square ? row + 1 : n_cols); col++)
        g->kernels->gram_block(g->blocks + ((size_t)row * (size_t)n_cols + (size_t)col) * BLOCK,
                               g->panels + (size_t)row * CHUNK * GRAM_PANEL,
                               cols + (size_t)col * CHUNK * GRAM_PANEL, g->n);
}

/* Fills blocks and norms2 in memory [gram_doubles]. */
static void gram_compute(struct gram *g, struct compute *c, double *memory)
{
    size_t n_blocks = (size_t)panels_of(g->n_rows) * (size_t)panels_of(g->n_cols);
    g->kernels = cpu_of(c)->kernels;
    g->blocks = memory;
    g->norms2 = g->blocks + n_blocks * BLOCK;
    g->panels = g->norms2 + (size_t)n_packed(g) * GRAM_PANEL;
    memset(memory, 0, (size_t)(g->panels - memory) * sizeof *memory);
    for (g->first = 0; g->first < g->d; g->first += CHUNK) {
        g->n = g->d - g->first < CHUNK ? g->d - g->first : CHUNK;
        threads_run(cpu_of(c)->threads, n_packed(g), pack_run, g);
        threads_run(cpu_of(c)->threads, panels_of(g->n_rows), block_run, g);
    }
}

/* The product of row i and column j. */
static double gram_at(const struct gram *g, int i, int j)
{
    if (g->is_square && j > i) {
        int swap = i;
        i = j;
        j = swap;
    }
    size_t block = (size_t)(i / GRAM_PANEL) * (size_t)panels_of(g->n_cols) + (size_t)(j / GRAM_PANEL);
    return g->blocks[block * BLOCK + (size_t)(i % GRAM_PANEL * GRAM_PANEL + j % GRAM_PANEL)];
}

/* ---- cosines -------------------------------------------------------------------------------- */

struct cosine_args {
    const struct gram *gram;
    float *y;
};

static void cosine_run(void *context, size_t first, size_t n)
{
    const struct cosine_args *a = context;
    const struct gram *g = a->gram;
    const double *col_norms2 = g->norms2 + (g->is_square ? 0 : panels_of(g->n_rows) * GRAM_PANEL);
    for (int i = (int)first; i < (int)(first + n); i++)
        for (int j = 0; j < g->n_cols; j++) {
            double scale = sqrt(g->norms2[i] * col_norms2[j]); /* of floats: neither over- nor underflows */
            a->y[(size_t)i * (size_t)g->n_cols + (size_t)j] = scale > 0 ? (float)(gram_at(g, i, j) / scale)
                                                              : isnan(scale) ? NAN
                                                                             : 0.0f;
        }
}

void cpu_cosines(struct compute *c, float *y, const float *x, const int32_t *rows, int n_rows,
                 const int32_t *cols, int n_cols, int d)
{
    struct gram g = {.x = x,
                     .rows = rows,
                     .cols = cols,
                     .n_rows = n_rows,
                     .n_cols = n_cols,
                     .d = d,
                     .is_square = rows == cols && n_rows == n_cols};
    if (n_rows == 0 || n_cols == 0)
        return;
    gram_compute(&g, c, cpu_work(cpu_of(c), gram_doubles(&g) * sizeof(double)));
    struct cosine_args args = {.gram = &g, .y = y};
    cpu_split(c, (size_t)n_rows, (size_t)n_cols, cosine_run, &args);
    c->macs += (uint64_t)n_rows * (uint64_t)n_cols * (uint64_t)d;
}

/* ---- clusters ------------------------------------------------------------------------------- */

struct centre_args {
    double *centre;
    const float *x;
    const int32_t *index;
    int n;
    size_t d;
};

static void centre_run(void *context, size_t first, size_t n)
{
    const struct centre_args *a = context;
    for (size_t k = first; k < first + n; k++)
        a->centre[k] = 0;
    for (int i = 0; i < a->n; i++) {
        const float *row = a->x + (size_t)a->index[i] * a->d;
        for (size_t k = first; k < first + n; k++)
            a->centre[k] += (double)row[k];
    }
    for (size_t k = first; k < first + n; k++)
        a->centre[k] /= a->n;
}

/* D² = g_ii + g_jj − 2·g_ij loses what the rows have in common to cancellation, so that is taken away first:
 * their mean, in double. The nearest point to all of them, it leaves the shortest vectors; it need not be
 * exact, since a distance is the same whatever point is taken away. Equal rows stay equal, bit by bit, so
 * their three products are one number and D² is exactly zero. */
void cpu_cluster(struct compute *c, int32_t *centres, int32_t *group, const float *x, const int32_t *index,
                 int n, int d, const struct cluster_options *options)
{
    struct gram g = {
        .x = x, .rows = index, .cols = index, .n_rows = n, .n_cols = n, .d = d, .is_square = true};
    size_t rows = (size_t)n, n_centre = ((size_t)d + 7) / 8 * 8;
    double *distance2 = cpu_work(cpu_of(c), (rows * rows + cluster_scratch(n) + n_centre + gram_doubles(&g)) *
                                                sizeof *distance2);
    double *scratch = distance2 + rows * rows, *centre = scratch + cluster_scratch(n);
    struct centre_args args = {.centre = centre, .x = x, .index = index, .n = n, .d = (size_t)d};
    cpu_split(c, (size_t)d, rows, centre_run, &args);
    g.centre = centre;
    gram_compute(&g, c, centre + n_centre);
    for (int i = 0; i < n; i++) {
        double own = gram_at(&g, i, i);
        distance2[(size_t)i * rows + (size_t)i] = 0;
        for (int j = 0; j < i; j++) { /* each pair once: exactly symmetric */
            double sum = own + gram_at(&g, j, j) - 2 * gram_at(&g, i, j);
            distance2[(size_t)i * rows + (size_t)j] = distance2[(size_t)j * rows + (size_t)i] =
                (sum < 0 ? 0 : sum) / d; /* NaN stays */
        }
    }
    cluster_assign(centres, group, distance2, scratch, x, index, n, d, options);
    c->macs += (uint64_t)n * (uint64_t)n * (uint64_t)d;
}

/* ---- rank ----------------------------------------------------------------------------------- */

int cpu_rank(struct compute *c, const float *matrix, int rows, int cols, double tol, bool gram)
{
    c->macs += rank_macs(rows, cols, gram);
    if (!rank_is_finite(matrix, rows, cols))
        return -1;
    if (!gram)
        return rank_svd(matrix, rows, cols, tol);
    struct gram g = {.x = matrix, .n_rows = rows, .n_cols = rows, .d = cols, .is_square = true};
    size_t n_dense = ((size_t)rows * (size_t)rows + 7) / 8 * 8;
    double *dense = cpu_work(cpu_of(c), (n_dense + gram_doubles(&g)) * sizeof *dense);
    gram_compute(&g, c, dense + n_dense);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < rows; j++)
            dense[(size_t)i * (size_t)rows + (size_t)j] = gram_at(&g, i, j);
    return rank_gram(dense, rows, cols, tol);
}
