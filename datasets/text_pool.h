/* An arena of strings: what a dataset's files say lives until the dataset is closed, and is freed at once.
 *
 * Failure sticks: when memory runs out, texts become "" and text_pool_check, called once after a run of
 * additions, says so.
 */
#ifndef WINNOW_TEXT_POOL_H
#define WINNOW_TEXT_POOL_H

#include <stddef.h>

#include "core/error.h"

struct text_pool;

enum status text_pool_new(struct text_pool **out, struct error *err);
void text_pool_free(struct text_pool *pool);
enum status text_pool_check(const struct text_pool *pool, struct error *err);

/* Terminated copies, owned by the pool; never NULL. */
const char *text_pool_add(struct text_pool *pool, const char *text);
const char *text_pool_add_bytes(struct text_pool *pool, const char *bytes, size_t n);
const char *text_pool_format(struct text_pool *pool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* n × size zeroed bytes, aligned for any type, owned by the pool; NULL when memory runs out. */
void *text_pool_zero(struct text_pool *pool, size_t n, size_t size);

#endif
