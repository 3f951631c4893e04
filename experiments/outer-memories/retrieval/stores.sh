#!/usr/bin/env bash
# Writes, indexes and searches 10,000, 100,000 and a million keys in memory and in PostgreSQL, one after the other: results/stores.jsonl.
# PostgreSQL is the system's, on loopback and with data of its own: tests/pgvector-server/native.sh install installs it with pgvector.
# KEYS and STORES choose some of them, THREADS is for the store in memory. What takes more than LIMIT seconds (1,800) is broken off, and said to be.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../../.." && pwd)
limit=${LIMIT:-1800}
threads=${THREADS:-1}
results=${OUT:-$here/results/stores.jsonl}

dotnet build -c Release "$root/tests/Benchmarks" >/dev/null
program=$(mktemp -d)
cp -r "$root/tests/Benchmarks/bin/Release/net10.0/." "$program"
mkdir -p "$(dirname -- "$results")"
: >"$results"
for keys in ${KEYS:-10000 100000 1000000}; do
  for store in ${STORES:-memory exact hnsw}; do
    if [ "$store" != memory ]; then
      data=$(mktemp -d) port=$((20000 + RANDOM % 12000))
      "$root/tests/pgvector-server/native.sh" run "$data" $port -c shared_buffers=2GB -c maintenance_work_mem=2GB -c max_wal_size=8GB &
      pid=$!
      until (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        kill -0 $pid 2>/dev/null || { wait $pid; exit; }
        sleep 0.2
      done
      sleep 1
      export EMTTORCH_POSTGRES="Host=127.0.0.1;Port=$port;Username=postgres;Password=x;Database=postgres;SSL Mode=Disable;Command Timeout=$limit"
    fi
    timeout "$limit" dotnet "$program/Benchmarks.dll" retrieval --threads "$threads" --store "$store" --keys "$keys" | tee -a "$results" ||
      echo "{ \"store\": \"$store\", \"keys\": $keys, \"broken_off_after_seconds\": $limit }" | tee -a "$results"
    if [ "$store" != memory ]; then
      kill -QUIT "$pid"
      wait "$pid" 2>/dev/null || true
      rm -rf "$data"
    fi
  done
done
