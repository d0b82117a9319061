/* Prompt templates: question text with its placeholders to the final string. Names: `vicuna_v1` (LLaVA's
 * evaluation: system "A chat between a curious user …", USER/ASSISTANT), `llava_v1` ("curious human"),
 * `llava-hf` ("USER: <image>\nQ ASSISTANT:", no system). */
#ifndef WINNOW_TEMPLATE_H
#define WINNOW_TEMPLATE_H

#include "error.h"

/* One turn: with `first`, the opening (system text, "USER: ", one "<image>\n" per image, question); else what
 * continues after an answer (its closing "</s>" included). The caller frees *out. */
enum status template_prompt(char **out, const char *name, const char *question, int n_images, int first,
                            struct error *err);
const char *const *template_names(void); /* NULL-terminated */

#endif
