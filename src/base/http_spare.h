/* Connections begun before they are asked for, to a server that closes each after one answer: to connect takes as long as a
 * request does, and so is over when the next one comes. For http.c alone. Any thread may call.
 */
#ifndef PK_BASE_HTTP_SPARE_H
#define PK_BASE_HTTP_SPARE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define SPARE_MAX 4

struct spares {
    pthread_mutex_t lock;
    bool wanted; /* the last answer closed its connection */
    struct {
        struct sockaddr_storage to;
        socklen_t len;
        int type, protocol;
    } place; /* of the last connection */
    struct {
        int fd;
        int64_t begun_ns;
    } ready[SPARE_MAX]; /* to that place, the oldest first */
    size_t count;
};
void spares_init(struct spares *s);
void spares_free(struct spares *s);

/* A connection to this place is needed: one that is made, the caller's to close, or -1. Others are begun in its stead. */
int spares_take(struct spares *s, const struct sockaddr *to, socklen_t len, int type, int protocol);

/* How an answer left its connection. */
void spares_answered(struct spares *s, bool closed);

#endif
