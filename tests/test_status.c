/* What a sweep says of itself while it runs: events on stdout, and what `winnow status` reads from its store,
 * from another process, before and after it is killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/image.h"
#include "core/json.h"
#include "harness/activity.h"
#include "harness/cell_label.h"

#include <cmocka.h> /* last: its fail() would hide ours */

#include "tests/sweep_bed.h"

enum { PICTURES = 8, CELLS = 2, SAMPLES = CELLS * 2 * PICTURES };

static int setup(void **state)
{
    (void)state;
    if (bed_make() != 0 || write_questions("q.jsonl", PICTURES, 3) != 0 || write_pictures(PICTURES, 20) != 0)
        return -1;
    FILE *file = fopen(in_folder("sweep.yaml"), "w");
    if (file == NULL)
        return -1;
    fprintf(file, "name: watched\nbenchmarks: [{name: jsonl, questions: q.jsonl}]\nmethods:\n  - vanilla\n"
                  "  - {name: sparsevlm, budget: 64}\ntiming: {samples: 1, repeats: 1}\n");
    return fclose(file);
}

/* Starts the sweep into `store`; what it says goes to out.txt and err.txt. */
static pid_t start_sweep(const char *store)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    if (chdir(folder) != 0 || freopen("out.txt", "w", stdout) == NULL ||
        freopen("err.txt", "w", stderr) == NULL)
        _exit(99);
    execl(WINNOW_EXECUTABLE, "winnow", "sweep", "sweep.yaml", "--store", store, "--model", model, "--device",
          "cpu", "--max-new-tokens", "2", "--workers", "1", "--json", (char *)NULL);
    _exit(99);
}

static int end_of(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* `winnow status --json`; NULL while there is no store. */
static json_t *status_of(const char *store)
{
    char command[800];
    json_t *root;
    struct error err = {0};
    snprintf(command, sizeof command, "cd '%s' && '%s' status %s --json >status.txt 2>status.err", folder,
             WINNOW_EXECUTABLE, store);
    if (system(command) != 0)
        return NULL;
    must(json_read(&root, in_folder("status.txt"), &err), OK, &err);
    return root;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static int int_of(const json_t *object, const char *key)
{
    return (int)json_integer_value(json_object_get(object, key));
}

/* Every line of out.txt is an event. The caller json_decref's the list. */
static json_t *read_events(void)
{
    json_t *events = json_array();
    char *line = NULL;
    size_t capacity = 0;
    FILE *file = fopen(in_folder("out.txt"), "r");
    assert_non_null(file);
    while (getline(&line, &capacity, file) > 0) {
        json_t *event = json_loads(line, 0, NULL);
        if (event == NULL)
            fail_msg("no JSON: %s", line);
        assert_true(text_of(event, "event")[0] != 0);
        json_array_append_new(events, event);
    }
    free(line);
    fclose(file);
    return events;
}

static int count_events(const json_t *events, const char *name)
{
    int n = 0;
    for (size_t i = 0; i < json_array_size(events); i++)
        n += strcmp(text_of(json_array_get(events, i), "event"), name) == 0;
    return n;
}

static const json_t *first_event(const json_t *events, const char *name)
{
    for (size_t i = 0; i < json_array_size(events); i++)
        if (strcmp(text_of(json_array_get(events, i), "event"), name) == 0)
            return json_array_get(events, i);
    fail_msg("no event \"%s\"", name);
    return NULL;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void a_killed_sweep_shows_as_interrupted_and_goes_on(void **state)
{
    (void)state;
    NEEDS_MODEL;
    json_t *root = NULL;
    pid_t child = start_sweep("killed.db");
    bool part = false;
    for (int i = 0; i < 600 && !part; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        json_decref(root);
        root = status_of("killed.db");
        part = root && int_of(root, "n") > 0;
    }
    assert_int_equal(kill(child, SIGSTOP), 0); /* stopped is not dead */
    json_decref(root);
    root = status_of("killed.db");
    const json_t *sweep = json_object_get(root, "sweep");
    assert_string_equal(text_of(root, "state"), "running");
    assert_string_equal(text_of(sweep, "name"), "watched");
    assert_string_equal(text_of(sweep, "phase"), "samples");
    assert_int_equal(int_of(sweep, "pid"), child);
    assert_int_equal(int_of(sweep, "total"), SAMPLES);
    assert_int_equal(json_array_size(json_object_get(root, "cells")), CELLS);
    assert_int_equal(int_of(json_array_get(json_object_get(root, "cells"), 0), "n_planned"), 2 * PICTURES);
    int n = int_of(root, "n");
    assert_true(n > 0 && n < SAMPLES);
    assert_int_equal(int_of(root, "n_left"), SAMPLES - n);
    json_decref(root);
    assert_int_equal(kill(child, SIGKILL), 0);
    /* dead, but not waited for yet */
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    root = status_of("killed.db");
    assert_string_equal(text_of(root, "state"), "interrupted");
    json_decref(root);
    assert_int_equal(end_of(child), -1);
    root = status_of("killed.db");
    assert_string_equal(text_of(root, "state"), "interrupted");
    n = int_of(root, "n");
    json_decref(root);

    /* What is left is all that the next one counts. */
    assert_int_equal(end_of(start_sweep("killed.db")), OK);
    json_t *events = read_events();
    assert_int_equal(int_of(first_event(events, "phase"), "total"), SAMPLES - n);
    assert_int_equal(int_of(first_event(events, "end"), "n_run"), SAMPLES - n);
    json_decref(events);
    root = status_of("killed.db");
    assert_string_equal(text_of(root, "state"), "finished");
    assert_int_equal(int_of(root, "n"), SAMPLES);
    assert_int_equal(int_of(root, "n_left"), 0);
    json_decref(root);
}

static void events_tell_of_cells_failures_and_the_end(void **state)
{
    (void)state;
    NEEDS_MODEL;
    assert_int_equal(rename(in_folder("3.png"), in_folder("away.png")), 0);
    assert_int_equal(end_of(start_sweep("events.db")), NOT_HELD);
    assert_int_equal(rename(in_folder("away.png"), in_folder("3.png")), 0);
    json_t *events = read_events();
    const json_t *last = json_array_get(events, json_array_size(events) - 1);
    assert_string_equal(text_of(json_array_get(events, 0), "event"), "start");
    assert_string_equal(text_of(json_array_get(events, 0), "sweep"), "watched");
    assert_string_equal(text_of(last, "event"), "end");
    assert_int_equal(json_array_size(json_object_get(last, "cells")), CELLS);
    assert_int_equal(int_of(last, "n_failed"), 2 * CELLS);
    assert_true(json_is_number(json_object_get(json_array_get(json_object_get(last, "cells"), 0), "score")));
    assert_int_equal(count_events(events, "sample_failed"), 2 * CELLS);
    assert_int_equal(count_events(events, "cell_done"), CELLS);
    assert_true(count_events(events, "progress") >= 2);
    assert_int_equal(count_events(events, "phase"), 3); /* samples, timing, summary */
    const json_t *failed = first_event(events, "sample_failed"), *done = first_event(events, "cell_done");
    assert_true(int_of(failed, "sample_id") / 2 == 3);
    assert_non_null(strstr(text_of(failed, "error"), "3.png"));
    assert_string_equal(text_of(failed, "benchmark"), "jsonl");
    assert_int_equal(int_of(done, "n"), 2 * PICTURES - 2);
    assert_int_equal(int_of(done, "n_failed"), 2);
    double accuracy = json_number_value(json_object_get(done, "accuracy"));
    assert_true(accuracy >= 0 && accuracy <= 1);
    json_decref(events);
    json_t *root = status_of("events.db");
    assert_int_equal(int_of(root, "n_failed"), 2 * CELLS);
    assert_int_equal(int_of(root, "n_left"), 0);
    json_decref(root);
}

/* A word of a sweep on another host cannot be checked against a process: it is believed for a minute. */
static void a_state_is_checked_where_it_can_be(void **state)
{
    (void)state;
    struct activity activity = activity_begin("t");
    activity.updated = time(NULL);
    assert_string_equal(activity_state(&activity), "running");
    activity.born++; /* a later process of the same number */
    assert_string_equal(activity_state(&activity), "interrupted");
    strcpy(activity.host, "elsewhere");
    assert_string_equal(activity_state(&activity), "running");
    activity.updated -= 600;
    assert_string_equal(activity_state(&activity), "silent");
    strcpy(activity.state, "finished");
    assert_string_equal(activity_state(&activity), "finished");
}

static void labels_say_what_is_not_usual(void **state)
{
    (void)state;
    char label[CELL_LABEL_SIZE];
    cell_label(label, "weights=0\nfiles=1\nmethod=sparsevlm\nparam.recycle=off\nbudget=64\nmatch=tokens_in\n"
                      "control=blank\nseed=3\nsplit=tune\nbackend=cpu\ndtype=f32\nnumerics=1\n");
    assert_string_equal(label,
                        "sparsevlm recycle=off budget=64 match=tokens_in control=blank seed=3 split=tune");
    cell_label(label, "method=vanilla\ncontrol=none\nseed=0\nsplit=all\nmatch=official\n");
    assert_string_equal(label, "vanilla");
    char hostile[2000];
    memset(hostile, 'x', sizeof hostile - 1);
    hostile[sizeof hostile - 1] = 0;
    memcpy(hostile, "param.", 6);
    cell_label(label, hostile);
    assert_int_equal(strlen(label), CELL_LABEL_SIZE - 1);
    cell_label(label, NULL);
    assert_string_equal(label, "");
}

static void what_is_no_store_is_refused(void **state)
{
    (void)state;
    assert_null(status_of("nothing.db"));
    assert_null(status_of("q.jsonl"));
    assert_null(status_of(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_sweep_shows_as_interrupted_and_goes_on),
        cmocka_unit_test(events_tell_of_cells_failures_and_the_end),
        cmocka_unit_test(a_state_is_checked_where_it_can_be),
        cmocka_unit_test(labels_say_what_is_not_usual),
        cmocka_unit_test(what_is_no_store_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, bed_remove);
}
