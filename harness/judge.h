/* A judge: a language model behind an OpenAI-compatible endpoint (POST …/chat/completions) that is asked
 * about answers in a benchmark's own words (struct judging). Every reply is kept in a cache by the SHA-256 of
 * what was asked (model, messages, temperature, max_tokens), so that the same question never costs twice.
 *
 *     struct judge_options options = judge_options(NULL, NULL);   // WINNOW_JUDGE_URL, _MODEL, _KEY
 *     TRY(judge_cache_open(&cache, path, &err));                  // or the connection of a store
 *     TRY(judge_open(&judge, &options, cache, &err));
 *     TRY(judge_answers(judge, &answers, &dataset, &err));        // fills answers.verdict
 *
 * Timeouts, lost connections, 408, 429 and 5xx are asked again after waits that double, or after what
 * Retry-After says, up to a limit; a reply that is no chat completion is asked again as often as the
 * benchmark asks again after words it cannot use. Then the sample has no verdict, and the report says why.
 * Any other status, a redirect too, ends it all with the beginning of what the endpoint said.
 *
 * The key goes into the Authorization header and nowhere else; where an endpoint echoes it, it is blotted
 * out.
 */
#ifndef WINNOW_JUDGE_H
#define WINNOW_JUDGE_H

#include <signal.h>
#include <sqlite3.h>

#include "core/error.h"
#include "datasets/benchmark.h"

/* Zeros are the defaults. Texts must outlive the judge. */
struct judge_options {
    const char *url;   /* base, or the whole address ending in /chat/completions; NULL: no judge is named */
    const char *model; /* NULL: the benchmark's official one */
    const char *key;   /* NULL: no Authorization header */
    int n_parallel;    /* requests in flight: 8 */
    double timeout_ms; /* of one request: 60 s */
    double give_up_ms; /* of one sample, waits included: 300 s, a fifth of it while nothing was ever heard */
    double backoff_ms; /* the first wait: 500 */
    double wait_most_ms;               /* the longest: 60 s */
    const volatile sig_atomic_t *stop; /* set: INTERRUPTED; may be NULL */
    void (*progress)(void *context, int n_done, int n_failed, int n_total);
    void *context;
};
/* From the environment; texts given here win. */
struct judge_options judge_options(const char *url, const char *model);

/* What became of the last judge_answers. */
struct judge_report {
    int n_judged, n_cached; /* verdicts in all; of them without any request */
    int n_requests;
    int n_failed;      /* samples that were given up */
    char failure[512]; /* why the first one was */
};

struct judge;
/* cache: a connection with the table judge_reply, in no transaction; the caller's. May be NULL. */
enum status judge_open(struct judge **out, const struct judge_options *options, sqlite3 *cache,
                       struct error *err);
/* Asks about every answer without a verdict. OK also where samples were given up: see the report. After an
 * error the verdicts that there are stand. */
enum status judge_answers(struct judge *judge, struct answers *answers, const struct dataset *dataset,
                          struct error *err);
const struct judge_report *judge_report(const struct judge *judge);
const char *judge_model(const struct judge *judge, const struct dataset *dataset);
void judge_close(struct judge *judge);

/* ---- judge_wire.c --------------------------------------------------------------------------- */
enum { JUDGE_URL_SIZE = 2048 };
/* The address that requests go to, from a base or a whole one; refused: user names, control characters. */
enum status judge_url(char out[JUDGE_URL_SIZE], const char *url, struct error *err);
/* The body of a request, which the caller frees, and its hash. Attempts that say the same have hashes of
 * their own. */
enum status judge_body(char **body, char hash[65], const char *model, const struct judge_request *request,
                       int attempt, struct error *err);
/* choices[0].message.content, owned by *root, which the caller json_decref's; NULL: no chat completion. */
const char *judge_content(json_t **root, const char *reply, size_t n);
/* ---- judge_cache.c -------------------------------------------------------------------------- */
/* The table that a cache holds, also in a store's schema. */
#define JUDGE_TABLE                                                                                          \
    "CREATE TABLE judge_reply(hash TEXT PRIMARY KEY, model TEXT NOT NULL, reply TEXT NOT NULL,"              \
    " created TEXT NOT NULL) WITHOUT ROWID;"
/* path NULL: judge.db in XDG_CACHE_HOME/winnow, else ~/.cache/winnow. Made where there is none, for its owner
 * only. The caller sqlite3_close's. */
enum status judge_cache_open(sqlite3 **out, const char *path, struct error *err);
/* *reply is NULL where there is none; the caller frees. */
enum status judge_cache_get(char **reply, sqlite3 *cache, const char *hash, struct error *err);
enum status judge_cache_put(sqlite3 *cache, const char *hash, const char *model, const char *reply,
                            struct error *err);

#endif
