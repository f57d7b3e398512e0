/* Clusters for tests of physical backups: a server of any version that is here, driven by the stock psql; and snapshots of a fake
 * sink as folders, checked by the stock pg_verifybackup and started by the stock server. */
#ifndef PK_TEST_SURFACE_PGPHYS_BED_H
#define PK_TEST_SURFACE_PGPHYS_BED_H

#include "surface/pgphys/pgphys.h"

struct cluster {
    char folder[64];  /* data, log, socket, space (for tablespaces), scratch */
    char server[256]; /* folder of initdb, pg_ctl and postgres */
    char client[256]; /* of psql and others; "" where no client of that version is here */
    int major;
    bool root;        /* we are, and the server runs as postgres */
};
/* Servers below /usr/lib/postgresql, and those whose bin folders PK_TEST_PG_SERVERS names (colons between). At most n. */
size_t cluster_find(struct cluster *ret, size_t n);
/* initdb with page checksums and `options`, lines added to its configuration, start; aborts on failure. */
void cluster_start(struct cluster *c, const char *options, const char *conf);
void cluster_run(struct cluster *c, const char *data); /* pg_ctl start of data/ or of another folder beside it */
bool cluster_try_run(struct cluster *c, const char *data);
void cluster_stop(struct cluster *c, const char *data, const char *mode);
void cluster_remove(struct cluster *c);
int cluster_shell(struct cluster *c, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* as the server's user */
/* SQL in the database postgres; psql's answer, fields by '|', rows by newlines. Valid until the eighth call after it. */
const char *cluster_ask(struct cluster *c, const char *sql);
/* Settings and a context to capture it. Freed with cluster_context_free. */
void cluster_context(struct cluster *c, struct surface_context *ret, struct surface_events events);
void cluster_context_free(struct surface_context *ctx);
/* What a source has, written below folder/name as plain files that belong to the server. Links keep their target, but for those
 * below folder/space, which lead to folder/space-<name>. */
void cluster_restore(struct cluster *c, struct source *src, const char *name);
void cluster_remap(struct cluster *c, const char *name); /* the same in its tablespace_map, else it uses the live one's folders */

#endif
