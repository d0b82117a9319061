#ifndef WINNOW_DATASETS_MINI_AVI_ENCODE_H
#define WINNOW_DATASETS_MINI_AVI_ENCODE_H
/* Writes clips as AVI whose frames are PNG pictures: lossless, and the same bytes on every machine. */
#include <stddef.h> /* size_t */
#include <stdint.h> /* uint8_t */

enum { AVI_FRAMES_MAX = 4096, AVI_FPS_MAX = 240 };

/*
 * frames_rgb: [n_frames] pictures (height, width, 3), row-major; 1 … AVI_FRAMES_MAX of them, edges as
 * png_encode takes them, 1 … AVI_FPS_MAX frames a second. On success returns 0 and *bytes (the whole file,
 * malloc'd, the caller frees it) and *size; on failure returns -1, *bytes NULL and a message in err.
 */
int avi_encode(uint8_t **bytes, size_t *size, const uint8_t *const *frames_rgb, int n_frames, int width,
               int height, int fps, char *err, size_t err_size);

#endif
