/* The key of a cell: what its answers depend on, hashed. Two cells with equal keys are one cell, on whatever
 * machine, in whatever sweep; a key that is in the store already is not run again.
 *
 * A key is the first 32 hexadecimal digits (128 bits) of SHA-256 over the canonical text: one `name=value`
 * line for each thing it depends on. Not in it: name of the sweep, limit, shard, threads, workers, timing,
 * trace, revision, machine. A changed default of a parameter raises NUMERICS, which is in it.
 */
#ifndef WINNOW_KEY_H
#define WINNOW_KEY_H

#include <stdint.h>

#include "core/reducer.h"
#include "harness/sweep_file.h"

enum { KEY_SIZE = 33 };

/* Method, parameters that differ from their defaults, budget, match, control and seed as lines. The caller
 * frees; NULL when memory runs out. `run_seed` is --seed, by which pictures are exchanged. */
char *key_arm_text(const struct method *method, enum control control, uint64_t seed, uint64_t run_seed);

struct key_parts {
    const char *weights_sha, *files_sha; /* 64 digits each */
    const char *template, *image_mode;
    int max_new_tokens;
    const char *arm; /* key_arm_text */
    const char *split, *backend, *dtype;
};

/* The caller frees *canonical, from which the key was made. */
enum status key_make(char key[KEY_SIZE], char **canonical, const struct key_parts *parts, struct error *err);

#endif
