/* Tables of parameters, see param_table.h. */
#include "param_table.h"

#include <jansson.h>
#include <string.h>

static const char *const type_names[] = {
    [PARAM_COUNT] = "count",   [PARAM_REAL] = "real",   [PARAM_CHOICE] = "choice",
    [PARAM_COUNTS] = "counts", [PARAM_REALS] = "reals", [PARAM_TEXT] = "text"};

static bool has_range(const struct param *row)
{
    return row->type != PARAM_CHOICE && row->type != PARAM_TEXT;
}

static void range_text(char *out, size_t size, const struct param *row, const char *dots)
{
    if (has_range(row))
        snprintf(out, size, "%s%.16g %s %.16g%s", row->low_open ? "above " : "", row->low, dots, row->high,
                 row->rising ? ", rising" : "");
    else
        snprintf(out, size, "%s", "");
}

void param_table_text(FILE *out, const struct reducer *reducer)
{
    fprintf(out, "%s\n  %-12s %-7s %-12s %-24s %s\n", reducer->name, "name", "type", "default", "range",
            "doc");
    for (int p = 0; p < reducer->n_params; p++) {
        const struct param *row = &reducer->params[p];
        char range[256];
        range_text(range, sizeof range, row, "...");
        size_t used = strlen(range);
        if (row->choices)
            snprintf(range + used, sizeof range - used, "%s%s", used ? ", or " : "", row->choices);
        fprintf(out, "  %-12s %-7s %-12s %-24s %s\n", row->name, type_names[row->type],
                row->fallback ? row->fallback : "-", range, row->doc);
    }
}

json_t *param_table_json(const struct reducer *reducer)
{
    json_t *list = json_array();
    for (int p = 0; p < reducer->n_params; p++) {
        const struct param *row = &reducer->params[p];
        json_t *object = json_pack("{ss ss}", "name", row->name, "type", type_names[row->type]);
        json_object_set_new(object, "default", row->fallback ? json_string(row->fallback) : json_null());
        json_object_set_new(object, "low", has_range(row) ? json_real(row->low) : json_null());
        json_object_set_new(object, "high", has_range(row) ? json_real(row->high) : json_null());
        json_object_set_new(object, "low_open", json_boolean(row->low_open));
        json_t *choices = json_array();
        for (const char *word = row->choices; word;) {
            size_t n = strcspn(word, "|");
            json_array_append_new(choices, json_stringn(word, n));
            word = word[n] ? word + n + 1 : NULL;
        }
        json_object_set_new(object, "choices", choices);
        json_object_set_new(object, "doc", json_string(row->doc));
        json_array_append_new(list, object);
    }
    return list;
}

/* "`on`, `off`": a bar would end the table's cell. */
static void choices_markdown(FILE *out, const char *choices)
{
    for (const char *word = choices; word;) {
        int n = (int)strcspn(word, "|");
        fprintf(out, "%s`%.*s`", word == choices ? "" : ", ", n, word);
        word = word[n] ? word + n + 1 : NULL;
    }
}

void param_table_markdown(FILE *out, const struct reducer *reducer, bool heading)
{
    if (heading)
        fprintf(out, "### %s\n\n", reducer->name);
    if (reducer->n_params == 0)
        fputs("No parameters.\n", out);
    else
        fputs("| parameter | type | default | range | meaning |\n|---|---|---|---|---|\n", out);
    for (int p = 0; p < reducer->n_params; p++) {
        const struct param *row = &reducer->params[p];
        char range[256];
        range_text(range, sizeof range, row, "…");
        fprintf(out, "| `%s` | %s | ", row->name, type_names[row->type]);
        fprintf(out, row->fallback ? "`%s` | %s" : "%s | %s", row->fallback ? row->fallback : "–", range);
        if (row->choices && range[0])
            fputs(", or ", out);
        choices_markdown(out, row->choices);
        fprintf(out, " | %s |\n", row->doc);
    }
    if (heading)
        fputc('\n', out);
}
