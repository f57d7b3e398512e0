/* A small HTTP server in this process, for tests of clients: it listens on 127.0.0.1, keeps what it was asked, and
 * answers with bytes that the test writes, whole or not. Aborts when it cannot do its own work. */
#ifndef PK_TEST_HARNESS_HTTP_SERVER_H
#define PK_TEST_HARNESS_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_SERVER_ANSWERS_MAX 64

struct http_answer {
    const char *bytes; /* status line, headers and body; NULL closes without a word */
    size_t len;        /* 0: strlen(bytes) */
    int stall_ms;      /* nothing is sent for so long, before the answer */
    bool hang_up;      /* the connection is closed afterwards */
    bool reset;        /* and with a RST */
};
struct http_server;
/* Answers in this order, whatever is asked; the last one answers all that follows. They are borrowed. */
struct http_server *http_server_start(const struct http_answer *answers, size_t n);
int http_server_port(const struct http_server *s);
/* "http://127.0.0.1:<port>", borrowed. */
const char *http_server_url(const struct http_server *s);
/* Request number i from 0, with its body, NUL-terminated; NULL when there were not so many. Valid until the stop. */
const char *http_server_request(struct http_server *s, size_t i, size_t *ret_len);
size_t http_server_connection_of(struct http_server *s,
                                 size_t i); /* that brought request i, in the order of accepting */
size_t http_server_requests(struct http_server *s);
size_t http_server_connections(struct http_server *s);
void http_server_stop(struct http_server *s);

#endif
