/* What all commands share: messages, common options, numbers from text, and where the built-in files are. */
#include "harness/size.h"
#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

int command_fail(const struct error *err)
{
    fprintf(stderr, "winnow: error: %s\n", err->text);
    return (int)err->status;
}

int command_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "winnow: error: %s: ", command);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see `winnow help %s`\n", command);
    va_end(args);
    return BAD_INPUT;
}

int command_option(const char *command, int argc, char **argv)
{
    return command_usage(command, "unknown option or missing value at '%s'",
                         optind > 0 && optind <= argc ? argv[optind - 1] : "");
}

enum status command_json(json_t *root, struct error *err)
{
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    if (text == NULL)
        return fail(err, BAD_INPUT,
                    "--json: a path or text is no valid UTF-8; rename it or leave --json out");
    puts(text);
    free(text);
    return OK;
}

/* WINNOW_HOME; else the tree the executable lies in (BUILD/winnow); else the tree it was built from. */
const char *home_path(const char *relative)
{
    static _Thread_local char path[PATH_BYTES];
    const char *home = getenv("WINNOW_HOME");
    char own[PATH_BYTES], probe[PATH_BYTES + 32];
    if (home == NULL) {
        ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
        own[n > 0 ? n : 0] = 0;
        for (int up = 0; up < 2; up++) {
            char *slash = strrchr(own, '/');
            if (slash)
                *slash = 0;
        }
        snprintf(probe, sizeof probe, "%s/harness/grids", own);
        home = access(probe, R_OK) == 0 ? own : WINNOW_SOURCE_DIR;
    }
    if (snprintf(path, sizeof path, "%s/%s", home, relative) >= (int)sizeof path)
        path[0] = 0;
    return path;
}

enum status parse_int(int64_t *out, const char *text, int64_t low, int64_t high, const char *what,
                      struct error *err)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != 0 || errno == ERANGE || value < low || value > high)
        return fail(err, BAD_INPUT, "%s: found '%.60s', expected an integer from %lld to %lld", what, text,
                    (long long)low, (long long)high);
    *out = value;
    return OK;
}

enum status parse_real(double *out, const char *text, double low, double high, const char *what,
                       struct error *err)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end != 0 || errno == ERANGE || !isfinite(value) || value < low || value > high)
        return fail(err, BAD_INPUT, "%s: found '%.60s', expected a number from %g to %g", what, text, low,
                    high);
    *out = value;
    return OK;
}

enum status parse_bytes(size_t *out, const char *text, const char *what, struct error *err)
{
    int64_t n_bytes;
    if (!size_read(&n_bytes, text))
        return fail(err, BAD_INPUT, "%s: found '%.60s', expected " SIZE_EXPECTED, what, text);
    *out = (size_t)n_bytes;
    return OK;
}

/* Index of text among words (NULL-terminated), or an error that lists them. */
static enum status parse_word(int *out, const char *text, const char *const *words, const char *what,
                              struct error *err)
{
    char all[256] = "";
    size_t used = 0;
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return OK;
        }
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", words[i]);
    }
    return fail(err, BAD_INPUT, "%s: found '%.60s', expected one of %s", what, text, all);
}

void common_init(struct common_options *out)
{
    static _Thread_local char model[PATH_BYTES];
    snprintf(model, sizeof model, "%s", home_path("models/miniature"));
    *out = (struct common_options){.model = model, .image_mode = IMAGE_MODE_FROM_FILE};
}

enum status common_option(struct common_options *options, int value, const char *argument, bool *taken,
                          struct error *err)
{
    static const char *const dtypes[] = {"auto", "f32", "bf16", "f16", NULL};
    static const char *const devices[] = {"cpu", "cuda", "ref", NULL};
    static const char *const modes[] = {"crop", "pad", NULL};
    int64_t number = 0;
    int word = 0;
    *taken = true;
    switch (value) {
    case OPTION_MODEL:
        options->model = argument;
        return OK;
    case OPTION_DEVICE:
        TRY(parse_word(&word, argument, devices, "--device", err));
        options->device = devices[word];
        return OK;
    case OPTION_DTYPE:
        TRY(parse_word(&word, argument, dtypes, "--dtype", err));
        options->dtype = (enum dtype_choice)word;
        return OK;
    case OPTION_THREADS:
        TRY(parse_int(&number, argument, 1, 1024, "--threads", err));
        options->threads = (int)number;
        return OK;
    case OPTION_SEED:
        TRY(parse_int(&number, argument, 0, INT64_MAX, "--seed", err));
        options->seed = (uint64_t)number;
        return OK;
    case OPTION_IMAGE_MODE:
        TRY(parse_word(&word, argument, modes, "--image-mode", err));
        options->image_mode = word == 0 ? IMAGE_MODE_CROP : IMAGE_MODE_PAD;
        return OK;
    case OPTION_MAX_NEW_TOKENS:
        TRY(parse_int(&number, argument, 1, LIMIT_NEW_TOKENS, "--max-new-tokens", err));
        options->max_new_tokens = (int)number;
        return OK;
    case OPTION_JSON:
        options->json = true;
        return OK;
    default:
        *taken = false;
        return OK;
    }
}
