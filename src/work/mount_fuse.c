/* The adaptor to libfuse's low-level interface: its requests become calls of mount_*.c, and nothing else knows of it.
 */
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "work/mount_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define LONG_S 86400.0 /* what a point holds never changes */
#define SHORT_S 1.0
#define READ_MAX (1u << 20)
#define WORKERS_MAX 16
#define POLL_MS 200

/* What is open. The kernel need not close it before it lets the mount go, so that all of them are known. */
struct handle {
    struct handle *next, *prev;
    pthread_mutex_t lock;  /* a listing's */
    struct listing *items; /* of a folder in a point */
    struct mount_file *file;
};
struct session {
    struct mount *mount;
    pthread_mutex_t lock;
    struct handle *handles;
};

static struct mount *mount_of(fuse_req_t req) {
    return ((struct session *)fuse_req_userdata(req))->mount;
}

static struct handle *handle_new(fuse_req_t req, struct error *err) {
    struct session *s = fuse_req_userdata(req);
    void *mem;
    if (mem_alloc(sizeof(struct handle), &mem, err) < 0) return NULL;
    struct handle *h = mem;
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_lock(&s->lock);
    h->next = s->handles;
    if (h->next) h->next->prev = h;
    s->handles = h;
    pthread_mutex_unlock(&s->lock);
    return h;
}

static void handle_free(struct session *s, struct handle *h) {
    pthread_mutex_lock(&s->lock);
    *(h->prev ? &h->prev->next : &s->handles) = h->next;
    if (h->next) h->next->prev = h->prev;
    pthread_mutex_unlock(&s->lock);
    listing_close(h->items);
    mount_file_close(h->file);
    pthread_mutex_destroy(&h->lock);
    seam_free(h);
}

static struct handle *handle_of(const struct fuse_file_info *fi) {
    return (struct handle *)(uintptr_t)fi->fh;
}

static void on_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
    (void)id;
    handle_free(fuse_req_userdata(req), handle_of(fi));
    fuse_reply_err(req, 0);
}

static void refuse(fuse_req_t req, const struct error *err, const char *what) {
    fuse_reply_err(req, mount_failed(mount_of(req), err, what));
}

static struct fuse_entry_param param_of(const struct mount_entry *e) {
    struct fuse_entry_param p = {.ino = e->id, .generation = 1, .attr = e->st};
    p.attr_timeout = p.entry_timeout = e->fixed ? LONG_S : SHORT_S;
    return p;
}

static void on_init(void *ctx, struct fuse_conn_info *conn) {
    (void)ctx;
    conn->want |= conn->capable & (FUSE_CAP_READDIRPLUS | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ);
    conn->want &= ~FUSE_CAP_READDIRPLUS_AUTO; /* a listing has the metadata at hand */
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
    struct mount *m = mount_of(req);
    struct error err = ERROR_INIT;
    struct mount_entry e;
    if (id_is_place(parent)) {
        mount_sync(m);
        if (!mount_place_child(m, parent, BYTES_STR(name), &e)) {
            fuse_reply_err(req, ENOENT);
            return;
        }
    } else {
        struct node *n;
        int rc = node_child(m, parent, BYTES_STR(name), &n, &err);
        if (rc == -ERR_NO_POINT) { /* and there never will be */
            struct fuse_entry_param none = {.entry_timeout = LONG_S};
            fuse_reply_entry(req, &none);
            return;
        }
        if (rc < 0) {
            refuse(req, &err, name);
            return;
        }
        node_entry(n, &e);
        node_put(m, n);
    }
    struct fuse_entry_param p = param_of(&e);
    fuse_reply_entry(req, &p);
}

/* Numbers say where things are, so that none of them is remembered. */
static void on_forget(fuse_req_t req, fuse_ino_t id, uint64_t lookups) {
    (void)id;
    (void)lookups;
    fuse_reply_none(req);
}

static void on_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    struct error err = ERROR_INIT;
    struct mount_entry e;
    struct node *n;
    (void)fi;
    if (id_is_place(id) || id_is_point(id)) {
        if (!mount_place_entry(m, id, &e)) {
            fuse_reply_err(req, ENOENT);
            return;
        }
    } else {
        if (node_get(m, id, &n, &err) < 0) {
            refuse(req, &err, "metadata");
            return;
        }
        node_entry(n, &e);
        node_put(m, n);
    }
    fuse_reply_attr(req, &e.st, e.fixed ? LONG_S : SHORT_S);
}

static void on_readlink(fuse_req_t req, fuse_ino_t id) {
    struct mount *m = mount_of(req);
    struct error err = ERROR_INIT;
    char latest[SNAPSHOT_ID_MAX + 16];
    struct node *n;
    if (id_is_place(id)) {
        if (mount_latest(m, id, latest))
            fuse_reply_readlink(req, latest);
        else
            fuse_reply_err(req, ENOENT);
        return;
    }
    if (node_get(m, id, &n, &err) < 0) {
        refuse(req, &err, "a symbolic link");
        return;
    }
    struct buf target = BUF_INIT(1u << 16);
    if (!S_ISLNK(n->stat.mode))
        fuse_reply_err(req, EINVAL);
    else if (buf_append(&target, n->stat.target.ptr, n->stat.target.len, &err) < 0 || buf_terminate(&target, &err) < 0)
        refuse(req, &err, "a symbolic link");
    else
        fuse_reply_readlink(req, (const char *)target.ptr);
    buf_free(&target);
    node_put(m, n);
}

/* ---- extended attributes ---- */

static void xattr_reply(fuse_req_t req, struct bytes value, size_t size) {
    if (size == 0)
        fuse_reply_xattr(req, value.len);
    else if (value.len > size)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, (const char *)value.ptr, value.len);
}

/* One value, or with key NULL the list of names, each ended by a NUL. */
static void xattrs(fuse_req_t req, fuse_ino_t id, const char *key, size_t size) {
    struct mount *m = mount_of(req);
    struct error err = ERROR_INIT;
    struct node *n = NULL;
    struct buf names = BUF_INIT(16u << 20);
    struct bytes k, v;
    if (id_is_place(id) || id_is_point(id)) {
        if (key)
            fuse_reply_err(req, ENODATA);
        else
            xattr_reply(req, buf_bytes(&names), size);
        return;
    }
    int rc = node_get(m, id, &n, &err);
    bool found = false;
    if (rc == 0) {
        const struct surface_driver *d = mount_point_of(m, id_slot(id))->driver;
        struct bytes run = n->stat.xattrs;
        while (rc == 0 && !found && d && d->xattr_next && d->xattr_next(&run, &k, &v)) {
            if (key) {
                found = bytes_equal(k, BYTES_STR(key));
                continue;
            }
            rc = buf_append(&names, k.ptr, k.len, &err);
            if (rc == 0) rc = buf_append(&names, "", 1, &err);
        }
    }
    if (rc < 0)
        refuse(req, &err, "extended attributes");
    else if (!key)
        xattr_reply(req, buf_bytes(&names), size);
    else if (found)
        xattr_reply(req, v, size);
    else
        fuse_reply_err(req, ENODATA);
    buf_free(&names);
    node_put(m, n);
}

static void on_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size) {
    xattrs(req, id, name, size);
}

static void on_listxattr(fuse_req_t req, fuse_ino_t id, size_t size) {
    xattrs(req, id, NULL, size);
}

/* ---- folders ---- */

static void on_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    struct error err = ERROR_INIT;
    struct handle *h = handle_new(req, &err);
    if (!h || (!id_is_place(id) && listing_open(m, id, &h->items, &err) < 0)) {
        if (h) handle_free(fuse_req_userdata(req), h);
        refuse(req, &err, "a folder");
        return;
    }
    if (id_is_place(id)) mount_sync(m);
    fi->fh = (uint64_t)(uintptr_t)h;
    fi->keep_cache = fi->cache_readdir = h->items != NULL;
    fuse_reply_open(req, fi);
}

static bool entry_add(fuse_req_t req, struct buf *out, bool plus, const char *name, const struct mount_entry *e,
                      uint64_t cookie) {
    size_t room = out->cap - out->len, took;
    char *at = (char *)out->ptr + out->len;
    if (plus) {
        struct fuse_entry_param p = param_of(e);
        took = fuse_add_direntry_plus(req, at, room, name, &p, (off_t)cookie);
    } else
        took = fuse_add_direntry(req, at, room, name, &e->st, (off_t)cookie);
    if (took > room) return false;
    out->len += took;
    return true;
}

/* "." and ".." take the cookies 1 and 2; the kernel knows them by itself, and wants only their type. */
static bool dots_add(fuse_req_t req, struct buf *out, bool plus, uint64_t id, uint64_t *cookie) {
    static const char *const names[] = {".", ".."};
    for (; *cookie < LISTING_BEGIN; ++*cookie) {
        struct mount_entry e = {.st = {.st_ino = id, .st_mode = S_IFDIR}};
        if (!entry_add(req, out, plus, names[*cookie], &e, *cookie + 1)) return false;
    }
    return true;
}

static int items_add(fuse_req_t req, struct handle *d, struct buf *out, bool plus, uint64_t cookie, struct error *err) {
    const struct listed *e;
    int rc;
    while ((rc = listing_next(d->items, cookie, &e, err)) == 0 && e) {
        if (!entry_add(req, out, plus, e->name, &e->entry, e->cookie)) break;
        cookie = e->cookie;
    }
    return out->len ? 0 : rc; /* what came before an error is answered before it */
}

static void places_add(fuse_req_t req, uint64_t id, struct buf *out, bool plus, uint64_t cookie) {
    struct mount_entry e;
    char name[256];
    while (mount_place_next(mount_of(req), id, &cookie, name, &e) && entry_add(req, out, plus, name, &e, cookie)) {}
}

static void list(fuse_req_t req, fuse_ino_t id, size_t size, off_t at, const struct fuse_file_info *fi, bool plus) {
    struct handle *d = handle_of(fi);
    struct error err = ERROR_INIT;
    uint64_t cookie = (uint64_t)at;
    struct buf out = BUF_INIT(size < READ_MAX ? size : READ_MAX);
    int rc = buf_reserve(&out, out.max_bytes, &err);
    if (rc == 0 && dots_add(req, &out, plus, id, &cookie)) {
        if (d->items) {
            pthread_mutex_lock(&d->lock);
            rc = items_add(req, d, &out, plus, cookie, &err);
            pthread_mutex_unlock(&d->lock);
        } else
            places_add(req, id, &out, plus, cookie);
    }
    if (rc < 0)
        refuse(req, &err, "a folder");
    else
        fuse_reply_buf(req, (const char *)out.ptr, out.len);
    buf_free(&out);
}

static void on_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t at, struct fuse_file_info *fi) {
    list(req, id, size, at, fi, false);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t at, struct fuse_file_info *fi) {
    list(req, id, size, at, fi, true);
}

/* ---- files ---- */

static void on_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
    struct error err = ERROR_INIT;
    if ((fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, EROFS);
        return;
    }
    if (id_is_place(id) || id_is_point(id)) {
        fuse_reply_err(req, EISDIR);
        return;
    }
    struct handle *h = handle_new(req, &err);
    if (!h || mount_file_open(mount_of(req), id, &h->file, &err) < 0) {
        if (h) handle_free(fuse_req_userdata(req), h);
        refuse(req, &err, "opening a file");
        return;
    }
    fi->fh = (uint64_t)(uintptr_t)h;
    fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t at, struct fuse_file_info *fi) {
    struct error err = ERROR_INIT;
    size_t got = 0;
    (void)id;
    if (size > READ_MAX) size = READ_MAX;
    uint8_t *p = seam_alloc(size ? size : 1);
    int rc = p ? mount_file_read(handle_of(fi)->file, (uint64_t)at, p, size, &got, &err)
               : error_set(&err, ERR_NO_MEMORY, "no memory for a reading of %zu bytes", size);
    if (rc < 0)
        refuse(req, &err, "reading a file");
    else
        fuse_reply_buf(req, (const char *)p, got);
    seam_free(p);
}

static void on_lseek(fuse_req_t req, fuse_ino_t id, off_t at, int whence, struct fuse_file_info *fi) {
    struct error err = ERROR_INIT;
    uint64_t found = 0;
    (void)id;
    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    int rc = mount_file_seek(handle_of(fi)->file, (uint64_t)at, whence == SEEK_HOLE, &found, &err);
    if (rc == -ERR_NO_POINT)
        fuse_reply_err(req, ENXIO);
    else if (rc < 0)
        refuse(req, &err, "reading a file");
    else
        fuse_reply_lseek(req, (off_t)found);
}

static void on_statfs(fuse_req_t req, fuse_ino_t id) {
    struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255, .f_flag = ST_RDONLY};
    (void)id;
    fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops ops = {
    .init = on_init,
    .lookup = on_lookup,
    .forget = on_forget,
    .getattr = on_getattr,
    .readlink = on_readlink,
    .open = on_open,
    .read = on_read,
    .release = on_release,
    .opendir = on_opendir,
    .readdir = on_readdir,
    .readdirplus = on_readdirplus,
    .releasedir = on_release,
    .getxattr = on_getxattr,
    .listxattr = on_listxattr,
    .statfs = on_statfs,
    .lseek = on_lseek,
};

/* ---- the session ---- */

/* libfuse tells why it failed by its log alone. Written before any thread of ours starts. */
static char said[512];

static void PK_PRINTF(2, 0) on_log(enum fuse_log_level level, const char *fmt, va_list ap) {
    if (level > FUSE_LOG_WARNING) return;
    vsnprintf(said, sizeof said, fmt, ap);
    said[strcspn(said, "\n")] = '\0';
}

struct serving {
    struct fuse_session *session;
    pthread_mutex_t turn; /* one thread waits for a request, and then answers it while the next one waits */
};

static bool request_next(struct serving *s, struct fuse_buf *b) {
    for (;;) {
        if (atomic_load(&stop_signal) || fuse_session_exited(s->session)) return false;
        int got = fuse_session_receive_buf(s->session, b);
        if (got > 0) return true;
        if (got == -EINTR) continue;
        if (got != -EAGAIN) return false; /* 0: it was unmounted */
        struct pollfd p = {.fd = fuse_session_fd(s->session), .events = POLLIN};
        (void)!seam_poll(&p, 1, POLL_MS);
    }
}

static void *work_off(void *arg) {
    struct serving *s = arg;
    struct fuse_buf b = {0};
    for (;;) {
        pthread_mutex_lock(&s->turn);
        bool more = request_next(s, &b);
        pthread_mutex_unlock(&s->turn);
        if (!more) break;
        fuse_session_process_buf(s->session, &b);
    }
    free(b.mem); /* seam: allocated by libfuse */
    return NULL;
}

/* A terminal that goes away must not leave the mount behind. */
static void on_hangup(int number) {
    atomic_store(&stop_signal, number);
}

static int serve(struct mount *m, struct fuse_session *session, const struct mount_options *o, struct error *err) {
    struct serving s = {.session = session};
    pthread_t threads[WORKERS_MAX];
    unsigned want = m->w->jobs + 2, n = 0;
    int fd = fuse_session_fd(session), flags = fcntl(fd, F_GETFL), rc = 0;
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return error_set_errno(err, ERR_MOUNT, "%s", o->dir);
    pthread_mutex_init(&s.turn, NULL);
    if (want > WORKERS_MAX) want = WORKERS_MAX;
    while (n < want && (rc = thread_start(&threads[n], work_off, &s, err)) == 0) n++;
    if (rc < 0)
        fuse_session_exit(session);
    else if (o->mounted)
        o->mounted(o->ctx);
    while (n > 0) pthread_join(threads[--n], NULL);
    pthread_mutex_destroy(&s.turn);
    return rc;
}

static int cannot(const struct mount_options *o, struct error *err) {
    return error_set(err, ERR_MOUNT, "%s: %s", o->dir, said[0] ? said : "libfuse gave no reason");
}

int mount_serve(struct mount *m, const struct mount_options *o, struct error *err) {
    char options[128];
    snprintf(options, sizeof options, "ro,nosuid,nodev,fsname=proofkeep,subtype=proofkeep%s",
             o->allow_other ? ",allow_other,default_permissions" : "");
    char name[] = "proofkeep", flag[] = "-o";
    char *argv[] = {name, flag, options, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    fuse_set_log_func(on_log);
    struct session open = {.mount = m};
    pthread_mutex_init(&open.lock, NULL);
    struct fuse_session *session = fuse_session_new(&args, &ops, sizeof ops, &open);
    struct sigaction hangup = {.sa_handler = on_hangup}, before;
    int rc = session ? 0 : cannot(o, err);
    sigemptyset(&hangup.sa_mask);
    /* as long as it is mounted, a terminal that closes ends it like any other signal */
    const bool handled = rc == 0 && sigaction(SIGHUP, &hangup, &before) == 0;
    if (rc == 0 && !handled) rc = error_set_errno(err, ERR_MOUNT, "handling signals");
    if (rc == 0 && fuse_session_mount(session, o->dir) != 0) rc = cannot(o, err);
    if (rc == 0) {
        mount_record(m, o);
        rc = serve(m, session, o, err);
        fuse_session_unmount(session);
    }
    if (handled) sigaction(SIGHUP, &before, NULL);
    if (session) fuse_session_destroy(session);
    while (open.handles) handle_free(&open, open.handles);
    pthread_mutex_destroy(&open.lock);
    fuse_opt_free_args(&args);
    return rc;
}
