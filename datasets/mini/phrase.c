/* Noun phrases: which objects they fit, how they are written, and which one names an object beyond doubt. */
#include "phrase.h"

#include "error.h" /* ENSURE */

#include <string.h> /* memcpy, strlen */

const char *const phrase_digits[10] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
static const char *const plurals[WORLD_SHAPES] = {"circles", "squares", "triangles", "diamonds",
                                                  "stars",   "crosses", "rings",     "hearts"};

int attribute_of(const struct object *object, enum attribute attribute)
{
    return attribute == COLOR   ? object->color
           : attribute == SHAPE ? object->shape
           : attribute == SIZE  ? object->size
                                : object->texture;
}

const char *attribute_name(enum attribute attribute, int value)
{
    return attribute == COLOR   ? world_colors[value]
           : attribute == SHAPE ? world_shapes[value]
           : attribute == SIZE  ? world_sizes[value]
                                : world_textures[value];
}

unsigned objects_fitting(const struct scene *scene, const struct description *what)
{
    unsigned fitting = 0;
    for (int i = 0; i < scene->n_objects; i++) {
        int fits = ((what->mask & NUMBER) != 0) == (object_digit(&scene->objects[i]) >= 0);
        for (unsigned a = 1; a <= TEXTURE; a *= 2)
            if (what->mask & a)
                fits &= attribute_of(&scene->objects[i], a) == attribute_of(&what->like, a);
        fitting |= (unsigned)fits << i;
    }
    return fitting;
}

int phrase_doubtful(const struct scene *scene, const struct description *what)
{
    struct description number = {what->mask | NUMBER, what->like};
    return !(what->mask & (SHAPE | NUMBER)) && objects_fitting(scene, &number) != 0;
}

int bits_count(unsigned bits)
{
    int n = 0;
    for (; bits; bits &= bits - 1)
        n++;
    return n;
}

struct span put(struct question *q, const char *words)
{
    int n = (int)strlen(words);
    ENSURE(q->length + n < QUESTION_TEXT_SIZE);
    memcpy(q->text + q->length, words, (size_t)n + 1);
    struct span span = {q->length, q->length + n};
    q->length += n;
    return span;
}

void put_phrase(struct question *q, const struct scene *scene, const struct description *what, int plural)
{
    ENSURE(q->n_phrases < QUESTION_PHRASES);
    static const enum attribute order[3] = {SIZE, TEXTURE, COLOR};
    struct phrase *phrase = &q->phrases[q->n_phrases++];
    *phrase = (struct phrase){.text = {q->length, 0}, .objects = objects_fitting(scene, what)};
    for (int i = 0; i < 3; i++)
        if (what->mask & order[i]) {
            phrase->words[phrase->n_words++] =
                put(q, attribute_name(order[i], attribute_of(&what->like, order[i])));
            put(q, " ");
        }
    const char *noun = what->mask & NUMBER     ? "number"
                       : !(what->mask & SHAPE) ? (plural ? "objects" : "object")
                       : plural                ? plurals[what->like.shape]
                                               : world_shapes[what->like.shape];
    phrase->words[phrase->n_words++] = put(q, noun);
    phrase->text.end = q->length;
}

int describe_alone(struct description *what, const struct scene *scene, int i, unsigned allowed,
                   struct world_rng *rng)
{
    int weights[ANY + 1] = {0}, total = 0;
    for (int n = 1; n <= 4 && (n <= 2 || total == 0); n++)
        for (unsigned mask = 1; mask <= ANY; mask++) {
            *what = (struct description){mask, scene->objects[i]};
            if ((mask & ~allowed) || bits_count(mask) != n || bits_count(objects_fitting(scene, what)) != 1 ||
                phrase_doubtful(scene, what))
                continue;
            weights[mask] = mask == (COLOR | SHAPE) ? 8 : mask & SHAPE ? 3 : 2;
            total += weights[mask];
        }
    if (total == 0)
        return -1;
    *what = (struct description){(unsigned)world_rng_weighted(rng, weights, ANY + 1), scene->objects[i]};
    return 0;
}

int put_name(struct question *q, const struct scene *scene, int i, unsigned allowed, struct world_rng *rng)
{
    struct description what;
    if (describe_alone(&what, scene, i, allowed, rng) != 0)
        return -1;
    put_phrase(q, scene, &what, 0);
    q->targets[q->n_targets++] = i;
    return 0;
}

void set_answer(struct question *q, const char *answer)
{
    ENSURE(strlen(answer) < sizeof q->answer);
    memcpy(q->answer, answer, strlen(answer) + 1);
}

void put_option(struct question *q, const char *words, int right)
{
    struct option *option = &q->options[q->n_options++];
    option->span = put(q, words);
    option->right = right;
}

void target_all(struct question *q, unsigned objects)
{
    for (int i = 0; objects >> i; i++)
        if (objects >> i & 1)
            q->targets[q->n_targets++] = i;
}

int random_object(const struct scene *scene, struct world_rng *rng)
{
    return world_rng_below(rng, scene_shapes(scene));
}

int random_number(const struct scene *scene, struct world_rng *rng)
{
    return scene->n_numbers ? scene_shapes(scene) + world_rng_below(rng, scene->n_numbers) : -1;
}

int value_of(const struct scene *scene, int i, enum attribute attribute)
{
    return attribute_of(&scene->objects[i], attribute);
}

int random_two(int two[2], const struct scene *scene, struct world_rng *rng)
{
    if (scene_shapes(scene) < 2)
        return -1;
    two[0] = random_object(scene, rng);
    two[1] = world_rng_below(rng, scene_shapes(scene) - 1);
    two[1] += two[1] >= two[0];
    return 0;
}

int center2(const struct scene *scene, int i, int axis)
{
    return object_center2(&scene->objects[i], axis);
}
