/* The sections of report.md, each a function that appends to the text. */
#ifndef WINNOW_REPORTS_TABLES_H
#define WINNOW_REPORTS_TABLES_H

#include "core/buffer.h"
#include "reports/arms.h"
#include "reports/report.h"

struct report {
    const struct cells *cells;
    struct arms arms;
    const char *baseline;
    const char *dir;
    unsigned formats;
    bool no_gnuplot; /* found missing by a figure */
};

enum status section_run(struct buffer *out, struct report *report, struct error *err);
enum status section_main(struct buffer *out, struct report *report, struct error *err);
enum status section_table1(struct buffer *out, struct report *report, struct error *err);
enum status section_table4(struct buffer *out, struct report *report, struct error *err);
enum status section_fig5(struct buffer *out, struct report *report, struct error *err);
enum status section_sensitivity(struct buffer *out, struct report *report, struct error *err);
enum status section_controls(struct buffer *out, struct report *report, struct error *err);
enum status section_paper(struct buffer *out, struct report *report, struct error *err);
enum status section_provenance(struct buffer *out, struct report *report, struct error *err);
/* In curves.c, figure.c and pictures.c. */
enum status section_tradeoff(struct buffer *out, struct report *report, struct error *err);
enum status section_fig6(struct buffer *out, struct report *report, struct error *err);
enum status section_pictures(struct buffer *out, struct report *report, struct error *err);

/* main.csv, in csv.c. */
void report_csv(struct buffer *out, const struct arms *arms);

/* The baseline's arm that an arm is compared to; NULL without. */
const struct arm *report_base(const struct report *report, const struct arm *arm);
/* Grid that makes what is missing: `default` for the built-in suite, else `full`. */
const char *report_grid(const struct cell *cell);
/* "`make sweep GRID=NAME`" where there is such a grid, else "add OTHERWISE to your sweep". */
void report_advice(struct buffer *out, const char *grid, const char *otherwise);
/* report->dir/name, announced on stdout by report_announce once it is written. */
enum status report_path(char *out, size_t size, const struct report *report, const char *name,
                        struct error *err);
void report_announce(const char *path);

#endif
