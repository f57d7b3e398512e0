/* A snapshot in a folder: what was put in comes out, in the order of its numbers, and nothing stays. */
#include "harness/claims.h"
#include "harness/scratch.h"

#include "surface/spool.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static void put(struct spool *s, uint64_t seq, const char *name, size_t bytes) {
    struct sink *k = spool_sink(s);
    struct sink_item *it;
    struct error err = ERROR_INIT;
    struct digest d;
    claim_ok(k->ops->open(k, seq, BYTES_STR(name), ITEM_RECORDS, &it, &err), err);
    while (bytes) {
        uint8_t *p;
        size_t room;
        claim_ok(k->ops->space(it, &p, &room, &err), err);
        if (room > bytes) room = bytes;
        memset(p, (int)seq + 'a', room);
        claim_ok(k->ops->advance(it, room, &err), err);
        bytes -= room;
    }
    claim_ok(k->ops->close(it, BYTES_STR("{}"), &d, &err), err);
}

static size_t files_in(const char *dir) {
    DIR *d = opendir(dir);
    size_t n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

struct seen {
    char names[200];
    struct source *src;
    uint64_t bytes;
    bool fails;
};

static int look(void *ctx, const struct source_head *h, struct error *err) {
    struct seen *x = ctx;
    struct source_item *it;
    struct bytes d;
    int rc = x->src->ops->open(x->src, h, &it, err);
    if (rc < 0) return rc;
    while ((rc = x->src->ops->next(it, &d, err)) == 0 && d.len) x->bytes += d.len;
    x->src->ops->close(it);
    size_t at = strlen(x->names);
    snprintf(x->names + at, sizeof x->names - at, "%.*s ", (int)h->name.len, (const char *)h->name.ptr);
    return rc;
}

static void what_goes_in_comes_out(void **state) {
    const char *dir = *state;
    struct spool *s;
    struct error err = ERROR_INIT;
    struct sink_item *it;
    claim_ok(spool_new(dir, &s, &err), err);
    struct sink *k = spool_sink(s);
    put(s, 2, "db/c", 700000);
    put(s, 0, "db/a", 0);
    claim_ok(k->ops->open(k, 1, BYTES_STR("db/b"), ITEM_RECORDS, &it, &err), err);
    k->ops->drop(it);
    put(s, 7, "globals", 11);
    struct seen all = {.src = spool_source(s)}, some = {.src = spool_source(s)};
    claim_ok(all.src->ops->walk(all.src, BYTES_STR(""), look, &all, &err), err);
    assert_string_equal(all.names, "db/a db/c globals ");
    assert_int_equal(all.bytes, 700011);
    assert_int_equal(spool_bytes(s), 700011);
    claim_ok(some.src->ops->walk(some.src, BYTES_STR("db/"), look, &some, &err), err);
    assert_string_equal(some.names, "db/a db/c ");
    assert_int_equal(files_in(dir), 3);
    spool_free(s);
    assert_int_equal(files_in(dir), 0);
}

static void what_was_altered_is_found(void **state) {
    const char *dir = *state;
    struct spool *s;
    struct error err = ERROR_INIT;
    char path[600];
    claim_ok(spool_new(dir, &s, &err), err);
    put(s, 0, "db/a", 5000);
    snprintf(path, sizeof path, "%s/0", dir);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fputc('?', f);
    fclose(f);
    struct seen all = {.src = spool_source(s)};
    claim_fails(all.src->ops->walk(all.src, BYTES_STR(""), look, &all, &err), err, ERR_RESTORE_DIFFERS,
                "what was spooled of db/a is not what was captured");
    spool_free(s);
}

static void what_it_cannot_keep_is_refused(void **state) {
    const char *dir = *state;
    struct spool *s;
    struct error err = ERROR_INIT;
    struct sink_item *it;
    claim_ok(spool_new(dir, &s, &err), err);
    struct sink *k = spool_sink(s);
    claim_fails(k->ops->open(k, SINK_ANY_ORDER, BYTES_STR("a"), ITEM_FILE, &it, &err), err, ERR_INTERNAL, "in order");
    claim_ok(k->ops->open(k, 0, BYTES_STR("a"), ITEM_FILE, &it, &err), err);
    claim_fails(k->ops->hole(it, 5, &err), err, ERR_INTERNAL, "no holes");
    k->ops->drop(it);
    k->ops->drop(NULL);
    assert_int_equal(files_in(dir), 0);
    spool_free(s);
    spool_free(NULL);
    claim_fails(spool_new("/nowhere/at/all", &s, &err), err, ERR_IO_READ, "open /nowhere/at/all");
}

static int scratch_setup(void **state) {
    static struct scratch s;
    scratch_make(&s);
    *state = s.path;
    return 0;
}

static int scratch_teardown(void **state) {
    scratch_remove((struct scratch *)*state); /* the path is its first member */
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_goes_in_comes_out, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(what_was_altered_is_found, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(what_it_cannot_keep_is_refused, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
