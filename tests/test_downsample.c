/* The control that shrinks the picture: core/position_table.c, patch_grid.c, preprocess_square and patchify
 * of pictures that are not square.
 *
 * Positions were computed with torch 2.9.1, interpolate(mode="bicubic", align_corners=False) on the CPU;
 * pixels with Pillow 11.3.0: paste on a square of (122, 116, 104) or crop, then resize(BICUBIC).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../core/patch_grid.h"
#include "../core/image.h"
#include "../core/ops.h"
#include "../core/position_table.h"
#include <cmocka.h> /* last: its fail() would hide ours */

/* ---- positions -------------------------------------------------------------------------------------------
 */

enum { WIDTH = 3, N_SAMPLES = 10, SAMPLE_STEP = 4099 };

/* Multiples of 1/64 without a pattern that a wrong offset would leave unchanged. */
static float *table_new(int n_cells)
{
    int n = (1 + n_cells) * WIDTH;
    float *table = malloc((size_t)n * sizeof *table);
    assert_non_null(table);
    for (int64_t i = 0; i < n; i++)
        table[i] = (float)((i * i * 37 + i * 101 + 11) % 251 - 125) / 64.0f;
    return table;
}

/* expected[k] stands at k · SAMPLE_STEP, modulo the values that follow the class token's row. */
static void positions_as_torch(void **state)
{
    (void)state;
    static const struct {
        int grid_rows, grid_cols, rows, cols;
        float expected[N_SAMPLES];
    } cases[] = {
        {24,
         24,
         12,
         16,
         {-0.0671386719f, 1.73581123f, -1.3356781f, 1.49542427f, -0.96987915f, 0.479595184f, -0.294593811f,
          -0.0194683075f, 1.12962914f, -0.511106491f}},
        {24,
         24,
         10,
         19,
         {-0.268882006f, 1.22333729f, -0.800575674f, -0.31525588f, -1.45460951f, -1.46759164f, -0.843244195f,
          0.104193434f, -0.0411587209f, 1.43193245f}},
        {24,
         24,
         8,
         8,
         {-0.875f, -0.125f, -0.234375f, -0.015625f, 1.203125f, -1.5f, 0.546875f, 1.21875f, -1.59375f,
          0.265625f}},
        {24,
         24,
         1,
         1,
         {-0.799362183f, 0.488815308f, 0.0646057129f, -0.799362183f, 0.488815308f, 0.0646057129f,
          -0.799362183f, 0.488815308f, 0.0646057129f, -0.799362183f}},
        {24,
         24,
         19,
         23, /* places rounded twice are off by more than 1e-6 in the last */
         {0.240583047f, 1.53358686f, -1.04124558f, 0.76050669f, -1.31741643f, 0.800452352f, -2.22967744f,
          1.11575115f, -1.3973974f, -0.802705765f}},
        {24,
         24,
         48,
         37,
         {0.305810183f, 2.15457129f, -1.7186811f, 1.3059094f, 1.05741692f, -0.956652761f, 0.114440054f,
          0.462166369f, -1.80056524f, 0.458108783f}},
        {3,
         5,
         7,
         4,
         {0.61206001f, 1.8681246f, -0.97107935f, 0.121258013f, -0.576265335f, 0.0146149369f, 1.78984237f,
          0.602824211f, -0.0155122979f, 0.955989301f}},
        {2,
         3,
         5,
         9,
         {0.435707211f, 1.24950027f, -0.541219831f, 1.27082002f, -1.65219939f, 0.245548278f, 0.595515549f,
          0.546874464f, -0.138175562f, 0.724021852f}},
        {1,
         1,
         2,
         3,
         {0.312500119f, -1.90625f, 0.953124702f, 0.3125f, -1.90624952f, 0.953125417f, 0.312499911f,
          -1.90625083f, 0.953125f, 0.312500149f}},
        {5,
         1,
         1,
         4,
         {0.421875f, 1.21875f, -0.75f, 0.421875f, 1.21875f, -0.75f, 0.421875f, 1.21875f, -0.75f, 0.421875f}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n = cases[i].rows * cases[i].cols * WIDTH;
        float *table = table_new(cases[i].grid_rows * cases[i].grid_cols);
        float *out = malloc((size_t)(WIDTH + n) * sizeof *out);
        position_table_resize(out, table, cases[i].grid_rows, cases[i].grid_cols, cases[i].rows,
                              cases[i].cols, WIDTH);
        assert_memory_equal(out, table, WIDTH * sizeof *out);
        for (int k = 0; k < N_SAMPLES; k++) {
            float found = out[WIDTH + k * SAMPLE_STEP % n];
            if (!(fabsf(found - cases[i].expected[k]) <= 1e-6f))
                fail_msg("case %zu, sample %d: %.9g, expected %.9g", i, k, (double)found,
                         (double)cases[i].expected[k]);
        }
        free(table);
        free(out);
    }
}

static void positions_of_the_same_grid_are_copied(void **state)
{
    (void)state;
    static const int grids[][2] = {{24, 24}, {3, 5}, {1, 1}};
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        int rows = grids[i][0], cols = grids[i][1];
        size_t n_bytes = (size_t)((1 + rows * cols) * WIDTH) * sizeof(float);
        float *table = table_new(rows * cols), *out = malloc(n_bytes);
        position_table_resize(out, table, rows, cols, rows, cols, WIDTH);
        assert_memory_equal(out, table, n_bytes);
        free(table);
        free(out);
    }
}

/* 3 × 5 and 5 × 3 have equally many cells and are no equal grids. */
static void positions_turned_are_interpolated(void **state)
{
    (void)state;
    float *table = table_new(15), out[16 * WIDTH];
    position_table_resize(out, table, 3, 5, 5, 3, WIDTH);
    assert_memory_not_equal(out + WIDTH, table + WIDTH, 15 * WIDTH * sizeof *out);
    free(table);
}

/* ---- pixels ----------------------------------------------------------------------------------------------
 */

static const uint8_t cut_11x7_5x3[] = {122, 102, 101, 116, 89,  173, 161, 94,  131, 138, 166, 196,
                                       95,  104, 97,  184, 117, 154, 121, 69,  103, 106, 99,  133,
                                       156, 105, 162, 114, 137, 152, 148, 144, 177, 181, 115, 154,
                                       147, 122, 142, 115, 146, 133, 158, 134, 76};
static const uint8_t padded_11x7_4x6[] = {
    121, 122, 104, 122, 121, 109, 123, 117, 104, 125, 113, 103, 103, 155, 139, 134, 102, 153,
    133, 137, 134, 106, 103, 69,  164, 115, 132, 124, 89,  117, 129, 118, 183, 112, 110, 153,
    155, 135, 119, 146, 86,  138, 137, 116, 121, 127, 126, 119, 111, 106, 103, 164, 140, 157,
    129, 134, 124, 155, 141, 88,  122, 113, 101, 121, 117, 107, 120, 111, 106, 121, 113, 103};
static const uint8_t cut_7x12_9x4[] = {
    142, 69,  63,  139, 35,  125, 163, 92,  122, 166, 147, 112, 97,  52,  215, 179, 212, 115,
    102, 127, 113, 23,  64,  111, 41,  157, 59,  239, 200, 222, 154, 72,  184, 90,  84,  142,
    101, 167, 144, 169, 89,  202, 202, 60,  188, 174, 148, 124, 152, 147, 92,  165, 22,  118,
    124, 108, 186, 63,  138, 74,  83,  96,  17,  141, 79,  71,  115, 224, 174, 202, 83,  121,
    125, 98,  138, 71,  106, 162, 128, 22,  151, 98,  119, 66,  112, 115, 137, 135, 109, 158,
    173, 115, 131, 232, 146, 137, 217, 90,  150, 118, 129, 116, 64,  170, 114, 95,  157, 164};
static const uint8_t padded_7x12_3x5[] = {107, 123, 98,  128, 123, 148, 119, 117, 110, 142, 105, 125,
                                          138, 110, 142, 115, 111, 99,  120, 120, 121, 137, 111, 133,
                                          124, 102, 116, 127, 125, 100, 153, 124, 127, 117, 122, 117,
                                          132, 152, 123, 136, 112, 111, 123, 123, 108};
static const uint8_t cut_9x9_4x7[] = {
    102, 175, 127, 124, 148, 193, 151, 109, 160, 132, 120, 107, 114, 113, 102, 112, 109, 110, 134, 70,  108,
    124, 96,  143, 129, 129, 160, 105, 114, 162, 193, 110, 154, 193, 124, 138, 140, 96,  97,  140, 111, 166,
    98,  104, 136, 106, 118, 65,  101, 133, 121, 134, 81,  159, 136, 86,  109, 189, 141, 158, 100, 148, 72,
    149, 124, 123, 169, 124, 132, 146, 187, 157, 136, 109, 112, 150, 102, 75,  106, 169, 145, 164, 164, 152};
static const uint8_t cut_5x4_6x5[] = {
    0,   146, 100, 62,  194, 133, 143, 246, 156, 165, 238, 113, 117, 168, 173, 66,  108, 240,
    74,  105, 118, 161, 154, 152, 212, 207, 179, 63,  200, 145, 103, 131, 93,  179, 72,  62,
    200, 60,  146, 197, 110, 190, 168, 164, 225, 88,  159, 184, 100, 82,  78,  133, 15,  0,
    223, 23,  188, 186, 74,  180, 138, 129, 181, 122, 120, 211, 105, 96,  132, 95,  77,  54,
    106, 0,   235, 197, 49,  111, 234, 102, 33,  37,  86,  222, 106, 177, 182, 224, 255, 92};

static struct image pattern_image(int width, int height)
{
    struct image image;
    struct error err;
    assert_int_equal(image_new(&image, width, height, (uint8_t[3]){0}, &err), OK);
    for (size_t i = 0; i < (size_t)width * (size_t)height * 3; i++)
        image.rgb[i] = (uint8_t)(i * i * 37 + i * 101 + 11);
    return image;
}

static struct processor clip(int size, enum image_mode mode)
{
    struct processor processor;
    struct error err;
    assert_int_equal(processor_open(&processor, "/nonexistent", size, &err), OK);
    processor.mode = mode;
    return processor;
}

static void expect_pixels(const float *pixels, const uint8_t *rgb, int n, const struct processor *processor)
{
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < n; i++) {
            float scaled = (float)((double)rgb[3 * i + c] * processor->rescale);
            float centred = scaled - processor->mean[c];
            float expected = centred / processor->std[c];
            assert_memory_equal(&pixels[c * n + i], &expected, sizeof expected);
        }
}

static void square_as_pillow(void **state)
{
    (void)state;
    static const struct {
        int width, height;
        enum image_mode mode;
        int to_width, to_height;
        const uint8_t *expected;
    } cases[] = {
        {11, 7, IMAGE_MODE_CROP, 5, 3, cut_11x7_5x3}, {11, 7, IMAGE_MODE_PAD, 4, 6, padded_11x7_4x6},
        {7, 12, IMAGE_MODE_CROP, 9, 4, cut_7x12_9x4}, {7, 12, IMAGE_MODE_PAD, 3, 5, padded_7x12_3x5},
        {9, 9, IMAGE_MODE_CROP, 4, 7, cut_9x9_4x7},   {9, 9, IMAGE_MODE_PAD, 4, 7, cut_9x9_4x7},
        {5, 4, IMAGE_MODE_CROP, 6, 5, cut_5x4_6x5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct processor processor = clip(336, cases[i].mode);
        struct image image = pattern_image(cases[i].width, cases[i].height);
        int n = cases[i].to_width * cases[i].to_height;
        float *pixels = malloc((size_t)(3 * n) * sizeof *pixels);
        struct error err;
        assert_int_equal(
            preprocess_square(pixels, &image, &processor, cases[i].to_width, cases[i].to_height, &err), OK);
        expect_pixels(pixels, cases[i].expected, n, &processor);
        free(pixels);
        image_free(&image);
    }
}

/* Nothing to resample: the cut or padded square itself. */
static void square_of_its_own_size(void **state)
{
    (void)state;
    float pixels[3 * 25];
    struct error err;
    struct image image = pattern_image(5, 2);
    struct processor processor = clip(336, IMAGE_MODE_CROP);
    uint8_t cut[2 * 2 * 3], padded[5 * 5 * 3];
    for (size_t y = 0; y < 2; y++)
        memcpy(cut + 6 * y, image.rgb + 15 * y + 3, 6);
    assert_int_equal(preprocess_square(pixels, &image, &processor, 2, 2, &err), OK);
    expect_pixels(pixels, cut, 4, &processor);

    processor.mode = IMAGE_MODE_PAD;
    for (size_t i = 0; i < 25; i++)
        memcpy(padded + 3 * i, ((uint8_t[]){122, 116, 104}), 3);
    memcpy(padded + 15, image.rgb, 30);
    assert_int_equal(preprocess_square(pixels, &image, &processor, 5, 5, &err), OK);
    expect_pixels(pixels, padded, 25, &processor);
    image_free(&image);
}

static void square_of_one_pixel(void **state)
{
    (void)state;
    for (int mode = IMAGE_MODE_CROP; mode <= IMAGE_MODE_PAD; mode++) {
        struct processor processor = clip(336, (enum image_mode)mode);
        struct image image = pattern_image(1, 1);
        float pixels[3 * 28 * 14];
        uint8_t expected[3 * 28 * 14];
        struct error err;
        for (size_t i = 0; i < 28 * 14; i++)
            memcpy(expected + 3 * i, image.rgb, 3);
        assert_int_equal(preprocess_square(pixels, &image, &processor, 28, 14, &err), OK);
        expect_pixels(pixels, expected, 28 * 14, &processor);
        image_free(&image);
    }
}

/* Where the full picture is asked for and it is a square, both ways are one. */
static void square_agrees_with_preprocess(void **state)
{
    (void)state;
    static const struct {
        int width, height;
        enum image_mode mode;
    } cases[] = {{40, 40, IMAGE_MODE_CROP}, {57, 57, IMAGE_MODE_PAD}, {57, 38, IMAGE_MODE_PAD}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct processor processor = clip(48, cases[i].mode);
        struct image image = pattern_image(cases[i].width, cases[i].height);
        static float whole[3 * 48 * 48], square[3 * 48 * 48];
        struct error err;
        assert_int_equal(preprocess(whole, &image, &processor, &err), OK);
        assert_int_equal(preprocess_square(square, &image, &processor, 48, 48, &err), OK);
        assert_memory_equal(whole, square, sizeof whole);
        image_free(&image);
    }
}

static void square_refuses_impossible_sizes(void **state)
{
    (void)state;
    static const int sizes[][2] = {{0, 14}, {14, -1}, {1, 1000}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct processor processor = clip(48, IMAGE_MODE_PAD);
        struct image image = pattern_image(5, 3);
        struct error err;
        float pixel = 7;
        assert_int_equal(preprocess_square(&pixel, &image, &processor, sizes[i][0], sizes[i][1], &err),
                         BAD_INPUT);
        assert_true(pixel == 7);
        image_free(&image);
    }
}

/* ---- patches ---------------------------------------------------------------------------------------------
 */

/* Every pixel holds its own place. 17 × 13 leaves columns and rows over. */
static void patches_of_oblong_pictures(void **state)
{
    (void)state;
    static const struct {
        int width, height, patch;
    } cases[] = {{12, 4, 4}, {4, 12, 4}, {6, 9, 3}, {17, 13, 5}, {3, 2, 1}};
    int n_backends;
    const struct ops *const *all = ops_all(&n_backends);
    for (size_t i = 0; i < sizeof cases / sizeof *cases * (size_t)n_backends; i++) {
        const struct ops *ops = all[i % (size_t)n_backends];
        int width = cases[i / (size_t)n_backends].width, height = cases[i / (size_t)n_backends].height;
        int p = cases[i / (size_t)n_backends].patch, rows = height / p, cols = width / p;
        float host[3 * 17 * 13], found[3 * 17 * 13];
        for (int k = 0; k < 3 * width * height; k++)
            host[k] = (float)k;
        size_t n_bytes = (size_t)(3 * width * height) * sizeof *host;
        size_t n_out = (size_t)(3 * rows * cols * p * p) * sizeof *host;
        struct compute c;
        struct error err;
        assert_int_equal(ops->open(&c, 1, &err), OK);
        float *pixels = ops->alloc(n_bytes), *patches = ops->alloc(n_out);
        ops->upload(&c, pixels, host, n_bytes);
        ops->patchify(&c, patches, pixels, width, height, p);
        ops->download(&c, found, patches, n_out);
        const float *at = found;
        for (int row = 0; row < rows; row++)
            for (int col = 0; col < cols; col++)
                for (int channel = 0; channel < 3; channel++)
                    for (int y = 0; y < p; y++)
                        for (int x = 0; x < p; x++) {
                            int place = (channel * height + row * p + y) * width + col * p + x;
                            assert_int_equal((int)*at++, place);
                        }
        ops->release(pixels);
        ops->release(patches);
        ops->close(&c);
    }
}

/* ---- grids -----------------------------------------------------------------------------------------------
 */

static void grids_of_known_budgets(void **state)
{
    (void)state;
    static const struct {
        int budget, max_rows, max_cols;
        double aspect;
        int rows, cols;
    } cases[] = {
        {192, 24, 24, 1, 12, 16},   {128, 24, 24, 1, 8, 16},      {64, 24, 24, 1, 8, 8},
        {1, 24, 24, 1, 1, 1},       {191, 24, 24, 1, 10, 19},     {576, 24, 24, 1, 24, 24},
        {577, 24, 24, 1, 24, 24},   {1 << 30, 24, 24, 1, 24, 24}, {575, 24, 24, 1, 23, 24},
        {2, 24, 24, 1, 1, 2},       {192, 24, 24, 0.7, 16, 12},   {192, 24, 24, 3, 8, 24},
        {64, 24, 24, 16.0, 4, 16},  {36, 24, 24, 4.0 / 9, 9, 4},  {6, 24, 24, 1.5, 2, 3},
        {100, 1, 40, 1, 1, 40},     {100, 40, 1, 1, 40, 1},       {7, 3, 5, 1, 2, 3},
        {192, 12, 24, 0.1, 12, 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rows = 0, cols = 0;
        grid_choose(&rows, &cols, cases[i].budget, cases[i].max_rows, cases[i].max_cols, cases[i].aspect);
        if (rows != cases[i].rows || cols != cases[i].cols)
            fail_msg("budget %d: %d x %d, expected %d x %d", cases[i].budget, rows, cols, cases[i].rows,
                     cases[i].cols);
    }
}

/* Against every grid there is; W / H stands for the aspect, so that distances compare in whole numbers. */
static void grids_are_the_best(void **state)
{
    (void)state;
    static const int sizes[][4] = {/* max_rows, max_cols, W, H */
                                   {24, 24, 1, 1},
                                   {24, 24, 4, 3},
                                   {16, 24, 3, 2},
                                   {24, 17, 17, 24},
                                   {7, 30, 30, 7}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int budget = 1; budget <= 600; budget++) {
            int max_rows = sizes[s][0], max_cols = sizes[s][1], w = sizes[s][2], h = sizes[s][3];
            int best_r = 0, best_c = 0, rows, cols;
            for (int r = 1; r <= max_rows; r++)
                for (int c = 1; c <= max_cols; c++) {
                    if (r * c > budget || r * c < best_r * best_c)
                        continue;
                    /* the factor between two aspects as large / small, both sides times the other's */
                    int64_t a = (int64_t)c * h, b = (int64_t)r * w;
                    int64_t best_a = (int64_t)best_c * h, best_b = (int64_t)best_r * w;
                    int64_t large = a > b ? a : b, small = a > b ? b : a;
                    int64_t best_large = best_a > best_b ? best_a : best_b;
                    int64_t best_small = best_a > best_b ? best_b : best_a;
                    if (r * c > best_r * best_c || large * best_small < best_large * small) {
                        best_r = r;
                        best_c = c;
                    }
                }
            grid_choose(&rows, &cols, budget, max_rows, max_cols, (double)w / h);
            assert_int_equal(rows, best_r);
            assert_int_equal(cols, best_c);
        }
}

static void windows_of_known_sides(void **state)
{
    (void)state;
    static const struct {
        int i, n_in, n_out, from, to;
    } cases[] = {
        {0, 24, 12, 0, 2},
        {11, 24, 12, 22, 24},
        {0, 24, 10, 0, 3},
        {1, 24, 10, 2, 5},
        {9, 24, 10, 21, 24},
        {18, 24, 19, 22, 24},
        {0, 24, 1, 0, 24},
        {5, 24, 24, 5, 6},
        {0, 1, 1, 0, 1},
        {2, 3, 5, 1, 2},
        {99999, 100000, 100000, 99999, 100000}, /* the product needs more than 31 bits */
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int from, to;
        grid_window(&from, &to, cases[k].i, cases[k].n_in, cases[k].n_out);
        assert_int_equal(from, cases[k].from);
        assert_int_equal(to, cases[k].to);
    }
}

static void windows_cover_their_side(void **state)
{
    (void)state;
    for (int n_in = 1; n_in <= 40; n_in++)
        for (int n_out = 1; n_out <= n_in; n_out++) {
            int covered = 0;
            for (int i = 0; i < n_out; i++) {
                int from, to;
                grid_window(&from, &to, i, n_in, n_out);
                assert_true(from <= covered && to > covered && from < to);
                covered = to;
            }
            assert_int_equal(covered, n_in);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_as_torch),
        cmocka_unit_test(positions_of_the_same_grid_are_copied),
        cmocka_unit_test(positions_turned_are_interpolated),
        cmocka_unit_test(square_as_pillow),
        cmocka_unit_test(square_of_its_own_size),
        cmocka_unit_test(square_of_one_pixel),
        cmocka_unit_test(square_agrees_with_preprocess),
        cmocka_unit_test(square_refuses_impossible_sizes),
        cmocka_unit_test(patches_of_oblong_pictures),
        cmocka_unit_test(grids_of_known_budgets),
        cmocka_unit_test(grids_are_the_best),
        cmocka_unit_test(windows_of_known_sides),
        cmocka_unit_test(windows_cover_their_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
