/* Exact match for generated benchmarks whose originals are graded by a language model: a gold of alternatives
 * (<OR>), each of one part or of several (<AND>), as MM-Vet writes them. */
#ifndef WINNOW_SHORT_ANSWER_H
#define WINNOW_SHORT_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

enum { SHORT_ANSWER_SIZE = 4096 };

/* Stripped of white space and trailing periods, ASCII letters lowered; cut to the size. */
void short_answer_normalise(char out[SHORT_ANSWER_SIZE], const char *text, size_t n);
/* answer: normalised. Right: it equals an alternative, or holds all parts of one between commas or "and"s. */
bool short_answer_is_right(const char *answer, const char *gold);

#endif
