/* Cuts read back from a trace (layout: trace.h), see replay.h.
 *
 * The file names tokens by number; a cut is made by places. `ids_in` is the way from one to the other: the
 * place of a token is where its number stands in it.
 */
#include "harness/replay.h"

#include <fcntl.h>    /* open */
#include <math.h>     /* isfinite */
#include <stdio.h>    /* snprintf */
#include <stdlib.h>   /* free, qsort, bsearch */
#include <string.h>   /* strcmp */
#include <sys/file.h> /* flock, which HDF5 locks with */
#include <unistd.h>   /* close */

#include "core/json.h"           /* json_parse */
#include "core/limits.h"         /* LIMIT_* */
#include "core/memory.h"         /* memory_* */
#include "harness/hdf5_driver.h" /* hdf5_open */
#include "harness/hdf5_file.h"   /* hdf5_* */

enum {
    NAME_SIZE = 128,
    PREFIX_MIN = 8,       /* digits of a key that may stand for it */
    LISTED_MAX = 8,       /* cells in a message */
    CUTS_MAX = 1 << 14,   /* of one sample */
    VALUES_MAX = 64 << 20 /* of one sample, all datasets together */
};

struct replay_file {
    char *path, *key, *method;
    json_t *params;
    bool sums; /* clusters of an old trace are sums, not means */
};

/* ---- the file ------------------------------------------------------------------------------- */

/* Another process writes the file. */
static bool is_locked(const char *path)
{
    int fd = open(path, O_RDONLY);
    bool locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;
    if (fd >= 0)
        close(fd);
    return locked;
}

static enum status file_open(hid_t *out, const char *path, struct error *err)
{
    if (!file_exists(path))
        return fail(err, BAD_INPUT, "%s: no such trace; a sweep with `trace: {samples: all}` makes one",
                    path);
    *out = hdf5_open(path);
    if (*out >= 0)
        return OK;
    if (access(path, R_OK) != 0)
        return fail(err, BAD_INPUT, "%s: may not be read", path);
    if (is_locked(path))
        return fail(err, NO_MACHINE,
                    "%s: HDF5 cannot open the trace, another program writes it; replay when it is done",
                    path);
    if (H5Fis_hdf5(path) <= 0)
        return fail(err, BAD_INPUT, "%s: no HDF5 file; a trace that a sweep has written is expected", path);
    return fail(err, BAD_INPUT, "%s: HDF5 cannot open the trace; is it damaged or cut short?", path);
}

/* What the walk over the cells looks for and finds. */
struct search {
    const char *cell; /* the key that is wanted, or how it begins */
    size_t n_prefix;  /* digits that may stand for a key; 0: only the whole key */
    bool exact;
    int n_found, n_cells;
    char key[NAME_SIZE], listed[LISTED_MAX * 44];
};

static herr_t cell_visit(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    (void)group;
    struct search *s = context;
    if (info->type != H5L_TYPE_HARD || strlen(name) >= sizeof s->key)
        return 0; /* not one of ours */
    if (s->n_cells++ < LISTED_MAX) {
        char shown[PRINTABLE_SIZE];
        size_t n = strlen(s->listed);
        snprintf(s->listed + n, sizeof s->listed - n, "%s%.40s", n > 0 ? ", " : "", printable(shown, name));
    }
    bool exact = strcmp(name, s->cell) == 0;
    if (!exact && (s->exact || s->n_prefix == 0 || strncmp(name, s->cell, s->n_prefix) != 0))
        return 0;
    s->n_found = exact ? 1 : s->n_found + 1;
    s->exact = s->exact || exact;
    snprintf(s->key, sizeof s->key, "%s", name);
    return 0;
}

static enum status cell_find(char key[NAME_SIZE], const char *path, hid_t file, const char *cell,
                             struct error *err)
{
    char shown[PRINTABLE_SIZE];
    struct search search = {.cell = cell, .n_prefix = strlen(cell)};
    if (search.n_prefix < PREFIX_MIN || strspn(cell, "0123456789abcdef") != search.n_prefix)
        search.n_prefix = 0;
    hid_t cells = hdf5_group(file, (const char *const[]){"cells"}, 1);
    if (cells < 0)
        return fail(err, BAD_INPUT, "%s: is no trace: it has no group `cells`", path);
    herr_t walked = H5Literate(cells, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, cell_visit, &search);
    H5Gclose(cells);
    if (walked < 0)
        return fail(err, BAD_INPUT, "%s: its cells cannot be read; the trace is damaged", path);
    if (search.n_found == 1) {
        snprintf(key, NAME_SIZE, "%s", search.key);
        return OK;
    }
    return fail(err, BAD_INPUT, "%s: %s \"%s\"; it has %d%s%s%s", path,
                search.n_found > 1 ? "more than one cell's key begins with" : "has no cell",
                printable(shown, cell), search.n_cells, search.n_cells > 0 ? ": " : "", search.listed,
                search.n_cells > LISTED_MAX ? ", ..." : "");
}

static enum status cell_read(struct replay_file *out, hid_t file, struct error *err)
{
    hid_t cell = hdf5_group(file, (const char *const[]){"cells", out->key}, 2);
    if (cell < 0)
        return fail(err, BAD_INPUT, "%s: cell %s: expected a group", out->path, out->key);
    out->method = hdf5_text_attribute(cell, "method");
    char *params = hdf5_text_attribute(cell, "params");
    H5Gclose(cell);
    enum status status = OK;
    if (out->method == NULL || params == NULL)
        status = memory_failed(err, "cell", NAME_SIZE);
    else if (*out->method == '\0')
        status = fail(err, BAD_INPUT, "%s: cell %s: does not say which method it is of", out->path, out->key);
    else
        status = json_parse(&out->params, params, strlen(params), "params", err);
    if (status == OK && !json_is_object(out->params))
        status = fail(err, BAD_INPUT, "%s: cell %s: params: expected a JSON object", out->path, out->key);
    if (status == OK) {
        const char *merge = json_string_value(json_object_get(out->params, "merge"));
        out->sums = merge != NULL && strcmp(merge, "sum") == 0;
    }
    free(params);
    return status;
}

enum status replay_open(struct replay_file **out, const char *path, const char *cell, struct error *err)
{
    *out = NULL;
    char key[NAME_SIZE];
    hid_t handle = -1;
    struct replay_file *file = memory_zero(1, sizeof *file);
    if (file == NULL || (file->path = memory_text(path)) == NULL) {
        free(file);
        return memory_failed(err, path, sizeof *file);
    }
    enum status status;
    hdf5_enter();
    TRY_GOTO(status, file_open(&handle, path, err));
    TRY_GOTO(status, cell_find(key, path, handle, cell, err));
    file->key = memory_text(key);
    status = file->key != NULL ? cell_read(file, handle, err) : memory_failed(err, "key", sizeof key);
exit:
    if (handle >= 0)
        H5Fclose(handle);
    hdf5_leave();
    if (status != OK) {
        replay_close(file);
        return status;
    }
    *out = file;
    return OK;
}

void replay_close(struct replay_file *file)
{
    if (file == NULL)
        return;
    free(file->path);
    free(file->key);
    free(file->method);
    json_decref(file->params);
    free(file);
}

enum status replay_about(struct replay *out, const struct replay_file *file, struct error *err)
{
    *out = (struct replay){.method = memory_text(file->method), .params = json_deep_copy(file->params)};
    if (out->method != NULL && out->params != NULL)
        return OK;
    replay_clear(out);
    return memory_failed(err, "cell", NAME_SIZE);
}

void replay_clear(struct replay *replay)
{
    free(replay->method);
    json_decref(replay->params);
    replay_free(replay->cuts, replay->n_cuts);
    *replay = (struct replay){0};
}

/* ---- one cut -------------------------------------------------------------------------------- */

/* A cut's group, and how many values the sample may still have. */
struct source {
    hid_t group;
    size_t n_left;
};

/* One dataset of one dimension; `n_want` values, −1: any number. */
static enum status values(void **out, int *n, struct source *from, const char *name, hid_t memory_type,
                          int n_want, struct error *err)
{
    hsize_t shape[1];
    size_t limit = from->n_left < LIMIT_SEQUENCE ? from->n_left : LIMIT_SEQUENCE;
    TRY(hdf5_array(out, shape, from->group, name, 1, memory_type, limit, err));
    from->n_left -= (size_t)shape[0];
    *n = (int)shape[0];
    if (n_want >= 0 && *n != n_want)
        return fail(err, BAD_INPUT, "%s: expected %d values, found %d", name, n_want, *n);
    return OK;
}

static enum status ints(int32_t **out, int *n, struct source *from, const char *name, int n_want,
                        struct error *err)
{
    void *data;
    enum status status = values(&data, n, from, name, H5T_NATIVE_INT32, n_want, err);
    *out = data;
    return status;
}

static enum status floats(float **out, struct source *from, const char *name, int n_want, struct error *err)
{
    void *data;
    int n;
    enum status status = values(&data, &n, from, name, H5T_NATIVE_FLOAT, n_want, err);
    *out = data;
    return status;
}

static enum status number(int *out, const struct source *from, const char *name, int low, int high,
                          struct error *err)
{
    if (!hdf5_int_attribute(out, from->group, name))
        return fail(err, BAD_INPUT, "lacks its attribute `%s`, an integer", name);
    if (*out < low || *out > high)
        return fail(err, BAD_INPUT, "attribute `%s`: expected %d to %d, found %d", name, low, high, *out);
    return OK;
}

/* One that only cuts of the tower have (`vision`); false where it is absent. */
static enum status flag(bool *out, const struct source *from, const char *name, bool vision,
                        struct error *err)
{
    int value = 0;
    if (H5Aexists(from->group, name) > 0)
        TRY(number(&value, from, name, 0, vision, err));
    *out = value == 1;
    return OK;
}

static enum status site_read(struct cut_record *cut, const struct source *from, struct error *err)
{
    int in_place;
    TRY(number(&cut->layer, from, "layer", LAYER_BEFORE, LIMIT_LAYERS, err));
    cut->image = -1;
    cut->site = cut->layer == LAYER_BEFORE ? SITE_BEFORE : SITE_DECODER;
    if (H5Aexists(from->group, "site") <= 0)
        return OK; /* an old trace */
    char *site = hdf5_text_attribute(from->group, "site");
    if (site == NULL)
        return memory_failed(err, "site", NAME_SIZE);
    int found = SITE_DECODER;
    while (found >= 0 && strcmp(site, site_names[found]) != 0)
        found--;
    free(site);
    if (found < 0)
        return fail(err, BAD_INPUT, "attribute `site`: expected vision, before or decoder");
    if (found != SITE_VISION && found != (int)cut->site)
        return fail(err, BAD_INPUT, "is said to be %s, but after layer %d",
                    found == SITE_BEFORE ? "before layer 0" : "in the decoder", cut->layer);
    cut->site = (enum cut_site)found;
    bool vision = cut->site == SITE_VISION;
    TRY(number(&cut->image, from, "image", vision ? 0 : -1, vision ? LIMIT_IMAGES - 1 : -1, err));
    TRY(number(&cut->turn, from, "turn", 0, LIMIT_TURNS - 1, err));
    TRY(number(&in_place, from, "in_place", 0, 1, err));
    cut->in_place = in_place == 1;
    TRY(flag(&cut->keep_class, from, "keep_class", vision, err));
    TRY(flag(&cut->tower.middle, from, "middle", vision, err));
    TRY(flag(&cut->tower.proportional, from, "proportional", vision, err));
    return flag(&cut->tower.raster, from, "raster", vision, err);
}

struct token_place {
    int32_t id, place;
};

static int token_compare(const void *a, const void *b)
{
    int32_t x = ((const struct token_place *)a)->id, y = ((const struct token_place *)b)->id;
    return (x > y) - (x < y);
}

/* [n_in] by rising id; the caller frees. */
static enum status tokens_sort(struct token_place **out, const struct cut_record *cut, struct error *err)
{
    size_t n = (size_t)cut->n_in;
    struct token_place *tokens = memory_alloc(n, sizeof *tokens);
    *out = tokens;
    if (tokens == NULL)
        return memory_failed(err, "tokens", n * sizeof *tokens);
    for (int i = 0; i < cut->n_in; i++)
        tokens[i] = (struct token_place){cut->ids_in[i], i};
    qsort(tokens, n, sizeof *tokens, token_compare);
    for (size_t i = 1; i < n; i++)
        if (tokens[i].id == tokens[i - 1].id)
            return fail(err, BAD_INPUT, "ids_in: names token %d twice", tokens[i].id);
    if (n > 0 && tokens[n - 1].id >= LIMIT_SEQUENCE)
        return fail(err, BAD_INPUT, "ids_in: token %d is beyond the limit of %d", tokens[n - 1].id,
                    LIMIT_SEQUENCE);
    return OK;
}

/* Token numbers to places, in the array itself. */
static enum status places(int32_t **out, int *n, struct source *from, const char *name,
                          const struct token_place *tokens, int n_in, struct error *err)
{
    TRY(ints(out, n, from, name, -1, err));
    for (int i = 0; i < *n; i++) {
        const struct token_place wanted = {.id = (*out)[i]}, *found = bsearch(&wanted, tokens, (size_t)n_in,
                                                                              sizeof *tokens, token_compare);
        if (found == NULL)
            return fail(err, BAD_INPUT, "%s: token %d is not among those that enter the cut", name,
                        wanted.id);
        (*out)[i] = found->place;
    }
    return OK;
}

static enum status range_check(const int32_t *values_in, int n, int low, int high, const char *name,
                               struct error *err)
{
    for (int i = 0; i < n; i++)
        if (values_in[i] < low || values_in[i] > high)
            return fail(err, BAD_INPUT, "%s: expected values from %d to %d, found %d", name, low, high,
                        values_in[i]);
    return OK;
}

static enum status finite_check(const float *values_in, int n, const char *name, struct error *err)
{
    for (int i = 0; i < n; i++)
        if (!isfinite(values_in[i]))
            return fail(err, BAD_INPUT, "%s: value %d is not finite", name, i);
    return OK;
}

/* Kept tokens are distinct, and so are centres that stay in their place among them. */
static enum status stay_check(const struct cut_record *cut, struct error *err)
{
    enum { GOES, STAYS, IS_CENTRE };
    enum status status = OK;
    char *state = memory_zero((size_t)cut->n_in, 1);
    if (state == NULL)
        return memory_failed(err, "kept", (size_t)cut->n_in);
    for (int i = 0; i < cut->n_kept && status == OK; i++) {
        if (state[cut->kept[i]] != GOES)
            status = fail(err, BAD_INPUT, "kept: names token %d twice", cut->ids_in[cut->kept[i]]);
        state[cut->kept[i]] = STAYS;
    }
    for (int i = 0; cut->in_place && i < cut->n_clusters && status == OK; i++) {
        if (state[cut->centres[i]] != STAYS)
            status = fail(err, BAD_INPUT, "centres: token %d is %s", cut->ids_in[cut->centres[i]],
                          state[cut->centres[i]] == GOES ? "not among the kept" : "named twice");
        state[cut->centres[i]] = IS_CENTRE;
    }
    free(state);
    return status;
}

/* Factors of a trace that has none: 1/size of the cluster as the method computed it, or 1. */
static enum status weights_derive(struct cut_record *cut, bool sums, struct error *err)
{
    float *size = memory_zero((size_t)cut->n_clusters, sizeof *size);
    cut->weight = memory_alloc((size_t)cut->n_recycled, sizeof *cut->weight);
    enum status status = OK;
    if (size == NULL || cut->weight == NULL)
        status = memory_failed(err, "weights", (size_t)cut->n_recycled * sizeof *cut->weight);
    for (int i = 0; status == OK && i < cut->n_recycled; i++)
        size[cut->cluster_of[i]] += 1;
    for (int i = 0; status == OK && i < cut->n_recycled; i++)
        cut->weight[i] = sums ? 1 : 1 / size[cut->cluster_of[i]];
    free(size);
    return status;
}

static enum status clusters_read(struct cut_record *cut, struct source *from, bool sums, struct error *err)
{
    int n;
    TRY(ints(&cut->cluster_of, &n, from, "cluster_of", cut->n_recycled, err));
    TRY(range_check(cut->cluster_of, n, 0, cut->n_clusters - 1, "cluster_of", err));
    if (cut->n_recycled > 0 && H5Aexists(from->group, "site") <= 0 && !hdf5_has(from->group, "weight"))
        TRY(weights_derive(cut, sums, err));
    else if (cut->n_recycled > 0)
        TRY(floats(&cut->weight, from, "weight", cut->n_recycled, err));
    TRY(finite_check(cut->weight, cut->n_recycled, "weight", err));
    if (hdf5_has(from->group, "own")) {
        TRY(floats(&cut->own, from, "own", cut->n_clusters, err));
        TRY(finite_check(cut->own, cut->n_clusters, "own", err));
    }
    return OK;
}

/* What a replay does not need, where it is there: raters, rank, score; and the patches' tokens. */
static enum status rest_read(struct cut_record *cut, int n_out, struct source *from, struct error *err)
{
    cut->rank = -1;
    if (hdf5_has(from->group, "rank")) {
        int32_t *rank;
        int n;
        enum status status = ints(&rank, &n, from, "rank", 1, err);
        cut->rank = status == OK ? rank[0] : -1;
        free(rank);
        TRY(status);
    }
    if (hdf5_has(from->group, "raters")) {
        TRY(ints(&cut->raters, &cut->n_raters, from, "raters", -1, err));
        if (cut->n_raters == 1 && cut->raters[0] == -1) { /* every row */
            free(cut->raters);
            cut->raters = NULL;
            cut->n_raters = -1;
        }
        TRY(range_check(cut->raters, cut->n_raters, 0, LIMIT_SEQUENCE - 1, "raters", err));
    }
    if (hdf5_has(from->group, "score"))
        TRY(floats(&cut->score, from, "score", cut->n_in, err));
    if (hdf5_has(from->group, "group_of")) {
        TRY(ints(&cut->group_of, &cut->n_group_of, from, "group_of", -1, err));
        TRY(range_check(cut->group_of, cut->n_group_of, -1, n_out - 1, "group_of", err));
    }
    return OK;
}

static enum status cut_read(struct cut_record *cut, struct source *from, bool sums, struct error *err)
{
    struct token_place *tokens = NULL;
    enum status status;
    TRY(site_read(cut, from, err));
    TRY(ints(&cut->ids_in, &cut->n_in, from, "ids_in", -1, err));
    TRY_GOTO(status, tokens_sort(&tokens, cut, err));
    TRY_GOTO(status, places(&cut->kept, &cut->n_kept, from, "kept", tokens, cut->n_in, err));
    TRY_GOTO(status, places(&cut->recycled, &cut->n_recycled, from, "recycled", tokens, cut->n_in, err));
    TRY_GOTO(status, places(&cut->centres, &cut->n_clusters, from, "centres", tokens, cut->n_in, err));
    TRY_GOTO(status, stay_check(cut, err));
    int n_out = cut->n_kept + (cut->in_place ? 0 : cut->n_clusters) + (cut->keep_class ? 1 : 0);
    if (n_out > cut->n_in + (cut->keep_class ? 1 : 0)) {
        status = fail(err, BAD_INPUT, "%d tokens enter and %d leave", cut->n_in, n_out);
        goto exit;
    }
    TRY_GOTO(status, clusters_read(cut, from, sums, err));
    status = rest_read(cut, n_out, from, err);
exit:
    free(tokens);
    return status;
}

/* ---- a sample ------------------------------------------------------------------------------- */

/* `cuts` is the group of that name. */
static enum status cuts_read(struct cut_record **out, int *n, const struct replay_file *file, hid_t cuts,
                             struct error *err)
{
    H5G_info_t info;
    if (H5Gget_info(cuts, &info) < 0 || info.nlinks > CUTS_MAX)
        return fail(err, BAD_INPUT, "cuts: cannot be read, or more than %d", CUTS_MAX);
    int n_cuts = (int)info.nlinks;
    *out = memory_zero((size_t)n_cuts, sizeof **out);
    if (*out == NULL)
        return memory_failed(err, "cuts", (size_t)n_cuts * sizeof **out);
    struct source from = {.n_left = VALUES_MAX};
    for (int i = 0; i < n_cuts; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        from.group = hdf5_has(cuts, name) ? H5Gopen2(cuts, name, H5P_DEFAULT) : -1;
        if (from.group < 0)
            return fail(err, BAD_INPUT, "cuts: there are %d, but no group %d", n_cuts, i);
        *n = i + 1;
        enum status status = cut_read(&(*out)[i], &from, file->sums, err);
        H5Gclose(from.group);
        if (status != OK)
            return fail_within(err, "cut %d", i);
    }
    return OK;
}

/* A tower that saw a smaller picture (downsample): what it made of it stands before the cuts. `n_uncut` comes
 * from the attribute `visual`, which old traces lack. */
static enum status resized_read(struct cut_record **cuts, int *n, hid_t sample, struct error *err)
{
    int n_uncut, n_counts;
    hsize_t shape[2];
    void *grid, *data;
    if (!hdf5_int_attribute(&n_uncut, sample, "visual") || !hdf5_has(sample, "grid"))
        return OK;
    TRY(hdf5_array(&grid, shape, sample, "grid", 2, H5T_NATIVE_INT32, 2 * LIMIT_IMAGES, err));
    const int32_t *sides = grid;
    bool one = shape[0] == 1 && shape[1] == 2;
    int rows = one ? sides[0] : 0, cols = one ? sides[1] : 0;
    free(grid);
    if (rows < 1 || cols < 1 || rows > LIMIT_SEQUENCE / cols || rows * cols == n_uncut ||
        rows * cols == n_uncut - 1)
        return OK;
    struct source from = {.group = sample, .n_left = LIMIT_SEQUENCE};
    TRY(values(&data, &n_counts, &from, "visual_count", H5T_NATIVE_INT32, -1, err));
    bool with_class = n_counts > 0 && ((const int32_t *)data)[0] == rows * cols + 1;
    free(data);
    struct cut_record *grown = memory_grow(*cuts, (size_t)*n + 1, sizeof *grown);
    if (grown == NULL)
        return memory_failed(err, "cuts", ((size_t)*n + 1) * sizeof *grown);
    memmove(grown + 1, grown, (size_t)*n * sizeof *grown);
    grown[0] = (struct cut_record){.site = SITE_VISION,
                                   .layer = LAYER_BEFORE,
                                   .keep_class = with_class,
                                   .rank = -1,
                                   .resized = {rows, cols}};
    *cuts = grown;
    ++*n;
    return OK;
}

static enum status sample_read(struct cut_record **cuts, int *n, const struct replay_file *file, hid_t handle,
                               int sample_id, struct error *err)
{
    char id[16];
    snprintf(id, sizeof id, "%d", sample_id);
    const char *const path[] = {"cells", file->key, "samples", id, "cuts"};
    hid_t sample = hdf5_group(handle, path, 4), group = sample >= 0 ? hdf5_group(handle, path, 5) : -1;
    enum status status = OK;
    if (sample < 0)
        status = fail(err, BAD_INPUT,
                      "%s: cell %.8s has no sample %d to replay; `trace: {samples: all}` traces every sample",
                      file->path, file->key, sample_id);
    else if (group < 0)
        status = fail(err, BAD_INPUT, "%s: cell %.8s, sample %d: has no group `cuts`", file->path, file->key,
                      sample_id);
    else if (cuts_read(cuts, n, file, group, err) != OK || resized_read(cuts, n, sample, err) != OK)
        status = fail_within(err, "%s: cell %.8s, sample %d", file->path, file->key, sample_id);
    if (group >= 0)
        H5Gclose(group);
    if (sample >= 0)
        H5Gclose(sample);
    return status;
}

enum status replay_read(struct cut_record **cuts, int *n, const struct replay_file *file, int sample_id,
                        struct error *err)
{
    *cuts = NULL;
    *n = 0;
    hid_t handle = -1;
    hdf5_enter();
    enum status status = file_open(&handle, file->path, err);
    if (status == OK)
        status = sample_read(cuts, n, file, handle, sample_id, err);
    if (handle >= 0)
        H5Fclose(handle);
    hdf5_leave();
    if (status != OK) {
        replay_free(*cuts, *n);
        *cuts = NULL;
        *n = 0;
    }
    return status;
}

void replay_free(struct cut_record *cuts, int n)
{
    cut_records_free(cuts, n);
}

/* The method whose trace it is, as far as this program has its parameters; false: it has no such method. */
static bool method_traced(struct method *out, const struct replay *about)
{
    struct error ignored;
    if (method_init(out, about->method, &ignored) != OK)
        return false;
    for (int i = 0; i < out->params.n; i++) {
        const char *name = out->params.table[i].name,
                   *value = json_string_value(json_object_get(about->params, name));
        if (value)
            (void)method_set(out, name, value, &ignored); /* a foreign value: the default stays */
    }
    return true;
}

enum status replay_method_open(struct replay_file **out, struct method *method, struct error *err)
{
    *out = NULL;
    const struct params *params = &method->params;
    if (strcmp(method->reducer->name, "replay") != 0)
        return OK;
    if (!params_has(params, "file") || !params_has(params, "cell"))
        return fail(err, BAD_INPUT,
                    "method replay needs a trace and a cell of it; give -p file=F.h5 -p cell=KEY");
    TRY(replay_open(out, param_get(params, "file")->text, param_get(params, "cell")->text, err));
    struct replay about = {0};
    struct method traced;
    enum status status = replay_about(&about, *out, err);
    bool known = status == OK && method_traced(&traced, &about);
    if (status == OK && strcmp(about.method, "replay") == 0)
        status = fail(err, BAD_INPUT, "%s: cell %s is a replay itself; replay the cell that it was made from",
                      (*out)->path, (*out)->key);
    if (status == OK && !params_has(params, "positions"))
        status = method_set(method, "positions",
                            known && method_original_positions(&traced) ? "original" : "compact", err);
    replay_clear(&about);
    if (status != OK) {
        replay_close(*out);
        *out = NULL;
    }
    return status;
}
