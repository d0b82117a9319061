/* core/image.c: conversions as Pillow's, hostile files.
 *
 * Digests of the shared pictures: SHA-256 of convert("RGB").tobytes() by Pillow 13.0.0 with
 * libjpeg-turbo 3.2.0.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jpeglib.h>
#include <png.h>

#include "../core/image.h"
#include "../core/sha256.h"
#include "shared.h"
#include <cmocka.h> /* last: its fail() would hide ours */

/* ---- files made here -------------------------------------------------------------------------------------
 */

struct file {
    uint8_t bytes[4096];
    size_t n;
};

static void file_append(png_structp png, png_bytep bytes, size_t n)
{
    struct file *file = png_get_io_ptr(png);
    assert_true(file->n + n <= sizeof file->bytes);
    memcpy(file->bytes + file->n, bytes, n);
    file->n += n;
}

struct png_kind {
    int colour_type, depth, interlace;
    int n_palette;
    uint8_t palette[12];
    bool transparency; /* value or entry 0 is transparent */
    bool header_only;
};

static void png_make(struct file *out, struct png_kind kind, unsigned width, unsigned height,
                     const uint8_t *rows, size_t row_bytes)
{
    out->n = 0;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, out, file_append, NULL);
    png_set_IHDR(png, info, width, height, kind.depth, kind.colour_type, kind.interlace, 0, 0);
    if (kind.n_palette) {
        png_color palette[4];
        for (int i = 0; i < kind.n_palette; i++)
            palette[i] = (png_color){kind.palette[3 * i], kind.palette[3 * i + 1], kind.palette[3 * i + 2]};
        png_set_PLTE(png, info, palette, kind.n_palette);
    }
    if (kind.transparency)
        png_set_tRNS(png, info, (png_byte[]){0}, 1, &(png_color_16){0});
    png_write_info(png, info);
    if (!kind.header_only) {
        png_bytep pointers[64];
        for (unsigned y = 0; y < height; y++)
            pointers[y] = (png_bytep)(uintptr_t)(rows + y * row_bytes);
        png_write_image(png, pointers);
        png_write_end(png, info);
    }
    png_destroy_write_struct(&png, &info);
}

/* `rows` are components as they are to stand in the file. */
static void jpeg_make(struct file *out, J_COLOR_SPACE space, int n_components, bool progressive,
                      unsigned width, unsigned height, const uint8_t *rows)
{
    struct jpeg_compress_struct codec;
    struct jpeg_error_mgr errors;
    codec.err = jpeg_std_error(&errors);
    jpeg_create_compress(&codec);
    unsigned char *bytes = NULL;
    unsigned long n = 0;
    jpeg_mem_dest(&codec, &bytes, &n);
    codec.image_width = width;
    codec.image_height = height;
    codec.input_components = n_components;
    codec.in_color_space = space;
    jpeg_set_defaults(&codec);
    jpeg_set_quality(&codec, 100, TRUE);
    if (progressive)
        jpeg_simple_progression(&codec);
    jpeg_start_compress(&codec, TRUE);
    while (codec.next_scanline < height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(rows + codec.next_scanline * width * (unsigned)n_components);
        jpeg_write_scanlines(&codec, &row, 1);
    }
    jpeg_finish_compress(&codec);
    jpeg_destroy_compress(&codec);
    assert_true(n <= sizeof out->bytes);
    memcpy(out->bytes, bytes, n);
    out->n = n;
    free(bytes);
}

/* Bytes without a pattern that a wrong offset would leave unchanged. */
static void pattern(uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(i * i * 37 + i * 101 + 11);
}

static struct image pattern_image(int width, int height)
{
    struct image image;
    struct error err;
    assert_int_equal(image_new(&image, width, height, (uint8_t[3]){0}, &err), OK);
    pattern(image.rgb, (size_t)width * (size_t)height * 3);
    return image;
}

/* Decodes from a block of exactly n bytes, so that a sanitizer sees a read behind its end. */
static enum status decode_exact(struct image *out, const uint8_t *bytes, size_t n, struct error *err)
{
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    enum status status = image_decode(out, copy, n, "cat", err);
    free(copy);
    return status;
}

static void expect_pixels(const struct file *file, const uint8_t *expected, size_t n)
{
    struct image image;
    struct error err = {0};
    if (decode_exact(&image, file->bytes, file->n, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal((size_t)image.width * (size_t)image.height * 3, n);
    assert_memory_equal(image.rgb, expected, n);
    image_free(&image);
}

static void expect_refusal(const uint8_t *bytes, size_t n, const char *words)
{
    struct image image;
    struct error err = {0};
    assert_int_equal(decode_exact(&image, bytes, n, &err), BAD_INPUT);
    if (!strstr(err.text, words) || strncmp(err.text, "cat: ", 5) != 0)
        fail_msg("expected \"cat: \" and \"%s\", got \"%s\"", words, err.text);
    assert_null(image.rgb);
}

/* ---- decoding --------------------------------------------------------------------------------------------
 */

static void png_kinds_as_pillow(void **state)
{
    (void)state;
    static const struct {
        struct png_kind kind;
        unsigned width;
        size_t n_row;
        uint8_t row[12];
        uint8_t expected[12];
    } cases[] = {
        {{.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8}, 1, 3, {1, 2, 3}, {1, 2, 3}},
        {{.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8, .transparency = true}, 1, 3, {0}, {0}},
        {{.colour_type = PNG_COLOR_TYPE_RGB, .depth = 16},
         1,
         6,
         {0x12, 0x80, 0xff, 0x7f, 0, 0xff},
         {18, 255, 0}},
        {{.colour_type = PNG_COLOR_TYPE_RGBA, .depth = 8}, 1, 4, {9, 8, 7, 0}, {9, 8, 7}},
        {{.colour_type = PNG_COLOR_TYPE_GRAY_ALPHA, .depth = 8}, 1, 2, {77, 3}, {77, 77, 77}},
        {{.colour_type = PNG_COLOR_TYPE_GRAY_ALPHA, .depth = 16}, 1, 4, {0x12, 0x80, 0, 3}, {18, 18, 18}},
        {{.colour_type = PNG_COLOR_TYPE_GRAY, .depth = 16},
         4,
         8,
         {0, 5, 0x12, 0x80, 0xff, 0x7f, 0, 255},
         {5, 5, 5, 255, 255, 255, 255, 255, 255, 255, 255, 255}},
        {{.colour_type = PNG_COLOR_TYPE_GRAY, .depth = 1, .transparency = true},
         4,
         1,
         {0xa0},
         {255, 255, 255, 0, 0, 0, 255, 255, 255, 0, 0, 0}},
        {{.colour_type = PNG_COLOR_TYPE_GRAY, .depth = 2},
         4,
         1,
         {0x1b},
         {0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255}},
        {{.colour_type = PNG_COLOR_TYPE_GRAY, .depth = 4}, 2, 1, {0x2f}, {34, 34, 34, 255, 255, 255}},
        {{.colour_type = PNG_COLOR_TYPE_PALETTE, .depth = 8, .n_palette = 2, .palette = {9, 8, 7, 6, 5, 4}},
         2,
         2,
         {1, 0},
         {6, 5, 4, 9, 8, 7}},
        {{.colour_type = PNG_COLOR_TYPE_PALETTE,
          .depth = 2,
          .n_palette = 2,
          .palette = {9, 8, 7, 6, 5, 4},
          .transparency = true}, /* entries that the palette lacks are black */
         4,
         1,
         {0x1b},
         {9, 8, 7, 6, 5, 4, 0, 0, 0, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct file file;
        png_make(&file, cases[i].kind, cases[i].width, 1, cases[i].row, cases[i].n_row);
        expect_pixels(&file, cases[i].expected, cases[i].width * 3);
    }
}

static void png_interlaced(void **state)
{
    (void)state;
    uint8_t rows[9 * 11 * 3], wide[9 * 11 * 2], expected[9 * 11 * 3];
    pattern(rows, sizeof rows);
    struct file file;
    png_make(&file, (struct png_kind){.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8, .interlace = 1}, 11, 9,
             rows, 33);
    expect_pixels(&file, rows, sizeof rows);
    for (size_t i = 0; i < 9 * 11; i++) {
        wide[2 * i] = 0;
        wide[2 * i + 1] = rows[i];
        memset(expected + 3 * i, rows[i], 3);
    }
    png_make(&file, (struct png_kind){.colour_type = PNG_COLOR_TYPE_GRAY, .depth = 16, .interlace = 1}, 11, 9,
             wide, 22);
    expect_pixels(&file, expected, sizeof expected);
}

static void png_write_then_read(void **state)
{
    (void)state;
    char dir[] = "/tmp/winnow-image-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.jpg", dir); /* the content tells the format, not the name */
    struct image image = pattern_image(37, 21), again;
    struct error err;
    assert_int_equal(image_write_png(&image, path, &err), OK);
    assert_int_equal(image_read(&again, path, &err), OK);
    assert_int_equal(again.width, 37);
    assert_int_equal(again.height, 21);
    assert_memory_equal(again.rgb, image.rgb, 37 * 21 * 3);
    image_free(&again);
    unlink(path);
    assert_int_equal(image_read(&again, path, &err), BAD_INPUT);
    assert_int_equal(image_write_png(&image, "/nonexistent/a.png", &err) != OK, 1);
    image_free(&image);
    rmdir(dir);
}

static void jpeg_flat_colours(void **state)
{
    (void)state;
    static const struct {
        J_COLOR_SPACE space;
        int n;
        uint8_t components[4], expected[3];
    } cases[] = {
        {JCS_GRAYSCALE, 1, {100}, {100, 100, 100}},
        {JCS_RGB, 3, {255, 255, 255}, {255, 255, 255}},
        {JCS_CMYK, 4, {255, 255, 255, 255}, {255, 255, 255}}, /* inverted: 255 is no ink */
        {JCS_CMYK, 4, {255, 255, 255, 0}, {0, 0, 0}},
        {JCS_CMYK, 4, {0, 255, 255, 255}, {0, 255, 255}},
        {JCS_CMYK, 4, {128, 255, 0, 100}, {50, 100, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t rows[8 * 8 * 4], expected[8 * 8 * 3];
        for (size_t p = 0; p < 64; p++) {
            memcpy(rows + p * (size_t)cases[i].n, cases[i].components, (size_t)cases[i].n);
            memcpy(expected + p * 3, cases[i].expected, 3);
        }
        struct file file;
        jpeg_make(&file, cases[i].space, cases[i].n, i & 1, 8, 8, rows);
        expect_pixels(&file, expected, sizeof expected);
    }
}

static void shared_pictures_as_pillow(void **state)
{
    (void)state;
    static const struct {
        const char *path, *digest;
    } known[] = {
        {"coco/000000039769.png", "8050ada414034a490fc2bd6ed13a8d78b7d2ce7d896ba4fcd4651317b9471efe"},
        {"coco/extreme_ironing.jpg", "98fc1b8497687cf50613912267c1ce4352cd442bfbcc4718c06723b5786fb1b6"},
        {"coco/llava_v1_5_radar.jpg", "a89411b9c532100265a378242a6620ea3675208679c4792ff8c58c741bdaf17e"},
        {"decode/exif-72dpi-int.jpg", "d7ff5f83e1b603ad5f37eb3736cc23a8b47c534390f64f57ae7d3fed856d3f64"},
        {"decode/exif.png", "ecacb8a09abefe4df0188dcf83b0053fdef2e72ac9ee8164998232996a76d180"},
        {"decode/exif_gps.jpg", "5d89f056865052bcb89c910d2d62872e029fb273c3db03f8968a52a41593c1b5"},
        {"decode/exif_imagemagick_orientation.png",
         "ecacb8a09abefe4df0188dcf83b0053fdef2e72ac9ee8164998232996a76d180"},
        {"decode/flower.jpg", "303a005a56008d101c45a51681704ec9dbf80520847c2694071946a82a018a8d"},
        {"decode/flower2.jpg", "801f1f2a4ceec133636ead19e1814badb76eb843aac02335b1235e8bbdf04cf4"},
        {"decode/hopper.jpg", "719b9eeda0a26779271f4c33a329c8488f821149a67b9955f873a49995294c3a"},
        {"decode/hopper.png", "87ce2dc3eea0549d83beb8013872498a3ce5267acaa22fbd26335ccb680700d5"},
        {"decode/hopper_16bit_qtables.jpg",
         "670ec3f629994c6c546da37737bd5f0390a3d3cef327a4ded05aeb81d85cf7f4"},
        {"decode/hopper_bad_exif.jpg", "5519e0388225f775594a271a447640a8da670180c8d923a38df4faeea17fb8d7"},
        {"decode/hopper_gray.jpg", "af02452b49f6f7ed2649e7228def07c928a81a6e19f75cbd806e1ea5a331b351"},
        {"decode/hopper_orientation_2.jpg",
         "04857776583a30ac658baf9bcd7313ccb80e12f9df1c9a5c4bfed16d1a3647dc"},
        {"decode/hopper_orientation_3.jpg",
         "a5d3218790b3b46d6cfea94f21df9747e8181365742711c8df0102bf6253525a"},
        {"decode/hopper_orientation_4.jpg",
         "be5bccdd856c73eea4937f012e50feb7b51bd6a244e6f21d93d3882efb71083a"},
        {"decode/hopper_orientation_5.jpg",
         "babba6c0d46dea51201fb843526d758c40dc026bda2a196f0acba2f52144dca9"},
        {"decode/hopper_orientation_6.jpg",
         "054b80361ba3a3076639685745ee104f4fae635df72617556659cda9042fb562"},
        {"decode/hopper_orientation_7.jpg",
         "de05172a28d5d3a37b9d911a8b2665c0a4da2b17676a23ba7f04636ec33429da"},
        {"decode/hopper_orientation_8.jpg",
         "9af2c6eade7151ce1325e0fcb47bd28ab057393492828603e041d2b052c1f8e4"},
        {"decode/i_trns.png", "4fa104f9a86a2a99c20248ec21fe4be5bbd45b7da69a79f58ecc9bb19b67f7c9"},
        {"decode/imagedraw2_text.png", "34a86a6ee1506f042cb434ce57f63a321cd0529bf0886809caeb247c3f7785f2"},
        {"decode/junk_jpeg_header.jpg", "c65b2f96bfb5ca96024552ec307b41e17ca7f9a80fd6ef67ea2315ccdcbcd28f"},
        {"decode/multiple_exif.jpg", "709e80c88487a2411e1ee4dfb9f22a861492d20c4765150c0c794abd70f8147c"},
        {"decode/p_trns_single.png", "963f657c42caaa8f80607fa776d6dd0b3dadfaabd5f0c19ec87ee93a5528d1bc"},
        {"decode/pil123p.png", "18e7a454376a4261ce1934b42552f06b609d2ae1953fb63e7aca1d8c8bbd0eb3"},
        {"decode/pil123rgba.png", "82e60836df56f42a07f8f6d1b0a9366bd8abfb2e753ee8238907f9efce5b048e"},
        {"decode/pil_sample_cmyk.jpg", "5f547263ecc1ead38ff423d02d0f68f19ba070976baeff4386c5f15a55de0275"},
        {"decode/pil_sample_rgb.jpg", "53031526f70af49487684e555e2fec84553a81d6b66c5efb5ea02aef74d678a1"},
        {"decode/rgb_trns.png", "963f657c42caaa8f80607fa776d6dd0b3dadfaabd5f0c19ec87ee93a5528d1bc"},
        {"decode/transparent.png", "cc44f0ac99d5fa17516a578e6bfe02fee194c8cb962c4a127f21399174d3d5cc"},
        {"mmbench/1.jpg", "7f076f6c3c43cc11ee38ebab25284deac56c7ed0e53be70aa555a2dc79684848"},
        {"mmbench/1156.jpg", "d9480fd149fe096f474bfbe309e4d03e457af63ab10191e04e754480cf7f7702"},
        {"mmbench/1745.jpg", "2f270cd5e52342d235fbdc2afd3295582f34a2ef8373d586e801e674a1e787dd"},
        {"mmbench/21.jpg", "d891870657903a45883ceb4acc250f2ff2bc9333e2d6d68dc0eb71445845bb61"},
        {"mmbench/2222.jpg", "9952b21f6fe4458a50bb96095d5c9d02b8b9ad902fd31e8fe0d62376909e1869"},
        {"mmbench/2318.jpg", "37d437ffc0a813e023ce8f3af443691e5c872bc80f3c015942a0933a8ba8ee9c"},
        {"mmbench/2368.jpg", "573815e146a97aebc1a0a62f6c6eb0e7ae27b4f5b211351c0b3c3b5efa17d925"},
        {"mmbench/2399.jpg", "1a335f03cf304e5136735587bdb5fb04e52233239e5bc787505bff2c4fad6501"},
        {"mmbench/2705.jpg", "f5f3deec7a4a2aa4458d787db6e3a8c3f7c528dd867e1ef5cff86399ec2b9164"},
        {"mmbench/2789.jpg", "ac59cfa3e2f242ac2466f4a40578452fc4b043dbef416c35062efb2cba28b860"},
        {"mmbench/2870.jpg", "aade7bec5a4a01c551fe530df4205a1052d7c188824799e4065f9c5c49bf062f"},
        {"mmbench/2967.jpg", "ae783370b7aa5d1310da1d37882d6fdd3188c2d6b05317e18a02551b9c427d22"},
        {"mmbench/318.jpg", "cadae66307102009f463865516421d159513da96153eea92c17dd0e63ac3cfea"},
        {"mmbench/503.jpg", "a0754fa73a51978aeaef4c54fa9601c7824cac1cb5ca12f6dae8c5444c4eaeef"},
        {"mmbench/544.jpg", "ab1129d844ec211f50cd8487577086a71b8994bd252af6f0a8d5c7c235f6f551"},
        {"mmbench/672.jpg", "b5f241f9412a72659fa71c89b48ecb0f1b9dc20ae1758a4f3710a9a88d855dbb"},
        {"mmbench/718.jpg", "74af1815572d59ac59247f6de562347e87db97bb8cc6726323b480f4fd4c02bd"},
        {"mmbench/768.jpg", "208a443e229214d55a66b78accdf05052a3cf545f4850a4d06049d801bd5ff23"},
        {"mmbench/812.jpg", "50d9752d52d35f1860f4baba2e6a7344df1981a3bda571f280edd47fbe070413"},
        {"mmbench/862.jpg", "0a35b69f1bc3ba57fa32f641b516cb28d07f902386ca7c2b751c82f058afc1b2"},
    };
    char path[4096], digest[65];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        snprintf(path, sizeof path, "data/images/%s", known[i].path);
        char full[4096];
        const char *found = shared_path(full, sizeof full, path);
        if (!found)
            shared_skip(path);
        struct image image;
        struct error err;
        if (image_read(&image, found, &err) != OK)
            fail_msg("%s", err.text);
        sha256_hex(digest, image.rgb, (size_t)image.width * (size_t)image.height * 3);
        if (strcmp(digest, known[i].digest) != 0)
            fail_msg("%s: other pixels than Pillow's", found);
        image_free(&image);
    }
}

static void shared_broken_pictures(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"broken.png", "not a PNG that can be read"},
                                           {"truncated_image.png", "cut short: it ends after 81920 bytes"},
                                           {"hopper.gif", "is a GIF; JPEG or PNG"},
                                           {"hopper.webp", "is a WebP; JPEG or PNG"},
                                           {"hopper.bmp", "is a BMP; JPEG or PNG"},
                                           {"hopper.ppm", "is a PPM; JPEG or PNG"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[64], full[4096];
        snprintf(path, sizeof path, "data/images/decode/%s", cases[i][0]);
        const char *found = shared_path(full, sizeof full, path);
        if (!found)
            shared_skip(path);
        struct image image;
        struct error err;
        assert_int_equal(image_read(&image, found, &err), BAD_INPUT);
        if (!strstr(err.text, cases[i][1]))
            fail_msg("%s", err.text);
    }
}

/* ---- hostile files ---------------------------------------------------------------------------------------
 */

static void cut_at_every_length(void **state)
{
    (void)state;
    uint8_t rows[17 * 9 * 4];
    pattern(rows, sizeof rows);
    struct file files[5];
    png_make(&files[0], (struct png_kind){.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8}, 17, 9, rows, 51);
    png_make(&files[1], (struct png_kind){.colour_type = PNG_COLOR_TYPE_GRAY, .depth = 16, .interlace = 1},
             17, 9, rows, 34);
    jpeg_make(&files[2], JCS_RGB, 3, false, 17, 9, rows);
    jpeg_make(&files[3], JCS_RGB, 3, true, 17, 9, rows);
    jpeg_make(&files[4], JCS_CMYK, 4, false, 17, 9, rows);
    for (size_t f = 0; f < 5; f++) {
        expect_refusal(files[f].bytes, 0, "is empty");
        size_t n_magic = f < 2 ? 8 : 3;
        for (size_t n = 1; n < files[f].n; n++) {
            char words[64];
            snprintf(words, sizeof words, "cut short: it ends after %zu bytes", n);
            expect_refusal(files[f].bytes, n, n < n_magic ? "JPEG or PNG is supported so far" : words);
        }
        struct image image;
        struct error err;
        assert_int_equal(decode_exact(&image, files[f].bytes, files[f].n, &err), OK);
        image_free(&image);
    }
}

/* Whatever one changed byte does, it ends in a picture or a message. */
static void every_byte_changed(void **state)
{
    (void)state;
    uint8_t rows[17 * 9 * 3];
    pattern(rows, sizeof rows);
    struct file files[2];
    png_make(&files[0], (struct png_kind){.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8}, 17, 9, rows, 51);
    jpeg_make(&files[1], JCS_RGB, 3, true, 17, 9, rows);
    for (size_t f = 0; f < 2; f++)
        for (size_t i = 0; i < files[f].n; i++) {
            struct image image;
            struct error err = {0};
            uint8_t was = files[f].bytes[i];
            files[f].bytes[i] ^= 0x41;
            if (decode_exact(&image, files[f].bytes, files[f].n, &err) == OK)
                image_free(&image);
            else
                assert_true(strlen(err.text) > 10);
            files[f].bytes[i] = was;
        }
}

static void sizes_refused_before_allocation(void **state)
{
    (void)state;
    static const struct {
        unsigned width, height;
        const char *words;
    } cases[] = {{70000, 500, "a side may have up to 65535"},
                 {65535, 65535, "up to 178956970 in all"},
                 {1000, 4, "up to 200 times as long"},
                 {4, 1000, "up to 200 times as long"}};
    struct file file;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        png_make(&file, (struct png_kind){.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8, .header_only = true},
                 cases[i].width, cases[i].height, NULL, 0);
        /* libpng wants to see what follows the header before it hands over */
        memcpy(file.bytes + file.n, "\0\0\0\1IDAT", 8);
        expect_refusal(file.bytes, file.n + 8, cases[i].words);
    }
    /* a header of 0 x 4 pixels with a valid checksum */
    static const uint8_t no_width[] =
        "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\0\0\0\0\4\x08\2\0\0\0\x2f\x78\xa9\x53";
    expect_refusal(no_width, sizeof no_width - 1, "not a PNG that can be read");

    uint8_t rows[16 * 16] = {0};
    jpeg_make(&file, JCS_GRAYSCALE, 1, false, 16, 16, rows);
    size_t frame = 2;
    while (file.bytes[frame + 1] != 0xc0) /* the next marker segment, up to SOF0 */
        frame += 2 + (size_t)file.bytes[frame + 2] * 256 + file.bytes[frame + 3];
    uint8_t *size = file.bytes + frame + 5; /* height, width, big endian */
    memcpy(size, (uint8_t[]){0, 0, 0, 16}, 4);
    expect_refusal(file.bytes, file.n, "not a JPEG that can be read");
    memcpy(size, (uint8_t[]){0xff, 0, 0xff, 0}, 4);
    expect_refusal(file.bytes, file.n, "up to 178956970 in all");
    memcpy(size, (uint8_t[]){0, 1, 0xff, 0}, 4);
    expect_refusal(file.bytes, file.n, "up to 200 times as long");
    size[4] = 2; /* components */
    expect_refusal(file.bytes, file.n, "not a JPEG that can be read");
}

static void other_formats_named(void **state)
{
    (void)state;
    expect_refusal((const uint8_t *)"GIF89a....", 10, "is a GIF; JPEG or PNG is supported so far");
    expect_refusal((const uint8_t *)"RIFF....WEBPVP8 ", 16, "is a WebP;");
    expect_refusal((const uint8_t *)"II*\0....", 8, "is a TIFF;");
    expect_refusal((const uint8_t *)"MM\0*....", 8, "is a TIFF;");
    expect_refusal((const uint8_t *)"BM......", 8, "is a BMP;");
    expect_refusal((const uint8_t *)"P6 1 1 255 abc", 14, "is a PPM;");
    expect_refusal((const uint8_t *)"<html>", 6, "is no picture that is known here");
}

static void new_picture_limits(void **state)
{
    (void)state;
    struct image image;
    struct error err;
    static const uint8_t red[3] = {255, 0, 1};
    assert_int_equal(image_new(&image, 0, 3, red, &err), BAD_INPUT);
    assert_int_equal(image_new(&image, 3, -1, red, &err), BAD_INPUT);
    assert_int_equal(image_new(&image, 65535, 65535, red, &err), BAD_INPUT);
    assert_null(image.rgb);
    assert_int_equal(image_new(&image, 2, 1, red, &err), OK);
    assert_memory_equal(image.rgb, ((uint8_t[]){255, 0, 1, 255, 0, 1}), 6);
    image_free(&image);
    image_free(&image); /* twice is harmless */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(png_kinds_as_pillow),
        cmocka_unit_test(png_interlaced),
        cmocka_unit_test(png_write_then_read),
        cmocka_unit_test(jpeg_flat_colours),
        cmocka_unit_test(shared_pictures_as_pillow),
        cmocka_unit_test(shared_broken_pictures),
        cmocka_unit_test(cut_at_every_length),
        cmocka_unit_test(every_byte_changed),
        cmocka_unit_test(sizes_refused_before_allocation),
        cmocka_unit_test(other_formats_named),
        cmocka_unit_test(new_picture_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
