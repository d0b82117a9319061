/* What the readers of all benchmarks share: JSON lines with their line numbers, LLaVA's question file, and
 * looking rows up by id. Formats: docs of LLaVA's evaluation (llava/eval/model_vqa_loader.py). */
#ifndef WINNOW_ROWS_H
#define WINNOW_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "datasets/benchmark.h"
#include "core/error.h"
#include "core/sha256.h"
#include "datasets/figures.h"
#include "datasets/text_pool.h"

enum { PLACE_SIZE = 400 };

/* A file of one JSON object a line. Blank lines are skipped, and so is a byte order mark.
 *
 *     TRY(rows_open(&rows, path, NULL, err));
 *     while ((status = rows_next(&row, &rows, err)) == OK && row) { … json_decref(row); }
 *     rows_close(&rows);
 */
struct rows {
    char *bytes;
    size_t n_bytes, at;
    const char *path;
    int line;               /* 1-based, of the row handed out last */
    char place[PLACE_SIZE]; /* "FILE:LINE" of it, for messages */
};

/* sha: gets the file's bytes; may be NULL. path must outlive the rows. */
enum status rows_open(struct rows *out, const char *path, struct sha256 *sha, struct error *err);
/* *row is NULL after the last one; else the caller's to json_decref. */
enum status rows_next(json_t **row, struct rows *rows, struct error *err);
/* The same for a file of answers: bytes that are no UTF-8 become U+FFFD, and *repaired says so. */
enum status rows_next_repaired(json_t **row, bool *repaired, struct rows *rows, struct error *err);
void rows_close(struct rows *rows);

/* A whole JSON document, its bytes added to sha. The caller json_decref's. */
enum status document_read(json_t **out, const char *path, struct sha256 *sha, struct error *err);

/* Members that must be there; copies are owned by the pool. An id may be a text or a whole number; numeric:
 * may be NULL. */
enum status row_id(const char **out, bool *numeric, struct text_pool *pool, const json_t *row,
                   const char *key, const char *place, struct error *err);
enum status row_text(const char **out, struct text_pool *pool, const json_t *row, const char *key,
                     const char *place, struct error *err);

/* Appends a sample, its texts still NULL. Memory grows geometrically: pointers into samples do not survive.
 */
enum status dataset_add(struct sample **out, struct dataset *dataset, struct error *err);
/* LLaVA's question file {"question_id", "image", "text", "category"} to dataset->samples; group and cluster
 * are the question and its image. image_dir may be NULL: `image` then is the bare name. */
enum status questions_read(struct dataset *out, const char *path, const char *image_dir, struct sha256 *sha,
                           struct error *err);
/* Sets image_name, image and cluster; refuses names that lead out of image_dir. */
enum status sample_image(struct sample *sample, struct text_pool *pool, const char *image_dir,
                         const char *name, const char *place, struct error *err);

/* The given path, else the first of TREE/FOLDER/names[…] (NULL-terminated) that exists, else NULL; owned by
 * the pool. TREE: root, or LLaVA's playground/data/eval where root is a folder above that. FOLDER: the
 * benchmark's own, or the twin's name. */
const char *file_locate(const struct dataset *dataset, const char *given, const char *root,
                        const char *const *names);
/* The error for a file that file_locate did not find: what it is called, where it was looked for, the option
 * that names it ("--questions"), where it is published. Sets is_missing. */
enum status file_missing(struct dataset *dataset, const struct benchmark_paths *paths, const char *name,
                         const char *option, struct error *err);

/* Writes a document for a scorer and lets go of it. */
enum status json_submit(const char *path, json_t *document, struct error *err);

/* Ids to rows, sorted by id, then row. */
struct id_entry {
    const char *id;
    int row;
};
void ids_sort(struct id_entry *entries, int n);
/* Position of the first entry with that id, or -1. */
int ids_find(const struct id_entry *entries, int n, const char *id);
/* The samples' ids sorted, [dataset->n]; the caller frees. unique: an id that occurs twice is an error. */
enum status ids_of_samples(struct id_entry **out, const struct dataset *dataset, bool unique,
                           const char *path, struct error *err);

#endif
