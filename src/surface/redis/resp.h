/* The Redis protocol, versions 2 and 3, from a client's side: commands out, replies in, within bounds. One thread.
 *
 * A password is sent and never kept in a message. What a reply may hold is bounded by its reader: a long one is read in
 * pieces.
 */
#ifndef PK_SURFACE_REDIS_RESP_H
#define PK_SURFACE_REDIS_RESP_H

#include "base/bytes.h"
#include "base/error.h"
#include <stdarg.h>

#define RESP_LINE_MAX (64u << 10)
#define RESP_DEPTH_MAX 8

struct tls;
struct resp {
    int fd, timeout_ms;
    struct tls *tls;
    bool broken; /* nothing more can be sent or read */
    uint8_t *in;
    size_t at, end;
    struct buf out; /* commands that are not sent yet */
    struct buf line;
    char where[300]; /* "host port N", for messages */
};
struct resp_server {  /* borrowed */
    const char *host; /* a path: a unix socket */
    unsigned port;
    const char *user;      /* may be NULL */
    struct bytes password; /* empty: none */
    bool tls;
    const char *ca;
    int timeout_ms;
};
int resp_open(const struct resp_server *s, struct resp *ret, struct error *err) PK_CHECK; /* connected and logged in */
void resp_close(struct resp *c);                                                          /* safe on {.fd = -1} */

/* Appends a command; nothing is sent before resp_flush, but for what no longer fits 1 MiB. */
int resp_command(struct resp *c, size_t n, const struct bytes *args, struct error *err) PK_CHECK;
int resp_words(struct resp *c, struct error *err, const char *first, ...) PK_CHECK __attribute__((sentinel));
int resp_raw(struct resp *c, struct bytes more, struct error *err) PK_CHECK; /* part of a command */
int resp_flush(struct resp *c, struct error *err) PK_CHECK;

enum resp_kind { RESP_STATUS, RESP_ERROR, RESP_INTEGER, RESP_BULK, RESP_LIST, RESP_NIL };
struct resp_reply {
    enum resp_kind kind;
    struct bytes text; /* of a status or an error; until the next read */
    int64_t number;    /* of an integer; the length of a bulk or a list */
};
/* The head of the next reply: a bulk's content, or a list's members, are read next. Attributes are skipped, pushed
 * messages too. ERR_REDIS_PROTOCOL, ERR_NET_BROKEN when the server has gone. */
int resp_next(struct resp *c, struct resp_reply *ret, struct error *err) PK_CHECK;
/* Up to n bytes of a bulk's content. */
int resp_part(struct resp *c, void *p, size_t n, size_t *ret_n, struct error *err) PK_CHECK;
int resp_bulk_end(struct resp *c, struct error *err) PK_CHECK; /* the line end after it */
/* The content of a bulk whose head was read, with its end. */
int resp_bulk(struct resp *c, const struct resp_reply *head, struct buf *out, struct error *err) PK_CHECK;
int resp_skip(struct resp *c, const struct resp_reply *head, struct error *err) PK_CHECK;
/* A line that is no reply, without its end: keep-alive newlines before it are passed over. */
int resp_line(struct resp *c, struct bytes *ret, struct error *err) PK_CHECK;
/* Bytes as they come, 0 at the end: what follows a synchronisation. */
int resp_stream(struct resp *c, void *p, size_t n, size_t *ret_n, struct error *err) PK_CHECK;

/* Flush, and take one reply: a text (bulk or status) into out, an integer as text; nil gives nothing. An error reply is
 * resp_refused's. */
int resp_ask(struct resp *c, struct buf *out, struct error *err, const char *first, ...) PK_CHECK
    __attribute__((sentinel));
/* The error for an error reply to `command`: ERR_REDIS_AUTH, ERR_REDIS_DENIED, ERR_REDIS_NOT_READY, ERR_REDIS_REPLY. */
int resp_refused(const struct resp *c, struct bytes text, const char *command, struct error *err);

#endif
