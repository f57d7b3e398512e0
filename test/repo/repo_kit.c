#include "repo_kit.h"

#include "base/time.h"
#include "repo/repo_internal.h"

#include <stdatomic.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void kit_ok_at(int rc, const struct error *err, const char *file, int line) {
    if (rc >= 0) return;
    print_error("%s:%d: %s %s\n", file, line, error_info(rc)->code, err->text);
    fail();
}

static void open_all(struct kit *k) {
    struct error err = ERROR_INIT;
    kit_ok(store_local_open(k->repo_dir, false, &k->store, &err), &err);
    kit_ok(repo_open(k->store, &k->unlock, k->cache_dir, &k->repo, &err), &err);
}

static void name_all(struct kit *k, const char *dir) {
    struct error err = ERROR_INIT;
    snprintf(k->dir, sizeof k->dir, "%s", dir);
    snprintf(k->repo_dir, sizeof k->repo_dir, "%s/repo", k->dir);
    snprintf(k->cache_dir, sizeof k->cache_dir, "%s/cache", k->dir);
    kit_ok(crypto_init(&err), &err);
    for (int i = 0; i < 32; i++) k->key[i] = (uint8_t)i;
    k->unlock = (struct unlock){.kind = SLOT_KEY_FILE, .secret = BYTES_OF(k->key, 32)};
}

int kit_open_try(struct kit *k, const char *dir, struct error *err) {
    memset(k, 0, sizeof *k);
    name_all(k, dir);
    int rc = store_local_open(k->repo_dir, false, &k->store, err);
    if (rc == 0) rc = repo_open(k->store, &k->unlock, k->cache_dir, &k->repo, err);
    if (rc < 0) kit_close(k);
    return rc;
}

void kit_close(struct kit *k) {
    repo_close(k->repo);
    store_close(k->store);
    k->repo = NULL;
    k->store = NULL;
}

void kit_begin(struct kit *k) {
    kit_begin_packs(k, 1 << 20);
}

void kit_begin_packs(struct kit *k, uint32_t data_pack_bytes) {
    struct error err = ERROR_INIT;
    char dir[64];
    memset(k, 0, sizeof *k);
    snprintf(dir, sizeof dir, "%s/pk-kit-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
    name_all(k, dir);
    struct keyring *keys = NULL;
    struct repo_params p = {.data_pack_bytes = data_pack_bytes, .meta_pack_bytes = 1 << 20};
    kit_ok(store_local_open(k->repo_dir, true, &k->store, &err), &err);
    kit_ok(repo_create(k->store, &p, &k->unlock, "test", &keys, &err), &err);
    keyring_free(keys);
    store_close(k->store);
    open_all(k);
}

void kit_reopen(struct kit *k, bool fresh_cache) {
    struct error err = ERROR_INIT;
    kit_close(k);
    if (fresh_cache) kit_ok(io_remove_tree(AT_FDCWD, k->cache_dir, &err), &err);
    open_all(k);
}

void kit_end(struct kit *k) {
    struct error err = ERROR_INIT;
    kit_close(k);
    kit_ok(io_remove_tree(AT_FDCWD, k->dir, &err), &err);
}

int kit_receipt(struct writer *w, const char *surface, json_t **ret, struct error *err) {
    static atomic_uint counter;
    json_t *repo = NULL, *s;
    struct digest d;
    uint64_t bytes;
    char uri[128], hex[65], id[64], now[32];
    int rc = writer_describe(w, &repo, err);
    if (rc < 0) return rc;
    json_object_set_new(repo, "kind", json_string("test"));
    json_object_set_new(repo, "complete", json_true());
    writer_artifact(w, &d, &bytes, uri);
    hex_encode(d.b, 32, hex);
    time_format(time_now_ns(), now);
    snprintf(id, sizeof id, "bkp-test-%u-%d", ++counter, (int)getpid());
    s = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:o}}", "_type", STATEMENT_TYPE,
                  "subject", "name", uri, "digest", "sha256", hex, "predicateType", PREDICATE_RECEIPT, "predicate",
                  "backup_id", id, "environment", "dev", "surface", surface, "started_at", now, "completed_at", now,
                  "status", "success", "repository", repo);
    if (!s) return error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    *ret = s;
    return 0;
}

struct receipt_ctx {
    struct writer *w;
    const char *surface;
};

static int build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct receipt_ctx *c = ctx;
    (void)seq;
    return kit_receipt(c->w, c->surface, ret, err);
}

int kit_commit(struct writer *w, const char *surface, uint64_t *ret_seq, struct error *err) {
    struct receipt_ctx c = {w, surface};
    return writer_commit(w, build, &c, ret_seq, NULL, err);
}

/* What a writer says of an item's content. */
static void digest_of(const struct kit_item *it, struct digest *ret) {
    struct error err = ERROR_INIT;
    struct sha256_state *all = NULL;
    if (it->kind != CONTENT_PARTS) {
        sha256(BYTES_OF(it->data, it->len), ret);
        return;
    }
    kit_ok(sha256_new(&all, &err), &err);
    for (size_t at = 0; at < it->len; at += 131072) {
        struct digest one;
        sha256(BYTES_OF(it->data + at, it->len - at < 131072 ? it->len - at : 131072), &one);
        sha256_update(all, BYTES_OF(one.b, sizeof one.b));
    }
    sha256_finish(all, ret);
    sha256_free(all);
}

int kit_backup_try(struct kit *k, const char *surface, const struct kit_item *items, size_t n, bool keep,
                   struct writer_stats *stats, uint64_t *ret_seq, struct error *err) {
    struct writer_options o = {.environment = "dev",
                               .surface = surface,
                               .threads = k->threads ? k->threads : 3,
                               .narrow = k->narrow,
                               .checkpoint_bytes = k->checkpoint_bytes ? k->checkpoint_bytes : 3u << 20};
    struct writer *w = NULL;
    int rc = writer_open(k->repo, &o, &w, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct bytes name = BYTES_STR(items[i].name), attr = BYTES_STR("attr");
        struct known_item known;
        struct digest sha;
        digest_of(&items[i], &sha);
        const bool found = !k->silent && writer_known(w, name, &known);
        if (found && keep && known.kind == items[i].kind &&
            (known.kind == CONTENT_NONE || digest_equal(&known.sha256, &sha))) {
            rc = writer_keep(w, i, name, attr, err);
            continue;
        }
        struct witem *it;
        if (k->hold && found && known.kind == items[i].kind && items[i].kind != CONTENT_NONE) {
            if ((rc = writer_item_hold(w, i, name, &it, err)) < 0) break;
            if (digest_equal(&known.sha256, &sha)) {
                rc = witem_confirm(it, attr, err);
                continue;
            }
            rc = witem_restart(it, err);
        } else
            rc = writer_item_open(w, i, name, items[i].kind, &it, err);
        if (rc < 0) break;
        for (size_t at = 0; at < items[i].len && rc == 0;) {
            uint8_t *p;
            size_t room;
            if ((rc = witem_space(it, &p, &room, err)) < 0) break;
            size_t part = items[i].len - at < room ? items[i].len - at : room;
            memcpy(p, items[i].data + at, part);
            rc = witem_advance(it, part, err);
            at += part;
        }
        if (rc == 0) {
            struct digest got;
            rc = witem_close(it, attr, &got, err);
            if (rc == 0 && items[i].kind != CONTENT_NONE) assert_true(digest_equal(&got, &sha));
        } else
            witem_drop(it);
    }
    json_t *root = json_pack("{s:s}", "facts", "of a test");
    if (rc == 0) rc = writer_finish(w, root, err);
    json_decref(root);
    if (rc == 0) rc = kit_commit(w, surface, ret_seq, err);
    if (w && stats) writer_stats_get(w, stats);
    writer_free(w);
    return rc;
}

uint64_t kit_backup(struct kit *k, const char *surface, const struct kit_item *items, size_t n, bool keep,
                    struct writer_stats *stats) {
    struct error err = ERROR_INIT;
    uint64_t seq = 0;
    kit_ok(kit_backup_try(k, surface, items, n, keep, stats, &seq, &err), &err);
    return seq;
}

const struct snapshot_info *kit_snapshot(struct kit *k, uint64_t seq) {
    for (size_t i = 0; i < repo_snapshot_count(k->repo); i++)
        if (repo_snapshot(k->repo, i)->seq == seq) return repo_snapshot(k->repo, i);
    return NULL;
}

struct expect {
    struct snapshot *s;
    const struct kit_item *items;
    size_t n, at;
};

static int expect_item(void *ctx, const struct item_head *h, struct error *err) {
    struct expect *e = ctx;
    if (e->at >= e->n) return error_set(err, ERR_RESTORE_DIFFERS, "more items than expected");
    const struct kit_item *want = &e->items[e->at++];
    if (!bytes_equal(h->name, BYTES_STR(want->name)) || h->kind != want->kind)
        return error_set(err, ERR_RESTORE_DIFFERS, "an item differs");
    if (h->kind == CONTENT_NONE) return 0;
    struct ritem *it;
    struct bytes piece;
    size_t at = 0;
    int rc = ritem_open(e->s, h, &it, err);
    if (rc < 0) return rc;
    while ((rc = ritem_next(it, &piece, err)) == 0 && piece.len) {
        if (at + piece.len > want->len || memcmp(want->data + at, piece.ptr, piece.len) != 0)
            rc = error_set(err, ERR_RESTORE_DIFFERS, "content differs");
        if (rc < 0) break;
        at += piece.len;
    }
    ritem_close(it);
    if (rc == 0 && at != want->len) rc = error_set(err, ERR_RESTORE_DIFFERS, "size differs");
    return rc;
}

int kit_expect_try(struct kit *k, uint64_t seq, const struct kit_item *items, size_t n, struct error *err) {
    const struct snapshot_info *info = kit_snapshot(k, seq);
    if (!info) return error_set(err, ERR_NO_POINT, "no snapshot %llu", (unsigned long long)seq);
    struct expect e = {NULL, items, n, 0};
    int rc = snapshot_open(k->repo, info, &e.s, err);
    if (rc < 0) return rc;
    rc = snapshot_walk(e.s, BYTES_OF(NULL, 0), expect_item, &e, err);
    snapshot_close(e.s);
    if (rc == 0 && e.at != n) rc = error_set(err, ERR_RESTORE_DIFFERS, "%zu items instead of %zu", e.at, n);
    return rc;
}

void kit_expect(struct kit *k, uint64_t seq, const struct kit_item *items, size_t n) {
    struct error err = ERROR_INIT;
    kit_ok(kit_expect_try(k, seq, items, n, &err), &err);
}

static uint32_t next(uint32_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return *s;
}

void kit_text(uint8_t *p, size_t n, uint32_t seed) {
    static const char *const words[] = {"backup ", "restore ", "proof ", "ledger ", "the ",
                                        "of ",     "a ",       "chunk ", "42 ",     "\n"};
    uint32_t s = seed * 2654435761u + 1;
    for (size_t i = 0; i < n;) {
        uint32_t r = next(&s);
        const char *w = words[r % 10];
        for (; *w && i < n; w++) p[i++] = (uint8_t)*w;
        if (r % 7 == 0)
            for (int d = 0; d < 8 && i < n; d++) p[i++] = (uint8_t)('0' + next(&s) % 10);
    }
}

void kit_random(uint8_t *p, size_t n, uint32_t seed) {
    uint32_t s = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(next(&s) >> 11);
}

struct said {
    const char *type;
    json_t *predicate;
};

static int say(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct said *s = ctx;
    struct digest d;
    (void)seq;
    sha256(BYTES_STR(s->type), &d);
    return statement_make(s->type, "test", &d, json_deep_copy(s->predicate), ret, err);
}

void kit_say(struct kit *k, const char *type, json_t *predicate, const struct keyring *by) {
    struct said s = {type, predicate};
    struct error err = ERROR_INIT;
    assert_non_null(predicate);
    kit_ok(ledger_append(repo_ledger(k->repo), secret_bytes(by->sign_seed), say, &s, NULL, NULL, &err), &err);
    json_decref(predicate);
}
