/* The Neo4j driver's parts: settings, Bolt, the online export and import, the offline dump and load.
 *
 * Invariants of the driver
 *  1. Nothing here changes the source: an online capture only reads, in transactions that say so.
 *  2. An online capture is labelled fuzzy, and says whether anything was committed while it ran.
 *  3. An import goes into an empty database, goes on where the same import stopped, or is asked to replace what is
 * there.
 *  4. A batch of an import and the count of what was imported are committed together, so nothing is imported twice.
 *  5. A password is in this process's memory and on its way to the server; nowhere else.
 *  6. No graph is ever held: what is kept for a node is eight bytes in a nameless file.
 */
#ifndef PK_SURFACE_NEO4J_INTERNAL_H
#define PK_SURFACE_NEO4J_INTERNAL_H

#include "base/json.h"
#include "surface/item_out.h"
#include "surface/neo4j/bolt.h"
#include "surface/surface.h"

/* ---- settings.c: the surface's `dbms:` ---- */
enum neo4j_method { NEO4J_LOGICAL, NEO4J_OFFLINE };
struct neo4j_settings {
    const struct surface_context *ctx;
    char *host, *user, *ca, *database, *query; /* host: 127.0.0.1, database: neo4j unless said; else NULL */
    unsigned port;                             /* 7687 unless said */
    bool tls, scratch;
    int timeout_ms;          /* of connecting; answers are waited for three times as long */
    struct secret *password; /* NULL: none, and no login ("none" scheme) */
    const json_t *labels;    /* borrowed; NULL: everything */
    enum neo4j_method method;
};
/* scratch: connection facts of a scratch instance ({"home","host","port"}, see scratch.c), or NULL. ERR_CONFIG_VALUE.
 */
int neo4j_settings_load(const struct surface_context *ctx, const json_t *scratch, struct neo4j_settings **ret,
                        struct error *err) PK_CHECK;
void neo4j_settings_free(struct neo4j_settings *s);
void neo4j_settings_freep(struct neo4j_settings **s);
void neo4j_note(const struct neo4j_settings *s, enum note_kind kind, const char *name, const char *text);
void neo4j_progress(const struct neo4j_settings *s, const char *phase, uint64_t bytes, uint64_t items);

/* ---- connect.c ---- */
/* Connected and logged in. host NULL: that of the settings. *ret is the caller's (bolt_close). ERR_NET_*, ERR_NEO4J_*.
 */
int neo4j_connect(const struct neo4j_settings *s, const char *host, unsigned port, struct bolt **ret,
                  struct error *err) PK_CHECK;
/* Versions, edition, the database's state and store format, counts, and how it is sorted out, into facts:
 * neo4j_version, edition, bolt_version, database, store_format, nodes, relationships, users_apart. No address, no
 * secret. */
int neo4j_facts(const struct neo4j_settings *s, struct bolt *b, json_t *facts, struct error *err) PK_CHECK;

/* ---- target.c: where an online restore goes ---- */
struct neo4j_target {
    char host[512]; /* empty: that of the settings */
    unsigned port;
    char database[128];
    bool live; /* the very database that was captured, as in_place says */
};
/* target: "bolt://host:port/database", "bolt://host:port" or a database's name (of an edition that has several).
 * ERR_USAGE; ERR_POLICY when it is none and not in place. as_scratch: settings were loaded with the scratch facts. */
int neo4j_target_decide(const struct neo4j_settings *s, const struct restore_request *q, struct neo4j_target *ret,
                        struct error *err) PK_CHECK;
/* ERR_POLICY when the target, without in_place, is the database that was captured. b is logged in at the target. */
int neo4j_target_guard(const struct neo4j_settings *s, const struct neo4j_target *t, const struct restore_request *q,
                       struct bolt *b, struct error *err) PK_CHECK;

/* ---- the online method; the shapes are surface.h's ---- */
int neo4j_logical_probe(const struct surface_context *, json_t **ret, struct error *) PK_CHECK;
int neo4j_logical_capture(const struct surface_context *, struct sink *, struct capture_result *,
                          struct error *) PK_CHECK;
int neo4j_logical_plan(const struct surface_context *, const struct restore_request *, json_t **ret,
                       struct error *) PK_CHECK;
int neo4j_logical_restore(const struct surface_context *, struct source *, const struct restore_request *,
                          struct restore_result *, struct error *) PK_CHECK;
int neo4j_logical_measure(const struct surface_context *, const json_t *scratch, const json_t *facts, json_t **ret,
                          struct error *) PK_CHECK;
/* Of the items graph/nodes, graph/relationships and graph/schema, whose attributes are JSON objects. */
int neo4j_logical_describe(struct bytes name, struct bytes attr, json_t **ret, struct error *) PK_CHECK;
/* nodes.jsonl and relationships.jsonl, a line each, values as Neo4j's Query API has them in typed JSON, and
 * schema.cypher, which cypher-shell takes; durable. Nothing when the snapshot has no items below graph/. */
int neo4j_logical_export(struct source *, int dirfd, struct error *) PK_CHECK;

#endif
