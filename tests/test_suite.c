/* The suites on disk: the same bytes every time, what the benchmarks' readers make of the twins, POPE's exact
 * balance, clips, the training dump. The formats themselves: test_twins.c. */
#define _XOPEN_SOURCE 700 /* mkdtemp, nftw */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/error.h"
#include "../core/sha256.h"
#include "../datasets/benchmark.h"
#include "../datasets/mini/clip.h"
#include "../datasets/mini/suite.h"
#include "../datasets/mini/world.h"
#include "../harness/choose.h"

#include <cmocka.h>

#include "twins.h"

/* ---- all suites ----------------------------------------------------------------------------- */

static char *twice[2]; /* the roots that are compared */
static int n_compared;

static int compare_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)walk;
    if (kind != FTW_F)
        return 0;
    const char *name = path + strlen(twice[0]) + 1;
    size_t n_one, n_two;
    char *a = read_file(twice[0], name, &n_one), *b = read_file(twice[1], name, &n_two);
    if (n_one != n_two || memcmp(a, b, n_one) != 0)
        fail_msg("%s differs", name);
    if (strstr(name, ".tmp"))
        fail_msg("%s was left behind", name);
    free(a);
    free(b);
    n_compared++;
    return 0;
}

static void test_suites_are_deterministic(void **state)
{
    char one[64], two[64], other[64];
    snprintf(one, sizeof one, "%s/one", (char *)*state);
    snprintf(two, sizeof two, "%s/two/deep//er", (char *)*state);
    snprintf(other, sizeof other, "%s/other", (char *)*state);
    char *roots[3] = {one, two, other};
    int n = 0;
    for (int r = 0; r < 3; r++)
        for (int i = 0; i == 0 || suite_twin_name(i - 1); i++) {
            const char *name = i ? suite_twin_name(i - 1) : "train";
            n = i + 1;
            if (suite_write(name, roots[r], r < 2 ? 5 : 6, 12, err, sizeof err) != 0)
                fail_msg("%s", err);
        }
    assert_int_equal(n, 16);
    twice[0] = one;
    twice[1] = two;
    n_compared = 0;
    assert_int_equal(nftw(one, compare_one, 8, FTW_PHYS), 0);
    assert_in_range(n_compared, 180, 400);
    static const char *const rows[] = {"questions.jsonl",
                                       "mini-pope/llava_pope_test.jsonl",
                                       "mini-gqa/testdev_balanced_questions.json",
                                       "mini-mme/llava_mme.jsonl",
                                       "mini-mmbench/mmbench_dev_20230712.tsv",
                                       "mini-scienceqa/problems.json",
                                       "mini-seed/SEED-Bench.json",
                                       "mini-textvqa/TextVQA_0.5.1_val.json",
                                       "mini-vizwiz/val.json",
                                       "mini-mmvet/mm-vet.json",
                                       "mini-tgif/test_q.json"};
    for (size_t f = 0; f < sizeof rows / sizeof rows[0]; f++) { /* another seed, another world */
        size_t n_one, n_other;
        char *a = read_file(one, rows[f], &n_one), *b = read_file(other, rows[f], &n_other);
        assert_true(n_one != n_other || memcmp(a, b, n_one) != 0);
        free(a);
        free(b);
    }
}

/* Results were published with these two: their files stay what they are. */
static void test_first_twins_keep_their_bytes(void **state)
{
    (void)state;
    static const char *const files[] = {
        "mini-pope/llava_pope_test.jsonl", "mini-pope/coco/coco_pope_adversarial.json",
        "mini-gqa/llava_gqa_testdev_balanced.jsonl", "mini-gqa/testdev_balanced_questions.json"};
    struct sha256 sha;
    sha256_init(&sha);
    for (int f = 0; f < 4; f++) {
        size_t size;
        char *bytes = read_file(root, files[f], &size);
        sha256_update(&sha, bytes, size);
        free(bytes);
    }
    char hex[65];
    sha256_final(&sha, hex);
    assert_string_equal(hex, "726721761fc0f8216f6d6c218c9d2566bad58aed7e2ed4ff0a60e9452b386944");
}

/* Every reader that is there: as many questions as planned, the true answers give the most, and either half
 * of a split has a fair share. */
static void test_readers_take_the_twins(void **state)
{
    (void)state;
    int n_read = 0;
    for (int i = 0; suite_twin_name(i); i++) {
        const char *name = suite_twin_name(i);
        struct error error = {0};
        struct dataset data;
        struct answers answers;
        json_t *figures;
        if (!benchmark_find(name, NULL))
            continue;
        if (benchmark_read(&data, name, &(struct benchmark_paths){.root = root}, &error) != OK)
            fail_msg("%s: %s", name, error.text);
        int is_first = strcmp(name, "mini-pope") == 0 || strcmp(name, "mini-gqa") == 0;
        assert_in_range(data.n, 200, is_first ? 1800 : 600);
        assert_true(data.has_gold);
        assert_int_equal(answers_new(&answers, &data, &error), OK);
        for (int row = 0; row < data.n; row++) {
            assert_non_null(data.samples[row].gold);
            /* Of a gold's alternatives the first; a part of one is none. */
            const char *gold = data.samples[row].gold, *last = gold;
            for (const char *at = gold; (at = strstr(at, "<OR>")); at += 4)
                last = at + 4;
            answers.text[row] = last;
        }
        if (benchmark_score(&figures, &data, &answers, PROTOCOL_OFFICIAL, &error) != OK)
            fail_msg("%s: %s", name, error.text);
        double most = strcmp(name, "mini-mme") == 0 ? 1200 : data.benchmark->scale; /* six categories */
        assert_float_equal(json_number_value(json_object_get(figures, "headline")), most, 1e-9);
        for (int half = 0; half < 2; half++) {
            int *rows, n;
            const struct choice choice = {.split = half ? SPLIT_CONFIRM : SPLIT_TUNE};
            assert_int_equal(choose_samples(&rows, &n, &data, &choice, &error), OK);
            assert_in_range(n, data.n * 3 / 10, data.n * 7 / 10);
            free(rows);
        }
        json_decref(figures);
        answers_free(&answers);
        dataset_close(&data);
        n_read++;
    }
    assert_true(n_read == 15);
}

/* ---- clips ---------------------------------------------------------------------------------- */

static void test_movers_keep_their_distance(void **state)
{
    (void)state;
    int planned = 0;
    for (int i = 0; i < 200; i++) {
        struct scene scene, first, second;
        struct clip clip;
        struct world_rng rng = world_rng_start(1, "clip", (uint64_t)i, 1);
        assert_int_equal(scene_draw(&scene, CLIP_CANVAS, 1, "clip", (uint64_t)i, err, sizeof err), 0);
        if (clip_plan(&clip, &scene, (enum clip_direction)(i % 4), &rng) != 0)
            continue;
        planned++;
        assert_in_range(clip.n_frames, CLIP_FRAMES_MIN, CLIP_FRAMES_MAX);
        for (int t = 0; t < clip.n_frames; t++) {
            clip_scene(&second, &clip, t);
            const struct object *a = &second.objects[clip.mover];
            assert_true(a->x0 >= 3 && a->y0 >= 3 && a->x0 + a->edge <= CLIP_CANVAS - 3 &&
                        a->y0 + a->edge <= CLIP_CANVAS - 3);
            for (int k = 0; k < second.n_objects; k++) {
                const struct object *b = &second.objects[k];
                assert_true(k == clip.mover || a->x0 >= b->x0 + b->edge + 6 || b->x0 >= a->x0 + a->edge + 6 ||
                            a->y0 >= b->y0 + b->edge + 6 || b->y0 >= a->y0 + a->edge + 6);
            }
        }
        clip_scene(&first, &clip, 0);
        const struct object *from = &first.objects[clip.mover], *to = &second.objects[clip.mover];
        int way = i % 4 == CLIP_LEFT    ? from->x0 - to->x0
                  : i % 4 == CLIP_RIGHT ? to->x0 - from->x0
                  : i % 4 == CLIP_UP    ? from->y0 - to->y0
                                        : to->y0 - from->y0;
        assert_true(way >= CLIP_WAY_MIN);
    }
    assert_true(planned > 100);
}

/* ---- mini-pope, the training dump, errors --------------------------------------------------- */

static void test_pope_is_balanced(void **state)
{
    enum { COUNT = 120 };
    static const char *const files[3] = {"adversarial", "random", "popular"};
    assert_int_equal(suite_write("mini-pope", *state, 0, COUNT, err, sizeof err), 0);
    for (int f = 0; f < 3; f++) {
        char name[64];
        snprintf(name, sizeof name, "mini-pope/coco/coco_pope_%s.json", files[f]);
        size_t size;
        char *lines = read_file(*state, name, &size);
        int lean[WORLD_COLORS][WORLD_SHAPES] = {0}, per_picture[COUNT + 1][2] = {0}, n = 0;
        for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
            int id, picture;
            char article[4], color[12], shape[12], label[4];
            assert_int_equal(
                sscanf(line,
                       "{\"question_id\": %d, \"image\": \"COCO_val2014_%d.png\", \"text\": \"Is there "
                       "%3s %11s %11s in the image?\", \"label\": \"%3[a-z]\"}",
                       &id, &picture, article, color, shape, label),
                6);
            assert_int_equal(id, ++n);
            assert_in_range(picture, 1, COUNT);
            int c = word_index(color, world_colors, WORLD_COLORS),
                s = word_index(shape, world_shapes, WORLD_SHAPES);
            int yes = strcmp(label, "yes") == 0, both = 0, has_color = 0, has_shape = 0;
            struct scene scene;
            draw(&scene, "mini-pope", picture - 1, 0);
            for (int i = 0; i < scene.n_objects; i++) {
                has_color |= scene.objects[i].color == c;
                has_shape |= scene.objects[i].shape == s;
                both |= scene.objects[i].color == c && scene.objects[i].shape == s;
            }
            assert_int_equal(yes, both);
            if (f == 0)
                assert_true(has_color && has_shape);
            lean[c][s] += yes ? 1 : -1;
            per_picture[picture][yes]++;
        }
        for (int a = 0; a < WORLD_COLORS * WORLD_SHAPES; a++)
            assert_int_equal(lean[a / WORLD_SHAPES][a % WORLD_SHAPES], 0);
        for (int i = 1; i <= COUNT; i++)
            assert_true(per_picture[i][0] <= 3 && per_picture[i][1] <= 3);
        assert_true(n > COUNT * 6 * 3 / 4); /* most of the six a picture survive the balance */
        free(lines);
    }
}

static void test_suite_says_what_is_wrong(void **state)
{
    char file[64];
    assert_int_equal(suite_write("mini-vqa", *state, 0, 1, err, sizeof err), -1);
    assert_non_null(strstr(err, "use one of mini-pope, mini-gqa, "));
    assert_int_equal(suite_write("mini-pope", *state, 0, 0, err, sizeof err), -1);
    assert_non_null(strstr(err, "found 0"));
    struct train_options options = {.count = 1, .canvas = 170};
    assert_int_equal(suite_write_train(*state, &options, err, sizeof err), -1);
    assert_non_null(strstr(err, "multiple of 14"));
    snprintf(file, sizeof file, "%s/file", (char *)*state);
    FILE *taken = fopen(file, "w");
    assert_non_null(taken);
    fclose(taken);
    assert_int_equal(suite_write("mini-gqa", file, 0, 1, err, sizeof err),
                     -1); /* a file where a directory must be */
    assert_non_null(strstr(err, "cannot make directory"));
}

static void test_windows_have_no_questions(void **state)
{
    struct train_options options = {.count = 7, .canvas = 168};
    assert_int_equal(suite_write_train(*state, &options, err, sizeof err), 0);
    size_t size;
    free(read_file(*state, "pictures.u8", &size));
    assert_int_equal(size, 7 * 168 * 168 * 3);
    free(read_file(*state, "owner.u8", &size));
    assert_int_equal(size, 7 * 12 * 12);
    char path[64];
    snprintf(path, sizeof path, "%s/questions.jsonl", (char *)*state);
    assert_int_not_equal(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/pictures.u8.tmp", (char *)*state);
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_suites_are_deterministic, make_directory, remove_directory),
        cmocka_unit_test(test_first_twins_keep_their_bytes),
        cmocka_unit_test(test_readers_take_the_twins),
        cmocka_unit_test(test_movers_keep_their_distance),
        cmocka_unit_test_setup_teardown(test_pope_is_balanced, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_suite_says_what_is_wrong, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_windows_have_no_questions, make_directory, remove_directory),
    };
    return cmocka_run_group_tests(tests, write_all, remove_directory);
}
