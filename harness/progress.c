/* Progress of a sweep on stderr: count, rate, time left. */
#include <stdio.h>  /* fprintf */
#include <unistd.h> /* isatty */

#include "core/memory.h" /* clock_ms */
#include "harness/sweep_run.h"

static const double terminal_ms = 250, plain_ms = 5000;

void progress_start(struct progress *progress, const char *what, int n_total)
{
    *progress = (struct progress){
        .what = what, .n_total = n_total, .since = clock_ms(), .terminal = isatty(STDERR_FILENO) == 1};
    progress->last_shown = progress->since;
}

static void format_duration(char *out, size_t size, double seconds)
{
    int s = (int)(seconds + 0.5);
    if (s < 60)
        snprintf(out, size, "%d s", s);
    else if (s < 3600)
        snprintf(out, size, "%d min %02d s", s / 60, s % 60);
    else
        snprintf(out, size, "%d h %02d min", s / 3600, s % 3600 / 60);
}

void progress_show(struct progress *progress, int n_done, int n_failed, bool last)
{
    double now = clock_ms(), seconds = (now - progress->since) / 1e3;
    if (progress->n_total == 0 ||
        (!last && now - progress->last_shown < (progress->terminal ? terminal_ms : plain_ms)))
        return;
    progress->last_shown = now;
    char left[48] = "", failed[48] = "";
    if (n_failed > 0)
        snprintf(failed, sizeof failed, ", %d failed", n_failed);
    if (last)
        format_duration(left, sizeof left, seconds);
    else if (n_done > 0)
        format_duration(left, sizeof left, seconds / n_done * (progress->n_total - n_done));
    fprintf(stderr, "%s%s: %d of %d%s, %.1f/s%s%s%s%s", progress->terminal ? "\r" : "", progress->what,
            n_done, progress->n_total, failed, seconds > 0 ? n_done / seconds : 0.0, left[0] ? ", " : "",
            left, left[0] && !last ? " left" : "", progress->terminal ? "\033[K" : "\n");
    if (last && progress->terminal)
        fputc('\n', stderr);
    fflush(stderr);
}
