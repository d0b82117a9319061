/* Folders with all that is in them. */
#ifndef WINNOW_FOLDER_H
#define WINNOW_FOLDER_H

#include "core/error.h"

/* Makes a new one under TMPDIR, else /tmp, for this user only. The caller folder_remove's it and frees *path.
 */
enum status folder_scratch(char **path, struct error *err);
/* Links are removed, not followed. What cannot be removed stays. */
void folder_remove(const char *path);

#endif
