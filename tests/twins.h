#ifndef WINNOW_TESTS_TWINS_H
#define WINNOW_TESTS_TWINS_H
/* What the tests of the twins share: all of them written once, in a folder that goes afterwards. */
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../datasets/mini/suite.h"
#include "../datasets/mini/world.h"

static char err[1024];
static char *root; /* all twins with their usual numbers of pictures */

static inline int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static inline int make_directory(void **state)
{
    char *dir = strdup("/tmp/winnow-suite-XXXXXX");
    *state = dir;
    return mkdtemp(dir) ? 0 : -1;
}

static inline int remove_directory(void **state)
{
    int status = nftw(*state, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return status;
}

static inline int write_all(void **state)
{
    if (make_directory(state) != 0)
        return -1;
    root = *state;
    for (int i = 0; suite_twin_name(i); i++)
        if (suite_write(suite_twin_name(i), root, 0, suite_pictures(suite_twin_name(i)), err, sizeof err) !=
            0) {
            fprintf(stderr, "%s\n", err);
            return -1;
        }
    return 0;
}

static inline char *read_file(const char *dir, const char *name, size_t *size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s is missing", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

static inline void draw(struct scene *scene, const char *suite, int picture, int numbers)
{
    assert_int_equal(
        scene_draw_numbers(scene, WORLD_CANVAS, 0, suite, (uint64_t)picture, numbers, err, sizeof err), 0);
}

static inline int word_index(const char *word, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) {
        size_t length = strlen(names[i]);
        const char *rest = word + length;
        if (strncmp(word, names[i], length) == 0 && (!*rest || !strcmp(rest, "s") || !strcmp(rest, "es")))
            return i;
    }
    return -1;
}

/* The objects that fit the only noun phrase of a question, bit i for object i; a number of objects, too. */
static inline unsigned objects_meant(const char *question, const struct scene *scene)
{
    unsigned fits = (1u << scene->n_objects) - 1, numbers = fits >> scene_shapes(scene)
                                                                        << scene_shapes(scene);
    unsigned kind = ~numbers;
    char text[512];
    snprintf(text, sizeof text, "%s", question);
    for (char *word = strtok(text, " ?\n"); word; word = strtok(NULL, " ?\n")) {
        int color = word_index(word, world_colors, WORLD_COLORS),
            shape = word_index(word, world_shapes, WORLD_SHAPES);
        int size = word_index(word, world_sizes, WORLD_SIZES),
            texture = word_index(word, world_textures, WORLD_TEXTURES);
        kind = strcmp(word, "number") == 0 ? numbers : kind;
        for (int i = 0; i < scene->n_objects; i++) {
            const struct object *o = &scene->objects[i];
            if ((color >= 0 && o->color != color) || (shape >= 0 && o->shape != shape) ||
                (size >= 0 && o->size != size) || (texture >= 0 && o->texture != texture))
                fits &= ~(1u << i);
        }
    }
    return fits & kind;
}

static inline int count_of(unsigned bits)
{
    int n = 0;
    for (; bits; bits &= bits - 1)
        n++;
    return n;
}

static inline const struct object *only(const struct scene *scene, unsigned fits)
{
    assert_int_equal(count_of(fits), 1);
    int i = 0;
    while (!(fits >> i & 1))
        i++;
    return &scene->objects[i];
}

static inline int starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Whether the scene bears out an open question with one noun phrase; others are not looked at: 0. */
static inline int check_gold(const char *question, const char *gold, const struct scene *scene)
{
    char number[8];
    if (strstr(question, "most ")) /* leftmost … */
        return 0;
    unsigned meant = objects_meant(question, scene);
    if (starts(question, "How many ")) {
        snprintf(number, sizeof number, "%d", count_of(meant));
        assert_string_equal(gold, number);
    } else if (starts(question, "Is there a")) {
        assert_string_equal(gold, meant ? "yes" : "no");
    } else if (starts(question, "What color is the ")) {
        assert_string_equal(gold, world_colors[only(scene, meant)->color]);
    } else if (starts(question, "What shape is the ")) {
        assert_string_equal(gold, world_shapes[only(scene, meant)->shape]);
    } else if (starts(question, "What size is the ")) {
        assert_string_equal(gold, world_sizes[only(scene, meant)->size]);
    } else if (starts(question, "What is the ")) {
        snprintf(number, sizeof number, "%d", object_digit(only(scene, meant)));
        assert_string_equal(gold, number);
    } else {
        return 0;
    }
    return 1;
}

#endif
