/* Epochs: who comes by the new keys and who does not, what is matched with what, and what does not count. */
#include "repo_kit.h"

#include "../harness/fault.h"
#include "crypto/epoch.h"
#include "ledger/statement.h"
#include "repo/maintain_internal.h"
#include "repo/run.h"
#include "repo/state_summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MEMBERS 4
static uint8_t data[MEMBERS][900000];
static struct kit_item items[MEMBERS] = {{"large", CONTENT_FILE, data[0], sizeof data[0]},
                                         {"records", CONTENT_RECORDS, data[1], sizeof data[1]},
                                         {"small", CONTENT_FILE, data[2], 3000},
                                         {"this by parts", CONTENT_PARTS, data[3], sizeof data[3]}};

struct holder { /* somebody with a key of his own, and a copy of its slot */
    uint8_t key[32], pub[SIGN_PUBLIC_BYTES];
    struct unlock unlock;
    struct buf slot;
    struct kit kit;
};

static void holder_add(struct kit *k, enum key_role role, uint8_t seed, struct holder *h) {
    struct error err = ERROR_INIT;
    struct keyring *bundle = NULL;
    memset(h, 0, sizeof *h);
    memset(h->key, seed, sizeof h->key);
    h->unlock = (struct unlock){.kind = SLOT_KEY_FILE, .secret = BYTES_OF(h->key, sizeof h->key)};
    h->slot = BUF_INIT(4096);
    kit_ok(repo_bundle_new(k->repo, role, &bundle, &err), &err);
    kit_ok(slot_seal(bundle, &h->unlock, "a holder", &h->slot, &err), &err);
    kit_ok(repo_slot_add(k->repo, bundle, buf_bytes(&h->slot), "a holder", &err), &err);
    memcpy(h->pub, bundle->sign_public, sizeof h->pub);
    keyring_free(bundle);
    h->kit = *k; /* the same repository, with a cache of its own */
    h->kit.repo = NULL;
    kit_ok(store_local_open(k->repo_dir, false, &h->kit.store, &err), &err);
    snprintf(h->kit.cache_dir, sizeof h->kit.cache_dir, "%s/cache-%u", k->dir, seed);
}

static int holder_open(struct holder *h, struct error *err) {
    repo_close(h->kit.repo);
    h->kit.repo = NULL;
    return repo_open(h->kit.store, &h->unlock, h->kit.cache_dir, &h->kit.repo, err);
}

static void holder_end(struct holder *h) {
    kit_close(&h->kit);
    buf_free(&h->slot);
}

static unsigned begin_epoch(struct kit *k, uint64_t *ret_keys) {
    struct error err = ERROR_INIT;
    unsigned epoch = 0;
    uint64_t keys;
    kit_ok(repo_epoch_begin(k->repo, &epoch, ret_keys ? ret_keys : &keys, &err), &err);
    return epoch;
}

static void refused(int rc, int code, const struct error *err, const char *text) {
    assert_int_equal(rc, -code);
    if (!strstr(err->text, text)) fail_msg("'%s' does not say '%s'", err->text, text);
}

static bool has(int (*ask)(const struct repo *, unsigned, struct bytes *, struct error *), const struct repo *r,
                unsigned epoch, const struct repo *as) {
    struct error err = ERROR_INIT;
    struct bytes mine, other;
    if (ask(r, epoch, &mine, &err) < 0) return false;
    kit_ok(ask(as, epoch, &other, &err), &err);
    assert_true(bytes_equal(mine, other));
    return true;
}

static void begin(struct kit *k) {
    for (unsigned i = 0; i < MEMBERS; i++) kit_random(data[i], sizeof data[i], 70 + i);
    kit_begin(k);
}

/* ---- claims ---- */

static void each_role_finds_just_its_keys(void **state) {
    struct kit k;
    struct holder writer, prune, restore, late, thief;
    struct error err = ERROR_INIT;
    uint64_t boxes = 0;
    (void)state;
    begin(&k);
    holder_add(&k, ROLE_WRITER, 1, &writer);
    holder_add(&k, ROLE_PRUNE, 2, &prune);
    holder_add(&k, ROLE_RESTORE, 3, &restore);
    holder_add(&k, ROLE_WRITER, 4, &thief);
    kit_ok(holder_open(&thief, &err), &err);
    kit_ok(repo_key_revoke(k.repo, thief.pub, 0, &err), &err);
    assert_int_equal(begin_epoch(&k, &boxes), 1);
    assert_int_equal(boxes, 2);
    assert_int_equal(begin_epoch(&k, &boxes), 2);
    holder_add(&k, ROLE_WRITER, 5, &late);
    assert_int_equal(begin_epoch(&k, &boxes), 3);
    assert_int_equal(boxes, 3);
    struct holder *all[] = {&writer, &prune, &restore, &late};
    for (unsigned i = 0; i < 4; i++) {
        kit_ok(holder_open(all[i], &err), &err);
        const struct repo *r = all[i]->kit.repo;
        assert_int_equal(repo_epoch(r), 3);
        for (unsigned n = 0; n <= 3; n++) {
            assert_true(has(repo_index_key, r, n, k.repo));
            bool wants = all[i] == &prune ? false : all[i] == &late ? n >= 2 : true;
            assert_int_equal(has(repo_id_key, r, n, k.repo), wants);
        }
        assert_false(has(repo_id_key, r, 4, k.repo) || has(repo_index_key, r, EPOCHS_MAX + 1, k.repo));
    }
    /* a copy of his slot still opens for the thief, and leads to nothing */
    error_clear(&err);
    refused(repo_sync(thief.kit.repo, &err), ERR_KEY_ROLE, &err, "this writer key was not given the keys of epoch 3");
    thief.unlock.slot = buf_bytes(&thief.slot);
    error_clear(&err);
    refused(holder_open(&thief, &err), ERR_KEY_ROLE, &err, "this writer key was not given the keys of epoch 3");
    for (unsigned i = 0; i < 4; i++) holder_end(all[i]);
    holder_end(&thief);
    kit_end(&k);
}

/* Entries of the live runs that name a chunk of `items` by the id key of an epoch. */
static unsigned named_by(struct kit *k, unsigned epoch, unsigned of_run) {
    struct error err = ERROR_INIT;
    struct bytes key;
    unsigned n = 0;
    struct digest sha, id;
    sha256(BYTES_OF(data[2], items[2].len), &sha); /* one chunk, whole */
    kit_ok(repo_id_key(k->repo, epoch, &key, &err), &err);
    chunk_id(key, CHUNK_DATA, &sha, &id);
    for (size_t i = 0; i < k->repo->index.count; i++) {
        struct buf raw = BUF_INIT(16u << 20);
        char name[96];
        run_key(&k->repo->index.names[i], name);
        kit_ok(store_read_all(k->store, name, raw.max_bytes, &raw, &err), &err);
        bool looked_at = get_u16(raw.ptr + RUN_EPOCH_AT) == of_run;
        buf_free(&raw);
        struct run_view v;
        kit_ok(index_scan(&k->repo->index, i, true, &v, &err), &err);
        for (uint64_t e = 0; e < v.entry_count && looked_at; e++)
            n += memcmp(v.entries + e * RUN_ENTRY_BYTES, id.b, ID_PREFIX_BYTES) == 0;
        index_scan_end(&v);
    }
    return n;
}

static void what_is_stored_later_has_other_ids(void **state) {
    struct kit k;
    struct writer_stats before, again, after, twice;
    (void)state;
    begin(&k);
    k.silent = true;
    kit_backup(&k, "s", items, MEMBERS, false, &before);
    uint64_t old = kit_backup(&k, "s", items, MEMBERS, false, &again);
    assert_int_equal(again.new_bytes, 0);
    assert_int_equal(named_by(&k, 0, 0), 1);
    begin_epoch(&k, NULL);
    uint64_t new = kit_backup(&k, "s", items, MEMBERS, false, &after);
    assert_int_equal(after.new_bytes, before.new_bytes);
    assert_int_equal(after.dup_bytes, 0);
    kit_backup(&k, "s", items, MEMBERS, false, &twice);
    assert_int_equal(twice.new_bytes, 0);
    assert_int_equal(named_by(&k, 1, 1), 1);
    assert_int_equal(named_by(&k, 0, 1), 0);
    kit_expect(&k, old, items, MEMBERS);
    kit_expect(&k, new, items, MEMBERS);
    kit_reopen(&k, true);
    kit_expect(&k, old, items, MEMBERS);
    kit_expect(&k, new, items, MEMBERS);
    kit_end(&k);
}

static void a_writer_that_was_away_keeps_what_it_knows(void **state) {
    struct kit k;
    struct holder writer;
    struct error err = ERROR_INIT;
    struct writer_stats first, second, third;
    (void)state;
    begin(&k);
    holder_add(&k, ROLE_WRITER, 1, &writer);
    kit_ok(holder_open(&writer, &err), &err);
    kit_backup(&writer.kit, "s", items, MEMBERS, true, &first);
    begin_epoch(&k, NULL);
    kit_ok(holder_open(&writer, &err), &err);
    kit_backup(&writer.kit, "s", items, MEMBERS, true, &second);
    assert_int_equal(second.kept_bytes, first.bytes);
    begin_epoch(&k, NULL);
    begin_epoch(&k, NULL);
    kit_ok(holder_open(&writer, &err), &err);
    uint64_t last = kit_backup(&writer.kit, "s", items, MEMBERS, true, &third);
    assert_int_equal(third.kept_bytes, first.bytes);
    assert_int_equal(third.new_bytes, 0);
    kit_reopen(&k, false);
    kit_expect(&k, last, items, MEMBERS);
    /* the ids of what changes are the epoch's, whose former self has others */
    data[3][200000] ^= 1;
    uint64_t changed = kit_backup(&writer.kit, "s", items, MEMBERS, true, &third);
    assert_int_equal(third.kept_bytes, first.bytes - sizeof data[3]);
    kit_reopen(&k, false);
    kit_expect(&k, changed, items, MEMBERS);
    data[3][200000] ^= 1;
    kit_expect(&k, last, items, MEMBERS);
    holder_end(&writer);
    kit_end(&k);
}

/* A backup of `small` up to where it is committed. */
static struct writer *overtaken(struct kit *k, const char *surface) {
    struct error err = ERROR_INIT;
    struct writer_options o = {.environment = "dev", .surface = surface, .threads = 2, .checkpoint_bytes = 1};
    struct writer *w = NULL;
    struct witem *it;
    uint8_t *p;
    size_t room;
    kit_ok(writer_open(k->repo, &o, &w, &err), &err);
    kit_ok(writer_item_open(w, 0, BYTES_STR("small"), CONTENT_FILE, &it, &err), &err);
    kit_ok(witem_space(it, &p, &room, &err), &err);
    memcpy(p, data[2], items[2].len);
    kit_ok(witem_advance(it, items[2].len, &err), &err);
    kit_ok(witem_close(it, BYTES_STR("attr"), NULL, &err), &err);
    return w;
}

static void a_backup_that_an_epoch_overtakes_is_taken_again(void **state) {
    struct kit k;
    struct holder writer;
    struct error err = ERROR_INIT;
    (void)state;
    begin(&k);
    holder_add(&k, ROLE_WRITER, 1, &writer);
    kit_ok(holder_open(&writer, &err), &err);
    struct writer *w = overtaken(&writer.kit, "s");
    json_t *root = json_object();
    kit_ok(writer_finish(w, root, &err), &err);
    begin_epoch(&k, NULL);
    refused(kit_commit(w, "s", NULL, &err), ERR_REPO_COMMIT_LOST, &err, "an epoch of ids began while this backup ran");
    writer_free(w);
    kit_reopen(&k, false);
    assert_int_equal(repo_snapshot_count(k.repo), 0);
    uint64_t seq = kit_backup(&writer.kit, "s", &items[2], 1, false, NULL);
    kit_reopen(&k, false);
    kit_expect(&k, seq, &items[2], 1);
    assert_int_equal(named_by(&k, 0, 0) + named_by(&k, 0, 1), 0);
    assert_int_equal(named_by(&k, 1, 1), 1);
    json_decref(root);
    holder_end(&writer);
    kit_end(&k);
}

static void what_an_interrupted_run_left_is_not_taken_over(void **state) {
    struct kit k;
    struct error err = ERROR_INIT;
    struct writer_stats stats;
    (void)state;
    begin(&k);
    struct writer *w = overtaken(&k, "s");
    kit_ok(writer_checkpoint(w, &err), &err);
    kit_ok(writer_checkpoint(w, &err), &err);
    writer_free(w);
    kit_reopen(&k, false);
    begin_epoch(&k, NULL);
    uint64_t seq = kit_backup(&k, "s", &items[2], 1, false, &stats);
    assert_int_equal(stats.new_bytes, items[2].len);
    assert_int_equal(named_by(&k, 0, 0) + named_by(&k, 0, 1), 0);
    kit_expect(&k, seq, &items[2], 1);
    kit_end(&k);
}

/* An entry that must be void: it changes nothing, and is counted. */
static void void_entry(struct kit *k, const struct keyring *by, const char *type, json_t *predicate, const char *why) {
    struct error err = ERROR_INIT;
    const char *text;
    json_t *before = NULL, *after = NULL;
    kit_ok(repo_sync(k->repo, &err), &err);
    size_t count = repo_void_entries(k->repo, &text);
    kit_ok(state_write(&k->repo->state, &before, &err), &err);
    kit_say(k, type, predicate, by);
    kit_ok(repo_sync(k->repo, &err), &err);
    kit_ok(state_write(&k->repo->state, &after, &err), &err);
    assert_int_equal(repo_void_entries(k->repo, &text), count + 1);
    if (!strstr(text, why)) fail_msg("'%s' does not say '%s'", text, why);
    json_object_del(before, "void");
    json_object_del(after, "void");
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
}

static json_t *epoch_of(int n, bool named) {
    static const struct digest d = {"any object"};
    return named ? json_pack("{s:i, s:o, s:[o]}", "epoch", n, "epoch_keys", json_digest(&d), "index_added",
                             json_digest(&d))
                 : json_pack("{s:i, s:[o]}", "epoch", n, "index_added", json_digest(&d));
}

static void only_the_admin_begins_one_and_only_the_next(void **state) {
    struct kit k;
    struct holder writer, prune;
    struct error err = ERROR_INIT;
    unsigned n;
    uint64_t boxes;
    char hex[65];
    (void)state;
    begin(&k);
    holder_add(&k, ROLE_WRITER, 1, &writer);
    holder_add(&k, ROLE_PRUNE, 2, &prune);
    kit_ok(holder_open(&writer, &err), &err);
    kit_ok(holder_open(&prune, &err), &err);
    refused(repo_epoch_begin(prune.kit.repo, &n, &boxes, &err), ERR_KEY_ROLE, &err,
            "an epoch is begun with an admin key, and this one is a prune key");
    const struct keyring *admin = repo_keys(k.repo);
    void_entry(&k, repo_keys(prune.kit.repo), PREDICATE_DELETE, epoch_of(1, true),
               "begins an epoch without an admin key");
    void_entry(&k, repo_keys(writer.kit.repo), PREDICATE_DELETE, epoch_of(1, true), "which a writer key may not");
    void_entry(&k, admin, PREDICATE_DELETE, epoch_of(2, true), "does not follow the one in force");
    void_entry(&k, admin, PREDICATE_DELETE, epoch_of(0, true), "does not follow the one in force");
    void_entry(&k, admin, PREDICATE_DELETE, epoch_of(1, false), "does not name its keys");
    hex_encode(writer.pub, 32, hex);
    void_entry(
        &k, admin, PREDICATE_KEY,
        json_pack("{s:s, s:s, s:s, s:s, s:i}", "action", "add", "key", hex, "role", "writer", "label", "x", "epoch", 1),
        "the keys of an epoch that is not in force");
    assert_int_equal(begin_epoch(&k, NULL), 1);
    void_entry(&k, admin, PREDICATE_KEY,
               json_pack("{s:s, s:s, s:s, s:s}", "action", "add", "key", hex, "role", "restore", "label", "x"),
               "the keys of an epoch that is not in force");
    holder_end(&writer);
    holder_end(&prune);
    kit_end(&k);
}

static void a_key_made_before_an_epoch_is_not_added_after_it(void **state) {
    struct kit k;
    struct error err = ERROR_INIT;
    struct repo *other = NULL;
    struct keyring *bundle = NULL;
    (void)state;
    begin(&k);
    kit_ok(repo_open(k.store, &k.unlock, NULL, &other, &err), &err);
    kit_ok(repo_bundle_new(other, ROLE_WRITER, &bundle, &err), &err);
    begin_epoch(&k, NULL);
    size_t before = repo_key_count(k.repo);
    refused(repo_key_add(other, bundle, &k.unlock, "late", &err), ERR_REPO_BUSY, &err,
            "an epoch of ids began while the key was made");
    kit_reopen(&k, false);
    assert_int_equal(repo_key_count(k.repo), before);
    keyring_free(bundle);
    repo_close(other);
    kit_end(&k);
}

static int count_finding(void *ctx, const struct check_finding *f, struct error *err) {
    char *at = ctx;
    (void)err;
    snprintf(at, 96, "%s", f->object);
    return 0;
}

static void lost_or_altered_keys_are_told_and_made_again(void **state) {
    struct kit k;
    struct holder restore;
    struct error err = ERROR_INIT;
    char key[96], path[200], found[96] = "";
    (void)state;
    begin(&k);
    holder_add(&k, ROLE_RESTORE, 1, &restore);
    begin_epoch(&k, NULL);
    uint64_t seq = kit_backup(&k, "s", items, MEMBERS, false, NULL);
    run_key(&k.repo->state.epochs[0].keys, key);
    snprintf(path, sizeof path, "%s/%s", k.repo_dir, key);
    struct buf whole = BUF_INIT(1u << 20), bad = BUF_INIT(1u << 20);
    kit_ok(io_read_file(AT_FDCWD, path, whole.max_bytes, &whole, &err), &err);
    for (int lost = 0; lost < 2; lost++) {
        buf_clear(&bad);
        kit_ok(buf_append(&bad, whole.ptr, whole.len, &err), &err);
        bad.ptr[150] ^= 1;
        assert_int_equal(unlink(path), 0);
        if (!lost) kit_ok(io_replace_file(AT_FDCWD, path, buf_bytes(&bad), 0444, &err), &err);
        error_clear(&err);
        refused(holder_open(&restore, &err), lost ? ERR_OBJECT_MISSING : ERR_OBJECT_CORRUPT, &err,
                lost ? "the keys of epoch 1" : "its bytes are not those of its name");
        assert_non_null(strstr(err.next, "key rotate-ids"));
        error_clear(&err);
        kit_reopen(&k, false);
        kit_expect(&k, seq, items, MEMBERS);
        struct check_options o = {.level = VERIFY_PRESENT, .finding = count_finding, .ctx = found, .threads = 1};
        struct check_totals totals;
        kit_ok(repo_check(k.repo, &o, &totals, &err), &err);
        assert_int_equal(totals.result, CHECK_CORRUPT);
        assert_string_equal(found, key);
    }
    assert_int_equal(begin_epoch(&k, NULL), 2);
    kit_ok(holder_open(&restore, &err), &err);
    kit_expect(&restore.kit, seq, items, MEMBERS);
    /* what the cache of the first reading holds is not asked for while it is whole */
    buf_free(&whole);
    buf_free(&bad);
    holder_end(&restore);
    kit_end(&k);
}

static void a_summary_carries_them(void **state) {
    struct kit k;
    struct holder writer;
    struct error err = ERROR_INIT;
    struct state got;
    json_t *doc = NULL, *again = NULL;
    (void)state;
    begin(&k);
    kit_ok(state_write(&k.repo->state, &doc, &err), &err);
    assert_int_equal(json_integer_value(json_object_get(doc, "version")), STATE_VERSION_PLAIN);
    assert_null(json_object_get(doc, "epochs"));
    json_decref(doc);
    begin_epoch(&k, NULL);
    holder_add(&k, ROLE_WRITER, 1, &writer);
    begin_epoch(&k, NULL);
    kit_ok(repo_key_remove(k.repo, writer.pub, &err), &err);
    begin_epoch(&k, NULL);
    kit_ok(repo_key_revoke(k.repo, writer.pub, 0, &err), &err);
    uint64_t size = ledger_size(repo_ledger(k.repo));
    const uint8_t *admin = repo_keys(k.repo)->admin_public;
    kit_ok(repo_sync(k.repo, &err), &err);
    kit_ok(state_write(&k.repo->state, &doc, &err), &err);
    kit_ok(state_read(doc, size, NULL, admin, &got, &err), &err);
    assert_int_equal(got.epoch_count, 3);
    assert_true(digest_equal(&got.epochs[1].keys, &k.repo->state.epochs[1].keys));
    assert_int_equal(got.keys[1].epoch, 1);
    assert_int_equal(got.keys[1].last_epoch, 2);
    kit_ok(state_write(&got, &again, &err), &err);
    assert_true(json_equal(doc, again));
    state_free(&got);
    json_t *epochs = json_object_get(doc, "epochs"), *row = json_array_get(epochs, 0);
    json_array_set_new(row, 0, json_integer((json_int_t)size));
    refused(state_read(doc, size, NULL, admin, &got, &err), ERR_LEDGER_BROKEN, &err, "malformed epoch");
    json_array_set(epochs, 0, json_array_get(epochs, 1));
    error_clear(&err);
    refused(state_read(doc, size, NULL, admin, &got, &err), ERR_LEDGER_BROKEN, &err, "malformed epoch");
    for (int i = 0; i < 300; i++) json_array_append(epochs, json_array_get(epochs, 1));
    error_clear(&err);
    refused(state_read(doc, size, NULL, admin, &got, &err), ERR_LEDGER_BROKEN, &err, "malformed list of epochs");
    json_array_clear(epochs);
    error_clear(&err);
    refused(state_read(doc, size, NULL, admin, &got, &err), ERR_LEDGER_BROKEN, &err, "not in its canonical form");
    json_decref(doc);
    json_decref(again);
    holder_end(&writer);
    kit_end(&k);
}

static void a_prune_key_collects_across_them(void **state) {
    struct kit k;
    struct holder prune;
    struct error err = ERROR_INIT;
    (void)state;
    begin(&k);
    k.silent = true;
    uint64_t old = kit_backup(&k, "s", items, 1, false, NULL);
    holder_add(&k, ROLE_PRUNE, 1, &prune);
    begin_epoch(&k, NULL);
    uint64_t new = kit_backup(&k, "s", items, MEMBERS, false, NULL);
    kit_ok(holder_open(&prune, &err), &err);
    kit_ok(repo_forget(prune.kit.repo, &old, 1, "a test", &err), &err);
    struct gc_options o = {.now_ns = INT64_MAX / 2};
    struct gc_plan plan;
    kit_ok(gc_run(prune.kit.repo, &o, &plan, &err), &err);
    assert_true(plan.dead_packs > 0);
    gc_plan_free(&plan);
    kit_reopen(&k, true);
    kit_expect(&k, new, items, MEMBERS);
    struct check_options c = {.level = VERIFY_DECODE, .threads = 2};
    struct check_totals totals;
    kit_ok(repo_check(k.repo, &c, &totals, &err), &err);
    assert_int_equal(totals.result, CHECK_VERIFIED);
    holder_end(&prune);
    kit_end(&k);
}

static void there_are_as_many_as_fit(void **state) {
    struct kit k;
    struct holder writer;
    struct error err = ERROR_INIT;
    unsigned n = 0;
    uint64_t keys;
    (void)state;
    begin(&k);
    holder_add(&k, ROLE_WRITER, 1, &writer);
    uint64_t seq = kit_backup(&k, "s", &items[2], 1, false, NULL);
    while (n < EPOCHS_MAX) n = begin_epoch(&k, NULL);
    refused(repo_epoch_begin(k.repo, &n, &keys, &err), ERR_POLICY, &err, "the repository has had 255 epochs");
    error_clear(&err);
    kit_ok(holder_open(&writer, &err), &err);
    uint64_t last = kit_backup(&writer.kit, "t", &items[2], 1, false, NULL);
    kit_reopen(&k, true);
    kit_expect(&k, seq, &items[2], 1);
    kit_expect(&k, last, &items[2], 1);
    assert_int_equal(named_by(&k, EPOCHS_MAX, EPOCHS_MAX), 1);
    holder_end(&writer);
    kit_end(&k);
}

/* The admin begins an epoch, and a writer opens the repository and stores something in it. */
static int begin_and_enter(struct kit *k, struct holder *writer, struct error *err) {
    unsigned n;
    uint64_t keys, seq;
    int rc = repo_open(k->store, &k->unlock, k->cache_dir, &k->repo, err);
    if (rc == 0) rc = repo_epoch_begin(k->repo, &n, &keys, err);
    if (rc == 0) rc = holder_open(writer, err);
    if (rc == 0) rc = kit_backup_try(&writer->kit, "w", &items[2], 1, false, NULL, &seq, err);
    return rc;
}

/* A store that could not make something durable once takes no more writes. */
static void store_again(struct kit *k) {
    struct error err = ERROR_INIT;
    store_close(k->store);
    kit_ok(store_local_open(k->repo_dir, false, &k->store, &err), &err);
}

static void every_call_that_fails_leaves_a_whole_repository(void **state) {
    struct kit k;
    struct holder writer;
    struct error err = ERROR_INIT;
    uint64_t total = 0, begun = 0;
    (void)state;
    begin(&k);
    holder_add(&k, ROLE_WRITER, 1, &writer);
    uint64_t seq = kit_backup(&k, "s", &items[2], 1, false, NULL);
    for (uint64_t n = 1; n <= (total ? total : 1); n += total ? 1 + total / 60 : 0) {
        const unsigned before = repo_epoch(k.repo);
        repo_close(k.repo);
        k.repo = NULL;
        repo_close(writer.kit.repo);
        writer.kit.repo = NULL;
        if (before >= EPOCHS_MAX - 4) break;
        store_again(&k);
        store_again(&writer.kit);
        error_clear(&err);
        fault_install();
        if (total) fault_fail(n, 0, n % 2);
        int rc = begin_and_enter(&k, &writer, &err);
        if (!total) total = fault_calls();
        fault_remove();
        assert_int_equal(rc, -(int)err.code);
        if (rc < 0 && (error_info(rc)->status == EXIT_INTEGRITY || rc == -ERR_KEY_ROLE || rc == -ERR_KEY_WRONG))
            fail_msg("call %llu: %s", (unsigned long long)n, err.text);
        repo_close(k.repo);
        k.repo = NULL;
        error_clear(&err);
        kit_ok(repo_open(k.store, &k.unlock, k.cache_dir, &k.repo, &err), &err);
        assert_true(repo_epoch(k.repo) == before || repo_epoch(k.repo) == before + 1);
        begun += repo_epoch(k.repo) - before;
        kit_expect(&k, seq, &items[2], 1);
        kit_ok(holder_open(&writer, &err), &err);
        assert_int_equal(repo_epoch(writer.kit.repo), repo_epoch(k.repo));
    }
    assert_true(begun > 5 && total > 50);
    uint64_t last = kit_backup(&writer.kit, "w", &items[2], 1, false, NULL);
    kit_reopen(&k, true);
    kit_expect(&k, last, &items[2], 1);
    holder_end(&writer);
    kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_role_finds_just_its_keys),
        cmocka_unit_test(what_is_stored_later_has_other_ids),
        cmocka_unit_test(a_writer_that_was_away_keeps_what_it_knows),
        cmocka_unit_test(a_backup_that_an_epoch_overtakes_is_taken_again),
        cmocka_unit_test(what_an_interrupted_run_left_is_not_taken_over),
        cmocka_unit_test(only_the_admin_begins_one_and_only_the_next),
        cmocka_unit_test(a_key_made_before_an_epoch_is_not_added_after_it),
        cmocka_unit_test(lost_or_altered_keys_are_told_and_made_again),
        cmocka_unit_test(a_summary_carries_them),
        cmocka_unit_test(a_prune_key_collects_across_them),
        cmocka_unit_test(there_are_as_many_as_fit),
        cmocka_unit_test(every_call_that_fails_leaves_a_whole_repository),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
