/* Clips: some frames of a video file, evenly spread, as RGB8 pictures.
 *
 *     struct image frames[8] = {0};
 *     TRY(video_read_frames(frames, 8, "clip.mp4", &err));
 *     … for each: image_free(&frames[i]);
 *
 * What is read: AVI, MP4 and MOV, Matroska and WebM, GIF, told by the content. A file is data from outside:
 * only these containers and the common codecs are opened, nothing that a file refers to is ever opened, and
 * core/limits.h bounds its size, sides, frames, length and work. Rotation that a file asks for and pixels
 * that are not square are not applied, as EXIF rotation is not.
 */
#ifndef WINNOW_VIDEO_H
#define WINNOW_VIDEO_H

#include <stdint.h>

#include "error.h"
#include "image.h"

/* frames[n_frames], 1 … LIMIT_IMAGES of them: those at video_frame_index of the frames that decoding gives
 * (headers are not believed). The same file gives the same pixels on every run. On failure none is held. */
enum status video_read_frames(struct image frames[], int n_frames, const char *path, struct error *err);

/* Place of picture i of n among n_all frames: int(i · (n_all − 1) / (n − 1)), 0 where n is 1, so the first
 * and the last frame are in; a clip shorter than n repeats frames. Video-LLaVA's numpy.linspace(0, n_all − 1,
 * 8, dtype=int). */
int64_t video_frame_index(int i, int n, int64_t n_all);

#endif
