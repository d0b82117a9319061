/* Writes report.md: reads the stores, groups cells into arms, and runs the sections in their order.
 * Everything is built in memory and written to a temporary name first. */
#include "reports/report.h"

#include "core/json.h"
#include "core/memory.h"
#include "reports/markdown.h"
#include "reports/tables.h"

#include <errno.h>    /* errno */
#include <string.h>   /* strcmp */
#include <sys/stat.h> /* mkdir */

/* In the order of the report. */
static const struct {
    const char *name;
    bool usual;
    enum status (*write)(struct buffer *out, struct report *report, struct error *err);
} sections[] = {{"table1", false, section_table1},    {"main", true, section_main},
                {"tradeoff", true, section_tradeoff}, {"controls", true, section_controls},
                {"table4", false, section_table4},    {"fig5", false, section_fig5},
                {"fig6", false, section_fig6},        {"sensitivity", false, section_sensitivity},
                {"pictures", true, section_pictures}, {"provenance", true, section_provenance},
                {"paper", true, section_paper}};
enum { N_SECTIONS = sizeof sections / sizeof *sections, OVERVIEW = 0, PANELS_MANY = 3 };

const char *report_table_names(void)
{
    return "table1, main, tradeoff, controls, table4, fig5, fig6, sensitivity, pictures, provenance, paper";
}

static enum status choose_sections(bool chosen[N_SECTIONS], const char *list, struct error *err)
{
    for (int i = 0; i < N_SECTIONS; i++)
        chosen[i] = list == NULL && sections[i].usual;
    for (const char *at = list; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, ",");
        bool found = false;
        for (int i = 0; i < N_SECTIONS; i++)
            if (strlen(sections[i].name) == n && strncmp(sections[i].name, at, n) == 0)
                chosen[i] = found = true;
        if (!found)
            return fail(err, BAD_INPUT, "--tables: unknown table \"%.*s\"; there are %s",
                        (int)(n < 40 ? n : 40), at, report_table_names());
        at += n + (at[n] == ',');
    }
    return OK;
}

static enum status make_directory(const char *dir, struct error *err)
{
    struct stat info;
    if (mkdir(dir, 0777) == 0 || (errno == EEXIST && stat(dir, &info) == 0 && S_ISDIR(info.st_mode)))
        return OK;
    return fail(err, BAD_INPUT, "%s: cannot be made a directory: %s", dir, strerror(errno));
}

static enum status write_file(const struct report *report, const char *name, const struct buffer *text,
                              struct error *err)
{
    char path[1024];
    if (text->failed)
        return memory_failed(err, name, text->n);
    TRY(report_path(path, sizeof path, report, name, err));
    TRY(file_write(path, text->bytes, text->n, err));
    report_announce(path);
    return OK;
}

static enum status write_csv(const struct report *report, struct error *err)
{
    struct buffer text = {0};
    report_csv(&text, &report->arms);
    enum status status = write_file(report, "main.csv", &text, err);
    buffer_free(&text);
    return status;
}

enum status report_write(const struct report_options *options, struct error *err)
{
    bool chosen[N_SECTIONS];
    struct cells cells = {0};
    struct report report = {.cells = &cells,
                            .baseline = options->baseline != NULL ? options->baseline : "vanilla",
                            .dir = options->dir,
                            .formats = options->formats};
    struct buffer text = {0};
    enum status status;
    TRY(choose_sections(chosen, options->tables, err));
    TRY_GOTO(status, cells_read(&cells, options->stores, options->n_stores, err));
    TRY_GOTO(status, arms_build(&report.arms, &cells, report.baseline, err));
    /* Many benchmarks want one table over all of them, before each has its own. */
    if (options->tables == NULL && report.arms.n_panels >= PANELS_MANY)
        chosen[OVERVIEW] = true;
    TRY_GOTO(status, make_directory(options->dir, err));
    TRY_GOTO(status, section_run(&text, &report, err));
    for (int i = 0; i < N_SECTIONS; i++)
        if (chosen[i])
            TRY_GOTO(status, sections[i].write(&text, &report, err));
    if (options->formats & REPORT_MD)
        TRY_GOTO(status, write_file(&report, "report.md", &text, err));
    if (options->formats & REPORT_CSV)
        TRY_GOTO(status, write_csv(&report, err));
    if (report.no_gnuplot && options->formats_asked)
        status = fail(err, NO_MACHINE,
                      "gnuplot is not installed, so no figure was drawn (all else was written); "
                      "install it (apt-get install gnuplot-nox) or leave png and svg out of --format");
exit:
    buffer_free(&text);
    arms_free(&report.arms);
    cells_free(&cells);
    return status;
}
