#!/usr/bin/env bash
# Writes, indexes and searches 10,000, 100,000 and a million keys in memory and in the PostgreSQL for tests, one after the other: results/stores.jsonl.
# KEYS and STORES choose some of them, THREADS is for the store in memory. What takes more than LIMIT seconds (600) is broken off, and said to be.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../../.." && pwd)
server=$root/tests/pgvector-server
limit=${LIMIT:-600}
threads=${THREADS:-1}
results=${OUT:-$here/results/stores.jsonl}

[ -d "$server/node_modules" ] || npm --prefix "$server" install --no-audit --no-fund --no-package-lock
dotnet build -c Release "$root/tests/Benchmarks" >/dev/null
program=$(mktemp -d)
cp -r "$root/tests/Benchmarks/bin/Release/net10.0/." "$program"
mkdir -p "$(dirname -- "$results")"
: >"$results"
for keys in ${KEYS:-10000 100000 1000000}; do
  for store in ${STORES:-memory exact hnsw}; do
    if [ $store != memory ]; then
      data=$(mktemp -d)
      coproc node "$server/server.mjs" 0 "$data"
      pid=$COPROC_PID
      read -r _ port <&"${COPROC[0]}"
      export EMTTORCH_POSTGRES="Host=127.0.0.1;Port=$port;Username=postgres;Password=x;Database=postgres;SSL Mode=Disable;No Reset On Close=true;Command Timeout=$limit"
    fi
    timeout "$limit" dotnet "$program/Benchmarks.dll" retrieval --threads "$threads" --store $store --keys $keys | tee -a "$results" ||
      echo "{ \"store\": \"$store\", \"keys\": $keys, \"broken_off_after_seconds\": $limit }" | tee -a "$results"
    if [ $store != memory ]; then
      kill -KILL "$pid"
      wait "$pid" 2>/dev/null || true
      rm -rf "$data"
    fi
  done
done
