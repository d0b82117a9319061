/* A report of one or more stores: report.md with its tables, the figures and pictures beside it, main.csv.
 *
 *     TRY(report_write(&(struct report_options){.stores = paths, .n_stores = n, .dir = "report",
 *                                               .formats = REPORT_MD | REPORT_PNG, .tables = NULL,
 *                                               .baseline = "vanilla"}, &err));
 */
#ifndef WINNOW_REPORTS_REPORT_H
#define WINNOW_REPORTS_REPORT_H

#include <stdbool.h>

#include "core/error.h"

enum { REPORT_MD = 1, REPORT_PNG = 2, REPORT_SVG = 4, REPORT_CSV = 8 };

struct report_options {
    const char *const *stores;
    int n_stores;
    const char *dir;      /* made if missing */
    unsigned formats;     /* of REPORT_* */
    bool formats_asked;   /* by the user: then a missing gnuplot is status 3, not a remark */
    const char *tables;   /* comma-separated names; NULL: the usual ones */
    const char *baseline; /* method that differences are taken to */
};

/* Prints the names of the files it wrote on stdout. */
enum status report_write(const struct report_options *options, struct error *err);
/* "main, tradeoff, …": for usage texts and messages. */
const char *report_table_names(void);

#endif
