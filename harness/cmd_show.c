/* `winnow show`: draws which patches survive each cut, from a trace or from a run of its own.
 *
 * From a trace: with --cell, the cell's samples (those of --sample, else the first pictures); with --sample
 * alone, one row a cell that has it, methods side by side. With --image the model is asked every question,
 * and each becomes a row.
 */
#include "harness/command.h"
#include "harness/replay.h"
#include "harness/template.h"
#include "reports/survivors.h"
#include "reports/trace_view.h"

#include "core/json.h"
#include "core/memory.h"

#include <getopt.h>   /* getopt_long */
#include <stdlib.h>   /* free */
#include <string.h>   /* strcmp */
#include <sys/stat.h> /* stat, mkdir */
#include <unistd.h>   /* sysconf */

enum { SETTINGS_MAX = 32, ANSWER_TOKENS = 32, DIR_SAMPLES_MAX = 256 };

struct show_options {
    struct common_options common;
    const char *out, *image, *sample, *cell, *method, *template_name;
    const char *settings[SETTINGS_MAX]; /* KEY=VALUE, budget and match among them */
    int n_settings;
};

static bool is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* OUT as it stands, or OUT/NAME.png where OUT is (or is to become) a directory. */
static enum status out_path(char *path, size_t size, const char *out, const char *name, struct error *err)
{
    int n;
    if (ends_with(out, ".png")) {
        n = snprintf(path, size, "%s", out);
    } else {
        if (!is_directory(out) && mkdir(out, 0777) != 0)
            return fail(err, BAD_INPUT, "%s: cannot be made; give -o NAME.png or a directory", out);
        n = snprintf(path, size, "%s/%s.png", out, name);
    }
    return n > 0 && (size_t)n < size ? OK : fail(err, BAD_INPUT, "-o: the name is too long");
}

static enum status write_sheet(const char *out, const char *name, const struct picture *pictures, int n,
                               const char *title, struct error *err)
{
    char path[1024];
    struct image sheet = {0};
    TRY(out_path(path, sizeof path, out, name, err));
    TRY(survivors_draw(&sheet, pictures, n, title, err));
    enum status status = image_write_png(&sheet, path, err);
    image_free(&sheet);
    if (status == OK)
        printf("%s\n", path);
    return status;
}

/* The cell whose key is, or begins with, `wanted`; NULL: the first. */
static const char *choose_cell(const struct names *cells, const char *wanted)
{
    for (int i = 0; i < cells->n; i++)
        if (wanted == NULL || strncmp(cells->names[i], wanted, strlen(wanted)) == 0)
            return cells->names[i];
    return NULL;
}

/* Whether picture n belongs on the sheet after those before it: not vanilla, which cuts nothing; not another
 * benchmark's sample of that number; not a further seed of random. */
static bool is_news(const struct picture *pictures, int n)
{
    const struct picture *picture = &pictures[n];
    if ((picture->n_cuts == 0 && !picture->resized) || strcmp(picture->question, pictures[0].question) != 0)
        return false;
    for (int i = 0; i < n; i++)
        if (strncmp(picture->title, "random", 6) == 0 && strncmp(pictures[i].title, "random", 6) == 0 &&
            picture->n_cuts > 0 && pictures[i].n_cuts > 0 &&
            pictures[i].cuts[0].n_kept == picture->cuts[0].n_kept)
            return false;
    return true;
}

static int by_title(const void *a, const void *b)
{
    return strcmp(((const struct picture *)a)->title, ((const struct picture *)b)->title);
}

/* The pictures that belong on the sheet, in front; the others are freed. Returns how many there are. */
static int keep_news(struct picture *pictures, int n)
{
    int n_kept = 0;
    for (int i = 0; i < n; i++) {
        struct picture picture = pictures[i];
        pictures[i] = (struct picture){0};
        pictures[n_kept] = picture;
        if (is_news(pictures, n_kept))
            n_kept++;
        else
            picture_free(&pictures[n_kept]);
    }
    return n_kept;
}

/* Rows [first, *end) around row i are of one method: the first word of their titles. */
static int method_rows(int *first, const struct picture *pictures, int n, int i)
{
    size_t length = strcspn(pictures[i].title, " ,");
    int end = i;
    *first = i;
    while (*first > 0 && strncmp(pictures[*first - 1].title, pictures[i].title, length + 1) == 0)
        --*first;
    while (end < n && strncmp(pictures[end].title, pictures[i].title, length + 1) == 0)
        end++;
    return end - *first;
}

/* Makes n rows fit a sheet: the method with most loses its first one, again and again, so that each is seen.
 */
static int thin_out(struct picture *pictures, int n)
{
    while (n > SHEET_ROWS_MAX) {
        int most = 0, at = 0;
        for (int i = 0; i < n; i++) {
            int first, count = method_rows(&first, pictures, n, i);
            if (count > most) {
                most = count;
                at = first;
            }
        }
        picture_free(&pictures[at]);
        memmove(&pictures[at], &pictures[at + 1], (size_t)(n - at - 1) * sizeof *pictures);
        n--;
    }
    return n;
}

/* Rows: one sample, every cell that has it, by method and settings. */
static enum status show_methods(struct trace_view *trace, const struct names *cells,
                                const struct show_options *options, struct error *err)
{
    enum { CELLS_MAX = 256 };
    struct picture *pictures = memory_zero(CELLS_MAX, sizeof *pictures);
    if (pictures == NULL)
        return memory_failed(err, "pictures", CELLS_MAX * sizeof *pictures);
    int n = 0;
    enum status status = OK;
    for (int i = 0; i < cells->n && n < CELLS_MAX && status == OK; i++)
        if (trace_view_has(trace, cells->names[i], options->sample)) {
            status = trace_view_picture(&pictures[n], trace, cells->names[i], options->sample, err);
            n += status == OK;
        }
    if (status == OK) {
        qsort(pictures, (size_t)n, sizeof *pictures, by_title);
        n = keep_news(pictures, n);
    }
    if (status == OK && n == 0)
        status = fail(err, BAD_INPUT,
                      "no cell of the trace has cuts for sample %.64s; see which there are with h5ls -r",
                      options->sample);
    char title[160];
    snprintf(title, sizeof title, "Sample %.64s", options->sample);
    if (status == OK && n > SHEET_ROWS_MAX) {
        fprintf(stderr,
                "%d cells have sample %.64s, %d are drawn, of every method some; --cell KEY draws one\n", n,
                options->sample, SHEET_ROWS_MAX);
        n = thin_out(pictures, n);
    }
    if (status == OK)
        status = write_sheet(options->out, "methods", pictures, n, title, err);
    for (int i = 0; i < n; i++)
        picture_free(&pictures[i]);
    free(pictures);
    return status;
}

/* Rows: samples of one cell; into a directory one sheet each. */
static enum status show_cell(struct trace_view *trace, const char *key, const struct show_options *options,
                             struct error *err)
{
    struct names samples = {0};
    struct picture pictures[SHEET_ROWS_MAX] = {{.rows = 0}};
    bool apart = !ends_with(options->out, ".png");
    int n = 0;
    enum status status;
    TRY_GOTO(status, trace_view_samples(&samples, trace, key, err));
    char title[200];
    snprintf(title, sizeof title, "Cell %.16s", key);
    enum { SHEET_SAMPLES = 4 }; /* more do not fit a screen */
    int limit = apart ? DIR_SAMPLES_MAX : SHEET_SAMPLES;
    for (int i = 0, taken = 0; i < samples.n && taken < limit; i++) {
        if (options->sample != NULL && strcmp(samples.names[i], options->sample) != 0)
            continue;
        TRY_GOTO(status, trace_view_picture(&pictures[n], trace, key, samples.names[i], err));
        n++;
        taken++;
        if (apart) {
            TRY_GOTO(status, write_sheet(options->out, samples.names[i], pictures, n, title, err));
            picture_free(&pictures[--n]);
        }
    }
    if (!apart && n == 0)
        status = fail(err, BAD_INPUT, "cell %.16s holds no such sample; it has %d, the first is %s", key,
                      samples.n, samples.n > 0 ? samples.names[0] : "missing");
    else if (!apart)
        status = write_sheet(options->out, "samples", pictures, n, title, err);
exit:
    for (int i = 0; i < n; i++)
        picture_free(&pictures[i]);
    names_free(&samples);
    return status;
}

static enum status show_trace(const char *path, const struct show_options *options, struct error *err)
{
    struct trace_view *trace;
    struct names cells = {0};
    TRY(trace_view_open(&trace, path, err));
    enum status status;
    TRY_GOTO(status, trace_view_cells(&cells, trace, err));
    const char *key = choose_cell(&cells, options->cell);
    if (key == NULL)
        status = fail(err, BAD_INPUT, "%s: has no cell%s%.64s; it has %d", path,
                      options->cell != NULL ? " " : "", options->cell != NULL ? options->cell : "", cells.n);
    else if (options->sample != NULL && options->cell == NULL)
        status = show_methods(trace, &cells, options, err);
    else
        status = show_cell(trace, key, options, err);
exit:
    names_free(&cells);
    trace_view_close(trace);
    return status;
}

static enum status copy_ids(int32_t **out, const int32_t *places, int n, const struct cut_record *record,
                            struct error *err)
{
    *out = memory_zero(n > 0 ? (size_t)n : 1, sizeof **out);
    if (*out == NULL)
        return memory_failed(err, "cut", (size_t)n * sizeof **out);
    for (int i = 0; i < n; i++)
        (*out)[i] = record->ids_in[places[i]];
    return OK;
}

static enum status copy_array(int32_t **out, const int32_t *values, int n, struct error *err)
{
    *out = memory_zero(n > 0 ? (size_t)n : 1, sizeof **out);
    if (*out == NULL)
        return memory_failed(err, "cut", (size_t)n * sizeof **out);
    if (n > 0)
        memcpy(*out, values, (size_t)n * sizeof **out);
    return OK;
}

/* Records count places at the cut and clusters within it; pictures token numbers and clusters through all
 * cuts. The tower's cuts are one: the last one says where each patch went. */
static enum status take_record(struct picture *out, int *n_clusters, const struct cut_record *record,
                               struct error *err)
{
    if (out->n_cuts == PICTURE_CUTS_MAX)
        return OK;
    bool tower = record->site == SITE_VISION;
    struct picture_cut *cut = &out->cuts[out->n_cuts++];
    int32_t *centres = NULL;
    *cut = (struct picture_cut){.layer = tower ? LAYER_BEFORE : record->layer,
                                .tower = tower,
                                .n_in = tower ? record->n_group_of : record->n_in,
                                .n_kept = record->n_kept,
                                .n_recycled = record->n_recycled,
                                .n_clusters = record->n_clusters};
    TRY(copy_ids(&cut->kept, record->kept, record->n_kept, record, err));
    TRY(copy_ids(&cut->recycled, record->recycled, record->n_recycled, record, err));
    TRY(copy_array(&cut->cluster_of, record->cluster_of, record->n_recycled, err));
    TRY(copy_ids(&centres, record->centres, record->n_clusters, record, err));
    enum status status = picture_cut_number(cut, n_clusters,
                                            &(struct picture_centres){.centres = centres,
                                                                      .in_place = record->in_place,
                                                                      .keep_class = record->keep_class},
                                            err);
    free(centres);
    TRY(status);
    if (tower && (record->n_group_of == 0 || record->image > 0)) {
        picture_cut_free(cut);
        out->n_cuts--;
        return OK;
    }
    if (tower) {
        TRY(copy_array(&cut->group_of, record->group_of, record->n_group_of, err));
        cut->n_group_of = record->n_group_of;
        int n_kept = 0; /* clusters of earlier layers of the tower stand in group_of */
        for (int i = 0; i < cut->n_kept; i++)
            if (cut->kept[i] >= 0)
                cut->kept[n_kept++] = cut->kept[i];
        cut->n_kept = n_kept;
    }
    if (record->score != NULL && record->n_in > 0) {
        cut->score = memory_alloc((size_t)record->n_in, sizeof *cut->score);
        if (cut->score == NULL)
            return memory_failed(err, "scores", (size_t)record->n_in * sizeof *cut->score);
        memcpy(cut->score, record->score, (size_t)record->n_in * sizeof *cut->score);
        cut->n_score = record->n_in;
    }
    return OK;
}

/* What all questions about the picture share. */
struct subject {
    const struct image *image;
    struct features *features;
    const struct method *method;
    const struct cut_record *cuts; /* of method replay */
    int n_cuts;
    const char *title;
};

static enum status take_answer(struct picture *out, const struct answer *answer,
                               const struct subject *subject, const char *question, struct error *err)
{
    const struct image *image = subject->image;
    out->image.width = image->width;
    out->image.height = image->height;
    size_t n_bytes = (size_t)image->width * (size_t)image->height * 3;
    out->image.rgb = memory_alloc(n_bytes, 1);
    out->title = memory_text(subject->title);
    out->question = memory_text(question);
    const char *text = answer->turns[answer->n_turns - 1].text;
    out->answer = memory_text(text + strspn(text, " \n"));
    if (out->image.rgb == NULL || out->title == NULL || out->question == NULL || out->answer == NULL)
        return memory_failed(err, "picture", n_bytes);
    memcpy(out->image.rgb, image->rgb, n_bytes);
    out->question[strcspn(out->question, "\r\n")] = '\0'; /* the instruction that follows is the prompt's */
    features_grid(subject->features, &out->rows, &out->cols);
    out->n_visual = answer->ledger.n_visual;
    int n_cells = out->rows * out->cols;
    out->resized = n_cells < out->n_visual - 1;
    int n_clusters = 0;
    for (int i = 0; i < answer->n_records; i++)
        TRY(take_record(out, &n_clusters, &answer->records[i], err));
    return OK;
}

static enum status ask_one(struct picture *out, struct session *session, const struct subject *subject,
                           const char *question, const struct show_options *options, struct error *err)
{
    char *prompt = NULL;
    struct answer answer = {0};
    enum status status;
    TRY_GOTO(status, template_prompt(&prompt, options->template_name, question, (struct placeholders){.n = 1},
                                     1, err));
    int n_new = options->common.max_new_tokens > 0 ? options->common.max_new_tokens : ANSWER_TOKENS;
    TRY_GOTO(status, session_ask(&answer, session,
                                 &(struct question){.prompts = (const char *const[]){prompt},
                                                    .n_turns = 1,
                                                    .images = &subject->features,
                                                    .n_images = 1,
                                                    .method = subject->method,
                                                    .max_new_tokens = n_new,
                                                    .seed = options->common.seed,
                                                    .replay = subject->cuts,
                                                    .n_replay = subject->n_cuts,
                                                    .want_records = true},
                                 err));
    TRY_GOTO(status, take_answer(out, &answer, subject, question, err));
exit:
    free(prompt);
    answer_free(&answer);
    return status;
}

static enum status method_from(struct method *method, struct replay_file **replay, char *title, size_t size,
                               const struct show_options *options, struct error *err)
{
    TRY(method_init(method, options->method, err));
    int used = snprintf(title, size, "%s", options->method);
    for (int i = 0; i < options->n_settings; i++) {
        char key[64];
        const char *equals = strchr(options->settings[i], '=');
        size_t n = equals != NULL ? (size_t)(equals - options->settings[i]) : 0;
        if (n == 0 || n >= sizeof key)
            return fail(err, BAD_INPUT, "-p: expected KEY=VALUE, found \"%.64s\"", options->settings[i]);
        memcpy(key, options->settings[i], n);
        key[n] = '\0';
        TRY(method_set(method, key, equals + 1, err));
        if (used >= 0 && (size_t)used < size)
            used += snprintf(title + used, size - (size_t)used, "  %s %s", key, equals + 1);
    }
    TRY(replay_method_open(replay, method, err));
    return method_resolve(method, options->common.seed, err);
}

static enum status show_questions(char **questions, int n, const struct show_options *options,
                                  struct error *err)
{
    if (n > SHEET_ROWS_MAX)
        return fail(err, BAD_INPUT, "a sheet shows up to %d questions, found %d", SHEET_ROWS_MAX, n);
    struct vlm *vlm = NULL;
    struct session *session = NULL;
    struct features *features = NULL;
    struct image image = {0};
    struct picture pictures[SHEET_ROWS_MAX] = {{.rows = 0}};
    struct method method;
    struct replay_file *replay = NULL;
    struct cut_record *cuts = NULL;
    int n_cuts = 0;
    char title[200];
    enum status status;
    TRY_GOTO(status, method_from(&method, &replay, title, sizeof title, options, err));
    if (replay) /* `winnow ask --trace` writes one sample, number 0 */
        TRY_GOTO(status,
                 replay_read(&cuts, &n_cuts, replay, options->sample ? atoi(options->sample) : 0, err));
    TRY_GOTO(status, image_read(&image, options->image, err));
    TRY_GOTO(status, vlm_open(&vlm,
                              &(struct vlm_options){.dir = options->common.model,
                                                    .device = options->common.device,
                                                    .dtype = options->common.dtype},
                              err));
    int threads = options->common.threads > 0 ? options->common.threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    TRY_GOTO(status, session_open(&session, vlm, threads, err));
    TRY_GOTO(status, session_encode(&features, session, &image,
                                    &(struct encode_options){.mode = options->common.image_mode,
                                                             .method = &method,
                                                             .seed = options->common.seed,
                                                             .replay = cuts,
                                                             .n_replay = n_cuts},
                                    err));
    const struct subject subject = {.image = &image,
                                    .features = features,
                                    .method = &method,
                                    .cuts = cuts,
                                    .n_cuts = n_cuts,
                                    .title = title};
    for (int i = 0; i < n; i++) {
        TRY_GOTO(status, ask_one(&pictures[i], session, &subject, questions[i], options, err));
        pictures[i].mode = options->common.image_mode == IMAGE_MODE_FROM_FILE ? vlm_processor(vlm)->mode
                                                                              : options->common.image_mode;
    }
    const char *name = strrchr(options->image, '/');
    TRY_GOTO(status,
             write_sheet(options->out, "show", pictures, n, name != NULL ? name + 1 : options->image, err));
exit:
    for (int i = 0; i < n; i++)
        picture_free(&pictures[i]);
    if (features != NULL)
        features_release(features);
    if (session != NULL)
        session_close(session);
    if (vlm != NULL)
        vlm_close(vlm);
    image_free(&image);
    replay_free(cuts, n_cuts);
    replay_close(replay);
    return status;
}

int cmd_show(int argc, char **argv)
{
    enum { IMAGE = OPTION_OWN, SAMPLE, CELL, METHOD, BUDGET, MATCH, TEMPLATE };
    static const struct option table[] = {COMMON_OPTIONS,
                                          {"image", required_argument, NULL, IMAGE},
                                          {"sample", required_argument, NULL, SAMPLE},
                                          {"cell", required_argument, NULL, CELL},
                                          {"method", required_argument, NULL, METHOD},
                                          {"budget", required_argument, NULL, BUDGET},
                                          {"match", required_argument, NULL, MATCH},
                                          {"template", required_argument, NULL, TEMPLATE},
                                          {"out", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct show_options options = {.method = "sparsevlm", .template_name = "vicuna_v1"};
    struct error err = {0};
    static char budget[128], match[128];
    bool has_budget = false;
    common_init(&options.common);
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "o:p:h", table, NULL)) != -1;) {
        bool taken = false;
        const char *setting = NULL;
        switch (c) {
        case 'o':
            options.out = optarg;
            break;
        case IMAGE:
            options.image = optarg;
            break;
        case SAMPLE:
            options.sample = optarg;
            break;
        case CELL:
            options.cell = optarg;
            break;
        case METHOD:
            options.method = optarg;
            break;
        case TEMPLATE:
            options.template_name = optarg;
            break;
        case 'p':
            setting = optarg;
            break;
        case BUDGET:
            snprintf(budget, sizeof budget, "budget=%s", optarg);
            setting = budget;
            has_budget = true;
            break;
        case MATCH:
            snprintf(match, sizeof match, "match=%s", optarg);
            setting = match;
            break;
        case 'h':
            fputs(command_find("show")->usage, stdout);
            return OK;
        default:
            if (c == '?' || common_option(&options.common, c, optarg, &taken, &err) != OK || !taken)
                return c == '?' ? command_option("show", argc, argv) : command_fail(&err);
        }
        if (setting != NULL && options.n_settings == SETTINGS_MAX)
            return command_usage("show", "-p may be given %d times at most", SETTINGS_MAX);
        if (setting != NULL)
            options.settings[options.n_settings++] = setting;
    }
    /* What a reader of the papers expects to see first. */
    const struct reducer *reducer = reducer_find(options.method);
    if (!has_budget && options.n_settings == 0 && reducer != NULL && !reducer->dense && !reducer->budget_free)
        options.settings[options.n_settings++] = "budget=64";
    int n = argc - optind;
    if (options.out == NULL)
        return command_usage("show", "-o OUT.png (or a directory) is missing");
    if (options.image == NULL && n != 1)
        return command_usage("show", "expected one TRACE.h5, or --image F and questions; found %d operands",
                             n);
    if (options.image != NULL && n == 0)
        return command_usage("show", "--image needs at least one question");
    enum status status = options.image != NULL ? show_questions(argv + optind, n, &options, &err)
                                               : show_trace(argv[optind], &options, &err);
    return status == OK ? OK : command_fail(&err);
}
