/* JSON lines, LLaVA's question file and look-up by id, see rows.h. */
#include "datasets/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "core/utf8.h"

static size_t byte_order_mark(const char *bytes, size_t n)
{
    return n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

enum status rows_open(struct rows *out, const char *path, struct sha256 *sha, struct error *err)
{
    *out = (struct rows){.path = path};
    TRY(file_read(&out->bytes, &out->n_bytes, path, LIMIT_JSON_BYTES, err));
    if (sha)
        sha256_update(sha, out->bytes, out->n_bytes);
    out->at = byte_order_mark(out->bytes, out->n_bytes);
    return OK;
}

/* A copy in which every byte that belongs to no character is U+FFFD; the caller frees. */
static enum status text_repair(char **out, size_t *n_out, const char *text, size_t n, struct error *err)
{
    char *at = *out = memory_alloc(n, 3);
    if (!at)
        return memory_failed(err, "a repaired line", 3 * n);
    while (n > 0) {
        size_t good = utf8_check(text, n);
        at = mempcpy(at, text, good);
        text += good;
        n -= good;
        if (n > 0) {
            at = mempcpy(at, "\xef\xbf\xbd", 3);
            text++;
            n--;
        }
    }
    *n_out = (size_t)(at - *out);
    return OK;
}

/* One line, parsed; repaired: NULL where broken UTF-8 is an error. */
static enum status line_parse(json_t **row, bool *repaired, const char *start, size_t n, const char *place,
                              struct error *err)
{
    if (!repaired || utf8_check(start, n) == n)
        return json_parse(row, start, n, place, err);
    char *text;
    size_t n_text = 0;
    TRY(text_repair(&text, &n_text, start, n, err));
    enum status status = json_parse(row, text, n_text, place, err);
    free(text);
    *repaired = true;
    return status;
}

static enum status next(json_t **row, bool *repaired, struct rows *rows, struct error *err)
{
    *row = NULL;
    if (repaired)
        *repaired = false;
    while (rows->at < rows->n_bytes) {
        const char *start = rows->bytes + rows->at;
        const char *end = memchr(start, '\n', rows->n_bytes - rows->at);
        size_t n = end ? (size_t)(end - start) : rows->n_bytes - rows->at;
        rows->at += n + (end ? 1 : 0);
        rows->line++;
        snprintf(rows->place, sizeof rows->place, "%.*s:%d", PLACE_SIZE - 16, rows->path, rows->line);
        size_t blank = 0;
        while (blank < n && strchr(" \t\r", start[blank]) && start[blank] != '\0')
            blank++;
        if (blank == n)
            continue;
        if (n > LIMIT_JSONL_LINE)
            return fail(err, BAD_INPUT, "%s: the line has %zu bytes, more than the limit of %u", rows->place,
                        n, LIMIT_JSONL_LINE);
        TRY(line_parse(row, repaired, start, n, rows->place, err));
        if (json_is_object(*row))
            return OK;
        json_decref(*row);
        *row = NULL;
        return fail(err, BAD_INPUT,
                    "%s: expected one JSON object a line, found another value; is it JSON lines?",
                    rows->place);
    }
    return OK;
}

enum status rows_next(json_t **row, struct rows *rows, struct error *err)
{
    return next(row, NULL, rows, err);
}

enum status rows_next_repaired(json_t **row, bool *repaired, struct rows *rows, struct error *err)
{
    return next(row, repaired, rows, err);
}

void rows_close(struct rows *rows)
{
    free(rows->bytes);
    rows->bytes = NULL;
}

enum status document_read(json_t **out, const char *path, struct sha256 *sha, struct error *err)
{
    char *bytes;
    size_t n_bytes;
    *out = NULL;
    TRY(file_read(&bytes, &n_bytes, path, LIMIT_JSON_BYTES, err));
    if (sha)
        sha256_update(sha, bytes, n_bytes);
    size_t at = byte_order_mark(bytes, n_bytes);
    enum status status = json_parse(out, bytes + at, n_bytes - at, path, err);
    free(bytes);
    return status;
}

enum status row_id(const char **out, bool *numeric, struct text_pool *pool, const json_t *row,
                   const char *key, const char *place, struct error *err)
{
    const json_t *value = json_object_get(row, key);
    if (numeric)
        *numeric = json_is_integer(value);
    if (json_is_string(value))
        *out = text_pool_add_bytes(pool, json_string_value(value), json_string_length(value));
    else if (json_is_integer(value))
        *out = text_pool_format(pool, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        return fail(err, BAD_INPUT, "%s: \"%s\": expected a text or a whole number, found %s", place, key,
                    value ? "another type" : "nothing");
    return OK;
}

enum status row_text(const char **out, struct text_pool *pool, const json_t *row, const char *key,
                     const char *place, struct error *err)
{
    const json_t *value = json_object_get(row, key);
    if (!json_is_string(value))
        return fail(err, BAD_INPUT, "%s: \"%s\": expected a text, found %s", place, key,
                    value ? "another type" : "nothing");
    *out = text_pool_add_bytes(pool, json_string_value(value), json_string_length(value));
    return OK;
}

enum status dataset_add(struct sample **out, struct dataset *dataset, struct error *err)
{
    int n = dataset->n;
    if (n == 0 || (n >= 64 && (n & (n - 1)) == 0)) { /* capacity: the next power of two, at least 64 */
        size_t capacity = n < 64 ? 64 : (size_t)n * 2;
        struct sample *grown = memory_grow(dataset->samples, capacity, sizeof *grown);
        if (!grown)
            return memory_failed(err, "samples", capacity * sizeof *grown);
        dataset->samples = grown;
    }
    if (n >= (int)(LIMIT_JSON_VALUES / 4))
        return fail(err, BAD_INPUT, "%s: holds more than %d questions", dataset->name, n);
    *out = &dataset->samples[n];
    **out = (struct sample){.row = n, .category = "", .detail = ""};
    dataset->n++;
    return OK;
}

/* An official file names pictures inside its own folder; anything else could read any file of ours. */
static bool leads_out(const char *name)
{
    if (name[0] == '/')
        return true;
    for (const char *part = name; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL)
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
            return true;
    return false;
}

enum status sample_image(struct sample *sample, struct text_pool *pool, const char *image_dir,
                         const char *name, const char *place, struct error *err)
{
    char shown[PRINTABLE_SIZE];
    if (name[0] == '\0' || leads_out(name))
        return fail(err, BAD_INPUT,
                    "%s: \"image\": expected a name inside the folder of pictures, found \"%s\"", place,
                    printable(shown, name));
    sample->image_name = text_pool_add(pool, name);
    sample->image = image_dir ? text_pool_format(pool, "%s/%s", image_dir, name) : sample->image_name;
    sample->cluster = sample->image_name;
    return OK;
}

static enum status question_read(struct dataset *out, const json_t *row, const char *image_dir,
                                 const char *place, struct error *err)
{
    struct sample *sample;
    const char *image, *category;
    TRY(dataset_add(&sample, out, err));
    TRY(row_id(&sample->question_id, &sample->numeric_id, out->pool, row, "question_id", place, err));
    TRY(row_text(&sample->text, out->pool, row, "text", place, err));
    TRY(json_str(&image, row, "image", NULL, place, err));
    TRY(json_str(&category, row, "category", "", place, err));
    sample->category = text_pool_add(out->pool, category);
    sample->group = sample->cluster = sample->question_id;
    if (image)
        TRY(sample_image(sample, out->pool, image_dir, image, place, err));
    return OK;
}

enum status questions_read(struct dataset *out, const char *path, const char *image_dir, struct sha256 *sha,
                           struct error *err)
{
    struct rows rows;
    json_t *row;
    TRY(rows_open(&rows, path, sha, err));
    enum status status;
    while ((status = rows_next(&row, &rows, err)) == OK && row) {
        status = question_read(out, row, image_dir, rows.place, err);
        json_decref(row);
        if (status != OK)
            break;
    }
    rows_close(&rows);
    if (status == OK && out->n == 0)
        status = fail(err, BAD_INPUT, "%s: holds no question", path);
    return status;
}

static bool path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

/* The folders a benchmark's files may lie in under root, NULL-terminated. */
static void folders_of(const char *out[4], const struct dataset *dataset)
{
    int n = 0;
    for (int i = 0; !dataset->is_twin && i < 3 && dataset->benchmark->folders[i]; i++)
        out[n++] = dataset->benchmark->folders[i];
    if (n == 0)
        out[n++] = dataset->name;
    out[n] = NULL;
}

/* Where the tree of evaluation data lies below the folder that is given: it is that folder, or the folder is
 * LLaVA's playground/data, its playground, or the repository itself. */
static const char *const trees[] = {"", "/eval", "/data/eval", "/playground/data/eval"};
enum { N_TREES = sizeof trees / sizeof *trees };

const char *file_locate(const struct dataset *dataset, const char *given, const char *root,
                        const char *const *names)
{
    const char *folders[4];
    if (given || !root)
        return given;
    folders_of(folders, dataset);
    for (int t = 0; t < N_TREES; t++)
        for (int f = 0; folders[f]; f++)
            for (int i = 0; names[i]; i++) {
                const char *path =
                    text_pool_format(dataset->pool, "%s%s/%s/%s", root, trees[t], folders[f], names[i]);
                if (path_exists(path))
                    return path;
            }
    return NULL;
}

const char *dataset_places(const struct dataset *dataset, const char *root)
{
    const char *folders[4], *places = "", *tree = root;
    if (!root)
        return "(no data folder)";
    for (int t = 1; t < N_TREES; t++) { /* the tree there is, not each that might be */
        const char *path = text_pool_format(dataset->pool, "%s%s", root, trees[t]);
        tree = path_exists(path) ? path : tree;
    }
    folders_of(folders, dataset);
    for (int f = 0; folders[f]; f++)
        places = text_pool_format(dataset->pool, "%s%s%s/%s", places, f ? " or " : "", tree, folders[f]);
    return places ? places : root;
}

enum status file_missing(struct dataset *dataset, const struct benchmark_paths *paths, const char *name,
                         const char *option, struct error *err)
{
    const char *places = dataset_places(dataset, paths->root);
    dataset->is_missing = true;
    if (dataset->is_twin)
        return fail(err, BAD_INPUT, "%s: %s is not under %s: give %s, or make it: winnow world --suite %s",
                    dataset->name, name, places, option, dataset->name);
    if (!paths->root)
        return fail(err, BAD_INPUT,
                    "%s: no place is given to look for %s: give %s, or a sweep --data DIR; published at %s",
                    dataset->name, name, option, dataset->benchmark->published);
    return fail(err, BAD_INPUT,
                "%s: %s is not under %s: put it there or give %s (%s: in a sweep file); published at %s",
                dataset->name, name, places, option, option + 2, dataset->benchmark->published);
}

static int entry_order(const void *a, const void *b)
{
    const struct id_entry *left = a, *right = b;
    int order = strcmp(left->id, right->id);
    return order ? order : (left->row > right->row) - (left->row < right->row);
}

void ids_sort(struct id_entry *entries, int n)
{
    if (n > 0) /* qsort takes no NULL, not even for nothing */
        qsort(entries, (size_t)n, sizeof *entries, entry_order);
}

int ids_find(const struct id_entry *entries, int n, const char *id)
{
    int low = 0, high = n; /* the first entry that is not below id lies in [low, high] */
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (strcmp(entries[middle].id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && strcmp(entries[low].id, id) == 0 ? low : -1;
}

enum status ids_of_samples(struct id_entry **out, const struct dataset *dataset, bool unique,
                           const char *path, struct error *err)
{
    int n = dataset->n;
    struct id_entry *entries = memory_alloc((size_t)n, sizeof *entries);
    *out = NULL;
    if (!entries)
        return memory_failed(err, "ids", (size_t)n * sizeof *entries);
    for (int i = 0; i < n; i++)
        entries[i] = (struct id_entry){dataset->samples[i].question_id, i};
    ids_sort(entries, n);
    for (int i = 1; unique && i < n; i++)
        if (strcmp(entries[i].id, entries[i - 1].id) == 0) {
            char shown[PRINTABLE_SIZE];
            enum status status =
                fail(err, BAD_INPUT, "%s: question_id %s occurs twice, in rows %d and %d (counted from 0)",
                     path, printable(shown, entries[i].id), entries[i - 1].row, entries[i].row);
            free(entries);
            return status;
        }
    *out = entries;
    return OK;
}

enum status json_submit(const char *path, json_t *document, struct error *err)
{
    char *text = document ? json_dumps(document, JSON_REAL_PRECISION(17)) : NULL;
    json_decref(document);
    if (!text)
        return fail(err, NO_MACHINE, "%s: no memory for its text", path);
    enum status status = file_write(path, text, strlen(text), err);
    free(text);
    return status;
}
