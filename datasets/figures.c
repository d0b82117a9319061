/* Figures of a report, means and splits, see figures.h. */
#include "datasets/figures.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

json_t *figure(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void warn(json_t *warnings, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* Half of a character may stand at the cut. */
    json_t *value = json_string(text);
    json_array_append_new(warnings, value ? value : json_string("a warning could not be shown"));
}

void mean_add(struct mean *mean, double value)
{
    mean->sum += value;
    mean->n++;
}

double per_cent_value(const struct mean *mean)
{
    return mean->n ? 100 * (mean->sum / mean->n) : (double)NAN;
}

json_t *per_cent(const struct mean *mean)
{
    return figure(per_cent_value(mean));
}

struct split split_new(void)
{
    return (struct split){json_object()};
}

void split_add(struct split *split, const char *key, double score)
{
    json_t *pair = json_object_get(split->sums, key);
    if (!pair) {
        json_object_set_new(split->sums, key, json_pack("[f, i]", 0.0, 0));
        pair = json_object_get(split->sums, key);
    }
    json_t *sum = json_array_get(pair, 0), *n = json_array_get(pair, 1);
    json_real_set(sum, json_real_value(sum) + score);
    json_integer_set(n, json_integer_value(n) + 1);
}

void split_finish(json_t *figures, const char *name, struct split *split)
{
    const char *key;
    json_t *pair, *out = json_object();
    json_object_foreach(split->sums, key, pair)
    {
        double sum = json_real_value(json_array_get(pair, 0));
        double n = (double)json_integer_value(json_array_get(pair, 1));
        json_object_set_new(out, key, figure(100 * (sum / n)));
    }
    json_object_set_new(figures, name, out);
    split_free(split);
}

void split_free(struct split *split)
{
    json_decref(split->sums);
    split->sums = NULL;
}

void mean_tally(double *sums, const struct dataset *dataset, const int *rows, const double *scores, int n)
{
    (void)dataset;
    (void)rows;
    for (int i = 0; i < n; i++) {
        sums[0] += scores[i];
        sums[1] += 1;
    }
}

double mean_headline(const double *sums)
{
    return sums[1] > 0 ? 100 * (sums[0] / sums[1]) : (double)NAN;
}

const char *ascii_strip(size_t *n, const char *text)
{
    while (ascii_is_space(*text))
        text++;
    for (*n = strlen(text); *n > 0 && ascii_is_space(text[*n - 1]); --*n)
        ;
    return text;
}
