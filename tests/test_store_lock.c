/* Who may open a store, and what is said to those who may not: a second writer, a file or folder that cannot
 * be written, a path that is something else; readers are let in wherever they can be. And a clock that jumps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/memory.h"
#include "harness/store.h"

#include <cmocka.h> /* last: its fail() would hide ours */

enum { NOBODY = 65534, AT_ONCE_MS = 5000 };

static char folder[] = "/tmp/winnow-lock-XXXXXX", path[64];

static void must(enum status status, const struct error *err)
{
    if (status != OK)
        fail_msg("%s", err->text);
}

static void expect(enum status found, enum status expected, const struct error *err, const char *part)
{
    if (found != expected || strstr(err->text, part) == NULL)
        fail_msg("status %d, expected %d with '%s', found: %s", found, expected, part, err->text);
}

static const struct dataset dataset = {.name = "mini-pope", .files_sha256 = "abc"};

static enum status put_cell(int64_t *id, struct store *store, const char *key, struct error *err)
{
    int64_t source;
    TRY(store_source(&source, store, &dataset, "mini-pope", err));
    TRY(store_cell(id, store, &(struct store_cell){.key = key, .canonical = "", .source = source}, err));
    return store_tick(store, true, err);
}

static int64_t count_cells(const char *name)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    struct error err = {0};
    must(store_open_reader(&db, name, &err), &err);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM cells", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/winnow-lock-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/s.db", folder);
    return chmod(folder, 0755);
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "chmod -R u+rwX '%s' && rm -rf '%s'", folder, folder);
    return system(command);
}

/* Runs `what` as somebody who may not write everywhere; it exits with 0 when all is as expected. */
static void as_nobody(int (*what)(void))
{
    int how;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
            _exit(99);
        _exit(what());
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
}

static int open_fails_with(const char *part)
{
    struct error err = {0};
    struct store *store;
    enum status status = store_open(&store, path, &err);
    if (status == NO_MACHINE && strstr(err.text, part))
        return 0;
    fprintf(stderr, "status %d: %s\n", status, err.text);
    return 1;
}

/* ---- two writers ---------------------------------------------------------------------------- */

/* A process that holds the store open until it is killed. */
static pid_t start_writer(void)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct error err = {0};
        struct store *store;
        int64_t cell;
        if (store_open(&store, path, &err) != OK || put_cell(&cell, store, "k", &err) != OK ||
            store_begin(store, &err) != OK || write(ready[1], &byte, 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void a_second_writer_is_told_who_the_first_is(void **state)
{
    (void)state;
    struct error err = {0};
    struct store *store;
    char link[80], process[32], lock[80];
    int how;
    pid_t writer = start_writer();
    snprintf(process, sizeof process, "(process %ld on ", (long)writer);
    double since = clock_ms();
    expect(store_open(&store, path, &err), NO_MACHINE, &err, process);
    expect(store_open(&store, path, &err), NO_MACHINE, &err, "winnow merge");
    snprintf(link, sizeof link, "%s/link.db", folder);
    assert_int_equal(symlink("s.db", link), 0);
    expect(store_open(&store, link, &err), NO_MACHINE, &err, process);
    assert_true(clock_ms() - since < AT_ONCE_MS);
    assert_int_equal(count_cells(path), 1); /* a reader is not hindered */

    assert_int_equal(kill(writer, SIGKILL), 0);
    assert_int_equal(waitpid(writer, &how, 0), writer);
    snprintf(lock, sizeof lock, "%s.lock", path);
    assert_int_equal(access(lock, F_OK), 0); /* left behind, and nobody's */
    must(store_open(&store, path, &err), &err);
    must(store_close(store, &err), &err);
    assert_int_not_equal(access(lock, F_OK), 0);
}

/* Whoever comes first gets it, whatever lies there; never two at once. */
static void many_processes_take_turns(void **state)
{
    (void)state;
    enum { PROCESSES = 4, TURNS = 50 };
    pid_t children[PROCESSES];
    char counter[80];
    snprintf(counter, sizeof counter, "%s/counter", folder);
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] != 0)
            continue;
        for (int turns = 0; turns < TURNS;) {
            struct error err = {0};
            struct lock *lock;
            if (store_lock(&lock, path, &err) != OK) {
                usleep(100);
                continue;
            }
            int n = 0; /* read, wait, write: loses a count where two are here */
            FILE *file = fopen(counter, "r");
            if (file && fscanf(file, "%d", &n) != 1)
                _exit(1);
            if (file)
                fclose(file);
            usleep(20);
            file = fopen(counter, "w");
            fprintf(file, "%d", n + 1);
            fclose(file);
            lock_give(lock);
            turns++;
        }
        _exit(0);
    }
    for (int i = 0, how; i < PROCESSES; i++) {
        assert_int_equal(waitpid(children[i], &how, 0), children[i]);
        assert_int_equal(how, 0);
    }
    int n = 0;
    FILE *file = fopen(counter, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &n), 1);
    fclose(file);
    assert_int_equal(n, PROCESSES * TURNS);
}

/* ---- places --------------------------------------------------------------------------------- */

static void paths_that_are_no_store_are_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct store *store;
    expect(store_open(&store, folder, &err), BAD_INPUT, &err, "is a folder");
    expect(store_open(&store, "/dev/null", &err), BAD_INPUT, &err, "no regular file");
    expect(store_open(&store, "/nowhere/at/all.db", &err), NO_MACHINE, &err, "its folder /nowhere/at");
    assert_int_not_equal(access("/dev/null.lock", F_OK), 0);
}

static int read_only_file(void)
{
    return open_fails_with("make the file writable");
}

static int read_only_folder(void)
{
    if (open_fails_with("make the folder writable") != 0)
        return 1;
    return count_cells(path) == 1 ? 0 : 1;
}

static void what_cannot_be_written_is_said_and_can_be_read(void **state)
{
    (void)state;
    struct error err = {0};
    struct store *store;
    int64_t cell;
    must(store_open(&store, path, &err), &err);
    must(put_cell(&cell, store, "k", &err), &err);
    must(store_close(store, &err), &err);
    assert_int_equal(chmod(folder, 0777), 0);
    assert_int_equal(chmod(path, 0444), 0);
    as_nobody(read_only_file);
    assert_int_equal(chmod(folder, 0555), 0);
    as_nobody(read_only_folder);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(chmod(path, 0644), 0);
    must(store_open(&store, path, &err), &err);
    must(store_close(store, &err), &err);
}

/* A name in which SQLite's URIs would see more than a name. */
static int read_odd_name(void)
{
    char odd[80];
    snprintf(odd, sizeof odd, "%s/50%%? a#b.db", folder);
    return count_cells(odd) == 1 ? 0 : 1;
}

static void a_store_of_an_odd_name_can_be_read_in_a_folder_that_cannot_be_written(void **state)
{
    (void)state;
    struct error err = {0};
    struct store *store;
    int64_t cell;
    snprintf(path, sizeof path, "%s/50%%? a#b.db", folder);
    must(store_open(&store, path, &err), &err);
    must(put_cell(&cell, store, "k", &err), &err);
    must(store_close(store, &err), &err);
    assert_int_equal(chmod(folder, 0555), 0);
    as_nobody(read_odd_name);
}

/* ---- the clock ------------------------------------------------------------------------------ */

static time_t wall;

/* In place of the C library's: the store's only look at the calendar. */
time_t time(time_t *out)
{
    if (out)
        *out = wall;
    return wall;
}

static void a_clock_that_jumps_changes_nothing_but_a_date(void **state)
{
    (void)state;
    static const time_t jumps[] = {1700000000, 0, -2000000000, (time_t)1 << 40, (time_t)1 << 60};
    struct error err = {0};
    struct store *store;
    must(store_open(&store, path, &err), &err);
    for (size_t i = 0; i < sizeof jumps / sizeof *jumps; i++) {
        char key[8];
        int64_t cell;
        snprintf(key, sizeof key, "k%zu", i);
        wall = jumps[i];
        must(put_cell(&cell, store, key, &err), &err);
        must(store_sample(store, cell, &(struct store_sample){.sample_id = 0, .answer = "a"}, &err), &err);
        wall = jumps[i] / 2;
        /* The batch is young by the clock that counts, so it stays open whatever the calendar says. */
        must(store_tick(store, false, &err), &err);
        assert_int_equal(sqlite3_get_autocommit(store_connection(store)), 0);
        must(store_tick(store, true, &err), &err);
    }
    must(store_close(store, &err), &err);
    assert_int_equal(count_cells(path), sizeof jumps / sizeof *jumps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_second_writer_is_told_who_the_first_is, setup, teardown),
        cmocka_unit_test_setup_teardown(many_processes_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_that_are_no_store_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_said_and_can_be_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_of_an_odd_name_can_be_read_in_a_folder_that_cannot_be_written,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_jumps_changes_nothing_but_a_date, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
