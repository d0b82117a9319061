/* Normalizers, pre-tokenizers and decoders of a tokenizer.json, see token_steps.h.
 * Source: huggingface/tokenizers, normalizers/{prepend,replace}, pre_tokenizers/metaspace,
 * decoders/{byte_fallback, fuse,strip}, restated. */
#include "token_steps.h"

#include <stdio.h>

#include "json.h"
#include "utf8.h"

#define MAX_STEPS 16

enum step_type { STEP_PREPEND, STEP_REPLACE, STEP_METASPACE, STEP_BYTE_FALLBACK, STEP_FUSE, STEP_STRIP };
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct token_step {
    enum step_type type;
    char *pattern; /* Replace: what to look for; Metaspace: " " on the way in, its character on the way out */
    char *content; /* Prepend, Replace, Metaspace, Strip; both owned */
    size_t n_pattern, n_content;
    enum prepend_scheme scheme;
    int64_t start, stop; /* Strip */
};

struct step_kind {
    const char *name;
    enum step_type type;
    int roles;
};

static const struct step_kind step_kinds[] = {
    {"Prepend", STEP_PREPEND, STEPS_NORMALIZER},
    {"Replace", STEP_REPLACE, STEPS_NORMALIZER | STEPS_DECODER},
    {"Metaspace", STEP_METASPACE, STEPS_PRE_TOKENIZER | STEPS_DECODER},
    {"ByteFallback", STEP_BYTE_FALLBACK, STEPS_DECODER},
    {"Fuse", STEP_FUSE, STEPS_DECODER},
    {"Strip", STEP_STRIP, STEPS_DECODER},
};
#define N_STEP_KINDS (sizeof step_kinds / sizeof *step_kinds)

static const char *role_name(enum steps_role role)
{
    return role == STEPS_NORMALIZER      ? "normalizer"
           : role == STEPS_PRE_TOKENIZER ? "pre_tokenizer"
                                         : "decoder";
}

static enum status unsupported(enum steps_role role, const char *type, const char *name, struct error *err)
{
    char supported[128] = "", shown[PRINTABLE_SIZE];
    size_t n = 0;
    for (size_t i = 0; i < N_STEP_KINDS; i++)
        if (step_kinds[i].roles & (int)role)
            n += (size_t)snprintf(supported + n, sizeof supported - n, "%s, ", step_kinds[i].name);
    return fail(err, BAD_INPUT, "%s: %s \"%s\" is not supported (supported: %sor a Sequence of these)", name,
                role_name(role), printable(shown, type), supported);
}

/* A member that must be a string of 1 (or 0 if `empty`) to LIMIT_TOKEN_BYTES bytes; *out is a copy. */
static enum status read_text(char **out, size_t *n, const json_t *json, const char *key, bool empty,
                             const char *name, struct error *err)
{
    const char *text;
    TRY(json_str(&text, json, key, NULL, name, err));
    if (text == NULL || (text[0] == '\0' && !empty) || strlen(text) > LIMIT_TOKEN_BYTES)
        return fail(err, BAD_INPUT, "%s: \"%s\": expected a string of %d to %d bytes", name, key,
                    empty ? 0 : 1, LIMIT_TOKEN_BYTES);
    *n = strlen(text);
    *out = strdup(text);
    return *out != NULL ? OK : fail(err, NO_MACHINE, "%s: no memory for its \"%s\"", name, key);
}

static enum status check_character(const char *text, size_t n, const char *key, const char *name,
                                   struct error *err)
{
    uint32_t code;
    if (utf8_next(&code, text, n) != (int)n)
        return fail(err, BAD_INPUT, "%s: \"%s\": expected one character", name, key);
    return OK;
}

static enum status read_metaspace(struct token_step *step, const json_t *json, enum steps_role role,
                                  const char *name, struct error *err)
{
    static const char *const schemes[] = {"always", "first", "never"};
    const char *scheme;
    bool split, add_prefix_space;
    char shown[PRINTABLE_SIZE];
    TRY(read_text(&step->content, &step->n_content, json, "replacement", false, name, err));
    TRY(check_character(step->content, step->n_content, "replacement", name, err));
    TRY(json_str(&scheme, json, "prepend_scheme", "always", name, err));
    int found = -1;
    for (int i = 0; i < 3; i++)
        if (strcmp(scheme, schemes[i]) == 0)
            found = i;
    if (found < 0)
        return fail(err, BAD_INPUT,
                    "%s: Metaspace: prepend_scheme \"%s\" is not supported (supported: always, first, "
                    "never)",
                    name, printable(shown, scheme));
    step->scheme = (enum prepend_scheme)found;
    /* The older way to say it, which may stand beside the newer one. */
    TRY(json_bool(&add_prefix_space, json, "add_prefix_space", step->scheme != PREPEND_NEVER, name, err));
    if (!add_prefix_space && step->scheme != PREPEND_NEVER)
        return fail(err, BAD_INPUT, "%s: Metaspace: add_prefix_space false contradicts prepend_scheme \"%s\"",
                    name, scheme);
    TRY(json_bool(&split, json, "split", true, name, err));
    if (split && role == STEPS_PRE_TOKENIZER)
        return fail(err, BAD_INPUT, "%s: Metaspace: split true is not supported (supported: split false)",
                    name);
    return OK;
}

static enum status read_step(struct token_step *step, const json_t *json, enum steps_role role,
                             const char *name, struct error *err)
{
    const char *type;
    const struct step_kind *kind = NULL;
    TRY(json_str(&type, json, "type", "(none)", name, err));
    for (size_t i = 0; i < N_STEP_KINDS; i++)
        if (strcmp(step_kinds[i].name, type) == 0 && (step_kinds[i].roles & (int)role))
            kind = &step_kinds[i];
    if (kind == NULL)
        return unsupported(role, type, name, err);
    step->type = kind->type;
    const json_t *pattern = json_object_get(json, "pattern");
    switch (step->type) {
    case STEP_PREPEND:
        return read_text(&step->content, &step->n_content, json, "prepend", true, name, err);
    case STEP_REPLACE:
        if (!json_is_object(pattern) || json_object_get(pattern, "String") == NULL)
            return fail(err, BAD_INPUT, "%s: Replace: only a pattern {\"String\": …} is supported", name);
        TRY(read_text(&step->pattern, &step->n_pattern, pattern, "String", false, name, err));
        return read_text(&step->content, &step->n_content, json, "content", true, name, err);
    case STEP_METASPACE:
        return read_metaspace(step, json, role, name, err);
    case STEP_STRIP:
        TRY(read_text(&step->content, &step->n_content, json, "content", false, name, err));
        TRY(check_character(step->content, step->n_content, "content", name, err));
        TRY(json_int(&step->start, json, "start", 0, 0, LIMIT_TOKEN_BYTES, name, err));
        return json_int(&step->stop, json, "stop", 0, 0, LIMIT_TOKEN_BYTES, name, err);
    case STEP_BYTE_FALLBACK:
    case STEP_FUSE:
        break;
    }
    return OK;
}

enum status token_steps_open(struct token_steps *out, const json_t *json, enum steps_role role,
                             const char *name, struct error *err)
{
    *out = (struct token_steps){0};
    if (json == NULL || json_is_null(json))
        return OK;
    out->given = true;
    const char *type;
    TRY(json_str(&type, json, "type", "(none)", name, err));
    const json_t *list = NULL;
    size_t n = 1;
    if (strcmp(type, "Sequence") == 0) {
        list = json_object_get(json, role == STEPS_NORMALIZER      ? "normalizers"
                                     : role == STEPS_PRE_TOKENIZER ? "pretokenizers"
                                                                   : "decoders");
        n = json_array_size(list);
        if (!json_is_array(list) || n > MAX_STEPS)
            return fail(err, BAD_INPUT, "%s: %s: expected a Sequence with a list of at most %d", name,
                        role_name(role), MAX_STEPS);
    }
    out->steps = calloc(n + 1, sizeof *out->steps);
    if (out->steps == NULL)
        return fail(err, NO_MACHINE, "%s: no memory for its %s", name, role_name(role));
    for (size_t i = 0; i < n; i++) {
        out->n++; /* counted before it is read: closing frees what a failed reading left */
        TRY(read_step(&out->steps[i], list != NULL ? json_array_get(list, i) : json, role, name, err));
    }
    return OK;
}

void token_steps_close(struct token_steps *steps)
{
    for (int i = 0; i < steps->n; i++) {
        free(steps->steps[i].pattern);
        free(steps->steps[i].content);
    }
    free(steps->steps);
    *steps = (struct token_steps){0};
}

static void replace_all(struct buffer *out, const char *in, size_t n, const char *pattern, size_t n_pattern,
                        const char *content, size_t n_content)
{
    const char *end = in + n, *hit;
    while (n > 0 && (hit = memmem(in, (size_t)(end - in), pattern, n_pattern)) != NULL) {
        buffer_add(out, in, (size_t)(hit - in));
        buffer_add(out, content, n_content);
        if (out->failed)
            return;
        in = hit + n_pattern;
    }
    if (in != NULL)
        buffer_add(out, in, (size_t)(end - in));
}

static bool begins_with(const struct buffer *buffer, const char *text, size_t n)
{
    return buffer->n >= n && memcmp(buffer->bytes, text, n) == 0;
}

void token_steps_apply(struct buffer *piece, const struct token_steps *steps, bool first)
{
    for (int i = 0; i < steps->n && piece->n > 0 && !piece->failed; i++) {
        const struct token_step *step = &steps->steps[i];
        struct buffer out = {0};
        if (step->type == STEP_PREPEND) {
            buffer_add(&out, step->content, step->n_content);
            buffer_add(&out, piece->bytes, piece->n);
        } else if (step->type == STEP_REPLACE) {
            replace_all(&out, piece->bytes, piece->n, step->pattern, step->n_pattern, step->content,
                        step->n_content);
        } else {
            ENSURE(step->type == STEP_METASPACE);
            /* A blank at the start becomes the replacement, and then none is put before it. */
            bool wanted = step->scheme == PREPEND_ALWAYS || (step->scheme == PREPEND_FIRST && first);
            if (wanted && piece->bytes[0] != ' ' && !begins_with(piece, step->content, step->n_content))
                buffer_add(&out, step->content, step->n_content);
            replace_all(&out, piece->bytes, piece->n, " ", 1, step->content, step->n_content);
        }
        buffer_free(piece);
        *piece = out;
    }
}

/* Tokens on their way through a decoder, one after the other in `text`; token i ends at ends[i]. */
struct tokens {
    struct buffer text;
    size_t *ends;
    size_t n;
};

static void end_token(struct tokens *tokens)
{
    tokens->ends[tokens->n++] = tokens->text.n;
}

/* The byte of "<0x41>", or -1. */
static int byte_of(const char *token, size_t n)
{
    if (n != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>')
        return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        char c = token[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = 16 * value + digit;
    }
    return value;
}

/* A run of bytes is one token if it is UTF-8, else each byte is U+FFFD. */
static void flush_bytes(struct tokens *out, struct buffer *run)
{
    if (run->n == 0)
        return;
    if (utf8_check(run->bytes, run->n) == run->n) {
        buffer_add(&out->text, run->bytes, run->n);
        end_token(out);
    } else {
        for (size_t i = 0; i < run->n; i++) {
            buffer_add(&out->text, "\xef\xbf\xbd", 3);
            end_token(out);
        }
    }
    buffer_clear(run);
}

static void strip(struct tokens *out, const char *token, size_t n, const struct token_step *step)
{
    size_t start = 0, stop = n, size = step->n_content;
    for (int64_t i = 0;
         i < step->start && n - start >= size && memcmp(token + start, step->content, size) == 0; i++)
        start += size;
    for (int64_t i = 0;
         i < step->stop && stop - start >= size && memcmp(token + stop - size, step->content, size) == 0; i++)
        stop -= size;
    buffer_add(&out->text, token + start, stop - start);
    end_token(out);
}

static void decode_step(struct tokens *out, const struct tokens *in, const struct token_step *step)
{
    struct buffer run = {0};
    for (size_t i = 0, begin = 0; i < in->n && !out->text.failed; begin = in->ends[i], i++) {
        const char *token = in->text.bytes != NULL ? in->text.bytes + begin : "";
        size_t n = in->ends[i] - begin;
        int byte;
        switch (step->type) {
        case STEP_REPLACE:
            replace_all(&out->text, token, n, step->pattern, step->n_pattern, step->content, step->n_content);
            end_token(out);
            break;
        case STEP_METASPACE: {
            /* In the first token every replacement is dropped, not only a leading one: so in the source. */
            bool drop = i == 0 && step->scheme != PREPEND_NEVER;
            replace_all(&out->text, token, n, step->content, step->n_content, " ", drop ? 0 : 1);
            end_token(out);
            break;
        }
        case STEP_BYTE_FALLBACK:
            byte = byte_of(token, n);
            if (byte >= 0) {
                buffer_add(&run, &(char){(char)byte}, 1);
                out->text.failed = out->text.failed || run.failed;
                break;
            }
            flush_bytes(out, &run);
            buffer_add(&out->text, token, n);
            end_token(out);
            break;
        case STEP_FUSE:
            buffer_add(&out->text, token, n);
            break;
        case STEP_STRIP:
            strip(out, token, n, step);
            break;
        case STEP_PREPEND:
            ENSURE(step->type != STEP_PREPEND); /* no decoder, see step_kinds */
        }
    }
    flush_bytes(out, &run);
    if (step->type == STEP_FUSE)
        end_token(out);
    buffer_free(&run);
}

char *token_steps_decode(const struct token_steps *steps, const char *const *tokens, size_t n)
{
    char *result = NULL;
    /* No step gives more tokens than it gets, but for Fuse, which gives one. */
    struct tokens in = {.ends = malloc((n + 1) * sizeof *in.ends)};
    struct tokens out = {.ends = malloc((n + 1) * sizeof *out.ends)};
    if (in.ends == NULL || out.ends == NULL)
        goto exit;
    for (size_t i = 0; i < n; i++) {
        if (!steps->given && i > 0)
            buffer_add(&in.text, " ", 1); /* without a decoder tokens are words */
        buffer_add(&in.text, tokens[i], strlen(tokens[i]));
        end_token(&in);
    }
    for (int i = 0; i < steps->n && !in.text.failed; i++) {
        buffer_clear(&out.text);
        out.n = 0;
        decode_step(&out, &in, &steps->steps[i]);
        struct tokens swap = in;
        in = out;
        out = swap;
    }
    if (in.text.failed)
        goto exit;
    result = malloc(in.text.n + 1);
    if (result == NULL)
        goto exit;
    /* A byte 0 (<0x00>) would end the text early. */
    for (size_t i = 0; i < in.text.n; i++)
        result[i] = (char)(in.text.bytes[i] != '\0' ? in.text.bytes[i] : '?');
    result[in.text.n] = '\0';
exit:
    buffer_free(&in.text);
    buffer_free(&out.text);
    free(in.ends);
    free(out.ends);
    return result;
}
