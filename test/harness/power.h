/* A seam table that simulates power loss below one folder.
 *
 * Every change below the root is made for real and written to a journal as well: creations, writes, truncations,
 * renames, links, removals, changes of mode, and syncs of files and of folders. From the journal, the state that a
 * crash right after change n could have left is built in another folder, under the worst assumptions that POSIX allows:
 *   POWER_DROP_UNSYNCED  a file has the data of its last sync, a folder the names of its last sync
 *   POWER_KEEP_ALL       everything reached the disk
 *   POWER_TORN_WRITE     as KEEP_ALL, but of the last unsynced write only the first half of its 512-byte sectors did;
 * the rest of what it covered is what it was, and zeros beyond the former end POWER_NAMES_FIRST    all names and
 * renames reached the disk, but a file has the data of its last sync only What stands below the root at power_begin
 * counts as durable. Owners, times and extended attributes are not followed; modes are durable at once. Writing through
 * a shared mapping is refused (ENODEV), as it could not be seen. Threads may use the table at once. The harness aborts
 * when it cannot do its own work.
 */
#ifndef PK_TEST_HARNESS_POWER_H
#define PK_TEST_HARNESS_POWER_H

#include <stdint.h>

enum power_mode { POWER_DROP_UNSYNCED, POWER_KEEP_ALL, POWER_TORN_WRITE, POWER_NAMES_FIRST, POWER_MODE_COUNT };

void power_begin(const char *root); /* an existing folder; installs the table */
void power_end(void);               /* back to the system's table; the journal stays */
uint64_t power_ops(void);           /* changes in the journal so far */
/* Build the state after a crash right behind change n (0: before the first) in `into`, which must not exist. */
void power_materialise(const char *into, uint64_t n, enum power_mode mode);
void power_forget(void); /* frees the journal */

#endif
