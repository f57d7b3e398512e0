/* The files driver: what was captured is what is restored, told by tree_facts.py and by nothing of ours. */
#include "surface/files_bed.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void a_nasty_tree_comes_back_to_the_last_attribute(void **s) {
    (void)s;
    nasty_tree("src");
    char path[4096];
    snprintf(path, sizeof path, "%s", at("src"));
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(chdir(path), 0);
    strcpy(sun.sun_path, "socket");
    assert_int_equal(bind(sock, (struct sockaddr *)&sun, sizeof sun), 0);
    run("touch -d '2005-05-05 05:05:05.555555555' .");
    assert_int_equal(chdir("/"), 0);
    struct bed b = bed_make(path);
    capture(&b);
    assert_non_null(strstr(notes, "/src/socket: a socket"));
    assert_int_equal(b.result.skipped, 1);
    assert_int_equal(b.result.unreadable + b.result.changed, 0);
    assert_string_equal(b.result.method, "snapshot");
    assert_string_equal(b.result.consistency, "fuzzy");
    restore_to(&b, at("dst"), NULL);
    assert_string_equal(notes, "");
    claim_same(path, at("dst"), item("src"));
    /* The digest is the documented one, by another hand. */
    char *facts = facts_of(at("dst"), item("src"));
    assert_non_null(strstr(facts, invariant(&b, "tree_sha256")));
    free(facts);
    claim_only(dir.path, "dst src ");
    close(sock);
    bed_free(&b);
}

static void a_default_acl_of_the_target_does_not_leak_in(void **s) {
    (void)s;
    folder("src");
    put("src/f", "x");
    folder("src/d");
    folder("into");
    run("setfacl -m d:u:99:rwx,u:98:rwx '%s' ; chmod g+s '%s'", at("into"), at("into"));
    struct bed b = bed_make(at("src"));
    capture(&b);
    restore_to(&b, at("into/dst"), NULL);
    claim_same(at("src"), at("into/dst"), "r");
    bed_free(&b);
}

static void thousands_of_levels_need_few_descriptors(void **s) {
    (void)s;
    struct rlimit old, few = {256, 0};
    getrlimit(RLIMIT_NOFILE, &old);
    folder("src");
    int fd = open(at("src"), O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(fd, "d", 0755), 0);
        if (i % 7 == 0) close(openat(fd, "f", O_WRONLY | O_CREAT, 0644));
        if (i % 11 == 0) assert_int_equal(mkdirat(fd, "e", 0755), 0);
        if (i % 500 == 0) assert_int_equal(symlinkat("d", fd, "link"), 0);
        int next = openat(fd, "d", O_RDONLY | O_DIRECTORY);
        close(fd);
        fd = next;
    }
    close(fd);
    struct bed b = bed_make(at("src"));
    few.rlim_max = old.rlim_max;
    few.rlim_cur = 600;
    setrlimit(RLIMIT_NOFILE, &few);
    capture(&b);
    assert_string_equal(notes, "");
    restore_to(&b, at("dst"), NULL);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_string_equal(notes, "");
    assert_int_equal(b.result.items, 3000 + 429 + 273 + 6 + 1);
    claim_same(at("src"), at("dst"), "r");
    bed_free(&b);
}

static void wide_folders_come_back(void **s) {
    (void)s;
    folder("src");
    int fd = open(at("src"), O_RDONLY | O_DIRECTORY);
    char name[32];
    for (int i = 0; i < 9000; i++) {
        snprintf(name, sizeof name, "%d", i * 7919 % 9000);
        if (i % 3 == 0)
            assert_int_equal(mkdirat(fd, name, 0755), 0);
        else
            close(openat(fd, name, O_WRONLY | O_CREAT, 0644));
    }
    close(fd);
    struct bed b = bed_make(at("src"));
    capture(&b);
    assert_int_equal(b.result.items, 9001);
    restore_to(&b, at("dst"), NULL);
    claim_same(at("src"), at("dst"), "r");
    bed_free(&b);
}

/* ---- unchanged files ---- */

static void unchanged_items_are_kept_and_not_read(void **s) {
    (void)s;
    nasty_tree("src");
    struct bed b = bed_make(at("src"));
    hooks_set(100);
    capture(&b);
    char digest[65];
    snprintf(digest, sizeof digest, "%s", invariant(&b, "tree_sha256"));
    capture(&b);
    assert_int_equal(fake_counts(b.fake).opened, 0);
    assert_int_equal(fake_counts(b.fake).kept, b.result.items);
    assert_string_equal(invariant(&b, "tree_sha256"), digest);
    assert_int_equal(json_integer_value(json_object_get(b.result.facts, "bytes_read")), 0);
    /* a change of content, of an attribute alone, and of nothing but the place */
    run("printf HELLO > '%s'", at("src/a-b/y"));
    run("setfattr -n user.new -v 1 '%s'", at("src/odd"));
    run("mv '%s' '%s'", at("src/block"), at("src/moved"));
    capture(&b);
    assert_int_equal(fake_counts(b.fake).opened, 4); /* the three, and their folder; a-b is as it was */
    restore_to(&b, at("dst"), NULL);
    claim_same(at("src"), at("dst"), "r");
    bed_free(&b);
}

static void a_change_that_hides_behind_size_and_mtime_is_found(void **s) {
    (void)s;
    folder("src");
    put("src/f", "one");
    struct bed b = bed_make(at("src"));
    hooks_set(100);
    capture(&b);
    run("touch -r '%s' '%s'; printf two > '%s'; touch -r '%s' '%s'", at("src/f"), at("ref"), at("src/f"), at("ref"),
        at("src/f"));
    capture(&b);
    struct fake_view v;
    assert_true(fake_find(b.fake, item("src/f"), &v));
    assert_memory_equal(v.data, "two", 3);
    bed_free(&b);
}

static void young_time_stamps_prove_nothing(void **s) {
    (void)s;
    folder("src");
    put("src/f", "one");
    struct bed b = bed_make(at("src"));
    capture(&b);
    capture(&b);
    assert_int_equal(fake_counts(b.fake).kept, 0);
    assert_int_equal(fake_counts(b.fake).opened, 2);
    hooks_set(100);
    capture(&b);
    assert_int_equal(fake_counts(b.fake).opened, 2); /* what was recorded is still too young */
    capture(&b);
    assert_int_equal(fake_counts(b.fake).kept, 2);
    bed_free(&b);
}

static void a_full_read_trusts_nothing(void **s) {
    (void)s;
    folder("src");
    put("src/f", "one");
    struct bed b = bed_make(at("src"));
    hooks_set(100);
    capture(&b);
    b.ctx.full_read = true;
    capture(&b);
    assert_int_equal(fake_counts(b.fake).kept, 0);
    assert_int_equal(json_integer_value(json_object_get(b.result.facts, "bytes_read")), 3);
    bed_free(&b);
}

static void the_first_name_of_a_hard_link_may_go(void **s) {
    (void)s;
    folder("src");
    put("src/a", "linked");
    assert_int_equal(link(at("src/a"), at("src/b")), 0);
    assert_int_equal(link(at("src/a"), at("src/c")), 0);
    struct bed b = bed_make(at("src"));
    hooks_set(100);
    capture(&b);
    struct fake_view v;
    assert_true(fake_find(b.fake, item("src/b"), &v));
    assert_int_equal(v.kind, ITEM_NONE);
    assert_int_equal(unlink(at("src/a")), 0);
    capture(&b);
    assert_true(fake_find(b.fake, item("src/b"), &v));
    assert_int_equal(v.kind, ITEM_FILE);
    restore_to(&b, at("dst"), NULL);
    claim_same(at("src"), at("dst"), "r");
    bed_free(&b);
}

/* ---- trees that change and fail ---- */

static atomic_int strikes;    /* how often a hook still acts */
static uint64_t victim_inode; /* on what */
static char victim_path[4096];

static ssize_t hook_pread_append(int fd, void *p, size_t n, off_t pos) {
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_ino == victim_inode && atomic_fetch_sub(&strikes, 1) > 0) {
        int w = open(victim_path, O_WRONLY | O_APPEND);
        assert_int_equal(write(w, "+", 1), 1);
        close(w);
    }
    return seam_system.pread(fd, p, n, pos);
}

static void victim_set(const char *name, int times) {
    struct stat st;
    snprintf(victim_path, sizeof victim_path, "%s", at(name));
    assert_int_equal(stat(victim_path, &st), 0);
    victim_inode = st.st_ino;
    atomic_store(&strikes, times);
}

static void a_file_that_changes_once_is_read_again(void **s) {
    (void)s;
    folder("src");
    put("src/log", "line");
    put("src/other", "other");
    struct bed b = bed_make(at("src"));
    victim_set("src/log", 2);
    hooks_set(100);
    hooked.pread = hook_pread_append;
    capture(&b);
    assert_int_equal(b.result.changed, 0);
    assert_int_equal(fake_counts(b.fake).restarted, 2);
    struct fake_view v;
    assert_true(fake_find(b.fake, item("src/log"), &v));
    assert_int_equal(v.bytes, 6);
    restore_to(&b, at("dst"), NULL);
    claim_same(at("src"), at("dst"), "r");
    bed_free(&b);
}

static void a_file_that_never_rests_is_kept_and_reported(void **s) {
    (void)s;
    folder("src");
    put("src/log", "line");
    struct bed b = bed_make(at("src"));
    victim_set("src/log", 1000);
    hooks_set(100);
    hooked.pread = hook_pread_append;
    capture(&b);
    assert_int_equal(b.result.changed, 1);
    assert_int_equal(fake_counts(b.fake).restarted, 3);
    assert_non_null(strstr(notes, "changed "));
    assert_non_null(strstr(notes, "src/log: changed during each of 4 readings"));
    struct fake_view v;
    json_t *j = NULL;
    assert_true(fake_find(b.fake, item("src/log"), &v));
    claim_ok(surface_files.describe(v.name, v.attr, &j, &err), err);
    assert_true(json_is_true(json_object_get(j, "partial")));
    json_decref(j);
    restore_to(&b, at("dst"), NULL); /* what was kept is whole in itself */
    /* and the next run does not take it for read */
    atomic_store(&strikes, 0);
    capture(&b);
    assert_int_equal(b.result.changed, 0);
    assert_int_equal(fake_counts(b.fake).opened, 1);
    bed_free(&b);
}

struct writer {
    atomic_bool stop;
    char path[SCRATCH_PATH_MAX + 32];
};

static void *write_on(void *arg) {
    struct writer *w = arg;
    char block[4096];
    for (unsigned i = 0; !atomic_load(&w->stop); i++) {
        int fd = open(w->path, O_WRONLY | (i % 5 ? O_APPEND : O_TRUNC));
        memset(block, (int)i, sizeof block);
        if (fd >= 0 && write(fd, block, sizeof block) < 0) abort();
        close(fd);
    }
    return NULL;
}

static void a_tree_under_a_writer_is_restorable_all_the_same(void **s) {
    (void)s;
    folder("src");
    put("src/busy", "");
    put("src/calm", "calm");
    struct writer w = {0};
    snprintf(w.path, sizeof w.path, "%s", at("src/busy"));
    pthread_t t;
    pthread_create(&t, NULL, write_on, &w);
    struct bed b = bed_make(at("src"));
    for (int i = 0; i < 20; i++) {
        capture(&b);
        char name[16];
        snprintf(name, sizeof name, "dst%d", i);
        restore_to(&b, at(name), NULL);
    }
    atomic_store(&w.stop, true);
    pthread_join(t, NULL);
    bed_free(&b);
}

static int hook_openat_unlink(int dirfd, const char *path, int flags, mode_t mode) {
    if (!strcmp(path, "victim") && atomic_fetch_sub(&strikes, 1) > 0) unlinkat(dirfd, path, 0);
    return seam_system.openat(dirfd, path, flags, mode);
}

static int hook_openat_link(int dirfd, const char *path, int flags, mode_t mode) {
    if (!strcmp(path, "victim") && atomic_fetch_sub(&strikes, 1) > 0) {
        unlinkat(dirfd, path, 0);
        assert_int_equal(symlinkat("/etc/passwd", dirfd, path), 0);
    }
    return seam_system.openat(dirfd, path, flags, mode);
}

static int hook_openat_denied(int dirfd, const char *path, int flags, mode_t mode) {
    if (!strcmp(path, "victim") && atomic_fetch_sub(&strikes, 1) > 0) {
        errno = EACCES;
        return -1;
    }
    return seam_system.openat(dirfd, path, flags, mode);
}

static void what_vanishes_is_told_and_left_out(void **s) {
    (void)s;
    for (int planted = 0; planted < 2; planted++) {
        const char *src = planted ? "two" : "one";
        folder(src);
        char name[64];
        snprintf(name, sizeof name, "%s/victim", src);
        put(name, "here");
        snprintf(name, sizeof name, "%s/stays", src);
        put(name, "stays");
        struct bed b = bed_make(at(src));
        hooks_set(100);
        hooked.openat = planted ? hook_openat_link : hook_openat_unlink;
        atomic_store(&strikes, 1);
        capture(&b);
        hooks_clear();
        assert_non_null(strstr(notes, "vanished "));
        assert_non_null(strstr(notes, "/victim: gone, or replaced by something else"));
        assert_int_equal(b.result.items, 2);
        assert_int_equal(fake_count(b.fake), 2);
        assert_int_equal(json_integer_value(json_object_get(b.result.facts, "items_vanished")), 1);
        bed_free(&b);
    }
}

static void what_cannot_be_read_is_told_and_counted(void **s) {
    (void)s;
    folder("src");
    put("src/victim", "secret");
    put("src/stays", "stays");
    struct bed b = bed_make(at("src"));
    hooks_set(100);
    hooked.openat = hook_openat_denied;
    atomic_store(&strikes, 1);
    capture(&b);
    hooks_clear();
    assert_int_equal(b.result.unreadable, 1);
    assert_non_null(strstr(notes, "unreadable "));
    assert_non_null(strstr(notes, "/victim: Permission denied: it belongs to "));
    assert_int_equal(fake_count(b.fake), 2);
    bed_free(&b);
}

static void a_lost_first_name_is_replaced_by_the_next(void **s) {
    (void)s;
    folder("src");
    put("src/victim", "linked");
    assert_int_equal(link(at("src/victim"), at("src/w1")), 0);
    assert_int_equal(link(at("src/victim"), at("src/w2")), 0);
    struct bed b = bed_make(at("src"));
    hooks_set(100);
    hooked.openat = hook_openat_unlink;
    atomic_store(&strikes, 1);
    capture(&b);
    hooks_clear();
    struct fake_view v;
    assert_true(fake_find(b.fake, item("src/w1"), &v));
    assert_int_equal(v.kind, ITEM_FILE);
    restore_to(&b, at("dst"), NULL);
    run("cmp '%s' '%s' && test '%s' -ef '%s'", at("src/w1"), at("dst/w1"), at("dst/w1"), at("dst/w2"));
    claim_only(at("dst"), "w1 w2 ");
    bed_free(&b);
}

static void a_missing_root_fails_before_anything_is_read(void **s) {
    (void)s;
    folder("src");
    put("src/f", "x");
    struct bed b = bed_of(json_pack("{s:[s,s]}", "paths", at("src"), at("zzz")));
    struct capture_result r;
    claim_fails(surface_files.capture(&b.ctx, fake_sink(b.fake), &r, &err), err, ERR_SOURCE_MISSING,
                "zzz' of this surface cannot be read: No such file");
    assert_int_equal(fake_counts(b.fake).opened, 0);
    json_t *facts = NULL;
    claim_ok(surface_files.probe(&b.ctx, &facts, &err), err);
    json_t *problem = json_array_get(json_object_get(facts, "problems"), 0);
    assert_string_equal(json_string_value(json_object_get(problem, "code")), "PK-SRC-004");
    json_decref(facts);
    bed_free(&b);
}

static void a_failing_sink_ends_the_capture_with_its_error(void **s) {
    (void)s;
    nasty_tree("src");
    struct bed b = bed_make(at("src"));
    for (uint64_t n = 1; n < 40; n += 3) {
        struct capture_result r;
        struct sink *sink = fake_sink(b.fake);
        fake_fail_open(b.fake, n);
        claim_fails(surface_files.capture(&b.ctx, sink, &r, &err), err, ERR_IO_FULL, "the fake sink is full");
        fake_abandon(b.fake);
    }
    bed_free(&b);
}

/* ---- what is captured ---- */

static void excludes_leave_out(void **s) {
    (void)s;
    folder("src");
    folder("src/keep");
    folder("src/keep/cache");
    folder("src/tmp");
    folder("src/sub");
    folder("src/sub/build");
    put("src/keep/cache/x", "x");
    put("src/keep/a.o", "x");
    put("src/keep/a.c", "x");
    put("src/tmp/x", "x");
    put("src/sub/tmp", "a file");
    put("src/sub/build/out", "x");
    put("src/build", "a file");
    char absolute[4200];
    snprintf(absolute, sizeof absolute, "%s/src/tmp", dir.path);
    struct bed b =
        bed_of(json_pack("{s:[s],s:[s,s,s,s]}", "paths", at("src"), "exclude", "*.o", "cache", absolute, "sub/build/"));
    capture(&b);
    char got[4096] = "";
    for (size_t i = 0; i < fake_count(b.fake); i++) {
        struct fake_view v = fake_at(b.fake, i);
        size_t skip = strlen(item("src"));
        snprintf(got + strlen(got), sizeof got - strlen(got), "%.*s ", (int)(v.name.len - skip),
                 (const char *)v.name.ptr + skip);
    }
    assert_string_equal(got, " /build /keep /keep/a.c /sub /sub/tmp ");
    bed_free(&b);
}

static void roots_are_sorted_and_nested_ones_counted_once(void **s) {
    (void)s;
    folder("b");
    folder("b/in");
    put("b/in/f", "x");
    put("a", "a file as a root");
    char inner[4200], slashes[4200];
    snprintf(inner, sizeof inner, "%s/b/in/", dir.path);
    snprintf(slashes, sizeof slashes, "/%s//./b//", dir.path);
    /* excluded by pattern, but named: what is named is kept */
    struct bed b = bed_of(json_pack("{s:[s,s,s],s:[s]}", "paths", inner, slashes, at("a"), "exclude", "in"));
    capture(&b);
    assert_int_equal(fake_count(b.fake), 4);
    assert_true(bytes_equal(fake_at(b.fake, 0).name, BYTES_STR(item("a"))));
    assert_true(bytes_equal(fake_at(b.fake, 3).name, BYTES_STR(item("b/in/f"))));
    restore_to(&b, at("dst"), NULL);
    char below[4096];
    snprintf(below, sizeof below, "dst/%s", item("b"));
    claim_same(at("b"), at(below), "r");
    bed_free(&b);
}

static void other_file_systems_are_left_alone_when_told_so(void **s) {
    (void)s;
    folder("src");
    folder("src/mnt");
    if (geteuid() != 0 || mount("none", at("src/mnt"), "tmpfs", 0, "size=1m") != 0) skip();
    put("src/mnt/inside", "x");
    folder("src/mnt/named");
    put("src/mnt/named/f", "x");
    struct bed b = bed_of(json_pack("{s:[s],s:b}", "paths", at("src"), "one_file_system", 1));
    struct bed c = bed_of(json_pack("{s:[s,s],s:b}", "paths", at("src"), at("src/mnt/named"), "one_file_system", 1));
    struct bed d = bed_make(at("src"));
    capture(&b);
    capture(&c);
    capture(&d);
    assert_int_equal(umount(at("src/mnt")), 0);
    assert_int_equal(fake_count(b.fake), 2);
    assert_int_equal(fake_count(c.fake), 4); /* what is named is there, though it lies behind the border */
    assert_int_equal(fake_count(d.fake), 5);
    bed_free(&b);
    bed_free(&c);
    bed_free(&d);
}

static void bad_settings_are_refused(void **s) {
    (void)s;
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"{}", "needs a list of paths"},
        {"{\"paths\":[]}", "at least one path"},
        {"{\"paths\":[\"relative\"]}", "is not absolute"},
        {"{\"paths\":[\"/a/../b\"]}", "has a '..'"},
        {"{\"paths\":[7]}", "entry 1 is not a path"},
        {"{\"paths\":[\"/a\"],\"exclude\":[\"\"]}", "exclude: entry 1"},
        {"{\"paths\":[\"/a\"],\"exclude\":\"x\"}", "is not a list"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bed b = bed_of(json_loads(cases[i].json, 0, NULL));
        struct capture_result r;
        claim_fails(surface_files.capture(&b.ctx, fake_sink(b.fake), &r, &err), err, ERR_CONFIG_VALUE, cases[i].says);
        bed_free(&b);
    }
}

static void measuring_a_tree_gives_what_capture_gave(void **s) {
    (void)s;
    nasty_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    json_t *live = NULL, *copy = NULL, *scratch = NULL;
    claim_ok(surface_files.measure(&b.ctx, NULL, b.result.facts, &live, &err), err);
    assert_true(json_equal(live, b.result.invariants));
    claim_ok(surface_files.scratch_start(&b.ctx, b.result.facts, &scratch, &err), err);
    struct restore_result r;
    claim_ok(restore_into(&b, (struct restore_request){.as_scratch = true, .scratch = scratch}, &r), err);
    json_decref(r.facts);
    claim_ok(surface_files.measure(&b.ctx, scratch, b.result.facts, &copy, &err), err);
    assert_true(json_equal(copy, b.result.invariants));
    json_decref(copy);
    const char *path = json_string_value(json_object_get(scratch, "path"));
    /* many bytes: a single one is in one run of 256 what was there before */
    run("printf 'other bytes' | dd of='%s/big' bs=1 seek=1500000 conv=notrunc status=none", path);
    claim_ok(surface_files.measure(&b.ctx, scratch, b.result.facts, &copy, &err), err);
    assert_false(json_equal(copy, b.result.invariants));
    assert_true(json_equal(json_object_get(copy, "bytes"), json_object_get(b.result.invariants, "bytes")));
    surface_files.scratch_stop(&b.ctx, scratch);
    assert_false(exists(path));
    json_decref(live);
    json_decref(copy);
    json_decref(scratch);
    bed_free(&b);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_nasty_tree_comes_back_to_the_last_attribute),
        CASE(a_default_acl_of_the_target_does_not_leak_in),
        CASE(thousands_of_levels_need_few_descriptors),
        CASE(wide_folders_come_back),
        CASE(unchanged_items_are_kept_and_not_read),
        CASE(a_change_that_hides_behind_size_and_mtime_is_found),
        CASE(young_time_stamps_prove_nothing),
        CASE(a_full_read_trusts_nothing),
        CASE(the_first_name_of_a_hard_link_may_go),
        CASE(a_file_that_changes_once_is_read_again),
        CASE(a_file_that_never_rests_is_kept_and_reported),
        CASE(a_tree_under_a_writer_is_restorable_all_the_same),
        CASE(what_vanishes_is_told_and_left_out),
        CASE(what_cannot_be_read_is_told_and_counted),
        CASE(a_lost_first_name_is_replaced_by_the_next),
        CASE(a_missing_root_fails_before_anything_is_read),
        CASE(a_failing_sink_ends_the_capture_with_its_error),
        CASE(excludes_leave_out),
        CASE(roots_are_sorted_and_nested_ones_counted_once),
        CASE(other_file_systems_are_left_alone_when_told_so),
        CASE(bad_settings_are_refused),
        CASE(measuring_a_tree_gives_what_capture_gave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
