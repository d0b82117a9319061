/* Built-in grids, see builtin.h. */
#include "harness/builtin.h"

#include <dirent.h> /* the grids there are */
#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* qsort */
#include <string.h> /* strrchr */

#include "harness/command.h" /* home_path */
#include "harness/grid.h"    /* cells */

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int builtin_names(char names[BUILTIN_MAX][BUILTIN_NAME])
{
    DIR *folder = opendir(home_path("harness/grids"));
    const struct dirent *entry;
    int n = 0;
    while (folder && n < BUILTIN_MAX && (entry = readdir(folder))) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot && strcmp(dot, ".yaml") == 0 && dot > entry->d_name && dot - entry->d_name < BUILTIN_NAME)
            snprintf(names[n++], BUILTIN_NAME, "%.*s", (int)(dot - entry->d_name), entry->d_name);
    }
    if (folder)
        closedir(folder);
    qsort(names, (size_t)n, sizeof *names, by_name);
    return n;
}

const char *builtin_path(const char *name)
{
    char path[BUILTIN_NAME + 32];
    snprintf(path, sizeof path, "harness/grids/%.*s.yaml", BUILTIN_NAME - 1, name);
    return home_path(path);
}

/* The file's first line without its mark; "" where it is no comment. */
static void title_read(char *out, size_t size, const char *path)
{
    char line[400] = "";
    FILE *file = fopen(path, "r");
    if (file && fgets(line, sizeof line, file) == NULL)
        line[0] = 0;
    if (file)
        fclose(file);
    line[strcspn(line, "\n")] = 0;
    const char *text = line[0] == '#' ? line + 1 : "";
    snprintf(out, size, "%s", text + strspn(text, " "));
}

static void names_join(char *out, size_t size, const struct sweep *sweep)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < sweep->n_benchmarks && used < size; i++) {
        bool is_known = false; /* as another split */
        for (int j = 0; j < i; j++)
            is_known = is_known || strcmp(sweep->benchmarks[j].name, sweep->benchmarks[i].name) == 0;
        if (!is_known)
            used +=
                (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", sweep->benchmarks[i].name);
    }
}

enum status builtin_describe(struct builtin *out, const char *name, struct error *err)
{
    struct sweep sweep;
    struct grid grid;
    static const char *model = "models/miniature";
    *out = (struct builtin){0};
    title_read(out->title, sizeof out->title, builtin_path(name));
    TRY(sweep_read(&sweep, builtin_path(name), NULL, 0, err));
    names_join(out->benchmarks, sizeof out->benchmarks, &sweep);
    sweep_stand_in(&sweep);
    names_join(out->without_data, sizeof out->without_data, &sweep);
    if (sweep.n_models == 0) {
        sweep.models = &model;
        sweep.n_models = 1;
    }
    enum status status = grid_make(&grid, &sweep, 0, err);
    for (int i = 0; i < grid.n_cells && status == OK; i++) {
        int limit = sweep.benchmarks[grid.cells[i].benchmark].limit;
        out->n_samples = limit == 0 || out->n_samples < 0 ? -1 : out->n_samples + limit;
    }
    out->n_cells = grid.n_cells;
    grid_free(&grid);
    sweep_free(&sweep);
    return status;
}
