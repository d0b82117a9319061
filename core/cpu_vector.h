/* Vectors of the instruction set that this file is compiled for: arithmetic by the compiler's vector
 * extension, fused multiply-add, extremes and folds by name. W lanes: 16 (AVX-512F), 8 (AVX2 and FMA),
 * else 4.
 *
 * -ffp-contract=off goes with it: the compiler must not fuse in one place and not in another. */
#ifndef WINNOW_CPU_VECTOR_H
#define WINNOW_CPU_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { W = 16 };
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
enum { W = 8 };
#else
enum { W = 4 };
#endif

typedef float vec __attribute__((vector_size(4 * W)));
typedef int32_t ivec __attribute__((vector_size(4 * W)));
typedef float vec_any __attribute__((vector_size(4 * W), aligned(4), may_alias)); /* anywhere in memory */
typedef double dvec __attribute__((vector_size(4 * W)));                          /* W/2 lanes */
typedef float halfvec __attribute__((vector_size(2 * W)));
typedef float halfvec_any __attribute__((vector_size(2 * W), aligned(4), may_alias));

static inline vec load(const float *from)
{
    return (vec) * (const vec_any *)from;
}

static inline void store(float *to, vec x)
{
    *(vec_any *)to = (vec_any)x;
}

static inline vec splat(float x)
{
    return x - (vec){0}; /* the form that both compilers turn into a broadcast; −0 stays −0 */
}

/* The first n lanes, zeros behind them. */
static inline vec load_part(const float *from, int n)
{
    float lanes[W] = {0};
    memcpy(lanes, from, (size_t)n * sizeof *from);
    return load(lanes);
}

static inline void store_part(float *to, vec x, int n)
{
    float lanes[W];
    store(lanes, x);
    memcpy(to, lanes, (size_t)n * sizeof *to);
}

/* a where the mask is all ones, b where it is zero */
static inline vec choose(ivec mask, vec a, vec b)
{
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
}

static inline vec fma_vec(vec a, vec b, vec c)
{
#if defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

static inline dvec fma_dvec(dvec a, dvec b, dvec c)
{
#if defined(__AVX512F__)
    return (dvec)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (dvec)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
    return a * b + c;
#endif
}

static inline vec max_vec(vec a, vec b)
{
#if defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return choose(a > b, a, b);
#endif
}

static inline vec min_vec(vec a, vec b)
{
#if defined(__AVX512F__)
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return choose(a < b, a, b);
#endif
}

/* Four lanes to one, and W lanes to four: halves are folded onto each other, always in this order. */
typedef float vec4 __attribute__((vector_size(16)));
typedef int32_t ivec4 __attribute__((vector_size(16)));

static inline float sum_four(vec4 x)
{
    x += __builtin_shufflevector(x, x, 2, 3, 0, 1);
    return x[0] + x[1];
}

static inline vec4 max_vec4(vec4 a, vec4 b)
{
    ivec4 mask = a > b;
    return (vec4)(((ivec4)a & mask) | ((ivec4)b & ~mask));
}

static inline float max_four(vec4 x)
{
    x = max_vec4(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
    return x[0] > x[1] ? x[0] : x[1];
}

static inline float sum_lanes(vec x)
{
    vec4 parts[W / 4];
    memcpy(parts, &x, sizeof parts);
    for (int n = W / 8; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            parts[i] += parts[i + n];
    return sum_four(parts[0]);
}

static inline float max_lanes(vec x)
{
    vec4 parts[W / 4];
    memcpy(parts, &x, sizeof parts);
    for (int n = W / 8; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            parts[i] = max_vec4(parts[i], parts[i + n]);
    return max_four(parts[0]);
}

#endif
