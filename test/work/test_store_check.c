/* What is made of a store that does not keep its promises: tried on folders whose creates forget to look. */
#include "harness/claims.h"
#include "harness/scratch.h"
#include "work/store_check.h"

#include <stdlib.h>

static struct store_ops forgetful_ops;
struct forgetful {
    struct store store;
    struct store *under;
};

static struct store *under(struct store *s) {
    return ((struct forgetful *)s)->under;
}
static int create(struct store *s, const char *key, struct bytes content, struct error *err) {
    return store_replace(under(s), key, content, err);
}
static int read_under(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
                      struct error *err) {
    return store_read(under(s), key, at, p, len, ret_n, err);
}
static int list_under(struct store *s, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    return store_list(under(s), prefix, cb, ctx, err);
}
static int count(void *ctx, const struct store_object *o, struct error *err) {
    (void)o, (void)err;
    ++*(unsigned *)ctx;
    return 0;
}
static int list_nothing(struct store *s, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    (void)s, (void)prefix, (void)cb, (void)ctx, (void)err;
    return 0;
}
static int create_under(struct store *s, const char *key, struct bytes content, struct error *err) {
    return store_create(under(s), key, content, err);
}
static int remove_under(struct store *s, const char *key, struct error *err) {
    return store_remove(under(s), key, err);
}

/* Tags of its own: the content's first letter. */
static bool has_tags, obeys;

static int replace_under(struct store *s, const char *key, struct bytes content, struct error *err) {
    return store_replace(under(s), key, content, err);
}
static int read_tagged(struct store *s, const char *key, void *p, size_t len, size_t *ret_n, char tag[STORE_TAG_BYTES],
                       struct error *err) {
    int rc = store_read(under(s), key, 0, p, len, ret_n, err);
    if (rc == 0) snprintf(tag, STORE_TAG_BYTES, "%c", *(const char *)p);
    return rc;
}
static int replace_if(struct store *s, const char *key, struct bytes content, char tag[STORE_TAG_BYTES], bool *ret_done,
                      struct error *err) {
    char is[16];
    size_t n = 0;
    int rc = store_read(under(s), key, 0, is, sizeof is, &n, err);
    *ret_done = rc == 0 && (!obeys || is[0] == tag[0]);
    return *ret_done ? store_replace(under(s), key, content, err) : rc;
}

static void probe(bool creates_again, bool lists, struct store_facts *ret) {
    struct scratch dir;
    struct error err = ERROR_INIT;
    scratch_make(&dir);
    struct forgetful f = {.store = {&forgetful_ops}};
    forgetful_ops = (struct store_ops){.name = "forgetful",
                                       .create = creates_again ? create : create_under,
                                       .read = read_under,
                                       .list = lists ? list_under : list_nothing,
                                       .remove = remove_under,
                                       .replace = replace_under,
                                       .read_tagged = has_tags ? read_tagged : NULL,
                                       .replace_if = replace_if};
    claim_ok(store_local_open(dir.path, true, &f.under, &err), err);
    claim_ok(store_probe(&f.store, ret, &err), err);
    unsigned left = 0;
    claim_ok(store_list(f.under, "probe/", count, &left, &err), err);
    assert_int_equal(left, 0);
    store_close(f.under);
    scratch_remove(&dir);
}

static void a_place_that_gives_names_again_is_refused(void **state) {
    (void)state;
    struct store_facts f;
    struct error err = ERROR_INIT;
    probe(true, true, &f);
    assert_int_equal(f.conditional_create, STORE_FACT_NO);
    assert_int_equal(store_facts_required(&f, &err), -ERR_STORE_PROMISE);
    assert_non_null(strstr(err.text, "a name that is taken is given again"));
    assert_string_equal(error_info(-ERR_STORE_PROMISE)->code, "PK-STO-002");
}

static void a_place_that_lists_late_is_refused(void **state) {
    (void)state;
    struct store_facts f;
    struct error err = ERROR_INIT;
    probe(false, false, &f);
    assert_int_equal(f.conditional_create, STORE_FACT_YES);
    assert_int_equal(store_facts_required(&f, &err), -ERR_STORE_PROMISE);
    assert_non_null(strstr(err.text, "not listed at once"));
}

static void a_folder_keeps_all_that_is_needed(void **state) {
    (void)state;
    struct store_facts f;
    struct error err = ERROR_INIT;
    probe(false, true, &f);
    claim_ok(store_facts_required(&f, &err), err);
    assert_int_equal(f.conditional_replace, STORE_FACT_NONE);
}

static void a_place_that_replaces_whatever_is_there_is_found(void **state) {
    (void)state;
    struct store_facts f;
    struct error err = ERROR_INIT;
    has_tags = true;
    obeys = false;
    probe(false, true, &f);
    assert_int_equal(f.conditional_replace, STORE_FACT_NO);
    claim_ok(store_facts_required(&f, &err), err); /* which no backup depends on */
    obeys = true;
    probe(false, true, &f);
    assert_int_equal(f.conditional_replace, STORE_FACT_YES);
    has_tags = false;
}

static void what_is_unknown_is_not_taken_for_kept(void **state) {
    (void)state;
    struct store_facts f = {
        .conditional_create = STORE_FACT_YES, .read_after_write = STORE_FACT_UNKNOWN, .why = "it did not say"};
    struct error err = ERROR_INIT;
    assert_int_equal(store_facts_required(&f, &err), -ERR_STORE_PROMISE);
    assert_non_null(strstr(err.text, "could not be found out: it did not say"));
}

static const char *said(const struct store_facts *f, enum store_risk want) {
    static char all[2048];
    enum store_risk risk;
    const char *text, *next;
    all[0] = 0;
    for (unsigned i = 0; store_facts_sentence(f, i, &risk, &text, &next); i++) {
        if (risk != want) continue;
        strcat(all, text);
        strcat(all, "; ");
        assert_true(want != STORE_RISK_WARNED || next);
    }
    return all;
}

static void every_weakness_is_told_with_its_consequence(void **state) {
    (void)state;
    struct store_facts weak = {.delete_refused = STORE_FACT_NO,
                               .versioned = STORE_FACT_NO,
                               .lock_enabled = STORE_FACT_NO,
                               .lock_enforced = STORE_FACT_NO,
                               .conditional_replace = STORE_FACT_NO,
                               .conditional_parts = STORE_FACT_NO};
    const char *w = said(&weak, STORE_RISK_WARNED);
    assert_non_null(strstr(w, "who steals them can remove backups"));
    assert_non_null(strstr(w, "no versions are kept"));
    assert_non_null(strstr(w, "object lock is off"));
    assert_non_null(strstr(w, "stored in parts"));
    assert_non_null(strstr(w, "put an older checkpoint of the log in place of a newer one"));
    assert_string_equal(said(&weak, STORE_RISK_TOLD), "");
    struct store_facts liar = {.lock_enabled = STORE_FACT_YES, .lock_enforced = STORE_FACT_NO};
    assert_non_null(strstr(said(&liar, STORE_RISK_WARNED), "and yet what is retained was erased"));
    struct store_facts strong = {.delete_refused = STORE_FACT_YES,
                                 .versioned = STORE_FACT_YES,
                                 .lock_enabled = STORE_FACT_YES,
                                 .lock_enforced = STORE_FACT_YES,
                                 .conditional_replace = STORE_FACT_YES,
                                 .conditional_parts = STORE_FACT_YES};
    assert_string_equal(said(&strong, STORE_RISK_WARNED), "");
    assert_non_null(strstr(said(&strong, STORE_RISK_TOLD), "cannot be erased"));
    struct store_facts none = {0};
    assert_string_equal(said(&none, STORE_RISK_WARNED), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_that_gives_names_again_is_refused),
        cmocka_unit_test(a_place_that_lists_late_is_refused),
        cmocka_unit_test(a_folder_keeps_all_that_is_needed),
        cmocka_unit_test(a_place_that_replaces_whatever_is_there_is_found),
        cmocka_unit_test(what_is_unknown_is_not_taken_for_kept),
        cmocka_unit_test(every_weakness_is_told_with_its_consequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
