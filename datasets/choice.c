/* Letters of options in answers, see choice.h. Sources: LLaVA llava/eval/eval_science_qa.py and
 * scripts/convert_seed_for_submission.py, VLMEvalKit vlmeval/utils/matching_util.py, lmms-eval
 * lmms_eval/tasks/{scienceqa,seedbench}/utils.py and tasks/mmbench/mmbench_evals.py. All are Python, so words
 * are split at Unicode's white space, and lengths are counted in characters. */
#include "datasets/choice.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/utf8.h"
#include "datasets/figures.h"

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static bool is_letter(char c, int n)
{
    return c >= 'A' && c < 'A' + n;
}

/* Bytes of the white space that text begins with, 0 where it begins with none; Python's str.isspace. */
static size_t space_at(const char *text)
{
    unsigned char first = (unsigned char)text[0];
    if (first < 0x80)
        return ascii_is_space(text[0]) ? 1 : 0;
    uint32_t code;
    int n = utf8_next(&code, text, strnlen(text, 4));
    return n > 0 && utf8_is_space(code) ? (size_t)n : 0;
}

/* ---- ScienceQA, SEED -------------------------------------------------------------------------------------
 */

char choice_scienceqa(const char *answer)
{
    static const char lead[] = "The answer is ";
    if (is_letter(answer[0], CHOICE_LETTERS) && (answer[1] == '\0' || (answer[1] == '.' && answer[2] == ' ')))
        return answer[0];
    char found = NO_CHOICE;
    int n_found = 0;
    /* A match takes the character after the letter with it, so that the next one starts behind. */
    for (const char *at = strstr(answer, lead); at; at = strstr(at, lead)) {
        at += sizeof lead - 1;
        if (at[0] < 'A' || at[0] > 'Z' || at[1] == '\0' || at[1] == '\n')
            continue;
        found = at[0];
        n_found++;
        at += 2;
    }
    return n_found == 1 ? found : NO_CHOICE;
}

int choice_index(char letter, int n_choices)
{
    int n = n_choices < CHOICE_LETTERS ? n_choices : CHOICE_LETTERS;
    return is_letter(letter, n) ? letter - 'A' : -1;
}

char choice_scienceqa_lmms(const char *answer)
{
    size_t n;
    const char *text = ascii_strip(&n, answer);
    if (n == 1 && text[0] >= 'a' && text[0] <= 'z')
        return (char)(text[0] - 'a' + 'A');
    bool capital = text[0] >= 'A' && text[0] <= 'Z';
    return capital && (n == 1 || text[1] == '.') ? text[0] : NO_CHOICE;
}

char choice_seed(const char *answer)
{
    return is_letter(answer[0], CHOICES_MAX) && answer[1] == '\0' ? answer[0] : NO_CHOICE;
}

char choice_seed_lmms(const char *answer)
{
    size_t n;
    while ((n = space_at(answer)) > 0)
        answer += n;
    char letter = answer[0] >= 'a' && answer[0] <= 'z' ? (char)(answer[0] - 'a' + 'A') : answer[0];
    return is_letter(letter, CHOICES_MAX) ? letter : NO_CHOICE;
}

/* ---- the text of an option -------------------------------------------------------------------------------
 */

/* Lower case in place, as far as a letter keeps its length in UTF-8: ASCII, Latin-1, Greek, Cyrillic. */
static void lower(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at; at++) {
        *at = (unsigned char)ascii_lower((char)*at);
        unsigned char c = at[1];
        if (*at == 0xc3 && c >= 0x80 && c <= 0x9e && c != 0x97)
            at[1] = (unsigned char)(c + 0x20);
        else if (*at == 0xce && c >= 0x91 && c <= 0x9f)
            at[1] = (unsigned char)(c + 0x20);
        else if (*at == 0xce && c >= 0xa0 && c <= 0xa9 && c != 0xa2)
            at[0] = 0xcf, at[1] = (unsigned char)(c - 0x20);
        else if (*at == 0xd0 && c >= 0x90 && c <= 0x9f)
            at[1] = (unsigned char)(c + 0x20);
        else if (*at == 0xd0 && c >= 0xa0 && c <= 0xaf)
            at[0] = 0xd1, at[1] = (unsigned char)(c - 0x20);
        else if (*at == 0xd0 && c >= 0x80 && c <= 0x8f)
            at[0] = 0xd1, at[1] = (unsigned char)(c + 0x10);
        else
            continue;
        at++;
    }
}

static size_t count_characters(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* The one option, of the first n letters, whose text the answer holds. times: an answer of more characters
 * than so often all the options' is not looked at; 0: any is. */
static char infer_text(const char *answer, const struct choices *choices, int n, size_t times)
{
    size_t sum = 0;
    n = choices->n < n ? choices->n : n;
    for (int i = 0; i < n; i++)
        sum += choices->text[i] ? count_characters(choices->text[i]) : 0;
    if (times > 0 && count_characters(answer) > times * sum)
        return NO_CHOICE;
    char *lowered = memory_text(answer), found = NO_CHOICE;
    int n_found = 0;
    if (!lowered)
        return NO_CHOICE;
    lower(lowered);
    for (int i = 0; i < n; i++) {
        char *option = choices->text[i] ? memory_text(choices->text[i]) : NULL;
        if (!option)
            continue;
        lower(option);
        if (strstr(lowered, option)) {
            found = (char)('A' + i);
            n_found++;
        }
        free(option);
    }
    free(lowered);
    return n_found == 1 ? found : NO_CHOICE;
}

/* ---- VLMEvalKit ------------------------------------------------------------------------------------------
 */

/* Past the word at the start whatever its case, or NULL. */
static const char *skip_word(const char *text, const char *word)
{
    for (; *word; word++, text++)
        if (ascii_lower(*text) != *word)
            return NULL;
    return text;
}

/* Past the white space, of which there must be some; or NULL. */
static const char *skip_space(const char *text)
{
    const char *start = text;
    for (size_t n; (n = space_at(text)) > 0;)
        text += n;
    return text > start ? text : NULL;
}

/* The first "answer is X" with X one of A to D, of any case and perhaps after asterisks. "The answer is a
 * dog" is such a one, as it is officially. */
static char infer_verbose(const char *answer)
{
    for (; *answer; answer++) {
        const char *at = skip_word(answer, "answer");
        at = at ? skip_space(at) : NULL;
        at = at ? skip_word(at, "is") : NULL;
        at = at ? skip_space(at) : NULL;
        if (!at)
            continue;
        at += strspn(at, "*");
        if (is_one_of(*at, "ABCDabcd"))
            return *at >= 'a' ? (char)(*at - 'a' + 'A') : *at;
    }
    return NO_CHOICE;
}

static bool has_choice(const struct choices *choices, char letter)
{
    return is_letter(letter, choices->n) && choices->text[letter - 'A'];
}

static char infer_option(const char *answer, const struct choices *choices)
{
    static const char *const refusals[] = {
        "Sorry, I can't help with images of people yet.", "I can't process this file.",
        "I'm sorry, but without the image provided", "Cannot determine the answer"};
    static const char marks[] = ".()[],:;!*#{}";
    if (strstr(answer, "Failed to obtain answer via API"))
        return NO_CHOICE;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (strstr(answer, refusals[i]))
            return 'Z';
    size_t first[CHOICES_MAX] = {0}, n_words = 0; /* first: number of the first word that is the letter */
    for (const char *at = answer; *at;) {
        size_t gap = is_one_of(*at, marks) ? 1 : space_at(at);
        if (gap > 0) {
            at += gap;
            continue;
        }
        const char *word = at;
        while (*at && !is_one_of(*at, marks) && space_at(at) == 0)
            at++;
        n_words++;
        if (at - word == 1 && is_letter(*word, CHOICES_MAX) && first[*word - 'A'] == 0)
            first[*word - 'A'] = n_words;
    }
    int n_letters = 0;
    char letter = NO_CHOICE;
    for (int i = 0; i < choices->n; i++)
        if (choices->text[i] && first[i] > 0) {
            letter = (char)('A' + i);
            n_letters++;
        }
    if (n_letters == 1 && first[letter - 'A'] + 4 > n_words)
        return letter;
    if (n_letters == 0 && first['Z' - 'A'] > 0)
        return 'Z';
    letter = infer_verbose(answer);
    return has_choice(choices, letter) ? letter : NO_CHOICE;
}

char choice_vlmeval(const char *answer, const struct choices *choices)
{
    char letter = infer_option(answer, choices);
    return letter ? letter : infer_text(answer, choices, CHOICES_MAX, 2);
}

/* ---- lmms-eval's MMBench ---------------------------------------------------------------------------------
 */

/* What may stand around a letter, in the order in which it is looked for. */
static const char *const around[][2] = {{"", "."},  {"", ","},  {"", ":"},   {"", ")"},
                                        {"", ")."}, {"(", ")"}, {"(", ")."}, {":", ""},
                                        {":", ","}, {":", "."}, {":", ")"},  {":", ")."}};
enum { N_AROUND = sizeof around / sizeof around[0] };

/* Whether the word is PREFIX letter SUFFIX. */
static char letter_within(const char *word, size_t n, const char *prefix, const char *suffix)
{
    size_t before = strlen(prefix), after = strlen(suffix);
    bool fits = n == before + 1 + after && memcmp(word, prefix, before) == 0 &&
                memcmp(word + before + 1, suffix, after) == 0 && is_letter(word[before], CHOICE_LETTERS);
    return fits ? word[before] : NO_CHOICE;
}

static char only_letter(const bool seen[CHOICE_LETTERS])
{
    int n = 0;
    char letter = NO_CHOICE;
    for (int i = 0; i < CHOICE_LETTERS; i++)
        if (seen[i]) {
            letter = (char)('A' + i);
            n++;
        }
    return n == 1 ? letter : NO_CHOICE;
}

static char infer_option_lmms(const char *answer)
{
    bool alone[CHOICE_LETTERS] = {false}, marked[N_AROUND][CHOICE_LETTERS] = {{false}};
    size_t n_words = 0;
    if (strstr(answer, "Failed to obtain answer via API"))
        return NO_CHOICE;
    for (const char *at = answer; *at;) {
        size_t gap = space_at(at);
        if (gap > 0) {
            at += gap;
            continue;
        }
        const char *word = at;
        while (*at && space_at(at) == 0)
            at++;
        size_t n = (size_t)(at - word);
        n_words++;
        char letter = letter_within(word, n, "", "");
        if (letter)
            alone[letter - 'A'] = true;
        for (int i = 0; i < N_AROUND && n <= 4; i++)
            if ((letter = letter_within(word, n, around[i][0], around[i][1])))
                marked[i][letter - 'A'] = true;
    }
    char letter = only_letter(alone);
    if (letter && !(letter == 'A' && n_words > 3)) /* "A" in a sentence may be its article */
        return letter;
    for (int i = 0; i < N_AROUND; i++)
        if ((letter = only_letter(marked[i])))
            return letter;
    return NO_CHOICE;
}

char choice_lmms(const char *answer, const struct choices *choices)
{
    char letter = infer_option_lmms(answer);
    return letter ? letter : infer_text(answer, choices, 4, 0);
}

void choice_parsed(char *parsed, size_t size, char letter, const char *answer)
{
    size_t n;
    const char *text = ascii_strip(&n, answer);
    if (letter) {
        snprintf(parsed, size, "%c", letter);
        return;
    }
    if (n >= size)
        for (n = size - 1; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80;)
            n--; /* no half of a character */
    memcpy(parsed, text, n);
    parsed[n] = '\0';
}
