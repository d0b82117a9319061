/* Chance by counter: the value depends only on (seed, sample, stream, index), so it is the same on every
 * device, in any order, at any level of sharing. The mixer is SplitMix64's finaliser, applied to each part in
 * turn. */
#ifndef WINNOW_RNG_H
#define WINNOW_RNG_H

#include <stdint.h>

static inline uint64_t rng_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static inline uint64_t rng_u64(uint64_t seed, uint64_t sample, uint64_t stream, uint64_t index)
{
    return rng_mix(rng_mix(rng_mix(rng_mix(seed) ^ sample) ^ stream) ^ index);
}

/* Uniform in [0, 1), 24 bits: exact in float. */
static inline float rng_float(uint64_t seed, uint64_t sample, uint64_t stream, uint64_t index)
{
    return (float)(rng_u64(seed, sample, stream, index) >> 40) * 0x1p-24f;
}

#endif
