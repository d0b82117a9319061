/* Literals of Python 3 by recursive descent, see python_literal.h.
 *
 *     expression = value [, value]* [,]             at the top: a tuple without brackets
 *     value      = [+-] number | text+ | True | False | None | dict | set | list | tuple | ( value )
 *
 * Source: Python's Language Reference, "Lexical analysis", and Lib/ast.py. Not accepted, though literal_eval
 * does: complex numbers, \N{…} escapes, identifiers' Unicode forms.
 */
#include "datasets/python_literal.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "datasets/figures.h"

enum { MAX_DEPTH = 64 };

struct parser {
    const char *at;
    int depth; /* of brackets: within them lines may break */
};

static json_t *parse_value(struct parser *p);

static void skip_blank(struct parser *p)
{
    for (;; p->at++) {
        if (*p->at == '#')
            p->at += strcspn(p->at, "\n");
        if (p->at[0] == '\\' && p->at[1] == '\n' && p->at[2] != '\0')
            p->at++;
        else if (*p->at != ' ' && *p->at != '\t' && *p->at != '\f' &&
                 (p->depth == 0 || (*p->at != '\n' && *p->at != '\r')))
            return;
    }
}

static bool take(struct parser *p, char c)
{
    skip_blank(p);
    if (*p->at != c)
        return false;
    p->at++;
    return true;
}

static bool is_word(char c)
{
    return ascii_is_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool take_word(struct parser *p, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(p->at, word, n) != 0 || is_word(p->at[n]))
        return false;
    p->at += n;
    return true;
}

/* ---- numbers --------------------------------------------------------------------------------------------
 */

static bool is_digit_of(char c, int base)
{
    char lower = ascii_lower(c);
    return base == 16 ? ascii_is_digit(c) || (lower >= 'a' && lower <= 'f') : c >= '0' && c < '0' + base;
}

/* Digits with single underscores between them, without these to `to`; false where there are none. */
static bool digits(struct parser *p, struct buffer *to, int base)
{
    if (!is_digit_of(*p->at, base))
        return false;
    while (is_digit_of(*p->at, base) || (*p->at == '_' && is_digit_of(p->at[1], base)))
        if (*p->at++ != '_')
            buffer_add(to, p->at - 1, 1);
    return true;
}

static json_t *number_json(double value, bool whole)
{
    if (whole && fabs(value) < 0x1p53)
        return json_integer((json_int_t)value);
    return isfinite(value) ? json_real(value) : json_array();
}

static json_t *based_number(struct parser *p, int base, double sign)
{
    struct buffer text = {0};
    double value = 0;
    p->at += 2;
    p->at += *p->at == '_';
    bool good = digits(p, &text, base) && !is_word(*p->at) && !text.failed;
    for (size_t i = 0; good && i < text.n; i++) {
        char c = ascii_lower(text.bytes[i]);
        value = value * base + (ascii_is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    buffer_free(&text);
    return good ? number_json(sign * value, true) : NULL;
}

static json_t *parse_number(struct parser *p, double sign)
{
    if (p->at[0] == '0' && p->at[1] != '\0' && strchr("xX", p->at[1]))
        return based_number(p, 16, sign);
    if (p->at[0] == '0' && p->at[1] != '\0' && strchr("oO", p->at[1]))
        return based_number(p, 8, sign);
    if (p->at[0] == '0' && p->at[1] != '\0' && strchr("bB", p->at[1]))
        return based_number(p, 2, sign);
    struct buffer text = {0};
    json_t *out = NULL;
    bool some = digits(p, &text, 10), whole = true;
    size_t n_whole = text.n;
    if (*p->at == '.') {
        buffer_add(&text, p->at++, 1);
        some |= digits(p, &text, 10);
        whole = false;
    }
    if (some && (*p->at == 'e' || *p->at == 'E')) {
        buffer_add(&text, p->at++, 1);
        if (*p->at == '+' || *p->at == '-')
            buffer_add(&text, p->at++, 1);
        some = digits(p, &text, 10);
        whole = false;
    }
    buffer_add(&text, "", 1);
    if (some && !text.failed && !is_word(*p->at)) {
        double value = strtod(text.bytes, NULL);
        /* 012 is no number in Python 3, 000 and 01.5 are. */
        bool leading_zero = whole && n_whole > 1 && text.bytes[0] == '0' && value > 0;
        out = leading_zero ? NULL : number_json(sign * value, whole);
    }
    buffer_free(&text);
    return out;
}

/* ---- texts ----------------------------------------------------------------------------------------------
 */

static void add_code(struct buffer *to, unsigned long code)
{
    char bytes[4];
    if (code < 0x80) {
        bytes[0] = (char)code;
        buffer_add(to, bytes, 1);
    } else if (code < 0x800) {
        bytes[0] = (char)(0xc0 | code >> 6);
        bytes[1] = (char)(0x80 | (code & 63));
        buffer_add(to, bytes, 2);
    } else if (code < 0x10000) {
        /* Half of a surrogate pair is a character to Python, and none in UTF-8. */
        if (code >= 0xd800 && code < 0xe000)
            code = 0xfffd;
        bytes[0] = (char)(0xe0 | code >> 12);
        bytes[1] = (char)(0x80 | (code >> 6 & 63));
        bytes[2] = (char)(0x80 | (code & 63));
        buffer_add(to, bytes, 3);
    } else {
        bytes[0] = (char)(0xf0 | code >> 18);
        bytes[1] = (char)(0x80 | (code >> 12 & 63));
        bytes[2] = (char)(0x80 | (code >> 6 & 63));
        bytes[3] = (char)(0x80 | (code & 63));
        buffer_add(to, bytes, 4);
    }
}

/* Up to n digits of a base; exactly n where `exact`. */
static bool take_code(struct parser *p, unsigned long *code, int base, int n, bool exact)
{
    char text[9] = "";
    int i = 0;
    for (; i < n && is_digit_of(p->at[i], base); i++)
        text[i] = p->at[i];
    p->at += i;
    *code = strtoul(text, NULL, base);
    return (exact ? i == n : i > 0) && *code <= 0x10ffff;
}

/* What follows a backslash. */
static bool take_escape(struct parser *p, struct buffer *to)
{
    static const char names[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
    unsigned long code;
    char c = *p->at;
    if (c == '\n') {
        p->at++;
        return true;
    }
    const char *name = c ? strchr(names, c) : NULL;
    if (name) {
        buffer_add(to, &values[name - names], 1);
        p->at++;
        return true;
    }
    if (c >= '0' && c <= '7') {
        bool good = take_code(p, &code, 8, 3, false);
        add_code(to, code);
        return good;
    }
    if (c == 'x' || c == 'u' || c == 'U') {
        p->at++;
        bool good = take_code(p, &code, 16, c == 'x' ? 2 : c == 'u' ? 4 : 8, true);
        add_code(to, code);
        return good;
    }
    if (c == 'N' || c == '\0')
        return false;
    buffer_add(to, "\\", 1); /* unknown escapes stay as they are */
    return true;
}

/* One text in quotes, with its prefix; what it says to `to`. */
static bool take_text(struct parser *p, struct buffer *to, bool *is_bytes)
{
    bool raw = false;
    *is_bytes = false;
    for (; *p->at && !strchr("'\"", *p->at); p->at++) {
        raw |= ascii_lower(*p->at) == 'r';
        *is_bytes |= ascii_lower(*p->at) == 'b';
    }
    char quote = *p->at;
    const char triple[4] = {quote, quote, quote, '\0'};
    size_t n_quote = strncmp(p->at, triple, 3) == 0 ? 3 : 1;
    p->at += n_quote;
    while (*p->at && strncmp(p->at, triple, n_quote) != 0) {
        if (*p->at == '\n' && n_quote == 1)
            return false;
        if (*p->at != '\\') {
            buffer_add(to, p->at++, 1);
        } else if (raw) {
            buffer_add(to, p->at++, 1);
            if (*p->at)
                buffer_add(to, p->at++, 1);
        } else {
            p->at++;
            if (!take_escape(p, to))
                return false;
        }
    }
    if (!*p->at)
        return false;
    p->at += n_quote;
    return !to->failed;
}

static bool at_text(const char *at)
{
    static const char *const prefixes[] = {"", "r", "u", "b", "br", "rb"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t n = strlen(prefixes[i]), same = 0;
        while (same < n && ascii_lower(at[same]) == prefixes[i][same])
            same++;
        if (same == n && (at[n] == '\'' || at[n] == '"'))
            return true;
    }
    return false;
}

/* Texts side by side are one. */
static json_t *parse_text(struct parser *p)
{
    struct buffer text = {0};
    bool good = true, is_bytes, first_is_bytes = false;
    for (int i = 0; good && (i == 0 || at_text(p->at)); i++) {
        good = take_text(p, &text, &is_bytes);
        first_is_bytes = i == 0 ? is_bytes : first_is_bytes;
        good &= is_bytes == first_is_bytes;
        skip_blank(p);
    }
    json_t *out = NULL;
    if (good)
        out = first_is_bytes ? json_array() : json_stringn(text.n ? text.bytes : "", text.n);
    buffer_free(&text);
    return out;
}

/* ---- containers -----------------------------------------------------------------------------------------
 */

/* Lists, dictionaries and sets are no keys; a tuple is one, but its inside is not looked at again. */
static bool is_key(const char *start)
{
    return *start != '[' && *start != '{';
}

/* Behind "{": a dictionary or a set. */
static json_t *parse_braces(struct parser *p)
{
    json_t *out = json_object();
    bool is_set = false;
    for (int i = 0;; i++) {
        if (take(p, '}')) {
            if (!is_set)
                return out;
            json_decref(out);
            return json_array();
        }
        const char *start = p->at;
        json_t *key = parse_value(p), *value = NULL;
        bool good = key && is_key(start);
        if (good && i == 0)
            is_set = !take(p, ':');
        else if (good && !is_set)
            good = take(p, ':');
        if (good && !is_set) {
            value = parse_value(p);
            good = value != NULL;
        }
        if (good && json_is_string(key) && value)
            json_object_set(out, json_string_value(key), value); /* the last of equal keys counts */
        json_decref(key);
        json_decref(value);
        skip_blank(p);
        if (!good || (*p->at != '}' && !take(p, ','))) {
            json_decref(out);
            return NULL;
        }
    }
}

/* Behind "[" or "(": a list, a tuple, or one value in brackets. */
static json_t *parse_list(struct parser *p, char close)
{
    json_t *first = NULL;
    for (int n = 0;; n++) {
        if (take(p, close)) {
            json_decref(first);
            return json_array();
        }
        json_t *value = parse_value(p);
        if (n == 0 && value && close == ')' && take(p, ')'))
            return value;
        bool good = value && (take(p, ',') || *p->at == close);
        json_decref(value);
        if (!good)
            return NULL;
    }
}

static json_t *parse_value(struct parser *p)
{
    json_t *out = NULL;
    double sign = 1;
    int n_signs = 0;
    if (p->depth > MAX_DEPTH)
        return NULL;
    for (skip_blank(p); *p->at == '+' || *p->at == '-'; skip_blank(p), n_signs++)
        sign *= *p->at++ == '-' ? -1 : 1;
    if (ascii_is_digit(*p->at) || (*p->at == '.' && ascii_is_digit(p->at[1])))
        return n_signs <= 1 ? parse_number(p, sign) : NULL; /* --1 is an expression, no literal */
    if (n_signs > 0)
        return NULL;
    if (at_text(p->at))
        return parse_text(p);
    if (take_word(p, "True"))
        return json_true();
    if (take_word(p, "False"))
        return json_false();
    if (take_word(p, "None"))
        return json_null();
    char open = *p->at;
    if (open != '{' && open != '[' && open != '(')
        return NULL;
    p->at++;
    p->depth++;
    out = open == '{' ? parse_braces(p) : parse_list(p, open == '[' ? ']' : ')');
    p->depth--;
    return out;
}

/* Blank lines and comments may come first, but then no indentation; false where there is one. */
static bool first_line(struct parser *p)
{
    p->at += strspn(p->at, " \t");
    for (bool start = true;; start = false) {
        const char *next = p->at + strspn(p->at, " \t\f");
        if (*next == '#')
            next += strcspn(next, "\n");
        else if (*next != '\n' && *next != '\r')
            return start || next == p->at;
        p->at = next + (*next == '\r' && next[1] == '\n') + (*next != '\0');
    }
}

json_t *python_literal(const char *text)
{
    struct parser p = {.at = text};
    if (!first_line(&p))
        return NULL;
    json_t *out = parse_value(&p);
    if (out && take(&p, ',')) {
        json_decref(out);
        out = json_array();
        while (out && (skip_blank(&p), *p.at != '\0' && *p.at != '\n' && *p.at != '\r')) {
            json_t *more = parse_value(&p);
            bool good = more && (take(&p, ',') || strspn(p.at, "\r\n") > 0 || *p.at == '\0');
            json_decref(more);
            if (!good) {
                json_decref(out);
                out = NULL;
            }
        }
    }
    /* Nothing but blank lines and comments may follow. */
    p.depth = 1;
    skip_blank(&p);
    if (out && *p.at != '\0') {
        json_decref(out);
        out = NULL;
    }
    return out;
}
