/* Draws the sheet of survivors.h. Patches are a whole number of pixels, so that their edges are sharp; type
 * is sized to stay readable when a sheet of five panels is shown 900 px wide. */
#include "reports/survivors.h"

#include "core/memory.h"
#include "reports/draw.h"

#include <math.h>   /* sqrt */
#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free, qsort */
#include <string.h> /* memset */

enum {
    PANEL_SIDE = 336,
    MARGIN = 24,
    GAP = 16,
    TITLE_HEIGHT = 26,
    QUESTION_HEIGHT = 22,
    CAPTION_HEIGHT = 18,
    NOTE_HEIGHT = 16
};
enum {
    INK = 0x1c2430,
    SOFT = 0x5b6675,
    PAPER = 0xffffff,
    ACCENT = 0xc2410c,
    MERGED = 0xf97316,
    ABSENT = 0xeef1f5
};

/* What a patch is after a cut. */
enum patch_state { PATCH_DROPPED, PATCH_MERGED, PATCH_OWN };

void picture_free(struct picture *picture)
{
    image_free(&picture->image);
    free(picture->title);
    free(picture->question);
    free(picture->answer);
    for (int i = 0; i < picture->n_cuts; i++) {
        free(picture->cuts[i].kept);
        free(picture->cuts[i].recycled);
        free(picture->cuts[i].cluster_of);
        free(picture->cuts[i].score);
    }
    *picture = (struct picture){0};
}

/* Grid cell of a visual token of the first image, or −1: a CLS token stands first, row separators end the
 * rows. */
static int cell_of(const struct picture *picture, int32_t token)
{
    int n = picture->rows * picture->cols;
    if (token < 0)
        return -1;
    if (picture->n_visual == n + 1)
        return token - 1 < n ? token - 1 : -1;
    if (picture->n_visual == picture->rows * (picture->cols + 1)) {
        int row = token / (picture->cols + 1), col = token % (picture->cols + 1);
        return col < picture->cols && row < picture->rows ? row * picture->cols + col : -1;
    }
    return token < n ? token : -1;
}

static bool is_kept(const struct picture_cut *cut, int32_t id)
{
    for (int i = 0; i < cut->n_kept; i++)
        if (cut->kept[i] == id)
            return true;
    return false;
}

/* Advances `cluster` (which cluster a patch lives in, −1 without) over one cut and says what each patch is
 * then. */
static void patch_states(uint8_t *state, int32_t *cluster, const struct picture *picture,
                         const struct picture_cut *cut)
{
    int n = picture->rows * picture->cols;
    memset(state, PATCH_DROPPED, (size_t)n);
    for (int cell = 0; cell < n; cell++) {
        if (cluster[cell] < 0)
            continue;
        int32_t id = -1 - cluster[cell], next = is_kept(cut, id) ? cluster[cell] : -1;
        for (int i = 0; i < cut->n_recycled && next < 0; i++)
            if (cut->recycled[i] == id)
                next = cut->cluster_of[i];
        cluster[cell] = next;
    }
    for (int i = 0; i < cut->n_recycled; i++) {
        int cell = cell_of(picture, cut->recycled[i]);
        if (cell >= 0)
            cluster[cell] = cut->cluster_of[i];
    }
    for (int cell = 0; cell < n; cell++)
        if (cluster[cell] >= 0)
            state[cell] = PATCH_MERGED;
    for (int i = 0; i < cut->n_kept; i++) {
        int cell = cell_of(picture, cut->kept[i]);
        if (cell >= 0)
            state[cell] = PATCH_OWN;
    }
}

/* The square the model saw, resized to the panel. */
static enum status panel_image(struct image *out, const struct picture *picture, int width, int height,
                               struct error *err)
{
    const struct image *image = &picture->image;
    struct image square = {0};
    if (image->width == image->height)
        return image_resize(out, image, width, height, err);
    if (picture->mode == IMAGE_MODE_PAD) {
        static const uint8_t mean[3] = {122, 116, 104}; /* CLIP's mean colour */
        TRY(image_pad_square(&square, image, mean, err));
    } else {
        int side = image->width < image->height ? image->width : image->height;
        TRY(image_new(&square, side, side, (const uint8_t[3]){0, 0, 0}, err));
        draw_paste(&square, -(image->width - side) / 2, -(image->height - side) / 2, image);
    }
    enum status status = image_resize(out, &square, width, height, err);
    image_free(&square);
    return status;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Attention is heavy-tailed: the scale ends at the 99th percentile and goes with the square root. */
static enum status draw_priority(struct image *sheet, struct box panel, const struct image *image,
                                 const struct picture *picture, const struct picture_cut *cut, int patch,
                                 struct error *err)
{
    int n = cut->n_score;
    float *sorted = memory_alloc((size_t)n, sizeof *sorted);
    if (sorted == NULL)
        return memory_failed(err, "scores", (size_t)n * sizeof *sorted);
    memcpy(sorted, cut->score, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_floats);
    double low = sorted[0], high = sorted[(n - 1) - (n - 1) / 100];
    free(sorted);
    draw_paste(sheet, panel.x, panel.y, image);
    for (int token = 0; token < n; token++) {
        int cell = cell_of(picture, token);
        if (cell < 0)
            continue;
        double t = high > low ? (cut->score[token] - low) / (high - low) : 0;
        struct box at = {panel.x + cell % picture->cols * patch, panel.y + cell / picture->cols * patch,
                         patch, patch};
        draw_grey(sheet, at, draw_heat(sqrt(t > 0 ? t : 0)), 0.8);
    }
    return OK;
}

static void draw_patches(struct image *sheet, struct box panel, const struct image *image,
                         const struct picture *picture, const uint8_t *state, int patch)
{
    draw_paste(sheet, panel.x, panel.y, image);
    for (int cell = 0; cell < picture->rows * picture->cols; cell++) {
        struct box at = {panel.x + cell % picture->cols * patch, panel.y + cell / picture->cols * patch,
                         patch, patch};
        if (state[cell] == PATCH_OWN)
            continue;
        if (state[cell] == PATCH_MERGED) {
            draw_grey(sheet, at, 0xffd9b0, 0.62);
            draw_frame(sheet, at, 1, MERGED);
        } else {
            draw_grey(sheet, at, 0xe3e7ed, 0.86);
        }
    }
}

static void draw_caption(struct image *sheet, struct box panel, const char *head, const char *note)
{
    int y = panel.y + panel.height + 10;
    draw_text(sheet, panel.x, y, CAPTION_HEIGHT, INK, head, panel.width);
    if (note[0] != '\0')
        draw_text(sheet, panel.x, y + CAPTION_HEIGHT + 10, NOTE_HEIGHT, SOFT, note, panel.width);
}

static void layer_name(char *out, size_t size, int layer)
{
    if (layer < 0)
        snprintf(out, size, "at input");
    else
        snprintf(out, size, "layer %d", layer);
}

static int patch_pixels(const struct picture *picture)
{
    int longer = picture->rows > picture->cols ? picture->rows : picture->cols;
    return longer > PANEL_SIDE / 3 ? 3 : PANEL_SIDE / longer;
}

static enum status draw_row(struct image *sheet, int top, int n_columns, const struct picture *picture,
                            struct error *err)
{
    int patch = patch_pixels(picture), width = picture->cols * patch, height = picture->rows * patch;
    int n_cells = picture->rows * picture->cols;
    struct image image = {0};
    uint8_t *state = memory_zero((size_t)n_cells, sizeof *state);
    int32_t *cluster = memory_alloc((size_t)n_cells, sizeof *cluster);
    enum status status = OK;
    if (state == NULL || cluster == NULL) {
        status = memory_failed(err, "patches", (size_t)n_cells * sizeof *cluster);
        goto exit;
    }
    for (int i = 0; i < n_cells; i++)
        cluster[i] = -1;
    TRY_GOTO(status, panel_image(&image, picture, width, height, err));

    char head[160], note[160];
    int y = top, wide = sheet->width - 2 * MARGIN;
    snprintf(head, sizeof head, "%s", picture->title != NULL ? picture->title : "");
    draw_text(sheet, MARGIN, y, CAPTION_HEIGHT, ACCENT, head, wide);
    y += CAPTION_HEIGHT + 12;
    int drawn = draw_text(sheet, MARGIN, y, QUESTION_HEIGHT, INK,
                          picture->question != NULL ? picture->question : "", wide * 3 / 4);
    if (picture->answer != NULL && picture->answer[0] != '\0') {
        int x = MARGIN + drawn + 12;
        x += draw_text(sheet, x, y, QUESTION_HEIGHT, SOFT, "\xe2\x86\x92 ", 0);
        draw_text(sheet, x, y, QUESTION_HEIGHT, ACCENT, picture->answer, sheet->width - MARGIN - x);
    }
    y += QUESTION_HEIGHT + 18;

    struct box panel = {MARGIN, y, width, height};
    draw_paste(sheet, panel.x, panel.y, &image);
    snprintf(note, sizeof note, "%d visual tokens", picture->n_visual);
    draw_caption(sheet, panel, "image", note);

    panel.x += width + GAP;
    const struct picture_cut *scored = NULL;
    for (int i = 0; i < picture->n_cuts && scored == NULL; i++)
        if (picture->cuts[i].n_score == picture->n_visual && picture->cuts[i].score != NULL)
            scored = &picture->cuts[i];
    if (scored != NULL) {
        TRY_GOTO(status, draw_priority(sheet, panel, &image, picture, scored, patch, err));
        layer_name(note, sizeof note, scored->layer);
        draw_caption(sheet, panel, "priority", note);
    } else {
        draw_fill(sheet, panel, ABSENT);
        draw_caption(sheet, panel, "priority", "no scores");
    }

    /* The first cuts and always the last one. */
    int shown = 2;
    for (int i = 0; i < picture->n_cuts; i++) {
        const struct picture_cut *cut = &picture->cuts[i];
        patch_states(state, cluster, picture, cut);
        if (shown == n_columns - 1 && i < picture->n_cuts - 1)
            continue;
        panel.x += width + GAP;
        draw_patches(sheet, panel, &image, picture, state, patch);
        layer_name(head, sizeof head, cut->layer);
        size_t used = strlen(head);
        snprintf(head + used, sizeof head - used, ": %d\xe2\x86\x92%d", cut->n_in,
                 cut->n_kept + cut->n_clusters);
        if (cut->n_clusters > 0)
            snprintf(note, sizeof note, "%d + %d clusters of %d", cut->n_kept, cut->n_clusters,
                     cut->n_recycled);
        else
            snprintf(note, sizeof note, "%d kept", cut->n_kept);
        draw_caption(sheet, panel, head, note);
        shown++;
    }
    if (picture->n_cuts == 0)
        draw_text(sheet, panel.x + width + GAP, panel.y + height / 2, CAPTION_HEIGHT, SOFT, "nothing was cut",
                  0);
exit:
    free(state);
    free(cluster);
    image_free(&image);
    return status;
}

static int row_height(const struct picture *picture)
{
    return CAPTION_HEIGHT + 12 + QUESTION_HEIGHT + 18 + picture->rows * patch_pixels(picture) + 10 +
           CAPTION_HEIGHT + 10 + NOTE_HEIGHT + 34;
}

static void draw_legend(struct image *sheet, int x, int y)
{
    static const struct {
        uint32_t fill, frame;
        const char *text;
    } rows[] = {{0x2f7fd1, 0x2f7fd1, "in colour: own token"},
                {0xe9c8a4, MERGED, "recycled into a merged token"},
                {0xe3e7ed, 0xe3e7ed, "dropped"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct box box = {x, y - 2, 20, 20};
        draw_fill(sheet, box, rows[i].fill);
        draw_frame(sheet, box, 2, rows[i].frame);
        if (i == 0) { /* any colours: a patch of the picture */
            draw_fill(sheet, (struct box){x + 10, y - 2, 10, 10}, 0xe0447c);
            draw_fill(sheet, (struct box){x, y + 8, 10, 10}, 0x3fa34d);
            draw_fill(sheet, (struct box){x + 10, y + 8, 10, 10}, 0xf2b632);
        }
        x += 30;
        x += draw_text(sheet, x, y, NOTE_HEIGHT, SOFT, rows[i].text, 0) + 30;
    }
}

enum status survivors_draw(struct image *out, const struct picture *pictures, int n, const char *title,
                           struct error *err)
{
    ENSURE(n >= 1 && n <= SHEET_ROWS_MAX);
    for (int i = 0; i < n; i++)
        if (pictures[i].image.rgb == NULL)
            return fail(err, BAD_INPUT,
                        "a sample was asked without an image (control no-image): there is nothing to draw");
    int columns = 3, panel = 0, height = MARGIN + TITLE_HEIGHT + 44;
    for (int i = 0; i < n; i++) {
        int cuts = pictures[i].n_cuts < SHEET_CUTS_MAX ? pictures[i].n_cuts : SHEET_CUTS_MAX;
        int width = pictures[i].cols * patch_pixels(&pictures[i]);
        columns = 2 + cuts > columns ? 2 + cuts : columns;
        panel = width > panel ? width : panel;
        height += row_height(&pictures[i]);
    }
    height += NOTE_HEIGHT + MARGIN;
    int width = 2 * MARGIN + columns * panel + (columns - 1) * GAP;
    TRY(image_new(out, width, height, (const uint8_t[3]){255, 255, 255}, err));
    draw_text(out, MARGIN, MARGIN, TITLE_HEIGHT, INK, title, width - 2 * MARGIN);
    draw_fill(out, (struct box){MARGIN, MARGIN + TITLE_HEIGHT + 18, width - 2 * MARGIN, 2}, 0xd5dbe3);
    int y = MARGIN + TITLE_HEIGHT + 44;
    for (int i = 0; i < n; i++) {
        enum status status = draw_row(out, y, columns, &pictures[i], err);
        if (status != OK) {
            image_free(out);
            return status;
        }
        y += row_height(&pictures[i]);
    }
    draw_legend(out, MARGIN, y);
    return OK;
}

double survivors_overlap(const struct picture *a, const struct picture *b)
{
    if (a->n_cuts == 0 || b->n_cuts == 0)
        return 1;
    const struct picture_cut *x = &a->cuts[a->n_cuts - 1], *y = &b->cuts[b->n_cuts - 1];
    int both = 0, patches_x = 0, patches_y = 0;
    for (int i = 0; i < x->n_kept; i++) {
        patches_x += x->kept[i] >= 0;
        both += x->kept[i] >= 0 && is_kept(y, x->kept[i]);
    }
    for (int i = 0; i < y->n_kept; i++)
        patches_y += y->kept[i] >= 0;
    int either = patches_x + patches_y - both;
    return either > 0 ? (double)both / either : 1;
}
