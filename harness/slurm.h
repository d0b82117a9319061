/* Beyond one machine: `winnow sweep FILE --slurm [SBATCH OPTIONS]`.
 *
 *     S.slurm.sh            one script of two parts, written beside the store S.db
 *       shard               array job 1-N: each task is `winnow sweep FILE ... --shard I/N` into
 * S.shard-I-of-N.db merge               a job after it (afterany): `winnow merge S.db S.shard-*.db`
 *
 * A shard's sweep resumes from its own store, as every sweep does, so submitting again goes on. Jobs of the
 * same store that are still in the queue are looked up (their numbers stand at the end of the script) and
 * refused. slurm_script.c writes the script, slurm_options.c reads the options meant for sbatch.
 */
#ifndef WINNOW_SLURM_H
#define WINNOW_SLURM_H

#include <stdbool.h>
#include <stdio.h>

#include "core/error.h"

enum { SLURM_SHARDS_MAX = 100000 };

/* ---- slurm_options.c: which words of a command line are sbatch's ------------------------------ */

/* A command line parted at --slurm. What stands behind it is sbatch's; where there is a `--` behind it, only
 * what stands behind that. --plan, --shards, --json and --help, which sbatch lacks or which ask about us, are
 * always ours. All arrays hold words of the original argv and end in NULL. */
struct slurm_words {
    char **own; /* ours: argv without --slurm and what is sbatch's */
    int n_own;
    const char **sbatch; /* without --array */
    int n_sbatch;
    const char *array; /* value of the last --array, NULL: none */
    bool wanted;       /* --slurm was there */
};
/* Refuses options of sbatch that cannot go with a script of ours, and operands. */
enum status slurm_part(struct slurm_words *out, int argc, char **argv, struct error *err);
void slurm_words_free(struct slurm_words *words);

/* How many shards: `wanted` (--shards, 0: not given), or N of `array` when that is 1-N[%M]; with both,
 * `array` (any list of sbatch's) says which of them are run. */
enum status slurm_shards(int *n_shards, const char *array, int wanted, struct error *err);

/* ---- slurm_script.c --------------------------------------------------------------------------- */

struct slurm_option {
    const char *name, *value; /* name without dashes; value NULL: it has none */
};
struct slurm_options {
    const struct slurm_option *at;
    int n;
};

/* What the script says; all paths are absolute. */
struct slurm_script {
    const char *executable, *folder; /* folder: where the sweep was submitted */
    const char *file, *store;
    const char *stem;                  /* of the store: without its .db */
    struct slurm_options shard, merge; /* of `winnow sweep` and `winnow merge` */
    int n_shards;
};
void slurm_write_script(FILE *out, const struct slurm_script *script);
/* A word as the shell reads it back, quoted where it must be. */
void slurm_write_word(FILE *out, const char *word);

/* ---- slurm.c ---------------------------------------------------------------------------------- */

struct slurm_request {
    const char *file;                  /* of the sweep, as on the command line */
    const char *store;                 /* that the sweep would write without --slurm */
    struct slurm_options shard, merge; /* what each is told besides */
    const struct slurm_words *words;
    int n_shards;    /* --shards; 0: those of --array */
    bool plan, json; /* plan: prints script and command lines, submits and writes nothing */
};
enum status slurm_submit(const struct slurm_request *request, struct error *err);

#endif
