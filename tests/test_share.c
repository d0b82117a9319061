/* Prefills that share what they have in common answer bit for bit as each alone: methods on one question,
 * questions on one picture, in any order and with any memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "rng.h"
#include "vlm.h"

#include <cmocka.h>

#define CHECK(call)                                                                                          \
    do {                                                                                                     \
        if ((call) != OK)                                                                                    \
            fail_msg("%s", err.text);                                                                        \
    } while (0)

enum { N_LAYERS = 18, N_NEW = 3, N_QUESTIONS = 2, N_PICTURES = 2, IDS_MAX = 64 };

/* What is asked, by name and settings; the tree of their common layers has branches of every kind: cuts at
 * the same layer with the same scores and other counts, at other layers, before layer 0, none at all, and
 * the same cut twice. */
static const struct arm {
    const char *method, *settings; /* "KEY=VALUE KEY=VALUE" */
} arms[] = {{"vanilla", ""},
            {"sparsevlm", "budget=192"},
            {"sparsevlm", "budget=64"},
            {"sparsevlm", "budget=64 recycle=off"},
            {"sparsevlm", "budget=64 tau=0.5"},
            {"sparsevlm", "layers=2,6 keep=300,100"},
            {"sparsevlm", "keep=300,100,50"},
            {"sparsevlm", "budget=64 positions=original"},
            {"sparsevlm", "budget=64 raters=all"},
            {"sparsevlm", "mode=paper"},
            {"sparsevlm", "mode=v1.0"},
            {"sparsevlm", "mode=plus budget=128"},
            {"fastv", "budget=64"},
            {"fastv", "budget=64 query=all"},
            {"pdrop", "budget=64"},
            {"pdrop", "ratios=0.5,0.25,0.1 layers=2,6,9"},
            {"divprune", "budget=64"},
            {"divprune", "budget=64 positions=original"},
            {"random", "budget=64 seed=3"},
            {"random", "budget=64 at=decoder like=sparsevlm seed=1"},
            {"random", "at=decoder like=sparsevlm-paper seed=1"},
            {"uniform", "budget=64"},
            {"pool", "budget=64"},
            {"sparsevlm", "budget=100%"}};
enum { N_ARMS = sizeof arms / sizeof *arms };

struct bed {
    struct vlm *vlm;
    struct session *alone, *shared;
    struct features *features[N_PICTURES];
    struct method methods[N_ARMS];
    struct answer expected[N_PICTURES][N_QUESTIONS][N_ARMS];
    int arm_step; /* every so many-th arm is asked */
};

static void method_make(struct method *out, const struct arm *arm)
{
    struct error err;
    char text[200], *rest = text;
    CHECK(method_init(out, arm->method, &err));
    strcpy(text, arm->settings);
    for (char *pair; (pair = strtok_r(rest, " ", &rest));) {
        char *value = strchr(pair, '=');
        *value = 0;
        CHECK(method_set(out, pair, value + 1, &err));
    }
    CHECK(method_resolve(out, 0, &err));
}

static void ask(struct answer *answer, struct session *session, const struct bed *bed, int picture,
                int question, int arm, unsigned share)
{
    struct error err;
    int32_t ids[IDS_MAX];
    int n = 0;
    for (int i = 0; i < 5; i++)
        ids[n++] = 5 + 7 * i;
    ids[n++] = vlm_config(bed->vlm)->image_token;
    for (int i = 0; i < 9 + 2 * question; i++) /* questions begin alike, and end otherwise */
        ids[n++] = 40 + 13 * i + (i > 3 ? question : 0);
    CHECK(session_ask(answer, session,
                      &(struct question){.prompt_ids = ids,
                                         .n_prompt_ids = n,
                                         .n_turns = 1,
                                         .images = (struct features *const *)&bed->features[picture],
                                         .n_images = 1,
                                         .method = &bed->methods[arm],
                                         .max_new_tokens = N_NEW,
                                         .sample = (uint64_t)(picture * N_QUESTIONS + question),
                                         .want_records = true,
                                         .share = share},
                      &err));
}

static void bed_open(struct bed *bed, const char *device, int arm_step)
{
    bed->arm_step = arm_step;
    struct error err;
    CHECK(vlm_open(&bed->vlm,
                   &(struct vlm_options){.geometry = "miniature:18", .device = device, .random_seed = 7},
                   &err));
    CHECK(session_open(&bed->alone, bed->vlm, 1, &err));
    CHECK(session_open(&bed->shared, bed->vlm, 2, &err));
    for (int p = 0; p < N_PICTURES; p++)
        CHECK(features_random(&bed->features[p], bed->alone, 576,
                              &(struct encode_options){.seed = 11 + (uint64_t)p}, &err));
    for (int a = 0; a < N_ARMS; a++)
        method_make(&bed->methods[a], &arms[a]);
    for (int p = 0; p < N_PICTURES; p++)
        for (int q = 0; q < N_QUESTIONS; q++)
            for (int a = 0; a < N_ARMS; a += arm_step) {
                ask(&bed->expected[p][q][a], bed->alone, bed, p, q, a, 0);
                assert_int_equal(bed->expected[p][q][a].ledger.macs_shared, 0);
            }
}

static void bed_close(struct bed *bed)
{
    for (int p = 0; p < N_PICTURES; p++) {
        features_release(bed->features[p]);
        for (int q = 0; q < N_QUESTIONS; q++)
            for (int a = 0; a < N_ARMS; a += bed->arm_step)
                answer_free(&bed->expected[p][q][a]);
    }
    session_close(bed->alone);
    session_close(bed->shared);
    vlm_close(bed->vlm);
}

static void assert_same_record(const struct cut_record *a, const struct cut_record *b)
{
    assert_int_equal(a->layer, b->layer);
    assert_int_equal(a->n_in, b->n_in);
    assert_int_equal(a->n_kept, b->n_kept);
    assert_int_equal(a->n_recycled, b->n_recycled);
    assert_int_equal(a->n_clusters, b->n_clusters);
    assert_int_equal(a->rank, b->rank);
    assert_memory_equal(a->ids_in, b->ids_in, (size_t)a->n_in * sizeof *a->ids_in);
    assert_memory_equal(a->kept, b->kept, (size_t)a->n_kept * sizeof *a->kept);
    if (a->n_recycled > 0)
        assert_memory_equal(a->cluster_of, b->cluster_of, (size_t)a->n_recycled * sizeof *a->cluster_of);
    assert_int_equal(a->score == NULL, b->score == NULL);
    if (a->score)
        assert_memory_equal(a->score, b->score, (size_t)a->n_in * sizeof *a->score);
}

/* Everything but times. */
static void assert_same(const struct answer *a, const struct answer *b, const struct vlm *vlm)
{
    const struct ledger *x = &a->ledger, *y = &b->ledger;
    assert_int_equal(a->turns[0].n_ids, b->turns[0].n_ids);
    assert_memory_equal(a->turns[0].ids, b->turns[0].ids, (size_t)a->turns[0].n_ids * sizeof(int32_t));
    assert_memory_equal(a->first_logits, b->first_logits,
                        (size_t)vlm_config(vlm)->text.vocabulary * sizeof(float));
    assert_memory_equal(x->layers, y->layers, (size_t)x->n_layers * sizeof *x->layers);
    assert_memory_equal(x->macs, y->macs, sizeof x->macs);
    assert_memory_equal(x->macs_counted, y->macs_counted, sizeof x->macs_counted);
    assert_memory_equal(x->macs, x->macs_counted, sizeof x->macs);
    assert_int_equal(x->macs_paper, y->macs_paper);
    assert_int_equal(x->kv_bytes_live, y->kv_bytes_live);
    assert_int_equal(x->kv_bytes_alloc, y->kv_bytes_alloc);
    assert_int_equal(x->kv_bytes_end, y->kv_bytes_end);
    assert_int_equal(x->kv_visual_bytes, y->kv_visual_bytes);
    assert_int_equal(x->before_kept, y->before_kept);
    assert_int_equal(a->n_records, b->n_records);
    for (int i = 0; i < a->n_records; i++)
        assert_same_record(&a->records[i], &b->records[i]);
}

/* Asks and compares; returns the share of the prefill that was taken over. */
static double compare(struct bed *bed, int picture, int question, int arm, unsigned share)
{
    struct answer answer;
    ask(&answer, bed->shared, bed, picture, question, arm, share);
    assert_same(&answer, &bed->expected[picture][question][arm], bed->vlm);
    double taken = (double)answer.ledger.macs_shared / (double)answer.ledger.macs[STAGE_PREFILL];
    answer_free(&answer);
    return taken;
}

static void in_order(struct bed *bed)
{
    session_share(bed->shared, (size_t)1 << 30);
    double sum = 0;
    int n = 0;
    for (int p = 0; p < N_PICTURES; p++)
        for (int q = 0; q < N_QUESTIONS; q++)
            for (int a = 0; a < N_ARMS; a += bed->arm_step, n++)
                sum += compare(bed, p, q, a, SHARE_METHODS | SHARE_QUESTIONS);
    assert_true(sum > 0.2 * n);
    session_share(bed->shared, 0);
}

/* One bed for the tests on the CPU: what is expected takes a while. */
static int open_cpu(void **state)
{
    static struct bed bed;
    bed_open(&bed, "cpu", 1);
    *state = &bed;
    return 0;
}

static int close_cpu(void **state)
{
    bed_close(*state);
    return 0;
}

static void test_shared_prefills_answer_as_each_alone(void **state)
{
    in_order(*state);
}

static void test_the_reference_backend_shares_too(void **state)
{
    (void)state;
    static struct bed bed;
    bed_open(&bed, "ref", 13);
    in_order(&bed);
    bed_close(&bed);
}

static void test_a_second_question_runs_its_own_text_only(void **state)
{
    struct bed *bed = *state;
    int n_own = 9, n = 5 + 576 + n_own; /* vanilla's */
    session_share(bed->shared, (size_t)1 << 30);
    assert_true(compare(bed, 1, 1, 0, SHARE_QUESTIONS) == 0);
    assert_true(compare(bed, 1, 0, 0, SHARE_QUESTIONS) > 0.99 * (n - n_own) / n);
    assert_true(compare(bed, 0, 0, 0, SHARE_QUESTIONS) == 0); /* another picture */
    session_share(bed->shared, 0);
    assert_true(compare(bed, 1, 0, 0, SHARE_QUESTIONS) == 0);
}

static void test_any_order_and_any_memory(void **state)
{
    uint64_t x = 1;
    for (int round = 0; round < 120; round++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        unsigned r = (unsigned)(x >> 33);
        if (round % 20 == 0) /* from less than one state to all of them */
            session_share(((struct bed *)*state)->shared, (size_t)1 << (14 + round / 5));
        compare(*state, (int)(r % N_PICTURES), (int)(r / 2 % N_QUESTIONS), (int)(r / 8 % N_ARMS),
                r / 256 % 4);
    }
}

static void test_memory_stays_within_the_limit(void **state)
{
    struct bed *bed = *state;
    struct error err;
    struct session *session = bed->shared;
    size_t before = session_peak_bytes(bed->alone), limit = (size_t)12 << 20;
    CHECK(session_open(&bed->shared, bed->vlm, 2, &err)); /* without pages of earlier tests */
    session_share(bed->shared, limit);
    for (int a = 0; a < N_ARMS; a++)
        compare(bed, 0, a % N_QUESTIONS, a, SHARE_METHODS | SHARE_QUESTIONS);
    assert_true(session_peak_bytes(bed->shared) <= before + limit);
    session_close(bed->shared);
    bed->shared = session;
}

static void test_the_last_method_of_a_question_takes_up_too(void **state)
{
    struct bed *bed = *state;
    session_share(bed->shared, 0); /* without what earlier tests left */
    session_share(bed->shared, (size_t)1 << 30);
    assert_true(compare(bed, 0, 0, 1, SHARE_METHODS) == 0);
    assert_true(compare(bed, 0, 0, 0, 0) > 0);
    session_share(bed->shared, 0);
}

/* Cuts that select the same behind other layers: the rows behind them are others. */
static void test_the_same_selection_behind_another_layer_is_another_path(void **state)
{
    enum { N_CUTS = 3, N_KEPT = 10 };
    struct bed *bed = *state;
    struct error err;
    struct features *features = NULL;
    struct method replay;
    uint8_t pixels[2 * 2 * 3] = {200, 10, 10, 10, 200, 10, 10, 10, 200};
    int32_t kept[N_KEPT] = {7, 50, 51, 120, 200, 301, 333, 402, 500, 570}, first[N_KEPT], ids[20];
    const int layers[][N_CUTS] = {{2, 6, 9}, {4, 6, 9}};
    int n = 0;
    ids[n++] = 5;
    ids[n++] = vlm_config(bed->vlm)->image_token;
    for (; n < 12; n++)
        ids[n] = 40 + 13 * n;
    for (int i = 0; i < N_KEPT; i++)
        first[i] = i;
    method_make(&replay, &(struct arm){"replay", ""});
    session_share(bed->shared, (size_t)1 << 30);
    for (unsigned i = 0; i < sizeof layers / sizeof *layers; i++) {
        struct cut_record cuts[N_CUTS];
        for (int c = 0; c < N_CUTS; c++)
            cuts[c] = (struct cut_record){.site = SITE_DECODER,
                                          .image = -1,
                                          .layer = layers[i][c],
                                          .n_in = c == 0 ? 576 : N_KEPT + 1 - c,
                                          .kept = c == 0 ? kept : first,
                                          .n_kept = N_KEPT - c,
                                          .n_raters = -1};
        if (features == NULL)
            CHECK(session_encode(
                &features, bed->alone, &(struct image){.width = 2, .height = 2, .rgb = pixels},
                &(struct encode_options){.method = &replay, .replay = cuts, .n_replay = N_CUTS}, &err));
        struct question question = {.prompt_ids = ids,
                                    .n_prompt_ids = n,
                                    .n_turns = 1,
                                    .images = &features,
                                    .n_images = 1,
                                    .method = &replay,
                                    .max_new_tokens = N_NEW,
                                    .replay = cuts,
                                    .n_replay = N_CUTS,
                                    .want_records = true};
        struct answer alone, shared;
        CHECK(session_ask(&alone, bed->alone, &question, &err));
        question.share = SHARE_METHODS;
        CHECK(session_ask(&shared, bed->shared, &question, &err));
        assert_same(&shared, &alone, bed->vlm);
        answer_free(&alone);
        answer_free(&shared);
    }
    session_share(bed->shared, 0);
    features_release(features);
}

static void test_a_question_that_takes_too_long_is_given_up(void **state)
{
    (void)state;
    struct bed bed = {0};
    struct error err;
    struct answer answer;
    CHECK(vlm_open(&bed.vlm, &(struct vlm_options){.geometry = "miniature:18", .device = "cpu"}, &err));
    CHECK(session_open(&bed.alone, bed.vlm, 1, &err));
    struct question question = {.prompt_ids = (const int32_t[]){5, 6, 7},
                                .n_prompt_ids = 3,
                                .n_turns = 1,
                                .max_new_tokens = 1000,
                                .deadline_ms = clock_ms() + 1};
    assert_int_equal(session_ask(&answer, bed.alone, &question, &err), NOT_HELD);
    assert_non_null(strstr(err.text, "given up"));
    question.max_new_tokens = 2;
    question.deadline_ms = clock_ms() + 60000;
    CHECK(session_ask(&answer, bed.alone, &question, &err));
    answer_free(&answer);
    session_close(bed.alone);
    vlm_close(bed.vlm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_prefills_answer_as_each_alone),
        cmocka_unit_test(test_the_reference_backend_shares_too),
        cmocka_unit_test(test_a_second_question_runs_its_own_text_only),
        cmocka_unit_test(test_any_order_and_any_memory),
        cmocka_unit_test(test_memory_stays_within_the_limit),
        cmocka_unit_test(test_the_last_method_of_a_question_takes_up_too),
        cmocka_unit_test(test_the_same_selection_behind_another_layer_is_another_path),
        cmocka_unit_test(test_a_question_that_takes_too_long_is_given_up),
    };
    return cmocka_run_group_tests(tests, open_cpu, close_cpu);
}
