/* PostgreSQL's manual, "Backup Manifest Format"; version 2 since 17. */
#include "surface/pgphys/pgphys.h"

#include "base/seam.h"
#include <inttypes.h>
#include <stdio.h>

/* As a client reads it back, it is one text in memory; a file takes about 230 bytes. */
#define MANIFEST_BYTES_MAX (1u << 30)

struct pgphys_manifest {
    struct buf text;
    bool any;
};

int pgphys_manifest_new(int pg_major, uint64_t system, struct pgphys_manifest **ret, struct error *err) {
    struct pgphys_manifest *m;
    int r = mem_alloc(sizeof *m, (void **)&m, err);
    if (r < 0) return r;
    m->text = BUF_INIT(MANIFEST_BYTES_MAX);
    r = buf_printf(&m->text, err, "{ \"PostgreSQL-Backup-Manifest-Version\": %d,\n", pg_major >= 17 ? 2 : 1);
    if (r == 0 && pg_major >= 17) r = buf_printf(&m->text, err, "\"System-Identifier\": %" PRIu64 ",\n", system);
    if (r == 0) r = buf_append_str(&m->text, "\"Files\": [", err);
    if (r < 0)
        pgphys_manifest_free(m);
    else
        *ret = m;
    return r;
}

static bool plain(struct bytes path) {
    for (size_t i = 0; i < path.len; i++)
        if (path.ptr[i] < 0x20 || path.ptr[i] >= 0x7f || path.ptr[i] == '"' || path.ptr[i] == '\\') return false;
    return true;
}

static int path_put(struct buf *b, struct bytes path, struct error *err) {
    char hex[3];
    if (plain(path)) return buf_printf(b, err, "\"Path\": \"%.*s\"", (int)path.len, (const char *)path.ptr);
    int r = buf_append_str(b, "\"Encoded-Path\": \"", err);
    for (size_t i = 0; r == 0 && i < path.len; i++) {
        hex_encode(path.ptr + i, 1, hex);
        r = buf_append(b, hex, 2, err);
    }
    return r == 0 ? buf_append_str(b, "\"", err) : r;
}

static int add(struct pgphys_manifest *m, struct bytes path, uint64_t bytes, int64_t mtime_ns, const char *algorithm,
               struct bytes sum, struct error *err) {
    char hex[2 * DIGEST_BYTES + 1], when[40];
    struct tm tm;
    time_t s = (time_t)(mtime_ns / 1000000000 - (mtime_ns % 1000000000 < 0));
    if (!gmtime_r(&s, &tm)) return error_set(err, ERR_PG_BASE, "the time of a file is out of range");
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S GMT", &tm);
    hex_encode(sum.ptr, sum.len, hex);
    size_t before = m->text.len;
    int r = buf_append_str(&m->text, m->any ? ",\n{ " : "\n{ ", err);
    if (r == 0) r = path_put(&m->text, path, err);
    if (r == 0)
        r = buf_printf(&m->text, err,
                       ", \"Size\": %" PRIu64 ", \"Last-Modified\": \"%s\", \"Checksum-Algorithm\": \"%s\", "
                       "\"Checksum\": \"%s\" }",
                       bytes, when, algorithm, hex);
    if (r < 0)
        m->text.len = before;
    else
        m->any = true;
    return r;
}

int pgphys_manifest_add(struct pgphys_manifest *m, struct bytes path, uint64_t bytes, int64_t mtime_ns,
                        const struct digest *sha256, struct error *err) {
    return add(m, path, bytes, mtime_ns, "SHA256", BYTES_OF(sha256->b, sizeof sha256->b), err);
}

/* checksum_helper.c: its bytes as they lie in memory, of which the lowest comes first where servers run. */
int pgphys_manifest_add_crc(struct pgphys_manifest *m, struct bytes path, uint64_t bytes, int64_t mtime_ns,
                            uint32_t crc32c, struct error *err) {
    uint8_t sum[4];
    put_u32(sum, crc32c);
    return add(m, path, bytes, mtime_ns, "CRC32C", BYTES_OF(sum, sizeof sum), err);
}

int pgphys_manifest_finish(struct pgphys_manifest *m, uint32_t timeline, uint64_t start_lsn, uint64_t end_lsn,
                           struct buf *ret, struct error *err) {
    char start[24], end[24], hex[2 * DIGEST_BYTES + 1];
    struct digest sum;
    wal_lsn_format(start_lsn, start);
    wal_lsn_format(end_lsn, end);
    int r =
        buf_printf(&m->text, err,
                   "\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": %u, \"Start-LSN\": \"%s\", \"End-LSN\": \"%s\" }\n],\n",
                   timeline, start, end);
    if (r < 0) return r;
    sha256(buf_bytes(&m->text), &sum);
    hex_encode(sum.b, sizeof sum.b, hex);
    r = buf_append(ret, m->text.ptr, m->text.len, err);
    return r == 0 ? buf_printf(ret, err, "\"Manifest-Checksum\": \"%s\"}\n", hex) : r;
}

void pgphys_manifest_free(struct pgphys_manifest *m) {
    if (!m) return;
    buf_free(&m->text);
    seam_free(m);
}
