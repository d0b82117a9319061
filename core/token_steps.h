/* The steps that a tokenizer.json puts around its model: "normalizer" and "pre_tokenizer" on the way in,
 * "decoder" on the way out. Each is a list of text-to-text steps; one table says which exist and where they
 * may stand. */
#ifndef WINNOW_TOKEN_STEPS_H
#define WINNOW_TOKEN_STEPS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "error.h"

enum steps_role { STEPS_NORMALIZER = 1, STEPS_PRE_TOKENIZER = 2, STEPS_DECODER = 4 };

struct token_step;

struct token_steps {
    struct token_step *steps; /* owned; token_steps_close */
    int n;
    bool given; /* false: null in the file */
};

/* null, one step or a Sequence of them; anything else is refused by name, with what is supported. */
enum status token_steps_open(struct token_steps *out, const json_t *json, enum steps_role role,
                             const char *name, struct error *err);
void token_steps_close(struct token_steps *steps);

/* Normalizer or pre-tokenizer on one piece, in place; `first`: it begins where the text begins. */
void token_steps_apply(struct buffer *piece, const struct token_steps *steps, bool first);

/* Decoder on a list of tokens; the terminated text is the caller's. NULL when memory or BUFFER_LIMIT runs
 * out. */
char *token_steps_decode(const struct token_steps *steps, const char *const *tokens, size_t n);

#endif
