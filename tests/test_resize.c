/* core/resize.c, preprocess.c: Pillow's resize, geometry of padding and cropping, preprocessor files.
 *
 * Expected bytes of the resizes were computed with Pillow 13.0.0 in two calls, horizontal then vertical,
 * which is what Pillow up to 12.0 does in one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/image.h"
#include "../core/json.h"
#include <cmocka.h> /* last: its fail() would hide ours */

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

/* ---- resize ----------------------------------------------------------------------------------------------
 */

static const uint8_t resized_5x4_3x3[] = {91,  179, 133, 132, 197, 141, 109, 123, 169,
                                          190, 109, 186, 113, 129, 149, 99,  57,  12,
                                          181, 49,  155, 119, 129, 163, 105, 102, 95};
static const uint8_t resized_7x5_11x9[] = {
    2,   140, 96,  58,  192, 135, 137, 255, 173, 171, 252, 129, 133, 196, 154, 63,  119, 227, 122, 142,
    240, 150, 139, 204, 118, 87,  131, 203, 148, 167, 255, 203, 208, 0,   157, 120, 71,  173, 117, 157,
    193, 109, 122, 201, 84,  113, 157, 122, 131, 92,  206, 137, 126, 236, 136, 139, 217, 130, 106, 156,
    172, 118, 147, 204, 132, 152, 0,   183, 158, 96,  133, 87,  190, 75,  3,   45,  107, 7,   83,  89,
    67,  242, 46,  172, 165, 102, 225, 116, 142, 234, 147, 135, 196, 111, 67,  110, 79,  15,  48,  66,
    134, 109, 113, 79,  107, 165, 21,  90,  126, 71,  13,  124, 80,  62,  152, 65,  201, 160, 150, 193,
    144, 169, 173, 101, 94,  163, 51,  96,  76,  21,  111, 10,  147, 67,  43,  128, 34,  133, 128, 8,
    213, 237, 78,  58,  177, 100, 88,  23,  95,  241, 148, 209, 154, 179, 200, 94,  41,  38,  113, 7,
    139, 59,  5,   247, 15,  141, 55,  52,  143, 43,  83,  152, 51,  120, 178, 150, 102, 151, 131, 142,
    98,  48,  204, 160, 190, 120, 148, 206, 85,  28,  41,  136, 14,  89,  106, 27,  156, 74,  146, 87,
    101, 159, 70,  74,  161, 77,  60,  98,  205, 142, 117, 158, 184, 188, 13,  179, 184, 139, 121, 134,
    186, 105, 53,  81,  147, 64,  50,  135, 88,  44,  118, 222, 182, 197, 178, 101, 195, 101, 30,  188,
    65,  180, 172, 109, 168, 187, 200, 39,  217, 220, 65,  193, 193, 121, 148, 134, 169, 95,  170, 80,
    90,  207, 9,   96,  255, 235, 248, 187, 117, 255, 68,  1,   255, 51,  163, 186, 106, 172, 185, 203,
    56,  240, 239, 26,  234, 227, 86,  173, 178, 217, 65,  227, 100, 62,  255, 0,   81};
static const uint8_t resized_9x3_4x8[] = {
    85,  217, 128, 120, 168, 193, 162, 146, 191, 127, 137, 90,  92,  201, 127, 121, 160, 190, 158, 132,
    179, 129, 130, 97,  110, 154, 126, 125, 138, 188, 146, 91,  144, 134, 111, 117, 131, 99,  124, 127,
    111, 179, 132, 44,  103, 141, 88,  141, 131, 88,  116, 122, 102, 150, 130, 41,  94,  138, 85,  149,
    110, 121, 103, 107, 110, 99,  140, 82,  115, 126, 102, 142, 92,  151, 92,  96,  118, 59,  149, 119,
    136, 116, 117, 134, 85,  161, 88,  92,  121, 43,  152, 131, 143, 112, 122, 131};
static const uint8_t resized_6x9_8x4[] = {
    137, 163, 159, 87,  171, 149, 107, 157, 101, 171, 121, 58,  60,  93,  123, 159, 89,  155, 180, 101,
    179, 97,  114, 195, 195, 161, 157, 113, 101, 116, 55,  89,  72,  67,  122, 63,  101, 57,  119, 196,
    81,  93,  175, 118, 133, 67,  136, 222, 101, 114, 137, 150, 108, 130, 166, 105, 148, 137, 108, 171,
    139, 118, 120, 203, 121, 109, 197, 120, 161, 130, 120, 228, 147, 39,  120, 86,  105, 83,  54,  111,
    55,  87,  67,  74,  141, 151, 175, 210, 151, 100, 175, 110, 121, 76,  70,  238};
static const uint8_t resized_6x4_6x7[] = {
    0,   146, 98,  144, 244, 162, 154, 240, 124, 82,  114, 240, 144, 162, 234, 123, 87,  125, 87,  161, 131,
    97,  225, 161, 170, 177, 79,  54,  114, 150, 179, 118, 217, 125, 106, 162, 241, 183, 187, 21,  181, 151,
    195, 68,  5,   15,  106, 12,  241, 46,  178, 120, 136, 226, 207, 151, 201, 37,  91,  91,  181, 41,  23,
    63,  49,  109, 255, 67,  93,  65,  111, 247, 143, 133, 185, 67,  15,  45,  137, 71,  55,  125, 5,   219,
    247, 101, 22,  23,  99,  238, 182, 207, 126, 42,  23,  87,  47,  182, 33,  138, 50,  133, 194, 82,  35,
    71,  181, 187, 210, 252, 92,  26,  34,  116, 0,   246, 18,  140, 81,  74,  162, 69,  49,  103, 231, 157};
static const uint8_t resized_6x4_5x4[] = {
    29,  163, 116, 150, 245, 142, 114, 167, 166, 124, 136, 236, 130, 102, 148, 206, 186, 191, 76,  135,
    100, 102, 79,  0,   167, 61,  119, 146, 120, 229, 128, 110, 167, 90,  33,  34,  130, 31,  149, 216,
    68,  89,  63,  100, 200, 179, 202, 105, 9,   98,  80,  70,  166, 50,  169, 59,  59,  109, 198, 144};

static void resize_as_pillow(void **state)
{
    (void)state;
    static const struct {
        int width, height, to_width, to_height;
        const uint8_t *expected;
    } cases[] = {
        {5, 4, 3, 3, resized_5x4_3x3}, {7, 5, 11, 9, resized_7x5_11x9},
        {9, 3, 4, 8, resized_9x3_4x8}, {6, 9, 8, 4, resized_6x9_8x4}, /* Pillow 13 differs in the last */
        {6, 4, 6, 7, resized_6x4_6x7}, {6, 4, 5, 4, resized_6x4_5x4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct image in = pattern_image(cases[i].width, cases[i].height), out;
        struct error err;
        assert_int_equal(image_resize(&out, &in, cases[i].to_width, cases[i].to_height, &err), OK);
        assert_int_equal(out.width, cases[i].to_width);
        assert_int_equal(out.height, cases[i].to_height);
        assert_memory_equal(out.rgb, cases[i].expected,
                            (size_t)cases[i].to_width * (size_t)cases[i].to_height * 3);
        image_free(&in);
        image_free(&out);
    }
}

static void resize_edges(void **state)
{
    (void)state;
    struct image in = pattern_image(7, 5), out;
    struct error err;
    assert_int_equal(image_resize(&out, &in, 7, 5, &err), OK);
    assert_memory_equal(out.rgb, in.rgb, 7 * 5 * 3);
    image_free(&out);
    assert_int_equal(image_resize(&out, &in, 0, 5, &err), BAD_INPUT);
    assert_int_equal(image_resize(&out, &in, 5, -5, &err), BAD_INPUT);
    assert_int_equal(image_resize(&out, &in, 1, 1, &err), OK);
    image_free(&out);
    image_free(&in);
    assert_int_equal(image_new(&in, 300, 200, (uint8_t[3]){255, 7, 0}, &err), OK); /* weights sum to one */
    assert_int_equal(image_resize(&out, &in, 97, 333, &err), OK);
    for (size_t i = 0; i < 97 * 333; i++)
        assert_memory_equal(out.rgb + 3 * i, ((uint8_t[]){255, 7, 0}), 3);
    image_free(&out);
    image_free(&in);
}

/* 150 rows: more than two strips of a pass across, and a rest. */
static void window_is_crop_of_whole(void **state)
{
    (void)state;
    struct image in = pattern_image(80, 150);
    struct error err;
    static const int sizes[][2] = {{33, 71}, {200, 190}, {80, 60}, {91, 150}, {80, 150}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int width = sizes[i][0], height = sizes[i][1];
        struct window windows[] = {
            {0, 0, 1, 1}, {width - 1, height - 1, 1, 1}, {5, 9, width - 11, height - 17}};
        struct image whole, part;
        assert_int_equal(image_resize(&whole, &in, width, height, &err), OK);
        for (size_t w = 0; w < 3; w++) {
            struct window *window = &windows[w];
            assert_int_equal(image_resize_window(&part, &in, width, height, window, &err), OK);
            assert_int_equal(part.width, window->width);
            assert_int_equal(part.height, window->height);
            for (int y = 0; y < part.height; y++)
                assert_memory_equal(part.rgb + 3 * y * part.width,
                                    whole.rgb + 3 * ((window->top + y) * width + window->left),
                                    3 * (size_t)part.width);
            image_free(&part);
        }
        image_free(&whole);
    }
    image_free(&in);
}

static void pad_square_offsets(void **state)
{
    (void)state;
    static const uint8_t fill[3] = {122, 116, 104};
    static const struct {
        int width, height, left, top;
    } cases[] = {{5, 2, 0, 1}, {2, 5, 1, 0}, {4, 4, 0, 0}, {7, 3, 0, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct image in = pattern_image(cases[i].width, cases[i].height), out;
        struct error err;
        assert_int_equal(image_pad_square(&out, &in, fill, &err), OK);
        int side = in.width > in.height ? in.width : in.height;
        assert_int_equal(out.width, side);
        assert_int_equal(out.height, side);
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++) {
                int from_x = x - cases[i].left, from_y = y - cases[i].top;
                bool inside = from_x >= 0 && from_x < in.width && from_y >= 0 && from_y < in.height;
                assert_memory_equal(out.rgb + 3 * (y * side + x),
                                    inside ? in.rgb + 3 * (from_y * in.width + from_x) : fill, 3);
            }
        image_free(&in);
        image_free(&out);
    }
}

/* ---- processor -------------------------------------------------------------------------------------------
 */

static struct processor clip(int size, int crop, enum image_mode mode)
{
    struct processor processor;
    struct error err;
    assert_int_equal(processor_open(&processor, "/nonexistent", size, &err), OK);
    processor.crop = crop;
    processor.mode = mode;
    return processor;
}

static float normalised(uint8_t value, int channel, const struct processor *processor)
{
    float scaled = (float)((double)value * processor->rescale);
    float centred = scaled - processor->mean[channel];
    return centred / processor->std[channel];
}

/* The steps one by one: resize whole, then crop or surround. */
static void preprocess_geometry(void **state)
{
    (void)state;
    static const struct {
        int width, height, size, crop; /* shape, processor */
        enum image_mode mode;
        int to_width, to_height, left,
            top; /* resized; of the crop in it, negative: the picture in the crop */
    } cases[] = {
        {64, 48, 24, 24, IMAGE_MODE_CROP, 32, 24, 4, 0},  {48, 64, 24, 24, IMAGE_MODE_CROP, 24, 32, 0, 4},
        {57, 38, 24, 24, IMAGE_MODE_CROP, 36, 24, 6, 0},  {50, 37, 24, 24, IMAGE_MODE_CROP, 32, 24, 4, 0},
        {31, 41, 24, 21, IMAGE_MODE_CROP, 24, 31, 1, 5},  {40, 40, 20, 25, IMAGE_MODE_CROP, 20, 20, -3, -3},
        {40, 30, 20, 23, IMAGE_MODE_CROP, 26, 20, 1, -2}, {24, 24, 24, 24, IMAGE_MODE_CROP, 24, 24, 0, 0},
        {64, 47, 24, 24, IMAGE_MODE_PAD, 24, 24, 0, 0},   {33, 50, 24, 20, IMAGE_MODE_PAD, 24, 24, 2, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int crop = cases[i].crop;
        struct processor processor = clip(cases[i].size, crop, cases[i].mode);
        struct image image = pattern_image(cases[i].width, cases[i].height), square, resized;
        struct error err;
        float *pixels = malloc((size_t)(3 * crop * crop) * sizeof *pixels);
        assert_int_equal(preprocess(pixels, &image, &processor, &err), OK);
        if (cases[i].mode == IMAGE_MODE_PAD) {
            uint8_t fill[3];
            processor_mean_colour(fill, &processor);
            assert_memory_equal(fill, ((uint8_t[]){122, 116, 104}), 3);
            assert_int_equal(image_pad_square(&square, &image, fill, &err), OK);
            image_free(&image);
            image = square;
        }
        assert_int_equal(image_resize(&resized, &image, cases[i].to_width, cases[i].to_height, &err), OK);
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < crop; y++)
                for (int x = 0; x < crop; x++) {
                    int from_x = x + cases[i].left, from_y = y + cases[i].top;
                    bool inside =
                        from_x >= 0 && from_x < resized.width && from_y >= 0 && from_y < resized.height;
                    uint8_t value = inside ? resized.rgb[3 * (from_y * resized.width + from_x) + c] : 0;
                    float expected = normalised(value, c, &processor);
                    assert_memory_equal(&pixels[(c * crop + y) * crop + x], &expected, sizeof expected);
                }
        free(pixels);
        image_free(&image);
        image_free(&resized);
    }
}

static enum status open_text(struct processor *out, const char *text, struct error *err)
{
    char dir[] = "/tmp/winnow-image-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/preprocessor_config.json", dir);
    struct error write_error;
    assert_int_equal(file_write(path, text, strlen(text), &write_error), OK);
    enum status status = processor_open(out, dir, 224, err);
    unlink(path);
    rmdir(dir);
    return status;
}

static void processor_files(void **state)
{
    (void)state;
    struct processor processor;
    struct error err;
    assert_int_equal(open_text(&processor, "{}", &err), OK);
    assert_int_equal(processor.size, 224);
    assert_int_equal(processor.crop, 224);
    assert_int_equal(processor.mode, IMAGE_MODE_CROP);
    assert_true(processor.rescale == 1.0 / 255.0);
    assert_int_equal(
        open_text(&processor,
                  "{\"size\": {\"shortest_edge\": 336}, \"crop_size\": {\"height\": 330, \"width\": "
                  "330}, \"do_pad\": true, \"image_mean\": [0.5, 0, 1], \"image_std\": [1, 0.25, 2], "
                  "\"rescale_factor\": 0.5, \"image_processor_type\": \"CLIPImageProcessor\"}",
                  &err),
        OK);
    assert_int_equal(processor.size, 336);
    assert_int_equal(processor.crop, 330);
    assert_int_equal(processor.mode, IMAGE_MODE_PAD);
    assert_true(processor.mean[0] == 0.5f && processor.mean[1] == 0.0f && processor.std[1] == 0.25f);
    assert_true(processor.rescale == 0.5);
    assert_int_equal(open_text(&processor, "{\"size\": 14, \"crop_size\": 15}", &err), OK); /* older files */
    assert_int_equal(processor.size, 14);
    assert_int_equal(processor.crop, 15);

    static const char *const refused[][2] = {
        {"[]", "preprocessor_config.json"},
        {"{\"do_resize\": false}", "do_resize is false"},
        {"{\"do_center_crop\": false}", "do_center_crop is false"},
        {"{\"do_normalize\": false}", "do_normalize is false"},
        {"{\"do_rescale\": false}", "do_rescale is false"},
        {"{\"resample\": 2}", "resample is 2"},
        {"{\"image_processor_type\": \"Qwen2VLImageProcessor\"}", "Qwen2VLImageProcessor"},
        {"{\"size\": {\"height\": 3, \"width\": 3}}", "no shortest_edge"},
        {"{\"crop_size\": {\"height\": 3, \"width\": 4}}", "expected a square"},
        {"{\"crop_size\": {}}", "crop_size"},
        {"{\"size\": 0}", "size"},
        {"{\"crop_size\": 100000}", "crop_size"},
        {"{\"image_mean\": [1, 2]}", "image_mean is not an array of 3"},
        {"{\"image_mean\": [1, 2, \"3\"]}", "image_mean[2]"},
        {"{\"image_std\": [1, 0, 1]}", "image_std[1]"},
        {"{\"rescale_factor\": -1}", "rescale_factor"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (open_text(&processor, refused[i][0], &err) != BAD_INPUT || !strstr(err.text, refused[i][1]))
            fail_msg("%s: %s", refused[i][0], err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resize_as_pillow),        cmocka_unit_test(resize_edges),
        cmocka_unit_test(window_is_crop_of_whole), cmocka_unit_test(pad_square_offsets),
        cmocka_unit_test(preprocess_geometry),     cmocka_unit_test(processor_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
