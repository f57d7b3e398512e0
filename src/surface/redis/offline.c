#include "surface/redis/redis_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "surface/redis/crc64.h"
#include <stdio.h>

#define FILE_BYTES (256u << 10)
#define BASE "appendonly.aof.1.base.rdb"

/* An RDB being written. */
struct out {
    int fd;
    uint8_t *buf;
    size_t used;
    uint64_t crc, total;
    const char *name;
};

static int flush(struct out *o, struct error *err) {
    o->crc = redis_crc64(o->crc, BYTES_OF(o->buf, o->used));
    int r = io_write_full(o->fd, o->buf, o->used, o->name, err);
    o->used = 0;
    return r;
}

static int put(struct out *o, const void *p, size_t n, struct error *err) {
    const uint8_t *from = p;
    o->total += n;
    while (n) {
        size_t part = FILE_BYTES - o->used < n ? FILE_BYTES - o->used : n;
        memcpy(o->buf + o->used, from, part);
        o->used += part;
        from += part;
        n -= part;
        int r = o->used == FILE_BYTES ? flush(o, err) : 0;
        if (r < 0) return r;
    }
    return 0;
}

static int put_length(struct out *o, uint64_t v, struct error *err) {
    uint8_t b[9];
    size_t n = 0;
    if (v < 64) {
        b[n++] = (uint8_t)v;
    } else if (v < 16384) {
        b[n++] = (uint8_t)(0x40 | v >> 8);
        b[n++] = (uint8_t)v;
    } else {
        bool wide = v > UINT32_MAX;
        b[n++] = wide ? 0x81 : 0x80;
        for (int shift = wide ? 56 : 24; shift >= 0; shift -= 8) b[n++] = (uint8_t)(v >> shift);
    }
    return put(o, b, n, err);
}

static int put_string(struct out *o, struct bytes text, struct error *err) {
    int r = put_length(o, text.len, err);
    return r == 0 ? put(o, text.ptr, text.len, err) : r;
}

static int put_op(struct out *o, uint8_t op, struct error *err) {
    return put(o, &op, 1, err);
}

static int put_aux(struct out *o, const char *name, const char *value, struct error *err) {
    int r = put_op(o, 250, err);
    if (r == 0) r = put_string(o, BYTES_STR(name), err);
    return r == 0 ? put_string(o, BYTES_STR(value), err) : r;
}

static int put_head(struct out *o, const struct restore_request *q, unsigned version, struct error *err) {
    const json_t *aux = json_object_get(q->facts, "rdb_aux");
    const char *name;
    json_t *v;
    char magic[16];
    snprintf(magic, sizeof magic, "REDIS%04u", version);
    int r = put(o, magic, 9, err);
    json_object_foreach((json_t *)aux, name, v) {
        const char *text = json_string_value(v);
        if (r == 0 && text) r = put_aux(o, name, text, err);
    }
    return r == 0 ? put_aux(o, "aof-base", "1", err) : r;
}

static int put_item(struct out *o, struct source *src, const char *name, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(REDIS_TEXT_MAX);
    int r = redis_item_read(src, name, &text, err);
    return r == 0 ? put(o, text.ptr, text.len, err) : r;
}

static int put_key(struct out *o, struct redis_records *rec, const struct rdb_key *k, struct error *err) {
    uint8_t b[9];
    int r = 0;
    if (k->expires_ms >= 0) {
        b[0] = 252;
        put_u64(b + 1, (uint64_t)k->expires_ms);
        r = put(o, b, 9, err);
    }
    if (r == 0 && k->access == ACCESS_IDLE) {
        r = put_op(o, 248, err);
        if (r == 0) r = put_length(o, k->since, err);
    } else if (r == 0 && k->access == ACCESS_FREQ) {
        r = put_op(o, 249, err);
        if (r == 0) r = put_op(o, (uint8_t)k->since, err);
    }
    if (r == 0) r = put_op(o, k->type, err);
    if (r == 0) r = put_string(o, k->name, err);
    for (struct bytes piece = {0}; r == 0;) {
        r = redis_records_value(rec, SIZE_MAX, &piece, err);
        if (r < 0 || piece.len == 0) break;
        r = put(o, piece.ptr, piece.len, err);
    }
    return r;
}

static int put_database(struct out *o, struct source *src, const struct restore_request *q,
                        const struct redis_items *of, struct redis_restored *ret, struct error *err) {
    struct redis_records rec = {0};
    struct rdb_key k;
    uint64_t bytes, keys = 0, now_ms = (uint64_t)(time_now_ns() / 1000000);
    bool end = false, whole = redis_takes_whole(q->include, of->database);
    int r = put_op(o, 254, err);
    if (r == 0) r = put_length(o, of->database, err);
    if (r == 0 && whole) {
        r = put_op(o, 251, err);
        if (r == 0) r = put_length(o, of->count, err);
        if (r == 0) r = put_length(o, of->expires, err);
    }
    if (r == 0) r = redis_records_open(src, of, &rec, err);
    for (uint64_t n = 0; r == 0; n++) {
        if (n % 4096 == 0) r = stop_check(err);
        if (r == 0) r = redis_records_next(&rec, &k, &bytes, &end, err);
        if (r < 0 || end) break;
        if (!whole && !redis_takes_key(q->include, of->database, k.name)) continue;
        if (k.expires_ms >= 0 && (uint64_t)k.expires_ms <= now_ms) ret->expired++;
        r = put_key(o, &rec, &k, err);
        keys++;
        ret->bytes += bytes;
    }
    redis_records_close(&rec);
    ret->keys += keys;
    if (r < 0) return r;
    return json_push(ret->databases,
                     json_pack("{s:I, s:I}", "database", (json_int_t)of->database, "keys", (json_int_t)keys), err);
}

static int put_end(struct out *o, struct error *err) {
    uint8_t b[8];
    int r = put_op(o, 255, err);
    if (r == 0) r = flush(o, err);
    put_u64(b, o->crc);
    if (r == 0) r = io_write_full(o->fd, b, 8, o->name, err);
    if (r == 0 && seam_fsync(o->fd) < 0) r = error_set_errno(err, ERR_IO_SYNC, "make %s durable", o->name);
    return r;
}

static int put_all(struct out *o, struct source *src, const struct restore_request *q, struct redis_restored *ret,
                   struct error *err) {
    struct redis_items *items = NULL;
    size_t n = 0;
    int64_t version = 0;
    int r = json_need_int(q->facts, "rdb_version", "the snapshot's facts", &version, err);
    if (r == 0) r = redis_items_find(src, &items, &n, err);
    if (r == 0 && version == 0) version = 1; /* of an empty server, by SCAN */
    if (r == 0) r = put_head(o, q, (unsigned)version, err);
    if (r == 0 && redis_takes(q->include, "functions")) r = put_item(o, src, "functions", err);
    if (r == 0 && !q->include) r = put_item(o, src, "module_aux", err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (redis_takes_database(q->include, items[i].database)) r = put_database(o, src, q, &items[i], ret, err);
    if (r == 0 && !q->include) r = put_item(o, src, "module_aux_after", err);
    if (r == 0) r = put_end(o, err);
    seam_free(items);
    return r;
}

int redis_rdb_write(struct source *src, const struct restore_request *q, int dirfd, const char *name,
                    struct redis_restored *ret, struct error *err) {
    struct out o = {.name = name};
    void *buf;
    int r = mem_alloc(FILE_BYTES, &buf, err);
    if (r < 0) return r;
    o.buf = buf;
    o.fd = seam_openat(dirfd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0600);
    r = o.fd >= 0 ? put_all(&o, src, q, ret, err) : error_set_errno(err, ERR_IO_WRITE, "make %s", name);
    if (o.fd >= 0) io_close(&o.fd);
    seam_free(o.buf);
    return r;
}

/* ---- the folder that a server starts from ---- */
static int write_small(int dirfd, const char *name, struct bytes text, struct error *err) {
    int fd = seam_openat(dirfd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s", name);
    int r = io_write_full(fd, text.ptr, text.len, name, err);
    if (r == 0 && seam_fsync(fd) < 0) r = error_set_errno(err, ERR_IO_SYNC, "make %s durable", name);
    io_close(&fd);
    return r;
}

int redis_users_write(struct source *src, int dirfd, struct error *err) {
    CLEANUP(buf_free) struct buf users = BUF_INIT(REDIS_TEXT_MAX);
    int r = redis_item_read(src, "acl", &users, err);
    if (r == 0 && users.len) r = write_small(dirfd, "users.acl", buf_bytes(&users), err);
    if (users.ptr) wipe(users.ptr, users.cap);
    return r;
}

static int folder_open(int dirfd, const char *name, int *ret, struct error *err) {
    *ret = seam_openat(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    return *ret >= 0 ? 0 : error_set_errno(err, ERR_IO_READ, "open the folder %s", name);
}

static int fill(struct source *src, const struct restore_request *q, int dirfd, struct redis_restored *ret,
                struct error *err) {
    int aof = -1, r = redis_rdb_write(src, q, dirfd, "dump.rdb", ret, err);
    if (r == 0 && seam_mkdirat(dirfd, "appendonlydir", 0700) < 0)
        r = error_set_errno(err, ERR_IO_WRITE, "make the folder appendonlydir");
    if (r == 0) r = folder_open(dirfd, "appendonlydir", &aof, err);
    /* A server with its log on never looks at dump.rdb; neither file is ever written to again, so both may be one. */
    if (r == 0 && seam_linkat(dirfd, "dump.rdb", aof, BASE, 0) < 0)
        r = error_set_errno(err, ERR_IO_WRITE, "give dump.rdb its second name");
    if (r == 0) r = write_small(aof, "appendonly.aof.manifest", BYTES_STR("file " BASE " seq 1 type b\n"), err);
    if (r == 0 && redis_takes(q->include, "acl")) r = redis_users_write(src, dirfd, err);
    if (r == 0 && (seam_fsync(aof) < 0 || seam_fsync(dirfd) < 0))
        r = error_set_errno(err, ERR_IO_SYNC, "make the folder durable");
    io_close(&aof);
    return r;
}

static void parent_of(const char *path, char *parent, size_t n) {
    const char *slash = strrchr(path, '/');
    snprintf(parent, n, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static int sync_folder(const char *path, struct error *err) {
    int fd, r;
    if ((r = folder_open(AT_FDCWD, path, &fd, err)) < 0) return r;
    if (seam_fsync(fd) < 0) r = error_set_errno(err, ERR_IO_SYNC, "make %s durable", path);
    io_close(&fd);
    return r;
}

int redis_restore_folder(const struct redis_settings *s, struct source *src, const struct restore_request *q,
                         const char *path, struct redis_restored *ret, struct error *err) {
    char partial[4200], parent[4200];
    uint8_t random[8];
    char hex[17];
    struct error ignored = ERROR_INIT;
    struct stat st;
    int dirfd = -1, r = random_bytes(random, sizeof random, err);
    (void)s;
    if (r < 0) return r;
    hex_encode(random, sizeof random, hex);
    snprintf(partial, sizeof partial, "%.4090s.proofkeep-partial-%s", path, hex);
    if (seam_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return error_set(err, ERR_TARGET_NOT_EMPTY, "there is something at %s already", path);
    parent_of(path, parent, sizeof parent);
    if ((r = io_mkdirs(parent, 0755, err)) < 0) return r;
    if (seam_mkdirat(AT_FDCWD, partial, 0700) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "make the folder %s", partial);
    r = folder_open(AT_FDCWD, partial, &dirfd, err);
    /* so that a killed run's is known for what nobody fills any more (work/leftover.h) */
    if (r == 0 && io_lock(dirfd) < 0) r = error_set_errno(err, ERR_IO_WRITE, "lock %s", partial);
    if (r == 0) r = fill(src, q, dirfd, ret, err);
    if (r == 0 && seam_renameat2(AT_FDCWD, partial, AT_FDCWD, path, RENAME_NOREPLACE) < 0)
        r = error_set_errno(err, ERR_IO_EXISTS, "give %s its name", path);
    else if (r == 0)
        r = sync_folder(parent, err);
    if (r < 0) (void)!io_remove_tree(AT_FDCWD, partial, &ignored);
    io_close(&dirfd);
    return r;
}
