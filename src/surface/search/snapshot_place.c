#include "surface/search/snapshot.h"

#include "base/seam.h"
#include "base/thread.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define PREFIX "snapshot/"

struct place {
    const struct search_client *c;
    struct source *src;
    const struct restore_request *q;
    int base; /* the folder that files are laid under */
    uid_t uid;
    gid_t gid;
    bool give, shared; /* to another user, as root; readable by the group, as nobody who may */
    uint64_t bytes, items;
};

/* Some folders of indices are below one that is named by a hash. */
bool engine_place_wants(const struct restore_request *q, struct bytes name) {
    static const char below[] = "indices/";
    const json_t *x;
    size_t i, skip = strlen(PREFIX);
    const uint8_t *slash = name.len > skip ? memchr(name.ptr + skip, '/', name.len - skip) : NULL;
    if (!slash) return true;
    if (memcmp(name.ptr + skip, below, sizeof below - 1 < name.len - skip ? sizeof below - 1 : name.len - skip) != 0)
        skip = (size_t)(slash + 1 - name.ptr);
    if (name.len - skip < sizeof below - 1 || memcmp(name.ptr + skip, below, sizeof below - 1) != 0) return true;
    skip += sizeof below - 1;
    struct bytes rest = BYTES_OF(name.ptr + skip, name.len - skip);
    json_array_foreach(json_object_get(q->facts, "indices"), i, x) {
        const char *id = json_text(x, "id", ""), *index = json_text(x, "name", "");
        size_t n = strlen(id);
        if (n && n < rest.len && !memcmp(rest.ptr, id, n) && rest.ptr[n] == '/')
            return search_takes_backing(q->include, index, json_text(x, "data_stream", NULL));
    }
    return false;
}

static int give(const struct place *p, const char *path, struct error *err) {
    if (p->give && seam_fchownat(p->base, path, p->uid, p->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, ERR_ENGINE_STAGING, "give %s to the servers' user", path);
    return 0;
}

static int make_folder(const struct place *p, const char *path, struct error *err) {
    if (seam_mkdirat(p->base, path, p->shared ? 0750 : 0700) < 0)
        return errno == EEXIST ? 0 : error_set_errno(err, ERR_ENGINE_STAGING, "make the folder %s", path);
    return give(p, path, err);
}

static int lay(struct place *p, const struct source_head *h, int fd, const char *path, struct error *err) {
    struct source_item *item = NULL;
    int r = p->src->ops->open(p->src, h, &item, err);
    while (r == 0) {
        struct bytes b;
        r = p->src->ops->next(item, &b, err);
        if (r < 0 || b.len == 0) break;
        if (!b.ptr) r = error_set(err, ERR_RESTORE_DIFFERS, "%s has a hole", path);
        if (r == 0) r = io_write_full(fd, b.ptr, b.len, path, err);
        if (r == 0) r = stop_check(err);
        p->bytes += b.len;
        search_progress(p->c->s, "restore", p->bytes, p->items);
    }
    if (item) p->src->ops->close(item);
    return r;
}

static int on_expected(void *ctx, const struct source_head *h, struct error *err) {
    struct place *p = ctx;
    (void)err;
    if (engine_place_wants(p->q, h->name)) p->src->ops->expect(p->src, h);
    return 0;
}

static int on_file(void *ctx, const struct source_head *h, struct error *err) {
    struct place *p = ctx;
    char path[700];
    if (!engine_place_wants(p->q, h->name)) return 0;
    size_t n = h->name.len - strlen(PREFIX);
    if (n == 0 || n >= sizeof path || memchr(h->name.ptr, 0, h->name.len))
        return error_set(err, ERR_RESTORE_DIFFERS, "an item has a name that none can have");
    memcpy(path, h->name.ptr + strlen(PREFIX), n);
    path[n] = 0;
    if (*path == '/' || strstr(path, "..") || strstr(path, "//"))
        return error_set(err, ERR_RESTORE_DIFFERS, "an item has a name that none can have");
    int r = 0;
    for (char *slash = strchr(path, '/'); slash && r == 0; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        r = make_folder(p, path, err);
        *slash = '/';
    }
    if (r < 0) return r;
    int fd = seam_openat(p->base, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, p->shared ? 0640 : 0600);
    if (fd < 0) return error_set_errno(err, ERR_ENGINE_STAGING, "make %s", path);
    r = lay(p, h, fd, path, err);
    io_close(&fd);
    p->items++;
    return r == 0 ? give(p, path, err) : r;
}

/* The servers' user is who has the folder that they read from. */
static int begin(struct place *p, const char *base, const char *folder, struct error *err) {
    struct stat st;
    if (seam_fstatat(AT_FDCWD, base, &st, 0) < 0 || !S_ISDIR(st.st_mode))
        return error_set(err, ERR_ENGINE_STAGING, "%s, where the cluster's nodes read from, is no folder of this host",
                         base);
    bool root = geteuid() == 0;
    p->uid = st.st_uid;
    p->gid = st.st_gid;
    p->give = root && st.st_uid != 0;
    p->shared = !root && st.st_uid != geteuid();
    if (seam_mkdirat(AT_FDCWD, folder, p->shared ? 0750 : 0700) < 0)
        return error_set_errno(err, ERR_ENGINE_STAGING, "make the folder %s", folder);
    p->base = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (p->base < 0) return error_set_errno(err, ERR_ENGINE_STAGING, "open the folder %s", folder);
    return give(p, ".", err);
}

static int base_of(const struct search_client *c, const struct restore_request *q, char out[1024], struct error *err) {
    const json_t *config = json_object_get(json_object_get(c->s->ctx->settings, "cluster"), "snapshot");
    const char *staging = json_text(config, "staging", NULL), *scratch = json_text(q->scratch, "folder", NULL);
    if (q->as_scratch && scratch) {
        snprintf(out, 1024, "%.1000s/repo", scratch);
        return 0;
    }
    if (staging) {
        snprintf(out, 1024, "%.1000s", staging);
        return 0;
    }
    int r = engine_path_repo(c, out, err);
    if (r < 0 || *out) return r;
    return error_set(err, ERR_ENGINE_STAGING,
                     "%s has no path.repo: set it in the configuration of every node to a folder that this host can "
                     "write too, and start them again",
                     c->s->url);
}

/* The same for every run, so that each finds what another left. */
static void name_it(const struct restore_request *q, const char *base, struct engine_place *ret) {
    const char *last = strrchr(json_text(json_object_get(q->facts, "snapshot"), "name", ""), '-');
    snprintf(ret->repository, sizeof ret->repository, "proofkeep-restoring-%.40s%.20s",
             json_text(q->facts, "stamp", ""), last ? last : "");
    snprintf(ret->folder, sizeof ret->folder, "%.900s/%.200s", base, ret->repository);
}

static int carried(const struct search_client *c, struct source *src, const struct restore_request *q,
                   struct engine_place *ret, struct error *err) {
    struct place p = {.c = c, .src = src, .q = q, .base = -1};
    char base[1024];
    int r = base_of(c, q, base, err);
    if (r < 0) return r;
    name_it(q, base, ret);
    /* What a run before left, and perhaps a restore that the cluster still carries out from there. */
    r = engine_repository_return(c, ret->repository, err);
    if (r == 0) r = io_remove_tree(AT_FDCWD, ret->folder, err);
    if (r == 0) r = begin(&p, base, ret->folder, err);
    if (r == 0 && src->ops->expect) r = src->ops->walk(src, BYTES_STR(PREFIX), on_expected, &p, err);
    if (r == 0) r = src->ops->walk(src, BYTES_STR(PREFIX), on_file, &p, err);
    if (r == 0) r = engine_repository_lend(c, ret->repository, ret->folder, err);
    io_close(&p.base);
    return r;
}

/* The cluster's own; a scratch server reads the same folder. */
static int not_carried(const struct search_client *c, const struct restore_request *q, const json_t *snapshot,
                       struct engine_place *ret, struct error *err) {
    const char *folder = json_text(snapshot, "folder", NULL);
    snprintf(ret->repository, sizeof ret->repository, "%s", json_text(snapshot, "repository", ""));
    if (!q->as_scratch) return 0;
    if (!folder)
        return error_set(
            err, ERR_ENGINE_STAGING,
            "the documents are in the cluster's own repository %s, of type %s, which a scratch server cannot "
            "read",
            ret->repository, json_text(snapshot, "type", ""));
    return engine_repository_lend(c, ret->repository, folder, err);
}

int engine_place_open(const struct search_client *c, struct source *src, const struct restore_request *q,
                      struct engine_place *ret, struct error *err) {
    const json_t *snapshot = json_object_get(q->facts, "snapshot");
    json_t *info = NULL;
    *ret = (struct engine_place){0};
    int r = json_is_true(json_object_get(snapshot, "carried")) ? carried(c, src, q, ret, err)
                                                               : not_carried(c, q, snapshot, ret, err);
    if (r == 0) r = engine_snapshot_get(c, ret->repository, json_text(snapshot, "name", ""), &info, err);
    if (r == 0 && strcmp(json_text(info, "uuid", ""), json_text(snapshot, "uuid", "")) != 0)
        r = error_set(err, ERR_ENGINE_GONE, "the snapshot %s in the repository %s is another one by now",
                      json_text(snapshot, "name", ""), ret->repository);
    json_decref(info);
    if (r < 0) {
        struct error e = ERROR_INIT;
        (void)!engine_place_close(c, ret, &e);
    }
    return r;
}

int engine_place_close(const struct search_client *c, struct engine_place *p, struct error *err) {
    if (!*p->folder) return 0;
    int r = engine_repository_return(c, p->repository, err);
    if (r == 0) r = io_remove_tree(AT_FDCWD, p->folder, err);
    return r < 0 ? error_wrap(err, "remove what was laid down for the restore, %s", p->folder) : 0;
}

/* The folder is made before it is registered, and goes after that. Where none can be, none was ever laid down. */
bool engine_place_find(const struct search_client *c, const struct restore_request *q, struct engine_place *ret) {
    struct engine_place p = {0};
    struct error ignored = ERROR_INIT;
    struct stat st;
    char base[1024];
    if (!json_is_true(json_object_get(json_object_get(q->facts, "snapshot"), "carried"))) return false;
    if (base_of(c, q, base, &ignored) < 0) return false;
    name_it(q, base, &p);
    if (seam_fstatat(AT_FDCWD, p.folder, &st, AT_SYMLINK_NOFOLLOW) < 0) return false;
    *ret = p;
    return true;
}
