#!/usr/bin/env bash
# What a browser loads: JavaScript and WebAssembly of the whole site, brotli. Fails above the limit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
limit=150000
total=0
shopt -s nullglob
for file in target/site/pkg/*.js.br target/site/pkg/*.wasm.br; do
    size=$(wc -c <"$file")
    total=$((total + size))
    printf '%9d  %s\n' "$size" "${file#target/site/}"
done
[ "$total" -gt 0 ] || { echo "nothing built: run make build first" >&2; exit 1; }
printf '%9d  JavaScript and WebAssembly together, brotli; the limit is %d\n' "$total" "$limit"
[ "$total" -le "$limit" ]
