"""The parts of a SLURM job that are the same for every deployment."""

from __future__ import annotations

PLACES = r"""
# Every job has a hundred ports of its own, below those the system hands out by itself.
free_port() {
  local try
  for ((try = $1; try < $1 + 50; try++)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$try") 2>/dev/null || { echo "$try"; return; }
  done
  return 1
}
# The address by which the other nodes reach one.
address_of() {
  local name
  name=$(scontrol show node "$1" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
  getent ahostsv4 "$name" | awk 'NR == 1 {print $1}'
}
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
addresses=''
for host in "${hosts[@]}"; do addresses+="$(address_of "$host") "; done
head=${addresses%% *}
ports=$((10000 + SLURM_JOB_ID % 200 * 100))
port=$(free_port "$ports")
rendezvous=$(free_port "$((ports + 50))")
state=${SLURM_SUBMIT_DIR:-$PWD}/.${SLURM_JOB_NAME:-job}-$SLURM_JOB_ID  # on a file system all nodes see
rm -rf "$state"  # a node that failed leaves what its first run wrote: the job may be put back in the queue
mkdir -p "$state"
trap 'rm -rf "$state"' EXIT
export addresses head port rendezvous state gpus join_s"""

JOIN = r"""  local rank=$SLURM_NODEID engine container status=0 stopping=0
  : >"$state/joined-$SLURMD_NODENAME"
  # URG asks to drain, which no program dies of; TERM reaches every process of the step: nothing is left to wait for.
  trap 'stopping=1' TERM URG"""

RUN = r"""  local leader=''
  # The first node's leader alone is told: workers that are told too leave it with requests they computed.
  tell() { [[ -z $leader ]] || ((rank)) || kill -TERM "$leader" 2>/dev/null || true; }
  trap 'stopping=1; tell' URG
  "${container[@]}" "${engine[@]}" </dev/null &
  leader=$!
  ((stopping)) && tell
  while kill -0 "$leader" 2>/dev/null; do
    status=0
    wait "$leader" || status=$?  # a signal interrupts it
  done
  if ((stopping)); then
    ((rank)) || scancel --signal=TERM "$SLURM_JOB_ID.0" || true  # drained: now the other nodes
    exit 0
  fi
  # An engine that ends by itself has failed, whatever it says: a dead one can exit with 0.
  echo "sizewell: the engine on node $rank ($SLURMD_NODENAME) ended with $status" >&2
  exit 1"""

RAY = (
    r"""  # Ray's own range holds our ports and those of other jobs, and Ray refuses to start: any free port will do.
  local ray workers=(--min-worker-port=0 --max-worker-port=0)
  if ((rank > 0)); then
    until (exec 3<>"/dev/tcp/$head/$rendezvous") 2>/dev/null; do
      ((SECONDS < join_s)) || { echo "sizewell: $SLURMD_NODENAME never reached Ray at $head" >&2; exit 1; }
      sleep 1
    done
    "${container[@]}" ray start --address="$head:$rendezvous" --node-ip-address="$address" --num-gpus="$gpus" \
      "${workers[@]}" --disable-usage-stats --block || status=$?
    ((stopping)) && exit 0
    echo "sizewell: Ray on node $rank ($SLURMD_NODENAME) ended with $status" >&2
    exit 1
  fi
  "${container[@]}" ray start --head --node-ip-address="$address" --port="$rendezvous" --num-gpus="$gpus" \
    "${workers[@]}" --ray-client-server-port="$((rendezvous + 1))" --include-dashboard=false --disable-usage-stats \
    --block &
  ray=$!
  # Started without --block it would outlive the job wherever the scheduler does not track processes by cgroup.
  trap 'kill -TERM "$ray" 2>/dev/null || true; wait "$ray" || true' EXIT
  until (exec 3<>"/dev/tcp/$head/$rendezvous") 2>/dev/null; do
    { kill -0 "$ray" 2>/dev/null && ((SECONDS < join_s)); } || {
      echo "sizewell: Ray did not start on $SLURMD_NODENAME; see above" >&2
      exit 1
    }
    sleep 1
  done
  export RAY_ADDRESS=$head:$rendezvous
  "${container[@]}" python3 - "$addresses" "$join_s" <<'PYTHON'
import sys, time
import ray
ray.init(log_to_driver=False)
wanted, deadline = set(sys.argv[1].split()), time.monotonic() + float(sys.argv[2])
while missing := wanted - {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}:
    if time.monotonic() > deadline:
        sys.exit(f"sizewell: never joined Ray: {' '.join(sorted(missing))}")
    time.sleep(1)
PYTHON
"""
    + RUN
)

WATCH = r"""
# A step does not inherit the cores of its job.
srun --kill-on-bad-exit=1 --label --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c start_node &
step=$! stopping=0
# srun itself would answer the signal by killing every task at once, and TERM reaches the workers of an engine too.
trap 'stopping=1; scancel --signal=URG "$SLURM_JOB_ID.0" || true' TERM INT

fail() {
  echo "sizewell: $*" >&2
  kill -TERM "$step" 2>/dev/null || true  # here nothing is left to drain
  wait "$step" || true
  exit 1
}
command -v curl >/dev/null || fail "there is no curl on ${hosts[0]} to ask the engine with"
missing() {
  local host
  for host in "${hosts[@]}"; do [[ -e $state/joined-$host ]] || echo "$host"; done
}
alive() { kill -0 "$step" 2>/dev/null; }

while absent=$(missing) && [[ -n $absent ]]; do
  ((stopping)) && break
  alive || fail "the job step ended before these nodes joined: ${absent//$'\n'/ }"
  ((SECONDS < join_s)) || fail "never joined within $join_s s: ${absent//$'\n'/ }"
  sleep 1
done
# Healthy servers exist that generate nothing: it answers once one token came back.
answers() {
  local code
  curl -fsS -o /dev/null --max-time 5 "http://$asked:$port/health" 2>/dev/null || return 1
  code=$(curl -sS -o "$state/answer" -w '%{http_code}' --max-time 60 -H 'Content-Type: application/json' -H @- \
    -d "$token" "http://$asked:$port/v1/completions" <<<"$key" 2>/dev/null) || return 1
  case $code in
    200) return 0 ;;
    # Waiting changes nothing: a checkpoint without a tokenizer, or another name.
    400 | 404 | 422) fail "healthy, and refuses a request for one token: $code $(head -c 300 "$state/answer")" ;;
  esac
  return 1
}
until answers; do
  ((stopping)) && break
  alive || fail "the engine ended before it was ready; its last lines are above"
  ((SECONDS < ready_s)) || fail "not ready after $ready_s s on ${hosts[*]}; see what each node says above"
  sleep 1
done
((stopping)) || echo "sizewell: answers on ${hosts[0]}, port $port: ssh -N -L $port:127.0.0.1:$port ${hosts[0]}"
# A signal interrupts wait: ask again until the step is gone.
while alive; do wait "$step" || true; done
((stopping)) || fail "the engine ended by itself"
"""
