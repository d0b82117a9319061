/* What the control arms share: where they cut (before layer 0, or on the schedule of the method they shadow)
 * and how many tokens they keep there. An arm itself only says which. */
#ifndef WINNOW_ARM_H
#define WINNOW_ARM_H

#include "reducer.h"

#define PARAM_ROWS_ARM                                                                                       \
    {.name = "at",                                                                                           \
     .type = PARAM_CHOICE,                                                                                   \
     .fallback = "input",                                                                                    \
     .choices = "input|decoder",                                                                             \
     .doc = "before layer 0, or after the layers of the method named by like, to the same lengths"},         \
        {.name = "like",                                                                                     \
         .type = PARAM_CHOICE,                                                                               \
         .fallback = "sparsevlm",                                                                            \
         .choices = "sparsevlm|fastv|pdrop|sparsevlm-plus|sparsevlm-paper|sparsevlm-v1.0",                   \
         .doc = "the method shadowed with at=decoder; a data-dependent one sample by sample"},               \
        PARAM_ROW_KEEP("tokens kept with at=input; default: from the budget"), PARAM_ROWS_DROPPING(NULL)

bool arm_shadows(struct method *out, const struct method *method);
bool arm_has_counts(const struct method *method);
enum status arm_plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                            struct error *err);
enum status arm_plan_official(struct plan *out, const struct method *method, const struct plan_input *input,
                              double budget, struct error *err);

/* Row, column and grid of every visual token in visual order; a token without a cell has row −1. */
struct place {
    int row, col;
    struct patch_grid grid;
};
enum status arm_places(struct place **out, const struct view *view, struct error *err);

#define ARM_SLOTS                                                                                            \
    .counts = "keep, or those of a shadowed method that depend on the data", .shadows = arm_shadows,         \
    .has_counts = arm_has_counts, .plan_counts = arm_plan_counts, .plan_official = arm_plan_official,        \
    .plan_steps = plan_input_steps, .plan_step = plan_input_step

#endif
