/* Features of the pictures at work, see shown_cache.h. */
#include "harness/shown_cache.h"

#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/memory.h"

enum slot_state { SLOT_EMPTY, SLOT_COMPUTING, SLOT_READY };

struct shown_slot {
    char *key; /* owned */
    struct shown shown;
    enum slot_state state;
    unsigned used; /* clock of the last use */
};

enum status shown_cache_open(struct shown_cache *cache, int n_slots, struct error *err)
{
    *cache = (struct shown_cache){.n_slots = n_slots};
    if (n_slots == 0)
        return OK;
    cache->slots = memory_zero((size_t)n_slots, sizeof *cache->slots);
    if (cache->slots == NULL)
        return memory_failed(err, "cache of features", (size_t)n_slots * sizeof *cache->slots);
    pthread_mutex_init(&cache->lock, NULL);
    pthread_cond_init(&cache->changed, NULL);
    return OK;
}

void shown_cache_close(struct shown_cache *cache)
{
    if (cache->slots == NULL)
        return;
    for (int i = 0; i < cache->n_slots; i++) {
        shown_release(&cache->slots[i].shown);
        free(cache->slots[i].key);
    }
    free(cache->slots);
    pthread_mutex_destroy(&cache->lock);
    pthread_cond_destroy(&cache->changed);
}

/* The slot of `key`, or one to compute it in. More slots than workers: one that nobody computes in is always
 * there. */
static struct shown_slot *cache_slot(struct shown_cache *cache, const char *key)
{
    struct shown_slot *oldest = NULL;
    for (int i = 0; i < cache->n_slots; i++) {
        struct shown_slot *slot = &cache->slots[i];
        if (slot->state != SLOT_EMPTY && strcmp(slot->key, key) == 0)
            return slot;
        if (slot->state == SLOT_COMPUTING)
            continue;
        if (oldest == NULL ||
            (oldest->state == SLOT_READY && (slot->state == SLOT_EMPTY || slot->used < oldest->used)))
            oldest = slot;
    }
    return oldest;
}

enum status shown_cache_get(struct shown *out, bool *computed, struct shown_cache *cache,
                            struct session *session, const struct vlm *vlm, const struct dataset *dataset,
                            int row, const struct cell *cell, const struct encode_options *options,
                            struct error *err)
{
    *computed = true;
    if (cache->n_slots == 0)
        return encode_shown(out, session, vlm, dataset, row, cell->arm->control, options, err);
    const char *path = dataset->samples[row].image;
    /* a method that works in the tower has features of its own; a replay one for each sample */
    bool in_tower = options->method->reducer->in_tower;
    enum control control = cell->arm->control;
    char *key;
    TRY(make_path(&key, err, "%d|%d|%s|%s|%lld", (int)options->mode, control == CONTROL_BLANK, path,
                  in_tower ? cell->arm->text : "", options->replay ? (long long)options->sample : -1LL));
    char *copy = memory_text(key);
    if (copy == NULL) {
        free(key);
        return memory_failed(err, "cache of features", strlen(path));
    }
    pthread_mutex_lock(&cache->lock);
    struct shown_slot *slot;
    while ((slot = cache_slot(cache, key))->state == SLOT_COMPUTING)
        pthread_cond_wait(&cache->changed, &cache->lock);
    slot->used = ++cache->clock;
    if (slot->state == SLOT_READY && strcmp(slot->key, key) == 0) {
        enum status status = shown_share(out, &slot->shown, err);
        *computed = false;
        pthread_mutex_unlock(&cache->lock);
        free(copy);
        free(key);
        return status;
    }
    free(key);
    shown_release(&slot->shown);
    free(slot->key);
    *slot = (struct shown_slot){.key = copy, .state = SLOT_COMPUTING, .used = cache->clock};
    pthread_mutex_unlock(&cache->lock);

    struct shown shown;
    enum status status = encode_shown(&shown, session, vlm, dataset, row, control, options, err);

    pthread_mutex_lock(&cache->lock);
    slot->state = status == OK ? SLOT_READY : SLOT_EMPTY;
    slot->shown = shown;
    if (status == OK)
        status = shown_share(out, &shown, err);
    pthread_cond_broadcast(&cache->changed);
    pthread_mutex_unlock(&cache->lock);
    return status;
}
