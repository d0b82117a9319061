/* Open-ended visual questions as their scorers see them: three ways to normalise an answer, and the soft
 * score against the answers of ten people. Shared by TextVQA, VQAv2 and VizWiz.
 *
 *     char *said = vqa_normalise("The dogs, two.", VQA_EVALAI); // "dogs 2"
 *     if (!said || !vqa_score(&score, said, &golds, VQA_EVALAI)) … no memory …
 *     free(said);
 */
#ifndef WINNOW_VQA_NORMALISE_H
#define WINNOW_VQA_NORMALISE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "core/error.h"
#include "datasets/benchmark.h"
#include "datasets/text_pool.h"

enum vqa_rules {
    VQA_AS_IS,
    VQA_BLANKS, /* newlines and tabs become spaces, both ends stripped: all that VQAEval does to unanimity */
    VQA_EVALAI, /* EvalAIAnswerProcessor of Pythia, MMF and LLaVA's m4c_evaluator.py */
    VQA_OFFICIAL, /* VQAEval of the VQA challenge, and the same code in VizWiz's */
    VQA_VLMEVAL   /* VLMEvalKit's process_answer */
};

/* Text of any length; malloc'ed, NULL when memory runs out. Time is linear. */
char *vqa_normalise(const char *text, enum vqa_rules rules);
/* Python's lower(), without the final form of sigma and the scripts that lower_runs leaves out; malloc'ed. */
char *vqa_lower(const char *text);

/* What people answered to one question; owned by a pool. */
struct vqa_golds {
    const char **texts;
    int n;
};
enum { VQA_GOLDS_MAX = 1000 }; /* of one question; official files have 10 */

/* row[key]: a list of texts, or of objects with "answer". */
enum status vqa_golds_read(struct vqa_golds *out, struct text_pool *pool, const json_t *row, const char *key,
                           const char *place, struct error *err);
/* The answer most people gave, the first of equals; NULL without answers. */
const char *vqa_golds_commonest(const struct vqa_golds *golds);

/* Each person's answer is left out in turn, and the prediction scores min(1, matches among the others ÷ 3);
 * the mean of that. `rules` normalise the golds, the prediction comes normalised. NaN without golds; false
 * when memory runs out. */
bool vqa_score(double *out, const char *prediction, const struct vqa_golds *golds, enum vqa_rules rules);

/* For benchmark->score: accuracy, headline, n, n_unknown (answered questions without annotation, warned
 * about) by means of benchmark->score_sample; and accuracy by sample->category and sample->detail under these
 * names, NULL: not. */
enum status vqa_figures(json_t *figures, json_t *warnings, const struct dataset *dataset,
                        const struct answers *answers, enum protocol protocol, const char *by_category,
                        const char *by_detail, struct error *err);
/* For benchmark->score_sample: as much of a normalised answer as there is room for, in whole characters. */
void vqa_parsed(char *parsed, size_t size, const char *said);

/* For benchmark->submit: [{KEY: ID, "answer": EvalAI(text)}, …] as Python's json.dump writes it. */
struct vqa_submission {
    FILE *stream; /* to memory */
    char *bytes;
    size_t n;
    int n_entries;
    bool failed; /* memory ran out */
};
enum status vqa_submission_open(struct vqa_submission *out, struct error *err);
/* numeric: the id stands without quotes. answer: NULL becomes "". */
void vqa_submission_add(struct vqa_submission *submission, const char *key, const char *id, bool numeric,
                        const char *answer);
/* Writes the file unless path is NULL, and frees, whatever happened. */
enum status vqa_submission_close(struct vqa_submission *submission, const char *path, struct error *err);

#endif
