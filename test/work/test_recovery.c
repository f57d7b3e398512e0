#include "work_kit.h"

#include "../harness/fault.h"
#include "repo/state_summary.h"
#include "work/keys.h"
#include "work/recovery.h"

#include <stdio.h>
#include <unistd.h>

/* A kit of that role in a file of the kit's folder. */
static void kit_file(struct work_kit *k, enum key_role role, const char *name, char path[200]) {
    struct kit_request q = {.role = role, .out = path, .allow_same_disk = true};
    struct kit_made made;
    snprintf(path, 200, "%s/%s", k->kit.dir, name);
    assert_works(recovery_kit_make(k->work, &q, &made, &err));
    recovery_kit_free(&made);
}

static struct work *opened(struct work_kit *k, const char *kit, int code, const char *says) {
    struct work_options o = {
        .config_path = k->config, .recovery_kit = kit, .cache_dir = k->kit.dir, .repository = k->kit.repo_dir};
    struct work *w = NULL;
    struct error err = ERROR_INIT;
    kit_ok(work_open(&o, &w, &err), &err);
    int rc = work_open_repo(w, NULL, &err);
    if (rc != -code || (code && !strstr(err.text, says))) fail_msg("%d: %s", rc, err.text);
    return w;
}

static void a_drill_reads_the_newest_point_and_is_recorded(void **state) {
    struct work_kit k;
    struct recovery_test t;
    char path[200];
    (void)state;
    work_kit_begin(&k, NULL);
    kit_file(&k, ROLE_RESTORE, "restore.kit", path);
    struct work *w = opened(&k, path, 0, NULL);
    assert_fails(recovery_test(w, &t, &err), ERR_UNVERIFIABLE, "no recovery point to decode");
    assert_null(repo_key_drill(w->repo));
    work_close(w);
    work_kit_point(&k, "files", 50000, 1);
    uint64_t seq = work_kit_point(&k, "files", 60000, 2);
    w = opened(&k, path, 0, NULL);
    assert_works(recovery_test(w, &t, &err));
    assert_int_equal(t.role, ROLE_RESTORE);
    assert_string_equal(t.point, work_kit_info(&k, seq)->id);
    assert_true(t.decoded_bytes > 0 && t.slot_stored && t.has_slot && t.has_word);
    assert_int_equal(t.previous_ns, 0);
    work_close(w);
    work_kit_open(&k, NULL);
    assert_int_equal(repo_key_drill(k.work->repo)->seq, t.seq);
    assert_int_equal(repo_key_drill(k.work->repo)->role, ROLE_RESTORE);
    assert_fails(recovery_test(k.work, &t, &err), ERR_KEY_NONE, "no recovery kit opened");
    work_kit_end(&k);
}

static void a_kit_whose_key_was_removed_is_no_proof(void **state) {
    struct work_kit k;
    struct recovery_test t;
    char path[200], removed[65];
    bool slot;
    (void)state;
    work_kit_begin(&k, NULL);
    work_kit_point(&k, "files", 50000, 1);
    kit_file(&k, ROLE_RESTORE, "restore.kit", path);
    const struct key_info *key = repo_key(k.work->repo, repo_key_count(k.work->repo) - 1);
    char id[65];
    hex_encode(key->public_key, sizeof key->public_key, id);
    assert_works(key_remove(k.work, id, removed, &slot, &err));
    /* the slot is gone from the store, and on the page: it opens, and reads, but says nothing that counts */
    struct work *w = opened(&k, path, 0, NULL);
    assert_false(repo_slot_stored(w->repo));
    assert_fails(recovery_test(w, &t, &err), ERR_KEY_ROLE, "the kit's key was removed");
    assert_null(repo_key_drill(w->repo));
    work_close(w);
    work_kit_end(&k);
}

static void only_kits_that_recover_are_made(void **state) {
    struct work_kit k;
    struct kit_made made;
    char writer[160], inside[200];
    (void)state;
    work_kit_begin(&k, NULL);
    struct kit_request q = {.role = ROLE_PRUNE, .out_fd = STDERR_FILENO, .allow_same_disk = true};
    assert_fails(recovery_kit_make(k.work, &q, &made, &err), ERR_USAGE, "recovers nothing");
    snprintf(inside, sizeof inside, "%s/kit", k.kit.repo_dir);
    q.role = ROLE_ADMIN;
    q.out = inside;
    assert_fails(recovery_kit_make(k.work, &q, &made, &err), ERR_POLICY, "own folder");
    assert_int_equal(access(inside, F_OK), -1);
    work_kit_key(&k, ROLE_WRITER, writer);
    work_kit_open(&k, writer);
    q.out = NULL;
    assert_fails(recovery_kit_make(k.work, &q, &made, &err), ERR_KEY_ROLE, "admin");
    assert_null(made.text);
    work_kit_end(&k);
}

/* A point that a key file's holder writes. */
static uint64_t point_by(struct work_kit *k, const char *key_file, uint32_t seed) {
    struct repo *admin = k->kit.repo;
    work_kit_open(k, key_file);
    k->kit.repo = k->work->repo;
    uint64_t seq = work_kit_point(k, "files", 40000, seed);
    k->kit.repo = admin;
    work_kit_open(k, NULL);
    return seq;
}

static void what_a_stolen_key_wrote_is_suspect_from_then_on(void **state) {
    struct work_kit k;
    char writer[160], id[65];
    enum key_role role = ROLE_ADMIN;
    json_t *list = NULL;
    (void)state;
    work_kit_begin(&k, NULL);
    work_kit_key(&k, ROLE_WRITER, writer);
    const struct key_info *key = repo_key(k.work->repo, repo_key_count(k.work->repo) - 1);
    hex_encode(key->public_key, sizeof key->public_key, id);
    uint64_t before = point_by(&k, writer, 1);
    int64_t since = time_now_ns() / NS_PER_S * NS_PER_S + NS_PER_S;
    while (time_now_ns() < since) usleep(20000);
    uint64_t admins = work_kit_point(&k, "files", 40000, 2);
    uint64_t after = point_by(&k, writer, 3);
    assert_works(key_revoke(k.work, id, since, id, &role, &list, &err));
    assert_int_equal(role, ROLE_WRITER);
    assert_int_equal(json_array_size(list), 1);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "log_seq")), after);
    json_decref(list);
    work_kit_open(&k, NULL);
    assert_false(repo_snapshot_suspect(k.work->repo, work_kit_info(&k, before)));
    assert_false(repo_snapshot_suspect(k.work->repo, work_kit_info(&k, admins)));
    assert_true(repo_snapshot_suspect(k.work->repo, work_kit_info(&k, after)));
    work_kit_end(&k);
}

static void drill_and_suspicion_survive_a_summary(void **state) {
    struct work_kit k;
    struct recovery_test t;
    struct state got;
    json_t *doc = NULL, *again = NULL, *list = NULL;
    char path[200], writer[160], id[65];
    enum key_role role = ROLE_ADMIN;
    (void)state;
    work_kit_begin(&k, NULL);
    work_kit_point(&k, "files", 40000, 1);
    kit_file(&k, ROLE_ADMIN, "admin.kit", path);
    struct work *w = opened(&k, path, 0, NULL);
    assert_works(recovery_test(w, &t, &err));
    work_close(w);
    work_kit_open(&k, NULL);
    work_kit_key(&k, ROLE_WRITER, writer);
    hex_encode(repo_key(k.work->repo, repo_key_count(k.work->repo) - 1)->public_key, SIGN_PUBLIC_BYTES, id);
    assert_works(key_revoke(k.work, id, 0, id, &role, &list, &err));
    json_decref(list);
    const struct state *s = &k.work->repo->state;
    uint64_t size = ledger_size(repo_ledger(k.work->repo));
    assert_works(state_write(s, &doc, &err));
    assert_works(state_read(doc, size, NULL, repo_keys(k.work->repo)->admin_public, &got, &err));
    assert_int_equal(got.drill.seq, t.seq);
    assert_int_equal(got.drill.role, ROLE_ADMIN);
    assert_int_equal(got.keys[got.key_count - 1].suspect_ns, NS_PER_S);
    assert_works(state_write(&got, &again, &err));
    assert_true(json_equal(doc, again));
    state_free(&got);
    json_array_set_new(json_object_get(doc, "drill"), 2, json_string("owner"));
    assert_fails(state_read(doc, size, NULL, repo_keys(k.work->repo)->admin_public, &got, &err), ERR_LEDGER_BROKEN,
                 "malformed drill");
    json_decref(doc);
    json_decref(again);
    work_kit_end(&k);
}

static void a_slot_gives_way_to_a_new_one(void **state) {
    struct work_kit k;
    char id[65], path[200], wrong[8];
    enum key_role role;
    (void)state;
    work_kit_begin(&k, NULL);
    snprintf(path, sizeof path, "%s/second.key", k.kit.dir);
    hex_encode(repo_keys(k.work->repo)->admin_public, SIGN_PUBLIC_BYTES, id);
    struct key_request q = {.key_file_out = path};
    snprintf(wrong, sizeof wrong, "abc");
    assert_fails(key_rotate(k.work, wrong, &q, id, &role, &err), ERR_USAGE, "at least 8");
    hex_encode(repo_keys(k.work->repo)->admin_public, SIGN_PUBLIC_BYTES, id);
    assert_works(key_rotate(k.work, id, &q, id, &role, &err));
    assert_int_equal(role, ROLE_ADMIN);
    struct work_options o = {
        .config_path = k.config, .repository = k.kit.repo_dir, .key_file = k.key_file, .cache_dir = k.kit.dir};
    struct work *w = NULL;
    assert_works(work_open(&o, &w, &err));
    assert_fails(work_open_repo(w, NULL, &err), ERR_KEY_WRONG, "none of the repository's 1 key slots");
    work_close(w);
    work_kit_open(&k, path);
    work_kit_end(&k);
}

static bool opens(struct work_kit *k, const char *key_file) {
    struct work_options o = {
        .config_path = k->config, .repository = k->kit.repo_dir, .key_file = key_file, .cache_dir = k->kit.dir};
    struct work *w = NULL;
    struct error err = ERROR_INIT;
    if (access(key_file, F_OK) != 0) return false;
    kit_ok(work_open(&o, &w, &err), &err);
    int rc = work_open_repo(w, NULL, &err);
    work_close(w);
    return rc == 0;
}

/* All slots but the one in use go, so that every run reads as much. */
static int stray(void *ctx, const char *name, const struct slot_info *info, struct error *err) {
    struct repo *r = ctx;
    (void)info;
    return strcmp(name, r->slot) == 0 ? 0 : store_remove(r->store, name, err);
}

/* Each of the first calls, then a sample, as the sweep of one repository is enough. */
static uint64_t next_call(uint64_t n) {
    return n + (n < 40 ? 1 : 11);
}

static void whichever_call_fails_a_rotation_leaves_a_key_that_opens(void **state) {
    struct work_kit k;
    char keys[2][200], id[65];
    unsigned current = 0, failed = 0;
    bool hit = true;
    (void)state;
    work_kit_begin(&k, NULL);
    snprintf(keys[0], sizeof keys[0], "%s", k.key_file);
    snprintf(keys[1], sizeof keys[1], "%s/turn.key", k.kit.dir);
    for (uint64_t n = 1; hit && n < 1500; n = next_call(n)) {
        struct key_request q = {.key_file_out = keys[!current]};
        struct error err = ERROR_INIT;
        enum key_role role;
        work_kit_open(&k, keys[current]);
        kit_ok(repo_slots(k.work->repo, stray, k.work->repo, &err), &err);
        /* the slot that opened it: another may be left of a rotation that failed at its end */
        snprintf(id, sizeof id, "%s", k.work->repo->slot + strlen("keys/"));
        fault_install();
        fault_fail(n, 0, false);
        int rc = key_rotate(k.work, id, &q, id, &role, &err);
        hit = fault_hits() > 0;
        fault_remove();
        failed += rc < 0;
        if (rc == 0 && !opens(&k, keys[!current]))
            fail_msg("call %llu: the new key opens nothing", (unsigned long long)n);
        if (rc < 0 && !opens(&k, keys[current]))
            fail_msg("call %llu: the old key opens nothing: %s", (unsigned long long)n, err.text);
        current ^= rc == 0;
        (void)unlink(keys[!current]);
    }
    assert_true(failed > 20);
    work_kit_end(&k);
}

static void whichever_call_fails_a_kit_is_whole_or_not_there(void **state) {
    struct work_kit k;
    char path[200];
    unsigned failed = 0;
    bool hit = true;
    (void)state;
    work_kit_begin(&k, NULL);
    snprintf(path, sizeof path, "%s/turn.kit", k.kit.dir);
    for (uint64_t n = 1; hit && n < 1500; n = next_call(n)) {
        struct kit_request q = {.role = ROLE_RESTORE, .out = path, .allow_same_disk = true};
        struct kit_made made;
        struct error err = ERROR_INIT;
        work_kit_open(&k, NULL);
        fault_install();
        fault_fail(n, 0, false);
        int rc = recovery_kit_make(k.work, &q, &made, &err);
        hit = fault_hits() > 0;
        fault_remove();
        failed += rc < 0;
        if (rc == 0) {
            work_close(opened(&k, path, 0, NULL));
            recovery_kit_free(&made);
        } else if (access(path, F_OK) == 0) {
            fail_msg("call %llu left a kit behind: %s", (unsigned long long)n, err.text);
        }
        (void)unlink(path);
    }
    assert_true(failed > 20);
    work_kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drill_reads_the_newest_point_and_is_recorded),
        cmocka_unit_test(a_kit_whose_key_was_removed_is_no_proof),
        cmocka_unit_test(only_kits_that_recover_are_made),
        cmocka_unit_test(what_a_stolen_key_wrote_is_suspect_from_then_on),
        cmocka_unit_test(drill_and_suspicion_survive_a_summary),
        cmocka_unit_test(a_slot_gives_way_to_a_new_one),
        cmocka_unit_test(whichever_call_fails_a_rotation_leaves_a_key_that_opens),
        cmocka_unit_test(whichever_call_fails_a_kit_is_whole_or_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
