/*
 * SHA-256 as FIPS 180-4 gives it: 64 rounds over blocks of 64 bytes, words big-endian, the message closed by
 * a 1 bit, zeros and its length in bits. On processors that have SHA's rounds as instructions, those take the
 * blocks, six times as fast; Intel SDM vol. 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2.
 */
#include "sha256.h"

#include <stdbool.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#endif

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate_right(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void take_block(uint32_t state[8], const uint8_t block[64])
{
    uint32_t w[64];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + round_constants[i] + w[i];
        uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

static void take_blocks_plain(uint32_t state[8], const uint8_t *bytes, size_t n_blocks)
{
    for (; n_blocks > 0; n_blocks--, bytes += 64)
        take_block(state, bytes);
}

#ifdef __x86_64__
static bool has_rounds(void)
{
    static atomic_int known = -1; /* asking a virtual machine's processor takes a microsecond and more */
    int has = atomic_load_explicit(&known, memory_order_relaxed);
    if (has < 0) {
        unsigned a, b = 0, c, d;
        has = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29) && __builtin_cpu_supports("sse4.1");
        atomic_store_explicit(&known, has, memory_order_relaxed);
    }
    return has;
}

/* Four rounds at a time. The instructions want the state as a, b, e, f and c, d, g, h, from the top down. */
__attribute__((target("sha,sse4.1"))) static void take_blocks_fast(uint32_t state[8], const uint8_t *bytes,
                                                                   size_t n_blocks)
{
    const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    __m128i *both = (__m128i *)state;
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(both), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(both + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(badc, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
    for (; n_blocks > 0; n_blocks--, bytes += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4]; /* the last 16 words */
        for (int i = 0; i < 16; i++) {
            __m128i *oldest = &w[i % 4], last = w[(i + 3) % 4];
            if (i < 4) {
                const __m128i *words = (const __m128i *)bytes + i;
                *oldest = _mm_shuffle_epi8(_mm_loadu_si128(words), big_endian);
            } else {
                __m128i seven_ago = _mm_alignr_epi8(last, w[(i + 2) % 4], 4);
                *oldest = _mm_add_epi32(_mm_sha256msg1_epu32(*oldest, w[(i + 1) % 4]), seven_ago);
                *oldest = _mm_sha256msg2_epu32(*oldest, last);
            }
            __m128i k = _mm_loadu_si128((const __m128i *)round_constants + i),
                    sum = _mm_add_epi32(*oldest, k);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128(both, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(both + 1, _mm_alignr_epi8(dchg, feba, 8));
}

static void take_blocks(uint32_t state[8], const uint8_t *bytes, size_t n_blocks)
{
    (has_rounds() ? take_blocks_fast : take_blocks_plain)(state, bytes, n_blocks);
}
#else
static void take_blocks(uint32_t state[8], const uint8_t *bytes, size_t n_blocks)
{
    take_blocks_plain(state, bytes, n_blocks);
}
#endif

void sha256_init(struct sha256 *sha)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, start, sizeof start);
    sha->n_bytes = 0;
}

void sha256_update(struct sha256 *sha, const void *data, size_t n)
{
    const uint8_t *bytes = data;
    size_t waiting = (size_t)(sha->n_bytes % 64);
    sha->n_bytes += n;
    if (waiting > 0) {
        size_t take = n < 64 - waiting ? n : 64 - waiting;
        if (take > 0)
            memcpy(sha->block + waiting, bytes, take);
        if (waiting + take < 64)
            return;
        take_blocks(sha->state, sha->block, 1);
        bytes += take;
        n -= take;
    }
    if (n >= 64)
        take_blocks(sha->state, bytes, n / 64);
    if (n % 64 > 0)
        memcpy(sha->block, bytes + n / 64 * 64, n % 64);
}

void sha256_final(struct sha256 *sha, char out[65])
{
    static const uint8_t padding[64] = {0x80};
    uint64_t n_bits = sha->n_bytes * 8;
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(n_bits >> (56 - 8 * i));
    sha256_update(sha, padding, 1 + (119 - (size_t)(sha->n_bytes % 64)) % 64);
    sha256_update(sha, length, sizeof length);
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 64; i++)
        out[i] = digits[sha->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    out[64] = '\0';
}

void sha256_hex(char out[65], const void *data, size_t n)
{
    struct sha256 sha;
    sha256_init(&sha);
    sha256_update(&sha, data, n);
    sha256_final(&sha, out);
}
