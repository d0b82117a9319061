/* Inside the runtime: one dialogue on its way through the decoder. */
#ifndef WINNOW_RUN_H
#define WINNOW_RUN_H

#include "cut.h"

struct run {
    struct reduction reduction; /* of the prefill in hand */
    struct session *session;
    const struct question *question;
    struct answer *answer;
    int uncut_length;    /* positions so far, dropped and merged tokens counted */
    int expanded_length; /* tokens that entered layer 0 so far, without later cuts */
    bool original_positions;
    bool shares;               /* prefills are taken up and held (share.h) */
    const struct plan *shadow; /* what a data-dependent method that is shadowed came to; NULL: none is */
    struct patch_grid *grids;  /* of the pictures */
    int32_t *ids; /* of the dialogue so far, answers included, before placeholders are expanded */
    int n_ids;
};

/* ---- dialogue.c ----------------------------------------------------------------------------- */
enum status turn_tokenize(struct run *run, int t, struct error *err);
/* Adds ids to the dialogue. */
enum status dialogue_add(struct run *run, const int32_t *ids, int n, struct error *err);
/* The merged sequence of the dialogue so far (reduction.sequence, work.x): every placeholder becomes its
 * picture's features. The last n_candidates tokens, as far as they follow the last image, may score. */
enum status dialogue_merge(struct run *run, int n_candidates, struct error *err);
/* Token embeddings of n ids into work.x from row `first` on. */
void embed_ids(struct session *session, int first, const int32_t *ids, int n);
/* Whether there is still time (question.deadline_ms). */
enum status deadline_check(const struct run *run, struct error *err);
/* Whether n positions fit into the model. */
enum status length_check(const struct run *run, int n, struct error *err);

/* ---- answer.c ------------------------------------------------------------------------------- */
enum status answer_new(struct answer *out, struct session *session, const struct question *question,
                       struct error *err);
/* What the method did and cost, from the reduction to the answer. */
enum status answer_take(struct answer *out, struct run *run, struct error *err);
void kv_count(struct run *run);     /* KV bytes after the last prefill */
void kv_count_end(struct run *run); /* and at the end of the answer */

/* ---- prefill.c ------------------------------------------------------------------------------ */
/* A whole merged sequence through all layers with its cuts (work.x, reduction.sequence); or n rows
 * of a later turn on the cache that is there. Leaves the last layer's output in work.x; *n_rows: how many. */
enum status prefill_fresh(struct run *run, int *n_rows, struct error *err);
enum status prefill_later(struct run *run, int n, struct error *err);
/* Head-mean attention of the text after the last image to the visual tokens; outside of what is counted. */
enum status attention_record(struct run *run, int layer, struct error *err);

#endif
