/* Items of points as inodes, and folders listed without walking what lies below their children. */
#include "work/mount_internal.h"

#include "base/time.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#define BATCH_ENTRIES 256
#define BATCH_BYTES (1u << 20)

/* ---- the cache ---- */

static struct node **id_bucket(struct mount *m, uint64_t id) {
    return &m->by_id[(id * UINT64_C(0x9e3779b97f4a7c15)) >> 51];
}

static struct node **name_bucket(struct mount *m, uint32_t slot, struct bytes name) {
    uint64_t h = slot ^ UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < name.len; i++) h = (h ^ name.ptr[i]) * UINT64_C(0x100000001b3);
    return &m->by_name[(h * UINT64_C(0x9e3779b97f4a7c15)) >> 51];
}

static void lru_remove(struct mount *m, struct node *n) {
    *(n->newer ? &n->newer->older : &m->newest) = n->older;
    *(n->older ? &n->older->newer : &m->oldest) = n->newer;
    n->newer = n->older = NULL;
}

static void lru_push(struct mount *m, struct node *n) {
    n->older = m->newest;
    *(m->newest ? &m->newest->newer : &m->oldest) = n;
    m->newest = n;
}

static void put_locked(struct node *n) {
    if (--n->refs == 0) seam_free(n);
}

static void drop(struct mount *m, struct node *n) {
    struct node **at = id_bucket(m, n->id);
    while (*at != n) at = &(*at)->id_next;
    *at = n->id_next;
    at = name_bucket(m, id_slot(n->id), n->head.name);
    while (*at != n) at = &(*at)->name_next;
    *at = n->name_next;
    lru_remove(m, n);
    m->node_bytes -= n->cost;
    put_locked(n);
}

/* Takes the caller's node, or answers the one that is there. */
static struct node *cache_add(struct mount *m, struct node *n) {
    pthread_mutex_lock(&m->node_lock);
    struct node **b = id_bucket(m, n->id), *same = *b;
    while (same && same->id != n->id) same = same->id_next;
    if (same) {
        same->refs++;
        put_locked(n);
        n = same;
    } else {
        struct node **by_name = name_bucket(m, id_slot(n->id), n->head.name);
        n->id_next = *b;
        *b = n;
        n->name_next = *by_name;
        *by_name = n;
        n->refs++;
        lru_push(m, n);
        m->node_bytes += n->cost;
        while (m->node_bytes > MOUNT_NODES_BYTES && m->oldest != n) drop(m, m->oldest);
    }
    pthread_mutex_unlock(&m->node_lock);
    return n;
}

static struct node *found(struct mount *m, struct node *n) {
    if (n) {
        n->refs++;
        lru_remove(m, n);
        lru_push(m, n);
    }
    pthread_mutex_unlock(&m->node_lock);
    return n;
}

static struct node *cache_by_id(struct mount *m, uint64_t id) {
    pthread_mutex_lock(&m->node_lock);
    struct node *n = *id_bucket(m, id);
    while (n && n->id != id) n = n->id_next;
    return found(m, n);
}

static struct node *cache_by_name(struct mount *m, uint32_t slot, struct bytes name) {
    pthread_mutex_lock(&m->node_lock);
    struct node *n = *name_bucket(m, slot, name);
    while (n && (id_slot(n->id) != slot || !bytes_equal(n->head.name, name))) n = n->name_next;
    return found(m, n);
}

void node_put(struct mount *m, struct node *n) {
    if (!n) return;
    pthread_mutex_lock(&m->node_lock);
    put_locked(n);
    pthread_mutex_unlock(&m->node_lock);
}

void nodes_free(struct mount *m) {
    pthread_mutex_lock(&m->node_lock);
    while (m->oldest) drop(m, m->oldest);
    pthread_mutex_unlock(&m->node_lock);
}

/* ---- making nodes ---- */

static unsigned parts_of(struct bytes name) {
    unsigned n = 1;
    for (size_t i = 0; i < name.len; i++) n += name.ptr[i] == '/';
    return n;
}

/* The first `parts` parts of a name. */
static struct bytes parts_take(struct bytes name, unsigned parts) {
    size_t n = 0;
    for (; n < name.len; n++)
        if (name.ptr[n] == '/' && --parts == 0) break;
    return BYTES_OF(name.ptr, n);
}

static int node_new(uint64_t id, struct bytes name, struct bytes attr, struct node **ret, struct error *err) {
    void *mem;
    size_t cost = sizeof(struct node) + name.len + attr.len;
    int rc = mem_alloc(cost, &mem, err);
    if (rc < 0) return rc;
    struct node *n = mem;
    n->id = id;
    n->refs = 1;
    n->cost = cost;
    memcpy(n->bytes, name.ptr, name.len);
    if (attr.len) memcpy(n->bytes + name.len, attr.ptr, attr.len);
    n->head.name = BYTES_OF(n->bytes, name.len);
    n->head.attr = BYTES_OF(n->bytes + name.len, attr.len);
    *ret = n;
    return 0;
}

/* Of what has no metadata: the mounting user's, as old as the point. */
static void stat_plain(struct mount *m, struct node *n, uint32_t mode) {
    const int64_t t = mount_point_of(m, id_slot(n->id))->time_ns;
    n->stat = (struct item_stat){.mode = mode, .uid = m->uid, .gid = m->gid, .nlink = 1};
    n->stat.mtime_s = n->stat.ctime_s = t / NS_PER_S;
    n->stat.mtime_ns = n->stat.ctime_ns = (uint32_t)(t % NS_PER_S);
}

/* A folder that is no item, of the first item in it. */
static int folder_make(struct mount *m, uint32_t slot, const struct item_head *first, struct bytes name,
                       struct node **ret, struct error *err) {
    unsigned depth = parts_of(name);
    if (depth >= DEPTH_POINT) return error_set(err, ERR_OBJECT_CORRUPT, "a name has more than %u parts", DEPTH_POINT);
    int rc = node_new(id_of(slot, depth, first->ordinal), name, BYTES_OF(NULL, 0), ret, err);
    if (rc < 0) return rc;
    stat_plain(m, *ret, S_IFDIR | 0755);
    return 0;
}

static int item_make(struct mount *m, uint32_t slot, const struct item_head *h, struct node **ret, struct error *err) {
    const struct mount_point *p = mount_point_of(m, slot);
    struct node *n;
    int rc = node_new(id_of(slot, 0, h->ordinal), h->name, h->attr, &n, err);
    if (rc < 0) return rc;
    n->head.kind = h->kind;
    n->head.bytes = n->data_bytes = h->bytes;
    n->head.sha256 = h->sha256;
    n->head.ordinal = h->ordinal;
    if (p->driver && p->driver->stat)
        rc = p->driver->stat(n->head.attr, &n->stat, err);
    else /* what databases keep is for their keepers */
        stat_plain(m, n, S_IFREG | 0400);
    if (rc < 0)
        seam_free(n);
    else
        *ret = n;
    return rc;
}

static int data_count(void *ctx, const struct digest *id, uint32_t len, struct error *err) {
    (void)id;
    (void)err;
    *(uint64_t *)ctx += len;
    return 0;
}

static int find(struct mount *m, struct snapshot *s, uint32_t slot, struct bytes name, struct node **ret,
                struct error *err);

/* What takes further reading: of a hard link it makes its first name, of a sparse file the blocks. Takes the node over,
 * and keeps what it becomes. */
static int settle(struct mount *m, struct snapshot *s, struct node *n, struct node **ret, struct error *err) {
    int rc = 0;
    if (n->settled) {
        *ret = n;
        return 0;
    }
    if (n->stat.same_as.len) {
        struct node *first = NULL;
        rc = find(m, s, id_slot(n->id), n->stat.same_as, &first, err);
        if (rc == 0 && (first->stat.same_as.len || !S_ISREG(first->stat.mode))) {
            node_put(m, first);
            rc = error_set(err, ERR_OBJECT_CORRUPT, "a hard link leads to what is no file");
        } else if (rc == -ERR_NO_POINT) {
            error_clear(err);
            rc = error_set(err, ERR_OBJECT_CORRUPT, "a hard link leads nowhere");
        }
        node_put(m, n);
        if (rc == 0) *ret = first;
        return rc;
    }
    if (n->stat.sparse && n->head.kind != CONTENT_NONE) {
        n->data_bytes = 0;
        rc = ritem_chunks(s, &n->head, data_count, &n->data_bytes, err);
    }
    if (rc < 0) {
        node_put(m, n);
        return rc;
    }
    n->settled = true;
    *ret = cache_add(m, n);
    return 0;
}

struct find {
    struct mount *m;
    uint32_t slot;
    struct bytes name;
    struct node *node;
};
static int on_find(void *ctx, const struct item_head *h, struct bytes *skip, struct error *err) {
    struct find *f = ctx;
    (void)skip;
    int rc = 0;
    if (bytes_equal(h->name, f->name))
        rc = item_make(f->m, f->slot, h, &f->node, err);
    else if (h->name.len > f->name.len && memcmp(h->name.ptr, f->name.ptr, f->name.len) == 0 &&
             h->name.ptr[f->name.len] == '/')
        rc = folder_make(f->m, f->slot, h, f->name, &f->node, err);
    return rc < 0 ? rc : 1;
}

static int find(struct mount *m, struct snapshot *s, uint32_t slot, struct bytes name, struct node **ret,
                struct error *err) {
    struct node *n = cache_by_name(m, slot, name);
    if (n) {
        *ret = n;
        return 0;
    }
    struct find f = {m, slot, name, NULL};
    int rc = snapshot_walk_from(s, name, on_find, &f, err);
    if (rc < 0) return rc;
    if (!f.node) return error_set(err, ERR_NO_POINT, "there is no such item");
    /* its first name is looked for by settle(), and is none itself, so that ends */
    if (f.node->stat.same_as.len) {
        *ret = f.node;
        return 0;
    }
    return settle(m, s, f.node, ret, err);
}

static int on_number(void *ctx, const struct item_head *h, struct error *err) {
    struct find *f = ctx;
    unsigned depth = (unsigned)f->name.len; /* see node_load */
    if (depth == 0) return item_make(f->m, f->slot, h, &f->node, err);
    return folder_make(f->m, f->slot, h, parts_take(h->name, depth), &f->node, err);
}

static int node_load(struct mount *m, struct snapshot *s, uint64_t id, struct node **ret, struct error *err) {
    struct node *n = cache_by_id(m, id);
    if (n) {
        *ret = n;
        return 0;
    }
    struct find f = {m, id_slot(id), {NULL, id_depth(id)}, NULL};
    int rc = snapshot_item_at(s, id_ordinal(id), on_number, &f, err);
    return rc < 0 ? rc : settle(m, s, f.node, ret, err);
}

int node_get(struct mount *m, uint64_t id, struct node **ret, struct error *err) {
    struct snapshot *s;
    struct node *n = cache_by_id(m, id);
    if (n) {
        *ret = n;
        return 0;
    }
    pthread_rwlock_rdlock(&m->repo_lock);
    int rc = mount_hold(m, id_slot(id), &s, err);
    if (rc == 0) {
        rc = node_load(m, s, id, ret, err);
        mount_release(m, id_slot(id));
    }
    pthread_rwlock_unlock(&m->repo_lock);
    return rc;
}

/* The name of a folder with a '/' behind it; nothing for the point's own. */
static int prefix_of(struct mount *m, struct snapshot *s, uint64_t folder, struct buf *ret, struct error *err) {
    struct node *n;
    if (id_is_point(folder)) return 0;
    int rc = node_load(m, s, folder, &n, err);
    if (rc < 0) return rc;
    rc = buf_append(ret, n->head.name.ptr, n->head.name.len, err);
    if (rc == 0) rc = buf_append(ret, "/", 1, err);
    node_put(m, n);
    return rc;
}

static bool part_fits(struct bytes p) {
    return p.len > 0 && p.len < 256 && !memchr(p.ptr, 0, p.len) && !bytes_equal(p, BYTES_STR(".")) &&
           !bytes_equal(p, BYTES_STR(".."));
}

int node_child(struct mount *m, uint64_t parent, struct bytes name, struct node **ret, struct error *err) {
    CLEANUP(buf_free) struct buf whole = BUF_INIT(1u << 20);
    struct snapshot *s;
    struct node *n = NULL;
    uint32_t slot = id_slot(parent);
    if (!part_fits(name)) return error_set(err, ERR_NO_POINT, "there is no such item");
    pthread_rwlock_rdlock(&m->repo_lock);
    int rc = mount_hold(m, slot, &s, err);
    if (rc == 0) {
        rc = prefix_of(m, s, parent, &whole, err);
        if (rc == 0) rc = buf_append(&whole, name.ptr, name.len, err);
        if (rc == 0) rc = find(m, s, slot, buf_bytes(&whole), &n, err);
        if (rc == 0) rc = settle(m, s, n, ret, err);
        mount_release(m, slot);
    }
    pthread_rwlock_unlock(&m->repo_lock);
    return rc;
}

void node_entry(const struct node *n, struct mount_entry *ret) {
    const struct item_stat *i = &n->stat;
    *ret = (struct mount_entry){.id = n->id, .fixed = true};
    struct stat *st = &ret->st;
    st->st_ino = n->id;
    st->st_mode = i->mode;
    st->st_nlink = S_ISDIR(i->mode) || !i->nlink ? 1 : i->nlink;
    st->st_uid = i->uid;
    st->st_gid = i->gid;
    st->st_rdev = makedev(i->rdev_major, i->rdev_minor);
    st->st_blksize = 128 << 10;
    if (S_ISREG(i->mode)) {
        st->st_size = (off_t)n->head.bytes;
        st->st_blocks = (blkcnt_t)((n->data_bytes + 511) / 512);
    } else if (S_ISLNK(i->mode))
        st->st_size = (off_t)i->target.len;
    st->st_mtim = (struct timespec){i->mtime_s, i->mtime_ns};
    st->st_ctim = (struct timespec){i->ctime_s, i->ctime_ns};
    st->st_atim = st->st_mtim;
}

/* ---- folders ---- */

struct listing {
    struct mount *m;
    uint64_t folder;
    struct listed *entries; /* a batch of them */
    size_t count;
    uint64_t from; /* the cookie that the batch follows on */
    bool last, filled;
};

int listing_open(struct mount *m, uint64_t folder, struct listing **ret, struct error *err) {
    void *mem, *entries = NULL;
    int rc = mem_alloc(sizeof(struct listing), &mem, err);
    if (rc == 0 && (rc = mem_alloc(BATCH_ENTRIES * sizeof(struct listed), &entries, err)) < 0) seam_free(mem);
    if (rc < 0) return rc;
    struct listing *l = mem;
    l->m = m;
    l->folder = folder;
    l->entries = entries;
    *ret = l;
    return 0;
}

void listing_close(struct listing *l) {
    if (!l) return;
    seam_free(l->entries);
    seam_free(l);
}

struct batch {
    struct mount *m;
    uint32_t slot;
    struct buf prefix, skip;
    struct node *nodes[BATCH_ENTRIES];
    uint64_t behind; /* no ordinal below this comes: else a listing might never end */
    size_t count, bytes;
    bool last;
};

static int on_child(void *ctx, const struct item_head *h, struct bytes *skip, struct error *err) {
    struct batch *b = ctx;
    size_t n = b->prefix.len;
    if (b->count == BATCH_ENTRIES || b->bytes > BATCH_BYTES) {
        b->last = false;
        return 1;
    }
    if (h->name.len < n || (n && memcmp(h->name.ptr, b->prefix.ptr, n) != 0)) return 1;
    if (h->ordinal < b->behind) return error_set(err, ERR_OBJECT_CORRUPT, "the names of a snapshot are out of order");
    const uint8_t *part = h->name.ptr + n, *slash = memchr(part, '/', h->name.len - n);
    size_t len = slash ? (size_t)(slash - part) : h->name.len - n;
    *skip = BYTES_OF(h->name.ptr, n + len);
    if (!part_fits(BYTES_OF(part, len))) return 0;
    int rc = slash ? folder_make(b->m, b->slot, h, *skip, &b->nodes[b->count], err)
                   : item_make(b->m, b->slot, h, &b->nodes[b->count], err);
    if (rc < 0) return rc;
    b->bytes += b->nodes[b->count++]->cost;
    return 0;
}

static int batch_start(struct listing *l, struct batch *b, struct snapshot *s, uint64_t cookie, struct buf *start,
                       struct error *err) {
    struct node *n;
    int rc = prefix_of(l->m, s, l->folder, &b->prefix, err);
    if (rc < 0) return rc;
    b->behind = cookie - LISTING_BEGIN;
    if (b->behind == 0) return buf_append(start, b->prefix.ptr, b->prefix.len, err);
    /* behind all that begins with the part that the last entry was made of */
    struct find f = {l->m, b->slot, {NULL, parts_of(buf_bytes(&b->prefix))}, NULL};
    if ((rc = snapshot_item_at(s, b->behind - 1, on_number, &f, err)) < 0) return rc;
    n = f.node;
    rc = buf_append(start, n->head.name.ptr, n->head.name.len, err);
    if (rc == 0) rc = buf_append(start, "", 1, err);
    node_put(l->m, n);
    return rc;
}

static int fill(struct listing *l, uint64_t cookie, struct error *err) {
    CLEANUP(buf_free) struct buf start = BUF_INIT(1u << 20);
    struct batch b = {.m = l->m, .slot = id_slot(l->folder), .prefix = BUF_INIT(1u << 20), .last = true};
    struct snapshot *s;
    l->filled = false;
    l->count = 0;
    pthread_rwlock_rdlock(&l->m->repo_lock);
    int rc = mount_hold(l->m, b.slot, &s, err);
    if (rc == 0) {
        rc = batch_start(l, &b, s, cookie, &start, err);
        if (rc == 0) rc = snapshot_walk_from(s, buf_bytes(&start), on_child, &b, err);
        for (size_t i = 0; i < b.count; i++) {
            struct node *n = b.nodes[i];
            if (rc < 0) {
                node_put(l->m, n);
                continue;
            }
            struct listed *e = &l->entries[l->count];
            size_t len = n->head.name.len - b.prefix.len;
            memcpy(e->name, n->head.name.ptr + b.prefix.len, len);
            e->name[len] = '\0';
            e->cookie = LISTING_BEGIN + 1 + id_ordinal(n->id);
            node_entry(n, &e->entry);
            l->count++;
            struct error one = ERROR_INIT;
            if (settle(l->m, s, n, &n, &one) < 0) {
                e->entry.id = 0;
                continue;
            }
            node_entry(n, &e->entry);
            node_put(l->m, n);
        }
        mount_release(l->m, b.slot);
    }
    pthread_rwlock_unlock(&l->m->repo_lock);
    buf_free(&b.prefix);
    if (rc < 0) return rc;
    l->from = cookie;
    l->last = b.last;
    l->filled = true;
    return 0;
}

int listing_next(struct listing *l, uint64_t cookie, const struct listed **ret, struct error *err) {
    for (bool fresh = false;; fresh = true) {
        if (l->filled && l->from == cookie && l->count) {
            *ret = &l->entries[0];
            return 0;
        }
        for (size_t i = 0; l->filled && i < l->count; i++) {
            if (l->entries[i].cookie != cookie) continue;
            if (i + 1 < l->count) {
                *ret = &l->entries[i + 1];
                return 0;
            }
            if (l->last) {
                *ret = NULL;
                return 0;
            }
        }
        if (fresh) {
            *ret = NULL;
            return 0;
        }
        int rc = fill(l, cookie, err);
        if (rc < 0) return rc;
    }
}
