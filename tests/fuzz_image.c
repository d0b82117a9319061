/* libFuzzer target: any bytes through image_decode, and what decodes through the processor.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address -o fuzz_image tests/fuzz_image.c core/…  && ./fuzz_image corpus/
 */
#include <stdlib.h>

#include "../core/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    static float pixels[3 * 28 * 28];
    struct processor processor = {
        28, 28, IMAGE_MODE_PAD, 1.0 / 255.0, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};
    struct image image;
    struct error err;
    if (image_decode(&image, bytes, n_bytes, "input", &err) != OK)
        return 0;
    processor.mode = n_bytes & 1 ? IMAGE_MODE_CROP : IMAGE_MODE_PAD;
    if ((size_t)image.width * (size_t)image.height < 1u << 20 &&
        preprocess(pixels, &image, &processor, &err) != OK)
        abort();
    image_free(&image);
    return 0;
}
