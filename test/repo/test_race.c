/* Writers of different surfaces and of the same one, a collector without grace that repacks, and readers, all at once
 * on one repository, each a process of its own; and the same inside one process for the thread sanitizer. What a commit
 * answered for stays restorable until it is forgotten, and nobody fails but by losing a race that its contract names.
 */
#include "torture_kit.h"

#include "base/thread.h"
#include "base/time.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define WRITERS 3
#define COMMITS_MAX 100000
#define ITEMS 6
#define PART 120000u

struct shared {
    atomic_bool stop;
    atomic_uint commits, lost, forgotten, collections[2], markings[2], checks, restores, moved;
    struct {
        _Atomic uint64_t seq; /* 0: not filled in yet */
        uint32_t seed;
    } commit[COMMITS_MAX];
    atomic_bool gone[COMMITS_MAX]; /* by entry: about to be forgotten */
};
static struct shared *shared;
static struct kit k;
static const char *const surfaces[WRITERS] = {"same", "same", "other"};
static uint8_t *text, *noise;

/* What a seed stands for: much of it is shared by all surfaces and seeds, as text with scattered changes. */
struct content {
    uint8_t *mem, name[8];
    struct kit_item it[ITEMS];
};

static void content_make(struct content *c, uint32_t seed) {
    c->mem = malloc(2 * PART + 4);
    memcpy(c->mem, text + 1000 * (seed % 5), PART);
    for (uint32_t i = 0; i < 6; i++) c->mem[(seed * 7919u + i * 20011u) % PART] ^= (uint8_t)(1 + seed % 200);
    kit_random(c->mem + PART, PART, seed % 64);
    put_u32(c->mem + 2 * PART, seed);
    c->it[0] = (struct kit_item){"0-seed", CONTENT_FILE, c->mem + 2 * PART, 4};
    c->it[1] = (struct kit_item){"common", CONTENT_FILE, noise, 60000 + 30000 * (seed % 3)};
    c->it[2] = (struct kit_item){"pages", CONTENT_PAGES, c->mem, PART};
    c->it[3] = (struct kit_item){"random", CONTENT_OPAQUE, c->mem + PART, PART};
    c->it[4] = (struct kit_item){"records", CONTENT_RECORDS, c->mem, PART};
    c->it[5] = (struct kit_item){"same", CONTENT_FILE, text + 7 * (seed % 11), 40000};
}

static void content_free(struct content *c) {
    free(c->mem);
}

static int seed_read(void *ctx, const struct item_head *h, struct error *err) {
    struct {
        struct snapshot *s;
        uint32_t seed;
    } *w = ctx;
    struct ritem *it;
    struct bytes piece;
    int rc = ritem_open(w->s, h, &it, err);
    if (rc < 0) return rc;
    while ((rc = ritem_next(it, &piece, err)) == 0 && piece.len)
        if (piece.len == 4 && piece.ptr) w->seed = get_u32(piece.ptr);
    ritem_close(it);
    return rc;
}

/* The snapshot restores to what its own seed stands for, and that is `want` unless this is 0. */
static int restores(struct kit *kit, const struct snapshot_info *s, uint32_t want, struct error *err) {
    struct {
        struct snapshot *s;
        uint32_t seed;
    } w = {0};
    int rc = snapshot_open(kit->repo, s, &w.s, err);
    if (rc < 0) return rc;
    rc = snapshot_walk(w.s, BYTES_STR("0-seed"), seed_read, &w, err);
    snapshot_close(w.s);
    if (rc < 0) return rc;
    if (!w.seed || (want && w.seed != want))
        return error_set(err, ERR_RESTORE_DIFFERS, "the seed is %u, not %u", w.seed, want);
    struct content c;
    content_make(&c, w.seed);
    rc = kit_expect_try(kit, s->seq, c.it, ITEMS, err);
    content_free(&c);
    return rc;
}

static uint32_t roll(uint32_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return *s;
}

static void rest(uint32_t *random, unsigned ms_max) {
    seam_poll(NULL, 0, (int)(roll(random) % ms_max));
}

static bool stopped(void) {
    return atomic_load(&shared->stop);
}

static void writer_run(struct kit *kit, unsigned number) {
    uint32_t random = 77 + number * 1000;
    for (uint32_t round = 1; !stopped(); round++) {
        struct error err = ERROR_INIT;
        struct content c;
        uint64_t seq = 0;
        uint32_t seed = round * 8 + number + 1;
        torture_at("writer %u, round %u", number, round);
        content_make(&c, seed);
        int rc = kit_backup_try(kit, surfaces[number], c.it, ITEMS, roll(&random) % 4 != 0, NULL, &seq, &err);
        content_free(&c);
        if (rc == 0) {
            unsigned at = atomic_fetch_add(&shared->commits, 1);
            torture_claim(at < COMMITS_MAX, "too many commits");
            shared->commit[at].seed = seed;
            atomic_store(&shared->commit[at].seq, seq);
        } else {
            torture_claim(rc == -ERR_REPO_COMMIT_LOST || rc == -ERR_REPO_BUSY, "a backup fails: %s %s",
                          error_info(rc)->code, err.text);
            atomic_fetch_add(&shared->lost, 1);
        }
        rest(&random, 40);
    }
}

static void collector_run(struct kit *kit) {
    uint32_t random = 4711;
    while (!stopped()) {
        struct error err = ERROR_INIT;
        uint64_t seqs[64];
        size_t n = 0;
        torture_at("the collector");
        int rc = repo_sync(kit->repo, &err);
        torture_claim(rc == 0, "the collector cannot sync: %s %s", error_info(rc)->code, err.text);
        /* all but the newest three, now and then sparing one that becomes a straggler */
        size_t live = 0;
        for (size_t i = repo_snapshot_count(kit->repo); i-- > 0 && n < 64;) {
            const struct snapshot_info *s = repo_snapshot(kit->repo, i);
            if (s->forgotten || ++live <= 3 || roll(&random) % 8 == 0) continue;
            if (s->seq < COMMITS_MAX) atomic_store(&shared->gone[s->seq], true);
            seqs[n++] = s->seq;
        }
        if (n) {
            rc = repo_forget(kit->repo, seqs, n, "race", &err);
            torture_claim(rc == 0 || rc == -ERR_REPO_BUSY, "forgetting fails: %s %s", error_info(rc)->code, err.text);
            atomic_fetch_add(&shared->forgotten, (unsigned)n);
        }
        error_clear(&err);
        struct gc_plan plan;
        /* without grace what others are about to name is taken from them; with it, it mostly comes behind them */
        const bool grace = roll(&random) % 2;
        struct gc_options o = {
            .now_ns = grace ? time_now_ns() : INT64_MAX / 2, .grace_ns = grace ? NS_PER_S : 0, .repack_below = 0.7};
        rc = gc_run(kit->repo, &o, &plan, &err);
        if (rc == 0) atomic_fetch_add(&shared->markings[grace], plan.markings);
        if (rc == 0) gc_plan_free(&plan);
        torture_claim(rc == 0 || rc == -ERR_REPO_COMMIT_LOST || rc == -ERR_REPO_BUSY, "collecting fails: %s %s",
                      error_info(rc)->code, err.text);
        atomic_fetch_add(&shared->collections[grace], rc == 0);
        rest(&random, 60);
    }
}

/* Whether what failed may be told by a collection that came in between; the caller then tries again. */
static bool moved(struct kit *kit, uint64_t size) {
    struct error err = ERROR_INIT;
    int rc = repo_sync(kit->repo, &err);
    torture_claim(rc == 0, "a reader cannot sync: %s %s", error_info(rc)->code, err.text);
    atomic_fetch_add(&shared->moved, 1);
    return ledger_size(repo_ledger(kit->repo)) > size;
}

static void reader_run(struct kit *kit) {
    uint32_t random = 99;
    while (!stopped()) {
        struct error err = ERROR_INIT;
        torture_at("the reader");
        int rc = repo_sync(kit->repo, &err);
        torture_claim(rc == 0, "the reader cannot sync: %s %s", error_info(rc)->code, err.text);
        uint64_t size = ledger_size(repo_ledger(kit->repo));
        const struct snapshot_info *s = NULL;
        for (size_t i = repo_snapshot_count(kit->repo); i-- > 0 && (!s || roll(&random) % 2);)
            if (!repo_snapshot(kit->repo, i)->forgotten) s = repo_snapshot(kit->repo, i);
        if (!s) continue;
        if (roll(&random) % 4) {
            rc = restores(kit, s, 0, &err);
            if (rc < 0 && rc != -ERR_RESTORE_DIFFERS && moved(kit, size)) continue;
            torture_claim(rc == 0, "snapshot %llu does not restore: %s %s", (unsigned long long)s->seq,
                          error_info(rc)->code, err.text);
            atomic_fetch_add(&shared->restores, 1);
        } else {
            struct check_totals totals;
            char found[512] = "";
            struct check_options o = {.level = VERIFY_DECODE, .threads = 2, .ctx = found, .finding = torture_finding};
            rc = repo_check(kit->repo, &o, &totals, &err);
            if (rc < 0 && moved(kit, size)) continue;
            torture_claim(rc == 0, "the check fails: %s %s", error_info(rc)->code, err.text);
            torture_claim(totals.result == CHECK_VERIFIED, "the check says %s: %s", check_result_name(totals.result),
                          found);
            atomic_fetch_add(&shared->checks, 1);
        }
        rest(&random, 20);
    }
}

/* Number 0 to WRITERS-1: a writer; then the collector, then a reader. Writers of one surface share a cache. */
static void member_open(unsigned number, struct kit *kit) {
    struct error err = ERROR_INIT;
    memset(kit, 0, sizeof *kit);
    *kit = (struct kit){.threads = 2, .checkpoint_bytes = 100000};
    memcpy(kit->key, k.key, sizeof kit->key);
    kit->unlock = (struct unlock){.kind = SLOT_KEY_FILE, .secret = BYTES_OF(kit->key, 32)};
    snprintf(kit->cache_dir, sizeof kit->cache_dir, "%s/cache-%s", k.dir,
             number < WRITERS    ? surfaces[number]
             : number == WRITERS ? "gc"
                                 : "read");
    int rc = store_local_open(k.repo_dir, false, &kit->store, &err);
    if (rc == 0) rc = repo_open(kit->store, &kit->unlock, kit->cache_dir, &kit->repo, &err);
    torture_claim(rc == 0, "member %u cannot open: %s %s", number, error_info(rc)->code, err.text);
}

static void member_run(unsigned number, struct kit *kit) {
    if (number < WRITERS)
        writer_run(kit, number);
    else if (number == WRITERS)
        collector_run(kit);
    else
        reader_run(kit);
}

static void *member_thread(void *arg) {
    struct kit kit;
    unsigned number = (unsigned)(uintptr_t)arg;
    member_open(number, &kit);
    member_run(number, &kit);
    kit_close(&kit);
    return NULL;
}

static void race_begin(void) {
    memset(shared, 0, sizeof *shared);
    torture_at("the start of the race");
    kit_begin(&k);
}

static void race_end(void) {
    struct error err = ERROR_INIT;
    unsigned live = 0;
    kit_reopen(&k, true);
    for (unsigned i = 0; i < atomic_load(&shared->commits); i++) {
        uint64_t seq = atomic_load(&shared->commit[i].seq);
        torture_at("after the race, snapshot %llu", (unsigned long long)seq);
        const struct snapshot_info *s = seq ? kit_snapshot(&k, seq) : NULL;
        torture_claim(s != NULL, "a commit that was answered for is not in the log");
        if (s->forgotten) {
            torture_claim(atomic_load(&shared->gone[seq]), "it is forgotten, and nobody did");
            continue;
        }
        live++;
        int rc = restores(&k, s, shared->commit[i].seed, &err);
        torture_claim(rc == 0, "it does not restore: %s %s", error_info(rc)->code, err.text);
    }
    struct check_totals totals;
    char found[512] = "";
    struct check_options o = {.level = VERIFY_DECODE, .threads = 2, .ctx = found, .finding = torture_finding};
    torture_at("after the race");
    kit_ok(repo_check(k.repo, &o, &totals, &err), &err);
    torture_claim(totals.result == CHECK_VERIFIED, "the check says %s: %s", check_result_name(totals.result), found);
    print_message("# %u commits, %u lost races, %u forgotten, %u live, %u restores, %u checks, %u repeated\n",
                  shared->commits, shared->lost, shared->forgotten, live, shared->restores, shared->checks,
                  shared->moved);
    for (int grace = 0; grace < 2; grace++)
        print_message("# %u collections %s grace marked %u times\n", shared->collections[grace],
                      grace ? "with" : "without", shared->markings[grace]);
    assert_true(shared->commits > 0 && shared->collections[0] + shared->collections[1] > 0 &&
                shared->restores + shared->checks + shared->moved > 0);
    kit_end(&k);
}

static void processes_race_without_loss(void **state) {
    (void)state;
    pid_t pids[WRITERS + 2];
    race_begin();
    for (unsigned i = 0; i < WRITERS + 2; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i]) continue;
        torture_child = true;
        torture_watch((unsigned)torture_seconds(5) + 300);
        member_thread((void *)(uintptr_t)i);
        _exit(0);
    }
    int64_t until = time_monotonic_ns() + (int64_t)(torture_seconds(5) * 1e9);
    bool good = true;
    for (int left = WRITERS + 2; left > 0;) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            left--;
            good &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
        } else
            seam_poll(NULL, 0, 20);
        if (!good || time_monotonic_ns() > until) atomic_store(&shared->stop, true);
    }
    assert_true(good);
    race_end();
}

static void threads_race_without_loss(void **state) {
    (void)state;
    pthread_t threads[WRITERS + 2];
    struct error err = ERROR_INIT;
    race_begin();
    torture_child = true; /* a failed claim cannot leave a thread but with the process */
    for (unsigned i = 0; i < WRITERS + 2; i++)
        kit_ok(thread_start(&threads[i], member_thread, (void *)(uintptr_t)i, &err), &err);
    for (double left = torture_seconds(5); left > 0; left -= 0.1) seam_poll(NULL, 0, 100);
    atomic_store(&shared->stop, true);
    for (unsigned i = 0; i < WRITERS + 2; i++) pthread_join(threads[i], NULL);
    torture_child = false;
    race_end();
}

/* ---- many items at once in one writer ---- */

#define MANY 60

struct errand {
    struct writer *w;
    uint64_t seq;
    const struct kit_item *item;
};
static struct queue *errands;
static atomic_uint items_failed;

static int errand_run(const struct errand *e, struct error *err) {
    struct witem *it;
    int rc = writer_item_open(e->w, e->seq, BYTES_STR(e->item->name), e->item->kind, &it, err);
    if (rc < 0) return rc;
    for (size_t at = 0; rc == 0 && at < e->item->len;) {
        uint8_t *p;
        size_t room;
        if ((rc = witem_space(it, &p, &room, err)) < 0) break;
        size_t part = e->item->len - at < room ? e->item->len - at : room;
        memcpy(p, e->item->data + at, part);
        rc = witem_advance(it, part, err);
        at += part;
    }
    if (rc == 0) return witem_close(it, BYTES_STR("attr"), NULL, err);
    witem_drop(it);
    return rc;
}

static void *errand_thread(void *arg) {
    void *p;
    (void)arg;
    while (queue_pop(errands, &p)) {
        struct error err = ERROR_INIT;
        if (errand_run(p, &err) < 0) {
            fprintf(stderr, "# %s %s\n", error_info(err.code)->code, err.text);
            atomic_fetch_add(&items_failed, 1);
        }
        free(p);
    }
    return NULL;
}

static uint64_t many_stored(const struct kit_item *it, unsigned threads, struct writer_stats *stats) {
    struct error err = ERROR_INIT;
    struct writer_options o = {.environment = "dev", .surface = "many", .threads = 2, .checkpoint_bytes = 60000};
    struct writer *w = NULL;
    pthread_t ids[8];
    uint64_t seq = 0;
    kit_ok(writer_open(k.repo, &o, &w, &err), &err);
    kit_ok(queue_new(4, &errands, &err), &err);
    for (unsigned i = 0; i < threads; i++) kit_ok(thread_start(&ids[i], errand_thread, NULL, &err), &err);
    for (unsigned i = 0; i < MANY; i++) {
        struct known_item known;
        struct digest sha;
        sha256(BYTES_OF(it[i].data, it[i].len), &sha);
        if (writer_known(w, BYTES_STR(it[i].name), &known) && digest_equal(&known.sha256, &sha)) {
            kit_ok(writer_keep(w, i, BYTES_STR(it[i].name), BYTES_STR("attr"), &err), &err);
            continue;
        }
        struct errand *e = malloc(sizeof *e);
        *e = (struct errand){w, i, &it[i]};
        assert_true(queue_push(errands, e));
    }
    queue_close(errands);
    for (unsigned i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    queue_free(errands);
    assert_int_equal(items_failed, 0);
    json_t *root = json_pack("{s:s}", "facts", "of many");
    kit_ok(writer_finish(w, root, &err), &err);
    json_decref(root);
    kit_ok(kit_commit(w, "many", &seq, &err), &err);
    writer_stats_get(w, stats);
    writer_free(w);
    return seq;
}

static void items_of_many_threads_make_one_snapshot(void **state) {
    (void)state;
    struct kit_item it[MANY];
    char names[MANY][16];
    struct writer_stats stats;
    uint8_t *mem = malloc(MANY * 150000u);
    race_begin();
    torture_watch(300);
    torture_at("many items at once");
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "item-%03u", i);
        uint8_t *p = mem + i * 150000u;
        size_t n = i % 4 ? 3000 + i * 2000 : 150000;
        if (i % 3)
            kit_text(p, n, i / 2);
        else
            kit_random(p, n, i / 2);
        it[i] = (struct kit_item){names[i],
                                  i % 5 == 1   ? CONTENT_PAGES
                                  : i % 5 == 2 ? CONTENT_RECORDS
                                               : CONTENT_FILE,
                                  p, n};
    }
    uint64_t first = many_stored(it, 4, &stats);
    kit_expect(&k, first, it, MANY);
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MANY; i++)
            if ((i + (unsigned)round) % 2) mem[i * 150000u + 1700 + 13 * i] ^= (uint8_t)(1 << round);
        uint64_t next = many_stored(it, 4, &stats);
        torture_claim(stats.kept_bytes > 0 && stats.delta_chunks > 0, "%llu bytes kept, %llu deltas",
                      (unsigned long long)stats.kept_bytes, (unsigned long long)stats.delta_chunks);
        kit_expect(&k, next, it, MANY);
    }
    struct error err = ERROR_INIT;
    struct check_totals totals;
    struct check_options o = {.level = VERIFY_DECODE, .threads = 3};
    kit_ok(repo_check(k.repo, &o, &totals, &err), &err);
    assert_int_equal(totals.result, CHECK_VERIFIED);
    free(mem);
    torture_watch(0);
    kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_race_without_loss),
        cmocka_unit_test(threads_race_without_loss),
        cmocka_unit_test(items_of_many_threads_make_one_snapshot),
    };
    text = malloc(1u << 18);
    noise = malloc(1u << 18);
    kit_text(text, 1u << 18, 3);
    kit_random(noise, 1u << 18, 4);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    free(text);
    free(noise);
    return rc;
}
