/* The method of docs/adding-a-method.md (docs/example_method.c), registered and run end to end on a small
 * model with random weights: it must be as good a method as the page says. That the page quotes the file is
 * tests/test_docs.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model.h"

#include <cmocka.h> /* last: its fail() would hide ours */

#define CHECK(call)                                                                                          \
    do {                                                                                                     \
        if ((call) != OK)                                                                                    \
            fail_msg("%s", err.text);                                                                        \
    } while (0)

enum { N_LAYERS = 6, N_PATCHES = 576, N_TEXT = 12 };

extern const struct reducer reducer_example;

struct bed {
    struct vlm *vlm;
    struct session *session;
    struct image image;
    float *tower_in;  /* [1 + N_PATCHES, d] what enters the last layer of the tower, vanilla */
    float *projected; /* [N_PATCHES, hidden] what vanilla hands the decoder */
};

/* ---- taps ----------------------------------------------------------------------------------- */

struct taken {
    const char *name;
    float *data;
    int rows;
};

static bool want(void *context, const char *name)
{
    return strcmp(name, ((struct taken *)context)->name) == 0;
}

static void give(void *context, const char *name, const float *data, int first, int rows, int cols)
{
    struct taken *taken = context;
    size_t n_bytes = (size_t)rows * (size_t)cols * sizeof *data;
    (void)name;
    (void)first;
    free(taken->data);
    taken->data = malloc(n_bytes);
    assert_non_null(taken->data);
    memcpy(taken->data, data, n_bytes);
    taken->rows = rows;
}

/* Encodes the picture; returns what was tapped, to be freed. */
static float *encode_tapped(struct bed *bed, const struct method *method, const char *name, int n_rows)
{
    struct error err;
    struct taken taken = {.name = name};
    struct tap tap = {.want = want, .give = give, .context = &taken};
    struct features *features;
    CHECK(session_encode(&features, bed->session, &bed->image,
                         &(struct encode_options){.method = method, .tap = &tap}, &err));
    features_release(features);
    assert_int_equal(taken.rows, n_rows);
    return taken.data;
}

/* ---- the bed -------------------------------------------------------------------------------- */

static int setup(void **state)
{
    static struct bed bed;
    struct error err;
    if (reducer_find("example") == NULL)
        reducer_add(&reducer_example);
    CHECK(vlm_open(
        &bed.vlm, &(struct vlm_options){.geometry = "miniature:6", .device = "cpu", .random_seed = 3}, &err));
    CHECK(session_open(&bed.session, bed.vlm, 2, &err));
    CHECK(image_new(&bed.image, 97, 61, (const uint8_t[3]){40, 90, 160}, &err));
    for (int i = 0; i < 97 * 61 * 3; i++)
        bed.image.rgb[i] = (uint8_t)(i * 37 ^ (i / 291) * 11);
    char name[32];
    snprintf(name, sizeof name, "vision.%d.out", vlm_config(bed.vlm)->vision.n_used_layers - 2);
    bed.tower_in = encode_tapped(&bed, NULL, name, 1 + N_PATCHES);
    bed.projected = encode_tapped(&bed, NULL, "projector.out", N_PATCHES);
    *state = &bed;
    return 0;
}

static int teardown(void **state)
{
    struct bed *bed = *state;
    free(bed->tower_in);
    free(bed->projected);
    image_free(&bed->image);
    session_close(bed->session);
    vlm_close(bed->vlm);
    return 0;
}

static struct method example(const char *key, const char *value, const char *match)
{
    struct method method;
    struct error err;
    CHECK(method_init(&method, "example", &err));
    CHECK(method_set(&method, key, value, &err));
    CHECK(method_set(&method, "match", match, &err));
    return method;
}

static enum status ask(struct answer *answer, struct bed *bed, const struct method *method, int n_images,
                       struct error *err)
{
    struct features *features[2] = {NULL, NULL};
    int32_t ids[N_TEXT + 2];
    int n = 0;
    for (int i = 0; i < n_images; i++)
        TRY(session_encode(&features[i], bed->session, &bed->image,
                           &(struct encode_options){.method = method, .image = i, .n_images = n_images},
                           err));
    for (int i = 0; i < N_TEXT; i++) {
        if (i >= 2 && i - 2 < n_images)
            ids[n++] = vlm_config(bed->vlm)->image_token;
        ids[n++] = 40 + 13 * i;
    }
    enum status status = session_ask(answer, bed->session,
                                     &(struct question){.prompt_ids = ids,
                                                        .n_prompt_ids = n,
                                                        .n_turns = 1,
                                                        .images = features,
                                                        .n_images = n_images,
                                                        .method = method,
                                                        .max_new_tokens = 3,
                                                        .want_records = true},
                                     err);
    for (int i = 0; i < n_images; i++)
        features_release(features[i]);
    return status;
}

/* ---- class attention, computed directly ----------------------------------------------------- */

/* y [n, d] of a layer's projection, on the host. */
static float *projection(struct bed *bed, const float *x, const struct weight *weight, const float *bias)
{
    const struct ops *ops = bed->vlm->ops;
    struct compute *c = session_compute(bed->session);
    size_t n_bytes = (size_t)(1 + N_PATCHES) * (size_t)weight->n_out * sizeof(float);
    float *device = ops->alloc(n_bytes), *host = malloc(n_bytes);
    assert_true(device && host);
    ops->linear(c, device, x, weight, bias, 1 + N_PATCHES);
    ops->download(c, host, device, n_bytes);
    ops->release(device);
    return host;
}

/* p [N_PATCHES]: mean over heads of the class row's softmax over all keys, in double. */
static void class_attention(double *p, struct bed *bed)
{
    const struct ops *ops = bed->vlm->ops;
    const struct vlm_config *config = vlm_config(bed->vlm);
    const struct clip_layer *layer = &bed->vlm->clip.layers[config->vision.n_used_layers - 1];
    struct compute *c = session_compute(bed->session);
    int n = 1 + N_PATCHES, d = config->vision.hidden, n_heads = config->vision.n_heads, h = d / n_heads;
    float *x = ops->alloc((size_t)n * (size_t)d * sizeof *x);
    assert_non_null(x);
    ops->upload(c, x, bed->tower_in, (size_t)n * (size_t)d * sizeof *x);
    ops->layer_norm(c, x, x, layer->norm1_weight, layer->norm1_bias, config->vision.eps, n, d);
    float *q = projection(bed, x, &layer->q, layer->q_bias),
          *k = projection(bed, x, &layer->k, layer->k_bias);
    ops->release(x);
    memset(p, 0, N_PATCHES * sizeof *p);
    for (int head = 0; head < n_heads; head++) {
        double logit[1 + N_PATCHES], most = -INFINITY, sum = 0;
        for (int j = 0; j < n; j++) {
            logit[j] = 0;
            for (int i = head * h; i < (head + 1) * h; i++)
                logit[j] += (double)q[i] * (double)k[j * d + i];
            logit[j] /= sqrt(h);
            most = fmax(most, logit[j]);
        }
        for (int j = 0; j < n; j++)
            sum += exp(logit[j] - most);
        for (int j = 1; j < n; j++)
            p[j - 1] += exp(logit[j] - most) / sum / n_heads;
    }
    free(q);
    free(k);
}

/* ---- tests ---------------------------------------------------------------------------------- */

/* What a run with `keep` tokens must be. */
static void assert_good(struct bed *bed, const struct method *method, int keep, const double *p)
{
    struct answer answer;
    struct error err;
    CHECK(ask(&answer, bed, method, 1, &err));
    const struct ledger *ledger = &answer.ledger;
    for (int s = 0; s < N_STAGES; s++) /* flops = flops_counted */
        assert_int_equal(ledger->macs[s], ledger->macs_counted[s]);
    for (int l = 0; l < N_LAYERS; l++) { /* planned = measured */
        assert_int_equal(ledger->layers[l].visual_in, keep);
        assert_int_equal(ledger->layers[l].kv_len, keep + N_TEXT);
    }
    assert_int_equal(answer.n_records, 1);
    const struct cut_record *record = &answer.records[0];
    assert_int_equal(record->site, SITE_VISION);
    assert_int_equal(record->n_kept, keep);

    /* the kept are the top of what was computed directly, in sequence order; equal to f32 counts as equal */
    bool kept[N_PATCHES] = {false};
    double least = INFINITY;
    for (int i = 0; i < keep; i++) {
        assert_true(i == 0 || record->kept[i] > record->kept[i - 1]);
        kept[record->kept[i]] = true;
        least = fmin(least, p[record->kept[i]]);
    }
    for (int j = 0; j < N_PATCHES; j++)
        assert_true(kept[j] || p[j] <= least * (1 + 1e-5));

    /* and what goes on are vanilla's features of these patches, bit by bit */
    size_t d = (size_t)vlm_config(bed->vlm)->text.hidden;
    float *projected = encode_tapped(bed, method, "projector.out", keep);
    for (int i = 0; i < keep; i++)
        assert_memory_equal(projected + (size_t)i * d, bed->projected + (size_t)record->kept[i] * d,
                            d * sizeof *projected);
    free(projected);
    answer_free(&answer);
}

static void test_budgets_become_the_best_patches_in_order(void **state)
{
    struct bed *bed = *state;
    static const struct {
        const char *key, *value, *match;
        int keep;
    } rows[] = {{"budget", "192", "official", 192}, {"budget", "33%", "official", 190},
                {"budget", "64", "tokens_in", 64},  {"budget", "64", "flops", 64},
                {"budget", "575", "official", 575}, {"budget", "1", "official", 1},
                {"keep", "100", "official", 100}};
    double p[N_PATCHES];
    class_attention(p, bed);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct method method = example(rows[i].key, rows[i].value, rows[i].match);
        assert_good(bed, &method, rows[i].keep, p);
    }
}

static void test_keeping_everything_is_vanilla_bit_by_bit(void **state)
{
    struct bed *bed = *state;
    struct error err;
    struct answer vanilla, all;
    CHECK(ask(&vanilla, bed, NULL, 1, &err));
    static const char *const given[][2] = {
        {"budget", "100%"}, {"budget", "576"}, {"budget", "1000"}, {"keep", "576"}};
    for (unsigned i = 0; i < sizeof given / sizeof *given; i++) {
        struct method method = example(given[i][0], given[i][1], "official");
        CHECK(ask(&all, bed, &method, 1, &err));
        assert_int_equal(all.n_records, 0);
        assert_int_equal(all.turns[0].n_ids, vanilla.turns[0].n_ids);
        assert_memory_equal(all.turns[0].ids, vanilla.turns[0].ids,
                            (size_t)all.turns[0].n_ids * sizeof(int32_t));
        assert_memory_equal(all.first_logits, vanilla.first_logits,
                            (size_t)vlm_config(bed->vlm)->text.vocabulary * sizeof(float));
        answer_free(&all);
    }
    answer_free(&vanilla);
}

static void test_two_pictures_share_the_budget(void **state)
{
    struct bed *bed = *state;
    struct error err;
    struct answer answer;
    struct method method = example("budget", "101", "official");
    CHECK(ask(&answer, bed, &method, 2, &err));
    assert_int_equal(answer.n_records, 2);
    assert_int_equal(answer.records[0].n_kept, 51);
    assert_int_equal(answer.records[1].n_kept, 50);
    assert_int_equal(answer.ledger.layers[0].visual_in, 101);
    answer_free(&answer);
}

static void test_bad_values_name_what_would_do(void **state)
{
    struct bed *bed = *state;
    struct method method;
    struct error err;
    struct answer answer;
    CHECK(method_init(&method, "example", &err));
    assert_int_equal(method_set(&method, "keep", "many", &err), BAD_INPUT);
    assert_int_equal(method_set(&method, "kepe", "3", &err), BAD_INPUT);
    assert_non_null(strstr(err.text, "keep"));
    assert_int_equal(ask(&answer, bed, &method, 1, &err), BAD_INPUT); /* neither budget nor keep */
    assert_non_null(strstr(err.text, "budget"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_budgets_become_the_best_patches_in_order),
                                       cmocka_unit_test(test_keeping_everything_is_vanilla_bit_by_bit),
                                       cmocka_unit_test(test_two_pictures_share_the_budget),
                                       cmocka_unit_test(test_bad_values_name_what_would_do)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
