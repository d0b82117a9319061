/* A gnuplot figure: the script is written next to the figure, so that it can be changed and run again. */
#ifndef WINNOW_REPORTS_FIGURE_H
#define WINNOW_REPORTS_FIGURE_H

#include "reports/tables.h"

/* Opens a script of n panels in two columns, each with up to n_legend names below, the longest of n_longest
 * characters: size and styles. The caller adds the panels. */
void figure_begin(struct buffer *script, const char *name, int n_panels, int n_legend, size_t n_longest);
/* Writes NAME.gp and runs it for each format asked for. Where gnuplot is missing, report->no_gnuplot is set
 * and *made is false; a script that fails is an error. */
enum status figure_end(bool *made, struct buffer *script, const char *name, struct report *report,
                       struct error *err);
/* Refers to the figure from report.md, or says why it cannot. */
void figure_refer(struct buffer *out, const char *name, const char *caption, bool made,
                  const struct report *report);

#endif
