/* Physical PostgreSQL without a server: attribute records, what is left out, backup_manifest, recovery settings, and
 * the restore into new and old folders. */
#include "base/crc32c.h"
#include "harness/claims.h"
#include "harness/power.h"
#include "harness/scratch.h"
#include "surface/fake_sink.h"
#include "surface/pgphys/restore_internal.h"
#include <gnu/libc-version.h>
#include <stdlib.h>
#include <unistd.h>

static struct error err;

static void an_attribute_record_comes_back(void **s) {
    (void)s;
    struct buf out = BUF_INIT(4096);
    struct pgphys_attr b, a = {.type = PGPHYS_LINK,
                               .mode = 0777,
                               .flags = PGPHYS_BAD_PAGES | PGPHYS_GREW_SHORT,
                               .mtime_ns = -1700000000000000001,
                               .target = BYTES_STR("/srv/far")};
    claim_ok(pgphys_attr_encode(&a, &out, &err), err);
    claim_ok(pgphys_attr_decode(buf_bytes(&out), &b, &err), err);
    assert_true(a.type == b.type && a.mode == b.mode && a.flags == b.flags && a.mtime_ns == b.mtime_ns);
    assert_true(bytes_equal(a.target, b.target));
    for (size_t n = 0; n < out.len; n++) {
        int rc = pgphys_attr_decode(BYTES_OF(out.ptr, n), &b, &err);
        assert_int_equal(rc, -ERR_OBJECT_CORRUPT);
        error_clear(&err);
    }
    out.ptr[0] = 2;
    claim_fails(pgphys_attr_decode(buf_bytes(&out), &b, &err), err, ERR_FORMAT_VERSION, "is of version 2");
    buf_free(&out);
}

/* The vector of doc/format/postgres-physical.md. */
static void an_attribute_record_is_as_documented(void **s) {
    (void)s;
    static const uint8_t want[] = {0x01, 0x66, 0x01, 0x02, 0x80, 0x03, 0x03, 0x08,
                                   0x00, 0x60, 0x38, 0x5f, 0xef, 0xa7, 0x94, 0x18};
    struct buf text = BUF_INIT(256);
    struct pgphys_attr a = {.type = PGPHYS_FILE, .mode = 0600, .mtime_ns = INT64_C(1771225200) * 1000000000};
    claim_ok(pgphys_attr_encode(&a, &text, &err), err);
    assert_int_equal(text.len, sizeof want);
    assert_memory_equal(text.ptr, want, sizeof want);
    a.has_crc = true;
    a.crc32c = 0xe3069283; /* which of nothing is 0, and a checksum like others */
    buf_clear(&text);
    claim_ok(pgphys_attr_encode(&a, &text, &err), err);
    assert_int_equal(text.len, sizeof want + 6);
    assert_memory_equal(text.ptr + sizeof want, "\5\4\x83\x92\x06\xe3", 6);
    memset(&a, 0, sizeof a);
    claim_ok(pgphys_attr_decode(buf_bytes(&text), &a, &err), err);
    assert_true(a.has_crc && a.crc32c == 0xe3069283);
    buf_free(&text);
}

static void malformed_attribute_records_are_refused(void **s) {
    (void)s;
    struct pgphys_attr a;
    static const struct {
        const char *bytes;
        size_t n;
        enum error_code code;
        const char *text;
    } cases[] = {
        {"\1x", 2, ERR_OBJECT_CORRUPT, "its type is unknown"},
        {"\1l", 2, ERR_OBJECT_CORRUPT, "its type and its link target do not go together"},
        {"\1f\4\1x", 5, ERR_OBJECT_CORRUPT, "do not go together"},
        {"\1f\1\2\x80\x20", 6, ERR_OBJECT_CORRUPT, "more than permission bits"},
        {"\1f\2\1\1\1\1\1", 8, ERR_OBJECT_CORRUPT, "out of order"},
        {"\1f\3\1\1", 5, ERR_OBJECT_CORRUPT, "impossible value"},
        {"\1f\5\3\1\1\1", 7, ERR_OBJECT_CORRUPT, "impossible value"},
        {"\1d\5\4\1\1\1\1", 8, ERR_OBJECT_CORRUPT, "is no file and has a checksum"},
        {"\1f\7\1\1", 5, ERR_FORMAT_VERSION, "a field 7"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        claim_fails(pgphys_attr_decode(BYTES_OF(cases[i].bytes, cases[i].n), &a, &err), err, cases[i].code,
                    cases[i].text);
    claim_ok(pgphys_attr_decode(BYTES_OF("\1f\x80\1x", 5), &a, &err), err); /* may be passed over */
}

static bool out(const char *name) {
    return pgphys_left_out(BYTES_STR(name));
}

static void what_basebackup_leaves_out_is_left_out(void **s) {
    (void)s;
    static const char *const gone[] = {"postmaster.pid",
                                       "postmaster.opts",
                                       "backup_label",
                                       "tablespace_map",
                                       "backup_manifest",
                                       "postgresql.auto.conf.tmp",
                                       "current_logfiles.tmp",
                                       "global/pg_internal.init",
                                       "base/5/pg_internal.init.4711",
                                       "base/pgsql_tmp",
                                       "base/pgsql_tmp/pgsql_tmp12.0",
                                       "base/5/t3_16400",
                                       "base/5/t3_16400_fsm",
                                       "base/5/t3_16400.1",
                                       "recovery.signal",
                                       "standby.signal",
                                       "pg_tblspc/16400/PG_15_202209061/5/t12_77_vm"};
    static const char *const stay[] = {
        "PG_VERSION",          "postgresql.auto.conf", "current_logfiles", "base/5/16400", "base/5/t3",
        "base/5/t3_x",         "base/5/t_16400",       "global/t3_16400",  "log/t3_16400", "base/x/t3_16400",
        "sub/recovery.signal", "global/pg_control",    "pg_filenode.map"};
    static const char *const emptied[] = {
        "pg_wal",    "pg_wal/archive_status", "pg_wal/summaries", "pg_replslot", "pg_dynshmem", "pg_notify",
        "pg_serial", "pg_snapshots",          "pg_stat_tmp",      "pg_subtrans"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        if (!out(gone[i])) fail_msg("%s is taken", gone[i]);
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        if (out(stay[i])) fail_msg("%s is left out", stay[i]);
    for (size_t i = 0; i < sizeof emptied / sizeof *emptied; i++)
        if (!pgphys_folder_emptied(BYTES_STR(emptied[i]))) fail_msg("%s is not emptied", emptied[i]);
    assert_false(pgphys_folder_emptied(BYTES_STR("pg_xact")));
    assert_false(pgphys_folder_emptied(BYTES_STR("base/pg_wal")));
}

/* What a running server does to files between the list and the reading of them. */
static void files_that_vanish_grow_and_shrink_are_taken_as_they_were_listed(void **s) {
    static const struct {
        const char *name;
        size_t listed, is; /* is 0: it is gone */
    } files[] = {{"base/5/16400", 16384, 16384}, {"base/5/16401", 8192, 0},      {"base/5/16402", 8192, 24576},
                 {"base/5/16403", 24576, 8192},  {"base/5/16404", 16384, 12000}, {"pg_xact/0000", 8192, 0}};
    (void)s;
    static uint8_t page[24576];
    struct scratch sc;
    struct fake *f = fake_new();
    struct fake_view v;
    struct pgphys_list list = {0};
    struct pgphys_control control = {.block_bytes = 8192, .segment_blocks = 131072};
    struct surface_context ctx = {.jobs = 2};
    struct pgphys_reading r = {.ctx = &ctx, .sink = fake_sink(f), .control = &control, .list = &list};
    for (size_t i = 0; i < sizeof page; i++) page[i] = (uint8_t)(i / 512 + 1);
    scratch_make(&sc);
    assert_int_equal(mkdir(scratch_path(&sc, "base"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(&sc, "base/5"), 0700), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct stat st = {.st_mode = 0600, .st_size = (off_t)files[i].listed};
        claim_ok(pgphys_list_add(&list, BYTES_STR(files[i].name), PGPHYS_FILE, &st, BYTES_OF(NULL, 0), &err), err);
        if (files[i].is) scratch_write(&sc, files[i].name, (const char *)page, files[i].is);
    }
    r.dirfd = open(sc.path, O_RDONLY | O_DIRECTORY);
    assert_true(r.dirfd >= 0);
    claim_ok(pgphys_read_all(&r, &err), err);
    claim_ok(fake_seal(f, &err), err);
    assert_int_equal(r.vanished, 2);
    assert_int_equal(r.shrunk, 2);
    assert_int_equal(fake_count(f), 4);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct pgphys_attr a;
        assert_int_equal(fake_find(f, files[i].name, &v), files[i].is != 0);
        assert_int_equal(list.entries[i].lost, files[i].is == 0);
        if (!files[i].is) continue;
        size_t n = files[i].is < files[i].listed ? files[i].is : files[i].listed;
        assert_int_equal(v.bytes, files[i].listed);
        assert_int_equal(v.data_bytes, n); /* the rest is a hole */
        assert_memory_equal(v.data, page, n);
        claim_ok(pgphys_attr_decode(v.attr, &a, &err), err);
        assert_int_equal((a.flags & PGPHYS_GREW_SHORT) != 0, files[i].is < files[i].listed);
    }
    close(r.dirfd);
    pgphys_list_free(&list);
    fake_free(f);
    scratch_remove(&sc);
}

/* Readings that find a byte of the second page of a file otherwise than it is. */
static unsigned torn_left, torn_by;
static ssize_t torn_pread(int fd, void *p, size_t n, off_t at) {
    const ssize_t got = seam_system.pread(fd, p, n, at);
    if (!torn_left || at > 8192 || at + got <= 16000) return got;
    torn_left--;
    ((uint8_t *)p)[16000 - at] ^= (uint8_t)torn_by;
    if (torn_by > 1) torn_by++;
    return got;
}

static void pages_write(struct scratch *sc, const char *name, uint32_t first_block, uint64_t lsn) {
    static uint8_t pages[3 * 8192];
    for (uint32_t i = 0; i < 3; i++) {
        uint8_t *p = pages + (size_t)i * 8192;
        memset(p, (int)(i + 1), 8192);
        put_u32(p, (uint32_t)(lsn >> 32));
        put_u32(p + 4, (uint32_t)lsn);
        put_u16(p + 8, pgphys_page_checksum(p, 8192, first_block + i));
    }
    scratch_write(sc, name, (const char *)pages, sizeof pages);
}

static void a_page_that_is_being_written_is_read_again(void **s) {
    (void)s;
    static const struct {
        unsigned torn, by;
        uint64_t lsn;
        unsigned unchecked, bad;
    } t[] = {
        {0, 1, 10, 0, 0},     {1, 1, 10, 0, 0}, /* once, and good then */
        {3, 1, 10, 0, 0},                       /* good at the last look */
        {1000, 1, 10, 0, 1},                    /* it stays as it is */
        {1000, 2, 10, 0, 0},                    /* it changes at every look: it is being written */
        {1000, 1, 100, 1, 0},                   /* by its LSN it was written since the backup began */
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct scratch sc;
        struct fake *f = fake_new();
        struct pgphys_list list = {0};
        /* two blocks a segment as the checksums see it: the second file is the relation's second */
        struct pgphys_control control = {.block_bytes = 8192, .segment_blocks = 2, .checksum_version = 1};
        struct surface_context ctx = {.jobs = 1};
        struct pgphys_reading r = {
            .ctx = &ctx, .sink = fake_sink(f), .control = &control, .list = &list, .start_lsn = 100};
        const struct stat st = {.st_mode = 0600, .st_size = 3 * 8192};
        struct seam tearing = seam_system;
        scratch_make(&sc);
        assert_int_equal(mkdir(scratch_path(&sc, "base"), 0700), 0);
        assert_int_equal(mkdir(scratch_path(&sc, "base/5"), 0700), 0);
        pages_write(&sc, "base/5/1", 0, t[i].lsn);
        pages_write(&sc, "base/5/1.1", 2, t[i].lsn);
        claim_ok(pgphys_list_add(&list, BYTES_STR("base/5/1"), PGPHYS_FILE, &st, BYTES_OF(NULL, 0), &err), err);
        claim_ok(pgphys_list_add(&list, BYTES_STR("base/5/1.1"), PGPHYS_FILE, &st, BYTES_OF(NULL, 0), &err), err);
        r.dirfd = open(sc.path, O_RDONLY | O_DIRECTORY);
        assert_true(r.dirfd >= 0);
        tearing.pread = torn_pread;
        torn_left = t[i].torn, torn_by = t[i].by;
        seam_table = &tearing;
        int rc = pgphys_read_all(&r, &err);
        seam_table = &seam_system;
        claim_ok(rc, err);
        claim_ok(fake_seal(f, &err), err);
        /* of a thousand both files are harmed */
        const unsigned files = t[i].torn > 3 ? 2 : 1;
        if (r.n_bad != t[i].bad * files || r.checked != 6 - t[i].unchecked * files ||
            r.unchecked != t[i].unchecked * files)
            fail_msg("case %zu: %zu bad, %u checked, %u not", i, r.n_bad, (unsigned)r.checked, (unsigned)r.unchecked);
        for (size_t k = 0; k < r.n_bad; k++)
            assert_int_equal(r.bad[k].blocks[0], strcmp(r.bad[k].entry->name, "base/5/1") == 0 ? 1 : 3);
        close(r.dirfd);
        seam_free(r.bad);
        pgphys_list_free(&list);
        fake_free(f);
        scratch_remove(&sc);
    }
}

/* A relation of more than a part: its digest is the one by parts, and the record has what the manifest needs. */
static void large_relations_have_a_digest_by_parts_and_a_checksum(void **s) {
    enum { PART = 131072, SIZE = 5 * PART + 16384, SHORT = 3 * PART + 4096 };
    static const char *const names[] = {"base/5/16400", "base/5/16401", "base/5/16402"};
    static uint8_t data[SIZE];
    (void)s;
    struct scratch sc;
    struct fake *f = fake_new();
    struct pgphys_control control = {.block_bytes = 8192, .segment_blocks = 131072};
    struct surface_context ctx = {.jobs = 2};
    uint32_t x = 5;
    for (size_t i = 0; i < SIZE; i++) data[i] = (uint8_t)((x = x * 1103515245u + 12345u) >> 16);
    scratch_make(&sc);
    assert_int_equal(mkdir(scratch_path(&sc, "base"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(&sc, "base/5"), 0700), 0);
    for (unsigned run = 0; run < 3; run++) {
        struct pgphys_list list = {0};
        struct pgphys_reading r = {.ctx = &ctx, .sink = fake_sink(f), .control = &control, .list = &list};
        /* the second is cut off while it is read; the third has a byte changed in the last run, its time staying */
        for (size_t i = 0; i < 3; i++) {
            struct stat st = {.st_mode = 0600, .st_size = SIZE};
            claim_ok(pgphys_list_add(&list, BYTES_STR(names[i]), PGPHYS_FILE, &st, BYTES_OF(NULL, 0), &err), err);
            data[SIZE - 7] ^= (uint8_t)(i == 2 && run == 2);
            scratch_write(&sc, names[i], (const char *)data, i == 1 ? SHORT : SIZE);
            data[SIZE - 7] ^= (uint8_t)(i == 2 && run == 2);
        }
        r.dirfd = open(sc.path, O_RDONLY | O_DIRECTORY);
        assert_true(r.dirfd >= 0);
        claim_ok(pgphys_read_all(&r, &err), err);
        claim_ok(fake_seal(f, &err), err);
        /* one that is as it was is confirmed without another pass; what was cut off is read again */
        assert_int_equal(fake_counts(f).held, run ? 3 : 0);
        assert_int_equal(fake_counts(f).confirmed, run == 0 ? 0 : run == 1 ? 2 : 1);
        for (size_t i = 0; i < 3; i++) {
            static uint8_t want[SIZE];
            struct fake_view v;
            struct pgphys_attr a;
            struct digest one, digest;
            struct sha256_state *all = NULL;
            memcpy(want, data, SIZE);
            if (i == 1) memset(want + SHORT, 0, SIZE - SHORT);
            want[SIZE - 7] ^= (uint8_t)(i == 2 && run == 2);
            assert_true(fake_find(f, names[i], &v));
            assert_int_equal(v.kind, ITEM_PARTS);
            assert_int_equal(v.data_bytes, SIZE); /* zeros are no hole here */
            assert_memory_equal(v.data, want, SIZE);
            claim_ok(sha256_new(&all, &err), err);
            for (size_t at = 0; at < SIZE; at += PART) {
                sha256(BYTES_OF(want + at, SIZE - at < PART ? SIZE - at : PART), &one);
                sha256_update(all, BYTES_OF(one.b, sizeof one.b));
            }
            sha256_finish(all, &digest);
            sha256_free(all);
            assert_true(digest_equal(&v.sha256, &digest) && digest_equal(&list.entries[i].sha256, &digest));
            claim_ok(pgphys_attr_decode(v.attr, &a, &err), err);
            assert_true(a.has_crc);
            assert_int_equal(a.crc32c, crc32c_plain(0, BYTES_OF(want, SIZE)));
            assert_int_equal(list.entries[i].crc32c, a.crc32c);
        }
        close(r.dirfd);
        pgphys_list_free(&list);
    }
    fake_free(f);
    scratch_remove(&sc);
}

static void relations_are_told_by_their_names(void **s) {
    (void)s;
    uint32_t segment;
    unsigned fork;
    assert_true(pgphys_relation(BYTES_STR("base/5/1259"), &segment, &fork) && segment == 0 && fork == 0);
    assert_true(pgphys_relation(BYTES_STR("global/1262_vm"), &segment, &fork) && fork == 2);
    assert_true(pgphys_relation(BYTES_STR("pg_tblspc/9/PG_17_202406281/5/16400_fsm.12"), &segment, &fork));
    assert_true(segment == 12 && fork == 1);
    assert_true(pgphys_relation(BYTES_STR("base/5/16400_init"), &segment, &fork) && fork == 3);
    static const char *const others[] = {
        "base/5/PG_VERSION", "base/5/1259.", "base/5/1259.0",         "base/5/1259_x",      "base/5/01259",
        "pg_xact/0000",      "base/1259",    "pg_tblspc/9/other/5/1", "base/5/1259_vm_fsm", "pg_tblspc/x/PG_15_1/5/1"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (pgphys_relation(BYTES_STR(others[i]), NULL, NULL)) fail_msg("%s is a relation", others[i]);
}

static void a_manifest_is_as_the_manual_has_it(void **s) {
    (void)s;
    static const char want[] =
        "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7284726,\n\"Files\": [\n"
        "{ \"Path\": \"base/5/1\", \"Size\": 0, \"Last-Modified\": \"2026-02-16 07:00:00 GMT\", "
        "\"Checksum-Algorithm\": \"SHA256\", "
        "\"Checksum\": \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" },\n"
        "{ \"Encoded-Path\": \"22c3a4\", \"Size\": 3, \"Last-Modified\": \"1969-12-31 23:59:59 GMT\", "
        "\"Checksum-Algorithm\": "
        "\"SHA256\", \"Checksum\": \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" },\n"
        "{ \"Path\": \"base/5/2\", \"Size\": 9, \"Last-Modified\": \"2026-02-16 07:00:00 GMT\", "
        "\"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"839206e3\" }\n],\n"
        "\"WAL-Ranges\": [\n{ \"Timeline\": 3, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"1/100\" }\n],\n";
    struct pgphys_manifest *m;
    struct buf text = BUF_INIT(1 << 20);
    struct digest empty, sum;
    char hex[65];
    sha256(BYTES_OF(NULL, 0), &empty);
    claim_ok(pgphys_manifest_new(17, 7284726, &m, &err), err);
    claim_ok(pgphys_manifest_add(m, BYTES_STR("base/5/1"), 0, INT64_C(1771225200) * 1000000000, &empty, &err), err);
    claim_ok(pgphys_manifest_add(m, BYTES_STR("\"\xc3\xa4"), 3, -1, &empty, &err), err);
    claim_ok(pgphys_manifest_add_crc(m, BYTES_STR("base/5/2"), 9, INT64_C(1771225200) * 1000000000, 0xe3069283, &err),
             err);
    claim_ok(pgphys_manifest_finish(m, 3, 0x2000028, 0x100000100, &text, &err), err);
    assert_true(text.len > sizeof want && memcmp(text.ptr, want, sizeof want - 1) == 0);
    sha256(BYTES_STR(want), &sum);
    hex_encode(sum.b, sizeof sum.b, hex);
    assert_memory_equal(text.ptr + sizeof want - 1, "\"Manifest-Checksum\": \"", 22);
    assert_memory_equal(text.ptr + sizeof want - 1 + 22, hex, 64);
    assert_memory_equal(text.ptr + text.len - 3, "\"}\n", 3);
    pgphys_manifest_free(m);
    buf_clear(&text);
    claim_ok(pgphys_manifest_new(16, 1, &m, &err), err);
    claim_ok(pgphys_manifest_finish(m, 1, 1, 2, &text, &err), err);
    assert_memory_equal(text.ptr, "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [", 53);
    pgphys_manifest_free(m);
    buf_free(&text);
}

static void recovery_settings_are_of_the_version_and_replace_old_ones(void **s) {
    (void)s;
    const char *signal,
        was[] = "work_mem = '8MB'\nrecovery_target_time = 'then'\n Restore_Command = 'old'\nprimary_conninfo='x'";
    struct buf text = BUF_INIT(1 << 16);
    struct restore_recovery q = {.time = "2026-02-16T08:00:00.25+01:00",
                                 .exclusive = true,
                                 .timeline = "latest",
                                 .action = "pause",
                                 .restore_command = "get it's %f \\ %p"};
    claim_ok(pgphys_recovery_text(&q, true, BYTES_STR(was), &text, &signal, &err), err);
    claim_ok(buf_terminate(&text, &err), err);
    assert_string_equal(
        (const char *)text.ptr,
        "work_mem = '8MB'\n#recovery_target_time = 'then'\n# Restore_Command = 'old'\n#primary_conninfo='x'\n"
        "# by proofkeep, when this was restored:\narchive_mode = 'off'\nrestore_command = 'get it''s %f \\\\ %p'\n"
        "recovery_target_timeline = 'latest'\nrecovery_target = ''\nrecovery_target_lsn = ''\nrecovery_target_xid = "
        "''\n"
        "recovery_target_name = ''\nrecovery_end_command = ''\narchive_cleanup_command = ''\n"
        "recovery_min_apply_delay = '0'\nrecovery_target_time = '2026-02-16 07:00:00.250000+00'\n"
        "recovery_target_inclusive = 'off'\nrecovery_target_action = 'pause'\nhot_standby = 'on'\n");
    assert_string_equal(signal, "recovery.signal");
    buf_clear(&text);
    claim_ok(pgphys_recovery_text(NULL, false, BYTES_OF(NULL, 0), &text, &signal, &err), err);
    assert_null(signal);
    assert_false(memmem(text.ptr, text.len, "archive_mode", 12));
    q = (struct restore_recovery){.standby = true, .restore_command = "x"};
    buf_clear(&text);
    claim_ok(pgphys_recovery_text(&q, false, BYTES_OF(NULL, 0), &text, &signal, &err), err);
    claim_ok(buf_terminate(&text, &err), err);
    assert_string_equal(signal, "standby.signal");
    assert_string_equal((const char *)text.ptr,
                        "# by proofkeep, when this was restored:\nrestore_command = 'x'\n"
                        "recovery_target_timeline = 'latest'\nrecovery_target = ''\nrecovery_target_time = ''\n"
                        "recovery_target_lsn = ''\nrecovery_target_xid = ''\nrecovery_target_name = ''\n"
                        "recovery_end_command = ''\narchive_cleanup_command = ''\n");
    q.restore_command = "x\ny";
    claim_fails(pgphys_recovery_text(&q, false, BYTES_OF(NULL, 0), &text, &signal, &err), err, ERR_USAGE, "line break");
    buf_free(&text);
}

static void what_a_freeze_set_is_taken_out_again(void **s) {
    (void)s;
    const char *signal, was[] = "work_mem = '8MB'\nautovacuum = 'off'\nProofkeep.Frozen = 'on'\n"
                                "default_transaction_read_only = 'on'\nproofkeep.was_autovacuum = 'it''s'\n";
    struct buf text = BUF_INIT(1 << 16);
    claim_ok(pgphys_recovery_text(NULL, false, BYTES_STR(was), &text, &signal, &err), err);
    claim_ok(buf_terminate(&text, &err), err);
    assert_string_equal((const char *)text.ptr, "work_mem = '8MB'\n#autovacuum = 'off'\n#Proofkeep.Frozen = 'on'\n"
                                                "#default_transaction_read_only = 'on'\nautovacuum = 'it''s'\n"
                                                "# by proofkeep, when this was restored:\n");
    /* without the mark it is the server's own */
    const char own[] = "autovacuum = 'off'\ndefault_transaction_read_only = 'on'\n# proofkeep.frozen = 'on'\n";
    buf_clear(&text);
    claim_ok(pgphys_recovery_text(NULL, false, BYTES_STR(own), &text, &signal, &err), err);
    assert_memory_equal(text.ptr, own, sizeof own - 1);
    /* and so it is where somebody undid the freeze, and left the mark */
    const char left[] = "proofkeep.frozen = 'on'\nproofkeep.was_autovacuum = 'on'\nautovacuum = 'off'\n"
                        "default_transaction_read_only = 'off'\n";
    buf_clear(&text);
    claim_ok(pgphys_recovery_text(NULL, false, BYTES_STR(left), &text, &signal, &err), err);
    assert_memory_equal(text.ptr, left, sizeof left - 1);
    buf_free(&text);
}

static void targets_that_make_no_sense_are_refused(void **s) {
    (void)s;
    json_t *facts = json_pack("{s:s, s:s}", "stop_lsn", "0/5000000", "stop_time", "2026-02-16T07:00:00Z");
    const struct {
        struct restore_recovery q;
        enum error_code code;
        const char *text;
    } cases[] = {
        {{.time = "2026-03-01", .xid = "5"}, ERR_USAGE, "one target"},
        {{.standby = true, .xid = "5"}, ERR_USAGE, "a standby recovers for ever"},
        {{.immediate = true, .exclusive = true}, ERR_USAGE, "can be left out"},
        {{.xid = "5", .action = "dance"}, ERR_USAGE, "not 'dance'"},
        {{.action = "pause"}, ERR_USAGE, "needs a target"},
        {{.xid = "5", .timeline = "new"}, ERR_USAGE, "not 'new'"},
        {{.xid = "5x"}, ERR_USAGE, "no transaction's number"},
        {{.lsn = "7"}, ERR_USAGE, "no place in the WAL"},
        {{.time = "noon"}, ERR_USAGE, "is no time"},
        {{.xid = "5"}, ERR_USAGE, "no command that fetches it"},
        {{.lsn = "0/4FFFFFF", .restore_command = "x"}, ERR_PG_TARGET, "the nearest that it reaches is 0/5000000"},
        {{.time = "2026-02-16T06:59:59Z", .restore_command = "x"}, ERR_PG_TARGET, "reaches is 2026-02-16T07:00:00Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        claim_fails(pgphys_recovery_check(&cases[i].q, facts, &err), err, cases[i].code, cases[i].text);
    struct restore_recovery good = {.lsn = "0/5000000", .restore_command = "x", .exclusive = true};
    claim_ok(pgphys_recovery_check(&good, facts, &err), err);
    claim_ok(pgphys_recovery_check(NULL, facts, &err), err);
    json_decref(facts);
}

/* ---- restore ---- */

struct bed {
    struct scratch scratch;
    char target[SCRATCH_PATH_MAX]; /* a scratch path is good for eight calls only */
    struct fake *fake;
    json_t *facts, *settings;
    struct surface_context ctx;
    struct restore_request q;
    struct restore_result r;
};

static void add(struct bed *b, const char *name, enum pgphys_type type, const char *target, struct bytes content) {
    struct buf attr = BUF_INIT(8192);
    struct pgphys_attr a = {.type = type, .mode = type == PGPHYS_FILE ? 0600 : 0700, .mtime_ns = 1700000000000000000};
    if (target) a.target = BYTES_STR(target);
    claim_ok(pgphys_attr_encode(&a, &attr, &err), err);
    fake_add(b->fake, name, buf_bytes(&attr), type == PGPHYS_FILE ? ITEM_FILE : ITEM_NONE, content);
    buf_free(&attr);
}

static void bed_open(struct bed *b, const char *leave_out) {
    static uint8_t pages[3 * 8192];
    memset(pages, 'p', sizeof pages);
    scratch_make(&b->scratch);
    b->fake = fake_new();
    snprintf(b->target, sizeof b->target, "%s", scratch_path(&b->scratch, "data"));
    b->facts = json_pack("{s:i, s:s, s:s, s:s, s:i}", "server_version_num", 150004, "start_lsn", "0/2000028",
                         "stop_lsn", "0/2000100", "system_identifier", "7", "timeline", 1);
    b->settings = json_object();
    b->ctx = (struct surface_context){.settings = b->settings, .jobs = 2};
    b->q = (struct restore_request){.target = b->target, .no_owner = true, .facts = b->facts};
    static const struct {
        const char *name, *text;
    } items[] = {{"PG_VERSION", "15\n"},
                 {"backup_label", "label"},
                 {"backup_manifest", "manifest"},
                 {"base", NULL},
                 {"base/5", NULL},
                 {"base/5/1", ""},
                 {"global", NULL},
                 {"global/pg_control", "control"},
                 {"pg_tblspc", NULL},
                 {"pg_wal", NULL},
                 {"pg_wal/000000010000000000000002", "wal"},
                 {"pg_wal/archive_status", NULL},
                 {"postgresql.auto.conf", "a = 1\n"}};
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        if (leave_out && !strcmp(items[i].name, leave_out)) continue;
        if (!items[i].text)
            add(b, items[i].name, PGPHYS_FOLDER, NULL, BYTES_OF(NULL, 0));
        else
            add(b, items[i].name, PGPHYS_FILE, NULL,
                *items[i].text ? BYTES_STR(items[i].text) : BYTES_OF(pages, sizeof pages));
    }
}

static void bed_close(struct bed *b) {
    fake_free(b->fake);
    json_decref(b->facts);
    json_decref(b->settings);
    json_decref(b->r.facts);
    scratch_remove(&b->scratch);
}

static int restore(struct bed *b) {
    json_decref(b->r.facts);
    b->r = (struct restore_result){0};
    return surface_postgres_physical.restore(&b->ctx, fake_source(b->fake), &b->q, &b->r, &err);
}

static const char *has(struct bed *b, const char *name) {
    static char text[65536];
    long n = scratch_read(&b->scratch, name, text, sizeof text - 1);
    return n < 0 ? NULL : text;
}

static bool nothing_left(struct bed *b) {
    return pgphys_folder_empty(b->scratch.path);
}

static void a_new_folder_gets_everything(void **s) {
    (void)s;
    struct bed b = {0};
    bed_open(&b, NULL);
    claim_ok(restore(&b), err);
    assert_string_equal(has(&b, "data/global/pg_control"), "control");
    assert_string_equal(has(&b, "data/backup_manifest"), "manifest");
    assert_string_equal(has(&b, "data/postgresql.auto.conf"),
                        "a = 1\n# by proofkeep, when this was restored:\narchive_mode = 'off'\n");
    assert_non_null(has(&b, "data/pg_wal/archive_status/000000010000000000000002.done"));
    assert_null(has(&b, "data/recovery.signal"));
    claim_fails(restore(&b), err, ERR_TARGET_NOT_EMPTY, "is not empty; --delta");
    bed_close(&b);
}

/* What bears a name in `is` is what the live folder has. */
static bool same_file(struct scratch *is, const char *root, struct bed *b, const char *name) {
    static char want[65536], got[65536];
    char path[256];
    snprintf(path, sizeof path, "%.40s/data/%.100s", root, name);
    const long n = scratch_read(is, path, got, sizeof got);
    snprintf(path, sizeof path, "data/%.100s", name);
    return n >= 0 && n == scratch_read(&b->scratch, path, want, sizeof want) && memcmp(got, want, (size_t)n) == 0;
}

static void a_power_cut_leaves_a_whole_folder_or_none_with_a_control_file(void **s) {
    (void)s;
    static const char *const names[] = {"PG_VERSION",
                                        "backup_label",
                                        "backup_manifest",
                                        "base/5/1",
                                        "global/pg_control",
                                        "pg_wal/000000010000000000000002",
                                        "pg_wal/archive_status/000000010000000000000002.done",
                                        "postgresql.auto.conf"};
    struct bed b = {0};
    struct scratch states;
    unsigned whole = 0;
    bed_open(&b, NULL);
    scratch_make(&states);
    power_begin(b.scratch.path);
    int rc = restore(&b);
    power_end();
    claim_ok(rc, err);
    for (uint64_t n = 0; n <= power_ops(); n++)
        for (int mode = 0; mode < POWER_MODE_COUNT; mode++) {
            char root[40], control[80];
            snprintf(root, sizeof root, "%llu-%d", (unsigned long long)n, mode);
            snprintf(control, sizeof control, "%s/data/global/pg_control", root);
            power_materialise(scratch_path(&states, root), n, (enum power_mode)mode);
            const bool there = access(scratch_path(&states, control), F_OK) == 0;
            if (n == power_ops() && !there) fail_msg("what was reported is not durable in mode %d", mode);
            for (size_t i = 0; there && i < sizeof names / sizeof *names; i++)
                if (!same_file(&states, root, &b, names[i]))
                    fail_msg("after change %llu in mode %d there is a control file, and %s is not whole",
                             (unsigned long long)n, mode, names[i]);
            whole += there;
        }
    assert_true(whole >= POWER_MODE_COUNT && whole < power_ops());
    power_forget();
    scratch_remove(&states);
    bed_close(&b);
}

static void an_old_folder_keeps_what_is_the_same(void **s) {
    (void)s;
    struct bed b = {0};
    bed_open(&b, NULL);
    claim_ok(restore(&b), err);
    char page[8192];
    memset(page, 'x', sizeof page);
    FILE *f = fopen(scratch_path(&b.scratch, "data/base/5/1"), "r+");
    assert_non_null(f);
    fseek(f, 8192, SEEK_SET);
    fwrite(page, 1, sizeof page, f);
    fclose(f);
    scratch_write(&b.scratch, "data/base/5/2", "extra", 5);
    scratch_write(&b.scratch, "data/recovery.signal", "", 0);
    b.q.delta = true;
    scratch_write(&b.scratch, "data/postmaster.pid", "1", 1);
    claim_fails(restore(&b), err, ERR_PG_IN_USE, "postmaster.pid is there");
    unlink(scratch_path(&b.scratch, "data/postmaster.pid"));
    claim_ok(restore(&b), err);
    assert_null(has(&b, "data/base/5/2"));
    assert_null(has(&b, "data/recovery.signal"));
    const char *is = has(&b, "data/base/5/1");
    assert_true(is[0] == 'p' && is[8192] == 'p' && is[3 * 8192 - 1] == 'p');
    /* The changed file, and pg_control, which is written anew. */
    assert_int_equal(json_integer_value(json_object_get(b.r.facts, "files_written")), 2);
    assert_int_equal(json_integer_value(json_object_get(b.r.facts, "files_kept")), 4);
    unlink(scratch_path(&b.scratch, "data/PG_VERSION"));
    claim_fails(restore(&b), err, ERR_TARGET_NOT_EMPTY, "no data folder of PostgreSQL either");
    bed_close(&b);
}

static int64_t told(struct bed *b, const char *key) {
    return json_integer_value(json_object_get(b->r.facts, key));
}

/* Threads compare it in parts: what differs at their edges, in the last, or in size comes right all the same. */
static void a_large_file_that_is_there_is_compared_in_parts(void **s) {
    (void)s;
    const size_t part = PGPHYS_PART_BYTES, size = 3 * part + 12345;
    static const long sizes[] = {0, 2, -1}; /* of what is there: as it was, longer, cut off in the last part but one */
    struct bed b = {0};
    bed_open(&b, NULL);
    uint8_t *content = malloc(size), *is = malloc(size + 1);
    assert_true(content && is);
    for (size_t i = 0; i < size; i++) content[i] = (uint8_t)(i * 2654435761u >> 13);
    add(&b, "z", PGPHYS_FILE, NULL, BYTES_OF(content, size));
    fake_matching(b.fake);
    claim_ok(restore(&b), err);
    b.q.delta = true;
    const unsigned before = fake_seeks;
    claim_ok(restore(&b), err);
    assert_true(fake_seeks - before >= 3);
    assert_int_equal(told(&b, "files_written"), 1); /* pg_control */
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const char *path = scratch_path(&b.scratch, "data/z");
        const size_t at[] = {0, part - 1, part, 2 * part + 77, size - 1};
        FILE *f = fopen(path, "r+");
        assert_non_null(f);
        for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
            fseek(f, (long)at[i], SEEK_SET);
            fputc(content[at[i]] ^ 1, f);
        }
        fclose(f);
        const size_t was = sizes[k] < 0 ? 2 * part + 5 : size + (size_t)sizes[k];
        if (sizes[k]) assert_int_equal(truncate(path, (off_t)was), 0);
        claim_ok(restore(&b), err);
        f = fopen(scratch_path(&b.scratch, "data/z"), "r");
        assert_non_null(f);
        assert_int_equal(fread(is, 1, size + 1, f), size);
        fclose(f);
        assert_memory_equal(is, content, size);
        assert_int_equal(told(&b, "files_written"), 2);
        /* pages, and what was not there */
        const size_t most = 5 * 8192 + (was < size ? size - was : 0) + 4096;
        assert_true(told(&b, "bytes_written") <= (int64_t)most);
    }
    free(content);
    free(is);
    bed_close(&b);
}

static void a_broken_delta_leaves_a_folder_without_pg_control(void **s) {
    (void)s;
    struct bed b = {0};
    bed_open(&b, NULL);
    claim_ok(restore(&b), err);
    unlink(scratch_path(&b.scratch, "data/base/5/1"));
    fake_spoil(b.fake, "base/5/1");
    b.q.delta = true;
    claim_fails(restore(&b), err, ERR_RESTORE_DIFFERS, "spoilt");
    assert_null(has(&b, "data/global/pg_control"));
    bed_close(&b);
}

static void a_failed_restore_leaves_nothing(void **s) {
    (void)s;
    struct bed b = {0};
    bed_open(&b, NULL);
    fake_spoil(b.fake, "base/5/1");
    claim_fails(restore(&b), err, ERR_RESTORE_DIFFERS, "spoilt");
    assert_true(nothing_left(&b));
    bed_close(&b);
}

/* A folder that was there, as a mount point is, for a tablespace: what a run that failed or was killed left in it does
 * not keep the next one from it. */
static void a_tablespace_s_folder_is_the_next_run_s_again(void **s) {
    (void)s;
    struct bed b = {0};
    char map[SCRATCH_PATH_MAX + 8], gone[SCRATCH_PATH_MAX], mark[SCRATCH_PATH_MAX + 64];
    struct stat in;
    bed_open(&b, NULL);
    add(&b, "pg_tblspc/16400", PGPHYS_LINK, "/old", BYTES_OF(NULL, 0));
    add(&b, "pg_tblspc/16400/PG_15_202209061", PGPHYS_FOLDER, NULL, BYTES_OF(NULL, 0));
    add(&b, "pg_tblspc/16400/PG_15_202209061/x", PGPHYS_FILE, NULL, BYTES_STR("far"));
    assert_int_equal(mkdir(scratch_path(&b.scratch, "far"), 0700), 0);
    snprintf(map, sizeof map, "/old=%s", scratch_path(&b.scratch, "far"));
    b.q.tablespaces = (const char *const[]){map, NULL};
    snprintf(gone, sizeof gone, "%s", scratch_path(&b.scratch, "data.proofkeep-partial-0123456789abcdef"));

    fake_spoil(b.fake, "base/5/1");
    claim_fails(restore(&b), err, ERR_RESTORE_DIFFERS, "spoilt");
    assert_true(pgphys_folder_empty(scratch_path(&b.scratch, "far")));
    fake_spoil(b.fake, "base/5/1"); /* the same bit: it is good again */

    scratch_write(&b.scratch, "far/left", "half", 4);
    claim_fails(restore(&b), err, ERR_TARGET_NOT_EMPTY, "is not empty");
    scratch_write(&b.scratch, "far/.proofkeep-restoring", gone, strlen(gone)); /* half a mark */
    claim_fails(restore(&b), err, ERR_TARGET_NOT_EMPTY, "is not empty");
    assert_int_equal(stat(scratch_path(&b.scratch, "."), &in), 0);
    snprintf(mark, sizeof mark, "%s\n%llu %llu\n", gone, (unsigned long long)in.st_dev,
             (unsigned long long)in.st_ino + 1);
    scratch_write(&b.scratch, "far/.proofkeep-restoring", mark, strlen(mark)); /* its place is another folder by now */
    claim_fails(restore(&b), err, ERR_TARGET_NOT_EMPTY, "is not empty");
    snprintf(mark, sizeof mark, "%s\n%llu %llu\n", gone, (unsigned long long)in.st_dev, (unsigned long long)in.st_ino);
    scratch_write(&b.scratch, "far/.proofkeep-restoring", mark, strlen(mark));
    int held = open(scratch_path(&b.scratch, "far/.proofkeep-restoring"), O_RDONLY | O_CLOEXEC);
    assert_true(held >= 0 && flock(held, LOCK_EX) == 0); /* it is being filled */
    claim_fails(restore(&b), err, ERR_TARGET_NOT_EMPTY, "is not empty");
    close(held);
    assert_int_equal(mkdir(gone, 0700), 0); /* or what it was filled for lies there */
    claim_fails(restore(&b), err, ERR_TARGET_NOT_EMPTY, "is not empty");
    assert_non_null(has(&b, "far/left"));
    assert_int_equal(rmdir(gone), 0);
    claim_ok(restore(&b), err);
    assert_null(has(&b, "far/left"));
    assert_null(has(&b, "far/.proofkeep-restoring"));
    assert_string_equal(has(&b, "far/PG_15_202209061/x"), "far");
    bed_close(&b);
}

static struct bed *between; /* whose restore or undoing another run comes between */
static unsigned came_between;

/* Another restore is the first to put its mark there. */
static int openat_second(int dirfd, const char *path, int flags, mode_t mode) {
    if (between && !strcmp(path, ".proofkeep-restoring") && flags & O_CREAT) {
        scratch_write(&between->scratch, "far/.proofkeep-restoring", "another's", 9);
        scratch_write(&between->scratch, "far/file", "another's", 9);
        between = NULL;
        came_between++;
    }
    return seam_system.openat(dirfd, path, flags, mode);
}

/* Another restore begins while the folder is emptied. */
static int unlinkat_beside(int dirfd, const char *path, int flags) {
    struct bed *b = between;
    between = NULL;
    if (b) {
        came_between++;
        claim_fails(restore(b), err, ERR_TARGET_NOT_EMPTY, "is not empty");
        error_clear(&err);
    }
    return seam_system.unlinkat(dirfd, path, flags);
}

/* Runs that want the same folder of a tablespace at the same moment: one has it, the others are told and leave it. */
static void a_tablespace_s_folder_is_one_run_s_at_a_time(void **s) {
    (void)s;
    struct seam second = seam_system, beside = seam_system;
    char map[SCRATCH_PATH_MAX + 8], mark[2 * SCRATCH_PATH_MAX];
    struct stat in;
    unsigned removed;
    second.openat = openat_second;
    beside.unlinkat = unlinkat_beside;
    for (int there = 0; there < 2; there++) {
        struct bed b = {0};
        came_between = 0;
        bed_open(&b, NULL);
        json_object_set_new(b.facts, "tablespaces", json_pack("[{s:s, s:s}]", "location", "/old", "oid", "16400"));
        add(&b, "pg_tblspc/16400", PGPHYS_LINK, "/old", BYTES_OF(NULL, 0));
        add(&b, "pg_tblspc/16400/PG_15_202209061", PGPHYS_FOLDER, NULL, BYTES_OF(NULL, 0));
        add(&b, "pg_tblspc/16400/PG_15_202209061/x", PGPHYS_FILE, NULL, BYTES_STR("far"));
        snprintf(map, sizeof map, "/old=%s", scratch_path(&b.scratch, "far"));
        b.q.tablespaces = (const char *const[]){map, NULL};
        if (there) assert_int_equal(mkdir(scratch_path(&b.scratch, "far"), 0700), 0);
        between = &b;
        seam_table = &second;
        claim_fails(restore(&b), err, ERR_TARGET_NOT_EMPTY, "another restore fills the tablespace's folder");
        error_clear(&err);
        assert_int_equal(came_between, 1);
        assert_string_equal(has(&b, "far/file"), "another's");
        assert_non_null(has(&b, "far/.proofkeep-restoring"));
        /* that is not touched either while it cannot be told what it is for */
        claim_ok(pgphys_undo(&b.ctx, &b.q, &removed, &err), err);
        assert_int_equal(removed, 0);
        assert_string_equal(has(&b, "far/file"), "another's");

        assert_int_equal(stat(scratch_path(&b.scratch, "."), &in), 0);
        snprintf(mark, sizeof mark, "%s\n%llu %llu\n",
                 scratch_path(&b.scratch, "data.proofkeep-partial-0123456789abcdef"), (unsigned long long)in.st_dev,
                 (unsigned long long)in.st_ino);
        scratch_write(&b.scratch, "far/.proofkeep-restoring", mark, strlen(mark));
        between = &b;
        seam_table = &beside;
        claim_ok(pgphys_undo(&b.ctx, &b.q, &removed, &err), err);
        seam_table = &seam_system;
        assert_int_equal(came_between, 2);
        assert_int_equal(removed, 1);
        assert_true(pgphys_folder_empty(scratch_path(&b.scratch, "far")));
        claim_ok(restore(&b), err);
        assert_string_equal(has(&b, "far/PG_15_202209061/x"), "far");
        bed_close(&b);
    }
}

static void what_is_no_base_is_refused(void **s) {
    (void)s;
    static const char *const needed[] = {"global/pg_control", "PG_VERSION", "backup_label"};
    for (size_t i = 0; i < 3; i++) {
        struct bed b = {0};
        bed_open(&b, needed[i]);
        claim_fails(restore(&b), err, ERR_RESTORE_DIFFERS, "no whole base backup");
        assert_true(nothing_left(&b));
        bed_close(&b);
    }
}

static bool plan_warns(struct bed *b, const char *provider, const char *version, const char *text) {
    json_t *plan = NULL, *v;
    size_t i;
    bool found = false;
    json_object_set_new(b->facts, "databases",
                        json_pack("[{s:s, s:s}, {s:s, s:s, s:s}]", "name", "plain", "locale_provider", "c", "name",
                                  "shop", "locale_provider", provider, "collation_version_now", version));
    claim_ok(surface_postgres_physical.plan(&b->ctx, &b->q, &plan, &err), err);
    json_array_foreach(json_object_get(plan, "warnings"), i, v) {
        found |= strstr(json_string_value(v), text) != NULL;
    }
    json_decref(plan);
    return found;
}

static void text_that_is_sorted_otherwise_here_is_told(void **s) {
    (void)s;
    struct bed b = {0};
    bed_open(&b, NULL);
    assert_true(plan_warns(&b, "c", "2.1", "sorted by version 2.1 of the C library, in the database shop"));
    assert_false(plan_warns(&b, "c", gnu_get_libc_version(), "sorted by"));
    assert_false(plan_warns(&b, "i", "153.80", "sorted by"));
    bed_close(&b);
}

static void names_do_not_lead_out_of_the_folder(void **s) {
    (void)s;
    static const struct {
        const char *name, *target, *text;
    } cases[] = {{"../x", NULL, "no path below"},
                 {"/x", NULL, "no path below"},
                 {"a//x", NULL, "no path below"},
                 {"a/./x", NULL, "no path below"},
                 {"a/", NULL, "no path below"},
                 {"zz", "/etc", "is a link, and no tablespace"},
                 {"pg_tblspc/1x", "/etc", "no tablespace"},
                 {"pg_tblspc/", "/etc", "no path below"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bed b = {0};
        bed_open(&b, NULL);
        add(&b, cases[i].name, cases[i].target ? PGPHYS_LINK : PGPHYS_FILE, cases[i].target, BYTES_OF(NULL, 0));
        claim_fails(restore(&b), err, ERR_IO_ESCAPE, cases[i].text);
        assert_true(nothing_left(&b));
        bed_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attribute_record_comes_back),
        cmocka_unit_test(an_attribute_record_is_as_documented),
        cmocka_unit_test(malformed_attribute_records_are_refused),
        cmocka_unit_test(what_basebackup_leaves_out_is_left_out),
        cmocka_unit_test(files_that_vanish_grow_and_shrink_are_taken_as_they_were_listed),
        cmocka_unit_test(a_page_that_is_being_written_is_read_again),
        cmocka_unit_test(large_relations_have_a_digest_by_parts_and_a_checksum),
        cmocka_unit_test(relations_are_told_by_their_names),
        cmocka_unit_test(a_manifest_is_as_the_manual_has_it),
        cmocka_unit_test(recovery_settings_are_of_the_version_and_replace_old_ones),
        cmocka_unit_test(what_a_freeze_set_is_taken_out_again),
        cmocka_unit_test(targets_that_make_no_sense_are_refused),
        cmocka_unit_test(a_new_folder_gets_everything),
        cmocka_unit_test(a_power_cut_leaves_a_whole_folder_or_none_with_a_control_file),
        cmocka_unit_test(an_old_folder_keeps_what_is_the_same),
        cmocka_unit_test(a_large_file_that_is_there_is_compared_in_parts),
        cmocka_unit_test(a_broken_delta_leaves_a_folder_without_pg_control),
        cmocka_unit_test(a_failed_restore_leaves_nothing),
        cmocka_unit_test(a_tablespace_s_folder_is_the_next_run_s_again),
        cmocka_unit_test(a_tablespace_s_folder_is_one_run_s_at_a_time),
        cmocka_unit_test(what_is_no_base_is_refused),
        cmocka_unit_test(text_that_is_sorted_otherwise_here_is_told),
        cmocka_unit_test(names_do_not_lead_out_of_the_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
