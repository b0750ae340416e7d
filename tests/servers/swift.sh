#!/bin/bash
# A real OpenStack Swift on loopback for tests: proxy, account, container and object server, one copy of everything, in one folder.
#
#   swift.sh start FOLDER PORT    starts it, prints `export` lines for its users; also takes PORT+1 .. PORT+4
#   swift.sh stop FOLDER          ends it, by the process ids it wrote down
#
# The programs are Debian's; as root they are installed if that takes less than a minute. Ends with 77 when they cannot be had.
set -euo pipefail
action=${1:?start or stop} folder=${2:?a folder}
PACKAGES="swift-proxy swift-account swift-container swift-object memcached"
# A key of its own, the same whenever it is started: another server that has the port already refuses it, and is not taken
# for this one.
KEY=$(printf %s "$folder" | sha256sum | head -c 24)

cannot() { echo "$1" >&2; exit 77; }

find_swift() {
    local program missing=
    for program in memcached swift-ring-builder swift-{proxy,account,container,object}-server; do
        command -v "$program" >/dev/null || missing=$program
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        cannot "Swift: \`$missing\` is not installed (apt-get install $PACKAGES)"
    fi
    # What is slow is the download, and that may be cut off. Run level 1 keeps the services of the packages from starting.
    # shellcheck disable=SC2086
    get() { timeout 60 env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" $PACKAGES; }
    { get --download-only || { timeout 60 apt-get update -q && get --download-only; }; } >"$folder/install.log" 2>&1 \
        || cannot "Swift cannot be downloaded within a minute: $(tail -n 1 "$folder/install.log")"
    get >>"$folder/install.log" 2>&1 || cannot "Swift cannot be installed: $(tail -n 1 "$folder/install.log")"
}

# Swift keeps metadata in extended attributes of users.
takes_attributes() { python3 -c "import os, sys; os.setxattr(sys.argv[1], 'user.suite', b'x')" "$1" 2>/dev/null; }

write_settings() {
    local port=$1 name number=0
    cat >"$folder/swift.conf" <<CONF
[swift-hash]
swift_hash_path_prefix = suite
swift_hash_path_suffix = suite
[storage-policy:0]
name = one
default = yes
CONF
    # Their own reserve is one per cent of the disk: on a large, well filled one they would refuse every put.
    for name in account container object; do
        number=$((number + 1))
        cat >"$folder/$name.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $((port + number))
workers = 0
user = $(id -un)
swift_dir = $folder
devices = $folder/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 64000000
[pipeline:main]
pipeline = $name-server
[app:$name-server]
use = egg:swift#$name
CONF
        (cd "$folder" && swift-ring-builder "$name.builder" create 4 1 0 \
            && swift-ring-builder "$name.builder" add "r1z1-127.0.0.1:$((port + number))/disk" 1 \
            && swift-ring-builder "$name.builder" rebalance) >>"$folder/ring.log" 2>&1 || true
        [ -e "$folder/$name.ring.gz" ] || { echo "no ring for $name:" >&2; tail -n 5 "$folder/ring.log" >&2; exit 1; }
    done
    cat >"$folder/proxy.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
workers = 0
user = $(id -un)
swift_dir = $folder
[pipeline:main]
pipeline = catch_errors cache tempauth proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:$((port + 4))
[filter:tempauth]
use = egg:swift#tempauth
user_suite_user = $KEY .admin
CONF
}

spawn() {
    local name=$1; shift
    SWIFT_DIR=$folder setsid "$@" >>"$folder/$name.log" 2>&1 </dev/null &
    echo $! >"$folder/$name.pid"
}

start() {
    local port=${1:?a port} name tries=0
    mkdir -p "$folder/devices/disk"
    folder=$(realpath "$folder")
    takes_attributes "$folder/devices/disk" || cannot "Swift needs extended attributes of users, and $folder has none"
    # Suites run side by side: one of them installs, the others wait for it.
    exec 9>"${TMPDIR:-/tmp}/strongroom-suite-swift.lock"
    flock 9
    find_swift
    exec 9>&-
    write_settings "$port"
    spawn memcached memcached -u nobody -l 127.0.0.1 -p $((port + 4)) -U 0 -m 32
    for name in account container object proxy; do spawn "$name" "$(command -v "swift-$name-server")" "$folder/$name.conf"; done
    until make_container "$port" suite; do
        if [ $((tries += 1)) -gt 300 ] || ! kill -0 "$(cat "$folder/proxy.pid")" 2>/dev/null; then
            echo "the server did not come up:" >&2; tail -n 5 "$folder"/*.log >&2; stop; exit 1
        fi
        sleep 0.2
    done
    echo "export ST_AUTH=http://127.0.0.1:$port/auth/v1.0 ST_USER=suite:user ST_KEY=$KEY"
}

make_container() {
    local answer token place
    answer=$(curl -s -m 5 -D - -o /dev/null -H "X-Auth-User: suite:user" -H "X-Auth-Key: $KEY" "http://127.0.0.1:$1/auth/v1.0") || return 1
    token=$(sed -n 's/^X-Auth-Token: *\(.*\)\r$/\1/Ip' <<<"$answer")
    place=$(sed -n 's/^X-Storage-Url: *\(.*\)\r$/\1/Ip' <<<"$answer")
    [ -n "$token" ] && curl -s -f -m 5 -o /dev/null -X PUT -H "X-Auth-Token: $token" "$place/$2"
}

stop() {
    local file pid
    for file in "$folder"/*.pid; do
        [ -e "$file" ] || continue
        pid=$(cat "$file")
        kill -KILL "$pid" 2>/dev/null || true
        while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
        rm -f "$file"
    done
}

"$action" "${@:3}"
