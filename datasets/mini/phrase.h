#ifndef WINNOW_DATASETS_MINI_PHRASE_H
#define WINNOW_DATASETS_MINI_PHRASE_H
/*
 * Noun phrases and the words of a question under construction: what the builders of forms write with. A
 * number ("the red number") is no object: only phrases of kind NUMBER mean numbers, and a phrase without a
 * shape ("the red object") is never written where a number would fit it too.
 */
#include "questions.h"

enum attribute { COLOR = 1, SHAPE = 2, SIZE = 4, TEXTURE = 8, ANY = 15, NUMBER = 16 };

/*
 * What a phrase says: the attributes in `mask` have the values of `like`. An empty mask is "object"; with
 * NUMBER the noun is "number".
 */
struct description {
    unsigned mask;
    struct object like;
};

extern const char *const phrase_digits[10];

int attribute_of(const struct object *object, enum attribute attribute);
const char *attribute_name(enum attribute attribute, int value);

/* Bit i is set if object i fits. */
unsigned objects_fitting(const struct scene *scene, const struct description *what);
/* Whether "object" in the phrase would leave a reader in doubt about a number. */
int phrase_doubtful(const struct scene *scene, const struct description *what);

/* Appends words to the text. */
struct span put(struct question *q, const char *words);
/* Appends the phrase "small striped red star"; one without a shape ends in "object" or "number". */
void put_phrase(struct question *q, const struct scene *scene, const struct description *what, int plural);
/*
 * A description out of the allowed attributes that fits object i alone; color + shape most often, three or
 * four attributes only where fewer do not do. Returns -1 if there is none.
 */
int describe_alone(struct description *what, const struct scene *scene, int i, unsigned allowed,
                   struct world_rng *rng);
/* Appends such a phrase and makes i a target. Returns -1 if there is none. */
int put_name(struct question *q, const struct scene *scene, int i, unsigned allowed, struct world_rng *rng);
void put_option(struct question *q, const char *words, int right);

void set_answer(struct question *q, const char *answer);
void target_all(struct question *q, unsigned objects);

int bits_count(unsigned bits);
/* An object that is no number; -1 never happens, since every scene has one. */
int random_object(const struct scene *scene, struct world_rng *rng);
/* A number; -1 if the scene has none. */
int random_number(const struct scene *scene, struct world_rng *rng);
/* Two different objects; -1 if there is but one. */
int random_two(int two[2], const struct scene *scene, struct world_rng *rng);
int value_of(const struct scene *scene, int i, enum attribute attribute);
int center2(const struct scene *scene, int i, int axis);

#endif
