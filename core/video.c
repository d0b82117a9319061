/* Frames of a clip through FFmpeg's libraries: demuxed, decoded by one thread, converted to RGB8.
 *
 *     file ── own reader ──> demuxer ── packets ──> decoder ── frames, in the order of presentation
 *                                                                │ those wanted
 *                                                                v  swscale, bit-exact, full chroma
 *                                                              RGB8
 *
 * Which frames are wanted depends on how many there are, which only decoding tells. The header's count is
 * taken as a guess: a first pass decodes everything and keeps what would be right; where the guess was
 * wrong a second pass with the true count follows. Memory holds the wanted frames, never the clip.
 *
 * Source: FFmpeg's documentation of libavformat and libavcodec; the choice of frames is that of Video-LLaVA
 * (languagebind/video/processing_video.py). A packet that cannot be decoded is an error: frames after it
 * would be counted wrongly.
 */
#include "video.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/imgutils.h>
#include <libavutil/mem.h>
#include <libswscale/swscale.h>

#include "limits.h"

/* The libraries know hundreds of formats, some of which open other files; these are the ones of clips. */
static const char containers[] = "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif";
static const char codecs[] =
    "h264,hevc,mpeg4,mpeg2video,mpeg1video,msmpeg4,msmpeg4v1,msmpeg4v2,h263,flv,vp6,vp6f,"
    "vp8,vp9,av1,libdav1d,theora,wmv1,wmv2,mjpeg,png,gif,ffv1,rawvideo";
static const char expected[] = "expected AVI, MP4, MOV, MKV, WebM or GIF";

enum { IO_BYTES = 1 << 15, ROW_ALIGNMENT = 32 };

struct reader {
    const char *path;
    FILE *file;
    int64_t n_bytes;
    AVFormatContext *format;
    AVIOContext *io;
    AVCodecContext *codec;
    AVStream *stream;
    AVPacket *packet;
    AVFrame *frame;
    struct SwsContext *scaler; /* of the frames' size and format so far */
    uint8_t *rgb[4];           /* one picture with rows as long as SIMD wants them */
    int row_bytes[4], width, height;
    int64_t n_pixels; /* decoded so far */
};

int64_t video_frame_index(int i, int n, int64_t n_all)
{
    return n > 1 ? i * (n_all - 1) / (n - 1) : 0;
}

/* ---- the file -------------------------------------------------------------------------------------------
 */

static int take_bytes(void *opaque, uint8_t *to, int n)
{
    struct reader *reader = opaque;
    size_t got = fread(to, 1, (size_t)n, reader->file);
    if (got > 0)
        return (int)got;
    return ferror(reader->file) ? AVERROR(EIO) : AVERROR_EOF;
}

static int64_t seek(void *opaque, int64_t offset, int whence)
{
    struct reader *reader = opaque;
    if (whence & AVSEEK_SIZE)
        return reader->n_bytes;
    whence &= ~AVSEEK_FORCE;
    return fseeko(reader->file, offset, whence) == 0 ? (int64_t)ftello(reader->file) : AVERROR(EINVAL);
}

/* Nothing that a file refers to is opened. */
static int refuse_to_open(AVFormatContext *format, AVIOContext **out, const char *url, int flags,
                          AVDictionary **options)
{
    (void)format;
    (void)out;
    (void)url;
    (void)flags;
    (void)options;
    return AVERROR(EACCES);
}

static enum status library_failed(const struct reader *reader, const char *what, int code, struct error *err)
{
    char text[AV_ERROR_MAX_STRING_SIZE] = "unknown";
    av_strerror(code, text, sizeof text);
    return fail(err, code == AVERROR(ENOMEM) ? NO_MACHINE : BAD_INPUT, "%s: %s (%s)", reader->path, what,
                text);
}

/* The demuxers take what there is; sizes in the heads tell that the end is missing: that of a RIFF file, and
 * those of the boxes that hold an MP4's tables and data. */
static int64_t promised_bytes(struct reader *reader)
{
    uint8_t head[16] = {0};
    int64_t at = 0;
    if (fread(head, 1, sizeof head, reader->file) < sizeof head)
        return 0;
    if (memcmp(head, "RIFF", 4) == 0 && memcmp(head + 8, "AVI ", 4) == 0) {
        uint32_t size = head[4] | (uint32_t)head[5] << 8 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 24;
        return size == UINT32_MAX ? 0 : (int64_t)size + 8;
    }
    if (memcmp(head + 4, "ftyp", 4) != 0)
        return 0;
    while (at <= reader->n_bytes - 16 && fseeko(reader->file, at, SEEK_SET) == 0 &&
           fread(head, 1, sizeof head, reader->file) == sizeof head) {
        uint64_t size = 0;
        bool wide = memcmp(head, "\0\0\0\1", 4) == 0; /* 64 bits, after the box's name */
        for (int i = 0; i < (wide ? 8 : 4); i++)
            size = size << 8 | head[(wide ? 8 : 0) + i];
        if (size < 8) /* 0: to the end */
            return 0;
        if (size > (uint64_t)(reader->n_bytes - at))
            return (memcmp(head + 4, "mdat", 4) == 0 || memcmp(head + 4, "moov", 4) == 0) &&
                           size <= INT64_MAX / 2
                       ? at + (int64_t)size
                       : 0;
        at += (int64_t)size;
    }
    return 0;
}

static enum status check_whole(struct reader *reader, struct error *err)
{
    int64_t promised = promised_bytes(reader);
    rewind(reader->file);
    if (promised > reader->n_bytes)
        return fail(err, BAD_INPUT, "%s: the clip is cut short: its heads promise %lld bytes, there are %lld",
                    reader->path, (long long)promised, (long long)reader->n_bytes);
    return OK;
}

static enum status open_file(struct reader *reader, struct error *err)
{
    struct stat info;
    if (stat(reader->path, &info) != 0)
        return fail(err, BAD_INPUT, "%s: %s", reader->path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return fail(err, BAD_INPUT, "%s: is no file; expected a clip", reader->path);
    if (info.st_size == 0)
        return fail(err, BAD_INPUT, "%s: is empty; %s", reader->path, expected);
    if (info.st_size > LIMIT_VIDEO_BYTES)
        return fail(err, BAD_INPUT, "%s: holds %lld bytes; clips of up to %lld are read", reader->path,
                    (long long)info.st_size, (long long)LIMIT_VIDEO_BYTES);
    reader->n_bytes = info.st_size;
    reader->file = fopen(reader->path, "rb");
    if (!reader->file)
        return fail(err, BAD_INPUT, "%s: %s", reader->path, strerror(errno));
    return check_whole(reader, err);
}

static enum status open_container(struct reader *reader, struct error *err)
{
    uint8_t *buffer = av_malloc(IO_BYTES);
    reader->io = buffer ? avio_alloc_context(buffer, IO_BYTES, 0, reader, take_bytes, NULL, seek) : NULL;
    if (!reader->io)
        av_free(buffer);
    reader->format = avformat_alloc_context();
    if (!reader->io || !reader->format)
        return library_failed(reader, "no memory to open the clip", AVERROR(ENOMEM), err);
    reader->format->pb = reader->io;
    reader->format->io_open = refuse_to_open;
    reader->format->flags |= AVFMT_FLAG_BITEXACT | AVFMT_FLAG_CUSTOM_IO;
    reader->format->format_whitelist = av_strdup(containers);
    reader->format->codec_whitelist = av_strdup(codecs);
    reader->format->protocol_whitelist = av_strdup("none");
    if (!reader->format->format_whitelist || !reader->format->codec_whitelist ||
        !reader->format->protocol_whitelist)
        return library_failed(reader, "no memory to open the clip", AVERROR(ENOMEM), err);
    /* Frees the context where it fails. */
    int code = avformat_open_input(&reader->format, "clip", NULL, NULL);
    if (code == AVERROR(ENOMEM))
        return library_failed(reader, "its tables need too much memory", code, err);
    if (code < 0)
        return fail(err, BAD_INPUT, "%s: is no clip that can be opened, or is cut short; %s", reader->path,
                    expected);
    code = avformat_find_stream_info(reader->format, NULL);
    return code < 0 ? library_failed(reader, "its streams cannot be made out", code, err) : OK;
}

static enum status check_length(const struct reader *reader, double seconds, struct error *err)
{
    if (seconds > LIMIT_VIDEO_SECONDS)
        return fail(err, BAD_INPUT, "%s: lasts %.0f seconds; clips of up to %d are read", reader->path,
                    seconds, LIMIT_VIDEO_SECONDS);
    return OK;
}

static enum status check_size(const struct reader *reader, int width, int height, struct error *err)
{
    if (width < 1 || height < 1 || width > LIMIT_VIDEO_SIDE || height > LIMIT_VIDEO_SIDE)
        return fail(err, BAD_INPUT, "%s: its frames are %d x %d pixels; sides of 1 to %d are read",
                    reader->path, width, height, LIMIT_VIDEO_SIDE);
    return OK;
}

static enum status open_decoder(struct reader *reader, struct error *err)
{
    int best = av_find_best_stream(reader->format, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (best < 0)
        return fail(err, BAD_INPUT, "%s: holds no moving picture; %s with a video stream", reader->path,
                    expected);
    for (unsigned i = 0; i < reader->format->nb_streams; i++)
        reader->format->streams[i]->discard = (int)i == best ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
    reader->stream = reader->format->streams[best];
    const AVCodecParameters *parameters = reader->stream->codecpar;
    TRY(check_size(reader, parameters->width, parameters->height, err));
    if (reader->format->duration != AV_NOPTS_VALUE)
        TRY(check_length(reader, (double)reader->format->duration / AV_TIME_BASE, err));

    const AVCodec *codec = avcodec_find_decoder(parameters->codec_id);
    if (!codec)
        return fail(err, BAD_INPUT,
                    "%s: is in the codec %s, for which there is no decoder; convert it to H.264",
                    reader->path, avcodec_get_name(parameters->codec_id));
    reader->codec = avcodec_alloc_context3(codec);
    reader->packet = av_packet_alloc();
    reader->frame = av_frame_alloc();
    if (!reader->codec || !reader->packet || !reader->frame)
        return library_failed(reader, "no memory to decode the clip", AVERROR(ENOMEM), err);
    int code = avcodec_parameters_to_context(reader->codec, parameters);
    if (code < 0)
        return library_failed(reader, "its video stream cannot be opened", code, err);
    reader->codec->thread_count = 1; /* the frames do not depend on it, the moment of an error does */
    reader->codec->flags |= AV_CODEC_FLAG_BITEXACT;
    reader->codec->max_pixels = (int64_t)LIMIT_VIDEO_SIDE * LIMIT_VIDEO_SIDE;
    reader->codec->pkt_timebase = reader->stream->time_base;
    reader->codec->codec_whitelist = av_strdup(codecs);
    if (!reader->codec->codec_whitelist)
        return library_failed(reader, "no memory to decode the clip", AVERROR(ENOMEM), err);
    code = avcodec_open2(reader->codec, codec, NULL);
    if (code < 0)
        return fail(err, BAD_INPUT, "%s: is in the codec %s, which cannot be read; convert it to H.264",
                    reader->path, avcodec_get_name(parameters->codec_id));
    return OK;
}

static void reader_close(struct reader *reader)
{
    sws_freeContext(reader->scaler);
    av_freep(&reader->rgb[0]);
    av_frame_free(&reader->frame);
    av_packet_free(&reader->packet);
    avcodec_free_context(&reader->codec);
    avformat_close_input(&reader->format);
    if (reader->io)
        av_freep(&reader->io->buffer);
    avio_context_free(&reader->io);
    if (reader->file)
        fclose(reader->file);
}

/* ---- frames ---------------------------------------------------------------------------------------------
 */

/* The frame at hand to RGB8. Which YUV it is in, the frame says; where it does not, it is BT.601. */
static enum status convert(struct image *out, struct reader *reader, struct error *err)
{
    const AVFrame *frame = reader->frame;
    if (frame->width != reader->width || frame->height != reader->height) {
        av_freep(&reader->rgb[0]);
        int code = av_image_alloc(reader->rgb, reader->row_bytes, frame->width, frame->height,
                                  AV_PIX_FMT_RGB24, ROW_ALIGNMENT);
        if (code < 0)
            return library_failed(reader, "a frame cannot be held", code, err);
        reader->width = frame->width;
        reader->height = frame->height;
    }
    reader->scaler = sws_getCachedContext(reader->scaler, frame->width, frame->height, frame->format,
                                          frame->width, frame->height, AV_PIX_FMT_RGB24,
                                          SWS_BICUBIC | SWS_BITEXACT | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT |
                                              SWS_FULL_CHR_H_INP,
                                          NULL, NULL, NULL);
    if (!reader->scaler)
        return fail(err, BAD_INPUT, "%s: its pixels are of a kind that cannot be made RGB", reader->path);
    const int *coefficients = sws_getCoefficients((int)frame->colorspace);
    int full = frame->color_range == AVCOL_RANGE_JPEG;
    /* Refused for formats that are no YUV, which need none. */
    (void)sws_setColorspaceDetails(reader->scaler, coefficients, full, coefficients, 1, 0, 1 << 16, 1 << 16);
    int rows = sws_scale(reader->scaler, (const uint8_t *const *)frame->data, frame->linesize, 0,
                         frame->height, reader->rgb, reader->row_bytes);
    if (rows != frame->height)
        return fail(err, BAD_INPUT, "%s: a frame could not be made RGB", reader->path);
    if (image_new(out, frame->width, frame->height, (const uint8_t[3]){0}, err) != OK)
        return fail_within(err, "%s", reader->path);
    size_t n_row = (size_t)frame->width * 3;
    for (int y = 0; y < frame->height; y++)
        memcpy(out->rgb + (size_t)y * n_row, reader->rgb[0] + (ptrdiff_t)y * reader->row_bytes[0], n_row);
    return OK;
}

static enum status check_frame(struct reader *reader, int64_t count, struct error *err)
{
    const AVFrame *frame = reader->frame;
    TRY(check_size(reader, frame->width, frame->height, err));
    if (count >= LIMIT_VIDEO_FRAMES)
        return fail(err, BAD_INPUT, "%s: holds more than %d frames", reader->path, LIMIT_VIDEO_FRAMES);
    reader->n_pixels += (int64_t)frame->width * frame->height;
    if (reader->n_pixels > LIMIT_VIDEO_PIXELS)
        return fail(err, BAD_INPUT, "%s: its frames have more than %lld pixels together; make it smaller",
                    reader->path, (long long)LIMIT_VIDEO_PIXELS);
    int64_t start = reader->stream->start_time == AV_NOPTS_VALUE ? 0 : reader->stream->start_time;
    if (frame->best_effort_timestamp == AV_NOPTS_VALUE)
        return OK;
    double at = (double)frame->best_effort_timestamp - (double)start;
    return check_length(reader, at * av_q2d(reader->stream->time_base), err);
}

/* Frames wanted, and how far a pass has come. */
struct pass {
    struct image *frames;
    int n, next;   /* wanted, of which those below `next` are there */
    int64_t n_all; /* as many frames are thought to be in the clip */
    int64_t count; /* decoded so far */
};

/* All frames that the decoder has ready. */
static enum status take_frames(struct pass *pass, struct reader *reader, struct error *err)
{
    for (;;) {
        int code = avcodec_receive_frame(reader->codec, reader->frame);
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF)
            return OK;
        if (code < 0)
            return library_failed(reader, "a frame cannot be decoded; the file is damaged or cut short", code,
                                  err);
        TRY(check_frame(reader, pass->count, err));
        while (pass->next < pass->n && pass->count == video_frame_index(pass->next, pass->n, pass->n_all))
            TRY(convert(&pass->frames[pass->next++], reader, err));
        pass->count++;
        av_frame_unref(reader->frame);
    }
}

static enum status give_packet(struct pass *pass, struct reader *reader, struct error *err)
{
    if (reader->packet->flags & AV_PKT_FLAG_CORRUPT)
        return fail(err, BAD_INPUT, "%s: the clip is cut short, or a packet of it is damaged", reader->path);
    int code = avcodec_send_packet(reader->codec, reader->packet);
    if (code < 0)
        return library_failed(reader, "a frame cannot be decoded; the file is damaged or cut short", code,
                              err);
    return take_frames(pass, reader, err);
}

static enum status decode_all(struct pass *pass, struct reader *reader, struct error *err)
{
    /* Packets without frames cost time too. */
    for (int64_t n_packets = 0; n_packets < 8 * (int64_t)LIMIT_VIDEO_FRAMES; n_packets++) {
        int code = av_read_frame(reader->format, reader->packet);
        if (code == AVERROR_EOF) {
            avcodec_send_packet(reader->codec, NULL);
            return take_frames(pass, reader, err);
        }
        if (code < 0)
            return library_failed(reader, "cannot be read to its end; it is damaged or cut short", code, err);
        enum status status = OK;
        if (reader->packet->stream_index == reader->stream->index)
            status = give_packet(pass, reader, err);
        av_packet_unref(reader->packet);
        TRY(status);
    }
    return fail(err, BAD_INPUT, "%s: holds more packets than a clip of %d frames", reader->path,
                LIMIT_VIDEO_FRAMES);
}

static void frames_free(struct image frames[], int n)
{
    for (int i = 0; i < n; i++)
        image_free(&frames[i]);
}

/* Decodes the whole clip; n_all 0: what the header says. */
static enum status run(struct pass *pass, const char *path, struct error *err)
{
    struct reader reader = {.path = path};
    enum status status;
    TRY_GOTO(status, open_file(&reader, err));
    TRY_GOTO(status, open_container(&reader, err));
    TRY_GOTO(status, open_decoder(&reader, err));
    if (pass->n_all == 0 && reader.stream->nb_frames > 0 && reader.stream->nb_frames <= LIMIT_VIDEO_FRAMES)
        pass->n_all = reader.stream->nb_frames;
    /* No guess: only count. */
    pass->next = pass->n_all == 0 ? pass->n : 0;
    TRY_GOTO(status, decode_all(pass, &reader, err));
exit:
    reader_close(&reader);
    return status;
}

enum status video_read_frames(struct image frames[], int n_frames, const char *path, struct error *err)
{
    ENSURE(n_frames >= 1 && n_frames <= LIMIT_IMAGES);
    memset(frames, 0, (size_t)n_frames * sizeof *frames);
    av_log_set_level(AV_LOG_QUIET);
    av_max_alloc(LIMIT_VIDEO_ALLOC);
    struct pass pass = {.frames = frames, .n = n_frames};
    enum status status;
    TRY_GOTO(status, run(&pass, path, err));
    if (pass.count == 0)
        TRY_GOTO(status, fail(err, BAD_INPUT, "%s: holds no frame that can be decoded; %s", path, expected));
    if (pass.count != pass.n_all) {
        int64_t count = pass.count;
        frames_free(frames, n_frames);
        pass = (struct pass){.frames = frames, .n = n_frames, .n_all = count};
        TRY_GOTO(status, run(&pass, path, err));
        if (pass.count != count)
            TRY_GOTO(status, fail(err, BAD_INPUT, "%s: gave %lld frames, then %lld; did the file change?",
                                  path, (long long)count, (long long)pass.count));
    }
exit:
    if (status != OK)
        frames_free(frames, n_frames);
    return status;
}
