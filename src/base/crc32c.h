/* CRC-32C (Castagnoli), as PostgreSQL's backup manifests have it. Source: RFC 3720, appendix B.4; for the way of three
 * runs at once, Gopal and others, "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction" (Intel, 2011). */
#ifndef PK_BASE_CRC32C_H
#define PK_BASE_CRC32C_H

#include "base/bytes.h"

/* Of what `before` is of, followed by the bytes; of nothing it is 0. Any thread. */
uint32_t crc32c(uint32_t before, struct bytes in);
uint32_t crc32c_plain(uint32_t before, struct bytes in); /* the same by tables, as on a CPU without the instruction */

#endif
