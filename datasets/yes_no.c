/* Yes or no, as the scorers of POPE and MME read it, see yes_no.h. */
#include "datasets/yes_no.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/utf8.h"
#include "datasets/figures.h"

/* First sentence, commas deleted, split at single spaces (not at newlines); only No, not and no mean no. */
const char *yes_no_sentence(const char *answer)
{
    char word[4]; /* the longest that counts has 3 characters */
    size_t n = 0;
    for (const char *at = answer;; at++) {
        bool end = *at == '\0' || *at == '.';
        if (end || *at == ' ') {
            if (n < sizeof word) {
                word[n] = '\0';
                if (!strcmp(word, "No") || !strcmp(word, "not") || !strcmp(word, "no"))
                    return "no";
            }
            n = 0;
        } else if (*at != ',' && n < sizeof word) {
            word[n++] = *at;
        }
        if (end)
            return "yes";
    }
}

const char *yes_no_whole(const char *answer)
{
    char word[4];
    size_t n = 0, end = strlen(answer);
    while (ascii_is_space(*answer))
        answer++, end--;
    while (end > 0 && ascii_is_space(answer[end - 1]))
        end--;
    if (end >= sizeof word)
        return "other";
    for (; n < end; n++)
        word[n] = ascii_lower(answer[n]);
    word[n] = '\0';
    return strcmp(word, "yes") == 0 ? "yes" : strcmp(word, "no") == 0 ? "no" : "other";
}

/* A mark is deleted where it stands beside a space anywhere in the text (or the text holds digit,digit), else
 * it becomes a space; then up to 32 periods that touch no digit go (the official count, an argument in the
 * wrong place). Answers longer than the buffer are judged by its beginning. */
const char *yes_no_words(const char *answer)
{
    static const char marks[] = ";/[]\"{}()=+\\_-><@`,?!";
    enum { SIZE = 16384 };
    char in[SIZE], out[SIZE];
    bool strip[256] = {false}, digits_comma = false, yes = false, no = false;
    size_t n = 0, n_out = 0;
    for (; n < SIZE - 1 && answer[n] != '\0'; n++)
        in[n] = ascii_lower(answer[n]);
    in[n] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (in[i + 1] == ' ' || (i > 0 && in[i - 1] == ' '))
            strip[(unsigned char)in[i]] = true;
        if (i > 0 && in[i] == ',' && ascii_is_digit(in[i - 1]) && ascii_is_digit(in[i + 1]))
            digits_comma = true;
    }
    for (size_t i = 0; i < n; i++) {
        if (!strchr(marks, in[i]))
            out[n_out++] = in[i];
        else if (!digits_comma && !strip[(unsigned char)in[i]])
            out[n_out++] = ' ';
    }
    out[n_out] = '\0';
    char word[4];
    size_t in_word = 0;
    int n_periods = 0;
    for (size_t i = 0; i <= n_out; i++) {
        if (out[i] == '.' && (i == 0 || !ascii_is_digit(out[i - 1])) && !ascii_is_digit(out[i + 1]) &&
            n_periods < 32) {
            n_periods++;
            continue;
        }
        if (i < n_out && !ascii_is_space(out[i])) {
            if (in_word < sizeof word)
                word[in_word++] = out[i];
            continue;
        }
        yes |= in_word == 3 && memcmp(word, "yes", 3) == 0;
        no |= in_word == 2 && memcmp(word, "no", 2) == 0;
        in_word = 0;
    }
    return yes && !no ? "yes" : no && !yes ? "no" : "unknown";
}

/* "yes" within the first four characters, else "no" within them. An answer's line end, which the official
 * scorer leaves on, changes nothing: three characters of "yes" and a line end are four. */
static const char *within_four(const char *text, size_t n)
{
    char lower[16 + 1];
    size_t at = 0;
    for (int i = 0; i < 4 && at < n; i++) {
        uint32_t code;
        int bytes = utf8_next(&code, text + at, n - at);
        bytes = bytes > 0 ? bytes : 1;
        for (int k = 0; k < bytes; k++, at++)
            lower[at] = ascii_lower(text[at]);
    }
    lower[at] = '\0';
    return strstr(lower, "yes") ? "yes" : strstr(lower, "no") ? "no" : "other";
}

const char *yes_no_four(const char *answer)
{
    return within_four(answer, strlen(answer));
}

const char *yes_no_four_stripped(const char *answer)
{
    char kept[4 * 4 + 1]; /* four characters that are no periods */
    size_t n, n_kept = 0, n_characters = 0;
    const char *text = ascii_strip(&n, answer);
    for (size_t at = 0; at < n && n_characters < 5;) {
        uint32_t code;
        int bytes = utf8_next(&code, text + at, n - at);
        size_t step = bytes > 0 ? (size_t)bytes : 1;
        if (text[at] != '.') {
            if (n_characters < 4) {
                memcpy(kept + n_kept, text + at, step);
                n_kept += step;
            }
            n_characters++;
        }
        at += step;
    }
    if (n_characters == 1 && (ascii_lower(kept[0]) == 'y' || ascii_lower(kept[0]) == 'n'))
        return ascii_lower(kept[0]) == 'y' ? "yes" : "no";
    return within_four(kept, n_kept);
}
