/* Patterns over names: the first line is the pattern, the rest the name. A name matches itself, taken literally. */
#include "surface/files/glob.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > GLOB_BYTES_MAX) return 0;
    const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
    struct bytes pattern = BYTES_OF(data, line ? (size_t)(line - data) : size);
    struct bytes name = line ? BYTES_OF(line + 1, size - pattern.len - 1) : (struct bytes){0};
    bool hit = glob_match(pattern, name);
    if (glob_is_plain(pattern) && hit != bytes_equal(pattern, name)) abort();
    if (glob_is_plain(name) && !glob_match(name, name)) abort();
    return 0;
}
