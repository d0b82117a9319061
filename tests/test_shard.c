/* Shards of every twin: they part the samples, keep clusters and scoring groups whole, weigh about the same,
 * and a larger limit moves no row. That controls show the same in shards: test_slurm.c. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datasets/benchmark.h"
#include "datasets/mini/suite.h"
#include "harness/choose.h"

#include <cmocka.h> /* last: its fail() would hide ours */

enum { PICTURES = 12, SHARDS_MOST = 5 };

static char folder[] = "/tmp/winnow-shard-XXXXXX";

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    char message[512];
    if (mkdtemp(folder) == NULL)
        return -1;
    for (int i = 0; suite_twin_name(i); i++)
        if (suite_write(suite_twin_name(i), folder, 0, PICTURES, message, sizeof message) != 0) {
            printf("%s\n", message);
            return -1;
        }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void open_twin(struct dataset *data, const char *name)
{
    struct error err = {0};
    if (benchmark_read(data, name, &(struct benchmark_paths){.root = folder}, &err) != OK)
        fail_msg("%s: %s", name, err.text);
}

/* Marks the rows of shard `shard` with its number; returns how many. */
static int mark(int *owner, const struct dataset *data, const struct choice *choice)
{
    struct error err = {0};
    int *rows, n;
    assert_int_equal(choose_samples(&rows, &n, data, choice, &err), OK);
    for (int i = 0; i < n; i++) {
        if (owner[rows[i]] != 0)
            fail_msg("%s: row %d is in shards %d and %d of %d", data->name, rows[i], owner[rows[i]],
                     choice->shard, choice->n_shards);
        owner[rows[i]] = choice->n_shards > 0 ? choice->shard : 1;
    }
    free(rows);
    return n;
}

/* The shard of each row of a benchmark, 0: none. To be freed. */
static int *owners(const struct dataset *data, int limit, enum split split, int n_shards)
{
    int *owner = calloc((size_t)data->n, sizeof *owner);
    assert_non_null(owner);
    for (int shard = 1; shard <= n_shards; shard++)
        mark(owner, data, &(struct choice){split, limit, shard, n_shards});
    return owner;
}

static void shards_part_what_one_sweep_asks(void **state)
{
    (void)state;
    static const int limits[] = {0, 1, 7, 20};
    for (int t = 0; suite_twin_name(t); t++) {
        struct dataset data;
        open_twin(&data, suite_twin_name(t));
        for (unsigned l = 0; l < sizeof limits / sizeof *limits; l++)
            for (enum split split = SPLIT_ALL; split <= SPLIT_CONFIRM; split++)
                for (int n_shards = 1; n_shards <= SHARDS_MOST; n_shards++) {
                    int *parted = owners(&data, limits[l], split, n_shards),
                        *whole = owners(&data, limits[l], split, 1);
                    for (int i = 0; i < data.n; i++)
                        assert_int_equal(parted[i] != 0, whole[i] != 0);
                    free(parted);
                    free(whole);
                }
        dataset_close(&data);
    }
}

/* MME's pairs and MMBench's rotations are scored together; questions on one picture share its features. */
static void groups_and_clusters_stay_whole(void **state)
{
    (void)state;
    int n_pairs = 0;
    for (int t = 0; suite_twin_name(t); t++) {
        struct dataset data;
        open_twin(&data, suite_twin_name(t));
        int *owner = owners(&data, 0, SPLIT_ALL, 3);
        for (int i = 0; i < data.n; i++)
            for (int j = i + 1; j < data.n; j++) {
                bool group = strcmp(data.samples[i].group, data.samples[j].group) == 0;
                n_pairs += group;
                if ((group || strcmp(data.samples[i].cluster, data.samples[j].cluster) == 0) &&
                    owner[i] != owner[j])
                    fail_msg("%s: rows %d and %d belong together and are in shards %d and %d", data.name, i,
                             j, owner[i], owner[j]);
            }
        free(owner);
        dataset_close(&data);
    }
    assert_true(n_pairs > 2 * PICTURES); /* there are such groups */
}

static int count_clusters(const struct dataset *data, const int *owner, int shard)
{
    int n = 0;
    for (int i = 0; i < data->n; i++) {
        bool first = owner[i] == shard;
        for (int j = 0; j < i && first; j++)
            first = owner[j] != shard || strcmp(data->samples[i].cluster, data->samples[j].cluster) != 0;
        n += first;
    }
    return n;
}

static void shards_differ_by_one_cluster_at_most(void **state)
{
    (void)state;
    for (int t = 0; suite_twin_name(t); t++) {
        struct dataset data;
        open_twin(&data, suite_twin_name(t));
        for (int limit = 0; limit <= 20; limit += 10) {
            int *owner = owners(&data, limit, SPLIT_ALL, 3), least = data.n, most = 0;
            for (int shard = 1; shard <= 3; shard++) {
                int n = count_clusters(&data, owner, shard);
                least = n < least ? n : least;
                most = n > most ? n : most;
            }
            if (most - least > 1)
                fail_msg("%s, limit %d: a shard has %d clusters and another %d", data.name, limit, least,
                         most);
            free(owner);
        }
        dataset_close(&data);
    }
}

static void a_larger_limit_moves_no_row(void **state)
{
    (void)state;
    for (int t = 0; suite_twin_name(t); t++) {
        struct dataset data;
        open_twin(&data, suite_twin_name(t));
        int *before = owners(&data, 1, SPLIT_ALL, 4);
        for (int limit = 2; limit <= data.n; limit += 3) {
            int *after = owners(&data, limit, SPLIT_ALL, 4);
            for (int i = 0; i < data.n; i++)
                if (before[i] != 0 && before[i] != after[i])
                    fail_msg("%s: row %d moves from shard %d to %d at limit %d", data.name, i, before[i],
                             after[i], limit);
            free(before);
            before = after;
        }
        free(before);
        dataset_close(&data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_part_what_one_sweep_asks),
        cmocka_unit_test(groups_and_clusters_stay_whole),
        cmocka_unit_test(shards_differ_by_one_cluster_at_most),
        cmocka_unit_test(a_larger_limit_moves_no_row),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
