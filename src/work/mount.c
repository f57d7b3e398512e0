#include "work/mount_internal.h"
#include "work/receipt.h"
#include "work/select.h"

#include <errno.h>

/* A dead mount answers ENOTCONN to all. */
static int folder_fits(const char *dir, struct error *err) {
    int fd = seam_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0 && errno == ENOTCONN)
        return error_set(err, ERR_MOUNT, "%s has a mount whose process is gone; end it with: fusermount3 -u %s", dir,
                         dir);
    if (fd < 0) return error_set_errno(err, ERR_MOUNT, "%s", dir);
    DIR *d = seam_fdopendir(fd);
    if (!d) {
        int rc = error_set_errno(err, ERR_IO_READ, "%s", dir);
        io_close(&fd);
        return rc;
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (errno = 0, e = seam_readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = error_set(err, ERR_MOUNT, "%s is not empty, and what is in it could not be seen", dir);
    if (rc == 0 && errno) rc = error_set_errno(err, ERR_IO_READ, "%s", dir);
    seam_closedir(d);
    return rc;
}

/* libfuse would only say that mounting failed. */
static int device_fits(struct error *err) {
    int fd = seam_openat(AT_FDCWD, "/dev/fuse", O_RDWR | O_CLOEXEC, 0);
    if (fd < 0 && (errno == ENOENT || errno == ENXIO || errno == ENODEV))
        return error_set(
            err, ERR_MOUNT,
            "/dev/fuse is not there: load the kernel's module (modprobe fuse), or give a container the device "
            "(--device /dev/fuse --cap-add SYS_ADMIN)");
    /* what else there is may be no hindrance to fusermount3, which is privileged */
    io_close(&fd);
    return 0;
}

void mount_record(struct mount *m, const struct mount_options *o) {
    char dir[4096];
    receipt_mount(m->w, m->point_count, work_local_folder(o->dir, dir) ? dir : o->dir, o->allow_other);
}

int mount_run(struct work *w, const struct mount_options *o, struct error *err) {
    struct mount m;
    int rc = device_fits(err);
    if (rc == 0) rc = folder_fits(o->dir, err);
    if (rc == 0) rc = work_open_repo(w, NULL, err);
    if (rc < 0) return rc;
    /* a key that may not read is refused now, and not file by file */
    if (!repo_keys(w->repo)->read_secret)
        return error_set(err, ERR_KEY_ROLE, "looking into recovery points takes a restore or an admin key");
    repo_readers_bound(w->repo, MOUNT_DECODED_BYTES);
    rc = mount_init(&m, w, err);
    if (rc == 0) rc = mount_serve(&m, o, err);
    mount_end(&m);
    return rc;
}
