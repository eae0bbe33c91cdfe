# Sourced by every recipe: which toolchain to use, and where the tools are.
# The rule: the first of these that is recent enough and can compile for wasm32 wins: the toolchain that is active,
# a rustup toolchain that set-up installed, the system's own.
ENTREPOST_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$HOME/.cargo/bin:$ENTREPOST_ROOT/end2end/node_modules/.bin:$PATH"
rust_version=1.96.0
node_version=20

# The browser tests need a newer Node.js than Debian 12 has; set-up takes one from the npm registry where the system's is older.
node_cache=$HOME/.cache/entrepost/node
node_major() { node --version 2>/dev/null | sed -E 's/^v([0-9]+).*/\1/'; }
if [ "$(node_major || true)" -lt "$node_version" ] 2>/dev/null && ls "$node_cache"/node_modules/node-linux-*/bin/node >/dev/null 2>&1; then
    PATH=$(dirname "$(ls "$node_cache"/node_modules/node-linux-*/bin/node | head -1)"):$PATH
fi

rust_usable() { # rust_usable RUSTC: recent enough, with the wasm32 standard library
    local have libdir
    have=$("$1" --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ "$(printf '%s\n%s\n' "$rust_version" "$have" | sort -V | head -1)" = "$rust_version" ] || return 1
    libdir=$("$1" --print target-libdir --target wasm32-unknown-unknown 2>/dev/null) || return 1
    ls "$libdir"/libstd-*.rlib >/dev/null 2>&1
}

if [ -z "${RUSTUP_TOOLCHAIN:-}" ] && ! rust_usable rustc && command -v rustup >/dev/null; then
    if RUSTUP_TOOLCHAIN=$rust_version rust_usable rustc; then
        export RUSTUP_TOOLCHAIN=$rust_version
    elif [ -x /usr/bin/rustc ] && rust_usable /usr/bin/rustc; then
        rustup toolchain list 2>/dev/null | grep -q '^debian' || rustup toolchain link debian /usr
        export RUSTUP_TOOLCHAIN=debian
    fi
fi
