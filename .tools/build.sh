#!/usr/bin/env bash
# Builds the program and the site, compressed. With "frontend" only the site.
#
# Where the sources of the standard library are there, the site's is built for size and without panic messages: a tenth less to load.
# That needs unstable flags of the compiler, which the server never gets. ENTREPOST_ORDINARY_STD=1 does without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. .tools/env.sh
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

std=ordinary
frontend=(cargo leptos build --release --precompress --frontend-only)
if [ -z "${ENTREPOST_ORDINARY_STD:-}" ] && [ -f "$(rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]; then
    std=small
    frontend=(env RUSTC_BOOTSTRAP=1 "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=-Zunstable-options -Cpanic=immediate-abort"
        "${frontend[@]}" --lib-cargo-args=-Zbuild-std=std,panic_abort --lib-cargo-args=-Zbuild-std-features=optimize_for_size)
fi
say "building the site, with the standard library that is $std"
"${frontend[@]}"
# For .tools/sizes.sh.
echo "$std" >target/frontend-std
[ "${1:-}" != frontend ] || exit 0
say "building the server (the first time takes eight to twelve minutes)"
cargo leptos build --release --server-only
say "built ${CARGO_TARGET_DIR:-target}/release/entrepost and target/site"
