/* What the benchmarks of questions about clips share: their files, the judge of Video-ChatGPT, and the
 * comparison by words that needs none.
 *
 *   video_qa.c     question files, golds, clips; the twins; the submission
 *   video_judge.c  what the judge is asked, what it replied, and the figures: tgif, msvd, msrvtt, video-judge
 *   activitynet.c  ActivityNet-QA's own scorer
 */
#ifndef WINNOW_VIDEO_QA_H
#define WINNOW_VIDEO_QA_H

#include <jansson.h>
#include <stdbool.h>

#include "core/sha256.h"
#include "datasets/benchmark.h"

/* 1024 tokens, 8 frames, Video-LLaVA's template: videollava/eval/video/run_inference_video_qa.py. */
enum { VIDEO_QA_NEW_TOKENS = 1024, VIDEO_QA_FRAMES = 8 };
#define VIDEO_QA_TEMPLATE "llava_v1"
#define VIDEO_QA_SUBMISSION                                                                                  \
    "merge.jsonl of Video-LLaVA: JSON lines {id, question, answer, pred}, answer being the gold"

enum { N_ANSWER_TYPES = 9 }; /* ActivityNet-QA: 0 motion, 1 spatial, 2 temporal, 3 … 8 free */

/* What a judge's reply counts for. */
enum says { SAYS_NEITHER, SAYS_YES, SAYS_NO };
struct judgement {
    bool has_score;
    double score; /* int() of what it gave */
    enum says says;
};

/* sample.extra */
struct video_question {
    int type; /* −1: the files have none */
    bool has_stored;
    struct judgement stored;
    const char *stored_pred; /* the answer that it judged; NULL: the file does not say */
};

/* dataset.own: what reading noticed, for the warnings */
struct video_qa {
    int n_displaced;   /* golds that stand elsewhere than their questions */
    int n_mispaired;   /* of them, those with another text than the gold paired by position */
    int n_extra_golds; /* golds of no question */
    int n_no_clip;     /* questions whose clip is not there */
    int n_replies, n_unknown_replies;
    int types[N_ANSWER_TYPES], n_types; /* in the order in which the golds first have them */
};

enum status video_qa_read(struct dataset *out, const struct benchmark_paths *paths, struct error *err);
enum status video_qa_submit(const char *path, const struct dataset *dataset, const struct answers *answers,
                            struct error *err);
void video_qa_warn(json_t *warnings, const struct dataset *dataset);

/* By words: equal after white space around and periods at the end are gone and ASCII is lowered. */
void video_qa_normalise(char *out, size_t size, const char *text);
double video_exact_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                          const char *answer);
void video_exact_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                       const struct answers *answers);

/* Stored replies of the judge: a folder of ID.json files or one object by id, each [reply, {q, a, pred}]. To
 * the samples they belong to; where the dataset has no samples yet, samples of them. */
enum status video_replies_read(struct dataset *data, const char *path, struct sha256 *sha, struct error *err);
/* The same from a document that is read already. */
enum status video_replies_take(struct dataset *data, const json_t *by_id, const char *path,
                               struct error *err);
struct judgement video_judgement(const json_t *reply);

#endif
