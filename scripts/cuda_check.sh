#!/usr/bin/env bash
# Does this project load, compute, train and keep up on a GPU? For a machine with a GPU and PyTorch, and without the .NET SDK.
#
#   scripts/cuda_check.sh pack [FILE]     here: publish without libtorch, into FILE (default: cuda_check.tar.xz, about 30 MB)
#   ./cuda_check.sh run [OPTION…]         there, where FILE was unpacked: all steps, each under its own time limit
#
#   --libtorch FOLDER    the folder of libtorch.so (default: the lib folder of python3's torch)
#   --device DEVICE      cuda (default) or cpu, to try the check itself
#   --steps 124          which steps (default: 12345)
#   --out FOLDER         results (default: results)
#
# Steps: 1 does it load, 2 is it right, 3 does it train, 4 how fast is it, 5 where does the time go. What matters most comes first,
# whatever its number; all of it takes about five minutes.
# Each leaves its output as FOLDER/step-N-NAME.txt; FOLDER/results.json and results.md sum them up.
# Exit codes: 0 all steps passed, 1 some did not, 2 the arguments are wrong.
set -uo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }
wrong() { echo "cuda_check.sh: $*" >&2; echo "cuda_check.sh --help says what there is." >&2; exit 2; }

pack() {
  set -e
  local file=${1:-cuda_check.tar.xz} root=$here/.. project
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  # One folder for all three: the runtime is in it once.
  for project in Trainer tests/EmtTorch.Devices.Tests tests/Benchmarks; do
    echo "Publishing $project"
    dotnet publish "$root/$project" -c Release -r linux-x64 --self-contained -p:Libtorch=none -o "$folder/cuda_check" -v quiet --nologo
  done
  cp -r "$root/configs" "$here/cuda_check.sh" "$root/tests/Benchmarks/peer.py" "$folder/cuda_check/"
  tar -C "$folder" -c cuda_check | xz -T0 >"$file"
  echo "$file: $(du -h "$file" | cut -f1). On the other machine: tar xf $(basename "$file") && cuda_check/cuda_check.sh run"
}

# step NUMBER NAME SECONDS COMMAND…
step() {
  local number=$1 name=$2 limit=$3 code=0 began=$SECONDS file
  shift 3
  case $steps in *$number*) ;; *) return ;; esac
  file=$out/step-$number-$name.txt
  echo "step $number, $name (at most $limit s)"
  timeout -k 5 "$limit" "$@" >"$file" 2>&1 || code=$?
  case $code in 0) ;; 124 | 137) echo "stopped after $limit s" >>"$file" ;; *) echo "exit code $code" >>"$file" ;; esac
  [ "$code" -eq 0 ] || failed=1
  local last
  last=$(grep -v '^ *$' "$file" | tail -n 1 | tr -d '\\"\t|' | cut -c1-160)
  printf '{"step":%s,"name":"%s","exit_code":%s,"seconds":%s,"last_line":"%s"}\n' "$number" "$name" "$code" $((SECONDS - began)) "$last" >>"$out/results.jsonl"
  printf '| %s | %s | %s | %s | %s |\n' "$number" "$name" "$code" $((SECONDS - began)) "$last" >>"$out/results.md"
}

# train NAME CONFIG OPTION…: a run, and the most memory that the device had in use meanwhile
train() {
  local name=$1 config=$2 watch=''
  shift 2
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 >"$out/memory-$name.txt" &
    watch=$!
  fi
  ./Trainer "configs/$config.json" --device "$device" --out "$out/runs" "$@"
  local code=$?
  if [ -n "$watch" ]; then
    kill $watch
    echo "peak of the device's memory: $(sort -n "$out/memory-$name.txt" | tail -n 1) MiB"
    rm -f "$out/memory-$name.txt"
  fi
  return $code
}

# What TorchSharp's library needs, and this libtorch has not.
missing_symbols() {
  echo "symbols of libLibTorchSharp.so that this libtorch and this system do not have:"
  comm -23 <(nm -D --undefined-only "$here/libLibTorchSharp.so" | awk '$1 == "U" { sub(/@.*/, "", $2); print $2 }' | sort -u) \
    <(for library in "$libtorch"/lib{c10,torch}*.so $(ldconfig -p | awk '/lib(stdc\+\+|m|c|gcc_s)\.so\.[0-9]+ .*x86-64/ { print $NF }') $(ldconfig -p | awk '/ld-linux-x86-64/ { print $NF; exit }'); do
        nm -D --defined-only "$library" 2>/dev/null
      done | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u) | c++filt
}

load_check() {
  command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
  if command -v nm >/dev/null; then missing_symbols; fi
  ./EmtTorch.Devices.Tests LoadTests
}

run() {
  device=cuda libtorch='' steps=12345 out=results
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || wrong "$1 needs a value"
    case $1 in
      --libtorch) libtorch=$2 ;; --device) device=$2 ;; --steps) steps=$2 ;; --out) out=$2 ;;
      *) wrong "what is $1?" ;;
    esac
    shift 2
  done
  [ -n "$libtorch" ] || libtorch=$(python3 -c 'import importlib.util, os; print(os.path.join(os.path.dirname(importlib.util.find_spec("torch").origin), "lib"))') || wrong "python3 has no torch: --libtorch names the folder"
  mkdir -p "$out" || exit
  out=$(cd "$out" && pwd)
  rm -f "$out"/results.* "$out"/step-*
  # CUDA's own libraries, where pip put them.
  LD_LIBRARY_PATH=$libtorch:$(find -L "$libtorch/../../nvidia" -name lib -type d 2>/dev/null | paste -sd:):${LD_LIBRARY_PATH-}
  export LD_LIBRARY_PATH EMTTORCH_LIBTORCH=$libtorch EMTTORCH_TEST_DEVICE=$device
  export libtorch device out here
  cd "$here" || exit
  failed=0
  printf '| step | what | exit code | seconds | last line |\n| --- | --- | --- | --- | --- |\n' >"$out/results.md"
  local functions
  functions=$(declare -f train load_check missing_symbols)
  inside() { bash -c "$functions"$'\n'"$1"; }

  step 1 load 60 bash -c "$functions"$'\nload_check'
  # Its kernels compile for a minute or more, on processors that the tests leave idle. Step 4 finds them compiled, or most.
  local compiling='' python=''
  if python3 -c 'import torch' 2>/dev/null; then python=yes; fi
  case $python$steps in yes*4*)
    timeout -k 5 200 python3 peer.py "$device" fla >"$out/compiling-fla.txt" 2>&1 &
    compiling=$! ;;
  esac
  step 2 kernels 100 ./EmtTorch.Devices.Tests CudaElmanTests
  step 3 repeat_copy 60 bash -c "$functions"$'\ntrain repeat_copy repeat_copy --set training.steps=2000'
  step 3 t4 60 bash -c "$functions"$'\ntrain t4 t4 --set training.steps=2000'
  # What is timed from here on has the machine to itself.
  if [ -n "$compiling" ]; then kill "$compiling" 2>/dev/null; wait "$compiling"; fi
  step 4 steps 120 ./Benchmarks steps --device "$device" --hidden 128,32,64,256,512 --networks 1,20,120,480,1440 --json "$out/steps.json" --markdown "$out/steps.md"
  if [ -n "$python" ]; then step 4 rnn 60 python3 peer.py "$device" rnn; fi
  step 2 right 90 ./EmtTorch.Devices.Tests AutogradTests NetworkTests ScanTests TrainingTests MemoryTests
  if [ -n "$python" ]; then step 4 fla 75 python3 peer.py "$device" fla; fi
  step 4 scan64 60 ./Benchmarks scan --device "$device" --width 64 --json "$out/scan64.json" --markdown "$out/scan64.md"
  step 4 scan128 60 ./Benchmarks scan --device "$device" --width 128 --tokens 4096,16384 --json "$out/scan128.json" --markdown "$out/scan128.md"
  if [ -n "$python" ]; then step 4 pytorch 60 python3 peer.py "$device" scan; fi
  if command -v ncu >/dev/null; then
    step 5 kernels 60 ncu --target-processes all --metrics gpu__time_duration.sum --launch-skip 150 --launch-count 150 --csv ./Trainer configs/t1.json --device "$device" --out "$out/runs" --set training.steps=8 --set name=kernels
  fi
  step 3 segment_recall 60 bash -c "$functions"$'\ntrain segment_recall segment_recall'
  step 3 seeds 60 bash -c "$functions"$'\ntrain seeds repeat_copy --seeds 1-20 --set training.steps=500 --set name=seeds'
  { echo '['; sed '$!s/$/,/' "$out/results.jsonl"; echo ']'; } >"$out/results.json"
  rm -f "$out/results.jsonl"
  cat "$out/results.md"
  return $failed
}

case ${1-} in
  -h | --help) usage ;;
  pack) shift; pack "$@" ;;
  run) shift; run "$@" ;;
  '') usage >&2; exit 2 ;;
  *) wrong "'$1' is neither pack nor run" ;;
esac
