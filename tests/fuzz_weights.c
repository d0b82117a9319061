/* libFuzzer on core/weights.c: any bytes as a safetensors file; what loads is read to its last byte.
 * clang -fsanitize=fuzzer,address. */
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../core/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    char path[64], hex[65];
    struct error err;
    struct weights *weights;
    struct weights_tensor tensor;
    int fd = memfd_create("fuzz", 0);
    ENSURE(fd >= 0 && write(fd, data, n_bytes) == (ssize_t)n_bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (weights_open(&weights, path, &err) == OK) {
        weights_sha256(hex, weights, &err);
        weights_get(&tensor, weights, "model.layers.0.weight", 1, (int64_t[]){4}, &err);
        for (int i = 0; i < weights_count(weights); i++) {
            float values[4];
            weights_at(&tensor, weights, i);
            if (weights_get(&tensor, weights, tensor.name, -1, NULL, &err) == OK && tensor.n_elements >= 4)
                weights_to_f32(values, &tensor, tensor.n_elements - 4, 4);
        }
        weights_close(weights);
    }
    close(fd);
    return 0;
}
