/*
 * The dump that a miniature is trained on: pictures, the labels of their patches, what is in them, and
 * questions with the places of their words.
 */
#include "suite.h"

#include "questions.h"
#include "suite_files.h"
#include "suite_twin.h" /* STREAM_QUESTIONS */
#include "world.h"

#include <stdio.h>  /* fprintf */
#include <stdlib.h> /* calloc, free */

static void write_names(FILE *file, const char *key, const char *const *names, int n)
{
    fprintf(file, ", \"%s\": [", key);
    for (int i = 0; i < n; i++)
        fprintf(file, "%s\"%s\"", i ? ", " : "", names[i]);
    fputs("]", file);
}

static void write_world(FILE *file, const struct train_options *options)
{
    fprintf(
        file,
        "{\"suite\": \"train\", \"seed\": %llu, \"count\": %d, \"canvas\": %d, \"patch\": %d, \"grid\": %d, ",
        (unsigned long long)options->seed, options->count, options->canvas, WORLD_PATCH,
        options->canvas / WORLD_PATCH);
    fprintf(file, "\"questions\": %d, \"background\": %d, \"ambiguous\": %d", options->questions,
            WORLD_OWNER_BACKGROUND, WORLD_OWNER_AMBIGUOUS);
    write_names(file, "colors", world_colors, WORLD_COLORS);
    fputs(", \"rgb\": [", file);
    for (int i = 0; i < WORLD_COLORS; i++)
        fprintf(file, "%s[%d, %d, %d]", i ? ", " : "", world_rgb[i][0], world_rgb[i][1], world_rgb[i][2]);
    fputs("]", file);
    write_names(file, "shapes", world_shapes, WORLD_SHAPES);
    write_names(file, "sizes", world_sizes, WORLD_SIZES);
    write_names(file, "textures", world_textures, WORLD_TEXTURES);
    write_names(file, "types", question_types, QUESTION_TYPES);
    fputs("}\n", file);
}

static void write_scene(FILE *file, const struct scene *scene)
{
    fputs("{\"objects\": [", file);
    for (int i = 0; i < scene->n_objects; i++) {
        const struct object *o = &scene->objects[i];
        int x2 = object_center2(o, 0), y2 = object_center2(o, 1);
        fprintf(file, "%s{\"color\": %d, \"shape\": %d, \"size\": %d, \"texture\": %d, ", i ? ", " : "",
                o->color, o->shape, o->size, o->texture);
        fprintf(file, "\"box\": [%d, %d, %d, %d], \"center\": [%d%s, %d%s], \"anchor\": %d}", o->x0, o->y0,
                o->x0 + o->edge, o->y0 + o->edge, x2 / 2, x2 % 2 ? ".5" : "", y2 / 2, y2 % 2 ? ".5" : "",
                object_anchor(o, scene->canvas / WORLD_PATCH));
    }
    fputs("]}\n", file);
}

static void write_span(FILE *file, struct span span)
{
    if (span.end > span.begin)
        fprintf(file, "[%d, %d]", span.begin, span.end);
    else
        fputs("null", file);
}

static void write_phrase(FILE *file, const struct question *q, const struct phrase *phrase)
{
    fprintf(file, "{\"text\": \"%.*s\", \"words\": [", phrase->text.end - phrase->text.begin,
            q->text + phrase->text.begin);
    for (int w = 0; w < phrase->n_words; w++) {
        fputs(w ? ", " : "", file);
        write_span(file, phrase->words[w]);
    }
    fputs("], \"noun\": ", file);
    write_span(file, phrase->words[phrase->n_words - 1]);
    fputs(", \"objects\": [", file);
    const char *separator = "";
    for (int i = 0; i < WORLD_MAX_OBJECTS; i++)
        if (phrase->objects >> i & 1) {
            fprintf(file, "%s%d", separator, i);
            separator = ", ";
        }
    fputs("]}", file);
}

/* scene, if given, adds a hint to a question of multiple choice. */
static void write_question(FILE *file, const struct question *q, const struct scene *scene,
                           struct world_rng *rng)
{
    fprintf(file, "{\"type\": \"%s\", \"form\": \"%s\", \"text\": \"", question_types[q->type],
            question_form_name(q->form));
    write_text(file, q->text);
    fprintf(file, "\", \"answer\": \"%s\", \"phrases\": [", q->answer);
    for (int i = 0; i < q->n_phrases; i++) {
        fputs(i ? ", " : "", file);
        write_phrase(file, q, &q->phrases[i]);
    }
    fputs("], \"key\": ", file);
    write_span(file, q->key);
    fputs(", \"options\": [", file);
    for (int i = 0; i < q->n_options; i++) {
        struct span span = q->options[i].span;
        fprintf(file, "%s{\"text\": \"%.*s\", \"span\": ", i ? ", " : "", span.end - span.begin,
                q->text + span.begin);
        write_span(file, span);
        fprintf(file, ", \"right\": %s}", q->options[i].right ? "true" : "false");
    }
    fputs("], \"targets\": [", file);
    for (int i = 0; i < q->n_targets; i++)
        fprintf(file, "%s%d", i ? ", " : "", q->targets[i]);
    fputs("]", file);
    char hint[QUESTION_TEXT_SIZE];
    unsigned avoid = 0;
    for (int i = 0; i < q->n_targets; i++)
        avoid |= 1u << q->targets[i];
    if (scene && q->type == QUESTION_MC && scene_hint_except(hint, sizeof hint, scene, avoid, rng) == 0)
        fprintf(file, ", \"hint\": \"%s\"", hint);
    fputs("}", file);
}

/* Shares of the open types, in percent: without numbers in the world and with them. */
static const int train_weights[2][QUESTION_TYPES] = {{[QUESTION_EXIST] = 14,
                                                      [QUESTION_COLOR] = 9,
                                                      [QUESTION_SHAPE] = 9,
                                                      [QUESTION_SIZE] = 6,
                                                      [QUESTION_TEXTURE] = 5,
                                                      [QUESTION_POS] = 6,
                                                      [QUESTION_RELV] = 9,
                                                      [QUESTION_RELC] = 8,
                                                      [QUESTION_COUNT] = 12,
                                                      [QUESTION_SAME] = 7,
                                                      [QUESTION_LARGER] = 6,
                                                      [QUESTION_EXTREME] = 9},
                                                     {[QUESTION_EXIST] = 9,
                                                      [QUESTION_COLOR] = 6,
                                                      [QUESTION_SHAPE] = 6,
                                                      [QUESTION_SIZE] = 4,
                                                      [QUESTION_TEXTURE] = 3,
                                                      [QUESTION_POS] = 4,
                                                      [QUESTION_RELV] = 7,
                                                      [QUESTION_RELC] = 6,
                                                      [QUESTION_COUNT] = 10,
                                                      [QUESTION_SAME] = 5,
                                                      [QUESTION_LARGER] = 5,
                                                      [QUESTION_EXTREME] = 7,
                                                      [QUESTION_NUMBER] = 8,
                                                      [QUESTION_VERIFY_COLOR] = 5,
                                                      [QUESTION_VERIFY_COUNT] = 5,
                                                      [QUESTION_VERIFY_NUMBER] = 3,
                                                      [QUESTION_UNANSWERABLE] = 4,
                                                      [QUESTION_TEXT] = 3}};

/* Beside multiple choice stands a hint, beside the questions of a picture with numbers what OCR would read.
 */
static void write_train_questions(FILE *file, const struct scene *scene, struct question_ledger *ledger,
                                  int picture, const struct train_options *options)
{
    int weights[QUESTION_TYPES];
    for (int t = 0; t < QUESTION_TYPES; t++)
        weights[t] = train_weights[options->numbers > 0][t] * (100 - options->mc_percent);
    weights[QUESTION_MC] = 100 * options->mc_percent; /* the open ones sum to 100 */
    struct world_rng rng = world_rng_start(options->seed, "train", (uint64_t)picture, STREAM_QUESTIONS);
    struct question questions[SUITE_TRAIN_QUESTIONS_MAX];
    int n = questions_ask(questions, options->questions, scene, ledger, weights, &rng);
    fputs("{\"questions\": [", file);
    for (int i = 0; i < n; i++) {
        fputs(i ? ", " : "", file);
        write_question(file, &questions[i], options->numbers > 0 ? scene : NULL, &rng);
    }
    fputs("]", file);
    if (scene->n_numbers > 0) {
        char list[QUESTION_TEXT_SIZE];
        scene_ocr(list, sizeof list, scene, &rng);
        fprintf(file, ", \"ocr\": \"%s\"", list);
    }
    fputs("}\n", file);
}

int suite_write_train(const char *dir, const struct train_options *given, char *err, size_t err_size)
{
    enum { WORLD, PICTURES, OWNER, COVERAGE, SCENES, QUESTIONS, FILES };
    static const char *const names[FILES] = {"world.json",  "pictures.u8",  "owner.u8",
                                             "coverage.u8", "scenes.jsonl", "questions.jsonl"};
    struct train_options options = *given;
    options.canvas = options.canvas ? options.canvas : WORLD_CANVAS;
    if (options.count < 1 || options.count > SUITE_PICTURES_MAX || options.questions < 0 ||
        options.questions > SUITE_TRAIN_QUESTIONS_MAX || options.mc_percent < 0 || options.mc_percent > 50 ||
        options.numbers < 0 || options.numbers > 100) {
        snprintf(err, err_size,
                 "train takes 1 to %d pictures, 0 to %d questions a picture, 0 to 50 percent mc, 0 to 100 "
                 "percent with numbers; found %d, %d, %d, %d",
                 SUITE_PICTURES_MAX, SUITE_TRAIN_QUESTIONS_MAX, options.count, options.questions,
                 options.mc_percent, options.numbers);
        return -1;
    }
    struct scene scene; /* the first one also checks the canvas */
    if (scene_draw(&scene, options.canvas, options.seed, "train", 0, err, err_size) != 0)
        return -1;
    struct output *outputs = calloc(FILES, sizeof *outputs);
    struct question_ledger *ledger = calloc(1, sizeof *ledger);
    uint8_t *rgb = malloc(scene_rgb_bytes(&scene));
    int status = -1, n_files = options.questions ? FILES : QUESTIONS;
    char path[SUITE_PATH_SIZE];
    if (!outputs || !ledger || !rgb) {
        snprintf(err, err_size, "out of memory for the training dump");
        goto exit;
    }
    if (directory_make(path, dir, "", err, err_size) != 0)
        goto exit;
    for (int f = 0; f < n_files; f++)
        if (output_open(&outputs[f], path, names[f], err, err_size) != 0)
            goto exit;
    write_world(outputs[WORLD].file, &options);
    size_t grid = (size_t)options.canvas / WORLD_PATCH;
    for (int i = 0; i < options.count; i++) {
        uint8_t owner[WORLD_GRID_MAX * WORLD_GRID_MAX], coverage[WORLD_GRID_MAX * WORLD_GRID_MAX];
        if (scene_draw_numbers(&scene, options.canvas, options.seed, "train", (uint64_t)i, options.numbers,
                               err, err_size) != 0)
            goto exit;
        scene_render(rgb, &scene);
        scene_label(owner, coverage, &scene);
        fwrite(rgb, 1, scene_rgb_bytes(&scene), outputs[PICTURES].file);
        fwrite(owner, 1, grid * grid, outputs[OWNER].file);
        fwrite(coverage, 1, grid * grid, outputs[COVERAGE].file);
        write_scene(outputs[SCENES].file, &scene);
        if (options.questions)
            write_train_questions(outputs[QUESTIONS].file, &scene, ledger, i, &options);
        if (ferror(outputs[PICTURES].file))
            break; /* a full disk: outputs_commit says so */
    }
    status = outputs_commit(outputs, n_files, err, err_size);
exit:
    for (int f = 0; outputs && f < FILES; f++)
        output_abandon(&outputs[f]);
    free(outputs);
    free(ledger);
    free(rgb);
    return status;
}
