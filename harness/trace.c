/* Traces in HDF5 1.10, see trace.h.
 *
 * Surviving a crash: the oldest file format has no "open for writing" mark that would lock readers out, raw
 * data goes to new places at the end of the file, and the metadata cache may not evict anything by itself; so
 * the file on disk stays as the last flush left it until the next flush, which journal_file.c makes whole or
 * not there. As an unevicted cache only grows,
 * the file is closed and opened anew every few dozen samples.
 */
#include "harness/trace.h"

#include <fcntl.h>    /* open */
#include <stdio.h>    /* snprintf, rename */
#include <stdlib.h>   /* free */
#include <string.h>   /* strlen */
#include <sys/file.h> /* flock, which HDF5 locks with */
#include <unistd.h>   /* close, unlink */

#include "core/json.h"         /* file_exists */
#include "core/memory.h"       /* memory_* */
#include "harness/hdf5_file.h" /* one thread in HDF5 at a time */
#include "harness/journal_file.h"

enum {
    REOPEN_AFTER = 32,
    GZIP_LEVEL = 4,
    CHUNK_BYTES = 1 << 18,
    PLAIN_BYTES = 1024,
    NAME_SIZE = 128,
    DAMAGED_MAX = 1000
};

struct trace {
    char *path;
    hid_t file;
    int n_since_open;
};

static enum status write_failed(struct error *err, const char *path)
{
    return fail(err, NO_MACHINE,
                "%s: the trace cannot be written; is the disk full, or the file open elsewhere?", path);
}

/* ---- the file ------------------------------------------------------------------------------- */

static hid_t file_open(const char *path, bool make)
{
    hid_t access = journal_access();
    if (access < 0)
        return access;
    hid_t file =
        make ? H5Fcreate(path, H5F_ACC_EXCL, H5P_DEFAULT, access) : H5Fopen(path, H5F_ACC_RDWR, access);
    H5Pclose(access);
    if (file < 0)
        return file;
    H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    if (H5Fget_mdc_config(file, &config) >= 0) {
        config.evictions_enabled = 0; /* which demands that the cache's size be fixed */
        config.incr_mode = H5C_incr__off;
        config.flash_incr_mode = H5C_flash_incr__off;
        config.decr_mode = H5C_decr__off;
        H5Fset_mdc_config(file, &config);
    }
    return file;
}

static hid_t group_open(hid_t parent, const char *name)
{
    if (H5Lexists(parent, name, H5P_DEFAULT) > 0)
        return H5Gopen2(parent, name, H5P_DEFAULT);
    return H5Gcreate2(parent, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
}

/* Opens an existing file and looks whether its root can be read. */
static hid_t file_reopen(const char *path)
{
    hid_t file = file_open(path, false);
    hid_t cells = file >= 0 ? group_open(file, "cells") : -1;
    if (cells >= 0)
        H5Gclose(cells);
    else if (file >= 0)
        H5Fclose(file);
    return cells >= 0 ? file : -1;
}

/* Another program holds HDF5's lock on the file, or it may not be written. */
static bool is_out_of_reach(const char *path)
{
    int fd = open(path, O_RDWR);
    bool ours = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (fd >= 0)
        close(fd);
    return !ours;
}

/* A file of HDF5's that cannot be read any more makes room for a new one. Whatever else it is, it is somebody
 * else's. */
static enum status move_aside(const char *path, bool *moved, struct error *err)
{
    char name[4096];
    if (is_out_of_reach(path))
        return fail(err, NO_MACHINE,
                    "%s: the trace cannot be opened for writing; is it open elsewhere, or read-only?", path);
    if (H5Fis_hdf5(path) <= 0)
        return fail(err, BAD_INPUT, "%s: no HDF5 file; name another file for the trace", path);
    if (moved == NULL)
        return fail(err, BAD_INPUT, "%s: the trace is damaged; name another file", path);
    int n = snprintf(name, sizeof name, "%s.damaged", path);
    for (int i = 2; n > 0 && (size_t)n < sizeof name && file_exists(name) && i < DAMAGED_MAX; i++)
        n = snprintf(name, sizeof name, "%s.damaged-%d", path, i);
    if (n < 0 || (size_t)n >= sizeof name || file_exists(name))
        return fail(err, BAD_INPUT, "%s: damaged, and so is %s.damaged; move them away", path, path);
    *moved = rename(path, name) == 0;
    return *moved ? OK : write_failed(err, path);
}

/* Under a temporary name until its root is on the disk: a process that dies here must not leave something
 * that the next one takes for somebody else's file. */
static hid_t file_make(const char *path)
{
    char name[4096], journal[4096];
    int n = snprintf(name, sizeof name, "%s.tmp", path); /* no number of ours: the next one clears it away */
    int m = snprintf(journal, sizeof journal, "%s.journal", path);
    if (n < 0 || (size_t)n >= sizeof name || m < 0 || (size_t)m >= sizeof journal)
        return -1;
    unlink(name);
    unlink(journal); /* of a file that was here once */
    hid_t file = file_open(name, true), cells = file >= 0 ? group_open(file, "cells") : -1;
    bool ok = cells >= 0 && H5Gclose(cells) >= 0;
    ok = (file < 0 || H5Fclose(file) >= 0) && ok && rename(name, path) == 0;
    if (!ok)
        unlink(name);
    return ok ? file_open(path, false) : -1;
}

enum status trace_open(struct trace **out, const char *path, bool *moved, struct error *err)
{
    *out = NULL;
    if (moved)
        *moved = false;
    struct trace *trace = memory_zero(1, sizeof *trace);
    if (trace == NULL || (trace->path = memory_text(path)) == NULL) {
        free(trace);
        return memory_failed(err, path, sizeof *trace);
    }
    enum status status = OK;
    hdf5_enter();
    trace->file = file_exists(path) ? file_reopen(path) : -1;
    if (trace->file < 0 && file_exists(path))
        status = move_aside(path, moved, err);
    if (trace->file < 0 && status == OK) {
        trace->file = file_make(path);
        if (trace->file < 0)
            status = write_failed(err, path);
    }
    hdf5_leave();
    if (status != OK) {
        (void)trace_close(trace, &(struct error){0});
        return status;
    }
    *out = trace;
    return OK;
}

enum status trace_close(struct trace *trace, struct error *err)
{
    if (trace == NULL)
        return OK;
    hdf5_enter();
    enum status status = trace->file < 0 || H5Fclose(trace->file) >= 0 ? OK : write_failed(err, trace->path);
    hdf5_leave();
    free(trace->path);
    free(trace);
    return status;
}

/* ---- values --------------------------------------------------------------------------------- */

static hid_t text_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

static bool put_text(hid_t group, const char *name, const char *text)
{
    const char *value = text ? text : "";
    hid_t type = text_type(), space = H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(group, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0;
    ok = (set < 0 || H5Dclose(set) >= 0) && ok;
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

static bool put_text_attribute(hid_t group, const char *name, const char *text)
{
    if (H5Aexists(group, name) > 0)
        return true;
    const char *value = text ? text : "";
    hid_t type = text_type(), space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(group, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = attribute >= 0 && H5Awrite(attribute, type, &value) >= 0;
    ok = (attribute < 0 || H5Aclose(attribute) >= 0) && ok;
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

static bool put_int_attribute(hid_t group, const char *name, int value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(group, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT, &value) >= 0;
    ok = (attribute < 0 || H5Aclose(attribute) >= 0) && ok;
    H5Sclose(space);
    return ok;
}

/* An array, chunked by whole rows of the first dimension and compressed; one that is smaller than a chunk's
 * index entry is stored as it is. */
static bool put_array(hid_t group, const char *name, hid_t stored, hid_t native, const void *data, int rank,
                      const hsize_t *shape)
{
    hsize_t chunk[3], row = H5Tget_size(stored), total = 1;
    for (int i = 0; i < rank; i++) {
        chunk[i] = shape[i];
        total *= shape[i];
        row *= i > 0 ? shape[i] : 1;
    }
    hid_t space = H5Screate_simple(rank, shape, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
    if (total * H5Tget_size(stored) > PLAIN_BYTES) {
        hsize_t rows = CHUNK_BYTES / row > 0 ? CHUNK_BYTES / row : 1;
        chunk[0] = rows < shape[0] ? rows : shape[0];
        H5Pset_chunk(create, rank, chunk);
        H5Pset_shuffle(create);
        H5Pset_deflate(create, GZIP_LEVEL);
    }
    hid_t set = H5Dcreate2(group, name, stored, space, H5P_DEFAULT, create, H5P_DEFAULT);
    bool ok = set >= 0 && (total == 0 || H5Dwrite(set, native, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    ok = (set < 0 || H5Dclose(set) >= 0) && ok;
    H5Pclose(create);
    H5Sclose(space);
    return ok;
}

static bool put_ints(hid_t group, const char *name, const int32_t *values, int n)
{
    hsize_t shape = n > 0 ? (hsize_t)n : 0;
    return put_array(group, name, H5T_STD_I32LE, H5T_NATIVE_INT32, values, 1, &shape);
}

static bool put_floats(hid_t group, const char *name, const float *values, int rank, const hsize_t *shape)
{
    return put_array(group, name, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, values, rank, shape);
}

/* ---- a cell and a sample -------------------------------------------------------------------- */

enum status trace_cell(struct trace *trace, const char *key, const char *method, const char *params,
                       const char *model, struct error *err)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "/cells/%s", key);
    hdf5_enter();
    hid_t group = group_open(trace->file, name), samples = group >= 0 ? group_open(group, "samples") : -1;
    bool ok = samples >= 0 && put_text_attribute(group, "method", method) &&
              put_text_attribute(group, "params", params) && put_text_attribute(group, "model", model) &&
              put_text_attribute(
                  group, "units",
                  "kept, recycled, centres, ids_in: visual-token numbers, -1-c for cluster c; "
                  "cluster_of: places in centres; weight, own: factors in a cluster's sum; group_of: "
                  "per patch the place handed on, -1 dropped; "
                  "raters: places in the text after the last image; "
                  "score, attention: mean probability; visual_count: tokens entering each layer");
    if (samples >= 0)
        H5Gclose(samples);
    if (group >= 0)
        H5Gclose(group);
    hdf5_leave();
    return ok ? OK : write_failed(err, trace->path);
}

bool trace_has(struct trace *trace, const char *key, int sample_id)
{
    char cell[NAME_SIZE], samples[NAME_SIZE], sample[NAME_SIZE];
    snprintf(cell, sizeof cell, "/cells/%s", key);
    snprintf(samples, sizeof samples, "/cells/%s/samples", key);
    snprintf(sample, sizeof sample, "/cells/%s/samples/%d", key, sample_id);
    hdf5_enter(); /* H5Lexists wants every step of the path to be there */
    bool there = H5Lexists(trace->file, cell, H5P_DEFAULT) > 0 &&
                 H5Lexists(trace->file, samples, H5P_DEFAULT) > 0 &&
                 H5Lexists(trace->file, sample, H5P_DEFAULT) > 0;
    hdf5_leave();
    return there;
}

/* Places at a cut to token numbers. */
static bool put_tokens(hid_t group, const char *name, const struct cut_record *cut, const int32_t *places,
                       int n)
{
    int32_t *ids = memory_alloc((size_t)n, sizeof *ids);
    if (ids == NULL)
        return false;
    for (int i = 0; i < n; i++)
        ids[i] = cut->ids_in[places[i]];
    bool ok = put_ints(group, name, ids, n);
    free(ids);
    return ok;
}

static bool put_cut(hid_t cuts, int number, const struct cut_record *cut, bool indices_only)
{
    static const int32_t every_row = -1;
    char name[16];
    snprintf(name, sizeof name, "%d", number);
    hid_t group = group_open(cuts, name);
    if (group < 0)
        return false;
    int32_t rank = cut->rank;
    hsize_t n_in = (hsize_t)cut->n_in;
    bool all = cut->n_raters < 0;
    hsize_t n_recycled = (hsize_t)cut->n_recycled, n_clusters = (hsize_t)cut->n_clusters;
    bool ok = put_int_attribute(group, "layer", cut->layer) &&
              put_text_attribute(group, "site", site_names[cut->site]) &&
              put_int_attribute(group, "image", cut->image) && put_int_attribute(group, "turn", cut->turn) &&
              put_int_attribute(group, "in_place", cut->in_place) &&
              put_int_attribute(group, "keep_class", cut->keep_class) &&
              put_int_attribute(group, "middle", cut->tower.middle) &&
              put_int_attribute(group, "proportional", cut->tower.proportional) &&
              put_int_attribute(group, "raster", cut->tower.raster) &&
              put_ints(group, "ids_in", cut->ids_in, cut->n_in) &&
              put_tokens(group, "kept", cut, cut->kept, cut->n_kept) &&
              put_tokens(group, "recycled", cut, cut->recycled, cut->n_recycled) &&
              put_tokens(group, "centres", cut, cut->centres, cut->n_clusters) &&
              put_ints(group, "cluster_of", cut->cluster_of, cut->n_recycled) &&
              put_ints(group, "raters", all ? &every_row : cut->raters, all ? 1 : cut->n_raters) &&
              put_ints(group, "rank", &rank, 1);
    if (ok && cut->n_recycled > 0)
        ok = put_floats(group, "weight", cut->weight, 1, &n_recycled);
    if (ok && cut->own)
        ok = put_floats(group, "own", cut->own, 1, &n_clusters);
    if (ok && cut->n_group_of > 0)
        ok = put_ints(group, "group_of", cut->group_of, cut->n_group_of);
    if (ok && cut->score && !indices_only)
        ok = put_floats(group, "score", cut->score, 1, &n_in);
    return H5Gclose(group) >= 0 && ok;
}

static bool put_attention(hid_t group, const struct answer *answer)
{
    hid_t parent = group_open(group, "attention");
    if (parent < 0)
        return false;
    bool ok = true;
    for (int i = 0; i < answer->n_attention && ok; i++) {
        const struct attention_record *record = &answer->attention[i];
        char name[16];
        snprintf(name, sizeof name, "%d", record->layer);
        const hsize_t shape[2] = {(hsize_t)record->rows, (hsize_t)record->cols};
        ok = H5Lexists(parent, name, H5P_DEFAULT) > 0 || put_floats(parent, name, record->data, 2, shape);
    }
    return H5Gclose(parent) >= 0 && ok;
}

static bool put_visual_count(hid_t group, const struct ledger *ledger)
{
    int32_t *counts = memory_alloc((size_t)ledger->n_layers, sizeof *counts);
    if (counts == NULL)
        return false;
    for (int l = 0; l < ledger->n_layers; l++)
        counts[l] = ledger->layers[l].visual_in;
    bool ok = put_ints(group, "visual_count", counts, ledger->n_layers);
    free(counts);
    return ok;
}

static bool put_sample(hid_t group, const struct trace_sample *sample)
{
    const struct answer *answer = sample->result;
    int32_t grid[LIMIT_IMAGES][2];
    int n_grids = sample->grid_rows > 0 ? sample->n_grids : 0;
    for (int i = 0; i < n_grids; i++)
        grid[i][0] = sample->grid_rows, grid[i][1] = sample->grid_cols;
    const hsize_t grid_shape[2] = {(hsize_t)n_grids, 2};
    bool ok = put_text(group, "question", sample->question) && put_text(group, "answer", sample->answer) &&
              put_array(group, "grid", H5T_STD_I32LE, H5T_NATIVE_INT32, grid, 2, grid_shape) &&
              put_int_attribute(group, "visual", answer->ledger.n_visual) &&
              put_visual_count(group, &answer->ledger);
    if (ok && sample->image && !sample->cuts_only) {
        const hsize_t shape[3] = {(hsize_t)sample->image->height, (hsize_t)sample->image->width, 3};
        ok = put_array(group, "image", H5T_STD_U8LE, H5T_NATIVE_UINT8, sample->image->rgb, 3, shape);
    }
    hid_t cuts = ok ? group_open(group, "cuts") : -1;
    ok = cuts >= 0;
    for (int i = 0; ok && i < answer->n_records; i++)
        ok = put_cut(cuts, i, &answer->records[i], sample->cuts_only);
    if (cuts >= 0)
        H5Gclose(cuts);
    if (ok && answer->n_attention > 0 && !sample->cuts_only)
        ok = put_attention(group, answer);
    return ok;
}

enum status trace_sample(struct trace *trace, const char *key, const struct trace_sample *sample,
                         struct error *err)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "/cells/%s/samples/%d", key, sample->sample_id);
    hdf5_enter();
    if (trace->n_since_open >= REOPEN_AFTER && trace->file >= 0) {
        H5Fclose(trace->file);
        trace->file = file_open(trace->path, false);
        trace->n_since_open = 0;
    }
    bool ok = trace->file >= 0;
    if (ok && H5Lexists(trace->file, name, H5P_DEFAULT) > 0)
        ok = H5Ldelete(trace->file, name, H5P_DEFAULT) >= 0;
    hid_t group = ok ? group_open(trace->file, name) : -1;
    ok = group >= 0 && put_sample(group, sample);
    if (group >= 0)
        ok = H5Gclose(group) >= 0 && ok;
    if (ok)
        ok = H5Fflush(trace->file, H5F_SCOPE_LOCAL) >= 0;
    trace->n_since_open++;
    hdf5_leave();
    return ok ? OK : write_failed(err, trace->path);
}
