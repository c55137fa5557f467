#!/bin/sh
# Runs every fuzz target, or those named, for FUZZ_SECONDS each (20). With nightly Rust the address sanitizer
# watches; on stable Rust it is the same fuzzer without it. What breaks a target is left in artifacts/.
set -eu
cd "$(dirname "$0")"

seconds=${FUZZ_SECONDS:-20}
# Offers may have 200 kB, but all that is peculiar about one fits in this.
max_len=20000

if rustup run nightly rustc --version >/dev/null 2>&1; then
    export RUSTUP_TOOLCHAIN=nightly
    sanitizer=address
else
    sanitizer=none
fi

# What is fuzzed is what is shipped: the workspace's versions of all dependencies.
[ Cargo.lock -nt ../../../Cargo.lock ] || cp ../../../Cargo.lock Cargo.lock

cargo_fuzz=$(command -v cargo-fuzz || echo target/tools/bin/cargo-fuzz)
[ -x "$cargo_fuzz" ] || cargo install --quiet --locked --version 0.13.2 --root target/tools cargo-fuzz

# At the workspace's code, with debug assertions and overflow checks, which cargo-fuzz turns on.
"$cargo_fuzz" fuzz build --fuzz-dir . --sanitizer "$sanitizer"
[ $# -gt 0 ] || set -- $("$cargo_fuzz" fuzz list --fuzz-dir .)

for target in "$@"; do
    case $target in
    sdp) seeds=../tests/fixtures/sdp ;;
    *) seeds=seeds/$target ;;
    esac
    mkdir -p "corpus/$target"
    log=target/$target.log
    if ! "$cargo_fuzz" fuzz run --fuzz-dir . --sanitizer "$sanitizer" "$target" "corpus/$target" "$seeds" -- \
        -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len="$max_len" -print_final_stats=1 \
        >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "$target: failed" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$target: $runs inputs in $seconds s, none breaks it"
done
