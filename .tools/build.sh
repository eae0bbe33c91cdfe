#!/usr/bin/env bash
# Builds the program and the site, compressed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. .tools/env.sh
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
say "building the server and the site (the first time takes six to ten minutes)"
cargo leptos build --release --precompress
say "built ${CARGO_TARGET_DIR:-target}/release/entrepost and target/site"
