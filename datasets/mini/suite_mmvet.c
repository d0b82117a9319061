/*
 * mini-mmvet: MM-Vet's question file and LLaVA's, three questions a picture, each with the capabilities it
 * takes. Answers are short, so "gen" (to write at length) never occurs; alternatives stand between <OR>, and
 * a place is two parts joined by <AND>.
 */
#include "forms.h"
#include "questions.h"
#include "suite_files.h"
#include "suite_twin.h"
#include "world.h"

#include <stdio.h>  /* fprintf */
#include <string.h> /* memcpy */

static const char *const number_words[10] = {"zero", "one", "two",   "three", "four",
                                             "five", "six", "seven", "eight", "nine"};

/* What an answer takes, as it stands in the file. */
static const char *const capabilities[QUESTION_TYPES] = {[QUESTION_EXIST] = "\"rec\"",
                                                         [QUESTION_COLOR] = "\"rec\"",
                                                         [QUESTION_SHAPE] = "\"rec\"",
                                                         [QUESTION_SIZE] = "\"rec\"",
                                                         [QUESTION_TEXTURE] = "\"rec\"",
                                                         [QUESTION_POS] = "\"rec\", \"spat\"",
                                                         [QUESTION_RELC] = "\"rec\", \"spat\"",
                                                         [QUESTION_EXTREME] = "\"rec\", \"spat\"",
                                                         [QUESTION_MC] = "\"rec\", \"spat\"", /* where */
                                                         [QUESTION_COUNT] = "\"rec\", \"math\"",
                                                         [QUESTION_SAME] = "\"rec\", \"know\"",
                                                         [QUESTION_LARGER] = "\"rec\", \"know\"",
                                                         [QUESTION_NUMBER] = "\"ocr\"",
                                                         [QUESTION_VERIFY_NUMBER] = "\"ocr\", \"know\""};

/* The gold with its other spellings: "7<OR>seven", "top<AND>left<OR>top left". */
static void write_gold(FILE *file, const struct question *q)
{
    if (q->type == QUESTION_NUMBER || q->type == QUESTION_COUNT) {
        fprintf(file, "%s<OR>%s", q->answer, number_words[q->answer[0] - '0']);
    } else if (q->type == QUESTION_MC) {
        struct span where = q->options[q->answer[0] - 'A'].span;
        const char *words = q->text + where.begin;
        int n = where.end - where.begin, first = (int)strcspn(words, " ");
        fprintf(file, "%.*s<AND>%.*s<OR>%.*s", first, words, n - first - 1, words + first + 1, n, words);
    } else if (q->answer[0] == 'Y' || q->answer[0] == 'N') {
        fprintf(file, "%s<OR>%s", q->answer, q->answer[0] == 'Y' ? "yes" : "no");
    } else {
        fputs(q->answer, file);
    }
}

int suite_write_mmvet(struct twin *twin)
{
    enum { PER_PICTURE = 3 };
    static const int weights[QUESTION_TYPES] = {
        [QUESTION_EXIST] = 6,  [QUESTION_COLOR] = 14,   [QUESTION_SHAPE] = 14, [QUESTION_SIZE] = 5,
        [QUESTION_POS] = 6,    [QUESTION_RELC] = 8,     [QUESTION_COUNT] = 12, [QUESTION_SAME] = 7,
        [QUESTION_LARGER] = 5, [QUESTION_EXTREME] = 12, [QUESTION_NUMBER] = 14};
    FILE *rows = twin_file(twin, "", "llava-mm-vet.jsonl");
    FILE *golds = rows ? twin_file(twin, "", "mm-vet.json") : NULL;
    if (!golds)
        return -1;
    fputs("{", golds);
    for (int i = 0, asked = 0; i < twin->count; i++) {
        struct scene scene;
        struct question questions[PER_PICTURE + 1];
        char image[24];
        if (twin_scene(&scene, twin, i) != 0)
            return -1;
        struct world_rng rng = twin_rng(twin, i, STREAM_QUESTIONS);
        int n = questions_ask(questions, PER_PICTURE, &scene, &twin->ledger, weights, &rng);
        /* Every fourth picture: where something is, which is no open question elsewhere. */
        if (i % 4 == 0 &&
            question_ask_form(&questions[n], FORM_MC_WHERE, 0, NULL, 0, &scene, &twin->ledger, &rng) == 0)
            n++;
        snprintf(image, sizeof image, "v1_%d.png", asked); /* named after its first question */
        if (n == 0)
            continue;
        if (twin_picture(twin, &scene, "images", image) != 0)
            return -1;
        for (int k = 0; k < n; k++, asked++) {
            char text[QUESTION_TEXT_SIZE];
            snprintf(text, sizeof text, "%.*s", question_stem(&questions[k]), questions[k].text);
            fprintf(rows,
                    "{\"image\": \"%s\", \"text\": \"%s\", \"category\": \"conv\", \"question_id\": %d}\n",
                    image, text, asked);
            fprintf(golds, "%s\n    \"v1_%d\": {\"imagename\": \"%s\", \"question\": \"%s\", \"answer\": \"",
                    asked ? "," : "", asked, image, text);
            write_gold(golds, &questions[k]);
            fprintf(golds, "\", \"capability\": [%s], \"imagesource\": \"winnow world\"}",
                    capabilities[questions[k].type]);
        }
    }
    fputs("\n}\n", golds);
    return 0;
}
