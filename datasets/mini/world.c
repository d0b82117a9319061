/*
 * The miniature world: scenes drawn from a key, their pixels and the label of every patch.
 *
 * Canvas 336 x 336 (or a smaller window), patches of 14 px. A muted background with a gradient and one of
 * five textures; on it 3 to 10 unrotated objects with hard edges, at least 6 px apart and 3 px from the
 * border: 8 colours x 8 shapes x 3 sizes x 2 textures. Half of the scenes have a theme: several objects share
 * a colour or a shape, so that counts above one are common. Where asked for, numbers stand among them: one
 * digit each, of different colours, kept behind the other objects in the scene's list.
 *
 * Shapes are given in box coordinates u, v in [-1, 1], v downwards. The star needs no angle: the nearest of
 * five constant tip directions is found by dot product, and one edge line, from tip to inner corner, decides.
 */
#include "world.h"

#include <assert.h> /* static_assert */
#include <stdio.h>  /* snprintf */
#include <string.h> /* memset */

const char *const world_colors[WORLD_COLORS] = {"red",  "orange", "yellow", "green",
                                                "cyan", "blue",   "purple", "white"};
const uint8_t world_rgb[WORLD_COLORS][3] = {{214, 38, 40},  {245, 138, 20}, {240, 224, 50}, {40, 160, 60},
                                            {60, 210, 220}, {40, 70, 210},  {140, 50, 180}, {244, 244, 244}};
const char *const world_shapes[WORLD_SHAPES] = {"circle", "square", "triangle", "diamond",
                                                "star",   "cross",  "ring",     "heart"};
const char *const world_sizes[WORLD_SIZES] = {"small", "medium", "large"};
const char *const world_textures[WORLD_TEXTURES] = {"plain", "striped"};

static const int size_edges[WORLD_SIZES][2] = {{30, 42}, {52, 66}, {80, 106}}; /* px, smallest and largest */

enum { BORDER = 3, GAP = 6, TRIES = 40, COLOR_JITTER = 12, STRIPE_DARK = 35, STRIPE_SHARE = 42 };
/* Ambiguous below 12 % of the 196 pixels of a patch. */
enum { PATCH_PIXELS = WORLD_PATCH * WORLD_PATCH, OWNER_PERCENT = 12 };

/* ---- random numbers ------------------------------------------------------------------------- */

static uint64_t mix64(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

struct world_rng world_rng_start(uint64_t seed, const char *suite, uint64_t picture, uint64_t stream)
{
    uint64_t name = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (const char *c = suite; *c; c++)
        name = (name ^ (uint64_t)(unsigned char)*c) * UINT64_C(0x100000001b3);
    uint64_t key = mix64(seed + UINT64_C(0x9e3779b97f4a7c15));
    key = mix64(key ^ name);
    key = mix64(key + picture * UINT64_C(0xd1342543de82ef95));
    key = mix64(key + stream * UINT64_C(0x2545f4914f6cdd1d));
    return (struct world_rng){key};
}

uint64_t world_rng_next(struct world_rng *rng)
{
    rng->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix64(rng->state);
}

int world_rng_below(struct world_rng *rng, int n)
{
    uint64_t high = world_rng_next(rng) >> 32;
    return (int)((high * (uint64_t)n) >> 32);
}

int world_rng_between(struct world_rng *rng, int low, int high)
{
    return low + world_rng_below(rng, high - low + 1);
}

int world_rng_weighted(struct world_rng *rng, const int *weights, int n)
{
    int total = 0;
    for (int i = 0; i < n; i++)
        total += weights[i];
    int draw = world_rng_below(rng, total);
    int i = 0;
    while (draw >= weights[i])
        draw -= weights[i++];
    return i;
}

/* ---- geometry ------------------------------------------------------------------------------- */

int object_center2(const struct object *object, int axis)
{
    return 2 * (axis ? object->y0 : object->x0) + object->edge;
}

int object_anchor(const struct object *object, int grid)
{
    int column = object_center2(object, 0) / (2 * WORLD_PATCH);
    int row = object_center2(object, 1) / (2 * WORLD_PATCH);
    return row * grid + column;
}

int scene_shapes(const struct scene *scene)
{
    return scene->n_objects - scene->n_numbers;
}

int object_digit(const struct object *object)
{
    return object->shape >= SHAPE_DIGIT ? object->shape - SHAPE_DIGIT : -1;
}

static double absolute(double a)
{
    return a < 0 ? -a : a;
}

/* Five tips at radius 1, the first up; inner corners at radius .42, 36 degrees from a tip. */
static int star_covers(double u, double v)
{
    static const double tips[5][2] = {{0, -1},
                                      {.9510565162951535, -.30901699437494745},
                                      {.5877852522924731, .8090169943749475},
                                      {-.5877852522924731, .8090169943749475},
                                      {-.9510565162951535, -.30901699437494745}};
    static const double corner[2] = {.42 * .8090169943749475, .42 * .5877852522924731};
    double along = -2, across = 0;
    for (int i = 0; i < 5; i++) {
        double dot = u * tips[i][0] + v * tips[i][1];
        if (dot > along) {
            along = dot;
            across = absolute(u * tips[i][1] - v * tips[i][0]);
        }
    }
    return across * (1 - corner[0]) <= (1 - along) * corner[1];
}

/* A glyph of 5 x 7 blocks; the bits of a row run from left (16) to right (1). */
static int digit_covers(int digit, double u, double v)
{
    static const uint8_t glyphs[WORLD_DIGITS][7] = {
        {14, 17, 17, 17, 17, 17, 14}, {12, 28, 12, 12, 12, 12, 30}, {14, 17, 1, 6, 8, 16, 31},
        {30, 1, 1, 14, 1, 1, 30},     {2, 6, 10, 18, 31, 2, 2},     {31, 16, 30, 1, 1, 17, 14},
        {14, 16, 16, 30, 17, 17, 14}, {31, 1, 2, 4, 8, 8, 8},       {14, 17, 17, 14, 17, 17, 14},
        {14, 17, 17, 15, 1, 1, 14}};
    double column = (u + .8) * (5 / 1.6), row = (v + .95) * (7 / 1.9);
    if (column < 0 || column >= 5 || row < 0 || row >= 7)
        return 0;
    return glyphs[digit][(int)row] >> (4 - (int)column) & 1;
}

static int shape_covers(int shape, double u, double v)
{
    if (shape >= SHAPE_DIGIT)
        return digit_covers(shape - SHAPE_DIGIT, u, v);
    double r2 = u * u + v * v;
    double au = absolute(u), av = absolute(v);
    switch (shape) {
    case SHAPE_CIRCLE:
        return r2 <= 1;
    case SHAPE_SQUARE:
        return au <= .88 && av <= .88;
    case SHAPE_TRIANGLE:
        return v <= .85 && au <= .54 * (v + .95);
    case SHAPE_DIAMOND:
        return au / .72 + av <= 1;
    case SHAPE_STAR:
        return star_covers(u, v);
    case SHAPE_CROSS:
        return (au <= .32 && av <= .95) || (av <= .32 && au <= .95);
    case SHAPE_RING:
        return r2 >= .32 && r2 <= 1;
    default: { /* SHAPE_HEART */
        double x = 1.22 * u, y = .12 - 1.22 * v;
        double a = x * x + y * y - 1;
        return a * a * a <= x * x * y * y * y;
    }
    }
}

/* Whether the object covers the middle of pixel (x, y) of the canvas. */
static int object_covers(const struct object *object, int x, int y)
{
    double edge = object->edge;
    double u = (2 * (x - object->x0) + 1) / edge - 1;
    double v = (2 * (y - object->y0) + 1) / edge - 1;
    return shape_covers(object->shape, u, v);
}

/* ---- drawing a scene ------------------------------------------------------------------------ */

static int boxes_apart(const struct object *a, const struct object *b)
{
    return a->x0 + a->edge + GAP <= b->x0 || b->x0 + b->edge + GAP <= a->x0 ||
           a->y0 + a->edge + GAP <= b->y0 || b->y0 + b->edge + GAP <= a->y0;
}

/* Puts the object somewhere free. Returns 0, or -1 after TRIES places that were taken. */
static int object_place(struct object *object, const struct scene *scene, struct world_rng *rng)
{
    for (int attempt = 0; attempt < TRIES; attempt++) {
        object->x0 = world_rng_between(rng, BORDER, scene->canvas - BORDER - object->edge);
        object->y0 = world_rng_between(rng, BORDER, scene->canvas - BORDER - object->edge);
        int free_place = 1;
        for (int i = 0; i < scene->n_objects && free_place; i++)
            free_place = boxes_apart(object, &scene->objects[i]);
        if (free_place)
            return 0;
    }
    return -1;
}

static void object_dress(struct object *object, int whole, struct world_rng *rng)
{
    static const int size_weights[2][WORLD_SIZES] = {{40, 35, 25}, {32, 36, 32}};
    object->size = world_rng_weighted(rng, size_weights[whole], WORLD_SIZES);
    object->edge = world_rng_between(rng, size_edges[object->size][0], size_edges[object->size][1]);
    object->color = world_rng_below(rng, WORLD_COLORS);
    object->shape = world_rng_below(rng, WORLD_SHAPES);
    object->texture = world_rng_below(rng, 100) < 40 ? TEXTURE_STRIPED : TEXTURE_PLAIN;
    object->stripe_period = world_rng_between(rng, 8, 12);
    object->stripe_phase = world_rng_below(rng, object->stripe_period);
    object->stripe_direction = world_rng_below(rng, 3);
}

static void object_tint(struct object *object, struct world_rng *rng)
{
    for (int c = 0; c < 3; c++) {
        int level = world_rgb[object->color][c] + world_rng_between(rng, -COLOR_JITTER, COLOR_JITTER);
        object->rgb[c] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
    }
}

static void background_draw(struct scene *scene, struct world_rng *rng)
{
    int grey = world_rng_between(rng, 70, 150);
    for (int c = 0; c < 3; c++)
        scene->background[c] = grey + world_rng_between(rng, -16, 16);
    do {
        scene->gradient[0] = world_rng_between(rng, -8, 8);
        scene->gradient[1] = world_rng_between(rng, -8, 8);
    } while (scene->gradient[0] == 0 && scene->gradient[1] == 0);
    scene->gradient_levels = world_rng_between(rng, 0, 40);
    scene->texture = world_rng_below(rng, 5);
    scene->texture_cell = world_rng_between(rng, 6, 24);
    scene->texture_amplitude = world_rng_between(rng, 5, 13);
    scene->noise = world_rng_next(rng);
}

/* How many objects to try for: out of 3 … 10 on a whole canvas; on a smaller one 1 … as many as its area
 * bears. */
static int scene_wanted(int canvas, struct world_rng *rng)
{
    static const int weights[8] = {8, 13, 17, 18, 16, 12, 9, 7};
    if (canvas == WORLD_CANVAS)
        return 3 + world_rng_weighted(rng, weights, 8);
    int most = 4 * canvas * canvas / (168 * 168);
    return world_rng_between(rng, 1, most < 2 ? 2 : most > WORLD_MAX_OBJECTS ? WORLD_MAX_OBJECTS : most);
}

/* Numbers of different colours on the empty canvas: placed first, since they are medium or large. */
static void numbers_place(struct scene *scene, int wanted, struct world_rng *rng)
{
    unsigned taken = 0;
    for (int i = 0; i < wanted; i++) {
        struct object number = {.size = world_rng_between(rng, 1, 2)};
        number.edge = world_rng_between(rng, size_edges[number.size][0], size_edges[number.size][1]);
        number.shape = SHAPE_DIGIT + world_rng_below(rng, WORLD_DIGITS);
        number.stripe_period = 8; /* never seen: a number is plain */
        do
            number.color = world_rng_below(rng, WORLD_COLORS);
        while (taken >> number.color & 1);
        object_tint(&number, rng);
        if (object_place(&number, scene, rng) == 0) {
            taken |= 1u << number.color;
            scene->objects[scene->n_objects++] = number;
        }
    }
    scene->n_numbers = scene->n_objects;
}

/* The numbers stand first while objects are placed; behind all others is where they belong. */
static void numbers_last(struct scene *scene)
{
    struct object numbers[WORLD_MAX_NUMBERS];
    int n = scene->n_numbers, others = scene->n_objects - n;
    memcpy(numbers, scene->objects, (size_t)n * sizeof *numbers);
    memmove(scene->objects, scene->objects + n, (size_t)others * sizeof *numbers);
    memcpy(scene->objects + others, numbers, (size_t)n * sizeof *numbers);
}

/* One attempt at the objects: those that found no place are left out. */
static void scene_populate(struct scene *scene, int n_numbers, struct world_rng *rng)
{
    scene->n_objects = scene->n_numbers = 0;
    numbers_place(scene, n_numbers, rng);
    int wanted = scene_wanted(scene->canvas, rng);
    if (wanted > WORLD_MAX_OBJECTS - scene->n_numbers)
        wanted = WORLD_MAX_OBJECTS - scene->n_numbers;
    int theme = world_rng_below(rng, 4); /* 0 a shared colour, 1 a shared shape, 2 and 3 none */
    int shared = world_rng_below(rng, 8);
    int sharing = wanted >= 2 && theme < 2 ? world_rng_between(rng, 2, wanted) : 0;
    static_assert(WORLD_COLORS == 8 && WORLD_SHAPES == 8, "shared is drawn for either");
    for (int i = 0; i < wanted; i++) {
        struct object object;
        object_dress(&object, scene->canvas == WORLD_CANVAS, rng);
        if (i < sharing)
            *(theme == 0 ? &object.color : &object.shape) = shared;
        object_tint(&object, rng);
        if (object_place(&object, scene, rng) == 0)
            scene->objects[scene->n_objects++] = object;
    }
    numbers_last(scene);
}

int scene_draw(struct scene *scene, int canvas, uint64_t seed, const char *suite, uint64_t picture, char *err,
               size_t err_size)
{
    return scene_draw_numbers(scene, canvas, seed, suite, picture, 0, err, err_size);
}

int scene_draw_numbers(struct scene *scene, int canvas, uint64_t seed, const char *suite, uint64_t picture,
                       int percent, char *err, size_t err_size)
{
    if (canvas < WORLD_CANVAS_MIN || canvas > WORLD_CANVAS || canvas % WORLD_PATCH != 0) {
        snprintf(err, err_size,
                 "canvas must be a multiple of %d from %d to %d, found %d; use 336 or, for windows, 168",
                 WORLD_PATCH, WORLD_CANVAS_MIN, WORLD_CANVAS, canvas);
        return -1;
    }
    struct world_rng rng = world_rng_start(seed, suite, picture, 0);
    memset(scene, 0, sizeof *scene);
    scene->canvas = canvas;
    background_draw(scene, &rng);
    int least = canvas == WORLD_CANVAS ? 3 : 1, n_numbers = 0;
    if (percent > 0 && world_rng_below(&rng, 100) < percent)
        n_numbers = world_rng_between(&rng, 1, canvas == WORLD_CANVAS ? WORLD_MAX_NUMBERS : 2);
    do
        scene_populate(scene, n_numbers, &rng);
    while (scene->n_objects - scene->n_numbers < least || (n_numbers > 0 && scene->n_numbers == 0));
    return 0;
}

/* ---- pixels and labels ---------------------------------------------------------------------- */

static int background_texture(const struct scene *scene, int x, int y)
{
    int cell = scene->texture_cell, amplitude = scene->texture_amplitude;
    switch (scene->texture) {
    case 1:
        return ((x / cell + y / cell) & 1) ? amplitude : -amplitude;
    case 2:
        return ((y / cell) & 1) ? amplitude : -amplitude;
    case 3:
        return (((x + y) / cell) & 1) ? amplitude : -amplitude;
    case 4: {
        int most = amplitude * 7 / 5;
        uint64_t block = (uint64_t)(y / cell) * 64 + (uint64_t)(x / cell);
        uint64_t draw = mix64(scene->noise + block * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
        return (int)((draw * (uint64_t)(2 * most + 1)) >> 32) - most;
    }
    default:
        return 0;
    }
}

size_t scene_rgb_bytes(const struct scene *scene)
{
    return (size_t)scene->canvas * (size_t)scene->canvas * 3;
}

static void background_render(uint8_t *rgb, const struct scene *scene)
{
    int last = scene->canvas - 1;
    int dx = scene->gradient[0], dy = scene->gradient[1];
    int lowest = (dx < 0 ? dx * last : 0) + (dy < 0 ? dy * last : 0);
    int range = (dx < 0 ? -dx : dx) * last + (dy < 0 ? -dy : dy) * last;
    for (int y = 0; y < scene->canvas; y++)
        for (int x = 0; x < scene->canvas; x++, rgb += 3) {
            int gradient =
                scene->gradient_levels * (dx * x + dy * y - lowest) / range - scene->gradient_levels / 2;
            int add = gradient + background_texture(scene, x, y);
            for (int c = 0; c < 3; c++)
                rgb[c] = (uint8_t)(scene->background[c] + add); /* 70-16-20-18 … 150+16+20+18 fits */
        }
}

static void object_render(uint8_t *rgb, const struct scene *scene, const struct object *object)
{
    int dark_below = object->stripe_period * STRIPE_SHARE / 100;
    for (int y = object->y0; y < object->y0 + object->edge; y++)
        for (int x = object->x0; x < object->x0 + object->edge; x++) {
            if (!object_covers(object, x, y))
                continue;
            int along = object->stripe_direction == 0 ? y : object->stripe_direction == 1 ? x : x + y;
            int dark = object->texture == TEXTURE_STRIPED &&
                       (along + object->stripe_phase) % object->stripe_period < dark_below;
            uint8_t *pixel = rgb + ((size_t)y * (size_t)scene->canvas + (size_t)x) * 3;
            for (int c = 0; c < 3; c++)
                pixel[c] = dark ? (uint8_t)(object->rgb[c] * STRIPE_DARK / 100) : object->rgb[c];
        }
}

void scene_render(uint8_t *rgb, const struct scene *scene)
{
    background_render(rgb, scene);
    for (int i = 0; i < scene->n_objects; i++)
        object_render(rgb, scene, &scene->objects[i]);
}

void scene_label(uint8_t *owner, uint8_t *coverage, const struct scene *scene)
{
    int grid = scene->canvas / WORLD_PATCH;
    size_t n_patches = (size_t)grid * (size_t)grid;
    uint8_t best[WORLD_GRID_MAX * WORLD_GRID_MAX] = {
        0}; /* pixels of the object that covers most, up to 196 */
    memset(owner, WORLD_OWNER_BACKGROUND, n_patches);
    for (int i = 0; i < scene->n_objects; i++) {
        const struct object *object = &scene->objects[i];
        uint8_t covered[WORLD_GRID_MAX * WORLD_GRID_MAX] = {0};
        for (int y = object->y0; y < object->y0 + object->edge; y++)
            for (int x = object->x0; x < object->x0 + object->edge; x++) {
                size_t patch = (size_t)(y / WORLD_PATCH * grid + x / WORLD_PATCH);
                covered[patch] = (uint8_t)(covered[patch] + object_covers(object, x, y));
            }
        for (size_t p = 0; p < n_patches; p++)
            if (covered[p] > best[p]) {
                best[p] = covered[p];
                owner[p] =
                    covered[p] * 100 >= OWNER_PERCENT * PATCH_PIXELS ? (uint8_t)i : WORLD_OWNER_AMBIGUOUS;
            }
    }
    for (int i = 0; i < scene->n_objects; i++)
        owner[object_anchor(&scene->objects[i], grid)] = (uint8_t)i;
    for (size_t p = 0; p < n_patches; p++)
        coverage[p] = (uint8_t)((best[p] * 255 + PATCH_PIXELS / 2) / PATCH_PIXELS);
}
