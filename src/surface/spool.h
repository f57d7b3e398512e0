/* A snapshot that is kept in a folder for a moment: what one driver captures, another restores at once. Items are plain files; nothing of
 * it outlives the spool. */
#ifndef PK_SURFACE_SPOOL_H
#define PK_SURFACE_SPOOL_H

#include "surface/surface.h"

struct spool;
/* In `folder`, which is there, private and empty, and stays. */
int spool_new(const char *folder, struct spool **ret, struct error *err) PK_CHECK;
/* Nothing is known to it. Items may be open in several threads; holes and any order are refused, since dumps have neither. */
struct sink *spool_sink(struct spool *s);
/* What was closed, by seq, once the capture is over; from any thread. Content is held against its SHA-256. */
struct source *spool_source(struct spool *s);
uint64_t spool_bytes(const struct spool *s);
void spool_free(struct spool *s); /* removes the items; NULL is fine */

#endif
