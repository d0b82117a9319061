/* Byte pair encoding with byte fallback: the "model" of a tokenizer.json.
 *
 * A piece of text starts as its characters; the adjacent pair with the lowest merge rank (leftmost on ties)
 * is joined until none is left. A character outside the vocabulary becomes its bytes <0x00> to <0xFF>, or
 * <unk>.
 */
#ifndef WINNOW_BPE_H
#define WINNOW_BPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "map.h"

/* A growing list of token ids. */
struct token_ids {
    int32_t *values; /* owned by whoever made the list; free */
    size_t n, capacity;
};
/* More than LIMIT_PROMPT_TOKENS is an error. */
enum status token_ids_add(struct token_ids *ids, int32_t id, struct error *err);

struct bpe {
    struct map vocabulary; /* piece -> id */
    const char **pieces;   /* [n_pieces] by id, NULL for an id without a piece; into `text` */
    int n_pieces;          /* largest id + 1 */
    char *text;            /* all pieces, terminated, one after the other */
    struct map ranks;      /* (left id, right id) -> rank, which is an index into merges */
    struct merge *merges;
    int32_t byte_ids[256]; /* of <0x00> to <0xFF>, -1 where the vocabulary lacks it */
    int32_t unk_id;        /* -1: characters that cannot be written are dropped */
    bool byte_fallback, fuse_unk, ignore_merges;
};

/* `out` is zeroed first; it needs bpe_close even on failure. */
enum status bpe_open(struct bpe *out, const json_t *model, const char *name, struct error *err);
void bpe_close(struct bpe *bpe);

/* Appends the ids of one piece of valid UTF-8. */
enum status bpe_encode(struct token_ids *ids, const struct bpe *bpe, const char *piece, size_t n_bytes,
                       struct error *err);

#endif
