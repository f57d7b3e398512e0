/* Connections begun before they are asked for: to connect takes as long as a request does, and so is over when the next
 * one comes. To a server that closes each after one answer there are always some, to another only after the first
 * answer. For http.c alone. Any thread may call.
 */
#ifndef PK_BASE_HTTP_SPARE_H
#define PK_BASE_HTTP_SPARE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define SPARE_MAX 8
#define SPARE_FIRST 4 /* who has asked once soon asks several things at once */

struct spare_place {
    struct sockaddr_storage to;
    socklen_t len; /* 0: none */
    int type, protocol;
};

struct spares {
    pthread_mutex_t lock;
    bool wanted; /* the last answer closed its connection */
    struct spare_place place; /* of the connection that brought the last answer */
    struct {
        int fd;
        int64_t begun_ns;
    } ready[SPARE_MAX]; /* to that place, the oldest first */
    size_t count;
};
void spares_init(struct spares *s);
void spares_free(struct spares *s);

/* A connection to this place is needed: one that is made, the caller's to close, or -1. Others are begun in its stead.
 * Of a host with several addresses some may lead nowhere: what is ready for another is left as it is. */
int spares_take(struct spares *s, const struct spare_place *at);

/* How an answer left its connection, and where that led; NULL: it was not a new one. */
void spares_answered(struct spares *s, const struct spare_place *at, bool closed);

#endif
