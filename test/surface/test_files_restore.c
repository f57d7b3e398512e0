/* Restores of the files driver: what is selected, where it goes, and what a hostile snapshot or target can do
 * (nothing). */
#include "base/thread.h"
#include "harness/fault.h"
#include "surface/files_bed.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void small_tree(const char *name) {
    char path[4096];
    folder(name);
    snprintf(path, sizeof path, "%s", at(name));
    run("cd '%s' && mkdir -p docs/old bin && printf 1 > docs/a.md && printf 2 > docs/b.txt && printf 3 > docs/old/c.md "
        "&&"
        " printf 4 > bin/tool && ln bin/tool bin/zlink && ln -s a.md docs/link && head -c 2000000 /dev/urandom > "
        "bin/large",
        path);
}

/* ---- selections ---- */

static void claim_selection(struct bed *b, const char *const *include, const char *want) {
    char cmd[5000], got[4096];
    restore_to(b, at("dst"), include);
    snprintf(cmd, sizeof cmd, "cd '%s' && find . -mindepth 1 | LC_ALL=C sort | tr '\\n' ' '", at("dst"));
    FILE *p = popen(cmd, "r");
    size_t n = fread(got, 1, sizeof got - 1, p);
    got[n] = 0;
    pclose(p);
    assert_string_equal(got, want);
    run("rm -r '%s'", at("dst"));
}

#define INCLUDE(...) ((const char *const[]){__VA_ARGS__, NULL})

static void a_selection_brings_just_that(void **s) {
    (void)s;
    small_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    claim_selection(&b, INCLUDE("docs/a.md"), "./docs ./docs/a.md ");
    claim_selection(&b, INCLUDE(item("src/docs/a.md")), "./docs ./docs/a.md ");
    claim_selection(&b, INCLUDE(at("src/docs/old")), "./docs ./docs/old ./docs/old/c.md ");
    claim_selection(&b, INCLUDE("**/*.md", "bin/large"),
                    "./bin ./bin/large ./docs ./docs/a.md ./docs/old ./docs/old/c.md ");
    claim_selection(&b, INCLUDE("docs/*.md"), "./docs ./docs/a.md ");
    claim_selection(&b, INCLUDE("bin/"), "./bin ./bin/large ./bin/tool ./bin/zlink ");
    claim_selection(&b, INCLUDE("/"),
                    "./bin ./bin/large ./bin/tool ./bin/zlink ./docs ./docs/a.md ./docs/b.txt ./docs/link "
                    "./docs/old ./docs/old/c.md ");
    struct restore_result r;
    claim_fails(
        restore_into(&b, (struct restore_request){.target = at("dst"), .include = INCLUDE("docs/a.md", "nowhere")}, &r),
        err, ERR_NO_POINT, "matches, 'nowhere'");
    assert_false(exists(at("dst")));
    bed_free(&b);
}

static void a_hard_link_without_its_first_name_gets_the_content(void **s) {
    (void)s;
    small_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    restore_to(&b, at("dst"), INCLUDE("bin/zlink"));
    run("cmp '%s' '%s'", at("src/bin/tool"), at("dst/bin/zlink"));
    claim_only(at("dst/bin"), "zlink ");
    bed_free(&b);
}

static void selected_folders_have_their_attributes(void **s) {
    (void)s;
    small_tree("src");
    run("chmod 700 '%s'; touch -d 2001-01-01 '%s' '%s'", at("src/docs"), at("src/docs"), at("src"));
    struct bed b = bed_make(at("src"));
    capture(&b);
    restore_to(&b, at("dst"), INCLUDE("docs/a.md"));
    struct stat st;
    assert_int_equal(stat(at("dst/docs"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(st.st_mtime, 978307200);
    assert_int_equal(stat(at("dst"), &st), 0);
    assert_int_equal(st.st_mtime, 978307200);
    bed_free(&b);
}

/* ---- targets ---- */

static void an_empty_target_is_used_and_a_full_one_refused(void **s) {
    (void)s;
    small_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    folder("dst");
    restore_to(&b, at("dst"), NULL);
    claim_same(at("src"), at("dst"), "r");
    struct restore_result r;
    claim_fails(restore_into(&b, (struct restore_request){.target = at("dst")}, &r), err, ERR_TARGET_NOT_EMPTY,
                "is not empty");
    put("file", "x");
    claim_fails(restore_into(&b, (struct restore_request){.target = at("file")}, &r), err, ERR_IO_EXISTS,
                "is not a folder");
    claim_fails(restore_into(&b, (struct restore_request){.target = "relative"}, &r), err, ERR_USAGE,
                "not an absolute path");
    claim_fails(restore_into(&b, (struct restore_request){.target = "/"}, &r), err, ERR_TARGET_NOT_EMPTY, "'/'");
    claim_only(dir.path, "dst file src ");
    restore_to(&b, at("made/on/the/way"), NULL);
    bed_free(&b);
}

static void a_planted_link_at_the_target_is_not_followed(void **s) {
    (void)s;
    small_tree("src");
    folder("outside");
    struct bed b = bed_make(at("src"));
    capture(&b);
    assert_int_equal(symlink("outside", at("dst")), 0);
    struct restore_result r;
    claim_fails(restore_into(&b, (struct restore_request){.target = at("dst")}, &r), err, ERR_IO_ESCAPE,
                "is a symbolic link");
    claim_only(at("outside"), "");
    bed_free(&b);
}

static void the_default_target_is_beside_the_root(void **s) {
    (void)s;
    small_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    struct restore_request req = {.facts = b.result.facts};
    json_t *plan = NULL, *later = NULL;
    claim_ok(surface_files.plan(&b.ctx, &req, &plan, &err), err);
    const char *target = json_string_value(json_object_get(plan, "target"));
    assert_non_null(strstr(target, "/src.restored-2"));
    assert_false(json_is_true(json_object_get(plan, "exists")));
    assert_true(json_integer_value(json_object_get(plan, "bytes_needed")) > 2000000);
    assert_true(json_integer_value(json_object_get(plan, "bytes_free")) > 0);
    assert_true(json_array_size(json_object_get(plan, "steps")) >= 4);
    restore_to(&b, target, NULL);
    claim_same(at("src"), target, "r");
    req.target = target;
    claim_ok(surface_files.plan(&b.ctx, &req, &later, &err), err);
    assert_true(json_is_true(json_object_get(later, "exists")));
    assert_false(json_is_true(json_object_get(later, "empty")));
    assert_false(json_equal(json_object_get(plan, "fingerprint"), json_object_get(later, "fingerprint")));
    json_decref(plan);
    json_decref(later);
    bed_free(&b);
}

static void a_swap_keeps_the_old(void **s) {
    (void)s;
    small_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    restore_to(&b, at("copy"), NULL);
    put("src/docs/a.md", "spoilt");
    struct restore_result r;
    claim_ok(restore_into(&b, (struct restore_request){.swap = true}, &r), err);
    const char *kept = json_string_value(json_object_get(r.facts, "kept"));
    assert_non_null(strstr(kept, "/src.replaced-2"));
    claim_same(at("src"), at("copy"), "r");
    run("grep -q spoilt '%s/docs/a.md'", kept);
    json_decref(r.facts);
    claim_fails(restore_into(&b, (struct restore_request){.swap = true, .include = INCLUDE("docs")}, &r), err,
                ERR_USAGE, "only a whole restore");
    bed_free(&b);
}

/* ---- in place ---- */

static void in_place_replaces_just_what_is_named(void **s) {
    (void)s;
    small_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    restore_to(&b, at("copy"), NULL);
    put("src/docs/a.md", "spoilt");
    put("src/docs/new", "stays");
    run("rm -r '%s'; chmod 711 '%s'", at("src/docs/old"), at("src/docs"));
    struct restore_result r;
    claim_ok(restore_into(&b,
                          (struct restore_request){.in_place = true,
                                                   .include = INCLUDE("docs/a.md", "docs/old/c.md", "docs/link")},
                          &r),
             err);
    assert_int_equal(r.items, 3);
    json_decref(r.facts);
    claim_same(at("src/docs/old"), at("copy/docs/old"), "r");
    run("cmp '%s' '%s' && test \"$(cat '%s')\" = stays", at("src/docs/a.md"), at("copy/docs/a.md"), at("src/docs/new"));
    claim_only(at("src/docs"), "a.md b.txt link new old ");
    struct stat st;
    assert_int_equal(stat(at("src/docs"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0711); /* a folder on the way is not ours to change */
    claim_fails(restore_into(&b, (struct restore_request){.in_place = true}, &r), err, ERR_USAGE, "needs the names");
    bed_free(&b);
}

static void in_place_links_again(void **s) {
    (void)s;
    small_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    put("src/bin/tool", "spoilt"); /* and so is zlink */
    struct restore_result r;
    for (int i = 0; i < 2; i++) {
        claim_ok(restore_into(&b, (struct restore_request){.in_place = true, .include = INCLUDE("bin")}, &r), err);
        json_decref(r.facts);
    }
    run("test \"$(cat '%s')\" = 4 && test '%s' -ef '%s'", at("src/bin/tool"), at("src/bin/tool"), at("src/bin/zlink"));
    claim_only(at("src/bin"), "large tool zlink ");
    bed_free(&b);
}

static void in_place_never_goes_through_a_planted_link(void **s) {
    (void)s;
    small_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    folder("outside");
    put("outside/a.md", "untouched");
    run("rm -r '%s' && ln -s ../outside '%s'", at("src/docs"), at("src/docs"));
    struct restore_result r;
    claim_fails(restore_into(&b, (struct restore_request){.in_place = true, .include = INCLUDE("docs/a.md")}, &r), err,
                ERR_IO_ESCAPE, "is a link in the target");
    run("test \"$(cat '%s')\" = untouched", at("outside/a.md"));
    claim_only(at("outside"), "a.md ");
    /* a link in place of the file itself is replaced, not written through */
    run("rm '%s' && mkdir '%s' && ln -s ../../outside/a.md '%s'", at("src/docs"), at("src/docs"), at("src/docs/a.md"));
    claim_ok(restore_into(&b, (struct restore_request){.in_place = true, .include = INCLUDE("docs/a.md")}, &r), err);
    json_decref(r.facts);
    run("test \"$(cat '%s')\" = untouched && test \"$(cat '%s')\" = 1", at("outside/a.md"), at("src/docs/a.md"));
    /* and a folder in place of a file stays */
    run("rm '%s' && mkdir -p '%s'", at("src/docs/a.md"), at("src/docs/a.md/full"));
    claim_fails(restore_into(&b, (struct restore_request){.in_place = true, .include = INCLUDE("docs/a.md")}, &r), err,
                ERR_IO_EXISTS, "a folder stands where");
    claim_only(at("src/docs"), "a.md ");
    bed_free(&b);
}

/* ---- hostile and damaged snapshots ---- */

static void add(struct bed *b, const char *name, enum file_type type, const char *target) {
    struct buf out = BUF_INIT(4096);
    struct attr a = {.type = type, .mode = type == FILE_FOLDER ? 0755 : 0644, .nlink = 1};
    if (target) a.target = BYTES_STR(target);
    struct bytes content = {0};
    if (type == FILE_REGULAR) content = BYTES_STR("evil");
    a.size = content.len;
    claim_ok(attr_encode(&a, &out, &err), err);
    fake_add(b->fake, name, buf_bytes(&out), type == FILE_REGULAR ? ITEM_FILE : ITEM_NONE, content);
    buf_free(&out);
}

static void hostile_names_are_refused_before_anything_is_written(void **s) {
    (void)s;
    static const struct {
        const char *names[4];
        enum file_type types[4];
        const char *targets[4];
        const char *says;
    } cases[] = {
        {{"../x"}, {FILE_REGULAR}, {0}, "'.' or '..'"},
        {{"r", "r/a", "r/a/../../x"}, {FILE_FOLDER, FILE_FOLDER, FILE_REGULAR}, {0}, "'.' or '..'"},
        {{"r", "r/.."}, {FILE_FOLDER, FILE_FOLDER}, {0}, "'.' or '..'"},
        {{"r", "r/./x"}, {FILE_FOLDER, FILE_REGULAR}, {0}, "'.' or '..'"},
        {{"/etc/x"}, {FILE_REGULAR}, {0}, "has an empty part"},
        {{"r", "r//x"}, {FILE_FOLDER, FILE_REGULAR}, {0}, "has an empty part"},
        {{"r", "r/"}, {FILE_FOLDER, FILE_FOLDER}, {0}, "has an empty part"},
        {{"r", "r/a", "r/a/x"},
         {FILE_FOLDER, FILE_LINK, FILE_REGULAR},
         {NULL, "/tmp"},
         "lies in no folder of the snapshot"},
        {{"r", "r/a", "r/a/x"}, {FILE_FOLDER, FILE_REGULAR, FILE_REGULAR}, {0}, "lies in no folder of the snapshot"},
        {{"r", "r/a/x"}, {FILE_FOLDER, FILE_REGULAR}, {0}, "lies in no folder of the snapshot"},
        {{"r", "s"}, {FILE_FOLDER, FILE_REGULAR}, {0}, "lies in no folder of the snapshot"},
        {{"r", "r/b", "r/a"}, {FILE_FOLDER, FILE_REGULAR, FILE_REGULAR}, {0}, "does not come after"},
        {{"r", "r/a", "r/a"}, {FILE_FOLDER, FILE_FOLDER, FILE_LINK}, {NULL, NULL, "/tmp"}, "does not come after"},
        {{"r", "r/a"}, {FILE_FOLDER, FILE_HARDLINK}, {NULL, "../../etc/passwd"}, "'.' or '..'"},
        {{"r", "r/a"}, {FILE_FOLDER, FILE_HARDLINK}, {NULL, "/etc/passwd"}, "has an empty part"},
        {{"r", "r/a"}, {FILE_FOLDER, FILE_HARDLINK}, {NULL, "r/b"}, "comes later"},
    };
    small_tree("src");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bed b = bed_make(at("src"));
        b.result.facts = json_pack("{s:[{s:s,s:s}],s:i}", "roots", "path", "/r", "type", "folder", "bytes", 0);
        for (size_t j = 0; j < 4 && cases[i].names[j]; j++)
            add(&b, cases[i].names[j], cases[i].types[j], cases[i].targets[j]);
        struct restore_result r;
        int rc = restore_into(&b, (struct restore_request){.target = at("dst")}, &r);
        if (rc != -ERR_IO_ESCAPE || !strstr(err.text, cases[i].says)) fail_msg("case %zu: %d %s", i, rc, err.text);
        assert_string_equal(err.state, "nothing was written");
        error_clear(&err);
        claim_only(dir.path, "src ");
        bed_free(&b);
    }
}

static void a_link_to_outside_can_be_restored_and_nothing_goes_through_it(void **s) {
    (void)s;
    folder("outside");
    struct bed b = bed_make("/r");
    b.result.facts = json_pack("{s:[{s:s,s:s}]}", "roots", "path", "/r", "type", "folder");
    add(&b, "r", FILE_FOLDER, NULL);
    add(&b, "r/link", FILE_LINK, at("outside"));
    add(&b, "r/name", FILE_HARDLINK, "r/link/x");
    struct restore_result r;
    claim_fails(restore_into(&b, (struct restore_request){.target = at("dst")}, &r), err, ERR_IO_ESCAPE,
                "is a link in the target");
    claim_only(dir.path, "outside ");
    claim_only(at("outside"), "");
    bed_free(&b);
}

static void damaged_content_leaves_nothing_under_the_name(void **s) {
    (void)s;
    small_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    fake_spoil(b.fake, item("src/bin/large"));
    struct restore_result r;
    claim_fails(restore_into(&b, (struct restore_request){.target = at("dst")}, &r), err, ERR_RESTORE_DIFFERS,
                "bin/large");
    claim_only(dir.path, "src ");
    /* in place, the live file stays */
    put("src/bin/large", "live");
    claim_fails(restore_into(&b, (struct restore_request){.in_place = true, .include = INCLUDE("bin/large")}, &r), err,
                ERR_RESTORE_DIFFERS, "bin/large");
    run("test \"$(cat '%s')\" = live", at("src/bin/large"));
    claim_only(at("src/bin"), "large tool zlink ");
    bed_free(&b);
}

/* Large enough for a thread that writes behind. One has holes, which must be such again. */
static void large_files(struct bed *b) {
    folder("src");
    run("cd '%s' && head -c 20000000 /dev/urandom >dense && truncate -s 30M sparse && printf middle | dd of=sparse "
        "bs=1 "
        "seek=21000001 conv=notrunc status=none && printf end >>sparse",
        at("src"));
    *b = bed_make(at("src"));
    capture(b);
}

static void what_was_not_right_at_its_end_is_written_again(void **s) {
    (void)s;
    struct bed b;
    struct restore_result r = {0};
    large_files(&b);
    fake_lie_late(b.fake, item("src/dense"));
    fake_lie_late(b.fake, item("src/sparse"));
    claim_ok(restore_into(&b, (struct restore_request){.target = at("dst")}, &r), err);
    assert_int_equal(r.bytes, 20000000 + (30u << 20) + 3);
    json_decref(r.facts);
    claim_same(at("src"), at("dst"), "r");
    run("test $(stat -c %%b '%s') -lt 1000", at("dst/sparse"));
    fake_spoil(b.fake, item("src/dense"));
    claim_fails(restore_into(&b, (struct restore_request){.target = at("dst2")}, &r), err, ERR_RESTORE_DIFFERS,
                "dense");
    claim_only(dir.path, "dst src ");
    bed_free(&b);
}

static void a_record_that_contradicts_its_content_is_refused(void **s) {
    (void)s;
    struct bed b = bed_make("/r");
    b.result.facts = json_pack("{s:[{s:s,s:s}]}", "roots", "path", "/r", "type", "folder");
    struct buf out = BUF_INIT(4096);
    struct attr a = {.type = FILE_REGULAR, .mode = 0644, .size = 3};
    claim_ok(attr_encode(&a, &out, &err), err);
    add(&b, "r", FILE_FOLDER, NULL);
    fake_add(b.fake, "r/f", buf_bytes(&out), ITEM_FILE, BYTES_STR("four"));
    struct restore_result r;
    claim_fails(restore_into(&b, (struct restore_request){.target = at("dst")}, &r), err, ERR_OBJECT_CORRUPT,
                "do not go together");
    buf_free(&out);
    bed_free(&b);
}

static void a_copy_of_the_whole_file_system_is_measured_like_it(void **s) {
    (void)s;
    struct bed b = bed_make("/");
    b.result.facts = json_pack("{s:[{s:s,s:s}]}", "roots", "path", "/", "type", "folder");
    add(&b, "etc", FILE_FOLDER, NULL);
    add(&b, "etc/hosts", FILE_REGULAR, NULL);
    add(&b, "init", FILE_LINK, "sbin/init");
    restore_to(&b, at("dst"), NULL);
    claim_only(at("dst"), "etc init ");
    json_t *scratch = json_pack("{s:s}", "path", at("dst")), *measured = NULL;
    claim_ok(surface_files.measure(&b.ctx, scratch, b.result.facts, &measured, &err), err);
    char *facts = facts_of(at("dst"), "");
    assert_non_null(
        strstr(facts, json_string_value(json_object_get(json_object_get(measured, "tree_sha256"), "value"))));
    free(facts);
    json_decref(scratch);
    json_decref(measured);
    bed_free(&b);
}

/* ---- others' rights ---- */

static void without_root_what_cannot_be_is_told(void **s) {
    (void)s;
    if (geteuid() != 0) skip();
    small_tree("src");
    run("mknod '%s' c 1 3; chmod 4755 '%s'; chown 5:6 '%s'; chmod 555 '%s'; setfattr -n user.k -v v '%s'; chmod 400 "
        "'%s'",
        at("src/null"), at("src/bin/large"), at("src/docs/a.md"), at("src/docs"), at("src/docs/b.txt"),
        at("src/docs/b.txt"));
    struct bed b = bed_make(at("src"));
    capture(&b);
    folder("theirs");
    assert_int_equal(chown(at("theirs"), 65534, 65534), 0);
    run("chmod 711 '%s'", dir.path);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct restore_result r;
        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) _exit(9);
        if (restore_into(&b, (struct restore_request){.target = at("theirs/dst")}, &r)) {
            fprintf(stderr, "%s\n", err.text);
            _exit(8);
        }
        if (r.skipped != 1 || !strstr(notes, "null: a device: only root")) _exit(7);
        if (!strstr(notes, "bin/large: set-user-id and set-group-id were left off")) _exit(6);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    struct stat st;
    assert_int_equal(stat(at("theirs/dst/bin/large"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(st.st_uid, 65534);
    assert_int_equal(stat(at("theirs/dst/docs"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0555);
    run("getfattr -n user.k --only-values '%s' | grep -q v", at("theirs/dst/docs/b.txt"));
    /* as root, told to leave owners alone */
    struct restore_result r;
    claim_ok(restore_into(&b, (struct restore_request){.target = at("dst"), .no_owner = true}, &r), err);
    json_decref(r.facts);
    assert_int_equal(stat(at("dst/docs/a.md"), &st), 0);
    assert_int_equal(st.st_uid, 0);
    bed_free(&b);
}

/* ---- every call may fail ---- */

/* Hundreds of restores, each of which syncs its file system: in memory where there is such a place. */
static int setup_in_memory(void **s) {
    const char *before = getenv("TMPDIR");
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    int rc = bed_setup(s);
    if (before)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
    return rc;
}

static void restore_hit(void *arg, uint64_t n) {
    struct bed *b = arg;
    struct restore_result r = {0};
    int rc = restore_into(b, (struct restore_request){.target = at("dst")}, &r);
    json_decref(r.facts);
    assert_true(rc == 0 ? err.code == ERR_NONE : rc == -(int)err.code && err.text[0]);
    fault_remove();
    if (rc == 0) {
        /* what was struck was of no account: it is whole */
        claim_same(at("src"), at("dst"), "r");
    } else if (exists(at("dst"))) {
        if (!strstr(err.state, "may lose it in a power failure") && !strstr(err.state, "the restore is complete"))
            fail_msg("call %llu: %s; %s", (unsigned long long)n, err.text, err.state);
        claim_same(at("src"), at("dst"), "r");
    }
    error_clear(&err);
    run("rm -rf '%s' '%s'*", at("dst"), at("dst.proofkeep-partial-"));
}

static void a_restore_survives_any_failing_call(void **s) {
    (void)s;
    folder("src");
    folder("src/d");
    put("src/d/f", "small");
    run("head -c 1500000 /dev/urandom > '%s'; ln '%s' '%s'; ln -s x '%s'", at("src/large"), at("src/d/f"), at("src/e"),
        at("src/l"));
    struct bed b = bed_make(at("src"));
    b.ctx.jobs = 1;
    capture(&b);
    assert_true(fault_each(false, restore_hit, &b) > 60);
    assert_true(fault_each(true, restore_hit, &b) > 60);
    bed_free(&b);
}

static void a_large_file_survives_any_failing_write(void **s) {
    (void)s;
    struct bed b;
    uint64_t failed = 0, blocks = 0;
    large_files(&b);
    int fd = open(at("probe"), O_WRONLY | O_CREAT | O_DIRECT, 0600);
    const bool direct = fd >= 0;
    if (direct) close(fd);
    unlink(at("probe"));
    for (int way = 0; way < (direct ? 3 : 2); way++) {
        for (uint64_t n = 1;; n += 5) {
            fault_install();
            fault_only(SEAM_pwrite);
            fault_fail(n, way == 2 ? EINVAL : way ? ENOSPC : EIO, false);
            struct restore_result r = {0};
            int rc = restore_into(&b, (struct restore_request){.target = at("dst")}, &r);
            const uint64_t hits = fault_hits();
            fault_remove();
            json_decref(r.facts);
            /* EINVAL: blocks are coarser than ours, so it goes on through the page cache */
            assert_int_equal(rc, !hits || way == 2 ? 0 : way ? -ERR_IO_FULL : -ERR_IO_WRITE);
            if (rc == 0) claim_same(at("src"), at("dst"), "r");
            failed += rc < 0;
            blocks += rc == 0 && hits > 0;
            claim_only(dir.path, rc == 0 ? "dst src " : "src ");
            if (rc == 0) run("rm -r '%s'", at("dst"));
            error_clear(&err);
            if (!hits) break;
        }
    }
    assert_true(failed >= 8 && (blocks >= 4 || !direct));
    bed_free(&b);
    if (!direct) skip(); /* no file system past whose cache is written: nothing was written behind */
}

static void capture_hit(void *arg, uint64_t n) {
    struct bed *b = arg;
    struct capture_result r = {0};
    (void)n;
    notes[0] = 0;
    int rc = surface_files.capture(&b->ctx, fake_sink(b->fake), &r, &err);
    fault_remove();
    assert_true(rc == 0 ? err.code == ERR_NONE : rc == -(int)err.code && err.text[0]);
    if (rc == 0) {
        claim_ok(fake_seal(b->fake, &err), err);
        /* either nothing is missing, or somebody was told */
        bool whole = json_equal(r.invariants, b->result.invariants);
        if (!whole && !notes[0])
            fail_msg("call %llu: something is missing, and nobody was told", (unsigned long long)n);
    } else {
        fake_abandon(b->fake);
    }
    error_clear(&err);
    result_free(&r);
}

static void a_capture_survives_any_failing_call(void **s) {
    (void)s;
    folder("src");
    folder("src/d");
    put("src/d/f", "small");
    run("head -c 150000 /dev/urandom > '%s'; ln '%s' '%s'; ln -s x '%s'; setfattr -n user.x -v 1 '%s'", at("src/large"),
        at("src/d/f"), at("src/e"), at("src/l"), at("src/large"));
    struct bed b = bed_make(at("src"));
    b.ctx.jobs = 1;
    b.ctx.full_read = true;
    capture(&b);
    assert_true(fault_each(false, capture_hit, &b) > 40);
    assert_true(fault_each(true, capture_hit, &b) > 40);
    bed_free(&b);
}

static void a_stop_signal_ends_both(void **s) {
    (void)s;
    small_tree("src");
    struct bed b = bed_make(at("src"));
    capture(&b);
    struct capture_result c;
    struct restore_result r;
    atomic_store(&stop_signal, 2);
    int captured = surface_files.capture(&b.ctx, fake_sink(b.fake), &c, &err);
    struct error first = err;
    error_clear(&err);
    fake_abandon(b.fake);
    int restored = restore_into(&b, (struct restore_request){.target = at("dst")}, &r);
    atomic_store(&stop_signal, 0);
    claim_fails(captured, first, ERR_INTERRUPTED, "interrupted by SIGINT");
    claim_fails(restored, err, ERR_INTERRUPTED, "interrupted by SIGINT");
    claim_only(dir.path, "src ");
    bed_free(&b);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_selection_brings_just_that),
        CASE(a_hard_link_without_its_first_name_gets_the_content),
        CASE(selected_folders_have_their_attributes),
        CASE(an_empty_target_is_used_and_a_full_one_refused),
        CASE(a_planted_link_at_the_target_is_not_followed),
        CASE(the_default_target_is_beside_the_root),
        CASE(a_swap_keeps_the_old),
        CASE(in_place_replaces_just_what_is_named),
        CASE(in_place_links_again),
        CASE(in_place_never_goes_through_a_planted_link),
        CASE(hostile_names_are_refused_before_anything_is_written),
        CASE(a_link_to_outside_can_be_restored_and_nothing_goes_through_it),
        CASE(damaged_content_leaves_nothing_under_the_name),
        CASE(what_was_not_right_at_its_end_is_written_again),
        CASE(a_large_file_survives_any_failing_write),
        CASE(a_record_that_contradicts_its_content_is_refused),
        CASE(a_copy_of_the_whole_file_system_is_measured_like_it),
        CASE(without_root_what_cannot_be_is_told),
        CASE(a_stop_signal_ends_both),
        cmocka_unit_test_setup_teardown(a_restore_survives_any_failing_call, setup_in_memory, bed_teardown),
        cmocka_unit_test_setup_teardown(a_capture_survives_any_failing_call, setup_in_memory, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
