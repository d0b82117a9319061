/*
 * mini-mmbench and mini-mmbench-cn: MMBench's table, one question a picture with two, three or four options,
 * asked once in every rotation of them: in pass k (index + k * 1,000,000) the options stand k places to the
 * right and the answer with them. All first passes come first, as in the official table. Every fourth
 * question has a hint, a true sentence about something else.
 */
#include "forms.h"
#include "questions.h"
#include "suite_files.h"
#include "suite_twin.h"
#include "world.h"

#include <stdio.h>  /* fprintf */
#include <stdlib.h> /* calloc, free */
#include <string.h> /* strcmp */

enum { ROTATION = 1000000, FIRST_INDEX = 101 };

/* Kinds of questions by MMBench's categories; `pair`: there are only two options. */
static const struct kind {
    enum form form;
    int pair;
    const char *category, *l2_category;
} kinds[] = {
    {FORM_MC_COLOR, 0, "attribute_recognition", "finegrained_perception (instance-level)"},
    {FORM_MC_RELC_X, 1, "spatial_relationship", "finegrained_perception (cross-instance)"},
    {FORM_MC_COUNT, 0, "object_localization", "finegrained_perception (instance-level)"},
    {FORM_MC_RELC_Y, 1, "spatial_relationship", "finegrained_perception (cross-instance)"},
    {FORM_MC_SHAPE, 0, "attribute_recognition", "finegrained_perception (instance-level)"},
    {FORM_MC_POS_X, 1, "image_scene", "coarse_perception"},
    {FORM_MC_WHERE, 0, "image_scene", "coarse_perception"},
    {FORM_MC_POS_Y, 1, "image_scene", "coarse_perception"},
    {FORM_MC_NUMBER, 0, "ocr", "finegrained_perception (instance-level)"},
};

enum { KINDS = (int)(sizeof kinds / sizeof kinds[0]) };

struct item {
    struct question question;
    const struct kind *kind;
    char hint[QUESTION_TEXT_SIZE];
    char *picture; /* base64, malloc'd */
};

/* The question of picture i: its number of options is given, its kind is the next one that comes off. */
static int item_ask(struct item *item, struct twin *twin, int i, const struct scene *scene)
{
    static const int option_counts[4] = {4, 2, 3, 4};
    struct world_rng rng = twin_rng(twin, i, STREAM_QUESTIONS);
    int n = option_counts[i % 4], first = world_rng_below(&rng, KINDS);
    for (int k = 0; k < KINDS; k++) {
        item->kind = &kinds[(first + k) % KINDS];
        if (item->kind->pair && n != 2)
            continue;
        if (question_ask_form(&item->question, (int)item->kind->form, n, NULL, 0, scene, &twin->ledger,
                              &rng) != 0)
            continue;
        unsigned avoid = 0;
        for (int t = 0; t < item->question.n_targets; t++)
            avoid |= 1u << item->question.targets[t];
        if (world_rng_below(&rng, 4) == 0)
            scene_hint_except(item->hint, sizeof item->hint, scene, avoid, &rng);
        return 0;
    }
    return -1;
}

static void write_pass(FILE *file, const struct item *item, int index, int pass)
{
    const struct question *q = &item->question;
    int n = q->n_options, right = 0;
    fprintf(file, "%d\t%.*s\t%s", index + pass * ROTATION, question_stem(q), q->text, item->hint);
    for (int i = 0; i < QUESTION_OPTIONS; i++) {
        fputc('\t', file);
        if (i >= n)
            continue;
        const struct option *option = &q->options[(i + n - pass) % n];
        fprintf(file, "%.*s", option->span.end - option->span.begin, q->text + option->span.begin);
        right = option->right ? i : right;
    }
    fprintf(file, "\t%c\t%s\t%s\twinnow world\t%s\t\tdev\n", 'A' + right, item->kind->category, item->picture,
            item->kind->l2_category);
}

int suite_write_mmbench(struct twin *twin)
{
    FILE *table = twin_file(twin, "",
                            strcmp(twin->name, "mini-mmbench-cn") == 0 ? "mmbench_dev_cn_20231003.tsv"
                                                                       : "mmbench_dev_20230712.tsv");
    if (!table)
        return -1;
    int status = -1;
    struct item *items = calloc((size_t)twin->count, sizeof *items);
    if (!items)
        return twin_failed(twin, "out of memory for its questions");
    for (int i = 0; i < twin->count; i++) {
        struct scene scene;
        uint8_t *bytes;
        size_t size;
        int spare = 0;
        do
            if (twin_scene(&scene, twin, i + spare++ * SPARE_PICTURE) != 0)
                goto exit;
        while (item_ask(&items[i], twin, i, &scene) != 0);
        if (picture_encode(&bytes, &size, &scene, twin->err, twin->err_size) != 0)
            goto exit;
        items[i].picture = base64_text(bytes, size);
        free(bytes);
        if (!items[i].picture) {
            twin_failed(twin, "out of memory for its pictures");
            goto exit;
        }
    }
    fputs("index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsource\tl2-category\tcomment\tsplit\n",
          table);
    for (int pass = 0; pass < QUESTION_OPTIONS; pass++)
        for (int i = 0; i < twin->count; i++)
            if (pass < items[i].question.n_options)
                write_pass(table, &items[i], FIRST_INDEX + i, pass);
    status = 0;
exit:
    for (int i = 0; i < twin->count; i++)
        free(items[i].picture);
    free(items);
    return status;
}
