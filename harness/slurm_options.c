/* The command line of `winnow sweep ... --slurm ...`, see slurm.h: which words are sbatch's, which are ours,
 * and how many shards they ask for. */
#include "harness/slurm.h"

#include <ctype.h>  /* isdigit */
#include <limits.h> /* INT_MAX */
#include <stdlib.h> /* strtol */
#include <string.h> /* strcmp */

#include "core/memory.h"

/* Options of sbatch that contradict what is submitted here. */
static const struct {
    const char *name, *why;
} refused[] = {
    {"--wrap", "the script is written by this command"},
    {"--test-only", "use --slurm --plan to see what would be submitted"},
    {"--wait", "the merge job is submitted after the array; wait for that one, as with `srun "
               "--dependency=afterany:JOB true`"},
    {"-W", "see --wait"},
};

/* ---- words ---------------------------------------------------------------------------------- */

static bool starts(const char *word, const char *with)
{
    return strncmp(word, with, strlen(with)) == 0;
}

/* Whether `word` is the long option `name`, alone or with =VALUE. */
static bool is_option(const char *word, const char *name)
{
    size_t n = strlen(name);
    return strncmp(word, name, n) == 0 && (word[n] == 0 || word[n] == '=');
}

/* Ours also among sbatch's. *with_value: the next word is its value. */
static bool is_ours(const char *word, bool *with_value)
{
    *with_value = strcmp(word, "--shards") == 0;
    return *with_value || is_option(word, "--shards") || strcmp(word, "--plan") == 0 ||
           strcmp(word, "--json") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* sbatch takes any beginning of --array that fits no other option: --ar and longer. */
static bool is_array(const char *word, bool *with_value, const char **value)
{
    const char *equals = strchr(word, '=');
    size_t n = equals ? (size_t)(equals - word) : strlen(word);
    *with_value = false;
    *value = NULL;
    if (n >= 4 && n <= 7 && strncmp("--array", word, n) == 0) {
        *with_value = equals == NULL;
        *value = equals ? equals + 1 : NULL;
        return true;
    }
    if (!starts(word, "-a"))
        return false;
    *with_value = word[2] == 0;
    *value = word + 2;
    return true;
}

static enum status check_word(const char *word, const char *before, struct error *err)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (is_option(word, refused[i].name))
            return fail(err, BAD_INPUT, "--slurm: sbatch's option %s cannot be given: %s", refused[i].name,
                        refused[i].why);
    /* sbatch would take an operand for its script. */
    if (word[0] != '-' && (before == NULL || before[0] != '-' || strchr(before, '=')))
        return fail(
            err, BAD_INPUT,
            "--slurm: found '%.80s' among the options of sbatch, expected only options; the sweep file "
            "and its options stand before --slurm",
            word);
    return OK;
}

/* Sorts the words from argv[from] on. */
static enum status part_sbatch(struct slurm_words *out, int argc, char **argv, int from, bool with_ours,
                               struct error *err)
{
    for (int i = from; i < argc; i++) {
        bool with_value;
        const char *value;
        if (with_ours && is_ours(argv[i], &with_value)) {
            out->own[out->n_own++] = argv[i];
            if (with_value && i + 1 < argc)
                out->own[out->n_own++] = argv[++i];
        } else if (is_array(argv[i], &with_value, &value)) {
            if (with_value && i + 1 == argc)
                return fail(err, BAD_INPUT, "--slurm: %s lacks its value, as in --array=1-8", argv[i]);
            out->array = with_value ? argv[++i] : value;
        } else {
            const char *last = out->n_sbatch > 0 ? out->sbatch[out->n_sbatch - 1] : NULL;
            TRY(check_word(argv[i], last == argv[i - 1] ? last : NULL, err));
            out->sbatch[out->n_sbatch++] = argv[i];
        }
    }
    return OK;
}

enum status slurm_part(struct slurm_words *out, int argc, char **argv, struct error *err)
{
    *out = (struct slurm_words){.own = memory_zero((size_t)argc + 1, sizeof *out->own),
                                .sbatch = memory_zero((size_t)argc + 1, sizeof *out->sbatch)};
    if (out->own == NULL || out->sbatch == NULL)
        return memory_failed(err, "the command line", (size_t)argc * sizeof *out->own);
    int slurm = 0, dashes = 0;
    for (int i = 1; i < argc; i++) {
        if (slurm == 0 && strcmp(argv[i], "--slurm") == 0)
            slurm = i;
        else if (slurm > 0 && dashes == 0 && strcmp(argv[i], "--") == 0)
            dashes = i;
    }
    out->wanted = slurm > 0;
    int own_end = dashes ? dashes : slurm ? slurm : argc;
    for (int i = 0; i < own_end; i++)
        if (slurm == 0 || i != slurm)
            out->own[out->n_own++] = argv[i];
    return slurm ? part_sbatch(out, argc, argv, own_end + 1, dashes == 0, err) : OK;
}

void slurm_words_free(struct slurm_words *words)
{
    free(words->own);
    free(words->sbatch);
}

/* ---- shards --------------------------------------------------------------------------------- */

/* A number of digits only, of which *at is moved behind; -1: none, or too large. */
static int read_number(const char **at)
{
    if (!isdigit((unsigned char)**at))
        return -1;
    char *end;
    long value = strtol(*at, &end, 10);
    *at = end;
    return value > INT_MAX ? -1 : (int)value;
}

/* Least and greatest task of sbatch's list `A[-B[:STEP]],...[%MOST_AT_ONCE]`; *plain: it is one A-B. */
static bool read_array(int *least, int *most, bool *plain, const char *text)
{
    *least = INT_MAX;
    *most = -1;
    *plain = true;
    for (const char *at = text;; at++) {
        int first = read_number(&at), last = first;
        if (*at == '-') {
            at++;
            last = read_number(&at);
        } else {
            *plain = false;
        }
        if (*at == ':') {
            at++;
            *plain = false;
            if (read_number(&at) < 1)
                return false;
        }
        if (first < 0 || last < first)
            return false;
        *least = first < *least ? first : *least;
        *most = last > *most ? last : *most;
        if (*at == '%') {
            at++;
            if (read_number(&at) < 1)
                return false;
        }
        if (*at == 0)
            return true;
        if (*at != ',')
            return false;
        *plain = false;
    }
}

enum status slurm_shards(int *n_shards, const char *array, int wanted, struct error *err)
{
    int least, most;
    bool plain;
    if (array == NULL && wanted == 0)
        return fail(
            err, BAD_INPUT,
            "--slurm: into how many shards? Give --shards N, or --array=1-N among the options of sbatch");
    if (array == NULL) {
        *n_shards = wanted;
        return OK;
    }
    if (!read_array(&least, &most, &plain, array))
        return fail(err, BAD_INPUT, "--array: found '%.80s', expected a list of tasks as in 1-8 or 2,5-7%%2",
                    array);
    if (wanted == 0 && (!plain || least != 1))
        return fail(
            err, BAD_INPUT,
            "--array: found '%.80s', expected 1-N, which says how many shards there are; for some of N "
            "shards give --shards N too",
            array);
    *n_shards = wanted ? wanted : most;
    if (least < 1 || most > *n_shards)
        return fail(err, BAD_INPUT,
                    "--array: found '%.80s', expected tasks from 1 to %d, the number of --shards", array,
                    *n_shards);
    if (*n_shards > SLURM_SHARDS_MAX)
        return fail(err, BAD_INPUT, "--array: found %d shards, expected at most %d", *n_shards,
                    SLURM_SHARDS_MAX);
    return OK;
}
