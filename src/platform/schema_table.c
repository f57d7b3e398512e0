#include "platform/config.h"
#include "platform/schema.h"

#define ROWS(array) .fields = (array), .field_count = sizeof(array) / sizeof((array)[0])
#define ROW(owner, key, kind_of_field, ...)                                                                            \
    { .name = #key, .type = FIELD_##kind_of_field, .offset = offsetof(struct owner, key), __VA_ARGS__ }

static const char *const key_kinds[] = {"passphrase", "key_file", NULL};
static const char *const kinds[] = {"files", "postgres", "redis", "search", "neo4j", NULL};
static const char *const methods[] = {"logical", "physical", NULL};
static const char *const ways[] = {"replication", "host", NULL};
static const char *const priorities[] = {"background", "normal", NULL};
static const char *const redis_methods[] = {"replication", "scan", NULL};
static const char *const search_methods[] = {"logical", "snapshot", NULL};
static const char *const search_repositories[] = {"fs", "s3", NULL};
static const char *const neo4j_methods[] = {"logical", "offline", NULL};
static const char *const redis_conflicts[] = {"abort", "replace", "skip", NULL};
static const char *const classes[] = {"truth", "runtime", "cache", "config", NULL};
static const char *const expects[] = {"equal", "not_shrunk", NULL};
/* `rebuild`, the highest, is reached by nothing yet: who asked for it would have no proven backup, and prune nothing. */
static const char *const levels[] = {"present", "checksum", "decode", "spot", "full", NULL};
static const char *const s3_styles[] = {"path", "virtual", NULL};
static const char *const s3_encryptions[] = {"AES256", "aws:kms", NULL};
static const char *const s3_digests[] = {"signed", "unsigned", NULL};
static const char *const wal_modes[] = {"none", "archive", "stream", NULL};
static const char *const lock_modes[] = {"governance", "compliance", NULL};
static const char *const sslmodes[] = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full", NULL};

#define PLACES(key, what)                                                                                              \
    ROW(config_keep, key, INT, .min = 1, .max = 1000,                                                                  \
        .doc = "How many " what " keep their newest proven backup. Only " what " that have one are counted.")
static const struct field keep_rows[] = {
    ROW(config_keep, last, INT, .min = 1, .max = 1000, .doc = "How many of the newest proven backups stay."),
    PLACES(hourly, "hours"),
    PLACES(daily, "days"),
    PLACES(weekly, "weeks"),
    PLACES(monthly, "months"),
    PLACES(yearly, "years"),
};
static const struct schema keep_schema = {
    .name = "keep",
    .doc = "Places that proven backups fill. A backup stays while any rule keeps it. Times are UTC, weeks begin on "
           "Monday.",
    ROWS(keep_rows),
    .bytes = sizeof(struct config_keep),
};

static const struct field retention_rows[] = {
    ROW(config_retention, keep, OBJECT, .object = &keep_schema,
        .doc = "The rules. A nearer `keep` replaces a farther one as a whole.",
        .fallback = "nothing is ever forgotten"),
    ROW(config_retention, min_copies, INT, .min = 1, .max = 1000,
        .doc = "Proven backups that stay whatever the rules say. With fewer than that, nothing is forgotten.",
        .fallback = "1"),
};
static const struct schema retention_schema = {
    .name = "retention",
    .doc = "Which backups may be forgotten. Only proven backups count, the newest proven one never goes, and a prune "
           "holds "
           "when the newest backups look wrong.",
    ROWS(retention_rows),
    .bytes = sizeof(struct config_retention),
};

static const struct field defaults_rows[] = {
    ROW(config_defaults, retention, OBJECT, .object = &retention_schema,
        .doc = "Retention for every surface that no environment's policy says otherwise about."),
};
static const struct schema defaults_schema = {
    .name = "defaults",
    .doc = "What holds where an environment's policy is silent.",
    ROWS(defaults_rows),
    .bytes = sizeof(struct config_defaults),
};

#define HOW                                                                                                            \
    ROW(config_secret, credential, STRING, .flags = FIELD_ONE_OF | FIELD_ENV,                                          \
        .doc = "A systemd credential (`LoadCredential=`), read from `$CREDENTIALS_DIRECTORY`."),                       \
        ROW(config_secret, file, PATH, .flags = FIELD_ONE_OF | FIELD_ENV,                                              \
            .doc = "A file. Refused unless it belongs to root or to us and only its owner may read or write it."),     \
        ROW(config_secret, command, COMMAND, .flags = FIELD_ONE_OF | FIELD_ENV | FIELD_WITHHELD,                       \
            .doc = "A program and its arguments that prints the secret. No shell, and a minimal environment."),        \
        ROW(config_secret, env, STRING, .flags = FIELD_ONE_OF | FIELD_ENV,                                             \
            .doc = "An environment variable. Works in the environment `dev` only.")
static const struct field secret_dev_rows[] = {HOW};
static const struct schema secret_dev_schema = {
    .name = "secret in dev",
    .doc = "How the secret is had in the environment `dev`.",
    ROWS(secret_dev_rows),
    .bytes = sizeof(struct config_secret),
};
static const struct field secret_rows[] = {
    HOW,
    ROW(config_secret, dev, OBJECT, .object = &secret_dev_schema,
        .doc = "How it is had in the environment `dev` instead."),
};
static const struct schema secret_schema = {
    .name = "secret",
    .doc = "How one secret is had: exactly one of `credential`, `file`, `command` and `env`. Values never stand here.",
    ROWS(secret_rows),
    .bytes = sizeof(struct config_secret),
};

static const struct field encrypt_rows[] = {
    ROW(config_encrypt, key, REF, .flags = FIELD_REQUIRED, .refers = "secrets",
        .doc = "The secret that opens the repository. Keep it elsewhere than the repository."),
    ROW(config_encrypt, kind, ENUM, .values = key_kinds, .doc = "What that secret is.", .fallback = "passphrase"),
};
static const struct schema encrypt_schema = {
    .name = "encrypt",
    .doc = "How the repository is opened.",
    ROWS(encrypt_rows),
    .bytes = sizeof(struct config_encrypt),
};
static const struct field s3_rows[] = {
    ROW(config_s3, endpoint, STRING, .doc = "`https://host[:port]` of the server. `http://` only where nobody listens in.",
        .fallback = "AWS's own of the region"),
    ROW(config_s3, region, STRING, .doc = "The bucket's region.",
        .fallback = "`AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, `us-east-1`"),
    ROW(config_s3, style, ENUM, .values = s3_styles, .doc = "Whether the bucket stands in the path or in the host's name.",
        .fallback = "`path` with an endpoint, else `virtual`"),
    ROW(config_s3, ca_file, PATH, .doc = "Certificates, in PEM, that the server's is checked against.",
        .fallback = "the system's"),
    ROW(config_s3, credentials, REF, .refers = "secrets",
        .doc = "The secret that holds the credentials: text like that of `~/.aws/credentials`, or the JSON that AWS wants of "
               "a credential process.",
        .fallback = "looked for in AWS's order: variables, profile, container, instance"),
    ROW(config_s3, credentials_file, PATH, .doc = "A file like `~/.aws/credentials`, closed to group and others."),
    ROW(config_s3, profile, STRING, .doc = "The profile in that file, in `~/.aws/credentials` or in `~/.aws/config`.",
        .fallback = "`AWS_PROFILE`, `default`"),
    ROW(config_s3, sse, ENUM, .values = s3_encryptions, .doc = "Encryption at rest that the server is asked for.",
        .fallback = "the bucket's"),
    ROW(config_s3, kms_key, STRING, .doc = "Id, alias or ARN of the key; with `sse: aws:kms` only.",
        .fallback = "the account's own key"),
    ROW(config_s3, storage_class, STRING, .doc = "Storage class of every object, such as `STANDARD_IA`; no archive class.",
        .fallback = "the server's"),
    ROW(config_s3, data_storage_class, STRING,
        .doc = "Storage class of packs with data, such as `GLACIER_IR`, or the archive classes `GLACIER` and `DEEP_ARCHIVE`, out of "
               "which `restore --thaw` brings them. Everything else, packs of metadata too, stays readable at once.",
        .fallback = "as `storage_class`"),
    ROW(config_s3, payload_digests, ENUM, .values = s3_digests,
        .doc = "Whether objects are signed and stored with their SHA-256; `unsigned` is for servers that refuse it.",
        .fallback = "signed"),
    ROW(config_s3, bandwidth, SIZE, .doc = "Bytes a second, each way, of all connections together.",
        .fallback = "unlimited"),
    ROW(config_s3, timeout, DURATION, .doc = "A request in which nothing moves for so long is given up and tried again.",
        .fallback = "30s"),
    ROW(config_s3, connections, INT, .min = 1, .max = 64, .doc = "Objects that are stored at once.", .fallback = "8"),
};
static const struct schema s3_schema = {
    .name = "s3",
    .doc = "How a bucket is reached. The same can be said as parameters of the URL, but nothing twice.",
    ROWS(s3_rows),
    .bytes = sizeof(struct config_s3),
};
static const struct field witness_rows[] = {
    ROW(config_witness, keys, STRINGS, .flags = FIELD_REQUIRED | FIELD_NON_EMPTY,
        .doc = "Verifier keys of the witnesses, as `ledger witness --init` prints them."),
    ROW(config_witness, from, URL, .doc = "Where their cosigned checkpoints are, which a thief of the repository cannot reach.",
        .fallback = "the repository itself"),
    ROW(config_witness, ask, STRINGS,
        .doc = "Addresses (`https://…`) of witnesses that every new checkpoint is offered to (C2SP tlog-witness `add-checkpoint`); what "
               "they sign is stored where `from` says.",
        .fallback = "none: witnesses look by themselves"),
    ROW(config_witness, quorum, INT, .min = 1, .max = 100,
        .doc = "How many of them must have vouched for the log, or the repository is not opened.",
        .fallback = "none need to have; but none may contradict"),
    ROW(config_witness, silent_after, DURATION,
        .doc = "When so long ago they last vouched, `status` and `doctor` say so.", .fallback = "48h"),
};
static const struct schema witness_schema = {
    .name = "witness",
    .doc = "Who watches, from other hosts, that the log is never rolled back or forked.",
    ROWS(witness_rows),
    .bytes = sizeof(struct config_witness),
};
#define LOCKED(key, what, fall)                                                                                        \
    ROW(config_immutability, key, DURATION, .doc = "How long " what " are locked from when they are stored.",          \
        .fallback = fall)
static const struct field immutability_rows[] = {
    ROW(config_immutability, mode, ENUM, .flags = FIELD_REQUIRED, .values = lock_modes,
        .doc =
            "`governance`: who has a special permission can lift the lock; `compliance`: nobody can, until it ends."),
    LOCKED(log, "entries of the log", "90d"),
    LOCKED(keys, "key slots and the object `format`", "90d"),
    LOCKED(packs, "packs", "35d"),
    LOCKED(index, "index runs and pack lists", "35d"),
    LOCKED(wal, "objects of the write-ahead log", "35d"),
};
static const struct schema immutability_schema = {
    .name = "immutability",
    .doc =
        "Object lock: what is stored is locked, and what recovery points still use is locked again before the lock has "
        "half run out (`store renew`, and every backup when it is due). The bucket must have object lock.",
    ROWS(immutability_rows),
    .bytes = sizeof(struct config_immutability),
};
static const struct field repository_rows[] = {
    ROW(config_repository, url, URL, .flags = FIELD_REQUIRED,
        .doc = "Where it is: `file:///absolute/path`, an absolute path, or `s3://bucket/prefix`."),
    ROW(config_repository, s3, OBJECT, .object = &s3_schema, .doc = "How the bucket of an `s3://` URL is reached."),
    ROW(config_repository, immutability, OBJECT, .object = &immutability_schema,
        .doc = "What is locked against removal, and for how long; for `s3://` only.", .fallback = "nothing is locked"),
    ROW(config_repository, encrypt, OBJECT, .object = &encrypt_schema, .doc = "The key.",
        .fallback = "the key is named on the command line"),
    ROW(config_repository, jobs, INT, .min = 1, .max = 256, .doc = "Threads that work for this repository.",
        .fallback = "the number of processors"),
    ROW(config_repository, parity, INT, .min = 1, .max = 25,
        .doc = "Reed-Solomon parity inside every pack that is stored from now on, in percent of it: that much of a "
               "pack may "
               "be damaged and is mended when it is read.",
        .fallback = "none"),
    ROW(config_repository, witness, OBJECT, .object = &witness_schema, .doc = "Its witnesses.",
        .fallback = "nobody watches its log"),
    ROW(config_repository, fallback, REF, .refers = "repositories",
        .doc = "The repository that takes backups while this one is out of reach, until they are forwarded; made with "
               "`init --copy-of` this one.",
        .fallback = "a backup fails then"),
    ROW(config_repository, copies, REFS, .flags = FIELD_NON_EMPTY, .refers = "repositories",
        .doc =
            "Repositories that are copies of this one: a restore takes from them what is lost, damaged or out of reach "
            "here. The fallback is one without being named.",
        .fallback = "none but the fallback"),
    ROW(config_repository, offline, BOOL,
        .doc = "It is a copy on a medium that is attached at times only: that it is not there is no failure.",
        .fallback = "false"),
    ROW(config_repository, reread, DURATION,
        .doc = "With `offline`: after so long all of it is to be read again (`copy --reread`); then `status` says that "
               "it is due.",
        .fallback = "90d"),
};
static const struct schema repository_schema = {
    .name = "repository",
    .doc = "A place where backups are kept.",
    ROWS(repository_rows),
    .bytes = sizeof(struct config_repository),
};

static const struct field connect_rows[] = {
    ROW(config_connect, host, STRING, .flags = FIELD_ENV, .doc = "Host name, address, or the folder of a unix socket.",
        .fallback = "the client library's"),
    ROW(config_connect, port, INT, .min = 1, .max = 65535, .doc = "Port.", .fallback = "5432"),
    ROW(config_connect, user, STRING, .flags = FIELD_ENV, .doc = "The backup role.", .fallback = "the user we run as"),
    ROW(config_connect, dbname, STRING, .flags = FIELD_ENV, .doc = "The database that is connected to first.",
        .fallback = "postgres"),
    ROW(config_connect, password, REF, .refers = "secrets", .doc = "The secret that holds the password."),
    ROW(config_connect, sslmode, ENUM, .values = sslmodes, .doc = "As the client library means it.",
        .fallback = "the client library's"),
    ROW(config_connect, sslrootcert, PATH, .flags = FIELD_ENV,
        .doc = "Certificates that the server's is checked against."),
};
static const struct schema connect_schema = {
    .name = "connect",
    .doc = "How the server is reached. In the environment `dev`, the variables `POSTGRES_HOST`, `POSTGRES_PORT`, "
           "`POSTGRES_DB`, `POSTGRES_USER` and `POSTGRES_PASSWORD` stand above these.",
    ROWS(connect_rows),
    .bytes = sizeof(struct config_connect),
};
static const struct field invariant_rows[] = {
    ROW(config_invariant, name, NAME, .flags = FIELD_REQUIRED, .doc = "Its name in receipts and reports."),
    ROW(config_invariant, sql, TEXT, .flags = FIELD_REQUIRED,
        .doc = "A query of one row and one column, read-only. Its value is stored in receipts: never select payload."),
    ROW(config_invariant, database, STRING, .doc = "In which database; needed when the surface has several."),
    ROW(config_invariant, expect, ENUM, .flags = FIELD_REQUIRED, .values = expects,
        .doc = "What must hold of the restored value: the same, or (a number) not smaller."),
};
static const struct schema invariant_schema = {
    .name = "invariant",
    .doc = "A value that is measured at capture and again after a restore, and compared.",
    ROWS(invariant_rows),
    .bytes = sizeof(struct config_invariant),
};
static const struct field query_rows[] = {
    ROW(config_query, name, NAME, .flags = FIELD_REQUIRED, .doc = "Its name in receipts and reports."),
    ROW(config_query, sql, TEXT, .flags = FIELD_REQUIRED,
        .doc = "A query of one row and one column, read-only. Its value is stored in receipts: never select payload."),
    ROW(config_query, database, STRING, .doc = "In which database.", .fallback = "`connect.dbname`"),
    ROW(config_query, value, STRING, .doc = "What it must answer.", .fallback = "it need only answer"),
    ROW(config_query, live, BOOL, .doc = "It must answer as the live server does, instead of a value that stands here.",
        .fallback = "false"),
};
static const struct schema query_schema = {
    .name = "check",
    .doc = "A critical query, or the version of the schema, that a restored server is asked before it takes over "
           "(`restore --cutover`), and while it is watched.",
    ROWS(query_rows),
    .bytes = sizeof(struct config_query),
};
static const struct field consistent_rows[] = {
    ROW(config_consistent, name, NAME, .flags = FIELD_REQUIRED, .doc = "Its name in receipts and reports."),
    ROW(config_consistent, database, STRING, .flags = FIELD_REQUIRED, .doc = "One database of the server."),
    ROW(config_consistent, sql, TEXT, .flags = FIELD_REQUIRED, .doc = "A query of it, of one row and one column, read-only."),
    ROW(config_consistent, other, STRING, .flags = FIELD_REQUIRED, .doc = "The other."),
    ROW(config_consistent, other_sql, TEXT, .flags = FIELD_REQUIRED, .doc = "A query of that, which must answer the same."),
};
static const struct schema consistent_schema = {
    .name = "consistent",
    .doc = "Two databases of one server that belong together. Dumps of both are taken of snapshots that were opened within one "
           "range of instants, which is recorded, and whose answers to the two queries are the same.",
    ROWS(consistent_rows),
    .bytes = sizeof(struct config_consistent),
};
static const struct field wal_rows[] = {
    ROW(config_wal, mode, ENUM, .flags = FIELD_REQUIRED, .values = wal_modes,
        .doc =
            "`archive`: the server hands its segments to `proofkeep wal push`. `stream`: `proofkeep wal receive` takes "
            "them from a replication slot. `none`: there is no WAL, and recovery ends with a base backup."),
    ROW(config_wal, slot, STRING, .flags = FIELD_ENV, .doc = "The replication slot of mode `stream`.",
        .fallback = "proofkeep"),
    ROW(config_wal, every, DURATION,
        .doc = "How often at the latest what came of an unfinished segment is stored, in mode `stream`.",
        .fallback = "2s"),
    ROW(config_wal, system, STRING,
        .doc = "The system identifier of the only cluster whose WAL is taken, as `pg_controldata` prints it.",
        .fallback = "that of the first WAL that was stored for the surface"),
    ROW(config_wal, spool, PATH, .flags = FIELD_ENV,
        .doc = "A folder for marks of what was stored ahead, and for what a recovery will ask for next.",
        .fallback = "below the cache folder"),
    ROW(config_wal, also, REFS, .flags = FIELD_NON_EMPTY, .refers = "repositories",
        .doc = "Repositories that must have the WAL as well: it counts as stored only when it is durable in each of "
               "them and in "
               "the environment's own.",
        .fallback = "the environment's alone"),
};
static const struct schema wal_schema = {
    .name = "wal",
    .doc = "How the write-ahead log of a PostgreSQL server gets into the repository.",
    ROWS(wal_rows),
    .bytes = sizeof(struct config_wal),
};
static const struct field incremental_rows[] = {
    ROW(config_incremental, full_every, DURATION,
        .doc = "How old the last backup that read everything may be. The next one reads everything again, and counts what the "
               "server would have left out.",
        .fallback = "7d"),
};
static const struct schema incremental_schema = {
    .name = "incremental",
    .doc = "Physical backups through replication that take from PostgreSQL 17 and newer only what the server says has changed.",
    ROWS(incremental_rows),
    .bytes = sizeof(struct config_incremental),
};
static const struct field login_rows[] = {
    ROW(config_login, host, STRING, .flags = FIELD_REQUIRED | FIELD_ENV,
        .doc = "Host name, address, or the path of a unix socket, as `--into` has it."),
    ROW(config_login, port, INT, .min = 1, .max = 65535, .doc = "Port, as `--into` has it.", .fallback = "6379"),
    ROW(config_login, user, STRING, .flags = FIELD_ENV, .doc = "The user of that server's ACL that restores.",
        .fallback = "the server's default user"),
    ROW(config_login, password, REF, .refers = "secrets", .doc = "The secret that holds its password.",
        .fallback = "none: no login"),
    ROW(config_login, tls, BOOL, .doc = "Speak TLS. The certificate is always checked, and the name in it.",
        .fallback = "false"),
    ROW(config_login, ca, PATH, .flags = FIELD_ENV,
        .doc = "Certificates, in PEM, that the server's is checked against.", .fallback = "the system's"),
};
static const struct schema login_schema = {
    .name = "login",
    .doc = "Another server that may be restored into, and how it is logged into.",
    ROWS(login_rows),
    .bytes = sizeof(struct config_login),
};
static const struct field server_rows[] = {
    ROW(config_server, host, STRING, .flags = FIELD_ENV, .doc = "Host name, address, or the path of a unix socket.",
        .fallback = "`127.0.0.1`"),
    ROW(config_server, port, INT, .min = 1, .max = 65535, .doc = "Port.", .fallback = "6379"),
    ROW(config_server, user, STRING, .flags = FIELD_ENV, .doc = "The backup user of the server's ACL.",
        .fallback = "the server's default user"),
    ROW(config_server, password, REF, .refers = "secrets", .doc = "The secret that holds the password."),
    ROW(config_server, tls, BOOL, .doc = "Speak TLS. The certificate is always checked, and the name in it.",
        .fallback = "false"),
    ROW(config_server, ca, PATH, .flags = FIELD_ENV,
        .doc = "Certificates, in PEM, that the server's is checked against.", .fallback = "the system's"),
    ROW(config_server, databases, STRINGS, .flags = FIELD_NON_EMPTY,
        .doc = "Numbers of the databases to back up, in quotes: `['0', '3']`.", .fallback = "all"),
    ROW(config_server, method, ENUM, .values = redis_methods,
        .doc = "`replication`: one exact moment, as a replica gets it. `scan`: key by key, for services that do not "
               "let anyone "
               "replicate; such backups are labelled fuzzy.",
        .fallback = "replication"),
    ROW(config_server, conflicts, ENUM, .values = redis_conflicts,
        .doc = "What a restore into a running server does with keys that are there already: `abort` before anything is "
               "written, "
               "`replace` them, or `skip` them.",
        .fallback = "abort"),
    ROW(config_server, targets, LIST, .object = &login_schema,
        .doc = "Logins of other servers that are restored into. The surface's own password is never sent to another "
               "server."),
};
static const struct schema server_schema = {
    .name = "server",
    .doc = "A Redis or Valkey server, and how it is backed up and restored.",
    ROWS(server_rows),
    .bytes = sizeof(struct config_server),
};
static const struct field dbms_rows[] = {
    ROW(config_dbms, method, ENUM, .values = neo4j_methods,
        .doc = "`logical`: the graph over Bolt, from a running server; such backups are labelled fuzzy. `offline`: dumps by "
               "`neo4j-admin` of a server that is stopped meanwhile, by the hooks `stop` and `start`; such backups are exact.",
        .fallback = "logical"),
    ROW(config_dbms, host, STRING, .flags = FIELD_ENV, .doc = "Host name or address of Bolt.", .fallback = "`127.0.0.1`"),
    ROW(config_dbms, port, INT, .min = 1, .max = 65535, .doc = "Port of Bolt.", .fallback = "7687"),
    ROW(config_dbms, user, STRING, .flags = FIELD_ENV, .doc = "The user that logs in.", .fallback = "`neo4j`"),
    ROW(config_dbms, password, REF, .refers = "secrets", .doc = "The secret that holds the password.",
        .fallback = "none: no login"),
    ROW(config_dbms, tls, BOOL, .doc = "Speak TLS. The certificate is always checked, and the name in it.",
        .fallback = "false"),
    ROW(config_dbms, ca, PATH, .flags = FIELD_ENV, .doc = "Certificates, in PEM, that the server's is checked against.",
        .fallback = "the system's"),
    ROW(config_dbms, database, STRING, .flags = FIELD_ENV, .doc = "The database of a logical backup.", .fallback = "`neo4j`"),
    ROW(config_dbms, labels, STRINGS, .flags = FIELD_NON_EMPTY,
        .doc = "Labels of the nodes that a logical backup takes, and the relationships between them.", .fallback = "all"),
    ROW(config_dbms, query, TEXT,
        .doc = "A read-only Cypher query whose nodes, and the relationships between them, a logical backup takes.",
        .fallback = "all"),
    ROW(config_dbms, home, PATH, .flags = FIELD_ENV, .doc = "The server's home (NEO4J_HOME), for `offline` and for scratch servers.",
        .fallback = "`/var/lib/neo4j`"),
    ROW(config_dbms, conf, PATH, .flags = FIELD_ENV, .doc = "The folder of its `neo4j.conf` (NEO4J_CONF).",
        .fallback = "`conf` in the home, or else `/etc/neo4j`"),
    ROW(config_dbms, admin, PATH, .flags = FIELD_ENV,
        .doc = "`neo4j-admin`; beside it, `neo4j` starts scratch servers.",
        .fallback = "`bin/neo4j-admin` in the home, or else that of PATH"),
    ROW(config_dbms, run_as, STRING,
        .doc = "System user that owns the data; `neo4j-admin` and scratch servers run as it when we are root.",
        .fallback = "the user we run as"),
    ROW(config_dbms, databases, STRINGS, .flags = FIELD_NON_EMPTY,
        .doc = "Databases of an offline backup. Users and roles are in `system`.", .fallback = "all, `system` too"),
};
static const struct schema dbms_schema = {
    .name = "dbms",
    .doc = "A Neo4j server, and how it is backed up and restored.",
    ROWS(dbms_rows),
    .bytes = sizeof(struct config_dbms),
};
static const struct field hook_rows[] = {
    ROW(config_hook, run, COMMAND, .flags = FIELD_REQUIRED | FIELD_NON_EMPTY | FIELD_ENV | FIELD_WITHHELD,
        .doc = "The program and its arguments. No shell, a minimal environment, one line of JSON on its standard input that says "
               "what it is called for. It fails by its exit status."),
    ROW(config_hook, timeout, DURATION, .doc = "It is stopped, and has failed, when it runs for longer.",
        .fallback = "5m"),
};
static const struct schema hook_schema = {
    .name = "hook",
    .doc = "A program of yours that is run at one place of a job.",
    ROWS(hook_rows),
    .bytes = sizeof(struct config_hook),
};
#define HOOK(word, member, ...)                                                                                        \
    { .name = word, .type = FIELD_OBJECT, .offset = offsetof(struct config_hooks, member), .object = &hook_schema, __VA_ARGS__ }
static const struct field hooks_rows[] = {
    HOOK("freeze", freeze, .doc = "Stops writing, before a backup or a restore that wants it still."),
    HOOK("resume", resume, .doc = "Lets writing go on. Run after `freeze`, whatever happened in between."),
    HOOK("stop", stop, .doc = "Stops the service, where its data is read or laid down while it does not run."),
    HOOK("start", start,
         .doc = "Starts the service. Run after `stop`, whatever happened in between, and after a restore. What it leaves running must "
                "not write to its standard output or error."),
    HOOK("standby", standby, .doc = "Puts the platform into standby, before a restore."),
    HOOK("live", live, .doc = "Puts it back into service. Run after `standby`, whatever happened in between."),
    HOOK("switch", switch_over, .doc = "Makes what was restored the live one."),
    HOOK("health", health, .doc = "Says by its exit status whether the service is well."),
    ROW(config_hooks, checks, MAP, .object = &hook_schema,
        .doc = "Smoke tests by name, run after a restore and the service's start. One that fails fails the restore."),
};
static const struct schema hooks_schema = {
    .name = "hooks",
    .doc = "Programs of yours that jobs run. The JSON they get: `v`, `hook`, `environment`, `surface`, `action` and `facts`.",
    ROWS(hooks_rows),
    .bytes = sizeof(struct config_hooks),
};
static const struct field facet_rows[] = {
    ROW(config_facet, name, NAME, .flags = FIELD_REQUIRED, .doc = "Its name in receipts and reports."),
    ROW(config_facet, index, STRING, .flags = FIELD_REQUIRED | FIELD_ENV, .doc = "The index that is asked, by its own name."),
    ROW(config_facet, query, TEXT, .flags = FIELD_REQUIRED,
        .doc = "The body of a search, in JSON, such as `{\"aggs\": {\"by\": {\"terms\": {\"field\": \"status\"}}}}`. The number of hits and "
               "the aggregations count; of both only a digest is stored."),
};
static const struct schema facet_schema = {
    .name = "facet",
    .doc = "A search whose answer is measured at capture and again after a restore, and compared.",
    ROWS(facet_rows),
    .bytes = sizeof(struct config_facet),
};
static const struct field register_rows[] = {
    ROW(config_register, type, ENUM, .flags = FIELD_REQUIRED, .values = search_repositories,
        .doc = "`fs`: a folder. `s3`: a bucket; its credentials are in the servers' own key stores."),
    ROW(config_register, location, STRING, .flags = FIELD_ENV,
        .doc = "Of `fs`: the folder, as every node sees it. It lies below the nodes' `path.repo`."),
    ROW(config_register, bucket, STRING, .flags = FIELD_ENV, .doc = "Of `s3`: the bucket."),
    ROW(config_register, base_path, STRING, .flags = FIELD_ENV, .doc = "Of `s3`: the path in the bucket.",
        .fallback = "its root"),
    ROW(config_register, client, STRING,
        .doc = "Of `s3`: which of the servers' clients is used, with its endpoint and credentials.",
        .fallback = "`default`"),
};
static const struct schema register_schema = {
    .name = "register",
    .doc = "A snapshot repository that is registered with the cluster when it has none of that name. One that is there "
           "is never changed.",
    ROWS(register_rows),
    .bytes = sizeof(struct config_register),
};
static const struct field engine_snapshot_rows[] = {
    ROW(config_engine_snapshot, repository, STRING, .flags = FIELD_REQUIRED | FIELD_ENV,
        .doc = "The name of the cluster's snapshot repository, as it is registered there."),
    {.name = "register",
     .type = FIELD_OBJECT,
     .offset = offsetof(struct config_engine_snapshot, registration),
     .object = &register_schema,
     .doc = "Register it when the cluster has none of that name.",
     .fallback = "it must be there"},
    ROW(config_engine_snapshot, carry, BOOL,
        .doc = "Read the snapshot's files out of the cluster's repository, which is of type `fs` or `s3`, into ours; a restore then "
               "needs nothing of the cluster's. The cluster's own copies of former backups are removed.",
        .fallback = "false: the bytes stay in the cluster's repository alone"),
    ROW(config_engine_snapshot, folder, PATH, .flags = FIELD_ENV,
        .doc = "The folder of that repository, as this host sees it, for `carry`.",
        .fallback = "the repository's own location"),
    ROW(config_engine_snapshot, bucket, STRING, .flags = FIELD_ENV,
        .doc = "The bucket of that repository, when it is of type `s3`, as this host reaches it, for `carry`: "
               "`s3://BUCKET?endpoint=…`, with credentials like those of a repository. The path in it is the cluster's to say.",
        .fallback = "none"),
    ROW(config_engine_snapshot, staging, PATH, .flags = FIELD_ENV,
        .doc = "A folder that this host and every node see under this path, below the nodes' `path.repo`: carried "
               "files are laid there while they are restored.",
        .fallback = "the first folder of `path.repo`"),
};
static const struct schema engine_snapshot_schema = {
    .name = "engine_snapshot",
    .doc = "Snapshots that OpenSearch or Elasticsearch makes itself.",
    ROWS(engine_snapshot_rows),
    .bytes = sizeof(struct config_engine_snapshot),
};
static const struct field cluster_rows[] = {
    ROW(config_cluster, method, ENUM, .values = search_methods,
        .doc = "`logical`: documents and definitions, as the cluster hands them out. `snapshot`: a snapshot that the "
               "cluster makes in a repository of its own.",
        .fallback = "logical"),
    ROW(config_cluster, snapshot, OBJECT, .object = &engine_snapshot_schema,
        .doc = "For `method: snapshot`, which needs it.", .fallback = "none"),
    ROW(config_cluster, url, STRING, .flags = FIELD_ENV, .doc = "Where it is: `https://host:9200`, or `http://` where nobody can "
               "listen in between.", .fallback = "`http://127.0.0.1:9200`"),
    ROW(config_cluster, user, STRING, .flags = FIELD_ENV, .doc = "The backup user.", .fallback = "none"),
    ROW(config_cluster, password, REF, .refers = "secrets", .doc = "The secret that holds the user's password."),
    ROW(config_cluster, api_key, REF, .refers = "secrets",
        .doc = "The secret that holds an API key of Elasticsearch, in its encoded form, instead of a user and a password."),
    ROW(config_cluster, ca, PATH, .flags = FIELD_ENV, .doc = "Certificates, in PEM, that the cluster's is checked against.",
        .fallback = "the system's"),
    ROW(config_cluster, certificate, PATH, .flags = FIELD_ENV,
        .doc = "Our own certificate, in PEM, for a cluster that asks its clients for one; then `key` is needed too.",
        .fallback = "none"),
    ROW(config_cluster, key, REF, .refers = "secrets",
        .doc = "The secret that holds the certificate's key, in PEM and without a passphrase."),
    ROW(config_cluster, indices, STRINGS, .flags = FIELD_NON_EMPTY | FIELD_ENV,
        .doc = "Names of indices and data streams to back up; `*` stands for anything. A name that begins with a dot is "
               "taken only by a pattern that does.",
        .fallback = "all"),
    ROW(config_cluster, exclude, STRINGS, .flags = FIELD_ENV, .doc = "Names to leave out, in the same form.", .fallback = "none"),
    ROW(config_cluster, facets, LIST, .object = &facet_schema, .doc = "Searches whose answers are compared after a restore."),
    ROW(config_cluster, distribution, PATH,
        .doc = "The folder of an OpenSearch or Elasticsearch distribution on this host, from which `verify --level full` starts "
               "its scratch server.",
        .fallback = "no scratch server can be started"),
    ROW(config_cluster, java_home, PATH, .doc = "The JDK of the scratch server.", .fallback = "the distribution's own"),
    ROW(config_cluster, run_as, STRING,
        .doc = "System user that the scratch server runs as when we are root, which it refuses to be."),
};
static const struct schema cluster_schema = {
    .name = "cluster",
    .doc = "An OpenSearch or Elasticsearch cluster. Which of both it is, it says itself.",
    ROWS(cluster_rows),
    .bytes = sizeof(struct config_cluster),
};
static const struct field surface_rows[] = {
    ROW(config_surface, kind, ENUM, .flags = FIELD_REQUIRED, .values = kinds, .doc = "Which driver captures it."),
    ROW(config_surface, class, ENUM, .flags = FIELD_REQUIRED, .values = classes,
        .doc = "`truth`: the source of truth. `runtime`: restorable, and rebuildable from truth. `cache`: may be lost. "
               "`config`: configuration and infrastructure code."),
    ROW(config_surface, receipt_surface, STRING, .doc = "What receipts call this surface.",
        .fallback = "the driver's word for its kind"),
    ROW(config_surface, paths, PATHS, .flags = FIELD_REQUIRED | FIELD_NON_EMPTY | FIELD_ENV, .only = "files",
        .doc = "Files and folders to back up."),
    ROW(config_surface, exclude, STRINGS, .flags = FIELD_ENV, .only = "files",
        .doc = "Patterns of paths to leave out."),
    ROW(config_surface, one_file_system, BOOL, .only = "files", .doc = "Do not cross into other mounted file systems.",
        .fallback = "false"),
    ROW(config_surface, connect, OBJECT, .object = &connect_schema, .only = "postgres", .doc = "How it is reached.",
        .fallback = "the local socket"),
    ROW(config_surface, method, ENUM, .values = methods, .only = "postgres",
        .doc = "`logical`: databases by `pg_dump`. `physical`: the whole cluster's files, which recovery brings to any "
               "instant. A platform that wants both declares two surfaces.",
        .fallback = "logical"),
    ROW(config_surface, through, ENUM, .values = ways, .only = "postgres",
        .doc = "How a physical backup reads the files: `replication`, over the network, or `host`, from the data "
               "folder, in parallel.",
        .fallback = "replication"),
    ROW(config_surface, data_directory, PATH, .flags = FIELD_ENV, .only = "postgres",
        .doc = "The server's data folder, for `through: host`, and beside which a physical backup is restored.",
        .fallback = "what the server says"),
    ROW(config_surface, databases, STRINGS, .flags = FIELD_NON_EMPTY | FIELD_ENV, .only = "postgres",
        .doc = "Databases to back up; `[all]` for every one that is no template and takes connections. A physical "
               "backup has all.",
        .fallback = "`connect.dbname`"),
    ROW(config_surface, tools_dir, PATH, .only = "postgres", .doc = "Folder of `pg_dump` and its kin.",
        .fallback = "found by the server's version"),
    ROW(config_surface, run_as, STRING, .only = "postgres",
        .doc = "System user that the tools, and scratch servers, run as when we are root.",
        .fallback = "the user we run as; as root, no scratch server can then be started"),
    ROW(config_surface, wal, OBJECT, .object = &wal_schema, .only = "postgres",
        .doc = "Its write-ahead log, for recovery to any instant.", .fallback = "none is stored"),
    ROW(config_surface, incremental, OBJECT, .object = &incremental_schema, .only = "postgres",
        .doc = "Take only what the server says has changed, from PostgreSQL 17 with `summarize_wal` on: for `method: "
               "physical`, "
               "`through: replication`, and a repository that is cheap to read.",
        .fallback = "everything is read"),
    ROW(config_surface, priority, ENUM, .values = priorities, .only = "postgres",
        .doc = "Of a physical backup beside the host's other work: `background` gives way to it with processors and "
               "disks.",
        .fallback = "background"),
    ROW(config_surface, bandwidth, SIZE, .only = "postgres",
        .doc = "Bytes a second that a physical backup reads at most, however many threads it has.",
        .fallback = "as it can"),
    ROW(config_surface, invariants, LIST, .object = &invariant_schema, .only = "postgres",
        .doc = "What is compared after a restore."),
    ROW(config_surface, checks, LIST, .object = &query_schema, .only = "postgres",
        .doc = "What a restored server must answer before it takes the place of the live one."),
    ROW(config_surface, consistent, LIST, .object = &consistent_schema, .only = "postgres",
        .doc = "What two of its databases must agree in, at capture and in every restored copy."),
    ROW(config_surface, cluster, OBJECT, .object = &cluster_schema, .only = "search", .doc = "The cluster.",
        .fallback = "the one on this host"),
    ROW(config_surface, server, OBJECT, .object = &server_schema, .only = "redis", .doc = "The server.",
        .fallback = "the one on this host"),
    ROW(config_surface, dbms, OBJECT, .object = &dbms_schema, .only = "neo4j", .doc = "The server.",
        .fallback = "the one on this host"),
    ROW(config_surface, depends_on, REFS, .refers = "surfaces",
        .doc = "Surfaces that are restored before this one where all of them are restored as a set; when one of them "
               "fails, this one is not restored.",
        .fallback = "none; configuration comes first, then truth, runtime, cache"),
    ROW(config_surface, rebuilt_from, REFS, .refers = "surfaces",
        .doc = "Surfaces of class truth that this one, which is none, can be made anew from. Sets record it, and where "
               "there is "
               "no whole backup of this one, messages name them.",
        .fallback = "none"),
    ROW(config_surface, hooks, OBJECT, .object = &hooks_schema, .doc = "Programs of yours that jobs run.",
        .fallback = "none"),
};
static const struct schema surface_schema = {
    .name = "surface",
    .doc = "A thing that holds state. `{env}` in its texts, where said, is replaced by the environment's name.",
    ROWS(surface_rows),
    .bytes = sizeof(struct config_surface),
    .kind = "kind",
};

static const struct field set_rows[] = {
    ROW(config_set, surfaces, REFS, .flags = FIELD_REQUIRED | FIELD_NON_EMPTY, .refers = "surfaces",
        .doc = "What belongs to it."),
    ROW(config_set, rpo, DURATION, .flags = FIELD_NONE_OK,
        .doc = "Recovery point objective of the whole: how old its newest whole set may be.",
        .fallback = "the environment's"),
    ROW(config_set, rto, DURATION, .flags = FIELD_NONE_OK,
        .doc = "Recovery time objective of the whole: how long restoring all of it, with its checks, may take.",
        .fallback = "the environment's"),
    ROW(config_set, freeze_max, DURATION,
        .doc =
            "The longest that writes stay frozen. When the captures take longer, `resume` is run at once, the backup "
            "goes on, and the set is not called quiesced.",
        .fallback = "no limit"),
    ROW(config_set, hooks, OBJECT, .object = &hooks_schema,
        .doc =
            "Programs of yours for the whole: `freeze` and `resume` around its backup; `standby`, `start`, `health`, "
            "`checks` and `live` around and after its restore. Those of its surfaces are run as well.",
        .fallback = "none"),
};
static const struct schema set_schema = {
    .name = "set",
    .doc = "Surfaces that are backed up in one run and restored as one, in the order that they depend on each other.",
    ROWS(set_rows),
    .bytes = sizeof(struct config_set),
};

#define TARGETS(owner)                                                                                                 \
    ROW(owner, rpo, DURATION, .flags = FIELD_NONE_OK,                                                                  \
        .doc = "Recovery point objective: the most data, in time, that may be lost. `none` says that there is no "     \
               "target.",                                                                                              \
        .fallback = "unset, and shown as unset"),                                                                      \
        ROW(owner, rto, DURATION, .flags = FIELD_NONE_OK,                                                              \
            .doc =                                                                                                     \
                "Recovery time objective: the longest that a restore may take. `none` says that there is no target.",  \
            .fallback = "unset, and shown as unset"),                                                                  \
        ROW(owner, retention, OBJECT, .object = &retention_schema, .doc = "Which backups may be forgotten.",           \
            .fallback = "the next wider one"),                                                                         \
        ROW(owner, verify, ENUM, .values = levels,                                                                     \
            .doc = "The rung of the verification ladder that a backup must have reached to count as proven.",          \
            .fallback = "checksum")
static const struct field targets_rows[] = {TARGETS(config_targets)};
static const struct schema targets_schema = {
    .name = "surface policy",
    .doc = "What holds for one surface in this environment, above the environment's own.",
    ROWS(targets_rows),
    .bytes = sizeof(struct config_targets),
};
static const struct field policy_rows[] = {
    TARGETS(config_policy),
    ROW(config_policy, surface, MAP, .object = &targets_schema, .refers = "surfaces", .doc = "By surface."),
};
static const struct schema policy_schema = {
    .name = "policy",
    .doc = "Targets and rules of an environment. Whatever is not set is shown as unset, never guessed.",
    ROWS(policy_rows),
    .bytes = sizeof(struct config_policy),
};
static const struct schema accept_schema = {
    .name = "accept",
    .doc = "Nothing to say yet: write `{}`.",
    .bytes = sizeof(struct config_accept),
};
static const struct field environment_rows[] = {
    ROW(config_environment, protected, BOOL, .doc = "Restoring into it and pruning its backups need the typed phrase.",
        .fallback = "false"),
    ROW(config_environment, repository, REF, .flags = FIELD_REQUIRED, .refers = "repositories",
        .doc = "Where its backups go."),
    ROW(config_environment, surfaces, REFS, .flags = FIELD_NON_EMPTY, .refers = "surfaces",
        .doc = "The surfaces it has.", .fallback = "all"),
    ROW(config_environment, policy, OBJECT, .object = &policy_schema, .doc = "Its targets and rules."),
    ROW(config_environment, sets, MAP, .object = &set_schema,
        .doc = "Sets of this environment; one of the same name stands above the root's.", .fallback = "the root's"),
    ROW(config_environment, accepts_from, MAP, .object = &accept_schema, .refers = "environments",
        .doc = "Environments whose data may be restored into this one. No verb takes data from one environment into "
               "another yet.",
        .fallback = "none"),
};
static const struct schema environment_schema = {
    .name = "environment",
    .doc =
        "One installation of the platform. The one named `dev` is the only one that may take secrets from variables.",
    ROWS(environment_rows),
    .bytes = sizeof(struct config_environment),
};

static const struct field git_rows[] = {
    ROW(config_git, repo, STRING, .flags = FIELD_REQUIRED, .doc = "The repository that receipts name."),
    ROW(config_git, change_ticket, STRING, .doc = "The change ticket that receipts name unless the command line does."),
};
static const struct schema git_schema = {
    .name = "git",
    .doc = "What receipts say about the configuration's origin.",
    ROWS(git_rows),
    .bytes = sizeof(struct config_git),
};
static const struct field runbooks_rows[] = {
    ROW(config_runbooks, base, STRING, .flags = FIELD_REQUIRED, .doc = "What an error's anchor is appended to."),
};
static const struct schema runbooks_schema = {
    .name = "runbooks",
    .doc = "Where the runbooks are.",
    ROWS(runbooks_rows),
    .bytes = sizeof(struct config_runbooks),
};

static const struct field root_rows[] = {
    ROW(config, version, INT, .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "The version of this format."),
    ROW(config, platform, STRING, .flags = FIELD_REQUIRED, .doc = "The platform's name, as reports show it."),
    ROW(config, defaults, OBJECT, .object = &defaults_schema, .doc = "What holds where an environment is silent."),
    ROW(config, secrets, MAP, .object = &secret_schema, .doc = "References to secrets, by name."),
    ROW(config, repositories, MAP, .flags = FIELD_REQUIRED | FIELD_NON_EMPTY, .object = &repository_schema,
        .doc = "Repositories, by name."),
    ROW(config, surfaces, MAP, .flags = FIELD_REQUIRED | FIELD_NON_EMPTY, .object = &surface_schema,
        .doc = "Surfaces, by name."),
    ROW(config, environments, MAP, .flags = FIELD_REQUIRED | FIELD_NON_EMPTY, .object = &environment_schema,
        .doc = "Environments, by name."),
    ROW(config, sets, MAP, .object = &set_schema, .doc = "Sets of surfaces, by name, for every environment."),
    ROW(config, git, OBJECT, .object = &git_schema, .doc = "What receipts say about the origin."),
    ROW(config, runbooks, OBJECT, .object = &runbooks_schema, .doc = "Where the runbooks are."),
};
const struct schema schema_root = {
    .name = "configuration",
    .doc = "The whole file.",
    ROWS(root_rows),
    .bytes = sizeof(struct config),
};
