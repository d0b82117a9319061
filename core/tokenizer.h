/* tokenizer.json: text to token ids and back, component by component as the file states them.
 *
 * Supported (anything else is refused by name): added tokens; normalizer null or Sequence[Prepend, Replace];
 * pre_tokenizer null or Metaspace; model BPE with byte_fallback, merges as strings or pairs; post_processor
 * TemplateProcessing; decoder Sequence[Replace, ByteFallback, Fuse, Strip] or Metaspace.
 * Source: Hugging Face tokenizers; the algorithms are restated in docs and tests.
 *
 *     struct tokenizer *tokenizer;
 *     TRY(tokenizer_open(&tokenizer, "models/miniature", &err));
 *     TRY(tokenizer_encode(tokenizer, &ids, &n, "USER: <image>\nWhat?", -1, true, &err));
 *     free(ids);
 */
#ifndef WINNOW_TOKENIZER_H
#define WINNOW_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct tokenizer; /* immutable once opened: may be shared by threads */

/* Reads DIR/tokenizer.json. The caller owns *out (tokenizer_close). */
enum status tokenizer_open(struct tokenizer **out, const char *dir, struct error *err);
/* The same from the bytes of such a file; `name` is for messages. */
enum status tokenizer_parse(struct tokenizer **out, const char *bytes, size_t n_bytes, const char *name,
                            struct error *err);
void tokenizer_close(struct tokenizer *tokenizer);

/* Text (UTF-8; n_bytes, or -1 for a terminated string) to ids. `special`: run the post-processor (BOS).
 * The caller frees *ids. Invalid UTF-8 is an error that names the byte offset. */
enum status tokenizer_encode(const struct tokenizer *tokenizer, int32_t **ids, int *n_ids, const char *text,
                             int64_t n_bytes, bool special, struct error *err);

/* Ids to text; ids without a token decode to nothing; `skip_special` drops added tokens marked special.
 * The caller frees the terminated string; NULL only when memory runs out. */
char *tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, int n_ids, bool skip_special);

/* Id of a whole token (added tokens first, then the vocabulary), or -1. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *token);
/* Text of a token as it stands in the file, or NULL. Owned by the tokenizer. */
const char *tokenizer_piece(const struct tokenizer *tokenizer, int32_t id);
/* Largest id + 1. */
int tokenizer_size(const struct tokenizer *tokenizer);

#endif
