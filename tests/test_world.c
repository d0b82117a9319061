/* The miniature world and core/sha256.c: the same pixels every time, golds that the scenes bear out, answers
 * in balance. What is written to disk: test_suite.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h> /* libpng: reads back what our own encoder wrote */

#include "../core/sha256.h"
#include "../datasets/mini/png_encode.h"
#include "../datasets/mini/questions.h"
#include "../datasets/mini/world.h"

#include <cmocka.h>

static char err[512];

/* ---- helpers -------------------------------------------------------------------------------- */

static void draw(struct scene *scene, int canvas, const char *suite, int picture)
{
    assert_int_equal(scene_draw(scene, canvas, 0, suite, (uint64_t)picture, err, sizeof err), 0);
}

/* ---- sha256 --------------------------------------------------------------------------------- */

static void test_sha256_vectors(void **state)
{
    (void)state;
    char hex[65];
    sha256_hex(hex, "", 0);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_hex(hex, "abc", 3);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_hex(hex, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    struct sha256 sha; /* a million a's in uneven pieces */
    sha256_init(&sha);
    char piece[97];
    memset(piece, 'a', sizeof piece);
    for (size_t done = 0, take; done < 1000000; done += take) {
        take = done % sizeof piece + 1;
        take = take < 1000000 - done ? take : 1000000 - done;
        sha256_update(&sha, piece, take);
    }
    sha256_final(&sha, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* ---- pictures ------------------------------------------------------------------------------- */

static void hash_pictures(char hex[65], const char *suite, int canvas)
{
    struct sha256 sha;
    sha256_init(&sha);
    for (int i = 0; i < 20; i++) {
        struct scene scene;
        draw(&scene, canvas, suite, i);
        uint8_t *rgb = malloc(scene_rgb_bytes(&scene)), *bytes;
        size_t size;
        scene_render(rgb, &scene);
        assert_int_equal(png_encode(&bytes, &size, rgb, canvas, canvas, err, sizeof err), 0);
        sha256_update(&sha, bytes, size);
        free(bytes);
        free(rgb);
    }
    sha256_final(&sha, hex);
}

/* The hashes must hold on every machine and compiler; a change of the world is a new world. */
static void test_pictures_keep_their_bytes(void **state)
{
    (void)state;
    char hex[65];
    hash_pictures(hex, "mini-gqa", WORLD_CANVAS);
    assert_string_equal(hex, "13224759186a6ae14516a0fdebfde588bb889a16fa73d5bf6adcf5acd0e40957");
    hash_pictures(hex, "mini-pope", WORLD_CANVAS);
    assert_string_equal(hex, "d8dd45131da9a005aeb206a97559b2516f30e0cf27c7c211a194207426b32fd3");
    hash_pictures(hex, "train", 168);
    assert_string_equal(hex, "ac527a989cfbe818dc1acc5632da8caa2934ee3180d5ae04d8d0bf45d2bf3535");
}

static void check_png(const uint8_t *rgb, int width, int height)
{
    uint8_t *bytes;
    size_t size, n = (size_t)width * (size_t)height * 3;
    assert_int_equal(png_encode(&bytes, &size, rgb, width, height, err, sizeof err), 0);
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_memory(&image, bytes, size));
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    assert_int_equal(image.format, PNG_FORMAT_RGB);
    uint8_t *back = malloc(n);
    assert_true(png_image_finish_read(&image, NULL, back, 0, NULL));
    assert_memory_equal(back, rgb, n);
    free(back);
    free(bytes);
}

static void test_png_reads_back(void **state)
{
    (void)state;
    struct scene scene;
    uint8_t *rgb = malloc((size_t)WORLD_CANVAS * WORLD_CANVAS * 3);
    for (int i = 0; i < 10; i++) {
        draw(&scene, WORLD_CANVAS, "mini-gqa", i);
        scene_render(rgb, &scene);
        check_png(rgb, WORLD_CANVAS, WORLD_CANVAS);
    }
    struct world_rng rng = world_rng_start(1, "png", 0, 0);
    for (int i = 0; i < 70 * 70 * 3; i++) /* noise that does not shrink, then flat: every kind of code */
        rgb[i] = (uint8_t)world_rng_below(&rng, i < 70 * 35 * 3 ? 256 : 2);
    check_png(rgb, 70, 70);
    check_png(rgb, 1, 1);
    check_png(rgb, 1, 70);
    check_png(rgb, 70, 1);
    memset(rgb, 200, (size_t)WORLD_CANVAS * WORLD_CANVAS * 3);
    check_png(rgb, WORLD_CANVAS, WORLD_CANVAS);
    uint8_t *bytes;
    size_t size;
    assert_int_equal(png_encode(&bytes, &size, rgb, 0, 5, err, sizeof err), -1);
    assert_null(bytes);
    free(rgb);
}

/* ---- scenes --------------------------------------------------------------------------------- */

static void test_scenes_keep_their_distances(void **state)
{
    (void)state;
    for (int i = 0; i < 400; i++) {
        struct scene scene;
        int canvas = i % 2 ? 168 : WORLD_CANVAS;
        draw(&scene, canvas, "train", i);
        assert_in_range(scene.n_objects, i % 2 ? 1 : 3, i % 2 ? 4 : WORLD_MAX_OBJECTS);
        for (int a = 0; a < scene.n_objects; a++) {
            const struct object *p = &scene.objects[a];
            assert_true(p->x0 >= 3 && p->y0 >= 3);
            assert_true(p->x0 + p->edge <= canvas - 3 && p->y0 + p->edge <= canvas - 3);
            for (int b = 0; b < a; b++) {
                const struct object *q = &scene.objects[b];
                assert_true(p->x0 >= q->x0 + q->edge + 6 || q->x0 >= p->x0 + p->edge + 6 ||
                            p->y0 >= q->y0 + q->edge + 6 || q->y0 >= p->y0 + p->edge + 6);
            }
        }
    }
}

static void test_labels_belong_to_objects(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct scene scene;
        int canvas = i % 2 ? 168 : WORLD_CANVAS, grid = canvas / WORLD_PATCH;
        draw(&scene, canvas, "train", i);
        uint8_t owner[WORLD_GRID_MAX * WORLD_GRID_MAX], coverage[WORLD_GRID_MAX * WORLD_GRID_MAX];
        scene_label(owner, coverage, &scene);
        int owned[WORLD_MAX_OBJECTS] = {0}, area[WORLD_MAX_OBJECTS] = {0}, anchors = 0;
        for (int a = 0; a < scene.n_objects; a++)
            assert_int_equal(owner[object_anchor(&scene.objects[a], grid)], a);
        for (int p = 0; p < grid * grid; p++) {
            if (owner[p] == WORLD_OWNER_BACKGROUND) {
                assert_int_equal(coverage[p], 0);
                continue;
            }
            if (owner[p] == WORLD_OWNER_AMBIGUOUS) {
                assert_in_range(coverage[p], 1, 30); /* below 12 % of 255 */
                continue;
            }
            assert_true(owner[p] < scene.n_objects);
            const struct object *o = &scene.objects[owner[p]];
            int x = p % grid * WORLD_PATCH, y = p / grid * WORLD_PATCH;
            assert_true(x < o->x0 + o->edge && x + WORLD_PATCH > o->x0);
            assert_true(y < o->y0 + o->edge && y + WORLD_PATCH > o->y0);
            anchors += coverage[p] < 31;
            owned[owner[p]]++;
            area[owner[p]] += coverage[p];
        }
        assert_true(anchors <= scene.n_objects); /* only a ring's hole may be owned without being covered */
        for (int a = 0; a < scene.n_objects; a++) { /* every shape fills a quarter to all of its box */
            int box = scene.objects[a].edge * scene.objects[a].edge * 255 / (WORLD_PATCH * WORLD_PATCH);
            assert_true(owned[a] >= 3);
            assert_true(area[a] > box / 5 && area[a] <= box + 255);
        }
    }
}

/* ---- questions: an own reading of the text, answered from the scene ------------------------- */

struct reading {
    unsigned fits[4]; /* objects that fit the noun phrases, in order */
    int n;
};

static int word_index(const char *word, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) {
        size_t length = strlen(names[i]);
        const char *rest = word + length;
        if (strncmp(word, names[i], length) == 0 && (!*rest || !strcmp(rest, "s") || !strcmp(rest, "es")))
            return i;
    }
    return -1;
}

static struct reading read_phrases(const struct scene *scene, const char *text)
{
    struct reading reading = {.n = 0};
    unsigned all = (1u << scene->n_objects) - 1, fits = all;
    for (const char *c = text; *c && *c != '\n';) {
        char word[32];
        size_t length = strcspn(c, " ?\n");
        assert_true(length < sizeof word);
        memcpy(word, c, length);
        word[length] = '\0';
        c += length + (c[length] == ' ' || c[length] == '?');
        int color = word_index(word, world_colors, WORLD_COLORS),
            shape = word_index(word, world_shapes, WORLD_SHAPES);
        int size = word_index(word, world_sizes, WORLD_SIZES),
            texture = word_index(word, world_textures, WORLD_TEXTURES);
        for (int i = 0; i < scene->n_objects; i++) {
            const struct object *o = &scene->objects[i];
            if ((color >= 0 && o->color != color) || (shape >= 0 && o->shape != shape) ||
                (size >= 0 && o->size != size) || (texture >= 0 && o->texture != texture))
                fits &= ~(1u << i);
        }
        int number = strcmp(word, "number") == 0, object = strncmp(word, "object", 6) == 0;
        if (shape >= 0 || object || number) {
            unsigned numbers = all >> scene_shapes(scene) << scene_shapes(scene);
            assert_true(reading.n < 4);
            assert_true(!object ||
                        (fits & numbers) == 0); /* "the red object" beside a red number: in doubt */
            reading.fits[reading.n++] = fits & (number ? numbers : ~numbers);
            fits = all;
        }
    }
    return reading;
}

static const struct object *only(const struct scene *scene, unsigned fits)
{
    assert_true(fits != 0 && (fits & (fits - 1)) == 0);
    int i = 0;
    while (!(fits >> i & 1))
        i++;
    return &scene->objects[i];
}

/* Whether a is, by its centre, further than b in the direction the word names. */
static int further(const char *word, const struct object *a, const struct object *b)
{
    int axis = !(strncmp(word, "left", 4) == 0 || strncmp(word, "right", 5) == 0);
    int sign = strncmp(word, "left", 4) == 0 || *word == 't' || *word == 'a' ? 1 : -1;
    return sign * (object_center2(b, axis) - object_center2(a, axis)) > 0;
}

static const char *expected_answer(const struct scene *scene, const struct question *q)
{
    static char number[8];
    struct reading reading = read_phrases(scene, q->text);
    int count = 0;
    for (unsigned bits = reading.fits[0]; bits; bits &= bits - 1)
        count++;
    snprintf(number, sizeof number, "%d", count);
    char key[32];
    snprintf(key, sizeof key, "%.*s", q->key.end - q->key.begin, q->text + q->key.begin);
    const struct object *a, *b, middle = {.x0 = 0, .y0 = 0, .edge = scene->canvas};
    int asks_color = strstr(q->text, "color") != NULL;
    switch (q->type) {
    case QUESTION_EXIST:
        return count ? "Yes" : "No";
    case QUESTION_COUNT:
        return number;
    case QUESTION_VERIFY_COUNT:
        return strcmp(key, number) == 0 ? "Yes" : "No";
    case QUESTION_UNANSWERABLE:
        return count ? "?" : "Unanswerable";
    case QUESTION_EXTREME:
        a = NULL;
        assert_true(count >= 2);
        for (int i = 0; i < scene->n_objects; i++)
            if ((reading.fits[0] >> i & 1) && (!a || further(key, &scene->objects[i], a)))
                a = &scene->objects[i];
        return asks_color ? world_colors[a->color] : world_shapes[a->shape];
    default:
        break;
    }
    a = only(scene, reading.fits[0]);
    switch (q->type) {
    case QUESTION_COLOR:
        return world_colors[a->color];
    case QUESTION_SHAPE:
        return world_shapes[a->shape];
    case QUESTION_SIZE:
        return world_sizes[a->size];
    case QUESTION_TEXTURE:
        return world_textures[a->texture];
    case QUESTION_NUMBER:
        snprintf(number, sizeof number, "%d", object_digit(a));
        return number;
    case QUESTION_VERIFY_COLOR:
        return strcmp(key, world_colors[a->color]) == 0 ? "Yes" : "No";
    case QUESTION_VERIFY_NUMBER:
        snprintf(number, sizeof number, "%d", object_digit(a));
        return strcmp(key, number) == 0 ? "Yes" : "No";
    case QUESTION_POS:
        return strstr(q->text, "left") ? (further("left", a, &middle) ? "left" : "right")
                                       : (further("top", a, &middle) ? "top" : "bottom");
    default:
        break;
    }
    b = only(scene, reading.fits[1]);
    assert_ptr_not_equal(a, b);
    switch (q->type) {
    case QUESTION_RELV:
        return further(key, a, b) ? "Yes" : "No";
    case QUESTION_RELC:
        return strstr(q->text, "left") ? (further("left", a, b) ? "left" : "right")
                                       : (further("above", a, b) ? "above" : "below");
    case QUESTION_SAME:
        return (asks_color ? a->color == b->color : a->shape == b->shape) ? "Yes" : "No";
    case QUESTION_LARGER:
        return a->edge > b->edge ? "Yes" : "No";
    default:
        return "?";
    }
}

/* Letters stand before distinct options; returns what the right one says. */
static const char *said_option(const struct question *q)
{
    static char said[QUESTION_OPTIONS][32];
    assert_in_range(q->n_options, 2, QUESTION_OPTIONS);
    int right = q->answer[0] - 'A';
    assert_in_range(right, 0, q->n_options - 1);
    for (int i = 0; i < q->n_options; i++) {
        struct span span = q->options[i].span;
        assert_int_equal(q->options[i].right, i == right);
        snprintf(said[i], sizeof said[i], "%.*s", span.end - span.begin, q->text + span.begin);
        assert_int_equal(q->text[span.begin - 4], '\n');
        assert_int_equal(q->text[span.begin - 3], 'A' + i);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(said[i], said[j]);
    }
    return said[right];
}

/* An mc question, by what its right option says. */
static void check_mc(const struct scene *scene, const struct question *q)
{
    struct reading reading = read_phrases(scene, q->text);
    const char *said = said_option(q);
    char expected[32];
    const struct object middle = {.edge = scene->canvas};
    if (strncmp(q->text, "How many", 8) == 0) {
        int count = 0;
        for (unsigned bits = reading.fits[0]; bits; bits &= bits - 1)
            count++;
        snprintf(expected, sizeof expected, "%d", count);
    } else {
        const struct object *a = only(scene, reading.fits[0]);
        const struct object *b = reading.n > 1 ? only(scene, reading.fits[1]) : &middle;
        if (strncmp(q->text, "Where", 5) == 0)
            snprintf(expected, sizeof expected, "%s %s", further("top", a, &middle) ? "top" : "bottom",
                     further("left", a, &middle) ? "left" : "right");
        else if (strncmp(q->text, "What is", 7) == 0)
            snprintf(expected, sizeof expected, "%d", object_digit(a));
        else if (strncmp(q->text, "What", 4) == 0)
            snprintf(expected, sizeof expected, "%s",
                     strstr(q->text, "color") ? world_colors[a->color] : world_shapes[a->shape]);
        else if (strstr(q->text, "left or"))
            snprintf(expected, sizeof expected, "%s", further("left", a, b) ? "left" : "right");
        else if (strstr(q->text, "above or"))
            snprintf(expected, sizeof expected, "%s", further("above", a, b) ? "above" : "below");
        else
            snprintf(expected, sizeof expected, "%s", further("top", a, b) ? "top" : "bottom");
    }
    assert_string_equal(said, expected);
}

/* A question about a context: the sentence "The star is red." about the thing asked for must stand there. */
static void check_text(const struct question *q)
{
    char statement[64];
    struct span name = q->phrases[0].text;
    snprintf(statement, sizeof statement, " The %.*s is %s.", name.end - name.begin, q->text + name.begin,
             said_option(q));
    assert_int_equal(strncmp(q->text, "Context: ", 9), 0);
    const char *found = strstr(q->text, statement);
    assert_true(found && found < strchr(q->text, '\n'));
}

static void test_golds_follow_from_scenes(void **state)
{
    (void)state;
    static struct question_ledger ledger;
    int weights[QUESTION_TYPES];
    for (int t = 0; t < QUESTION_TYPES; t++)
        weights[t] = 1;
    int asked[QUESTION_TYPES] = {0};
    for (int i = 0; i < 300; i++) {
        struct scene scene;
        assert_int_equal(scene_draw_numbers(&scene, i % 3 ? WORLD_CANVAS : 168, 0, "golds", (uint64_t)i, 50,
                                            err, sizeof err),
                         0);
        struct world_rng rng = world_rng_start(0, "golds", (uint64_t)i, 1);
        struct question questions[40];
        int n = questions_ask(questions, 40, &scene, &ledger, weights, &rng);
        for (int k = 0; k < n; k++) {
            const struct question *q = &questions[k];
            asked[q->type]++;
            for (int p = 0; p < q->n_phrases; p++) {
                assert_true(q->phrases[p].text.end > q->phrases[p].text.begin && q->phrases[p].n_words > 0);
                for (int w = 0; w < q->phrases[p].n_words; w++)
                    assert_true(q->phrases[p].words[w].end > q->phrases[p].words[w].begin);
            }
            assert_true(q->n_phrases > 0);
            if (q->type == QUESTION_TEXT) {
                check_text(q);
                continue; /* its phrase is about no object */
            }
            if (q->type == QUESTION_MC)
                check_mc(&scene, q);
            else if (strcmp(q->answer, expected_answer(&scene, q)) != 0)
                fail_msg("picture %d: %s: expected %s, found %s", i, q->text, expected_answer(&scene, q),
                         q->answer);
            struct reading reading = read_phrases(&scene, q->text);
            assert_int_equal(reading.n, q->n_phrases);
            for (int p = 0; p < q->n_phrases; p++)
                assert_int_equal(reading.fits[p], q->phrases[p].objects);
            for (int j = 0; j < k; j++)
                assert_string_not_equal(q->text, questions[j].text);
        }
    }
    for (int t = 0; t < QUESTION_TYPES; t++)
        assert_true(asked[t] > 150);
    for (int a = 0; a < QUESTION_PAIRS; a++) /* exist and verify: right and wrong keep step */
        assert_in_range(ledger.pairs[a][0] - ledger.pairs[a][1] + 5, 0, 10);
    for (int n = 2; n <= QUESTION_OPTIONS; n++) /* letters too, for every number of options */
        for (int i = 1; i < n; i++) {
            long difference = ledger.letters[QUESTION_MC][n][i] - ledger.letters[QUESTION_MC][n][0];
            assert_in_range(difference + 10, 0, 20);
        }
}

/* Numbers: as many as asked for, plain, no two of one color, behind all other objects; without them no
 * change. */
static void test_numbers_stand_among_objects(void **state)
{
    (void)state;
    int with = 0;
    uint8_t *one = malloc((size_t)WORLD_CANVAS * WORLD_CANVAS * 3);
    uint8_t *two = malloc((size_t)WORLD_CANVAS * WORLD_CANVAS * 3);
    for (int i = 0; i < 300; i++) {
        struct scene scene, plain, again;
        draw(&plain, WORLD_CANVAS, "numbers", i);
        assert_int_equal(
            scene_draw_numbers(&again, WORLD_CANVAS, 0, "numbers", (uint64_t)i, 0, err, sizeof err), 0);
        scene_render(one, &plain);
        scene_render(two, &again);
        assert_memory_equal(one, two, scene_rgb_bytes(&plain));
        assert_int_equal(plain.n_numbers, 0);
        assert_int_equal(
            scene_draw_numbers(&scene, WORLD_CANVAS, 0, "numbers", (uint64_t)i, 50, err, sizeof err), 0);
        assert_in_range(scene.n_numbers, 0, WORLD_MAX_NUMBERS);
        assert_in_range(scene.n_objects, 3, WORLD_MAX_OBJECTS);
        with += scene.n_numbers > 0;
        unsigned colors = 0;
        for (int k = 0; k < scene.n_objects; k++) {
            const struct object *o = &scene.objects[k];
            assert_int_equal(object_digit(o) >= 0, k >= scene_shapes(&scene));
            if (object_digit(o) < 0)
                continue;
            assert_true(object_digit(o) < WORLD_DIGITS && o->size >= 1 && o->texture == TEXTURE_PLAIN);
            assert_false(colors >> o->color & 1);
            colors |= 1u << o->color;
        }
    }
    assert_in_range(with, 120, 180);
    free(one);
    free(two);
}

/* The hint is a sentence about something else; OCR lists every number and one that is not there. */
static void test_hints_and_ocr(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct scene scene;
        struct world_rng rng = world_rng_start(0, "hints", (uint64_t)i, 1);
        assert_int_equal(
            scene_draw_numbers(&scene, WORLD_CANVAS, 0, "hints", (uint64_t)i, 100, err, sizeof err), 0);
        assert_true(scene.n_numbers > 0);
        char text[QUESTION_TEXT_SIZE];
        if (scene_hint_except(text, sizeof text, &scene, 1, &rng) == 0) {
            char *is = strstr(text, " is ");
            assert_non_null(is);
            *is = '\0';
            unsigned fits = read_phrases(&scene, text).fits[0];
            const struct object *o = only(&scene, fits);
            assert_ptr_not_equal(o, &scene.objects[0]);
            is[strlen(is + 4) + 3] = '\0'; /* the full stop */
            char digit[8];
            snprintf(digit, sizeof digit, "%d", object_digit(o));
            const char *said = is + 4;
            assert_true(!strcmp(said, digit) || !strcmp(said, world_colors[o->color]) ||
                        !strcmp(said, world_sizes[o->size]) || !strcmp(said, world_textures[o->texture]));
        }
        scene_ocr(text, sizeof text, &scene, &rng);
        assert_int_equal(strlen(text), 3 * (size_t)(scene.n_numbers + 1) - 2);
        unsigned listed = 0, there = 0;
        for (const char *c = text; *c; c++)
            if (*c >= '0' && *c <= '9')
                listed |= 1u << (*c - '0');
        for (int k = scene_shapes(&scene); k < scene.n_objects; k++)
            there |= 1u << object_digit(&scene.objects[k]);
        unsigned other = listed & ~there;
        assert_true((listed & there) == there && other != 0 && (other & (other - 1)) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_vectors),           cmocka_unit_test(test_pictures_keep_their_bytes),
        cmocka_unit_test(test_png_reads_back),           cmocka_unit_test(test_scenes_keep_their_distances),
        cmocka_unit_test(test_labels_belong_to_objects), cmocka_unit_test(test_numbers_stand_among_objects),
        cmocka_unit_test(test_golds_follow_from_scenes), cmocka_unit_test(test_hints_and_ocr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
