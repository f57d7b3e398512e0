/* The order matters: an owner change takes away set-id bits and file capabilities, user.* attributes need write
 * permission that the mode may deny, and times are last but for the mode, which moves none of them. */
#include "surface/files/restore_internal.h"
#include <errno.h>
#include <unistd.h>

#define SET_ID (S_ISUID | S_ISGID)

static int failed(const char *what, struct bytes name, struct error *err) {
    char text[NAME_TEXT_BYTES];
    return error_set_errno(err, ERR_IO_WRITE, "set the %s of '%s'", what, name_text(name, text));
}

/* fd >= 0: that; else dir/comp. */
struct place {
    int fd, dir;
    const char *comp;
};

static int owner_set(struct restore *r, const struct place *p, struct bytes name, const struct attr *a, struct stat *st,
                     bool *ret_exact, struct error *err) {
    uint32_t uid = owners_uid(&r->owners, a->user, a->uid), gid = owners_gid(&r->owners, a->group, a->gid);
    if (r->owners_wanted && (st->st_uid != uid || st->st_gid != gid)) {
        int rc = p->fd >= 0 ? seam_fchownat(p->fd, "", uid, gid, AT_EMPTY_PATH)
                            : seam_fchownat(p->dir, p->comp, uid, gid, AT_SYMLINK_NOFOLLOW);
        if (rc < 0) return failed("owner", name, err);
        st->st_uid = uid;
        st->st_gid = gid;
        st->st_mode &= ~(mode_t)SET_ID;
    }
    *ret_exact = st->st_uid == uid && st->st_gid == gid;
    return 0;
}

static int xattrs_set(struct restore *r, const struct place *p, struct bytes name, const struct attr *a,
                      struct error *err) {
    struct bytes run = a->xattrs, key, value;
    while (xattr_next(&run, &key, &value)) {
        char k[256] = "", text[512];
        memcpy(k, key.ptr, key.len);
        if (seam_setxattr_at(p->fd >= 0 ? p->fd : p->dir, p->fd >= 0 ? NULL : p->comp, k, value.ptr, value.len) == 0)
            continue;
        if (errno != EPERM && errno != EACCES && errno != EOPNOTSUPP && errno != EINVAL && errno != ENOENT)
            return failed("extended attributes", name, err);
        char said[128], safe[NAME_TEXT_BYTES];
        const char *why = strerror_r(errno, said, sizeof said);
        snprintf(text, sizeof text, "extended attribute %.255s was not restored: %s", name_text(key, safe), why);
        restore_note(r, NOTE_WARNING, name, text);
    }
    return 0;
}

static uint32_t mode_wanted(struct restore *r, struct bytes name, const struct attr *a, bool exact) {
    /* Set-id bits lend the owner's rights, so they go with the owner or not at all. On a folder they lend nothing. */
    if (exact || a->type == FILE_FOLDER || !(a->mode & SET_ID)) return a->mode;
    restore_note(r, NOTE_WARNING, name, "set-user-id and set-group-id were left off, as its owner was not restored");
    return a->mode & ~(uint32_t)SET_ID;
}

static void times_of(const struct attr *a, struct timespec ts[2]) {
    ts[1] = (struct timespec){(time_t)a->mtime.s, a->mtime.ns};
    ts[0] = ts[1];
}

int restore_attr_stat(int fd, struct bytes name, struct stat *ret, struct error *err) {
    return seam_fstat(fd, ret) < 0 ? failed("owner", name, err) : 0;
}

int restore_attr_fd(struct restore *r, int fd, int dir, const char *comp, struct bytes name, const struct attr *a,
                    const struct stat *is, struct error *err) {
    struct place p = {fd, dir, comp};
    struct stat st = *is;
    struct timespec ts[2];
    bool exact;
    int rc = owner_set(r, &p, name, a, &st, &exact, err);
    if (rc == 0 && r->in_place) restore_acl_clear(fd, a->type == FILE_FOLDER);
    if (rc == 0) rc = xattrs_set(r, &p, name, a, err);
    if (rc) return rc;
    times_of(a, ts);
    if (dir >= 0 ? seam_utimensat(dir, comp, ts, AT_SYMLINK_NOFOLLOW) < 0 : seam_utimensat(fd, ".", ts, 0) < 0)
        return failed("time", name, err);
    uint32_t mode = mode_wanted(r, name, a, exact);
    /* An ACL among the attributes has changed the mode behind our back. */
    if (((st.st_mode & 07777) != mode || a->xattrs.len) && seam_fchmod(fd, mode) < 0) return failed("mode", name, err);
    return 0;
}

int restore_attr_at(struct restore *r, int dir, const char *comp, struct bytes name, const struct attr *a,
                    struct error *err) {
    struct place p = {-1, dir, comp};
    struct stat st;
    struct timespec ts[2];
    bool exact;
    if (seam_fstatat(dir, comp, &st, AT_SYMLINK_NOFOLLOW) < 0) return failed("owner", name, err);
    int rc = owner_set(r, &p, name, a, &st, &exact, err);
    if (rc == 0) rc = xattrs_set(r, &p, name, a, err);
    if (rc) return rc;
    times_of(a, ts);
    if (seam_utimensat(dir, comp, ts, AT_SYMLINK_NOFOLLOW) < 0) return failed("time", name, err);
    if (a->type == FILE_LINK) return 0;
    if (seam_fchmodat(dir, comp, mode_wanted(r, name, a, exact), AT_SYMLINK_NOFOLLOW) < 0)
        return failed("mode", name, err);
    return 0;
}

void restore_acl_clear(int fd, bool folder) {
    /* A list without entries takes the list away. Where there are no such lists there is nothing to do. */
    static const uint8_t none[4] = {2, 0, 0, 0};
    seam_setxattr_at(fd, NULL, "system.posix_acl_access", none, sizeof none);
    if (folder) seam_setxattr_at(fd, NULL, "system.posix_acl_default", none, sizeof none);
}
