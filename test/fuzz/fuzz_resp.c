/* A server's replies, whatever they are: understood within bounds, or an error. */
#include "surface/redis/resp.h"

#include "base/seam.h"
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct resp c = {.fd = -1, .timeout_ms = 1000, .out = BUF_INIT(1 << 20), .line = BUF_INIT(2 * RESP_LINE_MAX)};
    struct buf text = BUF_INIT(1 << 16);
    struct resp_reply h;
    int fds[2], r = 0;
    void *in;
    if (size > 32768 || pipe(fds) < 0) return 0;
    if (write(fds[1], data, size) != (ssize_t)size) abort();
    close(fds[1]);
    c.fd = fds[0];
    if (mem_alloc(64u << 10, &in, &err) < 0) abort();
    c.in = in;
    while (r == 0) {
        buf_clear(&text);
        r = resp_next(&c, &h, &err);
        if (r == 0 && h.kind == RESP_BULK)
            r = resp_bulk(&c, &h, &text, &err);
        else if (r == 0)
            r = resp_skip(&c, &h, &err);
    }
    if (err.code == ERR_NONE) abort();
    buf_free(&text);
    resp_close(&c);
    return 0;
}
