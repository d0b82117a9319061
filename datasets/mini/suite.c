/* The table of the suites, and what is done for each: see suite.h. */
#include "suite.h"

#include "suite_files.h"
#include "suite_twin.h"

#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* calloc, free */
#include <string.h> /* strcmp */

static const struct suite {
    const char *name;
    int (*write)(struct twin *twin); /* NULL: the training dump */
    int pictures;                    /* by default */
    int numbers;                     /* percent of the pictures that hold numbers */
} suites[] = {
    {"mini-pope", suite_write_pope, 100, 0},
    {"mini-gqa", suite_write_gqa, 100, 0},
    {"mini-mmbench", suite_write_mmbench, 120, 30},
    {"mini-mmbench-cn", suite_write_mmbench, 120, 30},
    {"mini-scienceqa", suite_write_scienceqa, 150, 30},
    {"mini-seed", suite_write_seed, 100, 60},
    {"mini-textvqa", suite_write_textvqa, 100, 100},
    {"mini-vqav2", suite_write_vqav2, 100, 40},
    {"mini-vizwiz", suite_write_vizwiz, 240, 60},
    {"mini-mme", suite_write_mme, 150, 100},
    {"mini-mmvet", suite_write_mmvet, 100, 50},
    {"mini-tgif", suite_write_video, 60, 0},
    {"mini-msvd", suite_write_video, 60, 0},
    {"mini-msrvtt", suite_write_video, 60, 0},
    {"mini-activitynet", suite_write_video, 60, 0},
    {"train", NULL, 100, WORLD_TRAIN_NUMBERS},
};

enum { SUITES = (int)(sizeof suites / sizeof suites[0]) };

static const struct suite *suite_find(const char *name)
{
    for (int s = 0; s < SUITES; s++)
        if (strcmp(suites[s].name, name) == 0)
            return &suites[s];
    return NULL;
}

const char *suite_twin_name(int i)
{
    return i >= 0 && i < SUITES && suites[i].write ? suites[i].name : NULL;
}

int suite_pictures(const char *name)
{
    const struct suite *suite = suite_find(name);
    return suite ? suite->pictures : 0;
}

static int write_twin(const struct suite *suite, const char *dir, uint64_t seed, int count, char *err,
                      size_t err_size)
{
    struct twin *twin = calloc(1, sizeof *twin);
    if (!twin) {
        snprintf(err, err_size, "out of memory for %s", suite->name);
        return -1;
    }
    twin->name = suite->name;
    twin->dir = dir;
    twin->seed = seed;
    twin->count = count;
    twin->numbers = suite->numbers;
    twin->err = err;
    twin->err_size = err_size;
    int status = suite->write(twin);
    if (status == 0)
        status = outputs_commit(twin->outputs, twin->n_outputs, err, err_size);
    for (int f = 0; f < twin->n_outputs; f++)
        output_abandon(&twin->outputs[f]);
    free(twin);
    return status;
}

int suite_write(const char *name, const char *dir, uint64_t seed, int count, char *err, size_t err_size)
{
    const struct suite *suite = suite_find(name);
    if (!suite) {
        int length = snprintf(err, err_size, "no suite is called \"%.40s\"; use one of", name);
        for (int s = 0; s < SUITES && length >= 0 && (size_t)length < err_size; s++)
            length +=
                snprintf(err + length, err_size - (size_t)length, "%s %s", s ? "," : "", suites[s].name);
        return -1;
    }
    if (!suite->write)
        return suite_write_train(dir,
                                 &(struct train_options){.seed = seed,
                                                         .count = count,
                                                         .questions = SUITE_TRAIN_QUESTIONS,
                                                         .mc_percent = SUITE_TRAIN_MC_PERCENT,
                                                         .numbers = suite->numbers},
                                 err, err_size);
    if (count < 1 || count > SUITE_TWIN_PICTURES_MAX) {
        snprintf(err, err_size, "%s takes 1 to %d pictures, found %d; change --count", name,
                 SUITE_TWIN_PICTURES_MAX, count);
        return -1;
    }
    return write_twin(suite, dir, seed, count, err, err_size);
}
