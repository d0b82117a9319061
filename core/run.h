/* Inside the runtime: one dialogue on its way through the decoder. */
#ifndef WINNOW_RUN_H
#define WINNOW_RUN_H

#include "cut.h"

struct run {
    struct reduction reduction; /* of the prefill in hand */
    struct session *session;
    const struct question *question;
    struct answer *answer;
    int uncut_length; /* tokens so far, dropped ones counted */
    bool original_positions;
    const struct plan *shadow; /* what a data-dependent method that is shadowed came to; NULL: none is */
    struct patch_grid *grids;  /* of the pictures */
    int32_t *ids; /* of the dialogue so far, answers included, before placeholders are expanded */
    int n_ids;
};

/* prefill.c: a whole merged sequence through all layers with its cuts (work.x, reduction.sequence); or n rows
 * of a later turn on the cache that is there. Leaves the last layer's output in work.x; *n_rows: how many. */
enum status prefill_fresh(struct run *run, int *n_rows, struct error *err);
enum status prefill_later(struct run *run, int n, struct error *err);
/* Head-mean attention of the text after the last image to the visual tokens; outside of what is counted. */
enum status attention_record(struct run *run, int layer, struct error *err);

#endif
