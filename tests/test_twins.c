/* The twins in their benchmarks' own formats: pairs and rotations, balance, ten people's answers, golds that
 * the scenes bear out. */
#define _XOPEN_SOURCE 700 /* mkdtemp, nftw */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "../datasets/mini/suite.h"
#include "../datasets/mini/world.h"

#include <cmocka.h>

#include "twins.h"

enum { SPARE_PICTURE = 100000 }; /* as in suite_twin.h */

/* ---- reading -------------------------------------------------------------------------------- */

/* A document of root, or a list of the lines of a .jsonl. */
static json_t *load(const char *name)
{
    size_t size, n = strlen(name);
    char *text = read_file(root, name, &size);
    json_t *document = NULL;
    if (strcmp(name + n - 6, ".jsonl") == 0) {
        document = json_array();
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
            json_array_append_new(document, json_loads(line, JSON_REJECT_DUPLICATES, NULL));
    } else {
        document = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    }
    if (!document)
        fail_msg("%s is no JSON", name);
    free(text);
    return document;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text)
        fail_msg("no text \"%s\"", key);
    return text;
}

static int int_of(const json_t *object, const char *key)
{
    assert_true(json_is_integer(json_object_get(object, key)));
    return (int)json_integer_value(json_object_get(object, key));
}

/* LLaVA's text: the question and this suffix behind it. */
static void split_suffix(char question[512], const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    assert_true(n > m && n - m < 512);
    assert_string_equal(text + n - m, suffix);
    memcpy(question, text, n - m);
    question[n - m] = '\0';
}

static const char word_suffix[] = "\nAnswer the question using a single word or phrase.";
static const char letter_suffix[] = "\nAnswer with the option's letter from the given choices directly.";

/* A picture in memory against a scene. */
static int shows(const void *png, size_t size, const struct scene *scene)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_memory(&image, png, size));
    assert_int_equal(image.width, WORLD_CANVAS);
    assert_int_equal(image.height, WORLD_CANVAS);
    assert_int_equal(image.format, PNG_FORMAT_RGB);
    size_t n = scene_rgb_bytes(scene);
    uint8_t *seen = malloc(n), *drawn = malloc(n);
    assert_true(png_image_finish_read(&image, NULL, seen, 0, NULL));
    scene_render(drawn, scene);
    int same = memcmp(seen, drawn, n) == 0;
    free(seen);
    free(drawn);
    return same;
}

/* The scene, or one of its spares, that the file shows. */
static void scene_of(struct scene *scene, const char *file, const char *suite, int picture, int numbers)
{
    size_t size;
    char *png = read_file(root, file, &size);
    int spare = 0;
    for (; spare < 20; spare++) {
        draw(scene, suite, picture + spare * SPARE_PICTURE, numbers);
        if (shows(png, size, scene))
            break;
    }
    free(png);
    if (spare == 20)
        fail_msg("%s shows another scene", file);
}

/* Ten answers of people: how many say what most say, which goes to *top. */
static int people_agree(const char **top, const json_t *answers)
{
    int most = 0;
    assert_int_equal(json_array_size(answers), 10);
    for (size_t i = 0; i < 10; i++) {
        const json_t *one = json_array_get(answers, i);
        const char *said = json_is_string(one) ? json_string_value(one) : text_of(one, "answer");
        int n = 0;
        for (size_t k = 0; k < 10; k++) {
            const json_t *other = json_array_get(answers, k);
            n += strcmp(said, json_is_string(other) ? json_string_value(other) : text_of(other, "answer")) ==
                 0;
        }
        if (n > most) {
            most = n;
            *top = said;
        }
    }
    assert_in_range(most, 7, 10);
    return most;
}

/* ---- mini-mme ------------------------------------------------------------------------------- */

static void test_mme_asks_in_pairs(void **state)
{
    (void)state;
    json_t *rows = load("mini-mme/llava_mme.jsonl");
    size_t n = json_array_size(rows);
    int lean[10] = {0}, n_category[2] = {0};
    assert_int_equal(n, 2 * (size_t)suite_pictures("mini-mme"));
    for (size_t i = 0; i < n; i += 2) {
        char lines[2][512], question[2][512], answer[2][8], file[128], path[160];
        const char *image = text_of(json_array_get(rows, i), "image");
        snprintf(file, sizeof file, "mini-mme/MME_Benchmark_release_version/%s", image);
        snprintf(path, sizeof path, "%.*s.txt", (int)strlen(file) - 4, file);
        size_t size;
        char *text = read_file(root, path, &size);
        assert_int_equal(sscanf(text, "%511[^\t]\t%7[^\n]\n%511[^\t]\t%7[^\n]\n", lines[0], answer[0],
                                lines[1], answer[1]),
                         4);
        free(text);
        assert_string_not_equal(answer[0], answer[1]);
        for (int k = 0; k < 2; k++) {
            const json_t *row = json_array_get(rows, i + (size_t)k);
            assert_string_equal(text_of(row, "image"), image);
            assert_string_equal(text_of(row, "question_id"), image);
            split_suffix(question[k], text_of(row, "text"), word_suffix);
            char official[560];
            snprintf(official, sizeof official, "%s Please answer yes or no.", question[k]);
            assert_string_equal(lines[k], official);
            assert_true(strcmp(answer[k], "Yes") == 0 || strcmp(answer[k], "No") == 0);
        }
        const char *category = text_of(json_array_get(rows, i), "category");
        assert_int_equal(strncmp(image, category, strlen(category)), 0);
        struct scene scene;
        scene_of(&scene, file, "mini-mme", (int)(i / 2), 100);
        for (int k = 0; k < 2; k++) {
            int yes = strcmp(answer[k], "Yes") == 0;
            if (strcmp(category, "existence") == 0) {
                assert_int_equal(yes, objects_meant(question[k], &scene) != 0);
                n_category[0]++;
            } else if (strcmp(category, "color") == 0) { /* with its color the phrase still fits, or not */
                assert_int_equal(yes, objects_meant(question[k], &scene) != 0);
                n_category[1]++;
            } else if (strcmp(category, "count") == 0) {
                int asked = question[k][strlen("Are there ")] - '0';
                assert_int_equal(yes, count_of(objects_meant(question[k], &scene)) == asked);
                lean[asked] += yes ? 1 : -1;
            }
        }
    }
    for (int v = 2; v < 5; v++) /* greater counts are too few to tell anything */
        assert_in_range(lean[v] + 4, 0, 8);
    assert_int_equal(n_category[0], 50);
    assert_int_equal(n_category[1], 50);
    json_decref(rows);
}

/* ---- mini-mmbench --------------------------------------------------------------------------- */

enum {
    INDEX,
    QUESTION,
    HINT,
    OPTION,
    ANSWER = OPTION + 4,
    CATEGORY,
    IMAGE,
    SOURCE,
    L2,
    COMMENT,
    SPLIT,
    COLUMNS
};

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strchr(digits, c);
    assert_true(c && at);
    return (int)(at - digits);
}

static uint8_t *base64_decode(const char *text, size_t *size)
{
    size_t n = strlen(text);
    assert_int_equal(n % 4, 0);
    uint8_t *bytes = malloc(n / 4 * 3);
    *size = n / 4 * 3;
    for (size_t i = 0; i < n; i += 4) {
        int pads = text[i + 2] == '=' ? 2 : text[i + 3] == '=';
        assert_true(pads == 0 || i + 4 == n);
        int group = base64_value(text[i]) << 18 | base64_value(text[i + 1]) << 12;
        group |= pads < 2 ? base64_value(text[i + 2]) << 6 : 0;
        group |= pads < 1 ? base64_value(text[i + 3]) : 0;
        for (size_t k = 0; k < 3; k++)
            bytes[i / 4 * 3 + k] = (uint8_t)(group >> (16 - 8 * (int)k));
        *size -= (size_t)pads;
    }
    return bytes;
}

/* Cuts the table into its cells: [n rows][COLUMNS], which point into the text. */
static char *(*table_cut(char *text, int *n))[COLUMNS]
{
    char *(*cells)[COLUMNS] = malloc(1000 * sizeof *cells);
    *n = 0;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        assert_true(*n < 1000);
        char *cell = line;
        for (int c = 0; c < COLUMNS; c++) {
            cells[*n][c] = cell;
            char *tab = strchr(cell, '\t');
            assert_int_equal(tab != NULL, c < COLUMNS - 1);
            if (tab)
                *tab = '\0';
            cell = tab ? tab + 1 : cell;
        }
        ++*n;
    }
    return cells;
}

static void check_mmbench(const char *name, const char *file)
{
    size_t size, png_size;
    int n, n_options[5] = {0}, letters[4] = {0}, n_hints = 0, count = suite_pictures(name);
    char path[96];
    snprintf(path, sizeof path, "%s/%s", name, file);
    char *text = read_file(root, path, &size);
    char *(*rows)[COLUMNS] = table_cut(text, &n);
    assert_string_equal(rows[0][L2], "l2-category");
    assert_string_equal(rows[0][SPLIT], "split");
    for (int r = 1; r < n; r++) {
        int index = atoi(rows[r][INDEX]), pass = index / 1000000,
            first = index % 1000000 - atoi(rows[1][INDEX]);
        char **base = rows[1 + first];
        int options = 0, right = rows[r][ANSWER][0] - 'A';
        while (options < 4 && *base[OPTION + options])
            options++;
        assert_in_range(options, 2, 4);
        assert_true(pass < options);
        for (int i = 0; i < options; i++) /* the options of pass k stand k places to the right */
            assert_string_equal(rows[r][OPTION + (i + pass) % options], base[OPTION + i]);
        assert_int_equal(right, (base[ANSWER][0] - 'A' + pass) % options);
        assert_string_equal(rows[r][QUESTION], base[QUESTION]);
        assert_string_equal(rows[r][HINT], base[HINT]);
        assert_string_equal(rows[r][IMAGE], base[IMAGE]);
        assert_string_equal(rows[r][SPLIT], "dev");
        n_options[options] += pass == 0;
        n_hints += pass == 0 && *base[HINT];
        letters[right] += options == 4;
        if (pass > 0)
            continue;
        assert_int_equal(first, r - 1);
        uint8_t *png = base64_decode(base[IMAGE], &png_size);
        struct scene scene;
        int spare = 0;
        do
            draw(&scene, name, first + spare * SPARE_PICTURE, 30);
        while (!shows(png, png_size, &scene) && ++spare < 20);
        assert_true(spare < 20);
        check_gold(base[QUESTION], base[OPTION + right], &scene);
        free(png);
    }
    assert_int_equal(n_options[2] + n_options[3] + n_options[4], count);
    assert_int_equal(n - 1, 2 * n_options[2] + 3 * n_options[3] + 4 * n_options[4]);
    for (int o = 2; o <= 4; o++)
        assert_true(n_options[o] >= count / 4);
    for (int l = 0; l < 4; l++)
        assert_int_equal(letters[l], n_options[4]);
    assert_in_range(n_hints, count / 8, count / 2);
    free(rows);
    free(text);
}

static void test_mmbench_rotates_its_options(void **state)
{
    (void)state;
    check_mmbench("mini-mmbench", "mmbench_dev_20230712.tsv");
    check_mmbench("mini-mmbench-cn", "mmbench_dev_cn_20231003.tsv");
}

/* ---- mini-scienceqa and mini-seed ----------------------------------------------------------- */

static void test_scienceqa_has_questions_without_a_picture(void **state)
{
    (void)state;
    json_t *problems = load("mini-scienceqa/problems.json"), *splits = load("mini-scienceqa/pid_splits.json");
    json_t *list = load("mini-scienceqa/llava_test_CQM-A.json");
    size_t n = json_array_size(list);
    int n_text = 0, letters[5][4] = {{0}};
    assert_int_equal(json_object_size(problems), n);
    assert_int_equal(json_array_size(json_object_get(splits, "test")), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(list, i);
        const char *id = text_of(entry, "id");
        const json_t *problem = json_object_get(problems, id), *choices = json_object_get(problem, "choices");
        const json_t *turns = json_object_get(entry, "conversations");
        int right = int_of(problem, "answer"), options = (int)json_array_size(choices);
        const char *hint = text_of(problem, "hint"), *question = text_of(problem, "question");
        const char *said = json_string_value(json_array_get(choices, (size_t)right));
        const char letter[2] = {(char)('A' + right), '\0'};
        assert_string_equal(text_of(json_array_get(turns, 1), "value"), letter);
        assert_string_equal(text_of(problem, "split"), "test");
        letters[options][right]++;
        char value[1024], file[96];
        int has_picture = json_object_get(entry, "image") != NULL;
        int length = snprintf(value, sizeof value, "%s%s%s%s%s", has_picture ? "<image>\n" : "",
                              *hint ? "Context: " : "", hint, *hint ? "\n" : "", question);
        for (int o = 0; o < options; o++)
            length += snprintf(value + length, sizeof value - (size_t)length, "\n%c. %s", 'A' + o,
                               json_string_value(json_array_get(choices, (size_t)o)));
        assert_string_equal(text_of(json_array_get(turns, 0), "value"), value);
        if (has_picture) {
            struct scene scene;
            snprintf(file, sizeof file, "mini-scienceqa/images/test/%s/image.png", id);
            scene_of(&scene, file, "mini-scienceqa", (int)i / 2, 30);
            check_gold(question, said, &scene);
        } else { /* "What color is the star?": the hint says "The star is red." */
            const char *subject = strstr(question, " is the ") + 8;
            char statement[128];
            snprintf(statement, sizeof statement, "The %.*s is %s.", (int)strcspn(subject, "?"), subject,
                     said);
            assert_non_null(strstr(hint, statement));
            assert_true(json_is_null(json_object_get(problem, "image")));
            n_text++;
        }
    }
    assert_int_equal(n_text, n / 2);
    for (int o = 2; o <= 4; o++)
        for (int l = 0; l < o; l++)
            assert_in_range(letters[o][l] * o, (int)n / 3 - 16, (int)n / 3 + 16);
    json_decref(problems);
    json_decref(splits);
    json_decref(list);
}

static void test_seed_has_four_options(void **state)
{
    (void)state;
    json_t *official = load("mini-seed/SEED-Bench.json"), *rows = load("mini-seed/llava-seed-bench.jsonl");
    const json_t *questions = json_object_get(official, "questions");
    size_t n = json_array_size(questions);
    int letters[4] = {0}, types[13] = {0}, n_checked = 0;
    assert_int_equal(json_array_size(rows), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *q = json_array_get(questions, i), *row = json_array_get(rows, i);
        char text[1024], file[96], id[16];
        int right = text_of(q, "answer")[0] - 'A', type = int_of(q, "question_type_id");
        assert_in_range(right, 0, 3);
        letters[right]++;
        types[type]++;
        snprintf(text, sizeof text, "%s\nA. %s\nB. %s\nC. %s\nD. %s%s", text_of(q, "question"),
                 text_of(q, "choice_a"), text_of(q, "choice_b"), text_of(q, "choice_c"),
                 text_of(q, "choice_d"), letter_suffix);
        assert_string_equal(text_of(row, "text"), text);
        snprintf(id, sizeof id, "%d", int_of(row, "question_id"));
        assert_string_equal(text_of(q, "question_id"), id);
        assert_int_equal(int_of(json_object_get(official, "question_type"), text_of(row, "category")), type);
        snprintf(file, sizeof file, "SEED-Bench-image/%s", text_of(q, "data_id"));
        assert_string_equal(text_of(row, "image"), file);
        int picture = atoi(text_of(q, "data_id")) - 1000001;
        struct scene scene;
        draw(&scene, "mini-seed", picture, 60);
        const char key[9] = {'c', 'h', 'o', 'i', 'c', 'e', '_', (char)('a' + right), '\0'};
        n_checked += check_gold(text_of(q, "question"), text_of(q, key), &scene);
    }
    assert_true(n_checked > (int)n / 2);
    for (int l = 0; l < 4; l++)
        assert_in_range(letters[l], (int)n / 4 - 6, (int)n / 4 + 6);
    for (int t = 1; t <= 9; t++)
        assert_int_equal(types[t] > 0, t != 7 && t != 8);
    json_decref(official);
    json_decref(rows);
}

/* ---- ten people ----------------------------------------------------------------------------- */

static void test_textvqa_reads_numbers(void **state)
{
    (void)state;
    json_t *official = load("mini-textvqa/TextVQA_0.5.1_val.json");
    json_t *rows = load("mini-textvqa/llava_textvqa_val_v051_ocr.jsonl");
    const json_t *data = json_object_get(official, "data");
    size_t n = json_array_size(data);
    int n_unanimous = 0, picture = -1, n_yes = 0, n_no = 0;
    const char *last = "";
    assert_int_equal(json_array_size(rows), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *q = json_array_get(data, i), *row = json_array_get(rows, i);
        const char *image = text_of(q, "image_id"), *gold, *lower = text_of(q, "question");
        char text[512], question[512], name[64];
        assert_int_equal(strlen(image), 16);
        assert_string_equal(text_of(row, "question_id"), image);
        snprintf(name, sizeof name, "%s.png", image);
        assert_string_equal(text_of(row, "image"), name);
        split_suffix(text, text_of(row, "text"), word_suffix);
        const char *marker = strchr(text, '\n');
        assert_non_null(marker);
        assert_true(starts(marker, "\nReference OCR token: "));
        snprintf(question, sizeof question, "%.*s", (int)(marker - text), text);
        assert_int_equal(question[0] + 'a' - 'A', lower[0]);
        assert_string_equal(question + 1, lower + 1);
        n_unanimous += people_agree(&gold, json_object_get(q, "answers")) == 10;
        picture += strcmp(last, image) != 0;
        last = image;
        struct scene scene;
        draw(&scene, "mini-textvqa", picture, 100);
        if (!check_gold(question, gold, &scene)) {
            n_yes += strcmp(gold, "yes") == 0;
            n_no += strcmp(gold, "no") == 0;
        } else {
            assert_non_null(strstr(marker, gold));
        }
    }
    assert_in_range(n_unanimous, (int)n / 3, (int)n * 2 / 3);
    assert_in_range(n_yes - n_no + 4, 0, 8);
    json_decref(official);
    json_decref(rows);
}

static void test_vqav2_and_vizwiz_have_ten_answers(void **state)
{
    (void)state;
    json_t *questions = load("mini-vqav2/v2_OpenEnded_mscoco_val2014_questions.json");
    json_t *annotations = load("mini-vqav2/v2_mscoco_val2014_annotations.json");
    const json_t *asked = json_object_get(questions, "questions");
    const json_t *answered = json_object_get(annotations, "annotations");
    size_t n = json_array_size(asked);
    const char *gold;
    struct scene scene;
    int n_checked = 0, n_yes = 0, n_no = 0, kinds[3] = {0};
    assert_int_equal(json_array_size(answered), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *q = json_array_get(asked, i), *a = json_array_get(answered, i);
        assert_int_equal(int_of(q, "question_id"), int_of(a, "question_id"));
        assert_int_equal(int_of(q, "question_id") / 1000, int_of(q, "image_id"));
        people_agree(&gold, json_object_get(a, "answers"));
        assert_string_equal(gold, text_of(a, "multiple_choice_answer"));
        draw(&scene, "mini-vqav2", (int_of(q, "image_id") - 101) / 13, 40);
        n_checked += check_gold(text_of(q, "question"), gold, &scene);
        const char *kind = text_of(a, "answer_type");
        kinds[*kind == 'y' ? 0 : *kind == 'n' ? 1 : 2]++;
        n_yes += strcmp(gold, "yes") == 0;
        n_no += strcmp(gold, "no") == 0;
    }
    assert_true(n_checked > (int)n * 2 / 5);
    assert_in_range(n_yes - n_no + 8, 0, 16);
    assert_true(kinds[0] > 50 && kinds[1] > 50 && kinds[2] > 50);
    json_decref(questions);
    json_decref(annotations);

    json_t *list = load("mini-vizwiz/val.json");
    int n_unanswerable[2] = {0};
    n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        const json_t *q = json_array_get(list, i);
        char file[96];
        int answerable = int_of(q, "answerable");
        people_agree(&gold, json_object_get(q, "answers"));
        snprintf(file, sizeof file, "mini-vizwiz/val/%s", text_of(q, "image"));
        scene_of(&scene, file, "mini-vizwiz", (int)i, 60);
        if (answerable) {
            assert_true(check_gold(text_of(q, "question"), gold, &scene));
        } else {
            assert_string_equal(gold, "unanswerable");
            assert_int_equal(objects_meant(text_of(q, "question"), &scene), 0);
        }
        n_unanswerable[answerable]++;
    }
    assert_int_equal(n_unanswerable[0] * 3, n);
    json_decref(list);
}

/* ---- mini-mmvet and the clips --------------------------------------------------------------- */

static void test_mmvet_names_capabilities(void **state)
{
    (void)state;
    json_t *official = load("mini-mmvet/mm-vet.json"), *rows = load("mini-mmvet/llava-mm-vet.jsonl");
    int n_and = 0, n_or = 0;
    assert_int_equal(json_object_size(official), json_array_size(rows));
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        char id[16];
        assert_int_equal(int_of(row, "question_id"), i);
        snprintf(id, sizeof id, "v1_%d", (int)i);
        const json_t *entry = json_object_get(official, id);
        assert_string_equal(text_of(entry, "question"), text_of(row, "text"));
        assert_string_equal(text_of(entry, "imagename"), text_of(row, "image"));
        assert_null(strchr(text_of(row, "text"), '\n'));
        assert_in_range(json_array_size(json_object_get(entry, "capability")), 1, 2);
        n_and += strstr(text_of(entry, "answer"), "<AND>") != NULL;
        n_or += strstr(text_of(entry, "answer"), "<OR>") != NULL;
    }
    assert_true(n_and > 10 && n_or > 40);
    json_decref(official);
    json_decref(rows);
}

static void test_clips_have_one_mover(void **state)
{
    (void)state;
    static const char *const sets[4] = {"tgif", "msvd", "msrvtt", "activitynet"};
    for (int s = 0; s < 4; s++) {
        char name[64], last[64] = "", path[160];
        snprintf(name, sizeof name, "mini-%s/test_q.json", sets[s]);
        json_t *questions = load(name);
        snprintf(name, sizeof name, "mini-%s/test_a.json", sets[s]);
        json_t *answers = load(name);
        size_t n = json_array_size(questions), size;
        int n_clips = 0, types[9] = {0};
        assert_int_equal(json_array_size(answers), n);
        for (size_t i = 0; i < n; i++) {
            const json_t *q = json_array_get(questions, i), *a = json_array_get(answers, i);
            assert_string_equal(text_of(q, "question_id"), text_of(a, "question_id"));
            assert_in_range(int_of(a, "type"), 0, 8);
            types[int_of(a, "type")]++;
            const char *video = text_of(q, "video_name");
            if (strcmp(video, last) == 0)
                continue;
            snprintf(last, sizeof last, "%s", video);
            snprintf(path, sizeof path, "mini-%s/videos/%s%s.avi", sets[s], s == 3 ? "v_" : "", video);
            char *avi = read_file(root, path, &size);
            assert_memory_equal(avi, "RIFF", 4);
            assert_in_range(size, 10000, 300000);
            free(avi);
            n_clips++;
        }
        assert_int_equal(n_clips, 60);
        if (s == 0)
            assert_true(types[0] > 20 && types[1] > 20 && types[2] > 20 && types[3] > 20);
        if (s == 3)
            for (int t = 0; t < 9; t++)
                assert_int_equal(types[t] >= 10, t != 2);
        json_decref(questions);
        json_decref(answers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mme_asks_in_pairs),
        cmocka_unit_test(test_mmbench_rotates_its_options),
        cmocka_unit_test(test_scienceqa_has_questions_without_a_picture),
        cmocka_unit_test(test_seed_has_four_options),
        cmocka_unit_test(test_textvqa_reads_numbers),
        cmocka_unit_test(test_vqav2_and_vizwiz_have_ten_answers),
        cmocka_unit_test(test_mmvet_names_capabilities),
        cmocka_unit_test(test_clips_have_one_mover),
    };
    return cmocka_run_group_tests(tests, write_all, remove_directory);
}
