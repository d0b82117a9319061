/* Keys of cells, see key.h. */
#include "harness/key.h"

#include <stdio.h>  /* open_memstream */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/memory.h" /* memory_failed */
#include "core/sha256.h" /* sha256_hex */

char *key_arm_text(const struct method *method, enum control control, uint64_t seed, uint64_t run_seed)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (out == NULL)
        return NULL;
    fprintf(out, "method=%s\n", method->reducer->name);
    for (int i = 0; i < method->params.n; i++) {
        const struct param *row = &method->params.table[i];
        char value[PARAM_LIST_MAX * 32];
        param_format(value, sizeof value, row, &method->params.values[i]);
        bool differs =
            method->params.values[i].present && (!row->fallback || strcmp(value, row->fallback) != 0);
        if (differs && strcmp(row->name, "seed") != 0) /* the seed has a line of its own */
            fprintf(out, "param.%s=%s\n", row->name, value);
    }
    if (method->budget.given) {
        char budget[64];
        budget_format(budget, sizeof budget, &method->budget);
        fprintf(out, "budget=%s\nmatch=%s\n", budget, match_names[method->match]);
    }
    fprintf(out, "control=%s\n", control_names[control]);
    if (control == CONTROL_MISMATCHED)
        fprintf(out, "mismatch_seed=%llu\n", (unsigned long long)run_seed);
    fprintf(out, "seed=%llu\n", (unsigned long long)seed);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

enum status key_make(char key[KEY_SIZE], char **canonical, const struct key_parts *parts, struct error *err)
{
    char *text = NULL;
    size_t n = 0;
    *canonical = NULL;
    FILE *out = open_memstream(&text, &n);
    if (out == NULL)
        return memory_failed(err, "the key of a cell", 1024);
    fprintf(out, "weights=%s\nfiles=%s\ntemplate=%s\nimage_mode=%s\nmax_new_tokens=%d\n", parts->weights_sha,
            parts->files_sha, parts->template, parts->image_mode, parts->max_new_tokens);
    fprintf(out, "%ssplit=%s\nbackend=%s\ndtype=%s\nnumerics=%d\n", parts->arm, parts->split, parts->backend,
            parts->dtype, NUMERICS);
    if (fclose(out) != 0) {
        free(text);
        return memory_failed(err, "the key of a cell", n);
    }
    char hex[65];
    sha256_hex(hex, text, n);
    memcpy(key, hex, KEY_SIZE - 1);
    key[KEY_SIZE - 1] = 0;
    *canonical = text;
    return OK;
}
