/* Pillow's Image.resize(BICUBIC) on RGB8, restated bit for bit, and padding to a square.
 *
 *     in [h, w, 3] ── across ──> uint8 [h, W, 3] ── down ──> out [H, W, 3]
 *
 * Both passes are the same loop over whole rows, which the compiler turns into vector code: a pass across
 * works on the picture turned so that its columns are rows. Weights are fixed point with 22 bits, sums are
 * int32: |weights| sum to less than 1.5 · 2^22, so a sum stays below 255 · 1.5 · 2^22 < 2^31.
 *
 * Source: Pillow 9.4 … 12.0, src/libImaging/Resample.c. Pillow 13 goes down first where the height shrinks
 * and the width grows, and for some shapes where both shrink; results published so far come from the older
 * order, which is the one here.
 */
#include "image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define WEIGHT_BITS 22
#define BLOCK       64 /* bytes of a row handled at a time: their sums stay in registers or L1 */
#define STRIP       64 /* rows of the picture that are turned at a time: a strip and its result stay in L2 */

/* How each row of the output is made from rows of the input. */
struct taps {
    int n, width;  /* rows of the output; weights reserved for each */
    int low, high; /* rows of the input that are used, [low, high) */
    int *first;    /* [n] first row of the input; owned, the other two lie in the same block */
    int *count;    /* [n] */
    int *weights;  /* [n, width] fixed point */
};

/* Rows of bytes; the stride is a multiple of BLOCK and the padding is 0. */
struct plane {
    size_t stride;
    uint8_t *bytes; /* owned */
};

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

/* Outputs [start, start + n) of a side that goes from n_in to n_out pixels. The caller frees out->first. */
static enum status taps_make(struct taps *out, int n_in, int n_out, int start, int n, struct error *err)
{
    double scale = (double)n_in / (double)n_out;
    double filter_scale = scale < 1.0 ? 1.0 : scale;
    double support = 2.0 * filter_scale, inverse = 1.0 / filter_scale;
    size_t width = (size_t)ceil(support) * 2 + 1, rows = (size_t)n;
    int *block = memory_alloc(rows, (width + 2) * sizeof *block);
    double *exact = memory_alloc(width, sizeof *exact);
    if (!block || !exact) {
        free(block);
        free(exact);
        return memory_failed(err, "the weights of a resize", rows * (width + 2) * sizeof *block);
    }
    *out = (struct taps){n, (int)width, n_in, 0, block, block + rows, block + 2 * rows};
    for (int i = 0; i < n; i++) {
        double centre = (start + i + 0.5) * scale;
        int low = (int)(centre - support + 0.5), high = (int)(centre + support + 0.5);
        low = low < 0 ? 0 : low;
        high = high > n_in ? n_in : high;
        double sum = 0.0;
        for (int t = 0; t < high - low; t++) {
            exact[t] = bicubic((t + low - centre + 0.5) * inverse);
            sum += exact[t];
        }
        int *weights = out->weights + (size_t)i * width;
        for (int t = 0; t < high - low; t++) {
            double weight = (sum != 0.0 ? exact[t] / sum : exact[t]) * (1 << WEIGHT_BITS);
            weights[t] = (int)(weight + (weight < 0 ? -0.5 : 0.5));
        }
        out->first[i] = low;
        out->count[i] = high - low;
        out->low = low < out->low ? low : out->low;
        out->high = high > out->high ? high : out->high;
    }
    free(exact);
    return OK;
}

static enum status plane_new(struct plane *out, int n_rows, int n_pixels, struct error *err)
{
    size_t stride = ((size_t)n_pixels * 3 + BLOCK - 1) / BLOCK * BLOCK;
    *out = (struct plane){stride, memory_zero((size_t)n_rows, stride)};
    if (!out->bytes)
        return memory_failed(err, "a resize", (size_t)n_rows * stride);
    return OK;
}

/* out row c, pixel r = in row r, pixel c. */
static void pixels_turn(uint8_t *out, size_t out_stride, const uint8_t *in, size_t in_stride, int n_rows,
                        int n_columns)
{
    for (int c = 0; c < n_columns; c++) {
        uint8_t *to = out + (size_t)c * out_stride;
        const uint8_t *from = in + 3 * (size_t)c;
        for (int r = 0; r < n_rows; r++) {
            to[3 * r] = from[(size_t)r * in_stride];
            to[3 * r + 1] = from[(size_t)r * in_stride + 1];
            to[3 * r + 2] = from[(size_t)r * in_stride + 2];
        }
    }
}

/* One output row: out[j] = clip8(Σ_t weights[t] · in[t · stride + j]). */
static void row_weigh(uint8_t *restrict out, const uint8_t *restrict in, size_t stride,
                      const int *restrict weights, int count)
{
    for (size_t j = 0; j < stride; j += BLOCK) {
        int sum[BLOCK];
        for (int b = 0; b < BLOCK; b++)
            sum[b] = 1 << (WEIGHT_BITS - 1);
        for (int t = 0; t < count; t++) {
            const uint8_t *row = in + (size_t)t * stride + j;
            int weight = weights[t];
            for (int b = 0; b < BLOCK; b++)
                sum[b] += weight * row[b];
        }
        for (int b = 0; b < BLOCK; b++) {
            int value = sum[b] >> WEIGHT_BITS;
            value = value < 0 ? 0 : value;
            out[j + (size_t)b] = (uint8_t)(value > 255 ? 255 : value);
        }
    }
}

/* out row i = the weighted rows of `in`, whose row 0 is the input's row `origin`. */
static void plane_weigh(struct plane *out, const struct plane *in, const struct taps *taps, int origin)
{
    ENSURE(out->stride == in->stride);
    for (int i = 0; i < taps->n; i++)
        row_weigh(out->bytes + (size_t)i * out->stride,
                  in->bytes + (size_t)(taps->first[i] - origin) * in->stride, in->stride,
                  taps->weights + (size_t)i * (size_t)taps->width, taps->count[i]);
}

/* Columns [left, left + n) of a picture `width` wide, rows [low, high) of the input, into a plane whose row 0
 * is the row `low`. */
static enum status pass_across(struct plane *out, const struct image *in, int width, int left, int n, int low,
                               int high, struct error *err)
{
    size_t in_stride = (size_t)in->width * 3;
    const uint8_t *source = in->rgb + (size_t)low * in_stride;
    TRY(plane_new(out, high - low, n, err));
    if (width == in->width) {
        for (int r = 0; r < high - low; r++)
            memcpy(out->bytes + (size_t)r * out->stride, source + (size_t)r * in_stride + 3 * (size_t)left,
                   3 * (size_t)n);
        return OK;
    }
    struct taps taps = {0};
    struct plane turned = {0}, weighed = {0};
    enum status status;
    TRY_GOTO(status, taps_make(&taps, in->width, width, left, n, err));
    TRY_GOTO(status, plane_new(&turned, taps.high - taps.low, STRIP, err));
    TRY_GOTO(status, plane_new(&weighed, n, STRIP, err));
    for (int r = 0; r < high - low; r += STRIP) {
        int n_rows = high - low - r < STRIP ? high - low - r : STRIP;
        pixels_turn(turned.bytes, turned.stride, source + (size_t)r * in_stride + 3 * (size_t)taps.low,
                    in_stride, n_rows, taps.high - taps.low);
        plane_weigh(&weighed, &turned, &taps, taps.low);
        pixels_turn(out->bytes + (size_t)r * out->stride, out->stride, weighed.bytes, weighed.stride, n,
                    n_rows);
    }
exit:
    free(taps.first);
    free(turned.bytes);
    free(weighed.bytes);
    return status;
}

enum status image_resize_window(struct image *out, const struct image *in, int width, int height,
                                const struct window *window, struct error *err)
{
    ENSURE(window->left >= 0 && window->width > 0 && window->left + window->width <= width);
    ENSURE(window->top >= 0 && window->height > 0 && window->top + window->height <= height);
    struct taps taps = {0};
    struct plane across = {0}, down = {0};
    enum status status;
    *out = (struct image){0};
    int low = window->top, high = window->top + window->height;
    bool resize_down = height != in->height;
    if (resize_down) {
        TRY_GOTO(status, taps_make(&taps, in->height, height, window->top, window->height, err));
        low = taps.low;
        high = taps.high;
    }
    TRY_GOTO(status, pass_across(&across, in, width, window->left, window->width, low, high, err));
    if (resize_down) {
        TRY_GOTO(status, plane_new(&down, window->height, window->width, err));
        plane_weigh(&down, &across, &taps, low);
    }
    static const uint8_t black[3] = {0};
    TRY_GOTO(status, image_new(out, window->width, window->height, black, err));
    const struct plane *result = resize_down ? &down : &across;
    size_t row_bytes = (size_t)window->width * 3;
    for (int y = 0; y < window->height; y++)
        memcpy(out->rgb + (size_t)y * row_bytes, result->bytes + (size_t)y * result->stride, row_bytes);
exit:
    free(taps.first);
    free(across.bytes);
    free(down.bytes);
    return status;
}

enum status image_resize(struct image *out, const struct image *in, int width, int height, struct error *err)
{
    *out = (struct image){0};
    if (width < 1 || height < 1)
        return fail(err, BAD_INPUT, "a picture cannot be resized to %d x %d pixels", width, height);
    return image_resize_window(out, in, width, height, &(struct window){0, 0, width, height}, err);
}

enum status image_pad_square(struct image *out, const struct image *in, const uint8_t fill[3],
                             struct error *err)
{
    int side = in->width > in->height ? in->width : in->height;
    TRY(image_new(out, side, side, fill, err));
    size_t left = (size_t)((side - in->width) / 2), top = (size_t)((side - in->height) / 2);
    size_t in_stride = (size_t)in->width * 3, out_stride = (size_t)side * 3;
    for (size_t y = 0; y < (size_t)in->height; y++)
        memcpy(out->rgb + (top + y) * out_stride + 3 * left, in->rgb + y * in_stride, in_stride);
    return OK;
}
