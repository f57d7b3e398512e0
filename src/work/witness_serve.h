/* A witness that is asked over HTTP: C2SP tlog-witness, "add-checkpoint". It vouches that a log only grew, by the proof that
 * comes with the request; that its entries and tiles are what they should be only witness_look sees.
 *
 * Invariants
 *  1. Signatures count of the log's own key, and of keys that the log's entries, read from the repository, have in force.
 *  2. What was vouched for is durable before it is told, and one request is judged at a time. */
#ifndef PK_WORK_WITNESS_SERVE_H
#define PK_WORK_WITNESS_SERVE_H

#include "work/witness.h"

struct witness_answer {
    int status;        /* of HTTP */
    const char *type;  /* content type; static */
    struct buf body;   /* owned: buf_free, also after a failure */
    uint64_t size;     /* that was vouched for, with 200 */
    char why[300];     /* of a refusal, for whoever runs the witness */
};
/* Judge the body of one request. 0 whatever the answer is; an error when the witness itself could not do its work, which is 500
 * for the client. */
int witness_add_checkpoint(struct witness *w, struct bytes request, struct witness_answer *ret, struct error *err) PK_CHECK;

struct witness_server;
struct witness_events {
    void *ctx;
    /* After each request, from the server's thread. */
    void (*answered)(void *ctx, const struct witness_answer *a, const char *from);
};
/* `listen` is HOST:PORT or PORT, the host a number and 127.0.0.1 when there is none; port 0 takes a free one. `w` is the
 * server's until witness_server_stop. ERR_USAGE, ERR_NET_LISTEN. */
int witness_server_start(struct witness *w, const char *listen, const struct witness_events *e, struct witness_server **ret, struct error *err) PK_CHECK;
/* "http://127.0.0.1:8080" */
const char *witness_server_url(const struct witness_server *s);
bool witness_server_is_open(const struct witness_server *s); /* others than this host can reach it */
void witness_server_stop(struct witness_server *s); /* NULL is fine; ends after the request that is being judged */

#endif
