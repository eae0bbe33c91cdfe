#!/usr/bin/env bash
# All tests, fast ones first: lint, Rust (SQLite and PostgreSQL), build, sizes, browser. Ends with a count over all suites.
# With an argument (lint, rust, browser) only that part; "one NAME" runs Rust tests of that name, or one browser spec.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. .tools/env.sh
part=${1:-all}
passed=0 failed=0
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
count() { # count NAME COMMAND...: one check, by its exit status
    local name=$1; shift
    say "$name"
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); say "FAILED: $name"; fi
}

work=$(mktemp -d)
postgres_data=
cleanup() {
    [ -z "$postgres_data" ] || as_postgres "$pg/pg_ctl" -D "$postgres_data" -m immediate stop >/dev/null 2>&1
    rm -rf "$work"
}
trap cleanup EXIT

# PostgreSQL refuses to run as root.
as_postgres() { if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
start_postgres() {
    pg=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
    [ -n "$pg" ] || pg=$(dirname "$(command -v initdb)") || return 1
    local port user
    port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
    user=$([ "$(id -u)" = 0 ] && echo postgres || id -un)
    postgres_data=$work/postgres
    mkdir -p "$postgres_data"
    [ "$(id -u)" != 0 ] || chown -R postgres "$work"
    chmod 755 "$work"
    as_postgres "$pg/initdb" -D "$postgres_data" -A trust -U "$user" -E UTF8 >/dev/null || return 1
    as_postgres "$pg/pg_ctl" -D "$postgres_data" -w -l "$postgres_data/log" start \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$postgres_data -c fsync=off -c max_connections=300" >/dev/null || return 1
    export ENTREPOST_TEST_POSTGRES="postgres://$user@127.0.0.1:$port"
}

lint() {
    count "rustfmt" cargo fmt --all --check
    count "leptosfmt" leptosfmt --max-width 160 --quiet --check "app/src/**/*.rs"
    count "cargo-machete: no unused dependency" cargo machete
    count "clippy: server, sandbox, app" cargo clippy --quiet --all-targets -- -D warnings
    count "clippy: frontend" cargo clippy --quiet -p frontend --target wasm32-unknown-unknown -- -D warnings
}

rust_tests() {
    say "Rust tests, on SQLite and on a PostgreSQL server of their own"
    start_postgres || { say "FAILED: PostgreSQL did not start"; failed=$((failed + 1)); return; }
    # Tests wait for servers more than they compute.
    RUST_TEST_THREADS=${RUST_TEST_THREADS:-3} cargo test --no-fail-fast "$@" 2>&1 | tee "$work/rust.log"
    local status=${PIPESTATUS[0]} ok bad
    ok=$(grep -E '^test result:' "$work/rust.log" | sed -E 's/.* ([0-9]+) passed.*/\1/' | awk '{ n += $1 } END { print n + 0 }')
    bad=$(grep -E '^test result:' "$work/rust.log" | sed -E 's/.* ([0-9]+) failed.*/\1/' | awk '{ n += $1 } END { print n + 0 }')
    passed=$((passed + ${ok:-0})) failed=$((failed + ${bad:-0}))
    # A build that fails counts no test: it must not look like success.
    [ "$status" = 0 ] || [ "${bad:-0}" -gt 0 ] || failed=$((failed + 1))
}

browser_tests() {
    say "browser tests"
    (cd end2end && npx tsc -p . && npx playwright test "${@}") 2>&1 | tee "$work/browser.log"
    local status=${PIPESTATUS[0]} ok bad
    ok=$(grep -E '^ +[0-9]+ passed' "$work/browser.log" | grep -oE '[0-9]+' | head -1)
    bad=$(grep -E '^ +[0-9]+ (failed|did not run|interrupted|flaky)' "$work/browser.log" | grep -oE '[0-9]+' | awk '{ n += $1 } END { print n + 0 }')
    passed=$((passed + ${ok:-0})) failed=$((failed + ${bad:-0}))
    [ "$status" = 0 ] || [ "${bad:-0}" -gt 0 ] || failed=$((failed + 1))
}

case $part in
    lint) lint ;;
    rust) rust_tests ;;
    browser) browser_tests ;;
    one)
        case ${2:?the name of a test, or of a browser spec} in
            *.spec.ts*) browser_tests "${2#end2end/}" ;;
            *) rust_tests "$2" ;;
        esac
        ;;
    all)
        lint
        rust_tests
        count "each micro-benchmark once" cargo test --quiet -p server --bench micro
        count "each comparison once, with a handful of messages" node end2end/bench/run.mjs --tiny
        count "release build" .tools/build.sh
        count "sizes" .tools/sizes.sh
        browser_tests
        count "the site with the ordinary standard library" env ENTREPOST_ORDINARY_STD=1 .tools/build.sh frontend
        count "its sizes" .tools/sizes.sh
        browser_tests specs/flow.spec.ts --project=script
        ;;
    *) echo "usage: $0 [lint|rust|browser|one NAME]" >&2; exit 2 ;;
esac

[ $((passed + failed)) -gt 0 ] || failed=1
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
