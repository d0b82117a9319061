/* Inside the runtime: a method at work on one picture in the tower, or on one prompt in the decoder.
 *
 * The runtime offers every place where a cut may stand (a cut point); where the plan has one, the method is
 * shown the tokens and their attention and answers with a selection; the runtime then moves the rows from
 * work.x to work.next (move.c), keeps the record (record.c) and counts.
 */
#ifndef WINNOW_CUT_H
#define WINNOW_CUT_H

#include "session.h"

struct reduction {
    struct session *session;
    const struct method *method;
    struct plan plan; /* adaptive counts are filled in */
    const struct tap *tap;
    const struct patch_grid *grids;  /* of each picture */
    const struct cut_record *replay; /* [n_replay] method replay: what the trace says, all sites */
    int n_replay;
    uint64_t seed, sample;
    int image, turn; /* image: in the tower, else −1 */
    struct path path;
    struct tower_options tower;

    struct sequence sequence, spare; /* tokens that enter the next layer; where a cut builds its successor */
    int n_candidates;                /* rater candidates: the last tokens of the sequence */
    int next_cut;                    /* of the plan */
    int32_t *rater_rows;             /* places among the candidates, host */
    int n_rater_rows;                /* −1: not chosen */
    int32_t *group_of;               /* tower: place that each patch went into, −1 where dropped; or NULL */
    int n_group_of;

    /* The next layer's unrotated keys of the successor's rows are in work.k, paid for by its cut. */
    bool keys_ready;
    uint64_t keys_macs;
    double keys_ms; /* of the keys of all rows that entered the cut */

    bool want_records;
    struct cut_record *records;
    int n_records, records_room;

    /* what the method cost */
    uint64_t macs, macs_counted;
    double ms, rank_ms;
    bool marked; /* a factor reached its floor (SparseVLM plus) */
};

void reduction_free(struct reduction *r);

/* A layer just run, after which there may be a cut. */
struct cut_point {
    enum cut_site site;
    int layer, d;      /* d: width of the rows in work.x */
    struct kv_view kv; /* of the layer; the queries are in work.q, their log-sum-exp in work.lse */
    int n_heads, head_dim;
};

struct cut_result {
    bool cut; /* something was cut */
    int n_in, kept, recycled, clusters, dropped, raters, rank;
    uint64_t macs; /* of this cut, also where it was skipped after all */
};

/* Rows that score, before layer 0; no row at all cancels the plan's cuts. */
enum status cut_prepare(struct reduction *r, struct error *err);
/* Whether the plan has a cut at this point. */
bool cut_here(const struct reduction *r, enum cut_site site, int layer);
/* Whether a cut at this point looks at attention, so that the log-sum-exp is needed. */
bool cut_scores(const struct reduction *r, enum cut_site site, int layer);
enum status cut_apply(struct cut_result *out, struct reduction *r, const struct cut_point *point,
                      struct error *err);
/* Rows of the sequence that score, on the host; *out holds sequence.n. Returns how many. */
int cut_rows(int32_t *out, const struct reduction *r, enum score_rows rows);

/* Places in work.index (session.h says how long each is). */
enum {
    INDEX_VISUAL,
    INDEX_ORDER,
    INDEX_KEPT,
    INDEX_CENTRES,
    INDEX_POSITIONS,
    N_INDEX_SHORT, /* those so far hold work.n_rows entries; those behind INDEX_ROOM times as many */
    INDEX_ROWS = N_INDEX_SHORT,
    INDEX_RECYCLED,
    INDEX_GROUP,
    N_INDEX
};
enum { INDEX_ROOM = 4 }; /* the windows of a pool overlap: a patch may stand in four */
int32_t *index_at(const struct session *s, int which);

/* ---- move.c: acting on a selection ---------------------------------------------------------- */
/* Host copies of a selection. */
struct choice {
    int32_t *block, *kept, *recycled, *group, *centres;
    float *own, *weight;
    const int32_t *visual; /* rows of the visual tokens, borrowed */
    int n_sources;         /* different tokens among the recycled */
    int n_into;            /* different tokens in clusters, centres that give a share included */
};
enum status choice_download(struct choice *out, struct session *s, const struct selection *selection,
                            const int32_t *visual, int n_visual, struct error *err);
void choice_free(struct choice *choice);
/* The new rows: work.next from work.x, and r->spare from r->sequence; then they change places. */
enum status rows_move(struct reduction *r, const struct selection *selection, const struct choice *choice,
                      int d, struct error *err);

/* ---- record.c: what happened, for parity, traces and pictures ------------------------------- */
/* Called before the sequence moves on. */
enum status record_keep(struct reduction *r, const struct view *view, const struct selection *selection,
                        const struct choice *choice, enum score_rows rows, struct error *err);
/* Copies of records [n] behind those in *out [*n_out]; tokens of a picture become tokens of the sample: its
 * patches begin at first_id, its clusters at first_cluster. */
enum status records_append(struct cut_record **out, int *n_out, const struct cut_record *records, int n,
                           int first_id, int first_cluster, struct error *err);

#endif
