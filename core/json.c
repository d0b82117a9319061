/* Files and JSON with limits, see json.h.
 *
 * jansson parses by recursion and builds a tree many times the size of its text, so a first pass over the
 * bytes bounds nesting and the number of values before it is let loose. Source: RFC 8259.
 */
#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "limits.h"

const char *printable(char out[PRINTABLE_SIZE], const char *text)
{
    const unsigned char *in = (const unsigned char *)text;
    size_t n = 0;
    for (; in[n] != 0 && n < PRINTABLE_SIZE - 4; n++) {
        /* C2 80 to C2 9F are the C1 controls, which some terminals obey. */
        bool control = in[n] < 0x20 || in[n] == 0x7f || (n > 0 && in[n - 1] == 0xc2 && in[n] < 0xa0);
        if (control && in[n] >= 0x80)
            out[n - 1] = '?';
        out[n] = control ? '?' : (char)in[n];
    }
    if (in[n] != 0) {
        while (n > 0 && (in[n] & 0xc0) == 0x80)
            n--;
        memcpy(out + n, "...", 3);
        n += 3;
    }
    out[n] = '\0';
    return out;
}

enum status file_read(char **out, size_t *n_bytes, const char *path, size_t limit, struct error *err)
{
    *out = NULL;
    enum status status = OK;
    char *bytes = NULL;
    struct stat info;
    /* O_NONBLOCK: a pipe without a writer must not hang us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(err, BAD_INPUT, "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = fail(err, BAD_INPUT, "%s: is not a regular file", path);
        goto exit;
    }
    if ((uintmax_t)info.st_size > limit) {
        status = fail(err, BAD_INPUT, "%s: has %jd bytes, more than the limit of %zu", path,
                      (intmax_t)info.st_size, limit);
        goto exit;
    }
    size_t size = (size_t)info.st_size, n = 0;
    bytes = malloc(size + 1);
    if (bytes == NULL) {
        status = fail(err, NO_MACHINE, "%s: no memory for its %zu bytes", path, size);
        goto exit;
    }
    while (n < size) {
        ssize_t got = read(fd, bytes + n, size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = fail(err, BAD_INPUT, "%s: cannot be read: %s", path, strerror(errno));
            goto exit;
        }
        if (got == 0)
            break; /* it shrank meanwhile; whoever parses it judges what is left */
        n += (size_t)got;
    }
    bytes[n] = '\0';
    *out = bytes;
    *n_bytes = n;
    bytes = NULL;
exit:
    free(bytes);
    close(fd);
    return status;
}

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool file_same(const char *a, const char *b)
{
    struct stat left, right;
    return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_dev == right.st_dev &&
           left.st_ino == right.st_ino;
}

static enum status write_error(const char *path, struct error *err)
{
    enum status status = errno == ENOSPC || errno == EDQUOT || errno == EIO ? NO_MACHINE : BAD_INPUT;
    return fail(err, status, "%s: cannot be written: %s", path, strerror(errno));
}

enum status file_write(const char *path, const void *bytes, size_t n_bytes, struct error *err)
{
    enum status status = OK;
    struct stat info;
    /* Renaming over a device would take it away from everybody: -o /dev/null, as root. */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return fail(err, BAD_INPUT, "%s: cannot be written: is not a regular file", path);
    size_t size = strlen(path) + 32;
    char *temporary = malloc(size);
    if (temporary == NULL)
        return fail(err, NO_MACHINE, "%s: no memory for its name", path);
    snprintf(temporary, size, "%s.tmp-%ld", path, (long)getpid());
    /* What lies there is a leftover of a dead process with our number, or somebody's link: never follow it.
     */
    unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        status = write_error(path, err);
        goto exit;
    }
    const char *at = bytes;
    size_t left = n_bytes;
    while (left > 0) {
        ssize_t put = write(fd, at, left);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            status = write_error(path, err);
            break;
        }
        at += put;
        left -= (size_t)put;
    }
    /* Without fsync a power cut could leave the new name with no content. */
    if (status == OK && fsync(fd) != 0 && errno != EINVAL)
        status = write_error(path, err);
    if (close(fd) != 0 && status == OK)
        status = write_error(path, err);
    if (status == OK && rename(temporary, path) != 0)
        status = write_error(path, err);
    if (status != OK)
        unlink(temporary);
exit:
    free(temporary);
    return status;
}

/* Bounds nesting and the number of values; judges nothing else. */
static enum status check_size(const char *bytes, size_t n_bytes, const char *name, struct error *err)
{
    size_t line = 1, n_values = 1;
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n_bytes; i++) {
        char c = bytes[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        switch (c) {
        case '\n':
            line++;
            break;
        case '"':
            in_string = true;
            break;
        case '[':
        case '{':
            n_values++;
            if (++depth > LIMIT_JSON_DEPTH)
                return fail(err, BAD_INPUT, "%s: line %zu: brackets are nested more than %d deep", name, line,
                            LIMIT_JSON_DEPTH);
            break;
        case ']':
        case '}':
            depth--; /* below zero is jansson's to refuse */
            break;
        case ',':
        case ':':
            n_values++;
            break;
        default:
            break;
        }
        if (n_values > LIMIT_JSON_VALUES)
            return fail(err, BAD_INPUT, "%s: line %zu: holds more than %u values", name, line,
                        LIMIT_JSON_VALUES);
    }
    return OK;
}

enum status json_parse(json_t **out, const char *bytes, size_t n_bytes, const char *name, struct error *err)
{
    *out = NULL;
    if (n_bytes > LIMIT_JSON_BYTES)
        return fail(err, BAD_INPUT, "%s: has %zu bytes, more than the limit of %u", name, n_bytes,
                    LIMIT_JSON_BYTES);
    TRY(check_size(bytes, n_bytes, name, err));
    json_error_t found;
    *out = json_loadb(bytes, n_bytes, JSON_REJECT_DUPLICATES, &found);
    if (*out != NULL)
        return OK;
    char text[PRINTABLE_SIZE];
    if (json_error_code(&found) == json_error_out_of_memory)
        return fail(err, NO_MACHINE, "%s: no memory for its JSON", name);
    return fail(err, BAD_INPUT, "%s: line %d: is not valid JSON: %s", name, found.line,
                printable(text, found.text));
}

enum status json_read(json_t **out, const char *path, struct error *err)
{
    *out = NULL;
    char *bytes;
    size_t n_bytes;
    TRY(file_read(&bytes, &n_bytes, path, LIMIT_JSON_BYTES, err));
    enum status status = json_parse(out, bytes, n_bytes, path, err);
    free(bytes);
    return status;
}

static const char *type_name(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null"};
    return names[json_typeof(value)];
}

/* The member, or NULL where the default is to be taken. */
static enum status member(const json_t **out, const json_t *object, const char *key, const char *name,
                          struct error *err)
{
    if (!json_is_object(object))
        return fail(err, BAD_INPUT, "%s: expected an object that may hold \"%s\", found %s", name, key,
                    object != NULL ? type_name(object) : "nothing");
    *out = json_object_get(object, key);
    if (json_is_null(*out))
        *out = NULL;
    return OK;
}

static enum status wrong_type(const json_t *value, const char *key, const char *expected, const char *name,
                              struct error *err)
{
    return fail(err, BAD_INPUT, "%s: \"%s\": expected %s, found %s", name, key, expected, type_name(value));
}

enum status json_int(int64_t *out, const json_t *object, const char *key, int64_t fallback, int64_t low,
                     int64_t high, const char *name, struct error *err)
{
    const json_t *value = NULL; /* gcc cannot see that fail() never returns OK */
    TRY(member(&value, object, key, name, err));
    *out = fallback;
    if (value == NULL)
        return OK;
    if (!json_is_integer(value))
        return wrong_type(value, key, "an integer", name, err);
    *out = json_integer_value(value);
    if (*out < low || *out > high)
        return fail(err, BAD_INPUT, "%s: \"%s\": expected %lld to %lld, found %lld", name, key,
                    (long long)low, (long long)high, (long long)*out);
    return OK;
}

enum status json_double(double *out, const json_t *object, const char *key, double fallback, const char *name,
                        struct error *err)
{
    const json_t *value = NULL; /* gcc cannot see that fail() never returns OK */
    TRY(member(&value, object, key, name, err));
    *out = fallback;
    if (value == NULL)
        return OK;
    if (!json_is_number(value))
        return wrong_type(value, key, "a number", name, err);
    *out = json_number_value(value);
    return OK;
}

enum status json_bool(bool *out, const json_t *object, const char *key, bool fallback, const char *name,
                      struct error *err)
{
    const json_t *value = NULL; /* gcc cannot see that fail() never returns OK */
    TRY(member(&value, object, key, name, err));
    *out = fallback;
    if (value == NULL)
        return OK;
    if (!json_is_boolean(value))
        return wrong_type(value, key, "true or false", name, err);
    *out = json_is_true(value);
    return OK;
}

enum status json_str(const char **out, const json_t *object, const char *key, const char *fallback,
                     const char *name, struct error *err)
{
    const json_t *value = NULL; /* gcc cannot see that fail() never returns OK */
    TRY(member(&value, object, key, name, err));
    *out = fallback;
    if (value == NULL)
        return OK;
    if (!json_is_string(value))
        return wrong_type(value, key, "a string", name, err);
    *out = json_string_value(value);
    return OK;
}
