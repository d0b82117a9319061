/*
 * AVI (Microsoft's RIFF form, without the OpenDML extension): one video stream of codec "MPNG", each chunk a
 * whole PNG file, every frame a key frame, and the index that players seek by.
 *
 *     RIFF 'AVI '
 *       LIST 'hdrl'   avih (56 bytes), LIST 'strl': strh (56), strf (40: BITMAPINFOHEADER)
 *       LIST 'movi'   '00dc' PNG, '00dc' PNG, … each padded to an even length
 *       idx1          16 bytes a frame: '00dc', key frame, offset from 'movi', length
 *
 * Source: "AVI RIFF File Reference" (Microsoft).
 */
#include "avi_encode.h"

#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* malloc, free */
#include <string.h> /* memcpy */

#include "png_encode.h"

enum { AVIH_BYTES = 56, STRH_BYTES = 56, STRF_BYTES = 40, INDEX_BYTES = 16, CHUNK_HEAD = 8 };
enum {
    STRL_BYTES = 4 + CHUNK_HEAD + STRH_BYTES + CHUNK_HEAD + STRF_BYTES, /* with its list type */
    HDRL_BYTES = 4 + CHUNK_HEAD + AVIH_BYTES + CHUNK_HEAD + STRL_BYTES,
    FLAG_HAS_INDEX = 0x10, /* avih: dwFlags */
    FLAG_KEY_FRAME = 0x10  /* idx1 */
};
#define FILE_BYTES_MAX ((size_t)1 << 30) /* what every reader of plain AVI takes */

struct frame {
    uint8_t *png;
    size_t n;
};

static uint8_t *put_code(uint8_t *at, const char *code)
{
    return (uint8_t *)memcpy(at, code, 4) + 4;
}

static uint8_t *put32(uint8_t *at, size_t value)
{
    for (int i = 0; i < 4; i++)
        *at++ = (uint8_t)(value >> 8 * i);
    return at;
}

static uint8_t *put16(uint8_t *at, unsigned value)
{
    *at++ = (uint8_t)value;
    *at++ = (uint8_t)(value >> 8);
    return at;
}

static uint8_t *put_head(uint8_t *at, const char *code, size_t n)
{
    return put32(put_code(at, code), n);
}

static uint8_t *put_headers(uint8_t *at, int n_frames, int width, int height, int fps, size_t largest)
{
    at = put_code(put_head(at, "LIST", HDRL_BYTES), "hdrl");
    at = put_head(at, "avih", AVIH_BYTES);
    at = put32(at, (size_t)(1000000 / fps)); /* microseconds a frame */
    at = put32(at, largest * (size_t)fps);   /* bytes a second at most */
    at = put32(at, 0);                       /* padding granularity */
    at = put32(at, FLAG_HAS_INDEX);
    at = put32(at, (size_t)n_frames);
    at = put32(at, 0);       /* initial frames */
    at = put32(at, 1);       /* streams */
    at = put32(at, largest); /* suggested buffer */
    at = put32(at, (size_t)width);
    at = put32(at, (size_t)height);
    for (int i = 0; i < 4; i++)
        at = put32(at, 0); /* reserved */

    at = put_code(put_head(at, "LIST", STRL_BYTES), "strl");
    at = put_head(at, "strh", STRH_BYTES);
    at = put_code(put_code(at, "vids"), "MPNG");
    for (int i = 0; i < 3; i++)
        at = put32(at, 0); /* flags; priority and language; initial frames */
    at = put32(at, 1);     /* scale; rate ÷ scale is frames a second */
    at = put32(at, (size_t)fps);
    at = put32(at, 0); /* start */
    at = put32(at, (size_t)n_frames);
    at = put32(at, largest);
    at = put32(at, 0xffffffff); /* quality: the codec's own */
    at = put32(at, 0);          /* sample size: it varies */
    at = put16(put16(at, 0), 0);
    at = put16(put16(at, (unsigned)width), (unsigned)height);

    at = put_head(at, "strf", STRF_BYTES);
    at = put32(at, STRF_BYTES);
    at = put32(at, (size_t)width);
    at = put32(at, (size_t)height);
    at = put16(put16(at, 1), 24); /* planes, bits a pixel */
    at = put_code(at, "MPNG");
    at = put32(at, (size_t)width * (size_t)height * 3);
    for (int i = 0; i < 4; i++)
        at = put32(at, 0); /* pixels a metre, palette */
    return at;
}

static uint8_t *file_make(size_t *size, const struct frame *frames, int n_frames, int width, int height,
                          int fps, char *err, size_t err_size)
{
    size_t n_movi = 4, largest = 0; /* with the list type */
    for (int i = 0; i < n_frames; i++) {
        n_movi += CHUNK_HEAD + frames[i].n + (frames[i].n & 1);
        largest = frames[i].n > largest ? frames[i].n : largest;
    }
    size_t n_index = (size_t)n_frames * INDEX_BYTES;
    size_t n =
        4 + CHUNK_HEAD + HDRL_BYTES + CHUNK_HEAD + n_movi + CHUNK_HEAD + n_index; /* after RIFF's head */
    if (n > FILE_BYTES_MAX) {
        snprintf(err, err_size, "AVI of %d frames: %zu bytes, at most %zu fit", n_frames, n, FILE_BYTES_MAX);
        return NULL;
    }
    uint8_t *bytes = malloc(CHUNK_HEAD + n);
    if (!bytes) {
        snprintf(err, err_size, "AVI of %d frames: no memory for %zu bytes", n_frames, CHUNK_HEAD + n);
        return NULL;
    }
    uint8_t *at = put_code(put_head(bytes, "RIFF", n), "AVI ");
    at = put_headers(at, n_frames, width, height, fps, largest);
    at = put_head(at, "LIST", n_movi);
    at = put_code(at, "movi"); /* here the index's offsets count from */
    for (int i = 0; i < n_frames; i++) {
        at = put_head(at, "00dc", frames[i].n);
        at = (uint8_t *)memcpy(at, frames[i].png, frames[i].n) + frames[i].n;
        if (frames[i].n & 1)
            *at++ = 0;
    }
    at = put_head(at, "idx1", n_index);
    size_t offset = 4;
    for (int i = 0; i < n_frames; i++) {
        at = put_code(at, "00dc");
        at = put32(at, FLAG_KEY_FRAME);
        at = put32(at, offset);
        at = put32(at, frames[i].n);
        offset += CHUNK_HEAD + frames[i].n + (frames[i].n & 1);
    }
    *size = (size_t)(at - bytes);
    return bytes;
}

int avi_encode(uint8_t **bytes, size_t *size, const uint8_t *const *frames_rgb, int n_frames, int width,
               int height, int fps, char *err, size_t err_size)
{
    *bytes = NULL;
    *size = 0;
    if (n_frames < 1 || n_frames > AVI_FRAMES_MAX || fps < 1 || fps > AVI_FPS_MAX) {
        snprintf(err, err_size, "AVI of %d frames, %d a second: expected 1 to %d frames, 1 to %d a second",
                 n_frames, fps, AVI_FRAMES_MAX, AVI_FPS_MAX);
        return -1;
    }
    struct frame *frames = calloc((size_t)n_frames, sizeof *frames);
    if (!frames) {
        snprintf(err, err_size, "AVI of %d frames: no memory", n_frames);
        return -1;
    }
    int failed = 0;
    for (int i = 0; i < n_frames && !failed; i++)
        failed = png_encode(&frames[i].png, &frames[i].n, frames_rgb[i], width, height, err, err_size);
    if (!failed)
        *bytes = file_make(size, frames, n_frames, width, height, fps, err, err_size);
    for (int i = 0; i < n_frames; i++)
        free(frames[i].png);
    free(frames);
    return *bytes ? 0 : -1;
}
