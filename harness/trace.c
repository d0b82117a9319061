/* Traces, see trace.h: a sample is packed by the thread that has it (trace_pack.h), then written under HDF5's
 * lock into a second file, which then takes the name (trace_pair.h).
 */
#include "harness/trace.h"

#include <limits.h> /* INT_MAX */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/json.h"            /* file_exists */
#include "core/memory.h"          /* memory_* */
#include "harness/hdf5_driver.h"  /* HDF5 on that file */
#include "harness/hdf5_file.h"    /* one thread in HDF5 at a time */
#include "harness/trace_layout.h" /* a sample before it is written */
#include "harness/trace_pair.h"   /* the file on the disk */

enum { NAME_SIZE = 128, LISTED = 10 };

/* A file grows by more than a sample where HDF5 takes room in advance. */
enum { GROWTH_BYTES = 16 << 10, SMALLEST_SAMPLE_BYTES = 4 << 10 };

static const char full_name[] = "full_at";

struct cell {
    char *key;
    struct pack *pack; /* its attributes */
};

/* A sample on its way into the file. */
struct entry {
    char name[NAME_SIZE], cell[NAME_SIZE];
    char hash[PICTURE_NAME_SIZE]; /* of its picture; "": it has none */
    struct pack *sample;
    struct pack *picture; /* NULL: it is in the file already */
};

struct known {
    char *picture;
    char hash[PICTURE_NAME_SIZE];
};

struct left_out {
    char key[NAME_SIZE];
    int sample_id;
};

struct trace {
    char *path;
    struct pair *pair;
    hid_t file;         /* HDF5's on the pair; −1 after an error */
    struct cell *cells; /* those that may not be in the file yet */
    int n_cells, room_cells;
    int64_t limit, full_at; /* full_at: as the file has it */
    bool full;

    struct known *known; /* pictures of this run */
    int n_known, room_known;
    struct left_out listed[LISTED]; /* the first of them */
    int n_left_out;
};

static void entry_free(struct entry *entry)
{
    if (entry == NULL)
        return;
    pack_free(entry->sample);
    pack_free(entry->picture);
    free(entry);
}

/* ---- the file ------------------------------------------------------------------------------- */

static hid_t group_open(hid_t parent, const char *name)
{
    if (H5Lexists(parent, name, H5P_DEFAULT) > 0)
        return H5Gopen2(parent, name, H5P_DEFAULT);
    return H5Gcreate2(parent, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
}

static bool group_make(hid_t parent, const char *name)
{
    hid_t group = group_open(parent, name);
    return group >= 0 && H5Gclose(group) >= 0;
}

/* Whether the root can be read. */
static bool root_is_good(hid_t file)
{
    H5G_info_t info;
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    bool good = root >= 0 && H5Gget_info(root, &info) >= 0;
    if (root >= 0)
        H5Gclose(root);
    return good;
}

static int64_t read_full(hid_t file)
{
    int64_t value = 0;
    hid_t attribute = H5Aexists(file, full_name) > 0 ? H5Aopen(file, full_name, H5P_DEFAULT) : -1;
    if (attribute < 0)
        return 0;
    hid_t space = H5Aget_space(attribute);
    if (space < 0 || H5Sget_simple_extent_npoints(space) != 1 ||
        H5Aread(attribute, H5T_NATIVE_INT64, &value) < 0)
        value = 0;
    if (space >= 0)
        H5Sclose(space);
    H5Aclose(attribute);
    return value;
}

static bool write_full(hid_t file, int64_t value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Aexists(file, full_name) > 0
                          ? H5Aopen(file, full_name, H5P_DEFAULT)
                          : H5Acreate2(file, full_name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, &value) >= 0;
    ok = (attribute < 0 || H5Aclose(attribute) >= 0) && ok;
    H5Sclose(space);
    return ok;
}

static bool write_cell(hid_t file, const struct cell *cell)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "/cells/%s", cell->key);
    if (H5Lexists(file, name, H5P_DEFAULT) > 0)
        return true;
    hid_t group = group_open(file, name);
    bool ok = group >= 0 && pack_write(group, cell->pack);
    if (group >= 0)
        H5Gclose(group);
    return ok;
}

static bool write_cells(struct trace *trace, hid_t file)
{
    bool ok = true;
    for (int i = 0; i < trace->n_cells && ok; i++)
        ok = write_cell(file, &trace->cells[i]);
    return ok;
}

static bool write_picture(hid_t file, const struct entry *entry, const char *to)
{
    char name[NAME_SIZE];
    if (entry->hash[0] == 0)
        return true;
    hid_t pictures = group_open(file, "pictures");
    bool ok = pictures >= 0;
    if (ok && H5Lexists(pictures, entry->hash, H5P_DEFAULT) <= 0)
        ok = entry->picture && pack_write(pictures, entry->picture);
    if (pictures >= 0)
        H5Gclose(pictures);
    snprintf(name, sizeof name, "/pictures/%s", entry->hash);
    return ok && H5Lcreate_hard(file, name, file, to, H5P_DEFAULT, H5P_DEFAULT) >= 0;
}

static bool write_entry(struct trace *trace, hid_t file, const struct entry *entry)
{
    char image[NAME_SIZE + 8];
    bool ok = true;
    for (int i = 0; i < trace->n_cells && ok; i++)
        if (strcmp(trace->cells[i].key, entry->cell) == 0)
            ok = write_cell(file, &trace->cells[i]);
    if (ok && H5Lexists(file, entry->name, H5P_DEFAULT) > 0)
        ok = H5Ldelete(file, entry->name, H5P_DEFAULT) >= 0;
    hid_t group = ok ? group_open(file, entry->name) : -1;
    ok = group >= 0 && pack_write(group, entry->sample);
    if (group >= 0)
        ok = H5Gclose(group) >= 0 && ok;
    snprintf(image, sizeof image, "%s/image", entry->name);
    return ok && write_picture(file, entry, image);
}

/* HDF5 forgets what was not committed. */
static void go_back(struct trace *trace)
{
    if (trace->file >= 0)
        H5Fclose(trace->file);
    pair_drop(trace->pair);
    trace->file = pair_is_new(trace->pair) ? -1 : hdf5_open_pair(trace->pair);
}

static enum status write_failed(struct trace *trace, struct error *err)
{
    char cause[200];
    hdf5_cause(cause, sizeof cause);
    enum status status = pair_failed(trace->pair, cause, err);
    go_back(trace);
    return status;
}

static enum status commit(bool *fits, struct trace *trace, int64_t limit, struct error *err)
{
    bool too_big;
    if (H5Fflush(trace->file, H5F_SCOPE_LOCAL) < 0)
        return write_failed(trace, err);
    enum status status = pair_commit(trace->pair, limit, &too_big, err);
    *fits = status == OK && !too_big;
    if (!*fits)
        go_back(trace);
    return status;
}

/* No more samples: written down, so that a later run does not try again. Where even that has no room, the
 * file's size says it. */
static enum status mark_full(struct trace *trace, struct error *err)
{
    bool fits;
    trace->full = true;
    if (trace->full_at >= trace->limit)
        return OK;
    TRY(pair_begin(trace->pair, err));
    if (!write_full(trace->file, trace->limit))
        return write_failed(trace, err);
    TRY(commit(&fits, trace, trace->limit, err));
    trace->full_at = fits ? trace->limit : trace->full_at;
    return OK;
}

/* ---- opening and closing -------------------------------------------------------------------- */

/* A file of HDF5's that cannot be read any more makes room for a new one. */
static enum status move_aside(const char *path, struct error *err)
{
    char name[4096];
    int n = snprintf(name, sizeof name, "%s.damaged", path);
    if (n < 0 || (size_t)n >= sizeof name || file_exists(name))
        return fail(err, BAD_INPUT, "%s: damaged, and so is %s.damaged; move them away", path, path);
    if (rename(path, name) != 0)
        return fail(err, NO_MACHINE, "%s: damaged, and cannot be renamed to %s; move it away", path, name);
    return OK;
}

/* A new file is made at once: what forbids it is to be known before anything is computed. */
static enum status make_file(struct trace *trace, struct error *err)
{
    bool fits;
    TRY(pair_begin(trace->pair, err));
    trace->file = hdf5_open_pair(trace->pair);
    if (trace->file < 0 || !group_make(trace->file, "cells") || !group_make(trace->file, "pictures") ||
        !write_full(trace->file, 0))
        return write_failed(trace, err);
    return commit(&fits, trace, 0, err);
}

static enum status open_file(struct trace *trace, bool *moved, struct error *err)
{
    TRY(pair_open(&trace->pair, trace->path, err));
    if (pair_is_new(trace->pair))
        return make_file(trace, err);
    trace->file = hdf5_open_pair(trace->pair);
    if (trace->file >= 0 && root_is_good(trace->file)) {
        trace->full_at = read_full(trace->file);
        return OK;
    }
    if (H5Fis_hdf5(trace->path) <= 0)
        return fail(err, BAD_INPUT, "%s: no HDF5 file; name another file for the trace", trace->path);
    if (moved == NULL)
        return fail(err, BAD_INPUT, "%s: the trace is damaged; name another file", trace->path);
    if (trace->file >= 0)
        H5Fclose(trace->file);
    trace->file = -1;
    TRY(move_aside(trace->path, err));
    *moved = true;
    pair_close(trace->pair);
    trace->pair = NULL;
    TRY(pair_open(&trace->pair, trace->path, err));
    return make_file(trace, err);
}

/* HDF5 first, so that its last writes are dropped. */
static void close_file(struct trace *trace)
{
    if (trace->file >= 0)
        H5Fclose(trace->file);
    pair_close(trace->pair);
}

static void trace_free(struct trace *trace)
{
    for (int i = 0; i < trace->n_cells; i++) {
        free(trace->cells[i].key);
        pack_free(trace->cells[i].pack);
    }
    for (int i = 0; i < trace->n_known; i++)
        free(trace->known[i].picture);
    free(trace->cells);
    free(trace->known);
    free(trace->path);
    free(trace);
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
    trace->file = -1;
    hdf5_enter();
    enum status status = open_file(trace, moved, err);
    if (status != OK)
        close_file(trace);
    hdf5_leave();
    if (status != OK) {
        trace_free(trace);
        return status;
    }
    *out = trace;
    return OK;
}

/* Cells of which no sample was traced. */
static enum status write_rest(struct trace *trace, struct error *err)
{
    char name[NAME_SIZE];
    bool fits, missing = false;
    for (int i = 0; trace->file >= 0 && i < trace->n_cells && !missing; i++) {
        snprintf(name, sizeof name, "/cells/%s", trace->cells[i].key);
        missing = H5Lexists(trace->file, name, H5P_DEFAULT) <= 0;
    }
    if (!missing)
        return OK;
    TRY(pair_begin(trace->pair, err));
    if (!write_cells(trace, trace->file))
        return write_failed(trace, err);
    return commit(&fits, trace, trace->limit, err);
}

enum status trace_close(struct trace *trace, struct error *err)
{
    if (trace == NULL)
        return OK;
    hdf5_enter();
    enum status status = write_rest(trace, err);
    close_file(trace);
    hdf5_leave();
    trace_free(trace);
    return status;
}

void trace_limit(struct trace *trace, int64_t limit)
{
    hdf5_enter();
    trace->limit = limit;
    trace->full =
        limit > 0 && (trace->full_at >= limit || pair_bytes(trace->pair) + SMALLEST_SAMPLE_BYTES > limit);
    hdf5_leave();
}

/* ---- a cell --------------------------------------------------------------------------------- */

static enum status check_cell(const struct trace *trace, hid_t file, const char *name, const char *method,
                              struct error *err)
{
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    char *found = group >= 0 ? hdf5_text_attribute(group, "method") : NULL;
    if (group >= 0)
        H5Gclose(group);
    enum status status = OK;
    if (found == NULL || strcmp(found, method) != 0)
        status =
            fail(err, BAD_INPUT,
                 "%s: %s holds samples of method \"%.40s\", expected \"%s\": it is another sweep's trace, "
                 "or was changed; move it away or name another store",
                 trace->path, name, found ? found : "", method);
    free(found);
    return status;
}

static enum status add_cell(struct trace *trace, const char *key, struct pack *pack, struct error *err)
{
    if (trace->n_cells == trace->room_cells) {
        int room = trace->room_cells > 0 ? 2 * trace->room_cells : 64;
        struct cell *cells = memory_grow(trace->cells, (size_t)room, sizeof *cells);
        if (cells == NULL)
            return memory_failed(err, "cells of a trace", (size_t)room * sizeof *cells);
        trace->cells = cells;
        trace->room_cells = room;
    }
    char *copy = memory_text(key);
    if (!pack_good(pack) || copy == NULL) {
        free(copy);
        return memory_failed(err, "a cell of a trace", NAME_SIZE);
    }
    trace->cells[trace->n_cells++] = (struct cell){copy, pack};
    return OK;
}

enum status trace_cell(struct trace *trace, const char *key, const char *method, const char *params,
                       const char *model, struct error *err)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "/cells/%s", key);
    enum status status;
    hdf5_enter();
    for (int i = 0; i < trace->n_cells; i++)
        if (strcmp(trace->cells[i].key, key) == 0) {
            hdf5_leave();
            return OK;
        }
    if (H5Lexists(trace->file, name, H5P_DEFAULT) > 0) {
        status = check_cell(trace, trace->file, name, method, err);
    } else {
        struct pack *pack = layout_cell(method, params, model);
        status = add_cell(trace, key, pack, err);
        if (status != OK)
            pack_free(pack);
    }
    hdf5_leave();
    return status;
}

void trace_note(struct trace *trace, const char *key, const char *name, const char *text)
{
    char path[NAME_SIZE];
    snprintf(path, sizeof path, "/cells/%s", key);
    hdf5_enter();
    if (H5Lexists(trace->file, path, H5P_DEFAULT) <= 0)
        for (int i = 0; i < trace->n_cells; i++)
            if (strcmp(trace->cells[i].key, key) == 0)
                pack_attribute(trace->cells[i].pack, PACK_ROOT, name, text);
    hdf5_leave();
}

enum status trace_replace(struct trace *trace, const char *key, struct error *err)
{
    char name[NAME_SIZE];
    bool fits;
    enum status status = OK;
    snprintf(name, sizeof name, "/cells/%s", key);
    hdf5_enter();
    if (H5Lexists(trace->file, name, H5P_DEFAULT) > 0) {
        TRY_GOTO(status, pair_begin(trace->pair, err));
        if (H5Ldelete(trace->file, name, H5P_DEFAULT) < 0)
            TRY_GOTO(status, write_failed(trace, err));
        TRY_GOTO(status, commit(&fits, trace, 0, err));
    }
exit:
    hdf5_leave();
    return status;
}

bool trace_has(struct trace *trace, const char *key, int sample_id)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%d", sample_id);
    hdf5_enter();
    hid_t samples = hdf5_group(trace->file, (const char *const[]){"cells", key, "samples"}, 3);
    bool there = samples >= 0 && H5Lexists(samples, name, H5P_DEFAULT) > 0;
    if (samples >= 0)
        H5Gclose(samples);
    hdf5_leave();
    return there;
}

/* ---- what is left out, and what is known ---------------------------------------------------- */

static void leave_out(struct trace *trace, const char *key, int sample_id)
{
    if (trace->n_left_out < LISTED) {
        struct left_out *one = &trace->listed[trace->n_left_out];
        snprintf(one->key, sizeof one->key, "%s", key);
        one->sample_id = sample_id;
    }
    trace->n_left_out += trace->n_left_out < INT_MAX;
}

bool trace_wants(struct trace *trace, const char *key, int sample_id)
{
    if (trace_has(trace, key, sample_id))
        return false;
    hdf5_enter();
    bool full = trace->full;
    if (full)
        leave_out(trace, key, sample_id);
    hdf5_leave();
    return !full;
}

int trace_n_left_out(struct trace *trace)
{
    hdf5_enter();
    int n = trace->n_left_out;
    hdf5_leave();
    return n;
}

void trace_report(struct trace *trace, FILE *out)
{
    hdf5_enter();
    if (trace->n_left_out > 0) {
        fflush(stdout); /* the table before it may go to the same place */
        fprintf(out,
                "trace: %s is at its limit of %lld bytes: %d samples are not in it; to take them up, raise "
                "trace.limit and run the same command again:",
                trace->path, (long long)trace->limit, trace->n_left_out);
        for (int i = 0; i < trace->n_left_out && i < LISTED; i++)
            fprintf(out, "%s sample %d of %.8s", i ? "," : "", trace->listed[i].sample_id,
                    trace->listed[i].key);
        if (trace->n_left_out > LISTED)
            fprintf(out, ", and %d more", trace->n_left_out - LISTED);
        fputc('\n', out);
    }
    hdf5_leave();
}

static const struct known *find_known(const struct trace *trace, const char *picture)
{
    for (int i = trace->n_known - 1; picture && i >= 0; i--)
        if (strcmp(trace->known[i].picture, picture) == 0)
            return &trace->known[i];
    return NULL;
}

/* Remembering is a convenience: where memory runs out, the picture is read once more. */
static void learn(struct trace *trace, const char *picture, const char *hash)
{
    if (picture == NULL || find_known(trace, picture))
        return;
    if (trace->n_known == trace->room_known) {
        int room = trace->room_known > 0 ? 2 * trace->room_known : 64;
        struct known *known = memory_grow(trace->known, (size_t)room, sizeof *known);
        if (known == NULL)
            return;
        trace->known = known;
        trace->room_known = room;
    }
    struct known *one = &trace->known[trace->n_known];
    if ((one->picture = memory_text(picture)) == NULL)
        return;
    snprintf(one->hash, sizeof one->hash, "%s", hash);
    trace->n_known++;
}

bool trace_knows(struct trace *trace, const char *picture)
{
    hdf5_enter();
    bool known = find_known(trace, picture) != NULL;
    hdf5_leave();
    return known;
}

/* ---- writing a sample ------------------------------------------------------------ */

/* The picture is packed unless the file has it. */
static bool take_picture(struct entry *out, struct trace *trace, const struct trace_sample *sample)
{
    const struct image *image = sample->image;
    char name[NAME_SIZE];
    if (sample->cuts_only)
        return true;
    hdf5_enter();
    const struct known *known = find_known(trace, sample->picture);
    if (known)
        snprintf(out->hash, sizeof out->hash, "%s", known->hash);
    hdf5_leave();
    if (known || image == NULL)
        return true;
    layout_picture_name(out->hash, image);
    snprintf(name, sizeof name, "/pictures/%s", out->hash);
    hdf5_enter();
    bool there =
        H5Lexists(trace->file, "pictures", H5P_DEFAULT) > 0 && H5Lexists(trace->file, name, H5P_DEFAULT) > 0;
    hdf5_leave();
    if (there)
        return true;
    out->picture = layout_picture(image, out->hash);
    return out->picture != NULL;
}

static enum status put(struct trace *trace, const struct entry *entry, bool *fits, struct error *err)
{
    size_t n_bytes = pack_bytes(entry->sample) + (entry->picture ? pack_bytes(entry->picture) : 0);
    *fits = trace->limit == 0 || pair_bytes(trace->pair) + (int64_t)n_bytes + GROWTH_BYTES <= trace->limit;
    if (*fits) {
        TRY(pair_begin(trace->pair, err));
        if (trace->file < 0 || !write_entry(trace, trace->file, entry))
            return write_failed(trace, err);
        TRY(commit(fits, trace, trace->limit, err));
    }
    return *fits ? OK : mark_full(trace, err);
}

enum status trace_sample(struct trace *trace, const char *key, const struct trace_sample *sample,
                         struct error *err)
{
    struct entry *entry = memory_zero(1, sizeof *entry);
    if (entry == NULL || (entry->sample = layout_sample(sample)) == NULL ||
        !take_picture(entry, trace, sample)) {
        entry_free(entry);
        return memory_failed(err, "a traced sample", sizeof *entry);
    }
    snprintf(entry->cell, sizeof entry->cell, "%s", key);
    snprintf(entry->name, sizeof entry->name, "/cells/%s/samples/%d", key, sample->sample_id);
    enum status status = OK;
    bool fits = false;
    hdf5_enter();
    if (!trace->full)
        status = put(trace, entry, &fits, err);
    if (status == OK && !fits)
        leave_out(trace, key, sample->sample_id);
    else if (status == OK && entry->hash[0] != 0)
        learn(trace, sample->picture, entry->hash);
    hdf5_leave();
    entry_free(entry);
    return status;
}
