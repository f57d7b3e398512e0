/* The S3 driver's parts, against a server that does what it is told to. */
#include "store_test.h"

#include "harness/fault.h"
#include "harness/http_server.h"
#include "harness/scratch.h"

#include "base/time.h"
#include "store/s3/s3_internal.h"
#include "store/s3/sigv4.h"
#include <unistd.h>

#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define HEAD(status) "HTTP/1.1 " status "\r\nDate: Sat, 21 Nov 2026 04:00:00 GMT\r\n"
#define FAULT(status, body) HEAD(status) "Connection: close\r\n\r\n" body
#define CODE(code, message) "<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>" message "</Message></Error>"
#define EMPTY HEAD("200 OK") "ETag: \"1\"\r\nContent-Length: 0\r\n\r\n"

/* Published: AWS, "Authenticating Requests: Using the Authorization Header", examples 1 to 4. The last one is of our
 * own making, by Python's hmac. */
static void signatures_are_the_published_ones(void **state) {
    (void)state;
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    static const char welcome[] = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    static const char host[] = "examplebucket.s3.amazonaws.com", date[] = "20130524T000000Z";
    const struct {
        const char *method, *path, *query, *payload, *date, *region, *signature;
        struct sigv4_header headers[6];
    } cases[] = {
        {"GET",
         "/test.txt",
         "",
         empty,
         date,
         "us-east-1",
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
         {{"host", host}, {"range", "bytes=0-9"}, {"x-amz-content-sha256", empty}, {"x-amz-date", date}}},
        {"PUT",
         "/test%24file.text",
         NULL,
         welcome,
         date,
         "us-east-1",
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
         {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
          {"host", host},
          {"x-amz-content-sha256", welcome},
          {"x-amz-date", date},
          {"x-amz-storage-class", "REDUCED_REDUNDANCY"}}},
        {"GET",
         "/",
         "lifecycle=",
         empty,
         date,
         "us-east-1",
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
         {{"host", host}, {"x-amz-content-sha256", empty}, {"x-amz-date", date}}},
        {"GET",
         "/",
         "max-keys=2&prefix=J",
         empty,
         date,
         "us-east-1",
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
         {{"host", host}, {"x-amz-content-sha256", empty}, {"x-amz-date", date}}},
        {"PUT",
         "/b/p/x",
         "partNumber=1&uploadId=a%2Fb",
         "UNSIGNED-PAYLOAD",
         "20261121T040000Z",
         "eu-central-1",
         "a4cee08e87f710657a404a7153f15b13a564b5a218248ac2ac96b5fe10d9c736",
         {{"host", "127.0.0.1:9000"},
          {"x-amz-content-sha256", "UNSIGNED-PAYLOAD"},
          {"x-amz-date", "20261121T040000Z"},
          {"x-amz-security-token", "IQoJ/token=="}}},
    };
    struct buf out = BUF_INIT(4096);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sigv4_request q = {.method = cases[i].method,
                                  .path = cases[i].path,
                                  .query = cases[i].query,
                                  .headers = cases[i].headers,
                                  .payload = cases[i].payload,
                                  .region = cases[i].region,
                                  .service = "s3"};
        while (q.header_count < 6 && cases[i].headers[q.header_count].name) q.header_count++;
        snprintf(q.date, sizeof q.date, "%s", cases[i].date);
        OK(sigv4_authorize(&q, "AKIAIOSFODNN7EXAMPLE", BYTES_STR(SECRET), &out, e));
        const char *signature = strstr((char *)out.ptr, "Signature=");
        assert_non_null(signature);
        assert_string_equal(signature + 10, cases[i].signature);
        assert_null(strstr((char *)out.ptr, "wJalr"));
    }
    char text[SIGV4_DATE_BYTES];
    sigv4_date(INT64_C(1369353600) * NS_PER_S, text);
    assert_string_equal(text, date);
    char large[300];
    memset(large, 'k', sizeof large);
    struct sigv4_request q = {.method = "GET", .path = "/", .payload = empty, .region = "r", .service = "s3"};
    FAILS(ERR_SECRET, "longer than any", sigv4_authorize(&q, "AKIA", BYTES_OF(large, sizeof large), &out, e));
    buf_free(&out);
}

static int join(void *ctx, const char *path, struct bytes text_, struct error *err) {
    return buf_printf(ctx, err, "%s=%.*s;", path, text_.ptr ? (int)text_.len : 3,
                      text_.ptr ? (const char *)text_.ptr : "(/)");
}

static void xml_is_walked_and_what_is_none_is_refused(void **state) {
    (void)state;
    struct buf seen = BUF_INIT(4096);
    OK(xml_walk(text("<?xml version='1.0'?>\n<!-- a > b --><s:A x=\"1>2\" y='/'>\n "
                     "<B>a&amp;&lt;&#x41;&#233;</B><C/>\r\n</s:A >"),
                join, &seen, e));
    assert_true(bytes_equal(buf_bytes(&seen), text("A/B=a&<A\xc3\xa9;A/C=;A=(/);")));
    static const char *const bad[] = {"",
                                      "plain",
                                      "<a>",
                                      "<a></b>",
                                      "</a>",
                                      "<a",
                                      "<",
                                      "<a>&no;</a>",
                                      "<a>&#0;</a>",
                                      "<a>&#xd800;</a>",
                                      "<a>&#x;</a>",
                                      "<a>&",
                                      "<!DOCTYPE a []><a/>",
                                      "<a><![CDATA[x]]></a>",
                                      "<a b=\"></a>",
                                      "<?xml",
                                      "<!-- ",
                                      "<a></a",
                                      "<>",
                                      "<a>&#99999999999;</a>",
                                      "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_clear(&seen);
        FAILS(ERR_NET_ANSWER, "no XML as object stores send it", xml_walk(text(bad[i]), join, &seen, e));
    }
    buf_free(&seen);
}

static void addresses_are_strict(void **state) {
    (void)state;
    struct s3_place p;
    OK(s3_place_parse("s3://my.bucket-1", &p, e));
    assert_string_equal(p.bucket, "my.bucket-1");
    assert_string_equal(p.prefix, "");
    assert_true(p.path_style && p.digests && p.connections == 8); /* a dot in the bucket fits no certificate */
    OK(s3_place_parse(
        "s3://bucket/a/b/?region=eu-west-1&sse=aws%3Akms&kms_key=alias/x&storage_class=STANDARD_IA&style=virtual&"
        "payload_digests=unsigned&bandwidth=10MiB&timeout=5s&connections=3&profile=p&ca_file=/c&credentials_file=/k",
        &p, e));
    assert_string_equal(p.prefix, "a/b/");
    assert_string_equal(p.sse, "aws:kms");
    assert_true(!p.path_style && !p.digests && p.bytes_per_s == 10u << 20 && p.timeout_ns == 5 * NS_PER_S &&
                p.connections == 3);
    OK(s3_place_parse("s3://bucket?endpoint=http://[::1]:9000/", &p, e));
    assert_string_equal(p.endpoint, "http://[::1]:9000");
    assert_true(p.path_style);
    static const struct {
        const char *url, *says;
    } bad[] = {
        {"s3:/bucket", "does not begin with s3://"},
        {"s3://", "bucket's name"},
        {"s3://ab", "bucket's name"},
        {"s3://Bucket", "bucket's name"},
        {"s3://bucket-", "bucket's name"},
        {"s3://bu..cket", "bucket's name"},
        {"s3://AKIA:" SECRET "@bucket/x", "has a user in it"},
        {"s3://bucket/a//b", "prefix with others"},
        {"s3://bucket/../b", "prefix with others"},
        {"s3://bucket/a b", "prefix with others"},
        {"s3://bucket/tmp", "prefix with others"},
        {"s3://bucket#x", "'#'"},
        {"s3://bucket?", "not name=value"},
        {"s3://bucket?region", "not name=value"},
        {"s3://bucket?region=", "value of region"},
        {"s3://bucket?region=a%zz", "value of region"},
        {"s3://bucket?region=a&region=b", "says region twice"},
        {"s3://bucket?regoin=a", "says regoin, which is none of"},
        {"s3://bucket?region=a/b", "region in the address wants a region's name"},
        {"s3://bucket?endpoint=example.com", "endpoint in the address wants https"},
        {"s3://bucket?endpoint=https://u:p@example.com", "endpoint in the address wants https"},
        {"s3://bucket?endpoint=https://example.com/path", "endpoint in the address wants https"},
        {"s3://bucket?style=both", "path or virtual"},
        {"s3://bucket?ca_file=relative", "absolute path"},
        {"s3://bucket?sse=AES128", "AES256 or aws:kms"},
        {"s3://bucket?kms_key=x", "wants sse=aws:kms"},
        {"s3://bucket?payload_digests=maybe", "signed or unsigned"},
        {"s3://bucket?bandwidth=fast", "bytes a second"},
        {"s3://bucket?timeout=0s", "duration from 1s"},
        {"s3://bucket?connections=65", "1 to 64"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(s3_place_parse(bad[i].url, &p, &err), -ERR_USAGE);
        if (!strstr(err.text, bad[i].says)) fail_msg("%s: '%s' does not say '%s'", bad[i].url, err.text, bad[i].says);
        assert_null(strstr(err.text, "wJalr"));
    }
    struct store *s = NULL;
    FAILS(ERR_USAGE, "say style=path",
          store_open("s3://bucket?endpoint=http://127.0.0.1:1&style=virtual", false, &s, e));
}

static struct store *open_at(const struct http_server *h, const char *more) {
    char url[512];
    struct store *s = NULL;
    snprintf(url, sizeof url, "s3://bucket/pre?endpoint=%s&region=eu-west-1&connections=1%s", http_server_url(h), more);
    OK(store_open(url, false, &s, e));
    return s;
}

static void keys_in_environment(void) {
    setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", SECRET, 1);
    unsetenv("AWS_SESSION_TOKEN");
}

static void each_refusal_is_its_own_error(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        enum error_code code;
        const char *says, *next;
    } cases[] = {
        {FAULT("403 Forbidden", CODE("InvalidAccessKeyId", "no such key")), ERR_S3_CREDENTIALS,
         "InvalidAccessKeyId: no such key", ""},
        {FAULT("403 Forbidden", CODE("SignatureDoesNotMatch", "x")), ERR_S3_CREDENTIALS, "SignatureDoesNotMatch", ""},
        {FAULT("400 Bad Request", CODE("ExpiredToken", "x")), ERR_S3_EXPIRED, "ExpiredToken", ""},
        {FAULT("400 Bad Request",
               "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message>"
               "<Region>ap-south-1</Region></Error>"),
         ERR_S3_REGION, "as for the region eu-west-1, and the bucket is in ap-south-1", "region=ap-south-1"},
        {HEAD("301 Moved Permanently") "x-amz-bucket-region: us-west-2\r\nLocation: http://127.0.0.1:1/\r\nConnection: "
                                       "close\r\n\r\n",
         ERR_S3_REGION, "the bucket is in us-west-2", "region=us-west-2"},
        {"HTTP/1.1 403 Forbidden\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n" CODE(
             "RequestTimeTooSkewed", "x"),
         ERR_S3_SKEW, "ahead of the server's, which says 1994-11-06T08:49:37Z", ""},
        {FAULT("404 Not Found", CODE("NoSuchBucket", "x")), ERR_S3_BUCKET, "NoSuchBucket", ""},
        {FAULT("404 Not Found", CODE("NoSuchKey", "x")), ERR_OBJECT_MISSING, "the object a/b is not in s3://bucket/pre",
         ""},
        {FAULT("403 Forbidden", CODE("AccessDenied", "x")), ERR_S3_DENIED, "403 AccessDenied", "Grant s3:GetObject"},
        {FAULT("403 Forbidden", ""), ERR_S3_DENIED, "answers 403", "Grant s3:GetObject"},
        {FAULT("403 Forbidden", CODE("QuotaExceeded", "x")), ERR_S3_QUOTA, "QuotaExceeded", ""},
        {FAULT("507 Insufficient Storage", ""), ERR_S3_QUOTA, "answers 507", ""},
        {FAULT("403 Forbidden", CODE("AccessDenied", "object protected by object lock")), ERR_S3_LOCKED, "object lock",
         ""},
        {FAULT("403 Forbidden", CODE("InvalidObjectState", "x")), ERR_S3_ARCHIVED, "InvalidObjectState", ""},
        {FAULT("400 Bad Request", CODE("InvalidArgument", "x\ny")), ERR_S3_REFUSED, "InvalidArgument: x y", ""},
        {FAULT("418 I'm a teapot", "<html>"), ERR_S3_REFUSED, "answers 418", ""},
        {FAULT("200 OK", "more than was asked for"), ERR_NONE, "", ""},
        {HEAD("206 Partial") "Content-Range: bytes 5-8/10\r\nContent-Length: 4\r\n\r\nabcd", ERR_NET_ANSWER,
         "bytes 5-8/10", ""},
        {HEAD("206 Partial") "Content-Range: bytes 0-8/10\r\nContent-Length: 4\r\n\r\nabcd", ERR_NET_ANSWER,
         "206 with 4 bytes", ""},
        {HEAD("206 Partial") "Content-Range: nonsense\r\nContent-Length: 4\r\n\r\nabcd", ERR_NET_ANSWER, "nonsense",
         ""},
    };
    keys_in_environment();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct http_answer a = {.bytes = cases[i].answer, .hang_up = true};
        struct http_server *h = http_server_start(&a, 1);
        struct store *s = open_at(h, "");
        struct error err = ERROR_INIT;
        char p[4];
        size_t n = 0;
        int rc = store_read(s, "a/b", 0, p, 4, &n, &err);
        if (cases[i].code == ERR_NONE) {
            assert_int_equal(rc, 0);
            assert_int_equal(n, 4);
            assert_memory_equal(p, "more", 4);
        } else {
            if (err.code != cases[i].code || !strstr(err.text, cases[i].says) || !strstr(err.next, cases[i].next))
                fail_msg("%zu: %s: %s / %s", i, error_info((int)err.code)->name, err.text, err.next);
            assert_null(strstr(err.text, "wJalr"));
        }
        assert_null(strstr(http_server_request(h, 0, NULL), "wJalr"));
        store_close(s);
        http_server_stop(h);
    }
    assert_int_equal(error_info(ERR_S3_CREDENTIALS)->status, EXIT_UNREACHABLE);
    assert_int_equal(error_info(ERR_S3_BUCKET)->status, EXIT_NO_REPOSITORY);
}

static void what_head_cannot_say_is_asked_for(void **state) {
    (void)state;
    const struct http_answer a[] = {{.bytes = HEAD("404 Not Found") "Content-Length: 0\r\n\r\n"},
                                    {.bytes = FAULT("404 Not Found", CODE("NoSuchBucket", "gone")), .hang_up = true}};
    keys_in_environment();
    struct http_server *h = http_server_start(a, 2);
    struct store *s = open_at(h, "");
    FAILS(ERR_S3_BUCKET, "NoSuchBucket: gone", store_stat(s, "x", NULL, NULL, e));
    assert_non_null(strstr(http_server_request(h, 1, NULL), "GET /bucket/pre/x HTTP/1.1"));
    store_close(s);
    http_server_stop(h);
}

static void what_passes_is_tried_again(void **state) {
    (void)state;
    const struct http_answer a[] = {
        {.bytes = FAULT("503 Slow Down", CODE("SlowDown", "x")), .hang_up = true},
        {.bytes = NULL, .reset = true},
        {.bytes = FAULT("500 Internal Server Error", "oops"), .hang_up = true},
        {.bytes = FAULT("429 Too Many Requests", ""), .hang_up = true},
        {.bytes = FAULT("400 Bad Request", CODE("RequestTimeout", "x")), .hang_up = true},
        {.bytes = HEAD("206 Partial") "Content-Range: bytes 0-3/4\r\nContent-Length: 4\r\n\r\nab", .hang_up = true},
        {.bytes = HEAD("206 Partial") "Content-Range: bytes 0-3/4\r\nContent-Length: 4\r\n\r\nabcd"},
    };
    keys_in_environment();
    struct http_server *h = http_server_start(a, 7);
    struct store *s = open_at(h, "");
    char p[4];
    size_t n = 0;
    OK(store_read(s, "x", 0, p, 4, &n, e));
    assert_int_equal(n, 4);
    assert_memory_equal(p, "abcd", 4);
    assert_int_equal(http_server_requests(h), 7);
    store_close(s);
    http_server_stop(h);
}

static void one_that_never_recovers_is_given_up(void **state) {
    (void)state;
    const struct http_answer a = {.bytes = FAULT("503 Slow Down", CODE("SlowDown", "reduce")), .hang_up = true};
    keys_in_environment();
    struct http_server *h = http_server_start(&a, 1);
    struct s3_store *s = (struct s3_store *)open_at(h, "");
    struct s3_call c = {.what = "try", .action = "s3:GetObject", .method = "GET", .key = "x", .tries_max = 3};
    FAILS(ERR_S3_BUSY, "given up after 3 tries: cannot try in s3://bucket/pre", s3_call(s, &c, e));
    assert_int_equal(http_server_requests(h), 3);
    s3_call_free(&c);
    store_close(&s->base);
    http_server_stop(h);
}

static void a_create_whose_answer_was_lost_knows_its_own(void **state) {
    (void)state;
    const struct http_answer lost[] = {
        {.bytes = FAULT("500 Internal Server Error", ""), .hang_up = true},
        {.bytes = FAULT("412 Precondition Failed", CODE("PreconditionFailed", "x")), .hang_up = true},
        {.bytes = HEAD(
             "200 OK") "Last-Modified: Sat, 21 Nov 2026 04:00:00 GMT\r\nContent-Length: 4\r\nConnection: close\r\n\r\n",
         .hang_up = true},
        {.bytes = HEAD(
             "200 OK") "Last-Modified: Sat, 21 Nov 2026 04:00:00 GMT\r\nContent-Length: 4\r\nConnection: close\r\n\r\n",
         .hang_up = true},
        {.bytes = HEAD("206 Partial") "Content-Range: bytes 0-3/4\r\nContent-Length: 4\r\n\r\nmine"},
    };
    keys_in_environment();
    struct http_server *h = http_server_start(lost, 5);
    struct store *s = open_at(h, "");
    OK(store_create(s, "x", text("mine"), e)); /* unmarked, so its bytes decide */
    assert_non_null(strcasestr(http_server_request(h, 0, NULL), "\r\nif-none-match: *\r\n"));
    assert_non_null(strcasestr(http_server_request(h, 0, NULL), "\r\nx-amz-meta-pk-create: "));
    store_close(s);
    http_server_stop(h);
    h = http_server_start(lost, 5);
    s = open_at(h, "");
    FAILS(ERR_OBJECT_EXISTS, "x exists already", store_create(s, "x", text("them"), e));
    store_close(s);
    http_server_stop(h);
    const struct http_answer theirs[] = {
        {.bytes = FAULT("412 Precondition Failed", ""), .hang_up = true},
        {.bytes = HEAD("200 OK") "x-amz-meta-pk-create: 00112233445566778899aabbccddeeff\r\nContent-Length: "
                                 "4\r\nConnection: close\r\n\r\n",
         .hang_up = true},
    };
    h = http_server_start(theirs, 2);
    s = open_at(h, "");
    FAILS(ERR_OBJECT_EXISTS, "x exists already", store_create(s, "x", text("mine"), e));
    assert_int_equal(http_server_requests(h), 2);
    store_close(s);
    http_server_stop(h);
}

static void settings_go_out_with_every_object(void **state) {
    (void)state;
    const struct http_answer a = {.bytes = EMPTY};
    keys_in_environment();
    setenv("AWS_SESSION_TOKEN", "IQoJ/token==", 1);
    struct http_server *h = http_server_start(&a, 1);
    struct store *s = open_at(h, "&sse=aws:kms&kms_key=alias/k&storage_class=GLACIER_IR");
    OK(store_create(s, "x", text("body"), e));
    const char *q = http_server_request(h, 0, NULL);
    assert_non_null(strstr(q, "PUT /bucket/pre/x HTTP/1.1\r\n"));
    static const char *const lines[] = {
        "x-amz-server-side-encryption: aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id: alias/k",
        "x-amz-storage-class: GLACIER_IR",
        "x-amz-security-token: IQoJ/token==",
        "x-amz-content-sha256: 230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5",
        "x-amz-checksum-sha256: Iw2DWNyOiJC0xY3utikS7i8gNXrpKlzIYbmOaP4xrLU="};
    for (size_t i = 0; i < 6; i++)
        if (!strstr(q, lines[i])) fail_msg("no '%s' in %s", lines[i], q);
    assert_non_null(strstr(q, "SignedHeaders=host;if-none-match;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date;"
                              "x-amz-meta-pk-create;x-amz-security-token;x-amz-server-side-encryption;"
                              "x-amz-server-side-encryption-aws-kms-key-id;x-amz-storage-class,"));
    store_close(s);
    s = open_at(h, "&payload_digests=unsigned");
    OK(store_create(s, "x", text("body"), e));
    q = http_server_request(h, 1, NULL);
    assert_non_null(strstr(q, "x-amz-content-sha256: UNSIGNED-PAYLOAD"));
    assert_null(strstr(q, "x-amz-checksum"));
    store_close(s);
    http_server_stop(h);
    keys_in_environment();
    const struct http_answer refuses[] = {
        {.bytes = FAULT("501 Not Implemented", CODE("NotImplemented", "x")), .hang_up = true},
        {.bytes = EMPTY},
    };
    h = http_server_start(refuses, 2);
    s = open_at(h, "");
    OK(store_create(s, "x", text("body"), e));
    assert_non_null(strstr(http_server_request(h, 0, NULL), "x-amz-checksum"));
    assert_null(strstr(http_server_request(h, 1, NULL), "x-amz-checksum"));
    store_close(s);
    http_server_stop(h);
}

static int count(void *ctx, const struct store_object *o, struct error *err) {
    (void)err;
    return buf_printf(ctx, err, "%s:%llu;", o->key, (unsigned long long)o->bytes);
}

#define ROW(key, size)                                                                                                 \
    "<Contents><Key>" key "</Key><LastModified>2026-11-21T04:00:00.000Z</LastModified><Size>" size "</Size></"         \
                                                                                                   "Contents>"
static void lists_have_pages_and_an_end(void **state) {
    (void)state;
    const struct http_answer a[] = {
        {.bytes = FAULT("200 OK", "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
                                  "<NextContinuationToken>a+b/=</NextContinuationToken>" ROW("pre%2Fp%2Fone", "1")
                                      ROW("pre/p/t%2eo", "2") ROW("pre/p/not%20a%20key", "3")
                                          ROW("other/x", "4") "</ListBucketResult>"),
         .hang_up = true},
        {.bytes = FAULT("200 OK", "<ListBucketResult><IsTruncated>false</IsTruncated>" ROW("pre/p/three",
                                                                                           "5") "</ListBucketResult>"),
         .hang_up = true},
        {.bytes =
             FAULT("200 OK",
                   "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
                   "</ListBucketResult>"),
         .hang_up = true},
    };
    keys_in_environment();
    struct http_server *h = http_server_start(a, 3);
    struct store *s = open_at(h, "");
    struct buf seen = BUF_INIT(1000);
    OK(store_list(s, "p/", count, &seen, e));
    assert_true(bytes_equal(buf_bytes(&seen), text("p/one:1;p/t.o:2;p/three:5;")));
    assert_non_null(
        strstr(http_server_request(h, 0, NULL), "GET /bucket/?list-type=2&max-keys=1000&prefix=pre%2Fp%2F HTTP"));
    assert_non_null(strstr(http_server_request(h, 1, NULL), "?continuation-token=a%2Bb%2F%3D&list-type=2"));
    FAILS(ERR_NET_ANSWER, "the list has no end", store_list(s, "p/", count, &seen, e));
    buf_free(&seen);
    store_close(s);
    http_server_stop(h);
    static const char *const bad[] = {"<ListBucketResult>", "no xml",
                                      "<ListBucketResult><Contents><Key>pre/x</Key></Contents></ListBucketResult>",
                                      "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"};
    for (size_t i = 0; i < 4; i++) {
        char answer[400];
        snprintf(answer, sizeof answer, HEAD("200 OK") "Connection: close\r\n\r\n%s", bad[i]);
        const struct http_answer one = {.bytes = answer, .hang_up = true};
        h = http_server_start(&one, 1);
        s = open_at(h, "");
        FAILS(ERR_NET_ANSWER, "", store_list(s, "", count, NULL, e));
        store_close(s);
        http_server_stop(h);
    }
}

/* Requests of several threads come in any order: wait for one before the next is made. */
static void wait_for_requests(struct http_server *h, int n) {
    const struct timespec moment = {.tv_nsec = 5000000};
    for (int i = 0; i < 2000 && (int)http_server_requests(h) < n; i++) nanosleep(&moment, NULL);
    assert_int_equal(http_server_requests(h), n);
}

static void what_failed_stays_staged(void **state) {
    (void)state;
    const struct http_answer a[] = {
        {.bytes = EMPTY},
        {.bytes = FAULT("403 Forbidden", CODE("AccessDenied", "not now")), .hang_up = true},
        {.bytes = EMPTY},
    };
    keys_in_environment();
    struct http_server *h = http_server_start(a, 3);
    struct store *s = open_at(h, "");
    struct bytes none = text("none"), one = text("one"), two = text("two");
    OK(store_stage(s, "p/0", &none, 1, e));
    wait_for_requests(h, 1);
    OK(store_stage(s, "p/1", &one, 1, e));
    wait_for_requests(h, 2);
    OK(store_stage(s, "p/2", &two, 1, e));
    struct error err = ERROR_INIT;
    assert_int_equal(store_commit(s, &err), -ERR_S3_DENIED);
    assert_non_null(strstr(err.text, "cannot store the object p/1"));
    assert_non_null(strstr(err.state, "kept"));
    assert_string_equal(err.next, "Grant s3:PutObject on this bucket to the credentials, or use others that have it.");
    assert_int_equal(http_server_requests(h), 3);
    OK(store_commit(s, e));
    assert_int_equal(http_server_requests(h), 4);
    assert_non_null(strstr(http_server_request(h, 3, NULL), "PUT /bucket/pre/p/1 "));
    OK(store_commit(s, e));
    assert_int_equal(http_server_requests(h), 4);
    store_close(s);
    http_server_stop(h);
}

static void a_close_waits_for_nothing(void **state) {
    (void)state;
    const struct http_answer a = {.bytes = EMPTY, .stall_ms = 20000};
    keys_in_environment();
    struct http_server *h = http_server_start(&a, 1);
    struct store *s = open_at(h, "");
    struct bytes one = text("one");
    int64_t begun = time_monotonic_ns();
    OK(store_stage(s, "p/1", &one, 1, e));
    store_close(s);
    assert_true(time_monotonic_ns() - begun < 5 * NS_PER_S);
    http_server_stop(h);
}

static void unfinished_uploads_are_aborted_a_day_later(void **state) {
    (void)state;
#define UPLOAD(key, id, when)                                                                                          \
    "<Upload><Key>" key "</Key><UploadId>" id "</UploadId><Initiated>" when "</Initiated></Upload>"
    const struct http_answer a[] = {
        {.bytes = FAULT(
             "200 OK", "<ListMultipartUploadsResult>" UPLOAD("pre/index/old", "id/1", "2026-11-19T04:00:00.000Z")
                           UPLOAD("pre/index/young", "id2", "2026-11-20T05:00:00.000Z")
                               UPLOAD("others/old", "id3", "2020-11-20T05:00:00.000Z") "</ListMultipartUploadsResult>"),
         .hang_up = true},
        {.bytes = HEAD("204 No Content") "\r\n"},
        {.bytes = EMPTY},
    };
    keys_in_environment();
    struct http_server *h = http_server_start(a, 3);
    struct store *s = open_at(h, "");
    struct bytes one = text("one");
    store_tidy(s);
    OK(store_stage(s, "p/1", &one, 1, e));
    OK(store_commit(s, e));
    assert_non_null(strstr(http_server_request(h, 0, NULL), "GET /bucket/?prefix=pre%2F&uploads= HTTP"));
    assert_non_null(strstr(http_server_request(h, 1, NULL), "DELETE /bucket/pre/index/old?uploadId=id%2F1 HTTP"));
    assert_non_null(strstr(http_server_request(h, 2, NULL), "PUT /bucket/pre/p/1 HTTP"));
    assert_int_equal(http_server_requests(h), 3);
    store_close(s);
    http_server_stop(h);
}

static void a_large_object_that_fails_is_aborted(void **state) {
    (void)state;
    const char *failed = FAULT("200 OK", CODE("InternalError", "try again"));
    const struct http_answer a[] = {
        {.bytes = EMPTY},
        {.bytes = FAULT("404 Not Found", ""), .hang_up = true}, /* HEAD */
        {.bytes =
             FAULT("200 OK", "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>"),
         .hang_up = true},
        {.bytes = EMPTY},
        {.bytes = EMPTY},
        {.bytes = EMPTY},
        {.bytes = failed, .hang_up = true},
        {.bytes = failed, .hang_up = true}, /* 200 was said too early */
        {.bytes = FAULT("200 OK", CODE("InvalidPart", "bad")), .hang_up = true},
        {.bytes = HEAD("204 No Content") "\r\n"},
    };
    keys_in_environment();
    struct http_server *h = http_server_start(a, sizeof a / sizeof *a);
    struct store *s = open_at(h, "");
    size_t n = ((size_t)32 << 20) + 1;
    uint8_t *p = calloc(1, n);
    struct bytes part = BYTES_OF(p, n);
    struct bytes small = text("small");
    OK(store_stage(s, "p/1", &small, 1, e));
    OK(store_commit(s, e));
    FAILS(ERR_S3_REFUSED, "InvalidPart: bad", store_stage(s, "index/x", &part, 1, e));
    size_t last = http_server_requests(h) - 1;
    assert_int_equal(last, 9);
    assert_non_null(strstr(http_server_request(h, last, NULL), "DELETE /bucket/pre/index/x?uploadId=u%2F1 HTTP"));
    const char *complete = http_server_request(h, 6, NULL);
    assert_non_null(strstr(complete, "POST /bucket/pre/index/x?uploadId=u%2F1 HTTP"));
    assert_non_null(strcasestr(complete, "\r\nif-none-match: *\r\n"));
    assert_non_null(strstr(complete, "<PartNumber>3</PartNumber><ETag>&quot;1&quot;</ETag><ChecksumSHA256>"));
    free(p);
    store_close(s);
    http_server_stop(h);
}

static struct http_server *faulty_server;
static void fault_round(void *arg, uint64_t n) {
    struct store *s = NULL;
    struct error err = ERROR_INIT;
    char url[256];
    uint8_t into[8];
    size_t got;
    (void)n;
    snprintf(url, sizeof url, "s3://bucket/pre?endpoint=%s&region=eu-west-1&connections=1",
             http_server_url(faulty_server));
    struct bytes content = text("body");
    int rc = store_open(url, true, &s, &err);
    if (rc == 0) rc = store_create(s, "a", content, &err);
    if (rc == 0) rc = store_stage(s, "b", &content, 1, &err);
    if (rc == 0) rc = store_commit(s, &err);
    if (rc == 0) rc = store_read(s, "c", 0, into, 1, &got, &err);
    store_close(s);
    if (rc == 0) return;
    ++*(int *)arg;
    assert_int_equal(-rc, err.code);
    assert_true(strlen(err.text) > 5);
}

static void each_call_failing_is_an_error_or_none(void **state) {
    (void)state;
    const struct http_answer a = {.bytes = HEAD("200 OK") "ETag: \"1\"\r\nContent-Length: 0\r\n\r\n"};
    keys_in_environment();
    faulty_server = http_server_start(&a, 1);
    int failures = 0;
    assert_true(fault_each(false, fault_round, &failures) > 100);
    assert_true(failures > 30);
    http_server_stop(faulty_server);
}

int main(void) {
    struct error err = ERROR_INIT;
    if (crypto_init(&err) < 0) return 1;
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    setenv("no_proxy", "*", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_are_the_published_ones),
        cmocka_unit_test(xml_is_walked_and_what_is_none_is_refused),
        cmocka_unit_test(addresses_are_strict),
        cmocka_unit_test(each_refusal_is_its_own_error),
        cmocka_unit_test(what_head_cannot_say_is_asked_for),
        cmocka_unit_test(what_passes_is_tried_again),
        cmocka_unit_test(one_that_never_recovers_is_given_up),
        cmocka_unit_test(a_create_whose_answer_was_lost_knows_its_own),
        cmocka_unit_test(settings_go_out_with_every_object),
        cmocka_unit_test(lists_have_pages_and_an_end),
        cmocka_unit_test(what_failed_stays_staged),
        cmocka_unit_test(a_close_waits_for_nothing),
        cmocka_unit_test(unfinished_uploads_are_aborted_a_day_later),
        cmocka_unit_test(a_large_object_that_fails_is_aborted),
        cmocka_unit_test(each_call_failing_is_an_error_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
