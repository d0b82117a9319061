/* A method's table of parameters, printed: for people, for programs, and as it stands in docs/methods.md. */
#ifndef WINNOW_PARAM_TABLE_H
#define WINNOW_PARAM_TABLE_H

#include <stdio.h>

#include "core/reducer.h"

struct json_t;

void param_table_text(FILE *out, const struct reducer *reducer);
/* [{name, type, default, low, high, choices, doc}]; a default or range that there is not: null. Owned by the
 * caller. */
struct json_t *param_table_json(const struct reducer *reducer);
void param_table_markdown(FILE *out, const struct reducer *reducer, bool heading);

#endif
