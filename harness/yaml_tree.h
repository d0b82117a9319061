/* A YAML file as a tree of numbered nodes (libyaml's document), each of which knows the line it came from,
 * and typed access to it with the line in every message.
 *
 * Node numbers are 1 … n, 0 is "not there". The tree owns every text that it hands out, and the arrays of
 * yaml_array, until yaml_tree_close.
 */
#ifndef WINNOW_YAML_TREE_H
#define WINNOW_YAML_TREE_H

#include <stddef.h>

#include "core/error.h"

struct yaml_tree;

enum status yaml_tree_open(struct yaml_tree **out, const char *path, struct error *err);
void yaml_tree_close(struct yaml_tree *tree);
int yaml_root(const struct yaml_tree *tree);
int yaml_line(const struct yaml_tree *tree, int node);

/* "dotted.path=VALUE": replaces or adds a value. In a list a step is an element's name or its number from 0.
 * A name is the element itself, its `name`, or that of a mapping inside it; of several elements of one name
 * those are meant that have the path already, all where none has it. The value is YAML. */
enum status yaml_override(struct yaml_tree *tree, const char *assignment, struct error *err);

/* "FILE:LINE: message", BAD_INPUT. */
enum status yaml_fail(struct error *err, const struct yaml_tree *tree, int node, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A mapping whose keys are all among `keys` (NULL-terminated; NULL: any), none twice. */
enum status yaml_check_map(const struct yaml_tree *tree, int node, const char *what, const char *const *keys,
                           struct error *err);
int yaml_get(const struct yaml_tree *tree, int map, const char *key); /* 0: not there */
int yaml_map_size(const struct yaml_tree *tree, int map);
void yaml_map_at(int *key, int *value, const struct yaml_tree *tree, int map, int index);
/* A list with at least one element. */
enum status yaml_check_list(const struct yaml_tree *tree, int node, const char *what, struct error *err);
int yaml_list_size(const struct yaml_tree *tree, int list); /* -1: no list */
int yaml_list_at(const struct yaml_tree *tree, int list, int index);

/* Scalars. `what` names the value in messages. */
enum status yaml_text(const char **out, const struct yaml_tree *tree, int node, const char *what,
                      struct error *err);
enum status yaml_int(int *out, const struct yaml_tree *tree, int node, const char *what, int low, int high,
                     struct error *err);
/* The index of the text among `names` (NULL-terminated). */
enum status yaml_choice(int *out, const struct yaml_tree *tree, int node, const char *what,
                        const char *const *names, struct error *err);
/* A scalar, or a list of scalars joined by commas. */
enum status yaml_joined(const char **out, struct yaml_tree *tree, int node, const char *what,
                        struct error *err);

/* Zeroed memory that lives as long as the tree; NULL when there is none. */
void *yaml_array(struct yaml_tree *tree, size_t n, size_t size);

#endif
