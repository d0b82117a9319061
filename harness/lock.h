/* A lock among processes: a file that the kernel locks for as long as its holder lives.
 *
 * However the holder dies, the kernel frees the lock, so a file that is left behind holds nobody up; what
 * stands in it, "PID HOST", is for messages only.
 */
#ifndef WINNOW_LOCK_H
#define WINNOW_LOCK_H

#include "core/error.h"

enum { LOCK_HOLDER = 160 };

struct lock;

/* Does not wait: *out is NULL where another process holds it, and `holder` says which, as " (process 7 on
 * host)", or nothing where that is not known yet. An error says why the file `name` cannot be locked. */
enum status lock_try(struct lock **out, char holder[LOCK_HOLDER], const char *name, struct error *err);
/* Removes the file. NULL is given back already. */
void lock_give(struct lock *lock);

#endif
