/* What the tests of replays share: a trace with cuts of every kind, and what is expected back. */
#ifndef WINNOW_REPLAY_TRACES_H
#define WINNOW_REPLAY_TRACES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hdf5.h>

#include "core/memory.h"
#include "harness/replay.h"
#include "harness/trace.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static char path[64];
static const char key[] = "0123456789abcdef0123456789abcdef", twin[] = "0123456789ffffff0123456789abcdef";

static const H5I_type_t id_types[] = {H5I_FILE,    H5I_GROUP, H5I_DATATYPE,   H5I_DATASPACE,
                                      H5I_DATASET, H5I_ATTR,  H5I_GENPROP_LST};
enum { N_ID_TYPES = sizeof id_types / sizeof *id_types };
static hsize_t ids_open[N_ID_TYPES];

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/winnow-replay-%ld.h5", (long)getpid());
    unlink(path);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    for (int i = 0; i < N_ID_TYPES; i++)
        H5Inmembers(id_types[i], &ids_open[i]);
    return 0;
}

/* Whatever happened, nothing of HDF5's is left open. */
static int teardown(void **state)
{
    (void)state;
    unlink(path);
    for (int i = 0; i < N_ID_TYPES; i++) {
        hsize_t n = 0;
        H5Inmembers(id_types[i], &n);
        if (n != ids_open[i]) {
            fprintf(stderr, "identifiers of type %d: %llu before the test, %llu after it\n", (int)id_types[i],
                    (unsigned long long)ids_open[i], (unsigned long long)n);
            return -1;
        }
    }
    return 0;
}

static inline void must(enum status status, const struct error *err)
{
    if (status != OK)
        fail_msg("%s", err->text);
}

/* ---- cuts of every kind --------------------------------------------------------------------- */

#define INTS(...)   ((int32_t[]){__VA_ARGS__})
#define FLOATS(...) ((float[]){__VA_ARGS__})

enum { N_CUTS = 6, DECODER_CUT = 3 };

static struct cut_record records[N_CUTS] = {
    /* ToMe: 1 and 3 go into 2 and 0, which stay where they are; 5 goes into 0 too */
    {.site = SITE_VISION,
     .image = 1,
     .layer = 3,
     .in_place = true,
     .n_in = 6,
     .ids_in = INTS(0, 1, 2, 3, 4, 5),
     .n_kept = 3,
     .kept = INTS(0, 2, 4),
     .n_recycled = 3,
     .recycled = INTS(1, 3, 5),
     .cluster_of = INTS(0, 1, 1),
     .weight = FLOATS(.5F, .25F, 1.F / 3),
     .n_clusters = 2,
     .centres = INTS(2, 0),
     .own = FLOATS(.5F, -.75F),
     .rank = -1},
    /* its last cut: clusters enter, the kept go on in another order, one patch is dropped */
    {.site = SITE_VISION,
     .image = 1,
     .layer = 22,
     .in_place = true,
     .n_in = 3,
     .ids_in = INTS(-2, -1, 4),
     .n_kept = 2,
     .kept = INTS(2, 0),
     .n_recycled = 1,
     .recycled = INTS(1),
     .cluster_of = INTS(0),
     .weight = FLOATS(.4F),
     .n_clusters = 1,
     .centres = INTS(0),
     .own = FLOATS(.6F),
     .rank = -1,
     .n_group_of = 6,
     .group_of = INTS(1, 1, 1, 1, 0, -1)},
    /* pool: nothing is kept, and a token stands in several windows */
    {.site = SITE_BEFORE,
     .image = -1,
     .layer = -1,
     .n_in = 6,
     .ids_in = INTS(0, 1, 2, 3, 4, 5),
     .n_recycled = 8,
     .recycled = INTS(0, 1, 1, 2, 3, 4, 4, 5),
     .cluster_of = INTS(0, 0, 1, 1, 2, 2, 3, 3),
     .weight = FLOATS(.5F, .5F, .5F, .5F, .5F, .5F, .5F, .5F),
     .n_clusters = 4,
     .centres = INTS(0, 1, 3, 4),
     .rank = -1},
    /* SparseVLM: several in one cluster, numbered after those before it */
    {.site = SITE_DECODER,
     .image = -1,
     .turn = 2,
     .layer = 2,
     .n_in = 7,
     .ids_in = INTS(7, 9, 3, 30, -4, 11, -1),
     .n_kept = 2,
     .kept = INTS(1, 4),
     .n_recycled = 4,
     .recycled = INTS(6, 0, 5, 2),
     .cluster_of = INTS(0, 1, 0, 0),
     .weight = FLOATS(1.F / 3, 1, 1.F / 3, 1.F / 3),
     .n_clusters = 2,
     .centres = INTS(5, 0),
     .n_raters = 2,
     .raters = INTS(1, 3),
     .rank = 4,
     .score = FLOATS(.5F, .1F, .4F, .3F, .2F, .0F, .7F)},
    /* nothing enters, nothing leaves */
    {.site = SITE_DECODER, .image = -1, .layer = 6, .n_raters = -1, .rank = -1},
    /* VisionZip: the class token goes on before the kept, the cluster behind them */
    {.site = SITE_VISION,
     .image = 0,
     .layer = 22,
     .keep_class = true,
     .n_in = 4,
     .ids_in = INTS(0, 1, 2, 3),
     .n_kept = 1,
     .kept = INTS(3),
     .n_recycled = 1,
     .recycled = INTS(1),
     .cluster_of = INTS(0),
     .weight = FLOATS(1),
     .n_clusters = 1,
     .centres = INTS(0),
     .own = FLOATS(1),
     .rank = -1,
     .n_group_of = 4,
     .group_of = INTS(2, 2, -1, 1)}};

static struct ledger_layer layers[] = {{.visual_in = 6}};

static inline void put(struct trace *trace, const char *cell, int sample, int first, int n)
{
    struct error err = {0};
    const struct answer answer = {
        .ledger = {.n_layers = 1, .layers = layers}, .records = records + first, .n_records = n};
    must(trace_sample(
             trace, cell,
             &(struct trace_sample){.sample_id = sample, .question = "Q", .answer = "A", .result = &answer},
             &err),
         &err);
}

static inline struct trace *open_trace(const char *params)
{
    struct trace *trace;
    struct error err = {0};
    must(trace_open(&trace, path, NULL, &err), &err);
    must(trace_cell(trace, key, "sparsevlm", params, "m", &err), &err);
    return trace;
}

/* A trace with sample 3, which has every cut, and sample 4, which has none. */
static inline void write_trace(void)
{
    struct error err = {0};
    struct trace *trace = open_trace("{\"tau\":0.3}");
    put(trace, key, 3, 0, N_CUTS);
    put(trace, key, 4, 0, 0);
    must(trace_close(trace, &err), &err);
}

static inline void expect_ints(const int32_t *found, const int32_t *expected, int n, const char *what,
                               int cut)
{
    assert_true(n <= 0 || found != NULL);
    for (int i = 0; i < n; i++)
        if (found[i] != expected[i])
            fail_msg("cut %d: %s[%d]: expected %d, found %d", cut, what, i, expected[i], found[i]);
}

static inline void expect_floats(const float *found, const float *expected, int n, const char *what, int cut)
{
    assert_int_equal(found != NULL, expected != NULL);
    if (expected != NULL && memcmp(found, expected, (size_t)n * sizeof *found) != 0)
        fail_msg("cut %d: %s has other bits", cut, what);
}

static inline void expect_cut(const struct cut_record *found, const struct cut_record *expected, int i)
{
    const int pairs[][2] = {{(int)found->site, (int)expected->site},
                            {found->image, expected->image},
                            {found->turn, expected->turn},
                            {found->layer, expected->layer},
                            {found->in_place, expected->in_place},
                            {found->keep_class, expected->keep_class},
                            {found->n_in, expected->n_in},
                            {found->n_kept, expected->n_kept},
                            {found->n_recycled, expected->n_recycled},
                            {found->n_clusters, expected->n_clusters},
                            {found->n_raters, expected->n_raters},
                            {found->rank, expected->rank},
                            {found->n_group_of, expected->n_group_of}};
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++)
        if (pairs[k][0] != pairs[k][1])
            fail_msg("cut %d, number %zu: expected %d, found %d", i, k, pairs[k][1], pairs[k][0]);
    expect_ints(found->ids_in, expected->ids_in, found->n_in, "ids_in", i);
    expect_ints(found->kept, expected->kept, found->n_kept, "kept", i);
    expect_ints(found->recycled, expected->recycled, found->n_recycled, "recycled", i);
    expect_ints(found->cluster_of, expected->cluster_of, found->n_recycled, "cluster_of", i);
    expect_ints(found->centres, expected->centres, found->n_clusters, "centres", i);
    expect_ints(found->raters, expected->raters, found->n_raters, "raters", i);
    expect_ints(found->group_of, expected->group_of, found->n_group_of, "group_of", i);
    expect_floats(found->weight, expected->weight, found->n_recycled, "weight", i);
    expect_floats(found->own, expected->own, found->n_clusters, "own", i);
    expect_floats(found->score, expected->score, found->n_in, "score", i);
}

static inline void expect_sample(const struct replay_file *file, int sample, int first, int n_expected)
{
    struct error err = {0};
    struct cut_record *cuts;
    int n;
    must(replay_read(&cuts, &n, file, sample, &err), &err);
    assert_int_equal(n, n_expected);
    for (int i = 0; i < n; i++)
        expect_cut(&cuts[i], &records[first + i], i);
    replay_free(cuts, n);
}

static inline void expect_error(enum status status, enum status expected, const struct error *err,
                                const char *part)
{
    if (status != expected || strstr(err->text, part) == NULL)
        fail_msg("expected status %d and \"...%s...\", found %d: %s", expected, part, status,
                 status != OK ? err->text : "no error");
}

#endif
