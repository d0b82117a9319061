#ifndef WINNOW_DATASETS_MINI_SUITE_TWIN_H
#define WINNOW_DATASETS_MINI_SUITE_TWIN_H
/*
 * A twin while it is written: what every family of twins needs. A writer opens its files, draws its pictures
 * and returns 0, or -1 with a message in twin->err; suite_write then gives the files their names or drops
 * them.
 */
#include <stddef.h> /* size_t */
#include <stdint.h> /* uint64_t */
#include <stdio.h>  /* FILE */

#include "questions.h"
#include "suite_files.h"
#include "world.h"

/* Picture i has spare scenes at i + k * SPARE_PICTURE, for where the first does not bear its question. */
enum { TWIN_OUTPUTS = 4, SPARE_PICTURE = 100000 };
/* Streams of random numbers of one picture; 0 draws the scene. */
enum { STREAM_QUESTIONS = 1, STREAM_PLAN = 2, STREAM_PEOPLE = 3, STREAM_MOTION = 4 };

/* What LLaVA puts behind a question, as it stands in JSON. */
#define SUFFIX_NONE   ""
#define SUFFIX_WORD   "\\nAnswer the question using a single word or phrase."
#define SUFFIX_LETTER "\\nAnswer with the option's letter from the given choices directly."

struct twin {
    const char *name; /* "mini-gqa": its folder, and the key of its pictures */
    const char *dir;
    uint64_t seed;
    int count;   /* pictures or clips */
    int numbers; /* percent of the pictures that hold numbers */
    struct question_ledger ledger;
    struct output outputs[TWIN_OUTPUTS];
    int n_outputs;
    char *err;
    size_t err_size;
};

/* Opens folder/name under the twin's own folder; NULL after an error. Closed by suite_write. */
FILE *twin_file(struct twin *twin, const char *folder, const char *name);
/* Writes a small file at once. */
int twin_write(struct twin *twin, const char *folder, const char *name, const void *bytes, size_t size);
/* `picture` may be beyond count: spare scenes for where the first does not do. */
int twin_scene(struct scene *scene, struct twin *twin, int picture);
int twin_picture(struct twin *twin, const struct scene *scene, const char *folder, const char *name);
struct world_rng twin_rng(const struct twin *twin, int picture, uint64_t stream);
/* Sets the message; returns -1. */
int twin_failed(struct twin *twin, const char *message);

/* The rest of a row of LLaVA's question file, behind `{"question_id": …, `. suffix: as in JSON. */
void write_row(FILE *file, const char *image, const char *text, const char *suffix, const char *category);
/* The answer as annotators write it: "Yes" and "No" without capitals. */
void answer_lower(char lower[QUESTION_ANSWER_SIZE], const char *answer);
/* Characters of a question of multiple choice before its options. */
int question_stem(const struct question *q);

int suite_write_pope(struct twin *twin);
int suite_write_gqa(struct twin *twin);
int suite_write_mmbench(struct twin *twin); /* mini-mmbench-cn, too */
int suite_write_scienceqa(struct twin *twin);
int suite_write_seed(struct twin *twin);
int suite_write_textvqa(struct twin *twin);
int suite_write_vqav2(struct twin *twin);
int suite_write_vizwiz(struct twin *twin);
int suite_write_mme(struct twin *twin);
int suite_write_mmvet(struct twin *twin);
int suite_write_video(struct twin *twin); /* the four sets of clips */

#endif
