/* A benchmark: reads its official files, builds its official prompt, scores as its official scorer does. One
 * file a benchmark, one line in benchmarks.c; a twin ("mini-pope") is the same code on generated files.
 *
 *     const struct benchmark *b = benchmark_find("mini-pope");
 *     struct dataset data;
 *     TRY(benchmark_read(&data, "mini-pope", &(struct benchmark_paths){.root = "…/eval"}, &err));
 *     ... answers.text[i] for data.samples[i] ...
 *     TRY(benchmark_score(&metrics, &data, &answers, PROTOCOL_OFFICIAL, &err)); // all that `winnow score`
 * prints
 */
#ifndef WINNOW_BENCHMARK_H
#define WINNOW_BENCHMARK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* One question. Texts are owned by the dataset. */
struct sample {
    int row;                 /* 0-based row of the question file: the sample_id */
    const char *question_id; /* as text, also where the file has a number */
    bool numeric_id;         /* the file has a number: files for official scorers must too */
    const char *image;       /* path of the picture file, NULL for text only */
    const char *image_name;  /* as in the question file */
    const char *cluster;     /* statistical cluster: the image */
    const char *group;       /* scoring group that `limit` keeps whole: the question itself here */
    const char *category;    /* pope: adversarial, popular, random; gqa: structural type; "" where none */
    const char *detail;      /* finer type where the files have one (gqa types.detailed), else "" */
    const char *text;        /* the question with its suffix, without template and placeholder */
    const char *gold;        /* as the scorer sees it; NULL where the files have none */
    void *extra;             /* the benchmark's own, owned by the dataset's arena */
};

struct dataset {
    const struct benchmark *benchmark;
    const char *name; /* as asked for: "pope" or "mini-pope" */
    struct sample *samples;
    int n;
    bool has_gold;
    char files_sha256[65];  /* of question and annotation rows: part of a sweep's key */
    void *own;              /* the benchmark's own (golds, choices …) */
    struct text_pool *pool; /* holds every text above */
};

/* Where the files are. Given paths win over root; NULL: the benchmark's usual place under root. */
struct benchmark_paths {
    const char *root; /* the tree of LLaVA's evaluation (…/playground/data/eval), or a twin's --out */
    const char *questions, *annotations, *images;
};

/* How answers are judged. CONVERTED: officially, but the answers are already what the official converter
 * makes of a model's words (GQA's [{questionId, prediction}]). */
enum protocol { PROTOCOL_OFFICIAL, PROTOCOL_LMMS, PROTOCOL_VLMEVAL, PROTOCOL_CONVERTED };

struct answers;

struct benchmark {
    const char *name;      /* "pope" */
    const char *title;     /* "POPE" */
    const char *metric;    /* what the headline is: "mean F1 × 100" */
    const char *unit;      /* "%" or "points" */
    double scale;          /* headline of a perfect answer file */
    int max_new_tokens;    /* LLaVA's answer limit */
    const char *published; /* where the files are published */

    enum status (*read)(struct dataset *out, const struct benchmark_paths *paths, struct error *err);
    /* Only what scoring needs: question file and annotations, no pictures need exist. */
    void (*close)(struct dataset *dataset);
    /* Score of one answer, 0 … 1 (NaN without a gold), and its parsed form ("yes", "no", or the normalised
     * text) for loyalty. */
    double (*score_sample)(char *parsed, size_t size, const struct dataset *dataset, int row,
                           const char *answer, enum protocol protocol);
    /* The official headline as a function of sums, so that a bootstrap draw costs additions only: `tally`
     * adds what one scoring group (rows[n] of one `group`, ascending, with their scores) contributes to
     * sums[n_sums], and `headline` makes the figure of them; NaN where it has no meaning. */
    int n_sums;
    void (*tally)(double *sums, const struct dataset *dataset, const int *rows, const double *scores, int n);
    double (*headline)(const double *sums);
    /* Fills the benchmark's own figures (names of cli.md, section 4), `headline` and `n`, and appends to
     * `warnings`. Called by benchmark_score, which has checked that there are golds and that the protocol is
     * supported. */
    enum status (*score)(json_t *figures, json_t *warnings, const struct dataset *dataset,
                         const struct answers *answers, enum protocol protocol, struct error *err);
    unsigned protocols; /* bits 1 << PROTOCOL_… */
};

/* All benchmarks; twins share the entry of the real one. */
const struct benchmark *const *benchmarks(int *n);
/* "pope" and "mini-pope" give the same entry; NULL when there is none. *is_twin may be NULL. */
const struct benchmark *benchmark_find(const char *name, bool *is_twin);
enum status benchmark_read(struct dataset *out, const char *name, const struct benchmark_paths *paths,
                           struct error *err);
void dataset_close(struct dataset *dataset);

/* Answers matched to rows of the dataset. From a file: JSON lines {"question_id", "text"}, or a JSON list
 * [{"questionId", "prediction"}]. Of several answers to one question the last counts, as in the official
 * readers' dictionaries; rows that share an id (MME, TextVQA) are told apart by the answer's "prompt", else
 * taken in order. */
struct answers {
    const char **text; /* [dataset->n], NULL = missing; owned */
    bool converted;    /* the list form: see PROTOCOL_CONVERTED */
    int n_missing, n_duplicate, n_unknown;
    struct text_pool *pool;
};
enum status answers_read(struct answers *out, const struct dataset *dataset, const char *path,
                         struct error *err);
void answers_free(struct answers *answers);

/* All that `winnow score` prints: the benchmark's figures, `benchmark`, `protocol`, `metric`, `headline`,
 * `warnings`, `n`, `n_missing`, `n_duplicate`, `n_unknown`. Missing answers are left out of every figure and
 * warned about. The caller json_decref's *figures. */
enum status benchmark_score(json_t **figures, const struct dataset *dataset, const struct answers *answers,
                            enum protocol protocol, struct error *err);
/* "official", "lmms", "vlmeval"; an unknown or unsupported one is an error that lists those there are. */
enum status protocol_parse(enum protocol *out, const struct benchmark *benchmark, const char *name,
                           struct error *err);

/* For the statistics: sums by cluster, [n_clusters, n_sums], of rows[n] (any subset, ascending) with their
 * scores; NaN scores are left out. Clusters stand in the order of their first row, so the same rows give the
 * same clusters. The caller frees *sums. */
enum status benchmark_sums(double **sums, int *n_clusters, const struct dataset *dataset, const int *rows,
                           const double *scores, int n, struct error *err);

#endif
