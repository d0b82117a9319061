#ifndef WINNOW_DATASETS_MINI_FORMS_H
#define WINNOW_DATASETS_MINI_FORMS_H
/* The forms of questions: what questions.c draws its candidates from. */
#include "questions.h"

struct question_form {
    const char *name; /* "count_shape" */
    enum question_type type;
    /*
     * Fills a question that is zeros but for type and form; objects and words are drawn. Returns -1 if the
     * draw does not come off (the question is then to be thrown away), else 0.
     */
    int (*build)(struct question *q, const struct scene *scene, struct world_rng *rng);
};

extern const struct question_form question_forms[QUESTION_FORMS];

/* Place of an answer in the ledger, 0 … QUESTION_ANSWERS-1. */
int form_answer_index(const char *answer);

#endif
