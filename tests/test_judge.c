/* The judge against a small HTTP server of our own that is good, slow, rude or talks rubbish: what is asked,
 * when it is asked again, when it is given up, what is kept, and that the key is seen nowhere. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/image.h"
#include "core/json.h"
#include "core/memory.h"
#include "harness/judge.h"
#include "harness/store.h"
#include "harness/sweep.h"
#include "tests/http_server.h"
#include "tests/shared.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static const char secret[] = "sk-very-secret-0123456789";
static char folder[64];

static const char *in_folder(const char *name)
{
    static char paths[128][256];
    static int next;
    char *path = paths[next++ % 128];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const char *text)
{
    const char *path = in_folder(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    return path;
}

static const char *completion(const char *content)
{
    char body[512];
    snprintf(body, sizeof body,
             "{\"choices\": [{\"message\": {\"role\": \"assistant\", \"content\": \"%s\"}}]}", content);
    return http("200 OK", "", body);
}

/* ---- setting -------------------------------------------------------------------------------- */

static const char questions[] =
    "{\"v1_0\": {\"imagename\": \"0.png\", \"question\": \"How many?\", \"answer\": \"3<OR>three\","
    " \"capability\": [\"ocr\"]},\n"
    " \"v1_1\": {\"imagename\": \"1.png\", \"question\": \"Which?\", \"answer\": \"red\","
    " \"capability\": [\"rec\"]},\n"
    " \"v1_2\": {\"imagename\": \"1.png\", \"question\": \"Where?\", \"answer\": \"left\","
    " \"capability\": [\"rec\", \"spat\"]}}\n";
static const char answers_text[] =
    "{\"v1_0\": \"three\",\n \"v1_1\": \"green\",\n \"v1_2\": \"on the left\"}\n";
enum { N = 3 };

static struct dataset data;
static struct answers answers;
static sqlite3 *cache;
static char url[64];

static int setup(void **state)
{
    (void)state;
    struct error err;
    strcpy(folder, "/tmp/winnow-test-judge-XXXXXX");
    if (!mkdtemp(folder) || server_start() != 0)
        return -1;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", server.port);
    const struct benchmark_paths paths = {.questions = write_file("mm-vet.json", questions)};
    if (benchmark_read(&data, "mmvet", &paths, &err) != OK ||
        answers_read(&answers, &data, write_file("answers.json", answers_text), &err) != OK ||
        judge_cache_open(&cache, in_folder("cache/judge.db"), &err) != OK)
        return -1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    server_stop();
    answers_free(&answers);
    dataset_close(&data);
    sqlite3_close(cache);
    snprintf(command, sizeof command, "rm -rf -- '%s'", folder);
    return system(command);
}

static struct judge_report report;

/* Asks about all answers anew, with short waits; what became of it is in `report`. */
static enum status ask(const char *key, struct error *err)
{
    const struct judge_options options = {.url = url,
                                          .key = key,
                                          .n_parallel = 1,
                                          .timeout_ms = 150,
                                          .give_up_ms = 600,
                                          .backoff_ms = 10,
                                          .wait_most_ms = 100};
    struct judge *judge;
    free(answers.verdict);
    answers.verdict = NULL;
    *err = (struct error){0};
    if (judge_open(&judge, &options, cache, err) != OK)
        fail_msg("%s", err->text);
    enum status status = judge_answers(judge, &answers, &data, err);
    report = *judge_report(judge);
    judge_close(judge);
    return status;
}

static void must(enum status status, enum status expected, const struct error *err)
{
    if (status != expected)
        fail_msg("status %d instead of %d: %s", status, expected, err->text);
}

static void assert_says(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected \"%s\" in: %s", part, text);
}

/* ---- good ----------------------------------------------------------------------------------- */

static const char *good(int n, const char *request)
{
    (void)n;
    return completion(strstr(request, "| three |") ? "1.0" : strstr(request, "| green |") ? "0.0" : "0.5");
}

static void a_good_judge_is_asked_once(void **state)
{
    (void)state;
    struct error err;
    server.reply = good;
    must(ask(secret, &err), OK, &err);
    assert_int_equal(report.n_judged, N);
    assert_int_equal(report.n_requests, N);
    assert_string_equal(answers.verdict[0], "1.0");
    assert_string_equal(answers.verdict[1], "0.0");
    assert_string_equal(answers.verdict[2], "0.5");
    /* head and body */
    assert_int_equal(strncmp(server.last, "POST /v1/chat/completions HTTP/1.1\r\n", 35), 0);
    assert_says(server.last, "\r\nAuthorization: Bearer sk-very-secret-0123456789\r\n");
    assert_says(server.last, "\r\nContent-Type: application/json\r\n");
    json_t *body = json_loads(strstr(server.last, "\r\n\r\n") + 4, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(body, "model")), "gpt-4-0613");
    assert_int_equal(json_integer_value(json_object_get(body, "max_tokens")), 3);
    assert_true(json_real_value(json_object_get(body, "temperature")) == 0);
    assert_int_equal(json_array_size(json_object_get(body, "messages")), 1);
    const json_t *message = json_array_get(json_object_get(body, "messages"), 0);
    assert_string_equal(json_string_value(json_object_get(message, "role")), "user");
    assert_says(json_string_value(json_object_get(message, "content")), "\nWhere? | left | on the left | ");
    json_decref(body);
    /* again: from the cache, also when the server is gone */
    server_stop();
    must(ask(secret, &err), OK, &err);
    assert_int_equal(report.n_requests, 0);
    assert_int_equal(report.n_cached, N);
    assert_string_equal(answers.verdict[2], "0.5");
    json_t *figures;
    must(benchmark_score(&figures, &data, &answers, PROTOCOL_OFFICIAL, &err), OK, &err);
    assert_true(json_real_value(json_object_get(figures, "total")) == 50);
    json_decref(figures);
}

static void another_model_is_another_question(void **state)
{
    (void)state;
    struct error err;
    server.reply = good;
    must(ask(NULL, &err), OK, &err);
    assert_null(strcasestr(server.last, "authorization"));
    const struct judge_options options = {.url = url, .model = "other", .n_parallel = 4};
    struct judge *judge;
    must(judge_open(&judge, &options, cache, &err), OK, &err);
    memset(answers.verdict, 0, N * sizeof *answers.verdict);
    must(judge_answers(judge, &answers, &data, &err), OK, &err);
    assert_int_equal(judge_report(judge)->n_requests, N);
    assert_says(server.last, "\"model\":\"other\"");
    judge_close(judge);
}

/* ---- asked again ---------------------------------------------------------------------------- */

static const char *busy_then_good(int n, const char *request)
{
    if (n == 0)
        return http("500 Internal Server Error", "", "oops");
    if (n == 1)
        return http("429 Too Many Requests", "Retry-After: 3600\r\n", "slow down");
    if (n == 2)
        return NULL; /* connection closed */
    if (n == 3)
        return "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"choices\": [{\"mess"; /* broken off */
    return good(n, request);
}

static void trouble_that_passes_is_waited_for(void **state)
{
    (void)state;
    struct error err;
    server.reply = busy_then_good;
    double since = clock_ms();
    must(ask(secret, &err), OK, &err);
    assert_int_equal(report.n_judged, N);
    assert_int_equal(report.n_requests, N + 4);
    /* Retry-After is kept to, up to the longest wait: not an hour. */
    double took = clock_ms() - since;
    assert_true(took > 100 && took < 20000);
}

static const char *refuses(int n, const char *request)
{
    (void)n;
    (void)request;
    return http("503 Service Unavailable", "", "");
}

static void trouble_that_stays_is_given_up(void **state)
{
    (void)state;
    struct error err;
    server.reply = refuses;
    must(ask(secret, &err), NO_MACHINE, &err); /* three in a row: the endpoint is given up */
    assert_says(err.text, "3 samples in a row");
    assert_says(err.text, "503");
    assert_null(answers.verdict[0]);
    /* slow beyond the timeout */
    server.reply = good;
    atomic_store(&server.delay_ms, 250);
    must(ask(secret, &err), NO_MACHINE, &err);
    assert_says(err.text, "imeout");
    atomic_store(&server.delay_ms, 0);
    /* nobody there */
    server_stop();
    must(ask(secret, &err), NO_MACHINE, &err);
    assert_says(err.text, "cannot be reached");
}

/* ---- refused -------------------------------------------------------------------------------- */

static const char *status_line;
static const char *echoes(int n, const char *request)
{
    char body[400];
    (void)n;
    (void)request;
    snprintf(body, sizeof body, "{\"error\": \"Incorrect API key provided: %s\"}", secret);
    return http(status_line, "Location: http://127.0.0.1:1/v1\r\n", body);
}

static void a_refusal_is_said_without_the_key(void **state)
{
    (void)state;
    struct error err;
    server.reply = echoes;
    static const char *const lines[] = {"401 Unauthorized", "403 Forbidden", "404 Not Found"};
    for (int i = 0; i < 3; i++) {
        atomic_store(&server.n_requests, 0);
        status_line = lines[i];
        must(ask(secret, &err), BAD_INPUT, &err);
        assert_int_equal(atomic_load(&server.n_requests), 1);
        assert_says(err.text, "Incorrect API key provided: ***");
        assert_null(strstr(err.text, secret));
        assert_null(strstr(err.text, secret + 8));
    }
    status_line = "302 Found";
    must(ask(secret, &err), BAD_INPUT, &err);
    assert_says(err.text, "redirects");
    /* nor is a key that the address holds */
    const size_t n_url = strlen(url);
    strcat(url, "?key=hidden");
    must(ask(secret, &err), BAD_INPUT, &err);
    assert_says(err.text, "/v1/chat/completions: the judge redirects");
    assert_null(strstr(err.text, "hidden"));
    status_line = "401 Unauthorized";
    must(ask(secret, &err), BAD_INPUT, &err);
    assert_null(strstr(err.text, "hidden"));
    url[n_url] = '\0';
}

static const char *refuses_one(int n, const char *request)
{
    return strstr(request, "| green |") ? http("400 Bad Request", "", "content filter") : good(n, request);
}

static void one_sample_may_be_refused(void **state)
{
    (void)state;
    struct error err;
    server.reply = refuses_one;
    must(ask(secret, &err), OK, &err);
    assert_int_equal(report.n_judged, 2);
    assert_int_equal(report.n_failed, 1);
    assert_null(answers.verdict[1]);
    assert_says(report.failure, "question 1: the judge answered with status 400: content filter");
    server.reply = good; /* what is there is kept */
    must(ask(secret, &err), OK, &err);
    assert_int_equal(report.n_requests, 1);
}

/* ---- rubbish -------------------------------------------------------------------------------- */

static const char *rubbish(int n, const char *request)
{
    static char huge[(1 << 20) + 4096];
    switch (n) {
    case 0:
        return http("200 OK", "Content-Type: text/html\r\n", "<html><body>Log in</body></html>");
    case 1:
        return http("200 OK", "", "{\"choices\": [{\"message\": {\"content\": \"1.0\"");
    case 2:
        memset(huge, ' ', sizeof huge - 1);
        return http("200 OK", "", huge);
    case 3:
        return http("200 OK", "", "{\"choices\": []}");
    case 4:
        return good(n, request);
    case 5:
        return http("200 OK", "", "{\"choices\": [{\"message\": {\"content\": null}}]}");
    case 6:
        return http("200 OK", "", "[[[[[[[[");
    default:
        return good(n, request);
    }
}

static void rubbish_is_asked_again(void **state)
{
    (void)state;
    struct error err;
    server.reply = rubbish;
    must(ask(secret, &err), OK, &err);
    assert_int_equal(report.n_judged, N);
    assert_int_equal(report.n_requests, N + 6);
    assert_string_equal(answers.verdict[0], "1.0");
}

static const char *only_html(int n, const char *request)
{
    (void)n;
    (void)request;
    return http("200 OK", "", "<html>Log in</html>");
}

static void nothing_but_rubbish_is_no_zero(void **state)
{
    (void)state;
    struct error err;
    server.reply = only_html;
    must(ask(secret, &err), NO_MACHINE, &err);
    assert_says(err.text, "no chat completion");
    for (int i = 0; i < N; i++)
        assert_null(answers.verdict[i]);
}

static const char *wordy(int n, const char *request)
{
    (void)n;
    if (!strstr(request, "| green |"))
        return good(n, request);
    return completion(strstr(request, "\"temperature\":1.5") ? "0.3" : "I think it is");
}

static const char *never(int n, const char *request)
{
    (void)n;
    return strstr(request, "| green |") ? completion("I will not") : good(n, request);
}

static void words_without_a_grade_follow_the_official_retries(void **state)
{
    (void)state;
    struct error err;
    server.reply = wordy;
    must(ask(secret, &err), OK, &err);
    assert_int_equal(report.n_requests, N + 4);
    assert_string_equal(answers.verdict[1], "0.3");
    must(ask(secret, &err), OK, &err);
    assert_int_equal(report.n_requests, 0); /* the useless replies, too */
    sqlite3_exec(cache, "DELETE FROM judge_reply", NULL, NULL, NULL);
    server.reply = never;
    must(ask(secret, &err), OK, &err);
    assert_int_equal(report.n_requests, N + 4);
    assert_string_equal(answers.verdict[1], "I will not"); /* which the scorer takes for 0, as officially */
    json_t *figures;
    must(benchmark_score(&figures, &data, &answers, PROTOCOL_OFFICIAL, &err), OK, &err);
    assert_true(json_real_value(json_object_get(figures, "total")) == 50);
    json_decref(figures);
}

static const char *echoing_content(int n, const char *request)
{
    (void)n;
    (void)request;
    return completion("0.5 sk-very-secret-0123456789");
}

static int count_bytes(const char *command)
{
    FILE *pipe = popen(command, "r");
    int n = 0;
    assert_non_null(pipe);
    while (fgetc(pipe) != EOF)
        n++;
    pclose(pipe);
    return n;
}

static void an_echoed_key_is_not_kept(void **state)
{
    (void)state;
    struct error err;
    char command[200];
    server.reply = echoing_content;
    must(ask(secret, &err), OK, &err);
    assert_string_equal(answers.verdict[0], "0.5 *************************");
    snprintf(command, sizeof command, "grep -rl 'very-secret' '%s'", folder);
    assert_int_equal(count_bytes(command), 0);
}

/* ---- what is refused before ----------------------------------------------------------------- */

static void addresses_and_keys_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *url, *key, *says;
    } cases[] = {{"ftp://host/v1", NULL, "expected a base such as"},
                 {"http://", NULL, "expected a base such as"},
                 {"host:8000/v1", NULL, "expected a base such as"},
                 {"http://user:hidden@host/v1", NULL, "user or password"},
                 {"http://host/v1\r\nX: y", NULL, "control character"},
                 {"http://host/v1", "sk-1\r\nX-Evil: 1", "WINNOW_JUDGE_KEY"},
                 {NULL, NULL, "no judge is named"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        struct judge *judge;
        const struct judge_options options = {.url = cases[i].url, .key = cases[i].key};
        assert_int_equal(judge_open(&judge, &options, NULL, &err), BAD_INPUT);
        assert_says(err.text, cases[i].says);
        assert_null(strstr(err.text, "hidden"));
        assert_null(strstr(err.text, "sk-1"));
    }
    struct error err;
    sqlite3 *other;
    sqlite3_open(in_folder("other.db"), &other);
    sqlite3_exec(other, "CREATE TABLE t(x)", NULL, NULL, NULL);
    sqlite3_close(other);
    assert_int_equal(judge_cache_open(&other, in_folder("other.db"), &err), BAD_INPUT);
    write_file("text.db", "this is no database, and long enough to be seen as one of none ............");
    assert_int_not_equal(judge_cache_open(&other, in_folder("text.db"), &err), OK);
}

/* ---- the commands --------------------------------------------------------------------------- */

static int winnow(const char *arguments, const char *environment)
{
    char command[1200];
    snprintf(command, sizeof command, "cd '%s' && %s '%s' %s >stdout.txt 2>stderr.txt", folder, environment,
             WINNOW_EXECUTABLE, arguments);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool file_holds(const char *name, const char *part)
{
    char *bytes;
    size_t n;
    struct error err;
    assert_int_equal(file_read(&bytes, &n, in_folder(name), 1 << 20, &err), OK);
    bool holds = strstr(bytes, part) != NULL;
    free(bytes);
    return holds;
}

static void score_asks_the_judge(void **state)
{
    (void)state;
    char environment[300], command[200];
    static const char arguments[] = "score mmvet --answers answers.json --questions mm-vet.json --json";
    server.reply = good;
    assert_int_equal(winnow(arguments, "env -u WINNOW_JUDGE_URL"), 0);
    assert_true(file_holds("stdout.txt", "\"headline\": null"));
    snprintf(environment, sizeof environment, "XDG_CACHE_HOME='%s' WINNOW_JUDGE_URL=%s WINNOW_JUDGE_KEY=%s",
             folder, url, secret);
    assert_int_equal(winnow(arguments, environment), 0);
    assert_true(file_holds("stdout.txt", "\"headline\": 50.0"));
    assert_true(file_holds("stdout.txt", "\"judge\": \"gpt-4-0613\""));
    assert_true(file_holds("stderr.txt", "3 requests"));
    assert_true(file_exists(in_folder("winnow/judge.db")));
    snprintf(command, sizeof command, "find '%s/winnow/judge.db' -perm /077", folder);
    assert_int_equal(count_bytes(command), 0);
    /* one is refused: figures of the others, and status 1 */
    server.reply = refuses_one;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(in_folder("winnow/judge.db"), &db), SQLITE_OK);
    sqlite3_exec(db, "DELETE FROM judge_reply", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(winnow(arguments, environment), NOT_HELD);
    assert_true(file_holds("stdout.txt", "\"headline\": 75.0"));
    assert_true(file_holds("stderr.txt", "no verdict on 1 answers"));
    /* refused altogether; the endpoint echoes the key */
    server.reply = echoes;
    status_line = "401 Unauthorized";
    assert_int_equal(winnow(arguments, environment), BAD_INPUT);
    assert_true(file_holds("stderr.txt", "status 401"));
    snprintf(command, sizeof command, "grep -rl 'very-secret' '%s'", folder);
    assert_int_equal(count_bytes(command), 0);
}

static double query(const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    struct error err = {0};
    must(store_open_reader(&db, in_folder("s.db"), &err), OK, &err);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    double value = sqlite3_step(s) == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL
                       ? sqlite3_column_double(s, 0)
                       : (double)NAN;
    sqlite3_finalize(s);
    sqlite3_close(db);
    return value;
}

static const char *half(int n, const char *request)
{
    (void)n;
    return strstr(request, "Which?") ? http("400 Bad Request", "", "no") : completion("0.5");
}

static void a_sweep_is_judged_after_its_runs(void **state)
{
    (void)state;
    char model[SHARED_PATH], text[800], command[200];
    struct error err = {0};
    if (!shared_path(model, sizeof model, "golden/models/miniature-prototype"))
        shared_skip("golden/models/miniature-prototype");
    for (int i = 0; i < 2; i++) {
        struct image image = {0};
        must(image_new(&image, 64, 48, (const uint8_t[3]){(uint8_t)(80 * i), 90, 200}, &err), OK, &err);
        must(image_write_png(&image, in_folder(i ? "1.png" : "0.png"), &err), OK, &err);
        image_free(&image);
    }
    const struct sweep_options options = {.file = in_folder("sweep.yaml"),
                                          .store = in_folder("s.db"),
                                          .model = model,
                                          .device = "cpu",
                                          .image_mode = IMAGE_MODE_FROM_FILE,
                                          .max_new_tokens = 2,
                                          .n_workers = 1,
                                          .n_threads = 1};
    snprintf(text, sizeof text,
             "name: t\nbenchmarks: [{name: mmvet, questions: %s/mm-vet.json, images: %s}]\n"
             "methods: [vanilla, {name: sparsevlm, budget: 64}]\n",
             folder, folder);
    write_file("sweep.yaml", text);
    unsetenv("WINNOW_JUDGE_URL");
    setenv("WINNOW_JUDGE_KEY", secret, 1);
    must(sweep_execute(&options, &err), OK, &err); /* no judge: answers without a score */
    assert_true(query("SELECT count(*) FROM samples WHERE answer IS NOT NULL AND score IS NULL") == 2 * N);
    assert_true(isnan(query("SELECT max(score) FROM cells")));
    assert_int_equal(atomic_load(&server.n_requests), 0);
    /* a judge that the file names; it refuses one question */
    server.reply = half;
    snprintf(text + strlen(text), sizeof text - strlen(text), "judge: {url: \"%s\", model: tiny}\n", url);
    write_file("sweep.yaml", text);
    must(sweep_execute(&options, &err), NOT_HELD, &err);
    assert_says(err.text, "2 have no verdict");
    assert_true(query("SELECT count(*) FROM samples WHERE score = 0.5") == 4);
    assert_true(isnan(query("SELECT max(score) FROM cells"))); /* not a score of two thirds */
    assert_true(query("SELECT count(*) FROM cells WHERE metrics LIKE '%no grade%'") == 2);
    server.reply = good;
    must(sweep_execute(&options, &err), OK, &err);
    assert_true(query("SELECT count(*) FROM samples WHERE score IS NOT NULL") == 2 * N);
    assert_true(query("SELECT count(score_lo) FROM cells") == 2);
    assert_true(query("SELECT count(*) FROM cells WHERE abs(score - metrics ->> '$.headline') < 1e-9") == 2);
    assert_true(query("SELECT count(*) FROM cells WHERE metrics ->> '$.judge' = 'tiny'") == 2);
    assert_true(query("SELECT count(diff) FROM comparisons") == 1);
    /* nothing is asked twice, also with the server gone; figures stay without a judge */
    int n_requests = atomic_load(&server.n_requests);
    server_stop();
    must(sweep_execute(&options, &err), OK, &err);
    assert_int_equal(atomic_load(&server.n_requests), n_requests);
    *strstr(text, "judge:") = '\0';
    write_file("sweep.yaml", text);
    must(sweep_execute(&options, &err), OK, &err);
    assert_true(query("SELECT count(score) FROM cells") == 2);
    /* stored grades are of one answer file */
    write_file("grades.json", "{\"v1_0\": {\"score\": [1]}}");
    snprintf(text, sizeof text,
             "name: t\nbenchmarks: [{name: mmvet, questions: %s/mm-vet.json, annotations: %s/grades.json, "
             "images: %s}]\n"
             "methods: [vanilla]\n",
             folder, folder, folder);
    write_file("sweep.yaml", text);
    must(sweep_execute(&options, &err), BAD_INPUT, &err);
    assert_says(err.text, "stored grades belong to one answer file");
    snprintf(command, sizeof command, "grep -rl 'very-secret' '%s'", folder);
    assert_int_equal(count_bytes(command), 0);
    unsetenv("WINNOW_JUDGE_KEY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_good_judge_is_asked_once, setup, teardown),
        cmocka_unit_test_setup_teardown(another_model_is_another_question, setup, teardown),
        cmocka_unit_test_setup_teardown(trouble_that_passes_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(trouble_that_stays_is_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_is_said_without_the_key, setup, teardown),
        cmocka_unit_test_setup_teardown(one_sample_may_be_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(rubbish_is_asked_again, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_but_rubbish_is_no_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(words_without_a_grade_follow_the_official_retries, setup, teardown),
        cmocka_unit_test_setup_teardown(an_echoed_key_is_not_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses_and_keys_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(score_asks_the_judge, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sweep_is_judged_after_its_runs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
