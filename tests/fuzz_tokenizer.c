/* libFuzzer on core/tokenizer.c: bytes up to the first 0 as a tokenizer.json, the rest as a text for it; what
 * is encoded is decoded again. clang -fsanitize=fuzzer,address. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../core/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct error err;
    struct tokenizer *tokenizer;
    const char *bytes = (const char *)data;
    const char *end = n_bytes > 0 ? memchr(bytes, 0, n_bytes) : NULL;
    size_t n_json = end != NULL ? (size_t)(end - bytes) : n_bytes;
    if (tokenizer_parse(&tokenizer, bytes, n_json, "fuzz", &err) != OK)
        return 0;
    const char *texts[] = {end != NULL ? end + 1 : "", "USER: <image>\nA b, é 中?</s>"};
    const int64_t n_texts[] = {end != NULL ? (int64_t)(n_bytes - n_json - 1) : 0, -1};
    for (int i = 0; i < 2; i++) {
        int32_t *ids;
        int n;
        if (tokenizer_encode(tokenizer, &ids, &n, texts[i], n_texts[i], i == 0, &err) != OK)
            continue;
        free(tokenizer_decode(tokenizer, ids, n, i == 0));
        free(ids);
    }
    tokenizer_close(tokenizer);
    return 0;
}
