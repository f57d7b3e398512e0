/* The state as a summary of the log carries it: one canonical form, so that whoever folds the same entries writes the
 * same bytes. What the store says of an entry (when it was stored) is no part of it, nor is any text of ours. Rows are
 * arrays; doc/format/log.md names their columns. */
#include "repo/state_summary.h"

#include <stdlib.h>

#define LEVELS VERIFY_REBUILD /* rungs above none */

/* ---- writing ---- */

static json_t *hex_json(const void *p, size_t n) {
    char hex[2 * DIGEST_BYTES + 1];
    hex_encode(p, n, hex);
    return json_string(hex);
}

static json_t *digests_json(const struct digest *d, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n && list; i++)
        if (json_array_append_new(list, json_digest(&d[i])) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static json_t *maybe_digest(bool there, const struct digest *d) {
    return there ? json_digest(d) : json_null();
}

static json_t *key_row_plain(const struct key_info *k) {
    return json_pack("[o, s, s, b, I, I]", hex_json(k->public_key, SIGN_PUBLIC_BYTES), key_role_name(k->role), k->label,
                     k->removed, (json_int_t)k->seq, (json_int_t)k->suspect_ns);
}

static json_t *key_row(const struct key_info *k) {
    return json_pack("[o, s, s, b, I, I, i, i]", hex_json(k->public_key, SIGN_PUBLIC_BYTES), key_role_name(k->role),
                     k->label, k->removed, (json_int_t)k->seq, (json_int_t)k->suspect_ns, (int)k->epoch,
                     (int)k->last_epoch);
}

static json_t *source_row(const struct snapshot_info *s) {
    if (!s->is_copy) return json_null();
    return json_pack("[o, I, o, o]", hex_json(s->source.repository, sizeof s->source.repository),
                     (json_int_t)s->source.seq, json_digest(&s->source.entry), json_digest(&s->source.kept));
}

static json_t *snapshot_row_plain(const struct snapshot_info *s) {
    json_t *levels = json_array();
    for (int i = 1; i <= LEVELS && levels; i++)
        if (json_array_append_new(levels, json_integer(s->level_ns[i])) < 0) {
            json_decref(levels);
            return NULL;
        }
    return json_pack(
        "[I, o, s, s, s, s, s, I, I, I, b, o, o, I, I, I, o, i, I, o, b, I, I, I, I, I, I]", (json_int_t)s->seq,
        json_digest(&s->entry), s->id, s->environment, s->surface, s->kind, s->receipt_surface,
        (json_int_t)s->started_ns, (json_int_t)s->completed_ns, (json_int_t)s->claimed_ns, s->complete,
        digests_json(s->root, s->root_count), json_digest(&s->packs), (json_int_t)s->items, (json_int_t)s->bytes,
        (json_int_t)s->stored_bytes, hex_json(s->writer, SIGN_PUBLIC_BYTES), (int)s->verified,
        (json_int_t)s->verified_ns, levels, s->verify_failed, (json_int_t)s->restore_ns, (json_int_t)s->restored_ns,
        (json_int_t)s->restore_took_ns, (json_int_t)s->holds, (json_int_t)(s->forgotten ? s->forgotten_seq : 0), (json_int_t)s->packs_seq);
}

static json_t *snapshot_row(const struct snapshot_info *s) {
    json_t *row = snapshot_row_plain(s);
    if (row && json_array_append_new(row, source_row(s)) == 0 &&
        json_array_append_new(row, s->fallback ? json_string(s->fallback) : json_null()) == 0)
        return row;
    json_decref(row);
    return NULL;
}

static json_t *job_row(const struct job_info *j) {
    return json_pack("[I, s, s, s, I]", (json_int_t)j->seq, j->id, j->environment, j->surface,
                     (json_int_t)j->completed_ns);
}

static json_t *hold_row(const struct hold_info *h) {
    return json_pack("[I, I, I, o, b]", (json_int_t)h->seq, (json_int_t)h->snapshot, (json_int_t)h->time_ns,
                     hex_json(h->signer, SIGN_PUBLIC_BYTES), h->released);
}

static json_t *delete_row(const struct delete_info *d) {
    return json_pack("[I, o, o, o]", (json_int_t)d->seq, maybe_digest(d->has_packs, &d->packs),
                     maybe_digest(d->has_replacement, &d->replaced_by), maybe_digest(d->has_swept, &d->swept));
}

static json_t *copy_row(const struct copy_info *c) {
    json_t *missing = json_array();
    for (size_t i = 0; i < c->missing_count && missing; i++)
        if (json_array_append_new(missing, json_integer((json_int_t)c->missing[i])) < 0) {
            json_decref(missing);
            return NULL;
        }
    return json_pack("[o, s, I, I, o, I, I, I, b, I, I]", hex_json(c->repository, sizeof c->repository), c->label,
                     (json_int_t)c->seq, (json_int_t)c->newest, missing, (json_int_t)c->time_ns,
                     (json_int_t)c->first_ns, (json_int_t)c->reread_ns, c->reread_failed, (json_int_t)c->wal_newest,
                     (json_int_t)c->wal_missing);
}

static json_t *wal_row(const struct wal_batch *b) {
    char system[24];
    snprintf(system, sizeof system, "%llu", (unsigned long long)b->system);
    return json_pack("[I, s, s, s, I, I, b]", (json_int_t)b->seq, b->environment, b->surface, system,
                     (json_int_t)b->objects, (json_int_t)b->time_ns, b->mended);
}

static json_t *wal_ack_row(const struct wal_ack *a) {
    char system[24], from[24], to[24];
    snprintf(system, sizeof system, "%llu", (unsigned long long)a->system);
    snprintf(from, sizeof from, "%X/%X", (unsigned)(a->from >> 32), (unsigned)a->from);
    snprintf(to, sizeof to, "%X/%X", (unsigned)(a->to >> 32), (unsigned)a->to);
    return json_pack("[I, s, I, s, s, I, s]", (json_int_t)a->seq, system, (json_int_t)a->timeline, from, to,
                     (json_int_t)a->time_ns, a->reason);
}

static json_t *wal_first_row(const struct wal_first *f) {
    char system[24];
    snprintf(system, sizeof system, "%llu", (unsigned long long)f->system);
    return json_pack("[s, s]", system, f->name);
}

static json_t *set_row(const struct set_info *n) {
    json_t *members = json_array();
    for (size_t i = 0; i < n->member_count && members; i++)
        if (json_array_append_new(members, json_integer((json_int_t)n->members[i])) < 0) {
            json_decref(members);
            return NULL;
        }
    return json_pack("[I, o, s, s, s, I, I, I, s, b, o, I, I, I]", (json_int_t)n->seq, json_digest(&n->entry), n->id,
                     n->environment, n->name, (json_int_t)n->started_ns, (json_int_t)n->completed_ns,
                     (json_int_t)n->claimed_ns, n->consistency, n->complete, members, (json_int_t)n->missing,
                     (json_int_t)n->restored_ns, (json_int_t)n->restore_took_ns);
}

static json_t *epoch_row(const struct epoch_info *e) {
    return json_pack("[I, o]", (json_int_t)e->seq, json_digest(&e->keys));
}

static json_t *drill_row(const struct drill_info *d) {
    if (!d->seq) return json_null();
    return json_pack("[I, I, s, o]", (json_int_t)d->seq, (json_int_t)d->time_ns, key_role_name(d->role),
                     hex_json(d->signer, SIGN_PUBLIC_BYTES));
}

static int put_runs(json_t *doc, const struct state *s, struct error *err) {
    void *p;
    if (mem_alloc((s->run_count + 1) * sizeof *s->runs, &p, err) < 0) return -(int)err->code;
    struct digest *sorted = p;
    if (s->run_count) {
        memcpy(sorted, s->runs, s->run_count * sizeof *sorted);
        qsort(sorted, s->run_count, sizeof *sorted, digest_order);
    }
    int rc = json_put(doc, "runs", digests_json(sorted, s->run_count), err);
    seam_free(sorted);
    return rc;
}

#define PUT_ROWS(doc, name, items, count, row)                                                                         \
    do {                                                                                                               \
        json_t *list_ = json_array();                                                                                  \
        for (size_t i_ = 0; i_ < (count) && rc == 0; i_++) rc = json_push(list_, row(&(items)[i_]), err);              \
        if (rc == 0)                                                                                                   \
            rc = json_put(doc, name, list_, err);                                                                      \
        else                                                                                                           \
            json_decref(list_);                                                                                        \
    } while (0)

/* The snapshots that were taken before a restore; none: *ret stays NULL. */
static int before_list(const struct state *s, json_t **ret, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < s->snapshot_count && rc == 0; i++) {
        if (!s->snapshots[i].before_restore) continue;
        if (!*ret && !(*ret = json_array())) return error_set(err, ERR_NO_MEMORY, "no memory for a summary of the log");
        rc = json_push(*ret, json_integer((json_int_t)s->snapshots[i].seq), err);
    }
    return rc;
}

static bool is_plain(const struct state *s) {
    for (size_t i = 0; i < s->snapshot_count; i++)
        if (s->snapshots[i].is_copy || s->snapshots[i].fallback || s->snapshots[i].before_restore) return false;
    return !s->read_void && s->epoch_count == 0 && s->copy_count == 0 && s->wal_count == 0 && s->wal_first_count == 0 &&
           s->wal_ack_count == 0 && s->set_count == 0;
}

int state_write(const struct state *s, json_t **ret, struct error *err) {
    json_auto_t *doc = json_object(), *before = NULL;
    if (!doc) return error_set(err, ERR_NO_MEMORY, "no memory for a summary of the log");
    const bool plain = is_plain(s);
    int rc = before_list(s, &before, err);
    int version = plain          ? STATE_VERSION_PLAIN
                  : before       ? STATE_VERSION_BEFORE
                  : s->read_void ? STATE_VERSION_READ
                                 : STATE_VERSION;
    if (rc == 0) rc = json_put_int(doc, "version", version, err);
    if (rc == 0 && before) rc = json_put(doc, "before_restore", json_incref(before), err);
    if (rc == 0) rc = json_put(doc, "format", json_digest(&s->format), err);
    if (rc == 0 && plain) PUT_ROWS(doc, "keys", s->keys, s->key_count, key_row_plain);
    if (rc == 0 && !plain) PUT_ROWS(doc, "keys", s->keys, s->key_count, key_row);
    if (rc == 0 && plain) PUT_ROWS(doc, "snapshots", s->snapshots, s->snapshot_count, snapshot_row_plain);
    if (rc == 0 && !plain) PUT_ROWS(doc, "snapshots", s->snapshots, s->snapshot_count, snapshot_row);
    if (rc == 0) PUT_ROWS(doc, "jobs", s->jobs, s->job_count, job_row);
    if (rc == 0) PUT_ROWS(doc, "holds", s->holds, s->hold_count, hold_row);
    if (rc == 0) PUT_ROWS(doc, "deletes", s->deletes, s->delete_count, delete_row);
    if (rc == 0 && !plain) PUT_ROWS(doc, "epochs", s->epochs, s->epoch_count, epoch_row);
    if (rc == 0 && !plain) PUT_ROWS(doc, "copies", s->copies, s->copy_count, copy_row);
    if (rc == 0 && !plain) PUT_ROWS(doc, "wal", s->wal, s->wal_count, wal_row);
    if (rc == 0 && !plain) PUT_ROWS(doc, "wal_first", s->wal_first, s->wal_first_count, wal_first_row);
    if (rc == 0 && !plain) PUT_ROWS(doc, "wal_gaps", s->wal_acks, s->wal_ack_count, wal_ack_row);
    if (rc == 0 && !plain) PUT_ROWS(doc, "sets", s->sets, s->set_count, set_row);
    if (rc == 0) rc = put_runs(doc, s, err);
    if (rc == 0) rc = json_put(doc, "drill", drill_row(&s->drill), err);
    if (rc == 0)
        rc = json_put(doc, "void", json_pack("[I, I]", (json_int_t)s->void_count, (json_int_t)s->void_seq), err);
    if (rc == 0) *ret = json_incref(doc);
    return rc;
}

/* ---- reading ---- */

/* A row's columns in order; the first that is not of its type makes it bad, and what follows is empty. */
struct row {
    const json_t *array;
    size_t at;
    bool bad;
};

static const json_t *col(struct row *r) {
    return json_array_get(r->array, r->at++);
}

static int64_t col_int(struct row *r) {
    const json_t *v = col(r);
    r->bad |= !json_is_integer(v);
    return json_integer_value(v);
}

/* A number of something below `end`. */
static uint64_t col_below(struct row *r, uint64_t end) {
    int64_t v = col_int(r);
    r->bad |= v < 0 || (uint64_t)v >= end;
    return (uint64_t)v;
}

static bool col_bool(struct row *r) {
    const json_t *v = col(r);
    r->bad |= !json_is_boolean(v);
    return json_is_true(v);
}

static const char *col_text(struct row *r) {
    const char *s = json_string_value(col(r));
    r->bad |= !s;
    return s ? s : "";
}

static void col_short_text(struct row *r, char *ret, size_t n) {
    const char *s = col_text(r);
    r->bad |= strlen(s) >= n;
    snprintf(ret, n, "%s", s);
}

static void col_key(struct row *r, uint8_t ret[SIGN_PUBLIC_BYTES]) {
    const char *s = col_text(r);
    r->bad |= !hex_decode(s, strlen(s), ret, SIGN_PUBLIC_BYTES);
}

static void col_digest(struct row *r, struct digest *ret) {
    r->bad |= !json_get_digest(col(r), ret);
}

static bool col_maybe_digest(struct row *r, struct digest *ret) {
    const json_t *v = col(r);
    if (json_is_null(v)) return false;
    r->bad |= !json_get_digest(v, ret);
    return true;
}

static int malformed(struct error *err, const char *what) {
    return error_set(err, ERR_LEDGER_BROKEN, "the summed-up state has a malformed %s", what);
}

static int load_keys(struct state *s, const json_t *list, uint64_t size, bool plain, struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        struct key_info k = {0};
        col_key(&r, k.public_key);
        r.bad |= !key_role_parse(col_text(&r), &k.role);
        col_short_text(&r, k.label, sizeof k.label);
        k.removed = col_bool(&r);
        k.seq = col_below(&r, size);
        k.suspect_ns = col_int(&r);
        if (!plain) k.epoch = (unsigned)col_below(&r, EPOCHS_MAX + 1);
        if (!plain) k.last_epoch = (unsigned)col_below(&r, EPOCHS_MAX + 1);
        if (r.bad) return malformed(err, "key");
        int rc = mem_grow((void **)&s->keys, &s->key_cap, s->key_count + 1, sizeof *s->keys, err);
        if (rc < 0) return rc;
        s->keys[s->key_count++] = k;
    }
    return 0;
}

static int load_roots(struct row *r, struct snapshot_info *n, struct error *err) {
    const json_t *list = col(r);
    void *p;
    n->root_count = json_array_size(list);
    r->bad |= n->root_count == 0;
    if (n->root_count == 0) return 0;
    if (mem_alloc(n->root_count * sizeof *n->root, &p, err) < 0) return -(int)err->code;
    n->root = p;
    for (size_t i = 0; i < n->root_count; i++) r->bad |= !json_get_digest(json_array_get(list, i), &n->root[i]);
    return 0;
}

static void col_repository(struct row *r, uint8_t ret[16]) {
    const char *s = col_text(r);
    r->bad |= !hex_decode(s, strlen(s), ret, 16);
}

static void load_source(struct row *of, struct snapshot_info *n) {
    struct row r = {.array = col(of)};
    if (json_is_null(r.array)) return;
    n->is_copy = true;
    col_repository(&r, n->source.repository);
    n->source.seq = (uint64_t)col_int(&r);
    col_digest(&r, &n->source.entry);
    col_digest(&r, &n->source.kept);
    of->bad |= r.bad;
}

static int load_fallback(struct row *r, struct snapshot_info *n, struct error *err) {
    const json_t *v = col(r);
    if (json_is_null(v)) return 0;
    r->bad |= !json_is_string(v);
    return json_is_string(v) ? mem_strdup(json_string_value(v), &n->fallback, err) : 0;
}

/* n is in the state already, so that whatever it owns is freed with it. */
static int load_snapshot(struct snapshot_info *n, struct row *r, uint64_t size, bool plain, struct error *err) {
    int rc;
    n->seq = col_below(r, size);
    col_digest(r, &n->entry);
    col_short_text(r, n->id, sizeof n->id);
    r->bad |= !n->id[0];
    if ((rc = mem_strdup(col_text(r), &n->environment, err)) < 0 ||
        (rc = mem_strdup(col_text(r), &n->surface, err)) < 0 || (rc = mem_strdup(col_text(r), &n->kind, err)) < 0 ||
        (rc = mem_strdup(col_text(r), &n->receipt_surface, err)) < 0)
        return rc;
    n->started_ns = col_int(r);
    n->completed_ns = col_int(r);
    n->claimed_ns = col_int(r);
    n->complete = col_bool(r);
    if ((rc = load_roots(r, n, err)) < 0) return rc;
    col_digest(r, &n->packs);
    n->items = (uint64_t)col_int(r);
    n->bytes = (uint64_t)col_int(r);
    n->stored_bytes = (uint64_t)col_int(r);
    col_key(r, n->writer);
    n->verified = (enum verify_level)col_below(r, LEVELS + 1);
    n->verified_ns = col_int(r);
    struct row levels = {.array = col(r)};
    for (int i = 1; i <= LEVELS; i++) n->level_ns[i] = col_int(&levels);
    r->bad |= levels.bad;
    n->verify_failed = col_bool(r);
    n->restore_ns = col_int(r);
    n->restored_ns = col_int(r);
    n->restore_took_ns = col_int(r);
    n->holds = (unsigned)col_below(r, size);
    n->forgotten_seq = col_below(r, size);
    n->forgotten = n->forgotten_seq > 0;
    n->packs_seq = col_below(r, size);
    if (!plain) load_source(r, n);
    return plain ? 0 : load_fallback(r, n, err);
}

static int load_snapshots(struct state *s, const json_t *list, uint64_t size, bool plain, const int64_t *stored_ns,
                          struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        int rc = mem_grow((void **)&s->snapshots, &s->snapshot_cap, i + 1, sizeof *s->snapshots, err);
        if (rc < 0) return rc;
        struct snapshot_info *n = &s->snapshots[s->snapshot_count++];
        *n = (struct snapshot_info){0};
        if ((rc = load_snapshot(n, &r, size, plain, err)) < 0) return rc;
        if (r.bad || (i > 0 && n->seq <= n[-1].seq)) return malformed(err, "snapshot");
        n->stored_ns = stored_ns && stored_ns[n->seq] ? stored_ns[n->seq] : n->claimed_ns;
    }
    return 0;
}

static int load_before(struct state *s, const json_t *list, struct error *err) {
    const json_t *v;
    size_t i;
    json_array_foreach(list, i, v) {
        struct snapshot_info *n = state_snapshot_at(s, (uint64_t)json_integer_value(v));
        if (!json_is_integer(v) || !n || n->before_restore) return malformed(err, "snapshot before a restore");
        n->before_restore = true;
    }
    return 0;
}

static int load_jobs(struct state *s, const json_t *list, uint64_t size, struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        int rc = mem_grow((void **)&s->jobs, &s->job_cap, i + 1, sizeof *s->jobs, err);
        if (rc < 0) return rc;
        struct job_info *j = &s->jobs[s->job_count++];
        *j = (struct job_info){.seq = col_below(&r, size)};
        col_short_text(&r, j->id, sizeof j->id);
        if ((rc = mem_strdup(col_text(&r), &j->environment, err)) < 0 ||
            (rc = mem_strdup(col_text(&r), &j->surface, err)) < 0)
            return rc;
        j->completed_ns = col_int(&r);
        if (r.bad) return malformed(err, "job");
    }
    return 0;
}

static int load_holds(struct state *s, const json_t *list, uint64_t size, struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        struct hold_info h = {.seq = col_below(&r, size)};
        h.snapshot = col_below(&r, size);
        h.time_ns = col_int(&r);
        col_key(&r, h.signer);
        h.released = col_bool(&r);
        if (r.bad) return malformed(err, "hold");
        int rc = mem_grow((void **)&s->holds, &s->hold_cap, i + 1, sizeof *s->holds, err);
        if (rc < 0) return rc;
        s->holds[s->hold_count++] = h;
    }
    return 0;
}

static int load_deletes(struct state *s, const json_t *list, uint64_t size, struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        struct delete_info d = {.seq = col_below(&r, size)};
        d.has_packs = col_maybe_digest(&r, &d.packs);
        d.has_replacement = col_maybe_digest(&r, &d.replaced_by);
        d.has_swept = col_maybe_digest(&r, &d.swept);
        if (r.bad) return malformed(err, "collection");
        int rc = mem_grow((void **)&s->deletes, &s->delete_cap, i + 1, sizeof *s->deletes, err);
        if (rc < 0) return rc;
        s->deletes[s->delete_count++] = d;
    }
    return 0;
}

static int load_epochs(struct state *s, const json_t *list, uint64_t size, struct error *err) {
    if (json_array_size(list) > EPOCHS_MAX) return malformed(err, "list of epochs");
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        struct epoch_info e = {.seq = col_below(&r, size)};
        col_digest(&r, &e.keys);
        if (r.bad || (i > 0 && e.seq <= s->epochs[i - 1].seq)) return malformed(err, "epoch");
        int rc = mem_grow((void **)&s->epochs, &s->epoch_cap, i + 1, sizeof *s->epochs, err);
        if (rc < 0) return rc;
        s->epochs[s->epoch_count++] = e;
    }
    return 0;
}

static int load_copies(struct state *s, const json_t *list, uint64_t size, struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        int rc = mem_grow((void **)&s->copies, &s->copy_cap, i + 1, sizeof *s->copies, err);
        if (rc < 0) return rc;
        struct copy_info *c = &s->copies[s->copy_count++];
        *c = (struct copy_info){0};
        col_repository(&r, c->repository);
        col_short_text(&r, c->label, sizeof c->label);
        c->seq = col_below(&r, size);
        c->newest = col_below(&r, size);
        const json_t *missing = col(&r);
        void *mem;
        if ((rc = mem_alloc((json_array_size(missing) + 1) * sizeof *c->missing, &mem, err)) < 0) return rc;
        c->missing = mem;
        struct row m = {.array = missing};
        while (m.at < json_array_size(missing)) c->missing[c->missing_count++] = col_below(&m, size);
        c->time_ns = col_int(&r);
        c->first_ns = col_int(&r);
        c->reread_ns = col_int(&r);
        c->reread_failed = col_bool(&r);
        c->wal_newest = col_below(&r, size);
        c->wal_missing = col_below(&r, INT64_MAX);
        if (r.bad || m.bad) return malformed(err, "copy");
    }
    return 0;
}

static int load_wal(struct state *s, const json_t *list, uint64_t size, struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        int rc = mem_grow((void **)&s->wal, &s->wal_cap, i + 1, sizeof *s->wal, err);
        if (rc < 0) return rc;
        struct wal_batch *b = &s->wal[s->wal_count++];
        *b = (struct wal_batch){.seq = col_below(&r, size)};
        if ((rc = mem_strdup(col_text(&r), &b->environment, err)) < 0 ||
            (rc = mem_strdup(col_text(&r), &b->surface, err)) < 0)
            return rc;
        r.bad |= !wal_system_parse(col_text(&r), &b->system);
        b->objects = col_below(&r, WAL_ROWS_MAX + 1);
        b->time_ns = col_int(&r);
        b->mended = col_bool(&r);
        if (r.bad) return malformed(err, "batch of WAL");
    }
    return 0;
}

static int load_wal_first(struct state *s, const json_t *list, struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        int rc = mem_grow((void **)&s->wal_first, &s->wal_first_cap, i + 1, sizeof *s->wal_first, err);
        if (rc < 0) return rc;
        struct wal_first *f = &s->wal_first[s->wal_first_count++];
        *f = (struct wal_first){0};
        r.bad |= !wal_system_parse(col_text(&r), &f->system);
        const char *name = col_text(&r);
        r.bad |= !wal_first_valid(name);
        for (size_t k = 0; k < i && !r.bad; k++)
            r.bad = s->wal_first[k].system == f->system && strncmp(s->wal_first[k].name, name, 8) == 0;
        if (r.bad) return malformed(err, "removal of WAL");
        memcpy(f->name, name, sizeof f->name);
    }
    return 0;
}

static int load_wal_acks(struct state *s, const json_t *list, uint64_t size, struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        int rc = mem_grow((void **)&s->wal_acks, &s->wal_ack_cap, i + 1, sizeof *s->wal_acks, err);
        if (rc < 0) return rc;
        struct wal_ack *a = &s->wal_acks[s->wal_ack_count++];
        *a = (struct wal_ack){.seq = col_below(&r, size)};
        r.bad |= !wal_system_parse(col_text(&r), &a->system);
        a->timeline = (uint32_t)col_below(&r, UINT64_C(1) << 32);
        r.bad |= !wal_place_parse(col_text(&r), &a->from);
        r.bad |= !wal_place_parse(col_text(&r), &a->to);
        a->time_ns = col_int(&r);
        if ((rc = mem_strdup(col_text(&r), &a->reason, err)) < 0) return rc;
        if (r.bad) return malformed(err, "acknowledgement of a gap");
    }
    return 0;
}

static int load_sets(struct state *s, const json_t *list, uint64_t size, struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct row r = {.array = json_array_get(list, i)};
        int rc = mem_grow((void **)&s->sets, &s->set_cap, i + 1, sizeof *s->sets, err);
        if (rc < 0) return rc;
        struct set_info *n = &s->sets[s->set_count++];
        *n = (struct set_info){.seq = col_below(&r, size)};
        col_digest(&r, &n->entry);
        col_short_text(&r, n->id, sizeof n->id);
        if ((rc = mem_strdup(col_text(&r), &n->environment, err)) < 0 ||
            (rc = mem_strdup(col_text(&r), &n->name, err)) < 0)
            return rc;
        n->started_ns = col_int(&r);
        n->completed_ns = col_int(&r);
        n->claimed_ns = col_int(&r);
        col_short_text(&r, n->consistency, sizeof n->consistency);
        n->complete = col_bool(&r);
        const json_t *members = col(&r);
        if (json_array_size(members) > SET_MEMBERS_MAX) return malformed(err, "set");
        void *mem;
        if ((rc = mem_alloc((json_array_size(members) + 1) * sizeof *n->members, &mem, err)) < 0) return rc;
        n->members = mem;
        struct row m = {.array = members};
        while (m.at < json_array_size(members)) n->members[n->member_count++] = col_below(&m, n->seq);
        n->missing = (unsigned)col_below(&r, SET_MEMBERS_MAX + 1);
        n->restored_ns = col_int(&r);
        n->restore_took_ns = col_int(&r);
        if (r.bad || m.bad) return malformed(err, "set");
    }
    return 0;
}

static int load_runs(struct state *s, const json_t *list, struct error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        int rc = mem_grow((void **)&s->runs, &s->run_cap, i + 1, sizeof *s->runs, err);
        if (rc < 0) return rc;
        if (!json_get_digest(json_array_get(list, i), &s->runs[i])) return malformed(err, "index run");
        s->run_count++;
    }
    return 0;
}

static int load_void(struct state *s, const json_t *row, uint64_t size, struct error *err) {
    struct row r = {.array = row};
    s->void_count = (size_t)col_below(&r, size);
    s->void_seq = col_below(&r, size);
    if (r.bad || (s->read_void && !s->void_count)) return malformed(err, "count of void entries");
    if (s->void_count)
        snprintf(s->void_text, sizeof s->void_text, "log entry %llu says what its signer may not say",
                 (unsigned long long)s->void_seq);
    return 0;
}

static int load_drill(struct state *s, const json_t *row, uint64_t size, struct error *err) {
    struct row r = {.array = row};
    if (json_is_null(row)) return 0;
    s->drill.seq = col_below(&r, size);
    s->drill.time_ns = col_int(&r);
    r.bad |= !key_role_parse(col_text(&r), &s->drill.role);
    col_key(&r, s->drill.signer);
    return r.bad || !s->drill.seq ? malformed(err, "drill") : 0;
}

static int load(struct state *s, const json_t *doc, uint64_t size, const int64_t *stored_ns, struct error *err) {
    json_t *keys, *snapshots, *jobs, *holds, *deletes, *epochs = NULL, *copies = NULL, *wal = NULL, *runs, *voids;
    json_t *gone = NULL, *acks = NULL, *sets = NULL, *before = NULL;
    const char *what = "summed-up state";
    int64_t version;
    int rc;
    if ((rc = json_need_int(doc, "version", what, &version, err)) < 0) return rc;
    const bool plain = version == STATE_VERSION_PLAIN;
    s->read_void = version == STATE_VERSION_READ;
    const bool befores = version == STATE_VERSION_BEFORE;
    if (version != STATE_VERSION && !plain && !s->read_void && !befores)
        return error_set(err, ERR_LEDGER_BROKEN, "the summed-up state is of version %lld, which is unknown here",
                         (long long)version);
    if ((rc = json_need_array(doc, "keys", what, &keys, err)) < 0 ||
        (rc = json_need_array(doc, "snapshots", what, &snapshots, err)) < 0 ||
        (rc = json_need_array(doc, "jobs", what, &jobs, err)) < 0 ||
        (rc = json_need_array(doc, "holds", what, &holds, err)) < 0 ||
        (rc = json_need_array(doc, "deletes", what, &deletes, err)) < 0 ||
        (!plain && (rc = json_need_array(doc, "epochs", what, &epochs, err)) < 0) ||
        (!plain && (rc = json_need_array(doc, "copies", what, &copies, err)) < 0) ||
        (!plain && (rc = json_need_array(doc, "wal", what, &wal, err)) < 0) ||
        (!plain && (rc = json_need_array(doc, "wal_first", what, &gone, err)) < 0) ||
        (!plain && (rc = json_need_array(doc, "wal_gaps", what, &acks, err)) < 0) ||
        (!plain && (rc = json_need_array(doc, "sets", what, &sets, err)) < 0) ||
        (befores && (rc = json_need_array(doc, "before_restore", what, &before, err)) < 0) ||
        (rc = json_need_array(doc, "runs", what, &runs, err)) < 0 ||
        (rc = json_need_array(doc, "void", what, &voids, err)) < 0)
        return rc;
    if (!json_get_digest(json_object_get(doc, "format"), &s->format)) return malformed(err, "digest of 'format'");
    if ((rc = load_keys(s, keys, size, plain, err)) < 0 ||
        (rc = load_snapshots(s, snapshots, size, plain, stored_ns, err)) < 0 ||
        (rc = load_before(s, before, err)) < 0 || (rc = load_jobs(s, jobs, size, err)) < 0 ||
        (rc = load_holds(s, holds, size, err)) < 0 || (rc = load_deletes(s, deletes, size, err)) < 0 ||
        (rc = load_epochs(s, epochs, size, err)) < 0 || (rc = load_copies(s, copies, size, err)) < 0 ||
        (rc = load_wal(s, wal, size, err)) < 0 || (rc = load_wal_first(s, gone, err)) < 0 ||
        (rc = load_wal_acks(s, acks, size, err)) < 0 || (rc = load_sets(s, sets, size, err)) < 0 ||
        (rc = load_runs(s, runs, err)) < 0 || (rc = load_drill(s, json_object_get(doc, "drill"), size, err)) < 0 ||
        (rc = load_void(s, voids, size, err)) < 0)
        return rc;
    s->initialised = true;
    return 0;
}

int state_read(const json_t *doc, uint64_t size, const int64_t *stored_ns, const uint8_t admin[SIGN_PUBLIC_BYTES],
               struct state *ret, struct error *err) {
    struct state s = {0};
    struct error e = ERROR_INIT;
    json_t *again = NULL;
    int rc = load(&s, doc, size, stored_ns, &e);
    if (rc == 0 && (s.key_count == 0 || s.keys[0].role != ROLE_ADMIN || s.keys[0].seq != 0 ||
                    memcmp(s.keys[0].public_key, admin, SIGN_PUBLIC_BYTES) != 0))
        rc = error_set(&e, ERR_LEDGER_BROKEN, "the summed-up state does not begin with this repository's admin key");
    /* nothing may stand there that this version would not write itself */
    if (rc == 0) rc = state_write(&s, &again, &e);
    if (rc == 0 && !json_equal(again, doc))
        rc = error_set(&e, ERR_LEDGER_BROKEN, "the summed-up state is not in its canonical form");
    json_decref(again);
    if (rc == 0) {
        *ret = s;
        return 0;
    }
    state_free(&s);
    return error_set(err, error_info(e.code)->status == EXIT_INTEGRITY ? ERR_LEDGER_BROKEN : e.code, "%s", e.text);
}
