/* What may stand beside a question: a true sentence about something else, and the numbers that OCR read. */
#include "phrase.h"

#include <stdio.h> /* snprintf */

int scene_hint_except(char *out, size_t size, const struct scene *scene, unsigned avoid,
                      struct world_rng *rng)
{
    enum { TRIES = 24 };
    static const enum attribute said[3] = {COLOR, SIZE, TEXTURE};
    for (int attempt = 0; attempt < TRIES; attempt++) {
        struct question q = {.type = QUESTION_TEXT};
        int i = world_rng_below(rng, scene->n_objects);
        if (avoid >> i & 1)
            continue;
        const struct object *object = &scene->objects[i];
        put(&q, "The ");
        if (object_digit(object) >= 0) {
            put_phrase(&q, scene, &(struct description){COLOR | NUMBER, *object}, 0);
            put(&q, " is ");
            put(&q, phrase_digits[object_digit(object)]);
        } else {
            enum attribute attribute = said[world_rng_below(rng, 3)];
            if (put_name(&q, scene, i, ANY & ~(unsigned)attribute, rng) != 0)
                continue;
            put(&q, " is ");
            put(&q, attribute_name(attribute, attribute_of(object, attribute)));
        }
        put(&q, ".");
        snprintf(out, size, "%s", q.text);
        return 0;
    }
    if (size)
        *out = '\0';
    return -1;
}

int scene_hint(char *out, size_t size, const struct scene *scene, struct world_rng *rng)
{
    return scene_hint_except(out, size, scene, 0, rng);
}

void scene_ocr(char *out, size_t size, const struct scene *scene, struct world_rng *rng)
{
    int digits[WORLD_MAX_OBJECTS + 1], n = 0;
    unsigned present = 0;
    for (int i = scene_shapes(scene); i < scene->n_objects; i++) {
        digits[n++] = object_digit(&scene->objects[i]);
        present |= 1u << digits[n - 1];
    }
    int other;
    do
        other = world_rng_below(rng, WORLD_DIGITS);
    while (present >> other & 1);
    digits[n++] = other;
    char text[4 * (WORLD_MAX_OBJECTS + 1)];
    int length = 0;
    for (; n > 0; n--) { /* in random order */
        int k = world_rng_below(rng, n);
        length +=
            snprintf(text + length, sizeof text - (size_t)length, "%s%d", length ? ", " : "", digits[k]);
        digits[k] = digits[n - 1];
    }
    snprintf(out, size, "%s", text);
}
