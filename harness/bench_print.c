/* `winnow bench`, the figures: a table, or the JSON of the command line's contract. What is not known (before
 * a run, or because it never was measured) is null, and "-" in the table.
 */
#include <math.h>
#include <stdio.h>

#include <jansson.h>

#include "bench.h"
#include "stats.h"

static double middle(const struct series *series)
{
    return median(series->ms, series->n);
}

static json_t *real_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *whole_or_null(double x)
{
    return isfinite(x) ? json_integer((json_int_t)x) : json_null();
}

/* Medians of one row; NAN before a run. */
struct figures {
    bool ran;
    double preprocess, vision, project, prefill, select, rank, ttft, decode, share, speedup, speedup_ttft,
        flop_ratio, over_gemm, roofline_realised;
};

static double ttft_of(const struct bench *b, const struct row *row)
{
    const struct tower_times *tower = bench_tower(b, row);
    return middle(&row->ttft) + middle(&tower->vision) + middle(&tower->project);
}

static struct figures figures_of(const struct bench *b, const struct row *row)
{
    const struct row *dense = bench_dense(b, row->n_visual);
    const struct tower_times *tower = bench_tower(b, row);
    struct figures f = {.ran = row->prefill.n > 0,
                        .preprocess = middle(&tower->preprocess),
                        .vision = middle(&tower->vision),
                        .project = middle(&tower->project),
                        .prefill = middle(&row->prefill),
                        .rank = middle(&row->rank),
                        .decode = middle(&row->decode),
                        .ttft = ttft_of(b, row),
                        .flop_ratio = dense ? dense->macs_prefill / row->macs_prefill : NAN,
                        .over_gemm = NAN};
    f.select = middle(&row->select) + (row->method.reducer->in_tower ? middle(&tower->select) : 0);
    f.share = f.select / f.prefill;
    f.speedup = dense ? middle(&dense->prefill) / f.prefill : NAN;
    f.speedup_ttft = dense ? ttft_of(b, dense) / f.ttft : NAN;
    f.roofline_realised = dense ? f.speedup / (dense->roofline_ms / row->roofline_ms) : NAN;
    if (b->gemm_flops > 0) {
        /* one picture, projector and prefill together, over what the same multiply-accumulates take at the
         * library's rate on 640×352×128 in this run */
        double macs =
            row->macs_prefill + row->macs_select + (double)row->macs_vision + (double)row->macs_project;
        f.over_gemm = (f.vision + f.project + f.prefill) / (1e3 * 2 * macs / b->gemm_flops);
    }
    return f;
}

static json_t *range_json(const struct series *series)
{
    double low = INFINITY, high = 0;
    for (int i = 0; i < series->n; i++) {
        low = fmin(low, series->ms[i]);
        high = fmax(high, series->ms[i]);
    }
    if (series->n == 0)
        return json_null();
    return json_pack("{s:f, s:f, s:f, s:i}", "median", middle(series), "min", low, "max", high, "n",
                     series->n);
}

static json_t *row_json(const struct bench *b, const struct row *row)
{
    char params[4096], budget[32];
    params_json(params, sizeof params, &row->method.params, false);
    budget_format(budget, sizeof budget, &row->method.budget);
    struct figures f = figures_of(b, row);
    const struct {
        const char *name;
        json_t *value;
    } fields[] = {
        {"method", json_string(row->method.reducer->name)},
        {"params", json_loads(params, 0, NULL)},
        {"budget", row->method.budget.given ? json_string(budget) : json_null()},
        {"budget_off",
         row->plan.requested > 0 ? json_real(row->plan.measured / row->plan.requested - 1) : json_null()},
        {"cuts_fallen", json_integer(row->plan.n_fallen)},
        {"visual_tokens", json_integer(row->n_visual)},
        {"tokens_in", real_or_null(row->tokens_in)},
        {"tokens_out", real_or_null(row->tokens_out)},
        {"macs_paper", whole_or_null(row->macs_paper)},
        {"flops_vision", json_integer((json_int_t)(2 * (uint64_t)row->n_images * row->macs_vision))},
        {"flops_project", json_integer((json_int_t)(2 * (uint64_t)row->n_images * row->macs_project))},
        {"flops_prefill", whole_or_null(2 * row->macs_prefill)},
        {"flops_select", whole_or_null(2 * row->macs_select)},
        {"preprocess_ms", real_or_null(f.preprocess)},
        {"vision_ms", real_or_null(f.vision)},
        {"project_ms", real_or_null(f.project)},
        {"prefill_ms", range_json(&row->prefill)},
        {"select_ms", real_or_null(f.select)},
        {"rank_ms", real_or_null(f.rank)},
        {"share_select", real_or_null(f.share)},
        {"ttft_ms", real_or_null(f.ttft)},
        {"decode_ms_per_token", real_or_null(b->n_decode ? f.decode : NAN)},
        {"kv_bytes_live", whole_or_null(row->kv_live)},
        {"kv_bytes_alloc", whole_or_null(row->kv_alloc)},
        {"peak_bytes", whole_or_null(f.ran ? row->peak_bytes : NAN)},
        {"speedup", real_or_null(f.speedup)},
        {"speedup_ttft", real_or_null(f.speedup_ttft)},
        {"flop_ratio", real_or_null(f.flop_ratio)},
        {"ceiling_realised", real_or_null(f.speedup / f.flop_ratio)},
        {"over_gemm", real_or_null(f.over_gemm)},
        {"roofline_ms", real_or_null(f.ran ? row->roofline_ms : NAN)},
        {"roofline_realised", real_or_null(f.roofline_realised)},
    };
    json_t *out = json_object();
    for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++)
        json_object_set_new(out, fields[i].name, fields[i].value);
    return out;
}

enum status bench_json(const struct bench *b, const char *machine, struct error *err)
{
    json_t *rows = json_array();
    for (int i = 0; i < b->n_rows; i++)
        json_array_append_new(rows, row_json(b, &b->rows[i]));
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:o, s:o}", "machine", machine, "device", b->device,
                  "dtype", b->common.dtype == DTYPE_CHOICE_BF16 ? "bf16" : "f32", "geometry",
                  b->geometry ? b->geometry : b->common.model, "layers", b->config.text.n_layers,
                  "text_tokens", b->n_text, "batch", 1, "peaks",
                  json_pack("{s:o, s:o}", "gemm_flops", real_or_null(b->plan ? NAN : b->gemm_flops),
                            "read_bytes_per_s", real_or_null(b->plan ? NAN : b->read_bytes)),
                  "rows", rows);
    return command_json(root, err);
}

/* ---- table ---------------------------------------------------------------------------------- */

static void cell(int width, int digits, double x)
{
    if (isfinite(x))
        printf(" %*.*f", width, digits, x);
    else
        printf(" %*s", width, "-");
}

static void print_row(const struct bench *b, const struct row *row)
{
    struct figures f = figures_of(b, row);
    char budget[32];
    budget_format(budget, sizeof budget, &row->method.budget);
    printf("%-10s %7s %7d", row->method.reducer->name, budget, row->n_visual);
    cell(9, 2, row->tokens_in);
    cell(9, 3, 2e-9 * row->macs_prefill);
    cell(9, 4, 2e-9 * row->macs_select);
    cell(9, 2, 1e-6 * row->kv_live);
    if (f.ran) {
        cell(9, 2, f.vision);
        cell(9, 2, f.prefill);
        cell(9, 2, f.select);
        cell(8, 2, f.rank);
        printf(" %6.2f%%", 100 * f.share);
        cell(9, 2, f.ttft);
        cell(9, 3, f.decode);
        cell(8, 2, f.speedup);
        cell(8, 2, f.speedup / f.flop_ratio);
    }
    if (*row->settings)
        printf("   %s", row->settings);
    if (f.ran && row->method.reducer->dense && row->n_visual == b->config.visual_per_image)
        printf("   vision + project + prefill: %.2f of gemm time", f.over_gemm);
    if (row->plan.n_fallen)
        printf("   %d cuts fall away: only %d layers", row->plan.n_fallen, b->config.text.n_layers);
    putchar('\n');
}

enum status bench_table(const struct bench *b, const char *machine, struct error *err)
{
    (void)err;
    printf("%s; %s, %d layers, %d text tokens\n", machine, b->geometry ? b->geometry : b->common.model,
           b->config.text.n_layers, b->n_text);
    if (!b->plan)
        printf("gemm %.1f GFLOP/s, reading %.1f GB/s; vision %.2f ms, project %.2f ms\n",
               1e-9 * b->gemm_flops, 1e-9 * b->read_bytes, middle(&b->tower.vision),
               middle(&b->tower.project));
    printf("%-10s %7s %7s %9s %9s %9s %9s", "method", "budget", "visual", "tokens_in", "GFLOP", "selGFLOP",
           "KV MB");
    if (!b->plan)
        printf(" %9s %9s %9s %8s %7s %9s %9s %8s %8s", "vision", "prefill", "select", "rank", "share", "ttft",
               "decode", "speedup", "ceiling");
    putchar('\n');
    for (int i = 0; i < b->n_rows; i++)
        print_row(b, &b->rows[i]);
    return OK;
}
