/* All methods: a new one is one file and one line here. Slots that a method leaves out are filled once. */
#include <pthread.h>
#include <string.h>

#include "reducer.h"

extern const struct reducer reducer_vanilla, reducer_sparsevlm, reducer_fastv, reducer_pdrop, reducer_tome,
    reducer_visionzip, reducer_divprune, reducer_random, reducer_uniform, reducer_center, reducer_top,
    reducer_bottom, reducer_pool, reducer_downsample, reducer_replay;

static const struct reducer *const sources[] = {
    &reducer_vanilla,   &reducer_sparsevlm, &reducer_fastv,  &reducer_pdrop,      &reducer_tome,
    &reducer_visionzip, &reducer_divprune,  &reducer_random, &reducer_uniform,    &reducer_center,
    &reducer_top,       &reducer_bottom,    &reducer_pool,   &reducer_downsample, &reducer_replay,
};

enum { N_SOURCES = sizeof sources / sizeof *sources, N_ADDED_MAX = 4 /* by tests */ };

static struct reducer filled[N_SOURCES + N_ADDED_MAX];
static const struct reducer *registry[N_SOURCES + N_ADDED_MAX];
static int n_reducers;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* ---- defaults ------------------------------------------------------------------------------- */

static bool no_counts(const struct method *method)
{
    (void)method;
    return false;
}

static enum status no_contradiction(const struct method *method, struct error *err)
{
    (void)method;
    (void)err;
    return OK;
}

static enum status no_plan(struct plan *out, const struct method *method, const struct plan_input *input,
                           struct error *err)
{
    (void)out;
    (void)input;
    return fail(err, BAD_INPUT, "method %s has no counts of its own", method->reducer->name);
}

static enum status no_official(struct plan *out, const struct method *method, const struct plan_input *input,
                               double budget, struct error *err)
{
    (void)out;
    (void)input;
    return fail(err, BAD_INPUT, "method %s has no official setting for budget %g; use match tokens_in",
                method->reducer->name, budget);
}

static int no_steps(const struct method *method, const struct plan_input *input, double budget)
{
    (void)method;
    (void)input;
    (void)budget;
    return 0;
}

static void no_step(struct plan *out, double *size, const struct method *method,
                    const struct plan_input *input, double budget, int step)
{
    (void)out;
    (void)method;
    (void)input;
    (void)budget;
    *size = step;
}

static double no_macs(const struct plan *plan, const struct method *method, const struct plan_input *input)
{
    (void)plan;
    (void)method;
    (void)input;
    return 0;
}

static int no_curve(struct real_cut *out, const struct method *method, const struct plan_input *input,
                    double x)
{
    (void)out;
    (void)method;
    (void)input;
    (void)x;
    return 0;
}

static const char *no_default(const struct method *method, const char *name)
{
    (void)method;
    (void)name;
    return NULL;
}

static bool no_shadow(struct method *out, const struct method *method)
{
    (void)out;
    (void)method;
    return false;
}

static enum status no_rows(int32_t *rows, int *n_rows, const struct view *view, struct error *err)
{
    (void)rows;
    (void)view;
    (void)err;
    *n_rows = 0;
    return OK;
}

static struct score_request no_score(const struct method *method, const struct plan_cut *cut)
{
    (void)method;
    (void)cut;
    return (struct score_request){.rows = ROWS_NONE};
}

static enum status no_tower_plan(struct plan *out, const struct method *method,
                                 const struct plan_input *input, int image, int budget, struct error *err)
{
    (void)out;
    (void)method;
    (void)input;
    (void)image;
    (void)budget;
    (void)err;
    return OK;
}

static bool compact_positions(const struct method *method)
{
    (void)method;
    return false;
}

static struct tower_options plain_tower(const struct method *method)
{
    (void)method;
    return (struct tower_options){0};
}

static void full_grid(struct patch_grid *out, const struct method *method, const struct plan_input *input,
                      int image, int budget)
{
    (void)method;
    (void)image;
    (void)budget;
    *out = (struct patch_grid){input->grid_rows, input->grid_cols};
}

static enum status no_adapt(struct plan_cut *cut, struct selection *out, const struct view *view,
                            struct error *err)
{
    (void)out;
    return fail(err, BAD_INPUT, "method %s leaves the count after layer %d open and does not fill it in",
                view->method->reducer->name, cut->layer);
}

static enum status no_selection(struct selection *out, const struct view *view, struct error *err)
{
    (void)view;
    (void)err;
    out->skip = true;
    return OK;
}

#define FILL(slot, default_function)                                                                         \
    if (r->slot == NULL)                                                                                     \
    r->slot = (default_function)

static void register_one(const struct reducer *source)
{
    struct reducer *r = &filled[n_reducers];
    *r = *source;
    FILL(check, no_contradiction);
    FILL(has_counts, no_counts);
    FILL(plan_counts, no_plan);
    FILL(plan_official, no_official);
    FILL(plan_steps, no_steps);
    FILL(plan_step, no_step);
    FILL(plan_curve, no_curve);
    FILL(plan_select_macs, no_macs);
    FILL(resolve, no_default);
    FILL(plan_tower, no_tower_plan);
    FILL(original_positions, compact_positions);
    FILL(shadows, no_shadow);
    FILL(tower, plain_tower);
    FILL(tower_grid, full_grid);
    FILL(adapt, no_adapt);
    FILL(counts, "keep");
    FILL(choose_rows, no_rows);
    FILL(score, no_score);
    FILL(select, no_selection);
    registry[n_reducers++] = r;
}

static void fill(void)
{
    for (int i = 0; i < N_SOURCES; i++)
        register_one(sources[i]);
}

const struct reducer *const *reducers(int *n)
{
    pthread_once(&once, fill);
    *n = n_reducers;
    return registry;
}

const struct reducer *reducer_find(const char *name)
{
    pthread_once(&once, fill);
    for (int i = 0; i < n_reducers; i++)
        if (strcmp(registry[i]->name, name) == 0)
            return registry[i];
    return NULL;
}

void reducer_add(const struct reducer *reducer)
{
    ENSURE(reducer_find(reducer->name) == NULL && n_reducers < N_SOURCES + N_ADDED_MAX);
    register_one(reducer);
}
