/* One hand counts for all: tokens, multiply-accumulates, bytes and milliseconds of one answer, by layer and
 * stage. Definitions: docs/counting.md. All figures are of the cell run alone. */
#ifndef WINNOW_LEDGER_H
#define WINNOW_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "limits.h"

enum stage { STAGE_VISION, STAGE_PROJECT, STAGE_PREFILL, STAGE_SELECT, STAGE_HEAD, STAGE_DECODE, N_STAGES };

/* A decoder layer in the last prefill. */
struct ledger_layer {
    int tokens_in;             /* all rows newly run through it */
    int visual_in, visual_out; /* a cut between l and l+1 belongs to l: visual_out[l] = visual_in[l+1] */
    int kept, recycled, clusters, dropped; /* of this layer's cut; kept = 0 without one */
    bool cut;
    int raters, rank; /* rows that scored; −1 where it means nothing */
    int kv_len;       /* length of its cache after the prefill */
    int kv_visual;    /* visual tokens in it */
    uint64_t macs_prefill, macs_select;
};

struct ledger {
    int n_layers;
    int hidden, intermediate, n_heads, n_kv_heads, head_dim, vocabulary;
    int kv_element_bytes;
    int n_visual, n_text;            /* of the prompt, uncut */
    int before_kept;                 /* visual tokens that enter layer 0 */
    struct ledger_layer *layers;     /* [n_layers], owned by the answer */
    uint64_t macs[N_STAGES];         /* by formula */
    uint64_t macs_counted[N_STAGES]; /* by the counter inside the operations */
    uint64_t macs_shared;            /* of macs: of decoder layers, taken over from another question's run */
    uint64_t macs_paper;             /* Σ n(2dHh + 2dH_kv h) + 2n²Hh + 3ndm, last prefill */
    uint64_t kv_bytes_live, kv_bytes_alloc, kv_bytes_reserved, kv_bytes_end, kv_visual_bytes;
    double preprocess_ms, vision_ms, project_ms, prefill_ms, select_ms, head_ms, ttft_ms, decode_ms, total_ms;
    double rank_ms;  /* of select_ms: singular values */
    bool marked;     /* SparseVLM plus: the gravity correction reached its floor in this sample */
    int n_generated; /* ids, the eos too, all turns */
    int n_decode_steps;
};

double ledger_tokens_in(const struct ledger *ledger);
double ledger_tokens_out(const struct ledger *ledger);
uint64_t ledger_flops(const struct ledger *ledger, bool counted); /* 2 · Σ macs */

/* MACs of the prefill of a vanilla run with n_visual visual tokens, n_visual a real number: what `match:
 * flops` asks for. */
double ledger_vanilla_macs(const struct ledger *ledger, double n_visual);

/* MACs of one decoder layer that runs n_q rows against a cache of n_k: projections, attention, MLP. */
uint64_t macs_layer(int64_t n_q, int64_t n_k, int hidden, int intermediate, int n_heads, int n_kv_heads,
                    int head_dim);
/* The papers' convention for one layer entered by n tokens. */
uint64_t macs_layer_paper(int64_t n, int hidden, int intermediate, int n_heads, int n_kv_heads, int head_dim);

#endif
