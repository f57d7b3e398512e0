/* The parts of the online method: what is read of a graph, what is stored of it, what is counted. */
#ifndef PK_SURFACE_NEO4J_GRAPH_INTERNAL_H
#define PK_SURFACE_NEO4J_GRAPH_INTERNAL_H

#include "base/mix.h"
#include "surface/neo4j/neo4j_internal.h"

#define GRAPH_NODES "graph/nodes"
#define GRAPH_RELATIONSHIPS "graph/relationships"
#define GRAPH_SCHEMA "graph/schema"
#define GRAPH_TEXT_MAX (16u << 20) /* of a query, of all constraints and indexes */
/* What an import leaves in a database while it runs: each node's number, under a label of its own, and how far it is.
 */
#define IMPORT_LABEL "ProofkeepImport"
#define IMPORT_STATE "ProofkeepImportState"
#define IMPORT_KEY "__proofkeep_id__"
#define IMPORT_CONSTRAINT "proofkeep_import"

/* ---- value.c ---- */
struct value_pair { /* of a map: borrowed */
    struct bytes key, value;
};
struct value_sort { /* room to sort in */
    struct value_pair *of;
    size_t cap;
};
void value_sort_free(struct value_sort *s);
/* A property's value in its one form: numbers shortest, no map, no null, structures only those of dates, times,
 * durations and points, as Bolt 5 has them. ERR_NEO4J_VALUE for anything else. */
int value_put(struct ps_in *in, struct buf *out, struct error *err) PK_CHECK;
/* A map of properties, its keys in bytewise order; a key that comes twice is refused. */
int value_put_map(struct ps_in *in, struct value_sort *sort, struct buf *out, struct error *err) PK_CHECK;
/* A list of texts in bytewise order, each once. */
int value_put_names(struct ps_in *in, struct value_sort *sort, struct buf *out, struct error *err) PK_CHECK;
/* A name as Cypher wants it, in backticks, whatever is in it. */
int value_put_cypher_name(struct bytes name, struct buf *out, struct error *err) PK_CHECK;

/* ---- typed_json.c ---- */
int value_put_json(struct ps_in *in, struct buf *out, struct error *err) PK_CHECK; /* a property's value, as JSON */
int value_put_json_text(struct bytes text, struct buf *out, struct error *err) PK_CHECK;

/* ---- entity.c: nodes and relationships in what a query returns ---- */
struct entity {
    int64_t id, start, end; /* start and end: of a relationship */
    struct ps_in names;     /* labels of a node: a packed list; type of a relationship: a packed text */
    struct ps_in properties;
};
typedef int (*entity_cb)(void *ctx, const struct entity *e, struct error *err);
struct entity_walk {
    bool relationships; /* which of the two are wanted; the others are passed over */
    entity_cb cb;
    void *ctx;
    int64_t *ids; /* of a path's nodes: room */
    size_t cap_ids;
    struct ps_in *rels; /* of a path */
    size_t cap_rels;
};
/* All of that kind in a value, however deep in lists, maps and paths. ERR_NEO4J_PROTOCOL. */
int entity_walk(struct entity_walk *w, struct ps_in *value, struct error *err) PK_CHECK;
void entity_walk_free(struct entity_walk *w);

/* ---- places.c: eight bytes for each id, in a nameless file ---- */
#define PLACES_BUFFERED 8192
struct places {
    int fd;
    uint64_t end;   /* ids are below it */
    uint64_t first; /* of what is buffered */
    size_t n;
    uint64_t *buffered;
    const uint8_t *map;
    size_t map_bytes;
};
int places_open(struct places *p, const char *scratch_dir, struct error *err) PK_CHECK;
void places_close(struct places *p);                                                      /* safe on {.fd = -1} */
int places_put(struct places *p, int64_t id, uint64_t value, struct error *err) PK_CHECK; /* value is not 0 */
int places_get(struct places *p, int64_t id, uint64_t *ret, struct error *err) PK_CHECK;  /* 0: not put */
int places_seal(struct places *p, struct error *err) PK_CHECK; /* no more comes: asking gets fast */

/* ---- tally.c ---- */
struct sums_row {
    char *name;
    size_t name_bytes;
    uint64_t count;
    struct hash128 sum;
};
struct sums { /* of names: an open table of rows */
    struct sums_row *of;
    size_t n, cap;
    uint32_t *slots;
    size_t n_slots;
};
void sums_free(struct sums *t);
int sums_add(struct sums *t, struct bytes name, struct hash128 h, struct error *err) PK_CHECK;
bool sums_has(const struct sums *t, struct bytes name);
struct graph_count {
    struct sums labels, types;
    uint64_t nodes, relationships, unlabelled;
    struct hash128 node_sum, relationship_sum, schema_sum;
    uint64_t constraints, indexes;
};
void graph_count_free(struct graph_count *c);
/* A node's record after its id, a relationship's type and properties with what stands for its ends. */
int graph_count_node(struct graph_count *c, struct bytes labels, struct bytes labels_and_properties,
                     uint64_t *ret_stands_for, struct error *err) PK_CHECK;
int graph_count_relationship(struct graph_count *c, struct bytes type, struct bytes type_and_properties, uint64_t start,
                             uint64_t end, struct error *err) PK_CHECK;
int graph_count_json(const struct graph_count *c, json_t *out, struct error *err) PK_CHECK;

/* ---- schema.c: constraints and indexes ---- */
/* {"constraints": [{"name", "kind", "entity", "of": [...], "statement"}], "indexes": [...]}, both by name; indexes that
 * constraints own are left out, and our own. */
int schema_read(struct bolt *b, const char *database, json_t **ret, struct error *err) PK_CHECK;
/* Keeps what is only of labels and types that were counted. */
int schema_narrow(json_t *schema, const struct graph_count *c, struct error *err) PK_CHECK;
int schema_count(const json_t *schema, struct graph_count *c, struct error *err) PK_CHECK; /* look-up indexes apart */
/* Makes what the target lacks. ERR_NEO4J_NOT_EMPTY when it has another of the same name. `which`: "constraints",
 * "indexes". */
int schema_make(struct bolt *b, const char *database, const json_t *wanted, const char *which,
                struct error *err) PK_CHECK;
/* ERR_NEO4J_NOT_EMPTY when the target has what is not wanted, look-up indexes apart. */
int schema_only(struct bolt *b, const char *database, const json_t *wanted, struct error *err) PK_CHECK;
int schema_await(struct bolt *b, const char *database, struct error *err) PK_CHECK;
int schema_drop(struct bolt *b, const char *database, struct error *err) PK_CHECK; /* all but look-up indexes */

/* ---- survey.c: a graph from its first node to its last relationship ---- */
struct survey {
    const struct neo4j_settings *s;
    struct bolt *b;
    bool whole;        /* neither labels nor a query narrow it down */
    bool no_state;     /* pass over what an import left behind */
    struct sink *sink; /* NULL: count only */
    struct item_out out;
    struct graph_count count;
    struct places places, seen; /* what stands for a node; relationships that were had */
    uint64_t bytes, item_bytes, item_records, left_out;
    int64_t last;
    bool ordered;
    struct buf record;
    struct value_sort sort;
    struct entity_walk walk;
    json_t *schema; /* at the end */
};
int survey_open(struct survey *v, const struct neo4j_settings *s, struct bolt *b, struct sink *sink,
                struct error *err) PK_CHECK;
int survey_run(struct survey *v, struct error *err) PK_CHECK;
void survey_close(struct survey *v); /* safe on zeroed with .places.fd and .seen.fd -1 */

/* ---- records.c: the reading of an item ---- */
struct records {
    struct source *src;
    struct source_item *item;
    struct bytes piece;
    struct buf whole; /* a record that is not in one piece */
    uint64_t n;       /* read */
};
int records_find(struct source *src, const char *name, struct source_head *ret, struct error *err) PK_CHECK;
int records_open(struct source *src, const struct source_head *head, struct records *ret, struct error *err) PK_CHECK;
/* The next record's bytes, until the next call. ERR_RESTORE_DIFFERS when the content is none. */
int records_next(struct records *r, struct bytes *ret, bool *ret_end, struct error *err) PK_CHECK;
void records_close(struct records *r); /* safe on zeroed */
int records_schema(struct source *src, json_t **ret, struct error *err) PK_CHECK;

#endif
