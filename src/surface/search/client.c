#include "surface/search/search_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include <stdio.h>
#include <stdlib.h>

#define STALL_MS 120000 /* a cluster works on a page, or on an index, before it says anything */
#define SHORT_MS 60000
#define TRIES 6u
#define WAIT_MS 300
#define WAIT_CAP_MS 5000
#define BUSY_WAIT_MS 500
#define BUSY_WAIT_CAP_MS 20000
#define BUSY_ASKED_MAX_MS 60000

int search_send(const struct search_client *c, const struct search_request *q, int *ret_status, struct error *err) {
    CLEANUP(buf_free) struct buf url = BUF_INIT(1u << 20);
    const char *headers[2];
    size_t n = 0;
    struct http_response a;
    if (q->body_count)
        headers[n++] = q->lines ? "content-type: application/x-ndjson" : "content-type: application/json";
    if (c->s->authorization.len) headers[n++] = (const char *)c->s->authorization.ptr;
    int r = buf_printf(&url, err, "%s%s", c->s->url, q->path);
    if (r == 0) r = buf_terminate(&url, err);
    if (r < 0) return r;
    struct http_request h = {.method = q->method,
                             .url = (const char *)url.ptr,
                             .headers = headers,
                             .header_count = n,
                             .body = q->body,
                             .body_count = q->body_count,
                             .take = q->take,
                             .take_ctx = q->take_ctx,
                             .text = q->text,
                             .timeout_ms = q->timeout_ms,
                             .cancel = q->cancel};
    r = http_send(c->http, &h, &a, err);
    if (r == 0) *ret_status = a.status;
    if (q->ret_wait_ms) *q->ret_wait_ms = r == 0 ? http_retry_after_ms(&a, BUSY_ASKED_MAX_MS) : 0;
    http_response_free(&a);
    return r;
}

bool search_untouched(int status, struct bytes text) {
    return status == 429 && text.ptr && text.len && memmem(text.ptr, text.len, "circuit_breaking_exception", 26) &&
           memmem(text.ptr, text.len, "<http_request>", 14);
}

int search_busy_wait(unsigned failed, int wait_ms, const atomic_bool *cancel, struct error *err) {
    int r = stop_check(err); /* one that came before the wait does not end it */
    return r < 0 ? r : http_wait(failed, BUSY_WAIT_MS, BUSY_WAIT_CAP_MS, wait_ms, cancel, err);
}

/* What a cluster says when it refuses: {"error": {"type", "reason", "root_cause": […]}, "status"}. */
int search_refused(const struct search_client *c, int status, struct bytes text, bool with_reason, const char *what,
                   struct error *err) {
    struct error ignored = ERROR_INIT;
    json_t *j = NULL;
    const char *type = "", *reason = "";
    if (json_parse(text, SEARCH_ANSWER_MAX, "an answer", &j, &ignored) == 0) {
        const json_t *e = json_object_get(j, "error"), *root = json_array_get(json_object_get(e, "root_cause"), 0);
        const char *t = json_string_value(json_object_get(root ? root : e, "type"));
        const char *w = json_string_value(json_object_get(root ? root : e, "reason"));
        if (!w && json_is_string(e)) w = json_string_value(e);
        if (t) type = t;
        if (w && with_reason) reason = w;
    }
    enum error_code code = status == 401                    ? ERR_SEARCH_AUTH
                           : status == 403                  ? ERR_SEARCH_DENIED
                           : status == 429 || status == 503 ? ERR_SEARCH_BUSY
                                                            : ERR_SEARCH_REPLY;
    int r = error_set(err, code, "%s: %s answered %d%s%s%s%.400s", what, c->s->url, status, *type ? ", " : "", type,
                      *reason ? ": " : "", reason);
    json_decref(j);
    return r;
}

int search_ask(const struct search_client *c, const char *method, const char *path, const json_t *body, json_t **ret,
               bool *missing, const char *what, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
    CLEANUP(buf_free) struct buf out = BUF_INIT(SEARCH_ANSWER_MAX);
    int status = 0, wait_ms = 0, r = body ? json_write(body, &out, err) : 0;
    struct bytes slice = buf_bytes(&out);
    struct search_request q = {.method = method,
                               .path = path,
                               .body = &slice,
                               .body_count = body != NULL,
                               .text = &text,
                               .ret_wait_ms = &wait_ms};
    for (unsigned tries = 1; r == 0; tries++) {
        buf_clear(&text);
        r = search_send(c, &q, &status, err);
        if (r < 0 || status != 429) break;
        const bool untouched = search_untouched(status, buf_bytes(&text));
        /* A question may be asked again when the cluster has no room for it now. */
        if (tries >= (untouched ? SEARCH_BUSY_TRIES : strcmp(method, "GET") == 0 ? TRIES : 1)) break;
        r = untouched ? search_busy_wait(tries, wait_ms, NULL, err)
                      : http_wait(tries, WAIT_MS, WAIT_CAP_MS, wait_ms, NULL, err);
    }
    if (r < 0) return error_wrap(err, "%s", what);
    if (missing) {
        *missing = status == 404 || status == 405 || (status == 400 && strcmp(method, "GET") == 0);
        if (*missing) {
            if (ret) *ret = NULL;
            return 0;
        }
    }
    if (status / 100 != 2) return search_refused(c, status, buf_bytes(&text), true, what, err);
    return ret ? search_answer_parse(buf_bytes(&text), SEARCH_ANSWER_MAX, what, ret, err) : 0;
}

int search_path(struct buf *out, const char *before, const char *name, const char *after, struct error *err) {
    buf_clear(out);
    int r = buf_append_str(out, before, err);
    if (r == 0) r = http_escape(out, BYTES_STR(name), false, err);
    if (r == 0) r = buf_append_str(out, after, err);
    return r == 0 ? buf_terminate(out, err) : r;
}

/* By what it says of its distribution: numbers of OpenSearch may be those of an Elasticsearch that it stands in for.
 * Then it has left its distribution out, too (compatibility.override_main_response_version), but not its tagline. */
static int identify(struct search_client *c, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(1u << 20);
    json_t *root = NULL, *nodes = NULL;
    struct error ignored = ERROR_INIT;
    struct search_request q = {.method = "GET", .path = "/", .text = &text, .timeout_ms = SHORT_MS};
    int status = 0, r = search_send(c, &q, &status, err);
    if (r < 0) return r;
    if (status == 401) return search_refused(c, status, buf_bytes(&text), true, "log in", err);
    if (status == 200) (void)!json_parse(buf_bytes(&text), 1u << 20, "what the cluster is", &root, &ignored);
    const json_t *version = json_object_get(root, "version");
    const char *distribution = json_string_value(json_object_get(version, "distribution"));
    c->opensearch = distribution ? !strcmp(distribution, "opensearch")
                                 : strncmp(json_text(root, "tagline", ""), "The OpenSearch Project", 22) == 0;
    /* The nodes say what they really are; a user may not be allowed to ask them. */
    error_clear(&ignored);
    const char *number = json_string_value(json_object_get(version, "number")), *const said = number;
    if (search_ask(c, "GET", "/_nodes/_local?filter_path=nodes.*.version", NULL, &nodes, NULL, "ask the node",
                   &ignored) == 0) {
        const char *key;
        json_t *node;
        json_object_foreach(json_object_get(nodes, "nodes"), key, node) {
            const char *v = json_string_value(json_object_get(node, "version"));
            if (v) number = v;
        }
    }
    if (!number || sscanf(number, "%u.%u", &c->major, &c->minor) != 2)
        r = root || status < 500 ? error_set(err, ERR_SEARCH_PROTOCOL,
                                             "%s does not say which version it is (it answered %d)", c->s->url, status)
                                 : search_refused(c, status, buf_bytes(&text), true, "ask what the cluster is", err);
    else
        snprintf(c->version, sizeof c->version, "%s", number);
    if (r == 0 && c->opensearch && !distribution && number == said) /* no version of its own: the least is expected */
        c->major = 1, c->minor = 0;
    if (r == 0 && !c->opensearch && (c->major < 7 || (c->major == 7 && c->minor < 10)))
        r = error_set(err, ERR_SEARCH_PROTOCOL, "%s is Elasticsearch %s, and 7.10 is the oldest that is known",
                      c->s->url, c->version);
    json_decref(root);
    json_decref(nodes);
    return r;
}

int search_open(const struct search_settings *s, struct search_client *ret, struct error *err) {
    struct http_options o = {.ca_file = s->ca, .stall_ms = STALL_MS, .no_proxy = s->scratch};
    if (s->certificate) o.certificate = s->certificate, o.key = secret_bytes(s->key);
    *ret = (struct search_client){.s = s};
    int r = http_new(&o, &ret->http, err);
    if (r == 0) r = identify(ret, err);
    if (r < 0) search_close(ret);
    return r;
}

void search_close(struct search_client *c) {
    http_free(c->http);
    c->http = NULL;
}
