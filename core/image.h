/* Pictures: bytes of a JPEG or PNG file to RGB8, exactly as Pillow's convert("RGB") gives them, Pillow's
 * bicubic resize restated bit for bit, and what CLIP's processor makes of them.
 *
 *     struct image image = {0};
 *     TRY(image_read(&image, "cat.jpg", &err));
 *     TRY(preprocess(pixels, &image, &processor, &err));   // float [3, size, size]
 *     image_free(&image);
 *
 * No EXIF rotation is applied: the evaluation scripts of the field do not.
 */
#ifndef WINNOW_IMAGE_H
#define WINNOW_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct image {
    int width, height;
    uint8_t *rgb; /* [height, width, 3], owned; image_free */
};

enum image_mode { IMAGE_MODE_FROM_FILE, IMAGE_MODE_CROP, IMAGE_MODE_PAD };

/* preprocessor_config.json with CLIPImageProcessor's defaults. */
struct processor {
    int size;             /* shortest edge, pixels */
    int crop;             /* square crop, pixels */
    enum image_mode mode; /* pad: to a square of the mean colour first, as the original LLaVA does */
    double rescale;       /* 1/255 */
    float mean[3], std[3];
};

/* The format is told by the content, never by the name. */
enum status image_read(struct image *out, const char *path, struct error *err);
enum status image_decode(struct image *out, const uint8_t *bytes, size_t n_bytes, const char *name,
                         struct error *err);
enum status image_new(struct image *out, int width, int height, const uint8_t rgb[3], struct error *err);
void image_free(struct image *image);

/* Pillow's Image.resize(BICUBIC) on uint8, horizontal pass first. */
enum status image_resize(struct image *out, const struct image *in, int width, int height, struct error *err);
/* The same picture of width x height, but only this part of it is computed: what a crop would keep. It must
 * lie inside. */
struct window {
    int left, top, width, height;
};
enum status image_resize_window(struct image *out, const struct image *in, int width, int height,
                                const struct window *window, struct error *err);
/* Square of the longer side, filled with `fill`, the picture centred (offsets rounded down). */
enum status image_pad_square(struct image *out, const struct image *in, const uint8_t fill[3],
                             struct error *err);
/* The mean colour of a processor as bytes: int(mean · 255). */
void processor_mean_colour(uint8_t out[3], const struct processor *processor);

/* Reads DIR/preprocessor_config.json; a missing file gives CLIP's defaults with `default_size`.
 * `do_pad: true` selects pad. Steps that the file switches off (do_resize: false …) are refused by name. */
enum status processor_open(struct processor *out, const char *dir, int default_size, struct error *err);

/* pixels: float [3, crop, crop], owned by the caller. Resize, crop, rescale in double then float, normalise.
 */
enum status preprocess(float *pixels, const struct image *image, const struct processor *processor,
                       struct error *err);
/* pixels: float [3, height, width], owned by the caller. The square that the mode sees (pad: the picture on a
 * square of the mean colour; crop: its centre square, cut from the original) resized once to width x height,
 * rescaled and normalised as above; `size` and `crop` have no say. */
enum status preprocess_square(float *pixels, const struct image *image, const struct processor *processor,
                              int width, int height, struct error *err);

/* PNG of an RGB8 picture (libpng), written to a temporary name and renamed. */
enum status image_write_png(const struct image *image, const char *path, struct error *err);

#endif
