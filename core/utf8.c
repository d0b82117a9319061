/* UTF-8 decoding and character classes, see utf8.h. Source: RFC 3629, Unicode's PropList (White_Space). */
#include "utf8.h"

int utf8_next(uint32_t *code, const char *bytes, size_t n_bytes)
{
    if (n_bytes == 0)
        return 0;
    const unsigned char *b = (const unsigned char *)bytes;
    *code = b[0];
    if (b[0] < 0x80)
        return 1;
    int n = b[0] >= 0xf0 ? 4 : b[0] >= 0xe0 ? 3 : 2;
    if (b[0] < 0xc2 || b[0] > 0xf4 || (size_t)n > n_bytes)
        return 0;
    uint32_t value = b[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (b[i] & 0x3f);
    }
    if ((n == 3 && value < 0x800) || (n == 4 && value < 0x10000) || value > 0x10ffff ||
        (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *code = value;
    return n;
}

int utf8_previous(uint32_t *code, const char *bytes, size_t n_bytes)
{
    for (size_t n = 1; n <= 4 && n <= n_bytes; n++)
        if (((unsigned char)bytes[n_bytes - n] & 0xc0) != 0x80)
            return utf8_next(code, bytes + n_bytes - n, n) == (int)n ? (int)n : 0;
    return 0;
}

size_t utf8_check(const char *bytes, size_t n_bytes)
{
    size_t at = 0;
    while (at < n_bytes) {
        uint32_t code;
        int n = utf8_next(&code, bytes + at, n_bytes - at);
        if (n == 0)
            break;
        at += (size_t)n;
    }
    return at;
}

struct range {
    uint32_t first, last;
};

static bool in_ranges(const struct range *ranges, size_t n_ranges, uint32_t code)
{
    for (size_t i = 0; i < n_ranges; i++)
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    return false;
}

#define IN(ranges, code) in_ranges(ranges, sizeof(ranges) / sizeof *(ranges), code)

bool utf8_is_space(uint32_t code)
{
    static const struct range spaces[] = {
        {0x09, 0x0d},     {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
        {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};
    return IN(spaces, code);
}

bool utf8_is_word(uint32_t code)
{
    static const struct range low[] = {{'0', '9'},   {'A', 'Z'},   {'_', '_'},   {'a', 'z'},   {0xaa, 0xaa},
                                       {0xb5, 0xb5}, {0xba, 0xba}, {0xc0, 0xd6}, {0xd8, 0xf6}, {0xf8, 0xff}};
    /* Joiners, connecting punctuation and circled letters that lie inside the blocks below. */
    static const struct range words[] = {{0x200c, 0x200d}, {0x203f, 0x2040}, {0x2054, 0x2054},
                                         {0x2071, 0x2071}, {0x207f, 0x207f}, {0x2090, 0x209c},
                                         {0x20d0, 0x20f0}, {0x24b6, 0x24e9}, {0x2c00, 0x2dff},
                                         {0x3005, 0x3007}, {0x3021, 0x3029}, {0x1f130, 0x1f149}};
    static const struct range symbols[] = {
        {0x2000, 0x20ff}, {0x2190, 0x2e7f},   {0x3000, 0x303f},   {0xe000, 0xf8ff}, {0xfe10, 0xfe1f},
        {0xfe30, 0xfe32}, {0xfe35, 0xfe4c},   {0xfe50, 0xfe6f},   {0xff01, 0xff0f}, {0xff1a, 0xff20},
        {0xfff0, 0xffff}, {0x1f000, 0x1fbef}, {0xf0000, 0x10ffff}};
    if (code < 0x100)
        return IN(low, code);
    return IN(words, code) || !(IN(symbols, code) || utf8_is_space(code));
}
