#include "work/counted.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *counted(uint64_t n, const char *noun, char out[COUNTED_BYTES]) {
    size_t len = strlen(noun);
    /* "entry" becomes "entries", "key" becomes "keys" */
    bool y = len > 1 && noun[len - 1] == 'y' && !strchr("aeiou", noun[len - 2]);
    if (n == 1)
        snprintf(out, COUNTED_BYTES, "1 %s", noun);
    else
        snprintf(out, COUNTED_BYTES, "%llu %.*s%s", (unsigned long long)n, (int)(y ? len - 1 : len), noun,
                 y ? "ies" : "s");
    return out;
}
