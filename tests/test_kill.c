/* A sweep that is killed with SIGKILL at random moments, taken up again and again until it ends, holds in
 * every row of every table, in its trace and in its twins what a sweep left alone holds.
 *
 *     WINNOW_KILLS=200 WINNOW_KILL_SEED=7 build/test_kill
 *
 * Before each kill the process is stopped and looked at, so that the last line can say what it was doing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "core/memory.h"
#include "tests/store_text.h"

#include <cmocka.h> /* last: its fail() would hide ours */

enum { KILLS = 12, VARIANTS = 4, LIMIT = 3, KILLS_OF_THE_FINISHED = 3, CYCLE_MAX = 60 };

enum phase { START_UP, DRAWING, CREATION, RUNNING, TIMING, SUMMARY, PHASES };
static const char *const phase_names[PHASES] = {"start-up", "drawing", "creation",
                                                "running",  "timing",  "summary"};

static char folder[] = "/tmp/winnow-kill-XXXXXX";
static uint64_t chance;

static const char *in_folder(const char *name)
{
    static char paths[8][256];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

/* 0 … 1 (splitmix64) */
static double draw(void)
{
    uint64_t z = chance += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

static void shell(const char *format, ...)
{
    char command[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

/* ---- the sweep under test ------------------------------------------------------------------- */

struct variant {
    bool timing, trace;
};

static struct variant variant_of(int i)
{
    return (struct variant){.timing = i % 2 == 0, .trace = i % 4 < 2};
}

static void write_sweep(struct variant variant)
{
    FILE *file = fopen(in_folder("sweep.yaml"), "w");
    assert_non_null(file);
    fprintf(file,
            "name: kill\nmodel: %s/models/miniature\n"
            "benchmarks: [{name: mini-pope, limit: %d, max_new_tokens: 2}]\n"
            "methods:\n  - vanilla\n  - {name: sparsevlm, params: {budget: 64}}\n"
            "  - {name: tome, params: {budget: 64}}\ncontrols: [blank]\n",
            WINNOW_SOURCE_DIR, LIMIT);
    if (variant.timing)
        fprintf(file, "timing: {samples: 1, repeats: 2}\n");
    if (variant.trace)
        fprintf(file, "trace: {samples: 2}\n");
    fclose(file);
}

static pid_t start(const char *store)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    int log = open(in_folder("log"), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(log, 1);
    dup2(log, 2);
    execl(WINNOW_EXECUTABLE, "winnow", "sweep", in_folder("sweep.yaml"), "--store", store, "--workers", "2",
          (char *)NULL);
    _exit(127);
}

static void must_have_ended_well(int how)
{
    char text[2000] = "";
    FILE *log = fopen(in_folder("log"), "r");
    if (log) {
        text[fread(text, 1, sizeof text - 1, log)] = 0;
        fclose(log);
    }
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0)
        fail_msg("the sweep ended with %d: %s", how, text);
}

static double run_to_the_end(const char *store)
{
    double since = clock_ms();
    int how;
    pid_t child = start(store);
    assert_int_equal(waitpid(child, &how, 0), child);
    must_have_ended_well(how);
    return clock_ms() - since;
}

/* ---- a process looked at -------------------------------------------------------------------- */

/* Has it a file open whose name ends so? */
static bool has_open(pid_t child, const char *end)
{
    char name[64], target[512];
    snprintf(name, sizeof name, "/proc/%ld/fd", (long)child);
    DIR *files = opendir(name);
    bool found = false;
    const struct dirent *entry;
    while (files && !found && (entry = readdir(files))) {
        ssize_t n = readlinkat(dirfd(files), entry->d_name, target, sizeof target - 1);
        size_t length = strlen(end);
        found = n >= (ssize_t)length && memcmp(target + n - length, end, length) == 0;
    }
    if (files)
        closedir(files);
    return found;
}

static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        return 0;
    int64_t value = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    return value;
}

/* A store after a kill: sound, nothing of it half there, and how far it came. */
struct state {
    int64_t cells, samples, timed;
};

static struct state check_store(const char *name)
{
    struct state state = {0};
    if (access(name, F_OK) != 0)
        return state;
    sqlite3 *db;
    assert_int_equal(sqlite3_open_v2(name, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(number(db, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
    state.cells = number(db, "SELECT count(*) FROM cell");
    state.samples = number(db, "SELECT count(*) FROM sample WHERE error IS NULL");
    state.timed = number(db, "SELECT sum(timed) FROM sample");
    assert_int_equal(number(db, "SELECT count(*) FROM sample WHERE error IS NOT NULL"), 0);
    assert_int_equal(number(db, "SELECT count(*) FROM sample s WHERE NOT EXISTS (SELECT * FROM layer l WHERE "
                                "l.cell = s.cell AND l.sample_id = s.sample_id)"),
                     0);
    sqlite3_close(db);
    return state;
}

/* ---- a trace as text ------------------------------------------------------------------------ */

static herr_t add_dataset(hid_t root, const char *name, const H5O_info_t *info, void *context)
{
    struct store_text *out = context;
    char line[512];
    if (info->type != H5O_TYPE_DATASET)
        return 0;
    hid_t set = H5Dopen2(root, name, H5P_DEFAULT);
    if (set < 0)
        return -1;
    hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    size_t size = H5Tget_size(type) * (size_t)H5Sget_simple_extent_npoints(space);
    bool text = H5Tis_variable_str(type) > 0;
    unsigned char *bytes = calloc(size + 1, 1);
    herr_t code = H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes);
    uint64_t hash = 1469598103934665603u;
    const unsigned char *at = text && code >= 0 ? *(unsigned char **)(void *)bytes : bytes;
    size_t n = text && code >= 0 ? strlen((const char *)at) : size;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ at[i]) * 1099511628211u;
    snprintf(line, sizeof line, "%s %zu %016llx\n", name, n, (unsigned long long)hash);
    store_text_add(out, line);
    if (text && code >= 0)
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, bytes);
    free(bytes);
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(set);
    return code < 0 ? -1 : 0;
}

/* All datasets with a hash of their values; NULL where one cannot be read. The caller frees. */
static char *trace_text(const char *name)
{
    struct store_text out = {0};
    store_text_add(&out, "");
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t file = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT);
    herr_t code = file >= 0 ? H5Ovisit(file, H5_INDEX_NAME, H5_ITER_INC, add_dataset, &out) : -1;
    if (file >= 0)
        H5Fclose(file);
    if (code >= 0)
        return out.text;
    free(out.text);
    return NULL;
}

/* ---- killing -------------------------------------------------------------------------------- */

struct tally {
    int kills, finished, by_phase[PHASES], torn_traces;
};

/* Waits, stops it, says what it was doing, kills it; false where it had ended by itself. */
static bool kill_at(enum phase *phase, pid_t child, double delay_ms, const char *from_opening)
{
    double since = clock_ms();
    int how;
    bool opened = from_opening == NULL;
    for (;;) {
        if (waitpid(child, &how, WNOHANG) == child) {
            must_have_ended_well(how);
            return false;
        }
        if (!opened && has_open(child, from_opening)) {
            opened = true;
            since = clock_ms();
        }
        if (opened && clock_ms() - since >= delay_ms)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    kill(child, SIGSTOP);
    if (waitpid(child, &how, WUNTRACED) != child || !WIFSTOPPED(how)) {
        must_have_ended_well(how);
        return false;
    }
    *phase = has_open(child, "/.drawing.lock") ? DRAWING : has_open(child, "/s.db") ? RUNNING : START_UP;
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    return true;
}

static void count_kill(struct tally *tally, enum phase phase, struct state now, struct state all)
{
    if (phase == RUNNING)
        phase = now.cells == 0              ? CREATION
                : now.samples < all.samples ? RUNNING
                : now.timed < all.timed     ? TIMING
                                            : SUMMARY;
    tally->by_phase[phase]++;
    tally->kills++;
}

struct expected {
    char *rows, *trace; /* trace: NULL without */
    double whole_ms, resumed_ms;
    struct state all;
};

static char *rows_of(const char *name)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open_v2(name, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    char *text = store_text(db, true);
    assert_non_null(text);
    sqlite3_close(db);
    return text;
}

static void compare(const char *expected, const char *found)
{
    char difference[4000];
    assert_non_null(found);
    if (strcmp(expected, found) == 0)
        return;
    store_text_difference(difference, sizeof difference, expected, found);
    fail_msg("%s", difference);
}

static void expect_of(struct expected *out, struct variant variant)
{
    shell("rm -rf %s/alone; mkdir %s/alone", folder, folder);
    write_sweep(variant);
    out->whole_ms = run_to_the_end(in_folder("alone/s.db"));
    out->resumed_ms = run_to_the_end(in_folder("alone/s.db"));
    out->rows = rows_of(in_folder("alone/s.db"));
    out->trace = variant.trace ? trace_text(in_folder("alone/s.h5")) : NULL;
    assert_true(!variant.trace || out->trace);
    out->all = check_store(in_folder("alone/s.db"));
}

static void kill_once(struct tally *tally, bool *finished, const struct expected *expected, double delay_ms,
                      const char *from_opening)
{
    enum phase phase = START_UP;
    struct state before = check_store(in_folder("killed/s.db"));
    *finished = !kill_at(&phase, start(in_folder("killed/s.db")), delay_ms, from_opening);
    struct state now = check_store(in_folder("killed/s.db"));
    assert_true(now.samples >= before.samples && now.timed >= before.timed && now.cells >= before.cells);
    if (!*finished)
        count_kill(tally, phase, now, expected->all);
    if (expected->trace && access(in_folder("killed/s.h5"), F_OK) == 0) {
        char *text = trace_text(in_folder("killed/s.h5"));
        tally->torn_traces += text == NULL;
        free(text);
    }
}

/* One sweep from nothing to its end, killed on the way; at most `most` times. */
static void kill_a_sweep(struct tally *tally, int most, const struct expected *expected)
{
    shell("rm -rf %s/killed; mkdir %s/killed", folder, folder);
    bool finished = false;
    int first = tally->kills;
    while (!finished && tally->kills - first < most) {
        double which = draw(), delay = draw();
        bool drawn = access(in_folder("killed/data/mini-pope"), F_OK) == 0;
        if (!drawn && which < 0.4) /* some moments are short: they are waited for */
            kill_once(tally, &finished, expected, 600 * delay, "/.drawing.lock");
        else if (drawn && which < (check_store(in_folder("killed/s.db")).cells == 0 ? 0.7 : 0.1))
            kill_once(tally, &finished, expected, 60 * delay * delay, "/s.db");
        else
            kill_once(tally, &finished, expected, 0.5 * expected->whole_ms * delay, NULL);
    }
    if (!finished)
        run_to_the_end(in_folder("killed/s.db"));
    for (int i = 0; i < KILLS_OF_THE_FINISHED && tally->kills - first < most; i++)
        kill_once(tally, &finished, expected, 1.2 * expected->resumed_ms * draw(), NULL);
    run_to_the_end(in_folder("killed/s.db"));
    tally->finished++;

    char *rows = rows_of(in_folder("killed/s.db"));
    compare(expected->rows, rows);
    free(rows);
    if (expected->trace) {
        char *trace = trace_text(in_folder("killed/s.h5"));
        compare(expected->trace, trace);
        free(trace);
    }
    shell("diff -r %s/alone/data %s/killed/data", folder, folder);
    /* Nothing lies about: locks, half a drawing, a trace begun. */
    shell("test -z \"$(find %s/killed -name '*.lock' -o -name '*.tmp*' -o -name '*.journal' -o -name "
          "'.drawing*')\"",
          folder);
}

static void a_killed_sweep_ends_like_one_left_alone(void **state)
{
    (void)state;
    const char *wanted = getenv("WINNOW_KILLS"), *seed = getenv("WINNOW_KILL_SEED");
    int kills = wanted ? atoi(wanted) : KILLS, n_variants = kills > KILLS ? VARIANTS : 1;
    chance = seed ? strtoull(seed, NULL, 10) : 1;
    struct expected expected[VARIANTS] = {0};
    for (int i = 0; i < n_variants; i++)
        expect_of(&expected[i], variant_of(i));
    struct tally tally = {0};
    for (int i = 0; tally.kills < kills; i = (i + 1) % n_variants) {
        write_sweep(variant_of(i));
        kill_a_sweep(&tally, kills - tally.kills < CYCLE_MAX ? kills - tally.kills : CYCLE_MAX, &expected[i]);
    }
    printf("seed %llu: %d kills, %d sweeps brought to their end, %d traces unreadable after a kill;",
           (unsigned long long)(seed ? strtoull(seed, NULL, 10) : 1), tally.kills, tally.finished,
           tally.torn_traces);
    for (int p = 0; p < PHASES; p++)
        printf(" %s %d", phase_names[p], tally.by_phase[p]);
    printf("\n");
    for (int i = 0; i < n_variants; i++) {
        free(expected[i].rows);
        free(expected[i].trace);
    }
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    if (getenv("WINNOW_KEEP") == NULL)
        shell("rm -rf %s", folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_killed_sweep_ends_like_one_left_alone)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
