# Shared by suites that keep their store on a real server: starting one, trouble on the way to it, conformance.
# Sourced after lib.sh.
HERE=$(cd "$(dirname "$0")" && pwd)
SERVERS=$HERE/../servers

# start_s3 PORT [FOLDER], start_swift PORT [FOLDER]: started, its settings exported, ended with the suite. One container `suite`.
start_s3() { start_server s3 "$@"; }
start_swift() { start_server swift "$@"; }
start_server() {
    local kind=$1 port=$2 folder=${3:-$WORK/$1} settings ended=0
    settings=$("$SERVERS/$kind.sh" start "$folder" "$port" 2>"$WORK/server.log") || ended=$?
    [ $ended != 77 ] || skip_all "$(tail -n 1 "$WORK/server.log")"
    [ $ended = 0 ] || { cat "$WORK/server.log"; exit 1; }
    eval "$settings"
    also_at_end "$SERVERS/$kind.sh" stop "$folder"
}

# start_proxy PORT TARGET: trouble on the way to TARGET is set by `trouble NAME NUMBER ...` through PORT+1.
start_proxy() {
    python3 "$SERVERS/faults.py" "$1" "$2" $(($1 + 1)) >"$WORK/proxy.log" 2>&1 &
    CONTROL=$(($1 + 1))
    also_at_end kill $!
}
trouble() { python3 - "$*" "$CONTROL" <<'PYTHON'
import socket, sys, time
for _ in range(100):
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as control:
            control.sendall((sys.argv[1] + "\n").encode())
            counts = control.makefile().readline()
        assert counts, f"no such trouble: {sys.argv[1]}"
        print(counts)
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit("the proxy does not answer")
PYTHON
}

# few_puts SINCE: what was put since then are commits and their objects, three a second at most; never one for each file.
few_puts() { local puts limit=$((20 + 3 * (SECONDS - $1))); puts=$(counter store_puts); echo "$puts puts, $limit at most"; [ "$puts" -le $limit ]; }

# conformance ADDRESS [NAME=VALUE]: what every store must do, on this one.
# Of the whole workspace: for one package alone the same dependencies would be built again with other features.
conformance() {
    needs cargo
    (cd "$HERE/../.." && env STRONGROOM_TEST_STORES="$1" "${@:2}" cargo test --quiet --workspace --test server -- --nocapture)
}
