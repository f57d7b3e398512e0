/* A synchronisation with servers that are slow, old, confused or broken: only a whole one is a capture. The server here
 * is a script of answers; real ones are in test/e2e/redis.sh. */
#include "harness/claims.h"
#include "harness/fault.h"
#include "surface/fake_sink.h"
#include "surface/redis/crc64.h"
#include "surface/redis/redis_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define INFO "redis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\nrun_id:abc\r\nloading:0\r\n"
#define MARK "0123456789012345678901234567890123456789"

struct script {
    const char *info, *rdb_only, *psync; /* lines to answer with */
    struct bytes payload;
    bool byte_by_byte;
    const char *restore, *load; /* answers to RESTORE: of the question beforehand, of keys */
    unsigned removed;           /* UNLINKs that came */
};
static char folder[64], path[128];
static int listener;
static struct script script; /* and what it points to: read by connections, changed only while there are none */
static struct fake *fake;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fewer = PTHREAD_COND_INITIALIZER;
static unsigned connections;

static void count_connections(int by) {
    pthread_mutex_lock(&lock);
    connections += (unsigned)by;
    pthread_cond_broadcast(&fewer);
    pthread_mutex_unlock(&lock);
}
/* Connections are taken in their order: when this one is answered, those before it are counted. */
static void answered(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char c = 0;
    snprintf(to.sun_path, sizeof to.sun_path, "%s/s", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 || send(fd, "*1\r\n$4\r\nPING\r\n", 14, MSG_NOSIGNAL) != 14)
        abort();
    while (c != '\n' && recv(fd, &c, 1, 0) == 1) continue;
    close(fd);
}

/* The script, once the last client's connections have ended. */
static struct script *at_rest(void) {
    answered();
    pthread_mutex_lock(&lock);
    while (connections) pthread_cond_wait(&fewer, &lock);
    pthread_mutex_unlock(&lock);
    return &script;
}

static void say(int fd, const void *p, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t put = send(fd, (const char *)p + at, script.byte_by_byte ? 1 : n - at, MSG_NOSIGNAL);
        if (put <= 0) return;
        at += (size_t)put;
    }
}
static void line(int fd, const char *text) {
    say(fd, text, strlen(text));
    say(fd, "\r\n", 2);
}

/* The next command's words, joined; false when the client has gone. */
static bool command(FILE *in, char *out, size_t n) {
    char head[64];
    out[0] = 0;
    if (!fgets(head, sizeof head, in)) return false;
    for (int words = atoi(head + 1); words > 0; words--) {
        char word[512] = "";
        if (!fgets(head, sizeof head, in)) return false;
        size_t len = (size_t)atoi(head + 1);
        if (len + 2 > sizeof word || fread(word, 1, len + 2, in) != len + 2) return false;
        word[len] = 0;
        snprintf(out + strlen(out), n - strlen(out), "%s%s", out[0] ? " " : "", word);
    }
    return true;
}

static void *serve_one(void *arg) {
    int fd = (int)(intptr_t)arg;
    FILE *in = fdopen(dup(fd), "r");
    char words[2048], head[64];
    while (command(in, words, sizeof words)) {
        if (!strncmp(words, "INFO", 4)) {
            say(fd, head, (size_t)snprintf(head, sizeof head, "$%zu\r\n", strlen(script.info)));
            line(fd, script.info);
        } else if (!strncmp(words, "ACL", 3)) {
            line(fd, "*1\r\n$21\r\nuser default on ~* -@");
        } else if (!strncmp(words, "CONFIG", 6)) {
            line(fd, "-NOPERM this user has no permissions to run the 'config|get' command");
        } else if (!strncmp(words, "REPLCONF rdb-only", 17)) {
            line(fd, script.rdb_only);
        } else if (!strncmp(words, "REPLCONF", 8)) {
            line(fd, "+OK");
        } else if (!strncmp(words, "PSYNC", 5)) {
            say(fd, script.psync, strlen(script.psync));
            say(fd, script.payload.ptr, script.payload.len);
            break;
        } else if (!strncmp(words, "RESTORE", 7)) {
            line(fd, strstr(words, "proofkeep:probe") || !script.load ? script.restore : script.load);
        } else if (!strncmp(words, "SELECT", 6)) {
            line(fd, "+OK");
        } else if (!strncmp(words, "DBSIZE", 6)) {
            line(fd, ":0");
        } else if (!strncmp(words, "UNLINK", 6)) {
            script.removed++;
            line(fd, ":1");
        } else {
            line(fd, "-ERR unknown command");
        }
    }
    fclose(in);
    close(fd);
    count_connections(-1);
    return NULL;
}

static void *serve(void *arg) {
    (void)arg;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t t;
        if (fd < 0) return NULL;
        count_connections(1);
        if (pthread_create(&t, NULL, serve_one, (void *)(intptr_t)fd) != 0) abort();
        pthread_detach(t);
    }
}

static pthread_t server;
static int setup(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(folder, sizeof folder, "/tmp/pk-sync-XXXXXX");
    if (!mkdtemp(folder) || crypto_init(&err) < 0) return -1;
    snprintf(path, sizeof path, "%s/s", folder);
    snprintf(to.sun_path, sizeof to.sun_path, "%s/s", folder);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&to, sizeof to) < 0 || listen(listener, 8) < 0) return -1;
    fake = fake_new();
    return pthread_create(&server, NULL, serve, NULL);
}
static int teardown(void **state) {
    (void)state;
    shutdown(listener, SHUT_RDWR);
    pthread_join(server, NULL);
    close(listener);
    fake_free(fake);
    unlink(path);
    return rmdir(folder);
}

static struct bytes rdb(void) {
    static uint8_t out[64];
    (void)at_rest();
    memcpy(out, "REDIS0010\xfe\x00\x00\x01k\x01v\xff", 17);
    put_u64(out + 17, redis_crc64(0, BYTES_OF(out, 17)));
    return BYTES_OF(out, 25);
}

static int capture(struct script with, struct capture_result *ret, struct error *err) {
    json_t *settings = json_pack("{s:{s:s}}", "server", "host", path);
    struct surface_context ctx = {
        .environment = "lab", .name = "cache", .settings = settings, .jobs = 1, .scratch_dir = folder};
    *at_rest() = with;
    int r = surface_redis.capture(&ctx, fake_sink(fake), ret, err);
    json_decref(settings);
    struct error seal = ERROR_INIT;
    if (r == 0)
        claim_ok(fake_seal(fake, &seal), seal);
    else
        fake_abandon(fake);
    return r;
}

static void claim_whole(struct script with, const char *transfer) {
    struct error err = ERROR_INIT;
    struct capture_result got;
    struct fake_view item;
    claim_ok(capture(with, &got, &err), err);
    assert_string_equal(got.consistency, "exact");
    assert_string_equal(json_string_value(json_object_get(got.facts, "rdb_transfer")), transfer);
    assert_string_equal(json_string_value(json_object_get(got.facts, "rdb_checksum")), "verified");
    assert_true(fake_find(fake, "db/0/keys", &item));
    assert_int_equal(item.bytes, 7);
    assert_memory_equal(item.data, "\x01k\x00\x00\x02\x01v", 7);
    assert_true(fake_find(fake, "acl", &item));
    json_decref(got.facts);
    json_decref(got.invariants);
}

static struct script counted(void) {
    return (struct script){INFO, "+OK", "+FULLRESYNC abcdefabcdefabcdefabcdefabcdefabcdefabcd 14\r\n$25\r\n", rdb(),
                           false};
}
static struct bytes marked_with(const char *mark) {
    static uint8_t out[128];
    memcpy(out, rdb().ptr, 25);
    memcpy(out + 25, mark, strlen(mark));
    return BYTES_OF(out, 25 + strlen(mark));
}

static void both_forms_of_transfer_are_read(void **state) {
    (void)state;
    struct script s = counted();
    claim_whole(s, "counted");
    s.byte_by_byte = true;
    claim_whole(s, "counted");
    s.psync =
        "\n\n\n\n+FULLRESYNC abcdefabcdefabcdefabcdefabcdefabcdefabcd 14\r\n\n\n\n$EOF:" MARK "\r\n"; /* keep-alives */
    s.payload = marked_with(MARK);
    claim_whole(s, "marked");
    s.rdb_only = "-ERR Unrecognized REPLCONF option: rdb-only"; /* before 6.2 */
    claim_whole(s, "marked");
}

static void what_ends_early_is_no_capture(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct capture_result got;
    struct script s = counted();
    for (size_t n = 0; n < 25; n++) {
        s.payload.len = n;
        claim_fails(capture(s, &got, &err), err, ERR_SOURCE_TRUNCATED, "before its end mark");
    }
    s.psync = "+FULLRESYNC abcdefabcdefabcdefabcdefabcdefabcdefabcd 14\r\n$EOF:" MARK "\r\n";
    s.payload = marked_with("012345");
    claim_fails(capture(s, &got, &err), err, ERR_SOURCE_TRUNCATED, "before its end mark");
    s.payload = marked_with("9999999999999999999999999999999999999999");
    claim_fails(capture(s, &got, &err), err, ERR_SOURCE_TRUNCATED, "with the mark that it announced");
    s = counted();
    s.psync = "+FULLRESYNC abcdefabcdefabcdefabcdefabcdefabcdefabcd 14\r\n$26\r\n";
    s.payload = marked_with("x");
    claim_fails(capture(s, &got, &err), err, ERR_REDIS_PROTOCOL, "1 bytes more than its data has");
}

static void what_a_server_refuses_is_told_apart(void **state) {
    (void)state;
    static const struct {
        const char *psync;
        enum error_code code;
        const char *says;
    } cases[] = {
        {"-NOMASTERLINK Can't SYNC while not connected with my master\r\n", ERR_REDIS_NOT_READY, "NOMASTERLINK"},
        {"-LOADING Redis is loading the dataset in memory\r\n", ERR_REDIS_NOT_READY, "LOADING"},
        {"-NOPERM this user has no permissions to run the 'psync' command\r\n", ERR_REDIS_NO_SYNC, "NOPERM"},
        {"-ERR unknown command 'PSYNC'\r\n", ERR_REDIS_NO_SYNC, "unknown command"},
        {"-NOAUTH Authentication required.\r\n", ERR_REDIS_AUTH, "NOAUTH"},
        {"+CONTINUE\r\n", ERR_REDIS_PROTOCOL, "+CONTINUE"},
        {"HTTP/1.1 400 Bad Request\r\n", ERR_REDIS_PROTOCOL, "HTTP/1.1"},
        {"+FULLRESYNC abcdefabcdefabcdefabcdefabcdefabcdefabcd 14\r\n$nonsense\r\n", ERR_REDIS_PROTOCOL, "$nonsense"}};
    struct error err = ERROR_INIT;
    struct capture_result got;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct script s = counted();
        s.psync = cases[i].psync;
        claim_fails(capture(s, &got, &err), err, cases[i].code, cases[i].says);
    }
}

static void a_server_whose_data_is_not_whole_is_not_captured(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct capture_result got;
    struct script s = counted();
    s.info = "redis_version:7.0.15\r\nloading:1\r\n";
    claim_fails(capture(s, &got, &err), err, ERR_REDIS_NOT_READY, "is loading its data");
    s.info = "redis_version:7.0.15\r\nloading:0\r\nrole:slave\r\nmaster_link_status:down\r\n";
    claim_fails(capture(s, &got, &err), err, ERR_REDIS_NOT_READY, "link to its master is down");
    s.info = "something_else:1\r\n";
    claim_fails(capture(s, &got, &err), err, ERR_REDIS_PROTOCOL, "which version");
}

static void capture_with_fault(void *arg, uint64_t n) {
    struct error err = ERROR_INIT;
    struct capture_result got;
    struct fake_view item;
    (void)arg;
    (void)n;
    int r = capture(counted(), &got, &err);
    assert_int_equal(r, -(int)err.code);
    if (r < 0) return;
    assert_true(fake_find(fake, "db/0/keys", &item)); /* whole, or not at all */
    assert_int_equal(item.bytes, 7);
    json_decref(got.facts);
    json_decref(got.invariants);
}

static void every_call_that_fails_is_an_error_or_harms_nothing(void **state) {
    (void)state;
    assert_true(fault_each(false, capture_with_fault, NULL) > 20);
}

/* ---- restores into servers that refuse ---- */
static int restore(struct restore_result *ret, struct error *err) {
    json_t *settings = json_pack("{s:{s:s}}", "server", "host", path);
    json_t *facts = json_pack("{s:i, s:s}", "rdb_version", 10, "run_id", "another");
    struct surface_context ctx = {
        .environment = "lab", .name = "cache", .settings = settings, .jobs = 1, .scratch_dir = folder};
    struct restore_request q = {.target = "0=5", .facts = facts};
    int r = surface_redis.restore(&ctx, fake_source(fake), &q, ret, err);
    json_decref(settings);
    json_decref(facts);
    return r;
}

static void a_target_that_cannot_load_is_left_alone(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct restore_result done;
    claim_whole(counted(), "counted");
    *at_rest() = counted();
    at_rest()->restore = "-ERR DUMP payload version or checksum are wrong";
    claim_fails(restore(&done, &err), err, ERR_REDIS_VERSION, "RDB version 10, which");
    at_rest()->restore = "-NOPERM this user has no permissions to run the 'restore' command";
    claim_fails(restore(&done, &err), err, ERR_REDIS_DENIED, "NOPERM");
    at_rest()->info = "redis_version:7.0.15\r\nloading:0\r\nrole:slave\r\n";
    claim_fails(restore(&done, &err), err, ERR_REDIS_NOT_READY, "is a replica");
    at_rest()->info = "redis_version:7.0.15\r\nloading:1\r\n";
    claim_fails(restore(&done, &err), err, ERR_REDIS_NOT_READY, "loading");
}

/* Two keys that expire, so that each goes in a command of its own; the second is not what it should be. */
static void claim_undone(struct bytes keys, const char *load, unsigned removed, const char *state) {
    static const char attr[] = "{\"rdb_version\":10,\"keys\":2,\"expires\":2,\"largest\":2}";
    struct error err = ERROR_INIT, seal = ERROR_INIT;
    struct restore_result done;
    (void)fake_sink(fake);
    claim_ok(fake_seal(fake, &seal), seal);
    fake_add(fake, "db/0/keys", BYTES_STR(attr), ITEM_RECORDS, keys);
    *at_rest() = counted();
    at_rest()->restore = "+OK";
    at_rest()->load = load;
    int r = restore(&done, &err);
    assert_string_equal(err.state, state);
    assert_int_equal(at_rest()->removed, removed);
    claim_fails(r, err, ERR_RESTORE_DIFFERS, "does not hold records of keys");
}

static void a_restore_whose_source_fails_is_undone(void **state) {
    (void)state;
    static const char first[] = "\x01k\x00\x01\xff\xff\xff\xff\xff\xff\xff\x00\x02\x01v";
    uint8_t keys[64];
    size_t n = sizeof first - 1;
    memcpy(keys, first, n);
    memcpy(keys + n, "\x01j\x00\xff", 4); /* flags that there are none of */
    claim_undone(BYTES_OF(keys, n + 4), "+OK", 1,
                 "all is as it was: the 1 keys that had been restored were removed again");
    memcpy(keys, first, n); /* a value that ends early: the server was told of all of it, and is given as much */
    memcpy(keys + n - 3, "\x64\x01v", 3);
    claim_undone(BYTES_OF(keys, n), "-ERR DUMP payload version or checksum are wrong", 0, "nothing was changed");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_of_transfer_are_read),
        cmocka_unit_test(what_ends_early_is_no_capture),
        cmocka_unit_test(what_a_server_refuses_is_told_apart),
        cmocka_unit_test(every_call_that_fails_is_an_error_or_harms_nothing),
        cmocka_unit_test(a_target_that_cannot_load_is_left_alone),
        cmocka_unit_test(a_restore_whose_source_fails_is_undone),
        cmocka_unit_test(a_server_whose_data_is_not_whole_is_not_captured),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
