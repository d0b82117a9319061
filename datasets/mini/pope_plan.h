#ifndef WINNOW_DATASETS_MINI_POPE_PLAN_H
#define WINNOW_DATASETS_MINI_POPE_PLAN_H
/*
 * Chooses the yes/no questions of one mini-pope file so that every asked name ("red star") is as often
 * present as absent over the file, with up to three of either answer a picture. A set of names is a 64-bit
 * word, bit color * WORLD_SHAPES + shape.
 */
#include "world.h"

enum { POPE_NAMES = WORLD_COLORS * WORLD_SHAPES, POPE_SIDE = 3, POPE_POPULAR_NAMES = 40 };

/*
 * What may be asked about as absent. Adversarial: color and shape are in the picture, but on different
 * objects; random: anything; popular: the POPE_POPULAR_NAMES names that are in most pictures.
 */
enum pope_kind { POPE_ADVERSARIAL, POPE_RANDOM, POPE_POPULAR, POPE_KINDS };

extern const char *const pope_kinds[POPE_KINDS];

struct pope_plan {
    int n;              /* pictures */
    uint64_t *yes, *no; /* (n) each: the names asked about picture i, by answer; owned by the plan */
};

/* The names of a scene's objects. */
uint64_t pope_names(const struct scene *scene);

/*
 * names: (n), the names present in each picture. Fills the plan with as many questions as can be balanced.
 * Returns 0, or -1 with a message when memory runs out; the plan may be freed either way.
 */
int pope_plan_make(struct pope_plan *plan, enum pope_kind kind, const uint64_t *names, int n,
                   struct world_rng *rng, char *err, size_t err_size);

void pope_plan_free(struct pope_plan *plan);

#endif
