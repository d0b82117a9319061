/* What figures were measured on, in words. */
#ifndef WINNOW_MACHINE_H
#define WINNOW_MACHINE_H

#include <stddef.h>

enum { MACHINE_SIZE = 256 };

/* "MODEL OF THE CPU, 8 cores, Linux x86_64, HOST": two machines of one kind differ by the host's first label.
 */
void machine_name(char *out, size_t size);

/* Cores that this process may use: those a scheduler or taskset left to it, not all that the machine has. */
int machine_cores(void);

#endif
