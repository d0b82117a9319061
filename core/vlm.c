/* The way of a question through the house:
 *
 *   picture ─▶ pixels ─▶ tower ─▶ projector ─▶ features                              (features.c, clip.c)
 *   prompt ─▶ ids ─▶ embeddings, features in their places ─▶ sequence                        (dialogue.c)
 *   budget ─▶ plan                                                                     (method.c, budget.c)
 *   sequence ─▶ layer 0 … L−1, the method's cuts before, after and between        (prefill.c, cut.c, move.c)
 *   last row ─▶ head ─▶ first id ─▶ decode steps ─▶ text                                            (here)
 *
 * A later turn runs its own rows on the cache that the earlier turns left (turns=reuse), or the whole
 * dialogue is prefilled anew, with the method's cuts (reselect) or without (full).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "run.h"

/* ---- prefill of a turn ---------------------------------------------------------------------- */

/* Counts of every cut, before the first token is computed. */
static enum status plan_make(struct run *run, bool cuts, struct error *err)
{
    const struct vlm_config *config = &run->session->vlm->config;
    const struct question *question = run->question;
    struct reduction *r = &run->reduction;
    const struct reducer *reducer = r->method->reducer;
    struct ledger *ledger = &run->answer->ledger;
    int n_visual = r->sequence.n_visual, n_uncut = 0;
    for (int i = 0; i < question->n_images; i++) {
        n_uncut += question->images[i]->n_uncut;
        if (question->images[i]->reduced_by != (reducer->in_tower ? reducer : NULL))
            return fail(err, BAD_INPUT,
                        "a picture was encoded for method %s and is asked with %s; encode it with the method "
                        "of the question",
                        question->images[i]->reduced_by ? question->images[i]->reduced_by->name : "vanilla",
                        reducer->name);
    }
    ledger->n_visual = n_uncut;
    ledger->n_text = r->sequence.n - n_visual;
    struct plan_input input = vlm_plan_input(config, n_uncut, ledger->n_text, r->n_candidates);
    input.n_images = question->n_images > 0 ? question->n_images : 1;
    input.replay = question->replay;
    input.n_replay = question->n_replay;
    input.shadow = run->shadow;
    memset(&r->plan, 0, sizeof r->plan);
    if (cuts)
        TRY(method_plan(&r->plan, r->method, &input, err));
    for (r->next_cut = 0; r->next_cut < r->plan.n_cuts; r->next_cut++) {
        struct plan_cut *cut = &r->plan.cuts[r->next_cut];
        if (cut->site != SITE_VISION) /* the tower has done its part */
            break;
        if (cut->adaptive) {
            cut->keep = n_visual;
            cut->adaptive = false;
        }
        if (cut->keep != n_visual)
            return fail(
                err, BAD_INPUT,
                "method %s: the pictures have %d tokens where the budget means %d; encode them with the "
                "budget of the question",
                reducer->name, n_visual, cut->keep);
    }
    return OK;
}

/* Prefill of the dialogue up to turn t from nothing, with the method's cuts or without any. */
static enum status turn_fresh(struct run *run, int t, bool cuts, int *n_rows, struct error *err)
{
    struct session *s = run->session;
    struct reduction *r = &run->reduction;
    struct ledger *ledger = &run->answer->ledger;
    double start = clock_ms();
    kv_clear(&s->kv);
    r->turn = t;
    TRY(dialogue_merge(run, t == 0 ? run->n_ids : run->answer->turns[t].n_prompt_ids, err));
    TRY(plan_make(run, cuts, err));
    TRY(tap_give(r->tap, s, "embeds", s->work.x, 0, r->sequence.n, s->vlm->config.text.hidden, err));
    double merged = clock_ms();
    TRY(prefill_fresh(run, n_rows, err));
    ledger->prefill_ms += clock_ms() - merged;
    ledger->ttft_ms += merged - start;
    run->answer->plan = r->plan;
    return OK;
}

/* The rows of turn t on the cache that the earlier turns left. */
static enum status turn_reuse(struct run *run, int t, int *n_rows, struct error *err)
{
    struct session *s = run->session;
    const struct turn *turn = &run->answer->turns[t], *before = &run->answer->turns[t - 1];
    struct ledger *ledger = &run->answer->ledger;
    double start = clock_ms();
    int n = turn->n_prompt_ids + 1; /* the last id of the answer before has not been run yet */
    TRY(length_check(run, run->uncut_length + n + run->question->max_new_tokens, err));
    TRY(workspace_reserve(s, n, err));
    embed_ids(s, 0, &before->ids[before->n_ids - 1], 1);
    embed_ids(s, 1, turn->prompt_ids, turn->n_prompt_ids);
    double merged = clock_ms();
    TRY(prefill_later(run, n, err));
    ledger->prefill_ms += clock_ms() - merged;
    ledger->ttft_ms += merged - start;
    run->uncut_length += n;
    run->expanded_length += n;
    *n_rows = n;
    return OK;
}

/* Prefill of turn t; the last layer's output is left in work.x, its last row chooses the first id. */
static enum status turn_prefill(struct run *run, int t, int *n_rows, struct error *err)
{
    struct turn *turn = &run->answer->turns[t];
    enum turns turns = method_turns(run->reduction.method);
    if (t > 0)
        TRY(dialogue_add(run, turn[-1].ids, turn[-1].n_ids, err));
    TRY(dialogue_add(run, turn->prompt_ids, turn->n_prompt_ids, err));
    if (t > 0 && turns == TURNS_REUSE)
        TRY(turn_reuse(run, t, n_rows, err));
    else
        TRY(turn_fresh(run, t, t == 0 || turns == TURNS_RESELECT, n_rows, err));
    turn->expanded_len = run->expanded_length;
    return OK;
}

/* ---- decoding ------------------------------------------------------------------------------- */

/* Greedy: the id of the largest logit, the first of equals. */
static enum status next_id(struct run *run, const float *row, int32_t *id, struct error *err)
{
    struct session *s = run->session;
    const struct vlm_config *config = &s->vlm->config;
    struct ledger *ledger = &run->answer->ledger;
    s->compute.macs = 0;
    llama_head(s, row);
    *id = s->vlm->ops->argmax(&s->compute, s->work.logits, config->text.vocabulary);
    float best;
    s->vlm->ops->download(&s->compute, &best, s->work.logits + *id, sizeof best);
    if (!isfinite(best))
        return fail(err, BAD_INPUT, "the logits are not numbers; are the weights damaged?");
    ledger->macs_counted[STAGE_HEAD] += s->compute.macs;
    ledger->macs[STAGE_HEAD] += (uint64_t)config->text.hidden * (uint64_t)config->text.vocabulary;
    return tap_give(run->question->tap, s, "logits", s->work.logits, 0, 1, config->text.vocabulary, err);
}

static bool is_eos(const struct vlm_config *config, int32_t id)
{
    for (int i = 0; i < config->n_eos; i++)
        if (config->eos[i] == id)
            return true;
    return false;
}

static void decode_step(struct run *run, int32_t id)
{
    struct session *s = run->session;
    const struct vlm_config *config = &s->vlm->config;
    struct ledger *ledger = &run->answer->ledger;
    embed_ids(s, 0, &id, 1);
    s->compute.macs = 0;
    for (int l = 0; l < config->text.n_layers; l++) {
        int length = s->kv.layers[l].length;
        llama_layer_row(s, l, run->original_positions ? run->uncut_length : length);
        ledger->macs[STAGE_DECODE] +=
            macs_layer(1, length + 1, config->text.hidden, config->text.intermediate, config->text.n_heads,
                       config->text.n_kv_heads, config->text.head_dim);
    }
    ledger->macs_counted[STAGE_DECODE] += s->compute.macs;
    run->uncut_length++;
    run->expanded_length++;
    ledger->n_decode_steps++;
}

/* Nothing of ours is allocated between the first and the last token: room was made in the prefill. */
static enum status turn_decode(struct run *run, int t, int n_rows, struct error *err)
{
    struct session *s = run->session;
    struct turn *turn = &run->answer->turns[t];
    struct ledger *ledger = &run->answer->ledger;
    const struct vlm_config *config = &s->vlm->config;
    int d = config->text.hidden;
    int32_t id;
    double start = clock_ms();
    TRY(next_id(run, s->work.x + (size_t)(n_rows - 1) * (size_t)d, &id, err));
    double first = clock_ms();
    ledger->head_ms += first - start;
    s->vlm->ops->download(&s->compute, run->answer->first_logits, s->work.logits,
                          (size_t)config->text.vocabulary * sizeof(float));

    bool tapped = run->question->tap != NULL; /* taps copy to the host */
    memory_guard(!tapped);
    enum status status = OK;
    turn->ids[turn->n_ids++] = id;
    while (status == OK && !is_eos(config, id) && turn->n_ids < run->question->max_new_tokens) {
        decode_step(run, id);
        status = deadline_check(run, err);
        if (status == OK)
            status = next_id(run, s->work.x, &id, err);
        turn->ids[turn->n_ids++] = id;
    }
    memory_guard(false);
    ledger->decode_ms += clock_ms() - first;
    ledger->n_generated += turn->n_ids;
    TRY(status);
    if (s->vlm->tokenizer == NULL)
        return OK; /* a geometry has ids only */
    turn->text = tokenizer_decode(s->vlm->tokenizer, turn->ids, turn->n_ids, true);
    return turn->text ? OK : memory_failed(err, "answer text", (size_t)turn->n_ids);
}

/* ---- the answer ----------------------------------------------------------------------------- */

static enum status question_check(const struct question *q, struct error *err)
{
    if (q->n_turns < 1 || q->n_turns > LIMIT_TURNS)
        return fail(err, BAD_INPUT, "%d turns, expected 1 to %d", q->n_turns, LIMIT_TURNS);
    if (q->n_images > LIMIT_IMAGES)
        return fail(err, BAD_INPUT, "%d pictures, expected at most %d", q->n_images, LIMIT_IMAGES);
    if (q->max_new_tokens < 1 || q->max_new_tokens > LIMIT_NEW_TOKENS)
        return fail(err, BAD_INPUT, "max-new-tokens is %d, expected 1 to %d", q->max_new_tokens,
                    LIMIT_NEW_TOKENS);
    return OK;
}

static enum status run_start(struct run *run, const struct method *method, struct error *err)
{
    const struct question *q = run->question;
    struct session *s = run->session;
    run->original_positions = method_original_positions(method);
    run->reduction = (struct reduction){.session = s,
                                        .method = method,
                                        .tap = q->tap,
                                        .replay = q->replay,
                                        .n_replay = q->n_replay,
                                        .seed = q->seed,
                                        .sample = q->sample,
                                        .image = -1,
                                        .want_records = q->want_records};
    run->grids = memory_alloc((size_t)q->n_images + 1, sizeof *run->grids);
    if (run->grids == NULL)
        return memory_failed(err, "grids", (size_t)q->n_images * sizeof *run->grids);
    bool reduced = false; /* in the tower */
    for (int i = 0; i < q->n_images; i++) {
        run->grids[i] = q->images[i]->grid;
        reduced = reduced || q->images[i]->n != q->images[i]->n_uncut;
    }
    run->reduction.grids = run->grids;
    if (q->n_turns > 1 && reduced && method_turns(method) == TURNS_FULL)
        return fail(
            err, BAD_INPUT,
            "method %s reduces inside the tower, so later turns cannot see all tokens; use turns=reuse "
            "or turns=reselect",
            method->reducer->name);
    return OK;
}

/* A control on the schedule of a data-dependent method follows it sample by sample: the method itself is run
 * on the question first, uncounted, and its cuts are the control's plan. *used: whether that is so. */
static enum status shadow_run(struct plan *out, bool *used, struct session *s,
                              const struct question *question, struct error *err)
{
    struct method shadowed;
    *used = false;
    if (question->method == NULL || !question->method->reducer->shadows(&shadowed, question->method))
        return OK;
    struct plan_input input = vlm_plan_input(&s->vlm->config, 0, 1, 1);
    for (int i = 0; i < question->n_images; i++)
        input.n_visual += question->images[i]->n_uncut;
    input.n_images = question->n_images;
    TRY(method_plan(out, &shadowed, &input, err));
    if (!plan_is_adaptive(out))
        return OK;
    struct question first = *question;
    first.method = &shadowed;
    first.n_turns = first.max_new_tokens = 1;
    first.tap = NULL;
    first.want_records = false;
    first.n_attention = 0;
    struct answer answer;
    TRY(session_ask(&answer, s, &first, err));
    *out = answer.plan;
    *used = true;
    answer_free(&answer);
    return OK;
}

enum status session_ask(struct answer *out, struct session *s, const struct question *question,
                        struct error *err)
{
    struct method vanilla;
    memset(out, 0, sizeof *out);
    TRY(question_check(question, err));
    if (question->method == NULL)
        TRY(method_init(&vanilla, "vanilla", err));
    struct plan shadow;
    bool shadowed;
    TRY(shadow_run(&shadow, &shadowed, s, question, err));
    struct run run = {.session = s, .question = question, .answer = out, .shadow = shadowed ? &shadow : NULL};
    struct ledger *ledger = &out->ledger;
    double start = clock_ms();
    enum status status;

    TRY_GOTO(status, run_start(&run, question->method ? question->method : &vanilla, err));
    TRY_GOTO(status, answer_new(out, s, question, err));
    for (int t = 0; t < question->n_turns; t++) {
        int n_rows;
        TRY_GOTO(status, turn_tokenize(&run, t, err));
        TRY_GOTO(status, turn_prefill(&run, t, &n_rows, err));
        kv_count(&run);
        TRY_GOTO(status, turn_decode(&run, t, n_rows, err));
    }
    kv_count_end(&run);
    TRY_GOTO(status, answer_take(out, &run, err));
    ledger->ttft_ms += ledger->vision_ms + ledger->project_ms + ledger->prefill_ms + ledger->head_ms;
    ledger->total_ms = clock_ms() - start + ledger->preprocess_ms + ledger->vision_ms + ledger->project_ms;
exit:
    reduction_free(&run.reduction);
    free(run.grids);
    free(run.ids);
    if (status != OK)
        answer_free(out);
    return status;
}
