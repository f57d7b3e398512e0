/* What the test server holds: two roles' worth of globals, a database with one of everything, one with an odd name. */
#ifndef PK_TEST_SURFACE_PG_FIXTURE_H
#define PK_TEST_SURFACE_PG_FIXTURE_H

extern const char pg_fixture_globals[], pg_fixture_app[], pg_fixture_weird[];
extern const char pg_fixture_postgis[]; /* for app, where the extension is installed */
#define PG_WEIRD "we/ird \"db%"

#endif
