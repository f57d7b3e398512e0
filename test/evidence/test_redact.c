/* Nothing that looks like a credential, and nothing known to be one, gets through. */
#include "base/seam.h"
#include "evidence/redact.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void clean(const char *text, const struct redaction *r, const char *want) {
    struct error err = ERROR_INIT;
    CLEANUP(buf_free) struct buf out = BUF_INIT(65536);
    if (redact_text(text, r, &out, &err) < 0) fail_msg("%s", err.text);
    if (!bytes_equal(buf_bytes(&out), BYTES_STR(want)))
        fail_msg("'%s' became '%.*s', not '%s'", text, (int)out.len, (const char *)out.ptr, want);
}

static void plain_words_stay(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "pg_dump ended with status 1: relation \"a\" does not exist",
        "FATAL:  password authentication failed for user \"backup\"",
        "s3://bucket/path/user@example.com",
        "http://host:8080/a@b is fine",
        "https://example.com/x?y=z#frag",
        "no secrets here, and no tokens either",
        "bearer of bad news",
        "gr\xc3\xbc\xc3\x9f\x65 \xe2\x80\x94 line\nnext\tcolumn",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) clean(texts[i], NULL, texts[i]);
}

static void urls_lose_their_credentials(void **state) {
    (void)state;
    clean("connect postgresql://bob:hunter2@db:5432/app failed", NULL,
          "connect postgresql://[redacted]@db:5432/app failed");
    clean("redis://:hunter2@cache:6379/0", NULL, "redis://[redacted]@cache:6379/0");
    clean("https://token123@git.example.com/x.git", NULL, "https://[redacted]@git.example.com/x.git");
    clean("a://u:p@h b://v:q@i", NULL, "a://[redacted]@h b://[redacted]@i");
    clean("redis://:hun/ter2@cache", NULL, "redis://[redacted]@cache");
    clean("p://u:a@b:c@host/x", NULL, "p://[redacted]@host/x");
}

static void named_values_are_dropped(void **state) {
    (void)state;
    clean("password=hunter2 host=db", NULL, "password=[redacted] host=db");
    clean("host=db password = 'hun ter\\'2' dbname=x", NULL, "host=db password = [redacted] dbname=x");
    clean("PGPASSWORD=hunter2 pg_dump", NULL, "PGPASSWORD=[redacted] pg_dump");
    clean("{\"password\": \"hun\\\"ter2\", \"a\": 1}", NULL, "{\"password\": [redacted], \"a\": 1}");
    clean("Password: hunter2", NULL, "Password: [redacted]");
    clean("AWS_SECRET_ACCESS_KEY=abc/def+g", NULL, "AWS_SECRET_ACCESS_KEY=[redacted]");
    clean("db_password_2=hunter2", NULL, "db_password_2=[redacted]");
    clean("api_key: k-123, next", NULL, "api_key: [redacted] next");
    clean("Authorization: Bearer abcdefgh.ijkl", NULL, "Authorization: [redacted]");
    clean("Authorization: Basic dXNlcjpwYXNz", NULL, "Authorization: [redacted]");
    clean("sent bearer abcdefgh12345, refused", NULL, "sent bearer [redacted], refused");
    clean("?X-Amz-Signature=00ff&x=1 end", NULL, "?X-Amz-Signature=[redacted] end");
    clean("id AKIAIOSFODNN7EXAMPLE used", NULL, "id [redacted] used");
    clean("passwd='open", NULL, "passwd=[redacted]");
    clean("secret => 'x y' end", NULL, "secret => [redacted] end");
    clean("key:\n-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\nafter", NULL, "key:\n[redacted]\nafter");
    clean("-----BEGIN PRIVATE KEY-----\nMIIB", NULL, "[redacted]");
    clean("-----BEGIN CERTIFICATE-----\nMIIB", NULL, "-----BEGIN CERTIFICATE-----\nMIIB");
}

static void known_secrets_are_dropped_wherever_they_stand(void **state) {
    (void)state;
    const struct bytes secrets[] = {BYTES_STR("hunter2"), BYTES_OF("", 0), BYTES_STR("hunter2-and-more"),
                                    BYTES_OF("\xff\x01z", 3)};
    const struct redaction r = {secrets, 4};
    clean("xhunter2y hunter2", &r, "x[redacted]y [redacted]");
    clean("the longer hunter2-and-more first", &r, "the longer [redacted] first");
    clean("not quite: hunter", &r, "not quite: hunter");
    clean("bytes \xff\x01z too", &r, "bytes [redacted] too");
    clean("password=hunter2", &r, "password=[redacted]");
    /* a secret with a space in it, behind a word that alone would end at the space */
    const struct bytes spaced[] = {BYTES_STR("abc def")};
    clean("password=abc def", &(struct redaction){spaced, 1}, "password=[redacted]");
}

static void what_is_no_text_becomes_text(void **state) {
    (void)state;
    clean("a\x01\x02z", NULL, "a  z");
    clean("bad \xc3\x28 and \xff.", NULL, "bad ?( and ?.");
    clean("\xed\xa0\x80", NULL, "???");
}

static void every_string_of_a_document_is_cleaned(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    const struct bytes secrets[] = {BYTES_STR("hunter2")};
    const struct redaction r = {secrets, 1};
    json_t *in = json_pack("{s:s,s:[s,i,n,b],s:{s:s}}", "a", "x hunter2", "b", "u://a:b@c", 7, 1, "c", "d", "hunter2");
    json_t *out = NULL, *want = json_pack("{s:s,s:[s,i,n,b],s:{s:s}}", "a", "x [redacted]", "b", "u://[redacted]@c", 7,
                                          1, "c", "d", "[redacted]");
    if (redact_json(in, &r, &out, &err) < 0) fail_msg("%s", err.text);
    assert_true(json_equal(out, want));
    json_decref(in);
    json_decref(out);
    json_decref(want);
}

static void known(const char *text, const struct redaction *r, const char *want) {
    struct error err = ERROR_INIT;
    CLEANUP(buf_free) struct buf out = BUF_INIT(65536);
    if (redact_known(text, r, &out, &err) < 0) fail_msg("%s", err.text);
    if (strcmp((const char *)out.ptr, want) != 0)
        fail_msg("'%s' became '%s', not '%s'", text, (const char *)out.ptr, want);
}

static void messages_lose_known_secrets_alone_and_what_was_cut_of_them(void **state) {
    (void)state;
    const struct bytes secrets[] = {BYTES_STR("hunter22"), BYTES_STR("")};
    const struct redaction r = {secrets, 2};
    known("", &r, "");
    known("password: wrong for ahunter22b", &r, "password: wrong for a[redacted]b");
    known("the output was cut at hunte", &r, "the output was cut at [redacted]");
    known("but not at hun", &r, "but not at hun");
    known("nor hunter in the middle", &r, "nor hunter in the middle");
    known("token=kept", NULL, "token=kept");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_words_stay),
        cmocka_unit_test(urls_lose_their_credentials),
        cmocka_unit_test(named_values_are_dropped),
        cmocka_unit_test(known_secrets_are_dropped_wherever_they_stand),
        cmocka_unit_test(what_is_no_text_becomes_text),
        cmocka_unit_test(every_string_of_a_document_is_cleaned),
        cmocka_unit_test(messages_lose_known_secrets_alone_and_what_was_cut_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
