/* SHA-256 against FIPS 180-4's own examples and, for every way to cut a text into pieces, Python's hashlib.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/sha256.h"

#include <cmocka.h>

static void published(void **state)
{
    (void)state;
    char hex[65];
    sha256_hex(hex, "", 0);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_hex(hex, "abc", 3);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_hex(hex, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    enum { N = 1000000 };
    char *text = malloc(N);
    assert_non_null(text);
    memset(text, 'a', N);
    sha256_hex(hex, text, N);
    free(text);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Lengths around whole blocks, in two pieces cut where no block ends. */
static void pieces(void **state)
{
    (void)state;
    static uint8_t bytes[5000];
    struct sha256 all;
    char hex[65];
    for (int i = 0; i < 5000; i++)
        bytes[i] = (uint8_t)(i * 131 + i / 7);
    sha256_init(&all);
    for (size_t n = 0; n < sizeof bytes; n += n < 300 ? 1 : 97) {
        struct sha256 sha;
        sha256_init(&sha);
        sha256_update(&sha, bytes, n / 3);
        sha256_update(&sha, bytes + n / 3, n - n / 3);
        sha256_final(&sha, hex);
        sha256_update(&all, hex, 64);
    }
    sha256_final(&all, hex);
    assert_string_equal(hex, "34b85d6f3e406a9053847064a46396d7a92c6fcc4d20c03a41042cd8cc0835b3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published),
        cmocka_unit_test(pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
