/*
 * PNG (RFC 2083) with one IDAT: every row filtered "Up", then one deflate block (RFC 1951) of fixed Huffman
 * codes. Matches are found greedily through a table with the last place of every hash of three bytes: flat
 * pictures shrink from 338 KB to a few KB, and nothing depends on a library's version.
 */
#include "png_encode.h"

#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* malloc, free */
#include <string.h> /* memcpy */

enum { HASH_BITS = 15, WINDOW = 32768, MATCH_MIN = 3, MATCH_MAX = 258 };

struct bits {
    uint8_t *out; /* next byte to write */
    uint32_t hold;
    int held; /* bits in hold, below 8 between calls */
};

/* Appends the low `count` (up to 16) bits of value, lowest first. */
static void bits_put(struct bits *bits, uint32_t value, int count)
{
    bits->hold |= value << bits->held;
    for (bits->held += count; bits->held >= 8; bits->held -= 8) {
        *bits->out++ = (uint8_t)bits->hold;
        bits->hold >>= 8;
    }
}

/* Huffman codes go highest bit first. */
static void bits_put_code(struct bits *bits, uint32_t code, int count)
{
    uint32_t reversed = 0;
    for (int i = 0; i < count; i++)
        reversed |= ((code >> i) & 1) << (count - 1 - i);
    bits_put(bits, reversed, count);
}

/* Literal or length symbol of the fixed code, 0 … 287. */
static void put_symbol(struct bits *bits, uint32_t symbol)
{
    if (symbol < 144)
        bits_put_code(bits, 0x30 + symbol, 8);
    else if (symbol < 256)
        bits_put_code(bits, 0x190 + symbol - 144, 9);
    else if (symbol < 280)
        bits_put_code(bits, symbol - 256, 7);
    else
        bits_put_code(bits, 0xc0 + symbol - 280, 8);
}

/*
 * Lengths and distances share a pattern: `step` codes for every number of extra bits, bases doubling. value
 * counts from 0 (length - 3 or distance - 1). Returns the code; the extra bits come out through extra and
 * extra_bits.
 */
static uint32_t ladder(uint32_t value, int step_log2, uint32_t *extra, int *extra_bits)
{
    int top = 0;
    while (value >> (top + 1))
        top++;
    *extra_bits = top > step_log2 ? top - step_log2 : 0;
    *extra = value & ((1u << *extra_bits) - 1);
    return ((uint32_t)*extra_bits << step_log2) + (value >> *extra_bits);
}

static void put_match(struct bits *bits, uint32_t length, uint32_t distance)
{
    uint32_t extra;
    int extra_bits;
    if (length == MATCH_MAX) {
        put_symbol(bits, 285);
    } else {
        put_symbol(bits, 257 + ladder(length - MATCH_MIN, 2, &extra, &extra_bits));
        bits_put(bits, extra, extra_bits);
    }
    bits_put_code(bits, ladder(distance - 1, 1, &extra, &extra_bits), 5);
    bits_put(bits, extra, extra_bits);
}

/* Deflates n bytes into out, which must hold n * 9 / 8 + 16 bytes. last: HASH table, (1 << HASH_BITS) places.
 */
static uint8_t *deflate_fixed(uint8_t *out, const uint8_t *data, size_t n, size_t *last)
{
    struct bits bits = {.out = out};
    bits_put(&bits, 3, 3); /* final block, fixed codes */
    for (size_t i = 0; i < (size_t)1 << HASH_BITS; i++)
        last[i] = SIZE_MAX;
    for (size_t i = 0; i < n;) {
        size_t length = 0, from = SIZE_MAX;
        if (n - i >= MATCH_MIN) {
            uint32_t three = data[i] | (uint32_t)data[i + 1] << 8 | (uint32_t)data[i + 2] << 16;
            uint32_t hash = (three * 2654435761u) >> (32 - HASH_BITS);
            from = last[hash];
            last[hash] = i;
        }
        if (from != SIZE_MAX && i - from <= WINDOW)
            while (length < MATCH_MAX && i + length < n && data[from + length] == data[i + length])
                length++;
        if (length >= MATCH_MIN) {
            put_match(&bits, (uint32_t)length, (uint32_t)(i - from));
            i += length;
        } else {
            put_symbol(&bits, data[i++]);
        }
    }
    put_symbol(&bits, 256);
    bits_put(&bits, 0, 7); /* flush to a whole byte */
    return bits.out;
}

static void put_big_endian(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t adler32(const uint8_t *data, size_t n)
{
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < n; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static uint32_t crc32(const uint8_t *data, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Frames the n bytes of data that already lie at chunk + 8. Returns the end of the chunk. */
static uint8_t *put_chunk(uint8_t *chunk, const char *name, size_t n)
{
    put_big_endian(chunk, (uint32_t)n);
    memcpy(chunk + 4, name, 4);
    put_big_endian(chunk + 8 + n, crc32(chunk + 4, 4 + n));
    return chunk + 12 + n;
}

int png_encode(uint8_t **bytes, size_t *size, const uint8_t *rgb, int width, int height, char *err,
               size_t err_size)
{
    *bytes = NULL;
    *size = 0;
    if (width < 1 || height < 1 || width > PNG_EDGE_MAX || height > PNG_EDGE_MAX) {
        snprintf(err, err_size, "PNG edges must be 1 to %d, found %d x %d", PNG_EDGE_MAX, width, height);
        return -1;
    }
    size_t row = (size_t)width * 3, n = (row + 1) * (size_t)height;
    uint8_t *filtered = malloc(n);
    uint8_t *file = malloc(n + n / 8 + 128);
    size_t *last = malloc(((size_t)1 << HASH_BITS) * sizeof *last);
    if (!filtered || !file || !last) {
        snprintf(err, err_size, "out of memory for a PNG of %d x %d", width, height);
        free(filtered);
        free(file);
        free(last);
        return -1;
    }
    for (size_t y = 0; y < (size_t)height; y++) {
        uint8_t *to = filtered + y * (row + 1);
        const uint8_t *line = rgb + y * row;
        *to++ = 2; /* Up */
        for (size_t i = 0; i < row; i++)
            to[i] = (uint8_t)(line[i] - (y ? *(line + i - row) : 0));
    }
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const uint8_t depth_color[5] = {8, 2, 0, 0, 0}; /* 8 bits, RGB, no interlace */
    memcpy(file, signature, 8);
    uint8_t *chunk = file + 8;
    put_big_endian(chunk + 8, (uint32_t)width);
    put_big_endian(chunk + 12, (uint32_t)height);
    memcpy(chunk + 16, depth_color, 5);
    chunk = put_chunk(chunk, "IHDR", 13);
    chunk[8] = 0x78; /* zlib: deflate, 32 KB window */
    chunk[9] = 0x01;
    uint8_t *end = deflate_fixed(chunk + 10, filtered, n, last);
    put_big_endian(end, adler32(filtered, n));
    chunk = put_chunk(chunk, "IDAT", (size_t)(end + 4 - (chunk + 8)));
    chunk = put_chunk(chunk, "IEND", 0);
    free(filtered);
    free(last);
    *bytes = file;
    *size = (size_t)(chunk - file);
    return 0;
}
