#include "surface/files/scan.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#define AHEAD_ENTRIES (128u << 10)
#define AHEAD_FOLDERS 256
#define NAMES_BYTES_MAX UINT32_MAX

struct job {
    struct folder *f; /* a reference */
    size_t block;     /* SIZE_MAX: the listing */
};
#define LISTING SIZE_MAX

struct scan {
    const struct tree *tree;
    struct dirs dirs;
    pthread_mutex_t lock; /* guards all below, and state and blocks[].state of every folder */
    pthread_cond_t work, done;
    struct job *stack; /* the latest is nearest to the walk */
    size_t n_stack, cap_stack;
    size_t ahead_entries;
    unsigned idle;
    bool waiting; /* the walk waits for a job to end */
    bool full;    /* enough is held ahead; until it is well below the limits, so that helpers do not flutter */
    bool ending;
    int rc; /* the first failure that is not about one folder */
    struct error err;
    unsigned n_threads;
    pthread_t threads[64];
};

struct dirs *scan_dirs(struct scan *s) {
    return &s->dirs;
}

void lite_of_stat(const struct stat *st, struct lite *ret) {
    *ret = (struct lite){
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .rdev_major = major(st->st_rdev),
        .rdev_minor = minor(st->st_rdev),
        .ino = st->st_ino,
        .dev = st->st_dev,
        .size = (uint64_t)st->st_size,
        .nlink = st->st_nlink,
        .mtime = {st->st_mtim.tv_sec, (uint32_t)st->st_mtim.tv_nsec},
        .ctime = {st->st_ctim.tv_sec, (uint32_t)st->st_ctim.tv_nsec},
    };
}

static void folder_unref(struct scan *s, struct folder *f) {
    if (f) dir_unref(&s->dirs, &f->dir);
}

static void entries_free(struct folder *f) {
    for (size_t i = 0; i < f->n_blocks; i++) seam_free(f->blocks[i].lite);
    seam_free(f->blocks);
    seam_free(f->entries);
    seam_free(f->names);
    f->blocks = NULL;
    f->entries = NULL;
    f->names = NULL;
    f->n = f->n_blocks = 0;
}

static void folder_free(struct dir *d) {
    struct folder *f = (struct folder *)d;
    entries_free(f);
    seam_free(f);
}

/* comp is the name on disk; the last part of the item name, except for a root that is a restored copy. */
static int folder_new(struct folder *up, struct bytes name, const char *comp, struct folder **ret, struct error *err) {
    void *p;
    size_t comp_len = strlen(comp);
    int rc = mem_alloc(sizeof(struct folder) + name.len + 1 + comp_len + 1, &p, err);
    if (rc) return rc;
    struct folder *f = p;
    char *text = (char *)(f + 1);
    if (name.len) memcpy(text, name.ptr, name.len);
    memcpy(text + name.len + 1, comp, comp_len);
    dir_init(&f->dir, up ? &up->dir : NULL, text + name.len + 1);
    f->name = BYTES_OF(text, name.len);
    if (up) {
        f->root = up->root;
        f->fs_dev = up->fs_dev;
        f->toward_only = up->toward_only;
    }
    *ret = f;
    return 0;
}

static int name_join(struct bytes folder, const char *comp, size_t len, struct buf *ret, struct error *err) {
    buf_clear(ret);
    int rc = buf_reserve(ret, folder.len + len + 2, err);
    if (rc) return rc;
    if (folder.len) {
        memcpy(ret->ptr, folder.ptr, folder.len);
        ret->ptr[folder.len] = '/';
        ret->len = folder.len + 1;
    }
    memcpy(ret->ptr + ret->len, comp, len);
    ret->len += len;
    ret->ptr[ret->len] = 0;
    return 0;
}

int scan_name(const struct folder *f, size_t i, struct buf *ret, struct error *err) {
    const struct entry *e = &f->entries[i];
    if (f->top) return name_join((struct bytes){0}, f->root->name, strlen(f->root->name), ret, err);
    return name_join(f->name, f->names + e->at, e->len, ret, err);
}

/* ---- listing ---- */

static int entry_compare(const void *a, const void *b, void *names) {
    const struct entry *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    uint32_t n = x->len < y->len ? x->len : y->len;
    int c = memcmp((char *)names + x->at, (char *)names + y->at, n);
    return c ? c : x->len < y->len ? -1 : x->len > y->len;
}

static int entry_add(struct folder *f, const char *comp, struct error *err) {
    size_t len = strlen(comp);
    void *names = f->names, *entries = f->entries;
    if (f->names_len + len + 1 > NAMES_BYTES_MAX)
        return error_set(err, ERR_NO_MEMORY, "a folder with more than 4 GiB of names is too large");
    int rc = mem_grow(&names, &f->names_cap, f->names_len + len + 1, 1, err);
    f->names = names;
    if (rc == 0) rc = mem_grow(&entries, &f->entries_cap, f->n + 1, sizeof(struct entry), err);
    f->entries = entries;
    if (rc) return rc;
    struct entry *e = &f->entries[f->n++];
    uint8_t key[8] = {0};
    memcpy(key, comp, len < 8 ? len : 8);
    *e = (struct entry){.at = (uint32_t)f->names_len, .len = (uint32_t)len};
    for (int i = 0; i < 8; i++) e->key = e->key << 8 | key[i];
    memcpy(f->names + f->names_len, comp, len + 1);
    f->names_len += len + 1;
    return 0;
}

static int blocks_make(struct folder *f, struct error *err) {
    f->n_blocks = 0;
    void *p;
    size_t n = (f->n + SCAN_BLOCK - 1) / SCAN_BLOCK;
    int rc = mem_alloc(n * sizeof(struct block), &p, err);
    if (rc) return rc;
    f->blocks = p;
    f->n_blocks = n;
    return 0;
}

static int folder_list(struct scan *s, struct folder *f, struct error *err) {
    DIR *d = dir_pin(&s->dirs, &f->dir) >= 0 ? dir_stream(&s->dirs, &f->dir) : NULL;
    if (!d) f->failed = errno;
    CLEANUP(buf_free) struct buf name = BUF_INIT(SIZE_MAX);
    int rc = 0;
    while (d && rc == 0) {
        errno = 0;
        struct dirent *e = seam_readdir(d);
        if (!e) {
            f->failed = errno;
            break;
        }
        const char *c = e->d_name;
        if (c[0] == '.' && (c[1] == 0 || (c[1] == '.' && c[2] == 0))) continue;
        if (f->toward_only) {
            rc = name_join(f->name, c, strlen(c), &name, err);
            if (rc || tree_way_of(s->tree, buf_bytes(&name)) == WAY_NONE) continue;
        }
        rc = entry_add(f, c, err);
    }
    if (rc == 0 && f->n > 1) qsort_r(f->entries, f->n, sizeof *f->entries, entry_compare, f->names);
    if (rc == 0) rc = blocks_make(f, err);
    return rc;
}

/* ---- what the entries are ---- */

static int child_make(struct scan *s, struct folder *f, struct bytes name, const char *comp, struct lite *l,
                      enum tree_way way, struct error *err) {
    bool foreign = s->tree->one_file_system && !f->top && l->dev != f->fs_dev && way != WAY_IS_ROOT;
    if (foreign && way == WAY_NONE) return 0;
    struct folder *c;
    int rc = folder_new(f, name, comp, &c, err);
    if (rc) return rc;
    c->fs_dev = l->dev;
    c->toward_only = way != WAY_IS_ROOT && (foreign || l->excluded || f->toward_only);
    l->child = c;
    l->excluded = false;
    return 0;
}

static int entry_stat(struct scan *s, struct folder *f, int fd, size_t i, struct buf *name, struct lite *l,
                      struct error *err) {
    const char *comp = f->names + f->entries[i].at;
    struct stat st;
    if (fd < 0 || seam_fstatat(fd, comp, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        *l = (struct lite){.failed = errno};
        return 0;
    }
    lite_of_stat(&st, l);
    bool folder = S_ISDIR(st.st_mode);
    if (!folder && s->tree->n_exclude == 0) return 0;
    int rc = scan_name(f, i, name, err);
    if (rc) return rc;
    enum tree_way way = s->tree->n_nested && !f->top ? tree_way_of(s->tree, buf_bytes(name)) : WAY_NONE;
    l->excluded = !f->top && way != WAY_IS_ROOT && tree_excludes(s->tree, f->root, buf_bytes(name), folder);
    if (!folder || (l->excluded && way == WAY_NONE)) return 0;
    return child_make(s, f, buf_bytes(name), comp, l, way, err);
}

static int block_stat(struct scan *s, struct folder *f, size_t b, struct error *err) {
    size_t first = b * SCAN_BLOCK, n = f->n - first < SCAN_BLOCK ? f->n - first : SCAN_BLOCK;
    void *p;
    int rc = mem_alloc(n * sizeof(struct lite), &p, err);
    if (rc) return rc;
    f->blocks[b].lite = p;
    CLEANUP(buf_free) struct buf name = BUF_INIT(SIZE_MAX);
    int fd = dir_get(&s->dirs, &f->dir), why = errno;
    for (size_t i = 0; i < n && rc == 0; i++) {
        errno = why;
        rc = entry_stat(s, f, fd, first + i, &name, &f->blocks[b].lite[i], err);
    }
    if (fd >= 0) dir_put(&s->dirs, &f->dir);
    return rc;
}

/* ---- jobs ---- */

static bool ahead_enough(struct scan *s) {
    unsigned open = atomic_load_explicit(&s->dirs.open, memory_order_relaxed);
    if (s->ahead_entries >= AHEAD_ENTRIES || open >= AHEAD_FOLDERS)
        s->full = true;
    else if (s->ahead_entries < AHEAD_ENTRIES / 4 * 3 && open < AHEAD_FOLDERS / 4 * 3)
        s->full = false;
    return s->full;
}

static enum job_state *job_state(const struct job *j) {
    return j->block == LISTING ? &j->f->state : &j->f->blocks[j->block].state;
}

/* Whether a job that was on the stack is still to be done; the walk may have done it, and have left the folder since.
 */
static bool job_is_due(const struct job *j) {
    return (j->block == LISTING || j->block < j->f->n_blocks) && *job_state(j) == JOB_QUEUED;
}

/* Queues a job unless it was begun; the lock is held. To run out of memory here only means that nobody reads ahead. */
static void job_queue(struct scan *s, struct folder *f, size_t block) {
    struct job j = {f, block};
    void *stack = s->stack;
    struct error ignored = ERROR_INIT;
    if (*job_state(&j) != JOB_IDLE) return;
    int rc = mem_grow(&stack, &s->cap_stack, s->n_stack + 1, sizeof *s->stack, &ignored);
    s->stack = stack;
    if (rc) return;
    dir_ref(&f->dir);
    *job_state(&j) = JOB_QUEUED;
    s->stack[s->n_stack++] = j;
    if (s->idle && !ahead_enough(s)) pthread_cond_signal(&s->work);
}

/* Queues the folders of a block, the first on top. */
static void children_queue(struct scan *s, struct folder *f, size_t b) {
    size_t first = b * SCAN_BLOCK, n = f->n - first < SCAN_BLOCK ? f->n - first : SCAN_BLOCK;
    for (size_t i = n; i-- > 0;)
        if (f->blocks[b].lite[i].child) job_queue(s, f->blocks[b].lite[i].child, LISTING);
}

/* Runs a job that this thread has put to RUNNING; the lock is held on entry and on return. */
static void job_run(struct scan *s, struct folder *f, size_t block) {
    struct error err = ERROR_INIT;
    pthread_mutex_unlock(&s->lock);
    int rc = block == LISTING ? folder_list(s, f, &err) : 0;
    /* Nearly every folder is one block, which is cheapest while the folder is at hand. */
    size_t b = block != LISTING ? block : rc == 0 && f->n_blocks == 1 ? 0 : LISTING;
    if (rc == 0 && b != LISTING) rc = block_stat(s, f, b, &err);
    pthread_mutex_lock(&s->lock);
    if (rc && !s->rc) {
        s->rc = rc;
        s->err = err;
    }
    if (block == LISTING) {
        f->state = JOB_DONE;
        s->ahead_entries += f->n;
    }
    if (b != LISTING && rc == 0) {
        f->blocks[b].state = JOB_DONE;
        children_queue(s, f, b);
    }
    if (s->waiting) pthread_cond_signal(&s->done);
}

/* Takes one queued job, if there is one and the limits allow, and runs it if it is still due. The lock is held; when it
 * answers true it was let go of meanwhile, so that whatever the caller waits for has to be looked at again. */
static bool job_run_next(struct scan *s) {
    if (s->n_stack == 0 || s->rc || ahead_enough(s)) return false;
    struct job j = s->stack[--s->n_stack];
    if (job_is_due(&j)) {
        *job_state(&j) = JOB_RUNNING;
        job_run(s, j.f, j.block);
    }
    /* Others may hold references only through this one, and to let go may close descriptors. */
    pthread_mutex_unlock(&s->lock);
    folder_unref(s, j.f);
    pthread_mutex_lock(&s->lock);
    return true;
}

static void *helper_run(void *arg) {
    struct scan *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->ending) {
        if (job_run_next(s)) continue;
        s->idle++;
        pthread_cond_wait(&s->work, &s->lock);
        s->idle--;
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* The walk wants this job now. */
static int job_need(struct scan *s, struct folder *f, size_t block, struct error *err) {
    struct job j = {f, block};
    pthread_mutex_lock(&s->lock);
    enum job_state *state = job_state(&j);
    if (*state == JOB_IDLE || *state == JOB_QUEUED) {
        *state = JOB_RUNNING;
        job_run(s, f, block);
    }
    while (*state != JOB_DONE && !s->rc) {
        if (job_run_next(s)) continue;
        s->waiting = true;
        pthread_cond_wait(&s->done, &s->lock);
        s->waiting = false;
    }
    int rc = s->rc;
    if (rc) *err = s->err;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- what the walk calls ---- */

int scan_new(const struct tree *t, unsigned threads, struct scan **ret, struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct scan), &p, err);
    if (rc) return rc;
    struct scan *s = p;
    s->tree = t;
    dirs_init(&s->dirs, true, folder_free);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->done, NULL);
    unsigned max = sizeof s->threads / sizeof *s->threads;
    while (rc == 0 && s->n_threads < threads && s->n_threads < max) {
        rc = thread_start(&s->threads[s->n_threads], helper_run, s, err);
        if (rc == 0) s->n_threads++;
    }
    if (rc)
        scan_free(s);
    else
        *ret = s;
    return rc;
}

void scan_stop(struct scan *s) {
    pthread_mutex_lock(&s->lock);
    s->ending = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    while (s->n_threads > 0) pthread_join(s->threads[--s->n_threads], NULL);
}

void scan_free(struct scan *s) {
    if (!s) return;
    scan_stop(s);
    while (s->n_stack > 0) folder_unref(s, s->stack[--s->n_stack].f);
    seam_free(s->stack);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->done);
    pthread_mutex_destroy(&s->lock);
    dirs_end(&s->dirs);
    seam_free(s);
}

static int root_missing(const struct tree_root *root, struct error *err) {
    int rc = error_set_errno(err, ERR_SOURCE_MISSING, "the path '%s' of this surface cannot be read", root->path);
    error_state(err, "nothing was backed up; earlier snapshots are as they were");
    (void)!io_whose(root->path, "read", err);
    return rc;
}

int scan_top(struct scan *s, const struct tree_root *root, struct folder **ret, struct error *err) {
    const char *slash = strrchr(root->path, '/'), *comp = slash + 1;
    bool whole = root->name[0] == 0; /* "/", or a copy of it: it has no record of its own */
    char *above = NULL;
    int rc = mem_strdup(root->path, &above, err);
    if (rc) return rc;
    if (!whole) above[slash == root->path ? 1 : slash - root->path] = 0;
    struct folder *f = NULL;
    rc = folder_new(NULL, (struct bytes){0}, above, &f, err);
    seam_free(above);
    if (rc) return rc;
    f->root = root;
    struct stat st;
    if (dir_open_base(&s->dirs, &f->dir, f->dir.comp) < 0) {
        rc = root_missing(root, err);
    } else if (whole ? seam_fstat(f->dir.fd, &st) < 0 : seam_fstatat(f->dir.fd, comp, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        rc = root_missing(root, err);
    } else if (whole) {
        f->fs_dev = st.st_dev;
    } else {
        f->top = true;
        f->state = JOB_DONE;
        rc = entry_add(f, comp, err);
        if (rc == 0) rc = blocks_make(f, err);
    }
    if (rc)
        scan_leave(s, f);
    else
        *ret = f;
    return rc;
}

int scan_list(struct scan *s, struct folder *f, struct error *err) {
    /* In a deep descent only every so many levels stay open. */
    struct folder *far = f;
    for (unsigned i = 0; i < DIRS_STEP && far; i++) far = (struct folder *)far->dir.up;
    if (far && far->dir.up && far->dir.depth % DIRS_STEP != 0) dir_unpin(&s->dirs, &far->dir);
    return job_need(s, f, LISTING, err);
}

int scan_entry(struct scan *s, struct folder *f, size_t i, struct lite **ret, struct error *err) {
    size_t b = i / SCAN_BLOCK;
    if (i % SCAN_BLOCK == 0) {
        int rc = job_need(s, f, b, err);
        if (rc) return rc;
        if (f->n_blocks > 1) {
            if (b >= 2) {
                seam_free(f->blocks[b - 2].lite);
                f->blocks[b - 2].lite = NULL;
            }
            pthread_mutex_lock(&s->lock);
            for (size_t next = b + 4; next > b; next--)
                if (next < f->n_blocks) job_queue(s, f, next);
            pthread_mutex_unlock(&s->lock);
        }
    }
    *ret = &f->blocks[b].lite[i % SCAN_BLOCK];
    return 0;
}

void scan_back(struct scan *s, struct folder *f) {
    /* For speed only: whoever needs the descriptor and finds none opens it himself. */
    if (!f->dir.pinned && f->dir.ino) dir_pin(&s->dirs, &f->dir);
}

/* Lets go of a folder and of what was read ahead below it. It goes no deeper than helpers may read ahead. */
static void folder_abandon(struct scan *s, struct folder *f) {
    for (size_t b = 0; b < f->n_blocks; b++) {
        for (size_t i = 0; f->blocks[b].lite && i < SCAN_BLOCK && b * SCAN_BLOCK + i < f->n; i++) {
            struct folder *child = f->blocks[b].lite[i].child;
            if (child) folder_abandon(s, child);
        }
    }
    /* A helper may hold a job of this folder that was done by the walk, and looks here whether it was. */
    pthread_mutex_lock(&s->lock);
    entries_free(f);
    pthread_mutex_unlock(&s->lock);
    folder_unref(s, f);
}

void scan_leave(struct scan *s, struct folder *f) {
    pthread_mutex_lock(&s->lock);
    if (f->state == JOB_DONE && !f->top) s->ahead_entries -= f->n;
    pthread_mutex_unlock(&s->lock);
    /* A base stays open for what may still be queued below it. */
    if (f->dir.up) dir_unpin(&s->dirs, &f->dir);
    folder_abandon(s, f);
    pthread_mutex_lock(&s->lock);
    if (s->full && !ahead_enough(s)) pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
}
