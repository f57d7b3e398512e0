/* PackStream, Bolt and what is made of a graph's values, against a server that is a script. Real ones are in
 * test/e2e/neo4j_online.sh. */
#include "harness/claims.h"
#include "harness/fault.h"
#include "harness/scratch.h"
#include "surface/fake_sink.h"
#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct error err;

static struct bytes packed(struct buf *b, const char *hex) {
    uint8_t raw[256];
    size_t n = strlen(hex) / 2;
    assert_true(n <= sizeof raw && hex_decode(hex, 2 * n, raw, n));
    buf_clear(b);
    claim_ok(buf_append(b, raw, n, &err), err);
    return buf_bytes(b);
}

/* ---- PackStream ---- */
static void numbers_take_the_shortest_form_and_come_back(void **state) {
    static const struct {
        int64_t v;
        const char *hex;
    } rows[] = {{0, "00"},
                {-16, "f0"},
                {127, "7f"},
                {-17, "c8ef"},
                {-128, "c880"},
                {128, "c90080"},
                {-129, "c9ff7f"},
                {32768, "ca00008000"},
                {-32769, "caffff7fff"},
                {INT32_MAX, "ca7fffffff"},
                {INT64_C(2147483648), "cb0000000080000000"},
                {INT64_MIN, "cb8000000000000000"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(buf_free) struct buf b = BUF_INIT(64);
        struct ps_value v;
        char hex[32];
        claim_ok(ps_put_int(&b, rows[i].v, &err), err);
        hex_encode(b.ptr, b.len, hex);
        assert_string_equal(hex, rows[i].hex);
        struct ps_in in = ps_of(buf_bytes(&b));
        claim_ok(ps_need(&in, PACK_INT, "n", &v, &err), err);
        assert_true(v.number == rows[i].v && in.at == in.end);
    }
}

static void texts_and_heads_of_every_width_come_back(void **state) {
    static const size_t lengths[] = {0, 15, 16, 255, 256, 65535, 65536};
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
        struct ps_value v;
        uint8_t *text = calloc(1, lengths[i] + 1);
        memset(text, 'x', lengths[i]);
        claim_ok(ps_put_text(&b, BYTES_OF(text, lengths[i]), &err), err);
        claim_ok(ps_put_bytes(&b, BYTES_OF(text, lengths[i]), &err), err);
        claim_ok(ps_put_list(&b, 0, &err), err);
        struct ps_in in = ps_of(buf_bytes(&b));
        claim_ok(ps_need(&in, PACK_TEXT, "t", &v, &err), err);
        assert_true(v.text.len == lengths[i]);
        claim_ok(ps_need(&in, PACK_BYTES, "b", &v, &err), err);
        assert_true(v.text.len == lengths[i]);
        claim_ok(ps_need(&in, PACK_LIST, "l", &v, &err), err);
        assert_true(in.at == in.end);
        free(text);
    }
}

static void what_is_no_value_is_refused(void **state) {
    static const struct {
        const char *hex, *part;
    } rows[] = {
        {"", "missing"},          {"c4", "begins with byte c4"}, {"85616263", "longer than what holds it"},
        {"cb0011", "ends early"}, {"d6ffffffff", "longer than"}, {"daffffffff00", "longer than"},
        {"b3", "ends early"},     {"b34e01", "longer than"},     {"ce7fffffff00", "longer than"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(buf_free) struct buf b = BUF_INIT(64);
        struct ps_in in = ps_of(packed(&b, rows[i].hex));
        claim_fails(ps_skip(&in, NULL, &err), err, ERR_NEO4J_PROTOCOL, rows[i].part);
    }
}

static void depth_is_bounded(void **state) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(64);
    (void)state;
    for (unsigned i = 0; i < PACK_DEPTH_MAX; i++) claim_ok(ps_put_list(&b, 1, &err), err);
    claim_ok(ps_put_bool(&b, true, &err), err);
    struct ps_in in = ps_of(buf_bytes(&b));
    claim_ok(ps_skip(&in, NULL, &err), err);
    buf_clear(&b);
    for (unsigned i = 0; i <= PACK_DEPTH_MAX; i++) claim_ok(ps_put_list(&b, 1, &err), err);
    claim_ok(ps_put_bool(&b, true, &err), err);
    in = ps_of(buf_bytes(&b));
    claim_fails(ps_skip(&in, NULL, &err), err, ERR_NEO4J_PROTOCOL, "nested too deep");
}

/* ---- properties ---- */
static void properties_have_one_form(void **state) {
    CLEANUP(buf_free) struct buf in_bytes = BUF_INIT(256), out = BUF_INIT(256);
    struct value_sort sort = {0};
    char hex[256];
    (void)state;
    /* {b: 1 in eight bytes, a: date(7 in two bytes)} */
    struct ps_in in = ps_of(packed(&in_bytes, "a28162cb00000000000000018161b144c90007"));
    claim_ok(value_put_map(&in, &sort, &out, &err), err);
    hex_encode(out.ptr, out.len, hex);
    assert_string_equal(hex, "a28161b14407816201");
    buf_clear(&out);
    in = ps_of(packed(&in_bytes, "93816281618162"));
    claim_ok(value_put_names(&in, &sort, &out, &err), err);
    hex_encode(out.ptr, out.len, hex);
    assert_string_equal(hex, "9281618162");
    value_sort_free(&sort);
}

static void values_are_written_as_the_query_api_has_them(void **state) {
    static const struct {
        const char *hex, *want;
    } rows[] = {
        {"c3", "{\"$type\":\"Boolean\",\"_value\":true}"},
        {"cb7fffffffffffffff", "{\"$type\":\"Integer\",\"_value\":\"9223372036854775807\"}"},
        {"c1bff8000000000000", "{\"$type\":\"Float\",\"_value\":\"-1.5\"}"},
        {"c1fff0000000000000", "{\"$type\":\"Float\",\"_value\":\"-Infinity\"}"},
        {"cc0200ff", "{\"$type\":\"Base64\",\"_value\":\"AP8=\"}"},
        {"8422610a5c", "{\"$type\":\"String\",\"_value\":\"\\\"a\\u000a\\\\\"}"},
        {"9101", "{\"$type\":\"List\",\"_value\":[{\"$type\":\"Integer\",\"_value\":\"1\"}]}"},
        {"b144c92a40", "{\"$type\":\"Date\",\"_value\":\"1999-08-13\"}"},
        {"b144ca002cc0a1", "{\"$type\":\"Date\",\"_value\":\"+10000-01-01\"}"},
        {"b144cafff50557", "{\"$type\":\"Date\",\"_value\":\"-0001-12-31\"}"},
        {"b174cb0000293253592d15", "{\"$type\":\"LocalTime\",\"_value\":\"12:34:56.123456789\"}"},
        {"b25400c91c20", "{\"$type\":\"Time\",\"_value\":\"00:00:00+02:00\"}"},
        {"b264ff00", "{\"$type\":\"LocalDateTime\",\"_value\":\"1969-12-31T23:59:59\"}"},
        {"b34900 05 c9f1f0", "{\"$type\":\"OffsetDateTime\",\"_value\":\"1969-12-31T23:00:00.000000005-01:00\"}"},
        {"b36900008355 5443", "{\"$type\":\"ZonedDateTime\",\"_value\":\"1970-01-01T00:00:00Z[UTC]\"}"},
        {"b4450eff ff ca1dcd6500", "{\"$type\":\"Duration\",\"_value\":\"P14M-1DT-0.500000000S\"}"},
        {"b358c91c23c13ff8000000000000c1c004000000000000",
         "{\"$type\":\"Point\",\"_value\":\"SRID=7203;POINT (1.5 -2.5)\"}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(buf_free) struct buf b = BUF_INIT(64), out = BUF_INIT(4096);
        char hex[64];
        size_t n = 0;
        for (const char *p = rows[i].hex; *p; p++)
            if (*p != ' ') hex[n++] = *p;
        hex[n] = 0;
        struct ps_in in = ps_of(packed(&b, hex));
        claim_ok(value_put_json(&in, &out, &err), err);
        claim_ok(buf_terminate(&out, &err), err);
        assert_string_equal((char *)out.ptr, rows[i].want);
        assert_true(in.at == in.end);
    }
}

/* The example of doc/format/neo4j.md. */
static void a_record_is_as_the_document_has_it(void **state) {
    static const char want[] = "c9012c 9281418142 a2 83646179 b14407 816e 01";
    CLEANUP(buf_free) struct buf b = BUF_INIT(256), out = BUF_INIT(256);
    struct value_sort sort = {0};
    char hex[128], clean[128];
    size_t n = 0;
    (void)state;
    claim_ok(ps_put_int(&out, 300, &err), err);
    struct ps_in in = ps_of(packed(&b, "9281428141"));
    claim_ok(value_put_names(&in, &sort, &out, &err), err);
    in = ps_of(packed(&b, "a2816e0183646179b14407"));
    claim_ok(value_put_map(&in, &sort, &out, &err), err);
    hex_encode(out.ptr, out.len, hex);
    for (const char *p = want; *p; p++)
        if (*p != ' ') clean[n++] = *p;
    clean[n] = 0;
    assert_string_equal(hex, clean);
    assert_int_equal(out.len, 0x13);
    value_sort_free(&sort);
}

static void what_is_no_property_is_refused(void **state) {
    static const struct {
        const char *hex, *part;
    } rows[] = {
        {"a18161a0", "is a map"},
        {"a18161c0", "is null"},
        {"a181619190", "list of lists"},
        {"a1816191c0", "is null"},
        {"a18161b346010203", "Bolt 4"},
        {"a18161b26601", "longer than"},
        {"a18161b15a01", "unknown kind 5a"},
        {"a18161b2440102", "unknown kind 44 with 2 members"},
        {"a1816191b14e01", "unknown kind 4e"},
        {"a2816101816102", "there twice"},
        {"a10101", "another kind"},
        {"91", "longer than"},
        {"9101", "another kind"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(buf_free) struct buf b = BUF_INIT(64), out = BUF_INIT(256);
        struct value_sort sort = {0};
        struct ps_in in = ps_of(packed(&b, rows[i].hex));
        int r = value_put_map(&in, &sort, &out, &err);
        assert_true(r == -ERR_NEO4J_VALUE || r == -ERR_NEO4J_PROTOCOL);
        if (!strstr(err.text, rows[i].part)) fail_msg("%s: %s", rows[i].hex, err.text);
        error_clear(&err);
        value_sort_free(&sort);
    }
}

static void names_are_quoted_whatever_is_in_them(void **state) {
    CLEANUP(buf_free) struct buf out = BUF_INIT(256);
    (void)state;
    claim_ok(value_put_cypher_name(BYTES_STR("a`b\\u0060) DETACH DELETE n //"), &out, &err), err);
    claim_ok(buf_terminate(&out, &err), err);
    assert_string_equal((char *)out.ptr, "`a``b\\u005Cu0060) DETACH DELETE n //`");
}

/* ---- nodes and relationships ---- */
static char seen[512];
static int on_entity(void *ctx, const struct entity *e, struct error *error) {
    (void)ctx;
    (void)error;
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%lld:%lld>%lld ", (long long)e->id, (long long)e->start,
             (long long)e->end);
    return 0;
}

static void paths_lists_and_maps_are_walked(void **state) {
    /* [{k: path (1)-[4]->(2)<-[5]-(3)}, relationship 9 from 1 to 2, date] */
    static const char hex[] = "93a1816bb35093b34e0190a0b34e0290a0b34e0390a092b37204814ba0b37205814ba0940101fe02"
                              "b552090102814ba0b14407";
    CLEANUP(buf_free) struct buf b = BUF_INIT(256);
    struct entity_walk w = {.cb = on_entity};
    (void)state;
    struct ps_in in = ps_of(packed(&b, hex));
    seen[0] = 0;
    claim_ok(entity_walk(&w, &in, &err), err);
    assert_string_equal(seen, "1:0>0 2:0>0 3:0>0 ");
    in = ps_of(packed(&b, hex));
    w.relationships = true;
    seen[0] = 0;
    claim_ok(entity_walk(&w, &in, &err), err);
    assert_string_equal(seen, "4:1>2 5:3>2 9:1>2 ");
    assert_true(in.at == in.end);
    in = ps_of(packed(&b, "b35091b34e0190a091b37204814ba0920201"));
    claim_fails(entity_walk(&w, &in, &err), err, ERR_NEO4J_PROTOCOL, "a path has not the members");
    in = ps_of(packed(&b, "b1524e"));
    claim_fails(entity_walk(&w, &in, &err), err, ERR_NEO4J_PROTOCOL, "a relationship has not the members");
    entity_walk_free(&w);
}

static void places_keep_what_stands_for_a_node(void **state) {
    static const int64_t ids[] = {5, 6, 9, 20000, 20001, 7, 3, 100, 8, 40000, 39999, 50000, 49000, 49001};
    struct scratch s;
    struct places p;
    uint64_t v = 0;
    (void)state;
    scratch_make(&s);
    for (int sealed = 0; sealed < 2; sealed++) {
        claim_ok(places_open(&p, s.path, &err), err);
        for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
            claim_ok(places_put(&p, ids[i], (uint64_t)ids[i] + 1000, &err), err);
        if (sealed) claim_ok(places_seal(&p, &err), err);
        for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
            claim_ok(places_get(&p, ids[i], &v, &err), err);
            assert_int_equal(v, ids[i] + 1000);
        }
        static const int64_t none[] = {-1, 0, 4, 10, 19999, 30000, 49999, 50001, INT64_MAX};
        for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
            claim_ok(places_get(&p, none[i], &v, &err), err);
            assert_int_equal(v, 0);
        }
        claim_fails(places_put(&p, -1, 1, &err), err, ERR_NEO4J_VALUE, "the id -1");
        claim_fails(places_put(&p, INT64_MAX, 1, &err), err, ERR_NEO4J_VALUE, "none of a stored");
        places_close(&p);
    }
    scratch_remove(&s);
}

/* ---- records ---- */
static void records_are_read_in_any_pieces_and_no_further(void **state) {
    struct fake *f = fake_new();
    struct source_head head;
    struct records r = {0};
    struct bytes one;
    bool end = false;
    uint8_t content[400] = {3, 'a', 'b', 'c', 0, 0x80, 2};
    (void)state;
    memset(content + 7, 'x', 256);
    fake_add(f, GRAPH_NODES, BYTES_STR("{}"), ITEM_RECORDS, BYTES_OF(content, 7 + 256));
    fake_add(f, GRAPH_RELATIONSHIPS, BYTES_STR("{}"), ITEM_RECORDS, BYTES_OF(content, 100));
    struct source *src = fake_source(f);
    claim_ok(records_find(src, GRAPH_NODES, &head, &err), err);
    claim_ok(records_open(src, &head, &r, &err), err);
    static const size_t lengths[] = {3, 0, 256};
    for (size_t i = 0; i < 3; i++) {
        claim_ok(records_next(&r, &one, &end, &err), err);
        assert_true(!end && one.len == lengths[i]);
    }
    claim_ok(records_next(&r, &one, &end, &err), err);
    assert_true(end);
    records_close(&r);
    claim_ok(records_find(src, GRAPH_RELATIONSHIPS, &head, &err), err);
    claim_ok(records_open(src, &head, &r, &err), err);
    claim_ok(records_next(&r, &one, &end, &err), err);
    claim_ok(records_next(&r, &one, &end, &err), err);
    claim_fails(records_next(&r, &one, &end, &err), err, ERR_RESTORE_DIFFERS, "record 3 of an item is none");
    records_close(&r);
    claim_fails(records_find(src, GRAPH_SCHEMA, &head, &err), err, ERR_RESTORE_DIFFERS, "graph/schema");
    fake_free(f);
}

/* ---- Bolt, with a server that says what the script says, whatever it is asked ---- */
struct script {
    const char *answer; /* hex; blanks are passed over */
    bool byte_by_byte;
};
static struct scratch scratch;
static int listener;

static void *serve(void *arg) {
    const struct script *s = arg;
    uint8_t raw[4096], sink[4096];
    char hex[8192];
    size_t n = 0;
    int fd = accept(listener, NULL, NULL);
    for (const char *p = s->answer; *p; p++)
        if (*p != ' ') hex[n++] = *p;
    assert_true(hex_decode(hex, n, raw, n / 2));
    for (size_t at = 0, part; at < n / 2; at += part) {
        part = s->byte_by_byte ? 1 : n / 2 - at;
        if (send(fd, raw + at, part, MSG_NOSIGNAL) != (ssize_t)part) break;
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, sink, sizeof sink, 0) > 0) {}
    close(fd);
    return NULL;
}

/* Connections that nobody took. */
static void drain(void) {
    struct pollfd p = {.fd = listener, .events = POLLIN};
    while (poll(&p, 1, 0) > 0) {
        int fd = accept(listener, NULL, NULL);
        close(fd);
    }
}

static int talk(struct script *s, pthread_t *thread, struct bolt **ret) {
    struct bolt_server server = {.host = scratch_path(&scratch, "s"), .timeout_ms = 5000, .patience_ms = 5000};
    assert_int_equal(pthread_create(thread, NULL, serve, s), 0);
    return bolt_open(&server, ret, &err);
}

#define AGREED "00000805"
#define HELLO_OK "0014 b170a1 86736572766572 894e656f346a2f352e78 0000" /* {server: "Neo4j/5.x"} */
#define OK "0003 b170a0 0000"

static void answers_come_through_chunks_and_keep_alives(void **state) {
    /* a row [1], then one in two chunks, then more, then one, and the end with a bookmark */
    static const char answer[] = AGREED "0000 0000" HELLO_OK "0000" OK OK "0004 b1719101 0000"
                                        "0000 0002 b171 0000"
                                        "0002 b171 0002 9102 0000"
                                        "000d b170a1 886861735f6d6f7265 c3 0000"
                                        "0003 b17191 0001 03 0000"
                                        "000e b170a1 88626f6f6b6d61726b 8146 0000";
    (void)state;
    for (int slow = 0; slow < 2; slow++) {
        struct script s = {answer, slow};
        struct bolt *b = NULL;
        struct bolt_rows q;
        struct ps_in in;
        struct ps_value v;
        uint32_t n = 0;
        bool end = false;
        pthread_t t;
        claim_ok(talk(&s, &t, &b), err);
        assert_string_equal(bolt_agent(b), "Neo4j/5.x");
        assert_int_equal(bolt_minor(b), 8);
        claim_ok(bolt_query(b, "neo4j", BOLT_READ, "RETURN 1", BYTES_OF(NULL, 0), 2, &q, &err), err);
        claim_ok(bolt_row(&q, &in, &n, &end, &err), err);
        claim_ok(ps_need(&in, PACK_INT, "x", &v, &err), err);
        assert_true(!end && n == 1 && v.number == 1);
        claim_fails(bolt_row(&q, &in, &n, &end, &err), err, ERR_NEO4J_PROTOCOL,
                    "longer than"); /* a row without a list */
        bolt_close(b);
        pthread_join(t, NULL);
    }
}

static void rows_in_groups_end_with_a_bookmark(void **state) {
    struct script s = {AGREED HELLO_OK OK OK "0004 b1719101 0000"
                                             "0002 b171 0002 9102 0000"
                                             "000d b170a1 886861735f6d6f7265 c3 0000"
                                             "0003 b17191 0001 03 0000"
                                             "000e b170a1 88626f6f6b6d61726b 8146 0000",
                       true};
    struct bolt *b = NULL;
    struct bolt_rows q;
    struct ps_in in;
    struct ps_value v;
    uint32_t n = 0;
    bool end = false;
    pthread_t t;
    (void)state;
    claim_ok(talk(&s, &t, &b), err);
    claim_ok(bolt_query(b, NULL, BOLT_READ, "RETURN 1", BYTES_OF(NULL, 0), 2, &q, &err), err);
    for (int64_t i = 1; i <= 3; i++) {
        claim_ok(bolt_row(&q, &in, &n, &end, &err), err);
        claim_ok(ps_need(&in, PACK_INT, "x", &v, &err), err);
        assert_true(!end && v.number == i);
    }
    claim_ok(bolt_row(&q, &in, &n, &end, &err), err);
    assert_true(end);
    assert_string_equal(q.bookmark, "F");
    bolt_close(b);
    pthread_join(t, NULL);
}

static void what_goes_wrong_is_said(void **state) {
    static const struct {
        const char *answer;
        enum error_code code;
        const char *part;
    } rows[] = {
        {"00000000", ERR_NEO4J_PROTOCOL, "none of the versions"},
        {"48545450", ERR_NEO4J_PROTOCOL, "speaks HTTP"},
        {"01020304", ERR_NEO4J_PROTOCOL, "is no Bolt server"},
        {"0000", ERR_NET_BROKEN, "ended the connection"},
        {AGREED "0014 b170a1 8673", ERR_NET_BROKEN, "ended the connection"},
        {AGREED "0002 b042 0000", ERR_NEO4J_PROTOCOL, "unknown kind 42"},
        {AGREED "0001 c0 0000", ERR_NEO4J_PROTOCOL, "a message is of another kind"},
        /* {code: Neo.ClientError.Security.Unauthorized, message: no} */
        {AGREED HELLO_OK
         "003a b17fa2 84636f6465 d0254e656f2e436c69656e744572726f722e53656375726974792e556e617574686f72697a6564"
         " 876d657373616765 826e6f 0000",
         ERR_NEO4J_AUTH, "Neo.ClientError.Security.Unauthorized: no"},
        {AGREED HELLO_OK
         "0037 b17fa2 84636f6465 d0224e656f2e436c69656e744572726f722e53656375726974792e466f7262696464656e"
         " 876d657373616765 826e6f 0000",
         ERR_NEO4J_DENIED, "Neo.ClientError.Security.Forbidden: no"},
        {AGREED HELLO_OK
         "003e b17fa2 84636f6465 d0294e656f2e436c69656e744572726f722e44617461626173652e44617461626173654e6f74466f756e64"
         " 876d657373616765 826e6f 0000",
         ERR_NEO4J_DATABASE, "Neo.ClientError.Database.DatabaseNotFound: no"},
        {AGREED HELLO_OK
         "004a b17fa2 84636f6465 d0354e656f2e5472616e7369656e744572726f722e47656e6572616c2e4d656d6f7279506f6f6c4f75744f"
         "664d656d6f72794572726f72 876d657373616765 826e6f 0000",
         ERR_NEO4J_BUSY, "Neo.TransientError.General.MemoryPoolOutOfMemoryError: no"},
        {AGREED HELLO_OK
         "003a b17fa2 84636f6465 d0254e656f2e436c69656e744572726f722e53746174656d656e742e53796e7461784572726f72"
         " 876d657373616765 826e6f 0000",
         ERR_NEO4J_REPLY, "Neo.ClientError.Statement.SyntaxError: no"},
        {AGREED HELLO_OK "0002 b07e 0000", ERR_NEO4J_PROTOCOL, "expected to end"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct script s = {rows[i].answer, i % 2};
        struct bolt *b = NULL;
        pthread_t t;
        claim_fails(talk(&s, &t, &b), err, rows[i].code, rows[i].part);
        pthread_join(t, NULL);
    }
}

/* ---- a whole capture, each of its calls failing in turn ---- */
static const char graph[] = AGREED HELLO_OK OK                    /* logged in */
    OK "0015b1719287352e32362e333089636f6d6d756e6974790000" OK    /* version and edition */
        OK "0012b17192866f6e6c696e6587616c69676e65640000" OK      /* state and format */
            OK "0005b1719181580000" OK                            /* id */
                OK "0004b17191020000" OK OK "0004b17191010000" OK /* counts */
                    OK "0004b17191000000" OK                      /* no import that has not come to its end */
                        OK "0004b17191020000"
       "000eb170a188626f6f6b6d61726b81460000" OK "0004b17191010000" OK /* counts before */
           OK "0011b17191b44e019281428141a181700181780000"
       "000ab17191b44e0290a081780000" OK /* two nodes */
           OK "0014b17191b852010102814ba18177018178817881780000"
       "0014b17191b852020109814ba18177018178817881780000" OK /* a relationship, and one whose node is not there */
           OK "001fb1719581638a554e495155454e455353844e4f4445918141864352454154450000" OK /* a constraint */
               OK OK                                                                      /* no index */
                   OK "0004b17191020000"
       "000eb170a188626f6f6b6d61726b81460000" OK "0004b17191010000" OK; /* counts after */

static struct fake *fake;
static int capture(struct script *s, struct capture_result *got) {
    static char settings[SCRATCH_PATH_MAX + 64];
    pthread_t t;
    snprintf(settings, sizeof settings, "{\"dbms\": {\"host\": \"%s\"}}", scratch_path(&scratch, "s"));
    struct surface_context ctx = {
        .name = "graph", .settings = json_loads(settings, 0, NULL), .scratch_dir = scratch.path};
    assert_int_equal(pthread_create(&t, NULL, serve, s), 0);
    int r = neo4j_logical_capture(&ctx, fake_sink(fake), got, &err);
    int nobody = socket(AF_UNIX, SOCK_STREAM, 0); /* where the capture never came as far as to connect */
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", scratch_path(&scratch, "s"));
    if (connect(nobody, (struct sockaddr *)&a, sizeof a) == 0) shutdown(nobody, SHUT_RDWR);
    pthread_join(t, NULL);
    close(nobody);
    drain();
    if (r == 0) {
        struct error sealing = ERROR_INIT;
        claim_ok(fake_seal(fake, &sealing), sealing);
    } else {
        fake_abandon(fake);
    }
    json_decref((json_t *)ctx.settings);
    return r;
}

static void a_capture_is_whole_in_itself(void **state) {
    struct script s = {graph, true};
    struct capture_result got;
    struct fake_view item;
    (void)state;
    claim_ok(capture(&s, &got), err);
    assert_int_equal(json_integer_value(json_object_get(got.facts, "relationships_left_out")), 1);
    assert_string_equal(json_string_value(json_object_get(got.facts, "commits_meanwhile")), "none");
    assert_string_equal(json_string_value(json_object_get(got.facts, "neo4j_version")), "5.26.30");
    assert_string_equal(got.consistency, "fuzzy");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(got.invariants, "label/A"), "value")), 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(got.invariants, "type/K"), "value")), 1);
    assert_true(fake_find(fake, GRAPH_NODES, &item));
    assert_int_equal(item.bytes, 11 + 4);
    assert_true(fake_find(fake, GRAPH_RELATIONSHIPS, &item) && fake_find(fake, GRAPH_SCHEMA, &item));
    json_decref(got.facts);
    json_decref(got.invariants);
}

static void capture_with_fault(void *arg, uint64_t n) {
    struct script s = {graph, false};
    struct capture_result got;
    struct fake_view item;
    (void)arg;
    (void)n;
    int r = capture(&s, &got);
    assert_int_equal(r, -(int)err.code);
    error_clear(&err);
    if (r < 0) return;
    assert_true(fake_find(fake, GRAPH_NODES, &item));
    assert_int_equal(item.bytes, 11 + 4);
    json_decref(got.facts);
    json_decref(got.invariants);
}

static void every_call_that_fails_is_an_error_or_harms_nothing(void **state) {
    (void)state;
    assert_true(fault_each(false, capture_with_fault, NULL) > 40);
}

static int listen_there(void **state) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)state;
    scratch_make(&scratch);
    fake = fake_new();
    snprintf(a.sun_path, sizeof a.sun_path, "%s", scratch_path(&scratch, "s"));
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    return listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 4) < 0;
}

static int stop(void **state) {
    (void)state;
    close(listener);
    fake_free(fake);
    scratch_remove(&scratch);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_take_the_shortest_form_and_come_back),
        cmocka_unit_test(texts_and_heads_of_every_width_come_back),
        cmocka_unit_test(what_is_no_value_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(properties_have_one_form),
        cmocka_unit_test(what_is_no_property_is_refused),
        cmocka_unit_test(values_are_written_as_the_query_api_has_them),
        cmocka_unit_test(a_record_is_as_the_document_has_it),
        cmocka_unit_test(names_are_quoted_whatever_is_in_them),
        cmocka_unit_test(paths_lists_and_maps_are_walked),
        cmocka_unit_test(places_keep_what_stands_for_a_node),
        cmocka_unit_test(records_are_read_in_any_pieces_and_no_further),
        cmocka_unit_test(answers_come_through_chunks_and_keep_alives),
        cmocka_unit_test(rows_in_groups_end_with_a_bookmark),
        cmocka_unit_test(what_goes_wrong_is_said),
        cmocka_unit_test(a_capture_is_whole_in_itself),
        cmocka_unit_test(every_call_that_fails_is_an_error_or_harms_nothing),
    };
    return cmocka_run_group_tests(tests, listen_there, stop);
}
