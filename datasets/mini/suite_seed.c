/*
 * mini-seed: the image part of SEED-Bench and LLaVA's question file, four questions a picture, all with four
 * options. The kinds of question stand for SEED's dimensions; two of them (interaction, reasoning) have none.
 */
#include "forms.h"
#include "phrase.h"
#include "questions.h"
#include "suite_files.h"
#include "suite_twin.h"
#include "world.h"

#include <stdio.h>  /* fprintf */
#include <string.h> /* strncmp */

enum { DIMENSIONS = 12, FIRST_ID = 100001 };

static const char *const dimensions[DIMENSIONS + 1] = {NULL,
                                                       "Scene Understanding",
                                                       "Instance Identity",
                                                       "Instance Attributes",
                                                       "Instance Location",
                                                       "Instances Counting",
                                                       "Spatial Relation",
                                                       "Instance Interaction",
                                                       "Visual Reasoning",
                                                       "Text Understanding",
                                                       "Action Recognition",
                                                       "Action Prediction",
                                                       "Procedure Understanding"};

/* "What color is the leftmost object?" with options: the world asks it openly. The letter is the one given
 * least. */
static int ask_extreme(struct question *q, const struct scene *scene, struct question_ledger *ledger,
                       struct world_rng *rng)
{
    int by_color = world_rng_below(rng, 2);
    if (question_ask_form(q, by_color ? FORM_EXTREME_COLOR : FORM_EXTREME_SHAPE, 0, NULL, 0, scene, ledger,
                          rng) != 0)
        return -1;
    enum attribute attribute = by_color ? COLOR : SHAPE;
    long *letters = ledger->letters[QUESTION_EXTREME][QUESTION_OPTIONS];
    int values[QUESTION_OPTIONS], n = 0, place = 0;
    for (int i = 1; i < QUESTION_OPTIONS; i++)
        place = letters[i] < letters[place] ? i : place;
    letters[place]++;
    int right = value_of(scene, q->targets[0], attribute);
    for (int tries = 0; n < QUESTION_OPTIONS - 1; tries++) {
        int value =
            tries < 8 ? value_of(scene, random_object(scene, rng), attribute) : world_rng_below(rng, 8);
        int taken = value == right;
        for (int i = 0; i < n; i++)
            taken |= values[i] == value;
        if (!taken)
            values[n++] = value;
    }
    for (int i = 0, wrong = 0; i < QUESTION_OPTIONS; i++) {
        put(q, (const char[]){'\n', (char)('A' + i), '.', ' ', '\0'});
        put_option(q, attribute_name(attribute, i == place ? right : values[wrong++]), i == place);
    }
    set_answer(q, (const char[]){(char)('A' + place), '\0'});
    return 0;
}

/* One question of the k-th kind; its dimension, or -1. */
static int ask(struct question *q, int k, const struct question *asked, int n_asked,
               const struct scene *scene, struct question_ledger *ledger, struct world_rng *rng)
{
    static const struct {
        enum form form;
        int dimension;
    } kinds[5] = {
        {FORM_MC_SHAPE, 2}, {FORM_MC_COLOR, 3}, {FORM_MC_WHERE, 4}, {FORM_MC_COUNT, 5}, {FORM_MC_NUMBER, 9}};
    if (k == 5)
        return ask_extreme(q, scene, ledger, rng) == 0 ? 6 : -1;
    if (question_ask_form(q, (int)kinds[k].form, QUESTION_OPTIONS, asked, n_asked, scene, ledger, rng) != 0)
        return -1;
    return strncmp(q->text, "How many objects ", 17) == 0 ? 1 : kinds[k].dimension;
}

static void write_question(FILE *file, const struct question *q, int id, int dimension, const char *image)
{
    fprintf(file, "{\"answer\": \"%s\", ", q->answer);
    for (int i = 0; i < q->n_options; i++) {
        struct span span = q->options[i].span;
        fprintf(file, "\"choice_%c\": \"%.*s\", ", 'a' + i, span.end - span.begin, q->text + span.begin);
    }
    fprintf(file, "\"data_id\": \"%s\", \"data_type\": \"image\", \"question\": \"%.*s\", ", image,
            question_stem(q), q->text);
    fprintf(file, "\"question_id\": \"%d\", \"question_type_id\": %d}", id, dimension);
}

int suite_write_seed(struct twin *twin)
{
    enum { PER_PICTURE = 4, KINDS = 6 };
    FILE *rows = twin_file(twin, "", "llava-seed-bench.jsonl");
    FILE *official = rows ? twin_file(twin, "", "SEED-Bench.json") : NULL;
    if (!official)
        return -1;
    fputs("{\"questions\": [", official);
    for (int i = 0, total = 0; i < twin->count; i++) {
        struct scene scene;
        struct question questions[PER_PICTURE];
        char image[32], path[64];
        struct world_rng rng = twin_rng(twin, i, STREAM_QUESTIONS);
        snprintf(image, sizeof image, "%d_%d", 1000001 + i, 2000000001 + 7 * i);
        snprintf(path, sizeof path, "SEED-Bench-image/%s", image);
        if (twin_scene(&scene, twin, i) != 0 || twin_picture(twin, &scene, "SEED-Bench-image", image) != 0)
            return -1;
        for (int k = 0, n = 0; k < 2 * KINDS && n < PER_PICTURE; k++) {
            struct question *q = &questions[n];
            int dimension = ask(q, (i + k) % KINDS, questions, n, &scene, &twin->ledger, &rng);
            if (dimension < 0)
                continue;
            int id = FIRST_ID + total;
            fputs(total ? ",\n" : "\n", official);
            write_question(official, q, id, dimension, image);
            fprintf(rows, "{\"image\": \"%s\", \"text\": \"", path);
            write_text(rows, q->text);
            fprintf(rows, "%s\", \"category\": \"%s\", \"question_id\": %d}\n", SUFFIX_LETTER,
                    dimensions[dimension], id);
            total++;
            n++;
        }
    }
    fputs("\n], \"question_type\": {", official);
    for (int d = 1; d <= DIMENSIONS; d++)
        fprintf(official, "%s\"%s\": %d", d > 1 ? ", " : "", dimensions[d], d);
    fputs("}}\n", official);
    return 0;
}
