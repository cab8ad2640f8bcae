#!/usr/bin/env bash
# Asks a broker what kcat can ask, one `name: answer` line each; run it on two brokers and compare. Usage: kcat.sh BOOTSTRAP
set -u
B=$1
DIR=$(mktemp -d); trap 'rm -rf "$DIR"' EXIT

check() { # name command...
  local name=$1 out code; shift
  out=$(timeout 30 bash -c '"$@"' - "$@" 2>"$DIR/err"); code=$?
  [ $code = 0 ] || out="$out exit $code $(grep -o 'Broker: .*\|Local: .*' "$DIR/err" | head -1)"
  printf '%s: %s\n' "$name" "$(printf %s "$out" | tr '\n' '|')"
}
produce() { local topic=$1; shift; kcat -b "$B" -P -t "$topic" "$@"; }
consume() { local topic=$1; shift; kcat -b "$B" -C -q -e -t "$topic" "$@"; }
plain_list() { kcat -b "$B" -L -J "$@" | python3 -c '
import json, sys
d = json.load(sys.stdin)
print(d["controllerid"], [(b["id"]) for b in d["brokers"]], [(t["topic"], [(p["partition"], p["leader"], p["replicas"], p["isrs"]) for p in t["partitions"]]) for t in d["topics"]])'; }
without_time() { python3 -c '
import json, sys
for line in sys.stdin:
    r = json.loads(line); r.pop("ts"); r.pop("broker", None); print(json.dumps(r, sort_keys=True))'; }

export B; export -f produce consume plain_list without_time

seq 1 100 | produce kc-made && echo "auto-created by producing: yes"
check "list one topic" plain_list -t kc-made
check "consume all" consume kc-made -o beginning
check "consume three from 40" consume kc-made -o 40 -c 3
check "consume the last two" consume kc-made -o -2
check "format" consume kc-made -o 0 -c 2 -f '%t %p %o %k %s %S %K %h\n'
for codec in gzip snappy lz4 zstd; do
  seq 1 500 | produce "kc-$codec" -z $codec
  check "codec $codec" bash -c "kcat -b $B -C -q -e -t kc-$codec -o beginning | md5sum"
done
printf 'k1:v1\nk2:\n:v3\n' | produce kc-keys -K: -Z -H a=1 -H a=2 -H 'b='
check "keys, nulls and headers" bash -c "kcat -b $B -C -q -e -t kc-keys -o beginning -J | without_time"
printf 'one\n' | produce kc-acks -X acks=1
printf 'zero\n' | produce kc-acks -X acks=0
printf 'all\n' | produce kc-acks -X acks=all -X enable.idempotence=true
check "acks" consume kc-acks -o beginning
check "query earliest" kcat -b "$B" -Q -t kc-made:0:-2
check "query latest" kcat -b "$B" -Q -t kc-made:0:-1
check "query a time long ago" kcat -b "$B" -Q -t kc-made:0:1
check "query a time to come" kcat -b "$B" -Q -t kc-made:0:99999999999999
check "consume from a time" consume kc-made -o s@1 -c 1
check "consume a range of times" consume kc-made -o s@1 -o e@2
check "unknown partition" consume kc-made -p 9 -o beginning
head -c 2000000 /dev/zero | tr '\0' z > "$DIR/large"
check "too large" bash -c "kcat -b $B -P -t kc-made -X message.max.bytes=5000000 -X message.timeout.ms=5000 $DIR/large"
check "group" bash -c "timeout 12 kcat -b $B -q -e -G kc-group -X auto.offset.reset=earliest kc-made -c 100 | sort -n | md5sum"
check "group resumes" bash -c "echo more | kcat -b $B -P -t kc-made; timeout 12 kcat -b $B -q -G kc-group -c 1 kc-made"
check "read committed" consume kc-made -o beginning -c 1 -X isolation.level=read_committed
echo "end of sweep"
