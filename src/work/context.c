#include "work/context.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "platform/open_store.h"
#include "repo/repair.h"
#include "work/any_copy.h"
#include "work/bucket.h"
#include "work/fallback.h"
#include "work/hook.h"
#include "work/leftover.h"
#include "work/point.h"
#include "work/recovery.h"
#include "work/select.h"
#include "work/witnesses.h"
#include "work/witnesses_offer.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int work_cache_folder(const char *given, char out[4096], struct error *err) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;
    if (given)
        n = snprintf(out, 4096, "%s", given);
    else if (xdg && *xdg == '/')
        n = snprintf(out, 4096, "%s/proofkeep", xdg);
    else if (home && *home == '/')
        n = snprintf(out, 4096, "%s/.cache/proofkeep", home);
    else
        n = snprintf(out, 4096, "/var/cache/proofkeep");
    if (n < 0 || (size_t)n >= 4096 - 512) return error_set(err, ERR_USAGE, "the cache folder's name is too long");
    return io_mkdirs(out, 0700, err);
}

/* Scratch lies where other users can pass through (a scratch PostgreSQL never runs as root), and not in memory: a
 * scratch database may be as large as the real one. */
static int scratch_place(struct work *w, struct error *err) {
    uint8_t id[6];
    char hex[13];
    int rc = random_bytes(id, sizeof id, err);
    if (rc < 0) return rc;
    hex_encode(id, sizeof id, hex);
    const char *base = getenv("TMPDIR");
    if (!base || *base != '/') base = "/var/tmp";
    int n = snprintf(w->scratch_dir, sizeof w->scratch_dir, "%s/proofkeep-%d-%s", base, (int)getpid(), hex);
    if (n < 0 || (size_t)n >= sizeof w->scratch_dir - 128)
        return error_set(err, ERR_USAGE, "the name of the folder TMPDIR is too long");
    w->scratch_removed = leftover_scratch_remove(base);
    rc = leftover_lock_new(w->scratch_dir, &w->scratch_fd, err);
    if (rc < 0) {
        *w->scratch_dir = '\0';
        return error_wrap(err, "the scratch folder");
    }
    return 0;
}

static void principal_of(struct work *w) {
    char host[64] = "localhost";
    struct passwd pw, *found = NULL;
    char room[4096];
    (void)gethostname(host, sizeof host - 1);
    (void)getpwuid_r(geteuid(), &pw, room, sizeof room, &found);
    if (found)
        snprintf(w->principal, sizeof w->principal, "%.60s@%.60s", found->pw_name, host);
    else
        snprintf(w->principal, sizeof w->principal, "uid%u@%.60s", (unsigned)geteuid(), host);
}

int work_open(const struct work_options *o, struct work **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct work), &mem, err);
    if (rc < 0) return rc;
    struct work *w = mem;
    w->scratch_fd = -1;
    if ((rc = known_secrets_begin(&w->known, err)) < 0) {
        seam_free(w);
        return rc;
    }
    w->options = *o;
    w->jobs = o->jobs ? o->jobs : thread_cpus();
    principal_of(w);
    if ((rc = crypto_init(err)) < 0) goto fail;
    rc = config_load(o->config_path, &w->config, err);
    if (rc == -ERR_CONFIG_NONE && !o->config_path) {
        error_clear(err);
        rc = 0;
    }
    if (rc < 0) goto fail;
    if ((rc = work_cache_folder(o->cache_dir, w->cache_dir, err)) < 0) goto fail;
    if ((rc = scratch_place(w, err)) < 0) goto fail;
    *ret = w;
    return 0;
fail:
    work_close(w);
    return rc;
}

void work_close(struct work *w) {
    if (!w) return;
    struct error e = ERROR_INIT;
    struct store_requests asked;
    fallback_free(w->fallback);
    witnesses_offer(w);
    witnesses_free(w->witnesses);
    repo_close(w->repo);
    if (w->store && w->options.events.requests && store_requests(w->store, &asked)) {
        store_requests_add(&asked, &w->others);
        w->options.events.requests(w->options.events.ctx, &asked);
    }
    store_close(w->store);
    any_copy_free(w->copies);
    config_free(w->config);
    if (*w->scratch_dir) (void)!io_remove_tree(AT_FDCWD, w->scratch_dir, &e);
    io_close(&w->scratch_fd);
    known_secrets_free(&w->known);
    secret_free(w->kit.secret);
    secret_free(w->typed);
    seam_free(w);
}

int work_need_config(struct work *w, const struct config **ret, struct error *err) {
    if (!w->config)
        return error_set(err, ERR_CONFIG_NONE, "neither ./proofkeep.yaml nor /etc/proofkeep/proofkeep.yaml is there");
    *ret = w->config;
    return 0;
}

static int environment_of(struct work *w, const char *name, const struct config_environment **ret, struct error *err) {
    *ret = NULL;
    if (!name || !w->config) return 0;
    *ret = config_environment(w->config, name);
    if (*ret || w->options.repository) return 0; /* an old snapshot's environment may be gone from the file */
    return config_need_environment(w->config, name, ret, err);
}

static const struct config_repository *repository_of(struct work *w, const struct config_environment *e) {
    if (!w->config) return NULL;
    if (w->options.repository) return config_repository(w->config, w->options.repository);
    if (e && e->repository) return config_repository(w->config, e->repository);
    return w->config->repositories.count == 1 ? w->config->repositories.items[0] : NULL;
}

int work_repo_url(struct work *w, const char *environment, const char **ret, struct error *err) {
    const struct config_environment *e;
    int rc = environment_of(w, environment, &e, err);
    if (rc < 0) return rc;
    const struct config_repository *r = repository_of(w, e);
    *ret = r ? r->url : w->options.repository;
    if (*ret) return 0;
    rc = error_set(err, ERR_USAGE, "no repository is named");
    (void)!error_next(err, "name one with --repository, or write a configuration with 'proofkeep init'");
    return rc;
}

/* By whose rules a repository is opened of which only the name was said: those of the first that reaches it. */
static const struct config_environment *whoever_has(struct work *w) {
    const struct config *c = w->config;
    const struct config_repository *r = w->options.repository ? repository_of(w, NULL) : NULL;
    for (size_t i = 0; r && i < c->environments.count; i++)
        if (config_environment_reaches(c, c->environments.items[i], r)) return c->environments.items[i];
    return c->environments.count ? c->environments.items[0] : NULL;
}

int work_unlock(struct work *w, const char *environment, struct unlock *ret, struct secret **ret_secret,
                struct error *err) {
    struct secret *s = NULL;
    const struct config_environment *e;
    enum config_key_kind kind = CONFIG_KEY_UNSET;
    *ret = (struct unlock){0};
    *ret_secret = NULL;
    int rc = environment_of(w, environment, &e, err);
    if (rc < 0) return rc;
    const char *name = NULL;
    if (w->options.recovery_kit) return recovery_kit_unlock(w, ret, err);
    if (w->options.key_file) {
        rc = secret_read_file(w->options.key_file, &s, err);
        kind = CONFIG_KEY_KEY_FILE;
    } else if (w->options.passphrase_file) {
        rc = secret_read_file(w->options.passphrase_file, &s, err);
        kind = CONFIG_KEY_PASSPHRASE;
    } else if (w->config && !(w->options.repository && !config_repository(w->config, w->options.repository))) {
        if (!e) e = whoever_has(w);
        const struct config_repository *r = repository_of(w, e);
        if (r && r->encrypt && r->encrypt->key && e) {
            if (e->repository && config_repository(w->config, e->repository) != r) {
                /* named besides the environment's own, which has another key */
                name = r->encrypt->key;
                kind = r->encrypt->kind == CONFIG_KEY_UNSET ? CONFIG_KEY_PASSPHRASE
                                                            : (enum config_key_kind)r->encrypt->kind;
            } else {
                rc = config_repository_key(w->config, e, &name, &kind, err);
            }
            if (rc == 0) rc = secret_resolve(w->config, e, name, &s, err);
        }
    }
    if (rc < 0) return rc;
    if (!s && w->options.ask_passphrase) {
        struct buf b = BUF_INIT(4096);
        rc = w->options.ask_passphrase(w->options.ask_ctx, &b, err);
        if (rc == 0) rc = secret_new(buf_bytes(&b), &s, err);
        secret_free(w->typed);
        w->typed = NULL;
        if (rc == 0 && (rc = secret_new(buf_bytes(&b), &w->typed, err)) < 0) secret_free(s);
        wipe(b.ptr, b.cap);
        buf_free(&b);
        kind = CONFIG_KEY_PASSPHRASE;
        if (rc < 0) return rc;
    }
    if (!s) return error_set(err, ERR_KEY_NONE, "nothing says how the repository is unlocked");
    if ((rc = known_secrets_add(&w->known, secret_bytes(s), err)) < 0) {
        secret_free(s);
        return rc;
    }
    if (kind == CONFIG_KEY_KEY_FILE) {
        struct secret *key = NULL;
        rc = key_file_parse(secret_bytes(s), &key, &ret->kind, err);
        secret_free(s);
        if (rc < 0) return error_wrap(err, "the key file");
        s = key;
    } else {
        /* the passphrase is the first line */
        struct bytes b = secret_bytes(s);
        const uint8_t *nl = memchr(b.ptr, '\n', b.len);
        struct secret *line = NULL;
        if (nl) {
            rc = secret_new(BYTES_OF(b.ptr, (size_t)(nl - b.ptr)), &line, err);
            secret_free(s);
            if (rc < 0) return rc;
            s = line;
        }
        ret->kind = SLOT_PASSPHRASE;
    }
    ret->secret = secret_bytes(s);
    *ret_secret = s;
    return 0;
}

static void close_repo(struct work *w) {
    witnesses_offer(w);
    witnesses_free(w->witnesses);
    repo_close(w->repo);
    store_close(w->store);
    any_copy_free(w->copies);
    w->witnesses = NULL;
    w->repo = NULL;
    w->store = NULL;
    w->copies = NULL;
}

static int open_own(struct work *w, const char *environment, const char *url, struct error *err) {
    int rc;
    struct unlock u;
    struct secret *secret = NULL;
    const struct config_environment *e = w->config && environment ? config_environment(w->config, environment) : NULL;
    if ((rc = config_open_store(w->config, e, url, false, &w->store, err)) < 0)
        return rc == -ERR_USAGE ? rc : error_wrap(err, "the repository %s", url); /* a wrong address may hold a secret */
    if ((rc = work_unlock(w, environment, &u, &secret, err)) < 0) return rc;
    rc = (w->mending      ? repo_open_damaged
          : w->log_only   ? repo_open_log
          : w->collecting ? repo_open_collecting
                          : repo_open)(w->store, &u, w->cache_dir, &w->repo, err);
    secret_free(secret);
    if (rc == -ERR_KEY_WRONG && w->options.recovery_kit) {
        char id[33];
        hex_encode(w->kit.repo_id, sizeof w->kit.repo_id, id);
        if (w->kit.has_repo_id)
            error_next(err, "The kit says that it is of repository %s: see whether this is that one.", id);
        if (!w->kit.slot_bytes) error_next(err, "If the repository has lost its keys, type the S lines of the kit too.");
    }
    if (rc < 0) return error_wrap(err, "%s", url);
    snprintf(w->url, sizeof w->url, "%s", url);
    const struct config_repository *c = config_repository_at(w->config, url);
    if (c && c->parity.set) repo_parity_set(w->repo, (unsigned)c->parity.value);
    if (c && c->jobs.set && !w->options.jobs) w->jobs = (unsigned)c->jobs.value;
    w->size_opened = ledger_size(repo_ledger(w->repo));
    if ((rc = witnesses_ask(w, &w->witnesses, err)) < 0) {
        repo_close(w->repo); /* nobody works with what a witness contradicts */
        w->repo = NULL;
        return error_wrap(err, "%s", url);
    }
    return 0;
}

int work_open_repo(struct work *w, const char *environment, struct error *err) {
    const char *url;
    int rc = work_repo_url(w, environment, &url, err);
    if (rc < 0) return rc;
    if (w->repo && strcmp(w->url, url) == 0) return 0;
    if (w->repo && any_copy_read_from(w) && strcmp(w->copies->url, url) == 0) return 0;
    close_repo(w);
    if (w->any_copy && w->options.from) return any_copy_instead(w, environment, NULL, err);
    rc = open_own(w, environment, url, err);
    if (!w->any_copy || (rc < 0 && !any_copy_due(rc))) return rc;
    if (rc == 0) return any_copy_attach(w, environment, err);
    struct error why = *err;
    close_repo(w);
    return any_copy_instead(w, environment, &why, err);
}

int work_surface_open(struct work *w, const struct config_environment *e, const struct config_surface *s,
                      struct work_surface *ret, struct error *err) {
    *ret = (struct work_surface){.config_environment = e, .config_surface = s, .protected = e->protected};
    snprintf(ret->environment, sizeof ret->environment, "%s", e->head.name);
    snprintf(ret->name, sizeof ret->name, "%s", s->head.name);
    ret->driver = surface_find(config_driver_name(s));
    if (!ret->driver) return error_set(err, ERR_INTERNAL, "no driver for surfaces of kind %s", config_driver_name(s));
    ret->receipt_surface = s->receipt_surface ? s->receipt_surface : ret->driver->receipt_surface;
    ret->secrets = (struct secret_context){w->config, e};
    return config_surface_settings(w->config, e, s, &ret->settings, err);
}

int work_surface_of(struct work *w, const struct snapshot_info *info, struct work_surface *ret, struct error *err) {
    const struct config_environment *e = w->config ? config_environment(w->config, info->environment) : NULL;
    const struct config_surface *s = w->config ? config_surface(w->config, info->surface) : NULL;
    if (e && s && strcmp(config_driver_name(s), info->kind) == 0) return work_surface_open(w, e, s, ret, err);
    *ret = (struct work_surface){
        .config_environment = e, .protected = e && e->protected, .receipt_surface = info->receipt_surface};
    snprintf(ret->environment, sizeof ret->environment, "%s", info->environment);
    snprintf(ret->name, sizeof ret->name, "%s", info->surface);
    ret->driver = surface_find(info->kind);
    if (!ret->driver)
        return error_set(err, ERR_FORMAT_VERSION, "snapshot %s is of kind '%s', which this version does not know",
                         info->id, info->kind);
    ret->settings = json_object();
    return ret->settings ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for settings");
}

void work_surface_close(struct work_surface *s) {
    json_decref(s->settings);
    s->settings = NULL;
}

static void bridge_progress(void *ctx, const char *phase, uint64_t done, uint64_t total, uint64_t items) {
    struct work_bridge *b = ctx;
    const struct work_events *e = &b->work->options.events;
    struct writer_stats st = {0};
    if (!e->progress) return;
    if (b->writer) writer_stats_get(b->writer, &st);
    e->progress(e->ctx, b->label, phase, done, total, st.stored_bytes, items);
}

/* What a driver is given must not come back in its words. */
static int bridge_secret(void *ctx, const char *ref, struct secret **ret, struct error *err) {
    struct work_bridge *b = ctx;
    struct secret *s = NULL;
    int rc = secret_resolve_for((void *)&b->surface->secrets, ref, &s, err);
    if (rc == 0) rc = known_secrets_add(&b->work->known, secret_bytes(s), err);
    if (rc < 0)
        secret_free(s);
    else
        *ret = s;
    return rc;
}

static void bridge_note(void *ctx, enum note_kind kind, struct bytes name, const char *said) {
    static const char *const words[] = {"skipped", "changed", "unreadable", "vanished", "warning"};
    struct work_bridge *b = ctx;
    const struct work_events *e = &b->work->options.events;
    char text[1024];
    known_secrets_clean(&b->work->known, said, text, sizeof text);
    pthread_mutex_lock(&b->lock);
    b->counts[kind]++;
    if (json_array_size(b->notes) < 1000)
        json_array_append_new(b->notes,
                              json_pack("{s:s, s:o, s:s}", "kind", words[kind], "name", json_name(name), "text", text));
    uint64_t n = b->counts[kind];
    pthread_mutex_unlock(&b->lock);
    if (!e->warning || n > 20) return;
    json_t *shown = json_name(name);
    char line[1024];
    snprintf(line, sizeof line, "%s%s%.600s%s%.300s", kind == NOTE_WARNING ? "" : words[kind],
             kind == NOTE_WARNING ? "" : ": ", shown ? json_string_value(shown) : "", name.len ? ": " : "", text);
    json_decref(shown);
    e->warning(e->ctx, b->label, line);
}

static int bridge_hook(void *ctx, const char *name, const char *action, const json_t *facts, struct error *err) {
    struct work_bridge *b = ctx;
    const struct work_surface *s = b->surface;
    const struct config_hook *h = hook_find(s->config_surface ? s->config_surface->hooks : NULL, name);
    if (!h) return 1;
    const struct hook_event event = {.hook = name, .surface = s->name, .action = action, .facts = facts};
    return hook_run(b->work, s->config_environment, h, &event, NULL, err);
}

int work_bridge_open(struct work *w, const struct work_surface *s, struct work_bridge *b, struct surface_context *ret,
                     struct error *err) {
    memset(b, 0, sizeof *b);
    b->work = w;
    b->surface = s;
    snprintf(b->label, sizeof b->label, "%s/%s", s->environment, s->name);
    pthread_mutex_init(&b->lock, NULL);
    if (!(b->notes = json_array())) return error_set(err, ERR_NO_MEMORY, "no memory for notes");
    *ret = (struct surface_context){.environment = s->environment,
                                    .name = s->name,
                                    .settings = s->settings,
                                    .secret = bridge_secret,
                                    .secret_ctx = b,
                                    .hook = bridge_hook,
                                    .hook_ctx = b,
                                    .bucket = work_bucket_open,
                                    .bucket_ctx = b,
                                    .jobs = w->jobs,
                                    .alone = !w->shared,
                                    .bandwidth = s->config_surface ? s->config_surface->bandwidth.bytes : 0,
                                    .scratch_dir = w->scratch_dir,
                                    .events = {b, bridge_progress, bridge_note}};
    return 0;
}

void work_bridge_close(struct work_bridge *b) {
    json_decref(b->notes);
    b->notes = NULL;
    pthread_mutex_destroy(&b->lock);
}

int work_points(struct work *w, const char *environment, const char *surface, const struct snapshot_info ***ret,
                size_t *ret_n, struct error *err) {
    size_t cap = 0, n = 0;
    const struct snapshot_info **list = NULL;
    for (size_t i = 0; i < repo_snapshot_count(w->repo); i++) {
        const struct snapshot_info *s = repo_snapshot(w->repo, i);
        if (s->forgotten || strcmp(s->environment, environment) != 0 || strcmp(s->surface, surface) != 0) continue;
        int rc = mem_grow((void **)&list, &cap, n + 1, sizeof *list, err);
        if (rc < 0) {
            seam_free(list);
            return rc;
        }
        /* what was copied late is not the newest for that; the clock of whoever wrote it may only say that it is older
         */
        size_t at = n++;
        for (; s->is_copy && at > 0 && point_time(list[at - 1]) > point_time(s); at--) list[at] = list[at - 1];
        list[at] = s;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

/* Of a surface without a recovery point: ERR_NO_POINT with the nearest name when the configuration has none of that
 * name. */
static int surface_check(const struct work *w, const char *environment, const char *surface, struct error *err) {
    struct selection s = {.address.surface_count = 1};
    if (w->options.repository) return 0;
    snprintf(s.address.environment, sizeof s.address.environment, "%s", environment);
    snprintf(s.address.surfaces[0], sizeof s.address.surfaces[0], "%s", surface);
    return selection_check(&s, w, err);
}

/* Of a surface that has no point: what it can be made anew from. */
static int rebuilt_say(const struct work *w, const char *surface, struct error *err) {
    const struct config_surface *s = w->config ? config_surface(w->config, surface) : NULL;
    char names[600] = "";
    for (size_t i = 0; s && i < s->rebuilt_from.count; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%.100s", i ? ", " : "",
                 s->rebuilt_from.items[i]);
    if (!*names) return -(int)err->code;
    return error_next(err, "%s is rebuilt from %s: restore that, and make %s anew from it.", surface, names, surface);
}

int work_point_of(struct work *w, const char *environment, const char *surface, const struct point_spec *spec,
                  const struct snapshot_info **ret, struct error *err) {
    const struct snapshot_info **points;
    size_t n, at;
    char what[300];
    void *mem = NULL;
    int rc = work_points(w, environment, surface, &points, &n, err);
    if (rc < 0) return rc;
    snprintf(what, sizeof what, "%s/%s", environment, surface);
    if (n == 0) rc = surface_check(w, environment, surface, err);
    if (rc == 0) rc = mem_alloc((n + 1) * sizeof(struct point_entry), &mem, err);
    struct point_entry *e = mem;
    for (size_t i = 0; i < n && rc == 0; i++)
        e[i] =
            (struct point_entry){points[i]->id, point_time(points[i]), points[i]->complete, points[i]->before_restore};
    if (rc == 0) rc = point_find(spec, e, n, what, &at, err);
    if (rc == -ERR_NO_POINT && spec->kind != POINT_ID) (void)rebuilt_say(w, surface, err);
    if (rc == 0) *ret = points[at];
    seam_free(mem);
    seam_free(points);
    return rc;
}

int work_find_point(struct work *w, const char *address, const struct snapshot_info **ret, struct error *err) {
    struct address a;
    int rc = address_parse(address, &a, err);
    if (rc < 0) return rc;
    if (a.all || a.class || a.surface_count != 1) {
        rc = error_set(err, ERR_USAGE, "'%s' must name one surface", address);
        return rc;
    }
    if ((rc = work_open_repo(w, a.environment, err)) < 0) return rc;
    return work_point_of(w, a.environment, a.surfaces[0], &a.point, ret, err);
}

void work_label(const struct snapshot_info *info, char out[260]) {
    snprintf(out, 260, "%.120s/%.130s", info->environment, info->surface);
}

bool work_sights(const struct work *w, char *out, size_t n) {
    struct store_sights s = {0};
    if (w->store) store_sights(w->store, &s);
    if (s.hidden + s.covered == 0) return false;
    snprintf(
        out, n,
        "%llu object%s of the repository %s deleted and %llu overwritten by somebody (first seen: %s); their first "
        "versions are still there and were read instead",
        (unsigned long long)s.hidden, s.hidden == 1 ? "" : "s", s.hidden == 1 ? "was" : "were",
        (unsigned long long)s.covered, s.first);
    return true;
}

bool work_void_entries(const struct work *w, char *out, size_t n) {
    const char *why;
    size_t voids = repo_void_entries(w->repo, &why);
    if (voids)
        snprintf(out, n, "%zu %s of the log count%s for nothing, as %s may not say such things; the newest: %.200s",
                 voids, voids == 1 ? "entry" : "entries", voids == 1 ? "s" : "",
                 voids == 1 ? "its signer" : "their signers", why);
    return voids > 0;
}
