#include "crypto/parts.h"
#include "crypto/sha256_x2.h"

#define AT_ONCE 16u

void parts_update(struct sha256_state *s, struct bytes in, struct digest *ret) {
    while (in.len > 0) {
        struct bytes part[AT_ONCE];
        struct digest sha[AT_ONCE];
        size_t n = 0;
        for (; n < AT_ONCE && in.len > 0; n++) {
            part[n] = BYTES_OF(in.ptr, in.len < PART_BYTES ? in.len : PART_BYTES);
            in = BYTES_OF(in.ptr + part[n].len, in.len - part[n].len);
        }
        sha256_many(part, sha, n);
        for (size_t i = 0; i < n; i++) {
            sha256_update(s, BYTES_OF(sha[i].b, sizeof sha[i].b));
            if (ret) *ret++ = sha[i];
        }
    }
}
