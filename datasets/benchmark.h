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

/* Where a sample's picture lies. */
enum media {
    MEDIA_FILE,  /* `image` is the path of a picture file */
    MEDIA_TABLE, /* base64 in a table: `table` from byte `at` on, `n_base64` of them */
    MEDIA_VIDEO  /* `image` is the path of a clip, of which the benchmark's n_frames are shown */
};

/* One question. Texts are owned by the dataset. */
struct sample {
    int row;                 /* 0-based row of the question file: the sample_id */
    const char *question_id; /* as text, also where the file has a number */
    bool numeric_id;         /* the file has a number: files for official scorers must too */
    const char *image; /* path of the picture or clip, "TABLE#NAME" in a table: one text for one picture;
                          NULL for text only */
    enum media media;
    const char *table; /* MEDIA_TABLE, else unused */
    int64_t at, n_base64;
    const char *image_name; /* as in the question file */
    const char *cluster;    /* statistical cluster: mostly the image */
    const char *group;      /* scoring group that `limit` keeps whole: mostly the question itself */
    const char *category;   /* pope: adversarial, popular, random; gqa: structural type; "" where none */
    const char *detail;     /* finer type where the files have one (gqa types.detailed), else "" */
    const char *text;       /* the question with its suffix, without template and placeholder */
    const char *gold;       /* as the scorer sees it; NULL where the files have none */
    void *extra;            /* the benchmark's own, owned by the dataset's arena */
};

struct dataset {
    const struct benchmark *benchmark;
    const char *name; /* as asked for: "pope" or "mini-pope" */
    bool is_twin;     /* "mini-…": where the official scorer is a judge, exact match instead */
    struct sample *samples;
    int n;
    bool is_missing; /* all that is left after an error: its files are not there, rather than wrong */
    bool has_gold;
    bool unordered;         /* made of a folder: the order of the rows means nothing */
    char files_sha256[65];  /* of question and annotation rows: part of a sweep's key */
    void *own;              /* the benchmark's own (golds, choices …) */
    struct text_pool *pool; /* holds every text above */
};

/* Where the files are. Given paths win over root; NULL: the benchmark's usual place under root. */
struct benchmark_paths {
    const char *root; /* the tree of LLaVA's evaluation (…/playground/data/eval) or a folder above it, or a
                         twin's --out */
    const char *questions, *annotations, *images;
};

/* How answers are judged. CONVERTED: officially, but the answers are already what the official converter
 * makes of a model's words (GQA's [{questionId, prediction}]). */
enum protocol { PROTOCOL_OFFICIAL, PROTOCOL_LMMS, PROTOCOL_VLMEVAL, PROTOCOL_CONVERTED };

struct answers;

/* What a judge is asked about one answer. Texts are malloc'ed: judge_request_free. */
struct judge_request {
    char *system; /* NULL: none */
    char *user;
    double temperature; /* NaN: the endpoint's default */
    int max_tokens;     /* 0: the endpoint's default */
};
void judge_request_free(struct judge_request *request);

/* A benchmark whose official scorer asks a language model. The network is the harness's business; here are
 * the words. */
struct judging {
    const char *model; /* the official one */
    int attempts;      /* after so many unusable replies the official scorer gives up; 0: never */
    /* attempt: 0, 1, … after replies that `read` could not use. */
    enum status (*ask)(struct judge_request *out, const struct dataset *dataset, int row, const char *answer,
                       int attempt, struct error *err);
    /* Whether a reply says anything; what it says is score_sample's to read again. */
    bool (*usable)(const char *reply);
};

struct benchmark {
    const char *name;  /* "pope" */
    const char *title; /* "POPE" */
    const char
        *folders[3];      /* its folder in LLaVA's tree of evaluation data, other spellings; none: its name */
    const char *metric;   /* what the headline is: "mean F1 × 100" */
    const char *unit;     /* "%" or "points" */
    double scale;         /* headline of a perfect answer file */
    int max_new_tokens;   /* LLaVA's answer limit */
    const char *template; /* prompt template of the official run; NULL: vicuna_v1 */
    int n_frames;         /* of a clip, 0 for pictures */
    const char *cluster;  /* what samples are not independent within: "image" */
    const char *licence;  /* of the data, as its owners state it */
    const char *published;  /* where the files are published */
    bool missing_are_wrong; /* a question without an answer counts; the scorer warns of it itself */
    const char *id_prefix;  /* may stand before an answer's id: "v1_" of MM-Vet's; NULL: none */

    enum status (*read)(struct dataset *out, const struct benchmark_paths *paths, struct error *err);
    /* Only what scoring needs: question file and annotations, no pictures need exist. */
    void (*close)(struct dataset *dataset);
    /* Score of one answer, 0 … 1 (NaN without a gold), and its parsed form ("yes", "no", or the normalised
     * text) for loyalty. verdict: a judge's reply, NULL where there is none. */
    double (*score_sample)(char *parsed, size_t size, const struct dataset *dataset, int row,
                           const char *answer, const char *verdict, enum protocol protocol);
    const struct judging *judging; /* NULL: the scorer needs no judge */
    /* Writes the answers as the official scorer or server takes them (`winnow export --format submission`),
     * to a file, or to a folder where the format has several; NULL: LLaVA's answer file is what it takes.
     * `submission` says what it is. */
    enum status (*submit)(const char *path, const struct dataset *dataset, const struct answers *answers,
                          struct error *err);
    const char *submission;
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
/* "TREE/mm-vet or TREE/mmvet": where its files are looked for under root, for messages; owned by the dataset.
 */
const char *dataset_places(const struct dataset *dataset, const char *root);

/* Answers matched to rows of the dataset. From a file: JSON lines {"question_id", "text"}, a JSON list
 * [{"questionId", "prediction"}], or a JSON object {id: text}; "id" and "pred" or "answer" are understood
 * too. Of several answers to one question the last counts, as in the official readers' dictionaries; rows
 * that share an id (MME, TextVQA) are told apart by the answer's "prompt", else taken in order. */
struct answers {
    const char **text;    /* [dataset->n], NULL = missing; owned */
    const char **verdict; /* [dataset->n], what a judge said of each, NULL = nothing; owned; NULL: no judge */
    bool converted;       /* a list, and not of LLaVA's rows with "text": see PROTOCOL_CONVERTED */
    int n_missing, n_duplicate, n_unknown;
    int n_misplaced; /* stand elsewhere than their question does: scorers that pair by position would err */
    int n_repaired;  /* held bytes that are no UTF-8, now U+FFFD */
    int n_long;      /* beyond what any answer limit allows: a model that ran on, or another file */
    int n_empty;     /* the empty text, which is scored like any other */
    int n_echo;      /* their question word for word: a question file has a "text", too */
    json_t *named;   /* {"missing": [ids], "duplicate": …, "empty": …, …}: the first few */
    struct text_pool *pool;
};
/* No answers yet; the caller fills text (and verdict), for example from a store. */
enum status answers_new(struct answers *out, const struct dataset *dataset, struct error *err);
enum status answers_read(struct answers *out, const struct dataset *dataset, const char *path,
                         struct error *err);
void answers_free(struct answers *answers);

/* All that `winnow score` prints: the benchmark's figures, `benchmark`, `protocol`, `metric`, `headline`,
 * `warnings`, `n`, `n_missing`, `n_duplicate`, `n_unknown` (a benchmark adds rows that its annotations do not
 * know). Missing answers are left out of every figure and warned about. Without golds or a judge's verdicts
 * the headline is null, and a warning says what to do. The caller json_decref's *figures. */
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
