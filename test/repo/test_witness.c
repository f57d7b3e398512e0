/* A witness without a key, what it believes and refuses; the log read anew; and two that publish at once. Every call to
 * the system fails in turn under a look: never a false word. */
#include "harness/fault.h"
#include "ledger/audit.h"
#include "ledger/proof.h"
#include "repo/log_view.h"
#include "repo/repo_internal.h"
#include "repo/witness.h"
#include "repo_kit.h"

static uint64_t say(struct repo *r, const char *text) {
    struct error err = ERROR_INIT;
    struct digest d;
    json_t *s = NULL;
    uint64_t seq;
    sha256(BYTES_STR(text), &d);
    kit_ok(statement_make(PREDICATE_PREFIX "note/v1", "test", &d, json_pack("{s:s}", "text", text), &s, &err), &err);
    kit_ok(repo_append(r, s, &seq, NULL, &err), &err);
    json_decref(s);
    return seq;
}

static struct note_key log_key(const struct kit *k) {
    struct error err = ERROR_INIT;
    struct note_key key;
    kit_ok(repo_verifier(k->repo, repo_keys(k->repo)->admin_public, &key, &err), &err);
    return key;
}

static uint64_t published(struct kit *k, struct digest *ret_root) {
    struct error err = ERROR_INIT;
    struct checkpoint_parts p;
    struct buf note = BUF_INIT(CHECKPOINT_MAX_BYTES);
    bool there;
    kit_ok(ledger_note(repo_ledger(k->repo), &note, &there, &err), &err);
    assert_true(there);
    kit_ok(checkpoint_split(buf_bytes(&note), NULL, &p, &err), &err);
    if (ret_root) *ret_root = p.head.root;
    buf_free(&note);
    return p.head.size;
}

/* ---- a look ---- */

static int look_with(struct kit *k, const struct note_key *key, const char *dir, const struct witness_seen *seen,
                     bool whole, struct witness_seen *ret, struct error *err) {
    struct witness_log *w = NULL;
    struct witness_view v = {.note = BUF_INIT(1)};
    struct store *s = NULL;
    int rc = store_local_open(k->repo_dir, false, &s, err);
    if (rc == 0) rc = witness_log_open(s, key, dir, &w, err);
    if (rc == 0) rc = witness_log_look(w, seen, whole, &v, err);
    if (rc == 0) *ret = (struct witness_seen){v.parts.head.size, v.parts.head.root};
    buf_free(&v.note);
    witness_log_close(w);
    store_close(s);
    return rc;
}

static int look(struct kit *k, const char *dir, const struct witness_seen *seen, bool whole, struct witness_seen *ret,
                struct error *err) {
    struct note_key key = log_key(k);
    return look_with(k, &key, dir, seen, whole, ret, err);
}

static void expect_refused(int rc, const struct error *err, enum error_code want, const char *why) {
    if (rc != -(int)want || !strstr(err->text, why))
        fail_msg("%d, '%s', and not %d, '%s'", rc, err->text, -(int)want, why);
}

static void a_witness_follows_a_log_that_grows_and_no_other(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct witness_seen none = {0}, a, b;
    char dir[128], other[128];
    kit_begin(&k);
    snprintf(dir, sizeof dir, "%s/witness", k.dir);
    snprintf(other, sizeof other, "%s/witness2", k.dir);
    expect_refused(look(&k, dir, &none, false, &a, &err), &err, ERR_UNVERIFIABLE, "no checkpoint yet");
    error_clear(&err);
    say(k.repo, "first");
    kit_ok(repo_publish(k.repo, &err), &err);
    kit_ok(look(&k, dir, &none, false, &a, &err), &err);
    assert_int_equal(a.size, 2);
    for (unsigned i = 0; i < 300; i++) say(k.repo, "more");
    kit_ok(repo_publish(k.repo, &err), &err);
    kit_ok(look(&k, dir, &a, false, &b, &err), &err);
    assert_int_equal(b.size, 302);
    kit_ok(look(&k, dir, &b, true, &b, &err), &err);
    /* one that begins only now says the same, and one that vouched for something else or for more refuses */
    kit_ok(look(&k, other, &a, true, &a, &err), &err);
    assert_true(digest_equal(&a.root, &b.root));
    b.root.b[0] ^= 1;
    expect_refused(look(&k, other, &b, false, &a, &err), &err, ERR_LEDGER_ROLLBACK, "was forked");
    error_clear(&err);
    b.size = 303;
    expect_refused(look(&k, other, &b, false, &a, &err), &err, ERR_LEDGER_ROLLBACK, "303 of it were vouched for");
    error_clear(&err);
    kit_ok(store_remove(k.store, "tile/0/000", &err), &err);
    kit_ok(look(&k, dir, &a, false, &b, &err), &err); /* the last look was at it, and it is not new */
    expect_refused(look(&k, dir, &a, true, &b, &err), &err, ERR_LEDGER_BROKEN, "tile/0/000: ");
    error_clear(&err);
    kit_ok(store_remove(k.store, "checkpoint", &err), &err);
    expect_refused(look(&k, dir, &a, false, &b, &err), &err, ERR_LEDGER_ROLLBACK, "checkpoint is gone");
    kit_end(&k);
}

static void no_failing_call_makes_a_false_word(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct witness_seen none = {0}, a;
    struct digest root;
    char dir[128];
    kit_begin(&k);
    snprintf(dir, sizeof dir, "%s/witness", k.dir);
    for (unsigned i = 0; i < 4; i++) say(k.repo, "x");
    kit_ok(repo_publish(k.repo, &err), &err);
    struct note_key key = log_key(&k);
    uint64_t size = published(&k, &root), n = 1, failed = 0;
    for (;; n++) {
        struct error e = ERROR_INIT;
        fault_install();
        fault_fail(n, 0, false);
        int rc = look_with(&k, &key, dir, &none, true, &a, &e);
        uint64_t hits = fault_hits();
        fault_remove();
        if (rc < 0 && (e.code == ERR_INTERNAL || !*e.text)) fail_msg("call %llu: '%s'", (unsigned long long)n, e.text);
        if (rc < 0 && e.code == ERR_LEDGER_ROLLBACK)
            fail_msg("call %llu raised an alarm: %s", (unsigned long long)n, e.text);
        if (rc == 0 && (a.size != size || !digest_equal(&a.root, &root))) fail_msg("call %llu", (unsigned long long)n);
        failed += rc < 0;
        kit_ok(io_remove_tree(AT_FDCWD, dir, &err), &err);
        if (hits == 0) break;
    }
    assert_true(failed > 50);
    kit_end(&k);
}

/* ---- two that publish ---- */

static struct kit *crossed;
static const struct store_ops *real;
static bool cross;

static int replace_late(struct store *s, const char *key, struct bytes content, struct error *err) {
    if (cross && strcmp(key, "checkpoint") == 0) {
        struct store *other_store;
        struct repo *other;
        struct error e = ERROR_INIT;
        cross = false;
        kit_ok(store_local_open(crossed->repo_dir, false, &other_store, &e), &e);
        kit_ok(repo_open(other_store, &crossed->unlock, NULL, &other, &e), &e);
        say(other, "in between");
        kit_ok(repo_publish(other, &e), &e);
        repo_close(other);
        store_close(other_store);
    }
    return real->replace(s, key, content, err);
}

static void of_two_that_publish_at_once_the_longer_log_stays(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct witness_seen none = {0}, a;
    char dir[128];
    kit_begin(&k);
    snprintf(dir, sizeof dir, "%s/witness", k.dir);
    say(k.repo, "first");
    crossed = &k;
    real = k.store->ops;
    struct store_ops hooked = *real;
    hooked.replace = replace_late;
    k.store->ops = &hooked;
    cross = true;
    kit_ok(repo_publish(k.repo, &err), &err);
    k.store->ops = real;
    assert_false(cross);
    assert_int_equal(published(&k, NULL), 3);
    kit_ok(look(&k, dir, &none, true, &a, &err), &err);
    assert_int_equal(a.size, 3);
    kit_end(&k);
}

/* ---- the log read anew ---- */

struct finding {
    unsigned n;
    char object[96];
};
static int found(void *ctx, const char *object, int code, const char *text, struct error *err) {
    struct finding *f = ctx;
    (void)code, (void)text, (void)err;
    f->n++;
    snprintf(f->object, sizeof f->object, "%s", object);
    return 0;
}

static int count_one(void *ctx, const struct log_entry_view *e, struct error *err) {
    uint64_t *n = ctx;
    (void)err;
    assert_int_equal(e->seq, *n);
    assert_non_null(e->key);
    assert_null(e->void_why);
    ++*n;
    return 0;
}

static void an_audit_names_what_differs(void **state) {
    (void)state;
    struct kit k;
    struct error err = ERROR_INIT;
    struct log_audit a;
    struct finding f = {0};
    struct buf was = BUF_INIT(1u << 20);
    struct digest root;
    kit_begin(&k);
    for (unsigned i = 0; i < 600; i++) say(k.repo, "x");
    kit_ok(repo_publish(k.repo, &err), &err);
    kit_ok(repo_log_audit(k.repo, found, &f, &a, &err), &err);
    assert_int_equal(f.n, 0);
    assert_int_equal(a.entries, 601);
    assert_int_equal(a.checkpoint_size, 601);
    assert_int_equal(a.checkpoint_signer->role, ROLE_ADMIN);
    /* a handle that begins at the summary sees the same */
    kit_reopen(&k, true);
    assert_int_equal(ledger_base(repo_ledger(k.repo)), 512);
    uint64_t n = 0;
    kit_ok(repo_log_each(k.repo, count_one, &n, &err), &err);
    assert_int_equal(n, 601);
    kit_ok(ledger_root_at(repo_ledger(k.repo), 100, &root, &err), &err);
    kit_ok(repo_log_audit(k.repo, found, &f, &a, &err), &err);
    assert_int_equal(f.n, 0);
    static const char *const objects[] = {"tile/0/001", "tile/entries/000", "tile/1/000.p/2", "checkpoint"};
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        buf_clear(&was);
        kit_ok(store_read_all(k.store, objects[i], 1u << 20, &was, &err), &err);
        was.ptr[was.len - 3] ^= 1;
        kit_ok(store_replace(k.store, objects[i], buf_bytes(&was), &err), &err);
        f.n = 0;
        kit_ok(repo_log_audit(k.repo, found, &f, &a, &err), &err);
        assert_int_equal(f.n, 1);
        assert_int_equal(a.problems, 1);
        assert_string_equal(f.object, objects[i]);
        was.ptr[was.len - 3] ^= 1;
        kit_ok(store_replace(k.store, objects[i], buf_bytes(&was), &err), &err);
    }
    kit_ok(store_remove(k.store, "log/0000000000000600", &err), &err);
    expect_refused(repo_log_audit(k.repo, found, &f, &a, &err), &err, ERR_LEDGER_ROLLBACK, "600 entries");
    buf_free(&was);
    kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_witness_follows_a_log_that_grows_and_no_other),
        cmocka_unit_test(no_failing_call_makes_a_false_word),
        cmocka_unit_test(of_two_that_publish_at_once_the_longer_log_stays),
        cmocka_unit_test(an_audit_names_what_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
