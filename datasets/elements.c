/* Elements of a long JSON document one at a time, see elements.h. Source: RFC 8259.
 *
 * Where an element begins and ends is found by counting brackets outside strings; whether it is JSON is
 * jansson's to judge, element by element, and so are a member's name and the colon behind it: the member goes
 * to jansson as an object of one member, in place.
 */
#include "datasets/elements.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/text_pool.h"

static size_t skip_blanks(const char *bytes, size_t at)
{
    return at + strspn(bytes + at, " \t\r\n");
}

/* Just behind the JSON value that starts at `at`; judges nothing but strings and brackets. n where it is cut.
 */
static size_t value_end(const char *bytes, size_t at, size_t n)
{
    int depth = 0;
    for (; at < n; at++) {
        char c = bytes[at];
        if (c == '"') {
            for (at++; at < n && bytes[at] != '"'; at++)
                at += bytes[at] == '\\';
            if (depth == 0)
                return at < n ? at + 1 : n;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if (c == ']' || c == '}') {
            if (depth == 0)
                return at; /* the end of what a bare number or word stands in */
            if (--depth == 0)
                return at + 1;
        } else if (c == ',' && depth == 0) {
            return at;
        }
    }
    return n;
}

/* ---- a list ---------------------------------------------------------------------------------------------
 */

/* The list of member `key`: from behind its bracket to before the closing one; false: there is none. */
static bool list_find(size_t *from, size_t *to, const char *bytes, size_t n, const char *key)
{
    size_t at = skip_blanks(bytes, 0), n_key = strlen(key);
    if (bytes[at++] != '{')
        return false;
    while (at < n) {
        size_t name = skip_blanks(bytes, at), after = value_end(bytes, name, n);
        bool wanted =
            bytes[name] == '"' && after == name + n_key + 2 && !memcmp(bytes + name + 1, key, n_key);
        size_t colon = skip_blanks(bytes, after);
        if (colon >= n || bytes[colon] != ':')
            return false;
        size_t value = skip_blanks(bytes, colon + 1), end = value_end(bytes, value, n);
        if (wanted && bytes[value] == '[' && end > value + 1 && bytes[end - 1] == ']') {
            *from = value + 1;
            *to = end - 1;
            return true;
        }
        at = skip_blanks(bytes, end);
        if (bytes[at++] != ',')
            return false;
    }
    return false;
}

static enum status list_open(struct elements *elements, const char *what, struct error *err)
{
    const char *bytes = elements->bytes, *path = elements->path;
    size_t from = 0, to = 0, n = elements->n_bytes; /* gcc cannot see that fail() never returns OK */
    if (!list_find(&from, &to, bytes, n, elements->key))
        return fail(err, BAD_INPUT,
                    "%s: expected an object with a list \"%s\", found none; is it a whole download of %s?",
                    path, elements->key, what);
    /* What stands around the list is judged as a document of its own. */
    size_t n_rest = n - (to - from);
    char *rest = memory_alloc(n_rest + 1, 1);
    if (!rest)
        return memory_failed(err, "a document", n_rest);
    memcpy(rest, bytes, from);
    memcpy(rest + from, bytes + to, n - to);
    enum status status = json_parse(&elements->document, rest, n_rest, path, err);
    free(rest);
    elements->at = from;
    elements->n_bytes = to;
    return status;
}

/* The one that starts at `at`. */
static enum status entry_read(json_t **element, struct elements *elements, size_t at, struct error *err)
{
    if (at >= elements->n_bytes || elements->bytes[at] != '{')
        return fail(err, BAD_INPUT, "%s: expected an object", elements->place);
    elements->at = value_end(elements->bytes, at, elements->n_bytes);
    return json_parse(element, elements->bytes + at, elements->at - at, elements->place, err);
}

/* ---- members --------------------------------------------------------------------------------------------
 */

static enum status members_open(struct elements *elements, const char *what, struct error *err)
{
    size_t at = skip_blanks(elements->bytes, 0);
    if (elements->bytes[at] != '{')
        return fail(err, BAD_INPUT, "%s: expected %s, an object keyed by id, found another document",
                    elements->path, what);
    elements->at = at + 1;
    return text_pool_new(&elements->pool, err);
}

/* Remembers the name of the member handed out last. */
static enum status name_add(struct elements *elements, struct error *err)
{
    size_t n = elements->n_names;
    if (n >= LIMIT_JSON_VALUES)
        return fail(err, BAD_INPUT, "%s: holds more than %u values", elements->path, LIMIT_JSON_VALUES);
    if (n == elements->capacity) {
        size_t capacity = n ? 2 * n : 1024;
        struct id_entry *grown = memory_grow(elements->names, capacity, sizeof *grown);
        if (!grown)
            return memory_failed(err, "names of members", capacity * sizeof *grown);
        elements->names = grown;
        elements->capacity = capacity;
    }
    elements->names[elements->n_names++] =
        (struct id_entry){text_pool_add(elements->pool, elements->name), (int)n};
    return OK;
}

/* The one whose name starts at `at`. */
static enum status member_read(json_t **element, struct elements *elements, size_t at, struct error *err)
{
    char *bytes = elements->bytes, shown[PRINTABLE_SIZE];
    size_t n = elements->n_bytes;
    if (bytes[at] != '"')
        return fail(err, BAD_INPUT, "%s: is not valid JSON: expected a name in quotes", elements->place);
    size_t end = value_end(bytes, at, n), colon = skip_blanks(bytes, end);
    if (bytes[colon] == ':')
        end = value_end(bytes, skip_blanks(bytes, colon + 1), n);
    /* The byte before it, a bracket, comma or blank, was read already; the one behind it is still to be. */
    char behind = bytes[end];
    bytes[at - 1] = '{';
    bytes[end] = '}';
    enum status status =
        json_parse(&elements->member, bytes + at - 1, end + 1 - (at - 1), elements->place, err);
    bytes[end] = behind;
    elements->at = end;
    if (status != OK)
        return status;
    void *only = json_object_iter(elements->member);
    json_t *value = json_object_iter_value(only);
    elements->name = json_object_iter_key(only);
    snprintf(elements->place, sizeof elements->place, "%.*s: \"%s\"", PLACE_SIZE - PRINTABLE_SIZE - 8,
             elements->path, printable(shown, elements->name));
    if (!json_is_object(value))
        return fail(err, BAD_INPUT, "%s: expected an object, found another type", elements->place);
    TRY(name_add(elements, err));
    *element = json_incref(value);
    return OK;
}

/* Behind the last member, whose bracket is at `at`: nothing may follow, and no name may stand there twice. */
static enum status members_end(struct elements *elements, size_t at, struct error *err)
{
    int n = (int)elements->n_names;
    struct id_entry *names = elements->names;
    char shown[PRINTABLE_SIZE];
    if (skip_blanks(elements->bytes, at + 1) < elements->n_bytes)
        return fail(err, BAD_INPUT,
                    "%s: is not valid JSON: goes on behind its last bracket, after %d entries",
                    elements->path, n);
    TRY(text_pool_check(elements->pool, err));
    ids_sort(names, n);
    for (int i = 1; i < n; i++)
        if (strcmp(names[i - 1].id, names[i].id) == 0)
            return fail(err, BAD_INPUT, "%s: \"%s\" occurs twice, as entries %d and %d (counted from 0)",
                        elements->path, printable(shown, names[i].id), names[i - 1].row, names[i].row);
    return OK;
}

/* ---- both -----------------------------------------------------------------------------------------------
 */

void elements_close(struct elements *elements)
{
    free(elements->bytes);
    json_decref(elements->document);
    json_decref(elements->member);
    text_pool_free(elements->pool);
    free(elements->names);
    *elements = (struct elements){0};
}

enum status elements_open(struct elements *out, const char *path, const char *what, const char *key,
                          struct sha256 *sha, struct error *err)
{
    *out = (struct elements){.path = path, .key = key, .index = -1};
    TRY(file_read(&out->bytes, &out->n_bytes, path, LIMIT_JSON_BYTES, err));
    sha256_update(sha, out->bytes, out->n_bytes);
    if (out->n_bytes >= 3 && memcmp(out->bytes, "\xef\xbb\xbf", 3) == 0)
        memcpy(out->bytes, "   ", 3);
    enum status status = key ? list_open(out, what, err) : members_open(out, what, err);
    if (status != OK)
        elements_close(out);
    return status;
}

enum status elements_next(json_t **element, struct elements *elements, struct error *err)
{
    const char *bytes = elements->bytes, *key = elements->key;
    size_t at = skip_blanks(bytes, elements->at);
    *element = NULL;
    elements->name = NULL;
    json_decref(elements->member);
    elements->member = NULL;
    elements->index++;
    snprintf(elements->place, sizeof elements->place, "%.*s: %s%s%sentry %d", PLACE_SIZE - 60, elements->path,
             key ? "\"" : "", key ? key : "", key ? "\": " : "", elements->index);
    if (at < elements->n_bytes ? !key && bytes[at] == '}' : key != NULL)
        return key ? OK : members_end(elements, at, err);
    if (elements->index > 0) {
        if (bytes[at] != ',')
            return fail(err, BAD_INPUT, "%s: expected a comma before it%s", elements->place,
                        at < elements->n_bytes ? "" : ", found the end of the file");
        at = skip_blanks(bytes, at + 1);
    }
    return key ? entry_read(element, elements, at, err) : member_read(element, elements, at, err);
}
