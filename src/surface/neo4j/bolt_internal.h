/* A Bolt connection's bytes and messages. */
#ifndef PK_SURFACE_NEO4J_BOLT_INTERNAL_H
#define PK_SURFACE_NEO4J_BOLT_INTERNAL_H

#include "surface/neo4j/bolt.h"

#define BOLT_IN_BYTES (256u << 10)

struct tls;
struct bolt {
    int fd, timeout_ms, patience_ms;
    struct tls *tls;
    unsigned minor;
    bool broken; /* nothing more can be said over it */
    uint8_t *in;
    size_t at, end;
    struct buf long_message; /* one that is not whole in `in` */
    struct buf out;          /* requests that are not sent yet, in chunks */
    struct buf request;      /* the one that is being packed */
    char where[300], agent[64];
};

/* ---- bolt_wire.c ---- */
int bolt_connect(struct bolt *b, const struct bolt_server *s, struct error *err) PK_CHECK; /* with the handshake */
void bolt_disconnect(struct bolt *b);
int bolt_put(struct bolt *b, struct error *err) PK_CHECK; /* `request` is whole: into chunks */
/* The next message without its chunks; until the next one. Keep-alives are passed over. */
int bolt_take(struct bolt *b, struct bytes *ret, struct error *err) PK_CHECK;

#endif
