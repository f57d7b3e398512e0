#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <errno.h>
#include <stdio.h>

int search_describe(struct bytes name, struct bytes attr, json_t **ret, struct error *err) {
    (void)name;
    return json_parse(attr, JSON_MAX_BYTES, "an item's attributes", ret, err);
}

struct tree {
    struct source *src;
    int dirfd;
};

/* Opens `name` below *fd, made when it is not there, in the place of *fd. */
static int enter(int *fd, const char *name, struct error *err) {
    if (seam_mkdirat(*fd, name, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, ERR_IO_WRITE, "make the folder %s", name);
    int below = seam_openat(*fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (below < 0) return error_set_errno(err, ERR_IO_READ, "open the folder %s", name);
    if (seam_fsync(*fd) < 0) {
        io_close(&below);
        return error_set_errno(err, ERR_IO_SYNC, "make the folder %s durable", name);
    }
    io_close(fd);
    *fd = below;
    return 0;
}

static int copy(struct tree *t, const struct source_head *h, int fd, const char *name, struct error *err) {
    struct source_item *item = NULL;
    int to = seam_openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s", name);
    int r = t->src->ops->open(t->src, h, &item, err);
    while (r == 0) {
        struct bytes p;
        r = t->src->ops->next(item, &p, err);
        if (r < 0 || p.len == 0) break;
        r = p.ptr ? io_write_full(to, p.ptr, p.len, name, err)
                  : error_set(err, ERR_RESTORE_DIFFERS, "%s has a hole", name);
    }
    if (r == 0 && seam_fsync(to) < 0) r = error_set_errno(err, ERR_IO_SYNC, "make %s durable", name);
    if (item) t->src->ops->close(item);
    io_close(&to);
    if (r == 0 && seam_fsync(fd) < 0) r = error_set_errno(err, ERR_IO_SYNC, "make %s durable", name);
    return r;
}

/* "index/<name>/documents" is, as a file, just what _bulk takes; what is below "snapshot/" has its name already. */
static int on_item(void *ctx, const struct source_head *h, struct error *err) {
    struct tree *t = ctx;
    char path[400], file[300];
    int n = snprintf(path, sizeof path, "%.*s", (int)(h->name.len < sizeof path ? h->name.len : 0),
                     (const char *)h->name.ptr);
    char *slash = n > 0 ? strrchr(path, '/') : NULL;
    if (!slash || strstr(path, ".."))
        return error_set(err, ERR_RESTORE_DIFFERS, "an item has a name that none can have");
    *slash = 0;
    const char *kind = !strncmp(path, "snapshot", 8) ? "" : !strcmp(slash + 1, "documents") ? ".ndjson" : ".json";
    snprintf(file, sizeof file, "%.280s%s", slash + 1, kind);
    int fd = seam_openat(t->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int r = fd < 0 ? error_set_errno(err, ERR_IO_READ, "open the export's folder") : 0;
    for (char *part = path; r == 0 && part; part = slash) {
        slash = strchr(part, '/');
        if (slash) *slash++ = 0;
        r = enter(&fd, part, err);
    }
    if (r == 0) r = copy(t, h, fd, file, err);
    io_close(&fd);
    return r;
}

int search_export_tree(const struct surface_context *ctx, struct source *src, int dirfd, struct error *err) {
    struct tree t = {src, dirfd};
    (void)ctx;
    int r = src->ops->walk(src, BYTES_OF(NULL, 0), on_item, &t, err);
    if (r == 0 && seam_fsync(dirfd) < 0) r = error_set_errno(err, ERR_IO_SYNC, "make the export durable");
    return r;
}
