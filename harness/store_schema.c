/* Tables and views of the store. The tables are free to change (raise STORE_SCHEMA, add a migration); the
 * columns of the views are the contract of docs/cli.md, "The store".
 *
 *     source --< question        what is asked: one source per question and annotation files
 *       |                        |
 *     cell --< sample >----------+     one answer each;  sample --< layer, keep
 *       |-- summary, keep_rate         figures of a whole cell, made anew at the end of every sweep
 *       '--< comparison                cell against a base
 *     judge_reply                      what judges said, by the hash of what they were asked
 *     activity, planned                who works on the store and how much is to be done: for `winnow
 * status`, no figure depends on them
 *
 * Figures that are counts, sums and means are computed by the views from the rows, so they are right at any
 * moment; a score that was computed over fewer rows than there are now is not shown.
 */
#include "harness/store.h"

#include "harness/activity.h" /* ACTIVITY_TABLES */
#include "harness/judge.h"    /* JUDGE_TABLE */

/* Joined with the rows instead of a table of their sums, so that one cell's line reads that cell's rows only.
 */
#define N_ANSWERED     "sum(x.cell IS NOT NULL AND x.error IS NULL)"
#define SUMMED(column) "CASE WHEN s.n = " N_ANSWERED " THEN s." column " END AS " column
#define SEEN(column)   "avg(CASE WHEN x.n_visual > 0 THEN x." column " END) AS " column
#define MEAN(column)   "avg(x." column ") AS " column
#define CELLS_VIEW                                                                                                                                                                                                                                                                                                   \
    "CREATE VIEW cells AS SELECT c.key, c.model, c.family, c.method, c.params, c.benchmark, c.split,"                                                                                                                                                                                                                \
    " c.control, c.template, c.image_mode, c.budget, c.match, c.seed,"                                                                                                                                                                                                                                               \
    " coalesce(" N_ANSWERED ", 0) AS n, coalesce(sum(x.error IS NOT NULL), 0) AS n_failed, c.reason,"                                                                                                                                                                                                                \
    " c.metric, " SUMMED("score") ", " SUMMED("score_lo") ", " SUMMED("score_hi") ", " SUMMED(                                                                                                                                                                                                                       \
        "metrics") ", " SEEN("tokens_in") ", " SEEN("tokens_out") ","                                                                                                                                                                                                                                                \
                                                                  " sum(CASE WHEN x.n_visual > 0 AND "                                                                                                                                                                                                               \
                                                                  "x.requested > 0 THEN x.measured END)"                                                                                                                                                                                                             \
                                                                  "  / sum(CASE WHEN x.n_visual > 0 AND "                                                                                                                                                                                                            \
                                                                  "x.requested > 0 THEN x.requested END) - "                                                                                                                                                                                                         \
                                                                  "1 AS budget_off, " MEAN(                                                                                                                                                                                                                          \
                                                                      "macs_paper") ", avg(x.flops_vision "                                                                                                                                                                                                          \
                                                                                    "+ x.flops_project + "                                                                                                                                                                                                           \
                                                                                    "x.flops_prefill + "                                                                                                                                                                                                             \
                                                                                    "x.flops_select"                                                                                                                                                                                                                 \
                                                                                    " + x.flops_head + "                                                                                                                                                                                                             \
                                                                                    "x.flops_decode) AS "                                                                                                                                                                                                            \
                                                                                    "flops, " MEAN("flops_"                                                                                                                                                                                                          \
                                                                                                   "vision") ", " MEAN("flops_project") ", " MEAN("flops_prefill") ", " MEAN("flops_select") ", " MEAN(                                                                                                              \
                                                                                        "flops_head") ","                                                                                                                                                                                                            \
                                                                                                      " " MEAN("flops_decode") ", " SEEN("kv_bytes_live") ", " SEEN("kv_bytes_alloc") ", " SEEN("kv_visual_bytes") ","                                                                                               \
                                                                                                                                                                                                                   " coalesce(sum(x.timed), 0) AS timed_n, s.preprocess_ms, s.vision_ms, s.prefill_ms, s.select_ms," \
                                                                                                                                                                                                                   " s.ttft_ms, s.decode_ms_per_token, s.total_ms, s.peak_bytes, c.device, c.dtype,"                 \
                                                                                                                                                                                                                   " CASE WHEN min(x.machine) = max(x.machine) THEN min(x.machine)"                                  \
                                                                                                                                                                                                                   "  ELSE min(x.machine) || ' + ' || max(x.machine) END AS machine, c.revision, c.created"          \
                                                                                                                                                                                                                   " FROM cell c LEFT JOIN summary s ON s.cell = c.id LEFT JOIN sample x ON x.cell = c.id GROUP BY c.key;"

const char *const store_schema =
    "PRAGMA application_id = 1464421975;" /* "WINW" */
    "CREATE TABLE source(id INTEGER PRIMARY KEY, benchmark TEXT NOT NULL, files_sha TEXT NOT NULL,"
    " UNIQUE(benchmark, files_sha));"
    "CREATE TABLE question(source INTEGER NOT NULL REFERENCES source, sample_id INTEGER NOT NULL, "
    "question_id TEXT,"
    " image TEXT, cluster TEXT, question TEXT, gold TEXT, is_number INTEGER, PRIMARY KEY(source, sample_id))"
    " WITHOUT ROWID;" /* is_number: the question file has question_id as a number, which scorers want back */

    "CREATE TABLE cell(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, canonical TEXT NOT NULL,"
    " source INTEGER NOT NULL REFERENCES source, model TEXT, weights_sha TEXT, family TEXT, method TEXT, "
    "params TEXT,"
    " benchmark TEXT, split TEXT, control TEXT, template TEXT, image_mode TEXT, max_new_tokens INTEGER, "
    "budget,"
    " match TEXT, seed INTEGER, reason TEXT, metric TEXT, device TEXT, dtype TEXT, revision TEXT, created "
    "TEXT);"

    "CREATE TABLE sample(cell INTEGER NOT NULL REFERENCES cell, sample_id INTEGER NOT NULL, machine TEXT, "
    "image TEXT,"
    " answer TEXT, parsed TEXT, score REAL, error TEXT, yes_prob REAL, n_generated INTEGER, n_visual INTEGER,"
    " tokens_in REAL, tokens_out REAL, requested REAL, measured REAL, macs_paper INTEGER, flops_vision "
    "INTEGER,"
    " flops_project INTEGER, flops_prefill INTEGER, flops_select INTEGER, flops_head INTEGER, flops_decode "
    "INTEGER,"
    " kv_bytes_live INTEGER, kv_bytes_alloc INTEGER, kv_visual_bytes INTEGER, wall_ms REAL,"
    " marked INTEGER NOT NULL DEFAULT 0, timed INTEGER NOT NULL DEFAULT 0, preprocess_ms REAL, vision_ms "
    "REAL, project_ms REAL, prefill_ms REAL,"
    " select_ms REAL, ttft_ms REAL, decode_ms_per_token REAL, total_ms REAL, verdict TEXT, judge TEXT,"
    " PRIMARY KEY(cell, sample_id)) WITHOUT ROWID;" /* verdict: the reply of the model `judge` */
    "CREATE TABLE layer(cell INTEGER NOT NULL REFERENCES cell, sample_id INTEGER NOT NULL, layer INTEGER NOT "
    "NULL,"
    " visual_in INTEGER, visual_out INTEGER, kept INTEGER, recycled INTEGER, clusters INTEGER, dropped "
    "INTEGER,"
    " raters INTEGER, rank INTEGER, kv_len INTEGER, flops INTEGER, PRIMARY KEY(cell, sample_id, layer)) "
    "WITHOUT ROWID;"
    "CREATE TABLE keep(cell INTEGER NOT NULL REFERENCES cell, sample_id INTEGER NOT NULL, layer INTEGER NOT "
    "NULL,"
    " rows INTEGER NOT NULL, cols INTEGER NOT NULL, alive BLOB NOT NULL,"
    " PRIMARY KEY(cell, sample_id, layer)) WITHOUT ROWID;"

    JUDGE_TABLE ACTIVITY_TABLES

    "CREATE TABLE summary(cell INTEGER PRIMARY KEY REFERENCES cell, n INTEGER, score REAL, score_lo REAL,"
    " score_hi REAL, metrics TEXT, timed_n INTEGER, preprocess_ms REAL, vision_ms REAL, prefill_ms REAL,"
    " select_ms REAL, ttft_ms REAL, decode_ms_per_token REAL, total_ms REAL, peak_bytes INTEGER);"
    "CREATE TABLE keep_rate(cell INTEGER NOT NULL REFERENCES cell, layer INTEGER NOT NULL, row INTEGER NOT "
    "NULL,"
    " col INTEGER NOT NULL, rate REAL NOT NULL, PRIMARY KEY(cell, layer, row, col)) WITHOUT ROWID;"
    "CREATE TABLE comparison(cell INTEGER NOT NULL REFERENCES cell, base INTEGER NOT NULL REFERENCES cell, n "
    "INTEGER,"
    " diff REAL, lo REAL, hi REAL, b01 INTEGER, b10 INTEGER, mcnemar_p REAL, holm_p REAL, bh_q REAL, loyalty "
    "REAL,"
    " PRIMARY KEY(cell, base)) WITHOUT ROWID;"

    CELLS_VIEW

    "CREATE VIEW samples AS SELECT c.key, s.sample_id, q.question_id, coalesce(s.image, q.image) AS image, "
    "q.cluster,"
    " q.question, q.gold, s.answer, s.score, s.error, s.yes_prob, s.n_generated, s.tokens_in,"
    " s.flops_vision + s.flops_project + s.flops_prefill + s.flops_select + s.flops_head + s.flops_decode AS "
    "flops,"
    " s.kv_bytes_live, s.machine, s.timed, s.preprocess_ms, s.vision_ms, s.project_ms, s.prefill_ms, "
    "s.select_ms,"
    " s.ttft_ms, s.decode_ms_per_token, s.total_ms"
    " FROM sample s JOIN cell c ON c.id = s.cell"
    " JOIN question q ON q.source = c.source AND q.sample_id = s.sample_id;"

    "CREATE VIEW layers AS SELECT c.key, l.sample_id, l.layer, l.visual_in, l.visual_out, l.kept, l.recycled,"
    " l.clusters, l.dropped, l.raters, l.rank, l.kv_len, l.flops FROM layer l JOIN cell c ON c.id = l.cell;"
    "CREATE VIEW keep_map AS SELECT c.key, k.layer, k.row, k.col, k.rate"
    " FROM keep_rate k JOIN cell c ON c.id = k.cell;"
    "CREATE VIEW comparisons AS SELECT c.key, b.key AS base_key, x.n, x.diff, x.lo, x.hi, x.b01, x.b10, "
    "x.mcnemar_p,"
    " x.holm_p, x.bh_q, x.loyalty FROM comparison x JOIN cell c ON c.id = x.cell JOIN cell b ON b.id = "
    "x.base;";

const char *const store_migrations[] = {
    "ALTER TABLE sample ADD COLUMN marked INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE sample ADD COLUMN verdict TEXT; ALTER TABLE sample ADD COLUMN judge TEXT;"
    " ALTER TABLE question ADD COLUMN is_number INTEGER;" JUDGE_TABLE,
    ACTIVITY_TABLES "DROP VIEW cells;" CELLS_VIEW,
};
