/* One input of a merge, opened: statements on both sides and rows copied between them. Private to merge_*.c.
 */
#ifndef WINNOW_MERGE_INPUT_H
#define WINNOW_MERGE_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "harness/merge.h"
#include "harness/store.h"

/* Rows of a table of the input as rows of OUT: all its columns by name but the first ones, which are given.
 */
struct copier {
    sqlite3_stmt *read, *write;
    int n_given;
};

struct source_pair {
    int64_t in, out;
};

enum statement { FIND_CELL, IN_ROWS, OUT_ROW, PUT_TIMES, PUT_VERDICT, MARK, N_STATEMENTS };

struct input {
    struct merge_report *report;
    struct store *store;
    sqlite3 *db;
    const char *name; /* as it was given */
    sqlite3_stmt *statements[N_STATEMENTS];
    struct copier questions, cells, samples, layers, keeps, summaries;
    struct source_pair *sources;
    int n_sources, sources_capacity;
};

/* Columns of a sample that tell whether it is the same; those from ROW_ANSWER on are compared. */
#define ROW_COLUMNS                                                                                          \
    "sample_id, error IS NOT NULL, coalesce(timed, 0), verdict IS NOT NULL, score, answer, n_generated,"     \
    " n_visual, tokens_in, tokens_out, macs_paper, flops_vision, flops_project, flops_prefill, "             \
    "flops_select,"                                                                                          \
    " flops_head, flops_decode, kv_bytes_live, kv_bytes_alloc, kv_visual_bytes"
enum { ROW_ID, ROW_FAILED, ROW_TIMED, ROW_JUDGED, ROW_SCORE, ROW_ANSWER };

/* Taken over where only the input has times; in this order by PUT_TIMES. */
#define TIME_COLUMNS                                                                                         \
    "machine, wall_ms, preprocess_ms, vision_ms, project_ms, prefill_ms, select_ms, ttft_ms,"                \
    " decode_ms_per_token, total_ms"
#define OF_SAMPLE " FROM sample WHERE cell = ? AND sample_id = ?"

/* Opens a snapshot of the store at `path`; `name` is what it is called in messages. */
enum status input_open(struct input *input, const char *path, struct error *err);
void input_close(struct input *input);

enum status input_prepare(sqlite3_stmt **out, struct input *input, const char *sql, struct error *err);
/* *row is false after the last. */
enum status input_row(bool *row, struct input *input, sqlite3_stmt *s, struct error *err);
/* All rows of a bound copier.read, with the given values first. */
enum status copier_rows(struct copier *copier, struct input *input, const int64_t *given, struct error *err);
/* As SQL's IS. */
bool same_value(sqlite3_stmt *a, int i, sqlite3_stmt *b, int j);

/* Questions that OUT has are compared, others copied; fills input->sources. */
enum status input_sources(struct input *input, struct error *err);
/* What judges said. */
enum status input_replies(struct input *input, struct error *err);

#endif
