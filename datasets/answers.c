/* Answer files matched to the rows of a dataset, see benchmark.h. Formats: LLaVA's answer file (JSON lines)
 * and GQA's prediction file (a JSON list). */
#include "datasets/benchmark.h"

#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/rows.h"

struct matching {
    struct answers *answers;
    const struct dataset *dataset;
    struct id_entry *ids; /* the samples', sorted */
};

/* The row an answer belongs to, among those that share its id. */
static int choose_row(const struct matching *m, int first, const char *prompt)
{
    const struct id_entry *ids = m->ids;
    int n = m->dataset->n, free_row = -1, last = first;
    for (int i = first; i < n && strcmp(ids[i].id, ids[first].id) == 0; i++) {
        if (prompt && strcmp(m->dataset->samples[ids[i].row].text, prompt) == 0)
            return ids[i].row;
        if (free_row < 0 && !m->answers->text[ids[i].row])
            free_row = ids[i].row;
        last = i;
    }
    return free_row >= 0 ? free_row : ids[last].row;
}

static void answer_place(const struct matching *m, const char *id, const char *prompt, const char *text)
{
    int first = ids_find(m->ids, m->dataset->n, id);
    if (first < 0) {
        m->answers->n_unknown++;
        return;
    }
    int row = choose_row(m, first, prompt);
    m->answers->n_duplicate += m->answers->text[row] != NULL;
    m->answers->text[row] = text;
}

static enum status read_lines(const struct matching *m, const char *path, struct error *err)
{
    struct text_pool *pool = m->answers->pool;
    struct rows rows;
    json_t *row;
    TRY(rows_open(&rows, path, NULL, err));
    enum status status;
    while ((status = rows_next(&row, &rows, err)) == OK && row) {
        const char *id = "", *text = "", *prompt = NULL;
        status = row_id(&id, NULL, pool, row, "question_id", rows.place, err);
        if (status == OK)
            status = row_text(&text, pool, row, "text", rows.place, err);
        if (status == OK)
            status = json_str(&prompt, row, "prompt", NULL, rows.place, err);
        if (status == OK)
            answer_place(m, id, prompt, text);
        json_decref(row);
        if (status != OK)
            break;
    }
    rows_close(&rows);
    return status;
}

static enum status read_list(const struct matching *m, const char *path, struct error *err)
{
    json_t *list;
    TRY(json_read(&list, path, err));
    enum status status = OK;
    for (size_t i = 0; status == OK && i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        const char *id = "", *text = "";
        char place[PLACE_SIZE];
        snprintf(place, sizeof place, "%.*s: entry %zu", PLACE_SIZE - 40, path, i);
        status = row_id(&id, NULL, m->answers->pool, row, "questionId", place, err);
        if (status == OK)
            status = row_text(&text, m->answers->pool, row, "prediction", place, err);
        if (status == OK)
            answer_place(m, id, NULL, text);
    }
    json_decref(list);
    return status;
}

/* A list starts with a bracket, a line with a brace. */
static enum status starts_with_bracket(bool *out, const char *path, struct error *err)
{
    char *bytes;
    size_t n;
    TRY(file_read(&bytes, &n, path, LIMIT_JSON_BYTES, err));
    *out = bytes[strspn(bytes, " \t\r\n")] == '[';
    free(bytes);
    return OK;
}

enum status answers_read(struct answers *out, const struct dataset *dataset, const char *path,
                         struct error *err)
{
    *out = (struct answers){0};
    struct matching m = {.answers = out, .dataset = dataset};
    enum status status;
    TRY_GOTO(status, text_pool_new(&out->pool, err));
    TRY_GOTO(status, ids_of_samples(&m.ids, dataset, false, path, err));
    out->text = memory_zero((size_t)dataset->n, sizeof *out->text);
    if (!out->text)
        TRY_GOTO(status, memory_failed(err, "answers", (size_t)dataset->n * sizeof *out->text));
    TRY_GOTO(status, starts_with_bracket(&out->converted, path, err));
    TRY_GOTO(status, out->converted ? read_list(&m, path, err) : read_lines(&m, path, err));
    TRY_GOTO(status, text_pool_check(out->pool, err));
    for (int i = 0; i < dataset->n; i++)
        out->n_missing += out->text[i] == NULL;
exit:
    free(m.ids);
    if (status != OK)
        answers_free(out);
    return status;
}

void answers_free(struct answers *answers)
{
    free(answers->text);
    text_pool_free(answers->pool);
    *answers = (struct answers){0};
}
