/* What a capture cannot hold: a nameless file in the scratch folder, sealed block by block under a key that only this
 * process has, so that nothing readable is left on the disk whatever happens.
 */
#ifndef PK_SURFACE_REDIS_SPILL_H
#define PK_SURFACE_REDIS_SPILL_H

#include "crypto/crypto.h"

#define SPILL_BLOCK (256u << 10)

struct spill {
    int fd;
    struct aead *aead;
    uint64_t blocks; /* written */
    uint8_t *sealed; /* a block on its way */
};
int spill_open(struct spill *s, const char *scratch_dir, struct error *err) PK_CHECK;
void spill_close(struct spill *s); /* safe on {.fd = -1} */

/* A run of bytes, written from its begin to its end before the next one is begun. */
struct spill_run {
    uint64_t first; /* block */
    uint64_t bytes;
};
struct spill_writer {
    struct spill *s;
    struct spill_run run;
    uint8_t *buf;
    size_t used;
};
int spill_begin(struct spill *s, struct spill_writer *w,
                struct error *err) PK_CHECK; /* its buffer stays until spill_drop */
int spill_put(struct spill_writer *w, const void *p, size_t n, struct error *err) PK_CHECK;
int spill_end(struct spill_writer *w, struct spill_run *ret, struct error *err) PK_CHECK;
void spill_drop(struct spill_writer *w);

struct spill_reader {
    struct spill *s;
    struct spill_run run;
    uint64_t at; /* of the run, bytes handed out */
    uint8_t *buf;
    size_t have, used;
};
int spill_read(struct spill *s, struct spill_run run, struct spill_reader *r, struct error *err) PK_CHECK;
/* Up to max bytes where they lie; empty at the end. Valid until the next call. */
int spill_next(struct spill_reader *r, size_t max, struct bytes *ret, struct error *err) PK_CHECK;
void spill_read_end(struct spill_reader *r);              /* safe on zeroed */
void spill_forget(struct spill *s, struct spill_run run); /* gives its room on the disk back, where that can be done */

#endif
