/* YAML trees with line numbers, see yaml_tree.h. Parser: libyaml (YAML 1.1), document interface. Plain words
 * such as `on` stay the texts that they are: the parameter tables say what a word means. */
#include "harness/yaml_tree.h"

#include <errno.h>  /* strtol's ERANGE */
#include <stdarg.h> /* messages */
#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include <yaml.h>

#include "core/json.h"   /* file_read, printable */
#include "core/limits.h" /* LIMIT_YAML_BYTES */
#include "core/memory.h" /* memory_* */

enum { OVERRIDES_MAX = 256, OVERRIDE_DEPTH = 16, STEP_SIZE = 128 };

struct block {
    struct block *next;
    max_align_t data[];
};

struct yaml_tree {
    char *path;
    yaml_document_t document;
    struct block *blocks; /* yaml_array's */
    /* Nodes from first_node[i] on (up to the next) came from assignment[i], not from the file. */
    int first_node[OVERRIDES_MAX];
    char *assignment[OVERRIDES_MAX];
    int n_overrides;
};

static yaml_node_t *node_at(const struct yaml_tree *tree, int node)
{
    /* libyaml's accessors take no const, but change nothing. */
    return yaml_document_get_node((yaml_document_t *)(uintptr_t)&tree->document, node);
}

int yaml_root(const struct yaml_tree *tree)
{
    return node_at(tree, 1) ? 1 : 0;
}

int yaml_line(const struct yaml_tree *tree, int node)
{
    yaml_node_t *n = node_at(tree, node);
    return n ? (int)n->start_mark.line + 1 : 0;
}

enum status yaml_fail(struct error *err, const struct yaml_tree *tree, int node, const char *format, ...)
{
    char text[900];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (int i = tree->n_overrides - 1; i >= 0; i--)
        if (node >= tree->first_node[i])
            return fail(err, BAD_INPUT, "--set %s: %s", tree->assignment[i], text);
    return fail(err, BAD_INPUT, "%s:%d: %s", tree->path, yaml_line(tree, node), text);
}

/* ---- reading -------------------------------------------------------------------------------- */

static enum status document_load(yaml_document_t *out, const char *bytes, size_t n_bytes, const char *name,
                                 struct error *err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return memory_failed(err, "YAML parser", sizeof parser);
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, n_bytes);
    enum status status = OK;
    yaml_document_t next;
    bool loaded = yaml_parser_load(&parser, out), more = loaded && yaml_parser_load(&parser, &next);
    yaml_node_t *second = more ? yaml_document_get_root_node(&next) : NULL;
    if (second != NULL)
        status = fail(err, BAD_INPUT, "%s:%zu: a second document begins here; one is read", name,
                      second->start_mark.line + 1);
    if (more) {
        yaml_document_delete(&next);
    } else {
        size_t line = parser.problem_mark.line + 1;
        status = parser.error == YAML_MEMORY_ERROR
                     ? memory_failed(err, name, n_bytes)
                     : fail(err, BAD_INPUT, "%s:%zu: no valid YAML: %s%s%s", name, line,
                            parser.context ? parser.context : "", parser.context ? ", " : "",
                            parser.problem ? parser.problem : "unknown problem");
    }
    yaml_parser_delete(&parser);
    if (status != OK && loaded)
        yaml_document_delete(out);
    return status;
}

enum status yaml_tree_open(struct yaml_tree **out, const char *path, struct error *err)
{
    *out = NULL;
    char *bytes;
    size_t n_bytes;
    TRY(file_read(&bytes, &n_bytes, path, LIMIT_YAML_BYTES, err));
    struct yaml_tree *tree = memory_zero(1, sizeof *tree);
    char *name = memory_text(path);
    enum status status = tree && name ? OK : memory_failed(err, path, sizeof *tree);
    if (status == OK)
        status = document_load(&tree->document, bytes, n_bytes, path, err);
    free(bytes);
    if (status != OK) {
        free(name);
        free(tree);
        return status;
    }
    tree->path = name;
    if (yaml_root(tree) == 0) {
        yaml_tree_close(tree);
        return fail(err, BAD_INPUT, "%s: the file is empty", path);
    }
    *out = tree;
    return OK;
}

void yaml_tree_close(struct yaml_tree *tree)
{
    if (tree == NULL)
        return;
    yaml_document_delete(&tree->document);
    while (tree->blocks) {
        struct block *next = tree->blocks->next;
        free(tree->blocks);
        tree->blocks = next;
    }
    for (int i = 0; i < tree->n_overrides; i++)
        free(tree->assignment[i]);
    free(tree->path);
    free(tree);
}

void *yaml_array(struct yaml_tree *tree, size_t n, size_t size)
{
    if (size != 0 && n > (SIZE_MAX / 2 - sizeof(struct block)) / size)
        return NULL;
    struct block *block = memory_zero(1, sizeof *block + n * size);
    if (block == NULL)
        return NULL;
    block->next = tree->blocks;
    tree->blocks = block;
    return block->data;
}

/* ---- access --------------------------------------------------------------------------------- */

int yaml_map_size(const struct yaml_tree *tree, int map)
{
    const yaml_node_t *n = node_at(tree, map);
    if (n == NULL || n->type != YAML_MAPPING_NODE)
        return -1;
    return (int)(n->data.mapping.pairs.top - n->data.mapping.pairs.start);
}

void yaml_map_at(int *key, int *value, const struct yaml_tree *tree, int map, int index)
{
    const yaml_node_pair_t *pair = node_at(tree, map)->data.mapping.pairs.start + index;
    *key = pair->key;
    *value = pair->value;
}

int yaml_list_size(const struct yaml_tree *tree, int list)
{
    const yaml_node_t *n = node_at(tree, list);
    if (n == NULL || n->type != YAML_SEQUENCE_NODE)
        return -1;
    return (int)(n->data.sequence.items.top - n->data.sequence.items.start);
}

int yaml_list_at(const struct yaml_tree *tree, int list, int index)
{
    return node_at(tree, list)->data.sequence.items.start[index];
}

static const char *scalar_at(const struct yaml_tree *tree, int node)
{
    const yaml_node_t *n = node_at(tree, node);
    return n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

int yaml_get(const struct yaml_tree *tree, int map, const char *key)
{
    int n = yaml_map_size(tree, map);
    for (int i = 0; i < n; i++) {
        int k, value;
        yaml_map_at(&k, &value, tree, map, i);
        const char *name = scalar_at(tree, k);
        if (name && strcmp(name, key) == 0)
            return value;
    }
    return 0;
}

static void names_join(char *out, size_t size, const char *const *names)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; names[i] && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", names[i]);
}

enum status yaml_check_map(const struct yaml_tree *tree, int node, const char *what, const char *const *keys,
                           struct error *err)
{
    int n = yaml_map_size(tree, node);
    if (n < 0)
        return yaml_fail(err, tree, node, "%s: expected `key: value` lines", what);
    for (int i = 0; i < n; i++) {
        int key, value;
        yaml_map_at(&key, &value, tree, node, i);
        char shown[PRINTABLE_SIZE];
        const char *name;
        TRY(yaml_text(&name, tree, key, "a key", err));
        for (int j = 0; j < i; j++) {
            int earlier;
            yaml_map_at(&earlier, &value, tree, node, j);
            const char *other = scalar_at(tree, earlier);
            if (other && strcmp(other, name) == 0)
                return yaml_fail(err, tree, key, "%s: key '%s' stands twice (first in line %d)", what,
                                 printable(shown, name), yaml_line(tree, earlier));
        }
        bool known = keys == NULL;
        for (int j = 0; !known && keys[j]; j++)
            known = strcmp(keys[j], name) == 0;
        if (!known) {
            char list[400];
            names_join(list, sizeof list, keys);
            return yaml_fail(err, tree, key, "%s: unknown key '%s'; its keys: %s", what,
                             printable(shown, name), list);
        }
    }
    return OK;
}

enum status yaml_check_list(const struct yaml_tree *tree, int node, const char *what, struct error *err)
{
    int n = yaml_list_size(tree, node);
    if (n < 0)
        return yaml_fail(err, tree, node, "%s: expected a list, as in [a, b]", what);
    if (n == 0)
        return yaml_fail(err, tree, node,
                         "%s: the list is empty; name at least one value or leave the key out", what);
    return OK;
}

enum status yaml_text(const char **out, const struct yaml_tree *tree, int node, const char *what,
                      struct error *err)
{
    const yaml_node_t *n = node_at(tree, node);
    if (n == NULL || n->type != YAML_SCALAR_NODE)
        return yaml_fail(err, tree, node, "%s: expected one value, found a %s", what,
                         n && n->type == YAML_SEQUENCE_NODE ? "list" : "mapping");
    const char *text = (const char *)n->data.scalar.value;
    bool plain = n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (text[0] == 0 || (plain && (strcmp(text, "~") == 0 || strcmp(text, "null") == 0)))
        return yaml_fail(err, tree, node, "%s: the value is empty", what);
    if (strlen(text) != n->data.scalar.length)
        return yaml_fail(err, tree, node, "%s: the value holds a zero byte", what);
    *out = text;
    return OK;
}

enum status yaml_int(int *out, const struct yaml_tree *tree, int node, const char *what, int low, int high,
                     struct error *err)
{
    const char *text;
    TRY(yaml_text(&text, tree, node, what, err));
    char *end, shown[PRINTABLE_SIZE];
    errno = 0;
    long value = strtol(text, &end, 10);
    bool plain = node_at(tree, node)->data.scalar.style == YAML_PLAIN_SCALAR_STYLE; /* "100" is a text */
    if (!plain || *end != 0 || errno == ERANGE || value < low || value > high)
        return yaml_fail(err, tree, node, "%s: expected a whole number from %d to %d, found '%s'", what, low,
                         high, printable(shown, text));
    *out = (int)value;
    return OK;
}

enum status yaml_choice(int *out, const struct yaml_tree *tree, int node, const char *what,
                        const char *const *names, struct error *err)
{
    const char *text;
    TRY(yaml_text(&text, tree, node, what, err));
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], text) == 0) {
            *out = i;
            return OK;
        }
    char list[400], shown[PRINTABLE_SIZE];
    names_join(list, sizeof list, names);
    return yaml_fail(err, tree, node, "%s: found '%s', expected one of: %s", what, printable(shown, text),
                     list);
}

enum status yaml_joined(const char **out, struct yaml_tree *tree, int node, const char *what,
                        struct error *err)
{
    int n = yaml_list_size(tree, node);
    if (n < 0)
        return yaml_text(out, tree, node, what, err);
    TRY(yaml_check_list(tree, node, what, err));
    size_t total = 1;
    for (int i = 0; i < n; i++) {
        const char *text;
        TRY(yaml_text(&text, tree, yaml_list_at(tree, node, i), what, err));
        total += strlen(text) + 1;
    }
    char *joined = yaml_array(tree, total, 1);
    if (joined == NULL)
        return memory_failed(err, what, total);
    size_t used = 0;
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(joined + used, total - used, "%s%s", i ? "," : "",
                                 scalar_at(tree, yaml_list_at(tree, node, i)));
    *out = joined;
    return OK;
}

/* ---- overrides ------------------------------------------------------------------------------ */

/* Copies a node of another document; 0 when memory runs out or it is nested too deep. */
static int node_copy(yaml_document_t *to, yaml_document_t *from, int node, int depth)
{
    const yaml_node_t *n = yaml_document_get_node(from, node);
    if (n == NULL || depth > OVERRIDE_DEPTH)
        return 0;
    if (n->type == YAML_SCALAR_NODE)
        return yaml_document_add_scalar(to, NULL, n->data.scalar.value, (int)n->data.scalar.length,
                                        n->data.scalar.style);
    if (n->type == YAML_SEQUENCE_NODE) {
        int list = yaml_document_add_sequence(to, NULL, YAML_FLOW_SEQUENCE_STYLE);
        for (const yaml_node_item_t *i = n->data.sequence.items.start; list && i < n->data.sequence.items.top;
             i++) {
            int item = node_copy(to, from, *i, depth + 1);
            if (item == 0 || !yaml_document_append_sequence_item(to, list, item))
                return 0;
        }
        return list;
    }
    int map = yaml_document_add_mapping(to, NULL, YAML_FLOW_MAPPING_STYLE);
    for (const yaml_node_pair_t *p = n->data.mapping.pairs.start; map && p < n->data.mapping.pairs.top; p++) {
        int key = node_copy(to, from, p->key, depth + 1), value = node_copy(to, from, p->value, depth + 1);
        if (key == 0 || value == 0 || !yaml_document_append_mapping_pair(to, map, key, value))
            return 0;
    }
    return map;
}

/* What a step of a path is called in an element of a list: the element, where it is that text or has that
 * `name`; or a mapping inside it that has (as an entry's `without_data`). 0: neither. */
static int element_named(const struct yaml_tree *tree, int item, const char *step)
{
    int name = yaml_get(tree, item, "name"), n = yaml_map_size(tree, item);
    const char *text = scalar_at(tree, name ? name : item);
    if (text && strcmp(text, step) == 0)
        return item;
    for (int i = 0; i < n; i++) {
        int key, value;
        yaml_map_at(&key, &value, tree, item, i);
        text = scalar_at(tree, yaml_get(tree, value, "name"));
        if (text && strcmp(text, step) == 0)
            return value;
    }
    return 0;
}

/* The first step of a path; the rest begins behind its dot, NULL: there is none. */
static enum status step_take(char step[STEP_SIZE], const char **rest, const struct yaml_tree *tree, int value,
                             const char *path, struct error *err)
{
    const char *dot = strchr(path, '.');
    size_t n = dot ? (size_t)(dot - path) : strlen(path);
    if (n == 0 || n >= STEP_SIZE)
        return yaml_fail(err, tree, value, "the path has a step that is empty or too long");
    memcpy(step, path, n);
    step[n] = 0;
    *rest = dot ? dot + 1 : NULL;
    return OK;
}

static bool path_is_there(const struct yaml_tree *tree, int node, const char *path)
{
    char step[STEP_SIZE];
    for (const char *rest = path; node && rest; path = rest) {
        struct error err;
        if (step_take(step, &rest, tree, node, path, &err) != OK)
            return false;
        int n = yaml_list_size(tree, node), found = 0;
        for (int i = 0; i < n && !found; i++)
            found = element_named(tree, yaml_list_at(tree, node, i), step);
        node = n >= 0 ? found : yaml_get(tree, node, step);
    }
    return node != 0;
}

/* An anchor's node stands in several places (&a, *a); only the one of the path is meant. */
static bool is_shared(const struct yaml_tree *tree, int node)
{
    int n_nodes = (int)(tree->document.nodes.top - tree->document.nodes.start), n_places = 0;
    for (int at = 1; at <= n_nodes; at++) {
        for (int i = yaml_list_size(tree, at) - 1; i >= 0; i--)
            n_places += yaml_list_at(tree, at, i) == node;
        for (int i = yaml_map_size(tree, at) - 1; i >= 0; i--) {
            int key, value;
            yaml_map_at(&key, &value, tree, at, i);
            n_places += value == node;
        }
    }
    return n_places > 1;
}

/* A list or a mapping of the same children; of a text, {name: TEXT}, which is the same element of a list. 0
 * when memory runs out. */
static int node_open(struct yaml_tree *tree, int node)
{
    yaml_document_t *document = &tree->document;
    int n_items = yaml_list_size(tree, node), n_pairs = yaml_map_size(tree, node);
    int out = n_items >= 0 ? yaml_document_add_sequence(document, NULL, YAML_FLOW_SEQUENCE_STYLE)
                           : yaml_document_add_mapping(document, NULL, YAML_FLOW_MAPPING_STYLE);
    bool ok = out != 0;
    if (ok)
        node_at(tree, out)->start_mark = node_at(tree, node)->start_mark;
    for (int i = 0; i < n_items && ok; i++)
        ok = yaml_document_append_sequence_item(document, out, yaml_list_at(tree, node, i));
    for (int i = 0; i < n_pairs && ok; i++) {
        int key, value;
        yaml_map_at(&key, &value, tree, node, i);
        ok = yaml_document_append_mapping_pair(document, out, key, value);
    }
    if (n_items < 0 && n_pairs < 0 && ok) {
        int key = yaml_document_add_scalar(document, NULL, (yaml_char_t *)"name", 4, YAML_PLAIN_SCALAR_STYLE);
        ok = key != 0 && yaml_document_append_mapping_pair(document, out, key, node);
    }
    return ok ? out : 0;
}

static enum status override_at(struct yaml_tree *tree, int node, const char *path, int value,
                               struct error *err);

/* Puts the value into the place that `*child` is read from and `place` writes, or further below. */
static enum status override_below(int *child, struct yaml_tree *tree, bool is_element, const char *rest,
                                  int value, struct error *err)
{
    if (rest == NULL) {
        *child = value;
        return OK;
    }
    bool is_text = scalar_at(tree, *child) != NULL;
    if ((is_text && is_element) || (!is_text && is_shared(tree, *child))) {
        int opened = node_open(tree, *child);
        if (opened == 0)
            return memory_failed(err, "--set", strlen(rest));
        *child = opened;
    }
    return override_at(tree, *child, rest, value, err);
}

static enum status no_such_element(const struct yaml_tree *tree, int list, const char *step, int value,
                                   struct error *err)
{
    char names[400] = "", shown[PRINTABLE_SIZE];
    int n = yaml_list_size(tree, list);
    for (int i = 0; i < n; i++) {
        int item = yaml_list_at(tree, list, i), name = yaml_get(tree, item, "name");
        const char *text = scalar_at(tree, name ? name : item);
        bool is_new = text != NULL;
        for (int j = 0; j < i && is_new; j++)
            is_new = element_named(tree, yaml_list_at(tree, list, j), text) == 0;
        size_t used = strlen(names);
        if (is_new)
            snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", text);
    }
    return yaml_fail(err, tree, value,
                     "the list of line %d has no element '%s'; it has: %s (or by number: 0 to %d)",
                     yaml_line(tree, list), printable(shown, step), names[0] ? names : "none by name", n - 1);
}

/* Of several elements of one name those are meant that have the path already; if none has it, all. */
static enum status override_list(struct yaml_tree *tree, int list, const char *step, const char *rest,
                                 int value, struct error *err)
{
    int n = yaml_list_size(tree, list), n_named = 0, n_with_path = 0;
    for (int i = 0; i < n; i++) {
        int named = element_named(tree, yaml_list_at(tree, list, i), step);
        n_named += named != 0;
        n_with_path += named != 0 && rest && path_is_there(tree, named, rest);
    }
    char *end;
    long number = strtol(step, &end, 10);
    bool by_number = n_named == 0 && *end == 0 && number >= 0 && number < n;
    if (n_named == 0 && !by_number)
        return no_such_element(tree, list, step, value, err);
    for (int i = by_number ? (int)number : 0; i < (by_number ? (int)number + 1 : n); i++) {
        int item = yaml_list_at(tree, list, i), named = by_number ? item : element_named(tree, item, step);
        if (named == 0 || (n_with_path > 0 && !path_is_there(tree, named, rest)))
            continue;
        if (named != item && rest == NULL)
            return yaml_fail(err, tree, value, "'%s' is inside an element of the list; say which key of it",
                             step);
        if (named != item) {
            TRY(override_at(tree, named, rest, value, err));
            continue;
        }
        TRY(override_below(&item, tree, true, rest, value, err));
        node_at(tree, list)->data.sequence.items.start[i] = item;
    }
    return OK;
}

/* Puts `value` at `path` below `node`. */
static enum status override_at(struct yaml_tree *tree, int node, const char *path, int value,
                               struct error *err)
{
    char step[STEP_SIZE];
    const char *rest;
    TRY(step_take(step, &rest, tree, value, path, err));
    if (yaml_list_size(tree, node) >= 0)
        return override_list(tree, node, step, rest, value, err);
    int n_pairs = yaml_map_size(tree, node);
    if (n_pairs < 0)
        return yaml_fail(err, tree, value, "there is nothing below the value of line %d to set '%s' in",
                         yaml_line(tree, node), step);
    for (int i = 0; i < n_pairs; i++) {
        int key, child;
        yaml_map_at(&key, &child, tree, node, i);
        const char *text = scalar_at(tree, key);
        if (text == NULL || strcmp(text, step) != 0)
            continue;
        TRY(override_below(&child, tree, false, rest, value, err));
        node_at(tree, node)->data.mapping.pairs.start[i].value = child;
        return OK;
    }
    int key = yaml_document_add_scalar(&tree->document, NULL, (yaml_char_t *)step, (int)strlen(step),
                                       YAML_PLAIN_SCALAR_STYLE);
    int child = rest ? yaml_document_add_mapping(&tree->document, NULL, YAML_FLOW_MAPPING_STYLE) : value;
    if (key == 0 || child == 0 || !yaml_document_append_mapping_pair(&tree->document, node, key, child))
        return memory_failed(err, "--set", strlen(step));
    return rest ? override_at(tree, child, rest, value, err) : OK;
}

enum status yaml_override(struct yaml_tree *tree, const char *assignment, struct error *err)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || equals == assignment)
        return fail(err, BAD_INPUT, "--set %s: expected PATH=VALUE, as in benchmarks.pope.limit=100",
                    assignment);
    if (tree->n_overrides == OVERRIDES_MAX)
        return fail(err, BAD_INPUT, "--set may be given up to %d times", OVERRIDES_MAX);
    char *copy = memory_text(assignment), *path = memory_text(assignment);
    if (copy == NULL || path == NULL) {
        free(copy);
        free(path);
        return memory_failed(err, "--set", strlen(assignment));
    }
    path[equals - assignment] = 0;
    yaml_document_t document;
    enum status status = document_load(&document, equals + 1, strlen(equals + 1), assignment, err);
    if (status == OK) {
        int first = (int)(tree->document.nodes.top - tree->document.nodes.start) + 1;
        int value = node_copy(&tree->document, &document, 1, 0);
        yaml_document_delete(&document);
        tree->first_node[tree->n_overrides] = first;
        tree->assignment[tree->n_overrides++] = copy;
        copy = NULL;
        if (value == 0)
            status = fail(err, BAD_INPUT, "--set %s: the value is empty or nested too deep", assignment);
        else
            status = override_at(tree, 1, path, value, err);
    }
    free(copy);
    free(path);
    return status;
}
