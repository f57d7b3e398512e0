#include "surface/files/attr.h"

/* Tags ascend in a record. Those from TAG_OPTIONAL on may be passed over by a reader that does not know them. */
enum {
    TAG_MODE = 1,
    TAG_UID,
    TAG_GID,
    TAG_USER,
    TAG_GROUP,
    TAG_MTIME,
    TAG_CTIME,
    TAG_INO,
    TAG_DEV,
    TAG_SIZE,
    TAG_NLINK,
    TAG_TARGET,
    TAG_RDEV,
    TAG_FLAGS,
    TAG_SINCE,
    TAG_XATTRS,
    TAG_OPTIONAL = 128,
};
#define VARINT_BYTES_MAX 10
#define STAMP_BYTES 12
#define NAME_BYTES_MAX 65536 /* of a user, a group or an extended attribute's key */

static size_t varint_put(uint8_t *p, uint64_t v) {
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}

/* The small fields, put into a block on the stack and appended at once: one call for what most records consist of. */
struct block {
    uint8_t p[256];
    size_t n;
};

static void block_number(struct block *b, uint8_t tag, uint64_t v) {
    if (v == 0) return;
    size_t n = varint_put(b->p + b->n + 2, v);
    b->p[b->n] = tag;
    b->p[b->n + 1] = (uint8_t)n;
    b->n += 2 + n;
}

static void block_stamp(struct block *b, uint8_t tag, struct stamp t) {
    uint8_t *p = b->p + b->n;
    p[0] = tag;
    p[1] = STAMP_BYTES;
    put_u64(p + 2, (uint64_t)t.s);
    put_u32(p + 10, t.ns);
    b->n += 2 + STAMP_BYTES;
}

static int slice_put(struct buf *out, uint8_t tag, struct bytes v, struct error *err) {
    if (v.len == 0) return 0;
    uint8_t head[1 + VARINT_BYTES_MAX] = {tag};
    size_t n = 1 + varint_put(head + 1, v.len);
    int rc = buf_append(out, head, n, err);
    if (rc == 0) rc = buf_append(out, v.ptr, v.len, err);
    return rc;
}

int attr_encode(const struct attr *a, struct buf *out, struct error *err) {
    struct block b = {.p = {ATTR_VERSION, (uint8_t)a->type}, .n = 2};
    block_number(&b, TAG_MODE, a->mode);
    block_number(&b, TAG_UID, a->uid);
    block_number(&b, TAG_GID, a->gid);
    int rc = buf_append(out, b.p, b.n, err);
    if (rc == 0) rc = slice_put(out, TAG_USER, a->user, err);
    if (rc == 0) rc = slice_put(out, TAG_GROUP, a->group, err);
    b.n = 0;
    block_stamp(&b, TAG_MTIME, a->mtime);
    block_stamp(&b, TAG_CTIME, a->ctime);
    block_number(&b, TAG_INO, a->ino);
    block_number(&b, TAG_DEV, a->dev);
    block_number(&b, TAG_SIZE, a->size);
    block_number(&b, TAG_NLINK, a->nlink);
    if (rc == 0) rc = buf_append(out, b.p, b.n, err);
    if (rc == 0) rc = slice_put(out, TAG_TARGET, a->target, err);
    b.n = 0;
    block_number(&b, TAG_RDEV, (uint64_t)a->rdev_major << 32 | a->rdev_minor);
    block_number(&b, TAG_FLAGS, a->flags);
    block_number(&b, TAG_SINCE, (uint64_t)a->since_ns);
    if (rc == 0) rc = buf_append(out, b.p, b.n, err);
    if (rc == 0) rc = slice_put(out, TAG_XATTRS, a->xattrs, err);
    return rc;
}

static int malformed(struct error *err, const char *why) {
    return error_set(err, ERR_OBJECT_CORRUPT, "the attribute record of a file is malformed: %s", why);
}

static uint64_t whole_number(struct bytes v, bool *bad) {
    struct cursor c = cursor_of(v);
    uint64_t n = cursor_varint(&c);
    if (c.bad || c.len != 0) *bad = true;
    return n;
}

static uint32_t small_number(struct bytes v, bool *bad) {
    uint64_t n = whole_number(v, bad);
    if (n > UINT32_MAX) *bad = true;
    return (uint32_t)n;
}

static struct stamp stamp_of(struct bytes v, bool *bad) {
    if (v.len != STAMP_BYTES) {
        *bad = true;
        return (struct stamp){0};
    }
    struct stamp t = {(int64_t)get_u64(v.ptr), get_u32(v.ptr + 8)};
    if (t.ns >= 1000000000) *bad = true;
    return t;
}

static bool has_zero(struct bytes b) {
    return b.len > 0 && memchr(b.ptr, 0, b.len) != NULL;
}

static struct bytes name_of(struct bytes v, bool *bad) {
    if (v.len > NAME_BYTES_MAX || has_zero(v)) *bad = true;
    return v;
}

static bool run_is_bad(struct bytes run) {
    struct cursor c = cursor_of(run);
    while (c.len > 0 && !c.bad) {
        struct bytes key = cursor_take(&c, cursor_varint(&c));
        cursor_take(&c, cursor_varint(&c));
        if (key.len == 0 || key.len > 255 || has_zero(key)) return true;
    }
    return c.bad;
}

static bool type_known(uint8_t t) {
    return t != 0 && strchr("fdlhpcb", t) != NULL;
}

int attr_decode(struct bytes in, struct attr *ret, struct error *err) {
    struct attr a = {0};
    struct cursor c = cursor_of(in);
    uint8_t version = cursor_u8(&c), type = cursor_u8(&c), last = 0;
    if (c.bad) return malformed(err, "it is too short");
    if (version != ATTR_VERSION)
        return error_set(err, ERR_FORMAT_VERSION, "a file's attribute record is of version %u, and this knows %d",
                         version, ATTR_VERSION);
    if (!type_known(type)) return malformed(err, "its type is unknown");
    a.type = (enum file_type)type;
    bool bad = false;
    while (c.len > 0 && !c.bad && !bad) {
        uint8_t tag = cursor_u8(&c);
        struct bytes v = cursor_take(&c, cursor_varint(&c));
        if (c.bad) break;
        if (tag <= last) return malformed(err, "its fields are out of order");
        last = tag;
        switch (tag) {
        case TAG_MODE:
            a.mode = small_number(v, &bad);
            break;
        case TAG_UID:
            a.uid = small_number(v, &bad);
            break;
        case TAG_GID:
            a.gid = small_number(v, &bad);
            break;
        case TAG_USER:
            a.user = name_of(v, &bad);
            break;
        case TAG_GROUP:
            a.group = name_of(v, &bad);
            break;
        case TAG_MTIME:
            a.mtime = stamp_of(v, &bad);
            break;
        case TAG_CTIME:
            a.ctime = stamp_of(v, &bad);
            break;
        case TAG_INO:
            a.ino = whole_number(v, &bad);
            break;
        case TAG_DEV:
            a.dev = whole_number(v, &bad);
            break;
        case TAG_SIZE:
            a.size = whole_number(v, &bad);
            break;
        case TAG_NLINK:
            a.nlink = whole_number(v, &bad);
            break;
        case TAG_TARGET:
            a.target = v;
            bad = has_zero(v);
            break;
        case TAG_RDEV: {
            uint64_t n = whole_number(v, &bad);
            a.rdev_major = (uint32_t)(n >> 32);
            a.rdev_minor = (uint32_t)n;
            break;
        }
        case TAG_FLAGS:
            a.flags = small_number(v, &bad);
            break;
        case TAG_SINCE:
            a.since_ns = (int64_t)whole_number(v, &bad);
            break;
        case TAG_XATTRS:
            a.xattrs = v;
            bad = run_is_bad(v);
            break;
        default:
            if (tag < TAG_OPTIONAL)
                return error_set(err, ERR_FORMAT_VERSION,
                                 "a file's attribute record has a field %u that this does not know", tag);
        }
    }
    if (c.bad) return malformed(err, "it ends within a field");
    if (bad) return malformed(err, "a field has an impossible value");
    if (a.mode > 07777) return malformed(err, "its mode has more than permission bits");
    bool links = a.type == FILE_LINK || a.type == FILE_HARDLINK;
    if (links != (a.target.len > 0)) return malformed(err, "its type and its link target do not go together");
    *ret = a;
    return 0;
}

int xattr_append(struct buf *run, struct bytes key, struct bytes value, struct error *err) {
    int rc = buf_append_varint(run, key.len, err);
    if (rc == 0) rc = buf_append(run, key.ptr, key.len, err);
    if (rc == 0) rc = buf_append_varint(run, value.len, err);
    if (rc == 0) rc = buf_append(run, value.ptr, value.len, err);
    return rc;
}

bool xattr_next(struct bytes *run, struct bytes *ret_key, struct bytes *ret_value) {
    if (run->len == 0) return false;
    struct cursor c = cursor_of(*run);
    *ret_key = cursor_take(&c, cursor_varint(&c));
    *ret_value = cursor_take(&c, cursor_varint(&c));
    *run = BYTES_OF(c.ptr, c.len);
    return !c.bad;
}
