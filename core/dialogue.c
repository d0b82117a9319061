/* A dialogue on its way to the decoder: prompts to ids, ids to embeddings, placeholders to pictures. */
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "run.h"

enum status turn_tokenize(struct run *run, int t, struct error *err)
{
    struct turn *turn = &run->answer->turns[t];
    const struct vlm *vlm = run->session->vlm;
    if (run->question->prompt_ids == NULL) {
        TRY(tokenizer_encode(vlm->tokenizer, &turn->prompt_ids, &turn->n_prompt_ids,
                             run->question->prompts[t], -1, t == 0, err));
    } else {
        const int *n_turn_ids = run->question->n_turn_ids;
        int first = 0;
        for (int i = 0; n_turn_ids && i < t; i++)
            first += n_turn_ids[i];
        turn->n_prompt_ids = n_turn_ids ? n_turn_ids[t] : run->question->n_prompt_ids;
        turn->prompt_ids = memory_alloc((size_t)turn->n_prompt_ids, sizeof *turn->prompt_ids);
        if (turn->prompt_ids == NULL)
            return memory_failed(err, "prompt ids", (size_t)turn->n_prompt_ids * sizeof *turn->prompt_ids);
        memcpy(turn->prompt_ids, run->question->prompt_ids + first,
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

enum status length_check(const struct run *run, int n, struct error *err)
{
    int limit = run->session->vlm->config.text.max_positions;
    if (n > limit)
        return fail(err, BAD_INPUT,
                    "prompt and answer need %d positions and the model has %d; shorten the prompt, use fewer "
                    "pictures or a smaller max-new-tokens",
                    n, limit);
    return OK;
}

enum status deadline_check(const struct run *run, struct error *err)
{
    double late = run->question->deadline_ms > 0 ? clock_ms() - run->question->deadline_ms : 0;
    return late <= 0 ? OK : fail(err, NOT_HELD, "given up: the time that an answer may take is over");
}

void embed_ids(struct session *s, int first, const int32_t *ids, int n)
{
    int d = s->vlm->config.text.hidden;
    int32_t *index = s->work.index + first;
    s->vlm->ops->upload(&s->compute, index, ids, (size_t)n * sizeof *ids);
    s->vlm->ops->gather_rows(&s->compute, s->work.x + (size_t)first * (size_t)d, s->vlm->llama.embedding,
                             index, n, d);
}

/* A picture's tokens into the sequence, its features into work.x. first_id: number of its first patch. */
static void merge_picture(struct run *run, int image, int first_id, int first_position)
{
    struct session *s = run->session;
    struct sequence *sequence = &run->reduction.sequence;
    const struct features *f = run->question->images[image];
    size_t d = (size_t)s->vlm->config.text.hidden;
    int class_place = s->vlm->config.keep_cls ? 0 : 1;
    s->vlm->ops->copy(&s->compute, s->work.x + (size_t)sequence->n * d, f->data,
                      (size_t)f->n * d * sizeof(float));
    for (int j = 0; j < f->n; j++) {
        struct token token = f->tokens[j];
        token.image = (int16_t)image;
        token.id += token.id >= 0 ? first_id : -sequence->n_clusters;
        /* in the tower position 0 is the class token's */
        token.position = first_position + (token.position > class_place ? token.position - class_place : 0);
        sequence_add(sequence, token);
    }
    sequence->n_clusters += f->n_clusters;
}

enum status dialogue_merge(struct run *run, int n_candidates, struct error *err)
{
    struct session *s = run->session;
    struct sequence *sequence = &run->reduction.sequence;
    const struct question *question = run->question;
    int32_t image_token = s->vlm->config.image_token;
    int n = run->n_ids;
    for (int i = 0; i < question->n_images; i++)
        n += question->images[i]->n - 1;
    int n_uncut = n; /* positions=original counts what the tower merged away too */
    for (int i = 0; i < question->n_images && run->original_positions; i++)
        n_uncut += question->images[i]->n_ids - question->images[i]->n;
    TRY(length_check(run, n_uncut + question->max_new_tokens, err));
    TRY(workspace_reserve(s, n, err));
    sequence_free(sequence);
    sequence_free(&run->reduction.spare);
    TRY(sequence_new(sequence, n, err));
    TRY(sequence_new(&run->reduction.spare, n, err));

    int image = 0, first_id = 0, position = 0;
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
                    .kind = TOKEN_TEXT, .image = -1, .id = INT32_MIN, .cell = -1, .position = position++});
        first = i + 1;
        if (!place)
            continue;
        merge_picture(run, image, first_id, position);
        first_id += question->images[image]->n_ids;
        position += question->images[image++]->n_ids; /* as many as the picture has uncut */
    }
    if (sequence->n_visual == 0)
        sequence->text_start = 0;
    int n_after = sequence->n - sequence->text_start;
    run->reduction.n_candidates = n_candidates < n_after ? n_candidates : n_after;
    run->expanded_length = n;
    run->uncut_length = position;
    return OK;
}

enum status dialogue_add(struct run *run, const int32_t *ids, int n, struct error *err)
{
    int32_t *grown = memory_grow(run->ids, (size_t)(run->n_ids + n) + 1, sizeof *grown);
    if (grown == NULL)
        return memory_failed(err, "dialogue", (size_t)(run->n_ids + n) * sizeof *grown);
    run->ids = grown;
    memcpy(run->ids + run->n_ids, ids, (size_t)n * sizeof *ids);
    run->n_ids += n;
    return OK;
}
