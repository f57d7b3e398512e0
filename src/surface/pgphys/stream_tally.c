/* The server names files in its manifest in the order in which it sent them (AddFileToBackupManifest of basebackup.c),
 * a line each, so both lists are walked side by side and neither is held in memory. Format: PostgreSQL's manual,
 * "Backup Manifest Format". */
#include "surface/pgphys/stream_internal.h"

#include "base/seam.h"
#include <stdio.h>

#define SPILL (1u << 20)
#define HEAD_BYTES (2 + 8 + DIGEST_BYTES)
#define LINE_MAX_BYTES (64u << 10)

enum part { BEFORE_FILES, FILES, AFTER_FILES, ENDED };
struct stream_tally {
    const char *dir;
    int fd;           /* nameless; -1 while all is in memory */
    struct buf fresh; /* what is not in the file yet */
    uint64_t written, count, named;
    struct buf back; /* what was read back, from `at` on */
    uint64_t read_at;
    size_t at;
    enum part part;
    struct buf line;
    struct sha256_state *sha;
    struct digest is; /* of all lines but the last */
};

int stream_tally_new(const char *scratch_dir, struct stream_tally **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct stream_tally), &mem, err);
    if (rc < 0) return rc;
    struct stream_tally *t = mem;
    t->dir = scratch_dir ? scratch_dir : "/tmp";
    t->fd = -1;
    t->fresh = BUF_INIT(SPILL + HEAD_BYTES + UINT16_MAX);
    t->back = BUF_INIT(4 * SPILL);
    t->line = BUF_INIT(LINE_MAX_BYTES);
    rc = sha256_new(&t->sha, err);
    if (rc < 0)
        stream_tally_free(t);
    else
        *ret = t;
    return rc;
}

static int spill(struct stream_tally *t, struct error *err) {
    int rc = t->fd < 0 ? io_nameless(t->dir, &t->fd, err) : 0;
    if (rc < 0) return rc;
    rc = io_pwrite_full(t->fd, t->fresh.ptr, t->fresh.len, t->written, "the list of a base backup's files", err);
    t->written += t->fresh.len;
    buf_clear(&t->fresh);
    return rc;
}

int stream_tally_add(struct stream_tally *t, struct bytes name, uint64_t bytes, const struct digest *sha256,
                     struct error *err) {
    uint8_t head[HEAD_BYTES];
    if (name.len > UINT16_MAX) return error_set(err, ERR_PG_BASE, "a file's name has %zu bytes", name.len);
    put_u16(head, (uint16_t)name.len);
    put_u64(head + 2, bytes);
    memcpy(head + 10, sha256->b, DIGEST_BYTES);
    int rc = buf_append(&t->fresh, head, sizeof head, err);
    if (rc == 0) rc = buf_append(&t->fresh, name.ptr, name.len, err);
    t->count++;
    return rc == 0 && t->fresh.len >= SPILL ? spill(t, err) : rc;
}

/* At least n bytes in front, unless the list ends before. */
static int back_fill(struct stream_tally *t, size_t n, struct error *err) {
    if (t->back.len - t->at >= n) return 0;
    if (t->at < t->back.len) memmove(t->back.ptr, t->back.ptr + t->at, t->back.len - t->at);
    t->back.len -= t->at;
    t->at = 0;
    const uint64_t left = t->written - t->read_at;
    const size_t take = left < SPILL ? (size_t)left : SPILL;
    size_t got = 0;
    int rc = take ? buf_reserve(&t->back, take, err) : 0;
    if (rc == 0 && take)
        rc = io_pread_full(t->fd, t->back.ptr + t->back.len, take, t->read_at, &got,
                           "the list of a base backup's files", err);
    if (rc == 0 && got != take) rc = error_set(err, ERR_IO_READ, "the list of a base backup's files became shorter");
    t->back.len += got;
    t->read_at += got;
    if (rc == 0 && t->back.len - t->at < n && t->fresh.len) { /* its last part never left memory */
        rc = buf_append(&t->back, t->fresh.ptr, t->fresh.len, err);
        buf_clear(&t->fresh);
    }
    return rc;
}

static int differs(struct error *err, struct bytes name, const char *how) {
    error_set(err, ERR_PG_BASE, "%.*s is not what the server says it sent: %s", (int)name.len, (const char *)name.ptr,
              how);
    return error_state(err, "no snapshot was made; earlier ones are untouched");
}

/* The next that came has that name, size and digest. */
static int match(struct stream_tally *t, struct bytes name, uint64_t bytes, const struct digest *sha,
                 struct error *err) {
    int rc = back_fill(t, HEAD_BYTES, err);
    if (rc < 0) return rc;
    if (t->back.len - t->at < HEAD_BYTES) return differs(err, name, "it never came");
    const size_t n = get_u16(t->back.ptr + t->at);
    if ((rc = back_fill(t, HEAD_BYTES + n, err)) < 0) return rc;
    const uint8_t *p = t->back.ptr + t->at;
    char how[160];
    t->at += HEAD_BYTES + n;
    t->named++;
    if (!bytes_equal(BYTES_OF(p + HEAD_BYTES, n), name)) {
        snprintf(how, sizeof how, "in its place came %.*s", n < 100 ? (int)n : 100, (const char *)p + HEAD_BYTES);
        return differs(err, name, how);
    }
    if (get_u64(p + 2) != bytes) {
        snprintf(how, sizeof how, "%llu bytes came of %llu", (unsigned long long)get_u64(p + 2),
                 (unsigned long long)bytes);
        return differs(err, name, how);
    }
    return memcmp(p + 10, sha->b, DIGEST_BYTES) == 0 ? 0 : differs(err, name, "its SHA-256 is another");
}

static int malformed(struct error *err, const char *what) {
    return error_set(err, ERR_PG_BASE, "the server's backup manifest %s", what);
}

static bool take(struct bytes *in, char c) {
    while (in->len && in->ptr[0] == ' ') *in = BYTES_OF(in->ptr + 1, in->len - 1);
    if (!in->len || in->ptr[0] != c) return false;
    *in = BYTES_OF(in->ptr + 1, in->len - 1);
    return true;
}

/* A string as escape_json of the server writes it; false when it is none. */
static bool string_take(struct bytes *in, struct buf *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    struct error e = ERROR_INIT;
    buf_clear(out);
    if (!take(in, '"') || buf_reserve(out, in->len, &e) < 0) return false;
    while (in->len && in->ptr[0] != '"') {
        uint8_t c = in->ptr[0], code[2];
        size_t n = 1;
        if (c == '\\') {
            const char *at = in->len > 1 && in->ptr[1] ? strchr(from, in->ptr[1]) : NULL;
            n = at ? 2 : 6;
            if (!at &&
                (in->len < 6 || in->ptr[1] != 'u' || !hex_decode((const char *)in->ptr + 2, 4, code, 2) || code[0]))
                return false;
            c = at ? (uint8_t)to[at - from] : code[1];
        }
        out->ptr[out->len++] = c;
        *in = BYTES_OF(in->ptr + n, in->len - n);
    }
    return take(in, '"');
}

static bool number_take(struct bytes *in, uint64_t *ret) {
    uint64_t v = 0;
    size_t n = 0;
    while (in->len && in->ptr[0] == ' ') *in = BYTES_OF(in->ptr + 1, in->len - 1);
    for (; n < in->len && in->ptr[n] >= '0' && in->ptr[n] <= '9' && n < 19; n++)
        v = v * 10 + (uint64_t)(in->ptr[n] - '0');
    *in = BYTES_OF(in->ptr + n, in->len - n);
    *ret = v;
    return n > 0;
}

struct line {
    struct buf key, value, name;
    uint64_t bytes;
    struct digest sha;
    bool has_name, has_bytes, is_sha256, has_sha;
};

static bool field_take(struct bytes *in, struct line *l) {
    if (!string_take(in, &l->key) || !take(in, ':')) return false;
    const struct bytes key = buf_bytes(&l->key);
    if (bytes_equal(key, BYTES_STR("Size"))) return l->has_bytes = number_take(in, &l->bytes);
    if (bytes_equal(key, BYTES_STR("Path"))) return l->has_name = string_take(in, &l->name);
    if (!string_take(in, &l->value)) return false;
    const struct bytes value = buf_bytes(&l->value);
    if (bytes_equal(key, BYTES_STR("Encoded-Path"))) {
        struct error e = ERROR_INIT;
        buf_clear(&l->name);
        if (value.len % 2 || buf_reserve(&l->name, value.len / 2 + 1, &e) < 0) return false;
        l->name.len = value.len / 2;
        return l->has_name = hex_decode((const char *)value.ptr, value.len, l->name.ptr, l->name.len);
    }
    if (bytes_equal(key, BYTES_STR("Checksum-Algorithm"))) l->is_sha256 = bytes_equal(value, BYTES_STR("SHA256"));
    if (bytes_equal(key, BYTES_STR("Checksum")))
        return l->has_sha = hex_decode((const char *)value.ptr, value.len, l->sha.b, DIGEST_BYTES);
    return true;
}

/* { "Path": …, "Size": …, "Last-Modified": …, "Checksum-Algorithm": …, "Checksum": … }. Read by hand: a cluster has
 * very many. */
static int file_line(struct stream_tally *t, struct bytes text, struct error *err) {
    struct line l = {
        .key = BUF_INIT(LINE_MAX_BYTES), .value = BUF_INIT(LINE_MAX_BYTES), .name = BUF_INIT(LINE_MAX_BYTES)};
    /* room for all of them at once, so that nothing fails later for want of memory */
    int rc = buf_reserve(&l.key, text.len, err);
    if (rc == 0) rc = buf_reserve(&l.value, text.len, err);
    if (rc == 0) rc = buf_reserve(&l.name, text.len, err);
    bool whole = rc == 0 && take(&text, '{') && field_take(&text, &l);
    while (whole && take(&text, ',')) whole = field_take(&text, &l);
    if (rc == 0 &&
        (!whole || !take(&text, '}') || text.len || !l.has_name || !l.has_bytes || !l.is_sha256 || !l.has_sha))
        rc = malformed(err, "has a line that is no file with its SHA-256");
    if (rc == 0) rc = match(t, buf_bytes(&l.name), l.bytes, &l.sha, err);
    buf_free(&l.key);
    buf_free(&l.value);
    buf_free(&l.name);
    return rc;
}

static bool begins(struct bytes line, const char *text) {
    return line.len >= strlen(text) && memcmp(line.ptr, text, strlen(text)) == 0;
}

/* The last: the digest of all before it. */
static int sum_line(struct stream_tally *t, struct bytes line, struct error *err) {
    static const char key[] = "\"Manifest-Checksum\": \"";
    char hex[2 * DIGEST_BYTES + 1];
    sha256_finish(t->sha, &t->is);
    hex_encode(t->is.b, DIGEST_BYTES, hex);
    line = BYTES_OF(line.ptr + strlen(key), line.len - strlen(key));
    if (line.len < 2 * DIGEST_BYTES || memcmp(line.ptr, hex, 2 * DIGEST_BYTES) != 0)
        return malformed(err, "has not the checksum that it says");
    t->part = ENDED;
    return 0;
}

/* A whole line with its newline. */
static int line_take(struct stream_tally *t, struct error *err) {
    struct bytes line = buf_bytes(&t->line);
    if (t->part == AFTER_FILES && begins(line, "\"Manifest-Checksum\": \"")) return sum_line(t, line, err);
    sha256_update(t->sha, line);
    if (t->part == ENDED) return malformed(err, "goes on behind its end");
    if (t->part == BEFORE_FILES) {
        if (begins(line, "\"Files\": [")) t->part = begins(line, "\"Files\": []") ? AFTER_FILES : FILES;
        return 0;
    }
    if (t->part == AFTER_FILES) return 0;
    /* "{ … }," or "{ … }" or "{ … }]," or "]," */
    while (line.len && strchr(" \n,", line.ptr[line.len - 1])) line.len--;
    if (line.len && line.ptr[line.len - 1] == ']') {
        t->part = AFTER_FILES;
        line.len--;
    }
    return line.len ? file_line(t, line, err) : 0;
}

int stream_tally_manifest(struct stream_tally *t, struct bytes piece, struct error *err) {
    int rc = 0;
    while (piece.len && rc == 0) {
        const uint8_t *end = memchr(piece.ptr, '\n', piece.len);
        const size_t n = end ? (size_t)(end - piece.ptr) + 1 : piece.len;
        if (t->line.len + n > LINE_MAX_BYTES) return malformed(err, "has a line of more than 64 KiB");
        rc = buf_append(&t->line, piece.ptr, n, err);
        piece = BYTES_OF(piece.ptr + n, piece.len - n);
        if (rc < 0 || !end) break;
        rc = line_take(t, err);
        buf_clear(&t->line);
    }
    return rc;
}

int stream_tally_finish(struct stream_tally *t, struct error *err) {
    if (t->line.len) {
        int rc = line_take(t, err);
        if (rc < 0) return rc;
    }
    if (t->part != ENDED) return malformed(err, "broke off");
    if (t->named != t->count)
        return error_set(err, ERR_PG_BASE, "%llu files came, and the server's manifest names %llu",
                         (unsigned long long)t->count, (unsigned long long)t->named);
    return 0;
}

void stream_tally_free(struct stream_tally *t) {
    if (!t) return;
    buf_free(&t->fresh);
    buf_free(&t->back);
    buf_free(&t->line);
    sha256_free(t->sha);
    io_close(&t->fd);
    seam_free(t);
}
