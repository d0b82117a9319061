/*
 * Asks questions about a scene so that answers stay balanced: the type furthest behind its share comes next;
 * of several candidates drawn from its forms the one whose answer was given least is taken. For "exist" every
 * name ("red star") is asked as often present as absent, for statements every value as often rightly as
 * wrongly. For multiple choice both letters and right options are kept even.
 */
#include "questions.h"

#include "forms.h"

#include <string.h> /* memcpy, strcmp */

const char *const question_types[QUESTION_TYPES] = {
    "exist",  "color",   "shape", "size",   "texture", "pos",    "relv",    "relc",         "count", "same",
    "larger", "extreme", "mc",    "number", "vcolor",  "vcount", "vnumber", "unanswerable", "text"};

enum { CANDIDATES = 24, NOISE = 6 };

const char *question_form_name(int form)
{
    return question_forms[form].name;
}

int question_form_find(const char *name)
{
    for (int f = 0; f < QUESTION_FORMS; f++)
        if (strcmp(question_forms[f].name, name) == 0)
            return f;
    return -1;
}

static int has_pair(enum question_type type)
{
    return type == QUESTION_EXIST || type == QUESTION_VERIFY_COLOR || type == QUESTION_VERIFY_COUNT ||
           type == QUESTION_VERIFY_NUMBER;
}

static int has_letters(enum question_type type)
{
    return type == QUESTION_MC || type == QUESTION_TEXT;
}

/* What the answer says: for a letter, the words of the right option. */
static int answer_index(const struct question *q)
{
    if (!has_letters(q->type))
        return form_answer_index(q->answer);
    struct span span = q->options[q->answer[0] - 'A'].span;
    char words[QUESTION_TEXT_SIZE];
    int n = span.end - span.begin;
    memcpy(words, q->text + span.begin, (size_t)n);
    words[n] = '\0';
    return form_answer_index(words);
}

/* A statement is not asked when its value leans too far: nine stars are seldom there, so seldom asked for. */
static int leans_too_far(const struct question_ledger *ledger, const struct question *q)
{
    enum { LEAN = 4 };
    int yes = q->answer[0] == 'Y';
    return has_pair(q->type) && q->type != QUESTION_EXIST &&
           ledger->pairs[q->pair][yes] - ledger->pairs[q->pair][!yes] >= LEAN;
}

/* How often a question's answer was given already; exist and verify: how far its pair leans towards it. */
static long ledger_score(const struct question_ledger *ledger, const struct question *q)
{
    int answer = answer_index(q);
    if (has_letters(q->type))
        return 2 * ledger->letters[q->type][q->n_options][q->answer[0] - 'A'] +
               2 * ledger->form_answers[q->form][answer];
    if (!has_pair(q->type))
        return 2 * ledger->type_answers[q->type][answer] + ledger->form_answers[q->form][answer];
    int yes = q->answer[0] == 'Y';
    long lean = ledger->pairs[q->pair][yes] - ledger->pairs[q->pair][!yes];
    const long *given = ledger->type_answers[q->type];
    return 6 * lean + 2 * (given[answer] - given[form_answer_index(yes ? "No" : "Yes")]);
}

static void ledger_enter(struct question_ledger *ledger, const struct question *q)
{
    int answer = answer_index(q);
    ledger->types[q->type]++;
    ledger->type_answers[q->type][answer]++;
    ledger->form_answers[q->form][answer]++;
    if (has_pair(q->type))
        ledger->pairs[q->pair][q->answer[0] == 'Y']++;
    if (has_letters(q->type))
        ledger->letters[q->type][q->n_options][q->answer[0] - 'A']++;
}

/* One question of a form drawn with the weights, its text new; -1 if none of the candidates comes off. */
static int ask_one(struct question *best, const int weights[QUESTION_FORMS], int n_options,
                   const struct question *asked, int n_asked, const struct scene *scene,
                   struct question_ledger *ledger, struct world_rng *rng)
{
    long best_score = 0;
    int found = 0;
    for (int candidate = 0; candidate < CANDIDATES; candidate++) {
        struct question q = {.form = world_rng_weighted(rng, weights, QUESTION_FORMS)};
        q.type = question_forms[q.form].type;
        if (question_forms[q.form].build(&q, scene, rng) != 0 || (n_options && q.n_options != n_options) ||
            leans_too_far(ledger, &q))
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

int question_ask_form(struct question *q, int form, int n_options, const struct question *asked, int n_asked,
                      const struct scene *scene, struct question_ledger *ledger, struct world_rng *rng)
{
    int weights[QUESTION_FORMS] = {0};
    weights[form] = 1;
    if (ask_one(q, weights, n_options, asked, n_asked, scene, ledger, rng) != 0)
        return -1;
    ledger_enter(ledger, q);
    return 0;
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
        int forms[QUESTION_FORMS];
        for (int f = 0; f < QUESTION_FORMS; f++)
            forms[f] = question_forms[f].type == (enum question_type)type;
        if (ask_one(q, forms, 0, questions, found, scene, ledger, rng) != 0) {
            exhausted[type] = 1;
            continue;
        }
        ledger_enter(ledger, q);
        found++;
    }
    return found;
}
