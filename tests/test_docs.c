/* The pages in docs/ say what the code says: every registered method has its table of parameters in
 * docs/methods.md, and what stands between markers is what docs/refresh.awk would put there. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <jansson.h>

#include "core/reducer.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static const char REFRESH[] = "run `make docs`";

/* All that a command of the shell prints; it must succeed. To be freed. */
static char *output_of(const char *command)
{
    enum { ROOM = 1 << 20 };
    char *text = malloc(ROOM);
    assert_non_null(text);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(text, 1, ROOM - 1, pipe);
    text[n] = 0;
    int how = pclose(pipe);
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0)
        fail_msg("`%s` failed: %s", command, text);
    return text;
}

static char *page(const char *name)
{
    char command[1024];
    snprintf(command, sizeof command, "cat '%s/docs/%s'", WINNOW_SOURCE_DIR, name);
    return output_of(command);
}

/* What stands behind the line `marker`, up to the next <!-- end -->; NULL where there is none. To be freed.
 */
static char *between(const char *text, const char *marker)
{
    char line[128];
    snprintf(line, sizeof line, "\n%s\n", marker);
    const char *from = strstr(text, line);
    if (from == NULL)
        return NULL;
    from += strlen(line);
    const char *to = strstr(from, "<!-- end -->\n");
    return to ? strndup(from, (size_t)(to - from)) : NULL;
}

static void test_every_method_has_its_table(void **state)
{
    (void)state;
    int n;
    const struct reducer *const *all = reducers(&n);
    char *text = page("methods.md");
    for (int i = 0; i < n; i++) {
        char marker[96], command[1024], heading[96];
        snprintf(marker, sizeof marker, "<!-- params %s -->", all[i]->name);
        snprintf(heading, sizeof heading, "\n### %s\n", all[i]->name);
        if (strstr(text, heading) == NULL)
            fail_msg("docs/methods.md has no section '### %s'; write one, with the lines '%s' and "
                     "'<!-- end -->' below it, and %s",
                     all[i]->name, marker, REFRESH);
        char *there = between(text, marker);
        if (there == NULL)
            fail_msg(
                "docs/methods.md has no table between '%s' and '<!-- end -->'; write these two lines and %s",
                marker, REFRESH);
        snprintf(command, sizeof command, "'%s' list params %s --markdown", WINNOW_EXECUTABLE, all[i]->name);
        char *now = output_of(command);
        if (strcmp(there, now) != 0)
            fail_msg("docs/methods.md: the table of %s is stale; %s. It says\n%sand should say\n%s",
                     all[i]->name, REFRESH, there, now);
        free(there);
        free(now);
    }
    free(text);
}

/* All pages: tables of methods that are gone, schedules, quoted files. */
static void test_what_stands_between_markers_is_fresh(void **state)
{
    (void)state;
    DIR *dir = opendir(WINNOW_SOURCE_DIR "/docs");
    assert_non_null(dir);
    int n_pages = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char command[1024];
        const char *dot = strrchr(entry->d_name, '.');
        if (dot == NULL || strcmp(dot, ".md") != 0)
            continue;
        n_pages++;
        snprintf(command, sizeof command,
                 "cd '%s' && awk -v winnow=\"'%s'\" -f docs/refresh.awk 'docs/%s' 2>&1", WINNOW_SOURCE_DIR,
                 WINNOW_EXECUTABLE, entry->d_name);
        char *fresh = output_of(command), *text = page(entry->d_name);
        if (strcmp(fresh, text) != 0)
            fail_msg("docs/%s is stale between its markers; %s", entry->d_name, REFRESH);
        free(fresh);
        free(text);
    }
    closedir(dir);
    assert_true(n_pages >= 4);
}

static void test_the_example_is_quoted_whole(void **state)
{
    (void)state;
    char *text = page("adding-a-method.md"), *file = page("example_method.c"), *expected = NULL;
    char *there = between(text, "<!-- file docs/example_method.c -->");
    size_t size = strlen(file) + 32;
    if (there == NULL)
        fail_msg("docs/adding-a-method.md does not quote docs/example_method.c between its markers");
    expected = malloc(size);
    assert_non_null(expected);
    snprintf(expected, size, "```c\n%s```\n", file);
    if (strcmp(there, expected) != 0)
        fail_msg("docs/adding-a-method.md quotes another docs/example_method.c; %s", REFRESH);
    free(text);
    free(file);
    free(there);
    free(expected);
}

/* A stale table, a method that is not there and a missing end are found by the refresher, not passed on. */
static void test_the_refresher_refuses_broken_pages(void **state)
{
    (void)state;
    static const char *const pages[] = {"<!-- params nothing -->\n<!-- end -->\n", "<!-- schedules -->\n",
                                        "<!-- params fastv -->\n<!-- params tome -->\n<!-- end -->\n",
                                        "<!-- file docs/nothing.c -->\n<!-- end -->\n"};
    for (unsigned i = 0; i < sizeof pages / sizeof *pages; i++) {
        char command[2048];
        snprintf(command, sizeof command,
                 "cd '%s' && printf '%s' | awk -v winnow=\"'%s'\" -f docs/refresh.awk >/dev/null 2>&1",
                 WINNOW_SOURCE_DIR, pages[i], WINNOW_EXECUTABLE);
        int how = system(command);
        if (!WIFEXITED(how) || WEXITSTATUS(how) == 0)
            fail_msg("page %u was taken", i);
    }
}

/* `winnow list … --json` is one document that names what the lists name. */
static void test_lists_are_json(void **state)
{
    (void)state;
    static const char *const lists[][2] = {{"methods", "methods"},       {"params", "methods"},
                                           {"params tome", "methods"},   {"families", "families"},
                                           {"benchmarks", "benchmarks"}, {"devices", "devices"},
                                           {"grids", "grids"},           {"schedules", "schedules"}};
    for (unsigned i = 0; i < sizeof lists / sizeof *lists; i++) {
        char command[1024];
        json_error_t error;
        snprintf(command, sizeof command, "'%s' list %s --json", WINNOW_EXECUTABLE, lists[i][0]);
        char *text = output_of(command);
        json_t *root = json_loads(text, 0, &error);
        if (root == NULL)
            fail_msg("`%s`: %s", command, error.text);
        if (json_array_size(json_object_get(root, lists[i][1])) == 0)
            fail_msg("`%s` names nothing: %s", command, text);
        json_decref(root);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_method_has_its_table),
                                       cmocka_unit_test(test_what_stands_between_markers_is_fresh),
                                       cmocka_unit_test(test_the_example_is_quoted_whole),
                                       cmocka_unit_test(test_the_refresher_refuses_broken_pages),
                                       cmocka_unit_test(test_lists_are_json)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
