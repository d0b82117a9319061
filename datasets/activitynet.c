/* ActivityNet-QA (test: 8,000 questions about 800 clips) by its own scorer: an answer is right when it is the
 * gold to the letter. Headline: accuracy.
 *
 *   figures  all; free, the accuracy of types 3 … 8; types, the accuracy of each type that occurs
 *
 * The official script divides the right free answers by the questions of all types but the first three that
 * its file names, which are the free ones only where types 0, 1 and 2 come first; where that gives another
 * figure, it is shown beside as free_official. Golds alone are enough to score. Judged by a model the same
 * files are the benchmark video-judge.
 *
 * Source: MILVLG/activitynet-qa evaluation/eval.py; files and prompts: video_qa.c.
 */
#include "datasets/video_qa.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "datasets/figures.h"

static const char *const type_names[N_ANSWER_TYPES] = {"motion", "spatial",  "temporal", "yes/no", "color",
                                                       "object", "location", "number",   "other"};
enum { FIRST_FREE = 3 };

static double activitynet_score_sample(char *parsed, size_t size, const struct dataset *dataset, int row,
                                       const char *answer, const char *verdict, enum protocol protocol)
{
    const char *gold = dataset->samples[row].gold;
    (void)verdict;
    (void)protocol;
    if (dataset->is_twin)
        return video_exact_sample(parsed, size, dataset, row, answer);
    video_qa_normalise(parsed, size, answer);
    return gold ? strcmp(answer, gold) == 0 : (double)NAN;
}

static double quotient(double sum, int n)
{
    return n > 0 ? sum / n : (double)NAN;
}

/* Right free answers ÷ questions of the types after the first three that the golds name. */
static double free_official(const struct mean by_type[N_ANSWER_TYPES], const struct video_qa *own)
{
    double right = 0;
    int n = 0;
    for (int t = FIRST_FREE; t < N_ANSWER_TYPES; t++)
        right += by_type[t].sum;
    for (int i = FIRST_FREE; i < own->n_types; i++)
        n += by_type[own->types[i]].n;
    return quotient(right, n);
}

static enum status activitynet_score(json_t *figures, json_t *warnings, const struct dataset *dataset,
                                     const struct answers *answers, enum protocol protocol, struct error *err)
{
    struct mean all = {0}, free_types = {0}, by_type[N_ANSWER_TYPES] = {{0}};
    (void)err;
    if (dataset->is_twin) {
        video_exact_score(figures, warnings, dataset, answers);
        return OK;
    }
    for (int i = 0; i < dataset->n; i++) {
        const struct video_question *question = dataset->samples[i].extra;
        char parsed[8];
        if (!answers->text[i])
            continue;
        double score =
            activitynet_score_sample(parsed, sizeof parsed, dataset, i, answers->text[i], NULL, protocol);
        if (isnan(score))
            continue;
        mean_add(&all, score);
        if (question->type < 0 || question->type >= N_ANSWER_TYPES)
            continue;
        mean_add(&by_type[question->type], score);
        if (question->type >= FIRST_FREE)
            mean_add(&free_types, score);
    }
    json_t *types = json_object();
    for (int t = 0; t < N_ANSWER_TYPES; t++)
        if (by_type[t].n > 0)
            json_object_set_new(types, type_names[t], figure(quotient(by_type[t].sum, by_type[t].n)));
    double own_free = quotient(free_types.sum, free_types.n), official = free_official(by_type, dataset->own);
    json_object_set_new(figures, "all", figure(quotient(all.sum, all.n)));
    json_object_set_new(figures, "free", figure(own_free));
    if (!isnan(own_free) && !isnan(official) && own_free != official)
        json_object_set_new(figures, "free_official", figure(official));
    json_object_set_new(figures, "types", types);
    json_object_set_new(figures, "headline", per_cent(&all));
    json_object_set_new(figures, "n", json_integer(all.n));
    video_qa_warn(warnings, dataset);
    return OK;
}

extern const struct benchmark benchmark_activitynet;
const struct benchmark benchmark_activitynet = {
    .name = "activitynet",
    .title = "ActivityNet-QA",
    .folders = {"eval/GPT_Zero_Shot_QA/Activitynet_Zero_Shot_QA", "GPT_Zero_Shot_QA/Activitynet_Zero_Shot_QA",
                "activitynet"},
    .metric = "accuracy",
    .unit = "%",
    .scale = 100,
    .max_new_tokens = VIDEO_QA_NEW_TOKENS,
    .template = VIDEO_QA_TEMPLATE,
    .n_frames = VIDEO_QA_FRAMES,
    .cluster = "video",
    .licence = "academic use only (questions); clips of YouTube under their owners' terms",
    .published = "https://github.com/MILVLG/activitynet-qa (questions, answers), "
                 "http://activity-net.org (clips)",
    .read = video_qa_read,
    .score_sample = activitynet_score_sample,
    .submit = video_qa_submit,
    .submission = VIDEO_QA_SUBMISSION,
    .n_sums = MEAN_SUMS,
    .tally = mean_tally,
    .headline = mean_headline,
    .score = activitynet_score,
    .protocols = 1u << PROTOCOL_OFFICIAL,
};
