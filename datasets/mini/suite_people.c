/* Ten people's answers: see suite_people.h. */
#include "suite_people.h"

#include <stdio.h>  /* snprintf */
#include <string.h> /* strcmp */

static const char *const yes_no[2] = {"yes", "no"};
static const char *const digits[10] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
static const char *const number_words[10] = {"zero", "one", "two",   "three", "four",
                                             "five", "six", "seven", "eight", "nine"};
static const char *const places[6] = {"left", "right", "top", "bottom", "above", "below"};

/* Answers that stand in for each other. */
static const struct {
    const char *const *names;
    int n;
} groups[] = {{yes_no, 2},
              {digits, 10},
              {places, 6},
              {world_colors, WORLD_COLORS},
              {world_shapes, WORLD_SHAPES},
              {world_sizes, WORLD_SIZES},
              {world_textures, WORLD_TEXTURES}};

enum { GROUPS = (int)(sizeof groups / sizeof groups[0]) };

static int member(int group, const char *answer)
{
    for (int i = 0; i < groups[group].n; i++)
        if (strcmp(groups[group].names[i], answer) == 0)
            return i;
    return -1;
}

const char *answer_kind(const char *answer)
{
    return member(0, answer) >= 0 ? "yes/no" : member(1, answer) >= 0 ? "number" : "other";
}

static void deviate(char out[PEOPLE_ANSWER_SIZE], const char *answer, struct world_rng *rng)
{
    int digit = member(1, answer);
    switch (world_rng_below(rng, 4)) {
    case 0: /* in other words */
        if (digit >= 0)
            snprintf(out, PEOPLE_ANSWER_SIZE, "%s", number_words[digit]);
        else
            snprintf(out, PEOPLE_ANSWER_SIZE, "it is %s", answer);
        return;
    case 1:
        snprintf(out, PEOPLE_ANSWER_SIZE, "unanswerable");
        return;
    default: /* wrong */
        for (int g = 0; g < GROUPS; g++) {
            int i = member(g, answer);
            if (i < 0)
                continue;
            i = (i + 1 + world_rng_below(rng, groups[g].n - 1)) % groups[g].n;
            snprintf(out, PEOPLE_ANSWER_SIZE, "%s", groups[g].names[i]);
            return;
        }
        snprintf(out, PEOPLE_ANSWER_SIZE, "unsuitable image"); /* where the true answer is no word */
    }
}

void people_answer(char people[PEOPLE][PEOPLE_ANSWER_SIZE], const char *answer, struct world_rng *rng)
{
    for (int i = 0; i < PEOPLE; i++)
        snprintf(people[i], PEOPLE_ANSWER_SIZE, "%s", answer);
    if (world_rng_below(rng, 2))
        return;
    for (int n = world_rng_between(rng, 1, 3); n > 0; n--)
        deviate(people[world_rng_below(rng, PEOPLE)], answer, rng);
}
