/*
 * Asks questions about a scene so that answers stay balanced: the type furthest behind its share comes next;
 * of several candidates drawn from its forms the one whose answer was given least is taken. For "exist" every
 * name ("red star") is asked as often present as absent.
 */
#include "questions.h"

#include "forms.h"

#include <string.h> /* strcmp */

const char *const question_types[QUESTION_TYPES] = {"exist",  "color",   "shape", "size",  "texture",
                                                    "pos",    "relv",    "relc",  "count", "same",
                                                    "larger", "extreme", "mc"};

enum { CANDIDATES = 24, NOISE = 6 };

const char *question_form_name(int form)
{
    return question_forms[form].name;
}

/* How often a question's answer was given already; exist: how far its pair leans towards this answer. */
static long ledger_score(const struct question_ledger *ledger, const struct question *q)
{
    int answer = form_answer_index(q->answer);
    if (q->type != QUESTION_EXIST)
        return 2 * ledger->type_answers[q->type][answer] + ledger->form_answers[q->form][answer];
    int present = q->n_targets > 0;
    long lean = ledger->pairs[q->pair][present] - ledger->pairs[q->pair][!present];
    const long *given = ledger->type_answers[QUESTION_EXIST];
    return 6 * lean + 2 * (given[answer] - given[form_answer_index(present ? "No" : "Yes")]);
}

static void ledger_enter(struct question_ledger *ledger, const struct question *q)
{
    int answer = form_answer_index(q->answer);
    ledger->types[q->type]++;
    ledger->type_answers[q->type][answer]++;
    ledger->form_answers[q->form][answer]++;
    if (q->type == QUESTION_EXIST)
        ledger->pairs[q->pair][q->n_targets > 0]++;
}

/* One question of the type whose text is new; -1 if none of the candidates comes off. */
static int ask_one(struct question *best, enum question_type type, const struct question *asked, int n_asked,
                   const struct scene *scene, struct question_ledger *ledger, struct world_rng *rng)
{
    int weights[QUESTION_FORMS];
    for (int f = 0; f < QUESTION_FORMS; f++)
        weights[f] = question_forms[f].type == type;
    long best_score = 0;
    int found = 0;
    for (int candidate = 0; candidate < CANDIDATES; candidate++) {
        struct question q = {.type = type, .form = world_rng_weighted(rng, weights, QUESTION_FORMS)};
        if (question_forms[q.form].build(&q, scene, rng) != 0)
            continue;
        int repeated = 0;
        for (int i = 0; i < n_asked && !repeated; i++)
            repeated = strcmp(asked[i].text, q.text) == 0;
        if (repeated)
            continue;
        long score = 3 * ledger_score(ledger, &q) + world_rng_below(rng, NOISE);
        if (!found || score < best_score) {
            found = 1;
            best_score = score;
            *best = q;
        }
    }
    return found ? 0 : -1;
}

int questions_ask(struct question *questions, int n, const struct scene *scene,
                  struct question_ledger *ledger, const int weights[QUESTION_TYPES], struct world_rng *rng)
{
    int exhausted[QUESTION_TYPES] = {0};
    int found = 0;
    while (found < n) {
        int type = -1; /* the one furthest behind its share */
        for (int t = 0; t < QUESTION_TYPES; t++)
            if (weights[t] > 0 && !exhausted[t] &&
                (type < 0 || (ledger->types[t] + 1) * weights[type] < (ledger->types[type] + 1) * weights[t]))
                type = t;
        if (type < 0)
            break;
        struct question *q = &questions[found];
        if (ask_one(q, (enum question_type)type, questions, found, scene, ledger, rng) != 0) {
            exhausted[type] = 1;
            continue;
        }
        ledger_enter(ledger, q);
        found++;
    }
    return found;
}
