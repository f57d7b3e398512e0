#include "work_kit.h"

#include "work/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static int setup(void **state) {
    struct error err = ERROR_INIT;
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/pk-keys-XXXXXX");
    return mkdtemp(dir) && crypto_init(&err) == 0 ? 0 : -1;
}

static int teardown(void **state) {
    struct error err = ERROR_INIT;
    (void)state;
    return io_remove_tree(AT_FDCWD, dir, &err);
}

static const char *at(const char *name) {
    static char paths[8][160];
    static unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, 160, "%s/%s", dir, name);
    return p;
}

static bool there(const char *path) {
    return access(path, F_OK) == 0;
}

static void a_place_within_a_folder_is_known_through_links_and_before_it_is_made(void **state) {
    (void)state;
    assert_int_equal(mkdir(at("repo"), 0700), 0);
    assert_int_equal(mkdir(at("repository"), 0700), 0);
    assert_int_equal(symlink(at("repo"), at("link")), 0);
    assert_true(work_path_within(at("repo/k"), at("repo")));
    assert_true(work_path_within(at("repo"), at("repo")));
    assert_true(work_path_within(at("repo/not/yet/there"), at("repo")));
    assert_true(work_path_within(at("link/k"), at("repo")));
    assert_true(work_path_within(at("repo/k"), at("link")));
    assert_true(work_path_within(at("x/../repo/k"), "/"));
    assert_false(work_path_within(at("repository/k"), at("repo")));
    assert_false(work_path_within(at("k"), at("repo")));
    assert_fails(key_place_check(at("link/deep/k"), at("repo"), &err), ERR_POLICY, "the repository's own folder");
}

static void a_key_file_is_new_private_and_never_replaced(void **state) {
    struct stat st;
    (void)state;
    assert_works(key_file_write(at("keys/a"), NULL, BYTES_STR("secret\n"), &err));
    assert_int_equal(stat(at("keys/a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_fails(key_file_write(at("keys/a"), NULL, BYTES_STR("other\n"), &err), ERR_IO_EXISTS, "there already");
    assert_int_equal(stat(at("keys/a"), &st), 0);
    assert_int_equal(st.st_size, 7);
    assert_int_equal(symlink(at("keys/elsewhere"), at("keys/l")), 0);
    assert_fails(key_file_write(at("keys/l"), NULL, BYTES_STR("x"), &err), ERR_IO_EXISTS, "there already");
    assert_false(there(at("keys/elsewhere")));
}

static void init_makes_repository_key_and_configuration(void **state) {
    struct init_result r;
    struct init_request q = {.config_path = at("proofkeep.yaml"), .repository = at("new"), .key_file = at("new.key")};
    struct config *c = NULL;
    (void)state;
    assert_works(work_init(&q, &r, &err));
    assert_true(r.key_made && there(at("new.key")) && there(at("new/format")));
    assert_string_equal(r.config, at("proofkeep.yaml"));
    assert_int_equal(strlen(r.id), 32);
    assert_works(config_load(at("proofkeep.yaml"), &c, &err));
    assert_string_equal(config_repository(c, "main")->url, at("new"));
    config_free(c);
    q.key_file = at("second.key");
    assert_fails(work_init(&q, &r, &err), ERR_REPO_EXISTS, "holds a repository already");
    assert_false(there(at("second.key")));
}

static void init_refuses_a_key_in_the_repository(void **state) {
    struct init_result r;
    struct init_request q = {.config_path = at("none.yaml"), .repository = at("r2"), .key_file = at("r2/key")};
    (void)state;
    assert_fails(work_init(&q, &r, &err), ERR_POLICY, "the repository's own folder");
    assert_false(there(at("r2")));
    assert_false(there(at("none.yaml")));
}

static void init_with_a_key_that_is_there_uses_it(void **state) {
    struct init_result r;
    struct init_request q = {.config_path = at("proofkeep.yaml"), .repository = at("r3"), .key_file = at("new.key")};
    (void)state;
    assert_works(work_init(&q, &r, &err));
    assert_false(r.key_made);
    assert_string_equal(r.config_kept, at("proofkeep.yaml"));
    assert_string_equal(r.config, "");
}

static void init_leaves_no_key_behind_when_it_fails(void **state) {
    struct init_result r;
    struct init_request q = {.config_path = at("none.yaml"), .repository = "gopher://host/x", .key_file = at("s3.key")};
    (void)state;
    assert_fails(work_init(&q, &r, &err), ERR_USAGE, "cannot open repositories at 'gopher://'");
    assert_false(there(at("s3.key")));
}

static void open_with(const char *repo, const char *key_file, const char *passphrase_file, int code) {
    struct work_options o = {.config_path = at("proofkeep.yaml"),
                             .repository = repo,
                             .key_file = key_file,
                             .passphrase_file = passphrase_file,
                             .cache_dir = at("cache")};
    struct work *w = NULL;
    assert_works(work_open(&o, &w, &err));
    struct error err = ERROR_INIT;
    int rc = work_open_repo(w, NULL, &err);
    if (rc != -code) fail_msg("%d: %s", rc, err.text);
    work_close(w);
}

static void a_passphrase_opens_beside_a_key_file(void **state) {
    struct init_result r;
    struct init_request q = {.config_path = at("proofkeep.yaml"),
                             .repository = at("r4"),
                             .key_file = at("r4.key"),
                             .passphrase_file = at("pw")};
    (void)state;
    assert_works(key_file_write(at("pw"), NULL, BYTES_STR("correct horse\n# a remark\n"), &err));
    assert_works(key_file_write(at("pw2"), NULL, BYTES_STR("wrong\n"), &err));
    assert_works(work_init(&q, &r, &err));
    open_with(at("r4"), at("r4.key"), NULL, 0);
    open_with(at("r4"), NULL, at("pw"), 0);
    open_with(at("r4"), NULL, at("pw2"), ERR_KEY_WRONG);
}

static void keys_are_added_listed_and_removed(void **state) {
    struct work_kit k;
    char id[65], removed[65], pub[RECIPIENT_TEXT_BYTES];
    bool slot;
    json_t *list = NULL;
    (void)state;
    work_kit_begin(&k, NULL);
    struct key_request q = {.role = ROLE_WRITER, .key_file_out = at("w.key"), .label = "host1"};
    assert_works(key_add(k.work, &q, id, &err));
    assert_fails(key_add(k.work, &q, id, &err), ERR_IO_EXISTS, "there already");
    q.recipient = "pkr1zz";
    assert_fails(key_add(k.work, &q, id, &err), ERR_USAGE, "one of");
    q.key_file_out = NULL;
    assert_fails(key_add(k.work, &q, id, &err), ERR_USAGE, "no recipient's public key");
    char inside[160];
    snprintf(inside, sizeof inside, "%s/k", k.kit.repo_dir);
    struct key_request bad = {.role = ROLE_WRITER, .key_file_out = inside};
    assert_fails(key_add(k.work, &bad, id, &err), ERR_POLICY, "own folder");
    assert_works(key_generate(at("identity"), NULL, pub, &err));
    q.recipient = pub;
    q.role = ROLE_RESTORE;
    assert_works(key_add(k.work, &q, id, &err));
    assert_works(key_list(k.work, &list, &err));
    const json_t *keys = json_object_get(list, "keys"), *last = json_array_get(keys, 2);
    assert_int_equal(json_array_size(keys), 3);
    assert_string_equal(json_string_value(json_object_get(last, "role")), "restore");
    assert_string_equal(json_string_value(json_object_get(last, "id")), id);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(last, "slots"), 0), "kind")),
                        "recipient");
    json_decref(list);
    assert_fails(key_remove(k.work, "abc", removed, &slot, &err), ERR_USAGE, "at least 8");
    assert_fails(key_remove(k.work, "00000000", removed, &slot, &err), ERR_NO_POINT, "no key in force");
    char part[17];
    memcpy(part, id, 16);
    part[16] = 0;
    assert_works(key_remove(k.work, part, removed, &slot, &err));
    assert_string_equal(removed, id);
    assert_false(slot);
    work_kit_open(&k, at("w.key"));
    struct key_request more = {.role = ROLE_ADMIN, .key_file_out = at("no.key")};
    assert_fails(key_add(k.work, &more, id, &err), ERR_KEY_ROLE, "admin");
    assert_false(there(at("no.key")));
    work_kit_end(&k);
}

/* The object of the admin slot that is not the kit's own. */
static void other_slot(struct work_kit *k, const char *first, char out[65]) {
    json_t *list = NULL;
    const json_t *slot;
    size_t i;
    assert_works(key_list(k->work, &list, &err));
    *out = 0;
    json_array_foreach(json_object_get(json_array_get(json_object_get(list, "keys"), 0), "slots"), i, slot) {
        const char *object = json_string_value(json_object_get(slot, "object"));
        if (strcmp(object + 5, first) != 0) snprintf(out, 65, "%s", object + 5);
    }
    json_decref(list);
}

static void admin_slots_go_one_by_one_but_never_the_last_or_the_one_in_use(void **state) {
    struct work_kit k;
    char id[65], removed[65], first[65], second[65];
    bool slot = false;
    (void)state;
    work_kit_begin(&k, NULL);
    other_slot(&k, "", first);
    hex_encode(repo_keys(k.work->repo)->admin_public, SIGN_PUBLIC_BYTES, id);
    assert_fails(key_remove(k.work, id, removed, &slot, &err), ERR_KEY_ROLE, "last slot of the admin key");
    assert_fails(key_remove(k.work, first, removed, &slot, &err), ERR_KEY_ROLE, "last slot of the admin key",
                 "nobody could read");
    struct key_request q = {.role = ROLE_ADMIN, .key_file_out = at("second.key")};
    assert_works(key_add(k.work, &q, id, &err));
    other_slot(&k, first, second);
    assert_fails(key_remove(k.work, id, removed, &slot, &err), ERR_KEY_ROLE, "has 2 slots");
    assert_fails(key_remove(k.work, first, removed, &slot, &err), ERR_KEY_ROLE, "opened with just now");
    char part[17];
    memcpy(part, second, 16);
    part[16] = 0;
    /* the newer one goes, and opens nothing afterwards */
    assert_works(key_remove(k.work, part, removed, &slot, &err));
    assert_true(slot);
    assert_string_equal(removed, second);
    open_with(k.kit.repo_dir, at("second.key"), NULL, ERR_KEY_WRONG);
    /* another takes the place of the first, which can go once it is not the one in use */
    q.key_file_out = at("third.key");
    assert_works(key_add(k.work, &q, id, &err));
    work_kit_open(&k, at("third.key"));
    assert_works(key_remove(k.work, first, removed, &slot, &err));
    other_slot(&k, "", second);
    assert_fails(key_remove(k.work, second, removed, &slot, &err), ERR_KEY_ROLE, "last slot of the admin key");
    open_with(k.kit.repo_dir, k.key_file, NULL, ERR_KEY_WRONG);
    open_with(k.kit.repo_dir, at("third.key"), NULL, 0);
    /* a key of another role goes as a whole */
    struct key_request w = {.role = ROLE_WRITER, .key_file_out = at("writer.key")};
    assert_works(key_add(k.work, &w, id, &err));
    json_t *list = NULL;
    assert_works(key_list(k.work, &list, &err));
    const json_t *keys = json_object_get(list, "keys"), *last = json_array_get(keys, json_array_size(keys) - 1);
    const char *object =
        json_string_value(json_object_get(json_array_get(json_object_get(last, "slots"), 0), "object"));
    assert_fails(key_remove(k.work, object + 5, removed, &slot, &err), ERR_KEY_ROLE, "goes with the key itself");
    assert_works(key_remove(k.work, id, removed, &slot, &err));
    assert_false(slot);
    json_decref(list);
    work_kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_within_a_folder_is_known_through_links_and_before_it_is_made),
        cmocka_unit_test(a_key_file_is_new_private_and_never_replaced),
        cmocka_unit_test(init_makes_repository_key_and_configuration),
        cmocka_unit_test(init_refuses_a_key_in_the_repository),
        cmocka_unit_test(init_with_a_key_that_is_there_uses_it),
        cmocka_unit_test(init_leaves_no_key_behind_when_it_fails),
        cmocka_unit_test(a_passphrase_opens_beside_a_key_file),
        cmocka_unit_test(keys_are_added_listed_and_removed),
        cmocka_unit_test(admin_slots_go_one_by_one_but_never_the_last_or_the_one_in_use),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
