#include "surface/redis/spill.h"

#include "base/seam.h"

#define STORED (SPILL_BLOCK + AEAD_TAG_BYTES)

int spill_open(struct spill *s, const char *scratch_dir, struct error *err) {
    uint8_t key[KEY_BYTES];
    void *sealed;
    int r = mem_alloc(STORED, &sealed, err);
    if (r < 0) return r;
    s->sealed = sealed;
    r = random_bytes(key, sizeof key, err);
    if (r == 0) r = aead_new(cipher_best(), BYTES_OF(key, sizeof key), &s->aead, err);
    wipe(key, sizeof key);
    if (r == 0 && !scratch_dir) r = error_set(err, ERR_INTERNAL, "redis: no scratch folder was given");
    if (r == 0) r = io_nameless(scratch_dir, &s->fd, err);
    if (r < 0) spill_close(s);
    return r;
}

void spill_close(struct spill *s) {
    if (s->fd >= 0) io_close(&s->fd);
    aead_free(s->aead);
    seam_free(s->sealed);
    *s = (struct spill){.fd = -1};
}

int spill_begin(struct spill *s, struct spill_writer *w, struct error *err) {
    void *buf = w->buf;
    int r = buf ? 0 : mem_alloc(SPILL_BLOCK, &buf, err);
    if (r == 0) *w = (struct spill_writer){.s = s, .run = {s->blocks, 0}, .buf = buf};
    return r;
}

static void nonce_of(uint64_t block, uint8_t out[AEAD_NONCE_BYTES]) {
    memset(out, 0, AEAD_NONCE_BYTES);
    put_u64(out, block);
}

/* A block is always whole, so that its place is its number. */
static int flush(struct spill_writer *w, struct error *err) {
    uint8_t nonce[AEAD_NONCE_BYTES];
    if (w->used == 0) return 0;
    memset(w->buf + w->used, 0, SPILL_BLOCK - w->used);
    nonce_of(w->s->blocks, nonce);
    int r = aead_seal(w->s->aead, nonce, BYTES_OF(NULL, 0), BYTES_OF(w->buf, SPILL_BLOCK), w->s->sealed, err);
    if (r == 0) r = io_pwrite_full(w->s->fd, w->s->sealed, STORED, w->s->blocks * STORED, "the scratch folder", err);
    if (r < 0) return r;
    w->s->blocks++;
    w->used = 0;
    return 0;
}

int spill_put(struct spill_writer *w, const void *p, size_t n, struct error *err) {
    const uint8_t *from = p;
    w->run.bytes += n;
    while (n) {
        size_t room = SPILL_BLOCK - w->used, part = n < room ? n : room;
        memcpy(w->buf + w->used, from, part);
        w->used += part;
        from += part;
        n -= part;
        int r = w->used == SPILL_BLOCK ? flush(w, err) : 0;
        if (r < 0) return r;
    }
    return 0;
}

int spill_end(struct spill_writer *w, struct spill_run *ret, struct error *err) {
    int r = flush(w, err);
    if (r == 0) *ret = w->run;
    return r;
}

void spill_drop(struct spill_writer *w) {
    seam_free(w->buf);
    w->buf = NULL;
}

int spill_read(struct spill *s, struct spill_run run, struct spill_reader *r, struct error *err) {
    void *buf;
    *r = (struct spill_reader){.s = s, .run = run};
    int rc = mem_alloc(STORED, &buf, err);
    if (rc == 0) r->buf = buf;
    return rc;
}

int spill_next(struct spill_reader *r, size_t max, struct bytes *ret, struct error *err) {
    *ret = BYTES_OF(NULL, 0);
    if (r->at == r->run.bytes) return 0;
    if (r->used == r->have) {
        uint64_t block = r->run.first + r->at / SPILL_BLOCK, left = r->run.bytes - r->at;
        uint8_t nonce[AEAD_NONCE_BYTES];
        size_t n = 0;
        nonce_of(block, nonce);
        int rc = io_pread_full(r->s->fd, r->buf, STORED, block * STORED, &n, "the scratch folder", err);
        if (rc == 0 && n != STORED) rc = error_set(err, ERR_IO_READ, "the file in the scratch folder has shrunk");
        if (rc == 0) rc = aead_open(r->s->aead, nonce, BYTES_OF(NULL, 0), BYTES_OF(r->buf, STORED), r->buf, err);
        if (rc < 0) return error_wrap(err, "the scratch folder");
        r->have = left < SPILL_BLOCK ? (size_t)left : SPILL_BLOCK;
        r->used = 0;
    }
    size_t n = r->have - r->used < max ? r->have - r->used : max;
    *ret = BYTES_OF(r->buf + r->used, n);
    r->used += n;
    r->at += n;
    return 0;
}

void spill_read_end(struct spill_reader *r) {
    seam_free(r->buf);
    *r = (struct spill_reader){0};
}

void spill_forget(struct spill *s, struct spill_run run) {
    uint64_t blocks = (run.bytes + SPILL_BLOCK - 1) / SPILL_BLOCK;
    if (blocks == 0) return;
    (void)!seam_fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(run.first * STORED),
                          (off_t)(blocks * STORED)); /* a wish: without it the file is only larger */
}
