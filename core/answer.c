/* What session_ask gives back: room for it, what the method did and cost, KV bytes; and its end. */
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "run.h"

enum status answer_new(struct answer *out, struct session *s, const struct question *question,
                       struct error *err)
{
    const struct vlm_config *config = &s->vlm->config;
    memset(out, 0, sizeof *out);
    struct ledger *ledger = &out->ledger;
    out->n_turns = question->n_turns;
    out->turns = memory_zero((size_t)question->n_turns, sizeof *out->turns);
    out->first_logits = memory_alloc((size_t)config->text.vocabulary, sizeof(float));
    ledger->layers = memory_zero((size_t)config->text.n_layers, sizeof *ledger->layers);
    bool room = out->turns && out->first_logits && ledger->layers;
    for (int t = 0; room && t < question->n_turns; t++)
        room = (out->turns[t].ids = memory_alloc((size_t)question->max_new_tokens, sizeof(int32_t))) != NULL;
    if (!room)
        return memory_failed(err, "answer", (size_t)config->text.vocabulary * sizeof(float));
    ledger->n_layers = config->text.n_layers;
    ledger->hidden = config->text.hidden;
    ledger->intermediate = config->text.intermediate;
    ledger->n_heads = config->text.n_heads;
    ledger->n_kv_heads = config->text.n_kv_heads;
    ledger->head_dim = config->text.head_dim;
    ledger->vocabulary = config->text.vocabulary;
    ledger->kv_element_bytes = (int)sizeof(float);
    for (int l = 0; l < ledger->n_layers; l++)
        ledger->layers[l].raters = ledger->layers[l].rank = -1;
    for (int i = 0; i < question->n_images; i++) {
        const struct features *f = question->images[i];
        ledger->macs[STAGE_VISION] += f->macs_vision;
        ledger->macs[STAGE_PROJECT] += f->macs_project;
        ledger->macs_counted[STAGE_VISION] += f->counted_vision;
        ledger->macs_counted[STAGE_PROJECT] += f->counted_project;
        ledger->preprocess_ms += f->preprocess_ms;
        ledger->vision_ms += f->vision_ms;
        ledger->project_ms += f->project_ms;
        ledger->macs[STAGE_SELECT] += f->macs_select;
        ledger->macs_counted[STAGE_SELECT] += f->counted_select;
        ledger->select_ms += f->select_ms;
    }
    return OK;
}

enum status answer_take(struct answer *out, struct run *run, struct error *err)
{
    struct reduction *r = &run->reduction;
    struct ledger *ledger = &out->ledger;
    ledger->macs[STAGE_SELECT] += r->macs;
    ledger->macs_counted[STAGE_SELECT] += r->macs_counted;
    ledger->select_ms += r->ms;
    ledger->rank_ms += r->rank_ms;
    ledger->marked = r->marked;
    if (!r->want_records)
        return OK;
    int first_id = 0, first_cluster = 0;
    for (int i = 0; i < run->question->n_images; i++) {
        const struct features *f = run->question->images[i];
        int from = out->n_records;
        TRY(records_append(&out->records, &out->n_records, f->records, f->n_records, first_id, first_cluster,
                           err));
        for (; from < out->n_records; from++)
            out->records[from].image = i;
        first_id += f->n_ids;
        first_cluster += f->n_clusters;
    }
    return records_append(&out->records, &out->n_records, r->records, r->n_records, 0, 0, err);
}

void answer_free(struct answer *answer)
{
    for (int t = 0; answer->turns && t < answer->n_turns; t++) {
        free(answer->turns[t].prompt_ids);
        free(answer->turns[t].ids);
        free(answer->turns[t].text);
    }
    cut_records_free(answer->records, answer->n_records);
    for (int i = 0; i < answer->n_attention; i++)
        free(answer->attention[i].data);
    free(answer->turns);
    free(answer->attention);
    free(answer->first_logits);
    free(answer->ledger.layers);
    memset(answer, 0, sizeof *answer);
}

static uint64_t pages_bytes(int length, uint64_t token_bytes)
{
    return (uint64_t)((length + KV_PAGE - 1) / KV_PAGE) * KV_PAGE * token_bytes;
}

void kv_count(struct run *run)
{
    struct ledger *ledger = &run->answer->ledger;
    uint64_t token =
        2u * (uint64_t)ledger->n_kv_heads * (uint64_t)ledger->head_dim * (uint64_t)ledger->kv_element_bytes;
    ledger->kv_bytes_live = ledger->kv_bytes_alloc = ledger->kv_bytes_reserved = ledger->kv_visual_bytes = 0;
    for (int l = 0; l < ledger->n_layers; l++) {
        int length = run->session->kv.layers[l].length;
        uint64_t pages = pages_bytes(length, token);
        ledger->kv_bytes_live += (uint64_t)length * token;
        ledger->kv_bytes_alloc += pages;
        ledger->kv_bytes_reserved += pages_bytes(length + run->question->max_new_tokens, token) - pages;
        ledger->kv_visual_bytes += (uint64_t)ledger->layers[l].kv_visual * token;
    }
}

void kv_count_end(struct run *run)
{
    struct ledger *ledger = &run->answer->ledger;
    uint64_t token =
        2u * (uint64_t)ledger->n_kv_heads * (uint64_t)ledger->head_dim * (uint64_t)ledger->kv_element_bytes;
    for (int l = 0; l < ledger->n_layers; l++)
        ledger->kv_bytes_end += (uint64_t)run->session->kv.layers[l].length * token;
}
