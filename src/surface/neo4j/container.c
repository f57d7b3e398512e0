#include "surface/neo4j/container.h"

#include <stdio.h>

#define PRELUDE_BYTES 24
#define BLOCK 512
#define PAX_MAX (1u << 20)
#define SIZE_MAX_TAKEN (UINT64_C(1) << 60)

enum { PRELUDE, HEADER, PAX, SKIPPED, CONTENT, REST };

void neo4j_container_init(struct neo4j_container *c, const struct neo4j_container_events *on, bool frame_only) {
    *c = (struct neo4j_container){.on = on, .frame_only = frame_only, .state = PRELUDE, .pax = BUF_INIT(PAX_MAX)};
}

void neo4j_container_free(struct neo4j_container *c) {
    buf_free(&c->pax);
}

static uint64_t big(const uint8_t *p, unsigned n) {
    uint64_t v = 0;
    while (n--) v = v << 8 | *p++;
    return v;
}

/* Octal digits between blanks and NULs, or base 256 when the top bit is set. */
static bool number(const uint8_t *p, size_t n, uint64_t *ret) {
    uint64_t v = 0;
    size_t i = 0;
    if (p[0] & 0x80) {
        if (p[0] != 0x80) return false;
        for (i = 1; i < n; i++) {
            if (v >> 52) return false;
            v = v << 8 | p[i];
        }
        *ret = v;
        return v < SIZE_MAX_TAKEN;
    }
    while (i < n && p[i] == ' ') i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) {
        if (v >> 57) return false;
        v = v << 3 | (uint64_t)(p[i] - '0');
    }
    for (; i < n; i++)
        if (p[i] != ' ' && p[i] != 0) return false;
    *ret = v;
    return v < SIZE_MAX_TAKEN;
}

static bool zero(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

static bool header_holds(const uint8_t *h) {
    uint64_t said, sum = 0;
    for (size_t i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? ' ' : h[i];
    return memcmp(h + 257, "ustar", 5) == 0 && number(h + 148, 8, &said) && said == sum;
}

/* A name that can be an item's: relative, and without parts that mean a folder. */
static bool name_take(const char *in, size_t n, char out[NEO4J_FILE_NAME_MAX + 1]) {
    size_t at = 0;
    if (memchr(in, 0, n)) return false;
    if (n >= 2 && in[0] == '.' && in[1] == '/') {
        in += 2;
        n -= 2;
    }
    if (n == 0 || n > NEO4J_FILE_NAME_MAX) return false;
    while (at <= n) {
        const char *slash = at < n ? memchr(in + at, '/', n - at) : NULL;
        size_t part = (slash ? (size_t)(slash - in) : n) - at;
        if (part == 0 || (part == 1 && in[at] == '.') || (part == 2 && in[at] == '.' && in[at + 1] == '.'))
            return false;
        at += part + 1;
    }
    memcpy(out, in, n);
    out[n] = 0;
    return true;
}

static bool header_name(const uint8_t *h, char out[NEO4J_FILE_NAME_MAX + 1]) {
    char both[260];
    size_t n = strnlen((const char *)h, 100), p = strnlen((const char *)h + 345, 155);
    int len =
        snprintf(both, sizeof both, "%.*s%s%.*s", (int)p, (const char *)h + 345, p ? "/" : "", (int)n, (const char *)h);
    return len > 0 && name_take(both, (size_t)len, out);
}

/* Records "LENGTH KEY=VALUE\n". What else they say is not needed: it stays in the frame. */
static bool pax_read(struct neo4j_container *c) {
    struct bytes in = buf_bytes(&c->pax);
    while (in.len) {
        size_t len = 0, i = 0;
        for (; i < in.len && i < 8 && in.ptr[i] >= '0' && in.ptr[i] <= '9'; i++) len = 10 * len + (in.ptr[i] - '0');
        if (i == 0 || i >= in.len || in.ptr[i] != ' ' || len <= i + 2 || len > in.len || in.ptr[len - 1] != '\n')
            return false;
        struct bytes record = BYTES_OF(in.ptr + i + 1, len - i - 2);
        if (record.len > 5 && !memcmp(record.ptr, "path=", 5)) {
            if (!name_take((const char *)record.ptr + 5, record.len - 5, c->name)) c->name[0] = 0;
            c->has_pax_name = true;
        }
        if (record.len > 5 && !memcmp(record.ptr, "size=", 5)) {
            uint64_t v = 0;
            for (size_t k = 5; k < record.len; k++) {
                if (record.ptr[k] < '0' || record.ptr[k] > '9' || v >= SIZE_MAX_TAKEN / 10) return false;
                v = 10 * v + (uint64_t)(record.ptr[k] - '0');
            }
            c->pax_size = v;
            c->has_pax_size = true;
        }
        in = BYTES_OF(in.ptr + len, in.len - len);
    }
    return true;
}

static void foreign(struct neo4j_container *c) {
    c->foreign = true;
    c->state = REST;
}

static void pass(struct neo4j_container *c, int state, uint64_t bytes) {
    c->left = bytes;
    c->pad = (BLOCK - bytes % BLOCK) % BLOCK;
    c->state = bytes || c->pad ? state : HEADER;
}

static int on_header(struct neo4j_container *c, struct error *err) {
    char own[NEO4J_FILE_NAME_MAX + 1];
    const uint8_t *h = c->block;
    uint64_t size = 0;
    if (zero(h, BLOCK)) {
        c->whole = ++c->zero_blocks == 2;
        if (c->whole) c->state = REST;
        return 0;
    }
    if (c->zero_blocks || !header_holds(h) || !number(h + 124, 12, &size)) return foreign(c), 0;
    char type = (char)h[156];
    if (type == 'x') {
        if (size > PAX_MAX) return foreign(c), 0;
        buf_clear(&c->pax);
        c->name[0] = 0;
        c->has_pax_size = c->has_pax_name = false;
        return pass(c, PAX, size), 0;
    }
    if (c->has_pax_size) size = c->pax_size;
    bool named = c->has_pax_name, regular = type == '0' || type == 0;
    c->has_pax_size = c->has_pax_name = false;
    if (!regular && type != '5') {
        /* What it is for is not known: whether it has content is, for all types that POSIX has. */
        if (type >= '1' && type <= '6') size = 0;
        return pass(c, SKIPPED, size), 0;
    }
    if (type == '5') size = 0;
    if (regular) {
        c->files++;
        c->bytes += size;
    }
    bool take = regular && size > 0 && (named ? c->name[0] != 0 : header_name(h, own));
    int r = take ? c->on->file(c->on->ctx, BYTES_STR(named ? c->name : own), size, err) : 0;
    if (r < 0) return r;
    pass(c, take ? CONTENT : SKIPPED, size);
    if (take && c->frame_only) c->left = 0;
    return 0;
}

static int on_block(struct neo4j_container *c, struct error *err) {
    if (c->state == HEADER) return on_header(c, err);
    if (memcmp(c->block, "zstd", 4) != 0 || big(c->block + 4, 4) != 1) return foreign(c), 0;
    c->files_said = big(c->block + 8, 8);
    c->bytes_said = big(c->block + 16, 8);
    c->state = HEADER;
    return 0;
}

static void passed(struct neo4j_container *c) {
    if (c->state == PAX && !pax_read(c))
        foreign(c);
    else
        c->state = HEADER;
}

static int feed_passed(struct neo4j_container *c, struct bytes *in, struct error *err) {
    size_t n = in->len;
    int r = 0;
    if (c->left) {
        if (n > c->left) n = (size_t)c->left;
        struct bytes piece = BYTES_OF(in->ptr, n);
        if (c->state == PAX) r = buf_append(&c->pax, piece.ptr, piece.len, err);
        if (r == 0)
            r = c->state == CONTENT ? c->on->content(c->on->ctx, piece, err) : c->on->frame(c->on->ctx, piece, err);
        c->left -= n;
    } else {
        if (n > c->pad) n = (size_t)c->pad;
        r = n ? c->on->frame(c->on->ctx, BYTES_OF(in->ptr, n), err) : 0;
        c->pad -= n;
    }
    *in = BYTES_OF(in->ptr + n, in->len - n);
    if (r == 0 && !c->left && !c->pad) passed(c);
    return r;
}

int neo4j_container_feed(struct neo4j_container *c, struct bytes in, struct error *err) {
    int r = 0;
    /* With nothing left to pass, a file whose content is elsewhere ends without another byte. */
    while (r == 0 && (in.len || ((c->state == CONTENT || c->state == SKIPPED) && !c->left && !c->pad))) {
        if (c->state == REST) return c->on->frame(c->on->ctx, in, err);
        if (c->state != PRELUDE && c->state != HEADER) {
            r = feed_passed(c, &in, err);
            continue;
        }
        size_t want = c->state == PRELUDE ? PRELUDE_BYTES : BLOCK, n = want - c->have;
        if (n > in.len) n = in.len;
        memcpy(c->block + c->have, in.ptr, n);
        c->have += n;
        r = c->on->frame(c->on->ctx, BYTES_OF(in.ptr, n), err);
        in = BYTES_OF(in.ptr + n, in.len - n);
        if (r == 0 && c->have == want) {
            c->have = 0;
            r = on_block(c, err);
        }
    }
    return r;
}

int neo4j_container_end(const struct neo4j_container *c, struct error *err) {
    if (c->foreign) return 0;
    if (!c->whole)
        return error_set(err, ERR_SOURCE_TRUNCATED, "the dump ends within its archive, after %llu of %llu files",
                         (unsigned long long)c->files, (unsigned long long)c->files_said);
    if (c->files != c->files_said || c->bytes != c->bytes_said)
        return error_set(err, ERR_SOURCE_TRUNCATED,
                         "the dump has %llu files and %llu bytes, and says that it has %llu and %llu",
                         (unsigned long long)c->files, (unsigned long long)c->bytes, (unsigned long long)c->files_said,
                         (unsigned long long)c->bytes_said);
    return 0;
}
