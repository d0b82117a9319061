/* Labels of cells, see cell_label.h; the lines are key.c's. */
#include "harness/cell_label.h"

#include <stdio.h>  /* snprintf */
#include <string.h> /* strncmp */

/* Lines that stand in a label, and the value that need not be said. */
static const struct {
    const char *name, *usual;
} shown[] = {{"budget", ""}, {"match", "official"}, {"control", "none"}, {"seed", "0"}, {"split", "all"}};

static int starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* One "name=value" line of n bytes. */
static void add_line(char out[CELL_LABEL_SIZE], const char *line, size_t n)
{
    size_t used = strlen(out);
    char *end = out + used;
    size_t space = CELL_LABEL_SIZE - used;
    if (starts_with(line, "method=")) {
        snprintf(end, space, "%.*s", (int)(n - 7), line + 7);
        return;
    }
    if (starts_with(line, "param.")) {
        snprintf(end, space, " %.*s", (int)(n - 6), line + 6);
        return;
    }
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        size_t name = strlen(shown[i].name), usual = strlen(shown[i].usual);
        if (!starts_with(line, shown[i].name) || line[name] != '=')
            continue;
        if (n - name - 1 != usual || strncmp(line + name + 1, shown[i].usual, usual) != 0)
            snprintf(end, space, " %.*s", (int)n, line);
    }
}

void cell_label(char out[CELL_LABEL_SIZE], const char *canonical)
{
    out[0] = 0;
    for (const char *line = canonical ? canonical : ""; *line;) {
        size_t n = strcspn(line, "\n");
        add_line(out, line, n);
        line += n + (line[n] == '\n');
    }
    for (char *c = out; *c; c++) /* a store may come from anywhere */
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
}
