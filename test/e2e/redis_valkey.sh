#!/bin/bash
# The same against Valkey, which Debian has from 13 on. Its programs come first under Redis's names, too, so that nothing finds another.
check=$(command -v valkey-check-rdb) && command -v valkey-cli >/dev/null || { echo '1..0 # SKIP Valkey is not installed'; exit 0; }
bin=${TMPDIR:?}/valkey-bin
mkdir "$bin" || exit 1
for name in valkey redis; do # valkey-tools has the server under another name, and starts none when it is installed
  ln -s "$check" "$bin/$name-check-rdb" && ln -s "$(command -v valkey-server || echo "$check")" "$bin/$name-server" && ln -s "$(command -v valkey-cli)" "$bin/$name-cli" || exit 1
done
PATH=$bin:$PATH REDIS_SERVER=$bin/valkey-server REDIS_CLI=$bin/valkey-cli REDIS_CHECK=$bin/valkey-check-rdb exec "${SOURCE_ROOT:?the project}/test/e2e/redis.sh"
