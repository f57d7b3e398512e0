#include "surface/pgphys/pgphys.h"

/* Tags ascend in a record. Those from TAG_OPTIONAL on may be passed over by a reader that does not know them. */
enum {
    TAG_MODE = 1,
    TAG_FLAGS,
    TAG_MTIME,
    TAG_TARGET,
    TAG_CRC32C,
    TAG_OPTIONAL = 128,
};
#define MTIME_BYTES 8
#define CRC_BYTES 4
#define TARGET_BYTES_MAX 4096

static int field_put(struct buf *out, uint8_t tag, struct bytes v, struct error *err) {
    if (v.len == 0) return 0;
    int r = buf_append(out, &tag, 1, err);
    if (r == 0) r = buf_append_varint(out, v.len, err);
    return r == 0 ? buf_append(out, v.ptr, v.len, err) : r;
}

static int number_put(struct buf *out, uint8_t tag, uint64_t v, struct error *err) {
    uint8_t text[10];
    size_t n = 0;
    if (v == 0) return 0;
    for (; v >= 0x80; v >>= 7) text[n++] = (uint8_t)(v | 0x80);
    text[n++] = (uint8_t)v;
    return field_put(out, tag, BYTES_OF(text, n), err);
}

int pgphys_attr_encode(const struct pgphys_attr *a, struct buf *out, struct error *err) {
    uint8_t head[2] = {PGPHYS_ATTR_VERSION, (uint8_t)a->type}, mtime[MTIME_BYTES], crc[CRC_BYTES];
    put_u64(mtime, (uint64_t)a->mtime_ns);
    int r = buf_append(out, head, sizeof head, err);
    if (r == 0) r = number_put(out, TAG_MODE, a->mode, err);
    if (r == 0) r = number_put(out, TAG_FLAGS, a->flags, err);
    if (r == 0) r = field_put(out, TAG_MTIME, BYTES_OF(mtime, sizeof mtime), err);
    if (r == 0) r = field_put(out, TAG_TARGET, a->target, err);
    put_u32(crc, a->crc32c);
    return r == 0 && a->has_crc ? field_put(out, TAG_CRC32C, BYTES_OF(crc, sizeof crc), err) : r;
}

static int malformed(struct error *err, const char *why) {
    return error_set(err, ERR_OBJECT_CORRUPT, "the attribute record of a PostgreSQL file is malformed: %s", why);
}

static uint32_t number_of(struct bytes v, bool *bad) {
    struct cursor c = cursor_of(v);
    uint64_t n = cursor_varint(&c);
    if (c.bad || c.len != 0 || n > UINT32_MAX) *bad = true;
    return (uint32_t)n;
}

static int64_t mtime_of(struct bytes v, bool *bad) {
    if (v.len == MTIME_BYTES) return (int64_t)get_u64(v.ptr);
    *bad = true;
    return 0;
}

int pgphys_attr_decode(struct bytes in, struct pgphys_attr *ret, struct error *err) {
    struct pgphys_attr a = {0};
    struct cursor c = cursor_of(in);
    uint8_t version = cursor_u8(&c), type = cursor_u8(&c), last = 0;
    if (c.bad) return malformed(err, "it is too short");
    if (version != PGPHYS_ATTR_VERSION)
        return error_set(err, ERR_FORMAT_VERSION,
                         "a PostgreSQL file's attribute record is of version %u, and this knows %d", version,
                         PGPHYS_ATTR_VERSION);
    if (type != PGPHYS_FILE && type != PGPHYS_FOLDER && type != PGPHYS_LINK)
        return malformed(err, "its type is unknown");
    a.type = (enum pgphys_type)type;
    bool bad = false;
    while (c.len > 0 && !bad) {
        uint8_t tag = cursor_u8(&c);
        struct bytes v = cursor_take(&c, cursor_varint(&c));
        if (c.bad) return malformed(err, "it ends within a field");
        if (tag <= last) return malformed(err, "its fields are out of order");
        last = tag;
        switch (tag) {
        case TAG_MODE:
            a.mode = number_of(v, &bad);
            break;
        case TAG_FLAGS:
            a.flags = number_of(v, &bad);
            break;
        case TAG_MTIME:
            a.mtime_ns = mtime_of(v, &bad);
            break;
        case TAG_TARGET:
            a.target = v;
            bad = v.len == 0 || v.len > TARGET_BYTES_MAX || memchr(v.ptr, 0, v.len) != NULL;
            break;
        case TAG_CRC32C:
            a.has_crc = v.len == CRC_BYTES;
            bad = !a.has_crc;
            if (a.has_crc) a.crc32c = get_u32(v.ptr);
            break;
        default:
            if (tag < TAG_OPTIONAL)
                return error_set(err, ERR_FORMAT_VERSION,
                                 "a PostgreSQL file's attribute record has a field %u that this does not know", tag);
        }
    }
    if (bad) return malformed(err, "a field has an impossible value");
    if (a.mode > 07777) return malformed(err, "its mode has more than permission bits");
    if ((a.type == PGPHYS_LINK) != (a.target.len > 0))
        return malformed(err, "its type and its link target do not go together");
    if (a.has_crc && a.type != PGPHYS_FILE) return malformed(err, "it is no file and has a checksum");
    *ret = a;
    return 0;
}
