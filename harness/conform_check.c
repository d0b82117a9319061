/* What must hold between answers, cut records, plans and ledgers. Pure functions: the suite's own test feeds
 * them wrong records and demands that they say so.
 */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "memory.h"

void finding_set(struct finding *out, bool holds, const char *limit, const char *format, ...)
{
    va_list arguments;
    out->holds = holds;
    snprintf(out->limit, sizeof out->limit, "%s", limit);
    va_start(arguments, format);
    vsnprintf(out->value, sizeof out->value, format, arguments);
    va_end(arguments);
}

/* ---- answers -------------------------------------------------------------------------------- */

void check_same(struct finding *out, const struct answer *a, const struct answer *b, int vocabulary)
{
    if (a->n_turns != b->n_turns) {
        finding_set(out, false, "equal", "%d-and-%d-turns", a->n_turns, b->n_turns);
        return;
    }
    for (int t = 0; t < a->n_turns; t++) {
        const struct turn *x = &a->turns[t], *y = &b->turns[t];
        if (x->n_ids != y->n_ids || memcmp(x->ids, y->ids, (size_t)x->n_ids * sizeof *x->ids) != 0) {
            finding_set(out, false, "equal", "turn-%d-ids-differ", t);
            return;
        }
    }
    double most = 0;
    for (int i = 0; i < vocabulary; i++)
        most = fmax(most, fabs((double)a->first_logits[i] - (double)b->first_logits[i]));
    bool equal = memcmp(a->first_logits, b->first_logits, (size_t)vocabulary * sizeof(float)) == 0;
    finding_set(out, equal, "0", "%.3g", most);
}

static bool same_ints(const int32_t *a, const int32_t *b, int n)
{
    return n <= 0 || memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

void check_same_cuts(struct finding *out, const struct answer *a, const struct answer *b)
{
    if (a->n_records != b->n_records) {
        finding_set(out, false, "equal", "%d-and-%d-cuts", a->n_records, b->n_records);
        return;
    }
    for (int i = 0; i < a->n_records; i++) {
        const struct cut_record *x = &a->records[i], *y = &b->records[i];
        if (x->site != y->site || x->layer != y->layer || x->n_in != y->n_in || x->n_kept != y->n_kept ||
            x->n_recycled != y->n_recycled || x->n_clusters != y->n_clusters || x->rank != y->rank ||
            !same_ints(x->kept, y->kept, x->n_kept) || !same_ints(x->recycled, y->recycled, x->n_recycled) ||
            !same_ints(x->cluster_of, y->cluster_of, x->n_recycled) ||
            !same_ints(x->centres, y->centres, x->n_clusters)) {
            finding_set(out, false, "equal", "%s-layer-%d-differs", site_names[x->site], x->layer);
            return;
        }
    }
    finding_set(out, true, "equal", "%d-cuts", a->n_records);
}

void check_numbers(struct finding *out, const struct answer *answer, int vocabulary)
{
    for (int i = 0; i < vocabulary; i++)
        if (!isfinite(answer->first_logits[i])) {
            finding_set(out, false, "finite", "logit-%d-is-%g", i, (double)answer->first_logits[i]);
            return;
        }
    finding_set(out, true, "finite", "finite");
}

/* ---- records -------------------------------------------------------------------------------- */

void check_order(struct finding *out, const struct cut_record *r)
{
    int *seen = memory_zero((size_t)r->n_in + 1, sizeof *seen);
    const char *wrong = NULL;
    ENSURE(seen);
    for (int k = 0; k < r->n_kept && wrong == NULL; k++) {
        if (r->kept[k] < 0 || r->kept[k] >= r->n_in)
            wrong = "kept-out-of-range";
        else if (seen[r->kept[k]]++)
            wrong = "kept-twice";
        else if (!r->in_place && k > 0 && r->kept[k] <= r->kept[k - 1])
            wrong = "kept-not-ascending";
    }
    for (int i = 0; i < r->n_recycled && wrong == NULL; i++)
        if (r->recycled[i] < 0 || r->recycled[i] >= r->n_in || r->cluster_of[i] < 0 ||
            r->cluster_of[i] >= r->n_clusters)
            wrong = "recycled-out-of-range";
        else if (!r->in_place && seen[r->recycled[i]]++)
            wrong = "recycled-and-kept";
    for (int g = 0; g < r->n_clusters && wrong == NULL; g++)
        if (r->centres[g] < 0 || r->centres[g] >= r->n_in)
            wrong = "centre-out-of-range";
    for (int j = 0; j < r->n_in && wrong == NULL; j++)
        for (int i = 0; i < j && wrong == NULL; i++)
            if (r->ids_in[i] == r->ids_in[j])
                wrong = "one-id-twice";
    finding_set(out, wrong == NULL, r->in_place ? "distinct" : "ascending", "%s",
                wrong ? wrong : "as-declared");
    free(seen);
}

void check_best(struct finding *out, const struct cut_record *r)
{
    float lowest = INFINITY;
    bool *taken = memory_zero((size_t)r->n_in + 1, sizeof *taken);
    ENSURE(taken);
    for (int k = 0; k < r->n_kept; k++) {
        taken[r->kept[k]] = true;
        lowest = fminf(lowest, r->score[r->kept[k]]);
    }
    bool holds = true;
    for (int i = 0; i < r->n_recycled && r->own == NULL; i++) { /* own: members are no order of scores */
        taken[r->recycled[i]] = true;
        holds = holds && r->score[r->recycled[i]] <= lowest;
        lowest = r->score[r->recycled[i]];
    }
    for (int j = 0; j < r->n_in; j++)
        holds = holds && (taken[j] || r->score[j] <= lowest);
    finding_set(out, holds, "best", "%s", holds ? "best" : "a-better-one-was-dropped");
    free(taken);
}

static int first_difference(const int32_t *a, const int32_t *b, int n)
{
    for (int i = 0; i < n; i++)
        if (a[i] != b[i])
            return i;
    return -1;
}

static double weights_apart(const float *a, const double *b, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - b[i]));
    return most;
}

void check_choice(struct finding *out, const struct cut_record *r, const struct expected *e)
{
    const struct {
        const char *name;
        int got, want;
    } counts[] = {{"kept", r->n_kept, e->n_kept},
                  {"recycled", r->n_recycled, e->n_recycled},
                  {"clusters", r->n_clusters, e->n_clusters},
                  {"rank", r->rank, e->rank},
                  {"in-place", r->in_place, e->in_place},
                  {"class-token", r->keep_class, e->keep_class},
                  {"own-shares", r->own != NULL, e->has_own}};
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].got != counts[i].want) {
            finding_set(out, false, "equal", "layer-%d-%d-%s-not-%d", r->layer, counts[i].got, counts[i].name,
                        counts[i].want);
            return;
        }
    if (e->free) {
        finding_set(out, true, "equal", "%d-by-chance", r->n_kept);
        return;
    }
    const struct {
        const char *name;
        const int32_t *got, *want;
        int n;
    } lists[] = {{"kept", r->kept, e->kept, e->n_kept},
                 {"recycled", r->recycled, e->recycled, e->n_recycled},
                 {"centres", r->centres, e->centres, e->n_clusters},
                 {"cluster_of", r->cluster_of, e->group, e->n_recycled}};
    for (unsigned i = 0; i < sizeof lists / sizeof *lists; i++) {
        int at = first_difference(lists[i].got, lists[i].want, lists[i].n);
        if (at >= 0) {
            finding_set(out, false, "equal", "layer-%d-%s[%d]=%d-not-%d-margin-%.1g", r->layer, lists[i].name,
                        at, lists[i].got[at], lists[i].want[at], e->margin);
            return;
        }
    }
    double apart = fmax(weights_apart(r->weight, e->weight, e->n_recycled),
                        e->has_own ? weights_apart(r->own, e->own, e->n_clusters) : 0);
    if (apart > 1e-6)
        finding_set(out, false, "1e-6", "layer-%d-weights-%.2g-apart", r->layer, apart);
    else if (e->margin < MARGIN_LEAST)
        finding_set(out, false, "1e-5", "layer-%d-margin-%.1g", r->layer, e->margin);
    else
        finding_set(out, true, "equal", "%d-kept", r->n_kept);
}

/* ---- plan and ledger ------------------------------------------------------------------------ */

struct sum_check {
    struct finding *out;
    bool failed;
};

static void equal_or_say(struct sum_check *c, int64_t got, int64_t want, int layer, const char *what)
{
    if (c->failed || got == want)
        return;
    c->failed = true;
    finding_set(c->out, false, "equal", "layer-%d-%s-%lld-not-%lld", layer, what, (long long)got,
                (long long)want);
}

static void check_layer(struct sum_check *c, const struct answer *answer, int l, int in, int out)
{
    const struct ledger *ledger = &answer->ledger;
    const struct ledger_layer *row = &ledger->layers[l];
    equal_or_say(c, row->visual_in, in, l, "visual_in");
    equal_or_say(c, row->visual_out, out, l, "visual_out");
    equal_or_say(c, row->kv_len, in + ledger->n_text, l, "kv_len");
    equal_or_say(c, row->kv_visual, in, l, "kv_visual");
    equal_or_say(c, row->tokens_in, in + ledger->n_text, l, "tokens_in");
    const struct plan_cut *cut = NULL;
    for (int i = 0; i < answer->plan.n_cuts; i++)
        if (answer->plan.cuts[i].site == SITE_DECODER && answer->plan.cuts[i].layer == l)
            cut = &answer->plan.cuts[i];
    if (cut && cut->keep >= in && !row->cut) { /* the data made none of it */
        equal_or_say(c, out, in, l, "visual_out-without-a-cut");
        return;
    }
    equal_or_say(c, row->cut, cut != NULL, l, "cut");
    if (!row->cut)
        return;
    int in_place = cut->clusters == 0 ? row->clusters : 0; /* clusters in their centres' places */
    equal_or_say(c, row->kept + in_place, cut->keep, l, "kept");
    equal_or_say(c, row->kept + row->clusters, out, l, "kept+clusters");
    equal_or_say(c, row->kept + row->recycled + row->dropped, in, l, "kept+recycled+dropped");
    if (in_place == 0)
        equal_or_say(c, row->recycled, cut->recycled, l, "recycled");
}

void check_counts(struct finding *out, const struct answer *answer)
{
    const struct ledger *ledger = &answer->ledger;
    int in[LIMIT_LAYERS], leave[LIMIT_LAYERS], n_layers = ledger->n_layers;
    struct sum_check c = {.out = out};
    plan_trajectory(in, leave, &answer->plan, ledger->n_visual, n_layers);
    for (int l = 0; l < n_layers; l++) {
        check_layer(&c, answer, l, in[l], leave[l]);
        if (l > 0)
            equal_or_say(&c, ledger->layers[l].visual_in, ledger->layers[l - 1].visual_out, l, "chain");
    }
    double sum_in = 0, sum_out = 0;
    for (int l = 0; l < n_layers; l++) {
        sum_in += in[l];
        sum_out += leave[l];
    }
    equal_or_say(&c, ledger_tokens_in(ledger) == sum_in / n_layers, true, -1, "mean-tokens_in");
    equal_or_say(&c, ledger_tokens_out(ledger) == sum_out / n_layers, true, -1, "mean-tokens_out");
    for (int s = 0; s < N_STAGES; s++)
        equal_or_say(&c, (int64_t)ledger->macs_counted[s], (int64_t)ledger->macs[s], s, "stage-macs_counted");
    equal_or_say(&c, (int64_t)ledger_flops(ledger, true), (int64_t)ledger_flops(ledger, false), -1,
                 "flops_counted");
    int n_ids = 0;
    for (int t = 0; t < answer->n_turns; t++)
        n_ids += answer->turns[t].n_ids;
    equal_or_say(&c, ledger->n_generated, n_ids, -1, "n_generated");
    equal_or_say(&c, ledger->n_decode_steps, n_ids - answer->n_turns, -1, "decode_steps");
    if (!c.failed)
        finding_set(out, true, "equal", "%.2f-in-%.2f-out", sum_in / n_layers, sum_out / n_layers);
}
