/* What a sample shows, as pixels, see pictures.h. */
#include "datasets/pictures.h"

#include <stdlib.h>

#include "core/memory.h"
#include "core/video.h"

int sample_n_pictures(const struct dataset *dataset, int row)
{
    const struct sample *sample = &dataset->samples[row];
    return !sample->image ? 0 : sample->media == MEDIA_VIDEO ? dataset->benchmark->n_frames : 1;
}

const char *sample_file(const struct sample *sample)
{
    return sample->image && sample->media == MEDIA_TABLE ? sample->table : sample->image;
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
            status = fail(err, BAD_INPUT, "%s: cannot be read yet", sample->image);
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
