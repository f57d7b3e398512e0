/* Keys and repositories: making them, and where key files may lie. */
#ifndef PK_WORK_KEYS_H
#define PK_WORK_KEYS_H

#include "work/select.h"

/* A new file with a key, mode 0600. What is there already is ERR_IO_EXISTS and stays; a place in the repository's
 * folder
 * (`url`, may be NULL) is ERR_POLICY: whoever loses or steals the repository would lose or have the key as well.
 * Missing folders are made. Durable when it returns. */
int key_file_write(const char *path, const char *url, struct bytes text, struct error *err) PK_CHECK;
int key_place_check(const char *path, const char *url, struct error *err) PK_CHECK;
/* The same for every repository that is meant: the one named (URL, folder or a name of the configuration), else all of the
 * configuration's. A configuration that is not there is fine. */
int key_place_check_all(const char *path, const char *config_path, const char *repository, struct error *err) PK_CHECK;
/* Whether a file lies on the file system of the repository's folder: both are lost with one disk. */
bool key_same_device(const char *path, const char *url);
/* The first line of a passphrase's file, as work_unlock reads it, with the same care for its place. */
int passphrase_read(const char *path, const char *url, struct secret **ret, struct error *err) PK_CHECK;

struct init_request {
    const char *config_path, *repository;
    const char *key_file, *passphrase_file; /* NULL both: a key file at the usual place */
    const char *cache_dir; /* as work_options has it */
    struct work *source; /* to take copies of this work's repository, which is opened here; NULL: a repository of its own */
};
struct init_result {
    char id[33], url[4096];
    char key_file[4096];    /* empty: a passphrase alone opens it */
    bool key_made;          /* false: the key file was there */
    bool same_device;       /* key and repository lie on one file system */
    char config[4096];      /* the starter configuration that was written; empty: there was one */
    char config_kept[4096]; /* the one that was there */
};
/* Make a repository, the key that opens it and a configuration to start from. ERR_REPO_EXISTS, ERR_POLICY for a key
 * inside of the repository. When it fails, a key file that it made is removed again unless the repository may need it.
 */
int work_init(const struct init_request *q, struct init_result *ret, struct error *err) PK_CHECK;

struct key_request {
    enum key_role role;
    const char *recipient, *key_file_out, *passphrase_file_new; /* exactly one */
    const char *label;                                          /* NULL: none */
};
/* Let another key open the open repository. `id`: of its signing key, 65 bytes. */
int key_add(struct work *w, const struct key_request *q, char id[65], struct error *err) PK_CHECK;
/* A new key-encryption in the place of an old one, without touching data; q->role is not read, and a label that is not given
 * stays. A slot of the admin key, by its id, is sealed anew and proved before the old one goes (the key's own id will do
 * while it has one slot). A key of another role, by its id, gives way to a new one of its role: what the old one signs
 * from then on is void. `id`: of the key then in force. Errors as of key_add and key_remove; what is named stays then. */
int key_rotate(struct work *w, const char *named, const struct key_request *q, char id[65], enum key_role *ret_role, struct error *err) PK_CHECK;
/* End a key that others may have used since since_ns (0: always), one removed before included. *ret is an array of the
 * recovery points that are suspect for it, {"id","environment","surface","log_seq","stored_at"}. */
int key_revoke(struct work *w, const char *named, int64_t since_ns, char id[65], enum key_role *ret_role, json_t **ret, struct error *err) PK_CHECK;
/* A key by its id, or one slot of a key by the slot's, or by at least 8 of the first digits. ERR_NO_POINT when none or
 * several fit; ERR_KEY_ROLE for the last admin slot and the one in use. */
int key_remove(struct work *w, const char *id, char removed[65], bool *ret_slot, struct error *err) PK_CHECK;
/* A recipient's identity as a file; `ret_public` is what others seal to. */
int key_generate(const char *path, const char *url, char ret_public[RECIPIENT_TEXT_BYTES], struct error *err) PK_CHECK;
/* {"keys": […]} of doc/reference/json.md. */
int key_list(struct work *w, json_t **ret, struct error *err) PK_CHECK;

#endif
