/* A repository in a fresh folder, items from memory, and back: shared by the repository's tests. */
#ifndef PK_TEST_REPO_KIT_H
#define PK_TEST_REPO_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/seam.h"
#include "repo/maintain.h"
#include "repo/reader.h"
#include "repo/writer.h"

struct kit {
    char dir[64], repo_dir[80], cache_dir[80];
    struct store *store;
    struct repo *repo;
    uint8_t key[32];
    struct unlock unlock;
    uint64_t checkpoint_bytes; /* of backups; 0: 3 MiB */
    bool hold;                 /* begin known items as held, then confirm or restart them */
    unsigned threads;          /* of backups; 0: 3 */
    bool silent; /* backups never ask what is known */
    bool narrow; /* others write beside them */
};
struct kit_item {
    const char *name;
    enum content_kind kind;
    const uint8_t *data;
    size_t len;
};

void kit_begin(struct kit *k); /* makes and opens a repository, of packs of 1 MiB */
void kit_begin_packs(struct kit *k, uint32_t data_pack_bytes);
/* Open what dir holds (repo/ and cache/) as kit_begin left it; kit_close leaves the folder. On failure k is closed. */
int kit_open_try(struct kit *k, const char *dir, struct error *err);
void kit_close(struct kit *k);
void kit_reopen(struct kit *k, bool fresh_cache);
void kit_end(struct kit *k); /* closes, removes the folder */
#define kit_ok(rc, err) kit_ok_at((rc), (err), __FILE__, __LINE__)
void kit_ok_at(int rc, const struct error *err, const char *file, int line);
/* One snapshot of items (sorted by name). keep: ask for known items and keep them when the attribute is the same. */
uint64_t kit_backup(struct kit *k, const char *surface, const struct kit_item *items, size_t n, bool keep,
                    struct writer_stats *stats);
int kit_backup_try(struct kit *k, const char *surface, const struct kit_item *items, size_t n, bool keep,
                   struct writer_stats *stats, uint64_t *ret_seq, struct error *err);
/* The snapshot restores to exactly these items. */
void kit_expect(struct kit *k, uint64_t seq, const struct kit_item *items, size_t n);
int kit_expect_try(struct kit *k, uint64_t seq, const struct kit_item *items, size_t n, struct error *err);
const struct snapshot_info *kit_snapshot(struct kit *k, uint64_t seq);
/* Text-like and random bytes from a seed. */
void kit_text(uint8_t *p, size_t n, uint32_t seed);
void kit_random(uint8_t *p, size_t n, uint32_t seed);
/* The statement of a receipt for tests (the real one is evidence's). */
int kit_receipt(struct writer *w, const char *surface, json_t **ret, struct error *err);
/* writer_commit with that receipt. */
int kit_commit(struct writer *w, const char *surface, uint64_t *ret_seq, struct error *err);
/* An entry of the log with this predicate, which it takes over. */
void kit_say(struct kit *k, const char *type, json_t *predicate, const struct keyring *by);

#endif
