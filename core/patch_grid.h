/* Grids of visual tokens: which one a budget buys, and which cells of an old grid one of its cells covers. */
#ifndef WINNOW_PATCH_GRID_H
#define WINNOW_PATCH_GRID_H

/* The grid rows × cols within max_rows × max_cols that has the most cells and no more than `budget` (at least
 * 1); among those the one whose cols / rows is nearest `aspect` (width / height of the picture's grid) as a
 * factor, then the one of fewer rows. */
void grid_choose(int *rows, int *cols, int budget, int max_rows, int max_cols, double aspect);

/* The cells [from, to) of a side n_in long that cell i of n_out covers in an adaptive average: no cell is
 * left out, and neighbours overlap where n_out does not divide n_in. */
void grid_window(int *from, int *to, int i, int n_in, int n_out);

#endif
