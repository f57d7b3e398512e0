#include "surface/files/dirs.h"
#include <errno.h>

void dirs_init(struct dirs *s, bool noatime, void (*free_one)(struct dir *)) {
    pthread_mutex_init(&s->lock, NULL);
    atomic_init(&s->open, 0);
    s->noatime = noatime;
    s->free = free_one;
}

void dirs_end(struct dirs *s) {
    pthread_mutex_destroy(&s->lock);
}

void dir_init(struct dir *d, struct dir *up, const char *comp) {
    *d = (struct dir){.up = up ? dir_ref(up) : NULL, .comp = comp, .depth = up ? up->depth + 1 : 0, .fd = -1};
    atomic_init(&d->refs, 1);
}

int dir_open_base(struct dirs *s, struct dir *d, const char *path) {
    d->fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (d->fd < 0) return -1;
    d->pinned = true;
    atomic_fetch_add(&s->open, 1);
    return 0;
}

struct dir *dir_ref(struct dir *d) {
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

/* Takes the descriptor out of a dir that nobody needs open; under the lock. */
static bool idle_take(struct dirs *s, struct dir *d, int *ret_fd, DIR **ret_stream) {
    if (d->fd < 0 || d->uses > 0 || d->pinned) return false;
    *ret_fd = d->fd;
    *ret_stream = d->stream;
    d->fd = -1;
    d->stream = NULL;
    atomic_fetch_sub(&s->open, 1);
    return true;
}

static void handle_close(int fd, DIR *stream) {
    if (stream)
        seam_closedir(stream);
    else
        io_close(&fd);
}

void dir_unref(struct dirs *s, struct dir *d) {
    while (d && atomic_fetch_sub(&d->refs, 1) == 1) {
        struct dir *up = d->up;
        d->pinned = false;
        int fd;
        DIR *stream;
        if (idle_take(s, d, &fd, &stream)) handle_close(fd, stream);
        s->free(d);
        d = up;
    }
}

static int component_open(struct dirs *s, int up, const char *comp) {
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | (s->noatime ? O_NOATIME : 0),
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int fd = seam_openat2(up, comp, &how);
    if (fd < 0 && errno == EPERM && s->noatime) {
        how.flags &= ~(uint64_t)O_NOATIME;
        fd = seam_openat2(up, comp, &how);
    }
    return fd;
}

/* Opens d below its open parent and makes the result d's, unless another thread was quicker. One use is added. */
static int dir_open(struct dirs *s, struct dir *d, int up) {
    int fd = component_open(s, up, d->comp);
    if (fd < 0) return -1;
    struct stat st;
    if (seam_fstat(fd, &st) < 0) {
        io_close(&fd);
        return -1;
    }
    pthread_mutex_lock(&s->lock);
    bool same = d->ino == 0 || (d->ino == st.st_ino && d->dev == st.st_dev), late = d->fd >= 0;
    if (same) {
        if (!late) {
            d->fd = fd;
            d->ino = st.st_ino;
            d->dev = st.st_dev;
            atomic_fetch_add(&s->open, 1);
        }
        d->uses++;
    }
    int result = same ? d->fd : -1;
    pthread_mutex_unlock(&s->lock);
    if (!same || late) io_close(&fd);
    if (!same) errno = ESTALE;
    return result;
}

int dir_get(struct dirs *s, struct dir *d) {
    pthread_mutex_lock(&s->lock);
    int fd = d->fd;
    if (fd >= 0) d->uses++;
    pthread_mutex_unlock(&s->lock);
    if (fd >= 0) return fd;
    if (!d->up) {
        errno = EBADF;
        return -1;
    }
    /* Goes up as far as folders are closed: DIRS_STEP levels, if the owner pins as dirs.h says. */
    int up = dir_get(s, d->up);
    if (up < 0) return -1;
    fd = dir_open(s, d, up);
    int saved = errno;
    dir_put(s, d->up);
    errno = saved;
    return fd;
}

static void dir_release(struct dirs *s, struct dir *d, bool pin) {
    int fd = -1;
    DIR *stream = NULL;
    pthread_mutex_lock(&s->lock);
    if (pin)
        d->pinned = false;
    else
        d->uses--;
    bool idle = idle_take(s, d, &fd, &stream);
    pthread_mutex_unlock(&s->lock);
    if (idle) handle_close(fd, stream);
}

void dir_put(struct dirs *s, struct dir *d) {
    dir_release(s, d, false);
}

int dir_pin(struct dirs *s, struct dir *d) {
    int fd = dir_get(s, d);
    if (fd < 0) return -1;
    pthread_mutex_lock(&s->lock);
    d->pinned = true;
    d->uses--;
    pthread_mutex_unlock(&s->lock);
    return fd;
}

void dir_unpin(struct dirs *s, struct dir *d) {
    dir_release(s, d, true);
}

DIR *dir_stream(struct dirs *s, struct dir *d) {
    pthread_mutex_lock(&s->lock);
    if (!d->stream) d->stream = seam_fdopendir(d->fd);
    DIR *stream = d->stream;
    pthread_mutex_unlock(&s->lock);
    return stream;
}
