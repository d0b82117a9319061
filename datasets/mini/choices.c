/*
 * Multiple choice: an open question with two to four lettered options, and the same without a picture.
 *
 * The letters are drawn evenly for every number of options. Wrong options are likely ones: what else is in
 * the picture, counts nearby. The ledger keeps right options even too, so that the options alone tell
 * nothing.
 */
#include "forms.h"

#include "phrase.h"

#include <string.h> /* strcmp */

static const char *const letters[QUESTION_OPTIONS] = {"A", "B", "C", "D"};

static int options_wanted(struct world_rng *rng)
{
    return world_rng_between(rng, 2, QUESTION_OPTIONS);
}

static void shuffle(int *values, int n, struct world_rng *rng)
{
    for (int i = n - 1; i > 0; i--) {
        int j = world_rng_below(rng, i + 1), keep = values[i];
        values[i] = values[j];
        values[j] = keep;
    }
}

static int holds(const int *values, int n, int value)
{
    for (int i = 0; i < n; i++)
        if (values[i] == value)
            return 1;
    return 0;
}

/* Appends "\nA. …" lines with the names of n values, the right one among them, and turns the answer into a
 * letter. */
static void put_letters(struct question *q, int *values, int n, int right, const char *const *names,
                        struct world_rng *rng)
{
    shuffle(values, n, rng);
    q->n_options = 0; /* "left or right" in the text is an option no longer */
    for (int i = 0; i < n; i++) {
        put(q, "\n");
        put(q, letters[i]);
        put(q, ". ");
        put_option(q, names[values[i]], values[i] == right);
        if (values[i] == right)
            set_answer(q, letters[i]);
    }
}

/* Color and shape: two wrong options are taken from the scene where it has them, so that presence alone does
 * not do. */
int build_mc_attribute(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    enum attribute asked = q->form == FORM_MC_COLOR ? COLOR : SHAPE;
    if (build_attribute(q, scene, rng) != 0)
        return -1;
    int right = value_of(scene, q->targets[0], asked);
    int values[QUESTION_OPTIONS] = {right}, n = 1, wanted = options_wanted(rng);
    for (int tries = 0; n < wanted; tries++) {
        int value =
            n < 3 && tries < 8 ? value_of(scene, random_object(scene, rng), asked) : world_rng_below(rng, 8);
        if (!holds(values, n, value))
            values[n++] = value;
    }
    put_letters(q, values, n, right, asked == COLOR ? world_colors : world_shapes, rng);
    return 0;
}

/* Consecutive numbers, drawn before the count is known: which of them is right says nothing about them. */
int build_mc_count(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    if (build_count(q, scene, rng) != 0)
        return -1;
    int right = q->answer[0] - '0', n = options_wanted(rng);
    int first = world_rng_between(rng, 1, 8 - n), values[QUESTION_OPTIONS];
    for (int i = 0; i < n; i++)
        values[i] = first + i;
    if (!holds(values, n, right))
        return -1;
    put_letters(q, values, n, right, phrase_digits, rng);
    return 0;
}

int build_mc_where(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    enum { MARGIN_MIDDLE2 = 60 }; /* twice px */
    static const char *const corners[4] = {"top left", "top right", "bottom left", "bottom right"};
    int i = random_object(scene, rng), corner = 0, n = options_wanted(rng);
    for (int axis = 0; axis < 2; axis++) {
        int off = center2(scene, i, axis) - scene->canvas;
        if (off < MARGIN_MIDDLE2 && off > -MARGIN_MIDDLE2)
            return -1;
        corner += off > 0 ? 1 + axis : 0;
    }
    put(q, "Where is the ");
    if (put_name(q, scene, i, ANY, rng) != 0)
        return -1;
    put(q, " in the image?");
    int others[4] = {0, 1, 2, 3}, values[QUESTION_OPTIONS] = {corner};
    shuffle(others, 4, rng);
    for (int k = 0, taken = 1; taken < n; k++)
        if (others[k] != corner)
            values[taken++] = others[k];
    put_letters(q, values, n, corner, corners, rng);
    return 0;
}

/* "Is the star to the left or to the right of the ring?" and "… on the left or on the right of the image?" */
int build_mc_side(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    static const char *const names[6] = {"left", "right", "top", "bottom", "above", "below"};
    int relation = q->form == FORM_MC_RELC_X || q->form == FORM_MC_RELC_Y;
    if ((relation ? build_relc : build_pos)(q, scene, rng) != 0)
        return -1;
    int right = 0;
    while (strcmp(names[right], q->answer) != 0)
        right++;
    put_letters(q, (int[2]){right & ~1, right | 1}, 2, right, names, rng);
    return 0;
}

/* A number: the other numbers of the picture are options where there is room. */
int build_mc_number(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    if (build_number(q, scene, rng) != 0)
        return -1;
    int right = q->answer[0] - '0';
    int values[QUESTION_OPTIONS] = {right}, n = 1, wanted = options_wanted(rng);
    for (int tries = 0; n < wanted; tries++) {
        int value = tries < 6 ? object_digit(&scene->objects[random_number(scene, rng)])
                              : world_rng_below(rng, WORLD_DIGITS);
        if (!holds(values, n, value))
            values[n++] = value;
    }
    put_letters(q, values, n, right, phrase_digits, rng);
    return 0;
}

/* ---- without a picture ---------------------------------------------------------------------- */

/*
 * "Context: The star is red. The circle is blue.\nWhat color is the star?\nA. blue\nB. red": two or three
 * statements of one kind about different shapes (or, for numbers, colors). What the others are comes first
 * among the wrong options.
 */
int build_text(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    (void)scene;
    enum { KIND_COLOR, KIND_SIZE, KIND_NUMBER, KINDS };
    static const char *const *const names[KINDS] = {world_colors, world_sizes, phrase_digits};
    static const int n_names[KINDS] = {WORLD_COLORS, WORLD_SIZES, WORLD_DIGITS};
    int kind = world_rng_below(rng, KINDS), n_said = world_rng_between(rng, 2, 3);
    int subjects[8] = {0, 1, 2, 3, 4, 5, 6, 7}; /* shapes, or colors of numbers */
    int said[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    shuffle(subjects, 8, rng);
    shuffle(said, n_names[kind], rng);
    const char *const *subject_names = kind == KIND_NUMBER ? world_colors : world_shapes;
    const char *noun = kind == KIND_NUMBER ? " number" : "";
    put(q, "Context:");
    for (int i = 0; i < n_said; i++) {
        put(q, " The ");
        put(q, subject_names[subjects[i]]);
        put(q, noun);
        put(q, " is ");
        put(q, names[kind][said[i]]);
        put(q, ".");
    }
    int asked = world_rng_below(rng, n_said), wanted = options_wanted(rng);
    put(q, "\nWhat ");
    if (kind != KIND_NUMBER) {
        q->key = put(q, kind == KIND_COLOR ? "color" : "size");
        put(q, " ");
    }
    put(q, "is the ");
    struct phrase *phrase = &q->phrases[q->n_phrases++];
    phrase->words[phrase->n_words++] = put(q, subject_names[subjects[asked]]);
    if (kind == KIND_NUMBER) {
        put(q, " ");
        phrase->words[phrase->n_words++] = put(q, "number");
    }
    phrase->text = (struct span){phrase->words[0].begin, q->length};
    put(q, "?");
    int values[QUESTION_OPTIONS] = {said[asked]}, n = 1;
    for (int i = 0; i < n_names[kind] && n < wanted; i++) /* the first of `said` were said */
        if (i != asked)
            values[n++] = said[i];
    put_letters(q, values, n, said[asked], names[kind], rng);
    return 0;
}

void question_text_only(struct question *q, struct world_rng *rng)
{
    *q = (struct question){.type = QUESTION_TEXT, .form = FORM_TEXT};
    build_text(q, NULL, rng);
}
