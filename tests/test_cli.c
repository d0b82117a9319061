/* The program from outside: bad input ends in one clear message and status 2, nothing half-written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ops.h"

#include <cmocka.h>

static char folder[] = "/tmp/winnow-cli-XXXXXX";

/* Runs `winnow ARGUMENTS` through the shell in `folder`; returns the status, *output gets both streams. */
static int run(char *output, size_t size, const char *arguments)
{
    char command[4096];
    snprintf(command, sizeof command, "cd %s && '%s' %s 2>&1", folder, WINNOW_EXECUTABLE, arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(output, 1, size - 1, pipe);
    output[n] = 0;
    int how = pclose(pipe);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

static void assert_run(const char *arguments, int status, const char *part)
{
    static char output[1 << 21]; /* a plan of all cells is long */
    int got = run(output, sizeof output, arguments);
    if (got != status || strstr(output, part) == NULL)
        fail_msg("winnow %s: status %d, expected %d; '%s' should say '%s'", arguments, got, status, output,
                 part);
    if (status != 0 && strstr(output, "winnow: error: ") == NULL)
        fail_msg("winnow %s: no error message in '%s'", arguments, output);
}

static void write_file(const char *name, const void *bytes, size_t n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static void test_help_and_version(void **state)
{
    (void)state;
    static const char *const commands[] = {"ask",   "show",  "sweep", "report", "score", "parity",
                                           "bench", "world", "list",  "merge",  "diff",  "status"};
    char arguments[64];
    assert_run("help", 0, "usage: winnow COMMAND");
    assert_run("--version", 0, "backends: ");
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
        snprintf(arguments, sizeof arguments, "help %s", commands[i]);
        assert_run(arguments, 0, "winnow ");
    }
    assert_run("help nothing", 2, "unknown command");
    assert_run("nothing", 2, "unknown command");
}

static void test_lists_come_from_the_tables(void **state)
{
    (void)state;
    assert_run("list methods", 0, "fastv");
    assert_run("list params sparsevlm", 0, "theta");
    assert_run("list benchmarks", 0, "pope");
    assert_run("list families", 0, "llava-1.5");
    assert_run("list devices", 0, "ref");
    assert_run("list schedules", 0, "192.03125");
    assert_run("list grids", 0, "default");
    assert_run("list params nothing", 2, "unknown method");
    assert_run("list nothing", 2, "expected methods");
    assert_run("list methods --json", 0, "\"name\": \"divprune\"");
    assert_run("list params pdrop --markdown", 0, "| `ratios` | reals |");
    assert_run("list methods --markdown", 2, "params, benchmarks, schedules and");
    assert_run("list params tome --json --markdown", 2, "one of them");
    assert_run("list grids default", 2, "one operand too many");
}

/* Every built-in grid can be planned; what the miniature's few layers cannot reach is listed with its reason.
 */
static void test_built_in_grids_are_planned(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int status;
        const char *text;
    } grids[] = {{"default", 0, "samples to run"},
                 {"full", 1, "infeasible: method sparsevlm cannot reach"},
                 {"table1", 0, "samples to run"},
                 {"table4", 0, "samples to run"},
                 {"raters", 0, "samples to run"},
                 {"lambda", 0, "samples to run"},
                 {"tau-theta", 0, "samples to run"},
                 {"positions", 0, "samples to run"},
                 {"budgets", 1, "infeasible: method pdrop cannot reach"}};
    for (unsigned i = 0; i < sizeof grids / sizeof *grids; i++) {
        char arguments[64];
        snprintf(arguments, sizeof arguments, "sweep %s --plan", grids[i].name);
        assert_run(arguments, grids[i].status, grids[i].text);
        assert_run("list grids", 0, grids[i].name);
    }
}

static void test_bad_command_lines(void **state)
{
    (void)state;
    assert_run("ask", 2, "expected 1 to");
    assert_run("ask --bogus Why?", 2, "--bogus");
    assert_run("bench --plan -p tua=1 --geometry miniature", 2, "tua");
    assert_run("ops --device cuda", 3, "not in this build");
    assert_run("ask --device tpu Why?", 2, "expected one of cpu, cuda, ref");
    assert_run("ask --dtype int4 Why?", 2, "expected one of auto, f32, bf16, f16");
    assert_run("ask --threads 0 Why?", 2, "expected an integer");
    assert_run("ask --method sparse Why?", 2, "sparsevlm");
    assert_run("ask --method sparsevlm -p tau Why?", 2, "KEY=VALUE");
    assert_run("ask --method sparsevlm -p tau=2 Why?", 2, "at most 1");
    assert_run("ask --method sparsevlm --budget 0 Why?", 2, "no-image");
    assert_run("ask --control upside-down Why?", 2, "blank");
    assert_run("ask --model nowhere Why?", 2, "nowhere/config.json");
    assert_run("parity nowhere", 2, "nowhere");
    assert_run("bench --plan --geometry llava-9", 2, "llava-1.5-7b");
    assert_run("bench --geometry miniature --dtype f16", 3, "--dtype f32");
    assert_run("bench --geometry miniature --device ref --dtype bf16", 3, "ref backend computes in f32");
    struct error err;
    if (ops_cpu.dtype_check(DTYPE_BF16, &err) != OK)
        assert_run("bench --geometry miniature --dtype bf16", 3, "AVX512_BF16");
    assert_run("bench --plan --geometry miniature --methods fastv --budgets 96", 2, "192, 128 and 64");
}

static void test_plan_of_a_known_geometry_needs_no_run(void **state)
{
    (void)state;
    assert_run("bench --plan --json --geometry llava-1.5-7b --text-tokens 118 --methods vanilla", 0,
               "\"macs_paper\": 4620605718528");
    assert_run(
        "bench --plan --json --geometry llava-1.5-7b --text-tokens 118 --methods sparsevlm --budgets 192", 0,
        "\"tokens_out\": 192.03125");
}

static void test_broken_checkpoints(void **state)
{
    (void)state;
    char path[4096];
    snprintf(path, sizeof path, "mkdir -p %s/broken", folder);
    assert_int_equal(system(path), 0);
    static const struct {
        const char *config, *part;
    } rows[] = {
        {"{", "config.json"},
        {"[]", "no JSON object"},
        {"{\"model_type\": \"qwen9\"}", "qwen9"},
        {"{\"model_type\": \"llava\", \"mm_vision_tower\": \"x\"}", "original LLaVA layout"},
        {"{\"model_type\": \"llava\", \"text_config\": {\"hidden_size\": -4}}", "hidden_size"},
        {"{\"model_type\": \"llava\", \"text_config\": {\"hidden_size\": \"big\"}}", "hidden_size"},
        {"{\"model_type\": \"llava\", \"text_config\": {\"num_attention_heads\": 32, "
         "\"num_key_value_heads\": 5}}",
         "divide evenly"},
        {"{\"model_type\": \"llava\", \"text_config\": {\"rope_scaling\": {\"type\": \"yarn\"}}}", "yarn"},
        {"{\"model_type\": \"llava\", \"vision_feature_layer\": [1, 2]}", "vision_feature_layer"},
        {"{\"model_type\": \"llava\", \"text_config\": {\"vocab_size\": 40000}}", "tokenizer.json"}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_file("broken/config.json", rows[i].config, strlen(rows[i].config));
        assert_run("ask --model broken Why?", 2, rows[i].part);
    }
}

static void test_broken_pictures(void **state)
{
    (void)state;
    char model[4096], arguments[8192];
    snprintf(model, sizeof model, "%s/models/miniature/config.json", WINNOW_SOURCE_DIR);
    if (access(model, R_OK) != 0)
        skip();
    static const struct {
        const char *name, *bytes;
        size_t n;
    } files[] = {{"empty.png", "", 0},
                 {"text.jpg", "this is no picture", 18},
                 {"cut.png", "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10", 20},
                 {"gif.png", "GIF89a\1\0\1\0", 10}};
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        write_file(files[i].name, files[i].bytes, files[i].n);
        snprintf(arguments, sizeof arguments, "ask --image %s Why?", files[i].name);
        assert_run(arguments, 2, files[i].name);
    }
    assert_run("ask --image none.png Why?", 2, "none.png");
    write_file("plain.txt", "x", 1);
    assert_run("ask --raw 'USER: <image> Why? ASSISTANT:'", 2, "1 <image> placeholders for 0 pictures");
}

int main(void)
{
    if (mkdtemp(folder) == NULL)
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_help_and_version),
                                       cmocka_unit_test(test_lists_come_from_the_tables),
                                       cmocka_unit_test(test_built_in_grids_are_planned),
                                       cmocka_unit_test(test_bad_command_lines),
                                       cmocka_unit_test(test_plan_of_a_known_geometry_needs_no_run),
                                       cmocka_unit_test(test_broken_checkpoints),
                                       cmocka_unit_test(test_broken_pictures)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return failed + (system(command) != 0);
}
