/* Gives a scratch server the WAL that it asks for while it recovers. The server has no key and need not reach the repository: its
 * restore_command leaves a note in a folder beside its data, and a thread of ours puts the file there, or a word that there is
 * none. One file is fetched ahead, so what lies there is bounded by two segments. */
#ifndef PK_WORK_PAST_FEED_H
#define PK_WORK_PAST_FEED_H

#include "work/wal.h"

#define PAST_FEED_FOLDER "wal" /* beside the data folder */
/* For restore_recovery.restore_command. It ends with 1 for what is surely absent, with more than 125 when that cannot be told, and
 * when the folder is gone. */
extern const char *const past_feed_command;

struct past_feed;
/* WAL of the cluster `system`, put into the open folder `dirfd` (borrowed until stop), which the server's user may write. While it runs
 * nothing else uses the repository. */
int past_feed_start(struct wal_source *source, uint64_t system, int dirfd, struct past_feed **ret, struct error *err) PK_CHECK;
/* Ends it. What kept it from giving a file is added to an error that is set, and else is forgotten. NULL is fine. */
void past_feed_stop(struct past_feed *f, struct error *err);
/* Writes one file into a folder under its own name, owned by the folder's owner. ERR_WAL_ABSENT. */
int past_feed_put(struct wal_source *source, uint64_t system, const struct wal_name *n, int dirfd, struct error *err) PK_CHECK;

#endif
