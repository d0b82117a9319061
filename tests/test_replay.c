/* Replays: what a trace says of a cut comes back as it was, whatever its kind; traces of the old layout are
 * read, hostile ones refused with a message that names what is wrong, and a trace may be read while this
 * process writes it. */
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

static void must(enum status status, const struct error *err)
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

static void put(struct trace *trace, const char *cell, int sample, int first, int n)
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

static struct trace *open_trace(const char *params)
{
    struct trace *trace;
    struct error err = {0};
    must(trace_open(&trace, path, NULL, &err), &err);
    must(trace_cell(trace, key, "sparsevlm", params, "m", &err), &err);
    return trace;
}

/* A trace with sample 3, which has every cut, and sample 4, which has none. */
static void write_trace(void)
{
    struct error err = {0};
    struct trace *trace = open_trace("{\"tau\":0.3}");
    put(trace, key, 3, 0, N_CUTS);
    put(trace, key, 4, 0, 0);
    must(trace_close(trace, &err), &err);
}

static void expect_ints(const int32_t *found, const int32_t *expected, int n, const char *what, int cut)
{
    assert_true(n <= 0 || found != NULL);
    for (int i = 0; i < n; i++)
        if (found[i] != expected[i])
            fail_msg("cut %d: %s[%d]: expected %d, found %d", cut, what, i, expected[i], found[i]);
}

static void expect_floats(const float *found, const float *expected, int n, const char *what, int cut)
{
    assert_int_equal(found != NULL, expected != NULL);
    if (expected != NULL && memcmp(found, expected, (size_t)n * sizeof *found) != 0)
        fail_msg("cut %d: %s has other bits", cut, what);
}

static void expect_cut(const struct cut_record *found, const struct cut_record *expected, int i)
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

static void expect_sample(const struct replay_file *file, int sample, int first, int n_expected)
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

static void expect_error(enum status status, enum status expected, const struct error *err, const char *part)
{
    if (status != expected || strstr(err->text, part) == NULL)
        fail_msg("expected status %d and \"...%s...\", found %d: %s", expected, part, status,
                 status != OK ? err->text : "no error");
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void cuts_of_every_kind_come_back(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    struct replay replay;
    write_trace();
    must(replay_open(&file, path, key, &err), &err);
    must(replay_about(&replay, file, &err), &err);
    assert_string_equal(replay.method, "sparsevlm");
    assert_float_equal(json_real_value(json_object_get(replay.params, "tau")), 0.3, 0);
    assert_int_equal(replay.n_cuts, 0);
    must(replay_read(&replay.cuts, &replay.n_cuts, file, 3, &err), &err);
    assert_int_equal(replay.n_cuts, N_CUTS);
    replay_clear(&replay);
    replay_clear(&replay); /* empty now */
    expect_sample(file, 3, 0, N_CUTS);
    expect_sample(file, 4, 0, 0);
    replay_close(file);
    replay_close(NULL);
}

/* What `trace: {keep: cuts}` leaves out is not needed. */
static void indices_alone_are_enough(void **state)
{
    (void)state;
    struct error err = {0};
    struct trace *trace = open_trace("{}");
    struct cut_record *cuts;
    int n;
    const struct answer answer = {
        .ledger = {.n_layers = 1, .layers = layers}, .records = records, .n_records = N_CUTS};
    must(trace_sample(trace, key,
                      &(struct trace_sample){.sample_id = 3, .result = &answer, .cuts_only = true}, &err),
         &err);
    must(trace_close(trace, &err), &err);
    struct replay_file *file;
    must(replay_open(&file, path, key, &err), &err);
    must(replay_read(&cuts, &n, file, 3, &err), &err);
    assert_int_equal(n, N_CUTS);
    assert_null(cuts[DECODER_CUT].score);
    for (int i = 0; i < n; i++) {
        struct cut_record expected = records[i];
        expected.score = NULL;
        expect_cut(&cuts[i], &expected, i);
    }
    replay_free(cuts, n);
    replay_close(file);
}

static void a_missing_sample_is_named(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    struct cut_record *cuts = records;
    int n = 7;
    write_trace();
    must(replay_open(&file, path, key, &err), &err);
    expect_error(replay_read(&cuts, &n, file, 17, &err), BAD_INPUT, &err, "no sample 17");
    assert_null(cuts);
    assert_int_equal(n, 0);
    expect_error(replay_read(&cuts, &n, file, -1, &err), BAD_INPUT, &err, "no sample -1");
    unlink(path); /* gone since it was opened */
    expect_error(replay_read(&cuts, &n, file, 3, &err), BAD_INPUT, &err, "no such trace");
    replay_close(file);
}

static void a_cell_is_found_by_its_key_or_its_beginning(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    struct trace *trace = open_trace("{}");
    put(trace, key, 3, 0, N_CUTS);
    must(trace_cell(trace, twin, "fastv", "{}", "m", &err), &err);
    must(trace_close(trace, &err), &err);
    must(replay_open(&file, path, "0123456789a", &err), &err);
    expect_sample(file, 3, 0, N_CUTS);
    replay_close(file);
    must(replay_open(&file, path, twin, &err), &err);
    struct replay replay;
    must(replay_about(&replay, file, &err), &err);
    assert_string_equal(replay.method, "fastv");
    replay_clear(&replay);
    replay_close(file);

    expect_error(replay_open(&file, path, "0123456789", &err), BAD_INPUT, &err, "more than one cell");
    assert_null(file);
    static const char *const unknown[] = {"0123456", "01234567xyz", "fedcba9876", "",        ".",
                                          "..",      "/",           "../cells",   "samples", "01234567/"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        expect_error(replay_open(&file, path, unknown[i], &err), BAD_INPUT, &err, "has no cell");
        assert_non_null(strstr(err.text, key));
        assert_non_null(strstr(err.text, twin));
    }
    trace = open_trace("{}");
    for (int i = 0; i < 20; i++) {
        char name[40];
        snprintf(name, sizeof name, "%032d", i);
        must(trace_cell(trace, name, "fastv", "{}", "m", &err), &err);
    }
    must(trace_cell(trace, "01234567", "a key that is another's beginning", "{}", "m", &err), &err);
    must(trace_close(trace, &err), &err);
    expect_error(replay_open(&file, path, "unknown", &err), BAD_INPUT, &err, "it has 23: ");
    assert_non_null(strstr(err.text, ", ..."));
    must(replay_open(&file, path, "01234567", &err), &err);
    replay_close(file);
}

/* Takes away what was added to the layout. */
static void make_old(int cut)
{
    static const char *const attributes[] = {"site", "image", "turn", "in_place", "keep_class"};
    char name[100];
    snprintf(name, sizeof name, "/cells/%s/samples/3/cuts/%d", key, cut);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), group = H5Gopen2(file, name, H5P_DEFAULT);
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        assert_true(H5Adelete(group, attributes[i]) >= 0);
    if (H5Lexists(group, "weight", H5P_DEFAULT) > 0)
        H5Ldelete(group, "weight", H5P_DEFAULT);
    H5Gclose(group);
    H5Fclose(file);
}

static void a_trace_of_the_old_layout_is_read(void **state)
{
    (void)state;
    for (int sums = 0; sums < 2; sums++) {
        struct error err = {0};
        struct replay_file *file;
        struct cut_record *cuts;
        int n;
        unlink(path);
        struct trace *trace = open_trace(sums ? "{\"tau\":0.3,\"merge\":\"sum\"}" : "{\"merge\":\"mean\"}");
        put(trace, key, 3, 2, 3);
        must(trace_close(trace, &err), &err);
        for (int i = 0; i < 3; i++)
            make_old(i);
        must(replay_open(&file, path, key, &err), &err);
        must(replay_read(&cuts, &n, file, 3, &err), &err);
        assert_int_equal(n, 3);
        for (int i = 0; i < n; i++) {
            struct cut_record expected = records[2 + i];
            float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
            expected.turn = 0;
            if (sums && expected.n_recycled > 0)
                expected.weight = ones;
            expect_cut(&cuts[i], &expected, i);
        }
        replay_free(cuts, n);
        replay_close(file);
    }
}

/* ---- hostile files -------------------------------------------------------------------------- */

enum deed {
    GONE,
    AS_INTS,
    AS_FLOATS,
    AS_MATRIX,
    AS_TEXT,
    AS_GROUP,
    AS_LINK,
    AS_HUGE,
    ATTRIBUTE,
    NO_ATTRIBUTE,
    TEXT_ATTRIBUTE
};

struct damage {
    const char *at, *name; /* group below the sample, and what in it */
    enum deed deed;
    int n;
    double values[8];
    const char *text, *expected; /* expected: part of the message */
};

static void put_numbers(hid_t group, const struct damage *d)
{
    int32_t ints[8];
    float floats[8];
    for (int i = 0; i < d->n; i++) {
        floats[i] = (float)d->values[i];
        ints[i] = d->deed == AS_FLOATS ? 0 : (int32_t)d->values[i];
    }
    bool huge = d->deed == AS_HUGE; /* nothing of it is stored: all fill values */
    const hsize_t shape[2] = {huge ? (hsize_t)1 << 40 : (hsize_t)d->n, 1}, chunk = 1 << 20;
    hid_t space = H5Screate_simple(d->deed == AS_MATRIX ? 2 : 1, shape, NULL),
          create = H5Pcreate(H5P_DATASET_CREATE);
    if (huge)
        H5Pset_chunk(create, 1, &chunk);
    hid_t set = H5Dcreate2(group, d->name, d->deed == AS_FLOATS ? H5T_IEEE_F32LE : H5T_STD_I32LE, space,
                           H5P_DEFAULT, create, H5P_DEFAULT);
    assert_true(set >= 0);
    if (d->n > 0 && !huge)
        assert_true(H5Dwrite(set, d->deed == AS_FLOATS ? H5T_NATIVE_FLOAT : H5T_NATIVE_INT32, H5S_ALL,
                             H5S_ALL, H5P_DEFAULT, d->deed == AS_FLOATS ? (void *)floats : ints) >= 0);
    H5Dclose(set);
    H5Pclose(create);
    H5Sclose(space);
}

static void put_text(hid_t group, const struct damage *d)
{
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, 16);
    char text[16] = {0};
    snprintf(text, sizeof text, "%s", d->text);
    hid_t object = d->deed == AS_TEXT
                       ? H5Dcreate2(group, d->name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)
                       : H5Acreate2(group, d->name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (d->deed == AS_TEXT)
        H5Dclose(object);
    else
        assert_true(H5Awrite(object, type, text) >= 0 && H5Aclose(object) >= 0);
    H5Sclose(space);
    H5Tclose(type);
}

static void do_damage(const struct damage *d)
{
    char name[160];
    snprintf(name, sizeof name, "/cells/%s/samples/3/%s", key, d->at);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), group = H5Gopen2(file, name, H5P_DEFAULT);
    assert_true(group >= 0);
    if (d->deed < ATTRIBUTE && H5Lexists(group, d->name, H5P_DEFAULT) > 0)
        assert_true(H5Ldelete(group, d->name, H5P_DEFAULT) >= 0);
    if (d->deed >= ATTRIBUTE && H5Aexists(group, d->name) > 0)
        assert_true(H5Adelete(group, d->name) >= 0);
    if (d->deed == AS_INTS || d->deed == AS_FLOATS || d->deed == AS_MATRIX || d->deed == AS_HUGE)
        put_numbers(group, d);
    if (d->deed == AS_TEXT || d->deed == TEXT_ATTRIBUTE)
        put_text(group, d);
    if (d->deed == AS_GROUP)
        H5Gclose(H5Gcreate2(group, d->name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    if (d->deed == AS_LINK)
        H5Lcreate_external("/etc/passwd", "/kept", group, d->name, H5P_DEFAULT, H5P_DEFAULT);
    if (d->deed == ATTRIBUTE) {
        int32_t value = (int32_t)d->values[0];
        hid_t space = H5Screate(H5S_SCALAR);
        hid_t attribute = H5Acreate2(group, d->name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(H5Awrite(attribute, H5T_NATIVE_INT32, &value) >= 0);
        H5Aclose(attribute);
        H5Sclose(space);
    }
    H5Gclose(group);
    H5Fclose(file);
}

static const struct damage damages[] = {
    {"cuts/3", "kept", GONE, .expected = "cut 3: kept: is missing"},
    {"cuts/3", "recycled", GONE, .expected = "recycled: is missing"},
    {"cuts/3", "centres", GONE, .expected = "centres: is missing"},
    {"cuts/3", "cluster_of", GONE, .expected = "cluster_of: is missing"},
    {"cuts/3", "ids_in", GONE, .expected = "ids_in: is missing"},
    {"cuts/3", "weight", GONE, .expected = "weight: is missing"},
    {"cuts", "2", GONE, .expected = "there are 5, but no group 2"},
    {"cuts", "0", GONE, .expected = "there are 5, but no group 0"},
    {"cuts", "more", AS_GROUP, .expected = "there are 7, but no group 6"},
    {"cuts", "1", AS_INTS, 1, {0}, .expected = "no group 1"},
    {"cuts", "1", AS_LINK, .expected = "no group 1"},
    {"", "cuts", GONE, .expected = "has no group `cuts`"},
    {"", "cuts", AS_INTS, 1, {0}, .expected = "has no group `cuts`"},
    {"cuts/3", "kept", AS_MATRIX, 2, {9, 3}, .expected = "kept: expected integers in 1 dimension"},
    {"cuts/3", "kept", AS_FLOATS, 2, {9, 3}, .expected = "kept: expected integers"},
    {"cuts/3", "kept", AS_TEXT, .text = "9", .expected = "kept: expected integers"},
    {"cuts/3", "kept", AS_GROUP, .expected = "kept: expected a dataset"},
    {"cuts/3", "kept", AS_LINK, .expected = "kept: is missing"},
    {"cuts/3", "kept", AS_HUGE, .expected = "kept: has more than"},
    {"cuts/3", "weight", AS_INTS, 4, {1, 1, 1, 1}, .expected = "weight: expected floats"},
    {"cuts/3", "weight", AS_HUGE, .expected = "weight: expected floats"},
    {"cuts/3", "kept", AS_INTS, 2, {9, 4}, .expected = "kept: token 4 is not among those that enter"},
    {"cuts/3", "kept", AS_INTS, 1, {-2}, .expected = "kept: token -2 is not among"},
    {"cuts/3", "recycled", AS_INTS, 4, {7, 7, 7, 1 << 30}, .expected = "recycled: token 1073741824 is not"},
    {"cuts/3", "centres", AS_INTS, 2, {7, -2147483648.0}, .expected = "centres: token -2147483648 is not"},
    {"cuts/3", "kept", AS_INTS, 2, {9, 9}, .expected = "kept: names token 9 twice"},
    {"cuts/3", "ids_in", AS_INTS, 7, {7, 9, 3, 30, -4, 11, 3}, .expected = "ids_in: names token 3 twice"},
    {"cuts/3", "ids_in", AS_INTS, 7, {7, 9, 3, 1 << 20, -4, 11, -1}, .expected = "beyond the limit"},
    {"cuts/3", "ids_in", AS_INTS, 0, {0}, .expected = "kept: token 9 is not among"},
    {"cuts/3", "ids_in", AS_HUGE, .expected = "ids_in: has more than 1048576"},
    {"cuts/3", "cluster_of", AS_INTS, 4, {0, 1, 2, 0}, .expected = "expected values from 0 to 1, found 2"},
    {"cuts/3", "cluster_of", AS_INTS, 4, {0, 1, -1, 0}, .expected = "found -1"},
    {"cuts/3", "cluster_of", AS_INTS, 3, {0, 1, 0}, .expected = "cluster_of: expected 4 values, found 3"},
    {"cuts/3", "centres", AS_INTS, 0, {0}, .expected = "expected values from 0 to -1"},
    {"cuts/3", "weight", AS_FLOATS, 3, {1, 1, 1}, .expected = "weight: expected 4 values, found 3"},
    {"cuts/3", "weight", AS_FLOATS, 4, {1, 1, INFINITY, 1}, .expected = "weight: value 2 is not finite"},
    {"cuts/3", "weight", AS_FLOATS, 4, {(double)NAN, 1, 1, 1}, .expected = "weight: value 0 is not finite"},
    {"cuts/0", "own", AS_FLOATS, 2, {1, -INFINITY}, .expected = "cut 0: own: value 1 is not finite"},
    {"cuts/0", "own", AS_FLOATS, 1, {1}, .expected = "own: expected 2 values, found 1"},
    {"cuts/0", "own", AS_GROUP, .expected = "own: expected a dataset"},
    {"cuts/0", "centres", AS_INTS, 2, {2, 3}, .expected = "centres: token 3 is not among the kept"},
    {"cuts/0", "centres", AS_INTS, 2, {2, 2}, .expected = "centres: token 2 is named twice"},
    {"cuts/0", "in_place", ATTRIBUTE, .values = {2}, .expected = "`in_place`: expected 0 to 1, found 2"},
    {"cuts/3", "centres", AS_INTS, 6, {7, 7, 7, 7, 7, 7}, .expected = "7 tokens enter and 8 leave"},
    {"cuts/1", "keep_class", ATTRIBUTE, .values = {2}, .expected = "`keep_class`: expected 0 to 1, found 2"},
    {"cuts/3", "keep_class", ATTRIBUTE, .values = {1}, .expected = "`keep_class`: expected 0 to 0, found 1"},
    {"cuts/5", "group_of", AS_INTS, 2, {0, 3}, .expected = "group_of: expected values from -1 to 2"},
    {"cuts/1", "group_of", AS_INTS, 2, {0, 2}, .expected = "group_of: expected values from -1 to 1"},
    {"cuts/1", "group_of", AS_INTS, 2, {0, -2}, .expected = "group_of: expected values from -1 to 1"},
    {"cuts/1", "group_of", AS_HUGE, .expected = "group_of: has more than"},
    {"cuts/3", "score", AS_FLOATS, 2, {0, 1}, .expected = "score: expected 7 values, found 2"},
    {"cuts/3", "raters", AS_INTS, 2, {0, -1}, .expected = "raters: expected values from 0"},
    {"cuts/3", "rank", AS_INTS, 2, {0, 1}, .expected = "rank: expected 1 values, found 2"},
    {"cuts/3", "rank", AS_INTS, 0, {0}, .expected = "rank: expected 1 values, found 0"},
    {"cuts/3", "layer", NO_ATTRIBUTE, .expected = "lacks its attribute `layer`"},
    {"cuts/3", "layer", TEXT_ATTRIBUTE, .text = "2", .expected = "lacks its attribute `layer`, an integer"},
    {"cuts/3", "layer", ATTRIBUTE, .values = {1025}, .expected = "`layer`: expected -1 to 1024, found 1025"},
    {"cuts/3", "layer", ATTRIBUTE, .values = {-2}, .expected = "`layer`: expected -1 to 1024, found -2"},
    {"cuts/3", "layer", ATTRIBUTE, .values = {-1}, .expected = "in the decoder, but after layer -1"},
    {"cuts/3", "site", TEXT_ATTRIBUTE, .text = "before", .expected = "before layer 0, but after layer 2"},
    {"cuts/3", "site", TEXT_ATTRIBUTE, .text = "elsewhere", .expected = "expected vision, before or decoder"},
    {"cuts/3", "site", TEXT_ATTRIBUTE, .text = "vision", .expected = "`image`: expected 0 to 63, found -1"},
    {"cuts/3", "site", ATTRIBUTE, .values = {2}, .expected = "expected vision, before or decoder"},
    {"cuts/3", "image", ATTRIBUTE, .values = {1}, .expected = "`image`: expected -1 to -1, found 1"},
    {"cuts/0", "image", ATTRIBUTE, .values = {64}, .expected = "`image`: expected 0 to 63, found 64"},
    {"cuts/0", "image", NO_ATTRIBUTE, .expected = "lacks its attribute `image`"},
    {"cuts/3", "turn", ATTRIBUTE, .values = {256}, .expected = "`turn`: expected 0 to 255, found 256"},
    {"cuts/3", "turn", ATTRIBUTE, .values = {-1}, .expected = "`turn`: expected 0 to 255"},
};

static void hostile_cuts_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct error err = {0};
        struct replay_file *file;
        struct cut_record *cuts;
        int n;
        unlink(path);
        write_trace();
        do_damage(&damages[i]);
        must(replay_open(&file, path, key, &err), &err);
        enum status status = replay_read(&cuts, &n, file, 3, &err);
        if (status == OK)
            fail_msg("%s/%s was read, \"%s\" expected", damages[i].at, damages[i].name, damages[i].expected);
        expect_error(status, BAD_INPUT, &err, damages[i].expected);
        assert_non_null(strstr(err.text, "sample 3"));
        assert_null(cuts);
        assert_int_equal(n, 0);
        expect_sample(file, 4, 0, 0); /* the others can still be read */
        replay_close(file);
    }
}

/* Datasets that store nothing and claim much: each is within its limit, all of them are not. */
static void a_sample_has_so_many_values(void **state)
{
    (void)state;
    static const hsize_t n = 1 << 20;
    struct error err = {0};
    struct replay_file *replay;
    struct cut_record *cuts;
    int n_cuts;
    struct trace *trace = open_trace("{}");
    put(trace, key, 3, 0, 0);
    must(trace_close(trace, &err), &err);
    char name[100];
    snprintf(name, sizeof name, "/cells/%s/samples/3/cuts", key);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), group = H5Gopen2(file, name, H5P_DEFAULT);
    for (int i = 0; i < 100; i++) {
        static const char *const names[] = {"ids_in", "kept", "centres", "recycled", "cluster_of"};
        snprintf(name, sizeof name, "%d", i);
        hid_t cut = H5Gcreate2(group, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        hid_t scalar = H5Screate(H5S_SCALAR), space = H5Screate_simple(1, &n, NULL),
              one = H5Screate_simple(1, (const hsize_t[]){1}, NULL),
              none = H5Screate_simple(1, (const hsize_t[]){0}, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
        H5Pset_chunk(create, 1, &n);
        hid_t layer = H5Acreate2(cut, "layer", H5T_STD_I32LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(H5Awrite(layer, H5T_NATIVE_INT32, &i) >= 0);
        H5Aclose(layer);
        for (int k = 0; k < 5; k++) {
            hid_t shape = k >= 3 ? space : k == 1 ? none : one;
            H5Dclose(H5Dcreate2(cut, names[k], H5T_STD_I32LE, shape, H5P_DEFAULT,
                                k >= 3 ? create : H5P_DEFAULT, H5P_DEFAULT));
        }
        H5Pclose(create);
        H5Sclose(none);
        H5Sclose(one);
        H5Sclose(space);
        H5Sclose(scalar);
        H5Gclose(cut);
    }
    H5Gclose(group);
    H5Fclose(file);
    must(replay_open(&replay, path, key, &err), &err);
    expect_error(replay_read(&cuts, &n_cuts, replay, 3, &err), BAD_INPUT, &err,
                 "values; the trace is damaged");
    replay_close(replay);
}

static void write_text(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void set_params(const char *attribute, const char *text)
{
    struct error err = {0};
    struct trace *trace;
    unlink(path);
    must(trace_open(&trace, path, NULL, &err), &err);
    must(trace_cell(trace, key, *attribute == 'm' ? text : "fastv", *attribute == 'p' ? text : "{}", "m",
                    &err),
         &err);
    must(trace_close(trace, &err), &err);
}

static void what_is_no_trace_is_said(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    expect_error(replay_open(&file, path, key, &err), BAD_INPUT, &err, "no such trace");
    expect_error(replay_open(&file, "/tmp", key, &err), BAD_INPUT, &err, "/tmp: ");
    write_text("");
    expect_error(replay_open(&file, path, key, &err), BAD_INPUT, &err, "no HDF5 file");
    write_text("\x89PNG\r\n\x1a\n a picture");
    expect_error(replay_open(&file, path, key, &err), BAD_INPUT, &err, "no HDF5 file");
    write_text("\x89HDF\r\n\x1a\n and then nothing of use");
    expect_error(replay_open(&file, path, key, &err), BAD_INPUT, &err, "damaged or cut short");
    hid_t other = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(other);
    expect_error(replay_open(&file, path, key, &err), BAD_INPUT, &err,
                 "is no trace: it has no group `cells`");
    struct trace *trace;
    unlink(path);
    must(trace_open(&trace, path, NULL, &err), &err);
    must(trace_close(trace, &err), &err);
    expect_error(replay_open(&file, path, key, &err), BAD_INPUT, &err, "it has 0");
    set_params("method", "");
    expect_error(replay_open(&file, path, key, &err), BAD_INPUT, &err, "which method");
    static const char *const bad[] = {"", "{", "[1]", "3", "{\"a\":1}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        set_params("params", bad[i]);
        expect_error(replay_open(&file, path, key, &err), BAD_INPUT, &err, "params");
        assert_null(file);
    }
}

static void a_file_cut_short_is_refused(void **state)
{
    (void)state;
    write_trace();
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    fclose(file);
    for (long length = size - 1; length > 0; length -= length / 9 + 1) {
        struct error err = {0};
        struct replay_file *replay;
        assert_int_equal(truncate(path, length), 0);
        assert_int_equal(replay_open(&replay, path, key, &err), BAD_INPUT);
        assert_non_null(strstr(err.text, path));
    }
}

/* ---- while it is written -------------------------------------------------------------------- */

static void this_process_may_write_it_meanwhile(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    struct trace *trace = open_trace("{}");
    put(trace, key, 3, 0, N_CUTS);
    must(replay_open(&file, path, key, &err), &err);
    for (int i = 100; i < 180; i++) { /* crosses the places where the writer closes and opens the file */
        put(trace, key, i, 0, N_CUTS);
        expect_sample(file, i, 0, N_CUTS);
        expect_sample(file, 3, 0, N_CUTS);
    }
    must(trace_close(trace, &err), &err);
    expect_sample(file, 179, 0, N_CUTS);
    trace = open_trace("{}"); /* opened by its writer after its reader */
    put(trace, key, 3, 2, 1);
    expect_sample(file, 3, 2, 1);
    replay_close(file);
    put(trace, key, 5, 0, 1);
    must(trace_close(trace, &err), &err);
}

struct reader {
    const struct replay_file *file;
    int n_good;
};

static void *read_often(void *context)
{
    struct reader *reader = context;
    for (int i = 0; i < 100; i++) {
        struct error err = {0};
        struct cut_record *cuts;
        int n;
        reader->n_good += replay_read(&cuts, &n, reader->file, 3, &err) == OK && n == N_CUTS;
        replay_free(cuts, n);
    }
    return NULL;
}

static void threads_read_while_one_writes(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    struct trace *trace = open_trace("{}");
    put(trace, key, 3, 0, N_CUTS);
    must(replay_open(&file, path, key, &err), &err);
    struct reader readers[2] = {{.file = file}, {.file = file}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_often, &readers[i]), 0);
    for (int i = 100; i < 200; i++)
        put(trace, key, i, 0, N_CUTS);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].n_good, 100);
    }
    replay_close(file);
    must(trace_close(trace, &err), &err);
}

static void another_process_that_writes_it_is_named(void **state)
{
    (void)state;
    struct error err = {0};
    struct replay_file *file;
    int ready[2], done[2], status;
    char byte = 0;
    assert_true(pipe(ready) == 0 && pipe(done) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct trace *trace = open_trace("{}");
        if (write(ready[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1)
            _exit(1);
        _exit(trace_close(trace, &err) != OK);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    expect_error(replay_open(&file, path, key, &err), NO_MACHINE, &err, "another program writes it");
    assert_int_equal(write(done[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    must(replay_open(&file, path, key, &err), &err);
    replay_close(file);
}

int main(void)
{
    H5open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cuts_of_every_kind_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(indices_alone_are_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_sample_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cell_is_found_by_its_key_or_its_beginning, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trace_of_the_old_layout_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_cuts_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sample_has_so_many_values, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_trace_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_cut_short_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(this_process_may_write_it_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_read_while_one_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(another_process_that_writes_it_is_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
