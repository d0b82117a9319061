/* Cuts as they happened, kept on the host for parity, traces, replays and pictures (struct cut_record). */
#include <stdlib.h>
#include <string.h>

#include "cut.h"
#include "memory.h"

/* A copy of n values of 4 bytes; NULL without any. */
static void *copy_of(const void *from, int n, bool *failed)
{
    if (n <= 0 || from == NULL)
        return NULL;
    void *copy = memory_alloc((size_t)n, 4);
    if (copy)
        memcpy(copy, from, (size_t)n * 4);
    *failed = *failed || copy == NULL;
    return copy;
}

static enum status record_add(struct cut_record **out, struct reduction *r, struct error *err)
{
    if (r->n_records == r->records_room) {
        int room = r->records_room ? 2 * r->records_room : 4;
        struct cut_record *grown = memory_grow(r->records, (size_t)room, sizeof *grown);
        if (grown == NULL)
            return memory_failed(err, "cut records", (size_t)room * sizeof *grown);
        r->records = grown;
        r->records_room = room;
    }
    *out = &r->records[r->n_records++];
    return OK;
}

/* Places of the rows that scored among the rater candidates. */
static void raters_keep(struct cut_record *out, const struct reduction *r, enum score_rows rows, bool *failed)
{
    if (rows == ROWS_CHOSEN) {
        out->n_raters = r->n_rater_rows;
        out->raters = copy_of(r->rater_rows, r->n_rater_rows, failed);
    } else if (rows == ROWS_TEXT || rows == ROWS_LAST) {
        int n = r->n_candidates;
        out->n_raters = rows == ROWS_TEXT ? n : n > 0;
        out->raters = memory_alloc((size_t)out->n_raters + 1, sizeof *out->raters);
        *failed = *failed || out->raters == NULL;
        for (int i = 0; out->raters && i < out->n_raters; i++)
            out->raters[i] = rows == ROWS_TEXT ? i : n - 1;
    } else {
        out->n_raters = rows == ROWS_ALL ? -1 : 0;
    }
}

enum status record_keep(struct reduction *r, const struct view *view, const struct selection *selection,
                        const struct choice *choice, enum score_rows rows, struct error *err)
{
    struct cut_record *record = NULL;
    TRY(record_add(&record, r, err));
    bool failed = false;
    int n = view->n_visual;
    *record = (struct cut_record){.site = view->site,
                                  .image = view->site == SITE_VISION ? view->image : -1,
                                  .turn = r->turn,
                                  .layer = view->layer,
                                  .n_in = n,
                                  .in_place = selection->in_place,
                                  .keep_class = selection->keep_class,
                                  .tower = r->tower,
                                  .n_kept = selection->n_kept,
                                  .n_recycled = selection->n_recycled,
                                  .n_clusters = selection->n_clusters,
                                  .rank = selection->rank};
    record->kept = copy_of(choice->kept, record->n_kept, &failed);
    record->recycled = copy_of(choice->recycled, record->n_recycled, &failed);
    record->cluster_of = copy_of(choice->group, record->n_recycled, &failed);
    record->weight = copy_of(choice->weight, record->n_recycled, &failed);
    record->centres = copy_of(choice->centres, record->n_clusters, &failed);
    record->own = selection->has_own ? copy_of(choice->own, record->n_clusters, &failed) : NULL;
    raters_keep(record, r, rows, &failed);
    record->ids_in = memory_alloc((size_t)n + 1, sizeof *record->ids_in);
    if (record->ids_in == NULL || failed)
        return memory_failed(err, "cut record", (size_t)n * sizeof(int32_t));
    for (int j = 0; j < n; j++)
        record->ids_in[j] = r->sequence.tokens[choice->visual[j]].id;
    const float *score = selection->score ? selection->score : view->score;
    if (score) {
        record->score = memory_alloc((size_t)n, sizeof *record->score);
        if (record->score == NULL)
            return memory_failed(err, "scores", (size_t)n * sizeof(float));
        r->session->vlm->ops->download(&r->session->compute, record->score, score, (size_t)n * sizeof(float));
    }
    return OK;
}

void cut_records_free(struct cut_record *records, int n)
{
    for (int i = 0; i < n; i++) {
        struct cut_record *r = &records[i];
        void *own[] = {r->ids_in,  r->kept, r->recycled, r->cluster_of, r->weight,
                       r->centres, r->own,  r->raters,   r->score,      r->group_of};
        for (unsigned j = 0; j < sizeof own / sizeof *own; j++)
            free(own[j]);
    }
    free(records);
}

enum status records_append(struct cut_record **out, int *n_out, const struct cut_record *records, int n,
                           int first_id, int first_cluster, struct error *err)
{
    if (n == 0)
        return OK;
    struct cut_record *grown = memory_grow(*out, (size_t)(*n_out + n), sizeof *grown);
    if (grown == NULL)
        return memory_failed(err, "cut records", (size_t)n * sizeof *grown);
    *out = grown;
    for (int i = 0; i < n; i++) {
        const struct cut_record *from = &records[i];
        struct cut_record *to = &grown[(*n_out)++];
        bool failed = false;
        *to = *from;
        to->ids_in = copy_of(from->ids_in, from->n_in, &failed);
        to->kept = copy_of(from->kept, from->n_kept, &failed);
        to->recycled = copy_of(from->recycled, from->n_recycled, &failed);
        to->cluster_of = copy_of(from->cluster_of, from->n_recycled, &failed);
        to->weight = copy_of(from->weight, from->n_recycled, &failed);
        to->centres = copy_of(from->centres, from->n_clusters, &failed);
        to->own = copy_of(from->own, from->n_clusters, &failed);
        to->raters = copy_of(from->raters, from->n_raters, &failed);
        to->score = copy_of(from->score, from->n_in, &failed);
        to->group_of = copy_of(from->group_of, from->n_group_of, &failed);
        if (failed)
            return memory_failed(err, "cut records", (size_t)n * sizeof *grown);
        for (int j = 0; j < to->n_in; j++)
            to->ids_in[j] += to->ids_in[j] >= 0 ? first_id : -first_cluster;
    }
    return OK;
}
