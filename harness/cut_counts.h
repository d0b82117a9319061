/* Counts of cuts from their records, for those that the ledger has no layer for: in the tower and before
 * layer 0. Everywhere kept + clusters = n_out and kept + recycled + dropped = n_in; a cluster in its centre's
 * place is no kept token, and the class token that goes on is a cluster without patches.
 */
#ifndef WINNOW_CUT_COUNTS_H
#define WINNOW_CUT_COUNTS_H

#include "core/vlm.h"

struct cut_counts {
    int n_in, n_out, kept, recycled, clusters, dropped;
};

enum status cut_counts(struct cut_counts *out, const struct cut_record *cut, struct error *err);
/* All that happened before layer 0 of the last prefill, the tower included, as one cut of the uncut visual
 * tokens; n_in = n_out where nothing did. The answer has its records. */
enum status cut_counts_before(struct cut_counts *out, const struct answer *answer, struct error *err);
/* Whether place j among those that enter a cut leaves it as a token of its own. `kept` is an index into
 * cut->kept. */
bool cut_keeps_own(const struct cut_record *cut, int kept);

#endif
