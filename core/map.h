/* Bytes to a number: a hash table for vocabularies and merges.
 *
 * Keys are not copied: they stay where they are as long as the map lives. The hash is SipHash-1-3 with a
 * random key, so that no file can be made to collide. Its room is fixed when it is made.
 */
#ifndef WINNOW_MAP_H
#define WINNOW_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map {
    struct map_entry *entries; /* owned; map_free */
    size_t mask;               /* number of slots (a power of two) - 1 */
    uint64_t seed[2];
};

/* Room for n keys; false when memory runs out. */
bool map_init(struct map *map, size_t n);
void map_free(struct map *map);
/* Puts the value (not negative), replacing one that is there. Returns the earlier value, or -1. */
int32_t map_put(struct map *map, const void *key, size_t n_bytes, int32_t value);
/* The value, or -1. */
int32_t map_get(const struct map *map, const void *key, size_t n_bytes);

#endif
