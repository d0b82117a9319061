/* Who may write to a store: one process at a time, by an advisory lock on "S.db.lock" beside it.
 *
 * The kernel frees the lock when its holder dies, however it dies, so a lock file that is left behind holds
 * nobody up; what stands in it, "PID HOST", is for the message only. Readers never ask for it.
 */
#ifndef WINNOW_STORE_LOCK_H
#define WINNOW_STORE_LOCK_H

#include "core/error.h"

struct store_lock;

/* Refuses at once where another process holds it (NO_MACHINE), where the folder takes no file (NO_MACHINE),
 * and where `path` is no regular file (BAD_INPUT). Links to one store have one lock. */
enum status store_lock_take(struct store_lock **out, const char *path, struct error *err);
/* Removes the lock file. NULL is given back already. */
void store_lock_give(struct store_lock *lock);

#endif
