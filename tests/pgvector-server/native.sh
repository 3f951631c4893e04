#!/usr/bin/env bash
# The system's own PostgreSQL with pgvector on loopback, for tests and benchmarks, as Debian has it.
#
#   tests/pgvector-server/native.sh present
#   tests/pgvector-server/native.sh install
#   tests/pgvector-server/native.sh run FOLDER PORT [OPTION]…
#
#   present    whether there is a PostgreSQL with pgvector
#   install    PostgreSQL from Debian, and pgvector 0.8.0 from Debian's sources where no package has it; takes root
#   run        a server in the foreground with its data in FOLDER, made if it is not there. Options are PostgreSQL's:
#              -c maintenance_work_mem=2GB and so on. It takes connections as
#              Host=127.0.0.1;Port=PORT;Username=postgres;Password=x;Database=postgres. SIGQUIT ends it as a crash does.
#
# Exit codes: 1 it can't be installed, 2 the arguments are wrong, 3 there is no PostgreSQL with pgvector here.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

# The programs of the newest PostgreSQL that has pgvector 0.8 or later; nothing where there is none.
programs() {
  local version
  for version in $(ls -1 /usr/lib/postgresql 2>/dev/null | sort -rn); do
    if compgen -G "/usr/share/postgresql/$version/extension/vector--0.[89]*.sql" >/dev/null &&
      [ -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
      echo "/usr/lib/postgresql/$version/bin"
      return
    fi
  done
}

install_server() {
  local version
  [ -z "$(programs)" ] || return 0
  install_packages postgresql || return
  version=$(ls -1 /usr/lib/postgresql | sort -rn | head -n 1)
  install_packages "postgresql-$version-pgvector" >/dev/null || true
  [ -n "$(programs)" ] || build_pgvector "$version"
}

# From Debian's sources, for a PostgreSQL whose Debian has none: a later Debian's sources lie on the same mirror. Of the
# server's development package only the headers are taken; all of it would bring LLVM, 800 MB.
build_pgvector() {
  local version=$1 folder mirror
  local source=pgvector_0.8.0.orig.tar.gz sum=867a2c328d4928a5a9d6f052cd3bc78c7d60228a9b914ad32aa3db88e9de27b0
  command -v gcc >/dev/null || install_packages gcc libc6-dev || return
  folder=$(mktemp -d)
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)
  (
    cd "$folder" &&
      /usr/lib/apt/apt-helper download-file "${mirror%/}/pool/main/p/pgvector/$source" $source "SHA256:$sum" &&
      apt-get download -q "postgresql-server-dev-$version" && dpkg -x postgresql-server-dev-*.deb . &&
      tar -xf $source && cd pgvector-0.8.0 && cp sql/vector.sql sql/vector--0.8.0.sql &&
      # pgvector's own Makefile has these options.
      gcc -O2 -march=native -ftree-vectorize -fassociative-math -fno-signed-zeros -fno-trapping-math -fPIC -shared \
        -I "../usr/include/postgresql/$version/server" -o vector.so src/*.c &&
      install -m 644 vector.so "/usr/lib/postgresql/$version/lib" &&
      install -m 644 vector.control sql/vector--*.sql "/usr/share/postgresql/$version/extension"
  ) >"$folder/log" 2>&1 || { tail -n 5 "$folder/log"; return 1; }
  rm -rf "$folder"
}

run_server() {
  local folder=$1 port=$2 bin as_user=()
  shift 2
  bin=$(programs)
  if [ -z "$bin" ]; then
    echo "There is no PostgreSQL with pgvector 0.8 or later here; $0 install would install it." >&2
    exit 3
  fi
  mkdir -p "$folder"
  # PostgreSQL does not run as root.
  if [ "$(id -u)" -eq 0 ]; then
    as_user=(setpriv --reuid=postgres --regid=postgres --init-groups)
    chown postgres "$folder"
  fi
  cd -- "$folder"
  [ -f PG_VERSION ] ||
    "${as_user[@]}" "$bin/initdb" --auth=trust --username=postgres --no-sync --pgdata="$folder" >/dev/null
  exec "${as_user[@]}" "$bin/postgres" -D "$folder" -p "$port" -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories="$folder" -c log_min_messages=fatal "$@"
}

case ${1-} in
  -h | --help) usage ;;
  present) [ -n "$(programs)" ] || exit 3 ;;
  install) install_server ;;
  run)
    [ $# -ge 3 ] || wrong_usage "run needs a folder and a port"
    shift
    run_server "$@" ;;
  *) wrong_usage "present, install or run?" ;;
esac
