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
    QUESTION_MC,      /* two to four options, the answer is a letter */
    QUESTION_NUMBER,  /* what is the red number: one digit */
    QUESTION_VERIFY_COLOR,
    QUESTION_VERIFY_COUNT,
    QUESTION_VERIFY_NUMBER,
    QUESTION_UNANSWERABLE, /* about something that is not there */
    QUESTION_TEXT,         /* multiple choice about a context, without a picture */
    QUESTION_TYPES
};

extern const char *const question_types[QUESTION_TYPES];

enum {
    QUESTION_TEXT_SIZE = 256,
    QUESTION_ANSWER_SIZE = 16,
    QUESTION_PHRASES = 2,
    QUESTION_WORDS = 4,
    QUESTION_OPTIONS = 4,
    QUESTION_FORMS = 40,
    QUESTION_ANSWERS = 44,
    /* Places of `pair`, by the value that is asked for; those of exist come first. */
    QUESTION_PAIR_COLOR = WORLD_COLORS * WORLD_SHAPES,
    QUESTION_PAIR_COUNT = QUESTION_PAIR_COLOR + WORLD_COLORS,
    QUESTION_PAIR_NUMBER = QUESTION_PAIR_COUNT + 10,
    QUESTION_PAIRS = QUESTION_PAIR_NUMBER + WORLD_DIGITS
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
    char answer[QUESTION_ANSWER_SIZE]; /* one word; "Yes", "No" and "Unanswerable" with a capital */
    int n_phrases;
    struct phrase phrases[QUESTION_PHRASES];
    struct span
        key; /* the word that says what is asked: "color", "left", "leftmost"; verify: the value asked for */
    int n_options; /* two for a choice in the text, two to four for mc and text, else 0 */
    struct option options[QUESTION_OPTIONS];
    int pair; /* exist: color * WORLD_SHAPES + shape; verify: QUESTION_PAIR_… + value */
    int n_targets;
    int targets[WORLD_MAX_OBJECTS]; /* the objects the answer depends on */
};

/* What has been asked so far. Start with zeros; one ledger for a whole suite. */
struct question_ledger {
    long types[QUESTION_TYPES];
    long type_answers[QUESTION_TYPES][QUESTION_ANSWERS];
    long form_answers[QUESTION_FORMS][QUESTION_ANSWERS];
    long pairs[QUESTION_PAIRS][2]; /* exist and verify: how often the answer was No, was Yes */
    long letters[QUESTION_TYPES][QUESTION_OPTIONS + 1][QUESTION_OPTIONS]; /* by number of options */
};

const char *question_form_name(int form);
/* The form of that name ("mc_color", "verify_count_shape"), -1 if there is none. */
int question_form_find(const char *name);

/*
 * Asks up to n questions, types in proportion to weights (0 = never); a type the scene does not bear is
 * passed over and made up for later. Of several candidates the one whose answer is rarest in the ledger is
 * taken. Returns how many were found; no two have the same text. Deterministic in scene, ledger and rng.
 */
int questions_ask(struct question *questions, int n, const struct scene *scene,
                  struct question_ledger *ledger, const int weights[QUESTION_TYPES], struct world_rng *rng);

/*
 * One question of a form. n_options: 2 to 4 for mc, or 0 for as drawn. Asked ones (n_asked of them, may be
 * NULL) are not asked again. Returns 0, or -1 if the scene does not bear it.
 */
int question_ask_form(struct question *q, int form, int n_options, const struct question *asked, int n_asked,
                      const struct scene *scene, struct question_ledger *ledger, struct world_rng *rng);

/*
 * A multiple-choice question about a context of two or three statements: "Context: The star is red. The
 * circle is blue.\nWhat color is the star?\nA. blue\nB. red". It needs no picture.
 */
void question_text_only(struct question *q, struct world_rng *rng);

/*
 * A true sentence about an object of the scene: "The ring is small." `avoid`: bit i is set for objects that
 * it must not be about (those the question asks for). Returns -1 and "" if nothing can be said.
 */
int scene_hint(char *out, size_t size, const struct scene *scene, struct world_rng *rng);
int scene_hint_except(char *out, size_t size, const struct scene *scene, unsigned avoid,
                      struct world_rng *rng);

/* "3, 7, 1": the numbers of the scene and one that is not there, in random order. */
void scene_ocr(char *out, size_t size, const struct scene *scene, struct world_rng *rng);

#endif
