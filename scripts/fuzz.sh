#!/bin/sh
# Builds the fuzzers and runs them one after the other, each for so many minutes. Ends with 1 if one found something, and
# says where that lies. Usage: scripts/fuzz.sh MINUTES [NAME...]
#
# A run begins with what was kept (fuzz/corpora) and with what runs here before it found (fuzz/target/found), and writes to
# the latter alone. With KEEP=1 the fewest inputs that reach every place known by then are kept instead.
set -eu
minutes=$1
shift
cd "$(dirname "$0")/../fuzz"

# What is set outside would take the place of .cargo/config.toml, and nothing would be covered.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR
cargo build --release --locked
host=$(rustc -vV | sed -n 's/^host: //p')
[ $# -gt 0 ] || set -- index timeline packagers protocol requests

failed=""
for name in "$@"; do
    fuzzer=target/$host/release/$name
    kept=corpora/$name found=target/found/$name findings=target/findings/$name log=target/$name.log
    mkdir -p "$kept" "$found" "$findings"
    # Longer inputs than these reach nothing that shorter ones do not.
    case $name in index) longest=8192 ;; *) longest=4096 ;; esac
    echo "fuzz: $name for $minutes minutes ..."
    if "$fuzzer" -max_total_time=$((minutes * 60)) -max_len=$longest -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$findings/" "$found" "$kept" 2>"$log"; then
        grep -E 'cov: ' "$log" | tail -n 1
    else
        failed="$failed $name"
        grep -E -A 3 'panicked at|ERROR: libFuzzer|Test unit written' "$log" || tail -n 5 "$log"
        echo "fuzz: $name found something: fuzz/$findings has the input, fuzz/$log the whole story; again with" >&2
        echo "    fuzz/$fuzzer fuzz/$findings/..." >&2
        continue
    fi
    if [ "${KEEP:-}" = 1 ]; then
        fewest=target/fewest/$name
        rm -rf "$fewest"
        mkdir -p "$fewest"
        "$fuzzer" -set_cover_merge=1 -use_counters=0 -max_len=$longest "$fewest" "$kept" "$found" 2>>"$log"
        rm -rf "$kept"
        mv "$fewest" "$kept"
        echo "fuzz: $(find "$kept" -type f | wc -l) inputs of $name are kept"
    fi
done
[ -z "$failed" ] || { echo "fuzz: findings:$failed" >&2; exit 1; }
