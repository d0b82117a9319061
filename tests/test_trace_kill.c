/* A writer of traces that is killed before each of its writes in turn: what was finished before can be read,
 * and a sample that is said to be there is there whole.
 *
 * HDF5 writes with pwrite; ours stands in its place and counts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hdf5.h>

#include "harness/trace.h"

#include <cmocka.h> /* last: its fail() would hide ours */

enum { SAMPLES = 10 }; /* more than a node of HDF5's holds, so that one is split */

static char folder[] = "/tmp/winnow-trace-kill-XXXXXX", path[64];
static const char key[] = "0123456789abcdef0123456789abcdef";
static int n_writes, kill_at = -1;

ssize_t pwrite(int file, const void *bytes, size_t n, off_t at)
{
    if (n_writes++ == kill_at)
        raise(SIGKILL);
    return syscall(SYS_pwrite64, file, bytes, n, at);
}

static int32_t ids[] = {0, 1, 2, 3, 4, 5}, kept[] = {0, 2, 3}, recycled[] = {4, 1}, centres[] = {4},
               group[] = {0, 0}, raters[] = {1, 3};
static float weight[] = {.5F, .5F}, score[] = {.5F, .1F, .4F, .3F, .2F, .0F}, attention[4000];
static struct cut_record record = {.layer = 2,
                                   .n_in = 6,
                                   .ids_in = ids,
                                   .n_kept = 3,
                                   .n_recycled = 2,
                                   .n_clusters = 1,
                                   .n_raters = 2,
                                   .rank = 2,
                                   .kept = kept,
                                   .recycled = recycled,
                                   .centres = centres,
                                   .cluster_of = group,
                                   .weight = weight,
                                   .raters = raters,
                                   .score = score};
static struct ledger_layer layers[] = {{.visual_in = 6}, {.visual_in = 6}};
static struct attention_record attentions[] = {{.layer = 1, .rows = 4, .cols = 1000, .data = attention}};
static const struct answer answer = {.ledger = {.n_layers = 2, .layers = layers},
                                     .records = &record,
                                     .n_records = 1,
                                     .attention = attentions,
                                     .n_attention = 1};

static enum status put(struct trace *trace, int sample, struct error *err)
{
    static uint8_t rgb[32 * 32 * 3] = {1, 2, 3};
    const struct image image = {.width = 32, .height = 32, .rgb = rgb};
    return trace_sample(trace, key,
                        &(struct trace_sample){.sample_id = sample,
                                               .question = "Wo?",
                                               .answer = "da",
                                               .image = &image,
                                               .n_grids = 1,
                                               .grid_rows = 2,
                                               .grid_cols = 3,
                                               .result = &answer},
                        err);
}

/* A byte for each sample that is finished. */
static enum status session(int finished, struct error *err)
{
    struct trace *trace;
    bool moved;
    TRY(trace_open(&trace, path, &moved, err));
    enum status status = trace_cell(trace, key, "sparsevlm", "{}", "m", err);
    for (int i = 0; i < SAMPLES && status == OK; i++) {
        if (trace_has(trace, key, i))
            continue;
        status = put(trace, i, err);
        if (status == OK && write(finished, "", 1) != 1)
            _exit(1);
    }
    enum status closed = trace_close(trace, err);
    return status != OK ? status : closed;
}

/* How many samples were finished before the end, which comes at the given write, or by itself after the last.
 */
static int run_and_die(int at, bool *killed)
{
    int ends[2], how, n = 0;
    char byte;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct error err = {0};
        n_writes = 0;
        kill_at = at;
        _exit((int)session(ends[1], &err));
    }
    close(ends[1]);
    while (read(ends[0], &byte, 1) == 1)
        n++;
    close(ends[0]);
    assert_int_equal(waitpid(child, &how, 0), child);
    *killed = WIFSIGNALED(how);
    assert_true(*killed || WEXITSTATUS(how) == 0);
    return n;
}

static herr_t read_whole(hid_t root, const char *name, const H5O_info_t *info, void *context)
{
    int *n_sets = context;
    if (info->type != H5O_TYPE_DATASET)
        return 0;
    hid_t set = H5Dopen2(root, name, H5P_DEFAULT);
    if (set < 0)
        return -1;
    hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    void *bytes = calloc((size_t)H5Sget_simple_extent_npoints(space) + 1, H5Tget_size(type));
    herr_t code = H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes);
    if (code >= 0 && H5Tis_variable_str(type) > 0)
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, bytes);
    free(bytes);
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(set);
    ++*n_sets;
    return code < 0 ? -1 : 0;
}

/* Datasets of a sample; -1 where one cannot be read, 0 where there is no such sample. */
static int sample_sets(hid_t file, int sample)
{
    char name[100];
    int n = 0;
    snprintf(name, sizeof name, "/cells/%s", key);
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0)
        return 0;
    snprintf(name, sizeof name, "/cells/%s/samples", key);
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0)
        return 0;
    snprintf(name, sizeof name, "/cells/%s/samples/%d", key, sample);
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0)
        return 0;
    hid_t at = H5Gopen2(file, name, H5P_DEFAULT);
    if (at < 0)
        return -1;
    herr_t code = H5Ovisit(at, H5_INDEX_NAME, H5_ITER_INC, read_whole, &n);
    H5Gclose(at);
    return code < 0 ? -1 : n;
}

static void remove_files(void)
{
    static const char *const ends[] = {"", ".journal", ".tmp", ".tmp.journal"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char name[100];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

static int samples_there(void)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    int n = 0;
    for (int i = 0; i < SAMPLES; i++)
        n += sample_sets(file, i) > 0;
    H5Fclose(file);
    return n;
}

/* What a file that can be opened holds; false where that cannot be said of all that was finished. */
static bool is_sound(int finished, int *whole)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    bool sound = file >= 0;
    for (int i = 0; i < SAMPLES && sound; i++) {
        int n = sample_sets(file, i);
        *whole = *whole < 0 && i == 0 && n > 0 ? n : *whole;
        sound = n == *whole || (n == 0 && i >= finished);
    }
    if (file >= 0)
        H5Fclose(file);
    return sound;
}

/* As a program sees it that knows of no journal; in a process of its own, for HDF5 leaks in files that are
 * torn.
 */
static bool is_sound_to_others(int finished)
{
    int how, whole = -1;
    pid_t child = fork();
    if (child == 0)
        _exit(!is_sound(finished, &whole));
    assert_int_equal(waitpid(child, &how, 0), child);
    return WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

static void a_writer_may_die_before_any_write(void **state)
{
    (void)state;
    struct error err = {0};
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    bool killed = true;
    int whole = -1, n_kills = 0, n_mended = 0;
    for (int at = 0; killed; at++) {
        remove_files();
        int finished = run_and_die(at, &killed);
        n_kills += killed;
        if (access(path, F_OK) != 0) {
            assert_int_equal(finished, 0);
            continue;
        }
        n_mended += !is_sound_to_others(finished);
        bool moved;
        struct trace *trace;
        assert_int_equal(trace_open(&trace, path, &moved, &err), OK);
        assert_false(moved);
        assert_int_equal(trace_close(trace, &err), OK);
        if (!is_sound(finished, &whole))
            fail_msg("killed at write %d: of %d samples not all can be read", at, finished);
        if (at % 16 == 0) { /* and it goes on to the end */
            assert_int_equal(run_and_die(-1, &(bool){false}), SAMPLES - samples_there());
            assert_true(is_sound(SAMPLES, &whole));
        }
    }
    printf("%d kills, after %d the next opening had something to mend\n", n_kills, n_mended);
}

static int setup(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/t.h5", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_writer_may_die_before_any_write)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
