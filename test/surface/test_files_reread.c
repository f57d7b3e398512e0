/* Files that are read again and compared with what the last snapshot has of them. */
#include "surface/files_bed.h"
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Many files of all lengths, so that the two that are hashed together seldom end together. */
static void files_make(int n) {
    char path[64], *text = malloc(1 << 20);
    for (size_t i = 0; i < 1 << 20; i++) text[i] = (char)('a' + i * 2654435761u % 26);
    folder("src");
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "src/%03d", i);
        FILE *f = fopen(at(path), "w");
        assert_non_null(f);
        size_t len = i % 17 == 0 ? (size_t)i * 6007 : (size_t)i * 31 % 4099;
        assert_int_equal(fwrite(text + i, 1, len < 1000000 ? len : 1000000, f), len < 1000000 ? len : 1000000);
        fclose(f);
    }
    free(text);
}

static void unchanged_files_are_confirmed_by_their_digests(void **s) {
    (void)s;
    files_make(300);
    struct bed b = bed_make(at("src"));
    for (unsigned jobs = 1; jobs <= 3; jobs += 2) {
        b.ctx.jobs = jobs;
        b.ctx.full_read = false;
        capture(&b);
        char digest[65];
        snprintf(digest, sizeof digest, "%s", invariant(&b, "tree_sha256"));
        int64_t bytes = json_integer_value(json_object_get(b.result.facts, "bytes"));
        b.ctx.full_read = true;
        capture(&b);
        assert_int_equal(fake_counts(b.fake).kept, 0);
        assert_true(fake_counts(b.fake).held >= 290); /* an empty one has nothing to compare */
        assert_int_equal(fake_counts(b.fake).confirmed, fake_counts(b.fake).held);
        assert_int_equal(fake_counts(b.fake).restarted, 0);
        assert_int_equal(json_integer_value(json_object_get(b.result.facts, "bytes_read")), bytes);
        assert_string_equal(invariant(&b, "tree_sha256"), digest);
    }
    restore_to(&b, at("dst"), NULL);
    claim_same(at("src"), at("dst"), "r");
    bed_free(&b);
}

static void one_other_bit_under_the_same_time_is_found(void **s) {
    (void)s;
    files_make(120);
    struct bed b = bed_make(at("src"));
    capture(&b);
    const char *names[] = {"src/001", "src/034", "src/119"};
    for (size_t i = 0; i < 3; i++) {
        struct stat st;
        assert_int_equal(stat(at(names[i]), &st), 0);
        FILE *f = fopen(at(names[i]), "r+");
        fseek(f, -1, SEEK_END);
        fputc('!', f);
        fclose(f);
        const struct timespec times[2] = {st.st_atim, st.st_mtim};
        assert_int_equal(utimensat(AT_FDCWD, at(names[i]), times, 0), 0);
    }
    b.ctx.full_read = true;
    capture(&b);
    assert_int_equal(fake_counts(b.fake).held - fake_counts(b.fake).confirmed, 3);
    assert_int_equal(fake_counts(b.fake).restarted, 3);
    restore_to(&b, at("dst"), NULL);
    claim_same(at("src"), at("dst"), "r");
    bed_free(&b);
}

static void another_place_or_mode_costs_a_reading_and_no_cutting(void **s) {
    (void)s;
    files_make(60);
    struct bed b = bed_make(at("src"));
    capture(&b);
    run("cp -a '%s' '%s'; rm -r '%s'; mv '%s' '%s'; chmod 600 '%s'; setfattr -n user.x -v 1 '%s'", at("src"), at("new"),
        at("src"), at("new"), at("src"), at("src/017"), at("src/018"));
    capture(&b);
    assert_true(fake_counts(b.fake).held >= 58);
    assert_int_equal(fake_counts(b.fake).confirmed, fake_counts(b.fake).held);
    restore_to(&b, at("dst"), NULL);
    claim_same(at("src"), at("dst"), "r");
    bed_free(&b);
}

static void sparse_and_grown_and_linked_files_are_read_the_other_way(void **s) {
    (void)s;
    files_make(20);
    run("truncate -s 3M '%s'; printf x >> '%s'; ln '%s' '%s'", at("src/hole"), at("src/hole"), at("src/003"),
        at("src/link"));
    struct bed b = bed_make(at("src"));
    capture(&b);
    run("touch -r '%s' '%s'; printf more >> '%s'; touch -r '%s' '%s'", at("src/005"), at("ref"), at("src/005"),
        at("ref"), at("src/005"));
    b.ctx.full_read = true;
    capture(&b);
    assert_int_equal(fake_counts(b.fake).restarted, 1); /* the sparse one; the others were not held at all */
    restore_to(&b, at("dst"), NULL);
    claim_same(at("src"), at("dst"), "r");
    bed_free(&b);
}

static void a_failing_sink_ends_it_and_the_next_run_goes_on(void **s) {
    (void)s;
    files_make(40);
    struct bed b = bed_make(at("src"));
    capture(&b);
    fake_fail_open(b.fake, 20);
    b.ctx.full_read = true;
    struct capture_result r = {0};
    assert_int_equal(surface_files.capture(&b.ctx, fake_sink(b.fake), &r, &err), -ERR_IO_FULL);
    assert_string_equal(err.text, "the fake sink is full");
    fake_abandon(b.fake);
    fake_fail_open(b.fake, 0);
    error_clear(&err);
    capture(&b);
    assert_true(fake_counts(b.fake).confirmed >= 38);
    bed_free(&b);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(unchanged_files_are_confirmed_by_their_digests),
        CASE(one_other_bit_under_the_same_time_is_found),
        CASE(another_place_or_mode_costs_a_reading_and_no_cutting),
        CASE(sparse_and_grown_and_linked_files_are_read_the_other_way),
        CASE(a_failing_sink_ends_it_and_the_next_run_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
