/* A cell in few words, from the text its key was made of: "sparsevlm recycle=off budget=64 control=blank". */
#ifndef WINNOW_CELL_LABEL_H
#define WINNOW_CELL_LABEL_H

enum { CELL_LABEL_SIZE = 256 };

/* Says what differs from the defaults; longer ones are cut. canonical: the store's column of that name. */
void cell_label(char out[CELL_LABEL_SIZE], const char *canonical);

#endif
