/*
 * mini-gqa: GQA's question file (testdev_balanced) and LLaVA's, twelve questions a picture whose answers are
 * kept even by the ledger of questions.h.
 */
#include "questions.h"
#include "suite_files.h"
#include "suite_twin.h"
#include "world.h"

#include <stdio.h>  /* fprintf */
#include <string.h> /* memcpy, strstr */

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

int suite_write_gqa(struct twin *twin)
{
    enum { PER_PICTURE = 12 };
    static const int weights[QUESTION_TYPES] = {
        [QUESTION_COLOR] = 9, [QUESTION_SHAPE] = 9,  [QUESTION_SIZE] = 3,    [QUESTION_TEXTURE] = 3,
        [QUESTION_POS] = 4,   [QUESTION_RELV] = 10,  [QUESTION_RELC] = 10,   [QUESTION_COUNT] = 17,
        [QUESTION_SAME] = 10, [QUESTION_LARGER] = 9, [QUESTION_EXTREME] = 16};
    int asked = 0;
    FILE *rows = twin_file(twin, "", "llava_gqa_testdev_balanced.jsonl");
    FILE *entries = rows ? twin_file(twin, "", "testdev_balanced_questions.json") : NULL;
    if (!entries)
        return -1;
    fputs("{", entries);
    for (int i = 0; i < twin->count; i++) {
        struct scene scene;
        struct question questions[PER_PICTURE];
        char image[16], name[24];
        snprintf(image, sizeof image, "n%06d", i + 1);
        snprintf(name, sizeof name, "%s.png", image);
        if (twin_scene(&scene, twin, i) != 0 || twin_picture(twin, &scene, "images", name) != 0)
            return -1;
        struct world_rng rng = twin_rng(twin, i, STREAM_QUESTIONS);
        int n = questions_ask(questions, PER_PICTURE, &scene, &twin->ledger, weights, &rng);
        for (int k = 0; k < n; k++) {
            char id[16];
            snprintf(id, sizeof id, "20%07d", asked++);
            fprintf(rows, "{\"question_id\": \"%s\", ", id);
            write_row(rows, name, questions[k].text, SUFFIX_WORD, "default");
            fputs(asked > 1 ? ",\n" : "\n", entries);
            write_gqa_entry(entries, &questions[k], id, image);
        }
    }
    fputs("\n}\n", entries);
    return 0;
}
