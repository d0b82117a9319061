/* Comma and tab separated values, see table_rows.h. Source: RFC 4180. */
#include "datasets/table_rows.h"

#include <stdbool.h>
#include <string.h>

#include "core/buffer.h"
#include "core/limits.h"
#include "core/utf8.h"

enum { MAX_COLUMNS = 64 };

struct table {
    const char *at, *end, *path;
    char separator;
    int line;
    struct buffer cell;
    bool last; /* the cell at hand ends its row */
};

/* The next cell to table->cell. */
static enum status next_cell(struct table *t, struct error *err)
{
    buffer_clear(&t->cell);
    bool quoted = t->at < t->end && *t->at == '"';
    int first_line = t->line;
    for (t->at += quoted; t->at < t->end; t->at++) {
        bool pair = quoted && t->end - t->at > 1 && t->at[0] == '"' && t->at[1] == '"';
        if (quoted && *t->at == '"' && !pair) {
            quoted = false;
            continue;
        }
        if (!quoted && (*t->at == t->separator || *t->at == '\n'))
            break;
        t->line += *t->at == '\n';
        t->at += pair;
        buffer_add(&t->cell, t->at, 1);
        if (t->cell.n > LIMIT_TEXT_BYTES)
            break;
    }
    if (quoted || t->cell.failed || t->cell.n > LIMIT_TEXT_BYTES)
        return fail(err, BAD_INPUT, "%s:%d: a cell is too long, or its quote is never closed", t->path,
                    first_line);
    t->last = t->at >= t->end || *t->at == '\n';
    t->line += t->at < t->end && *t->at == '\n';
    t->at += t->at < t->end;
    if (t->last && t->cell.n > 0 && t->cell.bytes[t->cell.n - 1] == '\r')
        t->cell.n--;
    if (utf8_check(t->cell.n ? t->cell.bytes : "", t->cell.n) != t->cell.n ||
        (t->cell.n && memchr(t->cell.bytes, '\0', t->cell.n)))
        return fail(err, BAD_INPUT, "%s:%d: a cell holds bytes that are no UTF-8", t->path, first_line);
    return OK;
}

static json_t *cell_json(const struct table *t)
{
    return json_stringn(t->cell.n ? t->cell.bytes : "", t->cell.n);
}

static enum status head_read(json_t *head, struct table *t, struct error *err)
{
    do {
        TRY(next_cell(t, err));
        if (json_array_size(head) == MAX_COLUMNS)
            return fail(err, BAD_INPUT, "%s:1: has more than %d columns", t->path, MAX_COLUMNS);
        json_array_append_new(head, cell_json(t));
    } while (!t->last);
    return OK;
}

static enum status row_read(json_t *rows, const json_t *head, struct table *t, struct error *err)
{
    int line = t->line;
    size_t n = 0, n_head = json_array_size(head);
    json_t *row = json_object();
    if (!row || json_array_append_new(rows, row) != 0)
        return fail(err, NO_MACHINE, "%s: no memory for its rows", t->path);
    do {
        TRY(next_cell(t, err));
        if (n < n_head)
            json_object_set_new(row, json_string_value(json_array_get(head, n)), cell_json(t));
        n++;
    } while (!t->last);
    if (n != n_head)
        return fail(err, BAD_INPUT, "%s:%d: expected %zu cells as in the head, found %zu", t->path, line,
                    n_head, n);
    return OK;
}

enum status table_rows(json_t **rows, const char *bytes, size_t n_bytes, const char *path, struct error *err)
{
    struct table t = {.at = bytes, .end = bytes + n_bytes, .path = path, .line = 1};
    json_t *head = json_array();
    enum status status = OK;
    *rows = json_array();
    if (n_bytes >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
        t.at += 3;
    const char *line_end = memchr(t.at, '\n', (size_t)(t.end - t.at));
    size_t n_first = (size_t)((line_end ? line_end : t.end) - t.at);
    t.separator = memchr(t.at, '\t', n_first) ? '\t' : ',';
    if (!*rows || !head)
        TRY_GOTO(status, fail(err, NO_MACHINE, "%s: no memory for its rows", path));
    TRY_GOTO(status, head_read(head, &t, err));
    while (t.at < t.end) {
        size_t n_blank = *t.at == '\r' && t.end - t.at > 1 ? 1 : 0; /* blank lines are no rows */
        if (t.at[n_blank] == '\n') {
            t.at += n_blank + 1;
            t.line++;
            continue;
        }
        if (json_array_size(*rows) * (json_array_size(head) + 1) > LIMIT_JSON_VALUES)
            TRY_GOTO(status, fail(err, BAD_INPUT, "%s: holds more than %u cells", path, LIMIT_JSON_VALUES));
        TRY_GOTO(status, row_read(*rows, head, &t, err));
    }
exit:
    buffer_free(&t.cell);
    json_decref(head);
    if (status != OK) {
        json_decref(*rows);
        *rows = NULL;
    }
    return status;
}
