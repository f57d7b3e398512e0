/* The local copy of an index run: a file in the cache, or memory without one. Internal to the index.
 *
 * Invariants
 *  1. Nothing is answered from a block of 4 KiB that was not held against its checksum: blocks with entries and packs
 * each time they are read from the file, the filter once, when it is first asked. Opening reads the table of checksums
 * alone.
 *  2. What stays in memory of a file is its filter, about 1.5 bytes an entry, once it was asked, and the packs and
 * entries of small runs that were asked as often as they have blocks, RUN_IMAGE_HOT_BYTES of all runs of the process
 * together. Other entries and packs are read when a look-up needs them, and mapped only while they are scanned.
 */
#ifndef PK_REPO_RUN_IMAGE_H
#define PK_REPO_RUN_IMAGE_H

#include "repo/run.h"

#define IMAGE_BLOCK 4096u
#define RUN_IMAGE_HOT_BYTES ((size_t)16 << 20)

struct run {
    uint8_t *mem; /* the whole image; NULL when it is a file */
    int fd;
    uint8_t *look; /* fan-out and filter, mapped or in mem */
    uint8_t *checks; /* of a file: 8 bytes a block */
    bool looked;     /* look was checked */
    uint8_t *_Atomic hot; /* of a file: blocks of packs and entries, read and checked once; NULL while there are none */
    uint64_t _Atomic asked; /* look-ups that read blocks of entries */
    uint32_t pack_count;
    uint64_t entry_count, bloom_lines;
    unsigned bits;
    uint64_t entries_at, fan_at, bloom_at, checks_at;
    struct run *_Atomic healed; /* what took the place of this one, whose file is rotten */
    bool lost;                  /* rotten, and could not be made again */
    bool stored;                /* made of the object, read by this handle */
};

/* The image of a run's body, in memory. */
int run_image_build(const uint8_t *body, uint64_t entries, uint32_t packs, uint8_t **ret, size_t *ret_len, struct error *err) PK_CHECK;
/* Take over an image in memory; on failure it stays the caller's. */
int run_image_adopt(uint8_t *image, size_t len, struct run *ret, struct error *err) PK_CHECK;
/* 1 when opened, 0 when there is no good file of that name. */
int run_image_open(const char *path, struct run *ret, struct error *err) PK_CHECK;
/* The first entry with that id: 1 and its position and bytes, 0 when there is none, -1 when the file is rotten. */
int run_image_find(struct run *x, const uint8_t *id, uint64_t *ret_at, uint8_t ret_entry[RUN_ENTRY_BYTES]);
/* Bytes from `at` on, of entries or packs, from memory where they are kept; false when the file is rotten. */
bool run_image_read(const struct run *x, uint64_t at, void *p, size_t len);
/* Packs, and entries if wanted, checked. false when the file is rotten or cannot be mapped. */
bool run_image_scan(const struct run *x, bool entries, struct run_view *ret);
void run_image_close(struct run *x); /* not the struct itself */

#endif
