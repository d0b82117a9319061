/* Numbers of bytes, see size.h. */
#include "harness/size.h"

#include <stdlib.h> /* strtod */
#include <string.h> /* strcmp */

bool size_read(int64_t *out, const char *text)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1},       {"B", 1},        {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
                 {"TB", 1e12},  {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40},
                 {"K", 0x1p10}, {"M", 0x1p20},   {"G", 0x1p30},   {"T", 0x1p40}};
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    double value = strtod(text, &end);
    end += strspn(end, " ");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].name) == 0) {
            value *= units[i].bytes;
            *out = value >= 1 && value < 0x1p62 ? (int64_t)value : 0;
            return *out > 0;
        }
    return false;
}
