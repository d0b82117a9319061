/* `winnow export`: a small swept store's answers written as files that score the same, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/image.h"
#include "core/json.h"
#include "harness/store.h"
#include "harness/sweep.h"
#include "tests/shared.h"

#include <cmocka.h> /* last: its fail() would hide ours */

static char folder[64], model[SHARED_PATH];

static const char *in_folder(const char *name)
{
    static char paths[64][256];
    static int next;
    char *path = paths[next++ % 64];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(in_folder(name), "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static char *read_file(const char *name)
{
    char *bytes;
    size_t n;
    struct error err;
    if (file_read(&bytes, &n, in_folder(name), 1 << 20, &err) != OK)
        fail_msg("%s", err.text);
    return bytes;
}

static void assert_holds(const char *name, const char *part)
{
    char *bytes = read_file(name);
    if (!strstr(bytes, part))
        fail_msg("%s: expected \"%s\" in: %s", name, part, bytes);
    free(bytes);
}

/* Exit status; what it says is in stdout.txt and stderr.txt. */
static int winnow(const char *arguments)
{
    char command[1200];
    snprintf(command, sizeof command, "cd '%s' && env -u WINNOW_JUDGE_URL '%s' %s >stdout.txt 2>stderr.txt",
             folder, WINNOW_EXECUTABLE, arguments);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* One text of one query on the store; "" for NULL. */
static const char *query(const char *sql)
{
    static char text[4][400];
    static int turn;
    char *out = text[turn++ % 4];
    sqlite3 *db;
    sqlite3_stmt *s;
    struct error err = {0};
    if (store_open_reader(&db, in_folder("s.db"), &err) != OK)
        fail_msg("%s", err.text);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    const char *value = sqlite3_step(s) == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    snprintf(out, sizeof text[0], "%s", value ? value : "");
    sqlite3_finalize(s);
    sqlite3_close(db);
    return out;
}

#define SUFFIX "\\nAnswer the question using a single word or phrase."

static const char mme[] =
    "{\"question_id\": \"count/0.png\", \"image\": \"count/0.png\", \"text\": \"One?" SUFFIX "\"}\n"
    "{\"question_id\": \"count/0.png\", \"image\": \"count/0.png\", \"text\": \"Two?" SUFFIX "\"}\n"
    "{\"question_id\": \"OCR/1.png\", \"image\": \"OCR/1.png\", \"text\": \"A?" SUFFIX "\"}\n"
    "{\"question_id\": \"OCR/1.png\", \"image\": \"OCR/1.png\", \"text\": \"B?" SUFFIX "\"}\n";

/* A store of MME, own questions (one with a comma, a quote and a line end) and MM-Vet, once for all tests. */
static int make_store(void **state)
{
    (void)state;
    struct error err = {0};
    char text[1200];
    strcpy(folder, "/tmp/winnow-test-export-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    if (shared_path(model, sizeof model, "golden/models/miniature-prototype") == NULL) {
        model[0] = '\0';
        return 0;
    }
    mkdir(in_folder("MME"), 0777);
    mkdir(in_folder("MME/MME_Benchmark_release_version"), 0777);
    mkdir(in_folder("MME/MME_Benchmark_release_version/count"), 0777);
    mkdir(in_folder("MME/MME_Benchmark_release_version/OCR"), 0777);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"MME/MME_Benchmark_release_version/count/0.png",
                                            "MME/MME_Benchmark_release_version/OCR/1.png", "2.png"};
        struct image image = {0};
        if (image_new(&image, 64, 48, (const uint8_t[3]){(uint8_t)(80 * i), 90, 200}, &err) != OK ||
            image_write_png(&image, in_folder(names[i]), &err) != OK)
            return -1;
        image_free(&image);
    }
    write_file("MME/llava_mme.jsonl", mme);
    write_file("MME/MME_Benchmark_release_version/count/0.txt",
               "One? Please answer yes or no.\tYes\nTwo? Please answer yes or no.\tNo\n");
    write_file("MME/MME_Benchmark_release_version/OCR/1.txt",
               "A? Please answer yes or no.\tYes\nB? Please answer yes or no.\tNo\n");
    write_file("own.jsonl",
               "{\"question_id\": 7, \"image\": \"2.png\", \"text\": \"Is it, \\\"blue\\\"\\nor not?\", "
               "\"answer\": \"yes\"}\n"
               "{\"question_id\": \"08\", \"image\": \"2.png\", \"text\": \"Red?\", \"answer\": "
               "\"no\"}\n");
    write_file("mm-vet.json",
               "{\"v1_4\": {\"imagename\": \"2.png\", \"question\": \"Q?\", \"answer\": \"a\", "
               "\"capability\": [\"rec\"]}}\n");
    snprintf(
        text, sizeof text,
        "name: t\ndata: %s\nbenchmarks: [{name: mme}, {name: jsonl, questions: %s/own.jsonl}, "
        "{name: mmvet, questions: %s/mm-vet.json, images: %s}]\nmethods: [vanilla, {name: sparsevlm, budget: "
        "64}]\n",
        folder, folder, folder, folder);
    write_file("sweep.yaml", text);
    unsetenv("WINNOW_JUDGE_URL");
    const struct sweep_options options = {.file = in_folder("sweep.yaml"),
                                          .store = in_folder("s.db"),
                                          .model = model,
                                          .device = "cpu",
                                          .image_mode = IMAGE_MODE_FROM_FILE,
                                          .max_new_tokens = 2,
                                          .n_workers = 1,
                                          .n_threads = 1};
    if (sweep_execute(&options, &err) != OK) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    return 0;
}

static int remove_store(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- '%s'", folder);
    return system(command);
}

#define NEEDS_STORE                                                                                          \
    do {                                                                                                     \
        if (model[0] == '\0')                                                                                \
            shared_skip("golden/models/miniature-prototype");                                                \
    } while (0)

static void answers_score_as_the_cell(void **state)
{
    (void)state;
    NEEDS_STORE;
    static const struct {
        const char *benchmark, *options;
    } cases[] = {{"mme", "--data ."}, {"jsonl", "--questions own.jsonl"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char sql[200], arguments[400];
        snprintf(sql, sizeof sql, "SELECT key FROM cells WHERE benchmark = '%s' AND method = 'sparsevlm'",
                 cases[i].benchmark);
        const char *key = query(sql);
        snprintf(arguments, sizeof arguments, "export s.db --cell %.12s -o answers.jsonl", key);
        assert_int_equal(winnow(arguments), 0);
        assert_holds("stdout.txt", key);
        snprintf(arguments, sizeof arguments, "score %s --answers answers.jsonl %s --json",
                 cases[i].benchmark, cases[i].options);
        assert_int_equal(winnow(arguments), 0);
        char *text = read_file("stdout.txt");
        json_t *figures = json_loads(text, 0, NULL);
        free(text);
        assert_non_null(figures);
        snprintf(sql, sizeof sql, "SELECT score FROM cells WHERE key = '%s'", key);
        assert_true(fabs(json_number_value(json_object_get(figures, "headline")) - atof(query(sql))) < 1e-9);
        assert_int_equal(json_integer_value(json_object_get(figures, "n_missing")), 0);
        assert_int_equal(json_array_size(json_object_get(figures, "warnings")), 0);
        json_decref(figures);
    }
    /* own questions: a number stays a number, a text a text */
    char *text = read_file("answers.jsonl"), *second = strchr(text, '\n') + 1;
    json_t *first = json_loadb(text, (size_t)(second - text), 0, NULL), *other = json_loads(second, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(first, "question_id")), 7);
    assert_string_equal(json_string_value(json_object_get(first, "prompt")), "Is it, \"blue\"\nor not?");
    assert_true(json_is_object(json_object_get(first, "metadata")));
    assert_int_equal(json_string_length(json_object_get(first, "answer_id")), 22);
    assert_string_equal(json_string_value(json_object_get(other, "question_id")), "08");
    json_decref(first);
    json_decref(other);
    free(text);
}

static void submissions_are_the_benchmarks_own(void **state)
{
    (void)state;
    NEEDS_STORE;
    char arguments[400];
    const char *key = query("SELECT key FROM cells WHERE benchmark = 'mmvet' AND method = 'vanilla'");
    snprintf(arguments, sizeof arguments,
             "export s.db --cell %s --format submission --questions mm-vet.json -o vet.json", key);
    assert_int_equal(winnow(arguments), 0);
    assert_holds("vet.json", "{\n  \"v1_4\": \"");
    key = query("SELECT key FROM cells WHERE benchmark = 'mme' AND method = 'vanilla'");
    snprintf(arguments, sizeof arguments, "export s.db --cell %s --format submission --data . -o tool", key);
    assert_int_equal(winnow(arguments), 0);
    assert_holds("tool/count.txt", "0.txt\tOne? Please answer yes or no.\tYes\t");
    assert_holds("tool/OCR.txt", "1.txt\tA? Please answer yes or no.\tYes\t");
    /* again: the folder is there, nothing half-written stays */
    assert_int_equal(winnow(arguments), BAD_INPUT);
    assert_holds("stderr.txt", "tool: cannot be written");
    assert_holds("stderr.txt", "name another place");
    /* a folder by its name with a slash */
    snprintf(arguments, sizeof arguments, "export s.db --cell %s --format submission --data . -o slash/",
             key);
    assert_int_equal(winnow(arguments), 0);
    assert_holds("slash/count.txt", "0.txt\tOne? Please answer yes or no.\tYes\t");
    assert_int_equal(winnow("sql s.db 'SELECT 1'"), 0);
    char command[200];
    snprintf(command, sizeof command, "ls -d '%s'/*.tmp-* 2>/dev/null | grep -q .", folder);
    assert_int_not_equal(system(command), 0);
    /* files of another version */
    write_file("other.json", "{\"v1_4\": {\"question\": \"Another?\", \"answer\": \"a\"}}\n");
    key = query("SELECT key FROM cells WHERE benchmark = 'mmvet' AND method = 'vanilla'");
    snprintf(arguments, sizeof arguments,
             "export s.db --cell %s --format submission --questions other.json -o x.json", key);
    assert_int_equal(winnow(arguments), BAD_INPUT);
    assert_holds("stderr.txt", "asked something else");
    assert_false(file_exists(in_folder("x.json")));
    snprintf(arguments, sizeof arguments, "export s.db --cell %s --format submission -o x.json", key);
    assert_int_equal(winnow(arguments), BAD_INPUT);
    assert_holds("stderr.txt", "give --data DIR or --questions F");
}

static void csv_holds_the_rows(void **state)
{
    (void)state;
    NEEDS_STORE;
    char arguments[400];
    const char *key = query("SELECT key FROM cells WHERE benchmark = 'jsonl' AND method = 'vanilla'");
    snprintf(arguments, sizeof arguments, "export s.db --cell %s --format csv -o rows.csv", key);
    assert_int_equal(winnow(arguments), 0);
    assert_holds("rows.csv", "key,sample_id,question_id,image,cluster,question,gold,answer,score,error");
    assert_holds("rows.csv", "\"Is it, \"\"blue\"\"\nor not?\",yes,");
}

static void cells_are_found_or_named(void **state)
{
    (void)state;
    NEEDS_STORE;
    assert_int_equal(winnow("export s.db --cell '' -o x"), BAD_INPUT);
    assert_holds("stderr.txt", "6 cells' keys begin with");
    assert_int_equal(winnow("export s.db --cell nothing -o x"), BAD_INPUT);
    assert_holds("stderr.txt", "no cell's key begins with \"nothing\"");
    assert_int_equal(winnow("export none.db --cell a -o x"), BAD_INPUT);
    assert_int_equal(winnow("export s.db -o x"), BAD_INPUT);
    assert_holds("stderr.txt", "--cell KEY is missing");
    assert_int_equal(winnow("export s.db --cell a"), BAD_INPUT);
    assert_int_equal(winnow("export s.db --cell a --format xml -o x"), BAD_INPUT);
    assert_holds("stderr.txt", "answers, submission or csv");
    assert_false(file_exists(in_folder("x")));
    assert_int_equal(winnow("export -h"), 0);
    assert_holds("stdout.txt", "winnow export S.db --cell KEY");
}

/* -o S.db replaced the store by the answers of one cell. */
static void the_store_is_not_replaced(void **state)
{
    (void)state;
    NEEDS_STORE;
    static const char *const formats[] = {"answers", "csv", "submission"};
    const char *key = query("SELECT key FROM cells WHERE benchmark = 'mmvet' AND method = 'vanilla'");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        char arguments[400];
        snprintf(arguments, sizeof arguments,
                 "export s.db --cell %s --format %s --questions mm-vet.json -o ./s.db", key, formats[i]);
        assert_int_equal(winnow(arguments), BAD_INPUT);
        assert_holds("stderr.txt", "is the store itself");
    }
    assert_string_equal(query("SELECT count(*) FROM cells"), "6");
    /* nor are the answers by their scores */
    write_file("a.jsonl", "{\"question_id\": 7, \"text\": \"yes\"}\n");
    assert_int_equal(winnow("score jsonl --questions own.jsonl --answers a.jsonl --per-sample a.jsonl"),
                     BAD_INPUT);
    assert_holds("stderr.txt", "is an input");
    assert_holds("a.jsonl", "\"text\": \"yes\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_score_as_the_cell), cmocka_unit_test(submissions_are_the_benchmarks_own),
        cmocka_unit_test(csv_holds_the_rows),        cmocka_unit_test(cells_are_found_or_named),
        cmocka_unit_test(the_store_is_not_replaced),
    };
    return cmocka_run_group_tests(tests, make_store, remove_store);
}
