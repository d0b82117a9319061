/* Clips of the miniature world: see clip.h. */
#include "clip.h"

#include "avi_encode.h"

#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* malloc, free */

const char *const clip_directions[CLIP_DIRECTIONS] = {"left", "right", "up", "down"};

enum { BORDER = 3, GAP = 6 }; /* px, as in scenes */

static int *place_of(struct object *object, int axis)
{
    return axis ? &object->y0 : &object->x0;
}

/* Whether object i, moved to `place` on the axis, keeps its distance from all others and the border. */
static int is_free(const struct scene *scene, int i, int axis, int place)
{
    struct object moved = scene->objects[i];
    *place_of(&moved, axis) = place;
    if (place < BORDER || place + moved.edge > scene->canvas - BORDER)
        return 0;
    for (int k = 0; k < scene->n_objects; k++) {
        const struct object *other = &scene->objects[k];
        if (k != i && moved.x0 < other->x0 + other->edge + GAP && other->x0 < moved.x0 + moved.edge + GAP &&
            moved.y0 < other->y0 + other->edge + GAP && other->y0 < moved.y0 + moved.edge + GAP)
            return 0;
    }
    return 1;
}

int clip_plan(struct clip *clip, const struct scene *scene, enum clip_direction direction,
              struct world_rng *rng)
{
    int axis = direction >= CLIP_UP, backwards = direction == CLIP_LEFT || direction == CLIP_UP;
    int n = scene->n_objects, first = world_rng_below(rng, n);
    *clip = (struct clip){.scene = *scene,
                          .direction = direction,
                          .n_frames = world_rng_between(rng, CLIP_FRAMES_MIN, CLIP_FRAMES_MAX)};
    for (int k = 0; k < n; k++) {
        int i = (first + k) % n, low, high;
        int *place = place_of(&clip->scene.objects[i], axis);
        for (low = *place; is_free(scene, i, axis, low - 1);)
            low--;
        for (high = *place; is_free(scene, i, axis, high + 1);)
            high++;
        int slowest = (CLIP_WAY_MIN + clip->n_frames - 2) / (clip->n_frames - 1);
        int fastest = (high - low) / (clip->n_frames - 1);
        if (fastest < slowest)
            continue;
        clip->mover = i;
        clip->step = world_rng_between(rng, slowest, fastest);
        int way = clip->step * (clip->n_frames - 1);
        *place =
            backwards ? world_rng_between(rng, low + way, high) : world_rng_between(rng, low, high - way);
        return 0;
    }
    return -1;
}

void clip_scene(struct scene *scene, const struct clip *clip, int t)
{
    *scene = clip->scene;
    int axis = clip->direction >= CLIP_UP;
    int sign = clip->direction == CLIP_LEFT || clip->direction == CLIP_UP ? -1 : 1;
    *place_of(&scene->objects[clip->mover], axis) += sign * clip->step * t;
}

int clip_encode(uint8_t **bytes, size_t *size, const struct clip *clip, char *err, size_t err_size)
{
    const uint8_t *frames[CLIP_FRAMES_MAX];
    size_t frame_bytes = scene_rgb_bytes(&clip->scene);
    uint8_t *rgb = malloc(frame_bytes * (size_t)clip->n_frames);
    *bytes = NULL;
    if (!rgb) {
        snprintf(err, err_size, "out of memory for a clip");
        return -1;
    }
    for (int t = 0; t < clip->n_frames; t++) {
        struct scene scene;
        uint8_t *frame = rgb + frame_bytes * (size_t)t;
        clip_scene(&scene, clip, t);
        scene_render(frame, &scene);
        frames[t] = frame;
    }
    int status = avi_encode(bytes, size, frames, clip->n_frames, clip->scene.canvas, clip->scene.canvas,
                            CLIP_FPS, err, err_size);
    free(rgb);
    return status;
}
