/* The tokens of the decoder's sequence, see sequence.h. */
#include "sequence.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum status sequence_new(struct sequence *out, int capacity, struct error *err)
{
    memset(out, 0, sizeof *out);
    out->tokens = memory_alloc((size_t)capacity, sizeof *out->tokens);
    if (out->tokens == NULL)
        return memory_failed(err, "token sequence", (size_t)capacity * sizeof *out->tokens);
    out->capacity = capacity;
    return OK;
}

void sequence_free(struct sequence *sequence)
{
    free(sequence->tokens);
    memset(sequence, 0, sizeof *sequence);
}

void sequence_add(struct sequence *sequence, struct token token)
{
    ENSURE(sequence->n < sequence->capacity);
    if (token.kind != TOKEN_TEXT)
        sequence->n_visual++;
    sequence->tokens[sequence->n++] = token;
    if (token.kind != TOKEN_TEXT)
        sequence->text_start = sequence->n;
}

void sequence_visual(int32_t *out, const struct sequence *sequence)
{
    int n = 0;
    for (int i = 0; i < sequence->n; i++)
        if (sequence->tokens[i].kind != TOKEN_TEXT)
            out[n++] = i;
}
