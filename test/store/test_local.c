/* What the local driver promises beyond store.h; numbers are the invariants in local_internal.h. */
#include "store_test.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static struct store *local(void) {
    struct store *s = NULL;
    OK(store_local_open(root, true, &s, e));
    return s;
}

static int files_in(const char *folder) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", root, folder);
    DIR *d = opendir(path);
    if (d == NULL) return 0;
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int open_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static mode_t mode_of(const char *key) {
    struct stat st;
    char path[128];
    snprintf(path, sizeof path, "%s/%s", root, key);
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void holds(struct store *s, const char *key, struct bytes want) {
    struct buf b = BUF_INIT(want.len + 1);
    OK(store_read_all(s, key, want.len, &b, e));
    assert_true(bytes_equal(buf_bytes(&b), want));
    buf_free(&b);
}

static int count(void *ctx, const struct store_object *o, struct error *err) {
    (void)o, (void)err;
    ++*(int *)ctx;
    return 0;
}

static uint8_t *big(size_t n) {
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, 4096, n), 0);
    fill(p, n, 3);
    return p;
}

static void modes_keep_others_out(void **state) {
    (void)state;
    struct store *s = local();
    struct bytes part = text("x");
    OK(store_stage(s, "mode/staged", &part, 1, e));
    OK(store_commit(s, e));
    OK(store_create(s, "mode/created", part, e));
    OK(store_replace(s, "mode/replaced", part, e));
    assert_int_equal(mode_of("mode/staged"), 0400);
    assert_int_equal(mode_of("mode/created"), 0400);
    assert_int_equal(mode_of("mode/replaced"), 0600);
    assert_int_equal(mode_of("mode"), 0700);
    assert_int_equal(mode_of("."), 0700);
    store_close(s);
}

static void a_missing_folder_is_no_repository(void **state) {
    (void)state;
    struct store *s;
    char path[96];
    snprintf(path, sizeof path, "%s-none", root);
    FAILS(ERR_REPO_NONE, "there is no folder", store_local_open(path, false, &s, e));
    FAILS(ERR_USAGE, "absolute path", store_open("file://relative", false, &s, e));
    FAILS(ERR_USAGE, "is empty", store_open("", false, &s, e));
    FAILS(ERR_USAGE, "cannot open repositories at 'ftp://'", store_open("ftp://host/x", false, &s, e));
    FAILS(ERR_REPO_UNREACHABLE, "Not a directory", store_open("/dev/null", true, &s, e));
}

static void nothing_foreign_is_listed_or_followed(void **state) {
    (void)state;
    struct store *s = local();
    int before = 0, after = 0;
    OK(store_list(s, "", count, &before, e));
    char path[128];
    snprintf(path, sizeof path, "%s/lost+found", root);
    assert_int_equal(mkdir(path, 0), 0);
    snprintf(path, sizeof path, "%s/link", root);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    snprintf(path, sizeof path, "%s/pipe", root);
    assert_int_equal(mkfifo(path, 0600), 0);
    OK(store_list(s, "", count, &after, e));
    assert_int_equal(before, after);
    uint8_t p[8];
    size_t n;
    uint64_t bytes;
    int64_t ns;
    FAILS(ERR_IO_READ, "link", store_read(s, "link", 0, p, 8, &n, e));
    FAILS(ERR_OBJECT_MISSING, "link", store_stat(s, "link", &bytes, &ns, e));
    FAILS(ERR_IO_READ, "pipe", store_read(s, "pipe", 0, p, 8, &n, e)); /* and does not wait for a writer */
    FAILS(ERR_OBJECT_EXISTS, "link", store_create(s, "link", text("x"), e));
    store_close(s);
}

static void leave(const char *name, const struct timespec times[2]) {
    char path[128];
    snprintf(path, sizeof path, "%s/tmp/%s", root, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0400);
    assert_true(fd >= 0);
    if (times) assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static void what_a_killed_run_left_goes_after_a_day(void **state) {
    (void)state;
    struct store *s = local();
    OK(store_create(s, "x", text("x"), e));
    static const char *const names[] = {"00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100",
                                        "README"};
    const struct timespec old[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = time(NULL) - 25 * 3600}};
    for (int i = 0; i < 3; i++) leave(names[i], i == 1 ? NULL : old);
    store_close(s);
    OK(store_local_open(root, false, &s, e));
    holds(s, "x", text("x"));
    assert_int_equal(files_in("tmp"), 3); /* who only reads removes nothing */
    OK(store_create(s, "y", text("y"), e));
    assert_int_equal(files_in("tmp"), 2); /* the young one and the one that is none of ours */
    leave("00112233445566778899aabbccddeeff", old);
    store_tidy(s);
    assert_int_equal(files_in("tmp"), 2);
    store_close(s);
}

static void many_staged_objects_take_few_descriptors(void **state) { /* 3 */
    (void)state;
    struct store *s = local();
    struct bytes part = text("x");
    int before = open_descriptors();
    char key[32];
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "crowd/%d", i);
        OK(store_stage(s, key, &part, 1, e));
    }
    assert_true(open_descriptors() - before <= 128);
    OK(store_commit(s, e));
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(files_in("crowd"), 400);
    store_close(s);
}

/* A seam that writes down what happens to files: the order of fsyncs and names. */
static char trace[8192];
static char names_of[1024][600];
static void note(const char *what, const char *name) {
    size_t n = strlen(trace);
    snprintf(trace + n, sizeof trace - n, "%s %s;", what, strncmp(name, "tmp/", 4) == 0 ? "TMP" : name);
}
static int noting_openat(int dirfd, const char *path, int flags, mode_t mode) {
    int fd = seam_system.openat(dirfd, path, flags, mode);
    if (fd >= 0 && fd < 1024) snprintf(names_of[fd], sizeof names_of[fd], "%s", path);
    return fd;
}
static int noting_fsync(int fd) {
    note("fsync", names_of[fd]);
    return seam_system.fsync(fd);
}
static int noting_renameat2(int ofd, const char *o, int nfd, const char *n, unsigned flags) {
    int rc = seam_system.renameat2(ofd, o, nfd, n, flags);
    note(rc == 0 ? flags ? "name" : "over" : "taken", n);
    return rc;
}

static void names_come_after_data_and_before_folders(void **state) { /* 1, 2 */
    (void)state;
    struct seam t = seam_system;
    t.openat = noting_openat, t.fsync = noting_fsync, t.renameat2 = noting_renameat2;
    struct store *s = local();
    seam_table = &t;
    struct bytes part = text("x");
    OK(store_stage(s, "order/a/2", &part, 1, e));
    OK(store_stage(s, "order/a/1", &part, 1, e));
    OK(store_stage(s, "order/b/3", &part, 1, e));
    assert_string_equal(trace, "");
    OK(store_commit(s, e));
    assert_string_equal(trace, "fsync TMP;fsync TMP;fsync TMP;name order/a/2;name order/a/1;name order/b/3;"
                               "fsync .;fsync order;fsync order/a;fsync order/b;");
    trace[0] = 0;
    OK(store_create(s, "order/a/4", part, e)); /* what is above is known to be durable by now */
    assert_string_equal(trace, "fsync TMP;name order/a/4;fsync order/a;");
    trace[0] = 0;
    OK(store_replace(s, "order/a/c", part, e));
    assert_string_equal(trace, "fsync TMP;over order/a/c;fsync order/a;");
    trace[0] = 0;
    OK(store_stage(s, "order/a/4", &part, 1, e)); /* another's equal object is made durable before it is ours */
    OK(store_commit(s, e));
    assert_string_equal(trace, "fsync TMP;taken order/a/4;fsync order/a/4;fsync order/a;");
    seam_table = &seam_system;
    store_close(s);
}

static int no_renameat2(int ofd, const char *o, int nfd, const char *n, unsigned flags) {
    if (flags == 0) return seam_system.renameat2(ofd, o, nfd, n, flags);
    errno = EINVAL;
    return -1;
}
static int lost_answer_linkat(int ofd, const char *o, int nfd, const char *n, int flags) {
    int rc = seam_system.linkat(ofd, o, nfd, n, flags);
    errno = EEXIST;
    return rc == 0 ? -1 : rc;
}

static void links_do_where_renameat2_does_not(void **state) {
    (void)state;
    struct seam t = seam_system;
    t.renameat2 = no_renameat2;
    seam_table = &t;
    struct store *s = local();
    struct bytes part = text("x"), other = text("y");
    OK(store_create(s, "linked/a", part, e));
    OK(store_stage(s, "linked/a", &other, 1, e));
    OK(store_stage(s, "linked/b", &part, 1, e));
    FAILS(ERR_OBJECT_EXISTS, "with other bytes", store_commit(s, e));
    OK(store_commit(s, e));
    t.linkat = lost_answer_linkat;
    OK(store_create(s, "linked/c", part, e));
    holds(s, "linked/a", part);
    holds(s, "linked/b", part);
    holds(s, "linked/c", part);
    assert_int_equal(files_in("linked"), 3);
    int before = files_in("tmp");
    store_close(s);
    assert_int_equal(files_in("tmp"), before); /* no second name was left */
    seam_table = &seam_system;
}

static int direct_opens, direct_writes, refuse_direct; /* 1 at the opening, 2 at the first write */
static int direct_fd = -1;
static int direct_openat(int dirfd, const char *path, int flags, mode_t mode) {
    bool direct = (flags & O_DIRECT) != 0;
    if (direct && refuse_direct == 1) return errno = EINVAL, -1;
    int fd = seam_system.openat(dirfd, path, flags, mode);
    if (direct) direct_opens++, direct_fd = fd;
    return fd;
}
static ssize_t direct_pwrite(int fd, const void *p, size_t n, off_t at) {
    if (fd == direct_fd && refuse_direct == 2) return errno = EINVAL, -1;
    assert_true(((uintptr_t)p | n | (size_t)at) % 4096 == 0);
    direct_writes++;
    return seam_system.pwrite(fd, p, n > 65536 ? 65536 : n, at); /* and writes may be short */
}

static void large_objects_pass_the_page_cache(void **state) {
    (void)state;
    struct seam t = seam_system;
    t.openat = direct_openat, t.pwrite = direct_pwrite;
    uint8_t *p = big(3 << 20);
    struct bytes parts[] = {BYTES_OF(p, 4096 * 300), BYTES_OF(p + 4096 * 300, 777),
                            BYTES_OF(p + 4096 * 300 + 777, 1 << 20)};
    struct bytes whole = BYTES_OF(p, 4096 * 300 + 777 + (1 << 20)), small = BYTES_OF(p, (1 << 20) - 1);
    static const char *const keys[] = {"direct/taken", "direct/refused", "direct/late"};
    for (refuse_direct = 0; refuse_direct < 3; refuse_direct++) {
        direct_opens = direct_writes = 0;
        direct_fd = -1;
        seam_table = &t;
        struct store *s = local();
        OK(store_stage(s, keys[refuse_direct], parts, 3, e));
        bool was_direct = direct_opens > 0 && direct_writes > 0;
        assert_int_equal(was_direct, refuse_direct == 0);
        if (refuse_direct == 0) assert_true(direct_writes >= (int)(whole.len / 65536));
        direct_opens = 0;
        OK(store_stage(s, "direct/small", &small, 1, e));
        assert_int_equal(direct_opens, 0);
        OK(store_commit(s, e));
        seam_table = &seam_system;
        holds(s, keys[refuse_direct], whole);
        holds(s, "direct/small", small);
        store_close(s);
    }
    refuse_direct = 0;
    free(p);
}

static int group_setup(void **state) {
    (void)state;
    char folder[] = "/tmp/pk-local-XXXXXX";
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(root, sizeof root, "%s", folder);
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    char path[96];
    snprintf(path, sizeof path, "%s/lost+found", root);
    return rmdir(path) == 0 ? io_remove_tree(AT_FDCWD, root, &err) : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_keep_others_out),
        cmocka_unit_test(a_missing_folder_is_no_repository),
        cmocka_unit_test(nothing_foreign_is_listed_or_followed),
        cmocka_unit_test(what_a_killed_run_left_goes_after_a_day),
        cmocka_unit_test(many_staged_objects_take_few_descriptors),
        cmocka_unit_test(names_come_after_data_and_before_folders),
        cmocka_unit_test(links_do_where_renameat2_does_not),
        cmocka_unit_test(large_objects_pass_the_page_cache),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
