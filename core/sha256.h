/* SHA-256 (FIPS 180-4): whole buffers at once, or piece by piece.
 *
 *     struct sha256 sha;
 *     sha256_init(&sha);
 *     sha256_update(&sha, bytes, n);      // as often as there are pieces
 *     char hex[65];
 *     sha256_final(&sha, hex);            // 64 lower-case digits and a 0; sha is spent
 *
 * Nothing allocates or fails. */
#ifndef WINNOW_SHA256_H
#define WINNOW_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint64_t n_bytes;  /* taken so far */
    uint8_t block[64]; /* the first n_bytes % 64 of it are waiting */
};

void sha256_init(struct sha256 *sha);
void sha256_update(struct sha256 *sha, const void *data, size_t n);
void sha256_final(struct sha256 *sha, char out[65]);

/* The three steps in one. */
void sha256_hex(char out[65], const void *data, size_t n);

#endif
