/*
 * Writes the suites of the miniature world: the twins of POPE and GQA in the formats of the real benchmarks,
 * and the training dump.
 *
 * mini-pope is balanced exactly (pope_plan.h): in each of its three files every asked name ("red star") is as
 * often present as absent, so that a model that sees nothing stays at one half. mini-gqa asks twelve
 * questions a picture whose answers are kept even by the ledger of questions.h.
 */
#define _POSIX_C_SOURCE 200809L /* mkdir */

#include "suite.h"

#include "png_encode.h"
#include "pope_plan.h"
#include "questions.h"
#include "world.h"

#include <errno.h>    /* errno */
#include <stdio.h>    /* FILE */
#include <stdlib.h>   /* calloc, free */
#include <string.h>   /* strerror */
#include <sys/stat.h> /* mkdir */

#define SUFFIX     "\\nAnswer the question using a single word or phrase." /* as it stands in JSON */
#define POPE_IMAGE "COCO_val2014_%012d.png"

enum { PATH_SIZE = 4096, STREAM_QUESTIONS = 1, STREAM_PLAN = 2 };

/* ---- files ---------------------------------------------------------------------------------- */

/* A file under its temporary name; file is NULL when it is not open. */
struct output {
    FILE *file;
    char path[PATH_SIZE], temporary[PATH_SIZE + 8];
};

static int output_open(struct output *output, const char *dir, const char *name, char *err, size_t err_size)
{
    output->file = NULL;
    if (snprintf(output->path, PATH_SIZE, "%s/%s", dir, name) >= PATH_SIZE) {
        snprintf(err, err_size, "path longer than %d bytes under %.80s…; use a shorter --out", PATH_SIZE - 1,
                 dir);
        return -1;
    }
    snprintf(output->temporary, sizeof output->temporary, "%s.tmp", output->path);
    output->file = fopen(output->temporary, "wb");
    if (!output->file) {
        snprintf(err, err_size, "cannot write %s: %s; check that the directory is writable",
                 output->temporary, strerror(errno));
        return -1;
    }
    return 0;
}

/*
 * Gives n files their names once all of them are whole on disk. Returns 0, or -1; what is still open then is
 * for output_abandon.
 */
static int outputs_commit(struct output *outputs, int n, char *err, size_t err_size)
{
    for (int i = 0; i < n; i++)
        if (fflush(outputs[i].file) != 0 || ferror(outputs[i].file)) {
            snprintf(err, err_size, "cannot write all of %s; check the space on the disk", outputs[i].path);
            return -1;
        }
    for (int i = 0; i < n; i++) {
        int failed = fclose(outputs[i].file) != 0;
        outputs[i].file = NULL;
        if (failed || rename(outputs[i].temporary, outputs[i].path) != 0) {
            snprintf(err, err_size, "cannot rename %s to %s: %s", outputs[i].temporary, outputs[i].path,
                     strerror(errno));
            remove(outputs[i].temporary);
            return -1;
        }
    }
    return 0;
}

/* Drops what is still open; for the way out. */
static void output_abandon(struct output *output)
{
    if (output->file) {
        fclose(output->file);
        remove(output->temporary);
        output->file = NULL;
    }
}

/* mkdir -p of dir/name; name may be "". path: PATH_SIZE bytes, receives the directory. */
static int directory_make(char *path, const char *dir, const char *name, char *err, size_t err_size)
{
    int n = snprintf(path, PATH_SIZE, "%s%s%s", dir, *name ? "/" : "", name);
    if (n < 1 || n >= PATH_SIZE) {
        snprintf(err, err_size, "the output directory must be a path of 1 to %d bytes; check --out",
                 PATH_SIZE - 1);
        return -1;
    }
    for (char *c = path + 1;; c++) {
        if (*c != '/' && *c != '\0')
            continue;
        char keep = *c;
        *c = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) {
            snprintf(err, err_size, "cannot make directory %s: %s; check --out", path, strerror(errno));
            return -1;
        }
        *c = keep;
        if (keep == '\0')
            return 0;
    }
}

/* Renders the scene to dir/name as PNG. */
static int picture_write(const struct scene *scene, const char *dir, const char *name, char *err,
                         size_t err_size)
{
    struct output output = {.file = NULL};
    uint8_t *bytes = NULL;
    size_t size;
    int status = -1;
    uint8_t *rgb = malloc(scene_rgb_bytes(scene));
    if (!rgb) {
        snprintf(err, err_size, "out of memory for a picture");
        return -1;
    }
    scene_render(rgb, scene);
    if (png_encode(&bytes, &size, rgb, scene->canvas, scene->canvas, err, err_size) == 0 &&
        output_open(&output, dir, name, err, err_size) == 0) {
        fwrite(bytes, 1, size, output.file);
        status = outputs_commit(&output, 1, err, err_size);
    }
    output_abandon(&output);
    free(bytes);
    free(rgb);
    return status;
}

/* All text here is ASCII without quotes or backslashes; only line ends need an escape. */
static void write_text(FILE *file, const char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            fputs("\\n", file);
        else
            fputc(*text, file);
}

/* ---- train ---------------------------------------------------------------------------------- */

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
    char path[PATH_SIZE];
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

/* ---- mini-gqa ------------------------------------------------------------------------------- */

/* What the official question file says about each type; answers of "query" questions are scored as open. */
static const struct {
    const char *structural, *semantic, *operation, *group;
} gqa_types[QUESTION_TYPES] = {
    [QUESTION_COLOR] = {"query", "attr", "query", "color"},
    [QUESTION_SHAPE] = {"query", "attr", "query", "shape"},
    [QUESTION_SIZE] = {"query", "attr", "query", "size"},
    [QUESTION_TEXTURE] = {"choose", "attr", "choose texture", "texture"},
    [QUESTION_POS] = {"choose", "rel", "choose position", "position"},
    [QUESTION_RELV] = {"verify", "rel", "verify rel", NULL},
    [QUESTION_RELC] = {"choose", "rel", "choose rel", "position"},
    [QUESTION_COUNT] = {"query", "obj", "query", "count"},
    [QUESTION_SAME] = {"compare", "attr", "same", NULL},
    [QUESTION_LARGER] = {"compare", "attr", "compare", NULL},
    [QUESTION_EXTREME] = {"query", "rel", "query", NULL},
};

/* The last argument of the program: "color", "count", "left", "striped|plain". */
static void gqa_argument(char *argument, size_t size, const struct question *q)
{
    struct span key = q->key;
    if (q->n_options == 2) {
        struct span a = q->options[0].span, b = q->options[1].span;
        snprintf(argument, size, "%.*s|%.*s", a.end - a.begin, q->text + a.begin, b.end - b.begin,
                 q->text + b.begin);
    } else if (q->type == QUESTION_EXTREME || q->type == QUESTION_SAME) {
        snprintf(argument, size, "%s", strstr(q->text, "color") ? "color" : "shape");
    } else if (q->type == QUESTION_COUNT) {
        snprintf(argument, size, "count");
    } else {
        snprintf(argument, size, "%.*s", key.end - key.begin, q->text + key.begin);
    }
}

/* One step of the program, as an object of "semantic" or as a piece of "semanticStr". */
static void write_gqa_step(FILE *file, int as_object, const char *operation, const char *on,
                           const char *argument)
{
    if (as_object)
        fprintf(file, "{\"operation\": \"%s\", \"dependencies\": [%s], \"argument\": \"%s\"}", operation, on,
                argument);
    else if (*on)
        fprintf(file, "%s: %s [%s]", operation, argument, on);
    else
        fprintf(file, "%s: %s", operation, argument);
}

/* The functional program: select the phrases, then one operation on them (two for the leftmost star). */
static void write_gqa_program(FILE *file, const struct question *q, int as_objects)
{
    const char *separator = as_objects ? ", " : "->";
    const char *on = q->n_phrases == 2 ? "0, 1" : "0";
    char argument[QUESTION_TEXT_SIZE];
    for (int p = 0; p < q->n_phrases; p++) {
        struct span text = q->phrases[p].text;
        snprintf(argument, sizeof argument, "%.*s", text.end - text.begin, q->text + text.begin);
        fputs(p ? separator : "", file);
        write_gqa_step(file, as_objects, "select", "", argument);
    }
    if (q->type == QUESTION_EXTREME) {
        snprintf(argument, sizeof argument, "%.*s", q->key.end - q->key.begin, q->text + q->key.begin);
        fputs(separator, file);
        write_gqa_step(file, as_objects, "filter", on, argument);
        on = "1";
    }
    gqa_argument(argument, sizeof argument, q);
    fputs(separator, file);
    write_gqa_step(file, as_objects, gqa_types[q->type].operation, on, argument);
}

/* One entry of testdev_balanced_questions.json; id and image id are given. */
static void write_gqa_entry(FILE *file, const struct question *q, const char *id, const char *image)
{
    char answer[QUESTION_ANSWER_SIZE];
    memcpy(answer, q->answer, sizeof answer);
    if (answer[0] == 'Y' || answer[0] == 'N') /* GQA's answers are lower-case */
        answer[0] = (char)(answer[0] - 'A' + 'a');
    const char *group = gqa_types[q->type].group;
    if (q->type == QUESTION_EXTREME)
        group = strstr(q->text, "color") ? "color" : "shape";
    fprintf(file, "\"%s\": {\"semantic\": [", id);
    write_gqa_program(file, q, 1);
    fprintf(file, "], \"entailed\": [\"%s\"], \"equivalent\": [\"%s\"], \"question\": \"", id, id);
    write_text(file, q->text);
    fprintf(file, "\", \"imageId\": \"%s\", \"isBalanced\": true, \"groups\": {\"global\": ", image);
    if (group)
        fprintf(file, "\"%s\"", group);
    else
        fputs("null", file);
    fprintf(file, ", \"local\": \"%s\"}, \"answer\": \"%s\", \"semanticStr\": \"",
            question_form_name(q->form), answer);
    write_gqa_program(file, q, 0);
    fputs("\", \"annotations\": {\"answer\": {}, \"question\": {}, \"fullAnswer\": {}}, ", file);
    fprintf(file, "\"types\": {\"detailed\": \"%s\", \"semantic\": \"%s\", \"structural\": \"%s\"}, ",
            question_types[q->type], gqa_types[q->type].semantic, gqa_types[q->type].structural);
    fprintf(file, "\"fullAnswer\": \"%s is the answer.\"}", q->answer);
}

static int write_gqa(const char *dir, uint64_t seed, int count, char *err, size_t err_size)
{
    enum { PER_PICTURE = 12 };
    static const int weights[QUESTION_TYPES] = {
        [QUESTION_COLOR] = 9, [QUESTION_SHAPE] = 9,  [QUESTION_SIZE] = 3,    [QUESTION_TEXTURE] = 3,
        [QUESTION_POS] = 4,   [QUESTION_RELV] = 10,  [QUESTION_RELC] = 10,   [QUESTION_COUNT] = 17,
        [QUESTION_SAME] = 10, [QUESTION_LARGER] = 9, [QUESTION_EXTREME] = 16};
    char path[PATH_SIZE], images[PATH_SIZE];
    int status = -1, asked = 0;
    struct output *outputs = calloc(2, sizeof *outputs);
    struct question_ledger *ledger = calloc(1, sizeof *ledger);
    if (!outputs || !ledger) {
        snprintf(err, err_size, "out of memory for mini-gqa");
        goto exit;
    }
    if (directory_make(path, dir, "mini-gqa", err, err_size) != 0 ||
        directory_make(images, dir, "mini-gqa/images", err, err_size) != 0 ||
        output_open(&outputs[0], path, "llava_gqa_testdev_balanced.jsonl", err, err_size) != 0 ||
        output_open(&outputs[1], path, "testdev_balanced_questions.json", err, err_size) != 0)
        goto exit;
    fputs("{", outputs[1].file);
    for (int i = 0; i < count; i++) {
        struct scene scene;
        struct question questions[PER_PICTURE];
        char image[16], name[24];
        snprintf(image, sizeof image, "n%06d", i + 1);
        snprintf(name, sizeof name, "%s.png", image);
        if (scene_draw(&scene, WORLD_CANVAS, seed, "mini-gqa", (uint64_t)i, err, err_size) != 0 ||
            picture_write(&scene, images, name, err, err_size) != 0)
            goto exit;
        struct world_rng rng = world_rng_start(seed, "mini-gqa", (uint64_t)i, STREAM_QUESTIONS);
        int n = questions_ask(questions, PER_PICTURE, &scene, ledger, weights, &rng);
        for (int k = 0; k < n; k++) {
            char id[16];
            snprintf(id, sizeof id, "20%07d", asked++);
            fprintf(outputs[0].file,
                    "{\"question_id\": \"%s\", \"image\": \"%s\", \"text\": \"%s" SUFFIX "\", ", id, name,
                    questions[k].text);
            fputs("\"category\": \"default\"}\n", outputs[0].file);
            fputs(asked > 1 ? ",\n" : "\n", outputs[1].file);
            write_gqa_entry(outputs[1].file, &questions[k], id, image);
        }
    }
    fputs("\n}\n", outputs[1].file);
    status = outputs_commit(outputs, 2, err, err_size);
exit:
    for (int f = 0; outputs && f < 2; f++)
        output_abandon(&outputs[f]);
    free(outputs);
    free(ledger);
    return status;
}

/* ---- mini-pope ------------------------------------------------------------------------------ */

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
            fprintf(questions, "{\"question_id\": %ld, \"image\": \"%s\", \"text\": \"%s" SUFFIX "\", ",
                    first_ids[kind] + asked, image, text);
            fprintf(questions, "\"category\": \"%s\"}\n", pope_kinds[kind]);
            asked++;
        }
    }
}

static int write_pope(const char *dir, uint64_t seed, int count, char *err, size_t err_size)
{
    char path[PATH_SIZE], coco[PATH_SIZE], images[PATH_SIZE];
    int status = -1;
    struct output *outputs = calloc(POPE_KINDS + 1, sizeof *outputs); /* the last one is the question file */
    uint64_t *names = calloc((size_t)count, sizeof *names);
    if (!outputs || !names) {
        snprintf(err, err_size, "out of memory for mini-pope");
        goto exit;
    }
    if (directory_make(path, dir, "mini-pope", err, err_size) != 0 ||
        directory_make(coco, dir, "mini-pope/coco", err, err_size) != 0 ||
        directory_make(images, dir, "mini-pope/val2014", err, err_size) != 0 ||
        output_open(&outputs[POPE_KINDS], path, "llava_pope_test.jsonl", err, err_size) != 0)
        goto exit;
    for (int i = 0; i < count; i++) {
        struct scene scene;
        char image[48];
        snprintf(image, sizeof image, POPE_IMAGE, i + 1);
        if (scene_draw(&scene, WORLD_CANVAS, seed, "mini-pope", (uint64_t)i, err, err_size) != 0 ||
            picture_write(&scene, images, image, err, err_size) != 0)
            goto exit;
        names[i] = pope_names(&scene);
    }
    for (int k = 0; k < POPE_KINDS; k++) {
        struct world_rng rng = world_rng_start(seed, "mini-pope", (uint64_t)k, STREAM_PLAN);
        struct pope_plan plan = {0};
        char file[48];
        snprintf(file, sizeof file, "coco_pope_%s.json", pope_kinds[k]);
        int failed = output_open(&outputs[k], coco, file, err, err_size) != 0 ||
                     pope_plan_make(&plan, (enum pope_kind)k, names, count, &rng, err, err_size) != 0;
        if (!failed)
            write_pope_plan(outputs[k].file, outputs[POPE_KINDS].file, &plan, (enum pope_kind)k, &rng);
        pope_plan_free(&plan);
        if (failed)
            goto exit;
    }
    status = outputs_commit(outputs, POPE_KINDS + 1, err, err_size);
exit:
    for (int k = 0; outputs && k <= POPE_KINDS; k++)
        output_abandon(&outputs[k]);
    free(outputs);
    free(names);
    return status;
}

int suite_write(const char *name, const char *dir, uint64_t seed, int count, char *err, size_t err_size)
{
    if (strcmp(name, "train") == 0)
        return suite_write_train(dir,
                                 &(struct train_options){.seed = seed,
                                                         .count = count,
                                                         .questions = SUITE_TRAIN_QUESTIONS,
                                                         .mc_percent = SUITE_TRAIN_MC_PERCENT,
                                                         .numbers = WORLD_TRAIN_NUMBERS},
                                 err, err_size);
    int (*write)(const char *, uint64_t, int, char *, size_t) = strcmp(name, "mini-pope") == 0  ? write_pope
                                                                : strcmp(name, "mini-gqa") == 0 ? write_gqa
                                                                                                : NULL;
    if (write && count >= 1 && count <= SUITE_TWIN_PICTURES_MAX)
        return write(dir, seed, count, err, err_size);
    if (write) {
        snprintf(err, err_size, "%s takes 1 to %d pictures, found %d; change --count", name,
                 SUITE_TWIN_PICTURES_MAX, count);
        return -1;
    }
    snprintf(err, err_size, "no suite is called \"%.40s\"; use mini-pope, mini-gqa or train", name);
    return -1;
}
