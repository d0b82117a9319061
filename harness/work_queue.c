/* What a sweep has to do, see work_queue.h. */
#include "harness/work_queue.h"

#include <stdlib.h> /* qsort */
#include <string.h> /* strcmp */

#include "core/limits.h"
#include "core/map.h"
#include "core/memory.h"
#include "harness/trace_plan.h"

/* ---- taking --------------------------------------------------------------------------------- */

/* The next unit of a group, or -1. */
static int group_take(struct work_queue *queue, int group)
{
    struct group *g = &queue->groups[group];
    return g->next < g->end ? g->next++ : -1;
}

/* A unit for a worker that is through with its own: of the same picture, of a fresh one, of a picture that
 * others are at, or one that is begun. */
static int unit_take(struct work_queue *queue, int worker)
{
    int unit = -1, own = queue->taken[worker];
    if (own >= 0)
        unit = group_take(queue, queue->units[own].group);
    if (unit < 0 && queue->next_group < queue->n_groups)
        unit = group_take(queue, queue->next_group++);
    for (; unit < 0 && queue->help_group < queue->n_groups; queue->help_group++)
        if ((unit = group_take(queue, queue->help_group)) >= 0)
            break;
    for (int w = 0; unit < 0 && w < queue->n_workers; w++) {
        int other = queue->taken[w];
        if (other >= 0 && queue->units[other].next < queue->units[other].end)
            unit = other;
    }
    return unit;
}

const struct item *work_queue_take(unsigned *share, struct work_queue *queue, int worker)
{
    int *taken = &queue->taken[worker];
    if (*taken < 0 || queue->units[*taken].next == queue->units[*taken].end)
        *taken = unit_take(queue, worker);
    if (*taken < 0)
        return NULL;
    struct unit *unit = &queue->units[*taken];
    const struct group *group = &queue->groups[unit->group];
    *share = (unit->next + 1 < unit->end ? SHARE_METHODS : 0) | (group->n > 1 ? SHARE_QUESTIONS : 0);
    return &queue->items[unit->next++];
}

/* ---- making --------------------------------------------------------------------------------- */

/* Cells whose prefills have most in common next to each other: those that see the same features, by the
 * layers before their first cut, so that each goes on where another stopped. */
static enum status order_of(int *out, const struct run *run, const struct cell *cell, struct error *err)
{
    const struct method *method = &cell->arm->method;
    struct plan_input input;
    struct plan plan = {0};
    TRY(typical_input(&input, run, cell, err));
    if (cell->arm->replay == NULL)
        TRY(method_plan(&plan, method, &input, err));
    int kind = method->reducer->in_tower ? N_CONTROLS : (int)cell->arm->control, depth = input.n_layers;
    for (int i = plan.n_cuts - 1; i >= 0; i--)
        if (plan.cuts[i].site == SITE_DECODER)
            depth = plan.cuts[i].layer;
    *out = kind * (LIMIT_LAYERS + 1) + depth;
    return OK;
}

int count_feature_kinds(const struct run *run)
{
    bool controls[N_CONTROLS] = {false};
    int n = 0;
    for (int i = 0; i < run->grid.n_arms; i++) {
        const struct arm *arm = run->grid.arms[i];
        n += arm->method.reducer->in_tower || !controls[arm->control];
        controls[arm->control] = true;
    }
    return n;
}

static int by_unit(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    const int keys[][2] = {{x->group, y->group},
                           {x->benchmark, y->benchmark},
                           {x->row, y->row},
                           {x->order, y->order},
                           {x->cell, y->cell}};
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1] ? -1 : 1;
    return 0;
}

/* The first picture that is asked about more than once, NULL without one: two questions about one picture
 * tell more than two pictures, so its samples are traced first. */
static const char *paired_cluster(const struct material *material)
{
    struct map clusters;
    int first = material->n_rows;
    if (!map_init(&clusters, (size_t)material->n_rows + 1))
        return NULL;
    for (int i = 0; i < material->n_rows; i++) {
        const char *cluster = material->data.samples[material->rows[i]].cluster;
        int before = map_get(&clusters, cluster, strlen(cluster));
        if (before < 0)
            map_put(&clusters, cluster, strlen(cluster), i);
        else
            first = before < first ? before : first;
    }
    map_free(&clusters);
    return first < material->n_rows ? material->data.samples[material->rows[first]].cluster : NULL;
}

static bool is_in(const struct material *material, int i, const char *cluster)
{
    return cluster && strcmp(material->data.samples[material->rows[i]].cluster, cluster) == 0;
}

/* What is left to do of one cell, with the pictures numbered by `pictures`. */
static enum status add_items(struct work_queue *queue, struct run *run, int cell_index, struct map *pictures,
                             uint8_t *states, struct error *err)
{
    const struct cell *cell = &run->grid.cells[cell_index];
    const struct material *material = &run->materials[cell->benchmark];
    int order;
    TRY(order_of(&order, run, cell, err));
    memset(states, 0, (size_t)material->data.n);
    TRY(store_states(states, material->data.n, run->store, cell->id, err));
    if (run->sweep.trace.wanted) {
        TRY(trace_cell(run->trace, cell->key, cell->arm->method.reducer->name, cell->arm->params,
                       run->sweep.models[run->model], err));
        trace_note(run->trace, cell->key, "label", cell->arm->label);
        trace_note(run->trace, cell->key, "image_mode", image_mode_names[material->entry->image_mode]);
    }
    const char *paired = run->sweep.trace.wanted ? paired_cluster(material) : NULL;
    int n_paired = 0, n_others = 0, n_all_paired = 0;
    for (int i = 0; i < material->n_rows; i++)
        n_all_paired += is_in(material, i, paired);
    for (int i = 0; i < material->n_rows; i++) {
        int row = material->rows[i];
        bool traced =
            trace_plan_takes(run, is_in(material, i, paired) ? n_paired++ : n_all_paired + n_others++);
        bool answered = states[row] & STORE_DONE;
        traced = traced && trace_wants(run->trace, cell->key, row);
        if (answered && !traced)
            continue;
        const char *path = shown_image(material, cell->arm->control, row);
        if (path == NULL) /* asked without a picture: with those who are shown its own */
            path = material->data.samples[row].image ? material->data.samples[row].image : "";
        int group = map_get(pictures, path, strlen(path));
        if (group < 0) {
            group = queue->n_groups++;
            map_put(pictures, path, strlen(path), group);
        }
        queue->items[queue->n_items++] = (struct item){.cell = cell_index,
                                                       .benchmark = cell->benchmark,
                                                       .row = row,
                                                       .group = group,
                                                       .order = order,
                                                       .trace = traced,
                                                       .answered = answered};
    }
    return OK;
}

/* The sorted items by question, and those by picture. */
static enum status make_units(struct work_queue *queue, struct error *err)
{
    size_t n = (size_t)queue->n_items;
    queue->units = memory_alloc(n, sizeof *queue->units);
    queue->groups = memory_zero((size_t)queue->n_groups, sizeof *queue->groups);
    if (queue->units == NULL || queue->groups == NULL)
        return memory_failed(err, "the list of questions", n * sizeof *queue->units);
    const struct item *items = queue->items;
    for (int i = 0; i < queue->n_items; i++) {
        if (i == 0 || items[i].group != items[i - 1].group || items[i].benchmark != items[i - 1].benchmark ||
            items[i].row != items[i - 1].row) {
            struct group *group = &queue->groups[items[i].group];
            if (group->n++ == 0)
                group->next = queue->n_units;
            group->end = queue->n_units + 1;
            queue->units[queue->n_units++] = (struct unit){.next = i, .group = items[i].group};
        }
        queue->units[queue->n_units - 1].end = i + 1;
    }
    return OK;
}

enum status work_queue_make(struct work_queue *queue, struct run *run, int n_workers, struct error *err)
{
    size_t n_most = 0, n_rows_most = 1, n_pictures = 1;
    *queue = (struct work_queue){.n_workers = n_workers,
                                 .taken = memory_alloc((size_t)n_workers, sizeof *queue->taken)};
    for (int w = 0; queue->taken && w < n_workers; w++)
        queue->taken[w] = -1;
    for (int c = 0; c < run->grid.n_cells; c++) {
        const struct material *material = &run->materials[run->grid.cells[c].benchmark];
        n_most += (size_t)material->n_rows;
        n_rows_most = n_rows_most < (size_t)material->data.n ? (size_t)material->data.n : n_rows_most;
    }
    for (int b = 0; b < run->sweep.n_benchmarks; b++)
        n_pictures += run->materials[b].open ? (size_t)run->materials[b].data.n : 0;
    struct map pictures = {0};
    uint8_t *states = memory_alloc(n_rows_most, 1);
    queue->items = memory_alloc(n_most, sizeof *queue->items);
    enum status status = OK;
    if (queue->taken == NULL || states == NULL || queue->items == NULL || !map_init(&pictures, n_pictures))
        TRY_GOTO(status, memory_failed(err, "the list of samples", n_most * sizeof *queue->items));
    for (int c = 0; c < run->grid.n_cells; c++)
        if (run->grid.cells[c].model == run->model && cell_is_runnable(&run->grid.cells[c]))
            TRY_GOTO(status, add_items(queue, run, c, &pictures, states, err));
    qsort(queue->items, (size_t)queue->n_items, sizeof *queue->items, by_unit);
    TRY_GOTO(status, make_units(queue, err));
exit:
    map_free(&pictures);
    free(states);
    return status;
}

void work_queue_free(struct work_queue *queue)
{
    free(queue->items);
    free(queue->units);
    free(queue->groups);
    free(queue->taken);
    *queue = (struct work_queue){0};
}
