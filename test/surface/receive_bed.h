/* What the tests of the receiver play on: a throw-away server with segments of 1 MiB that archives into a folder as well, a
 * plain folder that receives, and the receiver as a process of its own that can be killed. */
#ifndef PK_TEST_SURFACE_RECEIVE_BED_H
#define PK_TEST_SURFACE_RECEIVE_BED_H

#include "harness/claims.h"
#include "pg_server.h"
#include "surface/pgphys/receive.h"
#include "wal_folder.h"
#include <sys/types.h>

#define BED_SEGMENT (1u << 20)

struct bed {
    struct pg_server server;
    struct wal_folder folder;
    char archive[128]; /* where archive_command copies to */
    char hosts[256];   /* that the receiver is told; the server's alone at first */
};
bool bed_find(struct bed *b); /* false: no server programs; a skipped plan was printed */
void bed_open(struct bed *b, const char *settings); /* lines for postgresql.conf, "\n" behind each */
void bed_close(struct bed *b);
/* A standby of it, streaming, promoted by pg_ctl; its folder has data and log. */
void bed_standby(struct bed *b, struct pg_server *ret);
/* A new folder to receive into. */
void bed_fresh_folder(struct bed *b, const char *name);

/* In this process: what it answers, and its events as text in bed_events(), "kind: text" a line. */
int bed_receive(struct bed *b, const struct receive_options *o, struct receive_state *ret, struct error *err);
const char *bed_events(const struct bed *b); /* of the folder's receivers, all of them */
/* In a child; it exits with the error's code (0: none). */
pid_t bed_start(struct bed *b, const struct receive_options *o);
int bed_stop(pid_t child, int signal); /* its exit code, or -signal */
/* Waits until a query answers `want`, 30 s at most. */
void bed_await(struct bed *b, const char *query, const char *want);
bool bed_await_event(struct bed *b, const char *text);
/* Where the folder's WAL ends. */
uint64_t bed_stored(struct bed *b, uint32_t *ret_timeline);
uint64_t bed_lsn(struct bed *b, const char *query);
/* Waits until all that the server has flushed is in the folder. */
void bed_await_stored(struct bed *b);
void bed_fill(struct bed *b, unsigned mib); /* about so much WAL */
int bed_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
