#ifndef WINNOW_DATASETS_MINI_SUITE_H
#define WINNOW_DATASETS_MINI_SUITE_H
/*
 * The miniature suites on disk. "mini-pope" and "mini-gqa" have the files and formats of POPE and of GQA
 * (testdev_balanced), so that the scorers of the real ones read them; "train" is the dump a miniature is
 * trained on. Each name has scenes of its own: no picture of one is in another. Same arguments, same bytes,
 * on every machine.
 *
 *   DIR/mini-pope/llava_pope_test.jsonl  coco/coco_pope_{adversarial,popular,random}.json
 * val2014/COCO_val2014_….png DIR/mini-gqa/llava_gqa_testdev_balanced.jsonl  testdev_balanced_questions.json
 * images/n….png DIR/world.json pictures.u8 owner.u8 coverage.u8 scenes.jsonl questions.jsonl (train)
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
