/* Where credentials come from, in which order, and how they are kept fresh. */
#include "store_test.h"

#include "harness/http_server.h"
#include "harness/scratch.h"

#include "base/time.h"
#include "store/s3/credentials.h"
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

static struct scratch scratch;

/* None of a developer's own. */
static void forget_all(void) {
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_PROFILE",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_CONFIG_FILE",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                        "AWS_EC2_METADATA_SERVICE_ENDPOINT"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
    setenv("HOME", scratch.path, 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
}

static struct credential_chain *chain(const char *file, const char *profile) {
    struct credential_chain *c = NULL;
    struct credential_options o = {file, profile};
    OK(credential_chain_new(&o, &c, e));
    return c;
}

static void is(struct credential_chain *c, const char *access_key, const char *secret_key, const char *token,
               const char *source) {
    struct credential *k = NULL;
    OK(credential_get(c, NULL, &k, e));
    assert_string_equal(k->access_key, access_key);
    assert_true(bytes_equal(secret_bytes(k->secret_key), text(secret_key)));
    assert_int_equal(k->token != NULL, token != NULL);
    if (token) assert_string_equal((const char *)secret_bytes(k->token).ptr, token);
    if (!strstr(k->source, source)) fail_msg("'%s' is not from '%s'", k->source, source);
    credential_release(k);
}

static void put(const char *name, const char *content, mode_t mode) {
    mkdir(scratch_path(&scratch, ".aws"), 0700);
    scratch_write(&scratch, name, content, strlen(content));
    assert_int_equal(chmod(scratch_path(&scratch, name), mode), 0);
}

static void none_is_said_with_the_places(void **state) {
    (void)state;
    forget_all();
    struct credential_chain *c = chain(NULL, NULL);
    struct credential *k = NULL;
    struct error err = ERROR_INIT;
    assert_int_equal(credential_get(c, NULL, &k, &err), -ERR_S3_NO_CREDENTIALS);
    static const char *const says[] = {"AWS_ACCESS_KEY_ID is not set", "/.aws/credentials", "/.aws/config",
                                       "no container's endpoint", "metadata is switched off"};
    for (size_t i = 0; i < 5; i++)
        if (!strstr(err.text, says[i])) fail_msg("'%s' does not say '%s'", err.text, says[i]);
    setenv("AWS_ACCESS_KEY_ID", "AKIA", 1);
    FAILS(ERR_S3_NO_CREDENTIALS, "AWS_SECRET_ACCESS_KEY is not set", credential_get(c, NULL, &k, e));
    char region[64];
    OK(credential_region(c, region, e));
    assert_string_equal(region, "us-east-1");
    credential_chain_free(c);
}

static void variables_stand_above_profiles(void **state) {
    (void)state;
    forget_all();
    put(".aws/credentials", "[default]\naws_access_key_id = AKFILE\naws_secret_access_key=filesecret\n", 0600);
    struct credential_chain *c = chain(NULL, NULL);
    is(c, "AKFILE", "filesecret", NULL, "the profile default of ");
    credential_chain_free(c);
    setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "envsecret", 1);
    setenv("AWS_SESSION_TOKEN", "envtoken", 1);
    c = chain(NULL, NULL);
    is(c, "AKENV", "envsecret", "envtoken", "environment");
    credential_chain_free(c);
    c = chain(NULL, "default"); /* but not above one that was asked for by name */
    is(c, "AKFILE", "filesecret", NULL, "the profile default of ");
    credential_chain_free(c);
}

static void profiles_are_read_as_aws_reads_them(void **state) {
    (void)state;
    forget_all();
    put(".aws/credentials",
        "# a comment\n; another\r\n[ default ]\naws_access_key_id=AK1\naws_secret_access_key=s1\n"
        "[work]\r\naws_access_key_id = AK2\r\naws_secret_access_key = s/2+=\r\naws_session_token = t2\r\nregion = "
        "eu-north-1\r\n"
        "[empty]\n",
        0600);
    put(".aws/config",
        "[default]\nregion = eu-west-3\ns3 =\n  region = nested\n[profile conf]\naws_access_key_id=AK3\n"
        "aws_secret_access_key=s3\nregion=ap-east-1\n[profile assumed]\nrole_arn = "
        "arn:x\nregion=us-west-1\n[conf]\nregion=wrong\n",
        0600);
    struct credential_chain *c = chain(NULL, NULL);
    char region[64];
    is(c, "AK1", "s1", NULL, "default");
    OK(credential_region(c, region, e));
    assert_string_equal(region, "eu-west-3");
    setenv("AWS_REGION", "sa-east-1", 1);
    OK(credential_region(c, region, e));
    assert_string_equal(region, "sa-east-1");
    unsetenv("AWS_REGION");
    credential_chain_free(c);
    setenv("AWS_PROFILE", "work", 1);
    c = chain(NULL, NULL);
    is(c, "AK2", "s/2+=", "t2", "work");
    OK(credential_region(c, region, e));
    assert_string_equal(region, "eu-north-1");
    credential_chain_free(c);
    c = chain(NULL, "conf");
    is(c, "AK3", "s3", NULL, "conf");
    OK(credential_region(c, region, e));
    assert_string_equal(region, "ap-east-1");
    credential_chain_free(c);
    struct credential *k = NULL;
    c = chain(NULL, "assumed");
    FAILS(ERR_S3_NO_CREDENTIALS, "this version does not follow its role_arn", credential_get(c, NULL, &k, e));
    credential_chain_free(c);
    c = chain(NULL, "empty");
    FAILS(ERR_S3_NO_CREDENTIALS, "has no keys in profile empty", credential_get(c, NULL, &k, e));
    credential_chain_free(c);
    c = chain(NULL, "nobody");
    FAILS(ERR_S3_NO_CREDENTIALS, "has no profile nobody", credential_get(c, NULL, &k, e));
    credential_chain_free(c);
}

static void files_open_to_others_are_refused(void **state) {
    (void)state;
    forget_all();
    put("keys", "[default]\naws_access_key_id=AK\naws_secret_access_key=wJalrSecret\n", 0644);
    struct credential_chain *c = chain(scratch_path(&scratch, "keys"), NULL);
    struct credential *k = NULL;
    struct error err = ERROR_INIT;
    assert_int_equal(credential_get(c, NULL, &k, &err), -ERR_SECRET);
    assert_non_null(strstr(err.text, "mode 0644"));
    assert_null(strstr(err.text, "wJalr"));
    assert_int_equal(chmod(scratch_path(&scratch, "keys"), 0600), 0);
    is(c, "AK", "wJalrSecret", NULL, "default"); /* a chain that failed can be asked again */
    credential_chain_free(c);
    c = chain(scratch_path(&scratch, "none"), NULL);
    FAILS(ERR_S3_NO_CREDENTIALS, "there is no", credential_get(c, NULL, &k, e));
    credential_chain_free(c);
    c = chain(scratch.path, NULL);
    FAILS(ERR_IO_READ, "not a regular file", credential_get(c, NULL, &k, e));
    credential_chain_free(c);
    put("keys", "[default]\naws_access_key_id=AK KA\naws_secret_access_key=x\naws_session_token=a\n", 0600);
}

static char answers[4][512];
static const char *keys_until(int i, const char *access_key, int64_t expires_ns) {
    char until[32];
    time_format(expires_ns, until);
    snprintf(answers[i], sizeof answers[i],
             HEAD "{\"Code\":\"Success\",\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s-%s\",\"Token\":\"t-%s\","
                  "\"Expiration\":\"%s\"}",
             access_key, access_key, access_key, until);
    return answers[i];
}

static void a_containers_credentials_are_renewed_before_they_expire(void **state) {
    (void)state;
    forget_all();
    int64_t now = time_now_ns();
    const struct http_answer a[] = {
        {.bytes = keys_until(0, "AK1", now + 60 * NS_PER_S), .hang_up = true}, /* about to expire */
        {.bytes = keys_until(1, "AK2", now + 3600 * NS_PER_S), .hang_up = true},
        {.bytes = keys_until(2, "AK3", now + 3600 * NS_PER_S), .hang_up = true},
    };
    struct http_server *h = http_server_start(a, 3);
    char url[128];
    snprintf(url, sizeof url, "%s/creds?x=1", http_server_url(h));
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
    put("token", "Bearer abc\n", 0600);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", scratch_path(&scratch, "token"), 1);
    put(".aws/credentials", "", 0600);
    put(".aws/config", "", 0600);
    struct credential_chain *c = chain(NULL, NULL);
    is(c, "AK1", "s-AK1", "t-AK1", "container");
    assert_non_null(strstr(http_server_request(h, 0, NULL), "GET /creds?x=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(http_server_request(h, 0, NULL), "Authorization: Bearer abc\r\n"));
    is(c, "AK2", "s-AK2", "t-AK2", "container");
    is(c, "AK2", "s-AK2", "t-AK2", "container"); /* fresh enough now */
    assert_int_equal(http_server_requests(h), 2);
    struct credential *refused = NULL, *other = NULL;
    OK(credential_get(c, NULL, &refused, e));
    OK(credential_get(c, refused, &other, e)); /* the server did not take it */
    assert_string_equal(other->access_key, "AK3");
    credential_release(refused), credential_release(other);
    credential_chain_free(c);
    http_server_stop(h);
    c = chain(NULL, NULL);
    struct credential *k = NULL;
    FAILS(ERR_S3_NO_CREDENTIALS, "127.0.0.1", credential_get(c, NULL, &k, e));
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/creds", 1);
    FAILS(ERR_S3_NO_CREDENTIALS, "neither https nor on this host", credential_get(c, NULL, &k, e));
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1.example.com/creds", 1);
    FAILS(ERR_S3_NO_CREDENTIALS, "neither https nor on this host", credential_get(c, NULL, &k, e));
    credential_chain_free(c);
}

static void an_old_one_serves_while_a_new_one_cannot_be_had(void **state) {
    (void)state;
    forget_all();
    const struct http_answer a[] = {
        {.bytes = keys_until(0, "AK1", time_now_ns() + 60 * NS_PER_S), .hang_up = true},
        {.bytes = "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n", .hang_up = true},
    };
    struct http_server *h = http_server_start(a, 2);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", http_server_url(h), 1);
    struct credential_chain *c = chain(NULL, NULL);
    is(c, "AK1", "s-AK1", "t-AK1", "container");
    is(c, "AK1", "s-AK1", "t-AK1", "container");
    struct credential *refused = NULL, *other = NULL;
    OK(credential_get(c, NULL, &refused, e));
    FAILS(ERR_S3_NO_CREDENTIALS, "answers 404", credential_get(c, refused, &other, e)); /* not when it was refused */
    credential_release(refused);
    credential_chain_free(c);
    http_server_stop(h);
}

static void an_instances_role_is_asked_for_by_token(void **state) {
    (void)state;
    forget_all();
    const struct http_answer a[] = {
        {.bytes = HEAD "TOKEN==", .hang_up = true},
        {.bytes = HEAD "my-role\nsecond\n", .hang_up = true},
        {.bytes = keys_until(0, "AKI", time_now_ns() + 3600 * NS_PER_S), .hang_up = true},
        {.bytes = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n", .hang_up = true},
    };
    struct http_server *h = http_server_start(a, 4);
    unsetenv("AWS_EC2_METADATA_DISABLED");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", http_server_url(h), 1);
    struct credential_chain *c = chain(NULL, NULL);
    is(c, "AKI", "s-AKI", "t-AKI", "instance");
    assert_non_null(strstr(http_server_request(h, 0, NULL), "PUT /latest/api/token HTTP/1.1\r\n"));
    assert_non_null(strstr(http_server_request(h, 0, NULL), "X-aws-ec2-metadata-token-ttl-seconds: "));
    assert_non_null(
        strstr(http_server_request(h, 2, NULL), "GET /latest/meta-data/iam/security-credentials/my-role HTTP/1.1\r\n"));
    assert_non_null(strstr(http_server_request(h, 2, NULL), "X-aws-ec2-metadata-token: TOKEN==\r\n"));
    credential_chain_free(c);
    c = chain(NULL, NULL);
    struct credential *k = NULL;
    FAILS(ERR_S3_NO_CREDENTIALS, "/latest/api/token answers 403", credential_get(c, NULL, &k, e));
    credential_chain_free(c);
    http_server_stop(h);
    const struct http_answer bad[] = {{.bytes = HEAD "TOKEN", .hang_up = true},
                                      {.bytes = HEAD "role", .hang_up = true},
                                      {.bytes = HEAD "{\"Code\":\"Failed\"}", .hang_up = true}};
    h = http_server_start(bad, 3);
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", http_server_url(h), 1);
    c = chain(NULL, NULL);
    FAILS(ERR_S3_NO_CREDENTIALS, "holds no credentials", credential_get(c, NULL, &k, e));
    credential_chain_free(c);
    http_server_stop(h);
}

static int times;
static int64_t lives_ns;
static int give(void *ctx, struct secret **ret, struct error *err) {
    char until[32], content[300];
    time_format(time_now_ns() + lives_ns, until);
    const char *text_ = ctx, *at = strchr(text_, '@');
    snprintf(content, sizeof content, "%.*s%s%s", (int)(at - text_), text_, until, at + 1);
    times++;
    return secret_new(BYTES_STR(content), ret, err);
}

static void the_configurations_stand_above_all(void **state) {
    (void)state;
    forget_all();
    setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "envsecret", 1);
    static char ini[] = "[default]\naws_access_key_id=AK\naws_secret_access_key=s\n# @\n";
    static char json[] = "{\"Version\":1,\"AccessKeyId\":\"AKP\",\"SecretAccessKey\":\"sp\",\"SessionToken\":\"tp\","
                         "\"Expiration\":\"@\"}";
    static char none[] = "[other]\naws_access_key_id=AK\naws_secret_access_key=wJalr\n# @\n";
    struct credential_chain *c = NULL;
    OK(credential_chain_new(&(struct credential_options){.secret = give, .ctx = ini}, &c, e));
    is(c, "AK", "s", NULL, "configuration");
    is(c, "AK", "s", NULL, "configuration");
    assert_int_equal(times, 1);
    credential_chain_free(c);
    OK(credential_chain_new(&(struct credential_options){.secret = give, .ctx = json}, &c, e));
    lives_ns = 30 * NS_PER_S; /* about to expire, so asked for each time */
    is(c, "AKP", "sp", "tp", "configuration");
    lives_ns = 3600 * NS_PER_S;
    is(c, "AKP", "sp", "tp", "configuration");
    is(c, "AKP", "sp", "tp", "configuration");
    assert_int_equal(times, 3);
    credential_chain_free(c);
    OK(credential_chain_new(&(struct credential_options){.secret = give, .ctx = none}, &c, e));
    struct credential *k = NULL;
    struct error err = ERROR_INIT;
    assert_int_equal(credential_get(c, NULL, &k, &err), -ERR_S3_NO_CREDENTIALS);
    assert_non_null(strstr(err.text, "no keys under [default]"));
    assert_null(strstr(err.text, "wJalr"));
    credential_chain_free(c);
}

int main(void) {
    struct error err = ERROR_INIT;
    if (crypto_init(&err) < 0) return 1;
    scratch_make(&scratch);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_said_with_the_places),
        cmocka_unit_test(variables_stand_above_profiles),
        cmocka_unit_test(profiles_are_read_as_aws_reads_them),
        cmocka_unit_test(files_open_to_others_are_refused),
        cmocka_unit_test(a_containers_credentials_are_renewed_before_they_expire),
        cmocka_unit_test(an_old_one_serves_while_a_new_one_cannot_be_had),
        cmocka_unit_test(an_instances_role_is_asked_for_by_token),
        cmocka_unit_test(the_configurations_stand_above_all),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove(&scratch);
    return failed;
}
