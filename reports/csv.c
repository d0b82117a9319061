/* main.csv: one line a cell, unrounded, for other tools. */
#include "reports/markdown.h"
#include "reports/tables.h"

#include <math.h>   /* isnan */
#include <string.h> /* memcpy */

/* Empty where there is none. */
static void add_csv_number(struct buffer *out, double value)
{
    if (!isnan(value))
        text_add(out, "%.10g", value);
    text_add(out, ",");
}

void report_csv(struct buffer *out, const struct arms *arms)
{
    static const struct {
        const char *name;
        size_t offset;
    } texts[] = {{"key", offsetof(struct cell, key)},
                 {"model", offsetof(struct cell, model)},
                 {"benchmark", offsetof(struct cell, benchmark)},
                 {"split", offsetof(struct cell, split)},
                 {"control", offsetof(struct cell, control)},
                 {"method", offsetof(struct cell, method)},
                 {"params", offsetof(struct cell, params)},
                 {"budget", offsetof(struct cell, budget)},
                 {"match", offsetof(struct cell, match)},
                 {"metric", offsetof(struct cell, metric)},
                 {"device", offsetof(struct cell, device)},
                 {"dtype", offsetof(struct cell, dtype)},
                 {"machine", offsetof(struct cell, machine)},
                 {"revision", offsetof(struct cell, revision)},
                 {"created", offsetof(struct cell, created)}},
      numbers[] = {{"seed", offsetof(struct cell, seed)},
                   {"n", offsetof(struct cell, n)},
                   {"n_failed", offsetof(struct cell, n_failed)},
                   {"score", offsetof(struct cell, score)},
                   {"score_lo", offsetof(struct cell, score_lo)},
                   {"score_hi", offsetof(struct cell, score_hi)},
                   {"tokens_in", offsetof(struct cell, tokens_in)},
                   {"tokens_out", offsetof(struct cell, tokens_out)},
                   {"budget_off", offsetof(struct cell, budget_off)},
                   {"macs_paper", offsetof(struct cell, macs_paper)},
                   {"flops", offsetof(struct cell, flops)},
                   {"flops_prefill", offsetof(struct cell, flops_prefill)},
                   {"flops_select", offsetof(struct cell, flops_select)},
                   {"kv_bytes_live", offsetof(struct cell, kv_bytes_live)},
                   {"kv_bytes_alloc", offsetof(struct cell, kv_bytes_alloc)},
                   {"kv_visual_bytes", offsetof(struct cell, kv_visual_bytes)},
                   {"prefill_ms", offsetof(struct cell, prefill_ms)},
                   {"select_ms", offsetof(struct cell, select_ms)},
                   {"ttft_ms", offsetof(struct cell, ttft_ms)},
                   {"total_ms", offsetof(struct cell, total_ms)}};
    enum { N_TEXTS = sizeof texts / sizeof *texts, N_NUMBERS = sizeof numbers / sizeof *numbers };
    for (size_t i = 0; i < N_TEXTS; i++)
        text_add(out, "%s,", texts[i].name);
    for (size_t i = 0; i < N_NUMBERS; i++)
        text_add(out, "%s,", numbers[i].name);
    text_add(out, "diff,diff_lo,diff_hi,holm_p,diff_random,diff_random_lo,diff_random_hi,loyalty,badges\n");
    for (int i = 0; i < arms->n; i++)
        for (int m = 0; m < arms->arms[i].n_members; m++) {
            const struct arm *arm = &arms->arms[i];
            const char *cell = (const char *)arm->members[m];
            for (size_t t = 0; t < N_TEXTS; t++) {
                char *text;
                memcpy(&text, cell + texts[t].offset, sizeof text);
                text_csv(out, text);
                text_add(out, ",");
            }
            for (size_t t = 0; t < N_NUMBERS; t++) {
                double value;
                memcpy(&value, cell + numbers[t].offset, sizeof value);
                add_csv_number(out, value);
            }
            /* Of the arm: equal for all seeds. */
            const double differences[] = {arm->to_base.diff, arm->to_base.lo,     arm->to_base.hi,
                                          arm->to_base.p,    arm->to_random.diff, arm->to_random.lo,
                                          arm->to_random.hi, arm->to_base.loyalty};
            for (size_t t = 0; t < sizeof differences / sizeof *differences; t++)
                add_csv_number(out, differences[t]);
            const char *separator = "";
            for (const struct badge_text *text = badge_texts; text->name != NULL; text++)
                if (arm->badges & text->badge) {
                    text_add(out, "%s%s", separator, text->name);
                    separator = " / ";
                }
            text_add(out, "\n");
        }
}
