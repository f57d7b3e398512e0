/* proofkeep-docgen KIND: print one of the documents that are made from the tables. 'proofkeep-docgen list' prints a
 * line "KIND PLACE" for each that is kept in the project. */
#include "base/seam.h"
#include "cli/docs.h"

#include <unistd.h>

static int list(struct buf *out, struct error *err) {
    int r = 0;
    for (const struct docs_kind *k = docs_kinds; k->name && r == 0; k++)
        if (k->copy) r = buf_printf(out, err, "%s %s\n", k->name, k->copy);
    return r;
}

static int make(const char *name, struct buf *out, struct error *err) {
    if (strcmp(name, "list") == 0) return list(out, err);
    for (const struct docs_kind *k = docs_kinds; k->name; k++)
        if (strcmp(k->name, name) == 0) return k->make(out, err);
    return error_set(err, ERR_USAGE, "there is no document '%s'", name);
}

int main(int argc, char **argv) {
    struct error err = ERROR_INIT, lost = ERROR_INIT;
    struct buf out = BUF_INIT(DOCS_BYTES_MAX);
    int r = argc == 2 ? make(argv[1], &out, &err) : error_set(&err, ERR_USAGE, "usage: proofkeep-docgen KIND");
    if (r == 0) r = io_write_full(STDOUT_FILENO, out.ptr, out.len, "standard output", &err);
    buf_free(&out);
    if (r == 0) return EXIT_OK;
    (void)!io_write_full(STDERR_FILENO, err.text, strlen(err.text), "standard error", &lost);
    (void)!io_write_full(STDERR_FILENO, "\n", 1, "standard error", &lost);
    return error_info(r)->status;
}
