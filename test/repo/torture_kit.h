/* The scenario that the torture tests fail, kill and cut the power of, and what must hold afterwards.
 *
 * A template holds two good snapshots: "t" (kept) and "u" (doomed, sharing a pack with t). The scenario opens a copy of
 * it, takes a second backup of t with changes, deltas and checkpoints, checks every frame, restores and compares,
 * forgets u and collects with repacking. Afterwards, with faults off: the repository opens, nothing under a final name
 * is short or not what its name says, every committed snapshot restores, what was reported as done is done, and the
 * scenario runs again.
 *
 * Environment: TORTURE=full for whole sweeps, TORTURE_PART=K/N for every N-th point of one, from the K-th on;
 * TORTURE_SECONDS (12) and TORTURE_SEED (1) for sampled ones; TORTURE_ONLY=N for one point, as a failure names it.
 */
#ifndef PK_TEST_REPO_TORTURE_KIT_H
#define PK_TEST_REPO_TORTURE_KIT_H

#include "repo_kit.h"

#include <stdbool.h>

struct torture {
    char base[64], template[80], work[128]; /* folders */
    uint64_t kept, doomed;                  /* entries of the template's snapshots */
    uint64_t calls;                         /* seam calls of an undisturbed scenario */
};
/* What the scenario said that it did; in memory that a dying child shares. */
struct outcome {
    uint64_t stored; /* entry of the second backup, once its commit had returned; 0 */
    bool verified, restored, forgetting, forgot, collected;
    uint64_t harm; /* findings of its check that blame the repository, and the last of them */
    char harm_text[256];
    uint64_t repacked, deltas;
    uint64_t ops_stored, ops_forgot; /* changes that the power harness had seen by then */
};

void torture_begin(struct torture *t);
void torture_end(struct torture *t);
/* t->work becomes a fresh copy of the template. */
void torture_fresh(struct torture *t);
void torture_remove(const char *dir);
int torture_scenario(const char *dir, struct outcome *o, struct error *err);
/* Every claim above, of the folder in dir. A fresh cache, or the one that is there. */
void torture_holds(const struct torture *t, const char *dir, const struct outcome *o, bool fresh_cache);
int torture_finding(void *ctx, const struct check_finding *f, struct error *err); /* ctx: char[512], the last one */
/* The scenario again, undisturbed, and its claims. */
void torture_again(const char *dir);

extern bool torture_child; /* in a process of its own: a failed claim ends it with status 1 */
/* What a failure says of where it happened. */
__attribute__((format(printf, 1, 2))) void torture_at(const char *fmt, ...);
#define torture_claim(cond, ...) torture_claim_at((cond) ? 1 : 0, __FILE__, __LINE__, __VA_ARGS__)
__attribute__((format(printf, 4, 5))) void torture_claim_at(int cond, const char *file, int line, const char *fmt, ...);

/* Points 1 to total: all of them in order, or samples for as long as the budget lasts (at least 8). */
struct points {
    uint64_t total, at, step, done;
    uint32_t seed;
    int64_t until_ns;
    bool full;
};
void points_begin(struct points *p, uint64_t total);
bool points_next(struct points *p, uint64_t *ret);
bool torture_full(void);
double torture_seconds(double sampled);

/* Dies with torture_at's words when the next `seconds` do not end in another call. 0: off. */
void torture_watch(unsigned seconds);
int torture_descriptors(void);
/* Under AddressSanitizer: fails when memory leaked since the last call. */
void torture_leaks(void);

#endif
