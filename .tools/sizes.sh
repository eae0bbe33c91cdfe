#!/usr/bin/env bash
# What is loaded and installed: JavaScript and WebAssembly of the whole site, brotli; the program. Fails above the limits.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case $(cat target/frontend-std 2>/dev/null) in
    small) limit=130000 ;;
    *) limit=145000 ;;
esac
program_limit=30000000
total=0
shopt -s nullglob
for file in target/site/pkg/*.js.br target/site/pkg/*.wasm.br; do
    size=$(wc -c <"$file")
    total=$((total + size))
    printf '%9d  %s\n' "$size" "${file#target/site/}"
done
[ "$total" -gt 0 ] || { echo "nothing built: run make build first" >&2; exit 1; }
printf '%9d  JavaScript and WebAssembly together, brotli; the limit is %d\n' "$total" "$limit"
program=$(wc -c <"${CARGO_TARGET_DIR:-target}/release/entrepost")
printf '%9d  the program; the limit is %d\n' "$program" "$program_limit"
[ "$total" -le "$limit" ] && [ "$program" -le "$program_limit" ]
