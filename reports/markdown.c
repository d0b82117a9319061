/* Text of a report. Everything that comes out of a store (names, questions, file names) is treated as
 * foreign: it may break neither a table nor a plotting script. */
#include "reports/markdown.h"

#include "core/utf8.h"

#include <math.h>   /* isnan, fabs */
#include <stdarg.h> /* va_list */
#include <stdio.h>  /* vsnprintf */

#define DASH "\xe2\x80\x93" /* – */

void text_add(struct buffer *out, const char *format, ...)
{
    char small[512];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (n < 0) {
        out->failed = true;
    } else if ((size_t)n < sizeof small) {
        buffer_add(out, small, (size_t)n);
    } else {
        char *large = malloc((size_t)n + 1);
        if (large != NULL) {
            vsnprintf(large, (size_t)n + 1, format, again);
            buffer_add(out, large, (size_t)n);
        } else {
            out->failed = true;
        }
        free(large);
    }
    va_end(again);
}

/* The text character by character: invalid bytes and controls become '?', line breaks and tabs a blank, and a
 * backslash (or `twice`, the character itself) goes before those of `special`. */
static void add_escaped(struct buffer *out, const char *text, const char *special, bool twice)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        uint32_t code;
        int size = utf8_next(&code, text + i, n - i);
        if (size == 0) {
            buffer_add(out, "?", 1);
            i++;
            continue;
        }
        if (code == '\n' || code == '\r' || code == '\t')
            buffer_add(out, " ", 1);
        else if (code < 0x20 || (code >= 0x7f && code < 0xa0))
            buffer_add(out, "?", 1);
        else {
            if (code < 0x80 && strchr(special, (int)code) != NULL)
                buffer_add(out, twice ? text + i : "\\", 1);
            buffer_add(out, text + i, (size_t)size);
        }
        i += (size_t)size;
    }
}

void text_markdown(struct buffer *out, const char *text)
{
    add_escaped(out, text, "\\|<>*_`[]#&$", false);
}

void text_code(struct buffer *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        bool plain = (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x7f && *p != '`' && *p != '|';
        buffer_add(out, plain ? p : "?", 1);
    }
}

void text_csv(struct buffer *out, const char *text)
{
    if (strpbrk(text, ",\"\n\r\t;") == NULL && strpbrk(text, "=+@") != text) {
        add_escaped(out, text, "", false);
        return;
    }
    buffer_add(out, "\"", 1);
    add_escaped(out, text, "\"", true);
    buffer_add(out, "\"", 1);
}

void text_gnuplot(struct buffer *out, const char *text)
{
    buffer_add(out, "'", 1);
    add_escaped(out, text, "'", true);
    buffer_add(out, "'", 1);
}

static const char *scaled(char out[NUMBER_SIZE], double value, const char *unit)
{
    static const struct {
        double factor;
        const char *prefix;
    } steps[] = {{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}};
    if (isnan(value)) {
        snprintf(out, NUMBER_SIZE, DASH);
        return out;
    }
    size_t i = 0;
    while (i + 1 < sizeof steps / sizeof *steps && fabs(value) < steps[i].factor * 0.9995)
        i++;
    double shown = value / steps[i].factor;
    int decimals = fabs(shown) < 9.995 ? 2 : fabs(shown) < 99.95 ? 1 : 0;
    bool whole = steps[i].factor <= 1 && shown == floor(shown);
    snprintf(out, NUMBER_SIZE, "%.*f%s%s%s", whole ? 0 : decimals, shown,
             steps[i].prefix[0] != '\0' || unit[0] != '\0' ? " " : "", steps[i].prefix, unit);
    return out;
}

const char *number_si(char out[NUMBER_SIZE], double value)
{
    return scaled(out, value, "");
}

const char *number_bytes(char out[NUMBER_SIZE], double value)
{
    return scaled(out, value, "B");
}

const char *number_fixed(char out[NUMBER_SIZE], double value, int decimals, bool sign)
{
    if (isnan(value)) {
        snprintf(out, NUMBER_SIZE, DASH);
        return out;
    }
    if (fabs(value) * pow(10, decimals) < 0.5)
        value = 0;
    snprintf(out, NUMBER_SIZE, "%s%.*f", sign && value > 0 ? "+" : "", decimals, value);
    return out;
}
