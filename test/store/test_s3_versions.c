/* Versions, retention and what a thief leaves of them, on real servers; see test/store/s3.sh. */
#include "store_test.h"

#include "base/time.h"
#include "store/s3/s3_internal.h"
#include <unistd.h>

static const char *need(const char *name) {
    const char *v = getenv(name);
    if (!v) fail_msg("%s is not set", name);
    return v;
}

static struct store *opened(const char *variable) {
    struct store *s = NULL;
    OK(store_open(need(variable), true, &s, e));
    return s;
}

static void holds_bytes(struct store *s, const char *key, const char *want) {
    struct buf b = BUF_INIT(1000);
    OK(store_read_all(s, key, 1000, &b, e));
    assert_int_equal(b.len, strlen(want));
    assert_memory_equal(b.ptr, want, b.len);
    buf_free(&b);
}

struct seen {
    unsigned real, markers, latest, keys;
    char last[64], oldest_id[STORE_VERSION_BYTES];
};

static int see(void *ctx, const struct store_version *v, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    if (strcmp(s->last, v->key) != 0) {
        s->keys++;
        if (!v->latest) fail_msg("%s does not begin with its newest version", v->key);
        if (strcmp(s->last, v->key) > 0) fail_msg("%s comes after %s", v->key, s->last);
        snprintf(s->last, sizeof s->last, "%s", v->key);
    }
    s->latest += v->latest;
    if (v->marker) {
        s->markers++;
        return 0;
    }
    s->real++;
    snprintf(s->oldest_id, sizeof s->oldest_id, "%s", v->id);
    return 0;
}

struct listed {
    unsigned n;
    uint64_t bytes;
};

static int count(void *ctx, const struct store_object *o, struct error *err) {
    struct listed *l = ctx;
    (void)err;
    l->n++;
    l->bytes += o->bytes;
    return 0;
}

static void what_is_hidden_is_seen_through(void **state) {
    (void)state;
    struct store *thief = opened("S3_VERSIONED_URL"), *s;
    struct store_sights sights;
    struct listed l = {0};
    uint64_t bytes;
    OK(store_create(thief, "log/1", text("first"), e));
    OK(store_create(thief, "log/2", text("second!"), e));
    OK(store_create(thief, "log/20", text("neighbour"), e));
    OK(store_remove(thief, "log/2", e));
    s = opened("S3_VERSIONED_URL");
    store_sights(s, &sights);
    assert_int_equal(sights.hidden + sights.covered, 0);
    assert_string_equal(sights.first, "");
    holds_bytes(s, "log/2", "second!");
    OK(store_stat(s, "log/2", &bytes, NULL, e));
    assert_int_equal(bytes, 7);
    holds_bytes(s, "log/1", "first");
    FAILS(ERR_OBJECT_MISSING, "log/3", store_stat(s, "log/3", NULL, NULL, e));
    store_sights(s, &sights);
    assert_int_equal(sights.hidden, 1);
    assert_int_equal(sights.covered, 0);
    assert_string_equal(sights.first, "log/2");
    OK(store_list(s, "log/", count, &l, e));
    assert_int_equal(l.n, 2);
    l = (struct listed){0};
    OK(store_list_kept(s, "log/", count, &l, e));
    assert_int_equal(l.n, 3);
    assert_int_equal(l.bytes, 5 + 7 + 9);
    store_close(s), store_close(thief);
}

static void what_is_covered_is_seen_through_when_it_is_found_out(void **state) {
    (void)state;
    struct store *thief = opened("S3_VERSIONED_URL"), *s = opened("S3_VERSIONED_URL");
    struct store_sights sights;
    struct seen seen = {0};
    size_t got;
    char p[16];
    OK(store_create(thief, "packs/x", text("good"), e));
    assert_false(store_pin_first_version(s, "packs/x"));
    assert_false(store_pin_first_version(s, "packs/none"));
    OK(store_replace(thief, "packs/x", text("bad"), e));
    OK(store_replace(thief, "packs/x", text("worse"), e));
    holds_bytes(s, "packs/x", "worse");
    assert_true(store_pin_first_version(s, "packs/x"));
    holds_bytes(s, "packs/x", "good");
    assert_true(store_pin_first_version(s, "packs/x"));
    store_sights(s, &sights);
    assert_int_equal(sights.covered, 1);
    OK(store_list_versions(s, "packs/", see, &seen, e));
    assert_int_equal(seen.real, 3);
    assert_int_equal(seen.latest, 1);
    OK(store_read_version(s, "packs/x", seen.oldest_id, 1, p, sizeof p, &got, e));
    assert_int_equal(got, 3);
    assert_memory_equal(p, "ood", 3);
    FAILS(ERR_STORE_KEY, "cannot be", store_read_version(s, "packs//x", "null", 0, p, sizeof p, &got, e));
    /* …and put back on top, after which everybody sees it */
    OK(store_restore_version(s, "packs/x", seen.oldest_id, e));
    holds_bytes(thief, "packs/x", "good");
    holds_bytes(s, "packs/x", "good");
    seen = (struct seen){0};
    OK(store_list_versions(s, "packs/", see, &seen, e));
    assert_int_equal(seen.real, 4);
    /* a marker too */
    OK(store_remove(thief, "packs/x", e));
    OK(store_restore_version(s, "packs/x", seen.oldest_id, e));
    holds_bytes(thief, "packs/x", "good");
    store_close(s), store_close(thief);
}

static void a_bucket_without_versions_is_asked_once(void **state) {
    (void)state;
    struct store *s = opened("S3_URL");
    struct store_sights sights;
    struct listed l = {0};
    bool kept = true;
    OK(store_keeps_versions(s, &kept, e));
    assert_false(kept);
    OK(store_create(s, "plain/x", text("x"), e));
    OK(store_remove(s, "plain/x", e));
    FAILS(ERR_OBJECT_MISSING, "plain/x", store_stat(s, "plain/x", NULL, NULL, e));
    assert_false(store_pin_first_version(s, "plain/x"));
    OK(store_list_kept(s, "plain/", count, &l, e));
    assert_int_equal(l.n, 0);
    store_sights(s, &sights);
    assert_int_equal(sights.hidden + sights.covered, 0);
    int64_t until = 1;
    OK(store_create(s, "plain/x", text("x"), e));
    OK(store_reclaim(s, "plain/x", &until, e));
    assert_int_equal(until, 0);
    FAILS(ERR_OBJECT_MISSING, "plain/x", store_stat(s, "plain/x", NULL, NULL, e));
    store_close(s);
}

static const struct store_locks locks = {
    .mode = STORE_LOCK_GOVERNANCE, .rules = {{"packs/", 8 * NS_PER_S}, {"log/", 3600 * NS_PER_S}}, .count = 2};

static void objects_are_created_with_their_retention(void **state) {
    (void)state;
    struct store *s = opened("S3_LOCKED_URL");
    struct store_retention r;
    store_set_locks(s, &locks);
    int64_t now = time_now_ns();
    OK(store_create(s, "log/1", text("entry"), e));
    OK(store_create(s, "sess/1", text("session"), e));
    struct bytes part = text("pack");
    OK(store_stage(s, "packs/1", &part, 1, e));
    size_t big = MULTIPART_BYTES_MIN + 1;
    uint8_t *p = malloc(big);
    fill(p, big, 1);
    part = BYTES_OF(p, big);
    OK(store_stage(s, "log/big", &part, 1, e));
    OK(store_commit(s, e));
    free(p);
    OK(store_retention(s, "log/1", &r, e));
    assert_int_equal(r.mode, STORE_LOCK_GOVERNANCE);
    assert_in_range((r.until_ns - now) / NS_PER_S, 3590, 3620);
    assert_false(r.held);
    OK(store_retention(s, "log/big", &r, e));
    assert_int_equal(r.mode, STORE_LOCK_GOVERNANCE);
    assert_in_range((r.until_ns - now) / NS_PER_S, 3590, 3620);
    OK(store_retention(s, "packs/1", &r, e));
    assert_in_range((r.until_ns - now) / NS_PER_S, 2, 12);
    OK(store_retention(s, "sess/1", &r, e));
    assert_int_equal(r.mode, STORE_LOCK_NONE);
    FAILS(ERR_OBJECT_MISSING, "log/none", store_retention(s, "log/none", &r, e));
    store_close(s);
}

static void retention_is_made_longer_and_never_shorter(void **state) {
    (void)state;
    struct store *s = opened("S3_LOCKED_URL");
    struct store_retention r, want = {STORE_LOCK_COMPLIANCE, 0, false};
    int64_t now = time_now_ns(), until;
    OK(store_create(s, "keys/1", text("slot"), e));
    want.until_ns = now + 20 * NS_PER_S;
    OK(store_retain(s, "keys/1", &want, e));
    OK(store_retention(s, "keys/1", &r, e));
    assert_int_equal(r.mode, STORE_LOCK_COMPLIANCE);
    want.until_ns = now + 30 * NS_PER_S;
    OK(store_retain(s, "keys/1", &want, e));
    want.until_ns = now + 10 * NS_PER_S;
    FAILS(ERR_S3_LOCKED, "keys/1", store_retain(s, "keys/1", &want, e));
    OK(store_retention(s, "keys/1", &r, e));
    assert_int_equal(r.until_ns / NS_PER_S, now / NS_PER_S + 30);
    OK(store_reclaim(s, "keys/1", &until, e));
    assert_int_equal(until, r.until_ns);
    holds_bytes(s, "keys/1", "slot");
    /* what a marker hides is renewed too, in its first version */
    OK(store_remove(s, "keys/1", e));
    want.until_ns = now + 40 * NS_PER_S;
    OK(store_retain(s, "keys/1", &want, e));
    OK(store_retention(s, "keys/1", &r, e));
    assert_int_equal(r.until_ns / NS_PER_S, now / NS_PER_S + 40);
    store_close(s);
}

static void what_was_locked_is_erased_when_its_time_has_come(void **state) {
    (void)state;
    struct store *s = opened("S3_LOCKED_URL"), *other;
    struct seen seen = {0};
    int64_t until = 1;
    store_set_locks(s, &locks);
    OK(store_create(s, "packs/gone/1", text("dead"), e));
    OK(store_reclaim(s, "packs/gone/1", &until, e));
    assert_in_range((until - time_now_ns()) / NS_PER_S, 1, 12);
    OK(store_list_versions(s, "packs/gone/", see, &seen, e));
    assert_int_equal(seen.real, 1);
    assert_int_equal(seen.markers, 0);
    sleep(10);
    OK(store_reclaim(s, "packs/gone/1", &until, e));
    assert_int_equal(until, 0);
    seen = (struct seen){0};
    OK(store_list_versions(s, "packs/gone/", see, &seen, e));
    assert_int_equal(seen.real, 0);
    /* what never was locked stays as a version */
    other = opened("S3_VERSIONED_URL");
    OK(store_create(other, "packs/gone/2", text("dead"), e));
    OK(store_reclaim(other, "packs/gone/2", &until, e));
    assert_int_equal(until, 0);
    seen = (struct seen){0};
    OK(store_list_versions(other, "packs/gone/", see, &seen, e));
    assert_int_equal(seen.real, 1);
    assert_int_equal(seen.markers, 1);
    store_close(s), store_close(other);
}

static void a_bucket_tells_what_it_is_set_to(void **state) {
    (void)state;
    struct store_bucket b;
    struct store *s = opened("S3_URL");
    OK(store_bucket(s, &b, e));
    assert_int_equal(b.versioned, STORE_ANSWER_NO);
    assert_int_equal(b.lockable, STORE_ANSWER_NO);
    assert_int_equal(b.may_erase, STORE_ANSWER_YES);
    assert_int_equal(b.open_to_all, STORE_ANSWER_NO);
    enum store_answer lifecycle = strcmp(need("S3_KIND"), "versitygw") == 0 ? STORE_ANSWER_NONE : STORE_ANSWER_NO;
    assert_int_equal(b.expires, lifecycle);
    assert_int_equal(b.aborts, lifecycle);
    assert_int_equal(b.archives, lifecycle);
    assert_string_equal(b.sse_wanted, "");
    assert_string_equal(b.why, "");
    store_close(s);
    s = opened("S3_VERSIONED_URL");
    OK(store_bucket(s, &b, e));
    assert_int_equal(b.versioned, STORE_ANSWER_YES);
    assert_int_equal(b.lockable, STORE_ANSWER_NO);
    store_close(s);
    s = opened("S3_LOCKED_URL");
    OK(store_bucket(s, &b, e));
    assert_int_equal(b.versioned, STORE_ANSWER_YES);
    assert_int_equal(b.lockable, STORE_ANSWER_YES);
    assert_int_equal(b.default_mode, STORE_LOCK_NONE);
    assert_int_equal(b.may_erase, STORE_ANSWER_YES);
    store_close(s);
    s = opened("S3_LOOSE_URL"); /* a bucket in which everything is as it should not be */
    OK(store_bucket(s, &b, e));
    assert_int_equal(b.open_to_all, STORE_ANSWER_YES);
    if (lifecycle == STORE_ANSWER_NO) {
        assert_int_equal(b.expires, STORE_ANSWER_YES);
        assert_int_equal(b.expires_ns / (24 * 3600 * NS_PER_S), 30);
        assert_int_equal(b.expires_noncurrent, STORE_ANSWER_YES);
        assert_int_equal(b.expires_noncurrent_ns / (24 * 3600 * NS_PER_S), 7);
    }
    store_close(s);
}

static void what_may_not_be_asked_is_unknown(void **state) {
    (void)state;
    struct store_bucket b;
    const char *user = getenv("S3_USER");
    if (!user) skip();
    char admin[200], admin_secret[200];
    snprintf(admin, sizeof admin, "%s", need("AWS_ACCESS_KEY_ID"));
    snprintf(admin_secret, sizeof admin_secret, "%s", need("AWS_SECRET_ACCESS_KEY"));
    setenv("AWS_ACCESS_KEY_ID", user, 1);
    setenv("AWS_SECRET_ACCESS_KEY", need("S3_USER_SECRET"), 1);
    struct store *s = opened("S3_URL");
    OK(store_bucket(s, &b, e));
    assert_int_equal(b.versioned, STORE_ANSWER_UNKNOWN);
    assert_int_equal(b.lockable, STORE_ANSWER_UNKNOWN);
    assert_int_equal(b.open_to_all, STORE_ANSWER_UNKNOWN);
    assert_int_equal(b.may_erase, STORE_ANSWER_NO);
    if (!strstr(b.why, "AccessDenied")) fail_msg("'%s' gives no reason", b.why);
    store_close(s);
    setenv("AWS_ACCESS_KEY_ID", admin, 1);
    setenv("AWS_SECRET_ACCESS_KEY", admin_secret, 1);
}

static void a_folder_knows_no_such_thing(void **state) {
    (void)state;
    char folder[] = "/tmp/pk-versions-XXXXXX";
    struct store *s = NULL;
    struct store_bucket b;
    struct store_retention r;
    bool kept = true;
    int64_t until = 1;
    assert_non_null(mkdtemp(folder));
    OK(store_open(folder, true, &s, e));
    store_set_locks(s, &locks);
    assert_int_equal(store_lock_ns(s, "log/1"), 0);
    OK(store_create(s, "log/1", text("x"), e));
    FAILS(ERR_STORE_NO_VERSIONS, "neither versions nor retention", store_bucket(s, &b, e));
    FAILS(ERR_STORE_NO_VERSIONS, "neither versions nor retention", store_retention(s, "log/1", &r, e));
    OK(store_keeps_versions(s, &kept, e));
    assert_false(kept);
    assert_false(store_pin_first_version(s, "log/1"));
    OK(store_reclaim(s, "log/1", &until, e));
    FAILS(ERR_OBJECT_MISSING, "log/1", store_stat(s, "log/1", NULL, NULL, e));
    store_close(s);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest folder[] = {cmocka_unit_test(a_folder_knows_no_such_thing)};
    if (!getenv("S3_URL")) return cmocka_run_group_tests(folder, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_knows_no_such_thing),
        cmocka_unit_test(what_is_hidden_is_seen_through),
        cmocka_unit_test(what_is_covered_is_seen_through_when_it_is_found_out),
        cmocka_unit_test(a_bucket_without_versions_is_asked_once),
        cmocka_unit_test(objects_are_created_with_their_retention),
        cmocka_unit_test(retention_is_made_longer_and_never_shorter),
        cmocka_unit_test(what_was_locked_is_erased_when_its_time_has_come),
        cmocka_unit_test(a_bucket_tells_what_it_is_set_to),
        cmocka_unit_test(what_may_not_be_asked_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
