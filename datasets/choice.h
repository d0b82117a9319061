/* The letter that an answer to a multiple-choice question names, by the rules of four scorers. Each rule is
 * pure text matching; where it finds nothing, the official servers of some benchmarks would ask a language
 * model. Time is linear in the answer, which may be of any length, and memory is its length at most.
 *
 *     struct choices choices = {.text = {"a cat", "a dog"}, .n = 2};
 *     choice_vlmeval("The answer is B", &choices) == 'B'
 */
#ifndef WINNOW_CHOICE_H
#define WINNOW_CHOICE_H

#include <stdbool.h>
#include <stddef.h>

enum { CHOICES_MAX = 26, CHOICE_LETTERS = 5 /* that LLaVA's ScienceQA scorer knows: A to E */ };

struct choices {
    const char *text[CHOICES_MAX]; /* of letter 'A' + i; NULL: there is no such option */
    int n;                         /* letters that may be there: past the last text */
};

/* No letter: the scorer's FAILED, False. 'Z' of VLMEvalKit is a refusal to answer. */
enum { NO_CHOICE = 0 };

/* LLaVA's eval_science_qa.py: the letter A to E alone, or before ". ", or the only "The answer is X" that a
 * further character follows (there any capital letter). The answer is not stripped. */
char choice_scienceqa(const char *answer);
/* Its index, -1 where the letter is none of the n_choices first: always wrong. */
int choice_index(char letter, int n_choices);

/* lmms-eval's ScienceQA: the gold letter alone, whatever its case, else a capital letter before a full stop.
 */
char choice_scienceqa_lmms(const char *answer);

/* LLaVA's convert_seed_for_submission.py: the answer is the letter and nothing else, not even a full stop. */
char choice_seed(const char *answer);
/* lmms-eval's SEED-Bench: the first character of the stripped answer, whatever its case. */
char choice_seed_lmms(const char *answer);

/* VLMEvalKit's can_infer (vlmeval/utils/matching_util.py, 2026): one option's letter among the last four
 * words, else "answer is X", else one option's text. */
char choice_vlmeval(const char *answer, const struct choices *choices);

/* lmms-eval's MMBench_Evaluator.can_infer, an older state of the same rule: letters A to E as a word, then
 * with marks around them, then the text of one of the options A to D. */
char choice_lmms(const char *answer, const struct choices *choices);

/* What a letter or, without one, the answer itself is compared by: the parsed form of a sample. */
void choice_parsed(char *parsed, size_t size, char letter, const char *answer);

#endif
