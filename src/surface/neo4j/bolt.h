/* Bolt 5.0 to 5.8 from a client's side: one connection to one server, no routing. One thread.
 *
 * Requests are gathered and sent by bolt_flush, or by whatever waits for an answer; answers come in the order of the
 * requests. After a failure the server ignores what was sent already: the connection is then good for bolt_reset and
 * bolt_close only. A password is sent and wiped. See Neo4j's Bolt manual.
 */
#ifndef PK_SURFACE_NEO4J_BOLT_H
#define PK_SURFACE_NEO4J_BOLT_H

#include "base/bytes.h"
#include "base/error.h"
#include "surface/neo4j/packstream.h"

#define BOLT_MESSAGE_MAX (64u << 20) /* a message of the server, and so a node or relationship */

struct bolt;
struct bolt_server { /* borrowed */
    const char *host;
    unsigned port;
    const char *user; /* NULL: no login */
    struct bytes password;
    bool tls;
    const char *ca;  /* NULL: the system's */
    int timeout_ms;  /* of connecting */
    int patience_ms; /* with an answer; a server that works on one shows life every minute */
};
/* Connected, a version agreed on, logged in. ERR_NET_*, ERR_NEO4J_AUTH, ERR_NEO4J_PROTOCOL when it is no Bolt server of
 * these versions. */
int bolt_open(const struct bolt_server *s, struct bolt **ret, struct error *err) PK_CHECK;
void bolt_close(struct bolt *b); /* says goodbye where it can; NULL is fine */
void bolt_closep(struct bolt **b);
const char *bolt_where(const struct bolt *b); /* "host port N" */
const char *bolt_agent(const struct bolt *b); /* "Neo4j/5.26.0" */
unsigned bolt_minor(const struct bolt *b);    /* of version 5 */

/* ---- requests, gathered ---- */
enum bolt_access { BOLT_READ, BOLT_WRITE };
/* database NULL: that of the transaction, or the user's own. params: a packed map; empty: none. */
int bolt_put_run(struct bolt *b, const char *database, enum bolt_access a, struct bytes query, struct bytes params,
                 struct error *err) PK_CHECK;
int bolt_put_begin(struct bolt *b, const char *database, enum bolt_access a, struct error *err) PK_CHECK;
int bolt_put_commit(struct bolt *b, struct error *err) PK_CHECK;
int bolt_put_pull(struct bolt *b, int64_t n, struct error *err) PK_CHECK; /* -1: all */
int bolt_put_discard(struct bolt *b, struct error *err) PK_CHECK;         /* all */
int bolt_flush(struct bolt *b, struct error *err) PK_CHECK;

/* ---- answers ---- */
enum bolt_kind { BOLT_SUCCESS = 0x70, BOLT_RECORD = 0x71, BOLT_IGNORED = 0x7E, BOLT_FAILURE = 0x7F };
struct bolt_message {
    enum bolt_kind kind;
    struct bytes body; /* its one field, packed: a list of a record, a map of the others; until the next answer */
};
int bolt_next(struct bolt *b, struct bolt_message *ret, struct error *err) PK_CHECK;
/* The next answer, which must be a success; *ret_meta may be NULL. A failure is bolt_refused's. */
int bolt_success(struct bolt *b, struct bytes *ret_meta, struct error *err) PK_CHECK;
/* The error for a failure: ERR_NEO4J_AUTH, ERR_NEO4J_DENIED, ERR_NEO4J_DATABASE, ERR_NEO4J_BUSY (worth another try),
 * ERR_NEO4J_REPLY; its text has the server's code and words. */
int bolt_refused(const struct bolt *b, struct bytes body, struct error *err);
/* Makes the connection usable again after a failure; a transaction that was open is rolled back. */
int bolt_reset(struct bolt *b, struct error *err) PK_CHECK;

/* ---- a query and its rows, a transaction of its own ---- */
struct bolt_rows {
    struct bolt *b;
    int64_t fetch;
    bool end;
    char bookmark[256]; /* at the end: names the newest transaction that the query could see; "" when not told */
};
/* Rows come in groups of `fetch`: the server holds the rest back until they are taken. */
int bolt_query(struct bolt *b, const char *database, enum bolt_access a, const char *query, struct bytes params,
               int64_t fetch, struct bolt_rows *ret, struct error *err) PK_CHECK;
/* The fields of the next row, *ret_n of them, until the next call. */
int bolt_row(struct bolt_rows *q, struct ps_in *ret, uint32_t *ret_n, bool *ret_end, struct error *err) PK_CHECK;
/* A query whose rows do not matter. */
int bolt_do(struct bolt *b, const char *database, const char *query, struct bytes params, struct error *err) PK_CHECK;
/* A query that gives one row with one number. */
int bolt_number(struct bolt *b, const char *database, enum bolt_access a, const char *query, struct bytes params,
                int64_t *ret, struct error *err) PK_CHECK;

#endif
