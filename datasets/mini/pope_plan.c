/*
 * The balance of mini-pope as a maximum flow:
 *     source -(3)-> picture -(1)-> name present in it -(1)-> picture that lacks the name -(3)-> sink
 * The first edge at a name is a question answered yes, the second one answered no; what flows into a name
 * flows out, so every name is asked as often present as absent. Ford-Fulkerson with breadth-first search;
 * what no augmenting path reaches is not asked.
 */
#include "pope_plan.h"

#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* calloc, free */

const char *const pope_kinds[POPE_KINDS] = {"adversarial", "random", "popular"};

enum { SOURCE = POPE_NAMES };

/*
 * The search. Nodes: 0 … n-1 pictures asked with yes, n … 2n-1 the same pictures asked with no, from 2n the
 * names. An edge of the flow is a bit of yes or no; following it forwards sets the bit, backwards clears it.
 */
struct search {
    struct pope_plan *plan;
    uint64_t *present, *absent; /* (n) what may be asked with either answer */
    int *came_from;             /* (2n) the name a picture was reached by, SOURCE, or -1 */
    int *queue;                 /* (2n + POPE_NAMES) */
    int name_from[POPE_NAMES];  /* the picture node a name was reached by, or -1 */
};

static int set_size(uint64_t set)
{
    int n = 0;
    for (; set; set &= set - 1)
        n++;
    return n;
}

uint64_t pope_names(const struct scene *scene)
{
    uint64_t names = 0;
    for (int i = 0; i < scene->n_objects; i++)
        names |= UINT64_C(1) << (scene->objects[i].color * WORLD_SHAPES + scene->objects[i].shape);
    return names;
}

/* The node whose no has room that ends a shortest path from picture `start`, or -1. */
static int search_path(struct search *search, int start, struct world_rng *rng)
{
    const struct pope_plan *plan = search->plan;
    int n = plan->n, head = 0, tail = 0;
    int first_name = world_rng_below(rng, POPE_NAMES), first_picture = world_rng_below(rng, n);
    for (int i = 0; i < 2 * n; i++)
        search->came_from[i] = -1;
    for (int a = 0; a < POPE_NAMES; a++)
        search->name_from[a] = -1;
    search->came_from[start] = SOURCE;
    search->queue[tail++] = start;
    while (head < tail) {
        int node = search->queue[head++];
        if (node < 2 * n) { /* a picture: ask yes about one more name, or drop a no */
            uint64_t reach = node < n ? search->present[node] & ~plan->yes[node] : plan->no[node - n];
            for (int k = 0; k < POPE_NAMES; k++) {
                int a = (k + first_name) % POPE_NAMES;
                if (!(reach >> a & 1) || search->name_from[a] >= 0)
                    continue;
                search->name_from[a] = node;
                search->queue[tail++] = 2 * n + a;
            }
            continue;
        }
        uint64_t bit = UINT64_C(1) << (node - 2 * n);
        for (int k = 0; k < n; k++) { /* a name: ask no about one more picture, or drop a yes */
            int i = (k + first_picture) % n;
            if (search->came_from[n + i] < 0 && (search->absent[i] & ~plan->no[i] & bit)) {
                search->came_from[n + i] = node - 2 * n;
                if (set_size(plan->no[i]) < POPE_SIDE)
                    return n + i;
                search->queue[tail++] = n + i;
            }
            if (search->came_from[i] < 0 && (plan->yes[i] & bit)) {
                search->came_from[i] = node - 2 * n;
                search->queue[tail++] = i;
            }
        }
    }
    return -1;
}

/* Turns over every edge on the path that ends in node. */
static void search_apply(struct search *search, int node)
{
    struct pope_plan *plan = search->plan;
    while (search->came_from[node] != SOURCE) {
        int name = search->came_from[node];
        for (int end = 0; end < 2; end++) { /* picture -> name -> picture, from the back */
            *(node < plan->n ? &plan->yes[node] : &plan->no[node - plan->n]) ^= UINT64_C(1) << name;
            node = end ? node : search->name_from[name];
        }
    }
}

/* The names that are in most pictures; of equals the first. */
static uint64_t popular_names(const uint64_t *names, int n)
{
    int pictures[POPE_NAMES] = {0};
    for (int i = 0; i < n; i++)
        for (int a = 0; a < POPE_NAMES; a++)
            pictures[a] += (int)(names[i] >> a & 1);
    uint64_t popular = 0;
    for (int rank = 0; rank < POPE_POPULAR_NAMES; rank++) {
        int best = -1;
        for (int a = 0; a < POPE_NAMES; a++)
            if (!(popular >> a & 1) && (best < 0 || pictures[a] > pictures[best]))
                best = a;
        popular |= UINT64_C(1) << best;
    }
    return popular;
}

/* Names whose color is in the picture and whose shape is, on whatever objects. */
static uint64_t parts_present(uint64_t names)
{
    unsigned colors = 0, shapes = 0;
    for (int a = 0; a < POPE_NAMES; a++) {
        colors |= (unsigned)(names >> a & 1) << (a / WORLD_SHAPES);
        shapes |= (unsigned)(names >> a & 1) << (a % WORLD_SHAPES);
    }
    uint64_t both = 0;
    for (int a = 0; a < POPE_NAMES; a++)
        both |= (uint64_t)(colors >> (a / WORLD_SHAPES) & shapes >> (a % WORLD_SHAPES) & 1) << a;
    return both;
}

int pope_plan_make(struct pope_plan *plan, enum pope_kind kind, const uint64_t *names, int n,
                   struct world_rng *rng, char *err, size_t err_size)
{
    struct search search = {.plan = plan};
    int status = -1;
    plan->n = n;
    plan->yes = calloc((size_t)n, sizeof *plan->yes);
    plan->no = calloc((size_t)n, sizeof *plan->no);
    search.present = calloc((size_t)n, sizeof *search.present);
    search.absent = calloc((size_t)n, sizeof *search.absent);
    search.came_from = calloc(2 * (size_t)n, sizeof *search.came_from);
    search.queue = calloc(2 * (size_t)n + POPE_NAMES, sizeof *search.queue);
    if (!plan->yes || !plan->no || !search.present || !search.absent || !search.came_from || !search.queue) {
        snprintf(err, err_size, "out of memory for the questions of %d pictures; use a smaller --count", n);
        goto exit;
    }
    uint64_t popular = popular_names(names, n);
    for (int i = 0; i < n; i++) {
        uint64_t may = kind == POPE_ADVERSARIAL ? parts_present(names[i])
                       : kind == POPE_POPULAR   ? popular
                                                : UINT64_MAX;
        search.present[i] = names[i];
        search.absent[i] = may & ~names[i];
    }
    for (int round = 0; round < POPE_SIDE;
         round++) /* a question of either answer a round, so that all get some */
        for (int i = 0; i < n; i++) {
            int end = search_path(&search, i, rng);
            if (end >= 0)
                search_apply(&search, end);
        }
    status = 0;
exit:
    free(search.present);
    free(search.absent);
    free(search.came_from);
    free(search.queue);
    return status;
}

void pope_plan_free(struct pope_plan *plan)
{
    free(plan->yes);
    free(plan->no);
    *plan = (struct pope_plan){0};
}
