/* "1 item", "2 items", "3 entries": numbers with their noun. */
#ifndef PK_WORK_COUNTED_H
#define PK_WORK_COUNTED_H

#include <stdint.h>

#define COUNTED_BYTES 64
const char *counted(uint64_t n, const char *noun, char out[COUNTED_BYTES]); /* answers out */
/* Good until the end of the block that it stands in. */
#define COUNTED(n, noun) counted((n), (noun), (char[COUNTED_BYTES]){0})

#endif
