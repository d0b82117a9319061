/* Sweep files: what is read, what is refused and with which line, how axes become cells, and keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/choose.h"
#include "harness/grid.h"
#include "harness/sweep_file.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static const char head[] = "name: t\n"
                           "benchmarks:\n"
                           "  - {name: mini-pope, limit: 10}\n";

static char path[64];

static void write_file(const char *first, const char *rest)
{
    snprintf(path, sizeof path, "/tmp/winnow-sweep-%ld.yaml", (long)getpid());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%s%s", first, rest);
    fclose(file);
}

static enum status read_text(struct sweep *out, const char *first, const char *rest, struct error *err)
{
    write_file(first, rest);
    enum status status = sweep_read(out, path, NULL, 0, err);
    unlink(path);
    return status;
}

/* The message must name this line and contain this text. */
static void refuse(const char *first, const char *rest, int line, const char *text)
{
    struct sweep sweep;
    struct error err = {0};
    char place[100];
    assert_int_equal(read_text(&sweep, first, rest, &err), BAD_INPUT);
    snprintf(place, sizeof place, "%s:%d: ", path, line);
    if (strncmp(err.text, place, strlen(place)) != 0 || strstr(err.text, text) == NULL)
        fail_msg("expected \"%s...%s...\", found \"%s\"", place, text, err.text);
}

static void everything_is_read(void **state)
{
    (void)state;
    struct sweep sweep;
    struct error err = {0};
    static const char text[] = "name: budgets\n"
                               "model: [a, b]\n"
                               "data: somewhere\n"
                               "device: cpu\n"
                               "dtype: bf16\n"
                               "match: tokens_in\n"
                               "protocol: llava\n"
                               "max_new_tokens: 7\n"
                               "benchmarks:\n"
                               "  - {name: mini-pope, limit: 100, split: tune, image_mode: crop}\n"
                               "  - mini-gqa\n"
                               "methods:\n"
                               "  - vanilla\n"
                               "  - {name: sparsevlm, budget: 64, params: {layers: [2, 6], tau: 0.4},\n"
                               "     axes: {recycle: [on, off], control: [none, blank]}}\n"
                               "controls: [blank, no-image]\n"
                               "timing: {samples: 20, repeats: 5, processes: 1}\n"
                               "trace: {samples: all, keep: cuts, limit: 1.5 GB, attention: [2, 6, 15]}\n";
    if (read_text(&sweep, text, "", &err) != OK)
        fail_msg("%s", err.text);
    assert_string_equal(sweep.name, "budgets");
    assert_int_equal(sweep.n_models, 2);
    assert_string_equal(sweep.models[1], "b");
    assert_int_equal(sweep.dtype, DTYPE_CHOICE_BF16);
    assert_int_equal(sweep.match, MATCH_TOKENS_IN);
    assert_int_equal(sweep.n_benchmarks, 2);
    assert_int_equal(sweep.benchmarks[0].split, SPLIT_TUNE);
    assert_int_equal(sweep.benchmarks[0].limit, 100);
    assert_int_equal(sweep.benchmarks[0].image_mode, IMAGE_MODE_CROP);
    assert_int_equal(sweep.benchmarks[1].image_mode, IMAGE_MODE_PAD);
    assert_int_equal(sweep.benchmarks[1].max_new_tokens, 7);
    assert_string_equal(sweep.benchmarks[1].template, "vicuna_v1");
    assert_int_equal(sweep.n_methods, 2);
    const struct sweep_method *method = &sweep.methods[1];
    assert_int_equal(method->n_settings, 3);
    assert_string_equal(method->settings[1].key, "layers");
    assert_string_equal(method->settings[1].value, "2,6");
    assert_int_equal(method->n_axes, 2);
    assert_string_equal(method->axes[0].values[1], "off");
    assert_int_equal(sweep.n_controls, 2);
    assert_int_equal(sweep.timing.repeats, 5);
    assert_int_equal(sweep.trace.samples, -1);
    assert_true(sweep.trace.cuts_only);
    assert_int_equal(sweep.trace.limit, 1500000000);
    assert_int_equal(sweep.trace.attention[2], 15);
    sweep_free(&sweep);
}

static void errors_name_the_line(void **state)
{
    (void)state;
    refuse(head, "methods: [vanilla]\nmehtods: [vanilla]\n", 5,
           "unknown key 'mehtods'; its keys: name, model");
    refuse(head, "methods:\n  - {name: sparsvlm}\n", 5, "unknown method 'sparsvlm'; the methods: vanilla");
    refuse(head, "methods:\n  - {name: sparsevlm, params: {tua: 0.3}}\n", 5, "unknown parameter 'tua'");
    refuse(head, "methods:\n  - {name: sparsevlm,\n     params: {tau: 3}}\n", 6, "tau");
    refuse(head, "methods:\n  - name: sparsevlm\n    axes:\n      recycle: [on, maybe]\n", 7,
           "one of on|off");
    refuse(head, "methods:\n  - name: sparsevlm\n    axes:\n      budget: []\n", 7, "the list is empty");
    refuse(head, "methods:\n  - name: sparsevlm\n    axes:\n      budget: 64\n", 7, "expected a list");
    refuse(head, "methods:\n  - {name: sparsevlm, budget: 0}\n", 5, "no-image");
    refuse(head, "methods:\n  - {name: sparsevlm, match: nearest}\n", 5, "tokens_in");
    refuse(head, "methods:\n  - {name: sparsevlm, axes: {control: [grey]}}\n", 5,
           "none, blank, mismatched, no-image");
    refuse(head, "methods:\n  - {name: fastv, budget: 64, axes: {budget: [64]}}\n", 5, "given twice");
    refuse(head, "methods: []\n", 4, "the list is empty");
    refuse(head, "methods: vanilla\n", 4, "expected a list");
    refuse(head, "", 1, "`methods` is missing");
    refuse(head, "methods: [vanilla]\ncontrols: [blank, blank]\n", 5, "stands twice");
    refuse(head, "methods: [vanilla]\ntiming: {samples: many}\n", 5, "whole number from 1");
    refuse(head, "methods: [vanilla]\ntiming: {processes: 3}\n", 5, "one process");
    refuse(head, "methods: [vanilla]\ntrace: {samples: 0}\n", 5, "whole number from 1");
    refuse(head, "methods: [vanilla]\ntrace: {limit: 1000}\n", 5, "with its unit, as in 500MB or 1GiB");
    refuse(head, "methods: [vanilla]\ntrace: {limit: 1 KB}\n", 5, "at least 100KB");
    refuse(head, "methods: [vanilla]\ntrace: {limit: -1GB}\n", 5, "found '-1GB'");
    refuse(head, "methods: [vanilla]\nname: again\n", 5, "stands twice");
    refuse(head, "methods: [vanilla]\ndtype: f8\n", 5, "auto, f32, bf16, f16");
    refuse(head, "methods: [vanilla]\nname: [\n", 6, "no valid YAML");
    refuse(head, "methods: [vanilla]\n---\nname: u\n", 6, "second document");
    refuse(head, "methods: [vanilla]\n---\n[\n", 7, "no valid YAML");
    refuse(head, "methods: [vanilla]\ntiming: {samples: \"100\"}\n", 5, "whole number from 1");
    refuse("name: t\nbenchmarks: [mini-popes]\n", "methods: [vanilla]\n", 2,
           "unknown benchmark 'mini-popes'");
    refuse("name: t\nbenchmarks:\n - {name: mini-pope, limit: -3}\n", "methods: [vanilla]\n", 3, "limit");
    refuse("name: t\nbenchmarks:\n - {name: mini-pope, split: half}\n", "methods: [vanilla]\n", 3, "tune");
    refuse("name: ../t\n", "", 1, "name of a folder");
    refuse("- a\n", "", 1, "expected `key: value`");
    refuse("name:\n", "", 1, "empty");
}

static void hostile_yaml_is_survived(void **state)
{
    (void)state;
    struct sweep sweep;
    struct error err = {0};
    static const char *const texts[] = {"",
                                        "&a [*a]\n",
                                        "&a {name: *a}\n",
                                        "name: &a [*a, *a]\nbenchmarks: *a\nmethods: *a\n",
                                        "name: \"a\\0b\"\n",
                                        "? [a, b]\n: c\n",
                                        "\xff\xfe",
                                        "name: \xc3\x28\n",
                                        "!!binary x: y\n",
                                        "name: t\n...\n---\nname: u\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(read_text(&sweep, texts[i], "", &err), BAD_INPUT);
    char *deep = malloc(20001);
    memset(deep, '[', 20000);
    deep[20000] = 0;
    assert_int_equal(read_text(&sweep, "name: ", deep, &err), BAD_INPUT);
    free(deep);
}

static void overrides_are_checked_like_the_file(void **state)
{
    (void)state;
    struct sweep sweep;
    struct error err = {0};
    static const char rest[] = "methods:\n"
                               "  - {name: sparsevlm, axes: {budget: [192, 128]}}\n"
                               "  - {name: sparsevlm, budget: 64}\n";
    static const char *const sets[] = {"benchmarks.mini-pope.limit=3", "methods.0.axes.budget=[64]",
                                       "model=m", "methods.sparsevlm.params.tau=0.5", "timing.samples=2"};
    write_file(head, rest);
    if (sweep_read(&sweep, path, sets, 5, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(sweep.benchmarks[0].limit, 3);
    assert_string_equal(sweep.models[0], "m");
    assert_int_equal(sweep.methods[0].axes[0].n, 1);
    assert_string_equal(sweep.methods[0].axes[0].values[0], "64");
    assert_string_equal(sweep.methods[0].settings[0].value, "0.5");
    assert_string_equal(sweep.methods[1].settings[1].value, "0.5");
    assert_int_equal(sweep.timing.samples, 2);
    sweep_free(&sweep);
    static const struct {
        const char *set, *text;
    } wrong[] = {{"benchmarks.mini-pope.limit=x", "--set benchmarks.mini-pope.limit=x: limit"},
                 {"benchmarks.pope.limit=3", "no element 'pope'; it has: mini-pope (or by number: 0 to 0)"},
                 {"methods.fastv.budget=3", "no element 'fastv'; it has: sparsevlm (or by number: 0 to 1)"},
                 {"methods.2.budget=3", "no element '2'"},
                 {"methods.sparsevlm.axis.tau=[0.5]", "unknown key 'axis'"},
                 {"methods.sparsevlm.axes.tua=[0.5]", "unknown parameter 'tua'"},
                 {"methods..budget=3", "empty or too long"},
                 {"naem=x", "unknown key 'naem'"},
                 {"name", "expected PATH=VALUE"},
                 {"name.x=3", "nothing below"},
                 {"name=", "empty"},
                 {"name=[", "no valid YAML"},
                 {"methods.sparsevlm.params.tau=7", "tau"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(sweep_read(&sweep, path, &wrong[i].set, 1, &err), BAD_INPUT);
        if (strstr(err.text, wrong[i].text) == NULL)
            fail_msg("--set %s: expected \"%s\", found \"%s\"", wrong[i].set, wrong[i].text, err.text);
    }
    unlink(path);
}

/* The arms' labels after one --set, one a line. */
static void expect_arms(const char *rest, const char *set, const char *labels)
{
    struct sweep sweep;
    struct grid grid;
    struct error err = {0};
    char found[600] = "";
    write_file(head, rest);
    enum status status = sweep_read(&sweep, path, &set, 1, &err);
    unlink(path);
    if (status != OK || grid_make(&grid, &sweep, 0, &err) != OK)
        fail_msg("%s", err.text);
    for (int i = 0; i < grid.n_arms; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s\n", grid.arms[i]->label);
    assert_string_equal(found, labels);
    grid_free(&grid);
    sweep_free(&sweep);
}

static void an_override_reaches_what_its_path_names(void **state)
{
    (void)state;
    static const char rest[] = "methods:\n"
                               "  - vanilla\n"
                               "  - {name: sparsevlm, axes: {budget: [192, 128]}}\n"
                               "  - {name: sparsevlm, params: {budget: 64}, axes: {recycle: [off]}}\n";
    /* Of two entries of one name the one that has the path: in the other the budget would be given twice. */
    expect_arms(rest, "methods.sparsevlm.axes.budget=[96]",
                "vanilla\nsparsevlm budget=96\nsparsevlm budget=64 recycle=off\n");
    expect_arms(rest, "methods.sparsevlm.params.budget=96",
                "vanilla\nsparsevlm budget=192\nsparsevlm budget=128\nsparsevlm budget=96 recycle=off\n");
    /* Where none has it, all, and keys that are not there are made. */
    expect_arms(rest, "methods.sparsevlm.params.tau=0.5",
                "vanilla\nsparsevlm tau=0.5 budget=192\nsparsevlm tau=0.5 budget=128\n"
                "sparsevlm budget=64 tau=0.5 recycle=off\n");
    /* A bare name is an element like any other. */
    expect_arms(rest, "methods.vanilla.control=blank",
                "vanilla control=blank\nsparsevlm budget=192\nsparsevlm budget=128\n"
                "sparsevlm budget=64 recycle=off\n");
    expect_arms(
        rest, "methods.0={name: fastv, budget: 64}",
        "fastv budget=64\nsparsevlm budget=192\nsparsevlm budget=128\nsparsevlm budget=64 recycle=off\n");
    /* What an anchor shares is changed where the path leads, and nowhere else. */
    expect_arms("methods:\n"
                "  - {name: sparsevlm, axes: &a {budget: [192, 128]}}\n"
                "  - {name: fastv, axes: *a}\n",
                "methods.sparsevlm.axes.budget=[64]",
                "sparsevlm budget=64\nfastv budget=192\nfastv budget=128\n");
}

static void a_twin_stands_in_without_data(void **state)
{
    (void)state;
    struct sweep sweep;
    struct error err = {0};
    static const char text[] =
        "name: t\n"
        "benchmarks:\n"
        "  - {name: pope, limit: 300, split: tune, without_data: {name: mini-pope, limit: 60}}\n"
        "  - {name: gqa, limit: 20, max_new_tokens: 9, without_data: mini-gqa}\n"
        "  - {name: mme, questions: own.jsonl, without_data: mini-mme}\n"
        "  - seed\n"
        "methods: [vanilla]\n";
    if (read_text(&sweep, text, "", &err) != OK)
        fail_msg("%s", err.text);
    assert_string_equal(sweep.benchmarks[0].name, "pope");
    assert_int_equal(sweep.benchmarks[0].limit, 300);
    sweep_stand_in(&sweep);
    assert_string_equal(sweep.benchmarks[0].name, "mini-pope");
    assert_string_equal(sweep.benchmarks[0].stands_in_for, "pope");
    assert_int_equal(sweep.benchmarks[0].limit, 60);
    assert_int_equal(sweep.benchmarks[0].split, SPLIT_TUNE);
    assert_string_equal(sweep.benchmarks[1].name, "mini-gqa");
    assert_int_equal(sweep.benchmarks[1].limit, 20);
    assert_int_equal(sweep.benchmarks[1].max_new_tokens, 9);
    assert_string_equal(sweep.benchmarks[2].name, "mme"); /* it names its own questions */
    assert_string_equal(sweep.benchmarks[3].name, "seed");
    sweep_free(&sweep);
    static const char *const sets[] = {"benchmarks.mini-pope.limit=5", "benchmarks.gqa.limit=4"};
    write_file(text, "");
    if (sweep_read(&sweep, path, sets, 2, &err) != OK)
        fail_msg("%s", err.text);
    unlink(path);
    sweep_stand_in(&sweep);
    assert_int_equal(sweep.benchmarks[0].limit, 5);
    assert_int_equal(sweep.benchmarks[1].limit, 4);
    sweep_free(&sweep);
    refuse("name: t\nbenchmarks:\n - {name: pope, without_data: gqa}\n", "methods: [vanilla]\n", 3,
           "expected a generated twin, as mini-pope");
    refuse("name: t\nbenchmarks:\n - {name: pope, without_data: {name: mini-pope, questions: q}}\n",
           "methods: [vanilla]\n", 3, "unknown key 'questions'");
}

static void equal_configurations_are_one_cell(void **state)
{
    (void)state;
    struct sweep sweep;
    struct grid grid;
    struct error err = {0};
    static const char rest[] =
        "methods:\n"
        "  - vanilla\n"
        "  - {name: vanilla, match: tokens_in}\n" /* no budget: match means nothing */
        "  - {name: sparsevlm, axes: {budget: [192, 128, 64], recycle: [on, off]}}\n"
        "  - {name: sparsevlm, budget: 64, params: {tau: 0.3, recycle: on}}\n" /* defaults */
        "  - {name: random, budget: 64, axes: {seed: [0, 1]}}\n"
        "  - {name: random, budget: 64}\n"                                            /* --seed 0 */
        "  - {name: random, budget: 64, params: {like: fastv, positions: compact}}\n" /* at the input */
        "  - {name: random, budget: 64, params: {at: decoder}}\n"
        "  - {name: random, budget: 64, params: {at: decoder, positions: compact}}\n" /* sparsevlm's */
        "  - {name: random, budget: 64, params: {at: decoder, like: fastv}}\n"
        "  - {name: random, budget: 64, params: {at: decoder, like: fastv, positions: original}}\n"
        "controls: [none, blank]\n";
    if (read_text(&sweep, head, rest, &err) != OK || grid_make(&grid, &sweep, 0, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(grid.n_arms, 1 + 6 + 2 + 2 + 1);
    assert_int_equal(grid.n_cells, 0); /* no model is named: the sweep adds the built-in one */
    assert_string_equal(grid.arms[1]->label, "sparsevlm budget=192 recycle=on");
    assert_string_equal(grid.arms[2]->budget, "192");
    assert_null(grid.arms[0]->match);
    assert_int_equal(grid.arms[8]->seed, 1);
    assert_non_null(strstr(grid.arms[7]->params, "\"seed\":0"));
    assert_int_equal(grid.arms[11]->control, CONTROL_BLANK);
    grid_free(&grid);
    sweep_free(&sweep);
}

static void benchmarks_that_differ_by_limit_are_one(void **state)
{
    (void)state;
    struct sweep sweep;
    struct grid grid;
    struct error err = {0};
    static const char text[] =
        "name: t\nmodel: m\nbenchmarks: [{name: mini-pope, limit: 3}, {name: mini-pope, limit: 9},"
        " {name: mini-pope, limit: 12, max_new_tokens: 128}," /* the benchmark's own answer limit */
        " {name: mini-pope, split: tune}]\n"
        "methods: [vanilla]\n";
    if (read_text(&sweep, text, "", &err) != OK || grid_make(&grid, &sweep, 0, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(grid.n_cells, 2);
    assert_int_equal(sweep.benchmarks[grid.cells[0].benchmark].limit, 12);
    grid_free(&grid);
    sweep_free(&sweep);
}

static void a_grid_too_large_is_refused(void **state)
{
    (void)state;
    struct sweep sweep;
    struct grid grid;
    struct error err = {0};
    char text[16384] = "methods: [{name: sparsevlm, axes: {budget: [";
    for (int i = 1; i <= 400; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d", i > 1 ? ", " : "", i);
    snprintf(text + strlen(text), sizeof text - strlen(text), "], tau: [");
    for (int i = 1; i <= 400; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s0.%03d", i > 1 ? ", " : "", i);
    snprintf(text + strlen(text), sizeof text - strlen(text), "]}}]\n");
    if (read_text(&sweep, head, text, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(grid_make(&grid, &sweep, 0, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, ":4: "));
    sweep_free(&sweep);
}

static void keys_hash_what_answers_depend_on(void **state)
{
    (void)state;
    struct key_parts parts = {.weights_sha = "w",
                              .files_sha = "f",
                              .template = "vicuna_v1",
                              .image_mode = "pad",
                              .max_new_tokens = 16,
                              .arm = "method=vanilla\ncontrol=none\nseed=0\n",
                              .split = "all",
                              .backend = "cpu",
                              .dtype = "f32"};
    char key[KEY_SIZE], again[KEY_SIZE], other[KEY_SIZE], *canonical;
    struct error err = {0};
    assert_int_equal(key_make(key, &canonical, &parts, &err), OK);
    assert_int_equal(strlen(key), 32);
    assert_non_null(strstr(canonical, "numerics="));
    free(canonical);
    assert_int_equal(key_make(again, &canonical, &parts, &err), OK);
    free(canonical);
    assert_string_equal(key, again);
    parts.split = "tune";
    assert_int_equal(key_make(other, &canonical, &parts, &err), OK);
    free(canonical);
    assert_string_not_equal(key, other);
}

/* ---- choice of samples ---------------------------------------------------------------------- */

enum { N_ROWS = 300 };

static void make_dataset(struct dataset *data, struct sample *samples, char names[][32])
{
    *data = (struct dataset){.name = "mini-pope", .samples = samples, .n = N_ROWS};
    for (int i = 0; i < N_ROWS; i++) {
        snprintf(names[i], 32, "image-%d", i / 3);
        snprintf(names[N_ROWS + i], 32, "group-%d", i / 2);
        samples[i] =
            (struct sample){.row = i, .image = names[i], .cluster = names[i], .group = names[N_ROWS + i]};
    }
}

static void a_larger_limit_only_adds(void **state)
{
    (void)state;
    static struct sample samples[N_ROWS];
    static char names[2 * N_ROWS][32];
    struct dataset data;
    struct error err = {0};
    int *all, n_all;
    make_dataset(&data, samples, names);
    assert_int_equal(choose_samples(&all, &n_all, &data, &(struct choice){0}, &err), OK);
    assert_int_equal(n_all, N_ROWS);
    for (int limit = 1; limit < 40; limit++) {
        int *rows, n;
        assert_int_equal(choose_samples(&rows, &n, &data, &(struct choice){.limit = limit}, &err), OK);
        assert_int_equal(n, limit / 2 * 2); /* groups of two, whole */
        assert_memory_equal(rows, all, (size_t)n * sizeof *rows);
        free(rows);
    }
    free(all);
}

static void splits_and_shards_part_the_clusters(void **state)
{
    (void)state;
    static struct sample samples[N_ROWS];
    static char names[2 * N_ROWS][32];
    static int seen[N_ROWS];
    struct dataset data;
    struct error err = {0};
    make_dataset(&data, samples, names);
    memset(seen, 0, sizeof seen);
    for (int part = 0; part < 6; part++) {
        const struct choice choice = {
            .split = part % 2 ? SPLIT_TUNE : SPLIT_CONFIRM, .shard = part / 2 + 1, .n_shards = 3};
        int *rows, n;
        assert_int_equal(choose_samples(&rows, &n, &data, &choice, &err), OK);
        assert_true(n > 0);
        for (int i = 0; i < n; i++) {
            assert_int_equal(seen[rows[i]], 0);
            for (int j = rows[i] / 3 * 3; j < rows[i] / 3 * 3 + 3; j++)
                assert_true(seen[j] == 0 || seen[j] == part + 1 || j == rows[i]);
            seen[rows[i]] = part + 1;
        }
        free(rows);
    }
    for (int i = 0; i < N_ROWS; i++)
        assert_true(seen[i] != 0 && seen[i] == seen[i / 3 * 3]);
}

static void mismatched_pictures_are_a_derangement(void **state)
{
    (void)state;
    static struct sample samples[N_ROWS];
    static char names[2 * N_ROWS][32];
    static int n_shown[N_ROWS];
    struct dataset data;
    struct error err = {0};
    make_dataset(&data, samples, names);
    samples[7].image = NULL;
    for (uint64_t seed = 0; seed < 20; seed++) {
        int *shown;
        memset(n_shown, 0, sizeof n_shown);
        assert_int_equal(choose_mismatched(&shown, &data, seed, &err), OK);
        assert_int_equal(shown[7], -1);
        for (int i = 0; i < N_ROWS; i++) {
            if (i == 7)
                continue;
            assert_string_not_equal(samples[shown[i]].image, samples[i].image);
            if (i % 3 == 0)
                n_shown[shown[i] / 3]++;
        }
        for (int i = 0; i < N_ROWS / 3; i++)
            assert_int_equal(n_shown[i], 1);
        free(shown);
    }
    for (int i = 0; i < N_ROWS; i++)
        samples[i].image = "one.png";
    int *shown;
    assert_int_equal(choose_mismatched(&shown, &data, 0, &err), BAD_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_read),
        cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(hostile_yaml_is_survived),
        cmocka_unit_test(overrides_are_checked_like_the_file),
        cmocka_unit_test(an_override_reaches_what_its_path_names),
        cmocka_unit_test(a_twin_stands_in_without_data),
        cmocka_unit_test(equal_configurations_are_one_cell),
        cmocka_unit_test(benchmarks_that_differ_by_limit_are_one),
        cmocka_unit_test(a_grid_too_large_is_refused),
        cmocka_unit_test(keys_hash_what_answers_depend_on),
        cmocka_unit_test(a_larger_limit_only_adds),
        cmocka_unit_test(splits_and_shards_part_the_clusters),
        cmocka_unit_test(mismatched_pictures_are_a_derangement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
