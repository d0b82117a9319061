/* `winnow parity`: runs golden cases and compares every stage with what the reference implementations
 * computed.
 *
 * A case is a directory with case.json (exact expectations) and expect.safetensors (tensors by tap). Checks,
 * a line each: `ok|FAIL|skip CASE CHECK VALUE LIMIT`; tensors as max |a−b| / max |b| over the stored rows.
 */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "memory.h"

enum { MAX_TAPS = 64 };

/* What one tap of the case expects, and what came. Later turns and decode steps append their rows. */
struct expected_tap {
    char name[64];
    int64_t rows, cols; /* full shape */
    int n_stored;       /* rows of `want` */
    int32_t *row_of;    /* full row of each stored one */
    float *want, *got;  /* [n_stored, cols] */
    bool *seen;         /* [n_stored] */
    double tol;
    int next_row; /* where appended rows go on (pixel_values over pictures, logits over steps) */
    bool appends;
};

struct parity {
    const char *name, *dir;
    json_t *root;
    struct weights *expect;
    struct expected_tap taps[MAX_TAPS];
    int n_taps;
    double tol; /* below 0: the case's own */
    int n_checks, n_failed, n_skipped;
};

static void report(struct parity *p, const char *verdict, const char *check, const char *value,
                   const char *limit)
{
    printf("%-4s %s %s %s %s\n", verdict, p->name, check, value, limit);
    p->n_checks += strcmp(verdict, "skip") != 0;
    p->n_failed += strcmp(verdict, "FAIL") == 0;
    p->n_skipped += strcmp(verdict, "skip") == 0;
}

static void check_number(struct parity *p, const char *check, double value, double limit)
{
    char a[40], b[40];
    snprintf(a, sizeof a, "%.3g", value);
    snprintf(b, sizeof b, "%.3g", limit);
    report(p, value <= limit ? "ok" : "FAIL", check, a, b);
}

/* ---- exact expectations --------------------------------------------------------------------- */

static void check_ints(struct parity *p, const char *check, const json_t *want, const int32_t *got, int n)
{
    char value[96], limit[32];
    if (want == NULL)
        return;
    int n_want = (int)json_array_size(want), wrong = -1;
    for (int i = 0; i < n && i < n_want && wrong < 0; i++)
        if (json_integer_value(json_array_get(want, (size_t)i)) != got[i])
            wrong = i;
    if (wrong < 0 && n == n_want)
        snprintf(value, sizeof value, "%d-equal", n);
    else if (n != n_want)
        snprintf(value, sizeof value, "%d-values", n);
    else
        snprintf(value, sizeof value, "[%d]=%d-not-%lld", wrong, got[wrong],
                 (long long)json_integer_value(json_array_get(want, (size_t)wrong)));
    snprintf(limit, sizeof limit, "%d", n_want);
    report(p, wrong < 0 && n == n_want ? "ok" : "FAIL", check, value, limit);
}

static int compare_int(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Members of cluster g, the centre too where it gives a share, ascending; where the cluster takes its
 * centre's place the centre comes first. */
static int cluster_members(int32_t *out, const struct cut_record *r, int g)
{
    int n = 0, fixed = r->in_place ? 1 : 0;
    if (r->own && r->own[g] != 0)
        out[n++] = r->centres[g];
    for (int i = 0; i < r->n_recycled; i++)
        if (r->cluster_of[i] == g)
            out[n++] = r->recycled[i];
    qsort(out + fixed, (size_t)(n - fixed), sizeof *out, compare_int);
    return n;
}

static void check_clusters(struct parity *p, const char *check, const json_t *want,
                           const struct cut_record *r)
{
    if (want == NULL)
        return;
    int32_t *members = memory_alloc((size_t)r->n_recycled + 2, sizeof *members);
    bool equal = members && (int)json_array_size(want) == r->n_clusters;
    for (int g = 0; equal && g < r->n_clusters; g++) {
        int n = cluster_members(members, r, g);
        const json_t *list = json_array_get(want, (size_t)g);
        equal = (int)json_array_size(list) == n;
        for (int i = 0; equal && i < n; i++)
            equal = json_integer_value(json_array_get(list, (size_t)i)) == members[i];
    }
    free(members);
    char value[32], limit[32];
    snprintf(value, sizeof value, "%d-clusters%s", r->n_clusters, equal ? "" : "-other");
    snprintf(limit, sizeof limit, "%zu", json_array_size(want));
    report(p, equal ? "ok" : "FAIL", check, value, limit);
}

/* Patches in each token that the tower hands on, in that order. */
static void check_groups(struct parity *p, const char *check, const json_t *want, const struct cut_record *r)
{
    if (want == NULL)
        return;
    size_t n_want = json_array_size(want), n_patches = 0;
    bool equal = r->n_group_of > 0;
    for (size_t g = 0; g < n_want; g++) {
        const json_t *list = json_array_get(want, g);
        n_patches += json_array_size(list);
        for (size_t i = 0; equal && i < json_array_size(list); i++) {
            int64_t patch = json_integer_value(json_array_get(list, i));
            equal = patch >= 0 && patch < r->n_group_of && r->group_of[patch] == (int32_t)g;
        }
    }
    char value[40], limit[32];
    snprintf(value, sizeof value, "%d-patches%s", r->n_group_of, equal ? "" : "-other");
    snprintf(limit, sizeof limit, "%zu", n_patches);
    report(p, equal && (int)n_patches == r->n_group_of ? "ok" : "FAIL", check, value, limit);
}

static void check_cuts(struct parity *p, const struct answer *answer)
{
    const json_t *cuts = json_object_get(p->root, "cuts");
    int n_want = (int)json_array_size(cuts);
    char check[64], value[32], limit[32];
    if (cuts == NULL)
        return;
    snprintf(value, sizeof value, "%d", answer->n_records);
    snprintf(limit, sizeof limit, "%d", n_want);
    report(p, answer->n_records == n_want ? "ok" : "FAIL", "cuts", value, limit);
    for (int i = 0; i < n_want && i < answer->n_records; i++) {
        const json_t *want = json_array_get(cuts, (size_t)i);
        const struct cut_record *r = &answer->records[i];
        const struct {
            const char *key;
            const int32_t *got;
            int n;
        } lists[] = {{"kept", r->kept, r->n_kept},
                     {"recycled", r->recycled, r->n_recycled},
                     {"centres", r->centres, r->n_clusters},
                     {"raters", r->raters, r->n_raters}};
        int32_t layer = r->layer, n_in = r->n_in, rank = r->rank;
        if (r->site == SITE_VISION) /* the case lists them ascending, whatever order they go on in */
            qsort(r->kept, (size_t)r->n_kept, sizeof *r->kept, compare_int);
        json_t *one = json_pack("[I]", json_integer_value(json_object_get(want, "layer")));
        snprintf(check, sizeof check, "cut.%d.layer", i);
        check_ints(p, check, one, &layer, 1);
        json_decref(one);
        one = json_pack("[I]", json_integer_value(json_object_get(want, "tokens_in")));
        snprintf(check, sizeof check, "cut.%d.tokens_in", i);
        check_ints(p, check, one, &n_in, 1);
        json_decref(one);
        for (unsigned k = 0; k < sizeof lists / sizeof *lists; k++) {
            snprintf(check, sizeof check, "cut.%d.%s", i, lists[k].key);
            if (lists[k].n >= 0)
                check_ints(p, check, json_object_get(want, lists[k].key), lists[k].got, lists[k].n);
        }
        const json_t *want_rank = json_object_get(want, "rank");
        if (json_is_integer(want_rank)) {
            one = json_pack("[I]", json_integer_value(want_rank));
            snprintf(check, sizeof check, "cut.%d.rank", i);
            check_ints(p, check, one, &rank, 1);
            json_decref(one);
        }
        const char *site = json_string_value(json_object_get(want, "site"));
        snprintf(check, sizeof check, "cut.%d.site", i);
        if (site)
            report(p, strcmp(site, site_names[r->site]) == 0 ? "ok" : "FAIL", check, site_names[r->site],
                   site);
        snprintf(check, sizeof check, "cut.%d.groups", i);
        check_groups(p, check, json_object_get(want, "groups"), r);
        snprintf(check, sizeof check, "cut.%d.clusters", i);
        check_clusters(p, check, json_object_get(want, "clusters"), r);
    }
}

/* The counts that were in force. */
static void check_plan(struct parity *p, const struct answer *answer)
{
    const json_t *plan = json_object_get(p->root, "plan"), *keep = json_object_get(plan, "keep"),
                 *r = json_object_get(plan, "r");
    int32_t kept[PLAN_CUTS_MAX], merged[PLAN_CUTS_MAX];
    int n_kept = 0, n_merged = 0;
    for (int i = 0; i < answer->n_records && i < PLAN_CUTS_MAX; i++) {
        const struct cut_record *record = &answer->records[i];
        kept[n_kept++] = record->n_kept;
        merged[n_merged++] = record->n_in - record->n_kept;
    }
    json_t *list =
        json_is_integer(keep) ? json_pack("[I]", json_integer_value(keep)) : json_incref((json_t *)keep);
    if (json_array_size(list) == (size_t)n_kept) /* a keep above the tokens there are makes no cut */
        check_ints(p, "plan.keep", list, kept, n_kept);
    json_decref(list);
    check_ints(p, "plan.r", r, merged, n_merged);
}

static void check_layers(struct parity *p, const struct ledger *ledger)
{
    int32_t in[LIMIT_LAYERS], out[LIMIT_LAYERS], length[LIMIT_LAYERS];
    for (int l = 0; l < ledger->n_layers; l++) {
        in[l] = ledger->layers[l].visual_in;
        out[l] = ledger->layers[l].visual_out;
        length[l] = ledger->layers[l].kv_len;
    }
    check_ints(p, "visual_in", json_object_get(p->root, "visual_in"), in, ledger->n_layers);
    check_ints(p, "visual_out", json_object_get(p->root, "visual_out"), out, ledger->n_layers);
    check_ints(p, "kv_len", json_object_get(p->root, "kv_len"), length, ledger->n_layers);
    const json_t *macs = json_object_get(p->root, "macs");
    if (json_is_integer(macs))
        check_number(p, "macs_paper", fabs((double)ledger->macs_paper - (double)json_integer_value(macs)), 0);
    check_number(p, "flops_counted",
                 fabs((double)ledger_flops(ledger, true) - (double)ledger_flops(ledger, false)), 0);
}

static void check_turns(struct parity *p, const struct answer *answer)
{
    char check[64];
    for (int t = 0; t < answer->n_turns; t++) {
        const struct turn *turn = &answer->turns[t];
        const json_t *want = json_array_get(json_object_get(p->root, "turns"), (size_t)t);
        snprintf(check, sizeof check, "turn.%d.prompt_ids", t);
        check_ints(p, check, json_object_get(want, "prompt_ids"), turn->prompt_ids, turn->n_prompt_ids);
        snprintf(check, sizeof check, "turn.%d.answer_ids", t);
        check_ints(p, check, json_object_get(want, "answer_ids"), turn->ids, turn->n_ids);
        const char *text = json_string_value(json_object_get(want, "answer_text"));
        snprintf(check, sizeof check, "turn.%d.answer_text", t);
        if (text)
            report(p, strcmp(text, turn->text) == 0 ? "ok" : "FAIL", check,
                   strcmp(text, turn->text) == 0 ? "equal" : "other", "equal");
        json_t *one = json_pack("[I]", json_integer_value(json_object_get(want, "expanded_len")));
        int32_t length = turn->expanded_len;
        snprintf(check, sizeof check, "turn.%d.expanded_len", t);
        check_ints(p, check, one, &length, 1);
        json_decref(one);
    }
}

/* ---- tensors -------------------------------------------------------------------------------- */

static struct expected_tap *tap_find(struct parity *p, const char *name)
{
    for (int i = 0; i < p->n_taps; i++)
        if (strcmp(p->taps[i].name, name) == 0)
            return &p->taps[i];
    return NULL;
}

static bool tap_want(void *context, const char *name)
{
    return tap_find(context, name) != NULL;
}

static void tap_take(void *context, const char *name, const float *data, int first, int rows, int cols)
{
    struct expected_tap *tap = tap_find(context, name);
    if (tap == NULL || cols != tap->cols)
        return;
    int start = tap->appends ? tap->next_row : first;
    tap->next_row = start + rows;
    for (int i = 0; i < tap->n_stored; i++) {
        int row = tap->row_of[i] - start;
        if (row < 0 || row >= rows)
            continue;
        memcpy(tap->got + (size_t)i * (size_t)cols, data + (size_t)row * (size_t)cols,
               (size_t)cols * sizeof *data);
        tap->seen[i] = true;
    }
}

static enum status tap_load(struct parity *p, const char *name, const json_t *about, struct error *err)
{
    if (p->n_taps == MAX_TAPS)
        return fail(err, BAD_INPUT, "%s: more than %d tensors", p->name, MAX_TAPS);
    struct expected_tap *tap = &p->taps[p->n_taps];
    const json_t *shape = json_object_get(about, "shape"), *rows = json_object_get(about, "rows");
    size_t rank = json_array_size(shape);
    if (rank < 1 || rank > 4 || strlen(name) >= sizeof tap->name)
        return fail(err, BAD_INPUT, "%s: tensor %.60s has no usable shape", p->name, name);
    snprintf(tap->name, sizeof tap->name, "%s", name);
    int64_t sizes[4];
    tap->rows = 1;
    for (size_t i = 0; i < rank; i++) {
        sizes[i] = json_integer_value(json_array_get(shape, i));
        if (sizes[i] < 1 || sizes[i] > LIMIT_SEQUENCE)
            return fail(err, BAD_INPUT, "%s: tensor %s has no usable shape", p->name, name);
    }
    tap->cols = rank == 1 ? 1 : sizes[rank - 1];
    for (size_t i = 0; i + 1 < rank; i++)
        tap->rows *= sizes[i];
    if (rank == 1)
        tap->rows = sizes[0];
    tap->n_stored = rows ? (int)json_array_size(rows) : (int)tap->rows;
    tap->tol = json_number_value(json_object_get(about, "tol"));
    tap->appends = strcmp(name, "logits") == 0 || strcmp(name, "pixel_values") == 0 ||
                   strncmp(name, "vision.", 7) == 0 || strcmp(name, "projector.out") == 0;
    struct weights_tensor tensor;
    TRY(weights_get(&tensor, p->expect, name, -1, NULL, err));
    if (tensor.n_elements != tap->n_stored * tap->cols)
        return fail(err, BAD_INPUT, "%s: tensor %s holds %lld values, expected %lld", p->name, name,
                    (long long)tensor.n_elements, (long long)(tap->n_stored * tap->cols));
    size_t n = (size_t)tensor.n_elements;
    tap->want = memory_alloc(n, sizeof(float));
    tap->got = memory_zero(n, sizeof(float));
    tap->seen = memory_zero((size_t)tap->n_stored, sizeof(bool));
    tap->row_of = memory_alloc((size_t)tap->n_stored, sizeof(int32_t));
    p->n_taps++;
    if (!tap->want || !tap->got || !tap->seen || !tap->row_of)
        return memory_failed(err, name, n * sizeof(float));
    weights_to_f32(tap->want, &tensor, 0, tensor.n_elements);
    for (int i = 0; i < tap->n_stored; i++)
        tap->row_of[i] = rows ? (int32_t)json_integer_value(json_array_get(rows, (size_t)i)) : i;
    return OK;
}

static void check_tap(struct parity *p, const struct expected_tap *tap)
{
    double error = 0, size = 0;
    int missing = 0;
    for (int i = 0; i < tap->n_stored; i++) {
        missing += !tap->seen[i];
        for (int64_t j = 0; j < tap->cols; j++) {
            double a = tap->got[i * tap->cols + j], b = tap->want[i * tap->cols + j];
            error = isnan(a) ? INFINITY : fmax(error, fabs(a - b));
            size = fmax(size, fabs(b));
        }
    }
    if (missing) {
        char value[40];
        snprintf(value, sizeof value, "%d-rows-missing", missing);
        report(p, "FAIL", tap->name, value, "0");
        return;
    }
    check_number(p, tap->name, size > 0 ? error / size : error, p->tol >= 0 ? p->tol : tap->tol);
}

/* ---- a case --------------------------------------------------------------------------------- */

struct loaded { /* the model of the last case, kept while it is the same */
    struct vlm *vlm;
    struct session *session;
    char dir[4096];
};

static enum status model_load(struct loaded *loaded, const char *dir, const struct common_options *options,
                              struct error *err)
{
    if (loaded->vlm && strcmp(loaded->dir, dir) == 0)
        return OK;
    session_close(loaded->session);
    vlm_close(loaded->vlm);
    loaded->session = NULL;
    loaded->vlm = NULL;
    TRY(vlm_open(&loaded->vlm,
                 &(struct vlm_options){.dir = dir, .device = options->device, .dtype = options->dtype}, err));
    snprintf(loaded->dir, sizeof loaded->dir, "%s", dir);
    return session_open(&loaded->session, loaded->vlm, options->threads ? options->threads : 2, err);
}

/* {"name": …, "params": {…}} of the case; numbers and lists become the text that `-p` would take. */
static enum status method_read(struct method *out, const json_t *about, struct error *err)
{
    const char *name =
        json_is_string(about) ? json_string_value(about) : json_string_value(json_object_get(about, "name"));
    if (name == NULL)
        return fail(err, BAD_INPUT, "case.json: `method` has no name");
    TRY(method_init(out, name, err));
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(about, "params"), key, value)
    {
        char text[512] = "";
        size_t n = json_is_array(value) ? json_array_size(value) : 1, used = 0;
        for (size_t i = 0; i < n; i++) {
            const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
            used += (size_t)(json_is_string(item)    ? snprintf(text + used, sizeof text - used, "%s%s",
                                                             i ? "," : "", json_string_value(item))
                             : json_is_boolean(item) ? snprintf(text + used, sizeof text - used, "%s",
                                                                json_is_true(item) ? "on" : "off")
                                                     : snprintf(text + used, sizeof text - used, "%s%.17g",
                                                                i ? "," : "", json_number_value(item)));
            if (used >= sizeof text)
                return fail(err, BAD_INPUT, "parameter %s is too long", key);
        }
        TRY(method_set(out, key, text, err));
    }
    return OK;
}

/* A family, method or mode that is not built yet: the case is skipped, with the reason in *what. */
static bool is_unbuilt(char *what, size_t size, const struct parity *p)
{
    const json_t *about = json_object_get(p->root, "method"), *params = json_object_get(about, "params");
    const char *name =
        json_is_string(about) ? json_string_value(about) : json_string_value(json_object_get(about, "name"));
    const char *mode = json_string_value(json_object_get(params, "mode"));
    const char *model = json_string_value(json_object_get(p->root, "model"));
    struct method method;
    struct error err;
    if (name && method_init(&method, name, &err) != OK)
        return snprintf(what, size, "method-%.60s", name), true;
    if (name && mode && method_set(&method, "mode", mode, &err) != OK)
        return snprintf(what, size, "mode-%.60s", mode), true;
    if (json_array_size(json_object_get(p->root, "videos")) > 0)
        return snprintf(what, size, "video"), true;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/config.json", p->dir, model ? model : "");
    json_t *config;
    if (json_read(&config, path, &err) != OK)
        return false; /* not unbuilt but broken: the run says so */
    const char *type = json_string_value(json_object_get(config, "model_type"));
    bool original = json_object_get(config, "mm_vision_tower") != NULL;
    bool unbuilt = type && (strcmp(type, "llava") != 0 || original);
    if (unbuilt)
        snprintf(what, size, "family-%.50s%s", type, original ? "-original" : "");
    json_decref(config);
    return unbuilt;
}

static enum status case_run(struct parity *p, struct loaded *loaded, const struct common_options *options,
                            struct error *err)
{
    char path[4096];
    const char *model = json_string_value(json_object_get(p->root, "model"));
    const json_t *images = json_object_get(p->root, "images"), *turns = json_object_get(p->root, "turns");
    const json_t *about = json_object_get(p->root, "method");
    if (model == NULL || json_array_size(turns) == 0 || json_array_size(turns) > LIMIT_TURNS ||
        json_array_size(images) > LIMIT_IMAGES)
        return fail(err, BAD_INPUT, "%s/case.json: no model or no turns", p->dir);
    snprintf(path, sizeof path, "%s/%s", p->dir, model);
    TRY(model_load(loaded, path, options, err));

    struct method method;
    TRY(method_init(&method, "vanilla", err));
    if (about && !json_is_null(about))
        TRY(method_read(&method, about, err));
    snprintf(path, sizeof path, "%s/expect.safetensors", p->dir);
    TRY(weights_open(&p->expect, path, err));
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(p->root, "tensors"), key, value) TRY(tap_load(p, key, value, err));

    struct tap tap = {.want = tap_want, .give = tap_take, .context = p};
    const char *mode = json_string_value(json_object_get(p->root, "image_mode"));
    enum image_mode image_mode = mode == NULL               ? IMAGE_MODE_FROM_FILE
                                 : strcmp(mode, "pad") == 0 ? IMAGE_MODE_PAD
                                                            : IMAGE_MODE_CROP;
    struct features *features[LIMIT_IMAGES] = {NULL};
    const char *prompts[LIMIT_TURNS];
    int n_images = (int)json_array_size(images), n_turns = (int)json_array_size(turns);
    enum status status = OK;
    struct answer answer = {0};
    for (int i = 0; i < n_images; i++) {
        struct image image = {0};
        const char *file = json_string_value(json_array_get(images, (size_t)i));
        snprintf(path, sizeof path, "%s/%s", p->dir, file ? file : "");
        TRY_GOTO(status, image_read(&image, path, err));
        status = session_encode(
            &features[i], loaded->session, &image,
            &(struct encode_options){
                .mode = image_mode, .method = &method, .image = i, .n_images = n_images, .tap = &tap},
            err);
        image_free(&image);
        if (status != OK)
            goto exit;
    }
    for (int t = 0; t < n_turns; t++) {
        prompts[t] = json_string_value(json_object_get(json_array_get(turns, (size_t)t), "prompt"));
        if (prompts[t] == NULL)
            TRY_GOTO(status, fail(err, BAD_INPUT, "%s/case.json: turn %d has no prompt", p->dir, t + 1));
    }
    int64_t max_new_tokens;
    TRY_GOTO(status,
             json_int(&max_new_tokens, p->root, "max_new_tokens", 16, 1, LIMIT_NEW_TOKENS, p->name, err));
    TRY_GOTO(status, session_ask(&answer, loaded->session,
                                 &(struct question){.prompts = prompts,
                                                    .n_turns = n_turns,
                                                    .images = features,
                                                    .n_images = n_images,
                                                    .method = &method,
                                                    .max_new_tokens = (int)max_new_tokens,
                                                    .tap = &tap,
                                                    .want_records = true},
                                 err));
    check_turns(p, &answer);
    check_cuts(p, &answer);
    check_plan(p, &answer);
    check_layers(p, &answer.ledger);
    for (int i = 0; i < p->n_taps; i++)
        check_tap(p, &p->taps[i]);
exit:
    for (int i = 0; i < n_images; i++)
        features_release(features[i]);
    answer_free(&answer);
    return status;
}

static enum status case_open(struct parity *p, const char *dir, struct error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/case.json", dir);
    p->dir = dir;
    TRY(json_read(&p->root, path, err));
    p->name = json_string_value(json_object_get(p->root, "case"));
    if (p->name == NULL)
        return fail(err, BAD_INPUT, "%s: no key `case`", path);
    return OK;
}

static void case_close(struct parity *p)
{
    for (int i = 0; i < p->n_taps; i++) {
        free(p->taps[i].want);
        free(p->taps[i].got);
        free(p->taps[i].seen);
        free(p->taps[i].row_of);
    }
    if (p->expect)
        weights_close(p->expect);
    json_decref(p->root);
}

int cmd_parity(int argc, char **argv)
{
    static const struct option table[] = {
        COMMON_OPTIONS, {"tol", required_argument, NULL, OPTION_OWN}, {"help", no_argument, NULL, 'h'}, {0}};
    struct common_options options;
    struct error err;
    double tol = -1;
    common_init(&options);
    for (int o; (o = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        bool taken;
        if (common_option(&options, o, optarg, &taken, &err) != OK)
            return command_fail(&err);
        if (o == 'h')
            return printf("%s", command_find("parity")->usage), OK;
        if (o == OPTION_OWN && parse_real(&tol, optarg, 0, 1, "--tol", &err) != OK)
            return command_fail(&err);
        if (!taken && o != OPTION_OWN)
            return command_option("parity", argc, argv);
    }
    if (optind == argc)
        return command_usage("parity", "expected at least one case directory");
    struct loaded loaded = {0};
    int n_checks = 0, n_failed = 0, n_skipped = 0, n_read = 0;
    for (int i = optind; i < argc; i++) {
        struct parity p = {.tol = tol};
        char unbuilt[96];
        enum status status = case_open(&p, argv[i], &err);
        n_read += status == OK;
        if (status == OK && is_unbuilt(unbuilt, sizeof unbuilt, &p))
            report(&p, "skip", "run", unbuilt, "built");
        else if (status == OK)
            status = case_run(&p, &loaded, &options, &err);
        if (status != OK) { /* said, counted as a check that failed, and the others go on */
            fprintf(stderr, "winnow: error: %s: %s\n", argv[i], err.text);
            if (p.name == NULL)
                p.name = argv[i];
            report(&p, "FAIL", "run", "error", "none");
        }
        n_checks += p.n_checks;
        n_failed += p.n_failed;
        n_skipped += p.n_skipped;
        case_close(&p);
    }
    session_close(loaded.session);
    vlm_close(loaded.vlm);
    printf("%d checks, %d failed, %d skipped\n", n_checks, n_failed, n_skipped);
    return (int)(n_read == 0 ? BAD_INPUT : n_failed ? NOT_HELD : OK);
}
