/* The table of op × shape × tolerance, see ops_check.h. A check prepares the same inputs for two backends
 * (from rng.h, so the same everywhere), executes the op on both, and compares what it wrote.
 *
 * Errors of floats are relative to the largest value of the reference's output. */
#include "ops_check.h"

#include <math.h>
#include <stdlib.h>
#include <regex.h>
#include <string.h>

#include "memory.h"
#include "ops_calls.h"

/* ---- the table ------------------------------------------------------------------------------ */

struct check {
    const struct op *op;
    int s[N_SIZES];
    double tolerance; /* 0: bit by bit */
    bool is_large;    /* timed only */
};

static const struct check CHECKS[] = {
    /* the built-in miniature: tower 64 wide, decoder 128 wide, MLP 384 */
    {&OP_LINEAR, {1, 128, 128}, 2e-6, false},
    {&OP_LINEAR, {600, 128, 128}, 2e-6, false},
    {&OP_LINEAR, {600, 384, 128}, 2e-6, false},
    {&OP_LINEAR, {600, 128, 384}, 2e-6, false},
    {&OP_LINEAR, {576, 64, 588}, 2e-6, false},
    {&OP_LINEAR, {577, 64, 64, 1}, 2e-6, false},
    {&OP_LINEAR, {50, 640, 128}, 2e-6, false},
    /* odd sizes, several groups and chunks */
    {&OP_LINEAR, {49, 401, 77, 1}, 2e-6, false},
    {&OP_LINEAR, {97, 1, 3, 1}, 2e-6, false},
    {&OP_LINEAR, {5, 9, 1}, 2e-6, false},
    {&OP_LINEAR, {100, 1000, 1100, 1}, 4e-6, false},
    {&OP_LINEAR, {30, 770, 2048}, 4e-6, false},
    {&OP_LINEAR, {640, 1024, 1024}, 0, true},
    {&OP_LINEAR, {640, 1024, 2752}, 0, true},
    {&OP_LINEAR, {640, 4096, 4096}, 0, true},
    {&OP_LINEAR, {640, 4096, 11008}, 0, true},
    {&OP_LINEAR_ROW, {1, 128, 128}, 2e-6, false},
    {&OP_LINEAR_ROW, {1, 384, 128}, 2e-6, false},
    {&OP_LINEAR_ROW, {1, 128, 384, 1}, 2e-6, false},
    {&OP_LINEAR_ROW, {1, 401, 77, 1}, 2e-6, false},
    {&OP_LINEAR_ROW, {1, 1000, 1100, 1}, 4e-6, false},
    {&OP_LINEAR_ROW, {1, 640, 128}, 2e-6, false},
    {&OP_LINEAR_ROW, {1, 4096, 4096}, 0, true},
    {&OP_LINEAR_ROW, {1, 32000, 4096}, 0, true},
    {&OP_RMS_NORM, {600, 128}, 1e-6, false},
    {&OP_RMS_NORM, {3, 77}, 1e-6, false},
    {&OP_RMS_NORM, {640, 4096}, 2e-6, false},
    {&OP_LAYER_NORM, {577, 64}, 2e-6, false},
    {&OP_LAYER_NORM, {3, 77}, 2e-6, false},
    {&OP_LAYER_NORM, {577, 1024}, 2e-6, false},
    {&OP_ADD, {600, 128}, 0, false},
    {&OP_ADD, {1, 7}, 0, false},
    {&OP_ACTIVATE, {577, 256, ACTIVATION_QUICK_GELU}, 1e-6, false},
    {&OP_ACTIVATE, {576, 128, ACTIVATION_GELU}, 1e-6, false},
    {&OP_ACTIVATE, {1, 77, ACTIVATION_GELU}, 1e-6, false},
    {&OP_ACTIVATE, {576, 128, ACTIVATION_GELU_TANH}, 1e-6, false},
    {&OP_ACTIVATE, {576, 129, ACTIVATION_SILU}, 1e-6, false},
    {&OP_SILU_MUL, {600, 384}, 1e-6, false},
    {&OP_SILU_MUL, {1, 77}, 1e-6, false},
    {&OP_ROPE, {600, 4, 32}, 1e-6, false},
    {&OP_ROPE, {600, 4, 32, 1}, 1e-6, false},
    {&OP_ROPE, {33, 3, 10, 1}, 1e-6, false},
    {&OP_GATHER_ROWS, {300, 128, 1}, 0, false},
    {&OP_MERGE_ROWS, {83, 128, 9, 83}, 1e-6, false},
    {&OP_MERGE_ROWS, {154, 4096, 16, 154}, 1e-6, false},
    {&OP_MERGE_ROWS, {83, 77, 9, 41, 1}, 1e-6, false}, /* rows go into two groups */
    {&OP_MERGE_ROWS, {1, 1, 1, 1, 1}, 1e-6, false},
    {&OP_HEAD_MEAN, {577, 4, 16}, 1e-7, false},
    {&OP_HEAD_MEAN, {3, 5, 13}, 1e-7, false},
    {&OP_HEAD_MEAN, {577, 16, 64}, 1e-7, false},
    {&OP_PATCHIFY, {336, 336, 14}, 0, false},
    {&OP_PATCHIFY, {224, 168, 14}, 0, false},
    {&OP_ATTENTION, {620, 620, 4, 4, 32}, 4e-6, false},
    {&OP_ATTENTION, {577, -577, 4, 4, 16}, 4e-6, false},
    {&OP_ATTENTION, {1, 1, 4, 4, 32}, 4e-6, false},
    {&OP_ATTENTION, {64, 64, 2, 2, 8}, 4e-6, false},
    {&OP_ATTENTION, {65, 65, 2, 1, 64}, 4e-6, false},
    {&OP_ATTENTION, {129, 70, 4, 2, 80}, 4e-6, false},
    {&OP_ATTENTION, {200, 30, 2, 1, 128}, 4e-6, false},
    {&OP_ATTENTION, {150, 150, 2, 2, 72}, 4e-6, false},
    {&OP_ATTENTION, {70, -9, 2, 2, 13}, 4e-6, false},
    {&OP_ATTENTION, {577, -577, 4, 4, 16, 1}, 4e-6, false},
    {&OP_ATTENTION, {129, 70, 4, 2, 80, 1}, 4e-6, false},
    {&OP_ATTENTION, {70, -9, 2, 2, 13, 1}, 4e-6, false},
    {&OP_ATTENTION, {1, 1, 4, 4, 32, 1}, 4e-6, false},
    {&OP_ATTENTION, {640, 640, 32, 32, 128}, 0, true},
    {&OP_ATTENTION, {577, -577, 16, 16, 64}, 0, true},
    {&OP_ATTENTION, {577, -577, 16, 16, 64, 1}, 0, true},
    {&OP_ATTENTION, {4096, 4096, 4, 4, 128}, 0, true},
    {&OP_ATTENTION_ROW, {1, -1, 4, 4, 32}, 4e-6, false},
    {&OP_ATTENTION_ROW, {620, -1, 4, 4, 32}, 4e-6, false},
    {&OP_ATTENTION_ROW, {65, -1, 4, 2, 80}, 4e-6, false},
    {&OP_ATTENTION_ROW, {128, -1, 2, 1, 13}, 4e-6, false},
    {&OP_ATTENTION_ROW, {640, -1, 32, 32, 128}, 0, true},
    {&OP_ATTENTION_SCORE, {620, 12, 4, 4, 32}, 1e-5, false},
    {&OP_ATTENTION_SCORE, {75, 75, 4, 2, 13}, 1e-5, false},
    {&OP_ATTENTION_SCORE, {130, 1, 2, 1, 80}, 1e-5, false},
    {&OP_ATTENTION_SCORE, {620, 12, 4, 4, 32, 1}, 1e-5, false},
    {&OP_ATTENTION_SCORE, {75, 75, 4, 2, 13, 1}, 1e-5, false},
    {&OP_ATTENTION_SCORE, {75, 75, 4, 2, 13, 2}, 1e-5, false},
    {&OP_ATTENTION_SCORE, {130, 1, 2, 1, 80, 2}, 1e-5, false},
    {&OP_ATTENTION_SCORE, {640, 20, 32, 32, 128}, 0, true},
    {&OP_ATTENTION_SCORE, {640, 640, 32, 32, 128}, 0, true},
    {&OP_ATTENTION_SCORE, {640, 640, 32, 32, 128, 1}, 0, true},
    {&OP_QUERY_SCORE, {620, 1, 4, 4, 32}, 1e-6, false},
    {&OP_QUERY_SCORE, {129, 7, 4, 2, 13}, 1e-6, false},
    {&OP_QUERY_SCORE, {64, 3, 3, 1, 80}, 1e-6, false},
    {&OP_QUERY_SCORE, {1, 1, 2, 2, 8}, 1e-6, false},
    {&OP_QUERY_SCORE, {640, 1, 32, 32, 128}, 0, true},
    {&OP_QUERY_SCORE, {640, 60, 32, 32, 128}, 0, true},
    {&OP_TEXT_SHARE, {576, 30, 128}, 1e-5, false},
    {&OP_TEXT_SHARE, {17, 5, 77}, 1e-5, false},
    {&OP_TEXT_SHARE, {576, 60, 4096}, 0, true},
    {&OP_TOP_K, {576, 300}, 0, false},
    {&OP_TOP_K, {576, 576}, 0, false},
    {&OP_TOP_K, {5, 1}, 0, false},
    {&OP_CLUSTER, {83, 128, 9}, 0, false},
    {&OP_CLUSTER, {16, 128, 2}, 0, false},
    {&OP_CLUSTER, {154, 77, 16}, 0, false},
    {&OP_CLUSTER, {61, 128, 7, 1}, 0, false},
    {&OP_CLUSTER, {1, 13, 1}, 0, false},
    {&OP_CLUSTER, {154, 4096, 16}, 0, false},
    {&OP_CLUSTER, {614, 4096, 62}, 0, true},
    {&OP_COSINES, {288, 288, 64}, 1e-7, false},
    {&OP_COSINES, {17, 35, 77}, 1e-7, false},
    {&OP_COSINES, {49, 49, 200, 1}, 1e-7, false},
    {&OP_COSINES, {1, 3, 1}, 1e-7, false},
    {&OP_COSINES, {33, 1, 300}, 1e-7, false},
    {&OP_COSINES, {576, 576, 4096}, 0, true},
    {&OP_COSINES, {576, 576, 4096, 1}, 0, true},
    {&OP_ROW_BEST, {288, 288}, 0, false},
    {&OP_ROW_BEST, {13, 1}, 0, false},
    {&OP_ROW_BEST, {1, 577}, 0, false},
    {&OP_RANK, {12, 576, 12}, 0, false},
    {&OP_RANK, {30, 576, 3}, 0, false},
    {&OP_RANK, {30, 576, 3, 1}, 0, false},
    {&OP_RANK, {82, 30, 12}, 0, false},
    {&OP_RANK, {82, 30, 12, 1}, 0, false},
    {&OP_RANK, {60, 576, 60}, 0, true},
    {&OP_RANK, {60, 576, 60, 1}, 0, true},
    {&OP_RANK, {612, 82, 82}, 0, true},
    {&OP_ARGMAX, {640}, 0, false},
    {&OP_ARGMAX, {152064}, 0, false},
};
enum { N_CHECKS = sizeof CHECKS / sizeof CHECKS[0] };

/* ---- the runner ----------------------------------------------------------------------------- */

static void side_open(struct side *side, const struct ops *ops, struct compute *c, const struct check *check)
{
    *side = (struct side){.ops = ops, .c = c};
    memcpy(side->s, check->s, sizeof side->s);
    check->op->prepare(side);
    c->macs = 0;
}

static void side_close(struct side *side)
{
    for (int i = 0; i < side->n_buffers; i++)
        side->ops->release(side->buffers[i]);
    if (side->weight.packed)
        side->ops->weight_free(&side->weight);
}

/* Largest difference relative to the largest expected value; infinite where a value is no number. */
static double float_error(const float *found, const float *expected, size_t n)
{
    double most = 0, difference = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)found[i] - (double)expected[i]);
        if (!(d <= difference))
            difference = isnan(d) ? INFINITY : d;
        most = fmax(most, fabs((double)expected[i]));
    }
    return difference == 0 ? 0 : difference / most;
}

static void *fetch(struct side *side, const void *from, size_t n_bytes)
{
    void *host = memory_alloc(n_bytes, 1);
    ENSURE(host);
    side->ops->download(side->c, host, from, n_bytes);
    return host;
}

/* The error of one slot of outputs; indices: infinite unless all are equal. */
static double output_error(struct side *tested, struct side *reference, int slot)
{
    double error = 0;
    if (tested->out[slot]) {
        size_t n = tested->n_out[slot];
        float *found = fetch(tested, tested->out[slot], n * sizeof *found);
        float *expected = fetch(reference, reference->out[slot], n * sizeof *expected);
        error = float_error(found, expected, n);
        free(found);
        free(expected);
    }
    if (tested->index_out[slot]) {
        size_t n_bytes = tested->n_index_out[slot] * sizeof(int32_t);
        void *found = fetch(tested, tested->index_out[slot], n_bytes);
        void *expected = fetch(reference, reference->index_out[slot], n_bytes);
        error = memcmp(found, expected, n_bytes) == 0 ? error : INFINITY;
        free(found);
        free(expected);
    }
    return error;
}

/* Best of some repetitions, in milliseconds. */
static double best_ms(struct side *side, const struct check *check)
{
    double best = INFINITY, begin = clock_ms();
    float word;
    for (int i = 0; i < 200 && (i < 3 || clock_ms() - begin < 300); i++) {
        double start = clock_ms();
        check->op->execute(side);
        if (side->out[0])
            side->ops->download(side->c, &word, side->out[0], sizeof word); /* waits */
        double ms = clock_ms() - start;
        best = ms < best ? ms : best;
    }
    return best;
}

static int run_check(const struct check *check, const struct ops *ops, struct compute *c,
                     struct compute *c_ref, bool perf, FILE *out)
{
    struct side tested, reference;
    double error = 0, macs = check->op->macs(check->s);
    const char *verdict = check->is_large ? "" : "ok";
    int n_bad = 0;
    side_open(&tested, ops, c, check);
    if (tested.failed) {
        if (out)
            fprintf(out, "%-16s %s\n", check->op->name, tested.err.text);
        side_close(&tested);
        return 1;
    }
    check->op->execute(&tested);
    if ((double)c->macs != macs) {
        verdict = "MACS";
        n_bad = 1;
    }
    if (!check->is_large) {
        side_open(&reference, &ops_ref, c_ref, check);
        check->op->execute(&reference);
        for (int slot = 0; slot < tested.n_outputs; slot++)
            error = fmax(error, output_error(&tested, &reference, slot));
        side_close(&reference);
        if (!(error <= check->tolerance)) {
            verdict = "WRONG";
            n_bad = 1;
        }
    }
    if (out && (perf || n_bad)) {
        char sizes[96];
        snprintf(sizes, sizeof sizes, "%d %d %d %d %d %d", check->s[0], check->s[1], check->s[2], check->s[3],
                 check->s[4], check->s[5]);
        fprintf(out, "%-16s %-26s error %8.1e of %7.0e  %-5s", check->op->name, sizes, error,
                check->tolerance, verdict);
        if (perf) {
            double ms = best_ms(&tested, check);
            fprintf(out, "  %10.4f ms  %8.2f GFLOP/s  %8.2f GB/s", ms, 2e-6 * macs / ms,
                    1e-6 * check->op->bytes(check->s) / ms);
        }
        fprintf(out, "   (%s)\n", check->op->sizes);
    }
    side_close(&tested);
    return n_bad;
}

int ops_check(const struct ops *ops, int n_threads, bool perf, const char *filter, FILE *out)
{
    struct compute c, c_ref;
    struct error err;
    if (ops->open(&c, n_threads, &err) != OK) {
        if (out)
            fprintf(out, "%s: %s\n", ops->name, err.text);
        return 1;
    }
    if (ops_ref.open(&c_ref, 1, &err) != OK) {
        ops->close(&c);
        return 1;
    }
    regex_t wanted;
    int n_bad = 0, n_run = 0;
    bool is_regex = filter != NULL && regcomp(&wanted, filter, REG_EXTENDED | REG_NOSUB) == 0;
    for (int i = 0; i < N_CHECKS; i++)
        if ((perf || !CHECKS[i].is_large) &&
            (filter == NULL || (is_regex && regexec(&wanted, CHECKS[i].op->name, 0, NULL, 0) == 0))) {
            n_bad += run_check(&CHECKS[i], ops, &c, &c_ref, perf, out);
            n_run++;
        }
    if (is_regex)
        regfree(&wanted);
    ops_ref.close(&c_ref);
    ops->close(&c);
    return n_run > 0 ? n_bad : -1;
}
