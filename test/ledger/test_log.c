/* The log itself; numbers are those of the invariants at the head of ledger.h and ledger.c. */
#include "fixture.h"

static uint64_t read_all(struct fixture *f, bool cached, struct seen *seen) {
    struct error err;
    struct ledger *l = fixture_open(f, cached, seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    uint64_t size = ledger_size(l);
    ledger_close(l);
    return size;
}

static void expect_refused(struct fixture *f, bool cached, enum error_code code, const char *fragment) {
    struct error err = ERROR_INIT;
    struct seen seen;
    struct ledger *l = fixture_open(f, cached, &seen);
    int rc = ledger_sync(l, &err);
    if (rc != -(int)code || !strstr(err.text, fragment))
        fail_msg("answered %d: '%s', not '%s'", rc, err.text, fragment);
    ledger_close(l);
}

static void an_empty_log_has_no_entries_and_the_empty_root(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    struct digest root, want;
    fixture_begin(&f);
    struct ledger *l = fixture_open(&f, false, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    assert_int_equal(ledger_size(l), 0);
    sha256(BYTES_OF(NULL, 0), &want);
    ledger_root(l, &root);
    assert_true(digest_equal(&root, &want));
    ledger_close(l);
    fixture_end(&f);
}

/* 1, 2, 3 */
static void what_is_appended_is_read_by_others_in_order(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen, mine;
    struct error err;
    uint64_t seq;
    struct digest digest, of;
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    char path[192];
    fixture_begin(&f);
    struct ledger *l = fixture_open(&f, false, &mine);
    for (unsigned i = 0; i < 5; i++) {
        EXPECT_OK(ledger_append(l, test_key, test_build, (char[]){'a', 0}, &seq, &digest, &err), err);
        assert_int_equal(seq, i);
        assert_int_equal(mine.count, i + 1);
        assert_true(digest_equal(&digest, &mine.last));
        assert_true(mine.newest_stored_ns > 0);
    }
    assert_int_equal(read_all(&f, false, &seen), 5);
    assert_int_equal(seen.count, 5);
    assert_true(digest_equal(&seen.last, &digest));
    EXPECT_OK(ledger_read(l, 4, &envelope, &err), err);
    sha256(buf_bytes(&envelope), &of);
    assert_true(digest_equal(&of, &digest));
    fixture_path(&f, "log/0000000000000004", path);
    CLEANUP(buf_free) struct buf stored = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    file_load(path, &stored);
    assert_true(bytes_equal(buf_bytes(&stored), buf_bytes(&envelope)));
    EXPECT_FAIL(ledger_read(l, 5, &envelope, &err), err, NO_POINT, "no entry 5 in the log of 5");
    ledger_close(l);
    fixture_end(&f);
}

/* 2 */
static void an_entry_names_its_place_and_its_predecessor(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    struct digest first, second;
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    char hex[65];
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1), payload = BUF_INIT(65536);
    json_t *doc;
    fixture_begin(&f);
    struct ledger *l = fixture_open(&f, false, &seen);
    EXPECT_OK(ledger_append(l, test_key, test_build, (char[]){'a', 0}, NULL, &first, &err), err);
    EXPECT_OK(ledger_append(l, test_key, test_build, (char[]){'b', 0}, NULL, &second, &err), err);
    EXPECT_OK(ledger_read(l, 1, &envelope, &err), err);
    EXPECT_OK(dsse_decode(buf_bytes(&envelope), &payload, pub, sig, &err), err);
    EXPECT_OK(json_parse(buf_bytes(&payload), 65536, "statement", &doc, &err), err);
    const json_t *place = json_object_get(json_object_get(doc, "predicate"), "ledger");
    assert_int_equal(json_object_size(place), 4);
    assert_int_equal(json_integer_value(json_object_get(place, "seq")), 1);
    hex_encode(first.b, DIGEST_BYTES, hex);
    assert_string_equal(json_string_value(json_object_get(place, "prev")), hex);
    hex_encode(pub, sizeof(pub), hex);
    assert_string_equal(json_string_value(json_object_get(place, "key")), hex);
    assert_string_equal(json_string_value(json_object_get(doc, "_type")), STATEMENT_TYPE);
    json_decref(doc);
    ledger_close(l);
    fixture_end(&f);
}

static int build_big(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    (void)ctx;
    static char text[LEDGER_ENTRY_MAX_BYTES];
    memset(text, 'x', sizeof(text) - 1);
    return test_build(text, seq, ret, err);
}

static void an_entry_too_big_is_refused_and_nothing_is_written(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    fixture_begin(&f);
    struct ledger *l = fixture_open(&f, false, &seen);
    EXPECT_FAIL(ledger_append(l, test_key, build_big, NULL, NULL, NULL, &err), err, LEDGER_TOO_BIG,
                "more than the 49152");
    assert_string_equal(err.state, "Nothing was added to the log.");
    EXPECT_OK(ledger_append(l, test_key, test_build, (char[]){'a', 0}, NULL, NULL, &err), err);
    ledger_close(l);
    assert_int_equal(read_all(&f, false, &seen), 1);
    fixture_end(&f);
}

static int build_refusing(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    (void)ctx, (void)seq, (void)ret;
    return error_set(err, ERR_REPO_COMMIT_LOST, "a pack is gone");
}
static int build_shapeless(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    (void)ctx, (void)seq, (void)err;
    *ret = json_object();
    return 0;
}

static void a_builder_may_refuse_and_must_give_a_statement(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    fixture_begin(&f);
    struct ledger *l = fixture_open(&f, false, &seen);
    EXPECT_FAIL(ledger_append(l, test_key, build_refusing, NULL, NULL, NULL, &err), err, REPO_COMMIT_LOST,
                "pack is gone");
    EXPECT_FAIL(ledger_append(l, test_key, build_shapeless, NULL, NULL, NULL, &err), err, INTERNAL,
                "malformed statement");
    ledger_close(l);
    assert_int_equal(read_all(&f, false, &seen), 0);
    fixture_end(&f);
}

/* 3 */
static void a_key_the_judge_refuses_is_refused(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    uint8_t seed[SIGN_SEED_BYTES] = {7};
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 2);
    struct ledger *l = fixture_open(&f, false, &seen);
    EXPECT_FAIL(ledger_append(l, BYTES_OF(seed, sizeof(seed)), test_build, (char[]){'a', 0}, NULL, NULL, &err), err,
                KEY_ROLE, "entry 2 of the log: this key may not write");
    assert_int_equal(ledger_size(l), 2);
    ledger_close(l);
    expect_refused(&f, false, ERR_KEY_ROLE, "entry 2 of the log: this key may not write");
    fixture_end(&f);
}

/* 6 */
static void what_the_judge_refuses_is_not_taken_in(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 4);
    struct ledger *l = fixture_open(&f, false, &seen);
    seen.refuse_at = 2;
    EXPECT_FAIL(ledger_sync(l, &err), err, KEY_ROLE, "refused by the test");
    assert_int_equal(ledger_size(l), 2);
    assert_int_equal(seen.count, 2);
    seen.refuse_at = 0;
    EXPECT_OK(ledger_sync(l, &err), err);
    assert_int_equal(ledger_size(l), 4);
    ledger_close(l);
    fixture_end(&f);
}

static void a_missing_entry_is_a_broken_log_not_a_shorter_one(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 6);
    EXPECT_OK(store_remove(f.store, "log/0000000000000003", &err), err);
    expect_refused(&f, false, ERR_LEDGER_BROKEN, "entry 3 of the log is missing, but there are entries up to 5");
    EXPECT_OK(store_remove(f.store, "log/0000000000000000", &err), err);
    expect_refused(&f, false, ERR_LEDGER_BROKEN, "entry 0 of the log is missing");
    fixture_end(&f);
}

static void swapped_entries_are_refused(void **state) {
    (void)state;
    struct fixture f;
    char a[192], b[192];
    CLEANUP(buf_free) struct buf one = BUF_INIT(65536), two = BUF_INIT(65536);
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 6);
    fixture_path(&f, "log/0000000000000002", a);
    fixture_path(&f, "log/0000000000000003", b);
    file_load(a, &one);
    file_load(b, &two);
    file_store(a, buf_bytes(&two));
    file_store(b, buf_bytes(&one));
    expect_refused(&f, false, ERR_LEDGER_BROKEN, "entry 2: it says that it is entry 3");
    fixture_end(&f);
}

/* A true entry of another history, in the right place, does not fit the chain. */
static void an_entry_of_another_history_is_refused(void **state) {
    (void)state;
    struct fixture f, other;
    char a[192], b[192];
    CLEANUP(buf_free) struct buf entry = BUF_INIT(65536);
    fixture_begin(&f);
    fixture_begin(&other);
    fixture_fill(&f, false, 0, 4);
    fixture_fill(&other, false, 100, 4);
    fixture_path(&f, "log/0000000000000002", a);
    fixture_path(&other, "log/0000000000000002", b);
    file_load(b, &entry);
    file_store(a, buf_bytes(&entry));
    expect_refused(&f, false, ERR_LEDGER_BROKEN, "follows another entry");
    fixture_end(&other);
    fixture_end(&f);
}

static void every_flipped_bit_of_a_stored_entry_is_refused(void **state) {
    (void)state;
    struct fixture f;
    char path[192];
    CLEANUP(buf_free) struct buf entry = BUF_INIT(65536);
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 2);
    fixture_path(&f, "log/0000000000000001", path);
    file_load(path, &entry);
    for (size_t bit = 0; bit < entry.len * 8; bit += 5) {
        entry.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        file_store(path, buf_bytes(&entry));
        expect_refused(&f, false, ERR_LEDGER_BROKEN, "entry 1: ");
        entry.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    struct error err;
    EXPECT_OK(buf_reserve(&entry, 60000, &err), err);
    memset(entry.ptr + entry.len, ' ', 60000);
    file_store(path, BYTES_OF(entry.ptr, entry.len + 60000));
    expect_refused(&f, false, ERR_LEDGER_BROKEN, "entry 1 of the log");
    file_store(path, BYTES_OF(NULL, 0));
    expect_refused(&f, false, ERR_LEDGER_BROKEN, "entry 1: ");
    fixture_end(&f);
}

static void names_that_are_no_entries_are_passed_over(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    char path[192];
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 2);
    fixture_path(&f, "log/00000000000000099", path);
    file_store(path, BYTES_STR("x"));
    fixture_path(&f, "log/notes", path);
    file_store(path, BYTES_STR("x"));
    assert_int_equal(read_all(&f, false, &seen), 2);
    fixture_end(&f);
}

/* 4 */
static void a_log_that_became_shorter_is_a_rollback(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 7);
    assert_int_equal(read_all(&f, true, &seen), 7);
    EXPECT_OK(store_remove(f.store, "log/0000000000000006", &err), err);
    EXPECT_OK(store_remove(f.store, "log/0000000000000005", &err), err);
    expect_refused(&f, true, ERR_LEDGER_ROLLBACK, "has 5 entries, but this machine has already seen 7");
    assert_int_equal(read_all(&f, false, &seen), 5); /* who has no memory cannot know */
    expect_refused(&f, true, ERR_LEDGER_ROLLBACK, "has 5 entries, but this machine has already seen 7");
    for (unsigned i = 0; i < 5; i++) {
        char key[32];
        snprintf(key, sizeof(key), "log/%016u", i);
        EXPECT_OK(store_remove(f.store, key, &err), err);
    }
    expect_refused(&f, true, ERR_LEDGER_ROLLBACK, "has 0 entries, but this machine has already seen 7");
    fixture_end(&f);
}

/* 4: the same length, another history */
static void a_forked_log_is_a_rollback(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 5);
    for (unsigned i = 3; i < 5; i++) {
        char key[32];
        snprintf(key, sizeof(key), "log/%016u", i);
        EXPECT_OK(store_remove(f.store, key, &err), err);
    }
    fixture_fill(&f, false, 50, 4);
    expect_refused(&f, true, ERR_LEDGER_ROLLBACK, "entry 4 of the log");
    expect_refused(&f, true, ERR_LEDGER_ROLLBACK, "it has seen 5 entries, the store has 7");
    assert_int_equal(read_all(&f, false, &seen), 7);
    fixture_end(&f);
}

/* 7 */
static void a_log_that_rolls_back_under_an_open_handle_is_noticed(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 3);
    struct ledger *l = fixture_open(&f, false, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(store_remove(f.store, "log/0000000000000002", &err), err);
    EXPECT_FAIL(ledger_sync(l, &err), err, LEDGER_ROLLBACK, "has 2 entries, but this machine has already seen 3");
    EXPECT_FAIL(ledger_append(l, test_key, test_build, (char[]){'a', 0}, NULL, NULL, &err), err, LEDGER_ROLLBACK,
                "seen 3");
    ledger_close(l);
    fixture_end(&f);
}

static void an_open_handle_sees_what_others_append(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    uint64_t seq;
    fixture_begin(&f);
    struct ledger *l = fixture_open(&f, true, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    fixture_fill(&f, true, 0, 3);
    EXPECT_OK(ledger_append(l, test_key, test_build, (char[]){'a', 0}, &seq, NULL, &err), err);
    assert_int_equal(seq, 3);
    assert_int_equal(seen.count, 4);
    fixture_fill(&f, true, 10, 1);
    EXPECT_OK(ledger_sync(l, &err), err);
    assert_int_equal(seen.count, 5);
    ledger_close(l);
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_log_has_no_entries_and_the_empty_root),
        cmocka_unit_test(what_is_appended_is_read_by_others_in_order),
        cmocka_unit_test(an_entry_names_its_place_and_its_predecessor),
        cmocka_unit_test(an_entry_too_big_is_refused_and_nothing_is_written),
        cmocka_unit_test(a_builder_may_refuse_and_must_give_a_statement),
        cmocka_unit_test(a_key_the_judge_refuses_is_refused),
        cmocka_unit_test(what_the_judge_refuses_is_not_taken_in),
        cmocka_unit_test(a_missing_entry_is_a_broken_log_not_a_shorter_one),
        cmocka_unit_test(swapped_entries_are_refused),
        cmocka_unit_test(an_entry_of_another_history_is_refused),
        cmocka_unit_test(every_flipped_bit_of_a_stored_entry_is_refused),
        cmocka_unit_test(names_that_are_no_entries_are_passed_over),
        cmocka_unit_test(a_log_that_became_shorter_is_a_rollback),
        cmocka_unit_test(a_forked_log_is_a_rollback),
        cmocka_unit_test(a_log_that_rolls_back_under_an_open_handle_is_noticed),
        cmocka_unit_test(an_open_handle_sees_what_others_append),
    };
    return cmocka_run_group_tests(tests, crypto_setup, NULL);
}
