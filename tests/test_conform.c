/* The conformance suite holds, covers every method, and can fail: methods that are wrong on purpose, and
 * records that are, are found out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "conform.h"
#include "memory.h"

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* ---- the whole of it ------------------------------------------------------------------------ */

static char *output_of(const char *arguments, int *status)
{
    char command[4096], *text = memory_zero(1, 1);
    size_t n = 0;
    snprintf(command, sizeof command, "'%s' conform %s 2>&1", WINNOW_EXECUTABLE, arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    for (char line[1024]; fgets(line, sizeof line, pipe);) {
        size_t length = strlen(line);
        text = memory_grow(text, n + length + 1, 1);
        assert_non_null(text);
        memcpy(text + n, line, length + 1);
        n += length;
        if (strncmp(line, "FAIL", 4) == 0)
            print_message("%s", line);
    }
    int how = pclose(pipe);
    *status = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
    return text;
}

static void assert_conforms(const char *arguments, const char *const *methods, int n_methods)
{
    int status, n_checks, n_failed, n_skipped;
    char *text = output_of(arguments, &status), *last = text, name[80];
    for (char *p = text; (p = strchr(p, '\n')) != NULL && p[1]; p++)
        last = p + 1;
    if (status != 0)
        fail_msg("status %d: %s", status, last);
    assert_int_equal(sscanf(last, "%d checks, %d failed, %d skipped", &n_checks, &n_failed, &n_skipped), 3);
    assert_int_equal(n_failed, 0);
    assert_true(n_skipped <= 1); /* a smaller picture is no selection to replay; nothing else is left out */
    assert_true(n_checks >= 40 * n_methods);
    for (int i = 0; i < n_methods; i++) {
        snprintf(name, sizeof name, "ok   %s reference ", methods[i]);
        if (strstr(text, name) == NULL)
            fail_msg("no line '%s'", name);
    }
    free(text);
}

static void test_every_method_conforms(void **state)
{
    (void)state;
    int n;
    const struct reducer *const *all = reducers(&n);
    const char *names[64];
    char arguments[80];
    assert_true(n <= 64);
    for (int i = 0; i < n; i++)
        names[i] = all[i]->name;
    if (!SANITIZED) {
        assert_conforms("--device cpu", names, n);
        return;
    }
    /* one of each kind: between layers, before a layer, in the tower, before the decoder, made again */
    static const char *const few[] = {"fastv", "pdrop", "visionzip", "pool", "replay"};
    for (unsigned i = 0; i < sizeof few / sizeof *few; i++) {
        snprintf(arguments, sizeof arguments, "--device cpu --method %s", few[i]);
        assert_conforms(arguments, &few[i], 1);
    }
}

static void test_unknown_names_are_bad_input(void **state)
{
    (void)state;
    static const struct {
        const char *arguments, *part;
    } rows[] = {{"--method nonsense", "sparsevlm"},
                {"--family nonsense", "llava-1.5"},
                {"--device nonsense", "nonsense"},
                {"nonsense", "nonsense"}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        int status;
        char *text = output_of(rows[i].arguments, &status);
        assert_int_equal(status, 2);
        assert_non_null(strstr(text, rows[i].part));
        free(text);
    }
}

/* ---- methods that are wrong ----------------------------------------------------------------- */

static const struct reducer *sound; /* whose selection is spoilt */

static enum status select_worst(struct selection *out, const struct view *view, struct error *err)
{
    float *score = memory_alloc((size_t)view->n_visual, sizeof *score);
    assert_non_null(score);
    view->compute->ops->download(view->compute, score, view->score, (size_t)view->n_visual * sizeof *score);
    for (int j = 0; j < view->n_visual; j++)
        score[j] = -score[j];
    enum status status = select_top_host(out, view, score, view->cut->keep, 0, false, err);
    free(score);
    return status;
}

static enum status select_one_wrong(struct selection *out, const struct view *view, struct error *err)
{
    int32_t list[CONFORM_TOKENS];
    TRY(sound->select(out, view, err));
    view->compute->ops->download(view->compute, list, out->kept, (size_t)out->n_kept * sizeof *list);
    for (int k = out->n_kept - 1, free_place = view->n_visual - 1; k >= 0; k--, free_place--)
        if (list[k] != free_place) { /* the highest place that is not taken, for the one before it */
            list[k] = free_place;
            break;
        }
    return select_list(out, view, list, out->n_kept, err);
}

static enum status select_unsorted(struct selection *out, const struct view *view, struct error *err)
{
    int32_t list[CONFORM_TOKENS];
    TRY(sound->select(out, view, err));
    view->compute->ops->download(view->compute, list, out->kept, (size_t)out->n_kept * sizeof *list);
    int32_t first = list[0];
    list[0] = list[1];
    list[1] = first;
    return select_list(out, view, list, out->n_kept, err);
}

static enum status select_differently(struct selection *out, const struct view *view, struct error *err)
{
    static _Atomic int n_calls;
    return n_calls++ % 2 ? sound->select(out, view, err) : select_one_wrong(out, view, err);
}

static enum status select_unpaid(struct selection *out, const struct view *view, struct error *err)
{
    out->macs += 1;
    return sound->select(out, view, err);
}

static enum status plan_one_more(struct plan *out, const struct method *method,
                                 const struct plan_input *input, double budget, struct error *err)
{
    TRY(sound->plan_official(out, method, input, budget, err));
    out->cuts[0].keep++;
    return OK;
}

/* Lines that a spoilt FastV gets. */
static char *lines_of(const struct reducer *spoilt, int *n_failed)
{
    struct conform conform;
    struct error err;
    struct prompt prompt;
    char *text = NULL;
    size_t n_bytes;
    FILE *to = open_memstream(&text, &n_bytes);
    assert_non_null(to);
    if (conform_open(&conform, "cpu", to, &err) != OK)
        fail_msg("%s", err.text);
    conform.method = spoilt->name;
    prompt_make(&prompt, 5, 1, 14);
    conform_setting(&conform, spoilt, "", "33.3333%", &prompt, "");
    *n_failed = conform.n_failed;
    conform_close(&conform);
    fclose(to);
    return text;
}

static void test_wrong_methods_are_found_out(void **state)
{
    (void)state;
    sound = reducer_find("fastv");
    struct reducer worst = *sound, other = *sound, unsorted = *sound, moody = *sound, unpaid = *sound,
                   more = *sound;
    worst.select = select_worst;
    other.select = select_one_wrong;
    unsorted.select = select_unsorted;
    moody.select = select_differently;
    unpaid.select = select_unpaid;
    more.plan_official = plan_one_more;
    const struct {
        const struct reducer *reducer;
        const char *check; /* NULL: none fails */
    } rows[] = {{sound, NULL},
                {&worst, "FAIL fastv reference["},
                {&worst, "FAIL fastv best["},
                {&other, "FAIL fastv reference["},
                {&unsorted, "FAIL fastv order["},
                {&unsorted, "FAIL fastv reference["},
                {&moody, "FAIL fastv again["},
                {&unpaid, "FAIL fastv counts["},
                {&more, "FAIL fastv reference["}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        int n_failed;
        char *text = lines_of(rows[i].reducer, &n_failed);
        if (rows[i].check ? strstr(text, rows[i].check) == NULL : n_failed > 0)
            fail_msg("%s not in\n%s", rows[i].check ? rows[i].check : "success", text);
        free(text);
    }
}

static void test_a_method_without_a_reference_fails(void **state)
{
    (void)state;
    struct conform conform;
    struct error err;
    struct reducer newcomer = *reducer_find("uniform");
    char *text = NULL;
    size_t n_bytes;
    newcomer.name = "newcomer";
    assert_null(reference_find("newcomer"));
    FILE *to = open_memstream(&text, &n_bytes);
    if (conform_open(&conform, "cpu", to, &err) != OK)
        fail_msg("%s", err.text);
    conform_run(&conform, &newcomer);
    assert_int_equal(conform.n_failed, 1);
    conform_close(&conform);
    fclose(to);
    assert_non_null(strstr(text, "FAIL newcomer reference "));
    free(text);
}

/* ---- records and answers that are wrong ----------------------------------------------------- */

enum { N_IN = 6, N_KEPT = 3 };

/* A sound record, and what the reference says of it. */
struct sample {
    struct cut_record record;
    struct expected expected;
    int32_t ids_in[N_IN], kept[N_KEPT], recycled[2], cluster_of[2], centres[1];
    float score[N_IN], weight[2];
};

static struct sample *sample_make(void)
{
    struct sample *s = memory_zero(1, sizeof *s);
    static const float score[N_IN] = {.5f, .1f, .4f, .2f, .6f, .3f};
    assert_non_null(s);
    memcpy(s->score, score, sizeof score);
    for (int i = 0; i < N_IN; i++)
        s->ids_in[i] = i;
    for (int k = 0; k < N_KEPT; k++)
        s->kept[k] = s->expected.kept[k] = 2 * k;
    s->recycled[0] = s->expected.recycled[0] = s->centres[0] = s->expected.centres[0] = 5;
    s->recycled[1] = s->expected.recycled[1] = 3;
    s->weight[0] = s->weight[1] = .5f;
    s->expected.weight[0] = s->expected.weight[1] = .5;
    s->expected.n_kept = N_KEPT;
    s->expected.n_recycled = 2;
    s->expected.n_clusters = 1;
    s->expected.rank = -1;
    s->expected.margin = 1;
    s->record = (struct cut_record){.site = SITE_DECODER,
                                    .layer = 2,
                                    .n_in = N_IN,
                                    .n_kept = N_KEPT,
                                    .n_recycled = 2,
                                    .n_clusters = 1,
                                    .rank = -1,
                                    .ids_in = s->ids_in,
                                    .kept = s->kept,
                                    .recycled = s->recycled,
                                    .cluster_of = s->cluster_of,
                                    .weight = s->weight,
                                    .centres = s->centres,
                                    .score = s->score};
    return s;
}

static void assert_findings(const struct sample *s, bool order, bool best, bool choice)
{
    struct finding finding;
    check_order(&finding, &s->record);
    assert_int_equal(finding.holds, order);
    check_best(&finding, &s->record);
    assert_int_equal(finding.holds, best);
    check_choice(&finding, &s->record, &s->expected);
    assert_int_equal(finding.holds, choice);
}

static void test_wrong_records_are_found_out(void **state)
{
    (void)state;
    struct sample *s = sample_make();
    assert_findings(s, true, true, true);
    s->kept[1] = 1; /* a worse one */
    assert_findings(s, true, false, false);
    s->kept[0] = 2; /* not in order */
    s->kept[1] = 0;
    assert_findings(s, false, true, false);
    s->kept[0] = s->kept[1] = 0; /* twice */
    assert_findings(s, false, false, false);
    free(s);

    s = sample_make();
    for (int i = 0; i < N_IN; i++)
        s->score[i] = 1 - s->score[i]; /* an inverted scorer */
    assert_findings(s, true, false, true);
    free(s);

    s = sample_make();
    s->record.n_kept = 2; /* a count */
    assert_findings(s, true, false, false);
    free(s);

    s = sample_make();
    s->recycled[0] = 3; /* another order of priority */
    s->recycled[1] = 5;
    assert_findings(s, true, false, false);
    free(s);

    s = sample_make();
    s->weight[1] = .25f;
    assert_findings(s, true, true, false);
    s->weight[1] = .5f;
    s->centres[0] = 3;
    assert_findings(s, true, true, false);
    free(s);

    s = sample_make();
    s->record.rank = 4;
    assert_findings(s, true, true, false);
    s->record.rank = -1;
    s->expected.margin = 1e-7; /* a choice that hangs on rounding says nothing */
    assert_findings(s, true, true, false);
    s->ids_in[3] = 0; /* one token twice */
    assert_findings(s, false, true, false);
    free(s);
}

static void test_wrong_ledgers_are_found_out(void **state)
{
    (void)state;
    struct conform conform;
    struct error err;
    struct method method;
    struct prompt prompt;
    struct finding finding;
    if (conform_open(&conform, "cpu", stdout, &err) != OK)
        fail_msg("%s", err.text);
    prompt_make(&prompt, 5, 1, 14);
    struct trial trial = {.method = &method, .prompt = &prompt};
    if (conform_method(&method, reducer_find("sparsevlm"), "budget=48", &err) != OK)
        fail_msg("%s", err.text);
    trial_run(&trial, &conform, conform.beds[0].session);
    assert_int_equal(trial.status, OK);
    struct ledger *ledger = &trial.answer.ledger;
    check_counts(&finding, &trial.answer);
    assert_true(finding.holds);
    int *const counts[] = {
        &ledger->layers[2].kept,         &ledger->layers[2].clusters,  &ledger->layers[2].recycled,
        &ledger->layers[2].dropped,      &ledger->layers[6].visual_in, &ledger->layers[6].visual_out,
        &ledger->layers[7].kv_len,       &ledger->layers[7].kv_visual, &ledger->layers[0].tokens_in,
        &trial.answer.plan.cuts[1].keep, &ledger->n_generated,         &ledger->n_decode_steps};
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
        ++*counts[i];
        check_counts(&finding, &trial.answer);
        if (finding.holds)
            fail_msg("count %u may be wrong", i);
        --*counts[i];
    }
    for (int s = 0; s < N_STAGES; s++) {
        ledger->macs_counted[s]++;
        check_counts(&finding, &trial.answer);
        assert_false(finding.holds);
        ledger->macs_counted[s]--;
    }
    trial.answer.first_logits[7] = NAN;
    check_numbers(&finding, &trial.answer, 256);
    assert_false(finding.holds);
    trial_free(&trial);
    conform_close(&conform);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_method_conforms),
                                       cmocka_unit_test(test_unknown_names_are_bad_input),
                                       cmocka_unit_test(test_wrong_methods_are_found_out),
                                       cmocka_unit_test(test_a_method_without_a_reference_fails),
                                       cmocka_unit_test(test_wrong_records_are_found_out),
                                       cmocka_unit_test(test_wrong_ledgers_are_found_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
