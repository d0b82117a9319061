/* The run of the conformance suite over one method: its settings, repeats, batches, chance, replays. See
 * conform.h.
 */
#include "conform.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* Of 144 tokens the shares whose official tables are 192, 128 and 64 of 576. */
static const char *const budgets[] = {"33.3333%", "22.2222%", "11.1111%"};
enum { N_BUDGETS = 3, N_BATCH = 4 };

/* A trial that must have come to an answer. */
static bool ran(struct conform *c, const struct trial *trial, const char *check)
{
    if (trial->status == OK)
        return true;
    struct finding finding;
    finding_set(&finding, false, "answer", "error");
    conform_report(c, &finding, "%s", check);
    fprintf(stderr, "%s %s: %s\n", c->method, check, trial->err.text);
    return false;
}

/* ---- checks of one setting ------------------------------------------------------------------ */

static void check_records(struct conform *c, const struct trial *trial, const char *label)
{
    struct finding order, best;
    bool scored = false, split = strstr(label, "per-image") != NULL; /* best of its picture, then */
    finding_set(&order, true, "ascending", "no-cut");
    finding_set(&best, true, "best", "no-score");
    for (int i = 0; i < trial->answer.n_records; i++) {
        const struct cut_record *r = &trial->answer.records[i];
        if (order.holds)
            check_order(&order, r);
        if (r->score && !r->in_place && best.holds && !split) {
            scored = true;
            check_best(&best, r);
        }
    }
    conform_report(c, &order, "order[%s]", label);
    if (scored)
        conform_report(c, &best, "best[%s]", label);
}

struct worker {
    const struct conform *conform;
    struct session *session;
    struct trial trial;
    pthread_t thread;
};

static void *worker_run(void *argument)
{
    struct worker *w = argument;
    trial_run(&w->trial, w->conform, w->session);
    return NULL;
}

void conform_trial(struct walk_result *out, struct trial *trial, const struct conform *c,
                   const struct reference *reference)
{
    for (int picture = 0; picture < CONFORM_PICTURES; picture++) {
        struct trial next = *trial;
        next.first_picture = picture;
        trial_run(&next, c, c->beds[0].session);
        bool last = next.status != OK || out == NULL;
        if (!last) {
            walk(out, c, &next, reference);
            last = out->margin >= MARGIN_LEAST || picture + 1 == CONFORM_PICTURES;
        }
        if (last) {
            *trial = next;
            return;
        }
        trial_free(&next);
    }
}

static void check_twin(struct conform *c, const struct trial *trial, struct trial *twin, bool bits,
                       const char *name, const char *label)
{
    struct finding same, cuts;
    if (ran(c, twin, name)) {
        check_same(&same, &trial->answer, &twin->answer, vlm_config(c->beds[0].vlm)->text.vocabulary);
        check_same_cuts(&cuts, &trial->answer, &twin->answer);
        if (!bits) /* another backend rounds otherwise: the ids are what must be equal */
            same.holds = strstr(same.value, "differ") == NULL;
        conform_report(c, cuts.holds ? &same : &cuts, "%s[%s]", name, label);
    }
    trial_free(twin);
}

/* Again, with other threads, and on the other backends, which work meanwhile. */
static void check_again(struct conform *c, const struct trial *trial, const char *label)
{
    const struct trial twin = {.method = trial->method,
                               .prompt = trial->prompt,
                               .seed = trial->seed,
                               .first_picture = trial->first_picture};
    struct worker workers[3];
    for (int i = 1; i < c->n_beds; i++) {
        workers[i] = (struct worker){.conform = c, .session = c->beds[i].session, .trial = twin};
        ENSURE(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) == 0);
    }
    struct trial again = twin, threads = twin;
    trial_run(&again, c, c->beds[0].session);
    trial_run(&threads, c, c->beds[0].other);
    check_twin(c, trial, &again, true, "again", label);
    check_twin(c, trial, &threads, true, "threads", label);
    for (int i = 1; i < c->n_beds; i++) {
        pthread_join(workers[i].thread, NULL);
        check_twin(c, trial, &workers[i].trial, false, vlm_device(c->beds[i].vlm), label);
    }
}

void conform_setting(struct conform *c, const struct reducer *reducer, const char *settings,
                     const char *budget, const struct prompt *prompt, const char *more)
{
    const struct reference *reference = reference_find(reducer->name);
    struct method method;
    char label[128];
    snprintf(label, sizeof label, "%s%s%s%s", budget ? budget : "", budget && *settings ? "," : "", settings,
             more);
    struct trial trial = {.method = &method, .prompt = prompt, .want_taps = true};
    trial.status = conform_method(&method, reducer, settings, &trial.err);
    if (trial.status == OK && budget)
        trial.status = method_set(&method, "budget", budget, &trial.err);
    struct walk_result result;
    bool walks = reference && reference->choose;
    if (trial.status == OK)
        conform_trial(walks ? &result : NULL, &trial, c, reference);
    if (!ran(c, &trial, label)) {
        trial_free(&trial);
        return;
    }
    if (walks) {
        conform_report(c, &result.choices, "reference[%s]", label);
        conform_report(c, &result.layers, "layers[%s]", label);
    }
    check_records(c, &trial, label);
    struct finding finding;
    check_counts(&finding, &trial.answer);
    conform_report(c, &finding, "counts[%s]", label);
    check_again(c, &trial, label);
    trial_free(&trial);
}

static void check_setting(struct conform *c, const struct reducer *reducer, const char *settings,
                          const char *budget, int n_images)
{
    struct prompt prompt;
    prompt_make(&prompt, 5, n_images, 14);
    conform_setting(c, reducer, settings, budget, &prompt, n_images > 1 ? ",two-pictures" : "");
}

/* Settings of the reference table at every budget; those with counts of their own once. */
static void check_settings(struct conform *c, const struct reducer *reducer)
{
    const struct reference *reference = reference_find(reducer->name);
    static const char *const plain[] = {"", NULL};
    const char *const *settings = reference && reference->settings ? reference->settings : plain;
    if (reference && reference->choose == NULL)
        return;
    for (int i = 0; settings[i]; i++) {
        struct method method;
        struct error err;
        if (conform_method(&method, reducer, settings[i], &err) != OK)
            continue;
        bool own = reducer->dense || reducer->has_counts(&method);
        /* the default at every budget, the first variant at the outer two, others at one in turn */
        int from = own || i < 2 ? 0 : i % N_BUDGETS, to = own ? 1 : i < 2 ? N_BUDGETS : from + 1;
        for (int b = from; b < to; b += i == 1 && !own ? 2 : 1)
            check_setting(c, reducer, settings[i], own ? NULL : budgets[b], 1);
        if (!own && i == 0 && reducer->budget_free)
            check_setting(c, reducer, "", NULL, 1);
    }
    if (reducer->dense)
        return;
    for (int b = 0; b < 2; b++) {
        check_setting(c, reducer, "", budgets[b + 1], 2);
        check_setting(c, reducer, "quota=per-image", budgets[b], 2);
    }
}

/* ---- checks of a method --------------------------------------------------------------------- */

static void check_keep_all(struct conform *c, const struct reducer *reducer)
{
    static const struct {
        const char *settings, *own; /* own: the parameter it needs */
    } rows[] = {{"budget=100%", NULL},
                {"budget=1000", NULL},
                {"budget=144", NULL},
                {"keep=144", "keep"},
                {"keep=100000", "keep"},
                {"layers=2,6 keep=144,200", "knn"},
                {"ratios=1,1,1", "ratios"},
                {"r=0", "r"},
                {"dominant=140 contextual=5", "dominant"}};
    struct prompt prompt;
    prompt_make(&prompt, 5, 1, 14);
    struct trial vanilla = {.prompt = &prompt};
    trial_run(&vanilla, c, c->beds[0].session);
    if (!ran(c, &vanilla, "keep-all"))
        return;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool has = rows[i].own == NULL, list = false;
        for (int k = 0; k < reducer->n_params && rows[i].own; k++) {
            has = has || strcmp(reducer->params[k].name, rows[i].own) == 0;
            list = list ||
                   (strcmp(reducer->params[k].name, "keep") == 0 && reducer->params[k].type == PARAM_COUNTS);
        }
        if (!has || (list && rows[i].own && strcmp(rows[i].own, "keep") == 0))
            continue;
        struct method method;
        struct trial all = {.method = &method, .prompt = &prompt};
        struct finding finding;
        all.status = conform_method(&method, reducer, rows[i].settings, &all.err);
        if (all.status == OK)
            trial_run(&all, c, c->beds[0].session);
        if (ran(c, &all, rows[i].settings)) {
            check_same(&finding, &vanilla.answer, &all.answer, vlm_config(c->beds[0].vlm)->text.vocabulary);
            uint64_t flops = ledger_flops(&all.answer.ledger, false),
                     want = ledger_flops(&vanilla.answer.ledger, false);
            if (finding.holds && (flops != want || all.answer.n_records != 0))
                finding_set(&finding, false, "vanilla", "%llu-flops-not-%llu-%d-cuts",
                            (unsigned long long)flops, (unsigned long long)want, all.answer.n_records);
            conform_report(c, &finding, "keep-all[%s]", rows[i].settings);
        }
        trial_free(&all);
    }
    trial_free(&vanilla);
}

/* Four questions at the same time on four sessions of one model, and each alone. */
static void check_batch(struct conform *c, const struct reducer *reducer, const char *settings)
{
    struct worker workers[N_BATCH];
    struct prompt prompts[N_BATCH];
    struct method method;
    struct error err;
    struct finding same;
    finding_set(&same, true, "0", "0");
    if (conform_method(&method, reducer, settings, &err) != OK)
        return;
    memset(workers, 0, sizeof workers);
    int n_open = 0;
    for (; n_open < N_BATCH; n_open++) {
        prompt_make(&prompts[n_open], 3 + n_open, 1 + n_open % 2, 9 + 3 * n_open);
        workers[n_open] = (struct worker){.conform = c};
        workers[n_open].trial = (struct trial){
            .method = &method, .prompt = &prompts[n_open], .seed = 4, .first_picture = n_open > 1};
        if (session_open(&workers[n_open].session, c->beds[0].vlm, 1, &err) != OK)
            break;
    }
    for (int i = 0; i < n_open; i++)
        ENSURE(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) == 0);
    for (int i = 0; i < n_open; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < n_open; i++) {
        struct trial alone = workers[i].trial, *together = &workers[i].trial;
        alone = (struct trial){
            .method = &method, .prompt = &prompts[i], .seed = 4, .first_picture = together->first_picture};
        trial_run(&alone, c, c->beds[0].session);
        if (alone.status != OK || together->status != OK)
            finding_set(&same, false, "answer", "error");
        else if (same.holds)
            check_same(&same, &alone.answer, &together->answer, vlm_config(c->beds[0].vlm)->text.vocabulary);
        trial_free(&alone);
        trial_free(together);
        session_close(workers[i].session);
    }
    if (n_open < N_BATCH)
        finding_set(&same, false, "4-sessions", "%d-sessions", n_open);
    conform_report(c, &same, "batch[%s]", settings);
}

/* Chance: another seed, or another sample's, draws others; the same parameter seed the same. */
static void check_chance(struct conform *c, const struct reducer *reducer)
{
    struct prompt prompt;
    struct method plain, fixed;
    struct error err;
    prompt_make(&prompt, 5, 1, 14);
    if (conform_method(&plain, reducer, "budget=48", &err) != OK ||
        conform_method(&fixed, reducer, "budget=48 seed=9", &err) != OK)
        return;
    struct trial trials[] = {{.method = &plain, .prompt = &prompt, .seed = 1},
                             {.method = &plain, .prompt = &prompt, .seed = 2},
                             {.method = &fixed, .prompt = &prompt, .seed = 1},
                             {.method = &fixed, .prompt = &prompt, .seed = 2}};
    struct finding finding;
    bool all = true;
    for (int i = 0; i < 4; i++) {
        trial_run(&trials[i], c, c->beds[0].session);
        all = all && trials[i].status == OK;
    }
    if (all) {
        check_same_cuts(&finding, &trials[0].answer, &trials[1].answer);
        finding_set(&finding, !finding.holds, "others", "%s", finding.holds ? "the-same" : "others");
        conform_report(c, &finding, "another-seed");
        check_same_cuts(&finding, &trials[2].answer, &trials[3].answer);
        conform_report(c, &finding, "own-seed");
    } else {
        finding_set(&finding, false, "answer", "error");
        conform_report(c, &finding, "another-seed");
    }
    for (int i = 0; i < 4; i++)
        trial_free(&trials[i]);
}

/* ---- replays -------------------------------------------------------------------------------- */

/* The records of one answer made again by `replay`: the same answer bit by bit. */
static void check_replay(struct conform *c, const struct reducer *replay, const struct reducer *source,
                         const char *settings, const char *budget, int n_images)
{
    struct method method, again;
    struct prompt prompt;
    struct finding finding, cuts;
    struct trial first = {.method = &method, .prompt = &prompt};
    char label[128], positions[64];
    prompt_make(&prompt, 5, n_images, 14);
    snprintf(label, sizeof label, "%s,%s%s%s%s", source->name, budget ? budget : "", *settings ? "," : "",
             settings, n_images > 1 ? ",two-pictures" : "");
    first.status = conform_method(&method, source, settings, &first.err);
    if (first.status == OK && budget)
        first.status = method_set(&method, "budget", budget, &first.err);
    if (first.status == OK)
        trial_run(&first, c, c->beds[0].session);
    if (!ran(c, &first, label))
        return;
    struct trial second = {.method = &again,
                           .prompt = &prompt,
                           .replay = first.answer.records,
                           .n_replay = first.answer.n_records};
    snprintf(positions, sizeof positions, "positions=%s",
             method_original_positions(&method) ? "original" : "compact");
    second.status = conform_method(&again, replay, positions, &second.err);
    if (second.status == OK)
        trial_run(&second, c, c->beds[0].session);
    if (ran(c, &second, label)) {
        check_same(&finding, &first.answer, &second.answer, vlm_config(c->beds[0].vlm)->text.vocabulary);
        check_same_cuts(&cuts, &first.answer, &second.answer);
        for (int i = 0; i < first.answer.n_records && i < second.answer.n_records; i++)
            second.answer.records[i].rank = first.answer.records[i].rank; /* nothing is ranked again */
        check_same_cuts(&cuts, &first.answer, &second.answer);
        conform_report(c, finding.holds ? &cuts : &finding, "replay[%s]", label);
    }
    trial_free(&second);
    trial_free(&first);
}

static void check_replays(struct conform *c, const struct reducer *replay)
{
    int n;
    const struct reducer *const *all = reducers(&n);
    for (int i = 0; i < n; i++) {
        const struct reference *reference = reference_find(all[i]->name);
        if (reference == NULL || reference->choose == NULL || all[i]->dense)
            continue;
        if (strcmp(all[i]->name, "downsample") == 0) {
            conform_skip(c, "replay[downsample]", "a-smaller-picture-is-no-selection");
            continue;
        }
        for (int s = 0; reference->settings[s]; s++) {
            struct method method;
            struct error err;
            if (conform_method(&method, all[i], reference->settings[s], &err) != OK)
                continue;
            check_replay(c, replay, all[i], reference->settings[s],
                         all[i]->has_counts(&method) ? NULL : budgets[s % N_BUDGETS], 1);
        }
        check_replay(c, replay, all[i], "", budgets[1], 2);
    }
}

/* ---- all of it ------------------------------------------------------------------------------ */

void conform_run(struct conform *c, const struct reducer *reducer)
{
    struct finding finding;
    const struct reference *reference = reference_find(reducer->name);
    c->method = reducer->name;
    finding_set(&finding, reference != NULL || reducer->dense, "a-row", "%s",
                reference        ? "a-row"
                : reducer->dense ? "dense"
                                 : "none-in-harness/conform_choose.c");
    conform_report(c, &finding, "reference");
    if (reference && reference->choose == NULL) {
        check_replays(c, reducer);
        conform_degenerate(c, reducer);
        return;
    }
    check_keep_all(c, reducer);
    check_settings(c, reducer);
    check_batch(c, reducer, reducer->dense ? "" : "budget=33.3333%");
    if (conform_has_param(reducer, "at"))
        check_batch(c, reducer, "budget=11.1111% at=decoder");
    if (conform_has_param(reducer, "seed"))
        check_chance(c, reducer);
    conform_degenerate(c, reducer);
    conform_dialogues(c, reducer);
    conform_parameters(c, reducer);
    conform_budgets(c, reducer);
}
