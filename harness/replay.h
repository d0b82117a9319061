/* Cuts of a trace, to be made once more: what the method `replay` reads.
 *
 *     struct replay_file *file;
 *     TRY(replay_open(&file, "budgets.h5", "0123abcd", &err));    // a cell's key, or how it begins
 *     struct replay replay;
 *     TRY(replay_about(&replay, file, &err));                     // method and parameters that were traced
 *     TRY(replay_read(&replay.cuts, &replay.n_cuts, file, 17, &err));
 *     replay_clear(&replay); replay_close(file);
 *
 * The file may be a sweep's own that is being written: it is opened for each sample anew, read-only, so that
 * its writer in this process may open and close it in between. Another process that writes it keeps it from
 * being opened. A replay_file is not changed by reading and may be shared by threads.
 */
#ifndef WINNOW_REPLAY_H
#define WINNOW_REPLAY_H

#include <jansson.h>

#include "core/vlm.h"

struct replay {
    char *method; /* whose cuts these are */
    json_t *params;
    int n_cuts;
    struct cut_record *cuts; /* in the order in which they were made */
};                           /* owns all of it */

struct replay_file;

/* `cell`: a key, or at least 8 hexadecimal digits with which exactly one key begins. */
enum status replay_open(struct replay_file **out, const char *path, const char *cell, struct error *err);
void replay_close(struct replay_file *file); /* NULL is closed already */

/* Method and parameters of the cell; no cuts. */
enum status replay_about(struct replay *out, const struct replay_file *file, struct error *err);
void replay_clear(struct replay *replay);

/* Opens the trace that a method's parameters `file` and `cell` name, and gives `positions` the default of the
 * method traced; *out NULL where the method is no replay. Its tower works as that of the method traced. */
enum status replay_method_open(struct replay_file **out, struct method *method, struct error *err);

/* The cuts of one sample, owned by the caller (replay_free). BAD_INPUT where the cell has no such sample.
 *
 * What a cut says of itself holds: places are in range, kept and entering tokens distinct, clusters exist,
 * factors are finite, centres that stay are among the kept, and no more tokens leave than enter. Whether
 * it fits the model and the cut before it is the runtime's to find out. A trace without `site` and `weight`
 * was made when there were only cuts of the decoder and one factor for each cluster. A picture that was
 * resized before the tower has a record of its own (cut_record.resized), first. */
enum status replay_read(struct cut_record **cuts, int *n, const struct replay_file *file, int sample_id,
                        struct error *err);
void replay_free(struct cut_record *cuts, int n);

#endif
