#!/usr/bin/env bash
# Compiles the native file against a libtorch:  build.sh TORCH_HOME OUTPUT.so
# TORCH_HOME is a Python installation's torch folder, an unpacked libtorch, or /usr for Debian's libtorch-dev.
set -euo pipefail
home=${1:?usage: build.sh TORCH_HOME OUTPUT.so} output=${2:?usage: build.sh TORCH_HOME OUTPUT.so}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

for lib in "$home/lib" "$home/lib/$(uname -m)-linux-gnu" "$home/lib64"; do [ -e "$lib/libtorch_cpu.so" ] && break; done
[ -e "$lib/libtorch_cpu.so" ] || { echo "error : no libtorch_cpu.so under $home; scripts/setup.sh finds or installs a libtorch" >&2; exit 1; }
include=$home/include
version=$({ cat "$include/torch/version.h" "$include/torch/headeronly/version.h" "$include/torch/csrc/api/include/torch/version.h" 2>/dev/null || true; } |
  awk '$2 == "TORCH_VERSION_MAJOR" && !a { a = $3 } $2 == "TORCH_VERSION_MINOR" && b == "" { b = $3 } END { print a * 100 + b }')
# libtorch 2.10 and later ask for C++20; before, its headers are C++14 or C++17.
standard=$([ "$version" -ge 210 ] && echo gnu++20 || echo gnu++17)
# The C++ library's string layout must be the one that libtorch was compiled with.
abi=$(nm -D --defined-only "$lib/libc10.so" | awk '/__cxx11/ { found = 1 } END { print found + 0 }')

mkdir -p "$(dirname "$output")"
temporary=$output.$$.tmp
trap 'rm -f "$temporary"' EXIT
"${CXX:-g++}" -std=$standard -O2 -fPIC -shared -fvisibility=hidden -w -D_GLIBCXX_USE_CXX11_ABI=$abi \
  -I"$include" -I"$include/torch/csrc/api/include" "$here/system_torch.cpp" -o "$temporary" \
  -L"$lib" -Wl,-rpath,"$lib" -Wl,--no-as-needed -ltorch -ltorch_cpu -lc10 -ldl
mv "$temporary" "$output"
