#include "surface/files_bed.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct scratch dir;
struct error err;

/* ---- notes ---- */

static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;
char notes[NOTES_BYTES];

static void on_note(void *ctx, enum note_kind kind, struct bytes name, const char *text) {
    static const char *const words[] = {"skipped", "changed", "unreadable", "vanished", "warning"};
    (void)ctx;
    pthread_mutex_lock(&notes_lock);
    size_t n = strlen(notes);
    snprintf(notes + n, sizeof notes - n, "%s %.*s: %s\n", words[kind], (int)name.len, (const char *)name.ptr, text);
    pthread_mutex_unlock(&notes_lock);
}

static void on_progress(void *ctx, const char *phase, uint64_t done, uint64_t total, uint64_t items) {
    (void)ctx, (void)phase, (void)done, (void)total, (void)items;
}

/* ---- small helpers ---- */

const char *at(const char *name) {
    return scratch_path(&dir, name);
}

void put(const char *name, const char *text) {
    scratch_write(&dir, name, text, strlen(text));
}

void folder(const char *name) {
    assert_int_equal(mkdir(at(name), 0755), 0);
}

void run(const char *fmt, ...) {
    char cmd[8192];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    int rc = system(cmd);
    if (rc != 0) fail_msg("%s: status %d", cmd, rc);
}

/* Item name of a path in the scratch folder. Two stay valid. */
const char *item(const char *name) {
    static char out[2][4096];
    static int turn;
    turn = !turn;
    snprintf(out[turn], sizeof out[turn], "%s/%s", dir.path + 1, name);
    return out[turn];
}

char *facts_of(const char *path, const char *root) {
    char cmd[9000];
    snprintf(cmd, sizeof cmd, "python3 '%s' '%s' '%s'", TREE_FACTS, path, root);
    FILE *p = popen(cmd, "r");
    size_t n = 0, cap = 1 << 20;
    char *text = malloc(cap);
    for (size_t got; (got = fread(text + n, 1, cap - n - 1, p)) > 0;) {
        n += got;
        if (cap - n < 4096) text = realloc(text, cap *= 2);
    }
    text[n] = 0;
    assert_int_equal(pclose(p), 0);
    return text;
}

/* Two trees are the same, to the last attribute and to the digest over item names below `root`. */
void claim_same(const char *a, const char *b, const char *root) {
    char *x = facts_of(a, root), *y = facts_of(b, root);
    if (strcmp(x, y) != 0) {
        for (char *p = x, *q = y; *p || *q;) {
            size_t m = strcspn(p, "\n"), n = strcspn(q, "\n");
            if (m != n || memcmp(p, q, m) != 0) fail_msg("differs:\n%.*s\n%.*s", (int)m, p, (int)n, q);
            p += m + !!p[m];
            q += n + !!q[n];
        }
    }
    free(x);
    free(y);
}

bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

void claim_only(const char *folder_path, const char *want) {
    char cmd[5000], got[4096];
    snprintf(cmd, sizeof cmd, "ls -A '%s' | LC_ALL=C sort | tr '\\n' ' '", folder_path);
    FILE *p = popen(cmd, "r");
    size_t n = fread(got, 1, sizeof got - 1, p);
    got[n] = 0;
    pclose(p);
    assert_string_equal(got, want);
}

/* ---- captures and restores ---- */

struct bed bed_of(json_t *settings) {
    struct bed b = {.fake = fake_new(), .settings = settings};
    b.ctx = (struct surface_context){.environment = "test",
                                     .name = "artifacts",
                                     .settings = settings,
                                     .jobs = 3,
                                     .scratch_dir = dir.path,
                                     .events = {NULL, on_progress, on_note}};
    return b;
}

struct bed bed_make(const char *path) {
    return bed_of(json_pack("{s:[s]}", "paths", path));
}

void result_free(struct capture_result *r) {
    json_decref(r->facts);
    json_decref(r->invariants);
    *r = (struct capture_result){0};
}

void bed_free(struct bed *b) {
    result_free(&b->result);
    fake_free(b->fake);
    json_decref(b->settings);
}

void capture(struct bed *b) {
    result_free(&b->result);
    notes[0] = 0;
    claim_ok(surface_files.capture(&b->ctx, fake_sink(b->fake), &b->result, &err), err);
    claim_ok(fake_seal(b->fake, &err), err);
}

int restore_into(struct bed *b, struct restore_request req, struct restore_result *ret) {
    req.facts = b->result.facts;
    notes[0] = 0;
    return surface_files.restore(&b->ctx, fake_source(b->fake), &req, ret, &err);
}

void restore_to(struct bed *b, const char *target, const char *const *include) {
    struct restore_result r;
    claim_ok(restore_into(b, (struct restore_request){.target = target, .include = include}, &r), err);
    json_decref(r.facts);
}

const char *invariant(const struct bed *b, const char *key) {
    return json_string_value(json_object_get(json_object_get(b->result.invariants, key), "value"));
}

/* ---- a clock that can be set forward, so that files are old without waiting, and calls with a hook ---- */

static int64_t clock_ahead_ns;
struct seam hooked;

static int hook_clock(clockid_t id, struct timespec *ts) {
    int rc = seam_system.clock_gettime(id, ts);
    if (id == CLOCK_REALTIME) ts->tv_sec += clock_ahead_ns / NS_PER_S;
    return rc;
}

void hooks_set(int64_t ahead_s) {
    clock_ahead_ns = ahead_s * NS_PER_S;
    hooked = seam_system;
    hooked.clock_gettime = hook_clock;
    seam_table = &hooked;
}

void hooks_clear(void) {
    seam_table = &seam_system;
}

int bed_setup(void **s) {
    (void)s;
    scratch_make(&dir);
    error_clear(&err);
    return crypto_init(&err);
}

int bed_teardown(void **s) {
    (void)s;
    hooks_clear();
    run("rm -rf '%s'/*", dir.path); /* knows how to remove what lies deeper than a path can say */
    scratch_remove(&dir);
    return 0;
}

/* ---- trees ---- */

void nasty_tree(const char *name) {
    char root[4096], text[5000];
    folder(name);
    snprintf(root, sizeof root, "%s", at(name));
    assert_int_equal(chdir(root), 0);
    run("mkdir -p a/b/c empty 'with space' ; printf hello > a/b/c/f ; ln a/b/c/f a/first ; ln a/b/c/f 'with "
        "space/third'");
    run("mkdir a.b a-b ; printf x > a.b/x ; printf y > a-b/y ; printf z > a.c");
    run("ln -s loop loop ; ln -s . a/here ; ln -s ../../outside dangling ; ln -s a/b/c/f to-file");
    run("mkfifo fifo ; chmod 600 fifo ; : > nothing");
    run("printf '' > \"$(printf 'new\\nline')\" ; printf n > \"$(printf 'lat\\351n')\" ; printf p > '100%% sure'");
    run("head -c 3000000 /dev/urandom > big ; head -c 65536 /dev/urandom > block ; head -c 1048577 /dev/urandom > odd");
    run("truncate -s 5000000 hole-only ; truncate -s 10000000 sparse");
    run("printf middle | dd of=sparse bs=1 seek=4100000 conv=notrunc status=none ; truncate -s 10000123 sparse");
    run("printf end | dd of=tail bs=1 seek=2097155 status=none");
    run("chmod 000 nothing ; chmod 4711 a.c ; chmod 2750 a.b ; chmod 1777 empty");
    run("touch -d '2001-02-03 04:05:06.789012345' a/b/c/f ; touch -d '1965-01-01 00:00:00.5' block");
    run("touch -h -d '2010-10-10 10:10:10.101010101' to-file");
    run("setfattr -n user.note -v 'some value' big ; setfattr -n user.empty a/b ; head -c 3000 /dev/zero | tr '\\0' v "
        "> ../v ;"
        " setfattr -n user.long -v \"$(cat ../v)\" block ; rm ../v");
    run("setfacl -m u:12345:r-x,g:54321:rw- a.b/x ; setfacl -m d:u:12345:rwx a/b ; setfacl -m u:77:r a/b");
    if (geteuid() == 0) {
        run("chown 1234:5678 big a/b to-file ; chown -h 1:2 to-file ; chown 33:33 a.c ; chmod 4711 a.c ; chmod 2750 "
            "a.b");
        run("setfattr -n trusted.t -v hidden block ; setfattr -h -n trusted.l -v onlink loop");
        run("mknod null c 1 3 && chmod 666 null ; mknod loopdev b 7 200 || true");
        run("cp /bin/true capable && setcap cap_net_raw+ep capable 2>/dev/null || true");
    }
    /* a path longer than the system's limit, by folders of 250 bytes */
    int fd = open(".", O_RDONLY | O_DIRECTORY);
    memset(text, 'd', 250);
    text[250] = 0;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(mkdirat(fd, text, 0755), 0);
        int next = openat(fd, text, O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    int deep = openat(fd, "deep", O_WRONLY | O_CREAT, 0640);
    assert_int_equal(write(deep, "down here", 9), 9);
    close(deep);
    assert_int_equal(symlinkat("deep", fd, "deep-link"), 0);
    assert_int_equal(linkat(fd, "deep", fd, "deep-too", 0), 0);
    close(fd);
    run("touch -d '2005-05-05 05:05:05.555555555' a/b a . ");
    assert_int_equal(chdir("/"), 0);
}
