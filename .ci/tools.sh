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

# A C compiler with its headers: SQLite, zstd and the client of Kafka are compiled into the binary, the last with the system's OpenSSL and zlib.
need_compiler() {
  local packages='gcc g++ make perl pkg-config libc6-dev libssl-dev zlib1g-dev' tool
  for tool in cc c++ make perl pkg-config; do
    command -v "$tool" >/dev/null || debian $packages || lack "\`$tool\` is missing" "install it (on Debian: apt-get install $packages)"
  done
  compiles && return
  debian $packages && compiles || lack "the C compiler lacks headers of libc, OpenSSL or zlib" \
    "install them (on Debian: apt-get install libc6-dev libssl-dev zlib1g-dev)"
}
compiles() {
  printf '#include <stdlib.h>\n#include <openssl/ssl.h>\n#include <zlib.h>\nint main(void) { return 0; }\n' | cc -x c -o /dev/null - 2>/dev/null
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
  wheel pyarrow "$PYARROW"
}

# Whoever asks an API what its description allows, and what it does not: the test of `/openapi.json`.
SCHEMATHESIS=4.32.5
need_schemathesis() {
  export SYNCLINE_SCHEMATHESIS=$cache/schemathesis-$SCHEMATHESIS/bin/python
  wheel schemathesis "$SCHEMATHESIS"
}

# Whoever makes a client in Python out of an API's description.
CLIENTS=0.29.1
need_clients() {
  export SYNCLINE_CLIENTS=$cache/openapi-python-client-$CLIENTS/bin/python
  wheel openapi-python-client "$CLIENTS"
}

# wheel PACKAGE VERSION: a Python with it in a folder of its own in the cache, unless it is there.
wheel() {
  local package=$1 version=$2
  local folder=$cache/$package-$version
  [ ! -x "$folder/bin/python" ] || return 0
  need python3 python3
  rm -rf "$folder.part"
  python3 -m venv "$folder.part" >/dev/null 2>&1 || { debian python3-venv && python3 -m venv "$folder.part" >/dev/null; } ||
    lack "Python cannot make an environment" "install it (on Debian: apt-get install python3-venv)"
  say "installing $package $version"
  "$folder.part/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "$package==$version" >&2 ||
    lack "$package $version cannot be installed" "see the message of pip above; afterwards the copy in $cache is used"
  mv -T "$folder.part" "$folder" 2>/dev/null || rm -rf "$folder.part"
}

# An S3 server of other people's, for the tests of object stores. Built from the module of its version, which Go checks; kept in the cache.
VERSITYGW=1.8.0
need_versitygw() {
  export SYNCLINE_VERSITYGW=$cache/versitygw-$VERSITYGW/versitygw
  go_tool "$SYNCLINE_VERSITYGW" "the S3 server versitygw $VERSITYGW" "github.com/versity/versitygw/cmd/versitygw@v$VERSITYGW"
}

# go_tool PROGRAM NAME PACKAGE: builds it, unless it is there; whoever is first to be done keeps his.
go_tool() {
  local program=$1 name=$2 package=$3
  local folder=${program%/*}
  local part=$folder.part.$$
  [ ! -x "$program" ] || return 0
  PATH=$PATH:/usr/local/go/bin
  need go golang-go
  mkdir -p "$part"
  say "building $name"
  GOBIN=$part GOFLAGS=-buildvcs=false go install "$package" >&2 || {
    rm -rf "$part"
    lack "$name cannot be built" "see the message of go above; afterwards the copy in $cache is used"
  }
  mv -T "$part" "$folder" 2>/dev/null || rm -rf "$part"
}

# Apache Kafka as its project publishes it, from Maven: jars, whose sums Maven checks, and what its own tool writes into a new data
# folder (with one user for the tests of SCRAM), so that no test pays a second for that.
KAFKA=4.1.1
KAFKA_CLUSTER=c3luY2xpbmUtdGVzdHMtMQ
need_kafka() {
  export SYNCLINE_KAFKA=$cache/kafka-$KAFKA
  need java openjdk-17-jdk-headless
  [ ! -s "$SYNCLINE_KAFKA/bootstrap.checkpoint" ] || return 0
  need mvn maven
  local part=$SYNCLINE_KAFKA.part.$$
  mkdir -p "$part/data"
  say "fetching Kafka $KAFKA with Maven"
  {
    echo '<project><modelVersion>4.0.0</modelVersion><groupId>syncline</groupId><artifactId>kafka</artifactId><version>1</version>'
    echo '<packaging>pom</packaging><dependencies>'
    printf '<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></dependency>\n' \
      org.apache.kafka kafka_2.13 "$KAFKA" org.apache.kafka kafka-tools "$KAFKA" \
      org.apache.logging.log4j log4j-slf4j-impl 2.24.3 org.apache.logging.log4j log4j-core 2.24.3
    echo '</dependencies></project>'
  } >"$part/pom.xml"
  mvn -q -B -f "$part/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$part/jars" >&2 || {
    rm -rf "$part"
    lack "Kafka $KAFKA cannot be fetched" "see the message of Maven above; afterwards the copy in $cache is used"
  }
  printf '%s\n' process.roles=broker,controller node.id=1 controller.quorum.voters=1@127.0.0.1:1 controller.listener.names=CONTROLLER \
    listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1 log.dirs="$part/data" >"$part/format.properties"
  java -cp "$part/jars/*" kafka.tools.StorageTool format --cluster-id "$KAFKA_CLUSTER" --config "$part/format.properties" \
    --add-scram 'SCRAM-SHA-512=[name=tester,password=a-secret-of-the-tests]' >&2 &&
    mv "$part/data/bootstrap.checkpoint" "$part/" || {
    rm -rf "$part"
    lack "Kafka $KAFKA cannot make a data folder" "see its message above"
  }
  rm -rf "$part/data" "$part/format.properties"
  mv -T "$part" "$SYNCLINE_KAFKA" 2>/dev/null || rm -rf "$part"
}

# A client of Kafka's that shares nothing with its own. Where packages cannot be installed it is taken out of its package, with the
# libraries that come in none of the others here.
need_kcat() {
  command -v kcat >/dev/null && return
  PATH=$PATH:$cache/kcat/bin
  command -v kcat >/dev/null && return
  debian kcat && command -v kcat >/dev/null && return
  local part=$cache/kcat.part.$$
  mkdir -p "$part/bin"
  (
    cd "$part" && apt-get download kcat librdkafka1 libyajl2 && for package in *.deb; do dpkg-deb -x "$package" .; done && rm -f ./*.deb
  ) >/dev/null 2>&1 || true
  printf '%s\n' '#!/bin/sh' 'here=$(dirname "$(dirname "$0")")' \
    'LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-gnu) exec "$here/usr/bin/kcat" "$@"' >"$part/bin/kcat"
  chmod +x "$part/bin/kcat"
  if "$part/bin/kcat" -V >/dev/null 2>&1; then
    mv -T "$part" "$cache/kcat" 2>/dev/null || rm -rf "$part"
  else
    rm -rf "$part"
  fi
  need kcat kcat
}

# A proxy that makes a network slow, narrow, cut or silent. Built like the S3 server.
TOXIPROXY=2.12.0
need_toxiproxy() {
  export SYNCLINE_TOXIPROXY=$cache/toxiproxy-$TOXIPROXY/server
  go_tool "$SYNCLINE_TOXIPROXY" "the proxy toxiproxy $TOXIPROXY" "github.com/Shopify/toxiproxy/v2/cmd/server@v$TOXIPROXY"
}

# A schema registry that speaks Confluent's protocol: one archive of 109 MB from Maven.
APICURIO=3.0.9
need_registry() {
  export SYNCLINE_REGISTRY=$cache/apicurio-$APICURIO
  need java openjdk-17-jdk-headless
  [ ! -s "$SYNCLINE_REGISTRY/registry.jar" ] || return 0
  need mvn maven
  local part=$SYNCLINE_REGISTRY.part.$$
  mkdir -p "$part"
  say "fetching the schema registry Apicurio $APICURIO with Maven"
  mvn -q -B dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$APICURIO:tar.gz:all" -DoutputDirectory="$part" >&2 &&
    tar -xzf "$part/apicurio-registry-app-$APICURIO-all.tar.gz" -C "$part" &&
    mv "$part/apicurio-registry-app-$APICURIO-runner.jar" "$part/registry.jar" || {
    rm -rf "$part"
    lack "the schema registry Apicurio $APICURIO cannot be fetched" "see the message of Maven above; afterwards the copy in $cache is used"
  }
  rm -f "$part"/*.tar.gz
  mv -T "$part" "$SYNCLINE_REGISTRY" 2>/dev/null || rm -rf "$part"
}

# PostgreSQL's programs, for the tests of its sink, which start and end a server themselves. Where it is not installed they are taken out of
# their packages, with the libraries beside them: installed, a server would be started as a service.
need_postgres() {
  local part=$cache/postgresql.part.$$ version
  postgres_is_there && return
  version=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1)
  say "fetching PostgreSQL $version"
  mkdir -p "$part"
  (cd "$part" && apt-get download "postgresql-$version" "postgresql-client-$version" libpq5 && for package in ./*.deb; do
    dpkg-deb -x "$package" . || exit
  done) >/dev/null 2>&1 && rm -f "$part"/*.deb && mv -T "$part" "$cache/postgresql" 2>/dev/null
  rm -rf "$part"
  postgres_is_there && return
  # Libraries of it are missing, which the package brings; that it makes a cluster of its own is told not to be.
  if [ "$(id -u)" = 0 ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  debian postgresql && postgres_is_there ||
    lack "PostgreSQL is missing" "install it (on Debian: apt-get install postgresql) and run this again"
}
postgres_is_there() {
  local found libraries
  libraries=$(ls -d "$cache"/postgresql/usr/lib/*-linux-gnu 2>/dev/null | head -n 1)
  [ -z "$libraries" ] || export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  for found in "${SYNCLINE_POSTGRES:-}" $(ls -d /usr/lib/postgresql/*/bin "$cache"/postgresql/usr/lib/postgresql/*/bin 2>/dev/null | sort -V -r); do
    [ -x "$found/initdb" ] && "$found/postgres" --version >/dev/null 2>&1 && "$found/psql" --version >/dev/null 2>&1 || continue
    export SYNCLINE_POSTGRES=$found
    return 0
  done
  return 1
}
