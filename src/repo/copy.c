#include "repo/copy_internal.h"

#include "ledger/statement.h"
#include "repo/maintain_internal.h"

#include <stdlib.h>

#define WINDOW (32u << 10) /* chunks that are looked at together, so that what lies together is read together */
#define CHECKPOINT_BYTES (UINT64_C(64) << 20)
#define MISSING_MAX 500 /* told one by one; an entry of the log is bounded */

int copy_check(const struct repo *from, const struct repo *to, struct error *err) {
    int rc = repo_needs_read(from, "copying from a repository", err);
    if (rc < 0) return rc;
    if (to->keys->role != ROLE_ADMIN && to->keys->role != ROLE_WRITER)
        return error_set(err, ERR_KEY_ROLE,
                         "copying into a repository needs a writer or admin key of it, and this one is a %s key",
                         key_role_name(to->keys->role));
    if (memcmp(from->id, to->id, sizeof from->id) == 0)
        return error_set(err, ERR_USAGE, "the source and the destination are one repository, %s", from->id_hex);
    if (repo_shares_content(from, to) && from->epoch > to->epoch) {
        error_set(err, ERR_COPY_FOREIGN,
                  "repository %s has begun an epoch of ids (key rotate-ids) into which its copy %s has not followed",
                  from->id_hex, to->id_hex);
        return error_next(err, "Copy once with an admin key of the destination: it then follows.");
    }
    if (repo_shares_content(from, to)) return 0;
    return error_set(err, ERR_COPY_FOREIGN, "repository %s does not share the content keys of repository %s",
                     to->id_hex, from->id_hex);
}

static bool same_root(const struct snapshot_info *a, const struct snapshot_info *b) {
    if (a->root_count != b->root_count || strcmp(a->id, b->id) != 0) return false;
    for (size_t i = 0; i < a->root_count; i++)
        if (!digest_equal(&a->root[i], &b->root[i])) return false;
    return true;
}

/* The same backup with the same root is the same snapshot, also when it came by way of a third repository. */
const struct snapshot_info *copy_find(const struct repo *from, const struct snapshot_info *info,
                                      const struct repo *to) {
    (void)from;
    const struct snapshot_info *gone = NULL;
    for (size_t i = to->state.snapshot_count; i-- > 0;) {
        const struct snapshot_info *s = &to->state.snapshots[i];
        if (!same_root(s, info)) continue;
        if (!s->forgotten) return s;
        gone = s;
    }
    return gone;
}

/* ---- what is needed ---- */

static int need_order(const void *a, const void *b) {
    const struct need *x = a, *y = b;
    int c = (x->meta > y->meta) - (x->meta < y->meta);
    if (c == 0) c = memcmp(x->pack.b, y->pack.b, DIGEST_BYTES);
    if (c == 0) c = (x->frame > y->frame) - (x->frame < y->frame);
    return c ? c : memcmp(x->id, y->id, ID_PREFIX_BYTES);
}

/* Packs in the order in which the snapshot comes to them: what is read together in the source lies together in the
 * copy. */
static int turn_order(const void *a, const void *b) {
    const struct need *x = a, *y = b;
    if (x->meta != y->meta || x->turn == y->turn) return need_order(a, b);
    return x->turn < y->turn ? -1 : 1;
}

static int stopped(struct copier *c, struct error *err) {
    int rc = stop_check(err);
    if (rc == 0) rc = writer_alive(c->w, err);
    if (rc < 0 || !c->has_failed) return rc;
    pthread_mutex_lock(&c->lock);
    *err = c->failed;
    pthread_mutex_unlock(&c->lock);
    return -(int)err->code;
}

/* By time like any writer, and by bytes, as what fails here is mostly the way between two places. The more there is,
 * the further apart: each leaves an index run, and every look-up asks them all. */
static bool checkpoint_due(const struct copier *c) {
    uint64_t bytes = c->o->checkpoint_bytes ? c->o->checkpoint_bytes : CHECKPOINT_BYTES;
    if (bytes < c->w->stored_bytes / 8) bytes = c->w->stored_bytes / 8;
    return writer_checkpoint_due(c->w) || c->w->since_checkpoint >= bytes;
}

static size_t pack_end(const struct copier *c, size_t i) {
    size_t k = i;
    while (k < c->count && digest_equal(&c->window[k].pack, &c->window[i].pack)) k++;
    return k;
}

/* What is needed of packs of one epoch; they go into packs of the same. */
static int epoch_flush(struct copier *c, unsigned epoch, struct error *err) {
    int rc = 0;
    for (size_t i = 0, k; i < c->count && rc == 0; i = k) {
        void *mem;
        k = pack_end(c, i);
        if (c->window[i].epoch != epoch) continue;
        if (c->w->session.epoch != epoch && (rc = moved_epoch(c->w, epoch, err)) < 0) break;
        if ((rc = stopped(c, err)) < 0) break;
        if ((rc = mem_alloc(sizeof(struct copy_task) + (k - i) * sizeof(struct need), &mem, err)) < 0) break;
        struct copy_task *t = mem;
        t->c = c;
        t->n = k - i;
        memcpy(t->needs, c->window + i, t->n * sizeof *t->needs);
        pool_submit(c->w->pool, copy_pack, t);
        if (checkpoint_due(c)) rc = writer_checkpoint(c->w, err);
    }
    return rc;
}

static int window_flush(struct copier *c, struct error *err) {
    int rc = 0;
    if (c->count) qsort(c->window, c->count, sizeof *c->window, need_order);
    for (size_t i = 0, k; i < c->count && rc == 0; i = k) {
        unsigned epoch = 0;
        if (c->from->epoch) rc = pack_epoch(c->from, c->window[i].meta, &c->window[i].pack, &epoch, err);
        k = pack_end(c, i);
        uint32_t turn = c->window[i].turn;
        for (size_t j = i; j < k; j++) turn = c->window[j].turn < turn ? c->window[j].turn : turn;
        for (; i < k; i++) {
            c->window[i].epoch = epoch;
            c->window[i].turn = turn;
        }
    }
    if (c->count && rc == 0) qsort(c->window, c->count, sizeof *c->window, turn_order);
    for (unsigned e = 0; e <= c->from->epoch && rc == 0; e++) rc = epoch_flush(c, e, err);
    c->count = 0;
    return rc;
}

static int need_add(struct copier *c, const uint8_t *id, bool base, struct error *err) {
    struct location l;
    int rc = stopped(c, err);
    if (rc < 0) return rc;
    pthread_rwlock_rdlock(&c->w->index_lock);
    bool known = base ? copy_base_there(c, id) : chunk_use(c->w, id);
    pthread_rwlock_unlock(&c->w->index_lock);
    if (known) return 0;
    const struct index *x = &c->from->index;
    struct need need = {.base = base, .turn = (uint32_t)c->count};
    bool found = base ? index_find_plain(x, id, &l) : index_find(x, id, &l);
    if (found) found = index_pack(x, &l, &need.pack, NULL, &need.meta);
    if (!found) {
        char hex[33];
        if ((rc = repo_index_whole(c->from, err)) < 0) return rc;
        hex_encode(id, ID_PREFIX_BYTES, hex);
        return error_set(err, ERR_OBJECT_MISSING, "chunk %s is in no pack that the source's index knows", hex);
    }
    need.frame = l.frame;
    memcpy(need.id, id, ID_PREFIX_BYTES);
    c->window[c->count++] = need;
    if (l.delta) rc = need_add(c, l.base, true, err);
    return rc == 0 && c->count >= WINDOW ? window_flush(c, err) : rc;
}

static int refs_need(struct copier *c, struct bytes refs, bool in_list, struct error *err) {
    struct cursor at = cursor_of(refs);
    struct ref ref;
    int rc = 0;
    while (rc == 0 && ref_take(&at, &ref)) {
        if (ref.type == REF_HOLE) continue;
        if ((rc = need_add(c, ref.id.b, false, err)) < 0 || ref.type != REF_LIST || in_list) continue;
        struct fetched list;
        if ((rc = fetch_chunk(c->fetcher, ref.id.b, &ref.id, CHUNK_LIST, &list, err)) < 0) break;
        rc = refs_need(c, list.data, true, err);
        fetch_release(c->fetcher, &list);
    }
    if (rc == 0 && at.bad) rc = error_set(err, ERR_OBJECT_CORRUPT, "a list of references is malformed");
    return rc;
}

static int snapshot_need(struct copier *c, const struct snapshot_info *info, struct error *err) {
    struct root_doc root = {0};
    int rc = 0;
    for (size_t i = 0; i < info->root_count && rc == 0; i++) rc = need_add(c, info->root[i].b, false, err);
    if (rc == 0) rc = root_read(c->fetcher, info, &root, err);
    for (size_t i = 0; i < root.chunk_count && rc == 0; i++) {
        struct fetched m;
        if ((rc = need_add(c, root.chunks[i].id.b, false, err)) < 0) break;
        if ((rc = fetch_chunk(c->fetcher, root.chunks[i].id.b, &root.chunks[i].id, CHUNK_MANIFEST, &m, err)) < 0) break;
        struct manifest_parser p;
        struct manifest_item it;
        bool end = false;
        manifest_parser_init(&p, m.data);
        while (rc == 0 && (rc = manifest_next(&p, &it, &end, err)) == 0 && !end) rc = refs_need(c, it.refs, false, err);
        manifest_parser_free(&p);
        fetch_release(c->fetcher, &m);
    }
    root_free(&root);
    if (rc == 0) rc = window_flush(c, err);
    return rc;
}

/* ---- one snapshot ---- */

static int copier_begin(struct copier *c, struct repo *from, struct repo *to, const struct copy_options *o,
                        struct error *err) {
    struct writer_options wo = {
        .environment = "copy", .surface = from->id_hex, .threads = o->threads, .no_delta = true};
    void *mem;
    *c = (struct copier){.from = from, .o = o};
    pthread_mutex_init(&c->lock, NULL);
    int rc = fetcher_new(from, &from->index, NULL, 32u << 20, &c->fetcher, err);
    /* room for a window and the bases of its last chunk */
    if (rc == 0) rc = mem_alloc((WINDOW + 2) * sizeof *c->window, &mem, err);
    if (rc < 0) return rc;
    c->window = mem;
    return writer_open_copy(to, &wo, &c->w, err);
}

static void copier_end(struct copier *c) {
    writer_free(c->w); /* which drains the pool, so first */
    while (c->benches) {
        struct copy_bench *b = c->benches;
        c->benches = b->next;
        copy_bench_free(b);
    }
    fetcher_free(c->fetcher);
    idset_free(&c->deltas);
    idset_free(&c->plains);
    seam_free(c->window);
    pthread_mutex_destroy(&c->lock);
}

static int envelope_read(struct repo *from, const struct snapshot_info *info, struct buf *envelope, json_t **ret,
                         struct error *err) {
    struct buf payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    struct digest d;
    int rc = ledger_read(from->ledger, info->seq, envelope, err);
    if (rc == 0) {
        sha256(buf_bytes(envelope), &d);
        if (!digest_equal(&d, &info->entry))
            rc = error_set(err, ERR_LEDGER_BROKEN,
                           "log entry %llu of the source is not the receipt that was read before",
                           (unsigned long long)info->seq);
    }
    if (rc == 0) rc = dsse_verify(buf_bytes(envelope), info->writer, &payload, err);
    if (rc == 0) rc = json_parse(buf_bytes(&payload), payload.max_bytes, "a receipt", ret, err);
    buf_free(&payload);
    return rc;
}

struct commit {
    struct copier *c;
    const struct snapshot_info *info;
    const json_t *source;
    struct digest kept;
    copy_build build;
    void *ctx;
};

static int commit_build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct commit *m = ctx;
    json_t *repository = NULL;
    (void)seq;
    const struct snapshot_info *other = copy_find(m->c->from, m->info, m->c->w->repo);
    if (other && !other->forgotten)
        return error_set(err, ERR_OBJECT_EXISTS, "another run has copied %s meanwhile", m->info->id);
    int rc = writer_describe(m->c->w, &repository, err);
    if (rc == 0) rc = json_put_str(repository, "surface", m->info->surface, err);
    if (rc == 0) rc = m->build(m->ctx, m->source, m->c->w, repository, &m->kept, ret, err);
    json_decref(repository);
    return rc;
}

/* What was copied before a failure of the source's is good, and the next try need not fetch it again. */
static void keep(struct copier *c) {
    struct error e = ERROR_INIT;
    if (groups_flush(c->w, &e) < 0) return;
    pool_drain(c->w->pool);
    (void)!writer_checkpoint(c->w, &e);
}

int copy_snapshot(struct repo *from, const struct snapshot_info *info, struct repo *to, const struct copy_options *o,
                  copy_build build, void *ctx, struct copy_stats *ret, uint64_t *ret_seq, struct digest *ret_entry,
                  bool *ret_there, struct error *err) {
    struct copier c = {0};
    struct commit m = {.c = &c, .info = info, .build = build, .ctx = ctx};
    struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    json_t *source = NULL;
    *ret = (struct copy_stats){0};
    *ret_there = false;
    int rc = copy_check(from, to, err);
    if (rc < 0) return rc;
    if ((rc = envelope_read(from, info, &envelope, &source, err)) < 0) goto out;
    m.source = statement_predicate(source);
    if ((rc = copier_begin(&c, from, to, o, err)) < 0) goto end;
    rc = snapshot_need(&c, info, err);
    pool_drain(c.w->pool);
    if (rc == 0) rc = stopped(&c, err);
    if (rc == 0) rc = moved_epoch(c.w, to->epoch, err);
    if (rc < 0) {
        keep(&c);
        goto end;
    }
    rc = kept_write(to, buf_bytes(&envelope), &m.kept, err);
    if (rc == 0) rc = writer_finish_copy(c.w, info, &m.kept, err);
    if (rc == 0) rc = writer_commit(c.w, commit_build, &m, ret_seq, ret_entry, err);
    if (rc == -ERR_OBJECT_EXISTS) {
        error_clear(err);
        *ret_there = true;
        rc = 0;
    }
end:
    *ret = (struct copy_stats){.frames = c.frames,
                               .frame_bytes = c.frame_bytes,
                               .encoded_chunks = c.encoded_chunks,
                               .read_bytes = c.read_bytes,
                               .stored_bytes = c.w ? c.w->stored_bytes : 0};
    copier_end(&c);
out:
    json_decref(source);
    buf_free(&envelope);
    return rc < 0 ? error_wrap(err, "copying %s", info->id) : 0;
}

/* ---- what is told of it ---- */

static bool says_the_same(const json_t *predicate, const struct snapshot_info *info) {
    const char *id = json_string_value(json_object_get(predicate, "backup_id"));
    const json_t *root = json_object_get(json_object_get(predicate, "repository"), "root");
    if (!id || strcmp(id, info->id) != 0 || json_array_size(root) != info->root_count) return false;
    for (size_t i = 0; i < info->root_count; i++) {
        struct digest d;
        if (!json_get_digest(json_array_get(root, i), &d) || !digest_equal(&d, &info->root[i])) return false;
    }
    return true;
}

int copy_source_read(struct repo *r, const struct snapshot_info *info, struct buf *ret,
                     uint8_t ret_signer[SIGN_PUBLIC_BYTES], struct error *err) {
    struct buf payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1), again = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    uint8_t key[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    size_t before = ret->len;
    json_t *statement = NULL;
    struct digest d;
    if (!info->is_copy) return error_set(err, ERR_NO_POINT, "%s is no copy", info->id);
    int rc = kept_read(r, &info->source.kept, ret, err);
    if (rc < 0) return rc;
    struct bytes envelope = BYTES_OF(ret->ptr + before, ret->len - before);
    sha256(envelope, &d);
    if (!digest_equal(&d, &info->source.entry))
        rc = error_set(err, ERR_LEDGER_BROKEN,
                       "what is kept as the source's receipt of %s is another than the one named", info->id);
    if (rc == 0) rc = dsse_decode(envelope, &payload, key, sig, err);
    if (rc == 0) rc = dsse_verify(envelope, key, &again, err);
    if (rc == 0) rc = json_parse(buf_bytes(&again), again.max_bytes, "a receipt", &statement, err);
    if (rc == 0 && !says_the_same(json_object_get(statement, "predicate"), info))
        rc = error_set(err, ERR_LEDGER_BROKEN, "the source's receipt of %s is of another backup", info->id);
    if (rc == 0 && ret_signer) memcpy(ret_signer, key, sizeof key);
    json_decref(statement);
    buf_free(&payload);
    buf_free(&again);
    if (rc < 0) ret->len = before;
    return rc;
}

/* As of the newest copy there are at most MISSING_MAX older ones that lack; else it is an older one that is called
 * newest, and what follows it counts as missing too. */
static int told(const struct repo *from, const struct repo *to, json_t *missing, uint64_t *ret_newest,
                struct error *err) {
    uint64_t newest = 0;
    int rc = 0;
    *ret_newest = 0;
    for (size_t i = 0; i < from->state.snapshot_count && rc == 0; i++) {
        const struct snapshot_info *s = &from->state.snapshots[i];
        if (copy_find(from, s, to))
            newest = s->seq;
        else if (!s->forgotten && !repo_snapshot_suspect(from, s)) {
            if (json_array_size(missing) == MISSING_MAX) break;
            rc = json_push(missing, json_integer((json_int_t)s->seq), err);
        }
    }
    while (json_array_size(missing) &&
           (uint64_t)json_integer_value(json_array_get(missing, json_array_size(missing) - 1)) > newest)
        json_array_remove(missing, json_array_size(missing) - 1);
    *ret_newest = newest;
    return rc;
}

size_t copy_lost(const struct repo *from, const struct repo *to) {
    const struct copy_info *c = NULL;
    size_t n = 0;
    for (size_t i = 0; i < from->state.copy_count; i++)
        if (memcmp(from->state.copies[i].repository, to->id, sizeof to->id) == 0) c = &from->state.copies[i];
    for (size_t i = 0; c && i < from->state.snapshot_count; i++) {
        const struct snapshot_info *s = &from->state.snapshots[i];
        bool told = s->seq <= c->newest && !s->forgotten && !repo_snapshot_suspect(from, s);
        for (size_t k = 0; k < c->missing_count && told; k++) told = c->missing[k] != s->seq;
        n += told && !copy_find(from, s, to);
    }
    return n;
}

static int put_reread(json_t *p, const struct copy_reread *r, struct error *err) {
    char at[32];
    time_format(r->at_ns, at);
    int rc = json_put_str(p, "reread_at", at, err);
    if (rc == 0) rc = json_put(p, "reread_ok", json_boolean(r->whole), err);
    if (rc == 0) rc = json_put_int(p, "reread_objects", (int64_t)r->objects, err);
    if (rc == 0) rc = json_put_int(p, "reread_bytes", (int64_t)r->bytes, err);
    if (rc == 0) rc = json_put_int(p, "reread_findings", (int64_t)r->findings, err);
    return rc == 0 ? json_put_int(p, "reread_lost", (int64_t)r->lost, err) : rc;
}

static int put_wal(const struct repo *from, const struct repo *to, json_t *p, const struct copy_stats *s,
                   struct error *err) {
    uint64_t newest = s->wal_newest, missing = s->wal_missing;
    for (size_t i = 0; i < from->state.copy_count && !s->wal_newest; i++) {
        const struct copy_info *c = &from->state.copies[i];
        if (memcmp(c->repository, to->id, sizeof to->id) != 0) continue;
        newest = c->wal_newest;
        missing = c->wal_missing;
    }
    if (!newest) return 0;
    int rc = json_put_int(p, "wal_newest", (int64_t)newest, err);
    return rc == 0 ? json_put_int(p, "wal_missing", (int64_t)missing, err) : rc;
}

int copy_tell(struct repo *from, const struct repo *to, const char *label, unsigned points,
              const struct copy_stats *stats, const struct copy_reread *reread, const char *principal, bool *ret_said,
              struct error *err) {
    struct error may = ERROR_INIT;
    struct digest subject;
    json_t *missing = json_array(), *p = NULL, *s = NULL;
    uint64_t newest = 0;
    *ret_said = false;
    if (state_may(from, PREDICATE_COPY, &may) < 0) {
        json_decref(missing);
        return 0;
    }
    int rc =
        missing ? told(from, to, missing, &newest, err) : error_set(err, ERR_NO_MEMORY, "no memory for a statement");
    if (rc == 0)
        p = json_pack("{s:s, s:s, s:I, s:O, s:I, s:I, s:I, s:I, s:s}", "repository", to->id_hex, "label", label,
                      "newest", (json_int_t)newest, "missing", missing, "points", (json_int_t)points, "moved_bytes",
                      (json_int_t)stats->frame_bytes, "stored_bytes", (json_int_t)stats->stored_bytes, "log_size",
                      (json_int_t)ledger_size(to->ledger), "principal", principal);
    if (rc == 0 && !p) rc = error_set(err, ERR_NO_MEMORY, "no memory for a statement");
    if (rc == 0 && reread && reread->at_ns) rc = put_reread(p, reread, err);
    if (rc == 0) rc = put_wal(from, to, p, stats, err);
    ledger_root(to->ledger, &subject);
    if (rc == 0) rc = statement_make(PREDICATE_COPY, "copy", &subject, p, &s, err);
    if (rc == 0) rc = repo_append(from, s, NULL, NULL, err);
    *ret_said = rc == 0;
    json_decref(s);
    json_decref(missing);
    return rc;
}
