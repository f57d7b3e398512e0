/* A seam table that counts every call and fails, cuts short or dies at a chosen one.
 *
 * By function calls in a test, before its threads start. For a whole program that links harness_whole_dep, by the
 * variable PROOFKEEP_TEST_FAULT, read before main; a value that is none of these ends the program with status 97:
 *   count:FILE           write "<op> <calls>" lines and "total <calls>" to FILE at exit
 *   fail:N:ERRNO[:on]    fail call N (from 1), once or from then on; ERRNO is a name, a number or 0 for the natural one
 *   kill:N               SIGKILL ourselves at call N, before it is made
 *   short                every read and write moves at most half of what was asked
 * The harness aborts when it cannot do its own work.
 */
#ifndef PK_TEST_HARNESS_FAULT_H
#define PK_TEST_HARNESS_FAULT_H

#include "base/seam.h"
#include <stdbool.h>
#include <stdint.h>

/* Put the table in force with counters at zero and no fault, or take it away. */
void fault_install(void);
void fault_remove(void);

/* Fail call n, counted from 1 since fault_install. sys_errno 0 means the op's natural one: ENOMEM for memory, ENOSPC
 * for writing, EAGAIN for fork, EIO else. A failed close has closed, as on Linux, unless it failed with EINTR. */
void fault_fail(uint64_t n, int sys_errno, bool from_then_on);
void fault_kill(uint64_t n);             /* SIGKILL at call n, before it is made */
void fault_exit(uint64_t n, int status); /* _exit at call n, before it is made */
void fault_short(bool on);               /* reads and writes move at most half of what was asked, at least a byte */
/* Count and fail calls of one op only; SEAM_OP_COUNT means all again. */
void fault_only(enum seam_op op);

uint64_t fault_calls(void); /* counted since fault_install */
uint64_t fault_op_calls(enum seam_op op);
uint64_t fault_hits(void); /* failures injected since fault_install */
const char *fault_hit(void); /* the op that failed first; "none" */
const char *fault_op_name(enum seam_op op);

/* Calls run(arg, n) for n = 1, 2, … with call n failing (naturally), until a run makes fewer than n calls. The table is
 * installed anew for each run and removed at the end. Returns the number of runs that were hit. */
typedef void (*fault_run)(void *arg, uint64_t n);
uint64_t fault_each(bool from_then_on, fault_run run, void *arg);

#endif
