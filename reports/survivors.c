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

/* What a patch is in after a cut: a token's number, −1−c for cluster c, or this. */
enum { DROPPED = INT32_MIN };

void picture_cut_free(struct picture_cut *cut)
{
    free(cut->kept);
    free(cut->recycled);
    free(cut->cluster_of);
    free(cut->group_of);
    free(cut->score);
    *cut = (struct picture_cut){0};
}

void picture_free(struct picture *picture)
{
    image_free(&picture->image);
    free(picture->title);
    free(picture->question);
    free(picture->answer);
    for (int i = 0; i < picture->n_cuts; i++)
        picture_cut_free(&picture->cuts[i]);
    *picture = (struct picture){0};
}

static bool is_among(const int32_t *ids, int n, int32_t id)
{
    for (int i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* Clusters that stay in place are numbered in the order in which their centres go on, others as they are. */
static void number_clusters(int32_t *number, const struct picture_cut *cut, int first,
                            const struct picture_centres *centres)
{
    int n = 0;
    for (int g = 0; g < cut->n_clusters; g++)
        number[g] = first + g;
    for (int k = 0; centres->in_place && k < cut->n_kept; k++)
        for (int g = 0; g < cut->n_clusters; g++)
            if (centres->centres[g] == cut->kept[k])
                number[g] = first + n++;
}

enum status picture_cut_number(struct picture_cut *cut, int *n_clusters,
                               const struct picture_centres *centres, struct error *err)
{
    size_t n = (size_t)cut->n_recycled + (size_t)cut->n_clusters;
    int32_t *number = memory_alloc((size_t)cut->n_clusters + 1, sizeof *number);
    int32_t *recycled = memory_grow(cut->recycled, n + 1, sizeof *recycled);
    cut->recycled = recycled ? recycled : cut->recycled;
    int32_t *cluster_of = memory_grow(cut->cluster_of, n + 1, sizeof *cluster_of);
    cut->cluster_of = cluster_of ? cluster_of : cut->cluster_of;
    if (number == NULL || recycled == NULL || cluster_of == NULL) {
        free(number);
        return memory_failed(err, "a cut", n * sizeof *number);
    }
    cut->n_out = cut->n_kept + (centres->in_place ? 0 : cut->n_clusters) + (centres->keep_class ? 1 : 0);
    number_clusters(number, cut, *n_clusters + (centres->keep_class ? 1 : 0), centres);
    for (int i = 0; i < cut->n_recycled; i++)
        cut->cluster_of[i] = number[cut->cluster_of[i]];
    int n_recycled = cut->n_recycled;
    for (int g = 0; g < cut->n_clusters; g++) /* a centre is in its cluster, with a share or without */
        if (!is_among(cut->recycled, n_recycled, centres->centres[g])) {
            cut->recycled[cut->n_recycled] = centres->centres[g];
            cut->cluster_of[cut->n_recycled++] = number[g];
        }
    int n_kept = 0;
    for (int k = 0; k < cut->n_kept; k++)
        if (!centres->in_place || !is_among(centres->centres, cut->n_clusters, cut->kept[k]))
            cut->kept[n_kept++] = cut->kept[k];
    cut->n_kept = n_kept;
    *n_clusters += cut->n_clusters + (centres->keep_class ? 1 : 0);
    free(number);
    return OK;
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
    return is_among(cut->kept, cut->n_kept, id);
}

/* What each patch of the picture is in after the tower. */
static void tokens_after_tower(int32_t *token, const struct picture *picture, const struct picture_cut *cut)
{
    int n = picture->rows * picture->cols;
    for (int cell = 0; cell < n; cell++)
        token[cell] = cell < cut->n_group_of && cut->group_of[cell] >= 0 ? -1 - cut->group_of[cell] : DROPPED;
    for (int i = 0; i < cut->n_kept; i++) {
        int cell = cell_of(picture, cut->kept[i]);
        if (cell >= 0)
            token[cell] = cut->kept[i];
    }
}

/* Advances what each patch is in over one cut. */
static void tokens_advance(int32_t *token, const struct picture *picture, const struct picture_cut *cut)
{
    int n = picture->rows * picture->cols;
    if (cut->tower) {
        tokens_after_tower(token, picture, cut);
        return;
    }
    for (int cell = 0; cell < n; cell++) {
        int32_t id = token[cell], next = DROPPED;
        if (id < 0 && id != DROPPED && is_kept(cut, id))
            next = id;
        for (int i = 0; i < cut->n_recycled && next == DROPPED && id < 0; i++)
            if (cut->recycled[i] == id)
                next = -1 - cut->cluster_of[i];
        token[cell] = next;
    }
    for (int i = cut->n_recycled - 1; i >= 0; i--) { /* of several clusters the first */
        int cell = cell_of(picture, cut->recycled[i]);
        if (cell >= 0)
            token[cell] = -1 - cut->cluster_of[i];
    }
    for (int i = 0; i < cut->n_kept; i++) {
        int cell = cell_of(picture, cut->kept[i]);
        if (cell >= 0)
            token[cell] = cut->kept[i];
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

static struct box box_of(struct box panel, const struct picture *picture, int cell)
{
    int row = cell / picture->cols, col = cell % picture->cols;
    int x = col * panel.width / picture->cols, y = row * panel.height / picture->rows;
    return (struct box){panel.x + x, panel.y + y, (col + 1) * panel.width / picture->cols - x,
                        (row + 1) * panel.height / picture->rows - y};
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Attention is heavy-tailed: the scale ends at the 99th percentile and goes with the square root. */
static enum status draw_priority(struct image *sheet, struct box panel, const struct image *image,
                                 const struct picture *picture, const struct picture_cut *cut,
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
        draw_grey(sheet, box_of(panel, picture, cell), draw_heat(sqrt(t > 0 ? t : 0)), 0.8);
    }
    return OK;
}

struct member {
    int32_t token, cell;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->token != y->token)
        return x->token < y->token ? -1 : 1;
    return (x->cell > y->cell) - (x->cell < y->cell);
}

/* Mean colour of the patches of members [n]. */
static uint32_t mean_colour(const struct image *image, const struct picture *picture,
                            const struct member *members, size_t n)
{
    uint64_t sum[3] = {0}, n_pixels = 0;
    for (size_t i = 0; i < n; i++) {
        struct box at = box_of((struct box){0, 0, image->width, image->height}, picture, members[i].cell);
        for (int y = at.y; y < at.y + at.height; y++)
            for (int x = at.x; x < at.x + at.width; x++, n_pixels++)
                for (size_t c = 0; c < 3; c++)
                    sum[c] += image->rgb[((size_t)y * (size_t)image->width + (size_t)x) * 3 + c];
    }
    n_pixels = n_pixels > 0 ? n_pixels : 1;
    return (uint32_t)(sum[0] / n_pixels << 16 | sum[1] / n_pixels << 8 | sum[2] / n_pixels);
}

/* Every cluster's patches in its mean colour. */
static enum status draw_clusters(struct image *sheet, struct box panel, const struct image *image,
                                 const struct picture *picture, const int32_t *token, struct error *err)
{
    size_t n = (size_t)(picture->rows * picture->cols), n_members = 0;
    struct member *members = memory_alloc(n, sizeof *members);
    if (members == NULL)
        return memory_failed(err, "patches", n * sizeof *members);
    for (size_t cell = 0; cell < n; cell++)
        if (token[cell] < 0 && token[cell] != DROPPED)
            members[n_members++] = (struct member){token[cell], (int32_t)cell};
    qsort(members, n_members, sizeof *members, compare_members);
    for (size_t first = 0, end; first < n_members; first = end) {
        for (end = first + 1; end < n_members && members[end].token == members[first].token;)
            end++;
        uint32_t colour = mean_colour(image, picture, members + first, end - first);
        for (size_t i = first; i < end; i++) {
            draw_tint(sheet, box_of(panel, picture, members[i].cell), colour, 1);
            draw_tint(sheet, box_of(panel, picture, members[i].cell), 0xffd9b0, 0.18);
        }
    }
    free(members);
    return OK;
}

/* Lines between a merged patch and neighbours that are not in the same token. */
static void draw_outlines(struct image *sheet, struct box panel, const struct picture *picture,
                          const int32_t *token)
{
    for (int cell = 0; cell < picture->rows * picture->cols; cell++) {
        if (token[cell] >= 0 || token[cell] == DROPPED)
            continue;
        int row = cell / picture->cols, col = cell % picture->cols;
        struct box at = box_of(panel, picture, cell);
        if (row == 0 || token[cell - picture->cols] != token[cell])
            draw_fill(sheet, (struct box){at.x, at.y, at.width, 1}, MERGED);
        if (col == 0 || token[cell - 1] != token[cell])
            draw_fill(sheet, (struct box){at.x, at.y, 1, at.height}, MERGED);
        if (row == picture->rows - 1 || token[cell + picture->cols] != token[cell])
            draw_fill(sheet, (struct box){at.x, at.y + at.height - 1, at.width, 1}, MERGED);
        if (col == picture->cols - 1 || token[cell + 1] != token[cell])
            draw_fill(sheet, (struct box){at.x + at.width - 1, at.y, 1, at.height}, MERGED);
    }
}

static enum status draw_patches(struct image *sheet, struct box panel, const struct image *image,
                                const struct picture *picture, const int32_t *token, struct error *err)
{
    draw_paste(sheet, panel.x, panel.y, image);
    for (int cell = 0; cell < picture->rows * picture->cols; cell++)
        if (token[cell] == DROPPED)
            draw_grey(sheet, box_of(panel, picture, cell), 0xe3e7ed, 0.86);
    TRY(draw_clusters(sheet, panel, image, picture, token, err));
    draw_outlines(sheet, panel, picture, token);
    return OK;
}

static void draw_caption(struct image *sheet, struct box panel, const char *head, const char *note)
{
    int y = panel.y + panel.height + 10;
    draw_text(sheet, panel.x, y, CAPTION_HEIGHT, INK, head, panel.width);
    if (note[0] != '\0')
        draw_text(sheet, panel.x, y + CAPTION_HEIGHT + 10, NOTE_HEIGHT, SOFT, note, panel.width);
}

static void cut_name(char *out, size_t size, const struct picture_cut *cut)
{
    if (cut->tower)
        snprintf(out, size, "vision tower");
    else if (cut->layer < 0)
        snprintf(out, size, "at input");
    else
        snprintf(out, size, "layer %d", cut->layer);
}

/* Different tokens that went into clusters. */
static int count_merged(const struct picture_cut *cut)
{
    int n = 0;
    for (int i = 0; cut->tower && i < cut->n_group_of; i++)
        n += cut->group_of[i] >= 0 && !is_among(cut->kept, cut->n_kept, i);
    for (int i = 0; !cut->tower && i < cut->n_recycled; i++)
        n += !is_among(cut->recycled, i, cut->recycled[i]);
    return n;
}

static void cut_note(char *out, size_t size, const struct picture_cut *cut)
{
    int n_merged = cut->n_out - cut->n_kept;
    if (n_merged > 0 && cut->n_kept > 0)
        snprintf(out, size, "%d + %d merged of %d", cut->n_kept, n_merged, count_merged(cut));
    else if (n_merged > 0)
        snprintf(out, size, "%d merged of %d", n_merged, count_merged(cut));
    else
        snprintf(out, size, "%d kept", cut->n_kept);
}

/* A whole number of pixels a patch, but for a resized picture, whose square is one whatever its grid. */
static int patch_pixels(const struct picture *picture)
{
    int longer = picture->rows > picture->cols ? picture->rows : picture->cols;
    return longer > PANEL_SIDE / 3 ? 3 : PANEL_SIDE / longer;
}

static int panel_width(const struct picture *picture)
{
    return picture->resized ? PANEL_SIDE : picture->cols * patch_pixels(picture);
}

static int panel_height(const struct picture *picture)
{
    return picture->resized ? PANEL_SIDE : picture->rows * patch_pixels(picture);
}

/* Panels of a row. */
struct columns {
    int n;
    bool priority; /* some row has a priority map */
};

/* The first cut that scored every visual token; NULL without. */
static const struct picture_cut *first_scored(const struct picture *picture)
{
    for (int i = 0; i < picture->n_cuts; i++)
        if (picture->cuts[i].score != NULL && picture->cuts[i].n_score == picture->n_visual)
            return &picture->cuts[i];
    return NULL;
}

static enum status draw_row(struct image *sheet, int top, struct columns columns,
                            const struct picture *picture, struct error *err)
{
    int width = panel_width(picture), height = panel_height(picture);
    int n_cells = picture->rows * picture->cols;
    struct image image = {0};
    int32_t *token = memory_alloc((size_t)n_cells, sizeof *token);
    enum status status = OK;
    if (token == NULL) {
        status = memory_failed(err, "patches", (size_t)n_cells * sizeof *token);
        goto exit;
    }
    for (int i = 0; i < n_cells; i++) /* a resized picture's patches are merged ones of the picture */
        token[i] = picture->resized ? -1 - i : i;
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

    const struct picture_cut *scored = first_scored(picture);
    if (columns.priority)
        panel.x += width + GAP;
    if (scored != NULL) {
        TRY_GOTO(status, draw_priority(sheet, panel, &image, picture, scored, err));
        cut_name(note, sizeof note, scored);
        draw_caption(sheet, panel, "priority", note);
    } else if (columns.priority) {
        draw_fill(sheet, panel, ABSENT);
        draw_caption(sheet, panel, "priority", "no scores");
    }

    int shown = 1 + columns.priority;
    if (picture->resized) {
        panel.x += width + GAP;
        TRY_GOTO(status, draw_patches(sheet, panel, &image, picture, token, err));
        snprintf(head, sizeof head, "resized: %d\xe2\x86\x92%d", picture->n_visual, n_cells);
        snprintf(note, sizeof note, "%d \xc3\x97 %d patches", picture->rows, picture->cols);
        draw_caption(sheet, panel, head, note);
        shown++;
    }
    /* The first cuts and always the last one. */
    for (int i = 0; i < picture->n_cuts; i++) {
        const struct picture_cut *cut = &picture->cuts[i];
        tokens_advance(token, picture, cut);
        if (shown == columns.n - 1 && i < picture->n_cuts - 1)
            continue;
        panel.x += width + GAP;
        TRY_GOTO(status, draw_patches(sheet, panel, &image, picture, token, err));
        cut_name(head, sizeof head, cut);
        size_t used = strlen(head);
        snprintf(head + used, sizeof head - used, ": %d\xe2\x86\x92%d", cut->n_in, cut->n_out);
        cut_note(note, sizeof note, cut);
        draw_caption(sheet, panel, head, note);
        shown++;
    }
    if (picture->n_cuts == 0 && !picture->resized)
        draw_text(sheet, panel.x + width + GAP, panel.y + height / 2, CAPTION_HEIGHT, SOFT, "nothing was cut",
                  0);
exit:
    free(token);
    image_free(&image);
    return status;
}

static int row_height(const struct picture *picture)
{
    return CAPTION_HEIGHT + 12 + QUESTION_HEIGHT + 18 + panel_height(picture) + 10 + CAPTION_HEIGHT + 10 +
           NOTE_HEIGHT + 34;
}

static void draw_legend(struct image *sheet, int x, int y)
{
    static const struct {
        uint32_t fill, frame;
        const char *text;
    } rows[] = {{0x2f7fd1, 0x2f7fd1, "own token"},
                {0xe9c8a4, MERGED, "merged: mean colour"},
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
    struct columns columns = {.n = 2};
    for (int i = 0; i < n; i++)
        columns.priority = columns.priority || first_scored(&pictures[i]) != NULL;
    int panel = 0, height = MARGIN + TITLE_HEIGHT + 44;
    for (int i = 0; i < n; i++) {
        int cuts = pictures[i].n_cuts + pictures[i].resized < SHEET_CUTS_MAX
                       ? pictures[i].n_cuts + pictures[i].resized
                       : SHEET_CUTS_MAX;
        int width = panel_width(&pictures[i]);
        cuts += 1 + columns.priority;
        columns.n = cuts > columns.n ? cuts : columns.n;
        panel = width > panel ? width : panel;
        height += row_height(&pictures[i]);
    }
    height += NOTE_HEIGHT + MARGIN;
    int width = 2 * MARGIN + columns.n * panel + (columns.n - 1) * GAP;
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
