/* archive_command: one process a file. What comes next is stored beside it, as far as the server has it ready, and left
 * as marks: their turns cost no more than a look. A mark is set after its file is durable, and names the very file. */
#include "work/wal_homes.h"

#include "base/thread.h"
#include "base/time.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define AHEAD_MAX 64
#define AHEAD_NS (10 * NS_PER_S) /* no new ones after so long */
#define MEMORY_BYTES (UINT64_C(192) << 20)
#define THREADS_MAX 8

static void folder_of(const char *path, char out[4096]) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        snprintf(out, 4096, ".");
    else
        snprintf(out, 4096, "%.*s", (int)(slash == path ? 1 : slash - path), path);
}

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- one file ---- */

struct wal_file {
    const char *path;
    int fd;
    struct stat st; /* when it was opened */
    uint64_t part;  /* bytes that are read and stored at a time */
};

static int source_open(const char *path, const struct wal_name *n, struct wal_file *ret, struct error *err) {
    *ret = (struct wal_file){.path = path, .fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)};
    if (ret->fd < 0)
        return error_set_errno(err, errno == ENOENT ? ERR_SOURCE_MISSING : ERR_IO_READ, "cannot open %s", path);
    if (seam_fstat(ret->fd, &ret->st) < 0) return error_set_errno(err, ERR_IO_READ, "cannot look at %s", path);
    if (!S_ISREG(ret->st.st_mode) || (uint64_t)ret->st.st_size > WAL_SEGMENT_MAX)
        return error_set(err, ERR_PG_WAL, "%s is no WAL file: it is no regular file, or too large", path);
    bool parts = wal_in_pieces(n) && ret->st.st_size > WAL_WHOLE_MAX;
    ret->part = parts ? WAL_PIECE_MAX : (uint64_t)ret->st.st_size + 1;
    return 0;
}

/* Read, not mapped: a file that shrinks under a mapping kills who looks at it. */
static int source_read(const struct wal_file *s, uint64_t at, struct buf *ret, struct error *err) {
    struct stat after;
    uint64_t left = (uint64_t)s->st.st_size - at, want = left < s->part ? left : s->part;
    size_t n = 0;
    buf_clear(ret);
    int rc = buf_reserve(ret, (size_t)want + 1, err);
    if (rc == 0) rc = io_pread_full(s->fd, ret->ptr, (size_t)want + (want == left), at, &n, s->path, err);
    if (rc == 0 && (n != want || seam_fstat(s->fd, &after) < 0 || after.st_size != s->st.st_size ||
                    after.st_mtim.tv_sec != s->st.st_mtim.tv_sec || after.st_mtim.tv_nsec != s->st.st_mtim.tv_nsec))
        rc = error_set(err, ERR_PG_WAL, "%s changed while it was read", s->path);
    ret->len = n;
    return rc;
}

static uint64_t header_system(const char *path) {
    uint8_t page[40];
    size_t n = 0;
    struct wal_header h;
    struct error e = ERROR_INIT;
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    int rc = io_read_full(fd, page, sizeof page, &n, path, &e);
    io_close(&fd);
    return rc == 0 && wal_header_read(BYTES_OF(page, n), &h, &e) == 0 ? h.system : 0;
}

/* Files without a header are of the cluster whose segments lie beside them. */
uint64_t wal_file_system(const char *path, const struct wal_name *n, struct bytes file) {
    char folder[4096], beside[4400];
    struct wal_header h;
    struct error e = ERROR_INIT;
    if (wal_in_pieces(n)) return wal_header_read(file, &h, &e) == 0 ? h.system : 0;
    uint64_t found = 0;
    folder_of(path, folder);
    int fd = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (!d) {
        io_close(&fd);
        return 0;
    }
    for (struct dirent *x; !found && (x = seam_readdir(d));) {
        struct wal_name other;
        struct error no = ERROR_INIT;
        if (wal_name_parse(x->d_name, &other, &no) < 0 || other.kind != WAL_SEGMENT) continue;
        snprintf(beside, sizeof beside, "%s/%.200s", folder, x->d_name);
        found = header_system(beside);
    }
    (void)!seam_closedir(d);
    return found;
}

struct given {                                     /* of one file, to each of the repositories */
    bool has[WAL_HOMES_MAX], fresh[WAL_HOMES_MAX]; /* fresh: by this run */
    struct error first;                            /* failure */
};

/* Into each that has not got it by its mark. */
static void put_part(struct wal_homes *h, const struct wal_part *part, const struct stat *st, bool ahead,
                     struct given *g) {
    for (size_t i = 0; i < h->count; i++) {
        struct wal_home *home = &h->list[i];
        const struct wal_spool *spool;
        struct error e = home->failed;
        if (part->from && !g->fresh[i]) continue; /* it has it all, or a part of it failed */
        g->fresh[i] = false;
        if (wal_home_at(h, home, &spool)) {
            g->has[i] = part->from == 0 && h->count > 1 && wal_mark_holds(spool, part->name, st);
            if (!g->has[i]) g->has[i] = g->fresh[i] = wal_home_put(h, home, part, &e) == 0;
        } else if (ahead)
            continue;
        if (!g->has[i] && g->first.code == ERR_NONE) g->first = e;
    }
}

/* One that has it while another has not is marked, so that the next try leaves it alone. */
static int put_done(struct wal_homes *h, const struct wal_name *n, const struct stat *st, bool ahead, struct given *g,
                    struct error *err) {
    char what[WAL_NAME_BYTES];
    for (size_t i = 0; i < h->count; i++) {
        struct error e = ERROR_INIT;
        const struct wal_spool *spool;
        (void)wal_home_at(h, &h->list[i], &spool);
        if (g->fresh[i] && (ahead || g->first.code != ERR_NONE) && wal_mark_set(spool, n, st, &e) < 0 && ahead &&
            g->first.code == ERR_NONE)
            g->first = e;
        if (g->has[i] && !ahead && g->first.code == ERR_NONE && h->count > 1) wal_mark_drop(spool, n);
    }
    wal_name_format(n, what);
    return g->first.code == ERR_NONE ? 0 : wal_homes_lacking(h, what, g->has, &g->first, err);
}

/* What is stored piece by piece is judged by its first page before, as what is stored whole is by the sink. */
static int check_long(const struct wal_file *s, const struct wal_name *n, struct bytes first, struct error *err) {
    struct wal_header header;
    int rc = wal_segment_check(n, first, 0, err);
    if (rc == 0) rc = wal_header_read(first, &header, err);
    if (rc < 0 || (uint64_t)s->st.st_size == header.segment_bytes) return rc;
    return error_set(err, ERR_PG_WAL, "%s has %lld bytes, and a whole segment of its cluster has %u", s->path,
                     (long long)s->st.st_size, (unsigned)header.segment_bytes);
}

static int put_parts(struct wal_homes *h, const struct wal_file *s, const struct wal_name *n, bool ahead,
                     struct buf *room, struct error *err) {
    struct given g = {.first = ERROR_INIT};
    uint64_t system = 0, size = (uint64_t)s->st.st_size;
    bool whole = s->part > size;
    int rc = 0;
    for (uint64_t at = 0; rc == 0 && (at == 0 || at < size); at += s->part) {
        rc = source_read(s, at, room, err);
        struct bytes bytes = buf_bytes(room);
        if (rc == 0 && at == 0) system = wal_file_system(s->path, n, bytes);
        if (rc == 0 && !system && wal_in_pieces(n))
            rc = wal_segment_check(n, bytes, 0, err); /* says why there is none */
        if (rc == 0 && !system && !wal_homes_system(h, &system))
            rc = error_set(err, ERR_PG_WAL, "nothing says which cluster %s is of: no segment lies beside it", s->path);
        if (rc == 0 && at == 0 && !whole) rc = check_long(s, n, bytes, err);
        struct wal_part part = {system, n, (uint32_t)at, bytes, whole};
        if (rc == 0) put_part(h, &part, &s->st, ahead, &g);
    }
    return rc == 0 ? put_done(h, n, &s->st, ahead, &g, err) : rc;
}

static int put_file(struct wal_homes *h, const char *path, const struct wal_name *n, bool ahead, struct buf *room,
                    uint64_t *ret_bytes, struct error *err) {
    struct wal_file s;
    int rc = source_open(path, n, &s, err);
    if (rc == 0) rc = put_parts(h, &s, n, ahead, room, err);
    *ret_bytes = rc == 0 ? (uint64_t)s.st.st_size : 0;
    io_close(&s.fd);
    return rc;
}

/* ---- what is ready next ---- */

struct task {
    struct wal_name name;
    char path[4200];
};
struct push {
    struct wal_homes *h;
    struct task tasks[AHEAD_MAX + 1]; /* the first is the one that was asked for */
    size_t count;
    int64_t begun_ns;
    pthread_mutex_t lock; /* what follows */
    size_t next;
    bool stop;
    unsigned ahead;
    int asked_rc;
    struct error asked;
    uint64_t bytes;
};

#define ORDER(a, b) ((a) < (b) ? -1 : (a) > (b))
static int order(const void *pa, const void *pb) {
    const struct wal_name *a = pa, *b = pb;
    int d = ORDER(a->timeline, b->timeline);
    if (!d) d = ORDER(a->log, b->log);
    return d ? d : ORDER(a->seg, b->seg);
}

/* Segments only: what else is ready is small, and comes first anyway. An archive that was out of reach for long leaves
 * very many, so no more than their names are held. */
static void find_ready(struct push *p, const char *path, const struct wal_name *asked) {
    char folder[4096], status[4200], own[WAL_NAME_BYTES];
    struct wal_name *found = NULL;
    size_t n = 0, cap = 0;
    struct error e = ERROR_INIT;
    folder_of(path, folder);
    snprintf(status, sizeof status, "%s/archive_status", folder);
    wal_name_format(asked, own);
    int fd = seam_openat(AT_FDCWD, status, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (!d) {
        io_close(&fd);
        return;
    }
    for (struct dirent *x; (x = seam_readdir(d));) {
        struct error no = ERROR_INIT;
        char name[WAL_NAME_BYTES];
        struct wal_name next;
        size_t len = strlen(x->d_name);
        if (len < 7 || len - 6 >= sizeof name || strcmp(x->d_name + len - 6, ".ready") != 0) continue;
        memcpy(name, x->d_name, len - 6);
        name[len - 6] = 0;
        if (wal_name_parse(name, &next, &no) < 0 || next.kind != WAL_SEGMENT || strcmp(name, own) <= 0) continue;
        if (mem_grow((void **)&found, &cap, n + 1, sizeof *found, &e) < 0) break;
        found[n++] = next;
    }
    (void)!seam_closedir(d);
    if (n) qsort(found, n, sizeof *found, order);
    for (size_t i = 0; i < n && p->count <= AHEAD_MAX; i++) {
        struct task *t = &p->tasks[p->count];
        char name[WAL_NAME_BYTES];
        struct stat st;
        wal_name_format(&found[i], name);
        t->name = found[i];
        snprintf(t->path, sizeof t->path, "%s/%s", folder, name);
        if (seam_fstatat(AT_FDCWD, t->path, &st, 0) == 0 && !wal_homes_marked(p->h, &t->name, &st)) p->count++;
    }
    seam_free(found);
}

/* ---- storing ---- */

static bool take(struct push *p, size_t *ret) {
    struct error e = ERROR_INIT;
    pthread_mutex_lock(&p->lock);
    bool more = !p->stop && p->next < p->count;
    if (more && p->next > 0 && (stop_check(&e) < 0 || time_monotonic_ns() - p->begun_ns > AHEAD_NS)) more = false;
    if (more) *ret = p->next++;
    pthread_mutex_unlock(&p->lock);
    return more;
}

/* Once one of them fails no more are tried: each will fail, and say so, when its turn comes. */
static void *run(void *arg) {
    struct push *p = arg;
    struct buf file =
        BUF_INIT(WAL_SEGMENT_MAX + 1); /* one for all: fresh memory costs as much as half of the sealing */
    for (size_t i; take(p, &i);) {
        struct task *t = &p->tasks[i];
        struct error e = ERROR_INIT;
        uint64_t bytes = 0;
        int rc = put_file(p->h, t->path, &t->name, i > 0, &file, &bytes, &e);
        pthread_mutex_lock(&p->lock);
        if (i == 0) {
            p->asked_rc = rc;
            p->asked = e;
        } else if (rc == 0)
            p->ahead++;
        if (rc == 0) p->bytes += bytes;
        p->stop |= rc < 0;
        pthread_mutex_unlock(&p->lock);
    }
    buf_free(&file);
    return NULL;
}

static uint64_t memory_for(const struct task *t) {
    struct stat st;
    if (seam_fstatat(AT_FDCWD, t->path, &st, 0) < 0) return 0;
    if (wal_in_pieces(&t->name) && st.st_size > WAL_WHOLE_MAX) return 3 * (uint64_t)WAL_PIECE_MAX;
    return 2 * (uint64_t)st.st_size;
}

static unsigned threads_for(const struct push *p) {
    uint64_t each = 0;
    for (size_t i = 0; i < p->count; i++)
        if (memory_for(&p->tasks[i]) > each) each = memory_for(&p->tasks[i]);
    uint64_t fit = each ? MEMORY_BYTES / each : THREADS_MAX;
    unsigned n = p->h->list[0].work->jobs < THREADS_MAX ? p->h->list[0].work->jobs : THREADS_MAX;
    if (n > fit) n = fit ? (unsigned)fit : 1;
    return n > p->count ? (unsigned)p->count : n;
}

static int store_all(struct push *p, struct error *err) {
    pthread_t threads[THREADS_MAX];
    unsigned want = threads_for(p), got = 0;
    struct error e = ERROR_INIT;
    mem_keep();
    pthread_mutex_init(&p->lock, NULL);
    p->begun_ns = time_monotonic_ns();
    p->asked_rc = -ERR_INTERNAL;
    while (got + 1 < want && thread_start(&threads[got], run, p, &e) == 0) got++;
    run(p);
    for (unsigned i = 0; i < got; i++) pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&p->lock);
    if (p->asked_rc == 0) return 0;
    *err = p->asked;
    return p->asked_rc;
}

/* All that is left to do for a file that an earlier run stored: to see that the repositories are the ones it stored it
 * in. */
static bool all_marked(struct wal_homes *h, const struct wal_name *n, const struct stat *st) {
    for (size_t i = 0; i < h->count; i++)
        if (h->list[i].failed.code != ERR_NONE) return false;
    if (!wal_homes_marked(h, n, st)) return false;
    for (size_t i = 0; i < h->count; i++) {
        const struct wal_spool *spool;
        (void)wal_home_at(h, &h->list[i], &spool);
        wal_mark_drop(spool, n);
    }
    return true;
}

static int push(struct wal_homes *h, const char *path, struct wal_pushed *done, struct error *err) {
    void *mem;
    wal_homes_open(h);
    if (h->count == 1 && h->list[0].failed.code != ERR_NONE) {
        *err = h->list[0].failed;
        return -(int)err->code;
    }
    int rc = mem_alloc(sizeof(struct push), &mem, err);
    if (rc < 0) return rc;
    struct push *p = mem;
    p->h = h;
    p->tasks[0].name = done->name;
    snprintf(p->tasks[0].path, sizeof p->tasks[0].path, "%s", path);
    p->count = 1;
    find_ready(p, path, &done->name);
    rc = store_all(p, err);
    done->ahead = p->ahead;
    done->bytes = p->bytes;
    seam_free(mem);
    struct error e = ERROR_INIT;
    int registered = wal_homes_register(h, false, &e);
    if (rc == 0 && registered < 0) {
        *err = e;
        rc = registered;
    }
    return rc;
}

int work_wal_push(struct work *w, const char *environment, const char *surface, const char *path,
                  struct wal_pushed *ret, struct error *err) {
    struct wal_homes h;
    struct stat st;
    struct wal_pushed done = {0};
    int rc = wal_name_parse(base_of(path), &done.name, err);
    if (rc == 0 && strlen(path) >= 4000) rc = error_set(err, ERR_USAGE, "the file's name is too long");
    if (rc < 0) return rc;
    rc = wal_homes_look(w, environment, surface, true, &h, err);
    if (rc == 0) wal_homes_stand_in(&h);
    if (rc == 0 && seam_fstatat(AT_FDCWD, path, &st, 0) == 0 && all_marked(&h, &done.name, &st))
        done.ahead_of_time = (rc = wal_homes_register(&h, false, err)) == 0;
    else if (rc == 0)
        rc = push(&h, path, &done, err);
    wal_homes_close(&h);
    if (rc == 0) *ret = done;
    return rc;
}
