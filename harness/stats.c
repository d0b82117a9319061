/* Bootstrap over clusters, McNemar, Holm, Benjamini–Hochberg, power: see stats.h. */
#include "harness/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/rng.h"

enum { STREAM_BOOTSTRAP = 0xb007 };

static const double Z_975 = 1.959963984540054, Z_80 = 0.8416212335729143;

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double median(const double *values, int n)
{
    double *sorted = memory_alloc((size_t)n, sizeof *sorted), middle = NAN;
    int n_numbers = 0;
    for (int i = 0; sorted != NULL && i < n; i++)
        if (!isnan(values[i]))
            sorted[n_numbers++] = values[i];
    if (n_numbers > 0) {
        qsort(sorted, (size_t)n_numbers, sizeof *sorted, ascending);
        middle = (sorted[(n_numbers - 1) / 2] + sorted[n_numbers / 2]) / 2;
    }
    free(sorted);
    return middle;
}

/* Between order statistics, as R's type 7 and numpy's default. */
static double percentile(const double *sorted, int n, double share)
{
    double at = share * (n - 1);
    int below = (int)at;
    return below + 1 < n ? sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]) : sorted[below];
}

/* sums: the cell's, then those of each base. */
static double difference(const double *sums, int n_bases, int n_sums, double (*headline)(const double *))
{
    double base = 0;
    for (int b = 1; b <= n_bases; b++)
        base += headline(sums + (size_t)b * (size_t)n_sums);
    return headline(sums) - (n_bases ? base / n_bases : 0);
}

static void add(double *restrict sums, const double *restrict row, size_t width)
{
    for (size_t i = 0; i < width; i++)
        sums[i] += row[i];
}

enum status bootstrap(struct interval *out, const double *cell, const double *const *bases, int n_bases,
                      int n_clusters, int n_sums, double (*headline)(const double *sums), uint64_t seed,
                      int n_draws, struct error *err)
{
    ENSURE(n_sums > 0 && n_bases >= 0 && n_draws > 0);
    size_t one = (size_t)n_sums, width = one * (size_t)(n_bases + 1);
    enum status status = OK;
    *out = (struct interval){.value = NAN, .lo = NAN, .hi = NAN};
    if (n_clusters < 1)
        return OK;
    /* One row a cluster, all arms beside each other: a draw reads memory once. */
    double *rows = memory_alloc((size_t)n_clusters, width * sizeof *rows);
    double *sums = memory_zero(width, sizeof *sums);
    double *values = memory_alloc((size_t)n_draws, sizeof *values);
    if (!rows || !sums || !values)
        TRY_GOTO(status, memory_failed(err, "bootstrap", (size_t)n_clusters * width * sizeof *rows));
    for (int c = 0; c < n_clusters; c++) {
        double *row = rows + (size_t)c * width;
        memcpy(row, cell + (size_t)c * one, one * sizeof *row);
        for (int b = 0; b < n_bases; b++)
            memcpy(row + (size_t)(b + 1) * one, bases[b] + (size_t)c * one, one * sizeof *row);
        add(sums, row, width);
    }
    out->value = difference(sums, n_bases, n_sums, headline);
    int n = 0;
    for (int d = 0; d < n_draws; d++) {
        memset(sums, 0, width * sizeof *sums);
        /* Two indices a number: each is 32 bits scaled to n_clusters, biased by less than n_clusters ÷ 2³².
         */
        for (int c = 0; c < n_clusters; c += 2) {
            uint64_t bits = rng_u64(seed, (uint64_t)d, STREAM_BOOTSTRAP, (uint64_t)c / 2);
            add(sums, rows + ((bits >> 32) * (uint64_t)n_clusters >> 32) * width, width);
            if (c + 1 < n_clusters)
                add(sums, rows + ((bits & 0xffffffffu) * (uint64_t)n_clusters >> 32) * width, width);
        }
        double value = difference(sums, n_bases, n_sums, headline);
        if (!isnan(value))
            values[n++] = value;
    }
    out->n_undefined = n_draws - n;
    if (n > 0) {
        qsort(values, (size_t)n, sizeof *values, ascending);
        out->lo = percentile(values, n, .025);
        out->hi = percentile(values, n, .975);
    }
exit:
    free(rows);
    free(sums);
    free(values);
    return status;
}

void paired_counts(int *b01, int *b10, const double *cell, const double *const *bases, int n_bases, int n)
{
    ENSURE(n_bases > 0);
    long above = 0, below = 0;
    for (int b = 0; b < n_bases; b++)
        for (int i = 0; i < n; i++) {
            above += cell[i] > bases[b][i];
            below += cell[i] < bases[b][i];
        }
    *b01 = (int)lround((double)above / n_bases);
    *b10 = (int)lround((double)below / n_bases);
}

double mcnemar_p(int b01, int b10)
{
    ENSURE(b01 >= 0 && b10 >= 0);
    int few = b01 < b10 ? b01 : b10, n = b01 + b10;
    if (b01 == b10)
        return 1;
    /* log P(X = few); the other terms follow by their ratios, each smaller than the one before. */
    double log_term = -n * log(2);
    for (int i = 1; i <= few; i++)
        log_term += log((double)(n - few + i) / i);
    double tail = 1, term = 1;
    for (int k = few; k > 0 && term > 1e-18 * tail; k--) {
        term *= (double)k / (n - k + 1);
        tail += term;
    }
    double p = 2 * exp(log_term) * tail;
    return p < 1 ? p : 1;
}

struct ranked {
    double p;
    int place;
};

static int by_p(const void *a, const void *b)
{
    const struct ranked *left = a, *right = b;
    int order = (left->p > right->p) - (left->p < right->p);
    return order ? order : (left->place > right->place) - (left->place < right->place);
}

/* The tests that were made, ascending by p; adjusted is NaN throughout. The caller frees *out. */
static enum status rank(struct ranked **out, int *m, double *adjusted, const double *p, int n,
                        struct error *err)
{
    *out = memory_alloc((size_t)n, sizeof **out);
    *m = 0;
    if (!*out)
        return memory_failed(err, "p values", (size_t)n * sizeof **out);
    for (int i = 0; i < n; i++) {
        adjusted[i] = NAN;
        if (!isnan(p[i]))
            (*out)[(*m)++] = (struct ranked){p[i], i};
    }
    qsort(*out, (size_t)*m, sizeof **out, by_p);
    return OK;
}

enum status holm(double *adjusted, const double *p, int n, struct error *err)
{
    struct ranked *ranked;
    int m;
    TRY(rank(&ranked, &m, adjusted, p, n, err));
    double most = 0;
    for (int i = 0; i < m; i++) {
        most = fmax(most, fmin(1, ranked[i].p * (m - i)));
        adjusted[ranked[i].place] = most;
    }
    free(ranked);
    return OK;
}

enum status benjamini_hochberg(double *adjusted, const double *p, int n, struct error *err)
{
    struct ranked *ranked;
    int m;
    TRY(rank(&ranked, &m, adjusted, p, n, err));
    double least = 1;
    for (int i = m - 1; i >= 0; i--) {
        least = fmin(least, ranked[i].p * m / (i + 1));
        adjusted[ranked[i].place] = least;
    }
    free(ranked);
    return OK;
}

double paired_half_width(double n, double discordant, double design_effect)
{
    return n < 1 ? NAN : Z_975 * sqrt(discordant * design_effect / n);
}

/* Connor's condition at difference d: ≥ 0 when n samples suffice. */
static double surplus(double d, double n, double discordant)
{
    double share = fmax(discordant, d);
    return d * sqrt(n) - Z_975 * sqrt(share) - Z_80 * sqrt(fmax(0, share - d * d));
}

double minimum_detectable(double n, double discordant, double design_effect)
{
    double low = 0, high = 1;
    if (n < 1)
        return NAN;
    n /= design_effect;
    if (surplus(high, n, discordant) < 0)
        return 1;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (surplus(middle, n, discordant) < 0)
            low = middle;
        else
            high = middle;
    }
    return high;
}
