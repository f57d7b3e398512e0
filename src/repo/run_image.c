/* Image: header (one block), packs, entries, fan-out and filter, checksums; each but the last begins at a block. A
 * rotten cache must never say "known". */
#include "repo/run_image.h"
#include <stdatomic.h>
#include <sys/mman.h>

#define MAGIC "PKRUNC02"
#define PACKS_AT IMAGE_BLOCK
#define CHECK_BYTES 8u
#define BLOOM_LINE 64u /* bytes: one cache line an entry, 8 bits of it */
#define BITS_MAX 20u

static uint64_t block_up(uint64_t n) {
    return (n + IMAGE_BLOCK - 1) / IMAGE_BLOCK * IMAGE_BLOCK;
}

static bool layout(struct run *x) {
    if (x->bits > BITS_MAX || x->entry_count > UINT32_MAX || !x->bloom_lines || x->bloom_lines > UINT32_MAX)
        return false;
    x->entries_at = block_up(PACKS_AT + (uint64_t)x->pack_count * RUN_PACK_BYTES);
    x->fan_at = block_up(x->entries_at + x->entry_count * RUN_ENTRY_BYTES);
    x->bloom_at = (x->fan_at + ((uint64_t)1 << x->bits) * 4 + 4 + BLOOM_LINE - 1) / BLOOM_LINE * BLOOM_LINE;
    x->checks_at = block_up(x->bloom_at + x->bloom_lines * BLOOM_LINE);
    return true;
}

static uint64_t image_bytes(const struct run *x) {
    return x->checks_at + x->checks_at / IMAGE_BLOCK * CHECK_BYTES;
}

static void block_check(const uint8_t *block, uint8_t ret[CHECK_BYTES]) {
    struct digest d;
    sha256(BYTES_OF(block, IMAGE_BLOCK), &d);
    memcpy(ret, d.b, CHECK_BYTES);
}

/* Of the header and the checksums: the one digest that all others hang from. */
static int head_digest(const uint8_t *header, const uint8_t *checks, size_t n, struct digest *ret, struct error *err) {
    struct sha256_state *s = NULL;
    int rc = sha256_new(&s, err);
    if (rc < 0) return rc;
    sha256_update(s, BYTES_OF(header, 64));
    sha256_update(s, BYTES_OF(checks, n));
    sha256_finish(s, ret);
    sha256_free(s);
    return 0;
}

static uint32_t slot_of(const struct run *x, const uint8_t *id) {
    uint32_t top = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
    return x->bits ? top >> (32 - x->bits) : 0;
}

static unsigned bloom_bit(const uint8_t *id, unsigned k) {
    return (id[12 + k] | (unsigned)(id[k] & 1) << 8) & 511;
}

int run_image_build(const uint8_t *body, uint64_t entries, uint32_t packs, uint8_t **ret, size_t *ret_len,
                    struct error *err) {
    struct run x = {.pack_count = packs, .entry_count = entries, .bloom_lines = entries * 10 / 8 / BLOOM_LINE + 1};
    while (x.bits < BITS_MAX && (UINT64_C(16) << x.bits) < entries) x.bits++;
    if (!layout(&x)) return error_set(err, ERR_OBJECT_CORRUPT, "an index run has more entries than there can be");
    void *mem;
    int rc = mem_alloc(image_bytes(&x), &mem, err);
    if (rc < 0) return rc;
    uint8_t *p = mem;
    memcpy(p, MAGIC, 8);
    p[8] = (uint8_t)x.bits;
    put_u32(p + 12, packs);
    put_u64(p + 16, entries);
    put_u64(p + 24, x.bloom_lines);
    memcpy(p + PACKS_AT, body, (size_t)packs * RUN_PACK_BYTES);
    memcpy(p + x.entries_at, body + (size_t)packs * RUN_PACK_BYTES, entries * RUN_ENTRY_BYTES);
    uint32_t next = 0;
    for (uint64_t i = 0; i < entries; i++) {
        const uint8_t *e = p + x.entries_at + i * RUN_ENTRY_BYTES;
        while (next <= slot_of(&x, e)) put_u32(p + x.fan_at + 4u * next++, (uint32_t)i);
        uint8_t *line = p + x.bloom_at + get_u64(e + 4) % x.bloom_lines * BLOOM_LINE;
        for (unsigned k = 0; k < 4; k++) line[bloom_bit(e, k) >> 3] |= (uint8_t)(1u << (bloom_bit(e, k) & 7));
    }
    while (next <= (1u << x.bits)) put_u32(p + x.fan_at + 4u * next++, (uint32_t)entries);
    const uint64_t blocks = x.checks_at / IMAGE_BLOCK;
    for (uint64_t b = 1; b < blocks; b++) block_check(p + b * IMAGE_BLOCK, p + x.checks_at + b * CHECK_BYTES);
    struct digest d;
    if ((rc = head_digest(p, p + x.checks_at, blocks * CHECK_BYTES, &d, err)) < 0) {
        seam_free(mem);
        return rc;
    }
    memcpy(p + 64, d.b, DIGEST_BYTES);
    *ret = p;
    *ret_len = image_bytes(&x);
    return 0;
}

static bool header_read(struct run *x, const uint8_t *p, uint64_t len) {
    if (memcmp(p, MAGIC, 8) != 0) return false;
    x->bits = p[8];
    x->pack_count = get_u32(p + 12);
    x->entry_count = get_u64(p + 16);
    x->bloom_lines = get_u64(p + 24);
    return layout(x) && image_bytes(x) == len;
}

int run_image_adopt(uint8_t *image, size_t len, struct run *ret, struct error *err) {
    struct run x = {.fd = -1};
    if (len < IMAGE_BLOCK || !header_read(&x, image, len))
        return error_set(err, ERR_INTERNAL, "an index image does not check");
    x.mem = image;
    x.look = image + x.fan_at;
    *ret = x;
    return 0;
}

int run_image_open(const char *path, struct run *ret, struct error *err) {
    struct run x = {.fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)};
    uint8_t header[96];
    struct error e = ERROR_INIT;
    struct stat st;
    struct digest d;
    size_t got;
    void *mem;
    int rc = 0;
    if (x.fd < 0) return 0;
    if (seam_fstat(x.fd, &st) < 0 || io_pread_full(x.fd, header, sizeof header, 0, &got, path, &e) < 0 ||
        got != sizeof header || !header_read(&x, header, (uint64_t)st.st_size))
        goto none;
    const uint64_t blocks = x.checks_at / IMAGE_BLOCK, n = blocks * CHECK_BYTES;
    if ((rc = mem_alloc(n, &mem, err)) < 0) goto none;
    x.checks = mem;
    if (io_pread_full(x.fd, x.checks, n, x.checks_at, &got, path, &e) < 0 || got != n) goto none;
    if ((rc = head_digest(header, x.checks, n, &d, err)) < 0) goto none;
    if (memcmp(d.b, header + 64, DIGEST_BYTES) != 0) goto none;
    void *m = seam_mmap(x.checks_at - x.fan_at, PROT_READ, MAP_SHARED, x.fd, (off_t)x.fan_at);
    if (m == MAP_FAILED) {
        rc = error_set_errno(err, ERR_IO_READ, "mapping %s", path);
        goto none;
    }
    x.look = m;
    *ret = x;
    return 1;
none:
    run_image_close(&x);
    return rc;
}

static size_t _Atomic hot_bytes; /* of all runs */

void run_image_close(struct run *x) {
    if (x->mem)
        seam_free(x->mem);
    else if (x->look)
        seam_munmap(x->look, x->checks_at - x->fan_at);
    seam_free(x->checks);
    if (x->hot) {
        seam_free(x->hot);
        atomic_fetch_sub(&hot_bytes, x->fan_at - PACKS_AT);
    }
    io_close(&x->fd);
    x->mem = x->look = x->checks = NULL;
    x->hot = NULL;
}

/* Checked as a whole when it is first asked: a test of one flag is all that later look-ups pay. Threads may check at
 * once. */
static bool look_good(struct run *x) {
    if (x->mem || __atomic_load_n(&x->looked, __ATOMIC_ACQUIRE)) return true;
    for (uint64_t b = x->fan_at / IMAGE_BLOCK; b < x->checks_at / IMAGE_BLOCK; b++) {
        uint8_t check[CHECK_BYTES];
        block_check(x->look + (b * IMAGE_BLOCK - x->fan_at), check);
        if (memcmp(check, x->checks + b * CHECK_BYTES, CHECK_BYTES) != 0) return false;
    }
    __atomic_store_n(&x->looked, true, __ATOMIC_RELEASE);
    return true;
}

struct block {
    uint64_t number; /* 0: none yet, as that is the header */
    uint8_t bytes[IMAGE_BLOCK];
};

static const uint8_t *block_read(const struct run *x, uint64_t number, struct block *b) {
    struct error e = ERROR_INIT;
    uint8_t check[CHECK_BYTES];
    size_t got;
    if (x->mem) return x->mem + number * IMAGE_BLOCK;
    if (b->number == number) return b->bytes;
    b->number = 0;
    if (io_pread_full(x->fd, b->bytes, IMAGE_BLOCK, number * IMAGE_BLOCK, &got, "an index run", &e) < 0 ||
        got != IMAGE_BLOCK)
        return NULL;
    block_check(b->bytes, check);
    if (memcmp(check, x->checks + number * CHECK_BYTES, CHECK_BYTES) != 0) return NULL;
    b->number = number;
    return b->bytes;
}

/* Look-ups come in the order of ids, which is none: a run that is asked often would have each of its blocks read and
 * hashed again and again. Nothing fails for want of it. */
static void warm(struct run *x) {
    const uint64_t len = x->fan_at - PACKS_AT, first = PACKS_AT / IMAGE_BLOCK;
    if (atomic_fetch_add(&x->asked, 1) != len / IMAGE_BLOCK) return; /* one thread, once */
    struct error e = ERROR_INIT;
    size_t got;
    void *mem;
    if (atomic_fetch_add(&hot_bytes, len) + len > RUN_IMAGE_HOT_BYTES || mem_alloc(len, &mem, &e) < 0) goto no;
    bool good = io_pread_full(x->fd, mem, len, PACKS_AT, &got, "an index run", &e) >= 0 && got == len;
    for (uint64_t b = 0; good && b < len / IMAGE_BLOCK; b++) {
        uint8_t check[CHECK_BYTES];
        block_check((uint8_t *)mem + b * IMAGE_BLOCK, check);
        good = memcmp(check, x->checks + (first + b) * CHECK_BYTES, CHECK_BYTES) == 0;
    }
    if (good) {
        atomic_store(&x->hot, mem);
        return;
    }
    seam_free(mem); /* the look-up that meets the rotten block says so */
no:
    atomic_fetch_sub(&hot_bytes, len);
}

static const uint8_t *entry_read(const struct run *x, uint64_t i, struct block *b) {
    const uint64_t at = x->entries_at + i * RUN_ENTRY_BYTES;
    const uint8_t *hot = x->hot;
    if (hot) return hot + (at - PACKS_AT);
    const uint8_t *p = block_read(x, at / IMAGE_BLOCK, b);
    return p ? p + at % IMAGE_BLOCK : NULL;
}

int run_image_find(struct run *x, const uint8_t *id, uint64_t *ret_at, uint8_t ret_entry[RUN_ENTRY_BYTES]) {
    if (!look_good(x)) return -1;
    const uint8_t *line = x->look + (x->bloom_at - x->fan_at) + get_u64(id + 4) % x->bloom_lines * BLOOM_LINE;
    for (unsigned k = 0; k < 4; k++)
        if (!(line[bloom_bit(id, k) >> 3] & 1u << (bloom_bit(id, k) & 7))) return 0;
    const uint8_t *fan = x->look + 4u * (uint64_t)slot_of(x, id);
    uint64_t lo = get_u32(fan), hi = get_u32(fan + 4);
    const uint64_t end = hi < x->entry_count ? hi : x->entry_count;
    struct block b;
    const uint8_t *e;
    b.number = 0;
    if (!x->mem && !x->hot) warm(x);
    for (hi = end; lo < hi;) {
        const uint64_t mid = (lo + hi) / 2;
        if (!(e = entry_read(x, mid, &b))) return -1;
        if (memcmp(e, id, ID_PREFIX_BYTES) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo >= end) return 0;
    if (!(e = entry_read(x, lo, &b))) return -1;
    if (memcmp(e, id, ID_PREFIX_BYTES) != 0) return 0;
    *ret_at = lo;
    memcpy(ret_entry, e, RUN_ENTRY_BYTES);
    return 1;
}

bool run_image_read(const struct run *x, uint64_t at, void *p, size_t len) {
    struct block b;
    const uint8_t *hot = x->hot;
    if (hot && at >= PACKS_AT && at <= x->fan_at && len <= x->fan_at - at) {
        memcpy(p, hot + (at - PACKS_AT), len);
        return true;
    }
    b.number = 0;
    for (size_t done = 0; done < len;) {
        const uint8_t *block = block_read(x, (at + done) / IMAGE_BLOCK, &b);
        const size_t from = (at + done) % IMAGE_BLOCK,
                     n = len - done < IMAGE_BLOCK - from ? len - done : IMAGE_BLOCK - from;
        if (!block) return false;
        memcpy((uint8_t *)p + done, block + from, n);
        done += n;
    }
    return true;
}

bool run_image_scan(const struct run *x, bool entries, struct run_view *ret) {
    const uint64_t len = entries ? x->fan_at : x->entries_at;
    *ret = (struct run_view){.pack_count = x->pack_count, .entry_count = x->entry_count};
    const uint8_t *p = x->mem;
    if (!p) {
        void *m = seam_mmap(len, PROT_READ, MAP_SHARED, x->fd, 0);
        if (m == MAP_FAILED) return false;
        ret->map = m;
        ret->map_len = len;
        p = m;
        for (uint64_t b = 1; b < len / IMAGE_BLOCK; b++) {
            uint8_t check[CHECK_BYTES];
            block_check(p + b * IMAGE_BLOCK, check);
            if (memcmp(check, x->checks + b * CHECK_BYTES, CHECK_BYTES) == 0) continue;
            index_scan_end(ret);
            return false;
        }
    }
    ret->packs = p + PACKS_AT;
    ret->entries = entries ? p + x->entries_at : NULL;
    return true;
}
