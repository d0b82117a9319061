/* Tables of tab-separated values with a header, as pandas' read_table reads them, and pictures that stand in
 * their cells as base64. The file is streamed, and of the cells only the wanted ones are kept, one row at a
 * time: a table of gigabytes costs a few megabytes.
 *
 *     const struct table_column wanted[] = {{"index", true}, {"question", true}, {"hint", false}};
 *     TRY(table_open(&table, path, wanted, 3, "image", NULL, err));
 *     while ((status = table_next(&row, table, err)) == OK && row) { … row->text[1], row->picture.at … }
 *     table_close(table);
 *
 * Source: pandas' C parser (pandas/_libs/src/parser/tokenizer.c) with its defaults: a field that begins with
 * a double quote runs to the next single one and may hold tabs and newlines; two stand for one; a quote
 * elsewhere is a character. Lines end in LF, CR LF or CR, blank ones are skipped, short ones filled with
 * missing cells, long ones refused. Missing are empty cells and the words of pandas' na_values. */
#ifndef WINNOW_TABLE_H
#define WINNOW_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/sha256.h"

enum { TABLE_REFERENCE = 64 /* characters up to which the cell of a picture is the index of another row */ };

struct table;

struct table_column {
    const char *name;
    bool required;
};

/* Where the base64 of a picture stands in the file. */
struct table_cell {
    int64_t at, n_bytes;                 /* 0 bytes: missing */
    char reference[TABLE_REFERENCE + 1]; /* the cell itself where it is that short, else "" */
};

/* Valid until the next row is asked for. */
struct table_row {
    const char *const *text; /* [n_wanted], in their order; NULL: missing, or no such column */
    struct table_cell picture;
    const char *place; /* "FILE:LINE" of the row's beginning */
};

/* wanted[n] stays the caller's; picture: name of that column, or NULL. sha: gets the wanted cells and the
 * sizes of the pictures; may be NULL. path must outlive the table. */
enum status table_open(struct table **out, const char *path, const struct table_column *wanted, int n,
                       const char *picture, struct sha256 *sha, struct error *err);
/* Whether the header has the column. */
bool table_has(const struct table *table, int wanted);
bool table_has_picture(const struct table *table);
/* *row is NULL after the last one. */
enum status table_next(const struct table_row **row, struct table *table, struct error *err);
void table_close(struct table *table);

/* The picture whose base64 stands in the file from byte `at` on, decoded; the caller frees. Strict: white
 * space may stand anywhere, anything else is an error, and so is missing padding. */
enum status table_picture(uint8_t **bytes, size_t *n, const char *path, int64_t at, int64_t n_base64,
                          struct error *err);

#endif
