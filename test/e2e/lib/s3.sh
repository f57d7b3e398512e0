# What the end-to-end tests with an S3 server share. To be sourced after tap.sh. Nothing of the caller's own AWS is left in the environment.
#   s3_needed KIND     a server in $T/server, which is stopped at the end; ends the test, as skipped, where it cannot be had
#   s3_login           the server's own keys in the environment
#   down, up           ends that server, and starts it again where it was
. "$SOURCE_ROOT/test/harness/s3_server.sh"
trap 's3_stop' EXIT
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION
export AWS_EC2_METADATA_DISABLED=true no_proxy='*'

s3_needed() {
  s3_start "$1" "$T/server"
  case $? in
  0) ;;
  77) echo "1..0 # SKIP $S3_WHY" && exit 0 ;;
  *) echo "Bail out! $S3_WHY" && exit 1 ;;
  esac
}
s3_login() { export AWS_ACCESS_KEY_ID=$S3_ACCESS AWS_SECRET_ACCESS_KEY=$S3_SECRET; }
down() { s3_stop; }
up() { S3_PORT=${S3_ENDPOINT##*:} s3_start "$S3_STARTED" "$T/server"; }
