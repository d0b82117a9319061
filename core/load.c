/* Tensors of a checkpoint to the backend, one at a time: converted, packed, and their mapped pages given
 * back, so that the file never sits in memory beside its packed form. Without a file the values are
 * pseudo-random (bench).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "model.h"
#include "rng.h"

void load_random(float *out, const char *name, int rank, const int64_t *shape, uint64_t seed, float gain)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= shape[i];
    uint64_t key = 0;
    for (const char *p = name; *p; p++)
        key = rng_mix(key ^ (uint64_t)(unsigned char)*p);
    float scale = rank == 1 ? 0.1f : sqrtf(3.0f / (float)(n / shape[0]));
    if (rank == 2 && (strstr(name, "q_proj") || strstr(name, "k_proj")))
        scale *= gain;
    bool norm = rank == 1 && strstr(name, "norm") != NULL && strstr(name, "bias") == NULL;
    for (int64_t i = 0; i < n; i++)
        out[i] = (norm ? 1.0f : 0.0f) + scale * (2 * rng_float(seed, key, 0, (uint64_t)i) - 1);
}

/* Values of a geometry without a checkpoint; owned by the caller. */
static enum status random_tensor(struct weights_tensor *out, float **values, struct loader *loader,
                                 const char *name, int rank, const int64_t *shape, struct error *err)
{
    memset(out, 0, sizeof *out);
    out->name = name;
    out->rank = rank;
    out->n_elements = 1;
    for (int i = 0; i < rank; i++) {
        out->shape[i] = shape[i];
        out->n_elements *= shape[i];
    }
    out->n_bytes = (size_t)out->n_elements * sizeof(float);
    *values = memory_alloc((size_t)out->n_elements, sizeof **values);
    if (*values == NULL)
        return memory_failed(err, name, out->n_bytes);
    load_random(*values, name, rank, shape, loader->seed, loader->vlm->config.query_gain);
    out->dtype = DTYPE_F32;
    out->data = (const unsigned char *)*values;
    return OK;
}

static enum status tensor_get(struct weights_tensor *out, float **values, struct loader *loader,
                              const char *name, int rank, const int64_t *shape, struct error *err)
{
    *values = NULL;
    if (loader->weights == NULL)
        return random_tensor(out, values, loader, name, rank, shape, err);
    return weights_get(out, loader->weights, name, rank, shape, err);
}

static void tensor_done(struct loader *loader, const struct weights_tensor *tensor, float *values)
{
    if (loader->weights)
        weights_release(loader->weights, tensor);
    free(values);
}

enum status load_vector(float **out, struct loader *loader, const char *name, int rank, const int64_t *shape,
                        struct error *err)
{
    const struct ops *ops = loader->vlm->ops;
    struct weights_tensor tensor;
    float *values;
    TRY(tensor_get(&tensor, &values, loader, name, rank, shape, err));
    enum status status = OK;
    size_t n_bytes = (size_t)tensor.n_elements * sizeof(float);
    float *host = values ? values : memory_alloc((size_t)tensor.n_elements, sizeof *host);
    *out = ops->alloc(n_bytes);
    if (host == NULL || *out == NULL) {
        status = memory_failed(err, name, n_bytes);
    } else {
        if (values == NULL)
            weights_to_f32(host, &tensor, 0, tensor.n_elements);
        struct compute *none = NULL; /* uploads at load need no session */
        ops->upload(none, *out, host, n_bytes);
        loader->vlm->weight_bytes += n_bytes;
    }
    if (values == NULL)
        free(host);
    tensor_done(loader, &tensor, values);
    return status;
}

enum status load_weight(struct weight *out, struct loader *loader, const char *name, int rank,
                        const int64_t *shape, struct error *err)
{
    struct weights_tensor tensor;
    float *values;
    TRY(tensor_get(&tensor, &values, loader, name, rank, shape, err));
    struct vlm *vlm = loader->vlm;
    enum status status = vlm->ops->weight_pack(out, &tensor, (int)shape[0],
                                               (int)(tensor.n_elements / shape[0]), vlm->dtype, err);
    vlm->weight_bytes += status == OK ? out->n_bytes : 0;
    tensor_done(loader, &tensor, values);
    return status;
}
