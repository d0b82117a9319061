/* A number of bytes as people write it. */
#ifndef WINNOW_SIZE_H
#define WINNOW_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* "500MB", "1.5GiB", "2 G", "4096": decimal and binary units are what they say, a letter alone is binary.
 * False where it is no such text, or less than one byte. */
bool size_read(int64_t *out, const char *text);
#define SIZE_EXPECTED "a number of bytes, as in 500MB or 2GiB"

#endif
