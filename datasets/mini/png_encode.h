#ifndef WINNOW_DATASETS_MINI_PNG_ENCODE_H
#define WINNOW_DATASETS_MINI_PNG_ENCODE_H
/* Writes 8-bit RGB pictures as PNG with an own deflate, so that the bytes are the same on every machine. */
#include <stddef.h> /* size_t */
#include <stdint.h> /* uint8_t */

enum { PNG_EDGE_MAX = 8192 };

/*
 * rgb: (height, width, 3), row-major; both edges 1 … PNG_EDGE_MAX. On success returns 0 and *bytes (the whole
 * file, malloc'd, the caller frees it) and *size; on failure returns -1, *bytes NULL and a message in err.
 */
int png_encode(uint8_t **bytes, size_t *size, const uint8_t *rgb, int width, int height, char *err,
               size_t err_size);

#endif
