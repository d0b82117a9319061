/* One status type and one message for the whole house.
 *
 * A function that can fail returns `enum status` and takes a `struct error *` as its last argument. The
 * message says what is wrong, what was expected and found, where, and what to do; it carries no trailing
 * newline and no "error:" prefix (the command line adds `winnow: error: `). The values are the exit status
 * of the program (README, "Exit status").
 *
 *     enum status weights_open(struct weights **out, const char *dir, struct error *err)
 *     {
 *         TRY(path_check(dir, err));
 *         if (...)
 *             return fail(err, BAD_INPUT, "%s: holds %d layers, expected %d; is it a whole download?", ...);
 *         return OK;
 *     }
 */
#ifndef WINNOW_ERROR_H
#define WINNOW_ERROR_H

enum status {
    OK = 0,
    NOT_HELD = 1,     /* it ran, but what it was asked to establish does not hold */
    BAD_INPUT = 2,    /* command line, file, data, checkpoint, impossible budget: nothing was written */
    NO_MACHINE = 3,   /* the machine lacks something: device, memory, disk */
    INTERRUPTED = 130 /* stopped by a signal, resumable */
};

struct error {
    enum status status;
    char text[1024];
};

/* Writes the message (cut to the space there is) and returns `status`, so that it can be returned at once. */
enum status fail(struct error *err, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "PREFIX: " before the message that is there and returns its status. */
enum status fail_within(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        enum status try_status_ = (call);                                                                    \
        if (try_status_ != OK)                                                                               \
            return try_status_;                                                                              \
    } while (0)

/* For code with something to give back: jumps to `exit` with `status` set. */
#define TRY_GOTO(status, call)                                                                               \
    do {                                                                                                     \
        (status) = (call);                                                                                   \
        if ((status) != OK)                                                                                  \
            goto exit;                                                                                       \
    } while (0)

/* A programmer's error: always compiled in, never used for bad input. */
#define ENSURE(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            ensure_failed(#condition, __FILE__, __LINE__);                                                   \
    } while (0)
_Noreturn void ensure_failed(const char *condition, const char *file, int line);

#endif
