/* A trace's file whatever happens to its writer: every write, resize and change of names of a short session
 * is made to fail, to fail half done, or to be the last before the process is killed. Each time the file must
 * open in HDF5's own driver, hold whole every sample that was acknowledged, and be completed by the next
 * session.
 *
 * The functions of the system that a trace changes its file by are replaced in this program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hdf5.h>

#include "harness/trace.h"

#include <cmocka.h> /* last: its fail() would hide ours */

enum { SAMPLES = 3, CHANGES_LEAST = 20, CHANGES_MOST = 2000, TOKENS = 400 };

static char path[64], messages[80];
static const char key[] = "0123456789abcdef0123456789abcdef";

/* ---- faults --------------------------------------------------------------------------------- */

enum fault {
    FAULT_NONE,
    FAULT_FULL, /* a full disk: half a write is made, from then on everything fails */
    FAULT_ONCE, /* an error of the device that goes away */
    FAULT_KILL, /* killed in the middle of it */
    FAULT_LINK  /* the filesystem has no hard links */
};

static enum fault fault;
static int n_changes, fault_at;

/* What the parent sees of a session that may be killed. */
static struct seen {
    int n_acknowledged, n_changes;
    bool named_file_written, ended;
} * seen;

static bool is_faulty(void)
{
    n_changes++;
    if (seen)
        seen->n_changes = n_changes;
    return fault != FAULT_NONE && fault != FAULT_LINK &&
           (fault == FAULT_ONCE ? n_changes == fault_at : n_changes >= fault_at);
}

/* The file that bears the name is never changed. */
static void watch(int fd)
{
    struct stat one, other;
    if (seen && fstat(fd, &one) == 0 && stat(path, &other) == 0 && one.st_ino == other.st_ino &&
        one.st_dev == other.st_dev)
        seen->named_file_written = true;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    watch(fd);
    if (!is_faulty())
        return syscall(SYS_pwrite64, fd, bytes, n, at);
    if (n_changes == fault_at && (fault == FAULT_FULL || fault == FAULT_KILL) && n > 1) {
        ssize_t put = syscall(SYS_pwrite64, fd, bytes, n / 2, at);
        if (fault == FAULT_FULL)
            return put;
    }
    if (fault == FAULT_KILL)
        raise(SIGKILL);
    errno = fault == FAULT_ONCE ? EIO : ENOSPC;
    return -1;
}

int ftruncate(int fd, off_t n)
{
    watch(fd);
    if (!is_faulty())
        return (int)syscall(SYS_ftruncate, fd, n);
    if (fault == FAULT_KILL)
        raise(SIGKILL);
    errno = fault == FAULT_ONCE ? EIO : ENOSPC;
    return -1;
}

int rename(const char *from, const char *to)
{
    if (!is_faulty())
        return (int)syscall(SYS_renameat, -100, from, -100, to); /* -100: the working folder */
    if (fault == FAULT_KILL)
        raise(SIGKILL);
    errno = fault == FAULT_ONCE ? EIO : ENOSPC;
    return -1;
}

int link(const char *from, const char *to)
{
    if (!is_faulty() && fault != FAULT_LINK)
        return (int)syscall(SYS_linkat, -100, from, -100, to, 0);
    if (fault == FAULT_KILL)
        raise(SIGKILL);
    errno = fault == FAULT_ONCE ? EIO : EPERM;
    return -1;
}

/* ---- a session ------------------------------------------------------------------------------ */

static int32_t ids[TOKENS], kept[TOKENS];
static float score[TOKENS];
static struct cut_record records[] = {{.site = SITE_DECODER,
                                       .layer = 2,
                                       .n_in = TOKENS,
                                       .ids_in = ids,
                                       .n_kept = TOKENS / 2,
                                       .kept = kept,
                                       .score = score},
                                      {.site = SITE_DECODER,
                                       .layer = 6,
                                       .n_in = TOKENS / 2,
                                       .ids_in = ids,
                                       .n_kept = 7,
                                       .kept = kept,
                                       .rank = -1}};
static struct ledger_layer layers[] = {{.visual_in = TOKENS}, {.visual_in = TOKENS / 2}};
static const struct answer answer = {
    .ledger = {.n_layers = 2, .layers = layers}, .records = records, .n_records = 2};

static enum status put(struct trace *trace, int sample, struct error *err)
{
    static uint8_t rgb[60 * 40 * 3];
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)((i * 2654435761u >> 11) + (unsigned)sample / 2);
    const struct image image = {.width = 60, .height = 40, .rgb = rgb};
    return trace_sample(trace, key,
                        &(struct trace_sample){.sample_id = sample,
                                               .question = "Is it there?",
                                               .answer = "yes",
                                               .image = &image,
                                               .n_grids = 1,
                                               .grid_rows = 20,
                                               .grid_cols = 20,
                                               .result = &answer},
                        err);
}

/* The samples that are not there yet. */
static enum status write_samples(struct error *err)
{
    struct trace *trace;
    bool moved;
    TRY(trace_open(&trace, path, &moved, err));
    enum status status = trace_cell(trace, key, "sparsevlm", "{}", "m", err);
    for (int i = 0; i < SAMPLES && status == OK; i++) {
        if (!trace_wants(trace, key, i))
            continue;
        status = put(trace, i, err);
        if (status == OK && seen)
            seen->n_acknowledged = i + 1;
    }
    struct error closing;
    enum status closed = trace_close(trace, status == OK ? err : &closing);
    return status == OK ? closed : status;
}

static void expect_silence(enum fault what, int at)
{
    char text[1500] = "";
    FILE *file = fopen(messages, "r");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[n] = 0;
    if (file)
        fclose(file);
    if (n > 0)
        fail_msg("fault %d at change %d: this was printed:\n%s", (int)what, at, text);
}

/* A process of its own, whose standard error is kept: HDF5 must print nothing, and exit must be clean. */
static int run_session(enum fault what, int at)
{
    *seen = (struct seen){0};
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (freopen(messages, "w", stderr) == NULL)
            _exit(9);
        fault = what;
        fault_at = at;
        struct error err = {0};
        enum status status = write_samples(&err);
        seen->ended = true;
        if (status != OK && (strstr(err.text, path) == NULL || (strstr(err.text, "No space left") == NULL &&
                                                                strstr(err.text, "error") == NULL))) {
            fprintf(stderr, "no cause: %s\n", err.text);
            exit(8);
        }
        exit(status == OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    expect_silence(what, at);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGKILL ? -1 : -2;
    return WEXITSTATUS(status);
}

/* ---- what the file holds -------------------------------------------------------------------- */

static bool read_whole(hid_t sample, const char *name, hsize_t n_expected)
{
    hid_t set = H5Dopen2(sample, name, H5P_DEFAULT);
    hid_t space = set >= 0 ? H5Dget_space(set) : -1, type = set >= 0 ? H5Dget_type(set) : -1;
    bool ok = space >= 0 && (hsize_t)H5Sget_simple_extent_npoints(space) == n_expected;
    char *bytes = ok ? malloc(n_expected * H5Tget_size(type) + 1) : NULL;
    ok = bytes && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) >= 0;
    free(bytes);
    if (set >= 0) {
        H5Tclose(type);
        H5Sclose(space);
        H5Dclose(set);
    }
    return ok;
}

/* 1: whole, 0: not there, -1: torn. */
static int state_of(hid_t file, int id)
{
    char name[100];
    snprintf(name, sizeof name, "/cells/%s", key);
    if (H5Lexists(file, "cells", H5P_DEFAULT) <= 0 || H5Lexists(file, name, H5P_DEFAULT) <= 0)
        return 0;
    snprintf(name, sizeof name, "/cells/%s/samples/%d", key, id);
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0)
        return 0;
    hid_t sample = H5Gopen2(file, name, H5P_DEFAULT);
    bool ok = sample >= 0 && read_whole(sample, "question", 1) && read_whole(sample, "answer", 1) &&
              read_whole(sample, "grid", 2) && read_whole(sample, "visual_count", 2) &&
              read_whole(sample, "image", sizeof(uint8_t[60][40][3])) &&
              read_whole(sample, "cuts/0/ids_in", TOKENS) && read_whole(sample, "cuts/0/kept", TOKENS / 2) &&
              read_whole(sample, "cuts/0/score", TOKENS) && read_whole(sample, "cuts/1/kept", 7);
    if (sample >= 0)
        H5Gclose(sample);
    return ok ? 1 : -1;
}

enum { NOT_OPENED = 100, TORN = 101 };

/* How many samples are whole, NOT_OPENED, or TORN and the sample's number. */
static int look(void)
{
    if (access(path, F_OK) != 0)
        return 0;
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT); /* the driver of everybody else */
    if (file < 0)
        return NOT_OPENED;
    int n = 0;
    for (int i = 0; i < SAMPLES; i++) {
        int state = state_of(file, i);
        if (state < 0)
            return TORN + i;
        n += state;
    }
    H5Fclose(file);
    return n;
}

/* In a process of its own: the sessions are forks, and are not to inherit HDF5 at work. */
static int count_whole(const char *when, int at)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(look());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) == NOT_OPENED)
        fail_msg("%s change %d: the file does not open", when, at);
    if (WEXITSTATUS(status) >= TORN)
        fail_msg("%s change %d: sample %d is torn", when, at, WEXITSTATUS(status) - TORN);
    return WEXITSTATUS(status);
}

static bool is_there(const char *end)
{
    char name[100];
    snprintf(name, sizeof name, "%s%s", path, end);
    return access(name, F_OK) == 0;
}

/* Faults at every change of the first session, or of one that finds two samples. */
static void try_faults(enum fault what, const char *when)
{
    for (int second = 0; second < 2; second++)
        for (int at = 1;; at++) {
            assert_true(at < CHANGES_MOST);
            unlink(path);
            int n_before = 0;
            if (second) { /* a session that was killed after two samples */
                assert_int_equal(run_session(FAULT_NONE, 0), 0);
                int per_sample = seen->n_changes / SAMPLES;
                unlink(path);
                assert_int_equal(run_session(FAULT_KILL, 2 * per_sample + 1), -1);
                n_before = seen->n_acknowledged;
                assert_true(n_before > 0);
            }
            int result = run_session(what, at);
            int n_promised = seen->n_acknowledged > n_before ? seen->n_acknowledged : n_before;
            int n_changes_made = seen->n_changes;
            if (result == -2 || result > 1)
                fail_msg("%s change %d: the process ended with %d", when, at, result);
            assert_false(seen->named_file_written);
            int n_whole = count_whole(when, at);
            if (n_whole < n_promised)
                fail_msg("%s change %d: %d samples were acknowledged, %d are there", when, at, n_promised,
                         n_whole);
            if (run_session(FAULT_NONE, 0) != 0)
                fail_msg("%s change %d: the next session does not go on", when, at);
            assert_int_equal(count_whole("after", at), SAMPLES);
            assert_false(is_there(".tmp-next"));
            assert_false(is_there(".tmp-spare"));
            assert_false(is_there(".damaged"));
            if (n_changes_made < at) { /* the fault lay behind the end */
                assert_true(at > CHANGES_LEAST);
                break;
            }
        }
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    try_faults(FAULT_FULL, "disk full at");
}

static void a_failing_device_loses_nothing(void **state)
{
    (void)state;
    try_faults(FAULT_ONCE, "error at");
}

static void a_kill_loses_nothing(void **state)
{
    (void)state;
    try_faults(FAULT_KILL, "killed at");
}

/* A filesystem without hard links costs copies, nothing else. */
static void without_hard_links_it_is_copied(void **state)
{
    (void)state;
    assert_int_equal(run_session(FAULT_LINK, 0), 0);
    assert_false(seen->named_file_written);
    assert_int_equal(count_whole("without links", 0), SAMPLES);
    assert_false(is_there(".tmp-next"));
    assert_false(is_there(".tmp-spare"));
}

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/winnow-trace-crash-%ld.h5", (long)getpid());
    snprintf(messages, sizeof messages, "%s.stderr", path);
    unlink(path);
    unlink(messages);
    fault = FAULT_NONE;
    for (int i = 0; i < TOKENS; i++) {
        ids[i] = kept[i] = i;
        score[i] = (float)i;
    }
    if (seen == NULL)
        seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return seen == MAP_FAILED ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_disk_loses_nothing, setup, setup),
        cmocka_unit_test_setup_teardown(a_failing_device_loses_nothing, setup, setup),
        cmocka_unit_test_setup_teardown(a_kill_loses_nothing, setup, setup),
        cmocka_unit_test_setup_teardown(without_hard_links_it_is_copied, setup, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
