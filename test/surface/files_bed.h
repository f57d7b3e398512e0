/* What the tests of the files driver share: trees, captures into memory, restores, and an oracle that is not ours. */
#ifndef PK_TEST_SURFACE_FILES_BED_H
#define PK_TEST_SURFACE_FILES_BED_H

#include "base/seam.h"
#include "base/time.h"
#include "harness/claims.h"
#include "harness/scratch.h"
#include "surface/fake_sink.h"
#include "surface/files/attr.h"

/* One test at a time: its scratch folder, its error, and what the driver noted, a line each. */
#define NOTES_BYTES 65536
extern struct scratch dir;
extern struct error err;
extern char notes[NOTES_BYTES];
int bed_setup(void **s);
int bed_teardown(void **s);

const char *at(const char *name);   /* a path in the scratch folder */
const char *item(const char *name); /* its item name; two stay valid */
void put(const char *name, const char *text);
void folder(const char *name);
bool exists(const char *path);
void run(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* a shell command that must succeed */

char *facts_of(const char *path, const char *root); /* what tree_facts.py prints; free it */
/* Two trees are the same, to the last attribute and to the digest over item names below `root`. */
void claim_same(const char *a, const char *b, const char *root);
void claim_only(const char *folder_path, const char *want); /* its entries, each with a space after it */

struct bed {
    struct fake *fake;
    struct surface_context ctx;
    json_t *settings;
    struct capture_result result;
};
struct bed bed_of(json_t *settings);
struct bed bed_make(const char *path);
void bed_free(struct bed *b);
void result_free(struct capture_result *r);
void capture(struct bed *b); /* succeeds and is sealed */
int restore_into(struct bed *b, struct restore_request req, struct restore_result *ret);
void restore_to(struct bed *b, const char *target, const char *const *include); /* succeeds */
const char *invariant(const struct bed *b, const char *key);

/* A seam with a clock that is ahead, so that files are old without waiting; other calls may be hooked too. */
extern struct seam hooked;
void hooks_set(int64_t ahead_s);
void hooks_clear(void);

/* Everything a tree can have, sockets apart. */
void nasty_tree(const char *name);

#endif
