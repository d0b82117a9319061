/* CLIP's image processor: RGB8 of any size to float [3, crop, crop].
 *
 *     pad mode: to a square of the mean colour                                        [side, side, 3]
 *     resize: the shorter side to `size`, the longer to (int)(size · long / short)
 *     centre crop: offsets rounded down; what is smaller is surrounded by black       [crop, crop, 3]
 *     (float)(x · rescale), then (x − mean) / std in float, channels first            [3, crop, crop]
 *
 * preprocess_square leaves out the crop: the square that the mode sees goes to any width x height in one
 * resize, so that nothing is resampled twice where a smaller picture is wanted.
 *
 * A pixel has 256 values, so rescale and normalisation are a table per channel; resize computes only what the
 * crop keeps.
 *
 * Source: transformers 4.57, CLIPImageProcessor (the slow one, on Pillow), LLaVA's expand2square.
 */
#include "image.h"

#include <stdio.h>
#include <string.h>

#include "json.h"

#define CONFIG_NAME "preprocessor_config.json"
#define BICUBIC     3 /* PIL.Image.Resampling.BICUBIC */
#define MAX_SIDE    4096

static const char *const known_types[] = {"CLIPImageProcessor", "CLIPImageProcessorFast",
                                          "CLIPFeatureExtractor", "LlavaImageProcessor",
                                          "LlavaImageProcessorFast"};

static const char *const steps[] = {"do_resize", "do_center_crop", "do_rescale", "do_normalize"};

/* `size` and `crop_size` are a number, or an object with `edge`, or one with equal height and width where
 * `square` allows it. */
static enum status side_read(int *out, const json_t *config, const char *key, const char *edge, bool square,
                             const char *name, struct error *err)
{
    const json_t *value = json_object_get(config, key);
    int64_t side = *out;
    if (json_is_object(value)) {
        bool has_edge = edge && json_object_get(value, edge);
        if (!has_edge && !square)
            return fail(err, BAD_INPUT, "%s: %s has no %s; a fixed height and width are not supported", name,
                        key, edge);
        int64_t width = 0;
        TRY(json_int(&side, value, has_edge ? edge : "height", 0, 1, MAX_SIDE, name, err));
        TRY(json_int(&width, value, has_edge ? edge : "width", 0, 1, MAX_SIDE, name, err));
        if (side != width)
            return fail(err, BAD_INPUT, "%s: %s is %lld x %lld; expected a square", name, key,
                        (long long)width, (long long)side);
        if (side == 0)
            return fail(err, BAD_INPUT, "%s: %s has no height and width", name, key);
    } else {
        TRY(json_int(&side, config, key, side, 1, MAX_SIDE, name, err));
    }
    *out = (int)side;
    return OK;
}

static enum status triple_read(float out[3], const json_t *config, const char *key, double low,
                               const char *name, struct error *err)
{
    const json_t *array = json_object_get(config, key);
    if (!array || json_is_null(array))
        return OK;
    if (!json_is_array(array) || json_array_size(array) != 3)
        return fail(err, BAD_INPUT, "%s: %s is not an array of 3 numbers", name, key);
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_array_get(array, i);
        double number = json_number_value(value);
        if (!json_is_number(value) || !(number >= low && number <= 1e3))
            return fail(err, BAD_INPUT, "%s: %s[%zu] is not a number from %g to 1000", name, key, i, low);
        out[i] = (float)number;
    }
    return OK;
}

static enum status config_read(struct processor *out, const json_t *config, const char *name,
                               struct error *err)
{
    const char *type = NULL;
    TRY(json_str(&type, config, "image_processor_type", known_types[0], name, err));
    bool known = false;
    for (size_t i = 0; i < sizeof known_types / sizeof *known_types; i++)
        known = known || strcmp(type, known_types[i]) == 0;
    if (!known)
        return fail(err, BAD_INPUT, "%s: image_processor_type is %s; %s is supported", name, type,
                    known_types[0]);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        bool on = true;
        TRY(json_bool(&on, config, steps[i], true, name, err));
        if (!on)
            return fail(err, BAD_INPUT, "%s: %s is false; the pictures of this model cannot be prepared here",
                        name, steps[i]);
    }
    int64_t resample = BICUBIC;
    TRY(json_int(&resample, config, "resample", BICUBIC, 0, 5, name, err));
    if (resample != BICUBIC)
        return fail(err, BAD_INPUT, "%s: resample is %lld; only 3 (bicubic) is supported", name,
                    (long long)resample);
    bool pad = false;
    TRY(json_bool(&pad, config, "do_pad", false, name, err));
    out->mode = pad ? IMAGE_MODE_PAD : IMAGE_MODE_CROP;
    TRY(side_read(&out->size, config, "size", "shortest_edge", false, name, err));
    TRY(side_read(&out->crop, config, "crop_size", NULL, true, name, err));
    TRY(json_double(&out->rescale, config, "rescale_factor", out->rescale, name, err));
    if (!(out->rescale > 0.0 && out->rescale <= 1.0))
        return fail(err, BAD_INPUT, "%s: rescale_factor is %g; expected more than 0 and up to 1", name,
                    out->rescale);
    TRY(triple_read(out->mean, config, "image_mean", 0.0, name, err));
    return triple_read(out->std, config, "image_std", 1e-6, name, err);
}

enum status processor_open(struct processor *out, const char *dir, int default_size, struct error *err)
{
    *out = (struct processor){.size = default_size,
                              .crop = default_size,
                              .mode = IMAGE_MODE_CROP,
                              .rescale = 1.0 / 255.0,
                              .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                              .std = {0.26862954f, 0.26130258f, 0.27577711f}};
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/" CONFIG_NAME, dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return fail(err, BAD_INPUT, "%.200s…: the path is longer than %zu bytes", dir, sizeof path);
    if (!file_exists(path))
        return OK;
    json_t *config = NULL;
    TRY(json_read(&config, path, err));
    enum status status = json_is_object(config) ? config_read(out, config, path, err)
                                                : fail(err, BAD_INPUT, "%s: is not a JSON object", path);
    json_decref(config);
    return status;
}

void processor_mean_colour(uint8_t out[3], const struct processor *processor)
{
    for (int c = 0; c < 3; c++) {
        int value = (int)((double)processor->mean[c] * 255.0);
        out[c] = (uint8_t)(value > 255 ? 255 : value);
    }
}

/* Where one axis of a picture `n` long lies in a crop: `from` its first pixel that is kept, `to` where in the
 * crop that goes, `count` how many are kept. */
struct overlap {
    int from, to, count;
};

static struct overlap overlap_centre(int n, int crop)
{
    if (n < crop)
        return (struct overlap){0, (crop - n + 1) / 2, n};
    return (struct overlap){(n - crop) / 2, 0, crop};
}

/* values[c][x] = ((float)(x · rescale) − mean) / std, each step rounded to float as numpy does. */
static void table_make(float values[3][256], const struct processor *processor)
{
    for (int c = 0; c < 3; c++)
        for (int x = 0; x < 256; x++) {
            float scaled = (float)((double)x * processor->rescale);
            float centred = scaled - processor->mean[c];
            values[c][x] = centred / processor->std[c];
        }
}

/* The part of the resized picture that the crop keeps, and where it goes. */
static enum status resize_for_crop(struct image *out, struct overlap *across, struct overlap *down,
                                   const struct image *image, const struct processor *processor,
                                   struct error *err)
{
    bool wide = image->width > image->height;
    double shorter = wide ? image->height : image->width, longer = wide ? image->width : image->height;
    int resized = (int)((double)processor->size * longer / shorter);
    int width = wide ? resized : processor->size, height = wide ? processor->size : resized;
    *across = overlap_centre(width, processor->crop);
    *down = overlap_centre(height, processor->crop);
    struct window window = {across->from, down->from, across->count, down->count};
    return image_resize_window(out, image, width, height, &window, err);
}

/* What the mode pads is put into `padded`, which the caller frees; *out is that or the picture itself. */
static enum status pad_for_mode(const struct image **out, struct image *padded, const struct image *image,
                                const struct processor *processor, struct error *err)
{
    *out = image;
    if (processor->mode != IMAGE_MODE_PAD || image->width == image->height)
        return OK;
    uint8_t fill[3];
    processor_mean_colour(fill, processor);
    *out = padded;
    return image_pad_square(padded, image, fill, err);
}

/* The centre square of the shorter side, offsets rounded down. */
static enum status cut_square(struct image *out, const struct image *in, struct error *err)
{
    int side = in->width < in->height ? in->width : in->height;
    size_t left = (size_t)overlap_centre(in->width, side).from;
    size_t top = (size_t)overlap_centre(in->height, side).from;
    TRY(image_new(out, side, side, (uint8_t[3]){0}, err));
    size_t in_stride = (size_t)in->width * 3, out_stride = (size_t)side * 3;
    for (size_t y = 0; y < (size_t)side; y++)
        memcpy(out->rgb + y * out_stride, in->rgb + (top + y) * in_stride + 3 * left, out_stride);
    return OK;
}

/* pixels [3, height, width]: the picture with its corner at (left, top), black around it, rescaled and
 * normalised. */
static void normalise(float *pixels, const struct image *image, int left, int top, int width, int height,
                      const struct processor *processor)
{
    float values[3][256];
    table_make(values, processor);
    size_t n_pixels = (size_t)width * (size_t)height;
    for (size_t c = 0; c < 3; c++) {
        float *channel = pixels + c * n_pixels;
        if (image->width < width || image->height < height)
            for (size_t i = 0; i < n_pixels; i++)
                channel[i] = values[c][0];
        for (int y = 0; y < image->height; y++) {
            const uint8_t *from = image->rgb + (size_t)y * (size_t)image->width * 3 + c;
            float *to = channel + (size_t)(top + y) * (size_t)width + (size_t)left;
            for (int x = 0; x < image->width; x++)
                to[x] = values[c][from[3 * x]];
        }
    }
}

enum status preprocess(float *pixels, const struct image *image, const struct processor *processor,
                       struct error *err)
{
    struct image padded = {0}, kept = {0};
    struct overlap across, down;
    const struct image *source;
    enum status status;
    TRY_GOTO(status, pad_for_mode(&source, &padded, image, processor, err));
    TRY_GOTO(status, resize_for_crop(&kept, &across, &down, source, processor, err));
    normalise(pixels, &kept, across.to, down.to, processor->crop, processor->crop, processor);
exit:
    image_free(&padded);
    image_free(&kept);
    return status;
}

enum status preprocess_square(float *pixels, const struct image *image, const struct processor *processor,
                              int width, int height, struct error *err)
{
    struct image padded = {0}, cut = {0}, resized = {0};
    const struct image *source;
    enum status status;
    TRY_GOTO(status, pad_for_mode(&source, &padded, image, processor, err));
    if (source->width != source->height) {
        TRY_GOTO(status, cut_square(&cut, source, err));
        source = &cut;
    }
    TRY_GOTO(status, image_resize(&resized, source, width, height, err));
    normalise(pixels, &resized, 0, 0, width, height, processor);
exit:
    image_free(&padded);
    image_free(&cut);
    image_free(&resized);
    return status;
}
