/* Streaming WAL of a surface into its repository (`proofkeep wal receive`), and ending a segment (`wal switch`). */
#ifndef PK_WORK_WAL_RECEIVE_H
#define PK_WORK_WAL_RECEIVE_H

#include "surface/pgphys/receive.h"
#include "work/context.h"

/* As pgphys_receive, with what the surface's configuration says under `wal` where the options do not: slot, interval and the
 * expected system. What is stored is registered in the log as `wal push` does it, and at the end. Nothing of the repository
 * but its log is opened. */
int work_wal_receive(struct work *w, const char *environment, const char *surface, const struct receive_options *o,
                     struct receive_state *ret, struct error *err) PK_CHECK;
/* As pgphys_slot_drop; *ret_slot is its name, borrowed from the configuration or the caller. Opens no repository. */
int work_wal_slot_drop(struct work *w, const char *environment, const char *surface, const char *slot,
                       const char **ret_slot, struct error *err) PK_CHECK;
int work_wal_switch(struct work *w, const char *environment, const char *surface, bool *ret_switched,
                    struct wal_name *ret, struct error *err) PK_CHECK;

/* As pgphys_wal_written, of the surface's server. */
int work_wal_written(struct work *w, const char *environment, const char *surface, struct wal_written *ret,
                     struct error *err) PK_CHECK;
/* As pgphys_wal_read, of the surface's server. */
int work_wal_server_read(struct work *w, const char *environment, const char *surface, uint64_t system, const struct wal_name *n, struct buf *ret,
                         struct error *err) PK_CHECK;

#endif
