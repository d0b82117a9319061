/* A store to read from, for those who know its views only. */
#ifndef WINNOW_STORE_READER_H
#define WINNOW_STORE_READER_H

#include <sqlite3.h>

#include "core/error.h"

/* A connection that can only read, of a file that exists. The caller sqlite3_close's. */
enum status store_open_reader(sqlite3 **out, const char *path, struct error *err);

#endif
