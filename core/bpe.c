/* Byte pair encoding, see bpe.h. The whole piece is one word, so merging is by a heap, O(n log n).
 * Source: huggingface/tokenizers, models/bpe (`merge_word`, `Word::merge_all`), restated. */
#include "bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "limits.h"
#include "utf8.h"

struct merge {
    int32_t pair[2]; /* the key in `ranks`: two ids, no padding */
    int32_t joined;
};

static enum status no_memory(struct error *err)
{
    return fail(err, NO_MACHINE, "no memory for a tokenizer's tables or its text");
}

enum status token_ids_add(struct token_ids *ids, int32_t id, struct error *err)
{
    if (ids->n >= LIMIT_PROMPT_TOKENS)
        return fail(err, BAD_INPUT, "the text has more than %d tokens", LIMIT_PROMPT_TOKENS);
    if (ids->n == ids->capacity) {
        size_t capacity = ids->capacity > 0 ? 2 * ids->capacity : 64;
        int32_t *grown = realloc(ids->values, capacity * sizeof *grown);
        if (grown == NULL)
            return no_memory(err);
        ids->values = grown;
        ids->capacity = capacity;
    }
    ids->values[ids->n++] = id;
    return OK;
}

static enum status read_vocabulary(struct bpe *out, const json_t *vocabulary, const char *name,
                                   struct error *err)
{
    if (!json_is_object(vocabulary) || json_object_size(vocabulary) == 0 ||
        json_object_size(vocabulary) > LIMIT_VOCABULARY)
        return fail(err, BAD_INPUT, "%s: model: expected \"vocab\", an object of 1 to %d pieces", name,
                    LIMIT_VOCABULARY);
    const char *piece;
    json_t *value;
    char shown[PRINTABLE_SIZE];
    size_t n_text = 0;
    int64_t highest = -1;
    json_object_foreach((json_t *)vocabulary, piece, value)
    {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= LIMIT_VOCABULARY)
            return fail(err, BAD_INPUT, "%s: vocab: \"%s\": expected an id of 0 to %d", name,
                        printable(shown, piece), LIMIT_VOCABULARY - 1);
        if (strlen(piece) > LIMIT_TOKEN_BYTES)
            return fail(err, BAD_INPUT, "%s: vocab: a piece of more than %d bytes: \"%s\"", name,
                        LIMIT_TOKEN_BYTES, printable(shown, piece));
        n_text += strlen(piece) + 1;
        highest = id > highest ? id : highest;
    }
    out->n_pieces = (int)highest + 1;
    out->pieces = calloc((size_t)out->n_pieces, sizeof *out->pieces);
    out->text = malloc(n_text);
    if (out->pieces == NULL || out->text == NULL || !map_init(&out->vocabulary, json_object_size(vocabulary)))
        return no_memory(err);
    char *at = out->text;
    json_object_foreach((json_t *)vocabulary, piece, value)
    {
        size_t n = strlen(piece);
        json_int_t id = json_integer_value(value);
        if (out->pieces[id] != NULL)
            return fail(err, BAD_INPUT, "%s: vocab: two pieces have the id %lld: \"%s\"", name, (long long)id,
                        printable(shown, piece));
        memcpy(at, piece, n + 1);
        out->pieces[id] = at;
        map_put(&out->vocabulary, at, n, (int32_t)id);
        at += n + 1;
    }
    return OK;
}

/* The two sides of a merge, "a b" or ["a", "b"], and the bytes of each. */
static bool split_merge(const char *sides[2], size_t n[2], const json_t *merge)
{
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        for (size_t i = 0; i < 2; i++) {
            sides[i] = json_string_value(json_array_get(merge, i));
            if (sides[i] == NULL)
                return false;
            n[i] = strlen(sides[i]);
        }
        return true;
    }
    const char *text = json_string_value(merge);
    const char *blank = text != NULL ? strchr(text, ' ') : NULL;
    if (blank == NULL || strchr(blank + 1, ' ') != NULL)
        return false;
    sides[0] = text;
    n[0] = (size_t)(blank - text);
    sides[1] = blank + 1;
    n[1] = strlen(blank + 1);
    return true;
}

static enum status read_merges(struct bpe *out, const json_t *merges, const char *name, struct error *err)
{
    size_t n_merges = json_array_size(merges);
    if (!json_is_array(merges) || n_merges > 4 * (size_t)LIMIT_VOCABULARY)
        return fail(err, BAD_INPUT, "%s: model: expected \"merges\", a list of at most %d", name,
                    4 * LIMIT_VOCABULARY);
    out->merges = calloc(n_merges + 1, sizeof *out->merges);
    if (out->merges == NULL || !map_init(&out->ranks, n_merges))
        return no_memory(err);
    int32_t rank = 0;
    for (size_t i = 0; i < n_merges; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *sides[2];
        size_t n[2];
        char joined[2 * LIMIT_TOKEN_BYTES];
        if (json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0)
            continue; /* a comment, taken over from merges.txt */
        if (!split_merge(sides, n, merge))
            return fail(err, BAD_INPUT, "%s: merges: number %zu is neither \"a b\" nor [\"a\", \"b\"]", name,
                        i);
        struct merge *m = &out->merges[rank];
        m->pair[0] = map_get(&out->vocabulary, sides[0], n[0]);
        m->pair[1] = map_get(&out->vocabulary, sides[1], n[1]);
        m->joined = -1;
        if (m->pair[0] >= 0 && m->pair[1] >= 0) { /* and so neither is longer than LIMIT_TOKEN_BYTES */
            memcpy(joined, sides[0], n[0]);
            memcpy(joined + n[0], sides[1], n[1]);
            m->joined = map_get(&out->vocabulary, joined, n[0] + n[1]);
        }
        if (m->joined < 0)
            return fail(err, BAD_INPUT,
                        "%s: merges: number %zu: a side or the result is not in the vocabulary", name, i);
        map_put(&out->ranks, m->pair, sizeof m->pair, rank); /* of a pair given twice the last rank counts */
        rank++;
    }
    return OK;
}

enum status bpe_open(struct bpe *out, const json_t *model, const char *name, struct error *err)
{
    *out = (struct bpe){.unk_id = -1};
    const char *type, *unk, *text;
    double dropout;
    char shown[PRINTABLE_SIZE];
    TRY(json_str(&type, model, "type", "(none)", name, err));
    if (strcmp(type, "BPE") != 0)
        return fail(err, BAD_INPUT, "%s: model of type \"%s\" is not supported (supported: BPE)", name,
                    printable(shown, type));
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof affixes / sizeof *affixes; i++) {
        TRY(json_str(&text, model, affixes[i], "", name, err));
        if (text[0] != '\0')
            return fail(err, BAD_INPUT, "%s: model: %s \"%s\" is not supported (supported: none)", name,
                        affixes[i], printable(shown, text));
    }
    TRY(json_double(&dropout, model, "dropout", 0, name, err));
    if (dropout < 0 || dropout > 0)
        return fail(err, BAD_INPUT, "%s: model: dropout %g is not supported (supported: 0)", name, dropout);
    TRY(json_bool(&out->byte_fallback, model, "byte_fallback", false, name, err));
    TRY(json_bool(&out->fuse_unk, model, "fuse_unk", false, name, err));
    TRY(json_bool(&out->ignore_merges, model, "ignore_merges", false, name, err));
    TRY(json_str(&unk, model, "unk_token", NULL, name, err));
    TRY(read_vocabulary(out, json_object_get(model, "vocab"), name, err));
    TRY(read_merges(out, json_object_get(model, "merges"), name, err));
    if (unk != NULL) {
        out->unk_id = map_get(&out->vocabulary, unk, strlen(unk));
        if (out->unk_id < 0)
            return fail(err, BAD_INPUT, "%s: model: unk_token \"%s\" is not in the vocabulary", name,
                        printable(shown, unk));
    }
    for (int i = 0; i < 256; i++) {
        char piece[8];
        int n = snprintf(piece, sizeof piece, "<0x%02X>", (unsigned)i);
        out->byte_ids[i] = map_get(&out->vocabulary, piece, (size_t)n);
    }
    return OK;
}

void bpe_close(struct bpe *bpe)
{
    map_free(&bpe->vocabulary);
    map_free(&bpe->ranks);
    free(bpe->pieces);
    free(bpe->text);
    free(bpe->merges);
    *bpe = (struct bpe){0};
}

/* A symbol of a word, linked to its neighbours by position; -1: none. */
struct symbol {
    int32_t id; /* -1: joined into its left neighbour */
    int32_t previous, next;
};

/* What the merging of one word needs. Heap entries are rank << 32 | position of the left symbol: the lowest
 * is the best rank, leftmost. A merge takes one entry out and puts at most two in, so 2·n is room for all. */
struct word {
    struct symbol *symbols;
    int32_t n;
    uint64_t *heap;
    size_t n_heap;
};

static void heap_push(struct word *word, uint64_t entry)
{
    size_t at = word->n_heap++;
    for (; at > 0 && word->heap[(at - 1) / 2] > entry; at = (at - 1) / 2)
        word->heap[at] = word->heap[(at - 1) / 2];
    word->heap[at] = entry;
}

static uint64_t heap_pop(struct word *word)
{
    uint64_t top = word->heap[0], last = word->heap[--word->n_heap];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= word->n_heap)
            break;
        if (child + 1 < word->n_heap && word->heap[child + 1] < word->heap[child])
            child++;
        if (word->heap[child] >= last)
            break;
        word->heap[at] = word->heap[child];
        at = child;
    }
    word->heap[at] = last;
    return top;
}

static int32_t rank_of(const struct bpe *bpe, int32_t left, int32_t right)
{
    return map_get(&bpe->ranks, (int32_t[2]){left, right}, 2 * sizeof left);
}

static void push_pair(struct word *word, const struct bpe *bpe, int32_t left)
{
    if (left < 0 || word->symbols[left].next < 0)
        return;
    int32_t rank = rank_of(bpe, word->symbols[left].id, word->symbols[word->symbols[left].next].id);
    if (rank >= 0)
        heap_push(word, (uint64_t)rank << 32 | (uint32_t)left);
}

static void merge_all(struct word *word, const struct bpe *bpe)
{
    for (int32_t i = 0; i < word->n; i++)
        push_pair(word, bpe, i);
    while (word->n_heap > 0) {
        uint64_t entry = heap_pop(word);
        int32_t left = (int32_t)(entry & 0xffffffff);
        struct symbol *symbol = &word->symbols[left];
        if (symbol->id < 0 || symbol->next < 0)
            continue;
        /* The pair may have changed since; as in the source it is the result that tells. */
        struct symbol *right = &word->symbols[symbol->next];
        int32_t joined = bpe->merges[entry >> 32].joined, rank = rank_of(bpe, symbol->id, right->id);
        if (rank < 0 || bpe->merges[rank].joined != joined)
            continue;
        symbol->id = joined;
        symbol->next = right->next;
        right->id = -1;
        if (symbol->next >= 0)
            word->symbols[symbol->next].previous = left;
        push_pair(word, bpe, symbol->previous);
        push_pair(word, bpe, left);
    }
}

static void add_symbol(struct word *word, int32_t id)
{
    word->symbols[word->n] = (struct symbol){.id = id, .previous = word->n - 1, .next = word->n + 1};
    word->n++;
}

/* Characters to symbols. An <unk> is held back to be fused with its neighbours; that it then follows bytes
 * which came after it is so in the source. */
static void start_symbols(struct word *word, const struct bpe *bpe, const char *piece, size_t n_bytes)
{
    bool unk_waits = false;
    uint32_t code;
    int n;
    for (size_t at = 0; at < n_bytes; at += (size_t)n) {
        n = utf8_next(&code, piece + at, n_bytes - at);
        ENSURE(n > 0);
        int32_t id = map_get(&bpe->vocabulary, piece + at, (size_t)n);
        if (id >= 0) {
            if (unk_waits)
                add_symbol(word, bpe->unk_id);
            unk_waits = false;
            add_symbol(word, id);
            continue;
        }
        bool in_bytes = bpe->byte_fallback;
        for (int i = 0; i < n && in_bytes; i++)
            in_bytes = bpe->byte_ids[(unsigned char)piece[at + (size_t)i]] >= 0;
        for (int i = 0; i < n && in_bytes; i++)
            add_symbol(word, bpe->byte_ids[(unsigned char)piece[at + (size_t)i]]);
        if (in_bytes || bpe->unk_id < 0)
            continue;
        if (unk_waits && !bpe->fuse_unk)
            add_symbol(word, bpe->unk_id);
        unk_waits = true;
    }
    if (unk_waits)
        add_symbol(word, bpe->unk_id);
    if (word->n > 0)
        word->symbols[word->n - 1].next = -1;
}

enum status bpe_encode(struct token_ids *ids, const struct bpe *bpe, const char *piece, size_t n_bytes,
                       struct error *err)
{
    if (bpe->ignore_merges) {
        int32_t id = map_get(&bpe->vocabulary, piece, n_bytes);
        if (id >= 0)
            return token_ids_add(ids, id, err);
    }
    if (n_bytes == 0)
        return OK;
    ENSURE(n_bytes < INT32_MAX / 2);
    enum status status = OK;
    struct word word = {.symbols = malloc(n_bytes * sizeof *word.symbols),
                        .heap = malloc(2 * n_bytes * sizeof *word.heap)};
    if (word.symbols == NULL || word.heap == NULL) {
        status = no_memory(err);
        goto exit;
    }
    start_symbols(&word, bpe, piece, n_bytes);
    merge_all(&word, bpe);
    for (int32_t i = 0; i < word.n; i++)
        if (word.symbols[i].id >= 0)
            TRY_GOTO(status, token_ids_add(ids, word.symbols[i].id, err));
exit:
    free(word.symbols);
    free(word.heap);
    return status;
}
