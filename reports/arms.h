/* Cells in the order a reader compares them: panels (model × benchmark × split, and what else may not be
 * mixed) hold arms (a method with its settings at one budget; cells that differ in nothing but the seed are
 * one arm), each with its differences to the baseline and to its own random arm, and the badges it earns. */
#ifndef WINNOW_REPORTS_ARMS_H
#define WINNOW_REPORTS_ARMS_H

#include <stddef.h>

#include "reports/cells.h"

enum {
    ARM_MEMBERS_MAX = 64,
    ARM_LABEL_MAX = 160,
    PANEL_TITLE_MAX = 200,
    SCHEDULE_MAX = 160,
    EDITION_MAX = 96
};

enum badge {
    BADGE_NOT_SIGNIFICANT = 1 << 0,
    BADGE_LOSES_TO_RANDOM = 1 << 1,
    BADGE_TIES_RANDOM = 1 << 2,
    BADGE_SLOWER = 1 << 3,
    BADGE_BUDGET_OFF = 1 << 4,
    BADGE_KV_NOT_FREED = 1 << 5,
    BADGE_FAILED_SAMPLES = 1 << 6,
    BADGE_TUNED_ON_TEST = 1 << 7,
    BADGE_SEVERAL_MACHINES = 1 << 8,
    BADGE_TESTS_DISAGREE = 1 << 9,
    BADGE_GRAVITY_FLOOR = 1 << 10
};
struct badge_text {
    enum badge badge;
    const char *name, *meaning;
};
extern const struct badge_text badge_texts[]; /* ends with a NULL name */

/* Means over the arm's members; NaN without. */
struct difference {
    double diff, lo, hi; /* several members: the widest interval */
    double p;            /* Holm */
    double loyalty;
};

struct arm {
    const struct cell *members[ARM_MEMBERS_MAX]; /* one, or the seeds of a random arm */
    int n_members;
    int panel;
    char label[ARM_LABEL_MAX];
    char edition[EDITION_MAX]; /* revision and date where another arm has the same label, budget and match */
    int base;                  /* the baseline's arm that it is compared to, else the panel's; −1 */
    double budget;             /* as a number to sort by; NaN without */
    double score, lo, hi;      /* one member: its 95 % interval; several: mean, lowest and highest seed */
    struct difference to_base, to_random;
    unsigned badges;
};

struct panel {
    const struct cell *cell; /* any of its cells: model, benchmark, split … */
    char title[PANEL_TITLE_MAX];
    int base;     /* the baseline's arm without control, or −1 */
    int decimals; /* of a score */
};

struct arms {
    struct arm *arms; /* by panel, then controls last, then the baseline first, budget falling, method */
    int n;
    struct panel *panels;
    int n_panels;
};

enum status arms_build(struct arms *out, const struct cells *cells, const char *baseline, struct error *err);
void arms_free(struct arms *arms);

/* Mean of a number of struct cell over the members that have it: arm_mean(arm, offsetof(struct cell, flops)).
 */
double arm_mean(const struct arm *arm, size_t offset);
#define ARM_MEAN(arm, member) arm_mean(arm, offsetof(struct cell, member))
bool arm_is_control_image(const struct arm *arm); /* blank, mismatched, no-image */
bool arm_is_chance(const struct arm *arm);        /* random, uniform, center, top, bottom, pool, downsample */
/* "576→309→204→113 @2,6,15": visual tokens, and the layers after which they change. */
const char *arm_schedule(char out[SCHEDULE_MAX], const struct arm *arm, const struct arm *base);

#endif
