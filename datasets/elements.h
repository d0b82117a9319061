/* A JSON document whose long list, or whose own members, are handed out one at a time: the official files of
 * VQAv2 hold up to 18 million values, far more than a tree of them should, and a tree of GQA's costs more to
 * build and take down than everything else that scoring does.
 *
 *     TRY(elements_open(&elements, path, "VQAv2's file", "questions", &sha, err)); // {…, "questions": […],
 * …} while ((status = elements_next(&element, &elements, err)) == OK && element) { … json_decref(element); }
 *     elements_close(&elements);
 *
 * Every byte is judged as strictly as in one tree, but later: that a document breaks off behind its first
 * entries, or says one id twice, is known only when elements_next has given NULL.
 */
#ifndef WINNOW_ELEMENTS_H
#define WINNOW_ELEMENTS_H

#include <jansson.h>
#include <stddef.h>

#include "core/error.h"
#include "core/sha256.h"
#include "datasets/rows.h"

struct elements {
    char *bytes;
    size_t n_bytes, at;
    const char *path, *key;
    int index;        /* of the element handed out last, from 0 */
    json_t *document; /* a list: what stands around it, KEY an empty list. Members: NULL */
    const char *name; /* of the member handed out last, valid until the next one; a list's elements: NULL */
    char place[PLACE_SIZE]; /* "FILE: \"KEY\": entry N" or "FILE: \"NAME\"" of it, for messages */
    /* Members only. */
    json_t *member;         /* {name: value} of the one handed out last */
    struct text_pool *pool; /* holds all names so far */
    struct id_entry *names;
    size_t n_names, capacity;
};

/* key: of the list of objects; NULL: the document's own members, each of which must be an object. what: the
 * file for messages, "VQAv2's file". path and key must outlive the elements. After an error there is nothing
 * to close. */
enum status elements_open(struct elements *out, const char *path, const char *what, const char *key,
                          struct sha256 *sha, struct error *err);
/* *element is NULL after the last one; else an object, the caller's to json_decref. */
enum status elements_next(json_t **element, struct elements *elements, struct error *err);
void elements_close(struct elements *elements);

#endif
