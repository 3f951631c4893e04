#!/usr/bin/env bash
# Writes, indexes and searches 10,000, 100,000 and a million keys in memory and in a PostgreSQL for tests, one after the other.
# SERVER=pglite (the default) writes results/stores.jsonl, SERVER=native, the system's PostgreSQL (tests/pgvector-server/native.sh installs one), results/stores_native.jsonl.
# KEYS and STORES choose some of them, THREADS is for the store in memory. What takes more than LIMIT seconds (600) is broken off, and said to be.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../../.." && pwd)
server=$root/tests/pgvector-server
limit=${LIMIT:-600}
threads=${THREADS:-1}
kind=${SERVER:-pglite}
results=${OUT:-$here/results/stores$([ "$kind" = pglite ] || echo "_$kind").jsonl}

[ "$kind" = native ] || [ -d "$server/node_modules" ] || npm --prefix "$server" install --no-audit --no-fund --no-package-lock
dotnet build -c Release "$root/tests/Benchmarks" >/dev/null
program=$(mktemp -d)
cp -r "$root/tests/Benchmarks/bin/Release/net10.0/." "$program"
mkdir -p "$(dirname -- "$results")"
: >"$results"
for keys in ${KEYS:-10000 100000 1000000}; do
  for store in ${STORES:-memory exact hnsw}; do
    if [ $store != memory ]; then
      data=$(mktemp -d)
      if [ "$kind" = native ]; then
        port=$((20000 + RANDOM % 12000))
        "$server/native.sh" run "$data" $port -c shared_buffers=2GB -c maintenance_work_mem=2GB -c max_wal_size=8GB &
        pid=$!
        until (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.2; done
        sleep 1
      else
        coproc node "$server/server.mjs" 0 "$data"
        pid=$COPROC_PID
        read -r _ port <&"${COPROC[0]}"
      fi
      export EMTTORCH_POSTGRES="Host=127.0.0.1;Port=$port;Username=postgres;Password=x;Database=postgres;SSL Mode=Disable;No Reset On Close=true;Command Timeout=$limit"
    fi
    timeout "$limit" dotnet "$program/Benchmarks.dll" retrieval --threads "$threads" --store $store --keys $keys | tee -a "$results" ||
      echo "{ \"store\": \"$store\", \"keys\": $keys, \"broken_off_after_seconds\": $limit }" | tee -a "$results"
    if [ $store != memory ]; then
      kill -QUIT "$pid"
      wait "$pid" 2>/dev/null || true
      rm -rf "$data"
    fi
  done
done
