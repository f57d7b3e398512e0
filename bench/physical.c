/* One base backup over the replication protocol into a repository of its own, so that bench/physical.py has a process
 * to measure.
 *
 *   bench_physical REPOSITORY SOCKETS
 *
 * REPOSITORY is a folder, made when it is missing; SOCKETS the folder of the server's socket. Prints one line of JSON.
 */
#include "base/seam.h"
#include "base/time.h"
#include "ledger/statement.h"
#include "surface/pgphys/pgphys.h"
#include "work/context.h"

#include <stdio.h>
#include <stdlib.h>

static void check(int rc, const struct error *err) {
    if (rc >= 0) return;
    fprintf(stderr, "bench_physical: %s %s\n", error_info(rc)->code, err->text);
    exit(EXIT_FAILURE);
}

static int statement(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct writer *w = ctx;
    json_t *repo = NULL;
    struct digest d;
    uint64_t bytes;
    char uri[128], hex[65], now[32], id[64];
    (void)seq;
    int rc = writer_describe(w, &repo, err);
    if (rc < 0) return rc;
    json_object_set_new(repo, "kind", json_string("bench"));
    json_object_set_new(repo, "complete", json_true());
    writer_artifact(w, &d, &bytes, uri);
    hex_encode(d.b, 32, hex);
    time_format(time_now_ns(), now);
    snprintf(id, sizeof id, "bkp-bench-%lld", (long long)time_now_ns());
    *ret = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:o}}", "_type", STATEMENT_TYPE,
                     "subject", "name", uri, "digest", "sha256", hex, "predicateType", PREDICATE_RECEIPT, "predicate",
                     "backup_id", id, "environment", "bench", "surface", "cluster", "started_at", now, "completed_at",
                     now, "status", "success", "repository", repo);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
}

static void open_all(const char *dir, struct store **store, struct repo **repo) {
    static uint8_t key[32] = {1};
    const struct unlock unlock = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, sizeof key)};
    const struct repo_params params = {0};
    struct error err = ERROR_INIT;
    struct keyring *keys = NULL;
    char objects[4200], cache[4200];
    snprintf(objects, sizeof objects, "%s/repo", dir);
    snprintf(cache, sizeof cache, "%s/cache", dir);
    check(io_mkdirs(cache, 0700, &err), &err);
    if (store_local_open(objects, false, store, &err) < 0) {
        error_clear(&err);
        check(store_local_open(objects, true, store, &err), &err);
        check(repo_create(*store, &params, &unlock, "bench", &keys, &err), &err);
        keyring_free(keys);
    }
    check(repo_open(*store, &unlock, cache, repo, &err), &err);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fputs("usage: bench_physical REPOSITORY SOCKETS\n", stderr);
        return EXIT_FAILURE;
    }
    struct error err = ERROR_INIT;
    struct store *store = NULL;
    struct repo *repo = NULL;
    struct writer *w = NULL;
    struct capture_result r = {0};
    struct work_sink sink;
    struct writer_stats stats;
    check(crypto_init(&err), &err);
    open_all(argv[1], &store, &repo);
    json_t *settings = json_pack("{s:{s:s, s:s}}", "connect", "host", argv[2], "user", "postgres");
    const struct surface_context ctx = {
        .environment = "bench", .name = "cluster", .settings = settings, .jobs = thread_cpus(), .scratch_dir = argv[1]};
    const struct writer_options o = {.environment = "bench", .surface = "cluster"};
    check(writer_open(repo, &o, &w, &err), &err);
    work_sink_init(&sink, w);
    check(pgphys_capture_stream(&ctx, &sink.sink, &r, &err), &err);
    check(writer_finish(w, r.facts, &err), &err);
    check(writer_commit(w, statement, w, NULL, NULL, &err), &err);
    writer_stats_get(w, &stats);
    printf("{\"bytes\": %llu, \"items\": %llu, \"new\": %llu, \"stored\": %llu}\n", (unsigned long long)stats.bytes,
           (unsigned long long)stats.items, (unsigned long long)stats.new_bytes,
           (unsigned long long)stats.stored_bytes);
    writer_free(w);
    repo_close(repo);
    store_close(store);
    json_decref(settings);
    json_decref(r.facts);
    json_decref(r.invariants);
    return EXIT_SUCCESS;
}
