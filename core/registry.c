/* All methods: a new one is one file and one line here. */
#include <string.h>

#include "reducer.h"

extern const struct reducer reducer_vanilla, reducer_sparsevlm, reducer_fastv, reducer_random;

static const struct reducer *const registry[] = {
    &reducer_vanilla,
    &reducer_sparsevlm,
    &reducer_fastv,
    &reducer_random,
};

const struct reducer *const *reducers(int *n)
{
    *n = sizeof registry / sizeof *registry;
    return registry;
}

const struct reducer *reducer_find(const char *name)
{
    for (unsigned i = 0; i < sizeof registry / sizeof *registry; i++)
        if (strcmp(registry[i]->name, name) == 0)
            return registry[i];
    return NULL;
}
