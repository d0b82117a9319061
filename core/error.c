/* Error messages: one formatted text in a caller's struct, see error.h. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status fail(struct error *err, enum status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    err->status = status;
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return status;
}

enum status fail_within(struct error *err, const char *format, ...)
{
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %.900s", inner);
    return err->status;
}

void ensure_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "winnow: internal error: %s:%d: %s does not hold; please report this\n", file, line,
            condition);
    abort();
}
