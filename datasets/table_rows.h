/* Tables with a head: comma or tab separated values as rows of JSON objects, {column: text}. */
#ifndef WINNOW_TABLE_ROWS_H
#define WINNOW_TABLE_ROWS_H

#include <jansson.h>
#include <stddef.h>

#include "core/error.h"

/* Separated by tabs where the first line has one, else by commas; quotes as in RFC 4180, lines end in LF or
 * CRLF, a byte order mark is skipped. Every row must have as many cells as the head. The caller
 * json_decref's *rows, an array. */
enum status table_rows(json_t **rows, const char *bytes, size_t n_bytes, const char *path, struct error *err);

#endif
