#!/usr/bin/env bash
# The system's own PostgreSQL with pgvector on loopback, for tests and benchmarks, as Debian has it.
#
#   tests/pgvector-server/native.sh install                    PostgreSQL from Debian, and pgvector 0.8.0 from Debian's sources where no package has it; takes root
#   tests/pgvector-server/native.sh run FOLDER PORT [OPTION]…  a server in the foreground with its data in FOLDER, made if it is not there; -c maintenance_work_mem=2GB and so on
#
# It takes connections as Host=127.0.0.1;Port=PORT;Username=postgres;Password=x;Database=postgres. SIGQUIT ends it as a crash does. Exit codes: 2 the arguments are wrong, 3 there is no PostgreSQL with pgvector here.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

# The programs of the newest PostgreSQL that has pgvector 0.8 or later; nothing where there is none.
programs() {
  local version
  for version in $(ls -1 /usr/lib/postgresql 2>/dev/null | sort -rn); do
    if compgen -G "/usr/share/postgresql/$version/extension/vector--0.[89]*.sql" >/dev/null && [ -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
      echo "/usr/lib/postgresql/$version/bin"
      return
    fi
  done
}

install_server() {
  [ -z "$(programs)" ] || return 0
  local apt=(apt-get -y -q -o DPkg::Lock::Timeout=60 install --no-install-recommends) source=pgvector_0.8.0.orig.tar.gz build mirror version
  export DEBIAN_FRONTEND=noninteractive
  "${apt[@]}" postgresql || { apt-get update -q && "${apt[@]}" postgresql; }
  version=$(ls -1 /usr/lib/postgresql | sort -rn | head -n 1)
  if ! "${apt[@]}" "postgresql-$version-pgvector" 2>/dev/null || [ -z "$(programs)" ]; then
    "${apt[@]}" "postgresql-server-dev-$version" curl make gcc
    build=$(mktemp -d)
    # A later Debian's sources lie on the same mirror.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
    curl -fsS -o "$build/$source" "${mirror%/}/pool/main/p/pgvector/$source"
    echo "867a2c328d4928a5a9d6f052cd3bc78c7d60228a9b914ad32aa3db88e9de27b0  $build/$source" | sha256sum --check --quiet
    tar -C "$build" -xf "$build/$source"
    make -s -C "$build/pgvector-0.8.0" install PG_CONFIG="/usr/lib/postgresql/$version/bin/pg_config"
    rm -rf "$build"
  fi
}

run_server() {
  local folder=$1 port=$2 bin as_user=()
  shift 2
  bin=$(programs)
  [ -n "$bin" ] || { echo "There is no PostgreSQL with pgvector 0.8 or later here; $0 install would install it." >&2; exit 3; }
  mkdir -p "$folder"
  # PostgreSQL does not run as root.
  if [ "$(id -u)" -eq 0 ]; then
    as_user=(setpriv --reuid=postgres --regid=postgres --init-groups)
    chown postgres "$folder"
  fi
  cd -- "$folder"
  [ -f PG_VERSION ] || "${as_user[@]}" "$bin/initdb" --auth=trust --username=postgres --no-sync --pgdata="$folder" >/dev/null
  exec "${as_user[@]}" "$bin/postgres" -D "$folder" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$folder" -c log_min_messages=fatal "$@"
}

case ${1-} in
  -h | --help) usage ;;
  install) install_server ;;
  run)
    [ $# -ge 3 ] || wrong_usage "run needs a folder and a port"
    shift
    run_server "$@" ;;
  *) wrong_usage "install or run?" ;;
esac
