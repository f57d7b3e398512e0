#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"
#include <stdio.h>

int neo4j_connect(const struct neo4j_settings *s, const char *host, unsigned port, struct bolt **ret,
                  struct error *err) {
    struct bolt_server server = {.host = host ? host : s->host,
                                 .port = host ? port : s->port,
                                 .user = s->password && !s->user ? "neo4j" : s->user,
                                 .password = s->password ? secret_bytes(s->password) : BYTES_OF(NULL, 0),
                                 .tls = s->tls,
                                 .ca = s->ca,
                                 .timeout_ms = s->timeout_ms,
                                 .patience_ms = 3 * s->timeout_ms};
    return bolt_open(&server, ret, err);
}

/* The first row of a query, its fields as JSON texts and numbers under the names that are given. A server that does not
 * know the query, or does not let us ask, gives nothing. */
static int ask(struct bolt *b, const char *database, const char *query, struct bytes params, const char *const *names,
               json_t *facts, struct error *err) {
    struct error what = ERROR_INIT;
    struct bolt_rows q;
    struct ps_in in;
    struct ps_value v;
    uint32_t n = 0;
    bool end = false, first = true;
    int r = bolt_query(b, database, BOLT_READ, query, params, 100, &q, &what);
    while (r == 0 && !end) {
        r = bolt_row(&q, &in, &n, &end, &what);
        if (r < 0 || end) break;
        for (uint32_t i = 0; r == 0 && first && i < n && names[i]; i++) {
            r = ps_next(&in, &v, &what);
            if (r == 0 && v.kind == PACK_TEXT) r = json_put(facts, names[i], json_name(v.text), err);
            if (r == 0 && v.kind == PACK_INT) r = json_put_int(facts, names[i], v.number, err);
        }
        first = false;
    }
    if (r == 0 || err->code != ERR_NONE) return r;
    if (what.code == ERR_NEO4J_REPLY || what.code == ERR_NEO4J_DENIED) return bolt_reset(b, err);
    *err = what;
    return r;
}

int neo4j_facts(const struct neo4j_settings *s, struct bolt *b, json_t *facts, struct error *err) {
    static const char *const kernel[] = {"neo4j_version", "edition", NULL};
    static const char *const database[] = {"database_status", "store_format", NULL};
    static const char *const id[] = {"database_id", NULL};
    CLEANUP(buf_free) struct buf params = BUF_INIT(4096);
    char version[16];
    int64_t n = 0;
    snprintf(version, sizeof version, "5.%u", bolt_minor(b));
    int r = json_put_str(facts, "bolt_version", version, err);
    if (r == 0) r = json_put_str(facts, "server", bolt_agent(b), err);
    if (r == 0) r = json_put_str(facts, "database", s->database, err);
    if (r == 0) r = ps_put_map(&params, 1, err);
    if (r == 0) r = ps_put_str(&params, "name", err);
    if (r == 0) r = ps_put_str(&params, s->database, err);
    if (r == 0)
        r = ask(b, s->database,
                "CALL dbms.components() YIELD name, versions, edition WHERE name = 'Neo4j Kernel' RETURN versions[0], "
                "edition",
                BYTES_OF(NULL, 0), kernel, facts, err);
    if (r == 0)
        r = ask(b, "system",
                "SHOW DATABASES YIELD name, currentStatus, store WHERE name = $name RETURN currentStatus, store",
                buf_bytes(&params), database, facts, err);
    if (r == 0) r = ask(b, s->database, "CALL db.info() YIELD id RETURN id", BYTES_OF(NULL, 0), id, facts, err);
    if (r == 0) r = bolt_number(b, s->database, BOLT_READ, "MATCH (n) RETURN count(n)", BYTES_OF(NULL, 0), &n, err);
    if (r == 0) r = json_put_int(facts, "nodes", n, err);
    if (r == 0)
        r = bolt_number(b, s->database, BOLT_READ, "MATCH ()-[r]->() RETURN count(r)", BYTES_OF(NULL, 0), &n, err);
    return r == 0 ? json_put_int(facts, "relationships", n, err) : r;
}
