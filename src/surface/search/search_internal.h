/* The driver for OpenSearch and Elasticsearch: settings, requests, reading and writing of documents and definitions.
 *
 * Invariants of the driver
 *  1. A capture changes nothing in the cluster but for refreshing the indices it reads.
 *  2. A document's own bytes are never parsed and written again (hits.h).
 *  3. A page that is not whole ends the capture: it timed out, a shard failed, or the totals differ. It is never asked
 * for again, since the next request goes on after it; and no next one is asked for before it was judged.
 *  4. An index that a restore makes carries a mark until it is whole and compared; a live index is removed only when
 *     all of its documents stand under another name in the same cluster.
 *  5. A password is in this process's memory and on its way to the cluster; nowhere else. No text of a document, and no
 * id, is in a message, in facts or in an invariant.
 */
#ifndef PK_SURFACE_SEARCH_INTERNAL_H
#define PK_SURFACE_SEARCH_INTERNAL_H

#include "base/http.h"
#include "base/mix.h"
#include "surface/item_out.h"
#include "surface/search/hits.h"
#include "surface/surface.h"

#define SEARCH_ANSWER_MAX (64u << 20) /* definitions and lists */

/* ---- settings.c ---- */
struct search_settings {
    const struct surface_context *ctx;
    char *url;                                    /* without a slash at its end */
    char *ca, *distribution, *java_home, *run_as; /* may be NULL */
    char *certificate;                            /* that we show; NULL: none */
    struct secret *key;                           /* its key */
    const json_t *indices, *exclude, *facets;     /* borrowed; NULL when not set */
    struct buf authorization;                     /* a header line; empty: none */
    bool scratch;
};
/* scratch: connection facts of a scratch instance, or NULL. url NULL: that of the settings. */
int search_settings_load(const struct surface_context *ctx, const json_t *scratch, const char *url,
                         struct search_settings **ret, struct error *err) PK_CHECK;
void search_settings_free(struct search_settings *s);
void search_settings_freep(struct search_settings **s);
void search_note(const struct search_settings *s, enum note_kind kind, const char *name, const char *text);
void search_progress(const struct search_settings *s, const char *phase, uint64_t bytes, uint64_t items);

/* ---- client.c ---- */
struct search_client { /* any thread may use one */
    const struct search_settings *s;
    struct http *http;
    bool opensearch;
    char version[32]; /* "2.19.6" */
    unsigned major, minor;
};
/* Asks the cluster what it is. ERR_SEARCH_AUTH, ERR_SEARCH_PROTOCOL, or of the network. */
int search_open(const struct search_settings *s, struct search_client *ret, struct error *err) PK_CHECK;
void search_close(struct search_client *c); /* safe on zeroed */
struct search_request {
    const char *method; /* GET, HEAD, PUT, POST, DELETE */
    const char *path;   /* with its query, escaped; "/_cat/indices" */
    const struct bytes *body;
    size_t body_count;
    bool lines;                                                    /* the body is newline-delimited */
    int (*take)(void *ctx, struct bytes piece, struct error *err); /* a 2xx answer, as it arrives */
    void *take_ctx;
    struct buf *text;          /* any other answer; may be NULL */
    int64_t timeout_ms;        /* 0: none but the stall's */
    const atomic_bool *cancel; /* given up once it is true; may be NULL */
    int *ret_wait_ms;          /* how long the answer asks to be left alone; may be NULL */
};
/* What is asked for again when the cluster has no room for it: so often, for about four minutes in all, or half an hour
 * where each answer asks for a minute. */
#define SEARCH_BUSY_TRIES 30u
/* Whether a refusal says that nothing of the request was begun, whatever it is: the heap was too full to look at it. */
bool search_untouched(int status, struct bytes text);
/* Before try `failed` + 1 of what was refused so. */
int search_busy_wait(unsigned failed, int wait_ms, const atomic_bool *cancel, struct error *err) PK_CHECK;
/* One request, whatever its status. */
int search_send(const struct search_client *c, const struct search_request *q, int *ret_status,
                struct error *err) PK_CHECK;
/* The error that an answer stands for: ERR_SEARCH_AUTH, _DENIED, _BUSY, _REPLY with the cluster's type and, where that
 * cannot hold payload, its reason. what: "create the index x". */
int search_refused(const struct search_client *c, int status, struct bytes text, bool with_reason, const char *what,
                   struct error *err) PK_CHECK;
/* JSON to JSON; *ret (may be NULL) is owned by the caller. A status that is not 2xx is an error, but for `missing`,
 * which when it is not NULL is set for 404 and for endpoints that the cluster does not have (400, 405): *ret is then
 * NULL. */
int search_ask(const struct search_client *c, const char *method, const char *path, const json_t *body, json_t **ret,
               bool *missing, const char *what, struct error *err) PK_CHECK;
/* "/<index>/<rest>" with the index's name escaped. */
int search_path(struct buf *out, const char *before, const char *name, const char *after, struct error *err) PK_CHECK;

/* ---- select.c ---- */
bool search_like(const char *pattern, const char *name); /* `*` stands for anything */
bool search_takes_name(const struct search_settings *s, const char *name);
bool search_takes_index(const char *const *include,
                        const char *name); /* of a restore: "index/NAME" or "NAME", with `*` */
bool search_takes_backing(const char *const *include, const char *name,
                          const char *stream); /* … or the data stream that it is part of, which may be NULL */
bool search_takes_section(const char *const *include, const char *section, bool by_default);
int search_include_check(const char *const *include, struct error *err) PK_CHECK;

/* ---- indices.c: which there are, and how one is defined ---- */
struct search_index {
    char *name;
    char *stream;       /* the data stream that it is part of; may be NULL */
    json_t *definition; /* {"aliases", "mappings", "settings"}, as it is */
    unsigned primaries;
    uint64_t documents; /* what the reading found */
    struct hash128 sum;
    bool open;
};
struct search_indices {
    struct search_index *of; /* in the order of item names */
    size_t n, cap;
    json_t *left_out; /* names that the settings' rule leaves out */
};
int search_indices_list(const struct search_client *c, struct search_indices *ret, struct error *err) PK_CHECK;
void search_indices_free(struct search_indices *l);
/* {"aliases", "mappings", "settings": {"index.…": "…"}} with flat settings. *missing when there is none. */
int search_index_get(const struct search_client *c, const char *name, json_t **ret, bool *missing,
                     struct error *err) PK_CHECK;
/* ERR_SEARCH_NO_SOURCE when its documents cannot be had as they came. */
int search_index_check(const struct search_index *x, struct error *err) PK_CHECK;
/* The highest sequence number of each primary shard, summed over all indices: it moves with every write. */
int search_writes(const struct search_client *c, const struct search_indices *l, uint64_t *ret, bool *ret_known,
                  struct error *err) PK_CHECK;
int search_refresh(const struct search_client *c, const char *name, struct error *err) PK_CHECK;
int search_count(const struct search_client *c, const char *name, uint64_t *ret, struct error *err) PK_CHECK;

/* ---- read.c, page.c, lanes.c: all documents of an index ---- */
/* A page's documents are in the cluster's memory at once, not in ours: so many, or so many bytes, whichever is less. */
#define SEARCH_KEEP "10m" /* that the cluster keeps what is frozen after each request for it */
#define SEARCH_PAGE_DOCUMENTS 8000u
#define SEARCH_PAGE_BYTES (5u << 20)
#define SEARCH_PAGE_BYTES_MIN (64u << 10) /* of a cluster that has no room for more */
#define SEARCH_FROZEN_MAX 200u /* shards frozen at once; a node keeps some hundreds */
#define SEARCH_LANES_MAX 4u    /* pages asked for at once */
enum search_way { SEARCH_PIT_SHARD_DOC, SEARCH_PIT_DOC, SEARCH_SCROLL };
struct search_reader {
    const struct search_client *c;
    const char *index;
    enum search_way way;
    struct buf *frozen; /* ids of what is open, as JSON has them, without quotes: one point in time of all shards or one
                           each, or one scroll */
    size_t n_frozen;
    uint64_t total;   /* what there is, when it could be asked beforehand; or what the pages said */
    uint64_t about;   /* documents, as the cluster counts; 0: unknown */
    uint64_t numbers; /* sequence numbers given out, of the shard with most; 0: unknown */
    uint64_t page;    /* documents asked for at once, to begin with */
    uint64_t page_bytes; /* that a page should have */
    int64_t kept_ns;  /* when the cluster was last asked to keep all of it */
};
/* Freezes what will be read, by points in time where there are any. At most `shards` of them are opened for shards. */
int search_reader_open(const struct search_client *c, const char *index, unsigned primaries, unsigned shards,
                       struct search_reader *ret, struct error *err) PK_CHECK;
/* All of them, in parts read by several requests at a time; events come one by one, in no order. Count and total are
 * compared. ERR_SEARCH_PARTIAL. */
int search_reader_run(struct search_reader *r, const struct hits_events *ev, struct error *err) PK_CHECK;
/* Asks the cluster to keep what is frozen, when it did not for a while: parts of it, or all, may wait long for their
 * turn. Of the thread that runs the reader. */
int search_reader_keep(struct search_reader *r, struct error *err) PK_CHECK;
void search_reader_close(struct search_reader *r); /* safe on zeroed */
const char *search_way_name(enum search_way w);

struct search_walk { /* a part of what is frozen, page after page: a shard, or a range of its sequence numbers */
    struct search_reader *r;
    struct buf *frozen;
    uint64_t from, to; /* of sequence numbers, to excluded; 0: no end on this side */
    struct buf after;  /* "sort" of the last document that came */
    uint64_t total, seen, page, page_bytes;
    bool begun, over;
};
/* The request for the next page. */
int search_page_request(struct search_walk *w, struct buf *path, struct buf *body, struct error *err) PK_CHECK;
/* A page was refused for want of room: it, and those that follow, are to be smaller. */
void search_page_shrink(struct search_walk *w);
/* Judges a page that has come whole, and moves on. ERR_SEARCH_PARTIAL. */
int search_page_take(struct search_walk *w, struct hits *h, uint64_t bytes, struct error *err) PK_CHECK;
/* Keeps an answer's id of a point in time or a scroll. */
int search_keep_id(struct buf *id, const char *index, const json_t *answer, const char *key,
                   struct error *err) PK_CHECK;
/* Walks them all, some at a time. */
int search_lanes_run(struct search_walk *walks, size_t n, const struct hits_events *ev, struct error *err) PK_CHECK;

/* ---- documents.c: the content of "index/<name>/documents", and its digest ---- */
struct search_digest { /* of one document */
    struct mix mix;
};
void search_digest_begin(struct search_digest *d, struct bytes id, struct bytes routing);
/* Counts and digests what a reader passes; for measure and for the comparison after a restore. */
struct search_tally {
    struct search_digest one;
    uint64_t documents, bytes;
    struct hash128 sum;
};
int search_tally_run(const struct search_client *c, const char *index, unsigned primaries, struct search_tally *ret,
                     struct error *err) PK_CHECK;
/* One line of the content at a time. */
struct search_lines {
    struct source *src;
    struct source_item *item;
    struct bytes piece;
};
int search_lines_open(struct source *src, const char *index, struct search_lines *ret, bool *ret_there,
                      struct error *err) PK_CHECK;
/* The next document's two lines appended to out, each with its newline; *ret_end when there is no other. */
int search_lines_next(struct search_lines *l, struct buf *out, bool *ret_end, struct error *err) PK_CHECK;
void search_lines_close(struct search_lines *l);
/* The content of one small item; nothing when there is none. */
int search_item_read(struct source *src, const char *name, struct buf *out, bool *ret_there,
                     struct error *err) PK_CHECK;

/* ---- definitions.c: what the cluster has beside its indices ---- */
struct search_section {
    const char *name; /* "pipelines": the item is cluster/pipelines */
    int (*get)(const struct search_client *c, json_t **ret, struct error *err);
    const char *path; /* to put one: before its name */
    const char *wrap; /* the key that one is put under; NULL: as it is */
    bool apart;       /* not put, and no invariant: stream.c makes data streams, whose indices get names of their own */
};
/* In the order in which they are put, NULL-named at the end. */
extern const struct search_section search_sections[];
/* {name: body} of all that are not the product's own; NULL when the cluster has no such thing. */
int search_section_get(const struct search_client *c, const struct search_section *x, json_t **ret,
                       struct error *err) PK_CHECK;
/* Puts them. Those that are there and alike stay; those that are there and other are ERR_SEARCH_EXISTS unless
 * `replace`. */
int search_section_put(const struct search_client *c, const struct search_section *x, const json_t *bodies,
                       bool replace, uint64_t *ret_put, struct error *err) PK_CHECK;

/* ---- facet.c ---- */
/* Of one index: "facet/<name>" for each that the settings declare of it, into out. `as` is where it is now. */
int search_facets(const struct search_client *c, const char *index, const char *as, const struct search_reader *r,
                  json_t *out, struct error *err) PK_CHECK;
int search_facets_check(const struct search_settings *s, const struct search_indices *l, struct error *err) PK_CHECK;

/* ---- facts.c ---- */
int search_facts(const struct search_client *c, json_t *facts, struct error *err) PK_CHECK;
/* Names what these facts have that no backup has. */
void search_say_missing(const struct search_settings *s, const json_t *facts);
int search_invariant(json_t *out, const char *name, json_t *value, struct error *err) PK_CHECK;
int search_invariants_index(const char *index, uint64_t documents, struct hash128 sum, json_t *out,
                            struct error *err) PK_CHECK;
int search_invariants_section(const char *section, const json_t *bodies, json_t *out, struct error *err) PK_CHECK;

/* ---- target.c ---- */
struct search_target {
    char *url;         /* NULL: that of the settings */
    char pattern[300]; /* of the new names, with one `*`, or one name */
    bool live;         /* in place of the indices themselves */
    bool swap;
};
int search_target_decide(const struct restore_request *q, struct search_target *ret, struct error *err) PK_CHECK;
void search_target_free(struct search_target *t);
/* The new name of an index. ERR_USAGE when it cannot be one. */
int search_target_name(const struct search_target *t, const char *index, char out[256], struct error *err) PK_CHECK;

/* ---- items.c: what a capture of either method writes ---- */
struct search_items {
    struct sink *sink;
    uint64_t seq, items, bytes; /* of the next item; written so far */
};
int search_items_open(struct search_items *w, const char *name, struct item_out *o, struct error *err) PK_CHECK;
int search_items_close(struct search_items *w, struct item_out *o, json_t *attr,
                       struct error *err) PK_CHECK; /* takes attr over */
/* The definition of an index. */
int search_items_index(struct search_items *w, const struct search_index *x, struct error *err) PK_CHECK;
/* The cluster's definitions, section by section, and their invariants. */
int search_items_sections(struct search_items *w, const struct search_client *c, json_t *invariants,
                          struct error *err) PK_CHECK;

/* ---- bulk.c ---- */
/* All documents of an item into an index: in several requests at a time, every item of every answer checked. */
int search_bulk(const struct search_client *c, struct source *src, const char *item, const char *index,
                bool create_only, uint64_t *ret_documents, uint64_t *ret_bytes, struct error *err) PK_CHECK;

/* ---- restore.c, build.c, stream.c, swap.c ---- */
struct search_restoring {
    const struct search_client *c;
    struct source *src;
    const struct restore_request *q;
    const struct search_target *t;
    json_t *done;
    uint64_t documents, bytes, definitions;
    size_t in_streams; /* indices that are left to search_restore_streams */
};
/* The result of a restore. from: where the documents came from; NULL is no matter. */
int search_restored(const struct search_restoring *w, const char *from, struct restore_result *ret,
                    struct error *err) PK_CHECK;
int search_put(const struct search_client *c, const char *index, const char *after, json_t *body, const char *what,
               struct error *err) PK_CHECK; /* takes body over; NULL is no memory */
int search_index_delete(const struct search_client *c, const char *index, struct error *err) PK_CHECK;
/* An invariant of an index: "documents", "digest"; borrowed. */
const json_t *search_expected(const struct search_restoring *w, const char *index, const char *what);
/* The documents that are there with those of the backup. ERR_RESTORE_DIFFERS. */
int search_compare(struct search_restoring *w, const char *index, const char *name, unsigned primaries,
                   struct error *err) PK_CHECK;
/* Whether a run of the same restore made it and did not come to its end. */
bool search_is_half_made(const struct search_restoring *w, const json_t *there);
/* The documents of `index` sent to `as`, where they come to be in the index `name`; then they are compared. */
int search_fill(struct search_restoring *w, const char *index, const char *name, const char *as, bool create_only,
                unsigned primaries, struct error *err) PK_CHECK;
/* Makes an index whole. later: what it is set to then (NULL: it stays as it was filled). aliases: may be NULL. */
int search_build(struct search_restoring *w, const char *index, const char *name, const json_t *definition,
                 const json_t *now, const json_t *later, const json_t *aliases, unsigned primaries, bool *ret_there,
                 struct error *err) PK_CHECK;
/* `later` but for blocks. */
int search_set_later(struct search_restoring *w, const char *name, const json_t *later, struct error *err) PK_CHECK;
/* Data streams in place of those that are live. */
int search_restore_streams(struct search_restoring *w, struct error *err) PK_CHECK;
/* The definition of an index of the snapshot. */
int search_definition_read(struct source *src, const char *index, json_t **ret, unsigned *ret_primaries,
                           struct error *err) PK_CHECK;
/* The definitions that are asked for; the last part of a restore, so that templates do not meddle with indices. */
int search_sections_restore(const struct search_client *c, struct source *src, const struct restore_request *q,
                            bool live, uint64_t *ret_put, struct error *err) PK_CHECK;
/* What an index is made with (`now`) and what is set when it is full (`later`), from its definition in the backup. Both
 * owned. */
int search_plan_settings(const json_t *definition, bool live, json_t **ret_now, json_t **ret_later,
                         struct error *err) PK_CHECK;
int search_wait_healthy(const struct search_client *c, const char *index, struct error *err) PK_CHECK;
/* Puts a whole index under a live one's name; the built one goes last. Goes on where a former run ended. */
int search_put_in_place(const struct search_client *c, const char *built, const char *live, const json_t *definition,
                        struct error *err) PK_CHECK;
/* One action of _aliases, at the end of the list: the alias as the definition of an index has it. */
int search_alias_add(json_t *actions, const char *index, const char *alias, const json_t *as,
                     struct error *err) PK_CHECK;
/* Moves the aliases of the backup from the live index to the restored one, at once. */
int search_swap_aliases(const struct search_client *c, const char *built, const char *live, const json_t *definition,
                        struct error *err) PK_CHECK;

/* ---- the driver's functions ---- */
int search_probe(const struct surface_context *, json_t **ret, struct error *) PK_CHECK;
int search_capture(const struct surface_context *, struct sink *, struct capture_result *, struct error *) PK_CHECK;
int search_plan(const struct surface_context *, const struct restore_request *, json_t **, struct error *) PK_CHECK;
int search_wants(const struct surface_context *, struct source *, const struct restore_request *,
                 int (*cb)(void *ctx, const struct source_head *, struct error *), void *ctx, struct error *) PK_CHECK;
int search_restore(const struct surface_context *, struct source *, const struct restore_request *,
                   struct restore_result *, struct error *) PK_CHECK;
int search_scratch_start(const struct surface_context *, const json_t *facts, json_t **ret, struct error *) PK_CHECK;
void search_scratch_stop(const struct surface_context *, json_t *scratch);
int search_measure(const struct surface_context *, const json_t *scratch, const json_t *facts, json_t **,
                   struct error *) PK_CHECK;
int search_describe(struct bytes name, struct bytes attr, json_t **ret, struct error *) PK_CHECK;
int search_export_tree(const struct surface_context *, struct source *, int dirfd, struct error *) PK_CHECK;

#endif
