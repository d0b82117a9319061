/* Sweep files, see sweep_file.h: every key of the file has its place here, in the order of the documentation.
 */
#include "harness/sweep_file.h"

#include <string.h> /* strcmp */

#include "core/limits.h"        /* LIMIT_* */
#include "core/memory.h"        /* memory_failed */
#include "core/reducer.h"       /* method_init, method_set */
#include "datasets/benchmark.h" /* benchmark_find */
#include "harness/size.h"       /* size_read */
#include "harness/template.h"   /* template_names */
#include "harness/yaml_tree.h"  /* the file */

const char *const control_names[] = {"none", "blank", "mismatched", "no-image", NULL};
const char *const split_names[] = {"all", "tune", "confirm", NULL};
const char *const image_mode_names[] = {"file", "crop", "pad", NULL};
const char *const dtype_names[] = {"auto", "f32", "bf16", "f16", NULL};
static const char *const device_names[] = {"cpu", "cuda", "ref", NULL};
static const char *const protocol_names[] = {"llava", NULL};

enum {
    SAMPLES_MAX = 100000000,
    REPEATS_MAX = 1000,
    TIMING_SAMPLES = 20,
    TIMING_REPEATS = 5,
    TRACE_SAMPLES = 4,
    TRACE_BYTES = 1 << 30, /* of its file */
    SIZE_LEAST = 100000
};

/* The tree owns all texts and arrays of the sweep. */
struct sweep_text;
static struct yaml_tree *tree_of(const struct sweep *sweep)
{
    return (struct yaml_tree *)sweep->text;
}

static enum status image_mode_read(enum image_mode *out, const struct yaml_tree *tree, int node,
                                   struct error *err)
{
    int index; /* `file` is no choice of a sweep: a cell says what was done */
    TRY(yaml_choice(&index, tree, node, "image_mode", image_mode_names + 1, err));
    *out = (enum image_mode)(index + 1);
    return OK;
}

/* Settings that stand at the top and may be overridden per benchmark. */
static enum status read_shared(struct sweep_benchmark *out, const struct yaml_tree *tree, int map,
                               struct error *err)
{
    int node = yaml_get(tree, map, "template"), index;
    if (node) {
        TRY(yaml_choice(&index, tree, node, "template", template_names(), err));
        out->template = template_names()[index];
    }
    if ((node = yaml_get(tree, map, "image_mode")))
        TRY(image_mode_read(&out->image_mode, tree, node, err));
    if ((node = yaml_get(tree, map, "max_new_tokens")))
        TRY(yaml_int(&out->max_new_tokens, tree, node, "max_new_tokens", 1, LIMIT_NEW_TOKENS, err));
    if ((node = yaml_get(tree, map, "judge"))) {
        /* No key: a file is shared, a key is not. */
        TRY(yaml_check_map(tree, node, "judge", (const char *const[]){"url", "model", NULL}, err));
        int url = yaml_get(tree, node, "url"), model = yaml_get(tree, node, "model");
        if (url)
            TRY(yaml_text(&out->judge_url, tree, url, "judge.url", err));
        if (model)
            TRY(yaml_text(&out->judge_model, tree, model, "judge.model", err));
    }
    return OK;
}

static enum status unknown_benchmark(const struct yaml_tree *tree, int node, const char *name,
                                     struct error *err)
{
    char list[500] = "";
    int n;
    const struct benchmark *const *all = benchmarks(&n);
    for (int i = 0; i < n; i++) {
        size_t used = strlen(list), left = sizeof list - used;
        snprintf(list + used, left, "%s%s", i ? ", " : "", all[i]->name);
    }
    return yaml_fail(err, tree, node, "unknown benchmark '%.60s'; there are: %s (twins: mini-NAME)", name,
                     list);
}

/* What an entry says about which of its questions are asked, and how; the rest of *out stays. */
static enum status read_choice(struct sweep_benchmark *out, const struct yaml_tree *tree, int node,
                               struct error *err)
{
    int value = yaml_get(tree, node, "limit"), index;
    if (value)
        TRY(yaml_int(&out->limit, tree, value, "limit", 1, SAMPLES_MAX, err));
    if ((value = yaml_get(tree, node, "split"))) {
        TRY(yaml_choice(&index, tree, value, "split", split_names, err));
        out->split = (enum split)index;
    }
    return read_shared(out, tree, node, err);
}

/* The name of an entry, which may be all that there is of it. */
static enum status read_name(struct sweep_benchmark *out, const struct yaml_tree *tree, int node,
                             const char *what, const char *const *keys, struct error *err)
{
    int name = node;
    out->line = yaml_line(tree, node);
    if (yaml_map_size(tree, node) >= 0) {
        TRY(yaml_check_map(tree, node, what, keys, err));
        name = yaml_get(tree, node, "name");
        if (name == 0)
            return yaml_fail(err, tree, node, "%s: `name` is missing", what);
    }
    TRY(yaml_text(&out->name, tree, name, "name of a benchmark", err));
    return benchmark_find(out->name, NULL) ? OK : unknown_benchmark(tree, name, out->name, err);
}

static int lower_limit(int a, int b) /* 0: none */
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* A twin, asked as the entry is that it stands in for, unless it says otherwise; both limits hold. */
static enum status read_stand_in(struct sweep_benchmark *entry, struct yaml_tree *tree, int node,
                                 struct error *err)
{
    static const char *const keys[] = {"name",       "limit",          "split", "template",
                                       "image_mode", "max_new_tokens", "judge", NULL};
    struct sweep_benchmark *out = yaml_array(tree, 1, sizeof *out);
    if (out == NULL)
        return memory_failed(err, "a benchmark", sizeof *out);
    *out = *entry;
    out->limit = 0;
    TRY(read_name(out, tree, node, "without_data", keys, err));
    bool is_twin = false;
    benchmark_find(out->name, &is_twin);
    if (!is_twin)
        return yaml_fail(err, tree, node,
                         "without_data: %s needs data itself; expected a generated twin, as mini-%s",
                         out->name, benchmark_find(entry->name, NULL)->name);
    if (yaml_map_size(tree, node) >= 0)
        TRY(read_choice(out, tree, node, err));
    out->limit = lower_limit(entry->limit, out->limit);
    out->stands_in_for = entry->name;
    entry->without_data = out;
    return OK;
}

static enum status read_benchmark(struct sweep_benchmark *out, const struct sweep_benchmark *shared,
                                  struct yaml_tree *tree, int node, struct error *err)
{
    static const char *const keys[] = {"name",           "questions", "annotations",  "images",
                                       "limit",          "split",     "template",     "image_mode",
                                       "max_new_tokens", "judge",     "without_data", NULL};
    *out = *shared;
    TRY(read_name(out, tree, node, "a benchmark", keys, err));
    const struct benchmark *benchmark = benchmark_find(out->name, NULL);
    if (out->template == NULL) /* the conversation of the benchmark's official run */
        out->template = benchmark->template ? benchmark->template : "vicuna_v1";
    if (yaml_map_size(tree, node) < 0)
        return OK;
    const struct {
        const char *key, **text;
    } paths[] = {
        {"questions", &out->questions}, {"annotations", &out->annotations}, {"images", &out->images}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        int path = yaml_get(tree, node, paths[i].key);
        if (path)
            TRY(yaml_text(paths[i].text, tree, path, paths[i].key, err));
    }
    TRY(read_choice(out, tree, node, err));
    int other = yaml_get(tree, node, "without_data");
    return other ? read_stand_in(out, tree, other, err) : OK;
}

/* Tries a setting alone, so that a word or a number that can never be right is found with its line. */
static enum status check_setting(const struct yaml_tree *tree, int node, const char *method_name,
                                 const char *key, const char *value, struct error *err)
{
    int index;
    if (strcmp(key, "control") == 0)
        return yaml_choice(&index, tree, node, "control", control_names, err);
    struct method method;
    TRY(method_init(&method, method_name, err));
    if (method_set(&method, key, value, err) != OK) {
        char text[sizeof err->text];
        memcpy(text, err->text, sizeof text);
        return yaml_fail(err, tree, node, "%s", text);
    }
    return OK;
}

static bool is_set(const struct sweep_method *method, const char *key)
{
    for (int i = 0; i < method->n_settings; i++)
        if (strcmp(method->settings[i].key, key) == 0)
            return true;
    for (int i = 0; i < method->n_axes; i++)
        if (strcmp(method->axes[i].key, key) == 0)
            return true;
    return false;
}

static enum status add_setting(struct sweep_method *out, struct yaml_tree *tree, const char *key, int node,
                               struct error *err)
{
    const char *value;
    if (is_set(out, key))
        return yaml_fail(err, tree, node, "method %s: '%.60s' is given twice", out->name, key);
    TRY(yaml_joined(&value, tree, node, key, err));
    TRY(check_setting(tree, node, out->name, key, value, err));
    out->settings[out->n_settings++] = (struct setting){key, value, yaml_line(tree, node)};
    return OK;
}

static enum status add_axis(struct sweep_method *out, struct yaml_tree *tree, const char *key, int node,
                            struct error *err)
{
    char what[100];
    snprintf(what, sizeof what, "axis '%.60s'", key);
    TRY(yaml_check_list(tree, node, what, err));
    if (is_set(out, key))
        return yaml_fail(err, tree, node, "method %s: '%.60s' is given twice", out->name, key);
    struct axis *axis = &out->axes[out->n_axes];
    *axis = (struct axis){.key = key, .n = yaml_list_size(tree, node), .line = yaml_line(tree, node)};
    axis->values = yaml_array(tree, (size_t)axis->n, sizeof *axis->values);
    if (axis->values == NULL)
        return memory_failed(err, what, (size_t)axis->n * sizeof *axis->values);
    for (int i = 0; i < axis->n; i++) {
        int item = yaml_list_at(tree, node, i);
        TRY(yaml_joined(&axis->values[i], tree, item, what, err));
        TRY(check_setting(tree, item, out->name, key, axis->values[i], err));
    }
    out->n_axes++;
    return OK;
}

static enum status read_method(struct sweep_method *out, struct yaml_tree *tree, int node, struct error *err)
{
    static const char *const keys[] = {"name", "budget", "match", "control", "params", "axes", NULL};
    *out = (struct sweep_method){.line = yaml_line(tree, node)};
    int name = node;
    if (yaml_map_size(tree, node) >= 0) {
        TRY(yaml_check_map(tree, node, "a method", keys, err));
        name = yaml_get(tree, node, "name");
        if (name == 0)
            return yaml_fail(err, tree, node, "a method: `name` is missing");
    }
    TRY(yaml_text(&out->name, tree, name, "name of a method", err));
    struct method method;
    if (method_init(&method, out->name, err) != OK) {
        char text[sizeof err->text];
        memcpy(text, err->text, sizeof text);
        return yaml_fail(err, tree, name, "%s", text);
    }
    if (name == node)
        return OK;
    int params = yaml_get(tree, node, "params"), axes = yaml_get(tree, node, "axes");
    if (params)
        TRY(yaml_check_map(tree, params, "params", NULL, err));
    if (axes)
        TRY(yaml_check_map(tree, axes, "axes", NULL, err));
    int n_params = params ? yaml_map_size(tree, params) : 0, n_axes = axes ? yaml_map_size(tree, axes) : 0;
    out->settings = yaml_array(tree, (size_t)n_params + 3, sizeof *out->settings);
    out->axes = yaml_array(tree, (size_t)n_axes, sizeof *out->axes);
    if (out->settings == NULL || out->axes == NULL)
        return memory_failed(err, "a method", (size_t)(n_params + n_axes) * sizeof *out->axes);
    for (int i = 1; i <= 3; i++) {
        int value = yaml_get(tree, node, keys[i]);
        if (value)
            TRY(add_setting(out, tree, keys[i], value, err));
    }
    for (int i = 0; i < n_params + n_axes; i++) {
        int key, value;
        const char *text;
        yaml_map_at(&key, &value, tree, i < n_params ? params : axes, i < n_params ? i : i - n_params);
        TRY(yaml_text(&text, tree, key, "a key", err));
        TRY((i < n_params ? add_setting : add_axis)(out, tree, text, value, err));
    }
    return OK;
}

static enum status read_timing(struct sweep *out, const struct yaml_tree *tree, int node, struct error *err)
{
    static const char *const keys[] = {"samples", "repeats", "processes", NULL};
    TRY(yaml_check_map(tree, node, "timing", keys, err));
    out->timing.wanted = true;
    out->timing.samples = TIMING_SAMPLES;
    out->timing.repeats = TIMING_REPEATS;
    int value = yaml_get(tree, node, "samples"), processes = 1;
    if (value)
        TRY(yaml_int(&out->timing.samples, tree, value, "timing.samples", 1, SAMPLES_MAX, err));
    if ((value = yaml_get(tree, node, "repeats")))
        TRY(yaml_int(&out->timing.repeats, tree, value, "timing.repeats", 1, REPEATS_MAX, err));
    if ((value = yaml_get(tree, node, "processes")))
        TRY(yaml_int(&processes, tree, value, "timing.processes", 1, REPEATS_MAX, err));
    if (processes != 1)
        return yaml_fail(
            err, tree, value,
            "timing.processes: this build times in one process; run the sweep %d times with a store of "
            "its own each",
            processes);
    return OK;
}

static enum status read_size(int64_t *out, const struct yaml_tree *tree, int node, const char *what,
                             struct error *err)
{
    const char *text;
    TRY(yaml_text(&text, tree, node, what, err));
    if (size_read(out, text) && *out >= SIZE_LEAST)
        return OK;
    return yaml_fail(
        err, tree, node,
        "%s: expected a size of at least 100KB with its unit, as in 500MB or 1GiB, found '%.40s'", what,
        text);
}

static enum status read_trace(struct sweep *out, const struct yaml_tree *tree, int node, struct error *err)
{
    static const char *const keys[] = {"samples", "limit", "keep", "attention", NULL};
    TRY(yaml_check_map(tree, node, "trace", keys, err));
    out->trace.wanted = true;
    out->trace.samples = TRACE_SAMPLES;
    out->trace.limit = TRACE_BYTES;
    int value = yaml_get(tree, node, "samples"), index;
    if (value) {
        const char *text;
        TRY(yaml_text(&text, tree, value, "trace.samples", err));
        if (strcmp(text, "all") == 0)
            out->trace.samples = -1;
        else
            TRY(yaml_int(&out->trace.samples, tree, value, "trace.samples (or all)", 1, SAMPLES_MAX, err));
    }
    if ((value = yaml_get(tree, node, "limit")))
        TRY(read_size(&out->trace.limit, tree, value, "trace.limit", err));
    if ((value = yaml_get(tree, node, "keep"))) {
        TRY(yaml_choice(&index, tree, value, "trace.keep", (const char *const[]){"all", "cuts", NULL}, err));
        out->trace.cuts_only = index == 1;
    }
    if ((value = yaml_get(tree, node, "attention"))) {
        TRY(yaml_check_list(tree, value, "trace.attention", err));
        int n = yaml_list_size(tree, value);
        if (n > LIMIT_LAYERS)
            return yaml_fail(err, tree, value, "trace.attention: names %d layers, the limit is %d", n,
                             LIMIT_LAYERS);
        for (int i = 0; i < n; i++)
            TRY(yaml_int(&out->trace.attention[i], tree, yaml_list_at(tree, value, i), "trace.attention", 0,
                         LIMIT_LAYERS - 1, err));
        out->trace.n_attention = n;
    }
    return OK;
}

static enum status read_lists(struct sweep *out, const struct sweep_benchmark *shared, struct yaml_tree *tree,
                              struct error *err)
{
    int root = yaml_root(tree), node = yaml_get(tree, root, "model");
    if (node) {
        bool list = yaml_list_size(tree, node) >= 0;
        if (list)
            TRY(yaml_check_list(tree, node, "model", err));
        out->n_models = list ? yaml_list_size(tree, node) : 1;
        out->models = yaml_array(tree, (size_t)out->n_models, sizeof *out->models);
        if (out->models == NULL)
            return memory_failed(err, "models", (size_t)out->n_models * sizeof *out->models);
        for (int i = 0; i < out->n_models; i++)
            TRY(yaml_text(&out->models[i], tree, list ? yaml_list_at(tree, node, i) : node, "model", err));
    }
    if ((node = yaml_get(tree, root, "benchmarks")) == 0)
        return yaml_fail(err, tree, root, "`benchmarks` is missing");
    TRY(yaml_check_list(tree, node, "benchmarks", err));
    out->n_benchmarks = yaml_list_size(tree, node);
    out->benchmarks = yaml_array(tree, (size_t)out->n_benchmarks, sizeof *out->benchmarks);
    if (out->benchmarks == NULL)
        return memory_failed(err, "benchmarks", (size_t)out->n_benchmarks * sizeof *out->benchmarks);
    for (int i = 0; i < out->n_benchmarks; i++)
        TRY(read_benchmark(&out->benchmarks[i], shared, tree, yaml_list_at(tree, node, i), err));
    if ((node = yaml_get(tree, root, "methods")) == 0)
        return yaml_fail(err, tree, root, "`methods` is missing");
    TRY(yaml_check_list(tree, node, "methods", err));
    out->n_methods = yaml_list_size(tree, node);
    out->methods = yaml_array(tree, (size_t)out->n_methods, sizeof *out->methods);
    if (out->methods == NULL)
        return memory_failed(err, "methods", (size_t)out->n_methods * sizeof *out->methods);
    for (int i = 0; i < out->n_methods; i++)
        TRY(read_method(&out->methods[i], tree, yaml_list_at(tree, node, i), err));
    if ((node = yaml_get(tree, root, "controls"))) {
        TRY(yaml_check_list(tree, node, "controls", err));
        for (int i = 0; i < yaml_list_size(tree, node); i++) {
            int index, item = yaml_list_at(tree, node, i);
            TRY(yaml_choice(&index, tree, item, "controls", control_names, err));
            for (int j = 0; j < out->n_controls; j++)
                if (out->controls[j] == (enum control)index)
                    return yaml_fail(err, tree, item, "controls: %s stands twice", control_names[index]);
            out->controls[out->n_controls++] = (enum control)index;
        }
    }
    return OK;
}

static enum status read_all(struct sweep *out, struct yaml_tree *tree, struct error *err)
{
    static const char *const keys[] = {"name",  "model",      "data",     "device",     "dtype",
                                       "match", "protocol",   "template", "image_mode", "max_new_tokens",
                                       "judge", "benchmarks", "methods",  "controls",   "timing",
                                       "trace", NULL};
    int root = yaml_root(tree), index, node;
    TRY(yaml_check_map(tree, root, "a sweep", keys, err));
    if ((node = yaml_get(tree, root, "name")) == 0)
        return yaml_fail(err, tree, root, "`name` is missing");
    TRY(yaml_text(&out->name, tree, node, "name", err));
    for (const char *c = out->name; *c; c++) /* it becomes a folder */
        if (*c == '/' || (c == out->name && *c == '.') || (unsigned char)*c < ' ')
            return yaml_fail(err, tree, node, "name: '%.60s' cannot be the name of a folder", out->name);
    if ((node = yaml_get(tree, root, "data")))
        TRY(yaml_text(&out->data, tree, node, "data", err));
    if ((node = yaml_get(tree, root, "device"))) {
        TRY(yaml_choice(&index, tree, node, "device", device_names, err));
        out->device = device_names[index];
    }
    if ((node = yaml_get(tree, root, "dtype"))) {
        TRY(yaml_choice(&index, tree, node, "dtype", dtype_names, err));
        out->dtype = (enum dtype_choice)index;
    }
    if ((node = yaml_get(tree, root, "match"))) {
        TRY(yaml_choice(&index, tree, node, "match", match_names, err));
        out->match = (enum match)index;
    }
    if ((node = yaml_get(tree, root, "protocol")))
        TRY(yaml_choice(&index, tree, node, "protocol", protocol_names, err));
    /* Protocol llava: its conversation, a padded square, each benchmark's own answer limit. */
    struct sweep_benchmark shared = {.image_mode = IMAGE_MODE_PAD};
    TRY(read_shared(&shared, tree, root, err));
    TRY(read_lists(out, &shared, tree, err));
    if ((node = yaml_get(tree, root, "timing")))
        TRY(read_timing(out, tree, node, err));
    if ((node = yaml_get(tree, root, "trace")))
        TRY(read_trace(out, tree, node, err));
    return OK;
}

enum status sweep_read(struct sweep *out, const char *path, const char *const *sets, int n_sets,
                       struct error *err)
{
    *out = (struct sweep){0};
    struct yaml_tree *tree;
    TRY(yaml_tree_open(&tree, path, err));
    out->text = (struct sweep_text *)tree;
    enum status status = OK;
    char *copy = yaml_array(tree, strlen(path) + 1, 1);
    if (copy == NULL)
        status = memory_failed(err, path, strlen(path));
    else
        out->path = memcpy(copy, path, strlen(path) + 1);
    for (int i = 0; i < n_sets && status == OK; i++)
        status = yaml_override(tree, sets[i], err);
    if (status == OK)
        status = read_all(out, tree, err);
    if (status != OK)
        sweep_free(out);
    return status;
}

void sweep_stand_in(struct sweep *sweep)
{
    for (int i = 0; i < sweep->n_benchmarks; i++)
        if (sweep->benchmarks[i].without_data && sweep->benchmarks[i].questions == NULL)
            sweep->benchmarks[i] = *sweep->benchmarks[i].without_data;
}

void sweep_free(struct sweep *sweep)
{
    yaml_tree_close(tree_of(sweep));
    *sweep = (struct sweep){0};
}
