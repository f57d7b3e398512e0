/* Stream sockets: TCP by name or address, and unix sockets. Descriptors do not block; whoever waits, waits here, and a
 * stop (stop_check) ends every wait within half a second.
 */
#ifndef PK_BASE_NET_H
#define PK_BASE_NET_H

#include "base/error.h"
#include <stdint.h>

/* Connects to host and port, or to a unix socket when host begins with '/'. The descriptor is the caller's (io_close).
 * ERR_NET_DNS, ERR_NET_REFUSED (the last address's reason), ERR_NET_STALL. */
int net_connect(const char *host, unsigned port, int timeout_ms, int *ret_fd, struct error *err) PK_CHECK;
/* At least one byte, at most n; *ret_n is 0 at the stream's end. ERR_NET_STALL when nothing came for so long. */
int net_recv(int fd, void *p, size_t n, int timeout_ms, size_t *ret_n, struct error *err) PK_CHECK;
/* All of it. ERR_NET_BROKEN when the other side has gone, ERR_NET_STALL when nothing moved for so long. */
int net_send(int fd, const void *p, size_t n, int timeout_ms, struct error *err) PK_CHECK;

#endif
