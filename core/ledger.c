/* Formulas of the ledger, see ledger.h; definitions: docs/counting.md. */
#include "ledger.h"

double ledger_tokens_in(const struct ledger *ledger)
{
    double sum = 0;
    for (int l = 0; l < ledger->n_layers; l++)
        sum += ledger->layers[l].visual_in;
    return ledger->n_layers ? sum / ledger->n_layers : 0;
}

double ledger_tokens_out(const struct ledger *ledger)
{
    double sum = 0;
    for (int l = 0; l < ledger->n_layers; l++)
        sum += ledger->layers[l].visual_out;
    return ledger->n_layers ? sum / ledger->n_layers : 0;
}

uint64_t ledger_flops(const struct ledger *ledger, bool counted)
{
    uint64_t sum = 0;
    for (int s = 0; s < N_STAGES; s++)
        sum += counted ? ledger->macs_counted[s] : ledger->macs[s];
    return 2 * sum;
}

double ledger_vanilla_macs(const struct ledger *ledger, double n_visual)
{
    double query = (double)ledger->n_heads * ledger->head_dim,
           key = (double)ledger->n_kv_heads * ledger->head_dim, d = ledger->hidden,
           n = n_visual + ledger->n_text;
    return ledger->n_layers *
           (n * d * (2 * query + 2 * key) + 2 * n * n * query + 3 * n * d * ledger->intermediate);
}

uint64_t macs_layer(int64_t n_q, int64_t n_k, int hidden, int intermediate, int n_heads, int n_kv_heads,
                    int head_dim)
{
    int64_t query = (int64_t)n_heads * head_dim, key = (int64_t)n_kv_heads * head_dim;
    return (uint64_t)(n_q * hidden * (2 * query + 2 * key) + 2 * n_q * n_k * query +
                      3 * n_q * hidden * intermediate);
}

uint64_t macs_layer_paper(int64_t n, int hidden, int intermediate, int n_heads, int n_kv_heads, int head_dim)
{
    return macs_layer(n, n, hidden, intermediate, n_heads, n_kv_heads, head_dim);
}
