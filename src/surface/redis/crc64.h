/* CRC-64 as RDB files and DUMP payloads carry it: Jones' polynomial 0xad93d23594c935a9, reflected, starting at 0,
 * without a final inversion. Of "123456789" it is 0xe9c6d914c4b8d9ca. */
#ifndef PK_SURFACE_REDIS_CRC64_H
#define PK_SURFACE_REDIS_CRC64_H

#include "base/bytes.h"

uint64_t redis_crc64(uint64_t crc, struct bytes more); /* any thread */

#endif
