/* Summaries of a repository's log: the canonical state, beginning at one, who may sign, and who finds a lie. */
#include "repo_kit.h"

#include "../ledger/counting.h"
#include "base/time.h"
#include "ledger/statement.h"
#include "repo/state_summary.h"

#include <stdio.h>
#include <stdlib.h>

static uint32_t random_state = 4242;
static uint32_t roll(uint32_t n) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static json_t *digest_of(const char *text, uint64_t n) {
    char name[64];
    struct digest d;
    snprintf(name, sizeof name, "%s %llu", text, (unsigned long long)n);
    sha256(BYTES_STR(name), &d);
    return json_digest(&d);
}

static struct keyring *writer_key;

static unsigned before_restores = 1; /* one in so many is; 1: none */

static json_t *receipt(uint64_t n, bool data) {
    char id[64], now[32];
    snprintf(id, sizeof id, "bkp-%llu", (unsigned long long)n);
    time_format(time_now_ns() - (int64_t)roll(1000000) * 1000000000, now);
    json_t *p = json_pack("{s:s, s:s, s:s, s:s, s:s}", "backup_id", id, "environment", roll(2) ? "prod" : "dev",
                          "surface", "receipt \xc3\xa4", "started_at", now, "completed_at", now);
    if (data)
        json_object_set_new(p, "repository",
                            json_pack("{s:s, s:s, s:[o], s:o, s:b, s:I, s:I, s:I}", "surface", roll(2) ? "files" : "db",
                                      "kind", "test", "root", digest_of("root", n), "packs", digest_of("packs", n),
                                      "complete", (int)roll(2), "items", (json_int_t)roll(1000), "bytes",
                                      (json_int_t)roll(1u << 30), "stored_bytes", (json_int_t)roll(1u << 20)));
    if (data && roll(before_restores) == 1)
        json_object_set_new(p, "before_restore", json_string("pln-0123456789abcdef"));
    return p;
}

/* Something of every kind, also what counts for nothing. */
static void say_something(struct kit *k) {
    static const char *const results[] = {"PASSED", "FAILED", "WARNED", "UNKNOWN"};
    static const char *const levels[] = {"present", "checksum", "decode", "spot", "full", "rebuild"};
    const struct keyring *admin = repo_keys(k->repo);
    uint64_t n = ledger_size(repo_ledger(k->repo));
    size_t count = repo_snapshot_count(k->repo);
    const struct snapshot_info *s = count ? repo_snapshot(k->repo, roll((uint32_t)count)) : NULL;
    char now[32], hex[65];
    uint8_t pub[32];
    time_format(time_now_ns() - (int64_t)roll(100000) * 1000000000, now);
    unsigned what = s ? roll(13) : 0;
    if (what <= 3)
        kit_say(k, PREDICATE_RECEIPT, receipt(n, what < 3), roll(3) ? admin : writer_key);
    else if (what <= 5)
        kit_say(k, PREDICATE_VERIFICATION,
                json_pack("{s:I, s:o, s:s, s:s, s:s}", "seq", (json_int_t)s->seq, "receipt", json_digest(&s->entry),
                          "result", results[roll(4)], "level", levels[roll(6)], "started_at", now),
                roll(5) ? admin : writer_key);
    else if (what == 6)
        kit_say(k, PREDICATE_HOLD,
                json_pack("{s:I, s:s}", "seq", (json_int_t)s->seq, "action", roll(3) ? "hold" : "release"), admin);
    else if (what == 7)
        kit_say(k, PREDICATE_FORGET, json_pack("{s:[I]}", "seqs", (json_int_t)s->seq), roll(4) ? admin : writer_key);
    else if (what == 8)
        kit_say(k, PREDICATE_DELETE,
                roll(2) ? json_pack("{s:o, s:o}", "packs", digest_of("gone", n), "replaced_by", digest_of("new", n))
                        : json_pack("{s:o}", "swept", digest_of("swept", n)),
                admin);
    else if (what == 9) {
        kit_random(pub, 32, (uint32_t)n);
        hex_encode(pub, 32, hex);
        kit_say(k, PREDICATE_KEY,
                json_pack(
                    "{s:s, s:s, s:s, s:s}", "action", "add", "key", hex, "role", roll(2) ? "restore" : "prune", "label",
                    "a label that is longer than the sixty-four bytes that fit: \xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"),
                admin);
    } else if (what == 10)
        kit_say(k, PREDICATE_RESTORE,
                json_pack("{s:I, s:i}", "seq", (json_int_t)s->seq, "duration_ms", (int)roll(9999)), admin);
    else if (what == 11)
        kit_say(k, PREDICATE_READ, json_pack("{s:s}", "verb", "export"), roll(20) ? admin : writer_key);
    else
        kit_say(k, PREDICATE_PREFIX "unknown/v9", json_object(), admin);
}

static void talk(struct kit *k, uint64_t until) {
    while (ledger_size(repo_ledger(k->repo)) < until) say_something(k);
}

static void begin(struct kit *k) {
    struct error err = ERROR_INIT;
    char hex[65];
    kit_begin(k);
    kit_ok(keyring_derive(repo_keys(k->repo), ROLE_WRITER, &writer_key, &err), &err);
    hex_encode(writer_key->sign_public, 32, hex);
    kit_say(k, PREDICATE_KEY,
            json_pack("{s:s, s:s, s:s, s:s}", "action", "add", "key", hex, "role", "writer", "label", "a writer"),
            repo_keys(k->repo));
}

static void end(struct kit *k) {
    keyring_free(writer_key);
    kit_end(k);
}

static struct digest print_state(const struct repo *r) {
    struct error err = ERROR_INIT;
    struct digest d;
    struct buf b = BUF_INIT(64u << 20);
    json_t *doc = NULL;
    kit_ok(state_write(&r->state, &doc, &err), &err);
    kit_ok(json_write(doc, &b, &err), &err);
    sha256(buf_bytes(&b), &d);
    json_decref(doc);
    buf_free(&b);
    return d;
}

static struct repo *open_over(struct kit *k, struct store *s, const char *cache) {
    struct error err = ERROR_INIT;
    struct repo *r = NULL;
    kit_ok(repo_open(s, &k->unlock, cache, &r, &err), &err);
    return r;
}

/* Opened without a cache, it has the state that reading every entry gives, and the times. Says where it began. */
static uint64_t comes_to_the_same(struct kit *k, struct counting *c, char refused[512]) {
    struct error err = ERROR_INIT;
    struct counting own;
    if (!c) c = &own;
    counting_init(c, k->store);
    struct repo *r = open_over(k, &c->base, NULL);
    struct repo fold = {.keys = r->keys};
    memcpy(fold.id_hex, r->id_hex, sizeof fold.id_hex);
    struct summaries_check whole = {.fold = fold};
    struct ledger *l = NULL;
    char origin[64];
    snprintf(origin, sizeof origin, "proofkeep/%s", r->id_hex);
    kit_ok(ledger_open(k->store, origin, NULL, summaries_judge, &whole, &l, &err), &err);
    kit_ok(ledger_sync(l, &err), &err);
    assert_int_equal(ledger_size(l), ledger_size(r->ledger));
    struct digest a = print_state(r), b = print_state(&whole.fold);
    assert_memory_equal(a.b, b.b, 32);
    assert_int_equal(r->state.snapshot_count, whole.fold.state.snapshot_count);
    for (size_t i = 0; i < r->state.snapshot_count; i++)
        assert_int_equal(r->state.snapshots[i].stored_ns, whole.fold.state.snapshots[i].stored_ns);
    const char *why;
    assert_int_equal(repo_void_entries(r, &why), whole.fold.state.void_count);
    if (refused) snprintf(refused, 512, "%s", repo_summary_refused(r));
    uint64_t base = ledger_base(r->ledger);
    ledger_close(l);
    summaries_check_free(&whole);
    repo_close(r);
    return base;
}

static void publish_at(struct kit *k, uint64_t size, const struct keyring *by, void (*change)(json_t *)) {
    struct error err = ERROR_INIT;
    struct repo fold = {.keys = k->repo->keys};
    memcpy(fold.id_hex, k->repo->id_hex, sizeof fold.id_hex);
    struct summaries_check part = {.fold = fold};
    json_t *doc = NULL;
    kit_ok(ledger_publish(k->repo->ledger, secret_bytes(k->repo->keys->sign_seed), &err), &err);
    kit_ok(ledger_replay(k->repo->ledger, 0, size, summaries_judge, &part, &err), &err);
    kit_ok(state_write(&part.fold.state, &doc, &err), &err);
    if (change) change(doc);
    kit_ok(ledger_publish_summary(k->repo->ledger, secret_bytes(by->sign_seed), size, doc, &err), &err);
    json_decref(doc);
    summaries_check_free(&part);
}

static void remove_summaries(struct kit *k) {
    struct error err = ERROR_INIT;
    uint64_t *sizes;
    size_t n;
    kit_ok(ledger_list_summaries(k->repo->ledger, &sizes, &n, &err), &err);
    for (size_t i = 0; i < n; i++) {
        char key[64];
        snprintf(key, sizeof key, "summary/%016llu", (unsigned long long)sizes[i]);
        kit_ok(store_remove(k->store, key, &err), &err);
    }
    seam_free(sizes);
}

static void every_cut_gives_the_state_of_the_whole_log(void **state) {
    (void)state;
    struct kit k;
    before_restores = 4;
    begin(&k);
    for (uint64_t size = 2; size < 700;) {
        size += 1 + roll(60);
        talk(&k, size);
        uint64_t cut = 1 + roll((uint32_t)size);
        publish_at(&k, cut, repo_keys(k.repo), NULL);
        assert_int_equal(comes_to_the_same(&k, NULL, NULL), cut);
        remove_summaries(&k);
    }
    assert_true(k.repo->state.void_count > 10 && k.repo->state.hold_count > 5 && k.repo->state.delete_count > 5);
    end(&k);
    before_restores = 1;
}

static bool exists(struct kit *k, const char *key) {
    struct error err = ERROR_INIT;
    uint64_t bytes;
    return store_stat(k->store, key, &bytes, NULL, &err) == 0;
}

static void a_publisher_sums_up_at_the_end_of_every_bundle(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct counting c;
    struct buf one = BUF_INIT(1 << 20), two = BUF_INIT(1 << 20);
    begin(&k);
    talk(&k, 255);
    kit_ok(repo_publish(k.repo, &err), &err);
    assert_false(exists(&k, "summary/0000000000000256"));
    talk(&k, 300);
    kit_ok(repo_publish(k.repo, &err), &err);
    assert_true(exists(&k, "summary/0000000000000256"));
    assert_int_equal(comes_to_the_same(&k, NULL, NULL), 256);
    /* who began at it goes on from it, and comes to the very bytes of whom read all */
    struct repo *late = open_over(&k, k.store, NULL);
    assert_int_equal(ledger_base(late->ledger), 256);
    talk(&k, 530);
    kit_ok(repo_sync(late, &err), &err);
    kit_ok(repo_publish(late, &err), &err);
    kit_ok(store_read_all(k.store, "summary/0000000000000512", one.max_bytes - 1, &one, &err), &err);
    kit_ok(store_remove(k.store, "summary/0000000000000512", &err), &err);
    kit_ok(repo_publish(k.repo, &err), &err);
    kit_ok(store_read_all(k.store, "summary/0000000000000512", two.max_bytes - 1, &two, &err), &err);
    assert_true(bytes_equal(buf_bytes(&one), buf_bytes(&two)));
    repo_close(late);
    /* the newest two stay */
    talk(&k, 800);
    kit_ok(repo_publish(k.repo, &err), &err);
    assert_false(exists(&k, "summary/0000000000000256"));
    assert_true(exists(&k, "summary/0000000000000512") && exists(&k, "summary/0000000000000768"));
    counting_init(&c, k.store);
    assert_int_equal(comes_to_the_same(&k, &c, NULL), 768);
    /* deleted, they are missed by nobody */
    remove_summaries(&k);
    assert_int_equal(comes_to_the_same(&k, &c, NULL), 0);
    assert_true(c.bundle_reads <= 4);
    buf_free(&one);
    buf_free(&two);
    end(&k);
}

static void five_thousand_entries_open_in_a_handful_of_reads(void **state) {
    (void)state;
    struct kit k;
    struct counting c;
    struct error err = ERROR_INIT;
    begin(&k);
    talk(&k, 4990);
    kit_ok(repo_publish(k.repo, &err), &err);
    talk(&k, 5000);
    assert_int_equal(comes_to_the_same(&k, &c, NULL), 4864);
    print_message("# cold: %u summary, %u bundles, %u entries, %u checkpoints, %u stats, %u lists, %u others\n",
                  c.summary_reads, c.bundle_reads, c.log_reads, c.checkpoint_reads, c.stats, c.lists, c.other_reads);
    assert_int_equal(c.summary_reads, 1);
    assert_true(c.bundle_reads <= 2 && c.log_reads <= 255 && c.checkpoint_reads <= 3 && c.other_reads <= 4);
    assert_true(c.lists <= 4);
    assert_int_equal(c.writes, 0);
    end(&k);
}

static void drop_a_hold(json_t *state) {
    json_t *rows = json_object_get(state, "snapshots"), *row;
    size_t i, more = json_integer_value(json_object_get(state, "version")) == STATE_VERSION_PLAIN ? 0 : 2;
    json_array_foreach(rows, i, row) json_array_set_new(row, json_array_size(row) - 2 - more, json_integer(0));
    json_array_clear(json_object_get(state, "holds"));
}

/* What verify tells. */
struct told {
    unsigned summaries, bundles, logs;
    char text[512];
};

static int tell(void *ctx, const struct check_finding *f, struct error *err) {
    struct told *t = ctx;
    (void)err;
    if (strncmp(f->object, "summary/", 8) == 0) {
        t->summaries++;
        snprintf(t->text, sizeof t->text, "%s", f->text);
    }
    t->bundles += strncmp(f->object, "tile/entries/", 13) == 0;
    t->logs += strcmp(f->object, "log/") == 0;
    return 0;
}

static struct told check(struct repo *r) {
    struct told t = {0};
    struct error err = ERROR_INIT;
    struct check_totals totals;
    struct check_options o = {.level = VERIFY_PRESENT, .threads = 1, .ctx = &t, .finding = tell};
    kit_ok(repo_check(r, &o, &totals, &err), &err);
    if (t.summaries || t.bundles || t.logs) assert_int_not_equal(totals.result, CHECK_VERIFIED);
    return t;
}

static void a_writers_summary_is_refused_whatever_it_says(void **state) {
    (void)state;
    struct kit k;
    char refused[512], hex[65];
    begin(&k);
    talk(&k, 300);
    hex_encode(writer_key->sign_public, 32, hex);
    publish_at(&k, 290, writer_key, NULL);
    assert_int_equal(comes_to_the_same(&k, NULL, refused), 0);
    assert_non_null(strstr(refused, "summary/0000000000000290: it is signed by"));
    assert_non_null(strstr(refused, hex));
    struct told t = check(k.repo);
    assert_int_equal(t.summaries, 1);
    assert_non_null(strstr(t.text, hex));
    remove_summaries(&k);
    t = check(k.repo);
    assert_int_equal(t.summaries, 0);
    end(&k);
}

static void a_lie_of_the_admin_key_is_found_by_verify_and_by_the_next_publisher(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    char hex[65];
    begin(&k);
    talk(&k, 300);
    publish_at(&k, 256, repo_keys(k.repo), drop_a_hold);
    hex_encode(repo_keys(k.repo)->admin_public, 32, hex);
    struct repo *fooled = open_over(&k, k.store, NULL);
    assert_int_equal(ledger_base(fooled->ledger), 256);
    struct told t = check(fooled);
    assert_int_equal(t.summaries, 1);
    assert_int_equal(t.logs, 1); /* and that it was believed */
    assert_non_null(strstr(t.text, hex));
    assert_non_null(strstr(t.text, "does not say what the log's first 256 entries do"));
    t = check(k.repo);
    assert_true(t.summaries == 1 && t.logs == 0);
    json_t *doc = NULL;
    struct repo fold = {.keys = k.repo->keys};
    memcpy(fold.id_hex, k.repo->id_hex, sizeof fold.id_hex);
    struct summaries_check part = {.fold = fold};
    kit_ok(ledger_replay(k.repo->ledger, 0, 256, summaries_judge, &part, &err), &err);
    kit_ok(state_write(&part.fold.state, &doc, &err), &err);
    assert_int_equal(ledger_publish_summary(k.repo->ledger, secret_bytes(k.repo->keys->sign_seed), 256, doc, &err),
                     -ERR_LEDGER_BROKEN);
    assert_non_null(strstr(err.text, hex));
    json_decref(doc);
    summaries_check_free(&part);
    repo_close(fooled);
    end(&k);
}

static void a_bundle_that_is_not_the_logs_is_found_by_verify(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    begin(&k);
    talk(&k, 280);
    kit_ok(repo_publish(k.repo, &err), &err);
    struct told t = check(k.repo);
    assert_true(t.summaries == 0 && t.bundles == 0 && t.logs == 0);
    struct buf b = BUF_INIT(16u << 20);
    kit_ok(store_read_all(k.store, "tile/entries/000", b.max_bytes - 1, &b, &err), &err);
    b.ptr[b.len / 2] ^= 1;
    kit_ok(store_replace(k.store, "tile/entries/000", buf_bytes(&b), &err), &err);
    buf_free(&b);
    t = check(k.repo);
    assert_true(t.summaries == 0 && t.bundles == 1 && t.logs == 0);
    end(&k);
}

static void a_repository_mends_what_it_refused(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    char refused[512];
    begin(&k);
    talk(&k, 300);
    kit_ok(repo_publish(k.repo, &err), &err);
    kit_ok(store_replace(k.store, "summary/0000000000000256", BYTES_STR("rubbish"), &err), &err);
    struct repo *r = open_over(&k, k.store, NULL);
    assert_non_null(strstr(repo_summary_refused(r), "summary/0000000000000256: "));
    kit_ok(repo_publish(r, &err), &err);
    repo_close(r);
    assert_int_equal(comes_to_the_same(&k, NULL, refused), 256);
    assert_string_equal(refused, "");
    end(&k);
}

/* Anything that state_write would not have written. */
static void only_the_canonical_form_is_read(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct state got;
    json_t *doc = NULL;
    begin(&k);
    talk(&k, 120);
    const uint8_t *admin = repo_keys(k.repo)->admin_public;
    kit_ok(state_write(&k.repo->state, &doc, &err), &err);
    kit_ok(state_read(doc, 120, NULL, admin, &got, &err), &err);
    state_free(&got);
    struct {
        const char *why;
        json_t *bad;
    } cases[8];
    for (unsigned i = 0; i < 8; i++) cases[i].bad = json_deep_copy(doc);
    cases[0].why = "is of version 99, which is unknown";
    json_object_set_new(cases[0].bad, "version", json_integer(99));
    cases[1].why = "not in its canonical form";
    json_object_set_new(cases[1].bad, "more", json_integer(2));
    cases[2].why = "does not begin with this repository's admin key";
    json_array_remove(json_object_get(cases[2].bad, "keys"), 0);
    cases[3].why = "malformed snapshot";
    json_array_append(json_object_get(cases[3].bad, "snapshots"), json_array_get(json_object_get(doc, "snapshots"), 0));
    cases[4].why = "not in its canonical form";
    json_array_append_new(json_array_get(json_object_get(cases[4].bad, "keys"), 0), json_null());
    cases[5].why = "malformed hold";
    json_array_append_new(json_object_get(cases[5].bad, "holds"), json_array());
    cases[6].why = "'void' is missing";
    json_object_del(cases[6].bad, "void");
    cases[7].why = "malformed snapshot";
    json_array_set_new(json_array_get(json_object_get(cases[7].bad, "snapshots"), 1), 0, json_integer(120));
    for (unsigned i = 0; i < 8; i++) {
        error_clear(&err);
        int rc = state_read(cases[i].bad, 120, NULL, admin, &got, &err);
        if (rc != -ERR_LEDGER_BROKEN || !strstr(err.text, cases[i].why)) fail_msg("%u: %d %s", i, rc, err.text);
        json_decref(cases[i].bad);
    }
    json_decref(doc);
    end(&k);
}

static json_t *reading(void) {
    return json_pack("{s:s, s:s}", "verb", "export", "target", "/srv/out");
}

static int64_t version_of(const struct kit *k, json_t **ret) {
    struct error err = ERROR_INIT;
    kit_ok(state_write(&k->repo->state, ret, &err), &err);
    return json_integer_value(json_object_get(*ret, "version"));
}

/* One that counts changes nothing, so readers from before the word agree; one that does not is what they do not see. */
static void who_may_say_that_data_was_read(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct keyring *restore_key = NULL;
    struct state got;
    const char *why;
    char hex[65];
    json_t *doc = NULL, *bad, *statement = json_pack("{s:s}", "predicateType", PREDICATE_READ);
    begin(&k);
    kit_ok(keyring_derive(repo_keys(k.repo), ROLE_RESTORE, &restore_key, &err), &err);
    hex_encode(restore_key->sign_public, 32, hex);
    kit_say(&k, PREDICATE_KEY,
            json_pack("{s:s, s:s, s:s, s:s}", "action", "add", "key", hex, "role", "restore", "label", "a reader"),
            repo_keys(k.repo));
    kit_ok(repo_sync(k.repo, &err), &err);
    struct digest before = print_state(k.repo);
    kit_say(&k, PREDICATE_READ, reading(), repo_keys(k.repo));
    kit_say(&k, PREDICATE_READ, reading(), restore_key);
    kit_ok(repo_sync(k.repo, &err), &err);
    struct digest after = print_state(k.repo);
    assert_int_equal(repo_void_entries(k.repo, &why), 0);
    assert_memory_equal(before.b, after.b, 32);
    assert_int_equal(version_of(&k, &doc), STATE_VERSION_PLAIN);
    json_decref(doc);

    kit_say(&k, PREDICATE_READ, reading(), writer_key);
    kit_ok(repo_sync(k.repo, &err), &err);
    assert_int_equal(repo_void_entries(k.repo, &why), 1);
    assert_non_null(strstr(why, "says read/v1, which a writer key may not"));
    struct keyring *own = k.repo->keys;
    k.repo->keys = writer_key;
    assert_int_equal(repo_append(k.repo, statement, NULL, NULL, &err), -ERR_KEY_ROLE);
    k.repo->keys = own;
    assert_non_null(strstr(err.text, "may not sign an entry of type read/v1"));
    error_clear(&err);

    assert_int_equal(version_of(&k, &doc), STATE_VERSION_READ);
    const uint64_t size = ledger_size(repo_ledger(k.repo));
    const uint8_t *admin = repo_keys(k.repo)->admin_public;
    kit_ok(state_read(doc, size, NULL, admin, &got, &err), &err);
    assert_true(got.read_void && got.void_count == 1);
    state_free(&got);
    bad = json_deep_copy(doc);
    json_object_set_new(bad, "void", json_pack("[i, i]", 0, 0));
    assert_int_equal(state_read(bad, size, NULL, admin, &got, &err), -ERR_LEDGER_BROKEN);
    assert_non_null(strstr(err.text, "void"));
    json_decref(bad);
    json_decref(doc);
    json_decref(statement);
    keyring_free(restore_key);
    end(&k);
}

/* What was taken before a restore is told, and by nothing else than the snapshots that are. */
static void what_was_taken_before_a_restore_is_told(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct state got;
    json_t *doc = NULL, *p = receipt(1, true);
    begin(&k);
    kit_say(&k, PREDICATE_RECEIPT, receipt(0, true), repo_keys(k.repo));
    json_object_set_new(p, "before_restore", json_string("pln-0123456789abcdef"));
    kit_say(&k, PREDICATE_RECEIPT, p, repo_keys(k.repo));
    kit_ok(repo_sync(k.repo, &err), &err);
    assert_int_equal(version_of(&k, &doc), STATE_VERSION_BEFORE);
    const uint64_t size = ledger_size(repo_ledger(k.repo)), first = repo_snapshot(k.repo, 0)->seq,
                   seq = repo_snapshot(k.repo, 1)->seq;
    const uint8_t *admin = repo_keys(k.repo)->admin_public;
    kit_ok(state_read(doc, size, NULL, admin, &got, &err), &err);
    assert_false(got.snapshots[0].before_restore);
    assert_true(got.snapshots[1].before_restore);
    state_free(&got);
    json_t *const bad[] = {json_array(),
                           json_pack("[I, I]", (json_int_t)first, (json_int_t)first),
                           json_pack("[I]", (json_int_t)size),
                           json_pack("[I, I]", (json_int_t)seq, (json_int_t)first),
                           json_pack("[s]", "2"),
                           json_pack("{s:I}", "a", (json_int_t)seq)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_object_set_new(doc, "before_restore", bad[i]);
        assert_int_equal(state_read(doc, size, NULL, admin, &got, &err), -ERR_LEDGER_BROKEN);
        error_clear(&err);
    }
    json_decref(doc);
    end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_state_of_the_whole_log),
        cmocka_unit_test(a_publisher_sums_up_at_the_end_of_every_bundle),
        cmocka_unit_test(five_thousand_entries_open_in_a_handful_of_reads),
        cmocka_unit_test(a_writers_summary_is_refused_whatever_it_says),
        cmocka_unit_test(a_lie_of_the_admin_key_is_found_by_verify_and_by_the_next_publisher),
        cmocka_unit_test(a_bundle_that_is_not_the_logs_is_found_by_verify),
        cmocka_unit_test(a_repository_mends_what_it_refused),
        cmocka_unit_test(only_the_canonical_form_is_read),
        cmocka_unit_test(who_may_say_that_data_was_read),
        cmocka_unit_test(what_was_taken_before_a_restore_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
