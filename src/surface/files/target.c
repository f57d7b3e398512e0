#include "surface/files/target.h"
#include "base/seam.h"
#include "base/time.h"
#include "surface/files/files_internal.h"
#include "surface/files/filter.h"
#include "surface/files/glob.h"
#include <errno.h>
#include <stdio.h>

void target_free(struct target *t) {
    seam_free(t->path);
    seam_free(t->parent);
    seam_free(t->name);
    *t = (struct target){0};
}

/* Takes path apart; trailing slashes go. */
static int target_set(struct target *t, const char *path, struct error *err) {
    if (path[0] != '/') return error_set(err, ERR_USAGE, "the target '%s' is not an absolute path", path);
    int rc = mem_strdup(path, &t->path, err);
    if (rc) return rc;
    size_t n = strlen(t->path);
    while (n > 1 && t->path[n - 1] == '/') t->path[--n] = 0;
    const char *slash = strrchr(t->path, '/');
    rc = mem_strdup(slash + 1, &t->name, err);
    if (rc == 0) rc = mem_strdup(t->path, &t->parent, err);
    if (rc) return rc;
    t->parent[slash == t->path ? 1 : slash - t->path] = 0;
    if (!strcmp(t->name, ".") || !strcmp(t->name, ".."))
        return error_set(err, ERR_USAGE, "the target '%s' ends in a name that is none", path);
    if (strlen(t->name) > 255) return error_set(err, ERR_USAGE, "the target's name is longer than 255 bytes");
    return 0;
}

/* "<root>.restored-<time>", or beside the first of several roots "<surface>.restored-<time>". */
static int target_default(const struct surface_context *ctx, const json_t *facts, struct buf *ret, struct error *err) {
    char stamp[24];
    json_t *roots;
    time_format_compact(time_now_ns(), stamp);
    int rc = tree_facts_roots(facts, &roots, err);
    if (rc) return rc;
    const char *single = tree_single_root(facts);
    const char *first = json_string_value(json_object_get(json_array_get(roots, 0), "path"));
    if (single && single[1]) {
        rc = buf_printf(ret, err, "%s.restored-%s", single, stamp);
    } else {
        const char *slash = strrchr(first, '/');
        rc = buf_printf(ret, err, "%.*s/%s.restored-%s", (int)(slash - first), first, ctx->name, stamp);
    }
    return rc ? rc : buf_terminate(ret, err);
}

static int check_request(const struct restore_request *req, struct error *err) {
    bool some = req->include && req->include[0];
    if (req->in_place && !some)
        return error_set(err, ERR_USAGE, "a restore in place needs the names of what to restore");
    if (req->in_place && (req->swap || req->as_scratch))
        return error_set(err, ERR_USAGE, "a restore is either in place, or swapped in, or a scratch copy");
    if (req->swap && (some || req->target || req->as_scratch))
        return error_set(err, ERR_USAGE, "only a whole restore, without a target of its own, can be swapped in");
    if (req->swap && !tree_single_root(req->facts))
        return error_set(err, ERR_USAGE,
                         "only a surface of a single folder can be swapped in; restore it beside and move it yourself");
    return 0;
}

int target_decide(const struct surface_context *ctx, const struct restore_request *req, struct target *ret,
                  struct error *err) {
    struct target t = {0};
    CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
    int rc = check_request(req, err);
    if (rc) return rc;
    const char *single = tree_single_root(req->facts), *path = req->target;
    if (req->as_scratch) {
        path = json_string_value(json_object_get(req->scratch, "path"));
        if (!path) return error_set(err, ERR_JSON, "the scratch tree's facts have no path");
    } else if (req->in_place) {
        t.mode = TARGET_IN_PLACE;
        if (!path) path = single ? single : "/";
    } else if (req->swap) {
        t.mode = TARGET_SWAP;
        path = single;
        if (!single[1]) return error_set(err, ERR_USAGE, "the root of the file system cannot be swapped");
    } else if (!path) {
        rc = target_default(ctx, req->facts, &b, err);
        path = (const char *)b.ptr;
    }
    if (rc == 0) rc = target_set(&t, path, err);
    if (rc == 0 && t.mode == TARGET_NEW && !t.name[0]) rc = error_set(err, ERR_TARGET_NOT_EMPTY, "the target is '/'");
    if (rc)
        target_free(&t);
    else
        *ret = t;
    return rc;
}

static void dir_close(DIR **d) {
    if (*d) seam_closedir(*d);
}

int target_look(const struct target *t, bool *ret_exists, bool *ret_empty, struct error *err) {
    struct stat st;
    if (seam_fstatat(AT_FDCWD, t->path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT) {
            error_set_errno(err, ERR_IO_READ, "look at the target '%s'", t->path);
            return io_whose(t->path, "look at", err);
        }
        *ret_exists = *ret_empty = false;
        return 0;
    }
    if (S_ISLNK(st.st_mode) && t->mode != TARGET_IN_PLACE)
        return error_set(err, ERR_IO_ESCAPE, "the target '%s' is a symbolic link; name the folder that it leads to",
                         t->path);
    if (!S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
        return error_set(err, ERR_IO_EXISTS, "the target '%s' is not a folder", t->path);
    int fd = seam_openat(AT_FDCWD, t->path, O_RDONLY | O_DIRECTORY, 0);
    CLEANUP(dir_close) DIR *d = fd >= 0 ? seam_fdopendir(fd) : NULL;
    if (!d) {
        error_set_errno(err, ERR_IO_READ, "read the target folder '%s'", t->path);
        io_close(&fd);
        return io_whose(t->path, "list", err);
    }
    *ret_empty = true;
    for (struct dirent *e; *ret_empty && (errno = 0, e = seam_readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) *ret_empty = false;
    *ret_exists = true;
    return errno && *ret_empty ? error_set_errno(err, ERR_IO_READ, "read the target folder '%s'", t->path) : 0;
}

/* ---- the plan ---- */

static int stat_describe(const char *path, struct buf *b, bool *ret_there, struct error *err) {
    struct stat st;
    *ret_there = seam_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (!*ret_there) return buf_printf(b, err, "%s absent;", path);
    return buf_printf(b, err, "%s %llu %llu %llu %lld.%09ld %lld.%09ld;", path, (unsigned long long)st.st_dev,
                      (unsigned long long)st.st_ino, (unsigned long long)st.st_size, (long long)st.st_mtim.tv_sec,
                      st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

/* A digest of what the target looks like: of the folder, and in place of what the request names. A default name holds
 * the time of day, so for a target that is not there only that counts. *ret_overwrites: in place, and over something.
 */
static int fingerprint(const struct target *t, const struct restore_request *req, bool exists, char hex[65],
                       bool *ret_overwrites, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(16 << 20);
    bool there = false;
    *ret_overwrites = false;
    int rc = exists ? stat_describe(t->path, &b, &there, err) : buf_append_str(&b, "absent", err);
    struct filter f = {0};
    if (rc == 0 && t->mode == TARGET_IN_PLACE) rc = filter_init(&f, req->include, req->facts, err);
    for (size_t i = 0; i < f.n && rc == 0; i++) {
        CLEANUP(buf_free) struct buf p = BUF_INIT(1 << 20);
        struct bytes name = f.patterns[i], rest = filter_target_path(&f, name);
        if (f.single && !name_beneath(name, f.roots[0])) rest = name;
        rc = buf_printf(&p, err, "%s/%.*s", t->path, (int)rest.len, (const char *)rest.ptr);
        if (rc == 0) rc = buf_terminate(&p, err);
        if (rc == 0) rc = stat_describe((const char *)p.ptr, &b, &there, err);
        *ret_overwrites |= exists && (there || !glob_is_plain(name));
    }
    filter_free(&f);
    if (rc) return rc;
    struct digest d;
    sha256(buf_bytes(&b), &d);
    hex_encode(d.b, sizeof d.b, hex);
    return 0;
}

/* Bytes free where the target will be: on the nearest folder above it that exists. */
static int64_t space_free(const struct target *t) {
    char *p = NULL;
    struct error ignored = ERROR_INIT;
    if (mem_strdup(t->parent, &p, &ignored)) return -1;
    int64_t free_bytes = -1;
    for (;;) {
        int fd = seam_openat(AT_FDCWD, p, O_RDONLY | O_DIRECTORY, 0);
        struct statvfs v;
        if (fd >= 0 && seam_fstatvfs(fd, &v) == 0) free_bytes = (int64_t)((uint64_t)v.f_bavail * v.f_frsize);
        char *slash = strrchr(p, '/');
        bool up = fd < 0 && errno == ENOENT && slash && p[1];
        io_close(&fd);
        if (!up) break;
        slash[slash == p ? 1 : 0] = 0;
    }
    seam_free(p);
    return free_bytes;
}

static int steps_put(json_t *plan, const struct target *t, bool exists, struct error *err) {
    json_t *steps = json_array();
    int rc = json_put(plan, "steps", steps, err);
    if (rc) return rc;
#define STEP(text)                                                                                                     \
    if (rc == 0) rc = json_push(steps, json_string(text), err)
    STEP("check every name and record of the snapshot");
    if (t->mode == TARGET_IN_PLACE) {
        STEP("write each selected file under a temporary name in its folder, then rename it over the present one");
    } else {
        STEP("write everything into a new private folder beside the target");
        STEP("make it durable");
    }
    if (t->mode == TARGET_NEW && exists) STEP("remove the empty folder at the target");
    if (t->mode == TARGET_NEW) STEP("rename the private folder to the target");
    if (t->mode == TARGET_SWAP && exists)
        STEP("exchange it with the live folder, and keep that under a name of its own");
    if (t->mode == TARGET_SWAP && !exists) STEP("rename it to the live folder's name");
#undef STEP
    return rc;
}

static int plan_fill(json_t *plan, const struct target *t, const struct restore_request *req, struct error *err) {
    static const char *const modes[] = {"new", "in_place", "swap"};
    bool exists, empty, overwrites;
    char hex[65];
    int rc = target_look(t, &exists, &empty, err);
    if (rc == 0) rc = fingerprint(t, req, exists, hex, &overwrites, err);
    if (rc == 0) rc = json_put(plan, "target", json_name(BYTES_STR(t->path)), err);
    if (rc == 0) rc = json_put_str(plan, "mode", modes[t->mode], err);
    if (rc == 0) rc = json_put(plan, "exists", json_boolean(exists), err);
    if (rc == 0) rc = json_put(plan, "empty", json_boolean(empty), err);
    if (rc == 0) rc = json_put(plan, "overwrites", json_boolean(overwrites), err);
    if (rc == 0) rc = json_put_int(plan, "bytes_needed", json_integer_value(json_object_get(req->facts, "bytes")), err);
    int64_t room = space_free(t);
    if (rc == 0 && room >= 0) rc = json_put_int(plan, "bytes_free", room, err);
    if (rc == 0) rc = json_put_str(plan, "fingerprint", hex, err);
    return rc ? rc : steps_put(plan, t, exists, err);
}

int files_plan(const struct surface_context *ctx, const struct restore_request *req, json_t **ret, struct error *err) {
    struct target t = {0};
    int rc = target_decide(ctx, req, &t, err);
    if (rc) return rc;
    json_t *plan = json_object();
    rc = plan_fill(plan, &t, req, err);
    target_free(&t);
    if (rc)
        json_decref(plan);
    else
        *ret = plan;
    return rc;
}
