/* Memory of ours: checked allocation, an arena freed at once, and the guard that makes an allocation between
 * the first and the last token of an answer fatal in debug builds. */
#ifndef WINNOW_MEMORY_H
#define WINNOW_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

/* malloc, realloc, calloc of n × size with the product checked; NULL when memory runs out or n·size
 * overflows. */
void *memory_alloc(size_t n, size_t size);
void *memory_zero(size_t n, size_t size);
void *memory_grow(void *old, size_t n, size_t size);
char *memory_text(const char *text); /* strdup */
enum status memory_failed(struct error *err, const char *what, size_t n_bytes);

/* While a guard is held by this thread, memory_* aborts with the place of the guard (builds without NDEBUG).
 */
void memory_guard(bool hold);
bool memory_guarded(void);

/* Monotonic clock, milliseconds. */
double clock_ms(void);

#endif
