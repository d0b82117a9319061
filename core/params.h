/* Parameter tables: every tunable of a method is declared once, as a row {name, type, default, range, doc}.
 * From the table come the command line, the sweep file's validation, `winnow list params`, the JSON in the
 * store and docs/methods.md. An unknown key or a value out of range is an error that names the choices. */
#ifndef WINNOW_PARAMS_H
#define WINNOW_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum param_type {
    PARAM_COUNT,  /* integer in [low, high] */
    PARAM_REAL,   /* number in [low, high] */
    PARAM_CHOICE, /* one of `choices` */
    PARAM_COUNTS, /* list of integers "2,6,15" */
    PARAM_REALS,  /* list of numbers */
    PARAM_TEXT
};

struct param {
    const char *name;
    enum param_type type;
    const char *fallback; /* as text; NULL: absent unless given */
    double low, high;     /* both allowed */
    bool low_open;        /* low itself is not allowed */
    bool rising;          /* lists: each above the one before */
    const char *choices;  /* "on|off"; for PARAM_REAL and PARAM_COUNT: words allowed besides numbers */
    const char *doc;
};

enum { PARAM_LIST_MAX = 64, PARAM_MAX = 24 };

struct param_value {
    bool given;   /* set by the user, not by the default */
    bool present; /* has a value at all */
    int choice;   /* index into choices, or -1 */
    double real;  /* PARAM_REAL, PARAM_COUNT */
    int n;        /* lists */
    double list[PARAM_LIST_MAX];
    char text[256]; /* PARAM_TEXT */
};

struct params {
    const struct param *table;
    int n;
    struct param_value values[PARAM_MAX];
};

/* All values at their defaults. The table outlives *out. */
void params_init(struct params *out, const struct param *table, int n);
/* `who` is for messages: "method sparsevlm". */
enum status params_set(struct params *params, const char *key, const char *value, const char *who,
                       struct error *err);

const struct param_value *param_get(const struct params *params,
                                    const char *name); /* must exist in the table */
bool params_has(const struct params *params, const char *name);
int param_count(const struct params *params, const char *name);
double param_real(const struct params *params, const char *name);
/* Whether a choice stands at `word`; the word must be one of the choices. */
bool param_is(const struct params *params, const char *name, const char *word);

/* The value as text, as `params_set` would take it ("" when absent). */
void param_format(char *out, size_t size, const struct param *row, const struct param_value *value);
/* {"tau":0.3,"layers":[2,6,15],…}: every parameter that has a value; with only_changed: those that differ
 * from their default. Keys in table order. Returns the length, as snprintf. */
int params_json(char *out, size_t size, const struct params *params, bool only_changed);

#endif
