/* core/video.c and datasets/mini/avi_encode.c: frames of clips, which ones, and files that are no clips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/sha256.h"
#include "core/video.h"
#include "datasets/mini/avi_encode.h"
#include "datasets/mini/png_encode.h"
#include "tests/shared.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static char folder[64];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/winnow-test-video-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- '%s'", folder);
    return system(command);
}

static const char *write_bytes(const char *name, const void *bytes, size_t n)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    return path;
}

enum { WIDTH = 37, HEIGHT = 23, N_PIXELS = WIDTH * HEIGHT * 3 };

/* Frame t of a clip: no two frames, rows or columns alike. */
static void frame_make(uint8_t out[N_PIXELS], int t)
{
    for (int i = 0; i < N_PIXELS; i++)
        out[i] = (uint8_t)(t * 151 + i * 29 + i / 37 * 7 + (i * i) % 61);
}

static void clip_make(uint8_t **bytes, size_t *n, int n_frames)
{
    static uint8_t pixels[128][N_PIXELS];
    const uint8_t *frames[128];
    char message[200];
    for (int t = 0; t < n_frames; t++) {
        frame_make(pixels[t], t);
        frames[t] = pixels[t];
    }
    if (avi_encode(bytes, n, frames, n_frames, WIDTH, HEIGHT, 8, message, sizeof message) != 0)
        fail_msg("%s", message);
}

static void expect_frames(const char *path, int n, int n_all)
{
    struct image frames[LIMIT_IMAGES];
    struct error err = {0};
    if (video_read_frames(frames, n, path, &err) != OK)
        fail_msg("%s", err.text);
    for (int i = 0; i < n; i++) {
        uint8_t pixels[N_PIXELS];
        frame_make(pixels, n > 1 ? (int)((double)i * (n_all - 1) / (n - 1)) : 0);
        assert_int_equal(frames[i].width, WIDTH);
        assert_int_equal(frames[i].height, HEIGHT);
        assert_memory_equal(frames[i].rgb, pixels, N_PIXELS);
        image_free(&frames[i]);
    }
}

static void test_lossless(void **state)
{
    static const int lengths[] = {1, 2, 7, 8, 9, 100};
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t *bytes;
        size_t n;
        clip_make(&bytes, &n, lengths[i]);
        const char *path = write_bytes("clip.avi", bytes, n);
        expect_frames(path, 8, lengths[i]);
        expect_frames(path, 1, lengths[i]);
        expect_frames(path, 64, lengths[i]);
        free(bytes);
    }
}

static void expect_indices(int64_t n_all, const int expected[8])
{
    for (int i = 0; i < 8; i++)
        assert_int_equal(video_frame_index(i, 8, n_all), expected[i]);
}

/* numpy.linspace(0, N - 1, 8, dtype=int) */
static void test_indices(void **state)
{
    (void)state;
    expect_indices(1, (const int[]){0, 0, 0, 0, 0, 0, 0, 0});
    expect_indices(2, (const int[]){0, 0, 0, 0, 0, 0, 0, 1});
    expect_indices(7, (const int[]){0, 0, 1, 2, 3, 4, 5, 6});
    expect_indices(8, (const int[]){0, 1, 2, 3, 4, 5, 6, 7});
    expect_indices(9, (const int[]){0, 1, 2, 3, 4, 5, 6, 8});
    expect_indices(100, (const int[]){0, 14, 28, 42, 56, 70, 84, 99});
    assert_int_equal(video_frame_index(0, 1, 100), 0);
    assert_int_equal(video_frame_index(63, 64, 1 << 20), (1 << 20) - 1);
}

static void test_encoder(void **state)
{
    (void)state;
    uint8_t *one, *two, pixels[N_PIXELS] = {0};
    size_t n_one, n_two;
    char message[200];
    clip_make(&one, &n_one, 5);
    clip_make(&two, &n_two, 5);
    assert_int_equal(n_one, n_two);
    assert_memory_equal(one, two, n_one);
    free(one);
    free(two);
    const uint8_t *frames[] = {pixels};
    assert_int_equal(avi_encode(&one, &n_one, frames, 0, 8, 8, 8, message, sizeof message), -1);
    assert_null(one);
    assert_int_equal(avi_encode(&one, &n_one, frames, 1, 8, 8, 0, message, sizeof message), -1);
    assert_int_equal(avi_encode(&one, &n_one, frames, 1, 0, 8, 8, message, sizeof message), -1);
    assert_int_equal(avi_encode(&one, &n_one, frames, 1, 8, PNG_EDGE_MAX + 1, 8, message, sizeof message),
                     -1);
    assert_non_null(strstr(message, "8193"));
}

static void digest(char hex[65], const struct image frames[8])
{
    struct sha256 sha;
    sha256_init(&sha);
    for (int i = 0; i < 8; i++)
        sha256_update(&sha, frames[i].rgb, (size_t)frames[i].width * (size_t)frames[i].height * 3);
    sha256_final(&sha, hex);
}

/* Real H.264: the same pixels every time, and eight different pictures. */
static void real_clip(const char *relative, int width, int height)
{
    char path[SHARED_PATH], first[65], second[65];
    if (!shared_path(path, sizeof path, relative))
        shared_skip(relative);
    for (int pass = 0; pass < 2; pass++) {
        struct image frames[8];
        struct error err = {0};
        if (video_read_frames(frames, 8, path, &err) != OK)
            fail_msg("%s", err.text);
        digest(pass ? second : first, frames);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(frames[i].width, width);
            assert_int_equal(frames[i].height, height);
        }
        for (int i = 1; i < 8; i++)
            assert_memory_not_equal(frames[0].rgb, frames[i].rgb, (size_t)width * (size_t)height * 3);
        for (int i = 0; i < 8; i++)
            image_free(&frames[i]);
    }
    assert_string_equal(first, second);
}

static void test_real_1(void **state)
{
    (void)state;
    real_clip("data/video/sample_demo_1.mp4", 640, 360);
}

static void test_real_3(void **state)
{
    (void)state;
    real_clip("data/video/sample_demo_3.mp4", 640, 360);
}

/* ---- files that are no clips, or broken ones ------------------------------------------------------------
 */

static void expect_refused(const char *path, const char *expected)
{
    struct image frames[8];
    struct error err = {0};
    assert_int_equal(video_read_frames(frames, 8, path, &err), BAD_INPUT);
    assert_non_null(strstr(err.text, path));
    if (!strstr(err.text, expected))
        fail_msg("expected \"%s\" in: %s", expected, err.text);
    for (int i = 0; i < 8; i++)
        assert_null(frames[i].rgb);
}

/* Either the frames or a message: never a crash, never a picture left behind. */
static enum status survive(const char *path)
{
    struct image frames[8];
    struct error err = {0};
    enum status status = video_read_frames(frames, 8, path, &err);
    assert_true(status == OK || (status == BAD_INPUT && strstr(err.text, path)));
    for (int i = 0; i < 8; i++) {
        assert_true((frames[i].rgb != NULL) == (status == OK));
        image_free(&frames[i]);
    }
    return status;
}

static void test_no_clips(void **state)
{
    (void)state;
    static const char text[] = "What is in the clip?\n";
    static const char playlist[] =
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n";
    static const char list[] = "ffconcat version 1.0\nfile 'clip.avi'\n";
    uint8_t zeros[4096] = {0}, pixels[N_PIXELS], *png;
    size_t n;
    char message[200];
    frame_make(pixels, 0);
    assert_int_equal(png_encode(&png, &n, pixels, WIDTH, HEIGHT, message, sizeof message), 0);
    expect_refused(write_bytes("picture.png", png, n), "expected AVI");
    expect_refused(write_bytes("picture.avi", png, n), "expected AVI");
    free(png);
    expect_refused(write_bytes("empty.mp4", "", 0), "is empty");
    expect_refused(write_bytes("one.mp4", "R", 1), "expected AVI");
    expect_refused(write_bytes("zeros.mp4", zeros, sizeof zeros), "expected AVI");
    expect_refused(write_bytes("text.mp4", text, sizeof text - 1), "expected AVI");
    /* Formats that make FFmpeg open other files. */
    expect_refused(write_bytes("list.m3u8", playlist, sizeof playlist - 1), "expected AVI");
    expect_refused(write_bytes("list.ffconcat", list, sizeof list - 1), "expected AVI");
    expect_refused(folder, "is no file");
    expect_refused("/nowhere/clip.mp4", "No such file");
    expect_refused("http://127.0.0.1/clip.mp4", "No such file");
}

static void test_cut_short(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t n;
    clip_make(&bytes, &n, 9);
    for (size_t keep = 0; keep < n; keep += keep < 300 ? 1 : 97)
        expect_refused(write_bytes("cut.avi", bytes, keep), "");
    /* Even where the head's size fits what is left. */
    for (size_t keep = 300; keep < n; keep += 997) {
        uint32_t size = (uint32_t)keep - 8;
        uint8_t *copy = malloc(keep);
        memcpy(copy, bytes, keep);
        memcpy(copy + 4, &size, 4);
        survive(write_bytes("cut.avi", copy, keep));
        free(copy);
    }
    free(bytes);
}

/* A number in the heads replaced. */
static enum status lie(const uint8_t *bytes, size_t n, size_t at, uint32_t value)
{
    uint8_t *copy = malloc(n);
    memcpy(copy, bytes, n);
    memcpy(copy + at, &value, 4);
    enum status status = survive(write_bytes("lie.avi", copy, n));
    free(copy);
    return status;
}

static size_t find(const uint8_t *bytes, size_t n, const char *code)
{
    const uint8_t *at = memmem(bytes, n, code, 4);
    assert_non_null(at);
    return (size_t)(at - bytes);
}

static void test_lies(void **state)
{
    (void)state;
    static const uint32_t values[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 8193};
    uint8_t *bytes;
    size_t n;
    clip_make(&bytes, &n, 9);
    size_t heads = find(bytes, n, "movi") + 12;
    for (size_t at = 0; at < heads; at += 4)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++)
            lie(bytes, n, at, values[v]);
    for (size_t at = find(bytes, n, "idx1") + 4; at + 4 <= n; at += 4)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++)
            lie(bytes, n, at, values[v]);
    /* A false number of frames changes nothing: they are counted. */
    size_t avih = find(bytes, n, "avih"), strh = find(bytes, n, "strh");
    for (uint32_t count = 1; count < 20; count += 6) {
        uint8_t *copy = malloc(n);
        memcpy(copy, bytes, n);
        memcpy(copy + avih + 8 + 16, &count, 4);
        memcpy(copy + strh + 8 + 32, &count, 4);
        expect_frames(write_bytes("count.avi", copy, n), 8, 9);
        free(copy);
    }
    /* The picture inside: other sides than the head's are the picture's; absurd ones are refused. */
    size_t ihdr = find(bytes, n, "IHDR");
    assert_int_equal(lie(bytes, n, ihdr + 4, 0xffffffff), BAD_INPUT);
    assert_int_equal(lie(bytes, n, ihdr + 8, 0), BAD_INPUT);
    free(bytes);
}

/* Bytes overwritten at pseudo-random places, in a clip of ours and in a real one. */
static void test_damage(void **state)
{
    (void)state;
    uint8_t *bytes, *copy;
    size_t n;
    uint32_t random = 1;
    clip_make(&bytes, &n, 9);
    copy = malloc(n);
    for (int round = 0; round < 200; round++) {
        memcpy(copy, bytes, n);
        for (int i = 0; i < 8; i++) {
            random = random * 1664525 + 1013904223;
            copy[(random >> 8) % n] = (uint8_t)(random >> 3);
        }
        survive(write_bytes("damage.avi", copy, n));
    }
    free(copy);
    free(bytes);
}

static void test_damage_real(void **state)
{
    (void)state;
    char path[SHARED_PATH], *bytes;
    size_t n;
    struct error err = {0};
    if (!shared_path(path, sizeof path, "data/video/sample_demo_3.mp4"))
        shared_skip("data/video/sample_demo_3.mp4");
    assert_int_equal(file_read(&bytes, &n, path, 1u << 24, &err), OK);
    for (int part = 1; part < 8; part++)
        expect_refused(write_bytes("cut.mp4", bytes, n * (size_t)part / 8), "");
    expect_refused(write_bytes("cut.mp4", bytes, n - 1), "");
    uint32_t random = 7;
    char *copy = malloc(n);
    for (int round = 0; round < 4; round++) {
        memcpy(copy, bytes, n);
        for (int i = 0; i < 40; i++) {
            random = random * 1664525 + 1013904223;
            copy[(random >> 8) % n] = (char)(random >> 3);
        }
        survive(write_bytes("damage.mp4", copy, n));
    }
    free(copy);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lossless, setup, teardown),
        cmocka_unit_test(test_indices),
        cmocka_unit_test(test_encoder),
        cmocka_unit_test(test_real_1),
        cmocka_unit_test(test_real_3),
        cmocka_unit_test_setup_teardown(test_no_clips, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_short, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_real, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
