/* Acting on a selection: the successor of a sequence and its rows.
 *
 *   text and kept tokens in order; clusters at the end of the last visual span, or in their centres' places
 *
 * A method may hand its kept tokens on in another order (ToMe): the j-th of them then stands where the j-th
 * in sequence order stood.
 */
#include <stdlib.h>
#include <string.h>

#include "cut.h"
#include "memory.h"

int32_t *index_at(const struct session *s, int which)
{
    size_t n = (size_t)s->work.n_rows;
    if (which < N_INDEX_SHORT)
        return s->work.index + (size_t)which * n;
    return s->work.index + ((size_t)N_INDEX_SHORT + (size_t)(which - N_INDEX_SHORT) * INDEX_ROOM) * n;
}

/* How many of list [n] were not seen before. */
static int count_new(const int32_t *list, int n, bool *seen)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        count += !seen[list[i]];
        seen[list[i]] = true;
    }
    return count;
}

enum status choice_download(struct choice *out, struct session *s, const struct selection *selection,
                            const int32_t *visual, int n_visual, struct error *err)
{
    size_t n_kept = (size_t)selection->n_kept, n_recycled = (size_t)selection->n_recycled,
           n_clusters = (size_t)selection->n_clusters;
    size_t n = n_kept + 3 * n_recycled + 2 * n_clusters;
    *out = (struct choice){.visual = visual, .block = memory_alloc(n + 1, sizeof *out->block)};
    bool *seen = memory_zero((size_t)n_visual + 1, sizeof *seen);
    if (out->block == NULL || seen == NULL) {
        free(seen);
        choice_free(out);
        return memory_failed(err, "selection", n * sizeof *out->block);
    }
    out->kept = out->block;
    out->recycled = out->kept + n_kept;
    out->group = out->recycled + n_recycled;
    out->centres = out->group + n_recycled;
    out->weight = (float *)(out->centres + n_clusters);
    out->own = out->weight + n_recycled;
    const struct ops *ops = s->vlm->ops;
    ops->download(&s->compute, out->kept, selection->kept, n_kept * sizeof(int32_t));
    ops->download(&s->compute, out->recycled, selection->recycled, n_recycled * sizeof(int32_t));
    ops->download(&s->compute, out->group, selection->group, n_recycled * sizeof(int32_t));
    ops->download(&s->compute, out->weight, selection->weight, n_recycled * sizeof(float));
    ops->download(&s->compute, out->centres, selection->centres, n_clusters * sizeof(int32_t));
    if (selection->has_own)
        ops->download(&s->compute, out->own, selection->own, n_clusters * sizeof(float));
    out->n_sources = out->n_into = count_new(out->recycled, selection->n_recycled, seen);
    if (selection->has_own)
        out->n_into += count_new(out->centres, selection->n_clusters, seen);
    free(seen);
    return OK;
}

void choice_free(struct choice *choice)
{
    free(choice->block);
    choice->block = NULL;
}

static int compare_int(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* What the move is made of, on the host. */
struct move {
    int32_t *source;  /* [n_out] old row of each new one; of a cluster: its centre's */
    int32_t *slot;    /* [n_kept] places of the kept in sequence order */
    int32_t *cluster; /* [n_visual] cluster whose centre a place is, −1 */
    int32_t *row_of;  /* [n_clusters] new row of each cluster */
    int32_t *size;    /* [n_clusters] patches in all that go into it, its centre's own share aside */
    int32_t *cell;    /* [n_clusters] first cell among them, −1 */
    float *own;       /* [n_out] */
    int n_out, n_before /* new rows before the clusters that follow */;
    void *block;
};

static enum status move_new(struct move *out, int n_old, int n_clusters, int n_visual, struct error *err)
{
    size_t n_out = (size_t)n_old + (size_t)n_clusters;
    size_t n = 2 * n_out + 2 * (size_t)n_visual + 3 * (size_t)n_clusters;
    *out = (struct move){.block = memory_alloc(n + 1, sizeof(int32_t))};
    if (out->block == NULL)
        return memory_failed(err, "kept rows", n * sizeof(int32_t));
    out->source = out->block;
    out->slot = out->source + n_out;
    out->cluster = out->slot + n_visual;
    out->row_of = out->cluster + n_visual;
    out->size = out->row_of + n_clusters;
    out->cell = out->size + n_clusters;
    out->own = (float *)(out->cell + n_clusters);
    return OK;
}

static void emit(struct move *move, struct sequence *to, struct token token, int old_row)
{
    sequence_add(to, token);
    move->own[move->n_out] = 1;
    move->source[move->n_out++] = old_row;
}

/* What goes into each cluster. */
static void members_count(struct move *move, const struct reduction *r, const struct selection *selection,
                          const struct choice *choice)
{
    for (int g = 0; g < selection->n_clusters; g++) {
        move->size[g] = 0;
        move->cell[g] = -1;
    }
    for (int i = 0; i < selection->n_recycled; i++) {
        const struct token *member = &r->sequence.tokens[choice->visual[choice->recycled[i]]];
        int g = choice->group[i];
        move->size[g] += member->size;
        if (member->cell >= 0 && (move->cell[g] < 0 || member->cell < move->cell[g]))
            move->cell[g] = member->cell;
    }
}

/* The token that cluster g is: its centre, with the size of all that go into it. */
static struct token cluster_token(const struct move *move, const struct reduction *r,
                                  const struct selection *selection, const struct choice *choice, int g,
                                  struct sequence *to)
{
    struct token token = r->sequence.tokens[choice->visual[choice->centres[g]]];
    if (!selection->has_own || choice->own[g] == 0)
        token.size = 0; /* the centre is one of the recycled */
    token.id = -1 - to->n_clusters++;
    token.size += move->size[g];
    if (selection->in_place && move->cell[g] >= 0 && (token.cell < 0 || move->cell[g] < token.cell))
        token.cell = move->cell[g];
    return token;
}

static void emit_clusters(struct move *move, const struct reduction *r, const struct selection *selection,
                          const struct choice *choice, struct sequence *to)
{
    move->n_before = move->n_out;
    if (selection->in_place)
        return;
    for (int g = 0; g < selection->n_clusters; g++) {
        move->row_of[g] = move->n_out;
        emit(move, to, cluster_token(move, r, selection, choice, g, to), choice->visual[choice->centres[g]]);
        if (selection->has_own)
            move->own[move->n_out - 1] = choice->own[g];
    }
}

/* The successor's tokens, and where each row comes from. */
static void tokens_move(struct move *move, struct reduction *r, const struct selection *selection,
                        const struct choice *choice)
{
    const struct sequence *old = &r->sequence;
    struct sequence *to = &r->spare;
    to->n = to->n_visual = to->text_start = 0;
    to->n_clusters = old->n_clusters;
    memcpy(move->slot, choice->kept, (size_t)selection->n_kept * sizeof *move->slot);
    qsort(move->slot, (size_t)selection->n_kept, sizeof *move->slot, compare_int);
    for (int j = 0; j < old->n_visual; j++)
        move->cluster[j] = -1;
    for (int g = 0; selection->in_place && g < selection->n_clusters; g++)
        move->cluster[choice->centres[g]] = g;

    members_count(move, r, selection, choice);
    int place = 0, next = 0;
    for (int i = 0; i <= old->n; i++) {
        if (i == old->text_start) /* the last visual span ends here */
            emit_clusters(move, r, selection, choice, to);
        if (i == old->n)
            break;
        struct token token = old->tokens[i];
        if (token.kind == TOKEN_TEXT) {
            if (selection->keep_class && i == 0) {
                token.kind = TOKEN_VISUAL;
                token.id = -1 - to->n_clusters++;
            }
            emit(move, to, token, i);
            continue;
        }
        bool stays = next < selection->n_kept && move->slot[next] == place++;
        if (!stays)
            continue;
        int kept = choice->kept[next++], g = move->cluster[kept];
        if (g < 0) {
            emit(move, to, old->tokens[choice->visual[kept]], choice->visual[kept]);
            continue;
        }
        move->row_of[g] = move->n_out;
        emit(move, to, cluster_token(move, r, selection, choice, g, to), choice->visual[kept]);
        move->own[move->n_out - 1] = choice->own[g];
    }
    ENSURE(next == selection->n_kept);
    to->text_start = move->n_before + (selection->in_place ? 0 : selection->n_clusters);
}

/* Where each patch of the picture is now, by place in visual order. */
static void groups_move(struct reduction *r, const struct selection *selection, const struct choice *choice)
{
    int n_visual = r->sequence.n_visual, shift = selection->keep_class ? 1 : 0;
    int32_t *to = memory_alloc((size_t)n_visual + 1, sizeof *to);
    ENSURE(to); /* a few kilobytes */
    for (int j = 0; j < n_visual; j++)
        to[j] = -1;
    for (int j = 0; j < selection->n_kept; j++)
        to[choice->kept[j]] = j + shift;
    for (int g = 0; !selection->in_place && g < selection->n_clusters; g++)
        to[choice->centres[g]] = selection->n_kept + g + shift;
    for (int i = 0; i < selection->n_recycled; i++)
        if (to[choice->recycled[i]] < 0)
            to[choice->recycled[i]] = to[choice->centres[choice->group[i]]];
    for (int p = 0; p < r->n_group_of; p++)
        if (r->group_of[p] >= 0)
            r->group_of[p] = to[r->group_of[p]];
    free(to);
}

/* Sums of the clusters; groups are the rows from `first` on. */
static void clusters_merge(struct reduction *r, const struct selection *selection,
                           const struct choice *choice, const struct move *move, int32_t *host, int d)
{
    struct session *s = r->session;
    struct workspace *w = &s->work;
    const struct ops *ops = s->vlm->ops;
    size_t n = (size_t)selection->n_recycled;
    int first = selection->has_own ? 0 : move->n_before,
        n_groups = selection->has_own ? move->n_out : selection->n_clusters;
    int32_t *index = index_at(s, INDEX_ROWS), *group = index_at(s, INDEX_GROUP);
    for (size_t i = 0; i < n; i++)
        host[i] = choice->visual[choice->recycled[i]];
    ops->upload(&s->compute, index, host, n * sizeof *host);
    for (size_t i = 0; i < n; i++)
        host[i] = move->row_of[choice->group[i]] - first;
    ops->upload(&s->compute, group, host, n * sizeof *host);
    if (selection->has_own)
        ops->upload(&s->compute, w->own, move->own, (size_t)move->n_out * sizeof(float));
    ops->merge_rows(&s->compute, w->next + (size_t)first * (size_t)d, selection->has_own ? w->own : NULL,
                    w->x, index, group, selection->weight, selection->n_recycled, choice->n_sources, n_groups,
                    d);
}

enum status rows_move(struct reduction *r, const struct selection *selection, const struct choice *choice,
                      int d, struct error *err)
{
    struct session *s = r->session;
    struct workspace *w = &s->work;
    const struct ops *ops = s->vlm->ops;
    struct move move;
    TRY(move_new(&move, r->sequence.n, selection->n_clusters, r->sequence.n_visual, err));
    size_t n_host = (size_t)selection->n_recycled + 1;
    int32_t *host = memory_alloc(n_host, sizeof *host), *device = index_at(s, INDEX_ROWS);
    if (host == NULL) {
        free(move.block);
        return memory_failed(err, "merged rows", n_host * sizeof *host);
    }
    ENSURE(selection->has_own || !selection->in_place);
    tokens_move(&move, r, selection, choice);
    if (r->group_of)
        groups_move(r, selection, choice);

    /* a cluster without a share of its centre is written by the merge alone */
    int n_skip = selection->has_own || selection->in_place ? 0 : selection->n_clusters;
    int behind = move.n_before + n_skip;
    ops->upload(&s->compute, device, move.source, (size_t)move.n_out * sizeof *device);
    ops->gather_rows(&s->compute, w->next, w->x, device, move.n_before, d);
    ops->gather_rows(&s->compute, w->next + (size_t)behind * (size_t)d, w->x, device + behind,
                     move.n_out - behind, d);
    if (r->keys_ready) { /* keys go with their rows; a cluster has none */
        int key = s->vlm->config.text.n_kv_heads * s->vlm->config.text.head_dim;
        r->keys_ready = selection->n_clusters == 0;
        ops->gather_rows(&s->compute, w->v, w->k, device, r->keys_ready ? move.n_out : 0, key);
        float *k = w->k;
        w->k = w->v;
        w->v = k;
        r->keys_macs = r->keys_ready ? (uint64_t)move.n_out * (uint64_t)d * (uint64_t)key : 0;
    }
    if (selection->n_clusters > 0 && selection->n_recycled > 0)
        clusters_merge(r, selection, choice, &move, host, d);
    free(host);
    free(move.block);

    float *x = w->x;
    w->x = w->next;
    w->next = x;
    struct sequence swap = r->sequence;
    r->sequence = r->spare;
    r->spare = swap;
    return OK;
}
