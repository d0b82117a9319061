/* Budgets, schedules and MAC vectors against the published figures (SparseVLM's code and paper, FastV
 * settings derived in exact arithmetic). No model is needed. */
#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ledger.h"
#include "reducer.h"

#include <cmocka.h>

static const struct plan_input llava7b = {.n_visual = 576,
                                          .n_text = 118,
                                          .n_text_after = 83,
                                          .n_layers = 32,
                                          .hidden = 4096,
                                          .intermediate = 11008,
                                          .n_heads = 32,
                                          .n_kv_heads = 32,
                                          .head_dim = 128,
                                          .n_images = 1,
                                          .n_vision_layers = 23,
                                          .grid_rows = 24,
                                          .grid_cols = 24,
                                          .vision_hidden = 1024,
                                          .vision_head_dim = 64};

static struct plan plan_of(const char *name, const char *budget, const char *match, const char *key,
                           const char *value, const struct plan_input *input)
{
    struct method method;
    struct plan plan = {0};
    struct error err = {0};
    if (method_init(&method, name, &err) != OK ||
        (budget && method_set(&method, "budget", budget, &err) != OK) ||
        method_set(&method, "match", match, &err) != OK ||
        (key && method_set(&method, key, value, &err) != OK) ||
        method_plan(&plan, &method, input, &err) != OK)
        fail_msg("%s", err.text);
    return plan;
}

static enum status plan_error(struct error *err, const char *name, const char *budget, const char *match,
                              const char *key, const char *value, const struct plan_input *input)
{
    struct method method;
    struct plan plan;
    enum status status = method_init(&method, name, err);
    if (status == OK && budget)
        status = method_set(&method, "budget", budget, err);
    if (status == OK && match)
        status = method_set(&method, "match", match, err);
    if (status == OK && key)
        status = method_set(&method, key, value, err);
    return status == OK ? method_plan(&plan, &method, input, err) : status;
}

/* Papers' MACs of a plan with n_text text tokens. */
static double macs_of(const struct plan *plan, const struct plan_input *input)
{
    int in[64], out[64];
    double sum = 0;
    plan_trajectory(in, out, plan, input->n_visual, input->n_layers);
    for (int l = 0; l < input->n_layers; l++)
        sum += (double)macs_layer_paper(in[l] + input->n_text, input->hidden, input->intermediate,
                                        input->n_heads, input->n_kv_heads, input->head_dim);
    return sum;
}

static void assert_cuts(const struct plan *plan, int n, const int (*cuts)[4])
{
    assert_int_equal(plan->n_cuts, n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(plan->cuts[i].layer, cuts[i][0]);
        assert_int_equal(plan->cuts[i].keep, cuts[i][1]);
        assert_int_equal(plan->cuts[i].recycled, cuts[i][2]);
        assert_int_equal(plan->cuts[i].clusters, cuts[i][3]);
    }
}

static void test_official_trajectories(void **state)
{
    (void)state;
    static const struct {
        const char *budget;
        int cuts[3][4];
        double out, in, macs;
    } rows[] = {{"192", {{2, 300, 83, 9}, {6, 200, 33, 4}, {15, 110, 29, 3}}, 192.03125, 206.5, 2.1339},
                {"128", {{2, 303, 82, 9}, {6, 110, 61, 7}, {15, 36, 25, 3}}, 128.625, 145.40625, 1.7310},
                {"96", {{2, 238, 102, 11}, {6, 48, 61, 7}, {15, 26, 9, 1}}, 96.9375, 114.09375, 0},
                {"64", {{2, 66, 154, 16}, {6, 30, 16, 2}, {15, 17, 5, 1}}, 64.8125, 82.25, 1.3141}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct plan plan = plan_of("sparsevlm", rows[i].budget, "official", NULL, NULL, &llava7b);
        assert_cuts(&plan, 3, rows[i].cuts);
        assert_true(plan_tokens_out(&plan, 576, 32) == rows[i].out);
        assert_true(plan_tokens_in(&plan, 576, 32) == rows[i].in);
        if (rows[i].macs > 0)
            assert_true(fabs(macs_of(&plan, &llava7b) * 1e-12 - rows[i].macs) < 0.5e-4);
    }
    struct plan vanilla = plan_of("vanilla", NULL, "official", NULL, NULL, &llava7b);
    assert_int_equal(vanilla.n_cuts, 0);
    assert_true(fabs(macs_of(&vanilla, &llava7b) * 1e-12 - 4.6206) < 0.5e-4);
    /* 13B: the same tables on 40 layers */
    struct plan_input llava13b = llava7b;
    llava13b.n_layers = 40;
    struct plan plan = plan_of("sparsevlm", "192", "official", NULL, NULL, &llava13b);
    assert_true(fabs(plan_tokens_out(&plan, 576, 40) - 176.2) < 0.05);
}

static void test_official_scales_with_the_picture(void **state)
{
    (void)state;
    struct plan_input next = llava7b;
    next.n_visual = 2880;
    struct plan plan = plan_of("sparsevlm", "640", "official", "recycle", "off", &next);
    assert_cuts(&plan, 3, (const int[][4]){{2, 1515, 0, 0}, {6, 550, 0, 0}, {15, 180, 0, 0}});
    next.n_visual = 1152; /* two pictures: the table of 96, doubled */
    plan = plan_of("sparsevlm", "192", "official", "recycle", "off", &next);
    assert_cuts(&plan, 3, (const int[][4]){{2, 476, 0, 0}, {6, 96, 0, 0}, {15, 52, 0, 0}});
    plan = plan_of("sparsevlm", "33.4%", "official", "recycle", "off",
                   &llava7b); /* 192.4 rounds to the table of 192 */
    assert_cuts(&plan, 3, (const int[][4]){{2, 300, 0, 0}, {6, 200, 0, 0}, {15, 110, 0, 0}});
}

static void test_sparsevlm_tokens_in(void **state)
{
    (void)state;
    static const struct {
        const char *budget;
        int keep[3];
        double mean;
    } rows[] = {
        {"192", {271, 180, 99}, 191.875}, {"128", {241, 88, 29}, 127.9375}, {"64", {19, 8, 5}, 64.03125}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct plan plan = plan_of("sparsevlm", rows[i].budget, "tokens_in", NULL, NULL, &llava7b);
        assert_int_equal(plan.n_cuts, 3);
        for (int c = 0; c < 3; c++)
            assert_int_equal(plan.cuts[c].keep, rows[i].keep[c]);
        assert_true(plan_tokens_in(&plan, 576, 32) == rows[i].mean);
        assert_true(plan.measured == rows[i].mean);
    }
}

static void test_fastv_settings(void **state)
{
    (void)state;
    static const struct {
        const char *budget, *match;
        int keep;
    } rows[] = {{"192", "official", 180},  {"128", "official", 114}, {"64", "official", 48},
                {"192", "tokens_in", 166}, {"128", "tokens_in", 98}, {"64", "tokens_in", 30}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct plan plan = plan_of("fastv", rows[i].budget, rows[i].match, NULL, NULL, &llava7b);
        assert_cuts(&plan, 1, (const int[][4]){{1, rows[i].keep, 0, 0}});
    }
    struct plan plan = plan_of("fastv", "192", "tokens_in", "k", "3", &llava7b);
    assert_int_equal(plan.cuts[0].keep, 152);
}

static void test_random_shadows(void **state)
{
    (void)state;
    struct plan plan = plan_of("random", "64", "official", "at", "decoder", &llava7b);
    assert_cuts(&plan, 3, (const int[][4]){{2, 82, 0, 0}, {6, 32, 0, 0}, {15, 18, 0, 0}});
    plan = plan_of("random", "64", "official", NULL, NULL, &llava7b);
    assert_cuts(&plan, 1, (const int[][4]){{LAYER_BEFORE, 64, 0, 0}});
    plan = plan_of("random", "64", "tokens_in", NULL, NULL, &llava7b);
    assert_cuts(&plan, 1, (const int[][4]){{LAYER_BEFORE, 64, 0, 0}});
}

static void test_flops_match_a_dense_run(void **state)
{
    (void)state;
    struct method method;
    struct error err;
    assert_int_equal(method_init(&method, "fastv", &err), OK);
    struct plan plan = plan_of("fastv", "192", "flops", NULL, NULL, &llava7b), less = plan, more = plan;
    less.cuts[0].keep--;
    more.cuts[0].keep++;
    double n = 118 + 192, target = 32 * (4 * n * 4096 * 4096 + 2 * n * n * 4096 + 3 * n * 4096 * 11008);
    double select = 694.0 * 4096;
    double miss = fabs(macs_of(&plan, &llava7b) + select - target);
    assert_true(miss <= fabs(macs_of(&less, &llava7b) + select - target));
    assert_true(miss <= fabs(macs_of(&more, &llava7b) + select - target));
}

static void test_keep_all_and_shallow_models(void **state)
{
    (void)state;
    static const char *const names[] = {"sparsevlm", "fastv", "random"};
    for (int i = 0; i < 3; i++) {
        struct plan plan = plan_of(names[i], "100%", "official", NULL, NULL, &llava7b);
        assert_int_equal(plan.n_cuts, 0);
        plan = plan_of(names[i], "1000", "tokens_in", NULL, NULL, &llava7b);
        assert_int_equal(plan.n_cuts, 0);
    }
    struct plan_input shallow = llava7b;
    shallow.n_layers = 8;
    struct plan plan = plan_of("sparsevlm", "192", "official", NULL, NULL, &shallow);
    assert_int_equal(plan.n_cuts, 2);
    assert_int_equal(plan.n_fallen, 1);
    struct plan_input text = llava7b;
    text.n_visual = 0;
    plan = plan_of("sparsevlm", "192", "official", NULL, NULL, &text);
    assert_int_equal(plan.n_cuts, 0);
}

static void assert_says(const struct error *err, enum status status, enum status expected, const char *part)
{
    assert_int_equal(status, expected);
    if (strstr(err->text, part) == NULL)
        fail_msg("'%s' does not say '%s'", err->text, part);
}

static void test_bad_budgets_say_what_would_work(void **state)
{
    (void)state;
    struct error err;
    assert_says(&err, plan_error(&err, "sparsevlm", "0", NULL, NULL, NULL, &llava7b), BAD_INPUT, "no-image");
    assert_says(&err, plan_error(&err, "sparsevlm", "12x", NULL, NULL, NULL, &llava7b), BAD_INPUT, "33%");
    assert_says(&err, plan_error(&err, "sparsevlm", "-3", NULL, NULL, NULL, &llava7b), BAD_INPUT, "expected");
    assert_says(&err, plan_error(&err, "sparsevlm", "100", "official", NULL, NULL, &llava7b), BAD_INPUT,
                "192, 128, 96 and 64");
    assert_says(&err, plan_error(&err, "fastv", "96", "official", NULL, NULL, &llava7b), BAD_INPUT,
                "192, 128 and 64");
    assert_says(&err, plan_error(&err, "sparsevlm", NULL, NULL, NULL, NULL, &llava7b), BAD_INPUT,
                "needs a budget");
    assert_says(&err, plan_error(&err, "fastv", "192", NULL, "keep", "100", &llava7b), BAD_INPUT,
                "both given");
    assert_says(&err, plan_error(&err, "fastv", "20", "tokens_in", NULL, NULL, &llava7b), BAD_INPUT,
                "nearest possible");
    assert_says(&err, plan_error(&err, "sparsevlm", "192", "some", NULL, NULL, &llava7b), BAD_INPUT,
                "tokens_in");
    assert_says(&err, plan_error(&err, "sparsevlm", "192", NULL, "tua", "0.3", &llava7b), BAD_INPUT, "tau");
    assert_says(&err, plan_error(&err, "sparsevlm", "192", NULL, "tau", "1.5", &llava7b), BAD_INPUT,
                "at most 1");
    assert_says(&err, plan_error(&err, "sparsevlm", "192", NULL, "raters", "some", &llava7b), BAD_INPUT,
                "select|text|all");
    assert_says(&err, plan_error(&err, "sparsevlm", "192", NULL, "layers", "6,2,15", &llava7b), BAD_INPUT,
                "rising integers");
    assert_says(&err, plan_error(&err, "sparsevlm", "192", NULL, "layers", "2,6", &llava7b), BAD_INPUT,
                "one count a layer");
    assert_says(&err, plan_error(&err, "fastW", "192", NULL, NULL, NULL, &llava7b), BAD_INPUT, "fastv");
    assert_says(&err, plan_error(&err, "sparsevlm", "192", "latency", NULL, NULL, &llava7b), BAD_INPUT,
                "calibration");
}

static void test_params_print_as_they_are_read(void **state)
{
    (void)state;
    struct method method;
    struct error err;
    char json[2048];
    assert_int_equal(method_init(&method, "sparsevlm", &err), OK);
    assert_int_equal(method_set(&method, "tau", "0.5", &err), OK);
    assert_int_equal(method_set(&method, "layers", "1,4,10", &err), OK);
    params_json(json, sizeof json, &method.params, true);
    assert_string_equal(json, "{\"tau\":0.5,\"layers\":[1,4,10]}");
    assert_int_equal(method_set(&method, "tau", "0.3", &err), OK);
    assert_int_equal(method_set(&method, "layers", "2, 6, 15", &err), OK);
    params_json(json, sizeof json, &method.params, true);
    assert_string_equal(json, "{}"); /* a default said aloud is the default */
    assert_int_equal(method_set(&method, "rater_rule", "1.5", &err), OK);
    params_json(json, sizeof json, &method.params, true);
    assert_string_equal(json, "{\"rater_rule\":1.5}");
    int whole = params_json(json, sizeof json, &method.params, false);
    memset(json, 'x', 32);
    assert_int_equal(params_json(json, 8, &method.params, false), whole); /* short buffers are only cut */
    assert_int_equal(strlen(json), 7);
    assert_int_equal(json[8], 'x');
}

static void assert_keeps(const struct plan *plan, int n, const int *keep)
{
    assert_int_equal(plan->n_cuts, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(plan->cuts[i].keep, keep[i]);
}

static void test_plus_trajectories(void **state)
{
    (void)state;
    static const struct {
        const char *budget;
        double out, in;
    } rows[] = {{"192", 192.4375, 206.75},
                {"128", 128, 144.125},
                {"96", 96.8125, 113.9375},
                {"64", 64.4375, 81.8125}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct plan plan = plan_of("sparsevlm", rows[i].budget, "official", "mode", "plus", &llava7b);
        assert_true(plan_tokens_out(&plan, 576, 32) == rows[i].out);
        assert_true(plan_tokens_in(&plan, 576, 32) == rows[i].in);
        for (int c = 0; c < plan.n_cuts; c++)
            assert_int_equal(plan.cuts[c].clusters, 0);
    }
}

static void test_data_dependent_modes_take_no_budget(void **state)
{
    (void)state;
    struct plan plan = plan_of("sparsevlm", NULL, "official", "mode", "v1.0", &llava7b);
    assert_int_equal(plan.n_cuts, 4);
    assert_true(plan_is_adaptive(&plan));
    plan = plan_of("sparsevlm", NULL, "official", "mode", "paper", &llava7b);
    assert_int_equal(plan.n_cuts, 3);
    struct error err;
    assert_int_equal(plan_error(&err, "sparsevlm", "192", "official", "mode", "paper", &llava7b), BAD_INPUT);
    assert_non_null(strstr(err.text, "depend on the data"));
    assert_int_equal(plan_error(&err, "sparsevlm", "192", "official", "lambda", "0.4", &llava7b), BAD_INPUT);
    assert_non_null(strstr(err.text, "goes with mode paper"));
}

/* baselines.md 0.3: stage tokens are rounded there and truncated by the code. */
static void test_pdrop_settings(void **state)
{
    (void)state;
    static const struct {
        const char *budget;
        int keep[3];
        double mean;
    } rows[] = {
        {"192", {322, 180, 100}, 191.375}, {"128", {241, 101, 42}, 127.375}, {"64", {110, 21, 4}, 63.875}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct plan official = plan_of("pdrop", rows[i].budget, "official", NULL, NULL, &llava7b);
        struct plan solved = plan_of("pdrop", rows[i].budget, "tokens_in", NULL, NULL, &llava7b);
        assert_keeps(&official, 3, rows[i].keep);
        assert_keeps(&solved, 3, rows[i].keep);
        assert_int_equal(solved.cuts[0].layer, 1);
        assert_true(fabs(solved.measured - rows[i].mean) < 0.2);
    }
    struct plan plan = plan_of("pdrop", NULL, "official", NULL, NULL, &llava7b);
    assert_keeps(&plan, 3, (const int[]){288, 144, 72});
    assert_int_equal(plan.cuts[0].layer, 7);
    plan = plan_of("pdrop", "192", "tokens_in", "layers", "8,16,24", &llava7b);
    assert_keeps(&plan, 3, (const int[]){145, 36, 9}); /* lambda .2531 */
    struct plan_input llava13b = llava7b;
    llava13b.n_layers = 40;
    plan = plan_of("pdrop", "64", "tokens_in", "layers", "2,10,20", &llava13b);
    assert_keeps(&plan, 3, (const int[]){126, 27, 6}); /* lambda .2192 */
    struct error err;
    assert_int_equal(plan_error(&err, "pdrop", "128", "tokens_in", "layers", "8,16,24", &llava7b), BAD_INPUT);
    assert_non_null(strstr(err.text, "nearest possible"));
    struct plan_input shallow = llava7b;
    shallow.n_layers = 8;
    plan = plan_of("pdrop", NULL, "official", NULL, NULL, &shallow); /* no layer 8 whose projections score */
    assert_int_equal(plan.n_cuts, 0);
    assert_int_equal(plan.n_fallen, 3);
}

static struct plan tower_of(const char *name, const char *budget, int image, const struct plan_input *input)
{
    struct method method;
    struct plan plan = {0};
    struct error err = {0};
    if (method_init(&method, name, &err) != OK || method_set(&method, "budget", budget, &err) != OK ||
        method_plan_tower(&plan, &method, input, image, input->n_images, &err) != OK)
        fail_msg("%s", err.text);
    return plan;
}

/* Merges by layer from what each leaves. */
static void assert_merges(const struct plan *plan, int n_layers, int r, int n_more)
{
    assert_int_equal(plan->n_cuts, n_layers);
    for (int l = 0, n = 576; l < n_layers; n = plan->cuts[l++].keep)
        assert_int_equal(n - plan->cuts[l].keep, l < n_more ? r : r - 1);
}

static void test_tome_schedules(void **state)
{
    (void)state;
    struct plan plan = tower_of("tome", "192", 0, &llava7b);
    assert_merges(&plan, 23, 17, 16);
    plan = tower_of("tome", "128", 0, &llava7b);
    assert_merges(&plan, 23, 20, 11);
    plan = tower_of("tome", "64", 0, &llava7b);
    assert_merges(&plan, 23, 23, 6);
    struct plan_input short_tower = llava7b; /* towers with few layers run into the limit */
    short_tower.n_vision_layers = 5;
    plan = tower_of("tome", "192", 0, &short_tower);
    assert_merges(&plan, 5, 77, 4);
    plan = tower_of("tome", "64", 0, &short_tower);
    assert_keeps(&plan, 5, (const int[]){464, 352, 240, 128, 64});
    struct method method;
    struct error err;
    assert_int_equal(method_init(&method, "tome", &err), OK);
    assert_int_equal(method_set(&method, "budget", "10", &err), OK);
    assert_int_equal(method_plan_tower(&plan, &method, &short_tower, 0, 1, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "nearest possible is 18"));
    struct plan sample = plan_of("tome", "128", "tokens_in", NULL, NULL, &llava7b);
    assert_true(plan_tokens_in(&sample, 576, 32) == 128);
    assert_int_equal(sample.cuts[0].site, SITE_VISION);
}

static void test_visionzip_splits_its_budget(void **state)
{
    (void)state;
    static const char *const budgets[] = {"192", "128", "64"};
    static const int split[][2] = {{162, 30}, {108, 20}, {54, 10}}; /* the class token among the dominant */
    for (int i = 0; i < 3; i++) {
        struct plan plan = tower_of("visionzip", budgets[i], 0, &llava7b);
        assert_int_equal(plan.n_cuts, 1);
        assert_int_equal(plan.cuts[0].layer, 22);
        assert_int_equal(plan.cuts[0].keep + 1, split[i][0]);
        assert_int_equal(plan.cuts[0].clusters, split[i][1]);
    }
    struct plan_input three = llava7b; /* three pictures share 64: 22, 21, 21 */
    three.n_images = 3;
    three.n_visual = 3 * 576;
    for (int image = 0; image < 3; image++) {
        struct plan plan = tower_of("visionzip", "64", image, &three);
        assert_int_equal(plan.cuts[0].keep + 1 + plan.cuts[0].clusters, image == 0 ? 22 : 21);
    }
}

static void test_methods_before_the_decoder_take_the_budget_itself(void **state)
{
    (void)state;
    static const char *const names[] = {"divprune", "random", "uniform",   "center", "top",
                                        "bottom",   "tome",   "visionzip", "pool",   "downsample"};
    static const char *const matches[] = {"official", "tokens_in", "tokens_out"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        for (unsigned m = 0; m < 3; m++) {
            struct plan plan = plan_of(names[i], "128", matches[m], NULL, NULL, &llava7b);
            assert_int_equal(plan.n_cuts, 1);
            assert_int_equal(plan.cuts[0].keep, 128);
            assert_true(plan_tokens_in(&plan, 576, 32) == 128);
        }
    /* 191 is no product of two sides up to 24: 190 is the nearest below */
    struct plan plan = plan_of("pool", "191", "official", NULL, NULL, &llava7b);
    assert_int_equal(plan.cuts[0].keep, 190);
}

/* Milliseconds that rise in a straight line with the tokens are tokens; a cut's own cost leaves fewer. */
static void test_latency_on_a_straight_line(void **state)
{
    (void)state;
    struct latency latency = {.n_points = 3, .tokens = {100, 300, 800}, .layer_ms = {1, 3, 8}};
    static const char *const names[] = {"sparsevlm", "fastv", "pdrop", "tome"};
    for (int i = 0; i < 4; i++) {
        struct plan plan, same = plan_of(names[i], "192", "tokens_in", NULL, NULL, &llava7b);
        struct plan_input input = llava7b;
        struct method method;
        struct error err;
        input.n_text = 0; /* so that nothing of the line lies under the text */
        assert_int_equal(method_init(&method, names[i], &err), OK);
        assert_int_equal(method_set(&method, "budget", "192", &err), OK);
        assert_int_equal(method_set(&method, "match", "latency", &err), OK);
        assert_int_equal(method_plan(&plan, &method, &input, &err), BAD_INPUT);
        assert_non_null(strstr(err.text, "calibration"));
        method.latency = &latency;
        latency.cut_ms = 0;
        assert_int_equal(method_plan(&plan, &method, &input, &err), OK);
        assert_int_equal(plan.n_cuts, same.n_cuts);
        for (int c = 0; c < plan.n_cuts; c++)
            assert_int_equal(plan.cuts[c].keep, same.cuts[c].keep);
        latency.cut_ms = 5;
        assert_int_equal(method_plan(&plan, &method, &input, &err), OK);
        if (strcmp(names[i], "tome") != 0) /* works before what is matched */
            assert_true(plan.cuts[0].keep < same.cuts[0].keep);
    }
}

static void test_apportion(void **state)
{
    (void)state;
    static const struct {
        int sizes[4], n, total, out[4];
    } rows[] = {{{576, 576}, 2, 193, {97, 96}},       {{10, 20, 30}, 3, 6, {1, 2, 3}},
                {{1, 1, 1}, 3, 2, {1, 1, 0}},         {{5, 0, 7}, 3, 12, {5, 0, 7}},
                {{3, 3, 3, 3}, 4, 100, {3, 3, 3, 3}}, {{7}, 1, 0, {0}},
                {{100, 1, 1}, 3, 3, {3, 0, 0}}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        int out[4] = {0};
        apportion(out, rows[i].sizes, rows[i].n, rows[i].total);
        for (int j = 0; j < rows[i].n; j++)
            assert_int_equal(out[j], rows[i].out[j]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plus_trajectories),
        cmocka_unit_test(test_data_dependent_modes_take_no_budget),
        cmocka_unit_test(test_pdrop_settings),
        cmocka_unit_test(test_tome_schedules),
        cmocka_unit_test(test_visionzip_splits_its_budget),
        cmocka_unit_test(test_methods_before_the_decoder_take_the_budget_itself),
        cmocka_unit_test(test_apportion),
        cmocka_unit_test(test_latency_on_a_straight_line),
        cmocka_unit_test(test_official_trajectories),
        cmocka_unit_test(test_official_scales_with_the_picture),
        cmocka_unit_test(test_sparsevlm_tokens_in),
        cmocka_unit_test(test_fastv_settings),
        cmocka_unit_test(test_random_shadows),
        cmocka_unit_test(test_flops_match_a_dense_run),
        cmocka_unit_test(test_keep_all_and_shallow_models),
        cmocka_unit_test(test_bad_budgets_say_what_would_work),
        cmocka_unit_test(test_params_print_as_they_are_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
