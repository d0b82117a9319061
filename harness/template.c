/* Prompt templates, see template.h. Sources: LLaVA llava/conversation.py (separator style TWO), the chat
 * format on the model card of llava-hf/llava-1.5-7b-hf. */
#include "harness/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/memory.h"
#include "datasets/pictures.h"

static const struct {
    const char *name, *opening;
} templates[] = {
    {"vicuna_v1",
     "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
     "helpful, detailed, and polite answers to the user's questions. USER: "},
    {"llava_v1",
     "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
     "helpful, detailed, and polite answers to the human's questions. USER: "},
    {"llava-hf", "USER: "},
};
enum { N_TEMPLATES = sizeof templates / sizeof templates[0] };

static const char next_turn[] = "</s>USER: ", placeholder[] = "<image>", closing[] = " ASSISTANT:";

const char *const *template_names(void)
{
    static const char *names[N_TEMPLATES + 1];
    for (int i = 0; i < N_TEMPLATES; i++)
        names[i] = templates[i].name;
    return names;
}

enum status template_prompt(char **out, const char *name, const char *question, struct placeholders images,
                            int first, struct error *err)
{
    int t = 0;
    *out = NULL;
    while (t < N_TEMPLATES && strcmp(templates[t].name, name) != 0)
        t++;
    if (t == N_TEMPLATES) {
        char shown[PRINTABLE_SIZE], choices[128] = "";
        for (t = 0; t < N_TEMPLATES; t++)
            snprintf(choices + strlen(choices), sizeof choices - strlen(choices), "%s%s", t ? ", " : "",
                     templates[t].name);
        return fail(err, BAD_INPUT, "there is no template \"%s\"; there are %s", printable(shown, name),
                    choices);
    }
    if (images.n < 0 || images.n > LIMIT_IMAGES)
        return fail(err, BAD_INPUT, "a prompt may have 0 to %d images, found %d", LIMIT_IMAGES, images.n);
    const char *opening = first ? templates[t].opening : next_turn;
    size_t n_question = strlen(question);
    if (n_question > LIMIT_TEXT_BYTES)
        return fail(err, BAD_INPUT, "a question may have %d bytes, found %zu", LIMIT_TEXT_BYTES, n_question);
    size_t size = strlen(opening) + (size_t)images.n * sizeof placeholder + n_question + sizeof closing;
    char *at = *out = memory_alloc(size, 1);
    if (!at)
        return memory_failed(err, "prompt", size);
    at = stpcpy(at, opening);
    for (int i = 0; i < images.n; i++) {
        at = stpcpy(at, placeholder);
        if (!images.joined || i + 1 == images.n)
            *at++ = '\n';
    }
    at = stpcpy(at, question);
    stpcpy(at, closing);
    return OK;
}

struct placeholders sample_placeholders(const struct dataset *dataset, int row)
{
    return (struct placeholders){.n = sample_n_pictures(dataset, row),
                                 .joined = dataset->samples[row].media == MEDIA_VIDEO};
}
