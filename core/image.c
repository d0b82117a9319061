/* Files of pictures to RGB8 and back: JPEG by libjpeg-turbo, PNG by libpng, as Pillow's convert("RGB").
 *
 *     bytes ── magic ──> jpeg_decode | png_decode | refused by name
 *     jpeg   1, 3 components                  -> RGB by libjpeg (ISLOW, fancy upsampling: its defaults)
 *            4 components (CMYK, YCCK)        -> CMYK, inverted with or without an Adobe marker, -> RGB
 *     png    palette, 1/2/4 bits, alpha, tRNS -> expanded; alpha and transparency dropped, not composed
 *            16-bit colour                    -> the high byte
 *            16-bit gray                      -> values above 255 become 255
 *
 * Source: Pillow 13.0 (JpegDecode.c, JpegImagePlugin.py, PngImagePlugin.py, Convert.c); its conversions are
 * the same in 9.4. A corrupt JPEG gives the pixels that libjpeg makes of it, as for Pillow; one that ends
 * early is an error. PNG is stricter than Pillow: checksums of the pixels and the end of the file are
 * demanded.
 */
#include "image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h> /* needs stdio.h before it */
#include <jerror.h>
#include <png.h>

#include "json.h"
#include "limits.h"
#include "memory.h"

/* A progressive JPEG may repeat scans without end, each a pass over the whole picture; real ones have 10. */
#define JPEG_MAX_SCANS 500

static enum status size_check(int64_t width, int64_t height, struct error *err)
{
    int64_t longer = width > height ? width : height, shorter = width > height ? height : width;
    if (shorter < 1)
        return fail(err, BAD_INPUT, "the picture is %lld x %lld pixels: it has no pixels", (long long)width,
                    (long long)height);
    if (longer > LIMIT_IMAGE_SIDE)
        return fail(err, BAD_INPUT, "the picture is %lld x %lld pixels: a side may have up to %d",
                    (long long)width, (long long)height, LIMIT_IMAGE_SIDE);
    if (width * height > LIMIT_IMAGE_PIXELS)
        return fail(err, BAD_INPUT, "the picture is %lld x %lld pixels: up to %d in all are read",
                    (long long)width, (long long)height, LIMIT_IMAGE_PIXELS);
    if (longer > shorter * LIMIT_IMAGE_ASPECT)
        return fail(err, BAD_INPUT,
                    "the picture is %lld x %lld pixels: one side may be up to %d times as long as the other",
                    (long long)width, (long long)height, LIMIT_IMAGE_ASPECT);
    return OK;
}

/* Checks the size, then allocates; the pixels are not set. */
static enum status image_alloc(struct image *out, int64_t width, int64_t height, struct error *err)
{
    *out = (struct image){0};
    TRY(size_check(width, height, err));
    size_t n_bytes = (size_t)(width * height) * 3;
    uint8_t *rgb = memory_alloc(n_bytes, 1);
    if (!rgb)
        return memory_failed(err, "a picture", n_bytes);
    *out = (struct image){(int)width, (int)height, rgb};
    return OK;
}

enum status image_new(struct image *out, int width, int height, const uint8_t rgb[3], struct error *err)
{
    TRY(image_alloc(out, width, height, err));
    size_t n_pixels = (size_t)width * (size_t)height;
    for (size_t i = 0; i < n_pixels; i++)
        memcpy(out->rgb + 3 * i, rgb, 3);
    return OK;
}

void image_free(struct image *image)
{
    free(image->rgb);
    *image = (struct image){0};
}

/* ---- JPEG ----------------------------------------------------------------------------------- */

/* Everything that must be there after a longjmp: it lies in the frame above the one that calls setjmp. */
struct jpeg_reader {
    struct jpeg_error_mgr errors; /* first: libjpeg hands back a pointer to it */
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct codec;
    jmp_buf failed;
    size_t n_bytes;
    struct error *err;
};

static _Noreturn void jpeg_fail(j_common_ptr codec)
{
    struct jpeg_reader *reader = (struct jpeg_reader *)(void *)codec->err;
    char text[JMSG_LENGTH_MAX];
    if (codec->err->msg_code == JWRN_JPEG_EOF) {
        fail(reader->err, BAD_INPUT, "the JPEG is cut short: it ends after %zu bytes, before its end marker",
             reader->n_bytes);
    } else {
        codec->err->format_message(codec, text);
        fail(reader->err, codec->err->msg_code == JERR_OUT_OF_MEMORY ? NO_MACHINE : BAD_INPUT,
             "not a JPEG that can be read: libjpeg: %s", text);
    }
    longjmp(reader->failed, 1);
}

/* Level -1 is a warning about corrupt data, which Pillow lets pass; running out of data is none of those. */
static void jpeg_message(j_common_ptr codec, int level)
{
    if (level < 0 && codec->err->msg_code == JWRN_JPEG_EOF)
        jpeg_fail(codec);
}

static void jpeg_progress(j_common_ptr codec)
{
    struct jpeg_reader *reader = (struct jpeg_reader *)(void *)codec->err;
    if (reader->codec.input_scan_number <= JPEG_MAX_SCANS)
        return;
    fail(reader->err, BAD_INPUT, "the JPEG has more than %d scans; is it hostile?", JPEG_MAX_SCANS);
    longjmp(reader->failed, 1);
}

/* round(a · b / 255), as Pillow's MULDIV255. */
static unsigned multiply_255(unsigned a, unsigned b)
{
    unsigned product = a * b + 128;
    return ((product >> 8) + product) >> 8;
}

/* `cmyk` as in the file, that is inverted: 255 is no ink. */
static void row_from_cmyk(uint8_t *rgb, const uint8_t *cmyk, int width)
{
    for (int x = 0; x < width; x++) {
        unsigned white = cmyk[4 * x + 3];
        for (int c = 0; c < 3; c++)
            rgb[3 * x + c] = (uint8_t)(white - multiply_255(255u - cmyk[4 * x + c], white));
    }
}

/* Runs under setjmp: it may be left at any call of libjpeg. `out` is the caller's to free. */
static enum status jpeg_read_pixels(struct image *out, struct jpeg_reader *reader)
{
    struct jpeg_decompress_struct *codec = &reader->codec;
    struct error *err = reader->err;
    jpeg_read_header(codec, TRUE);
    int n_components = codec->num_components;
    if (n_components != 1 && n_components != 3 && n_components != 4)
        return fail(err, BAD_INPUT, "the JPEG has %d components; 1, 3 or 4 are supported", n_components);
    TRY(image_alloc(out, codec->image_width, codec->image_height, err));

    codec->out_color_space = n_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(codec);
    JSAMPROW cmyk = NULL;
    if (n_components == 4)
        cmyk = codec->mem->alloc_sarray((j_common_ptr)codec, JPOOL_IMAGE, codec->output_width * 4, 1)[0];
    while (codec->output_scanline < codec->output_height) {
        JSAMPROW rgb = out->rgb + (size_t)codec->output_scanline * (size_t)out->width * 3;
        jpeg_read_scanlines(codec, cmyk ? &cmyk : &rgb, 1);
        if (cmyk)
            row_from_cmyk(rgb, cmyk, out->width);
    }
    jpeg_finish_decompress(codec); /* reads up to the end marker: a file without one is cut short */
    return OK;
}

static enum status jpeg_run(struct image *out, struct jpeg_reader *reader, const uint8_t *bytes)
{
    if (setjmp(reader->failed))
        return reader->err->status;
    jpeg_create_decompress(&reader->codec);
    reader->progress.progress_monitor = jpeg_progress;
    reader->codec.progress = &reader->progress;
    jpeg_mem_src(&reader->codec, bytes, (unsigned long)reader->n_bytes);
    return jpeg_read_pixels(out, reader);
}

static enum status jpeg_decode(struct image *out, const uint8_t *bytes, size_t n_bytes, struct error *err)
{
    struct jpeg_reader reader = {.n_bytes = n_bytes, .err = err};
    reader.codec.err = jpeg_std_error(&reader.errors);
    reader.errors.error_exit = jpeg_fail;
    reader.errors.emit_message = jpeg_message;
    enum status status = jpeg_run(out, &reader, bytes);
    jpeg_destroy_decompress(&reader.codec);
    return status;
}

/* ---- PNG ------------------------------------------------------------------------------------ */

struct png_reader {
    png_structp png;
    png_infop info;
    jmp_buf failed;
    const uint8_t *bytes;
    size_t n_bytes, position;
    png_bytepp rows;   /* pointers into the picture or into `wide` */
    png_bytep wide;    /* 16-bit gray, big endian */
    struct error *err; /* filled before every jump */
};

static _Noreturn void png_fail(png_structp png, png_const_charp message)
{
    struct png_reader *reader = png_get_error_ptr(png);
    fail(reader->err, BAD_INPUT, "not a PNG that can be read: libpng: %s", message);
    longjmp(reader->failed, 1);
}

static void png_ignore_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void png_take_bytes(png_structp png, png_bytep to, size_t n)
{
    struct png_reader *reader = png_get_io_ptr(png);
    if (n > reader->n_bytes - reader->position) {
        fail(reader->err, BAD_INPUT, "the PNG is cut short: it ends after %zu bytes, before its IEND chunk",
             reader->n_bytes);
        longjmp(reader->failed, 1);
    }
    memcpy(to, reader->bytes + reader->position, n);
    reader->position += n;
}

/* Runs under setjmp; what it allocates hangs on `reader` or `out`. */
static enum status png_read_pixels(struct image *out, struct png_reader *reader)
{
    png_structp png = reader->png;
    struct error *err = reader->err;
    /* Our own limits speak first; texts, profiles and the like are skipped unread. */
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_read_fn(png, reader, png_take_bytes);
    png_read_info(png, reader->info);
    TRY(image_alloc(out, png_get_image_width(png, reader->info), png_get_image_height(png, reader->info),
                    err));

    bool wide_gray = png_get_color_type(png, reader->info) == PNG_COLOR_TYPE_GRAY &&
                     png_get_bit_depth(png, reader->info) == 16;
    size_t height = (size_t)out->height, n_values = (size_t)out->width * height;
    size_t row_bytes = (size_t)out->width * (wide_gray ? 2 : 3);
    if (!wide_gray) {
        png_set_palette_to_rgb(png);
        png_set_expand_gray_1_2_4_to_8(png);
        png_set_strip_16(png);
        png_set_strip_alpha(png);
        png_set_gray_to_rgb(png);
    }
    png_set_interlace_handling(png);
    png_read_update_info(png, reader->info);
    ENSURE(png_get_rowbytes(png, reader->info) == row_bytes);

    reader->rows = memory_alloc(height, sizeof *reader->rows);
    reader->wide = wide_gray ? memory_alloc(n_values, 2) : NULL;
    if (!reader->rows || (wide_gray && !reader->wide))
        return memory_failed(err, "reading a PNG", n_values * 2);
    for (size_t y = 0; y < height; y++)
        reader->rows[y] = (wide_gray ? reader->wide : out->rgb) + y * row_bytes;
    png_read_image(png, reader->rows);
    png_read_end(png, NULL);
    for (size_t i = 0; wide_gray && i < n_values; i++)
        memset(out->rgb + 3 * i, reader->wide[2 * i] ? 255 : reader->wide[2 * i + 1], 3);
    return OK;
}

static enum status png_run(struct image *out, struct png_reader *reader)
{
    if (setjmp(reader->failed))
        return reader->err->status;
    reader->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, reader, png_fail, png_ignore_warning);
    if (reader->png)
        reader->info = png_create_info_struct(reader->png);
    if (!reader->info)
        return fail(reader->err, NO_MACHINE, "no memory to open a PNG");
    return png_read_pixels(out, reader);
}

static enum status png_decode(struct image *out, const uint8_t *bytes, size_t n_bytes, struct error *err)
{
    struct png_reader reader = {.bytes = bytes, .n_bytes = n_bytes, .err = err};
    enum status status = png_run(out, &reader);
    png_destroy_read_struct(&reader.png, &reader.info, NULL);
    free(reader.rows);
    free(reader.wide);
    return status;
}

/* ---- any format ----------------------------------------------------------------------------- */

typedef enum status decode_fn(struct image *out, const uint8_t *bytes, size_t n_bytes, struct error *err);

static const struct format {
    const char *name;
    size_t offset, n_magic;
    const char *magic;
    decode_fn *decode; /* NULL: known, not supported */
} formats[] = {
    {"JPEG", 0, 3, "\xff\xd8\xff", jpeg_decode},
    {"PNG", 0, 8, "\x89PNG\r\n\x1a\n", png_decode},
    {"GIF", 0, 4, "GIF8", NULL},
    {"WebP", 8, 4, "WEBP", NULL},
    {"BMP", 0, 2, "BM", NULL},
    {"TIFF", 0, 4, "II*\0", NULL},
    {"TIFF", 0, 4, "MM\0*", NULL},
    {"AVIF", 4, 8, "ftypavif", NULL},
    {"HEIC", 4, 8, "ftypheic", NULL},
    {"JPEG 2000", 4, 4, "jP  ", NULL},
    {"PPM", 0, 2, "P6", NULL},
    {"PPM", 0, 2, "P3", NULL},
    {"PGM", 0, 2, "P5", NULL},
    {"PGM", 0, 2, "P2", NULL},
    {"PBM", 0, 2, "P4", NULL},
    {"PBM", 0, 2, "P1", NULL},
};

static const struct format *format_of(const uint8_t *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const struct format *format = &formats[i];
        if (n_bytes >= format->offset + format->n_magic &&
            memcmp(bytes + format->offset, format->magic, format->n_magic) == 0)
            return format;
    }
    return NULL;
}

enum status image_decode(struct image *out, const uint8_t *bytes, size_t n_bytes, const char *name,
                         struct error *err)
{
    *out = (struct image){0};
    if (n_bytes > LIMIT_IMAGE_BYTES)
        return fail(err, BAD_INPUT, "%s: holds %zu bytes; pictures of up to %u are read", name, n_bytes,
                    LIMIT_IMAGE_BYTES);
    if (n_bytes == 0)
        return fail(err, BAD_INPUT, "%s: is empty; expected a JPEG or PNG picture", name);
    const struct format *format = format_of(bytes, n_bytes);
    if (!format)
        return fail(err, BAD_INPUT,
                    "%s: is no picture that is known here (%zu bytes, the first is 0x%02x); JPEG or PNG is "
                    "supported so far",
                    name, n_bytes, bytes[0]);
    if (!format->decode)
        return fail(err, BAD_INPUT, "%s: is a %s; JPEG or PNG is supported so far", name, format->name);
    if (format->decode(out, bytes, n_bytes, err) != OK) {
        image_free(out);
        return fail_within(err, "%s", name);
    }
    return OK;
}

enum status image_read(struct image *out, const char *path, struct error *err)
{
    *out = (struct image){0};
    char *bytes = NULL;
    size_t n_bytes = 0;
    TRY(file_read(&bytes, &n_bytes, path, LIMIT_IMAGE_BYTES, err));
    enum status status = image_decode(out, (const uint8_t *)bytes, n_bytes, path, err);
    free(bytes);
    return status;
}

enum status image_write_png(const struct image *image, const char *path, struct error *err)
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)image->width,
                     .height = (png_uint_32)image->height,
                     .format = PNG_FORMAT_RGB};
    png_alloc_size_t n_bytes = PNG_IMAGE_PNG_SIZE_MAX(png); /* never less than what is written */
    uint8_t *bytes = memory_alloc(n_bytes, 1);
    if (!bytes)
        return memory_failed(err, path, n_bytes);
    enum status status = OK;
    if (png_image_write_to_memory(&png, bytes, &n_bytes, 0, image->rgb, 0, NULL))
        status = file_write(path, bytes, n_bytes, err);
    else
        status = fail(err, NO_MACHINE, "%s: libpng: %s", path, png.message);
    png_image_free(&png);
    free(bytes);
    return status;
}
