#include "work/past_feed.h"

#include "base/seam.h"
#include "base/thread.h"

#include <errno.h>
#include <stdio.h>

#define WANT ".want"
#define LOOK_MS 10
#define PART "part" /* no file of the archive is called that */

/* The server starts it in its data folder, by a shell of its own; no name in it comes from anywhere but the server. */
const char *const past_feed_command =
    "cd ../" PAST_FEED_FOLDER " || exit 200; mv %f ../data/%p 2>/dev/null && exit 0; : >%f" WANT
    "; while [ -d ../" PAST_FEED_FOLDER " ]; do mv %f ../data/%p 2>/dev/null && exit 0; "
    "rm %f.gone 2>/dev/null && exit 1; [ -e %f.lost ] && exit 200; sleep 0.02; done; exit 200";

struct past_feed {
    struct wal_source *source;
    uint64_t system;
    int dirfd;
    pthread_t thread;
    atomic_bool stop;
    struct error lost; /* the first file that could not be had */
};

/* `source` NULL: an empty file. */
static int write_file(int dirfd, const char *name, struct wal_source *source, uint64_t system, const struct wal_name *n,
                      struct error *err) {
    struct stat st;
    int fd = seam_openat(dirfd, PART, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == EEXIST && seam_unlinkat(dirfd, PART, 0) == 0)
        fd = seam_openat(dirfd, PART, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s for a scratch server", name);
    int rc = source ? source->ops->write(source, system, n, fd, name, err) : 0;
    if (rc == 0 && geteuid() == 0 &&
        (seam_fstat(dirfd, &st) < 0 || seam_fchownat(fd, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0))
        rc = error_set_errno(err, ERR_IO_WRITE, "give %s to a scratch server", name);
    io_close(&fd);
    if (rc == 0 && seam_renameat2(dirfd, PART, dirfd, name, 0) < 0)
        rc = error_set_errno(err, ERR_IO_WRITE, "name %s for a scratch server", name);
    return rc;
}

int past_feed_put(struct wal_source *source, uint64_t system, const struct wal_name *n, int dirfd, struct error *err) {
    char name[WAL_NAME_BYTES];
    wal_name_format(n, name);
    return write_file(dirfd, name, source, system, n, err);
}

static bool there(const struct past_feed *f, const char *name) {
    struct stat st;
    return seam_fstatat(f->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void answer(struct past_feed *f, const char *name, const char *word) {
    char path[WAL_NAME_BYTES + 8];
    struct error lost = ERROR_INIT;
    snprintf(path, sizeof path, "%s.%s", name, word);
    if (write_file(f->dirfd, path, NULL, 0, NULL, &lost) < 0 && !f->lost.code) f->lost = lost;
}

static void serve(struct past_feed *f, const char *want) {
    char name[WAL_NAME_BYTES];
    struct wal_name n;
    struct error why = ERROR_INIT;
    snprintf(name, sizeof name, "%.*s", (int)(strlen(want) - strlen(WANT)), want);
    int rc = wal_name_parse(name, &n, &why);
    if (rc == 0) rc = there(f, name) ? 0 : past_feed_put(f->source, f->system, &n, f->dirfd, &why);
    if (rc == -ERR_WAL_ABSENT || rc == -ERR_PG_WAL_NAME)
        answer(f, name, "gone");
    else if (rc < 0) {
        if (!f->lost.code) f->lost = why;
        answer(f, name, "lost");
    }
    (void)!seam_unlinkat(f->dirfd, want, 0);
    if (rc < 0 || n.kind != WAL_SEGMENT) return;
    /* The next of the same log file; at its end the server asks by itself. */
    n.seg++;
    wal_name_format(&n, name);
    error_clear(&why);
    if (!there(f, name) && past_feed_put(f->source, f->system, &n, f->dirfd, &why) < 0) error_clear(&why);
}

static void look(struct past_feed *f) {
    char want[WAL_NAME_BYTES + 8] = "";
    int fd = seam_openat(f->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (!d) {
        io_close(&fd);
        return;
    }
    for (struct dirent *e; !*want && (e = seam_readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n > strlen(WANT) && n < sizeof want && !strcmp(e->d_name + n - strlen(WANT), WANT))
            memcpy(want, e->d_name, n + 1);
    }
    seam_closedir(d);
    if (*want) serve(f, want);
}

static void *run(void *arg) {
    struct past_feed *f = arg;
    while (!atomic_load(&f->stop)) {
        look(f);
        (void)!seam_poll(NULL, 0, LOOK_MS);
    }
    return NULL;
}

int past_feed_start(struct wal_source *source, uint64_t system, int dirfd, struct past_feed **ret, struct error *err) {
    struct past_feed *f;
    int rc = mem_alloc(sizeof *f, (void **)&f, err);
    if (rc < 0) return rc;
    f->source = source;
    f->system = system;
    f->dirfd = dirfd;
    rc = thread_start(&f->thread, run, f, err);
    if (rc < 0)
        seam_free(f);
    else
        *ret = f;
    return rc;
}

void past_feed_stop(struct past_feed *f, struct error *err) {
    if (!f) return;
    atomic_store(&f->stop, true);
    pthread_join(f->thread, NULL);
    if (f->lost.code && err->code) (void)!error_wrap(err, "%s", f->lost.text);
    seam_free(f);
}
