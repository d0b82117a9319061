/* `winnow export`: the answers of a store's cell as a file for other tools.
 *
 * --format answers: LLaVA's answer file, JSON lines in the order of the questions
 * (llava/eval/model_vqa_loader.py); what `winnow score` and most official scorers read.
 *
 * --format submission: what the benchmark's official scorer or server takes (struct benchmark, submit), for
 * which the question file is needed; LLaVA's answer file where the benchmark has nothing else.
 *
 * --format csv: the cell's sample rows with all their figures (RFC 4180).
 *
 * The output appears under its name when it is whole. Failed samples have no answer and are left out.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "core/sha256.h"
#include "datasets/benchmark.h"
#include "datasets/text_pool.h"
#include "harness/command.h"
#include "harness/folder.h"
#include "harness/store_reader.h"

enum { PATH_SIZE = 4096, KEYS_NAMED = 5 };

struct options {
    const char *store, *cell, *format, *output;
    struct benchmark_paths paths;
};

/* The cell that is written, from its row in the view. Texts are owned. */
struct exported {
    char *key, *benchmark, *model;
    int n, n_failed;
};

static void exported_free(struct exported *cell)
{
    free(cell->key);
    free(cell->benchmark);
    free(cell->model);
}

static enum status prepare(sqlite3_stmt **out, sqlite3 *db, const char *path, const char *sql,
                           const char *text, struct error *err)
{
    if (sqlite3_prepare_v2(db, sql, -1, out, NULL) != SQLITE_OK)
        return fail(err, BAD_INPUT, "%s: %s", path, sqlite3_errmsg(db));
    sqlite3_bind_text(*out, 1, text, -1, SQLITE_STATIC);
    return OK;
}

/* *row is false after the last. */
static enum status step(bool *row, sqlite3_stmt *s, const char *path, struct error *err)
{
    int code = sqlite3_step(s);
    *row = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? OK
               : fail(err, BAD_INPUT, "%s: %s", path, sqlite3_errmsg(sqlite3_db_handle(s)));
}

static char *column_copy(sqlite3_stmt *s, int i)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    return strdup(text ? text : "");
}

/* By its key, or by a beginning of it that no other cell has. */
static enum status find_cell(struct exported *out, sqlite3 *db, const struct options *options,
                             struct error *err)
{
    sqlite3_stmt *s;
    char named[400] = "";
    int n = 0;
    bool row, exact = false;
    enum status status;
    *out = (struct exported){0};
    TRY(prepare(&s, db, options->store,
                "SELECT key, benchmark, model, n, n_failed FROM cells WHERE substr(key, 1, length(?1)) = ?1"
                " ORDER BY key = ?1 DESC, key",
                options->cell, err));
    while ((status = step(&row, s, options->store, err)) == OK && row && !exact) {
        const char *key = (const char *)sqlite3_column_text(s, 0);
        if (n++ == 0) {
            *out = (struct exported){column_copy(s, 0), column_copy(s, 1), column_copy(s, 2),
                                     sqlite3_column_int(s, 3), sqlite3_column_int(s, 4)};
            exact = key && strcmp(key, options->cell) == 0;
        }
        if (n <= KEYS_NAMED)
            snprintf(named + strlen(named), sizeof named - strlen(named), "%s%.64s", n > 1 ? ", " : "",
                     key ? key : "");
    }
    sqlite3_finalize(s);
    char shown[PRINTABLE_SIZE];
    if (status == OK && n == 0)
        status = fail(err, BAD_INPUT,
                      "%s: no cell's key begins with \"%s\"; winnow sql %s 'SELECT key, method, "
                      "benchmark, budget FROM cells' lists them",
                      options->store, printable(shown, options->cell), options->store);
    if (status == OK && n > 1 && !exact)
        status = fail(err, BAD_INPUT, "%s: %d cells' keys begin with \"%s\": %s%s", options->store, n,
                      printable(shown, options->cell), named, n > KEYS_NAMED ? ", ..." : "");
    if (status == OK && (!out->key || !out->benchmark || !out->model))
        status = fail(err, NO_MACHINE, "no memory for a cell");
    if (status == OK && out->n == 0)
        status = fail(err, BAD_INPUT, "%s: cell %s holds no answer", options->store, out->key);
    return status;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* What LLaVA writes as `prompt`: the question; for ScienceQA behind the picture's placeholder, which its
 * scorer looks for; for MMBench without the last line, which is the suffix. */
static char *prompt_of(const char *benchmark, const char *question, bool has_image)
{
    const char *name = strncmp(benchmark, "mini-", 5) == 0 ? benchmark + 5 : benchmark;
    char *out = NULL;
    if (strcmp(name, "scienceqa") == 0 && has_image)
        return asprintf(&out, "<image>\n%s", question) < 0 ? NULL : out;
    const char *last = strncmp(name, "mmbench", 7) == 0 ? strrchr(question, '\n') : NULL;
    return strndup(question, last ? (size_t)(last - question) : strlen(question));
}

static json_t *id_json(const char *id, bool numeric)
{
    return numeric ? json_integer(strtoll(id, NULL, 10)) : json_string(id);
}

/* A number where the question file has one; stores of before schema 3 do not tell, and have texts. */
static const char *answers_sql(sqlite3 *db)
{
    sqlite3_stmt *s;
    bool told = sqlite3_prepare_v2(db, "SELECT 1 FROM pragma_table_info('question') WHERE name = 'is_number'",
                                   -1, &s, NULL) == SQLITE_OK &&
                sqlite3_step(s) == SQLITE_ROW;
    sqlite3_finalize(s);
    return told ? "SELECT s.sample_id, s.question_id, s.image, s.question, s.answer, q.is_number FROM "
                  "samples s"
                  " JOIN cell c ON c.key = s.key JOIN question q ON q.source = c.source"
                  " AND q.sample_id = s.sample_id WHERE s.key = ? AND s.error IS NULL ORDER BY s.sample_id"
                : "SELECT sample_id, question_id, image, question, answer, 0 FROM samples"
                  " WHERE key = ? AND error IS NULL ORDER BY sample_id";
}

static enum status answer_line(FILE *out, sqlite3_stmt *s, const struct exported *cell, const char *path,
                               struct error *err)
{
    char name[200], id[65];
    const char *texts[4]; /* question_id, image, question, answer */
    for (int i = 0; i < 4; i++)
        texts[i] = (const char *)sqlite3_column_text(s, i + 1);
    snprintf(name, sizeof name, "%.64s %d", cell->key, sqlite3_column_int(s, 0));
    sha256_hex(id, name, strlen(name));
    id[22] = '\0'; /* as long as LLaVA's; no scorer reads it */
    char *prompt = prompt_of(cell->benchmark, texts[2] ? texts[2] : "", texts[1] != NULL);
    json_t *line = json_object();
    int failed = !prompt;
    failed |=
        json_object_set_new(line, "question_id", id_json(texts[0] ? texts[0] : "", sqlite3_column_int(s, 5)));
    failed |= json_object_set_new(line, "prompt", json_string(prompt ? prompt : ""));
    failed |= json_object_set_new(line, "text", json_string(texts[3] ? texts[3] : ""));
    failed |= json_object_set_new(line, "answer_id", json_string(id));
    failed |= json_object_set_new(line, "model_id", json_string(cell->model));
    failed |= json_object_set_new(line, "metadata", json_object());
    free(prompt);
    failed |= json_dumpf(line, out, 0) != 0;
    fputc('\n', out);
    json_decref(line);
    return failed ? fail(err, BAD_INPUT, "%s: sample %s: its texts are no UTF-8", path, name) : OK;
}

static enum status write_answers(FILE *out, sqlite3 *db, const struct exported *cell, const char *path,
                                 struct error *err)
{
    sqlite3_stmt *s;
    bool row;
    enum status status;
    TRY(prepare(&s, db, path, answers_sql(db), cell->key, err));
    while ((status = step(&row, s, path, err)) == OK && row)
        TRY_GOTO(status, answer_line(out, s, cell, path, err));
exit:
    sqlite3_finalize(s);
    return status;
}

/* ---- csv ------------------------------------------------------------------------------------ */

static void put_csv(FILE *out, const char *text)
{
    if (text[strcspn(text, ",\"\r\n")] == '\0') {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static enum status write_csv(FILE *out, sqlite3 *db, const struct exported *cell, const char *path,
                             struct error *err)
{
    sqlite3_stmt *s;
    bool row;
    enum status status;
    TRY(prepare(&s, db, path, "SELECT * FROM samples WHERE key = ? ORDER BY sample_id", cell->key, err));
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        fputs(i ? "," : "", out);
        put_csv(out, sqlite3_column_name(s, i));
    }
    fputc('\n', out);
    while ((status = step(&row, s, path, err)) == OK && row) {
        for (int i = 0; i < sqlite3_column_count(s); i++) {
            fputs(i ? "," : "", out);
            if (sqlite3_column_type(s, i) == SQLITE_FLOAT)
                fprintf(out, "%.17g", sqlite3_column_double(s, i));
            else if (sqlite3_column_type(s, i) != SQLITE_NULL)
                put_csv(out, (const char *)sqlite3_column_text(s, i));
        }
        fputc('\n', out);
    }
    sqlite3_finalize(s);
    return status;
}

/* ---- submission ----------------------------------------------------------------------------- */

/* The cell's answers at the rows of the question file, which must be the one that was asked. */
static enum status load_answers(struct answers *out, sqlite3 *db, const struct exported *cell,
                                const struct dataset *data, const char *path, struct error *err)
{
    sqlite3_stmt *s = NULL;
    bool row;
    enum status status;
    TRY(answers_new(out, data, err));
    TRY_GOTO(status, prepare(&s, db, path,
                             "SELECT sample_id, question_id, question, answer FROM samples"
                             " WHERE key = ? AND error IS NULL ORDER BY sample_id",
                             cell->key, err));
    while ((status = step(&row, s, path, err)) == OK && row) {
        int i = sqlite3_column_int(s, 0);
        const char *id = (const char *)sqlite3_column_text(s, 1),
                   *question = (const char *)sqlite3_column_text(s, 2),
                   *answer = (const char *)sqlite3_column_text(s, 3);
        if (i < 0 || i >= data->n || !id || !question || strcmp(id, data->samples[i].question_id) != 0 ||
            strcmp(question, data->samples[i].text) != 0)
            TRY_GOTO(status,
                     fail(err, BAD_INPUT,
                          "%s: sample %d of cell %s was asked something else than row %d of the question "
                          "file; give the file that the sweep had",
                          path, i, cell->key, i));
        out->text[i] = text_pool_add(out->pool, answer ? answer : "");
    }
    if (status == OK)
        status = text_pool_check(out->pool, err);
exit:
    sqlite3_finalize(s);
    if (status != OK)
        answers_free(out);
    return status;
}

/* After a rename that failed. A folder with something in it is the user's: it is not replaced. */
static enum status output_fail(const char *path, struct error *err)
{
    int why = errno;
    bool taken = why == ENOTEMPTY || why == EEXIST || why == EISDIR || why == ENOTDIR;
    return fail(err, taken ? BAD_INPUT : NO_MACHINE, "%s: cannot be written: %s%s", path, strerror(why),
                taken ? "; name another place, or remove what is there" : "");
}

/* A file or a folder, as the benchmark has it: made beside its place and renamed. */
static enum status write_submission(sqlite3 *db, const struct exported *cell, const struct options *options,
                                    struct error *err)
{
    struct dataset data = {0};
    struct answers answers = {0};
    char temporary[PATH_SIZE];
    enum status status;
    if (!options->paths.root && !options->paths.questions)
        return fail(err, BAD_INPUT,
                    "--format submission reads the question file of %s: give --data DIR or "
                    "--questions F",
                    cell->benchmark);
    /* "-o DIR/" is the folder, not a name inside it. */
    int n = (int)strnlen(options->output, PATH_SIZE);
    while (n > 1 && options->output[n - 1] == '/')
        n--;
    if (snprintf(temporary, sizeof temporary, "%.*s.tmp-%ld", n, options->output, (long)getpid()) >=
        PATH_SIZE)
        return fail(err, BAD_INPUT, "-o: the path is too long");
    TRY(benchmark_read(&data, cell->benchmark, &options->paths, err));
    TRY_GOTO(status, load_answers(&answers, db, cell, &data, options->store, err));
    TRY_GOTO(status, data.benchmark->submit(temporary, &data, &answers, err));
    if (rename(temporary, options->output) != 0)
        status = output_fail(options->output, err);
exit:
    if (status != OK)
        folder_remove(temporary);
    answers_free(&answers);
    dataset_close(&data);
    return status;
}

/* ---- the command ---------------------------------------------------------------------------- */

static enum status write_text(sqlite3 *db, const struct exported *cell, const struct options *options,
                              struct error *err)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        return fail(err, NO_MACHINE, "%s: no memory for its lines", options->output);
    enum status status = strcmp(options->format, "csv") == 0
                             ? write_csv(out, db, cell, options->store, err)
                             : write_answers(out, db, cell, options->store, err);
    bool failed = ferror(out) != 0;
    failed |= fclose(out) != 0;
    if (status == OK)
        status = failed ? fail(err, NO_MACHINE, "%s: no memory for its lines", options->output)
                        : file_write(options->output, text, n, err);
    free(text);
    return status;
}

static enum status run(const struct options *options, struct error *err)
{
    sqlite3 *db;
    struct exported cell;
    const char *what = "LLaVA's answer file";
    enum status status;
    if (file_same(options->output, options->store))
        return fail(err, BAD_INPUT, "-o %s: is the store itself, which the answers would take the place of",
                    options->output);
    TRY(store_open_reader(&db, options->store, err));
    TRY_GOTO(status, find_cell(&cell, db, options, err));
    const struct benchmark *benchmark = benchmark_find(cell.benchmark, NULL);
    if (strcmp(options->format, "submission") == 0 && benchmark && benchmark->submit) {
        what = benchmark->submission;
        TRY_GOTO(status, write_submission(db, &cell, options, err));
    } else {
        TRY_GOTO(status, write_text(db, &cell, options, err));
    }
    if (strcmp(options->format, "csv") == 0)
        what = "sample rows";
    printf("%s: %s; %d answers of %s, cell %s", options->output, what, cell.n, cell.benchmark, cell.key);
    printf(cell.n_failed > 0 && strcmp(options->format, "csv") != 0 ? "; %d failed samples are left out\n"
                                                                    : "\n",
           cell.n_failed);
exit:
    exported_free(&cell);
    sqlite3_close(db);
    return status;
}

int cmd_export(int argc, char **argv)
{
    enum { CELL = OPTION_OWN, FORMAT, DATA, QUESTIONS, ANNOTATIONS };
    static const struct option table[] = {{"cell", required_argument, NULL, CELL},
                                          {"format", required_argument, NULL, FORMAT},
                                          {"output", required_argument, NULL, 'o'},
                                          {"data", required_argument, NULL, DATA},
                                          {"questions", required_argument, NULL, QUESTIONS},
                                          {"annotations", required_argument, NULL, ANNOTATIONS},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct options options = {.format = "answers"};
    struct error err = {0};
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "ho:", table, NULL)) != -1;) {
        switch (c) {
        case 'h':
            printf("%s", command_find("export")->usage);
            return OK;
        case CELL:
            options.cell = optarg;
            break;
        case FORMAT:
            options.format = optarg;
            break;
        case 'o':
            options.output = optarg;
            break;
        case DATA:
            options.paths.root = optarg;
            break;
        case QUESTIONS:
            options.paths.questions = optarg;
            break;
        case ANNOTATIONS:
            options.paths.annotations = optarg;
            break;
        default:
            return command_option("export", argc, argv);
        }
    }
    if (optind + 1 != argc)
        return command_usage("export", "expected one store, found %d", argc - optind);
    options.store = argv[optind];
    if (!options.cell || !options.output)
        return command_usage("export", "%s is missing", options.cell ? "-o F" : "--cell KEY");
    if (strcmp(options.format, "answers") && strcmp(options.format, "submission") &&
        strcmp(options.format, "csv"))
        return command_usage("export", "--format: found '%.40s', expected answers, submission or csv",
                             options.format);
    return run(&options, &err) == OK ? OK : command_fail(&err);
}
