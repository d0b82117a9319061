#ifndef WINNOW_DATASETS_MINI_SUITE_FILES_H
#define WINNOW_DATASETS_MINI_SUITE_FILES_H
/*
 * The files of a suite: written under temporary names, renamed when all of them are whole. Errors return -1
 * with a message in err.
 */
#include <stddef.h> /* size_t */
#include <stdint.h> /* uint8_t */
#include <stdio.h>  /* FILE */

#include "world.h"

enum { SUITE_PATH_SIZE = 4096 };

/* A file under its temporary name; file is NULL when it is not open. */
struct output {
    FILE *file;
    char path[SUITE_PATH_SIZE], temporary[SUITE_PATH_SIZE + 8];
};

int output_open(struct output *output, const char *dir, const char *name, char *err, size_t err_size);
/* Gives n files their names once all of them are whole on disk; after -1 what is still open is for
 * output_abandon. */
int outputs_commit(struct output *outputs, int n, char *err, size_t err_size);
/* Drops what is still open; for the way out. */
void output_abandon(struct output *output);

/* mkdir -p of dir/name; name may be "". path: SUITE_PATH_SIZE bytes, receives the directory. */
int directory_make(char *path, const char *dir, const char *name, char *err, size_t err_size);

/* A whole file at once. */
int suite_file_write(const char *dir, const char *name, const void *bytes, size_t size, char *err,
                     size_t err_size);
/* The scene as PNG; *bytes is the caller's to free. */
int picture_encode(uint8_t **bytes, size_t *size, const struct scene *scene, char *err, size_t err_size);
int picture_write(const struct scene *scene, const char *dir, const char *name, char *err, size_t err_size);

/* Text with its line ends as JSON has them; all text here is ASCII without quotes or backslashes. */
void write_text(FILE *file, const char *text);

/* Base64 (RFC 4648, with padding) in one line, malloc'd with a zero at its end; NULL when memory runs out. */
char *base64_text(const uint8_t *bytes, size_t size);

#endif
