#include "repo/moving.h"
#include "repo/alternate_internal.h"
#include "repo/expected.h"
#include "repo/writer_internal.h"

#define SAMPLE 64 /* ids by which it is judged which alternate has what is wanted */

struct view {
    struct repo *repo; /* NULL for the first: it is the caller's */
    struct fetcher *fetcher;
};
struct moving {
    struct repo *repo;
    uint64_t seq; /* of the snapshot */
    char id[SNAPSHOT_ID_MAX];
    size_t cache_bytes;
    pthread_mutex_t lock; /* guards views and count; a view stays once it is there */
    struct view views[1 + MOVING_VIEWS_MAX];
    size_t count;
    /* While there are alternates; taken before theirs. */
    pthread_mutex_t telling;
    struct expected told;
    struct idset gone;     /* packs that were not there: an alternate is asked for what is in them first */
    atomic_bool some_gone; /* there is one */
    unsigned turn;         /* of the alternate that has been told */
    bool reader, away;     /* away: of all that is expected */
};

int moving_new(struct repo *r, const struct snapshot_info *info, size_t cache_bytes, struct moving **ret,
               struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct moving), &mem, err);
    if (rc < 0) return rc;
    struct moving *m = mem;
    m->repo = r;
    m->seq = info->seq;
    m->cache_bytes = cache_bytes;
    snprintf(m->id, sizeof m->id, "%s", info->id);
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->telling, NULL);
    rc = fetcher_new(r, &r->index, NULL, cache_bytes, &m->views[0].fetcher, err);
    m->count = 1;
    /* what an alternate reads ahead beside it has no more room than it alone */
    if (rc == 0 && r->alternates) room_raise(&r->sealed, fetch_sealed_max(m->views[0].fetcher));
    if (rc < 0)
        moving_free(m);
    else
        *ret = m;
    return rc;
}

void moving_free(struct moving *m) {
    if (!m) return;
    for (size_t i = m->count; i-- > 0;) {
        fetcher_free(m->views[i].fetcher);
        repo_view_close(m->views[i].repo);
    }
    expected_clear(&m->told);
    idset_free(&m->gone);
    pthread_mutex_destroy(&m->telling);
    pthread_mutex_destroy(&m->lock);
    seam_free(m);
}

static size_t newest(struct moving *m, struct fetcher **ret) {
    pthread_mutex_lock(&m->lock);
    size_t at = m->count - 1;
    *ret = m->views[at].fetcher;
    pthread_mutex_unlock(&m->lock);
    return at;
}

static void forgotten_say(const struct moving *m, const struct repo *r, struct error *err) {
    for (size_t i = 0; i < r->state.snapshot_count; i++)
        if (r->state.snapshots[i].seq == m->seq && r->state.snapshots[i].forgotten)
            (void)!error_state(err, "recovery point %s was forgotten by entry %llu of the log while it was read", m->id,
                               (unsigned long long)r->state.snapshots[i].forgotten_seq);
}

/* Whether there is a view newer than the one at `at`, by which something was missing. Under the lock a second thread
 * waits for the look that the first one takes. */
static bool look_again(struct moving *m, size_t at, struct error *err) {
    struct error e = ERROR_INIT;
    struct view v = {0};
    pthread_mutex_lock(&m->lock);
    bool found = m->count - 1 > at;
    struct repo *known = m->views[at].repo ? m->views[at].repo : m->repo;
    if (!found && m->count <= MOVING_VIEWS_MAX && repo_view_open(m->repo, &v.repo, &e) == 0) {
        if (ledger_size(v.repo->ledger) > ledger_size(known->ledger) &&
            fetcher_new(v.repo, &v.repo->index, NULL, m->cache_bytes / 4, &v.fetcher, &e) == 0) {
            fetch_rooms(v.fetcher, m->repo);
            m->views[m->count++] = v;
            found = true;
        } else
            repo_view_close(v.repo);
    }
    if (!found) forgotten_say(m, m->views[at].repo ? m->views[at].repo : m->repo, err);
    pthread_mutex_unlock(&m->lock);
    if (found) error_clear(err);
    return found;
}

/* The root that was read last: a plan, and what carries it out, each open the snapshot. */
static int root_again(struct repo *r, const struct snapshot_info *info, struct buf *raw, struct error *err) {
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    if (r->root.count && r->root.count == info->root_count &&
        memcmp(r->root.ids, info->root, info->root_count * sizeof *info->root) == 0)
        rc = buf_append(raw, r->root.raw.ptr, r->root.raw.len, err);
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static void root_keep(struct repo *r, const struct snapshot_info *info, struct bytes raw) {
    struct error e = ERROR_INIT;
    if (!store_reads_many(r->store) || info->root_count > ROOT_KEPT_PIECES) return;
    pthread_mutex_lock(&r->lock);
    buf_free(&r->root.raw);
    r->root.raw = BUF_INIT(ROOT_KEPT_PIECES * (size_t)ROOT_PIECE_MAX);
    r->root.count = buf_append(&r->root.raw, raw.ptr, raw.len, &e) == 0 ? info->root_count : 0;
    memcpy(r->root.ids, info->root, info->root_count * sizeof *info->root);
    pthread_mutex_unlock(&r->lock);
}

void snapshot_expect_root(struct repo *r, const struct snapshot_info *info) {
    struct location l;
    struct digest pack;
    uint64_t bytes;
    bool meta, have;
    char key[96];
    if (!store_reads_many(r->store) || info->root_count != 1 || !index_find(&r->index, info->root[0].b, &l) ||
        !index_pack(&r->index, &l, &pack, &bytes, &meta) || !meta || bytes > r->meta_pack_bytes)
        return;
    pthread_mutex_lock(&r->lock);
    have = (r->root.count && digest_equal(&r->root.ids[0], &info->root[0])) ||
           (r->left.bytes && digest_equal(&r->left.pack, &pack));
    pthread_mutex_unlock(&r->lock);
    pack_key(true, &pack, key);
    if (!have) store_expect(r->store, key, (size_t)bytes, 1);
}

int moving_root(struct moving *m, const struct snapshot_info *info, struct root_doc *ret, struct error *err) {
    struct buf raw = BUF_INIT(256u << 20);
    int rc = root_again(m->repo, info, &raw, err);
    if (rc == 0 && raw.len) return root_parse(raw, ret, err);
    for (size_t i = 0; i < info->root_count && rc == 0; i++) {
        struct fetched c;
        if ((rc = moving_chunk(m, &info->root[i], CHUNK_ROOT, &c, err)) < 0) break;
        rc = buf_append(&raw, c.data.ptr, c.data.len, err);
        moving_release(&c);
    }
    if (rc == 0) root_keep(m->repo, info, buf_bytes(&raw));
    if (rc == 0) return root_parse(raw, ret, err);
    buf_free(&raw);
    return rc;
}

/* ---- what is ahead, when an alternate has to give it ---- */

static void tell(void *ctx, const uint8_t *id) {
    alternate_expect(ctx, id);
}

/* The pack that the repository's index has for a chunk; places may be of an index that has moved on, which costs no
 * more than requests. */
static bool pack_of(const struct moving *m, const uint8_t *id, struct location *ret_at, struct digest *ret) {
    uint64_t bytes;
    bool meta;
    return index_find(&m->repo->index, id, ret_at) && index_pack(&m->repo->index, ret_at, ret, &bytes, &meta);
}

/* Tells the alternate that leads of what is expected: of all when the repository is out of reach, else of what lies in
 * a pack that is gone. */
static void pass(struct moving *m, int why, const struct digest *id) {
    const bool away = alternates_first(m->repo) || repo_out_of_reach(why);
    const bool lost = why == -ERR_OBJECT_MISSING || why == -ERR_IO_NOT_FOUND || why == -ERR_S3_ARCHIVED;
    const uint8_t *ids[SAMPLE] = {id->b};
    struct error none = ERROR_INIT;
    struct location at;
    struct digest pack;
    if (!m->repo->alternates || (!away && !lost)) return;
    pthread_mutex_lock(&m->telling);
    const struct location *of = away ? NULL : &at;
    if (away
            ? m->away && m->turn == alternate_turn(m->repo)
            : !pack_of(m, id->b, &at, &pack) || idset_has(&m->gone, pack.b) || idset_add(&m->gone, pack.b, &none) < 0) {
        pthread_mutex_unlock(&m->telling);
        return;
    }
    const size_t n = expected_sample(&m->told, of, ids, SAMPLE);
    const bool leads = alternate_lead(m->repo, ids, n ? n : 1);
    const unsigned turn = alternate_turn(m->repo);
    if (turn != m->turn) expected_again(&m->told);
    m->turn = turn;
    if (away && !m->away) {
        m->away = true;
        fetch_drop(m->views[0].fetcher);
    }
    if (away && m->reader)
        alternate_reader(m->repo);
    else if (!away)
        fetch_narrow(m->views[0].fetcher);
    if (!away) m->some_gone = true;
    if (leads) expected_pass(&m->told, of, tell, m->repo);
    pthread_mutex_unlock(&m->telling);
}

/* Whether an alternate is asked before the repository is. */
static bool alternate_is_first(struct moving *m, const struct digest *id) {
    struct location at;
    struct digest pack;
    if (alternates_first(m->repo)) return true;
    if (!m->some_gone || !pack_of(m, id->b, &at, &pack)) return false;
    pthread_mutex_lock(&m->telling);
    const bool is = idset_has(&m->gone, pack.b);
    pthread_mutex_unlock(&m->telling);
    return is;
}

void moving_expect(struct moving *m, const struct digest *id) {
    struct location at;
    bool away = false;
    if (m->repo->alternates) {
        const bool known = index_find(&m->repo->index, id->b, &at);
        pthread_mutex_lock(&m->telling);
        away = m->away;
        expected_add(&m->told, id->b, known ? &at : NULL, away);
        if (away) alternate_expect(m->repo, id->b);
        pthread_mutex_unlock(&m->telling);
    }
    if (!away) fetch_expect(m->views[0].fetcher, id);
}

bool moving_retell(struct moving *m) {
    pthread_mutex_lock(&m->telling);
    const bool is = m->away && m->told.more;
    pthread_mutex_unlock(&m->telling);
    return is;
}

void moving_reader(struct moving *m) {
    pthread_mutex_lock(&m->telling);
    m->reader = true;
    if (m->away) alternate_reader(m->repo);
    pthread_mutex_unlock(&m->telling);
    fetch_reader(m->views[0].fetcher);
    if (m->repo->alternates) room_raise(&m->repo->sealed, fetch_sealed_max(m->views[0].fetcher));
}

void moving_forget(struct moving *m) {
    pthread_mutex_lock(&m->telling);
    expected_clear(&m->told);
    if (m->turn) alternate_forget(m->repo);
    pthread_mutex_unlock(&m->telling);
    fetch_forget(m->views[0].fetcher);
}

/* From another repository, where nothing is known of streams. */
static int alternate_into(struct moving *m, int why, const struct digest *id, enum chunk_kind kind,
                          struct sha256_state **stream, struct fetched *ret, struct error *err) {
    pass(m, why, id);
    int rc = alternate_chunk(m->repo, why, id, kind, ret, err);
    if (rc == 0 && stream) sha256_update(*stream, ret->data);
    return rc;
}

static int chunk_into(struct moving *m, const struct digest *id, enum chunk_kind kind, struct sha256_state **stream,
                      enum check_of proof, struct fetched *ret, struct error *err) {
    if (alternate_is_first(m, id)) {
        int rc = alternate_into(m, 0, id, kind, stream, ret, err);
        if (rc == 0 || err->code != ERR_NONE) return rc; /* a stop, or no memory; that none has it is no error yet */
    }
    for (;;) {
        struct fetcher *f;
        size_t at = newest(m, &f);
        int rc = fetch_chunk_into(f, id->b, id, kind, stream, proof, ret, err);
        if (rc == 0) {
            ret->from = f;
            return 0;
        }
        if (rc != -ERR_OBJECT_MISSING || !look_again(m, at, err))
            return alternate_into(m, rc, id, kind, stream, ret, err);
    }
}

int moving_chunk_into(struct moving *m, const struct digest *id, enum chunk_kind kind, struct sha256_state **stream,
                      enum check_of proof, struct fetched *ret, struct error *err) {
    int rc = chunk_into(m, id, kind, stream, proof, ret, err);
    if (m->repo->alternates) {
        pthread_mutex_lock(&m->telling);
        expected_take(&m->told, id->b);
        pthread_mutex_unlock(&m->telling);
    }
    return rc;
}

int moving_chunk(struct moving *m, const struct digest *id, enum chunk_kind kind, struct fetched *ret,
                 struct error *err) {
    return moving_chunk_into(m, id, kind, NULL, CHECK_FRAME, ret, err);
}

int moving_ahead(struct moving *m, const struct digest *id, size_t *ret_bytes, struct error *err) {
    struct fetcher *f;
    struct fetched c;
    *ret_bytes = 0;
    if (!m->repo->alternates) {
        (void)newest(m, &f);
        return fetch_ahead(f, id, ret_bytes, err);
    }
    /* the repository may not be the one to be asked */
    int rc = chunk_into(m, id, CHUNK_DATA, NULL, CHECK_NONE, &c, err);
    if (rc < 0) return rc;
    *ret_bytes = c.data.len;
    moving_release(&c);
    return 0;
}

void moving_release(struct fetched *c) {
    fetch_release(c->from, c);
}

int moving_packs(struct moving *m, const uint8_t *id_prefix,
                 int (*cb)(void *, const struct digest *, uint64_t, struct error *), void *ctx, struct error *err) {
    return fetch_packs(m->views[0].fetcher, id_prefix, cb, ctx, err);
}

int repo_view_open(struct repo *r, struct repo **ret, struct error *err) {
    void *mem;
    char origin[64];
    int rc = mem_alloc(sizeof(struct repo), &mem, err);
    if (rc < 0) return rc;
    struct repo *v = mem;
    v->store = r->store;
    v->keys = r->keys;
    memcpy(v->id, r->id, sizeof v->id);
    memcpy(v->id_hex, r->id_hex, sizeof v->id_hex);
    v->cipher = r->cipher;
    v->data_pack_bytes = r->data_pack_bytes;
    v->meta_pack_bytes = r->meta_pack_bytes;
    v->mending = r->mending;
    pthread_mutex_init(&v->lock, NULL);
    pthread_mutex_init(&v->mended.lock, NULL);
    repo_origin(v, origin);
    if (r->cache_dir) rc = mem_strdup(r->cache_dir, &v->cache_dir, err);
    if (rc == 0) rc = ledger_open(v->store, origin, v->cache_dir, state_judge, v, &v->ledger, err);
    if (rc == 0) rc = repo_sync(v, err);
    if (rc < 0) {
        repo_view_close(v);
        return error_wrap(err, "looking at the log again");
    }
    *ret = v;
    return 0;
}

void repo_view_close(struct repo *view) {
    if (!view) return;
    view->keys = NULL; /* another's */
    repo_close(view);
}
