/* Sweeps on Slurm: what goes to sbatch, what its script says, what happens when it refuses; and, where
 * Slurm's programs are installed, a Slurm of one node that really runs the jobs (slurm_bed.sh). */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/json.h"
#include "harness/slurm.h"
#include "harness/store.h"

#include <cmocka.h> /* last: its fail() would hide ours */

enum { TEXT_SIZE = 1 << 16, WAIT_S = 45 };

static char folder[] = "/tmp/winnow-slurm-XXXXXX";

/* ---- what all tests use --------------------------------------------------------------------- */

/* A path in the folder; lives for four calls. */
static const char *in_folder(const char *name)
{
    static char paths[4][512];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

static void write_text(const char *name, const char *text)
{
    struct error err = {0};
    if (file_write(in_folder(name), text, strlen(text), &err) != OK)
        fail_msg("%s", err.text);
}

/* To be freed; empty where there is no such file. */
static char *read_text(const char *name)
{
    char *text;
    size_t n;
    struct error err;
    if (file_read(&text, &n, in_folder(name), TEXT_SIZE, &err) != OK)
        return calloc(1, 1);
    return text;
}

/* A line of the shell in the folder; *output gets both streams. Returns the exit status. */
static int run_shell(char output[TEXT_SIZE], const char *line)
{
    char command[8192];
    snprintf(command, sizeof command, "{ cd %s && winnow=%s; %s\n} 2>&1", folder, WINNOW_EXECUTABLE, line);
    FILE *pipe = popen(command, "re");
    assert_non_null(pipe);
    size_t n = fread(output, 1, TEXT_SIZE - 1, pipe);
    output[n] = 0;
    int how = pclose(pipe);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

/* Its output must contain `part`. */
static void expect(const char *line, int status, const char *part)
{
    static char output[TEXT_SIZE];
    int got = run_shell(output, line);
    if (got != status || strstr(output, part) == NULL)
        fail_msg("`%s`: status %d, expected %d and '%s' in '%s'", line, got, status, part, output);
}

/* A plan of one question on a picture that need not be there. */
static const char a_sweep[] = "name: t\nbenchmarks: [{name: mini-gqa, limit: 6}]\nmethods: [vanilla]\n";

/* Stands in for Slurm's programs: notes how it is called, refuses the job named by $REFUSE, and knows of the
 * jobs in $QUEUE. */
static const char a_program[] =
    "#!/bin/sh\n"
    "{ printf '%s' \"${0##*/}\"; printf ' <%s>' \"$@\"; echo; } >>\"${0%/*}/calls\"\n"
    "for last do :; done\n"
    "case ${0##*/} in\n"
    "sbatch)\n"
    "    [ \"$last\" != \"${REFUSE-}\" ] || { echo 'sbatch: error: no such partition' >&2; exit 1; }\n"
    "    case $last in shard) echo 17 ;; *) echo '18;east' ;; esac ;;\n"
    "squeue) [ -n \"${QUEUE-}\" ] || exit 1; echo \"$QUEUE\" ;;\n"
    "esac\n";

static int setup(void **state)
{
    (void)state;
    static char output[TEXT_SIZE];
    if (mkdtemp(folder) == NULL)
        return -1;
    write_text("sweep.yaml", a_sweep);
    write_text("program", a_program);
    return run_shell(output, "mkdir fake && for p in sbatch squeue scancel; do cp program fake/$p && "
                             "chmod 755 fake/$p; done");
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* ---- words ---------------------------------------------------------------------------------- */

static void part(struct slurm_words *out, enum status expected, int argc, char **argv)
{
    struct error err = {0};
    if (slurm_part(out, argc, argv, &err) != expected)
        fail_msg("status is not %d: %s", expected, err.text);
}

static void words_behind_slurm_are_sbatchs(void **state)
{
    (void)state;
    struct slurm_words words;
    char *plain[] = {"sweep", "a.yaml", "--limit", "4", NULL};
    part(&words, OK, 4, plain);
    assert_false(words.wanted);
    assert_int_equal(words.n_own, 4);
    slurm_words_free(&words);

    char *behind[] = {"sweep",  "a.yaml",   "--slurm", "-p",    "gpu",    "--array", "1-9",
                      "--plan", "--shards", "3",       "-a1-3", "--time", "-1:00",   NULL};
    part(&words, OK, 13, behind);
    assert_true(words.wanted);
    assert_int_equal(words.n_own, 5);
    assert_string_equal(words.own[2], "--plan");
    assert_string_equal(words.own[4], "3");
    assert_int_equal(words.n_sbatch, 4);
    assert_string_equal(words.sbatch[3], "-1:00");
    assert_string_equal(words.array, "1-3");
    slurm_words_free(&words);

    char *dashes[] = {"sweep", "a.yaml", "--slurm", "--limit", "4", "--", "--plan", "--ar=1-2", NULL};
    part(&words, OK, 8, dashes);
    assert_int_equal(words.n_own, 4);
    assert_int_equal(words.n_sbatch, 1);
    assert_string_equal(words.sbatch[0], "--plan");
    assert_string_equal(words.array, "1-2");
    slurm_words_free(&words);

    static char *const bad[][2] = {
        {"job.sh", ""}, {"--wrap", "ls"}, {"--wait", ""}, {"-t1", "job.sh"}, {"-a", NULL}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *argv[] = {"sweep", "a.yaml", "--slurm", bad[i][0], bad[i][1], NULL};
        bool taken = strcmp(bad[i][0], "-t1") == 0; /* -t1 job.sh could as well be an option and its value */
        part(&words, taken ? OK : BAD_INPUT, bad[i][1] ? 5 : 4, argv);
        slurm_words_free(&words);
    }
}

static void the_array_says_how_many_shards(void **state)
{
    (void)state;
    static const struct {
        const char *array;
        int wanted, n; /* n 0: refused */
    } cases[] = {{"1-8", 0, 8},       {"1-8%2", 0, 8},    {NULL, 5, 5},
                 {"2,4-6:2%1", 8, 8}, {"1", 1, 1},        {NULL, 0, 0},
                 {"2-8", 0, 0},       {"1-8:2", 0, 0},    {"1,2", 0, 0},
                 {"0-3", 4, 0},       {"1-9", 8, 0},      {"3-2", 4, 0},
                 {"1-x", 0, 0},       {"", 3, 0},         {"1-3%", 0, 0},
                 {"1-3 ", 0, 0},      {"1-200000", 0, 0}, {"-1", 3, 0},
                 {"1-3;ls", 0, 0},    {"1-3%0", 0, 0},    {"1-99999999999999999999", 0, 0}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n = 0;
        struct error err;
        enum status status = slurm_shards(&n, cases[i].array, cases[i].wanted, &err);
        if (status != (cases[i].n ? OK : BAD_INPUT) || (status == OK && n != cases[i].n))
            fail_msg("--array=%s with %d shards: status %d, %d shards", cases[i].array, cases[i].wanted,
                     status, n);
    }
}

/* ---- the script ----------------------------------------------------------------------------- */

#define ODD "it's $HOME `ls` \"x\" \\ *\n  end"

/* Whatever a word holds, the shell hands it on as it is. */
static void every_word_survives_the_shell(void **state)
{
    (void)state;
    static char output[TEXT_SIZE];
    char odd[600], stem[700], store[800];
    snprintf(odd, sizeof odd, "%s/%s", folder, ODD);
    snprintf(stem, sizeof stem, "%s/a;b", odd);
    snprintf(store, sizeof store, "%s.db", stem);
    write_text("tell", "#!/bin/sh\npwd\nprintf '<%s>\\n' \"$@\"\n");
    const struct slurm_option options[] = {{"set", ODD}, {"data", ""}, {"no-share", NULL}, {"set", "-x"}};
    char *text, *expected;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    const struct slurm_script script = {.executable = in_folder("tell"),
                                        .folder = odd,
                                        .file = ODD,
                                        .store = store,
                                        .stem = stem,
                                        .shard = {options, 4},
                                        .merge = {options, 2},
                                        .n_shards = 3};
    slurm_write_script(out, &script);
    fclose(out);
    write_text("odd.sh", text);
    free(text);
    assert_int_equal(run_shell(output, "chmod 755 tell && mkdir \"$(printf '%s' \"" /* as ODD, quoted twice */
                                       "it's \\$HOME \\`ls\\` \\\"x\\\" \\\\ *\n  end\")\""),
                     0);
    assert_int_equal(run_shell(output, "SLURM_ARRAY_TASK_ID=2 sh odd.sh shard"), 0);
    assert_true(asprintf(&expected,
                         "%s\n<sweep>\n<%s>\n<--set>\n<%s>\n<--data>\n<>\n<--no-share>\n<--set>\n<-x>\n"
                         "<--shard>\n<2/3>\n<--store>\n<%s.shard-2-of-3.db>\n",
                         odd, ODD, ODD, stem) > 0);
    assert_string_equal(output, expected);
    free(expected);
    char name[900];
    for (int i = 1; i <= 2; i++) {
        snprintf(name, sizeof name, "%s/a;b.shard-%d-of-3.db", ODD, i);
        write_text(name, "");
    }
    assert_int_equal(run_shell(output, "sh odd.sh merge"), 0);
    assert_true(asprintf(&expected,
                         "shard 3 of 3 has no "
                         "store\n%s\n<merge>\n<--set>\n<%s>\n<--data>\n<>\n<%s>\n<%s.shard-1-of-3.db>\n<%s."
                         "shard-2-of-3.db>\n",
                         odd, ODD, store, stem, stem) > 0);
    assert_string_equal(output, expected);
    free(expected);
    expect("sh odd.sh", 2, "expected shard or merge");
    expect("env -u SLURM_ARRAY_TASK_ID sh odd.sh shard", 2, "SLURM_ARRAY_TASK_ID");
}

/* ---- submitting to a stand-in --------------------------------------------------------------- */

#define FAKE "PATH=$PWD/fake:/usr/bin:/bin; export PATH; rm -f fake/calls; "

static void assert_calls(const char *expected_part, bool there)
{
    char *calls = read_text("fake/calls");
    if ((strstr(calls, expected_part) != NULL) != there)
        fail_msg("'%s' %s in '%s'", expected_part, there ? "is not" : "is", calls);
    free(calls);
}

static void both_jobs_are_submitted(void **state)
{
    (void)state;
    char part_of[1024];
    expect(FAKE
           "$winnow sweep sweep.yaml --store d/s.db --workers 2 --slurm --array=1-3%2 -p gpu --signal=USR1",
           0, "array job 17: tasks 1-3%2 of 3 shards");
    snprintf(part_of, sizeof part_of,
             "sbatch <--parsable> <--job-name> <winnow-s> <--output=%s/d/s.slurm-%%A_%%a.log> "
             "<--signal=B:TERM@60> <-p>"
             " <gpu> <--signal=USR1> <--array=1-3%%2> <%s/d/s.slurm.sh> <shard>\n",
             folder, folder);
    assert_calls(part_of, true);
    snprintf(part_of, sizeof part_of,
             "<-p> <gpu> <--signal=USR1> <--dependency=afterany:17> <%s/d/s.slurm.sh> <merge>\n", folder);
    assert_calls(part_of, true);
    char *script = read_text("d/s.slurm.sh");
    assert_non_null(strstr(script, "        --workers 2 \\\n        --shard \"$shard/3\""));
    assert_non_null(strstr(script, "\n# Submitted as array job 17, merge job 18;east\n"));
    free(script);
    expect(FAKE "$winnow sweep sweep.yaml --store d/s.db --slurm --shards 3 --json", 0,
           "\"merge_job\": \"18\"");
    assert_calls("squeue <--noheader> <--format=%i> <--jobs=17,18>\n", true);
}

static void jobs_in_the_queue_are_not_doubled(void **state)
{
    (void)state;
    expect(FAKE "$winnow sweep sweep.yaml --store q/s.db --slurm --shards 3", 0, "merge job 18");
    expect(FAKE "QUEUE='17_[2-3]\n18' $winnow sweep sweep.yaml --store q/s.db --slurm --shards 3", 2,
           "still in the queue: 17_[2-3] 18; wait for them, or stop them with `scancel 17 18`");
    assert_calls("sbatch", false);
}

static void a_refusal_leaves_nothing_behind(void **state)
{
    (void)state;
    expect(FAKE "REFUSE=shard $winnow sweep sweep.yaml --store r/s.db --slurm -a1-2", 3,
           "error: no such partition");
    assert_calls("<merge>", false);
    assert_int_not_equal(access(in_folder("r/s.slurm.sh"), F_OK), 0);
    expect(FAKE "REFUSE=merge $winnow sweep sweep.yaml --store r/s.db --slurm -a1-2", 3,
           "did not take the merge job (status 1)");
    assert_calls("scancel <17>\n", true);
    assert_int_not_equal(access(in_folder("r/s.slurm.sh"), F_OK), 0);
    expect("PATH=/nowhere; $winnow sweep sweep.yaml --store r/s.db --slurm -a1-2", 3, "sbatch is not here");
}

static void what_cannot_be_submitted_is_said_before(void **state)
{
    (void)state;
    static const struct {
        const char *arguments, *says;
    } cases[] = {{"sweep.yaml --slurm", "into how many shards?"},
                 {"sweep.yaml --slurm -a2-3", "expected 1-N"},
                 {"sweep.yaml --shards 2", "goes with --slurm"},
                 {"sweep.yaml --shard 1/2 --slurm -a1-2", "each task"},
                 {"--slurm -a1-2 sweep.yaml", "expected only options"},
                 {"--slurm -a1-2", "expected one sweep file"},
                 {"no.yaml --slurm -a1-2", "neither such a file"},
                 {"sweep.yaml --set methods=nothing --slurm -a1-2", "nothing"},
                 {"sweep.yaml --model no/model --slurm -a1-2", "there is no such folder"}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[512];
        snprintf(line, sizeof line, FAKE "$winnow sweep --store n/s.db %s", cases[i].arguments);
        expect(line, 2, cases[i].says);
        assert_calls("sbatch", false);
    }
    expect(FAKE "$winnow sweep sweep.yaml --store n/s.db --slurm --plan -a1-2", 0,
           "--dependency=afterany:JOB");
    expect("mkdir -p 'the tree'; " FAKE
           "$winnow sweep sweep.yaml --store n/s.db --data 'the tree' --slurm --plan -a1-2",
           0, "winnow merge \\\n        --data 'the tree' \\\n        /tmp/"); /* it scores again */
    expect(FAKE "$winnow sweep sweep.yaml --store n/s.db --slurm --plan --json -a1-2", 0, "\"commands\": [");
    assert_int_not_equal(access(in_folder("n"), F_OK), 0);
    assert_calls("sbatch", false);
}

/* ---- a real Slurm --------------------------------------------------------------------------- */

static FILE *bed; /* ends when this is closed */

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    close(listener);
    return ntohs(address.sin_port);
}

/* NULL, or why there is none. */
static const char *start_bed(void)
{
    static char said[1024];
    char command[1024];
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what Slurm leaves behind becomes ours to wait for */
    snprintf(command, sizeof command, "exec sh '%s/tests/slurm_bed.sh' %s/bed %d %d >%s/said 2>/dev/null",
             WINNOW_SOURCE_DIR, folder, free_port(), free_port(), folder);
    bed = popen(command, "we");
    assert_non_null(bed);
    for (int tries = 0; tries < 200; tries++) {
        char *text = read_text("said");
        snprintf(said, sizeof said, "%s", text);
        free(text);
        if (strcmp(said, "ready\n") == 0)
            return NULL;
        if (strchr(said, '\n'))
            break;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    pclose(bed);
    bed = NULL;
    return said[0] ? said : "skip: Slurm did not start in 20 seconds\n";
}

/* Nothing may stay behind: neither a daemon nor a job. */
static int stop_bed(void **state)
{
    (void)state;
    if (bed)
        pclose(bed);
    bed = NULL;
    unsetenv("SLURM_CONF");
    for (int tries = 0; tries < 50; tries++) {
        pid_t ended;
        while ((ended = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (ended < 0)
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    printf("processes of Slurm are still there\n");
    return -1;
}

/* The environment's `name` from the first line of a file. */
static void set_from(const char *name, const char *file)
{
    char *text = read_text(file);
    text[strcspn(text, "\n")] = 0;
    if (text[0])
        setenv(name, text, 1);
    free(text);
}

static void await(const char *what, const char *line)
{
    static char output[TEXT_SIZE];
    for (int tries = 0; tries < 5 * WAIT_S; tries++) {
        if (run_shell(output, line) == 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
    run_shell(output, "squeue; tail -n 5 *.log bed/*.log");
    fail_msg("%s: not in %d seconds; %s", what, WAIT_S, output);
}

static const char EMPTY_QUEUE[] = "jobs=$(squeue --noheader) && [ -z \"$jobs\" ]";

/* All that an answer depends on, but not where and when it was given. */
#define ROWS(from)                                                                                           \
    "SELECT key, sample_id, question_id, image, cluster, question, gold, answer, score, error,"              \
    " yes_prob, n_generated, tokens_in, flops, kv_bytes_live FROM " from

static double query(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    double value = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_double(s, 0) : -1;
    sqlite3_finalize(s);
    return value;
}

/* The shards' rows are those of one sweep, each once; so are the merged store's, with their scores. */
static void compare_stores(bool merged)
{
    sqlite3 *db;
    struct error err = {0};
    char sql[512];
    if (store_open_reader(&db, in_folder("whole.db"), &err) != OK)
        fail_msg("%s", err.text);
    snprintf(sql, sizeof sql, "ATTACH '%s/s.shard-1-of-2.db' AS a; ATTACH '%s/s.shard-2-of-2.db' AS b",
             folder, folder);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    double n = query(db, "SELECT count(*) FROM main.samples");
    assert_true(n > 0);
    assert_true(query(db, "SELECT count(*) FROM a.samples") > 0 &&
                query(db, "SELECT count(*) FROM b.samples") > 0);
    assert_int_equal(query(db, "SELECT (SELECT count(*) FROM a.samples) + (SELECT count(*) FROM b.samples)"),
                     n);
    assert_int_equal(query(db, "SELECT count(*) FROM (" ROWS("main.samples") " EXCEPT SELECT * FROM (" ROWS(
                                   "a.samples") " UNION ALL " ROWS("b.samples") "))"),
                     0);
    if (merged) {
        snprintf(sql, sizeof sql, "ATTACH '%s/s.db' AS merged", folder);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(query(db, "SELECT count(*) FROM merged.samples"), n);
        assert_int_equal(
            query(db, "SELECT count(*) FROM (" ROWS("main.samples") " EXCEPT " ROWS("merged.samples") ")"),
            0);
        assert_int_equal(query(db,
                               "SELECT count(*) FROM (SELECT key, n, score, score_lo FROM main.cells EXCEPT"
                               " SELECT key, n, score, score_lo FROM merged.cells)"),
                         0);
    }
    sqlite3_close(db);
}

static const char slurm_sweep[] =
    "name: t\nbenchmarks: [{name: mini-gqa, limit: 8}]\nmethods:\n  - {name: vanilla, axes: {control: [none, "
    "mismatched]}}\n  - {name: random, params: {budget: 64}}\n";

static void slurm_runs_the_shards_and_their_merge(void **state)
{
    (void)state;
    static char output[TEXT_SIZE];
    const char *why = start_bed();
    if (why) {
        printf("skipped: no Slurm: %s", why + strlen("skip: "));
        skip();
    }
    setenv("SLURM_CONF", in_folder("bed/slurm.conf"), 1);
    set_from("PATH", "bed/path");
    set_from("LD_LIBRARY_PATH", "bed/libraries");
    bool can_merge = run_shell(output, "$winnow help merge") == 0;
    write_text("s.yaml", slurm_sweep);
#define SUBMIT "$winnow sweep s.yaml --store s.db --workers 1 --slurm --array=1-2 --time=5"
    expect(SUBMIT " --hold", 0, "merge job");
    expect(SUBMIT, 2, "still in the queue");
    expect("scancel $(squeue --noheader --format=%A | sort -u)", 0, "");
    await("cancelled jobs leave the queue", EMPTY_QUEUE);

    expect(SUBMIT, 0, "array job");
    expect("$winnow sweep s.yaml --store whole.db --workers 1", 0, "");
    await("shards and merge end", EMPTY_QUEUE);
    compare_stores(can_merge);
    if (!can_merge)
        printf("this build has no `winnow merge`: its job ran, what it makes is not checked\n");
    expect("cat s.slurm-*_*.log", 0, "store: ");

    /* What is there is not asked again. */
    expect("rm s.slurm-*.log; " SUBMIT, 0, "array job");
    await("finished shards end at once", EMPTY_QUEUE);
    expect("grep -l '^store: ' s.slurm-*_*.log | wc -l; ! grep '^samples: ' s.slurm-*_*.log", 0, "2\n");
    compare_stores(can_merge);

    /* A signal of Slurm reaches the sweep, and is no loss. */
    expect("$winnow sweep s.yaml --limit 100 --store long.db --workers 1 --slurm -a1-1", 0, "array job");
    await("a long shard is at work", "grep -q '^samples: ' long.slurm-*_1.log");
    expect("scancel --batch --signal=TERM $(squeue --noheader --format=%A | sort -n | head -n 1)", 0, "");
    await("a shard that is told to stop ends", EMPTY_QUEUE);
    expect("cat long.slurm-*_1.log", 0, "goes on where it stopped");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_behind_slurm_are_sbatchs),
        cmocka_unit_test(the_array_says_how_many_shards),
        cmocka_unit_test(every_word_survives_the_shell),
        cmocka_unit_test(both_jobs_are_submitted),
        cmocka_unit_test(jobs_in_the_queue_are_not_doubled),
        cmocka_unit_test(a_refusal_leaves_nothing_behind),
        cmocka_unit_test(what_cannot_be_submitted_is_said_before),
        cmocka_unit_test_teardown(slurm_runs_the_shards_and_their_merge, stop_bed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
