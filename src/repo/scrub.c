#include "repo/scrub.h"

#include "ledger/derived.h"
#include "repo/checked.h"
#include "repo/maintain_internal.h"
#include "repo/run.h"
#include "repo/state_summary.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY_MAX 96

enum class { CLASS_DATA, CLASS_META, CLASS_INDEX, CLASS_SLOT, CLASSES };
static const char *const folders[CLASSES] = {"packs/d/", "packs/m/", "index/", "keys/"};

struct object {
    struct digest name;
    uint64_t bytes;
    int64_t seen_ns; /* whole then; 0: not known */
    uint8_t class;
    bool done, bad;
};
struct scrub {
    struct store *store;
    const struct scrub_options *o;
    struct repo bare; /* folds the log; has no key but the admin's public one */
    struct keyring keys;
    struct summaries_check derived;
    struct object *objects;
    size_t n, cap;
    pthread_mutex_t lock; /* what follows */
    struct scrub_totals totals;
    struct digest *gone; /* listed, and not there when read */
    size_t gone_n, gone_cap;
    uint64_t total;
    struct error failed;
};
struct task {
    struct scrub *s;
    struct object *object;
};

static void object_key(const struct object *o, char out[KEY_MAX]) {
    char hex[65];
    hex_encode(o->name.b, DIGEST_BYTES, hex);
    if (o->class == CLASS_DATA || o->class == CLASS_META)
        pack_key(o->class == CLASS_META, &o->name, out);
    else
        snprintf(out, KEY_MAX, "%s%s", folders[o->class], hex);
}

static int say(struct scrub *s, const char *object, enum check_result r, const char *text, struct error *err) {
    s->totals.findings++;
    return s->o->finding ? s->o->finding(s->o->ctx, object, r, text, err) : 0;
}

static enum check_result result_of(int rc) {
    return rc == -ERR_OBJECT_MISSING                  ? CHECK_MISSING
           : error_info(rc)->status == EXIT_INTEGRITY ? CHECK_CORRUPT
                                                      : CHECK_UNREADABLE;
}

static int derived_say(void *ctx, const char *object, int code, const char *text, struct error *err) {
    return say(ctx, object, result_of(code), text, err);
}

/* ---- the log ---- */

static int judge(void *ctx, const struct ledger_entry *e, struct error *err) {
    struct scrub *s = ctx;
    if (e->seq == 0) {
        memcpy(s->keys.admin_public, e->signer, SIGN_PUBLIC_BYTES);
        hex_encode(e->signer, SIGN_PUBLIC_BYTES, s->totals.admin);
    }
    s->totals.entries++;
    s->totals.objects++;
    return summaries_judge(&s->derived, e, err);
}

/* The repository's id as entry 0 says it, or as 'format' does: what they say is held against each other later. */
static int id_find(struct scrub *s, struct error *err) {
    CLEANUP(buf_free) struct buf entry = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    CLEANUP(buf_free) struct buf payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES);
    CLEANUP(buf_free) struct buf format = BUF_INIT(64 << 10);
    json_auto_t *statement = NULL;
    json_auto_t *doc = NULL;
    struct error e = ERROR_INIT, first;
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    const char *id = NULL;
    int rc = store_read_all(s->store, "log/0000000000000000", LEDGER_ENTRY_MAX_BYTES, &entry, &e);
    if (rc == 0) rc = dsse_decode(buf_bytes(&entry), &payload, pub, sig, &e);
    if (rc == 0) rc = json_parse(buf_bytes(&payload), LEDGER_ENTRY_MAX_BYTES, "statement", &statement, &e);
    if (rc == 0) id = json_string_value(json_object_get(json_object_get(statement, "predicate"), "repository"));
    if (rc < 0 && error_info(rc)->status != EXIT_INTEGRITY && e.code != ERR_JSON) {
        *err = e;
        return rc;
    }
    first = e;
    error_clear(&e);
    if (!id && store_read_all(s->store, "format", 64 << 10, &format, &e) == 0 &&
        json_parse(buf_bytes(&format), 64 << 10, "format", &doc, &e) == 0)
        id = json_string_value(json_object_get(doc, "id"));
    if (!id && first.code == ERR_OBJECT_MISSING && e.code == ERR_OBJECT_MISSING)
        return error_set(err, ERR_REPO_NONE, "there is neither a first log entry nor an object 'format' there");
    if (id && hex_decode(id, strlen(id), s->bare.id, sizeof s->bare.id))
        hex_encode(s->bare.id, sizeof s->bare.id, s->bare.id_hex);
    snprintf(s->totals.repository, sizeof s->totals.repository, "%s", s->bare.id_hex);
    return 0;
}

static int format_check(struct scrub *s, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(64 << 10);
    struct error e = ERROR_INIT;
    struct digest d;
    int rc = store_read_all(s->store, "format", b.max_bytes, &b, &e);
    s->totals.objects++;
    sha256(buf_bytes(&b), &d);
    if (rc == 0 && s->derived.fold.state.initialised && !digest_equal(&d, &s->derived.fold.state.format))
        rc = error_set(&e, ERR_OBJECT_CORRUPT, "it is not the one that the log's first entry names");
    return rc < 0 ? say(s, "format", result_of(rc), e.text, err) : 0;
}

static int log_check(struct scrub *s, struct error *err) {
    char origin[64];
    struct error e = ERROR_INIT;
    repo_origin(&s->bare, origin);
    int rc = ledger_open(s->store, origin, NULL, judge, s, &s->bare.ledger, err);
    if (rc == 0) rc = summaries_check_begin(&s->bare, &s->derived, err);
    if (rc < 0) return rc;
    rc = ledger_sync(s->bare.ledger, &e);
    if (rc < 0 && error_info(rc)->status != EXIT_INTEGRITY) {
        *err = e;
        return rc;
    }
    if (rc < 0) return say(s, "log/", CHECK_CORRUPT, e.text, err);
    s->totals.void_entries = s->derived.fold.state.void_count;
    if ((rc = derived_check(s->bare.ledger, &s->totals.objects, derived_say, s, err)) < 0) return rc;
    return summaries_check_summaries(&s->derived, s->bare.ledger, &s->totals.objects, derived_say, s, err);
}

/* ---- objects whose names are digests ---- */

static int object_see(void *ctx, const struct store_object *o, struct error *err) {
    struct scrub *s = ctx;
    struct object n = {.bytes = o->bytes};
    const char *name = strrchr(o->key, '/');
    char again[KEY_MAX];
    if (!name || !hex_decode(name + 1, strlen(name + 1), n.name.b, DIGEST_BYTES)) return 0;
    while (n.class < CLASSES && strncmp(o->key, folders[n.class], strlen(folders[n.class])) != 0) n.class ++;
    if (n.class == CLASSES) return 0;
    object_key(&n, again);
    if (strcmp(again, o->key) != 0) return 0; /* a name that is none: nobody looks there */
    int rc = mem_grow((void **)&s->objects, &s->cap, s->n + 1, sizeof *s->objects, err);
    if (rc == 0) s->objects[s->n++] = n;
    return rc;
}

static void object_check(void *arg) {
    struct task *t = arg;
    struct scrub *s = t->s;
    struct object *o = t->object;
    struct error e = ERROR_INIT, lost = ERROR_INIT;
    char key[KEY_MAX];
    object_key(o, key);
    int rc = object_check_name(s->store, key, o->bytes, &o->name, &e);
    pthread_mutex_lock(&s->lock);
    if (rc == -ERR_S3_ARCHIVED && o->class <= CLASS_META) {
        s->totals.packs_archived++;
        s->totals.bytes_archived += o->bytes;
        pthread_mutex_unlock(&s->lock);
        seam_free(t);
        return;
    }
    o->done = true;
    o->bad = rc < 0;
    s->totals.objects++;
    s->totals.bytes += o->bytes;
    if (rc == -ERR_OBJECT_MISSING) {
        if (mem_grow((void **)&s->gone, &s->gone_cap, s->gone_n + 1, sizeof *s->gone, &lost) == 0)
            s->gone[s->gone_n++] = o->name;
    } else if (rc < 0)
        rc = say(s, key, result_of(rc), e.text, &lost);
    if (lost.code && !s->failed.code) s->failed = lost;
    if (s->o->progress) s->o->progress(s->o->ctx, s->totals.bytes, s->total);
    pthread_mutex_unlock(&s->lock);
    seam_free(t);
}

static int oldest_first(const void *a, const void *b) {
    const struct object *x = a, *y = b;
    bool p = x->class <= CLASS_META, q = y->class <= CLASS_META;
    if (p != q) return p - q; /* what is small and matters to all comes first, whatever the budget */
    if (x->seen_ns != y->seen_ns) return x->seen_ns < y->seen_ns ? -1 : 1;
    return memcmp(x->name.b, y->name.b, DIGEST_BYTES);
}

static int objects_check(struct scrub *s, const struct checked *memory, struct error *err) {
    struct pool *pool = NULL;
    int64_t begun = time_monotonic_ns();
    uint64_t taken = 0;
    int rc = 0;
    for (int c = 0; c < CLASSES && rc == 0; c++) rc = store_list(s->store, folders[c], object_see, s, err);
    for (size_t i = 0; i < s->n && rc == 0; i++) {
        const struct checked_row *r = checked_find(memory, &s->objects[i].name);
        for (int l = 0; r && l < CHECKED_LEVELS; l++)
            if (r->at_ns[l] > s->objects[i].seen_ns) s->objects[i].seen_ns = r->at_ns[l];
        s->total += s->objects[i].bytes;
        if (s->objects[i].class > CLASS_META) continue;
        s->totals.packs++;
        s->totals.pack_bytes += s->objects[i].bytes;
    }
    if (rc == 0 && s->n) qsort(s->objects, s->n, sizeof *s->objects, oldest_first);
    if (rc == 0) rc = pool_new(s->o->threads ? s->o->threads : thread_cpus(), 2, &pool, err);
    for (size_t i = 0; i < s->n && rc == 0; i++) {
        struct object *o = &s->objects[i];
        void *mem;
        if (o->class <= CLASS_META) {
            bool spent = (s->o->budget_ns && time_monotonic_ns() - begun >= s->o->budget_ns) ||
                         (s->o->budget_bytes && taken >= s->o->budget_bytes);
            /* however small the budget, every run comes a pack further */
            if (spent && taken) break;
            taken += o->bytes;
        }
        if ((rc = stop_check(err)) < 0 || (rc = mem_alloc(sizeof(struct task), &mem, err)) < 0) break;
        struct task *t = mem;
        *t = (struct task){s, o};
        pool_submit(pool, object_check, t);
    }
    if (pool) pool_drain(pool);
    pool_free(pool);
    if (rc == 0 && s->failed.code) {
        *err = s->failed;
        rc = -(int)err->code;
    }
    return rc;
}

/* ---- write-ahead log: names that the log has, with their digests ---- */

static int wal_row_check(struct scrub *s, const struct wal_batch *b, const struct wal_row *row, struct error *err) {
    struct error e = ERROR_INIT;
    char text[700], harm[WAL_HARM_BYTES];
    int rc = object_check_name(s->store, row->key, row->object_bytes, &row->digest, &e);
    s->totals.objects++;
    s->totals.bytes += row->object_bytes;
    /* a piece goes once its segment is whole, and anything once no base needs it */
    if (rc == 0 || (rc == -ERR_OBJECT_MISSING &&
                    (state_wal_gone(&s->derived.fold.state, row->key) || wal_piece_gave_way(s->store, row->key))))
        return 0;
    state_wal_harm(s->store, &s->derived.fold.state, b->environment, b->surface, row->key, b->time_ns, harm);
    snprintf(text, sizeof text, "%.400s%s%s",
             rc == -ERR_OBJECT_MISSING ? "the log names it, and it is not there" : e.text, *harm ? "; " : "", harm);
    return say(s, row->key, result_of(rc), text, err);
}

/* With a budget, as many batches as it still has room for, from another one every time: when they were checked nobody
 * remembers. */
static int wal_check(struct scrub *s, int64_t begun_ns, struct error *err) {
    const struct state *st = &s->derived.fold.state;
    bool limited = s->o->budget_ns || s->o->budget_bytes;
    uint64_t taken = 0;
    uint32_t start = 0;
    struct wal_mended *mended = NULL;
    size_t mended_n = 0;
    int rc = limited && st->wal_count ? random_bytes(&start, sizeof start, err) : 0;
    if (rc == 0) rc = state_wal_mended(&s->bare, st, &mended, &mended_n, err);
    for (size_t i = 0; i < st->wal_count && rc == 0; i++) {
        struct wal_row *rows = NULL;
        size_t n = 0;
        const struct wal_batch *b = &st->wal[(start + i) % st->wal_count];
        if ((s->o->budget_ns && time_monotonic_ns() - begun_ns >= s->o->budget_ns) ||
            (s->o->budget_bytes && taken >= s->o->budget_bytes)) {
            s->totals.wal_left += b->objects;
            continue;
        }
        rc = wal_log_rows(&s->bare, b, &rows, &n, err);
        for (size_t k = 0; k < n && rc == 0; k++) {
            if (!wal_row_counts(mended, mended_n, rows[k].key, b->seq)) continue;
            rc = wal_row_check(s, b, &rows[k], err);
            taken += rows[k].object_bytes;
            if (rc == 0) rc = stop_check(err);
        }
        seam_free(rows);
    }
    seam_free(mended);
    return rc;
}

/* ---- what the log names ---- */

struct look_again {
    uint64_t deletes;
    struct keyring *keys;
    struct repo fold;
};

static int judge_again(void *ctx, const struct ledger_entry *e, struct error *err) {
    struct look_again *a = ctx;
    if (e->seq == 0) memcpy(a->keys->admin_public, e->signer, SIGN_PUBLIC_BYTES);
    return state_judge(&a->fold, e, err);
}

static int named_list(const struct state *st, struct digests *want, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < st->run_count && rc == 0; i++) rc = digests_add(want, &st->runs[i], err);
    for (size_t i = 0; i < st->snapshot_count && rc == 0; i++)
        if (!st->snapshots[i].forgotten) rc = digests_add(want, &st->snapshots[i].packs, err);
    for (size_t i = 0; i < st->delete_count && rc == 0; i++) {
        const struct delete_info *d = &st->deletes[i];
        if (d->has_packs) rc = digests_add(want, &d->packs, err);
        if (rc == 0 && d->has_replacement) rc = digests_add(want, &d->replaced_by, err);
        if (rc == 0 && d->has_swept) rc = digests_add(want, &d->swept, err);
    }
    if (rc == 0) want->n = digest_sort_unique(want->d, want->n);
    return rc;
}

/* Names by the log as it is now, as collections may have come in between; and whether any has. */
static int named_now(struct scrub *s, struct digests *want, bool *ret_collected, struct error *err) {
    struct keyring keys = {0};
    struct look_again a = {.keys = &keys, .fold = {.keys = &keys, .store = s->store}};
    struct ledger *l = NULL;
    char origin[64];
    memcpy(a.fold.id_hex, s->bare.id_hex, sizeof a.fold.id_hex);
    repo_origin(&s->bare, origin);
    int rc = ledger_open(s->store, origin, NULL, judge_again, &a, &l, err);
    if (rc == 0) rc = ledger_sync(l, err);
    if (rc == 0) rc = named_list(&a.fold.state, want, err);
    *ret_collected = a.fold.state.delete_count > s->derived.fold.state.delete_count;
    ledger_close(l);
    state_free(&a.fold.state);
    return rc;
}

static int name_order(const void *a, const void *b) {
    return memcmp(a, b, DIGEST_BYTES);
}

static int missing_check(struct scrub *s, struct error *err) {
    struct digests want = {0}, now = {0}, have = {0};
    bool collected = false;
    int rc = named_list(&s->derived.fold.state, &want, err);
    for (size_t i = 0; i < s->n && rc == 0; i++)
        if (s->objects[i].class == CLASS_INDEX) rc = digests_add(&have, &s->objects[i].name, err);
    if (rc == 0 && have.n) qsort(have.d, have.n, sizeof *have.d, name_order);
    bool asked = false;
    for (size_t i = 0; i < want.n && rc == 0; i++) {
        if (digest_in(have.d, have.n, &want.d[i])) continue;
        if (!asked) rc = named_now(s, &now, &collected, err);
        asked = true;
        if (rc < 0 || !digest_in(now.d, now.n, &want.d[i])) continue;
        char key[KEY_MAX];
        uint64_t bytes;
        struct error e = ERROR_INIT;
        run_key(&want.d[i], key);
        int there = store_stat(s->store, key, &bytes, NULL, &e);
        if (there < 0) rc = say(s, key, result_of(there), "the log names it, and it is not there", err);
    }
    if (rc == 0 && s->gone_n && !asked) rc = named_now(s, &now, &collected, err);
    for (size_t i = 0; i < s->n && rc == 0 && s->gone_n; i++) {
        const struct object *o = &s->objects[i];
        bool lost = false;
        for (size_t k = 0; k < s->gone_n; k++) lost |= digest_equal(&s->gone[k], &o->name);
        /* which pack a collection took cannot be seen without a key; that there was one can */
        if (!lost || !o->bad || (collected && o->class <= CLASS_META)) continue;
        if (o->class == CLASS_INDEX && !digest_in(now.d, now.n, &o->name)) continue;
        char key[KEY_MAX];
        object_key(o, key);
        rc = say(s, key, CHECK_MISSING, "it was listed, and is not there", err);
    }
    digests_free(&want);
    digests_free(&now);
    digests_free(&have);
    return rc;
}

/* ---- the whole ---- */

static int remember(struct scrub *s, const struct checked *before, const char *path, int64_t now_ns,
                    struct error *err) {
    struct checked c = {0};
    int rc = 0;
    /* what is not listed any more is forgotten */
    for (size_t i = 0; i < s->n && rc == 0; i++) {
        const struct object *o = &s->objects[i];
        const struct checked_row *old = checked_find(before, &o->name);
        if (o->class > CLASS_META) continue;
        struct checked_row r = old ? *old : (struct checked_row){.name = o->name};
        if (o->done) r.at_ns[CHECKED_CHECKSUM] = o->bad ? 0 : now_ns;
        if (o->bad) r.at_ns[CHECKED_DECODE] = 0;
        rc = checked_add(&c, &r, err);
    }
    if (rc == 0) {
        checked_sort(&c);
        rc = checked_store(path, &c, err);
    }
    checked_free(&c);
    return rc;
}

static void tell(struct scrub *s, int64_t now_ns) {
    bool never = s->totals.packs == 0;
    int64_t oldest = now_ns;
    for (size_t i = 0; i < s->n; i++) {
        const struct object *o = &s->objects[i];
        if (o->class > CLASS_META) continue;
        int64_t at = o->done ? (o->bad ? 0 : now_ns) : o->seen_ns;
        never |= at == 0;
        if (at < oldest) oldest = at;
        if (o->done) continue;
        s->totals.packs_left++;
        s->totals.bytes_left += o->bytes;
    }
    s->totals.oldest_ns = never ? 0 : oldest;
}

int repo_scrub(struct store *store, const struct scrub_options *o, struct scrub_totals *ret, struct error *err) {
    struct scrub s = {.store = store, .o = o, .bare = {.store = store}};
    struct checked memory = {0};
    char path[4200] = "";
    int64_t now_ns = time_now_ns(), begun_ns = time_monotonic_ns();
    *ret = (struct scrub_totals){0};
    s.bare.keys = &s.keys;
    pthread_mutex_init(&s.lock, NULL);
    int rc = id_find(&s, err);
    if (rc == 0) rc = log_check(&s, err);
    if (rc == 0) rc = format_check(&s, err);
    if (rc == 0 && o->cache_dir && *s.bare.id_hex) {
        snprintf(path, sizeof path, "%s/%s", o->cache_dir, s.bare.id_hex);
        rc = io_mkdirs(path, 0700, err);
        snprintf(path, sizeof path, "%s/%s/checked", o->cache_dir, s.bare.id_hex);
        if (rc == 0) rc = checked_load(path, &memory, err);
    }
    if (rc == 0) rc = objects_check(&s, &memory, err);
    if (rc == 0 && ledger_size(s.bare.ledger) && s.derived.fold.state.initialised) rc = missing_check(&s, err);
    if (rc == 0) rc = wal_check(&s, begun_ns, err);
    if (rc == 0 && *path) rc = remember(&s, &memory, path, now_ns, err);
    if (rc == 0) tell(&s, now_ns);
    if (rc == 0) {
        s.totals.result = s.totals.findings                          ? CHECK_CORRUPT
                          : s.totals.packs_left || s.totals.wal_left ? CHECK_NOT_CHECKED
                                                                     : CHECK_VERIFIED;
        *ret = s.totals;
    }
    ledger_close(s.bare.ledger);
    summaries_check_free(&s.derived);
    checked_free(&memory);
    seam_free(s.objects);
    seam_free(s.gone);
    pthread_mutex_destroy(&s.lock);
    return rc < 0 ? error_wrap(err, "scrubbing the store") : 0;
}
