/*
 * The twins with ten people's answers: mini-textvqa (numbers painted in the pictures, with what OCR read),
 * mini-vqav2 (all kinds of questions) and mini-vizwiz (a third of the questions about something that is not
 * there, which their words do not tell).
 */
#include "forms.h"
#include "questions.h"
#include "suite_files.h"
#include "suite_people.h"
#include "suite_twin.h"
#include "world.h"

#include <ctype.h>  /* tolower */
#include <stdio.h>  /* fprintf */
#include <string.h> /* strtok */

/* Stands behind LLaVA's VizWiz questions, before the usual suffix. */
#define SUFFIX_VIZWIZ "\\nWhen the provided information is insufficient, respond with 'Unanswerable'."

static void people_of(char people[PEOPLE][PEOPLE_ANSWER_SIZE], const struct twin *twin, int question,
                      const char *answer)
{
    struct world_rng rng = twin_rng(twin, question, STREAM_PEOPLE);
    people_answer(people, answer, &rng);
}

/* ---- mini-textvqa --------------------------------------------------------------------------- */

static void write_textvqa(FILE *file, const struct twin *twin, const struct question *q, int id,
                          const char *image)
{
    char lower[QUESTION_TEXT_SIZE], answer[QUESTION_ANSWER_SIZE], people[PEOPLE][PEOPLE_ANSWER_SIZE];
    memcpy(lower, q->text, sizeof lower);
    for (char *c = lower; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    answer_lower(answer, q->answer);
    people_of(people, twin, id, answer);
    fprintf(file, "{\"question\": \"%s\", \"image_id\": \"%s\", \"image_classes\": [\"Number\"], ", lower,
            image);
    fprintf(file,
            "\"flickr_original_url\": \"\", \"flickr_300k_url\": \"\", \"image_width\": %d, "
            "\"image_height\": %d, \"answers\": [",
            WORLD_CANVAS, WORLD_CANVAS);
    for (int i = 0; i < PEOPLE; i++)
        fprintf(file, "%s\"%s\"", i ? ", " : "", people[i]);
    fputs("], \"question_tokens\": [", file);
    const char *separator = "";
    for (char *word = strtok(lower, " ?"); word; word = strtok(NULL, " ?")) {
        fprintf(file, "%s\"%s\"", separator, word);
        separator = ", ";
    }
    fprintf(file, "], \"question_id\": %d, \"set_name\": \"val\"}", id);
}

int suite_write_textvqa(struct twin *twin)
{
    enum { PER_PICTURE = 3, FIRST_ID = 34602 };
    static const int weights[QUESTION_TYPES] = {[QUESTION_NUMBER] = 70, [QUESTION_VERIFY_NUMBER] = 30};
    FILE *rows = twin_file(twin, "", "llava_textvqa_val_v051_ocr.jsonl");
    FILE *official = rows ? twin_file(twin, "", "TextVQA_0.5.1_val.json") : NULL;
    if (!official)
        return -1;
    fputs("{\"dataset_type\": \"val\", \"dataset_name\": \"textvqa\", \"dataset_version\": \"0.5.1\", "
          "\"data\": [",
          official);
    for (int i = 0, asked = 0; i < twin->count; i++) {
        struct scene scene;
        struct question questions[PER_PICTURE];
        char image[24], name[32];
        struct world_rng rng = twin_rng(twin, i, STREAM_QUESTIONS);
        snprintf(image, sizeof image, "%016llx", (unsigned long long)world_rng_next(&rng));
        snprintf(name, sizeof name, "%s.png", image);
        if (twin_scene(&scene, twin, i) != 0 || twin_picture(twin, &scene, "train_images", name) != 0)
            return -1;
        int n = questions_ask(questions, PER_PICTURE, &scene, &twin->ledger, weights, &rng);
        char ocr[64];
        scene_ocr(ocr, sizeof ocr, &scene, &rng);
        for (int k = 0; k < n; k++, asked++) {
            char text[QUESTION_TEXT_SIZE + 96];
            snprintf(text, sizeof text, "%s\nReference OCR token: %s", questions[k].text, ocr);
            fprintf(rows, "{\"question_id\": \"%s\", ", image);
            write_row(rows, name, text, SUFFIX_WORD, "default");
            fputs(asked ? ",\n" : "\n", official);
            write_textvqa(official, twin, &questions[k], FIRST_ID + asked, image);
        }
    }
    fputs("\n]}\n", official);
    return 0;
}

/* ---- mini-vqav2 ----------------------------------------------------------------------------- */

/* The official question types, of which each kind of question is one. */
static const char *const vqav2_types[QUESTION_TYPES] = {[QUESTION_EXIST] = "is there a",
                                                        [QUESTION_COLOR] = "what color is the",
                                                        [QUESTION_SHAPE] = "what",
                                                        [QUESTION_SIZE] = "what",
                                                        [QUESTION_TEXTURE] = "is the",
                                                        [QUESTION_POS] = "is the",
                                                        [QUESTION_RELV] = "is the",
                                                        [QUESTION_RELC] = "is the",
                                                        [QUESTION_COUNT] = "how many",
                                                        [QUESTION_SAME] = "is the",
                                                        [QUESTION_LARGER] = "is the",
                                                        [QUESTION_EXTREME] = "what",
                                                        [QUESTION_NUMBER] = "what is the",
                                                        [QUESTION_VERIFY_COLOR] = "is the",
                                                        [QUESTION_VERIFY_COUNT] = "are there",
                                                        [QUESTION_VERIFY_NUMBER] = "is the"};

static void write_vqav2(FILE *file, const struct twin *twin, const struct question *q, int image, int id)
{
    char answer[QUESTION_ANSWER_SIZE], people[PEOPLE][PEOPLE_ANSWER_SIZE];
    answer_lower(answer, q->answer);
    people_of(people, twin, id, answer);
    fprintf(file, "{\"question_type\": \"%s\", \"multiple_choice_answer\": \"%s\", \"answers\": [",
            vqav2_types[q->type], answer);
    for (int i = 0; i < PEOPLE; i++)
        fprintf(file, "%s{\"answer\": \"%s\", \"answer_confidence\": \"%s\", \"answer_id\": %d}",
                i ? ", " : "", people[i], strcmp(people[i], answer) == 0 ? "yes" : "maybe", i + 1);
    fprintf(file, "], \"image_id\": %d, \"answer_type\": \"%s\", \"question_id\": %d}", image,
            answer_kind(answer), id);
}

int suite_write_vqav2(struct twin *twin)
{
    enum { PER_PICTURE = 4, FIRST_IMAGE = 101, STEP = 13 };
    static const int weights[QUESTION_TYPES] = {
        [QUESTION_EXIST] = 10,       [QUESTION_COLOR] = 11,       [QUESTION_SHAPE] = 9,
        [QUESTION_SIZE] = 4,         [QUESTION_TEXTURE] = 4,      [QUESTION_POS] = 4,
        [QUESTION_RELV] = 6,         [QUESTION_RELC] = 5,         [QUESTION_COUNT] = 14,
        [QUESTION_SAME] = 4,         [QUESTION_LARGER] = 4,       [QUESTION_EXTREME] = 5,
        [QUESTION_NUMBER] = 6,       [QUESTION_VERIFY_COLOR] = 6, [QUESTION_VERIFY_COUNT] = 6,
        [QUESTION_VERIFY_NUMBER] = 2};
    FILE *rows = twin_file(twin, "", "llava_vqav2_mscoco_val2014.jsonl");
    FILE *official = rows ? twin_file(twin, "", "v2_OpenEnded_mscoco_val2014_questions.json") : NULL;
    FILE *annotations = official ? twin_file(twin, "", "v2_mscoco_val2014_annotations.json") : NULL;
    if (!annotations)
        return -1;
    static const char head[] = "\"info\": {\"description\": \"the twin of VQA v2.0\", \"version\": \"2.0\"}, "
                               "\"license\": {\"name\": \"Apache-2.0\"}, \"data_type\": \"mscoco\", "
                               "\"data_subtype\": \"val2014\"";
    fprintf(official, "{%s, \"task_type\": \"Open-Ended\", \"questions\": [", head);
    fprintf(annotations, "{%s, \"annotations\": [", head);
    for (int i = 0, total = 0; i < twin->count; i++) {
        struct scene scene;
        struct question questions[PER_PICTURE];
        int image = FIRST_IMAGE + STEP * i;
        char name[48];
        struct world_rng rng = twin_rng(twin, i, STREAM_QUESTIONS);
        snprintf(name, sizeof name, "COCO_val2014_%012d.png", image);
        if (twin_scene(&scene, twin, i) != 0 || twin_picture(twin, &scene, "val2014", name) != 0)
            return -1;
        int n = questions_ask(questions, PER_PICTURE, &scene, &twin->ledger, weights, &rng);
        for (int k = 0; k < n; k++, total++) {
            int id = image * 1000 + k;
            const char *separator = total ? ",\n" : "\n";
            fprintf(rows, "{\"question_id\": %d, ", id);
            write_row(rows, name, questions[k].text, SUFFIX_WORD, "default");
            fprintf(official, "%s{\"image_id\": %d, \"question\": \"%s\", \"question_id\": %d}", separator,
                    image, questions[k].text, id);
            fputs(separator, annotations);
            write_vqav2(annotations, twin, &questions[k], image, id);
        }
    }
    fputs("\n]}\n", official);
    fputs("\n]}\n", annotations);
    return 0;
}

/* ---- mini-vizwiz ---------------------------------------------------------------------------- */

int suite_write_vizwiz(struct twin *twin)
{
    enum { KINDS = 4 };
    static const enum form forms[2][KINDS] = {
        {FORM_COLOR, FORM_SHAPE, FORM_SIZE, FORM_NUMBER},
        {FORM_UNANSWERABLE_COLOR, FORM_UNANSWERABLE_SHAPE, FORM_UNANSWERABLE_SIZE, FORM_UNANSWERABLE_NUMBER}};
    FILE *rows = twin_file(twin, "", "llava_val.jsonl");
    FILE *official = rows ? twin_file(twin, "", "val.json") : NULL;
    if (!official)
        return -1;
    fputs("[", official);
    for (int i = 0; i < twin->count; i++) {
        int unanswerable = i % 3 == 2, form = (int)forms[unanswerable][i / 3 % KINDS], spare = 0;
        struct scene scene;
        struct question q;
        char name[40], answer[QUESTION_ANSWER_SIZE], people[PEOPLE][PEOPLE_ANSWER_SIZE];
        struct world_rng rng = twin_rng(twin, i, STREAM_QUESTIONS);
        do
            if (twin_scene(&scene, twin, i + spare++ * SPARE_PICTURE) != 0)
                return -1;
        while (question_ask_form(&q, form, 0, NULL, 0, &scene, &twin->ledger, &rng) != 0);
        snprintf(name, sizeof name, "VizWiz_val_%08d.png", i);
        if (twin_picture(twin, &scene, "val", name) != 0)
            return -1;
        fprintf(rows, "{\"question_id\": %d, ", i);
        write_row(rows, name, q.text, SUFFIX_VIZWIZ SUFFIX_WORD, "default");
        answer_lower(answer, q.answer);
        people_of(people, twin, i, answer);
        fprintf(official, "%s\n{\"image\": \"%s\", \"question\": \"%s\", \"answers\": [", i ? "," : "", name,
                q.text);
        for (int k = 0; k < PEOPLE; k++)
            fprintf(official, "%s{\"answer\": \"%s\", \"answer_confidence\": \"%s\"}", k ? ", " : "",
                    people[k], strcmp(people[k], answer) == 0 ? "yes" : "maybe");
        fprintf(official, "], \"answer_type\": \"%s\", \"answerable\": %d}",
                unanswerable ? "unanswerable" : answer_kind(answer), !unanswerable);
    }
    fputs("\n]\n", official);
    return 0;
}
