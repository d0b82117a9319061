/* Parameter tables: parsing, checking and printing of values, see params.h. */
#include "params.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int choice_find(const char *choices, const char *word)
{
    if (choices == NULL)
        return -1;
    size_t n = strlen(word);
    int index = 0;
    for (const char *p = choices;; index++) {
        const char *end = strchr(p, '|');
        size_t length = end ? (size_t)(end - p) : strlen(p);
        if (length == n && memcmp(p, word, n) == 0)
            return index;
        if (end == NULL)
            return -1;
        p = end + 1;
    }
}

static void choice_name(char *out, size_t size, const char *choices, int index)
{
    const char *p = choices;
    for (int i = 0; i < index && p; i++) {
        p = strchr(p, '|');
        p = p ? p + 1 : NULL;
    }
    if (p == NULL) {
        out[0] = 0;
        return;
    }
    const char *end = strchr(p, '|');
    int length = end ? (int)(end - p) : (int)strlen(p);
    snprintf(out, size, "%.*s", length, p);
}

/* "an integer from 1 to 64", "one of on|off" … for messages. */
static void expected_text(char *out, size_t size, const struct param *row)
{
    static const char *const kinds[] = {"an integer",     "a number",      "one of",
                                        "integers a,b,c", "numbers a,b,c", "text"};
    if (row->type == PARAM_CHOICE) {
        snprintf(out, size, "one of %s", row->choices);
        return;
    }
    char range[96] = "";
    if (row->type != PARAM_TEXT)
        snprintf(range, sizeof range, " %s %g and at most %g", row->low_open ? "above" : "of at least",
                 row->low, row->high);
    snprintf(out, size, "%s%s%s%s%s", row->rising ? "rising " : "", kinds[row->type], range,
             row->choices ? ", or " : "", row->choices ? row->choices : "");
}

static bool number_parse(double *out, const char **text, const struct param *row)
{
    char *end;
    errno = 0;
    double x = strtod(*text, &end);
    if (end == *text || errno == ERANGE || !isfinite(x))
        return false;
    bool whole = row->type == PARAM_COUNT || row->type == PARAM_COUNTS;
    if (whole && x != floor(x))
        return false;
    if (x < row->low || x > row->high || (row->low_open && x == row->low))
        return false;
    *out = x;
    *text = end;
    return true;
}

static bool value_parse(struct param_value *out, const struct param *row, const char *text)
{
    out->choice = -1;
    if (row->type == PARAM_TEXT)
        return snprintf(out->text, sizeof out->text, "%s", text) < (int)sizeof out->text;
    int choice = choice_find(row->choices, text);
    if (choice >= 0) {
        out->choice = choice;
        return true;
    }
    if (row->type == PARAM_CHOICE)
        return false;
    if (row->type == PARAM_COUNT || row->type == PARAM_REAL)
        return number_parse(&out->real, &text, row) && *text == 0;
    out->n = 0;
    for (;;) {
        if (out->n == PARAM_LIST_MAX || !number_parse(&out->list[out->n], &text, row))
            return false;
        if (row->rising && out->n > 0 && out->list[out->n] <= out->list[out->n - 1])
            return false;
        out->n++;
        while (*text == ' ')
            text++;
        if (*text == 0)
            return true;
        if (*text++ != ',')
            return false;
    }
}

void params_init(struct params *out, const struct param *table, int n)
{
    ENSURE(n <= PARAM_MAX);
    memset(out, 0, sizeof *out);
    out->table = table;
    out->n = n;
    for (int i = 0; i < n; i++) {
        out->values[i].choice = -1;
        if (table[i].fallback) {
            ENSURE(value_parse(&out->values[i], &table[i], table[i].fallback));
            out->values[i].present = true;
        }
    }
}

enum status params_set(struct params *params, const char *key, const char *value, const char *who,
                       struct error *err)
{
    for (int i = 0; i < params->n; i++) {
        const struct param *row = &params->table[i];
        if (strcmp(row->name, key) != 0)
            continue;
        struct param_value parsed = {0};
        if (!value_parse(&parsed, row, value)) {
            char expected[256];
            expected_text(expected, sizeof expected, row);
            return fail(err, BAD_INPUT, "%s: parameter %s: found '%.80s', expected %s", who, key, value,
                        expected);
        }
        parsed.given = parsed.present = true;
        params->values[i] = parsed;
        return OK;
    }
    char names[512] = "none";
    int used = 0;
    for (int i = 0; i < params->n; i++)
        used +=
            snprintf(names + used, sizeof names - (size_t)used, "%s%s", i ? ", " : "", params->table[i].name);
    return fail(err, BAD_INPUT, "%s: unknown parameter '%.80s'; its parameters: %s", who, key, names);
}

const struct param_value *param_get(const struct params *params, const char *name)
{
    for (int i = 0; i < params->n; i++)
        if (strcmp(params->table[i].name, name) == 0)
            return &params->values[i];
    bool in_the_table = false;
    ENSURE(in_the_table);
    return NULL;
}

bool params_has(const struct params *params, const char *name)
{
    for (int i = 0; i < params->n; i++)
        if (strcmp(params->table[i].name, name) == 0)
            return params->values[i].present;
    return false;
}

int param_count(const struct params *params, const char *name)
{
    return (int)param_get(params, name)->real;
}

double param_real(const struct params *params, const char *name)
{
    return param_get(params, name)->real;
}

bool param_is(const struct params *params, const char *name, const char *word)
{
    const struct param_value *value = param_get(params, name);
    int choice = choice_find(params->table[value - params->values].choices, word);
    ENSURE(choice >= 0);
    return value->choice == choice;
}

/* Shortest decimal that reads back as the same double. */
static void number_format(char *out, size_t size, double x)
{
    if (x == floor(x) && fabs(x) < 1e15) {
        snprintf(out, size, "%.0f", x);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, size, "%.*g", digits, x);
        if (strtod(out, NULL) == x)
            return;
    }
}

void param_format(char *out, size_t size, const struct param *row, const struct param_value *value)
{
    out[0] = 0;
    if (!value->present)
        return;
    if (value->choice >= 0)
        choice_name(out, size, row->choices, value->choice);
    else if (row->type == PARAM_TEXT)
        snprintf(out, size, "%s", value->text);
    else if (row->type == PARAM_COUNT || row->type == PARAM_REAL)
        number_format(out, size, value->real);
    else
        for (int i = 0; i < value->n; i++) {
            size_t used = strlen(out);
            char number[40];
            number_format(number, sizeof number, value->list[i]);
            snprintf(out + used, size - used, "%s%s", i ? "," : "", number);
        }
}

int params_json(char *out, size_t size, const struct params *params, bool only_changed)
{
    int used = snprintf(out, size, "{");
    int shown = 0;
    for (int i = 0; i < params->n; i++) {
        const struct param *row = &params->table[i];
        const struct param_value *value = &params->values[i];
        char text[1024];
        param_format(text, sizeof text, row, value);
        if (!value->present || (only_changed && row->fallback && strcmp(text, row->fallback) == 0))
            continue;
        bool list = value->choice < 0 && (row->type == PARAM_COUNTS || row->type == PARAM_REALS);
        bool quoted = value->choice >= 0 || row->type == PARAM_TEXT;
        const char *open = list ? "[" : quoted ? "\"" : "", *close = list ? "]" : quoted ? "\"" : "";
        size_t left = (size_t)used < size ? size - (size_t)used : 0;
        used += snprintf(left ? out + used : NULL, left, "%s\"%s\":%s%s%s", shown++ ? "," : "", row->name,
                         open, text, close);
    }
    size_t left = (size_t)used < size ? size - (size_t)used : 0;
    return used + snprintf(left ? out + used : NULL, left, "}");
}
