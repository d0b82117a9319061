/* tokenizer.json: added tokens, and the way of a text through the parts of the file, see tokenizer.h.
 *
 * Encode: 1 split the text on added tokens with normalized false; 2 normalize each piece between them and
 * split it on those with normalized true; 3 pre-tokenize; 4 byte pair encoding (bpe.c); 5 put the
 * post-processor's ids around. Decode: ids to their tokens, through the decoder's steps (token_steps.c).
 * `truncation` and `padding` in the file are left aside, as transformers does.
 * Source: huggingface/tokenizers, tokenizer/added_vocabulary and processors/template, restated.
 */
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "buffer.h"
#include "json.h"
#include "map.h"
#include "memory.h"
#include "token_steps.h"
#include "utf8.h"

#define MAX_TEMPLATE_IDS 64

struct added_token {
    char *content; /* as in the file; owned */
    char *pattern; /* what is looked for: the content, normalized if `normalized`; owned */
    size_t n_pattern;
    int32_t id;
    bool special, normalized, lstrip, rstrip, single_word;
};

/* Added tokens sorted by pattern, shorter first where one begins another: a search narrows a range byte by
 * byte. */
struct matcher {
    const struct added_token **tokens;
    int n;
    bool starts[256]; /* some pattern begins with this byte */
};

struct tokenizer {
    struct token_steps normalizer, pre_tokenizer, decoder;
    struct bpe bpe;
    struct added_token *added;
    int n_added;
    struct map added_ids; /* content -> id */
    struct matcher raw, normalized;
    const char **pieces; /* [size] by id: added tokens over the vocabulary */
    bool *special;       /* [size] */
    int size;
    int32_t template_ids[MAX_TEMPLATE_IDS]; /* before, then after the text */
    int n_before, n_template;
};

static enum status read_added_token(struct added_token *out, const json_t *json, const struct bpe *bpe,
                                    const char *name, struct error *err)
{
    const char *content;
    int64_t id;
    char shown[PRINTABLE_SIZE];
    TRY(json_str(&content, json, "content", "", name, err));
    if (content[0] == '\0' || strlen(content) > LIMIT_TOKEN_BYTES)
        return fail(err, BAD_INPUT, "%s: added_tokens: expected a content of 1 to %d bytes", name,
                    LIMIT_TOKEN_BYTES);
    printable(shown, content);
    TRY(json_int(&id, json, "id", -1, 0, LIMIT_VOCABULARY - 1, name, err));
    int32_t in_vocabulary = map_get(&bpe->vocabulary, content, strlen(content));
    const char *taken = id >= 0 && id < bpe->n_pieces ? bpe->pieces[id] : NULL;
    if (id < 0 || (in_vocabulary >= 0 && in_vocabulary != id) ||
        (taken != NULL && strcmp(taken, content) != 0))
        return fail(err, BAD_INPUT,
                    "%s: added_tokens: \"%s\": its id is missing or differs from the vocabulary's", name,
                    shown);
    out->id = (int32_t)id;
    TRY(json_bool(&out->special, json, "special", false, name, err));
    TRY(json_bool(&out->normalized, json, "normalized", !out->special, name, err));
    TRY(json_bool(&out->lstrip, json, "lstrip", false, name, err));
    TRY(json_bool(&out->rstrip, json, "rstrip", false, name, err));
    TRY(json_bool(&out->single_word, json, "single_word", false, name, err));
    out->content = memory_text(content);
    return out->content != NULL ? OK : memory_failed(err, "an added token", strlen(content));
}

/* The pattern of an added token: a normalizer that prepends also prepends to what is looked for. */
static enum status make_pattern(struct added_token *token, const struct token_steps *normalizer,
                                const char *name, struct error *err)
{
    char shown[PRINTABLE_SIZE];
    struct buffer pattern = {0};
    buffer_add(&pattern, token->content, strlen(token->content));
    if (token->normalized)
        token_steps_apply(&pattern, normalizer, true);
    token->pattern = pattern.bytes; /* owned from here on, whatever follows */
    token->n_pattern = pattern.n;
    if (pattern.failed)
        return memory_failed(err, "an added token", pattern.n);
    if (pattern.n == 0)
        return fail(err, BAD_INPUT, "%s: added_tokens: nothing is left of \"%s\" after the normalizer", name,
                    printable(shown, token->content));
    return OK;
}

static enum status read_added(struct tokenizer *out, const json_t *list, const char *name, struct error *err)
{
    size_t n = json_array_size(list);
    if (list == NULL || json_is_null(list))
        n = 0;
    else if (!json_is_array(list) || n > LIMIT_VOCABULARY)
        return fail(err, BAD_INPUT, "%s: added_tokens: expected a list of at most %d", name,
                    LIMIT_VOCABULARY);
    out->added = memory_zero(n + 1, sizeof *out->added);
    if (out->added == NULL || !map_init(&out->added_ids, n))
        return memory_failed(err, "added tokens", n * sizeof *out->added);
    out->size = out->bpe.n_pieces;
    for (size_t i = 0; i < n; i++) {
        struct added_token *token = &out->added[out->n_added++];
        TRY(read_added_token(token, json_array_get(list, i), &out->bpe, name, err));
        TRY(make_pattern(token, &out->normalizer, name, err));
        char shown[PRINTABLE_SIZE];
        if (map_put(&out->added_ids, token->content, strlen(token->content), token->id) >= 0)
            return fail(err, BAD_INPUT, "%s: added_tokens: \"%s\" stands there twice", name,
                        printable(shown, token->content));
        out->size = token->id >= out->size ? token->id + 1 : out->size;
    }
    out->pieces = memory_zero((size_t)out->size, sizeof *out->pieces);
    out->special = memory_zero((size_t)out->size, sizeof *out->special);
    if (out->pieces == NULL || out->special == NULL)
        return memory_failed(err, "the table of tokens", (size_t)out->size * sizeof *out->pieces);
    memcpy(out->pieces, out->bpe.pieces, (size_t)out->bpe.n_pieces * sizeof *out->pieces);
    for (int i = 0; i < out->n_added; i++) {
        const struct added_token *token = &out->added[i];
        if (token->id >= out->bpe.n_pieces && out->pieces[token->id] != NULL)
            return fail(err, BAD_INPUT, "%s: added_tokens: two have the id %d", name, (int)token->id);
        out->pieces[token->id] = token->content;
        out->special[token->id] = token->special;
    }
    return OK;
}

static int by_pattern(const void *a, const void *b)
{
    const struct added_token *x = *(const struct added_token *const *)a;
    const struct added_token *y = *(const struct added_token *const *)b;
    size_t n = x->n_pattern < y->n_pattern ? x->n_pattern : y->n_pattern;
    int order = n > 0 ? memcmp(x->pattern, y->pattern, n) : 0;
    if (order != 0)
        return order;
    if (x->n_pattern != y->n_pattern)
        return x->n_pattern < y->n_pattern ? -1 : 1;
    return x < y ? -1 : x > y; /* the order of the file */
}

static enum status matcher_open(struct matcher *out, const struct tokenizer *tokenizer, bool normalized,
                                struct error *err)
{
    out->tokens = memory_zero((size_t)tokenizer->n_added + 1, sizeof *out->tokens);
    if (out->tokens == NULL)
        return memory_failed(err, "added tokens", (size_t)tokenizer->n_added * sizeof *out->tokens);
    for (int i = 0; i < tokenizer->n_added; i++) {
        const struct added_token *token = &tokenizer->added[i];
        if (token->normalized != normalized)
            continue;
        out->tokens[out->n++] = token;
        out->starts[(unsigned char)token->pattern[0]] = true;
    }
    if (out->n > 1)
        qsort(out->tokens, (size_t)out->n, sizeof *out->tokens, by_pattern);
    return OK;
}

/* First of tokens[low, high), which share their first `depth` bytes, whose next byte is `byte` or more; one
 * that ends there counts as -1. */
static int lower_bound(const struct matcher *matcher, int low, int high, size_t depth, int byte)
{
    while (low < high) {
        int middle = low + (high - low) / 2;
        const struct added_token *token = matcher->tokens[middle];
        int found = token->n_pattern > depth ? (unsigned char)token->pattern[depth] : -1;
        if (found < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest added token that starts at `text`, or NULL. */
static const struct added_token *longest_match(const struct matcher *matcher, const char *text, size_t n)
{
    const struct added_token *best = NULL;
    int low = 0, high = matcher->n;
    for (size_t depth = 0; depth < n && low < high; depth++) {
        int byte = (unsigned char)text[depth];
        low = lower_bound(matcher, low, high, depth, byte);
        high = lower_bound(matcher, low, high, depth, byte + 1);
        if (low < high && matcher->tokens[low]->n_pattern == depth + 1)
            best = matcher->tokens[low];
    }
    return best;
}

static bool stands_alone(const char *text, size_t n, size_t begin, size_t end)
{
    uint32_t code;
    return !(utf8_previous(&code, text, begin) > 0 && utf8_is_word(code)) &&
           !(utf8_next(&code, text + end, n - end) > 0 && utf8_is_word(code));
}

/* Walks over a text from one added token to the next. */
struct scan {
    const struct matcher *matcher;
    const char *text;
    size_t n;
    size_t search;     /* the next token is looked for from here */
    size_t done;       /* what lies before belongs to earlier pieces and tokens */
    size_t spaces_end; /* white space is known up to here, so that no run is walked twice */
    /* What scan_next found: text[begin, end), then the token (NULL: none). */
    size_t begin, end;
    const struct added_token *token;
};

static bool scan_next(struct scan *scan)
{
    uint32_t code;
    int step;
    for (; scan->matcher->n > 0 && scan->search < scan->n; scan->search++) {
        size_t start = scan->search;
        if (!scan->matcher->starts[(unsigned char)scan->text[start]])
            continue;
        const struct added_token *token = longest_match(scan->matcher, scan->text + start, scan->n - start);
        if (token == NULL)
            continue;
        size_t stop = start + token->n_pattern;
        if (token->single_word && !stands_alone(scan->text, scan->n, start, stop)) {
            scan->search = stop - 1;
            continue;
        }
        scan->search = stop;
        if (token->lstrip) {
            while (start > scan->done && (step = utf8_previous(&code, scan->text, start)) > 0 &&
                   utf8_is_space(code))
                start -= (size_t)step;
            start = start > scan->done ? start : scan->done;
        }
        if (token->rstrip) {
            stop = stop > scan->spaces_end ? stop : scan->spaces_end;
            while ((step = utf8_next(&code, scan->text + stop, scan->n - stop)) > 0 && utf8_is_space(code))
                stop += (size_t)step;
            scan->spaces_end = stop;
        }
        scan->begin = scan->done;
        scan->end = start > scan->done ? start : scan->done;
        scan->token =
            start < stop ? token : NULL; /* nothing may be left of it between white space already taken */
        scan->done = stop;
        return true;
    }
    scan->begin = scan->done;
    scan->end = scan->n;
    scan->token = NULL;
    scan->done = scan->search = scan->n;
    return scan->begin < scan->end;
}

/* Steps 2 to 4 on a piece without raw added tokens; `first`: it begins where the text begins. */
static enum status encode_piece(struct token_ids *ids, const struct tokenizer *tokenizer, const char *text,
                                size_t n, bool first, struct error *err)
{
    enum status status = OK;
    struct buffer normalized = {0}, piece = {0};
    buffer_add(&normalized, text, n);
    token_steps_apply(&normalized, &tokenizer->normalizer, first);
    if (normalized.failed) {
        status = fail(err, NO_MACHINE, "the text grows beyond %zu bytes in the tokenizer", BUFFER_LIMIT);
        goto exit;
    }
    struct scan scan = {.matcher = &tokenizer->normalized, .text = normalized.bytes, .n = normalized.n};
    while (scan_next(&scan)) {
        buffer_clear(&piece);
        if (scan.end > scan.begin)
            buffer_add(&piece, normalized.bytes + scan.begin, scan.end - scan.begin);
        token_steps_apply(&piece, &tokenizer->pre_tokenizer, first && scan.begin == 0);
        if (piece.failed) {
            status = fail(err, NO_MACHINE, "the text grows beyond %zu bytes in the tokenizer", BUFFER_LIMIT);
            goto exit;
        }
        if (piece.n > 0)
            TRY_GOTO(status, bpe_encode(ids, &tokenizer->bpe, piece.bytes, piece.n, err));
        if (scan.token != NULL)
            TRY_GOTO(status, token_ids_add(ids, scan.token->id, err));
    }
exit:
    buffer_free(&normalized);
    buffer_free(&piece);
    return status;
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, int32_t **ids, int *n_ids, const char *text,
                             int64_t n_bytes, bool special, struct error *err)
{
    *ids = NULL;
    *n_ids = 0;
    size_t n = n_bytes < 0 ? strlen(text) : (size_t)n_bytes;
    if (n > LIMIT_TEXT_BYTES)
        return fail(err, BAD_INPUT, "the text has %zu bytes, more than %d", n, LIMIT_TEXT_BYTES);
    size_t valid = utf8_check(text, n);
    if (valid < n)
        return fail(err, BAD_INPUT, "the text is not UTF-8 at byte %zu (found 0x%02x)", valid,
                    (unsigned)(unsigned char)text[valid]);
    enum status status = OK;
    struct token_ids list = {0};
    for (int i = 0; special && i < tokenizer->n_before; i++)
        TRY_GOTO(status, token_ids_add(&list, tokenizer->template_ids[i], err));
    struct scan scan = {.matcher = &tokenizer->raw, .text = text, .n = n};
    while (scan_next(&scan)) {
        if (scan.end > scan.begin)
            TRY_GOTO(status, encode_piece(&list, tokenizer, text + scan.begin, scan.end - scan.begin,
                                          scan.begin == 0, err));
        if (scan.token != NULL)
            TRY_GOTO(status, token_ids_add(&list, scan.token->id, err));
    }
    for (int i = tokenizer->n_before; special && i < tokenizer->n_template; i++)
        TRY_GOTO(status, token_ids_add(&list, tokenizer->template_ids[i], err));
exit:
    if (status != OK) {
        free(list.values);
    } else {
        *ids = list.values;
        *n_ids = (int)list.n;
    }
    return status;
}

char *tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, int n_ids, bool skip_special)
{
    size_t n = 0;
    const char **tokens = malloc(((size_t)(n_ids > 0 ? n_ids : 0) + 1) * sizeof *tokens);
    if (tokens == NULL)
        return NULL;
    for (int i = 0; i < n_ids; i++) {
        const char *piece = tokenizer_piece(tokenizer, ids[i]);
        if (piece != NULL && !(skip_special && tokenizer->special[ids[i]]))
            tokens[n++] = piece;
    }
    char *text = token_steps_decode(&tokenizer->decoder, tokens, n);
    free(tokens);
    return text;
}

int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *token)
{
    int32_t id = map_get(&tokenizer->added_ids, token, strlen(token));
    return id >= 0 ? id : map_get(&tokenizer->bpe.vocabulary, token, strlen(token));
}

const char *tokenizer_piece(const struct tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && id < tokenizer->size ? tokenizer->pieces[id] : NULL;
}

int tokenizer_size(const struct tokenizer *tokenizer)
{
    return tokenizer->size;
}

/* The ids that one SpecialToken of the template stands for. */
static enum status add_template_ids(struct tokenizer *out, const json_t *special_tokens, const char *token,
                                    const char *name, struct error *err)
{
    char shown[PRINTABLE_SIZE];
    const json_t *ids = token != NULL ? json_object_get(json_object_get(special_tokens, token), "ids") : NULL;
    if (!json_is_array(ids))
        return fail(err, BAD_INPUT, "%s: post_processor: special_tokens lacks the ids of \"%s\"", name,
                    printable(shown, token != NULL ? token : ""));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= LIMIT_VOCABULARY || out->n_template == MAX_TEMPLATE_IDS)
            return fail(err, BAD_INPUT, "%s: post_processor: expected at most %d ids of 0 to %d", name,
                        MAX_TEMPLATE_IDS, LIMIT_VOCABULARY - 1);
        out->template_ids[out->n_template++] = (int32_t)json_integer_value(id);
    }
    return OK;
}

static enum status read_post_processor(struct tokenizer *out, const json_t *json, const char *name,
                                       struct error *err)
{
    if (json == NULL || json_is_null(json))
        return OK;
    const char *type, *text;
    char shown[PRINTABLE_SIZE];
    TRY(json_str(&type, json, "type", "(none)", name, err));
    if (strcmp(type, "TemplateProcessing") != 0)
        return fail(err, BAD_INPUT,
                    "%s: post_processor \"%s\" is not supported (supported: TemplateProcessing)", name,
                    printable(shown, type));
    const json_t *single = json_object_get(json, "single");
    int n_sequences = 0;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *part = json_array_get(single, i);
        const json_t *special = json_object_get(part, "SpecialToken");
        const json_t *sequence = json_object_get(part, "Sequence");
        if (special != NULL) {
            TRY(json_str(&text, special, "id", "", name, err));
            TRY(add_template_ids(out, json_object_get(json, "special_tokens"), text, name, err));
        } else if (sequence != NULL) {
            n_sequences++;
            out->n_before = out->n_template;
        } else {
            return fail(err, BAD_INPUT, "%s: post_processor: expected SpecialToken or Sequence", name);
        }
    }
    if (n_sequences != 1)
        return fail(err, BAD_INPUT, "%s: post_processor: expected \"single\" with one Sequence, found %d",
                    name, n_sequences);
    return OK;
}

static enum status read_all(struct tokenizer *out, const json_t *root, const char *name, struct error *err)
{
    if (!json_is_object(root))
        return fail(err, BAD_INPUT, "%s: is no JSON object", name);
    TRY(token_steps_open(&out->normalizer, json_object_get(root, "normalizer"), STEPS_NORMALIZER, name, err));
    TRY(token_steps_open(&out->pre_tokenizer, json_object_get(root, "pre_tokenizer"), STEPS_PRE_TOKENIZER,
                         name, err));
    TRY(token_steps_open(&out->decoder, json_object_get(root, "decoder"), STEPS_DECODER, name, err));
    TRY(bpe_open(&out->bpe, json_object_get(root, "model"), name, err));
    TRY(read_added(out, json_object_get(root, "added_tokens"), name, err));
    TRY(matcher_open(&out->raw, out, false, err));
    TRY(matcher_open(&out->normalized, out, true, err));
    return read_post_processor(out, json_object_get(root, "post_processor"), name, err);
}

enum status tokenizer_parse(struct tokenizer **out, const char *bytes, size_t n_bytes, const char *name,
                            struct error *err)
{
    *out = NULL;
    json_t *root;
    TRY(json_parse(&root, bytes, n_bytes, name, err));
    enum status status;
    struct tokenizer *tokenizer = memory_zero(1, sizeof *tokenizer);
    if (tokenizer == NULL)
        status = memory_failed(err, "a tokenizer", sizeof *tokenizer);
    else
        status = read_all(tokenizer, root, name, err);
    json_decref(root);
    if (status != OK)
        tokenizer_close(tokenizer);
    else
        *out = tokenizer;
    return status;
}

enum status tokenizer_open(struct tokenizer **out, const char *dir, struct error *err)
{
    *out = NULL;
    char path[4096], other[4096];
    if (snprintf(path, sizeof path, "%s/tokenizer.json", dir) >= (int)sizeof path)
        return fail(err, BAD_INPUT, "%s: the path is too long", dir);
    snprintf(other, sizeof other, "%s/tokenizer.model", dir);
    if (!file_exists(path))
        return fail(err, BAD_INPUT, "%s: no such file%s", path,
                    file_exists(other) ? "; a tokenizer.model alone is not read, please convert it" : "");
    char *bytes;
    size_t n_bytes;
    TRY(file_read(&bytes, &n_bytes, path, LIMIT_JSON_BYTES, err));
    enum status status = tokenizer_parse(out, bytes, n_bytes, path, err);
    free(bytes);
    return status;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    token_steps_close(&tokenizer->normalizer);
    token_steps_close(&tokenizer->pre_tokenizer);
    token_steps_close(&tokenizer->decoder);
    bpe_close(&tokenizer->bpe);
    for (int i = 0; i < tokenizer->n_added; i++) {
        free(tokenizer->added[i].content);
        free(tokenizer->added[i].pattern);
    }
    free(tokenizer->added);
    map_free(&tokenizer->added_ids);
    free(tokenizer->raw.tokens);
    free(tokenizer->normalized.tokens);
    free(tokenizer->pieces);
    free(tokenizer->special);
    free(tokenizer);
}
