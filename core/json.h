/* JSON with limits: jansson, checked for size, depth and duplicate keys before anything is believed. */
#ifndef WINNOW_JSON_H
#define WINNOW_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* Whole file to memory with a terminating 0 (not counted). The caller frees. */
enum status file_read(char **out, size_t *n_bytes, const char *path, size_t limit, struct error *err);
bool file_exists(const char *path);
/* Whether both name one file that exists: an output must not take the place of what it is made of. */
bool file_same(const char *a, const char *b);
/* Writes to PATH.tmp-PID and renames: nothing half-written is ever seen under PATH, and a device or pipe of
 * that name is refused. */
enum status file_write(const char *path, const void *bytes, size_t n_bytes, struct error *err);

/* The caller json_decref's. `name` is for messages. */
enum status json_read(json_t **out, const char *path, struct error *err);
enum status json_parse(json_t **out, const char *bytes, size_t n_bytes, const char *name, struct error *err);

/* Typed members of an object with a default; a wrong type or a value outside [low, high] is an error that
 * names file and key. An absent or null member gives the default. */
enum status json_int(int64_t *out, const json_t *object, const char *key, int64_t fallback, int64_t low,
                     int64_t high, const char *name, struct error *err);
enum status json_double(double *out, const json_t *object, const char *key, double fallback, const char *name,
                        struct error *err);
enum status json_bool(bool *out, const json_t *object, const char *key, bool fallback, const char *name,
                      struct error *err);
/* *out is owned by the object; fallback may be NULL. */
enum status json_str(const char **out, const json_t *object, const char *key, const char *fallback,
                     const char *name, struct error *err);

/* Text from a file for a message: control characters become '?', what is too long ends in "...". Returns out.
 */
#define PRINTABLE_SIZE 100
const char *printable(char out[PRINTABLE_SIZE], const char *text);

#endif
