/*
 * mini-mme: MME's folders with a picture and two lines beside it, and LLaVA's question file. Each picture
 * belongs to one of six categories and has two questions about the same thing, one to be answered by Yes and
 * one by No:
 *
 *   existence               Is there a red star in the image?   … a blue star …
 *   count                   Are there 3 stars in the image?     … 2 stars …
 *   position                Is the star above the red ring?     … below …
 *   color                   Is the star red?                    … blue?
 *   OCR                     Is the red number 7?                … 4?
 *   commonsense_reasoning   Is the star the same color as the ring?  … as the heart?  Is A larger than B?  …
 *
 * Every value asked for ("red star", "3", "blue", "left of") is kept as often right as wrong. A scene that
 * does not bear its category is replaced by a spare one.
 */
#include "forms.h"
#include "phrase.h"
#include "questions.h"
#include "suite_files.h"
#include "suite_twin.h"
#include "world.h"

#include <stdio.h>  /* fprintf */
#include <string.h> /* strcmp */

enum { CANDIDATES = 60, NOISE = 3, SPARES = 20, VALUES = WORLD_COLORS * WORLD_SHAPES };
enum { PAIR_TEXT_SIZE = 4 * QUESTION_TEXT_SIZE };

struct pair {
    char yes[PAIR_TEXT_SIZE], no[PAIR_TEXT_SIZE];
    int right, wrong; /* the values asked for */
};

/* One candidate; -1 if the draw does not come off. lean: how often each value was right less how often it was
 * wrong. */
typedef int pair_build(struct pair *pair, const struct scene *scene, const long lean[VALUES],
                       struct world_rng *rng);

static int build(struct question *q, enum form form, const struct scene *scene, struct world_rng *rng)
{
    *q = (struct question){.type = question_forms[form].type, .form = (int)form};
    return question_forms[form].build(q, scene, rng);
}

/* The question with other words in a span. */
static void replace(char text[PAIR_TEXT_SIZE], const struct question *q, struct span span, const char *words)
{
    snprintf(text, PAIR_TEXT_SIZE, "%.*s%s%s", span.begin, q->text, words, q->text + span.end);
}

/* Of the values in the set the one that was right most often; they are fewer than 64. */
static int wrong_value(uint64_t set, const long lean[VALUES], struct world_rng *rng)
{
    int best = -1, n_best = 0;
    for (int v = 0; v < VALUES; v++) {
        if (!(set >> v & 1) || (best >= 0 && lean[v] < lean[best]))
            continue;
        n_best = best >= 0 && lean[v] == lean[best] ? n_best + 1 : 1;
        if (world_rng_below(rng, n_best) == 0)
            best = v;
    }
    return best;
}

static int build_existence(struct pair *pair, const struct scene *scene, const long lean[VALUES],
                           struct world_rng *rng)
{
    static const char *const form = "Is there a%s %s %s in the image?";
    const struct object *o = &scene->objects[random_object(scene, rng)];
    uint64_t present = 0, near = 0;
    for (int i = 0; i < scene_shapes(scene); i++) {
        const struct object *other = &scene->objects[i];
        present |= UINT64_C(1) << (other->color * WORLD_SHAPES + other->shape);
        near |= UINT64_C(1) << (o->color * WORLD_SHAPES + other->shape);
        near |= UINT64_C(1) << (other->color * WORLD_SHAPES + o->shape);
    }
    pair->right = o->color * WORLD_SHAPES + o->shape;
    pair->wrong = wrong_value(near & ~present, lean, rng);
    if (pair->wrong < 0)
        return -1;
    for (int yes = 0; yes < 2; yes++) {
        int value = yes ? pair->right : pair->wrong;
        const char *color = world_colors[value / WORLD_SHAPES];
        snprintf(yes ? pair->yes : pair->no, PAIR_TEXT_SIZE, form, *color == 'o' ? "n" : "", color,
                 world_shapes[value % WORLD_SHAPES]);
    }
    return 0;
}

static int build_counts(struct pair *pair, const struct scene *scene, const long lean[VALUES],
                        struct world_rng *rng)
{
    struct question q;
    enum form form = world_rng_below(rng, 2) ? FORM_VERIFY_COUNT_SHAPE : FORM_VERIFY_COUNT_COLOR;
    if (build(&q, form, scene, rng) != 0 || q.n_targets < 2)
        return -1;
    uint64_t near = 0;
    for (int n = q.n_targets - 2; n <= q.n_targets + 2; n++)
        if (n >= 2 && n <= 9 && n != q.n_targets)
            near |= UINT64_C(1) << n;
    pair->right = q.n_targets;
    pair->wrong = wrong_value(near, lean, rng);
    replace(pair->yes, &q, q.key, phrase_digits[pair->right]);
    replace(pair->no, &q, q.key, phrase_digits[pair->wrong]);
    return 0;
}

static int build_position(struct pair *pair, const struct scene *scene, const long lean[VALUES],
                          struct world_rng *rng)
{
    static const char *const words[4] = {"left", "right", "above", "below"};
    (void)lean;
    struct question q;
    int relation = world_rng_below(rng, 4);
    if (build(&q, (enum form)(FORM_RELV_LEFT + relation), scene, rng) != 0)
        return -1;
    int is_right = strcmp(q.answer, "Yes") == 0;
    pair->right = is_right ? relation : relation ^ 1;
    pair->wrong = pair->right ^ 1;
    replace(pair->yes, &q, q.key, words[pair->right]);
    replace(pair->no, &q, q.key, words[pair->wrong]);
    return 0;
}

static int build_colors(struct pair *pair, const struct scene *scene, const long lean[VALUES],
                        struct world_rng *rng)
{
    struct question q;
    if (build(&q, FORM_VERIFY_COLOR, scene, rng) != 0)
        return -1;
    uint64_t near = 0;
    for (int i = 0; i < scene->n_objects; i++)
        near |= UINT64_C(1) << scene->objects[i].color;
    pair->right = scene->objects[q.targets[0]].color;
    pair->wrong = wrong_value(near & ~(UINT64_C(1) << pair->right), lean, rng);
    if (pair->wrong < 0)
        return -1;
    replace(pair->yes, &q, q.key, world_colors[pair->right]);
    replace(pair->no, &q, q.key, world_colors[pair->wrong]);
    return 0;
}

static int build_digits(struct pair *pair, const struct scene *scene, const long lean[VALUES],
                        struct world_rng *rng)
{
    struct question q;
    if (build(&q, FORM_VERIFY_NUMBER, scene, rng) != 0)
        return -1;
    pair->right = object_digit(&scene->objects[q.targets[0]]);
    pair->wrong = wrong_value(((UINT64_C(1) << WORLD_DIGITS) - 1) & ~(UINT64_C(1) << pair->right), lean, rng);
    replace(pair->yes, &q, q.key, phrase_digits[pair->right]);
    replace(pair->no, &q, q.key, phrase_digits[pair->wrong]);
    return 0;
}

/* Swapped phrases for "larger"; for "same" another object in the second place. Both make a value of their
 * own that is always even. */
static int build_reasoning(struct pair *pair, const struct scene *scene, const long lean[VALUES],
                           struct world_rng *rng)
{
    static const enum form forms[3] = {FORM_SAME_COLOR, FORM_SAME_SHAPE, FORM_LARGER};
    (void)lean;
    struct question q, other;
    enum form form = forms[world_rng_below(rng, 3)];
    pair->right = pair->wrong = (int)form;
    if (build(&q, form, scene, rng) != 0)
        return -1;
    int yes = strcmp(q.answer, "Yes") == 0;
    char *same = yes ? pair->yes : pair->no, *opposite = yes ? pair->no : pair->yes;
    snprintf(same, PAIR_TEXT_SIZE, "%s", q.text);
    struct span a = q.phrases[0].text, b = q.phrases[1].text;
    if (form == FORM_LARGER) {
        struct span between = {a.end, b.begin};
        snprintf(opposite, PAIR_TEXT_SIZE, "%.*s%.*s%.*s%.*s%s", a.begin, q.text, b.end - b.begin,
                 q.text + b.begin, between.end - between.begin, q.text + between.begin, a.end - a.begin,
                 q.text + a.begin, q.text + b.end);
        return 0;
    }
    for (int attempt = 0; attempt < CANDIDATES; attempt++)
        if (build(&other, form, scene, rng) == 0 && strcmp(other.answer, q.answer) != 0 &&
            other.targets[0] == q.targets[0]) {
            char words[QUESTION_TEXT_SIZE];
            struct span second = other.phrases[1].text;
            snprintf(words, sizeof words, "%.*s", second.end - second.begin, other.text + second.begin);
            replace(opposite, &q, b, words);
            return 0;
        }
    return -1;
}

static const struct {
    const char *name;
    pair_build *build;
} categories[] = {{"existence", build_existence}, {"count", build_counts},
                  {"position", build_position},   {"color", build_colors},
                  {"OCR", build_digits},          {"commonsense_reasoning", build_reasoning}};

enum { CATEGORIES = (int)(sizeof categories / sizeof categories[0]) };

/* The candidate that keeps values evenest; -1 if there is none. */
static int pair_ask(struct pair *best, int category, const struct scene *scene, long lean[VALUES],
                    struct world_rng *rng)
{
    long best_score = 0;
    int found = 0;
    for (int candidate = 0; candidate < CANDIDATES; candidate++) {
        struct pair pair;
        if (categories[category].build(&pair, scene, lean, rng) != 0)
            continue;
        long score = 2 * (lean[pair.right] - lean[pair.wrong]) + world_rng_below(rng, NOISE);
        if (!found || score < best_score) {
            found = 1;
            best_score = score;
            *best = pair;
        }
    }
    if (!found)
        return -1;
    lean[best->right]++;
    lean[best->wrong]--;
    return 0;
}

int suite_write_mme(struct twin *twin)
{
    FILE *rows = twin_file(twin, "", "llava_mme.jsonl");
    if (!rows)
        return -1;
    long lean[CATEGORIES][VALUES] = {{0}};
    for (int i = 0; i < twin->count; i++) {
        int c = i % CATEGORIES, found = 0;
        const char *category = categories[c].name;
        struct scene scene;
        struct pair pair;
        struct world_rng rng = twin_rng(twin, i, STREAM_QUESTIONS);
        for (int spare = 0; spare < SPARES && !found; spare++) {
            if (twin_scene(&scene, twin, i + spare * SPARE_PICTURE) != 0)
                return -1;
            found = pair_ask(&pair, c, &scene, lean[c], &rng) == 0;
        }
        if (!found)
            return twin_failed(twin, "no scene bears the question; use another --seed");
        char folder[64], name[16], image[64], lines[3 * PAIR_TEXT_SIZE];
        snprintf(folder, sizeof folder, "MME_Benchmark_release_version/%s", category);
        snprintf(name, sizeof name, "%04d.png", i / CATEGORIES + 1);
        snprintf(image, sizeof image, "%s/%s", category, name);
        if (twin_picture(twin, &scene, folder, name) != 0)
            return -1;
        int yes_first = world_rng_below(&rng, 2), length = 0;
        for (int k = 0; k < 2; k++) {
            int yes = k != yes_first;
            const char *text = yes ? pair.yes : pair.no;
            fprintf(rows, "{\"question_id\": \"%s\", ", image);
            write_row(rows, image, text, SUFFIX_WORD, category);
            length += snprintf(lines + length, sizeof lines - (size_t)length,
                               "%s Please answer yes or no.\t%s\n", text, yes ? "Yes" : "No");
        }
        snprintf(name, sizeof name, "%04d.txt", i / CATEGORIES + 1);
        if (twin_write(twin, folder, name, lines, (size_t)length) != 0)
            return -1;
    }
    return 0;
}
