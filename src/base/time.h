/* Time: UTC, int64_t nanoseconds since 1970 inside, RFC 3339 outside. Through the seam, so tests own the clock. */
#ifndef PK_BASE_TIME_H
#define PK_BASE_TIME_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define NS_PER_S INT64_C(1000000000)

int64_t time_now_ns(void);       /* wall clock */
int64_t time_monotonic_ns(void); /* for durations */
/* "2026-02-16T07:00:00Z"; out has at least 32 bytes. Fractions are dropped. */
void time_format(int64_t ns, char out[32]);
/* "20260216-070000Z" as backup ids want it. */
void time_format_compact(int64_t ns, char out[24]);
/* RFC 3339 with Z or an offset, optional fraction; also a bare date (midnight UTC). False when it is none of these. */
bool time_parse(const char *s, int64_t *ret_ns);
/* "24h", "5m", "30d", "90s", "2w", "1h30m" to nanoseconds; false on anything else, on overflow, and on an empty string. */
bool duration_parse(const char *s, int64_t *ret_ns);
/* "1 h 20 m", "4.2 s", "3 d"; out has at least 32 bytes. */
void duration_format(int64_t ns, char out[32]);
/* "1.5 GiB" */
void size_format(uint64_t bytes, char out[32]);
/* "64MiB", "1GB", "4096"; false on anything else. */
bool size_parse(const char *s, uint64_t *ret_bytes);

#endif
