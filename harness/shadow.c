/* Arms that shadow a method whose counts depend on the data (like=sparsevlm-paper): they take them, sample by
 * sample, from the method's own cell of the same sweep, which is answered first.
 */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/memory.h"
#include "harness/sweep_run.h"

/* The text of the arm that runs what `cell` shadows; NULL where it shadows nothing that depends on the data.
 * The caller frees. */
static enum status shadowed_text(char **out, const struct run *run, const struct cell *cell,
                                 struct error *err)
{
    const struct arm *arm = cell->arm;
    struct method like;
    struct plan plan;
    struct plan_input input;
    struct error why;
    *out = NULL;
    if (arm->reason || !arm->method.reducer->shadows(&like, &arm->method))
        return OK;
    TRY(typical_input(&input, run, cell, err));
    if (method_plan(&plan, &like, &input, &why) != OK || !plan_is_adaptive(&plan))
        return OK;
    uint64_t seed = run->options->seed;
    TRY(method_resolve(&like, seed, err));
    if (!like.budget.given)
        like.match = MATCH_OFFICIAL;
    *out = key_arm_text(&like, arm->control, seed, seed);
    return *out ? OK : memory_failed(err, "a cell", 0);
}

enum status shadow_link(struct run *run, struct cell *cell, struct error *err)
{
    char *text;
    TRY(shadowed_text(&text, run, cell, err));
    if (text == NULL)
        return OK;
    for (int i = 0; i < run->grid.n_cells && cell->shadowed == NULL; i++) {
        struct cell *other = &run->grid.cells[i];
        if (other->model == cell->model && other->benchmark == cell->benchmark &&
            strcmp(other->arm->text, text) == 0)
            cell->shadowed = other;
    }
    free(text);
    if (cell->shadowed || cell->reason)
        return OK;
    struct error why;
    (void)fail(
        &why, BAD_INPUT,
        "method %s shadows a method whose counts depend on the data: the sweep must hold that method's own "
        "cell, with the same control",
        cell->arm->method.reducer->name);
    cell->reason = memory_text(why.text);
    return cell->reason ? OK : memory_failed(err, "a reason", sizeof why.text);
}

/* The cuts of every sample of a cell that is shadowed, from its layers in the store. */
static enum status plans_load(struct run *run, struct cell *cell, struct error *err)
{
    int n = run->materials[cell->benchmark].data.n;
    sqlite3_stmt *s = NULL;
    enum status status = OK;
    if (cell->plans == NULL) {
        cell->plans = memory_zero((size_t)n, sizeof *cell->plans);
        if (cell->plans == NULL)
            return memory_failed(err, "shadowed plans", (size_t)n * sizeof *cell->plans);
        cell->n_plans = n;
    }
    TRY(store_prepare(&s, run->store,
                      "SELECT l.sample_id, l.layer, l.visual_in, l.visual_out FROM layer l JOIN sample s"
                      " ON s.cell = l.cell AND s.sample_id = l.sample_id"
                      " WHERE l.cell = ? AND l.layer >= 0 AND s.error IS NULL ORDER BY l.sample_id, l.layer",
                      err));
    sqlite3_bind_int64(s, 1, cell->id);
    for (bool row;;) {
        TRY_GOTO(status, store_row(&row, run->store, s, err));
        if (!row)
            break;
        int sample = sqlite3_column_int(s, 0), keep = sqlite3_column_int(s, 3);
        if (sample < 0 || sample >= n)
            continue;
        struct plan *plan = cell->plans[sample];
        if (plan == NULL && (plan = cell->plans[sample] = memory_zero(1, sizeof *plan)) == NULL)
            TRY_GOTO(status, memory_failed(err, "a shadowed plan", sizeof *plan));
        if (keep != sqlite3_column_int(s, 2) && plan->n_cuts < PLAN_CUTS_MAX)
            plan->cuts[plan->n_cuts++] =
                (struct plan_cut){.site = SITE_DECODER, .layer = sqlite3_column_int(s, 1), .keep = keep};
    }
exit:
    sqlite3_finalize(s);
    return status;
}

enum status shadow_load(bool *any, struct run *run, struct error *err)
{
    *any = false;
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        if (cell->model != run->model || cell->shadowed == NULL || !cell_is_runnable(cell))
            continue;
        *any = true;
        if (cell->shadowed->plans == NULL && cell->shadowed->id > 0)
            TRY(plans_load(run, cell->shadowed, err));
    }
    return OK;
}
