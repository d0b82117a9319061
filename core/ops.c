/* The table of backends and the host-side table of rotary angles, see ops.h. */
#include "ops.h"

#include <math.h>
#include <string.h>

static const struct ops *const BACKENDS[] = {
    &ops_cpu,
    &ops_ref,
};
enum { N_BACKENDS = sizeof BACKENDS / sizeof BACKENDS[0] };

const struct ops *const *ops_all(int *n)
{
    *n = N_BACKENDS;
    return BACKENDS;
}

const struct ops *ops_find(const char *name)
{
    for (int i = 0; i < N_BACKENDS; i++)
        if (strcmp(BACKENDS[i]->name, name) == 0)
            return BACKENDS[i];
    return NULL;
}

/* inv_freq[j] = theta^(-2j/d) and angle = position · inv_freq, each rounded to f32 where Hugging Face rounds
 * it (its table is float32 from the exponent on); linear scaling divides inv_freq by its factor. */
void rope_table(float *host, int n_positions, int head_dim, double theta, double factor)
{
    ENSURE(head_dim % 2 == 0);
    int half = head_dim / 2;
    for (int j = 0; j < half; j++) {
        float exponent = (float)(2 * j) / (float)head_dim;
        float inv_freq = 1.0f / powf((float)theta, exponent);
        inv_freq /= (float)factor;
        for (int p = 0; p < n_positions; p++) {
            float angle = (float)p * inv_freq;
            float *row = host + (size_t)p * (size_t)head_dim;
            row[j] = cosf(angle);
            row[half + j] = sinf(angle);
        }
    }
}
