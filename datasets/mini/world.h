#ifndef WINNOW_DATASETS_MINI_WORLD_H
#define WINNOW_DATASETS_MINI_WORLD_H
/*
 * The miniature world: pictures of flat shapes on a textured background, drawn from a key.
 * Usage:
 *     struct scene scene;
 *     if (scene_draw(&scene, WORLD_CANVAS, seed, "train", picture, err, sizeof err)) ...
 *     uint8_t *rgb = malloc(scene_rgb_bytes(&scene));
 *     scene_render(rgb, &scene);                         // (canvas, canvas, 3), row-major, RGB
 *     scene_label(owner, coverage, &scene);              // (grid, grid) each, grid = canvas / WORLD_PATCH
 *
 * Same key, same bytes, on every machine: integers, and + - * / on double (build with -ffp-contract=off).
 * Nothing here allocates; a scene is plain data and may be copied.
 */
#include <stddef.h> /* size_t */
#include <stdint.h> /* uint8_t, uint64_t */

enum {
    WORLD_PATCH = 14,       /* px, edge of a patch of the vision tower */
    WORLD_CANVAS = 336,     /* px, edge of a whole picture; also the largest canvas */
    WORLD_CANVAS_MIN = 126, /* px, the smallest canvas that holds every size */
    WORLD_GRID_MAX = WORLD_CANVAS / WORLD_PATCH,
    WORLD_MAX_OBJECTS = 10,
    WORLD_COLORS = 8,
    WORLD_SHAPES = 8,
    WORLD_SIZES = 3,
    WORLD_TEXTURES = 2,
    WORLD_DIGITS = 10,
    WORLD_MAX_NUMBERS = 3,
    WORLD_TRAIN_NUMBERS = 50, /* percent of the training scenes that hold numbers */
    WORLD_OWNER_BACKGROUND = 255,
    WORLD_OWNER_AMBIGUOUS = 254
};

enum shape {
    SHAPE_CIRCLE,
    SHAPE_SQUARE,
    SHAPE_TRIANGLE,
    SHAPE_DIAMOND,
    SHAPE_STAR,
    SHAPE_CROSS,
    SHAPE_RING,
    SHAPE_HEART,
    SHAPE_DIGIT /* digit d is SHAPE_DIGIT + d */
};

enum texture { TEXTURE_PLAIN, TEXTURE_STRIPED };

extern const char *const world_colors[WORLD_COLORS];
extern const uint8_t world_rgb[WORLD_COLORS][3];
extern const char *const world_shapes[WORLD_SHAPES];
extern const char *const world_sizes[WORLD_SIZES];
extern const char *const world_textures[WORLD_TEXTURES];

/* Random numbers: splitmix64, started from a key so that no stream depends on how much another one drew. */
struct world_rng {
    uint64_t state;
};

/* Two keys that differ in any part give unrelated streams. */
struct world_rng world_rng_start(uint64_t seed, const char *suite, uint64_t picture, uint64_t stream);
uint64_t world_rng_next(struct world_rng *rng);
/* Uniform in 0 … n-1; n must be at least 1. */
int world_rng_below(struct world_rng *rng, int n);
/* Uniform in low … high, both included. */
int world_rng_between(struct world_rng *rng, int low, int high);
/* Index drawn with the given integer weights (sum at least 1). */
int world_rng_weighted(struct world_rng *rng, const int *weights, int n);

struct object {
    int color, shape, size, texture; /* indices into the name arrays; SHAPE_DIGIT and up: a number */
    int x0, y0, edge;                /* px, the box is [x0, x0+edge) x [y0, y0+edge) */
    uint8_t rgb[3];                  /* the colour after jitter */
    int stripe_period, stripe_phase; /* px */
    int stripe_direction;            /* 0 horizontal, 1 vertical, 2 diagonal */
};

struct scene {
    int canvas; /* px, edge */
    int n_objects;
    int n_numbers; /* the last n_numbers of the objects are numbers: one digit each, no two of one colour */
    struct object objects[WORLD_MAX_OBJECTS];
    int background[3];     /* levels */
    int gradient[2];       /* direction, x and y */
    int gradient_levels;   /* over the whole canvas */
    int texture;           /* 0 none, 1 checker, 2 stripes, 3 diagonal stripes, 4 block noise */
    int texture_cell;      /* px */
    int texture_amplitude; /* levels */
    uint64_t noise;        /* key of the block noise */
};

/*
 * Draws the scene of (seed, suite, picture): 3 to 10 objects on a whole canvas, fewer on a smaller one (1 to
 * 4 on 168). canvas: a multiple of WORLD_PATCH in WORLD_CANVAS_MIN … WORLD_CANVAS. Returns 0, or -1 with a
 * message in err.
 */
int scene_draw(struct scene *scene, int canvas, uint64_t seed, const char *suite, uint64_t picture, char *err,
               size_t err_size);

/*
 * The same with numbers: `percent` of the scenes (0 … 100) hold 1 to 3 of them (1 or 2 on a smaller canvas)
 * among the other objects. With 0 it is scene_draw, byte for byte. Numbers are plain, medium or large.
 */
int scene_draw_numbers(struct scene *scene, int canvas, uint64_t seed, const char *suite, uint64_t picture,
                       int percent, char *err, size_t err_size);

/* Objects that are not numbers: the first ones. */
int scene_shapes(const struct scene *scene);

/* The digit 0 … 9 of a number, -1 for any other object. */
int object_digit(const struct object *object);

/* Bytes of the rendered picture: canvas x canvas x 3. */
size_t scene_rgb_bytes(const struct scene *scene);

/* rgb: (canvas, canvas, 3), caller's. */
void scene_render(uint8_t *rgb, const struct scene *scene);

/*
 * owner, coverage: (grid, grid), caller's. owner is the index of the object that covers most of the patch if
 * that is at least 12 % of it, WORLD_OWNER_AMBIGUOUS if less but not nothing, else WORLD_OWNER_BACKGROUND;
 * the patch that holds an object's centre always belongs to it. coverage is 255 x the share covered by the
 * owner (or the largest of the ambiguous), rounded.
 */
void scene_label(uint8_t *owner, uint8_t *coverage, const struct scene *scene);

/* Index, in the grid, of the patch that holds the object's centre. */
int object_anchor(const struct object *object, int grid);

/* Twice the centre's coordinate: x for axis 0, y for axis 1 (doubled so that it is an integer). */
int object_center2(const struct object *object, int axis);

#endif
