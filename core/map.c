/* Open addressing with linear probing, at most half full, see map.h.
 * Source of the hash: Aumasson, Bernstein, "SipHash: a fast short-input PRF" (2012), one and three rounds. */
#include "map.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "error.h"

struct map_entry {
    const void *key; /* NULL: free */
    uint32_t n_bytes;
    int32_t value;
};

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static uint64_t hash(const uint64_t seed[2], const void *key, size_t n_bytes)
{
    const unsigned char *bytes = key;
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du,
                     seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
    uint64_t word;
    size_t at = 0;
    for (; n_bytes - at >= sizeof word; at += sizeof word) {
        memcpy(&word, bytes + at, sizeof word);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = 0;
    memcpy(&word, bytes + at, n_bytes - at);
    word |= (uint64_t)n_bytes << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

bool map_init(struct map *map, size_t n)
{
    *map = (struct map){0};
    size_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    map->entries = calloc(slots, sizeof *map->entries);
    map->mask = slots - 1;
    /* Where the kernel gives no random bytes the addresses of this process must do. */
    if (getrandom(map->seed, sizeof map->seed, GRND_NONBLOCK) != (ssize_t)sizeof map->seed) {
        map->seed[0] = (uintptr_t)map->entries;
        map->seed[1] = (uintptr_t)map;
    }
    return map->entries != NULL;
}

void map_free(struct map *map)
{
    free(map->entries);
    *map = (struct map){0};
}

/* The entry of the key, or the free one where it belongs. */
static struct map_entry *find(const struct map *map, const void *key, size_t n_bytes)
{
    size_t slot = (size_t)hash(map->seed, key, n_bytes) & map->mask;
    for (size_t probes = 0; probes <= map->mask; probes++, slot = (slot + 1) & map->mask) {
        struct map_entry *entry = &map->entries[slot];
        if (entry->key == NULL || (entry->n_bytes == n_bytes && memcmp(entry->key, key, n_bytes) == 0))
            return entry;
    }
    return NULL;
}

int32_t map_put(struct map *map, const void *key, size_t n_bytes, int32_t value)
{
    struct map_entry *entry = find(map, key, n_bytes);
    ENSURE(entry != NULL && value >= 0 && n_bytes <= UINT32_MAX);
    int32_t earlier = entry->key != NULL ? entry->value : -1;
    *entry = (struct map_entry){.key = key, .n_bytes = (uint32_t)n_bytes, .value = value};
    return earlier;
}

int32_t map_get(const struct map *map, const void *key, size_t n_bytes)
{
    if (map->entries == NULL)
        return -1;
    const struct map_entry *entry = find(map, key, n_bytes);
    return entry != NULL && entry->key != NULL ? entry->value : -1;
}
