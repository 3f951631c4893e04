#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, for tests: its daemons, and all that they write in one folder.
#
#   tests/slurm/local.sh start FOLDER    prints the path of its slurm.conf, which SLURM_CONF names to sbatch and so on
#   tests/slurm/local.sh stop FOLDER     ends its jobs and its daemons
#
# Exit codes: 0 done, 1 it doesn't start (FOLDER has the logs), 2 the arguments are wrong, 3 there is no Slurm here.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin

case ${1-} in
  -h | --help) usage; exit 0 ;;
  start | stop) [ $# -eq 2 ] || wrong_usage "$1 needs a folder" ;;
  *) wrong_usage "start or stop?" ;;
esac
mkdir -p "$2"
folder=$(cd -- "$2" >/dev/null && pwd)
export SLURM_CONF=$folder/slurm.conf
log=$folder/start.log

# within SECONDS COMMAND…: until it succeeds
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >>"$log" 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

pid_of() { cat "$folder/$1.pid" 2>/dev/null; }
runs() { grep -qs "^State:[[:space:]]*[^ZX]" "/proc/$(pid_of "$1")/status"; } # an ended one may stay as a zombie
ended() { ! runs "$1"; }
no_jobs() { [ -z "$(squeue -h -o %A)" ]; }

stop() {
  local daemon pid
  if runs slurmctld; then
    scancel --quiet --user="$(id -un)" >>"$log" 2>&1 || true
    # A job that has not heard SIGTERM gets SIGKILL after KillWait.
    within 30 no_jobs || true
  fi
  for daemon in slurmd slurmctld munged; do
    pid=$(pid_of $daemon) || continue
    kill "$pid" 2>/dev/null || true
    within 10 ended $daemon || kill -KILL "$pid" 2>/dev/null || true
    rm -f "$folder/$daemon.pid"
  done
}

missing() { ! { command -v munged && command -v slurmctld && command -v slurmd && command -v sbatch; } >/dev/null; }

none() {
  echo "There is no Slurm here. As root: apt-get install slurm-wlm munge (or what your system calls it)" >&2
  exit 3
}

in_use() { (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the ports that the system gives to connections.
free_port() {
  local port
  until port=$((20000 + RANDOM % 12000)) && ! in_use $port; do :; done
  echo $port
}

configure() {
  local host
  host=$(uname -n)
  host=${host%%.*}
  cat >"$SLURM_CONF" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=10
NodeName=local NodeHostname=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=8192
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
CONF
}

start_munge() {
  [ -e "$folder/munge.key" ] || mungekey --create --keyfile="$folder/munge.key"
  # --force: it likes neither root nor a folder under /tmp, and this one guards nothing.
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
}

controls() { scontrol ping | grep -q 'is UP'; }
idle() { sinfo -h -o %T | grep -qx idle; }
start_slurm() { configure && slurmctld && within 20 controls && slurmd && within 20 idle; }

case $1 in
  stop) stop ;;
  start)
    ! missing || none
    mkdir -p "$folder/state" "$folder/spool"
    trap stop EXIT
    start_munge >>"$log" 2>&1 || fail "munged doesn't start: $(tail -n 1 "$log")"
    # Once more with other ports, since another program may have taken one.
    start_slurm >>"$log" 2>&1 || { stop; start_munge && start_slurm; } >>"$log" 2>&1 ||
      fail "Slurm doesn't start: $(grep -h -E 'fatal|error' "$folder"/slurm*.log | tail -n 3)"
    trap - EXIT
    echo "$SLURM_CONF" ;;
esac
