/* A group of HDF5 that is still to be written: its groups, attributes and arrays, these already compressed.
 *
 *     struct pack *pack = pack_new();                 // without a lock, in the thread that has the values
 *     int cut = pack_group(pack, PACK_ROOT, "0");
 *     pack_int(pack, cut, "layer", 2);
 *     pack_ints(pack, cut, "kept", kept, n_kept);
 *     if (!pack_good(pack)) ...                       // once, at the end: memory ran out
 *     pack_write(group, pack);                        // between hdf5_enter and hdf5_leave; as often as
 * wanted pack_free(pack);
 *
 * So the costly half of writing is done by many threads at once, and how much a group will take in the file
 * is known before it is written.
 */
#ifndef WINNOW_HARNESS_TRACE_PACK_H
#define WINNOW_HARNESS_TRACE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hdf5.h>

struct pack;
enum { PACK_ROOT = -1 };
enum pack_type { PACK_U8, PACK_I32, PACK_F32 };

struct pack *pack_new(void); /* NULL when memory runs out, which all functions below take */
void pack_free(struct pack *pack);
bool pack_good(const struct pack *pack);
/* The bytes it takes in a file, rather too many. */
size_t pack_bytes(const struct pack *pack);

/* Names of up to 39 bytes are copied, as all values are. `group`: PACK_ROOT, or what pack_group returned. */
int pack_group(struct pack *pack, int group, const char *name);
void pack_int(struct pack *pack, int group, const char *name, int value); /* an attribute */
void pack_attribute(struct pack *pack, int group, const char *name, const char *text);
void pack_text(struct pack *pack, int group, const char *name, const char *text);
void pack_array(struct pack *pack, int group, const char *name, enum pack_type type, const void *data,
                int rank, const hsize_t *shape);
void pack_ints(struct pack *pack, int group, const char *name, const int32_t *values, int n);
void pack_floats(struct pack *pack, int group, const char *name, const float *values, int n);

/* Writes all of it into an open group that has none of it. */
bool pack_write(hid_t group, const struct pack *pack);

#endif
