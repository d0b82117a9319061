/* A small pool: the caller's thread and n − 1 others run tasks 0 … n_tasks − 1 of one function. Which thread
 * runs which task never matters for a result: tasks write disjoint memory and do not reduce together. */
#ifndef WINNOW_THREADS_H
#define WINNOW_THREADS_H

#include "error.h"

struct threads;

/* start: called once in every thread of the pool, the caller's included (NULL: nothing). */
enum status threads_open(struct threads **out, int n, void (*start)(void), struct error *err);
void threads_close(struct threads *threads);
int threads_count(const struct threads *threads);
/* thread: 0 … n−1, for scratch memory. Returns when all tasks are done. */
void threads_run(struct threads *threads, int n_tasks, void (*run)(void *context, int task, int thread),
                 void *context);

#endif
