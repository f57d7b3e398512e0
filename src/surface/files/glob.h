/* Patterns over names: '?' one byte, '*' any run of bytes, '[abc]' '[a-z]' '[!…]' one of them, none of these crossing a
 * '/';
 * '**' any run of bytes, with a following '/' also nothing ("a/<**>/b" matches "a/b"); a backslash takes the next byte
 * as it is. Bytes, not characters. No recursion, no memory; time at worst pattern * name squared. A malformed set
 * ("[a") is matched as the bytes that it is. */
#ifndef PK_SURFACE_FILES_GLOB_H
#define PK_SURFACE_FILES_GLOB_H

#include "base/bytes.h"

#define GLOB_BYTES_MAX 4096 /* longer patterns are refused where settings and requests are read */

bool glob_match(struct bytes pattern, struct bytes name);
bool glob_is_plain(struct bytes pattern); /* has none of the characters above */

#endif
