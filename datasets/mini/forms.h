#ifndef WINNOW_DATASETS_MINI_FORMS_H
#define WINNOW_DATASETS_MINI_FORMS_H
/*
 * The forms of questions: what questions.c draws its candidates from. forms.c has the table and the open
 * questions, verify.c numbers, statements to be judged and what cannot be answered, choices.c the letters.
 */
#include "questions.h"

/* In the order of question_forms; what is there is never renumbered, since draws go by number. */
enum form {
    FORM_EXIST,
    FORM_COLOR,
    FORM_SHAPE,
    FORM_SIZE,
    FORM_TEXTURE,
    FORM_POS_X,
    FORM_POS_Y,
    FORM_RELV_LEFT,
    FORM_RELV_RIGHT,
    FORM_RELV_ABOVE,
    FORM_RELV_BELOW,
    FORM_RELC_X,
    FORM_RELC_Y,
    FORM_COUNT_SHAPE,
    FORM_COUNT_COLOR,
    FORM_COUNT_ALL,
    FORM_SAME_COLOR,
    FORM_SAME_SHAPE,
    FORM_LARGER,
    FORM_EXTREME_COLOR,
    FORM_EXTREME_SHAPE,
    FORM_MC_COLOR,
    FORM_MC_SHAPE,
    FORM_MC_COUNT,
    FORM_MC_WHERE,
    FORM_MC_POS_X,
    FORM_MC_POS_Y,
    FORM_MC_RELC_X,
    FORM_MC_RELC_Y,
    FORM_MC_NUMBER,
    FORM_NUMBER,
    FORM_VERIFY_COLOR,
    FORM_VERIFY_COUNT_SHAPE,
    FORM_VERIFY_COUNT_COLOR,
    FORM_VERIFY_NUMBER,
    FORM_UNANSWERABLE_COLOR,
    FORM_UNANSWERABLE_SHAPE,
    FORM_UNANSWERABLE_SIZE,
    FORM_UNANSWERABLE_NUMBER,
    FORM_TEXT
};

/*
 * Fills a question that is zeros but for type and form; objects and words are drawn. Returns -1 if the draw
 * does not come off (the question is then to be thrown away), else 0.
 */
typedef int question_build(struct question *q, const struct scene *scene, struct world_rng *rng);

struct question_form {
    const char *name; /* "count_shape" */
    enum question_type type;
    question_build *build;
};

extern const struct question_form question_forms[QUESTION_FORMS];

/* The open questions that multiple choice is made of. */
question_build build_attribute, build_pos, build_relc, build_count, build_number;
/* verify.c */
question_build build_verify_color, build_verify_count, build_verify_number, build_unanswerable;
/* choices.c; build_text does not look at the scene, which may be NULL. */
question_build build_mc_attribute, build_mc_count, build_mc_where, build_mc_side, build_mc_number, build_text;

/* Place of a word that can be an answer or a right option in the ledger, 0 … QUESTION_ANSWERS-1. */
int form_answer_index(const char *answer);

#endif
