/* A scratch folder for a test, below TMPDIR. Aborts when it cannot be had. */
#ifndef PK_TEST_HARNESS_SCRATCH_H
#define PK_TEST_HARNESS_SCRATCH_H

#include <stddef.h>

#define SCRATCH_PATH_MAX 4096

struct scratch {
    char path[SCRATCH_PATH_MAX];
};
void scratch_make(struct scratch *s);
void scratch_remove(struct scratch *s);
/* "<scratch>/<name>" in a buffer of the scratch's own module; eight stay valid at once. */
const char *scratch_path(const struct scratch *s, const char *name);
/* Whole files by plain calls, past the seam. scratch_read ends the text with a NUL and answers -1 when there is none.
 */
void scratch_write(const struct scratch *s, const char *name, const void *p, size_t n);
long scratch_read(const struct scratch *s, const char *name, void *p, size_t cap);

#endif
