/* A learned table of positions made for one grid of patches, for another grid. */
#ifndef WINNOW_POSITION_TABLE_H
#define WINNOW_POSITION_TABLE_H

/* out [1 + rows·cols, d] from table [1 + grid_rows·grid_cols, d], both host memory, not overlapping. Row 0,
 * the class token's, is copied; the rest is interpolated bicubically. Equal grids: an exact copy. */
void position_table_resize(float *out, const float *table, int grid_rows, int grid_cols, int rows, int cols,
                           int d);

#endif
