/* Damage and its mending: what a repair saves, what it names, and that it never makes anything worse. */
#include "repo_kit.h"

#include "repo/repo_internal.h"

#include "base/time.h"
#include "repo/checked.h"
#include "repo/coverage.h"
#include "repo/repair.h"
#include "repo/scrub.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BIG (5u << 20)

static uint8_t *text, *noise;

/* ---- harming ---- */

struct packs {
    char key[128][128];
    uint64_t bytes[128];
    size_t n;
};

static int pack_add(void *ctx, const struct store_object *o, struct error *err) {
    struct packs *p = ctx;
    (void)err;
    if (p->n == 128) return 0;
    p->bytes[p->n] = o->bytes;
    snprintf(p->key[p->n++], 128, "%s", o->key);
    return 0;
}

static struct packs packs_of(struct kit *k, const char *folder) {
    struct packs p = {.n = 0};
    struct error err = ERROR_INIT;
    kit_ok(store_list(k->store, folder, pack_add, &p, &err), &err);
    return p;
}

static bool has(const struct packs *p, const char *key) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->key[i], key) == 0) return true;
    return false;
}

static void flip(struct kit *k, const char *key, uint64_t at) {
    char path[300];
    uint8_t b;
    snprintf(path, sizeof path, "%s/%s", k->repo_dir, key);
    assert_int_equal(seam_fchmodat(AT_FDCWD, path, 0600, 0), 0);
    int fd = seam_openat(AT_FDCWD, path, O_RDWR, 0);
    assert_true(fd >= 0);
    assert_int_equal(seam_pread(fd, &b, 1, (off_t)at), 1);
    b ^= 1;
    assert_int_equal(seam_pwrite(fd, &b, 1, (off_t)at), 1);
    io_close(&fd);
}

static void gone(struct kit *k, const char *key) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", k->repo_dir, key);
    assert_int_equal(seam_unlinkat(AT_FDCWD, path, 0), 0);
}

/* ---- repairing ---- */

struct heard {
    unsigned findings, harmed, listless;
    uint64_t paths;
    char object[128], path[128];
};

static int on_finding(void *ctx, const char *object, enum check_result r, const char *why, bool mends,
                      struct error *err) {
    struct heard *h = ctx;
    (void)r;
    (void)why;
    (void)mends;
    (void)err;
    h->findings++;
    snprintf(h->object, sizeof h->object, "%s", object);
    return 0;
}

static int on_harmed(void *ctx, const struct snapshot_info *s, const struct bytes *paths, size_t n, uint64_t total,
                     bool listless, struct error *err) {
    struct heard *h = ctx;
    (void)s;
    (void)err;
    h->harmed++;
    h->paths += total;
    h->listless += listless;
    if (n) snprintf(h->path, sizeof h->path, "%.*s", (int)paths[0].len, (const char *)paths[0].ptr);
    return 0;
}

/* Open as a repair does: with what is lost of the index left out, and no cache that would hide it. */
static void reopen_damaged(struct kit *k) {
    struct error err = ERROR_INIT;
    kit_close(k);
    kit_ok(io_remove_tree(AT_FDCWD, k->cache_dir, &err), &err);
    kit_ok(store_local_open(k->repo_dir, false, &k->store, &err), &err);
    kit_ok(repo_open_damaged(k->store, &k->unlock, k->cache_dir, &k->repo, &err), &err);
}

static struct repair_result repaired(struct kit *k, struct repair_source *from, struct heard *h) {
    struct error err = ERROR_INIT;
    struct repair_plan p;
    struct repair_result r;
    struct repair_options o = {.threads = 2,
                               .rescue = from ? repair_source_fetch : NULL,
                               .rescue_ctx = from,
                               .ctx = h,
                               .finding = on_finding,
                               .harmed = on_harmed};
    reopen_damaged(k);
    memset(h, 0, sizeof *h);
    kit_ok(repair_plan_make(k->repo, &o, &p, &err), &err);
    unsigned findings = h->findings;
    memset(h, 0, sizeof *h);
    h->findings = findings;
    kit_ok(repair_run(k->repo, &o, &p, "a test", &r, &err), &err);
    repair_plan_free(&p);
    kit_reopen(k, true);
    const char *why;
    if (repo_void_entries(k->repo, &why)) fail_msg("%s", why);
    return r;
}

static int print_finding(void *ctx, const struct check_finding *f, struct error *err) {
    (void)ctx;
    (void)err;
    print_message("# %s: %s (%llu paths)\n", f->object, f->text, (unsigned long long)f->paths_total);
    return 0;
}

static uint64_t damage_left(struct kit *k, enum verify_level level) {
    struct error err = ERROR_INIT;
    struct check_options o = {.level = level, .finding = print_finding};
    struct check_totals t;
    kit_ok(repo_check(k->repo, &o, &t, &err), &err);
    return t.findings;
}

/* ---- claims ---- */

static struct writer *begun(struct repo *r, const char *name, size_t len) {
    struct error err = ERROR_INIT;
    struct writer_options o = {.environment = "dev", .surface = "t", .threads = 1};
    struct writer *w;
    struct witem *it;
    uint8_t *p;
    size_t room;
    struct digest d;
    kit_ok(writer_open(r, &o, &w, &err), &err);
    kit_ok(writer_item_open(w, 0, BYTES_STR(name), CONTENT_FILE, &it, &err), &err);
    for (size_t at = 0; at < len;) {
        kit_ok(witem_space(it, &p, &room, &err), &err);
        size_t part = len - at < room ? len - at : room;
        memcpy(p, noise + at, part);
        kit_ok(witem_advance(it, part, &err), &err);
        at += part;
    }
    kit_ok(witem_close(it, BYTES_STR("attr"), &d, &err), &err);
    json_t *root = json_object();
    kit_ok(writer_finish(w, root, &err), &err);
    json_decref(root);
    return w;
}

static uint64_t ended(struct writer *w) {
    struct error err = ERROR_INIT;
    uint64_t seq;
    kit_ok(kit_commit(w, "t", &seq, &err), &err);
    writer_free(w);
    return seq;
}

/* Two writers that could not know of each other store the same chunks, each in packs of its own. */
static void a_damaged_copy_is_no_harm_while_there_is_another(void **state) {
    struct kit k;
    struct repo *other;
    struct error err = ERROR_INIT;
    struct heard h;
    struct kit_item one[] = {{"one", CONTENT_FILE, noise, 300000}}, two[] = {{"two", CONTENT_FILE, noise, 300000}};
    (void)state;
    kit_begin(&k);
    kit_ok(repo_open(k.store, &k.unlock, NULL, &other, &err), &err);
    struct writer *a = begun(k.repo, "one", 300000);
    struct packs mine = packs_of(&k, "packs/d/");
    struct writer *b = begun(other, "two", 300000);
    uint64_t first = ended(a), second = ended(b);
    repo_close(other);
    struct packs all = packs_of(&k, "packs/d/");
    assert_true(mine.n > 0 && all.n > mine.n);
    for (int whose = 0; whose < 2; whose++) {
        for (size_t i = 0; i < all.n; i++)
            if (has(&mine, all.key[i]) == (whose == 0)) flip(&k, all.key[i], 600);
        kit_reopen(&k, true);
        kit_expect(&k, first, one, 1);
        kit_expect(&k, second, two, 1);
        for (size_t i = 0; i < all.n; i++)
            if (has(&mine, all.key[i]) == (whose == 0)) flip(&k, all.key[i], 600);
    }
    for (size_t i = 0; i < mine.n; i++) gone(&k, mine.key[i]);
    kit_reopen(&k, true);
    kit_expect(&k, first, one, 1);
    kit_expect(&k, second, two, 1);
    struct repair_result r = repaired(&k, NULL, &h);
    assert_int_equal(r.chunks_lost, 0);
    assert_true(r.chunks_salvaged > 0);
    assert_int_equal(r.packs_retired, mine.n);
    assert_int_equal(h.harmed, 0);
    assert_int_equal(damage_left(&k, VERIFY_DECODE), 0);
    /* what took the place of the lost pack is listed, so a collection without the read key leaves it alone */
    struct gc_options o = {.now_ns = time_now_ns() + 1000000000};
    struct gc_plan done;
    kit_ok(gc_run(k.repo, &o, &done, &err), &err);
    gc_plan_free(&done);
    kit_reopen(&k, true);
    kit_expect(&k, first, one, 1);
    kit_expect(&k, second, two, 1);
    kit_end(&k);
}

static void the_base_of_deltas_is_lost_and_healed(void **state) {
    struct kit k;
    struct heard h;
    struct error err = ERROR_INIT;
    struct writer_stats st;
    struct kit_item before[] = {{"records", CONTENT_RECORDS, text, BIG}};
    uint8_t *changed = malloc(BIG);
    (void)state;
    memcpy(changed, text, BIG);
    for (size_t i = 0; i < BIG; i += 50000) changed[i] ^= 1;
    struct kit_item after[] = {{"records", CONTENT_RECORDS, changed, BIG}};
    kit_begin(&k);
    uint64_t one = kit_backup(&k, "t", before, 1, true, NULL);
    struct packs p = packs_of(&k, "packs/d/");
    uint64_t two = kit_backup(&k, "t", after, 1, true, &st);
    assert_true(st.delta_chunks > 20);
    gone(&k, p.key[0]);
    struct repair_result r = repaired(&k, NULL, &h);
    assert_true(r.chunks_lost > 0);
    assert_int_equal(r.chunks_salvaged, 0);
    assert_int_equal(h.harmed, 2); /* the second needs the lost chunks as bases */
    assert_string_equal(h.path, "records");
    assert_true(damage_left(&k, VERIFY_DECODE) >= 2);
    assert_int_equal(damage_left(&k, VERIFY_CHECKSUM), 0); /* until it is marked, as the use case does at once */
    assert_int_equal(kit_expect_try(&k, two, after, 1, &err), -ERR_OBJECT_MISSING);
    error_clear(&err);
    /* collecting goes on, by whole packs */
    struct gc_options o = {.now_ns = time_now_ns(), .grace_ns = INT64_C(3600000000000), .repack_below = 0.9};
    struct gc_plan done;
    kit_ok(gc_run(k.repo, &o, &done, &err), &err);
    assert_true(done.damaged);
    assert_int_equal(done.repack_packs, 0);
    gc_plan_free(&done);
    /* both contents come by again: the second, which was a delta, is not taken for known either */
    kit_backup(&k, "t", after, 1, false, &st);
    assert_true(st.new_bytes > 0);
    kit_expect(&k, two, after, 1);
    assert_int_equal(damage_left(&k, VERIFY_DECODE), 1);
    /* without a former self to be cut after, it is cut as it was the first time */
    kit_backup(&k, "u", before, 1, false, NULL);
    assert_int_equal(damage_left(&k, VERIFY_DECODE), 0);
    kit_expect(&k, one, before, 1);
    free(changed);
    kit_end(&k);
}

static void a_list_of_items_that_is_lost_comes_from_elsewhere(void **state) {
    struct kit k, copy;
    struct heard h;
    struct error err = ERROR_INIT;
    char command[300], dir[64] = "/dev/shm/pk-copy-XXXXXX";
    struct kit_item it[] = {{"a", CONTENT_FILE, noise, 70000}, {"b", CONTENT_FILE, noise + 70000, 200000}};
    (void)state;
    kit_begin(&k);
    uint64_t one = kit_backup(&k, "t", it, 2, true, NULL);
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof command, "cp -a %s %s/repo", k.repo_dir, dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a copy by other means */
    uint64_t two = kit_backup(&k, "t", it, 1, true, NULL);
    struct packs m = packs_of(&k, "packs/m/");
    gone(&k, m.key[0]);
    gone(&k, m.key[1]);
    kit_ok(kit_open_try(&copy, dir, &err), &err);
    struct repair_source *from;
    kit_ok(repair_source_new(copy.repo, &from, &err), &err);
    struct repair_result r = repaired(&k, from, &h);
    assert_int_equal(r.packs_retired, 2);
    assert_true(r.chunks_rescued > 0);
    kit_expect(&k, one, it, 2);
    /* the second point is younger than the copy: its own list is lost, and said to be */
    assert_int_equal(h.harmed, 1);
    assert_int_equal(h.listless, 1);
    assert_int_equal(kit_expect_try(&k, two, it, 1, &err), -ERR_OBJECT_MISSING);
    error_clear(&err);
    repair_source_free(from);
    kit_end(&copy);
    kit_end(&k);
}

static void lost_pack_lists_are_written_anew(void **state) {
    struct kit k;
    struct heard h;
    struct error err = ERROR_INIT;
    struct kit_item it[] = {{"a", CONTENT_FILE, noise, 300000}, {"b", CONTENT_FILE, text, BIG}};
    struct gc_options o = {.now_ns = INT64_MAX / 2, .repack_below = 0.99};
    struct gc_plan done;
    (void)state;
    kit_begin(&k);
    uint64_t first = kit_backup(&k, "u", it + 1, 1, true, NULL);
    uint64_t one = kit_backup(&k, "t", it, 2, true, NULL);
    kit_ok(repo_forget(k.repo, &first, 1, "a test", &err), &err);
    uint64_t two = kit_backup(&k, "t", it, 1, true, NULL);
    kit_ok(repo_forget(k.repo, &two, 1, "a test", &err), &err);
    kit_ok(gc_run(k.repo, &o, &done, &err), &err); /* with a list of what was moved, too */
    gc_plan_free(&done);
    uint64_t three = kit_backup(&k, "t", it, 2, true, NULL);
    /* every list and every run of the index */
    struct packs x = packs_of(&k, "index/");
    for (size_t i = 0; i < x.n; i++) gone(&k, x.key[i]);
    struct repair_result r = repaired(&k, NULL, &h);
    assert_true(r.lists_rebuilt >= 2);
    assert_true(r.runs_rebuilt >= 1);
    assert_int_equal(h.harmed, 0);
    kit_expect(&k, one, it, 2);
    kit_expect(&k, three, it, 2);
    assert_int_equal(damage_left(&k, VERIFY_DECODE), 0);
    /* a collection that goes by the new lists takes nothing that is needed */
    o.repack_below = 0;
    kit_ok(gc_run(k.repo, &o, &done, &err), &err);
    gc_plan_free(&done);
    kit_reopen(&k, true);
    kit_expect(&k, one, it, 2);
    kit_expect(&k, three, it, 2);
    assert_int_equal(damage_left(&k, VERIFY_DECODE), 0);
    kit_end(&k);
}

static int lying(void *ctx, const uint8_t *id, unsigned kind, struct buf *ret, struct error *err) {
    (void)ctx;
    (void)id;
    (void)kind;
    return buf_append(ret, "something else", 14, err);
}

static void a_rescue_is_not_trusted(void **state) {
    struct kit k;
    struct heard h = {0};
    struct error err = ERROR_INIT;
    struct repair_plan p;
    struct kit_item it[] = {{"a", CONTENT_FILE, noise, 70000}};
    struct repair_options o = {.rescue = lying, .ctx = &h, .harmed = on_harmed};
    (void)state;
    kit_begin(&k);
    kit_backup(&k, "t", it, 1, true, NULL);
    gone(&k, packs_of(&k, "packs/d/").key[0]);
    reopen_damaged(&k);
    kit_ok(repair_plan_make(k.repo, &o, &p, &err), &err);
    assert_int_equal(p.chunks_rescued, 0);
    assert_true(p.chunks_lost > 0);
    repair_plan_free(&p);
    kit_end(&k);
}

/* A store in which somebody commits just before each entry of ours, a few times. */
static struct {
    const struct store_ops *ops;
    struct store_ops table;
    struct kit *kit;
    int left;
    bool inside;
    struct repo *collector; /* who forgets `old` and collects, in the place of that */
    uint64_t old;
} crowd;

static void crowd_collects(void) {
    struct error e = ERROR_INIT;
    struct gc_options o = {.now_ns = INT64_MAX / 2};
    struct gc_plan done;
    kit_ok(repo_forget(crowd.collector, &crowd.old, 1, "a test", &e), &e);
    kit_ok(gc_run(crowd.collector, &o, &done, &e), &e);
    assert_true(done.dead_packs > 0);
    gc_plan_free(&done);
}

static int crowd_create(struct store *s, const char *key, struct bytes content, struct error *err) {
    if (strncmp(key, "log/", 4) == 0 && !crowd.inside && crowd.left > 0) {
        struct repo *other;
        struct error e = ERROR_INIT;
        crowd.left--;
        crowd.inside = true;
        if (crowd.collector) {
            crowd_collects();
            crowd.inside = false;
            return crowd.ops->create(s, key, content, err);
        }
        kit_ok(repo_open(crowd.kit->store, &crowd.kit->unlock, NULL, &other, &e), &e);
        ended(begun(other, "theirs", 1000));
        repo_close(other);
        crowd.inside = false;
    }
    return crowd.ops->create(s, key, content, err);
}

static void crowd_begin(struct kit *k, int times) {
    crowd.ops = k->store->ops;
    crowd.table = *crowd.ops;
    crowd.table.create = crowd_create;
    crowd.kit = k;
    crowd.left = times;
    k->store->ops = &crowd.table;
}

static void crowd_end(struct kit *k) {
    assert_int_equal(crowd.left, 0);
    k->store->ops = crowd.ops;
}

static void others_commit_meanwhile(void **state) {
    struct kit k;
    struct heard h = {0};
    struct error err = ERROR_INIT;
    struct repair_plan p;
    struct repair_result r;
    struct kit_item it[] = {{"a", CONTENT_FILE, text, BIG}}, theirs[] = {{"theirs", CONTENT_FILE, noise, 1000}};
    struct repair_options o = {.threads = 2, .ctx = &h, .finding = on_finding, .harmed = on_harmed};
    (void)state;
    kit_begin(&k);
    uint64_t seq = kit_backup(&k, "t", it, 1, true, NULL);
    struct packs d = packs_of(&k, "packs/d/");
    flip(&k, d.key[0], d.bytes[0] - 100);
    reopen_damaged(&k);
    kit_ok(repair_plan_make(k.repo, &o, &p, &err), &err);
    crowd_begin(&k, 3);
    kit_ok(repair_run(k.repo, &o, &p, "a test", &r, &err), &err);
    crowd_end(&k);
    assert_int_equal(r.packs_retired, 1);
    repair_plan_free(&p);
    kit_reopen(&k, true);
    for (size_t i = 0; i < repo_snapshot_count(k.repo); i++)
        if (repo_snapshot(k.repo, i)->seq != seq) kit_expect(&k, repo_snapshot(k.repo, i)->seq, theirs, 1);
    assert_int_equal(repo_snapshot_count(k.repo), 4);
    kit_backup(&k, "t", it, 1, false, NULL);
    kit_expect(&k, seq, it, 1);
    assert_int_equal(damage_left(&k, VERIFY_DECODE), 0);
    kit_end(&k);
}

/* What is rebuilt of a lost run names packs that a collector, who still has that run, takes in between. */
static void a_collection_beside_a_rebuilt_index(void **state) {
    struct kit k;
    struct heard h = {0};
    struct error err = ERROR_INIT;
    struct repair_plan p;
    struct repair_result r;
    struct kit_item old[] = {{"a", CONTENT_FILE, noise, 300000}}, it[] = {{"b", CONTENT_FILE, text, BIG}};
    struct repair_options o = {.threads = 2, .ctx = &h, .finding = on_finding, .harmed = on_harmed};
    (void)state;
    kit_begin(&k);
    uint64_t first = kit_backup(&k, "u", old, 1, true, NULL), seq = kit_backup(&k, "t", it, 1, true, NULL);
    crowd.old = first;
    struct store *own = NULL;
    kit_ok(store_local_open(k.repo_dir, false, &own, &err), &err);
    kit_ok(repo_open(own, &k.unlock, NULL, &crowd.collector, &err), &err);
    kit_ok(repo_sync(k.repo, &err), &err);
    for (size_t i = 0; i < k.repo->state.run_count; i++) {
        char key[80] = "index/";
        hex_encode(k.repo->state.runs[i].b, DIGEST_BYTES, key + 6);
        gone(&k, key);
    }
    reopen_damaged(&k);
    kit_ok(repair_plan_make(k.repo, &o, &p, &err), &err);
    assert_true(p.run_count > 0);
    crowd_begin(&k, 1);
    assert_int_equal(repair_run(k.repo, &o, &p, "a test", &r, &err), -ERR_REPO_BUSY);
    assert_non_null(strstr(err.text, "a collection came in between"));
    error_clear(&err);
    crowd_end(&k);
    repo_close(crowd.collector);
    crowd.collector = NULL;
    store_close(own);
    repair_plan_free(&p);
    r = repaired(&k, NULL, &h);
    kit_expect(&k, seq, it, 1);
    kit_backup(&k, "u", old, 1, true, NULL); /* none of what went is taken for there */
    kit_expect(&k, seq, it, 1);
    assert_int_equal(damage_left(&k, VERIFY_DECODE), 0);
    kit_end(&k);
}

static void only_the_administrator_repairs(void **state) {
    static const enum key_role roles[] = {ROLE_WRITER, ROLE_RESTORE, ROLE_PRUNE};
    struct kit k;
    (void)state;
    kit_begin(&k);
    for (int i = 0; i < 3; i++) {
        struct error err = ERROR_INIT;
        struct keyring *keys = NULL;
        struct repo *r;
        uint8_t key[32] = {(uint8_t)(9 + i)};
        struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)};
        struct repair_plan p;
        struct repair_options o = {0};
        kit_ok(keyring_derive(repo_keys(k.repo), roles[i], &keys, &err), &err);
        kit_ok(repo_key_add(k.repo, keys, &u, "other", &err), &err);
        kit_ok(repo_open_damaged(k.store, &u, NULL, &r, &err), &err);
        assert_int_equal(repair_plan_make(r, &o, &p, &err), -ERR_KEY_ROLE);
        assert_non_null(strstr(err.text, "a repair needs an admin key, and this one is a "));
        repo_close(r);
        keyring_free(keys);
    }
    kit_end(&k);
}

static int forged_collection(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    (void)ctx;
    (void)seq;
    char hex[65];
    memset(hex, 'a', 64);
    hex[64] = 0;
    *ret = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:{s:s, s:[], s:[]}}", "_type", STATEMENT_TYPE, "subject", "name",
                     "x", "digest", "sha256", hex, "predicateType", PREDICATE_DELETE, "predicate", "packs", hex,
                     "index_added", "index_removed");
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
}

static void a_forged_collection_excuses_nothing(void **state) {
    struct kit k;
    struct repo *thief;
    struct keyring *keys = NULL;
    struct error err = ERROR_INIT;
    struct kit_item it[] = {{"a", CONTENT_FILE, noise, 70000}};
    uint8_t key[32] = {9};
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)};
    (void)state;
    kit_begin(&k);
    kit_backup(&k, "t", it, 1, true, NULL);
    kit_ok(keyring_derive(repo_keys(k.repo), ROLE_WRITER, &keys, &err), &err);
    kit_ok(repo_key_add(k.repo, keys, &u, "thief", &err), &err);
    kit_ok(repo_open(k.store, &u, NULL, &thief, &err), &err);
    /* after this handle has read the log, as during a check */
    kit_ok(ledger_append(repo_ledger(thief), secret_bytes(keys->sign_seed), forged_collection, NULL, NULL, NULL, &err),
           &err);
    gone(&k, packs_of(&k, "packs/d/").key[0]);
    struct check_options o = {.level = VERIFY_PRESENT};
    struct check_totals t;
    kit_ok(repo_check(k.repo, &o, &t, &err), &err);
    assert_int_equal(t.result, CHECK_CORRUPT);
    assert_true(t.findings >= 1);
    repo_close(thief);
    keyring_free(keys);
    kit_end(&k);
}

static int scrub_finding(void *ctx, const char *object, enum check_result r, const char *why, struct error *err) {
    return on_finding(ctx, object, r, why, false, err);
}

static struct scrub_totals scrubbed_for(struct kit *k, struct heard *h, uint64_t budget, int64_t budget_ns) {
    struct error err = ERROR_INIT;
    struct scrub_totals t;
    struct scrub_options o = {.threads = 2,
                              .cache_dir = k->cache_dir,
                              .budget_bytes = budget,
                              .budget_ns = budget_ns,
                              .ctx = h,
                              .finding = scrub_finding};
    memset(h, 0, sizeof *h);
    kit_ok(repo_scrub(k->store, &o, &t, &err), &err);
    return t;
}

static struct scrub_totals scrubbed(struct kit *k, struct heard *h, uint64_t budget) {
    return scrubbed_for(k, h, budget, 0);
}

static void a_scrub_needs_no_key(void **state) {
    struct kit k;
    struct heard h;
    struct error err = ERROR_INIT;
    struct kit_item it[] = {{"a", CONTENT_FILE, noise, BIG}};
    (void)state;
    kit_begin(&k);
    kit_backup(&k, "t", it, 1, true, NULL);
    kit_ok(repo_publish(k.repo, &err), &err);
    struct scrub_totals t = scrubbed(&k, &h, 0);
    assert_int_equal(t.result, CHECK_VERIFIED);
    assert_string_equal(t.repository, repo_id_hex(k.repo));
    char admin[65];
    hex_encode(repo_keys(k.repo)->admin_public, 32, admin);
    assert_string_equal(t.admin, admin);
    assert_int_equal(t.entries, ledger_size(repo_ledger(k.repo)));
    struct packs d = packs_of(&k, "packs/"), x = packs_of(&k, "index/");
    assert_int_equal(t.packs, d.n);
    /* the two kinds of objects whose names say what they are */
    flip(&k, d.key[0], 10);
    t = scrubbed(&k, &h, 0);
    assert_int_equal(t.result, CHECK_CORRUPT);
    assert_int_equal(h.findings, 1);
    assert_string_equal(h.object, d.key[0]);
    flip(&k, d.key[0], 10);
    gone(&k, x.key[0]);
    t = scrubbed(&k, &h, 0);
    assert_int_equal(h.findings, 1);
    assert_string_equal(h.object, x.key[0]);
    kit_end(&k);
}

static void a_budget_comes_round(void **state) {
    struct kit k;
    struct heard h;
    struct kit_item it[] = {{"a", CONTENT_FILE, noise, BIG}};
    (void)state;
    kit_begin(&k);
    kit_backup(&k, "t", it, 1, true, NULL);
    size_t n = packs_of(&k, "packs/").n, runs = 0;
    struct scrub_totals t;
    assert_true(n > 4);
    do {
        t = runs % 2 ? scrubbed_for(&k, &h, 0, 1) : scrubbed(&k, &h, 1); /* of time, of bytes */
        assert_int_equal(t.result, CHECK_NOT_CHECKED);
        assert_int_equal(t.packs_left, n - 1);
        assert_true(++runs <= n);
    } while (!t.oldest_ns);
    assert_int_equal(runs, n);
    /* without its memory it begins anew, and a memory that rots is none */
    char path[200];
    snprintf(path, sizeof path, "%s/%s/checked", k.cache_dir, repo_id_hex(k.repo));
    int fd = seam_openat(AT_FDCWD, path, O_RDWR, 0);
    assert_true(fd >= 0 && seam_pwrite(fd, "rot", 3, 60) == 3);
    io_close(&fd);
    t = scrubbed(&k, &h, 1);
    assert_int_equal(t.oldest_ns, 0);
    kit_end(&k);
}

static void coverage_is_in_the_log_for_those_who_may_vouch(void **state) {
    struct kit k;
    struct error err = ERROR_INIT;
    struct coverage c;
    size_t n;
    struct check_totals t = {.packs = 7};
    int64_t parts[COVERAGE_PARTS] = {[3] = INT64_C(1700000000) * 1000000000};
    uint8_t key[32] = {9};
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)};
    struct keyring *keys = NULL;
    struct repo *writer;
    (void)state;
    kit_begin(&k);
    kit_ok(coverage_find(k.repo, VERIFY_CHECKSUM, &c, 1, &n, &err), &err);
    assert_int_equal(n, 0);
    kit_ok(coverage_add(k.repo, VERIFY_CHECKSUM, parts, &t, time_now_ns(), "a test", &err), &err);
    kit_ok(coverage_find(k.repo, VERIFY_CHECKSUM, &c, 1, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_true(c.seq > 0);
    assert_int_equal(c.oldest_ns[3], parts[3]);
    assert_int_equal(c.oldest_ns[4], 0);
    kit_ok(coverage_find(k.repo, VERIFY_DECODE, &c, 1, &n, &err), &err); /* less was looked at than that */
    assert_int_equal(n, 0);
    kit_ok(keyring_derive(repo_keys(k.repo), ROLE_WRITER, &keys, &err), &err);
    kit_ok(repo_key_add(k.repo, keys, &u, "db host", &err), &err);
    kit_ok(repo_open(k.store, &u, NULL, &writer, &err), &err);
    assert_int_equal(coverage_add(writer, VERIFY_DECODE, parts, &t, time_now_ns(), "a thief", &err), -ERR_KEY_ROLE);
    repo_close(writer);
    keyring_free(keys);
    kit_end(&k);
}

int main(void) {
    text = malloc(BIG + 4096);
    noise = malloc(BIG + 4096);
    kit_text(text, BIG + 4096, 1);
    kit_random(noise, BIG + 4096, 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_copy_is_no_harm_while_there_is_another),
        cmocka_unit_test(the_base_of_deltas_is_lost_and_healed),
        cmocka_unit_test(a_list_of_items_that_is_lost_comes_from_elsewhere),
        cmocka_unit_test(lost_pack_lists_are_written_anew),
        cmocka_unit_test(a_rescue_is_not_trusted),
        cmocka_unit_test(others_commit_meanwhile),
        cmocka_unit_test(a_collection_beside_a_rebuilt_index),
        cmocka_unit_test(only_the_administrator_repairs),
        cmocka_unit_test(a_forged_collection_excuses_nothing),
        cmocka_unit_test(a_scrub_needs_no_key),
        cmocka_unit_test(a_budget_comes_round),
        cmocka_unit_test(coverage_is_in_the_log_for_those_who_may_vouch),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(text);
    free(noise);
    return failed;
}
