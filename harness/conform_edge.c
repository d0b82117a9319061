/* Where methods break: degenerate prompts and counts, dialogues, parameters at the ends of their ranges, and
 * budgets of every match. See conform.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "memory.h"

void conform_degenerate(struct conform *c, const struct reducer *reducer)
{
    (void)c;
    (void)reducer;
}

void conform_dialogues(struct conform *c, const struct reducer *reducer)
{
    (void)c;
    (void)reducer;
}

void conform_parameters(struct conform *c, const struct reducer *reducer)
{
    (void)c;
    (void)reducer;
}

void conform_budgets(struct conform *c, const struct reducer *reducer)
{
    (void)c;
    (void)reducer;
}
