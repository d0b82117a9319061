/* Answer normalisers and soft score of the VQA family, see vqa_normalise.h.
 *
 *   text -> [EvalAI: lower case, ',' and '?' deleted, "'s" becomes " 's"] -> newlines and tabs become spaces,
 *   stripped -> marks -> periods -> lower case, words: numbers, articles, contractions -> single spaces
 *
 * Quirks that are kept: a mark is deleted throughout where it stands beside a space anywhere, or where the
 * text holds digit,digit, and becomes a space otherwise; the official look-behind of the period rule is
 * mistyped, so that "3." loses its period (VLMEvalKit's own is right and keeps it); a regular expression flag
 * stands where the count belongs, so that at most 32 periods go. Contractions are looked up in lower case,
 * after articles, so the table's "Id've", "I'dve", "Im" and "Ive" never apply and are left out, as are the
 * two entries that change nothing.
 *
 * Sources: GT-Vision-Lab/VQA vqaEval.py, LLaVA llava/eval/m4c_evaluator.py (from Pythia and MMF), VLMEvalKit
 * vlmeval/dataset/utils/vqa_eval.py, VizWiz's vqaEval.py. Copies of the last two official files with
 * typographic apostrophes in the table go round; the first has plain ones, and so have we. Digits of the
 * period and comma rules are ASCII's; Python's also include those of other scripts.
 */
#include "datasets/vqa_normalise.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "core/utf8.h"
#include "datasets/figures.h"
#include "datasets/rows.h"

enum { PERIODS_MAX = 32, WORD_MAX = 16, N_NAMED = 5 };

static const char marks[] = ";/[]\"{}()=+\\_-><@`,?!";

struct pair {
    const char *from, *to;
};

/* Sorted by `from`. */
/* clang-format off */
static const struct pair contractions[] = {
    {"'ow'sat", "'ow's'at"}, {"'ows'at", "'ow's'at"}, {"aint", "ain't"}, {"arent", "aren't"},
    {"cant", "can't"}, {"couldn'tve", "couldn't've"}, {"couldnt", "couldn't"}, {"couldnt've", "couldn't've"},
    {"couldve", "could've"}, {"didnt", "didn't"}, {"doesnt", "doesn't"}, {"dont", "don't"},
    {"hadn'tve", "hadn't've"}, {"hadnt", "hadn't"}, {"hadnt've", "hadn't've"}, {"hasnt", "hasn't"},
    {"havent", "haven't"}, {"he'dve", "he'd've"}, {"hed", "he'd"}, {"hed've", "he'd've"}, {"hes", "he's"},
    {"howd", "how'd"}, {"howll", "how'll"}, {"hows", "how's"}, {"isnt", "isn't"}, {"it'dve", "it'd've"},
    {"itd", "it'd"}, {"itd've", "it'd've"}, {"itll", "it'll"}, {"maam", "ma'am"},
    {"mightn'tve", "mightn't've"}, {"mightnt", "mightn't"}, {"mightnt've", "mightn't've"},
    {"mightve", "might've"}, {"mustnt", "mustn't"}, {"mustve", "must've"}, {"neednt", "needn't"},
    {"notve", "not've"}, {"oclock", "o'clock"}, {"oughtnt", "oughtn't"}, {"ow's'at", "'ow's'at"},
    {"shant", "shan't"}, {"she'dve", "she'd've"}, {"shed've", "she'd've"}, {"shouldn'tve", "shouldn't've"},
    {"shouldnt", "shouldn't"}, {"shouldnt've", "shouldn't've"}, {"shouldve", "should've"},
    {"somebody'd", "somebodyd"}, {"somebody'dve", "somebody'd've"}, {"somebodyd've", "somebody'd've"},
    {"somebodyll", "somebody'll"}, {"somebodys", "somebody's"}, {"someone'dve", "someone'd've"},
    {"someoned", "someone'd"}, {"someoned've", "someone'd've"}, {"someonell", "someone'll"},
    {"someones", "someone's"}, {"something'dve", "something'd've"}, {"somethingd", "something'd"},
    {"somethingd've", "something'd've"}, {"somethingll", "something'll"}, {"thats", "that's"},
    {"there'dve", "there'd've"}, {"thered", "there'd"}, {"thered've", "there'd've"}, {"therere", "there're"},
    {"theres", "there's"}, {"they'dve", "they'd've"}, {"theyd", "they'd"}, {"theyd've", "they'd've"},
    {"theyll", "they'll"}, {"theyre", "they're"}, {"theyve", "they've"}, {"twas", "'twas"},
    {"wasnt", "wasn't"}, {"we'dve", "we'd've"}, {"wed've", "we'd've"}, {"werent", "weren't"},
    {"weve", "we've"}, {"whatll", "what'll"}, {"whatre", "what're"}, {"whats", "what's"},
    {"whatve", "what've"}, {"whens", "when's"}, {"whered", "where'd"}, {"wheres", "where's"},
    {"whereve", "where've"}, {"who'dve", "who'd've"}, {"whod", "who'd"}, {"whod've", "who'd've"},
    {"wholl", "who'll"}, {"whos", "who's"}, {"whove", "who've"}, {"whyll", "why'll"}, {"whyre", "why're"},
    {"whys", "why's"}, {"wont", "won't"}, {"wouldn'tve", "wouldn't've"}, {"wouldnt", "wouldn't"},
    {"wouldnt've", "wouldn't've"}, {"wouldve", "would've"}, {"y'all'dve", "y'all'd've"},
    {"y'alld've", "y'all'd've"}, {"y'allll", "y'all'll"}, {"yall", "y'all"}, {"yall'd've", "y'all'd've"},
    {"yall'll", "y'all'll"}, {"you'dve", "you'd've"}, {"youd", "you'd"}, {"youd've", "you'd've"},
    {"youll", "you'll"}, {"youre", "you're"}, {"youve", "you've"},
};
/* clang-format on */
static const struct pair numbers[] = {{"eight", "8"}, {"five", "5"},  {"four", "4"},  {"nine", "9"},
                                      {"none", "0"},  {"one", "1"},   {"seven", "7"}, {"six", "6"},
                                      {"ten", "10"},  {"three", "3"}, {"two", "2"},   {"zero", "0"}};

/* Upper-case letters first, first + step … last lie `delta` below their lower-case ones. Latin, Greek,
 * Cyrillic, Armenian and full-width letters; Unicode 14, UnicodeData.txt. */
struct lower_run {
    uint16_t first, last, step;
    int16_t delta;
};
/* clang-format off */
static const struct lower_run lower_runs[] = {
    {0xc0, 0xd6, 1, 32}, {0xd8, 0xde, 1, 32}, {0x100, 0x12e, 2, 1}, {0x132, 0x136, 2, 1},
    {0x139, 0x147, 2, 1}, {0x14a, 0x176, 2, 1}, {0x178, 0x178, 1, -121}, {0x179, 0x17d, 2, 1},
    {0x181, 0x181, 1, 210}, {0x182, 0x184, 2, 1}, {0x186, 0x186, 1, 206}, {0x187, 0x187, 1, 1},
    {0x189, 0x18a, 1, 205}, {0x18b, 0x18b, 1, 1}, {0x18e, 0x18e, 1, 79}, {0x18f, 0x18f, 1, 202},
    {0x190, 0x190, 1, 203}, {0x191, 0x191, 1, 1}, {0x193, 0x193, 1, 205}, {0x194, 0x194, 1, 207},
    {0x196, 0x196, 1, 211}, {0x197, 0x197, 1, 209}, {0x198, 0x198, 1, 1}, {0x19c, 0x19c, 1, 211},
    {0x19d, 0x19d, 1, 213}, {0x19f, 0x19f, 1, 214}, {0x1a0, 0x1a4, 2, 1}, {0x1a6, 0x1a6, 1, 218},
    {0x1a7, 0x1a7, 1, 1}, {0x1a9, 0x1a9, 1, 218}, {0x1ac, 0x1ac, 1, 1}, {0x1ae, 0x1ae, 1, 218},
    {0x1af, 0x1af, 1, 1}, {0x1b1, 0x1b2, 1, 217}, {0x1b3, 0x1b5, 2, 1}, {0x1b7, 0x1b7, 1, 219},
    {0x1b8, 0x1b8, 1, 1}, {0x1bc, 0x1bc, 1, 1}, {0x1c4, 0x1c4, 1, 2}, {0x1c5, 0x1c5, 1, 1},
    {0x1c7, 0x1c7, 1, 2}, {0x1c8, 0x1c8, 1, 1}, {0x1ca, 0x1ca, 1, 2}, {0x1cb, 0x1db, 2, 1},
    {0x1de, 0x1ee, 2, 1}, {0x1f1, 0x1f1, 1, 2}, {0x1f2, 0x1f4, 2, 1}, {0x1f6, 0x1f6, 1, -97},
    {0x1f7, 0x1f7, 1, -56}, {0x1f8, 0x21e, 2, 1}, {0x220, 0x220, 1, -130}, {0x222, 0x232, 2, 1},
    {0x23a, 0x23a, 1, 10795}, {0x23b, 0x23b, 1, 1}, {0x23d, 0x23d, 1, -163}, {0x23e, 0x23e, 1, 10792},
    {0x241, 0x241, 1, 1}, {0x243, 0x243, 1, -195}, {0x244, 0x244, 1, 69}, {0x245, 0x245, 1, 71},
    {0x246, 0x24e, 2, 1}, {0x370, 0x372, 2, 1}, {0x376, 0x376, 1, 1}, {0x37f, 0x37f, 1, 116},
    {0x386, 0x386, 1, 38}, {0x388, 0x38a, 1, 37}, {0x38c, 0x38c, 1, 64}, {0x38e, 0x38f, 1, 63},
    {0x391, 0x3a1, 1, 32}, {0x3a3, 0x3ab, 1, 32}, {0x3cf, 0x3cf, 1, 8}, {0x3d8, 0x3ee, 2, 1},
    {0x3f4, 0x3f4, 1, -60}, {0x3f7, 0x3f7, 1, 1}, {0x3f9, 0x3f9, 1, -7}, {0x3fa, 0x3fa, 1, 1},
    {0x3fd, 0x3ff, 1, -130}, {0x400, 0x40f, 1, 80}, {0x410, 0x42f, 1, 32}, {0x460, 0x480, 2, 1},
    {0x48a, 0x4be, 2, 1}, {0x4c0, 0x4c0, 1, 15}, {0x4c1, 0x4cd, 2, 1}, {0x4d0, 0x52e, 2, 1},
    {0x531, 0x556, 1, 48}, {0x1e00, 0x1e94, 2, 1}, {0x1e9e, 0x1e9e, 1, -7615}, {0x1ea0, 0x1efe, 2, 1},
    {0x1f08, 0x1f0f, 1, -8}, {0x1f18, 0x1f1d, 1, -8}, {0x1f28, 0x1f2f, 1, -8}, {0x1f38, 0x1f3f, 1, -8},
    {0x1f48, 0x1f4d, 1, -8}, {0x1f59, 0x1f5f, 2, -8}, {0x1f68, 0x1f6f, 1, -8}, {0x1f88, 0x1f8f, 1, -8},
    {0x1f98, 0x1f9f, 1, -8}, {0x1fa8, 0x1faf, 1, -8}, {0x1fb8, 0x1fb9, 1, -8}, {0x1fba, 0x1fbb, 1, -74},
    {0x1fbc, 0x1fbc, 1, -9}, {0x1fc8, 0x1fcb, 1, -86}, {0x1fcc, 0x1fcc, 1, -9}, {0x1fd8, 0x1fd9, 1, -8},
    {0x1fda, 0x1fdb, 1, -100}, {0x1fe8, 0x1fe9, 1, -8}, {0x1fea, 0x1feb, 1, -112}, {0x1fec, 0x1fec, 1, -7},
    {0x1ff8, 0x1ff9, 1, -128}, {0x1ffa, 0x1ffb, 1, -126}, {0x1ffc, 0x1ffc, 1, -9}, {0x2126, 0x2126, 1, -7517},
    {0x212a, 0x212a, 1, -8383}, {0x212b, 0x212b, 1, -8262}, {0xff21, 0xff3a, 1, 32},
};
/* clang-format on */

/* ---- lower case -----------------------------------------------------------------------------------------
 */

static uint32_t lower_of(uint32_t code)
{
    size_t low = 0, high = sizeof lower_runs / sizeof lower_runs[0];
    while (low < high) { /* the first run that does not end below code */
        size_t middle = low + (high - low) / 2;
        if (lower_runs[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == sizeof lower_runs / sizeof lower_runs[0])
        return code;
    const struct lower_run *run = &lower_runs[low];
    bool within = code >= run->first && (code - run->first) % run->step == 0;
    return within ? (uint32_t)((int32_t)code + run->delta) : code;
}

static size_t utf8_write(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    out[0] = (char)(0xe0 | code >> 12); /* no run leads beyond the basic plane */
    out[1] = (char)(0x80 | (code >> 6 & 0x3f));
    out[2] = (char)(0x80 | (code & 0x3f));
    return 3;
}

/* Writes the lower case of the character at `in` (n > 0 bytes remain), at most 3 bytes where there were 2 and
 * never more otherwise; moves both on. A byte that is no UTF-8 stays. */
static void lower_one(char **out, const char **in, size_t *n)
{
    uint32_t code = 0;
    int bytes = (unsigned char)**in < 0x80 ? 0 : utf8_next(&code, *in, *n);
    if (bytes == 0) {
        *(*out)++ = ascii_lower(*(*in)++);
        --*n;
        return;
    }
    uint32_t lower = code <= 0xffff ? lower_of(code) : code;
    if (code == 0x130) /* the one letter whose lower case is two: i and a combining dot */
        *out = mempcpy(*out, "i\xcc\x87", 3);
    else if (lower != code)
        *out += utf8_write(*out, lower);
    else
        *out = mempcpy(*out, *in, (size_t)bytes);
    *in += bytes;
    *n -= (size_t)bytes;
}

char *vqa_lower(const char *text)
{
    size_t n = strlen(text);
    char *lower = memory_alloc(n + 1, 2), *at = lower;
    if (!lower)
        return NULL;
    while (n > 0)
        lower_one(&at, &text, &n);
    *at = '\0';
    return lower;
}

/* ---- the steps ------------------------------------------------------------------------------------------
 */

/* Bytes of the white space at `at` as Python's strip() and split() see it, 0 where there is none. */
static size_t space_at(const char *at, size_t n)
{
    uint32_t code;
    if (n == 0 || (unsigned char)*at < 0x80)
        return n > 0 && ascii_is_space(*at);
    int bytes = utf8_next(&code, at, n);
    return bytes > 0 && utf8_is_space(code) ? (size_t)bytes : 0;
}

static size_t strip(char *text, size_t n)
{
    size_t start = 0, bytes;
    uint32_t code;
    while ((bytes = space_at(text + start, n - start)) > 0)
        start += bytes;
    for (;;) {
        int last = utf8_previous(&code, text + start, n - start);
        if (last == 0 || space_at(text + n - last, (size_t)last) == 0)
            break;
        n -= (size_t)last;
    }
    memmove(text, text + start, n - start);
    return n - start;
}

static size_t blanks(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\n' || text[i] == '\t')
            text[i] = ' ';
    return strip(text, n);
}

/* EvalAI's own first step. out: room for 2n. */
static size_t tokenize(char *out, const char *in, size_t n)
{
    char *at = out;
    while (n > 0) {
        if (*in == ',' || *in == '?') {
            in++;
            n--;
            continue;
        }
        lower_one(&at, &in, &n);
        if (at[-1] == 's' && at - out >= 2 && at[-2] == '\'') {
            memcpy(at - 2, " 's", 3);
            at++;
        }
    }
    return (size_t)(at - out);
}

static size_t punctuation(char *out, const char *in, size_t n)
{
    bool beside_space[256] = {false}, digits_comma = false;
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++) {
        if ((i + 1 < n && in[i + 1] == ' ') || (i > 0 && in[i - 1] == ' '))
            beside_space[(unsigned char)in[i]] = true;
        if (in[i] == ',' && i > 0 && i + 1 < n && ascii_is_digit(in[i - 1]) && ascii_is_digit(in[i + 1]))
            digits_comma = true;
    }
    for (size_t i = 0; i < n; i++) {
        if (!strchr(marks, in[i]))
            out[n_out++] = in[i];
        else if (!digits_comma && !beside_space[(unsigned char)in[i]])
            out[n_out++] = ' ';
    }
    return n_out;
}

static size_t periods(char *out, const char *in, size_t n, bool keep_after_digit)
{
    size_t n_out = 0;
    int n_periods = 0;
    for (size_t i = 0; i < n; i++) {
        bool kept = in[i] != '.' || (i + 1 < n && ascii_is_digit(in[i + 1])) ||
                    (keep_after_digit && i > 0 && ascii_is_digit(in[i - 1])) || n_periods == PERIODS_MAX;
        n_periods += !kept;
        if (kept)
            out[n_out++] = in[i];
    }
    return n_out;
}

static int pair_order(const void *key, const void *element)
{
    return strcmp(key, ((const struct pair *)element)->from);
}

#define LOOK_UP(word, table)                                                                                 \
    ((const struct pair *)bsearch(word, table, sizeof(table) / sizeof((table)[0]), sizeof((table)[0]),       \
                                  pair_order))

/* What stands for the word at out[0 … n), at most 4/3 of its length; returns the new length, 0 where it goes.
 */
static size_t word_map(char *out, size_t n)
{
    char word[WORD_MAX]; /* no key is as long */
    if (n >= sizeof word)
        return n;
    memcpy(word, out, n);
    word[n] = '\0';
    if (!strcmp(word, "a") || !strcmp(word, "an") || !strcmp(word, "the"))
        return 0;
    const struct pair *pair = LOOK_UP(word, numbers);
    if (!pair)
        pair = LOOK_UP(word, contractions);
    if (!pair)
        return n;
    n = strlen(pair->to);
    memcpy(out, pair->to, n);
    return n;
}

/* out: room for 2n. */
static size_t words(char *out, const char *in, size_t n)
{
    char *at = out;
    for (;;) {
        size_t bytes;
        while ((bytes = space_at(in, n)) > 0) {
            in += bytes;
            n -= bytes;
        }
        if (n == 0)
            return (size_t)(at - out);
        char *before = at;
        if (at > out)
            *at++ = ' ';
        char *start = at;
        while (n > 0 && space_at(in, n) == 0)
            lower_one(&at, &in, &n);
        size_t length = word_map(start, (size_t)(at - start));
        at = length > 0 ? start + length : before;
    }
}

char *vqa_normalise(const char *text, enum vqa_rules rules)
{
    size_t n = strlen(text);
    /* Every step grows a text to 3/2 at most, and no part of it twice: letters beyond ASCII in lower case,
     * the blank before 's, apostrophes put in. */
    char *a = memory_alloc(n + 1, 2), *b = memory_alloc(n + 1, 2);
    if (!a || !b) {
        free(a);
        free(b);
        return NULL;
    }
    if (rules == VQA_EVALAI)
        n = tokenize(a, text, n);
    else
        memcpy(a, text, n);
    if (rules != VQA_AS_IS)
        n = blanks(a, n);
    if (rules != VQA_AS_IS && rules != VQA_BLANKS) {
        n = punctuation(b, a, n);
        n = periods(a, b, n, rules == VQA_VLMEVAL);
        n = words(b, a, n);
        char *swap = a;
        a = b;
        b = swap;
    }
    free(b);
    a[n] = '\0';
    return a;
}

/* ---- people's answers -----------------------------------------------------------------------------------
 */

enum status vqa_golds_read(struct vqa_golds *out, struct text_pool *pool, const json_t *row, const char *key,
                           const char *place, struct error *err)
{
    const json_t *list = json_object_get(row, key);
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n == 0)
        return fail(err, BAD_INPUT, "%s: \"%s\": expected a list of answers, found %s", place, key,
                    !list                 ? "nothing"
                    : json_is_array(list) ? "an empty one"
                                          : "another type");
    if (n > VQA_GOLDS_MAX)
        return fail(err, BAD_INPUT, "%s: \"%s\": holds %zu answers, more than the limit of %d", place, key, n,
                    VQA_GOLDS_MAX);
    *out = (struct vqa_golds){text_pool_zero(pool, n, sizeof *out->texts), (int)n};
    TRY(text_pool_check(pool, err));
    for (size_t i = 0; i < n; i++) {
        const json_t *answer = json_array_get(list, i);
        if (json_is_object(answer))
            answer = json_object_get(answer, "answer");
        if (!json_is_string(answer))
            return fail(err, BAD_INPUT,
                        "%s: \"%s\": expected texts or objects with a text \"answer\", entry %zu is neither",
                        place, key, i);
        out->texts[i] = text_pool_add(pool, json_string_value(answer));
    }
    return OK;
}

const char *vqa_golds_commonest(const struct vqa_golds *golds)
{
    const char *best = NULL;
    int n_best = 0;
    for (int i = 0; i < golds->n; i++) {
        int n = 0;
        for (int j = 0; j < golds->n; j++)
            n += strcmp(golds->texts[i], golds->texts[j]) == 0;
        if (n > n_best) {
            n_best = n;
            best = golds->texts[i];
        }
    }
    return best;
}

bool vqa_score(double *out, const char *prediction, const struct vqa_golds *golds, enum vqa_rules rules)
{
    bool matches[VQA_GOLDS_MAX];
    int n_matches = 0;
    double sum = 0;
    *out = NAN;
    for (int i = 0; i < golds->n; i++) {
        char *gold = rules == VQA_AS_IS ? NULL : vqa_normalise(golds->texts[i], rules);
        if (!gold && rules != VQA_AS_IS)
            return false;
        matches[i] = strcmp(gold ? gold : golds->texts[i], prediction) == 0;
        n_matches += matches[i];
        free(gold);
    }
    /* In the official order of additions, for the same last digit. */
    for (int i = 0; i < golds->n; i++) {
        double others = n_matches - matches[i];
        sum += others < 3 ? others / 3 : 1;
    }
    if (golds->n > 0)
        *out = sum / golds->n;
    return true;
}

/* ---- for the benchmarks ---------------------------------------------------------------------------------
 */

void vqa_parsed(char *parsed, size_t size, const char *said)
{
    snprintf(parsed, size, "%s", said);
    parsed[utf8_check(parsed, strlen(parsed))] = '\0';
}

enum status vqa_figures(json_t *figures, json_t *warnings, const struct dataset *dataset,
                        const struct answers *answers, enum protocol protocol, const char *by_category,
                        const char *by_detail, struct error *err)
{
    struct mean accuracy = {0};
    struct split categories = split_new(), details = split_new();
    enum status status = OK;
    char named[200] = "";
    int n_unknown = 0;
    for (int i = 0; i < dataset->n; i++) {
        const struct sample *sample = &dataset->samples[i];
        char parsed[8], id[32], shown[PRINTABLE_SIZE];
        if (!answers->text[i])
            continue;
        if (!sample->gold) {
            size_t used = strlen(named);
            vqa_parsed(id, sizeof id, printable(shown, sample->question_id));
            if (n_unknown++ < N_NAMED)
                snprintf(named + used, sizeof named - used, "%s%s", used ? ", " : "", id);
            continue;
        }
        double score = dataset->benchmark->score_sample(parsed, sizeof parsed, dataset, i, answers->text[i],
                                                        NULL, protocol);
        if (isnan(score))
            TRY_GOTO(status, memory_failed(err, "a normalised answer", strlen(answers->text[i])));
        mean_add(&accuracy, score);
        if (by_category)
            split_add(&categories, sample->category, score);
        if (by_detail)
            split_add(&details, sample->detail, score);
    }
    if (n_unknown > 0)
        warn(warnings, "%d answered questions have no annotation; they are left out of every figure: %s%s",
             n_unknown, named, n_unknown > N_NAMED ? ", …" : "");
    json_object_set_new(figures, "accuracy", per_cent(&accuracy));
    json_object_set_new(figures, "headline", per_cent(&accuracy));
    json_object_set_new(figures, "n", json_integer(accuracy.n));
    json_object_set_new(figures, "n_unknown", json_integer(n_unknown));
    if (by_category)
        split_finish(figures, by_category, &categories);
    if (by_detail)
        split_finish(figures, by_detail, &details);
exit:
    split_free(&categories);
    split_free(&details);
    return status;
}

enum status vqa_submission_open(struct vqa_submission *out, struct error *err)
{
    *out = (struct vqa_submission){0};
    out->stream = open_memstream(&out->bytes, &out->n);
    return out->stream ? OK : fail(err, NO_MACHINE, "no memory for a submission");
}

void vqa_submission_add(struct vqa_submission *submission, const char *key, const char *id, bool numeric,
                        const char *answer)
{
    const size_t flags = JSON_ENCODE_ANY | JSON_ENSURE_ASCII;
    char *said = vqa_normalise(answer ? answer : "", VQA_EVALAI);
    json_t *id_value = json_string(id), *value = said ? json_string(said) : NULL;
    FILE *out = submission->stream;
    fprintf(out, "%s{\"%s\": ", submission->n_entries++ ? ", " : "[", key);
    if (numeric)
        fputs(id, out);
    else
        submission->failed |= !id_value || json_dumpf(id_value, out, flags) != 0;
    fputs(", \"answer\": ", out);
    submission->failed |= !value || json_dumpf(value, out, flags) != 0;
    fputc('}', out);
    json_decref(id_value);
    json_decref(value);
    free(said);
}

enum status vqa_submission_close(struct vqa_submission *submission, const char *path, struct error *err)
{
    enum status status = OK;
    fputs(submission->n_entries ? "]" : "[]", submission->stream);
    if (fclose(submission->stream) != 0 || submission->failed)
        status = path ? fail(err, NO_MACHINE, "%s: no memory for the submission", path) : OK;
    else if (path)
        status = file_write(path, submission->bytes, submission->n, err);
    free(submission->bytes);
    return status;
}
