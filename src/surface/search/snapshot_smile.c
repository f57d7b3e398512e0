#include "surface/search/snapshot.h"

#include "base/seam.h"
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>

#define CODEC_MAGIC 0x3fd76c17u
#define FOOTER_MAGIC 0xc02893e8u
#define FOOTER_BYTES 16u
#define NAMES_MAX 1024u
#define DEPTH_MAX 32u
#define BLOB_MAX ((size_t)256 << 20)

static int bad(const char *what, struct error *err) {
    return error_set(err, ERR_ENGINE_FILES, "a file that describes a snapshot is not what is known: %s", what);
}

static uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- the frame, which is Lucene's CodecUtil header and footer ---- */
static int inflate(struct bytes in, struct buf *out, struct error *err) {
    struct inflate_state z;
    isal_inflate_init(&z);
    z.next_in = (uint8_t *)(uintptr_t)in.ptr;
    z.avail_in = (uint32_t)in.len;
    while (z.block_state != ISAL_BLOCK_FINISH) {
        int r = buf_reserve(out, 64u << 10, err);
        if (r < 0) return r;
        uint32_t room = 64u << 10;
        z.next_out = out->ptr + out->len;
        z.avail_out = room;
        if (isal_inflate(&z) != ISAL_DECOMP_OK) return bad("it does not decompress", err);
        out->len += room - z.avail_out;
        if (z.avail_out == room && z.avail_in == 0 && z.block_state != ISAL_BLOCK_FINISH)
            return bad("it ends in the middle", err);
    }
    return 0;
}

int engine_blob_open(struct bytes f, struct buf *out, struct error *err) {
    static const uint8_t deflated[] = {'D', 'F', 'L', 0};
    if (f.len < 9 + FOOTER_BYTES || f.len > BLOB_MAX || be32(f.ptr) != CODEC_MAGIC || f.ptr[4] >= 128 ||
        f.len < 9u + f.ptr[4] + FOOTER_BYTES)
        return bad("its header", err);
    const uint8_t *foot = f.ptr + f.len - FOOTER_BYTES;
    if (be32(foot) != FOOTER_MAGIC || be32(foot + 8) != 0) return bad("its footer", err);
    if (crc32_gzip_refl(0, f.ptr, f.len - 8) != be32(foot + 12)) return bad("its checksum is wrong", err);
    struct bytes body = BYTES_OF(f.ptr + 9 + f.ptr[4], f.len - 9 - f.ptr[4] - FOOTER_BYTES);
    buf_clear(out);
    if (body.len > sizeof deflated && !memcmp(body.ptr, deflated, sizeof deflated))
        return inflate(BYTES_OF(body.ptr + sizeof deflated, body.len - sizeof deflated), out, err);
    return buf_append(out, body.ptr, body.len, err);
}

/* ---- SMILE, as Jackson's format specification has it ---- */
enum token { T_KEY, T_TEXT, T_INT, T_OTHER, T_OPEN, T_CLOSE, T_END };
struct smile {
    struct bytes in;
    size_t at;
    struct bytes names[NAMES_MAX];
    size_t name_count, depth;
    bool shared_names, key_next;
    bool object[DEPTH_MAX];
    struct bytes text; /* of T_KEY and T_TEXT */
    int64_t number;
};

static bool take(struct smile *s, size_t n, struct bytes *ret) {
    if (n > s->in.len - s->at) return false;
    *ret = BYTES_OF(s->in.ptr + s->at, n);
    s->at += n;
    return true;
}

static bool until_end_mark(struct smile *s, struct bytes *ret) {
    const uint8_t *p = s->in.ptr + s->at, *e = memchr(p, 0xfc, s->in.len - s->at);
    if (!e) return false;
    *ret = BYTES_OF(p, (size_t)(e - p));
    s->at += (size_t)(e - p) + 1;
    return true;
}

static bool vint(struct smile *s, uint64_t *ret) {
    uint64_t v = 0;
    for (unsigned i = 0; i < 10 && s->at < s->in.len; i++) {
        uint8_t b = s->in.ptr[s->at++];
        if (b & 0x80) {
            *ret = v << 6 | (b & 0x3f);
            return true;
        }
        v = v << 7 | b;
    }
    return false;
}

static bool skip_sevens(struct smile *s) { /* bytes in groups of seven bits */
    struct bytes unused;
    uint64_t n;
    return vint(s, &n) && n <= s->in.len && take(s, (size_t)(n / 7 * 8 + (n % 7 ? n % 7 + 1 : 0)), &unused);
}

static bool key(struct smile *s, uint8_t b) {
    bool fresh = true;
    s->key_next = false;
    if (b == 0x20) {
        s->text = BYTES_OF(NULL, 0);
        return true;
    }
    if ((b >= 0x30 && b <= 0x33) || (b >= 0x40 && b <= 0x7f)) {
        size_t n = b & 0x3f;
        if (b < 0x40) {
            if (s->at == s->in.len) return false;
            n = (size_t)(b & 3) << 8 | s->in.ptr[s->at++];
        }
        if (!s->shared_names || n >= s->name_count) return false;
        s->text = s->names[n];
        return true;
    }
    if (b == 0x34)
        fresh = false;
    else if (!(b >= 0x80 && b <= 0xf7))
        return false;
    if (!(fresh ? take(s, b <= 0xbf ? b - 0x7fu : b - 0xc0u + 2, &s->text) : until_end_mark(s, &s->text))) return false;
    if (fresh && s->shared_names) {
        if (s->name_count == NAMES_MAX) s->name_count = 0;
        s->names[s->name_count++] = s->text;
    }
    return true;
}

static bool open_in(struct smile *s, bool object) {
    if (s->depth == DEPTH_MAX) return false;
    s->object[s->depth++] = object;
    s->key_next = object;
    return true;
}

static bool close_in(struct smile *s, bool object) {
    if (s->depth == 0 || s->object[s->depth - 1] != object) return false;
    s->depth--;
    s->key_next = s->depth && s->object[s->depth - 1];
    return true;
}

static bool value(struct smile *s, uint8_t b, enum token *ret) {
    struct bytes unused;
    uint64_t n;
    *ret = T_OTHER;
    s->key_next = s->depth && s->object[s->depth - 1];
    if (b >= 0x40 && b <= 0xbf) { /* 1 to 32, 33 to 64; 2 to 33, 34 to 65 */
        *ret = T_TEXT;
        return take(s, b < 0x80 ? b - 0x3fu : b - 0x7fu + 1, &s->text);
    }
    if (b >= 0xc0 && b <= 0xdf) {
        *ret = T_INT;
        s->number = (int64_t)((b & 0x1fu) >> 1) ^ -(int64_t)(b & 1);
        return true;
    }
    switch (b) {
    case 0x20:
        *ret = T_TEXT;
        s->text = BYTES_OF(NULL, 0);
        return true;
    case 0x21:
    case 0x22:
    case 0x23:
        return true;
    case 0x24:
    case 0x25:
        *ret = T_INT;
        if (!vint(s, &n)) return false;
        s->number = (int64_t)(n >> 1) ^ -(int64_t)(n & 1);
        return true;
    case 0x26:
        return skip_sevens(s);
    case 0x28:
        return take(s, 5, &unused);
    case 0x29:
        return take(s, 10, &unused);
    case 0x2a:
        return vint(s, &n) && skip_sevens(s);
    case 0xe0:
    case 0xe4:
        *ret = T_TEXT;
        return until_end_mark(s, &s->text);
    case 0xe8:
        return skip_sevens(s);
    case 0xf8:
        *ret = T_OPEN;
        return open_in(s, false);
    case 0xf9:
        *ret = T_CLOSE;
        return close_in(s, false);
    case 0xfa:
        *ret = T_OPEN;
        return open_in(s, true);
    case 0xfd:
        return vint(s, &n) && n <= s->in.len && take(s, (size_t)n, &unused);
    default:
        return false; /* references to values too: no cluster writes them */
    }
}

static int next(struct smile *s, enum token *ret, struct error *err) {
    bool good = s->at < s->in.len;
    uint8_t b = good ? s->in.ptr[s->at++] : 0;
    if (good && s->key_next && b == 0xfb) {
        *ret = T_CLOSE;
        good = close_in(s, true);
    } else if (good && s->key_next) {
        *ret = T_KEY;
        good = key(s, b);
    } else if (good) {
        good = value(s, b, ret);
    }
    return good ? 0 : bad("its structure", err);
}

static bool is(struct bytes b, const char *text) {
    return bytes_equal(b, BYTES_STR(text));
}

static bool base36(struct bytes b, uint32_t *ret) {
    uint64_t v = 0;
    for (size_t i = 0; i < b.len && i < 8; i++) {
        uint8_t c = b.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'))) return false;
        v = v * 36 + (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret = (uint32_t)v;
    return b.len > 0 && b.len < 8 && v <= UINT32_MAX;
}

static int file(struct smile *s, struct engine_blob *ret, struct error *err) {
    enum token t;
    *ret = (struct engine_blob){0};
    for (size_t depth = s->depth; s->depth >= depth;) {
        bool mine = s->depth == depth;
        int r = next(s, &t, err);
        if (r < 0 || !mine || t != T_KEY) {
            if (r < 0) return r;
            continue;
        }
        struct bytes k = s->text;
        if ((r = next(s, &t, err)) < 0) return r;
        if (is(k, "name") && t == T_TEXT) ret->name = s->text;
        if (is(k, "checksum") && t == T_TEXT) ret->has_crc = base36(s->text, &ret->crc);
        if (is(k, "length") && t == T_INT && s->number >= 0) ret->bytes = (uint64_t)s->number;
        if (is(k, "part_size") && t == T_INT && s->number > 0) ret->part_bytes = (uint64_t)s->number;
    }
    if (ret->part_bytes >= ret->bytes) ret->part_bytes = 0;
    /* It becomes part of a path, in folders that another user writes: a name that only the products give. */
    for (size_t i = 0; i < ret->name.len; i++) {
        uint8_t c = ret->name.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-'))
            return bad("the name of a file", err);
    }
    bool known = ret->name.len >= 3 && (!memcmp(ret->name.ptr, "__", 2) || !memcmp(ret->name.ptr, "v__", 3));
    return known && ret->name.len <= 100 ? 0 : bad("the name of a file", err);
}

int engine_blob_files(struct bytes in, int (*cb)(void *ctx, const struct engine_blob *, struct error *), void *ctx,
                      uint64_t *ret_files, uint64_t *ret_bytes, struct error *err) {
    struct smile *s;
    void *mem;
    enum token t = T_OTHER;
    bool listed = false;
    uint64_t files = 0, bytes = 0;
    if (in.len < 5 || memcmp(in.ptr, ":)\n", 3) != 0 || in.ptr[3] >> 4 != 0) return bad("it is no SMILE", err);
    int r = mem_alloc(sizeof *s, &mem, err);
    if (r < 0) return r;
    s = mem;
    s->in = in;
    s->at = 4;
    s->shared_names = in.ptr[3] & 1;
    r = next(s, &t, err);
    if (r == 0 && (t != T_OPEN || !s->object[0])) r = bad("it is no object", err);
    while (r == 0 && s->depth > 0) {
        r = next(s, &t, err);
        if (r < 0 || t != T_KEY || s->depth != 1 || !is(s->text, "files")) continue;
        listed = true;
        r = next(s, &t, err);
        if (r == 0 && (t != T_OPEN || s->object[s->depth - 1])) r = bad("its list of files", err);
        while (r == 0 && s->depth == 2) {
            struct engine_blob f;
            r = next(s, &t, err);
            if (r < 0 || s->depth != 3) continue;
            r = t == T_OPEN && s->object[2] ? file(s, &f, err) : bad("its list of files", err);
            if (r < 0) continue;
            files++;
            bytes += f.bytes;
            if (memcmp(f.name.ptr, "v__", 3) != 0) r = cb(ctx, &f, err);
        }
    }
    seam_free(s);
    if (r == 0 && !listed) r = bad("it has no list of files", err);
    if (r == 0) *ret_files = files, *ret_bytes = bytes;
    return r;
}
