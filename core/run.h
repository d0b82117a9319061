/* Inside the runtime: one dialogue on its way through the decoder. */
#ifndef WINNOW_RUN_H
#define WINNOW_RUN_H

#include "session.h"

struct run {
    struct session *session;
    const struct question *question;
    const struct method *method; /* vanilla where the question has none */
    struct answer *answer;
    struct sequence sequence; /* tokens that enter the next layer (first turn) */
    struct sequence spare;    /* where a cut builds its successor */
    int uncut_length;         /* tokens so far, dropped ones counted */
    bool original_positions;
    int32_t *rater_rows; /* places in the text after the last image, host */
    int n_rater_rows;    /* −1: not chosen */
    int next_cut;        /* of answer->plan */
    int records_room;
};

/* prefill.c: the first turn's merged sequence through all layers with its cuts (work.x, sequence.n rows); a
 * later turn's n rows. Leaves the last layer's output in work.x; *n_rows: how many. */
enum status prefill_first(struct run *run, int *n_rows, struct error *err);
enum status prefill_later(struct run *run, int n, struct error *err);

/* cut.c: asks the method at a cut and acts on its selection: gathers, merges, renumbers, counts. */
enum status cut_apply(struct run *run, int layer, struct error *err);
/* Rows that score, before layer 0; no row at all cancels the plan's cuts. */
enum status cut_prepare(struct run *run, struct error *err);
/* Whether a cut that follows this layer looks at its attention. */
bool cut_scores(const struct run *run, int layer);
enum status attention_record(struct run *run, int layer, struct error *err);

#endif
