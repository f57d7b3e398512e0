/* A recovery kit as somebody typed it: an error that names a line, or a kit that is written again as it was read. */
#include "crypto/kit.h"
#include "repo_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct paper_kit *k) {
    struct bytes b = secret_bytes(k->secret);
    struct buf text = BUF_INIT(8192);
    struct error err = ERROR_INIT;
    struct paper_kit got = {0};
    need(b.len == KEY_BYTES + k->slot_bytes && k->slot_bytes <= KIT_BYTES_MAX);
    need(kit_write(KIT_KEY, BYTES_OF(b.ptr, KEY_BYTES), &text, &err) == 0);
    need(kit_write(KIT_SLOT, BYTES_OF(b.ptr + KEY_BYTES, k->slot_bytes), &text, &err) == 0);
    need(kit_read(buf_bytes(&text), &got, &err) == 0);
    need(bytes_equal(secret_bytes(got.secret), b));
    secret_free(got.secret);
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct paper_kit k = {0};
    int rc = kit_read(BYTES_OF(data, size), &k, &err);
    need(rc == 0 || rc == -ERR_KIT);
    if (rc == 0) again(&k);
    need((rc == 0) == (k.secret != NULL));
    secret_free(k.secret);
    return 0;
}
