/* What the references of all methods share, see conform_oracle.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conform_oracle.h"
#include "memory.h"

/* ---- orders --------------------------------------------------------------------------------- */

void oracle_margin(struct expected *out, double a, double b)
{
    double scale = fmax(fabs(a), fabs(b));
    if (scale > 0 && !isinf(a) && !isinf(b))
        out->margin = fmin(out->margin, fabs(a - b) / scale);
}

/* Places by falling score, the earlier among equals. */
void oracle_order(int32_t *order, const double *score, int n)
{
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && score[order[at - 1]] < score[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

int oracle_image(const struct place_seen *seen, int place)
{
    return seen->tokens[seen->visual[place]].image;
}

/* Counts in proportion to each picture's tokens: the largest remainder, the earlier picture first. */
void oracle_shares(int *share, const struct place_seen *seen, int total)
{
    int size[CONFORM_IMAGES] = {0};
    double rest[CONFORM_IMAGES];
    for (int j = 0; j < seen->n_visual; j++)
        size[oracle_image(seen, j)]++;
    int given = 0;
    for (int i = 0; i < CONFORM_IMAGES; i++) {
        double exact = (double)total * size[i] / seen->n_visual;
        share[i] = (int)floor(exact + 1e-9);
        rest[i] = exact - share[i];
        given += share[i];
    }
    for (; given < total; given++) {
        int best = 0;
        for (int i = 1; i < CONFORM_IMAGES; i++)
            if (rest[i] > rest[best] + 1e-9)
                best = i;
        share[best]++;
        rest[best] = -1;
    }
}

bool oracle_per_image(const struct place_seen *seen)
{
    return param_is(&seen->method->params, "quota", "per-image");
}

static int compare_int32(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The `keep` largest, ascending; the n_more next ones by falling score. */
void oracle_best(struct expected *out, const struct place_seen *seen, const double *score, int keep,
                 int n_more, bool by_image)
{
    int32_t order[CONFORM_TOKENS];
    int share[CONFORM_IMAGES] = {keep}, n_rest = 0;
    double last[CONFORM_IMAGES], last_rest = INFINITY;
    bool full[CONFORM_IMAGES] = {false};
    if (by_image)
        oracle_shares(share, seen, keep);
    for (int i = 0; i < CONFORM_IMAGES; i++)
        last[i] = INFINITY;
    oracle_order(order, score, seen->n_visual);
    out->cut = true;
    for (int k = 0; k < seen->n_visual; k++) {
        int place = order[k], i = by_image ? oracle_image(seen, place) : 0;
        if (share[i] > 0) {
            share[i]--;
            out->kept[out->n_kept++] = place;
            last[i] = score[place];
            continue;
        }
        if (!full[i])
            oracle_margin(out, last[i], score[place]);
        full[i] = true;
        if (n_rest <= n_more && n_more > 0)
            oracle_margin(out, last_rest, score[place]);
        last_rest = score[place];
        if (n_rest++ < n_more)
            out->recycled[out->n_recycled++] = place;
    }
    qsort(out->kept, (size_t)out->n_kept, sizeof *out->kept, compare_int32);
}

/* ---- attention ------------------------------------------------------------------------------ */

/* [heads, n, n] of decoder layer `layer` on what enters it. Owned by the caller. */
double *oracle_attention(const struct place_seen *seen, int layer, const double *x)
{
    size_t n = (size_t)seen->n;
    double *attention = memory_alloc((size_t)seen->dense->config->text.n_heads * n * n, sizeof *attention);
    ENSURE(attention);
    dense_decoder(attention, NULL, seen->dense, layer, x, seen->positions, seen->n);
    return attention;
}

double oracle_probability(const struct place_seen *seen, const double *attention, int head, int row,
                          int place)
{
    size_t n = (size_t)seen->n;
    return attention[((size_t)head * n + (size_t)row) * n + (size_t)seen->visual[place]];
}

double oracle_cosine(const double *a, const double *b, int d)
{
    double ab = 0, aa = 0, bb = 0;
    for (int k = 0; k < d; k++) {
        ab += a[k] * b[k];
        aa += a[k] * a[k];
        bb += b[k] * b[k];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* ---- published counts ----------------------------------------------------------------------- */

int official_sparsevlm(const struct place_seen *seen, int stage, bool plus)
{
    static const int v15[4][4] = {{192, 300, 200, 110},
                                  {128, 303, 110, 36},
                                  {96, 238, 48, 26},
                                  {64, 66, 30, 17}},
                     v20[4][4] = {
                         {192, 300, 200, 118}, {128, 238, 108, 60}, {96, 246, 54, 28}, {64, 66, 34, 20}};
    int key = (int)lround(576 * seen->budget / seen->uncut);
    for (int t = 0; t < 4; t++)
        if (v15[t][0] == key)
            return (int)((int64_t)(plus ? v20 : v15)[t][1 + stage] * seen->uncut / 576);
    return -1;
}

int official_fastv(const struct place_seen *seen)
{
    static const int table[3][2] = {{192, 180}, {128, 114}, {64, 48}};
    int key = (int)lround(576 * seen->budget / seen->uncut);
    for (int t = 0; t < 3; t++)
        if (table[t][0] == key)
            return (int)((int64_t)table[t][1] * seen->uncut / 576);
    return -1;
}

int official_pdrop(const struct place_seen *seen, int stage)
{
    static const int table[3][4] = {{192, 322, 180, 100}, {128, 241, 101, 42}, {64, 110, 21, 4}};
    int key = (int)lround(576 * seen->budget / seen->uncut);
    for (int t = 0; t < 3; t++)
        if (table[t][0] == key)
            return (int)((int64_t)table[t][1 + stage] * seen->uncut / 576);
    return -1;
}

/* n_rec = min(n_del, int(τ·n_del) + 1), C = min(n_rec, int(θ·n_rec) + 1) */
void oracle_recycling(int *n_recycled, int *n_clusters, int n_deleted, double tau, double theta)
{
    int n = (int)(tau * n_deleted) + 1;
    *n_recycled = n < n_deleted ? n : n_deleted;
    n = (int)(theta * *n_recycled) + 1;
    *n_clusters = n < *n_recycled ? n : *n_recycled;
}

/* Which of the layers is this one; −1: none. */
int oracle_stage(const struct params *params, const char *name, int layer)
{
    const struct param_value *list = param_get(params, name);
    for (int i = 0; i < list->n; i++)
        if ((int)list->list[i] == layer)
            return i;
    return -1;
}
