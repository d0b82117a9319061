/* What a sweep will cost, see cost.h. */
#include "harness/cost.h"

#include <math.h>   /* NAN */
#include <stdlib.h> /* free */
#include <string.h> /* strlen */

#include "core/map.h"
#include "core/memory.h"

enum { CALIBRATION_SAMPLES = 2, CALIBRATION_CELLS = 6 };
/* Arms whose counts are the data's are run once if that takes no longer each; else they count as uncut. */
static const double patience_ms = 1500;

double cost_alone(const struct cell_cost *cost)
{
    return cost->vision + cost->prefix + cost->own + cost->rest + cost->select + cost->head + cost->decode;
}

int count_pictures(const struct material *material)
{
    struct map map;
    if (!map_init(&map, (size_t)material->n_rows + 1))
        return material->n_rows;
    int n = 0;
    for (int i = 0; i < material->n_rows; i++) {
        const char *image = material->data.samples[material->rows[i]].image;
        n += image && map_put(&map, image, strlen(image), 1) < 0;
    }
    map_free(&map);
    return n;
}

/* ---- calibration ---------------------------------------------------------------------------- */

/* A cell's own run on row `row`. */
static enum status ask(struct answer *answer, struct session *session, const struct run *run,
                       const struct cell *cell, int row, struct error *err)
{
    const struct material *material = &run->materials[cell->benchmark];
    int shown_as = shown_row(material, cell->arm->control, row);
    struct question question = sample_question(run, cell, row);
    struct encode_options encoding = sample_encoding(run, cell, &question);
    struct shown shown = {0};
    char *prompt = NULL;
    enum status status;
    TRY_GOTO(status, sample_prompt(&prompt, material, cell->arm->control, row, err));
    TRY_GOTO(status, encode_shown(&shown, session, run->vlm, &material->data, shown_as, cell->arm->control,
                                  &encoding, err));
    question.prompts = (const char *const *)&prompt;
    question.images = shown.features;
    question.n_images = shown.n;
    question.share = SHARE_METHODS;
    TRY_GOTO(status, session_ask(answer, session, &question, err));
exit:
    free(prompt);
    shown_release(&shown);
    return status;
}

static double rate(double macs, double ms)
{
    return ms > 0 ? 2 * macs / (ms / 1e3) : 0;
}

/* The first run warms up. */
static enum status calibrate(struct calibration *out, struct session *session, const struct run *run,
                             const struct cell *cell, struct error *err)
{
    session_share(session, 0); /* each run alone */

    const struct material *material = &run->materials[cell->benchmark];
    double macs[N_STAGES] = {0}, vision_ms = 0, prefill_ms = 0, decode_ms = 0;
    int n = 0, n_ids = 0;
    for (int i = -1; i < CALIBRATION_SAMPLES && i < material->n_rows; i++) {
        struct answer answer;
        TRY(ask(&answer, session, run, cell, material->rows[i < 0 ? 0 : i], err));
        const struct ledger *ledger = &answer.ledger;
        for (int s = 0; s < N_STAGES && i >= 0; s++)
            macs[s] += (double)ledger->macs[s];
        if (i >= 0) {
            vision_ms += ledger->preprocess_ms + ledger->vision_ms + ledger->project_ms;
            prefill_ms += ledger->prefill_ms;
            decode_ms += ledger->decode_ms + ledger->head_ms;
            n_ids += ledger->n_generated;
            n++;
        }
        answer_free(&answer);
    }
    *out = (struct calibration){.known = n > 0,
                                .vision_rate = rate(macs[STAGE_VISION] + macs[STAGE_PROJECT], vision_ms),
                                .prefill_rate = rate(macs[STAGE_PREFILL] + macs[STAGE_SELECT], prefill_ms),
                                .decode_rate = rate(macs[STAGE_DECODE] + macs[STAGE_HEAD], decode_ms),
                                .n_ids = n ? (double)n_ids / n : 1,
                                .session_bytes = session_peak_bytes(session),
                                .sample_ms = n ? (vision_ms + prefill_ms + decode_ms) / n : 0};
    session_share(session, sweep_share_bytes(run));
    return OK;
}

/* ---- one sample ----------------------------------------------------------------------------- */

static double layer_flops(const struct plan_input *input, double n_rows, double n)
{
    return 2 * (double)macs_layer((int64_t)n_rows, (int64_t)n, input->hidden, input->intermediate,
                                  input->n_heads, input->n_kv_heads, input->head_dim);
}

/* Visual tokens by layer, as a run shows them where the data decide. A sample that cannot be asked is that
 * sample's affair: then the plan serves. */
static void trajectory(int *in, int *out, struct session *session, const struct run *run,
                       const struct cell *cell, const struct plan *plan, const struct plan_input *input)
{
    plan_trajectory(in, out, plan, input->n_visual, input->n_layers);
    if (session == NULL || !plan_is_adaptive(plan) || cell->arm->replay)
        return;
    struct answer answer;
    struct error ignored;
    if (ask(&answer, session, run, cell, run->materials[cell->benchmark].rows[0], &ignored) != OK)
        return;
    for (int l = 0; l < input->n_layers; l++) {
        in[l] = answer.ledger.layers[l].visual_in;
        out[l] = answer.ledger.layers[l].visual_out;
    }
    answer_free(&answer);
}

static enum status cell_cost(struct cell_cost *out, struct session *session, const struct run *run,
                             const struct cell *cell, double n_ids, struct error *err)
{
    const struct vlm_config *config = vlm_config(run->vlm);
    const struct method *method = &cell->arm->method;
    struct plan_input input;
    struct plan plan = {0};
    TRY(typical_input(&input, run, cell, err));
    if (cell->arm->replay == NULL)
        TRY(method_plan(&plan, method, &input, err));
    int *in = memory_zero(2 * (size_t)input.n_layers, sizeof *in), *left = in + input.n_layers;
    if (in == NULL)
        return memory_failed(err, "a plan", (size_t)input.n_layers * sizeof *in);
    trajectory(in, left, session, run, cell, &plan, &input);
    *out = (struct cell_cost){.depth = input.n_layers};
    for (int i = plan.n_cuts - 1; i >= 0; i--)
        if (plan.cuts[i].site == SITE_DECODER)
            out->depth = plan.cuts[i].layer + 1;
    for (int l = 0; l < input.n_layers; l++) {
        double n = in[l] + input.n_text, n_own = n > input.n_text_after ? input.n_text_after : n;
        if (l < out->depth) {
            out->own += layer_flops(&input, n_own, n);
            out->prefix += layer_flops(&input, n - n_own, n);
        } else {
            out->rest += layer_flops(&input, n, n);
        }
        out->decode += (n_ids - 1) * layer_flops(&input, 1, left[l] + input.n_text + n_ids / 2);
    }
    free(in);
    out->head = 2 * n_ids * config->text.hidden * config->text.vocabulary;
    if (plan.n_cuts > 0)
        out->select = 2 * method->reducer->plan_select_macs(&plan, method, &input);
    uint64_t vision = 0, project = 0;
    if (input.n_visual > 0)
        TRY(vlm_image_macs(&vision, &project, config, method, input.n_images, err));
    out->vision = 2.0 * input.n_images * (double)(vision + project);
    return OK;
}

/* ---- all ------------------------------------------------------------------------------------ */

/* Cells of one kind share the layers before their first cuts; by_chance: not between questions. */
struct class
{
    int kind;     /* the control; or, past them, the arm that shares with itself alone */
    int features; /* the same for pictures in the tower; the mismatched see those that others see */
    bool by_chance;
};

static struct class class_of(const struct run *run, const struct cell *cell)
{
    const struct reducer *reducer = cell->arm->method.reducer;
    struct plan_input input;
    struct plan plan;
    struct error ignored;
    bool before = false;
    if (cell->arm->replay == NULL && typical_input(&input, run, cell, &ignored) == OK &&
        method_plan(&plan, &cell->arm->method, &input, &ignored) == OK)
        for (int i = 0; i < plan.n_cuts; i++)
            before = before || plan.cuts[i].site == SITE_BEFORE;
    bool alone = reducer->in_tower || before || cell->arm->replay;
    int arm = 0;
    while (run->grid.arms[arm] != cell->arm)
        arm++;
    enum control control = cell->arm->control;
    return (struct class){.kind = alone ? N_CONTROLS + arm : (int)control,
                          .features = reducer->in_tower || cell->arm->replay ? N_CONTROLS + arm
                                      : control == CONTROL_MISMATCHED        ? (int)CONTROL_NONE
                                                                             : (int)control,
                          .by_chance = before && params_has(&cell->arm->method.params, "seed")};
}

struct shared {
    double vision, layers, rest, decode; /* FLOPs, each at a rate of its own */
};

static double most(double a, double b)
{
    return a > b ? a : b;
}

/* The cells of benchmark b whose class is that of cell `first`, which is its first one. */
static void add_class(struct shared *sum, const struct run *run, const struct cell_cost *costs,
                      const int *n_left, const struct class *classes, int first, double pictures_each)
{
    const struct cell *cells = run->grid.cells;
    double prefix = 0, own = 0;
    for (int i = first; i < run->grid.n_cells; i++) {
        if (cells[i].benchmark != cells[first].benchmark || cells[i].model != run->model ||
            classes[i].kind != classes[first].kind)
            continue;
        double n = n_left[i], n_pictures = n * (classes[i].by_chance ? 1 : pictures_each);
        prefix = most(prefix, n_pictures * costs[i].prefix);
        own = most(own, n * costs[i].own);
        sum->rest += n * (costs[i].rest + costs[i].select);
        sum->decode += n * (costs[i].decode + costs[i].head);
    }
    sum->layers += prefix + own;
}

/* Whether no cell before it has its class, or, features: sees its features. */
static bool is_first(const struct run *run, const struct class *classes, int cell, bool features)
{
    const struct cell *cells = run->grid.cells;
    for (int i = 0; i < cell; i++)
        if (cells[i].benchmark == cells[cell].benchmark && cells[i].model == cells[cell].model &&
            cells[i].reason == NULL &&
            (features ? classes[i].features == classes[cell].features
                      : classes[i].kind == classes[cell].kind))
            return false;
    return true;
}

static bool is_planned(const struct run *run, int cell)
{
    const struct cell *own = &run->grid.cells[cell];
    return own->model == run->model && own->reason == NULL;
}

/* A cell to calibrate with: without a method, on pictures that are there; rather one with pictures. */
static const struct cell *plain_cell(const struct run *run)
{
    const struct cell *found = NULL;
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        const struct material *material = &run->materials[cell->benchmark];
        if (is_planned(run, i) && material->open && material->n_rows > 0 && material->n_images_missing == 0 &&
            cell->arm->control == CONTROL_NONE && cell->arm->method.reducer->dense &&
            (found == NULL || (shown_row(&run->materials[found->benchmark], CONTROL_NONE,
                                         run->materials[found->benchmark].rows[0]) < 0 &&
                               shown_row(material, CONTROL_NONE, material->rows[0]) >= 0)))
            found = cell;
    }
    return found;
}

/* The rate of what a few cells with cuts do behind them, by what a run takes more than its first layers. */
static enum status calibrate_rest(struct calibration *out, struct session *session, const struct run *run,
                                  const struct cell *plain, const struct cell_cost *costs, struct error *err)
{
    double flops = 0, ms = 0;
    int n_cut = 0, n = 0;
    out->rest_rate = out->prefill_rate;
    for (int i = 0; i < run->grid.n_cells; i++)
        n_cut += is_planned(run, i) && run->grid.cells[i].benchmark == plain->benchmark && costs[i].rest > 0;
    if (n_cut == 0 || out->sample_ms > patience_ms)
        return OK;
    session_share(session, 0);
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        if (!is_planned(run, i) || cell->benchmark != plain->benchmark || costs[i].rest <= 0 ||
            n++ * CALIBRATION_CELLS % n_cut >= CALIBRATION_CELLS)
            continue;
        struct answer answer;
        TRY(ask(&answer, session, run, cell, run->materials[cell->benchmark].rows[0], err));
        ms += answer.ledger.prefill_ms - 1e3 * (costs[i].prefix + costs[i].own) / out->prefill_rate;
        flops += costs[i].rest + costs[i].select;
        answer_free(&answer);
    }
    if (ms > 0)
        out->rest_rate = flops / (ms / 1e3);
    return OK;
}

static double finite_or_nan(double value)
{
    return isfinite(value) ? value : (double)NAN;
}

/* None for nothing: a benchmark without pictures has no rate of the tower. */
static double seconds_of(double flops, double flops_per_second)
{
    return flops > 0 ? flops / flops_per_second : 0;
}

static void estimate(struct sweep_cost *out, const struct run *run, const struct calibration *rates,
                     const struct shared *shared, const struct cell_cost *costs)
{
    out->seconds = out->timing_seconds = NAN;
    out->session_bytes = rates->session_bytes;
    if (!rates->known)
        return;
    double decode = rates->decode_rate > 0 ? rates->decode_rate : rates->prefill_rate;
    out->seconds =
        (seconds_of(shared->vision, rates->vision_rate) + seconds_of(shared->layers, rates->prefill_rate) +
         seconds_of(shared->rest, rates->rest_rate) + seconds_of(shared->decode, decode)) /
        sweep_workers(run);
    out->seconds = finite_or_nan(out->seconds);
    out->timing_seconds = 0;
    for (int i = 0; i < run->grid.n_cells; i++)
        if (is_planned(run, i) && run->grid.cells[i].arm->control == CONTROL_NONE)
            out->timing_seconds += run->sweep.timing.samples * (double)run->sweep.timing.repeats *
                                   ((costs[i].prefix + costs[i].own) / rates->prefill_rate +
                                    costs[i].rest / rates->rest_rate + costs[i].decode / decode);
    out->timing_seconds = finite_or_nan(out->timing_seconds);
}

enum status cost_sweep(struct sweep_cost *out, struct cell_cost *costs, struct run *run, const int *n_left,
                       struct error *err)
{
    const struct cell *plain = plain_cell(run);
    struct calibration rates = {.n_ids = 4};
    struct session *session = NULL;
    struct shared shared = {0};
    size_t n_cells = (size_t)run->grid.n_cells;
    struct class *classes = memory_zero(n_cells, sizeof *classes);
    enum status status = OK;
    *out = (struct sweep_cost){0};
    if (classes == NULL)
        TRY_GOTO(status, memory_failed(err, "classes of cells", n_cells * sizeof *classes));
    if (plain) {
        TRY_GOTO(status, session_open(&session, run->vlm,
                                      run->options->n_threads > 0 ? run->options->n_threads : 1, err));
        struct error ignored; /* a picture that cannot be read is that sample's affair */
        if (calibrate(&rates, session, run, plain, &ignored) != OK)
            rates = (struct calibration){.n_ids = 4};
    }
    for (int i = 0; i < run->grid.n_cells; i++)
        if (is_planned(run, i)) {
            const struct cell *cell = &run->grid.cells[i];
            bool there = rates.known && rates.sample_ms <= patience_ms &&
                         run->materials[cell->benchmark].open &&
                         run->materials[cell->benchmark].n_images_missing == 0;
            TRY_GOTO(status, cell_cost(&costs[i], there ? session : NULL, run, cell, rates.n_ids, err));
            classes[i] = class_of(run, cell);
            out->apart += n_left[i] * cost_alone(&costs[i]);
        }
    for (int i = 0; i < run->grid.n_cells; i++) {
        if (!is_planned(run, i))
            continue;
        const struct material *material = &run->materials[run->grid.cells[i].benchmark];
        double each =
            material->open && material->n_rows > 0 ? (double)count_pictures(material) / material->n_rows : 1;
        if (is_first(run, classes, i, true))
            shared.vision += n_left[i] * each * costs[i].vision;
        if (is_first(run, classes, i, false))
            add_class(&shared, run, costs, n_left, classes, i, each);
    }
    out->shared =
        run->options->no_share ? out->apart : shared.vision + shared.layers + shared.rest + shared.decode;
    if (run->options->no_share) { /* all at the rates of a run alone */
        shared = (struct shared){0};
        for (int i = 0; i < run->grid.n_cells; i++) {
            shared.vision += n_left[i] * costs[i].vision;
            shared.layers += n_left[i] * (costs[i].prefix + costs[i].own);
            shared.rest += n_left[i] * (costs[i].rest + costs[i].select);
            shared.decode += n_left[i] * (costs[i].decode + costs[i].head);
        }
    }
    struct error none; /* then the rate of vanilla serves */
    if (rates.known && calibrate_rest(&rates, session, run, plain, costs, &none) != OK)
        rates.rest_rate = rates.prefill_rate;
    estimate(out, run, &rates, &shared, costs);
exit:
    session_close(session);
    free(classes);
    return status;
}
