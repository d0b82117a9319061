/* What the writers of twins share: see suite_twin.h. */
#include "suite_twin.h"

#include <ctype.h>  /* tolower */
#include <string.h> /* strstr */

static int twin_directory(char *path, struct twin *twin, const char *folder)
{
    char name[256];
    snprintf(name, sizeof name, "%s%s%s", twin->name, *folder ? "/" : "", folder);
    return directory_make(path, twin->dir, name, twin->err, twin->err_size);
}

int twin_failed(struct twin *twin, const char *message)
{
    snprintf(twin->err, twin->err_size, "%s: %s", twin->name, message);
    return -1;
}

FILE *twin_file(struct twin *twin, const char *folder, const char *name)
{
    char path[SUITE_PATH_SIZE];
    if (twin->n_outputs == TWIN_OUTPUTS) {
        twin_failed(twin, "more files than are planned for");
        return NULL;
    }
    struct output *output = &twin->outputs[twin->n_outputs];
    if (twin_directory(path, twin, folder) != 0 ||
        output_open(output, path, name, twin->err, twin->err_size) != 0)
        return NULL;
    twin->n_outputs++;
    return output->file;
}

int twin_write(struct twin *twin, const char *folder, const char *name, const void *bytes, size_t size)
{
    char path[SUITE_PATH_SIZE];
    return twin_directory(path, twin, folder) != 0
               ? -1
               : suite_file_write(path, name, bytes, size, twin->err, twin->err_size);
}

int twin_scene(struct scene *scene, struct twin *twin, int picture)
{
    return scene_draw_numbers(scene, WORLD_CANVAS, twin->seed, twin->name, (uint64_t)picture, twin->numbers,
                              twin->err, twin->err_size);
}

int twin_picture(struct twin *twin, const struct scene *scene, const char *folder, const char *name)
{
    char path[SUITE_PATH_SIZE];
    return twin_directory(path, twin, folder) != 0
               ? -1
               : picture_write(scene, path, name, twin->err, twin->err_size);
}

struct world_rng twin_rng(const struct twin *twin, int picture, uint64_t stream)
{
    return world_rng_start(twin->seed, twin->name, (uint64_t)picture, stream);
}

void write_row(FILE *file, const char *image, const char *text, const char *suffix, const char *category)
{
    fprintf(file, "\"image\": \"%s\", \"text\": \"", image);
    write_text(file, text);
    fprintf(file, "%s\", \"category\": \"%s\"}\n", suffix, category);
}

void answer_lower(char lower[QUESTION_ANSWER_SIZE], const char *answer)
{
    int i = 0;
    for (; answer[i] && i < QUESTION_ANSWER_SIZE - 1; i++)
        lower[i] = (char)tolower((unsigned char)answer[i]);
    lower[i] = '\0';
}

int question_stem(const struct question *q)
{
    const char *options = strstr(q->text, "\nA. ");
    return options ? (int)(options - q->text) : q->length;
}
