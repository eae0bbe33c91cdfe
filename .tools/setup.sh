#!/usr/bin/env bash
# Brings a machine to the point where `make build` (and, with "test", `make test`) works.
# Idempotent: what is there is left alone. Says what it does; where it cannot, says what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
want=${1:-build}
cargo_leptos_version=0.3.11
leptosfmt_version=0.1.33
machete_version=0.9.2

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() { printf '\033[1;31mmissing:\033[0m %s\n' "$*" >&2; exit 1; }

sudo=
[ "$(id -u)" = 0 ] || sudo=$(command -v sudo || true)
can_apt() { command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || [ -n "$sudo" ]; }; }
apt_fresh=
apt_install() {
    if [ -z "$apt_fresh" ]; then $sudo apt-get update -q >/dev/null; apt_fresh=1; fi
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "$@" >/dev/null
}
# need COMMAND "WHAT FOR" PACKAGE... : a command that must exist, installed from Debian's packages if it does not.
need() {
    local command=$1 why=$2; shift 2
    command -v "$command" >/dev/null && return
    can_apt || die "'$command' ($why). Install it, then run make again. On Debian: apt-get install $*"
    say "installing $* ($why)"
    apt_install "$@" || die "'$command' ($why): apt-get install $* failed"
}

need cc "the C compiler that SQLite and ring are built with" build-essential
need pkg-config "finds C libraries" pkg-config
need node "runs wasm-opt and the browser tests" nodejs npm
need npm "installs wasm-opt and the browser tests" npm

. .tools/env.sh

if [ "$(node_major)" -lt "$node_version" ]; then
    case $(uname -m) in
        x86_64) platform=linux-x64 ;;
        aarch64 | arm64) platform=linux-arm64 ;;
        *) die "Node.js $node_version or newer (this is $(node --version)); see https://nodejs.org" ;;
    esac
    say "Node.js $(node --version) is too old for the browser tests: taking a newer one from the npm registry"
    mkdir -p "$node_cache"
    npm install --prefix "$node_cache" --no-audit --no-fund --loglevel=error "node-$platform@22" >/dev/null ||
        die "Node.js $node_version or newer (this is $(node --version)); see https://nodejs.org"
    . .tools/env.sh
    hash -r
fi

# --- Rust with the wasm32 target -----------------------------------------------------------------------------------
rust_works() { command -v cargo >/dev/null && command -v rustc >/dev/null && rust_usable rustc; }
with_rustup() {
    command -v rustup >/dev/null || return 1
    say "asking rustup for Rust $rust_version with the wasm32 target"
    rustup toolchain install "$rust_version" --profile minimal --component clippy --component rustfmt \
        --target wasm32-unknown-unknown >/dev/null 2>&1 && RUSTUP_TOOLCHAIN=$rust_version rust_usable rustc
}
with_debian() {
    can_apt || return 1
    say "no Rust $rust_version from rustup here: installing Debian's toolchain"
    apt_install rustc-web cargo-web rust-web-src rust-web-llvm rustfmt-web rust-web-clippy || return 1
    rust_usable /usr/bin/rustc && return
    say "building the wasm32 standard library from Debian's sources (about 40 seconds)"
    local crate libdir
    crate=$(mktemp -d)
    /usr/bin/cargo init -q --lib --vcs none --name wasm_std "$crate"
    (cd "$crate" && RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$crate/target" /usr/bin/cargo build -q --release \
        --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort) || return 1
    libdir=$(/usr/bin/rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib
    $sudo mkdir -p "$libdir"
    find "$crate/target/wasm32-unknown-unknown/release/deps" -name '*.rlib' ! -name 'libwasm_std-*' -exec $sudo cp {} "$libdir/" \;
    rm -rf "$crate"
    rust_usable /usr/bin/rustc
}
if ! rust_works; then
    with_rustup || with_debian ||
        die "Rust $rust_version or newer with the target wasm32-unknown-unknown. Install rustup (https://rustup.rs), then: rustup update && rustup target add wasm32-unknown-unknown"
    . .tools/env.sh
    hash -r
    rust_works || die "a rustc on PATH, $rust_version or newer, that can compile for wasm32-unknown-unknown"
fi

# Sources of the standard library: the site's is built for size with them. Without them the build does with the ordinary one.
if [ ! -f "$(rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ] && command -v rustup >/dev/null &&
    rustup which rustc >/dev/null 2>&1; then
    say "asking rustup for the sources of the standard library"
    rustup component add rust-src >/dev/null 2>&1 || say "they are not there: the site gets a tenth larger"
fi

# --- wasm-bindgen of exactly the locked version, and cargo-leptos ---------------------------------------------------
locked=$(grep -A1 '^name = "wasm-bindgen"$' Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p')
if [ "$(wasm-bindgen --version 2>/dev/null | cut -d' ' -f2)" != "$locked" ]; then
    say "installing wasm-bindgen $locked (2 to 5 minutes)"
    # Without --locked: its lock file names a release that is not in the registry. Its own target directory keeps ours clean.
    CARGO_TARGET_DIR=$(mktemp -d) CARGO_PROFILE_DEV_DEBUG=0 cargo install -q --debug --force wasm-bindgen-cli --version "$locked" ||
        die "wasm-bindgen-cli $locked (cargo install failed, see above)"
fi
if [ "$(cargo leptos --version 2>/dev/null | cut -d' ' -f2)" != "$cargo_leptos_version" ]; then
    say "installing cargo-leptos $cargo_leptos_version (about 8 minutes)"
    CARGO_TARGET_DIR=$(mktemp -d) CARGO_PROFILE_DEV_DEBUG=0 cargo install -q --debug --locked --force cargo-leptos \
        --version "$cargo_leptos_version" --features no_downloads || die "cargo-leptos (cargo install failed, see above)"
fi

# --- wasm-opt, Playwright, axe --------------------------------------------------------------------------------------
if ! cmp -s end2end/package-lock.json end2end/node_modules/.installed-lock; then
    say "installing wasm-opt and the browser test tools with npm"
    (cd end2end && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund --loglevel=error) || die "the npm packages of end2end"
    cp end2end/package-lock.json end2end/node_modules/.installed-lock
fi

# --- What only the tests need ---------------------------------------------------------------------------------------
if [ "$want" = test ] || [ "$want" = lint ]; then
    lint_tool() { # lint_tool CRATE VERSION FOUND
        [ "$3" = "$2" ] && return
        say "installing $1 $2 (about a minute)"
        CARGO_TARGET_DIR=$(mktemp -d) CARGO_PROFILE_DEV_DEBUG=0 cargo install -q --debug --locked --force "$1" --version "$2" ||
            die "$1 $2 (cargo install failed, see above)"
    }
    lint_tool leptosfmt "$leptosfmt_version" "$(leptosfmt --version 2>/dev/null | cut -d' ' -f2)"
    lint_tool cargo-machete "$machete_version" "$(cargo machete --version 2>/dev/null)"
fi
if [ "$want" = test ]; then
    if ! ls -d /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null; then
        can_apt || die "PostgreSQL (initdb, pg_ctl). On Debian: apt-get install postgresql"
        say "installing PostgreSQL (a throw-away server for the tests)"
        apt_install postgresql || die "PostgreSQL: apt-get install postgresql failed"
    fi
    need openssl "a client of old TLS, for the tests" openssl
    need curl "a mail client nobody here wrote, for the tests" curl
    need swaks "a mail client nobody here wrote, for the tests" swaks libnet-ssleay-perl
    need msmtp "a mail client nobody here wrote, for the tests" msmtp
    need php "a mail client nobody here wrote, for the tests" php-cli
    need python3 "a mail client nobody here wrote, for the tests" python3
    if ! command -v dovecot >/dev/null && ! [ -x /usr/sbin/dovecot ]; then
        can_apt || die "Dovecot (IMAP and submission). On Debian: apt-get install dovecot-imapd dovecot-submissiond"
        say "installing Dovecot (a mail server nobody here wrote, for the tests)"
        apt_install dovecot-imapd dovecot-submissiond || die "Dovecot: apt-get install dovecot-imapd dovecot-submissiond failed"
    fi
    if ! command -v chromium-headless-shell >/dev/null && [ -z "${ENTREPOST_CHROMIUM:-}" ]; then
        # Where it is not packaged, the whole browser serves.
        if can_apt; then
            say "installing Chromium without a window (browser tests)"
            apt_install chromium-headless-shell fonts-liberation fonts-noto-color-emoji || say "chromium-headless-shell is not available"
        fi
        if ! command -v chromium-headless-shell >/dev/null && ! command -v chromium >/dev/null; then
            can_apt || die "Chromium. On Debian: apt-get install chromium; elsewhere set ENTREPOST_CHROMIUM to its path"
            say "installing Chromium (browser tests)"
            apt_install chromium fonts-liberation fonts-noto-color-emoji || die "Chromium: apt-get install chromium failed"
        fi
    fi
fi
say "tools are ready: $(rustc --version | cut -d' ' -f1,2), wasm-bindgen $locked, cargo-leptos $cargo_leptos_version, node $(node --version)"
