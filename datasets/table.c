/* A streaming reader of TSV, see table.h: a window of the file, a parser of one field that hands runs of
 * bytes to where they belong (a wanted text, the picture, nowhere), and rows made of fields. */
#include "datasets/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "core/utf8.h"

enum { WINDOW = 1 << 18, TABLE_PLACE = 400 };

/* What a column of the file is to us, if not the number of a wanted one. */
enum { SKIPPED = -1, PICTURE = -2 };

struct table {
    const char *path;
    int fd;
    char *window;
    size_t n, at;      /* bytes of the window, and the next one */
    int64_t window_at; /* of the file, where the window begins */
    int64_t line;      /* 1-based, of the next byte */

    int n_columns, n_wanted;
    int column[LIMIT_TABLE_COLUMNS];
    bool has_picture, *has; /* [n_wanted] */
    struct sha256 *sha;

    struct buffer cells; /* the wanted texts of the row, terminated */
    size_t *starts;      /* [n_wanted] in `cells`, plus 1; 0: missing */
    const char **text;   /* [n_wanted] */
    struct table_row row;
    char place[TABLE_PLACE];
};

/* ---- bytes -----------------------------------------------------------------------------------------------
 */

/* A file of ours to read, and its size. The caller closes *fd. */
static enum status open_file(int *fd, int64_t *size, const char *path, struct error *err)
{
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not hang us */
    if (*fd < 0)
        return fail(err, BAD_INPUT, "%s: cannot be opened: %s", path, strerror(errno));
    enum status status = OK;
    if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode))
        status = fail(err, BAD_INPUT, "%s: is not a regular file", path);
    else if (info.st_size > LIMIT_TABLE_BYTES)
        status = fail(err, BAD_INPUT, "%s: has %jd bytes, more than the limit of %jd", path,
                      (intmax_t)info.st_size, (intmax_t)LIMIT_TABLE_BYTES);
    if (status != OK) {
        close(*fd);
        *fd = -1;
    }
    *size = status == OK ? info.st_size : 0;
    return status;
}

/* Bytes in the window from `at` on, read anew where there were none; 0 at the end of the file. */
static enum status fill(size_t *n, struct table *table, struct error *err)
{
    if (table->at == table->n) {
        ssize_t got;
        table->window_at += (int64_t)table->n;
        table->at = table->n = 0;
        do
            got = read(table->fd, table->window, WINDOW);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return fail(err, BAD_INPUT, "%s: cannot be read: %s", table->path, strerror(errno));
        table->n = (size_t)got;
    }
    *n = table->n - table->at;
    return OK;
}

/* The next byte, which is not taken; -1 at the end of the file. */
static enum status peek(int *c, struct table *table, struct error *err)
{
    size_t n;
    TRY(fill(&n, table, err));
    *c = n ? (unsigned char)table->window[table->at] : -1;
    return OK;
}

static int64_t offset(const struct table *table)
{
    return table->window_at + (int64_t)table->at;
}

/* ---- fields ----------------------------------------------------------------------------------------------
 */

/* A field on its way to where it belongs. */
struct field {
    int column; /* a wanted one, SKIPPED or PICTURE */
    int64_t start, end;
    bool is_blank; /* nothing but spaces, and not quoted */
    size_t n_head;
    char head[TABLE_REFERENCE +
              2]; /* PICTURE: how it begins; more than TABLE_REFERENCE says that it is long */
};

static enum status field_add(struct table *table, struct field *field, const char *bytes, size_t n,
                             struct error *err)
{
    if (field->column >= 0) {
        size_t held = table->cells.n - (table->starts[field->column] - 1);
        if (n > LIMIT_TABLE_CELL - held)
            return fail(err, BAD_INPUT,
                        "%s: a cell has more than %u bytes; does a double quote begin it that nothing ends?",
                        table->place, LIMIT_TABLE_CELL);
        buffer_add(&table->cells, bytes, n);
        if (table->cells.failed)
            return fail(err, BAD_INPUT, "%s: the row has more than %zu bytes of text", table->place,
                        BUFFER_LIMIT);
    } else if (field->column == PICTURE) {
        size_t left = TABLE_REFERENCE + 1 - field->n_head, taken = n < left ? n : left;
        memcpy(field->head + field->n_head, bytes, taken);
        field->n_head += taken;
    }
    return OK;
}

static size_t run_of(const char *bytes, size_t n, bool quoted)
{
    if (quoted) {
        const char *quote = memchr(bytes, '"', n);
        return quote ? (size_t)(quote - bytes) : n;
    }
    size_t run = 0;
    while (run < n && bytes[run] != '\t' && bytes[run] != '\n' && bytes[run] != '\r')
        run++;
    return run;
}

/* The second half of CR LF. */
static enum status line_end(struct table *table, int c, struct error *err)
{
    int next;
    table->line++;
    if (c != '\r')
        return OK;
    TRY(peek(&next, table, err));
    table->at += next == '\n';
    return OK;
}

/* One field and what ends it: '\t', '\n' (for any end of a line) or -1. */
static enum status field_read(int *end, struct table *table, struct field *field, struct error *err)
{
    int c;
    TRY(peek(&c, table, err));
    bool quoted = c == '"';
    table->at += quoted;
    field->start = field->end = offset(table);
    field->is_blank = !quoted;
    for (;;) {
        size_t n;
        TRY(fill(&n, table, err));
        *end = -1;
        if (n == 0 && quoted)
            return fail(err, BAD_INPUT,
                        "%s: the file ends within a cell that a double quote begins; is it a whole download?",
                        table->place);
        if (n == 0)
            return OK;
        const char *bytes = table->window + table->at;
        size_t run = run_of(bytes, n, quoted);
        for (const char *at = bytes; quoted && (at = memchr(at, '\n', run - (size_t)(at - bytes))); at++)
            table->line++;
        for (size_t i = 0; i < run && field->is_blank; i++)
            field->is_blank = bytes[i] == ' ';
        TRY(field_add(table, field, bytes, run, err));
        table->at += run;
        if (run > 0 || quoted)
            field->end = offset(table);
        if (run == n)
            continue;
        c = bytes[run];
        table->at++;
        if (!quoted) {
            *end = c == '\t' ? '\t' : '\n';
            return c == '\t' ? OK : line_end(table, c, err);
        }
        TRY(peek(&c, table, err));
        if (c == '"') {
            table->at++;
            TRY(field_add(table, field, "\"", 1, err));
        } else {
            quoted = false; /* what may stand before the next tab belongs to the field, as in pandas */
        }
    }
}

/* pandas' STR_NA_VALUES. */
static bool is_missing(const char *text)
{
    static const char *const words[] = {"",     "#N/A",   "#N/A N/A", "#NA",  "-1.#IND", "-1.#QNAN", "-NaN",
                                        "-nan", "1.#IND", "1.#QNAN",  "<NA>", "N/A",     "NA",       "NULL",
                                        "NaN",  "None",   "n/a",      "nan",  "null"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

/* Terminates the wanted text that the row's buffer ends in. */
static enum status text_finish(struct table *table, int wanted, struct error *err)
{
    size_t start = table->starts[wanted] - 1, n = table->cells.n - start;
    buffer_add(&table->cells, "", 1);
    if (table->cells.failed)
        return fail(err, NO_MACHINE, "%s: no memory for a row", table->place);
    const char *text = table->cells.bytes + start;
    if (memchr(text, '\0', n))
        return fail(err, BAD_INPUT, "%s: a cell holds a zero byte; is it a table of text?", table->place);
    if (utf8_check(text, n) != n)
        return fail(err, BAD_INPUT, "%s: a cell holds bytes that are no UTF-8", table->place);
    if (is_missing(text))
        table->starts[wanted] = 0;
    return OK;
}

/* ---- rows ------------------------------------------------------------------------------------------------
 */

/* Past blank lines to where a row begins; *there is false at the end of the file. */
static enum status row_find(bool *there, struct table *table, struct error *err)
{
    int c;
    for (;;) {
        TRY(peek(&c, table, err));
        if (c != '\n' && c != '\r')
            break;
        table->at++;
        TRY(line_end(table, c, err));
    }
    *there = c >= 0;
    snprintf(table->place, sizeof table->place, "%.*s:%jd", TABLE_PLACE - 32, table->path,
             (intmax_t)table->line);
    return OK;
}

static void picture_finish(struct table *table, struct field *field)
{
    struct table_cell *cell = &table->row.picture;
    bool is_long = field->n_head > TABLE_REFERENCE;
    field->head[is_long ? 0 : field->n_head] = '\0';
    *cell = (struct table_cell){.at = field->start, .n_bytes = field->end - field->start};
    if (!is_long && is_missing(field->head))
        cell->n_bytes = 0;
    memcpy(cell->reference, field->head, is_long ? 1 : field->n_head + 1);
}

/* *blank: the line held spaces only, and is no row. */
static enum status row_read(bool *blank, struct table *table, struct error *err)
{
    int end = '\t';
    *blank = false;
    for (int c = 0; end == '\t'; c++) {
        if (c == table->n_columns)
            return fail(err, BAD_INPUT, "%s: expected %d cells, as many as the header has, found more",
                        table->place, table->n_columns);
        struct field field = {.column = table->column[c]};
        if (field.column >= 0)
            table->starts[field.column] = table->cells.n + 1;
        TRY(field_read(&end, table, &field, err));
        *blank = c == 0 && end != '\t' && field.is_blank;
        if (*blank)
            return OK;
        if (field.column >= 0)
            TRY(text_finish(table, field.column, err));
        else if (field.column == PICTURE)
            picture_finish(table, &field);
        if (end < 0 && c + 1 < table->n_columns)
            return fail(err, BAD_INPUT,
                        "%s: the file ends after %d of %d cells of its last row; is it a whole download?",
                        table->place, c + 1, table->n_columns);
    }
    return OK;
}

static void row_hash(struct table *table)
{
    int64_t size = table->row.picture.n_bytes;
    for (int i = 0; i < table->n_wanted; i++) /* with its zero, so that cells cannot run into each other */
        sha256_update(table->sha, table->text[i] ? table->text[i] : "\x01",
                      table->text[i] ? strlen(table->text[i]) + 1 : 1);
    sha256_update(table->sha, &size, sizeof size);
}

enum status table_next(const struct table_row **row, struct table *table, struct error *err)
{
    *row = NULL;
    for (bool there, blank = true; blank;) {
        TRY(row_find(&there, table, err));
        if (!there)
            return OK;
        buffer_clear(&table->cells);
        memset(table->starts, 0, (size_t)table->n_wanted * sizeof *table->starts);
        table->row.picture = (struct table_cell){0};
        TRY(row_read(&blank, table, err));
    }
    for (int i = 0; i < table->n_wanted; i++)
        table->text[i] = table->starts[i] ? table->cells.bytes + table->starts[i] - 1 : NULL;
    table->row.text = table->text;
    table->row.place = table->place;
    if (table->sha)
        row_hash(table);
    *row = &table->row;
    return OK;
}

/* ---- the header ------------------------------------------------------------------------------------------
 */

static enum status column_add(struct table *table, const char *name, const struct table_column *wanted,
                              const char *picture, struct error *err)
{
    char shown[PRINTABLE_SIZE];
    int column = SKIPPED;
    if (table->n_columns == LIMIT_TABLE_COLUMNS)
        return fail(err, BAD_INPUT, "%s: the header has more than %d columns", table->place,
                    LIMIT_TABLE_COLUMNS);
    for (int i = 0; i < table->n_wanted; i++)
        if (strcmp(name, wanted[i].name) == 0)
            column = i;
    if (picture && strcmp(name, picture) == 0)
        column = PICTURE;
    bool *has = column >= 0 ? &table->has[column] : &table->has_picture;
    if (column != SKIPPED && *has)
        return fail(err, BAD_INPUT, "%s: the header has the column \"%s\" twice", table->place,
                    printable(shown, name));
    if (column != SKIPPED)
        *has = true;
    table->column[table->n_columns++] = column;
    return OK;
}

static enum status header_read(struct table *table, const struct table_column *wanted, const char *picture,
                               struct error *err)
{
    bool there;
    size_t n;
    TRY(fill(&n, table, err));
    if (n >= 3 && memcmp(table->window, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
        table->at = 3;
    TRY(row_find(&there, table, err));
    if (!there)
        return fail(err, BAD_INPUT, "%s: is empty, expected a header", table->path);
    for (int end = '\t'; end == '\t';) {
        struct field field = {.column = 0}; /* any wanted column's place will do */
        buffer_clear(&table->cells);
        table->starts[0] = 1;
        TRY(field_read(&end, table, &field, err));
        TRY(text_finish(table, 0, err));
        TRY(column_add(table, table->cells.bytes, wanted, picture, err));
    }
    for (int i = 0; i < table->n_wanted; i++)
        if (wanted[i].required && !table->has[i])
            return fail(err, BAD_INPUT, "%s: has no column \"%s\"; is it a table of tab-separated values?",
                        table->path, wanted[i].name);
    return OK;
}

enum status table_open(struct table **out, const char *path, const struct table_column *wanted, int n,
                       const char *picture, struct sha256 *sha, struct error *err)
{
    enum status status = OK;
    int64_t size;
    ENSURE(n > 0);
    *out = NULL;
    struct table *table = memory_zero(1, sizeof *table);
    if (!table)
        return memory_failed(err, "a table", sizeof *table);
    table->path = path;
    table->line = 1;
    table->n_wanted = n;
    table->sha = sha;
    table->fd = -1;
    table->window = memory_alloc(WINDOW, 1);
    table->has = memory_zero((size_t)n, sizeof *table->has);
    table->starts = memory_zero((size_t)n, sizeof *table->starts);
    table->text = memory_zero((size_t)n, sizeof *table->text);
    if (!table->window || !table->has || !table->starts || !table->text)
        TRY_GOTO(status, memory_failed(err, "a table", WINDOW));
    TRY_GOTO(status, open_file(&table->fd, &size, path, err));
    TRY_GOTO(status, header_read(table, wanted, picture, err));
    *out = table;
    table = NULL;
exit:
    table_close(table);
    return status;
}

bool table_has(const struct table *table, int wanted)
{
    return table->has[wanted];
}

bool table_has_picture(const struct table *table)
{
    return table->has_picture;
}

void table_close(struct table *table)
{
    if (!table)
        return;
    if (table->fd >= 0)
        close(table->fd);
    buffer_free(&table->cells);
    free(table->window);
    free(table->has);
    free(table->starts);
    free(table->text);
    free(table);
}

/* ---- pictures --------------------------------------------------------------------------------------------
 */

static int digit_of(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes in place: three bytes never overtake the four they come from. Source: RFC 4648, section 4. */
static enum status base64_decode(size_t *n, uint8_t *bytes, size_t n_base64, const char *path, int64_t at,
                                 struct error *err)
{
    uint32_t bits = 0;
    size_t n_digits = 0, n_padding = 0;
    *n = 0;
    for (size_t i = 0; i < n_base64; i++) {
        unsigned char c = bytes[i];
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
            continue;
        int digit = digit_of(c);
        if (c == '=' && n_digits % 4 >= 2 && n_padding < 2) {
            n_padding++;
            continue;
        }
        if (digit < 0 || n_padding > 0)
            return fail(err, BAD_INPUT,
                        "%s: byte %jd: the picture's base64 holds 0x%02x where %s is expected", path,
                        (intmax_t)(at + (int64_t)i), c, n_padding ? "nothing" : "a digit of it");
        bits = bits << 6 | (uint32_t)digit;
        if (n_digits++ % 4 > 0)
            bytes[(*n)++] = (uint8_t)(bits >> (6 - 2 * ((n_digits - 1) % 4)));
    }
    if ((n_digits + n_padding) % 4 != 0 || n_digits == 0)
        return fail(
            err, BAD_INPUT,
            "%s: byte %jd: the picture's base64 has %zu characters, expected a multiple of 4 and some; "
            "is it cut off?",
            path, (intmax_t)at, n_digits + n_padding);
    return OK;
}

enum status table_picture(uint8_t **bytes, size_t *n, const char *path, int64_t at, int64_t n_base64,
                          struct error *err)
{
    enum status status = OK;
    int64_t size = 0;
    int fd;
    uint8_t *text = NULL;
    *bytes = NULL;
    *n = 0;
    TRY(open_file(&fd, &size, path, err));
    if (at < 0 || n_base64 < 0 || at > size || n_base64 > size - at)
        TRY_GOTO(status, fail(err, BAD_INPUT, "%s: ends within the picture at byte %jd; did the file change?",
                              path, (intmax_t)at));
    if (n_base64 > (int64_t)LIMIT_TABLE_PICTURE)
        TRY_GOTO(status, fail(err, BAD_INPUT,
                              "%s: byte %jd: a picture has %jd bytes of base64, more than the "
                              "limit of %u",
                              path, (intmax_t)at, (intmax_t)n_base64, LIMIT_TABLE_PICTURE));
    text = memory_alloc((size_t)n_base64 + 1, 1);
    if (!text)
        TRY_GOTO(status, memory_failed(err, "a picture", (size_t)n_base64 + 1));
    for (int64_t done = 0; done < n_base64;) {
        ssize_t got = pread(fd, text + done, (size_t)(n_base64 - done), at + done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            TRY_GOTO(status, fail(err, BAD_INPUT, "%s: cannot be read: %s", path,
                                  got ? strerror(errno) : "it ends too early"));
        done += got;
    }
    TRY_GOTO(status, base64_decode(n, text, (size_t)n_base64, path, at, err));
    *bytes = text;
    text = NULL;
exit:
    free(text);
    close(fd);
    return status;
}
