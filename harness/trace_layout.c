/* The groups of a trace, packed; see trace_layout.h and, for what they mean, trace.h. */
#include "harness/trace_layout.h"

#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free */

#include "core/memory.h" /* memory_* */
#include "core/sha256.h" /* names of pictures */

static const char units[] =
    "kept, recycled, centres, ids_in: visual-token numbers, -1-c for cluster c; "
    "cluster_of: places in centres; weight, own: factors in a cluster's sum; group_of: "
    "per patch the place handed on, -1 dropped; "
    "raters: places in the text after the last image; "
    "score, attention: mean probability; visual_count: tokens entering each layer";

struct pack *layout_cell(const char *method, const char *params, const char *model)
{
    struct pack *pack = pack_new();
    pack_attribute(pack, PACK_ROOT, "method", method);
    pack_attribute(pack, PACK_ROOT, "params", params);
    pack_attribute(pack, PACK_ROOT, "model", model);
    pack_attribute(pack, PACK_ROOT, "units", units);
    pack_group(pack, PACK_ROOT, "samples");
    if (pack_good(pack))
        return pack;
    pack_free(pack);
    return NULL;
}

/* Places at a cut to token numbers. */
static bool pack_tokens(struct pack *pack, int group, const char *name, const struct cut_record *cut,
                        const int32_t *places, int n)
{
    int32_t *ids = memory_alloc((size_t)n, sizeof *ids);
    if (ids == NULL)
        return false;
    for (int i = 0; i < n; i++)
        ids[i] = cut->ids_in[places[i]];
    pack_ints(pack, group, name, ids, n);
    free(ids);
    return true;
}

static bool pack_cut(struct pack *pack, int cuts, int number, const struct cut_record *cut, bool indices_only)
{
    static const int32_t every_row = -1;
    char name[16];
    snprintf(name, sizeof name, "%d", number);
    int group = pack_group(pack, cuts, name);
    int32_t rank = cut->rank;
    bool all = cut->n_raters < 0;
    pack_int(pack, group, "layer", cut->layer);
    pack_attribute(pack, group, "site", site_names[cut->site]);
    pack_int(pack, group, "image", cut->image);
    pack_int(pack, group, "turn", cut->turn);
    pack_int(pack, group, "in_place", cut->in_place);
    pack_int(pack, group, "keep_class", cut->keep_class);
    pack_int(pack, group, "middle", cut->tower.middle);
    pack_int(pack, group, "proportional", cut->tower.proportional);
    pack_int(pack, group, "raster", cut->tower.raster);
    pack_ints(pack, group, "ids_in", cut->ids_in, cut->n_in);
    bool ok = pack_tokens(pack, group, "kept", cut, cut->kept, cut->n_kept) &&
              pack_tokens(pack, group, "recycled", cut, cut->recycled, cut->n_recycled) &&
              pack_tokens(pack, group, "centres", cut, cut->centres, cut->n_clusters);
    pack_ints(pack, group, "cluster_of", cut->cluster_of, cut->n_recycled);
    pack_ints(pack, group, "raters", all ? &every_row : cut->raters, all ? 1 : cut->n_raters);
    pack_ints(pack, group, "rank", &rank, 1);
    if (cut->n_recycled > 0)
        pack_floats(pack, group, "weight", cut->weight, cut->n_recycled);
    if (cut->own)
        pack_floats(pack, group, "own", cut->own, cut->n_clusters);
    if (cut->n_group_of > 0)
        pack_ints(pack, group, "group_of", cut->group_of, cut->n_group_of);
    if (cut->score && !indices_only)
        pack_floats(pack, group, "score", cut->score, cut->n_in);
    return ok;
}

/* A layer asked for twice is written once. */
static void pack_attention(struct pack *pack, const struct answer *answer)
{
    int group = pack_group(pack, PACK_ROOT, "attention");
    for (int i = 0; i < answer->n_attention; i++) {
        const struct attention_record *record = &answer->attention[i];
        bool again = false;
        for (int j = 0; j < i; j++)
            again = again || answer->attention[j].layer == record->layer;
        char name[16];
        snprintf(name, sizeof name, "%d", record->layer);
        const hsize_t shape[2] = {(hsize_t)record->rows, (hsize_t)record->cols};
        if (!again)
            pack_array(pack, group, name, PACK_F32, record->data, 2, shape);
    }
}

static bool pack_counts(struct pack *pack, const struct ledger *ledger)
{
    int32_t *counts = memory_alloc((size_t)ledger->n_layers, sizeof *counts);
    if (counts == NULL)
        return false;
    for (int l = 0; l < ledger->n_layers; l++)
        counts[l] = ledger->layers[l].visual_in;
    pack_ints(pack, PACK_ROOT, "visual_count", counts, ledger->n_layers);
    free(counts);
    return true;
}

struct pack *layout_sample(const struct trace_sample *sample)
{
    const struct answer *answer = sample->result;
    int32_t grid[LIMIT_IMAGES][2];
    int n_grids = sample->grid_rows > 0 ? sample->n_grids : 0;
    for (int i = 0; i < n_grids; i++)
        grid[i][0] = sample->grid_rows, grid[i][1] = sample->grid_cols;
    const hsize_t grid_shape[2] = {(hsize_t)n_grids, 2};
    struct pack *pack = pack_new();
    pack_text(pack, PACK_ROOT, "question", sample->question);
    pack_text(pack, PACK_ROOT, "answer", sample->answer);
    pack_array(pack, PACK_ROOT, "grid", PACK_I32, grid, 2, grid_shape);
    pack_int(pack, PACK_ROOT, "visual", answer->ledger.n_visual);
    bool ok = pack_counts(pack, &answer->ledger);
    int cuts = pack_group(pack, PACK_ROOT, "cuts");
    for (int i = 0; i < answer->n_records; i++)
        ok = ok && pack_cut(pack, cuts, i, &answer->records[i], sample->cuts_only);
    if (answer->n_attention > 0 && !sample->cuts_only)
        pack_attention(pack, answer);
    if (ok && pack_good(pack))
        return pack;
    pack_free(pack);
    return NULL;
}

void layout_picture_name(char out[PICTURE_NAME_SIZE], const struct image *image)
{
    struct sha256 sha;
    const int32_t size[2] = {image->height, image->width};
    sha256_init(&sha);
    sha256_update(&sha, size, sizeof size);
    sha256_update(&sha, image->rgb, (size_t)image->height * (size_t)image->width * 3);
    char hex[65];
    sha256_final(&sha, hex);
    snprintf(out, PICTURE_NAME_SIZE, "%.32s", hex);
}

struct pack *layout_picture(const struct image *image, const char *name)
{
    const hsize_t shape[3] = {(hsize_t)image->height, (hsize_t)image->width, 3};
    struct pack *pack = pack_new();
    pack_array(pack, PACK_ROOT, name, PACK_U8, image->rgb, 3, shape);
    if (pack_good(pack))
        return pack;
    pack_free(pack);
    return NULL;
}
