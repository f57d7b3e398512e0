/* The local driver when the system fails: each call in turn, once and from then on. */
#include "store_test.h"
#include <errno.h>
#include <unistd.h>

static char base[64], root[96];
static int round_number;

static void fresh_root(void) {
    snprintf(root, sizeof root, "%s/%d", base, ++round_number);
}

static int open_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int files_in_tmp(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/tmp", root);
    DIR *d = opendir(path);
    if (d == NULL) return 0;
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* The nth fallible call fails; with `lasting`, all after it do too. Calls that release things are let through. */
static int left, injected;
static bool lasting;
static int error_number;
static bool due(enum seam_op op) {
    if (op == SEAM_close || op == SEAM_closedir || op == SEAM_munmap || op == SEAM_clock_gettime) return false;
    if (op == SEAM_unlinkat) return false;
    left--;
    bool now = left == -1 || (lasting && left < 0);
    if (!now) return false;
    injected++;
    errno = op == SEAM_alloc || op == SEAM_realloc || op == SEAM_alloc_aligned ? ENOMEM : error_number;
    return true;
}
static bool fails_with_null(enum seam_op op) {
    return op == SEAM_alloc || op == SEAM_realloc || op == SEAM_alloc_aligned || op == SEAM_fdopendir ||
           op == SEAM_readdir;
}
#define SEAM_OP(result, name, params, args)                                                                            \
    static result failing_##name params {                                                                              \
        if (due(SEAM_##name)) return (result)(intptr_t)(fails_with_null(SEAM_##name) ? 0 : -1);                        \
        return seam_system.name args;                                                                                  \
    }
SEAM_OPS
#undef SEAM_OP

static struct seam failing = {
#define SEAM_OP(result, name, params, args) .name = failing_##name,
    SEAM_OPS
#undef SEAM_OP
};

/* Thousands of real ones would tell nothing more here, and keep the disk busy for minutes. */
static int failing_or_idle_fsync(int fd) {
    (void)fd;
    return due(SEAM_fsync) ? -1 : 0;
}

static uint8_t *large; /* 2 MiB and a bit, so that it goes past the page cache */
#define LARGE_BYTES ((2u << 20) + 100)
static const char *const keys[] = {"p/a/1", "p/b/2", "log/1", "checkpoint"};

static int work(struct store **s, struct error *err) {
    int rc = store_local_open(root, true, s, err);
    if (rc < 0) return rc;
    struct bytes big = BYTES_OF(large, LARGE_BYTES), small = BYTES_OF(large, 1000);
    rc = store_stage(*s, keys[0], &big, 1, err);
    if (rc == 0) rc = store_stage(*s, keys[1], &small, 1, err);
    if (rc == 0) rc = store_commit(*s, err);
    if (rc == 0) rc = store_create(*s, keys[2], small, err);
    if (rc == 0) rc = store_replace(*s, keys[3], small, err);
    uint64_t bytes;
    int64_t ns;
    if (rc == 0) rc = store_stat(*s, keys[0], &bytes, &ns, err);
    return rc;
}

/* Whatever has its name is whole, and whatever was acknowledged is there. */
static void what_is_there_is_whole(bool all) {
    struct store *s = NULL;
    if (access(root, F_OK) != 0 && !all) return;
    OK(store_local_open(root, false, &s, e));
    for (size_t i = 0; i < 4; i++) {
        struct buf b = BUF_INIT(LARGE_BYTES + 1);
        struct error err = ERROR_INIT;
        int rc = store_read_all(s, keys[i], LARGE_BYTES, &b, &err);
        assert_true(rc == 0 || (rc == -ERR_OBJECT_MISSING && !all));
        if (rc == 0) assert_true(bytes_equal(buf_bytes(&b), BYTES_OF(large, i == 0 ? LARGE_BYTES : 1000)));
        buf_free(&b);
    }
    store_close(s);
}

static void each_call_failing_leaves_whole_objects(void **state) {
    (void)state;
    static const int numbers[] = {EIO, ENOSPC, EACCES};
    int failures = 0;
    for (int k = 0; k < 6; k++) {
        lasting = k % 2 == 1;
        error_number = numbers[k / 2];
        for (int n = 0;; n++) {
            fresh_root();
            int before = open_descriptors();
            struct store *s = NULL;
            struct error err = ERROR_INIT;
            left = n;
            injected = 0;
            seam_table = &failing;
            int rc = work(&s, &err);
            store_close(s);
            seam_table = &seam_system;
            if (rc < 0) {
                assert_int_equal(-rc, err.code);
                assert_true(strlen(err.text) > 10);
                failures++;
            }
            assert_int_equal(open_descriptors(), before);
            assert_int_equal(files_in_tmp(), 0);
            what_is_there_is_whole(rc == 0);
            struct error ignored = ERROR_INIT;
            assert_int_equal(io_remove_tree(AT_FDCWD, root, &ignored), 0);
            if (injected == 0) break;
        }
    }
    assert_true(failures > 150);
}

/* After a failure the same handle is either latched or finishes the work when asked again. */
static void what_failed_can_be_asked_for_again(void **state) {
    (void)state;
    lasting = false;
    error_number = EIO;
    int latched = 0, mended = 0;
    struct bytes a = text("aaa"), b = text("bbb");
    for (int n = 0;; n++) {
        fresh_root();
        struct store *s = NULL;
        OK(store_local_open(root, true, &s, e));
        struct error err = ERROR_INIT;
        OK(store_stage(s, "x/1", &a, 1, e));
        OK(store_stage(s, "y/2", &b, 1, e));
        left = n;
        injected = 0;
        seam_table = &failing;
        int rc = store_commit(s, &err);
        seam_table = &seam_system;
        if (rc == -ERR_IO_SYNC) {
            assert_true(strlen(err.state) > 0);
            FAILS(ERR_REPO_LATCHED, "takes no more writes in this run", store_commit(s, e));
            latched++;
        } else {
            OK(store_commit(s, e));
            struct buf got = BUF_INIT(16);
            OK(store_read_all(s, "x/1", 16, &got, e));
            OK(store_read_all(s, "y/2", 16, &got, e));
            assert_true(bytes_equal(buf_bytes(&got), text("aaabbb")));
            buf_free(&got);
            mended += rc < 0;
        }
        store_close(s);
        assert_int_equal(files_in_tmp(), 0);
        if (injected == 0) break;
    }
    assert_true(latched >= 5 && mended >= 3);
}

static int failing_fsync_number;
static int fsync_that_fails(int fd) {
    if (failing_fsync_number-- > 0) return seam_system.fsync(fd);
    return errno = EIO, -1;
}

static void a_failed_fsync_latches_the_handle(void **state) { /* invariant 4 */
    (void)state;
    struct seam t = seam_system;
    t.fsync = fsync_that_fails;
    fresh_root();
    struct store *s = NULL;
    OK(store_local_open(root, true, &s, e));
    OK(store_create(s, "old", text("old"), e));
    struct bytes part = text("x");
    OK(store_stage(s, "new/1", &part, 1, e));
    seam_table = &t;
    failing_fsync_number = 0;
    FAILS(ERR_IO_SYNC, "cannot make new/1 in", store_commit(s, e));
    seam_table = &seam_system;
    const char *says = "takes no more writes in this run, as data could not be made durable: new/1: Input/output error";
    FAILS(ERR_REPO_LATCHED, says, store_stage(s, "new/2", &part, 1, e));
    FAILS(ERR_REPO_LATCHED, says, store_commit(s, e));
    FAILS(ERR_REPO_LATCHED, says, store_create(s, "new/3", part, e));
    FAILS(ERR_REPO_LATCHED, says, store_create(s, "old", part, e));
    FAILS(ERR_REPO_LATCHED, says, store_replace(s, "old", part, e));
    FAILS(ERR_REPO_LATCHED, says, store_remove(s, "old", e));
    struct buf b = BUF_INIT(16);
    OK(store_read_all(s, "old", 16, &b, e)); /* reading goes on */
    buf_free(&b);
    store_close(s);
    OK(store_local_open(root, false, &s, e)); /* and a new handle begins anew */
    OK(store_create(s, "new/3", part, e));
    uint64_t bytes;
    int64_t ns;
    FAILS(ERR_OBJECT_MISSING, "new/1", store_stat(s, "new/1", &bytes, &ns, e));
    store_close(s);
}

static uint64_t room; /* what the device still takes */
static ssize_t write_to_full(int fd, const void *p, size_t n) {
    if (room == 0) return errno = ENOSPC, -1;
    n = n < room ? n : room;
    room -= n;
    return seam_system.write(fd, p, n);
}
/* Past the page cache a device takes whole blocks; what is left of it may be less. */
static ssize_t pwrite_to_full(int fd, const void *p, size_t n, off_t at) {
    if (room == 0) return errno = ENOSPC, -1;
    n = n < room ? n : room;
    room -= n;
    return n < 4096 ? (ssize_t)n : seam_system.pwrite(fd, p, n & ~(size_t)4095, at);
}
static int fallocate_not_offered(int fd, int mode, off_t at, off_t n) {
    (void)fd, (void)mode, (void)at, (void)n;
    return errno = EOPNOTSUPP, -1;
}
static int fallocate_full(int fd, int mode, off_t at, off_t n) {
    (void)fd, (void)mode, (void)at, (void)n;
    return errno = ENOSPC, -1;
}

static void a_full_disk_is_said_and_leaves_nothing(void **state) {
    (void)state;
    fresh_root();
    struct seam t = seam_system;
    t.write = write_to_full, t.pwrite = pwrite_to_full, t.fallocate = fallocate_not_offered;
    struct store *s = NULL;
    OK(store_local_open(root, true, &s, e));
    struct bytes big = BYTES_OF(large, LARGE_BYTES), small = BYTES_OF(large, 5000);
    seam_table = &t;
    static const uint64_t rooms[] = {0, 100, 4096, 4999, 70000, 300000, 2 << 20};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        room = rooms[i];
        FAILS(ERR_IO_FULL, "storing full/big", store_stage(s, "full/big", &big, 1, e));
        room = rooms[i] < 5000 ? rooms[i] : 0;
        FAILS(ERR_IO_FULL, "storing full/small", store_create(s, "full/small", small, e));
        assert_int_equal(files_in_tmp(), 0);
    }
    t.fallocate = fallocate_full;
    room = UINT64_MAX;
    FAILS(ERR_IO_FULL, "cannot reserve 2101248 bytes", store_stage(s, "full/big", &big, 1, e));
    assert_int_equal(files_in_tmp(), 0);
    seam_table = &seam_system;
    OK(store_stage(s, "full/big", &big, 1, e)); /* a full disk is no reason to latch */
    OK(store_commit(s, e));
    store_close(s);
}

static int group_setup(void **state) {
    (void)state;
    char folder[] = "/tmp/pk-faults-XXXXXX";
    if (mkdtemp(folder) == NULL || posix_memalign((void **)&large, 4096, LARGE_BYTES) != 0) return -1;
    snprintf(base, sizeof base, "%s", folder);
    fill(large, LARGE_BYTES, 9);
    failing.fsync = failing_or_idle_fsync;
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    free(large);
    return io_remove_tree(AT_FDCWD, base, &err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_failing_leaves_whole_objects),
        cmocka_unit_test(what_failed_can_be_asked_for_again),
        cmocka_unit_test(a_failed_fsync_latches_the_handle),
        cmocka_unit_test(a_full_disk_is_said_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
