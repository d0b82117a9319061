/* Elementary functions of a vector: e^x and the activations made of it. Each lane is computed alone and the
 * same way, so an element's bits do not depend on where it stands. */
#ifndef WINNOW_CPU_FUNCTIONS_H
#define WINNOW_CPU_FUNCTIONS_H

#include "cpu_vector.h"

/* e^x to 1 ulp or so: x = n·ln 2 + r, |r| ≤ ln 2 / 2, e^r = 1 + r + r²·poly(r) (own minimax fit of degree 4,
 * relative error 3e-9), times 2^n. Below −87.33, where e^x is no normal float, and at −∞: 0. Above 88.7: the
 * value there, which no caller reaches. NaN stays NaN: max_vec and min_vec give their second argument. */
static inline vec exp_vec(vec x)
{
    const vec LOWEST = splat(-87.33f), HIGHEST = splat(88.7f);
    vec clamped = min_vec(HIGHEST, max_vec(LOWEST, x));

    /* 1.5·2^23: adding it leaves the rounded integer in the low bits */
    const vec ROUNDER = splat(12582912.0f);
    vec shifted = fma_vec(clamped, splat(1.44269504088896341f), ROUNDER);
    vec n = shifted - ROUNDER;
    /* ln 2 in two parts; the first has 9 bits, so that n times it is exact */
    vec r = fma_vec(n, splat(-0.693359375f), clamped);
    r = fma_vec(n, splat(2.12194440054690583e-4f), r);

    vec poly = splat(0.001381459878757596f);
    poly = fma_vec(poly, r, splat(0.008368716575205326f));
    poly = fma_vec(poly, r, splat(0.04166838899254799f));
    poly = fma_vec(poly, r, splat(0.1666652113199234f));
    poly = fma_vec(poly, r, splat(0.4999999403953552f));
    vec power = fma_vec(poly, r * r, r) + splat(1.0f);
    vec two_to_n = (vec)(((ivec)shifted << 23) + 0x3F800000); /* the shift drops all but n */
    ivec is_low = x < LOWEST;
    return (vec)((ivec)(power * two_to_n) & ~is_low);
}

static inline vec sigmoid(vec x)
{
    return splat(1.0f) / (splat(1.0f) + exp_vec(-x));
}

static inline vec quick_gelu(vec x)
{
    return x * sigmoid(x * splat(1.702f));
}

static inline vec silu(vec x)
{
    return x * sigmoid(x);
}

/* 0.5·(1 + tanh u) is sigmoid(2u) */
static inline vec gelu_tanh(vec x)
{
    vec u = fma_vec(x * x, x * splat(0.044715f), x);
    return x * sigmoid(u * splat(1.59576912160573071f));
}

/* x·Φ(x) through erfc(z) = t·e^(poly(t) − z²), t = 1/(1 + z/2), z = |x|/√2: own minimax fit of degree 9,
 * relative error 5e-8 for all z. */
static inline vec gelu(vec x)
{
    static const float POLY[] = {0.1539582759141922f,  -0.7301804423332214f, 1.2733428478240967f,
                                 -0.8521027565002441f, 0.04915855824947357f, -0.06776702404022217f,
                                 0.05815616250038147f, 0.38170328736305237f, 0.9992073774337769f,
                                 -1.2654762268066406f};
    vec z = choose(x < splat(0.0f), -x, x) * splat(0.70710678118654752f);
    vec t = splat(1.0f) / fma_vec(z, splat(0.5f), splat(1.0f));
    vec poly = splat(POLY[0]);
#pragma GCC unroll 9
    for (int i = 1; i < 10; i++)
        poly = fma_vec(poly, t, splat(POLY[i]));
    vec half_erfc = splat(0.5f) * t * exp_vec(fma_vec(-z, z, poly));
    return x * choose(x < splat(0.0f), half_erfc, splat(1.0f) - half_erfc);
}

#endif
