/* JSON: an error with its place, or a document that is written and read again the same. First byte: 0 the rest is a
 * document, 1 a name to be made into one. */
#include "base/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds) {
    if (!holds) abort();
}

typedef int (*json_writer)(const json_t *j, struct buf *out, struct error *err);

static void again(const json_t *j, json_writer write) {
    struct error err = ERROR_INIT;
    struct buf one = BUF_INIT(64u << 20), two = BUF_INIT(64u << 20);
    json_t *back = NULL;
    need(write(j, &one, &err) == 0);
    need(json_parse(buf_bytes(&one), one.max_bytes, "written", &back, &err) == 0);
    need(json_equal(j, back));
    need(write(back, &two, &err) == 0);
    need(one.len == two.len && memcmp(one.ptr, two.ptr, one.len) == 0);
    json_decref(back);
    buf_free(&one);
    buf_free(&two);
}

/* The wrong type is refused by name, and each value has one. */
static void getters(const json_t *o) {
    const char *key, *text;
    json_t *v, *part;
    int64_t number;
    json_object_foreach((json_t *)o, key, v) {
        struct error err = ERROR_INIT;
        int kinds = 0;
        kinds += json_need_str(o, key, "fuzz", &text, &err) == 0;
        kinds += json_need_int(o, key, "fuzz", &number, &err) == 0;
        kinds += json_need_object(o, key, "fuzz", &part, &err) == 0;
        kinds += json_need_array(o, key, "fuzz", &part, &err) == 0;
        need(kinds == (json_is_string(v) || json_is_integer(v) || json_is_object(v) || json_is_array(v)));
        need(err.code == ERR_JSON && strncmp(err.text, "fuzz: '", 7) == 0);
    }
}

static void document(struct bytes in) {
    struct error err = ERROR_INIT;
    json_t *j = NULL;
    int rc = json_parse(in, JSON_MAX_BYTES, "fuzz", &j, &err);
    if (rc < 0) {
        need(rc == -ERR_JSON && j == NULL);
        need(strncmp(err.text, "fuzz: line ", 11) == 0 || (in.len > JSON_MAX_BYTES && strstr(err.text, "more than")));
        return;
    }
    need(json_is_object(j) || json_is_array(j));
    again(j, json_write);
    again(j, json_write_pretty);
    if (json_is_object(j)) getters(j);
    json_decref(j);
}

static int hex_value(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Taken back, the escapes give the bytes of the name. */
static void name(struct bytes in) {
    json_t *j = json_name(in);
    need(json_is_string(j));
    const char *text = json_string_value(j);
    size_t at = 0;
    for (; *text; at++) {
        int c = (uint8_t)*text++;
        need(c >= 0x20 && c != 0x7f);
        if (c == '%') {
            need(hex_value(text[0]) >= 0 && hex_value(text[1]) >= 0);
            c = hex_value(text[0]) * 16 + hex_value(text[1]);
            text += 2;
        }
        need(at < in.len && in.ptr[at] == c);
    }
    need(at == in.len);
    json_t *list = json_array();
    need(list && json_array_append(list, j) == 0);
    again(list, json_write); /* jansson refuses what is not UTF-8 */
    json_decref(list);
    json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    struct bytes in = BYTES_OF(data + 1, size - 1);
    if (data[0] == 0)
        document(in);
    else
        name(in);
    return 0;
}
