/* `winnow ask`: one dialogue about pictures, or about a clip, with or without a method.
 *
 * A clip is a question about several pictures: its frames (core/video.h), 8 as in Video-LLaVA's evaluation,
 * whose placeholders stand side by side before the question. For a model of the family llava-1.5 each frame
 * is a picture of its own, 576 visual tokens; models that were trained on one picture, the built-in miniature
 * among them, answer such questions, but never learned to.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "json.h"
#include "latency.h"
#include "ledger_json.h"
#include "memory.h"
#include "replay.h"
#include "template.h"
#include "trace.h"
#include "video.h"

enum {
    OPTION_IMAGE = OPTION_OWN,
    OPTION_VIDEO,
    OPTION_FRAMES,
    OPTION_METHOD,
    OPTION_BUDGET,
    OPTION_MATCH,
    OPTION_CONTROL,
    OPTION_TEMPLATE,
    OPTION_RAW,
    OPTION_TRACE,
    OPTION_LEDGER
};

enum { DEFAULT_FRAMES = 8 };

struct ask {
    struct common_options common;
    struct method method;
    struct replay_file *replay; /* of method replay, else NULL */
    const char *images[LIMIT_IMAGES];
    int n_images;
    const char *video; /* instead of pictures */
    int n_frames;      /* of it; 0: not said */
    const char *template, *control, *trace;
    bool raw, ledger;
    struct {
        const char *key;
        char *value;
    } set[64]; /* applied once the method is known, whatever the order of the options */
    int n_set;
};

static enum status set_add(struct ask *ask, const char *key, char *value, struct error *err)
{
    if (ask->n_set == (int)(sizeof ask->set / sizeof *ask->set))
        return fail(err, BAD_INPUT, "more than %d parameters", ask->n_set);
    ask->set[ask->n_set].key = key;
    ask->set[ask->n_set++].value = value;
    return OK;
}

static enum status option_take(struct ask *ask, int option, char *argument, const char **method,
                               struct error *err)
{
    bool taken;
    TRY(common_option(&ask->common, option, argument, &taken, err));
    if (taken)
        return OK;
    char *equals;
    switch (option) {
    case OPTION_IMAGE:
        if (ask->n_images == LIMIT_IMAGES)
            return fail(err, BAD_INPUT, "more than %d pictures", LIMIT_IMAGES);
        ask->images[ask->n_images++] = argument;
        return OK;
    case OPTION_VIDEO:
        if (ask->video)
            return fail(err, BAD_INPUT, "--video: one clip a question, found a second, '%s'", argument);
        ask->video = argument;
        return OK;
    case OPTION_FRAMES: {
        int64_t n;
        TRY(parse_int(&n, argument, 1, LIMIT_IMAGES, "--frames", err));
        ask->n_frames = (int)n;
        return OK;
    }
    case OPTION_METHOD:
        *method = argument;
        return OK;
    case OPTION_BUDGET:
        return set_add(ask, "budget", argument, err);
    case OPTION_MATCH:
        return set_add(ask, "match", argument, err);
    case 'p':
        equals = strchr(argument, '=');
        if (equals == NULL)
            return fail(err, BAD_INPUT, "-p '%s': expected KEY=VALUE", argument);
        *equals = 0;
        return set_add(ask, argument, equals + 1, err);
    case OPTION_CONTROL:
        if (strcmp(argument, "none") != 0 && strcmp(argument, "blank") != 0 &&
            strcmp(argument, "no-image") != 0)
            return fail(err, BAD_INPUT,
                        "--control '%s': expected none, blank or no-image (mismatched needs a benchmark: use "
                        "a sweep)",
                        argument);
        ask->control = argument;
        return OK;
    case OPTION_TEMPLATE:
        ask->template = argument;
        return OK;
    case OPTION_RAW:
        ask->raw = true;
        return OK;
    case OPTION_TRACE:
        ask->trace = argument;
        return OK;
    case OPTION_LEDGER:
        ask->ledger = true;
        return OK;
    default:
        return fail(err, BAD_INPUT, "unknown option; see `winnow help ask`");
    }
}

/* Control no-image: each placeholder and the newline after it go. */
static void placeholders_remove(char *prompt)
{
    static const char place[] = "<image>";
    for (char *at; (at = strstr(prompt, place));) {
        char *rest = at + sizeof place - 1;
        rest += *rest == '\n';
        memmove(at, rest, strlen(rest) + 1);
    }
}

/* The final strings of all turns; *n_images: pictures that are asked about. */
static enum status prompts_make(char **prompts, const struct ask *ask, char **questions, int n, int n_images,
                                struct error *err)
{
    for (int t = 0; t < n; t++) {
        if (ask->raw) {
            prompts[t] = memory_text(questions[t]);
            if (prompts[t] == NULL)
                return memory_failed(err, "prompt", strlen(questions[t]));
            if (strcmp(ask->control, "no-image") == 0)
                placeholders_remove(prompts[t]);
        } else {
            TRY(template_prompt(
                &prompts[t], ask->template, questions[t],
                (struct placeholders){.n = t == 0 ? n_images : 0, .joined = ask->video != NULL}, t == 0,
                err));
        }
    }
    return OK;
}

static json_t *ints_json(const int32_t *values, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_integer(values[i]));
    return list;
}

static json_t *layers_json(const struct ledger *ledger, bool out)
{
    json_t *list = json_array();
    for (int l = 0; l < ledger->n_layers; l++)
        json_array_append_new(list,
                              json_integer(out ? ledger->layers[l].visual_out : ledger->layers[l].visual_in));
    return list;
}

static enum status print_json(const struct ask *ask, const struct vlm *vlm, const struct answer *answer,
                              char **prompts, struct error *err)
{
    json_t *answers = json_array();
    for (int t = 0; t < answer->n_turns; t++) {
        const struct turn *turn = &answer->turns[t];
        json_t *one =
            json_pack("{s:s, s:o, s:s, s:o, s:o}", "text", turn->text, "ids",
                      ints_json(turn->ids, turn->n_ids), "prompt", prompts[t], "visual_in",
                      layers_json(&answer->ledger, false), "visual_out", layers_json(&answer->ledger, true));
        json_array_append_new(answers, one);
    }
    char params[4096];
    params_json(params, sizeof params, &ask->method.params, false);
    json_t *ledger;
    enum status status = ledger_json(&ledger, answer, err);
    if (status != OK) {
        json_decref(ledger);
        json_decref(answers);
        return status;
    }
    const struct plan *plan = &answer->plan;
    json_object_set_new(ledger, "budget_off",
                        plan->requested > 0 ? json_real(plan->measured / plan->requested - 1) : json_null());
    json_object_set_new(ledger, "cuts_fallen", json_integer(plan->n_fallen));
    json_t *root =
        json_pack("{s:o, s:o, s:s, s:s, s:o}", "answers", answers, "ledger", ledger, "model", vlm_dir(vlm),
                  "method", ask->method.reducer->name, "params", json_loads(params, 0, NULL));
    return command_json(root, err);
}

/* The picture that is asked about, a file or one of the clip's frames, or for `blank` the mean colour in its
 * size. */
static enum status image_load(struct image *out, const struct ask *ask, struct image frames[],
                              const struct vlm *vlm, int i, struct error *err)
{
    if (ask->video) {
        *out = frames[i];
        frames[i] = (struct image){0};
    } else {
        TRY(image_read(out, ask->images[i], err));
    }
    if (strcmp(ask->control, "blank") != 0)
        return OK;
    uint8_t colour[3];
    int width = out->width, height = out->height;
    processor_mean_colour(colour, vlm_processor(vlm));
    image_free(out);
    return image_new(out, width, height, colour, err);
}

static enum status trace_write(const struct ask *ask, const struct vlm *vlm, const struct answer *answer,
                               const char *question, const struct image *image,
                               const struct features *features, struct error *err)
{
    struct trace *trace;
    char params[4096];
    params_json(params, sizeof params, &ask->method.params, false);
    TRY(trace_open(&trace, ask->trace, NULL, err));
    struct trace_sample sample = {
        .question = question, .answer = answer->turns[0].text, .image = image, .result = answer};
    if (features)
        features_grid(features, &sample.grid_rows, &sample.grid_cols), sample.n_grids = 1;
    enum status status = trace_replace(trace, "ask", err);
    if (status == OK)
        status = trace_cell(trace, "ask", ask->method.reducer->name, params, vlm_dir(vlm), err);
    enum image_mode mode = ask->common.image_mode;
    mode = mode == IMAGE_MODE_FROM_FILE ? vlm_processor(vlm)->mode : mode;
    if (status == OK)
        trace_note(trace, "ask", "image_mode", mode == IMAGE_MODE_CROP ? "crop" : "pad");
    if (status == OK)
        status = trace_sample(trace, "ask", &sample, err);
    struct error closing;
    enum status closed = trace_close(trace, &closing);
    if (status == OK && closed != OK)
        *err = closing;
    return status != OK ? status : closed;
}

static enum status ask_run(struct ask *ask, char **questions, int n_turns, struct error *err)
{
    struct vlm *vlm = NULL;
    struct session *session = NULL;
    struct features *features[LIMIT_IMAGES] = {NULL};
    struct image image = {0}, frames[LIMIT_IMAGES] = {{0}};
    struct answer answer = {0};
    struct latency latency;
    char *prompts[LIMIT_TURNS] = {NULL};
    struct cut_record *cuts = NULL;
    enum status status;
    int n_cuts = 0, n_shown = ask->video ? ask->n_frames : ask->n_images;
    int n_images = strcmp(ask->control, "no-image") == 0 ? 0 : n_shown;
    int threads = ask->common.threads ? ask->common.threads : (int)sysconf(_SC_NPROCESSORS_ONLN);

    TRY_GOTO(status,
             vlm_open(&vlm,
                      &(struct vlm_options){
                          .dir = ask->common.model, .device = ask->common.device, .dtype = ask->common.dtype},
                      err));
    TRY_GOTO(status, latency_calibrate(&latency, vlm, &ask->method, threads, false, err));
    TRY_GOTO(status, prompts_make(prompts, ask, questions, n_turns, n_images, err));
    TRY_GOTO(status, session_open(&session, vlm, threads, err));
    if (ask->video && n_images)
        TRY_GOTO(status, video_read_frames(frames, n_images, ask->video, err));
    if (ask->replay)
        TRY_GOTO(status, replay_read(&cuts, &n_cuts, ask->replay, 0, err));
    for (int i = 0; i < n_images; i++) {
        image_free(&image);
        TRY_GOTO(status, image_load(&image, ask, frames, vlm, i, err));
        TRY_GOTO(status, session_encode(&features[i], session, &image,
                                        &(struct encode_options){.mode = ask->common.image_mode,
                                                                 .method = &ask->method,
                                                                 .image = i,
                                                                 .n_images = n_images,
                                                                 .seed = ask->common.seed,
                                                                 .replay = cuts,
                                                                 .n_replay = n_cuts},
                                        err));
    }
    TRY_GOTO(status,
             session_ask(&answer, session,
                         &(struct question){.prompts = (const char *const *)prompts,
                                            .n_turns = n_turns,
                                            .images = features,
                                            .n_images = n_images,
                                            .method = &ask->method,
                                            .seed = ask->common.seed,
                                            .replay = cuts,
                                            .n_replay = n_cuts,
                                            .max_new_tokens =
                                                ask->common.max_new_tokens ? ask->common.max_new_tokens : 128,
                                            .want_records = ask->trace || ask->ledger || ask->common.json},
                         err));
    if (ask->trace)
        TRY_GOTO(status,
                 trace_write(ask, vlm, &answer, questions[0], n_images ? &image : NULL, features[0], err));
    if (ask->common.json) {
        TRY_GOTO(status, print_json(ask, vlm, &answer, prompts, err));
    } else {
        for (int t = 0; t < n_turns; t++)
            puts(answer.turns[t].text);
        if (ask->ledger) {
            TRY_GOTO(status, ledger_print(stdout, &answer, err));
            if (answer.plan.n_fallen)
                printf("%d cuts of the method fall away: the model has only %d layers\n",
                       answer.plan.n_fallen, answer.ledger.n_layers);
        }
    }
exit:
    answer_free(&answer);
    replay_free(cuts, n_cuts);
    image_free(&image);
    for (int i = 0; i < n_images; i++)
        features_release(features[i]);
    for (int i = 0; i < LIMIT_IMAGES; i++)
        image_free(&frames[i]);
    for (int t = 0; t < n_turns; t++)
        free(prompts[t]);
    session_close(session);
    vlm_close(vlm);
    return status;
}

int cmd_ask(int argc, char **argv)
{
    static const struct option table[] = {COMMON_OPTIONS,
                                          {"image", required_argument, NULL, OPTION_IMAGE},
                                          {"video", required_argument, NULL, OPTION_VIDEO},
                                          {"frames", required_argument, NULL, OPTION_FRAMES},
                                          {"method", required_argument, NULL, OPTION_METHOD},
                                          {"budget", required_argument, NULL, OPTION_BUDGET},
                                          {"match", required_argument, NULL, OPTION_MATCH},
                                          {"control", required_argument, NULL, OPTION_CONTROL},
                                          {"template", required_argument, NULL, OPTION_TEMPLATE},
                                          {"raw", no_argument, NULL, OPTION_RAW},
                                          {"trace", required_argument, NULL, OPTION_TRACE},
                                          {"ledger", no_argument, NULL, OPTION_LEDGER},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct ask ask = {.control = "none"};
    struct error err;
    const char *method = "vanilla";
    common_init(&ask.common);
    for (int o; (o = getopt_long(argc, argv, "hp:", table, NULL)) != -1;) {
        if (o == 'h')
            return printf("%s", command_find("ask")->usage), OK;
        if (o == '?')
            return command_option("ask", argc, argv);
        if (option_take(&ask, o, optarg, &method, &err) != OK)
            return command_fail(&err);
    }
    int n_turns = argc - optind;
    if (n_turns < 1 || n_turns > LIMIT_TURNS)
        return command_usage("ask", "expected 1 to %d questions", LIMIT_TURNS);
    if (ask.video && ask.n_images > 0)
        return command_usage("ask", "--image and --video: a question is about pictures or about a clip");
    if (ask.n_frames > 0 && !ask.video)
        return command_usage("ask", "--frames: of which clip? give --video F");
    if (ask.video && ask.n_frames == 0)
        ask.n_frames = DEFAULT_FRAMES;
    if (!ask.template)
        ask.template = ask.video ? "llava_v1" : "llava-hf";
    if (ask.trace && (ask.n_images > 1 || ask.n_frames > 1))
        return command_usage("ask", "--trace takes one picture");
    enum status status = method_init(&ask.method, method, &err);
    for (int i = 0; status == OK && i < ask.n_set; i++)
        status = method_set(&ask.method, ask.set[i].key, ask.set[i].value, &err);
    if (status == OK)
        status = replay_method_open(&ask.replay, &ask.method, &err);
    if (status == OK)
        status = method_resolve(&ask.method, ask.common.seed, &err);
    if (status == OK)
        status = ask_run(&ask, argv + optind, n_turns, &err);
    replay_close(ask.replay);
    return status == OK ? OK : command_fail(&err);
}
