/* The local driver keeps store.h and its promises. */
#include "store_test.h"
#include <unistd.h>

static int open_local(void *ctx, struct store **ret, struct error *err) {
    return store_open(ctx, true, ret, err);
}

int main(void) {
    char folder[] = "/tmp/pk-conformance-XXXXXX", url[64];
    struct error err = ERROR_INIT;
    if (mkdtemp(folder) == NULL) return 1;
    snprintf(url, sizeof url, "file://%s/new/repository", folder);
    int failed = conformance_run(open_local, url);
    if (io_remove_tree(AT_FDCWD, folder, &err) < 0) fprintf(stderr, "%s\n", err.text);
    return failed;
}
