/*
 * The forms of questions: one builder each, and the table that lists them.
 *
 * A builder writes text and answer together with the spans of its words, or gives up when the scene does not
 * bear the question. An object is named by a phrase that fits it alone ("red star", "small ring", "blue
 * object"), never by the attribute that is asked for. Margins keep answers beyond doubt: 30 px off the middle
 * for places, 28 px between the centres for relations, 14 px of lead for the leftmost.
 */
#include "forms.h"

#include "error.h" /* ENSURE */
#include "phrase.h"

#include <string.h> /* strcmp */

enum { MARGIN_MIDDLE2 = 60, MARGIN_RELATION2 = 56, MARGIN_EXTREME2 = 28 }; /* twice px, as object_center2 */

static const char *const sides[4] = {"left", "right", "top", "bottom"};
static const char *const relations[4] = {"left", "right", "above", "below"};
static const char *const extremes[4] = {"leftmost", "rightmost", "topmost", "bottommost"};

/* ---- builders: fill a question that starts as zeros, or return -1 --------------------------- */

/* An absent pair whose parts: both are there on different objects (half), one is there (30 %), none is (20
 * %). */
static int absent_pair(struct object *like, const struct scene *scene, struct world_rng *rng)
{
    static const int kinds[3] = {50, 30, 20};
    int kind = world_rng_weighted(rng, kinds, 3);
    like->color = scene->objects[random_object(scene, rng)].color;
    like->shape = scene->objects[random_object(scene, rng)].shape;
    int new_color = kind == 2 || (kind == 1 && world_rng_below(rng, 2));
    int new_shape = kind == 2 || (kind == 1 && !new_color);
    if (new_color)
        like->color = world_rng_below(rng, WORLD_COLORS);
    if (new_shape)
        like->shape = world_rng_below(rng, WORLD_SHAPES);
    unsigned both = objects_fitting(scene, &(struct description){COLOR | SHAPE, *like});
    unsigned color = objects_fitting(scene, &(struct description){COLOR, *like});
    unsigned shape = objects_fitting(scene, &(struct description){SHAPE, *like});
    return both || (new_color && color) || (new_shape && shape) ? -1 : 0;
}

static int build_exist(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    struct description what = {COLOR | SHAPE, scene->objects[random_object(scene, rng)]};
    if (world_rng_below(rng, 2) && absent_pair(&what.like, scene, rng) != 0)
        return -1;
    put(q, strcmp(world_colors[what.like.color], "orange") == 0 ? "Is there an " : "Is there a ");
    put_phrase(q, scene, &what, 0);
    put(q, " in the image?");
    set_answer(q, q->phrases[0].objects ? "Yes" : "No");
    target_all(q, q->phrases[0].objects);
    q->pair = what.like.color * WORLD_SHAPES + what.like.shape;
    return 0;
}

/* "What color is the small star?" without the final suffix; for FORM_COLOR, _SHAPE, _SIZE and their mc twins.
 */
int build_attribute(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    enum attribute asked = q->form == FORM_COLOR || q->form == FORM_MC_COLOR   ? COLOR
                           : q->form == FORM_SHAPE || q->form == FORM_MC_SHAPE ? SHAPE
                                                                               : SIZE;
    int i = random_object(scene, rng);
    put(q, "What ");
    q->key = put(q, asked == COLOR ? "color" : asked == SHAPE ? "shape" : "size");
    put(q, " is the ");
    if (put_name(q, scene, i, ANY & ~(unsigned)asked, rng) != 0)
        return -1;
    put(q, "?");
    set_answer(q, attribute_name(asked, value_of(scene, i, asked)));
    return 0;
}

static int build_texture(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    int i = random_object(scene, rng);
    int texture = scene->objects[i].texture;
    put(q, "Is the ");
    if (put_name(q, scene, i, ANY & ~(unsigned)TEXTURE, rng) != 0)
        return -1;
    put(q, " ");
    put_option(q, "striped", texture == TEXTURE_STRIPED);
    put(q, " or ");
    put_option(q, "plain", texture == TEXTURE_PLAIN);
    put(q, "?");
    set_answer(q, world_textures[texture]);
    return 0;
}

int build_pos(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    int i = random_object(scene, rng);
    int axis = q->form == FORM_POS_Y || q->form == FORM_MC_POS_Y;
    int off = center2(scene, i, axis) - scene->canvas;
    if (off < MARGIN_MIDDLE2 && off > -MARGIN_MIDDLE2)
        return -1;
    put(q, "Is the ");
    if (put_name(q, scene, i, ANY, rng) != 0)
        return -1;
    put(q, axis ? " at the " : " on the ");
    put_option(q, sides[2 * axis], off < 0);
    put(q, axis ? " or at the " : " or on the ");
    put_option(q, sides[2 * axis + 1], off > 0);
    put(q, " of the image?");
    set_answer(q, sides[2 * axis + (off > 0)]);
    return 0;
}

/* Two objects far enough apart on the axis; *before: the first one is left of or above the second. */
static int relation_two(int two[2], int *before, int axis, const struct scene *scene, struct world_rng *rng)
{
    if (random_two(two, scene, rng) != 0)
        return -1;
    int apart = center2(scene, two[1], axis) - center2(scene, two[0], axis);
    *before = apart > 0;
    return apart < MARGIN_RELATION2 && apart > -MARGIN_RELATION2 ? -1 : 0;
}

static int build_relv(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    int axis = q->form == FORM_RELV_ABOVE || q->form == FORM_RELV_BELOW;
    int asks_before = q->form == FORM_RELV_LEFT || q->form == FORM_RELV_ABOVE;
    int two[2], before;
    if (relation_two(two, &before, axis, scene, rng) != 0)
        return -1;
    put(q, "Is the ");
    if (put_name(q, scene, two[0], ANY, rng) != 0)
        return -1;
    put(q, axis ? " " : " to the ");
    q->key = put(q, relations[2 * axis + !asks_before]);
    put(q, axis ? " the " : " of the ");
    if (put_name(q, scene, two[1], ANY, rng) != 0)
        return -1;
    put(q, "?");
    set_answer(q, before == asks_before ? "Yes" : "No");
    return 0;
}

int build_relc(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    int axis = q->form == FORM_RELC_Y || q->form == FORM_MC_RELC_Y;
    int two[2], before;
    if (relation_two(two, &before, axis, scene, rng) != 0)
        return -1;
    put(q, "Is the ");
    if (put_name(q, scene, two[0], ANY, rng) != 0)
        return -1;
    put(q, axis ? " " : " to the ");
    put_option(q, relations[2 * axis], before);
    put(q, axis ? " or " : " or to the ");
    put_option(q, relations[2 * axis + 1], !before);
    put(q, axis ? " the " : " of the ");
    if (put_name(q, scene, two[1], ANY, rng) != 0)
        return -1;
    put(q, "?");
    set_answer(q, relations[2 * axis + !before]);
    return 0;
}

int build_count(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    static const unsigned masks[3] = {SHAPE, COLOR, 0};
    unsigned mask =
        q->form == FORM_MC_COUNT ? masks[world_rng_below(rng, 3)] : masks[q->form - FORM_COUNT_SHAPE];
    struct description what = {mask, scene->objects[random_object(scene, rng)]};
    if (phrase_doubtful(scene, &what))
        return -1;
    put(q, "How ");
    q->key = put(q, "many");
    put(q, " ");
    put_phrase(q, scene, &what, 1);
    put(q, " are there?");
    int n = bits_count(q->phrases[0].objects);
    if (n > 9)
        return -1;
    target_all(q, q->phrases[0].objects);
    set_answer(q, phrase_digits[n]);
    return 0;
}

static int build_same(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    enum attribute asked = q->form == FORM_SAME_COLOR ? COLOR : SHAPE;
    int two[2];
    if (random_two(two, scene, rng) != 0)
        return -1;
    put(q, "Is the ");
    if (put_name(q, scene, two[0], ANY & ~(unsigned)asked, rng) != 0)
        return -1;
    put(q, " the ");
    q->key = put(q, "same");
    put(q, asked == COLOR ? " color as the " : " shape as the ");
    if (put_name(q, scene, two[1], ANY & ~(unsigned)asked, rng) != 0)
        return -1;
    put(q, "?");
    set_answer(q, value_of(scene, two[0], asked) == value_of(scene, two[1], asked) ? "Yes" : "No");
    return 0;
}

static int build_larger(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    int two[2];
    if (random_two(two, scene, rng) != 0 || value_of(scene, two[0], SIZE) == value_of(scene, two[1], SIZE))
        return -1;
    put(q, "Is the ");
    if (put_name(q, scene, two[0], ANY & ~(unsigned)SIZE, rng) != 0)
        return -1;
    put(q, " ");
    q->key = put(q, "larger");
    put(q, " than the ");
    if (put_name(q, scene, two[1], ANY & ~(unsigned)SIZE, rng) != 0)
        return -1;
    put(q, "?");
    set_answer(q, value_of(scene, two[0], SIZE) > value_of(scene, two[1], SIZE) ? "Yes" : "No");
    return 0;
}

/* "What color is the leftmost object?", "… the topmost star?": the winner leads, and the others do not all
 * agree. */
static int build_extreme(struct question *q, const struct scene *scene, struct world_rng *rng)
{
    enum attribute asked = q->form == FORM_EXTREME_COLOR ? COLOR : SHAPE;
    unsigned mask = world_rng_below(rng, 2) ? (unsigned)(COLOR + SHAPE - asked) : 0;
    struct description what = {mask, scene->objects[random_object(scene, rng)]};
    if (phrase_doubtful(scene, &what))
        return -1;
    unsigned candidates = objects_fitting(scene, &what);
    int direction = world_rng_below(rng, 4);
    int axis = direction / 2, sign = direction % 2 ? -1 : 1;
    int winner = -1, lead = 4 * WORLD_CANVAS, differs = 0;
    for (int i = 0; i < scene->n_objects; i++)
        if ((candidates >> i & 1) &&
            (winner < 0 || sign * center2(scene, i, axis) < sign * center2(scene, winner, axis)))
            winner = i;
    for (int i = 0; i < scene->n_objects; i++)
        if ((candidates >> i & 1) && i != winner) {
            int behind = sign * (center2(scene, i, axis) - center2(scene, winner, axis));
            lead = behind < lead ? behind : lead;
            differs |= value_of(scene, i, asked) != value_of(scene, winner, asked);
        }
    if (!differs || lead < MARGIN_EXTREME2)
        return -1;
    put(q, asked == COLOR ? "What color is the " : "What shape is the ");
    q->key = put(q, extremes[direction]);
    put(q, " ");
    put_phrase(q, scene, &what, 0);
    put(q, "?");
    q->targets[q->n_targets++] = winner;
    set_answer(q, attribute_name(asked, value_of(scene, winner, asked)));
    return 0;
}

/* ---- the table ------------------------------------------------------------------------------ */

const struct question_form question_forms[QUESTION_FORMS] = {
    [FORM_EXIST] = {"exist", QUESTION_EXIST, build_exist},
    [FORM_COLOR] = {"color", QUESTION_COLOR, build_attribute},
    [FORM_SHAPE] = {"shape", QUESTION_SHAPE, build_attribute},
    [FORM_SIZE] = {"size", QUESTION_SIZE, build_attribute},
    [FORM_TEXTURE] = {"texture", QUESTION_TEXTURE, build_texture},
    [FORM_POS_X] = {"pos_x", QUESTION_POS, build_pos},
    [FORM_POS_Y] = {"pos_y", QUESTION_POS, build_pos},
    [FORM_RELV_LEFT] = {"relv_left", QUESTION_RELV, build_relv},
    [FORM_RELV_RIGHT] = {"relv_right", QUESTION_RELV, build_relv},
    [FORM_RELV_ABOVE] = {"relv_above", QUESTION_RELV, build_relv},
    [FORM_RELV_BELOW] = {"relv_below", QUESTION_RELV, build_relv},
    [FORM_RELC_X] = {"relc_x", QUESTION_RELC, build_relc},
    [FORM_RELC_Y] = {"relc_y", QUESTION_RELC, build_relc},
    [FORM_COUNT_SHAPE] = {"count_shape", QUESTION_COUNT, build_count},
    [FORM_COUNT_COLOR] = {"count_color", QUESTION_COUNT, build_count},
    [FORM_COUNT_ALL] = {"count_all", QUESTION_COUNT, build_count},
    [FORM_SAME_COLOR] = {"same_color", QUESTION_SAME, build_same},
    [FORM_SAME_SHAPE] = {"same_shape", QUESTION_SAME, build_same},
    [FORM_LARGER] = {"larger", QUESTION_LARGER, build_larger},
    [FORM_EXTREME_COLOR] = {"extreme_color", QUESTION_EXTREME, build_extreme},
    [FORM_EXTREME_SHAPE] = {"extreme_shape", QUESTION_EXTREME, build_extreme},
    [FORM_MC_COLOR] = {"mc_color", QUESTION_MC, build_mc_attribute},
    [FORM_MC_SHAPE] = {"mc_shape", QUESTION_MC, build_mc_attribute},
    [FORM_MC_COUNT] = {"mc_count", QUESTION_MC, build_mc_count},
    [FORM_MC_WHERE] = {"mc_where", QUESTION_MC, build_mc_where},
    [FORM_MC_POS_X] = {"mc_pos_x", QUESTION_MC, build_mc_side},
    [FORM_MC_POS_Y] = {"mc_pos_y", QUESTION_MC, build_mc_side},
    [FORM_MC_RELC_X] = {"mc_relc_x", QUESTION_MC, build_mc_side},
    [FORM_MC_RELC_Y] = {"mc_relc_y", QUESTION_MC, build_mc_side},
    [FORM_MC_NUMBER] = {"mc_number", QUESTION_MC, build_mc_number},
    [FORM_NUMBER] = {"number", QUESTION_NUMBER, build_number},
    [FORM_VERIFY_COLOR] = {"verify_color", QUESTION_VERIFY_COLOR, build_verify_color},
    [FORM_VERIFY_COUNT_SHAPE] = {"verify_count_shape", QUESTION_VERIFY_COUNT, build_verify_count},
    [FORM_VERIFY_COUNT_COLOR] = {"verify_count_color", QUESTION_VERIFY_COUNT, build_verify_count},
    [FORM_VERIFY_NUMBER] = {"verify_number", QUESTION_VERIFY_NUMBER, build_verify_number},
    [FORM_UNANSWERABLE_COLOR] = {"unanswerable_color", QUESTION_UNANSWERABLE, build_unanswerable},
    [FORM_UNANSWERABLE_SHAPE] = {"unanswerable_shape", QUESTION_UNANSWERABLE, build_unanswerable},
    [FORM_UNANSWERABLE_SIZE] = {"unanswerable_size", QUESTION_UNANSWERABLE, build_unanswerable},
    [FORM_UNANSWERABLE_NUMBER] = {"unanswerable_number", QUESTION_UNANSWERABLE, build_unanswerable},
    [FORM_TEXT] = {"text", QUESTION_TEXT, build_text},
};

int form_answer_index(const char *answer)
{
    static const char *const yes_no[2] = {"Yes", "No"}, *const unanswerable[1] = {"Unanswerable"};
    static const char *const corners[4] = {"top left", "top right", "bottom left", "bottom right"};
    static const struct {
        const char *const *names;
        int n;
    } groups[] = {{world_colors, WORLD_COLORS},
                  {world_shapes, WORLD_SHAPES},
                  {world_sizes, WORLD_SIZES},
                  {world_textures, WORLD_TEXTURES},
                  {sides, 4},
                  {relations + 2, 2},
                  {yes_no, 2},
                  {phrase_digits, 10},
                  {corners, 4},
                  {unanswerable, 1}};
    int index = 0;
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (int i = 0; i < groups[g].n; i++, index++)
            if (strcmp(answer, groups[g].names[i]) == 0)
                return index;
    ENSURE(index < QUESTION_ANSWERS); /* every answer is listed: never reached */
    return 0;
}
