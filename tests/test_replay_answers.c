/* Every method's own trace, replayed: the same ids and the same logits to the last bit, in one turn and in
 * two, on the miniature. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/replay.h"
#include "harness/trace.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static char path[64];
static struct vlm *vlm;
static struct session *session;
static struct image picture;

static void must(enum status status, const struct error *err, const char *what)
{
    if (status != OK)
        fail_msg("%s: %s", what, err->text);
}

static int setup(void **state)
{
    (void)state;
    struct error err = {0};
    snprintf(path, sizeof path, "/tmp/winnow-answers-%ld.h5", (long)getpid());
    must(vlm_open(&vlm, &(struct vlm_options){.dir = WINNOW_SOURCE_DIR "/models/miniature", .device = "cpu"},
                  &err),
         &err, "model");
    must(session_open(&session, vlm, 1, &err), &err, "session");
    must(image_new(&picture, 120, 90, (const uint8_t[3]){0}, &err), &err, "picture");
    for (int y = 0; y < 90; y++) /* no two patches alike */
        for (int x = 0; x < 120; x++) {
            uint8_t *rgb = picture.rgb + 3 * (y * 120 + x);
            rgb[0] = (uint8_t)(x * x / 7 + y);
            rgb[1] = (uint8_t)(x * 2 + y * y / 5);
            rgb[2] = (uint8_t)((x / 9 + y / 11) % 2 ? 230 : 3 * y);
        }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    image_free(&picture);
    session_close(session);
    vlm_close(vlm);
    return 0;
}

static void ask(struct answer *out, const struct method *method, int n_turns, const struct cut_record *cuts,
                int n_cuts, int *rows, int *cols, const char *what)
{
    static const char *const prompts[] = {"USER: <image>\nWhat is on the left? ASSISTANT:",
                                          " USER: Is there a circle? ASSISTANT:"};
    struct error err = {0};
    struct features *features;
    must(session_encode(&features, session, &picture,
                        &(struct encode_options){.method = method, .replay = cuts, .n_replay = n_cuts}, &err),
         &err, what);
    features_grid(features, rows, cols);
    must(session_ask(out, session,
                     &(struct question){.prompts = prompts,
                                        .n_turns = n_turns,
                                        .images = &features,
                                        .n_images = 1,
                                        .method = method,
                                        .max_new_tokens = 3,
                                        .replay = cuts,
                                        .n_replay = n_cuts,
                                        .want_records = true},
                     &err),
         &err, what);
    features_release(features);
}

static void expect_same(const struct answer *a, const struct answer *b, const char *what)
{
    for (int t = 0; t < a->n_turns; t++) {
        bool same = a->turns[t].n_ids == b->turns[t].n_ids &&
                    memcmp(a->turns[t].ids, b->turns[t].ids,
                           (size_t)a->turns[t].n_ids * sizeof *a->turns[t].ids) == 0;
        if (!same)
            fail_msg("%s: turn %d has another answer when it is replayed", what, t);
    }
    size_t n = (size_t)vlm_config(vlm)->text.vocabulary;
    if (memcmp(a->first_logits, b->first_logits, n * sizeof(float)) != 0)
        fail_msg("%s: other logits when it is replayed", what);
    assert_int_equal(a->ledger.before_kept, b->ledger.before_kept);
    assert_int_equal(a->n_records, b->n_records);
    for (int l = 0; l < a->ledger.n_layers; l++) {
        const struct ledger_layer *x = &a->ledger.layers[l], *y = &b->ledger.layers[l];
        if (x->visual_out != y->visual_out || x->kept != y->kept || x->recycled != y->recycled ||
            x->clusters != y->clusters || x->dropped != y->dropped)
            fail_msg("%s: the ledger of layer %d is another when it is replayed", what, l);
    }
}

/* settings: "METHOD KEY=VALUE …" */
static void expect_replayed(const char *settings, int n_turns)
{
    struct error err = {0};
    struct method method = {0}, replay;
    char text[160], cell[32] = "ask";
    snprintf(text, sizeof text, "%s", settings);
    char *rest = NULL, *name = strtok_r(text, " ", &rest);
    must(method_init(&method, name, &err), &err, settings);
    for (char *one; (one = strtok_r(NULL, " ", &rest));) {
        char *equals = strchr(one, '=');
        *equals = 0;
        must(method_set(&method, one, equals + 1, &err), &err, settings);
    }
    must(method_resolve(&method, 0, &err), &err, settings);

    struct answer traced, replayed;
    int rows, cols;
    ask(&traced, &method, n_turns, NULL, 0, &rows, &cols, settings);
    struct trace *trace;
    char params[4096];
    params_json(params, sizeof params, &method.params, false);
    unlink(path);
    must(trace_open(&trace, path, NULL, &err), &err, settings);
    must(trace_cell(trace, cell, name, params, "m", &err), &err, settings);
    must(trace_sample(trace, cell,
                      &(struct trace_sample){.question = "Q",
                                             .answer = "A",
                                             .result = &traced,
                                             .n_grids = 1,
                                             .grid_rows = rows,
                                             .grid_cols = cols},
                      &err),
         &err, settings);
    must(trace_close(trace, &err), &err, settings);

    struct replay_file *file;
    struct cut_record *cuts;
    int n_cuts;
    must(method_init(&replay, "replay", &err), &err, settings);
    must(method_set(&replay, "file", path, &err), &err, settings);
    must(method_set(&replay, "cell", cell, &err), &err, settings);
    must(replay_method_open(&file, &replay, &err), &err, settings);
    must(method_resolve(&replay, 0, &err), &err, settings);
    must(replay_read(&cuts, &n_cuts, file, 0, &err), &err, settings);
    ask(&replayed, &replay, n_turns, cuts, n_cuts, &rows, &cols, settings);
    expect_same(&traced, &replayed, settings);
    replay_free(cuts, n_cuts);
    replay_close(file);
    answer_free(&traced);
    answer_free(&replayed);
}

static const char *const variants[] = {"sparsevlm budget=64",
                                       "sparsevlm budget=64 merge=sum raters=all",
                                       "sparsevlm mode=plus budget=64",
                                       "sparsevlm mode=paper",
                                       "sparsevlm mode=v1.0",
                                       "fastv budget=128",
                                       "fastv budget=64 query=all positions=compact",
                                       "pdrop budget=64",
                                       "pdrop",
                                       "tome budget=64",
                                       "tome budget=100 order=literal proportional=off",
                                       "visionzip budget=64",
                                       "divprune budget=64",
                                       "random budget=64",
                                       "random at=decoder budget=64",
                                       "uniform at=decoder like=pdrop budget=64",
                                       "center budget=64",
                                       "top budget=64",
                                       "bottom budget=64",
                                       "pool budget=64",
                                       "pool budget=50 positions=original",
                                       "downsample budget=64",
                                       "downsample budget=128",
                                       "vanilla"};

static void every_method_is_replayed_bit_for_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        for (int turns = 1; turns <= 2; turns++)
            expect_replayed(variants[i], turns);
}

/* A method that nobody thought of above fails here. */
static void every_method_is_among_them(void **state)
{
    (void)state;
    int n;
    const struct reducer *const *all = reducers(&n);
    for (int i = 0; i < n; i++) {
        bool there = strcmp(all[i]->name, "replay") == 0;
        for (size_t v = 0; v < sizeof variants / sizeof *variants; v++)
            there = there || strncmp(variants[v], all[i]->name, strlen(all[i]->name)) == 0;
        if (!there)
            fail_msg("method %s is not replayed by any test", all[i]->name);
    }
}

static void a_replay_is_not_replayed(void **state)
{
    (void)state;
    struct error err = {0};
    struct trace *trace;
    struct replay_file *file;
    struct method replay;
    unlink(path);
    must(trace_open(&trace, path, NULL, &err), &err, "trace");
    must(trace_cell(trace, "ask", "replay", "{}", "m", &err), &err, "trace");
    must(trace_close(trace, &err), &err, "trace");
    must(method_init(&replay, "replay", &err), &err, "replay");
    must(method_set(&replay, "file", path, &err), &err, "replay");
    must(method_set(&replay, "cell", "ask", &err), &err, "replay");
    assert_int_equal(replay_method_open(&file, &replay, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "is a replay itself"));
    assert_null(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_method_is_replayed_bit_for_bit),
                                       cmocka_unit_test(every_method_is_among_them),
                                       cmocka_unit_test(a_replay_is_not_replayed)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
