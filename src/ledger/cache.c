/* Files. Entries: the magic, then for each entry: u32 length, u64 stored_ns, the entry, 16 bytes of SHA-256 over all of
 * that. Base: 16 digits and a newline, then the summary. Pin: six lines of text, the last the SHA-256 of the others in
 * hex. Little-endian. Bound to this machine; no format others read. */
#include "ledger/cache.h"

#include "base/seam.h"
#include "ledger/ledger.h"
#include <inttypes.h>
#include <stdio.h>

#define MAGIC "proofkeep-log-1\n"
#define MAGIC_BYTES (sizeof(MAGIC) - 1)
#define HEAD_BYTES 12u
#define SUM_BYTES 16u
#define PIN_MAX_BYTES 4096u
#define NAME_MAX_BYTES 64u

struct cache {
    int dir;
    int fd; /* entries */
    char id[17];
    char pin_name[NAME_MAX_BYTES], entries_name[NAME_MAX_BYTES], base_name[NAME_MAX_BYTES];
    uint64_t base; /* number of the first entry of the file */
    char *origin;
    bool pinned;
    struct cache_pin pin;
    uint64_t *at; /* where record base + i begins */
    size_t count, cap;
    uint64_t end;
    bool deaf; /* a write failed: nothing more is added */
    struct buf record;
};

static int pin_format(const struct cache *c, const struct cache_pin *p, struct buf *ret, struct error *err) {
    char root[2 * DIGEST_BYTES + 1], last[2 * DIGEST_BYTES + 1], sum[2 * DIGEST_BYTES + 1];
    struct digest d;
    hex_encode(p->root.b, DIGEST_BYTES, root);
    hex_encode(p->last.b, DIGEST_BYTES, last);
    if (buf_printf(ret, err, "proofkeep-pin-1\n%s\n%" PRIu64 "\n%s\n%s\n", c->origin, p->size, root, last) < 0)
        return error_wrap(err, "pin of the log");
    sha256(buf_bytes(ret), &d);
    hex_encode(d.b, DIGEST_BYTES, sum);
    return buf_printf(ret, err, "%s\n", sum) < 0 ? error_wrap(err, "pin of the log") : 0;
}

/* The text must be just what pin_format writes of the numbers found in it. */
static int pin_parse(const struct cache *c, struct buf *text, bool *ret_good, struct cache_pin *ret,
                     struct error *err) {
    CLEANUP(buf_free) struct buf again = BUF_INIT(PIN_MAX_BYTES);
    struct cache_pin p;
    char root[2 * DIGEST_BYTES + 1], last[2 * DIGEST_BYTES + 1];
    *ret_good = false;
    size_t skip = strlen("proofkeep-pin-1\n") + strlen(c->origin) + 1;
    if (buf_terminate(text, err) < 0) return error_wrap(err, "pin of the log");
    if (text->len <= skip ||
        sscanf((const char *)text->ptr + skip, "%20" SCNu64 "\n%64[0-9a-f]\n%64[0-9a-f]\n", &p.size, root, last) != 3 ||
        !hex_decode(root, strlen(root), p.root.b, DIGEST_BYTES) ||
        !hex_decode(last, strlen(last), p.last.b, DIGEST_BYTES))
        return 0;
    if (pin_format(c, &p, &again, err) < 0) return -(int)err->code;
    *ret_good = p.size > 0 && bytes_equal(buf_bytes(&again), buf_bytes(text));
    if (*ret_good) *ret = p;
    return 0;
}

static int pin_read(struct cache *c, bool *ret_found, struct cache_pin *ret, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(PIN_MAX_BYTES + 1);
    struct error e = ERROR_INIT;
    *ret_found = false;
    if (io_read_file(c->dir, c->pin_name, PIN_MAX_BYTES, &text, &e) < 0) {
        /* too long is as malformed as anything else; only a machine that cannot read is an error */
        if (e.code == ERR_IO_NOT_FOUND || e.sys_errno == 0) return 0;
        *err = e;
        return error_wrap(err, "pin of the log");
    }
    return pin_parse(c, &text, ret_found, ret, err);
}

static void entries_name(const struct cache *c, uint64_t base, char ret[NAME_MAX_BYTES]) {
    if (base)
        snprintf(ret, NAME_MAX_BYTES, "ledger-%s.%016" PRIu64 ".entries", c->id, base);
    else
        snprintf(ret, NAME_MAX_BYTES, "ledger-%s.entries", c->id);
}

static int entries_open(struct cache *c) {
    return seam_openat(c->dir, c->entries_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
}

int cache_open(const char *dir, const char *origin, struct cache **ret, struct error *err) {
    void *p;
    if (io_mkdirs(dir, 0700, err) < 0 || mem_alloc(sizeof(struct cache), &p, err) < 0)
        return error_wrap(err, "cache of the log in %s", dir);
    struct cache *c = p;
    struct digest id;
    c->dir = c->fd = -1;
    c->record = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + HEAD_BYTES + SUM_BYTES);
    sha256(BYTES_STR(origin), &id);
    hex_encode(id.b, 8, c->id);
    snprintf(c->pin_name, sizeof(c->pin_name), "ledger-%s.pin", c->id);
    snprintf(c->base_name, sizeof(c->base_name), "ledger-%s.base", c->id);
    entries_name(c, 0, c->entries_name);
    if (mem_strdup(origin, &c->origin, err) < 0) goto fail;
    c->dir = seam_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (c->dir < 0) {
        error_set_errno(err, ERR_IO_READ, "open %s", dir);
        goto fail;
    }
    c->fd = entries_open(c);
    if (c->fd < 0) {
        error_set_errno(err, ERR_IO_WRITE, "open %s/%s", dir, c->entries_name);
        goto fail;
    }
    c->end = MAGIC_BYTES;
    if (pin_read(c, &c->pinned, &c->pin, err) < 0) goto fail;
    *ret = c;
    return 0;
fail:
    cache_close(c);
    return error_wrap(err, "cache of the log in %s", dir);
}

void cache_close(struct cache *c) {
    if (!c) return;
    io_close(&c->fd);
    io_close(&c->dir);
    seam_free(c->origin);
    seam_free(c->at);
    buf_free(&c->record);
    seam_free(c);
}

const struct cache_pin *cache_pinned(const struct cache *c) {
    return c->pinned ? &c->pin : NULL;
}
uint64_t cache_count(const struct cache *c) {
    return c->base + c->count;
}

static void record_sum(struct bytes record, uint8_t ret[SUM_BYTES]) {
    struct digest d;
    sha256(record, &d);
    memcpy(ret, d.b, SUM_BYTES);
}

/* The record at `at` into c->record; *ret_good is false when there is no sound one. */
static int record_read(struct cache *c, uint64_t at, bool *ret_good, struct error *err) {
    uint8_t head[HEAD_BYTES], sum[SUM_BYTES];
    size_t got;
    *ret_good = false;
    if (io_pread_full(c->fd, head, sizeof(head), at, &got, c->entries_name, err) < 0) return -(int)err->code;
    size_t len = got == sizeof(head) ? get_u32(head) : 0;
    if (len == 0 || len > LEDGER_ENTRY_MAX_BYTES) return 0;
    buf_clear(&c->record);
    size_t whole = HEAD_BYTES + len + SUM_BYTES;
    if (buf_reserve(&c->record, whole, err) < 0 ||
        io_pread_full(c->fd, c->record.ptr, whole, at, &got, c->entries_name, err) < 0)
        return -(int)err->code;
    if (got != whole || get_u32(c->record.ptr) != len) return 0;
    record_sum(BYTES_OF(c->record.ptr, HEAD_BYTES + len), sum);
    c->record.len = whole;
    *ret_good = memcmp(sum, c->record.ptr + HEAD_BYTES + len, SUM_BYTES) == 0;
    return 0;
}

static struct bytes record_entry(const struct cache *c) {
    return BYTES_OF(c->record.ptr + HEAD_BYTES, c->record.len - HEAD_BYTES - SUM_BYTES);
}

static int remember_place(struct cache *c, struct error *err) {
    void *p = c->at;
    if (mem_grow(&p, &c->cap, c->count + 1, sizeof(*c->at), err) < 0) return -(int)err->code;
    c->at = p;
    c->at[c->count++] = c->end;
    c->end += c->record.len;
    return 0;
}

static void forget_entries(struct cache *c) {
    c->count = 0;
    c->end = MAGIC_BYTES;
}

static int load(struct cache *c, struct tree *t, bool *ret_good, struct error *err) {
    char magic[MAGIC_BYTES];
    size_t got;
    if (io_pread_full(c->fd, magic, sizeof(magic), 0, &got, c->entries_name, err) < 0) return -(int)err->code;
    if (got != sizeof(magic) || memcmp(magic, MAGIC, sizeof(magic)) != 0) return 0;
    while (cache_count(c) < c->pin.size) {
        struct digest leaf;
        bool good;
        if (record_read(c, c->end, &good, err) < 0) return -(int)err->code;
        if (!good) return 0;
        merkle_leaf(record_entry(c), &leaf);
        if (tree_reserve(t, 1, err) < 0 || remember_place(c, err) < 0) return -(int)err->code;
        tree_add(t, &leaf);
    }
    struct digest root;
    tree_root(t, tree_size(t), &root);
    *ret_good = digest_equal(&root, &c->pin.root);
    return 0;
}

int cache_load(struct cache *c, const struct digest *edge, bool *ret_good, struct error *err) {
    *ret_good = false;
    forget_entries(c);
    if (!c->pinned || c->fd < 0 || c->pin.size < c->base) return 0;
    struct tree *t;
    int rc = edge ? hash_tree_begin(c->base, edge, &t, err) : hash_tree_new(&t, err);
    if (rc < 0) return error_wrap(err, "cache of the log");
    rc = load(c, t, ret_good, err);
    hash_tree_free(t);
    if (!*ret_good) forget_entries(c);
    return rc < 0 ? error_wrap(err, "cache of the log") : 0;
}

void cache_begin_at(struct cache *c, uint64_t base) {
    forget_entries(c);
    if (base == c->base) return;
    io_close(&c->fd);
    c->base = base;
    entries_name(c, base, c->entries_name);
    c->fd = entries_open(c);
    c->deaf = c->fd < 0;
}

#define BASE_HEAD 17u /* digits and newline */

int cache_base_read(struct cache *c, size_t max_bytes, uint64_t *ret_base, struct buf *ret_summary, struct error *err) {
    CLEANUP(buf_free) struct buf whole = BUF_INIT(max_bytes + BASE_HEAD + 1);
    struct error e = ERROR_INIT;
    uint64_t base = 0;
    *ret_base = 0;
    if (io_read_file(c->dir, c->base_name, max_bytes + BASE_HEAD, &whole, &e) < 0) {
        if (e.code == ERR_IO_NOT_FOUND || e.sys_errno == 0) return 0;
        *err = e;
        return error_wrap(err, "cache of the log");
    }
    if (whole.len < BASE_HEAD || whole.ptr[BASE_HEAD - 1] != '\n') return 0;
    for (unsigned i = 0; i + 1 < BASE_HEAD; i++) {
        if (whole.ptr[i] < '0' || whole.ptr[i] > '9') return 0;
        base = base * 10 + (uint64_t)(whole.ptr[i] - '0');
    }
    if (buf_append(ret_summary, whole.ptr + BASE_HEAD, whole.len - BASE_HEAD, err) < 0)
        return error_wrap(err, "cache of the log");
    *ret_base = base;
    return 0;
}

void cache_base_keep(struct cache *c, struct bytes summary) {
    CLEANUP(buf_free) struct buf whole = BUF_INIT(summary.len + BASE_HEAD + 1);
    CLEANUP(buf_free) struct buf former = BUF_INIT(summary.len * 2 + 4096);
    struct error e = ERROR_INIT;
    uint64_t old = 0;
    char name[NAME_MAX_BYTES];
    if (c->base == 0 || c->fd < 0) return;
    if (cache_base_read(c, former.max_bytes - 1, &old, &former, &e) < 0) return;
    if (buf_printf(&whole, &e, "%016" PRIu64 "\n", c->base) < 0 ||
        buf_append(&whole, summary.ptr, summary.len, &e) < 0 ||
        io_replace_file(c->dir, c->base_name, buf_bytes(&whole), 0600, &e) < 0)
        return;
    entries_name(c, old, name);
    if (old && old != c->base) (void)!seam_unlinkat(c->dir, name, 0);
}

int cache_read(struct cache *c, uint64_t seq, struct buf *ret, int64_t *ret_stored_ns, struct error *err) {
    bool good = false;
    if (seq >= c->base && seq < cache_count(c) && record_read(c, c->at[seq - c->base], &good, err) < 0)
        return error_wrap(err, "cache of the log");
    if (!good)
        return error_set(err, ERR_OBJECT_CORRUPT, "entry %" PRIu64 " in %s of the cache changed while it was in use",
                         seq, c->entries_name);
    struct bytes entry = record_entry(c);
    if (buf_append(ret, entry.ptr, entry.len, err) < 0) return error_wrap(err, "cache of the log");
    *ret_stored_ns = (int64_t)get_u64(c->record.ptr + 4);
    return 0;
}

void cache_add(struct cache *c, uint64_t seq, struct bytes entry, int64_t stored_ns) {
    struct error e = ERROR_INIT;
    uint8_t head[HEAD_BYTES];
    uint8_t sum[SUM_BYTES];
    if (c->deaf || seq != cache_count(c)) return;
    c->deaf = true; /* until everything below went well */
    if (seq == c->base && io_pwrite_full(c->fd, MAGIC, MAGIC_BYTES, 0, c->entries_name, &e) < 0) return;
    put_u32(head, (uint32_t)entry.len);
    put_u64(head + 4, (uint64_t)stored_ns);
    buf_clear(&c->record);
    if (buf_append(&c->record, head, sizeof(head), &e) < 0 || buf_append(&c->record, entry.ptr, entry.len, &e) < 0)
        return;
    record_sum(buf_bytes(&c->record), sum);
    if (buf_append(&c->record, sum, sizeof(sum), &e) < 0 ||
        io_pwrite_full(c->fd, c->record.ptr, c->record.len, c->end, c->entries_name, &e) < 0 ||
        remember_place(c, &e) < 0)
        return;
    c->deaf = false;
}

int cache_pin(struct cache *c, const struct cache_pin *p, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(PIN_MAX_BYTES);
    struct cache_pin now;
    bool found;
    if (c->pinned && c->pin.size >= p->size) return 0;
    /* another process may know more by now */
    if (pin_read(c, &found, &now, err) < 0) return -(int)err->code;
    if (!found || now.size < p->size) {
        if (pin_format(c, p, &text, err) < 0 || io_replace_file(c->dir, c->pin_name, buf_bytes(&text), 0600, err) < 0)
            return error_wrap(err, "pin of the log");
    }
    c->pin = *p;
    c->pinned = true;
    return 0;
}
