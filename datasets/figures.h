/* What the scorers of all benchmarks share: figures of a report, means, accuracy by a key, and the characters
 * of ASCII as Python sees them. */
#ifndef WINNOW_FIGURES_H
#define WINNOW_FIGURES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct dataset;

/* A number for a report: NaN becomes null. */
json_t *figure(double value);
/* Appends a formatted warning. */
void warn(json_t *warnings, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct mean {
    double sum;
    int n;
};
void mean_add(struct mean *mean, double value);
/* × 100; null where nothing was added. */
json_t *per_cent(const struct mean *mean);
double per_cent_value(const struct mean *mean); /* NaN where nothing was added */

/* Mean score by a key: add while counting, then figures[name] = {key: per cent}, and the split is freed. */
struct split {
    json_t *sums; /* {key: [sum, n]} */
};
struct split split_new(void);
void split_add(struct split *split, const char *key, double score);
void split_finish(json_t *figures, const char *name, struct split *split);
void split_free(struct split *split);

/* The commonest headline: the mean of all scores × 100, from two sums. */
enum { MEAN_SUMS = 2 };
void mean_tally(double *sums, const struct dataset *dataset, const int *rows, const double *scores, int n);
double mean_headline(const double *sums);

/* ---- ASCII ---------------------------------------------------------------------------------- */
static inline bool ascii_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f');
}

static inline bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline bool ascii_is_punctuation(char c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
}

/* Where the text begins after white space, and how many bytes of it remain before that at its end. */
const char *ascii_strip(size_t *n, const char *text);

#endif
