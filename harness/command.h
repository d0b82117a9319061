/* Commands of the `winnow` program. Each is one file cmd_NAME.c with one function; main.c holds the table. */
#ifndef WINNOW_COMMAND_H
#define WINNOW_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"
#include "vlm.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
    const char *summary;
    const char *usage; /* printed by `winnow help NAME` and -h */
};

const struct command *command_find(const char *name);

int cmd_ask(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_conform(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_ops(int argc, char **argv);
int cmd_parity(int argc, char **argv);
int cmd_prompt(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_sql(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_sweep(int argc, char **argv);
int cmd_world(int argc, char **argv);

/* Prints `winnow: error: …` to stderr and returns the status as exit status. */
int command_fail(const struct error *err);
/* The same for a message at hand; status 2. */
int command_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An option that getopt did not know, or whose value is missing; status 2. */
int command_option(const char *command, int argc, char **argv);
/* Prints a document on stdout and drops it; an error where a text in it (a path) is no UTF-8. */
struct json_t;
enum status command_json(struct json_t *root, struct error *err);

/* What most commands share (cli.md, section 1). Filled by common_option from getopt_long's values. */
struct common_options {
    const char *model, *device;
    enum dtype_choice dtype;
    int threads; /* 0: as many as the machine has */
    uint64_t seed;
    enum image_mode image_mode;
    int max_new_tokens; /* 0: the command's own default */
    bool json;
};
enum {
    OPTION_MODEL = 1000,
    OPTION_DEVICE,
    OPTION_DTYPE,
    OPTION_THREADS,
    OPTION_SEED,
    OPTION_IMAGE_MODE,
    OPTION_MAX_NEW_TOKENS,
    OPTION_JSON,
    OPTION_OWN /* first value free for a command's own options */
};
/* Rows for a getopt_long table. */
#define COMMON_OPTIONS                                                                                       \
    {"model", required_argument, NULL, OPTION_MODEL}, {"device", required_argument, NULL, OPTION_DEVICE},    \
        {"dtype", required_argument, NULL, OPTION_DTYPE},                                                    \
        {"threads", required_argument, NULL, OPTION_THREADS},                                                \
        {"seed", required_argument, NULL, OPTION_SEED},                                                      \
        {"image-mode", required_argument, NULL, OPTION_IMAGE_MODE},                                          \
        {"max-new-tokens", required_argument, NULL, OPTION_MAX_NEW_TOKENS},                                  \
    {                                                                                                        \
        "json", no_argument, NULL, OPTION_JSON                                                               \
    }
void common_init(struct common_options *out); /* defaults; model: the built-in miniature */
enum status common_option(struct common_options *options, int value, const char *argument, bool *taken,
                          struct error *err);
/* Where the built-in files are: WINNOW_HOME, else beside the executable's build folder (source tree). The
 * returned text is static. */
const char *home_path(const char *relative);

/* Whole numbers and numbers from text, with a message that names `what`. */
enum status parse_int(int64_t *out, const char *text, int64_t low, int64_t high, const char *what,
                      struct error *err);
/* A number of bytes (size.h). */
enum status parse_bytes(size_t *out, const char *text, const char *what, struct error *err);
enum status parse_real(double *out, const char *text, double low, double high, const char *what,
                       struct error *err);

#endif
