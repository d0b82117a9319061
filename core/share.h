/* Inside the runtime: what prefills have in common is computed once (docs/architecture.md, "Sharing").
 *
 * A segment is a run of decoder layers between two cuts. What goes into it is known by its path: the
 * pictures, the ids, and every selection made so far, as a hash. The state behind a segment's last layer is
 * held under that path, and a later prefill that comes along the same path takes it up instead of running
 * the layers: another method that cuts at the same place or deeper, or (prefix) another question about the
 * same picture, which shares the rows before its own text. Row invariance (ops.h) makes the result the same
 * bit by bit.
 *
 * States belong to a session and are let go by last use when they take more than its limit.
 */
#ifndef WINNOW_SHARE_H
#define WINNOW_SHARE_H

#include "kv.h"
#include "sha256.h"

struct session;
struct run;
struct choice;
struct selection;

enum { PATH_SIZE = 65 };

/* A decoder state: rows 0 … n − 1 behind layers first … last. */
struct held {
    struct held *next;
    char path[PATH_SIZE];
    bool prefix;
    int first, last, n;
    unsigned long used;     /* clock of the last use */
    struct kv_page **pages; /* [last − first + 1, kv_pages(n)] */
    float *x, *q, *lse; /* [n, d], [n, heads · head_dim], [n_heads, n]: of the last layer, backend; NULL in
                           the decoder's last layer, where nothing but the cache is of use */
    size_t n_bytes;     /* of x, q and lse */
};

struct share {
    size_t limit; /* bytes; 0: nothing is shared */
    struct held *states;
    unsigned long clock;
    size_t n_bytes; /* of all states, the cache's pages aside */
};

/* Of one prefill: what led to the rows in work.x. */
struct path {
    bool followed;
    struct sha256 all, prefix; /* of all rows; of those before the question's own text */
};
/* The dialogue's merged sequence, before anything was cut. */
void path_start(struct run *run);
/* A segment begins. */
void path_segment(struct run *run);
/* A selection was made behind `layer`: the same one elsewhere leaves other rows. At LAYER_BEFORE the prefix
 * still stands. */
void path_cut(struct path *path, const struct selection *selection, const struct choice *choice, int layer);

/* How far a segment's layers are done already. */
struct resume {
    int all;    /* first layer that all rows have yet to run */
    int prefix; /* first one that the prefix has; ≥ all */
    int n_prefix;
    struct held *from; /* of the prefix, where prefix > all */
};
/* What is held of layers first … last: their cache, and in work.x the rows that go on. watched: something
 * will look at all rows of the last layer. */
enum status share_resume(struct resume *out, struct run *run, int first, int last, bool watched,
                         struct error *err);
/* The prefix' rows of layer prefix − 1 join those in work.x (and, scores: in work.q and work.lse). */
void share_join(struct run *run, const struct resume *resume, bool scores);
/* Holds the state behind layer `last` for those who come after. */
void share_keep(struct run *run, const struct resume *resume, int first, int last, bool watched);

#endif
