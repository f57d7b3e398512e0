#include "surface/search/snapshot.h"

#include "base/seam.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PIECE ((size_t)8 << 20) /* of a bucket's object, a request */

void engine_shard_hash(const char *id, unsigned number, char out[20]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char text[140];
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    snprintf(text, sizeof text, "%u%.100s", number, id);
    for (const char *p = text; *p; p++) h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    out[0] = letters[h >> 58];
    for (int i = 0; i < 14; i++) out[1 + i] = h >> (57 - i) & 1 ? '1' : '0';
    out[15] = 0;
}

/* ---- where it is ---- */
static const json_t *snapshot_of(const struct search_client *c) {
    return json_object_get(json_object_get(c->s->ctx->settings, "cluster"), "snapshot");
}

static int open_bucket(const struct search_client *c, const struct engine_repository *r, struct engine_files *ret,
                       struct error *err) {
    const struct surface_context *ctx = c->s->ctx;
    const char *url = json_text(snapshot_of(c), "bucket", NULL);
    size_t n = url && !strncmp(url, "s3://", 5) ? strcspn(url + 5, "/?") : 0;
    if (!url)
        return error_set(err, ERR_ENGINE_FILES,
                         "how this host reaches the bucket of the snapshot repository %s is not known: set "
                         "cluster.snapshot.bucket",
                         r->name);
    if (!n || (url[5 + n] == '/' && url[6 + n] && url[6 + n] != '?'))
        return error_set(
            err, ERR_CONFIG_VALUE,
            "cluster.snapshot.bucket: '%.200s' is not s3://BUCKET[?…]; the path in it is the cluster's to say", url);
    if (!r->bucket || strlen(r->bucket) != n || strncmp(url + 5, r->bucket, n) != 0)
        return error_set(err, ERR_ENGINE_FILES, "the snapshot repository %s is in the bucket %.100s, and not in %.*s",
                         r->name, r->bucket ? r->bucket : "(it does not say which)", (int)n, url + 5);
    snprintf(ret->base, sizeof ret->base, "%.280s", r->base ? r->base : "");
    while (*ret->base && ret->base[strlen(ret->base) - 1] == '/') ret->base[strlen(ret->base) - 1] = 0;
    snprintf(ret->name, sizeof ret->name, "the bucket %.60s%s%.280s", r->bucket, *ret->base ? "/" : "", ret->base);
    if (!ctx->bucket) return error_set(err, ERR_ENGINE_FILES, "%s cannot be read here", ret->name);
    return ctx->bucket(ctx->bucket_ctx, url, &ret->bucket, err);
}

int engine_files_open(const struct search_client *c, const struct engine_repository *r, struct engine_files *ret,
                      struct error *err) {
    *ret = (struct engine_files){.dir = -1};
    if (!strcmp(r->type, "s3")) return open_bucket(c, r, ret, err);
    if (strcmp(r->type, "fs") != 0)
        return error_set(
            err, ERR_ENGINE_FILES,
            "the snapshot repository %s is of type %s, and only files of types fs and s3 are carried: set carry to "
            "false, and let what it is in be protected by its own rules",
            r->name, r->type);
    if (!r->folder)
        return error_set(err, ERR_ENGINE_FILES,
                         "where the files of the snapshot repository %s are is not known: set cluster.snapshot.folder",
                         r->name);
    snprintf(ret->name, sizeof ret->name, "the folder %.380s", r->folder);
    ret->dir = seam_openat(AT_FDCWD, r->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    return ret->dir < 0
               ? error_set_errno(err, ERR_ENGINE_FILES, "open the folder of the cluster's repository, %s", r->folder)
               : 0;
}

void engine_files_close(struct engine_files *f) {
    io_close(&f->dir);
    if (f->bucket) f->bucket->ops->close(f->bucket);
    f->bucket = NULL;
}

const char *engine_files_name(const struct engine_files *f) {
    return f->name;
}

/* ---- one file ---- */
static int missing(const char *path, struct error *err) {
    error_clear(err);
    return error_set(err, ERR_ENGINE_FILES, "the cluster's repository has no file %s, which the snapshot needs", path);
}

/* The hash is before the repository's own path, or behind it. */
static void key_of(const struct engine_files *f, const char *path, int layout, char out[700]) {
    size_t hash = layout == ENGINE_PREFIX && *f->base ? strcspn(path, "/") + 1 : 0;
    snprintf(out, 700, "%.*s%.280s%s%.380s", (int)hash, path, f->base, *f->base ? "/" : "", path + hash);
}

static int open_local(const struct engine_files *f, const char *path, struct engine_file *ret, struct error *err) {
    struct stat st;
    int fd = seam_openat(f->dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0 && errno == ENOENT) return missing(path, err);
    if (fd < 0) return error_set_errno(err, ERR_ENGINE_FILES, "open %s of the cluster's repository", path);
    if (seam_fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        io_close(&fd);
        return error_set(err, ERR_ENGINE_FILES, "%s of the cluster's repository is no file", path);
    }
    ret->fd = fd;
    ret->bytes = (uint64_t)st.st_size;
    return 0;
}

int engine_file_open(const struct engine_files *f, const char *path, int layout, struct engine_file *ret,
                     struct error *err) {
    *ret = (struct engine_file){.of = f, .fd = -1};
    key_of(f, path, layout, ret->path);
    if (!f->bucket) return open_local(f, ret->path, ret, err);
    int r = f->bucket->ops->size(f->bucket, ret->path, &ret->bytes, err);
    return r == -ERR_OBJECT_MISSING ? missing(path, err) : r;
}

int engine_file_next(struct engine_file *f, uint8_t *p, size_t room, size_t *ret_n, struct error *err) {
    *ret_n = 0;
    if (!f->of->bucket) return io_read_full(f->fd, p, room, ret_n, f->path, err);
    if (f->at == f->bytes) return 0;
    int r = f->of->bucket->ops->read(f->of->bucket, f->path, f->at, p, room < PIECE ? room : PIECE, ret_n, err);
    f->at += *ret_n;
    return r == -ERR_OBJECT_MISSING ? missing(f->path, err) : r;
}

void engine_file_close(struct engine_file *f) {
    io_close(&f->fd);
}

int engine_file_read(const struct engine_files *f, const char *path, int layout, size_t max, struct buf *out,
                     struct error *err) {
    struct engine_file file;
    size_t n = 1;
    int r = engine_file_open(f, path, layout, &file, err);
    if (r == 0 && file.bytes > max)
        r = error_set(err, ERR_ENGINE_FILES, "%s of the cluster's repository is larger than is known to be sane", path);
    if (r == 0) r = buf_reserve(out, (size_t)file.bytes, err);
    for (uint64_t done = 0; r == 0 && n && done < file.bytes; done += n) {
        r = engine_file_next(&file, out->ptr + out->len, (size_t)(file.bytes - done), &n, err);
        if (r == 0) out->len += n;
    }
    engine_file_close(&file);
    return r;
}

/* ---- the list of snapshots: index-N ---- */
struct newest {
    size_t skip;
    uint64_t n;
    bool found;
};
static int on_key(void *ctx, const char *key) {
    struct newest *w = ctx;
    char *end;
    if (strlen(key) <= w->skip || strncmp(key + w->skip, "index-", 6) != 0) return 0;
    const char *digits = key + w->skip + 6;
    uint64_t n = strtoull(digits, &end, 10);
    if (*end || end == digits) return 0;
    if (!w->found || n > w->n) w->n = n;
    w->found = true;
    return 0;
}

static int list_folder(const struct engine_files *f, struct newest *w, struct error *err) {
    int fd = seam_openat(f->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (!d) {
        io_close(&fd);
        return error_set_errno(err, ERR_ENGINE_FILES, "list the folder of the cluster's repository");
    }
    for (const struct dirent *e; (e = seam_readdir(d));) (void)on_key(w, e->d_name);
    (void)seam_closedir(d);
    return 0;
}

/* A bucket may have a million other objects. */
static bool hinted(const struct engine_files *f, uint64_t *ret) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(64);
    struct error ignored = ERROR_INIT;
    if (engine_file_read(f, "index.latest", ENGINE_FIXED, 8, &b, &ignored) < 0 || b.len != 8) return false;
    *ret = 0;
    for (int i = 0; i < 8; i++) *ret = *ret << 8 | b.ptr[i];
    return true;
}

int engine_files_newest(const struct engine_files *f, bool hint, uint64_t *ret, struct error *err) {
    char folder[320] = "";
    struct newest w = {.skip = *f->base ? strlen(f->base) + 1 : 0};
    if (f->bucket && hint && hinted(f, ret)) return 0;
    if (*f->base) snprintf(folder, sizeof folder, "%s/", f->base);
    int r = f->bucket ? f->bucket->ops->list(f->bucket, folder, on_key, &w, err) : list_folder(f, &w, err);
    if (r < 0) return r;
    *ret = w.n;
    return w.found ? 0 : error_set(err, ERR_ENGINE_FILES, "%s is no snapshot repository: it has no index-N", f->name);
}
