/* What every token of the decoder's sequence is. A cut makes a new sequence from an old one and a selection.
 */
#ifndef WINNOW_SEQUENCE_H
#define WINNOW_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

enum token_kind {
    TOKEN_TEXT,
    TOKEN_VISUAL,
    TOKEN_SEPARATOR /* image_newline: a visual token without a cell */
};

struct token {
    uint8_t kind;     /* enum token_kind; a cluster is TOKEN_VISUAL */
    int16_t image;    /* which picture, -1 for text */
    int32_t id;       /* visual token number in sequence order, −1−c for cluster c, INT32_MIN for text */
    int32_t cell;     /* first grid cell it stands for (row · cols + col of its image), −1 without one */
    int32_t position; /* position id in the uncut sequence; a cluster has its centre's */
    int32_t size;     /* how many patches it stands for, 0 for text */
};

struct sequence {
    struct token *tokens; /* owned; capacity for the uncut sequence */
    int n, capacity;
    int n_visual;
    int text_start; /* index of the first token after the last image: rater candidates, clusters go before it
                     */
    int n_clusters; /* made so far, to number the next */
};

enum status sequence_new(struct sequence *out, int capacity, struct error *err);
void sequence_free(struct sequence *sequence);
void sequence_add(struct sequence *sequence, struct token token);
/* Indices of the visual tokens in order; `out` holds n_visual. */
void sequence_visual(int32_t *out, const struct sequence *sequence);

#endif
