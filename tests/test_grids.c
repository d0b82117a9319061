/* The built-in grids on real files: which benchmarks a tree of LLaVA's evaluation holds, what is said of
 * those it lacks, that what is there runs all the same, and which generated twin stands in where there is no
 * tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "harness/builtin.h"
#include "harness/grid.h"
#include "tests/shared.h"

#include <cmocka.h> /* last: its fail() would hide ours */

enum { TABLE1_ARMS = 37, TABLE1_BENCHMARKS = 8, COMMAND_SIZE = 4096 };

static char
    folder[64]; /* of this run; LLaVA is in it, the repository whose tree of evaluation is made below */

/* ---- a tree --------------------------------------------------------------------------------- */

/* A file of the scoring data where LLaVA's docs/Evaluation.md wants it. */
static const struct {
    const char *place, *shared;
} tree[] = {
    {"pope/llava_pope_test.jsonl", "pope/mini4/llava_pope_mini4.jsonl"},
    {"pope/coco", "pope/mini4/coco"},
    {"pope/val2014", "pope/mini4/images"},
    {"mmbench/mmbench_dev_20230712.tsv", "mmbench/mmbench_dev_20230712.noimage.tsv"},
    /* no pictures: */
    {"MME/llava_mme.jsonl", "mme/llava_mme.jsonl"},
    {"scienceqa/llava_test_CQM-A.json", "scienceqa/llava_test_CQM-A.json"},
    {"scienceqa/problems.json", "scienceqa/problems.json"},
    {"scienceqa/pid_splits.json", "scienceqa/pid_splits.json"},
    {"mm-vet/llava-mm-vet.jsonl", "mmvet/llava-mm-vet.jsonl"},
    {"mm-vet/mm-vet.json", "mmvet/mm-vet.json"},
    {"gqa/llava_gqa_testdev_balanced.jsonl", "gqa/llava_gqa_testdev_balanced.jsonl"},
    /* seed and textvqa: nothing */
};

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The exit status of a command of the shell. */
static int run(const char *format, ...)
{
    char command[COMMAND_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(command, sizeof command, format, args);
    va_end(args);
    assert_in_range(n, 1, COMMAND_SIZE - 1);
    int how = system(command);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

/* False where the scoring data is not here. */
static bool make_tree(void)
{
    char data[SHARED_PATH], target[SHARED_PATH + 100], link[512];
    if (shared_path(data, sizeof data, "data/scoring/pope/mini4/images") == NULL)
        return false;
    shared_path(data, sizeof data, "data/scoring");
    char *whole = realpath(data, NULL);
    assert_non_null(whole);
    for (size_t i = 0; i < sizeof tree / sizeof *tree; i++) {
        snprintf(target, sizeof target, "%s/%s", whole, tree[i].shared);
        snprintf(link, sizeof link, "%s/LLaVA/playground/data/eval/%s", folder, tree[i].place);
        assert_int_equal(run("mkdir -p '%.*s'", (int)(strrchr(link, '/') - link), link), 0);
        assert_true(symlink(target, link) == 0 || access(link, R_OK) == 0);
    }
    free(whole);
    return true;
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/winnow-grids-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return run("rm -rf '%s'", folder);
}

/* ---- sweeps --------------------------------------------------------------------------------- */

/* `winnow sweep … --json`: its document (NULL: none), of a sweep that runs the last event, and exit status;
 * what it says on stderr is in FOLDER/err. */
static json_t *sweep(int *status, const char *arguments)
{
    char path[128];
    snprintf(path, sizeof path, "%s/out.json", folder);
    *status = run("cd '%s' && '%s' sweep %s --json >out.json 2>err", folder, WINNOW_EXECUTABLE, arguments);
    if (strstr(arguments, "--plan") == NULL) /* events, one a line */
        run("cd '%s' && tail -n 1 out.json >end.json && mv end.json out.json", folder);
    return json_load_file(path, 0, NULL);
}

static bool said(const char *text)
{
    return run("grep -qF -- '%s' '%s/err'", text, folder) == 0;
}

/* The one that --plan says of a benchmark. */
static const json_t *planned(const json_t *plan, const char *benchmark)
{
    const json_t *model = json_array_get(json_object_get(plan, "models"), 0), *entry;
    size_t i;
    json_array_foreach(json_object_get(model, "benchmarks"), i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "benchmark")), benchmark) == 0)
            return entry;
    }
    fail_msg("the plan does not name %s", benchmark);
    return NULL;
}

/* Cells of a plan or a result: all, or those with a reason. */
static int count_cells(const json_t *document, const char *benchmark, bool infeasible)
{
    const json_t *cells = json_object_get(document, "cells"), *cell;
    size_t i;
    int n = 0;
    if (cells == NULL)
        cells = json_object_get(json_array_get(json_object_get(document, "models"), 0), "cells");
    json_array_foreach(cells, i, cell)
    {
        bool has_reason = json_is_string(json_object_get(cell, "reason"));
        n += (!infeasible || has_reason) &&
             (!benchmark || strcmp(json_string_value(json_object_get(cell, "benchmark")), benchmark) == 0);
    }
    return n;
}

static void expect_missing(const json_t *plan, const char *benchmark, const char *text)
{
    const char *missing = json_string_value(json_object_get(planned(plan, benchmark), "missing"));
    if (missing == NULL || strstr(missing, text) == NULL || strstr(missing, "published at http") == NULL)
        fail_msg("%s: expected \"...%s...\" as missing, found \"%s\"", benchmark, text,
                 missing ? missing : "nothing");
    assert_int_equal(count_cells(plan, benchmark, true), TABLE1_ARMS);
}

static void expect_there(const json_t *plan, const char *benchmark, int n)
{
    const json_t *entry = planned(plan, benchmark);
    assert_true(json_is_null(json_object_get(entry, "missing")));
    assert_true(json_is_null(json_object_get(entry, "stands_in_for")));
    assert_int_equal(json_integer_value(json_object_get(entry, "samples")), n);
    assert_int_equal(count_cells(plan, benchmark, true), 0);
    assert_int_equal(count_cells(plan, benchmark, false), TABLE1_ARMS);
}

static void a_plan_names_what_a_tree_lacks(void **state)
{
    (void)state;
    if (!make_tree())
        shared_skip("data/scoring");
    static const char *const roots[] = {"LLaVA/playground/data/eval", "LLaVA/playground/data",
                                        "LLaVA/playground", "LLaVA"};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        char arguments[256];
        int status;
        snprintf(arguments, sizeof arguments, "table1 --plan --data %s", roots[i]);
        json_t *plan = sweep(&status, arguments);
        assert_non_null(plan);
        assert_int_equal(status, 1);
        assert_true(said("222 cells are infeasible"));
        assert_int_equal(count_cells(plan, NULL, false), TABLE1_ARMS * TABLE1_BENCHMARKS);
        expect_there(plan, "pope", 71);
        expect_there(plan, "mmbench", 4377);
        expect_missing(plan, "seed", "llava-seed-bench.jsonl is not under LLaVA");
        expect_missing(plan, "seed", "playground/data/eval/seed_bench");
        expect_missing(plan, "textvqa", "llava_textvqa_val_v051_ocr.jsonl is not under LLaVA");
        static const char *const no_pictures[] = {"mme", "scienceqa", "mmvet", "gqa"};
        for (size_t j = 0; j < sizeof no_pictures / sizeof *no_pictures; j++)
            expect_missing(plan, no_pictures[j], " pictures it is asked about is there; looked for ");
        json_decref(plan);
        assert_int_equal(run("test ! -e '%s/results'", folder), 0); /* a plan writes nothing */
    }
}

static void nothing_there_is_an_error(void **state)
{
    (void)state;
    int status;
    assert_int_equal(run("mkdir -p '%s/empty'", folder), 0);
    json_t *plan = sweep(&status, "table1 --plan --data empty");
    assert_int_equal(status, 2);
    assert_true(said("none of the 8 benchmarks has its files under empty"));
    expect_missing(plan, "pope", "llava_pope_test.jsonl is not under empty/pope: ");
    expect_missing(plan, "mmvet", " is not under empty/mm-vet or empty/mmvet: ");
    json_decref(plan);
    json_t *result = sweep(&status, "table1 --data empty");
    assert_int_equal(status, 2);
    assert_null(result);
    assert_true(said("missing: gqa: llava_gqa_testdev_balanced.jsonl is not under empty/gqa"));
    assert_true(said("none of the 8 benchmarks has its files under empty"));
    assert_null(sweep(&status, "table1 --data nowhere"));
    assert_int_equal(status, 2);
    assert_true(said("--data nowhere: there is no such folder"));
    assert_int_equal(run("test ! -e '%s/results'", folder), 0);
}

static void without_data_the_twins_stand_in(void **state)
{
    (void)state;
    int status;
    json_t *plan =
        sweep(&status, "table1 --plan --set benchmarks.pope.limit=7 --set benchmarks.mini-gqa.limit=9");
    assert_int_equal(status, 0);
    assert_int_equal(count_cells(plan, NULL, false), TABLE1_ARMS * TABLE1_BENCHMARKS);
    static const char *const names[TABLE1_BENCHMARKS] = {"gqa",       "mmbench", "mme",     "pope",
                                                         "scienceqa", "seed",    "textvqa", "mmvet"};
    for (int i = 0; i < TABLE1_BENCHMARKS; i++) {
        char twin[32];
        snprintf(twin, sizeof twin, "mini-%s", names[i]);
        const json_t *entry = planned(plan, twin);
        assert_string_equal(json_string_value(json_object_get(entry, "stands_in_for")), names[i]);
        assert_true(json_is_null(json_object_get(entry, "missing")));
        assert_int_equal(count_cells(plan, twin, false), TABLE1_ARMS);
        assert_int_equal(count_cells(plan, names[i], false), 0);
    }
    assert_int_equal(json_integer_value(json_object_get(planned(plan, "mini-pope"), "samples")), 7);
    assert_int_equal(json_integer_value(json_object_get(planned(plan, "mini-gqa"), "samples")), 9);
    json_decref(plan);
}

static int64_t query(const char *sql)
{
    char path[128];
    long long value = -1;
    snprintf(path, sizeof path, "%s/value", folder);
    assert_int_equal(
        run("cd '%s' && '%s' sql t.db \"%s\" | tail -n 1 >value", folder, WINNOW_EXECUTABLE, sql), 0);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    if (fscanf(file, "%lld", &value) != 1)
        fail_msg("no number: %s", sql);
    fclose(file);
    return value;
}

static void what_is_there_runs(void **state)
{
    (void)state;
    if (!make_tree())
        shared_skip("data/scoring");
    int status;
    static const char arguments[] =
        "table1 --data LLaVA --store t.db --limit 3 --max-new-tokens 2 --threads 1"
        " --set timing.samples=1 --set timing.repeats=1"
        " --set benchmarks='[pope, gqa, seed]'"
        " --set methods='[vanilla, {name: sparsevlm, budget: 64}]'";
    json_t *result = sweep(&status, arguments);
    assert_int_equal(status, 1);
    assert_true(said("missing: gqa: none of the 3 pictures it is asked about is there"));
    assert_true(
        said("missing: seed: llava-seed-bench.jsonl is not under LLaVA/playground/data/eval/seed_bench"));
    assert_true(said("4 cells are infeasible"));
    assert_int_equal(count_cells(result, NULL, false), 6);
    assert_int_equal(count_cells(result, "pope", true), 0);
    json_decref(result);
    assert_int_equal(query("SELECT count(*) FROM cells WHERE benchmark = 'pope' AND n = 3 AND score NOTNULL"),
                     2);
    assert_int_equal(query("SELECT count(*) FROM cells WHERE benchmark IN ('gqa', 'seed') AND n = 0"
                           " AND reason LIKE benchmark || ': %published at %' AND metric = 'accuracy'"),
                     4);
    /* Once the pictures and files are there, the same cells are asked and nothing of the reason is left. */
    assert_int_equal(run("mkdir -p '%s/LLaVA/playground/data/eval/gqa/data' && ln -s ../../pope/val2014 "
                         "'%s/LLaVA/playground/data/eval/gqa/data/images'",
                         folder, folder),
                     0);
    char *own;
    assert_true(asprintf(&own, "%s/LLaVA/playground/data/eval/seed_bench", folder) > 0);
    assert_int_equal(
        run("mkdir -p '%s/SEED-Bench-image' && cp '%s'/LLaVA/playground/data/eval/pope/val2014/*708.jpg"
            " '%s/SEED-Bench-image/1.jpg' && printf '%%s\\n' '{\"question_id\": \"1\", \"image\": "
            "\"SEED-Bench-image/1.jpg\", \"text\": \"A?\", \"category\": \"x\"}' "
            ">'%s/llava-seed-bench.jsonl'",
            own, folder, own, own),
        0);
    free(own);
    result = sweep(&status, arguments);
    assert_int_equal(status, 1); /* gqa's pictures are others */
    json_decref(result);
    assert_int_equal(query("SELECT count(*) FROM cells WHERE benchmark = 'seed'"), 2);
    assert_int_equal(
        query("SELECT count(*) FROM cells WHERE benchmark = 'seed' AND n = 1 AND reason IS NULL"), 2);
    assert_int_equal(query("SELECT count(*) FROM cells WHERE benchmark = 'pope' AND n = 3"), 2);
}

static double flops(const json_t *document, const char *name)
{
    const json_t *model = json_array_get(json_object_get(document, "models"), 0);
    return json_real_value(json_object_get(model ? model : document, name));
}

static void a_plan_counts_what_the_sweep_then_runs(void **state)
{
    (void)state;
    int status;
    static const char arguments[] =
        "tau-theta --store s.db --workers 1 --limit 12 --set benchmarks='[mini-gqa]' --set methods='[vanilla,"
        " {name: sparsevlm, axes: {budget: [192, 64], tau: [0.1, 0.3]}}, {name: fastv, budget: 64},"
        " {name: sparsevlm, params: {mode: paper}, axes: {lambda: [0.4, 0.8]}}, {name: tome, budget: 64},"
        " {name: divprune, budget: 64}, {name: random, budget: 64, axes: {seed: [0, 1]}}]'";
    char planning[sizeof arguments + 10];
    snprintf(planning, sizeof planning, "%s --plan", arguments);
    json_t *plan = sweep(&status, planning);
    assert_int_equal(status, 0);
    json_t *result = sweep(&status, arguments);
    assert_int_equal(status, 0);
    static const char *const names[] = {"flops_apart", "flops_shared"};
    for (size_t i = 0; i < 2; i++) {
        double expected = flops(plan, names[i]), found = flops(result, names[i]);
        if (!(expected > 0.9 * found && expected < 1.1 * found))
            fail_msg("%s: the plan said %g, the sweep ran %g", names[i], expected, found);
    }
    assert_true(flops(result, "flops_shared") < 0.8 * flops(result, "flops_apart"));
    json_decref(plan);
    json_decref(result);
}

static void damaged_files_are_no_missing_ones(void **state)
{
    (void)state;
    int status;
    assert_int_equal(run("mkdir -p '%s/damaged/pope' && echo '{' >'%s/damaged/pope/llava_pope_test.jsonl'",
                         folder, folder),
                     0);
    assert_null(sweep(&status, "table1 --data damaged --store d.db"));
    assert_int_equal(status, 2);
    assert_true(said("damaged/pope/llava_pope_test.jsonl:1"));
    assert_int_equal(run("test ! -e '%s/d.db'", folder), 0);
}

/* ---- the grids themselves ------------------------------------------------------------------- */

static void every_grid_can_be_made(void **state)
{
    (void)state;
    static const char *const contract[] = {"default", "full",   "table1",    "table4",
                                           "raters",  "lambda", "tau-theta", "positions"};
    char names[BUILTIN_MAX][BUILTIN_NAME];
    int n = builtin_names(names);
    for (size_t i = 0; i < sizeof contract / sizeof *contract; i++) {
        bool found = false;
        for (int j = 0; j < n; j++)
            found = found || strcmp(names[j], contract[i]) == 0;
        if (!found)
            fail_msg("there is no grid %s", contract[i]);
    }
    for (int i = 0; i < n; i++) {
        struct builtin grid;
        struct error err = {0};
        if (builtin_describe(&grid, names[i], &err) != OK)
            fail_msg("%s", err.text);
        assert_true(grid.n_cells > 0);
        assert_true(strlen(grid.title) > 20);
        /* Without data every benchmark is a twin. */
        int n_names = 1, n_twins = 0;
        for (const char *at = grid.without_data; (at = strstr(at, ", ")); at += 2)
            n_names++;
        for (const char *at = grid.without_data; (at = strstr(at, "mini-")); at += 5)
            n_twins++;
        assert_int_equal(n_names, n_twins);
    }
}

static void table4_has_the_papers_budgets(void **state)
{
    (void)state;
    struct sweep sweep;
    struct grid grid;
    struct error err = {0};
    if (sweep_read(&sweep, builtin_path("table4"), NULL, 0, &err) != OK ||
        grid_make(&grid, &sweep, 0, &err) != OK)
        fail_msg("%s", err.text);
    static const char *const budgets[] = {"64", "96", "128", "192"};
    for (int b = 0; b < 4; b++) {
        int n_arms = 0;
        for (int i = 0; i < grid.n_arms; i++)
            n_arms += strcmp(grid.arms[i]->budget, budgets[b]) == 0;
        assert_int_equal(n_arms, 2); /* with and without recycling */
    }
    assert_int_equal(grid.n_arms, 9);
    grid_free(&grid);
    sweep_free(&sweep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_plan_names_what_a_tree_lacks),
                                       cmocka_unit_test(nothing_there_is_an_error),
                                       cmocka_unit_test(without_data_the_twins_stand_in),
                                       cmocka_unit_test(what_is_there_runs),
                                       cmocka_unit_test(a_plan_counts_what_the_sweep_then_runs),
                                       cmocka_unit_test(damaged_files_are_no_missing_ones),
                                       cmocka_unit_test(every_grid_can_be_made),
                                       cmocka_unit_test(table4_has_the_papers_budgets)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
