/* Decoder states held for prefills to come, see share.h. */
#include "share.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "run.h"

/* ---- paths ---------------------------------------------------------------------------------- */

static void path_add(struct sha256 *path, const void *data, size_t n_bytes)
{
    uint64_t n = n_bytes; /* so that no two lists run into each other */
    sha256_update(path, &n, sizeof n);
    if (n_bytes > 0)
        sha256_update(path, data, n_bytes);
}

void path_start(struct run *run)
{
    struct path *path = &run->reduction.path;
    const struct question *question = run->question;
    int n_prefix = 0;
    for (int i = 0; i < run->n_ids; i++)
        if (run->ids[i] == run->session->vlm->config.image_token)
            n_prefix = i + 1;
    path->followed = true;
    sha256_init(&path->prefix);
    for (int i = 0; i < question->n_images; i++)
        path_add(&path->prefix, &question->images[i]->serial, sizeof question->images[i]->serial);
    path_add(&path->prefix, run->ids, (size_t)n_prefix * sizeof *run->ids);
    path->all = path->prefix;
    path_add(&path->all, run->ids + n_prefix, (size_t)(run->n_ids - n_prefix) * sizeof *run->ids);
}

void path_cut(struct path *path, const struct selection *selection, const struct choice *choice, int layer)
{
    if (!path->followed)
        return;
    const int flags[] = {layer, selection->has_own, selection->in_place, selection->keep_class};
    size_t n_recycled = (size_t)selection->n_recycled, n_clusters = (size_t)selection->n_clusters;
    const struct {
        const void *data;
        size_t n_bytes;
    } parts[] = {{flags, sizeof flags},
                 {choice->kept, (size_t)selection->n_kept * sizeof *choice->kept},
                 {choice->recycled, n_recycled * sizeof *choice->recycled},
                 {choice->group, n_recycled * sizeof *choice->group},
                 {choice->weight, n_recycled * sizeof *choice->weight},
                 {choice->centres, n_clusters * sizeof *choice->centres},
                 {choice->own, selection->has_own ? n_clusters * sizeof *choice->own : 0}};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        path_add(&path->all, parts[i].data, parts[i].n_bytes);
        if (layer == LAYER_BEFORE)
            path_add(&path->prefix, parts[i].data, parts[i].n_bytes);
    }
}

/* Rows before the question's own text; 0 where that would be all or nothing. */
static int prefix_rows(const struct run *run)
{
    const struct sequence *sequence = &run->reduction.sequence;
    return sequence->n_visual > 0 && sequence->text_start < sequence->n ? sequence->text_start : 0;
}

/* Position ids of the first n rows belong to a path where they are not the rows' places. */
static void add_positions(struct sha256 *path, const struct token *tokens, int n)
{
    bool own = false;
    for (int i = 0; i < n; i++)
        own = own || tokens[i].position != i;
    for (int i = 0; i < n && own; i++)
        sha256_update(path, &tokens[i].position, sizeof tokens[i].position);
}

void path_segment(struct run *run)
{
    const struct sequence *sequence = &run->reduction.sequence;
    if (!run->original_positions)
        return;
    add_positions(&run->reduction.path.all, sequence->tokens, sequence->n);
    add_positions(&run->reduction.path.prefix, sequence->tokens, prefix_rows(run));
}

static void path_name(char out[PATH_SIZE], const struct sha256 *path)
{
    struct sha256 sha = *path;
    sha256_final(&sha, out);
}

/* ---- what is held --------------------------------------------------------------------------- */

static struct kv_page **pages_of(const struct held *held, int layer)
{
    return held->pages + (size_t)(layer - held->first) * (size_t)kv_pages(held->n);
}

static void held_free(struct share *share, struct session *s, struct held *held)
{
    for (int l = held->first; l <= held->last; l++)
        kv_drop(&s->kv, pages_of(held, l), held->n);
    s->vlm->ops->release(held->x); /* q and lse lie behind it */
    share->n_bytes -= held->n_bytes;
    free(held->pages);
    free(held);
}

void session_forget(struct session *s, unsigned share)
{
    for (struct held **at = &s->share.states, *held; (held = *at);) {
        if (share & (held->prefix ? SHARE_QUESTIONS : SHARE_METHODS)) {
            *at = held->next;
            held_free(&s->share, s, held);
        } else {
            at = &held->next;
        }
    }
}

void session_share(struct session *s, size_t n_bytes)
{
    s->share.limit = n_bytes;
    if (n_bytes == 0)
        session_forget(s, SHARE_METHODS | SHARE_QUESTIONS);
}

/* Lets go of what was used longest ago until there is room for n_bytes more. */
static void make_room(struct share *share, struct session *s, size_t n_bytes)
{
    while (share->states &&
           share->n_bytes + (size_t)s->kv.n_held * s->kv.page_bytes + n_bytes > share->limit) {
        struct held **oldest = &share->states;
        for (struct held **at = &share->states; *at; at = &(*at)->next)
            if ((*at)->used < (*oldest)->used)
                oldest = at;
        struct held *held = *oldest;
        *oldest = held->next;
        held_free(share, s, held);
    }
}

/* The deepest state of this path with n rows whose layers begin with `first` and end by `last`. */
static struct held *held_find(struct share *share, const char *path, int n, int first, int last)
{
    struct held *best = NULL;
    for (struct held *held = share->states; held; held = held->next)
        if (held->n == n && held->first == first && held->last <= last &&
            (best == NULL || held->last > best->last) && strcmp(held->path, path) == 0)
            best = held;
    if (best)
        best->used = ++share->clock;
    return best;
}

/* Rows 0 … n − 1 of the state behind layer `last`; `rows`: those of work.x, q and lse too. */
static void hold(struct session *s, const char *path, bool prefix, int n, int n_all, int first, int last,
                 bool rows)
{
    const struct vlm_config *config = &s->vlm->config;
    struct share *share = &s->share;
    size_t n_rows = (size_t)n, d = (size_t)config->text.hidden, n_heads = (size_t)config->text.n_heads,
           heads = n_heads * (size_t)config->text.head_dim;
    size_t n_pages = (size_t)(last - first + 1) * (size_t)kv_pages(n);
    size_t n_bytes = rows ? n_rows * (d + heads + n_heads) * sizeof(float) : 0;
    size_t most = n_bytes + n_pages * s->kv.page_bytes;
    if (most > share->limit)
        return;
    make_room(share, s, most);
    struct held *held = memory_zero(1, sizeof *held);
    struct kv_page **pages = memory_alloc(n_pages, sizeof *pages);
    float *block = rows ? s->vlm->ops->alloc(n_bytes) : NULL;
    if (held == NULL || pages == NULL || (rows && block == NULL)) { /* then it is computed again */
        free(held);
        free(pages);
        s->vlm->ops->release(block);
        return;
    }
    *held = (struct held){.next = share->states,
                          .prefix = prefix,
                          .first = first,
                          .last = last,
                          .n = n,
                          .used = ++share->clock,
                          .pages = pages,
                          .n_bytes = n_bytes};
    memcpy(held->path, path, PATH_SIZE);
    for (int l = first; l <= last; l++)
        kv_hold(pages_of(held, l), &s->kv, l, n);
    if (rows) {
        const struct ops *ops = s->vlm->ops;
        held->x = block;
        held->q = held->x + n_rows * d;
        held->lse = held->q + n_rows * heads;
        ops->copy(&s->compute, held->x, s->work.x, n_rows * d * sizeof(float));
        ops->copy(&s->compute, held->q, s->work.q, n_rows * heads * sizeof(float));
        for (size_t h = 0; h < n_heads; h++)
            ops->copy(&s->compute, held->lse + h * n_rows, s->work.lse + h * (size_t)n_all,
                      n_rows * sizeof(float));
    }
    share->n_bytes += n_bytes;
    share->states = held;
}

void share_keep(struct run *run, const struct resume *resume, int first, int last, bool watched)
{
    struct session *s = run->session;
    const struct path *path = &run->reduction.path;
    int n = run->reduction.sequence.n, n_prefix = prefix_rows(run);
    char name[PATH_SIZE];
    if ((run->question->share & SHARE_METHODS) && watched && resume->all <= last) {
        path_name(name, &path->all);
        hold(s, name, false, n, n, first, last, true);
    }
    if ((run->question->share & SHARE_QUESTIONS) && first == 0 && n_prefix > 0 && resume->prefix <= last) {
        path_name(name, &path->prefix);
        hold(s, name, true, n_prefix, n, first, last, watched);
    }
}

/* ---- taking up ------------------------------------------------------------------------------ */

static enum status adopt(struct run *run, const struct held *held, int from, int to, struct error *err)
{
    struct session *s = run->session;
    int n_room = run->reduction.sequence.n + run->question->max_new_tokens;
    for (int l = from; l <= to; l++)
        TRY(kv_adopt(&s->kv, &s->compute, l, pages_of(held, l), held->n, n_room, err));
    return OK;
}

static void swap_rows(struct workspace *w)
{
    float *x = w->x;
    w->x = w->next;
    w->next = x;
}

enum status share_resume(struct resume *out, struct run *run, int first, int last, bool watched,
                         struct error *err)
{
    struct session *s = run->session;
    struct workspace *w = &s->work;
    const struct ops *ops = s->vlm->ops;
    const struct vlm_config *config = &s->vlm->config;
    const struct path *path = &run->reduction.path;
    int n = run->reduction.sequence.n, n_prefix = first == 0 ? prefix_rows(run) : 0;
    size_t row = (size_t)config->text.hidden * sizeof(float), skip = 0;
    char name[PATH_SIZE];
    *out = (struct resume){.all = first, .prefix = first, .n_prefix = n_prefix};

    path_name(name, &path->all);
    const struct held *all = held_find(&s->share, name, n, first, last);
    if (all)
        out->all = out->prefix = all->last + 1;
    if (n_prefix > 0 && out->all <= last) {
        path_name(name, &path->prefix);
        struct held *prefix = held_find(&s->share, name, n_prefix, first, last);
        if (prefix && prefix->last >= out->prefix && (prefix->x || !watched)) {
            out->from = prefix;
            out->prefix = prefix->last + 1;
            skip = (size_t)n_prefix * (size_t)config->text.hidden;
        }
    }
    if (all)
        TRY(adopt(run, all, first, all->last, err));
    if (out->from)
        TRY(adopt(run, out->from, out->all, out->from->last, err));

    /* the rows that go on: all of them, or the question's own */
    size_t n_bytes = ((size_t)n - (skip ? (size_t)n_prefix : 0)) * row;
    if (all || skip) {
        ops->copy(&s->compute, w->next, (all ? all->x : w->x) + skip, n_bytes);
        swap_rows(w);
    }
    if (all && all->last == last) {
        size_t heads = (size_t)config->text.n_heads * (size_t)config->text.head_dim;
        ops->copy(&s->compute, w->q, all->q, (size_t)n * heads * sizeof(float));
        ops->copy(&s->compute, w->lse, all->lse, (size_t)config->text.n_heads * (size_t)n * sizeof(float));
    }
    return OK;
}

void share_join(struct run *run, const struct resume *resume, bool scores)
{
    struct session *s = run->session;
    struct workspace *w = &s->work;
    const struct ops *ops = s->vlm->ops;
    const struct held *from = resume->from;
    size_t n_prefix = (size_t)resume->n_prefix, n = (size_t)run->reduction.sequence.n, n_own = n - n_prefix,
           d = (size_t)s->vlm->config.text.hidden, n_heads = (size_t)s->vlm->config.text.n_heads,
           heads = n_heads * (size_t)s->vlm->config.text.head_dim;
    ops->copy(&s->compute, w->next, from->x, n_prefix * d * sizeof(float));
    ops->copy(&s->compute, w->next + n_prefix * d, w->x, n_own * d * sizeof(float));
    swap_rows(w);
    if (!scores)
        return;
    ops->copy(&s->compute, w->mix, w->q, n_own * heads * sizeof(float));
    ops->copy(&s->compute, w->q, from->q, n_prefix * heads * sizeof(float));
    ops->copy(&s->compute, w->q + n_prefix * heads, w->mix, n_own * heads * sizeof(float));
    ops->copy(&s->compute, w->scratch, w->lse, n_heads * n_own * sizeof(float));
    for (size_t h = 0; h < n_heads; h++) {
        ops->copy(&s->compute, w->lse + h * n, from->lse + h * n_prefix, n_prefix * sizeof(float));
        ops->copy(&s->compute, w->lse + h * n + n_prefix, w->scratch + h * n_own, n_own * sizeof(float));
    }
}
