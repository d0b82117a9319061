/* `winnow bench` from outside: every method runs, what a plan says before the run is what the run comes to,
 * and what cannot be known before is null. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <jansson.h>

#include "reducer.h"

#include <cmocka.h>

#define TINY "bench --geometry miniature:4 --text-tokens 24 --repeats 2 --decode 1 --threads 1"

/* Output of `winnow ARGUMENTS`; the status is checked. */
static char *run(const char *arguments, int expected)
{
    static char output[1 << 20];
    char command[4096];
    snprintf(command, sizeof command, "'%s' %s 2>&1", WINNOW_EXECUTABLE, arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    output[fread(output, 1, sizeof output - 1, pipe)] = 0;
    int how = pclose(pipe);
    if (!WIFEXITED(how) || WEXITSTATUS(how) != expected)
        fail_msg("winnow %s: status %d, expected %d; %s", arguments, WEXITSTATUS(how), expected, output);
    return output;
}

static json_t *run_json(const char *arguments)
{
    json_error_t error;
    json_t *root = json_loads(run(arguments, 0), 0, &error);
    if (root == NULL)
        fail_msg("winnow %s: %s", arguments, error.text);
    return root;
}

static void assert_says(const char *arguments, int status, const char *part)
{
    const char *output = run(arguments, status);
    if (strstr(output, part) == NULL)
        fail_msg("winnow %s: '%s' should say '%s'", arguments, output, part);
}

static double number(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);
    if (!json_is_number(value))
        fail_msg("%s of %s is no number", key, json_string_value(json_object_get(row, "method")));
    return json_number_value(value);
}

static const json_t *row_at(const json_t *root, size_t i)
{
    return json_array_get(json_object_get(root, "rows"), i);
}

static size_t n_rows(const json_t *root)
{
    return json_array_size(json_object_get(root, "rows"));
}

/* Fields of the contract that a run fills; those with true a plan fills too, where counts do not depend on
 * the data. */
static const struct {
    const char *name;
    bool planned;
} fields[] = {{"tokens_in", true},         {"tokens_out", true},    {"macs_paper", true},
              {"flops_vision", true},      {"flops_project", true}, {"flops_prefill", true},
              {"flops_select", true},      {"kv_bytes_live", true}, {"kv_bytes_alloc", true},
              {"preprocess_ms", false},    {"vision_ms", false},    {"project_ms", false},
              {"select_ms", false},        {"rank_ms", false},      {"share_select", false},
              {"ttft_ms", false},          {"peak_bytes", false},   {"decode_ms_per_token", false},
              {"speedup", false},          {"speedup_ttft", false}, {"flop_ratio", false},
              {"ceiling_realised", false}, {"over_gemm", false},    {"roofline_ms", false},
              {"roofline_realised", false}};

static bool has_setting(const json_t *row, const char *key, const char *value)
{
    const json_t *given = json_object_get(json_object_get(row, "params"), key);
    return given && json_is_string(given) && strcmp(json_string_value(given), value) == 0;
}

static bool is_method(const json_t *row, const char *name)
{
    return strcmp(json_string_value(json_object_get(row, "method")), name) == 0;
}

static void check_row(const json_t *planned, const json_t *ran)
{
    bool adaptive = has_setting(ran, "mode", "paper") || has_setting(ran, "mode", "v1.0");
    bool raters_known = !is_method(ran, "sparsevlm") || has_setting(ran, "raters", "text") ||
                        has_setting(ran, "raters", "all");
    assert_true(json_equal(json_object_get(planned, "params"), json_object_get(ran, "params")));
    for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *name = fields[i].name;
        double value = number(ran, name);
        const json_t *before = json_object_get(planned, name);
        assert_non_null(before);
        if (!fields[i].planned)
            continue;
        bool tower = strcmp(name, "flops_vision") == 0 || strcmp(name, "flops_project") == 0;
        if (adaptive && !tower)
            assert_true(json_is_null(before));
        else if ((raters_known || strcmp(name, "flops_select") != 0) && number(planned, name) != value)
            fail_msg("%s: the plan's %s is %.0f, the run's %.0f",
                     json_dumps(json_object_get(ran, "params"), 0), name, number(planned, name), value);
    }
    const json_t *prefill = json_object_get(ran, "prefill_ms");
    assert_true(json_is_null(json_object_get(planned, "prefill_ms")));
    assert_int_equal(json_integer_value(json_object_get(prefill, "n")), 2);
    double median = number(prefill, "median");
    assert_true(number(prefill, "min") <= median && median <= number(prefill, "max"));
    assert_true(number(ran, "select_ms") <= median + number(ran, "vision_ms"));
    assert_true(number(ran, "rank_ms") <= number(ran, "select_ms"));
    assert_true(number(ran, "select_ms") >= 0 && number(ran, "ttft_ms") >= median + number(ran, "vision_ms"));
    double share = number(ran, "select_ms") / median;
    assert_true(number(ran, "share_select") > 0.999 * share - 1e-9 &&
                number(ran, "share_select") < 1.001 * share + 1e-9);
}

/* Runs and plans the same rows; *ran is the caller's. */
static void compare(json_t **ran, const char *arguments)
{
    char line[4096];
    snprintf(line, sizeof line, TINY " --json --plan %s", arguments);
    json_t *planned = run_json(line);
    snprintf(line, sizeof line, TINY " --json %s", arguments);
    *ran = run_json(line);
    assert_int_equal(n_rows(planned), n_rows(*ran));
    for (size_t i = 0; i < n_rows(*ran); i++)
        check_row(row_at(planned, i), row_at(*ran, i));
    json_decref(planned);
}

static void test_every_method_comes_to_what_its_plan_says(void **state)
{
    (void)state;
    char arguments[2048] = "--budgets 192,64 --methods '";
    int n, n_budgeted = 0;
    const struct reducer *const *all = reducers(&n);
    for (int i = 0; i < n; i++)
        if (strcmp(all[i]->name, "replay") != 0) {
            n_budgeted += !all[i]->dense;
            strcat(strcat(arguments, all[i]->name), ",");
        }
    arguments[strlen(arguments) - 1] = '\'';
    json_t *ran;
    compare(&ran, arguments);
    assert_int_equal(n_rows(ran), 1 + 2 * n_budgeted);
    for (size_t i = 0; i < n_rows(ran); i++) {
        const json_t *row = row_at(ran, i);
        const char *budget = json_string_value(json_object_get(row, "budget"));
        bool at_input = !is_method(row, "sparsevlm") && !is_method(row, "fastv") && !is_method(row, "pdrop");
        if (budget && at_input) /* 192 and 64 are grids: pool and downsample keep them exactly */
            assert_true(number(row, "tokens_in") == atof(budget));
        if (budget && is_method(row, "fastv")) /* two full layers of four */
            assert_true(number(row, "tokens_in") ==
                        (2 * 576 + 2 * (atof(budget) - (budget[0] == '1' ? 12 : 16))) / 4);
    }
    json_decref(ran);
}

static void test_variants_side_by_side(void **state)
{
    (void)state;
    json_t *ran;
    compare(&ran,
            "--budgets 192 --methods 'sparsevlm[raters=text;layers=0,1,2],sparsevlm[raters=all;layers=0,1,2],"
            "sparsevlm[mode=plus],sparsevlm[mode=paper],sparsevlm[mode=paper;rank_by=gram],"
            "sparsevlm[mode=v1.0],fastv[query=all],fastv[keep=100],pdrop[layers=1,2,3],random[at=decoder],"
            "tome[r=20],visionzip[dominant=54;contextual=10],pool[keep=100]'");
    assert_int_equal(n_rows(ran), 14);
    assert_true(json_is_null(json_object_get(row_at(ran, 8), "budget"))); /* own counts: one row */
    assert_true(number(row_at(ran, 8), "tokens_out") == (576 + 3 * 100) / 4.0);
    json_decref(ran);
}

/* 5 × 576: the pictures share the budget. */
static void test_several_pictures(void **state)
{
    (void)state;
    json_t *ran;
    compare(&ran,
            "--visual-tokens 1152 --budgets 33.3% --methods "
            "'sparsevlm[raters=text],pdrop[layers=1,2,3],tome,visionzip,divprune,uniform,pool,downsample'");
    for (size_t i = 0; i < n_rows(ran); i++)
        assert_int_equal((int)number(row_at(ran, i), "visual_tokens"), 1152);
    json_decref(ran);
}

/* 383 tokens are no grid; of two pictures neither are their shares. */
static void test_grids_that_a_budget_does_not_fill(void **state)
{
    (void)state;
    json_t *ran;
    compare(&ran, "--match tokens_in --methods pool,downsample --budgets 383");
    json_decref(ran);
    compare(&ran, "--visual-tokens 1152 --methods pool,downsample --budgets 383");
    json_decref(ran);
    compare(&ran, "--visual-tokens 1152 --match flops --methods pool --budgets 383");
    json_decref(ran);
}

static void test_rows_without_a_budget(void **state)
{
    (void)state;
    json_t *root = run_json("bench --plan --json --geometry llava-1.5-7b --methods pdrop,fastv");
    assert_int_equal(n_rows(root), 1 + 1 + 3);
    assert_true(number(row_at(root, 1), "tokens_out") == (576 * 7 + 288 * 8 + 144 * 8 + 72 * 9) / 32.0);
    json_decref(root);
    root = run_json("bench --plan --json --geometry llava-1.5-7b --methods pdrop --budgets 192,64");
    assert_int_equal(n_rows(root), 3);
    json_decref(root);
    root = run_json("bench --plan --json --geometry llava-1.5-7b --methods tome -p r=16");
    assert_int_equal(n_rows(root), 2);
    assert_true(number(row_at(root, 1), "tokens_in") == 576 - 23 * 16);
    assert_true(number(row_at(root, 1), "flops_vision") < number(row_at(root, 0), "flops_vision"));
    json_decref(root);
}

static void test_refusals(void **state)
{
    (void)state;
    assert_says(TINY " --methods replay", 2, "stored cuts");
    assert_says(TINY " --methods tome --visual-tokens 1000 --budgets 20%", 2, "whole pictures");
    assert_says(TINY " --methods 'random[at=decoder;like=sparsevlm-paper]'", 2, "fixed counts");
    assert_says(TINY " --methods 'fastv[tau=1]'", 2, "no such parameter");
    assert_says(TINY " --methods 'fastv[k=2'", 2, "NAME[KEY=VALUE;KEY=VALUE]");
    assert_says(TINY " --methods 'fastv[k]'", 2, "KEY=VALUE");
}

static void test_the_table_says_what_it_does_not_know(void **state)
{
    (void)state;
    assert_says(TINY " --plan --methods 'sparsevlm[mode=paper]'", 0,
                "576         -         -         -         -");
    assert_says(TINY " --methods 'sparsevlm[mode=paper]' --budgets 192", 0, "share");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_method_comes_to_what_its_plan_says),
                                       cmocka_unit_test(test_variants_side_by_side),
                                       cmocka_unit_test(test_several_pictures),
                                       cmocka_unit_test(test_grids_that_a_budget_does_not_fill),
                                       cmocka_unit_test(test_rows_without_a_budget),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_the_table_says_what_it_does_not_know)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
