/* Prompt templates: question text with its placeholders to the final string. Names: `vicuna_v1` (LLaVA's
 * evaluation: system "A chat between a curious user …", USER/ASSISTANT), `llava_v1` ("curious human"),
 * `llava-hf` ("USER: <image>\nQ ASSISTANT:", no system). */
#ifndef WINNOW_TEMPLATE_H
#define WINNOW_TEMPLATE_H

#include <stdbool.h>

#include "datasets/benchmark.h"
#include "error.h"

/* The pictures of a turn: one "<image>\n" each, or, joined, the frames of one clip: "<image><image>…\n". */
struct placeholders {
    int n;
    bool joined;
};

/* One turn: with `first`, the opening (system text, "USER: ", placeholders, question); else what continues
 * after an answer (its closing "</s>" included). The caller frees *out. */
enum status template_prompt(char **out, const char *name, const char *question, struct placeholders images,
                            int first, struct error *err);
/* Those of a benchmark's sample: none, one picture, or the frames of its clip. */
struct placeholders sample_placeholders(const struct dataset *dataset, int row);
const char *const *template_names(void); /* NULL-terminated */

#endif
