#include "surface/pgphys/tar.h"

enum place {
    AT_NAME = 0,
    AT_MODE = 100,
    AT_SIZE = 124,
    AT_MTIME = 136,
    AT_CHECKSUM = 148,
    AT_TYPE = 156,
    AT_LINK = 157,
    AT_MAGIC = 257,
    AT_PREFIX = 345,
};
#define NAME_BYTES 100
#define PREFIX_BYTES 155

void tar_init(struct tar *t, const struct tar_ops *ops, void *ctx) {
    *t = (struct tar){.ops = ops, .ctx = ctx};
}

static int bad(struct error *err, const char *what) {
    return error_set(err, ERR_PG_BASE, "the stream of files is no tar archive: %s", what);
}

/* Octal digits between blanks, or base 256 behind a byte 0x80. */
static bool number_at(const uint8_t *p, size_t n, uint64_t *ret) {
    uint64_t v = 0;
    if (p[0] & 0x80) {
        if (p[0] != 0x80) return false; /* negative, or beyond 64 bits */
        for (size_t i = 1; i < n; i++) {
            if (v >> 56) return false;
            v = v << 8 | p[i];
        }
        *ret = v;
        return true;
    }
    size_t i = 0;
    while (i < n && p[i] == ' ') i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) v = v << 3 | (uint64_t)(p[i] - '0');
    for (; i < n; i++)
        if (p[i] != ' ' && p[i] != 0) return false;
    *ret = v;
    return true;
}

static struct bytes text_at(const uint8_t *p, size_t n) {
    const uint8_t *end = memchr(p, 0, n);
    return BYTES_OF(p, end ? (size_t)(end - p) : n);
}

static bool checksum_holds(const uint8_t *h) {
    uint64_t says, is = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++) is += i >= AT_CHECKSUM && i < AT_CHECKSUM + 8 ? ' ' : h[i];
    return number_at(h + AT_CHECKSUM, 8, &says) && says == is;
}

static bool path_plain(struct bytes path) {
    size_t from = 0;
    for (size_t i = 0; i <= path.len; i++) {
        if (i < path.len && path.ptr[i] != '/') continue;
        const struct bytes part = BYTES_OF(path.ptr + from, i - from);
        if (part.len == 0 || bytes_equal(part, BYTES_STR(".")) || bytes_equal(part, BYTES_STR(".."))) return false;
        from = i + 1;
    }
    return true;
}

/* The name in `room`, which holds prefix, slash and name. */
static struct bytes full_name(const uint8_t *h, uint8_t room[NAME_BYTES + 1 + PREFIX_BYTES]) {
    const struct bytes prefix = text_at(h + AT_PREFIX, PREFIX_BYTES), name = text_at(h + AT_NAME, NAME_BYTES);
    size_t n = 0;
    if (prefix.len) {
        memcpy(room, prefix.ptr, prefix.len);
        n = prefix.len;
        room[n++] = '/';
    }
    memcpy(room + n, name.ptr, name.len);
    struct bytes all = BYTES_OF(room, n + name.len);
    while (all.len > 1 && all.ptr[all.len - 1] == '/') all.len--;
    while (all.len > 2 && all.ptr[0] == '.' && all.ptr[1] == '/') all = BYTES_OF(all.ptr + 2, all.len - 2);
    return all;
}

static int header_read(struct tar *t, struct error *err) {
    static const uint8_t zeros[TAR_BLOCK];
    const uint8_t *h = t->header;
    uint8_t room[NAME_BYTES + 1 + PREFIX_BYTES];
    struct tar_member m = {0};
    uint64_t mode, mtime, size;
    if (memcmp(h, zeros, TAR_BLOCK) == 0) {
        t->ended = true;
        return 0;
    }
    if (t->ended) return bad(err, "something follows its end");
    if (memcmp(h + AT_MAGIC, "ustar", 5) != 0 || !checksum_holds(h)) return bad(err, "a header is damaged");
    if (!number_at(h + AT_MODE, 8, &mode) || !number_at(h + AT_MTIME, 12, &mtime) ||
        !number_at(h + AT_SIZE, 12, &size) || mtime > INT64_MAX / 1000000000 || size > INT64_MAX)
        return bad(err, "a header has an impossible number");
    m.name = full_name(h, room);
    m.mode = (uint32_t)(mode & 07777);
    m.mtime_s = (int64_t)mtime;
    if (!path_plain(m.name))
        return error_set(err, ERR_PG_BASE, "the server sent a file of the impossible name \"%.*s\"", (int)m.name.len,
                         (const char *)m.name.ptr);
    switch (h[AT_TYPE]) {
    case '0':
    case 0:
        m.type = TAR_FILE;
        m.bytes = size;
        break;
    case '5':
        m.type = TAR_FOLDER;
        break;
    case '2':
        m.type = TAR_LINK;
        m.target = text_at(h + AT_LINK, NAME_BYTES);
        if (m.target.len == 0) return bad(err, "a link leads nowhere");
        break;
    default:
        return error_set(err, ERR_PG_BASE, "the server sent %.*s as a member of the unknown type '%c'", (int)m.name.len,
                         (const char *)m.name.ptr, h[AT_TYPE] >= ' ' && h[AT_TYPE] < 0x7f ? h[AT_TYPE] : '?');
    }
    t->left = m.bytes;
    t->padding = -m.bytes % TAR_BLOCK;
    t->within = true;
    return t->ops->begin(t->ctx, &m, err);
}

int tar_feed(struct tar *t, struct bytes in, struct error *err) {
    int rc = 0;
    while (rc == 0) {
        if (t->within && t->left == 0) {
            t->within = false;
            rc = t->ops->end(t->ctx, err);
            continue;
        }
        if (in.len == 0) return 0;
        size_t n = in.len;
        if (t->within) {
            if (n > t->left) n = (size_t)t->left;
            rc = t->ops->content(t->ctx, BYTES_OF(in.ptr, n), err);
            t->left -= n;
        } else if (t->padding) {
            if (n > t->padding) n = (size_t)t->padding;
            t->padding -= n;
        } else {
            if (n > TAR_BLOCK - t->have) n = TAR_BLOCK - t->have;
            memcpy(t->header + t->have, in.ptr, n);
            t->have += n;
            if (t->have == TAR_BLOCK) {
                t->have = 0;
                rc = header_read(t, err);
            }
        }
        in = BYTES_OF(in.ptr + n, in.len - n);
    }
    return rc;
}

int tar_finish(const struct tar *t, struct error *err) {
    if (t->within || t->padding || t->have) return error_set(err, ERR_PG_BASE, "the stream of files broke off");
    return 0;
}
