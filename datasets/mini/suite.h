#ifndef WINNOW_DATASETS_MINI_SUITE_H
#define WINNOW_DATASETS_MINI_SUITE_H
/*
 * The miniature suites on disk. A twin "mini-NAME" has the files and formats of the benchmark NAME, so that
 * its reader and its scorer take them; "train" is the dump a miniature is trained on. Each name has scenes of
 * its own: no picture of one is in another. Same arguments, same bytes, on every machine.
 *
 *   mini-pope         llava_pope_test.jsonl  coco/coco_pope_{adversarial,popular,random}.json  val2014/
 *   mini-gqa          llava_gqa_testdev_balanced.jsonl  testdev_balanced_questions.json  images/
 *   mini-mme          llava_mme.jsonl  MME_Benchmark_release_version/CATEGORY/{0001.png,0001.txt}
 *   mini-mmbench      mmbench_dev_20230712.tsv (pictures inside)
 *   mini-mmbench-cn   mmbench_dev_cn_20231003.tsv; its questions stay in the world's English words, which are
 *                     all that a miniature knows: only the suffix that its reader adds is Chinese
 *   mini-scienceqa    llava_test_CQM-A.json  problems.json  pid_splits.json  images/test/ID/image.png
 *   mini-seed         llava-seed-bench.jsonl  SEED-Bench.json  SEED-Bench-image/ (PNG, no extension)
 *   mini-textvqa      llava_textvqa_val_v051_ocr.jsonl  TextVQA_0.5.1_val.json  train_images/
 *   mini-vqav2        llava_vqav2_mscoco_val2014.jsonl  v2_OpenEnded_mscoco_val2014_questions.json
 *                     v2_mscoco_val2014_annotations.json  val2014/
 *   mini-vizwiz       llava_val.jsonl  val.json  val/
 *   mini-mmvet        llava-mm-vet.jsonl  mm-vet.json  images/
 *   mini-{tgif,msvd,msrvtt,activitynet}  test_q.json  test_a.json  videos/
 *   (train)           world.json pictures.u8 owner.u8 coverage.u8 scenes.jsonl questions.jsonl, in DIR itself
 */
#include <stddef.h> /* size_t */
#include <stdint.h> /* uint64_t */

enum {
    SUITE_PICTURES_MAX = 1000000,
    SUITE_TWIN_PICTURES_MAX = 5000,
    SUITE_TRAIN_QUESTIONS = 24,
    SUITE_TRAIN_QUESTIONS_MAX = 64,
    SUITE_TRAIN_MC_PERCENT = 8
};

/* Options of the training dump; all zeros but count: 336 px, no questions, no mc, no numbers. */
struct train_options {
    uint64_t seed;
    int count;      /* pictures, 1 … SUITE_PICTURES_MAX */
    int canvas;     /* px, 0 = 336; see scene_draw for what is allowed */
    int questions;  /* a picture, 0 … SUITE_TRAIN_QUESTIONS_MAX; 0 writes no questions.jsonl */
    int mc_percent; /* share of multiple choice among the questions, 0 … 50 */
    int numbers;    /* percent of the pictures that hold numbers, 0 … 100 */
};

/* The i-th twin, 0 …; NULL behind the last one. */
const char *suite_twin_name(int i);
/* How many pictures (or clips) a suite has by default; 0 for an unknown one. */
int suite_pictures(const char *name);

/*
 * Writes the suite `name` (a twin, or "train" with its usual options) of `count` pictures under dir, which is
 * made if missing. Every file is written under a temporary name and renamed when whole. Returns 0, or -1 with
 * a message in err.
 */
int suite_write(const char *name, const char *dir, uint64_t seed, int count, char *err, size_t err_size);

/* The training dump with all its options; same errors. */
int suite_write_train(const char *dir, const struct train_options *options, char *err, size_t err_size);

#endif
