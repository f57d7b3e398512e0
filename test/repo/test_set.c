/* Sets in the fold of the log: what an entry may say, who may sign it, and that a summary has it all. */
#include "repo_kit.h"

#include "ledger/statement.h"
#include "repo/state_summary.h"

#include <stdio.h>

static struct keyring *writer_key, *restore_key;

static const struct keyring *admin(const struct kit *k) {
    return repo_keys(k->repo);
}

static json_t *member(struct kit *k, uint64_t seq, const char *surface) {
    char hex[65];
    hex_encode(kit_snapshot(k, seq)->entry.b, DIGEST_BYTES, hex);
    return json_pack("{s:s, s:I, s:s}", "surface", surface, "seq", (json_int_t)seq, "receipt", hex);
}

static json_t *set(const char *status, json_t *members, const char *missing) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "set_id", "set-1", "environment", "dev", "set",
                     "all", "status", status, "started_at", "2026-02-16T07:00:00Z", "completed_at",
                     "2026-02-16T07:00:09Z", "consistency", "quiesced", "members", members, "missing",
                     missing ? json_pack("[{s:s}]", "surface", missing) : json_array());
}

static json_t *restored(const struct set_info *s, const char *status, bool right) {
    char hex[65];
    struct digest d = s->entry;
    if (!right) d.b[0] ^= 1;
    hex_encode(d.b, DIGEST_BYTES, hex);
    return json_pack("{s:I, s:s, s:s, s:I}", "seq", (json_int_t)s->seq, "entry", hex, "status", status, "duration_ms",
                     (json_int_t)1500);
}

static uint64_t begin(struct kit *k) {
    static const struct kit_item item = {"a", CONTENT_FILE, (const uint8_t *)"hello", 5};
    struct error err = ERROR_INIT;
    kit_begin(k);
    for (int i = 0; i < 2; i++) {
        struct unlock slot = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(k->key, sizeof k->key)};
        struct keyring **key = i ? &restore_key : &writer_key;
        kit_ok(repo_bundle_new(k->repo, i ? ROLE_RESTORE : ROLE_WRITER, key, &err), &err);
        kit_ok(repo_key_add(k->repo, *key, &slot, i ? "restorer" : "writer", &err), &err);
    }
    return kit_backup(k, "files", &item, 1, false, NULL);
}

static void end(struct kit *k) {
    keyring_free(writer_key);
    keyring_free(restore_key);
    kit_end(k);
}

static size_t voids(const struct kit *k) {
    const char *why;
    return repo_void_entries(k->repo, &why);
}

static void a_set_names_receipts_that_are_there(void **state) {
    struct kit k;
    struct error err = ERROR_INIT;
    (void)state;
    uint64_t seq = begin(&k);
    kit_say(&k, PREDICATE_SET, set("success", json_pack("[o]", member(&k, seq, "files")), NULL), writer_key);
    kit_say(&k, PREDICATE_SET, set("partial", json_pack("[o]", member(&k, seq, "files")), "db"), admin(&k));
    kit_ok(repo_sync(k.repo, &err), &err);
    assert_int_equal(repo_set_count(k.repo), 2);
    const struct set_info *s = repo_set(k.repo, 0);
    assert_string_equal(s->name, "all");
    assert_string_equal(s->consistency, "quiesced");
    assert_true(s->complete && s->member_count == 1 && s->members[0] == seq && s->missing == 0);
    s = repo_set(k.repo, 1);
    assert_true(!s->complete && s->missing == 1);
    assert_int_equal(voids(&k), 0);

    json_t *other = member(&k, seq, "files");
    json_object_set_new(other, "receipt",
                        json_string("0000000000000000000000000000000000000000000000000000000000000000"));
    kit_say(&k, PREDICATE_SET, set("success", json_pack("[o]", other), NULL), admin(&k));
    kit_say(&k, PREDICATE_SET, set("success", json_pack("[o]", member(&k, seq, "db")), NULL), admin(&k));
    json_t *nameless = set("success", json_array(), NULL);
    json_object_set_new(nameless, "set", json_string(""));
    kit_say(&k, PREDICATE_SET, nameless, admin(&k));
    kit_ok(repo_sync(k.repo, &err), &err);
    assert_int_equal(repo_set_count(k.repo), 2);
    assert_int_equal(voids(&k), 3);
    end(&k);
}

static void who_may_say_what(void **state) {
    struct kit k;
    struct error err = ERROR_INIT;
    (void)state;
    uint64_t seq = begin(&k);
    kit_say(&k, PREDICATE_SET, set("success", json_pack("[o]", member(&k, seq, "files")), NULL), restore_key);
    kit_ok(repo_sync(k.repo, &err), &err);
    assert_int_equal(voids(&k), 1);
    kit_say(&k, PREDICATE_SET, set("success", json_pack("[o]", member(&k, seq, "files")), NULL), writer_key);
    kit_ok(repo_sync(k.repo, &err), &err);
    assert_int_equal(repo_set_count(k.repo), 1);
    kit_say(&k, PREDICATE_SET_RESTORE, restored(repo_set(k.repo, 0), "success", true), writer_key);
    kit_say(&k, PREDICATE_SET_RESTORE, restored(repo_set(k.repo, 0), "success", false), restore_key);
    kit_ok(repo_sync(k.repo, &err), &err);
    assert_int_equal(voids(&k), 3);
    assert_int_equal(repo_set(k.repo, 0)->restored_ns, 0);
    kit_say(&k, PREDICATE_SET_RESTORE, restored(repo_set(k.repo, 0), "failure", true), restore_key);
    kit_ok(repo_sync(k.repo, &err), &err);
    assert_int_equal(repo_set(k.repo, 0)->restored_ns, 0);
    kit_say(&k, PREDICATE_SET_RESTORE, restored(repo_set(k.repo, 0), "success", true), restore_key);
    kit_ok(repo_sync(k.repo, &err), &err);
    assert_int_equal(voids(&k), 3);
    assert_true(repo_set(k.repo, 0)->restored_ns > 0);
    assert_int_equal(repo_set(k.repo, 0)->restore_took_ns, INT64_C(1500000000));
    end(&k);
}

static void a_summary_has_them(void **state) {
    struct kit k;
    struct error err = ERROR_INIT;
    struct state got;
    json_t *doc = NULL, *bad;
    (void)state;
    uint64_t seq = begin(&k);
    kit_ok(state_write(&k.repo->state, &doc, &err), &err);
    assert_int_equal(json_integer_value(json_object_get(doc, "version")), STATE_VERSION_PLAIN);
    json_decref(doc);
    kit_say(&k, PREDICATE_SET, set("partial", json_pack("[o]", member(&k, seq, "files")), "db"), admin(&k));
    kit_ok(repo_sync(k.repo, &err), &err);
    kit_say(&k, PREDICATE_SET_RESTORE, restored(repo_set(k.repo, 0), "success", true), admin(&k));
    kit_ok(repo_sync(k.repo, &err), &err);
    kit_ok(state_write(&k.repo->state, &doc, &err), &err);
    assert_int_equal(json_integer_value(json_object_get(doc, "version")), STATE_VERSION);
    uint64_t size = ledger_size(repo_ledger(k.repo));
    kit_ok(state_read(doc, size, NULL, admin(&k)->admin_public, &got, &err), &err);
    assert_int_equal(got.set_count, 1);
    assert_string_equal(got.sets[0].name, "all");
    assert_int_equal(got.sets[0].members[0], seq);
    assert_int_equal(got.sets[0].restore_took_ns, INT64_C(1500000000));
    state_free(&got);
    bad = json_deep_copy(doc);
    json_array_set_new(json_array_get(json_object_get(bad, "sets"), 0), 10, json_pack("[I]", (json_int_t)size));
    assert_int_equal(state_read(bad, size, NULL, admin(&k)->admin_public, &got, &err), -ERR_LEDGER_BROKEN);
    assert_non_null(strstr(err.text, "malformed set"));
    json_decref(bad);
    json_decref(doc);
    end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_names_receipts_that_are_there),
        cmocka_unit_test(who_may_say_what),
        cmocka_unit_test(a_summary_has_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
