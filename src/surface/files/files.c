#include "base/time.h"
#include "surface/files/attr.h"
#include "surface/files/files_internal.h"
#include "surface/files/tree.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* ---- probe ---- */

static int problem_push(json_t *problems, const char *code, const char *path, const char *why, struct error *err) {
    char text[512];
    snprintf(text, sizeof text, "%.300s: %.150s", path, why);
    json_t *one = json_object();
    int rc = json_put_str(one, "code", code, err);
    if (rc == 0) rc = json_put(one, "text", json_name(BYTES_STR(text)), err);
    if (rc == 0) return json_push(problems, one, err);
    json_decref(one);
    return rc;
}

static int root_probe(const struct tree_root *r, json_t *roots, json_t *problems, struct error *err) {
    struct stat st;
    const char *type = "missing";
    int rc = 0;
    if (seam_fstatat(AT_FDCWD, r->path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        rc = problem_push(problems, error_info(ERR_SOURCE_MISSING)->code, r->path, strerror(errno), err);
    } else {
        type = S_ISDIR(st.st_mode) ? "folder" : S_ISREG(st.st_mode) ? "file" : S_ISLNK(st.st_mode) ? "link" : "other";
        int fd = S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)
                     ? seam_openat(AT_FDCWD, r->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0)
                     : -1;
        if ((S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)) && fd < 0)
            rc = problem_push(problems, error_info(ERR_SOURCE_UNREADABLE)->code, r->path, strerror(errno), err);
        if (S_ISLNK(st.st_mode))
            rc = problem_push(problems, error_info(ERR_CONFIG_VALUE)->code, r->path,
                              "is a symbolic link, of which only the link itself is backed up; name what it leads to",
                              err);
        io_close(&fd);
    }
    json_t *one = json_object();
    if (rc == 0) rc = json_put_str(one, "path", r->path, err);
    if (rc == 0) rc = json_put_str(one, "type", type, err);
    if (rc == 0) return json_push(roots, one, err);
    json_decref(one);
    return rc;
}

int files_probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    struct tree t = {0};
    int rc = tree_read_settings(ctx->settings, &t, err);
    if (rc) return rc;
    json_t *facts = json_object(), *roots = json_array(), *problems = json_array();
    for (size_t i = 0; i < t.n_roots && rc == 0; i++) rc = root_probe(&t.roots[i], roots, problems, err);
    if (rc == 0) rc = json_put(facts, "root_user", json_boolean(geteuid() == 0), err);
    if (rc == 0) rc = json_put(facts, "roots", json_incref(roots), err);
    if (rc == 0) rc = json_put(facts, "problems", json_incref(problems), err);
    json_decref(roots);
    json_decref(problems);
    tree_free(&t);
    if (rc)
        json_decref(facts);
    else
        *ret = facts;
    return rc;
}

/* ---- scratch ---- */

/* A scratch tree needs no server: a name under the private folder is all, and the restore makes it. */
static int scratch_start(const struct surface_context *ctx, const json_t *facts, json_t **ret, struct error *err) {
    (void)facts;
    uint8_t tag[8];
    char hex[17];
    CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
    int rc = random_bytes(tag, sizeof tag, err);
    if (rc) return rc;
    hex_encode(tag, sizeof tag, hex);
    rc = buf_printf(&b, err, "%s/files-%s", ctx->scratch_dir, hex);
    if (rc == 0) rc = buf_terminate(&b, err);
    if (rc) return rc;
    json_t *j = json_object();
    rc = json_put_str(j, "path", (const char *)b.ptr, err);
    if (rc)
        json_decref(j);
    else
        *ret = j;
    return rc;
}

static void scratch_stop(const struct surface_context *ctx, json_t *scratch) {
    const char *path = json_string_value(json_object_get(scratch, "path"));
    size_t n = strlen(ctx->scratch_dir);
    struct error err = ERROR_INIT;
    /* Only what scratch_start can have named is ever removed. */
    bool ours = path && strncmp(path, ctx->scratch_dir, n) == 0 && strncmp(path + n, "/files-", 7) == 0 &&
                !strchr(path + n + 1, '/');
    if (ours && io_remove_tree(AT_FDCWD, path, &err) && ctx->events.note)
        ctx->events.note(ctx->events.ctx, NOTE_WARNING, BYTES_STR(path), err.text);
}

/* ---- items for people ---- */

static const char *type_word(enum file_type t) {
    switch (t) {
    case FILE_REGULAR:
        return "file";
    case FILE_FOLDER:
        return "folder";
    case FILE_LINK:
        return "symbolic link";
    case FILE_HARDLINK:
        return "hard link";
    case FILE_FIFO:
        return "fifo";
    case FILE_CHAR:
        return "character device";
    case FILE_BLOCK:
        return "block device";
    }
    return "unknown";
}

static int time_put(json_t *j, struct stamp t, struct error *err) {
    char text[32];
    if (t.s > INT64_MAX / NS_PER_S - 1 || t.s < INT64_MIN / NS_PER_S + 1) return json_put_int(j, "mtime", t.s, err);
    time_format(t.s * NS_PER_S + t.ns, text);
    return json_put_str(j, "mtime", text, err);
}

static int owner_put(json_t *j, const char *key, struct bytes name, uint32_t id, struct error *err) {
    return name.len ? json_put(j, key, json_name(name), err) : json_put_int(j, key, id, err);
}

/* Each with the digest of its value, so that a change of a value alone, an ACL's too, tells two records apart. File
 * systems list attributes in any order, and an object has none. */
static int xattrs_put(json_t *j, struct bytes run, struct error *err) {
    char hex[DIGEST_BYTES * 2 + 1];
    struct bytes key, value;
    struct digest d;
    json_t *all = json_object();
    int rc = json_put(j, "xattrs", all, err);
    while (rc == 0 && xattr_next(&run, &key, &value)) {
        json_auto_t *name = json_name(key);
        sha256(value, &d);
        hex_encode(d.b, DIGEST_BYTES, hex);
        rc = name ? json_put_str(all, json_string_value(name), hex, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    }
    return rc;
}

static int describe(const struct attr *a, json_t *j, struct error *err) {
    char mode[8];
    snprintf(mode, sizeof mode, "%04o", a->mode);
    int rc = json_put_str(j, "type", type_word(a->type), err);
    if (rc == 0) rc = json_put_str(j, "mode", mode, err);
    if (rc == 0) rc = owner_put(j, "owner", a->user, a->uid, err);
    if (rc == 0) rc = owner_put(j, "group", a->group, a->gid, err);
    if (rc == 0) rc = time_put(j, a->mtime, err);
    if (rc == 0 && (a->type == FILE_REGULAR || a->type == FILE_HARDLINK))
        rc = json_put_int(j, "size", (int64_t)a->size, err);
    if (rc == 0 && a->target.len) rc = json_put(j, "target", json_name(a->target), err);
    if (rc == 0 && (a->flags & ATTR_SPARSE)) rc = json_put(j, "sparse", json_true(), err);
    if (rc == 0 && (a->flags & ATTR_PARTIAL)) rc = json_put(j, "partial", json_true(), err);
    return rc || a->xattrs.len == 0 ? rc : xattrs_put(j, a->xattrs, err);
}

int files_describe(struct bytes name, struct bytes attr, json_t **ret, struct error *err) {
    (void)name;
    struct attr a;
    int rc = attr_decode(attr, &a, err);
    if (rc) return rc;
    json_t *j = json_object();
    rc = describe(&a, j, err);
    if (rc)
        json_decref(j);
    else
        *ret = j;
    return rc;
}

static uint32_t type_bits(enum file_type t) {
    switch (t) {
    case FILE_FOLDER: return S_IFDIR;
    case FILE_LINK: return S_IFLNK;
    case FILE_FIFO: return S_IFIFO;
    case FILE_CHAR: return S_IFCHR;
    case FILE_BLOCK: return S_IFBLK;
    case FILE_REGULAR:
    case FILE_HARDLINK: break;
    }
    return S_IFREG;
}

static int files_stat(struct bytes attr, struct item_stat *ret, struct error *err) {
    struct attr a;
    int rc = attr_decode(attr, &a, err);
    if (rc) return rc;
    *ret = (struct item_stat){
        .mode = type_bits(a.type) | a.mode,
        .uid = a.uid,
        .gid = a.gid,
        .rdev_major = a.rdev_major,
        .rdev_minor = a.rdev_minor,
        .nlink = a.nlink ? a.nlink : 1,
        .mtime_s = a.mtime.s,
        .mtime_ns = a.mtime.ns,
        .ctime_s = a.ctime.s,
        .ctime_ns = a.ctime.ns,
        .sparse = (a.flags & ATTR_SPARSE) != 0,
        .xattrs = a.xattrs,
    };
    *(a.type == FILE_HARDLINK ? &ret->same_as : &ret->target) = a.target;
    return 0;
}

static const struct surface_selection selection[] = {
    {NULL, "paths"}, {NULL, "exclude"}, {NULL, "one_file_system"}, {0}};

const struct surface_driver surface_files = {
    .kind = "files",
    .selection = selection,
    .receipt_surface = "artifacts",
    .probe = files_probe,
    .capture = files_capture,
    .plan = files_plan,
    .restore = files_restore,
    .scratch_start = scratch_start,
    .scratch_stop = scratch_stop,
    .measure = files_measure,
    .describe = files_describe,
    .stat = files_stat,
    .wants = files_wants,
    .xattr_next = xattr_next,
};
