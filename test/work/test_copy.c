/* The use case around the engine: what is chosen, what is skipped and why, and what is told. */
#include "work/copy.h"
#include "work/inspect.h"
#include "work/status.h"
#include "work_kit.h"

#include <stdio.h>

struct pair {
    struct work_kit k;
    struct work *to;
    char place[160];
};

static void pair_begin(struct pair *p) {
    struct error err = ERROR_INIT;
    struct store *s = NULL;
    struct keyring *keys = NULL;
    static char cache[160];
    work_kit_begin(&p->k, NULL);
    snprintf(p->place, sizeof p->place, "%s/copy", p->k.kit.dir);
    snprintf(cache, sizeof cache, "%s/copy-cache", p->k.kit.dir);
    struct repo_params rp = {.copy_of = p->k.kit.repo};
    kit_ok(store_local_open(p->place, true, &s, &err), &err);
    kit_ok(repo_create(s, &rp, &p->k.kit.unlock, "", &keys, &err), &err);
    keyring_free(keys);
    store_close(s);
    struct work_options o = {
        .config_path = p->k.config, .repository = p->place, .key_file = p->k.key_file, .cache_dir = cache, .jobs = 2};
    kit_ok(work_open(&o, &p->to, &err), &err);
}

static void pair_end(struct pair *p) {
    work_close(p->to);
    work_kit_end(&p->k);
}

struct seen {
    char text[400]; /* "3 copied, 4 there, " */
};

static int see(void *ctx, const struct copy_point *p, struct error *err) {
    static const char *const words[] = {"failed", "copied", "there", "suspect", "would"};
    struct seen *s = ctx;
    size_t n = strlen(s->text);
    (void)err;
    snprintf(s->text + n, sizeof s->text - n, "%s%llu %s", n ? ", " : "", (unsigned long long)p->source_seq,
             words[p->outcome]);
    assert_true((p->outcome == COPY_FAILED) == (p->failure != NULL));
    return 0;
}

static struct copy_result copied(struct pair *p, const char *address, bool dry_run, const char *expected) {
    struct error err = ERROR_INIT;
    const char *const addresses[] = {address};
    struct copy_request q = {.addresses = addresses, .count = address ? 1 : 0, .dry_run = dry_run};
    struct copy_result r;
    struct seen s = {""};
    kit_ok(work_copy(p->k.work, p->to, &q, see, &s, &r, &err), &err);
    assert_string_equal(s.text, expected);
    return r;
}

static void points_are_chosen_as_they_are_named(void **state) {
    (void)state;
    struct pair p;
    pair_begin(&p);
    for (uint32_t i = 1; i <= 3; i++) work_kit_point(&p.k, i == 2 ? "other" : "files", 5000, i);
    copied(&p, NULL, true, "1 would, 2 would, 3 would");
    assert_int_equal(repo_snapshot_count(p.to->repo), 0);
    copied(&p, "dev/files@latest", false, "3 copied");
    struct copy_result r = copied(&p, "dev/other", false, "2 copied");
    assert_int_equal(r.behind, 1);
    r = copied(&p, "dev/all", false, "1 copied, 2 there, 3 there");
    assert_int_equal(r.behind, 0);
    assert_int_equal(r.done, 1);
    assert_int_equal(r.there, 2);
    assert_fails(work_copy(p.k.work, p.to,
                           &(struct copy_request){.addresses = (const char *const[]){"dev/none"}, .count = 1}, see,
                           &(struct seen){""}, &r, &err),
                 ERR_NO_POINT, "nothing that is named");
    assert_fails(
        work_copy(p.k.work, p.to,
                  &(struct copy_request){.addresses = (const char *const[]){"dev/files,other@latest"}, .count = 1}, see,
                  &(struct seen){""}, &r, &err),
        ERR_NO_POINT, "no set of dev/files,other@latest was taken");
    pair_end(&p);
}

static void what_the_copy_forgot_comes_back_only_when_it_is_named(void **state) {
    (void)state;
    struct pair p;
    struct error err = ERROR_INIT;
    pair_begin(&p);
    work_kit_point(&p.k, "files", 5000, 1);
    copied(&p, NULL, false, "1 copied");
    uint64_t seq = repo_snapshot(p.to->repo, 0)->seq;
    kit_ok(repo_forget(p.to->repo, &seq, 1, "its own retention", &err), &err);
    copied(&p, NULL, false, "1 there");
    copied(&p, "dev/files", false, "1 there");
    copied(&p, "dev/files@latest", false, "1 copied");
    assert_int_equal(repo_snapshot_count(p.to->repo), 2);
    pair_end(&p);
}

static void what_a_thief_may_have_written_is_not_copied(void **state) {
    (void)state;
    struct pair p;
    struct error err = ERROR_INIT;
    struct keyring *thief = NULL;
    uint8_t key[32] = {7};
    pair_begin(&p);
    work_kit_point(&p.k, "files", 5000, 1);
    kit_ok(keyring_derive(repo_keys(p.k.kit.repo), ROLE_WRITER, &thief, &err), &err);
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)}, admin = p.k.kit.unlock;
    kit_ok(repo_key_add(p.k.kit.repo, thief, &u, "", &err), &err);
    p.k.kit.unlock = u;
    kit_reopen(&p.k.kit, true);
    uint64_t seq = work_kit_point(&p.k, "files", 5000, 2);
    p.k.kit.unlock = admin;
    kit_reopen(&p.k.kit, true);
    kit_ok(repo_key_revoke(p.k.kit.repo, thief->sign_public, 0, &err), &err);
    keyring_free(thief);
    kit_ok(repo_sync(p.k.work->repo, &err), &err);
    assert_true(repo_snapshot_suspect(p.k.work->repo, work_kit_info(&p.k, seq)));
    struct copy_result r = copied(&p, NULL, false, "1 copied, 3 suspect");
    assert_int_equal(r.behind, 0);
    pair_end(&p);
}

static void status_and_facts_tell_of_copies(void **state) {
    (void)state;
    struct pair p;
    struct error err = ERROR_INIT;
    struct selection s;
    struct status st;
    pair_begin(&p);
    work_kit_point(&p.k, "files", 5000, 1);
    copied(&p, NULL, false, "1 copied");
    work_kit_verify(&p.k, 1, VERIFY_DECODE, true);
    work_kit_point(&p.k, "files", 5000, 2);
    kit_ok(selection_parse("dev", false, &s, &err), &err);
    kit_ok(work_status(p.k.work, &s, &st, &err), &err);
    assert_int_equal(st.copy_count, 1);
    assert_int_equal(st.copies[0].behind, 1);
    assert_string_equal(st.copies[0].repository, "main");
    assert_string_equal(st.copies[0].id, repo_id_hex(p.to->repo));
    assert_true(st.copies[0].waiting_ns > 0 && st.copies[0].told_ns > 0);
    status_free(&st);
    json_t *facts = NULL;
    kit_ok(inspect_facts(p.to, repo_snapshot(p.to->repo, 0), &facts, &err), &err);
    const json_t *receipt = json_object_get(facts, "receipt");
    assert_string_equal(json_string_value(json_object_get(json_object_get(facts, "source"), "signature")), "VERIFIED");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json_object_get(facts, "point"), "copy_of"), "repository")),
        repo_id_hex(p.k.work->repo));
    /* the source's verification is not the copy's */
    assert_true(json_is_false(json_object_get(json_object_get(receipt, "integrity"), "validated")));
    assert_string_equal(json_string_value(json_object_get(json_object_get(facts, "point"), "verified")), "none");
    json_decref(facts);
    pair_end(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_are_chosen_as_they_are_named),
        cmocka_unit_test(what_the_copy_forgot_comes_back_only_when_it_is_named),
        cmocka_unit_test(what_a_thief_may_have_written_is_not_copied),
        cmocka_unit_test(status_and_facts_tell_of_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
