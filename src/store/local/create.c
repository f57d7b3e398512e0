#include "base/seam.h"
#include "store/local/local_internal.h"

/* Who finds a name taken may take it for stored, and who gave it may have died before it was durable. */
static int make_durable(struct local_store *s, const char *key, struct error *err) {
    CLEANUP(names_free) struct names touched = {0};
    struct error e = ERROR_INIT;
    int rc = local_touch(s, key, &touched, &e);
    if (rc == 0) rc = local_sync_folders(s, &touched, &e);
    if (rc == 0) return -(int)err->code;
    *err = e;
    return rc;
}

static int create(struct local_store *s, const char *key, struct bytes content, bool replace, struct error *err) {
    int rc = local_check_latch(s, err);
    if (rc < 0) return rc;
    char tmp[TMP_NAME_BYTES];
    int fd = -1;
    rc = local_write_tmp(s, &content, 1, replace ? 0600 : 0400, tmp, &fd, err);
    if (rc < 0) return error_wrap(err, "storing %s", key);
    CLEANUP(names_free) struct names touched = {0};
    rc = local_sync(s, fd, key, err);
    io_close(&fd);
    if (rc == 0) rc = local_place(s, tmp, key, replace, &touched, err);
    if (rc < 0) {
        local_drop_tmp(s, tmp);
        return rc == -ERR_OBJECT_EXISTS ? make_durable(s, key, err) : rc;
    }
    return local_sync_folders(s, &touched, err);
}

int local_create(struct store *st, const char *key, struct bytes content, struct error *err) {
    struct local_store *s = (struct local_store *)st;
    struct stat there;
    /* The usual way to lose a race is to come late; that need not cost a write. */
    if (seam_fstatat(s->root, key, &there, AT_SYMLINK_NOFOLLOW) == 0) {
        int rc = local_check_latch(s, err);
        if (rc < 0) return rc;
        error_set(err, ERR_OBJECT_EXISTS, "the object %s exists already in %s", key, s->path);
        return make_durable(s, key, err);
    }
    return create(s, key, content, false, err);
}

int local_replace(struct store *st, const char *key, struct bytes content, struct error *err) {
    return create((struct local_store *)st, key, content, true, err);
}
