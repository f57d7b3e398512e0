/* A throw-away PostgreSQL for tests, on a socket of its own, driven and asked by the stock psql. */
#ifndef PK_TEST_SURFACE_PG_SERVER_H
#define PK_TEST_SURFACE_PG_SERVER_H

#include "surface/surface.h"
#include <stdbool.h>

struct pg_server {
    char folder[64]; /* data, log, socket, scratch of the driver, tools */
    char bin[128];
    bool root; /* we are, and the server runs as postgres */
};
bool pg_server_find(struct pg_server *s);  /* false: no server programs here */
void pg_server_start(struct pg_server *s); /* initdb and start; aborts on failure */
void pg_server_stop(struct pg_server *s, const char *mode);
void pg_server_kill(struct pg_server *s); /* SIGKILL to all of its processes, as a crash; waits for their end */
void pg_server_gone(struct pg_server *s); /* waits for the end of one that was killed by others */
void pg_server_run(struct pg_server *s); /* start it again */
void pg_server_remove(struct pg_server *s);
/* Run a script in a database; aborts when it fails. */
void pg_server_sql(struct pg_server *s, const char *database, const char *script);
/* The answer of one query, rows by newlines, fields by '|'. Valid until the eighth call after it. */
const char *pg_server_ask(struct pg_server *s, const char *database, const char *query);
/* What the stock pg_dump says of a database, to compare two: schema and data as text. Freed with free. */
char *pg_server_dump(struct pg_server *s, const char *database);
int pg_server_shell(struct pg_server *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* as the server's user */

#endif
