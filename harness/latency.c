/* Calibration of `match: latency`, see latency.h. */
#include "harness/latency.h"

#include <stdio.h>    /* snprintf */
#include <stdlib.h>   /* getenv */
#include <string.h>   /* memcmp */
#include <sys/stat.h> /* mkdir */

#include "core/json.h"
#include "core/memory.h"
#include "core/sha256.h"
#include "harness/machine.h"
#include "harness/stats.h"

enum { N_TEXT = 64, REPEATS = 5 };
static const double SLOW_MS = 3000; /* a run that takes so long is not repeated */

/* ---- the file ------------------------------------------------------------------------------- */

static enum status folder_make(char *out, size_t size, struct error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && *cache ? snprintf(out, size, "%s", cache)
                            : snprintf(out, size, "%s/.cache", home && *home ? home : ".");
    if (n < 0 || (size_t)n + 16 > size)
        return fail(err, BAD_INPUT, "the path of the cache folder is too long");
    mkdir(out, 0777);
    snprintf(out + n, size - (size_t)n, "/winnow");
    mkdir(out, 0777); /* what cannot be made shows when the file is written */
    return OK;
}

/* method NULL: the file of the layers. */
static enum status path_make(char *out, size_t size, struct vlm *vlm, const struct method *method,
                             int n_threads, struct error *err)
{
    char weights[65], machine[MACHINE_SIZE], params[8192] = "", text[10240], hex[65], folder[3072];
    TRY(vlm_weights_sha256(weights, vlm, err));
    TRY(folder_make(folder, sizeof folder, err));
    machine_name(machine, sizeof machine);
    if (method)
        params_json(params, sizeof params, &method->params, true);
    int n = snprintf(text, sizeof text, "%s|%s|%s|%d|%d|%s|%s", machine, vlm_device(vlm), weights, n_threads,
                     NUMERICS, method ? method->reducer->name : "", params);
    sha256_hex(hex, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    snprintf(out, size, "%s/latency-%s-%.16s.json", folder, method ? method->reducer->name : "layers", hex);
    return OK;
}

static bool layers_parse(struct latency *out, const json_t *root)
{
    const json_t *tokens = json_object_get(root, "tokens"), *ms = json_object_get(root, "layer_ms");
    out->n_points = (int)json_array_size(tokens);
    bool ok =
        out->n_points >= 2 && out->n_points <= LATENCY_POINTS && json_array_size(ms) == (size_t)out->n_points;
    for (int i = 0; ok && i < out->n_points; i++) {
        out->tokens[i] = json_number_value(json_array_get(tokens, (size_t)i));
        out->layer_ms[i] = json_number_value(json_array_get(ms, (size_t)i));
        ok = out->layer_ms[i] > 0 && out->tokens[i] > (i ? out->tokens[i - 1] : 0);
    }
    return ok;
}

static bool cut_parse(struct latency *out, const json_t *root)
{
    out->cut_ms = json_number_value(json_object_get(root, "cut_ms"));
    return json_is_number(json_object_get(root, "cut_ms")) && out->cut_ms >= 0;
}

static enum status file_parse(struct latency *out, const char *path,
                              bool (*parse)(struct latency *, const json_t *), struct error *err)
{
    json_t *root;
    TRY(json_read(&root, path, err));
    bool ok = parse(out, root);
    json_decref(root);
    return ok ? OK
              : fail(err, BAD_INPUT, "%s: no calibration of latencies; delete it, and it is made anew", path);
}

static enum status layers_write(const char *path, const struct latency *latency, struct error *err)
{
    char text[4096], machine[MACHINE_SIZE];
    int n = 0;
    machine_name(machine, sizeof machine);
    n += snprintf(text + n, sizeof text - (size_t)n, "{\"machine\": \"%s\",\n \"tokens\": [", machine);
    for (int i = 0; i < latency->n_points; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%.0f", i ? ", " : "", latency->tokens[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "],\n \"layer_ms\": [");
    for (int i = 0; i < latency->n_points; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%.9g", i ? ", " : "", latency->layer_ms[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "]}\n");
    return file_write(path, text, (size_t)n, err);
}

static enum status cut_write(const char *path, const struct latency *latency, struct error *err)
{
    char text[64];
    int n = snprintf(text, sizeof text, "{\"cut_ms\": %.9g}\n", latency->cut_ms);
    return file_write(path, text, (size_t)n, err);
}

/* ---- the runs ------------------------------------------------------------------------------- */

/* An id that is neither the picture's nor an end. */
static int32_t text_id(const struct vlm_config *config)
{
    for (int32_t id = 0; id < config->text.vocabulary; id++) {
        bool taken = id == config->image_token;
        for (int e = 0; e < config->n_eos; e++)
            taken = taken || id == config->eos[e];
        if (!taken)
            return id;
    }
    return 0;
}

/* Medians of prefill and selection of a prompt with n_visual tokens. */
static enum status time_prompt(double *prefill_ms, double *select_ms, struct session *session,
                               const struct vlm_config *config, const struct method *method, int n_visual,
                               struct error *err)
{
    int32_t ids[N_TEXT + 1];
    double prefill[REPEATS], selection[REPEATS];
    struct features *features;
    int n = 0;
    for (int i = 0; i <= N_TEXT; i++)
        ids[i] = i == 1 ? config->image_token : text_id(config);
    TRY(features_random(&features, session, n_visual, method, 1, err));
    enum status status = OK;
    for (int r = -1; r < REPEATS && status == OK; r++) { /* the first warms up */
        struct answer answer;
        status = session_ask(&answer, session,
                             &(struct question){.prompt_ids = ids,
                                                .n_prompt_ids = N_TEXT + 1,
                                                .n_turns = 1,
                                                .images = &features,
                                                .n_images = 1,
                                                .method = method,
                                                .max_new_tokens = 1},
                             err);
        if (status != OK)
            break;
        bool slow = answer.ledger.prefill_ms > SLOW_MS;
        if (r >= 0 || slow) {
            prefill[n] = answer.ledger.prefill_ms;
            selection[n++] = answer.ledger.select_ms;
        }
        answer_free(&answer);
        if (slow)
            break;
    }
    features_release(features);
    TRY(status);
    *prefill_ms = median(prefill, n);
    *select_ms = median(selection, n);
    return OK;
}

static enum status layers_measure(struct latency *out, struct session *session,
                                  const struct vlm_config *config, struct error *err)
{
    static const int shares[] = {2, 6, 12, 25, 50, 75, 100, 150}; /* per cent of a picture's tokens */
    struct method vanilla;
    TRY(method_init(&vanilla, "vanilla", err));
    out->n_points = LATENCY_POINTS;
    for (int i = 0; i < LATENCY_POINTS; i++) {
        int n_visual = config->visual_per_image * shares[i] / 100 + i; /* ascending for small pictures too */
        double prefill_ms, select_ms;
        TRY(time_prompt(&prefill_ms, &select_ms, session, config, &vanilla, n_visual + 1, err));
        out->tokens[i] = n_visual + 1 + N_TEXT;
        out->layer_ms[i] = prefill_ms / config->text.n_layers;
    }
    return OK;
}

/* At a third of the tokens; nothing for a method whose work lies before the prefill. */
static enum status cut_measure(struct latency *out, struct session *session, const struct vlm_config *config,
                               const struct method *method, struct error *err)
{
    struct plan_input input = vlm_plan_input(config, config->visual_per_image, N_TEXT, N_TEXT - 1);
    struct method probe = *method;
    struct plan plan;
    struct error none;
    double prefill_ms, select_ms;
    out->cut_ms = 0;
    probe.match = MATCH_TOKENS_IN;
    probe.budget = (struct budget){.given = true, .share = true, .value = 1 / 3.0};
    if (method->reducer->in_tower || method_plan(&plan, &probe, &input, &none) != OK || plan.n_cuts == 0)
        return OK;
    TRY(time_prompt(&prefill_ms, &select_ms, session, config, &probe, config->visual_per_image, err));
    out->cut_ms = select_ms / plan.n_cuts;
    return OK;
}

enum status latency_calibrate(struct latency *out, struct vlm *vlm, struct method *method, int n_threads,
                              bool read_only, struct error *err)
{
    char layers[4096], cut[4096];
    struct method shadowed;
    struct session *session = NULL;
    if (method->match != MATCH_LATENCY || !method->budget.given || method->reducer->dense)
        return OK;
    /* a control on another method's schedule is planned by that method */
    const struct method *timed = method->reducer->shadows(&shadowed, method) ? &shadowed : method;
    TRY(path_make(layers, sizeof layers, vlm, NULL, n_threads, err));
    TRY(path_make(cut, sizeof cut, vlm, timed, n_threads, err));
    bool has_layers = file_exists(layers), has_cut = file_exists(cut);
    if (read_only && !(has_layers && has_cut))
        return OK;
    enum status status = OK;
    *out = (struct latency){0};
    if (!has_layers || !has_cut) {
        fprintf(stderr, "calibrating latencies on this machine (kept in %s)\n", has_layers ? cut : layers);
        TRY_GOTO(status, session_open(&session, vlm, n_threads, err));
    }
    if (!has_layers) {
        TRY_GOTO(status, layers_measure(out, session, vlm_config(vlm), err));
        TRY_GOTO(status, layers_write(layers, out, err));
    }
    if (!has_cut) {
        TRY_GOTO(status, cut_measure(out, session, vlm_config(vlm), timed, err));
        TRY_GOTO(status, cut_write(cut, out, err));
    }
    TRY_GOTO(status, file_parse(out, layers, layers_parse, err)); /* what every later run reads */
    TRY_GOTO(status, file_parse(out, cut, cut_parse, err));
    method->latency = out;
exit:
    session_close(session);
    return status;
}
