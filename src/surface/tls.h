/* TLS over a stream socket, for one connection and one thread. */
#ifndef PK_SURFACE_TLS_H
#define PK_SURFACE_TLS_H

#include "base/error.h"

struct tls;
/* Shakes hands on fd, which stays the caller's. The server's certificate must be signed by an authority in the file ca
 * (NULL: the system's) and be for `name`. ERR_NET_TLS. */
int tls_open(int fd, const char *name, const char *ca, int timeout_ms, struct tls **ret, struct error *err) PK_CHECK;
int tls_recv(struct tls *t, void *p, size_t n, size_t *ret_n, struct error *err) PK_CHECK; /* as net_recv */
int tls_send(struct tls *t, const void *p, size_t n, struct error *err) PK_CHECK;          /* as net_send */
void tls_free(struct tls *t);                                                              /* NULL is fine */

#endif
