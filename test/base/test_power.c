/* The power harness itself, and what io_replace_file promises about power cuts. */
#include "base/seam.h"
#include "harness/claims.h"
#include "harness/power.h"
#include "harness/scratch.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct scratch dir;
static unsigned crashes;

static int setup(void **s) {
    (void)s;
    scratch_make(&dir);
    assert_int_equal(mkdir(scratch_path(&dir, "root"), 0755), 0);
    return 0;
}

static int teardown(void **s) {
    (void)s;
    power_end();
    power_forget();
    scratch_remove(&dir);
    return 0;
}

/* The content of root/<name> after a crash behind change n, NULL when it is not there. */
static const char *after(uint64_t n, enum power_mode mode, const char *name) {
    static char text[5000];
    char into[40], path[300];
    snprintf(into, sizeof into, "crash-%u", crashes++);
    power_materialise(scratch_path(&dir, into), n, mode);
    snprintf(path, sizeof path, "%s/%s", into, name);
    return scratch_read(&dir, path, text, sizeof text) < 0 ? NULL : text;
}

static int at(const char *name) {
    int fd = seam_openat(AT_FDCWD, scratch_path(&dir, name), O_RDWR | O_CREAT, 0644);
    assert_true(fd >= 0);
    return fd;
}

static int folder(const char *name) {
    int fd = seam_openat(AT_FDCWD, scratch_path(&dir, name), O_RDONLY | O_DIRECTORY, 0);
    assert_true(fd >= 0);
    return fd;
}

static void a_file_needs_its_sync_and_its_folders(void **s) {
    (void)s;
    power_begin(scratch_path(&dir, "root"));
    int fd = at("root/f"), root = folder("root");   /* 1: create */
    assert_int_equal(seam_write(fd, "data", 4), 4); /* 2: write */
    assert_int_equal(seam_fsync(fd), 0);            /* 3: sync */
    assert_int_equal(seam_fsync(root), 0);          /* 4: sync of the folder */
    assert_int_equal(power_ops(), 4);
    assert_null(after(0, POWER_KEEP_ALL, "f"));
    assert_string_equal(after(1, POWER_KEEP_ALL, "f"), "");
    assert_string_equal(after(2, POWER_KEEP_ALL, "f"), "data");
    assert_string_equal(after(2, POWER_NAMES_FIRST, "f"), "");
    assert_string_equal(after(3, POWER_NAMES_FIRST, "f"), "data");
    assert_null(after(3, POWER_DROP_UNSYNCED, "f"));
    assert_string_equal(after(4, POWER_DROP_UNSYNCED, "f"), "data");
    io_close(&fd);
    io_close(&root);
}

static void a_folder_synced_too_early_forgets(void **s) {
    (void)s;
    power_begin(scratch_path(&dir, "root"));
    int fd = at("root/f"), root = folder("root");
    assert_int_equal(seam_fsync(root), 0);
    assert_int_equal(seam_write(fd, "data", 4), 4);
    assert_string_equal(after(power_ops(), POWER_DROP_UNSYNCED, "f"), "");
    assert_int_equal(seam_renameat2(root, "f", root, "g", 0), 0);
    assert_string_equal(after(power_ops(), POWER_DROP_UNSYNCED, "f"), "");
    assert_null(after(power_ops(), POWER_DROP_UNSYNCED, "g"));
    assert_string_equal(after(power_ops(), POWER_NAMES_FIRST, "g"), "");
    assert_string_equal(after(power_ops(), POWER_KEEP_ALL, "g"), "data");
    assert_null(after(power_ops(), POWER_KEEP_ALL, "f"));
    assert_int_equal(seam_unlinkat(root, "g", 0), 0);
    assert_int_equal(seam_fsync(root), 0);
    assert_null(after(power_ops(), POWER_DROP_UNSYNCED, "f"));
    io_close(&fd);
    io_close(&root);
}

static void the_last_write_is_torn_at_a_sector(void **s) {
    (void)s;
    power_begin(scratch_path(&dir, "root"));
    int fd = at("root/f");
    char old[2048], new[2048];
    memset(old, 'o', sizeof old);
    memset(new, 'n', sizeof new);
    assert_int_equal(seam_pwrite(fd, old, sizeof old, 0), sizeof old);
    assert_int_equal(seam_fdatasync(fd), 0);
    assert_int_equal(seam_pwrite(fd, new, 1000, 100), 1000); /* sectors 0, 1 and 2: the first is whole */
    const char *text = after(power_ops(), POWER_TORN_WRITE, "f");
    assert_int_equal(strlen(text), 2048);
    for (int i = 0; i < 2048; i++) assert_int_equal(text[i], i >= 100 && i < 512 ? 'n' : 'o');
    /* What is synced is not torn, so the write before it is not either. */
    assert_int_equal(seam_fsync(fd), 0);
    assert_int_equal(after(power_ops(), POWER_TORN_WRITE, "f")[1000], 'n');
    io_close(&fd);
}

static void what_was_there_is_durable(void **s) {
    (void)s;
    assert_int_equal(mkdir(scratch_path(&dir, "root/d"), 0700), 0);
    scratch_write(&dir, "root/d/f", "before", 6);
    assert_int_equal(link(scratch_path(&dir, "root/d/f"), scratch_path(&dir, "root/hard")), 0);
    assert_int_equal(symlink("d/f", scratch_path(&dir, "root/soft")), 0);
    power_begin(scratch_path(&dir, "root"));
    assert_int_equal(power_ops(), 0);
    for (enum power_mode m = 0; m < POWER_MODE_COUNT; m++) {
        assert_string_equal(after(0, m, "d/f"), "before");
        assert_string_equal(after(0, m, "soft"), "before");
    }
    struct stat st;
    char name[40];
    snprintf(name, sizeof name, "crash-%u/hard", crashes - 1);
    assert_int_equal(stat(scratch_path(&dir, name), &st), 0);
    assert_int_equal(st.st_nlink, 2);
    int fd = at("root/d/f");
    assert_int_equal(seam_write(fd, "AFTER!", 6), 6);
    assert_int_equal(seam_ftruncate(fd, 5), 0);
    assert_string_equal(after(power_ops(), POWER_DROP_UNSYNCED, "hard"), "before");
    assert_string_equal(after(power_ops(), POWER_KEEP_ALL, "hard"), "AFTER");
    io_close(&fd);
}

static void names_move_between_folders(void **s) {
    (void)s;
    power_begin(scratch_path(&dir, "root"));
    int root = folder("root");
    assert_int_equal(seam_mkdirat(root, "a", 0700), 0);
    assert_int_equal(seam_mkdirat(root, "b", 0700), 0);
    int a = folder("root/a"), b = folder("root/b"), fd = at("root/a/f");
    assert_int_equal(seam_write(fd, "x", 1), 1);
    assert_int_equal(seam_fsync(fd), 0);
    assert_int_equal(seam_fsync(a), 0);
    assert_int_equal(seam_fsync(root), 0);
    assert_int_equal(seam_renameat2(a, "f", b, "f", RENAME_NOREPLACE), 0);
    assert_int_equal(seam_linkat(b, "f", root, "l", 0), 0);
    assert_int_equal(seam_symlinkat("b", root, "s"), 0);
    /* Until both are synced the file may be in either; here it is where it was. */
    assert_string_equal(after(power_ops(), POWER_DROP_UNSYNCED, "a/f"), "x");
    assert_null(after(power_ops(), POWER_DROP_UNSYNCED, "b/f"));
    assert_string_equal(after(power_ops(), POWER_NAMES_FIRST, "s/f"), "x");
    assert_string_equal(after(power_ops(), POWER_KEEP_ALL, "l"), "x");
    assert_int_equal(seam_fsync(a), 0);
    assert_null(after(power_ops(), POWER_DROP_UNSYNCED, "a/f"));
    assert_null(after(power_ops(), POWER_DROP_UNSYNCED, "b/f"));
    assert_int_equal(seam_fsync(b), 0);
    assert_string_equal(after(power_ops(), POWER_DROP_UNSYNCED, "b/f"), "x");
    int fd2 = at("root/b/g");
    assert_int_equal(seam_write(fd2, "y", 1), 1);
    assert_int_equal(seam_renameat2(b, "g", b, "f", RENAME_EXCHANGE), 0);
    assert_string_equal(after(power_ops(), POWER_KEEP_ALL, "b/f"), "y");
    assert_string_equal(after(power_ops(), POWER_KEEP_ALL, "b/g"), "x");
    io_close(&fd2);
    io_close(&fd);
    io_close(&a);
    io_close(&b);
    io_close(&root);
}

static void unnamed_files_get_their_name_by_link(void **s) {
    (void)s;
    power_begin(scratch_path(&dir, "root"));
    int root = folder("root"), fd = seam_openat(root, ".", O_TMPFILE | O_WRONLY, 0600);
    if (fd < 0 && errno == EOPNOTSUPP) {
        io_close(&root);
        skip();
    }
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    assert_int_equal(seam_write(fd, "x", 1), 1);
    assert_int_equal(seam_fsync(fd), 0);
    assert_int_equal(seam_linkat(AT_FDCWD, self, root, "f", AT_SYMLINK_FOLLOW), 0);
    assert_null(after(power_ops(), POWER_DROP_UNSYNCED, "f"));
    assert_string_equal(after(power_ops(), POWER_NAMES_FIRST, "f"), "x");
    io_close(&fd);
    io_close(&root);
}

static void what_cannot_be_followed_is_refused(void **s) {
    (void)s;
    power_begin(scratch_path(&dir, "root"));
    int fd = at("root/f"), outside = at("other");
    assert_int_equal(seam_ftruncate(fd, 4096), 0);
    assert_ptr_equal(seam_mmap(4096, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(errno, ENODEV);
    assert_int_equal(seam_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 512), -1);
    uint64_t before = power_ops();
    assert_int_equal(seam_write(outside, "x", 1), 1);
    assert_int_equal(power_ops(), before);
    io_close(&fd);
    io_close(&outside);
}

static void property_replace_survives_every_crash(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    char old[3000], new[4000];
    memset(old, 'o', sizeof old - 1);
    memset(new, 'n', sizeof new - 1);
    old[sizeof old - 1] = new[sizeof new - 1] = 0;
    scratch_write(&dir, "root/f", old, sizeof old - 1);
    power_begin(scratch_path(&dir, "root"));
    claim_ok(io_replace_file(AT_FDCWD, scratch_path(&dir, "root/f"), BYTES_STR(new), 0600, &e), e);
    uint64_t last = power_ops();
    assert_true(last >= 5);
    for (uint64_t n = 0; n <= last; n++) {
        for (enum power_mode m = 0; m < POWER_MODE_COUNT; m++) {
            const char *text = after(n, m, "f");
            assert_non_null(text);
            assert_true(!strcmp(text, new) || (n < last && !strcmp(text, old)));
        }
    }
}

static void property_folders_made_are_durable(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    power_begin(scratch_path(&dir, "root"));
    claim_ok(io_mkdirs(scratch_path(&dir, "root/a/b/c"), 0700, &e), e);
    claim_ok(io_replace_file(AT_FDCWD, scratch_path(&dir, "root/a/b/c/f"), BYTES_STR("x"), 0600, &e), e);
    assert_string_equal(after(power_ops(), POWER_DROP_UNSYNCED, "a/b/c/f"), "x");
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_needs_its_sync_and_its_folders),
        TEST(a_folder_synced_too_early_forgets),
        TEST(the_last_write_is_torn_at_a_sector),
        TEST(what_was_there_is_durable),
        TEST(names_move_between_folders),
        TEST(unnamed_files_get_their_name_by_link),
        TEST(what_cannot_be_followed_is_refused),
        TEST(property_replace_survives_every_crash),
        TEST(property_folders_made_are_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
