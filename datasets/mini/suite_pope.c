/*
 * mini-pope: POPE's three label files and LLaVA's question file. It is balanced exactly (pope_plan.h): in
 * each of the files every asked name ("red star") is as often present as absent, so that a model that sees
 * nothing stays at one half.
 */
#include "pope_plan.h"
#include "suite_files.h"
#include "suite_twin.h"
#include "world.h"

#include <stdio.h>  /* fprintf */
#include <stdlib.h> /* calloc, free */

#define POPE_IMAGE "COCO_val2014_%012d.png"

/* Takes a random name out of the set. */
static int random_name(uint64_t *set, struct world_rng *rng)
{
    int members[POPE_NAMES], n = 0;
    for (int a = 0; a < POPE_NAMES; a++)
        if (*set >> a & 1)
            members[n++] = a;
    int name = members[world_rng_below(rng, n)];
    *set &= ~(UINT64_C(1) << name);
    return name;
}

/* Writes the plan's questions, yes and no by turns as in POPE, to the label file and to the question file. */
static void write_pope_plan(FILE *labels, FILE *questions, const struct pope_plan *plan, enum pope_kind kind,
                            struct world_rng *rng)
{
    static const long first_ids[POPE_KINDS] = {1, 10000001, 20000001};
    long asked = 0;
    for (int i = 0; i < plan->n; i++) {
        uint64_t left[2] = {plan->no[i], plan->yes[i]};
        for (int yes = 1; left[0] || left[1]; yes = !yes) {
            if (!left[yes])
                continue;
            int name = random_name(&left[yes], rng);
            const char *color = world_colors[name / WORLD_SHAPES], *shape = world_shapes[name % WORLD_SHAPES];
            char image[48], text[64];
            snprintf(image, sizeof image, POPE_IMAGE, i + 1);
            snprintf(text, sizeof text, "Is there a%s %s %s in the image?", *color == 'o' ? "n" : "", color,
                     shape);
            fprintf(labels,
                    "{\"question_id\": %ld, \"image\": \"%s\", \"text\": \"%s\", \"label\": \"%s\"}\n",
                    asked + 1, image, text, yes ? "yes" : "no");
            fprintf(questions, "{\"question_id\": %ld, ", first_ids[kind] + asked);
            write_row(questions, image, text, SUFFIX_WORD, pope_kinds[kind]);
            asked++;
        }
    }
}

int suite_write_pope(struct twin *twin)
{
    FILE *questions = twin_file(twin, "", "llava_pope_test.jsonl");
    if (!questions)
        return -1;
    int status = -1;
    uint64_t *names = calloc((size_t)twin->count, sizeof *names);
    if (!names) {
        snprintf(twin->err, twin->err_size, "out of memory for mini-pope");
        return -1;
    }
    for (int i = 0; i < twin->count; i++) {
        struct scene scene;
        char image[48];
        snprintf(image, sizeof image, POPE_IMAGE, i + 1);
        if (twin_scene(&scene, twin, i) != 0 || twin_picture(twin, &scene, "val2014", image) != 0)
            goto exit;
        names[i] = pope_names(&scene);
    }
    for (int k = 0; k < POPE_KINDS; k++) {
        struct world_rng rng = twin_rng(twin, k, STREAM_PLAN);
        struct pope_plan plan = {0};
        char file[48];
        snprintf(file, sizeof file, "coco_pope_%s.json", pope_kinds[k]);
        FILE *labels = twin_file(twin, "coco", file);
        int failed = !labels || pope_plan_make(&plan, (enum pope_kind)k, names, twin->count, &rng, twin->err,
                                               twin->err_size) != 0;
        if (!failed)
            write_pope_plan(labels, questions, &plan, (enum pope_kind)k, &rng);
        pope_plan_free(&plan);
        if (failed)
            goto exit;
    }
    status = 0;
exit:
    free(names);
    return status;
}
