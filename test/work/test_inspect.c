#include "work_kit.h"

#include "work/backup.h"
#include "work/inspect.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY 3000

static char tree[128];

static void put(const char *name, const char *text) {
    struct error err = ERROR_INIT;
    char path[300];
    snprintf(path, sizeof path, "%s/%s", tree, name);
    kit_ok(io_replace_file(AT_FDCWD, path, BYTES_STR(text), 0644, &err), &err);
}

/* A backup of the tree as it is; the point's place in the log. */
static uint64_t backed_up(struct work_kit *k) {
    struct error err = ERROR_INIT;
    const char *paths[] = {tree, NULL};
    struct work_surface s;
    struct backup_options o = {0};
    struct backup_result r;
    kit_ok(backup_adhoc_surface(paths, 1, "tree", &s, &err), &err);
    kit_ok(backup_surface(k->work, &s, &o, &r, &err), &err);
    work_surface_close(&s);
    assert_true(r.complete);
    return r.seq;
}

static int begin(void **state) {
    static struct work_kit k;
    struct error err = ERROR_INIT;
    work_kit_begin(&k, NULL);
    snprintf(tree, sizeof tree, "%s/tree", k.kit.dir);
    kit_ok(io_mkdirs(tree, 0755, &err), &err);
    *state = &k;
    return 0;
}

static int end(void **state) {
    work_kit_end(*state);
    return 0;
}

struct seen {
    unsigned by_kind[5], n, stop_after;
    char last[64];
};

static int see(void *ctx, const struct surface_driver *d, const struct change *c, struct error *err) {
    struct seen *s = ctx;
    const struct item_head *h = c->after ? c->after : c->before;
    struct bytes name = h->name;
    (void)d;
    (void)err;
    s->by_kind[c->kind]++;
    for (size_t i = name.len; i-- > 0;)
        if (name.ptr[i] == '/') {
            name = BYTES_OF(name.ptr + i + 1, name.len - i - 1);
            break;
        }
    snprintf(s->last, sizeof s->last, "%.*s", (int)name.len, (const char *)name.ptr);
    return ++s->n == s->stop_after;
}

static void a_diff_tells_added_removed_content_and_attributes(void **state) {
    struct work_kit *k = *state;
    struct seen s = {0};
    struct diff_totals t;
    char path[300];
    put("a", "one");
    put("b", "two");
    put("c", "three");
    uint64_t first = backed_up(k);
    put("a", "ONE");
    snprintf(path, sizeof path, "%s/b", tree);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/c", tree);
    assert_int_equal(chmod(path, 0600), 0);
    put("d", "four!");
    uint64_t second = backed_up(k);
    const struct snapshot_info *x = work_kit_info(k, first), *y = work_kit_info(k, second);
    assert_works(inspect_diff(k->work, x, y, see, &s, &t, &err));
    assert_int_equal(t.added, 1);
    assert_int_equal(t.bytes_added, 5);
    assert_int_equal(t.removed, 1);
    assert_int_equal(s.by_kind[CHANGE_CONTENT] + s.by_kind[CHANGE_BOTH], 1);
    assert_true(s.by_kind[CHANGE_ATTRIBUTES] >= 1); /* c, and the folder when its second turned */
    assert_string_equal(s.last, "d");
    s = (struct seen){0};
    assert_works(inspect_diff(k->work, y, x, see, &s, &t, &err));
    assert_int_equal(s.by_kind[CHANGE_ADDED], 1);
    assert_int_equal(s.by_kind[CHANGE_REMOVED], 1);
    s = (struct seen){0};
    assert_works(inspect_diff(k->work, x, x, see, &s, &t, &err));
    assert_int_equal(s.n, 0);
    assert_int_equal(t.same, 4);
}

static void a_diff_of_many_items_can_be_stopped_anywhere(void **state) {
    struct work_kit *k = *state;
    struct seen s = {0};
    struct diff_totals t;
    char name[32];
    uint64_t first = backed_up(k);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "many-%05d", i);
        put(name, name);
    }
    uint64_t second = backed_up(k);
    const struct snapshot_info *x = work_kit_info(k, first), *y = work_kit_info(k, second);
    assert_works(inspect_diff(k->work, x, y, see, &s, &t, &err));
    assert_int_equal(t.added, MANY);
    assert_int_equal(t.removed, 0);
    for (unsigned stop = 1; stop < MANY; stop = stop * 5 + 1) {
        struct error err = ERROR_INIT;
        s = (struct seen){.stop_after = stop};
        assert_int_equal(inspect_diff(k->work, x, y, see, &s, &t, &err), 1);
        assert_int_equal(s.n, stop);
    }
}

/* Their digests are not of one kind, as between the last backup of an older program and the next: their chunks are. */
static void pages_with_and_without_a_digest_by_parts_are_compared(void **state) {
    enum { SIZE = 700000 };
    struct work_kit *k = *state;
    struct diff_totals t;
    struct seen s = {0};
    struct snapshot_info of[3];
    static char files[] = "files"; /* a driver's, which need not know these */
    uint8_t *data = malloc(2 * SIZE);
    assert_non_null(data);
    kit_random(data, SIZE, 3);
    memcpy(data + SIZE, data, SIZE);
    data[2 * SIZE - 1] ^= 1;
    struct kit_item items[3][2] = {{{"a", CONTENT_PAGES, data, SIZE}, {"b", CONTENT_PAGES, data, SIZE}},
                                   {{"a", CONTENT_PARTS, data, SIZE}, {"b", CONTENT_PARTS, data + SIZE, SIZE}},
                                   {{"a", CONTENT_FILE, data, SIZE}, {"b", CONTENT_PAGES, data + SIZE, SIZE - 1}}};
    for (int i = 0; i < 3; i++) {
        struct error err = ERROR_INIT;
        kit_ok(repo_sync(k->kit.repo, &err), &err);
        const uint64_t seq = kit_backup(&k->kit, "pages", items[i], 2, false, NULL);
        of[i] = *work_kit_info(k, seq);
        of[i].kind = files;
    }
    assert_works(inspect_diff(k->work, &of[0], &of[1], see, &s, &t, &err));
    assert_true(t.same == 1 && t.changed == 1 && s.by_kind[CHANGE_CONTENT] == 1);
    assert_string_equal(s.last, "b");
    assert_works(inspect_diff(k->work, &of[1], &of[0], see, &s, &t, &err));
    assert_true(t.same == 1 && t.changed == 1);
    assert_works(inspect_diff(k->work, &of[1], &of[2], see, &s, &t, &err));
    assert_true(t.same == 0 && t.changed == 2);
    free(data);
}

static void different_kinds_are_not_compared(void **state) {
    struct work_kit *k = *state;
    struct seen s = {0};
    struct diff_totals t;
    uint64_t first = backed_up(k), other = work_kit_point(k, "files", 100, 1);
    assert_fails(inspect_diff(k->work, work_kit_info(k, first), work_kit_info(k, other), see, &s, &t, &err), ERR_USAGE,
                 "cannot be compared");
}

static int count(void *ctx, const struct surface_driver *d, const struct item_head *h, struct error *err) {
    json_t *j = NULL;
    int rc = inspect_item_json(d, h, &j, err);
    if (rc == 0) assert_non_null(json_object_get(j, "name"));
    json_decref(j);
    ++*(unsigned *)ctx;
    return rc;
}

static void a_path_means_itself_and_what_lies_below(void **state) {
    struct work_kit *k = *state;
    struct error lost = ERROR_INIT;
    char below[200], sibling[200], missing[200];
    unsigned n = 0;
    snprintf(below, sizeof below, "%s/dir", tree);
    kit_ok(io_mkdirs(below, 0755, &lost), &lost);
    put("dir/one", "1");
    put("dir/two", "2");
    put("dir.x", "not below");
    const struct snapshot_info *i = work_kit_info(k, backed_up(k));
    snprintf(sibling, sizeof sibling, "%s/dir/one/", tree);
    snprintf(missing, sizeof missing, "%s/di", tree);
    const char *folder[] = {below, NULL}, *both[] = {sibling, below, NULL}, *none[] = {missing, NULL};
    assert_works(inspect_items(k->work, i, folder, count, &n, &err));
    assert_int_equal(n, 3);
    assert_works(inspect_items(k->work, i, both, count, &n, &err));
    assert_int_equal(n, 3 + 4);
    assert_fails(inspect_items(k->work, i, none, count, &n, &err), ERR_NO_POINT, "holds nothing at");
}

static void facts_come_with_the_receipt_whose_digest_is_the_entrys(void **state) {
    struct work_kit *k = *state;
    const struct snapshot_info *i = work_kit_info(k, backed_up(k));
    struct buf b = BUF_INIT(1 << 20);
    struct digest d;
    json_t *facts = NULL;
    assert_works(inspect_receipt(k->work, i, &b, &err));
    sha256(buf_bytes(&b), &d);
    assert_true(digest_equal(&d, &i->entry));
    buf_free(&b);
    assert_works(inspect_facts(k->work, i, &facts, &err));
    const char *id = json_string_value(json_object_get(json_object_get(facts, "receipt"), "backup_id"));
    assert_string_equal(id, i->id);
    assert_true(json_is_object(json_object_get(facts, "snapshot")));
    json_decref(facts);
}

static void a_writer_key_sees_the_receipt_alone(void **state) {
    struct work_kit *k = *state;
    char writer[160];
    json_t *facts = NULL;
    unsigned n = 0;
    uint64_t seq = backed_up(k);
    work_kit_key(k, ROLE_WRITER, writer);
    work_kit_open(k, writer);
    assert_works(inspect_facts(k->work, work_kit_info(k, seq), &facts, &err));
    assert_true(json_is_null(json_object_get(facts, "snapshot")));
    json_decref(facts);
    assert_fails(inspect_items(k->work, work_kit_info(k, seq), NULL, count, &n, &err), ERR_KEY_ROLE, "writer key");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_diff_tells_added_removed_content_and_attributes, begin, end),
        cmocka_unit_test_setup_teardown(a_diff_of_many_items_can_be_stopped_anywhere, begin, end),
        cmocka_unit_test_setup_teardown(pages_with_and_without_a_digest_by_parts_are_compared, begin, end),
        cmocka_unit_test_setup_teardown(different_kinds_are_not_compared, begin, end),
        cmocka_unit_test_setup_teardown(a_path_means_itself_and_what_lies_below, begin, end),
        cmocka_unit_test_setup_teardown(facts_come_with_the_receipt_whose_digest_is_the_entrys, begin, end),
        cmocka_unit_test_setup_teardown(a_writer_key_sees_the_receipt_alone, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
