#include "repo/wal_object.h"

#include "repo/repo_internal.h"

#define FRAME_BYTES (1u << 20)
#define OBJECT_MAX (UINT64_C(1100) << 20) /* more than the largest segment can take */
#define LEVEL 1
#define EPOCH_AT 12
#define SALT_AT 32
#define COMMITMENT_AT 64
#define SEALED_AT 96
#define KEYED_AT 176
#define PLAIN_AT 208
#define SEGMENT_AT 216
#define FRAME_AT 220
#define ROW_BYTES 8
#define ORDINAL_TABLE UINT32_C(0xffffffff)
#define ORDINAL_PADDING UINT32_C(0xfffffffd)

_Static_assert(SEALED_AT + SEALED_KEY_BYTES == KEYED_AT, "the header's fields follow each other");
_Static_assert(WAL_OBJECT_HEADER_BYTES == PACK_HEADER_BYTES, "pack_aead takes a header of that size");

static size_t frames_of(uint64_t plain) {
    return (size_t)((plain + FRAME_BYTES - 1) / FRAME_BYTES);
}

static int keyed_id(const struct repo *r, unsigned epoch, const char *key, struct bytes plain, struct digest *ret,
                    struct error *err) {
    struct digest sha;
    struct bytes id_key;
    struct buf in = BUF_INIT(512);
    int rc = repo_id_key(r, epoch, &id_key, err);
    if (rc < 0) return rc;
    sha256(plain, &sha);
    rc = buf_append_str(&in, "proofkeep/v1/wal", err);
    if (rc == 0) rc = buf_append(&in, sha.b, sizeof sha.b, err);
    if (rc == 0) rc = buf_append_str(&in, key, err);
    if (rc == 0) hmac_sha256(id_key, buf_bytes(&in), ret);
    buf_free(&in);
    return rc;
}

/* The object's key and what commits to it. */
static int derive(const struct repo *r, const uint8_t *secret, const uint8_t *salt, uint8_t okm[2 * KEY_BYTES],
                  struct error *err) {
    struct buf info = BUF_INIT(256);
    int rc = buf_append_str(&info, "proofkeep/v1/wal", err);
    if (rc == 0) rc = buf_append(&info, r->id, sizeof r->id, err);
    if (rc == 0)
        rc = hkdf_sha256(BYTES_OF(secret, KEY_BYTES), BYTES_OF(salt, 32), buf_bytes(&info), okm, 2 * KEY_BYTES, err);
    buf_free(&info);
    return rc;
}

/* ---- one object in the making, or being read ---- */
struct object {
    const char *name;
    uint8_t header[WAL_OBJECT_HEADER_BYTES], key[KEY_BYTES];
    enum cipher cipher;
    struct codec *codec;
    uint8_t *room, *back; /* a frame each */
};

static void object_clear(struct object *o) {
    wipe(o->key, sizeof o->key);
    codec_free(o->codec);
    seam_free(o->room);
    seam_free(o->back);
}

static int object_room(struct object *o, struct error *err) {
    void *p;
    int rc = codec_new(&o->codec, err);
    if (rc == 0) codec_expect(o->codec, CODEC_WAL);
    if (rc == 0 && (rc = mem_alloc(codec_bound(FRAME_BYTES) + AEAD_TAG_BYTES, &p, err)) == 0) o->room = p;
    if (rc == 0 && (rc = mem_alloc(codec_bound(FRAME_BYTES) + AEAD_TAG_BYTES, &p, err)) == 0) o->back = p;
    return rc;
}

static int part(const struct object *o, uint32_t ordinal, bool seal, struct bytes in, uint8_t *out, struct error *err) {
    uint8_t nonce[AEAD_NONCE_BYTES];
    struct aead *a = NULL;
    struct buf aad = BUF_INIT(1u << 12);
    int rc = pack_aead(o->cipher, o->key, o->header, ordinal, BYTES_STR(o->name), &a, nonce, &aad, err);
    if (rc == 0) rc = (seal ? aead_seal : aead_open)(a, nonce, buf_bytes(&aad), in, out, err);
    aead_free(a);
    buf_free(&aad);
    return rc;
}

static int part_append(const struct object *o, uint32_t ordinal, struct bytes in, struct buf *out, struct error *err) {
    int rc = buf_reserve(out, in.len + AEAD_TAG_BYTES, err);
    if (rc == 0) rc = part(o, ordinal, true, in, out->ptr + out->len, err);
    if (rc == 0) out->len += in.len + AEAD_TAG_BYTES;
    return rc;
}

/* ---- putting ---- */

static int header_make(const struct repo *r, struct object *o, struct bytes plain, uint32_t segment_bytes,
                       struct error *err) {
    uint8_t secret[KEY_BYTES], okm[2 * KEY_BYTES], *h = o->header;
    struct digest keyed;
    memcpy(h, "PKWAL001", 8);
    h[8] = FORMAT_VERSION;
    h[9] = (uint8_t)(o->cipher = r->cipher);
    put_u16(h + EPOCH_AT, (uint16_t)r->epoch);
    memcpy(h + 16, r->id, sizeof r->id);
    put_u64(h + PLAIN_AT, plain.len);
    put_u32(h + SEGMENT_AT, segment_bytes);
    put_u32(h + FRAME_AT, FRAME_BYTES);
    int rc = random_bytes(h + SALT_AT, 32, err);
    if (rc == 0) rc = random_bytes(secret, sizeof secret, err);
    if (rc == 0) rc = box_seal(r->keys->read_public, BYTES_OF(secret, sizeof secret), h + SEALED_AT, err);
    if (rc == 0) rc = derive(r, secret, h + SALT_AT, okm, err);
    if (rc == 0) rc = keyed_id(r, r->epoch, o->name, plain, &keyed, err);
    if (rc == 0) {
        memcpy(o->key, okm, KEY_BYTES);
        memcpy(h + COMMITMENT_AT, okm + KEY_BYTES, KEY_BYTES);
        memcpy(h + KEYED_AT, keyed.b, sizeof keyed.b);
    }
    wipe(secret, sizeof secret);
    wipe(okm, sizeof okm);
    return rc;
}

static int frame_put(struct object *o, uint32_t ordinal, struct bytes plain, struct buf *out, uint8_t row[ROW_BYTES],
                     struct error *err) {
    size_t n, at = out->len;
    enum codec_kind kind;
    int rc = codec_encode(o->codec, plain, LEVEL, o->room, &n, &kind, err);
    if (rc < 0) return rc;
    rc = part_append(o, ordinal, kind == CODEC_RAW ? plain : BYTES_OF(o->room, n), out, err);
    if (rc == 0) rc = part(o, ordinal, false, BYTES_OF(out->ptr + at, n + AEAD_TAG_BYTES), o->room, err);
    if (rc == 0 && kind != CODEC_RAW)
        rc = codec_decode(o->codec, kind, BYTES_OF(o->room, n), BYTES_OF(NULL, 0), o->back, plain.len, err);
    if (rc == 0 && memcmp(kind == CODEC_RAW ? o->room : o->back, plain.ptr, plain.len) != 0)
        rc = error_set(err, ERR_INTERNAL, "what was sealed does not decode to what it was made of");
    memset(row, 0, ROW_BYTES);
    put_u32(row, (uint32_t)(n + AEAD_TAG_BYTES));
    row[4] = (uint8_t)kind;
    return rc;
}

/* Table and frames are made in one buffer: the table's size is known before its content. */
static int object_make(struct object *o, struct bytes plain, struct buf *out, struct error *err) {
    size_t n = frames_of(plain.len), table_at = WAL_OBJECT_HEADER_BYTES;
    uint8_t *rows;
    void *p;
    int rc = mem_alloc(n * ROW_BYTES + 1, &p, err);
    if (rc < 0) return rc;
    rows = p;
    rc = buf_reserve(out, table_at + n * ROW_BYTES + AEAD_TAG_BYTES + plain.len / 2, err);
    if (rc == 0) out->len = table_at + n * ROW_BYTES + AEAD_TAG_BYTES;
    for (size_t i = 0; i < n && rc == 0; i++) {
        size_t at = i * FRAME_BYTES, len = plain.len - at < FRAME_BYTES ? plain.len - at : FRAME_BYTES;
        rc = frame_put(o, (uint32_t)i, BYTES_OF(plain.ptr + at, len), out, rows + i * ROW_BYTES, err);
    }
    if (rc == 0) rc = part(o, ORDINAL_TABLE, true, BYTES_OF(rows, n * ROW_BYTES), out->ptr + table_at, err);
    if (rc == 0) {
        size_t pad = (size_t)(padme(out->len + AEAD_TAG_BYTES) - out->len) - AEAD_TAG_BYTES;
        if ((rc = buf_reserve(out, pad + AEAD_TAG_BYTES, err)) == 0) {
            memset(out->ptr + out->len, 0, pad);
            rc = part(o, ORDINAL_PADDING, true, BYTES_OF(out->ptr + out->len, pad), out->ptr + out->len, err);
            out->len += pad + AEAD_TAG_BYTES;
        }
    }
    if (rc == 0) memcpy(out->ptr, o->header, sizeof o->header);
    seam_free(p);
    return rc;
}

static int differs(struct error *err, const char *key) {
    error_set(err, ERR_WAL_DIFFERS, "%s is stored already, with other bytes", key);
    return error_state(err, "nothing was stored, and what is there was not touched");
}

/* What stands under a name that is taken: the same, or not. */
static int compare(struct repo *r, const char *key, struct bytes plain, struct wal_object_stored *ret,
                   struct error *err) {
    struct wal_object_head h;
    struct digest keyed;
    struct buf object = BUF_INIT(OBJECT_MAX);
    int rc = wal_object_head(r, key, &h, err);
    if (rc < 0) return error_wrap(err, "the name is taken, and whether by the same bytes cannot be told");
    if (h.plain_bytes != plain.len) return differs(err, key);
    rc = keyed_id(r, h.epoch, key, plain, &keyed, err);
    if (rc < 0) return error_wrap(err, "%s is taken, and whether by the same bytes cannot be told", key);
    if (!digest_equal(&keyed, &h.keyed)) return differs(err, key);
    ret->was_there = true;
    rc = store_read_all(r->store, key, object.max_bytes, &object, err);
    if (rc == 0) sha256(buf_bytes(&object), &ret->digest);
    ret->object_bytes = object.len;
    buf_free(&object);
    return rc;
}

int wal_object_matches(struct repo *r, const char *key, struct bytes plain, bool *ret, struct error *err) {
    struct wal_object_head h;
    struct digest keyed;
    int rc = wal_object_head(r, key, &h, err);
    if (rc == 0) rc = keyed_id(r, h.epoch, key, plain, &keyed, err);
    if (rc == 0) *ret = h.plain_bytes == plain.len && digest_equal(&keyed, &h.keyed);
    return rc;
}

int wal_object_put(struct repo *r, const char *key, struct bytes plain, uint32_t segment_bytes,
                   struct wal_object_stored *ret, struct error *err) {
    struct object o = {.name = key};
    struct buf out = BUF_INIT(OBJECT_MAX);
    struct wal_object_stored s = {0};
    int rc = repo_writable(r, err);
    if (rc < 0) return rc;
    if (plain.len > WAL_OBJECT_BYTES_MAX)
        return error_set(err, ERR_PG_WAL, "%s would have %zu bytes, which no WAL file has", key, plain.len);
    if (rc == 0) rc = object_room(&o, err);
    if (rc == 0) rc = header_make(r, &o, plain, segment_bytes, err);
    if (rc == 0) rc = object_make(&o, plain, &out, err);
    object_clear(&o);
    if (rc == 0) {
        sha256(buf_bytes(&out), &s.digest);
        s.object_bytes = out.len;
        rc = store_create(r->store, key, buf_bytes(&out), err);
    }
    buf_free(&out);
    if (rc == -ERR_OBJECT_EXISTS) {
        error_clear(err);
        rc = compare(r, key, plain, &s, err);
    }
    if (rc == 0) *ret = s;
    return rc;
}

/* ---- getting ---- */

static int corrupt(struct error *err, const char *key, const char *what) {
    error_clear(err);
    return error_set(err, ERR_OBJECT_CORRUPT, "%s: %s", key, what);
}

static int header_parse(const struct repo *r, const char *key, const uint8_t *h, struct wal_object_head *ret,
                        struct error *err) {
    if (memcmp(h, "PKWAL001", 8) != 0) return corrupt(err, key, "it is no WAL object");
    if (h[8] != FORMAT_VERSION || (h[9] != CIPHER_AES_256_GCM && h[9] != CIPHER_CHACHA20_POLY1305) || h[10] || h[11])
        return error_set(err, ERR_FORMAT_VERSION, "%s is of a version or cipher that is unknown here", key);
    if (memcmp(h + 16, r->id, sizeof r->id) != 0) return corrupt(err, key, "it belongs to another repository");
    *ret = (struct wal_object_head){
        .epoch = get_u16(h + EPOCH_AT), .plain_bytes = get_u64(h + PLAIN_AT), .segment_bytes = get_u32(h + SEGMENT_AT)};
    memcpy(ret->keyed.b, h + KEYED_AT, DIGEST_BYTES);
    if (ret->epoch > r->epoch) return corrupt(err, key, "its header names an epoch that the log does not know");
    if (ret->plain_bytes > WAL_OBJECT_BYTES_MAX || get_u32(h + FRAME_AT) != FRAME_BYTES)
        return corrupt(err, key, "its header names sizes that no WAL object has");
    return 0;
}

int wal_object_head(struct repo *r, const char *key, struct wal_object_head *ret, struct error *err) {
    uint8_t h[WAL_OBJECT_HEADER_BYTES];
    size_t n;
    int rc = store_read(r->store, key, 0, h, sizeof h, &n, err);
    if (rc == 0 && n < sizeof h) rc = corrupt(err, key, "it is too short");
    return rc < 0 ? rc : header_parse(r, key, h, ret, err);
}

static int object_open(const struct repo *r, struct object *o, struct error *err) {
    uint8_t secret[KEY_BYTES], okm[2 * KEY_BYTES];
    o->cipher = o->header[9];
    int rc =
        box_open(secret_bytes(r->keys->read_secret), BYTES_OF(o->header + SEALED_AT, SEALED_KEY_BYTES), secret, err);
    if (rc == -ERR_KEY_WRONG) return corrupt(err, o->name, "its key does not open");
    if (rc == 0) rc = derive(r, secret, o->header + SALT_AT, okm, err);
    bool committed = rc == 0 && memcmp(okm + KEY_BYTES, o->header + COMMITMENT_AT, KEY_BYTES) == 0;
    if (rc == 0) memcpy(o->key, okm, KEY_BYTES);
    wipe(secret, sizeof secret);
    wipe(okm, sizeof okm);
    return rc < 0 || committed ? rc : corrupt(err, o->name, "its key commitment does not hold");
}

static int part_open(const struct object *o, uint32_t ordinal, struct bytes in, uint8_t *out, struct error *err) {
    int rc = part(o, ordinal, false, in, out, err);
    return rc == -ERR_OBJECT_CORRUPT ? corrupt(err, o->name, "a part of it does not open") : rc;
}

static int frame_get(struct object *o, uint32_t ordinal, const uint8_t *row, size_t plain, struct cursor *c,
                     struct buf *out, struct error *err) {
    uint32_t n = get_u32(row);
    enum codec_kind kind = row[4];
    if (n < AEAD_TAG_BYTES || n > codec_bound(FRAME_BYTES) + AEAD_TAG_BYTES ||
        (kind == CODEC_RAW ? n - AEAD_TAG_BYTES != plain : kind != CODEC_ZSTD))
        return corrupt(err, o->name, "its table is malformed");
    struct bytes sealed = cursor_take(c, n);
    if (c->bad) return corrupt(err, o->name, "it is too short");
    int rc = part_open(o, ordinal, sealed, o->room, err);
    if (rc < 0) return rc;
    if (kind == CODEC_RAW) return buf_append(out, o->room, plain, err);
    if ((rc = buf_reserve(out, plain, err)) < 0) return rc;
    rc = codec_decode(o->codec, kind, BYTES_OF(o->room, n - AEAD_TAG_BYTES), BYTES_OF(NULL, 0), out->ptr + out->len,
                      plain, err);
    if (rc == 0) out->len += plain;
    return rc < 0 ? error_wrap(err, "%s", o->name) : 0;
}

static int object_decode(struct repo *r, struct object *o, struct bytes object, struct buf *out, struct error *err) {
    struct wal_object_head h;
    struct cursor c = cursor_of(object);
    struct bytes head = cursor_take(&c, WAL_OBJECT_HEADER_BYTES);
    if (c.bad) return corrupt(err, o->name, "it is too short");
    memcpy(o->header, head.ptr, sizeof o->header);
    int rc = header_parse(r, o->name, o->header, &h, err);
    if (rc == 0) rc = object_open(r, o, err);
    if (rc < 0) return rc;
    size_t n = frames_of(h.plain_bytes), start = out->len;
    struct bytes table = cursor_take(&c, n * ROW_BYTES + AEAD_TAG_BYTES);
    void *rows;
    if (c.bad) return corrupt(err, o->name, "it is too short");
    if ((rc = mem_alloc(table.len, &rows, err)) < 0) return rc;
    rc = part_open(o, ORDINAL_TABLE, table, rows, err);
    if (rc == 0) rc = buf_reserve(out, h.plain_bytes, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        uint64_t left = h.plain_bytes - (uint64_t)i * FRAME_BYTES;
        rc = frame_get(o, (uint32_t)i, (uint8_t *)rows + i * ROW_BYTES, left < FRAME_BYTES ? (size_t)left : FRAME_BYTES,
                       &c, out, err);
    }
    seam_free(rows);
    void *pad = NULL;
    if (rc == 0 && c.len < AEAD_TAG_BYTES) rc = corrupt(err, o->name, "it is too short");
    if (rc == 0 && (rc = mem_alloc(c.len, &pad, err)) == 0)
        rc = part_open(o, ORDINAL_PADDING, BYTES_OF(c.ptr, c.len), pad, err);
    seam_free(pad);
    struct digest keyed;
    if (rc == 0) rc = keyed_id(r, h.epoch, o->name, BYTES_OF(out->ptr + start, out->len - start), &keyed, err);
    if (rc == 0 && !digest_equal(&keyed, &h.keyed))
        rc = corrupt(err, o->name,
                     "its bytes are not those that its keyed id names: it was not made by a writer of this repository");
    return rc;
}

static int get_once(struct repo *r, const char *key, struct buf *ret, struct error *err) {
    struct object o = {.name = key};
    struct buf object = BUF_INIT(OBJECT_MAX);
    size_t start = ret->len;
    int rc = store_read_all(r->store, key, object.max_bytes, &object, err);
    if (rc == 0) rc = object_room(&o, err);
    if (rc == 0) rc = object_decode(r, &o, buf_bytes(&object), ret, err);
    object_clear(&o);
    buf_free(&object);
    if (rc < 0) ret->len = start;
    return rc;
}

int wal_object_get(struct repo *r, const char *key, struct buf *ret, struct error *err) {
    int rc = repo_needs_read(r, "reading WAL", err);
    if (rc == 0) rc = get_once(r, key, ret, err);
    /* what somebody put over an object is seen through, as with packs */
    if (rc == -ERR_OBJECT_CORRUPT && store_pin_first_version(r->store, key)) {
        error_clear(err);
        rc = get_once(r, key, ret, err);
    }
    return rc;
}

bool wal_piece_gave_way(struct store *s, const char *key) {
    const char *pieces = strstr(key, ".pieces/");
    char whole[WAL_OBJECT_KEY_BYTES];
    struct error e = ERROR_INIT;
    if (!pieces) return false;
    snprintf(whole, sizeof whole, "%.*s", (int)(pieces - key), key);
    return store_stat(s, whole, NULL, NULL, &e) == 0;
}
