/* Drawing on RGB8 pictures: rectangles, tints, pasted pictures, and text in a small built-in font that
 * scales. Everything is clipped to the picture. Colours are 0xRRGGBB. */
#ifndef WINNOW_REPORTS_DRAW_H
#define WINNOW_REPORTS_DRAW_H

#include "core/image.h"

struct box {
    int x, y, width, height;
};

void draw_fill(struct image *image, struct box box, uint32_t colour);
/* Blends `colour` over what is there; alpha 0 … 1. */
void draw_tint(struct image *image, struct box box, uint32_t colour, double alpha);
/* A frame of `thick` pixels inside the box. */
void draw_frame(struct image *image, struct box box, int thick, uint32_t colour);
/* What is there to grey of the same lightness, then blended with `colour`. */
void draw_grey(struct image *image, struct box box, uint32_t colour, double alpha);
/* Copies all of `from` to (x, y). */
void draw_paste(struct image *image, int x, int y, const struct image *from);

/* One line of UTF-8, its capitals `height` pixels high, top left at (x, y); characters the font lacks are
 * drawn as a box. What is wider than `max_width` (0: no limit) ends in an ellipsis. Returns the width drawn.
 */
int draw_text(struct image *image, int x, int y, int height, uint32_t colour, const char *text,
              int max_width);
int draw_text_width(int height, const char *text);

/* Dark violet to yellow, t in 0 … 1. */
uint32_t draw_heat(double t);

#endif
