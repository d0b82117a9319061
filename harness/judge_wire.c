/* What goes over the wire to a judge and comes back, see judge.h: its address, the body of a request with the
 * hash it is known by, the words of a reply. */
#include "harness/judge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/sha256.h"

enum status judge_url(char out[JUDGE_URL_SIZE], const char *url, struct error *err)
{
    static const char path[] = "/chat/completions";
    char shown[PRINTABLE_SIZE];
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : NULL;
    if (!host || host[0] == '\0' || host[0] == '/')
        return fail(err, BAD_INPUT,
                    "the judge's address: expected a base such as http://host:port/v1, found \"%s\"",
                    printable(shown, url));
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '#')
            return fail(err, BAD_INPUT,
                        "the judge's address holds a space, a fragment or a control character");
    if (memchr(host, '@', strcspn(host, "/?")))
        return fail(err, BAD_INPUT,
                    "the judge's address holds a user or password: give a key as "
                    "WINNOW_JUDGE_KEY");
    size_t n = strcspn(url, "?");
    const char *query = url + n;
    while (n > 0 && url[n - 1] == '/')
        n--;
    bool whole = n > sizeof path - 1 && memcmp(url + n - (sizeof path - 1), path, sizeof path - 1) == 0;
    if (snprintf(out, JUDGE_URL_SIZE, "%.*s%s%s", (int)n, url, whole ? "" : path, query) >= JUDGE_URL_SIZE)
        return fail(err, BAD_INPUT, "the judge's address is longer than %d bytes", JUDGE_URL_SIZE);
    return OK;
}

static json_t *message(const char *role, const char *content)
{
    return json_pack("{s: s, s: s}", "role", role, "content", content);
}

enum status judge_body(char **body, char hash[65], const char *model, const struct judge_request *request,
                       int attempt, struct error *err)
{
    json_t *root = json_object(), *messages = json_array();
    int failed = 0;
    if (request->system)
        failed |= json_array_append_new(messages, message("system", request->system));
    failed |= json_array_append_new(messages, message("user", request->user));
    failed |= json_object_set_new(root, "model", json_string(model));
    failed |= json_object_set_new(root, "messages", messages);
    if (!isnan(request->temperature))
        failed |= json_object_set_new(root, "temperature", json_real(request->temperature));
    if (request->max_tokens > 0)
        failed |= json_object_set_new(root, "max_tokens", json_integer(request->max_tokens));
    *body = failed ? NULL : json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    if (attempt > 0)
        json_object_set_new(root, "attempt", json_integer(attempt));
    char *hashed = *body ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    if (!hashed)
        return fail(err, BAD_INPUT, "the model's name or the text for the judge is no UTF-8");
    sha256_hex(hash, hashed, strlen(hashed));
    free(hashed);
    return OK;
}

const char *judge_content(json_t **root, const char *reply, size_t n)
{
    struct error ignored;
    if (json_parse(root, reply, n, "a reply", &ignored) != OK)
        return NULL;
    const json_t *choice = json_array_get(json_object_get(*root, "choices"), 0);
    return json_string_value(json_object_get(json_object_get(choice, "message"), "content"));
}
