/* The S3 driver keeps store.h and its promises on the server that S3_URL names; test/store/s3.sh starts one. */
#include "store_test.h"
#include <unistd.h>

static int open_s3(void *ctx, struct store **ret, struct error *err) {
    return store_open(ctx, true, ret, err);
}

int main(void) {
    char *url = getenv("S3_URL");
    if (!url) {
        puts("1..0 # SKIP S3_URL names no server");
        return 0;
    }
    return conformance_run(open_s3, url);
}
