/* What the tests of the PostgreSQL driver play on: a throw-away server with the fixture in it, one capture of its
 * database "app", and a copy of that made by the stock tools. */
#ifndef PK_TEST_SURFACE_PG_STAGE_H
#define PK_TEST_SURFACE_PG_STAGE_H

#include "harness/claims.h"
#include "pg_fixture.h"
#include "pg_server.h"
#include "pg_snapshot.h"

struct pg_stage {
    struct pg_server server;
    char scratch_dir[128];
    bool have_postgis;
    char notes[8192];     /* what the driver noted since the last stage_context */
    struct snapshot shot; /* of app */
    struct capture_result captured;
    json_t *settings; /* that captured it */
};
extern struct pg_stage stage;

int stage_setup(void **state);
int stage_teardown(void **state);
json_t *stage_settings(const char *user, const char *databases); /* databases: JSON, may be NULL */
struct surface_context stage_context(const json_t *settings);
struct restore_request stage_request(void);
void stage_drop(struct capture_result *r);
int64_t stage_rows(const json_t *invariants, const char *key);
/* Settings whose pg_dump is a bash script of ours; $real is the real one. */
json_t *stage_tools(const char *pg_dump_script);
void stage_same(const char *a, const char *b); /* two databases are the same for the stock pg_dump */
bool stage_exists(const char *pattern);        /* a database whose name is LIKE that */
bool stage_skip(void); /* no server here: prints a skipped plan and answers true; call it first */

#endif
