#ifndef WINNOW_DATASETS_MINI_SUITE_PEOPLE_H
#define WINNOW_DATASETS_MINI_SUITE_PEOPLE_H
/*
 * Ten people who answer a question. In half of the questions they all say the same; in the others one to
 * three of them err, write the answer in other words or pass. So the true answer is always the commonest and
 * worth the full soft score.
 */
#include "questions.h"
#include "world.h"

enum { PEOPLE = 10, PEOPLE_ANSWER_SIZE = 32 };

/* answer: the true one, in lower case. */
void people_answer(char people[PEOPLE][PEOPLE_ANSWER_SIZE], const char *answer, struct world_rng *rng);
/* "yes/no", "number" or "other", as VQA has it. */
const char *answer_kind(const char *answer);

#endif
