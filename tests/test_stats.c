/* Statistics against small computations of their own: sums of binomial terms, published examples, normal
 * theory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/rng.h"
#include "harness/stats.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static void assert_close(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("expected %.17g ± %g, found %.17g", expected, tolerance, value);
}

/* P(X ≤ k) of n fair coins, by adding Pascal's triangle up. */
static double binomial_tail(int k, int n)
{
    double row[128] = {1}, sum = 0;
    for (int i = 1; i <= n; i++)
        for (int j = i; j > 0; j--)
            row[j] += row[j - 1];
    for (int j = 0; j <= k; j++)
        sum += row[j];
    return sum / pow(2, n);
}

static void mcnemar_by_direct_summation(void **state)
{
    (void)state;
    for (int n = 0; n <= 50; n++)
        for (int b = 0; b <= n; b++) {
            int few = b < n - b ? b : n - b;
            double expected = fmin(1, 2 * binomial_tail(few, n));
            assert_close(mcnemar_p(b, n - b), expected, 1e-12 * expected);
        }
    /* Large counts: the normal approximation with continuity correction, z = (|b − c| − 1) / sqrt(b + c). */
    assert_close(mcnemar_p(5100, 4900), erfc((200 - 1) / sqrt(10000) / sqrt(2)), 2e-5);
    assert_true(mcnemar_p(0, 5000) >= 0);
    assert_close(mcnemar_p(0, 10), 2. / 1024, 1e-18);
}

/* Arms that are right by chance with the same probability: the test at .05 rejects at most that often,
 * however many bases there are; and one base gives the plain counts. */
static void several_bases_keep_the_level(void **state)
{
    (void)state;
    enum { N = 200, BASES = 5, RUNS = 400 };
    static double scores[1 + BASES][N];
    const double *bases[BASES];
    int rejected = 0, b01, b10;
    for (int b = 0; b < BASES; b++)
        bases[b] = scores[1 + b];
    for (uint64_t run = 0; run < RUNS; run++) {
        for (uint64_t arm = 0; arm <= BASES; arm++)
            for (uint64_t i = 0; i < N; i++)
                scores[arm][i] = rng_u64(run, arm, 1, i) % 10 < 8;
        paired_counts(&b01, &b10, scores[0], bases, BASES, N);
        rejected += mcnemar_p(b01, b10) < .05;
    }
    assert_true(rejected <= RUNS * .05);
    const double cell[] = {1, 1, 0, 0, .5}, base[] = {1, 0, 1, 0, .6};
    paired_counts(&b01, &b10, cell, (const double *[]){base}, 1, 5);
    assert_int_equal(b01, 1);
    assert_int_equal(b10, 2);
    const double worse[] = {0, 0, 0, 0, 0};
    paired_counts(&b01, &b10, cell, (const double *[]){base, worse}, 2, 5);
    assert_int_equal(b01, 2); /* of 1 and 3 */
    assert_int_equal(b10, 1); /* of 2 and 0 */
}

static void medians_pass_over_what_is_missing(void **state)
{
    (void)state;
    const double values[] = {7, NAN, 1, 4, NAN, 2};
    assert_close(median(values, 6), 3, 0);
    assert_close(median(values, 3), 4, 0);
    assert_true(isnan(median(values + 1, 1)) && isnan(median(values, 0)));
    assert_true(values[0] == 7);
}

static void corrections_known_examples(void **state)
{
    (void)state;
    struct error err;
    double out[15];
    /* By hand, in an order that is not the sorted one, with a test that was not made. */
    const double p[] = {0.04, 0.01, NAN, 0.03, 0.005};
    assert_int_equal(holm(out, p, 5, &err), OK);
    const double by_holm[] = {0.06, 0.03, NAN, 0.06, 0.02};
    for (int i = 0; i < 5; i++)
        isnan(p[i]) ? assert_true(isnan(out[i])) : assert_close(out[i], by_holm[i], 1e-15);
    assert_int_equal(benjamini_hochberg(out, p, 5, &err), OK);
    const double by_bh[] = {0.04, 0.02, NAN, 0.04, 0.02};
    for (int i = 0; i < 5; i++)
        isnan(p[i]) ? assert_true(isnan(out[i])) : assert_close(out[i], by_bh[i], 1e-15);
    /* The fifteen tests of Benjamini & Hochberg 1995, section 4: four are rejected at q = .05, Bonferroni's
     * (and Holm's) three. */
    const double paper[15] = {.0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344,
                              .0459, .3240, .4262, .5719, .6528, .7590, 1.000};
    int n_bh = 0, n_holm = 0;
    assert_int_equal(benjamini_hochberg(out, paper, 15, &err), OK);
    for (int i = 0; i < 15; i++)
        n_bh += out[i] <= .05;
    assert_close(out[3], .0095 * 15 / 4, 1e-15);
    assert_int_equal(holm(out, paper, 15, &err), OK);
    for (int i = 0; i < 15; i++)
        n_holm += out[i] <= .05;
    assert_int_equal(n_bh, 4);
    assert_int_equal(n_holm, 3);
    assert_close(out[14], 1, 0);
    assert_int_equal(holm(out, NULL, 0, &err), OK);
}

static double mean_of(const double *sums)
{
    return sums[1] > 0 ? sums[0] / sums[1] : (double)NAN;
}

enum { CLUSTERS = 400, PER_CLUSTER = 3 };

/* Clusters whose samples share part of their luck. */
static double *make_clusters(uint64_t stream)
{
    double *sums = memory_zero(CLUSTERS * 2, sizeof *sums);
    assert_non_null(sums);
    for (uint64_t c = 0; c < CLUSTERS; c++) {
        double easy = .5 + .4 * rng_float(1, c, 0, 0);
        for (uint64_t s = 0; s < PER_CLUSTER; s++)
            sums[2 * c] += rng_float(1, c, stream, s) < easy;
        sums[2 * c + 1] = PER_CLUSTER;
    }
    return sums;
}

/* Half width of the normal interval of a mean of cluster means. */
static double normal_half_width(const double *values)
{
    double mean = 0, square = 0;
    for (int c = 0; c < CLUSTERS; c++)
        mean += values[c] / CLUSTERS;
    for (int c = 0; c < CLUSTERS; c++)
        square += (values[c] - mean) * (values[c] - mean);
    return 1.959963984540054 * sqrt(square / (CLUSTERS - 1) / CLUSTERS);
}

static void bootstrap_of_a_mean(void **state)
{
    (void)state;
    struct error err;
    struct interval single, paired, again, other;
    double *a = make_clusters(1), *b = make_clusters(2), values[CLUSTERS], differences[CLUSTERS];
    double mean_a = 0, mean_b = 0;
    for (int c = 0; c < CLUSTERS; c++) {
        values[c] = a[2 * c] / PER_CLUSTER;
        differences[c] = (a[2 * c] - b[2 * c]) / PER_CLUSTER;
        mean_a += values[c] / CLUSTERS;
        mean_b += b[2 * c] / PER_CLUSTER / CLUSTERS;
    }
    assert_int_equal(bootstrap(&single, a, NULL, 0, CLUSTERS, 2, mean_of, 0, BOOTSTRAP_DRAWS, &err), OK);
    assert_close(single.value, mean_a, 1e-12);
    double half = normal_half_width(values);
    assert_close(single.hi - mean_a, half, .05 * half);
    assert_close(mean_a - single.lo, half, .05 * half);

    const double *base[] = {b, b};
    assert_int_equal(bootstrap(&paired, a, base, 1, CLUSTERS, 2, mean_of, 0, BOOTSTRAP_DRAWS, &err), OK);
    half = normal_half_width(differences);
    assert_close(paired.value, mean_a - mean_b, 1e-12);
    assert_close((paired.hi - paired.lo) / 2, half, .05 * half);
    /* The mean over equal bases is one of them; the same seed gives the same draws, another does not. */
    assert_int_equal(bootstrap(&again, a, base, 2, CLUSTERS, 2, mean_of, 0, BOOTSTRAP_DRAWS, &err), OK);
    assert_true(again.lo == paired.lo && again.hi == paired.hi);
    assert_int_equal(bootstrap(&other, a, base, 1, CLUSTERS, 2, mean_of, 1, BOOTSTRAP_DRAWS, &err), OK);
    assert_true(other.lo != paired.lo || other.hi != paired.hi);
    const double *self[] = {a};
    assert_int_equal(bootstrap(&again, a, self, 1, CLUSTERS, 2, mean_of, 0, 100, &err), OK);
    assert_true(again.value == 0 && again.lo == 0 && again.hi == 0);
    free(a);
    free(b);
}

static void bootstrap_without_meaning(void **state)
{
    (void)state;
    struct error err;
    struct interval out;
    const double empty[4] = {0}, half[4] = {1, 1, 0, 0};
    assert_int_equal(bootstrap(&out, NULL, NULL, 0, 0, 2, mean_of, 0, 100, &err), OK);
    assert_true(isnan(out.value) && isnan(out.lo));
    assert_int_equal(bootstrap(&out, empty, NULL, 0, 2, 2, mean_of, 0, 100, &err), OK);
    assert_int_equal(out.n_undefined, 100);
    assert_true(isnan(out.hi));
    /* Both draws of the empty cluster: a quarter of the time. */
    assert_int_equal(bootstrap(&out, half, NULL, 0, 2, 2, mean_of, 0, 10000, &err), OK);
    assert_true(out.n_undefined > 2300 && out.n_undefined < 2700);
    assert_true(out.value == 1 && out.lo == 1 && out.hi == 1);
}

/* 1,800 samples of 300 pictures with nine sums each, as POPE's. */
static double nine(const double *sums)
{
    double f1 = 0;
    for (int i = 0; i < 9; i += 3)
        f1 += 2 * sums[i] / (2 * sums[i] + sums[i + 1] + sums[i + 2]);
    return f1 / 3;
}

static void bootstrap_is_fast(void **state)
{
    (void)state;
    enum { PICTURES = 300 };
    struct error err;
    struct interval out;
    static double cell[PICTURES * 9], base[PICTURES * 9];
    for (uint64_t i = 0; i < PICTURES * 9; i++) {
        cell[i] = (double)(rng_u64(1, i, 0, 0) % 3);
        base[i] = (double)(rng_u64(2, i, 0, 0) % 3);
    }
    double start = clock_ms();
    assert_int_equal(
        bootstrap(&out, cell, (const double *[]){base}, 1, PICTURES, 9, nine, 0, BOOTSTRAP_DRAWS, &err), OK);
    printf("10,000 paired draws of %d clusters: %.0f ms\n", PICTURES, clock_ms() - start);
    assert_true(clock_ms() - start < 5000); /* generous: sanitizers and busy machines */
    assert_true(out.lo < out.value && out.value < out.hi);
}

static void what_a_sample_can_show(void **state)
{
    (void)state;
    /* Half widths in points at 8 % discordance, from the literature on these benchmarks' sizes. */
    static const struct {
        int n;
        double points;
    } known[] = {{12578, .49}, {8910, .59},  {5000, .78},  {4377, .84},
                 {1176, 1.62}, {2374, 1.14}, {2017, 1.23}, {218, 3.75}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_close(100 * paired_half_width(known[i].n, .08, 1), known[i].points, .0051);
    assert_close(paired_half_width(1000, .08, 4), 2 * paired_half_width(1000, .08, 1), 1e-15);
    /* Connor's sample size at the difference that is found gives the sample back. */
    for (double n = 100; n < 1e5; n *= 3) {
        double d = minimum_detectable(n, .1, 1);
        double root = 1.959963984540054 * sqrt(.1) + 0.8416212335729143 * sqrt(.1 - d * d);
        if (d < .1)
            assert_close(root * root / (d * d), n, 1e-6 * n);
    }
    assert_close(minimum_detectable(8910, .08, 1), 2.8016 * sqrt(.08 / 8910), 2e-5);
    assert_true(minimum_detectable(10, .05, 1) > .05); /* discordance itself must be larger */
    assert_true(minimum_detectable(1, .05, 1) == 1);
    assert_true(isnan(minimum_detectable(0, .05, 1)) && isnan(paired_half_width(0, .05, 1)));
    assert_true(minimum_detectable(1000, .05, 2) > minimum_detectable(1000, .05, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mcnemar_by_direct_summation),
        cmocka_unit_test(corrections_known_examples),
        cmocka_unit_test(several_bases_keep_the_level),
        cmocka_unit_test(medians_pass_over_what_is_missing),
        cmocka_unit_test(bootstrap_of_a_mean),
        cmocka_unit_test(bootstrap_without_meaning),
        cmocka_unit_test(bootstrap_is_fast),
        cmocka_unit_test(what_a_sample_can_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
