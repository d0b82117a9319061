/* Submitting a sweep to Slurm, see slurm.h.
 *
 *     paths -> script -> look-up of earlier jobs -> sbatch shard -> sbatch merge -> their numbers into the
 * script
 *
 * Slurm's programs are started directly, never through a shell; what they say on stderr is shown as it is.
 */
#include "harness/slurm.h"

#include <ctype.h>    /* isdigit */
#include <errno.h>    /* ENOENT */
#include <fcntl.h>    /* O_WRONLY */
#include <spawn.h>    /* posix_spawnp */
#include <stdlib.h>   /* free */
#include <string.h>   /* strcmp */
#include <sys/wait.h> /* waitpid */
#include <unistd.h>   /* pipe2 */

#include "core/json.h"
#include "core/memory.h"
#include "harness/command.h"
#include "harness/sweep_run.h"

enum { PATH_SIZE = 4096, ANSWER_SIZE = 4096, OWN_WORDS = 16, SCRIPT_LIMIT = 16 << 20 };

static const char JOBS_MARK[] = "# Submitted as array job ", MERGE_MARK[] = ", merge job ";

/* A job as `sbatch --parsable` names it: NUMBER or NUMBER;CLUSTER. */
struct job {
    char number[24], cluster[64]; /* cluster "": the one there is */
};

struct submission {
    const struct slurm_request *request;
    char executable[PATH_SIZE], folder[PATH_SIZE];
    char *store, *stem, *path; /* path: of the script. Owned */
    char *name, *logs;         /* what jobs are called, where their output goes. Owned */
    char *file;                /* of the sweep. Owned */
    char *text;                /* of the script. Owned (free) */
    size_t n_text;
    int n_shards;
    char *array; /* Owned */
};

/* ---- paths ---------------------------------------------------------------------------------- */

static enum status make_absolute(char **out, const struct submission *sub, const char *path,
                                 struct error *err)
{
    if (path[0] == '/')
        return make_path(out, err, "%s", path);
    return make_path(out, err, "%s/%s", sub->folder, path);
}

/* Slurm puts its own figures in place of % in the name of a log. */
static enum status make_log_pattern(char **out, const char *stem, struct error *err)
{
    char doubled[PATH_SIZE];
    size_t n = 0;
    for (const char *c = stem; *c && n + 3 < sizeof doubled; c++) {
        doubled[n++] = *c;
        if (*c == '%')
            doubled[n++] = '%';
    }
    doubled[n] = 0;
    return make_path(out, err, "%s", doubled);
}

static enum status find_paths(struct submission *sub, struct error *err)
{
    const struct slurm_request *request = sub->request;
    ssize_t n = readlink("/proc/self/exe", sub->executable, sizeof sub->executable - 1);
    if (n <= 0 || getcwd(sub->folder, sizeof sub->folder) == NULL)
        return fail(err, NO_MACHINE, "the path of this program or of this folder cannot be found: %s",
                    strerror(errno));
    sub->executable[n] = 0;
    if (file_exists(request->file)) /* else it is a built-in grid's name */
        TRY(make_absolute(&sub->file, sub, request->file, err));
    else
        TRY(make_path(&sub->file, err, "%s", request->file));
    TRY(make_absolute(&sub->store, sub, request->store, err));
    TRY(make_path(&sub->stem, err, "%s", sub->store));
    size_t n_stem = strlen(sub->stem);
    if (n_stem > 3 && strcmp(sub->stem + n_stem - 3, ".db") == 0)
        sub->stem[n_stem - 3] = 0;
    TRY(make_path(&sub->path, err, "%s.slurm.sh", sub->stem));
    TRY(make_path(&sub->name, err, "winnow-%s", strrchr(sub->stem, '/') + 1));
    return make_log_pattern(&sub->logs, sub->stem, err);
}

static enum status make_script(struct submission *sub, struct error *err)
{
    const struct slurm_request *request = sub->request;
    const struct slurm_script script = {.executable = sub->executable,
                                        .folder = sub->folder,
                                        .file = sub->file,
                                        .store = sub->store,
                                        .stem = sub->stem,
                                        .shard = request->shard,
                                        .merge = request->merge,
                                        .n_shards = sub->n_shards};
    FILE *out = open_memstream(&sub->text, &sub->n_text);
    if (out == NULL)
        return memory_failed(err, "the script", 0);
    slurm_write_script(out, &script);
    return fclose(out) == 0 ? OK : memory_failed(err, "the script", sub->n_text);
}

/* ---- Slurm's programs ----------------------------------------------------------------------- */

/* The command line of one of the two jobs; `after`: the job that the merge waits for, NULL: the array itself.
 * What the user gives stands behind what is only a default. To be freed, with the texts in `own`. */
struct call {
    const char **words;
    int n;
    char *own[2];
};

static void call_free(struct call *call)
{
    free(call->words);
    free(call->own[0]);
    free(call->own[1]);
}

static enum status make_call(struct call *call, const struct submission *sub, const char *after,
                             struct error *err)
{
    const struct slurm_words *words = sub->request->words;
    *call = (struct call){.words = memory_zero((size_t)words->n_sbatch + OWN_WORDS, sizeof *call->words)};
    if (call->words == NULL)
        return memory_failed(err, "a command line", (size_t)words->n_sbatch * sizeof *call->words);
    const char **at = call->words;
    *at++ = "sbatch";
    *at++ = "--parsable";
    *at++ = "--job-name";
    *at++ = sub->name;
    TRY(make_path(&call->own[0], err, "--output=%s.slurm-%s.log", sub->logs, after ? "%j" : "%A_%a"));
    *at++ = call->own[0];
    if (after == NULL) /* a minute to write down what is answered */
        *at++ = "--signal=B:TERM@60";
    for (int i = 0; i < words->n_sbatch; i++)
        *at++ = words->sbatch[i];
    if (after)
        TRY(make_path(&call->own[1], err, "--dependency=afterany:%s", after));
    else
        TRY(make_path(&call->own[1], err, "--array=%s", sub->array));
    *at++ = call->own[1];
    *at++ = sub->path;
    *at++ = after ? "merge" : "shard";
    call->n = (int)(at - call->words);
    return OK;
}

/* Runs a program of Slurm; *answer gets the beginning of its stdout, *ended its exit status (-1: a signal).
 */
static enum status run_program(char answer[ANSWER_SIZE], int *ended, const char *const *words, bool quiet,
                               struct error *err)
{
    int ends[2], how;
    posix_spawn_file_actions_t actions;
    pid_t child;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(err, NO_MACHINE, "%s cannot be started: %s", words[0], strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    if (quiet)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    fflush(NULL);
    /* exec does not write to its words; its signature is older than const. */
    char *const *argv = (char *const *)(const void *)words;
    int failed = posix_spawnp(&child, words[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    size_t n = 0;
    char rest[ANSWER_SIZE];
    for (ssize_t got = 1; failed == 0 && got != 0;) {
        bool room = n < ANSWER_SIZE - 1;
        got = read(ends[0], room ? answer + n : rest, room ? ANSWER_SIZE - 1 - n : sizeof rest);
        if (got < 0 && errno != EINTR)
            break;
        if (got > 0 && room)
            n += (size_t)got;
    }
    answer[n] = 0;
    close(ends[0]);
    if (failed != 0)
        return fail(err, NO_MACHINE,
                    failed == ENOENT
                        ? "%s is not here: submit from a machine of a Slurm cluster, or run each "
                          "shard with --shard I/N (docs/cluster.md)%s"
                        : "%s cannot be started: %s",
                    words[0], failed == ENOENT ? "" : strerror(failed));
    while (waitpid(child, &how, 0) < 0)
        if (errno != EINTR)
            return fail(err, NO_MACHINE, "%s: its end is not known: %s", words[0], strerror(errno));
    *ended = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
    return OK;
}

/* Digits, and a cluster's name behind a semicolon. Returns what follows, NULL: it is no job. */
static const char *parse_job(struct job *out, const char *text)
{
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n >= sizeof out->number)
        return NULL;
    *out = (struct job){0};
    memcpy(out->number, text, n);
    text += n;
    if (*text != ';')
        return text;
    n = strcspn(++text, " \t\r\n,;");
    if (n == 0 || n >= sizeof out->cluster)
        return NULL;
    memcpy(out->cluster, text, n);
    return text + n;
}

static enum status submit(struct job *out, const struct call *call, struct error *err)
{
    char answer[ANSWER_SIZE], shown[PRINTABLE_SIZE];
    int ended;
    const char *what = call->words[call->n - 1];
    TRY(run_program(answer, &ended, call->words, false, err));
    if (ended != 0)
        return fail(
            err, NO_MACHINE,
            "sbatch did not take the %s job (status %d); what it says stands above. Options of the sweep "
            "stand before --slurm; `--slurm --plan` shows how sbatch is called",
            what, ended);
    const char *end = parse_job(out, answer);
    if (end == NULL || end[strspn(end, " \t\r\n")] != 0)
        return fail(err, NO_MACHINE, "sbatch said '%s' on the %s job, expected its number",
                    printable(shown, answer), what);
    return OK;
}

/* Whether the job could be told to stop. */
static bool cancel(const struct job *job)
{
    char answer[ANSWER_SIZE], cluster[80];
    int ended;
    struct error unused;
    snprintf(cluster, sizeof cluster, "--clusters=%s", job->cluster);
    const char *words[] = {"scancel", job->number, job->cluster[0] ? cluster : NULL, NULL};
    return run_program(answer, &ended, words, false, &unused) == OK && ended == 0;
}

/* ---- earlier jobs of this store ------------------------------------------------------------- */

/* The jobs noted at the end of an earlier script; false: there are none. */
static bool read_jobs(struct job *array, struct job *merge, const char *path)
{
    char *text;
    size_t n;
    struct error unused;
    if (!file_exists(path) || file_read(&text, &n, path, SCRIPT_LIMIT, &unused) != OK)
        return false;
    const char *at = strstr(text, JOBS_MARK);
    const char *end = at ? parse_job(array, at + strlen(JOBS_MARK)) : NULL;
    bool found = end && strncmp(end, MERGE_MARK, strlen(MERGE_MARK)) == 0 &&
                 parse_job(merge, end + strlen(MERGE_MARK)) != NULL;
    free(text);
    return found;
}

/* A second array on the same stores would ask the same samples once more. squeue fails when the jobs are long
 * gone, and where there is no Slurm: then sbatch has the word. */
static enum status check_earlier(const struct submission *sub, struct error *err)
{
    struct job array, merge;
    char answer[ANSWER_SIZE], both[80], cluster[80];
    int ended;
    struct error unused;
    if (!read_jobs(&array, &merge, sub->path))
        return OK;
    snprintf(both, sizeof both, "--jobs=%s,%s", array.number, merge.number);
    snprintf(cluster, sizeof cluster, "--clusters=%s", array.cluster);
    const char *words[] = {"squeue", "--noheader", "--format=%i", both, array.cluster[0] ? cluster : NULL,
                           NULL};
    if (run_program(answer, &ended, words, true, &unused) != OK || ended != 0)
        return OK;
    size_t n = 0;
    for (char *c = answer; *c; c++) { /* a job a line -> a list */
        if (*c == '\n' && c[1] == 0)
            *c = 0;
        else if (*c == '\n')
            *c = ' ';
        n += isdigit((unsigned char)*c) != 0;
    }
    if (n == 0)
        return OK;
    return fail(err, BAD_INPUT,
                "%s: jobs of this store are still in the queue: %.200s; wait for them, or stop them with "
                "`scancel %s %s` and submit again",
                sub->store, answer, array.number, merge.number);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static enum status print_plan(const struct submission *sub, struct error *err)
{
    struct call calls[2] = {{0}, {0}};
    enum status status = OK;
    TRY_GOTO(status, make_call(&calls[0], sub, NULL, err));
    TRY_GOTO(status, make_call(&calls[1], sub, "JOB", err));
    if (sub->request->json) {
        json_t *lines = json_array();
        for (int i = 0; i < 2; i++) {
            json_t *line = json_array();
            for (int k = 0; k < calls[i].n; k++)
                json_array_append_new(line, json_string(calls[i].words[k]));
            json_array_append_new(lines, line);
        }
        status = command_json(json_pack("{s:s, s:s, s:i, s:s, s:o}", "store", sub->store, "script", sub->path,
                                        "shards", sub->n_shards, "text", sub->text, "commands", lines),
                              err);
        goto exit;
    }
    printf("%s would be:\n\n%s\nand be submitted by:\n\n", sub->path, sub->text);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < calls[i].n; k++) {
            if (k > 0)
                putchar(' ');
            slurm_write_word(stdout, calls[i].words[k]);
        }
        putchar('\n');
    }
exit:
    call_free(&calls[0]);
    call_free(&calls[1]);
    return status;
}

/* Half a submission is none: without its merge, the array is taken back. */
static enum status submit_both(struct job *array, struct job *merge, const struct submission *sub,
                               struct error *err)
{
    struct call call = {0};
    enum status status = make_call(&call, sub, NULL, err);
    if (status == OK)
        status = submit(array, &call, err);
    call_free(&call);
    TRY(status);
    status = make_call(&call, sub, array->number, err);
    if (status == OK)
        status = submit(merge, &call, err);
    call_free(&call);
    if (status == OK)
        return OK;
    char why[sizeof err->text];
    snprintf(why, sizeof why, "%s", err->text);
    if (cancel(array))
        return fail(err, status, "%.700s; its array, job %s, is cancelled", why, array->number);
    return fail(err, status, "%.700s; its array, job %s, could not be cancelled and runs: `scancel %s`", why,
                array->number, array->number);
}

static enum status note_jobs(const struct submission *sub, const struct job *array, const struct job *merge,
                             struct error *err)
{
    FILE *out = fopen(sub->path, "a");
    if (out == NULL)
        return fail(err, NO_MACHINE, "%s: jobs %s and %s are submitted, but cannot be noted here: %s",
                    sub->path, array->number, merge->number, strerror(errno));
    fprintf(out, "\n%s%s%s%s%s%s%s%s\n", JOBS_MARK, array->number, array->cluster[0] ? ";" : "",
            array->cluster, MERGE_MARK, merge->number, merge->cluster[0] ? ";" : "", merge->cluster);
    return fclose(out) == 0 ? OK
                            : fail(err, NO_MACHINE, "%s: cannot be written: %s", sub->path, strerror(errno));
}

/* Folder and script; nothing is submitted when they cannot be written. */
static enum status write_script(const struct submission *sub, struct error *err)
{
    char *slash = strrchr(sub->path, '/');
    enum status status = OK;
    if (slash > sub->path) {
        *slash = 0;
        status = make_folder(sub->path, err);
        *slash = '/';
    }
    TRY(status);
    return file_write(sub->path, sub->text, sub->n_text, err);
}

static enum status submit_all(const struct submission *sub, struct error *err)
{
    struct job array, merge;
    json_t *result = NULL; /* made before anything is submitted: a path may be no UTF-8 */
    enum status status = OK;
    if (sub->request->json && (result = json_pack("{s:s, s:s, s:i}", "store", sub->store, "script", sub->path,
                                                  "shards", sub->n_shards)) == NULL)
        return command_json(NULL, err);
    TRY_GOTO(status, check_earlier(sub, err));
    TRY_GOTO(status, write_script(sub, err));
    status = submit_both(&array, &merge, sub, err);
    if (status != OK) { /* the script of no job */
        unlink(sub->path);
        goto exit;
    }
    TRY_GOTO(status, note_jobs(sub, &array, &merge, err));
    if (result) {
        json_object_set_new(result, "array_job", json_string(array.number));
        json_object_set_new(result, "merge_job", json_string(merge.number));
        return command_json(result, err);
    }
    printf("%s\narray job %s: tasks %s of %d shards\nmerge job %s: after them, into %s\n", sub->path,
           array.number, sub->array, sub->n_shards, merge.number, sub->store);
exit:
    json_decref(result);
    return status;
}

static enum status prepare(struct submission *sub, struct error *err)
{
    const char *array = sub->request->words->array;
    TRY(slurm_shards(&sub->n_shards, array, sub->request->n_shards, err));
    if (array)
        TRY(make_path(&sub->array, err, "%s", array));
    else
        TRY(make_path(&sub->array, err, "1-%d", sub->n_shards));
    TRY(find_paths(sub, err));
    return make_script(sub, err);
}

enum status slurm_submit(const struct slurm_request *request, struct error *err)
{
    struct submission sub = {.request = request};
    enum status status = prepare(&sub, err);
    if (status == OK)
        status = request->plan ? print_plan(&sub, err) : submit_all(&sub, err);
    free(sub.store);
    free(sub.stem);
    free(sub.path);
    free(sub.name);
    free(sub.logs);
    free(sub.file);
    free(sub.text);
    free(sub.array);
    return status;
}
