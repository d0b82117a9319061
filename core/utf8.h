/* UTF-8 as RFC 3629 has it (no surrogates, no overlong forms), and the two character classes that splitting
 * on added tokens needs. */
#ifndef WINNOW_UTF8_H
#define WINNOW_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes (1 to 4) of the valid character that starts at `bytes`, its code point in *code; 0 where none does.
 */
int utf8_next(uint32_t *code, const char *bytes, size_t n_bytes);
/* The same for the character that ends at bytes + n_bytes. */
int utf8_previous(uint32_t *code, const char *bytes, size_t n_bytes);
/* Offset of the first byte that belongs to no valid character; n_bytes where all is well. */
size_t utf8_check(const char *bytes, size_t n_bytes);

/* Unicode's White_Space: \s of the regular expressions in Hugging Face tokenizers. */
bool utf8_is_space(uint32_t code);
/* \w: exact within ASCII and Latin-1. Beyond, everything counts that is neither white space nor in a block
 * made of punctuation, symbols or pictures: the exact table has 770 ranges, and only `single_word` asks. */
bool utf8_is_word(uint32_t code);

#endif
