/* Replays of hostile traces: refused with a message that names what is wrong, and nothing of HDF5's left
 * open. */
#include "replay_traces.h"

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

int main(void)
{
    H5open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hostile_cuts_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sample_has_so_many_values, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_trace_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_cut_short_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
