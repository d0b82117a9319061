/* The ledger for people and programs, see ledger_json.h. */
#include "ledger_json.h"

#include "cut_counts.h"

static const char *const stage_names[N_STAGES] = {"vision", "project", "prefill", "select", "head", "decode"};

static json_t *number_or_null(bool there, double value)
{
    return there ? json_real(value) : json_null();
}

static json_t *counts_json(const struct cut_counts *counts)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "visual_in", counts->n_in, "visual_out", counts->n_out,
                     "kept", counts->kept, "recycled", counts->recycled, "clusters", counts->clusters,
                     "dropped", counts->dropped);
}

/* `vision`: every cut in the tower; `before`: all that happened before layer 0 as one cut. */
static enum status before_json(json_t *out, const struct answer *answer, struct error *err)
{
    struct cut_counts counts;
    json_t *vision = json_array();
    enum status status = OK;
    for (int i = 0; i < answer->n_records && status == OK; i++) {
        const struct cut_record *cut = &answer->records[i];
        if (cut->site != SITE_VISION)
            continue;
        status = cut_counts(&counts, cut, err);
        json_t *row = counts_json(&counts);
        json_object_set_new(row, "image", json_integer(cut->image));
        json_object_set_new(row, "layer", json_integer(cut->layer));
        json_array_append_new(vision, row);
    }
    json_object_set_new(out, "vision", vision);
    TRY(status);
    TRY(cut_counts_before(&counts, answer, err));
    json_object_set_new(out, "before", counts_json(&counts));
    return OK;
}

enum status ledger_json(json_t **root, const struct answer *answer, struct error *err)
{
    const struct ledger *ledger = &answer->ledger;
    json_t *out = json_object(), *layers = json_array();
    *root = out;
    json_object_set_new(out, "visual", json_integer(ledger->n_visual));
    json_object_set_new(out, "text", json_integer(ledger->n_text));
    json_object_set_new(out, "tokens_in", json_real(ledger_tokens_in(ledger)));
    json_object_set_new(out, "tokens_out", json_real(ledger_tokens_out(ledger)));
    json_object_set_new(out, "flops", json_integer((json_int_t)ledger_flops(ledger, false)));
    json_object_set_new(out, "flops_counted", json_integer((json_int_t)ledger_flops(ledger, true)));
    for (int s = 0; s < N_STAGES; s++) {
        char name[32];
        snprintf(name, sizeof name, "flops_%s", stage_names[s]);
        json_object_set_new(out, name, json_integer((json_int_t)(2 * ledger->macs[s])));
    }
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {{"macs_paper", ledger->macs_paper},
                  {"kv_bytes_live", ledger->kv_bytes_live},
                  {"kv_bytes_alloc", ledger->kv_bytes_alloc},
                  {"kv_bytes_reserved", ledger->kv_bytes_reserved},
                  {"kv_bytes_end", ledger->kv_bytes_end},
                  {"kv_visual_bytes", ledger->kv_visual_bytes},
                  {"n_generated", (uint64_t)ledger->n_generated}};
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++)
        json_object_set_new(out, counts[i].name, json_integer((json_int_t)counts[i].value));
    const struct {
        const char *name;
        double value;
    } times[] = {{"preprocess_ms", ledger->preprocess_ms},
                 {"vision_ms", ledger->vision_ms},
                 {"project_ms", ledger->project_ms},
                 {"prefill_ms", ledger->prefill_ms},
                 {"select_ms", ledger->select_ms},
                 {"rank_ms", ledger->rank_ms},
                 {"ttft_ms", ledger->ttft_ms},
                 {"total_ms", ledger->total_ms}};
    for (unsigned i = 0; i < sizeof times / sizeof *times; i++)
        json_object_set_new(out, times[i].name, json_real(times[i].value));
    json_object_set_new(out, "marked", json_boolean(ledger->marked));
    int steps = ledger->n_decode_steps;
    json_object_set_new(out, "decode_ms_per_token",
                        number_or_null(steps > 0, steps ? ledger->decode_ms / steps : 0));
    for (int l = 0; l < ledger->n_layers; l++) {
        const struct ledger_layer *row = &ledger->layers[l];
        json_t *layer =
            json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I}", "layer", l, "visual_in",
                      row->visual_in, "visual_out", row->visual_out, "kept", row->kept, "recycled",
                      row->recycled, "clusters", row->clusters, "dropped", row->dropped, "kv_len",
                      row->kv_len, "flops", (json_int_t)(2 * (row->macs_prefill + row->macs_select)));
        json_object_set_new(layer, "raters", row->raters >= 0 ? json_integer(row->raters) : json_null());
        json_object_set_new(layer, "rank", row->rank >= 0 ? json_integer(row->rank) : json_null());
        json_array_append_new(layers, layer);
    }
    json_object_set_new(out, "layers", layers);
    return before_json(out, answer, err);
}

static void counts_print(FILE *out, const char *where, const struct cut_counts *counts)
{
    fprintf(out, "%7s %9d %10d %6d %8d %8d %7d\n", where, counts->n_in, counts->n_out, counts->kept,
            counts->recycled, counts->clusters, counts->dropped);
}

/* The tower's layers, and what came of all before layer 0. */
static enum status before_print(FILE *out, const struct answer *answer, struct error *err)
{
    struct cut_counts counts;
    for (int i = 0; i < answer->n_records; i++) {
        const struct cut_record *cut = &answer->records[i];
        char where[32];
        if (cut->site != SITE_VISION)
            continue;
        TRY(cut_counts(&counts, cut, err));
        snprintf(where, sizeof where, cut->image > 0 ? "v%d#%d" : "v%d", cut->layer, cut->image + 1);
        counts_print(out, where, &counts);
    }
    TRY(cut_counts_before(&counts, answer, err));
    if (counts.n_out != counts.n_in || counts.kept != counts.n_in)
        counts_print(out, "before", &counts);
    return OK;
}

static void number_print(FILE *out, int value)
{
    if (value >= 0)
        fprintf(out, "%6d ", value);
    else
        fprintf(out, "%6s ", "");
}

enum status ledger_print(FILE *out, const struct answer *answer, struct error *err)
{
    const struct ledger *ledger = &answer->ledger;
    fprintf(out, "%7s %9s %10s %6s %8s %8s %7s %6s %6s %7s %9s\n", "layer", "visual_in", "visual_out", "kept",
            "recycled", "clusters", "dropped", "raters", "rank", "kv_len", "MFLOP");
    TRY(before_print(out, answer, err));
    for (int l = 0; l < ledger->n_layers; l++) {
        const struct ledger_layer *row = &ledger->layers[l];
        fprintf(out, "%7d %9d %10d ", l, row->visual_in, row->visual_out);
        if (row->cut)
            fprintf(out, "%6d %8d %8d %7d ", row->kept, row->recycled, row->clusters, row->dropped);
        else
            fprintf(out, "%6s %8s %8s %7s ", "", "", "", "");
        number_print(out, row->raters);
        number_print(out, row->rank);
        fprintf(out, "%7d %9.1f\n", row->kv_len, 2e-6 * (double)(row->macs_prefill + row->macs_select));
    }
    fprintf(out, "\ntokens_in %.2f  tokens_out %.2f  of %d visual and %d text tokens\n",
            ledger_tokens_in(ledger), ledger_tokens_out(ledger), ledger->n_visual, ledger->n_text);
    fprintf(out, "GFLOP %.3f:", 1e-9 * (double)ledger_flops(ledger, false));
    for (int s = 0; s < N_STAGES; s++)
        fprintf(out, " %s %.3f", stage_names[s], 2e-9 * (double)ledger->macs[s]);
    fprintf(out, "\nKV bytes: live %llu, allocated %llu, visual %llu, at the end %llu\n",
            (unsigned long long)ledger->kv_bytes_live, (unsigned long long)ledger->kv_bytes_alloc,
            (unsigned long long)ledger->kv_visual_bytes, (unsigned long long)ledger->kv_bytes_end);
    fprintf(out,
            "ms: preprocess %.2f, vision %.2f, project %.2f, prefill %.2f, select %.2f (rank %.2f), to first "
            "token %.2f, total %.2f\n",
            ledger->preprocess_ms, ledger->vision_ms, ledger->project_ms, ledger->prefill_ms,
            ledger->select_ms, ledger->rank_ms, ledger->ttft_ms, ledger->total_ms);
    if (ledger->marked)
        fprintf(out, "marked: the gravity correction reached its floor\n");
    return OK;
}
