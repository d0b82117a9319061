/* The bed of the conformance suite: reports, model, pictures, prompts, taps and trials. See conform.h. */
#include "conform.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "memory.h"
#include "rng.h"

/* ---- reports -------------------------------------------------------------------------------- */

static void line(struct conform *c, const char *verdict, const char *check, const char *value,
                 const char *limit)
{
    if (c->json) {
        json_array_append_new(c->json, json_pack("{s:s, s:s, s:s, s:s, s:s}", "verdict", verdict, "method",
                                                 c->method, "check", check, "value", value, "limit", limit));
        return;
    }
    fprintf(c->out, "%-4s %s %s %s %s\n", verdict, c->method, check, value, limit);
    fflush(c->out);
}

void conform_report(struct conform *c, const struct finding *finding, const char *format, ...)
{
    char check[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(check, sizeof check, format, arguments);
    va_end(arguments);
    for (char *p = check; *p; p++)
        *p = *p == ' ' ? ',' : *p;
    c->n_checks++;
    c->n_failed += !finding->holds;
    line(c, finding->holds ? "ok" : "FAIL", check, finding->value, finding->limit);
}

void conform_skip(struct conform *c, const char *check, const char *why)
{
    c->n_skipped++;
    line(c, "skip", check, why, "-");
}

/* ---- bed ------------------------------------------------------------------------------------ */

static enum status bed_open(struct bed *bed, const char *device, struct error *err)
{
    TRY(vlm_open(&bed->vlm,
                 &(struct vlm_options){.geometry = "conform", .device = device, .random_seed = CONFORM_SEED},
                 err));
    TRY(session_open(&bed->session, bed->vlm, 1, err));
    return session_open(&bed->other, bed->vlm, 3, err);
}

static void bed_close(struct bed *bed)
{
    session_close(bed->session);
    session_close(bed->other);
    vlm_close(bed->vlm);
}

/* A picture with a slope, a disc, stripes and grain, so that no two patches are alike. */
static enum status picture_make(struct image *out, int which, struct error *err)
{
    int width = 210 - 25 * which, height = 170 + 20 * which;
    TRY(image_new(out, width, height, (const uint8_t[]){0, 0, 0}, err));
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            int dx = x - 60 - 30 * which, dy = y - 80, disc = dx * dx + dy * dy < 1600 ? 90 : 0;
            int stripe = (x + y * (which + 1)) / 11 % 3 * 25;
            for (int k = 0; k < 3; k++) {
                int grain = (int)(rng_u64(7, (uint64_t)which, (uint64_t)k, (uint64_t)(y * width + x)) % 48);
                int value = 40 * k + y * (k + 1) / 4 + x / (k + 2) + (k == which ? disc : disc / 3) +
                            (k == 1 ? stripe : 0) + grain;
                out->rgb[3 * (y * width + x) + k] = (uint8_t)(value > 255 ? 255 : value);
            }
        }
    return OK;
}

enum status conform_open(struct conform *out, const char *device, FILE *to, struct error *err)
{
    memset(out, 0, sizeof *out);
    out->out = to;
    out->device = device;
    enum status status;
    const char *const devices[] = {device, "ref", "cpu"};
    int n_beds = strcmp(device, "cpu") == 0 ? 2 : 3;
    for (; out->n_beds < n_beds; out->n_beds++)
        TRY_GOTO(status, bed_open(&out->beds[out->n_beds], devices[out->n_beds], err));
    for (int i = 0; i < CONFORM_PICTURES; i++)
        TRY_GOTO(status, picture_make(&out->images[i], i, err));
exit:
    if (status != OK)
        conform_close(out);
    return status;
}

void conform_close(struct conform *c)
{
    for (int i = 0; i < 3; i++)
        bed_close(&c->beds[i]);
    for (int i = 0; i < CONFORM_PICTURES; i++)
        image_free(&c->images[i]);
}

/* ---- prompts -------------------------------------------------------------------------------- */

enum { IMAGE_ID = 192 /* the geometry's: vocabulary − 64 */, N_TEXT_IDS = 180 };

static void text_add(struct prompt *p, int n, int turn)
{
    for (int i = 0; i < n; i++) {
        ENSURE(p->n_ids < CONFORM_IDS);
        p->ids[p->n_ids] = 3 + (37 * p->n_ids + 11 * turn + p->n_ids * p->n_ids) % N_TEXT_IDS;
        p->n_ids++;
        p->n_turn_ids[turn]++;
    }
}

void prompt_make(struct prompt *out, int n_before, int n_images, int n_after)
{
    *out = (struct prompt){.n_images = n_images, .n_turns = 1};
    text_add(out, n_before, 0);
    for (int i = 0; i < n_images; i++) {
        if (i > 0)
            text_add(out, 2, 0); /* text between pictures stays where it is */
        out->ids[out->n_ids++] = IMAGE_ID;
        out->n_turn_ids[0]++;
    }
    text_add(out, n_after, 0);
}

void prompt_add_turn(struct prompt *p, int n)
{
    ENSURE(p->n_turns < CONFORM_TURNS);
    text_add(p, n, p->n_turns++);
}

/* ---- taps ----------------------------------------------------------------------------------- */

static bool tap_want(void *context, const char *name)
{
    (void)context;
    (void)name;
    return true;
}

static void tap_take(void *context, const char *name, const float *data, int first, int rows, int cols)
{
    struct taps *taps = context;
    size_t n = (size_t)rows * (size_t)cols;
    if (taps->n == taps->room) {
        taps->room = taps->room ? 2 * taps->room : 64;
        taps->list = memory_grow(taps->list, (size_t)taps->room, sizeof *taps->list);
        ENSURE(taps->list);
    }
    struct tapped *t = &taps->list[taps->n++];
    *t = (struct tapped){
        .first = first, .rows = rows, .cols = cols, .data = memory_alloc(n + 1, sizeof *data)};
    ENSURE(t->data);
    memcpy(t->data, data, n * sizeof *data);
    snprintf(t->name, sizeof t->name, "%s", name);
}

const struct tapped *taps_find(const struct taps *taps, const char *format, ...)
{
    char name[40];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    for (int i = taps->n - 1; i >= 0; i--)
        if (strcmp(taps->list[i].name, name) == 0)
            return &taps->list[i];
    return NULL;
}

void taps_free(struct taps *taps)
{
    for (int i = 0; i < taps->n; i++)
        free(taps->list[i].data);
    free(taps->list);
    *taps = (struct taps){0};
}

/* ---- trials --------------------------------------------------------------------------------- */

static enum status trial_go(struct trial *t, const struct conform *c, struct session *session)
{
    const struct prompt *p = t->prompt;
    for (int i = 0; i < p->n_images; i++) {
        struct tap tap = {tap_want, tap_take, &t->encoded[i]};
        TRY(session_encode(&t->features[i], session, &c->images[(t->first_picture + i) % CONFORM_PICTURES],
                           &(struct encode_options){.method = t->method,
                                                    .image = i,
                                                    .n_images = p->n_images,
                                                    .seed = t->seed,
                                                    .replay = t->replay,
                                                    .n_replay = t->n_replay,
                                                    .tap = t->want_taps ? &tap : NULL},
                           &t->err));
    }
    struct tap tap = {tap_want, tap_take, &t->asked};
    return session_ask(&t->answer, session,
                       &(struct question){.prompt_ids = p->ids,
                                          .n_prompt_ids = p->n_ids,
                                          .n_turn_ids = p->n_turn_ids,
                                          .n_turns = p->n_turns,
                                          .images = t->features,
                                          .n_images = p->n_images,
                                          .method = t->method,
                                          .max_new_tokens = CONFORM_NEW,
                                          .seed = t->seed,
                                          .replay = t->replay,
                                          .n_replay = t->n_replay,
                                          .tap = t->want_taps ? &tap : NULL,
                                          .want_records = true},
                       &t->err);
}

void trial_run(struct trial *trial, const struct conform *conform, struct session *session)
{
    trial->status = trial_go(trial, conform, session);
}

void trial_free(struct trial *t)
{
    if (t->status == OK)
        answer_free(&t->answer);
    for (int i = 0; i < CONFORM_IMAGES; i++) {
        features_release(t->features[i]);
        taps_free(&t->encoded[i]);
        t->features[i] = NULL;
    }
    taps_free(&t->asked);
}

bool conform_has_param(const struct reducer *reducer, const char *name)
{
    for (int i = 0; i < reducer->n_params; i++)
        if (strcmp(reducer->params[i].name, name) == 0)
            return true;
    return false;
}

enum status conform_method(struct method *out, const struct reducer *reducer, const char *settings,
                           struct error *err)
{
    char text[256], *rest = text;
    memset(out, 0, sizeof *out);
    out->reducer = reducer;
    params_init(&out->params, reducer->params, reducer->n_params);
    snprintf(text, sizeof text, "%s", settings ? settings : "");
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
        char *equals = strchr(word, '=');
        ENSURE(equals);
        *equals = 0;
        TRY(method_set(out, word, equals + 1, err));
    }
    return OK;
}
