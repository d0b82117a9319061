/* Asking a judge, see judge.h: a few samples at a time, each from cached replies as far as they go, then by
 * requests that are all in flight together (libcurl's multi interface, one thread).
 *
 *     sample -> attempt 0 -> cached? -> usable? -> verdict
 *                  ^            | no       | no: next attempt
 *                  |         request -> reply -> cache
 *                  '--- wait ---'  429, 5xx, timeout, lost connection, no chat completion
 *
 * Source: OpenAI's API reference, "Create chat completion", of which vLLM, llama.cpp and others serve as much
 * as is used here: model, messages, temperature, max_tokens; choices[0].message.content.
 */
#include "harness/judge.h"

#include <curl/curl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "datasets/text_pool.h"

enum {
    PARALLEL = 8,
    PARALLEL_MOST = 64,
    REPLY_BYTES = 1 << 20, /* of a body: a verdict has a few hundred */
    ATTEMPTS_MOST = 10,    /* where a benchmark would ask for ever */
    FAILED_IN_A_ROW = 3,   /* samples given up, then the endpoint is */
    KEY_BLOTTED_BYTES = 8, /* a shorter key is no secret, and could stand in any reply */
    SHOWN_BYTES = 200      /* of a body, in a message */
};
static const double timeout_ms = 60e3, give_up_ms = 300e3, backoff_ms = 500, wait_most_ms = 60e3;
static const double poll_ms = 250; /* so that a signal is noticed */

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_FLYING };

/* A sample that is being asked about. */
struct slot {
    enum slot_state state;
    int row, attempt, n_garbage, n_waits;
    double since, due;
    char *body, hash[65];
    CURL *curl;
    char *reply; /* [REPLY_BYTES + 1] */
    size_t n_reply;
    bool too_long;
};

struct judge {
    struct judge_options options;
    char url[JUDGE_URL_SIZE];
    char shown[JUDGE_URL_SIZE]; /* without its query, in which some endpoints want a key */
    sqlite3 *cache;
    CURLM *multi;
    struct curl_slist *headers;
    struct slot *slots;
    struct judge_report report;
    int n_failed_in_a_row;
    bool heard; /* the endpoint has ever answered */

    /* Of the answers at work. */
    const struct dataset *dataset;
    struct answers *answers;
    const char *model;
    int next_row, n_total;
};

struct judge_options judge_options(const char *url, const char *model)
{
    const char *env_url = getenv("WINNOW_JUDGE_URL"), *env_model = getenv("WINNOW_JUDGE_MODEL"),
               *key = getenv("WINNOW_JUDGE_KEY");
    /* A sweep file comes from anywhere: the key goes to the address of its own environment only. */
    bool own = !url || (env_url && strcmp(url, env_url) == 0);
    if (key && key[0] && !own)
        fprintf(stderr,
                "judge: WINNOW_JUDGE_KEY is not sent to %s; set WINNOW_JUDGE_URL to the same address\n", url);
    return (struct judge_options){.url = url                     ? url
                                         : env_url && env_url[0] ? env_url
                                                                 : NULL,
                                  .model = model                       ? model
                                           : env_model && env_model[0] ? env_model
                                                                       : NULL,
                                  .key = own && key && key[0] ? key : NULL};
}

/* ---- what must not be seen ------------------------------------------------------------------ */

/* Blots out the key wherever an endpoint echoes it. */
static void blot(const struct judge *judge, char *text)
{
    const char *key = judge->options.key;
    size_t n = key ? strlen(key) : 0;
    for (char *at = text; n >= KEY_BLOTTED_BYTES && (at = strstr(at, key)); at += n)
        memset(at, '*', n);
}

/* ---- opening -------------------------------------------------------------------------------- */

static enum status header_add(struct judge *judge, const char *header, struct error *err)
{
    struct curl_slist *list = curl_slist_append(judge->headers, header);
    if (!list)
        return fail(err, NO_MACHINE, "no memory for a request's headers");
    judge->headers = list;
    return OK;
}

static enum status headers_make(struct judge *judge, struct error *err)
{
    const char *key = judge->options.key;
    TRY(header_add(judge, "Content-Type: application/json", err));
    TRY(header_add(judge, "Accept: application/json", err));
    TRY(header_add(judge, "Expect:", err)); /* one way instead of two */
    if (!key)
        return OK;
    for (const char *c = key; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
            return fail(err, BAD_INPUT,
                        "WINNOW_JUDGE_KEY holds a character that no key has (a space, a line "
                        "end, or one outside of ASCII)");
    char *header;
    if (asprintf(&header, "Authorization: Bearer %s", key) < 0)
        return fail(err, NO_MACHINE, "no memory for a request's headers");
    enum status status = header_add(judge, header, err);
    explicit_bzero(header, strlen(header));
    free(header);
    return status;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *context)
{
    struct slot *slot = context;
    n *= size;
    if (n > REPLY_BYTES - slot->n_reply) {
        slot->too_long = true;
        return 0; /* ends the transfer */
    }
    memcpy(slot->reply + slot->n_reply, bytes, n);
    slot->n_reply += n;
    return n;
}

static enum status slot_open(struct slot *slot, struct judge *judge, struct error *err)
{
    slot->reply = memory_alloc(REPLY_BYTES + 1, 1);
    slot->curl = curl_easy_init();
    if (!slot->reply || !slot->curl)
        return memory_failed(err, "a request", REPLY_BYTES);
    CURL *c = slot->curl;
    bool set = curl_easy_setopt(c, CURLOPT_URL, judge->url) == CURLE_OK &&
               curl_easy_setopt(c, CURLOPT_HTTPHEADER, judge->headers) == CURLE_OK &&
               curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
               curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK && /* the key is for this host */
               curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK &&
               curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
               curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)judge->options.timeout_ms) == CURLE_OK &&
               curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
               curl_easy_setopt(c, CURLOPT_WRITEDATA, slot) == CURLE_OK &&
               curl_easy_setopt(c, CURLOPT_PRIVATE, slot) == CURLE_OK;
    return set ? OK : fail(err, NO_MACHINE, "libcurl takes not all that a request to the judge needs");
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static void curl_start(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static double either(double given, double usual)
{
    return given > 0 ? given : usual;
}

enum status judge_open(struct judge **out, const struct judge_options *options, sqlite3 *cache,
                       struct error *err)
{
    enum status status = OK;
    *out = NULL;
    pthread_once(&curl_once, curl_start);
    struct judge *judge = memory_zero(1, sizeof *judge);
    if (!judge)
        return memory_failed(err, "a judge", sizeof *judge);
    judge->options = *options;
    judge->cache = cache;
    struct judge_options *o = &judge->options;
    int n = o->n_parallel > 0 ? o->n_parallel : PARALLEL;
    o->n_parallel = n < PARALLEL_MOST ? n : PARALLEL_MOST;
    o->timeout_ms = either(o->timeout_ms, timeout_ms);
    o->give_up_ms = either(o->give_up_ms, give_up_ms);
    o->backoff_ms = either(o->backoff_ms, backoff_ms);
    o->wait_most_ms = either(o->wait_most_ms, wait_most_ms);
    if (!o->url)
        TRY_GOTO(status, fail(err, BAD_INPUT, "no judge is named: set WINNOW_JUDGE_URL"));
    TRY_GOTO(status, judge_url(judge->url, o->url, err));
    memcpy(judge->shown, judge->url, strcspn(judge->url, "?"));
    TRY_GOTO(status, headers_make(judge, err));
    judge->multi = curl_multi_init();
    judge->slots = memory_zero((size_t)o->n_parallel, sizeof *judge->slots);
    if (!judge->multi || !judge->slots)
        TRY_GOTO(status, memory_failed(err, "requests", (size_t)o->n_parallel * sizeof *judge->slots));
    for (int i = 0; i < o->n_parallel; i++)
        TRY_GOTO(status, slot_open(&judge->slots[i], judge, err));
    *out = judge;
    return OK;
exit:
    judge_close(judge);
    return status;
}

static void slot_free(struct slot *slot, struct judge *judge)
{
    if (slot->state == SLOT_FLYING)
        curl_multi_remove_handle(judge->multi, slot->curl);
    free(slot->body);
    slot->body = NULL;
    slot->state = SLOT_FREE;
}

void judge_close(struct judge *judge)
{
    if (!judge)
        return;
    for (int i = 0; judge->slots && i < judge->options.n_parallel; i++) {
        slot_free(&judge->slots[i], judge);
        curl_easy_cleanup(judge->slots[i].curl);
        free(judge->slots[i].reply);
    }
    free(judge->slots);
    curl_multi_cleanup(judge->multi);
    curl_slist_free_all(judge->headers);
    free(judge);
}

const struct judge_report *judge_report(const struct judge *judge)
{
    return &judge->report;
}

const char *judge_model(const struct judge *judge, const struct dataset *dataset)
{
    return judge->options.model ? judge->options.model : dataset->benchmark->judging->model;
}

/* ---- one sample ----------------------------------------------------------------------------- */

static int attempts_most(const struct judge *judge)
{
    int attempts = judge->dataset->benchmark->judging->attempts;
    return attempts > 0 ? attempts : ATTEMPTS_MOST;
}

static enum status verdict_set(struct judge *judge, struct slot *slot, const char *reply, struct error *err)
{
    struct answers *answers = judge->answers;
    answers->verdict[slot->row] = text_pool_add(answers->pool, reply);
    judge->report.n_judged++;
    judge->report.n_cached += slot->since <= 0;
    judge->n_failed_in_a_row = 0;
    slot_free(slot, judge);
    return text_pool_check(answers->pool, err);
}

/* The sample stays without a verdict. */
static void sample_failed(struct judge *judge, struct slot *slot, const char *why)
{
    if (judge->report.n_failed++ == 0) {
        char id[PRINTABLE_SIZE];
        snprintf(judge->report.failure, sizeof judge->report.failure, "question %s: %s",
                 printable(id, judge->dataset->samples[slot->row].question_id), why);
    }
    judge->n_failed_in_a_row++;
    slot_free(slot, judge);
}

/* What a reply's words are worth: *again: the next attempt is to be made. */
static enum status reply_judge(bool *again, struct judge *judge, struct slot *slot, const char *reply,
                               struct error *err)
{
    const struct judging *judging = judge->dataset->benchmark->judging;
    *again = false;
    if (judging->usable(reply))
        return verdict_set(judge, slot, reply, err);
    if (slot->attempt + 1 < attempts_most(judge)) {
        slot->attempt++;
        *again = true;
        return OK;
    }
    if (judging->attempts > 0) /* then the scorer makes of it what the official one does */
        return verdict_set(judge, slot, reply, err);
    sample_failed(judge, slot, "no reply holds a verdict");
    return OK;
}

/* Goes through the attempts as far as replies are cached; then the slot is free, or waits for a request. */
static enum status slot_advance(struct judge *judge, struct slot *slot, struct error *err)
{
    const struct judging *judging = judge->dataset->benchmark->judging;
    for (bool again = true; again;) {
        struct judge_request request = {0};
        char *reply = NULL;
        free(slot->body);
        slot->body = NULL;
        TRY(judging->ask(&request, judge->dataset, slot->row, judge->answers->text[slot->row], slot->attempt,
                         err));
        enum status status = judge_body(&slot->body, slot->hash, judge->model, &request, slot->attempt, err);
        judge_request_free(&request);
        if (status == OK && judge->cache)
            status = judge_cache_get(&reply, judge->cache, slot->hash, err);
        if (status == OK && !reply) {
            slot->state = SLOT_WAITING;
            slot->due = 0;
            return OK;
        }
        if (status == OK)
            status = reply_judge(&again, judge, slot, reply, err);
        free(reply);
        TRY(status);
    }
    return OK;
}

/* ---- what an endpoint says ------------------------------------------------------------------ */

static enum status reply_keep(struct judge *judge, struct slot *slot, const char *content, struct error *err)
{
    const struct judging *judging = judge->dataset->benchmark->judging;
    char *reply = memory_text(content);
    bool again = false;
    if (!reply)
        return memory_failed(err, "a judge's reply", strlen(content));
    blot(judge, reply);
    enum status status = OK;
    /* A benchmark that asks the same for ever must not find its own useless reply again. */
    if (judge->cache && (judging->attempts > 0 || judging->usable(reply)))
        status = judge_cache_put(judge->cache, slot->hash, judge->model, reply, err);
    if (status == OK)
        status = reply_judge(&again, judge, slot, reply, err);
    free(reply);
    return status == OK && again ? slot_advance(judge, slot, err) : status;
}

/* Asks again after a while, or gives the sample up. retry_after_ms: what the endpoint wishes, or 0. */
static void slot_wait(struct judge *judge, struct slot *slot, double retry_after_ms, const char *why)
{
    const struct judge_options *o = &judge->options;
    double wait = ldexp(o->backoff_ms, slot->n_waits < 20 ? slot->n_waits : 20), now = clock_ms();
    slot->n_waits++;
    wait = fmax(wait, retry_after_ms);
    wait = fmin(wait, o->wait_most_ms);
    double most = judge->heard ? o->give_up_ms : o->give_up_ms / 5;
    if (now + wait - slot->since > most) {
        char text[400];
        snprintf(text, sizeof text, "%s; given up after %.0f s", why, (now - slot->since) / 1e3);
        sample_failed(judge, slot, text);
        return;
    }
    slot->state = SLOT_WAITING;
    slot->due = now + wait;
}

/* The beginning of a body for a message, without the key. */
static void body_show(char out[SHOWN_BYTES + 1], const struct judge *judge, struct slot *slot)
{
    slot->reply[slot->n_reply] = '\0';
    blot(judge, slot->reply);
    size_t n = 0;
    for (const char *c = slot->reply; *c && n < SHOWN_BYTES; c++)
        out[n++] = *c < ' ' || *c == 0x7f ? '?' : *c; /* bytes beyond ASCII, too: a cut may split one */
    out[n] = '\0';
}

static enum status on_status(struct judge *judge, struct slot *slot, long code, struct error *err)
{
    char shown[SHOWN_BYTES + 1], why[320];
    body_show(shown, judge, slot);
    snprintf(why, sizeof why, "the judge answered with status %ld: %s", code, shown);
    if (code == 408 || code == 429 || code >= 500) {
        curl_off_t seconds = 0;
        curl_easy_getinfo(slot->curl, CURLINFO_RETRY_AFTER, &seconds);
        slot_wait(judge, slot, seconds > 0 ? (double)seconds * 1e3 : 0, why);
        return OK;
    }
    if (code >= 300 && code < 400)
        return fail(
            err, BAD_INPUT,
            "%s: the judge redirects (status %ld), which is not followed, for the key is for this host "
            "only: name the address it leads to as WINNOW_JUDGE_URL",
            judge->shown, code);
    /* These may be about one sample: a text that is too long, or that a filter refuses. */
    if (code == 400 || code == 413 || code == 422) {
        sample_failed(judge, slot, why);
        return judge->n_failed_in_a_row < FAILED_IN_A_ROW ? OK : fail(err, BAD_INPUT, "%s", why);
    }
    return fail(err, BAD_INPUT, "%s: %s%s", judge->shown, why,
                code == 401 || code == 403 ? "; is WINNOW_JUDGE_KEY right?" : "");
}

static enum status on_finish(struct judge *judge, struct slot *slot, CURLcode code, struct error *err)
{
    long http = 0;
    curl_easy_getinfo(slot->curl, CURLINFO_RESPONSE_CODE, &http);
    curl_multi_remove_handle(judge->multi, slot->curl);
    slot->state = SLOT_WAITING;
    judge->heard = judge->heard || http > 0;
    if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT)
        return fail(err, BAD_INPUT, "%s: %s", judge->shown, curl_easy_strerror(code));
    if (code == CURLE_PEER_FAILED_VERIFICATION)
        return fail(err, BAD_INPUT, "%s: the judge's certificate is not trusted: %s", judge->shown,
                    curl_easy_strerror(code));
    if (code != CURLE_OK && !slot->too_long) {
        char why[200];
        snprintf(why, sizeof why, "the judge cannot be reached: %s", curl_easy_strerror(code));
        slot_wait(judge, slot, 0, why);
        return OK;
    }
    if (http != 200)
        return on_status(judge, slot, http, err);
    json_t *root = NULL;
    const char *content = NULL;
    if (!slot->too_long)
        content = judge_content(&root, slot->reply, slot->n_reply);
    enum status status = OK;
    if (content) {
        slot->n_waits = 0;
        status = reply_keep(judge, slot, content, err);
    } else if (++slot->n_garbage >= attempts_most(judge)) {
        sample_failed(judge, slot,
                      slot->too_long ? "the judge's reply is longer than 1 MiB"
                                     : "the judge's reply is no chat completion");
    } else {
        slot_wait(judge, slot, 0, "the judge's reply is no chat completion");
    }
    json_decref(root);
    return status;
}

/* ---- all of them ---------------------------------------------------------------------------- */

static enum status slot_send(struct judge *judge, struct slot *slot, struct error *err)
{
    if (slot->since <= 0)
        slot->since = clock_ms();
    slot->n_reply = 0;
    slot->too_long = false;
    curl_easy_setopt(slot->curl, CURLOPT_POSTFIELDS, slot->body);
    curl_easy_setopt(slot->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(slot->body));
    if (curl_multi_add_handle(judge->multi, slot->curl) != CURLM_OK)
        return fail(err, NO_MACHINE, "no memory for a request to the judge");
    slot->state = SLOT_FLYING;
    judge->report.n_requests++;
    return OK;
}

/* Gives a free slot the next answers until one needs a request. */
static enum status slot_fill(struct judge *judge, struct slot *slot, struct error *err)
{
    while (slot->state == SLOT_FREE && judge->next_row < judge->dataset->n) {
        int row = judge->next_row++;
        if (!judge->answers->text[row] || judge->answers->verdict[row])
            continue;
        slot->row = row;
        slot->attempt = slot->n_garbage = slot->n_waits = 0;
        slot->since = 0;
        TRY(slot_advance(judge, slot, err));
    }
    return OK;
}

static enum status finished(struct judge *judge, struct error *err)
{
    int n_left;
    for (const CURLMsg *m; (m = curl_multi_info_read(judge->multi, &n_left));) {
        char *slot;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &slot);
        TRY(on_finish(judge, (struct slot *)(void *)slot, m->data.result, err));
    }
    if (judge->n_failed_in_a_row >= FAILED_IN_A_ROW)
        return fail(err, NO_MACHINE, "%s: given up after %d samples in a row without a verdict; %s",
                    judge->shown, judge->n_failed_in_a_row, judge->report.failure);
    return OK;
}

/* Until something is to be done without the network's doing: a slot to fill, or one that is due. */
static double time_left(const struct judge *judge, double now)
{
    double wait = poll_ms;
    for (int i = 0; i < judge->options.n_parallel; i++) {
        const struct slot *slot = &judge->slots[i];
        if (slot->state == SLOT_FREE && judge->next_row < judge->dataset->n)
            return 0;
        if (slot->state == SLOT_WAITING)
            wait = fmin(wait, slot->due - now);
    }
    return fmax(wait, 0);
}

/* One turn: what is due is sent, what has arrived is taken. *busy: there is more to come. */
static enum status turn(bool *busy, struct judge *judge, struct error *err)
{
    double now = clock_ms();
    int n_running;
    *busy = false;
    for (int i = 0; i < judge->options.n_parallel; i++) {
        struct slot *slot = &judge->slots[i];
        TRY(slot_fill(judge, slot, err));
        if (slot->state == SLOT_WAITING && slot->due <= now)
            TRY(slot_send(judge, slot, err));
        *busy = *busy || slot->state != SLOT_FREE;
    }
    if (curl_multi_perform(judge->multi, &n_running) != CURLM_OK)
        return fail(err, NO_MACHINE, "libcurl cannot go on with the requests to the judge");
    TRY(finished(judge, err));
    if (*busy)
        curl_multi_poll(judge->multi, NULL, 0, (int)ceil(time_left(judge, clock_ms())), NULL);
    return OK;
}

enum status judge_answers(struct judge *judge, struct answers *answers, const struct dataset *dataset,
                          struct error *err)
{
    ENSURE(dataset->benchmark->judging != NULL);
    if (!answers->verdict && !(answers->verdict = memory_zero((size_t)dataset->n, sizeof *answers->verdict)))
        return memory_failed(err, "verdicts", (size_t)dataset->n * sizeof *answers->verdict);
    judge->report = (struct judge_report){0};
    judge->n_failed_in_a_row = judge->next_row = judge->n_total = 0;
    judge->dataset = dataset;
    judge->answers = answers;
    judge->model = judge_model(judge, dataset);
    for (int i = 0; i < dataset->n; i++)
        judge->n_total += answers->text[i] && !answers->verdict[i];
    enum status status = OK;
    int n_done = 0;
    for (bool busy = true; busy && status == OK;) {
        if (judge->options.stop && *judge->options.stop)
            status = fail(err, INTERRUPTED, "interrupted; the same command goes on where it stopped");
        else
            status = turn(&busy, judge, err);
        int n_now = judge->report.n_judged + judge->report.n_failed;
        if (judge->options.progress && n_now > n_done)
            judge->options.progress(judge->options.context, n_now, judge->report.n_failed, judge->n_total);
        n_done = n_now;
    }
    for (int i = 0; i < judge->options.n_parallel; i++)
        slot_free(&judge->slots[i], judge);
    return status;
}
