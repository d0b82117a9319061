/* The pool: n − 1 threads wait for a job; the caller publishes one, works at it too, and closes it.
 *
 * A job is a counter that whoever is free draws the next task from. A thread that wakes when the job is
 * closed misses it, so a thread that the kernel put aside delays nobody unless it holds a task. Between the
 * jobs of one forward pass only microseconds go by, hence a thread looks for the next job a while before it
 * goes to sleep. */
#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "memory.h"

/* Looks before sleeping: some 30 µs, about the time between two large operations. */
enum { N_LOOKS = 2000 };

struct threads {
    int n; /* the caller's included */
    void (*start)(void);
    pthread_t *handles;

    pthread_mutex_t mutex; /* guards what follows, except the atomics */
    pthread_cond_t published;
    pthread_cond_t left;
    bool is_open, stop;
    int n_inside; /* pool threads in the open job */
    int n_started;

    atomic_uint n_published; /* changes with each job: what a waiting thread looks at */
    atomic_int n_left;       /* pool threads inside, for the caller to look at */
    atomic_int next_task;
    int n_tasks;
    void (*run)(void *context, int task, int thread);
    void *context;
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void draw_tasks(struct threads *t, int thread)
{
    for (;;) {
        int task = atomic_fetch_add_explicit(&t->next_task, 1, memory_order_relaxed);
        if (task >= t->n_tasks)
            return;
        t->run(t->context, task, thread);
    }
}

/* Waits until something was published after `seen`; returns the new count. */
static unsigned wait_published(struct threads *t, unsigned seen)
{
    for (int i = 0; i < N_LOOKS; i++) {
        unsigned now = atomic_load_explicit(&t->n_published, memory_order_acquire);
        if (now != seen)
            return now;
        relax();
    }
    pthread_mutex_lock(&t->mutex);
    while (atomic_load_explicit(&t->n_published, memory_order_relaxed) == seen)
        pthread_cond_wait(&t->published, &t->mutex);
    unsigned now = atomic_load_explicit(&t->n_published, memory_order_relaxed);
    pthread_mutex_unlock(&t->mutex);
    return now;
}

static void *pool_thread(void *argument)
{
    struct threads *t = argument;
    if (t->start)
        t->start();
    pthread_mutex_lock(&t->mutex);
    int thread = ++t->n_started; /* 1 … n−1; 0 is the caller's */
    pthread_mutex_unlock(&t->mutex);

    unsigned seen = 0;
    for (;;) {
        seen = wait_published(t, seen);
        pthread_mutex_lock(&t->mutex);
        bool stop = t->stop, enter = t->is_open;
        if (enter) {
            t->n_inside++;
            atomic_fetch_add_explicit(&t->n_left, 1, memory_order_relaxed);
        }
        pthread_mutex_unlock(&t->mutex);
        if (stop)
            return NULL;
        if (!enter)
            continue;
        draw_tasks(t, thread);
        pthread_mutex_lock(&t->mutex);
        if (--t->n_inside == 0)
            pthread_cond_signal(&t->left);
        atomic_fetch_sub_explicit(&t->n_left, 1, memory_order_release);
        pthread_mutex_unlock(&t->mutex);
    }
}

static void publish(struct threads *t, bool stop)
{
    pthread_mutex_lock(&t->mutex);
    t->is_open = !stop;
    t->stop = stop;
    atomic_fetch_add_explicit(&t->n_published, 1, memory_order_release);
    pthread_cond_broadcast(&t->published);
    pthread_mutex_unlock(&t->mutex);
}

void threads_run(struct threads *threads, int n_tasks, void (*run)(void *context, int task, int thread),
                 void *context)
{
    struct threads *t = threads;
    if (t->n == 1 || n_tasks <= 1) {
        for (int task = 0; task < n_tasks; task++)
            run(context, task, 0);
        return;
    }
    t->n_tasks = n_tasks;
    t->run = run;
    t->context = context;
    atomic_store_explicit(&t->next_task, 0, memory_order_relaxed);
    publish(t, false);
    draw_tasks(t, 0);

    pthread_mutex_lock(&t->mutex);
    t->is_open = false;
    pthread_mutex_unlock(&t->mutex);
    for (int i = 0; i < N_LOOKS && atomic_load_explicit(&t->n_left, memory_order_acquire) > 0; i++)
        relax();
    pthread_mutex_lock(&t->mutex);
    while (t->n_inside > 0)
        pthread_cond_wait(&t->left, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
}

enum status threads_open(struct threads **out, int n, void (*start)(void), struct error *err)
{
    ENSURE(n >= 1);
    struct threads *t = memory_zero(1, sizeof *t);
    pthread_t *handles = memory_zero((size_t)n, sizeof *handles);
    if (!t || !handles) {
        free(t);
        free(handles);
        return memory_failed(err, "thread pool", (size_t)n * sizeof *handles);
    }
    t->start = start;
    t->handles = handles;
    t->n = 1;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->published, NULL);
    pthread_cond_init(&t->left, NULL);
    if (start)
        start();
    for (; t->n < n; t->n++)
        if (pthread_create(&handles[t->n - 1], NULL, pool_thread, t) != 0) {
            int got = t->n;
            threads_close(t);
            return fail(err, NO_MACHINE, "%d threads cannot be started, %d can; ask for fewer with --threads",
                        n, got);
        }
    *out = t;
    return OK;
}

void threads_close(struct threads *threads)
{
    if (!threads)
        return;
    if (threads->n > 1)
        publish(threads, true);
    for (int i = 0; i < threads->n - 1; i++)
        pthread_join(threads->handles[i], NULL);
    pthread_cond_destroy(&threads->left);
    pthread_cond_destroy(&threads->published);
    pthread_mutex_destroy(&threads->mutex);
    free(threads->handles);
    free(threads);
}

int threads_count(const struct threads *threads)
{
    return threads->n;
}
