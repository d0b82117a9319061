/* Accuracy over visual tokens: for every benchmark and every basis of matching one figure with all methods
 * and controls, and its table. */
#ifndef WINNOW_REPORTS_CURVES_H
#define WINNOW_REPORTS_CURVES_H

#include "reports/tables.h"

/* *any: there was something to draw. */
enum status add_curves(bool *any, struct buffer *out, struct report *report, struct error *err);

#endif
