/* Exact match of short answers, see short_answer.h. */
#include "datasets/short_answer.h"

#include <string.h>

#include "datasets/figures.h"

/* Stripped of white space and trailing periods, ASCII letters lowered. */
void short_answer_normalise(char out[SHORT_ANSWER_SIZE], const char *text, size_t n)
{
    size_t n_out = 0;
    while (n > 0 && ascii_is_space(*text))
        text++, n--;
    while (n > 0 && (ascii_is_space(text[n - 1]) || text[n - 1] == '.'))
        n--;
    for (size_t i = 0; i < n && n_out + 1 < SHORT_ANSWER_SIZE; i++)
        out[n_out++] = ascii_lower(text[i]);
    out[n_out] = '\0';
}

/* Whether a normalised answer has the part between commas or the word "and". */
static bool holds(const char *answer, const char *part)
{
    for (const char *at = answer, *end;; at = end) {
        char piece[SHORT_ANSWER_SIZE];
        for (end = at; *end && *end != ',' && strncmp(end, " and ", 5) != 0; end++)
            ;
        short_answer_normalise(piece, at, (size_t)(end - at));
        if (strcmp(piece, part) == 0)
            return true;
        if (*end == '\0')
            return false;
        end += *end == ',' ? 1 : 4; /* the space after "and" may stand before the next one */
        if (strncmp(end, " and ", 5) == 0)
            end += 4;
    }
}

static bool is_alternative(const char *answer, const char *text, size_t n)
{
    char part[SHORT_ANSWER_SIZE];
    short_answer_normalise(part, text, n);
    if (!memmem(text, n, "<AND>", 5))
        return strcmp(answer, part) == 0;
    for (const char *at = text, *end = text + n; at <= end;) {
        const char *mark = memmem(at, (size_t)(end - at), "<AND>", 5);
        short_answer_normalise(part, at, (size_t)((mark ? mark : end) - at));
        if (!holds(answer, part))
            return false;
        at = mark ? mark + 5 : end + 1;
    }
    return true;
}

bool short_answer_is_right(const char *answer, const char *gold)
{
    for (const char *mark;; gold = mark + 4) {
        mark = strstr(gold, "<OR>");
        if (is_alternative(answer, gold, mark ? (size_t)(mark - gold) : strlen(gold)))
            return true;
        if (!mark)
            return false;
    }
}
