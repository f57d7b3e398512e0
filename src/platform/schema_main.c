/* schema_gen json|markdown: prints what the table of the configuration makes. The build's tool, never installed. */
#include "base/seam.h"
#include "platform/schema.h"

#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct error err = ERROR_INIT;
    CLEANUP(buf_free) struct buf out = BUF_INIT(1 << 20);
    int rc;
    if (argc == 2 && strcmp(argv[1], "json") == 0)
        rc = schema_write_json(&out, &err);
    else if (argc == 2 && strcmp(argv[1], "markdown") == 0)
        rc = schema_write_markdown(&out, &err);
    else
        rc = error_set(&err, ERR_USAGE, "usage: schema_gen json|markdown");
    if (rc == 0) rc = io_write_full(STDOUT_FILENO, out.ptr, out.len, "standard output", &err);
    if (rc == 0) return 0;
    fprintf(stderr, "%s\n", err.text);
    return (int)error_info(rc)->status;
}
