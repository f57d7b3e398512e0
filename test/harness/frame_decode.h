/* One frame opened, decoded and held against the ids of its chunks, as a check does it with many. */
#ifndef PK_TEST_FRAME_DECODE_H
#define PK_TEST_FRAME_DECODE_H

#include "repo/repo_internal.h"

static inline int frame_decode(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec,
                               struct bytes sealed_in, struct bytes base, uint8_t *plain, struct error *err) {
    bool good;
    int rc = frame_open(r, in, ordinal, codec, sealed_in, base, plain, err);
    if (rc == 0) rc = frames_hold(r, in, &ordinal, &plain, 1, &good, err);
    if (rc == 0 && !good)
        rc = error_set(err, ERR_OBJECT_CORRUPT, "a chunk of frame %u is not what its id says", ordinal);
    return rc;
}

#endif
