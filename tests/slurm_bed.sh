#!/bin/sh
# A Slurm of one node for a test: its own munge key and socket, ports, configuration and state, all in FOLDER;
# no system service, no accounting, whoever runs it. The programs are those of the system, or those unpacked
# below $WINNOW_SLURM_ROOT (make slurm).
#
#     slurm_bed.sh FOLDER CONTROL_PORT NODE_PORT
#
# Says "ready" once jobs can be submitted (with SLURM_CONF=FOLDER/slurm.conf, and PATH and LD_LIBRARY_PATH as in
# FOLDER/path and FOLDER/libraries), or "skip: WHY" and ends. Then it waits for the end of its stdin, that is until
# the test is over, killed or not, and takes everything down.
set -u
folder=$1
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF="$folder/slurm.conf"
daemons= plugins= stepd=

skip()
{
    echo "skip: $*"
    exit 0
}

# Last words of a daemon, for a skip.
last_words()
{
    grep -i -E 'error|fatal' "$1" | tail -n 1
}

# Jobs first: their keepers (slurmstepd) are nobody's children. What then still knows our configuration is ours.
take_down()
{
    trap - EXIT INT TERM HUP
    if [ -e "$SLURM_CONF" ]; then
        scancel --signal=KILL --full --user="$(id -un)" 2>/dev/null
        scancel --user="$(id -un)" 2>/dev/null
    fi
    for pid in $daemons; do
        kill "$pid" 2>/dev/null
    done
    for signal in TERM KILL; do
        for process in /proc/[0-9]*; do
            pid=${process#/proc/}
            [ "$pid" != $$ ] && grep -q -a -F "SLURM_CONF=$SLURM_CONF" "$process/environ" 2>/dev/null &&
                [ "$(cut -d ' ' -f 4 "$process/stat" 2>/dev/null)" != $$ ] && kill -s $signal "$pid" 2>/dev/null
        done
        sleep 0.2
    done
    for pid in $daemons; do
        kill -s KILL "$pid" 2>/dev/null
    done
}
trap take_down EXIT
trap 'exit 0' INT TERM HUP

root=${WINNOW_SLURM_ROOT-}
if [ -d "$root" ]; then
    for plugins in "$root"/usr/lib/*/slurm-wlm; do :; done
    mkdir -p "$folder/bin"
    for program in slurmctld slurmd slurmstepd; do # as Debian's alternatives name them
        ln -s "$root/usr/sbin/$program-wlm" "$folder/bin/$program"
    done
    PATH=$folder/bin:$root/usr/bin:$root/usr/sbin:$PATH
    export LD_LIBRARY_PATH="$plugins:${plugins%/*}"
    stepd="-d $folder/bin/slurmstepd"
fi
for program in munged slurmctld slurmd sbatch squeue scancel sinfo; do
    command -v $program >/dev/null ||
        skip "$program is not here (apt-get install --no-install-recommends slurmctld slurmd slurm-client munge)"
done
host=$(hostname -s) || skip "this machine has no name"

mkdir -p "$folder/state" "$folder/spool" || skip "$folder cannot be made"
chmod 755 "$folder"
head -c 128 /dev/urandom >"$folder/munge.key" && chmod 600 "$folder/munge.key"

cat >"$SLURM_CONF" <<END
ClusterName=winnow-test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$2
SlurmdPort=$3
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES State=UP
END
[ -z "$plugins" ] || echo "PluginDir=$plugins" >>"$SLURM_CONF"
# The plugin is loaded even though nothing here is confined by it.
echo "CgroupPlugin=cgroup/v1" >"$folder/cgroup.conf"

munged --force --foreground --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --seed-file="$folder/munge.seed" --log-file="$folder/munged.log" \
    --num-threads=2 </dev/null >"$folder/munged.out" 2>&1 &
daemons="$daemons $!"
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -S "$folder/munge.socket" ] && break
    sleep 0.1
done
[ -S "$folder/munge.socket" ] || skip "munged does not start: $(last_words "$folder/munged.out")"

slurmctld -D -c </dev/null >"$folder/slurmctld.out" 2>&1 &
daemons="$daemons $!"
slurmd -D -c $stepd </dev/null >"$folder/slurmd.out" 2>&1 &
daemons="$daemons $!"
tries=0
while ! sinfo --noheader --format=%T 2>/dev/null | grep -q idle; do
    tries=$((tries + 1))
    for pid in $daemons; do
        kill -0 "$pid" 2>/dev/null || tries=100
    done
    [ $tries -lt 100 ] ||
        skip "Slurm does not start: $(last_words "$folder/slurmctld.out") $(last_words "$folder/slurmd.out")"
    sleep 0.1
done
echo "$PATH" >"$folder/path"
echo "${LD_LIBRARY_PATH-}" >"$folder/libraries"
echo ready
cat >/dev/null
