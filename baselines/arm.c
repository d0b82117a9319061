/* Schedules of the control arms, see arm.h. */
#include "arm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* The shadowed method at the same budget, with its own defaults. `like` is METHOD or METHOD-MODE. */
bool arm_shadows(struct method *out, const struct method *method)
{
    if (param_is(&method->params, "at", "input"))
        return false;
    char name[64];
    struct error err;
    for (int i = 0; i < method->params.n; i++)
        if (strcmp(method->params.table[i].name, "like") == 0)
            param_format(name, sizeof name, &method->params.table[i], &method->params.values[i]);
    char *mode = strchr(name, '-');
    if (mode)
        *mode++ = 0;
    if (method_init(out, name, &err) != OK || (mode && method_set(out, "mode", mode, &err) != OK))
        return false;
    out->budget = method->budget;
    out->match = method->match;
    out->latency = method->latency;
    return true;
}

static enum status plan_shadow(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    struct method shadowed;
    ENSURE(arm_shadows(&shadowed, method));
    TRY(method_plan(out, &shadowed, input, err));
    if (plan_is_adaptive(out) && input->shadow)
        *out = *input->shadow;
    int n = input->n_visual, n_cuts = 0;
    for (int i = 0; i < out->n_cuts; i++) {
        struct plan_cut cut = out->cuts[i];
        cut.keep += cut.clusters;
        cut.recycled = cut.clusters = 0;
        bool nothing = cut.adaptive ? input->shadow != NULL : cut.keep >= n;
        if (nothing) /* a data-dependent cut that was not made in this sample */
            continue;
        n = cut.adaptive ? n : cut.keep;
        out->cuts[n_cuts++] = cut;
    }
    out->n_cuts = n_cuts;
    return OK;
}

bool arm_has_counts(const struct method *method)
{
    struct method shadowed;
    if (arm_shadows(&shadowed, method) && shadowed.reducer->has_counts(&shadowed))
        return true;
    return params_has(&method->params, "keep");
}

enum status arm_plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                            struct error *err)
{
    if (param_is(&method->params, "at", "input"))
        return plan_input_counts(out, method, input, err);
    if (params_has(&method->params, "keep"))
        return fail(err, BAD_INPUT,
                    "method %s: keep goes with at=input; at=decoder takes the counts of the method shadowed",
                    method->reducer->name);
    return plan_shadow(out, method, input, err);
}

enum status arm_plan_official(struct plan *out, const struct method *method, const struct plan_input *input,
                              double budget, struct error *err)
{
    if (param_is(&method->params, "at", "decoder"))
        return plan_shadow(out, method, input, err);
    return plan_input_official(out, method, input, budget, err);
}

enum status arm_places(struct place **out, const struct view *view, struct error *err)
{
    *out = memory_alloc((size_t)view->n_visual + 1, sizeof **out);
    if (*out == NULL)
        return memory_failed(err, "places of tokens", (size_t)view->n_visual * sizeof **out);
    int n = 0;
    for (int i = 0; i < view->sequence->n; i++) {
        const struct token *token = &view->sequence->tokens[i];
        if (token->kind == TOKEN_TEXT)
            continue;
        struct patch_grid grid = view->grids[token->image];
        (*out)[n++] = token->cell < 0
                          ? (struct place){-1, -1, grid}
                          : (struct place){token->cell / grid.cols, token->cell % grid.cols, grid};
    }
    return OK;
}
