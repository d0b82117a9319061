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

/* The merged sequence of the first turn: every placeholder becomes its picture's features. */
static enum status merge_first(struct run *run, struct error *err)
{
    struct session *s = run->session;
    const struct turn *turn = &run->answer->turns[0];
    const struct vlm_config *config = &s->vlm->config;
    size_t d = (size_t)config->text.hidden;
    int n = turn->n_prompt_ids;
    for (int i = 0; i < run->question->n_images; i++)
        n += run->question->images[i]->n - 1;
    TRY(length_check(run, n + run->question->max_new_tokens, err));
    TRY(workspace_reserve(s, n, err));
    TRY(sequence_new(&run->sequence, n, err));
    TRY(sequence_new(&run->spare, n, err));

    int image = 0, n_visual = 0;
    for (int i = 0, run_start = 0; i <= turn->n_prompt_ids; i++) {
        bool place = i < turn->n_prompt_ids && turn->prompt_ids[i] == config->image_token;
        if (i < turn->n_prompt_ids && !place)
            continue;
        if (i > run_start) {
            embed_ids(s, run->sequence.n, turn->prompt_ids + run_start, i - run_start);
            for (int j = run_start; j < i; j++)
                sequence_add(&run->sequence, (struct token){.kind = TOKEN_TEXT,
                                                            .image = -1,
                                                            .id = INT32_MIN,
                                                            .cell = -1,
                                                            .position = run->sequence.n});
        }
        run_start = i + 1;
        if (!place)
            break;
        const struct features *f = run->question->images[image];
        s->vlm->ops->copy(&s->compute, s->work.x + (size_t)run->sequence.n * d, f->data,
                          (size_t)f->n * d * sizeof(float));
        int skip = f->n - f->rows * f->cols; /* the class token stands for no cell */
        for (int j = 0; j < f->n; j++)
            sequence_add(&run->sequence, (struct token){.kind = TOKEN_VISUAL,
                                                        .image = (int16_t)image,
                                                        .id = n_visual++,
                                                        .cell = j < skip ? -1 : j - skip,
                                                        .position = run->sequence.n,
                                                        .size = 1});
        image++;
    }
    if (n_visual == 0)
        run->sequence.text_start = 0;
    run->answer->turns[0].expanded_len = n;
    return OK;
}

static enum status plan_make(struct run *run, struct error *err)
{
    const struct vlm_config *config = &run->session->vlm->config;
    const struct sequence *sequence = &run->sequence;
    struct ledger *ledger = &run->answer->ledger;
    ledger->n_visual = sequence->n_visual;
    ledger->n_text = sequence->n - sequence->n_visual;
    struct plan_input input =
        vlm_plan_input(config, ledger->n_visual, ledger->n_text, sequence->n - sequence->text_start);
    return method_plan(&run->answer->plan, run->method, &input, err);
}

/* Prefill of turn t; the last layer's output is left in work.x, its last row chooses the first id. */
static enum status turn_prefill(struct run *run, int t, int *n_rows, struct error *err)
{
    struct session *s = run->session;
    struct turn *turn = &run->answer->turns[t];
    struct ledger *ledger = &run->answer->ledger;
    int d = s->vlm->config.text.hidden;
    double start = clock_ms();
    if (t == 0) {
        TRY(merge_first(run, err));
        TRY(plan_make(run, err));
        TRY(tap_give(run->question->tap, s, "embeds", s->work.x, 0, run->sequence.n, d, err));
        double merged = clock_ms();
        TRY(prefill_first(run, n_rows, err));
        ledger->prefill_ms += clock_ms() - merged;
        ledger->ttft_ms += merged - start;
        run->uncut_length = turn->expanded_len;
        return OK;
    }
    /* the last id of the answer before has not been run yet */
    const struct turn *before = &run->answer->turns[t - 1];
    int n = turn->n_prompt_ids + 1;
    TRY(length_check(run, run->uncut_length + n + run->question->max_new_tokens, err));
    TRY(workspace_reserve(s, n, err));
    embed_ids(s, 0, &before->ids[before->n_ids - 1], 1);
    embed_ids(s, 1, turn->prompt_ids, turn->n_prompt_ids);
    double merged = clock_ms();
    TRY(prefill_later(run, n, err));
    ledger->prefill_ms += clock_ms() - merged;
    ledger->ttft_ms += merged - start;
    run->uncut_length += n;
    turn->expanded_len = run->uncut_length;
    *n_rows = n;
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
    }
    return OK;
}

void cut_records_free(struct cut_record *records, int n)
{
    for (int i = 0; i < n; i++) {
        struct cut_record *r = &records[i];
        void *own[] = {r->ids_in, r->kept,   r->recycled, r->cluster_of, r->weight,
                       r->own,    r->raters, r->centres,  r->score,      r->group_of};
        for (unsigned j = 0; j < sizeof own / sizeof *own; j++)
            free(own[j]);
    }
    free(records);
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

enum status session_ask(struct answer *out, struct session *s, const struct question *question,
                        struct error *err)
{
    static const struct method vanilla_template;
    struct method vanilla = vanilla_template;
    memset(out, 0, sizeof *out);
    TRY(question_check(question, err));
    if (question->method == NULL)
        TRY(method_init(&vanilla, "vanilla", err));
    struct run run = {.session = s, .question = question, .answer = out};
    run.method = question->method ? question->method : &vanilla;
    run.original_positions = method_original_positions(run.method);
    struct ledger *ledger = &out->ledger;
    double start = clock_ms();
    enum status status;
    kv_clear(&s->kv);

    TRY_GOTO(status, answer_new(out, s, question, err));
    for (int t = 0; t < question->n_turns; t++) {
        int n_rows;
        TRY_GOTO(status, turn_tokenize(&run, t, err));
        TRY_GOTO(status, turn_prefill(&run, t, &n_rows, err));
        kv_count(&run);
        TRY_GOTO(status, turn_decode(&run, t, n_rows, err));
    }
    kv_count_end(&run);
    ledger->ttft_ms += ledger->vision_ms + ledger->project_ms + ledger->prefill_ms + ledger->head_ms;
    ledger->total_ms = clock_ms() - start + ledger->preprocess_ms + ledger->vision_ms + ledger->project_ms;
exit:
    sequence_free(&run.sequence);
    sequence_free(&run.spare);
    free(run.rater_rows);
    if (status != OK)
        answer_free(out);
    return status;
}

struct plan_input vlm_plan_input(const struct vlm_config *config, int n_visual, int n_text, int n_text_after)
{
    return (struct plan_input){.n_visual = n_visual,
                               .n_text = n_text,
                               .n_text_after = n_text_after,
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
