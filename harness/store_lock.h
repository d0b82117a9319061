/* Who may write to a store: one process at a time, by a lock on "S.db.lock" beside it (lock.h). Readers never
 * ask for it. */
#ifndef WINNOW_STORE_LOCK_H
#define WINNOW_STORE_LOCK_H

#include "core/error.h"
#include "harness/lock.h"

/* Refuses at once where another process holds it (NO_MACHINE), where the folder takes no file (NO_MACHINE),
 * and where `path` is no regular file (BAD_INPUT). Links to one store have one lock. The caller lock_give's.
 */
enum status store_lock(struct lock **out, const char *path, struct error *err);

#endif
