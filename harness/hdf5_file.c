/* HDF5 by one thread at a time, and values of files that come from elsewhere; see hdf5_file.h. */
#include "harness/hdf5_file.h"

#include <pthread.h> /* the lock */
#include <stdint.h>  /* int32_t */
#include <stdio.h>   /* snprintf */
#include <stdlib.h>  /* free */
#include <string.h>  /* strlen */

#include "core/memory.h" /* memory_* */

enum { TEXT_MAX = 64 << 10 };
#define CHUNK_VALUES_MAX ((hsize_t)64 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void hdf5_enter(void)
{
    pthread_mutex_lock(&lock);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* a setting of each thread: our messages, not a stack of HDF5's */
}

void hdf5_leave(void)
{
    pthread_mutex_unlock(&lock);
}

struct cause {
    char *text;
    size_t size;
};

static herr_t cause_visit(unsigned n, const H5E_error2_t *found, void *context)
{
    const struct cause *cause = context;
    if (n == 0 && found->desc != NULL)
        snprintf(cause->text, cause->size, "HDF5 says: %s", found->desc);
    return 0;
}

void hdf5_cause(char *out, size_t size)
{
    snprintf(out, size, "HDF5 gives no reason");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, cause_visit, &(struct cause){out, size});
}

bool hdf5_has(hid_t at, const char *name)
{
    H5L_info_t info;
    return H5Lexists(at, name, H5P_DEFAULT) > 0 && H5Lget_info(at, name, &info, H5P_DEFAULT) >= 0 &&
           info.type == H5L_TYPE_HARD;
}

hid_t hdf5_group(hid_t at, const char *const *path, int n)
{
    hid_t group = H5Gopen2(at, "/", H5P_DEFAULT);
    for (int i = 0; i < n && group >= 0; i++) {
        hid_t next = hdf5_has(group, path[i]) ? H5Gopen2(group, path[i], H5P_DEFAULT) : -1;
        H5Gclose(group);
        group = next;
    }
    return group;
}

/* A chunk is unpacked whole, however little of it is asked for. */
static bool chunks_are_small(hid_t properties)
{
    hsize_t shape[H5S_MAX_RANK], n = 1;
    if (H5Pget_layout(properties) != H5D_CHUNKED)
        return true;
    int rank = H5Pget_chunk(properties, H5S_MAX_RANK, shape);
    for (int i = 0; i < rank; i++) {
        if (shape[i] > 0 && n > CHUNK_VALUES_MAX / shape[i])
            return false;
        n *= shape[i];
    }
    return rank > 0;
}

enum status hdf5_dataset(hid_t *out, hid_t *space, hid_t at, const char *name, struct error *err)
{
    *out = *space = -1;
    if (!hdf5_has(at, name))
        return fail(err, BAD_INPUT, "%s: is missing", name);
    hid_t dataset = H5Dopen2(at, name, H5P_DEFAULT);
    if (dataset < 0)
        return fail(err, BAD_INPUT, "%s: expected a dataset", name);
    hid_t properties = H5Dget_create_plist(dataset);
    bool inside = properties >= 0 && H5Pget_external_count(properties) == 0 &&
                  H5Pget_layout(properties) != H5D_VIRTUAL && chunks_are_small(properties);
    if (properties >= 0)
        H5Pclose(properties);
    *space = inside ? H5Dget_space(dataset) : -1;
    if (*space < 0) {
        H5Dclose(dataset);
        return fail(err, BAD_INPUT,
                    "%s: a dataset of a trace must lie in the file itself, in chunks of up to 64 Mi values",
                    name);
    }
    *out = dataset;
    return OK;
}

enum status hdf5_array(void **out, hsize_t *shape, hid_t at, const char *name, int rank, hid_t memory_type,
                       size_t limit, struct error *err)
{
    hid_t dataset, space;
    *out = NULL;
    memset(shape, 0, (size_t)rank * sizeof *shape);
    TRY(hdf5_dataset(&dataset, &space, at, name, err));
    enum status status = OK;
    hid_t type = H5Dget_type(dataset);
    H5T_class_t class = H5Tget_class(memory_type);
    size_t n = 1, size = H5Tget_size(memory_type);
    if (H5Sget_simple_extent_ndims(space) != rank || H5Sget_simple_extent_dims(space, shape, NULL) != rank ||
        type < 0 || H5Tget_class(type) != class || H5Tget_size(type) > sizeof(double)) {
        status = fail(err, BAD_INPUT, "%s: expected %s in %d dimension%s", name,
                      class == H5T_INTEGER ? "integers" : "floats", rank, rank == 1 ? "" : "s");
        goto exit;
    }
    for (int i = 0; i < rank; i++) {
        if (shape[i] > limit || (shape[i] > 0 && n > limit / (size_t)shape[i])) {
            status = fail(err, BAD_INPUT, "%s: has more than %zu values; the trace is damaged", name, limit);
            goto exit;
        }
        n *= (size_t)shape[i];
    }
    *out = memory_alloc(n, size);
    if (*out == NULL)
        status = memory_failed(err, name, n * size);
    else if (n > 0 && H5Dread(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *out) < 0)
        status = fail(err, BAD_INPUT, "%s: cannot be read; the trace is damaged or cut short", name);
exit:
    if (status != OK) {
        memset(shape, 0, (size_t)rank * sizeof *shape);
        free(*out);
        *out = NULL;
    }
    if (type >= 0)
        H5Tclose(type);
    H5Sclose(space);
    H5Dclose(dataset);
    return status;
}

static herr_t read_text(hid_t object, bool is_attribute, hid_t type, void *out)
{
    return is_attribute ? H5Aread(object, type, out)
                        : H5Dread(object, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
}

char *hdf5_text(hid_t object, bool is_attribute)
{
    char *text = NULL;
    hid_t type = is_attribute ? H5Aget_type(object) : H5Dget_type(object);
    hid_t space = is_attribute ? H5Aget_space(object) : H5Dget_space(object);
    size_t size = type >= 0 ? H5Tget_size(type) : 0;
    if (type < 0 || space < 0 || H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1)
        goto exit;
    hid_t memory_type = H5Tcopy(H5T_C_S1);
    H5Tset_cset(memory_type, H5Tget_cset(type));
    if (H5Tis_variable_str(type) > 0) {
        char *found = NULL;
        H5Tset_size(memory_type, H5T_VARIABLE);
        bool ok = read_text(object, is_attribute, memory_type, &found) >= 0 && found != NULL;
        if (ok && strlen(found) <= TEXT_MAX)
            text = memory_text(found);
        if (ok)
            H5free_memory(found);
    } else if (size > 0 && size <= TEXT_MAX) {
        text = memory_zero(size + 1, 1);
        H5Tset_size(memory_type, size + 1);
        if (text != NULL && read_text(object, is_attribute, memory_type, text) < 0) {
            free(text);
            text = NULL;
        }
    }
    H5Tclose(memory_type);
exit:
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    return text != NULL ? text : memory_text("");
}

char *hdf5_text_attribute(hid_t at, const char *name)
{
    hid_t attribute = H5Aexists(at, name) > 0 ? H5Aopen(at, name, H5P_DEFAULT) : -1;
    char *text = attribute >= 0 ? hdf5_text(attribute, true) : memory_text("");
    if (attribute >= 0)
        H5Aclose(attribute);
    return text;
}

bool hdf5_int_attribute(int *out, hid_t at, const char *name)
{
    hid_t attribute = H5Aexists(at, name) > 0 ? H5Aopen(at, name, H5P_DEFAULT) : -1;
    if (attribute < 0)
        return false;
    hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
    int32_t value = 0;
    bool read = space >= 0 && type >= 0 && H5Sget_simple_extent_npoints(space) == 1 &&
                H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) <= sizeof(int64_t) &&
                H5Aread(attribute, H5T_NATIVE_INT32, &value) >= 0;
    if (read)
        *out = value;
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    H5Aclose(attribute);
    return read;
}
