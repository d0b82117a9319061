/* The ledger as JSON with the names of the command-line contract (docs/counting.md), and as a table by layer.
 */
#ifndef WINNOW_LEDGER_JSON_H
#define WINNOW_LEDGER_JSON_H

#include <jansson.h>
#include <stdio.h>

#include "core/ledger.h"

/* New reference; NULL when memory runs out. */
json_t *ledger_json(const struct ledger *ledger);
void ledger_print(FILE *out, const struct ledger *ledger);

#endif
