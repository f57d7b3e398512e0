#include "copy_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void kit_dest_begin(struct kit *k, struct kit *to, uint32_t data_pack_bytes) {
    struct error err = ERROR_INIT;
    char dir[64], place[80];
    struct store *s = NULL;
    struct keyring *keys = NULL;
    uint8_t key[32];
    for (int i = 0; i < 32; i++) key[i] = (uint8_t)i;
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)};
    struct repo_params p = {.copy_of = k->repo, .data_pack_bytes = data_pack_bytes};
    snprintf(dir, sizeof dir, "%s/pk-copy-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(place, sizeof place, "%s/repo", dir);
    kit_ok(store_local_open(place, true, &s, &err), &err);
    kit_ok(repo_create(s, &p, &u, "test", &keys, &err), &err);
    assert_true(keys->shared_content);
    keyring_free(keys);
    store_close(s);
    kit_ok(kit_open_try(to, dir, &err), &err);
}

struct made {
    const struct repo *from;
    const struct snapshot_info *info;
    bool lie; /* name another receipt than the one that is kept */
};

static int make_receipt(void *ctx, const json_t *source, struct writer *w, const json_t *repository,
                        const struct digest *kept, json_t **ret, struct error *err) {
    struct made *m = ctx;
    struct digest d, entry = m->info->entry;
    uint64_t bytes;
    char uri[128], hex[65], kept_hex[65], entry_hex[65];
    json_t *p = json_copy_whole(source), *r = json_copy_whole(repository);
    if (m->lie) entry.b[0] ^= 1;
    hex_encode(kept->b, 32, kept_hex);
    hex_encode(entry.b, 32, entry_hex);
    writer_artifact(w, &d, &bytes, uri);
    hex_encode(d.b, 32, hex);
    int rc = p && r ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = json_put(r, "kind", json_string("test"), err);
    if (rc == 0) rc = json_put(r, "complete", json_true(), err);
    if (rc == 0) rc = json_put(p, "repository", json_incref(r), err);
    if (rc == 0)
        rc = json_put(p, "copy",
                      json_pack("{s:s, s:I, s:s, s:s}", "repository", repo_id_hex(m->from), "seq",
                                (json_int_t)m->info->seq, "receipt", entry_hex, "envelope", kept_hex),
                      err);
    if (rc == 0) {
        json_object_del(p, "ledger");
        *ret = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:O}", "_type", STATEMENT_TYPE, "subject", "name", uri,
                         "digest", "sha256", hex, "predicateType", PREDICATE_RECEIPT, "predicate", p);
        if (!*ret) rc = error_set(err, ERR_NO_MEMORY, "no memory");
    }
    json_decref(p);
    json_decref(r);
    return rc;
}

int kit_copy_try(struct kit *from, uint64_t seq, struct kit *to, struct copy_options *o, bool lie,
                 struct copy_stats *stats, uint64_t *ret_seq, struct error *err) {
    struct copy_options usual = {.threads = 3};
    struct copy_stats ignored;
    struct digest entry;
    bool there;
    struct made m = {from->repo, kit_snapshot(from, seq), lie};
    return copy_snapshot(from->repo, m.info, to->repo, o ? o : &usual, make_receipt, &m, stats ? stats : &ignored,
                         ret_seq, &entry, &there, err);
}

uint64_t kit_copy(struct kit *from, uint64_t seq, struct kit *to, struct copy_stats *stats) {
    struct error err = ERROR_INIT;
    uint64_t at = 0;
    kit_ok(kit_copy_try(from, seq, to, NULL, false, stats, &at, &err), &err);
    return at;
}
