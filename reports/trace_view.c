/* Reads /cells/KEY/samples/ID of a trace. Only hard links are followed, datasets with storage outside the
 * file or mapped from elsewhere are refused, and each shape is compared with a limit before it is allocated.
 */
#include "reports/trace_view.h"

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "harness/hdf5_file.h" /* the trace */

#include <math.h>   /* isfinite */
#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free, qsort */
#include <string.h> /* strlen */

enum { TEXT_MAX = 64 << 10, ID_MAX = 128, SAMPLES_MAX = 1 << 20, GRID_SIDE_MAX = 1024 };
#define TRACE_PIXELS_MAX (64u << 20)

struct trace_view {
    hid_t file;
    char path[400];
};

enum status trace_view_open(struct trace_view **out, const char *path, struct error *err)
{
    *out = NULL;
    if (!file_exists(path))
        return fail(err, BAD_INPUT, "%s: no such trace; a sweep with `trace: {samples: 4}` makes one", path);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* errors are reported by us, once */
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0)
        return fail(err, BAD_INPUT,
                    "%s: cannot be opened as HDF5; is it a trace, and is no sweep writing it now?", path);
    struct trace_view *trace = memory_zero(1, sizeof *trace);
    if (trace == NULL) {
        H5Fclose(file);
        return memory_failed(err, "trace", sizeof *trace);
    }
    trace->file = file;
    snprintf(trace->path, sizeof trace->path, "%s", path);
    *out = trace;
    return OK;
}

void trace_view_close(struct trace_view *trace)
{
    if (trace == NULL)
        return;
    H5Fclose(trace->file);
    free(trace);
}

void names_free(struct names *names)
{
    for (int i = 0; i < names->n; i++)
        free(names->names[i]);
    free(names->names);
    *names = (struct names){0};
}

static int compare_names(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    char *end_x, *end_y;
    long long p = strtoll(x, &end_x, 10), q = strtoll(y, &end_y, 10);
    if (*x != '\0' && *y != '\0' && *end_x == '\0' && *end_y == '\0' && p != q)
        return p < q ? -1 : 1;
    return strcmp(x, y);
}

static enum status list_group(struct names *out, struct trace_view *trace, const char *const *path,
                              int n_path, struct error *err)
{
    *out = (struct names){0};
    hid_t group = hdf5_group(trace->file, path, n_path);
    if (group < 0)
        return fail(err, BAD_INPUT,
                    "%s: has no group %s; `winnow show` expects a trace written by `winnow sweep`",
                    trace->path, path[n_path - 1]);
    enum status status = OK;
    H5G_info_t info;
    if (H5Gget_info(group, &info) < 0 || info.nlinks > SAMPLES_MAX) {
        status = fail(err, BAD_INPUT, "%s: group %s is damaged or has more than %d members", trace->path,
                      path[n_path - 1], SAMPLES_MAX);
        goto exit;
    }
    out->names = memory_zero(info.nlinks > 0 ? (size_t)info.nlinks : 1, sizeof *out->names);
    if (out->names == NULL) {
        status = memory_failed(err, "names", (size_t)info.nlinks * sizeof *out->names);
        goto exit;
    }
    for (hsize_t i = 0; i < info.nlinks; i++) {
        char name[ID_MAX];
        ssize_t size =
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
        if (size <= 0 || (size_t)size >= sizeof name)
            continue; /* not one of ours */
        out->names[out->n] = memory_text(name);
        if (out->names[out->n] == NULL) {
            status = memory_failed(err, "names", sizeof name);
            goto exit;
        }
        out->n++;
    }
    qsort(out->names, (size_t)out->n, sizeof *out->names, compare_names);
exit:
    if (status != OK)
        names_free(out);
    H5Gclose(group);
    return status;
}

enum status trace_view_cells(struct names *out, struct trace_view *trace, struct error *err)
{
    return list_group(out, trace, (const char *const[]){"cells"}, 1, err);
}

enum status trace_view_samples(struct names *out, struct trace_view *trace, const char *key,
                               struct error *err)
{
    if (strchr(key, '/') != NULL)
        return fail(err, BAD_INPUT, "%s: a cell's key has no '/'", trace->path);
    return list_group(out, trace, (const char *const[]){"cells", key, "samples"}, 3, err);
}

bool trace_view_has(struct trace_view *trace, const char *key, const char *id)
{
    if (strchr(key, '/') != NULL || strchr(id, '/') != NULL)
        return false;
    hid_t group = hdf5_group(trace->file, (const char *const[]){"cells", key, "samples", id}, 4);
    if (group >= 0)
        H5Gclose(group);
    return group >= 0;
}

/* All of a dataset of `rank` dimensions as `memory_type`; *out is owned by the caller, NULL and the shape 0
 * where the dataset is absent or empty. */
static enum status read_array(void **out, hsize_t *shape, const struct trace_view *trace, hid_t at,
                              const char *name, int rank, hid_t memory_type, size_t limit, struct error *err)
{
    *out = NULL;
    memset(shape, 0, (size_t)rank * sizeof *shape);
    if (!hdf5_has(at, name))
        return OK;
    if (hdf5_array(out, shape, at, name, rank, memory_type, limit, err) != OK)
        return fail_within(err, "%s", trace->path);
    for (int i = 0; i < rank; i++)
        if (shape[i] == 0) {
            free(*out);
            *out = NULL;
        }
    return OK;
}

static enum status read_ints(int32_t **out, int *n, const struct trace_view *trace, hid_t at,
                             const char *name, struct error *err)
{
    hsize_t shape[1];
    void *data;
    *out = NULL;
    *n = 0;
    TRY(read_array(&data, shape, trace, at, name, 1, H5T_NATIVE_INT32, LIMIT_SEQUENCE, err));
    *out = data;
    *n = (int)shape[0];
    return OK;
}

/* A text of the sample: a dataset, or an attribute of the same name. */
static enum status sample_string(char **out, const struct trace_view *trace, hid_t at, const char *name,
                                 struct error *err)
{
    if (hdf5_has(at, name)) {
        hid_t dataset, space;
        if (hdf5_dataset(&dataset, &space, at, name, err) != OK)
            return fail_within(err, "%s", trace->path);
        *out = hdf5_text(dataset, false);
        H5Sclose(space);
        H5Dclose(dataset);
    } else {
        *out = hdf5_text_attribute(at, name);
    }
    return *out != NULL ? OK : memory_failed(err, name, TEXT_MAX);
}

/* Ids are tokens of the prompt or clusters made so far. */
static bool ids_valid(const int32_t *ids, int n, int n_visual, int n_clusters)
{
    for (int i = 0; i < n; i++)
        if (ids[i] >= n_visual || (ids[i] < 0 && -1 - ids[i] >= n_clusters))
            return false;
    return true;
}

/* Clusters are numbered within the cut or through all cuts: told by whether they fit. Afterwards within it.
 */
static enum status read_clusters(struct picture_cut *cut, int n_clusters, const struct trace_view *trace,
                                 hid_t at, struct error *err)
{
    int n;
    TRY(read_ints(&cut->cluster_of, &n, trace, at, "cluster_of", err));
    if (n != cut->n_recycled)
        return fail(err, BAD_INPUT, "%s: a cut has %d recycled tokens, but clusters for %d", trace->path,
                    cut->n_recycled, n);
    int first = 0;
    for (int i = 0; i < n; i++)
        if (cut->cluster_of[i] >= cut->n_clusters)
            first = n_clusters;
    for (int i = 0; i < n; i++) {
        if (cut->cluster_of[i] < first || cut->cluster_of[i] - first >= cut->n_clusters)
            return fail(err, BAD_INPUT, "%s: a cut after layer %d names a cluster that does not exist",
                        trace->path, cut->layer);
        cut->cluster_of[i] -= first;
    }
    return OK;
}

static bool is_tower(hid_t at)
{
    if (H5Aexists(at, "site") <= 0)
        return false;
    char *site = hdf5_text_attribute(at, "site");
    bool tower = site != NULL && strcmp(site, "vision") == 0;
    free(site);
    return tower;
}

/* The tower's cuts are one: the last one, which says where each patch went. The others only count clusters.
 */
static enum status end_tower_cut(struct picture *out, const struct trace_view *trace, hid_t at,
                                 struct error *err)
{
    struct picture_cut *cut = &out->cuts[out->n_cuts - 1];
    int image = 0, n_cells = out->rows * out->cols;
    bool other = hdf5_int_attribute(&image, at, "image") && image > 0;
    TRY(read_ints(&cut->group_of, &cut->n_group_of, trace, at, "group_of", err));
    if (other || cut->n_group_of == 0) {
        picture_cut_free(cut);
        out->n_cuts--;
        return OK;
    }
    if (cut->n_group_of != n_cells)
        return fail(err, BAD_INPUT, "%s: `group_of`: expected one of %d patches each, found %d", trace->path,
                    n_cells, cut->n_group_of);
    for (int i = 0; i < n_cells; i++)
        if (cut->group_of[i] < -1 || cut->group_of[i] > LIMIT_SEQUENCE)
            return fail(err, BAD_INPUT, "%s: `group_of` names a token that does not exist", trace->path);
    cut->layer = -1;
    cut->tower = true;
    cut->n_in = n_cells;
    int n_kept = 0; /* clusters of earlier layers of the tower stand in group_of */
    for (int i = 0; i < cut->n_kept; i++)
        if (cut->kept[i] >= 0)
            cut->kept[n_kept++] = cut->kept[i];
    cut->n_kept = n_kept;
    return OK;
}

static enum status read_cut(struct picture *out, int *n_clusters, int n_in, const struct trace_view *trace,
                            hid_t at, struct error *err)
{
    struct picture_cut *cut = &out->cuts[out->n_cuts++];
    int in_place = 0, keep_class = 0;
    *cut = (struct picture_cut){0};
    if (!hdf5_int_attribute(&cut->layer, at, "layer"))
        return fail(err, BAD_INPUT, "%s: a cut lacks its attribute `layer`", trace->path);
    bool tower = is_tower(at);
    if (H5Aexists(at, "in_place") > 0 && !hdf5_int_attribute(&in_place, at, "in_place"))
        return fail(err, BAD_INPUT, "%s: attribute `in_place`: expected an integer", trace->path);
    if (H5Aexists(at, "keep_class") > 0 && !hdf5_int_attribute(&keep_class, at, "keep_class"))
        return fail(err, BAD_INPUT, "%s: attribute `keep_class`: expected an integer", trace->path);
    hsize_t shape[1];
    void *score;
    TRY(read_array(&score, shape, trace, at, "score", 1, H5T_NATIVE_FLOAT, LIMIT_SEQUENCE, err));
    cut->score = score;
    cut->n_score = (int)shape[0];
    for (int i = 0; i < cut->n_score; i++)
        if (!isfinite(cut->score[i]))
            cut->score[i] = 0;
    if (out->n_cuts == 1 && !tower && cut->n_score > out->n_visual)
        out->n_visual = cut->n_score; /* separators: more tokens than grid cells */
    TRY(read_ints(&cut->kept, &cut->n_kept, trace, at, "kept", err));
    TRY(read_ints(&cut->recycled, &cut->n_recycled, trace, at, "recycled", err));
    int32_t *centres;
    TRY(read_ints(&centres, &cut->n_clusters, trace, at, "centres", err));
    enum status status = read_clusters(cut, *n_clusters, trace, at, err);
    if (status == OK && (!ids_valid(cut->kept, cut->n_kept, out->n_visual, *n_clusters) ||
                         !ids_valid(cut->recycled, cut->n_recycled, out->n_visual, *n_clusters) ||
                         !ids_valid(centres, cut->n_clusters, out->n_visual, *n_clusters)))
        status = fail(err, BAD_INPUT, "%s: a cut after layer %d names a token that does not exist",
                      trace->path, cut->layer);
    if (status == OK)
        status = picture_cut_number(cut, n_clusters,
                                    &(struct picture_centres){.centres = centres,
                                                              .in_place = in_place != 0,
                                                              .keep_class = keep_class != 0},
                                    err);
    free(centres);
    TRY(status);
    cut->n_in = cut->n_score > 0 ? cut->n_score : n_in;
    return tower ? end_tower_cut(out, trace, at, err) : OK;
}

static enum status read_image(struct picture *out, const struct trace_view *trace, hid_t at,
                              struct error *err)
{
    hsize_t shape[3];
    void *bytes;
    TRY(read_array(&bytes, shape, trace, at, "image", 3, H5T_NATIVE_UINT8, TRACE_PIXELS_MAX * 3u, err));
    out->image.rgb = bytes;
    if (bytes == NULL || shape[2] != 3 || shape[0] > LIMIT_IMAGE_SIDE || shape[1] > LIMIT_IMAGE_SIDE)
        return fail(err, BAD_INPUT, "%s: `image`: expected bytes [height, width, 3]", trace->path);
    out->image.height = (int)shape[0];
    out->image.width = (int)shape[1];

    hsize_t grid_shape[2];
    void *grid;
    TRY(read_array(&grid, grid_shape, trace, at, "grid", 2, H5T_NATIVE_INT32, 2 * LIMIT_IMAGES, err));
    const int32_t *sizes = grid;
    bool good = sizes != NULL && grid_shape[1] == 2 && sizes[0] >= 1 && sizes[1] >= 1 &&
                sizes[0] <= GRID_SIDE_MAX && sizes[1] <= GRID_SIDE_MAX;
    if (good) {
        out->rows = sizes[0];
        out->cols = sizes[1];
    }
    free(grid);
    return good ? OK
                : fail(err, BAD_INPUT, "%s: `grid`: expected rows and columns of each image, 1 to %d",
                       trace->path, GRID_SIDE_MAX);
}

static enum status read_sample(struct picture *out, const struct trace_view *trace, hid_t cell, hid_t at,
                               struct error *err)
{
    TRY(sample_string(&out->question, trace, at, "question", err));
    TRY(sample_string(&out->answer, trace, at, "answer", err));

    int32_t *counts;
    int n_counts;
    TRY(read_ints(&counts, &n_counts, trace, at, "visual_count", err));
    out->n_visual = n_counts > 0 ? counts[0] : 0;
    free(counts);
    int n_uncut;
    bool has_uncut = H5Aexists(at, "visual") > 0 && hdf5_int_attribute(&n_uncut, at, "visual") &&
                     n_uncut > 0 && n_uncut <= LIMIT_SEQUENCE;

    /* what it is called there: method and settings, of an old trace the method */
    char *method = hdf5_text_attribute(cell, H5Aexists(cell, "label") > 0 ? "label" : "method"),
         *mode = hdf5_text_attribute(cell, "image_mode");
    if (method == NULL || mode == NULL) {
        free(method);
        free(mode);
        return memory_failed(err, "trace", TEXT_MAX);
    }
    out->title = method;
    out->mode = strcmp(mode, "crop") == 0 ? IMAGE_MODE_CROP : IMAGE_MODE_PAD;
    free(mode);

    if (H5Lexists(at, "image", H5P_DEFAULT) == 0)
        return OK; /* a sample asked without one: nothing to draw */
    TRY(read_image(out, trace, at, err));
    if (has_uncut) {
        int n_cells = out->rows * out->cols;
        out->n_visual = n_uncut;
        out->resized = n_cells != n_uncut && n_cells != n_uncut - 1 && n_cells < n_uncut;
    }
    if (!hdf5_has(at, "cuts"))
        return OK;
    hid_t cuts = H5Gopen2(at, "cuts", H5P_DEFAULT);
    if (cuts < 0)
        return fail(err, BAD_INPUT, "%s: `cuts`: expected a group", trace->path);
    enum status status = OK;
    int n_clusters = 0, n_in = 0;
    for (int i = 0; i < PICTURE_CUTS_MAX && status == OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        if (!hdf5_has(cuts, name))
            break;
        hid_t cut = H5Gopen2(cuts, name, H5P_DEFAULT);
        if (cut < 0) {
            status = fail(err, BAD_INPUT, "%s: cuts/%s: expected a group", trace->path, name);
            break;
        }
        if (i == 0) {
            /* A cut before layer 0 has happened when layer 0 counts: the grid says what there was. */
            int n = out->rows * out->cols;
            n_in = out->n_visual = n > out->n_visual ? n : out->n_visual;
        }
        status = read_cut(out, &n_clusters, n_in, trace, cut, err);
        if (out->n_cuts > 0)
            n_in = out->cuts[out->n_cuts - 1].n_out;
        H5Gclose(cut);
    }
    H5Gclose(cuts);
    return status;
}

enum status trace_view_picture(struct picture *out, struct trace_view *trace, const char *key, const char *id,
                               struct error *err)
{
    *out = (struct picture){0};
    char shown[PRINTABLE_SIZE];
    if (!trace_view_has(trace, key, id))
        return fail(err, BAD_INPUT,
                    "%s: has no sample \"%s\" in that cell; samples are numbered by the row of the "
                    "question file",
                    trace->path, printable(shown, id));
    hid_t cell = hdf5_group(trace->file, (const char *const[]){"cells", key}, 2);
    hid_t sample = hdf5_group(trace->file, (const char *const[]){"cells", key, "samples", id}, 4);
    enum status status = cell >= 0 && sample >= 0
                             ? read_sample(out, trace, cell, sample, err)
                             : fail(err, BAD_INPUT, "%s: sample cannot be opened", trace->path);
    if (sample >= 0)
        H5Gclose(sample);
    if (cell >= 0)
        H5Gclose(cell);
    if (status == OK) {
        char title[ID_MAX];
        snprintf(title, sizeof title, "%.100s, cell %.8s", out->title, key);
        free(out->title);
        out->title = memory_text(title);
        if (out->title == NULL)
            status = memory_failed(err, "title", sizeof title);
    }
    if (status == OK && out->question != NULL) {
        char *line_end =
            strpbrk(out->question, "\r\n"); /* what follows is the prompt's instruction, not the question */
        if (line_end != NULL)
            *line_end = '\0';
    }
    if (status != OK)
        picture_free(out);
    return status;
}
