/* Change sets, as anyone may hand them in. First byte 0: the rest is the file. Else: the rest is all but its end, which
 * is put there as it must be, so that what stands before it is looked at. What is refused has its own code and names
 * its line; of what is taken, the calls add up to what the end says, and every value is a text or null. */
#include "base/seam.h"
#include "surface/change_set.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    size_t heads, tables, rows, ends;
};

static int head(void *ctx, const json_t *line, struct error *err) {
    struct seen *s = ctx;
    (void)line, (void)err;
    if (s->heads++ || s->tables || s->rows) abort();
    return 0;
}

static int table(void *ctx, size_t number, const json_t *line, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    if (number != s->tables++ || s->rows || s->ends || !json_is_array(json_object_get(line, "columns"))) abort();
    return 0;
}

static void values(const json_t *list) {
    json_t *v;
    size_t i;
    json_array_foreach(list, i, v) {
        struct error err = ERROR_INIT;
        struct buf out = BUF_INIT(1 << 20);
        bool null = false;
        int rc = change_set_value(v, &null, &out, &err);
        if (rc != 0 && rc != -ERR_CHANGE_SET && rc != -ERR_NO_MEMORY) abort();
        if (null && out.len) abort();
        buf_free(&out);
    }
}

static int row(void *ctx, size_t number, enum change_row kind, const json_t *line, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    if (number >= s->tables || s->ends || kind > CHANGE_ROW_ADDED) abort();
    s->rows++;
    values(json_object_get(line, "then"));
    values(json_object_get(line, "now"));
    values(json_object_get(line, "key"));
    return 0;
}

static int end(void *ctx, const json_t *line, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    if (s->ends++ || s->heads != 1 || json_integer_value(json_object_get(line, "rows")) != (json_int_t)s->rows) abort();
    return 0;
}

static size_t rows_of(struct bytes text) {
    static const char mark[] = "\"line\":\"row\"";
    size_t n = 0;
    for (uint8_t *p = (uint8_t *)text.ptr, *stop = p + text.len;
         (p = memmem(p, (size_t)(stop - p), mark, sizeof mark - 1)); p++)
        n++;
    return n;
}

static void put(int fd, const void *p, size_t n) {
    if (write(fd, p, n) != (ssize_t)n) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct change_set_reader reader = {head, table, row, end};
    struct seen s = {0};
    struct error err = ERROR_INIT;
    if (size < 1 || size > 1u << 18) return 0;
    struct bytes in = BYTES_OF(data + 1, size - 1);
    int fd = memfd_create("change-set", MFD_CLOEXEC);
    if (fd < 0) abort();
    put(fd, in.ptr, in.len);
    if (data[0]) {
        struct digest d;
        char line[200], hex[65];
        sha256(in, &d);
        hex_encode(d.b, sizeof d.b, hex);
        put(fd, line,
            (size_t)snprintf(line, sizeof line, "{\"line\":\"end\",\"rows\":%zu,\"sha256\":\"%s\"}\n", rows_of(in),
                             hex));
    }
    int rc = change_set_read(fd, &reader, &s, &err);
    if (rc != 0 && rc != -ERR_CHANGE_SET) abort();
    if ((rc == 0) != (s.ends == 1) || (rc != 0 && !strstr(err.text, "of the change set"))) abort();
    close(fd);
    return 0;
}
