/* The machine from /proc/cpuinfo and uname, see machine.h. */
#include "harness/machine.h"

#include <sched.h>       /* sched_getaffinity */
#include <stdio.h>       /* fopen */
#include <string.h>      /* strncmp */
#include <sys/utsname.h> /* uname */
#include <unistd.h>      /* sysconf */

void machine_name(char *out, size_t size)
{
    char line[256], model[128] = "unknown CPU";
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            snprintf(model, sizeof model, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (file)
        fclose(file);
    struct utsname system = {0};
    uname(&system);
    snprintf(out, size, "%s, %ld cores, %s %s, %.*s", model, sysconf(_SC_NPROCESSORS_ONLN), system.sysname,
             system.machine, (int)strcspn(system.nodename, "."), system.nodename);
}

int machine_cores(void)
{
    cpu_set_t cores; /* more than CPU_SETSIZE cores: the call fails */
    long n =
        sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}
