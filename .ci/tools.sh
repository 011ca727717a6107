# Shared by ./quickstart, ./test and .ci/run: where things go, and how what is missing gets here.
# Sourced with $root set to the folder of the checkout.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/syncline
# One profile and one target folder for everything in a checkout, so that nothing is compiled twice. Another checkout has another:
# cargo knows a change by the time of its file, so two that share a folder would take each other's code for their own.
own_target=
if [ -z "${CARGO_TARGET_DIR:-}" ]; then
  own_target=$cache/target-$(printf '%s' "$root" | sha512sum | cut -c 1-8)
  CARGO_TARGET_DIR=$own_target
fi
export CARGO_TARGET_DIR CARGO_INCREMENTAL=0
syncline=$CARGO_TARGET_DIR/debug/syncline

say() { printf '%s\n' "$*" >&2; }
# An environment that lacks something: exit code 3, as the product's own commands do.
lack() {
  say "error: $1"
  shift
  for line in "$@"; do say "help: $line"; done
  exit 3
}

# The folder of a new checkout starts with what the one that built last holds of other people's crates: most of the time of a build, and
# as hard links no space. Folders of checkouts that are gone go too. Whatever fails here costs time and nothing else.
need_target() {
  [ -n "$own_target" ] || return 0
  local part=$own_target.part.$$ warm folder
  if [ ! -d "$own_target/debug" ]; then
    # On a machine that never built it there is none: no reason to stop.
    warm=$(ls -td "$cache"/target*/debug/syncline 2>/dev/null | head -n 1 || true)
    rm -rf "$own_target"
    mkdir -p "$part/debug"
    [ -z "$warm" ] || inherit "${warm%/*}" "$part/debug" || true
    mv -T "$part" "$own_target" 2>/dev/null || rm -rf "$part"
  fi
  printf '%s\n' "$root" >"$own_target/checkout"
  for folder in "$cache"/target-*; do
    [ ! -f "$folder/checkout" ] || [ -d "$(cat "$folder/checkout")" ] || rm -rf "$folder"
  done
}
# Fingerprints first: what has one is whole. They are copies, as cargo writes them in place; libraries it replaces.
inherit() {
  (
    cd "$1"
    find .fingerprint build -mindepth 1 -maxdepth 1 ! -name 'syncline*' -print0 | xargs -0r cp -a --parents -t "$2"
    find deps -name 'lib*' ! -name 'libsyncline*' \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' \) -print0 |
      xargs -0r cp -al --parents -t "$2"
  ) 2>/dev/null
}

seconds() { printf '%d.%01d' $(($1 / 1000)) $((($1 % 1000) / 100)); }
now_ms() { local now=${EPOCHREALTIME/[.,]/}; echo $((now / 1000)); }

# Installs Debian packages where that is possible without asking anybody.
debian() {
  command -v apt-get >/dev/null || return 1
  local as=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
    as=(sudo -n)
  fi
  say "installing with apt-get: $*"
  local apt=("${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get)
  "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1 && return
  "${apt[@]}" update >/dev/null 2>&1 && "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null
}

# need COMMAND PACKAGE…: the command, or what to install.
need() {
  local command=$1
  shift
  command -v "$command" >/dev/null && return
  debian "$@" && command -v "$command" >/dev/null && return
  lack "\`$command\` is missing" "install it (on Debian: apt-get install $*) and run this again"
}

# A C compiler with its headers: SQLite and zstd are compiled into the binary.
need_compiler() {
  need cc gcc libc6-dev
  printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | cc -x c -o /dev/null - 2>/dev/null && return
  debian gcc libc6-dev || lack "the C compiler has no headers" "install them (on Debian: apt-get install libc6-dev)"
}

# The toolchain that rust-toolchain.toml names where there is rustup, or can be; else any that is new enough.
need_rust() {
  PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  local wanted named found how
  wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
  named=$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$root/rust-toolchain.toml")
  how="install Rust $wanted or newer with rustup (https://rustup.rs; Debian 13 or newer: apt-get install rustup), and run this again"
  command -v rustup >/dev/null || command -v cargo >/dev/null || debian rustup || lack "Rust is missing" "$how"
  if command -v rustup >/dev/null && ! (cd "$root" && rustup which rustc >/dev/null 2>&1); then
    say "installing Rust $named with rustup"
    rustup toolchain install "$named" --profile minimal --component rustfmt --component clippy >&2 ||
      lack "rustup could not install Rust $named" "see its message above; when it is there (rustup toolchain list), run this again"
  fi
  command -v cargo >/dev/null && command -v rustc >/dev/null || lack "Rust is missing" "$how"
  found=$(cd "$root" && rustc --version | cut -d ' ' -f 2)
  [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
    lack "Rust $found is older than $wanted, which the query engine needs" "$how"
}

# Other people's reader and writer of Parquet, Arrow and CSV, for the tests that compare: a wheel of its version in a folder of its own.
PYARROW=26.0.1
need_readers() {
  export SYNCLINE_READERS=$cache/pyarrow-$PYARROW/bin/python
  [ ! -x "$SYNCLINE_READERS" ] || return 0
  need python3 python3
  local folder=$cache/pyarrow-$PYARROW
  rm -rf "$folder.part"
  python3 -m venv "$folder.part" >/dev/null 2>&1 || { debian python3-venv && python3 -m venv "$folder.part" >/dev/null; } ||
    lack "Python cannot make an environment" "install it (on Debian: apt-get install python3-venv)"
  say "installing pyarrow $PYARROW"
  "$folder.part/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "pyarrow==$PYARROW" >&2 ||
    lack "pyarrow $PYARROW cannot be installed" "see the message of pip above; afterwards the copy in $cache is used"
  mv -T "$folder.part" "$folder" 2>/dev/null || rm -rf "$folder.part"
}

# An S3 server of other people's, for the tests of object stores. Built from the module of its version, which Go checks; kept in the cache.
VERSITYGW=1.8.0
need_versitygw() {
  export SYNCLINE_VERSITYGW=$cache/versitygw-$VERSITYGW/versitygw
  [ ! -x "$SYNCLINE_VERSITYGW" ] || return 0
  PATH=$PATH:/usr/local/go/bin
  need go golang-go
  local part=$cache/versitygw-$VERSITYGW.part.$$
  mkdir -p "$part"
  say "building the S3 server versitygw $VERSITYGW"
  GOBIN=$part GOFLAGS=-buildvcs=false go install "github.com/versity/versitygw/cmd/versitygw@v$VERSITYGW" >&2 || {
    rm -rf "$part"
    lack "the S3 server versitygw $VERSITYGW cannot be built" "see the message of go above; afterwards the copy in $cache is used"
  }
  mv -T "$part" "${SYNCLINE_VERSITYGW%/*}" 2>/dev/null || rm -rf "$part"
}
