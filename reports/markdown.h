/* Text of a report: printf into a growing buffer, and texts from a store made safe for Markdown, CSV and
 * gnuplot. */
#ifndef WINNOW_REPORTS_MARKDOWN_H
#define WINNOW_REPORTS_MARKDOWN_H

#include "core/buffer.h"

/* Appends; failure sticks in the buffer. */
void text_add(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text from outside: no line breaks or control characters, `|`, `<`, `*`, `_`, backticks … escaped. */
void text_markdown(struct buffer *out, const char *text);
/* For a code span inside a table: what cannot stand there becomes '?'. */
void text_code(struct buffer *out, const char *text);
/* A CSV field, quoted where it must be. */
void text_csv(struct buffer *out, const char *text);
/* A gnuplot string in single quotes. */
void text_gnuplot(struct buffer *out, const char *text);

enum { NUMBER_SIZE = 48 };
/* "1.23 T", "48.2 G": three significant digits with a prefix of 1000; "–" for NaN. Returns out. */
const char *number_si(char out[NUMBER_SIZE], double value);
/* "302.4 MB" (10^6). */
const char *number_bytes(char out[NUMBER_SIZE], double value);
/* "%.*f" or "–" for NaN; with `sign`, a + before what is positive. A rounded zero carries no minus. */
const char *number_fixed(char out[NUMBER_SIZE], double value, int decimals, bool sign);

#endif
