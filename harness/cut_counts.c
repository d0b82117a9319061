/* Counts of cuts, see cut_counts.h. */
#include "harness/cut_counts.h"

#include <stdlib.h> /* free */

#include "core/memory.h"

bool cut_keeps_own(const struct cut_record *cut, int kept)
{
    int32_t place = cut->kept[kept];
    if (cut->ids_in[place] < 0)
        return false;
    for (int g = 0; cut->in_place && g < cut->n_clusters; g++)
        if (cut->centres[g] == place)
            return false;
    return true;
}

static int count_new(bool *seen, const int32_t *places, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        count += !seen[places[i]];
        seen[places[i]] = true;
    }
    return count;
}

static int leaves(const struct cut_record *cut)
{
    return cut->n_kept + (cut->in_place ? 0 : cut->n_clusters) + (cut->keep_class ? 1 : 0);
}

enum status cut_counts(struct cut_counts *out, const struct cut_record *cut, struct error *err)
{
    bool *seen = memory_zero((size_t)cut->n_in + 1, sizeof *seen);
    if (seen == NULL)
        return memory_failed(err, "counts of a cut", (size_t)cut->n_in);
    *out = (struct cut_counts){.n_in = cut->n_in,
                               .n_out = leaves(cut),
                               .kept = cut->n_kept - (cut->in_place ? cut->n_clusters : 0),
                               .clusters = cut->n_clusters + (cut->keep_class ? 1 : 0)};
    out->recycled = count_new(seen, cut->recycled, cut->n_recycled);
    if (cut->own)
        out->recycled += count_new(seen, cut->centres, cut->n_clusters);
    out->dropped = out->n_in - out->kept - out->recycled;
    free(seen);
    return OK;
}

/* The tower's cuts of one picture, from its last one. */
static void count_tower(struct cut_counts *out, const struct cut_record *last)
{
    int own = 0, alive = 0;
    for (int i = 0; i < last->n_kept; i++)
        own += cut_keeps_own(last, i);
    for (int p = 0; p < last->n_group_of; p++)
        alive += last->group_of[p] >= 0;
    out->kept += own;
    out->recycled += alive - own;
    out->clusters += leaves(last) - own;
    out->n_in += last->n_group_of;
    out->n_out += leaves(last);
}

enum status cut_counts_before(struct cut_counts *out, const struct answer *answer, struct error *err)
{
    const struct ledger *ledger = &answer->ledger;
    const struct cut_record *before = NULL;
    struct cut_counts all = {0};
    for (int i = 0; i < answer->n_records; i++) {
        const struct cut_record *cut = &answer->records[i];
        if (cut->n_group_of > 0)
            count_tower(&all, cut);
        else if (cut->site == SITE_BEFORE) /* of several turns the last */
            before = cut;
    }
    bool tower = all.n_in > 0;
    if (tower) { /* class tokens of families that keep them stand beside the patches */
        all.kept += ledger->n_visual - all.n_in;
        all.n_out += ledger->n_visual - all.n_in;
        all.n_in = ledger->n_visual;
    } else if (before == NULL && ledger->before_kept != ledger->n_visual) { /* a smaller picture */
        all = (struct cut_counts){.n_in = ledger->n_visual,
                                  .n_out = ledger->before_kept,
                                  .recycled = ledger->n_visual,
                                  .clusters = ledger->before_kept};
    } else {
        all = (struct cut_counts){
            .n_in = ledger->n_visual, .n_out = ledger->n_visual, .kept = ledger->n_visual};
    }
    if (before != NULL) {
        struct cut_counts one;
        TRY(cut_counts(&one, before, err));
        int own = 0;
        for (int i = 0; i < before->n_kept; i++)
            own += cut_keeps_own(before, i);
        /* after a tower: what it merged and is kept stays merged, what is dropped of it counts as merged */
        all.recycled = tower ? all.recycled + all.kept - own - one.dropped : one.recycled;
        all.recycled = all.recycled > 0 ? all.recycled : 0;
        all.kept = own;
        all.n_out = one.n_out;
        all.clusters = one.n_out - own;
    }
    all.dropped = all.n_in - all.kept - all.recycled;
    *out = all;
    return OK;
}
