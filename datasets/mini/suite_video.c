/*
 * mini-tgif, mini-msvd, mini-msrvtt and mini-activitynet: short clips in which one object moves, and the
 * question and answer lists of the zero-shot protocol, five questions a clip. TGIF's are those of its frame
 * questions (object, number, color, location), ActivityNet's of all its types, the other two ask what and how
 * many. What is asked of a place is asked of objects that rest; all else holds in every frame, but for the
 * motion:
 *
 *   Which way does the red star move?        left, right, up, down
 *   What shape is the object that moves?
 *   Does the red star move?                  yes, no
 *
 * Questions stay in the world's words, with a capital and a question mark.
 */
#include "clip.h"
#include "forms.h"
#include "phrase.h"
#include "questions.h"
#include "suite_files.h"
#include "suite_twin.h"
#include "world.h"

#include <stdio.h>  /* fprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

enum { PER_CLIP = 5, TRIES = 8, OBJECTS_MIN = 3 /* so that counts above one are common */ };

/* Kinds of questions beside the forms of forms.h. */
enum { ASK_DIRECTION = QUESTION_FORMS, ASK_MOVER, ASK_MOVES, KIND_END };

struct kind {
    int ask;  /* a form or one of the above */
    int type; /* the number in the answer file */
};

static const struct kind tgif[] = {{FORM_SHAPE, 0}, {FORM_COUNT_SHAPE, 1}, {FORM_COLOR, 2}, {FORM_POS_X, 3},
                                   {ASK_MOVER, 0},  {FORM_COUNT_COLOR, 1}, {FORM_POS_Y, 3}, {KIND_END, 0}};
static const struct kind msvd[] = {{FORM_COLOR, 3},       {ASK_MOVER, 3}, {FORM_COUNT_ALL, 3},
                                   {FORM_SHAPE, 3},       {FORM_SIZE, 3}, {FORM_COUNT_SHAPE, 3},
                                   {FORM_COUNT_COLOR, 3}, {KIND_END, 0}};
static const struct kind msrvtt[] = {{ASK_DIRECTION, 3}, {FORM_COLOR, 3}, {FORM_COUNT_COLOR, 3},
                                     {FORM_SHAPE, 3},    {ASK_MOVER, 3},  {FORM_COUNT_SHAPE, 3},
                                     {KIND_END, 0}};
static const struct kind activitynet[] = {
    {ASK_DIRECTION, 0},    {FORM_RELC_X, 1}, {FORM_EXIST, 3},        {FORM_COLOR, 4},
    {ASK_MOVER, 5},        {FORM_POS_X, 6},  {FORM_COUNT_SHAPE, 7},  {FORM_SIZE, 8},
    {ASK_MOVES, 3},        {FORM_RELC_Y, 1}, {FORM_VERIFY_COLOR, 3}, {FORM_POS_Y, 6},
    {FORM_COUNT_COLOR, 7}, {FORM_SHAPE, 5},  {FORM_TEXTURE, 8},      {KIND_END, 0}};

/* How a set is called, its clips, their files and its ids. */
static const struct set {
    const char *twin;
    const struct kind *kinds;
    const char *video, *file, *id; /* printf forms: of a number, of a video, of a video and a number */
} sets[] = {{"mini-tgif", tgif, "tumblr_mini%06do1_250", "%s.avi", "FRAMEQA_%s_%d"},
            {"mini-msvd", msvd, "mini%07d_0_4", "%s.avi", "v_%s_%d"},
            {"mini-msrvtt", msrvtt, "video%d", "%s.avi", "v_%s_%d"},
            {"mini-activitynet", activitynet, "mini%07d", "v_%s.avi", "v_%s_%d"}};

static int ask_motion(struct question *q, int ask, const struct clip *clip, long moves[2],
                      struct world_rng *rng)
{
    const struct scene *scene = &clip->scene;
    *q = (struct question){.form = FORM_SHAPE};
    if (ask == ASK_MOVER) {
        put(q, "What shape is the object that moves?");
        set_answer(q, world_shapes[scene->objects[clip->mover].shape]);
        return 0;
    }
    int moving = ask == ASK_DIRECTION || moves[1] <= moves[0], i = clip->mover;
    if (!moving)
        i = (clip->mover + 1 + world_rng_below(rng, scene->n_objects - 1)) % scene->n_objects;
    put(q, ask == ASK_DIRECTION ? "Which way does the " : "Does the ");
    if (put_name(q, scene, i, ANY, rng) != 0)
        return -1;
    put(q, " move?");
    set_answer(q, ask == ASK_DIRECTION ? clip_directions[clip->direction] : moving ? "Yes" : "No");
    if (ask == ASK_MOVES)
        moves[moving]++;
    return 0;
}

/* Whether the answer could change while the clip runs. */
static int depends_on_motion(const struct question *q, const struct clip *clip)
{
    int is_place = q->type == QUESTION_POS || q->type == QUESTION_RELC;
    for (int t = 0; t < q->n_targets; t++)
        if (is_place && q->targets[t] == clip->mover)
            return 1;
    return 0;
}

static int ask(struct question *q, int kind, const struct question *asked, int n_asked,
               const struct clip *clip, struct twin *twin, long moves[2], struct world_rng *rng)
{
    if (kind >= QUESTION_FORMS)
        return ask_motion(q, kind, clip, moves, rng);
    struct question_ledger before = twin->ledger;
    for (int attempt = 0; attempt < TRIES; attempt++) {
        if (question_ask_form(q, kind, 0, asked, n_asked, &clip->scene, &twin->ledger, rng) != 0)
            break;
        if (!depends_on_motion(q, clip))
            return 0;
        twin->ledger = before;
    }
    return -1;
}

/* Clip i moves in direction i mod 4, so that each is as frequent. */
static int clip_draw(struct clip *clip, struct twin *twin, int i, struct world_rng *rng)
{
    for (int spare = 0;; spare++) {
        struct scene scene;
        if (scene_draw(&scene, CLIP_CANVAS, twin->seed, twin->name,
                       (uint64_t)i + (uint64_t)spare * SPARE_PICTURE, twin->err, twin->err_size) != 0)
            return -1;
        if (scene.n_objects >= OBJECTS_MIN && clip_plan(clip, &scene, (enum clip_direction)(i % 4), rng) == 0)
            return 0;
    }
}

static int clip_write(const struct clip *clip, struct twin *twin, const char *name)
{
    uint8_t *bytes;
    size_t size;
    if (clip_encode(&bytes, &size, clip, twin->err, twin->err_size) != 0)
        return -1;
    int status = twin_write(twin, "videos", name, bytes, size);
    free(bytes);
    return status;
}

static const struct set *set_of(const struct twin *twin)
{
    const struct set *set = sets;
    while (strcmp(set->twin, twin->name) != 0)
        set++;
    return set;
}

int suite_write_video(struct twin *twin)
{
    const struct set *set = set_of(twin);
    FILE *rows = twin_file(twin, "", "test_q.json");
    FILE *golds = rows ? twin_file(twin, "", "test_a.json") : NULL;
    if (!golds)
        return -1;
    long moves[2] = {0};
    int n_kinds = 0, total = 0;
    while (set->kinds[n_kinds].ask != KIND_END)
        n_kinds++;
    fputs("[", rows);
    fputs("[", golds);
    for (int i = 0; i < twin->count; i++) {
        struct clip clip;
        struct question questions[PER_CLIP];
        struct world_rng motion = twin_rng(twin, i, STREAM_MOTION), rng = twin_rng(twin, i, STREAM_QUESTIONS);
        char video[40], file[48];
        snprintf(video, sizeof video, set->video, i + 1);
        snprintf(file, sizeof file, set->file, video);
        if (clip_draw(&clip, twin, i, &motion) != 0 || clip_write(&clip, twin, file) != 0)
            return -1;
        for (int k = 0, n = 0; k < n_kinds && n < PER_CLIP; k++) {
            const struct kind *kind = &set->kinds[(i * PER_CLIP + k) % n_kinds];
            if (ask(&questions[n], kind->ask, questions, n, &clip, twin, moves, &rng) != 0)
                continue;
            char id[64], answer[QUESTION_ANSWER_SIZE];
            snprintf(id, sizeof id, set->id, video, n);
            answer_lower(answer, questions[n].answer);
            const char *separator = total++ ? ",\n" : "\n";
            fprintf(rows, "%s{\"video_name\": \"%s\", \"question\": \"%s\", \"question_id\": \"%s\"}",
                    separator, video, questions[n].text, id);
            fprintf(golds, "%s{\"answer\": \"%s\", \"type\": %d, \"question_id\": \"%s\"}", separator, answer,
                    kind->type, id);
            n++;
        }
    }
    fputs("\n]\n", rows);
    fputs("\n]\n", golds);
    return 0;
}
