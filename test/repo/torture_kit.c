#include "torture_kit.h"

#include "../harness/fault.h"
#include "../harness/power.h"
#include "base/time.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define RECORDS 700000u
#define PAGES 655360u
#define SMALL 3000u
#define SMALL_COUNT 12
#define LARGE 2200000u
#define ITEMS_MAX 24

bool torture_child;
static _Thread_local char place[256] = "at the start";

void torture_at(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(place, sizeof place, fmt, ap);
    va_end(ap);
}

void torture_claim_at(int cond, const char *file, int line, const char *fmt, ...) {
    if (cond) return;
    char what[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    seam_table = &seam_system;
    if (torture_child) {
        fprintf(stderr, "# %s:%d: %s: %s\n", file, line, place, what);
        _exit(1);
    }
    print_error("%s:%d: %s: %s\n", file, line, place, what);
    fail();
}

static void too_long(int sig) {
    (void)sig;
    char text[320];
    int n = snprintf(text, sizeof text, "# does not end: %s\n", place);
    if (write(STDERR_FILENO, text, (size_t)n) < 0) _exit(98);
    abort();
}

void torture_watch(unsigned seconds) {
    signal(SIGALRM, too_long);
    alarm(seconds);
}

int torture_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 512; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined __SANITIZE_ADDRESS__ || __has_feature(address_sanitizer)
int __lsan_do_recoverable_leak_check(void);
void torture_leaks(void) {
    torture_claim(__lsan_do_recoverable_leak_check() == 0, "memory was leaked, as shown above");
}
#else
void torture_leaks(void) {}
#endif

bool torture_full(void) {
    const char *s = getenv("TORTURE");
    return s && strcmp(s, "full") == 0;
}

double torture_seconds(double sampled) {
    const char *s = getenv("TORTURE_SECONDS");
    return s ? atof(s) : sampled;
}

void points_begin(struct points *p, uint64_t total) {
    const char *seed = getenv("TORTURE_SEED");
    *p = (struct points){.total = total, .seed = seed ? (uint32_t)atoi(seed) : 1, .full = torture_full()};
    p->seed = p->seed * 2654435761u + 1;
    p->until_ns = time_monotonic_ns() + (int64_t)(torture_seconds(10) * 1e9);
    p->at = p->step = 1;
    unsigned part, parts;
    const char *of = getenv("TORTURE_PART");
    if (of && sscanf(of, "%u/%u", &part, &parts) == 2 && part >= 1 && part <= parts) p->at = part, p->step = parts;
}

bool points_next(struct points *p, uint64_t *ret) {
    const char *only = getenv("TORTURE_ONLY");
    p->done++;
    if (only) {
        *ret = (uint64_t)atoll(only);
        return p->done == 1;
    }
    if (p->full) {
        *ret = p->at;
        p->at += p->step;
        return *ret <= p->total;
    }
    p->seed ^= p->seed << 13;
    p->seed ^= p->seed >> 17;
    p->seed ^= p->seed << 5;
    *ret = 1 + p->seed % p->total;
    return p->done <= 8 || time_monotonic_ns() < p->until_ns;
}

/* ---- content ---- */

static uint8_t *words, *noise, *after_records, *after_pages, *after_small;

static void content_make(void) {
    if (words) return;
    words = malloc(1u << 20);
    noise = malloc(4u << 20);
    after_records = malloc(RECORDS + 23);
    after_pages = malloc(PAGES);
    after_small = malloc(SMALL);
    kit_text(words, 1u << 20, 7);
    kit_random(noise, 4u << 20, 8);
    memcpy(after_records, words, 1000);
    memcpy(after_records + 1000, "inserted bytes shift it", 23);
    memcpy(after_records + 1023, words + 1000, RECORDS - 1000);
    for (size_t i = 0; i < RECORDS; i += 150000) after_records[i] ^= 1;
    memcpy(after_pages, words + 333, PAGES);
    for (size_t i = 9; i < PAGES; i += 140000) after_pages[i] ^= 1;
    kit_text(after_small, SMALL, 9);
}

static const char *const small_names[SMALL_COUNT] = {"a/s00", "a/s01", "a/s02", "a/s03", "a/s04", "a/s05",
                                                     "a/s06", "a/s07", "a/s08", "a/s09", "a/s10", "a/s11"};

static size_t items_t(bool changed, struct kit_item it[ITEMS_MAX]) {
    size_t n = 0;
    it[n++] = (struct kit_item){"a", CONTENT_NONE, NULL, 0};
    it[n++] = (struct kit_item){"a/empty", CONTENT_FILE, words, 0};
    for (size_t i = 0; i < SMALL_COUNT; i++)
        it[n++] =
            (struct kit_item){small_names[i], CONTENT_FILE, changed && i == 3 ? after_small : words + 5000 * i, SMALL};
    it[n++] = changed ? (struct kit_item){"noise", CONTENT_OPAQUE, noise + 100000, 300000}
                      : (struct kit_item){"noise", CONTENT_OPAQUE, noise, 300000};
    it[n++] = (struct kit_item){"pages", CONTENT_PAGES, changed ? after_pages : words + 333, PAGES};
    it[n++] = (struct kit_item){"parts", CONTENT_PARTS, (changed ? after_pages : words + 333) + 100, PAGES - 100};
    it[n++] = changed ? (struct kit_item){"records", CONTENT_RECORDS, after_records, RECORDS + 23}
                      : (struct kit_item){"records", CONTENT_RECORDS, words, RECORDS};
    it[n++] = (struct kit_item){"shared", CONTENT_FILE, noise + 500000, 250000};
    if (changed) it[n++] = (struct kit_item){"znew", CONTENT_FILE, noise + 1500000, LARGE};
    return n;
}

static size_t items_u(struct kit_item it[ITEMS_MAX]) {
    it[0] = (struct kit_item){"only", CONTENT_OPAQUE, noise + 800000, 500000};
    it[1] = (struct kit_item){"shared", CONTENT_FILE, noise + 500000, 250000};
    return 2;
}

/* ---- folders ---- */

static size_t copy_from;
static const char *copy_to;

static int copy_one(const char *path, const struct stat *st, int type, struct FTW *f) {
    (void)f;
    char to[512];
    snprintf(to, sizeof to, "%s%s", copy_to, path + copy_from);
    if (type == FTW_D) return mkdir(to, 0700);
    int a = open(path, O_RDONLY | O_CLOEXEC),
        b = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st->st_mode & 07777);
    off_t left = st->st_size;
    while (a >= 0 && b >= 0 && left > 0) {
        ssize_t n = sendfile(b, a, NULL, (size_t)left);
        if (n <= 0) break;
        left -= n;
    }
    close(a);
    close(b);
    return left ? -1 : 0;
}

void torture_fresh(struct torture *t) {
    torture_remove(t->work);
    copy_from = strlen(t->template);
    copy_to = t->work;
    torture_claim(nftw(t->template, copy_one, 16, FTW_PHYS) == 0, "cannot copy the template: %s", strerror(errno));
}

void torture_remove(const char *dir) {
    struct error err = ERROR_INIT;
    const struct seam *table = seam_table;
    seam_table = &seam_system;
    kit_ok(io_remove_tree(AT_FDCWD, dir, &err), &err);
    seam_table = table;
}

static void template_make(struct torture *t) {
    struct kit k;
    struct kit_item it[ITEMS_MAX];
    kit_begin(&k);
    k.threads = 2;
    size_t n = items_u(it);
    t->doomed = kit_backup(&k, "u", it, n, true, NULL);
    n = items_t(false, it);
    t->kept = kit_backup(&k, "t", it, n, true, NULL);
    kit_close(&k);
    snprintf(t->base, sizeof t->base, "%s", k.dir);
    snprintf(t->template, sizeof t->template, "%s/template", k.dir);
    snprintf(t->work, sizeof t->work, "%s/work", k.dir);
    char to[96];
    torture_claim(mkdir(t->template, 0700) == 0, "cannot make the template");
    snprintf(to, sizeof to, "%s/repo", t->template);
    torture_claim(rename(k.repo_dir, to) == 0, "cannot make the template");
    snprintf(to, sizeof to, "%s/cache", t->template);
    torture_claim(rename(k.cache_dir, to) == 0, "cannot make the template");
}

void torture_end(struct torture *t) {
    torture_watch(0);
    torture_remove(t->base);
}

/* ---- the scenario ---- */

static int note_finding(void *ctx, const struct check_finding *f, struct error *err) {
    struct outcome *o = ctx;
    (void)err;
    if (f->result == CHECK_UNREADABLE) return 0;
    o->harm++;
    snprintf(o->harm_text, sizeof o->harm_text, "%s: %s: %.100s", f->object, check_result_name(f->result), f->text);
    return 0;
}

int torture_scenario(const char *dir, struct outcome *o, struct error *err) {
    struct kit k;
    struct kit_item it[ITEMS_MAX];
    size_t n = items_t(true, it);
    uint64_t seq = 0;
    memset(o, 0, sizeof *o);
    int rc = kit_open_try(&k, dir, err);
    if (rc < 0) return rc;
    k.threads = 2;
    k.checkpoint_bytes = 200000;
    struct writer_stats stats;
    rc = kit_backup_try(&k, "t", it, n, true, &stats, &seq, err);
    if (rc == 0) {
        o->stored = seq;
        o->ops_stored = power_ops();
    }
    struct check_totals totals;
    struct check_options check = {.level = VERIFY_DECODE, .threads = 2, .ctx = o, .finding = note_finding};
    if (rc == 0) rc = repo_check(k.repo, &check, &totals, err);
    if (rc == 0) o->verified = totals.result == CHECK_VERIFIED;
    if (rc == 0) rc = kit_expect_try(&k, seq, it, n, err);
    if (rc == 0) o->restored = true;
    const struct snapshot_info *u = rc == 0 ? repo_latest(k.repo, "dev", "u") : NULL;
    if (u) {
        o->forgetting = true;
        rc = repo_forget(k.repo, &(uint64_t){u->seq}, 1, "test", err);
        if (rc == 0) o->forgot = true;
        if (rc == 0) o->ops_forgot = power_ops();
    }
    struct gc_plan plan;
    struct gc_options gc = {.now_ns = INT64_MAX / 2, .repack_below = 0.9};
    if (rc == 0 && (rc = gc_run(k.repo, &gc, &plan, err)) == 0) {
        o->collected = true;
        o->repacked = plan.repack_packs;
        o->deltas = stats.delta_chunks;
        gc_plan_free(&plan);
    }
    kit_close(&k);
    return rc;
}

void torture_begin(struct torture *t) {
    memset(t, 0, sizeof *t);
    content_make();
    /* What shares a pack with what is up to chance. */
    for (int tries = 0; tries < 16; tries++) {
        struct outcome o;
        struct error err = ERROR_INIT;
        template_make(t);
        torture_fresh(t);
        int rc = torture_scenario(t->work, &o, &err);
        torture_claim(rc == 0, "%s %s", error_info(rc)->code, err.text);
        if (o.repacked && o.deltas) {
            torture_fresh(t);
            fault_install();
            rc = torture_scenario(t->work, &o, &err);
            t->calls = fault_calls();
            fault_remove();
            torture_claim(rc == 0, "%s %s", error_info(rc)->code, err.text);
            return;
        }
        torture_remove(t->base);
    }
    torture_claim(false, "the scenario repacks nothing, or has no deltas");
}

/* ---- what must hold ---- */

static size_t names_from;
static uint64_t entries_seen, entries_end;

static int name_check(const char *path, const struct stat *st, int type, struct FTW *f) {
    static const char *const known[] = {"format", "keys/", "log/",       "packs/", "index/",
                                        "sess/",  "tile/", "checkpoint", "tmp/"};
    const char *name = path + names_from;
    (void)f;
    if (type == FTW_D) return 0;
    bool is_known = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        is_known |= strncmp(name, known[i], strlen(known[i])) == 0;
    torture_claim(is_known, "%s is in the repository", name);
    if (strncmp(name, "tmp/", 4) == 0) return 0;
    if (strncmp(name, "log/", 4) == 0) {
        uint64_t seq = strtoull(name + 4, NULL, 10);
        entries_seen++;
        if (seq >= entries_end) entries_end = seq + 1;
        torture_claim(st->st_size > 0, "%s is empty", name);
        return 0;
    }
    if (strncmp(name, "keys/", 5) != 0 && strncmp(name, "packs/", 6) != 0 && strncmp(name, "index/", 6) != 0) return 0;
    uint8_t *p = malloc((size_t)st->st_size + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, p, (size_t)st->st_size + 1);
    close(fd);
    struct digest d;
    char hex[65];
    sha256(BYTES_OF(p, got < 0 ? 0 : (size_t)got), &d);
    free(p);
    hex_encode(d.b, sizeof d.b, hex);
    torture_claim(strcmp(strrchr(name, '/') + 1, hex) == 0, "%s has %zd bytes that are not those of its name", name,
                  got);
    return 0;
}

static void names_whole(const char *dir) {
    char repo[512];
    snprintf(repo, sizeof repo, "%s/repo", dir);
    names_from = strlen(repo) + 1;
    entries_seen = entries_end = 0;
    torture_claim(nftw(repo, name_check, 16, FTW_PHYS) == 0, "cannot look through %s: %s", repo, strerror(errno));
    torture_claim(entries_seen == entries_end, "the log has %llu entries up to number %llu",
                  (unsigned long long)entries_seen, (unsigned long long)entries_end);
}

int torture_finding(void *ctx, const struct check_finding *f, struct error *err) {
    (void)err;
    snprintf(ctx, 512, "%s: %s: %s", f->object, check_result_name(f->result), f->text);
    return 0;
}

void torture_holds(const struct torture *t, const char *dir, const struct outcome *o, bool fresh_cache) {
    struct kit k;
    struct error err = ERROR_INIT;
    char cache[512], found[512] = "";
    names_whole(dir);
    snprintf(cache, sizeof cache, "%s/cache", dir);
    if (fresh_cache) torture_remove(cache);
    int rc = kit_open_try(&k, dir, &err);
    torture_claim(rc == 0, "it does not open: %s %s", error_info(rc)->code, err.text);
    bool kept = false, stored = false, doomed = false;
    for (size_t i = 0; i < repo_snapshot_count(k.repo); i++) {
        const struct snapshot_info *s = repo_snapshot(k.repo, i);
        struct kit_item it[ITEMS_MAX];
        if (s->forgotten) continue;
        bool of_u = strcmp(s->surface, "u") == 0;
        size_t n = of_u ? items_u(it) : items_t(s->seq != t->kept, it);
        kept |= s->seq == t->kept;
        doomed |= s->seq == t->doomed;
        stored |= s->seq == o->stored;
        rc = kit_expect_try(&k, s->seq, it, n, &err);
        torture_claim(rc == 0, "snapshot %llu does not restore: %s %s", (unsigned long long)s->seq,
                      error_info(rc)->code, err.text);
    }
    torture_claim(kept, "the snapshot from before is gone");
    torture_claim(stored || !o->stored, "a backup that was reported as stored is not there");
    torture_claim(doomed || o->forgetting, "a snapshot that nobody forgot is gone");
    torture_claim(!doomed || !o->forgot, "a snapshot that was forgotten is live");
    struct check_totals totals;
    struct check_options check = {.level = VERIFY_DECODE, .threads = 2, .ctx = found, .finding = torture_finding};
    rc = repo_check(k.repo, &check, &totals, &err);
    torture_claim(rc == 0, "it cannot be checked: %s %s", error_info(rc)->code, err.text);
    torture_claim(totals.result == CHECK_VERIFIED, "its check says %s: %s", check_result_name(totals.result), found);
    kit_close(&k);
}

void torture_again(const char *dir) {
    struct outcome o;
    struct error err = ERROR_INIT;
    int rc = torture_scenario(dir, &o, &err);
    torture_claim(rc == 0, "the rerun fails: %s %s", error_info(rc)->code, err.text);
    torture_claim(o.stored && o.verified && o.restored && o.collected, "the rerun does not do all");
}
