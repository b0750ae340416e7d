#!/bin/bash
# Personal data across devices: a custodian, three consumers on devices of their own, two applications, many people. Once with the
# store in a folder, once in a bucket of a real S3 server. `SUITE_ONLY=folder` or `s3` runs one of them, `SUITE_PEOPLE` and
# `SUITE_TRIALS` say how many people and withdrawals.
. "$(dirname "$0")/lib.sh"
needs python3; needs grep
HERE=$(cd "$(dirname "$0")" && pwd)
PORT=${SUITE_PORT:-19460}
ended=0

tell() { # NAME STORE
    local name=$1 store=$2
    mkdir "$WORK/$name"
    echo "-- store in ${store%%:*}"
    env -u STRONGROOM_HOME python3 -B "$HERE/story.py" "$PROGRAM" "$WORK/$name" "$store" "$FORM" || ended=1
}

if [ "${SUITE_ONLY:-folder}" = folder ]; then tell folder "$WORK/folder/store"; fi
if [ "${SUITE_ONLY:-s3}" = s3 ]; then
    if settings=$("$HERE/../servers/s3.sh" start "$WORK/server" "$PORT"); then
        eval "$settings"
        end_server() { "$HERE/../servers/s3.sh" stop "$WORK/server"; }
        also_at_end end_server
        export STORY_FILER=127.0.0.1:$((PORT + 3)) STORY_SERVER=$WORK/server
        tell s3 s3://suite/story
    else
        [ $? = 77 ] || exit 1
        echo "skipped: no S3 server"; echo "0 passed, 0 failed, 1 skipped"
    fi
fi
exit $ended
