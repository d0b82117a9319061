/* A value written as Python would write it, read as ast.literal_eval reads it: what judges reply with. */
#ifndef WINNOW_PYTHON_LITERAL_H
#define WINNOW_PYTHON_LITERAL_H

#include <jansson.h>

/* NULL where literal_eval would raise an exception (or memory runs out). Dictionaries become objects of their
 * text keys, numbers, texts, True, False and None what they are in JSON; of lists, tuples, sets, bytes and
 * numbers beyond a double only that they are there is kept: an empty array. The caller json_decref's. */
json_t *python_literal(const char *text);

#endif
