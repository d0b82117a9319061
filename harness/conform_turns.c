/* Dialogues: what later turns see (`turns`). See conform.h.
 *
 *   full      vanilla asked with the whole dialogue as one prompt, bit by bit
 *   reselect  the method asked with it; raters are the new turn's text (the walk follows that turn)
 *   reuse     only the new rows run; every layer's cache holds what entered it and all text since
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "memory.h"

static const char *const turns_names[] = {"reuse", "reselect", "full"};

/* The dialogue up to turn t as one prompt. */
static void whole_dialogue(struct prompt *out, const struct prompt *prompt, const struct answer *answer,
                           int t)
{
    *out = (struct prompt){.n_images = prompt->n_images, .n_turns = 1};
    int at = 0;
    for (int i = 0; i <= t; i++) {
        for (int k = 0; k < prompt->n_turn_ids[i]; k++)
            out->ids[out->n_ids++] = prompt->ids[at++];
        for (int k = 0; i < t && k < answer->turns[i].n_ids; k++)
            out->ids[out->n_ids++] = answer->turns[i].ids[k];
        ENSURE(out->n_ids < CONFORM_IDS);
    }
    out->n_turn_ids[0] = out->n_ids;
}

/* The last turn of a dialogue against the only turn of another answer. */
static void check_last_turn(struct finding *out, const struct answer *dialogue, const struct answer *single,
                            int vocabulary, double tolerance)
{
    const struct turn *a = &dialogue->turns[dialogue->n_turns - 1], *b = &single->turns[0];
    double most = 0, apart = 0;
    for (int i = 0; i < vocabulary; i++) {
        most = fmax(most, fabs((double)single->first_logits[i]));
        apart = fmax(apart, fabs((double)dialogue->first_logits[i] - (double)single->first_logits[i]));
    }
    bool ids = a->n_ids == b->n_ids && memcmp(a->ids, b->ids, (size_t)a->n_ids * sizeof *a->ids) == 0;
    finding_set(out, ids && apart <= tolerance * most, tolerance > 0 ? "1e-4" : "0", "%s%.3g",
                ids ? "" : "other-ids-", apart / most);
}

static void say_error(struct conform *c, const struct trial *trial, const char *check)
{
    struct finding finding;
    finding_set(&finding, false, "answer", "error");
    fprintf(stderr, "%s %s: %s\n", c->method, check, trial->err.text);
    conform_report(c, &finding, "%s", check);
}

/* Against the whole dialogue as one prompt, asked with `method` (NULL: vanilla). */
static void check_against(struct conform *c, const struct trial *dialogue, const struct method *method,
                          double tolerance, const char *check)
{
    struct prompt whole;
    struct finding finding;
    whole_dialogue(&whole, dialogue->prompt, &dialogue->answer, dialogue->prompt->n_turns - 1);
    struct trial single = {.method = method, .prompt = &whole, .first_picture = dialogue->first_picture};
    trial_run(&single, c, c->beds[0].session);
    if (single.status == OK) {
        check_last_turn(&finding, &dialogue->answer, &single.answer,
                        vlm_config(c->beds[0].vlm)->text.vocabulary, tolerance);
        conform_report(c, &finding, "%s", check);
    } else {
        say_error(c, &single, check);
    }
    trial_free(&single);
}

/* The walk of the last turn of a dialogue that was prefilled anew; false: the method has no reference. */
static bool walk_last_turn(struct walk_result *out, const struct conform *c, const struct trial *dialogue)
{
    const struct reference *reference = reference_find(c->method);
    struct prompt whole;
    int last = dialogue->prompt->n_turns - 1;
    if (reference == NULL || reference->choose == NULL)
        return false;
    whole_dialogue(&whole, dialogue->prompt, &dialogue->answer, last);
    struct trial turn = *dialogue;
    turn.prompt = &whole;
    turn.turn = last;
    turn.n_candidates = dialogue->prompt->n_turn_ids[last];
    walk(out, c, &turn, reference);
    return true;
}

/* Every layer's cache: the visual tokens that entered it, the text of all turns and all answers but the last
 * one. */
static void check_caches(struct conform *c, const struct trial *dialogue, const char *check)
{
    const struct answer *answer = &dialogue->answer;
    struct finding finding;
    int n_text = -dialogue->prompt->n_images, last = answer->n_turns - 1;
    for (int t = 0; t <= last; t++)
        n_text += answer->turns[t].n_prompt_ids + (t < last ? answer->turns[t].n_ids : 0);
    finding_set(&finding, true, "equal", "%d-text", n_text);
    for (int l = 0; l < answer->ledger.n_layers && finding.holds; l++) {
        const struct ledger_layer *row = &answer->ledger.layers[l];
        if (row->kv_len != row->kv_visual + n_text)
            finding_set(&finding, false, "equal", "layer-%d-%d-not-%d", l, row->kv_len,
                        row->kv_visual + n_text);
    }
    conform_report(c, &finding, "%s", check);
}

/* Whether which tokens stay depends on the text that asks. */
static bool asks_text(const struct method *method)
{
    struct plan_cut cut = {.site = SITE_DECODER, .layer = 2};
    enum score_rows rows = method->reducer->score(method, &cut).rows;
    return rows == ROWS_CHOSEN || rows == ROWS_TEXT;
}

static void check_dialogue(struct conform *c, const struct reducer *reducer, enum turns turns,
                           const char *settings, int n_turns)
{
    struct prompt prompt;
    struct method method;
    char check[200], all[240];
    prompt_make(&prompt, 5, 1, 10);
    for (int t = 1; t < n_turns; t++)
        prompt_add_turn(&prompt, 9 - t);
    snprintf(all, sizeof all, "%s%s%s", settings, *settings ? " " : "", "turns=");
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s", turns_names[turns]);
    snprintf(check, sizeof check, "turns[%s,%d]", reducer->dense ? "reuse" : all, n_turns);
    struct trial trial = {.method = &method, .prompt = &prompt, .want_taps = turns != TURNS_REUSE};
    trial.status = conform_method(&method, reducer, reducer->dense ? "" : all, &trial.err);
    struct walk_result result;
    bool walks = false;
    for (int picture = 0; trial.status == OK; picture++) { /* one on which no choice hangs on rounding */
        trial.first_picture = picture;
        trial_run(&trial, c, c->beds[0].session);
        walks = trial.status == OK && turns == TURNS_RESELECT && walk_last_turn(&result, c, &trial);
        if (!walks || result.margin >= MARGIN_LEAST || picture + 1 == CONFORM_PICTURES)
            break;
        trial_free(&trial);
    }
    if (walks) {
        conform_report(c, &result.choices, "reference[%s]", check);
        conform_report(c, &result.layers, "layers[%s]", check);
    }
    /* a tower that took nothing away has all tokens for later turns */
    bool whole =
        trial.status == OK && trial.answer.ledger.layers[0].visual_in == trial.answer.ledger.n_visual;
    if (turns == TURNS_FULL && reducer->in_tower && !whole) {
        struct finding finding;
        finding_set(&finding, trial.status == BAD_INPUT && strstr(trial.err.text, "turns=") != NULL,
                    "refused-with-turns", "status-%d", (int)trial.status);
        conform_report(c, &finding, "%s", check);
    } else if (trial.status != OK) {
        say_error(c, &trial, check);
    } else if (turns == TURNS_FULL) {
        check_against(c, &trial, NULL, 0, check);
    } else if (turns == TURNS_RESELECT) {
        if (!asks_text(&method))
            check_against(c, &trial, &method, 0, check);
    } else {
        check_caches(c, &trial, check);
        bool before = trial.answer.plan.n_cuts == 0 || trial.answer.plan.cuts[0].site != SITE_DECODER;
        /* what is chosen before layer 0 is chosen again alike; decode steps round otherwise */
        snprintf(all, sizeof all, "%s,as-one", check);
        if (before && !asks_text(&method))
            check_against(c, &trial, &method, 1e-4, all);
    }
    trial_free(&trial);
}

void conform_dialogues(struct conform *c, const struct reducer *reducer)
{
    if (reducer->dense) {
        check_dialogue(c, reducer, TURNS_REUSE, "", 2);
        check_dialogue(c, reducer, TURNS_REUSE, "", 3);
        return;
    }
    for (enum turns turns = TURNS_REUSE; turns <= TURNS_FULL; turns++)
        for (int n_turns = 2; n_turns <= CONFORM_TURNS; n_turns++) {
            check_dialogue(c, reducer, turns, "budget=22.2222%", n_turns);
            check_dialogue(c, reducer, turns, "budget=22.2222% positions=original", n_turns);
            check_dialogue(c, reducer, turns, "budget=100%", n_turns);
        }
}
