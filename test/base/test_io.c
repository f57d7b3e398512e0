#include "base/seam.h"
#include "harness/claims.h"
#include "harness/fault.h"
#include "harness/scratch.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct scratch dir;
static int setup(void **s) {
    (void)s;
    scratch_make(&dir);
    return 0;
}
static int teardown(void **s) {
    (void)s;
    scratch_remove(&dir);
    return 0;
}

static unsigned entries(const char *name) {
    unsigned n = 0;
    DIR *d = opendir(scratch_path(&dir, name));
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static unsigned open_fds(void) {
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static void eintr_never_reaches_a_caller(void **s) {
    (void)s;
    scratch_write(&dir, "f", "abc", 3);
    for (uint64_t n = 1; n <= 3; n++) {
        char p[4];
        size_t got = 0;
        struct error e = ERROR_INIT;
        fault_install();
        fault_fail(n, EINTR, false);
        int fd = seam_openat(AT_FDCWD, scratch_path(&dir, "f"), O_RDONLY, 0);
        assert_true(fd >= 0);
        claim_ok(io_read_full(fd, p, 3, &got, "f", &e), e);
        assert_int_equal(seam_close(fd), 0);
        assert_int_equal(got, 3);
        assert_int_equal(fault_hits(), 1);
        fault_remove();
        assert_int_equal(close(fd), -1);
    }
}

static void descriptors_are_close_on_exec(void **s) {
    (void)s;
    int fds[2], fd = seam_openat(AT_FDCWD, dir.path, O_RDONLY | O_DIRECTORY, 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY, .resolve = RESOLVE_NO_SYMLINKS};
    int fd2 = seam_openat2(fd, ".", &how);
    assert_true(fd2 >= 0 && (fcntl(fd2, F_GETFD) & FD_CLOEXEC));
    assert_int_equal(seam_pipe2(fds, 0), 0);
    assert_true((fcntl(fds[0], F_GETFD) & FD_CLOEXEC) && (fcntl(fds[1], F_GETFD) & FD_CLOEXEC));
    io_close(&fd);
    assert_int_equal(fd, -1);
    io_close(&fd);
    io_close(&fd2);
    io_close(&fds[0]);
    io_close(&fds[1]);
}

static void xattrs_work_on_descriptors_and_names(void **s) {
    (void)s;
    scratch_write(&dir, "f", "", 0);
    char v[8] = "", list[64];
    int d = seam_openat(AT_FDCWD, dir.path, O_RDONLY | O_DIRECTORY, 0);
    if (seam_setxattr_at(d, "f", "user.k", "v1", 2) < 0 && errno == EOPNOTSUPP) {
        io_close(&d);
        skip();
    }
    int f = seam_openat(d, "f", O_PATH, 0);
    assert_int_equal(seam_getxattr_at(f, NULL, "user.k", v, sizeof v), 2);
    assert_memory_equal(v, "v1", 2);
    assert_int_equal(seam_setxattr_at(f, NULL, "user.k", "v22", 3), 0);
    assert_int_equal(seam_getxattr_at(d, "f", "user.k", v, sizeof v), 3);
    assert_true(seam_listxattr_at(d, "f", list, sizeof list) >= 7);
    assert_true(seam_listxattr_at(f, NULL, list, sizeof list) >= 7);
    assert_int_equal(seam_getxattr_at(d, "none", "user.k", v, sizeof v), -1);
    io_close(&f);
    io_close(&d);
}

static void full_helpers_survive_short_calls(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    uint8_t in[1000], out[1000];
    size_t got = 0;
    for (size_t i = 0; i < sizeof in; i++) in[i] = (uint8_t)(i * 7);
    fault_install();
    fault_short(true);
    int fd = seam_openat(AT_FDCWD, scratch_path(&dir, "f"), O_RDWR | O_CREAT, 0600);
    claim_ok(io_write_full(fd, in, 500, "f", &e), e);
    claim_ok(io_pwrite_full(fd, in + 500, 500, 500, "f", &e), e);
    claim_ok(io_pread_full(fd, out, 700, 0, &got, "f", &e), e);
    assert_int_equal(got, 700);
    claim_ok(io_read_full(fd, out + 500, 600, &got, "f", &e), e);
    assert_int_equal(got, 500);
    assert_memory_equal(in, out, sizeof in);
    assert_true(fault_op_calls(SEAM_write) > 5);
    fault_remove();
    claim_fails(io_pread_full(fd, out, 1, UINT64_MAX, &got, "f", &e), e, ERR_IO_READ, "beyond any file");
    claim_fails(io_pwrite_full(fd, out, 2, INT64_MAX - 1u, "f", &e), e, ERR_IO_WRITE, "beyond any file");
    io_close(&fd);
    claim_fails(io_write_full(-1, in, 1, "that file", &e), e, ERR_IO_WRITE, "write that file: Bad file descriptor");
    claim_fails(io_read_full(-1, out, 1, &got, "that file", &e), e, ERR_IO_READ, "read that file: Bad file descriptor");
}

static void files_are_read_whole_or_not_at_all(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct buf b = BUF_INIT(1 << 20);
    uint8_t *big = malloc(100000);
    for (int i = 0; i < 100000; i++) big[i] = (uint8_t)(i >> 3);
    scratch_write(&dir, "f", big, 100000);
    claim_ok(buf_append(&b, "<", 1, &e), e);
    claim_ok(io_read_file(AT_FDCWD, scratch_path(&dir, "f"), 100000, &b, &e), e);
    assert_int_equal(b.len, 100001);
    assert_memory_equal(b.ptr + 1, big, 100000);
    claim_fails(io_read_file(AT_FDCWD, scratch_path(&dir, "f"), 99999, &b, &e), e, ERR_IO_READ,
                "larger than the 99999 bytes");
    claim_fails(io_read_file(AT_FDCWD, scratch_path(&dir, "none"), 10, &b, &e), e, ERR_IO_NOT_FOUND, "No such file");
    claim_fails(io_read_file(AT_FDCWD, dir.path, 10, &b, &e), e, ERR_IO_READ, "Is a directory");
    assert_int_equal(b.len, 100001);
    struct buf small = BUF_INIT(50000);
    claim_fails(io_read_file(AT_FDCWD, scratch_path(&dir, "f"), 100000, &small, &e), e, ERR_NO_MEMORY, "/f: a buffer");
    assert_int_equal(small.len, 0);
    buf_free(&small);
    buf_free(&b);
    free(big);
}

static void replace_is_all_or_nothing(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct stat st;
    char p[100];
    claim_ok(io_replace_file(AT_FDCWD, scratch_path(&dir, "f"), BYTES_STR("one"), 0640, &e), e);
    assert_int_equal(stat(scratch_path(&dir, "f"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    int fd = seam_openat(AT_FDCWD, dir.path, O_RDONLY | O_DIRECTORY, 0);
    claim_ok(io_replace_file(fd, "f", BYTES_STR("three"), 0600, &e), e);
    io_close(&fd);
    assert_int_equal(scratch_read(&dir, "f", p, sizeof p), 5);
    assert_string_equal(p, "three");
    assert_int_equal(entries(""), 1);
    claim_fails(io_replace_file(AT_FDCWD, scratch_path(&dir, "no/f"), BYTES_STR(""), 0600, &e), e, ERR_IO_NOT_FOUND,
                "open the folder of");
}

static void replace_once(void *arg, uint64_t n) {
    (void)arg, (void)n;
    struct error e = ERROR_INIT;
    char p[100];
    scratch_write(&dir, "f", "old", 3);
    unsigned fds = open_fds();
    bool on = *(bool *)arg;
    int rc = io_replace_file(AT_FDCWD, scratch_path(&dir, "f"), BYTES_STR("new!"), 0600, &e);
    bool hit = fault_hits() > 0;
    assert_int_equal(open_fds(), fds);
    assert_true(scratch_read(&dir, "f", p, sizeof p) > 0);
    if (rc == 0) {
        assert_string_equal(p, "new!");
        /* Only closing what was read is allowed to fail unseen. */
        if (hit) assert_true(fault_op_calls(SEAM_renameat2) == 1 && fault_op_calls(SEAM_fsync) == 2);
    } else {
        assert_true(hit && e.text[0] && e.state[0]);
        bool renamed = !strcmp(p, "new!");
        assert_true(renamed || !strcmp(p, "old"));
        if (renamed) assert_int_equal(rc, -ERR_IO_SYNC);
        assert_non_null(strstr(e.state, renamed ? "may not outlive a power cut" : "is as it was before"));
        /* With the disk gone for good, the temporary file may stay. */
        if (!on) assert_int_equal(entries(""), 1);
    }
    fault_remove();
    scratch_remove(&dir);
    scratch_make(&dir);
}

static void property_replace_holds_under_every_fault(void **s) {
    (void)s;
    bool on = false;
    assert_true(fault_each(on, replace_once, &on) >= 8);
    on = true;
    assert_true(fault_each(on, replace_once, &on) >= 8);
}

static void who_is_in_the_way_is_told(void **s) {
    (void)s;
    struct stat st;
    char want[600];
    scratch_write(&dir, "f", "abc", 3);
    assert_int_equal(chmod(scratch_path(&dir, "f"), 0640), 0);
    assert_int_equal(stat(dir.path, &st), 0);
    const struct {
        const char *name, *in_the_way, *deed;
        unsigned mode;
        int fails, why; /* how the fstatat of the last name ends, if not by itself */
    } rows[] = {{"f", "/f", "write to", 0640, 0, 0},
                {"new", "", "write to", st.st_mode & 07777, 0, 0},
                {"f", "", "pass through", st.st_mode & 07777, 1, EACCES}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error e = ERROR_INIT;
        char path[SCRATCH_PATH_MAX + 8];
        unsigned looks = 2; /* at ".", and at the root */
        snprintf(path, sizeof path, "%s/%s", dir.path, rows[i].name);
        for (const char *p = path + 1; *p; p++) looks += *p == '/';
        errno = EACCES;
        assert_int_equal(error_set_errno(&e, ERR_IO_WRITE, "open it"), -ERR_IO_DENIED);
        fault_install();
        if (rows[i].fails) fault_fail(looks + 1, rows[i].why, false);
        errno = ENOTTY;
        assert_int_equal(io_whose(path, rows[i].deed, &e), -ERR_IO_DENIED);
        assert_int_equal(errno, ENOTTY);
        fault_remove();
        snprintf(want, sizeof want,
                 "user %u may not %s '%.400s%s', which belongs to %u:%u and has mode %04o: open it: Permission denied",
                 (unsigned)geteuid(), rows[i].deed, dir.path, rows[i].in_the_way, (unsigned)st.st_uid,
                 (unsigned)st.st_gid, rows[i].mode);
        assert_string_equal(e.text, want);
    }
    struct error e = ERROR_INIT; /* what is not about permission stays as it is */
    errno = EIO;
    assert_int_equal(error_set_errno(&e, ERR_IO_WRITE, "open it"), -ERR_IO_WRITE);
    assert_int_equal(io_whose(dir.path, "read", &e), -ERR_IO_WRITE);
    assert_string_equal(e.text, "open it: Input/output error");
}

static void folders_are_made_with_their_parents(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct stat st;
    mode_t old = umask(0);
    claim_ok(io_mkdirs(scratch_path(&dir, "a/b//c/"), 0750, &e), e);
    claim_ok(io_mkdirs(scratch_path(&dir, "a/b/c"), 0700, &e), e);
    umask(old);
    assert_int_equal(stat(scratch_path(&dir, "a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    scratch_write(&dir, "file", "", 0);
    claim_fails(io_mkdirs(scratch_path(&dir, "file"), 0700, &e), e, ERR_IO_EXISTS, "exists and is not a folder");
    claim_fails(io_mkdirs(scratch_path(&dir, "file/x"), 0700, &e), e, ERR_IO_EXISTS, "exists and is not a folder");
    claim_fails(io_mkdirs("", 0700, &e), e, ERR_IO_WRITE, "create the folder ''");
    claim_ok(io_mkdirs("/", 0700, &e), e);
}

static void trees_are_removed_without_following(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    claim_ok(io_mkdirs(scratch_path(&dir, "keep"), 0700, &e), e);
    scratch_write(&dir, "keep/me", "x", 1);
    claim_ok(io_mkdirs(scratch_path(&dir, "t/a/b/c"), 0700, &e), e);
    claim_ok(io_mkdirs(scratch_path(&dir, "t/locked/in"), 0700, &e), e);
    scratch_write(&dir, "t/a/b/c/f", "x", 1);
    scratch_write(&dir, "t/locked/in/f", "x", 1);
    scratch_write(&dir, "t/.pk-removing-0", "x", 1);
    assert_int_equal(symlink(scratch_path(&dir, "keep"), scratch_path(&dir, "t/a/link")), 0);
    assert_int_equal(chmod(scratch_path(&dir, "t/locked/in"), 0), 0);
    assert_int_equal(chmod(scratch_path(&dir, "t/locked"), 0), 0);
    claim_ok(io_remove_tree(AT_FDCWD, scratch_path(&dir, "t"), &e), e);
    claim_ok(io_remove_tree(AT_FDCWD, scratch_path(&dir, "t"), &e), e);
    assert_int_equal(entries(""), 1);
    assert_int_equal(entries("keep"), 1);
    assert_int_equal(symlink(scratch_path(&dir, "keep"), scratch_path(&dir, "l")), 0);
    claim_ok(io_remove_tree(AT_FDCWD, scratch_path(&dir, "l"), &e), e);
    claim_ok(io_remove_tree(AT_FDCWD, scratch_path(&dir, "keep/me"), &e), e);
    assert_int_equal(entries("keep"), 0);
}

static void depth_and_width_cost_nothing(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    assert_int_equal(mkdir(scratch_path(&dir, "t"), 0700), 0);
    int at = open(scratch_path(&dir, "t"), O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 3000; i++) {
        char file[32];
        snprintf(file, sizeof file, "f%d", i);
        close(openat(at, file, O_CREAT | O_WRONLY, 0600));
        assert_int_equal(mkdirat(at, "a-folder-with-a-long-name", 0700), 0);
        int next = openat(at, "a-folder-with-a-long-name", O_RDONLY | O_DIRECTORY);
        close(at);
        at = next;
    }
    close(at);
    unsigned fds = open_fds();
    claim_ok(io_remove_tree(AT_FDCWD, scratch_path(&dir, "t"), &e), e);
    assert_int_equal(open_fds(), fds);
    assert_int_equal(entries(""), 0);
}

static void remove_once(void *arg, uint64_t n) {
    (void)arg, (void)n;
    struct error e = ERROR_INIT;
    int made = mkdir(scratch_path(&dir, "t"), 0700);
    if (made == 0) {
        mkdir(scratch_path(&dir, "t/a"), 0700);
        mkdir(scratch_path(&dir, "t/a/b"), 0700);
        scratch_write(&dir, "t/a/b/f", "x", 1);
    }
    unsigned fds = open_fds();
    int rc = io_remove_tree(AT_FDCWD, scratch_path(&dir, "t"), &e);
    assert_int_equal(open_fds(), fds);
    /* Success means gone; a failure says why, and the next run ends the work. */
    assert_true(rc == 0 ? access(scratch_path(&dir, "t"), F_OK) < 0 : e.text[0] && fault_hits() > 0);
}

static void property_removal_is_honest_under_every_fault(void **s) {
    (void)s;
    assert_true(fault_each(false, remove_once, NULL) > 5);
    assert_true(fault_each(true, remove_once, NULL) > 5);
}

static void poll_keeps_its_patience(void **s) {
    (void)s;
    int fds[2];
    assert_int_equal(seam_pipe2(fds, 0), 0);
    struct pollfd p = {fds[0], POLLIN, 0};
    assert_int_equal(seam_poll(&p, 1, 10), 0);
    assert_int_equal(seam_write(fds[1], "x", 1), 1);
    assert_int_equal(seam_poll(&p, 1, -1), 1);
    io_close(&fds[0]);
    io_close(&fds[1]);
}

static void memory_comes_zeroed_and_aligned(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    void *p = NULL;
    char *c = NULL;
    claim_ok(mem_alloc(100, &p, &e), e);
    for (int i = 0; i < 100; i++) assert_int_equal(((uint8_t *)p)[i], 0);
    seam_free(p);
    claim_ok(mem_alloc(0, &p, &e), e);
    assert_non_null(p);
    seam_free(p);
    claim_ok(mem_strdup("text", &c, &e), e);
    assert_string_equal(c, "text");
    seam_free(c);
    seam_free(NULL);
    p = seam_alloc_aligned(4096, 100);
    assert_int_equal((uintptr_t)p % 4096, 0);
    seam_free(p);
    p = seam_mmap(4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    assert_int_equal(seam_munmap(p, 4096), 0);
    uint8_t r[16] = {0}, zero[16] = {0};
    assert_int_equal(seam_getrandom(r, sizeof r), sizeof r);
    assert_memory_not_equal(r, zero, sizeof r);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(eintr_never_reaches_a_caller),
        TEST(descriptors_are_close_on_exec),
        TEST(xattrs_work_on_descriptors_and_names),
        TEST(full_helpers_survive_short_calls),
        TEST(files_are_read_whole_or_not_at_all),
        TEST(replace_is_all_or_nothing),
        TEST(property_replace_holds_under_every_fault),
        TEST(who_is_in_the_way_is_told),
        TEST(folders_are_made_with_their_parents),
        TEST(trees_are_removed_without_following),
        TEST(depth_and_width_cost_nothing),
        TEST(property_removal_is_honest_under_every_fault),
        TEST(poll_keeps_its_patience),
        TEST(memory_comes_zeroed_and_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
