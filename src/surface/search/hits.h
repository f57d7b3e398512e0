/* The answer to a search, read as it arrives: its hits one by one, each document's own bytes passed on as they are, and
 * the rest of it as JSON at its end. Nothing of a document is parsed, so numbers and names stay as they were written;
 * only a line break between its tokens becomes a blank, so that a document is one line.
 *
 * Memory does not depend on the size of a document. Pure: no I/O.
 */
#ifndef PK_SURFACE_SEARCH_HITS_H
#define PK_SURFACE_SEARCH_HITS_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/json.h"

#define HITS_TEXT_MAX (4u << 20) /* of an answer without its hits, and of what a hit has beside its document */

struct hit {                  /* slices of the answer: JSON texts without their quotes, as the server writes them */
    struct bytes id, routing; /* routing: empty when it has none */
};
struct hits_events {
    void *ctx;
    int (*begin)(void *ctx, const struct hit *h, struct error *err); /* its document comes next */
    int (*document)(void *ctx, struct bytes piece, struct error *err);
    int (*end)(void *ctx, struct error *err);
};
struct hits {
    const struct hits_events *ev;
    struct buf rest;                    /* the answer without what is in hits.hits */
    struct buf key, value, id, routing; /* of where it stands */
    struct buf sort;                    /* "sort" of the last hit, with its brackets */
    uint64_t count;
    unsigned depth, hits_depth;
    uint8_t kinds[64];       /* '{' or '[' of each open container outside of documents */
    unsigned document_depth; /* in a document: its open containers */
    unsigned value_depth;    /* in a value of a hit that is kept or passed over: its open containers */
    enum { HITS_OUTSIDE, HITS_LIST, HITS_HIT, HITS_VALUE, HITS_DOCUMENT, HITS_OVER } state;
    bool quoted, escaped, is_key, key_ready, has_id, has_routing, has_document, keep;
};
void hits_open(struct hits *h, const struct hits_events *ev);
/* The next bytes of the answer. ERR_SEARCH_PROTOCOL for what is no such answer, or for a hit whose parts come in
 * another order than every known server's; ERR_SEARCH_NO_SOURCE for a hit without a document; or what an event
 * answered. */
int hits_feed(struct hits *h, struct bytes more, struct error *err) PK_CHECK;
/* After the last byte: the rest of the answer, owned by the caller. ERR_SEARCH_PROTOCOL when it is not whole. */
int hits_close(struct hits *h, json_t **ret_rest, struct error *err) PK_CHECK;
void hits_free(struct hits *h); /* safe on zeroed */

/* json_parse for what a cluster says: ERR_SEARCH_PROTOCOL when it is no JSON, as nothing that we keep is damaged. */
int search_answer_parse(struct bytes text, size_t max, const char *what, json_t **ret, struct error *err) PK_CHECK;

#endif
