#include "work_kit.h"

#include "base/time.h"
#include "evidence/statement.h"
#include "work/keys.h"

#include <stdio.h>

static void write_file(const char *path, const char *text) {
    struct error err = ERROR_INIT;
    kit_ok(io_replace_file(AT_FDCWD, path, BYTES_STR(text), 0600, &err), &err);
}

void work_kit_begin(struct work_kit *k, const char *policy) {
    struct error err = ERROR_INIT;
    char text[4096];
    struct buf key = BUF_INIT(4096);
    memset(k, 0, sizeof *k);
    kit_begin(&k->kit);
    snprintf(k->config, sizeof k->config, "%s/proofkeep.yaml", k->kit.dir);
    snprintf(k->key_file, sizeof k->key_file, "%s/admin.key", k->kit.dir);
    kit_ok(key_file_format(BYTES_OF(k->kit.key, 32), &key, &err), &err);
    kit_ok(buf_terminate(&key, &err), &err);
    write_file(k->key_file, (char *)key.ptr);
    buf_free(&key);
    snprintf(text, sizeof text,
             "version: 1\nplatform: test\nsecrets:\n  key: { file: \"%s\" }\nrepositories:\n  main:\n    url: \"%s\"\n"
             "    encrypt: { key: key, kind: key_file }\nsurfaces:\n  files: { kind: files, class: truth, paths: "
             "[\"%s\"] }\n"
             "  other: { kind: files, class: cache, paths: [\"%s\"] }\nenvironments:\n  dev:\n    repository: main\n%s",
             k->key_file, k->kit.repo_dir, k->kit.dir, k->kit.dir, policy ? policy : "    protected: false\n");
    write_file(k->config, text);
    work_kit_open(k, NULL);
}

void work_kit_open(struct work_kit *k, const char *key_file) {
    struct error err = ERROR_INIT;
    static char cache[160];
    snprintf(cache, sizeof cache, "%s/work-cache", k->kit.dir);
    struct work_options o = {.config_path = k->config, .key_file = key_file, .cache_dir = cache, .jobs = 2};
    work_close(k->work);
    k->work = NULL;
    kit_ok(work_open(&o, &k->work, &err), &err);
    kit_ok(work_open_repo(k->work, "dev", &err), &err);
}

void work_kit_end(struct work_kit *k) {
    work_close(k->work);
    kit_end(&k->kit);
}

uint64_t work_kit_point(struct work_kit *k, const char *surface, size_t bytes, uint32_t seed) {
    struct error err = ERROR_INIT;
    void *mem;
    kit_ok(mem_alloc(bytes + 1, &mem, &err), &err);
    kit_random(mem, bytes, seed);
    struct kit_item item = {"data", CONTENT_FILE, mem, bytes};
    kit_ok(repo_sync(k->kit.repo, &err), &err);
    uint64_t seq = kit_backup(&k->kit, surface, &item, 1, false, NULL);
    seam_free(mem);
    kit_ok(repo_sync(k->work->repo, &err), &err);
    return seq;
}

void work_kit_expect(struct work_kit *k, uint64_t seq, size_t bytes, uint32_t seed) {
    struct error err = ERROR_INIT;
    void *mem;
    kit_ok(mem_alloc(bytes + 1, &mem, &err), &err);
    kit_random(mem, bytes, seed);
    struct kit_item item = {"data", CONTENT_FILE, mem, bytes};
    kit_ok(repo_sync(k->kit.repo, &err), &err);
    kit_expect(&k->kit, seq, &item, 1);
    seam_free(mem);
}

const struct snapshot_info *work_kit_info(struct work_kit *k, uint64_t seq) {
    struct error err = ERROR_INIT;
    kit_ok(repo_sync(k->work->repo, &err), &err);
    for (size_t i = 0; i < repo_snapshot_count(k->work->repo); i++)
        if (repo_snapshot(k->work->repo, i)->seq == seq) return repo_snapshot(k->work->repo, i);
    fail_msg("no snapshot %llu", (unsigned long long)seq);
    return NULL;
}

void work_kit_verify(struct work_kit *k, uint64_t seq, enum verify_level level, bool passed) {
    struct error err = ERROR_INIT;
    const struct snapshot_info *i = work_kit_info(k, seq);
    struct about a = {i->id, i->seq, i->entry};
    struct verification_result v = {.result = passed ? CHECK_VERIFIED : CHECK_CORRUPT,
                                    .level = level,
                                    .started_ns = time_now_ns() - NS_PER_S,
                                    .completed_ns = time_now_ns(),
                                    .findings = !passed};
    json_t *st = NULL;
    kit_ok(evidence_verification(&a, &v, "test", NULL, NULL, &st, &err), &err);
    kit_ok(repo_append(k->work->repo, st, NULL, NULL, &err), &err);
    json_decref(st);
}

void work_kit_key(struct work_kit *k, enum key_role role, char path[160]) {
    struct error err = ERROR_INIT;
    char id[65];
    snprintf(path, 160, "%s/%s.key", k->kit.dir, key_role_name(role));
    struct key_request q = {.role = role, .key_file_out = path};
    kit_ok(key_add(k->work, &q, id, &err), &err);
}
