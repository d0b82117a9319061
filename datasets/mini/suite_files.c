/* Files that appear only when they are whole, pictures, and base64: see suite_files.h. */
#define _POSIX_C_SOURCE 200809L /* mkdir */

#include "suite_files.h"

#include "png_encode.h"

#include <errno.h>    /* errno */
#include <stdlib.h>   /* malloc, free */
#include <string.h>   /* strerror */
#include <sys/stat.h> /* mkdir */

int output_open(struct output *output, const char *dir, const char *name, char *err, size_t err_size)
{
    output->file = NULL;
    if (snprintf(output->path, SUITE_PATH_SIZE, "%s/%s", dir, name) >= SUITE_PATH_SIZE) {
        snprintf(err, err_size, "path longer than %d bytes under %.80s…; use a shorter --out",
                 SUITE_PATH_SIZE - 1, dir);
        return -1;
    }
    snprintf(output->temporary, sizeof output->temporary, "%s.tmp", output->path);
    output->file = fopen(output->temporary, "wb");
    if (!output->file) {
        snprintf(err, err_size, "cannot write %s: %s; check that the directory is writable",
                 output->temporary, strerror(errno));
        return -1;
    }
    return 0;
}

int outputs_commit(struct output *outputs, int n, char *err, size_t err_size)
{
    for (int i = 0; i < n; i++)
        if (fflush(outputs[i].file) != 0 || ferror(outputs[i].file)) {
            snprintf(err, err_size, "cannot write all of %s; check the space on the disk", outputs[i].path);
            return -1;
        }
    for (int i = 0; i < n; i++) {
        int failed = fclose(outputs[i].file) != 0;
        outputs[i].file = NULL;
        if (failed || rename(outputs[i].temporary, outputs[i].path) != 0) {
            snprintf(err, err_size, "cannot rename %s to %s: %s", outputs[i].temporary, outputs[i].path,
                     strerror(errno));
            remove(outputs[i].temporary);
            return -1;
        }
    }
    return 0;
}

void output_abandon(struct output *output)
{
    if (output->file) {
        fclose(output->file);
        remove(output->temporary);
        output->file = NULL;
    }
}

int directory_make(char *path, const char *dir, const char *name, char *err, size_t err_size)
{
    int n = snprintf(path, SUITE_PATH_SIZE, "%s%s%s", dir, *name ? "/" : "", name);
    if (n < 1 || n >= SUITE_PATH_SIZE) {
        snprintf(err, err_size, "the output directory must be a path of 1 to %d bytes; check --out",
                 SUITE_PATH_SIZE - 1);
        return -1;
    }
    for (char *c = path + 1;; c++) {
        if (*c != '/' && *c != '\0')
            continue;
        char keep = *c;
        *c = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) {
            snprintf(err, err_size, "cannot make directory %s: %s; check --out", path, strerror(errno));
            return -1;
        }
        *c = keep;
        if (keep == '\0')
            return 0;
    }
}

int suite_file_write(const char *dir, const char *name, const void *bytes, size_t size, char *err,
                     size_t err_size)
{
    struct output output = {.file = NULL};
    int status = -1;
    if (output_open(&output, dir, name, err, err_size) == 0) {
        fwrite(bytes, 1, size, output.file);
        status = outputs_commit(&output, 1, err, err_size);
    }
    output_abandon(&output);
    return status;
}

int picture_encode(uint8_t **bytes, size_t *size, const struct scene *scene, char *err, size_t err_size)
{
    uint8_t *rgb = malloc(scene_rgb_bytes(scene));
    *bytes = NULL;
    if (!rgb) {
        snprintf(err, err_size, "out of memory for a picture");
        return -1;
    }
    scene_render(rgb, scene);
    int status = png_encode(bytes, size, rgb, scene->canvas, scene->canvas, err, err_size);
    free(rgb);
    return status;
}

int picture_write(const struct scene *scene, const char *dir, const char *name, char *err, size_t err_size)
{
    uint8_t *bytes;
    size_t size;
    if (picture_encode(&bytes, &size, scene, err, err_size) != 0)
        return -1;
    int status = suite_file_write(dir, name, bytes, size, err, err_size);
    free(bytes);
    return status;
}

void write_text(FILE *file, const char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            fputs("\\n", file);
        else
            fputc(*text, file);
}

char *base64_text(const uint8_t *bytes, size_t size)
{
    static const char digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((size + 2) / 3 * 4 + 1), *out = text;
    if (!text)
        return NULL;
    for (size_t i = 0; i < size; i += 3) {
        unsigned group = (unsigned)bytes[i] << 16;
        group |= i + 1 < size ? (unsigned)bytes[i + 1] << 8 : 0;
        group |= i + 2 < size ? bytes[i + 2] : 0;
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = i + 1 < size ? digits[group >> 6 & 63] : '=';
        *out++ = i + 2 < size ? digits[group & 63] : '=';
    }
    *out = '\0';
    return text;
}
