/* What an answer to a yes-or-no question says, in the ways of the scorers there are. Each gives "yes", "no",
 * or a word of its scorer for neither. Sources: RUCAIBox/POPE evaluate.py, MME's eval_tool/calculation.py,
 * lmms-eval tasks/pope and tasks/mme, VLMEvalKit vlmeval/dataset/utils/yorn.py. */
#ifndef WINNOW_YES_NO_H
#define WINNOW_YES_NO_H

/* POPE: first sentence, only No, not and no mean no, all else is a yes. */
const char *yes_no_sentence(const char *answer);
/* lmms-eval's POPE: the whole answer, stripped and lowered; else "other". */
const char *yes_no_whole(const char *answer);
/* VLMEvalKit: the words yes and no after its normalisation; both or neither: "unknown". */
const char *yes_no_words(const char *answer);
/* MME: within the first four characters; else "other". */
const char *yes_no_four(const char *answer);
/* lmms-eval's MME: the same without white space around and periods, and y and n count. */
const char *yes_no_four_stripped(const char *answer);

#endif
