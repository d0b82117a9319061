/* Choice of samples and pictures, see choose.h. */
#include "harness/choose.h"

#include <stdlib.h> /* qsort */
#include <string.h> /* strlen */

#include "core/map.h"    /* distinct pictures and clusters */
#include "core/memory.h" /* memory_* */
#include "core/rng.h"    /* rng_u64 */
#include "core/sha256.h" /* sha256_* */

struct ranked {
    char digest[65];
    int row;
};

static int by_digest_then_row(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    int order = memcmp(x->digest, y->digest, 64);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

/* The parity of a digest's first byte is that of its second digit. */
static bool in_split(const char *digest, enum split split)
{
    enum split half = strchr("02468ace", digest[1]) ? SPLIT_TUNE : SPLIT_CONFIRM;
    return split == SPLIT_ALL || split == half;
}

/* `clusters` numbers those that were met; left as it is where all rows are asked. */
static bool in_shard(struct map *clusters, int *n_clusters, const char *cluster, const struct choice *choice)
{
    if (choice->n_shards < 2)
        return true;
    int number = map_get(clusters, cluster, strlen(cluster));
    if (number < 0)
        map_put(clusters, cluster, strlen(cluster), number = (*n_clusters)++);
    return number % choice->n_shards == choice->shard - 1;
}

static void group_digest(char out[65], const struct dataset *dataset, const struct sample *sample)
{
    struct sha256 sha;
    sha256_init(&sha);
    sha256_update(&sha, dataset->name, strlen(dataset->name) + 1);
    sha256_update(&sha, sample->group, strlen(sample->group));
    sha256_final(&sha, out);
}

enum status choose_samples(int **rows, int *n, const struct dataset *dataset, const struct choice *choice,
                           struct error *err)
{
    *n = 0;
    *rows = memory_zero((size_t)dataset->n, sizeof **rows);
    struct ranked *ranked = memory_zero((size_t)dataset->n, sizeof *ranked);
    struct map clusters = {0};
    if (*rows == NULL || ranked == NULL || !map_init(&clusters, dataset->n > 0 ? (size_t)dataset->n : 1)) {
        free(*rows);
        free(ranked);
        *rows = NULL;
        return memory_failed(err, "the choice of samples", (size_t)dataset->n * sizeof *ranked);
    }
    int n_ranked = 0, n_clusters = 0;
    char digest[65];
    for (int row = 0; row < dataset->n; row++) {
        const struct sample *sample = &dataset->samples[row];
        sha256_hex(digest, sample->cluster, strlen(sample->cluster));
        if (!in_split(digest, choice->split))
            continue;
        group_digest(ranked[n_ranked].digest, dataset, sample);
        ranked[n_ranked++].row = row;
    }
    qsort(ranked, (size_t)n_ranked, sizeof *ranked, by_digest_then_row);
    int left = choice->limit == 0 ? dataset->n : choice->limit;
    for (int first = 0, end; first < n_ranked; first = end) {
        for (end = first + 1; end < n_ranked && memcmp(ranked[first].digest, ranked[end].digest, 64) == 0;)
            end++;
        if (end - first > left) /* stop rather than look for a smaller group: a larger limit must only add */
            break;
        left -= end - first;
        for (int i = first; i < end; i++) {
            if (in_shard(&clusters, &n_clusters, dataset->samples[ranked[i].row].cluster, choice))
                (*rows)[(*n)++] = ranked[i].row;
        }
    }
    map_free(&clusters);
    free(ranked);
    return OK;
}

enum status choose_mismatched(int **row, const struct dataset *dataset, uint64_t seed, struct error *err)
{
    size_t n = (size_t)dataset->n;
    *row = NULL;
    int *shown = memory_zero(n, sizeof *shown), *number = memory_zero(n, sizeof *number),
        *first = memory_zero(n, sizeof *first), *order = memory_zero(n, sizeof *order);
    struct map map = {0};
    enum status status = OK;
    if (!shown || !number || !first || !order || !map_init(&map, n ? n : 1))
        TRY_GOTO(status, memory_failed(err, "exchanged pictures", n * sizeof *shown));
    int n_pictures = 0;
    for (int i = 0; i < dataset->n; i++) {
        const char *image = dataset->samples[i].image;
        number[i] = -1;
        if (image == NULL)
            continue;
        number[i] = map_get(&map, image, strlen(image));
        if (number[i] < 0) {
            number[i] = n_pictures;
            first[n_pictures] = i;
            map_put(&map, image, strlen(image), n_pictures++);
        }
    }
    if (n_pictures == 1)
        TRY_GOTO(status,
                 fail(err, BAD_INPUT, "control mismatched needs at least two distinct pictures, found one"));
    for (int i = 0; i < n_pictures; i++)
        order[i] = i;
    for (int i = n_pictures - 1; i > 0;
         i--) { /* Sattolo: one cycle through all, so that none keeps its own */
        int j = (int)(rng_u64(seed, 0, 0x6d69736d61746368u /* "mismatch" */, (uint64_t)i) % (uint64_t)i);
        int swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (int i = 0; i < dataset->n; i++)
        shown[i] = number[i] < 0 ? -1 : first[order[number[i]]];
    *row = shown;
    shown = NULL;
exit:
    map_free(&map);
    free(shown);
    free(number);
    free(first);
    free(order);
    return status;
}
