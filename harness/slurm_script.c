/* The script of a sweep's jobs, see slurm.h.
 *
 * Every word that a user chose stands in single quotes, in which the shell leaves blanks, dollars and
 * newlines alone, and none stands in a comment, which a newline would end. A job starts wherever Slurm likes:
 * the script goes to the folder where the sweep was submitted, so that relative paths in options and in the
 * sweep file mean what they meant there.
 */
#include "harness/slurm.h"

#include <string.h> /* strspn */

void slurm_write_word(FILE *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,+@%-";
    if (word[0] != 0 && word[strspn(word, plain)] == 0) {
        fputs(word, out);
        return;
    }
    putc('\'', out);
    for (const char *c = word; *c; c++)
        if (*c == '\'')
            fputs("'\\''", out);
        else
            putc(*c, out);
    putc('\'', out);
}

/* BEFORE WORD AFTER */
static void write_around(FILE *out, const char *before, const char *word, const char *after)
{
    fputs(before, out);
    slurm_write_word(out, word);
    fputs(after, out);
}

/* A line each, the last of which goes on. */
static void write_options(FILE *out, struct slurm_options options)
{
    for (int i = 0; i < options.n; i++) {
        fprintf(out, "        --%s", options.at[i].name);
        if (options.at[i].value)
            write_around(out, " ", options.at[i].value, "");
        fputs(" \\\n", out);
    }
}

static void write_shard(FILE *out, const struct slurm_script *script)
{
    fputs("shard)\n"
          "    # A task asks its share of every cell's samples and keeps the answers in a store of its own, "
          "from\n"
          "    # which it goes on when it is started again. exec: signals of Slurm reach the sweep itself. "
          "It ends\n"
          "    # orderly on SIGTERM, and its exit status is the task's: 1 some samples failed, 130 out of "
          "time.\n"
          "    shard=${SLURM_ARRAY_TASK_ID:?is not set: start this as a task of an array job}\n",
          out);
    write_around(out, "    exec ", script->executable, " sweep ");
    slurm_write_word(out, script->file);
    fputs(" \\\n", out);
    write_options(out, script->shard);
    fprintf(out, "        --shard \"$shard/%d\" --store ", script->n_shards);
    slurm_write_word(out, script->stem);
    fprintf(out, "\".shard-$shard-of-%d.db\"\n    ;;\n", script->n_shards);
}

static void write_merge(FILE *out, const struct slurm_script *script)
{
    fprintf(
        out,
        "merge)\n"
        "    # Runs when every task has ended, however it ended (afterany): what failed or ran out of time\n"
        "    # is missing from the store until the sweep is submitted again.\n"
        "    shard=1\n"
        "    while [ $shard -le %d ]; do\n",
        script->n_shards);
    write_around(out, "        [ -e ", script->stem, "");
    fprintf(out,
            "\".shard-$shard-of-%d.db\" ] || echo \"shard $shard of %d has no store\" >&2\n"
            "        shard=$((shard + 1))\n"
            "    done\n",
            script->n_shards, script->n_shards);
    write_around(out, "    exec ", script->executable, " merge \\\n");
    write_options(out, script->merge);
    write_around(out, "        ", script->store, " ");
    write_around(out, "", script->stem, ".shard-*-of-*.db\n    ;;\n");
}

void slurm_write_script(FILE *out, const struct slurm_script *script)
{
    fprintf(out,
            "#!/bin/sh\n"
            "# Written by `winnow sweep --slurm`: a sweep in %d shards, and their merge into one store.\n"
            "# Submitting the sweep again writes this file anew; what is done stays done.\n",
            script->n_shards);
    write_around(out, "cd -- ", script->folder, " || exit 3 # relative paths mean what they meant there\n\n");
    fputs("case ${1-} in\n", out);
    write_shard(out, script);
    write_merge(out, script);
    fputs("*)\n"
          "    echo \"$0: expected shard or merge, found '${1-}'\" >&2\n"
          "    exit 2\n"
          "    ;;\n"
          "esac\n",
          out);
}
