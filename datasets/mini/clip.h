#ifndef WINNOW_DATASETS_MINI_CLIP_H
#define WINNOW_DATASETS_MINI_CLIP_H
/*
 * Clips of the miniature world: a small scene in which one object moves in a straight line and the others
 * rest.
 *
 *     struct clip clip;
 *     if (clip_plan(&clip, &scene, CLIP_LEFT, &rng) == 0) ...   // -1: no object has room; try another scene
 *     clip_encode(&bytes, &size, &clip, err, sizeof err);       // the whole AVI file
 */
#include <stddef.h> /* size_t */
#include <stdint.h> /* uint8_t */

#include "world.h"

enum clip_direction { CLIP_LEFT, CLIP_RIGHT, CLIP_UP, CLIP_DOWN, CLIP_DIRECTIONS };

enum {
    CLIP_CANVAS = 168, /* px */
    CLIP_FRAMES_MIN = 8,
    CLIP_FRAMES_MAX = 12,
    CLIP_FPS = 4,
    CLIP_WAY_MIN = 40 /* px that the object travels at least */
};

extern const char *const clip_directions[CLIP_DIRECTIONS]; /* "left", "right", "up", "down" */

struct clip {
    struct scene scene; /* the first frame */
    int n_frames;
    int mover; /* index of the object that moves */
    enum clip_direction direction;
    int step; /* px a frame */
};

/*
 * Lets an object of the scene move in that direction without meeting another one; draws which object, where
 * it starts and for how many frames. Returns -1 if none has room.
 */
int clip_plan(struct clip *clip, const struct scene *scene, enum clip_direction direction,
              struct world_rng *rng);

/* The scene at frame t, 0 … n_frames-1. */
void clip_scene(struct scene *scene, const struct clip *clip, int t);

/* The clip as an AVI file; *bytes is the caller's to free. Returns 0, or -1 with a message in err. */
int clip_encode(uint8_t **bytes, size_t *size, const struct clip *clip, char *err, size_t err_size);

#endif
