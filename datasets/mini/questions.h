#ifndef WINNOW_DATASETS_MINI_QUESTIONS_H
#define WINNOW_DATASETS_MINI_QUESTIONS_H
/*
 * Questions about a scene of the miniature world, each with its answer, the objects it is about and the
 * places of its words; and a ledger that keeps answers balanced, so that words alone tell nothing. Usage:
 *     struct question_ledger ledger = {0};
 *     struct question questions[12];
 *     int n = questions_ask(questions, 12, &scene, &ledger, weights, &rng);   // n <= 12, no text twice
 * Nothing here allocates.
 */
#include "world.h"

enum question_type {
    QUESTION_EXIST,
    QUESTION_COLOR,
    QUESTION_SHAPE,
    QUESTION_SIZE,
    QUESTION_TEXTURE,
    QUESTION_POS,  /* on the left or on the right, at the top or at the bottom */
    QUESTION_RELV, /* is it left of …: yes or no */
    QUESTION_RELC, /* is it left or right of … */
    QUESTION_COUNT,
    QUESTION_SAME, /* same color, same shape */
    QUESTION_LARGER,
    QUESTION_EXTREME, /* the leftmost, rightmost, topmost, bottommost one */
    QUESTION_MC,      /* four options, the answer is a letter */
    QUESTION_TYPES
};

extern const char *const question_types[QUESTION_TYPES];

enum {
    QUESTION_TEXT_SIZE = 256,
    QUESTION_ANSWER_SIZE = 12,
    QUESTION_PHRASES = 2,
    QUESTION_WORDS = 4,
    QUESTION_OPTIONS = 4,
    QUESTION_FORMS = 25,
    QUESTION_ANSWERS = 42
};

/* Characters [begin, end) of the text; 0, 0 where there is none. */
struct span {
    int begin, end;
};

/* A noun phrase: the last of its words is the noun. objects: bit i is set if object i fits the phrase. */
struct phrase {
    struct span text;
    int n_words;
    struct span words[QUESTION_WORDS];
    unsigned objects;
};

struct option {
    struct span span; /* the words offered */
    int right;
};

struct question {
    enum question_type type;
    int form; /* finer than type: which template, see question_form_name */
    char text[QUESTION_TEXT_SIZE];
    int length;
    char answer[QUESTION_ANSWER_SIZE]; /* one word, "Yes" and "No" with a capital */
    int n_phrases;
    struct phrase phrases[QUESTION_PHRASES];
    struct span key; /* the word that says what is asked: "color", "left", "leftmost" */
    int n_options;   /* two for a choice in the text, four for mc, else 0 */
    struct option options[QUESTION_OPTIONS];
    int pair; /* exist: color * WORLD_SHAPES + shape */
    int n_targets;
    int targets[WORLD_MAX_OBJECTS]; /* the objects the answer depends on */
};

/* What has been asked so far. Start with zeros; one ledger for a whole suite. */
struct question_ledger {
    long types[QUESTION_TYPES];
    long type_answers[QUESTION_TYPES][QUESTION_ANSWERS];
    long form_answers[QUESTION_FORMS][QUESTION_ANSWERS];
    long pairs[WORLD_COLORS * WORLD_SHAPES][2]; /* exist: asked while absent, while present */
};

const char *question_form_name(int form);

/*
 * Asks up to n questions, types in proportion to weights (0 = never); a type the scene does not bear is
 * passed over and made up for later. Of several candidates the one whose answer is rarest in the ledger is
 * taken. Returns how many were found; no two have the same text. Deterministic in scene, ledger and rng.
 */
int questions_ask(struct question *questions, int n, const struct scene *scene,
                  struct question_ledger *ledger, const int weights[QUESTION_TYPES], struct world_rng *rng);

#endif
