/* Drawing on RGB8 pictures. The font is 5 × 9 dots (7 above the base line, 2 below) in a cell 6 wide. A glyph
 * is enlarged four times with corners rounded (the rule known as Scale2x, twice) and then averaged down to
 * the size asked for, so that letters are smooth at any height. */
#include "reports/draw.h"

#include "core/utf8.h"

#include <math.h>   /* lrint */
#include <string.h> /* memcpy, strlen */

enum { GLYPH_COLUMNS = 5, GLYPH_ROWS = 9, GLYPH_CELL = 6, GLYPH_BODY = 7 /* rows of a capital */ };

/* Rows from the top, bit 4 is the left dot. ASCII 32 … 126, then arrow, times, ellipsis and the box. */
static const uint8_t glyphs[][GLYPH_ROWS] = {{0},
                                             {4, 4, 4, 4, 4, 0, 4},
                                             {10, 10, 10},
                                             {10, 10, 31, 10, 31, 10, 10},
                                             {4, 15, 20, 14, 5, 30, 4},
                                             {24, 25, 2, 4, 8, 19, 3},
                                             {12, 18, 20, 8, 21, 18, 13},
                                             {4, 4, 8},
                                             {2, 4, 8, 8, 8, 4, 2},
                                             {8, 4, 2, 2, 2, 4, 8},
                                             {0, 4, 21, 14, 21, 4},
                                             {0, 4, 4, 31, 4, 4},
                                             {0, 0, 0, 0, 0, 12, 12, 4, 8},
                                             {0, 0, 0, 14},
                                             {0, 0, 0, 0, 0, 12, 12},
                                             {1, 1, 2, 4, 8, 16, 16},
                                             /* 0 … 9 : ; < = > ? @ */
                                             {14, 17, 19, 21, 25, 17, 14},
                                             {4, 12, 4, 4, 4, 4, 14},
                                             {14, 17, 1, 2, 4, 8, 31},
                                             {31, 2, 4, 2, 1, 17, 14},
                                             {2, 6, 10, 18, 31, 2, 2},
                                             {31, 16, 30, 1, 1, 17, 14},
                                             {6, 8, 16, 30, 17, 17, 14},
                                             {31, 1, 2, 4, 8, 8, 8},
                                             {14, 17, 17, 14, 17, 17, 14},
                                             {14, 17, 17, 15, 1, 2, 12},
                                             {0, 12, 12, 0, 12, 12},
                                             {0, 12, 12, 0, 0, 12, 12, 4, 8},
                                             {2, 4, 8, 16, 8, 4, 2},
                                             {0, 0, 31, 0, 31},
                                             {8, 4, 2, 1, 2, 4, 8},
                                             {14, 17, 1, 2, 4, 0, 4},
                                             {14, 17, 23, 21, 23, 16, 14},
                                             /* A … Z */
                                             {14, 17, 17, 31, 17, 17, 17},
                                             {30, 17, 17, 30, 17, 17, 30},
                                             {14, 17, 16, 16, 16, 17, 14},
                                             {28, 18, 17, 17, 17, 18, 28},
                                             {31, 16, 16, 30, 16, 16, 31},
                                             {31, 16, 16, 30, 16, 16, 16},
                                             {14, 17, 16, 23, 17, 17, 15},
                                             {17, 17, 17, 31, 17, 17, 17},
                                             {14, 4, 4, 4, 4, 4, 14},
                                             {7, 2, 2, 2, 2, 18, 12},
                                             {17, 18, 20, 24, 20, 18, 17},
                                             {16, 16, 16, 16, 16, 16, 31},
                                             {17, 27, 21, 21, 17, 17, 17},
                                             {17, 17, 25, 21, 19, 17, 17},
                                             {14, 17, 17, 17, 17, 17, 14},
                                             {30, 17, 17, 30, 16, 16, 16},
                                             {14, 17, 17, 17, 21, 18, 13},
                                             {30, 17, 17, 30, 20, 18, 17},
                                             {15, 16, 16, 14, 1, 1, 30},
                                             {31, 4, 4, 4, 4, 4, 4},
                                             {17, 17, 17, 17, 17, 17, 14},
                                             {17, 17, 17, 17, 17, 10, 4},
                                             {17, 17, 17, 21, 21, 21, 10},
                                             {17, 17, 10, 4, 10, 17, 17},
                                             {17, 17, 17, 10, 4, 4, 4},
                                             {31, 1, 2, 4, 8, 16, 31},
                                             /* [ \ ] ^ _ ` */
                                             {14, 8, 8, 8, 8, 8, 14},
                                             {16, 16, 8, 4, 2, 1, 1},
                                             {14, 2, 2, 2, 2, 2, 14},
                                             {4, 10, 17},
                                             {0, 0, 0, 0, 0, 0, 0, 31},
                                             {8, 4, 2},
                                             /* a … z */
                                             {0, 0, 14, 1, 15, 17, 15},
                                             {16, 16, 22, 25, 17, 17, 30},
                                             {0, 0, 14, 16, 16, 17, 14},
                                             {1, 1, 13, 19, 17, 17, 15},
                                             {0, 0, 14, 17, 31, 16, 14},
                                             {6, 9, 8, 28, 8, 8, 8},
                                             {0, 0, 15, 17, 17, 19, 13, 1, 14},
                                             {16, 16, 22, 25, 17, 17, 17},
                                             {4, 0, 12, 4, 4, 4, 14},
                                             {2, 0, 6, 2, 2, 2, 2, 18, 12},
                                             {16, 16, 18, 20, 24, 20, 18},
                                             {12, 4, 4, 4, 4, 4, 14},
                                             {0, 0, 26, 21, 21, 17, 17},
                                             {0, 0, 22, 25, 17, 17, 17},
                                             {0, 0, 14, 17, 17, 17, 14},
                                             {0, 0, 30, 17, 17, 25, 22, 16, 16},
                                             {0, 0, 13, 19, 17, 17, 15, 1, 1},
                                             {0, 0, 22, 25, 16, 16, 16},
                                             {0, 0, 14, 16, 14, 1, 30},
                                             {8, 8, 28, 8, 8, 9, 6},
                                             {0, 0, 17, 17, 17, 19, 13},
                                             {0, 0, 17, 17, 17, 10, 4},
                                             {0, 0, 17, 17, 21, 21, 10},
                                             {0, 0, 17, 10, 4, 10, 17},
                                             {0, 0, 17, 17, 17, 15, 1, 1, 14},
                                             {0, 0, 31, 2, 4, 8, 31},
                                             /* { | } ~ */
                                             {2, 4, 4, 8, 4, 4, 2},
                                             {4, 4, 4, 4, 4, 4, 4},
                                             {8, 4, 4, 2, 4, 4, 8},
                                             {0, 0, 8, 21, 2},
                                             /* arrow, times, ellipsis, box */
                                             {0, 4, 2, 31, 2, 4},
                                             {0, 0, 17, 10, 4, 10, 17},
                                             {0, 0, 0, 0, 0, 0, 21},
                                             {31, 17, 17, 17, 17, 17, 31}};
enum { GLYPH_ARROW = 95, GLYPH_TIMES, GLYPH_ELLIPSIS, GLYPH_BOX };
_Static_assert(sizeof glyphs / sizeof *glyphs == GLYPH_BOX + 1, "one glyph a character");

static struct box clip(const struct image *image, struct box box)
{
    int left = box.x > 0 ? box.x : 0, top = box.y > 0 ? box.y : 0;
    int right = box.x + box.width < image->width ? box.x + box.width : image->width;
    int bottom = box.y + box.height < image->height ? box.y + box.height : image->height;
    return (struct box){left, top, right > left ? right - left : 0, bottom > top ? bottom - top : 0};
}

static uint8_t *pixel(struct image *image, int x, int y)
{
    return image->rgb + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
}

static void blend(uint8_t *rgb, uint32_t colour, double alpha)
{
    for (int c = 0; c < 3; c++) {
        double over = (double)((colour >> (16 - 8 * c)) & 255u);
        rgb[c] = (uint8_t)lrint((1 - alpha) * rgb[c] + alpha * over);
    }
}

void draw_tint(struct image *image, struct box box, uint32_t colour, double alpha)
{
    struct box in = clip(image, box);
    for (int y = in.y; y < in.y + in.height; y++)
        for (int x = in.x; x < in.x + in.width; x++)
            blend(pixel(image, x, y), colour, alpha);
}

void draw_fill(struct image *image, struct box box, uint32_t colour)
{
    draw_tint(image, box, colour, 1);
}

void draw_frame(struct image *image, struct box box, int thick, uint32_t colour)
{
    draw_fill(image, (struct box){box.x, box.y, box.width, thick}, colour);
    draw_fill(image, (struct box){box.x, box.y + box.height - thick, box.width, thick}, colour);
    draw_fill(image, (struct box){box.x, box.y, thick, box.height}, colour);
    draw_fill(image, (struct box){box.x + box.width - thick, box.y, thick, box.height}, colour);
}

void draw_grey(struct image *image, struct box box, uint32_t colour, double alpha)
{
    struct box in = clip(image, box);
    for (int y = in.y; y < in.y + in.height; y++)
        for (int x = in.x; x < in.x + in.width; x++) {
            uint8_t *rgb = pixel(image, x, y);
            uint8_t grey = (uint8_t)((299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2]) / 1000);
            memset(rgb, grey, 3);
            blend(rgb, colour, alpha);
        }
}

void draw_paste(struct image *image, int x, int y, const struct image *from)
{
    struct box in = clip(image, (struct box){x, y, from->width, from->height});
    for (int row = 0; row < in.height && in.width > 0; row++)
        memcpy(pixel(image, in.x, in.y + row),
               from->rgb + ((size_t)(in.y - y + row) * (size_t)from->width + (size_t)(in.x - x)) * 3,
               (size_t)in.width * 3);
}

enum { DOTS_MAX = GLYPH_ROWS * 4, DOTS_WIDE = GLYPH_CELL * 4 };
struct dots {
    int columns, rows;
    uint8_t on[DOTS_MAX][DOTS_WIDE];
};

static uint8_t dot(const struct dots *dots, int row, int column)
{
    return row >= 0 && row < dots->rows && column >= 0 && column < dots->columns ? dots->on[row][column] : 0;
}

/* Twice the size: a quarter takes the colour of its two outer neighbours where these agree and the opposite
 * ones do not, which turns stairs into slopes. */
static void dots_double(struct dots *out, const struct dots *in)
{
    out->columns = in->columns * 2;
    out->rows = in->rows * 2;
    for (int y = 0; y < in->rows; y++)
        for (int x = 0; x < in->columns; x++) {
            uint8_t here = dot(in, y, x), up = dot(in, y - 1, x), down = dot(in, y + 1, x),
                    left = dot(in, y, x - 1), right = dot(in, y, x + 1);
            bool corner = up != down && left != right;
            out->on[2 * y][2 * x] = corner && left == up ? left : here;
            out->on[2 * y][2 * x + 1] = corner && up == right ? right : here;
            out->on[2 * y + 1][2 * x] = corner && left == down ? left : here;
            out->on[2 * y + 1][2 * x + 1] = corner && down == right ? right : here;
        }
}

static void draw_glyph(struct image *image, double x, double y, double scale, uint32_t colour, int glyph)
{
    struct dots plain = {.columns = GLYPH_CELL, .rows = GLYPH_ROWS}, twice, dots;
    for (int row = 0; row < GLYPH_ROWS; row++)
        for (int column = 0; column < GLYPH_COLUMNS; column++)
            plain.on[row][column] = (uint8_t)((glyphs[glyph][row] >> (GLYPH_COLUMNS - 1 - column)) & 1);
    dots_double(&twice, &plain);
    dots_double(&dots, &twice);

    double side = scale / 4; /* of one dot, pixels */
    enum { TAPS = 4 };       /* samples a pixel and direction */
    int left = (int)floor(x), top = (int)floor(y);
    int wide = (int)ceil(GLYPH_CELL * scale) + 1, high = (int)ceil(GLYPH_ROWS * scale) + 1;
    struct box in = clip(image, (struct box){left, top, wide, high});
    for (int py = in.y; py < in.y + in.height; py++)
        for (int px = in.x; px < in.x + in.width; px++) {
            int covered = 0;
            for (int tap = 0; tap < TAPS * TAPS; tap++) {
                double fx = (px + (tap % TAPS + 0.5) / TAPS - x) / side;
                double fy = (py + ((double)(tap / TAPS) + 0.5) / TAPS - y) / side;
                covered += fx >= 0 && fy >= 0 ? dot(&dots, (int)fy, (int)fx) : 0;
            }
            if (covered > 0)
                blend(pixel(image, px, py), colour, (double)covered / (TAPS * TAPS));
        }
}

static int next_glyph(const char **text, size_t *n)
{
    uint32_t code;
    int size = utf8_next(&code, *text, *n);
    if (size == 0) {
        size = 1;
        code = 0xfffd;
    }
    *text += size;
    *n -= (size_t)size;
    switch (code) {
    case 0x2192:
        return GLYPH_ARROW;
    case 0xd7:
        return GLYPH_TIMES;
    case 0x2026:
        return GLYPH_ELLIPSIS;
    case 0x2013:
    case 0x2014:
    case 0x2212:
        return '-' - 32;
    case 0x2018:
    case 0x2019:
        return '\'' - 32;
    case 0x201c:
    case 0x201d:
        return '"' - 32;
    case '\n':
    case '\t':
    case 0xa0:
        return 0;
    default:
        return code >= 32 && code < 127 ? (int)code - 32 : GLYPH_BOX;
    }
}

int draw_text_width(int height, const char *text)
{
    size_t n = strlen(text);
    int glyph_count = 0;
    while (n > 0) {
        (void)next_glyph(&text, &n);
        glyph_count++;
    }
    return (int)ceil(glyph_count * GLYPH_CELL * ((double)height / GLYPH_BODY));
}

int draw_text(struct image *image, int x, int y, int height, uint32_t colour, const char *text, int max_width)
{
    double scale = (double)height / GLYPH_BODY, advance = GLYPH_CELL * scale, at = x;
    bool cut = max_width > 0 && draw_text_width(height, text) > max_width;
    size_t n = strlen(text);
    while (n > 0) {
        if (cut && at + 2 * advance > x + max_width) {
            draw_glyph(image, at, y, scale, colour, GLYPH_ELLIPSIS);
            at += advance;
            break;
        }
        draw_glyph(image, at, y, scale, colour, next_glyph(&text, &n));
        at += advance;
    }
    return (int)ceil(at) - x;
}

uint32_t draw_heat(double t)
{
    /* Seven stops, even in lightness, between which colours are blended. */
    static const uint8_t stops[][3] = {{13, 8, 64},    {75, 12, 107},  {137, 34, 106}, {193, 58, 80},
                                       {236, 105, 37}, {251, 171, 24}, {252, 250, 150}};
    enum { LAST = sizeof stops / sizeof *stops - 1 };
    double at = (t > 0 ? (t < 1 ? t : 1) : 0) * LAST;
    int low = at < LAST ? (int)at : LAST - 1;
    uint32_t colour = 0;
    for (int c = 0; c < 3; c++)
        colour =
            colour << 8 | (uint32_t)lrint(stops[low][c] + (at - low) * (stops[low + 1][c] - stops[low][c]));
    return colour;
}
