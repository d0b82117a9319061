/* Inside `winnow bench`: what its three files share. cmd_bench.c makes the rows and their plans, bench_run.c
 * times them, bench_print.c prints.
 */
#ifndef WINNOW_BENCH_H
#define WINNOW_BENCH_H

#include "command.h"

enum { BENCH_MAX_REPEATS = 1000, BENCH_TOWER_REPEATS = 20 };

/* Times of repeats, in milliseconds. */
struct series {
    double *ms;
    int n;
};

/* What the tower does for one picture. */
struct tower_times {
    struct series preprocess, vision, project, select; /* select: what the method adds, within vision */
};

/* One method at one budget and number of visual tokens, and what its runs gave. */
struct row {
    struct method method;
    const char *settings; /* of this row alone, "mode=paper;tau=0.5"; borrowed, may be empty */
    int n_visual, n_images /* equal ones, together n_visual */;
    struct plan plan;
    /* By the plan; after the runs what the ledger says. NAN: not known before a run. */
    double tokens_in, tokens_out, macs_prefill, macs_select, macs_paper, kv_live, kv_alloc, roofline_ms;
    uint64_t macs_vision, macs_project; /* of one picture */
    uint64_t macs_select_tower;         /* of one picture, measured */
    double peak_bytes;
    struct series prefill, select, rank, ttft, decode; /* without the tower */
    struct tower_times own_tower;                      /* where the method works in the tower */
};

struct bench {
    struct common_options common;
    const char *geometry, *methods, *budgets, *match, *visual, *device;
    int n_text, n_decode, n_repeats, n_room; /* n_room: runs a row has room for */
    double spread;
    bool plan;
    const char *set[64];
    bool set_used[64]; /* some method has this parameter */
    int n_set;
    struct vlm_config config;
    struct row *rows;
    int n_rows;
    char *names; /* copies of `methods`, which rows point into */
    double gemm_flops, read_bytes;
    struct tower_times tower; /* of every method that leaves it alone */
};

/* Vanilla with as many visual tokens; NULL: not among the rows. */
const struct row *bench_dense(const struct bench *b, int n_visual);
const struct tower_times *bench_tower(const struct bench *b, const struct row *row);
/* FLOPs of a layer's products of n tokens over the machine's rate, or their bytes over its bandwidth,
 * whichever is longer; seconds. */
double bench_roofline(const struct bench *b, double n);

/* bench_run.c: opens the model, runs every row, closes it. */
enum status bench_run(struct bench *b, struct error *err);
void bench_free(struct bench *b);

/* bench_print.c */
enum status bench_json(const struct bench *b, const char *machine, struct error *err);
enum status bench_table(const struct bench *b, const char *machine, struct error *err);

#endif
