#!/usr/bin/env bash
# Trains one configuration with several seeds, one after another, and prints what came of them as a Markdown table.
#
#   scripts/sweep_seeds.sh CONFIG FIRST LAST [any option of Trainer]…
#
#   scripts/sweep_seeds.sh configs/repeat_copy.json 1 20 --set training.weight_decay=0.1
#
# Seeds that are finished are passed over, and one that was interrupted goes on from its checkpoint. The first seed that
# fails ends the sweep, with that seed's exit code.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

case ${1-} in -h | --help) usage; exit 0 ;; esac
[ $# -ge 3 ] || wrong_usage "CONFIG, FIRST and LAST are needed"
config=$1 first=$2 last=$3
shift 3
[[ $first =~ ^(0|[1-9][0-9]{0,17})$ && $last =~ ^(0|[1-9][0-9]{0,17})$ && $first -le $last ]] ||
  wrong_usage "FIRST and LAST are seeds, such as 1 20, not '$first' '$last'"
[ -f "$config" ] || wrong_usage "there is no file $config"

# of_config KEY: the string under a key at the configuration's top level, or nothing. Comments are passed over.
of_config() {
  LC_ALL=C awk -v wanted="$1" '
    { text = text $0 "\n" }
    END {
      for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1); two = substr(text, i, 2)
        if (two == "//") { while (i <= length(text) && substr(text, i, 1) != "\n") i++ }
        else if (two == "/*") { i += 2; while (i < length(text) && substr(text, i, 2) != "*/") i++; i++ }
        else if (c == "{" || c == "[") { depth++; key = "" }
        else if (c == "}" || c == "]") depth--
        else if (c == ",") key = ""
        else if (c == ":") key = string
        else if (c == "\"") {
          string = ""
          for (i++; (c = substr(text, i, 1)) != "\"" && i <= length(text); i++) {
            if (c == "\\") c = substr(text, ++i, 1)
            string = string c
          }
          if (depth == 1 && key == wanted) { print string; exit }
        }
      }
    }' "$config"
}

unquoted() {
  local text=$1
  case $text in \"*\") text=${text#\"} text=${text%\"} ;; esac
  printf '%s' "$text"
}

# Where the runs will be: --out and --set go before the configuration, as in Trainer.
name=$(of_config name) runs=$(of_config out) out_option=''
previous=''
for argument; do
  case $previous in --set | --out) argument=$previous=$argument ;; esac
  case $argument in
    --set=name=*) name=$(unquoted "${argument#--set=name=}") ;;
    --set=out=*) runs=$(unquoted "${argument#--set=out=}") ;;
    --out=*) out_option=${argument#--out=} ;;
    --seed | --seeds | --seed=* | --seeds=*) wrong_usage "the seeds are FIRST to LAST: leave ${argument%%=*} out" ;;
  esac
  previous=$argument
done
if [ -z "$name" ]; then
  name=$(basename -- "$config")
  name=${name%.json}
fi
runs=${out_option:-${runs:-runs}}

build_trainer
for ((seed = first; seed <= last; seed++)); do
  echo "Seed $seed of $first to $last"
  code=0
  dotnet "$trainer" "$config" --seed "$seed" --resume "$@" || code=$?
  if [ $code -eq 130 ]; then
    echo "sweep_seeds.sh: interrupted in seed $seed; the same command goes on from there" >&2
  elif [ $code -ne 0 ]; then
    echo "sweep_seeds.sh: seed $seed failed (exit code $code); the sweep ends here" >&2
  fi
  [ $code -eq 0 ] || exit $code
  [ -f "$runs/$name/seed-$seed/result.json" ] || fail "seed $seed is done, but there is no $runs/$name/seed-$seed/result.json"
done

echo
for ((seed = first; seed <= last; seed++)); do
  result=$runs/$name/seed-$seed/result.json
  printf '%s' "$seed"
  for field in test_accuracy steps seconds; do
    # A number, or "NaN" in quotes.
    value=$(sed -n "s/.*\"$field\"[[:space:]]*:[[:space:]]*\"\{0,1\}\([-+.0-9A-Za-z]*\).*/\1/p" "$result" | head -n 1)
    printf ' %s' "${value:-NaN}"
  done
  printf '\n'
done | LC_ALL=C awk '
  function show(value, format) { return value ~ /^[-+.0-9eE]+$/ ? sprintf(format, value) : "NaN" }
  BEGIN { print "| seed | test accuracy | steps | seconds |"; print "|---:|---:|---:|---:|" }
  {
    printf "| %s | %s | %s | %s |\n", $1, show($2, "%.4f"), show($3, "%d"), show($4, "%.1f")
    for (i = 2; i <= 4; i++) { sum[i] += $i; if ($i !~ /^[-+.0-9eE]+$/) bad[i] = 1 }
  }
  function mean(i, format) { return bad[i] ? "NaN" : sprintf(format, sum[i] / NR) }
  END { if (NR) printf "| mean | %s | %s | %s |\n", mean(2, "%.4f"), mean(3, "%.0f"), mean(4, "%.1f") }'
