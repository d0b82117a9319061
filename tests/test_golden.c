/* `winnow parity` on the golden cases of what is built: every stage equal to Hugging Face, every selection
 * equal to the methods' reference, with both backends. Skips, saying so, where the cases are not there. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "shared.h"

#include <cmocka.h>

/* Cases of families and methods that the runtime has. */
static bool is_built(const char *name)
{
    static const char *const wanted[] = {"llava15-mha-", "llava15-gqa-", "llava15-f16-", "prototype-",
                                         "sparsevlm-",   "fastv-",       "pdrop-",       "tome-"};
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (strncmp(name, wanted[i], strlen(wanted[i])) == 0)
            return true;
    return false;
}

static void parity(const char *device, const char *only)
{
    char root[4096], *command = calloc(1, 1 << 20);
    assert_non_null(command);
    if (shared_path(root, sizeof root, "golden/cases") == NULL) {
        print_message("no golden cases beside the project: skipped\n");
        free(command);
        skip();
    }
    int used = snprintf(command, 1 << 20, "'%s' parity --device %s", WINNOW_EXECUTABLE, device), n = 0;
    DIR *dir = opendir(root);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (is_built(entry->d_name) && (only == NULL || strstr(entry->d_name, only))) {
            used += snprintf(command + used, (size_t)((1 << 20) - used), " '%s/%s'", root, entry->d_name);
            n++;
        }
    closedir(dir);
    assert_true(n > 0);
    /* the failures and the last line are shown; status and last line decide */
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    char line[1024], last[1024] = "";
    while (fgets(line, sizeof line, pipe)) {
        if (strncmp(line, "ok ", 3) != 0)
            fputs(line, stdout);
        memcpy(last, line, sizeof last);
    }
    int how = pclose(pipe);
    free(command);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
    int n_checks = 0, n_failed = -1, n_skipped = -1;
    assert_int_equal(sscanf(last, "%d checks, %d failed, %d skipped", &n_checks, &n_failed, &n_skipped), 3);
    assert_int_equal(n_failed, 0);
    assert_int_equal(n_skipped, 0); /* what is built is not skipped */
    assert_true(n_checks >= 10 * n);
}

static void test_cpu(void **state)
{
    (void)state;
    parity("cpu", NULL);
}

static void test_ref(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    parity("ref", "-64"); /* slow enough under the sanitizers */
#else
    parity("ref", NULL);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cpu), cmocka_unit_test(test_ref)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
