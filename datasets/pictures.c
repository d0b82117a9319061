/* What a sample shows, as pixels, see pictures.h. */
#include "datasets/pictures.h"

#include <stdlib.h>

#include "core/memory.h"
#include "core/video.h"
#include "datasets/table.h"

int sample_n_pictures(const struct dataset *dataset, int row)
{
    const struct sample *sample = &dataset->samples[row];
    return !sample->image ? 0 : sample->media == MEDIA_VIDEO ? dataset->benchmark->n_frames : 1;
}

const char *sample_file(const struct sample *sample)
{
    return sample->image && sample->media == MEDIA_TABLE ? sample->table : sample->image;
}

static enum status read_from_table(struct image *out, const struct sample *sample, struct error *err)
{
    uint8_t *bytes;
    size_t n;
    TRY(table_picture(&bytes, &n, sample->table, sample->at, sample->n_base64, err));
    enum status status = image_decode(out, bytes, n, sample->image, err);
    free(bytes);
    return status;
}

enum status sample_pictures(struct image **out, int *n, const struct dataset *dataset, int row,
                            struct error *err)
{
    const struct sample *sample = &dataset->samples[row];
    *n = sample_n_pictures(dataset, row);
    *out = memory_zero((size_t)*n, sizeof **out);
    if (!*out)
        return memory_failed(err, "pictures", (size_t)*n * sizeof **out);
    enum status status = OK;
    if (*n > 0)
        switch (sample->media) {
        case MEDIA_FILE:
            status = image_read(*out, sample->image, err);
            break;
        case MEDIA_TABLE:
            status = read_from_table(*out, sample, err);
            break;
        case MEDIA_VIDEO:
            status = video_read_frames(*out, *n, sample->image, err);
            break;
        }
    if (status != OK) {
        pictures_free(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return status;
}

void pictures_free(struct image *pictures, int n)
{
    for (int i = 0; i < n; i++)
        image_free(&pictures[i]);
    free(pictures);
}
