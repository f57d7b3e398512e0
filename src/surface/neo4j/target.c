#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>

static int bad(const char *text, struct error *err) {
    return error_set(err, ERR_USAGE,
                     "the target '%.200s' is none: it is bolt://host:port/database, or the name of a database", text);
}

static int copy_name(char *to, size_t n, const char *from, size_t len, const char *whole, struct error *err) {
    if (len == 0 || len >= n) return bad(whole, err);
    memcpy(to, from, len);
    to[len] = 0;
    return 0;
}

static int server(struct neo4j_target *t, const char *text, struct error *err) {
    const char *at = text + 7, *slash = strchr(at, '/'), *end = slash ? slash : at + strlen(at);
    const char *colon = memchr(at, ':', (size_t)(end - at)), *host_end = colon ? colon : end;
    if (*at == '[') { /* an address of IPv6 */
        const char *close = memchr(at, ']', (size_t)(end - at));
        if (!close) return bad(text, err);
        at++;
        host_end = close;
        colon = close[1] == ':' ? close + 1 : NULL;
    }
    t->port = colon ? (unsigned)strtoul(colon + 1, NULL, 10) : 7687;
    if (t->port < 1 || t->port > 65535) return bad(text, err);
    int r = copy_name(t->host, sizeof t->host, at, (size_t)(host_end - at), text, err);
    if (r == 0 && slash && slash[1])
        r = copy_name(t->database, sizeof t->database, slash + 1, strlen(slash + 1), text, err);
    return r;
}

int neo4j_target_decide(const struct neo4j_settings *s, const struct restore_request *q, struct neo4j_target *ret,
                        struct error *err) {
    struct neo4j_target t = {0};
    int r = 0;
    if (q->include && q->include[0])
        return error_set(err, ERR_USAGE,
                         "an online restore of Neo4j takes all of a snapshot: labels and query of the surface "
                         "choose when it is backed up");
    if (q->swap)
        return error_set(err, ERR_USAGE,
                         "an online restore of Neo4j cannot be swapped in: restore elsewhere, or in place");
    if (q->in_place && q->target) return error_set(err, ERR_USAGE, "a restore in place has no other target");
    if (q->as_scratch)
        snprintf(t.database, sizeof t.database, "neo4j");
    else if (q->in_place)
        t.live = true;
    else if (!q->target || !*q->target)
        r = error_set(err, ERR_USAGE,
                      "an online restore of Neo4j makes no server: name one with --into bolt://host:port/database, "
                      "or say --in-place");
    else if (strncmp(q->target, "bolt://", 7) == 0)
        r = server(&t, q->target, err);
    else if (strpbrk(q->target, ":/"))
        r = bad(q->target, err);
    else
        r = copy_name(t.database, sizeof t.database, q->target, strlen(q->target), q->target, err);
    if (r == 0 && !t.database[0])
        r = copy_name(t.database, sizeof t.database, s->database, strlen(s->database), "", err);
    if (r == 0) *ret = t;
    return r;
}

/* The same database keeps its id for as long as it is not made anew. */
int neo4j_target_guard(const struct neo4j_settings *s, const struct neo4j_target *t, const struct restore_request *q,
                       struct bolt *b, struct error *err) {
    const char *source = json_string_value(json_object_get(q->facts, "database_id"));
    struct neo4j_settings there = *s;
    json_t *facts = json_object();
    if (t->live || q->as_scratch || !source) {
        json_decref(facts);
        return 0;
    }
    there.database = (char *)t->database;
    int r = facts ? neo4j_facts(&there, b, facts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    const char *id = json_string_value(json_object_get(facts, "database_id"));
    if (r == 0 && id && !strcmp(id, source))
        r = error_set(err, ERR_POLICY, "%s: database %s is the live one: only --in-place restores into it",
                      bolt_where(b), t->database);
    json_decref(facts);
    return r;
}
