/* The way of a question through the house:
 *
 *   prompt ─▶ token ids ─▶ embeddings ─┐
 *   picture ─▶ features (session.c) ───┴─▶ sequence ─▶ layer 0 … L−1, the method's cuts between (prefill.c,
 * cut.c) ─▶ head ─▶ first id ─▶ decode steps ─▶ text
 *
 * A later turn runs only its own rows on the cache that the earlier turns left.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "run.h"

/* ---- one turn ------------------------------------------------------------------------------- */

static enum status turn_tokenize(struct run *run, int t, struct error *err)
{
    struct turn *turn = &run->answer->turns[t];
    const struct vlm *vlm = run->session->vlm;
    if (run->question->prompt_ids == NULL) {
        TRY(tokenizer_encode(vlm->tokenizer, &turn->prompt_ids, &turn->n_prompt_ids,
                             run->question->prompts[t], -1, t == 0, err));
    } else {
        turn->n_prompt_ids = run->question->n_prompt_ids;
        turn->prompt_ids = memory_alloc((size_t)turn->n_prompt_ids, sizeof *turn->prompt_ids);
        if (turn->prompt_ids == NULL)
            return memory_failed(err, "prompt ids", (size_t)turn->n_prompt_ids * sizeof *turn->prompt_ids);
        memcpy(turn->prompt_ids, run->question->prompt_ids,
               (size_t)turn->n_prompt_ids * sizeof *turn->prompt_ids);
    }
    int n_places = 0;
    for (int i = 0; i < turn->n_prompt_ids; i++) {
        if (turn->prompt_ids[i] < 0 || turn->prompt_ids[i] >= vlm->config.text.vocabulary)
            return fail(err, BAD_INPUT,
                        "prompt: token %d lies outside the model's vocabulary of %d; do tokenizer.json and "
                        "config.json belong together?",
                        turn->prompt_ids[i], vlm->config.text.vocabulary);
        n_places += turn->prompt_ids[i] == vlm->config.image_token;
    }
    int expected = t == 0 ? run->question->n_images : 0;
    if (n_places != expected)
        return fail(err, BAD_INPUT,
                    "prompt of turn %d: %d <image> placeholders for %d pictures; write one <image> for each "
                    "picture, in the first turn",
                    t + 1, n_places, expected);
    if (turn->n_prompt_ids == 0)
        return fail(err, BAD_INPUT, "prompt of turn %d is empty", t + 1);
    return OK;
}

static enum status length_check(const struct run *run, int n, struct error *err)
{
    int limit = run->session->vlm->config.text.max_positions;
    if (n > limit)
        return fail(err, BAD_INPUT,
                    "prompt and answer need %d positions and the model has %d; shorten the prompt, use fewer "
                    "pictures or a smaller max-new-tokens",
                    n, limit);
    return OK;
}

/* Token embeddings of n ids into work.x from row `first` on. */
static void embed_ids(struct session *s, int first, const int32_t *ids, int n)
{
    int d = s->vlm->config.text.hidden;
    int32_t *index = s->work.index + first;
    s->vlm->ops->upload(&s->compute, index, ids, (size_t)n * sizeof *ids);
    s->vlm->ops->gather_rows(&s->compute, s->work.x + (size_t)first * (size_t)d, s->vlm->llama.embedding,
                             index, n, d);
}

/* A picture's tokens into the sequence, its features into work.x. first_id: number of its first patch. */
static void merge_picture(struct run *run, int image, int first_id)
{
    struct session *s = run->session;
    struct sequence *sequence = &run->reduction.sequence;
    const struct features *f = run->question->images[image];
    size_t d = (size_t)s->vlm->config.text.hidden;
    s->vlm->ops->copy(&s->compute, s->work.x + (size_t)sequence->n * d, f->data,
                      (size_t)f->n * d * sizeof(float));
    for (int j = 0; j < f->n; j++) {
        struct token token = f->tokens[j];
        token.image = (int16_t)image;
        token.id += token.id >= 0 ? first_id : -sequence->n_clusters;
        token.position = sequence->n;
        sequence_add(sequence, token);
    }
    sequence->n_clusters += f->n_clusters;
}

/* The merged sequence of the dialogue so far: every placeholder becomes its picture's features. */
static enum status merge(struct run *run, int n_candidates, struct error *err)
{
    struct session *s = run->session;
    struct sequence *sequence = &run->reduction.sequence;
    const struct question *question = run->question;
    int32_t image_token = s->vlm->config.image_token;
    int n = run->n_ids;
    for (int i = 0; i < question->n_images; i++)
        n += question->images[i]->n - 1;
    TRY(length_check(run, n + question->max_new_tokens, err));
    TRY(workspace_reserve(s, n, err));
    sequence_free(sequence);
    sequence_free(&run->reduction.spare);
    TRY(sequence_new(sequence, n, err));
    TRY(sequence_new(&run->reduction.spare, n, err));

    int image = 0, first_id = 0;
    for (int i = 0, first = 0; i <= run->n_ids; i++) {
        bool place = i < run->n_ids && run->ids[i] == image_token;
        if (i < run->n_ids && !place)
            continue;
        if (i > first)
            embed_ids(s, sequence->n, run->ids + first, i - first);
        for (; first < i; first++)
            sequence_add(
                sequence,
                (struct token){
                    .kind = TOKEN_TEXT, .image = -1, .id = INT32_MIN, .cell = -1, .position = sequence->n});
        first = i + 1;
        if (!place)
            continue;
        merge_picture(run, image, first_id);
        first_id += question->images[image++]->n_ids;
    }
    if (sequence->n_visual == 0)
        sequence->text_start = 0;
    int n_after = sequence->n - sequence->text_start;
    run->reduction.n_candidates = n_candidates < n_after ? n_candidates : n_after;
    run->uncut_length = n;
    return OK;
}

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
    input.shadow = question->shadow;
    memset(&r->plan, 0, sizeof r->plan);
    if (cuts)
        TRY(method_plan(&r->plan, r->method, &input, err));
    for (r->next_cut = 0; r->next_cut < r->plan.n_cuts; r->next_cut++)
        if (r->plan.cuts[r->next_cut].site != SITE_VISION)
            break;
        else
            ENSURE(r->plan.cuts[r->next_cut].keep == n_visual); /* the tower did what was planned */
    return OK;
}

/* ids of the dialogue: what turn t adds. */
static enum status dialogue_add(struct run *run, const int32_t *ids, int n, struct error *err)
{
    int32_t *grown = memory_grow(run->ids, (size_t)(run->n_ids + n) + 1, sizeof *grown);
    if (grown == NULL)
        return memory_failed(err, "dialogue", (size_t)(run->n_ids + n) * sizeof *grown);
    run->ids = grown;
    memcpy(run->ids + run->n_ids, ids, (size_t)n * sizeof *ids);
    run->n_ids += n;
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
    TRY(merge(run, t == 0 ? run->n_ids : run->answer->turns[t].n_prompt_ids, err));
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
    turn->expanded_len = run->uncut_length;
    return OK;
}

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

static enum status answer_new(struct answer *out, struct session *s, const struct question *question,
                              struct error *err)
{
    const struct vlm_config *config = &s->vlm->config;
    memset(out, 0, sizeof *out);
    struct ledger *ledger = &out->ledger;
    out->n_turns = question->n_turns;
    out->turns = memory_zero((size_t)question->n_turns, sizeof *out->turns);
    out->first_logits = memory_alloc((size_t)config->text.vocabulary, sizeof(float));
    ledger->layers = memory_zero((size_t)config->text.n_layers, sizeof *ledger->layers);
    bool room = out->turns && out->first_logits && ledger->layers;
    for (int t = 0; room && t < question->n_turns; t++)
        room = (out->turns[t].ids = memory_alloc((size_t)question->max_new_tokens, sizeof(int32_t))) != NULL;
    if (!room)
        return memory_failed(err, "answer", (size_t)config->text.vocabulary * sizeof(float));
    ledger->n_layers = config->text.n_layers;
    ledger->hidden = config->text.hidden;
    ledger->intermediate = config->text.intermediate;
    ledger->n_heads = config->text.n_heads;
    ledger->n_kv_heads = config->text.n_kv_heads;
    ledger->head_dim = config->text.head_dim;
    ledger->vocabulary = config->text.vocabulary;
    ledger->kv_element_bytes = (int)sizeof(float);
    for (int l = 0; l < ledger->n_layers; l++)
        ledger->layers[l].raters = ledger->layers[l].rank = -1;
    for (int i = 0; i < question->n_images; i++) {
        const struct features *f = question->images[i];
        ledger->macs[STAGE_VISION] += f->macs_vision;
        ledger->macs[STAGE_PROJECT] += f->macs_project;
        ledger->macs_counted[STAGE_VISION] += f->counted_vision;
        ledger->macs_counted[STAGE_PROJECT] += f->counted_project;
        ledger->preprocess_ms += f->preprocess_ms;
        ledger->vision_ms += f->vision_ms;
        ledger->project_ms += f->project_ms;
        ledger->macs[STAGE_SELECT] += f->macs_select;
        ledger->macs_counted[STAGE_SELECT] += f->counted_select;
        ledger->select_ms += f->select_ms;
    }
    return OK;
}

/* What the method did and cost, from the reduction to the answer. */
static enum status answer_take(struct answer *out, struct run *run, struct error *err)
{
    struct reduction *r = &run->reduction;
    struct ledger *ledger = &out->ledger;
    ledger->macs[STAGE_SELECT] += r->macs;
    ledger->macs_counted[STAGE_SELECT] += r->macs_counted;
    ledger->select_ms += r->ms;
    ledger->rank_ms += r->rank_ms;
    ledger->marked = r->marked;
    if (!r->want_records)
        return OK;
    int first_id = 0, first_cluster = 0;
    for (int i = 0; i < run->question->n_images; i++) {
        const struct features *f = run->question->images[i];
        int from = out->n_records;
        TRY(records_append(&out->records, &out->n_records, f->records, f->n_records, first_id, first_cluster,
                           err));
        for (; from < out->n_records; from++)
            out->records[from].image = i;
        first_id += f->n_ids;
        first_cluster += f->n_clusters;
    }
    return records_append(&out->records, &out->n_records, r->records, r->n_records, 0, 0, err);
}

void answer_free(struct answer *answer)
{
    for (int t = 0; answer->turns && t < answer->n_turns; t++) {
        free(answer->turns[t].prompt_ids);
        free(answer->turns[t].ids);
        free(answer->turns[t].text);
    }
    cut_records_free(answer->records, answer->n_records);
    for (int i = 0; i < answer->n_attention; i++)
        free(answer->attention[i].data);
    free(answer->turns);
    free(answer->attention);
    free(answer->first_logits);
    free(answer->ledger.layers);
    memset(answer, 0, sizeof *answer);
}

static uint64_t pages_bytes(int length, uint64_t token_bytes)
{
    return (uint64_t)((length + KV_PAGE - 1) / KV_PAGE) * KV_PAGE * token_bytes;
}

/* KV bytes after the last prefill. */
static void kv_count(struct run *run)
{
    struct ledger *ledger = &run->answer->ledger;
    uint64_t token =
        2u * (uint64_t)ledger->n_kv_heads * (uint64_t)ledger->head_dim * (uint64_t)ledger->kv_element_bytes;
    ledger->kv_bytes_live = ledger->kv_bytes_alloc = ledger->kv_bytes_reserved = ledger->kv_visual_bytes = 0;
    for (int l = 0; l < ledger->n_layers; l++) {
        int length = run->session->kv.layers[l].length;
        uint64_t pages = pages_bytes(length, token);
        ledger->kv_bytes_live += (uint64_t)length * token;
        ledger->kv_bytes_alloc += pages;
        ledger->kv_bytes_reserved += pages_bytes(length + run->question->max_new_tokens, token) - pages;
        ledger->kv_visual_bytes += (uint64_t)ledger->layers[l].kv_visual * token;
    }
}

static void kv_count_end(struct run *run)
{
    struct ledger *ledger = &run->answer->ledger;
    uint64_t token =
        2u * (uint64_t)ledger->n_kv_heads * (uint64_t)ledger->head_dim * (uint64_t)ledger->kv_element_bytes;
    for (int l = 0; l < ledger->n_layers; l++)
        ledger->kv_bytes_end += (uint64_t)run->session->kv.layers[l].length * token;
}

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
    for (int i = 0; i < q->n_images; i++)
        run->grids[i] = q->images[i]->grid;
    run->reduction.grids = run->grids;
    if (q->n_turns > 1 && method->reducer->in_tower && method_turns(method) == TURNS_FULL)
        return fail(
            err, BAD_INPUT,
            "method %s reduces inside the tower, so later turns cannot see all tokens; use turns=reuse "
            "or turns=reselect",
            method->reducer->name);
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
    struct run run = {.session = s, .question = question, .answer = out};
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

struct plan_input vlm_plan_input(const struct vlm_config *config, int n_visual, int n_text, int n_text_after)
{
    return (struct plan_input){.n_visual = n_visual,
                               .n_text = n_text,
                               .n_text_after = n_text_after,
                               .n_images = 1,
                               .n_vision_layers = config->vision.n_used_layers,
                               .grid_rows = config->grid_rows,
                               .grid_cols = config->grid_cols,
                               .vision_hidden = config->vision.hidden,
                               .vision_head_dim = config->vision.hidden / config->vision.n_heads,
                               .n_layers = config->text.n_layers,
                               .hidden = config->text.hidden,
                               .intermediate = config->text.intermediate,
                               .n_heads = config->text.n_heads,
                               .n_kv_heads = config->text.n_kv_heads,
                               .head_dim = config->text.head_dim};
}

/* ---- the model ------------------------------------------------------------------------------ */

static enum status backend_choose(struct vlm *vlm, const struct vlm_options *options, struct error *err)
{
    static const enum dtype DTYPES[] = {[DTYPE_AUTO] = DTYPE_F32,
                                        [DTYPE_CHOICE_F32] = DTYPE_F32,
                                        [DTYPE_CHOICE_BF16] = DTYPE_BF16,
                                        [DTYPE_CHOICE_F16] = DTYPE_F16};
    const char *name = options->device && *options->device ? options->device : "cpu";
    vlm->ops = ops_find(name);
    if (vlm->ops == NULL)
        return fail(err, strcmp(name, "cuda") == 0 ? NO_MACHINE : BAD_INPUT,
                    "device '%.40s' is not there; this build has: ref, cpu", name);
    vlm->dtype = DTYPES[options->dtype];
    return vlm->ops->dtype_check(vlm->dtype, err);
}

enum status vlm_describe(struct vlm_config *out, const struct vlm_options *options, struct error *err)
{
    return options->geometry ? config_geometry(out, options->geometry, err)
                             : config_read(out, options->dir, err);
}

enum status vlm_open(struct vlm **out, const struct vlm_options *options, struct error *err)
{
    struct vlm *vlm = memory_zero(1, sizeof *vlm);
    *out = NULL;
    if (vlm == NULL)
        return memory_failed(err, "model", sizeof *vlm);
    struct loader loader = {.vlm = vlm, .seed = options->random_seed};
    enum status status;
    vlm->dir = memory_text(options->geometry ? options->geometry : options->dir);
    if (vlm->dir == NULL)
        TRY_GOTO(status, memory_failed(err, "model", 0));
    TRY_GOTO(status, backend_choose(vlm, options, err));
    if (options->geometry) {
        TRY_GOTO(status, config_geometry(&vlm->config, options->geometry, err));
        vlm->processor = (struct processor){.size = vlm->config.vision.image_size,
                                            .crop = vlm->config.vision.image_size,
                                            .rescale = 1 / 255.0,
                                            .std = {1, 1, 1}};
        snprintf(vlm->weights_sha256, sizeof vlm->weights_sha256, "random-%llu",
                 (unsigned long long)options->random_seed);
    } else {
        TRY_GOTO(status, config_read(&vlm->config, vlm->dir, err));
        TRY_GOTO(status, tokenizer_open(&vlm->tokenizer, vlm->dir, err));
        TRY_GOTO(status, processor_open(&vlm->processor, vlm->dir, vlm->config.vision.image_size, err));
        if (vlm->processor.crop != vlm->config.vision.image_size)
            TRY_GOTO(status, fail(err, BAD_INPUT, "%s: the processor crops to %d but the tower sees %d",
                                  vlm->dir, vlm->processor.crop, vlm->config.vision.image_size));
        TRY_GOTO(status, weights_open(&loader.weights, vlm->dir, err));
    }
    TRY_GOTO(status, llava15_load(vlm, &loader, err));
    *out = vlm;
exit:
    if (loader.weights)
        weights_close(loader.weights);
    if (status != OK)
        vlm_close(vlm);
    return status;
}

void vlm_close(struct vlm *vlm)
{
    if (vlm == NULL)
        return;
    if (vlm->ops)
        llava15_free(vlm);
    if (vlm->tokenizer)
        tokenizer_close(vlm->tokenizer);
    free(vlm->dir);
    free(vlm);
}

enum status vlm_weights_sha256(char hex[65], struct vlm *vlm, struct error *err)
{
    if (vlm->weights_sha256[0] == 0) {
        struct weights *weights;
        TRY(weights_open(&weights, vlm->dir, err));
        enum status status = weights_sha256(vlm->weights_sha256, weights, err);
        weights_close(weights);
        TRY(status);
    }
    memcpy(hex, vlm->weights_sha256, sizeof vlm->weights_sha256);
    return OK;
}

const struct vlm_config *vlm_config(const struct vlm *vlm)
{
    return &vlm->config;
}

const struct tokenizer *vlm_tokenizer(const struct vlm *vlm)
{
    return vlm->tokenizer;
}

const struct processor *vlm_processor(const struct vlm *vlm)
{
    return &vlm->processor;
}

const char *vlm_device(const struct vlm *vlm)
{
    return vlm->ops->name;
}

const char *vlm_dir(const struct vlm *vlm)
{
    return vlm->dir;
}

size_t vlm_weight_bytes(const struct vlm *vlm)
{
    return vlm->weight_bytes;
}
