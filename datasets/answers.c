/* Answer files matched to the rows of a dataset, see benchmark.h. Formats: LLaVA's answer file (JSON lines),
 * GQA's prediction file (a JSON list), MM-Vet's (a JSON object by id), ActivityNet-QA's and Video-LLaVA's. */
#include "datasets/benchmark.h"

#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/rows.h"

enum { N_NAMED = 5 };         /* ids that a warning names */
enum { ANSWER_LONG = 16384 }; /* bytes: four times what 1,024 tokens may say */

struct matching {
    struct answers *answers;
    const struct dataset *dataset;
    struct id_entry *ids; /* the samples', sorted */
    int furthest;         /* the largest row answered so far */
    bool raw;             /* rows hold a model's own words, LLaVA's "text" */
};

static void name_one(struct answers *answers, const char *what, const char *id)
{
    json_t *list = json_object_get(answers->named, what);
    if (!list) {
        json_object_set_new(answers->named, what, json_array());
        list = json_object_get(answers->named, what);
    }
    if (json_array_size(list) < N_NAMED)
        json_array_append_new(list, json_string(id));
}

/* The row an answer belongs to, among those that share its id. */
static int choose_row(const struct matching *m, int first, const char *prompt)
{
    const struct id_entry *ids = m->ids;
    int n = m->dataset->n, free_row = -1, last = first;
    for (int i = first; i < n && strcmp(ids[i].id, ids[first].id) == 0; i++) {
        bool is_free = !m->answers->text[ids[i].row];
        if (prompt && strcmp(m->dataset->samples[ids[i].row].text, prompt) == 0 && is_free)
            return ids[i].row;
        if (free_row < 0 && is_free)
            free_row = ids[i].row;
        last = i;
    }
    /* Nothing free asks the same: a second answer to the one that does. */
    for (int i = first; prompt && i <= last; i++)
        if (strcmp(m->dataset->samples[ids[i].row].text, prompt) == 0)
            return ids[i].row;
    return free_row >= 0 ? free_row : ids[last].row;
}

/* The first of the rows with that id, with or without the benchmark's prefix; -1: none. */
static int find_id(const struct matching *m, const char *id)
{
    const char *prefix = m->dataset->benchmark->id_prefix;
    int first = ids_find(m->ids, m->dataset->n, id);
    if (first < 0 && prefix && strncmp(id, prefix, strlen(prefix)) == 0)
        first = ids_find(m->ids, m->dataset->n, id + strlen(prefix));
    return first;
}

static void answer_place(struct matching *m, const char *id, const char *prompt, const char *text)
{
    struct answers *answers = m->answers;
    int first = find_id(m, id);
    if (first < 0) {
        answers->n_unknown++;
        name_one(answers, "unknown", id);
        return;
    }
    int row = choose_row(m, first, prompt);
    if (answers->text[row]) {
        answers->n_duplicate++;
        name_one(answers, "duplicate", id);
    } else if (row < m->furthest) {
        answers->n_misplaced++;
        name_one(answers, "misplaced", id);
    }
    if (strlen(text) > ANSWER_LONG) {
        answers->n_long++;
        name_one(answers, "long", id);
    }
    if (text[0] == '\0') {
        answers->n_empty++;
        name_one(answers, "empty", id);
    } else if (strcmp(text, m->dataset->samples[row].text) == 0) {
        answers->n_echo++;
        name_one(answers, "echo", id);
    }
    m->furthest = row > m->furthest ? row : m->furthest;
    answers->text[row] = text;
}

/* The first of the keys that a row has: LLaVA's, GQA's, the video sets' name for one thing. */
static const char *key_of(const json_t *row, const char *const *keys)
{
    for (int i = 0; keys[i]; i++)
        if (json_object_get(row, keys[i]))
            return keys[i];
    return keys[0];
}

static enum status place_row(struct matching *m, const json_t *row, bool repaired, const char *place,
                             struct error *err)
{
    static const char *const id_keys[] = {"question_id", "questionId", "id", NULL};
    static const char *const text_keys[] = {"text", "prediction", "pred", "answer", NULL};
    struct text_pool *pool = m->answers->pool;
    const char *id, *text, *prompt;
    TRY(row_id(&id, NULL, pool, row, key_of(row, id_keys), place, err));
    TRY(row_text(&text, pool, row, key_of(row, text_keys), place, err));
    TRY(json_str(&prompt, row, "prompt", NULL, place, err));
    m->raw |= json_object_get(row, "text") != NULL;
    if (repaired) {
        m->answers->n_repaired++;
        name_one(m->answers, "repaired", id);
    }
    answer_place(m, id, prompt, text);
    return OK;
}

static enum status read_lines(struct matching *m, const char *path, struct error *err)
{
    struct rows rows;
    json_t *row;
    bool repaired;
    TRY(rows_open(&rows, path, NULL, err));
    enum status status;
    while ((status = rows_next_repaired(&row, &repaired, &rows, err)) == OK && row) {
        status = place_row(m, row, repaired, rows.place, err);
        json_decref(row);
        if (status != OK)
            break;
    }
    rows_close(&rows);
    return status;
}

static enum status place_list(struct matching *m, const json_t *list, const char *path, struct error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        char place[PLACE_SIZE];
        snprintf(place, sizeof place, "%.*s: entry %zu", PLACE_SIZE - 40, path, i);
        if (!json_is_object(row))
            return fail(err, BAD_INPUT, "%s: expected an object with an id and an answer", place);
        TRY(place_row(m, row, false, place, err));
    }
    return OK;
}

static enum status place_members(struct matching *m, const json_t *object, const char *path,
                                 struct error *err)
{
    struct text_pool *pool = m->answers->pool;
    const char *id;
    json_t *value;
    json_object_foreach((json_t *)object, id, value)
    {
        char shown[PRINTABLE_SIZE];
        if (!json_is_string(value))
            return fail(err, BAD_INPUT, "%s: \"%s\": expected a text, found another type", path,
                        printable(shown, id));
        answer_place(m, id, NULL, text_pool_add(pool, json_string_value(value)));
    }
    return OK;
}

/* What an answer file is, told by its beginning: a list starts with a bracket; an object whose first line is
 * no object of its own is one document. */
enum form { FORM_LINES, FORM_LIST, FORM_MEMBERS };

static enum status form_of(enum form *out, const char *path, struct error *err)
{
    char *bytes;
    size_t n;
    TRY(file_read(&bytes, &n, path, LIMIT_JSON_BYTES, err));
    const char *at = bytes + (n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    at += strspn(at, " \t\r\n");
    size_t line = strcspn(at, "\n"), after = line;
    while (line > 0 && strchr(" \t\r", at[line - 1]))
        line--;
    bool one_line = at[after + strspn(at + after, " \t\r\n")] == '\0';
    bool keyed = memmem(at, line, "\"question_id\"", 13) || memmem(at, line, "\"questionId\"", 12) ||
                 memmem(at, line, "\"id\"", 4);
    *out = *at == '['                                                    ? FORM_LIST
           : *at == '{' && (at[line - 1] != '}' || (one_line && !keyed)) ? FORM_MEMBERS
                                                                         : FORM_LINES;
    free(bytes);
    return OK;
}

static enum status read_document(struct matching *m, enum form form, const char *path, struct error *err)
{
    json_t *root;
    TRY(document_read(&root, path, NULL, err));
    enum status status;
    if (json_is_array(root))
        status = place_list(m, root, path, err);
    else if (form == FORM_MEMBERS && json_is_object(root))
        status = place_members(m, root, path, err);
    else
        status = fail(err, BAD_INPUT, "%s: expected a list or an object of answers", path);
    json_decref(root);
    return status;
}

enum status answers_new(struct answers *out, const struct dataset *dataset, struct error *err)
{
    *out =
        (struct answers){.text = memory_zero((size_t)dataset->n, sizeof *out->text), .named = json_object()};
    enum status status = OK;
    if (!out->text || !out->named)
        TRY_GOTO(status, memory_failed(err, "answers", (size_t)dataset->n * sizeof *out->text));
    TRY_GOTO(status, text_pool_new(&out->pool, err));
exit:
    if (status != OK)
        answers_free(out);
    return status;
}

enum status answers_read(struct answers *out, const struct dataset *dataset, const char *path,
                         struct error *err)
{
    struct matching m = {.answers = out, .dataset = dataset, .furthest = -1};
    enum form form;
    enum status status;
    TRY(answers_new(out, dataset, err));
    TRY_GOTO(status, ids_of_samples(&m.ids, dataset, false, path, err));
    TRY_GOTO(status, form_of(&form, path, err));
    TRY_GOTO(status, form == FORM_LINES ? read_lines(&m, path, err) : read_document(&m, form, path, err));
    out->converted = form == FORM_LIST && !m.raw;
    TRY_GOTO(status, text_pool_check(out->pool, err));
    for (int i = 0; i < dataset->n; i++)
        if (!out->text[i]) {
            out->n_missing++;
            name_one(out, "missing", dataset->samples[i].question_id);
        }
exit:
    free(m.ids);
    if (status != OK)
        answers_free(out);
    return status;
}

void answers_free(struct answers *answers)
{
    free(answers->text);
    free(answers->verdict);
    json_decref(answers->named);
    text_pool_free(answers->pool);
    *answers = (struct answers){0};
}
