#!/bin/bash
# A workspace in a bucket of a real S3 server (SeaweedFS): conformance, other suites, cold reads, faults, a black hole.
. "$(dirname "$0")/lib.sh"
needs python3; needs curl; needs cargo
HERE=$(cd "$(dirname "$0")" && pwd)
PORT=${SUITE_PORT:-19420}

settings=$("$HERE/../servers/s3.sh" start "$WORK/server" "$PORT") || { [ $? = 77 ] && skip_all "no S3 server"; exit 1; }
eval "$settings"
PROXY= TLS=
end_servers() {
    if [ -n "$PROXY" ]; then kill "$PROXY" 2>/dev/null || true; fi
    if [ -n "$TLS" ]; then kill "$TLS" 2>/dev/null || true; fi
    "$HERE/../servers/s3.sh" stop "$WORK/server"
}
also_at_end end_servers

# Of the whole workspace: for one package alone the same dependencies would be built again with other features.
conformance() {
    (cd "$HERE/../.." && STRONGROOM_TEST_STORES="s3://suite" STRONGROOM_TEST_ARBITERS=1 \
        cargo test --quiet --workspace --test server)
}
try "the server conforms, and one of several racing puts wins" conformance

# Suites of the drive, their stores in the bucket.
if is_long; then others="git sqlite tar fsx append2 rsync editors kill9 pjdfstest"; else others="sqlite"; fi
for other in $others; do
    try "suite $other in a bucket" env SUITE_STORE="s3://suite" bash "$HERE/$other.sh" "$PROGRAM"
done

STORE=s3://suite/own
make_store
refuses_second() { ! "$PROGRAM" init "$STORE" --passphrase-file "$PASSPHRASE" 2>"$WORK/second.log" && grep -q "holds a workspace already" "$WORK/second.log"; }
try "a second init is refused" refuses_second

make_tree "$PLAIN/tree" 1000
step "mount" start
try "a tree of 1,000 files is written" cp -a "$PLAIN/tree" "$DRIVE/tree"
try "sync --wait" "$PROGRAM" sync --wait "$DRIVE"
counter() { "$PROGRAM" status "$DRIVE" --json | python3 -c "import json,sys; print(json.load(sys.stdin)['$1'])"; }
few_puts() { local puts; puts=$(counter store_puts); echo "$puts puts"; [ "$puts" -le 30 ]; }
try "1,000 files cost at most 30 PUTs" few_puts
step "remount" remount
try "the tree is equal after a remount" diff -r --no-dereference "$PLAIN/tree" "$DRIVE/tree"
nothing_read() { local bytes; bytes=$(counter store_read_bytes); echo "$bytes bytes"; [ "$bytes" -lt 2000000 ]; }
try "what was written here is not fetched again" nothing_read
step "unmount" stop
rm -rf "$STRONGROOM_HOME/cache"
step "mount without copies" start
try "the tree is equal when read cold" diff -r --no-dereference "$PLAIN/tree" "$DRIVE/tree"
few_gets() { local gets; gets=$(counter store_gets); echo "$gets gets"; [ "$gets" -le 300 ]; }
try "1,000 files read cold, in another order, cost at most 300 GETs" few_gets
step "unmount" stop

# Behind TLS, with an authority that no machine knows.
if command -v openssl >/dev/null; then
    cd "$WORK"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=suite authority" -keyout ca.key -out ca.pem 2>openssl.log
    openssl req -newkey rsa:2048 -nodes -subj "/CN=suite" -keyout tls.key -out tls.csr 2>>openssl.log
    printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >tls.ext
    openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile tls.ext -out tls.pem 2>>openssl.log
    cd - >/dev/null
    python3 "$HERE/../servers/tls.py" $((PORT + 7)) "$PORT" "$WORK/tls.pem" "$WORK/tls.key" & TLS=$!
    behind_tls() { env AWS_ENDPOINT_URL=https://127.0.0.1:$((PORT + 7)) "$@" "$PROGRAM" check "$STORE" --passphrase-file "$PASSPHRASE"; }
    trusted() { behind_tls AWS_CA_BUNDLE="$WORK/ca.pem"; }
    distrusted() { local ended=0; behind_tls AWS_CA_BUNDLE= || ended=$?; echo "ended with $ended"; [ $ended != 0 ]; }
    try "a server of an authority named by AWS_CA_BUNDLE is trusted" trusted
    try "a server of an unknown authority is not" distrusted
else
    SKIPPED=$((SKIPPED + 2)); echo "skipped TLS: \`openssl\` is not installed"
fi

# Trouble between here and the server.
python3 "$HERE/../servers/faults.py" $((PORT + 5)) "$PORT" $((PORT + 6)) & PROXY=$!
export AWS_ENDPOINT_URL=http://127.0.0.1:$((PORT + 5))
trouble() { python3 - "$*" $((PORT + 6)) <<'PYTHON'
import socket, sys, time
for _ in range(50):
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as control:
            control.sendall((sys.argv[1] + "\n").encode())
            print(control.makefile().readline())
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit("the proxy does not answer")
PYTHON
}
try "faults are set" trouble delay 0.05 refuse 0.05 lose 0.03 reset 0.03 stall 0.01
step "mount through faults" start
try "a tree is written through faults" cp -a "$PLAIN/tree" "$DRIVE/again"
try "sync --wait through faults" "$PROGRAM" sync --wait "$DRIVE"
step "unmount through faults" stop
rm -rf "$STRONGROOM_HOME/cache"
step "mount through faults, without copies" start
try "both trees are equal, read cold through faults" diff -r --no-dereference "$DRIVE/tree" "$DRIVE/again"
retried() { local retries; retries=$(counter store_retries); echo "$retries retries"; [ "$retries" -gt 0 ]; }
try "requests were tried again" retried
step "unmount through faults" stop

# A black hole. What is here answers, what is not ends, nothing is lost.
trouble >"$WORK/trouble.log"
rm -rf "$STRONGROOM_HOME/cache"
step "mount before the black hole" start
warm=$(cd "$DRIVE" && ls tree/part01/*/*.txt | head -n 1)
cat "$DRIVE/$warm" >"$WORK/warm"
trouble hole 1 >"$WORK/trouble.log"
quickly() { timeout 2 "$@"; }
try "df answers in a black hole" quickly stat -f "$DRIVE"
try "stat of what is known answers" quickly stat "$DRIVE/$warm"
try "a file that was read before is read" quickly cmp "$DRIVE/$warm" "$PLAIN/$warm"
try "a write and its fsync succeed" quickly sh -c 'echo precious >"$1" && sync "$1"' - "$DRIVE/precious"
ends() { local began=$SECONDS ended=0; timeout 120 "$@" 2>&1 || ended=$?; echo "ended with $ended after $((SECONDS - began)) s"; [ $ended != 0 ] && [ $ended != 124 ]; }
try "sync --wait ends, and says why" ends "$PROGRAM" sync --wait "$DRIVE"
unmounts() { local ended=0; timeout 150 "$PROGRAM" unmount "$DRIVE" || ended=$?; echo "ended with $ended"; [ $ended = 3 ]; }
step "unmount ends and says that not all is in the store" unmounts
wait "$DAEMON" || true
DAEMON=
trouble >"$WORK/trouble.log"
step "mount after the black hole" start
try "what was written meanwhile is there" grep -q precious "$DRIVE/precious"
try "sync --wait after the black hole" "$PROGRAM" sync --wait "$DRIVE"
try "both trees are equal" diff -r --no-dereference "$PLAIN/tree" "$DRIVE/again"
finish
