/* A trace as others read it: h5dump and Python's h5py, where they are installed, find the names, types,
 * shapes and attributes of the contract. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/trace.h"

#include <cmocka.h> /* last: its fail() would hide ours */

enum { TOKENS = 300, TEXT = 9 };

static char path[64];
static const char key[] = "0123456789abcdef0123456789abcdef";

static int setup(void **state)
{
    (void)state;
    static int32_t ids[TOKENS], kept[] = {0, 2, 3}, recycled[] = {4, 1}, centres[] = {4}, cluster[] = {0, 0},
                                raters[] = {1, 3}, group_of[6] = {0, 1, -1};
    static float weight[] = {.5F, .5F}, score[TOKENS], attention[TEXT * TOKENS];
    static uint8_t rgb[50 * 40 * 3];
    for (int i = 0; i < TOKENS; i++) {
        ids[i] = i;
        score[i] = (float)i / TOKENS;
    }
    struct cut_record records[] = {{.site = SITE_DECODER,
                                    .layer = 2,
                                    .n_in = TOKENS,
                                    .ids_in = ids,
                                    .n_kept = 3,
                                    .n_recycled = 2,
                                    .n_clusters = 1,
                                    .n_raters = 2,
                                    .rank = 2,
                                    .kept = kept,
                                    .recycled = recycled,
                                    .centres = centres,
                                    .cluster_of = cluster,
                                    .weight = weight,
                                    .raters = raters,
                                    .group_of = group_of,
                                    .n_group_of = 6,
                                    .score = score}};
    struct ledger_layer layers[] = {{.visual_in = TOKENS}, {.visual_in = 4}};
    struct attention_record attentions[] = {{.layer = 2, .rows = TEXT, .cols = TOKENS, .data = attention}};
    const struct answer answer = {.ledger = {.n_layers = 2, .layers = layers},
                                  .records = records,
                                  .n_records = 1,
                                  .attention = attentions,
                                  .n_attention = 1};
    const struct image image = {.width = 50, .height = 40, .rgb = rgb};
    struct error err;
    struct trace *trace;
    snprintf(path, sizeof path, "/tmp/winnow-trace-tools-%ld.h5", (long)getpid());
    unlink(path);
    if (trace_open(&trace, path, NULL, &err) != OK ||
        trace_cell(trace, key, "sparsevlm", "{\"tau\":0.3}", "models/m", &err) != OK ||
        trace_sample(trace, key,
                     &(struct trace_sample){.sample_id = 7,
                                            .question = "Wo ist der B\xc3\xa4r?",
                                            .answer = "links",
                                            .image = &image,
                                            .n_grids = 1,
                                            .grid_rows = 15,
                                            .grid_cols = 20,
                                            .result = &answer},
                     &err) != OK ||
        trace_close(trace, &err) != OK) {
        printf("%s\n", err.text);
        return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

/* What a command prints; "" where it fails. */
static const char *output(const char *command)
{
    static char text[1 << 16];
    FILE *pipe = popen(command, "r");
    size_t n = pipe ? fread(text, 1, sizeof text - 1, pipe) : 0;
    text[n] = 0;
    if (pipe == NULL || pclose(pipe) != 0)
        text[0] = 0;
    return text;
}

static void h5dump_finds_the_contract(void **state)
{
    (void)state;
    if (system("command -v h5dump >/dev/null") != 0) {
        printf("skipped: h5dump is not installed (package hdf5-tools)\n");
        skip();
    }
    static const struct {
        const char *name, *type, *space; /* space: of a dataset; NULL: an attribute */
    } expected[] = {{"", "ATTRIBUTE \"method\"", NULL},
                    {"", "ATTRIBUTE \"params\"", NULL},
                    {"", "ATTRIBUTE \"model\"", NULL},
                    {"", "ATTRIBUTE \"units\"", NULL},
                    {"samples/7/image", "H5T_STD_U8LE", "( 40, 50, 3 )"},
                    {"samples/7/grid", "H5T_STD_I32LE", "( 1, 2 )"},
                    {"samples/7/question", "H5T_CSET_UTF8", "SCALAR"},
                    {"samples/7/answer", "H5T_CSET_UTF8", "SCALAR"},
                    {"samples/7/visual_count", "H5T_STD_I32LE", "( 2 )"},
                    {"samples/7/cuts/0", "ATTRIBUTE \"layer\"", NULL},
                    {"samples/7/cuts/0/kept", "H5T_STD_I32LE", "( 3 )"},
                    {"samples/7/cuts/0/recycled", "H5T_STD_I32LE", "( 2 )"},
                    {"samples/7/cuts/0/centres", "H5T_STD_I32LE", "( 1 )"},
                    {"samples/7/cuts/0/cluster_of", "H5T_STD_I32LE", "( 2 )"},
                    {"samples/7/cuts/0/score", "H5T_IEEE_F32LE", "( 300 )"},
                    {"samples/7/cuts/0/raters", "H5T_STD_I32LE", "( 2 )"},
                    {"samples/7/cuts/0/rank", "H5T_STD_I32LE", "( 1 )"},
                    {"samples/7/cuts/0/group_of", "H5T_STD_I32LE", "( 6 )"},
                    {"samples/7/attention/2", "H5T_IEEE_F32LE", "( 9, 300 )"}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char command[400];
        snprintf(command, sizeof command, "h5dump -pH -%c /cells/%s/%s %s 2>&1",
                 expected[i].space ? 'd' : 'g', key, expected[i].name, path);
        const char *text = output(command);
        if (strstr(text, expected[i].type) == NULL ||
            (expected[i].space && strstr(text, expected[i].space) == NULL))
            fail_msg("%s: expected %s %s, found:\n%s", expected[i].name, expected[i].type,
                     expected[i].space ? expected[i].space : "", text);
    }
    char command[400]; /* the filters are HDF5's own: its values come back */
    snprintf(command, sizeof command, "h5dump -pd /cells/%s/samples/7/cuts/0/ids_in %s 2>&1", key, path);
    const char *text = output(command);
    assert_non_null(strstr(text, "CHUNKED ( 300 )"));
    assert_non_null(strstr(text, "COMPRESSION DEFLATE"));
    assert_non_null(strstr(text, " 299\n"));
}

static void h5py_finds_the_contract(void **state)
{
    (void)state;
    if (system("python3 -c 'import h5py' 2>/dev/null") != 0) {
        printf("skipped: python3 has no h5py\n");
        skip();
    }
    char command[2000];
    snprintf(command, sizeof command,
             "python3 - <<'END' 2>&1\n"
             "import h5py, json\n"
             "c = h5py.File('%s', 'r')['cells/%s']\n"
             "assert set(c.attrs) >= {'method', 'params', 'model', 'units'}, list(c.attrs)\n"
             "assert c.attrs['method'] == 'sparsevlm' and json.loads(c.attrs['params'])['tau'] == 0.3\n"
             "s = c['samples/7']\n"
             "assert s['question'][()].decode() == 'Wo ist der B\\u00e4r?', s['question'][()]\n"
             "assert s['image'].shape == (40, 50, 3) and s['image'].dtype == 'uint8'\n"
             "assert s['grid'][:].tolist() == [[15, 20]] and s['visual_count'][:].tolist() == [300, 4]\n"
             "k = s['cuts/0']\n"
             "assert k.attrs['layer'] == 2 and k['kept'][:].tolist() == [0, 2, 3]\n"
             "assert k['score'].dtype == 'float32' and abs(k['score'][150] - .5) < 1e-6\n"
             "assert k['score'].chunks and k['score'].compression == 'gzip'\n"
             "assert k['ids_in'][:].tolist() == list(range(300))\n"
             "assert s['attention/2'].shape == (9, 300)\n"
             "print('all well')\n"
             "END\n",
             path, key);
    const char *text = output(command);
    if (strcmp(text, "all well\n") != 0)
        fail_msg("h5py: %s", text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(h5dump_finds_the_contract),
        cmocka_unit_test(h5py_finds_the_contract),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
