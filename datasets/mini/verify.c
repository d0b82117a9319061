/*
 * Numbers, statements to be judged by Yes or No, and questions that the picture does not answer.
 *
 * A statement that is false is near the truth: another color of the picture, a count off by one or two, a
 * digit that stands elsewhere. Its `pair` lets the ledger keep every asked value as often right as wrong.
 */
#include "forms.h"

#include "phrase.h"

/* "What is the red number?" */
int build_number(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    int i = random_number(scene, rng);
    if (i < 0)
        return -1;
    put(q, "What is the ");
    put_phrase(q, scene, &(struct description){COLOR | NUMBER, scene->objects[i]}, 0);
    put(q, "?");
    q->targets[q->n_targets++] = i;
    set_answer(q, phrase_digits[object_digit(&scene->objects[i])]);
    return 0;
}

/* "Is the star red?" */
int build_verify_color(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    int i = random_object(scene, rng), asked = scene->objects[i].color;
    if (world_rng_below(rng, 2)) {
        asked = scene->objects[world_rng_below(rng, scene->n_objects)].color;
        if (asked == scene->objects[i].color)
            return -1;
    }
    put(q, "Is the ");
    if (put_name(q, scene, i, ANY & ~(unsigned)COLOR, rng) != 0)
        return -1;
    put(q, " ");
    q->key = put(q, world_colors[asked]);
    put(q, "?");
    q->pair = QUESTION_PAIR_COLOR + asked;
    set_answer(q, asked == scene->objects[i].color ? "Yes" : "No");
    return 0;
}

/* "Are there 3 stars in the image?", "Are there 2 red objects in the image?": asked for 2 to 9. */
int build_verify_count(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    static const int off[4] = {-2, -1, 1, 2};
    struct description what = {q->form == FORM_VERIFY_COUNT_SHAPE ? SHAPE : COLOR,
                               scene->objects[random_object(scene, rng)]};
    int n = bits_count(objects_fitting(scene, &what));
    int asked = n + (world_rng_below(rng, 2) ? off[world_rng_below(rng, 4)] : 0);
    if (asked < 2 || asked > 9 || phrase_doubtful(scene, &what))
        return -1;
    put(q, "Are there ");
    q->key = put(q, phrase_digits[asked]);
    put(q, " ");
    put_phrase(q, scene, &what, 1);
    put(q, " in the image?");
    target_all(q, q->phrases[0].objects);
    q->pair = QUESTION_PAIR_COUNT + asked;
    set_answer(q, asked == n ? "Yes" : "No");
    return 0;
}

/* "Is the red number 7?" */
int build_verify_number(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    int i = random_number(scene, rng);
    if (i < 0)
        return -1;
    int digit = object_digit(&scene->objects[i]), asked = digit;
    if (world_rng_below(rng, 2)) {
        asked = world_rng_below(rng, 2) ? object_digit(&scene->objects[random_number(scene, rng)])
                                        : world_rng_below(rng, WORLD_DIGITS);
        if (asked == digit)
            return -1;
    }
    put(q, "Is the ");
    put_phrase(q, scene, &(struct description){COLOR | NUMBER, scene->objects[i]}, 0);
    put(q, " ");
    q->key = put(q, phrase_digits[asked]);
    put(q, "?");
    q->targets[q->n_targets++] = i;
    q->pair = QUESTION_PAIR_NUMBER + asked;
    set_answer(q, asked == digit ? "Yes" : "No");
    return 0;
}

/* "What color is the ring?" where there is none, and its like for shape, size and number. */
int build_unanswerable(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    static const unsigned color_masks[4] = {SHAPE, SHAPE, SIZE | SHAPE, TEXTURE | SHAPE};
    static const unsigned shape_masks[4] = {COLOR, COLOR, SIZE | COLOR, TEXTURE | COLOR};
    int draw = world_rng_below(rng, 4);
    struct description what = {COLOR | NUMBER, {.color = world_rng_below(rng, WORLD_COLORS)}};
    what.like.shape = world_rng_below(rng, WORLD_SHAPES);
    what.like.size = world_rng_below(rng, WORLD_SIZES);
    what.like.texture = world_rng_below(rng, WORLD_TEXTURES);
    if (world_rng_below(rng, 2)) /* half of the time a part of the name is in the picture */
        what.like.shape = scene->objects[random_object(scene, rng)].shape;
    else if (world_rng_below(rng, 2))
        what.like.color = scene->objects[random_object(scene, rng)].color;
    put(q, "What ");
    if (q->form == FORM_UNANSWERABLE_NUMBER) {
        put(q, "is the ");
    } else {
        q->key = put(q, q->form == FORM_UNANSWERABLE_COLOR   ? "color"
                        : q->form == FORM_UNANSWERABLE_SHAPE ? "shape"
                                                             : "size");
        put(q, " is the ");
        what.mask = q->form == FORM_UNANSWERABLE_COLOR   ? color_masks[draw]
                    : q->form == FORM_UNANSWERABLE_SHAPE ? shape_masks[draw]
                                                         : COLOR | SHAPE;
    }
    if (objects_fitting(scene, &what) != 0 || phrase_doubtful(scene, &what))
        return -1;
    put_phrase(q, scene, &what, 0);
    put(q, "?");
    set_answer(q, "Unanswerable");
    return 0;
}
