#!/bin/bash
# The same trust zones on a server that knows policies of the bucket only.
S3_KIND=versitygw exec "${SOURCE_ROOT:?the project}/test/e2e/roles.sh"
