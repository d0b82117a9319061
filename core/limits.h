/* Everything that a file from outside can ask for has a limit, and all limits stand here. */
#ifndef WINNOW_LIMITS_H
#define WINNOW_LIMITS_H

#include <stdint.h> /* INT64_C */

#define LIMIT_JSON_BYTES (256u << 20) /* any JSON file */
#define LIMIT_JSON_DEPTH 64           /* nested brackets */
#define LIMIT_JSON_VALUES                                                                                    \
    (8u << 20)                         /* values, keys and brackets of one file: bounds the memory of a tree \
                                        */
#define LIMIT_HEADER_BYTES  100000000u /* safetensors header, the reference's own limit */
#define LIMIT_TENSORS       65536
#define LIMIT_TENSOR_RANK   8
#define LIMIT_SHARDS        1024
#define LIMIT_NAME_BYTES    512 /* tensor names, file names inside a checkpoint */
#define LIMIT_VOCABULARY    (1 << 20)
#define LIMIT_TOKEN_BYTES   4096      /* one piece of a vocabulary */
#define LIMIT_TEXT_BYTES    (4 << 20) /* one prompt */
#define LIMIT_PROMPT_TOKENS (1 << 20)
#define LIMIT_IMAGE_BYTES   (256u << 20)
#define LIMIT_IMAGE_SIDE    65535
#define LIMIT_IMAGE_PIXELS  (178956970) /* Pillow's own bound against decompression bombs */
#define LIMIT_IMAGE_ASPECT  200         /* longer side to shorter side */
#define LIMIT_IMAGES        64          /* of one prompt */
#define LIMIT_VIDEO_BYTES   (INT64_C(4) << 30)
#define LIMIT_VIDEO_SIDE    8192
#define LIMIT_VIDEO_FRAMES  (1 << 20)          /* of one clip */
#define LIMIT_VIDEO_SECONDS (6 * 3600)         /* of one clip */
#define LIMIT_VIDEO_PIXELS  (INT64_C(1) << 38) /* of all frames: bounds the time that a clip takes */
#define LIMIT_VIDEO_ALLOC   (512u << 20)       /* one allocation of the libraries that read clips */
#define LIMIT_LAYERS        1024
#define LIMIT_HIDDEN        65536
#define LIMIT_HEADS         1024
#define LIMIT_HEAD_DIM      1024
#define LIMIT_ROPE_FLOATS   (1 << 27)
#define LIMIT_SEQUENCE      (1 << 20)
#define LIMIT_NEW_TOKENS    65536
#define LIMIT_TURNS         256
#define LIMIT_YAML_BYTES    (1 << 20)
#define LIMIT_CELLS         100000 /* of one sweep */
#define LIMIT_JSONL_LINE    (16u << 20)
#define LIMIT_TABLE_BYTES   ((int64_t)64 << 30) /* a TSV with its pictures */
#define LIMIT_TABLE_COLUMNS 256
#define LIMIT_TABLE_CELL    (1u << 20)                      /* one cell of text */
#define LIMIT_TABLE_PICTURE (LIMIT_IMAGE_BYTES / 3 * 4 + 4) /* one picture in base64 */

#endif
