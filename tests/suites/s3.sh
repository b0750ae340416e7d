#!/bin/bash
# A workspace in a bucket of a real S3 server (SeaweedFS): conformance, other suites,
# cold reads, TLS. Trouble on the way to it is in faults.sh.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_servers.sh"
needs python3; needs curl; needs cargo
PORT=${SUITE_PORT:-19420}
start_s3 "$PORT"

try "the server conforms, and one of several racing puts wins" conformance s3://suite STRONGROOM_TEST_ARBITERS=1

# Suites of the drive, their stores in the bucket ($S3_OTHERS: these only).
if is_long; then others="git sqlite tar fsx append2 rsync editors kill9 pjdfstest two"; else others="sqlite two"; fi
for other in ${S3_OTHERS-$others}; do
    try "suite $other in a bucket" env SUITE_STORE="s3://suite" bash "$HERE/$other.sh" "$PROGRAM"
done

STORE=s3://suite/own
make_store
refuses_second() { ! "$PROGRAM" init "$STORE" --passphrase-file "$PASSPHRASE" 2>"$WORK/second.log" && grep -q "holds a workspace already" "$WORK/second.log"; }
try "a second init is refused" refuses_second

make_tree "$PLAIN/tree" 1000
step "mount" start
began=$SECONDS
try "a tree of 1,000 files is written" cp -a "$PLAIN/tree" "$DRIVE/tree"
try "sync --wait" "$PROGRAM" sync --wait "$DRIVE"
try "1,000 files cost few PUTs" few_puts $began
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

# Reads of 4 KiB at random places of a large file fetch little else. In a small one they soon meet again, and more is fetched.
if is_long; then
    large=${S3_LARGE_MIB:-2048}
    write_large() { python3 "$WORK/large.py" write "$DRIVE/large" "$large"; }
    read_large() { python3 "$WORK/large.py" read "$DRIVE/large" "$large"; }
    cat >"$WORK/large.py" <<'PYTHON'
import hashlib, os, random, sys
act, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
PAGE = 4096
def page(number):
    return hashlib.shake_128(number.to_bytes(8, "little")).digest(PAGE)
if act == "write":
    with open(path, "wb") as file:
        for first in range(0, count << 8, 256):
            file.write(b"".join(page(number) for number in range(first, first + 256)))
else:
    chance = random.Random(5)
    file = os.open(path, os.O_RDONLY)
    for _ in range(1000):
        number = chance.randrange(count << 8)
        assert os.pread(file, PAGE, number * PAGE) == page(number), f"wrong bytes in page {number}"
PYTHON
    step "mount" start
    try "a file of $large MiB is written" write_large
    step "unmount" stop
    rm -rf "$STRONGROOM_HOME/cache"
    step "mount without copies" start
    ls "$DRIVE" >"$WORK/listed"
    before=$(counter store_read_bytes)
    try "1,000 random reads of 4 KiB are right" read_large
    little() { local each=$((($(counter store_read_bytes) - before) / 1000)); echo "$each bytes for each"; [ $each -le 131072 ]; }
    try "each fetches at most 128 KiB" little
    little
    rm "$DRIVE/large"
    step "unmount" stop
fi

# Behind TLS, with an authority that no machine knows.
if command -v openssl >/dev/null; then
    cd "$WORK"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=suite authority" -keyout ca.key -out ca.pem 2>openssl.log
    openssl req -newkey rsa:2048 -nodes -subj "/CN=suite" -keyout tls.key -out tls.csr 2>>openssl.log
    printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >tls.ext
    openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile tls.ext -out tls.pem 2>>openssl.log
    cd - >/dev/null
    python3 "$SERVERS/tls.py" $((PORT + 7)) "$PORT" "$WORK/tls.pem" "$WORK/tls.key" &
    also_at_end kill $!
    behind_tls() { env AWS_ENDPOINT_URL=https://127.0.0.1:$((PORT + 7)) "$@" "$PROGRAM" check "$STORE" --passphrase-file "$PASSPHRASE"; }
    trusted() { behind_tls AWS_CA_BUNDLE="$WORK/ca.pem"; }
    distrusted() { local ended=0; behind_tls AWS_CA_BUNDLE= || ended=$?; echo "ended with $ended"; [ $ended != 0 ]; }
    try "a server of an authority named by AWS_CA_BUNDLE is trusted" trusted
    try "a server of an unknown authority is not" distrusted
else
    SKIPPED=$((SKIPPED + 2)); echo "skipped TLS: \`openssl\` is not installed"
fi

finish
