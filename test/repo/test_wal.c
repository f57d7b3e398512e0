/* WAL objects: what is stored under a name, by whom it can be told, and what the log says of it. */
#include "repo_kit.h"

#include "../harness/fault.h"
#include "crypto/epoch.h"
#include "repo/repo_internal.h"
#include "repo/state_summary.h"
#include "repo/wal_object.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEY "wal/7351234567890123456/00000001/000000010000000000000001"
#define OTHER "wal/7351234567890123456/00000001/000000010000000000000002"
#define SYSTEM UINT64_C(7351234567890123456)

static uint8_t text[5u << 20], noise[3u << 20];

static void refused(int rc, int code, const struct error *err, const char *part) {
    assert_int_equal(rc, -code);
    if (!strstr(err->text, part)) fail_msg("'%s' does not say '%s'", err->text, part);
}

static void put(struct kit *k, const char *key, struct bytes plain, struct wal_object_stored *ret) {
    struct error err = ERROR_INIT;
    kit_ok(wal_object_put(k->repo, key, plain, 16u << 20, ret, &err), &err);
}

static void expect(struct kit *k, const char *key, struct bytes plain) {
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(64u << 20);
    kit_ok(buf_append_str(&b, "before", &err), &err);
    kit_ok(wal_object_get(k->repo, key, &b, &err), &err);
    assert_int_equal(b.len, plain.len + 6);
    assert_memory_equal(b.ptr, "before", 6);
    if (plain.len) assert_memory_equal(b.ptr + 6, plain.ptr, plain.len);
    buf_free(&b);
}

static void sizes_of_every_kind_come_back(void **s) {
    (void)s;
    static const size_t sizes[] = {0, 1, 40, (1u << 20) - 1, 1u << 20, (1u << 20) + 1, sizeof text};
    struct kit k = {0};
    struct wal_object_stored st;
    kit_begin(&k);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char key[WAL_OBJECT_KEY_BYTES];
        struct error err = ERROR_INIT;
        struct wal_object_head h;
        struct digest d;
        struct buf b = BUF_INIT(64u << 20);
        snprintf(key, sizeof key, "wal/1/00000001/%024zu", i);
        put(&k, key, BYTES_OF(text, sizes[i]), &st);
        assert_false(st.was_there);
        expect(&k, key, BYTES_OF(text, sizes[i]));
        kit_ok(wal_object_head(k.repo, key, &h, &err), &err);
        assert_true(h.plain_bytes == sizes[i] && h.segment_bytes == 16u << 20 && h.epoch == 0);
        kit_ok(store_read_all(k.store, key, b.max_bytes, &b, &err), &err);
        sha256(buf_bytes(&b), &d);
        assert_true(digest_equal(&d, &st.digest) && b.len == st.object_bytes);
        buf_free(&b);
    }
    put(&k, KEY, BYTES_OF(noise, sizeof noise), &st);
    expect(&k, KEY, BYTES_OF(noise, sizeof noise));
    kit_end(&k);
}

static void a_name_is_given_once(void **s) {
    (void)s;
    struct kit k = {0};
    struct wal_object_stored first, again;
    struct error err = ERROR_INIT;
    kit_begin(&k);
    put(&k, KEY, BYTES_OF(text, 70000), &first);
    put(&k, KEY, BYTES_OF(text, 70000), &again);
    assert_true(again.was_there && digest_equal(&first.digest, &again.digest) &&
                first.object_bytes == again.object_bytes);
    refused(wal_object_put(k.repo, KEY, BYTES_OF(text, 69999), 0, &again, &err), ERR_WAL_DIFFERS, &err,
            "with other bytes");
    assert_non_null(strstr(err.state, "nothing was stored"));
    error_clear(&err);
    refused(wal_object_put(k.repo, KEY, BYTES_OF(text + 1, 70000), 0, &again, &err), ERR_WAL_DIFFERS, &err, KEY);
    error_clear(&err);
    expect(&k, KEY, BYTES_OF(text, 70000));
    put(&k, OTHER, BYTES_OF(text, 70000), &again); /* the same bytes under another name are another object */
    assert_false(digest_equal(&first.digest, &again.digest));
    kit_end(&k);
}

static void every_bit_of_an_object_counts(void **s) {
    (void)s;
    struct kit k = {0};
    struct wal_object_stored st;
    struct error err = ERROR_INIT;
    struct buf whole = BUF_INIT(64u << 20), out = BUF_INIT(64u << 20);
    char path[256];
    kit_begin(&k);
    put(&k, KEY, BYTES_OF(text, 3000), &st);
    snprintf(path, sizeof path, "%s/" KEY, k.repo_dir);
    kit_ok(store_read_all(k.store, KEY, whole.max_bytes, &whole, &err), &err);
    for (size_t at = 0; at < whole.len; at += at < 300 ? 1 : 37) {
        whole.ptr[at] ^= 1;
        kit_ok(io_replace_file(AT_FDCWD, path, buf_bytes(&whole), 0600, &err), &err);
        int rc = wal_object_get(k.repo, KEY, &out, &err);
        if (rc != -ERR_OBJECT_CORRUPT && rc != -ERR_FORMAT_VERSION) fail_msg("byte %zu: %d %s", at, rc, err.text);
        assert_int_equal(out.len, 0);
        error_clear(&err);
        whole.ptr[at] ^= 1;
    }
    for (size_t n = 0; n < whole.len; n += n < 300 ? 17 : 101) {
        kit_ok(io_replace_file(AT_FDCWD, path, BYTES_OF(whole.ptr, n), 0600, &err), &err);
        refused(wal_object_get(k.repo, KEY, &out, &err), ERR_OBJECT_CORRUPT, &err, KEY);
        error_clear(&err);
    }
    kit_ok(io_replace_file(AT_FDCWD, path, buf_bytes(&whole), 0600, &err), &err);
    expect(&k, KEY, BYTES_OF(text, 3000));
    buf_free(&out);
    /* under another name it is no more what it was */
    snprintf(path, sizeof path, "%s/" OTHER, k.repo_dir);
    kit_ok(io_replace_file(AT_FDCWD, path, buf_bytes(&whole), 0600, &err), &err);
    refused(wal_object_get(k.repo, OTHER, &out, &err), ERR_OBJECT_CORRUPT, &err, OTHER);
    error_clear(&err);
    refused(wal_object_get(k.repo, "wal/1/x", &out, &err), ERR_OBJECT_MISSING, &err, "wal/1/x");
    buf_free(&whole);
    buf_free(&out);
    kit_end(&k);
}

struct holder {
    uint8_t key[32];
    struct unlock unlock;
    struct kit kit;
};

static void holder_open(struct kit *k, enum key_role role, uint8_t seed, struct holder *h) {
    struct error err = ERROR_INIT;
    struct keyring *bundle = NULL;
    memset(h->key, seed, sizeof h->key);
    h->unlock = (struct unlock){.kind = SLOT_KEY_FILE, .secret = BYTES_OF(h->key, sizeof h->key)};
    kit_ok(repo_bundle_new(k->repo, role, &bundle, &err), &err);
    kit_ok(repo_key_add(k->repo, bundle, &h->unlock, "a holder", &err), &err);
    keyring_free(bundle);
    h->kit = *k;
    h->kit.repo = NULL;
    kit_ok(store_local_open(k->repo_dir, false, &h->kit.store, &err), &err);
    kit_ok(repo_open_log(h->kit.store, &h->unlock, NULL, &h->kit.repo, &err), &err);
}

static void a_writer_tells_the_same_bytes_and_reads_none(void **s) {
    (void)s;
    struct kit k = {0};
    struct holder h = {0}, p = {0};
    struct wal_object_stored st;
    struct buf out = BUF_INIT(1u << 20);
    struct error err = ERROR_INIT;
    kit_begin(&k);
    holder_open(&k, ROLE_WRITER, 7, &h);
    put(&h.kit, KEY, BYTES_OF(text, 5000), &st);
    put(&h.kit, KEY, BYTES_OF(text, 5000), &st);
    assert_true(st.was_there);
    refused(wal_object_put(h.kit.repo, KEY, BYTES_OF(noise, 5000), 0, &st, &err), ERR_WAL_DIFFERS, &err, KEY);
    error_clear(&err);
    refused(wal_object_get(h.kit.repo, KEY, &out, &err), ERR_KEY_ROLE, &err, "needs a restore or admin key");
    error_clear(&err);
    /* of another epoch, too */
    unsigned epoch;
    uint64_t keys;
    kit_ok(repo_epoch_begin(k.repo, &epoch, &keys, &err), &err);
    kit_ok(repo_sync(h.kit.repo, &err), &err);
    put(&h.kit, KEY, BYTES_OF(text, 5000), &st);
    assert_true(st.was_there);
    put(&h.kit, OTHER, BYTES_OF(text, 5000), &st);
    struct wal_object_head head;
    kit_ok(wal_object_head(k.repo, OTHER, &head, &err), &err);
    assert_int_equal(head.epoch, 1);
    expect(&k, OTHER, BYTES_OF(text, 5000));
    /* a prune key may neither store nor say what is stored */
    holder_open(&k, ROLE_PRUNE, 9, &p);
    refused(wal_object_put(p.kit.repo, "wal/1/y", BYTES_OF(text, 50), 0, &st, &err), ERR_KEY_ROLE, &err, "id key");
    error_clear(&err);
    struct wal_row row = {.key = KEY, .object_bytes = 1};
    refused(wal_log_append(p.kit.repo, "prod", "db", SYSTEM, &row, 1, &err), ERR_KEY_ROLE, &err, "prune key");
    kit_close(&p.kit);
    kit_close(&h.kit);
    buf_free(&out);
    kit_end(&k);
}

static void batches_are_in_the_log_and_in_its_summary(void **s) {
    (void)s;
    struct kit k = {0};
    struct error err = ERROR_INIT;
    enum { N = WAL_ROWS_MAX + 5 };
    struct wal_row *rows = calloc(N, sizeof *rows), *back = NULL;
    uint64_t system = 0;
    size_t n = 0;
    kit_begin(&k);
    assert_false(wal_log_system(k.repo, "prod", "db", &system));
    for (size_t i = 0; i < N; i++) {
        snprintf(rows[i].key, sizeof rows[i].key, "wal/%llu/00000001/0000000100000000%08zX.00000028.backup",
                 (unsigned long long)SYSTEM, i);
        memset(rows[i].digest.b, (int)i, DIGEST_BYTES);
        rows[i].object_bytes = UINT64_C(1) << 30;
    }
    kit_ok(wal_log_append(k.repo, "prod", "db", SYSTEM, rows, N, &err), &err);
    assert_int_equal(wal_log_count(k.repo), 2);
    assert_true(wal_log_system(k.repo, "prod", "db", &system) && system == SYSTEM);
    assert_false(wal_log_system(k.repo, "prod", "other", &system));
    kit_reopen(&k, true);
    assert_int_equal(wal_log_count(k.repo), 2);
    assert_int_equal(wal_log_batch(k.repo, 1)->objects, 5);
    kit_ok(wal_log_rows(k.repo, wal_log_batch(k.repo, 1), &back, &n, &err), &err);
    assert_int_equal(n, 5);
    assert_string_equal(back[4].key, rows[N - 1].key);
    assert_true(digest_equal(&back[4].digest, &rows[N - 1].digest) && back[4].object_bytes == UINT64_C(1) << 30);
    seam_free(back);
    json_t *doc = NULL, *again = NULL;
    struct state st;
    kit_ok(state_write(&k.repo->state, &doc, &err), &err);
    assert_int_equal(json_integer_value(json_object_get(doc, "version")), STATE_VERSION);
    kit_ok(state_read(doc, ledger_size(k.repo->ledger), NULL, k.repo->keys->admin_public, &st, &err), &err);
    kit_ok(state_write(&st, &again, &err), &err);
    assert_true(json_equal(doc, again) && st.wal_count == 2 && st.wal[0].system == SYSTEM);
    state_free(&st);
    json_decref(again);
    json_array_set_new(json_array_get(json_object_get(doc, "wal"), 0), 3, json_string("0123"));
    refused(state_read(doc, ledger_size(k.repo->ledger), NULL, k.repo->keys->admin_public, &st, &err),
            ERR_LEDGER_BROKEN, &err, "batch of WAL");
    json_decref(doc);
    free(rows);
    kit_end(&k);
}

static void what_was_removed_is_summed_up(void **s) {
    (void)s;
    struct kit k = {0};
    struct error err = ERROR_INIT;
    struct wal_first first[] = {{SYSTEM, "000000010000000000000003"}, {SYSTEM, "0000000200000000000000A0"}};
    struct state st;
    json_t *doc = NULL, *again = NULL;
    kit_begin(&k);
    kit_ok(wal_log_remove(k.repo, SYSTEM, first, 2, &err), &err);
    kit_ok(wal_log_remove(k.repo, SYSTEM, first, 0, &err), &err);
    assert_int_equal(ledger_size(k.repo->ledger), 2); /* nothing is said of nothing */
    kit_reopen(&k, true);
    assert_true(wal_log_gone(k.repo, KEY) && wal_log_gone(k.repo, OTHER));
    assert_null(wal_log_first(k.repo, SYSTEM, 3));
    kit_ok(state_write(&k.repo->state, &doc, &err), &err);
    assert_int_equal(json_integer_value(json_object_get(doc, "version")), STATE_VERSION);
    kit_ok(state_read(doc, ledger_size(k.repo->ledger), NULL, k.repo->keys->admin_public, &st, &err), &err);
    assert_true(st.wal_first_count == 2 && state_wal_gone(&st, KEY));
    kit_ok(state_write(&st, &again, &err), &err);
    assert_true(json_equal(doc, again));
    state_free(&st);
    json_decref(again);
    static const char *const wrong[] = {"0000000200000000000000A1", "000000000000000000000003",
                                        "00000001000000000000000g", "1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) { /* the first names the other row's timeline again */
        json_array_set_new(json_array_get(json_object_get(doc, "wal_first"), 0), 1, json_string(wrong[i]));
        refused(state_read(doc, ledger_size(k.repo->ledger), NULL, k.repo->keys->admin_public, &st, &err),
                ERR_LEDGER_BROKEN, &err, "removal of WAL");
        error_clear(&err);
    }
    json_decref(doc);
    /* an entry that says it wrongly counts for nothing */
    struct wal_first none = {SYSTEM, "nonsense"};
    kit_ok(wal_log_remove(k.repo, SYSTEM, &none, 1, &err), &err);
    kit_reopen(&k, true);
    assert_true(k.repo->state.void_count == 1 && k.repo->state.wal_first_count == 2);
    assert_non_null(strstr(k.repo->state.void_text, "does not say which WAL was removed"));
    kit_end(&k);
}

static void what_is_acknowledged_and_mended_is_summed_up(void **s) {
    (void)s;
    struct kit k = {0};
    struct error err = ERROR_INIT;
    struct wal_row row = {.key = KEY, .object_bytes = 9};
    struct wal_ack a = {.system = SYSTEM,
                        .timeline = 1,
                        .from = UINT64_C(0x100000000),
                        .to = UINT64_C(0x1FF000000),
                        .reason = (char *)"gone"};
    struct wal_mended *m;
    struct state st;
    json_t *doc = NULL, *again = NULL, *p, *statement = NULL;
    struct digest d = {{1}};
    size_t n;
    kit_begin(&k);
    kit_ok(wal_log_append(k.repo, "prod", "db", SYSTEM, &row, 1, &err), &err);
    kit_ok(wal_log_mend(k.repo, "prod", "db", SYSTEM, &row, 1, &err), &err);
    kit_ok(wal_log_acknowledge(k.repo, "prod", "db", &a, "me@here", &err), &err);
    refused(wal_log_acknowledge(k.repo, "prod", "db", &(struct wal_ack){.timeline = 1, .reason = (char *)""}, "me@here",
                                &err),
            ERR_USAGE, &err, "a reason has 1 to 500 bytes");
    error_clear(&err);
    kit_reopen(&k, true);
    assert_true(wal_log_batch(k.repo, 1)->mended && !wal_log_batch(k.repo, 0)->mended &&
                wal_log_batch(k.repo, 0)->time_ns > 0);
    kit_ok(wal_log_mended(k.repo, &m, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_false(wal_row_counts(m, n, KEY, wal_log_batch(k.repo, 0)->seq));
    assert_true(wal_row_counts(m, n, KEY, wal_log_batch(k.repo, 1)->seq) && wal_row_counts(m, n, OTHER, 1));
    seam_free(m);
    assert_int_equal(wal_log_acks(k.repo), 1);
    assert_non_null(wal_log_acknowledged(k.repo, SYSTEM, 1, a.from, a.to));
    assert_non_null(wal_log_acknowledged(k.repo, SYSTEM, 1, a.from + 5, a.to - 5));
    assert_null(wal_log_acknowledged(k.repo, SYSTEM, 1, a.from - 1, a.to));
    assert_null(wal_log_acknowledged(k.repo, SYSTEM, 1, a.from, a.to + 1));
    assert_null(wal_log_acknowledged(k.repo, SYSTEM, 2, a.from, a.to));
    assert_null(wal_log_acknowledged(k.repo, SYSTEM, 1, 0, 0)); /* a history is another thing */
    assert_null(wal_log_acknowledged(k.repo, 5, 1, a.from, a.to));
    kit_ok(state_write(&k.repo->state, &doc, &err), &err);
    kit_ok(state_read(doc, ledger_size(k.repo->ledger), NULL, k.repo->keys->admin_public, &st, &err), &err);
    assert_true(st.wal_ack_count == 1 && st.wal_acks[0].to == a.to && strcmp(st.wal_acks[0].reason, "gone") == 0);
    kit_ok(state_write(&st, &again, &err), &err);
    assert_true(json_equal(doc, again));
    state_free(&st);
    json_decref(again);
    json_array_set_new(json_array_get(json_object_get(doc, "wal_gaps"), 0), 3, json_string("0/xyz"));
    refused(state_read(doc, ledger_size(k.repo->ledger), NULL, k.repo->keys->admin_public, &st, &err),
            ERR_LEDGER_BROKEN, &err, "acknowledgement of a gap");
    error_clear(&err);
    json_decref(doc);
    static const char *const from[] = {"1/0", "0/0", "1", "0/123456789"};
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) { /* the second is of no cluster */
        p = json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s}", "environment", "prod", "surface", "db", "system",
                      i == 1 ? "0" : "1", "timeline", 1, "from", from[i], "to", "0/5", "reason", "x");
        kit_ok(statement_make(PREDICATE_WAL_GAP, "wal-gap", &d, p, &statement, &err), &err);
        kit_ok(repo_append(k.repo, statement, NULL, NULL, &err), &err);
        json_decref(statement);
    }
    assert_true(k.repo->state.void_count == 4 && k.repo->state.wal_ack_count == 1);
    assert_non_null(strstr(k.repo->state.void_text, "does not say which gap is known"));
    kit_end(&k);
}

static void without_the_index_no_chunk_is_looked_up(void **s) {
    (void)s;
    struct kit k = {0};
    struct error err = ERROR_INIT;
    struct wal_object_stored st;
    static const struct kit_item item = {"a", CONTENT_FILE, text, 100000};
    kit_begin(&k);
    kit_backup(&k, "s", &item, 1, false, NULL);
    repo_close(k.repo);
    k.repo = NULL;
    kit_ok(repo_open_log(k.store, &k.unlock, k.cache_dir, &k.repo, &err), &err);
    put(&k, KEY, BYTES_OF(text, 100), &st);
    refused(repo_index_whole(k.repo, &err), ERR_IO_READ, &err, "index");
    kit_end(&k);
}

static int prepare(void **s) {
    (void)s;
    kit_text(text, sizeof text, 1);
    kit_random(noise, sizeof noise, 2);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_every_kind_come_back),
        cmocka_unit_test(a_name_is_given_once),
        cmocka_unit_test(every_bit_of_an_object_counts),
        cmocka_unit_test(a_writer_tells_the_same_bytes_and_reads_none),
        cmocka_unit_test(batches_are_in_the_log_and_in_its_summary),
        cmocka_unit_test(what_was_removed_is_summed_up),
        cmocka_unit_test(what_is_acknowledged_and_mended_is_summed_up),
        cmocka_unit_test(without_the_index_no_chunk_is_looked_up),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
