/* The ledger as JSON with the names of the command-line contract (docs/counting.md), and as a table by layer.
 */
#ifndef WINNOW_LEDGER_JSON_H
#define WINNOW_LEDGER_JSON_H

#include <jansson.h>
#include <stdio.h>

#include "core/vlm.h"

/* New reference. The answer has its records: what the tower and a cut before layer 0 did stands in them. */
enum status ledger_json(json_t **out, const struct answer *answer, struct error *err);
enum status ledger_print(FILE *out, const struct answer *answer, struct error *err);

#endif
